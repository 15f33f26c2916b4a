//! From made records to statements: each record into the list of its parent, each value with its whole name.
//!
//! # Invariants
//!
//! - A statement is one child and one event. What belongs to the statement (results, reviews) hangs below its child here.
//! - What a mapping made always is a statement: if not, the message is held, never dropped.

use serde_json::Value;

use super::eval::Made;
use super::explain::Notes;
use super::load::Mapping;
use super::record::Goes;
use super::target::Model;
use super::value::{Part, Val};
use super::{Finding, Level};
use crate::canon::Statement;

/// A record that was made, for tests.
#[derive(Debug)]
pub(super) struct Seen {
    /// Which record of the file.
    pub record: usize,
    /// The record that owns it, by its place in the list.
    pub parent: Option<usize>,
    /// Its fields with everything that belongs to it.
    pub value: Value,
    /// What it cleared, below the child.
    pub clears: Vec<String>,
}

/// What comes out.
pub(super) struct Assembled {
    /// One for each child.
    pub statements: Vec<Statement>,
    /// Every record, where tests ask.
    pub seen: Vec<Seen>,
    keep: bool,
    explain: bool,
}

impl Assembled {
    /// Nothing yet.
    pub fn new(keep: bool, explain: bool) -> Self {
        Self { statements: Vec::new(), seen: Vec::new(), keep, explain }
    }

    /// Adds the statement of an event and a child.
    pub fn statement(&mut self, mapping: &Mapping, event: Made, mut child: Made, (findings, notes): (&mut Vec<Finding>, &mut Notes)) {
        let clears = clears(&child);
        let mut build = Build { mapping, findings, notes, out: self, whole: Part::new(usize::MAX, 4) };
        let event = build.record(event, Named { owner: None, member: "event", index: None }, None);
        let parts = std::mem::take(&mut child.parts);
        let at = build.remember(&child, None, &clears);
        let (mut value, number) = build.fields(child, Named { owner: None, member: "child", index: None });
        build.parts(parts, number, (&mut value, at));
        build.settle(at, &value);
        let mut whole = build.whole;
        let model = Model::get();
        let clears = if clears.is_empty() { None } else { Some(("clears", Val::Texts(clears))) };
        for (member, value) in [("event", Val::Part(event)), ("child", Val::Part(value))].into_iter().chain(clears) {
            whole.fields.push((model.member(member).unwrap_or(usize::MAX), value));
        }
        match whole.read() {
            Ok(statement) => self.statements.push(statement),
            Err(_) => findings.push(Finding {
                level: Level::Hold,
                code: "not-canonical".to_owned(),
                field: String::new(),
                at: String::new(),
                bytes: None,
                rule: mapping.origin.shown(),
                text: "what this mapping made of the message is no canonical statement: a field that must be there is missing".to_owned(),
                help: "see the records of this file: kind of the event, code beside system".to_owned(),
                miss: None,
            }),
        }
    }
}

/// Dotted paths below the child that were sent as null. A list may be cleared and filled anew by one message.
fn clears(child: &Made) -> Vec<String> {
    let mut clears = child.nulls.clone();
    for list in &child.cleared {
        let in_child = Model::get().index("Child").is_some_and(|shape| Model::get().shape(shape).field(list).is_some());
        if in_child && !clears.iter().any(|known| known == list) {
            clears.push((*list).to_owned());
        }
    }
    clears
}

/// What a record is called in the statement.
#[derive(Clone, Copy)]
struct Named {
    /// The record that it is a member of, by its number among the notes.
    owner: Option<usize>,
    member: &'static str,
    index: Option<usize>,
}

struct Build<'b> {
    mapping: &'b Mapping,
    findings: &'b mut Vec<Finding>,
    notes: &'b mut Notes,
    out: &'b mut Assembled,
    /// The statement itself.
    whole: Part,
}

