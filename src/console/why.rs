//! Why the record of a child says what it says: for each field who said it, where in which message, and by which rule; and what
//! others said that does not stand.
//!
//! The record knows who said what in which entry. Where it stood there is found by reading the entry again, by the files that
//! read it when it was filed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::reading::Rereader;
use super::sight::{self, Gate, Sight};
use super::views::{ViewError, is_below, provenance};
use super::{mask, views};
use crate::canon::Child;
use crate::identity::{Kept, Said};
use crate::mapping::Provenance;
use crate::names::{ChildId, Seq};
use crate::store::{ChildView, LedgerReader};

/// Where a value stood in an entry, or why that is not known.
type Found = Result<Vec<(Child, Vec<Provenance>)>, String>;

/// The fields of a child's record at or below `field` (empty: all), each with its words: the one that stands first.
pub fn why(reader: &LedgerReader, child: ChildId, field: &str, charset: views::Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let gate = Gate::new(reader, charset, sight);
    if gate.is_sealed(child)? {
        return Ok(sight::sealed(child));
    }
    let view = reader.child(child)?.ok_or_else(|| views::no_child(child))?;
    let said: BTreeMap<String, Said> = serde_json::from_value(view.said.clone()).unwrap_or_default();
    let kept: BTreeMap<String, Vec<Kept>> = serde_json::from_value(view.kept.clone()).unwrap_or_default();
    let hides_place = gate.hides_place_in(&view.record);
    let rereader = Rereader::new(reader, charset);
    let mut asking = Asking { reader, rereader, gate, child, entries: BTreeMap::new(), sight, hides_place };
    let asked = field.strip_prefix("child.").unwrap_or(field);
    let mut fields = Vec::new();
    for (number, (group, by)) in said.iter().filter(|(group, _)| is_below(group, asked)).enumerate() {
        let stands = asking.word(group, by, shown(&view, &kept, group));
        let others: Vec<Value> =
            kept.get(group).into_iter().flatten().map(|other| asking.word(group, &other.said, other.value.clone())).collect();
        let name = match group.split_once('|') {
            Some((group, _)) if sight.is_masked() || (asking.hides_place && sight::is_place(group)) => {
                format!("{group}|{}{number}", mask::HIDDEN)
            }
            _ => group.clone(),
        };
        fields.push(json!({ "field": name, "stands": stands, "others": others }));
    }
    if fields.is_empty() && !asked.is_empty() {
        return Err(ViewError::Missing(format!("nobody said anything of `{asked}`; `child ID --why` lists all that was said")));
    }
    Ok(json!({ "child": child.to_string(), "why": fields }))
}

struct Asking<'a> {
    reader: &'a LedgerReader,
    rereader: Rereader<'a>,
    gate: Gate<'a>,
    child: ChildId,
    entries: BTreeMap<i64, Found>,
    sight: Sight,
    /// The child is restricted, and it is not shown where it is.
    hides_place: bool,
}

impl Asking<'_> {
    /// One word: who, when, in which message, what, and where it stood there.
    fn word(&mut self, group: &str, said: &Said, mut value: Value) -> Value {
        let sight = if self.hides_place && sight::is_place(group) { Sight::Masked } else { self.sight };
        if self.gate.is_apart(said.seq).unwrap_or(true) {
            if sight.is_masked() {
                mask::mask(&mut value, &[]);
            }
            let unknown = "the message is not shown";
            return json!({ "source": null, "rank": said.rank, "seq": null, "at": null, "value": value, "from": [], "unknown": unknown });
        }
        let at = jiff::Timestamp::from_microsecond(said.at_us).map(|at| at.to_string()).unwrap_or_default();
        let (from, unknown) = match self.entry(said.seq) {
            Ok(statements) => {
                let places = statements.iter().flat_map(|(child, said)| said.iter().filter(|one| is_of(group, child, &one.field)));
                (places.map(|one| provenance(one, sight)).collect(), Value::Null)
            }
            Err(why) => (Vec::new(), json!(why)),
        };
        let mut at = json!(at);
        if sight.is_masked() {
            mask::mask(&mut value, &[]);
            mask::mask(&mut at, &[]);
        }
        json!({ "source": said.source, "rank": said.rank, "seq": said.seq, "at": at, "value": value, "from": from, "unknown": unknown })
    }

    /// What an entry said of this child.
    fn entry(&mut self, seq: i64) -> &Found {
        let (reader, rereader, child) = (self.reader, &mut self.rereader, self.child);
        self.entries.entry(seq).or_insert_with(|| {
            let read = rereader.reread(Seq(seq)).map_err(|error| error.to_string())?;
            let about = reader.statements_about(Seq(seq), child).map_err(|error| error.to_string())?;
            if about.is_empty() {
                return Err(format!("it was filed for another record; `msg explain {seq}` shows it"));
            }
            let parts = statements(&read.reading.provenance);
            if parts.len() != read.reading.statements.len() {
                return Err("the statements of the message cannot be told apart".to_owned());
            }
            let all = read.reading.statements.into_iter().zip(parts).enumerate();
            let ours = all.filter(|(place, _)| about.contains(place));
            Ok(ours.map(|(_, (said, part))| (said.child, part.to_vec())).collect())
        })
    }
}

