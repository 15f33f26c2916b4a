//! A whole message: charset decoded, segments and fields indexed in bytes, insides read on first touch.
//!
//! # What always holds
//!
//! - No line is lost: one that is no segment is kept, has a number, and is warned about.
//! - Every piece lies in [`Message::text`], at the bytes it says.
//! - Segments and fields are found once, in two flat lists; what is inside a field is found when it is asked for, without
//!   allocating.
//!
//! # Not here
//!
//! What a field means. Whether the message may be kept at all is [`check`](super::check)'s question; this reads what
//! was kept, however strange.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr3, memrchr};

use super::Header;
use super::charset::Charset;
use super::cuts::{Span, narrow};
use super::escape;
use super::field;
use super::header::Delimiters;
use super::lines::{Ending, Line, Lines, without_lead};

/// Something unusual that was tolerated. `at` is a byte of the decoded text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable kind: `charset_guess`, `line_is_no_segment`, `blank_line`, `lf_endings`, `line_feed_in_text`,
    /// `control_character`, `unpaired_escape`. Each once for a message, but `line_is_no_segment` once for each line.
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
    text: String,
    header: Header,
    delimiters: Delimiters,
    charset: Charset,
    segments: Vec<Segment>,
    /// The first byte of each field of each segment, in order.
    starts: Vec<u32>,
    /// Each segment name and how many there are.
    names: Vec<([u8; 3], usize)>,
    /// From the first escape character after MSH-2 to behind the last one: nothing that lies outside has one.
    escapes: Span,
    /// The same of the delimiters of sub-components.
    subs: Span,
    warnings: Vec<Warning>,
}

/// A line of the message.
#[derive(Debug)]
struct Segment {
    text: Range<usize>,
    /// Its name; `None` where the line is no segment.
    id: Option<[u8; 3]>,
    /// Which of its name, from 1.
    occurrence: usize,
    /// Which name, of those that the message has.
    name: Option<usize>,
    /// Which of [`Message::starts`] are its own.
    fields: Range<usize>,
}

/// A piece of the message with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'m> {
    /// As sent, still escaped. `""` is kept as two quotation marks.
    pub text: &'m str,
    /// First byte in [`Message::text`].
    pub start: usize,
}

impl Piece<'_> {
    /// HL7 null.
    pub fn is_null(&self) -> bool {
        self.text == "\"\""
    }

    /// Its bytes in [`Message::text`].
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }
}

impl Message {
    /// Reads a message from its raw bytes.
    pub fn read(raw: &[u8], options: &ReadOptions) -> Result<Self, ReadError> {
        let header = Header::read_as(raw, options.line_feed)?;
        let delimiters = header.delimiters();
        let label = if header.charset.is_empty() { options.default_charset.as_deref().unwrap_or_default() } else { &header.charset };
        let decoded = Charset::of_label(label).ok_or(ReadError::Charset)?.decode(without_lead(raw));
        let mut message = Self {
            text: String::new(),
            header,
            delimiters,
            charset: decoded.charset,
            segments: vec![],
            starts: vec![],
            names: vec![],
            escapes: Span { start: 0, end: 0 },
            subs: Span { start: 0, end: 0 },
            warnings: vec![],
        };
        if decoded.is_doubtful {
            let at = decoded.text.bytes().position(|byte| !byte.is_ascii()).unwrap_or(0);
            message.warn("charset_guess", 0, at);
        }
        message.text = message.normalised(decoded.text, options.line_feed);
        message.index();
        Ok(message)
    }

    /// The decoded text, segments ended by CR as sent or normalised; every byte range refers to it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// MSH.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The delimiters that MSH names.
    pub fn delimiters(&self) -> &Delimiters {
        &self.delimiters
    }

    /// What was tolerated.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many segments, MSH included. Lines that are no segment count; blank lines do not.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The id of segment `index` (from 0), `PID`. Empty where the line is no segment, and past the end.
    pub fn segment_id(&self, index: usize) -> &str {
        let id = self.segments.get(index).filter(|segment| segment.id.is_some()).map(|segment| segment.text.start..segment.text.start + 3);
        id.and_then(|range| self.text.get(range)).unwrap_or_default()
    }

