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
