//! One row of a CSV extract: it stands alone in the journal with its header and the name of its mapping, and the engine reads it as
//! a message of one segment whose fields are the declared columns.
//!
//! ```text
//! #mapping extract-children
//! NHS_NUMBER,SURNAME,…
//! 9990000018,EXAMPLE,…
//! ```
//!
//! # Invariants
//!
//! - A value may hold anything: what HL7 takes for a delimiter is escaped, line ends within a value too.
//! - Nobody sees the segment: findings and provenance name columns ([`shown`]).

use std::borrow::Cow;

use super::{Finding, Provenance};
use crate::hl7::{Message, ReadOptions};

/// The segment that a row becomes.
pub(super) const SEGMENT: &str = "ROW";
const FIRST_LINE: &str = "#mapping ";

/// A row with its header, as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CsvRow {
    /// Which mapping reads it.
    pub mapping: String,
    /// Names of columns.
    pub header: Vec<String>,
    /// Values, as many as there are columns.
    pub values: Vec<Vec<u8>>,
    /// Character set of values that are not UTF-8.
    pub charset: Option<String>,
}

/// The body of an entry: the row with its header and the name of its mapping.
pub fn csv_body(mapping: &str, header: &csv::ByteRecord, row: &csv::ByteRecord) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(format!("{FIRST_LINE}{mapping}\n").into_bytes());
    for record in [header, row] {
        // Into memory; it cannot fail.
        let _written = writer.write_byte_record(record);
    }
    writer.into_inner().unwrap_or_default()
}

/// Column names as a header has them: without blanks around, without a byte order mark.
pub fn column_names(header: &csv::ByteRecord) -> Vec<String> {
    let clean = |name: &[u8]| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_owned();
    header.iter().map(clean).collect()
}

impl CsvRow {
    /// Reads the body of an entry; the error does not quote it.
    pub fn read(body: &[u8], charset: Option<&str>) -> Result<Self, String> {
        let (first, rest) = split_line(body);
        let first = String::from_utf8_lossy(first);
        let mapping = first.strip_prefix(FIRST_LINE).ok_or("the row does not say which mapping reads it")?.trim().to_owned();
        let mut row = Self::of_file(rest, 1)?;
        (row.mapping, row.charset) = (mapping, charset.map(str::to_owned));
        Ok(row)
    }

    /// Row `number` (from 1) of a file with a header.
    pub fn of_file(file: &[u8], number: usize) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().has_headers(true).flexible(true).from_reader(file);
        let unread = |_| "it is no CSV".to_owned();
        let header = column_names(reader.byte_headers().map_err(unread)?);
        let record =
            reader.byte_records().nth(number.saturating_sub(1)).ok_or_else(|| format!("it has no row {number}"))?.map_err(unread)?;
        if record.len() != header.len() {
            return Err(format!("the row has {} values and the header {} columns", record.len(), header.len()));
        }
        let values = record.iter().map(<[u8]>::to_vec).collect();
        Ok(Self { mapping: String::new(), header, values, charset: None })
    }

    /// Sets a value; false where there is no such column.
    pub fn set(&mut self, column: &str, value: &str) -> bool {
        let at = self.header.iter().position(|name| name == column);
        let slot = at.and_then(|at| self.values.get_mut(at));
        slot.map(|slot| *slot = value.as_bytes().to_vec()).is_some()
    }

    /// The message of one segment whose fields are `columns`, in their order.
    pub fn message(&self, columns: &[String]) -> Result<Message, String> {
        let mut fields = Vec::new();
        for column in columns {
            let at = self.header.iter().position(|name| name == column);
            let value = at.and_then(|at| self.values.get(at)).ok_or_else(|| format!("the row has no column {column:?}"))?;
            fields.push(b'|');
            escape(value.trim_ascii(), &mut fields);
        }
        let charset = match (std::str::from_utf8(&fields), &self.charset) {
            (Ok(_), _) => "UNICODE UTF-8",
            (Err(_), Some(charset)) => charset,
            (Err(_), None) => "",
        };
        let mut raw = format!("MSH|^~\\&|||||||CSV|1|P|2.5.1||||||{charset}\r{SEGMENT}").into_bytes();
        raw.extend(fields);
        raw.push(b'\r');
        Message::read(&raw, &ReadOptions::default()).map_err(|why| why.to_string())
    }
}

