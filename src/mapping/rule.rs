//! A rule: where one canonical field comes from, what happens on the way, and what happens when it fails.
//!
//! # Keys (a closed set)
//!
//! `from` or `value`; `as`, `table`, `column`; `when`; `required`, `default`, `absent`, `on_error`, `unmapped`;
//! `min`, `max`, `length`, `pattern`; `all`, `join`, `else`; `note`.
//!
//! # Invariants
//!
//! - To hold a [`Rule`] is to have checked it: its field exists, its value fits the field, and for every way to fail
//!   it says what then. It cannot fail at run time in a way that nobody chose.
//! - A rule whose policy would lose a required value, or guess a clinical code, is refused.
//!
//! # Not here
//!
//! Running it: `eval.rs`.

use std::ops::Range;

use serde_json::Value;
use toml::de::DeValue;

use super::condition::{self, Condition};
use super::convert::{CONVERTERS, Converter, iso_moment, precision_word};
use super::diagnostic::{
    CHECK, CONDITION, CONVERTER, MISSING_KEY, Mistake, OUTSIDE_LIST, PATH, POLICY, Report, Source, TABLE, TABLE_LIST, UNFIT, WRONG_KIND,
    did_you_mean,
};
use super::document::{Node, Section, Text, json};
use super::path::{self, Names, Path};
use super::pattern::Pattern;
use super::table::Table;
use super::target::{Kind, Target};
use super::value::{Moment, Val};

/// Keys of a rule.
pub(super) const RULE_KEYS: &[&str] = &[
    "from", "value", "as", "table", "column", "when", "required", "default", "absent", "on_error", "unmapped", "min", "max", "length",
    "pattern", "all", "join", "else", "note",
];

/// What `use:` may say of an unknown code of a table marked `safety = true`: that nobody has classified it.
pub(super) const UNCLASSIFIED: &str = "unclassified";

/// What happens to a value that cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnError {
    /// Keep the message for a person.
    Hold,
    /// Go on without the field.
    Warn,
    /// As hold; a source that waits for the outcome gets AR.
    Reject,
}

/// Words of `on_error`.
pub(super) const ON_ERROR: &[(&str, OnError)] = &[("hold", OnError::Hold), ("warn", OnError::Warn), ("reject", OnError::Reject)];

/// What happens to a code that its table does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unmapped {
    /// Keep the message for a person.
    Hold,
    /// Go on without the field.
    Warn,
    /// Take the sender's code.
    Keep,
    /// Take this code.
    Use(String),
}

/// `[defaults]` of a file.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    /// For rules that say nothing.
    pub on_error: OnError,
    /// For rules that say nothing.
    pub unmapped: Unmapped,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { on_error: OnError::Hold, unmapped: Unmapped::Hold }
    }
}

/// Where something was written.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// `adt-person.toml`.
    pub name: String,
    /// `mappings/adt-person.toml`.
    pub shown: String,
    /// Line from 1.
    pub line: usize,
}

impl Origin {
    /// The place of a byte.
    pub fn of(source: &Source, at: usize) -> Self {
        Self { name: source.name.clone(), shown: source.shown.clone(), line: source.line(at) }
    }
    /// `mappings/adt-person.toml:40`
    pub fn shown(&self) -> String {
        format!("{}:{}", self.shown, self.line)
    }
    /// `adt-person.toml:40`
    pub fn short(&self) -> String {
        format!("{}:{}", self.name, self.line)
    }
}

