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

/// What the admin door needs of a running broker. Calls may block for a moment; the door makes them off the runtime.
pub trait Operations: Send + Sync + 'static {
    /// Each check by name; an error says what is wrong and what would help, without patient data. Ready when all are well.
    fn ready(&self) -> Vec<(&'static str, Result<(), String>)>;

    /// Things that work less well than they should; they do not make the broker unready.
    fn degraded(&self) -> Vec<String>;

    /// A reader of the live ledger.
    fn reader(&self) -> Result<LedgerReader, StoreError>;

    /// Reads a held entry again with the mappings that are active now; `reason` goes to the audit. Gives its new standing.
    fn release(&self, seq: Seq, reason: &str) -> Result<String, StoreError>;

    /// Puts a held debt back into its lane; `reason` goes to the audit.
    fn release_debt(&self, debt: i64, reason: &str) -> Result<(), StoreError>;

    /// Writes down that a person saw something unmasked; returns once it is kept.
    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError>;

    /// Loads mappings and directories anew, all or nothing: the hash that is active now, or every mistake.
    fn reload(&self) -> Result<String, Vec<String>>;

    /// The character set of a source whose messages do not name theirs, so that they are explained as they were read.
    fn charset(&self, source: &str) -> Option<String>;
}

/// Opens the door on `listen` and serves until `closing`; gives the address it has (port 0 becomes a real one).
pub async fn open(listen: SocketAddr, operations: Arc<dyn Operations>, closing: CancellationToken) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
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
