//! Rows of a directory file, one line at a time: the file itself is never in memory.
//!
//! # What always holds
//!
//! - A line has a greatest length, and a row is one line: an open quote spoils its own row and no other.
//! - A file whose last line has no end is refused with that line: it is being written, or was cut off.
//! - What was left out is counted by its reason, with the first lines of each.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;

use serde::Serialize;

use super::RoutingError;

/// Longest line; a row of a postcode directory has some 400 bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Read from the file in one go.
const BUFFER_BYTES: usize = 256 * 1024;
/// Lines named for each reason.
const LINES_NAMED_MAX: usize = 3;

/// What became of a directory file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// As hubs.toml names it.
    pub file: String,
    /// Rows under the header.
    pub rows: usize,
    /// Rows that are looked up now.
    pub used: usize,
    /// Rows that are not, by reason.
    pub skipped: Vec<Skipped>,
}

impl FileReport {
    /// Rows that could not be used.
    pub fn skipped_rows(&self) -> usize {
        self.skipped.iter().map(|skipped| skipped.rows).sum()
    }

    pub(super) fn skip(&mut self, reason: &'static str, line: usize) {
        let at = self.skipped.iter().position(|skipped| skipped.reason == reason).unwrap_or_else(|| {
            self.skipped.push(Skipped { reason, rows: 0, lines: Vec::new() });
            self.skipped.len() - 1
        });
        if let Some(skipped) = self.skipped.get_mut(at) {
            skipped.rows += 1;
            if skipped.lines.len() < LINES_NAMED_MAX {
                skipped.lines.push(line);
            }
        }
    }
}

/// Rows that could not be used for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub rows: usize,
    /// The first of their lines.
    pub lines: Vec<usize>,
}

/// A CSV file read line by line.
pub(super) struct Rows<'a> {
    reader: BufReader<Box<dyn Read + 'a>>,
    file: &'a str,
    line: Vec<u8>,
    cells: Vec<Range<usize>>,
    number: usize,
    start: usize,
    next_start: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(reader: Box<dyn Read + 'a>, file: &'a str) -> Self {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        Self { reader, file, line: Vec::new(), cells: Vec::new(), number: 0, start: 0, next_start: 0 }
    }

    /// The line that was read last, from 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Cells of the row that was read last; none where a quote stays open.
    pub(super) fn count(&self) -> usize {
        self.cells.len()
    }

    /// Reads the next row that is not empty. False at the end.
    pub(super) fn next(&mut self) -> Result<bool, RoutingError> {
        loop {
            if !self.next_line()? {
                return Ok(false);
            }
            if !self.line.is_empty() {
                self.split();
                return Ok(true);
            }
        }
    }

    fn next_line(&mut self) -> Result<bool, RoutingError> {
        self.line.clear();
        self.start = self.next_start;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.number += 1;
                    return Err(self.error(&format!("the file cannot be read on ({error})")));
                }
            };
            if available.is_empty() && self.line.is_empty() {
                return Ok(false);
            }
            if available.is_empty() {
                self.number += 1;
                return Err(
                    self.error("the file ends in the middle of this line: it is half written; put it there whole, or end its last line")
                );
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            self.line.extend_from_slice(taken);
            let used = taken.len() + usize::from(end.is_some());
            self.next_start += used;
            self.reader.consume(used);
            if LINE_BYTES_MAX < self.line.len() {
                self.number += 1;
                return Err(self.error("this line is longer than 64 KiB; is this a CSV file?"));
            }
            if end.is_some() {
                break;
            }
        }
        self.number += 1;
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        if self.number == 1 && self.line.starts_with(b"\xEF\xBB\xBF") {
            self.line.drain(..3);
        }
        Ok(true)
    }

    /// Finds the cells of the line; none where a quote stays open.
    fn split(&mut self) {
        self.cells.clear();
        let mut at = 0;
        loop {
            let rest = self.line.get(at..).unwrap_or_default();
            if rest.first() == Some(&b'"') {
                let Some(length) = quoted(rest) else {
                    self.cells.clear();
                    return;
                };
                self.cells.push(at..at + length);
                at += length;
            } else {
                let length = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
                self.cells.push(at..at + length);
                at += length;
            }
            if self.line.len() <= at {
                return;
            }
            at += 1;
        }
    }

    /// One cell, trimmed.
    pub(super) fn cell(&self, column: usize) -> Cow<'_, str> {
        let bytes = self.cells.get(column).and_then(|range| self.line.get(range.clone())).unwrap_or_default();
        match bytes {
            [b'"', inner @ .., b'"'] if inner.contains(&b'"') => {
                Cow::Owned(String::from_utf8_lossy(inner).replace("\"\"", "\"").trim().to_owned())
            }
            [b'"', inner @ .., b'"'] => trimmed(inner),
            plain => trimmed(plain),
        }
    }

    /// All cells in small letters, with `_` for spaces: a header.
    pub(super) fn header(&self) -> Vec<String> {
        (0..self.cells.len()).map(|column| self.cell(column).to_ascii_lowercase().replace(' ', "_")).collect()
    }

    /// A mistake at the line that was read last.
    pub(super) fn error(&self, message: &str) -> RoutingError {
        let span = self.start..self.start;
        RoutingError { file: self.file.to_owned(), line: self.number.max(1), column: 1, span, message: message.to_owned() }
    }
}

fn trimmed(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// Bytes of a quoted cell, its quotes included; none where it has no end. What stands between its end and the comma is a part of it.
fn quoted(cell: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += cell.get(at..)?.iter().position(|byte| *byte == b'"')?;
        match cell.get(at + 1) {
            Some(b'"') => at += 2,
            Some(b',') | None => return Some(at + 1),
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells of each row, with `|` between them; the mistake where there is one.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let mut rows = Rows::new(Box::new(text.as_bytes()), "x.csv");
        let mut found = Vec::new();
        loop {
            match rows.next() {
                Ok(true) => found.push((0..rows.count()).map(|column| rows.cell(column).into_owned()).collect::<Vec<_>>().join("|")),
                Ok(false) => break,
                Err(error) => {
                    found.push(format!("{}: {}", error.line, error.message.split_whitespace().take(4).collect::<Vec<_>>().join(" ")));
                    break;
                }
            }
        }
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn a_row_is_a_line_and_its_cells_are_trimmed_and_unquoted() {
        check("a,b\n1, 2 \n", &["a|b", "1|2"]);
        check("\u{FEFF}a\r\n\r\n\"x, y\",\"say \"\"no\"\"\",\n", &["a", "x, y|say \"no\"|"]);
        check("", &[]);
        // An open quote takes no other line with it.
        check("\"a,b\n1,2\n\"a\"b,c\n", &["", "1|2", ""]);
    }

    #[test]
    fn a_file_that_ends_in_a_line_is_refused_with_that_line() {
        check("a,b\n1,2", &["a|b", "2: the file ends in"]);
        check(&format!("a\n{}\n", "x".repeat(LINE_BYTES_MAX + 1)), &["a", "2: this line is longer"]);
    }
}