/// `min`, `max`, `length`, `pattern`.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    /// Smallest number.
    pub min: Option<f64>,
    /// Greatest number.
    pub max: Option<f64>,
    /// Fewest and most characters.
    pub length: Option<(usize, usize)>,
    /// What the whole text looks like.
    pub pattern: Option<Pattern>,
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// The field it fills.
    pub target: Target,
    /// The same in numbers: [`Target::slots`].
    pub slots: Vec<(usize, usize)>,
    /// Which rule of the mapping, for notes.
    pub number: usize,
    /// `birth.date`.
    pub field: String,
    /// Where the sender keeps it; the first that says something counts.
    pub sources: Vec<Path>,
    /// The constant, where there is no source.
    pub value: Option<Val>,
    /// What the text is.
    pub converter: Option<Converter>,
    /// What the code means, and in which column that stands.
    pub table: Option<(Table, String)>,
    /// The number of that column in each sheet of the table.
    pub columns: Vec<Option<usize>>,
    /// A text is taken as it is: its field is a text, and nothing is checked.
    pub is_plain: bool,
    /// Applies only where this holds.
    pub when: Option<Condition>,
    /// Absence holds the message.
    pub required: bool,
    /// Where nothing was found.
    pub default: Option<Val>,
    /// Where nothing was found, the sender says that there is none (`absent = "clear"`).
    pub absent_clears: bool,
    /// Where the text cannot be converted.
    pub on_error: OnError,
    /// Where the table does not know the code.
    pub unmapped: Unmapped,
    /// Bounds.
    pub checks: Checks,
    /// All values, not the first.
    pub all: bool,
    /// All values as one text, with this between them, before anything else is done with it.
    pub join: Option<String>,
    /// What is joined where the sources say nothing.
    pub fallback: Vec<Path>,
    /// A code or number is the first component where the path names none; a text is the whole of it.
    pub scalar: bool,
    /// Where it is written.
    pub origin: Origin,
    /// `field = { … }` on one line, for listings.
    pub written: String,
}

/// A rule as it stands in a file.
#[derive(Clone)]
pub(super) struct RawRule<'a> {
    /// `birth.date`.
    pub target: Target,
    /// The file.
    pub source: &'a Source,
    /// The field's name in the file.
    pub key_span: std::ops::Range<usize>,
    /// What stands right of it.
    pub node: &'a Node<'a>,
    /// Its file's defaults.
    pub defaults: Defaults,
}

/// What a file offers its rules.
#[derive(Clone, Copy)]
pub(super) struct Terms<'t> {
    /// What paths may name.
    pub names: Names<'t>,
    /// Tables by name.
    pub table: &'t dyn Fn(&str) -> Option<Table>,
    /// Names of all tables.
    pub table_names: &'t [String],
    /// Where mistakes go.
    pub report: &'t Report,
    /// Reports a mistake inside a table, by its file name.
    pub in_table: &'t dyn Fn(&str, Mistake),
}

impl Terms<'_> {
    /// Compiles a path or reports why not.
    pub fn path(&self, text: &Text<'_>, source: &Source) -> Option<Path> {
        let report = |mistake: Mistake| {
            let span = source.inside(&text.span, text.value, mistake.span.clone());
            self.report.error(source, Mistake { span, ..mistake });
        };
        path::compile(text.value, self.names).map_err(report).ok().map(|(path, _)| path)
    }

    /// Compiles a condition or reports why not.
    pub fn condition(&self, section: &Section<'_>, key: &str) -> Option<Condition> {
        let text = section.text(key, self.report)?;
        let path_of = |path: &str| path::compile(path, self.names).map(|(path, _)| path);
        let report = |mistake: Mistake| {
            let span = section.source.inside(&text.span, text.value, mistake.span.clone());
            let code = if mistake.code == PATH || mistake.code == TABLE { mistake.code } else { CONDITION };
            self.report.error(section.source, Mistake { span, code, ..mistake });
        };
        let table_of = |name: &str| (self.table)(name).ok_or_else(|| self.no_table(name, 0..name.len()));
        condition::parse(text.value, &path_of, &table_of).map_err(report).ok()
    }

    fn no_table(&self, name: &str, span: Range<usize>) -> Mistake {
        let near = super::diagnostic::nearest(name, self.table_names.iter().map(String::as_str));
        let help = near.map_or_else(|| format!("create tables/{name}.csv"), |near| format!("did you mean `{near}`?"));
        Mistake::new(TABLE, span, format!("there is no table {name:?}")).help(help)
    }
}

impl RawRule<'_> {
    /// Compiles the rule; `None` where a mistake was reported that leaves nothing to run.
    pub fn compile(&self, terms: &Terms<'_>) -> Option<Rule> {
        let report = terms.report;
        let field = self.target.dotted();
        let Some(table) = self.node.get_ref().as_table() else {
            let mistake = Mistake::new(WRONG_KIND, self.node.span(), format!("the rule of `{field}` must be a table"));
            let written = self.source.text.get(self.node.span()).unwrap_or("…");
            let key = if self.node.get_ref().is_str() { "from" } else { "value" };
            report.error(self.source, mistake.help(format!("write {{ {key} = {written} }}")));
            return None;
        };
        let section = Section { source: self.source, table, span: self.key_span.clone(), what: format!("the rule of `{field}`") };
        section.closed(RULE_KEYS, report);
        let mut builder = Builder { raw: self, section, terms, field };
        builder.build()
    }
}

