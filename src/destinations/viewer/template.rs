//! Templates: which of our words goes into which field of a message, written as data that a hub administrator can read.
//!
//! ```toml
//! occasion = "blood-spot"            # when it is used; a file without one is a part for others
//! type = "ORU^R01^ORU_R01"           # MSH-9; `type_of_new`, `type_of_delete` where these differ
//!
//! [[segment]]
//! part = "person"                    # the segments of person.toml
//!
//! [[segment]]
//! id = "OBX"
//! each = "item.outcomes"             # one segment for each; `it` is the one
//! 1 = "number"                       # the how-manieth OBX this is
//! 3 = { 1 = "it.procedure", 2 = "it.condition", 3 = "'SCT'" }   # components
//! 5 = "it.nbs_status"
//! 14 = "it.at | time"                # a converter
//! ```
//!
//! A value is a path, a text in single quotes, or a list of them of which the first that has a value is taken. Converters: `time`,
//! `time-without-zone`, `date`, `upper`, `table NAME` and `table NAME.COLUMN` (`tables/NAME.csv`).
//!
//! # Invariants
//!
//! - A template compiles whole or is refused with every mistake of it named; what compiled can fail only for a code that a table lacks.
//! - A path names a word of [`super::shown::vocabulary`] or does not compile.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::shown::{DOCUMENT, OCCASIONS, vocabulary};

/// Folders of templates and tables as name and text: `oru-bloodspot.toml`, `tables/sex.csv`.
pub type TemplateFiles = BTreeMap<String, String>;

/// A mistake in a template or table, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateMistake {
    /// The file, below the folder of templates.
    pub file: String,
    /// Bytes of it.
    pub span: Range<usize>,
    /// Line and column, from 1.
    pub at: (usize, usize),
    /// What is wrong.
    pub message: String,
    /// What would help.
    pub help: String,
}

impl std::fmt::Display for TemplateMistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{} {}; {}", self.file, self.at.0, self.at.1, self.message, self.help)
    }
}

/// All templates of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Templates {
    pub(super) templates: Vec<Template>,
}

/// One kind of message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) file: String,
    pub(super) occasion: String,
    pub(super) kind: String,
    pub(super) kind_of_new: Option<String>,
    pub(super) kind_of_delete: Option<String>,
    pub(super) segments: Vec<Segment>,
}

/// One segment, or one for each of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) id: String,
    pub(super) each: Option<String>,
    /// It is written only where this has a value, and only where that has none.
    pub(super) when: Option<String>,
    pub(super) unless: Option<String>,
    pub(super) fields: BTreeMap<usize, Field>,
}

/// What goes into a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// One repetition for each of this list.
    pub(super) each: Option<String>,
    /// Components, or one value that is the whole field.
    pub(super) parts: Vec<(usize, Choice)>,
    /// Where it stands, for what is said of it: file and line.
    pub(super) place: (String, usize),
}

/// The first of these that has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice(pub(super) Vec<Expression>);

/// A value and what is done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) from: From,
    pub(super) steps: Vec<Step>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    Text(String),
    Path(String),
    Number,
}

/// A converter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Time { zone: bool },
    Date,
    Upper,
    Table { name: String, rows: BTreeMap<String, String> },
}

impl Templates {
    /// Compiles all files, or names every mistake.
    pub(super) fn compile(files: &TemplateFiles) -> Result<Self, Vec<TemplateMistake>> {
        let mut compiler = Compiler { files, mistakes: Vec::new() };
        let mut templates = Vec::new();
        for (file, text) in files.iter().filter(|(file, _)| file.ends_with(".toml")) {
            let tree = match DeTable::parse(text) {
                Ok(tree) => tree,
                Err(error) => {
                    compiler.wrong(file, error.span().unwrap_or(0..0), error.message().to_owned(), "correct it as TOML");
                    continue;
                }
            };
            if tree.get_ref().contains_key("occasion") {
                templates.extend(compiler.template(file, tree.get_ref()));
            } else {
                // A part may be used on any occasion; what it says is checked where it is used, and its form here.
                let _checked_for_its_form = compiler.segments(file, tree.get_ref(), &Value::Null, 0);
            }
        }
        let Compiler { mut mistakes, .. } = compiler;
        mistakes.sort_by(|a, b| (&a.file, a.span.start, &a.message).cmp(&(&b.file, b.span.start, &b.message)));
        mistakes.dedup();
        if mistakes.is_empty() { Ok(Self { templates }) } else { Err(mistakes) }
    }

    /// The templates of an occasion, in the order of their file names.
    pub(super) fn of<'a>(&'a self, occasion: &'a str) -> impl Iterator<Item = &'a Template> {
        self.templates.iter().filter(move |template| template.occasion == occasion)
    }
}

