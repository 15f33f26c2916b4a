//! Conditions of `when` and `check`: `PID-24 = "Y" and count(OBX) >= 1`.
//!
//! ```text
//! or-chain    = and-chain { "or" and-chain }
//! and-chain   = not { "and" not }
//! not         = "not" not | "(" or-chain ")" | comparison
//! comparison  = "exists(" path ")" | operand ("=" "!=" "<" "<=" ">" ">=") operand | operand "in" "(" literal { "," literal } ")"
//!             | operand "fits" literal
//!             | operand "in" "table(" literal ")"
//!             | operand "in" column
//! operand     = path | "text" | 'text' | number | column | "count(" path ")" | "length(" path ")" | "distinct(" value { "," value } ")"
//!             | "days(" day "," day ")"
//! value       = path | column
//! column      = "column(" path "," literal "," literal ")"
//! day         = path | "received()"
//! ```
//!
//! # Invariants
//!
//! - An absent value is the empty text: `PID-24 != "Y"` is true where PID-24 is absent.
//! - A path that finds several values compares true where one of them does; `!=` is exactly "not =".
//! - Numbers are compared as numbers where both sides are numbers, else as texts.
//! - The cell of a code that its table does not know is the empty text, as an empty cell is.

mod days;
mod holds;
mod seen;
mod words;

use std::ops::Range;

use jiff::civil::Date;

use super::diagnostic::{CONDITION, Mistake, did_you_mean};
use super::path::Path;
use super::pattern::Pattern;
use super::table::Table;
use words::Words;

/// How deep parentheses may nest.
const DEPTH_MAX: usize = 40;

/// A compiled condition.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// All hold.
    And(Vec<Condition>),
    /// One holds.
    Or(Vec<Condition>),
    /// Does not hold.
    Not(Box<Condition>),
    /// Something is there and not null.
    Exists(Path),
    /// Two operands compared.
    Compare(Box<(Operand, Operand)>, Comparison),
    /// One of a list.
    In(Operand, Words),
    /// The whole text fits a pattern; what is absent does not.
    Fits(Operand, Pattern),
    /// A code that a table knows, whenever its row holds.
    Listed(Operand, Table),
    /// One of the words in a cell.
    Among(Operand, Operand),
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// The values of a path.
    Path(Path),
    /// A literal.
    Text(String),
    /// A literal.
    Number(f64),
    /// How many a path finds.
    Count(Path),
    /// How many characters the first value has.
    Length(Path),
    /// Whole days from the first date to the second; nothing where one of them is no date.
    Days(Box<(Day, Day)>),
    /// How many different values these find together; an empty cell is none.
    Distinct(Vec<Operand>),
    /// What a further column of a table says of the codes that a path finds.
    Column(Path, Box<Column>),
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    table: Table,
    /// Its number in each sheet of the table.
    numbers: Vec<Option<usize>>,
}

/// One end of a span of days.
#[derive(Clone, Debug)]
pub(super) enum Day {
    /// The first value of a path.
    Path(Box<Path>),
    /// When the message came, where that is known.
    Received,
}

/// How two operands are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

/// What a condition asks of a message.
pub(super) trait Ask {
    /// The only text that a path finds, as [`Ask::any`] would show it; the empty text where it finds nothing. `None` where there may be
    /// several, or where the text is not one that stands in the message.
    fn only(&self, path: &Path) -> Option<&str>;
    /// Is one of the values of a path such; null is the two quotation marks. Values come without blanks at their ends.
    fn any(&self, path: &Path, such: &mut dyn FnMut(&str) -> bool) -> bool;
    /// How many a path finds.
    fn count(&self, path: &Path) -> usize;
    /// Is anything there that is not null.
    fn exists(&self, path: &Path) -> bool;
    /// The day on which the message came, where that is known.
    fn received(&self) -> Option<Date>;
}

impl Condition {
    /// All paths in it.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::And(many) | Self::Or(many) => many.iter().flat_map(Self::paths).collect(),
            Self::Not(inner) => inner.paths(),
            Self::Exists(path) => vec![path],
            Self::In(operand, _) | Self::Fits(operand, _) | Self::Listed(operand, _) => operand.paths(),
            Self::Among(left, right) => left.paths().into_iter().chain(right.paths()).collect(),
            Self::Compare(sides, _) => sides.0.paths().into_iter().chain(sides.1.paths()).collect(),
        }
    }

    /// The tables that it asks.
    pub fn tables(&self) -> Vec<&Table> {
        match self {
            Self::And(many) | Self::Or(many) => many.iter().flat_map(Self::tables).collect(),
            Self::Not(inner) => inner.tables(),
            Self::Listed(_, table) => vec![table],
            Self::Exists(_) | Self::In(..) | Self::Fits(..) | Self::Compare(..) | Self::Among(..) => Vec::new(),
        }
    }
}