struct Builder<'b, 'a> {
    raw: &'b RawRule<'a>,
    section: Section<'b>,
    terms: &'b Terms<'b>,
    field: String,
}

impl Builder<'_, '_> {
    fn error(&self, mistake: Mistake) {
        self.terms.report.error(self.raw.source, mistake);
    }
    fn kind(&self) -> &Kind {
        &self.raw.target.kind
    }

    fn build(&mut self) -> Option<Rule> {
        let report = self.terms.report;
        let has_source = self.source_or_value();
        let table = self.table();
        let converter = self.converter(table.is_some());
        self.fits(converter, table.is_some());
        let paths = self.section.texts("from", report);
        let sources: Vec<Path> = paths.iter().filter_map(|text| self.source(text)).collect();
        let value = self.section.get("value").and_then(|node| self.constant(node, "value"));
        let default = self.section.get("default").and_then(|node| self.constant(node, "default"));
        let required = self.section.truth("required", report).unwrap_or(false);
        let on_error = self.section.word("on_error", ON_ERROR, report);
        let unmapped = self.unmapped();
        self.policies(required, on_error, &unmapped, table.as_ref());
        let absent_clears = self.absent(required, default.is_some());
        let all = self.section.truth("all", report).unwrap_or(false);
        if all && !matches!(self.kind(), Kind::Texts | Kind::Text) {
            let mistake = Mistake::new(UNFIT, self.section.key_span("all"), format!("`{}` takes one value, not all", self.field));
            self.error(mistake.help("remove `all`"));
        }
        let join = self.section.text("join", report);
        let fallback: Vec<Path> = self.section.texts("else", report).iter().filter_map(|text| self.source(text)).collect();
        if join.is_some() && !all && fallback.is_empty() {
            let mistake = Mistake::new(UNFIT, self.section.key_span("join"), "`join` makes one text of all that is found");
            self.error(mistake.help("write all = true beside it"));
        }
        if join.is_none() && self.section.get("else").is_some() {
            let mistake = Mistake::new(UNFIT, self.section.key_span("else"), "what `else` finds is joined");
            self.error(mistake.help("write join = \"-\" beside it, or name the paths in `from`"));
        }
        self.section.text("note", report);
        let scalar = table.is_some() || !converter.is_none_or(Converter::takes_whole_fields);
        let complete = has_source && (value.is_some() || (!sources.is_empty() && sources.len() == paths.len()));
        let checks = if complete { self.checks(converter) } else { Checks::default() };
        let is_checked = checks.min.is_some() || checks.max.is_some() || checks.length.is_some() || checks.pattern.is_some();
        complete.then(|| Rule {
            target: self.raw.target.clone(),
            slots: Vec::new(),
            number: 0,
            field: self.field.clone(),
            sources,
            value,
            converter,
            columns: table.iter().flat_map(|(table, column)| table.sheets.iter().map(|sheet| sheet.column(column))).collect(),
            table,
            when: self.terms.condition(&self.section, "when"),
            required,
            default,
            absent_clears,
            on_error: on_error.unwrap_or(self.raw.defaults.on_error),
            unmapped: unmapped.unwrap_or_else(|| self.raw.defaults.unmapped.clone()),
            checks,
            is_plain: !is_checked && matches!(self.kind(), Kind::Text | Kind::Texts),
            all,
            join: join.map(|join| join.value.to_owned()),
            fallback,
            scalar,
            origin: Origin::of(self.raw.source, self.raw.key_span.start),
            written: self.written(),
        })
    }

    /// Exactly one of `from` and `value`.
    fn source_or_value(&self) -> bool {
        let (from, value) = (self.section.get("from"), self.section.get("value"));
        let mistake = match (from, value) {
            (Some(_), Some(_)) => {
                Mistake::new(UNFIT, self.section.key_span("value"), format!("the rule of `{}` has both `from` and `value`", self.field))
                    .help("keep one; what stands in for nothing found is `default`")
            }
            (None, None) => Mistake::new(
                MISSING_KEY,
                self.section.span.clone(),
                format!("the rule of `{}` says neither `from` nor `value`", self.field),
            )
            .help("write from = 'PID-8', or value = \"…\" for a constant"),
            (None, Some(_)) => {
                for key in [
                    "as", "table", "column", "default", "absent", "unmapped", "on_error", "min", "max", "length", "pattern", "all", "join",
                    "else",
                ] {
                    if self.section.get(key).is_some() {
                        self.error(
                            Mistake::new(UNFIT, self.section.key_span(key), format!("`{key}` means nothing beside the constant `value`"))
                                .help(format!("remove `{key}`")),
                        );
                    }
                }
                return true;
            }
            (Some(_), None) => return true,
        };
        self.error(mistake);
        false
    }

