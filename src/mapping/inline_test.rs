//! `[[test]]` inside a mapping file: a sample, small changes to it, and what must come of it.
//!
//! ```text
//! [[test]]
//! name   = "a code nobody has seen holds the message"
//! sample = "samples/a28-newborn.hl7"
//! row    = 3                                    # of a CSV sample; the first where nothing is said
//! set    = { "PID-8" = "Q" }                    # raw text, with its delimiters
//! drop   = ["NK1[2]", "PID-7"]                  # segments, fields, repetitions
//! move   = { "OBX[1]" = "before OBR[1]" }
//! insert = { "after PID[1]" = ["PD1|||X"] }     # before, after, or "OBX[2]": as the second; whole segments
//! expect.held   = true
//! expect.issues = ['child.sex: code "Q" at PID-8 is not in table sex']   # all warnings and holds, no others
//! expect.child.birth.date = { value = "2026-04-01", precision = "day" }  # or "2026-04-01" alone
//! expect.name.0.family    = "TESTING"           # the first record of that name
//! expect.absent = ["child.religion"]
//! expect.cleared = ["child.gp.practice_ods"]
//! expect.counts = { name = 2 }
//! expect.result.3.parent = "sample.1"           # the second sample owns the fourth result
//! expect.ignored = false                        # or true, or the reason
//! ```
//!
//! # Invariants
//!
//! - Every name in `expect` exists: a test cannot pass because of a typing error.
//! - A test reads with its own file, whatever other files would accept the sample; 999 NHS numbers are taken.

use bumpalo::Bump;
use jiff::Timestamp;
use serde_json::Value;

use super::assemble::Seen;
use super::csv_row::CsvRow;
use super::diagnostic::{Mistake, Report, TEST, WRONG_KIND, did_you_mean};
use super::document::{Entry, Node, Section, Text, entries, json};
use super::eval::Evaluation;
use super::load::Mapping;
use super::mutate::{self, Edit};
use super::path::Dialect;
use super::record::Record;
use super::rule::Origin;
use super::select::{self, Document, How};
use super::target::{Kind, Model};
use super::{Format, Input, Level, Outcome, TestReport};
use crate::fhir::Release;

const TEST_KEYS: &[&str] = &["name", "sample", "row", "received", "set", "drop", "move", "insert", "expect"];
const EXPECT_KEYS: &[&str] = &["held", "ignored", "issues", "absent", "cleared", "counts"];

/// A compiled test.
#[derive(Debug)]
pub(super) struct InlineTest {
    name: String,
    origin: Origin,
    sample: String,
    row: usize,
    received: Option<Timestamp>,
    edits: Vec<Edit>,
    expect: Expect,
}

#[derive(Debug, Default)]
struct Expect {
    held: Option<bool>,
    ignored: Option<Value>,
    issues: Option<Vec<String>>,
    absent: Vec<Place>,
    /// An empty list: nothing at all.
    cleared: Option<Vec<String>>,
    counts: Vec<(usize, u64)>,
    /// Record, which of them, its owner as `sample.1` where that is asked, its fields.
    records: Vec<(usize, usize, Option<Value>, Value)>,
}

/// `contact.0.birth_date`
#[derive(Debug)]
struct Place {
    text: String,
    record: usize,
    instance: usize,
    path: Vec<String>,
}

/// Reads a test and checks every name in it.
pub(super) fn load(section: &Section<'_>, dialect: Dialect, columns: &[String], records: &[Record], report: &Report) -> Option<InlineTest> {
    section.closed(TEST_KEYS, report);
    let name = section.needed("name", "\"what it shows\"", report);
    let sample = section.needed("sample", "\"samples/….hl7\"", report)?;
    let edits = mutate::load(section, dialect, columns, report);
    let row = row(section, dialect, report);
    let received = received(section, report);
    let loader = Loader { section, records, report };
    let expect = section.section("expect", "`expect`", report);
    let expect = expect.map(|expect| loader.expect(&expect));
    if expect.is_none() && section.get("expect").is_none() {
        report.error(
            section.source,
            Mistake::new(TEST, section.span.clone(), "a test must `expect` something").help("add: expect.held = false"),
        );
    }
    let origin = Origin::of(section.source, section.span.start);
    Some(InlineTest { name: name?.value.to_owned(), origin, sample: sample.value.to_owned(), row, received, edits, expect: expect? })
}

