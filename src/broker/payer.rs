//! Pays: for each destination, debts in their order, lanes by child.
//!
//! # Invariants
//!
//! - A lane is strictly first in, first out: a child's later debts wait for its earlier ones.
//! - A failing lane backs off alone; a destination that is away is asked by one lane at a time.
//! - In a window, and while a person has stopped it, nothing is sent to a receiver.
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

use super::ahead::{Ahead, Owed};
use super::receivers::Post;
use super::{Present, viewer};
use crate::clock;
use crate::destinations::{ParentRules, Payment, Receiver, Told, Turn, VaccinationFile, Viewer};
use crate::names::HubName;
use crate::outbox::{Breaker, Circuit, FiledEvent, REST_MAX, Settled, Settlement, backoff};
use crate::store::{HubStore, Ledger, LedgerReader, OwedDebt, Recipient, StoreAt, StoreError};

/// Debts paid to a store in one transaction.
const STORE_BATCH: usize = 256;
/// Events of one transaction of a store, those that moves bring included.
const STORE_EVENTS_MAX: usize = 2_048;
/// After a pause, so long is waited for company before a store is written.
const LINGER: Duration = Duration::from_millis(25);
/// All debts are looked at again from the first one on, so often at least.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// Where nothing calls before, it is looked so often whether there is something to do.
const POLL: Duration = Duration::from_secs(60);
/// A lane rests so long when its outcome could not be noted.
const UNNOTED: Duration = Duration::from_secs(1);
/// How long a cause of holds is not said again.
const SAID_HELD: Duration = Duration::from_secs(60);
/// Attempts before a debt's age holds it: some twenty minutes of them, also for one that a person released.
const MAX_AGE_ATTEMPTS: u32 = 10;
/// Whether a window has begun or ended is asked so often.
const WINDOW_POLL: Duration = Duration::from_secs(1);

