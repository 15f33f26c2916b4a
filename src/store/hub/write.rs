//! One delivery to a hub's store: what is known is looked up at once, the rest is decided here, and everything is written at the end.
//!
//! # Invariants
//!
//! - An event, a transfer and a day's list are applied once, however often they are delivered.
//! - A child's row is never replaced by an older version of it.
//! - A transfer brings all events that were filed before it, each once, also where some of them came before.

use std::collections::{HashMap, HashSet};

use super::super::StoreError;
use super::super::births::BirthsList;
use super::super::transfers::{Moved, Role, StoreDelivery, Transfer};
use super::super::unread;
use super::db::{Db, Val, look_up};
use super::items::{Items, Placing};
use super::{text, word};
use crate::canon::{Child, IdentifierUse, Name};
use crate::identity::plain_name;
use crate::outbox::FiledEvent;

/// A child's row.
struct ChildRow {
    version: i64,
    record: String,
    role: Option<String>,
    /// What is to be written: the record's columns too.
    changed: Option<Change>,
}

/// What a newer version brings.
struct Change {
    child: Box<Child>,
    updated: String,
    /// The details in tables of their own are other ones.
    details: bool,
}

/// One transaction.
pub(super) struct Turn<'d> {
    db: &'d mut dyn Db,
    events: HashSet<String>,
    children: HashMap<String, ChildRow>,
    /// Children to be written, in the order in which they were met.
    dirty: Vec<String>,
    items: Items,
    next_event: i64,
    next_transfer: i64,
}

impl<'d> Turn<'d> {
    /// Looks up what the deliveries are about.
    pub(super) fn begin(db: &'d mut dyn Db, deliveries: &[StoreDelivery]) -> Result<Self, StoreError> {
        let events: Vec<&FiledEvent> = deliveries.iter().flat_map(all_events).collect();
        let mut ids: Vec<String> = events.iter().map(|event| event.event.to_string()).collect();
        let mut known = HashSet::new();
        look_up(db, "SELECT event_id FROM event WHERE event_id IN", &ids, |row| {
            known.insert(row.text(0));
        })?;
        ids.clear();
        ids.extend(events.iter().map(|event| event.child_id.to_string()));
        ids.extend(deliveries.iter().filter_map(|delivery| match delivery {
            StoreDelivery::Moved(moved) => Some(moved.transfer.child.clone()),
            _ => None,
        }));
        ids.sort_unstable();
        ids.dedup();
        let mut children = HashMap::new();
        look_up(db, "SELECT child_id, version, record, role FROM child WHERE child_id IN", &ids, |row| {
            let known = ChildRow { version: row.int(1), record: row.text(2), role: row.maybe(3), changed: None };
            children.insert(row.text(0), known);
        })?;
        let new = events.iter().filter(|event| !event.superseded && !known.contains(&event.event.to_string()));
        let items = Items::look_up(db, new.copied())?;
        let next = |rows: Vec<super::db::Row>| rows.first().map_or(0, |row| row.int(0)) + 1;
        let next_event = next(db.rows("SELECT coalesce(max(id), 0) FROM event", &[])?);
        let next_transfer = next(db.rows("SELECT coalesce(max(id), 0) FROM transfer", &[])?);
        Ok(Self { db, events: known, children, dirty: Vec::new(), items, next_event, next_transfer })
    }

    /// Applies one delivery.
    pub(super) fn apply(&mut self, delivery: &StoreDelivery) -> Result<(), StoreError> {
        match delivery {
            StoreDelivery::Event(event, role) => {
                if self.add_event(event)? && !event.superseded {
                    self.put_child(event, *role);
                }
                Ok(())
            }
            StoreDelivery::Moved(moved) => self.put_moved(moved),
            StoreDelivery::Births(list) => self.put_births(list),
        }
    }

    /// Writes what is left.
    pub(super) fn end(mut self) -> Result<(), StoreError> {
        self.items.write(self.db)?;
        for id in std::mem::take(&mut self.dirty) {
            let Some(row) = self.children.remove(&id) else { continue };
            match &row.changed {
                Some(change) => write_child(self.db, &id, &row, change)?,
                None => self.db.run("UPDATE child SET role = ?2 WHERE child_id = ?1", vec![id.into(), row.role.into()])?,
            }
        }
        Ok(())
    }

