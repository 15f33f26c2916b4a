//! The plain part of XML: tags with attributes in quotation marks, and text without `&` between them.
//!
//! Nearly all that senders send is nothing else, and to read it takes no more than this. Where a document has anything more (a
//! comment, a reference in a text, a DTD, a slip), [`Tags::next`] says `None`: then somebody who knows all of XML has to read it.
//!
//! # Invariants
//!
//! - What is read here, a full reader of XML reads the same: end tags are those of the start tags, no attribute is given twice.

use memchr::{memchr, memchr2};

/// A letter or a digit.
pub(super) const LETTER: u8 = 1;
/// What stands in names besides.
const OTHER: u8 = 2;
const SPACE: u8 = 4;
/// What makes the value of an attribute say something else than it seems: `<`, `&`, control characters, and the first byte of
/// U+FFFE and its like.
pub(super) const SPECIAL: u8 = 8;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let class = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => LETTER,
            b':' | b'-' | b'_' | b'.' => OTHER,
            b' ' => SPACE,
            b'\t' | b'\r' | b'\n' => SPACE | SPECIAL,
            0..=0x1F | b'<' | b'&' | 0xEF => SPECIAL,
            _ => 0,
        };
        #[expect(clippy::indexing_slicing, reason = "a byte is less than 256")]
        {
            classes[byte] = class;
        }
        byte += 1;
    }
    classes
};

/// What a byte is in XML.
#[inline]
pub(super) fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// How a document may begin before its first element.
const DECLARATIONS: [&str; 4] = [
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>",
    "<?xml version='1.0' encoding='UTF-8'?>",
    "<?xml version=\"1.0\"?>",
];

/// Attributes of one tag that are compared with each other.
const ATTRIBUTES_MAX: usize = 8;

/// How nearly all attributes begin.
const VALUE: &[u8] = b"value=\"";

/// Eight blanks.
const BLANKS: u64 = u64::from_ne_bytes(*b"        ");

/// The name of an attribute, and what stands between its quotation marks.
pub(super) type Attribute<'t> = (&'t str, &'t str);

/// A name, and whether it is nothing but letters and digits.
pub(super) type Word<'t> = (&'t str, bool);

/// A piece of a document.
pub(super) enum Lexeme<'t, 'r> {
    /// `<name a="b">`, or with `/>` at its end.
    Open {
        /// Where it begins.
        at: usize,
        /// As written, with its prefix.
        name: &'t str,
        /// The name is letters and digits, and has no prefix.
        is_plain: bool,
        /// In order.
        attributes: &'r [Attribute<'t>],
        /// It ends with `/>`.
        is_closed: bool,
    },
    /// `</name>`
    Close,
    /// What stands between two tags.
    Text(&'t str),
    /// The document ends.
    End,
}

/// A document, piece by piece.
pub(super) struct Tags<'t> {
    text: &'t str,
    at: usize,
    /// Names of the elements that are open.
    open: Vec<&'t str>,
    attributes: Vec<Attribute<'t>>,
}

impl<'t> Tags<'t> {
    /// From the start.
    pub(super) fn new(text: &'t str) -> Self {
        let declaration = DECLARATIONS.iter().find(|declaration| text.starts_with(*declaration));
        Self { text, at: declaration.map_or(0, |declaration| declaration.len()), open: Vec::with_capacity(16), attributes: Vec::new() }
    }

    /// The byte behind what was read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next piece; `None`: this is not for us.
    pub(super) fn next(&mut self) -> Option<Lexeme<'t, '_>> {
        // White space between two tags says nothing, and within a narrative nothing is told of its texts.
        self.skip_space();
        let rest = self.text.as_bytes().get(self.at..)?;
        match rest {
            [] if self.open.is_empty() => Some(Lexeme::End),
            [] => None,
            [b'<', b'/', ..] => self.close(),
            [b'<', ..] => self.tag(),
            _ => {
                let length = memchr2(b'<', b'&', rest).unwrap_or(rest.len());
                if rest.get(length) == Some(&b'&') {
                    return None;
                }
                let text = self.text.get(self.at..self.at + length)?;
                self.at += length;
                Some(Lexeme::Text(text))
            }
        }
    }

    fn close(&mut self) -> Option<Lexeme<'t, '_>> {
        let name = self.open.pop()?;
        let rest = self.text.get(self.at + 2..)?.strip_prefix(name)?;
        rest.starts_with('>').then_some(())?;
        self.at += name.len() + 3;
        Some(Lexeme::Close)
    }

    fn tag(&mut self) -> Option<Lexeme<'t, '_>> {
        let begins = self.at;
        self.at += 1;
        let (name, is_plain) = self.word()?;
        self.attributes.clear();
        let is_closed = loop {
            let is_apart = self.skip_space();
            match self.text.as_bytes().get(self.at..)? {
                [b'>', ..] => {
                    self.at += 1;
                    break false;
                }
                [b'/', b'>', ..] => {
                    self.at += 2;
                    break true;
                }
                _ if is_apart => {
                    let attribute = self.attribute()?;
                    let is_twice = self.attributes.iter().any(|(known, _)| *known == attribute.0);
                    if is_twice || self.attributes.len() == ATTRIBUTES_MAX {
                        return None;
                    }
                    self.attributes.push(attribute);
                }
                _ => return None,
            }
        };
        if !is_closed {
            self.open.push(name);
        }
        Some(Lexeme::Open { at: begins, name, is_plain, attributes: &self.attributes, is_closed })
    }

    fn attribute(&mut self) -> Option<Attribute<'t>> {
        // Nearly all attributes are values.
        let rest = self.text.as_bytes().get(self.at..)?;
        if let Some(rest) = rest.strip_prefix(VALUE) {
            let (begins, length) = (self.at + VALUE.len(), memchr(b'"', rest)?);
            self.at = begins + length + 1;
            return Some(("value", self.text.get(begins..begins + length)?));
        }
        let (name, _) = self.word()?;
        let [b'=', mark @ (b'"' | b'\''), rest @ ..] = self.text.as_bytes().get(self.at..)? else { return None };
        let (begins, length) = (self.at + 2, memchr(*mark, rest)?);
        self.at = begins + length + 1;
        Some((name, self.text.get(begins..begins + length)?))
    }

    /// A name, which begins with a letter.
    #[inline]
    fn word(&mut self) -> Option<Word<'t>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let mut seen = 0;
        let length = rest.iter().position(|byte| {
            let class = class(*byte) & (LETTER | OTHER);
            seen |= class;
            class == 0
        })?;
        rest.first().filter(|first| first.is_ascii_alphabetic())?;
        let word = self.text.get(self.at..self.at + length)?;
        self.at += length;
        Some((word, seen == LETTER))
    }

    /// Skips white space, and says whether there was some.
    #[inline]
    fn skip_space(&mut self) -> bool {
        let all = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let mut rest = all;
        while let Some((_, others)) = rest.split_first().filter(|(first, _)| class(**first) & SPACE != 0) {
            rest = others;
            // Most white space is the indentation of a line: eight blanks are skipped as one number.
            while let Some((_, others)) = rest.split_first_chunk().filter(|(blanks, _)| u64::from_ne_bytes(**blanks) == BLANKS) {
                rest = others;
            }
        }
        self.at += all.len() - rest.len();
        rest.len() < all.len()
    }
}