struct Compiler<'a> {
    files: &'a TemplateFiles,
    mistakes: Vec<TemplateMistake>,
}

/// Parts may name parts; nobody needs more than this.
const PARTS_DEPTH_MAX: usize = 4;

impl Compiler<'_> {
    fn wrong(&mut self, file: &str, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let before = self.files.get(file).and_then(|text| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        self.mistakes.push(TemplateMistake { file: file.to_owned(), span, at: (line, column), message: message.into(), help: help.into() });
    }

    fn line(&self, file: &str, at: usize) -> usize {
        self.files.get(file).and_then(|text| text.get(..at)).unwrap_or_default().matches('\n').count() + 1
    }

    fn text(&mut self, file: &str, table: &DeTable<'_>, key: &str) -> Option<Spanned<String>> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(value.span(), text.to_string())),
            _ => {
                self.wrong(file, value.span(), format!("`{key}` is no text"), "write it in quotes");
                None
            }
        }
    }

    fn template(&mut self, file: &str, tree: &DeTable<'_>) -> Option<Template> {
        for (key, _) in tree.iter() {
            if !["occasion", "type", "type_of_new", "type_of_delete", "segment"].contains(&key.get_ref().as_ref()) {
                let help = "known here: occasion, type, type_of_new, type_of_delete, [[segment]]";
                self.wrong(file, key.span(), format!("unknown key `{}`", key.get_ref()), help);
            }
        }
        let occasion = self.text(file, tree, "occasion")?;
        let word = occasion.get_ref().clone();
        if !OCCASIONS.contains(&word.as_str()) && word != DOCUMENT {
            let help = format!("one of: {}, {DOCUMENT}", OCCASIONS.join(", "));
            self.wrong(file, occasion.span(), format!("there is no occasion \"{word}\""), help);
            return None;
        }
        let mut kind = |key: &str| {
            let kind = self.text(file, tree, key)?;
            let parts: Vec<&str> = kind.get_ref().split('^').collect();
            let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if parts.len() != 3 || !parts.iter().all(is_word) {
                self.wrong(file, kind.span(), format!("`{key}` is no message type"), "write all three parts, like \"ORU^R01^ORU_R01\"");
            }
            Some(kind.into_inner())
        };
        let (said, kind_of_new, kind_of_delete) = (kind("type"), kind("type_of_new"), kind("type_of_delete"));
        if !tree.contains_key("type") {
            self.wrong(file, occasion.span(), "the template has no `type`", "write one, like type = \"ORU^R01^ORU_R01\"");
        }
        let segments = self.segments(file, tree, &vocabulary(&word), 0);
        if segments.first().is_none_or(|segment| !matches!(segment.id.as_str(), "EVN" | "PID")) {
            self.wrong(
                file,
                occasion.span(),
                "the message does not begin with EVN or PID",
                "MSH is written by itself; what follows it is EVN or PID",
            );
        }
        Some(Template { file: file.to_owned(), occasion: word, kind: said?, kind_of_new, kind_of_delete, segments })
    }

    /// The segments of a file. Without words (`Null`) only their form is checked.
    fn segments(&mut self, file: &str, tree: &DeTable<'_>, words: &Value, depth: usize) -> Vec<Segment> {
        let Some(list) = tree.get("segment") else {
            self.wrong(file, 0..0, "there is no [[segment]]", "write at least one");
            return Vec::new();
        };
        let DeValue::Array(list) = list.get_ref() else {
            self.wrong(file, list.span(), "`segment` is no list", "write [[segment]] with two brackets");
            return Vec::new();
        };
        let mut segments = Vec::new();
        for one in list.iter() {
            let DeValue::Table(table) = one.get_ref() else { continue };
            match self.text(file, table, "part") {
                Some(part) => segments.extend(self.part(file, &part, words, depth)),
                None => segments.extend(self.segment(file, (table, one.span()), words)),
            }
        }
        segments
    }

    fn part(&mut self, file: &str, part: &Spanned<String>, words: &Value, depth: usize) -> Vec<Segment> {
        let name = format!("{}.toml", part.get_ref());
        let files = self.files;
        match files.get(&name).and_then(|text| DeTable::parse(text).ok()) {
            Some(tree) if depth < PARTS_DEPTH_MAX => self.segments(&name, tree.get_ref(), words, depth + 1),
            _ => {
                self.wrong(
                    file,
                    part.span(),
                    format!("there is no part \"{}\"", part.get_ref()),
                    format!("add a file {name}, or name another part"),
                );
                Vec::new()
            }
        }
    }

    fn segment(&mut self, file: &str, (table, span): (&DeTable<'_>, Range<usize>), words: &Value) -> Option<Segment> {
        let Some(id) = self.text(file, table, "id") else {
            self.wrong(file, span, "the segment has no `id`", "write id = \"OBX\", or part = \"person\"");
            return None;
        };
        let is_id = id.get_ref().len() == 3 && id.get_ref().bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if !is_id || id.get_ref() == "MSH" {
            self.wrong(
                file,
                id.span(),
                format!("\"{}\" is no segment of a template", id.get_ref()),
                "three capital letters or digits; MSH is written by itself",
            );
        }
        let each = self.list(file, table, words);
        let words = scoped(words, each.as_ref());
        let mut condition = |key: &str| {
            let path = self.text(file, table, key)?;
            self.known(file, &path, &words);
            Some(path.into_inner())
        };
        let (when, unless) = (condition("when"), condition("unless"));
        let mut fields = BTreeMap::new();
        for (key, value) in table.iter().filter(|(key, _)| !["id", "each", "when", "unless"].contains(&key.get_ref().as_ref())) {
            match key.get_ref().parse::<usize>() {
                Ok(number) if (1..=99).contains(&number) => {
                    fields.extend(self.field(file, value, &words).map(|field| (number, field)));
                }
                _ => self.wrong(
                    file,
                    key.span(),
                    format!("unknown key `{}` in a segment", key.get_ref()),
                    "a field is its number (`5 = …`); besides there are id, part, each, when, unless",
                ),
            }
        }
        Some(Segment { id: id.into_inner(), each, when, unless, fields })
    }

    fn list(&mut self, file: &str, table: &DeTable<'_>, words: &Value) -> Option<String> {
        let each = self.text(file, table, "each")?;
        if !words.is_null() && !at(words, each.get_ref()).is_some_and(Value::is_array) {
            let help = format!("lists here: {}", lists(words).join(", "));
            self.wrong(file, each.span(), format!("`{}` is no list on this occasion", each.get_ref()), help);
        }
        Some(each.into_inner())
    }

    fn field(&mut self, file: &str, value: &Spanned<DeValue<'_>>, words: &Value) -> Option<Field> {
        let place = (file.to_owned(), self.line(file, value.span().start));
        let DeValue::Table(table) = value.get_ref() else {
            return Some(Field { each: None, parts: vec![(0, self.choice(file, value, words)?)], place });
        };
        let each = self.list(file, table, words);
        let words = scoped(words, each.as_ref());
        let mut parts = Vec::new();
        for (key, value) in table.iter().filter(|(key, _)| key.get_ref() != "each") {
            match key.get_ref().parse::<usize>() {
                Ok(number) if (1..=30).contains(&number) => {
                    parts.extend(self.choice(file, value, &words).map(|choice| (number, choice)));
                }
                _ => self.wrong(
                    file,
                    key.span(),
                    format!("unknown key `{}` in a field", key.get_ref()),
                    "a component is its number (`1 = …`); besides there is each",
                ),
            }
        }
        parts.sort_by_key(|(number, _)| *number);
        Some(Field { each, parts, place })
    }

    fn choice(&mut self, file: &str, value: &Spanned<DeValue<'_>>, words: &Value) -> Option<Choice> {
        let texts: Vec<Spanned<String>> = match value.get_ref() {
            DeValue::String(text) => vec![Spanned::new(value.span(), text.to_string())],
            DeValue::Array(list) => {
                let texts = list.iter().filter_map(|one| Some(Spanned::new(one.span(), one.get_ref().as_str()?.to_owned())));
                texts.collect()
            }
            _ => Vec::new(),
        };
        if texts.is_empty() {
            self.wrong(
                file,
                value.span(),
                "this is no value",
                "write a path in quotes, a text in single quotes inside quotes, or a list of them",
            );
            return None;
        }
        Some(Choice(texts.iter().filter_map(|text| self.expression(file, text, words)).collect()))
    }

    fn expression(&mut self, file: &str, text: &Spanned<String>, words: &Value) -> Option<Expression> {
        let mut pieces = text.get_ref().split(" | ").map(str::trim);
        let first = pieces.next().unwrap_or_default();
        let quoted = first.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        let from = match quoted {
            Some(quoted) => From::Text(quoted.to_owned()),
            None if first == "number" => From::Number,
            None => {
                let path = Spanned::new(text.span(), first.to_owned());
                self.known(file, &path, words);
                From::Path(first.to_owned())
            }
        };
        let mut steps = Vec::new();
        for step in pieces {
            steps.push(self.step(file, text, step)?);
        }
        if let From::Path(path) = &from {
            self.form(file, text, at(words, path), steps.first());
        }
        Some(Expression { from, steps })
    }

    /// A time needs a converter, a list needs `each`.
    fn form(&mut self, file: &str, text: &Spanned<String>, word: Option<&Value>, first: Option<&Step>) {
        let Some(word) = word else { return };
        if !(word.is_string() || word.is_number()) {
            self.wrong(file, text.span(), format!("`{}` is not one value", text.get_ref()), "name one of its parts, or use `each`");
            return;
        }
        let is_time = word.as_str().is_some_and(|text| text.starts_with("2026-"));
        let has_step = matches!(first, Some(Step::Time { .. } | Step::Date));
        if is_time != has_step {
            let (what, help) = match is_time {
                true => ("is a time", "write `| time`, `| time-without-zone` or `| date` after it"),
                false => ("is no time", "leave the converter out"),
            };
            self.wrong(file, text.span(), format!("`{}` {what}", text.get_ref()), help);
        }
    }

    fn step(&mut self, file: &str, text: &Spanned<String>, step: &str) -> Option<Step> {
        match step {
            "time" => Some(Step::Time { zone: true }),
            "time-without-zone" => Some(Step::Time { zone: false }),
            "date" => Some(Step::Date),
            "upper" => Some(Step::Upper),
            _ => match step.strip_prefix("table ") {
                Some(name) => self.table(file, text, name.trim()),
                None => {
                    let help = "one of: time, time-without-zone, date, upper, table NAME";
                    self.wrong(file, text.span(), format!("there is no converter \"{step}\""), help);
                    None
                }
            },
        }
    }

    fn table(&mut self, file: &str, text: &Spanned<String>, named: &str) -> Option<Step> {
        let (name, column) = named.split_once('.').unwrap_or((named, "to"));
        let csv = format!("tables/{name}.csv");
        let files = self.files;
        let Some(content) = files.get(&csv) else {
            self.wrong(file, text.span(), format!("there is no table \"{name}\""), format!("add a file {csv}, or name another table"));
            return None;
        };
        match rows(content, column) {
            Ok(rows) => Some(Step::Table { name: name.to_owned(), rows }),
            Err((at, message)) => {
                self.wrong(
                    &csv,
                    at,
                    message,
                    "a table has a header line with `from`, `to` and the columns that templates name, and one line for each code",
                );
                None
            }
        }
    }

    fn known(&mut self, file: &str, path: &Spanned<String>, words: &Value) {
        if words.is_null() || at(words, path.get_ref()).is_some() {
            return;
        }
        let home = path.get_ref().rsplit_once('.').map_or("", |(home, _)| home);
        let there: Vec<String> = match at(words, home).and_then(Value::as_object) {
            Some(fields) => fields.keys().map(|field| format!("{home}.{field}")).collect(),
            None => words.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default(),
        };
        let message = format!("nothing is called `{}` on this occasion", path.get_ref());
        self.wrong(file, path.span(), message, format!("known here: {}", there.join(", ")));
    }
}

