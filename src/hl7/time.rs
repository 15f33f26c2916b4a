//! HL7 timestamps with the precision and zone that were sent (protocol rules, section 11).

use jiff::tz::TimeZone;

/// How much was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimePrecision { Year, Month, Day, Hour, Minute, Second, Fraction }

/// A read timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// ISO text: `2026`, `2026-04`, `2026-04-01`, or RFC 3339 with offset when there is a time of day.
    pub iso: String,
    /// How much was said.
    pub precision: TimePrecision,
    /// `ambiguous_hour`, `skipped_hour`, `hour_24`, `second_60`.
    pub note: Option<&'static str>,
}

/// Why a text is no timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("not a date: digits YYYY[MM[DD[HH[MM[SS[.S]]]]]][+ZZZZ] are expected")]
    Shape,
    #[error("no such day or hour")]
    OutOfRange,
    #[error("all zeros: taken as absent")]
    Zeros,
}

/// Reads a TS, DT or DTM. A time without offset is in `zone`.
pub fn read_time(_text: &str, _zone: &TimeZone) -> Result<Time, TimeError> {
    unimplemented!()
}
