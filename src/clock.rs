//! The only file that reads the clock. Everyone else takes `now` as an argument, so that years of
//! retries and due dates are tested in microseconds.
//!
//! A whole process can be given a test clock: a file that holds a time, which [`now`] follows. So a real broker on real sockets
//! lives through a year in minutes. Waits stay real: they never follow the file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Wall time, for people and for records. Never for order, waits or leases. Where this process [follows](follow) a test clock: its time.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    FOLLOWED.get().map_or_else(Timestamp::now, |clock| clock.at(tick()))
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

static FOLLOWED: OnceLock<TestClock> = OnceLock::new();

/// Makes [`now`] follow `file` for the rest of this process. Following the same file again changes nothing.
///
/// # Errors
///
/// The file cannot be read or holds no time ([`TestClock::open`]), or this process follows another one already.
pub fn follow(file: &Path) -> Result<(), ClockError> {
    let opened = TestClock::open(file)?;
    let followed = FOLLOWED.get_or_init(|| opened);
    if followed.file == file { Ok(()) } else { Err(ClockError::Taken(followed.file.clone())) }
}

/// The file that [`now`] follows; none on real time.
pub fn followed() -> Option<&'static Path> {
    FOLLOWED.get().map(|clock| clock.file.as_path())
}

/// How long somebody waits who asks the wall clock what is due: `every`, and on a test clock, where a day may last a second, no longer
/// than its file stands unread.
pub fn poll(every: Duration) -> Duration {
    if FOLLOWED.get().is_some() { every.min(REREAD_AFTER) } else { every }
}

/// Why a file is no test clock.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// It cannot be read.
    #[error("the test clock {} cannot be read: {error}; write a time into it, like 2026-01-05T06:00:00Z", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// It holds something else.
    #[error("the test clock {} holds no time; write one into it, like 2026-01-05T06:00:00Z", .0.display())]
    NoTime(PathBuf),
    /// A process has one clock.
    #[error("this process follows the test clock {} already", .0.display())]
    Taken(PathBuf),
}

/// How old, in real time, the time of a [`TestClock`] may be before its file is read again.
pub const REREAD_AFTER: Duration = Duration::from_millis(20);

/// A clock that says what stands in its file: one RFC 3339 time, and white space. It stands still until the file is written anew.
///
/// # Invariants
///
/// - It never goes back, whatever is written.
/// - A file that cannot be read, or was read half written, leaves the clock where it was.
#[derive(Debug)]
pub struct TestClock {
    file: PathBuf,
    last: Mutex<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    read: Instant,
    says: Timestamp,
}

impl TestClock {
    /// A clock that follows `file`, read for the first time.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no RFC 3339 time.
    pub fn open(file: &Path) -> Result<Self, ClockError> {
        let says = time_in(file)?;
        Ok(Self { file: file.to_owned(), last: Mutex::new(Reading { read: tick(), says }) })
    }

    /// What the clock says at `tick`, a point on the monotonic clock.
    pub fn at(&self, tick: Instant) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if REREAD_AFTER <= tick.saturating_duration_since(last.read) {
            let says = time_in(&self.file).map_or(last.says, |says| says.max(last.says));
            *last = Reading { read: tick, says };
        }
        last.says
    }
}

fn time_in(file: &Path) -> Result<Timestamp, ClockError> {
    let text = std::fs::read_to_string(file).map_err(|error| ClockError::Unreadable { file: file.to_owned(), error })?;
    text.trim().parse().map_err(|_| ClockError::NoTime(file.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_clock_says_what_stands_in_its_file_twenty_milliseconds_later_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("2026-03-29T00:59:59Z\n");
        let clock = TestClock::open(&file).unwrap();
        let begun = tick();
        let after = |millis: u64| clock.at(begun + Duration::from_millis(millis)).to_string();
        assert_eq!(after(0), "2026-03-29T00:59:59Z");
        write("2026-03-29T01:00:00Z");
        assert_eq!(after(10), "2026-03-29T00:59:59Z", "not read again yet");
        assert_eq!(after(30), "2026-03-29T01:00:00Z");
        write("2025-01-01T00:00:00Z");
        assert_eq!(after(60), "2026-03-29T01:00:00Z", "never back");
        write("2026-03-29T02:");
        assert_eq!(after(90), "2026-03-29T01:00:00Z", "half written");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(after(120), "2026-03-29T01:00:00Z", "gone");
        write("2026-03-30T06:00:00+01:00");
        assert_eq!(after(150), "2026-03-30T05:00:00Z", "with an offset");
    }

    #[test]
    fn a_file_without_a_time_is_no_test_clock_and_says_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let told = || TestClock::open(&file).unwrap_err().to_string();
        assert!(told().contains("cannot be read") && told().contains("2026-01-05T06:00:00Z"), "{}", told());
        std::fs::write(&file, "5 January").unwrap();
        assert!(told().contains("holds no time"), "{}", told());
    }
}