    /// True where it was not known.
    fn add_event(&mut self, event: &FiledEvent) -> Result<bool, StoreError> {
        let id = event.event.to_string();
        if !self.events.insert(id.clone()) {
            return Ok(false);
        }
        let (header, row) = (&event.statement.event, self.next_event);
        self.next_event += 1;
        let sql =
            "INSERT INTO event(id, event_id, child_id, version, kind, action, at, source, control_id, seq, filed, superseded, statement)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let child = event.child_id.to_string();
        let values = vec![
            row.into(),
            id.into(),
            child.as_str().into(),
            event.version.into(),
            word(&header.kind).into(),
            word(&header.action).into(),
            header.at.as_ref().map(|at| at.value.as_str()).into(),
            event.source.as_str().into(),
            event.control_id.as_str().into(),
            event.seq.0.into(),
            event.filed.to_string().into(),
            event.superseded.into(),
            text(&event.statement).into(),
        ];
        self.db.run(sql, values)?;
        if !event.superseded {
            let placing = Placing {
                row,
                child: &child,
                source: event.source.as_str(),
                seq: event.seq.0,
                filed: event.filed,
                statement: &event.statement,
            };
            self.items.place(self.db, &placing)?;
        }
        Ok(true)
    }

    fn put_child(&mut self, event: &FiledEvent, role: Option<Role>) {
        let id = event.child_id.to_string();
        let (record, role) = (text(&event.record), role.map(|role| role.as_str().to_owned()));
        let change = |details| Some(Change { child: Box::new(event.record.clone()), updated: event.filed.to_string(), details });
        match self.children.get_mut(&id) {
            Some(row) if event.version <= row.version => return,
            Some(row) => {
                let is_written = row.changed.as_ref().is_some_and(|change| change.details);
                let details = is_written || has_other_details(&row.record, &event.record);
                row.role = role.or(row.role.take());
                (row.version, row.record, row.changed) = (event.version, record, change(details));
            }
            None => {
                self.children.insert(id.clone(), ChildRow { version: event.version, record, role, changed: change(true) });
            }
        }
        self.note_dirty(id);
    }

    fn note_dirty(&mut self, id: String) {
        if !self.dirty.contains(&id) {
            self.dirty.push(id);
        }
    }

    /// A move with all that it brings. What was filed before comes first, so that the history is in order.
    fn put_moved(&mut self, moved: &Moved) -> Result<(), StoreError> {
        let Transfer { way, from, to, basis, at, role, child, .. } = &moved.transfer;
        for event in &moved.earlier {
            if self.add_event(event)? && !event.superseded && event.child_id.to_string() != *child {
                self.put_child(event, Some(*role));
            }
        }
        if self.add_event(&moved.event)? || !moved.event.superseded {
            self.put_child(&moved.event, Some(*role));
        }
        let values = [Val::from(moved.id.as_str()), way.as_str().into()];
        // Delivered again after a later move, it says nothing of what is now.
        if !self.db.rows("SELECT id FROM transfer WHERE event_id = ?1 AND way = ?2", &values)?.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO transfer(id, way, child_id, event_id, from_hub, to_hub, basis, at, filed, snapshot)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let (snapshot, id) = (moved.items.to_string(), self.next_transfer);
        self.next_transfer += 1;
        let words = [way.as_str(), child, &moved.id, from, to, basis, at, &moved.filed, &snapshot];
        self.db.run(sql, std::iter::once(Val::Int(id)).chain(words.into_iter().map(Val::from)).collect())?;
        if let Some(row) = self.children.get_mut(child) {
            row.role = Some(role.as_str().to_owned());
            self.note_dirty(child.clone());
        }
        Ok(())
    }

