//! Which elements of a FHIR message its mapping reads: every leaf with a value, and what became of it.
//!
//! # How an element is named
//!
//!     Patient.name[0].family
//!     Patient.birthDate.extension(patient-birthTime)[0].valueDateTime    the last piece of the extension's URL
//!     Bundle.timestamp
//!
//! # Not here
//!
//! Reading. An element is used where the provenance of a reading says that a value came from it; it is looked at where a path of the
//! mapping has its name, read as text: where a reference leads is not followed, so behind `resolve()` a name counts for every type.

use std::collections::{BTreeMap, HashSet};

use super::load::Mapping;
use super::path::Path;
use super::record::Over;
use super::select::{self, Document, How};
use super::{Coverage, Finding, Provenance};
use crate::fhir::Item;

/// Elements that the reader itself needs: the kind of a message, who sent it, what references lead to.
const READ_BY_US: &[&str] = &[
    "Bundle.type",
    "Bundle.id",
    "Bundle.entry.fullUrl",
    "Bundle.entry.request.method",
    "Bundle.entry.request.url",
    "MessageHeader.event",
    "MessageHeader.source",
    "MessageHeader.timestamp",
    "*.id",
];
/// Any type, behind a reference.
const ANY: &str = "*";

/// `Patient`, `name`, `family`.
type Way = Vec<String>;

/// Every leaf of a document with a value: used, looked at and left, or unmapped.
pub(super) fn coverage(mapping: &Mapping, document: &Document<'_>) -> Vec<(String, Coverage)> {
    let Document::Fhir(tree, _) = document else { return Vec::new() };
    let evaluation = select::with(mapping, document, How { allow_test_numbers: true, explain: true, ..How::default() });
    let used: HashSet<&str> = evaluation.reading.provenance.iter().map(|one: &Provenance| one.from.as_str()).collect();
    let named = named(mapping);
    let mut leaves = Vec::new();
    walk(tree, &At { place: "Bundle".into(), shown: "Bundle".into(), way: vec!["Bundle".into()] }, &mut leaves);
    let judged = leaves.into_iter().map(|leaf| {
        let how = if used.contains(leaf.place.as_str()) || keys(&leaf.way).iter().any(|key| READ_BY_US.contains(&key.as_str())) {
            Coverage::Used
        } else if named.iter().any(|named| is_named(named, &leaf.way)) || is_left(mapping, &leaf.way) {
            Coverage::Ignored
        } else {
            Coverage::Unmapped
        };
        (leaf.shown, how)
    });
    judged.collect()
}

/// Where the walk is: as provenance writes it, as people are shown it, and without numbers.
#[derive(Clone)]
struct At {
    place: String,
    shown: String,
    way: Way,
}

impl At {
    fn below(&self, name: &str, shown: &str, number: Option<usize>) -> Self {
        let number = number.map(|number| format!("[{number}]")).unwrap_or_default();
        let mut way = self.way.clone();
        way.push(shown.to_owned());
        Self { place: format!("{}.{name}{number}", self.place), shown: format!("{}.{shown}{number}", self.shown), way }
    }

    /// A resource begins anew with its type.
    fn resource(self, value: &Item<'_>) -> Self {
        match value.get("resourceType").and_then(Item::as_str) {
            Some(kind) => Self { shown: kind.to_owned(), way: vec![kind.to_owned()], ..self },
            None => self,
        }
    }
}

fn walk(value: &Item<'_>, at: &At, leaves: &mut Vec<At>) {
    match value {
        Item::Null => {}
        Item::Object(fields) => {
            for (key, inner) in *fields {
                // The name of a type and of an extension say what something is; they are no values.
                let is_name = *key == "resourceType" || (*key == "url" && at.way.last().is_some_and(|name| name.starts_with("extension(")));
                if is_name {
                    continue;
                }
                let name = key.strip_prefix('_').unwrap_or(key);
                match inner {
                    Item::Array(items) => {
                        for (number, item) in items.iter().enumerate() {
                            step(item, at, (name, Some(number)), leaves);
                        }
                    }
                    _ => step(inner, at, (name, None), leaves),
                }
            }
        }
        Item::Array(items) => items.iter().for_each(|item| walk(item, at, leaves)),
        Item::Text(text) if text.trim().is_empty() => {}
        Item::Text(_) | Item::Number(_) | Item::Bool(_) => leaves.push(at.clone()),
    }
}

