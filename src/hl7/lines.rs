//! Where lines end. One rule for the header, the check, the message and the batch, so that they never disagree
//! about where a segment begins (protocol rules, section 1).
//!
//! CR and CRLF end a line. LF ends one only where the message has no CR, or where the source is set to LF; otherwise
//! it is text. Blank lines are given out as empty lines; those at the end of the message are not.

use memchr::{memchr, memchr2};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What ends a line of this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// CR or CRLF; a lone LF is text.
    CarriageReturn,
    /// CR, CRLF or LF.
    Either,
}

impl Ending {
    /// The rule that holds for `bytes`. A CR at the very end says nothing about the lines before it.
    pub(super) fn of(bytes: &[u8], line_feed: bool) -> Self {
        if line_feed || memchr(b'\r', without_last_newlines(bytes)).is_none() { Self::Either } else { Self::CarriageReturn }
    }
}

/// The bytes after a byte order mark and newlines.
pub(super) fn without_lead(mut raw: &[u8]) -> &[u8] {
    loop {
        raw = match raw {
            [b'\r' | b'\n', rest @ ..] => rest,
            _ => match raw.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) => rest,
                None => return raw,
            },
        };
    }
}

fn without_last_newlines(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// A line without its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Its first byte, counted from where the lines began.
    pub(super) start: usize,
    /// What it says.
    pub(super) bytes: &'a [u8],
}

impl<'a> Line<'a> {
    /// Nothing but blanks.
    pub(super) fn is_blank(&self) -> bool {
        self.bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n'))
    }

    /// The segment's name where this is a segment: a capital, two capitals or digits, and then a field separator or nothing.
    pub(super) fn id(&self, field: u8) -> Option<[u8; 3]> {
        let (id, rest) = self.bytes.split_first_chunk::<3>()?;
        let [first, second, third] = id;
        let is_name = first.is_ascii_uppercase() && [second, third].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        (is_name && rest.first().is_none_or(|next| *next == field)).then_some(*id)
    }

    /// A segment that says nothing: `PV1`, `PV1||`. It counts as absent (protocol rules, section 9).
    pub(super) fn is_empty_segment(&self, field: u8) -> bool {
        self.bytes.get(3..).unwrap_or_default().iter().all(|byte| *byte == field)
    }
}

/// The lines of a message, in order.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    ending: Ending,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8], ending: Ending) -> Self {
        Self { bytes: without_last_newlines(bytes), at: 0, ending }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let (line, used) = match self.ending {
            Ending::Either => split_at_either(rest),
            Ending::CarriageReturn => split_at_carriage_return(rest),
        };
        self.at += used;
        Some(Line { start, bytes: line })
    }
}

fn split_at_either(rest: &[u8]) -> (&[u8], usize) {
    let Some(end) = memchr2(b'\r', b'\n', rest) else { return (rest, rest.len()) };
    let (line, ending) = rest.split_at(end);
    (line, end + if ending.starts_with(b"\r\n") { 2 } else { 1 })
}

fn split_at_carriage_return(rest: &[u8]) -> (&[u8], usize) {
    let Some(end) = memchr(b'\r', rest) else { return (rest, rest.len()) };
    let (mut line, ending) = rest.split_at(end);
    // An LF that touches the CR, on either side, belongs to the ending.
    while let [before @ .., b'\n'] = line {
        line = before;
    }
    let line_feeds = ending.iter().skip(1).take_while(|byte| **byte == b'\n').count();
    (line, end + 1 + line_feeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, line_feed: bool, expected: &[&str]) {
        let ending = Ending::of(message.as_bytes(), line_feed);
        let lines: Vec<&str> = Lines::new(message.as_bytes(), ending).map(|line| std::str::from_utf8(line.bytes).unwrap()).collect();
        assert_eq!(lines, expected, "{message:?}");
    }

    #[test]
    fn cr_and_crlf_end_a_line_and_lf_does_so_only_where_there_is_no_cr() {
        check("MSH|a\rPID|1\rPV1", false, &["MSH|a", "PID|1", "PV1"]);
        check("MSH|a\r\nPID|1\r\n", false, &["MSH|a", "PID|1"]);
        check("MSH|a\nPID|1\n", false, &["MSH|a", "PID|1"]);
        check("MSH|a\rNTE|1||two\nlines\rPV1\r", false, &["MSH|a", "NTE|1||two\nlines", "PV1"]);
        check("MSH|a\rNTE|1||two\nlines\rPV1\r", true, &["MSH|a", "NTE|1||two", "lines", "PV1"]);
    }

    #[test]
    fn a_last_cr_does_not_make_line_feeds_text() {
        check("MSH|a\nPID|1\r", false, &["MSH|a", "PID|1"]);
        check("MSH|a\nPID|1\n\r", false, &["MSH|a", "PID|1"]);
    }

    #[test]
    fn line_feeds_that_touch_a_cr_belong_to_it() {
        check("MSH|a\n\rPID|1\r\n\nPV1", false, &["MSH|a", "PID|1", "PV1"]);
        check("MSH|a\r\n\r\nPID|1", false, &["MSH|a", "", "PID|1"]);
    }

    #[test]
    fn a_segment_has_a_name_of_three_capitals_or_digits() {
        for (line, id) in [
            ("PID|1", Some("PID")),
            ("PV1", Some("PV1")),
            ("ZU7|", Some("ZU7")),
            ("PI|1", None),
            ("PIDX|1", None),
            ("pid|1", None),
            ("1ID|1", None),
            (" PID|1", None),
            ("wrapped text", None),
            ("", None),
        ] {
            let found = Line { start: 0, bytes: line.as_bytes() }.id(b'|');
            assert_eq!(found.as_ref().map(|id| std::str::from_utf8(id).unwrap()), id, "{line:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_and_newlines_may_come_first() {
        assert_eq!(without_lead(b"\xEF\xBB\xBFMSH"), b"MSH");
        assert_eq!(without_lead(b"\r\n\xEF\xBB\xBF\nMSH"), b"MSH");
        assert_eq!(without_lead(b""), b"");
    }
}
