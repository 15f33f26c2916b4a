//! Which days of a daily job at a local time of Europe/London are due, and the nightly reports: each once for a hub and a day.
//!
//! # What always holds
//!
//! - The row that says "done" is written when the report is. Where a crash comes between the two, the same is written again under the
//!   same name.
//! - All days since the last one that was done are caught up, in their order: after a night on which the broker stood still, too.
//! - A day has one 06:00 and one 23:59 also when the clocks change. A time that is jumped over is the one after the jump; of one
//!   that comes twice the first is meant.
//!
//! # Not here
//!
//! Births lists (`daily`), what stands in a report (`report`), and the clock: `now` is given.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use tokio::runtime::Handle;

use super::report::Nightly;
use crate::failsafe::day::{date_of, local};
use crate::store::{Ledger, LedgerReader, StoreError};

/// The days of which a job is to be done at `now`, in order: those after `last`; today alone where nothing was ever done.
pub fn days_due(last: Option<Date>, at: Time, now: Timestamp) -> Vec<Date> {
    let today = date_of(now);
    let newest = if local(today, at) <= now { Some(today) } else { today.yesterday().ok() };
    let (Some(newest), Some(last)) = (newest, last) else {
        return newest.filter(|day| *day == today).into_iter().collect();
    };
    let mut days = Vec::new();
    let mut day = last;
    while day < newest {
        let Ok(next) = day.tomorrow() else { break };
        day = next;
        days.push(day);
    }
    days
}

/// The first moment after `now` at which a job of this time is due.
pub fn next_moment(at: Time, now: Timestamp) -> Timestamp {
    let today = local(date_of(now), at);
    if now < today { today } else { date_of(now).tomorrow().map_or(Timestamp::MAX, |tomorrow| local(tomorrow, at)) }
}

/// The nightly reports, and when they are due next.
pub struct Calendar {
    nightly: Nightly,
    ledger: Ledger,
    runtime: Handle,
    next: Option<Timestamp>,
}

impl Calendar {
    /// A calendar that has not looked yet.
    pub fn new(nightly: Nightly, ledger: Ledger, runtime: Handle) -> Self {
        Self { nightly, ledger, runtime, next: None }
    }

    /// Does what is due; gives how many reports were written.
    ///
    /// # Errors
    ///
    /// A report could not be written, or the ledger failed: it is tried again at the next tick, from where it stands.
    pub fn tick(&mut self, reader: &LedgerReader, now: Timestamp) -> Result<usize, StoreError> {
        if self.next.is_some_and(|next| now < next) {
            return Ok(0);
        }
        let mut done = 0;
        let last = reader.jobs_done(Nightly::JOB)?;
        for hub in self.nightly.hubs() {
            for day in days_due(last.get(&hub).copied(), self.nightly.at, now) {
                self.nightly.write(reader, &hub, day, now)?;
                self.runtime.block_on(self.ledger.job_done(Nightly::JOB, &hub, day, now))?;
                tracing::info!(job = Nightly::JOB, hub = %hub, day = %day, "calendar.done");
                done += 1;
            }
        }
        self.next = Some(next_moment(self.nightly.at, now));
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const SIX: Time = Time::constant(6, 0, 0, 0);
    const LAST_MINUTE: Time = Time::constant(23, 59, 0, 0);

    #[track_caller]
    fn check(last: Option<Date>, at: Time, now: &str, expected: &[&str]) {
        let days: Vec<String> = days_due(last, at, now.parse().unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(days, expected, "{now}");
    }

    #[test]
    fn a_day_is_due_from_its_local_second_and_every_missed_day_is_caught_up_in_order() {
        check(Some(date(2026, 1, 5)), SIX, "2026-01-06T05:59:59Z", &[]);
        check(Some(date(2026, 1, 5)), SIX, "2026-01-06T06:00:00Z", &["2026-01-06"]);
        check(Some(date(2026, 1, 6)), SIX, "2026-01-06T06:00:00Z", &[]);
        check(Some(date(2026, 1, 5)), SIX, "2026-01-09T07:00:00Z", &["2026-01-06", "2026-01-07", "2026-01-08", "2026-01-09"]);
        check(Some(date(2026, 1, 5)), SIX, "2026-01-09T03:00:00Z", &["2026-01-06", "2026-01-07", "2026-01-08"]);
    }

    #[test]
    fn a_broker_that_never_did_it_begins_today() {
        check(None, SIX, "2026-01-06T05:59:59Z", &[]);
        check(None, SIX, "2026-01-06T10:00:00Z", &["2026-01-06"]);
    }

    #[test]
    fn the_days_on_which_the_clocks_change_have_each_time_once() {
        // 29 March 2026 has 23 hours, 25 October 25.
        check(Some(date(2026, 3, 28)), SIX, "2026-03-29T04:59:59Z", &[]);
        check(Some(date(2026, 3, 28)), SIX, "2026-03-29T05:00:00Z", &["2026-03-29"]);
        check(Some(date(2026, 10, 24)), LAST_MINUTE, "2026-10-25T23:58:59Z", &[]);
        check(Some(date(2026, 10, 24)), LAST_MINUTE, "2026-10-25T23:59:00Z", &["2026-10-25"]);
        // 01:30 does not exist on the one, and exists twice on the other.
        let half_past_one = Time::constant(1, 30, 0, 0);
        check(Some(date(2026, 3, 28)), half_past_one, "2026-03-29T01:29:59Z", &[]);
        check(Some(date(2026, 3, 28)), half_past_one, "2026-03-29T01:30:00Z", &["2026-03-29"]);
        check(Some(date(2026, 10, 24)), half_past_one, "2026-10-25T00:30:00Z", &["2026-10-25"]);
        check(Some(date(2026, 10, 25)), half_past_one, "2026-10-25T01:30:00Z", &[]);
    }

    #[test]
    fn the_next_moment_is_the_one_at_which_a_day_becomes_due() {
        for now in ["2026-03-28T12:00:00Z", "2026-03-29T05:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T23:59:59Z", "2026-12-31T23:30:00Z"]
        {
            let now: Timestamp = now.parse().unwrap();
            let next = next_moment(SIX, now);
            let last = days_due(None, SIX, now).pop().or_else(|| date_of(now).yesterday().ok());
            let just_before = next - jiff::SignedDuration::from_micros(1);
            assert_eq!((days_due(last, SIX, just_before).len(), days_due(last, SIX, next).len()), (0, 1), "{now}");
        }
    }
}
