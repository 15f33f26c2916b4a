//! The broker as a service: tells systemd what it does, hears signals, feeds the watchdog, drains.

use std::net::SocketAddr;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use super::{Reloader, Running, StartError};
use crate::intake::OpenedSocket;

/// Serves until SIGTERM or SIGINT has drained it, or until the ledger is broken. Gives the exit code. What `signals` heard during the
/// start is done now. `admin` is where the admin door is, for the log.
pub async fn serve(running: Running, mut signals: Signals, admin: SocketAddr) -> Result<u8, StartError> {
    let doors: Vec<String> = running
        .addresses
        .mllp
        .iter()
        .map(|at| format!("mllp {at}"))
        .chain(running.addresses.http.iter().map(|at| format!("http {at}")))
        .collect();
    tracing::info!(doors = doors.join(", "), admin = %admin, "broker.ready");
    tell(&[NotifyState::Ready, NotifyState::Status("accepting")]);
    let mut watchdog = Watchdog::new(&running);
    let (reload_wanted, reloads) = start_reloads(&running);
    loop {
        tokio::select! {
            _ = signals.stop.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.reload.recv() => reload_wanted.notify_one(),
            () = running.broken() => {
                tracing::error!("broker.broken: the ledger could not be written; stopping with exit code 74");
                break;
            }
            () = watchdog.turn() => watchdog.feed(&running),
        }
    }
    reloads.abort();
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

/// Reloads beside the loop that hears signals, one after the other. Whatever is wanted while one is under way is one more after it.
fn start_reloads(running: &Running) -> (Arc<Notify>, JoinHandle<()>) {
    let wanted = Arc::new(Notify::new());
    let (heard, reloader) = (Arc::clone(&wanted), running.reloader());
    let reloads = tokio::spawn(async move {
        loop {
            heard.notified().await;
            reload(&reloader).await;
        }
    });
    (wanted, reloads)
}

async fn reload(reloader: &Reloader) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
    match reloader.reload().await {
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

/// TERM, INT and HUP. To be made before anything else is started: from then on none of them ends the process by itself.
pub struct Signals {
    stop: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    /// Hears signals from now on. To be called inside a runtime.
    ///
    /// # Errors
    ///
    /// The operating system refuses: exit code 71.
    pub fn new() -> Result<Self, StartError> {
        let heard = |kind| signal(kind).map_err(|error| StartError { text: format!("signals cannot be heard: {error}"), exit: 71 });
        let (stop, interrupt) = (heard(SignalKind::terminate())?, heard(SignalKind::interrupt())?);
        Ok(Self { stop, interrupt, reload: heard(SignalKind::hangup())? })
    }
}

/// Says "alive" only when the writer has done a turn since the last time, which it is made to do by a question of our own.
struct Watchdog {
    /// One clock for the whole life: whatever else happens does not begin it anew.
    ticks: Option<Interval>,
    ledger: crate::store::Ledger,
    turns: u64,
}

impl Watchdog {
    fn new(running: &Running) -> Self {
        let mut ticks = sd_notify::watchdog_enabled().map(|limit| limit / 3).filter(|every| !every.is_zero()).map(tokio::time::interval);
        if let Some(ticks) = &mut ticks {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        Self { ticks, ledger: running.ledger().clone(), turns: 0 }
    }

    async fn turn(&mut self) {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
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
