//! Pays: for each destination, debts in their order, lanes by child.
//!
//! # Invariants
//!
//! - A lane is strictly first in, first out: a child's later debts wait for its earlier ones.
//! - A failing lane backs off alone; a destination that is away is asked by one lane at a time.
//! - A debt is settled only after the receiver has it; a crash between the two pays again under the same key.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Present;
use super::terms::Terms;
use crate::clock;
use crate::destinations::{ParentRules, Payment, Receiver, Told};
use crate::names::{DestinationName, HubName};
use crate::outbox::{FiledEvent, Settlement, backoff};
use crate::store::{HubStore, Ledger, LedgerReader, OwedDebt, Recipient, StoreAt, StoreError};

/// Debts paid to a store in one transaction.
const STORE_BATCH: usize = 256;
/// Events of one transaction of a store, those that moves bring included.
const STORE_EVENTS_MAX: usize = 2_048;
/// After a pause, so long is waited for company before a store is written.
const LINGER: Duration = Duration::from_millis(25);
/// Debts looked at in one go for a receiver that takes them one by one.
const WINDOW: usize = 512;
/// Pages of [`WINDOW`] looked through for lanes that may go.
const PAGES_MAX: usize = 64;
/// Failures in a row after which only one lane is tried at a time.
const FAILURES_MAX: u32 = 5;
/// Longest rest between attempts at a receiver that is away.
const REST_MAX: Duration = Duration::from_secs(30);

/// Starts the thread that pays a hub's store.
pub fn start_store(
    (name, hub): (DestinationName, HubName),
    at: StoreAt,
    ledger: Ledger,
    drain: CancellationToken,
    runtime: Handle,
    present: Present,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(format!("pay-{name}")).spawn(move || {
        let _present = present;
        let mut failures = 0;
        loop {
            let payer = StorePayer { name: &name, hub: &hub, ledger: &ledger, drain: &drain, runtime: &runtime };
            match payer.run(&at, &mut failures) {
                Ok(()) => return,
                Err(error) => {
                    failures += 1;
                    metrics::counter!("chis_delivery_attempts_total", "destination" => name.to_string(), "result" => "failed").increment(1);
                    tracing::warn!(destination = %name, error = %error, failures, "delivery.failed: the hub store could not be written; it is tried again");
                    let rest = backoff(failures, 500).min(REST_MAX);
                    let ended = runtime.block_on(async {
                        tokio::select! { () = tokio::time::sleep(rest) => false, () = drain.cancelled() => true }
                    });
                    if ended {
                        return;
                    }
                }
            }
        }
    })
}

struct StorePayer<'a> {
    name: &'a DestinationName,
    hub: &'a HubName,
    ledger: &'a Ledger,
    drain: &'a CancellationToken,
    runtime: &'a Handle,
}

