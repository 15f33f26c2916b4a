//! Dates and moments that keep how much was known: a year of birth is not the first of January.

use jiff::Timestamp;
use jiff::civil;
use serde::{Deserialize, Serialize};

/// How much of a date or moment was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// `2026`
    Year,
    /// `2026-04`
    Month,
    /// `2026-04-01`
    Day,
    /// To the hour.
    Hour,
    /// To the minute.
    Minute,
    /// To the second.
    Second,
    /// To a fraction of a second.
    Fraction,
}

/// A calendar date, as precise as it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Date {
    /// `2026`, `2026-04` or `2026-04-01`; nothing is padded.
    pub value: String,
    /// Year, month or day.
    pub precision: Precision,
}

impl Date {
    /// The whole date, where year, month and day are known.
    pub fn civil(&self) -> Option<civil::Date> {
        (self.precision == Precision::Day).then(|| self.value.parse().ok()).flatten()
    }
}

/// A moment, as precise as it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instant {
    /// With a time of day: RFC 3339 with offset, `2026-01-05T09:30:00+00:00`. Without: as [`Date::value`].
    pub value: String,
    /// What was said of it.
    pub precision: Precision,
    /// The sender's text, where `value` says less or otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

impl Instant {
    /// The first moment that this value can mean (start of the year, month, day in London), for ordering.
    pub fn timestamp(&self) -> Option<Timestamp> {
        if let Ok(at) = self.value.parse::<Timestamp>() {
            return Some(at);
        }
        let padded = match self.value.len() {
            4 => format!("{}-01-01", self.value),
            7 => format!("{}-01", self.value),
            _ => self.value.clone(),
        };
        let date: civil::Date = padded.parse().ok()?;
        Some(date.in_tz("Europe/London").ok()?.timestamp())
    }

    /// The calendar date in London, where at least the day is known.
    pub fn date(&self) -> Option<civil::Date> {
        if let Ok(at) = self.value.parse::<Timestamp>() {
            return Some(at.in_tz("Europe/London").ok()?.date());
        }
        self.value.parse().ok()
    }

    /// A moment of our own, to the second, in UTC.
    pub fn of(at: Timestamp) -> Self {
        let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
        Self { value: whole.to_string(), precision: Precision::Second, raw: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(value: &str, precision: Precision) -> Instant {
        Instant { value: value.to_owned(), precision, raw: None }
    }

    #[test]
    fn a_year_or_month_is_no_whole_date() {
        let date = |value: &str, precision| Date { value: value.to_owned(), precision }.civil();
        assert_eq!(date("2026-04-01", Precision::Day), Some(civil::date(2026, 4, 1)));
        assert_eq!(date("2026-04", Precision::Month), None);
        assert_eq!(date("2026", Precision::Year), None);
        assert_eq!(date("2026-02-30", Precision::Day), None);
        assert_eq!(instant("2026-04", Precision::Month).date(), None);
    }

    #[test]
    fn a_moment_is_ordered_by_the_first_instant_it_can_mean_in_london() {
        for (value, precision, first) in [
            ("2026-07-05T09:30:00+01:00", Precision::Second, "2026-07-05T08:30:00Z"),
            ("2026-07-05", Precision::Day, "2026-07-04T23:00:00Z"),
            ("2026-07", Precision::Month, "2026-06-30T23:00:00Z"),
            ("2026", Precision::Year, "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(instant(value, precision).timestamp(), Some(first.parse().unwrap()), "{value}");
        }
        assert_eq!(instant("soon", Precision::Day).timestamp(), None);
    }

    #[test]
    fn a_moment_after_midnight_in_london_is_the_next_day_whatever_the_offset_says() {
        assert_eq!(instant("2026-07-04T23:30:00Z", Precision::Second).date(), Some(civil::date(2026, 7, 5)));
        assert_eq!(instant("2026-01-04T23:30:00Z", Precision::Second).date(), Some(civil::date(2026, 1, 4)));
    }
}
