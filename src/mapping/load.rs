//! From files to compiled mappings: every file is read, every mistake of all of them is said at once.
//!
//! # The order
//!
//! 1. Tables are read. 2. Every TOML file is read into records and rules with their places.
//! 3. Files that extend another get its records, changed by `[override]`, `[add]`, `[remove]`.
//! 4. Each effective file is compiled: names, paths, conditions, rules, tests.
//!
//! # Invariants
//!
//! - Either everything compiles or nothing does.
//! - A rule is replaced whole, never merged key by key.
//!
//! # Not here
//!
//! Which of the compiled files reads a message: `select.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use toml::de::DeTable;

use super::condition::Condition;
use super::diagnostic::{
    EXTENDS, LET, MISSING_KEY, Mistake, NAME, Report, SURPRISE, SYNTAX, Source, TABLE, UNKNOWN_FIELD, VERB, WRONG_KIND, did_you_mean,
};
use super::document::{Section, Text, entries, texts_of};
use super::explain::Legend;
use super::inline_test::{self, InlineTest};
use super::path::{self, Dialect, Names, Numbers, Path};
use super::record::{self, RawRecord, Record};
use super::rule::{Defaults, ON_ERROR, Origin, Terms, parse_unmapped};
use super::table::{self, Sheet, Table};
use super::target::Home;
use crate::fhir::{self, Release};
use crate::names::MappingName;

const TOP_KEYS: &[&str] = &["mapping", "defaults", "let", "record", "ignore", "test", "override", "add", "remove"];
const MAPPING_KEYS: &[&str] =
    &["id", "version", "schema", "title", "owner", "format", "accepts", "columns", "zone", "null", "when", "extends", "sender", "tables"];
const FORMATS: &[(&str, Dialect)] =
    &[("hl7v2", Dialect::V2), ("fhir-stu3", Dialect::Fhir(Release::Stu3)), ("fhir-r4", Dialect::Fhir(Release::R4)), ("csv", Dialect::Csv)];

/// A compiled mapping file.
#[derive(Debug)]
pub(super) struct Mapping {
    /// `adt-person`.
    pub id: MappingName,
    /// What it is for, in words.
    pub title: String,
    /// For people.
    pub version: String,
    /// Who answers for it.
    pub owner: String,
    /// In which vocabulary its paths are.
    pub dialect: Dialect,
    /// Message types or event codes; for CSV nothing, because a row says itself which mapping reads it.
    pub accepts: Vec<String>,
    /// CSV: the columns that paths may name.
    pub columns: Vec<String>,
    /// Only messages of this sender: MSH-3 and MSH-4, or the source that a FHIR header names.
    pub sender: Option<Sender>,
    /// Only messages for which this holds.
    pub when: Option<Condition>,
    /// For times without an offset; where none is written, MSH-7's offset, else London.
    pub zone: Option<TimeZone>,
    /// `""` clears.
    pub null_clears: bool,
    /// Names of repetitions or nodes.
    pub lets: Vec<Let>,
    /// Messages that have nothing for us.
    pub ignores: Vec<Ignore>,
    /// The records.
    pub records: Vec<Record>,
    /// Its tests.
    pub tests: Vec<InlineTest>,
    /// The file that it extends.
    pub extends: Option<String>,
    /// `[mapping]`.
    pub origin: Origin,
    /// Folder of its own tables, `sites/rj1`.
    pub site: Option<String>,
    /// Its rules in words.
    pub legend: Arc<Legend>,
    /// Fields that nobody has to read, and why: the table [`LEFT_FIELDS`].
    pub left: Option<Table>,
    /// Modifier extensions that change nothing of what is read: the table [`MODIFIERS`].
    pub modifiers: Option<Table>,
}

/// The table of fields that are left on purpose, for the report of what is read.
pub(super) const LEFT_FIELDS: &str = "left-fields";

/// The table of modifier extensions that change nothing of what is read.
pub(super) const MODIFIERS: &str = "modifier-extension";

/// A sender by what its messages say of it, or by the name that the configuration has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// MSH-3.
    pub application: Option<String>,
    /// MSH-4.
    pub facility: Option<String>,
    /// The name of a `[[source]]`, which a certificate, an address or a folder stands for.
    pub source: Option<String>,
}