fn step(value: &Item<'_>, at: &At, (name, number): (&str, Option<usize>), leaves: &mut Vec<At>) {
    let url = value.get("url").and_then(Item::as_str).filter(|_| matches!(name, "extension" | "modifierExtension"));
    let shown = url.map_or_else(|| name.to_owned(), extension);
    walk(value, &at.below(name, &shown, number).resource(value), leaves);
}

/// `extension(patient-birthTime)`
fn extension(url: &str) -> String {
    format!("extension({})", url.rsplit('/').next().unwrap_or(url))
}

/// How the table of left fields may name an element: itself or what it is in, by type or of any type; or by the end of its name at any depth.
fn keys(way: &[String]) -> Vec<String> {
    let Some((kind, names)) = way.split_first() else { return Vec::new() };
    let upto = (0..=names.len()).filter_map(|upto| names.get(..upto));
    let from_type = upto.flat_map(|part| {
        let joined = |first: &str| std::iter::once(first).chain(part.iter().map(String::as_str)).collect::<Vec<_>>().join(".");
        [joined(kind), joined(ANY)]
    });
    let ends = (0..names.len()).filter_map(|from| names.get(from..)).map(|part| format!("**.{}", part.join(".")));
    from_type.filter(|key| key != ANY).chain(ends).collect()
}

fn is_left(mapping: &Mapping, way: &[String]) -> bool {
    mapping.left.as_ref().is_some_and(|table| keys(way).iter().any(|key| table.find(key, None).is_some()))
}

/// A named way and an element: the same type, or any, and the same names; a choice may be named without its type.
fn is_named(named: &[String], way: &[String]) -> bool {
    let same = |(number, (named, name)): (usize, (&String, &String))| match number {
        0 => named == name || (named == ANY && name != "Bundle"),
        _ => named == name || name.strip_prefix(named.as_str()).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase())),
    };
    named.len() == way.len() && named.iter().zip(way).enumerate().all(same)
}

/// All elements that some path of the mapping has the name of.
fn named(mapping: &Mapping) -> HashSet<Way> {
    let mut found = HashSet::new();
    let Names { lets, stand_on } = names(mapping, &mut found);
    let of_all = mapping.when.iter().chain(mapping.ignores.iter().map(|ignore| &ignore.when));
    for path in of_all.flat_map(|condition| condition.paths()) {
        ways(path, &Seen { this: &[], lets: &lets }, &mut found);
    }
    for (record, this) in mapping.records.iter().zip(&stand_on) {
        let rules = record.rules.iter().flat_map(|rule| rule.sources.iter().chain(&rule.fallback));
        let paths = rules.chain(record.conditions().flat_map(|condition| condition.paths()));
        for path in paths {
            ways(path, &Seen { this, lets: &lets }, &mut found);
        }
    }
    found
}

/// What the names of a mapping stand for: those of `[let]`, and `$this` of each record.
struct Names {
    lets: BTreeMap<String, Vec<Way>>,
    stand_on: Vec<Vec<Way>>,
}

fn names(mapping: &Mapping, found: &mut HashSet<Way>) -> Names {
    let mut lets: BTreeMap<String, Vec<Way>> = BTreeMap::new();
    for one in &mapping.lets {
        let ways = one.sources.iter().flat_map(|path| ways(path, &Seen { this: &[], lets: &lets }, found)).collect();
        lets.insert(one.name.clone(), ways);
    }
    let mut stand_on: Vec<Vec<Way>> = Vec::new();
    for record in &mapping.records {
        let outer = record.parent.and_then(|parent| stand_on.get(parent)).cloned().unwrap_or_default();
        let this = match &record.over {
            Some(Over::Nodes(path)) => ways(path, &Seen { this: &outer, lets: &lets }, found),
            _ => outer,
        };
        stand_on.push(this);
    }
    Names { lets, stand_on }
}

