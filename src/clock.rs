//! The only file that reads the clock. Everyone else takes `now` as an argument, so that years of
//! retries and due dates are tested in microseconds.

use std::time::Instant;

use jiff::Timestamp;

/// Wall time, for people and for records. Never for order, waits or leases.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A point on the monotonic clock, for waits.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn tick() -> Instant {
    Instant::now()
}

/// A point on tokio's monotonic clock, which tests can pause.
pub fn beat() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The date in London at a moment.
pub fn london_date(at: Timestamp) -> jiff::civil::Date {
    let zone = jiff::tz::TimeZone::get("Europe/London").unwrap_or(jiff::tz::TimeZone::UTC);
    at.to_zoned(zone).date()
}
