//! Messages in files, as people keep them: HL7 v2 with line feeds, several in one file, FHIR of two releases in two syntaxes.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use super::{Failure, exit};
use crate::names::Format;

/// A message that can be sent or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Dialect.
    pub format: Format,
    /// Which door it goes to.
    pub outside: Outside,
    /// As it goes over the wire.
    pub body: Vec<u8>,
}

/// What is around the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outside {
    /// HL7 v2, or a FHIR Bundle with a MessageHeader.
    Message,
    /// A FHIR transaction, batch or collection.
    Resources,
    /// A FHIR resource of this type alone.
    Resource(String),
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
pub fn door(message: &Message) -> (Cow<'static, str>, &'static str) {
    let path = match (message.format, &message.outside) {
        (Format::Hl7v2, _) => "/hl7v2".into(),
        (Format::Stu3Xml | Format::Stu3Json, _) => "/fhir/stu3/$process-message".into(),
        // No door takes these: they come by `import`.
        (Format::CanonicalJson | Format::CsvRow, _) => "/".into(),
        (_, Outside::Message) => "/fhir/r4/$process-message".into(),
        (_, Outside::Resources) => "/fhir/r4".into(),
        (_, Outside::Resource(kind)) => format!("/fhir/r4/{kind}").into(),
    };
    let media_type = match message.format {
        Format::Hl7v2 => "application/hl7-v2",
        Format::Stu3Xml | Format::R4Xml => "application/fhir+xml",
        Format::Stu3Json | Format::R4Json => "application/fhir+json",
        Format::CanonicalJson => "application/json",
        Format::CsvRow => "text/csv",
    };
    (path, media_type)
}

/// The messages in `bytes`.
pub fn split(bytes: &[u8]) -> Vec<Message> {
    let plain = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii();
    match plain.first() {
        Some(b'<') => vec![fhir(plain, true)],
        Some(b'{') => vec![fhir(plain, false)],
        _ => hl7(plain).into_iter().map(|body| Message { format: Format::Hl7v2, outside: Outside::Message, body }).collect(),
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

/// R4 says `event[x]` in the message header and knows transactions, and only R4 resources come alone; everything else is taken
/// for STU3, as the Spine sends it.
fn fhir(bytes: &[u8], is_xml: bool) -> Message {
    let has = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    let (root, kind) = if is_xml { root_of_xml(bytes) } else { root_of_json(bytes) };
    let outside = match (root.as_deref(), kind.as_deref()) {
        (_, Some("transaction" | "batch" | "collection")) => Outside::Resources,
        (Some("Bundle") | None, _) => Outside::Message,
        (Some(root), _) => Outside::Resource(root.to_owned()),
    };
    let is_r4 = outside != Outside::Message || has("eventCoding") || has("eventUri");
    let format = match (is_r4, is_xml) {
        (true, true) => Format::R4Xml,
        (true, false) => Format::R4Json,
        (false, true) => Format::Stu3Xml,
        (false, false) => Format::Stu3Json,
    };
    Message { format, outside, body: bytes.to_vec() }
}

/// The type of the resource and, of a Bundle, its own type.
fn root_of_json(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let tree: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |name: &str| tree.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let root = text("resourceType");
    let kind = text("type").filter(|_| root.as_deref() == Some("Bundle"));
    (root, kind)
}

/// The same of XML, whose first element begins with a letter; what stands before it begins with `?` or `!`.
fn root_of_xml(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let text = String::from_utf8_lossy(bytes);
    let names = text.split('<').filter(|part| part.starts_with(|first: char| first.is_ascii_alphabetic()));
    let mut names = names.map(|part| part.split(|sign: char| !sign.is_ascii_alphanumeric()).next().unwrap_or_default());
    let root = names.next().map(str::to_owned);
    let types = ["transaction", "batch", "collection"].into_iter();
    let compact: String = text.chars().filter(|sign| !sign.is_whitespace()).collect();
    // The type of a Bundle stands before its entries.
    let head = compact.split("<entry").next().unwrap_or_default();
    let kind = types.filter(|_| root.as_deref() == Some("Bundle")).find(|kind| head.contains(&format!("<typevalue=\"{kind}\"/>")));
    (root, kind.map(str::to_owned))
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
    fn releases_and_doors_are_told_apart_by_the_outside() {
        let told = |text: &str| split(text.as_bytes()).into_iter().next().map(|message| (message.format.as_str(), message.outside));
        assert_eq!(told("<Bundle><event/></Bundle>"), Some(("stu3-xml", Outside::Message)));
        assert_eq!(told(r#"{"resourceType":"Bundle","event":{}}"#), Some(("stu3-json", Outside::Message)));
        assert_eq!(told(r#"{"resourceType":"Bundle","eventCoding":{}}"#), Some(("r4-json", Outside::Message)));
        let xml = "<?xml version=\"1.0\"?><!-- one --><Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"batch\" /><entry/></Bundle>";
        assert_eq!(told(xml), Some(("r4-xml", Outside::Resources)));
        let inside = "<Bundle><type value=\"message\"/><entry><type value=\"collection\"/></entry></Bundle>";
        assert_eq!(told(inside), Some(("stu3-xml", Outside::Message)), "the type of something inside");
        assert_eq!(told("{\"resourceType\": \"Bundle\", \"type\" : \"transaction\"}"), Some(("r4-json", Outside::Resources)));
        assert_eq!(told("<Immunization xmlns=\"x\"/>"), Some(("r4-xml", Outside::Resource("Immunization".to_owned()))));
        assert_eq!(told(r#"{"resourceType":"Task","type":"batch"}"#), Some(("r4-json", Outside::Resource("Task".to_owned()))));
    }
}
