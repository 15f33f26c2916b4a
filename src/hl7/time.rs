//! HL7 timestamps with the precision and zone that were sent (protocol rules, section 11).
//!
//! Nothing is padded: a year is not its first of January. A time of day is always given out with its offset, the
//! sent one or that of the zone at that moment.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

/// How much was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimePrecision {
    /// `2026`
    Year,
    /// `202604`
    Month,
    /// `20260401`
    Day,
    /// `2026040109`: not in the standard, sent all the same.
    Hour,
    /// `202604010930`
    Minute,
    /// `20260401093015`
    Second,
    /// `20260401093015.25`
    Fraction,
}

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
    /// Other letters, other lengths.
    #[error("not a date: digits YYYY[MM[DD[HH[MM[SS[.S]]]]]][+ZZZZ] are expected")]
    Shape,
    /// The 30th of February, hour 25.
    #[error("no such day or hour")]
    OutOfRange,
    /// `00000000`
    #[error("all zeros: taken as absent")]
    Zeros,
}

/// Reads a TS, DT or DTM. A time without offset is in `zone`.
///
/// An hour that the zone has twice is the first of the two; one that it skips is an hour later; `24:00` is the next
/// day's midnight; second 60 is the last millisecond of its minute. Each of these is in [`Time::note`].
pub fn read_time(text: &str, zone: &TimeZone) -> Result<Time, TimeError> {
    let parts = Parts::of(text)?;
    let Some(hour) = parts.hour else { return parts.date_only() };
    let second = Second::of(&parts)?;
    let is_24 = hour == 24 && parts.minute.unwrap_or(0) == 0 && second.whole == 0 && second.nanosecond == 0;
    let date = parts.date()?;
    let hour = if is_24 { 0 } else { hour };
    let moment = date.at_checked(hour, parts.minute.unwrap_or(0), &second)?;
    let moment = if is_24 { moment.checked_add(1.day()).map_err(|_| TimeError::OutOfRange)? } else { moment };
    let (iso, zone_note) = match parts.offset {
        Some(offset) => (rfc_3339(moment, offset), None),
        None => in_zone(moment, zone)?,
    };
    let note = if is_24 { Some("hour_24") } else { second.note.or(zone_note) };
    Ok(Time { iso, precision: parts.precision(), note })
}

/// The day alone, where the first eight digits are a day and what follows is not a time of day (protocol rules,
/// section 11: a valid prefix may be used only if it is a whole date).
pub fn read_day(text: &str) -> Option<Time> {
    let digits = text.trim_ascii().get(..8)?;
    let parts = Parts::of(digits).ok()?;
    parts.date_only().ok()
}

/// The offset that a timestamp was sent with: MSH-7's is the zone of the message's times that have none, unless the
/// source has its own.
pub fn read_offset(text: &str) -> Option<TimeZone> {
    Parts::of(text).ok()?.offset.map(TimeZone::fixed)
}

/// The digits of a timestamp, not yet known to be a moment.
struct Parts<'t> {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    hour: Option<i8>,
    minute: Option<i8>,
    second: Option<i8>,
    fraction: Option<&'t str>,
    offset: Option<Offset>,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Result<Self, TimeError> {
        let (moment, offset) = split_offset(text.trim_ascii())?;
        let (digits, fraction) = match moment.split_once('.') {
            Some((digits, fraction)) => (digits, Some(fraction)),
            None => (moment, None),
        };
        let is_whole = matches!(digits.len(), 4 | 6 | 8 | 10 | 12 | 14) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_fraction = fraction.is_none_or(|fraction| digits.len() == 14 && (1..=9).contains(&fraction.len()) && is_number(fraction));
        if !is_whole || !is_fraction {
            return Err(TimeError::Shape);
        }
        if digits.bytes().chain(fraction.unwrap_or_default().bytes()).all(|digit| digit == b'0') {
            return Err(TimeError::Zeros);
        }
        let two = |from: usize| {
            let [tens, ones] = digits.as_bytes().get(from..from + 2)? else { return None };
            i8::try_from((tens - b'0') * 10 + (ones - b'0')).ok()
        };
        let year = i16::from(two(0).ok_or(TimeError::Shape)?) * 100 + i16::from(two(2).ok_or(TimeError::Shape)?);
        Ok(Self { year, month: two(4), day: two(6), hour: two(8), minute: two(10), second: two(12), fraction, offset })
    }

    fn precision(&self) -> TimePrecision {
        match self {
            Self { fraction: Some(_), .. } => TimePrecision::Fraction,
            Self { second: Some(_), .. } => TimePrecision::Second,
            Self { minute: Some(_), .. } => TimePrecision::Minute,
            Self { hour: Some(_), .. } => TimePrecision::Hour,
            Self { day: Some(_), .. } => TimePrecision::Day,
            Self { month: Some(_), .. } => TimePrecision::Month,
            _ => TimePrecision::Year,
        }
    }

    /// The day; of a year or a month its first, which only proves that they exist.
    fn date(&self) -> Result<Day, TimeError> {
        if self.year == 0 {
            return Err(TimeError::OutOfRange);
        }
        Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1)).map(Day).map_err(|_| TimeError::OutOfRange)
    }

    fn date_only(&self) -> Result<Time, TimeError> {
        let Day(date) = self.date()?;
        let precision = self.precision();
        let iso = match precision {
            TimePrecision::Year => written(date, 4),
            TimePrecision::Month => written(date, 7),
            _ => written(date, 10),
        };
        Ok(Time { iso, precision, note: None })
    }
}