impl StorePayer<'_> {
    fn run(&self, at: &StoreAt, failures: &mut u32) -> Result<(), StoreError> {
        let mut store = HubStore::open(at)?;
        let debts = LedgerReader::open(self.ledger.data())?;
        let mut made = self.ledger.debts(self.name);
        let mut after = 0;
        let mut noting: Option<tokio::task::JoinHandle<bool>> = None;
        loop {
            made.mark_unchanged();
            let held: HashMap<i64, i64> = debts.held_lanes(self.name.as_str())?.into_iter().collect();
            let owed = debts.owed(self.name.as_str(), after, STORE_BATCH)?;
            let last = owed.last().map(|debt| debt.id);
            let settled = self.pay((&mut store, &debts), owed, &held)?;
            if let Some(noted) = noting.take() {
                // What could not be noted is looked for again; the store knows the events and skips them.
                after = if self.runtime.block_on(noted).unwrap_or(false) { after } else { 0 };
            }
            if !settled.is_empty() {
                *failures = 0;
                metrics::counter!("chis_deliveries_total", "destination" => self.name.to_string(), "outcome" => "delivered")
                    .increment(settled.len() as u64);
                let ledger = self.ledger.clone();
                noting = Some(self.runtime.spawn(async move { ledger.settle(settled).await }));
            }
            match last {
                Some(last) => after = last,
                None if after != 0 => after = 0,
                None => {
                    let ended = self.runtime.block_on(async {
                        tokio::select! { _ = made.changed() => false, () = self.drain.cancelled() => true, () = self.ledger.stopped() => true }
                    });
                    if ended {
                        return Ok(());
                    }
                    // What comes within this moment goes into the same transaction.
                    self.runtime.block_on(async { tokio::time::sleep(LINGER).await });
                }
            }
            if self.drain.is_cancelled() {
                if let Some(noted) = noting.take() {
                    let _noted = self.runtime.block_on(noted);
                }
                return Ok(());
            }
        }
    }

    /// Applies what may go in one transaction. An event that cannot be read is held; its lane stands behind it.
    fn pay(
        &self,
        (store, debts): (&mut HubStore, &LedgerReader),
        owed: Vec<OwedDebt>,
        held: &HashMap<i64, i64>,
    ) -> Result<Vec<(i64, u32, Settlement)>, StoreError> {
        let mut standing: HashSet<i64> =
            owed.iter().filter(|debt| held.get(&debt.child).is_some_and(|first| *first < debt.id)).map(|debt| debt.child).collect();
        let mut deliveries = Vec::with_capacity(owed.len());
        let mut settled = Vec::with_capacity(owed.len());
        let mut weight = 0;
        let default = self.ledger.default_hub();
        for debt in owed {
            if standing.contains(&debt.child) {
                continue;
            }
            match debts.store_delivery((self.hub, &default), &debt.event, debt.body.as_deref())? {
                Ok(delivery) => {
                    weight += delivery.weight();
                    deliveries.push(delivery);
                    settled.push((debt.id, debt.attempts + 1, Settlement::Delivered));
                }
                Err(why) => {
                    standing.insert(debt.child);
                    settled.push((debt.id, debt.attempts + 1, Settlement::Held { why: why.into() }));
                }
            }
            // A move brings a whole history; many of them are more than one transaction should hold.
            if STORE_EVENTS_MAX <= weight {
                store.deliver(&deliveries)?;
                deliveries.clear();
                weight = 0;
            }
        }
        if !deliveries.is_empty() {
            store.deliver(&deliveries)?;
        }
        Ok(settled)
    }
}

/// A receiver that takes debts one by one, and how it is paid.
pub struct Paid {
    /// Its name.
    pub name: DestinationName,
    /// Its address and certificates.
    pub receiver: Receiver,
    /// Who it is: decides what is asked again before each attempt.
    pub recipient: Recipient,
    /// Lanes in flight at once.
    pub concurrency: usize,
    /// How fast, and how long.
    pub terms: Terms,
}

/// Pays such a receiver until `drain` is cancelled; attempts under way are waited for.
pub async fn pay_lanes(paid: Paid, ledger: Ledger, drain: CancellationToken) {
    let Paid { name, receiver, recipient, concurrency, terms } = paid;
    let mut lanes = Lanes {
        name,
        receiver: Arc::new(receiver),
        terms: Arc::new(terms),
        recipient,
        concurrency,
        ledger,
        blocked: HashMap::new(),
        flying: HashMap::new(),
        debts: None,
        flights: JoinSet::new(),
        failures: 0,
        rest_until: None,
    };
    let mut made = lanes.ledger.debts(&lanes.name);
    while !drain.is_cancelled() && !lanes.ledger.is_broken() {
        made.mark_unchanged();
        if let Err(error) = lanes.start_flights().await {
            tracing::warn!(destination = %lanes.name, error = %error, "delivery.reader: debts could not be read; it is tried again");
            lanes.rest_until = Some(later(Duration::from_secs(1)));
        }
        let wake = lanes.next_wake();
        tokio::select! {
            Some(landed) = lanes.flights.join_next_with_id() => lanes.land_all(landed).await,
            _ = made.changed() => {}
            () = tokio::time::sleep_until(wake) => {}
            () = drain.cancelled() => {}
        }
    }
    while let Some(landed) = lanes.flights.join_next_with_id().await {
        lanes.land_all(landed).await;
    }
}

struct Flight {
    debt: i64,
    child: i64,
    attempts: u32,
    settlement: Settlement,
    /// What a parents' record was sent, where it may have arrived.
    told: Option<(Told, bool)>,
}

/// What is asked again before parents are told.
struct Asked {
    data: PathBuf,
    rules: Arc<ParentRules>,
}

type Landed = Result<(tokio::task::Id, Flight), tokio::task::JoinError>;

struct Lanes {
    name: DestinationName,
    receiver: Arc<Receiver>,
    terms: Arc<Terms>,
    recipient: Recipient,
    concurrency: usize,
    ledger: Ledger,
    /// Lanes that back off, by child.
    blocked: HashMap<i64, Instant>,
    /// Lanes with an attempt under way, by child.
    flying: HashMap<i64, tokio::task::Id>,
    debts: Option<LedgerReader>,
    flights: JoinSet<Flight>,
    failures: u32,
    rest_until: Option<Instant>,
}

