//! A record of a mapping file: which pieces of the message it is made of, and what belongs to it.
//!
//! # Keys (a closed set)
//!
//! `name`, `type`, `parent`, `over`, `lead`, `span`, `group_by`, `within`, `when`, `check`, `hold`, `warn`, `unique`, `key`,
//! `needs`, `fields`.
//!
//! # Invariants
//!
//! - Every record but `event` and `child` belongs to a parent that can own its type.
//! - What is inside an iterating record is inside its span: no segment is read for two owners.
//!
//! # Not here
//!
//! Running it: `eval.rs`. Which canonical list a type fills: `target.rs`.

use std::collections::BTreeSet;

use super::condition::Condition;
use super::diagnostic::{
    MISSING_KEY, Mistake, NAME, OVER, PARENT, RECORD_TYPE, Report, Source, UNFIT, UNKNOWN_FIELD, WRONG_KIND, did_you_mean,
};
use super::document::{Entry, Section, Text, entries};
use super::path::{Dialect, Names, Path, V2Path};
use super::rule::{Defaults, Origin, RawRule, Rule, Terms};
use super::target::{Home, Kind, Model, RECORD_TYPES, RecordType, Target};
use crate::fhir;

/// Keys of a record.
pub(super) const RECORD_KEYS: &[&str] = &[
    "name", "type", "parent", "over", "lead", "span", "group_by", "within", "when", "check", "hold", "warn", "unique", "key", "needs",
    "fields",
];
/// Names that mean something else in `expect`.
pub(super) const RESERVED: &[&str] = &["held", "ignored", "absent", "cleared", "counts", "issues", "let", "parent"];

/// One record for each of these.
#[derive(Clone, Debug)]
pub(super) enum Over {
    /// Segments by id.
    Segment(V2Path),
    /// Repetitions of a field.
    Field(V2Path),
    /// Nodes of a FHIR document.
    Nodes(Path),
}

/// Something that identifies a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A field, by its rule.
    Rule(usize),
    /// A record that belongs to this one.
    Record(usize),
}

/// Something to say of a record where a condition holds.
#[derive(Clone, Debug)]
pub(super) struct Remark {
    /// Where it is said.
    pub when: Condition,
    /// What is said, in the words of whoever wrote the file; nothing of the message is in it.
    pub text: String,
    /// It holds the message.
    pub holds: bool,
    /// Where it is written.
    pub origin: Origin,
}

impl Record {
    /// All its conditions, those of its rules too.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let own = self.when.iter().chain(self.check.iter().map(|(check, _)| check));
        let own =
            own.chain(self.remarks.iter().map(|remark| &remark.when)).chain(self.unique.iter().filter_map(|unique| unique.when.as_ref()));
        own.chain(self.rules.iter().filter_map(|rule| rule.when.as_ref()))
    }
}

/// Records of one owner that speak of the same thing must not contradict each other.
#[derive(Clone, Debug)]
pub(super) struct Unique {
    /// Rules whose fields say what a record speaks of.
    pub by: Vec<usize>,
    /// Rules whose fields must then be the same, as far as they are said.
    pub same: Vec<usize>,
    /// Which records are looked at; all where it is not written.
    pub when: Option<Condition>,
    /// Where it is written.
    pub origin: Origin,
}

/// Where a finished record goes, by the number of the member that it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// Into a list of the statement.
    Statement(usize),
    /// Into a list of its owner.
    List(usize),
    /// Into its owner, which has room for one.
    One(usize),
}

/// A compiled record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Its name in the file, `mother`.
    pub name: String,
    /// Its type.
    pub kind: &'static RecordType,
    /// Whom it belongs to.
    pub parent: Option<usize>,
    /// The member of the parent (or of the statement) that it fills.
    pub member: &'static str,
    /// Its shape in the model.
    pub shape: usize,
    /// Where its records go.
    pub goes: Goes,
    /// Different fields that its rules and its records fill at most.
    pub room: usize,
    /// One for each of these; else one.
    pub over: Option<Over>,
    /// The first record that goes over the same, where several do.
    pub like: Option<usize>,
    /// Segments that each one owns from the one before it on.
    pub lead: Vec<String>,
    /// Segments that each one owns up to the next.
    pub span: Vec<String>,
    /// Segments with equal value here are one record.
    pub group_by: Option<V2Path>,
    /// Only where this holds.
    pub when: Option<Condition>,
    /// Must hold, with its text.
    pub check: Option<(Condition, String)>,
    /// What is said where something else is true.
    pub remarks: Vec<Remark>,
    /// What several of them must agree on.
    pub unique: Option<Unique>,
    /// At least one of these must be there.
    pub key: Vec<Key>,
    /// Silently no record where one of these rules found nothing.
    pub needs: Vec<usize>,
    /// Records that belong to this one.
    pub children: Vec<usize>,
    /// Its fields.
    pub rules: Vec<Rule>,
    /// Where it is written.
    pub origin: Origin,
}

