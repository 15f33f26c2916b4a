//! Whether a condition holds in a message.
//!
//! A record asks dozens of conditions of each of its segments, and nearly every path in them finds one text or none. So each operand
//! is asked for its only text first ([`Operand::only`]), which is compared on the spot; what finds several shows them one by one
//! ([`Operand::any`]).

use std::cmp::Ordering;

use jiff::civil::Date;

use super::days::{day_month_year, day_of};
use super::seen::Seen;
use super::{Ask, Column, Comparison, Condition, Day, Operand};
use crate::mapping::path::Path;

impl Condition {
    /// Does it hold.
    pub fn holds<A: Ask>(&self, message: &A) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.holds(message)),
            Self::Or(some) => some.iter().any(|one| one.holds(message)),
            Self::Not(inner) => !inner.holds(message),
            Self::Exists(path) => message.exists(path),
            Self::In(operand, words) => operand.any(message, &mut |text| words.contain(text)),
            Self::Fits(operand, pattern) => operand.any(message, &mut |text| !text.is_empty() && pattern.fits(text)),
            Self::Listed(operand, table) => operand.any(message, &mut |text| table.find(text, None).is_some()),
            Self::Among(operand, cell) => operand.any(message, &mut |text| {
                !text.is_empty() && cell.any(message, &mut |cell| cell.split_whitespace().any(|word| word == text))
            }),
            Self::Compare(sides, Comparison::Unequal) => !compare(&sides.0, Comparison::Equal, &sides.1, message),
            Self::Compare(sides, comparison) => compare(&sides.0, *comparison, &sides.1, message),
        }
    }
}

impl Operand {
    /// Its only value; the empty text where it has none. `None` where it may have several, or is a number.
    #[inline]
    fn only<'a>(&'a self, message: &'a impl Ask) -> Option<&'a str> {
        match self {
            Self::Path(path) => message.only(path),
            Self::Text(text) => Some(text),
            Self::Column(path, column) => message.only(path).map(|code| column.cell(code)),
            Self::Number(_) | Self::Count(_) | Self::Length(_) | Self::Days(_) | Self::Distinct(_) => None,
        }
    }

    /// Is one of its values such; where it has none, the empty text.
    #[inline]
    fn any<A: Ask>(&self, message: &A, such: &mut impl FnMut(&str) -> bool) -> bool {
        match self.only(message) {
            Some(text) => such(text),
            None => self.any_of_several(message, such),
        }
    }

    fn any_of_several<A: Ask>(&self, message: &A, such: &mut dyn FnMut(&str) -> bool) -> bool {
        match self {
            Self::Path(path) => {
                let mut none = true;
                let found = message.any(path, &mut |text| {
                    none = false;
                    such(text)
                });
                found || (none && such(""))
            }
            Self::Text(text) => such(text),
            Self::Number(number) => such(&number.to_string()),
            Self::Count(path) => with_digits(message.count(path), such),
            Self::Length(path) => with_digits(length(message, path), such),
            Self::Days(dates) => such(days(message, dates).map(|days| days.to_string()).as_deref().unwrap_or_default()),
            Self::Distinct(values) => with_digits(distinct(message, values), such),
            Self::Column(path, column) => {
                let mut none = true;
                let found = message.any(path, &mut |code| {
                    none = false;
                    such(column.cell(code))
                });
                found || (none && such(""))
            }
        }
    }

    /// Is one of its values a number that is such.
    fn any_number<A: Ask>(&self, message: &A, such: &mut dyn FnMut(f64) -> bool) -> bool {
        if self.is_number() {
            return self.number(message).is_some_and(such);
        }
        self.any(message, &mut |text| number(text).is_some_and(&mut *such))
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Count(_) | Self::Length(_) | Self::Days(_) | Self::Distinct(_))
    }

    /// The number that it is; nothing where it is a text, and for days where one of them is no date.
    fn number<A: Ask>(&self, message: &A) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number).filter(|number| number.is_finite()),
            Self::Count(path) => Some(exact(message.count(path))),
            Self::Length(path) => Some(exact(length(message, path))),
            Self::Days(dates) => days(message, dates).map(f64::from),
            Self::Distinct(values) => Some(exact(distinct(message, values))),
            Self::Path(_) | Self::Text(_) | Self::Column(..) => None,
        }
    }
}

impl Column {
    /// What the row of a code says; empty where there is none.
    fn cell(&self, code: &str) -> &str {
        // Most codings that a file compares are not sent; no table has a row for nothing.
        if code.is_empty() {
            return "";
        }
        let row = self.table.find(code, None);
        row.map_or("", |(sheet, row)| self.numbers.get(sheet).copied().flatten().map_or("", |column| row.cell(column)))
    }
}

