//! Running a compiled mapping over one message: records, rules, policies, findings, and where every value came from.
//!
//! # Invariants
//!
//! - The same message, bundle and options always give the same result; nothing is read but the message.
//! - Nothing here panics, and what a message can cost is bounded: a message that would cost more is held and says so.
//! - A field that could not be filled is named by a finding, unless its rule says that this is of no interest.
//! - Three states: absent, a value, and HL7 null, which clears (where the file says so).
//!
//! # Not here
//!
//! How a path finds something is the [`View`] of the dialect (`eval_v2.rs`, `eval_fhir.rs`).

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

use super::assemble;
use super::convert::{Converted, Converter, Surroundings};
use super::load::Mapping;
use super::path::Path;
use super::record::{Key, Record};
use super::rule::{OnError, Rule, Unmapped};
use super::table::Table;
use super::target::{Home, Kind};
use super::view::{Hit, Mode, View, holds};
use super::{Finding, Level, Miss, Outcome, Provenance, Reading};

/// Records that one message may make.
const INSTANCES_MAX: usize = 20_000;
/// Findings that one message may have; more say nothing new.
const FINDINGS_MAX: usize = 500;
/// Characters of a sender's text that a finding quotes.
const QUOTED_MAX: usize = 80;

/// Where a value came from, before its field has its whole name.
pub(super) struct Source {
    /// `birth.date`, below its record.
    pub field: String,
    /// The rest.
    pub provenance: Provenance,
}

/// A record that was made.
pub(super) struct Made {
    /// Which record of the file.
    pub record: usize,
    /// Its fields.
    pub fields: Map<String, Value>,
    /// Fields that were sent as null.
    pub nulls: Vec<String>,
    /// Child lists that were sent as null.
    pub cleared: Vec<&'static str>,
    /// Records that belong to it.
    pub parts: Vec<Made>,
    /// Where its values came from.
    pub sources: Vec<Source>,
}