impl Build<'_> {
    fn record(&mut self, mut made: Made, named: Named, parent: Option<usize>) -> Part {
        let parts = std::mem::take(&mut made.parts);
        let at = self.remember(&made, parent, &[]);
        let (mut value, number) = self.fields(made, named);
        self.parts(parts, number, (&mut value, at));
        self.settle(at, &value);
        value
    }

    /// The record's own fields; its notes get the name that they are below.
    fn fields(&mut self, made: Made, Named { owner, member, index }: Named) -> (Part, Option<usize>) {
        let mut part = made.part;
        let is_whole = complete(&mut part);
        if !self.out.explain {
            return (part, None);
        }
        if let Some(record) = self.mapping.records.get(made.record).filter(|_| !is_whole) {
            // What went with an incomplete part came from nowhere.
            for rule in record.rules.iter().filter(|rule| !part.holds(&rule.slots)) {
                self.notes.forget(made.notes.clone(), rule.number);
            }
        }
        (part, self.notes.group(owner, member, index, made.notes))
    }

    fn parts(&mut self, parts: Vec<Made>, owner: Option<usize>, (value, at): (&mut Part, Option<usize>)) {
        for part in parts {
            let Some(record) = self.mapping.records.get(part.record) else { continue };
            let (target, slot) = match record.goes {
                Goes::Statement(slot) => (&mut self.whole, slot),
                Goes::List(slot) | Goes::One(slot) => (&mut *value, slot),
            };
            let is_one = matches!(record.goes, Goes::One(_));
            let index = match target.get(slot) {
                Some(Val::Parts(list)) => list.len(),
                _ => 0,
            };
            if is_one && target.get(slot).is_some() {
                let text = format!("there is room for one {} only; the first is taken", record.name);
                let rule = record.origin.shown();
                self.findings.push(Finding {
                    level: Level::Warning,
                    code: "more-than-one".to_owned(),
                    field: record.name.clone(),
                    at: String::new(),
                    bytes: None,
                    rule,
                    text,
                    help: String::new(),
                    miss: None,
                });
                continue;
            }
            let member = record.member;
            let named = match record.goes {
                Goes::Statement(_) => Named { owner: None, member, index: Some(index) },
                Goes::List(_) => Named { owner, member, index: Some(index) },
                Goes::One(_) => Named { owner, member, index: None },
            };
            let made = self.record(part, named, at);
            let target = if matches!(record.goes, Goes::Statement(_)) { &mut self.whole } else { &mut *value };
            match target.get_mut(slot) {
                Some(Val::Parts(list)) => list.push(made),
                _ if is_one => target.fields.push((slot, Val::Part(made))),
                _ => target.fields.push((slot, Val::Parts(vec![made]))),
            }
        }
    }

    fn remember(&mut self, made: &Made, parent: Option<usize>, clears: &[String]) -> Option<usize> {
        if !self.out.keep {
            return None;
        }
        self.out.seen.push(Seen { record: made.record, parent, value: Value::Null, clears: clears.to_vec() });
        Some(self.out.seen.len() - 1)
    }

    fn settle(&mut self, at: Option<usize>, value: &Part) {
        if let Some(seen) = at.and_then(|at| self.out.seen.get_mut(at)) {
            seen.value = Value::Object(value.json());
        }
    }
}

/// A part without the field that gives it meaning: a code's system without the code says nothing and goes;
/// its words without the code are kept beside an empty code. False where something went.
fn complete(part: &mut Part) -> bool {
    let (mut inner_whole, before) = (true, part.fields.len());
    part.fields.retain_mut(|(_, value)| {
        let Val::Part(value) = value else { return true };
        inner_whole &= complete(value);
        let shape = Model::get().shape(value.shape);
        let lacks = shape.fields.iter().enumerate().any(|(slot, field)| field.required && value.get(slot).is_none());
        if !lacks {
            return true;
        }
        let has = |name: &str| shape.slot(name).is_some_and(|slot| value.get(slot).is_some());
        if shape.name != "Code" || !(has("text") || has("display")) {
            return false;
        }
        value.fields.extend(shape.slot("code").map(|slot| (slot, Val::Text(String::new()))));
        true
    });
    inner_whole && part.fields.len() == before
}