/// Provenance of several statements, one after the other: each begins with its event.
pub(super) fn statements(all: &[Provenance]) -> Vec<&[Provenance]> {
    all.chunk_by(|a, b| a.field.starts_with("event.") || !b.field.starts_with("event.")).collect()
}

/// What the record shows of a group; where it shows none, what was said.
fn shown(view: &ChildView, kept: &BTreeMap<String, Vec<Kept>>, group: &str) -> Value {
    let as_said = || kept.get(&format!("{group} as said")).and_then(|kept| kept.first()).map(|kept| kept.value.clone());
    let Ok(record) = serde_json::from_value::<Child>(view.record.clone()) else { return Value::Null };
    let items = items(&record, group);
    let value = match items {
        Some(items) => {
            let (list, _) = group.split_once('.').unwrap_or((group, ""));
            let list = view.record.get(list).and_then(Value::as_array);
            let shown: Vec<Value> = items.into_iter().filter_map(|item| list?.get(item).cloned()).collect();
            Value::from(shown)
        }
        None => view.record.pointer(&format!("/{}", group.replace('.', "/"))).cloned().unwrap_or_default(),
    };
    match &value {
        Value::Array(items) if items.is_empty() => as_said().unwrap_or_default(),
        _ => value,
    }
}

/// The places in a list of the child that belong to a group; none for a group that is no part of a list.
fn items(child: &Child, group: &str) -> Option<Vec<usize>> {
    fn places<T>(list: &[T], is: impl Fn(&T) -> bool) -> Vec<usize> {
        list.iter().enumerate().filter(|(_, one)| is(one)).map(|(place, _)| place).collect()
    }
    let (list, part) = group.split_once('.')?;
    let or = |usage: &Option<String>, other: &str| usage.clone().unwrap_or_else(|| other.to_owned());
    Some(match list {
        "names" => places(&child.names, |name| or(&name.usage, "usual") == part),
        "addresses" => places(&child.addresses, |address| or(&address.usage, "home") == part),
        "telecoms" => places(&child.telecoms, |one| format!("{}.{}", or(&one.system, "phone"), or(&one.usage, "home")) == part),
        "identifiers" => places(&child.identifiers, |id| format!("{}|{}", id.system, id.value) == part),
        "gp_history" => places(&child.gp_history, |gp| {
            let start = gp.from.as_ref().map_or("", |from| &from.value);
            format!("|{start}|{}", gp.practice_ods.as_deref().unwrap_or_default()) == part
        }),
        "relations" => places(&child.relations, |_| true),
        _ => return None,
    })
}

/// True where a value of an entry belongs to a group; `child` is what the entry said.
fn is_of(group: &str, child: &Child, field: &str) -> bool {
    let Some(field) = field.strip_prefix("child.") else { return false };
    match items(child, group) {
        Some(places) => {
            let list = group.split('.').next().unwrap_or_default();
            places.iter().any(|place| is_below(field, &format!("{list}[{place}]")))
        }
        // Days over the completed weeks are said with the weeks.
        None => is_below(field, group) || (group == "birth.gestation_weeks" && field == "birth.gestation_days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{Identifier, Name, Telecom};

    fn one(field: &str) -> Provenance {
        let (value, from, raw, rule) = (String::new(), String::new(), String::new(), String::new());
        Provenance { field: field.to_owned(), value, from, bytes: None, raw, steps: Vec::new(), rule }
    }

    #[test]
    fn each_statement_of_a_message_begins_with_its_event() {
        let fields = ["event.kind", "event.at", "child.sex", "blood_spots[0].key", "event.kind", "child.sex"];
        let all: Vec<Provenance> = fields.iter().map(|field| one(field)).collect();
        assert_eq!(statements(&all).iter().map(|part| part.len()).collect::<Vec<_>>(), [4, 2]);
        assert!(statements(&[]).is_empty());
    }

    #[test]
    fn a_value_belongs_to_the_group_that_was_heard_and_to_no_other() {
        let named = |usage: Option<&str>| Name { usage: usage.map(str::to_owned), ..Name::default() };
        let child = Child {
            names: vec![named(Some("official")), named(None)],
            telecoms: vec![Telecom { system: Some("sms".to_owned()), usage: Some("mobile".to_owned()), ..Telecom::default() }],
            identifiers: vec![Identifier { system: "urn:v2:RJ122".to_owned(), value: "B1".to_owned(), ..Identifier::default() }],
            ..Child::default()
        };
        for (group, field, expected) in [
            ("sex", "child.sex", true),
            ("sex", "event.kind", false),
            ("names.official", "child.names[0].family", true),
            ("names.official", "child.names[1].family", false),
            ("names.usual", "child.names[1].given[0]", true),
            ("telecoms.sms.mobile", "child.telecoms[0].value", true),
            ("identifiers.urn:v2:RJ122|B1", "child.identifiers[0].value", true),
            ("identifiers.urn:v2:RJ122|B2", "child.identifiers[0].value", false),
            ("gp.practice_ods", "child.gp.practice_ods", true),
            ("gp.practice_ods", "child.gp.practitioner_code", false),
            ("birth.gestation_weeks", "child.birth.gestation_days", true),
            ("death", "child.death.status", true),
        ] {
            assert_eq!(is_of(group, &child, field), expected, "{group} {field}");
        }
    }
}
