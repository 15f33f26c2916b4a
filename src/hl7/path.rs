//! `PID-3[4.1 = "NHS"].1`: where in a message. Parsed strictly once; a typo is an error with its place.
//!
//! ```text
//! path      = "$" name parts
//!           | segment [ sel ] [ ( "-" | "." ) field [ sel ] parts ]
//! parts     = [ "." component [ "." sub-component ] ]
//! sel       = "[" ( number | "last" | "*" | condition ) "]"
//! condition = number { "." number } ( "=" | "!=" ) '"' text '"'
//! ```
//!
//! All numbers count from 1. Blanks are allowed inside square brackets only. In a text `\"` is a quotation mark and
//! `\\` a backslash. What a path finds is in [`find`](super::Path::find).

use std::fmt;
use std::ops::Range;

/// Which of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Number from 1.
    Number(usize),
    /// The last.
    Last,
    /// All of them.
    All,
    /// Those whose element equals (or differs from) a text.
    Where(Condition),
}

/// `4.1 = "NHS"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Numbers relative to what is selected: `[field, component, sub]` for a segment, `[component, sub]` for a repetition.
    pub element: Vec<usize>,
    /// `=` or `!=`.
    pub equal: bool,
    /// Compared with the unescaped value.
    pub text: String,
}

/// What a path starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A segment by id, with a selector.
    Segment {
        /// `PID`.
        id: String,
        /// Which of them; absent: see [`Path::find`].
        selector: Option<Selector>,
    },
    /// A name of `[let]`: `$name`.
    Let(String),
}

/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Segment or let-name.
    pub root: Root,
    /// Field from 1, with a selector among its repetitions. Absent for a whole segment and after a let-name.
    pub field: Option<(usize, Option<Selector>)>,
    /// Component from 1.
    pub component: Option<usize>,
    /// Sub-component from 1.
    pub sub: Option<usize>,
}

/// Why a text is no path: where in the text, what, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    /// Bytes of the text that are wrong.
    pub span: Range<usize>,
    /// Lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Path {
    /// Parses `PID-3[4.1 = "NHS"].1` and also `PID.3.1`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut reader = Reader { text, at: 0 };
        let path = if reader.takes("$") { reader.let_path()? } else { reader.segment_path()? };
        reader.end()?;
        Ok(path)
    }
}

/// What kind of thing a number counts, for the text of an error.
#[derive(Clone, Copy)]
enum Counted {
    Field,
    Component,
    Sub,
    Repetition,
    Segment,
}

impl Counted {
    fn word(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Component => "component",
            Self::Sub => "sub-component",
            Self::Repetition => "repetition",
            Self::Segment => "segment",
        }
    }
}

