//! MSH, read by itself in bytes: all that an answer needs.
//!
//! Nothing after MSH is looked at, so that a message whose rest is broken can still be answered.

use memchr::memchr_iter;

use super::charset::Charset;
use super::lines::{Ending, Lines, without_lead};

/// MSH fields that are read, from MSH-3 (index 0) to MSH-19.
const FIELDS: usize = 17;

/// The message header. Texts are as sent (not unescaped), decoded lossily for display only.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// MSH-1.
    pub field: u8,
    /// MSH-2 as sent, 1 to 5 characters.
    pub encoding: String,
    /// MSH-3.
    pub sending_application: String,
    /// MSH-4.
    pub sending_facility: String,
    /// MSH-5.
    pub receiving_application: String,
    /// MSH-6.
    pub receiving_facility: String,
    /// MSH-7.
    pub time: String,
    /// MSH-9.1, `ADT`.
    pub code: String,
    /// MSH-9.2, `A28`.
    pub trigger: String,
    /// MSH-9.3, `ADT_A05`, possibly empty.
    pub structure: String,
    /// MSH-10.
    pub control_id: String,
    /// MSH-11.1.
    pub processing_id: String,
    /// MSH-12.1.
    pub version: String,
    /// MSH-15; `""` counts as empty.
    pub accept_ack: String,
    /// MSH-16; `""` counts as empty.
    pub application_ack: String,
    /// MSH-17.
    pub country: String,
    /// MSH-18 first repetition.
    pub charset: String,
    /// MSH-19.
    pub language: String,
}

/// The bytes do not begin with an MSH that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No MSH at the start (a BOM and newlines before it are skipped).
    #[error("the message does not begin with MSH")]
    NoMsh,
    /// MSH-1 or MSH-2 cannot be delimiters.
    #[error("MSH-2 holds letters, digits or nothing where delimiters belong")]
    Delimiters,
}

/// The delimiters of one message. Those that MSH-2 does not name are not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiters {
    /// MSH-1, `|`.
    pub field: u8,
    /// `^`
    pub component: Option<u8>,
    /// `~`
    pub repetition: Option<u8>,
    /// `\`
    pub escape: Option<u8>,
    /// `&`
    pub sub: Option<u8>,
    /// `#`, from 2.7 on.
    pub truncation: Option<u8>,
}

impl Default for Delimiters {
    fn default() -> Self {
        Self { field: b'|', component: Some(b'^'), repetition: Some(b'~'), escape: Some(b'\\'), sub: Some(b'&'), truncation: None }
    }
}

impl Delimiters {
    /// Reads MSH-1 and MSH-2. A character that already delimits something else cannot do so again; a doubled escape
    /// character (`^~\\&`, a slip of programmers) counts once.
    pub fn read(field: u8, encoding: &[u8]) -> Result<Self, HeaderError> {
        // Some senders pad MSH-2 with blanks.
        let encoding = encoding.trim_ascii_end();
        let is_delimiting = field.is_ascii_punctuation() && !encoding.contains(&field) && encoding.iter().all(u8::is_ascii_punctuation);
        if !is_delimiting || !(1..=5).contains(&encoding.len()) {
            return Err(HeaderError::Delimiters);
        }
        let single_escape;
        let encoding = match encoding {
            [component, repetition, escape, again, sub] if escape == again => {
                single_escape = [*component, *repetition, *escape, *sub];
                &single_escape[..]
            }
            _ => encoding,
        };
        let at = |place: usize| {
            let delimiter = encoding.get(place)?;
            let is_taken = encoding.iter().take(place).any(|earlier| earlier == delimiter);
            (!is_taken).then_some(*delimiter)
        };
        Ok(Self { field, component: at(0), repetition: at(1), escape: at(2), sub: at(3), truncation: at(4) })
    }
}

impl Header {
    /// Reads MSH from the raw bytes of a message whose segments end with CR, CRLF, or (where there is no CR) LF.
    pub fn read(raw: &[u8]) -> Result<Self, HeaderError> {
        Self::read_as(raw, false)
    }