    /// The whole of segment `index`, without its end.
    pub fn segment(&self, index: usize) -> Option<Piece<'_>> {
        self.piece(&self.segments.get(index)?.text)
    }

    /// Which of the segments with its name segment `index` is (from 1), and how many there are. 0 of 0 where the line is no segment.
    pub fn segment_occurrence(&self, index: usize) -> (usize, usize) {
        let Some(Segment { name: Some(name), occurrence, .. }) = self.segments.get(index) else { return (0, 0) };
        (*occurrence, self.names.get(*name).map_or(0, |(_, count)| *count))
    }

    /// The indices (from 0) of the segments with this name, in order.
    pub fn segments_named(&self, id: &str) -> impl Iterator<Item = usize> + use<'_> {
        let id: Option<[u8; 3]> = id.as_bytes().try_into().ok();
        let is_there = id.is_some_and(|id| self.names.iter().any(|(name, _)| *name == id));
        let segments: &[Segment] = if is_there { &self.segments } else { &[] };
        segments.iter().enumerate().filter(move |(_, segment)| segment.id == id).map(|(index, _)| index)
    }

    /// The bytes of field `field` (from 1) of segment `index`, and its number among all fields of the message. `None` where the
    /// segment ends before it.
    #[inline]
    pub(crate) fn field_span(&self, index: usize, field: usize) -> Option<(usize, Span)> {
        let segment = self.segments.get(index)?;
        let starts = self.starts.get(segment.fields.clone())?;
        let place = field.checked_sub(1)?;
        let start = *starts.get(place)?;
        // A field ends before the separator that the next one follows; MSH-1 is that separator itself.
        let end = match starts.get(place + 1) {
            Some(next) if is_separator(segment, place) => *next,
            Some(next) => next.checked_sub(1)?,
            None => u32::try_from(segment.text.end).ok()?,
        };
        (start <= end).then_some((segment.fields.start + place, Span { start, end }))
    }

    /// Which fields of segment `index` hold something: bits as [`field_bit`] gives them.
    pub(crate) fn filled_fields(&self, index: usize) -> u64 {
        let Some(segment) = self.segments.get(index) else { return 0 };
        let starts = self.starts.get(segment.fields.clone()).unwrap_or_default();
        let after_last = u32::try_from(segment.text.end).unwrap_or(u32::MAX).saturating_add(1);
        let nexts = starts.iter().skip(1).copied().chain([after_last]);
        // Between two starts stands a separator; MSH-1 is that separator itself.
        let msh_1 = if segment.id == Some(*b"MSH") { field_bit(1) } else { 0 };
        let filled = (1..).zip(starts.iter().zip(nexts)).filter(|(_, (start, next))| next.saturating_sub(**start) > 1);
        filled.fold(msh_1, |bits, (field, _)| bits | field_bit(field))
    }

    /// The bytes of the whole of segment `index`.
    pub(crate) fn segment_span(&self, index: usize) -> Option<Span> {
        let text = &self.segments.get(index)?.text;
        Some(Span { start: u32::try_from(text.start).ok()?, end: u32::try_from(text.end).ok()? })
    }

    /// The text of a span; nothing where it is none of this message.
    #[inline]
    pub(crate) fn text_of(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// [`Message::unescape`] of a span.
    #[inline]
    pub(crate) fn unescaped(&self, span: Span) -> Cow<'_, str> {
        let text = self.text_of(span);
        if !self.may_be_escaped(span.start, span.end) || span.is_delimiters() {
            return Cow::Borrowed(text);
        }
        escape::unescape(text, &self.delimiters, self.charset)
    }

    /// How many fields all segments have together.
    pub(crate) fn all_fields(&self) -> usize {
        self.starts.len()
    }

    /// The name of segment `index` in bytes; `None` where the line is no segment.
    #[inline]
    pub(crate) fn segment_name(&self, index: usize) -> Option<[u8; 3]> {
        self.segments.get(index)?.id
    }

    /// The names of segments in the order in which they first come, each with how many there are.
    pub(crate) fn names(&self) -> &[([u8; 3], usize)] {
        &self.names
    }

    /// Which of [`Message::names`] each segment has; `None` where the line is no segment.
    pub(crate) fn segment_names(&self) -> impl Iterator<Item = Option<usize>> {
        self.segments.iter().map(|segment| segment.name)
    }

    /// Field `field` (from 1; MSH-1 is the separator) of segment `index`, all repetitions, as sent. `None` where the
    /// segment ends before it.
    pub fn field(&self, index: usize, field: usize) -> Option<Piece<'_>> {
        let (_, span) = self.field_span(index, field)?;
        self.piece(&span.range())
    }

    /// How many fields segment `index` has.
    pub fn field_count(&self, index: usize) -> usize {
        self.segments.get(index).map_or(0, |segment| segment.fields.len())
    }

    /// The repetitions of a field, in order. Of an empty field: one, empty. MSH-1 and MSH-2 are never split.
    pub fn repetitions<'m>(&self, field: Piece<'m>) -> Vec<Piece<'m>> {
        if self.is_delimiters(field.start) || !self.holds_delimiter(field.text) {
            return vec![field];
        }
        field::repetitions(field.text, field.start, &self.delimiters).into_iter().map(|(start, text)| Piece { text, start }).collect()
    }

    /// Component `component` (from 1) of a repetition; with `sub` the sub-component (from 1).
    /// Component 1 of a repetition without component separators is the repetition itself.
    pub fn component<'m>(&self, repetition: Piece<'m>, component: usize, sub: Option<usize>) -> Option<Piece<'m>> {
        if self.is_delimiters(repetition.start) {
            return (component == 1 && sub.is_none_or(|sub| sub == 1)).then_some(repetition);
        }
        let component = nth(repetition, self.delimiters.component, component)?;
        match sub {
            Some(sub) => nth(component, self.delimiters.sub, sub),
            None => Some(component),
        }
    }

    /// The first sub-component of the first component: what a coded or dated field says where a later version of the
    /// standard gave it more parts (protocol rules, section 5).
    pub fn first_part<'m>(&'m self, repetition: Piece<'m>) -> Piece<'m> {
        self.component(repetition, 1, Some(1)).unwrap_or(repetition)
    }

    /// The text of a piece with escapes undone once (protocol rules, section 7).
    pub fn unescape<'m>(&'m self, piece: Piece<'m>) -> Cow<'m, str> {
        let (start, end) = (narrow(piece.start), narrow(piece.start + piece.text.len()));
        if !self.may_be_escaped(start, end) || self.is_delimiters(piece.start) {
            return Cow::Borrowed(piece.text);
        }
        escape::unescape(piece.text, &self.delimiters, self.charset)
    }

    /// A text made ready to stand in a field of this message.
    pub fn escape<'t>(&self, text: &'t str) -> Cow<'t, str> {
        escape::escape(text, &self.delimiters)
    }

    /// Whether an escape character can stand between two bytes of the text.
    #[inline]
    fn may_be_escaped(&self, start: u32, end: u32) -> bool {
        start < self.escapes.end && self.escapes.start < end
    }

    /// Whether a delimiter of sub-components can stand in a span behind MSH-2.
    #[inline]
    pub(crate) fn may_have_subs(&self, span: Span) -> bool {
        span.start < self.subs.end && self.subs.start < span.end
    }

    fn piece(&self, range: &Range<usize>) -> Option<Piece<'_>> {
        Some(Piece { text: self.text.get(range.clone())?, start: range.start })
    }

    /// Bytes of MSH-1 and MSH-2.
    fn is_delimiters(&self, start: usize) -> bool {
        start == 3 || start == 4
    }

    fn holds_delimiter(&self, text: &str) -> bool {
        let Delimiters { field, component, repetition, sub, .. } = self.delimiters;
        // A delimiter that is not available is looked for as the field separator, which no field holds.
        let or_field = |delimiter: Option<u8>| delimiter.unwrap_or(field);
        memchr3(or_field(repetition), or_field(component), or_field(sub), text.as_bytes()).is_some()
    }
}