/// The day on which the sample came, at noon.
fn received(section: &Section<'_>, report: &Report) -> Option<Timestamp> {
    let text = section.text("received", report)?;
    let day = text.value.parse::<jiff::civil::Date>().ok();
    let at = day.and_then(|day| day.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|at| at.timestamp());
    if at.is_none() {
        report.error(section.source, Mistake::new(WRONG_KIND, text.span, "`received` is no day").help("write received = \"2026-04-01\""));
    }
    at
}

/// Which row of a CSV sample is read.
fn row(section: &Section<'_>, dialect: Dialect, report: &Report) -> usize {
    if dialect != Dialect::Csv && section.get("row").is_some() {
        report.error(section.source, Mistake::new(TEST, section.key_span("row"), "`row` is for samples of CSV extracts"));
    }
    let number = section.get("row").and_then(|node| json(node.get_ref()).as_u64()).and_then(|number| usize::try_from(number).ok());
    if number.is_none_or(|number| number == 0) && section.get("row").is_some() {
        report.error(section.source, Mistake::new(WRONG_KIND, section.key_span("row"), "`row` is a whole number from 1"));
    }
    number.unwrap_or(1)
}

struct Loader<'l, 'a> {
    section: &'l Section<'a>,
    records: &'l [Record],
    report: &'l Report,
}

impl Loader<'_, '_> {
    fn error(&self, mistake: Mistake) {
        self.report.error(self.section.source, mistake);
    }

    fn record(&self, name: &str) -> Option<usize> {
        self.records.iter().position(|record| record.name == name)
    }

    fn names(&self) -> Vec<&str> {
        self.records.iter().map(|record| record.name.as_str()).collect()
    }

    fn expect(&self, section: &Section<'_>) -> Expect {
        let texts = |key: &str| section.texts(key, self.report);
        let mut expect = Expect { held: section.truth("held", self.report), ..Expect::default() };
        expect.ignored = section.get("ignored").map(|node| json(node.get_ref()));
        expect.issues = section.get("issues").map(|_| texts("issues").iter().map(|text| text.value.to_owned()).collect());
        expect.absent = texts("absent").iter().filter_map(|text| self.place(text)).collect();
        expect.cleared = section.get("cleared").map(|_| texts("cleared").iter().filter_map(|text| self.cleared(text)).collect());
        expect.counts = section.section("counts", "`counts`", self.report).map_or_else(Vec::new, |counts| self.counts(&counts));
        for entry in entries(section.table) {
            if EXPECT_KEYS.contains(&entry.key) {
                continue;
            }
            match self.record(entry.key) {
                Some(record) => self.instances(record, &entry, &mut expect),
                None => {
                    let known = self.names().into_iter().chain(EXPECT_KEYS.iter().copied()).collect::<Vec<_>>();
                    let mistake = Mistake::new(TEST, entry.span, format!("`expect` names `{}`, and there is no such record", entry.key));
                    self.error(mistake.maybe_help(did_you_mean(entry.key, known)));
                }
            }
        }
        expect
    }

    fn counts(&self, section: &Section<'_>) -> Vec<(usize, u64)> {
        let all = entries(section.table).into_iter();
        let counts = all.filter_map(|entry| {
            let count = json(entry.node.get_ref()).as_u64();
            if count.is_none() {
                self.error(Mistake::new(WRONG_KIND, entry.node.span(), "a count is a whole number"));
            }
            let record = self.record(entry.key);
            if record.is_none() {
                let mistake = Mistake::new(TEST, entry.span, format!("there is no record `{}`", entry.key));
                self.error(mistake.maybe_help(did_you_mean(entry.key, self.names())));
            }
            record.zip(count)
        });
        counts.collect()
    }

