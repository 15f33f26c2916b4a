//! Text to path: a reader that knows where it is, so that every mistake is shown where the admin made it.

use super::{Path, PathError};
use std::ops::Range;

/// Where a path begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// At the node the path is asked of, or at the root if it begins with the root's type.
    Tree,
    /// `$this`.
    This,
    /// `$name`.
    Let(String),
}

/// One step from nodes to nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: StepKind,
    /// Where it is written.
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StepKind {
    Name(String),
    /// From 0, though written from 1.
    Index(usize),
    Where(Condition),
    OfType(String),
    First,
    Last,
    Exists(Option<Condition>),
    Count,
    Extension(String),
    Resolve,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    /// `left = right`, or `!=` if not `equal`.
    Compare {
        left: Operand,
        equal: bool,
        right: Operand,
    },
    /// A path alone: is there a value, and is it not `false`?
    Is(Operand),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Path(Path),
    Text(String),
    /// As written.
    Number(String),
    Boolean(bool),
}

impl Condition {
    pub(super) fn for_each_operand<'c>(&'c self, act: &mut dyn FnMut(&'c Operand)) {
        match self {
            Self::Any(parts) | Self::All(parts) => parts.iter().for_each(|part| part.for_each_operand(act)),
            Self::Not(part) => part.for_each_operand(act),
            Self::Compare { left, right, .. } => {
                act(left);
                act(right);
            }
            Self::Is(operand) => act(operand),
        }
    }
}

const FUNCTIONS: [&str; 8] = ["where", "ofType", "first", "last", "exists", "count", "extension", "resolve"];
/// Conditions inside conditions.
const NESTING_MAX: usize = 16;

pub(super) fn parse(text: &str) -> Result<Path, PathError> {
    let mut parser = Parser { text, at: 0, nesting: 0 };
    parser.skip_space();
    let path = parser.path()?;
    parser.skip_space();
    if parser.at < text.len() { Err(parser.unexpected()) } else { Ok(path) }
}

struct Parser<'p> {
    text: &'p str,
    at: usize,
    nesting: usize,
}