impl Lanes {
    /// Starts attempts for lanes that may go, oldest debt first.
    async fn start_flights(&mut self) -> Result<(), StoreError> {
        let now = clock::beat();
        self.blocked.retain(|_, until| now < *until);
        if self.rest_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        let room = if self.failures < FAILURES_MAX { self.concurrency } else { 1 };
        if room <= self.flying.len() {
            return Ok(());
        }
        for debt in self.eligible(room - self.flying.len()).await? {
            let child = debt.child;
            let (receiver, terms) = (Arc::clone(&self.receiver), Arc::clone(&self.terms));
            let asked = || Asked { data: self.ledger.data().to_path_buf(), rules: self.ledger.parents() };
            let asked = (self.recipient == Recipient::ParentRecord).then(asked);
            let flight = self.flights.spawn(async move { fly(&receiver, debt, asked, &terms).await });
            self.flying.insert(child, flight.id());
        }
        Ok(())
    }

    /// The oldest debts of lanes that may go. Looks at debts and lanes first and reads what is to be sent only for the chosen.
    async fn eligible(&mut self, room: usize) -> Result<Vec<OwedDebt>, StoreError> {
        let debts = match self.debts.take() {
            Some(debts) => debts,
            None => LedgerReader::open(self.ledger.data())?,
        };
        let name = self.name.clone();
        let mut seen: HashSet<i64> = self.flying.keys().chain(self.blocked.keys()).copied().collect();
        let looked = tokio::task::spawn_blocking(move || {
            let chosen = choose(&debts, &name, &mut seen, room);
            (debts, chosen)
        });
        // Without an answer (the look panicked) a new reader is opened the next time.
        let Ok((debts, chosen)) = looked.await else { return Ok(Vec::new()) };
        self.debts = Some(debts);
        chosen
    }

    /// Takes what has landed, notes all of it in one turn of the ledger, and frees the lanes.
    async fn land_all(&mut self, first: Landed) {
        let mut landed = vec![first];
        while let Some(next) = self.flights.try_join_next_with_id() {
            landed.push(next);
        }
        let mut flights: Vec<Flight> = landed.into_iter().filter_map(|landed| self.land(landed)).collect();
        let taken = |flight: &mut Flight| flight.told.take().map(|(told, sure)| (flight.child, told, sure));
        let told: Vec<(i64, Told, bool)> = flights.iter_mut().filter_map(taken).collect();
        // Noted before the debt is settled: a crash between the two sends it again, and what was sent is never forgotten.
        if !told.is_empty() && self.ledger.note_told(told, clock::now()).await.is_err() {
            for flight in &flights {
                self.flying.remove(&flight.child);
            }
            return;
        }
        let children: Vec<i64> = flights.iter().map(|flight| flight.child).collect();
        // Only a noted outcome settles a debt; otherwise it is found again and paid under the same key.
        let _noted =
            self.ledger.settle(flights.into_iter().map(|flight| (flight.debt, flight.attempts, flight.settlement)).collect()).await;
        for child in children {
            self.flying.remove(&child);
        }
    }

    /// Draws the conclusions of one attempt. None for one that panicked: its lane may be tried again at once.
    fn land(&mut self, landed: Landed) -> Option<Flight> {
        let flight = match landed {
            Ok((_, flight)) => flight,
            Err(panicked) => {
                metrics::counter!("chis_panics_total").increment(1);
                self.flying.retain(|_, id| *id != panicked.id());
                return None;
            }
        };
        let outcome = match &flight.settlement {
            Settlement::Delivered => "delivered",
            Settlement::Superseded => "superseded",
            Settlement::Withdrawn { .. } => "withdrawn",
            Settlement::Retry { .. } => "retry",
            Settlement::Held { .. } => "held",
        };
        metrics::counter!("chis_delivery_attempts_total", "destination" => self.name.to_string(), "result" => outcome).increment(1);
        match &flight.settlement {
            Settlement::Retry { after_ms, why } => {
                self.failures += 1;
                let wait = Duration::from_millis(*after_ms);
                self.blocked.insert(flight.child, later(wait));
                if FAILURES_MAX <= self.failures {
                    self.rest_until = Some(later(backoff(self.failures - FAILURES_MAX, 500).min(REST_MAX)));
                }
                if self.failures == FAILURES_MAX {
                    tracing::warn!(destination = %self.name, why, "delivery.away: the receiver does not take deliveries; one lane at a time is tried");
                }
            }
            Settlement::Held { why } => {
                tracing::warn!(destination = %self.name, debt = flight.debt, why, "delivery.held: a person must look; the child's lane waits")
            }
            Settlement::Withdrawn { rule } => metrics::counter!("chis_messages_withheld_total", "rule" => *rule).increment(1),
            Settlement::Delivered | Settlement::Superseded => {
                if FAILURES_MAX <= self.failures {
                    tracing::info!(destination = %self.name, "delivery.back: the receiver takes deliveries again");
                }
                (self.failures, self.rest_until) = (0, None);
                metrics::counter!("chis_deliveries_total", "destination" => self.name.to_string(), "outcome" => outcome).increment(1);
            }
        }
        Some(flight)
    }

