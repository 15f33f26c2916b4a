//! When a receiver is left alone: closed, open, half-open.
//!
//!     closed ──▶ [`FAILURES_MAX`] failures in a row ──▶ open ──▶ its rest is over ──▶ half-open ──▶ one lane is tried
//!        ▲                                               ▲                                  │
//!        └────────────── it takes a delivery ────────────┼──────────────────────────────────┤
//!                                                        └─────────── it fails, a longer rest ┘

use std::time::Duration;

use tokio::time::Instant;

use super::backoff;

/// Failures in a row after which a receiver is left alone.
pub const FAILURES_MAX: u32 = 5;
/// Longest rest between attempts at a receiver that is away.
pub const REST_MAX: Duration = Duration::from_secs(30);

/// How a receiver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// It is paid, as many lanes at once as its settings say.
    Closed,
    /// It is left alone until its rest is over.
    Open,
    /// One lane is tried.
    HalfOpen,
}

impl Circuit {
    /// The word in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// An outage that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// How long it lasted, from the attempt that opened the circuit.
    pub lasted: Duration,
    /// Attempts meanwhile.
    pub attempts: u32,
}

/// Counts failures in a row and says how many lanes may be tried.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    failures: u32,
    opened: Option<Instant>,
    rest_until: Option<Instant>,
}

impl Breaker {
    /// How it stands at `now`.
    pub fn circuit(&self, now: Instant) -> Circuit {
        match (self.opened, self.rest_until) {
            (None, _) => Circuit::Closed,
            (Some(_), Some(until)) if now < until => Circuit::Open,
            (Some(_), _) => Circuit::HalfOpen,
        }
    }

    /// Lanes that may be under way at `now`, of `concurrency` at most.
    pub fn room(&self, now: Instant, concurrency: usize) -> usize {
        match self.circuit(now) {
            Circuit::Closed => concurrency,
            Circuit::Open => 0,
            Circuit::HalfOpen => 1,
        }
    }

    /// Notes a failure. True for the one that opens the circuit.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX {
            return false;
        }
        self.rest_until = Some(now + backoff(self.failures - FAILURES_MAX, 500).min(REST_MAX));
        let opens = self.opened.is_none();
        self.opened.get_or_insert(now);
        opens
    }

    /// Notes that the receiver took something. Gives the outage that this ended.
    pub fn succeeded(&mut self, now: Instant) -> Option<Outage> {
        let outage = self.opened.map(|opened| Outage {
            lasted: now.saturating_duration_since(opened),
            attempts: self.failures.saturating_sub(FAILURES_MAX).saturating_add(1),
        });
        *self = Self::default();
        outage
    }

    /// When its rest is over; none where it does not rest.
    pub fn rests_until(&self) -> Option<Instant> {
        self.rest_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it_and_one_success_closes_it() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        let opened: Vec<bool> = (0..FAILURES_MAX).map(|_| breaker.failed(at(0))).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        assert_eq!((breaker.circuit(at(0)), breaker.room(at(0), 8)), (Circuit::Open, 0));
        assert_eq!((breaker.circuit(at(1)), breaker.room(at(1), 8)), (Circuit::HalfOpen, 1));
        assert!(!breaker.failed(at(1)), "told once");
        assert_eq!((breaker.circuit(at(2)), breaker.circuit(at(4))), (Circuit::Open, Circuit::HalfOpen), "a longer rest");
        assert_eq!(breaker.succeeded(at(10)), Some(Outage { lasted: Duration::from_secs(10), attempts: 2 }));
        assert_eq!((breaker.circuit(at(10)), breaker.room(at(10), 8)), (Circuit::Closed, 8));
        assert_eq!(breaker.succeeded(at(11)), None);
    }

    #[test]
    fn failures_with_a_success_between_them_never_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            assert!((1..FAILURES_MAX).all(|_| !breaker.failed(now)));
            assert_eq!(breaker.succeeded(now), None);
        }
        assert_eq!(breaker.circuit(now), Circuit::Closed);
    }

    #[test]
    fn the_longest_rest_is_half_a_minute() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..1_000 {
            breaker.failed(now);
        }
        assert_eq!(breaker.rests_until(), Some(now + REST_MAX));
    }
}