/// The bit of a field (from 1) in 64; the fields from 63 on share the last.
#[inline]
pub(crate) fn field_bit(field: usize) -> u64 {
    1 << field.min(63)
}

/// Reading, once.
impl Message {
    fn warn(&mut self, kind: &'static str, segment: usize, at: usize) {
        self.warnings.push(Warning { kind, segment, at });
    }

    /// The text with each line ended by one CR and control characters made blanks. Most messages need nothing.
    fn normalised(&mut self, text: String, line_feed: bool) -> String {
        let ending = Ending::of(text.as_bytes(), line_feed);
        let is_plain = memchr(b'\n', text.as_bytes()).is_none() && !has_blank_line(text.as_bytes());
        let text = if is_plain { text } else { self.relined(&text, ending) };
        self.without_controls(text)
    }

    fn relined(&mut self, text: &str, ending: Ending) -> String {
        let mut relined = String::with_capacity(text.len() + 1);
        let mut has_blank = None;
        for line in Lines::new(text.as_bytes(), ending) {
            if line.is_blank() {
                has_blank = has_blank.or(Some(relined.len()));
                continue;
            }
            let end = line.start + line.bytes.len();
            relined.push_str(text.get(line.start..end).unwrap_or_default());
            relined.push('\r');
        }
        if let Some(at) = has_blank {
            self.warn("blank_line", 0, at);
        }
        if ending == Ending::Either && memchr(b'\n', text.as_bytes()).is_some() {
            self.warn("lf_endings", 0, 0);
        }
        if let Some(at) = memchr(b'\n', relined.as_bytes()) {
            self.warn("line_feed_in_text", 0, at);
        }
        relined
    }

