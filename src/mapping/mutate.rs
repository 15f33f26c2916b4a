//! Small changes to a sample before a test reads it: set, drop, move, insert.
//!
//! # Not here
//!
//! What must come of the changed sample: `inline_test.rs`.

use bumpalo::Bump;
use serde_json::Value;

use super::diagnostic::{Mistake, PATH, Report, TEST, did_you_mean};
use super::document::{Section, Text, entries, json, texts_of};
use super::path::Dialect;
use super::select::Document;
use crate::fhir::{self, Item, Release};
use crate::hl7::{self, Message, Selector};

/// One change.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// A field, repetition or component gets this raw text.
    Set(hl7::Path, String),
    /// A segment, field or repetition goes away.
    Drop(hl7::Path),
    /// A segment moves.
    Move(Segment, Spot),
    /// A segment is added.
    Insert(Spot, String),
    /// FHIR: the nodes of a path get this value.
    SetNode(String, Value),
    /// FHIR: the nodes of a path go away.
    DropNode(String),
    /// CSV: a column gets this value.
    SetColumn(String, String),
}

/// `OBX[1]`
#[derive(Clone, Debug)]
pub(super) struct Segment {
    id: String,
    number: usize,
}

/// `before OBR[1]`
#[derive(Clone, Debug)]
pub(super) enum Spot {
    /// In front of a segment.
    Before(Segment),
    /// Behind a segment.
    After(Segment),
    /// So that it becomes this segment: in front of the one that has the number now, or behind the last.
    As(Segment),
}

/// Reads `set`, `drop`, `move`, `insert` of a test; they are made in this order.
pub(super) fn load(section: &Section<'_>, dialect: Dialect, columns: &[String], report: &Report) -> Vec<Edit> {
    let mut edits = Vec::new();
    let loader = Loader { section, report };
    match dialect {
        Dialect::V2 => loader.v2(&mut edits),
        Dialect::Fhir(release) => loader.fhir(release, &mut edits),
        Dialect::Csv => loader.csv(columns, &mut edits),
    }
    edits
}

struct Loader<'l, 'a> {
    section: &'l Section<'a>,
    report: &'l Report,
}

