//! Where the parts of a message's fields begin and end: found once for each repetition that is asked for, and kept in one list.
//!
//! ```text
//! OBX|3|CWE|171191008^Cystic fibrosis^SCT^CF|…        ends:  39 3 21 37 41     (end, how many cuts, the cuts)
//!           12       21              37  41 44
//! ```
//!
//! Rules ask for one component after the other of the same few repetitions, and conditions ask again: each answer is a look into
//! this list. Nothing is copied, and a [`Span`] is two numbers, so that pieces are handed on in registers.
//!
//! # Invariants
//!
//! - A span lies in the text of the message that it was found in, on the borders of characters: delimiters are ASCII.
//! - MSH-1 and MSH-2 are never split.

use std::ops::Range;

use memchr::memchr;

use super::header::Delimiters;
use super::message::Message;

/// Bytes of [`Message::text`], in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first.
    pub(crate) start: u32,
    /// The one after the last.
    pub(crate) end: u32,
}

impl Span {
    /// As a range of the text.
    #[inline]
    pub(crate) fn range(self) -> Range<usize> {
        wide(self.start)..wide(self.end)
    }

    /// No byte.
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// MSH-1 or MSH-2: they begin here, and nothing else does.
    #[inline]
    pub(crate) fn is_delimiters(self) -> bool {
        self.start == 3 || self.start == 4
    }
}

/// A number of 32 bits as an index.
#[inline]
pub(crate) fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// An index in 32 bits. Where it does not fit, it is past the end of everything.
#[inline]
pub(crate) fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// One repetition of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repetition {
    /// Its segment, from 0.
    pub(crate) segment: u32,
    /// Its field, from 1.
    pub(crate) field: u32,
    /// Which of its field, from 1.
    pub(crate) number: u32,
    /// Its bytes.
    pub(crate) span: Span,
    /// The field has more than this one.
    pub(crate) is_one_of_several: bool,
    /// Where its cuts are kept; 0: nowhere, they are looked for each time.
    cuts: u32,
}

/// The cuts of the repetitions of one message.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// For each field of the message, where the cuts of its first repetition are kept; 0 where nobody asked yet.
    firsts: Vec<u32>,
    /// For each repetition its end, how many component separators it has, and where.
    kept: Vec<u32>,
}

impl Cuts {
    /// The first repetition of a field; `None` where the field is not there or empty.
    #[inline]
    pub(crate) fn first(&mut self, message: &Message, segment: usize, field: usize) -> Option<Repetition> {
        let (place, span) = message.field_span(segment, field)?;
        if span.is_empty() {
            return None;
        }
        self.begin(message);
        let mut cuts = *self.firsts.get(place)?;
        if cuts == 0 {
            cuts = self.keep(message, span);
            *self.firsts.get_mut(place)? = cuts;
        }
        let end = *self.kept.get(wide(cuts))?;
        let is_one_of_several = end < span.end;
        Some(Repetition { segment: narrow(segment), field: narrow(field), number: 1, span: Span { end, ..span }, is_one_of_several, cuts })
    }

    /// Finds the cuts of a repetition that is no first one, because much will be asked of it.
    pub(crate) fn prepare(&mut self, message: &Message, repetition: Repetition) -> Repetition {
        if repetition.cuts != 0 {
            return repetition;
        }
        self.begin(message);
        Repetition { cuts: self.keep(message, repetition.span), ..repetition }
    }

    fn begin(&mut self, message: &Message) {
        if self.kept.is_empty() {
            self.firsts.resize(message.all_fields(), 0);
            self.kept.reserve(message.all_fields().min(1_024) * 2);
            // Nothing is kept at 0.
            self.kept.push(0);
        }
    }

    /// Finds where the repetition that begins a span ends, and its component separators.
    fn keep(&mut self, message: &Message, span: Span) -> u32 {
        let at = self.kept.len();
        self.kept.extend([span.end, 0]);
        if !span.is_delimiters() {
            let Delimiters { field, component, repetition, .. } = *message.delimiters();
            // A delimiter that is not available is looked for as the field separator, which no field holds.
            let (component, repetition) = (component.unwrap_or(field), repetition.unwrap_or(field));
            let (mut end, mut count) = (span.end, 0);
            for (place, byte) in (span.start..).zip(message.text_of(span).bytes()) {
                if byte == component {
                    self.kept.push(place);
                    count += 1;
                } else if byte == repetition {
                    end = place;
                    break;
                }
            }
            if let Some([known_end, known_count]) = self.kept.get_mut(at..at + 2).and_then(|head| <&mut [u32; 2]>::try_from(head).ok()) {
                (*known_end, *known_count) = (end, count);
            }
        }
        narrow(at)
    }

    /// Component `number` (from 1) of a repetition. Component 1 of a repetition without separators is all of it.
    #[inline]
    pub(crate) fn component(&self, message: &Message, repetition: &Repetition, number: usize) -> Option<Span> {
        let span = repetition.span;
        if repetition.cuts == 0 {
            return if span.is_delimiters() {
                (number == 1).then_some(span)
            } else {
                nth(message, span, message.delimiters().component, number)
            };
        }
        let head = wide(repetition.cuts) + 1;
        let count = wide(*self.kept.get(head)?);
        let before = number.checked_sub(1).filter(|before| *before <= count)?;
        let start = if before == 0 { span.start } else { self.kept.get(head + before)? + 1 };
        let end = if before == count { span.end } else { *self.kept.get(head + before + 1)? };
        Some(Span { start, end })
    }
}

