//! Bounded JSON.
//!
//! An own reader of about a screen, because it must do what `serde_json` does not: keep a fraction as it was written, refuse a key
//! that is given twice, and stop at a depth and a count of our choice before anything is allocated.

use std::collections::HashSet;

use bumpalo::Bump;
use serde_json::Value;

use super::item::whole_number;
use super::{Item, Limits, Member, Problem, text_of};

/// Names of one object that are looked through one by one; where there are more, they are hashed.
const NAMES_MAX: usize = 24;

/// Reads JSON; numbers with a fraction or exponent become strings, duplicate keys and depth beyond the limit are problems.
///
/// # Errors
///
/// [`Problem`] with `line L, column C`: `structure` for what is no JSON, `not-supported` for another encoding than UTF-8,
/// `too-long` for more depth or elements than `limits` allow; every value counts as an element.
pub fn read_json(bytes: &[u8], limits: &Limits) -> Result<Value, Problem> {
    read_json_in(bytes, limits, &Bump::new()).map(|item| item.to_value())
}

/// [`read_json`] to a tree that borrows its texts from the document, and lives as long as the arena.
///
/// # Errors
///
/// As [`read_json`].
pub fn read_json_in<'t>(bytes: &'t [u8], limits: &'t Limits, arena: &'t Bump) -> Result<Item<'t>, Problem> {
    let text = text_of(bytes)?;
    let mut reader = Reader { text, at: 0, nodes: 0, limits, arena, members: Vec::new(), items: Vec::new() };
    let value = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.problem("text after the end of the document")),
    }
}

/// The value of a JSON number: an integer stays a number, anything else (fraction, exponent, more than 64 bits) is a text as written.
/// `None` if `text` is no JSON number.
pub(super) fn number(text: &str) -> Option<Item<'_>> {
    let is_whole = is_number(text)? && text != "-0" && (text.len() <= 18 || whole_number(text).is_some());
    Some(if is_whole { Item::Number(text) } else { Item::Text(text) })
}

/// Whether a JSON number is an integer; `None` if it is no JSON number.
fn is_number(text: &str) -> Option<bool> {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let (whole, mut rest) = digits(rest);
    if whole.is_empty() || (whole.starts_with('0') && whole.len() > 1) {
        return None;
    }
    let mut integer = true;
    if let Some(after) = rest.strip_prefix('.') {
        let (fraction, after) = digits(after);
        (integer, rest) = (false, after);
        if fraction.is_empty() {
            return None;
        }
    }
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        let (exponent, after) = digits(after.strip_prefix(['+', '-']).unwrap_or(after));
        (integer, rest) = (false, after);
        if exponent.is_empty() {
            return None;
        }
    }
    rest.is_empty().then_some(integer)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    nodes: usize,
    limits: &'t Limits,
    arena: &'t Bump,
    /// The members so far of all objects that are open, those of the innermost last.
    members: Vec<Member<'t>>,
    /// The items so far of all lists that are open.
    items: Vec<Item<'t>>,
}

