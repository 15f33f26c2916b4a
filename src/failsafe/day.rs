//! Days, ages and deadlines as the failsafe counts them (failsafe rules, section 1).
//!
//! # What always holds
//!
//! - A date is a local date of Europe/London, and the day of birth is day 0 (G-NBS).
//! - A due *date* ends with its last second: what is due on a day is late from the first second of the next one, whether
//!   that day had 23, 24 or 25 hours.
//! - Hours are hours that passed. Where the hour of birth is not known, they are counted from the end of the day of birth: the
//!   last moment that can be meant.
//! - Months and years end on the same day of the month; where the month has no such day, on its last.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// Where days begin and end.
static LONDON: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC));

/// The zone in which days begin and end: Europe/London.
pub fn london() -> TimeZone {
    LONDON.clone()
}

/// The moment of a local time. A time that the clocks jump over is the one after the jump; of one that comes twice it is the first.
pub fn local(date: Date, time: Time) -> Timestamp {
    date.to_datetime(time).to_zoned(LONDON.clone()).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// The first moment of a day.
pub fn start_of(date: Date) -> Timestamp {
    local(date, Time::midnight())
}

/// The first moment after a day.
pub fn end_of(date: Date) -> Timestamp {
    date.tomorrow().map_or(Timestamp::MAX, start_of)
}

/// The local date of a moment.
pub fn date_of(at: Timestamp) -> Date {
    at.to_zoned(LONDON.clone()).date()
}

/// Days from one date to another.
pub fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

/// A date so many days later, or earlier.
pub fn plus_days(date: Date, days: i64) -> Date {
    date.saturating_add(Span::new().try_days(days).unwrap_or_default())
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Hours that passed.
    Hours(i64),
    /// Local dates; a week is seven.
    Days(i64),
    /// Calendar months; a year is twelve.
    Months(i64),
    /// Monday to Friday without holidays.
    WorkingDays(i64),
}

impl Length {
    /// Reads `72 h`, `17 d`, `8 wk`, `12 m`, `3 y`, `3 y 4 m`, `3 wd`.
    pub fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let one = |number: &str, unit: &str| {
            let number: i64 = number.parse().ok().filter(|number| (0..100_000).contains(number))?;
            Some(match unit {
                "h" => Self::Hours(number),
                "d" => Self::Days(number),
                "wk" => Self::Days(number * 7),
                "m" => Self::Months(number),
                "y" => Self::Months(number * 12),
                "wd" => Self::WorkingDays(number),
                _ => return None,
            })
        };
        match words.as_slice() {
            [number, unit] => one(number, unit),
            [number, unit, more, other] => match (one(number, unit)?, one(more, other)?) {
                (Self::Months(first), Self::Months(second)) => Some(Self::Months(first + second)),
                (Self::Days(first), Self::Days(second)) => Some(Self::Days(first + second)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The date that is so much later. Hours count as the days that they touch.
    pub fn after(self, date: Date, holidays: &Holidays) -> Date {
        match self {
            Self::Hours(hours) => plus_days(date, (hours + 23) / 24),
            Self::Days(days) => plus_days(date, days),
            Self::Months(months) => date.saturating_add(Span::new().try_months(months).unwrap_or_default()),
            Self::WorkingDays(days) => holidays.working_days_after(date, days),
        }
    }

    /// The first moment of the day that is so much later, or the moment so many hours later.
    pub fn opens(self, start: Start, holidays: &Holidays) -> Timestamp {
        match self {
            Self::Hours(_) => self.ends(start, holidays),
            _ => start_of(self.after(start.date, holidays)),
        }
    }

    /// The first moment that is too late.
    pub fn ends(self, start: Start, holidays: &Holidays) -> Timestamp {
        match self {
            Self::Hours(hours) => {
                let from = start.at.unwrap_or_else(|| end_of(start.date));
                from.saturating_add(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MAX)
            }
            _ => end_of(self.after(start.date, holidays)),
        }
    }
}

/// From when is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The local date: day 0.
    pub date: Date,
    /// The moment, where it is known.
    pub at: Option<Timestamp>,
}

impl Start {
    /// A day of which no hour is known.
    pub fn on(date: Date) -> Self {
        Self { date, at: None }
    }

    /// A moment.
    pub fn at(at: Timestamp) -> Self {
        Self { date: date_of(at), at: Some(at) }
    }

    /// The moment, or the first of the day.
    pub fn moment(self) -> Timestamp {
        self.at.unwrap_or_else(|| start_of(self.date))
    }
}

/// Days on which nobody works beside Saturdays and Sundays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holidays {
    /// The days.
    pub days: BTreeSet<Date>,
}

impl Holidays {
    /// Monday to Friday, and no holiday.
    pub fn is_working_day(&self, date: Date) -> bool {
        !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) && !self.days.contains(&date)
    }

    fn working_days_after(&self, date: Date, days: i64) -> Date {
        let mut date = date;
        let mut left = days;
        while 0 < left {
            let Ok(next) = date.tomorrow() else { return date };
            date = next;
            left -= i64::from(self.is_working_day(date));
        }
        date
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_ends_with_its_last_second_also_when_it_has_23_or_25_hours() {
        for (day, first, after) in [
            (date(2026, 1, 5), "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"),
            (date(2026, 3, 29), "2026-03-29T00:00:00Z", "2026-03-29T23:00:00Z"),
            (date(2026, 10, 25), "2026-10-24T23:00:00Z", "2026-10-26T00:00:00Z"),
        ] {
            assert_eq!((start_of(day), end_of(day)), (at(first), at(after)), "{day}");
            let last = after.parse::<Timestamp>().unwrap() - SignedDuration::from_secs(1);
            assert_eq!((date_of(last), date_of(at(after))), (day, day.tomorrow().unwrap()));
        }
    }

    #[test]
    fn a_time_that_does_not_exist_is_the_one_after_the_jump_and_of_two_the_first_is_meant() {
        assert_eq!(local(date(2026, 3, 29), Time::constant(1, 30, 0, 0)), at("2026-03-29T01:30:00Z"));
        assert_eq!(local(date(2026, 10, 25), Time::constant(1, 30, 0, 0)), at("2026-10-25T00:30:00Z"));
    }

    #[test]
    fn a_month_without_the_day_ends_on_its_last_day() {
        let months = |from: Date, months| Length::Months(months).after(from, &Holidays::default());
        assert_eq!(months(date(2026, 1, 31), 1), date(2026, 2, 28));
        assert_eq!(months(date(2024, 2, 29), 12), date(2025, 2, 28));
        assert_eq!(months(date(2024, 2, 29), 48), date(2028, 2, 29));
        assert_eq!(months(date(2025, 8, 31), 18), date(2027, 2, 28));
        assert_eq!(months(date(2025, 1, 1), 12), date(2026, 1, 1), "on or after the first birthday");
    }

    #[test]
    fn hours_pass_through_the_night_the_clocks_change() {
        let born = Start::at(at("2026-03-28T12:00:00Z"));
        assert_eq!(Length::Hours(72).ends(born, &Holidays::default()), at("2026-03-31T12:00:00Z"), "13:00 by the clock on the wall");
        // Without an hour of birth the end of the day is meant.
        assert_eq!(Length::Hours(72).ends(Start::on(date(2026, 3, 28)), &Holidays::default()), at("2026-04-01T00:00:00Z"));
    }

    #[test]
    fn working_days_leave_out_weekends_and_holidays() {
        let holidays = Holidays { days: [date(2026, 4, 3), date(2026, 4, 6)].into() };
        assert_eq!(Length::WorkingDays(3).after(date(2026, 4, 1), &holidays), date(2026, 4, 8), "Good Friday and Easter Monday between");
        assert_eq!(Length::WorkingDays(3).after(date(2026, 4, 1), &Holidays::default()), date(2026, 4, 6));
        assert_eq!(Length::WorkingDays(1).after(date(2026, 4, 10), &holidays), date(2026, 4, 13), "over a weekend");
    }

    #[test]
    fn lengths_are_read_as_people_write_them_and_nothing_else_is() {
        for (text, read) in [
            ("72 h", Some(Length::Hours(72))),
            ("17 d", Some(Length::Days(17))),
            ("8 wk", Some(Length::Days(56))),
            ("14 wk 6 d", Some(Length::Days(104))),
            ("3 y 4 m", Some(Length::Months(40))),
            ("3 wd", Some(Length::WorkingDays(3))),
            ("3 y 4 d", None),
            ("-1 d", None),
            ("8", None),
            ("8 weeks", None),
            ("", None),
        ] {
            assert_eq!(Length::read(text), read, "{text:?}");
        }
    }
}
