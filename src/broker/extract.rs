//! Extracts of old systems, read record by record: NDJSON, CSV, HL7 v2 messages one after the other.
//!
//! # Invariants
//!
//! - At most one record is in memory, and none is longer than its bound: memory does not grow with the file.
//! - A record knows the line on which it begins, from 1; that line is its place for ever.
//! - A record that is too long is given as such; only where nobody can say where the next one begins does reading end.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use sha2::{Digest, Sha256};

/// Longest line of NDJSON, and longest row of a CSV with all its quoted lines, bytes.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Longest HL7 v2 message, bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What an extract is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtractFormat {
    /// A canonical statement a line.
    Ndjson,
    /// A row a record, with a header.
    Csv,
    /// Messages, with or without batch segments.
    Hl7,
}

impl ExtractFormat {
    /// By the ending of a file's name.
    pub fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_string_lossy().to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            "hl7" | "txt" => Some(Self::Hl7),
            _ => None,
        }
    }

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Hl7 => "hl7",
        }
    }
}

/// One record.
#[derive(Debug)]
pub enum Content {
    /// A line, or a message.
    Bytes(Vec<u8>),
    /// A row.
    Row(csv::ByteRecord),
    /// Longer than is taken; its beginning.
    TooLong(Vec<u8>),
}

/// One record with its place.
#[derive(Debug)]
pub struct Record {
    /// The line on which it begins, from 1.
    pub line: i64,
    /// What it says.
    pub content: Content,
    /// How much of the file was read, bytes; for progress.
    pub read: u64,
}

/// The records of a file.
pub struct Extract {
    records: Records,
    read: Rc<Cell<u64>>,
}

enum Records {
    Lines { input: BufReader<Counted>, line: i64 },
    Rows { reader: Box<csv::Reader<Bounded>>, header: csv::ByteRecord, left: Rc<Cell<usize>> },
    Messages(Messages),
}

impl Extract {
    /// Opens a file; of a CSV the header is read.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has no header.
    pub fn open(path: &Path, format: ExtractFormat) -> io::Result<Self> {
        let read = Rc::new(Cell::new(0));
        let counted = Counted { file: std::fs::File::open(path)?, read: Rc::clone(&read) };
        let records = match format {
            ExtractFormat::Ndjson => Records::Lines { input: BufReader::new(counted), line: 0 },
            ExtractFormat::Hl7 => Records::Messages(Messages::new(BufReader::new(counted))),
            ExtractFormat::Csv => {
                let left = Rc::new(Cell::new(RECORD_BYTES_MAX));
                let bounded = Bounded { inner: counted, left: Rc::clone(&left) };
                let mut reader = csv::ReaderBuilder::new().has_headers(true).flexible(true).from_reader(bounded);
                let header = reader.byte_headers().map_err(io_error)?.clone();
                if header.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty: not even a header"));
                }
                Records::Rows { reader: Box::new(reader), header, left }
            }
        };
        Ok(Self { records, read })
    }

    /// The header of a CSV.
    pub fn header(&self) -> Option<&csv::ByteRecord> {
        if let Records::Rows { header, .. } = &self.records { Some(header) } else { None }
    }

    /// Is it made of HL7 v2 messages?
    pub fn is_hl7(&self) -> bool {
        matches!(self.records, Records::Messages(_))
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read on; or a quoted field does not end within the bound, so that nobody knows where the next row begins.
    pub fn take(&mut self) -> io::Result<Option<Record>> {
        let found = match &mut self.records {
            Records::Lines { input, line } => next_line(input, line)?,
            Records::Rows { reader, left, .. } => next_row(reader, left)?,
            Records::Messages(messages) => messages.next()?,
        };
        Ok(found.map(|(line, content)| Record { line, content, read: self.read.get() }))
    }
}

/// SHA-256 and length of a file, read once from end to end.
///
/// # Errors
///
/// It cannot be read.
pub fn digest(path: &Path) -> io::Result<([u8; 32], u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut length, mut buffer) = (Sha256::new(), 0_u64, vec![0; 256 * 1024]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hash.finalize().into(), length));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        length += count as u64;
    }
}

fn next_line(input: &mut BufReader<Counted>, line: &mut i64) -> io::Result<Option<(i64, Content)>> {
    loop {
        *line += 1;
        let mut bytes = Vec::new();
        let Some(is_whole) = take_until(input, b'\n', &mut bytes)? else { return Ok(None) };
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes).trim_ascii();
        if !is_whole {
            return Ok(Some((*line, Content::TooLong(text.to_vec()))));
        }
        if !text.is_empty() {
            return Ok(Some((*line, Content::Bytes(text.to_vec()))));
        }
    }
}