/// One name of `[let]`.
#[derive(Clone, Debug)]
pub(super) struct Let {
    /// `name`.
    pub name: String,
    /// The first that finds something counts.
    pub sources: Vec<Path>,
}

/// One `[[ignore]]`.
#[derive(Clone, Debug)]
pub(super) struct Ignore {
    /// Which messages.
    pub when: Condition,
    /// Why.
    pub reason: String,
    /// Not where one of its persons is a child on record: the message is read, so that filing can ask.
    pub unless_known: bool,
    /// Where it is written.
    pub origin: Origin,
}

/// The sheets of all CSV files by file name, with their sources.
pub(super) type Sheets<'a> = BTreeMap<&'a str, (Arc<Sheet>, &'a Source)>;

/// Reads all tables.
pub(super) fn sheets<'a>(sources: &'a [Source], report: &Report) -> Sheets<'a> {
    let mut sheets: Sheets<'a> = BTreeMap::new();
    for source in sources.iter().filter(|source| is_table(&source.name)) {
        sheets.insert(source.name.as_str(), (Arc::new(table::load(source, report)), source));
    }
    for (name, (sheet, source)) in &sheets {
        let base = name.rsplit('/').next().map(|file| format!("tables/{file}"));
        if let Some((common, _)) = base.filter(|base| base != name).and_then(|base| sheets.get(base.as_str())) {
            table::zeros_against(sheet, common, source, report);
        }
    }
    sheets
}

/// True for `tables/sex.csv` and `sites/rj1/tables/sex.csv`.
pub(super) fn is_table(name: &str) -> bool {
    name.ends_with(".csv") && (name.starts_with("tables/") || name.contains("/tables/"))
}

/// True for files that are mappings: every TOML file but the broker's own data beside them.
pub(super) fn is_mapping(name: &str) -> bool {
    name.ends_with(".toml") && !matches!(name, "hubs.toml" | "schedule.toml" | "failsafe.toml" | "holidays.toml" | "parents-record.toml")
}

/// A mapping file before it is compiled.
struct Raw<'a> {
    source: &'a Source,
    top: Section<'a>,
    head: Section<'a>,
    id: Text<'a>,
    extends: Option<Text<'a>>,
    defaults: Defaults,
    records: Vec<RawRecord<'a>>,
    lets: Vec<RawLet<'a>>,
    ignores: Vec<Section<'a>>,
}

#[derive(Clone)]
struct RawLet<'a> {
    name: &'a str,
    span: std::ops::Range<usize>,
    source: &'a Source,
    texts: Vec<Text<'a>>,
}

/// A parsed TOML file.
pub(super) struct Parsed<'a> {
    source: &'a Source,
    table: toml::Spanned<DeTable<'a>>,
}

/// Parses all TOML files. Of a file that is no TOML the first mistake is said and no other: behind a forgotten bracket everything is one.
pub(super) fn parse<'a>(sources: &'a [Source], report: &Report) -> Vec<Parsed<'a>> {
    let mappings = sources.iter().filter(|source| is_mapping(&source.name));
    let parsed = mappings.filter_map(|source| {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        if let Some(error) = errors.iter().min_by_key(|error| error.span().map(|span| span.start)) {
            let span = error.span().unwrap_or(0..0);
            let mistake = Mistake::new(SYNTAX, span, error.message().lines().collect::<Vec<_>>().join(", "));
            report.error(source, mistake.maybe_help(syntax_help(error.message())));
        }
        errors.is_empty().then_some(Parsed { source, table })
    });
    parsed.collect()
}

fn syntax_help(message: &str) -> Option<String> {
    if message.contains("duplicate key") {
        return Some("this name is already used above; keep one of the two".to_owned());
    }
    message.contains("string values must be quoted").then(|| "put texts between quotation marks".to_owned())
}

