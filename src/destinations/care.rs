//! How patient the broker is with a receiver: when it is left alone, when somebody is told, and how long a debt is tried.
//!
//! A window begins on the days that it names and may go over midnight. Its times are local times of the zone that is asked for, so that
//! `02:00` is two o'clock also on the days on which the clocks change.

use std::time::Duration;

use jiff::civil::{Date, Time, Weekday};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Deserializer};

/// Age of the oldest debt at which somebody is told, where the settings name none.
pub const ALARM_AFTER: Duration = Duration::from_secs(15 * 60);
/// How long a parents' record is tried, where the settings name nothing (destination rules, section 3).
pub const PARENTS_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Fastest `rate` that can be asked for.
const RATE_MAX: u32 = 100_000;

/// The keys that every kind of destination has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Care {
    /// Times in which nothing is sent and no alarm is raised.
    #[serde(rename = "maintenance")]
    pub window: Vec<Window>,
    /// Age of the oldest debt at which the log says so. Default [`ALARM_AFTER`].
    #[serde(deserialize_with = "length")]
    pub alarm_after: Option<Duration>,
    /// A debt that is older when an attempt fails is held. Absent: it is tried for ever, and for a parents' record [`PARENTS_MAX_AGE`].
    #[serde(deserialize_with = "length")]
    pub max_age: Option<Duration>,
    /// Debts paid in a second at most, for receivers that are paid one by one. Absent: as fast as they answer.
    pub rate: Option<u32>,
}

/// A time in which a receiver is left alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Days on which it begins: `sat sun`, `mon tue wed thu fri`, `daily`.
    pub days: String,
    /// From then on.
    pub from: Time,
    /// Until then; at or before `from` it is the next day's.
    pub to: Time,
}

impl Window {
    fn on(&self, day: Date, local: &impl Fn(Date, Time) -> Timestamp) -> Option<(Timestamp, Timestamp)> {
        if !weekdays(&self.days).ok()?.contains(&day.weekday()) {
            return None;
        }
        let last = if self.from < self.to { day } else { day.tomorrow().ok()? };
        Some((local(day, self.from), local(last, self.to)))
    }
}

impl Care {
    /// Its keys.
    pub const KEYS: [&'static str; 4] = ["maintenance", "alarm_after", "max_age", "rate"];

    /// The window that `now` lies in: when it ends. `today` is the local date of `now`, `local` the moment of a local time.
    pub fn window_ends(&self, (now, today): (Timestamp, Date), local: impl Fn(Date, Time) -> Timestamp) -> Option<Timestamp> {
        self.windows(today, local).filter(|(from, to)| *from <= now && now < *to).map(|(_, to)| to).max()
    }

    /// True where a window ended within `within` before `now`: what waited for it had no chance yet.
    pub fn window_ended_within(&self, (now, today): (Timestamp, Date), within: Duration, local: impl Fn(Date, Time) -> Timestamp) -> bool {
        let since = jiff::SignedDuration::try_from(within).ok().and_then(|within| now.checked_sub(within).ok()).unwrap_or(Timestamp::MIN);
        self.windows(today, local).any(|(_, to)| since < to && to <= now)
    }

    fn windows(&self, today: Date, local: impl Fn(Date, Time) -> Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        // One that began the day before may last until today.
        let days: Vec<Date> = (0..=2).filter_map(|back: i64| today.checked_sub(back.days()).ok()).collect();
        let found: Vec<_> = self.window.iter().flat_map(|window| days.iter().filter_map(|day| window.on(*day, &local))).collect();
        found.into_iter()
    }

    /// What is wrong with it, with what would help.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(self.window.iter().filter_map(|window| weekdays(&window.days).err()));
        for window in self.window.iter().filter(|window| window.from == window.to) {
            problems.push(format!("`maintenance` from {0} to {0} lasts a whole day: `dest pause` is for that", window.from));
        }
        if self.rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
            problems.push(format!("`rate` must be from 1 to {RATE_MAX} debts a second"));
        }
        for (name, length) in [("alarm_after", self.alarm_after), ("max_age", self.max_age)] {
            if length.is_some_and(|length| length < Duration::from_secs(1)) {
                problems.push(format!("`{name}` must be a second at least, like \"15 min\""));
            }
        }
        problems
    }
}

fn length<'de, D: Deserializer<'de>>(read: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(read)?;
    read_length(&text).map(Some).map_err(serde::de::Error::custom)
}

/// `30 s`, `15 min`, `4 h`, `7 d`.
///
/// # Errors
///
/// It is written otherwise; the text says how.
pub fn read_length(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no length of time; write it like \"30 s\", \"15 min\", \"4 h\", \"7 d\"");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refused)
}