    /// TAB is a blank; other control characters become one and are warned about. LF is text here.
    fn without_controls(&mut self, text: String) -> String {
        if !text.as_bytes().chunks(64).any(|chunk| chunk.iter().fold(false, |found, byte| found | is_control(*byte))) {
            return text;
        }
        if let Some(at) = text.bytes().position(|byte| is_control(byte) && byte != b'\t') {
            self.warn("control_character", 0, at);
        }
        text.chars().map(|letter| if u8::try_from(letter).is_ok_and(is_control) { ' ' } else { letter }).collect()
    }

    fn index(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.starts.reserve(text.len() / 8);
        for line in Lines::new(text.as_bytes(), Ending::CarriageReturn) {
            self.index_line(&line);
        }
        self.text = text;
        self.subs = self.delimiters.sub.map_or(self.subs, |sub| self.first_to_last(sub));
        self.look_at_escapes();
    }

    fn index_line(&mut self, line: &Line<'_>) {
        let id = line.id(self.delimiters.field);
        let (name, occurrence) = match id {
            Some(id) => self.count(id),
            None => {
                self.warn("line_is_no_segment", self.segments.len() + 1, line.start);
                (None, 0)
            }
        };
        let first = self.starts.len();
        // A start that 32 bits cannot say is past the end of every text, and finds nothing.
        let start = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        if id == Some(*b"MSH") {
            // MSH-1 is the separator after the name.
            self.starts.push(start(line.start + 3));
        }
        self.starts.extend(memchr_iter(self.delimiters.field, line.bytes).map(|at| start(line.start + at + 1)));
        let text = line.start..line.start + line.bytes.len();
        self.segments.push(Segment { text, id, occurrence, name, fields: first..self.starts.len() });
    }

    /// Which name this is, and how many segments have it now.
    fn count(&mut self, id: [u8; 3]) -> (Option<usize>, usize) {
        if let Some((at, (_, count))) = self.names.iter_mut().enumerate().find(|(_, (name, _))| *name == id) {
            *count += 1;
            return (Some(at), *count);
        }
        self.names.push((id, 1));
        (Some(self.names.len() - 1), 1)
    }

