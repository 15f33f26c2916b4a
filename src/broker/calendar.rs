//! When a daily job is due: a local time of Europe/London, each day once, days that were missed too, in order.
//!
//! # Invariants
//!
//! - A day has one moment for each local time, also on the two days on which the clocks change: a time that does not exist is taken
//!   where the gap ends, one that exists twice is its first.
//! - Which days were done is on record, written in the transaction that did them (see `store`); this only says which are missing.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Days that are caught up in one go; the rest in the next.
pub const CATCH_UP_MAX: usize = 31;

/// A time of day at which something is due.
#[derive(Clone, Debug)]
pub struct Daily {
    at: Time,
    zone: TimeZone,
}

impl Daily {
    /// At this time in Europe/London.
    pub fn london(at: Time) -> Self {
        Self { at, zone: TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC) }
    }

    /// The moment of a day.
    pub fn moment(&self, day: Date) -> Timestamp {
        // A date that is at the end of all time has no zone; it is never due.
        day.to_datetime(self.at).to_zoned(self.zone.clone()).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
    }

    /// The last day whose moment has come.
    pub fn last(&self, now: Timestamp) -> Date {
        let today = now.to_zoned(self.zone.clone()).date();
        if self.moment(today) <= now { today } else { today.checked_sub(1.day()).unwrap_or(today) }
    }

    /// The days after `done` whose moments have come, oldest first, each with its moment; at most [`CATCH_UP_MAX`].
    pub fn due(&self, done: Date, now: Timestamp) -> Vec<(Date, Timestamp)> {
        let last = self.last(now);
        let mut days = Vec::new();
        let mut day = done;
        while days.len() < CATCH_UP_MAX {
            match day.checked_add(1.day()) {
                Ok(next) if next <= last => day = next,
                _ => break,
            }
            days.push((day, self.moment(day)));
        }
        days
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::{date, time};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The days that are due, as `2026-01-05@…Z`.
    #[track_caller]
    fn check(daily: &Daily, done: Date, now: &str, expected: &[&str]) {
        let due: Vec<String> = daily.due(done, at(now)).into_iter().map(|(day, moment)| format!("{day}@{moment}")).collect();
        assert_eq!(due, expected, "{now}");
    }

    #[test]
    fn a_day_is_due_at_its_minute_and_not_a_second_before() {
        let end = Daily::london(time(23, 59, 0, 0));
        check(&end, date(2026, 1, 4), "2026-01-05T23:58:59Z", &[]);
        check(&end, date(2026, 1, 4), "2026-01-05T23:59:00Z", &["2026-01-05@2026-01-05T23:59:00Z"]);
        check(&end, date(2026, 1, 5), "2026-01-05T23:59:30Z", &[]);
    }

    #[test]
    fn days_that_were_missed_are_due_in_their_order() {
        let end = Daily::london(time(23, 59, 0, 0));
        let due = ["2026-01-05@2026-01-05T23:59:00Z", "2026-01-06@2026-01-06T23:59:00Z"];
        check(&end, date(2026, 1, 4), "2026-01-07T12:00:00Z", &due);
        assert_eq!(end.due(date(2025, 1, 1), at("2026-01-07T12:00:00Z")).len(), CATCH_UP_MAX);
        check(&end, date(2026, 1, 9), "2026-01-07T12:00:00Z", &[]);
    }

    #[test]
    fn the_days_on_which_the_clocks_change_have_one_end() {
        let end = Daily::london(time(23, 59, 0, 0));
        // Forward on 29 March, back on 25 October.
        let spring = ["2026-03-28@2026-03-28T23:59:00Z", "2026-03-29@2026-03-29T22:59:00Z", "2026-03-30@2026-03-30T22:59:00Z"];
        check(&end, date(2026, 3, 27), "2026-03-31T00:00:00Z", &spring);
        let autumn = ["2026-10-24@2026-10-24T22:59:00Z", "2026-10-25@2026-10-25T23:59:00Z"];
        check(&end, date(2026, 10, 23), "2026-10-26T12:00:00Z", &autumn);
        // A time in the gap, and one that comes twice.
        let night = Daily::london(time(1, 30, 0, 0));
        check(&night, date(2026, 3, 28), "2026-03-29T12:00:00Z", &["2026-03-29@2026-03-29T01:30:00Z"]);
        check(&night, date(2026, 10, 24), "2026-10-25T12:00:00Z", &["2026-10-25@2026-10-25T00:30:00Z"]);
    }
}
