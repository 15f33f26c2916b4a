//! What people may ask and do about deliveries: how receivers stand, stopping one, trying its connection, held debts, sending again.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;

use super::receivers::{Board, Post, Stand};
use crate::clock;
use crate::config::Settings;
use crate::destinations::{Kind, ProbeStep, Receiver};
use crate::store::{
    HeldAct, HeldDebts, HeldEffect, HubReader, Ledger, LedgerReader, PauseEffect, ReceiverRow, ReplayOrder, ReplayPlan, StoreError,
    WaitingDebt,
};

/// Debts made again in a second, where nobody says how many.
pub const REPLAY_PER_SECOND: u32 = 20;
/// Most that can be asked for.
const REPLAY_PER_SECOND_MAX: u32 = 10_000;

/// One receiver as a person sees it: what the ledger and what its payer say.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiverView {
    /// `running`, `paused`, `resting`, `window`.
    pub state: String,
    /// Age of the oldest debt that waits, seconds.
    pub oldest_seconds: Option<i64>,
    /// Out of the ledger.
    #[serde(flatten)]
    pub row: ReceiverRow,
    /// What its payer says.
    pub now: Stand,
}

/// All that may be done about deliveries. Every method may block.
#[derive(Clone)]
pub struct DeliveryDesk {
    pub(super) ledger: Ledger,
    pub(super) board: Board,
    pub(super) settings: Arc<Settings>,
    pub(super) runtime: Handle,
}

impl DeliveryDesk {
    /// The receivers as they run.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Every receiver of the settings.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn list(&self) -> Result<Vec<ReceiverView>, StoreError> {
        let reader = LedgerReader::open(self.ledger.data())?;
        self.board.posts().map(|post| view(&reader, post)).collect()
    }

    /// One receiver, with the oldest debts that wait or are held.
    ///
    /// # Errors
    ///
    /// 66 where there is none; else the ledger cannot be read.
    pub fn show(&self, name: &str) -> Result<(ReceiverView, Vec<WaitingDebt>), StoreError> {
        let reader = LedgerReader::open(self.ledger.data())?;
        Ok((view(&reader, self.post(name)?)?, reader.waiting_debts(name)?))
    }

    fn post(&self, name: &str) -> Result<&Arc<Post>, StoreError> {
        self.board.post(name).ok_or_else(|| {
            let known: Vec<&str> = self.board.posts().map(|post| post.name.as_str()).collect();
            StoreError { text: format!("there is no destination {name:?}; one of: {}", known.join(", ")), exit: 66 }
        })
    }

    /// Stops a receiver, or lets it go on; or only says what that would do.
    ///
    /// # Errors
    ///
    /// 66 where there is none; else the ledger's.
    pub fn pause(&self, name: &str, is_paused: bool, reason: (&str, bool)) -> Result<PauseEffect, StoreError> {
        let name = self.post(name)?.name.clone();
        let effect = self.runtime.block_on(self.ledger.pause_receiver(&name, is_paused, reason, clock::now()))?;
        if effect.done {
            tracing::info!(destination = %name, state = effect.then, "delivery.steered: a person decided; the reason is in the audit");
        }
        Ok(effect)
    }

    /// Opens a connection as a payment does and sends nothing of a child: each step with its time.
    ///
    /// # Errors
    ///
    /// 66 where there is none. A step that fails is in what is given back.
    pub fn test(&self, name: &str) -> Result<Vec<ProbeStep>, StoreError> {
        let config = self.post(name)?.config();
        if let Kind::Store { .. } = config.kind {
            let begun = clock::tick();
            let opened = self.settings.store_at(&config.kind).map(HubReader::open);
            let outcome = match opened {
                Some(Ok(_)) => Ok("the store can be opened".to_owned()),
                Some(Err(error)) => Err(error.text),
                None => Err("the settings name no store".to_owned()),
            };
            return Ok(vec![ProbeStep { step: "open the store", milliseconds: clock::tick().duration_since(begun).as_millis(), outcome }]);
        }
        if let Kind::CareplusCsv(files) = &config.kind {
            let begun = clock::tick();
            let outcome = match std::fs::metadata(&files.folder) {
                Ok(found) if found.is_dir() && !found.permissions().readonly() => Ok("the folder is there".to_owned()),
                Ok(_) => Err(format!("{} is no folder that can be written", files.folder.display())),
                Err(error) => Err(format!("{} cannot be looked at ({})", files.folder.display(), error.kind())),
            };
            return Ok(vec![ProbeStep { step: "the folder", milliseconds: clock::tick().duration_since(begun).as_millis(), outcome }]);
        }
        let receiver = Receiver::new(&config.kind).map_err(|text| StoreError { text, exit: 78 })?;
        Ok(self.runtime.block_on(receiver.probe(clock::tick)))
    }

    /// Releases or withdraws held debts, or only says which.
    ///
    /// # Errors
    ///
    /// 66 where nothing like it is held; else the ledger's.
    pub fn held(&self, debts: HeldDebts, act: HeldAct, reason: (&str, bool)) -> Result<HeldEffect, StoreError> {
        if let HeldDebts::Group(name, _) = &debts {
            self.post(name.as_str())?;
        }
        self.runtime.block_on(self.ledger.held_debts(debts, act, reason, clock::now()))
    }

    /// What sending again would do.
    ///
    /// # Errors
    ///
    /// 64 where it cannot be done as asked, 66 where there is no such destination; else the ledger cannot be read.
    pub fn replay_plan(&self, order: &ReplayOrder) -> Result<ReplayPlan, StoreError> {
        for name in order.to.iter().chain(&order.query.destination) {
            self.post(name)?;
        }
        if !(1..=REPLAY_PER_SECOND_MAX).contains(&order.per_second) {
            let text = format!("a pace is from 1/s to {REPLAY_PER_SECOND_MAX}/s");
            return Err(StoreError { text, exit: 64 });
        }
        LedgerReader::open(self.ledger.data())?.replay_plan(self.ledger.filing_rules(), order)
    }

    /// Begins a job that sends again. Gives what it will do, and its number.
    ///
    /// # Errors
    ///
    /// As [`DeliveryDesk::replay_plan`].
    pub fn replay(&self, order: &ReplayOrder, reason: &str) -> Result<(ReplayPlan, i64), StoreError> {
        let plan = self.replay_plan(order)?;
        let job = self.runtime.block_on(self.ledger.begin_replay(order, plan.events, reason, clock::now()))?;
        Ok((plan, job))
    }
}

