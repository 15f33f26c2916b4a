//! `run`: the daemon.

use tokio_util::sync::CancellationToken;

use super::arguments::Run;
use super::{Failure, Outcome, exit, source};
use crate::config::{Arguments, Settings};
use crate::{broker, clock, console, observe};

/// Runs a broker until it is told to stop; gives its exit code.
pub fn run(run: &Run) -> Outcome {
    let arguments = Arguments { data: run.data.clone(), mllp: run.mllp, http: run.http, admin: run.admin, log_format: run.log_format };
    let (settings, warnings) = source::usable(run.config.as_deref(), &arguments)?;
    start_saying(&settings)?;
    follow_test_clock(&settings)?;
    for warning in warnings {
        tracing::warn!(file = warning.file, line = warning.line, what = warning.message, "config.warning");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::SYSTEM, format!("no threads: {error}")))?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Outcome {
    let listen = settings.admin.listen;
    let start_failed = |error: broker::StartError| Failure::new(error.exit, error.text);
    let running = broker::Running::start(settings, broker::opened_sockets()).await.map_err(start_failed)?;
    let closing = CancellationToken::new();
    let opened = console::open(listen, running.operations(), closing.clone()).await;
    let (admin, door) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            running.stop().await;
            return Err(Failure::new(
                exit::SYSTEM,
                format!("the admin door cannot be opened on {listen}: {error}; is another broker running?"),
            ));
        }
    };
    let code = broker::serve(running, admin).await.map_err(start_failed)?;
    closing.cancel();
    // A client that holds its connection open does not hold up the end.
    let _closed = tokio::time::timeout(std::time::Duration::from_secs(1), door).await;
    Ok(code)
}

/// From here on this process lives by the test clock of its settings, where they name one.
pub(super) fn follow_test_clock(settings: &Settings) -> Result<(), Failure> {
    let Some(file) = &settings.test.clock else { return Ok(()) };
    clock::follow(file).map_err(|error| Failure::new(exit::CONFIG, error.to_string()))?;
    tracing::warn!("clock.test: this process follows a test clock; nothing it says of today is true");
    Ok(())
}

fn start_saying(settings: &Settings) -> Result<(), Failure> {
    let failed = |error: observe::SetupError| Failure::new(exit::CONFIG, format!("[log]: {error}"));
    observe::start_logging(settings.log.format, &settings.log.level).map_err(failed)?;
    observe::metrics().map_err(failed)?;
    observe::hook_panics();
    metrics::gauge!("chis_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(())
}