/// A record as it stands in the files, after overrides.
#[derive(Clone)]
pub(super) struct RawRecord<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// Its type.
    pub kind: &'static RecordType,
    /// Its head.
    pub section: Section<'a>,
    /// Its rules.
    pub rules: Vec<RawRule<'a>>,
}

impl<'a> RawRecord<'a> {
    /// Reads the head and the fields of `[[record]]`.
    pub fn read(section: Section<'a>, defaults: &Defaults, report: &Report) -> Option<Self> {
        section.closed(RECORD_KEYS, report);
        let name = section.needed("name", "\"child\"", report);
        let kind = section.needed("type", "\"child\"", report)?;
        let Some(found) = RecordType::find(kind.value) else {
            let mistake = Mistake::new(RECORD_TYPE, kind.span, format!("there is no record type {:?}", kind.value));
            report.error(section.source, mistake.maybe_help(did_you_mean(kind.value, RECORD_TYPES.iter().map(|kind| kind.name))));
            return None;
        };
        let name = name?;
        if RESERVED.contains(&name.value) || name.value.is_empty() || name.value.contains(['.', ' ', '[']) {
            let mistake = Mistake::new(NAME, name.span.clone(), format!("{:?} cannot be the name of a record", name.value));
            report.error(section.source, mistake.help("use small letters and hyphens"));
        }
        let fields = section.section("fields", "[record.fields]", report);
        let rules = fields.map_or_else(Vec::new, |fields| rules(&fields, found.shape(), defaults, report));
        Some(Self { name, kind: found, section, rules })
    }
}

/// All rules of a `fields` table: nested tables are followed as long as the canonical model has parts there.
pub(super) fn rules<'a>(fields: &Section<'a>, shape: usize, defaults: &Defaults, report: &Report) -> Vec<RawRule<'a>> {
    let mut rules = Vec::new();
    let mut collect = Collect { source: fields.source, root: shape, defaults, report, rules: &mut rules };
    for entry in entries(fields.table) {
        collect.entry(&entry, (shape, ""));
    }
    rules
}

struct Collect<'c, 'a> {
    source: &'a Source,
    root: usize,
    defaults: &'c Defaults,
    report: &'c Report,
    rules: &'c mut Vec<RawRule<'a>>,
}