impl<'a> Loader<'_, 'a> {
    fn error(&self, mistake: Mistake) {
        self.report.error(self.section.source, mistake);
    }

    /// Keys with their values of `set`, `move`, `insert`.
    fn pairs(&self, key: &str) -> Vec<(Text<'a>, &'a super::document::Node<'a>)> {
        let Some(section) = self.section.section(key, &format!("`{key}`"), self.report) else { return Vec::new() };
        entries(section.table).into_iter().map(|entry| (Text { value: entry.key, span: entry.span }, entry.node)).collect()
    }

    fn v2(&self, edits: &mut Vec<Edit>) {
        for (key, node) in self.pairs("set") {
            let Some(path) = self.v2_path(&key) else { continue };
            if path.field.is_none() {
                self.error(
                    Mistake::new(TEST, key.span, "`set` names a field").help("to add a segment, use insert = { \"after PID[1]\" = \"…\" }"),
                );
                continue;
            }
            if let Some(text) = texts_of(node, self.section.source, "set", self.report).first() {
                edits.push(Edit::Set(path.clone(), text.value.to_owned()));
            }
        }
        for text in self.section.texts("drop", self.report) {
            edits.extend(self.v2_path(&text).map(Edit::Drop));
        }
        for (key, node) in self.pairs("move") {
            let segment = self.segment(&key);
            let spot = texts_of(node, self.section.source, "move", self.report).first().and_then(|text| self.spot(text));
            edits.extend(segment.zip(spot).map(|(segment, spot)| Edit::Move(segment, spot)));
        }
        for (key, node) in self.pairs("insert") {
            let Some(spot) = self.spot(&key) else { continue };
            let texts = texts_of(node, self.section.source, "insert", self.report);
            // Each goes right behind the spot, so the last one is put there first.
            let ordered: Vec<&Text<'_>> =
                if matches!(spot, Spot::After(_)) { texts.iter().rev().collect() } else { texts.iter().collect() };
            edits.extend(ordered.into_iter().map(|text| Edit::Insert(spot.clone(), text.value.to_owned())));
        }
    }

    fn csv(&self, columns: &[String], edits: &mut Vec<Edit>) {
        for key in ["move", "insert", "drop"] {
            if self.section.get(key).is_some() {
                let mistake = Mistake::new(TEST, self.section.key_span(key), format!("`{key}` is for messages"));
                self.error(mistake.help("set = { \"COLUMN\" = \"\" } empties a column"));
            }
        }
        for (key, node) in self.pairs("set") {
            if !columns.iter().any(|column| column == key.value) {
                let mistake = Mistake::new(TEST, key.span, format!("`columns` declares no {:?}", key.value));
                self.error(mistake.maybe_help(did_you_mean(key.value, columns.iter().map(String::as_str))));
                continue;
            }
            if let Some(text) = texts_of(node, self.section.source, "set", self.report).first() {
                edits.push(Edit::SetColumn(key.value.to_owned(), text.value.to_owned()));
            }
        }
    }

    fn fhir(&self, release: Release, edits: &mut Vec<Edit>) {
        for key in ["move", "insert"] {
            if self.section.get(key).is_some() {
                self.error(
                    Mistake::new(TEST, self.section.key_span(key), format!("`{key}` is for HL7 v2 samples")).help("use set and drop"),
                );
            }
        }
        for (key, node) in self.pairs("set") {
            if self.fhir_path(&key, release) {
                edits.push(Edit::SetNode(key.value.to_owned(), json(node.get_ref())));
            }
        }
        for text in self.section.texts("drop", self.report) {
            if self.fhir_path(&text, release) {
                edits.push(Edit::DropNode(text.value.to_owned()));
            }
        }
    }

    fn v2_path(&self, text: &Text<'_>) -> Option<hl7::Path> {
        let parsed = hl7::Path::parse(text.value);
        if let Ok(path) = &parsed
            && matches!(path.root, hl7::Root::Let(_))
        {
            self.error(Mistake::new(TEST, text.span.clone(), "a test names segments, not names of [let]"));
            return None;
        }
        parsed.map_err(|why| self.path_error(text, why.span, why.message, why.help)).ok()
    }

    fn fhir_path(&self, text: &Text<'_>, release: Release) -> bool {
        let checked = fhir::Path::parse(text.value).and_then(|path| fhir::check_names(&path, release));
        checked.map_err(|why| self.path_error(text, why.span, why.message, why.help)).is_ok()
    }

    fn path_error(&self, text: &Text<'_>, span: std::ops::Range<usize>, message: String, help: Option<String>) {
        let mistake = Mistake::new(PATH, self.section.source.inside(&text.span, text.value, span), message);
        self.error(Mistake { help, ..mistake });
    }

    fn segment(&self, text: &Text<'_>) -> Option<Segment> {
        let found = segment_of(text.value);
        if found.is_none() {
            self.error(Mistake::new(TEST, text.span.clone(), format!("{:?} is no segment", text.value)).help("write \"OBX[1]\""));
        }
        found
    }

    fn spot(&self, text: &Text<'_>) -> Option<Spot> {
        let parsed = match text.value.split_once(' ') {
            Some(("after", segment)) => segment_of(segment.trim()).map(Spot::After),
            Some(("before", segment)) => segment_of(segment.trim()).map(Spot::Before),
            Some(_) => None,
            None => segment_of(text.value).map(Spot::As),
        };
        if parsed.is_none() {
            self.error(
                Mistake::new(TEST, text.span.clone(), format!("{:?} is no place", text.value))
                    .help("write \"before OBR[1]\" or \"after PID[1]\""),
            );
        }
        parsed
    }
}

fn segment_of(text: &str) -> Option<Segment> {
    let path = hl7::Path::parse(text).ok()?;
    match (path.root, path.field) {
        (hl7::Root::Segment { id, selector: None }, None) => Some(Segment { id, number: 1 }),
        (hl7::Root::Segment { id, selector: Some(Selector::Number(number)) }, None) => Some(Segment { id, number }),
        _ => None,
    }
}