/// Starts the thread that pays a hub's store.
pub fn start_store(
    (post, hub): (Arc<Post>, HubName),
    at: StoreAt,
    ledger: Ledger,
    drain: CancellationToken,
    runtime: Handle,
    present: Present,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let name = post.name.clone();
    std::thread::Builder::new().name(format!("pay-{name}")).spawn(move || {
        let _present = present;
        let mut breaker = Breaker::default();
        let mut failures = 0;
        loop {
            let payer = StorePayer { post: &post, hub: &hub, ledger: &ledger, drain: &drain, runtime: &runtime };
            match payer.run(&at, (&mut breaker, &mut failures)) {
                Ok(()) => return,
                Err(error) => {
                    failures += 1;
                    metrics::counter!("chis_delivery_attempts_total", "destination" => name.to_string(), "result" => "failed").increment(1);
                    if breaker.failed(clock::beat()) {
                        post.circuit(Circuit::Open, clock::now());
                        tracing::warn!(destination = %name, error = %error, "delivery.away: the hub store cannot be written; it is tried again until it can");
                    } else if breaker.circuit(clock::beat()) == Circuit::Closed {
                        tracing::warn!(destination = %name, error = %error, failures, "delivery.failed: the hub store could not be written; it is tried again");
                    }
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
    post: &'a Post,
    hub: &'a HubName,
    ledger: &'a Ledger,
    drain: &'a CancellationToken,
    runtime: &'a Handle,
}

impl StorePayer<'_> {
    fn run(&self, at: &StoreAt, (breaker, failures): (&mut Breaker, &mut u32)) -> Result<(), StoreError> {
        let mut store = HubStore::open(at)?;
        let debts = LedgerReader::open(self.ledger.data())?;
        let name = self.post.name.as_str();
        let mut made = self.ledger.debts(&self.post.name);
        let (mut after, mut looked_all, mut put_back) = (0, clock::beat(), made.borrow().put_back);
        let mut noting: Option<tokio::task::JoinHandle<bool>> = None;
        let mut just_held: HashMap<i64, i64> = HashMap::new();
        loop {
            let now = made.borrow_and_update().put_back;
            if now != put_back || LOOK_AGAIN <= clock::beat().duration_since(looked_all) {
                (after, looked_all, put_back) = (0, clock::beat(), now);
            }
            let is_stopped = self.post.window(clock::now()).is_some() || debts.is_paused(name)?;
            let owed = if is_stopped { Vec::new() } else { debts.owed(name, after, STORE_BATCH)? };
            let last = owed.last().map(|debt| debt.id);
            let mut held: HashMap<i64, i64> = if owed.is_empty() { HashMap::new() } else { debts.held_lanes(name)?.into_iter().collect() };
            // What the batch before holds may not be noted yet.
            for (child, debt) in just_held {
                held.entry(child).or_insert(debt);
            }
            let lanes: HashMap<i64, i64> = owed.iter().map(|debt| (debt.id, debt.child)).collect();
            let settled = self.pay((&mut store, &debts), owed, &held)?;
            just_held = settled
                .iter()
                .filter(|(_, _, end)| matches!(end, Settlement::Held { .. }))
                .filter_map(|(debt, ..)| Some((*lanes.get(debt)?, *debt)))
                .collect();
            let mut is_noted = true;
            if let Some(noted) = noting.take() {
                is_noted = self.runtime.block_on(noted).unwrap_or(false);
            }
            if !settled.is_empty() {
                *failures = 0;
                self.is_back(breaker);
                self.post.paid(settled.len() as u64);
                metrics::counter!("chis_deliveries_total", "destination" => name.to_owned(), "outcome" => "delivered")
                    .increment(settled.len() as u64);
                let ledger = self.ledger.clone();
                noting = Some(self.runtime.spawn(async move { ledger.settle(settled).await }));
            }
            match last {
                // What could not be noted is looked for again after a while; the store knows the events and skips them.
                _ if !is_noted => {
                    after = 0;
                    self.runtime.block_on(async { tokio::time::sleep(UNNOTED).await });
                }
                Some(last) => after = last,
                // What was paid last is noted before anybody waits.
                None if noting.is_some() => {}
                None => {
                    if !is_stopped {
                        // It is open, and there is nothing to write.
                        self.is_back(breaker);
                    }
                    let wait = if is_stopped || !self.post.config().care.window.is_empty() { clock::poll(WINDOW_POLL) } else { POLL };
                    let ended = self.runtime.block_on(async {
                        tokio::select! {
                            _ = made.changed() => false, () = tokio::time::sleep(wait) => false,
                            () = self.drain.cancelled() => true, () = self.ledger.stopped() => true,
                        }
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

    fn is_back(&self, breaker: &mut Breaker) {
        if let Some(outage) = breaker.succeeded(clock::beat()) {
            self.post.circuit(Circuit::Closed, clock::now());
            let seconds = outage.lasted.as_secs();
            tracing::info!(destination = %self.post.name, seconds, "delivery.back: the hub store can be written again");
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
    /// Its name, its settings, and where it is told how it stands.
    pub post: Arc<Post>,
    /// Its address and certificates.
    pub receiver: Receiver,
    /// Who it is: decides what is asked again before each attempt.
    pub recipient: Recipient,
    /// Lanes in flight at once.
    pub concurrency: usize,
}

/// Pays such a receiver until `drain` is cancelled; attempts under way are waited for.
pub async fn pay_lanes(paid: Paid, ledger: Ledger, drain: CancellationToken) {
    let Paid { post, receiver, recipient, concurrency } = paid;
    let rate = post.config().care.rate.map(|rate| Allowance { per_second: rate, thousandths: 0, counted: clock::beat() });
    let mut lanes = Lanes {
        post,
        receiver: Arc::new(receiver),
        recipient,
        concurrency,
        ledger,
        ahead: Ahead::default(),
        looked_all: clock::beat(),
        flying: HashMap::new(),
        debts: None,
        flights: JoinSet::new(),
        breaker: Breaker::default(),
        rate,
        stop: Stop::No,
        retry_reader: None,
        said_trying: false,
        said_held: None,
    };
    let mut made = lanes.ledger.debts(&lanes.post.name);
    let mut put_back = made.borrow().put_back;
    while !drain.is_cancelled() && !lanes.ledger.is_broken() {
        let now = made.borrow_and_update().put_back;
        if now != put_back || LOOK_AGAIN <= clock::beat().duration_since(lanes.looked_all) {
            lanes.ahead.look_again();
            (put_back, lanes.looked_all) = (now, clock::beat());
        }
        if let Err(error) = lanes.start_flights().await {
            tracing::warn!(destination = %lanes.post.name, error = %error, "delivery.reader: debts could not be read; it is tried again");
            lanes.retry_reader = Some(later(Duration::from_secs(1)));
        }
        lanes.post.lanes(lanes.flying.len(), lanes.ahead.resting());
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

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    Window,
    Paused,
}

/// What may be sent by now of so many in a second.
struct Allowance {
    per_second: u32,
    thousandths: u64,
    counted: Instant,
}

impl Allowance {
    fn whole(&mut self, now: Instant) -> usize {
        let gained = u64::try_from(now.saturating_duration_since(self.counted).as_millis())
            .unwrap_or(u64::MAX)
            .saturating_mul(self.per_second.into());
        if 0 < gained {
            self.counted = now;
        }
        // A quiet hour is not made up for afterwards.
        self.thousandths = self.thousandths.saturating_add(gained).min(u64::from(self.per_second) * 1_000);
        usize::try_from(self.thousandths / 1_000).unwrap_or(usize::MAX)
    }

    fn spend(&mut self, count: usize) {
        self.thousandths = self.thousandths.saturating_sub(count as u64 * 1_000);
    }

    /// Until there is one more.
    fn wait(&self) -> Duration {
        let missing = 1_000_u64.saturating_sub(self.thousandths);
        Duration::from_millis(missing / u64::from(self.per_second.max(1)) + 1)
    }
}

struct Flight {
    debt: i64,
    child: i64,
    attempts: u32,
    made_us: i64,
    settlement: Settlement,
    /// Nobody was asked: what is to be said could not be made. That is no failure of the receiver.
    is_ours: bool,
    /// Digest of what was sent, where it is not what stands with the debt.
    sent: Option<[u8; 32]>,
    /// What a parents' record was sent, where it may have arrived.
    told: Option<(Told, bool)>,
    /// Control ids of a viewer's messages that go again by force, with those that they had.
    renamed: Vec<(String, String)>,
}

type Landed = Result<(tokio::task::Id, Flight), tokio::task::JoinError>;

struct Lanes {
    post: Arc<Post>,
    receiver: Arc<Receiver>,
    recipient: Recipient,
    concurrency: usize,
    ledger: Ledger,
    ahead: Ahead,
    /// When all debts were looked at from the first one on.
    looked_all: Instant,
    /// Lanes with an attempt under way, by child.
    flying: HashMap<i64, tokio::task::Id>,
    debts: Option<LedgerReader>,
    flights: JoinSet<Flight>,
    breaker: Breaker,
    rate: Option<Allowance>,
    stop: Stop,
    retry_reader: Option<Instant>,
    /// Of this outage it was said that one lane is tried.
    said_trying: bool,
    /// The cause of the last hold that was said, and until when it is not said again.
    said_held: Option<(String, Instant)>,
}

/// A receiver's debts in the ledger.
struct Book<'a>(&'a LedgerReader, &'a str);

impl Owed for Book<'_> {
    type Error = StoreError;

    fn page(&self, after: i64, limit: usize) -> Result<Vec<(i64, i64)>, StoreError> {
        self.0.owed_lanes(self.1, after, limit)
    }

    fn head(&self, lane: i64) -> Result<Option<i64>, StoreError> {
        self.0.lane_head(self.1, lane)
    }

    fn stands(&self, lane: i64, debt: i64) -> Result<bool, StoreError> {
        self.0.lane_stands(self.1, lane, debt)
    }
}

impl Lanes {
    /// Lanes that may be begun now.
    fn room(&mut self, now: Instant) -> usize {
        let room = self.breaker.room(now, self.concurrency).saturating_sub(self.flying.len());
        self.rate.as_mut().map_or(room, |rate| room.min(rate.whole(now)))
    }

    /// Starts attempts for lanes that may go, oldest debt first.
    async fn start_flights(&mut self) -> Result<(), StoreError> {
        let now = clock::beat();
        if self.retry_reader.is_some_and(|until| now < until) {
            return Ok(());
        }
        self.retry_reader = None;
        self.stop = if self.post.window(clock::now()).is_some() { Stop::Window } else { Stop::No };
        let room = self.room(now);
        if room == 0 || self.stop == Stop::Window {
            return Ok(());
        }
        let debts = self.eligible(room, now).await?;
        if let Some(rate) = &mut self.rate {
            rate.spend(debts.len());
        }
        if !debts.is_empty() && self.breaker.circuit(now) == Circuit::HalfOpen {
            self.post.circuit(Circuit::HalfOpen, clock::now());
            if !self.said_trying {
                self.said_trying = true;
                tracing::info!(destination = %self.post.name, "delivery.trying: one lane at a time is tried until the receiver takes it");
            }
        }
        for debt in debts {
            let child = debt.child;
            let receiver = Arc::clone(&self.receiver);
            let asked = Asked::of(&self.recipient, &self.ledger);
            let flight = self.flights.spawn(async move { fly(&receiver, debt, asked).await });
            self.flying.insert(child, flight.id());
        }
        Ok(())
    }

    /// The oldest debts of lanes that may go. Looks at debts and lanes first and reads what is to be sent only for the chosen.
    async fn eligible(&mut self, room: usize, now: Instant) -> Result<Vec<OwedDebt>, StoreError> {
        let debts = match self.debts.take() {
            Some(debts) => debts,
            None => LedgerReader::open(self.ledger.data())?,
        };
        let name = self.post.name.clone();
        let mut ahead = std::mem::take(&mut self.ahead);
        let looked = tokio::task::spawn_blocking(move || {
            let chosen = choose(&debts, name.as_str(), &mut ahead, room, now);
            (debts, ahead, chosen)
        });
        // Without an answer (the look panicked) it is begun anew the next time.
        let Ok((debts, ahead, chosen)) = looked.await else {
            self.begin_anew();
            return Ok(Vec::new());
        };
        match chosen {
            Ok(Some(chosen)) => {
                (self.debts, self.ahead) = (Some(debts), ahead);
                Ok(chosen)
            }
            Ok(None) => {
                (self.debts, self.ahead, self.stop) = (Some(debts), ahead, Stop::Paused);
                Ok(Vec::new())
            }
            Err(error) => {
                self.begin_anew();
                Err(error)
            }
        }
    }

    fn begin_anew(&mut self) {
        self.ahead = Ahead::default();
        self.flying.keys().for_each(|lane| self.ahead.keep_busy(*lane));
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
                self.ahead.rest(flight.child, later(UNNOTED));
            }
            return;
        }
        let lanes: Vec<(i64, Option<Duration>)> = flights.iter().map(|flight| (flight.child, rest_of(&flight.settlement))).collect();
        let settled = flights.into_iter().map(|flight| Settled {
            debt: flight.debt,
            attempts: flight.attempts,
            settlement: flight.settlement,
            sent: flight.sent,
            renamed: flight.renamed,
        });
        // Only a noted outcome settles a debt; otherwise it is found again and paid under the same key.
        let is_noted = self.ledger.settle(settled.collect::<Vec<_>>()).await;
        for (lane, rest) in lanes {
            self.flying.remove(&lane);
            // While the ledger notes nothing (its disk is full), nobody is sent the same again and again.
            match rest.or((!is_noted).then_some(UNNOTED)) {
                Some(rest) => self.ahead.rest(lane, later(rest)),
                None => self.ahead.free(lane),
            }
        }
    }

    /// Draws the conclusions of one attempt. None for one that panicked: its lane rests.
    fn land(&mut self, landed: Landed) -> Option<Flight> {
        let mut flight = match landed {
            Ok((_, flight)) => flight,
            Err(panicked) => {
                metrics::counter!("chis_panics_total").increment(1);
                let lanes: Vec<i64> = self.flying.iter().filter(|(_, id)| **id == panicked.id()).map(|(lane, _)| *lane).collect();
                for lane in lanes {
                    self.flying.remove(&lane);
                    // Whatever made it panic is still there: others go first.
                    self.ahead.rest(lane, later(POLL));
                }
                return None;
            }
        };
        if let Settlement::Retry { why, .. } = &flight.settlement {
            if !flight.is_ours && self.breaker.failed(clock::beat()) {
                self.said_trying = false;
                tracing::warn!(destination = %self.post.name, why, "delivery.away: the receiver does not take deliveries; one lane at a time is tried");
            }
            if self.breaker.circuit(clock::beat()) != Circuit::Closed {
                self.post.circuit(Circuit::Open, clock::now());
            }
            // A debt that a person released has its tries anew, however old it is.
            let is_tried = MAX_AGE_ATTEMPTS <= flight.attempts;
            if let Some(limit) = self.post.config().max_age().filter(|limit| is_tried && is_older(flight.made_us, *limit)) {
                flight.settlement = Settlement::Held { why: format!("{why}, tried for more than {} s", limit.as_secs()) };
            }
        }
        let outcome = match &flight.settlement {
            Settlement::Delivered => "delivered",
            Settlement::Superseded => "superseded",
            Settlement::Withdrawn { .. } => "withdrawn",
            Settlement::Retry { .. } => "retry",
            Settlement::Held { .. } => "held",
        };
        let name = || self.post.name.to_string();
        metrics::counter!("chis_delivery_attempts_total", "destination" => name(), "result" => outcome).increment(1);
        match &flight.settlement {
            Settlement::Retry { .. } => {}
            Settlement::Held { why } => {
                // Where a receiver refuses everything, one line a minute says so.
                if self.said_held.as_ref().is_none_or(|(said, until)| said != why || *until < clock::beat()) {
                    tracing::warn!(destination = %self.post.name, debt = flight.debt, why, "delivery.held: a person must look; the child's lane waits (of more for this cause the next minute says nothing; `held list` has them)");
                    self.said_held = Some((why.clone(), later(SAID_HELD)));
                }
            }
            Settlement::Withdrawn { rule } => metrics::counter!("chis_messages_withheld_total", "rule" => *rule).increment(1),
            Settlement::Delivered | Settlement::Superseded => {
                if let Some(outage) = self.breaker.succeeded(clock::beat()) {
                    self.post.circuit(Circuit::Closed, clock::now());
                    let (seconds, attempts) = (outage.lasted.as_secs(), outage.attempts);
                    tracing::info!(destination = %self.post.name, seconds, attempts, "delivery.back: the receiver takes deliveries again");
                }
                self.post.paid(1);
                metrics::counter!("chis_deliveries_total", "destination" => name(), "outcome" => outcome).increment(1);
            }
        }
        Some(flight)
    }

    fn next_wake(&mut self) -> Instant {
        let now = clock::beat();
        let mut wake = later(POLL);
        if let Some(until) = self.retry_reader {
            return wake.min(until);
        }
        if !self.post.config().care.window.is_empty() {
            wake = wake.min(later(clock::poll(WINDOW_POLL)));
        }
        if self.stop != Stop::No {
            return wake;
        }
        if self.breaker.circuit(now) == Circuit::Open {
            return self.breaker.rests_until().map_or(wake, |until| wake.min(until));
        }
        if self.breaker.room(now, self.concurrency) <= self.flying.len() {
            return wake;
        }
        // Looking can go on at once, unless it is the rate that bounds.
        if let Some(rate) = self.rate.as_mut()
            && rate.whole(now) == 0
        {
            return wake.min(later(rate.wait()));
        }
        if self.ahead.goes_on() {
            return now;
        }
        self.ahead.wakes().map_or(wake, |until| wake.min(until))
    }
}

/// How long a lane rests after an attempt.
fn rest_of(settlement: &Settlement) -> Option<Duration> {
    match settlement {
        Settlement::Retry { after_ms, .. } => Some(Duration::from_millis(*after_ms)),
        _ => None,
    }
}

fn is_older(made_us: i64, limit: Duration) -> bool {
    let age = clock::now().as_microsecond().saturating_sub(made_us);
    u128::try_from(age).is_ok_and(|age| limit.as_micros() < age)
}

/// What goes next; none where a person has stopped this receiver.
fn choose(debts: &LedgerReader, name: &str, ahead: &mut Ahead, room: usize, now: Instant) -> Result<Option<Vec<OwedDebt>>, StoreError> {
    if debts.is_paused(name)? {
        return Ok(None);
    }
    let mut chosen = Vec::new();
    for (debt, lane) in ahead.choose(&Book(debts, name), room, now)? {
        match debts.owed_debt(debt)?.filter(|found| found.child == lane) {
            Some(debt) => chosen.push(debt),
            // It was withdrawn, or went to another lane, since it was looked at.
            None => ahead.free(lane),
        }
    }
    Ok(Some(chosen))
}

/// What is asked again before an attempt: a consent may have ended since, a child died or became hidden.
enum Asked {
    Nothing,
    Parents(PathBuf, Arc<ParentRules>),
    Viewer(Arc<Viewer>, PathBuf),
    File(Arc<VaccinationFile>, PathBuf),
}

impl Asked {
    fn of(recipient: &Recipient, ledger: &Ledger) -> Self {
        let data = || ledger.data().to_path_buf();
        match recipient {
            Recipient::ParentRecord => Self::Parents(data(), ledger.parents()),
            Recipient::Viewer(viewer) => Self::Viewer(viewer.load_full(), data()),
            Recipient::VaccinationFile(file) => Self::File(file.load_full(), data()),
            Recipient::HubStore(_) | Recipient::Record => Self::Nothing,
        }
    }
}

/// One attempt. What may be said is asked again first.
async fn fly(receiver: &Receiver, debt: OwedDebt, asked: Asked) -> Flight {
    let attempts = debt.attempts + 1;
    let (mut sent, mut told, mut renamed, mut is_ours) = (None, None, Vec::new(), false);
    // A viewer's messages and the rows of a file are made when they are sent.
    let body = debt.body.or_else(|| matches!(asked, Asked::Viewer(..) | Asked::File(..)).then(Vec::new));
    let settlement = match (serde_json::from_slice::<FiledEvent>(&debt.event), body) {
        (Ok(event), Some(body)) => {
            let mut key = format!("{}/{}", event.event, event.version);
            let (control_id, said) = (event.control_id.clone(), (event.event, event.version));
            let ready = match asked {
                Asked::Nothing => Ok(body),
                Asked::Parents(data, rules) => as_of_now((&data, &rules), (debt.child, debt.turn), event, &body).map(|fresh| {
                    if fresh.body != body {
                        // Another body is another delivery: an account was added or ended, or the child was named meanwhile.
                        let digest = digest(&fresh.body);
                        sent = Some(digest);
                        key = format!("{key}/{}", hex(&digest));
                    }
                    told.insert(fresh).body.clone()
                }),
                Asked::File(file, data) => LedgerReader::open(&data)
                    .map_err(viewer::unread)
                    .and_then(|reader| viewer::rows_as_of_now(&file, &reader, (debt.id, debt.child), event)),
                Asked::Viewer(viewer, data) => viewer::as_of_now(&viewer, &data, (debt.child, debt.forced_by), event).inspect(|body| {
                    renamed = debt.forced_by.map(|job| Viewer::renamed(said, body, job)).unwrap_or_default();
                }),
            };
            if let Some(job) = debt.forced_by {
                key = format!("{key}/again-{job}");
            }
            match ready {
                Ok(body) => {
                    let now = clock::now();
                    receiver.pay(Payment { key: &key, control_id: &control_id, body: &body, attempts: debt.attempts, now }).await
                }
                Err(settlement) => {
                    (told, is_ours) = (None, true);
                    match settlement {
                        Settlement::Retry { why, .. } => {
                            Settlement::Retry { after_ms: u64::try_from(backoff(debt.attempts, 500).as_millis()).unwrap_or(1_000), why }
                        }
                        ended => ended,
                    }
                }
            }
        }
        _ => Settlement::Held { why: "the filed event or its rendering cannot be read".into() },
    };
    let is_sure = matches!(settlement, Settlement::Delivered | Settlement::Superseded);
    let told = told.filter(|_| settlement.may_have_arrived()).map(|told| (told, is_sure));
    Flight { debt: debt.id, child: debt.child, attempts, made_us: debt.made_us, settlement, is_ours, sent, told, renamed }
}

/// What parents may be told of this event as the child, its results and the consents are now.
fn as_of_now(
    (data, rules): (&std::path::Path, &ParentRules),
    (child, turn): (i64, Turn),
    event: FiledEvent,
    body: &[u8],
) -> Result<Told, Settlement> {
    let reader = LedgerReader::open(data).map_err(viewer::unread)?;
    let told = reader.told_now((child, event), body, (rules, clock::now(), turn)).map_err(viewer::unread)?;
    told.map_err(|rule| Settlement::Withdrawn { rule })
}

/// Tells bodies apart; no secret.
fn digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A point on tokio's clock, which tests can pause.
fn later(wait: Duration) -> Instant {
    clock::beat() + wait
}

#[cfg(test)]
mod tests;
