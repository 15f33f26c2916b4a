//! What the reading commands and the admin door show, as JSON: one function for each, so that both say the same.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use super::mask;
use super::reading::{Reread, Rereader, is_safeguarding};
pub use super::sight::Sight;
use super::sight::{self, Gate, sealed};
use super::why::statements;
pub use super::why::why;
use crate::mapping::Provenance;
use crate::names::{ChildId, Seq};
use crate::store::{AggregateRow, EntryFilter, EntryRow, HeldRow, LedgerReader, StoreError};

/// What of a finding may quote the message.
const QUOTES: &[&str] = &["text", "help", "miss"];

/// Gives the character set of a source whose messages do not name theirs.
pub type Charset<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Stands in place of a message that says child protection facts.
pub const RESTRICTED: &str = "restricted";

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// It does not exist.
    #[error("{0}")]
    Missing(String),
    /// It could not be asked for like this.
    #[error("{0}")]
    Asked(String),
    /// Nobody may see it like this.
    #[error("{0}")]
    Forbidden(String),
    /// The ledger could not be read: text and exit code.
    #[error("{0}")]
    Store(String, u8),
}

impl From<StoreError> for ViewError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.text, error.exit)
    }
}

/// Entries, newest first. `kind` and `control_id` are shown: they name a message, not a child. Of one that came for child protection facts
/// neither its type nor its reason is; and who asks for a type is not told that it is of it.
pub fn entries(reader: &LedgerReader, filter: &EntryFilter, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let mut gate = Gate::new(reader, charset, sight);
    let mut shown = Vec::new();
    for row in reader.entries(filter)? {
        match gate.is_apart(row.seq)? {
            false => shown.push(row),
            true if filter.kind.is_some() => {}
            true => shown.push(restricted(row)),
        }
    }
    json(&shown)
}

/// That it came, when and from whom: nothing else is said of a message that came for child protection facts.
fn restricted(row: EntryRow) -> EntryRow {
    let reason = if row.reason.is_empty() { String::new() } else { RESTRICTED.to_owned() };
    EntryRow { kind: RESTRICTED.to_owned(), reason, ..row }
}

/// One entry; its body only where it may be seen.
pub fn entry(reader: &LedgerReader, seq: Seq, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let (row, body) = reader.entry(seq)?.ok_or_else(|| no_entry(seq))?;
    let mut gate = Gate::new(reader, charset, sight);
    if gate.is_apart(seq.0)? {
        return Ok(json!({ "entry": json(&restricted(row))?, "body": RESTRICTED }));
    }
    gate.is_open(seq)?;
    let body = if sight.is_masked() {
        mask::HIDDEN.to_owned()
    } else if gate.has_facts(seq)? {
        RESTRICTED.to_owned()
    } else {
        gate.says_no_place(seq)?;
        String::from_utf8_lossy(&body).into_owned()
    };
    Ok(json!({ "entry": json(&row)?, "body": body }))
}

/// What became of one entry.
pub fn trace(reader: &LedgerReader, seq: Seq, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let mut trace = reader.trace(seq)?.ok_or_else(|| no_entry(seq))?;
    let mut gate = Gate::new(reader, charset, sight);
    let nothing = |entry: EntryRow, why: &str| -> Result<Value, ViewError> {
        Ok(json!({ "entry": json(&entry)?, why: true, "findings": [], "events": [], "debts": [], "withheld": [] }))
    };
    if gate.is_apart(seq.0)? {
        return nothing(restricted(trace.entry), "restricted");
    }
    if gate.is_closed(seq)? {
        if !sight.is_masked() {
            gate.is_open(seq)?;
        }
        // Events name the child; so may the way by which it was found.
        return nothing(trace.entry, "sealed");
    }
    if !sight.rights().safeguarding {
        trace.events.retain(|event| event.kind != RESTRICTED);
    }
    let mut value = json(&trace)?;
    if sight.is_masked() {
        hide_trace(&mut value);
    }
    Ok(value)
}

/// Texts of findings may quote; the time of an event may be an hour of birth.
fn hide_trace(value: &mut Value) {
    if let Some(findings) = value.get_mut("findings") {
        hide_quotes(findings);
    }
    if let Some(events) = value.get_mut("events") {
        mask::hide(events, &["at"]);
    }
}