/// Findings as a sender understands them, who has no mapping file before him: `Patient.birthDate` for `$child.birthDate` and for
/// `Bundle.entry[3].resource.birthDate`.
pub(super) fn in_words_of_sender(mapping: &Mapping, document: &Document<'_>, findings: &[Finding]) -> Vec<Finding> {
    let Document::Fhir(tree, _) = document else { return findings.to_vec() };
    let names = names(mapping, &mut HashSet::new());
    let plain = |finding: &Finding| {
        let record = finding.field.split('.').next().unwrap_or_default();
        let this = mapping.records.iter().position(|one| one.name == record).and_then(|at| names.stand_on.get(at));
        let seen = Seen { this: this.map_or(&[], Vec::as_slice), lets: &names.lets };
        let words = |text: &str| typed(tree, &without_names(text, &seen));
        Finding { at: words(&finding.at), text: words(&finding.text), help: words(&finding.help), ..finding.clone() }
    };
    findings.iter().map(plain).collect()
}

/// A text with what `$name.…` stands for in the place of it.
fn without_names(text: &str, seen: &Seen<'_>) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, _)) = rest.split_once('$') {
        plain.push_str(before);
        rest = rest.get(before.len()..).unwrap_or_default();
        let mut found = HashSet::new();
        let mut words = Words { rest, seen, found: &mut found };
        let ways = words.path(seen.this);
        let left = words.rest;
        let written = rest.get(..rest.len() - left.len()).unwrap_or_default();
        match ways.first() {
            // Of what a reference leads to the type is not known.
            Some(way) => plain.push_str(&way.iter().filter(|name| *name != ANY).map(String::as_str).collect::<Vec<_>>().join(".")),
            None => plain.push_str(written.trim_start_matches("$this.")),
        }
        rest = left;
    }
    plain + rest
}

/// A text in which resources are called by their types.
fn typed(tree: &Item<'_>, text: &str) -> String {
    const ENTRY: &str = "Bundle.entry[";
    let mut typed = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(ENTRY) {
        typed.push_str(before);
        let number = after.split_once("].resource").and_then(|(number, rest)| Some((number.parse::<usize>().ok()?, rest)));
        let kind =
            number.and_then(|(number, _)| tree.get("entry")?.as_array()?.get(number)?.get("resource")?.get("resourceType")?.as_str());
        match (kind, number) {
            (Some(kind), Some((_, left))) => {
                typed.push_str(kind);
                rest = left;
            }
            _ => {
                typed.push_str(ENTRY);
                rest = after;
            }
        }
    }
    typed + rest
}

/// What names in a path may stand for.
struct Seen<'s> {
    this: &'s [Way],
    lets: &'s BTreeMap<String, Vec<Way>>,
}

fn ways(path: &Path, seen: &Seen<'_>, found: &mut HashSet<Way>) -> Vec<Way> {
    let Path::Fhir(path) = path else { return Vec::new() };
    let text = &path.text;
    Words { rest: text, seen, found }.path(seen.this)
}

/// The text of a path that is known to be one, from left to right.
struct Words<'t, 'w> {
    rest: &'t str,
    seen: &'w Seen<'w>,
    found: &'w mut HashSet<Way>,
}

