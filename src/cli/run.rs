//! `run`: the daemon.

use tokio_util::sync::CancellationToken;

use super::arguments::Run;
use super::{Failure, Outcome, exit, source};
use crate::config::{Arguments, Settings};
use crate::door::Door;
use crate::{broker, clock, console, observe};

/// Runs a broker until it is told to stop; gives its exit code.
pub fn run(run: &Run) -> Outcome {
    let arguments = Arguments { data: run.data.clone(), mllp: run.mllp, http: run.http, admin: run.admin, log_format: run.log_format };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::SYSTEM, format!("no threads: {error}")))?;
    // From here on a signal waits for the end of the start, and does not end the process.
    let signals = {
        let _inside = runtime.enter();
        broker::Signals::new().map_err(|error| Failure::new(error.exit, error.text))?
    };
    let (settings, warnings) = source::usable(run.config.as_deref(), &arguments)?;
    start_saying(&settings)?;
    follow_test_clock(&settings)?;
    for warning in warnings {
        tracing::warn!(file = warning.file, line = warning.line, what = warning.message, "config.warning");
    }
    let outcome = runtime.block_on(serve(settings, signals));
    // A reload that hangs in a file does not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

async fn serve(settings: Settings, signals: broker::Signals) -> Outcome {
    let listen = settings.admin.listen;
    let start_failed = |error: broker::StartError| Failure::new(error.exit, error.text);
    let doors = hub_doors(&settings).await?;
    let mut running = broker::Running::start(settings, broker::opened_sockets()).await.map_err(start_failed)?;
    doors.iter().filter_map(Door::tls).for_each(|tls| running.watch_tls(tls));
    doors.iter().for_each(|door| running.watch(door.keys()));
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
    let hub_doors: Vec<_> = doors.into_iter().map(|door| tokio::spawn(door.serve(closing.clone()))).collect();
    let code = broker::serve(running, signals, admin).await.map_err(start_failed)?;
    closing.cancel();
    for door in hub_doors {
        let _closed = tokio::time::timeout(std::time::Duration::from_secs(1), door).await;
    }
    // A client that holds its connection open does not hold up the end.
    let _closed = tokio::time::timeout(std::time::Duration::from_secs(1), door).await;
    Ok(code)
}

/// The hubs' doors, bound before the broker starts: what is wrong with one is said at once.
async fn hub_doors(settings: &Settings) -> Result<Vec<Door>, Failure> {
    let mut doors = Vec::new();
    for config in &settings.hub_doors {
        let door = Door::bind(config, settings).await;
        doors.push(door.map_err(|error| Failure::new(exit::SYSTEM, error.to_string()))?);
    }
    Ok(doors)
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