    fn source(&self, text: &Text<'_>) -> Option<Path> {
        let path = self.terms.path(text, self.raw.source)?;
        let whole_segment = path.v2().is_some_and(|path| path.field.is_none() && matches!(path.root, path::Root::Segment(..)));
        if whole_segment {
            let mistake = Mistake::new(PATH, text.span.clone(), format!("{} is a whole segment, not a value", text.value));
            self.error(mistake.help(format!("name a field: {}-3", text.value)));
            return None;
        }
        Some(path)
    }

    /// What `as` says; where it says nothing, a date, number or truth value takes the converter of its kind.
    fn converter(&self, has_table: bool) -> Option<Converter> {
        if self.section.get("as").is_none() {
            return match self.kind() {
                Kind::Date if !has_table => Some(Converter::Date),
                Kind::Instant if !has_table => Some(Converter::DateTime),
                Kind::Integer if !has_table => Some(Converter::Integer),
                Kind::Boolean if !has_table => Some(Converter::Boolean),
                _ => None,
            };
        }
        let text = self.section.text("as", self.terms.report)?;
        let found = Converter::find(text.value);
        if found.is_none() {
            let mistake = Mistake::new(CONVERTER, text.span, format!("there is no converter {:?}", text.value));
            self.error(mistake.maybe_help(did_you_mean(text.value, CONVERTERS.iter().map(|(word, _)| *word))));
        }
        found
    }

    fn table(&self) -> Option<(Table, String)> {
        let report = self.terms.report;
        let Some(name) = self.section.text("table", report) else {
            for key in ["column", "unmapped"] {
                if self.section.get(key).is_some() && self.section.get("table").is_none() {
                    self.error(Mistake::new(UNFIT, self.section.key_span(key), format!("`{key}` needs a `table`")));
                }
            }
            return None;
        };
        let Some(table) = (self.terms.table)(name.value) else {
            self.error(self.terms.no_table(name.value, name.span));
            return None;
        };
        let column = self.section.text("column", report);
        for sheet in &table.sheets {
            if let Some(column) = &column
                && sheet.column(column.value).is_none()
            {
                let mistake = Mistake::new(TABLE, column.span.clone(), format!("{} has no column `{}`", sheet.file, column.value));
                self.error(mistake.maybe_help(did_you_mean(column.value, sheet.columns())));
            }
        }
        let column = column.map_or("to", |column| column.value).to_owned();
        self.cells(&table, &column);
        Some((table, column))
    }

    /// Every cell of the column must fit the field.
    fn cells(&self, table: &Table, column: &str) {
        for sheet in &table.sheets {
            let Some(index) = sheet.column(column) else { continue };
            for row in sheet.rows() {
                let cell = row.cell(index);
                if cell.is_empty() {
                    continue;
                }
                let (wrong, help) = match self.kind() {
                    Kind::Choice(list) if !list.iter().any(|known| known == cell) => {
                        (true, did_you_mean(cell, list.iter().map(String::as_str)))
                    }
                    Kind::Integer => (cell.parse::<i64>().is_err(), Some("write a whole number".to_owned())),
                    Kind::Boolean => (cell != "true" && cell != "false", Some("write true or false".to_owned())),
                    _ => (false, None),
                };
                if wrong {
                    let mistake = Mistake::new(TABLE_LIST, row.span.clone(), format!("{cell:?} cannot be a value of `{}`", self.field));
                    (self.terms.in_table)(&sheet.file, mistake.maybe_help(help));
                }
            }
        }
    }