/// Hides what findings quote, wherever they are below. A code that a table does not know is a value of the message; which table that is, and
/// where its row belongs, is not, and is what whoever works on it needs.
fn hide_quotes(value: &mut Value) {
    match value {
        Value::Object(fields) if fields.get("miss").is_some_and(Value::is_object) => {
            let keep = |key: &str| matches!(key, "miss" | "help");
            fields.iter_mut().filter(|(key, _)| QUOTES.contains(&key.as_str()) && !keep(key)).for_each(|(_, field)| mask::mask(field, &[]));
            if let Some(miss) = fields.get_mut("miss") {
                mask::mask(miss, &["table"]);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                if QUOTES.contains(&key.as_str()) { mask::mask(field, &[]) } else { hide_quotes(field) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_quotes),
        _ => {}
    }
}

/// One document of an entry, numbered from 1; what it is called and its content, as base64, only where they may be seen.
pub fn document(reader: &LedgerReader, seq: Seq, number: usize, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let missing = || ViewError::Missing(format!("message {seq} has no document {number}"));
    let mut gate = Gate::new(reader, charset, sight);
    if gate.is_apart(seq.0)? {
        return Err(missing());
    }
    let kept = reader.document(seq, number)?.ok_or_else(missing)?;
    gate.is_open(seq)?;
    let size = kept.content.as_ref().map(Vec::len);
    let (said, content) = match sight {
        Sight::Revealed(_) => {
            gate.says_no_place(seq)?;
            (json(&kept.document)?, kept.content.map(|bytes| BASE64_STANDARD.encode(bytes)))
        }
        Sight::Masked => {
            (json!({ "mime": kept.document.mime, "status": kept.document.status }), kept.content.map(|_| mask::HIDDEN.to_owned()))
        }
    };
    Ok(json!({ "seq": seq, "number": number, "of": kept.count, "bytes": size, "document": said, "content": content }))
}

/// Where the values of an entry came from: read again by the bundle that spoke when it was filed. `field` is a
/// canonical field or its beginning; empty for all.
pub fn explain(reader: &LedgerReader, seq: Seq, field: &str, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let mut gate = Gate::new(reader, charset, sight);
    if gate.is_apart(seq.0)? {
        return Ok(json!({ "seq": seq, "restricted": true, "values": [], "findings": [] }));
    }
    gate.is_open(seq)?;
    let (sees_facts, hides_place) = (sight.rights().safeguarding, !sight.is_masked() && gate.hides_place(seq)?);
    let Reread { bundle, reading, is_restricted, .. } = Rereader::new(reader, charset).reread(seq)?;
    let parts = statements(&reading.provenance).into_iter().filter(|part| sees_facts || !is_protection(part));
    let about = parts.flatten().filter(|one| is_below(&one.field, field) && (sees_facts || !is_safeguarding(one)));
    let sight_of = |one: &Provenance| if hides_place && sight::is_place(&one.field) { Sight::Masked } else { sight };
    let said: Vec<Value> = about.map(|one| provenance(one, sight_of(one))).collect();
    let mut findings = json(&reading.findings)?;
    if let Value::Array(items) = &mut findings {
        items.retain(|item| item.get("field").and_then(Value::as_str).is_some_and(|about| is_below(about, field)));
    }
    if is_restricted && !sees_facts {
        // The name of a field says what it is about.
        findings = json!([]);
    }
    if sight.is_masked() || hides_place {
        hide_quotes(&mut findings);
    }
    if said.is_empty() && findings.as_array().is_none_or(Vec::is_empty) {
        return Err(ViewError::Missing(format!("message {seq} says nothing of `{field}`; without a field all are listed")));
    }
    Ok(json!({ "seq": seq, "mapping": reading.mapping, "bundle": bundle, "values": said, "findings": findings }))
}

/// A statement that says nothing but child protection facts.
fn is_protection(part: &[Provenance]) -> bool {
    part.iter().any(|one| one.field == "event.kind" && one.value == "safeguarding")
}

/// `child.names` is above `child.names[0].family`; an empty one is above all.
pub(super) fn is_below(field: &str, asked: &str) -> bool {
    let rest = field.strip_prefix(asked);
    asked.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

pub(super) fn provenance(one: &Provenance, sight: Sight) -> Value {
    let mut value = serde_json::to_value(one).unwrap_or_default();
    if sight.is_masked() || (is_safeguarding(one) && !sight.rights().safeguarding) {
        mask::hide(&mut value, &["value", "raw"]);
        // The row of a table says which code it was.
        for step in value.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
            let table = step
                .as_str()
                .filter(|step| step.starts_with("table "))
                .and_then(|step| step.rsplit_once(':'))
                .map(|(table, _)| table.to_owned());
            if let Some(table) = table {
                *step = Value::String(table);
            }
        }
    }
    value
}

/// One child: the record, who said what, and its events.
pub fn child(reader: &LedgerReader, child: ChildId, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let mut gate = Gate::new(reader, charset, sight);
    if gate.is_sealed(child)? {
        return Ok(sealed(child));
    }
    let mut view = reader.child(child)?.ok_or_else(|| no_child(child))?;
    hide_apart(&mut view.said, &mut gate)?;
    let mut hubs = json(&reader.hub_history(child)?)?;
    gate.forget(&mut hubs)?;
    let mut reviews = json(&view.reviews)?;
    gate.forget(&mut reviews)?;
    let hides_place = gate.hides_place_in(&view.record);
    let events: Vec<Value> = view.events.iter().map(|(seq, event)| with_seq(*seq, event)).collect();
    let mut value = json!({ "child": view.child, "version": view.version, "record": view.record, "said": view.said, "events": events,
        "aggregates": json(&view.aggregates)?, "outcomes": json(&view.outcomes)?, "reviews": reviews,
        "hubs": hubs });
    if hides_place {
        sight::hide_place(&mut value);
    }
    if sight.is_masked() {
        if let Some(aggregates) = value.get_mut("aggregates") {
            mask::mask(aggregates, &["kind", "publisher", "seqs", "deleted"]);
            show_seqs(aggregates, &view.aggregates);
        }
        if let Some(reviews) = value.get_mut("reviews") {
            mask::hide(reviews, &["key"]);
        }
        if let Some(outcomes) = value.get_mut("outcomes") {
            mask::mask(outcomes, &[]);
        }
        if let Some(record) = value.get_mut("record") {
            mask::mask(record, &["hub", "basis", "status"]);
        }
        if let Some(said) = value.get_mut("said") {
            mask::hide(said, &["at_us"]);
            mask::mask_keys(said);
        }
        if let Some(events) = value.get_mut("events") {
            mask::hide(events, &["at"]);
        }
        if let Some(hubs) = value.get_mut("hubs") {
            mask::hide(hubs, &["from", "to"]);
        }
    }
    Ok(value)
}

/// A child that was put on record by a message about its protection: that message is not named.
fn hide_apart(said: &mut Value, gate: &mut Gate<'_>) -> Result<(), ViewError> {
    for word in said.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        let seq = word.get("seq").and_then(Value::as_i64).unwrap_or_default();
        if let (true, Some(fields)) = (gate.is_apart(seq)?, word.as_object_mut()) {
            fields.insert("seq".to_owned(), Value::Null);
            fields.insert("source".to_owned(), Value::Null);
        }
    }
    Ok(())
}

/// A list is looked into by the mask even where it is kept; which messages made an aggregate says nothing of the child.
fn show_seqs(masked: &mut Value, aggregates: &[AggregateRow]) {
    for (row, aggregate) in masked.as_array_mut().into_iter().flatten().zip(aggregates) {
        if let Some(seqs) = row.get_mut("seqs") {
            *seqs = json!(aggregate.seqs);
        }
    }
}

/// The child protection facts of a child; only for whoever has the right.
pub fn safeguarding(reader: &LedgerReader, child: ChildId, sight: Sight) -> Result<Value, ViewError> {
    if !sight.rights().safeguarding {
        return Err(ViewError::Forbidden("child protection facts are asked for with --safeguarding and --reveal REASON".into()));
    }
    if !sight.rights().sealed && reader.is_sealed(child)? {
        return Ok(sealed(child));
    }
    Ok(json!({ "child": child.to_string(), "safeguarding": json(&reader.safeguarding(child)?)? }))
}

fn with_seq(seq: i64, event: &impl Serialize) -> Value {
    let mut value = json!({ "seq": seq });
    if let (Value::Object(fields), Ok(Value::Object(more))) = (&mut value, serde_json::to_value(event)) {
        fields.extend(more);
    }
    value
}

/// Ids of the children whose NHS number or local identifier this is or was.
pub fn find(reader: &LedgerReader, identifier: &str) -> Result<Value, ViewError> {
    let identifier = identifier.trim();
    if identifier.is_empty() {
        return Err(ViewError::Asked("no identifier was given; write it on standard input".into()));
    }
    json(&reader.children_by_identifier(identifier)?)
}

/// What waits for a person: entries, debts, and what was filed and must be looked at.
pub fn held(reader: &LedgerReader, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let mut held = reader.held()?;
    let mut gate = Gate::new(reader, charset, sight);
    for row in &mut held {
        if gate.is_apart(row.entry.seq)? {
            *row = HeldRow { entry: restricted(row.entry.clone()), findings: json!([]) };
        } else if gate.is_closed(Seq(row.entry.seq))? {
            mask::mask(&mut row.findings, &["level", "code"]);
        }
    }
    let mut reviews = Vec::new();
    for review in reader.reviews(None)? {
        let is_sealed = match review.child.parse() {
            Ok(child) => gate.is_sealed(ChildId(child))?,
            Err(_) => true,
        };
        let mut review = json(&review)?;
        gate.forget(&mut review)?;
        if is_sealed {
            mask::mask(&mut review, &["review", "seq", "opened"]);
        }
        reviews.push(review);
    }
    let (mut entries, mut reviews) = (json(&held)?, Value::from(reviews));
    if sight.is_masked() {
        hide_quotes(&mut entries);
        mask::hide(&mut reviews, &["key"]);
    }
    let groups = json(&reader.held_groups(None)?)?;
    Ok(json!({ "entries": entries, "groups": groups, "debts": json(&reader.held_debts()?)?, "reviews": reviews }))
}

/// Codes that no table knows. They come from messages and are shown here, where somebody can do something about them, and nowhere else.
pub fn table_misses(reader: &LedgerReader, table: Option<&str>, source: Option<&str>) -> Result<Value, ViewError> {
    json(&reader.table_misses(table, source)?)
}

/// The account of days and sources.
pub fn reconcile(reader: &LedgerReader, day: Option<&str>, source: Option<&str>) -> Result<Value, ViewError> {
    if day.is_some_and(|day| day.parse::<jiff::civil::Date>().is_err()) {
        return Err(ViewError::Asked("the day is written 2026-01-05".into()));
    }
    json(&reader.reconcile(day, source)?)
}

pub(super) fn json(value: &impl Serialize) -> Result<Value, ViewError> {
    serde_json::to_value(value).map_err(|error| ViewError::Store(format!("what the ledger holds cannot be shown: {error}"), 70))
}

pub(super) fn no_child(child: ChildId) -> ViewError {
    ViewError::Missing(format!("no child {child} is on record"))
}

fn no_entry(seq: Seq) -> ViewError {
    ViewError::Missing(format!("the ledger has no message {seq}; `chis-broker msg list` shows the newest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_explanation_tells_the_way_and_not_the_value() {
        let one = Provenance {
            field: "child.sex".into(),
            value: "2".into(),
            from: "PID-8".into(),
            bytes: Some(230..231),
            raw: "F".into(),
            steps: vec!["table tables/sex.csv:4".into(), "code".into()],
            rule: "adt-person.toml:40".into(),
        };
        let masked = provenance(&one, Sight::Masked);
        assert_eq!(
            (&masked["value"], &masked["raw"], &masked["steps"]),
            (&json!("***"), &json!("***"), &json!(["table tables/sex.csv", "code"]))
        );
        assert_eq!((&masked["from"], &masked["rule"]), (&json!("PID-8"), &json!("adt-person.toml:40")));
        assert_eq!(provenance(&one, Sight::Revealed(Default::default()))["steps"][0], "table tables/sex.csv:4");
    }

    #[test]
    fn a_missing_code_is_hidden_and_its_table_and_the_way_out_are_not() {
        let mut found = json!([{ "findings": [
            { "level": "hold", "code": "unmapped-code", "text": "code \"Q\" at PID-8", "help": "add a row to tables/sex.csv", "miss": { "table": "sex", "code": "Q" } },
            { "level": "hold", "code": "bad-value", "text": "\"Q\" at PID-7", "help": "mend Q" }
        ] }]);
        hide_quotes(&mut found);
        assert!(!found.to_string().contains('Q'), "{found}");
        let [miss, other] = [&found[0]["findings"][0], &found[0]["findings"][1]];
        assert_eq!((&miss["help"], &miss["miss"]["table"]), (&json!("add a row to tables/sex.csv"), &json!("sex")));
        assert_eq!((&other["help"], &other["code"]), (&json!("***"), &json!("bad-value")));
    }

    #[test]
    fn a_field_is_asked_for_by_its_beginning_at_a_dot_or_a_bracket() {
        assert!(is_below("child.names[0].family", ""));
        assert!(is_below("child.names[0].family", "child.names"));
        assert!(is_below("child.sex", "child.sex"));
        assert!(!is_below("child.sexuality", "child.sex"));
        assert!(!is_below("child", "child.sex"));
    }
}
