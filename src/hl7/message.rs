//! A whole message: charset decoded, segments and fields indexed in bytes, insides read on first touch.

use super::Header;

/// Something unusual that was tolerated. `at` is a byte of the *raw* message where known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable kind: `charset_guess`, `line_is_no_segment`, `blank_line`, `lf_endings`, `control_character`, `unpaired_escape`.
    pub kind: &'static str,
    /// Segment number from 1, 0 where none.
    pub segment: usize,
    /// Byte of the decoded text.
    pub at: usize,
}

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Charset label used when MSH-18 is empty, `8859/1`.
    pub default_charset: Option<String>,
    /// This source separates segments by LF.
    pub line_feed: bool,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// See [`super::HeaderError`].
    #[error(transparent)]
    Header(#[from] super::HeaderError),
    /// MSH-18 names a charset that is not read here.
    #[error("MSH-18 names a character set that is not supported")]
    Charset,
}

/// A message, decoded to UTF-8 and indexed.
#[derive(Debug)]
pub struct Message {
    _private: (),
}

/// A piece of the message with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'m> {
    /// As sent, still escaped. `""` is kept as two quotation marks.
    pub text: &'m str,
    /// First byte in [`Message::text`].
    pub start: usize,
}

impl<'m> Piece<'m> {
    /// HL7 null.
    pub fn is_null(&self) -> bool {
        self.text == "\"\""
    }
}

impl Message {
    /// Reads a message from its raw bytes.
    pub fn read(_raw: &[u8], _options: &ReadOptions) -> Result<Self, ReadError> {
        unimplemented!()
    }
    /// The decoded text, segments ended by CR as sent or normalised; every byte range refers to it.
    pub fn text(&self) -> &str {
        unimplemented!()
    }
    /// MSH.
    pub fn header(&self) -> &Header {
        unimplemented!()
    }
    /// What was tolerated.
    pub fn warnings(&self) -> &[Warning] {
        unimplemented!()
    }
    /// How many segments, MSH included.
    pub fn segment_count(&self) -> usize {
        unimplemented!()
    }
    /// The id of segment `index` (from 0), `PID`.
    pub fn segment_id(&self, _index: usize) -> &str {
        unimplemented!()
    }
    /// Field `field` (from 1; MSH-1 is the separator) of segment `index`, all repetitions, as sent.
    pub fn field(&self, _index: usize, _field: usize) -> Option<Piece<'_>> {
        unimplemented!()
    }
    /// How many fields segment `index` has.
    pub fn field_count(&self, _index: usize) -> usize {
        unimplemented!()
    }
    /// The repetitions of a field, in order.
    pub fn repetitions<'m>(&'m self, _field: Piece<'m>) -> Vec<Piece<'m>> {
        unimplemented!()
    }
    /// Component `component` (from 1) of a repetition; with `sub` the sub-component (from 1).
    /// Component 1 of a repetition without component separators is the repetition itself.
    pub fn component<'m>(&'m self, _repetition: Piece<'m>, _component: usize, _sub: Option<usize>) -> Option<Piece<'m>> {
        unimplemented!()
    }
    /// The text of a piece with escapes undone once (protocol rules, section 7).
    pub fn unescape<'m>(&'m self, _piece: Piece<'m>) -> std::borrow::Cow<'m, str> {
        unimplemented!()
    }
}
