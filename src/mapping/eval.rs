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

use super::assemble;
use super::convert::{Converted, Converter, Surroundings, plain};
use super::explain::{At, Explanation, Notes, Step};
use super::load::Mapping;
use super::path::Path;
use super::record::{Key, Record};
use super::rule::{OnError, Rule, Unmapped};
use super::table::Table;
use super::target::{Home, Kind};
use super::value::{Part, Val};
use super::view::{Hit, Mode, View, holds};
use super::{Finding, Level, Miss, Outcome, Reading};

/// Records that one message may make.
const INSTANCES_MAX: usize = 20_000;
/// Findings that one message may have; more say nothing new.
const FINDINGS_MAX: usize = 500;
/// Characters of a sender's text that a finding quotes.
const QUOTED_MAX: usize = 80;
/// Rules of a record and of those around it.
const PRESENT_ROOM: usize = 64;
/// Bytes that the notes of most messages take.
const NOTES_ROOM: usize = 4_096;

/// A record that was made.
pub(super) struct Made {
    /// Which record of the file.
    pub record: usize,
    /// Its fields.
    pub part: Part,
    /// Fields that were sent as null.
    pub nulls: Vec<String>,
    /// Child lists that were sent as null.
    pub cleared: Vec<&'static str>,
    /// Records that belong to it.
    pub parts: Vec<Made>,
    /// Where its values came from.
    pub notes: Range<usize>,
}