    /// `expect.name.0.family` or `expect.child.sex`.
    fn instances(&self, record: usize, entry: &Entry<'_>, expect: &mut Expect) {
        let Some(table) = entry.node.get_ref().as_table() else {
            self.error(
                Mistake::new(WRONG_KIND, entry.node.span(), format!("`expect.{}` must name a field", entry.key))
                    .help(format!("write expect.{}.field = …", entry.key)),
            );
            return;
        };
        let numbered: Vec<Entry<'_>> =
            entries(table).into_iter().filter(|inner| inner.key.bytes().all(|byte| byte.is_ascii_digit())).collect();
        if numbered.is_empty() {
            expect.records.push(self.instance(record, 0, entry.node));
        }
        for inner in numbered {
            let Ok(instance) = inner.key.parse() else { continue };
            expect.records.push(self.instance(record, instance, inner.node));
        }
    }

    fn instance(&self, record: usize, instance: usize, node: &Node<'_>) -> (usize, usize, Option<Value>, Value) {
        let mut value = json(node.get_ref());
        let parent = value.as_object_mut().and_then(|object| object.shift_remove("parent"));
        if let (Some(found), Some(table)) = (self.records.get(record), node.get_ref().as_table()) {
            for entry in entries(table).into_iter().filter(|entry| entry.key != "parent") {
                self.field(found.kind.shape(), &found.name, &entry);
            }
        }
        (record, instance, parent, value)
    }

    /// Checks a field name and everything below it.
    fn field(&self, shape: usize, name: &str, entry: &Entry<'_>) {
        let shape = Model::get().shape(shape);
        let Some(field) = shape.field(entry.key) else {
            let mistake = Mistake::new(TEST, entry.span.clone(), format!("`{name}` has no field `{}`", entry.key));
            self.error(mistake.maybe_help(did_you_mean(entry.key, shape.fields.iter().map(|field| field.name.as_str()))));
            return;
        };
        let name = format!("{name}.{}", entry.key);
        let inner = |part: usize, node: &Node<'_>| {
            for entry in node.get_ref().as_table().map_or_else(Vec::new, entries) {
                self.field(part, &name, &entry);
            }
        };
        match &field.kind {
            Kind::Part(part) => inner(*part, entry.node),
            Kind::Parts(part) => match entry.node.get_ref() {
                toml::de::DeValue::Array(items) => items.iter().for_each(|item| inner(*part, item)),
                toml::de::DeValue::Table(table) => entries(table).iter().for_each(|item| inner(*part, item.node)),
                _ => self.error(
                    Mistake::new(WRONG_KIND, entry.node.span(), format!("`{name}` is a list"))
                        .help(format!("write expect.{name}.0.field = …")),
                ),
            },
            Kind::Choice(list) => {
                let text = json(entry.node.get_ref());
                if !text.as_str().is_some_and(|text| list.iter().any(|known| known == text)) {
                    let mistake = Mistake::new(TEST, entry.node.span(), format!("`{name}` can never be {text}"));
                    self.error(mistake.maybe_help(did_you_mean(text.as_str().unwrap_or_default(), list.iter().map(String::as_str))));
                }
            }
            Kind::Date | Kind::Instant => {
                for part in entry.node.get_ref().as_table().map_or_else(Vec::new, entries) {
                    if !["value", "precision", "raw"].contains(&part.key) {
                        let mistake = Mistake::new(TEST, part.span, format!("`{name}` has no field `{}`", part.key));
                        self.error(mistake.help("a date is { value = \"2026-04-01\", precision = \"day\" }"));
                    }
                }
            }
            _ => {}
        }
    }

    fn place(&self, text: &Text<'_>) -> Option<Place> {
        let mut parts = text.value.split('.').peekable();
        let name = parts.next().unwrap_or_default();
        let Some(record) = self.record(name) else {
            let mistake = Mistake::new(TEST, text.span.clone(), format!("there is no record `{name}`"));
            self.error(mistake.maybe_help(did_you_mean(name, self.names())));
            return None;
        };
        let instance =
            parts.next_if(|part| part.bytes().all(|byte| byte.is_ascii_digit())).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let path: Vec<String> = parts.map(str::to_owned).collect();
        let mut shape = self.records.get(record).map(|record| record.kind.shape());
        for part in path.iter().filter(|part| !part.bytes().all(|byte| byte.is_ascii_digit())) {
            let here = shape.map(|shape| Model::get().shape(shape));
            let field = here.and_then(|here| here.field(part));
            let Some(field) = field else {
                let mistake = Mistake::new(TEST, text.span.clone(), format!("`{name}` has no field `{}`", path.join(".")));
                let known = here.map_or_else(Vec::new, |here| here.fields.iter().map(|field| field.name.as_str()).collect());
                self.error(mistake.maybe_help(did_you_mean(part, known)));
                return None;
            };
            shape = if let Kind::Part(next) | Kind::Parts(next) = field.kind { Some(next) } else { None };
        }
        Some(Place { text: text.value.to_owned(), record, instance, path })
    }

    fn cleared(&self, text: &Text<'_>) -> Option<String> {
        let place = self.place(text)?;
        let is_child = self.records.get(place.record).is_some_and(|record| record.kind.name == "child");
        if !is_child {
            self.error(
                Mistake::new(TEST, text.span.clone(), "only fields of the child can be cleared")
                    .help("write \"child.gp.practice_ods\" or \"child.telecoms\""),
            );
        }
        is_child.then(|| place.path.join("."))
    }
}