/// Whole days from the first date to the second; `None` where one of them is no date.
fn days<A: Ask>(message: &A, (from, to): &(Day, Day)) -> Option<i32> {
    let (from, to) = (day(message, from)?, day(message, to)?);
    i32::try_from(to.duration_since(from).as_hours() / 24).ok()
}

/// The day that the first value of a path says; of a year or month its first day.
fn day<A: Ask>(message: &A, day: &Day) -> Option<Date> {
    let Some(path) = day.path() else { return message.received() };
    let read = |text: &str| if text.is_empty() { None } else { day_month_year(text).unwrap_or_else(|| day_of(text)) };
    if let Some(text) = message.only(path) {
        return read(text);
    }
    let mut day = None;
    message.any(path, &mut |text| {
        day = read(text);
        true
    });
    day
}

/// How many characters the first value of a path has.
fn length<A: Ask>(message: &A, path: &Path) -> usize {
    if let Some(text) = message.only(path) {
        return text.chars().count();
    }
    let mut length = 0;
    message.any(path, &mut |text| {
        length = text.chars().count();
        true
    });
    length
}

/// How many different values some operands find together; what is empty is none.
fn distinct<A: Ask>(message: &A, values: &[Operand]) -> usize {
    // Nearly always all that is said is the same: texts are kept from the second one on.
    let (mut first, mut seen) = ("", None::<Seen>);
    let with = |first: &str| {
        let mut seen = Seen::default();
        if !first.is_empty() {
            seen.add(first);
        }
        seen
    };
    let mut before: (u32, Option<&str>) = (0, None);
    for value in values {
        // Several columns of one path stand side by side: its text is asked for once.
        let only = match value {
            Operand::Path(path) | Operand::Column(path, _) => {
                if path.number() == 0 || before.0 != path.number() {
                    before = (path.number(), message.only(path));
                }
                if let Operand::Column(_, column) = value { before.1.map(|code| column.cell(code)) } else { before.1 }
            }
            other => other.only(message),
        };
        match (only, &mut seen) {
            (Some(""), _) => {}
            (Some(text), Some(seen)) => seen.add(text),
            (Some(text), None) if first.is_empty() => first = text,
            (Some(text), None) if text == first => {}
            (only, several) => {
                let seen = several.get_or_insert_with(|| with(first));
                match only {
                    Some(text) => seen.add(text),
                    None => {
                        value.any_of_several(message, &mut |text| {
                            if !text.is_empty() {
                                seen.add(text);
                            }
                            false
                        });
                    }
                }
            }
        }
    }
    seen.map_or(usize::from(!first.is_empty()), |seen| seen.count)
}

/// A number as text.
fn with_digits(number: usize, such: &mut dyn FnMut(&str) -> bool) -> bool {
    // Most are lengths and counts of one digit.
    const DIGITS: &str = "0123456789";
    match DIGITS.get(number..number.saturating_add(1)).filter(|digit| !digit.is_empty()) {
        Some(digit) => such(digit),
        None => such(&number.to_string()),
    }
}

/// A number of things in a message: never so many that it would be rounded.
fn exact(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn compare<A: Ask>(left: &Operand, comparison: Comparison, right: &Operand, message: &A) -> bool {
    let fits = |a: f64, b: f64| a.partial_cmp(&b).is_some_and(|order| comparison.fits(order));
    match (left.is_number(), right.is_number()) {
        (true, true) => left.number(message).is_some_and(|a| right.number(message).is_some_and(|b| fits(a, b))),
        (true, false) | (false, true) => left.any_number(message, &mut |a| right.any_number(message, &mut |b| fits(a, b))),
        (false, false) => {
            // A table's numbers are texts like the sender's.
            let orders = !matches!(comparison, Comparison::Equal | Comparison::Unequal);
            let by_number = orders && [left, right].into_iter().any(|side| matches!(side, Operand::Column(..)));
            left.any(message, &mut |a| {
                right.any(message, &mut |b| match by_number.then(|| number(a).zip(number(b))).flatten() {
                    Some((a, b)) => fits(a, b),
                    None => one(a, comparison, b),
                })
            })
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

#[inline]
fn one(a: &str, comparison: Comparison, b: &str) -> bool {
    match (a.is_empty(), b.is_empty()) {
        // Comparing no bytes can be slow: see the namespaces of `fhir/xml.rs`.
        (true, true) => comparison.fits(Ordering::Equal),
        // An absent value is neither smaller nor greater than anything.
        (true, false) | (false, true) => false,
        (false, false) if comparison == Comparison::Equal => a == b,
        (false, false) => comparison.fits(a.cmp(b)),
    }
}

impl Comparison {
    fn fits(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}