impl Operand {
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Path(path) | Self::Count(path) | Self::Length(path) | Self::Column(path, _) => vec![path],
            Self::Distinct(values) => values.iter().flat_map(Self::paths).collect(),
            Self::Days(dates) => [&dates.0, &dates.1].into_iter().filter_map(Day::path).collect(),
            Self::Text(_) | Self::Number(_) => Vec::new(),
        }
    }
}

impl Day {
    fn path(&self) -> Option<&Path> {
        if let Self::Path(path) = self { Some(path) } else { None }
    }
}

/// Compiles a path of the condition; spans are bytes of its text.
pub(super) type PathOf<'p> = dyn Fn(&str) -> Result<Path, Mistake> + 'p;

/// Finds a table of the condition by its name; spans are bytes of the name.
pub(super) type TableOf<'p> = dyn Fn(&str) -> Result<Table, Mistake> + 'p;

/// Compiles a condition. Spans of mistakes are bytes of `text`.
pub(super) fn parse(text: &str, path_of: &PathOf<'_>, table_of: &TableOf<'_>) -> Result<Condition, Mistake> {
    let mut parser = Parser { text, at: 0, depth: 0, path_of, table_of };
    let condition = parser.or_chain()?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.wrong("and, or, or the end is expected here"));
    }
    Ok(condition)
}

struct Parser<'p> {
    text: &'p str,
    at: usize,
    depth: usize,
    path_of: &'p PathOf<'p>,
    table_of: &'p TableOf<'p>,
}