/// What a rule gave.
enum Got {
    Value(Val),
    Constant(Val),
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
    let ignoring = ignored.map(|ignore| Outcome::Ignored(format!("{} [{}]", ignore.reason, ignore.origin.shown())));
    if let (Some(false), Some(outcome)) = (ignored.map(|ignore| ignore.unless_known), &ignoring) {
        let outcome = outcome.clone();
        let reading = Reading {
            mapping: Some(mapping.id.clone()),
            outcome,
            statements: Vec::new(),
            findings: options.findings,
            provenance: Explanation::default(),
            contents: Vec::new(),
        };
        return Evaluation { reading, seen: Vec::new() };
    }
    let Options { around, day, explain, keep, findings } = options;
    let of_the_message = findings.len();
    let notes = if explain { Notes::with_room(NOTES_ROOM) } else { Notes::default() };
    let present = Vec::with_capacity(PRESENT_ROOM);
    let mut engine = Engine { mapping, view, around, day, explain, findings, notes, present, instances: 0, miss: None };
    let mut pairs = Vec::new();
    for (index, record) in mapping.records.iter().enumerate() {
        if record.kind.home == Home::Child {
            for scope in engine.enter(&root, record, &mut Vec::new()) {
                if let Some(child) = engine.make(index, &scope) {
                    pairs.push((engine.event(&scope, index), child));
                }
            }
        }
    }
    if pairs.is_empty() {
        engine.say_of_all("no-child", "the message names no child that this mapping can read", "see the record of type child in this file");
    }
    let mut out = assemble::Assembled::new(keep, explain);
    for (event, child) in pairs {
        match event {
            Some(event) => out.statement(mapping, event, child, (&mut engine.findings, &mut engine.notes)),
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
    let mut findings = engine.findings;
    if ignoring.is_some() {
        // What is ignored is asked for nothing but its persons.
        findings.truncate(of_the_message);
    }
    let held = findings.iter().any(|finding| finding.level == Level::Hold);
    let outcome = ignoring.unwrap_or(if held { Outcome::Held } else { Outcome::Mapped });
    let provenance = engine.notes.finish(mapping);
    let reading =
        Reading { mapping: Some(mapping.id.clone()), outcome, statements: out.statements, findings, provenance, contents: Vec::new() };
    Evaluation { reading, seen: out.seen }
}

struct Engine<'e, V> {
    mapping: &'e Mapping,
    view: &'e V,
    around: Surroundings<'e>,
    day: Option<String>,
    explain: bool,
    findings: Vec<Finding>,
    notes: Notes,
    /// Which rules of the records being made found something, the innermost record last.
    present: Vec<bool>,
    instances: usize,
    /// The missing code that the next finding is about.
    miss: Option<Miss>,
}

/// Field, place, bytes of a finding.
type About = (String, String, Option<Range<usize>>);

impl<'e, 'd, V: View<'d>> Engine<'e, V> {
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
    fn enter(&mut self, scope: &V::Scope, record: &Record, cleared: &mut Vec<&'static str>) -> impl Iterator<Item = V::Scope> + use<'d, V> {
        if record.over.is_none() {
            return Some(*scope).into_iter().chain(V::Scopes::default());
        }
        let entered = self.view.enter(scope, record);
        for (orphan, owner) in entered.orphans {
            let text = format!("{orphan} belongs to no {owner}");
            let help = format!("no {owner} stands where it could own it; a person must see whose it is");
            self.say(Level::Hold, "orphan", (String::new(), orphan, None), record.origin.shown(), text, &help);
        }
        if entered.cleared {
            cleared.push(record.member);
        }
        None.into_iter().chain(entered.scopes)
    }

    /// The event that belongs to a child: the first event record that applies.
    fn event(&mut self, child_scope: &V::Scope, child: usize) -> Option<Made> {
        let mapping = self.mapping;
        let events = mapping.records.iter().enumerate().filter(|(_, record)| record.kind.home == Home::Event);
        for (index, record) in events {
            let from = if record.parent == Some(child) { *child_scope } else { self.view.root() };
            for scope in self.enter(&from, record, &mut Vec::new()) {
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
        self.remark(record, scope);
        let notes = self.notes.len();
        let mut part = Part::new(record.shape, record.room);
        let (mut nulls, mut missing) = (Vec::new(), Vec::new());
        let base = self.present.len();
        let mut has_content = false;
        for rule in &record.rules {
            let got = self.run(record, rule, scope);
            self.present.push(matches!(got, Got::Value(_) | Got::Constant(_)));
            match got {
                Got::Value(value) => {
                    has_content = true;
                    part.put(&rule.slots, value);
                }
                Got::Constant(value) => part.put(&rule.slots, value),
                Got::Null if (self.mapping.null_clears || rule.absent_clears) && !rule.required => nulls.push(rule.field.clone()),
                Got::Null | Got::Absent if rule.required => missing.push(rule),
                Got::Null | Got::Absent | Got::Failed => {}
            }
        }
        let mut made = Made {
            record: index,
            part,
            nulls,
            cleared: Vec::new(),
            parts: Vec::with_capacity(record.children.len()),
            notes: notes..self.notes.len(),
        };
        let is_root = matches!(record.kind.home, Home::Child | Home::Event);
        let needed = record.needs.iter().all(|need| self.is_present(base, *need));
        if needed {
            for rule in missing {
                self.say_missing(record, rule, scope);
            }
            self.parts(record, scope, &mut made);
            has_content |= !made.parts.is_empty();
            self.check_key(record, scope, base, &made);
        }
        self.present.truncate(base);
        if is_root || (needed && has_content) {
            return Some(made);
        }
        // Nothing but nulls: the sender says that there is none of these.
        let only_nulls = !made.nulls.is_empty() && !has_content;
        only_nulls.then(|| Made {
            cleared: vec![record.member],
            part: Part::default(),
            nulls: Vec::new(),
            parts: Vec::new(),
            notes: 0..0,
            ..made
        })
    }

    /// Whether a rule of the record that began at `base` found something.
    fn is_present(&self, base: usize, rule: usize) -> bool {
        self.present.get(base + rule) == Some(&true)
    }

    fn parts(&mut self, record: &Record, scope: &V::Scope, made: &mut Made) {
        let mapping = self.mapping;
        let mut compared = Vec::new();
        for child in &record.children {
            let Some(inner) = mapping.records.get(*child).filter(|inner| inner.kind.home != Home::Event) else { continue };
            let mut cleared = Vec::new();
            for scope in self.enter(scope, inner, &mut cleared) {
                let Some(part) = self.make(*child, &scope) else { continue };
                self.compare(&part, &scope, &made.parts, &mut compared);
                if part.cleared.is_empty() || !part.part.fields.is_empty() || !part.parts.is_empty() {
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

    /// What the file says of a record where something is true: in its own words, at the place that the condition names first.
    fn remark(&mut self, record: &Record, scope: &V::Scope) {
        for remark in record.remarks.iter().filter(|remark| holds(self.view, scope, &remark.when)) {
            let paths = remark.when.paths();
            let first = paths.iter().find_map(|path| self.view.first(scope, path, Mode { scalar: true, every: false }));
            let (at, bytes) = match (first, paths.first()) {
                (Some(hit), _) => (self.view.place(&hit.place), self.view.bytes(&hit.place)),
                (None, Some(path)) => (path.text().to_owned(), None),
                (None, None) => (self.view.stands_on(scope), None),
            };
            let (level, code) = if remark.holds { (Level::Hold, "check-failed") } else { (Level::Warning, "implausible") };
            let text = if at.is_empty() { remark.text.clone() } else { format!("{} (see {at})", remark.text) };
            let help = if remark.holds { "ask the sender which is right" } else { "look whether the sender meant it" };
            self.say(level, code, (record.name.clone(), at, bytes), remark.origin.shown(), text, help);
        }
    }

    /// A record against those of its type and owner before it, by what `unique` says; `compared` are these, by their place.
    fn compare(&mut self, part: &Made, scope: &V::Scope, before: &[Made], compared: &mut Vec<(usize, String)>) {
        let mapping = self.mapping;
        let Some(record) = mapping.records.get(part.record).filter(|_| !part.part.fields.is_empty()) else { return };
        let Some(unique) = record.unique.as_ref().filter(|unique| unique.when.as_ref().is_none_or(|when| holds(self.view, scope, when)))
        else {
            return;
        };
        let at = self.view.stands_on(scope);
        let slots = |rule: &usize| record.rules.get(*rule);
        let agree = |other: &Part, rule: &usize| slots(rule).is_none_or(|rule| part.part.at(&rule.slots) == other.at(&rule.slots));
        for (index, place) in compared.iter() {
            let Some(other) = before.get(*index).map(|made| &made.part).filter(|other| other.shape == part.part.shape) else { continue };
            let said =
                |rule: &usize| slots(rule).is_some_and(|rule| part.part.at(&rule.slots).is_some() && other.at(&rule.slots).is_some());
            if !unique.by.iter().all(|rule| said(rule) && agree(other, rule)) {
                continue;
            }
            let Some(rule) = unique.same.iter().find(|rule| said(rule) && !agree(other, rule)).and_then(slots) else { continue };
            let by = unique.by.iter().filter_map(slots).map(|rule| rule.field.as_str()).collect::<Vec<_>>().join(", ");
            let text = format!("{at} and {place} have the same {by} and contradict each other in {}", rule.field);
            let about = (format!("{}.{}", record.name, rule.field), at.clone(), None);
            self.say(Level::Hold, "check-failed", about, unique.origin.shown(), text, "ask the sender which is right");
            break;
        }
        compared.push((before.len(), at));
    }

    fn check_key(&mut self, record: &Record, scope: &V::Scope, base: usize, made: &Made) {
        let found = record.key.iter().any(|key| match key {
            Key::Rule(rule) => self.is_present(base, *rule),
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
    fn run(&mut self, record: &Record, rule: &'e Rule, scope: &V::Scope) -> Got {
        if rule.when.as_ref().is_some_and(|when| !holds(self.view, scope, when)) {
            return Got::Absent;
        }
        if let Some(value) = &rule.value {
            return self.constant(rule, value, Step::Constant);
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

    fn constant(&mut self, rule: &Rule, value: &Val, step: Step) -> Got {
        if self.explain {
            let written = self.notes.keep(|text| value.write(text));
            self.notes.take(rule.number, None, (written, 0..0), At::Nowhere, step);
        }
        Got::Constant(value.clone())
    }

    fn run_one(&mut self, record: &Record, rule: &'e Rule, scope: &V::Scope) -> Got {
        let mode = Mode { scalar: rule.scalar, every: false };
        let first = rule.sources.iter().find_map(|path| self.view.first(scope, path, mode));
        let converted = match first {
            Some(hit) if hit.null => return Got::Null,
            Some(hit) => match self.convert(record, rule, &hit) {
                Ok(Some((value, step))) => {
                    self.note(rule, None, &value, &hit, step);
                    Some(value)
                }
                Ok(None) => None,
                Err(()) => return Got::Failed,
            },
            None => None,
        };
        match (converted, &rule.default) {
            (Some(value), _) => Got::Value(value),
            (None, Some(default)) => self.constant(rule, default, Step::Default),
            (None, None) => Got::Absent,
        }
    }

    /// All values of all sources, or the first value of the first source that says something.
    fn run_list(&mut self, record: &Record, rule: &'e Rule, scope: &V::Scope) -> Got {
        let mode = Mode { scalar: rule.scalar, every: false };
        let (view, noted) = (self.view, self.notes.len());
        let (mut values, mut nulls, mut some, mut failed) = (Vec::new(), false, false, false);
        for path in &rule.sources {
            let stopped = view.any(scope, path, mode, &mut |hit| {
                if hit.null {
                    nulls = true;
                    return !rule.all;
                }
                some = true;
                match self.convert(record, rule, &hit) {
                    Ok(Some((value, step))) => {
                        self.note(rule, Some(values.len()), &value, &hit, step);
                        match value {
                            Val::Text(cell) if is_listed(rule) => values.extend(cell.split_whitespace().map(str::to_owned)),
                            Val::Text(text) => values.push(text),
                            value => values.push(value.text().into_owned()),
                        }
                    }
                    Ok(None) => {}
                    Err(()) => failed = true,
                }
                !rule.all
            });
            if stopped {
                break;
            }
        }
        if nulls && !some {
            return Got::Null;
        }
        if values.is_empty() {
            self.notes.truncate(noted);
            return match &rule.default {
                _ if failed => Got::Failed,
                Some(default) => self.constant(rule, default, Step::Default),
                None => Got::Absent,
            };
        }
        if rule.target.kind == Kind::Text {
            let whole = if values.len() == 1 { values.pop().unwrap_or_default() } else { values.join("\n") };
            self.notes.of_one(noted, self.explain.then_some(&whole));
            return Got::Value(Val::Text(whole));
        }
        self.notes.of_list(noted, &values);
        Got::Value(Val::Texts(values))
    }

    /// Everything that was found as one text, then converted as one.
    fn run_joined(&mut self, record: &Record, rule: &'e Rule, scope: &V::Scope, join: &str) -> Got {
        let mut hits = self.hits(rule, scope);
        if hits.is_empty() {
            hits = self.all_hits(&rule.fallback, rule.scalar, scope);
        }
        let Some(first) = hits.first() else {
            return rule.default.as_ref().map_or(Got::Absent, |default| self.constant(rule, default, Step::Default));
        };
        let text = hits.iter().map(|hit| hit.text.as_ref()).collect::<Vec<_>>().join(join);
        let whole = Hit { text: Cow::Owned(text), null: false, place: first.place.clone() };
        match self.convert(record, rule, &whole) {
            Ok(Some((value, step))) => {
                let is_list = rule.target.kind == Kind::Texts;
                for (at, hit) in hits.iter().enumerate() {
                    let index = Some(0).filter(|_| is_list && at == 0 && hits.len() > 1);
                    self.note(rule, index, &value, hit, step);
                }
                Got::Value(if is_list { Val::Texts(vec![value.text().into_owned()]) } else { value })
            }
            Ok(None) => Got::Absent,
            Err(()) => Got::Failed,
        }
    }

    /// The first value of the first source that says something, or all values of all of them; of what is not null.
    fn hits(&self, rule: &Rule, scope: &V::Scope) -> Vec<Hit<'d, V::Place>> {
        let mode = Mode { scalar: rule.scalar, every: false };
        if !rule.all {
            let first = rule.sources.iter().find_map(|path| self.view.first(scope, path, mode));
            return first.filter(|hit| !hit.null).into_iter().collect();
        }
        self.all_hits(&rule.sources, rule.scalar, scope)
    }

    /// All values of all paths that are not null.
    fn all_hits(&self, paths: &[Path], scalar: bool, scope: &V::Scope) -> Vec<Hit<'d, V::Place>> {
        let mode = Mode { scalar, every: false };
        let mut all = Vec::new();
        for path in paths {
            self.view.any(scope, path, mode, &mut |hit| {
                if !hit.null {
                    all.push(hit);
                }
                false
            });
        }
        all
    }

    /// Notes where a value came from. Of a content only its length: a document is not repeated.
    fn note(&mut self, rule: &Rule, index: Option<usize>, value: &Val, hit: &Hit<'d, V::Place>, step: Step) {
        if self.explain {
            let written = self.notes.keep(|text| value.write(text));
            let is_content = rule.converter.is_some_and(Converter::sets_aside);
            let raw = self.notes.keep(|text| match is_content {
                true => text.push_str(&format!("{} characters", hit.text.chars().count())),
                false => text.push_str(&hit.text),
            });
            let at = self.view.note(&hit.place, &mut self.notes);
            self.notes.take(rule.number, index, (written, raw), at, step);
        }
    }

    /// Converter, table, checks, kind of field. `Err`: said, or of no interest by policy.
    fn convert(&mut self, record: &Record, rule: &Rule, hit: &Hit<'d, V::Place>) -> Result<Option<(Val, Step)>, ()> {
        if rule.scalar && self.view.says_more(&hit.place) {
            return self.fail(record, rule, hit, "is followed by further sub-components; one value is expected");
        }
        let converted = match rule.converter {
            Some(converter) => converter.convert(&hit.text, &self.around),
            None => match &rule.table {
                Some(_) => return self.look_up(record, rule, hit, &plain(&hit.text)),
                None => Ok(Some(Converted::from(Val::Text(plain(&hit.text).into_owned())))),
            },
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
        match &rule.table {
            Some(_) => self.look_up(record, rule, hit, &converted.value.text()),
            None => self.fit(record, rule, hit, (converted.value, Step::None)),
        }
    }

    /// The value that the table has for a code.
    fn look_up(&mut self, record: &Record, rule: &Rule, hit: &Hit<'d, V::Place>, code: &str) -> Result<Option<(Val, Step)>, ()> {
        match self.translate(record, rule, hit, code)? {
            Some((cell, step)) => self.fit(record, rule, hit, (Val::Text(cell), step)),
            None => Ok(None),
        }
    }

    /// The value as its field takes it.
    fn fit(
        &mut self,
        record: &Record,
        rule: &Rule,
        hit: &Hit<'d, V::Place>,
        (value, step): (Val, Step),
    ) -> Result<Option<(Val, Step)>, ()> {
        if rule.is_plain && matches!(value, Val::Text(_)) {
            return Ok(Some((value, step)));
        }
        match checked(rule, &value).and_then(|()| fitted(&rule.target.kind, value)) {
            Ok(value) => Ok(Some((value, step))),
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
    fn translate(&mut self, record: &Record, rule: &Rule, hit: &Hit<'d, V::Place>, code: &str) -> Result<Option<(String, Step)>, ()> {
        let Some((table, _)) = &rule.table else { return Ok(None) };
        if let Some((sheet, row)) = table.find(code, self.day.as_deref()) {
            let cell = rule.columns.get(sheet).copied().flatten().map_or("", |column| row.cell(column));
            return Ok((!cell.is_empty()).then(|| (cell.to_owned(), Step::Row(sheet, row.line))));
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
        kept.map(|kept| Some((kept, Step::Unmapped))).ok_or(())
    }

    fn table_help(&self, table: &Table) -> String {
        let common = format!("tables/{}.csv", table.name);
        match &self.mapping.site {
            Some(site) => format!("add a row to {common}, or {site}/tables/{}.csv", table.name),
            None => format!("add a row to {common}"),
        }
    }
}

/// A cell of a table may hold several codes with spaces between them, where the field holds a list.
fn is_listed(rule: &Rule) -> bool {
    rule.table.is_some() && rule.target.kind == Kind::Texts
}

/// A finding's code says where a source that waits for the outcome gets AR: [`Finding::rejects`].
fn coded(policy: OnError, code: &str) -> String {
    if policy == OnError::Reject { format!("{REJECT}{code}") } else { code.to_owned() }
}

/// What the codes of findings begin with whose rule says `on_error = "reject"`.
pub(super) const REJECT: &str = "reject-";

/// A sender's text as a finding quotes it.
fn quoted(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    match text.char_indices().nth(QUOTED_MAX) {
        Some((at, _)) => Cow::Owned(format!("{}…", text.get(..at).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// `min`, `max`, `length`, `pattern`.
fn checked(rule: &Rule, value: &Val) -> Result<(), String> {
    let checks = &rule.checks;
    if checks.min.is_some() || checks.max.is_some() {
        let number = value.text().parse::<f64>().map_err(|_| "is no number".to_owned())?;
        if let Some(min) = checks.min.filter(|min| number < *min) {
            return Err(format!("is below {min}"));
        }
        if let Some(max) = checks.max.filter(|max| *max < number) {
            return Err(format!("is above {max}"));
        }
    }
    if let Some((least, most)) = checks.length {
        let length = value.text().chars().count();
        if length < least || most < length {
            return Err(format!(
                "has {length} characters; {}",
                if most < length { format!("at most {most} are expected") } else { format!("at least {least} are expected") }
            ));
        }
    }
    match &checks.pattern {
        Some(pattern) if !pattern.fits(&value.text()) => Err(format!("does not look like {}", pattern.text)),
        _ => Ok(()),
    }
}

/// The value as the field holds it.
fn fitted(kind: &Kind, value: Val) -> Result<Val, String> {
    match (kind, value) {
        (Kind::Text | Kind::Texts, value @ Val::Text(_)) => Ok(value),
        (Kind::Text | Kind::Texts, value) => Ok(Val::Text(value.text().into_owned())),
        (Kind::Choice(list), value) => {
            let text = if let Val::Text(text) = value { text } else { value.text().into_owned() };
            if list.contains(&text) { Ok(Val::Text(text)) } else { Err(format!("is not one of {}", list.join(", "))) }
        }
        (Kind::Integer, Val::Text(text)) => text.parse().map(Val::Integer).map_err(|_| "is no whole number".to_owned()),
        (Kind::Boolean, Val::Text(text)) => text.parse().map(Val::Boolean).map_err(|_| "is neither true nor false".to_owned()),
        (_, value) => Ok(value),
    }
}