/// Compiles all parsed files.
pub(super) fn compile<'a>(parsed: &'a [Parsed<'a>], sheets: &Sheets<'a>, report: &Report) -> Vec<Mapping> {
    let raws: Vec<Raw<'a>> = parsed.iter().filter_map(|file| read(file, report)).collect();
    for (index, raw) in raws.iter().enumerate() {
        if let Some(first) = raws.iter().take(index).find(|other| other.id.value == raw.id.value) {
            let mistake =
                Mistake::new(NAME, raw.id.span.clone(), format!("the id {:?} is already used by {}", raw.id.value, first.source.shown));
            report.error(raw.source, mistake.help("give every file an id of its own"));
        }
    }
    let numbers = Numbers::default();
    raws.iter().filter_map(|raw| effective(raw, &raws, (sheets, &numbers), report)).collect()
}

fn read<'a>(file: &'a Parsed<'a>, report: &Report) -> Option<Raw<'a>> {
    let source = file.source;
    let top = Section { source, table: file.table.get_ref(), span: 0..0, what: "a mapping file".to_owned() };
    top.closed(TOP_KEYS, report);
    if top.get("mapping").is_none() {
        report.error(
            source,
            Mistake::new(MISSING_KEY, 0..0, "the file has no [mapping]")
                .help("begin with [mapping] and its id, version, schema, format, accepts"),
        );
        return None;
    }
    let head = top.section("mapping", "[mapping]", report)?;
    head.closed(MAPPING_KEYS, report);
    let extends = head.text("extends", report);
    let defaults = defaults(&top, report);
    let records = top
        .sections("record", "[[record]]", report)
        .into_iter()
        .filter_map(|section| RawRecord::read(section, &defaults, report))
        .collect();
    let lets = top.section("let", "[let]", report).map_or_else(Vec::new, |section| lets(&section, report));
    let ignores = top.sections("ignore", "[[ignore]]", report);
    let id = head.needed("id", "\"adt-person\"", report)?;
    Some(Raw { source, top, head, id, extends, defaults, records, lets, ignores })
}

fn defaults(top: &Section<'_>, report: &Report) -> Defaults {
    let mut defaults = Defaults::default();
    let Some(section) = top.section("defaults", "[defaults]", report) else { return defaults };
    section.closed(&["on_error", "unmapped"], report);
    if let Some(on_error) = section.word("on_error", ON_ERROR, report) {
        defaults.on_error = on_error;
    }
    if let Some(text) = section.text("unmapped", report) {
        match parse_unmapped(text.value) {
            Some(unmapped) => defaults.unmapped = unmapped,
            None => report.error(
                section.source,
                Mistake::new(WRONG_KIND, text.span, format!("`unmapped` cannot be {:?}", text.value))
                    .help("write hold, warn, keep, or use:CODE"),
            ),
        }
    }
    defaults
}

fn lets<'a>(section: &Section<'a>, report: &Report) -> Vec<RawLet<'a>> {
    let all = entries(section.table).into_iter();
    all.map(|entry| RawLet {
        name: entry.key,
        span: entry.span,
        source: section.source,
        texts: texts_of(entry.node, section.source, entry.key, report),
    })
    .collect()
}

/// What a file is after it took over what it extends.
fn effective<'a>(raw: &Raw<'a>, raws: &[Raw<'a>], shared: (&Sheets<'a>, &Numbers), report: &Report) -> Option<Mapping> {
    let bases = bases(raw, raws, report)?;
    assemble(raw, &bases, &parts(raw, &bases, report), shared, report)
}