impl<'p> Parser<'p> {
    fn rest(&self) -> &'p str {
        self.text.get(self.at..).unwrap_or_default()
    }
    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }
    fn wrong(&self, message: &str) -> Mistake {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        Mistake::new(CONDITION, self.at..self.at + length, message.to_owned())
    }
    /// Takes a sign.
    fn sign(&mut self, sign: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }
    /// Takes a word that ends there.
    fn word(&mut self, word: &str) -> bool {
        self.space();
        let after = self.rest().strip_prefix(word);
        let found = after.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '[')));
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn or_chain(&mut self) -> Result<Condition, Mistake> {
        let mut some = vec![self.and_chain()?];
        while self.word("or") {
            some.push(self.and_chain()?);
        }
        Ok(if some.len() == 1 { some.remove(0) } else { Condition::Or(some) })
    }

    fn and_chain(&mut self) -> Result<Condition, Mistake> {
        let mut all = vec![self.negation()?];
        while self.word("and") {
            all.push(self.negation()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::And(all) })
    }

    fn negation(&mut self) -> Result<Condition, Mistake> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("this condition is nested too deeply"));
        }
        let condition = if self.word("not") {
            Condition::Not(Box::new(self.negation()?))
        } else if self.sign("(") {
            let inner = self.or_chain()?;
            if !self.sign(")") {
                return Err(self.wrong("a closing parenthesis is expected here"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn comparison(&mut self) -> Result<Condition, Mistake> {
        if let Some(path) = self.function("exists")? {
            return Ok(Condition::Exists(path));
        }
        let start = self.at;
        let left = self.operand()?;
        if self.word("in") {
            if self.opens("table") {
                return Ok(Condition::Listed(left, self.table()?));
            }
            if self.opens("column") {
                return Ok(Condition::Among(left, self.column()?));
            }
            return Ok(Condition::In(left, Words::of(self.list()?)));
        }
        if self.word("fits") {
            return Ok(Condition::Fits(left, self.pattern()?));
        }
        let signs = [
            ("!=", Comparison::Unequal),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("=", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::More),
        ];
        for (sign, comparison) in signs {
            if self.sign(sign) {
                if comparison == Comparison::Equal && self.sign("=") {
                    self.at -= 1;
                    return Err(self.wrong("one = is enough"));
                }
                return Ok(Condition::Compare(Box::new((left, self.operand()?)), comparison));
            }
        }
        let written = self.text.get(start..self.at).unwrap_or_default().trim();
        let mistake = self.wrong("a comparison is expected here: =, !=, <, <=, >, >=, in or fits");
        Err(if matches!(left, Operand::Path(_)) {
            mistake.help(format!("to ask whether it is there, write exists({written})"))
        } else {
            mistake
        })
    }

    /// `name(`, where the text goes on so.
    fn opens(&mut self, name: &str) -> bool {
        self.space();
        let opened = self.rest().strip_prefix(name).and_then(|rest| rest.trim_start().strip_prefix('('));
        let Some(opened) = opened else { return false };
        self.at = self.text.len() - opened.len();
        true
    }

    /// `days(day, day)`, where the text goes on so.
    fn days(&mut self) -> Result<Option<(Day, Day)>, Mistake> {
        if !self.opens("days") {
            return Ok(None);
        }
        let first = self.day()?;
        if !self.sign(",") {
            return Err(self.wrong("a comma and a second path are expected here"));
        }
        let second = self.day()?;
        self.closes()?;
        Ok(Some((first, second)))
    }

    fn day(&mut self) -> Result<Day, Mistake> {
        if self.opens("received") {
            self.closes()?;
            return Ok(Day::Received);
        }
        self.path().map(|path| Day::Path(Box::new(path)))
    }

    /// `path, column(…))` after `distinct(`.
    fn values(&mut self) -> Result<Vec<Operand>, Mistake> {
        let mut values = vec![self.value()?];
        while self.sign(",") {
            values.push(self.value()?);
        }
        self.closes()?;
        Ok(values)
    }

    fn value(&mut self) -> Result<Operand, Mistake> {
        if self.opens("column") { self.column() } else { self.path().map(Operand::Path) }
    }

    /// `path, "table", "column")` after `column(`.
    fn column(&mut self) -> Result<Operand, Mistake> {
        let path = self.path()?;
        let comma = |parser: &mut Self| if parser.sign(",") { Ok(()) } else { Err(parser.wrong("a comma is expected here")) };
        comma(self)?;
        let table = self.named_table()?;
        comma(self)?;
        self.space();
        if !self.rest().starts_with(['"', '\'']) {
            return Err(self.wrong("the name of a column in quotation marks is expected here"));
        }
        let start = self.at + 1;
        let name = self.quoted()?;
        let numbers: Vec<Option<usize>> = table.sheets.iter().map(|sheet| sheet.column(&name)).collect();
        if numbers.iter().all(Option::is_none) {
            let mistake = Mistake::new(CONDITION, start..start + name.len(), format!("table {:?} has no column {name:?}", table.name));
            let known: Vec<&str> = table.sheets.iter().flat_map(|sheet| sheet.columns()).collect();
            return Err(mistake.maybe_help(did_you_mean(&name, known)));
        }
        self.closes()?;
        Ok(Operand::Column(path, Box::new(Column { table, numbers })))
    }

    fn closes(&mut self) -> Result<(), Mistake> {
        if self.sign(")") { Ok(()) } else { Err(self.wrong("a closing parenthesis is expected here")) }
    }

    /// `name(path)`, where the text goes on so.
    fn function(&mut self, name: &str) -> Result<Option<Path>, Mistake> {
        if !self.opens(name) {
            return Ok(None);
        }
        let path = self.path()?;
        if !self.sign(")") {
            return Err(self.wrong("a closing parenthesis is expected here"));
        }
        Ok(Some(path))
    }

    fn operand(&mut self) -> Result<Operand, Mistake> {
        if let Some(path) = self.function("count")? {
            return Ok(Operand::Count(path));
        }
        if let Some(path) = self.function("length")? {
            return Ok(Operand::Length(path));
        }
        if let Some(days) = self.days()? {
            return Ok(Operand::Days(Box::new(days)));
        }
        if self.opens("distinct") {
            return Ok(Operand::Distinct(self.values()?));
        }
        if self.opens("column") {
            return self.column();
        }
        self.space();
        match self.rest().chars().next() {
            Some('"' | '\'') => Ok(Operand::Text(self.quoted()?)),
            Some(c) if c.is_ascii_digit() || (c == '-' && self.rest().len() > 1) => self.number(),
            Some(_) => {
                self.unknown_function()?;
                Ok(Operand::Path(self.path()?))
            }
            None => Err(self.wrong("something is missing at the end")),
        }
    }

    /// `exist(PID-3)`: a function that does not exist is said as such, not as a strange path.
    fn unknown_function(&self) -> Result<(), Mistake> {
        let word: &str = self.rest().split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        let called = !word.is_empty() && self.rest().get(word.len()..).is_some_and(|rest| rest.starts_with('('));
        let span = self.at..self.at + word.len();
        let help = did_you_mean(word, ["exists", "count", "length", "distinct", "days", "column", "not"]);
        if called { Err(Mistake::new(CONDITION, span, format!("there is no function `{word}`")).maybe_help(help)) } else { Ok(()) }
    }

    /// The name of a table and the end of `table(…)`.
    fn table(&mut self) -> Result<Table, Mistake> {
        let table = self.named_table()?;
        self.closes()?;
        Ok(table)
    }

    fn named_table(&mut self) -> Result<Table, Mistake> {
        self.space();
        if !self.rest().starts_with(['"', '\'']) {
            return Err(self.wrong("the name of a table in quotation marks is expected here"));
        }
        let start = self.at + 1;
        let name = self.quoted()?;
        (self.table_of)(&name).map_err(|mistake| moved(mistake, start))
    }

    fn list(&mut self) -> Result<Vec<String>, Mistake> {
        if !self.sign("(") {
            return Err(self.wrong("a list in parentheses is expected here: in (\"a\", \"b\")"));
        }
        let mut list = Vec::new();
        loop {
            self.space();
            list.push(match self.rest().chars().next() {
                Some('"' | '\'') => self.quoted()?,
                Some(c) if c.is_ascii_digit() => self.rest().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().to_owned(),
                _ => return Err(self.wrong("a quoted text is expected here")),
            });
            let bare = self.rest().split(|c: char| !c.is_ascii_digit()).next().map_or(0, str::len);
            self.at += bare;
            if self.sign(")") {
                return Ok(list);
            }
            if !self.sign(",") {
                return Err(self.wrong("a comma or a closing parenthesis is expected here"));
            }
        }
    }

    fn pattern(&mut self) -> Result<Pattern, Mistake> {
        self.space();
        if !self.rest().starts_with(['"', '\'']) {
            return Err(self.wrong("a quoted pattern is expected here: fits \"\\d+\""));
        }
        let start = self.at + 1;
        let text = self.quoted()?;
        Pattern::parse(&text).map_err(|(at, why)| Mistake::new(CONDITION, start + at.start..start + at.end, why))
    }

    fn quoted(&mut self) -> Result<String, Mistake> {
        let rest = self.rest();
        let quote = rest.chars().next().unwrap_or('"');
        // `'""'` and `""""` would both be the HL7 null; the first is the one to write.
        let inner = rest.get(1..).unwrap_or_default();
        let end = inner.find(quote).ok_or_else(|| self.wrong("this quotation mark is not closed"))?;
        self.at += end + 2;
        Ok(inner.get(..end).unwrap_or_default().to_owned())
    }

    fn number(&mut self) -> Result<Operand, Mistake> {
        let length = self.rest().char_indices().take_while(|(at, c)| c.is_ascii_digit() || *c == '.' || (*at == 0 && *c == '-')).count();
        let digits = self.rest().get(..length).unwrap_or_default();
        let number = digits.parse().map_err(|_| self.wrong("a number is expected here"))?;
        self.at += length;
        Ok(Operand::Number(number))
    }

    /// A path goes on to a space, comma, comparison or closing parenthesis outside its own brackets and quotation marks.
    fn path(&mut self) -> Result<Path, Mistake> {
        self.space();
        let length = path_length(self.rest());
        if length == 0 {
            return Err(self.wrong("a path, a text or a number is expected here"));
        }
        let start = self.at;
        let text = self.rest().get(..length).unwrap_or_default();
        self.at += length;
        (self.path_of)(text).map_err(|mistake| moved(mistake, start))
    }
}

fn moved(mistake: Mistake, by: usize) -> Mistake {
    Mistake { span: shift(&mistake.span, by), ..mistake }
}

fn shift(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn path_length(text: &str) -> usize {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, character) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (quote, character) {
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if depth > 0 => quote = Some(character),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') if depth > 0 => depth -= 1,
            (None, c) if depth == 0 && (c.is_whitespace() || matches!(c, ')' | ',' | '=' | '!' | '<' | '>' | '"' | '\'')) => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::path::{Root, V2Path};

    /// Paths stand for themselves; the message is a list of names and values.
    struct Fake(&'static [(&'static str, &'static str)]);

    fn path(text: &str) -> Result<Path, Mistake> {
        let known = text.chars().all(|c| c.is_ascii_alphanumeric() || "-.[]\" =$".contains(c));
        let mistake = Mistake::new("M031", 0..text.len(), "no path");
        let root = Root::Segment(text.to_owned(), None);
        if known {
            Ok(Path::V2(V2Path { root, field: None, component: None, sub: None, text: text.to_owned(), number: 0, choice: 0 }))
        } else {
            Err(mistake)
        }
    }

    fn table(name: &str) -> Result<Table, Mistake> {
        let report = crate::mapping::diagnostic::Report::default();
        let source =
            crate::mapping::diagnostic::Source::new("tables/sex.csv", "", "from,to,display,note\n2,2,Female,a b\n3,2,,\n".to_owned());
        let sheet = std::sync::Arc::new(crate::mapping::table::load(&source, &report));
        let none = || Mistake::new("M040", 0..name.len(), format!("there is no table {name:?}"));
        (name == "sex").then(|| Table { name: name.to_owned(), sheets: vec![sheet] }).ok_or_else(none)
    }

    proptest::proptest! {
        #[test]
        fn a_day_is_read_as_any_reader_of_dates_would_read_it(text in "[0-9]{0,9}|[12][09][0-9]{2}-?[01][0-9]-?[0-3][0-9](T[0-9]{2})?") {
            let digits: String = text.chars().take_while(|c| *c != 'T').filter(char::is_ascii_digit).take(8).collect();
            let whole = match digits.len() {
                4 => format!("{digits}0101"),
                6 => format!("{digits}01"),
                _ => digits,
            };
            proptest::prop_assert_eq!(days::day_of(&text), jiff::civil::Date::strptime("%Y%m%d", whole).ok());
        }
    }

    impl Ask for Fake {
        fn only(&self, path: &Path) -> Option<&str> {
            let mut found = self.0.iter().filter(|(known, _)| *known == path.text()).map(|(_, value)| *value);
            let first = found.next().unwrap_or_default();
            // Those of NK1 are shown one by one, so that both ways are gone.
            found.next().is_none().then_some(first).filter(|_| !path.text().starts_with("NK1"))
        }
        fn any(&self, path: &Path, such: &mut dyn FnMut(&str) -> bool) -> bool {
            let name = path.text();
            self.0.iter().filter(|(known, _)| *known == name).any(|(_, value)| such(value))
        }
        fn count(&self, path: &Path) -> usize {
            let mut count = 0;
            self.any(path, &mut |_| {
                count += 1;
                false
            });
            count
        }
        fn exists(&self, path: &Path) -> bool {
            self.any(path, &mut |value| value != "\"\"")
        }
        fn received(&self) -> Option<Date> {
            Some(jiff::civil::date(2026, 4, 3))
        }
    }

    fn check(text: &str, holds: bool) {
        let message = Fake(&[
            ("PID-8", "2"),
            ("PID-7", "20260401"),
            ("PID-3", "10"),
            ("DOB", "05/04/2026"),
            ("DOD", "6.4.2026 10:00"),
            ("DOX", "31-02-2026"),
            ("MSH-7", "202604290930+0100"),
            ("meta", "2026-04-02T01:00:00Z"),
            ("OBX", "a"),
            ("OBX", "b"),
            ("PID-30", "\"\""),
            ("NK1[3.1 = \"12\"]", "x"),
        ]);
        assert_eq!(parse(text, &path, &table).map(|condition| condition.holds(&message)).map_err(|why| why.message), Ok(holds), "{text}");
    }

    #[test]
    fn conditions_say_what_they_read_like() {
        check("PID-8 = \"2\"", true);
        check("PID-8 = 2", true);
        check("PID-8 != '2'", false);
        check("PID-9 != '2'", true);
        check("PID-9 = ''", true);
        check("PID-9 < '2'", false);
        check("PID-7 < \"2027\"", true);
        check("length(PID-7) > 8", false);
        check("length(PID-7) >= 8 and count(OBX) = 2", true);
        check("days(PID-7, MSH-7) <= 28", true);
        check("days(PID-7,MSH-7) < 28", false);
        check("days(MSH-7, PID-7) = -28", true);
        check("days(PID-7, meta) = 1", true);
        check("days(PID-7, received()) = 2 and days(MSH-7, received()) < 0", true);
        check("days(DOB, received()) = -2 and days(DOB, DOD) = 1 and days(PID-7, DOB) = 4", true);
        check("days(DOX, received()) < 99 or days(DOX, received()) >= 99", false);
        check("distinct(OBX) = 2 and distinct(PID-8) = 1 and distinct(PID-9) = 0", true);
        check("distinct(OBX, PID-8) > 2 and distinct(PID-8, PID-8) < 2", true);
        check("distinct(PID-8, column(PID-8, \"sex\", \"to\"), column(PID-7, \"sex\", \"to\")) = 1", true);
        check("distinct(column(PID-8, \"sex\", \"display\"), PID-8) = 2", true);
        check("column(PID-8, \"sex\", \"display\") = 'Female'", true);
        check(
            "column(PID-8, \"sex\", \"to\") = PID-8 and column(PID-7, \"sex\", \"to\") = '' and column(PID-9, \"sex\", \"to\") = ''",
            true,
        );
        check("PID-3 > column(PID-8, \"sex\", \"to\") and PID-3 > '2'", false);
        check("PID-3 > column(PID-8, \"sex\", \"to\") and not PID-9 < column(PID-8, \"sex\", \"to\")", true);
        check("OBX in column(PID-8, \"sex\", \"note\") and not PID-8 in column(PID-8, \"sex\", \"note\")", true);
        check("PID-9 in column(PID-9, \"sex\", \"note\")", false);
        check("days(PID-8, MSH-7) >= 0 or days(PID-9, MSH-7) >= 0 or days(PID-9, MSH-7) < 0", false);
        check("not exists(PID-9) and exists(PID-8)", true);
        check("exists(PID-30)", false);
        check("OBX = 'b'", true);
        check("OBX != 'b'", false);
        check("PID-8 in (\"1\", \"2\")", true);
        check("not (PID-8 in ('1', 2) or PID-9 = 'x')", false);
        check("PID-7 fits '2026.*' and OBX fits \"[b-z]\"", true);
        check("PID-7 fits '2026' or PID-9 fits '.*'", false);
        check("PID-8 in table(\"sex\") and not PID-7 in table( 'sex' )", true);
        check("PID-9 in table(\"sex\")", false);
        check("exists(NK1[3.1 = \"12\"]) or PID-9 = 'x'", true);
        check("NK1[3.1 = \"12\"]='x'", true);
    }

    #[test]
    fn a_condition_that_is_none_says_where_and_what() {
        let cases = [
            ("PID-8", 5, "a comparison"),
            ("PID-8 == 1", 7, "one = is enough"),
            ("(PID-8 = 1", 10, "a closing"),
            ("PID-8 = \"1", 8, "this quotation"),
            ("exist(PID-8)", 0, "there is no function"),
            ("PID-8 = 1 oder", 10, "and, or"),
            ("", 0, "something is missing"),
            ("PID-8 in 1", 9, "a list"),
            ("PID-8 fits 1", 11, "a quoted pattern"),
            ("PID-8 fits 'a('", 13, ""),
            ("PID-8 in table(sex)", 15, "the name of a table"),
            ("PID-8 in table(\"sxe\")", 16, "there is no table"),
            ("PID-8 in table(\"sex\"", 20, "a closing"),
            ("column(PID-8, \"sxe\", \"to\") = 1", 15, "there is no table"),
            ("column(PID-8, \"sex\", \"ot\") = 1", 22, "table \"sex\" has no column"),
            ("column(PID-8, \"sex\") = 1", 19, "a comma"),
            ("PID#8 = 1", 0, "no path"),
            ("PID-8 = 1 and PID#9 = 1", 14, "no path"),
        ];
        for (text, at, message) in cases {
            let said = parse(text, &path, &table).expect_err(text);
            assert_eq!((said.span.start, said.message.starts_with(message)), (at, true), "{text}: {}", said.message);
        }
        assert!(parse(&"(".repeat(5_000), &path, &table).is_err());
        assert!(parse(&"not ".repeat(5_000), &path, &table).is_err());
    }
}
