//! FHIR JSON and XML in, one generic tree out; outcomes back. Pure: no socket, no clock.
//!
//! The tree is a [`serde_json::Value`] in the shape of FHIR JSON, whichever of the two came in.
//!
//! # Invariants
//!
//! - A number with a fraction or an exponent is a text in the tree, exactly as it was written: nothing is rounded.
//! - Reading is bounded ([`Limits`]) before it allocates or recurses, and never panics, whatever the bytes.
//! - A [`Problem`] says where and what, and never quotes the document.
//!
//! # Not here
//!
//! Whether a resource is valid: profiles, required elements and code lists are the business of mappings and of `fhir-r4`.

mod bundle;
mod elements;
mod hash;
mod item;
mod json;
mod outcome;
mod path;
mod references;
mod tags;
mod xml;

pub use bundle::*;
pub(crate) use hash::NameHash;
pub use item::*;
pub use json::*;
pub use outcome::*;
pub use path::*;
pub use references::*;
pub use xml::*;

/// Bounds of one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting, 64; never more than [`DEPTH_CAP`], whatever is asked.
    pub depth_max: usize,
    /// Elements, 200,000.
    pub nodes_max: usize,
}
impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: 64, nodes_max: 200_000 }
    }
}
impl Limits {
    /// The nesting that holds: what was asked, under the cap.
    fn depth(&self) -> usize {
        self.depth_max.min(DEPTH_CAP)
    }
}
/// No document nests deeper than this, so that no reader of the tree runs out of stack.
pub const DEPTH_CAP: usize = 128;

/// FHIR release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// FHIR 3.0.2, which the events of NEMS and Digital Child Health use.
    Stu3,
    /// FHIR 4.0.1, which UK Core uses.
    R4,
}

/// What is wrong with a document and where; never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at {location}")]
pub struct Problem {
    /// OperationOutcome issue type: `structure`, `invalid`, `required`, `not-supported`, `too-long`, `duplicate`, `transient`.
    pub code: &'static str,
    /// `line 3, column 14`, or a FHIRPath expression `Bundle.entry[0].resource`.
    pub location: String,
    /// What is wrong and what would help.
    pub message: String,
}

impl Problem {
    /// A problem of `text` at byte `at`.
    fn in_text(code: &'static str, text: &str, at: usize, message: impl Into<String>) -> Self {
        Self { code, location: place(text, at), message: message.into() }
    }
}

/// `line L, column C` of byte `at`; both count from 1, columns count characters.
fn place(text: &str, at: usize) -> String {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    // Bytes that continue a character are no column of their own.
    let column = before.iter().skip(line_start).filter(|byte| **byte & 0xC0 != 0x80).count() + 1;
    format!("line {line}, column {column}")
}

/// The text of a document: UTF-8, without its byte order mark.
fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let start = "line 1, column 1".to_owned();
    let wide = matches!(bytes, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] | [0, ..] | [_, 0, ..]);
    if wide {
        let message = "the document is in UTF-16 or UTF-32; send UTF-8".to_owned();
        return Err(Problem { code: "not-supported", location: start, message });
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.trim_ascii().is_empty() => {
            Err(Problem { code: "structure", location: start, message: "the document is empty".to_owned() })
        }
        Ok(text) => Ok(text),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).and_then(|good| std::str::from_utf8(good).ok()).unwrap_or_default();
            Err(Problem::in_text("structure", good, good.len(), "this is not UTF-8; send UTF-8"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        assert_eq!(place("ab\ncé!", 0), "line 1, column 1");
        assert_eq!(place("ab\ncé!", 3), "line 2, column 1");
        assert_eq!(place("ab\ncé!", 6), "line 2, column 3", "é is two bytes and one column");
        assert_eq!(place("ab", 99), "line 1, column 3", "beyond the end is the end");
    }

    #[test]
    fn other_encodings_are_refused_by_name() {
        assert_eq!(text_of(b"\xEF\xBB\xBF{}"), Ok("{}"));
        assert_eq!(text_of(b"\xFF\xFE{\0}\0").unwrap_err().code, "not-supported");
        assert_eq!(text_of(b"{\0}\0").unwrap_err().code, "not-supported");
        let latin = text_of(b"{\"name\":\n\"Zo\xEB\"}").unwrap_err();
        assert_eq!((latin.code, latin.location.as_str()), ("structure", "line 2, column 4"));
        assert_eq!(text_of(b" \n").unwrap_err().message, "the document is empty");
    }
}
