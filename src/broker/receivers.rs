//! How receivers stand while the broker runs: what payers say of them, whose debts grow old, and what people may do.
//!
//! # Invariants
//!
//! - An alarm begins once and ends once, each with a line in the log; what lasts is in the metrics and in `status`.
//! - What waits behind a held debt counts: it is told once for as long as that lasts. A debt that nothing holds up and that grows too old
//!   meanwhile is told by itself, so that an old hold never hides that a receiver is away.
//! - In a window of a receiver there is no alarm of it, and what waited for the window has its time afterwards.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Present;
use crate::clock;
use crate::config::Settings;
use crate::destinations::{self, Kind};
use crate::failsafe::day::{date_of, local};
use crate::names::DestinationName;
use crate::outbox::Circuit;
use crate::store::{Ledger, LedgerReader, Queue, StoreError};

/// How often the age of the oldest debts is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// Seconds over which a rate is told.
const RATE_SECONDS: u64 = 60;

/// What the payer of one receiver says of it.
#[derive(Clone, Debug)]
struct Standing {
    circuit: Circuit,
    /// Since when it is left alone.
    away_since: Option<Timestamp>,
    flying: usize,
    resting: usize,
    /// Deliveries by second.
    paid: VecDeque<(u64, u64)>,
    /// Since when its debts are too old.
    late_since: Option<Timestamp>,
    /// Of these, all wait behind held ones.
    only_behind_held: bool,
}

/// One receiver on the board.
#[derive(Debug)]
pub struct Post {
    /// Its name.
    pub name: DestinationName,
    config: destinations::Config,
    begun: Instant,
    standing: Mutex<Standing>,
}

/// What is told of a running receiver.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Stand {
    /// `store`, `fhir`, …
    pub kind: &'static str,
    /// `running`, `window`, `resting`; whether it is paused stands in the ledger.
    pub state: &'static str,
    /// `closed`, `open`, `half-open`.
    pub circuit: &'static str,
    /// Since when it is away, RFC 3339.
    pub away_since: Option<String>,
    /// When its window ends, RFC 3339.
    pub window_ends: Option<String>,
    /// Attempts under way.
    pub flying: usize,
    /// Lanes that back off.
    pub resting: usize,
    /// Debts that it took in the last minute.
    pub rate_per_minute: u64,
    /// Since when its oldest debt is older than it should be, RFC 3339.
    pub late_since: Option<String>,
    /// What is too old waits behind held debts, all of it: a person must release or discard those.
    pub late_behind_held: bool,
    /// Age at which it is, seconds.
    pub alarm_after_seconds: u64,
}