/// What a rule gave.
enum Got<P> {
    Value(Value, Vec<(Hit<'static, P>, Vec<String>)>),
    Constant(Value, &'static str),
    Null,
    Absent,
    Failed,
}

/// What is the same for the whole message.
pub(super) struct Options<'a> {
    /// For conversions.
    pub around: Surroundings<'a>,
    /// The day of the message, ISO, for tables with validity.
    pub day: Option<String>,
    /// Fill provenance.
    pub explain: bool,
    /// Keep what was made, for tests.
    pub keep: bool,
    /// Findings about the message as a whole.
    pub findings: Vec<Finding>,
}

/// A reading, with what was made where it was asked for.
pub(super) struct Evaluation {
    /// What the caller of the bundle gets.
    pub reading: Reading,
    /// Records by name, in order, for tests.
    pub seen: Vec<assemble::Seen>,
}

/// Reads a message with a mapping.
pub(super) fn evaluate<'d, V: View<'d>>(mapping: &Mapping, view: &V, options: Options<'_>) -> Evaluation {
    let root = view.root();
    let ignored = mapping.ignores.iter().find(|ignore| holds(view, &root, &ignore.when));
    if let Some(ignore) = ignored {
        let outcome = Outcome::Ignored(format!("{} [{}]", ignore.reason, ignore.origin.shown()));
        let reading = Reading {
            mapping: Some(mapping.id.clone()),
            outcome,
            statements: Vec::new(),
            findings: options.findings,
            provenance: Vec::new(),
            contents: Vec::new(),
        };
        return Evaluation { reading, seen: Vec::new() };
    }
    let Options { around, day, explain, keep, findings } = options;
    let mut engine = Engine { mapping, view, around, day, explain, findings, instances: 0, miss: None };
    let mut pairs = Vec::new();
    for (index, record) in mapping.records.iter().enumerate() {
        if record.kind.home == Home::Child {
            for scope in engine.enter(&root, index, &mut Vec::new()) {
                if let Some(child) = engine.make(index, &scope) {
                    pairs.push((engine.event(&scope, index), child));
                }
            }
        }
    }
    if pairs.is_empty() {
        engine.say_of_all("no-child", "the message names no child that this mapping can read", "see the record of type child in this file");
    }
    let mut out = assemble::Assembled::new(keep);
    for (event, child) in pairs {
        match event {
            Some(event) => out.statement(mapping, event, child, &mut engine.findings),
            None => engine.say_of_all(
                "no-event",
                "no event record of this mapping applies to this message",
                "see the records of type event in this file",
            ),
        }
    }
    if view.is_exhausted() || engine.instances >= INSTANCES_MAX {
        let help = "look at the message: it repeats segments or nodes thousands of times";
        engine.say_of_all("too-much", "reading this message would take more work than one message may cost", help);
    }
    let findings = engine.findings;
    let held = findings.iter().any(|finding| finding.level == Level::Hold);
    let outcome = if held { Outcome::Held } else { Outcome::Mapped };
    let reading = Reading {
        mapping: Some(mapping.id.clone()),
        outcome,
        statements: out.statements,
        findings,
        provenance: out.provenance,
        contents: Vec::new(),
    };
    Evaluation { reading, seen: out.seen }
}

struct Engine<'e, V> {
    mapping: &'e Mapping,
    view: &'e V,
    around: Surroundings<'e>,
    day: Option<String>,
    explain: bool,
    findings: Vec<Finding>,
    instances: usize,
    /// The missing code that the next finding is about.
    miss: Option<Miss>,
}

/// Field, place, bytes of a finding.
type About = (String, String, Option<Range<usize>>);

impl<'d, V: View<'d>> Engine<'_, V> {
    fn say(&mut self, level: Level, code: &str, (field, at, bytes): About, rule: String, text: String, help: &str) {
        let miss = self.miss.take();
        let finding = Finding { level, code: code.to_owned(), field, at, bytes, rule, text, help: help.to_owned(), miss };
        if self.findings.len() < FINDINGS_MAX && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Something that holds the message and is nobody's field.
    fn say_of_all(&mut self, code: &str, text: &str, help: &str) {
        let rule = self.mapping.origin.shown();
        self.say(Level::Hold, code, (String::new(), String::new(), None), rule, text.to_owned(), help);
    }

    /// The scopes of a record's instances; orphans are said, null lists are collected.
    fn enter(&mut self, scope: &V::Scope, index: usize, cleared: &mut Vec<&'static str>) -> Vec<V::Scope> {
        let Some(record) = self.mapping.records.get(index) else { return Vec::new() };
        let entered = self.view.enter(scope, record);
        for (orphan, owner) in entered.orphans {
            let text = format!("{orphan} belongs to no {owner}");
            let help = format!("no {owner} stands where it could own it; a person must see whose it is");
            self.say(Level::Hold, "orphan", (String::new(), orphan, None), record.origin.shown(), text, &help);
        }
        if entered.cleared {
            cleared.push(record.member);
        }
        entered.scopes
    }

    /// The event that belongs to a child: the first event record that applies.
    fn event(&mut self, child_scope: &V::Scope, child: usize) -> Option<Made> {
        let mapping = self.mapping;
        let events = mapping.records.iter().enumerate().filter(|(_, record)| record.kind.home == Home::Event);
        for (index, record) in events {
            let from = if record.parent == Some(child) { child_scope.clone() } else { self.view.root() };
            for scope in self.enter(&from, index, &mut Vec::new()) {
                if let Some(made) = self.make(index, &scope) {
                    return Some(made);
                }
            }
        }
        None
    }

    /// One instance of a record, with everything that belongs to it.
    fn make(&mut self, index: usize, scope: &V::Scope) -> Option<Made> {
        let mapping = self.mapping;
        let record = mapping.records.get(index)?;
        self.instances += 1;
        if self.instances >= INSTANCES_MAX || self.view.is_exhausted() {
            return None;
        }
        if record.when.as_ref().is_some_and(|when| !holds(self.view, scope, when)) {
            return None;
        }
        self.check(record, scope);
        let mut made =
            Made { record: index, fields: Map::new(), nulls: Vec::new(), cleared: Vec::new(), parts: Vec::new(), sources: Vec::new() };
        let mut missing = Vec::new();
        let mut present = vec![false; record.rules.len()];
        let mut has_content = false;
        for (rule, present) in record.rules.iter().zip(&mut present) {
            match self.run(record, rule, scope) {
                Got::Value(value, hits) => {
                    (*present, has_content) = (true, true);
                    self.keep_sources(rule, &value, hits, &mut made);
                    put(&mut made.fields, &rule.target.path, value);
                }
                Got::Constant(value, step) => {
                    *present = true;
                    self.keep_constant(rule, &value, step, &mut made);
                    put(&mut made.fields, &rule.target.path, value);
                }
                Got::Null if (self.mapping.null_clears || rule.absent_clears) && !rule.required => made.nulls.push(rule.field.clone()),
                Got::Null | Got::Absent if rule.required => missing.push(rule),
                Got::Null | Got::Absent | Got::Failed => {}
            }
        }
        let is_root = matches!(record.kind.home, Home::Child | Home::Event);
        let needed = record.needs.iter().all(|need| present.get(*need) == Some(&true));
        if needed {
            for rule in missing {
                self.say_missing(record, rule, scope);
            }
            self.parts(record, scope, &mut made);
            has_content |= !made.parts.is_empty();
            self.check_key(record, scope, &present, &made);
        }
        if is_root || (needed && has_content) {
            return Some(made);
        }
        // Nothing but nulls: the sender says that there is none of these.
        let only_nulls = !made.nulls.is_empty() && !has_content;
        only_nulls.then(|| Made {
            cleared: vec![record.member],
            fields: Map::new(),
            nulls: Vec::new(),
            parts: Vec::new(),
            sources: Vec::new(),
            ..made
        })
    }

    fn parts(&mut self, record: &Record, scope: &V::Scope, made: &mut Made) {
        for child in &record.children {
            let is_event = self.mapping.records.get(*child).is_some_and(|record| record.kind.home == Home::Event);
            if is_event {
                continue;
            }
            let mut cleared = Vec::new();
            for scope in self.enter(scope, *child, &mut cleared) {
                let Some(part) = self.make(*child, &scope) else { continue };
                if part.cleared.is_empty() || !part.fields.is_empty() || !part.parts.is_empty() {
                    made.parts.push(part);
                } else {
                    cleared.extend(part.cleared);
                }
            }
            if self.mapping.null_clears {
                made.cleared.extend(cleared);
            }
        }
    }

    fn check(&mut self, record: &Record, scope: &V::Scope) {
        let Some((check, text)) = &record.check else { return };
        if !holds(self.view, scope, check) {
            let at = self.view.stands_on(scope);
            let place = if at.is_empty() { String::new() } else { format!(" at {at}") };
            let text = format!("{}{place} does not meet its check: {text}", record.name);
            self.say(
                Level::Hold,
                "check-failed",
                (record.name.clone(), at, None),
                record.origin.shown(),
                text,
                "see `check` of this record",
            );
        }
    }

    fn check_key(&mut self, record: &Record, scope: &V::Scope, present: &[bool], made: &Made) {
        let found = record.key.iter().any(|key| match key {
            Key::Rule(rule) => present.get(*rule) == Some(&true),
            Key::Record(index) => made.parts.iter().any(|part| part.record == *index),
        });
        if record.key.is_empty() || found {
            return;
        }
        let names = record.key.iter().filter_map(|key| match key {
            Key::Rule(rule) => record.rules.get(*rule).map(|rule| rule.field.as_str()),
            Key::Record(index) => self.mapping.records.get(*index).map(|record| record.name.as_str()),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let text = format!("nothing identifies this {}: none of {names} is there", record.name);
        let about = (record.name.clone(), self.view.stands_on(scope), None);
        self.say(Level::Hold, "no-key", about, record.origin.shown(), text, "ask the sender for an identifier");
    }

    fn say_missing(&mut self, record: &Record, rule: &Rule, scope: &V::Scope) {
        let from = rule.sources.iter().map(Path::text).collect::<Vec<_>>().join(", ");
        let at = self.view.stands_on(scope);
        let place = if at.is_empty() { String::new() } else { format!(" in {at}") };
        let code = coded(rule.on_error, "required");
        let about = (format!("{}.{}", record.name, rule.field), from.clone(), None);
        self.say(
            Level::Hold,
            &code,
            about,
            rule.origin.shown(),
            format!("{from} is empty{place}, and the field is required"),
            "ask the sender to fill it",
        );
    }

    /// What one rule gives.
    fn run(&mut self, record: &Record, rule: &Rule, scope: &V::Scope) -> Got<V::Place> {
        if rule.when.as_ref().is_some_and(|when| !holds(self.view, scope, when)) {
            return Got::Absent;
        }
        if let Some(value) = &rule.value {
            return Got::Constant(value.clone(), "constant");
        }
        if let Some(join) = &rule.join {
            return self.run_joined(record, rule, scope, join);
        }
        let is_list = rule.all || rule.target.kind == Kind::Texts;
        match if is_list { self.run_list(record, rule, scope) } else { self.run_one(record, rule, scope) } {
            Got::Absent if rule.absent_clears => Got::Null,
            got => got,
        }
    }

    fn run_one(&mut self, record: &Record, rule: &Rule, scope: &V::Scope) -> Got<V::Place> {
        let mode = Mode { scalar: rule.scalar, every: false };
        let first = rule.sources.iter().find_map(|path| self.view.first(scope, path, mode));
        let converted = match first {
            Some(hit) if hit.null => return Got::Null,
            Some(hit) => match self.convert(record, rule, &hit) {
                Ok(converted) => converted.map(|(value, steps)| (value, if self.explain { vec![(kept(hit), steps)] } else { Vec::new() })),
                Err(()) => return Got::Failed,
            },
            None => None,
        };
        match (converted, &rule.default) {
            (Some((value, from)), _) => Got::Value(value, from),
            (None, Some(default)) => Got::Constant(default.clone(), "default"),
            (None, None) => Got::Absent,
        }
    }

    fn run_list(&mut self, record: &Record, rule: &Rule, scope: &V::Scope) -> Got<V::Place> {
        let mut hits = self.hits(rule, scope);
        if hits.iter().any(|hit| hit.null) && hits.iter().all(|hit| hit.null) {
            return Got::Null;
        }
        hits.retain(|hit| !hit.null);
        let (mut values, mut from, mut failed) = (Vec::new(), Vec::new(), false);
        for hit in hits {
            match self.convert(record, rule, &hit) {
                Ok(Some((value, steps))) => {
                    values.extend(listed(rule, value));
                    if self.explain {
                        from.push((kept(hit), steps));
                    }
                }
                Ok(None) => {}
                Err(()) => failed = true,
            }
        }
        match (values.is_empty(), failed, &rule.default) {
            (true, false, Some(default)) => Got::Constant(default.clone(), "default"),
            (true, true, _) => Got::Failed,
            (true, false, None) => Got::Absent,
            _ if rule.target.kind == Kind::Text => {
                Got::Value(Value::String(values.iter().map(as_text).collect::<Vec<_>>().join("\n")), from)
            }
            _ => Got::Value(Value::Array(values), from),
        }
    }

    /// Everything that was found as one text, then converted as one.
    fn run_joined(&mut self, record: &Record, rule: &Rule, scope: &V::Scope, join: &str) -> Got<V::Place> {
        let mut hits = self.hits(rule, scope);
        hits.retain(|hit| !hit.null);
        if hits.is_empty() {
            hits = self.all_hits(&rule.fallback, rule.scalar, scope);
            hits.retain(|hit| !hit.null);
        }
        let Some(first) = hits.first() else {
            return rule.default.clone().map_or(Got::Absent, |default| Got::Constant(default, "default"));
        };
        let text = hits.iter().map(|hit| hit.text.as_ref()).collect::<Vec<_>>().join(join);
        let whole = Hit { text: Cow::Owned(text), null: false, place: first.place.clone() };
        match self.convert(record, rule, &whole) {
            Ok(Some((value, steps))) => {
                let each = |hit: Hit<'d, V::Place>| (kept(hit), steps.clone());
                let from = if self.explain { hits.into_iter().map(each).collect() } else { Vec::new() };
                Got::Value(if rule.target.kind == Kind::Texts { Value::Array(vec![value]) } else { value }, from)
            }
            Ok(None) => Got::Absent,
            Err(()) => Got::Failed,
        }
    }

    /// The first value of the first source that says something, or all values of all of them.
    fn hits(&self, rule: &Rule, scope: &V::Scope) -> Vec<Hit<'d, V::Place>> {
        let mode = Mode { scalar: rule.scalar, every: false };
        if !rule.all {
            return rule.sources.iter().find_map(|path| self.view.first(scope, path, mode)).into_iter().collect();
        }
        self.all_hits(&rule.sources, rule.scalar, scope)
    }

    /// All values of all paths.
    fn all_hits(&self, paths: &[Path], scalar: bool, scope: &V::Scope) -> Vec<Hit<'d, V::Place>> {
        let mode = Mode { scalar, every: false };
        let mut all = Vec::new();
        for path in paths {
            self.view.any(scope, path, mode, &mut |hit| {
                all.push(hit);
                false
            });
        }
        all
    }

    /// Converter, table, checks, kind of field. `Err`: said, or of no interest by policy.
    fn convert(&mut self, record: &Record, rule: &Rule, hit: &Hit<'d, V::Place>) -> Result<Option<(Value, Vec<String>)>, ()> {
        let converted = match rule.converter {
            Some(converter) => converter.convert(&hit.text, &self.around),
            None => Ok(Some(Converted::from(Value::String(plain(&hit.text))))),
        };
        let converted = match converted {
            Ok(Some(converted)) => converted,
            Ok(None) => return Ok(None),
            Err(why) => return self.fail(record, rule, hit, &why),
        };
        if let Some((code, words)) = converted.note {
            let level = if code == "zero-restored" { Level::Info } else { Level::Warning };
            let text = format!("\"{}\" at {} {words}", quoted(&hit.text), self.view.place(&hit.place));
            self.say(level, code, self.about(record, rule, hit), rule.origin.shown(), text, "");
        }
        let mut steps =
            if self.explain { rule.converter.map(|converter| converter.word().to_owned()).into_iter().collect() } else { Vec::new() };
        let mut value = converted.value;
        if let Some((table, column)) = &rule.table {
            match self.translate(record, rule, hit, (table, column), &as_text(&value), &mut steps)? {
                Some(cell) => value = Value::String(cell),
                None => return Ok(None),
            }
        }
        if let Err(why) = checked(rule, &value) {
            return self.fail(record, rule, hit, &why);
        }
        match fitted(&rule.target.kind, value) {
            Ok(value) => Ok(Some((value, steps))),
            Err(why) => self.fail(record, rule, hit, &why),
        }
    }

    fn about(&self, record: &Record, rule: &Rule, hit: &Hit<'d, V::Place>) -> About {
        (format!("{}.{}", record.name, rule.field), self.view.place(&hit.place), self.view.bytes(&hit.place))
    }

    fn fail<T>(&mut self, record: &Record, rule: &Rule, hit: &Hit<'d, V::Place>, why: &str) -> Result<Option<T>, ()> {
        let level = if rule.on_error == OnError::Warn { Level::Warning } else { Level::Hold };
        let text = format!("\"{}\" at {} {why}", quoted(&hit.text), self.view.place(&hit.place));
        let code = coded(rule.on_error, "bad-value");
        self.say(level, &code, self.about(record, rule, hit), rule.origin.shown(), text, "ask the sender to mend it, or change this rule");
        Err(())
    }

    /// The cell of a code; an empty cell of a further column says nothing.
    fn translate(
        &mut self,
        record: &Record,
        rule: &Rule,
        hit: &Hit<'d, V::Place>,
        (table, column): (&Table, &str),
        code: &str,
        steps: &mut Vec<String>,
    ) -> Result<Option<String>, ()> {
        if let Some((sheet, row)) = table.find(code, self.day.as_deref()) {
            if self.explain {
                steps.push(format!("table {}:{}", sheet.file, row.line));
            }
            let cell = sheet.column(column).map_or("", |column| row.cell(column));
            return Ok((!cell.is_empty()).then(|| cell.to_owned()));
        }
        let (level, kept) = match &rule.unmapped {
            Unmapped::Hold => (Level::Hold, None),
            Unmapped::Warn => (Level::Warning, None),
            Unmapped::Keep => (Level::Warning, Some(code.to_owned())),
            Unmapped::Use(code) => (Level::Warning, Some(code.clone())),
        };
        let text = format!("code \"{}\" at {} is not in table {}", quoted(code), self.view.place(&hit.place), table.name);
        let help = self.table_help(table);
        self.miss = Some(Miss { table: table.name.clone(), code: code.to_owned() });
        self.say(level, "unmapped-code", self.about(record, rule, hit), rule.origin.shown(), text, &help);
        match kept {
            Some(kept) => {
                if self.explain {
                    steps.push(format!("unmapped in {}", table.name));
                }
                Ok(Some(kept))
            }
            None => Err(()),
        }
    }

    fn table_help(&self, table: &Table) -> String {
        let common = format!("tables/{}.csv", table.name);
        match &self.mapping.site {
            Some(site) => format!("add a row to {common}, or {site}/tables/{}.csv", table.name),
            None => format!("add a row to {common}"),
        }
    }

    fn keep_sources(&self, rule: &Rule, value: &Value, hits: Vec<(Hit<'static, V::Place>, Vec<String>)>, made: &mut Made) {
        let many = hits.len() > 1;
        for (index, (hit, steps)) in hits.into_iter().enumerate() {
            let (field, value) = match value.get(index) {
                Some(item) if many => (format!("{}[{index}]", rule.field), as_text(item)),
                _ => (rule.field.clone(), as_text(value)),
            };
            let (from, bytes) = (self.view.place(&hit.place), self.view.bytes(&hit.place));
            let is_content = rule.converter.is_some_and(Converter::sets_aside);
            let raw = if is_content { format!("{} characters", hit.text.chars().count()) } else { hit.text.into_owned() };
            let provenance = Provenance { field: String::new(), value, from, bytes, raw, steps, rule: rule.origin.short() };
            made.sources.push(Source { field, provenance });
        }
    }

    fn keep_constant(&self, rule: &Rule, value: &Value, step: &str, made: &mut Made) {
        if !self.explain {
            return;
        }
        let provenance = Provenance {
            field: String::new(),
            value: as_text(value),
            from: String::new(),
            bytes: None,
            raw: String::new(),
            steps: vec![step.to_owned()],
            rule: rule.origin.short(),
        };
        made.sources.push(Source { field: rule.field.clone(), provenance });
    }
}

/// A cell of a table may hold several codes with spaces between them, where the field holds a list.
fn listed(rule: &Rule, value: Value) -> Vec<Value> {
    match value {
        Value::String(cell) if rule.table.is_some() && rule.target.kind == Kind::Texts => {
            cell.split_whitespace().map(Value::from).collect()
        }
        value => vec![value],
    }
}

/// A hit that outlives the message.
fn kept<P>(hit: Hit<'_, P>) -> Hit<'static, P> {
    Hit { text: Cow::Owned(hit.text.into_owned()), null: hit.null, place: hit.place }
}

/// A finding's code says where a source that waits for the outcome gets AR: [`Finding::rejects`].
fn coded(policy: OnError, code: &str) -> String {
    if policy == OnError::Reject { format!("{REJECT}{code}") } else { code.to_owned() }
}

/// What the codes of findings begin with whose rule says `on_error = "reject"`.
pub(super) const REJECT: &str = "reject-";

fn plain(text: &str) -> String {
    use unicode_normalization::{UnicodeNormalization, is_nfc};
    let text = text.trim();
    if text.is_ascii() || is_nfc(text) { text.to_owned() } else { text.nfc().collect() }
}

/// A sender's text as a finding quotes it.
fn quoted(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    match text.char_indices().nth(QUOTED_MAX) {
        Some((at, _)) => Cow::Owned(format!("{}…", text.get(..at).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// A canonical value as text: a moment is its value, a list its items.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(", "),
        Value::Object(object) => object.get("value").map_or_else(|| value.to_string(), as_text),
        other => other.to_string(),
    }
}

/// `min`, `max`, `length`, `pattern`.
fn checked(rule: &Rule, value: &Value) -> Result<(), String> {
    let checks = &rule.checks;
    if checks.min.is_some() || checks.max.is_some() {
        let number = as_text(value).parse::<f64>().map_err(|_| "is no number".to_owned())?;
        if let Some(min) = checks.min.filter(|min| number < *min) {
            return Err(format!("is below {min}"));
        }
        if let Some(max) = checks.max.filter(|max| *max < number) {
            return Err(format!("is above {max}"));
        }
    }
    if let Some((least, most)) = checks.length {
        let length = as_text(value).chars().count();
        if length < least || most < length {
            return Err(format!(
                "has {length} characters; {}",
                if most < length { format!("at most {most} are expected") } else { format!("at least {least} are expected") }
            ));
        }
    }
    match &checks.pattern {
        Some(pattern) if !pattern.fits(&as_text(value)) => Err(format!("does not look like {}", pattern.text)),
        _ => Ok(()),
    }
}

/// The value as the field holds it.
fn fitted(kind: &Kind, value: Value) -> Result<Value, String> {
    match (kind, value) {
        (Kind::Text | Kind::Texts, value @ Value::String(_)) => Ok(value),
        (Kind::Text | Kind::Texts, value) => Ok(Value::String(as_text(&value))),
        (Kind::Choice(list), value) => {
            let text = as_text(&value);
            if list.contains(&text) { Ok(Value::String(text)) } else { Err(format!("is not one of {}", list.join(", "))) }
        }
        (Kind::Integer, Value::String(text)) => text.parse::<i64>().map(Value::from).map_err(|_| "is no whole number".to_owned()),
        (Kind::Boolean, Value::String(text)) => text.parse::<bool>().map(Value::Bool).map_err(|_| "is neither true nor false".to_owned()),
        (_, value) => Ok(value),
    }
}

/// Puts a value at a path, making the parts on the way.
fn put(fields: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((last, parts)) = path.split_last() else { return };
    let mut at = fields;
    for part in parts {
        let next = at.entry(part.clone()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return };
        at = next;
    }
    at.insert(last.clone(), value);
}
