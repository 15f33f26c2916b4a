//! The broker as a service: tells systemd what it does, hears signals, feeds the watchdog, drains.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Running, StartError};
use crate::intake::OpenedSocket;

/// Serves until SIGTERM or SIGINT has drained it, or until the ledger is broken. Gives the exit code.
/// `admin` is where the admin door is, for the log.
pub async fn serve(running: Running, admin: SocketAddr) -> Result<u8, StartError> {
    let no_signals = |error: std::io::Error| StartError { text: format!("signals cannot be heard: {error}"), exit: 71 };
    let mut signals = Signals::new().map_err(no_signals)?;
    let doors: Vec<String> = running.addresses.mllp.iter().map(|at| format!("mllp {at}")).chain(running.addresses.http.iter().map(|at| format!("http {at}"))).collect();
    tracing::info!(doors = doors.join(", "), admin = %admin, "broker.ready");
    tell(&[NotifyState::Ready, NotifyState::Status("accepting")]);
    let mut watchdog = Watchdog::new(&running);
    loop {
        tokio::select! {
            _ = signals.stop.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.reload.recv() => reload(&running).await,
            () = running.broken() => {
                tracing::error!("broker.broken: the ledger could not be written; stopping with exit code 74");
                break;
            }
            () = watchdog.turn() => watchdog.feed(&running),
        }
    }
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    tracing::info!("broker.draining");
    let drained = tokio::spawn(running.stop());
    tokio::select! {
        code = drained => Ok(code.unwrap_or(70)),
        // A second signal ends at once; that is as safe as a kill.
        _ = signals.stop.recv() => Ok(0),
        _ = signals.interrupt.recv() => Ok(0),
    }
}

async fn reload(running: &Running) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
    match running.reload().await {
        Ok(hash) => tracing::info!(bundle = hash, "config.reloaded"),
        Err(refused) => {
            for mistake in &refused.mistakes {
                tracing::error!(mistake, "config.refused: the old bundle stays active");
            }
        }
    }
    tell(&[NotifyState::Ready, NotifyState::Status("accepting")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = %error, "notify.failed");
    }
}

struct Signals {
    stop: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { stop: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, reload: signal(SignalKind::hangup())? })
    }
}

/// Says "alive" only when the writer has done a turn since the last time, which it is made to do by a question of our own.
struct Watchdog {
    every: Option<Duration>,
    ledger: crate::store::Ledger,
    turns: u64,
}

impl Watchdog {
    fn new(running: &Running) -> Self {
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        Self { every, ledger: running.ledger().clone(), turns: 0 }
    }

    async fn turn(&self) {
        match self.every {
            Some(every) => tokio::time::sleep(every).await,
            None => std::future::pending().await,
        }
    }

    fn feed(&mut self, running: &Running) {
        let turns = self.ledger.turns();
        // An idle writer has nothing to move it; it is asked, and counts when it answers.
        self.ledger.nudge();
        if turns != self.turns && running.is_whole() {
            tell(&[NotifyState::Watchdog]);
        }
        self.turns = turns;
    }
}

/// Sockets that systemd opened for us, by name (`LISTEN_FDS`, `LISTEN_FDNAMES`); a nameless one is an MLLP door.
pub fn opened_sockets() -> Vec<OpenedSocket> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut opened = listenfd::ListenFd::from_env();
    let sockets = (0..opened.len()).filter_map(|index| {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("mllp").to_owned();
        let listener = opened.take_tcp_listener(index).ok()??;
        listener.set_nonblocking(true).ok()?;
        Some(OpenedSocket { name, listener })
    });
    sockets.collect()
}