/// Everything of the files below, changed by what `raw` says of it. What a file below says wrongly is said where that file is compiled.
fn parts<'a>(raw: &Raw<'a>, bases: &[&Raw<'a>], report: &Report) -> Parts<'a> {
    let inherited = bases.split_first().map(|(base, further)| parts(base, further, &Report::default()));
    let Parts { mut records, mut lets, mut ignores } = inherited.unwrap_or_default();
    change(raw, !bases.is_empty(), &mut records, &mut lets, report);
    add_records(raw, &mut records, report);
    lets.extend(raw.lets.iter().cloned());
    for (index, one) in lets.iter().enumerate() {
        if lets.iter().take(index).any(|other| other.name == one.name) {
            let mistake = Mistake::new(VERB, one.span.clone(), format!("[let] already has the name `{}` from the common file", one.name));
            report.error(one.source, mistake.help("write it below [override.let] to replace it"));
        }
    }
    ignores.extend(raw.ignores.iter().cloned());
    Parts { records, lets, ignores }
}

/// The file that `raw` extends, and what that one extends: the nearest first, none where it stands alone. A common file extends one that stands
/// alone; a sender's file extends any common one.
fn bases<'r, 'a>(raw: &Raw<'a>, raws: &'r [Raw<'a>], report: &Report) -> Option<Vec<&'r Raw<'a>>> {
    let mut bases: Vec<&'r Raw<'a>> = Vec::new();
    let mut extends = raw.extends.as_ref();
    while let Some(wanted) = extends {
        // Said at the file itself; a base that extends wrongly says so where it is compiled.
        let at = raw.extends.as_ref().map_or(0..0, |extends| extends.span.clone());
        let Some(base) = raws.iter().find(|other| other.id.value == wanted.value) else {
            // It may be in a file that could not be read; that was said there.
            if report.has(SYNTAX) {
                return None;
            }
            let mistake = Mistake::new(EXTENDS, at, format!("there is no mapping with the id {:?}", wanted.value));
            report.error(raw.source, mistake.maybe_help(did_you_mean(wanted.value, raws.iter().map(|other| other.id.value))));
            return None;
        };
        let is_sites = |raw: &Raw<'_>| raw.head.get("sender").is_some();
        let levels = if is_sites(raw) { 2 } else { 1 };
        if is_sites(base) || levels <= bases.len() {
            let mistake = Mistake::new(EXTENDS, at, format!("{:?} cannot be extended here", wanted.value));
            let help = "a common file extends one that stands alone, a sender's file any common one; a longer chain cannot be followed by a person";
            report.error(raw.source, mistake.help(help));
            return None;
        }
        bases.push(base);
        extends = base.extends.as_ref();
    }
    Some(bases)
}

/// `[override.REC]`, `[add.REC]`, `[remove]`.
fn change<'a>(raw: &Raw<'a>, has_base: bool, records: &mut [RawRecord<'a>], lets: &mut [RawLet<'a>], report: &Report) {
    for verb in ["override", "add", "remove"] {
        let Some(section) = raw.top.section(verb, &format!("[{verb}]"), report) else { continue };
        if !has_base {
            let mistake = Mistake::new(VERB, section.span.clone(), format!("[{verb}] needs a common file to change"));
            report.error(raw.source, mistake.help("add extends = \"…\" to [mapping], or write the rules into [[record]]"));
            continue;
        }
        for entry in entries(section.table) {
            if verb == "override" && entry.key == "let" {
                override_lets(raw, entry.node, lets, report);
                continue;
            }
            let names: Vec<String> = records.iter().map(|record| record.name.value.to_owned()).collect();
            let Some(record) = records.iter_mut().find(|record| record.name.value == entry.key) else {
                let mistake = Mistake::new(VERB, entry.span, format!("the common file has no record `{}`", entry.key));
                report.error(raw.source, mistake.maybe_help(did_you_mean(entry.key, names.iter().map(String::as_str))));
                continue;
            };
            match (verb, entry.node.get_ref().as_table()) {
                ("remove", _) => remove(raw, record, texts_of(entry.node, raw.source, entry.key, report), report),
                (_, Some(table)) => {
                    let inner = Section { source: raw.source, table, span: entry.span, what: format!("[{verb}.{}]", entry.key) };
                    put(raw, record, &inner, verb == "add", report);
                }
                (_, None) => report.error(
                    raw.source,
                    Mistake::new(WRONG_KIND, entry.node.span(), format!("[{verb}.{}] must be a table of rules", entry.key)),
                ),
            }
        }
    }
}

fn override_lets<'a>(raw: &Raw<'a>, node: &'a super::document::Node<'a>, lets: &mut [RawLet<'a>], report: &Report) {
    let Some(table) = node.get_ref().as_table() else { return };
    for entry in entries(table) {
        let texts = texts_of(entry.node, raw.source, entry.key, report);
        let names: Vec<&str> = lets.iter().map(|one| one.name).collect();
        match lets.iter_mut().find(|one| one.name == entry.key) {
            Some(one) => *one = RawLet { name: entry.key, span: entry.span, source: raw.source, texts },
            None => {
                let mistake = Mistake::new(VERB, entry.span, format!("the common file has no [let] name `{}`", entry.key));
                report.error(raw.source, mistake.maybe_help(did_you_mean(entry.key, names)));
            }
        }
    }
}

fn put<'a>(raw: &Raw<'a>, record: &mut RawRecord<'a>, section: &Section<'a>, add: bool, report: &Report) {
    for rule in record::rules(section, record.kind.shape(), &raw.defaults, report) {
        let field = rule.target.dotted();
        let existing = record.rules.iter().position(|old| old.target.path == rule.target.path);
        match (existing, add) {
            (None, true) => record.rules.push(rule),
            (Some(at), false) => {
                if let Some(old) = record.rules.get_mut(at) {
                    *old = rule;
                }
            }
            (Some(at), true) => {
                let before = record
                    .rules
                    .get(at)
                    .map_or_else(String::new, |old| format!("{}:{}", old.source.shown, old.source.line(old.key_span.start)));
                let mistake =
                    Mistake::new(VERB, rule.key_span, format!("`{field}` of `{}` is already there ({before})", record.name.value));
                report.error(raw.source, mistake.help(format!("write it below [override.{}] to replace it", record.name.value)));
            }
            (None, false) => {
                let known: Vec<String> = record.rules.iter().map(|old| old.target.dotted()).collect();
                let mistake = Mistake::new(
                    VERB,
                    rule.key_span,
                    format!("override of {}.{field}, which the common file does not have", record.name.value),
                );
                let near =
                    super::diagnostic::nearest(&field, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
                report.error(raw.source, mistake.help(near.unwrap_or_else(|| format!("write it below [add.{}]", record.name.value))));
            }
        }
    }
}

fn remove(raw: &Raw<'_>, record: &mut RawRecord<'_>, fields: Vec<Text<'_>>, report: &Report) {
    for field in fields {
        let before = record.rules.len();
        record.rules.retain(|rule| rule.target.dotted() != field.value);
        if record.rules.len() == before {
            let known: Vec<String> = record.rules.iter().map(|rule| rule.target.dotted()).collect();
            let mistake = Mistake::new(VERB, field.span, format!("`{}` has no field {:?} to remove", record.name.value, field.value));
            report.error(raw.source, mistake.maybe_help(did_you_mean(field.value, known.iter().map(String::as_str))));
        }
    }
}

fn add_records<'a>(raw: &Raw<'a>, records: &mut Vec<RawRecord<'a>>, report: &Report) {
    for record in &raw.records {
        if records.iter().any(|other| other.name.value == record.name.value) {
            let mistake = Mistake::new(NAME, record.name.span.clone(), format!("there is already a record `{}`", record.name.value));
            report.error(raw.source, mistake.help("give every record a name of its own"));
        } else {
            records.push(record.clone());
        }
    }
}