impl<'t> Words<'t, '_> {
    /// What is inside brackets: any paths, with words and constants between them.
    fn inside(&mut self, this: &[Way]) {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next() {
                None => return,
                Some(')') => {
                    self.skip(1);
                    return;
                }
                Some('(') => {
                    self.skip(1);
                    self.inside(this);
                }
                Some('\'') => drop(self.quoted()),
                Some(c) if c.is_ascii_alphabetic() || c == '$' => drop(self.path(this)),
                Some(c) => self.skip(c.len_utf8()),
            }
        }
    }

    fn path(&mut self, this: &[Way]) -> Vec<Way> {
        let mut ways = match self.word() {
            "$this" => this.to_vec(),
            "$record" => self.seen.this.to_vec(),
            name if name.starts_with('$') => self.seen.lets.get(name.trim_start_matches('$')).cloned().unwrap_or_default(),
            "and" | "or" | "not" | "true" | "false" => return Vec::new(),
            "exists" | "count" if self.rest.starts_with('(') => {
                self.skip(1);
                self.inside(this);
                return Vec::new();
            }
            kind if kind.starts_with(|c: char| c.is_ascii_uppercase()) => vec![vec![kind.to_owned()]],
            name => below(this, name),
        };
        loop {
            match self.rest.chars().next() {
                Some('[') => {
                    let end = self.rest.find(']').map_or(self.rest.len(), |at| at + 1);
                    self.skip(end);
                }
                Some('.') => {
                    self.skip(1);
                    ways = self.step(ways);
                }
                _ => break,
            }
        }
        self.found.extend(ways.iter().cloned());
        ways
    }

    fn step(&mut self, ways: Vec<Way>) -> Vec<Way> {
        let word = self.word();
        if !self.rest.starts_with('(') {
            return below(&ways, word);
        }
        self.skip(1);
        match word {
            "extension" => {
                let url = self.quoted();
                self.inside(&[]);
                below(&ways, &extension(url))
            }
            "ofType" => {
                let kind = self.word().to_owned();
                self.inside(&[]);
                vec![vec![kind]]
            }
            "resolve" => {
                self.inside(&[]);
                self.found.extend(below(&ways, "reference"));
                vec![vec![ANY.to_owned()]]
            }
            _ => {
                self.inside(&ways);
                ways
            }
        }
    }

    fn word(&mut self) -> &'t str {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '$' && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> &'t str {
        let text = self.rest.strip_prefix('\'').unwrap_or(self.rest);
        let (quoted, rest) = text.split_once('\'').unwrap_or((text, ""));
        self.rest = rest;
        quoted
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

/// Children of this name; those of a resource in a Bundle without a type are of any.
fn below(ways: &[Way], name: &str) -> Vec<Way> {
    let one = |way: &Way| {
        let is_entry = way.iter().map(String::as_str).eq(["Bundle", "entry", "resource"]);
        let mut way = if is_entry { vec![ANY.to_owned()] } else { way.clone() };
        way.push(name.to_owned());
        way
    };
    ways.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sender_is_told_of_its_own_elements_and_not_of_names_in_our_files() {
        let way = |text: &str| text.split('.').map(str::to_owned).collect::<Way>();
        let lets = BTreeMap::from([
            ("act".to_owned(), vec![way("MessageHeader.extension(Type-1)")]),
            ("surgery".to_owned(), vec![way("*")]),
            ("none".to_owned(), Vec::new()),
        ]);
        let this = [way("Patient.name")];
        let seen = Seen { this: &this, lets: &lets };
        for (text, plain) in [
            (
                "$act.valueCode.coding.where(code = 'delete').code is empty",
                "MessageHeader.extension(Type-1).valueCode.coding.code is empty",
            ),
            ("not exists($this.family) or $this.use = 'x'", "not exists(Patient.name.family) or Patient.name.use = 'x'"),
            ("$none.code", "$none.code"),
            ("$surgery.identifier.value is empty", "identifier.value is empty"),
            ("$act.code, $this.given[2]", "MessageHeader.extension(Type-1).code, Patient.name.given"),
            ("no name", "no name"),
            ("ends with $", "ends with $"),
        ] {
            assert_eq!(without_names(text, &seen), plain);
        }
        let arena = bumpalo::Bump::new();
        let tree = json!({ "resourceType": "Bundle", "entry": [{ "resource": { "resourceType": "Patient" } }] });
        let tree = Item::of(&tree, &arena);
        assert_eq!(typed(&tree, "\"x\" at Bundle.entry[0].resource.birthDate is no date"), "\"x\" at Patient.birthDate is no date");
        assert_eq!(typed(&tree, "Bundle.entry[7].resource.a and Bundle.entry[0].x"), "Bundle.entry[7].resource.a and Bundle.entry[0].x");
    }
}