    fn put_births(&mut self, list: &BirthsList) -> Result<(), StoreError> {
        let count = |section: &str| list.births.iter().filter(|birth| birth.section == section).count() as i64;
        let sql = "INSERT INTO births_day(day, made, here, elsewhere) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let day = list.day.as_str();
        self.db.run(sql, vec![day.into(), list.made.as_str().into(), count("here").into(), count("elsewhere").into()])?;
        let sql =
            "INSERT INTO births_list(day, section, child_id, nhs_number, family, given, birth_date, sex, weight_g, gestation_weeks, place,
            postcode, gp_practice, hub, basis, status, recognised)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) ON CONFLICT DO NOTHING";
        for one in &list.births {
            let words = [
                day,
                &one.section,
                &one.child,
                &one.nhs_number,
                &one.family,
                &one.given,
                &one.born,
                &one.sex,
                &one.weight_g,
                &one.gestation_weeks,
                &one.place,
                &one.postcode,
                &one.practice,
                &one.hub,
                &one.basis,
                &one.status,
                &one.recognised,
            ];
            self.db.run(sql, words.into_iter().map(Val::from).collect())?;
        }
        let sql = "INSERT INTO work_item(day, kind, child_id, since) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let unknown = list.unknown.iter().map(|one| ("address-unknown", one));
        for (kind, one) in unknown.chain(list.unread.iter().map(|one| (unread::KIND, one))) {
            self.db.run(sql, vec![day.into(), kind.into(), one.child.as_str().into(), one.since.as_str().into()])?;
        }
        Ok(())
    }
}

fn all_events(delivery: &StoreDelivery) -> Vec<&FiledEvent> {
    match delivery {
        StoreDelivery::Event(event, _) => vec![event],
        StoreDelivery::Moved(moved) => moved.earlier.iter().chain([&moved.event]).collect(),
        StoreDelivery::Births(_) => Vec::new(),
    }
}

/// True where identifiers, names, addresses or relations are not those of the record before.
fn has_other_details(before: &str, now: &Child) -> bool {
    let Ok(before) = serde_json::from_str::<Child>(before) else { return true };
    before.identifiers != now.identifiers
        || before.names != now.names
        || before.addresses != now.addresses
        || before.relations != now.relations
}

fn given(name: &Name) -> Option<String> {
    Some(name.given.join(" ")).filter(|given| !given.is_empty())
}

fn write_child(db: &mut dyn Db, id: &str, row: &ChildRow, change: &Change) -> Result<(), StoreError> {
    let child = &change.child;
    let name = child.name_to_show();
    let family = name.and_then(|name| name.family.as_deref());
    let sql = "INSERT INTO child(child_id, nhs_number, family, given, birth_date, sex, postcode, gp_practice, status, hub, version, updated, record, role,
            family_key, basis, merged_into, restricted)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
        ON CONFLICT(child_id) DO UPDATE SET nhs_number = excluded.nhs_number, family = excluded.family, given = excluded.given,
            birth_date = excluded.birth_date, sex = excluded.sex, postcode = excluded.postcode, gp_practice = excluded.gp_practice,
            status = excluded.status, hub = excluded.hub, version = excluded.version, updated = excluded.updated, record = excluded.record,
            role = excluded.role, family_key = excluded.family_key, basis = excluded.basis, merged_into = excluded.merged_into,
            restricted = excluded.restricted";
    let values = vec![
        id.into(),
        child.nhs_number().map(|(number, _)| number.to_string()).into(),
        family.into(),
        name.and_then(given).into(),
        child.birth.date.as_ref().map(|date| date.value.as_str()).into(),
        child.sex.as_ref().map(word).into(),
        child.home().and_then(|home| home.postcode.as_deref()).into(),
        child.gp.as_ref().and_then(|gp| gp.practice_ods.as_deref()).into(),
        child.status.as_ref().map(word).into(),
        child.hub.as_ref().map(|hub| hub.hub.as_str()).into(),
        row.version.into(),
        change.updated.as_str().into(),
        row.record.as_str().into(),
        row.role.as_deref().into(),
        family.map(plain_name).into(),
        child.hub.as_ref().map(|hub| word(&hub.basis)).into(),
        child.merged_into.map(|survivor| survivor.to_string()).into(),
        child.flags.is_restricted().into(),
    ];
    db.run(sql, values)?;
    if change.details { write_details(db, id, child) } else { Ok(()) }
}