fn split_line(body: &[u8]) -> (&[u8], &[u8]) {
    match body.iter().position(|byte| *byte == b'\n') {
        Some(at) => body.split_at_checked(at + 1).unwrap_or((body, &[])),
        None => (body, &[]),
    }
}

/// Delimiters are ASCII in every character set that is read here, so bytes can be escaped before they are decoded.
fn escape(value: &[u8], into: &mut Vec<u8>) {
    for byte in value {
        let sequence: &[u8] = match byte {
            b'|' => br"\F\",
            b'^' => br"\S\",
            b'~' => br"\R\",
            b'&' => br"\T\",
            b'\\' => br"\E\",
            b'\n' => br"\.br\",
            b'\r' => continue,
            other => {
                into.push(*other);
                continue;
            }
        };
        into.extend_from_slice(sequence);
    }
}

/// Puts column names in place of fields.
pub(super) fn show_columns(columns: &[String], findings: &mut [Finding], provenance: &mut [Provenance]) {
    for finding in findings {
        let Some(column) = shown(&finding.at, columns) else { continue };
        finding.text = match finding.text.rsplit_once(&format!(" at {}", finding.at)) {
            Some((before, after)) => format!("{before} at {column}{after}"),
            None => finding.text.replace(&format!("(see {})", finding.at), &format!("(see {column})")),
        };
        finding.at = column.into_owned();
        finding.bytes = None;
    }
    for one in provenance {
        if let Some(column) = shown(&one.from, columns) {
            one.from = column.into_owned();
        }
        one.bytes = None;
    }
}

/// The column of `ROW-3`; nothing for what is no field of the row.
fn shown<'c>(place: &str, columns: &'c [String]) -> Option<Cow<'c, str>> {
    let number: usize = place.strip_prefix(SEGMENT)?.strip_prefix('-')?.parse().ok()?;
    columns.get(number.checked_sub(1)?).map(|name| Cow::Borrowed(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(values: &[&str]) -> csv::ByteRecord {
        values.iter().collect()
    }

    #[test]
    fn a_row_with_delimiters_line_ends_and_quotes_comes_back_letter_for_letter() {
        let value = "A|B^C~D&E\\F \"quoted\", second\nline";
        let body = csv_body("extract", &record(&["ID", "NOTE"]), &record(&["7", value]));
        let row = CsvRow::read(&body, None).unwrap();
        assert_eq!((row.mapping.as_str(), row.header.as_slice()), ("extract", &["ID".to_owned(), "NOTE".to_owned()][..]));
        let message = row.message(&["NOTE".to_owned(), "ID".to_owned()]).unwrap();
        let field = |number| message.unescape(message.field(1, number).unwrap()).into_owned();
        assert_eq!((field(1).as_str(), field(2).as_str()), (value, "7"));
    }

    #[test]
    fn a_value_of_a_windows_extract_is_decoded_by_the_charset_of_its_source() {
        let header = record(&["NAME"]);
        let row = csv::ByteRecord::from(vec![b"Zo\xEB".to_vec()]);
        let read = CsvRow::read(&csv_body("x", &header, &row), Some("8859/1")).unwrap();
        let message = read.message(&["NAME".to_owned()]).unwrap();
        assert_eq!(message.unescape(message.field(1, 1).unwrap()), "Zo\u{eb}");
    }

    #[test]
    fn a_body_that_is_no_row_says_so_and_does_not_quote_itself() {
        for body in ["", "NHS,NAME\n1,SECRET\n", "#mapping x\n", "#mapping x\nA,B\n", "#mapping x\nA,B\nSECRET\n"] {
            let why = CsvRow::read(body.as_bytes(), None).unwrap_err();
            assert!(!why.contains("SECRET"), "{why}");
        }
        let row = CsvRow::read(b"#mapping x\nA\n1\n", None).unwrap();
        assert!(row.message(&["B".to_owned()]).unwrap_err().contains("no column"));
    }
}