impl Post {
    fn new(config: &destinations::Config) -> Self {
        let standing = Standing {
            circuit: Circuit::Closed,
            away_since: None,
            flying: 0,
            resting: 0,
            paid: VecDeque::new(),
            late_since: None,
            only_behind_held: false,
        };
        Self { name: DestinationName::new(&config.name), config: config.clone(), begun: clock::beat(), standing: Mutex::new(standing) }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its settings.
    pub fn config(&self) -> &destinations::Config {
        &self.config
    }

    /// When the window that `now` lies in ends.
    pub fn window(&self, now: Timestamp) -> Option<Timestamp> {
        if self.config.care.window.is_empty() { None } else { self.config.care.window_ends((now, date_of(now)), local) }
    }

    /// Says how many lanes are under way and rest.
    pub fn lanes(&self, flying: usize, resting: usize) {
        let mut standing = self.standing();
        (standing.flying, standing.resting) = (flying, resting);
    }

    /// Says how the circuit stands.
    pub fn circuit(&self, circuit: Circuit, now: Timestamp) {
        let mut standing = self.standing();
        standing.away_since = match (circuit, standing.away_since) {
            (Circuit::Closed, _) => None,
            (_, since) => since.or(Some(now)),
        };
        standing.circuit = circuit;
        let open = if circuit == Circuit::Closed { 0.0 } else { 1.0 };
        drop(standing);
        metrics::gauge!("chis_breaker_open", "destination" => self.name.to_string()).set(open);
    }

    /// Says that it took so many debts.
    pub fn paid(&self, count: u64) {
        self.paid_in(self.second(), count);
    }

    /// Seconds since it was put up.
    fn second(&self) -> u64 {
        clock::beat().duration_since(self.begun).as_secs()
    }

    fn paid_in(&self, second: u64, count: u64) {
        let mut standing = self.standing();
        match standing.paid.back_mut().filter(|(at, _)| *at == second) {
            Some((_, so_far)) => *so_far += count,
            None => standing.paid.push_back((second, count)),
        }
        while standing.paid.front().is_some_and(|(at, _)| at + RATE_SECONDS <= second) {
            standing.paid.pop_front();
        }
    }

    /// What it took in the minute that ends with `second`.
    fn rate(&self, second: u64) -> u64 {
        let since = second.saturating_sub(RATE_SECONDS - 1);
        self.standing().paid.iter().filter(|(at, _)| since <= *at).map(|(_, count)| count).sum()
    }

    /// How it stands at `now`.
    pub fn stand(&self, now: Timestamp) -> Stand {
        let (window_ends, rate_per_minute) = (self.window(now), self.rate(self.second()));
        let standing = self.standing();
        Stand {
            kind: match self.config.kind {
                Kind::Store { .. } => "store",
                Kind::Fhir { .. } => "fhir",
                Kind::Mllp(_) => "mllp",
                Kind::CareplusCsv(_) => "careplus-csv",
            },
            state: match (window_ends, standing.circuit) {
                (Some(_), _) => "window",
                (None, Circuit::Closed) => "running",
                (None, _) => "resting",
            },
            circuit: standing.circuit.as_str(),
            away_since: standing.away_since.map(|at| at.to_string()),
            window_ends: window_ends.map(|at| at.to_string()),
            flying: standing.flying,
            resting: standing.resting,
            rate_per_minute,
            late_since: standing.late_since.map(|at| at.to_string()),
            late_behind_held: standing.late_since.is_some() && standing.only_behind_held,
            alarm_after_seconds: self.config.alarm_after().as_secs(),
        }
    }

    /// Judges the age of the oldest debts, and says so where that begins or ends something.
    fn judge(&self, Queue { pending, held, oldest, oldest_free }: Queue, now: Timestamp) -> Option<Alarm> {
        let age_of = |made: Option<Timestamp>| made.and_then(|made| Duration::try_from(now.duration_since(made)).ok()).unwrap_or_default();
        let age = age_of(oldest);
        let label = || self.name.to_string();
        metrics::gauge!("chis_oldest_debt_seconds", "destination" => label()).set(age.as_secs_f64());
        metrics::gauge!("chis_debts_pending", "destination" => label()).set(pending as f64);
        metrics::gauge!("chis_debts_held", "destination" => label()).set(held as f64);
        let limit = self.config.alarm_after();
        let is_quiet = self.window(now).is_some() || self.config.care.window_ended_within((now, date_of(now)), limit, local);
        let (is_late, is_free_late) = (limit < age && !is_quiet, limit < age_of(oldest_free) && !is_quiet);
        let mut standing = self.standing();
        let alarm = match (standing.late_since, is_late) {
            (None, true) if is_free_late => Some(Alarm::Late),
            (None, true) => Some(Alarm::BehindHeld),
            (Some(_), true) if standing.only_behind_held && is_free_late => Some(Alarm::Late),
            (Some(_), false) => Some(Alarm::Over),
            _ => None,
        };
        standing.late_since = if is_late { standing.late_since.or(Some(now)) } else { None };
        standing.only_behind_held = is_late && !is_free_late;
        drop(standing);
        match alarm {
            Some(Alarm::Late) => {
                let oldest_seconds = age_of(oldest_free).as_secs();
                tracing::warn!(destination = %self.name, pending, oldest_seconds, "delivery.late: the oldest debt is older than it should be; `dest show` says why");
            }
            Some(Alarm::BehindHeld) => {
                tracing::warn!(destination = %self.name, pending, held, oldest_seconds = age.as_secs(), "delivery.late: debts wait behind held ones for longer than they should; `held list` has those that are held");
            }
            Some(Alarm::Over) => {
                tracing::info!(destination = %self.name, pending, "delivery.in_time: no debt is older than it should be any more")
            }
            None => {}
        }
        alarm
    }
}

/// What is told of the age of debts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    Late,
    /// All that is late waits behind held debts.
    BehindHeld,
    Over,
}

/// All receivers.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<BTreeMap<String, Arc<Post>>>);

impl Board {
    /// A board of the settings.
    pub fn new(settings: &Settings) -> Self {
        let posts = settings.destinations.iter().map(|config| (config.name.clone(), Arc::new(Post::new(config))));
        Self(Arc::new(posts.collect()))
    }

    /// The post of a destination.
    pub fn post(&self, name: &str) -> Option<&Arc<Post>> {
        self.0.get(name)
    }

    /// All of them by name.
    pub fn posts(&self) -> impl Iterator<Item = &Arc<Post>> {
        self.0.values()
    }

    /// What works less well than it should, a line each, for readiness.
    pub fn degraded(&self, now: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        for post in self.posts() {
            let stand = post.stand(now);
            if let Some(since) = &stand.away_since {
                lines.push(format!("receiver {} is away since {since}: one lane at a time is tried ({})", post.name, stand.circuit));
            }
            if let Some(since) = &stand.late_since {
                let limit = stand.alarm_after_seconds;
                lines.push(if stand.late_behind_held {
                    format!(
                        "receiver {}: debts wait behind held ones for more than {limit} s, since {since}; `held list` has those",
                        post.name
                    )
                } else {
                    let name = &post.name;
                    format!("receiver {name}: its oldest debt is older than {limit} s, since {since}; `dest show {name}` says why")
                });
            }
        }
        lines
    }
}

