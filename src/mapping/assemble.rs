//! From made records to statements: each record into the list of its parent, each value with its whole name.
//!
//! # Invariants
//!
//! - A statement is one child and one event. What belongs to the statement (results, reviews) hangs below its child here.
//! - What a mapping made always is a statement: if not, the message is held, never dropped.

use serde_json::{Map, Value};

use super::eval::Made;
use super::load::Mapping;
use super::target::{Home, Kind, Model, Shape};
use super::{Finding, Level, Provenance};
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
    /// Where the values came from.
    pub provenance: Vec<Provenance>,
    /// Every record, where tests ask.
    pub seen: Vec<Seen>,
    keep: bool,
}

impl Assembled {
    /// Nothing yet.
    pub fn new(keep: bool) -> Self {
        Self { statements: Vec::new(), provenance: Vec::new(), seen: Vec::new(), keep }
    }

    /// Adds the statement of an event and a child.
    pub fn statement(&mut self, mapping: &Mapping, event: Made, mut child: Made, findings: &mut Vec<Finding>) {
        let clears = clears(&child);
        let mut build = Build { mapping, findings, out: self, whole: Map::new() };
        let event = build.record(event, "event", None);
        let parts = std::mem::take(&mut child.parts);
        let at = build.remember(&child, None, &clears);
        let mut value = build.fields(&mut child, "child");
        build.parts(parts, "child", (&mut value, at), true);
        build.settle(at, &value);
        let mut whole = std::mem::take(&mut build.whole);
        whole.insert("event".to_owned(), event);
        whole.insert("child".to_owned(), Value::Object(value));
        if !clears.is_empty() {
            whole.insert("clears".to_owned(), Value::Array(clears.into_iter().map(Value::String).collect()));
        }
        match serde_json::from_value(Value::Object(whole)) {
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

struct Build<'b> {
    mapping: &'b Mapping,
    findings: &'b mut Vec<Finding>,
    out: &'b mut Assembled,
    /// Members of the statement itself.
    whole: Map<String, Value>,
}

impl Build<'_> {
    fn record(&mut self, mut made: Made, prefix: &str, parent: Option<usize>) -> Value {
        let parts = std::mem::take(&mut made.parts);
        let at = self.remember(&made, parent, &[]);
        let mut value = self.fields(&mut made, prefix);
        self.parts(parts, prefix, (&mut value, at), false);
        self.settle(at, &value);
        Value::Object(value)
    }

    /// The record's own fields, with the names of its sources completed.
    fn fields(&mut self, made: &mut Made, prefix: &str) -> Map<String, Value> {
        let mut fields = std::mem::take(&mut made.fields);
        if let Some(record) = self.mapping.records.get(made.record) {
            complete(&mut fields, Model::get().shape(record.kind.shape()));
        }
        // What went with an incomplete part came from nowhere.
        for source in made.sources.drain(..).filter(|source| stands(&fields, &source.field)) {
            let field = format!("{prefix}.{}", source.field);
            self.out.provenance.push(Provenance { field, ..source.provenance });
        }
        fields
    }

    fn parts(&mut self, parts: Vec<Made>, prefix: &str, (value, at): (&mut Map<String, Value>, Option<usize>), of_child: bool) {
        for part in parts {
            let Some(record) = self.mapping.records.get(part.record) else { continue };
            let of_statement = of_child && matches!(record.kind.home, Home::Statement(_));
            let owner = record.parent.and_then(|parent| self.mapping.records.get(parent)).map(|parent| parent.kind.shape());
            let is_list = of_statement
                || owner.is_none_or(|shape| {
                    Model::get().shape(shape).field(record.member).is_none_or(|field| matches!(field.kind, Kind::Parts(_)))
                });
            let taken = if of_statement { self.whole.get(record.member) } else { value.get(record.member) };
            let index = taken.and_then(Value::as_array).map_or(0, Vec::len);
            if !is_list && taken.is_some() {
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
            let name = match (of_statement, is_list) {
                (true, _) => format!("{member}[{index}]"),
                (false, true) => format!("{prefix}.{member}[{index}]"),
                (false, false) => format!("{prefix}.{member}"),
            };
            let made = self.record(part, &name, at);
            let target = if of_statement { &mut self.whole } else { &mut *value };
            if !is_list {
                target.insert(member.to_owned(), made);
            } else if let Value::Array(list) = target.entry(member.to_owned()).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(made);
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

    fn settle(&mut self, at: Option<usize>, value: &Map<String, Value>) {
        if let Some(seen) = at.and_then(|at| self.out.seen.get_mut(at)) {
            seen.value = Value::Object(value.clone());
        }
    }
}

/// Is there something at `site.system`, or in the list that `given[1]` names.
fn stands(fields: &Map<String, Value>, field: &str) -> bool {
    let mut parts = field.split('.').map(|part| part.split('[').next().unwrap_or(part));
    let first = parts.next().and_then(|part| fields.get(part));
    parts.try_fold(first, |value, part| value.map(|value| value.get(part))).flatten().is_some()
}

/// A part without the field that gives it meaning: a code's system without the code says nothing and goes;
/// its words without the code are kept beside an empty code.
fn complete(fields: &mut Map<String, Value>, shape: &Shape) {
    let model = Model::get();
    for field in &shape.fields {
        let Kind::Part(part) = field.kind else { continue };
        let inner = model.shape(part);
        let Some(Value::Object(value)) = fields.get_mut(&field.name) else { continue };
        complete(value, inner);
        let lacks: Vec<&str> =
            inner.fields.iter().filter(|f| f.required && !value.contains_key(&f.name)).map(|f| f.name.as_str()).collect();
        if lacks.is_empty() {
            continue;
        }
        if inner.name == "Code" && (value.contains_key("text") || value.contains_key("display")) {
            value.insert("code".to_owned(), Value::String(String::new()));
        } else {
            fields.remove(&field.name);
        }
    }
}
