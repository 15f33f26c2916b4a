//! The admin door: health, metrics and the reading commands over HTTP, on a listener of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Operations;

/// Opens the door; it closes when `ends` is cancelled.
pub async fn open(listen: SocketAddr, operations: Arc<dyn Operations>, ends: CancellationToken) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let router = axum::Router::new().route(
        "/readyz",
        axum::routing::get(move || {
            let well = operations.ready().iter().all(|(_, check)| check.is_ok());
            async move { if well { (axum::http::StatusCode::OK, "ready\n") } else { (axum::http::StatusCode::SERVICE_UNAVAILABLE, "not ready\n") } }
        }),
    );
    let door = tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(async move { ends.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(error = %error, "admin.closed");
        }
    });
    Ok((address, door))
}