/// Makes the changes; the error says which of them cannot be made.
pub(super) fn apply<'d>(document: Document<'d>, edits: &[Edit], arena: &'d Bump) -> Result<Document<'d>, String> {
    if edits.is_empty() {
        return Ok(document);
    }
    match document {
        Document::V2(message) => {
            let mut lines = Lines::of(&message);
            edits.iter().try_for_each(|edit| lines.edit(edit))?;
            let message = Message::read(lines.text().as_bytes(), &hl7::ReadOptions::default())
                .map_err(|why| format!("the changed sample cannot be read: {why}"))?;
            Ok(Document::V2(Box::new(message)))
        }
        Document::Fhir(tree, release) => {
            let mut tree = tree.to_value();
            edits.iter().try_for_each(|edit| edit_tree(&mut tree, edit))?;
            Ok(Document::Fhir(arena.alloc(Item::of(&tree, arena)), release))
        }
        Document::Csv(mut row) => {
            for edit in edits {
                if let Edit::SetColumn(column, value) = edit
                    && !row.set(column, value)
                {
                    return Err(format!("the sample has no column {column:?}"));
                }
            }
            Ok(Document::Csv(row))
        }
    }
}

/// A message as lines, with its delimiters.
struct Lines {
    lines: Vec<String>,
    field: char,
    component: char,
    repetition: char,
    sub: char,
}

impl Lines {
    fn of(message: &Message) -> Self {
        let text = message.text();
        let mut head = text.chars().skip(3);
        let mut next = |standard: char| head.next().unwrap_or(standard);
        let (field, component, repetition, _escape, sub) = (next('|'), next('^'), next('~'), next('\\'), next('&'));
        let lines = text.split(['\r', '\n']).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Self { lines, field, component, repetition, sub }
    }

    /// The text again; what is not ASCII is UTF-8 now, whatever it was.
    fn text(&mut self) -> String {
        if self.lines.iter().any(|line| !line.is_ascii())
            && let Ok(charset) = hl7::Path::parse("MSH-18")
        {
            self.set(&charset, "UNICODE UTF-8").ok();
        }
        self.lines.iter().map(|line| format!("{line}\r")).collect()
    }

    fn places(&self, id: &str) -> Vec<usize> {
        self.lines.iter().enumerate().filter(|(_, line)| line.starts_with(id)).map(|(at, _)| at).collect()
    }

    fn place(&self, segment: &Segment) -> Result<usize, String> {
        let found = segment.number.checked_sub(1).and_then(|at| self.places(&segment.id).get(at).copied());
        found.ok_or_else(|| format!("the sample has no {}[{}]", segment.id, segment.number))
    }

    /// Where a line goes.
    fn spot(&self, spot: &Spot) -> Result<usize, String> {
        match spot {
            Spot::Before(segment) => self.place(segment),
            Spot::After(segment) => self.place(segment).map(|at| at + 1),
            Spot::As(segment) => match self.places(&segment.id).last() {
                Some(last) if segment.number == self.places(&segment.id).len() + 1 => Ok(last + 1),
                None if segment.number == 1 => Ok(self.lines.len()),
                _ => self.place(segment),
            },
        }
    }

    fn edit(&mut self, edit: &Edit) -> Result<(), String> {
        match edit {
            Edit::Set(path, text) => self.set(path, text),
            Edit::Drop(path) => self.remove(path),
            Edit::Move(segment, spot) => {
                let from = self.place(segment)?;
                let line = self.lines.remove(from);
                let to = self.spot(spot)?;
                self.lines.insert(to.min(self.lines.len()), line);
                Ok(())
            }
            Edit::Insert(spot, text) => {
                let to = self.spot(spot)?;
                self.lines.insert(to.min(self.lines.len()), text.clone());
                Ok(())
            }
            Edit::SetNode(..) | Edit::DropNode(_) | Edit::SetColumn(..) => Ok(()),
        }
    }

