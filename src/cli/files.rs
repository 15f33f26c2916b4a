//! Messages in files, as people keep them: HL7 v2 with line feeds, several in one file, FHIR of two releases in two syntaxes.

use std::io::Read;
use std::path::Path;

use super::{Failure, exit};
use crate::names::Format;

/// A message that can be sent or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Dialect.
    pub format: Format,
    /// Whether it is a FHIR transaction rather than a message.
    pub is_transaction: bool,
    /// As it goes over the wire.
    pub body: Vec<u8>,
}

/// The messages of a file; `-` is standard input.
pub fn read(path: &Path) -> Result<Vec<Message>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::new(exit::MISSING, format!("{} cannot be read: {error}", path.display())))?;
    let messages = split(&bytes);
    if messages.is_empty() {
        return Err(Failure::new(
            exit::DAMAGED,
            format!("{} holds no message: neither HL7 v2 (MSH), nor FHIR as XML or JSON", path.display()),
        ));
    }
    Ok(messages)
}

/// The path of the HTTP door for a message, and its media type.
pub fn door(message: &Message) -> (&'static str, &'static str) {
    let path = match message.format {
        Format::Hl7v2 => "/hl7v2",
        Format::Stu3Xml | Format::Stu3Json => "/fhir/stu3/$process-message",
        Format::R4Xml | Format::R4Json if message.is_transaction => "/fhir/r4",
        Format::R4Xml | Format::R4Json => "/fhir/r4/$process-message",
    };
    let media_type = match message.format {
        Format::Hl7v2 => "application/hl7-v2",
        Format::Stu3Xml | Format::R4Xml => "application/fhir+xml",
        Format::Stu3Json | Format::R4Json => "application/fhir+json",
    };
    (path, media_type)
}

/// The messages in `bytes`.
pub fn split(bytes: &[u8]) -> Vec<Message> {
    let plain = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii();
    match plain.first() {
        Some(b'<') => vec![fhir(plain, true)],
        Some(b'{') => vec![fhir(plain, false)],
        _ => hl7(plain).into_iter().map(|body| Message { format: Format::Hl7v2, is_transaction: false, body }).collect(),
    }
}

/// Segments end with CR; a message begins at MSH; batch headers and block characters are no part of it.
fn hl7(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0x0B | 0x1C);
    for segment in bytes.split(is_end).filter(|segment| !segment.is_empty()) {
        let id = segment.get(..3).unwrap_or_default();
        if id == b"MSH" {
            messages.push(Vec::new());
        }
        let is_envelope = [b"FHS", b"BHS", b"BTS", b"FTS"].iter().any(|envelope| id == envelope.as_slice());
        if let Some(message) = messages.last_mut().filter(|_| !is_envelope) {
            message.extend_from_slice(segment);
            message.push(b'\r');
        }
    }
    messages
}

/// R4 says `event[x]` in the message header and knows transactions; everything else is taken for STU3, as the Spine sends it.
fn fhir(bytes: &[u8], is_xml: bool) -> Message {
    let has = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    let compact: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let compact_has = |needle: &str| compact.windows(needle.len()).any(|window| window == needle.as_bytes());
    let is_transaction = compact_has("\"type\":\"transaction\"") || compact_has("<typevalue=\"transaction\"/>");
    let is_r4 = is_transaction || has("eventCoding") || has("eventUri");
    let format = match (is_r4, is_xml) {
        (true, true) => Format::R4Xml,
        (true, false) => Format::R4Json,
        (false, true) => Format::Stu3Xml,
        (false, false) => Format::Stu3Json,
    };
    Message { format, is_transaction, body: bytes.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(bytes: &[u8]) -> Vec<String> {
        split(bytes).into_iter().map(|message| String::from_utf8(message.body).unwrap()).collect()
    }

    #[test]
    fn line_feeds_become_carriage_returns_and_nothing_else_changes() {
        for text in ["MSH|^~\\&|A\nPID|1\n", "MSH|^~\\&|A\r\nPID|1", "\u{FEFF}MSH|^~\\&|A\rPID|1\r", "\x0BMSH|^~\\&|A\rPID|1\r\x1C\r"] {
            assert_eq!(bodies(text.as_bytes()), ["MSH|^~\\&|A\rPID|1\r"]);
        }
    }

    #[test]
    fn a_file_of_several_messages_is_several_messages_without_its_envelope() {
        assert_eq!(bodies(b"FHS|x\nBHS|x\nMSH|1\nPID|1\nMSH|2\nBTS|2\nFTS|1\n"), ["MSH|1\rPID|1\r", "MSH|2\r"]);
        assert_eq!(bodies(b"just words"), Vec::<String>::new());
    }

    #[test]
    fn releases_are_told_apart_by_the_message_header() {
        let format = |text: &str| split(text.as_bytes()).first().map(|message| (message.format.as_str(), message.is_transaction));
        assert_eq!(format("<Bundle><event/></Bundle>"), Some(("stu3-xml", false)));
        assert_eq!(format(r#"{"resourceType":"Bundle","event":{}}"#), Some(("stu3-json", false)));
        assert_eq!(format(r#"{"eventCoding":{}}"#), Some(("r4-json", false)));
        assert_eq!(format("<Bundle><type value=\"transaction\"/></Bundle>"), Some(("r4-xml", true)));
        assert_eq!(format("{\"type\" : \"transaction\"}"), Some(("r4-json", true)));
    }
}