/// The words with `it`.
fn scoped(words: &Value, each: Option<&String>) -> Value {
    let Some(one) = each.and_then(|each| at(words, each)).and_then(|list| list.get(0)).cloned() else { return words.clone() };
    let mut words = words.clone();
    if let Some(fields) = words.as_object_mut() {
        fields.insert("it".to_owned(), one);
    }
    words
}

/// The value at a path, `it.code`.
pub(super) fn at<'v>(tree: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(tree, |tree, part| tree.as_object()?.get(part)).filter(|value| !value.is_null())
}

fn lists(words: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in words.as_object().into_iter().flatten() {
        for (inner, _) in value.as_object().into_iter().flatten().filter(|(_, value)| value.is_array()) {
            found.push(format!("{name}.{inner}"));
        }
    }
    found
}

/// `from` and another column of a table. `*` stands for every other code.
fn rows(text: &str, column: &str) -> Result<BTreeMap<String, String>, (Range<usize>, String)> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
    let whole = 0..text.len().min(1);
    let headers = reader.headers().map_err(|error| (whole.clone(), error.to_string()))?.clone();
    let place =
        |name: &str| headers.iter().position(|header| header == name).ok_or_else(|| (0..0, format!("the table has no column `{name}`")));
    let (from, to) = (place("from")?, place(column)?);
    let mut rows = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| (whole.clone(), error.to_string()))?;
        let start = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(0));
        let cell = |column: usize| record.get(column).unwrap_or_default().to_owned();
        if rows.insert(cell(from), cell(to)).is_some() {
            return Err((start..start, format!("the table has \"{}\" twice", cell(from))));
        }
    }
    Ok(rows)
}
