//! Dates and moments with the precision that was said. FHIR has no dateTime between the day and the second, and none
//! with a time of day but no zone: such a text is not a [`When`].

use fhir_sdk::{Date, DateTime, Instant};
use time::format_description::well_known::Rfc3339;
use time::{Month, OffsetDateTime};

/// A date or a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// `2026`
    Year(i32),
    /// `2026-04`
    Month(i32, Month),
    /// `2026-04-01`
    Day(time::Date),
    /// `2026-04-01T09:30:00+01:00`
    Moment(OffsetDateTime),
}

impl When {
    /// Reads `2026`, `2026-04`, `2026-04-01` or RFC 3339 with its offset; years 1000 to 9999. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains('T') {
            return OffsetDateTime::parse(text, &Rfc3339).ok().filter(|at| (1000..=9999).contains(&at.year())).map(Self::Moment);
        }
        let mut parts = text.split('-');
        let year: i32 = digits(parts.next()?, 4)?;
        if year < 1000 {
            return None;
        }
        let Some(month) = parts.next() else { return Some(Self::Year(year)) };
        let month = Month::try_from(u8::try_from(digits(month, 2)?).ok()?).ok()?;
        let Some(day) = parts.next() else { return Some(Self::Month(year, month)) };
        let day = u8::try_from(digits(day, 2)?).ok()?;
        if parts.next().is_some() {
            return None;
        }
        time::Date::from_calendar_date(year, month, day).ok().map(Self::Day)
    }

    /// As an element of type `dateTime`.
    pub(crate) fn date_time(self) -> DateTime {
        match self {
            Self::Moment(at) => DateTime::DateTime(Instant(at)),
            date => DateTime::Date(date.date()),
        }
    }

    /// As an element of type `date`: of a moment, the day on its own clock.
    pub(crate) fn date(self) -> Date {
        match self {
            Self::Year(year) => Date::Year(year),
            Self::Month(year, month) => Date::YearMonth(year, month),
            Self::Day(day) => Date::Date(day),
            Self::Moment(at) => Date::Date(at.date()),
        }
    }

    /// As an element of type `instant`, which only a moment can be.
    pub(crate) fn instant(self) -> Option<Instant> {
        match self {
            Self::Moment(at) => Some(Instant(at)),
            _ => None,
        }
    }
}

fn digits(text: &str, count: usize) -> Option<i32> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_with_the_precision_it_has_and_nonsense_is_not_read() {
        for good in ["2026", "2026-04", "2026-04-01", "2024-02-29", "2026-04-01T09:30:00+01:00", "2026-04-01T09:30:00Z"] {
            assert!(When::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "26",
            "0000",
            "2026-13",
            "2026-02-29",
            "2026-4-1",
            "2026-04-01T09:30",
            "2026-04-01T09:30:00",
            "2026-04-01-",
            "+026",
            "20260401",
        ] {
            assert!(When::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(When::parse("2026-04"), Some(When::Month(2026, Month::April)));
    }
}
