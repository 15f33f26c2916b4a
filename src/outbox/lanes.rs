//! Which debts of one destination may be paid now. Decides; the caller pays.
//!
//!     owe ──▶ [ lane of a child: d1 d2 d3 ] ──take──▶ in flight ──settle──▶ gone | waits | held
//!
//! # Invariants
//!
//! - Of a lane only the first debt is ever in flight; the next one goes when it is delivered or superseded.
//! - A lane that waits or is held stops nobody else.
//! - Of the lanes that may go, the one whose first debt is oldest goes first.
//! - At most `in_flight_max` debts are in flight, at most `debts_max` are remembered.
//!
//! # Not here
//!
//! Nothing is durable: after a start the lanes are filled again from the ledger, and what was in flight is paid again
//! under its old key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Debt, Settlement};
use crate::names::ChildId;

/// The lanes of one destination.
#[derive(Debug)]
pub struct Lanes {
    in_flight_max: usize,
    debts_max: usize,
    debts: usize,
    in_flight: usize,
    lanes: BTreeMap<ChildId, Lane>,
    /// Lanes that may go, by the id of their first debt.
    ready: BTreeSet<(i64, ChildId)>,
    /// Lanes that wait, by when they may go.
    waiting: BTreeSet<(Instant, ChildId)>,
}

#[derive(Debug)]
struct Lane {
    debts: BTreeMap<i64, Debt>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    InFlight,
    Waiting(Instant),
    Held,
}

impl Lanes {
    /// Empty lanes with their bounds.
    pub fn new(in_flight_max: usize, debts_max: usize) -> Self {
        let (lanes, ready, waiting) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { in_flight_max, debts_max, debts: 0, in_flight: 0, lanes, ready, waiting }
    }

    /// Remembers a debt; one that is already here changes nothing. Debts come in the order of their ids. False: no
    /// room; then this debt and all after it must come again later, or one child's debts would be out of order.
    #[must_use]
    pub fn owe(&mut self, debt: Debt) -> bool {
        let known = self.lanes.get(&debt.child).is_some_and(|lane| lane.debts.contains_key(&debt.id));
        if known {
            return true;
        }
        if self.debts_max <= self.debts {
            return false;
        }
        self.debts += 1;
        let child = debt.child;
        self.unlist(child);
        let lane = self.lanes.entry(child).or_insert_with(|| Lane { debts: BTreeMap::new(), state: State::Ready });
        lane.debts.insert(debt.id, debt);
        self.list(child);
        true
    }

    /// The debts to pay now; they are in flight until they are settled.
    pub fn take(&mut self, now: Instant) -> Vec<Debt> {
        self.wake(now);
        let mut taken = Vec::new();
        while self.in_flight < self.in_flight_max {
            let Some((id, child)) = self.ready.pop_first() else { break };
            let Some(lane) = self.lanes.get_mut(&child) else { continue };
            let Some(debt) = lane.debts.get(&id).cloned() else { continue };
            lane.state = State::InFlight;
            self.in_flight += 1;
            taken.push(debt);
        }
        taken
    }