/// Reads to `end`, keeping at most [`RECORD_BYTES_MAX`]. `None` at the end of the file, false where more came than was kept.
fn take_until(input: &mut impl BufRead, end: u8, kept: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let (mut any, mut is_whole) = (false, true);
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any.then_some(is_whole));
        }
        any = true;
        let found = memchr::memchr(end, buffer);
        let taken = found.map_or(buffer.len(), |at| at + 1);
        let room = RECORD_BYTES_MAX.saturating_sub(kept.len());
        is_whole &= taken <= room;
        kept.extend_from_slice(buffer.get(..taken.min(room)).unwrap_or_default());
        input.consume(taken);
        if found.is_some() {
            return Ok(Some(is_whole));
        }
    }
}

fn next_row(reader: &mut csv::Reader<Bounded>, left: &Cell<usize>) -> io::Result<Option<(i64, Content)>> {
    left.set(RECORD_BYTES_MAX);
    let mut row = csv::ByteRecord::new();
    let line = i64::try_from(reader.position().line()).unwrap_or(i64::MAX);
    let found = reader.read_byte_record(&mut row).map_err(|error| match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
            let text = format!("the row after line {line} does not end within {RECORD_BYTES_MAX} bytes; a quotation mark is missing there");
            io::Error::new(io::ErrorKind::InvalidData, text)
        }
        csv::ErrorKind::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, format!("no CSV after line {line}: {}", word(&other))),
    })?;
    let line = row.position().map_or(line, |position| i64::try_from(position.line()).unwrap_or(i64::MAX));
    Ok(found.then_some((line, Content::Row(row))))
}

/// csv's own texts may quote the row.
fn word(kind: &csv::ErrorKind) -> &'static str {
    match kind {
        csv::ErrorKind::Utf8 { .. } => "not UTF-8",
        csv::ErrorKind::UnequalLengths { .. } => "rows of different lengths",
        _ => "it cannot be read",
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, word(&other)),
    }
}

/// A file that counts what was read of it.
struct Counted {
    file: std::fs::File,
    read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

/// Gives at most so many bytes for one row.
struct Bounded {
    inner: Counted,
    left: Rc<Cell<usize>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.get().checked_sub(count) {
            Some(left) => self.left.set(left),
            None => return Err(io::Error::from(io::ErrorKind::QuotaExceeded)),
        }
        Ok(count)
    }
}

/// Messages one after the other: each from its MSH to the next MSH or batch segment, whatever ends its lines.
struct Messages {
    input: BufReader<Counted>,
    /// Lines ended so far.
    lines: i64,
    /// The last byte was a CR: an LF behind it ends no further line.
    after_cr: bool,
    /// The message at hand with its first line; true where it was cut.
    open: Option<(i64, Vec<u8>, bool)>,
    ended: bool,
}

impl Messages {
    fn new(input: BufReader<Counted>) -> Self {
        Self { input, lines: 0, after_cr: false, open: None, ended: false }
    }

    fn next(&mut self) -> io::Result<Option<(i64, Content)>> {
        while !self.ended {
            let line = self.lines + 1;
            let mut segment = Vec::new();
            self.ended = !self.take_segment(&mut segment)?;
            let name = segment.trim_ascii_start();
            let name = name.strip_prefix(b"\x0B").or_else(|| name.strip_prefix(b"\xEF\xBB\xBF")).unwrap_or(name);
            let is_start = name.starts_with(b"MSH");
            let is_envelope = [b"FHS", b"BHS", b"BTS", b"FTS"].iter().any(|envelope| name.starts_with(envelope.as_slice()));
            if is_start || is_envelope {
                let whole = self.open.take();
                if is_start {
                    self.open = Some((line, name.to_vec(), false));
                }
                if let Some(whole) = whole {
                    return Ok(Some(finished(whole)));
                }
            } else if let Some((_, message, is_cut)) = &mut self.open {
                *is_cut |= MESSAGE_BYTES_MAX < message.len() + segment.len();
                if !*is_cut {
                    message.extend_from_slice(&segment);
                }
            }
        }
        Ok(self.open.take().map(finished))
    }