/// Reads a path from left to right.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn takes(&mut self, expected: &str) -> bool {
        let is_there = self.rest().starts_with(expected);
        if is_there {
            self.at += expected.len();
        }
        is_there
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|letter| !wanted(letter)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        self.take_while(|letter| letter == ' ' || letter == '\t');
    }

    /// An error at the next character, or just past the end.
    fn fail_here<T>(&self, message: impl Into<String>, help: Option<String>) -> Result<T, PathError> {
        let length = self.next().map_or(0, char::len_utf8);
        Err(PathError { span: self.at..self.at + length, message: message.into(), help })
    }

    fn fail_from<T>(&self, start: usize, message: impl Into<String>, help: Option<String>) -> Result<T, PathError> {
        Err(PathError { span: start..self.at, message: message.into(), help })
    }

    fn let_path(&mut self) -> Result<Path, PathError> {
        let name = self.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
            return self.fail_here("expected a name of [let]", Some("names are written as in `$name.1`".into()));
        }
        if self.next() == Some('-') {
            return self.fail_here("a let-name already is a repetition", Some(format!("components follow a dot: `${name}.1`")));
        }
        let (component, sub) = self.parts()?;
        Ok(Path { root: Root::Let(name.to_owned()), field: None, component, sub })
    }

    fn segment_path(&mut self) -> Result<Path, PathError> {
        let id = self.segment_id()?;
        let selector = self.selector(Counted::Segment)?;
        let root = Root::Segment { id, selector };
        if !self.takes("-") && !self.takes(".") {
            return Ok(Path { root, field: None, component: None, sub: None });
        }
        let field = self.number(Counted::Field)?;
        let selector = self.selector(Counted::Repetition)?;
        let (component, sub) = self.parts()?;
        Ok(Path { root, field: Some((field, selector)), component, sub })
    }

    fn segment_id(&mut self) -> Result<String, PathError> {
        let start = self.at;
        let id = self.take_while(|letter| letter.is_ascii_alphanumeric());
        let upper = id.to_ascii_uppercase();
        let is_name = id.len() == 3 && upper.starts_with(|letter: char| letter.is_ascii_uppercase());
        match (is_name, id == upper) {
            (true, true) => Ok(upper),
            (true, false) => self.fail_from(start, "a segment is named in capitals", Some(format!("write `{upper}`"))),
            (false, _) if id.is_empty() => self.fail_here("expected a segment", Some("a path begins as in `PID-3.1` or `$name.1`".into())),
            (false, _) => self.fail_from(start, "a segment is named by three capitals or digits", Some("as in `PID-3.1`".into())),
        }
    }

    /// `.component.sub`, either or none.
    fn parts(&mut self) -> Result<(Option<usize>, Option<usize>), PathError> {
        if !self.takes(".") {
            return Ok((None, None));
        }
        let component = self.number(Counted::Component)?;
        if !self.takes(".") {
            return Ok((Some(component), None));
        }
        Ok((Some(component), Some(self.number(Counted::Sub)?)))
    }

    fn number(&mut self, counted: Counted) -> Result<usize, PathError> {
        let word = counted.word();
        let start = self.at;
        let digits = self.take_while(|letter| letter.is_ascii_digit());
        if digits.is_empty() {
            return self.fail_here(format!("expected the number of a {word}"), Some("elements are numbered, as in `PID-3.1`".into()));
        }
        if digits.bytes().all(|digit| digit == b'0') {
            return self.fail_from(start, format!("{word}s count from 1"), Some(format!("the first {word} is number 1")));
        }
        if digits.starts_with('0') {
            return self.fail_from(start, "a number has no leading zeros", Some(format!("write `{}`", digits.trim_start_matches('0'))));
        }
        match digits.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.fail_from(start, format!("no message has so many {word}s"), None),
        }
    }

    fn selector(&mut self, selected: Counted) -> Result<Option<Selector>, PathError> {
        if self.next() == Some('(') {
            return self.fail_here("unexpected text after the path", Some("selectors stand in square brackets: `PID-5[2]`".into()));
        }
        if !self.takes("[") {
            return Ok(None);
        }
        self.skip_blanks();
        let selector = match self.next() {
            Some('*') => {
                self.at += 1;
                Selector::All
            }
            Some(letter) if letter.is_ascii_digit() => self.number_or_condition(selected)?,
            _ => self.last()?,
        };
        self.skip_blanks();
        if self.takes("]") {
            return Ok(Some(selector));
        }
        self.fail_here("expected `]`", Some("a selector is a number, `last`, `*` or a condition such as `4.1 = \"NHS\"`".into()))
    }

    fn last(&mut self) -> Result<Selector, PathError> {
        let start = self.at;
        let word = self.take_while(|letter| letter.is_alphanumeric() || letter == '_');
        let help = || Some("write a number, `last`, `*` or a condition such as `4.1 = \"NHS\"`".to_owned());
        match word {
            "last" => Ok(Selector::Last),
            "" => self.fail_here("expected a selector", help()),
            _ => self.fail_from(start, "unknown selector", help()),
        }
    }

    fn number_or_condition(&mut self, selected: Counted) -> Result<Selector, PathError> {
        let start = self.at;
        let levels: &[Counted] = match selected {
            Counted::Segment => &[Counted::Field, Counted::Component, Counted::Sub],
            _ => &[Counted::Component, Counted::Sub],
        };
        let first = self.take_while(|letter| letter.is_ascii_digit());
        self.at = start;
        // Only what follows the number says what it counts.
        let is_condition = self.rest().get(first.len()..).is_some_and(|after| after.trim_start().starts_with(['.', '=', '!']));
        if !is_condition {
            return Ok(Selector::Number(self.number(selected)?));
        }
        let mut element = vec![];
        for level in levels {
            element.push(self.number(*level)?);
            if !self.takes(".") {
                return Ok(Selector::Where(self.condition(element)?));
            }
        }
        self.fail_here("an element of a condition ends at the sub-component", None)
    }

    fn condition(&mut self, element: Vec<usize>) -> Result<Condition, PathError> {
        self.skip_blanks();
        let equal = if self.takes("!=") {
            false
        } else if self.takes("==") {
            self.at -= 2;
            return self.fail_here("`==` is not a comparison here", Some("write `=` or `!=`".into()));
        } else if self.takes("=") {
            true
        } else {
            return self.fail_here("expected `=` or `!=`", None);
        };
        self.skip_blanks();
        Ok(Condition { element, equal, text: self.quoted()? })
    }

    fn quoted(&mut self) -> Result<String, PathError> {
        let start = self.at;
        if !self.takes("\"") {
            let word = self.take_while(|letter| letter != ']').trim().trim_matches('\'').to_owned();
            let help = if word.is_empty() { "write it in quotation marks".to_owned() } else { format!("write `\"{word}\"`") };
            return self.fail_from(start, "expected a quoted text", Some(help));
        }
        let mut text = String::new();
        let mut letters = self.rest().char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => match letters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    _ => {
                        self.at += at;
                        return self.fail_here("a lone backslash", Some(r#"write `\\`, or `\"` for a quotation mark"#.into()));
                    }
                },
                _ => text.push(letter),
            }
        }
        self.at = self.text.len();
        self.fail_from(start, "the text does not end", Some("close it with `\"`".into()))
    }

    fn end(&mut self) -> Result<(), PathError> {
        let start = self.at;
        if self.rest().is_empty() {
            return Ok(());
        }
        let help = match self.next() {
            Some('.') => Some("a path ends at the sub-component".to_owned()),
            Some('-') => Some("only a field follows `-`; components follow `.`".to_owned()),
            Some('[') => Some("only a segment and a field can have a selector".to_owned()),
            Some('(') => Some("selectors stand in square brackets: `PID-5[2]`".to_owned()),
            Some(letter) if letter.is_whitespace() => Some("blanks are allowed inside square brackets only".to_owned()),
            _ => None,
        };
        self.at = self.text.len();
        self.fail_from(start, "unexpected text after the path", help)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Let(name) => write!(f, "${name}")?,
            Root::Segment { id, selector } => write!(f, "{id}{}", Bracketed(selector.as_ref()))?,
        }
        if let Some((field, selector)) = &self.field {
            write!(f, "-{field}{}", Bracketed(selector.as_ref()))?;
        }
        for part in [self.component, self.sub].into_iter().flatten() {
            write!(f, ".{part}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Last => f.write_str("last"),
            Self::All => f.write_str("*"),
            Self::Where(Condition { element, equal, text }) => {
                let element: Vec<String> = element.iter().map(usize::to_string).collect();
                let operator = if *equal { "=" } else { "!=" };
                write!(f, "{} {operator} \"{}\"", element.join("."), text.replace('\\', r"\\").replace('"', r#"\""#))
            }
        }
    }
}

struct Bracketed<'a>(Option<&'a Selector>);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |selector| write!(f, "[{selector}]"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_shown_as_it_is_written() {
        for text in [
            "PID",
            "PID-3",
            "PID-3.1",
            "PID-3.4.1",
            "PID-3[2].1",
            "PID-5[last].1",
            "PID-3[*]",
            "OBX[2]-5.1",
            "OBX[last]",
            "NTE[*]-3",
            r#"PID-3[4.1 = "NHS"].1"#,
            r#"PID-3[5 != "PI"]"#,
            r#"OBX[3.1 = "STATUS"]-5.1"#,
            r#"OBX[3.1.2 = "a]b"]-5[7 = ""]"#,
            r#"NTE[3 = "say \"\\\""]-1"#,
            "$name",
            "$name.1.1",
            "$birth_name.2",
            "ZU7-3",
        ] {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        for (text, shown) in [
            ("PID.3.1", "PID-3.1"),
            ("PID.3[2].1.1", "PID-3[2].1.1"),
            (r#"PID-3[4.1="NHS"].1"#, r#"PID-3[4.1 = "NHS"].1"#),
            (r#"OBX[ 3.1  !=  "X" ].5"#, r#"OBX[3.1 != "X"]-5"#),
            ("PID-3[ 2 ]", "PID-3[2]"),
        ] {
            assert_eq!(Path::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_path_compiles_to_numbers() {
        let path = Path::parse(r#"OBX[3.1 = "STATUS"]-5[last].1.2"#).unwrap();
        let selector = Selector::Where(Condition { element: vec![3, 1], equal: true, text: "STATUS".into() });
        assert_eq!(path.root, Root::Segment { id: "OBX".into(), selector: Some(selector) });
        assert_eq!((path.field, path.component, path.sub), (Some((5, Some(Selector::Last))), Some(1), Some(2)));
    }

    /// The wrong part of the text, what is wrong, and a word of the help.
    #[track_caller]
    fn check_wrong(text: &str, span: &str, message: &str, help: &str) {
        let error = Path::parse(text).unwrap_err();
        assert_eq!((&text[error.span.clone()], error.message.as_str()), (span, message), "{text} at {:?}", error.span);
        assert!(error.help.clone().unwrap_or_default().contains(help), "{text}: {:?}", error.help);
    }

    #[test]
    fn everything_counts_from_one() {
        check_wrong("PID-0", "0", "fields count from 1", "number 1");
        check_wrong("PID-3.0", "0", "components count from 1", "number 1");
        check_wrong("PID-3.1.0", "0", "sub-components count from 1", "");
        check_wrong("PID-3[0]", "0", "repetitions count from 1", "");
        check_wrong("OBX[0]-3", "0", "segments count from 1", "");
        check_wrong(r#"OBX[0.1 = "x"]-3"#, "0", "fields count from 1", "");
        check_wrong("PID-03", "03", "a number has no leading zeros", "write `3`");
    }

    #[test]
    fn a_typo_is_an_error_at_its_place() {
        check_wrong("", "", "expected a segment", "PID-3.1");
        check_wrong("pid-3", "pid", "a segment is named in capitals", "write `PID`");
        check_wrong("PI-3", "PI", "a segment is named by three capitals or digits", "");
        check_wrong("PIDX-3", "PIDX", "a segment is named by three capitals or digits", "");
        check_wrong("3-1", "3", "a segment is named by three capitals or digits", "");
        check_wrong("PID-", "", "expected the number of a field", "");
        check_wrong("PID-x", "x", "expected the number of a field", "numbered");
        check_wrong("PID-3.x", "x", "expected the number of a component", "");
        check_wrong("PID-22.1.2.9", ".9", "unexpected text after the path", "ends at the sub-component");
        check_wrong("PID-3foo", "foo", "unexpected text after the path", "");
        check_wrong("PID-3.1 ", " ", "unexpected text after the path", "blanks");
        check_wrong(" PID-3", " ", "expected a segment", "");
        check_wrong("PID-5(2).1", "(", "unexpected text after the path", "PID-5[2]");
        check_wrong("PID-3-1", "-1", "unexpected text after the path", "components follow `.`");
        check_wrong("PID-3.1[2]", "[2]", "unexpected text after the path", "only a segment and a field");
        check_wrong("PID-3[1][2]", "[2]", "unexpected text after the path", "");
        check_wrong("PID-é", "é", "expected the number of a field", "");
    }

    #[test]
    fn a_selector_is_written_one_way() {
        check_wrong("PID-3[5 = PI].1", "PI", "expected a quoted text", "write `\"PI\"`");
        check_wrong("PID-3[5 = 'PI'].1", "'PI'", "expected a quoted text", "write `\"PI\"`");
        check_wrong("PID-3[5 = ].1", "", "expected a quoted text", "quotation marks");
        check_wrong("PID-3[5 == \"PI\"].1", "=", "`==` is not a comparison here", "write `=`");
        check_wrong("PID-3[5.1 < \"PI\"].1", "<", "expected `=` or `!=`", "");
        check_wrong("PID-3[5 \"PI\"].1", "\"", "expected `]`", "condition");
        check_wrong("PID-3[1.2.3 = \"PI\"]", "3", "an element of a condition ends at the sub-component", "");
        check_wrong("PID-3[", "", "expected a selector", "last");
        check_wrong("PID-3[LAST]", "LAST", "unknown selector", "`last`");
        check_wrong("PID-3[first]", "first", "unknown selector", "`last`");
        check_wrong("PID-3[2", "", "expected `]`", "");
        check_wrong("PID-3[-1]", "-", "expected a selector", "");
        check_wrong("PID-3[5 = \"PI].1", "\"PI].1", "the text does not end", "close it");
        check_wrong(r#"PID-3[5 = "a\b"].1"#, r"\", "a lone backslash", "");
    }

    #[test]
    fn a_let_name_already_is_a_repetition() {
        check_wrong("$", "", "expected a name of [let]", "$name.1");
        check_wrong("$1", "", "expected a name of [let]", "");
        check_wrong("$name-5", "-", "a let-name already is a repetition", "`$name.1`");
        check_wrong("$name[1]", "[1]", "unexpected text after the path", "only a segment and a field");
        check_wrong("$name.1.1.1", ".1", "unexpected text after the path", "");
    }

    #[test]
    fn a_number_without_end_is_an_error_and_no_panic() {
        check_wrong("PID.99999999999999999999999", "99999999999999999999999", "no message has so many fields", "");
        check_wrong("PID-3[99999999999999999999999]", "99999999999999999999999", "no message has so many repetitions", "");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_spans_lie_in_it(any_text in any::<String>(), near in r#"\$?[A-Za-z]{0,3}[\[\]0-9."=!*\-\\ aélst$]{0,24}"#) {
            for text in [any_text, near] {
                match Path::parse(&text) {
                    Ok(path) => prop_assert_eq!(Path::parse(&path.to_string()), Ok(path)),
                    Err(error) => prop_assert!(text.get(error.span).is_some()),
                }
            }
        }
    }
}