    /// The lines that a path means; with `make`, a segment that is not there is added at the end.
    fn meant(&mut self, path: &hl7::Path, make: bool) -> Result<Vec<usize>, String> {
        let hl7::Root::Segment { id, selector } = &path.root else { return Ok(Vec::new()) };
        let mut all = self.places(id);
        if all.is_empty() && make {
            self.lines.push(id.clone());
            all = vec![self.lines.len() - 1];
        }
        let meant = match selector {
            None if path.field.is_none() => all,
            None => all.first().copied().into_iter().collect(),
            Some(Selector::Number(number)) => number.checked_sub(1).and_then(|at| all.get(at)).copied().into_iter().collect(),
            Some(Selector::Last) => all.last().copied().into_iter().collect(),
            Some(Selector::All) => all,
            Some(Selector::Where(_)) => return Err(format!("{path}: a test names segments by number")),
        };
        if meant.is_empty() { Err(format!("the sample has no {path}")) } else { Ok(meant) }
    }

    fn set(&mut self, path: &hl7::Path, text: &str) -> Result<(), String> {
        self.change(path, true, |old, parts| *old = replaced(old, parts, text))
    }

    fn remove(&mut self, path: &hl7::Path) -> Result<(), String> {
        if path.field.is_none() {
            for at in self.meant(path, false)?.into_iter().rev() {
                self.lines.remove(at);
            }
            return Ok(());
        }
        let whole_repetition = path.component.is_none() && matches!(&path.field, Some((_, Some(_))));
        self.change(path, false, |old, parts| match parts.first() {
            Some((delimiter, number)) if whole_repetition => {
                let kept: Vec<&str> = old.split(*delimiter).enumerate().filter(|(at, _)| at + 1 != *number).map(|(_, text)| text).collect();
                *old = kept.join(&delimiter.to_string());
            }
            _ => *old = replaced(old, parts, ""),
        })
    }

    /// Changes one field in the lines that a path means; the change gets the delimiters and numbers further in.
    fn change(&mut self, path: &hl7::Path, make: bool, change: impl Fn(&mut String, &[(char, usize)])) -> Result<(), String> {
        let Some((field, among)) = &path.field else { return Ok(()) };
        let mut parts = match among {
            None if path.component.is_none() => Vec::new(),
            None => vec![(self.repetition, 1)],
            Some(Selector::Number(number)) => vec![(self.repetition, *number)],
            Some(_) => return Err(format!("{path}: a test names repetitions by number")),
        };
        parts.extend(path.component.map(|component| (self.component, component)));
        parts.extend(path.sub.map(|sub| (self.sub, sub)));
        for at in self.meant(path, make)? {
            let separator = self.field;
            let Some(line) = self.lines.get_mut(at) else { continue };
            let offset = usize::from(line.starts_with("MSH"));
            let mut fields: Vec<String> = line.split(separator).map(str::to_owned).collect();
            let place = field.saturating_sub(offset);
            if place >= 2_000 {
                return Err(format!("{path}: there is no such field"));
            }
            while fields.len() <= place {
                fields.push(String::new());
            }
            if let Some(old) = fields.get_mut(place) {
                change(old, &parts);
            }
            *line = fields.join(&separator.to_string());
        }
        Ok(())
    }
}

/// A field with one of its parts replaced.
fn replaced(old: &str, parts: &[(char, usize)], text: &str) -> String {
    let Some(((delimiter, number), rest)) = parts.split_first() else { return text.to_owned() };
    let mut pieces: Vec<String> = old.split(*delimiter).map(str::to_owned).collect();
    while pieces.len() < (*number).min(1_000) {
        pieces.push(String::new());
    }
    if let Some(piece) = number.checked_sub(1).and_then(|at| pieces.get_mut(at)) {
        *piece = replaced(piece, rest, text);
    }
    pieces.join(&delimiter.to_string())
}