impl<'a> Collect<'_, 'a> {
    fn error(&self, mistake: Mistake) {
        self.report.error(self.source, mistake);
    }

    /// One key: a part is followed, anything else is a rule. `"birth.date"` in quotation marks is both steps at once.
    fn entry(&mut self, entry: &Entry<'a>, (shape, prefix): (usize, &str)) {
        let model = Model::get();
        let (mut shape, mut dotted) = (shape, prefix.to_owned());
        for name in entry.key.split('.') {
            let here = model.shape(shape);
            let above = dotted.clone();
            dotted = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
            let Some(field) = here.field(name) else {
                let known: Vec<String> = here
                    .fields
                    .iter()
                    .map(|field| if above.is_empty() { field.name.clone() } else { format!("{above}.{}", field.name) })
                    .collect();
                let mistake = Mistake::new(UNKNOWN_FIELD, entry.span.clone(), format!("{} has no field `{dotted}`", self.record_type()));
                self.error(mistake.maybe_help(elsewhere(name).or_else(|| did_you_mean(&dotted, known.iter().map(String::as_str)))));
                return;
            };
            match &field.kind {
                Kind::Part(part) => shape = *part,
                leaf => return self.leaf(entry, &dotted, leaf),
            }
        }
        match entry.node.get_ref().as_table() {
            Some(table) => {
                for inner in entries(table) {
                    self.entry(&inner, (shape, &dotted));
                }
            }
            None => {
                let mistake = Mistake::new(WRONG_KIND, entry.node.span(), format!("`{dotted}` is a part with fields of its own"));
                self.error(mistake.maybe_help(first_of(shape, &dotted)));
            }
        }
    }

    fn record_type(&self) -> String {
        let shape = &Model::get().shape(self.root).name;
        RECORD_TYPES
            .iter()
            .find(|kind| kind.shape == shape)
            .map_or_else(|| format!("a {shape}"), |kind| format!("a record of type `{}`", kind.name))
    }

    fn leaf(&mut self, entry: &Entry<'a>, dotted: &str, kind: &Kind) {
        match kind {
            Kind::Parts(part) => {
                let kind = RECORD_TYPES.iter().find(|kind| kind.shape() == *part).map_or("…", |kind| kind.name);
                let mistake = Mistake::new(UNKNOWN_FIELD, entry.span.clone(), format!("`{dotted}` is a list of records"));
                self.error(mistake.help(format!("write a [[record]] of type = \"{kind}\" with this record as its parent")));
            }
            Kind::Ours => {
                let mistake = Mistake::new(UNKNOWN_FIELD, entry.span.clone(), format!("`{dotted}` is set by the broker, not by a mapping"));
                self.error(mistake.help("remove this rule"));
            }
            kind => {
                let target = Target { path: dotted.split('.').map(str::to_owned).collect(), kind: kind.clone() };
                if self.rules.iter().any(|rule| rule.target.path == target.path) {
                    self.error(
                        Mistake::new(NAME, entry.span.clone(), format!("`{dotted}` already has a rule above")).help("keep one of the two"),
                    );
                }
                let rule = RawRule {
                    target,
                    source: self.source,
                    key_span: entry.span.clone(),
                    node: entry.node,
                    defaults: self.defaults.clone(),
                };
                self.rules.push(rule);
            }
        }
    }
}

fn first_of(part: usize, dotted: &str) -> Option<String> {
    let names: Vec<String> = Model::get().shape(part).fields.iter().map(|field| format!("{dotted}.{}", field.name)).collect();
    Some(format!("write one rule for each of its fields: {}", names.join(", ")))
}

/// Fields that people look for on the child and that are records of their own, or stand below a part.
fn elsewhere(field: &str) -> Option<String> {
    let kind = match field {
        "nhs_number" | "local_id" | "identifier" => "identifier",
        "name" | "family" | "given" => "name",
        "address" | "postcode" => "address",
        "phone" | "telecom" | "email" => "telecom",
        "mother" | "contact" => "relation",
        _ => return None,
    };
    Some(format!("write a [[record]] of type = \"{kind}\" with parent = \"child\""))
}