    /// Can what comes out of this rule be kept in its field.
    fn fits(&self, converter: Option<Converter>, has_table: bool) {
        if self.section.get("value").is_some()
            || (self.section.get("as").is_some() && converter.is_none())
            || (self.section.get("table").is_some() && !has_table)
        {
            return;
        }
        let wanted = match (self.kind(), converter) {
            (Kind::Integer | Kind::Boolean, _) if has_table => return,
            (Kind::Integer, Some(Converter::Integer | Converter::KgToG)) | (Kind::Boolean, Some(Converter::Boolean)) => return,
            (Kind::Date, Some(Converter::Date | Converter::DateDmy))
            | (Kind::Instant, Some(Converter::Date | Converter::DateDmy | Converter::DateTime))
                if !has_table =>
            {
                return;
            }
            (Kind::Integer, _) => "integer",
            (Kind::Boolean, _) => "boolean",
            (Kind::Date, _) => "date",
            (Kind::Instant, _) => "datetime",
            _ => return,
        };
        let key = if has_table { "table" } else { "as" };
        let mistake = Mistake::new(UNFIT, self.section.key_span(key), format!("`{}` holds {}", self.field, self.kind().words()));
        let help =
            if has_table { "a table gives codes: remove it".to_owned() } else { format!("write as = \"{wanted}\", or leave it out") };
        self.error(mistake.help(help));
    }

    /// A constant of `value` or `default` that fits the field.
    fn constant(&self, node: &Node<'_>, key: &str) -> Option<Val> {
        let span = node.span();
        let value = json(node.get_ref());
        let wrong = |help: String| {
            let mistake =
                Mistake::new(UNFIT, span.clone(), format!("`{key}` does not fit: `{}` holds {}", self.field, self.kind().words()));
            self.error(mistake.help(help));
            None
        };
        match (self.kind(), &value) {
            (Kind::Text, Value::String(_)) | (Kind::Integer, Value::Number(_)) | (Kind::Boolean, Value::Bool(_)) => Val::of(&value),
            (Kind::Texts, Value::String(text)) => Some(Val::Texts(vec![text.clone()])),
            (Kind::Texts, Value::Array(items)) if items.iter().all(Value::is_string) => Val::of(&value),
            (Kind::Choice(list), Value::String(text)) => {
                if list.contains(text) {
                    return Val::of(&value);
                }
                let mistake = Mistake::new(OUTSIDE_LIST, span, format!("{text:?} cannot be a value of `{}`", self.field));
                self.error(mistake.maybe_help(did_you_mean(text, list.iter().map(String::as_str))));
                None
            }
            (Kind::Date | Kind::Instant, Value::String(text)) => match iso_moment(text) {
                Ok((iso, precision)) => Some(Val::Moment(Box::new(Moment { value: iso, precision: precision_word(precision), raw: None }))),
                Err(_) => wrong("write \"2026-04-01\"".to_owned()),
            },
            (Kind::Integer, _) => wrong("write a whole number without quotation marks".to_owned()),
            (Kind::Boolean, _) => wrong("write true or false without quotation marks".to_owned()),
            _ => wrong("write a text between quotation marks".to_owned()),
        }
    }

    fn unmapped(&self) -> Option<Unmapped> {
        let text = self.section.text("unmapped", self.terms.report)?;
        let unmapped = parse_unmapped(text.value);
        let Some(unmapped) = unmapped else {
            let mistake = Mistake::new(WRONG_KIND, text.span, format!("`unmapped` cannot be {:?}", text.value));
            self.error(mistake.help("write hold, warn, keep, or use:CODE"));
            return None;
        };
        if let (Unmapped::Use(code), Kind::Choice(list)) = (&unmapped, self.kind())
            && !list.contains(code)
        {
            let mistake = Mistake::new(OUTSIDE_LIST, text.span, format!("{code:?} cannot be a value of `{}`", self.field));
            self.error(mistake.maybe_help(did_you_mean(code, list.iter().map(String::as_str))));
            return None;
        }
        Some(unmapped)
    }