    /// What became of a debt that was taken.
    pub fn settle(&mut self, debt: &Debt, settlement: &Settlement, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&debt.child).filter(|lane| lane.state == State::InFlight) else { return };
        self.in_flight = self.in_flight.saturating_sub(1);
        lane.state = match settlement {
            Settlement::Delivered | Settlement::Superseded => {
                if lane.debts.remove(&debt.id).is_some() {
                    self.debts = self.debts.saturating_sub(1);
                }
                State::Ready
            }
            Settlement::Retry { after_ms, .. } => {
                if let Some(debt) = lane.debts.get_mut(&debt.id) {
                    debt.attempts = debt.attempts.saturating_add(1);
                }
                // A wait beyond what the clock can say is no wait that anybody asked for.
                State::Waiting(now.checked_add(Duration::from_millis(*after_ms)).unwrap_or(now))
            }
            Settlement::Held { .. } => State::Held,
        };
        self.list(debt.child);
    }

    /// A person let a held lane go on with its first debt.
    pub fn release(&mut self, child: ChildId) {
        if let Some(lane) = self.lanes.get_mut(&child).filter(|lane| lane.state == State::Held) {
            lane.state = State::Ready;
            self.list(child);
        }
    }

    /// A person withdrew a debt. One that is in flight cannot be: it may have arrived already.
    pub fn withdraw(&mut self, child: ChildId, id: i64) -> bool {
        self.unlist(child);
        let Some(lane) = self.lanes.get_mut(&child) else { return false };
        let first = lane.debts.keys().next() == Some(&id);
        let gone = !(first && lane.state == State::InFlight) && lane.debts.remove(&id).is_some();
        if gone {
            self.debts = self.debts.saturating_sub(1);
            if first {
                lane.state = State::Ready;
            }
        }
        self.list(child);
        gone
    }

    /// When to call [`Lanes::take`] again if nothing else happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Debts remembered, those in flight included.
    pub fn len(&self) -> usize {
        self.debts
    }

    /// True where nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.debts == 0
    }

    fn wake(&mut self, now: Instant) {
        while let Some((at, child)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, child));
            if let Some(lane) = self.lanes.get_mut(&child) {
                lane.state = State::Ready;
            }
            self.list(child);
        }
    }

    /// Puts a lane where its state says, or away when it is empty.
    fn list(&mut self, child: ChildId) {
        let Some(lane) = self.lanes.get(&child) else { return };
        match (lane.debts.keys().next(), lane.state) {
            (None, _) => {
                self.lanes.remove(&child);
            }
            (Some(first), State::Ready) => {
                self.ready.insert((*first, child));
            }
            (Some(_), State::Waiting(at)) => {
                self.waiting.insert((at, child));
            }
            (Some(_), State::InFlight | State::Held) => {}
        }
    }

    /// Takes a lane out of both lists, before its first debt or its state changes.
    fn unlist(&mut self, child: ChildId) {
        let Some(lane) = self.lanes.get(&child) else { return };
        match (lane.debts.keys().next(), lane.state) {
            (Some(first), State::Ready) => {
                self.ready.remove(&(*first, child));
            }
            (_, State::Waiting(at)) => {
                self.waiting.remove(&(at, child));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::names::{EventId, Seq};

    fn debt(id: i64, child: u128) -> Debt {
        Debt {
            id,
            destination: "hub-ne".into(),
            child: ChildId(Uuid::from_u128(child)),
            event: EventId(Uuid::from_u128(1)),
            seq: Seq(id),
            attempts: 0,
        }
    }

    fn ids(debts: &[Debt]) -> Vec<i64> {
        debts.iter().map(|debt| debt.id).collect()
    }

    fn retry(after_ms: u64) -> Settlement {
        Settlement::Retry { after_ms, why: "HTTP 503".to_owned() }
    }

    fn lanes(debts: &[Debt]) -> Lanes {
        let mut lanes = Lanes::new(2, 100);
        assert!(debts.iter().all(|debt| lanes.owe(debt.clone())));
        lanes
    }

    #[test]
    fn a_child_is_paid_in_order_and_the_oldest_child_first() {
        let now = crate::clock::tick();
        let mut lanes = lanes(&[debt(1, 7), debt(2, 7), debt(3, 5), debt(4, 6)]);
        let first = lanes.take(now);
        assert_eq!(ids(&first), [1, 3], "one of each child, two at a time");
        assert!(lanes.take(now).is_empty());
        lanes.settle(&first[0], &Settlement::Delivered, now);
        assert_eq!(ids(&lanes.take(now)), [2]);
        lanes.settle(&first[1], &Settlement::Superseded, now);
        assert_eq!(ids(&lanes.take(now)), [4]);
    }

    #[test]
    fn a_lane_that_waits_or_is_held_stops_nobody_else() {
        let now = crate::clock::tick();
        let mut lanes = lanes(&[debt(1, 7), debt(2, 7), debt(3, 5), debt(4, 5), debt(5, 6)]);
        let taken = lanes.take(now);
        lanes.settle(&taken[0], &retry(1000), now);
        lanes.settle(&taken[1], &Settlement::Held { why: "HTTP 422".to_owned() }, now);
        let later = now + Duration::from_millis(1000);
        assert_eq!(lanes.wake_at(), Some(later));
        assert_eq!(ids(&lanes.take(later - Duration::from_nanos(1))), [5]);
        let again = lanes.take(later);
        assert_eq!((ids(&again), again[0].attempts), (vec![1], 1));
        assert_eq!(lanes.len(), 5);
        // The held lane goes on when a person says so, or without its first debt when a person withdraws that.
        assert!(!lanes.withdraw(taken[0].child, 1), "in flight");
        assert!(lanes.withdraw(taken[1].child, 3));
        lanes.settle(&again[0], &Settlement::Delivered, later);
        assert_eq!(ids(&lanes.take(later)), [2]);
    }

    #[test]
    fn a_debt_told_twice_is_one_debt_and_the_bound_is_kept() {
        let mut lanes = Lanes::new(1, 2);
        assert!(lanes.owe(debt(1, 7)) && lanes.owe(debt(1, 7)) && lanes.owe(debt(2, 7)));
        assert!(!lanes.owe(debt(3, 5)), "no room");
        assert!(lanes.owe(debt(2, 7)), "known already");
        assert_eq!(lanes.len(), 2);
    }

    proptest! {
        /// However receivers answer: a child's debts go in order, one at a time, and in the end all are paid.
        #[test]
        fn nothing_is_lost_and_no_child_is_paid_out_of_order(
            children in prop::collection::vec(0..5_u128, 1..40),
            answers in prop::collection::vec(0..4_u8, 0..80),
        ) {
            let mut now = crate::clock::tick();
            let mut lanes = Lanes::new(3, 100);
            let mut answers = answers.into_iter();
            let mut flying: Vec<Debt> = Vec::new();
            let mut paid: BTreeMap<ChildId, Vec<i64>> = BTreeMap::new();
            let mut owed = children.iter().zip(1..).map(|(child, id)| debt(id, *child)).collect::<Vec<_>>().into_iter();
            loop {
                if let Some(debt) = owed.next() {
                    prop_assert!(lanes.owe(debt));
                }
                flying.extend(lanes.take(now));
                prop_assert!(flying.len() <= 3);
                let distinct: BTreeSet<ChildId> = flying.iter().map(|debt| debt.child).collect();
                prop_assert_eq!(distinct.len(), flying.len());
                if flying.is_empty() {
                    match lanes.wake_at() {
                        Some(at) => now = at,
                        None if owed.len() == 0 => break,
                        None => continue,
                    }
                    continue;
                }
                let settled = flying.remove(0);
                match answers.next().unwrap_or(0) {
                    0 => {
                        lanes.settle(&settled, &Settlement::Delivered, now);
                        paid.entry(settled.child).or_default().push(settled.id);
                    }
                    1 => lanes.settle(&settled, &retry(5), now),
                    2 => {
                        lanes.settle(&settled, &Settlement::Held { why: String::new() }, now);
                        lanes.release(settled.child);
                    }
                    _ => flying.push(settled),
                }
            }
            prop_assert!(lanes.is_empty() && lanes.lanes.is_empty() && lanes.ready.is_empty());
            prop_assert_eq!(paid.values().map(Vec::len).sum::<usize>(), children.len());
            for ids in paid.values() {
                prop_assert!(ids.is_sorted(), "{:?}", ids);
            }
        }
    }
}