/// Compiles all records of an effective file.
pub(super) fn compile(raws: &[RawRecord<'_>], terms: &Terms<'_>) -> Vec<Record> {
    let names: Vec<&str> = raws.iter().map(|raw| raw.name.value).collect();
    let parents: Vec<Option<usize>> = raws.iter().enumerate().map(|(index, raw)| parent(raw, index, raws, terms.report)).collect();
    let mut records: Vec<Record> = Vec::with_capacity(raws.len());
    for (index, raw) in raws.iter().enumerate() {
        let above = parents.get(index).copied().flatten();
        let outside = scope_of(above, raws, &parents, terms);
        let inside = scope_of(Some(index), raws, &parents, terms);
        let at = |types| Terms { names: Names { types, ..terms.names }, ..*terms };
        records.push(one(raw, (above, raws), &at(&outside), &at(&inside)));
    }
    for index in 0..records.len() {
        let parent = records.get(index).and_then(|record| record.parent);
        if let Some(parent) = parent.and_then(|parent| records.get_mut(parent)) {
            parent.children.push(index);
        }
    }
    for index in 0..records.len() {
        let children = records.get(index).map(|record| record.children.as_slice()).unwrap_or_default();
        let members: BTreeSet<&str> = children.iter().filter_map(|child| records.get(*child)).map(|child| child.member).collect();
        let members = members.len();
        records.get_mut(index).into_iter().for_each(|record| record.room += members);
    }
    share(&mut records);
    for (index, raw) in raws.iter().enumerate() {
        let key = keys(raw, index, &records, &names, terms.report);
        ownership(raw, index, &records, terms.report);
        if let Some(record) = records.get_mut(index) {
            record.key = key;
        }
    }
    records
}

/// Says of records that go over the same which is the first of them: their instances need be found only once.
fn share(records: &mut [Record]) {
    let way = |record: &Record| match &record.over {
        Some(Over::Segment(path) | Over::Field(path)) => {
            Some((path.text.clone(), record.lead.clone(), record.span.clone(), record.group_by.as_ref().map(|path| path.text.clone())))
        }
        Some(Over::Nodes(_)) | None => None,
    };
    let ways: Vec<_> = records.iter().map(way).collect();
    for (record, way) in records.iter_mut().zip(&ways) {
        let mut same = ways.iter().enumerate().filter(|(_, other)| way.is_some() && *other == way).map(|(index, _)| index);
        record.like = same.next().filter(|_| same.next().is_some());
    }
}

/// What `$this` can be inside a record: what the nearest `over` on the way up finds.
fn scope_of(index: Option<usize>, raws: &[RawRecord<'_>], parents: &[Option<usize>], terms: &Terms<'_>) -> fhir::Scope {
    let mut chain = Vec::new();
    let mut at = index;
    while let Some(index) = at.filter(|_| chain.len() < raws.len()) {
        chain.push(index);
        at = parents.get(index).copied().flatten();
    }
    let mut scope = terms.names.types.clone();
    for raw in chain.into_iter().rev().filter_map(|index| raws.get(index)) {
        let over = raw.section.get("over").and_then(|node| node.get_ref().as_str());
        let found = over.and_then(|over| super::path::compile(over, Names { types: &scope, ..terms.names }).ok());
        if let (Some((_, types)), Dialect::Fhir(_)) = (found, terms.names.dialect) {
            scope.this = types;
        }
    }
    scope
}

/// `outside` is where the record's `over` is asked, `inside` where everything else of it is.
fn one(raw: &RawRecord<'_>, (parent, raws): (Option<usize>, &[RawRecord<'_>]), outside: &Terms<'_>, inside: &Terms<'_>) -> Record {
    let (section, report, terms) = (&raw.section, inside.report, inside);
    let source = section.source;
    let member = parent.and_then(|parent| raws.get(parent)).and_then(|parent| raw.kind.member(parent.kind.name)).unwrap_or_default();
    let over = over(raw, outside);
    let lead = segments(section, "lead", over.as_ref(), terms);
    let span = segments(section, "span", over.as_ref(), terms);
    let group_by = section.text("group_by", report).and_then(|text| group(&text, over.as_ref(), source, terms));
    let check = section.text("check", report).and_then(|text| Some((terms.condition(section, "check")?, text.value.to_owned())));
    let shape = raw.kind.shape();
    let mut rules: Vec<Rule> = raw.rules.iter().filter_map(|rule| rule.compile(terms)).collect();
    rules.iter_mut().for_each(|rule| rule.slots = rule.target.slots(shape));
    let owner = parent.and_then(|parent| raws.get(parent)).map(|parent| parent.kind);
    if let Some(Over::Field(field)) = &over {
        current_only(field, raw, &rules, report);
    }
    // Elsewhere a field that is left out would take back the whole list that its record stands in.
    for rule in rules.iter().filter(|rule| rule.absent_clears && raw.kind.home != Home::Child) {
        let what = format!("`{}` is cleared where it is absent, and only fields of a child can be", rule.field);
        report.error(source, Mistake::new(UNFIT, raw.name.span.clone(), what).help("remove `absent`"));
    }
    let needs = section.texts("needs", report).into_iter().filter_map(|need| {
        let found = rules.iter().position(|rule| rule.field == need.value);
        if found.is_none() && !raw.rules.iter().any(|rule| rule.target.dotted() == need.value) {
            let mistake =
                Mistake::new(UNKNOWN_FIELD, need.span, format!("`needs` names {:?}, for which this record has no rule", need.value));
            let known: Vec<String> = raw.rules.iter().map(|rule| rule.target.dotted()).collect();
            report.error(source, mistake.maybe_help(did_you_mean(need.value, known.iter().map(String::as_str))));
        }
        found
    });
    let needs = needs.collect();
    let when = terms.condition(section, "when");
    let remarks = ["hold", "warn"].into_iter().flat_map(|key| remarks(section, key, terms)).collect();
    let unique = unique(raw, &rules, terms);
    let origin = Origin::of(source, raw.name.span.start);
    Record {
        name: raw.name.value.to_owned(),
        kind: raw.kind,
        parent,
        member,
        shape,
        goes: goes(raw.kind, owner, member),
        room: rules.iter().filter_map(|rule| rule.slots.first()).map(|(slot, _)| *slot).collect::<BTreeSet<_>>().len(),
        over,
        like: None,
        lead,
        span,
        group_by,
        when,
        check,
        remarks,
        unique,
        key: Vec::new(),
        needs,
        children: Vec::new(),
        rules,
        origin,
    }
}