    /// From the first of these bytes behind MSH-2 to behind the last of them; nothing where there is none.
    fn first_to_last(&self, byte: u8) -> Span {
        // In MSH-2 itself a delimiter is at most the eighth byte of the message.
        let after = self.text.as_bytes().get(8..).unwrap_or_default();
        let found = memchr(byte, after).zip(memrchr(byte, after));
        found.map_or(Span { start: 0, end: 0 }, |(first, last)| Span { start: narrow(8 + first), end: narrow(8 + last + 1) })
    }

    /// Whether there are any, and which is the first that is none.
    fn look_at_escapes(&mut self) {
        let Some(escape) = self.delimiters.escape else { return };
        self.escapes = self.first_to_last(escape);
        if self.escapes.is_empty() {
            return;
        }
        let unpaired = self.segments.iter().enumerate().skip(1).find_map(|(index, segment)| {
            let text = self.text.get(segment.text.clone())?;
            memchr(escape, text.as_bytes())?;
            let in_field = |(start, field): (usize, &str)| Some(start + escape::first_unpaired(field, escape, &self.delimiters)?);
            let at = field::split(text, segment.text.start, Some(self.delimiters.field)).find_map(in_field)?;
            Some((index + 1, at))
        });
        if let Some((segment, at)) = unpaired {
            self.warn("unpaired_escape", segment, at);
        }
    }
}