struct Day(Date);

impl Day {
    fn at_checked(&self, hour: i8, minute: i8, second: &Second) -> Result<DateTime, TimeError> {
        let time = jiff::civil::Time::new(hour, minute, second.whole, second.nanosecond).map_err(|_| TimeError::OutOfRange)?;
        Ok(DateTime::from_parts(self.0, time))
    }
}

/// Seconds that exist on a clock.
struct Second {
    whole: i8,
    nanosecond: i32,
    note: Option<&'static str>,
}

impl Second {
    fn of(parts: &Parts<'_>) -> Result<Self, TimeError> {
        let whole = parts.second.unwrap_or(0);
        if whole == 60 {
            return Ok(Self { whole: 59, nanosecond: 999_000_000, note: Some("second_60") });
        }
        // Digits only, at most nine: `Parts::of`.
        let digits = parts.fraction.unwrap_or_default().bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanosecond = digits.fold(0, |number, digit| number * 10 + i32::from(digit.wrapping_sub(b'0')));
        Ok(Self { whole, nanosecond, note: None })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `…+ZZZZ`: hours and minutes, always four digits.
fn split_offset(text: &str) -> Result<(&str, Option<Offset>), TimeError> {
    let Some(at) = text.find(['+', '-']) else { return Ok((text, None)) };
    let (moment, offset) = text.split_at(at);
    let digits = offset.get(1..).filter(|digits| digits.len() == 4 && is_number(digits)).ok_or(TimeError::Shape)?;
    let number: i32 = digits.parse().map_err(|_| TimeError::Shape)?;
    let (hours, minutes) = (number / 100, number % 100);
    if 14 < hours || 59 < minutes {
        return Err(TimeError::OutOfRange);
    }
    let seconds = (hours * 60 + minutes) * 60;
    let signed = if offset.starts_with('-') { -seconds } else { seconds };
    Ok((moment, Some(Offset::from_seconds(signed).map_err(|_| TimeError::OutOfRange)?)))
}

fn in_zone(moment: DateTime, zone: &TimeZone) -> Result<(String, Option<&'static str>), TimeError> {
    let ambiguous = zone.to_ambiguous_timestamp(moment);
    let note = match ambiguous.offset() {
        // Nothing to look up twice; the last days of the calendar are no instants.
        jiff::tz::AmbiguousOffset::Unambiguous { offset } if moment.year() < 9999 => return Ok((rfc_3339(moment, offset), None)),
        jiff::tz::AmbiguousOffset::Unambiguous { .. } => None,
        jiff::tz::AmbiguousOffset::Gap { .. } => Some("skipped_hour"),
        jiff::tz::AmbiguousOffset::Fold { .. } => Some("ambiguous_hour"),
    };
    let zoned = zone.to_ambiguous_zoned(moment).compatible().map_err(|_| TimeError::OutOfRange)?;
    Ok((rfc_3339(zoned.datetime(), zoned.offset()), note))
}

/// The first `length` characters of `2026-04-01`.
fn written(date: Date, length: usize) -> String {
    let mut text = String::with_capacity(length);
    push_date(&mut text, date);
    text.truncate(length);
    text
}

/// `2026-04-01`; years are 1 to 9999 here.
fn push_date(text: &mut String, date: Date) {
    let year = date.year().unsigned_abs();
    push_two(text, year / 100);
    push_two(text, year % 100);
    for part in [date.month(), date.day()] {
        text.push('-');
        push_two(text, u16::from(part.unsigned_abs()));
    }
}

fn push_two(text: &mut String, number: u16) {
    for digit in [number / 10 % 10, number % 10] {
        text.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
    }
}

/// `2026-04-01T09:30:00+01:00`, with a fraction only where there is one.
fn rfc_3339(moment: DateTime, offset: Offset) -> String {
    let mut text = String::with_capacity(35);
    push_date(&mut text, moment.date());
    for (sign, part) in [('T', moment.hour()), (':', moment.minute()), (':', moment.second())] {
        text.push(sign);
        push_two(&mut text, u16::from(part.unsigned_abs()));
    }
    if moment.subsec_nanosecond() != 0 {
        let digits = format!(".{:09}", moment.subsec_nanosecond());
        text.push_str(digits.trim_end_matches('0'));
    }
    let seconds = offset.seconds();
    text.push(if seconds < 0 { '-' } else { '+' });
    let minutes = u16::try_from(seconds.unsigned_abs() / 60).unwrap_or(0);
    push_two(&mut text, minutes / 60);
    text.push(':');
    push_two(&mut text, minutes % 60);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn london() -> TimeZone {
        TimeZone::get("Europe/London").unwrap()
    }

    fn check(text: &str, iso: &str, precision: TimePrecision, note: Option<&'static str>) {
        assert_eq!(read_time(text, &london()), Ok(Time { iso: iso.to_owned(), precision, note }), "{text}");
    }

    #[test]
    fn precision_is_kept_and_nothing_is_padded() {
        check("2026", "2026", TimePrecision::Year, None);
        check("202604", "2026-04", TimePrecision::Month, None);
        check("20260401", "2026-04-01", TimePrecision::Day, None);
        check("2026010509", "2026-01-05T09:00:00+00:00", TimePrecision::Hour, None);
        check("202601050930", "2026-01-05T09:30:00+00:00", TimePrecision::Minute, None);
        check("20260105093015", "2026-01-05T09:30:15+00:00", TimePrecision::Second, None);
        check("20260105093015.25", "2026-01-05T09:30:15.25+00:00", TimePrecision::Fraction, None);
        check("20260105093015.0000", "2026-01-05T09:30:15+00:00", TimePrecision::Fraction, None);
        check(" 20260401 ", "2026-04-01", TimePrecision::Day, None);
    }

    #[test]
    fn a_time_without_offset_is_london_time_and_a_sent_offset_wins() {
        check("202607010930", "2026-07-01T09:30:00+01:00", TimePrecision::Minute, None);
        check("202607010930+0000", "2026-07-01T09:30:00+00:00", TimePrecision::Minute, None);
        check("202607010930-0030", "2026-07-01T09:30:00-00:30", TimePrecision::Minute, None);
        check("20260701+0100", "2026-07-01", TimePrecision::Day, None);
        check("20260105093015.1234+0530", "2026-01-05T09:30:15.1234+05:30", TimePrecision::Fraction, None);
    }

    #[test]
    fn in_autumn_the_first_of_two_hours_is_meant_and_in_spring_the_hour_after() {
        check("20261025013000", "2026-10-25T01:30:00+01:00", TimePrecision::Second, Some("ambiguous_hour"));
        check("20261025005959", "2026-10-25T00:59:59+01:00", TimePrecision::Second, None);
        check("20261025020000", "2026-10-25T02:00:00+00:00", TimePrecision::Second, None);
        check("20260329013000", "2026-03-29T02:30:00+01:00", TimePrecision::Second, Some("skipped_hour"));
        check("20261025013000+0000", "2026-10-25T01:30:00+00:00", TimePrecision::Second, None);
    }

    #[test]
    fn midnight_may_be_24_and_a_minute_may_have_a_second_60() {
        check("202612312400", "2027-01-01T00:00:00+00:00", TimePrecision::Minute, Some("hour_24"));
        check("2026123124", "2027-01-01T00:00:00+00:00", TimePrecision::Hour, Some("hour_24"));
        check("20260105235960", "2026-01-05T23:59:59.999+00:00", TimePrecision::Second, Some("second_60"));
    }

    #[test]
    fn what_is_no_date_is_told_apart() {
        for text in [
            "",
            "\"\"",
            "1",
            "202",
            "20260",
            "2026010",
            "2026-01-05",
            "20260105T0930",
            "Jan 2026",
            "2026010509301",
            "202601.5",
            "20260105093015.",
            "20260105+01",
            "20260105+01:00",
            "20260105++100",
            "２０２６",
        ] {
            assert_eq!(read_time(text, &london()), Err(TimeError::Shape), "{text}");
        }
        for text in [
            "20260230",
            "20261301",
            "20260001",
            "202613",
            "20260100",
            "2026010525",
            "202601052401",
            "202601050960",
            "20260105093061",
            "00000101",
            "20260105+1500",
            "20260105+0060",
            "99991231240000",
        ] {
            assert_eq!(read_time(text, &london()), Err(TimeError::OutOfRange), "{text}");
        }
        for text in ["0000", "00000000", "00000000000000", "00000000000000.000+0000"] {
            assert_eq!(read_time(text, &london()), Err(TimeError::Zeros), "{text}");
        }
    }

    #[test]
    fn a_day_is_used_alone_only_where_it_is_whole() {
        let day = |text| read_day(text).map(|time| (time.iso, time.precision));
        assert_eq!(day("202601052575"), Some(("2026-01-05".to_owned(), TimePrecision::Day)));
        assert_eq!(day("196513121515"), None);
        assert_eq!(day("202601"), None);
        assert_eq!(day("2026-01-05"), None);
    }

    #[test]
    fn the_offset_of_msh_7_can_serve_as_a_zone() {
        let zone = read_offset("20260701093000-0500").unwrap();
        assert_eq!(read_time("202607010930", &zone).unwrap().iso, "2026-07-01T09:30:00-05:00");
        assert_eq!(read_offset("20260701093000"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), digits in r"[0-9]{0,16}(\.[0-9]{0,10})?([+-][0-9]{0,5})?") {
            for text in [&text, &digits] {
                let _ = read_time(text, &TimeZone::UTC);
                read_day(text);
                read_offset(text);
            }
        }
    }
}