    /// Refuses policies that would lose or invent data in silence.
    fn policies(&self, required: bool, on_error: Option<OnError>, unmapped: &Option<Unmapped>, table: Option<&(Table, String)>) {
        let effective_error = on_error.unwrap_or(self.raw.defaults.on_error);
        let effective_unmapped = unmapped.as_ref().unwrap_or(&self.raw.defaults.unmapped);
        let refuse = |key: &str, message: String, help: &str| {
            self.error(Mistake::new(POLICY, self.section.key_span(key), message).help(help.to_owned()))
        };
        if required && effective_error == OnError::Warn {
            let key = if on_error.is_some() { "on_error" } else { "required" };
            refuse(
                key,
                format!("`{}` is required, and an error would drop it with a warning", self.field),
                "write on_error = \"hold\", or remove `required`",
            );
        }
        let Some((table, _)) = table else { return };
        if required && *effective_unmapped == Unmapped::Warn {
            let key = if unmapped.is_some() { "unmapped" } else { "required" };
            refuse(
                key,
                format!("`{}` is required, and an unknown code would drop it with a warning", self.field),
                "write unmapped = \"hold\", or remove `required`",
            );
        }
        // To say that nobody has classified it is no guess (STU3 events, section 8).
        let guesses = matches!(effective_unmapped, Unmapped::Use(code) if code != UNCLASSIFIED);
        if table.safety() && guesses {
            refuse(
                "unmapped",
                format!("table `{}` is marked safety = true: an unknown code must not be guessed", table.name),
                "write unmapped = \"hold\"",
            );
        }
        let closed = matches!(self.kind(), Kind::Choice(_) | Kind::Integer | Kind::Boolean);
        if closed && *effective_unmapped == Unmapped::Keep {
            let key = if unmapped.is_some() { "unmapped" } else { "table" };
            refuse(
                key,
                format!("`{}` is {}: it cannot keep an unknown code", self.field, self.kind().words()),
                "write unmapped = \"hold\" or \"warn\"",
            );
        }
    }

    /// `absent = "clear"`: for senders that have no null, where leaving a field out says that there is none.
    fn absent(&self, required: bool, has_default: bool) -> bool {
        if self.section.get("absent").is_none() {
            return false;
        }
        let clears = self.section.word("absent", &[("clear", true)], self.terms.report).unwrap_or(false);
        if required || has_default {
            let mistake = Mistake::new(POLICY, self.section.key_span("absent"), format!("`{}` cannot be absent and cleared", self.field));
            self.error(mistake.help("remove `absent`, or `required` and `default`"));
        }
        clears
    }

    fn checks(&self, converter: Option<Converter>) -> Checks {
        let report = self.terms.report;
        let numeric = matches!(converter, Some(Converter::Integer | Converter::Decimal | Converter::KgToG));
        for key in ["min", "max"] {
            if self.section.get(key).is_some() && !numeric {
                let mistake = Mistake::new(CHECK, self.section.key_span(key), format!("`{key}` compares numbers"));
                self.error(mistake.help("write as = \"integer\" or as = \"decimal\" beside it"));
            }
        }
        let (min, max) = (self.section.number("min", report), self.section.number("max", report));
        if let (Some(min), Some(max)) = (min, max)
            && max < min
        {
            self.error(Mistake::new(CHECK, self.section.key_span("max"), "`max` is smaller than `min`"));
        }
        let pattern = self.section.text("pattern", report).and_then(|text| match Pattern::parse(text.value) {
            Ok(pattern) => Some(pattern),
            Err((span, message)) => {
                self.error(Mistake::new(CHECK, self.raw.source.inside(&text.span, text.value, span), message));
                None
            }
        });
        Checks { min, max, length: self.length(), pattern }
    }

    /// `length = 40`: at most; `length = "1..40"`: from, to.
    fn length(&self) -> Option<(usize, usize)> {
        let node = self.section.get("length")?;
        let bounds = match node.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok().map(|most| (0, most)),
            DeValue::String(text) => text.split_once("..").and_then(|(least, most)| {
                let least = if least.trim().is_empty() { Some(0) } else { least.trim().parse().ok() };
                let most = if most.trim().is_empty() { Some(usize::MAX) } else { most.trim().parse().ok() };
                least.zip(most).filter(|(least, most)| least <= most)
            }),
            _ => None,
        };
        if bounds.is_none() {
            self.error(
                Mistake::new(CHECK, node.span(), "`length` is the greatest number of characters or a range")
                    .help("write length = 40 or length = \"10..40\""),
            );
        }
        bounds
    }

    /// The rule on one line, as written.
    fn written(&self) -> String {
        let parts = super::document::entries(self.section.table).into_iter().map(|entry| {
            let text = self.raw.source.text.get(entry.node.span()).unwrap_or_default();
            format!("{} = {text}", entry.key)
        });
        format!("{} = {{ {} }}", self.field, parts.collect::<Vec<_>>().join(", "))
    }
}

/// Words of `unmapped`.
pub(super) fn parse_unmapped(text: &str) -> Option<Unmapped> {
    match text {
        "hold" => Some(Unmapped::Hold),
        "warn" => Some(Unmapped::Warn),
        "keep" => Some(Unmapped::Keep),
        _ => text.strip_prefix("use:").filter(|code| !code.is_empty()).map(|code| Unmapped::Use(code.to_owned())),
    }
}