impl<'t> Reader<'t> {
    fn value(&mut self, depth: usize) -> Result<Item<'t>, Problem> {
        self.skip_space();
        self.nodes += 1;
        if self.limits.nodes_max < self.nodes {
            return Err(self.too_long(format!("more than {} elements", self.limits.nodes_max)));
        }
        match self.peek() {
            Some(b'{') => self.object(self.deeper(depth)?),
            Some(b'[') => self.array(self.deeper(depth)?),
            Some(b'"') => Ok(Item::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Item::Bool(true)),
            Some(b'f') => self.word("false", Item::Bool(false)),
            Some(b'n') => self.word("null", Item::Null),
            Some(_) => Err(self.problem("a JSON value was expected")),
            None => Err(self.ended()),
        }
    }

    /// The depth inside a bracket that opens at `depth`, before anything recurses into it.
    fn deeper(&self, depth: usize) -> Result<usize, Problem> {
        if self.limits.depth() <= depth {
            return Err(self.too_long(format!("nested deeper than {}", self.limits.depth())));
        }
        Ok(depth + 1)
    }

    fn object(&mut self, depth: usize) -> Result<Item<'t>, Problem> {
        self.at += 1;
        self.skip_space();
        if self.take(b'}') {
            return Ok(Item::Object(&[]));
        }
        let (first, mut names) = (self.members.len(), None);
        loop {
            self.skip_space();
            let key_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.expected("a name in double quotes was expected"));
            }
            let key = self.string()?;
            if self.is_twice(key, first, &mut names) {
                return Err(Problem::in_text("structure", self.text, key_at, "this name is given twice in one object"));
            }
            self.skip_space();
            if !self.take(b':') {
                return Err(self.expected("a colon was expected after the name"));
            }
            let value = self.value(depth)?;
            self.members.push((key, value));
            self.skip_space();
            if self.take(b'}') {
                let members = self.arena.alloc_slice_copy(self.members.get(first..).unwrap_or_default());
                self.members.truncate(first);
                return Ok(Item::Object(members));
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or `}` was expected"));
            }
        }
    }

    /// Whether an object whose members begin at `first` has this name already.
    fn is_twice(&self, name: &'t str, first: usize, names: &mut Option<HashSet<&'t str>>) -> bool {
        let members = self.members.get(first..).unwrap_or_default();
        if members.len() <= NAMES_MAX {
            return members.iter().any(|(known, _)| *known == name);
        }
        !names.get_or_insert_with(|| members.iter().map(|(known, _)| *known).collect()).insert(name)
    }

    fn array(&mut self, depth: usize) -> Result<Item<'t>, Problem> {
        self.at += 1;
        self.skip_space();
        if self.take(b']') {
            return Ok(Item::Array(&[]));
        }
        let first = self.items.len();
        loop {
            let item = self.value(depth)?;
            self.items.push(item);
            self.skip_space();
            if self.take(b']') {
                let items = self.arena.alloc_slice_copy(self.items.get(first..).unwrap_or_default());
                self.items.truncate(first);
                return Ok(Item::Array(items));
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or `]` was expected"));
            }
        }
    }

    fn number(&mut self) -> Result<Item<'t>, Problem> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')).unwrap_or(rest.len());
        let value = rest.get(..end).and_then(number).ok_or_else(|| self.problem("this is not a JSON number"))?;
        self.at += end;
        Ok(value)
    }

    fn word(&mut self, word: &str, value: Item<'t>) -> Result<Item<'t>, Problem> {
        if !self.text.get(self.at..).unwrap_or_default().starts_with(word) {
            return Err(self.expected("a JSON value was expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// A text: where it has no escapes, as it stands in the document.
    fn string(&mut self) -> Result<&'t str, Problem> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < b' ').unwrap_or(rest.len());
            let piece = rest.get(..plain).unwrap_or_default();
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    if string.is_empty() {
                        return Ok(piece);
                    }
                    string.push_str(piece);
                    return Ok(self.arena.alloc_str(&string));
                }
                Some(b'\\') => {
                    string.push_str(piece);
                    string.push(self.escape()?);
                }
                Some(_) => return Err(self.problem("a control character inside a text; write it as an escape")),
                None => return Err(self.ended()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Problem> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let Some(kind) = bytes.get(self.at + 1) else { return Err(self.ended()) };
        self.at += 2;
        let character = match kind {
            b'"' | b'\\' | b'/' => char::from(*kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape().ok_or_else(|| self.escape_problem(start)),
            _ => return Err(self.escape_problem(start)),
        };
        Ok(character)
    }

    /// The character of the four (or, for a surrogate pair, ten) characters after `\u`.
    fn unicode_escape(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        let rest = self.text.get(self.at..)?;
        rest.starts_with("\\u").then_some(())?;
        self.at += 2;
        let second = self.hex4()?;
        (0xDC00..0xE000).contains(&second).then_some(())?;
        char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))
    }

    fn hex4(&mut self) -> Option<u32> {
        let hex = self.text.get(self.at..self.at + 4)?;
        hex.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
        self.at += 4;
        u32::from_str_radix(hex, 16).ok()
    }

    fn escape_problem(&self, at: usize) -> Problem {
        Problem::in_text("structure", self.text, at, "this is not an escape that JSON has")
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expected(&self, what: &str) -> Problem {
        if self.peek().is_none() { self.ended() } else { self.problem(what) }
    }

    fn ended(&self) -> Problem {
        Problem::in_text("structure", self.text, self.text.len(), "the document ends too early")
    }

    fn problem(&self, message: &str) -> Problem {
        Problem::in_text("structure", self.text, self.at, message)
    }

    fn too_long(&self, message: String) -> Problem {
        Problem::in_text("too-long", self.text, self.at, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Value, String> {
        read_json(text.as_bytes(), &Limits::default()).map_err(|problem| problem.to_string())
    }

    fn fails(text: &str, error: &str) {
        assert_eq!(read(text), Err(error.to_owned()), "{text}");
    }

    #[test]
    fn fractions_are_kept_as_they_were_written_and_integers_stay_numbers() {
        let tree =
            read(r#"{"a": 3.50, "b": 3500, "c": 1e3, "d": -0, "e": 18446744073709551615, "f": 123456789012345678901, "g": -7}"#).unwrap();
        let expected = serde_json::json!({
            "a": "3.50", "b": 3500, "c": "1e3", "d": "-0", "e": 18446744073709551615u64, "f": "123456789012345678901", "g": -7
        });
        assert_eq!(tree, expected);
    }

    #[test]
    fn texts_are_read_as_json_says() {
        assert_eq!(read(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 é""#).unwrap(), "\"\\/\u{8}\u{c}\n\r\té😀 é");
        assert_eq!(read("[true, false, null, {}, []]").unwrap(), serde_json::json!([true, false, null, {}, []]));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        fails("{\"a\": 1,\n \"a\": 2}", "this name is given twice in one object at line 2, column 2");
        fails(r#"{"a": {"b": "#, "the document ends too early at line 1, column 13");
        fails(r#"{"a" 1}"#, "a colon was expected after the name at line 1, column 6");
        fails(r#"{"a": 1,}"#, "a name in double quotes was expected at line 1, column 9");
        fails("[1 2]", "a comma or `]` was expected at line 1, column 4");
        fails("{} x", "text after the end of the document at line 1, column 4");
        fails("[01]", "this is not a JSON number at line 1, column 2");
        fails("[1.]", "this is not a JSON number at line 1, column 2");
        fails("nul", "a JSON value was expected at line 1, column 1");
        fails(r#"["\x"]"#, "this is not an escape that JSON has at line 1, column 3");
        fails(r#"["\ud83d"]"#, "this is not an escape that JSON has at line 1, column 3");
        fails("[\"a\nb\"]", "a control character inside a text; write it as an escape at line 1, column 4");
    }

    #[test]
    fn depth_is_refused_before_it_is_entered() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(64)).is_ok(), "exactly the limit");
        fails(&nested(65), "nested deeper than 64 at line 1, column 65");
        fails(&nested(10_000), "nested deeper than 64 at line 1, column 65");
        fails(&"[".repeat(1 << 20), "nested deeper than 64 at line 1, column 65");
        fails(&"{\"a\":".repeat(10_000), "nested deeper than 64 at line 1, column 321");
        let generous = Limits { depth_max: usize::MAX, ..Limits::default() };
        assert!(read_json(nested(super::super::DEPTH_CAP + 1).as_bytes(), &generous).is_err(), "the cap holds");
    }

    #[test]
    fn elements_are_counted() {
        let limits = Limits { nodes_max: 4, ..Limits::default() };
        assert!(read_json(b"[1, 2, 3]", &limits).is_ok(), "the array and three numbers");
        let problem = read_json(b"[1, 2, 3, 4]", &limits).unwrap_err();
        assert_eq!((problem.code, problem.message.as_str()), ("too-long", "more than 4 elements"));
    }

    #[test]
    fn every_truncation_of_a_document_is_refused() {
        let whole = r#"{"resourceType": "Patient", "multipleBirthInteger": 2, "name": [{"family": "Zo\u00eb"}], "active": true}"#;
        for cut in 0..whole.len() {
            let problem = read_json(&whole.as_bytes()[..cut], &Limits::default()).unwrap_err();
            assert!(problem.location.starts_with("line 1, column "), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = read_json(&bytes, &Limits::default());
        }

        #[test]
        fn reading_text_that_looks_like_json_never_panics(text in r#"[\[\]{}":,0-9eE.+\\u dtrulnfas-]{0,40}"#) {
            let _ = read_json(text.as_bytes(), &Limits::default());
        }

        #[test]
        fn what_serde_json_accepts_reads_the_same(text in r#"[\[\]{}":,0-9 ab]{0,24}"#) {
            // Ours is stricter in one thing only: a name given twice.
            if let Ok(ours) = read_json(text.as_bytes(), &Limits::default()) {
                let theirs: Value = serde_json::from_str(&text).expect("ours accepts nothing that is no JSON");
                if !text.contains(|sign: char| sign.is_ascii_digit()) {
                    prop_assert_eq!(ours, theirs);
                }
            }
        }
    }
}
