//! Days as conditions read them from texts.

use jiff::civil::Date;

/// The day that a text begins with; of a year or month its first day.
pub(super) fn day_of(text: &str) -> Option<jiff::civil::Date> {
    // What a year and a month do not say is the first.
    let (mut digits, mut count) = (*b"00000101", 0);
    let said = text.bytes().take_while(|byte| *byte != b'T').filter(u8::is_ascii_digit);
    for (slot, digit) in digits.iter_mut().zip(said) {
        *slot = digit;
        count += 1;
    }
    if !matches!(count, 4 | 6 | 8) {
        let odd = digits.get(..count).and_then(|odd| std::str::from_utf8(odd).ok())?;
        return jiff::civil::Date::strptime("%Y%m%d", odd).ok();
    }
    let number = |digits: &[u8]| digits.iter().fold(0_i16, |number, digit| number * 10 + i16::from(digit - b'0'));
    let (year, rest) = digits.split_at(4);
    let (month, day) = rest.split_at(2);
    let small = |digits: &[u8]| i8::try_from(number(digits)).ok();
    jiff::civil::Date::new(number(year), small(month)?, small(day)?).ok()
}

/// `05/01/2026`, `5.1.2026`, as extracts write days; `None` for a text that begins with a year, `Some(None)` for no such day.
pub(super) fn day_month_year(text: &str) -> Option<Option<Date>> {
    // Nearly all of them begin with a year.
    if text.as_bytes().first_chunk::<3>().is_some_and(|start| start.iter().all(u8::is_ascii_digit)) {
        return None;
    }
    let mut parts = text.split(['/', '.', '-', ' ']);
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let fits = |part: &str, length: std::ops::RangeInclusive<usize>| {
        length.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let number = |part: &str| part.parse::<i8>().ok();
    let said = || Date::new(year.parse().ok()?, number(month)?, number(day)?).ok();
    (fits(day, 1..=2) && fits(month, 1..=2) && fits(year, 4..=4)).then(said)
}