/// The days that a window names.
fn weekdays(text: &str) -> Result<Vec<Weekday>, String> {
    const HELP: &str = "write mon tue wed thu fri sat sun, or daily";
    let mut days = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "mon" => days.push(Weekday::Monday),
            "tue" => days.push(Weekday::Tuesday),
            "wed" => days.push(Weekday::Wednesday),
            "thu" => days.push(Weekday::Thursday),
            "fri" => days.push(Weekday::Friday),
            "sat" => days.push(Weekday::Saturday),
            "sun" => days.push(Weekday::Sunday),
            "daily" => days.extend(Weekday::Monday.cycle_forward().take(7)),
            _ => return Err(format!("`days` of `maintenance`: {word:?} is no day; {HELP}")),
        }
    }
    if days.is_empty() { Err(format!("`days` of `maintenance` names no day; {HELP}")) } else { Ok(days) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn care(text: &str) -> Care {
        toml::from_str(text).unwrap()
    }

    fn local(day: Date, time: Time) -> Timestamp {
        let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
        day.to_datetime(time).to_zoned(zone).unwrap().timestamp()
    }

    /// When the window of `now` ends; empty outside.
    fn ends(care: &Care, now: &str) -> String {
        let now: Timestamp = now.parse().unwrap();
        let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
        let today = now.to_zoned(zone).date();
        care.window_ends((now, today), local).map(|end| end.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let weekend = care("maintenance = [{ days = 'sat sun', from = '22:00', to = '02:00' }]");
        // 7 November 2026 is a Saturday.
        for (now, end) in [
            ("2026-11-06T23:00:00Z", ""),
            ("2026-11-07T21:59:59Z", ""),
            ("2026-11-07T22:00:00Z", "2026-11-08T02:00:00Z"),
            ("2026-11-08T01:59:59Z", "2026-11-08T02:00:00Z"),
            ("2026-11-08T02:00:00Z", ""),
            ("2026-11-08T23:30:00Z", "2026-11-09T02:00:00Z"),
            ("2026-11-09T22:30:00Z", ""),
        ] {
            assert_eq!(ends(&weekend, now), end, "{now}");
        }
    }

    #[test]
    fn on_the_days_the_clocks_change_a_window_keeps_its_local_times() {
        let nightly = care("maintenance = [{ days = 'daily', from = '00:30', to = '02:30' }]");
        // 29 March 2026: one hour long. 25 October 2026: three hours.
        for (now, end) in [
            ("2026-03-29T00:29:59Z", ""),
            ("2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
            ("2026-03-29T01:30:00Z", ""),
            ("2026-10-24T23:29:59Z", ""),
            ("2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z"),
            ("2026-10-25T02:29:59Z", "2026-10-25T02:30:00Z"),
        ] {
            assert_eq!(ends(&nightly, now), end, "{now}");
        }
        // 01:30 on the day on which it does not exist is the hour after.
        let short = care("maintenance = [{ days = 'sun', from = '01:30', to = '03:00' }]");
        assert_eq!(ends(&short, "2026-03-29T01:29:59Z"), "");
        assert_eq!(ends(&short, "2026-03-29T01:30:00Z"), "2026-03-29T02:00:00Z");
    }

    #[test]
    fn what_waited_for_a_window_has_its_time_afterwards() {
        let nightly = care("maintenance = [{ days = 'daily', from = '22:00', to = '02:00' }]");
        let quarter = Duration::from_secs(900);
        let ended = |now: &str| {
            let now: Timestamp = now.parse().unwrap();
            nightly.window_ended_within((now, now.to_zoned(jiff::tz::TimeZone::UTC).date()), quarter, local)
        };
        assert!(!ended("2026-11-08T01:59:59Z"));
        assert!(ended("2026-11-08T02:00:00Z") && ended("2026-11-08T02:14:59Z"));
        assert!(!ended("2026-11-08T02:15:00Z"));
    }

    #[test]
    fn what_is_written_wrong_is_refused_with_how_to_write_it() {
        let refused = |text: &str| toml::from_str::<Care>(text).unwrap_err().to_string();
        let wrong =
            care("maintenance = [{ days = 'saturday', from = '22:00', to = '02:00' }, { days = '', from = '22:00', to = '02:00' }]");
        let problems = wrong.check();
        assert!(problems[0].contains("\"saturday\" is no day") && problems[1].contains("names no day"), "{problems:?}");
        assert_eq!(ends(&wrong, "2026-11-07T23:00:00Z"), "");
        assert!(refused("alarm_after = 'soon'").contains("15 min"));
        assert!(refused("max_age = '7 weeks'").contains("7 d"));
        assert_eq!(care("alarm_after = '90 s'\nmax_age = '7d'").max_age, Some(PARENTS_MAX_AGE));
        let wrong =
            care("maintenance = [{ days = 'sat', from = '02:00', to = '02:00' }]\nrate = 0\nalarm_after = '0 s'").check().join(" | ");
        for part in ["dest pause", "`rate`", "`alarm_after`"] {
            assert!(wrong.contains(part), "{part} in {wrong}");
        }
    }
}