/// True where a component goes on after its first sub-component, which is `first`, with something that is not blank.
pub(crate) fn has_further_sub_components(message: &Message, first: Span) -> bool {
    let delimiters = message.delimiters();
    let rest = Span { start: first.end, end: narrow(message.text().len()) };
    if !message.may_have_subs(rest) {
        return false;
    }
    let rest = message.text_of(rest).as_bytes();
    let Some((next, rest)) = rest.split_first().filter(|_| delimiters.sub.is_some()) else { return false };
    if Some(*next) != delimiters.sub {
        return false;
    }
    let ends = [Some(delimiters.field), delimiters.component, delimiters.repetition, Some(b'\r'), Some(b'\n')];
    rest.iter().take_while(|byte| !ends.contains(&Some(**byte))).any(|byte| !byte.is_ascii_whitespace() && Some(*byte) != delimiters.sub)
}

/// Sub-component `number` (from 1) of a component.
#[inline]
pub(crate) fn sub_component(message: &Message, component: Span, number: usize) -> Option<Span> {
    if component.is_delimiters() || !message.may_have_subs(component) {
        return (number == 1).then_some(component);
    }
    nth(message, component, message.delimiters().sub, number)
}

/// Part `number` (from 1) of a span that a delimiter parts.
fn nth(message: &Message, span: Span, delimiter: Option<u8>, number: usize) -> Option<Span> {
    number.checked_sub(1)?;
    let Some(delimiter) = delimiter else { return (number == 1).then_some(span) };
    let bytes = message.text_of(span).as_bytes();
    let mut from = 0;
    for _ in 1..number {
        from += bytes.get(from..)?.iter().position(|byte| *byte == delimiter)? + 1;
    }
    let rest = bytes.get(from..)?;
    let end = from + rest.iter().position(|byte| *byte == delimiter).unwrap_or(rest.len());
    Some(Span { start: span.start + narrow(from), end: span.start + narrow(end) })
}

/// The repetitions of a field one by one; none where the field is not there or empty.
pub(crate) fn repetitions(message: &Message, segment: usize, field: usize) -> impl Iterator<Item = Repetition> + use<'_> {
    let whole = message.field_span(segment, field).map(|(_, span)| span).filter(|span| !span.is_empty());
    let delimiter = message.delimiters().repetition.filter(|_| whole.is_some_and(|whole| !whole.is_delimiters()));
    let mut rest = whole;
    let mut number = 0;
    std::iter::from_fn(move || {
        let here = rest.take()?;
        number += 1;
        let cut = delimiter.and_then(|delimiter| memchr(delimiter, message.text_of(here).as_bytes()));
        let span = match cut.map(|cut| here.start + narrow(cut)) {
            Some(end) => {
                rest = Some(Span { start: end + 1, ..here });
                Span { end, ..here }
            }
            None => here,
        };
        let is_one_of_several = number > 1 || rest.is_some();
        Some(Repetition { segment: narrow(segment), field: narrow(field), number, span, is_one_of_several, cuts: 0 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::ReadOptions;
    use super::*;

    fn read(field: &str) -> Message {
        let raw = format!("MSH|^~\\&|A|B|||20260105||ADT^A28|1|P|2.4\rPID|1|{field}|x\r");
        Message::read(raw.as_bytes(), &ReadOptions::default()).unwrap()
    }

    proptest! {
        #[test]
        fn cuts_are_where_a_plain_split_finds_the_parts(field in "[a^&~]{0,24}") {
            let message = read(&field);
            let mut cuts = Cuts::default();
            let all: Vec<Repetition> = repetitions(&message, 1, 2).collect();
            let texts: Vec<&str> = all.iter().map(|one| message.text_of(one.span)).collect();
            let expected: Vec<&str> = if field.is_empty() { Vec::new() } else { field.split('~').collect() };
            prop_assert_eq!(&texts, &expected);
            let first = cuts.first(&message, 1, 2);
            prop_assert_eq!(first.map(|one| (message.text_of(one.span), one.is_one_of_several)), expected.first().map(|text| (*text, expected.len() > 1)));
            for (repetition, text) in all.iter().zip(&expected) {
                prop_assert_eq!(repetition.is_one_of_several, expected.len() > 1);
                let parts: Vec<&str> = text.split('^').collect();
                for (repetition, _) in [(*repetition, 0), (cuts.prepare(&message, *repetition), 1)] {
                    for number in 0..parts.len() + 2 {
                        let component = cuts.component(&message, &repetition, number);
                        let wanted = number.checked_sub(1).and_then(|at| parts.get(at));
                        prop_assert_eq!(component.map(|span| message.text_of(span)), wanted.copied());
                        for sub in 1..4 {
                            let found = component.and_then(|component| sub_component(&message, component, sub));
                            prop_assert_eq!(found.map(|span| message.text_of(span)), wanted.and_then(|part| part.split('&').nth(sub - 1)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_delimiters_themselves_are_one_piece() {
        let message = read("x");
        let mut cuts = Cuts::default();
        for (field, text) in [(1, "|"), (2, r"^~\&")] {
            let one = cuts.first(&message, 0, field).unwrap();
            let component = |number| cuts.component(&message, &one, number).map(|span| message.text_of(span));
            assert_eq!((component(1), component(2), one.is_one_of_several), (Some(text), None, false));
            assert_eq!(sub_component(&message, one.span, 1).map(|span| message.text_of(span)), Some(text));
            assert_eq!(repetitions(&message, 0, field).count(), 1);
        }
    }
}