fn view(reader: &LedgerReader, post: &Post) -> Result<ReceiverView, StoreError> {
    let now = clock::now();
    let (row, stand) = (reader.receiver(post.name.as_str())?, post.stand(now));
    let state = if row.paused.is_some() { "paused" } else { stand.state }.to_owned();
    let oldest: Option<jiff::Timestamp> = row.oldest.as_deref().and_then(|at| at.parse().ok());
    let oldest_seconds = oldest.map(|oldest| now.duration_since(oldest).as_secs().max(0));
    Ok(ReceiverView { state, oldest_seconds, row, now: stand })
}

/// How often a job is looked for, and at most how long a turn of one is.
const EVERY: Duration = Duration::from_millis(250);

/// Starts the thread that makes the debts of jobs that send again, at the pace of each. It ends when `ends` is cancelled.
pub(super) fn start_replays(
    ledger: Ledger,
    ends: tokio_util::sync::CancellationToken,
    runtime: Handle,
    present: super::Present,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("replays".into()).spawn(move || {
        let _present = present;
        let mut open: Option<LedgerReader> = None;
        // Debts that the pace allowed and that were not made yet, in thousandths.
        let (mut allowed, mut counted) = (0_u64, clock::tick());
        loop {
            let now = clock::tick();
            let gone = u64::try_from(now.duration_since(counted).as_millis()).unwrap_or(u64::MAX).min(1_000);
            counted = now;
            if let Err(error) = turn(&ledger, &runtime, &mut open, (&mut allowed, gone)) {
                open = None;
                tracing::error!(error = %error, "replay.failed: a job could not go on; it is tried again");
            }
            let ended = runtime.block_on(async {
                tokio::select! { () = tokio::time::sleep(EVERY) => false, () = ends.cancelled() => true, () = ledger.stopped() => true }
            });
            if ended {
                return;
            }
        }
    })
}

fn turn(ledger: &Ledger, runtime: &Handle, open: &mut Option<LedgerReader>, (allowed, gone): (&mut u64, u64)) -> Result<(), StoreError> {
    let reader = match open {
        Some(reader) => reader,
        None => open.insert(LedgerReader::open(ledger.data())?),
    };
    let Some(running) = reader.running_replay()? else {
        *allowed = 0;
        return Ok(());
    };
    let per_second = u64::from(running.order.per_second.max(1));
    *allowed = allowed.saturating_add(gone.saturating_mul(per_second)).min(per_second * 1_000);
    let most = usize::try_from(*allowed / 1_000).unwrap_or(usize::MAX);
    if most == 0 {
        return Ok(());
    }
    let batch = reader.replay_batch(ledger.filing_rules(), &running.order, running.cursor, most)?;
    let made = runtime.block_on(ledger.replay(&running, batch, clock::now()))?;
    *allowed = allowed.saturating_sub(u64::try_from(made).unwrap_or(0) * 1_000);
    Ok(())
}
