//! The admin door: health, metrics, and the reading commands over HTTP. On loopback only.
//!
//! # Invariants
//!
//! - What it needs of the broker it asks through [`Operations`]; it never touches the ledger's writer.
//! - A page of another machine cannot drive it through somebody's browser: the `Host` must be this machine and a
//!   request with an `Origin` other than our own page is refused.
//! - A sealed record, child protection facts, and where a restricted child is are shown to whoever asks for them by name and with a reason,
//!   each for itself, and to nobody else. One place decides of every row: the gate of [`sight`].
//! - Values out of messages are masked unless the caller gives a reason, and the reason is in the audit first.
//!
//! # Not here
//!
//! Pages for people, but for that of receivers. The JSON is that of the commands with `--json`, made by the same functions ([`views`]).

mod admin;
pub mod hubs;
pub mod identity;
pub mod mask;
mod reading;
mod receivers;
pub mod sight;
pub mod views;
pub mod due;
mod why;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use admin::{REVEAL_HEADER, router};

pub use crate::broker::Operations;

/// Opens the door on `listen` and serves until `closing`; gives the address it has (port 0 becomes a real one).
pub async fn open(
    listen: SocketAddr,
    operations: Arc<impl Operations>,
    closing: CancellationToken,
) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
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