    /// One segment with its line end; false at the end of the file.
    fn take_segment(&mut self, segment: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            if self.after_cr && buffer.first() == Some(&b'\n') {
                self.after_cr = false;
                self.input.consume(1);
                continue;
            }
            self.after_cr = false;
            let found = memchr::memchr2(b'\r', b'\n', buffer);
            let taken = found.map_or(buffer.len(), |at| at + 1);
            let piece = buffer.get(..taken).unwrap_or_default();
            if segment.len() <= MESSAGE_BYTES_MAX {
                segment.extend_from_slice(piece);
            }
            let last = piece.last().copied();
            self.input.consume(taken);
            if found.is_some() {
                self.lines += 1;
                self.after_cr = last == Some(b'\r');
                return Ok(true);
            }
        }
    }
}

fn finished((line, mut message, is_cut): (i64, Vec<u8>, bool)) -> (i64, Content) {
    // Block characters of a file that was written as it came over the wire.
    while message.last().is_some_and(|byte| *byte == 0x1C || byte.is_ascii_whitespace()) {
        message.pop();
    }
    message.push(b'\r');
    (line, if is_cut { Content::TooLong(message) } else { Content::Bytes(message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LINE text` of every record.
    fn records(text: &[u8], format: ExtractFormat) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut extract = Extract::open(file.path(), format).unwrap();
        let mut found = Vec::new();
        loop {
            match extract.take() {
                Ok(Some(record)) => found.push(match record.content {
                    Content::Bytes(bytes) => {
                        format!("{} {}", record.line, String::from_utf8_lossy(&bytes).trim().replace(['\r', '\n'], "/"))
                    }
                    Content::Row(row) => {
                        format!("{} {}", record.line, row.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join("|"))
                    }
                    Content::TooLong(start) => format!("{} too long, {} bytes kept", record.line, start.len()),
                }),
                Ok(None) => return found,
                Err(error) => {
                    found.push(error.to_string());
                    return found;
                }
            }
        }
    }

    #[test]
    fn a_line_is_a_record_and_knows_its_number_over_blank_lines() {
        assert_eq!(records(b"\xEF\xBB\xBF{\"a\":1}\r\n\n{\"b\":2}", ExtractFormat::Ndjson), ["1 {\"a\":1}", "3 {\"b\":2}"]);
    }

    #[test]
    fn a_line_as_long_as_the_limit_is_taken_and_one_byte_more_is_not_and_the_next_is() {
        for (length, expected) in [(RECORD_BYTES_MAX - 1, true), (RECORD_BYTES_MAX, false)] {
            let text = [vec![b'x'; length], b"\nnext\n".to_vec()].concat();
            let found = records(&text, ExtractFormat::Ndjson);
            assert_eq!(found[0].contains("too long"), !expected, "{length}");
            assert_eq!(found[1], "2 next");
        }
    }

    #[test]
    fn a_row_may_go_over_lines_and_a_quotation_mark_that_never_closes_ends_the_reading() {
        let found = records(b"A,B\n1,\"two\nlines\"\n2,x\n", ExtractFormat::Csv);
        assert_eq!(found, ["2 1|two\nlines", "4 2|x"]);
        let open = [b"A,B\n1,x\n2,\"".to_vec(), vec![b'y'; 2 * RECORD_BYTES_MAX]].concat();
        let found = records(&open, ExtractFormat::Csv);
        assert_eq!(found[0], "2 1|x");
        assert!(found[1].contains("line 3") && found[1].contains("quotation mark") && !found[1].contains("yy"), "{}", found[1]);
    }

    #[test]
    fn messages_are_cut_at_msh_whatever_ends_their_lines() {
        for end in ["\r", "\n", "\r\n"] {
            let text = "FHS|^|\nBHS|^|\nMSH|1\nPID|1\nMSH|2\nPID|2\nBTS|2\nFTS|1\n".replace('\n', end);
            let found = records(text.as_bytes(), ExtractFormat::Hl7);
            let plain: Vec<String> = found.iter().map(|record| record.replace("//", "/")).collect();
            assert_eq!(plain, ["3 MSH|1/PID|1", "5 MSH|2/PID|2"], "{end:?}");
        }
        assert_eq!(records(b"\x0BMSH|1\rPID|1\x1C\r\x0BMSH|2\r\x1C\r", ExtractFormat::Hl7), ["1 MSH|1/PID|1", "3 MSH|2"]);
        assert_eq!(records(b"nothing\n", ExtractFormat::Hl7), [""; 0]);
    }
}