/// Runs all tests of a mapping.
pub(super) fn run(mapping: &Mapping, sample: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<TestReport> {
    let one = |test: &InlineTest| {
        let failures = match evaluate(mapping, test, sample) {
            Ok(evaluation) => test.expect.failures(mapping, &evaluation),
            Err(why) => vec![why],
        };
        TestReport { file: test.origin.shown.clone(), line: test.origin.line, name: test.name.clone(), failures }
    };
    mapping.tests.iter().map(one).collect()
}

fn evaluate(mapping: &Mapping, test: &InlineTest, sample: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Evaluation, String> {
    let body = sample(&test.sample).ok_or_else(|| format!("there is no sample {}", test.sample))?;
    let arena = Bump::new();
    if mapping.dialect == Dialect::Csv {
        let row = CsvRow::of_file(&body, test.row).map_err(|why| format!("the sample {} cannot be read: {why}", test.sample))?;
        let document = mutate::apply(Document::Csv(row), &test.edits, &arena)?;
        return Ok(select::with(
            mapping,
            &document,
            How { allow_test_numbers: true, keep: true, received: test.received, ..How::default() },
        ));
    }
    let is_xml = body.trim_ascii_start().starts_with(b"<") || body.starts_with(b"\xef\xbb\xbf<");
    let format = match (mapping.dialect, is_xml) {
        (Dialect::V2 | Dialect::Csv, _) => Format::Hl7v2,
        (Dialect::Fhir(Release::Stu3), true) => Format::Stu3Xml,
        (Dialect::Fhir(Release::Stu3), false) => Format::Stu3Json,
        (Dialect::Fhir(Release::R4), true) => Format::R4Xml,
        (Dialect::Fhir(Release::R4), false) => Format::R4Json,
    };
    let input = Input { format, body: &body, default_charset: None, allow_test_numbers: true, received: None };
    let document = Document::read(&input, &arena).map_err(|why| format!("the sample {} cannot be read: {why}", test.sample))?;
    let document = mutate::apply(document, &test.edits, &arena)?;
    Ok(select::with(mapping, &document, How { allow_test_numbers: true, keep: true, received: test.received, ..How::default() }))
}

impl Expect {
    fn failures(&self, mapping: &Mapping, evaluation: &Evaluation) -> Vec<String> {
        let mut failures = Vec::new();
        self.outcome(evaluation, &mut failures);
        let seen = &evaluation.seen;
        let of = |record: usize| seen.iter().enumerate().filter(move |(_, seen)| seen.record == record);
        let name = |record: usize| mapping.records.get(record).map_or("", |record| record.name.as_str());
        for (record, count) in &self.counts {
            let came = of(*record).count();
            if u64::try_from(came) != Ok(*count) {
                failures.push(format!("{}: {count} records were expected, {came} came", name(*record)));
            }
        }
        for (record, instance, parent, value) in &self.records {
            let label =
                if *instance == 0 && of(*record).count() < 2 { name(*record).to_owned() } else { format!("{}.{instance}", name(*record)) };
            let Some((_, found)) = of(*record).nth(*instance) else {
                failures.push(format!("{label}: was expected, and did not come"));
                continue;
            };
            compare(&label, value, Some(&found.value), &mut failures);
            if let Some(parent) = parent {
                let came = owner(found, seen, mapping);
                if as_text(parent) != came {
                    failures.push(format!("{label}: belongs to {came}, {} was expected", as_text(parent)));
                }
            }
        }
        for place in &self.absent {
            let found = of(place.record).nth(place.instance).map(|(_, seen)| &seen.value);
            if let Some(value) = found.and_then(|value| at(value, &place.path)) {
                failures.push(format!("{}: should be absent, and is {}", place.text, shown(value)));
            }
        }
        if self.cleared.as_ref().is_some_and(Vec::is_empty)
            && let Some(path) = seen.iter().find_map(|seen| seen.clears.first())
        {
            failures.push(format!("child.{path}: is cleared, and nothing should be"));
        }
        for path in self.cleared.iter().flatten() {
            if !seen.iter().any(|seen| seen.clears.contains(path)) {
                failures.push(format!("child.{path}: should be cleared, and is not"));
            }
        }
        failures
    }

    fn outcome(&self, evaluation: &Evaluation, failures: &mut Vec<String>) {
        let reading = &evaluation.reading;
        let said: Vec<String> = reading
            .findings
            .iter()
            .filter(|finding| finding.level != Level::Info)
            .map(|finding| if finding.field.is_empty() { finding.text.clone() } else { format!("{}: {}", finding.field, finding.text) })
            .collect();
        if let Some(held) = self.held
            && held != (reading.outcome == Outcome::Held)
        {
            let because = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
            failures.push(if held { "should be held, and is not".to_owned() } else { format!("should not be held, and is{because}") });
        }
        let ignored = if let Outcome::Ignored(reason) = &reading.outcome { Some(reason) } else { None };
        match (&self.ignored, ignored) {
            (Some(Value::Bool(wanted)), came) if *wanted == came.is_some() => {}
            (Some(Value::String(wanted)), Some(came)) if came.split(" [").next() == Some(wanted) => {}
            (Some(wanted), came) => failures.push(format!("ignored: expected {wanted}, came {}", came.map_or("no", String::as_str))),
            (None, _) => {}
        }
        if let Some(issues) = &self.issues {
            failures.extend(issues.iter().filter(|issue| !said.contains(issue)).map(|issue| format!("this issue was expected: {issue}")));
            failures.extend(said.iter().filter(|came| !issues.contains(came)).map(|came| format!("this issue was not expected: {came}")));
        }
    }
}

/// `sample.1`: the owner of a record, by name and number.
fn owner(found: &Seen, seen: &[Seen], mapping: &Mapping) -> String {
    let Some(owner) = found.parent.and_then(|at| seen.get(at)) else { return "nothing".to_owned() };
    let number = seen.iter().take(found.parent.unwrap_or(0)).filter(|other| other.record == owner.record).count();
    mapping.records.get(owner.record).map_or_else(String::new, |record| format!("{}.{number}", record.name))
}

fn at<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(value: &Value) -> String {
    value.to_string()
}

/// What is expected must be there; what is not named may be anything.
fn compare(name: &str, expected: &Value, came: Option<&Value>, failures: &mut Vec<String>) {
    let Some(came) = came else {
        failures.push(format!("{name}: expected {}, nothing came", shown(expected)));
        return;
    };
    match (expected, came) {
        (Value::Object(fields), Value::Object(_) | Value::Array(_)) => {
            for (field, expected) in fields {
                compare(&format!("{name}.{field}"), expected, at(came, std::slice::from_ref(field)), failures);
            }
        }
        (Value::Array(wanted), Value::Array(items)) if wanted.len() == items.len() => {
            for (index, (wanted, item)) in wanted.iter().zip(items).enumerate() {
                compare(&format!("{name}.{index}"), wanted, Some(item), failures);
            }
        }
        (Value::String(text), Value::Object(moment)) if moment.get("value").and_then(Value::as_str) == Some(text) => {}
        (expected, came) if expected == came => {}
        (expected, came) => failures.push(format!("{name}: expected {}, came {}", shown(expected), shown(came))),
    }
}