/// Watches the age of the oldest debts until `ends`.
pub(super) async fn watch(board: Board, ledger: Ledger, ends: CancellationToken, present: Present) {
    let _present = present;
    let mut open: Option<LedgerReader> = None;
    while !ends.is_cancelled() {
        let (board, data) = (board.clone(), ledger.data().to_path_buf());
        let reader = open.take();
        let looked = tokio::task::spawn_blocking(move || {
            let reader = match reader {
                Some(reader) => reader,
                None => LedgerReader::open(&data)?,
            };
            for post in board.posts() {
                let _told = post.judge(reader.queue(post.name.as_str())?, clock::now());
            }
            Ok::<_, StoreError>(reader)
        });
        // What cannot be read now is looked at again the next time, by a reader of its own.
        open = looked.await.ok().and_then(Result::ok);
        tokio::select! { () = tokio::time::sleep(clock::poll(EVERY)) => {}, () = ends.cancelled() => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(more: &str) -> Post {
        let text = format!("name = 'region'\nkind = 'fhir'\nprofile = 'record'\nbase = 'http://127.0.0.1:1'\n{more}");
        Post::new(&toml::from_str(&text).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn debts_are_late_from_their_age_on_and_no_longer_when_the_oldest_is_gone() {
        let post = post("alarm_after = '15 min'");
        let oldest = Some(at("2026-11-07T10:00:00Z"));
        let late = |(pending, held, oldest): (i64, i64, Option<Timestamp>), now: &str| {
            post.judge(Queue { pending, held, oldest, oldest_free: oldest }, at(now));
            post.stand(at(now)).late_since
        };
        assert_eq!(late((3, 0, oldest), "2026-11-07T10:15:00Z"), None);
        assert_eq!(late((3, 0, oldest), "2026-11-07T10:15:01Z").as_deref(), Some("2026-11-07T10:15:01Z"));
        assert_eq!(late((3, 0, oldest), "2026-11-07T11:00:00Z").as_deref(), Some("2026-11-07T10:15:01Z"), "it began once");
        assert_eq!(late((0, 0, None), "2026-11-07T11:00:01Z"), None);
    }

    #[test]
    fn in_a_window_nothing_is_late_and_afterwards_what_waited_has_its_time() {
        let post = post("maintenance = [{ days = 'sat', from = '22:00', to = '02:00' }]");
        let oldest = Some(at("2026-11-07T22:00:00Z"));
        for (now, state, is_late) in [
            ("2026-11-07T23:59:00Z", "window", false),
            ("2026-11-08T02:00:00Z", "running", false),
            ("2026-11-08T02:14:59Z", "running", false),
            ("2026-11-08T02:15:00Z", "running", true),
        ] {
            post.judge(Queue { pending: 1, held: 0, oldest, oldest_free: oldest }, at(now));
            let stand = post.stand(at(now));
            assert_eq!((stand.state, stand.late_since.is_some()), (state, is_late), "{now}");
        }
    }

    #[test]
    fn what_waits_behind_a_held_debt_is_told_once_and_never_hides_what_nothing_holds_up() {
        let post = post("alarm_after = '15 min'");
        let told = |oldest: Option<&str>, oldest_free: Option<&str>, now: &str| {
            let queue = Queue { pending: 2, held: 1, oldest: oldest.map(at), oldest_free: oldest_free.map(at) };
            let alarm = post.judge(queue, at(now));
            let stand = post.stand(at(now));
            (alarm, stand.late_since.is_some(), stand.late_behind_held)
        };
        let first = Some("2026-11-07T10:00:00Z");
        assert_eq!(told(first, None, "2026-11-07T10:15:00Z"), (None, false, false));
        assert_eq!(told(first, None, "2026-11-07T10:15:01Z"), (Some(Alarm::BehindHeld), true, true));
        // For a day nothing more is said of it; what comes and is paid in between is no news either.
        for now in ["2026-11-07T10:20:00Z", "2026-11-07T23:00:00Z", "2026-11-08T10:00:00Z"] {
            assert_eq!(told(first, None, now), (None, true, true), "{now}");
        }
        assert_eq!(told(first, Some("2026-11-08T10:00:00Z"), "2026-11-08T10:05:00Z"), (None, true, true));
        // Then the receiver is away.
        assert_eq!(told(first, Some("2026-11-08T10:00:00Z"), "2026-11-08T10:16:00Z"), (Some(Alarm::Late), true, false));
        assert_eq!(told(first, Some("2026-11-08T10:00:00Z"), "2026-11-08T10:17:00Z"), (None, true, false));
        // It is back; the hold is there still, and was told.
        assert_eq!(told(first, None, "2026-11-08T10:18:00Z"), (None, true, true));
        assert_eq!(told(None, None, "2026-11-08T10:19:00Z"), (Some(Alarm::Over), false, false));
        assert_eq!(told(first, None, "2026-11-08T10:20:00Z"), (Some(Alarm::BehindHeld), true, true), "another hold is told anew");
    }

    #[test]
    fn a_rate_is_that_of_the_last_minute() {
        let post = post("");
        post.paid_in(0, 100);
        post.paid_in(59, 5);
        assert_eq!((post.rate(59), post.rate(60), post.rate(119)), (105, 5, 0));
        post.paid_in(200, 1);
        assert_eq!(post.standing().paid.len(), 1, "what is older is forgotten");
    }
}