impl<'p> Parser<'p> {
    fn path(&mut self) -> Result<Path, PathError> {
        let start = self.at;
        let mut steps = Vec::new();
        let head = self.head()?;
        if head == Head::Tree {
            steps.push(self.step()?);
        }
        loop {
            if self.take("[") {
                steps.push(self.index()?);
            } else if self.take(".") {
                steps.push(self.step()?);
            } else {
                break;
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default().to_owned();
        Ok(Path { text, head, steps })
    }

    fn head(&mut self) -> Result<Head, PathError> {
        let start = self.at;
        if !self.take("$") {
            return Ok(Head::Tree);
        }
        let name = self.word(|sign| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-'));
        match name {
            "" => Err(error(start..self.at, "a name was expected after `$`", Some("write the name of a [let], `$patient`, or `$this`"))),
            "this" => Ok(Head::This),
            name => Ok(Head::Let(name.to_owned())),
        }
    }

    /// The number of `[n]`; the bracket is already read.
    fn index(&mut self) -> Result<Step, PathError> {
        let start = self.at - 1;
        let inside = self.word(|sign| !matches!(sign, ']' | '.' | '(' | ')'));
        if !self.take("]") {
            return Err(error(start..self.at, "`]` was expected", None));
        }
        let span = start..self.at;
        let help = match inside.trim() {
            "*" | "" => "leave it out: a name alone finds all of them",
            "last" => "write .last()",
            "0" => "write [1] for the first",
            condition if condition.contains('=') => "write .where(use = 'official')",
            number => match number.parse::<usize>() {
                Ok(number) => return Ok(Step { kind: StepKind::Index(number.saturating_sub(1)), span }),
                Err(_) => "write [1] for the first",
            },
        };
        let message =
            if inside.trim() == "0" { "[0] does not exist: numbers count from 1" } else { "a number was expected between `[` and `]`" };
        Err(error(span, message, Some(help)))
    }

    /// A name, or a function with its arguments.
    fn step(&mut self) -> Result<Step, PathError> {
        let start = self.at;
        let name = self.word(|sign| sign.is_ascii_alphanumeric() || sign == '_');
        if name.is_empty() {
            return Err(self.no_name());
        }
        if !self.take("(") {
            let plain = !name.starts_with(|first: char| first.is_ascii_digit()) && !name.contains('_');
            let help = "names of elements are letters and digits; the extensions of a primitive are at birthDate.extension('url')";
            return match plain {
                true => Ok(Step { kind: StepKind::Name(name.to_owned()), span: start..self.at }),
                false => Err(error(start..self.at, "this is not the name of an element", Some(help))),
            };
        }
        let called = start..self.at - 1;
        self.skip_space();
        let kind = self.call(name, called)?;
        self.skip_space();
        if !self.take(")") {
            return Err(self.expected("`)` was expected"));
        }
        Ok(Step { kind, span: start..self.at })
    }

    /// The function `name`, whose opening bracket is read.
    fn call(&mut self, name: &str, called: Range<usize>) -> Result<StepKind, PathError> {
        let kind = match name {
            "where" => StepKind::Where(self.condition()?),
            "exists" if self.peek() == Some(')') => StepKind::Exists(None),
            "exists" => StepKind::Exists(Some(self.condition()?)),
            "ofType" => StepKind::OfType(self.type_name()?),
            "extension" => StepKind::Extension(self.quoted("the URL of the extension, in single quotes, was expected")?),
            "first" => StepKind::First,
            "last" => StepKind::Last,
            "count" => StepKind::Count,
            "resolve" => StepKind::Resolve,
            other => return Err(unknown_function(other, called)),
        };
        Ok(kind)
    }

    fn type_name(&mut self) -> Result<String, PathError> {
        let start = self.at;
        let name = self.word(|sign| sign.is_ascii_alphanumeric());
        if name.is_empty() {
            let help = "write ofType(Patient)";
            return Err(error(start..self.at + self.peek().map_or(0, char::len_utf8), "the name of a type was expected", Some(help)));
        }
        Ok(name.to_owned())
    }

    fn condition(&mut self) -> Result<Condition, PathError> {
        self.nesting += 1;
        if NESTING_MAX < self.nesting {
            return Err(error(self.at..self.text.len(), "conditions are nested too deep", None));
        }
        let mut any = vec![self.all_of()?];
        while self.keyword("or") {
            any.push(self.all_of()?);
        }
        self.nesting -= 1;
        Ok(one_or(any, Condition::Any))
    }

    fn all_of(&mut self) -> Result<Condition, PathError> {
        let mut all = vec![self.term()?];
        while self.keyword("and") {
            all.push(self.term()?);
        }
        Ok(one_or(all, Condition::All))
    }

    fn term(&mut self) -> Result<Condition, PathError> {
        // A run of `not` is counted, not nested.
        let mut negated = false;
        while self.keyword("not") {
            negated = !negated;
        }
        self.skip_space();
        let term = if self.take("(") { self.bracketed()? } else { self.comparison()? };
        Ok(if negated { Condition::Not(Box::new(term)) } else { term })
    }

    fn bracketed(&mut self) -> Result<Condition, PathError> {
        let inside = self.condition()?;
        self.skip_space();
        if self.take(")") { Ok(inside) } else { Err(self.expected("`)` was expected")) }
    }

    fn comparison(&mut self) -> Result<Condition, PathError> {
        let start = self.at;
        let left = self.operand()?;
        let end = self.at;
        self.skip_space();
        let equal = match self.peek() {
            Some('=') => true,
            Some('!') => false,
            Some('<' | '>' | '~' | '+' | '|' | '&' | '*' | '/') => {
                let help = "a condition here compares with = or !=; other tests belong in `when`";
                return Err(error(self.at..self.at + 1, "this operator is not one of = and !=", Some(help)));
            }
            _ if matches!(left, Operand::Path(_)) => return Ok(Condition::Is(left)),
            _ => return Err(error(start..end, "a value alone is no condition", Some("write use = 'official'"))),
        };
        if !self.take(if equal { "=" } else { "!=" }) {
            return Err(self.expected("`!=` was expected"));
        }
        self.skip_space();
        let right = self.operand()?;
        Ok(Condition::Compare { left, equal, right })
    }

    fn operand(&mut self) -> Result<Operand, PathError> {
        match self.peek() {
            Some('\'' | '"') => Ok(Operand::Text(self.quoted("a text in single quotes was expected")?)),
            Some(sign) if sign.is_ascii_digit() || sign == '-' => self.number(),
            _ if self.keyword("true") => Ok(Operand::Boolean(true)),
            _ if self.keyword("false") => Ok(Operand::Boolean(false)),
            _ => Ok(Operand::Path(self.path()?)),
        }
    }

    fn number(&mut self) -> Result<Operand, PathError> {
        let start = self.at;
        let number = self.word(|sign| sign.is_ascii_digit() || matches!(sign, '-' | '.'));
        let good = crate::fhir::json::number(number).is_some();
        let help = "codes are texts: write them in single quotes, '04'";
        if good { Ok(Operand::Number(number.to_owned())) } else { Err(error(start..self.at, "this is not a number", Some(help))) }
    }

    fn quoted(&mut self, expected: &str) -> Result<String, PathError> {
        let start = self.at;
        if self.peek() == Some('"') {
            return Err(error(start..start + 1, "texts stand in single quotes", Some("write 'text'")));
        }
        if !self.take("'") {
            return Err(self.expected(expected));
        }
        let mut text = String::new();
        while let Some(sign) = self.peek() {
            self.at += sign.len_utf8();
            match sign {
                '\'' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                sign => text.push(sign),
            }
        }
        Err(error(start..self.text.len(), "this text is not ended", Some("end it with a single quote")))
    }

    fn escaped(&mut self) -> Result<char, PathError> {
        match self.peek() {
            Some(sign @ ('\'' | '\\')) => {
                self.at += 1;
                Ok(sign)
            }
            _ => Err(error(self.at - 1..self.at, "`\\` stands before a quote or another `\\` only", Some("write \\\\ for one `\\`"))),
        }
    }

    /// Takes a word of the language, if it stands here with its end.
    fn keyword(&mut self, word: &str) -> bool {
        let before = self.at;
        self.skip_space();
        let rest = self.rest();
        let after = rest.strip_prefix(word).unwrap_or_default();
        let ends = !after.starts_with(|sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '.' | '['));
        let found = rest.starts_with(word) && ends;
        self.at = if found { self.at + word.len() } else { before };
        found
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'p str {
        let rest = self.rest();
        let end = rest.find(|sign| !belongs(sign)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn rest(&self) -> &'p str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn skip_space(&mut self) {
        self.word(|sign| sign.is_ascii_whitespace());
    }

    fn here(&self) -> Range<usize> {
        self.at..self.at + self.peek().map_or(0, char::len_utf8)
    }

    fn expected(&self, what: &str) -> PathError {
        error(self.here(), what, None)
    }

    fn no_name(&self) -> PathError {
        let help = match self.peek() {
            Some('%') => Some("names of [let] begin with `$`"),
            Some('`') => Some("write the name without quotes"),
            None => Some("a path ends with a name, a function or [n]"),
            _ => None,
        };
        error(self.here(), "the name of an element was expected", help)
    }

    fn unexpected(&self) -> PathError {
        let help = match self.rest().split_ascii_whitespace().next() {
            Some("as" | "is") => Some("write .ofType(Quantity)"),
            Some("and" | "or" | "=" | "!=") => Some("conditions stand inside .where(…)"),
            _ => None,
        };
        error(self.at..self.text.len(), "unexpected text after the path", help)
    }
}

fn one_or(mut parts: Vec<Condition>, many: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => many(parts),
    }
}

fn unknown_function(name: &str, span: Range<usize>) -> PathError {
    let help = match name {
        "as" | "is" => Some("write ofType(Quantity)".to_owned()),
        "empty" => Some("write not exists(name) inside .where(…)".to_owned()),
        "not" => Some("write `not` before a condition".to_owned()),
        name => nearest(name, FUNCTIONS).map(|near| format!("did you mean {near}()?")),
    };
    let all = FUNCTIONS.map(|function| format!("{function}()")).join(", ");
    let help = help.or_else(|| Some(format!("there are {all}")));
    PathError { span, message: format!("there is no function {name}()"), help }
}

pub(super) fn error(span: Range<usize>, message: &str, help: Option<&str>) -> PathError {
    PathError { span, message: message.to_owned(), help: help.map(str::to_owned) }
}

/// The candidate that a typing error away from `name`, if there is one.
pub(super) fn nearest<'n>(name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let allowed = 1 + name.len() / 4;
    let scored = candidates.into_iter().map(|candidate| (distance(name, candidate), candidate));
    scored.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// Letters to change, add, leave out or swap, without regard to case.
fn distance(left: &str, right: &str) -> usize {
    let [left, right] = [left, right].map(|text| text.to_ascii_lowercase().into_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX / 2);
            let change = at(&last, column) + usize::from(a != b);
            let mut best = change.min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            let swapped = row.checked_sub(1).and_then(|row| left.get(row)) == Some(b)
                && column.checked_sub(1).and_then(|column| right.get(column)) == Some(a);
            if swapped && let Some(before) = column.checked_sub(1) {
                best = best.min(at(&before_last, before) + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The marked bytes are those of the error.
    fn fails(text: &str, mark: &str, message: &str, help: &str) {
        let error = parse(text).expect_err(text);
        let marked = format!("{}{}", " ".repeat(error.span.start), "^".repeat(error.span.len()));
        assert_eq!((marked.trim_end(), error.message.as_str(), error.help.as_deref().unwrap_or_default()), (mark, message, help), "{text}");
    }

    #[test]
    fn a_path_prints_as_it_was_written() {
        for text in
            ["Bundle.entry.resource.ofType(Patient)[1]", "$this", "$p.name.where( use = 'official' and not (a or b) )[2].given.last()"]
        {
            assert_eq!(parse(text).expect(text).to_string(), text);
        }
        assert_eq!(parse("  a.b ").expect("spaces around").to_string(), "a.b");
    }

    #[test]
    fn mistakes_are_shown_where_they_are_made() {
        fails("name[0]", "    ^^^", "[0] does not exist: numbers count from 1", "write [1] for the first");
        fails("name[last]", "    ^^^^^^", "a number was expected between `[` and `]`", "write .last()");
        fails("name[*].given", "    ^^^", "a number was expected between `[` and `]`", "leave it out: a name alone finds all of them");
        fails("name[use = 'x']", "    ^^^^^^^^^^^", "a number was expected between `[` and `]`", "write .where(use = 'official')");
        fails("name[1", "    ^^", "`]` was expected", "");
        fails("a.wehre(b)", "  ^^^^^", "there is no function wehre()", "did you mean where()?");
        fails("a.as(Quantity)", "  ^^", "there is no function as()", "write ofType(Quantity)");
        fails("a as Quantity", "  ^^^^^^^^^^^", "unexpected text after the path", "write .ofType(Quantity)");
        fails("a..b", "  ^", "the name of an element was expected", "");
        fails("a.", "", "the name of an element was expected", "a path ends with a name, a function or [n]");
        fails("", "", "the name of an element was expected", "a path ends with a name, a function or [n]");
        fails("$", "^", "a name was expected after `$`", "write the name of a [let], `$patient`, or `$this`");
        fails("a.where(b = \"x\")", "            ^", "texts stand in single quotes", "write 'text'");
        fails("a.where(b = 04)", "            ^^", "this is not a number", "codes are texts: write them in single quotes, '04'");
        fails("a.where('x')", "        ^^^", "a value alone is no condition", "write use = 'official'");
        fails("a.where(b = 'x)", "            ^^^", "this text is not ended", "end it with a single quote");
        let operator = "a condition here compares with = or !=; other tests belong in `when`";
        fails("a.where(b > 3)", "          ^", "this operator is not one of = and !=", operator);
        fails("a.where(b = 'x'", "", "`)` was expected", "");
        fails("a.extension(url)", "            ^", "the URL of the extension, in single quotes, was expected", "");
        fails("a.ofType()", "         ^", "the name of a type was expected", "write ofType(Patient)");
        fails("a = 'x'", "  ^^^^^", "unexpected text after the path", "conditions stand inside .where(…)");
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| format!("a.where({}b{})", "(".repeat(depth - 1), ")".repeat(depth - 1));
        assert!(parse(&nested(NESTING_MAX)).is_ok(), "exactly the limit");
        assert!(parse(&nested(NESTING_MAX + 1)).is_err());
        assert!(parse(&"a.where(".repeat(100_000)).is_err());
        assert!(parse(&format!("a.where({}b)", "not ".repeat(100_000))).is_ok());
    }

    #[test]
    fn the_names_of_lets_are_told_once_each() {
        let path = parse("$a.b.where($c.d = e.where(exists($f)).g or $a).exists(not $h)").expect("a path");
        assert_eq!(path.lets(), ["a", "c", "f", "h"]);
        assert!(parse("$this.a").expect("a path").lets().is_empty());
    }

    #[test]
    fn a_typing_error_is_recognised() {
        assert_eq!(nearest("birthdate", ["birthDate", "gender"]), Some("birthDate"));
        assert_eq!(nearest("brithDate", ["birthDate", "gender"]), Some("birthDate"));
        assert_eq!(nearest("gven", ["given", "family"]), Some("given"));
        assert_eq!(nearest("shoe", ["given", "family"]), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_points_into_the_text(text in r"(\$|\.|\[|\]|1|0|\(|\)|'|=|!=| |and|or|not|where\(|exists\(|name|é|\\){0,16}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.span.start <= error.span.end && error.span.end <= text.len());
                prop_assert!(text.is_char_boundary(error.span.start) && text.is_char_boundary(error.span.end));
            }
        }
    }
}