fn edit_tree(tree: &mut Value, edit: &Edit) -> Result<(), String> {
    let (text, value) = match edit {
        Edit::SetNode(text, value) => (text, Some(value)),
        Edit::DropNode(text) => (text, None),
        _ => return Ok(()),
    };
    let mut found = locations(tree, text);
    // A path finds the members of a list; a list goes in the place of the list, not into each of its members.
    if value.is_some_and(Value::is_array) && !text.ends_with(']') {
        found.iter_mut().for_each(|location| drop(location.pop_if(|last| matches!(last, Step::Index(_)))));
        found.dedup();
    }
    if let (true, Some(value)) = (found.is_empty(), value) {
        return add_node(tree, text, value);
    }
    if found.is_empty() {
        return Err(format!("the sample has no {text}"));
    }
    for location in found.iter().rev() {
        let Some((parent, last)) = location.split_last().and_then(|(last, above)| Some((node(tree, above)?, last))) else { continue };
        match (parent, last, value) {
            (Value::Object(object), Step::Name(name), Some(value)) => drop(object.insert(name.clone(), value.clone())),
            (Value::Object(object), Step::Name(name), None) => drop(object.shift_remove(name)),
            (Value::Array(items), Step::Index(index), Some(value)) => items.get_mut(*index).map_or((), |item| *item = value.clone()),
            (Value::Array(items), Step::Index(index), None) if *index < items.len() => drop(items.remove(*index)),
            _ => {}
        }
    }
    Ok(())
}

/// A name that is not there yet is added below what the rest of the path finds.
fn add_node(tree: &mut Value, text: &str, value: &Value) -> Result<(), String> {
    let missing = || format!("the sample has no {text}");
    let (above, name) = text.rsplit_once('.').ok_or_else(missing)?;
    let found = if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) { locations(tree, above) } else { Vec::new() };
    let at = found.first().ok_or_else(missing)?;
    let parent = node(tree, at).and_then(Value::as_object_mut).ok_or_else(missing)?;
    parent.insert(name.to_owned(), value.clone());
    Ok(())
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
}

/// Where the nodes of a path are, from the root down.
fn locations(tree: &Value, text: &str) -> Vec<Vec<Step>> {
    let Ok(path) = fhir::Path::parse(text) else { return Vec::new() };
    let arena = Bump::new();
    path.find(&Item::of(tree, &arena), &fhir::Lets::new()).into_iter().map(|found| steps(&found.location)).collect()
}

fn steps(location: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in location.split('.').skip(1) {
        let mut pieces = part.split('[');
        steps.extend(pieces.next().map(|name| Step::Name(name.to_owned())));
        steps.extend(pieces.filter_map(|index| index.trim_end_matches(']').parse().ok()).map(Step::Index));
    }
    steps
}

fn node<'t>(tree: &'t mut Value, steps: &[Step]) -> Option<&'t mut Value> {
    steps.iter().try_fold(tree, |node, step| match step {
        Step::Name(name) => node.get_mut(name),
        Step::Index(index) => node.get_mut(*index),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(path: &str, value: Value) -> Value {
        let mut tree = json!({ "resourceType": "Bundle", "entry": [{ "code": { "coding": [{ "code": "a" }, { "code": "b" }] } }] });
        edit_tree(&mut tree, &Edit::SetNode(path.to_owned(), value)).unwrap();
        tree["entry"][0]["code"]["coding"].take()
    }

    #[test]
    fn a_list_goes_in_the_place_of_a_list_and_a_value_into_each_member_that_the_path_finds() {
        assert_eq!(changed("Bundle.entry.code.coding", json!([{ "code": "c" }])), json!([{ "code": "c" }]));
        assert_eq!(changed("Bundle.entry.code.coding", json!({ "code": "c" })), json!([{ "code": "c" }, { "code": "c" }]));
        assert_eq!(changed("Bundle.entry.code.coding[2]", json!({ "code": "c" })), json!([{ "code": "a" }, { "code": "c" }]));
        assert_eq!(changed("Bundle.entry.code.coding.code", json!("c")), json!([{ "code": "c" }, { "code": "c" }]));
    }
}