/// `hold = [{ when = '…', text = "…" }, …]`, and `warn` likewise.
fn remarks(section: &Section<'_>, key: &str, terms: &Terms<'_>) -> Vec<Remark> {
    let remark = |inner: Section<'_>| {
        inner.closed(&["when", "text"], terms.report);
        inner.needed("when", "'RXA-6 > 10'", terms.report)?;
        let text = inner.needed("text", "\"what is wrong\"", terms.report)?;
        let when = terms.condition(&inner, "when")?;
        let origin = Origin::of(inner.source, inner.key_span("when").start);
        Some(Remark { when, text: text.value.to_owned(), holds: key == "hold", origin })
    };
    section.sections(key, &format!("an item of `{key}`"), terms.report).into_iter().filter_map(remark).collect()
}

/// `unique = { by = ["condition"], same = ["nbs_status"], when = '…' }`
fn unique(raw: &RawRecord<'_>, rules: &[Rule], terms: &Terms<'_>) -> Option<Unique> {
    let (section, report) = (raw.section.section("unique", "`unique`", terms.report)?, terms.report);
    section.closed(&["by", "same", "when"], report);
    let fields = |key: &str, example: &str| {
        let texts = section.texts(key, report);
        if texts.is_empty() {
            let mistake = Mistake::new(MISSING_KEY, section.span.clone(), format!("`unique` must say `{key}`"));
            report.error(section.source, mistake.help(format!("add: {key} = [\"{example}\"]")));
        }
        let found = texts.into_iter().filter_map(|text| {
            let found = rules.iter().position(|rule| rule.field == text.value);
            if found.is_none() && !raw.rules.iter().any(|rule| rule.target.dotted() == text.value) {
                let known: Vec<String> = raw.rules.iter().map(|rule| rule.target.dotted()).collect();
                let text = (text.span, format!("`{key}` names {:?}, for which this record has no rule", text.value), text.value);
                let mistake = Mistake::new(UNKNOWN_FIELD, text.0, text.1);
                report.error(section.source, mistake.maybe_help(did_you_mean(text.2, known.iter().map(String::as_str))));
            }
            found
        });
        found.collect::<Vec<_>>()
    };
    if raw.kind.home == Home::Child || raw.kind.home == Home::Event {
        let mistake = Mistake::new(UNFIT, section.span.clone(), "`unique` is for records that belong to another one");
        report.error(section.source, mistake.help("remove `unique`"));
    }
    let (by, same) = (fields("by", "condition"), fields("same", "nbs_status"));
    let origin = Origin::of(section.source, section.span.start);
    Some(Unique { by, same, when: terms.condition(&section, "when"), origin })
}

/// Where records of a type go whose owner is of another.
fn goes(kind: &RecordType, owner: Option<&RecordType>, member: &str) -> Goes {
    let model = Model::get();
    if let Home::Statement(_) = kind.home {
        return Goes::Statement(model.member(member).unwrap_or(usize::MAX));
    }
    let shape = owner.map(|owner| model.shape(owner.shape()));
    let slot = shape.and_then(|shape| shape.slot(member)).unwrap_or(usize::MAX);
    let is_list = shape.and_then(|shape| shape.fields.get(slot)).is_none_or(|field| matches!(field.kind, Kind::Parts(_)));
    if is_list { Goes::List(slot) } else { Goes::One(slot) }
}