fn write_details(db: &mut dyn Db, id: &str, child: &Child) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM identifier WHERE child_id = ?1",
        "DELETE FROM name WHERE child_id = ?1",
        "DELETE FROM address WHERE child_id = ?1",
        "DELETE FROM relation WHERE child_id = ?1",
    ] {
        db.run(sql, vec![id.into()])?;
    }
    for (one, place) in child.identifiers.iter().zip(1_i64..) {
        let sql =
            "INSERT INTO identifier(child_id, place, system, type, value, status, usage, assigner) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let words = vec![
            id.into(),
            place.into(),
            one.system.as_str().into(),
            one.kind.as_deref().into(),
            one.value.as_str().into(),
            one.status.as_deref().into(),
            word(&one.usage).into(),
            one.assigner_ods.as_deref().into(),
        ];
        db.run(sql, words)?;
    }
    for (one, place) in child.names.iter().zip(1_i64..) {
        let sql = "INSERT INTO name(child_id, place, usage, family, given, placeholder) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        let family = one.family.as_deref();
        db.run(sql, vec![id.into(), place.into(), one.usage.as_deref().into(), family.into(), given(one).into(), one.placeholder.into()])?;
    }
    for (one, place) in child.addresses.iter().zip(1_i64..) {
        let sql = "INSERT INTO address(child_id, place, usage, lines, postcode, local_authority, since, until) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let lines = if one.lines.is_empty() { one.text.clone().unwrap_or_default() } else { one.lines.join(", ") };
        let end = |end: fn(&crate::canon::Period) -> Option<&crate::canon::Instant>| {
            one.period.as_ref().and_then(end).map(|at| at.value.as_str())
        };
        let words = vec![
            id.into(),
            place.into(),
            one.usage.as_deref().into(),
            lines.into(),
            one.postcode.as_deref().into(),
            one.la_gss.as_deref().into(),
            end(|period| period.start.as_ref()).into(),
            end(|period| period.end.as_ref()).into(),
        ];
        db.run(sql, words)?;
    }
    for (one, place) in child.relations.iter().zip(1_i64..) {
        let sql = "INSERT INTO relation(child_id, place, kind, family, given, birth_date, nhs_number, postcode, gp_practice, parental_responsibility,
            link_status) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let current = one.identifiers.iter().filter(|id| id.usage == IdentifierUse::Current);
        let words = vec![
            id.into(),
            place.into(),
            one.kind.as_str().into(),
            one.name.as_ref().and_then(|name| name.family.as_deref()).into(),
            one.name.as_ref().and_then(given).into(),
            one.birth_date.as_ref().map(|date| date.value.as_str()).into(),
            current.filter_map(|id| id.nhs_number()).next().map(|number| number.to_string()).into(),
            one.address.as_ref().and_then(|address| address.postcode.as_deref()).into(),
            one.gp_practice_ods.as_deref().into(),
            one.parental_responsibility.into(),
            one.link_status.as_deref().into(),
        ];
        db.run(sql, words)?;
    }
    Ok(())
}

/// Rows read in one go while an old store is brought up.
const PAGE: i64 = 500;

/// Puts into columns what an old store has in its records and statements. What cannot be read is left as it is and counted.
pub(super) fn fill(db: &mut dyn Db) -> Result<(), StoreError> {
    let (mut after, mut unread) = (String::new(), 0_u64);
    loop {
        let sql = "SELECT child_id, version, record, role, updated FROM child WHERE ?1 < child_id ORDER BY child_id LIMIT ?2";
        let rows = db.rows(sql, &[after.as_str().into(), PAGE.into()])?;
        let Some(last) = rows.last() else { break };
        after = last.text(0);
        for row in &rows {
            let Ok(child) = serde_json::from_str::<Child>(&row.text(2)) else {
                unread += 1;
                continue;
            };
            let known = ChildRow { version: row.int(1), record: row.text(2), role: row.maybe(3), changed: None };
            write_child(db, &row.text(0), &known, &Change { child: Box::new(child), updated: row.text(4), details: true })?;
        }
    }
    let mut after = 0;
    loop {
        let sql = "SELECT id, child_id, source, seq, filed, statement FROM event WHERE ?1 < id AND superseded = 0 ORDER BY id LIMIT ?2";
        let rows = db.rows(sql, &[after.into(), PAGE.into()])?;
        let Some(last) = rows.last() else { break };
        after = last.int(0);
        let mut items = Items::all_unknown(db)?;
        for row in &rows {
            let (child, source) = (row.text(1), row.text(2));
            let (Ok(statement), Ok(filed)) = (serde_json::from_str(&row.text(5)), row.text(4).parse()) else {
                unread += 1;
                continue;
            };
            let placing = Placing { row: row.int(0), child: &child, source: &source, seq: row.int(3), filed, statement: &statement };
            items.place(db, &placing)?;
        }
        items.write(db)?;
    }
    if 0 < unread {
        tracing::warn!(
            store = db.name(),
            unread,
            "store.upgrade: records or events could not be read; they stand in no view, and are kept"
        );
    }
    Ok(())
}
