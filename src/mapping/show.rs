//! A mapping as people look at it: the effective file with the origin of each line, and which fields of a message it reads.

use std::collections::HashSet;
use std::fmt::Write;

use super::load::Mapping;
use super::path::{Dialect, Path, Root};
use super::record::{Over, Record};
use super::select::{self, Document, How};
use super::{Coverage, Provenance};
use crate::fhir::Release;
use crate::hl7::Message;

/// Fields of MSH that the reader itself needs.
const READ_BY_US: &[usize] = &[1, 2, 3, 4, 7, 9, 10, 11, 12, 18];

/// Title, format and accepted types on one line.
pub(super) fn summary(mapping: &Mapping) -> String {
    let format = match mapping.dialect {
        Dialect::V2 => "hl7v2",
        Dialect::Fhir(Release::Stu3) => "fhir-stu3",
        Dialect::Fhir(Release::R4) => "fhir-r4",
        Dialect::Csv => "csv",
    };
    let accepts = if mapping.dialect == Dialect::Csv { format!("{} columns", mapping.columns.len()) } else { mapping.accepts.join(", ") };
    let owner = if mapping.owner.is_empty() { String::new() } else { format!(", {}", mapping.owner) };
    format!("{} ({format}: {}; version {}{owner})", mapping.title, accepts, mapping.version)
}

/// The effective mapping: every rule with the file and line that it comes from.
pub(super) fn resolved(mapping: &Mapping) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# {} {} ({})", mapping.id, mapping.version, mapping.origin.short());
    let _ = writeln!(text, "# {}", mapping.title);
    let _ = writeln!(text, "# accepts {}", mapping.accepts.join(", "));
    if let Some(base) = &mapping.extends {
        let _ = writeln!(text, "# extends {base}");
    }
    for one in &mapping.lets {
        let _ = writeln!(text, "\n${} = {}", one.name, one.sources.iter().map(Path::text).collect::<Vec<_>>().join(", then "));
    }
    for ignore in &mapping.ignores {
        let _ = writeln!(text, "\nignore: {}    # {}", ignore.reason, ignore.origin.short());
    }
    for record in &mapping.records {
        let _ = writeln!(text, "\n[{}]    # {}", heading(mapping, record), record.origin.short());
        if let Some((_, check)) = &record.check {
            let _ = writeln!(text, "check: {check}");
        }
        for remark in &record.remarks {
            let _ = writeln!(text, "{}: {}    # {}", if remark.holds { "hold" } else { "warn" }, remark.text, remark.origin.short());
        }
        if let Some(unique) = &record.unique {
            let fields = |rules: &[usize]| {
                rules.iter().filter_map(|rule| record.rules.get(*rule)).map(|rule| rule.field.as_str()).collect::<Vec<_>>().join(", ")
            };
            let _ = writeln!(
                text,
                "unique: with the same {} the same {}    # {}",
                fields(&unique.by),
                fields(&unique.same),
                unique.origin.short()
            );
        }
        let width = record.rules.iter().map(|rule| rule.written.chars().count()).max().unwrap_or(0).min(110);
        for rule in &record.rules {
            let _ = writeln!(text, "{:<width$}    # {}", rule.written, rule.origin.short());
        }
    }
    text
}

fn heading(mapping: &Mapping, record: &Record) -> String {
    let mut heading = format!("{}: {}", record.name, record.kind.name);
    if let Some(parent) = record.parent.and_then(|parent| mapping.records.get(parent)) {
        let _ = write!(heading, " of {}", parent.name);
    }
    match &record.over {
        Some(Over::Segment(path) | Over::Field(path)) => drop(write!(heading, ", one for each {}", path.text)),
        Some(Over::Nodes(path)) => drop(write!(heading, ", one for each {}", path.text())),
        None => {}
    }
    heading
}

/// Every non-empty field of a v2 message: used, looked at and left, or unmapped.
pub(super) fn coverage(mapping: &Mapping, message: Message) -> Vec<(String, Coverage)> {
    if mapping.dialect != Dialect::V2 {
        return Vec::new();
    }
    let document = Document::V2(Box::new(message));
    let evaluation = select::with(mapping, &document, How { allow_test_numbers: true, explain: true, ..How::default() });
    let Document::V2(message) = &document else { return Vec::new() };
    let bytes: Vec<std::ops::Range<usize>> =
        evaluation.reading.provenance.iter().filter_map(|one: &Provenance| one.bytes.clone()).collect();
    let named = named(mapping);
    let mut covered = Vec::new();
    for segment in 0..message.segment_count() {
        let id = message.segment_id(segment);
        let label = match message.segment_occurrence(segment) {
            (_, 0 | 1) => id.to_owned(),
            (number, _) => format!("{id}[{number}]"),
        };
        for field in 1..=message.field_count(segment) {
            let Some(whole) = message.field(segment, field).filter(|whole| !whole.text.trim().is_empty()) else { continue };
            let repetitions = message.repetitions(whole);
            let many = repetitions.len() > 1;
            for (at, repetition) in repetitions.into_iter().enumerate().filter(|(_, repetition)| !repetition.text.is_empty()) {
                let inside = |range: &std::ops::Range<usize>| {
                    repetition.start <= range.start && range.end <= repetition.start + repetition.text.len()
                };
                let how = if bytes.iter().any(inside) || (id == "MSH" && READ_BY_US.contains(&field)) {
                    Coverage::Used
                } else if named.contains(&(id, field)) || is_left(mapping, id, field) {
                    Coverage::Ignored
                } else {
                    Coverage::Unmapped
                };
                covered.push((if many { format!("{label}-{field}[{}]", at + 1) } else { format!("{label}-{field}") }, how));
            }
        }
    }
    covered
}

/// True where the table of left fields names the field or its whole segment.
fn is_left(mapping: &Mapping, id: &str, field: usize) -> bool {
    let known = |place: &str| mapping.left.as_ref().is_some_and(|table| table.find(place, None).is_some());
    known(id) || known(&format!("{id}-{field}"))
}

/// Fields that some path of the mapping names.
fn named(mapping: &Mapping) -> HashSet<(&str, usize)> {
    let rules = mapping.records.iter().flat_map(|record| &record.rules);
    let conditions = mapping.records.iter().flat_map(|record| record.when.iter().chain(record.check.iter().map(|(check, _)| check)));
    let remarks = mapping.records.iter().flat_map(|record| &record.remarks).map(|remark| &remark.when);
    let uniques = mapping.records.iter().filter_map(|record| record.unique.as_ref()?.when.as_ref());
    let conditions = conditions
        .chain(remarks)
        .chain(uniques)
        .chain(rules.clone().filter_map(|rule| rule.when.as_ref()))
        .chain(mapping.when.as_ref())
        .chain(mapping.ignores.iter().map(|ignore| &ignore.when));
    let paths = rules
        .flat_map(|rule| rule.sources.iter().chain(&rule.fallback))
        .chain(conditions.flat_map(|condition| condition.paths()))
        .chain(mapping.lets.iter().flat_map(|one| &one.sources));
    let overs = mapping.records.iter().filter_map(|record| match &record.over {
        Some(Over::Field(path)) => Some(path),
        _ => None,
    });
    let all = paths.filter_map(Path::v2).chain(overs).chain(mapping.records.iter().filter_map(|record| record.group_by.as_ref()));
    let named = all.filter_map(|path| match (&path.root, &path.field) {
        (Root::Segment(id, _), Some((field, _))) => Some((id.as_str(), *field)),
        _ => None,
    });
    named.collect()
}