/// Part `number` (from 1) of a piece that a delimiter parts.
fn nth(piece: Piece<'_>, delimiter: Option<u8>, number: usize) -> Option<Piece<'_>> {
    let bytes = piece.text.as_bytes();
    let Some(delimiter) = delimiter else { return (number == 1).then_some(piece) };
    let mut from = 0;
    for _ in 1..number {
        from += bytes.get(from..)?.iter().position(|byte| *byte == delimiter)? + 1;
    }
    number.checked_sub(1)?;
    let rest = bytes.get(from..)?;
    let end = from + rest.iter().position(|byte| *byte == delimiter).unwrap_or(rest.len());
    Some(Piece { text: piece.text.get(from..end)?, start: piece.start + from })
}

/// Is field number `place` (from 0) the separator itself?
fn is_separator(segment: &Segment, place: usize) -> bool {
    place == 0 && segment.id == Some(*b"MSH")
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 && byte != b'\r' && byte != b'\n'
}

/// A line with nothing but blanks: where one could be, a CR stands before a CR or a blank.
fn has_blank_line(bytes: &[u8]) -> bool {
    memchr_iter(b'\r', bytes).any(|at| matches!(bytes.get(at + 1), Some(b'\r' | b' ' | b'\t')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(raw: &str) -> Message {
        Message::read(raw.as_bytes(), &ReadOptions::default()).unwrap()
    }

    const A28: &str =
        "MSH|^~\\&|MATERNITY|RJ1|||20260105||ADT^A28^ADT_A05|M1|P|2.4\rPID|1||9990000026^^^NHS&X^NH~B1^^^RJ1||O\\T\\C^A|\"\"|\r";

    fn warnings(message: &Message) -> Vec<(&'static str, usize)> {
        message.warnings().iter().map(|warning| (warning.kind, warning.segment)).collect()
    }

    #[test]
    fn fields_count_as_in_the_standard() {
        let message = read(A28);
        let field = |index, number| message.field(index, number).map(|piece| piece.text);
        assert_eq!((message.segment_count(), message.segment_id(0), message.segment_id(1), message.segment_id(2)), (2, "MSH", "PID", ""));
        assert_eq!(
            [field(0, 1), field(0, 2), field(0, 3), field(0, 9)],
            [Some("|"), Some(r"^~\&"), Some("MATERNITY"), Some("ADT^A28^ADT_A05")]
        );
        assert_eq!([field(0, 12), field(0, 13), field(0, 0)], [Some("2.4"), None, None]);
        assert_eq!([field(1, 1), field(1, 2), field(1, 6), field(1, 7), field(1, 8)], [Some("1"), Some(""), Some("\"\""), Some(""), None]);
        assert_eq!((message.field_count(0), message.field_count(1), message.field_count(9)), (12, 7, 0));
    }

    #[test]
    fn a_field_is_filled_where_it_has_a_byte() {
        let message = read(&format!("MSH|^~\\&|A||B\rPID|1||x|\rPV1\rZZ1|\rOBX{}y\rno segment|\r", "|".repeat(70)));
        let bits = |fields: &[usize]| fields.iter().fold(0, |bits, field| bits | field_bit(*field));
        let filled = (0..7).map(|index| message.filled_fields(index)).collect::<Vec<_>>();
        assert_eq!(filled, [bits(&[1, 2, 3, 5]), bits(&[1, 3]), 0, 0, bits(&[70]), 0, 0]);
        assert_eq!((field_bit(63), field_bit(62) == field_bit(63)), (field_bit(70), false));
    }

    #[test]
    fn a_field_has_repetitions_components_and_subs_at_their_bytes() {
        let message = read(A28);
        let pid_3 = message.field(1, 3).unwrap();
        let repetitions = message.repetitions(pid_3);
        assert_eq!(repetitions.iter().map(|piece| piece.text).collect::<Vec<_>>(), ["9990000026^^^NHS&X^NH", "B1^^^RJ1"]);
        let part = |component, sub| message.component(repetitions[0], component, sub).map(|piece| piece.text);
        assert_eq!([part(1, None), part(1, Some(1)), part(1, Some(2))], [Some("9990000026"), Some("9990000026"), None]);
        assert_eq!([part(4, None), part(4, Some(1)), part(4, Some(2)), part(4, Some(3))], [Some("NHS&X"), Some("NHS"), Some("X"), None]);
        assert_eq!([part(2, None), part(5, None), part(6, None), part(0, None)], [Some(""), Some("NH"), None, None]);
        for piece in repetitions.iter().chain(&message.component(repetitions[1], 4, None)) {
            assert_eq!(&message.text()[piece.range()], piece.text);
        }
    }

    #[test]
    fn a_piece_without_delimiters_is_its_own_first_component() {
        let message = read(A28);
        let pid_1 = message.field(1, 1).unwrap();
        assert_eq!(message.repetitions(pid_1), [pid_1]);
        assert_eq!(message.component(pid_1, 1, Some(1)), Some(pid_1));
        assert_eq!([message.component(pid_1, 2, None), message.component(pid_1, 1, Some(2)), message.component(pid_1, 0, None)], [None; 3]);
        let empty = message.field(1, 2).unwrap();
        assert_eq!(message.repetitions(empty), [empty]);
        assert!(message.field(1, 6).unwrap().is_null());
    }

    #[test]
    fn msh_1_and_msh_2_are_never_split_or_unescaped() {
        let message = read(A28);
        for number in [1, 2] {
            let field = message.field(0, number).unwrap();
            assert_eq!(message.repetitions(field), [field]);
            assert_eq!(message.component(field, 1, None), Some(field));
            assert_eq!(message.unescape(field), field.text);
        }
    }

    #[test]
    fn escapes_are_undone_after_splitting() {
        let message = read(A28);
        let family = message.component(message.field(1, 5).unwrap(), 1, None).unwrap();
        assert_eq!((family.text, message.unescape(family).as_ref()), (r"O\T\C", "O&C"));
        assert_eq!(message.first_part(message.field(1, 3).unwrap()).text, "9990000026");
    }

    #[test]
    fn line_ends_are_made_cr_and_it_is_said_so() {
        let plain = read("MSH|^~\\&|A\rPID|1\rPV1|\r");
        assert_eq!(warnings(&plain), []);
        for (raw, expected) in [
            ("MSH|^~\\&|A\r\nPID|1\r\nPV1|\r\n", vec![]),
            ("MSH|^~\\&|A\nPID|1\nPV1|", vec![("lf_endings", 0)]),
            ("MSH|^~\\&|A\r\rPID|1\r  \rPV1|\r\r", vec![("blank_line", 0)]),
            ("\u{feff}\r\nMSH|^~\\&|A\rPID|1\rPV1|\r", vec![]),
        ] {
            let message = read(raw);
            assert_eq!(message.text(), plain.text(), "{raw:?}");
            assert_eq!(warnings(&message), expected, "{raw:?}");
            assert_eq!(message.segment_count(), 3);
        }
    }

    #[test]
    fn a_line_feed_in_a_message_that_uses_cr_is_text() {
        let message = read("MSH|^~\\&|A\rNTE|1||two\nlines\rPV1|");
        assert_eq!(message.field(1, 3).unwrap().text, "two\nlines");
        assert_eq!(warnings(&message), [("line_feed_in_text", 0)]);
        let set = Message::read(b"MSH|^~\\&|A\nNTE|1||two\nlines", &ReadOptions { line_feed: true, ..Default::default() }).unwrap();
        assert_eq!((set.segment_count(), set.segment_id(2)), (3, ""));
    }

    #[test]
    fn a_line_that_is_no_segment_is_kept_with_its_number_and_what_follows_is_read() {
        let message = read("MSH|^~\\&|A\rNTE|1||long\rwrapped | text\rPV1\rPID|7");
        assert_eq!(warnings(&message), [("line_is_no_segment", 3)]);
        assert_eq!((0..5).map(|index| message.segment_id(index)).collect::<Vec<_>>(), ["MSH", "NTE", "", "PV1", "PID"]);
        assert_eq!(message.segment(2).unwrap().text, "wrapped | text");
        assert_eq!((message.field_count(3), message.field(3, 1)), (0, None));
        assert_eq!(message.field(4, 1).unwrap().text, "7");
    }

    #[test]
    fn segments_know_which_of_their_name_they_are() {
        let message = read("MSH|^~\\&|A\rOBX|1\rNTE|1\rOBX|2");
        assert_eq!((0..5).map(|index| message.segment_occurrence(index)).collect::<Vec<_>>(), [(1, 1), (1, 2), (1, 1), (2, 2), (0, 0)]);
        assert_eq!(message.segments_named("OBX").collect::<Vec<_>>(), [1, 3]);
        assert_eq!(message.segments_named("ZZZ").chain(message.segments_named("long")).count(), 0);
    }

    #[test]
    fn characters_are_decoded_by_msh_18_then_by_the_source_then_by_looking() {
        let raw =
            |charset: &str, name: &[u8]| [format!("MSH|^~\\&|||||||ADT^A28|1|P|2.4||||||{charset}\rPID|||||").as_bytes(), name].concat();
        let name = |raw: &[u8], default: Option<&str>| {
            let options = ReadOptions { default_charset: default.map(str::to_owned), line_feed: false };
            let message = Message::read(raw, &options).unwrap();
            (message.field(1, 5).unwrap().text.to_owned(), warnings(&message).iter().map(|(kind, _)| *kind).collect::<Vec<_>>())
        };
        assert_eq!(name(&raw("8859/1", b"Zo\xEB"), None), ("Zoë".into(), vec![]));
        assert_eq!(name(&raw("UNICODE UTF-8", b"Zo\xC3\xAB"), None), ("Zoë".into(), vec![]));
        assert_eq!(name(&raw("", b"Zo\xEB"), Some("8859/1")), ("Zoë".into(), vec![]));
        assert_eq!(name(&raw("", b"Zo\xEB"), None), ("Zoë".into(), vec!["charset_guess"]));
        assert_eq!(name(&raw("", b"Zo\xC3\xAB"), None), ("Zoë".into(), vec!["charset_guess"]));
        assert!(matches!(Message::read(&raw("UNICODE UTF-16", b"x"), &ReadOptions::default()), Err(ReadError::Charset)));
    }

    #[test]
    fn control_characters_become_blanks_and_a_tab_does_so_in_silence() {
        let message = read("MSH|^~\\&|A\rNTE|1||a\u{1}b\tc");
        assert_eq!(message.field(1, 3).unwrap().text, "a b c");
        assert_eq!(warnings(&message), [("control_character", 0)]);
        assert_eq!(warnings(&read("MSH|^~\\&|A\rNTE|1||b\tc")), []);
    }

    #[test]
    fn an_unpaired_escape_is_warned_about_once_with_its_place() {
        let message = read("MSH|^~\\&|A\rNTE|1||a\\T\\b|1\\2\rNTE|2||3\\4");
        assert_eq!(message.warnings(), [Warning { kind: "unpaired_escape", segment: 2, at: 25 }]);
        assert_eq!(&message.text()[24..27], "1\\2");
    }

    #[test]
    fn pieces_of_another_message_are_split_all_the_same() {
        let message = read("MSH|^~\\&|A\rPID|1");
        let stranger = Piece { text: "a^b&c~d", start: 9000 };
        assert_eq!(message.repetitions(stranger).len(), 2);
        assert_eq!(message.component(stranger, 2, Some(1)).unwrap().text, "b");
    }

    proptest! {
        #[test]
        fn a_message_is_what_a_plain_split_says(body in r"[PVNTE|^~&\\#a-cé \r]{0,120}", encoding in prop::sample::select(vec![r"^~\&", r"^~\&#", "^~", "%*@!"])) {
            let raw = format!("MSH|{encoding}|A\r{body}");
            let message = read(&raw);
            let delimiters = *message.delimiters();
            let lines: Vec<&str> = raw.split('\r').filter(|line| !line.trim_matches(' ').is_empty()).collect();
            prop_assert_eq!(lines.len(), message.segment_count());
            for (index, line) in lines.iter().enumerate().skip(1) {
                let fields: Vec<&str> = line.split('|').skip(1).collect();
                prop_assert_eq!(message.field_count(index), fields.len());
                let filled = (1..).zip(&fields).filter(|(_, text)| !text.is_empty());
                prop_assert_eq!(message.filled_fields(index), filled.fold(0, |bits, (number, _)| bits | field_bit(number)));
                for (number, expected) in fields.iter().enumerate() {
                    let field = message.field(index, number + 1).unwrap();
                    prop_assert_eq!(field.text, *expected);
                    prop_assert_eq!(&message.text()[field.range()], field.text);
                    let repetitions = message.repetitions(field);
                    let expected: Vec<(usize, &str)> = field::split(field.text, field.start, delimiters.repetition).collect();
                    prop_assert_eq!(repetitions.iter().map(|piece| (piece.start, piece.text)).collect::<Vec<_>>(), expected);
                    for repetition in repetitions {
                        for (number, (start, component)) in field::split(repetition.text, repetition.start, delimiters.component).enumerate() {
                            prop_assert_eq!(message.component(repetition, number + 1, None), Some(Piece { text: component, start }));
                            for (sub, (start, text)) in field::split(component, start, delimiters.sub).enumerate() {
                                prop_assert_eq!(message.component(repetition, number + 1, Some(sub + 1)), Some(Piece { text, start }));
                            }
                        }
                    }
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(prop_oneof![Just(b'|'), Just(b'\r'), Just(b'\n'), Just(b'^'), Just(b'\\'), any::<u8>()], 0..300), line_feed: bool) {
            let options = ReadOptions { default_charset: None, line_feed };
            let _ = Message::read(&bytes, &options);
            bytes.splice(0..0, *b"MSH|^~\\&|\r");
            let message = Message::read(&bytes, &options).unwrap();
            for index in 0..message.segment_count() {
                for number in 0..=message.field_count(index) + 1 {
                    if let Some(field) = message.field(index, number) {
                        for repetition in message.repetitions(field) {
                            message.unescape(repetition);
                            message.component(repetition, 2, Some(1));
                        }
                    }
                }
            }
        }
    }
}