    fn next_wake(&self) -> Instant {
        let soonest = self.blocked.values().copied().chain(self.rest_until).min();
        soonest.unwrap_or_else(|| later(Duration::from_secs(60)))
    }
}

fn choose(debts: &LedgerReader, name: &DestinationName, seen: &mut HashSet<i64>, room: usize) -> Result<Vec<OwedDebt>, StoreError> {
    seen.extend(debts.held_lanes(name.as_str())?.into_iter().map(|(child, _)| child));
    let (mut chosen, mut after) = (Vec::new(), 0);
    for _ in 0..PAGES_MAX {
        let page = debts.owed_lanes(name.as_str(), after, WINDOW)?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        // The first debt of a lane that was met decides for the whole lane.
        for (debt, child) in page {
            if seen.insert(child) && chosen.len() < room {
                chosen.extend(debts.owed_debt(debt)?);
            }
        }
        if room <= chosen.len() {
            break;
        }
    }
    Ok(chosen)
}

/// One attempt. With `asked`, what parents may see is asked again first: a consent may have ended since, or a child died.
async fn fly(receiver: &Receiver, debt: OwedDebt, asked: Option<Asked>, terms: &Terms) -> Flight {
    let attempts = debt.attempts + 1;
    let (settlement, told) = match (serde_json::from_slice::<FiledEvent>(&debt.event), debt.body) {
        (Ok(event), Some(body)) => {
            let key = format!("{}/{}", event.event, event.version);
            let control_id = event.control_id.clone();
            let ready = match asked.map(|asked| as_of_now(&asked, debt.child, event, &body)) {
                Some(Err(settlement)) => Err(settlement),
                // Another body is another delivery: an account was added or ended, or the child was named meanwhile.
                Some(Ok(told)) if told.body != body => Ok((format!("{key}/{}", digest(&told.body)), told.body.clone(), Some(told))),
                Some(Ok(told)) => Ok((key, body, Some(told))),
                None => Ok((key, body, None)),
            };
            match ready {
                Ok((key, body, told)) => {
                    let now = clock::now();
                    let payment = Payment { key: &key, control_id: &control_id, body: &body, attempts: debt.attempts, now };
                    terms.pace.turn().await;
                    let settlement = terms.too_old(receiver.pay(payment).await, debt.made_us, now);
                    let sure = matches!(settlement, Settlement::Delivered | Settlement::Superseded);
                    let told = told.filter(|_| settlement.may_have_arrived()).map(|told| (told, sure));
                    (settlement, told)
                }
                Err(settlement) => (settlement, None),
            }
        }
        _ => (Settlement::Held { why: "the filed event or its rendering cannot be read".into() }, None),
    };
    Flight { debt: debt.id, child: debt.child, attempts, settlement, told }
}

/// What parents may be told of this event as the child, its results and the consents are now.
fn as_of_now(asked: &Asked, child: i64, event: FiledEvent, body: &[u8]) -> Result<Told, Settlement> {
    let unread = |why: String| Settlement::Retry { after_ms: 1_000, why };
    let reader = LedgerReader::open(&asked.data).map_err(|error| unread(error.text))?;
    let told = reader.told_now((child, event), body, (&asked.rules, clock::now())).map_err(|error| unread(error.text))?;
    told.map_err(|rule| Settlement::Withdrawn { rule })
}

/// Tells bodies apart; no secret.
fn digest(body: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(body).into();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A point on tokio's clock, which tests can pause.
fn later(wait: Duration) -> Instant {
    clock::beat() + wait
}