#[derive(Default)]
struct Parts<'a> {
    records: Vec<RawRecord<'a>>,
    lets: Vec<RawLet<'a>>,
    ignores: Vec<Section<'a>>,
}

fn assemble<'a>(
    raw: &Raw<'a>,
    bases: &[&Raw<'a>],
    parts: &Parts<'a>,
    (sheets, numbers): (&Sheets<'a>, &Numbers),
    report: &Report,
) -> Option<Mapping> {
    let head = &raw.head;
    head.needed("version", "\"2026.04.1\"", report);
    schema_number(head, report);
    // A site file says itself, or inherits, what its common file says.
    let inherits = |key: &str| {
        let below = || bases.iter().map(|base| &base.head).find(|head| head.get(key).is_some());
        if head.get(key).is_some() { head } else { below().unwrap_or(head) }
    };
    if inherits("format").get("format").is_none() {
        report.error(
            raw.source,
            Mistake::new(MISSING_KEY, head.span.clone(), "[mapping] must say `format`")
                .help("add: format = \"hl7v2\", \"fhir-stu3\", \"fhir-r4\" or \"csv\""),
        );
    }
    let dialect = inherits("format").word("format", FORMATS, report)?;
    let accepts: Vec<String> = inherits("accepts").texts("accepts", report).iter().map(|text| text.value.to_owned()).collect();
    let columns: Vec<String> = inherits("columns").texts("columns", report).iter().map(|text| text.value.to_owned()).collect();
    declared(raw, dialect, &columns, report);
    if accepts.is_empty() && dialect != Dialect::Csv {
        report.error(
            raw.source,
            Mistake::new(MISSING_KEY, head.span.clone(), "[mapping] must say which messages it `accepts`")
                .help("add: accepts = [\"ADT^A28\"]"),
        );
    }
    let site = raw.source.name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let named = tables(head, sheets, report);
    let find_table = |name: &str| find_table(name, site.as_deref(), &named, sheets);
    let names: Vec<String> = sheets.keys().filter_map(|file| Some(file.rsplit('/').next()?.trim_end_matches(".csv").to_owned())).collect();
    let in_table = |file: &str, mistake: Mistake| {
        if let Some((_, source)) = sheets.get(file) {
            report.error(source, mistake);
        }
    };
    let (lets, types) = compile_lets(&parts.lets, dialect, report);
    let let_names: Vec<String> = lets.iter().map(|one| one.name.clone()).collect();
    let path_names = Names { dialect, lets: &let_names, types: &types, columns: &columns, numbers: Some((numbers, raw.id.value)) };
    let terms = Terms { names: path_names, table: &find_table, table_names: &names, report, in_table: &in_table };
    let mut records = record::compile(&parts.records, &terms);
    let legend = Arc::new(Legend::of(&mut records));
    must_have(raw, &records, report);
    let ignores = parts.ignores.iter().filter_map(|section| ignore(section, &terms)).collect();
    let when = terms.condition(inherits("when"), "when");
    let tests = raw.top.sections("test", "[[test]]", report);
    let tests = tests.iter().filter_map(|section| inline_test::load(section, dialect, &columns, &records, report)).collect();
    let null_clears = inherits("null").word("null", &[("clear", true), ("ignore", false)], report).unwrap_or(false);
    let text = |key: &str| inherits(key).text(key, report).map_or_else(String::new, |text| text.value.to_owned());
    Some(Mapping {
        id: MappingName::new(raw.id.value),
        title: text("title"),
        version: text("version"),
        owner: text("owner"),
        dialect,
        accepts,
        columns,
        sender: sender(head, report),
        when,
        zone: zone(inherits("zone"), report),
        null_clears,
        lets,
        ignores,
        records,
        tests,
        extends: raw.extends.as_ref().map(|extends| extends.value.to_owned()),
        origin: Origin::of(raw.source, raw.id.span.start),
        left: find_table(LEFT_FIELDS),
        modifiers: find_table(MODIFIERS),
        site,
        legend,
    })
}

/// A CSV mapping declares its columns, each once, and nothing that only messages have.
fn declared(raw: &Raw<'_>, dialect: Dialect, columns: &[String], report: &Report) {
    let head = &raw.head;
    if dialect != Dialect::Csv {
        if head.get("columns").is_some() {
            let mistake = Mistake::new(WRONG_KIND, head.key_span("columns"), "`columns` is for format = \"csv\"");
            report.error(raw.source, mistake.help("remove `columns`"));
        }
        return;
    }
    if columns.is_empty() {
        let mistake = Mistake::new(MISSING_KEY, head.span.clone(), "[mapping] of a CSV extract must declare its `columns`");
        report.error(raw.source, mistake.help("add: columns = [\"NHS_NUMBER\", …], as the header names them"));
    }
    if let Some(twice) = columns.iter().enumerate().find_map(|(at, name)| columns.get(..at)?.contains(name).then_some(name)) {
        report.error(raw.source, Mistake::new(NAME, head.key_span("columns"), format!("column {twice:?} is declared twice")));
    }
    for key in ["accepts", "when", "sender"] {
        if head.get(key).is_some() {
            let mistake =
                Mistake::new(WRONG_KIND, head.key_span(key), format!("a CSV extract has no `{key}`: its mapping is named at import"));
            report.error(raw.source, mistake.help(format!("remove `{key}`")));
        }
    }
}

fn schema_number(head: &Section<'_>, report: &Report) {
    match head.number("schema", report) {
        Some(1.0) => {}
        Some(_) => report.error(
            head.source,
            Mistake::new(WRONG_KIND, head.key_span("schema"), "this version of the file format is not known here").help("write schema = 1"),
        ),
        None if head.get("schema").is_none() => {
            report.error(head.source, Mistake::new(MISSING_KEY, head.span.clone(), "[mapping] must say `schema`").help("add: schema = 1"))
        }
        None => {}
    }
}

/// `tables = { sex = "sites/rj1/tables/sex.csv" }`
fn tables(head: &Section<'_>, sheets: &Sheets<'_>, report: &Report) -> BTreeMap<String, String> {
    let Some(section) = head.section("tables", "`tables`", report) else { return BTreeMap::new() };
    let mut named = BTreeMap::new();
    for entry in entries(section.table) {
        let Some(file) = section.text(entry.key, report) else { continue };
        if sheets.contains_key(file.value) {
            named.insert(entry.key.to_owned(), file.value.to_owned());
        } else {
            let mistake = Mistake::new(TABLE, file.span, format!("there is no file {:?}", file.value));
            report.error(head.source, mistake.maybe_help(did_you_mean(file.value, sheets.keys().copied())));
        }
    }
    named
}

/// The site's sheet (named, or lying beside its file), then the common one.
fn find_table(name: &str, site: Option<&str>, named: &BTreeMap<String, String>, sheets: &Sheets<'_>) -> Option<Table> {
    let own = named.get(name).cloned().or_else(|| site.map(|site| format!("{site}/tables/{name}.csv")));
    let files = own.into_iter().chain([format!("tables/{name}.csv")]);
    let mut found: Vec<Arc<Sheet>> = files.filter_map(|file| sheets.get(file.as_str()).map(|(sheet, _)| Arc::clone(sheet))).collect();
    found.dedup_by(|a, b| Arc::ptr_eq(a, b));
    (!found.is_empty()).then(|| Table { name: name.to_owned(), sheets: found })
}

/// Warns of tables of senders that no file asks: a row in one of them changes nothing.
pub(super) fn unused_tables(mappings: &[Mapping], sources: &[Source], report: &Report) {
    let of = |mapping: &Mapping| {
        let rules = || mapping.records.iter().flat_map(|record| &record.rules);
        let conditions = mapping.records.iter().flat_map(Record::conditions).chain(mapping.when.as_ref());
        let conditions = conditions.chain(mapping.ignores.iter().map(|ignore| &ignore.when));
        let tables = conditions.flat_map(Condition::tables).chain(rules().filter_map(|rule| rule.table.as_ref()).map(|(table, _)| table));
        let sheets = tables.chain(&mapping.left).flat_map(|table| &table.sheets);
        sheets.map(|sheet| sheet.file.clone()).collect::<Vec<_>>()
    };
    let used: std::collections::BTreeSet<String> = mappings.iter().flat_map(of).collect();
    // Of a file that does not compile nobody knows what it asks.
    let readable = sources.iter().filter(|source| is_mapping(&source.name)).count() == mappings.len();
    let own = |source: &&Source| is_table(&source.name) && source.name.starts_with("sites/") && !used.contains(&source.name);
    for source in sources.iter().filter(own).filter(|_| readable) {
        let (folder, file) = source.name.rsplit_once("/tables/").unwrap_or_default();
        let name = file.trim_end_matches(".csv");
        let common: Vec<&str> = sources.iter().filter_map(|source| source.name.strip_prefix("tables/")?.strip_suffix(".csv")).collect();
        let help = if common.contains(&name) {
            format!("its rows hold for messages that a file of {folder} reads: add one there that extends the file with table {name:?}")
        } else {
            did_you_mean(name, common).unwrap_or_else(|| format!("no rule has table = {name:?}"))
        };
        let mistake = Mistake::new(SURPRISE, 0..0, format!("no mapping file of {folder} asks this table, so its rows change nothing"));
        report.warn(source, mistake.help(help));
    }
}

fn compile_lets(raws: &[RawLet<'_>], dialect: Dialect, report: &Report) -> (Vec<Let>, fhir::Scope) {
    let (mut lets, mut types) = (Vec::<Let>::new(), fhir::Scope::default());
    for raw in raws {
        // A name may use those above it, so that no two can wait for each other.
        let above: Vec<String> = lets.iter().map(|one| one.name.clone()).collect();
        let mut found = Vec::new();
        let mut sources = Vec::new();
        for text in &raw.texts {
            match path::compile(text.value, Names { dialect, lets: &above, types: &types, columns: &[], numbers: None }) {
                Ok((path, kinds)) if path.v2().is_none_or(|path| path.field.is_some() && path.component.is_none()) => {
                    found.push(kinds);
                    sources.push(path);
                }
                Ok(_) => {
                    let mistake = Mistake::new(LET, text.span.clone(), "[let] names a repetition of a field, whose parts are taken later");
                    report.error(raw.source, mistake.help("write 'PID-5[7 = \"L\"]', and take its parts as $name.1"));
                }
                Err(mistake) => {
                    let span = raw.source.inside(&text.span, text.value, mistake.span.clone());
                    report.error(raw.source, Mistake { span, ..mistake });
                }
            }
        }
        // Several sources of different types: anything that one of them has may follow.
        if let Some(first) = found.first().filter(|first| found.iter().all(|other| other == *first)) {
            types.lets.insert(raw.name.to_owned(), first.clone());
        }
        lets.push(Let { name: raw.name.to_owned(), sources });
    }
    (lets, types)
}

fn must_have(raw: &Raw<'_>, records: &[Record], report: &Report) {
    let has = |home: &Home| records.iter().any(|record| record.kind.home == *home);
    let missing = |message: &str, help: &str| report.error(raw.source, Mistake::new(MISSING_KEY, raw.id.span.clone(), message).help(help));
    if !has(&Home::Child) {
        missing(
            "no record of type `child`: nobody would know whom the message is about",
            "add [[record]] with name = \"child\" and type = \"child\"",
        );
    }
    if !has(&Home::Event) {
        missing(
            "no record of type `event`: nobody would know what happened",
            "add [[record]] with name = \"event\", type = \"event\" and a rule for `kind`",
        );
    }
    for record in records.iter().filter(|record| record.kind.home == Home::Event) {
        if !record.rules.iter().any(|rule| rule.field == "kind") {
            let mistake = Mistake::new(UNKNOWN_FIELD, raw.id.span.clone(), format!("record `{}` has no rule for `kind`", record.name));
            report.error(raw.source, mistake.help("add kind = { value = \"person\" }"));
        }
    }
}

fn ignore(section: &Section<'_>, terms: &Terms<'_>) -> Option<Ignore> {
    section.closed(&["when", "reason", "unless_known"], terms.report);
    section.needed("when", "'PID-30 = \"Y\"'", terms.report)?;
    let reason = section.needed("reason", "\"…\"", terms.report)?;
    let when = terms.condition(section, "when")?;
    let unless_known = section.truth("unless_known", terms.report).unwrap_or(false);
    Some(Ignore { when, reason: reason.value.to_owned(), unless_known, origin: Origin::of(section.source, section.span.start) })
}

fn sender(head: &Section<'_>, report: &Report) -> Option<Sender> {
    let section = head.section("sender", "`sender`", report)?;
    section.closed(&["application", "facility", "source"], report);
    let text = |key: &str| section.text(key, report).map(|text| text.value.to_owned());
    let sender = Sender { application: text("application"), facility: text("facility"), source: text("source") };
    if sender == (Sender { application: None, facility: None, source: None }) {
        let mistake = Mistake::new(MISSING_KEY, section.span.clone(), "`sender` says neither `application` nor `facility` nor `source`");
        report.error(
            head.source,
            mistake.help("write sender = { facility = \"RJ1\" }, as MSH-4 says it, or { source = \"NAME\" } of a [[source]]"),
        );
    }
    Some(sender)
}

fn zone(head: &Section<'_>, report: &Report) -> Option<TimeZone> {
    let text = head.text("zone", report)?;
    let zone = TimeZone::get(text.value);
    if zone.is_err() {
        report.error(
            head.source,
            Mistake::new(WRONG_KIND, text.span, format!("there is no time zone {:?}", text.value)).help("write zone = \"Europe/London\""),
        );
    }
    zone.ok()
}
