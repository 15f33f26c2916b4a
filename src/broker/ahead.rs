//! Which lane goes next: the head of every lane that may go, oldest first.
//!
//! # How it looks
//!
//! Debts of a receiver are read once, in their order, up to a place; only the heads of lanes that may go are kept. A lane that becomes free
//! again (its attempt ended, its rest is over) is asked for its next debt by itself. So a choice costs a step in an index, however
//! many debts of lanes that cannot go lie before it, and a million of them are no memory.
//!
//! # Invariants
//!
//! - Kept are the heads of all lanes that may go and whose head lies at or before the place; what lies behind it is younger. So the oldest
//!   kept is the oldest of all that may go.
//! - A lane that is under way, rests, or stands behind a held debt is never chosen.
//! - The place only goes forward, so no lane is starved by those before it. [`Ahead::look_again`] begins anew; it is called when debts were put
//!   back behind the place.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tokio::time::Instant;

/// Debts read in one go.
const PAGE: usize = 512;
/// Pages read before those that were found are given out; looking goes on at the next choice.
const PAGES_MAX: usize = 64;
/// Heads kept ahead of what is asked for.
const KEPT: usize = 256;

/// The debts of one receiver, as far as choosing needs them.
pub trait Owed {
    /// Why they could not be read.
    type Error;

    /// Debts that wait after `after`, oldest first: debt and lane.
    fn page(&self, after: i64, limit: usize) -> Result<Vec<(i64, i64)>, Self::Error>;

    /// The oldest debt of a lane that waits.
    fn head(&self, lane: i64) -> Result<Option<i64>, Self::Error>;

    /// True where a debt of this lane before `debt` is held: the lane stands until a person looks.
    fn stands(&self, lane: i64, debt: i64) -> Result<bool, Self::Error>;
}

/// What is known of a receiver's lanes.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Heads that may go: debt and lane.
    ready: BTreeMap<i64, i64>,
    /// The lanes of these.
    kept: HashSet<i64>,
    /// Lanes under way or resting.
    busy: HashSet<i64>,
    /// Lanes that rest, soonest first.
    resting: BTreeSet<(Instant, i64)>,
    /// Lanes that became free and whose next debt has to be asked for.
    freed: Vec<i64>,
    /// All debts up to here have been looked at.
    place: i64,
    /// There may be more behind the place.
    goes_on: bool,
}

impl Ahead {
    /// Chooses up to `room` debts, one of a lane; their lanes are under way from now on.
    ///
    /// # Errors
    ///
    /// The debts cannot be read; nothing was chosen.
    pub fn choose<O: Owed>(&mut self, owed: &O, room: usize, now: Instant) -> Result<Vec<(i64, i64)>, O::Error> {
        self.wake(now);
        while let Some(lane) = self.freed.last().copied() {
            self.ask(owed, lane)?;
            self.freed.pop();
        }
        if self.ready.len() < room {
            self.look(owed, room.saturating_add(KEPT))?;
        }
        let mut chosen = Vec::new();
        while chosen.len() < room
            && let Some((debt, lane)) = self.ready.pop_first()
        {
            self.kept.remove(&lane);
            self.busy.insert(lane);
            chosen.push((debt, lane));
        }
        Ok(chosen)
    }