    /// [`Header::read`]; `line_feed` for a source that separates segments by LF whatever else there is.
    pub fn read_as(raw: &[u8], line_feed: bool) -> Result<Self, HeaderError> {
        let message = without_lead(raw);
        let [b'M', b'S', b'H', field, ..] = message else { return Err(HeaderError::NoMsh) };
        let line = Lines::new(message, Ending::of(message, line_feed)).next().ok_or(HeaderError::NoMsh)?;
        let rest = line.bytes.get(4..).ok_or(HeaderError::Delimiters)?;
        let encoding_end = memchr::memchr(*field, rest).unwrap_or(rest.len());
        let (encoding, fields) = rest.split_at(encoding_end);
        let delimiters = Delimiters::read(*field, encoding)?;
        Ok(Self::of_fields(encoding, &split_fields(fields, *field), &delimiters))
    }

    fn of_fields(encoding: &[u8], fields: &[&[u8]; FIELDS], delimiters: &Delimiters) -> Self {
        let msh = |number: usize| number.checked_sub(3).and_then(|index| fields.get(index)).copied().unwrap_or_default();
        let charset_label = first(msh(18), delimiters.repetition).trim_ascii();
        let charset = std::str::from_utf8(charset_label).ok().and_then(Charset::of_label).unwrap_or(Charset::Unsaid);
        let text = |bytes: &[u8]| text(bytes, charset);
        let trimmed = |bytes: &[u8]| text(bytes.trim_ascii());
        let request = |number: usize| if msh(number) == b"\"\"" { String::new() } else { trimmed(msh(number)) };
        let mut kind = split(msh(9), delimiters.component);
        Self {
            field: delimiters.field,
            encoding: text(encoding.trim_ascii_end()),
            sending_application: text(msh(3)),
            sending_facility: text(msh(4)),
            receiving_application: text(msh(5)),
            receiving_facility: text(msh(6)),
            time: text(msh(7)),
            code: trimmed(kind.next().unwrap_or_default()),
            trigger: trimmed(kind.next().unwrap_or_default()),
            structure: trimmed(kind.next().unwrap_or_default()),
            control_id: text(msh(10)),
            processing_id: trimmed(first(msh(11), delimiters.component)),
            version: trimmed(first(msh(12), delimiters.component)),
            accept_ack: request(15),
            application_ack: request(16),
            country: text(msh(17)),
            charset: text(charset_label),
            language: text(msh(19)),
        }
    }

    /// `ADT^A28`, or `ADT` where there is no trigger.
    pub fn message_type(&self) -> String {
        if self.trigger.is_empty() { self.code.clone() } else { format!("{}^{}", self.code, self.trigger) }
    }

    /// The delimiters that MSH-1 and MSH-2 name; the standard ones where they cannot be (a header made by hand).
    pub fn delimiters(&self) -> Delimiters {
        Delimiters::read(self.field, self.encoding.as_bytes()).unwrap_or_default()
    }
}

/// MSH-3 to MSH-19 of what follows MSH-2.
fn split_fields(rest: &[u8], field: u8) -> [&[u8]; FIELDS] {
    let mut fields = [&b""[..]; FIELDS];
    let mut separators = memchr_iter(field, rest);
    let mut start = separators.next().map(|at| at + 1);
    for slot in &mut fields {
        let Some(from) = start else { break };
        let next = separators.next();
        *slot = rest.get(from..next.unwrap_or(rest.len())).unwrap_or_default();
        start = next.map(|at| at + 1);
    }
    fields
}

fn split(bytes: &[u8], delimiter: Option<u8>) -> impl Iterator<Item = &[u8]> {
    bytes.split(move |byte| Some(*byte) == delimiter)
}

fn first(bytes: &[u8], delimiter: Option<u8>) -> &[u8] {
    split(bytes, delimiter).next().unwrap_or_default()
}