/// `parent`, else `within`, else the only record of a type that can own this one.
fn parent(raw: &RawRecord<'_>, index: usize, raws: &[RawRecord<'_>], report: &Report) -> Option<usize> {
    let source = raw.section.source;
    let allowed = raw.kind.parents();
    let named = raw.section.text("parent", report);
    let within = raw.section.text("within", report);
    if let (Some(parent), Some(within)) = (&named, &within)
        && parent.value != within.value
    {
        let mistake = Mistake::new(PARENT, within.span.clone(), "`within` and `parent` must name the same record");
        report.error(source, mistake.help(format!("write within = \"{}\"", parent.value)));
    }
    let Some(named) = named.or(within) else {
        let candidates: Vec<usize> =
            raws.iter().enumerate().filter(|(_, other)| allowed.contains(&other.kind.name)).map(|(index, _)| index).collect();
        let is_event = raw.kind.home == Home::Event;
        return match (candidates.as_slice(), allowed.as_slice(), is_event) {
            (_, _, true) | (_, [], _) => None,
            ([only], _, _) => Some(*only),
            _ => {
                let names = raws
                    .iter()
                    .filter(|other| allowed.contains(&other.kind.name))
                    .map(|other| format!("\"{}\"", other.name.value))
                    .collect::<Vec<_>>();
                let help = if names.is_empty() {
                    format!("add a record of type {}", allowed.join(" or "))
                } else {
                    format!("write parent = {}", names.join(" or "))
                };
                report.error(
                    source,
                    Mistake::new(PARENT, raw.name.span.clone(), format!("record `{}` must say whom it belongs to", raw.name.value))
                        .help(help),
                );
                None
            }
        };
    };
    let found = raws.iter().position(|other| other.name.value == named.value);
    let Some(found) = found else {
        let mistake = Mistake::new(PARENT, named.span, format!("there is no record {:?}", named.value));
        report.error(source, mistake.maybe_help(did_you_mean(named.value, raws.iter().map(|other| other.name.value))));
        return None;
    };
    let fits = raws.get(found).is_some_and(|other| allowed.contains(&other.kind.name));
    if found == index || !fits {
        let mistake = Mistake::new(PARENT, named.span, format!("a record of type `{}` cannot belong to `{}`", raw.kind.name, named.value));
        let help = if allowed.is_empty() {
            "remove `parent`".to_owned()
        } else {
            format!("its parent is a record of type {}", allowed.join(" or "))
        };
        report.error(source, mistake.help(help));
        return None;
    }
    Some(found)
}

fn over(raw: &RawRecord<'_>, terms: &Terms<'_>) -> Option<Over> {
    let text = raw.section.text("over", terms.report)?;
    let path = terms.path(&text, raw.section.source)?;
    let Path::V2(v2) = path else { return Some(Over::Nodes(path)) };
    let error =
        |message: &str, help: &str| terms.report.error(raw.section.source, Mistake::new(OVER, text.span.clone(), message).help(help));
    if v2.component.is_some() || matches!(v2.root, super::path::Root::Let(_)) {
        error("`over` names a segment or a field", "write over = \"NK1\" or over = \"PID-3\"");
        return None;
    }
    Some(if v2.field.is_some() { Over::Field(v2) } else { Over::Segment(v2) })
}

/// The segments that `lead` or `span` names.
fn segments(section: &Section<'_>, key: &str, over: Option<&Over>, terms: &Terms<'_>) -> Vec<String> {
    let texts = section.texts(key, terms.report);
    if !texts.is_empty() && !matches!(over, Some(Over::Segment(_))) {
        let help = if terms.names.dialect == Dialect::V2 {
            "add over = \"OBR\"".to_owned()
        } else {
            format!("FHIR resources own what is inside them: remove `{key}`")
        };
        let mistake = Mistake::new(OVER, section.key_span(key), format!("`{key}` needs `over` with a segment"));
        terms.report.error(section.source, mistake.help(help));
    }
    let segment = |text: &Text<'_>| {
        let plain = text.value.len() == 3 && text.value.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !plain {
            terms.report.error(
                section.source,
                Mistake::new(OVER, text.span.clone(), format!("{:?} is no segment", text.value))
                    .help("write three capital letters or digits: \"OBX\""),
            );
        }
        plain
    };
    texts.iter().filter(|text| segment(text)).map(|text| text.value.to_owned()).collect()
}