    fn look<O: Owed>(&mut self, owed: &O, wanted: usize) -> Result<(), O::Error> {
        for _ in 0..PAGES_MAX {
            if wanted <= self.ready.len() {
                return Ok(());
            }
            let page = owed.page(self.place, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            let last = *last;
            for (debt, lane) in page {
                if !self.kept.contains(&lane) && !self.busy.contains(&lane) && !owed.stands(lane, debt)? {
                    self.keep(debt, lane);
                }
            }
            self.place = last;
        }
        self.goes_on = !owed.page(self.place, 1)?.is_empty();
        Ok(())
    }

    /// The next debt of a lane that became free, unless it lies behind the place, where it will be met.
    fn ask<O: Owed>(&mut self, owed: &O, lane: i64) -> Result<(), O::Error> {
        if self.busy.contains(&lane) || self.kept.contains(&lane) {
            return Ok(());
        }
        if let Some(debt) = owed.head(lane)?.filter(|debt| *debt <= self.place)
            && !owed.stands(lane, debt)?
        {
            self.keep(debt, lane);
        }
        Ok(())
    }

    fn keep(&mut self, debt: i64, lane: i64) {
        self.ready.insert(debt, lane);
        self.kept.insert(lane);
    }

    /// This lane is under way.
    pub fn keep_busy(&mut self, lane: i64) {
        self.busy.insert(lane);
    }

    /// An attempt in this lane ended, and the lane may go on.
    pub fn free(&mut self, lane: i64) {
        self.busy.remove(&lane);
        self.freed.push(lane);
    }

    /// An attempt in this lane ended, and the lane rests.
    pub fn rest(&mut self, lane: i64, until: Instant) {
        self.busy.insert(lane);
        self.resting.insert((until, lane));
    }

    fn wake(&mut self, now: Instant) {
        while let Some((until, lane)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.remove(&(until, lane));
            self.free(lane);
        }
    }

    /// Looks at all debts again, from the first one on.
    pub fn look_again(&mut self) {
        self.ready.clear();
        self.kept.clear();
        self.place = 0;
    }

    /// When the first resting lane may go.
    pub fn wakes(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Lanes that rest.
    pub fn resting(&self) -> usize {
        self.resting.len()
    }

    /// True where choosing again may give something at once: heads are kept, or not all debts were looked at.
    pub fn goes_on(&self) -> bool {
        self.goes_on || !self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    /// Debts in memory; `asked` counts rows that were read.
    #[derive(Default)]
    struct Book {
        pending: BTreeMap<i64, i64>,
        held: BTreeMap<i64, i64>,
        asked: Cell<usize>,
    }

    impl Owed for Book {
        type Error = Infallible;

        fn page(&self, after: i64, limit: usize) -> Result<Vec<(i64, i64)>, Infallible> {
            let page: Vec<(i64, i64)> = self.pending.range(after + 1..).take(limit).map(|(debt, lane)| (*debt, *lane)).collect();
            self.asked.set(self.asked.get() + page.len());
            Ok(page)
        }

        fn head(&self, lane: i64) -> Result<Option<i64>, Infallible> {
            self.asked.set(self.asked.get() + 1);
            Ok(self.pending.iter().find(|(_, of)| **of == lane).map(|(debt, _)| *debt))
        }

        fn stands(&self, lane: i64, debt: i64) -> Result<bool, Infallible> {
            Ok(self.held.range(..debt).any(|(_, of)| *of == lane))
        }
    }

    fn choose(ahead: &mut Ahead, book: &Book, room: usize, now: Instant) -> Vec<i64> {
        ahead.choose(book, room, now).unwrap().into_iter().map(|(debt, _)| debt).collect()
    }

    #[test]
    fn the_oldest_of_each_lane_goes_first_and_its_next_one_only_when_it_is_free() {
        let now = Instant::now();
        let mut book = Book { pending: [(1, 7), (2, 7), (3, 8), (4, 7), (5, 9)].into(), ..Book::default() };
        let mut ahead = Ahead::default();
        assert_eq!(choose(&mut ahead, &book, 2, now), [1, 3]);
        assert_eq!(choose(&mut ahead, &book, 8, now), [5]);
        book.pending.remove(&1);
        ahead.free(7);
        assert_eq!(choose(&mut ahead, &book, 8, now), [2]);
        ahead.rest(7, now + Duration::from_secs(1));
        assert_eq!((choose(&mut ahead, &book, 8, now), ahead.wakes(), ahead.resting()), (vec![], Some(now + Duration::from_secs(1)), 1));
        assert_eq!(choose(&mut ahead, &book, 8, now + Duration::from_secs(1)), [2]);
    }

    #[test]
    fn a_lane_behind_a_hundred_thousand_debts_of_lanes_that_cannot_go_is_found_and_then_costs_a_step() {
        let now = Instant::now();
        let mut book = Book::default();
        // Lane 1 rests, lane 2 stands behind a held debt.
        book.held.insert(1, 2);
        book.pending.extend((2..100_000).map(|debt| (debt, 1 + debt % 2)));
        book.pending.insert(200_000, 3);
        book.pending.insert(200_001, 3);
        let mut ahead = Ahead::default();
        let (mut chosen, mut looks) = (Vec::new(), 0);
        ahead.rest(1, now + Duration::from_secs(60));
        while chosen.is_empty() {
            chosen = choose(&mut ahead, &book, 1, now);
            looks += 1;
            assert!(looks < 10 && (ahead.goes_on() || !chosen.is_empty()));
        }
        assert_eq!(chosen, [200_000]);
        book.pending.remove(&200_000);
        ahead.free(3);
        let before = book.asked.get();
        assert_eq!(choose(&mut ahead, &book, 1, now), [200_001]);
        assert!(book.asked.get() - before < 10, "{}", book.asked.get() - before);
    }

    #[test]
    fn what_was_put_back_is_found_when_it_looks_again() {
        let now = Instant::now();
        let mut book = Book { pending: [(5, 9)].into(), held: [(1, 7)].into(), ..Book::default() };
        book.pending.insert(3, 7);
        let mut ahead = Ahead::default();
        assert_eq!(choose(&mut ahead, &book, 8, now), [5]);
        let released = book.held.remove(&1).unwrap();
        book.pending.insert(1, released);
        assert_eq!(choose(&mut ahead, &book, 8, now), [] as [i64; 0]);
        ahead.look_again();
        assert_eq!(choose(&mut ahead, &book, 8, now), [1], "lane 9 is under way still");
    }

    /// Whatever lanes fail, rest, come and are held: each lane's debts go in their order, and all of them go.
    #[test]
    fn in_any_play_of_failures_every_debt_goes_once_and_each_lanes_in_order() {
        for seed in 0..200_u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut draw = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut now = Instant::now();
            let mut book = Book::default();
            for debt in 1..=600 {
                book.pending.insert(debt, i64::try_from(draw(40)).unwrap());
            }
            let (mut ahead, mut next, mut paid) = (Ahead::default(), 601, Vec::<(i64, i64)>::new());
            let mut flying: Vec<(i64, i64)> = Vec::new();
            let mut rounds = 0;
            while !book.pending.is_empty() || !book.held.is_empty() {
                rounds += 1;
                assert!(rounds < 100_000, "seed {seed}: {} debts are never chosen", book.pending.len());
                flying.extend(ahead.choose(&book, 4_usize.saturating_sub(flying.len()), now).unwrap());
                if !flying.is_empty() {
                    let (debt, lane) = flying.remove(usize::try_from(draw(flying.len() as u64)).unwrap());
                    match draw(10) {
                        0 | 1 => ahead.rest(lane, now + Duration::from_secs(1 + draw(5))),
                        2 => {
                            book.pending.remove(&debt);
                            book.held.insert(debt, lane);
                            ahead.free(lane);
                        }
                        _ => {
                            book.pending.remove(&debt);
                            paid.push((debt, lane));
                            ahead.free(lane);
                        }
                    }
                }
                if draw(20) == 0 && next < 900 {
                    book.pending.insert(next, i64::try_from(draw(40)).unwrap());
                    next += 1;
                }
                if draw(15) == 0 || flying.is_empty() {
                    book.pending.append(&mut book.held);
                    ahead.look_again();
                    now += Duration::from_secs(1);
                }
            }
            let mut last: BTreeMap<i64, i64> = BTreeMap::new();
            for (debt, lane) in &paid {
                assert!(last.insert(*lane, *debt).is_none_or(|before| before < *debt), "seed {seed}: lane {lane} out of order");
            }
            assert_eq!(paid.len(), usize::try_from(next - 1).unwrap(), "seed {seed}");
        }
    }
}