/// ASCII, as nearly every header is, costs a copy and no more.
fn text(bytes: &[u8], charset: Charset) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => text.to_owned(),
        _ => charset.decode(bytes).text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A28: &str =
        r"MSH|^~\&|MATERNITY|RJ1|ROUTE|ROUTE|20260105101500||ADT^A28^ADT_A05|MAT0000001|P^T|2.4^GBR||||AL|GBR|UNICODE UTF-8|EN||iTKv1.0";

    #[test]
    fn every_field_that_an_answer_needs_is_read() {
        let header = Header::read(format!("{A28}\rPID|1\r").as_bytes()).unwrap();
        assert_eq!((header.field, header.encoding.as_str()), (b'|', r"^~\&"));
        assert_eq!([&header.sending_application, &header.sending_facility], ["MATERNITY", "RJ1"]);
        assert_eq!([&header.receiving_application, &header.receiving_facility], ["ROUTE", "ROUTE"]);
        assert_eq!([&header.code, &header.trigger, &header.structure], ["ADT", "A28", "ADT_A05"]);
        assert_eq!(
            [&header.time, &header.control_id, &header.processing_id, &header.version],
            ["20260105101500", "MAT0000001", "P", "2.4"]
        );
        assert_eq!([&header.accept_ack, &header.application_ack], ["", "AL"]);
        assert_eq!([&header.country, &header.charset, &header.language], ["GBR", "UNICODE UTF-8", "EN"]);
        assert_eq!(header.message_type(), "ADT^A28");
    }

    #[test]
    fn what_stands_before_msh_and_how_lines_end_do_not_matter() {
        let expected = Header::read(A28.as_bytes()).unwrap();
        for message in [
            format!("\u{feff}{A28}\rPID|1"),
            format!("\r\n{A28}\r\nPID|1\r\n"),
            format!("{A28}\nPID|1\n"),
            format!("\n\u{feff}{A28}\nPID|1\r"),
        ] {
            assert_eq!(Header::read(message.as_bytes()).as_ref(), Ok(&expected), "{message:?}");
        }
        assert_eq!(Header::read_as(format!("{A28}\nNTE|1||a\rb").as_bytes(), true), Ok(expected));
    }

    #[test]
    fn delimiters_are_read_and_never_assumed() {
        for (start, trigger) in [
            (r"MSH|^~\&|||||||ADT^A28|1|P|2.4", "A28"),
            (r"MSH|^~\&#|||||||ADT^A28|1|P|2.7", "A28"),
            (r"MSH|^&~\|||||||ADT^A28|1|P|2.4", "A28"),
            (r"MSH|^~\\&|||||||ADT^A28|1|P|2.4", "A28"),
            (r"MSH$%*@!$$$$$$$ADT%A28$1$P$2.4", "A28"),
            (r"MSH|^|||||||ADT^A28|1|P|2.4", "A28"),
            (r"MSH|~|||||||ADT^A28|1|P|2.4", ""),
        ] {
            let header = Header::read(start.as_bytes()).unwrap();
            assert_eq!((header.trigger.as_str(), header.control_id.as_str()), (trigger, "1"), "{start}");
        }
    }

    #[test]
    fn msh_2_must_hold_one_to_five_delimiters() {
        for start in [
            "MSH||MATERNITY",
            "MSH|^~A&|",
            "MSH|^~1&|",
            "MSHABCDEFGH",
            "MSH|^~\\&#!|",
            "MSH|^\u{2dc}\\&|",
            "MSH",
            "MSH|",
            "MSH| ~\\&|",
            "MSH|^~\t&|",
        ] {
            let error = Header::read(start.as_bytes()).unwrap_err();
            let expected = if start == "MSH" { HeaderError::NoMsh } else { HeaderError::Delimiters };
            assert_eq!(error, expected, "{start:?}");
        }
        for start in ["", "\r\n", "PID|1", "FHS|^~\\&|", "<xml/>", " MSH|^~\\&|"] {
            assert_eq!(Header::read(start.as_bytes()), Err(HeaderError::NoMsh), "{start:?}");
        }
    }

    #[test]
    fn a_doubled_escape_counts_once_and_a_repeated_delimiter_is_not_available() {
        assert_eq!(Delimiters::read(b'|', br"^~\\&"), Ok(Delimiters::default()));
        let read = Delimiters::read(b'|', b"^^\\&").unwrap();
        assert_eq!((read.component, read.repetition, read.sub), (Some(b'^'), None, Some(b'&')));
    }

    #[test]
    fn quotes_in_the_acknowledgement_fields_are_nothing() {
        let header = Header::read(br#"MSH|^~\&|||||||ADT^A28|1|P|2.4|||""|"""#).unwrap();
        assert_eq!([header.accept_ack, header.application_ack], ["", ""]);
    }

    #[test]
    fn header_texts_are_decoded_by_the_header_itself() {
        let latin = Header::read(b"MSH|^~\\&|Zo\xEB|||||||1|P|2.4||||||8859/1").unwrap();
        let unsaid = Header::read(b"MSH|^~\\&|Zo\xEB|||||||1|P|2.4").unwrap();
        assert_eq!([latin.sending_application, unsaid.sending_application], ["Zoë", "Zoë"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), line_feed: bool) {
            let _ = Header::read_as(&bytes, line_feed);
            bytes.splice(0..0, *b"MSH|^~\\&|");
            prop_assert!(Header::read_as(&bytes, line_feed).is_ok());
        }
    }
}
