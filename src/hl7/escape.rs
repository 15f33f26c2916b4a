//! Escapes: `\T\` is an ampersand (protocol rules, section 7).
//!
//! Undone exactly once, after splitting; done before joining. What is not an escape is text: a lone `\` (`1\2`, a
//! Windows path) and an unknown sequence stay as they are, letter for letter. Base64 must never come here.

use std::borrow::Cow;

use memchr::memchr;

use super::charset::Charset;
use super::header::Delimiters;

/// What a sequence between two escape characters means.
enum Meaning {
    /// It stands for this character.
    Letter(char),
    /// It stands for these characters (hexadecimal).
    Text(String),
    /// It only changed how the text looks.
    Nothing,
    /// A sequence of the standard that is kept as sent.
    Kept,
    /// No sequence at all: the escape character was a plain one.
    Unknown,
}

/// The text with escapes undone once, `\X…\` in `charset`.
pub fn unescape<'t>(text: &'t str, delimiters: &Delimiters, charset: Charset) -> Cow<'t, str> {
    let Some(escape) = delimiters.escape.filter(|escape| memchr(*escape, text.as_bytes()).is_some()) else {
        return Cow::Borrowed(text);
    };
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(char::from(escape)) {
        plain.push_str(before);
        rest = after;
        let Some((sequence, behind)) = after.split_once(char::from(escape)) else {
            plain.push(char::from(escape));
            break;
        };
        match meaning(sequence, delimiters, charset) {
            Meaning::Letter(letter) => plain.push(letter),
            Meaning::Text(text) => plain.push_str(&text),
            Meaning::Nothing => {}
            Meaning::Kept => {
                plain.push(char::from(escape));
                plain.push_str(sequence);
                plain.push(char::from(escape));
            }
            // The second escape character may open a sequence of its own.
            Meaning::Unknown => {
                plain.push(char::from(escape));
                continue;
            }
        }
        rest = behind;
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The byte of the first escape character that opens no known sequence.
pub(super) fn first_unpaired(text: &str, escape: u8, delimiters: &Delimiters) -> Option<usize> {
    let mut at = 0;
    loop {
        let opening = at + memchr(escape, text.as_bytes().get(at..)?)?;
        let rest = text.get(opening + 1..)?;
        let Some((sequence, _)) = rest.split_once(char::from(escape)) else { return Some(opening) };
        if matches!(meaning(sequence, delimiters, Charset::Unsaid), Meaning::Unknown) {
            return Some(opening);
        }
        at = opening + sequence.len() + 2;
    }
}

fn meaning(sequence: &str, delimiters: &Delimiters, charset: Charset) -> Meaning {
    let delimiter = |delimiter: Option<u8>| delimiter.map_or(Meaning::Unknown, |byte| Meaning::Letter(char::from(byte)));
    match sequence {
        "F" => delimiter(Some(delimiters.field)),
        "S" => delimiter(delimiters.component),
        "T" => delimiter(delimiters.sub),
        "R" => delimiter(delimiters.repetition),
        "E" => delimiter(delimiters.escape),
        "P" => delimiter(delimiters.truncation.or(Some(b'#'))),
        "H" | "N" => Meaning::Nothing,
        _ => match sequence.split_at_checked(1) {
            Some((".", command)) => formatting(command),
            Some(("X", digits)) if is_hexadecimal(digits) => hexadecimal(digits, charset),
            Some(("C" | "M", digits)) if is_hexadecimal(digits) => Meaning::Kept,
            Some(("Z", local)) if !local.is_empty() && local.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Meaning::Kept,
            _ => Meaning::Unknown,
        },
    }
}

/// `.br`, `.sp2`, `.in+4`: commands of FT become a new line or a blank.
fn formatting(command: &str) -> Meaning {
    let Some((name, number)) = command.split_at_checked(2) else { return Meaning::Unknown };
    let digits = number.trim_ascii_start().trim_start_matches(['+', '-']);
    let is_number = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    match name {
        "br" | "sp" | "ce" if is_number => Meaning::Letter('\n'),
        "sk" | "in" | "ti" | "nf" | "fi" if is_number => Meaning::Letter(' '),
        _ => Meaning::Unknown,
    }
}

fn is_hexadecimal(digits: &str) -> bool {
    !digits.is_empty() && digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Bytes of the message's character set. What is not printable is kept as sent.
fn hexadecimal(digits: &str, charset: Charset) -> Meaning {
    let bytes: Option<Vec<u8>> =
        digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    let text = bytes.map(|bytes| charset.decode(&bytes).text);
    match text {
        Some(text) if !text.chars().any(|letter| letter.is_control() || letter == char::REPLACEMENT_CHARACTER) => Meaning::Text(text),
        _ => Meaning::Kept,
    }
}

/// The text as it may stand in a field: delimiters escaped, new lines as `\.br\`, other control characters as blanks.
/// Where MSH-2 names no escape character, a delimiter becomes a blank, since it cannot be said.
pub fn escape<'t>(text: &'t str, delimiters: &Delimiters) -> Cow<'t, str> {
    let Delimiters { field, component, repetition, escape, sub, truncation } = *delimiters;
    let special = [(Some(field), "F"), (component, "S"), (repetition, "R"), (escape, "E"), (sub, "T"), (truncation, "P")];
    let sequence = |byte: u8| special.iter().find(|(delimiter, _)| *delimiter == Some(byte)).map(|(_, sequence)| *sequence);
    if text.bytes().all(|byte| sequence(byte).is_none() && 0x20 <= byte) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let found = match letter {
            '\r' if letters.peek() == Some(&'\n') => continue,
            '\r' | '\n' => Some(".br"),
            _ => u8::try_from(letter).ok().and_then(sequence),
        };
        match (found, escape) {
            (Some(sequence), Some(escape)) => {
                escaped.extend([char::from(escape)].into_iter().chain(sequence.chars()).chain([char::from(escape)]))
            }
            (Some(_), None) => escaped.push(' '),
            (None, _) => escaped.push(if letter.is_ascii_control() && letter != '\u{7f}' { ' ' } else { letter }),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(escaped: &str, plain: &str) {
        assert_eq!(unescape(escaped, &Delimiters::default(), Charset::Utf8), plain, "{escaped}");
    }

    #[test]
    fn each_delimiter_has_its_letter() {
        check(r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f");
        check(r"\T\", "&");
        check(r"\P\", "#");
    }

    #[test]
    fn letters_of_any_length_may_stand_before_an_escape() {
        check(r"日本\E\語", r"日本\語");
        check(r"é\T\x", "é&x");
        check(r"日本\T\x", "日本&x");
    }

    #[test]
    fn escapes_are_undone_exactly_once() {
        check(r"\E\T\E\", r"\T\");
        check(r"\E\E\E\", r"\E\");
    }

    #[test]
    fn what_is_no_escape_is_kept_letter_for_letter() {
        for text in
            [r"1\2", r"C:\temp and more", r"trailing \", r"\", r"\\", r"\Q\", r"a\b\c", r"\X4\", r"\XZZ\", r"\.xx\", r"\日\", r"\.日\"]
        {
            check(text, text);
        }
        check(r"C:\temp\T\more", r"C:\temp&more");
        check(r"1\2 \T\ 3", r"1\2 & 3");
    }

    #[test]
    fn hexadecimal_is_text_of_the_message_charset_when_printable() {
        check(r"\X41\", "A");
        check(r"\X4142c3ab\", "ABë");
        check(r"\X0D0A\", r"\X0D0A\");
        let latin = Charset::of_label("8859/1").unwrap();
        assert_eq!(unescape(r"Zo\XEB\", &Delimiters::default(), latin), "Zoë");
    }

    #[test]
    fn formatting_becomes_lines_and_blanks_and_highlighting_vanishes() {
        check(r"a\.br\b\.sp2\c\.ce\d", "a\nb\nc\nd");
        check(r"a\.sk 3\b\.in+4\c\.ti-2\d\.nf\e\.fi\f", "a b c d e f");
        check(r"a\H\b\N\c", "abc");
    }

    #[test]
    fn charset_and_local_escapes_are_kept() {
        for text in [r"\C2842\x", r"\M254243\x", r"\Z123\x"] {
            check(text, text);
        }
    }

    #[test]
    fn an_unavailable_delimiter_means_nothing() {
        let short = Delimiters::read(b'|', b"^~\\").unwrap();
        assert_eq!(unescape(r"a\T\b", &short, Charset::Utf8), r"a\T\b");
        let none = Delimiters::read(b'|', b"^").unwrap();
        assert_eq!(unescape(r"a\F\b", &none, Charset::Utf8), r"a\F\b");
        assert_eq!(escape("a|b", &none), "a b");
    }

    #[test]
    fn texts_are_escaped_so_that_no_frame_or_segment_breaks() {
        let standard = Delimiters::default();
        assert_eq!(escape("plain", &standard), Cow::Borrowed("plain"));
        assert_eq!(escape("a|b^c&d~e\\f#", &standard), r"a\F\b\S\c\T\d\R\e\E\f#");
        assert_eq!(escape("one\r\ntwo\nthree\rfour", &standard), r"one\.br\two\.br\three\.br\four");
        assert_eq!(escape("\u{b}a\u{1c}b", &standard), " a b");
    }

    #[test]
    fn the_first_escape_character_that_opens_nothing_is_found() {
        let find = |text| first_unpaired(text, b'\\', &Delimiters::default());
        assert_eq!(find(r"a\T\b\X0D\"), None);
        assert_eq!(find(r"a\T\b\c"), Some(5));
        assert_eq!(find(r"1\2"), Some(1));
    }

    proptest! {
        #[test]
        fn escaping_is_undone_by_unescaping(text in r"[|^~\\&#a-zA-Z0-9é語 .\n]{0,40}", encoding in prop::sample::select(vec!["^~\\&", "^~\\&#", "^&~\\"])) {
            let delimiters = Delimiters::read(b'|', encoding.as_bytes()).unwrap();
            let escaped = escape(&text, &delimiters).into_owned();
            prop_assert!(!escaped.contains(['|', '\n', '\r']));
            prop_assert_eq!(unescape(&escaped, &delimiters, Charset::Utf8), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), more in r"[\\XCZ.FSTREbrsp0-9é]{0,30}") {
            unescape(&text, &Delimiters::default(), Charset::Unsaid);
            unescape(&more, &Delimiters::default(), Charset::Unsaid);
            first_unpaired(&more, b'\\', &Delimiters::default());
        }
    }
}