fn group(text: &Text<'_>, over: Option<&Over>, source: &Source, terms: &Terms<'_>) -> Option<V2Path> {
    let path = terms.path(text, source)?;
    let wanted = if let Some(Over::Segment(path)) = over { path.segment().map(str::to_owned) } else { None };
    match (path, wanted) {
        (Path::V2(path), Some(wanted)) if path.field.is_some() && path.segment() == Some(&wanted) => Some(path),
        (_, wanted) => {
            let help = wanted.map_or_else(|| "add over = \"OBX\"".to_owned(), |wanted| format!("write group_by = \"{wanted}-4\""));
            terms
                .report
                .error(source, Mistake::new(OVER, text.span.clone(), "`group_by` names a field of the segment in `over`").help(help));
            None
        }
    }
}

/// Inside `over = "PID-3"`, PID-3 is the current repetition: a number there would be misread.
fn current_only(over: &V2Path, raw: &RawRecord<'_>, rules: &[Rule], report: &Report) {
    let Some((field, _)) = over.field else { return };
    for rule in rules {
        let numbered = rule.sources.iter().filter_map(Path::v2).any(|path| {
            let same = matches!((&path.root, &over.root), (super::path::Root::Segment(a, _), super::path::Root::Segment(b, _)) if a == b);
            same && matches!(&path.field, Some((number, Some(super::path::Selector::Number(_) | super::path::Selector::Last))) if *number == field)
        });
        if numbered && let Some(raw_rule) = raw.rules.iter().find(|raw| raw.target.dotted() == rule.field) {
            let mistake =
                Mistake::new(OVER, raw_rule.node.span(), format!("inside `over`, field {field} is already the current repetition"));
            report.error(raw_rule.source, mistake.help("leave the number in brackets out"));
        }
    }
}

fn keys(raw: &RawRecord<'_>, index: usize, records: &[Record], names: &[&str], report: &Report) -> Vec<Key> {
    let Some(record) = records.get(index) else { return Vec::new() };
    let find = |text: Text<'_>| {
        let rule = record.rules.iter().position(|rule| rule.field == text.value).map(Key::Rule);
        let child = || names.iter().position(|name| *name == text.value).filter(|child| record.children.contains(child)).map(Key::Record);
        let found = rule.or_else(child);
        if found.is_none() && !raw.rules.iter().any(|rule| rule.target.dotted() == text.value) {
            let mistake = Mistake::new(
                UNKNOWN_FIELD,
                text.span,
                format!("`key` names {:?}, which is neither a field nor a record of `{}`", text.value, record.name),
            );
            let known: Vec<&str> = record
                .rules
                .iter()
                .map(|rule| rule.field.as_str())
                .chain(record.children.iter().filter_map(|child| names.get(*child).copied()))
                .collect();
            report.error(raw.section.source, mistake.maybe_help(did_you_mean(text.value, known)));
        }
        found
    };
    raw.section.texts("key", report).into_iter().filter_map(find).collect()
}

/// A record over segments inside an iterating record must be inside what that one owns.
fn ownership(raw: &RawRecord<'_>, index: usize, records: &[Record], report: &Report) {
    let Some(record) = records.get(index) else { return };
    let id = match &record.over {
        Some(Over::Segment(path) | Over::Field(path)) => path.segment(),
        _ => None,
    };
    let Some(id) = id else { return };
    let mut at = record.parent;
    for _ in 0..records.len() {
        let Some(owner) = at.and_then(|at| records.get(at)) else { return };
        if let Some(Over::Segment(over) | Over::Field(over)) = &owner.over {
            if over.segment() != Some(id) && !owner.lead.iter().chain(&owner.span).any(|owned| owned == id) {
                let span = raw.section.get("over").map_or(raw.name.span.clone(), |node| node.span());
                let mistake =
                    Mistake::new(OVER, span, format!("`{}` owns no {id}: every one of its records would get all of them", owner.name));
                report.error(raw.section.source, mistake.help(format!("add \"{id}\" to the `span` of `{}`", owner.name)));
            }
            return;
        }
        at = owner.parent;
    }
    report.error(raw.section.source, Mistake::new(PARENT, raw.name.span.clone(), "these records belong to each other in a circle"));
}
