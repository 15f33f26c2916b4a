//! The admin door: health, metrics, and the reading commands over HTTP. On loopback only.
//!
//! # Invariants
//!
//! - What it needs of the broker it asks through [`Operations`]; it never touches the ledger's writer.
//! - A page of another machine cannot drive it through somebody's browser: the `Host` must be this machine and a
//!   request with an `Origin` is refused.
//! - Values out of messages are masked unless the caller gives a reason, and the reason is in the audit first.
//!
//! # Not here
//!
//! Pages for people. The JSON is that of the commands with `--json`, made by the same functions ([`views`]).

mod admin;
pub mod mask;
pub mod views;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use admin::{REVEAL_HEADER, router};

use crate::names::Seq;
use crate::store::{LedgerReader, StoreError};

/// What the admin door needs of a running broker. Every method may block; it is called where that is allowed.
pub trait Operations: Send + Sync + 'static {
    /// Each check of readiness by name; an error says what is wrong, without patient data. Ready is when none has one.
    fn ready(&self) -> Vec<(String, Result<(), String>)>;

    /// A reader of the live ledger.
    fn reader(&self) -> Result<LedgerReader, StoreError>;

    /// Files a held entry anew, with the mappings that are active now. In the audit under `reason` before it is done.
    fn release(&self, seq: Seq, reason: &str) -> Result<(), StoreError>;

    /// Puts a held debt back into its lane. In the audit under `reason` before it is done.
    fn release_debt(&self, debt: i64, reason: &str) -> Result<(), StoreError>;

    /// Loads mappings and directories anew, all or nothing: the hash that is active, or every mistake, a line each.
    fn reload(&self) -> Result<String, String>;

    /// Notes that a person saw or did something; returns once it is kept.
    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError>;

    /// The character set of a source whose messages do not name theirs, so that they are explained as they were read.
    fn charset(&self, _source: &str) -> Option<String> {
        None
    }
}

/// Opens the door on `listen` and serves until `closing`; gives the address it has (port 0 becomes a real one).
pub async fn open(listen: SocketAddr, operations: Arc<impl Operations>, closing: CancellationToken) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let service = router(operations);
    let door = tokio::spawn(async move {
        let served = axum::serve(listener, service).with_graceful_shutdown(closing.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(error = %error, "admin.closed");
        }
    });
    Ok((address, door))
}
