//! A hub's own child health store, CarePlus style: one SQLite file that an analyst can read.
//!
//! # In the store
//!
//!     child   one row for each child: the columns people search by, and the whole record as JSON
//!             record; `role` says whether the hub is responsible, gets copies, or has only history
//!     event   the history: one row for each event that came, whatever became of it
//!     transfer     who came from where and went where, with what stood at that moment
//!     births_list  the births of each day, wherever born, and those born here who live elsewhere
//!     births_day   one row for each day whose list came, also for a day without births
//!     work_item    what somebody has to look at that day
//!
//! # Invariants
//!
//! - An event, a transfer and a day's list are applied once, however often they are delivered.
//! - A child's row is never replaced by an older version of it.
//! - A transfer brings all events that were filed before it, each once, also where some of them came before.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::StoreError;
use super::births::BirthsList;
use super::filing::word;
use super::schema::{broken, open_to_read};
use super::transfers::{Moved, Role, StoreDelivery, Transfer};
use crate::canon::Child;
use crate::outbox::FiledEvent;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS child(
    child_id TEXT PRIMARY KEY, nhs_number TEXT, family TEXT, given TEXT, birth_date TEXT, sex TEXT, postcode TEXT, gp_practice TEXT,
    status TEXT, hub TEXT, version INTEGER NOT NULL, updated TEXT NOT NULL, record TEXT NOT NULL, role TEXT) STRICT;
CREATE INDEX IF NOT EXISTS child_nhs_number ON child(nhs_number);
CREATE INDEX IF NOT EXISTS child_birth_date ON child(birth_date);
CREATE TABLE IF NOT EXISTS event(
    id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, child_id TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,
    action TEXT NOT NULL, at TEXT, source TEXT NOT NULL, control_id TEXT NOT NULL, seq INTEGER NOT NULL, filed TEXT NOT NULL,
    superseded INTEGER NOT NULL, statement TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS event_child ON event(child_id, id);
CREATE TABLE IF NOT EXISTS transfer(
    id INTEGER PRIMARY KEY, way TEXT NOT NULL, child_id TEXT NOT NULL, event_id TEXT NOT NULL, from_hub TEXT NOT NULL, to_hub TEXT NOT NULL,
    basis TEXT NOT NULL, at TEXT NOT NULL, filed TEXT NOT NULL, snapshot TEXT NOT NULL, UNIQUE(event_id, way)) STRICT;
CREATE INDEX IF NOT EXISTS transfer_child ON transfer(child_id, id);
CREATE TABLE IF NOT EXISTS births_day(day TEXT PRIMARY KEY, made TEXT NOT NULL, here INTEGER NOT NULL, elsewhere INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS births_list(
    day TEXT NOT NULL, section TEXT NOT NULL, child_id TEXT NOT NULL, nhs_number TEXT NOT NULL, family TEXT NOT NULL, given TEXT NOT NULL,
    birth_date TEXT NOT NULL, sex TEXT NOT NULL, weight_g TEXT NOT NULL, gestation_weeks TEXT NOT NULL, place TEXT NOT NULL, postcode TEXT NOT NULL,
    gp_practice TEXT NOT NULL, hub TEXT NOT NULL, basis TEXT NOT NULL, status TEXT NOT NULL, recognised TEXT NOT NULL,
    PRIMARY KEY(day, section, child_id)) STRICT;
CREATE TABLE IF NOT EXISTS work_item(
    day TEXT NOT NULL, kind TEXT NOT NULL, child_id TEXT NOT NULL, since TEXT NOT NULL, PRIMARY KEY(day, kind, child_id)) STRICT;
";

/// Events after which the write-ahead log is folded in and begun again; its file keeps its length.
const FOLD_AFTER: usize = 4_096;

/// A hub's store, open for writing.
#[derive(Debug)]
pub struct HubStore {
    connection: Connection,
    file: PathBuf,
    /// Events applied since the log was folded into the database.
    unfolded: usize,
}

impl HubStore {
    /// Opens or makes the file.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let failed = |error: &rusqlite::Error| broken(file, error);
        let connection = Connection::open(file).map_err(|error| failed(&error))?;
        super::schema::prepare(&connection, true).map_err(|error| failed(&error))?;
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(|error| failed(&error))?;
        connection.execute_batch(TABLES).map_err(|error| failed(&error))?;
        add_role(&connection).map_err(|error| failed(&error))?;
        super::schema::checkpoint(&connection, "TRUNCATE").map_err(|error| failed(&error))?;
        Ok(Self { connection, file: file.to_path_buf(), unfolded: 0 })
    }

    /// Applies events in their order, all in one durable transaction; what is known already is skipped.
    pub fn apply(&mut self, events: &[FiledEvent]) -> Result<(), StoreError> {
        let deliveries: Vec<StoreDelivery> = events.iter().map(|event| StoreDelivery::Event(Box::new(event.clone()), None)).collect();
        self.deliver(&deliveries)
    }

    /// Applies what is delivered in its order, all in one durable transaction; what is known already is skipped.
    pub fn deliver(&mut self, deliveries: &[StoreDelivery]) -> Result<(), StoreError> {
        let file = self.file.clone();
        self.deliver_all(deliveries).map_err(|error| broken(&file, &error))
    }

    fn deliver_all(&mut self, deliveries: &[StoreDelivery]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for delivery in deliveries {
            match delivery {
                StoreDelivery::Event(event, role) => {
                    if add_event(&transaction, event)? && !event.superseded {
                        put_child(&transaction, event, *role)?;
                    }
                }
                StoreDelivery::Moved(moved) => put_moved(&transaction, moved)?,
                StoreDelivery::Births(list) => put_births(&transaction, list)?,
            }
            self.unfolded += delivery.weight();
        }
        transaction.commit()?;
        if FOLD_AFTER < self.unfolded {
            super::schema::checkpoint(&self.connection, "RESTART")?;
            self.unfolded = 0;
        }
        Ok(())
    }
}

/// A store that was made before moves were known.
fn add_role(connection: &Connection) -> rusqlite::Result<()> {
    let has = connection.prepare("SELECT 1 FROM pragma_table_info('child') WHERE name = 'role'")?.exists([])?;
    if has { Ok(()) } else { connection.execute_batch("ALTER TABLE child ADD COLUMN role TEXT") }
}

/// A move with all that it brings. What was filed before comes first, so that the history is in order.
fn put_moved(connection: &Connection, moved: &Moved) -> rusqlite::Result<()> {
    let Transfer { way, from, to, basis, at, role, child, .. } = &moved.transfer;
    for event in &moved.earlier {
        if add_event(connection, event)? && !event.superseded && event.child_id.to_string() != *child {
            put_child(connection, event, Some(*role))?;
        }
    }
    if add_event(connection, &moved.event)? || !moved.event.superseded {
        put_child(connection, &moved.event, Some(*role))?;
    }
    let sql = "INSERT INTO transfer(way, child_id, event_id, from_hub, to_hub, basis, at, filed, snapshot) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT(event_id, way) DO NOTHING";
    let snapshot = moved.items.to_string();
    let added =
        connection.prepare_cached(sql)?.execute(params![way.as_str(), child, moved.id, from, to, basis, at, moved.filed, snapshot])?;
    // Delivered again after a later move, it says nothing of what is now.
    if added == 1 {
        connection.prepare_cached("UPDATE child SET role = ?2 WHERE child_id = ?1")?.execute(params![child, role.as_str()])?;
    }
    Ok(())
}

fn put_births(connection: &Connection, list: &BirthsList) -> rusqlite::Result<()> {
    let count = |section: &str| list.births.iter().filter(|birth| birth.section == section).count() as i64;
    let sql = "INSERT INTO births_day(day, made, here, elsewhere) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![list.day, list.made, count("here"), count("elsewhere")])?;
    let sql = "INSERT INTO births_list(day, section, child_id, nhs_number, family, given, birth_date, sex, weight_g, gestation_weeks, place, postcode,
        gp_practice, hub, basis, status, recognised) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) ON CONFLICT DO NOTHING";
    for one in &list.births {
        connection.prepare_cached(sql)?.execute(params![
            list.day,
            one.section,
            one.child,
            one.nhs_number,
            one.family,
            one.given,
            one.born,
            one.sex,
            one.weight_g,
            one.gestation_weeks,
            one.place,
            one.postcode,
            one.practice,
            one.hub,
            one.basis,
            one.status,
            one.recognised
        ])?;
    }
    let sql = "INSERT INTO work_item(day, kind, child_id, since) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let unknown = list.unknown.iter().map(|one| ("address-unknown", one));
    for (kind, one) in unknown.chain(list.unread.iter().map(|one| (super::unread::KIND, one))) {
        connection.prepare_cached(sql)?.execute(params![list.day, kind, one.child, one.since])?;
    }
    Ok(())
}

fn add_event(connection: &Connection, event: &FiledEvent) -> rusqlite::Result<bool> {
    let header = &event.statement.event;
    let sql = "INSERT INTO event(event_id, child_id, version, kind, action, at, source, control_id, seq, filed, superseded, statement)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT(event_id) DO NOTHING";
    let added = connection.prepare_cached(sql)?.execute(params![
        event.event.to_string(),
        event.child_id.to_string(),
        event.version,
        word(&header.kind),
        word(&header.action),
        header.at.as_ref().map(|at| at.value.as_str()),
        event.source.as_str(),
        event.control_id,
        event.seq.0,
        event.filed.to_string(),
        event.superseded,
        text(&event.statement)
    ])?;
    Ok(added == 1)
}

fn put_child(connection: &Connection, event: &FiledEvent, role: Option<Role>) -> rusqlite::Result<()> {
    let child: &Child = &event.record;
    let name = child.name_to_show();
    let given = name.map(|name| name.given.join(" ")).filter(|given| !given.is_empty());
    let sql = "INSERT INTO child(child_id, nhs_number, family, given, birth_date, sex, postcode, gp_practice, status, hub, version, updated, record, role)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
        ON CONFLICT(child_id) DO UPDATE SET nhs_number = excluded.nhs_number, family = excluded.family, given = excluded.given,
            birth_date = excluded.birth_date, sex = excluded.sex, postcode = excluded.postcode, gp_practice = excluded.gp_practice,
            status = excluded.status, hub = excluded.hub, version = excluded.version, updated = excluded.updated, record = excluded.record,
            role = coalesce(excluded.role, child.role)
        WHERE child.version < excluded.version";
    connection
        .prepare_cached(sql)?
        .execute(params![
            event.child_id.to_string(),
            child.nhs_number().map(|(number, _)| number.to_string()),
            name.and_then(|name| name.family.as_deref()),
            given,
            child.birth.date.as_ref().map(|date| date.value.as_str()),
            child.sex.as_ref().map(word),
            child.home().and_then(|home| home.postcode.as_deref()),
            child.gp.as_ref().and_then(|gp| gp.practice_ods.as_deref()),
            child.status.as_ref().map(word),
            child.hub.as_ref().map(|hub| hub.hub.as_str()),
            event.version,
            event.filed.to_string(),
            text(child),
            role.map(Role::as_str)
        ])
        .map(drop)
}

/// Reads a hub's store: children, one JSON value each with its events, in the order of their ids. Gives how many.
pub fn hub_export(file: &Path, each: &mut dyn FnMut(Value) -> std::io::Result<()>) -> Result<u64, StoreError> {
    if !file.exists() {
        return Err(StoreError { text: format!("there is no hub store at {}", file.display()), exit: 66 });
    }
    let failed = |error: rusqlite::Error| broken(file, &error);
    let connection = open_to_read(file).map_err(failed)?;
    let mut children = connection.prepare("SELECT child_id, version, record, role FROM child ORDER BY child_id").map_err(failed)?;
    let mut rows = children.query([]).map_err(failed)?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        let (child, version, record, role): (String, i64, String, Option<String>) =
            row.get(0).and_then(|child| Ok((child, row.get(1)?, row.get(2)?, row.get(3)?))).map_err(failed)?;
        let record = value(&record);
        // Of a sealed record a store keeps its history for as long as the law asks, and shows none of it (identity rules, section 8).
        let is_sealed = record.get("status").and_then(Value::as_str) == Some("sealed");
        let (events, transfers) = match is_sealed {
            true => (Vec::new(), Vec::new()),
            false => (child_events(&connection, &child).map_err(failed)?, child_transfers(&connection, &child).map_err(failed)?),
        };
        let line = json!({ "child": child, "version": version, "role": role, "record": record, "events": events, "transfers": transfers });
        each(line).map_err(|error| StoreError { text: format!("the export cannot be written: {error}"), exit: 74 })?;
        count += 1;
    }
    Ok(count)
}

fn child_events(connection: &Connection, child: &str) -> rusqlite::Result<Vec<Value>> {
    let sql = "SELECT event_id, kind, action, at, source, control_id, version, superseded, statement FROM event WHERE child_id = ?1 ORDER BY version, id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([child], |row| {
        let (event, kind, action): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (at, source, control_id): (Option<String>, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let (version, superseded, said): (i64, bool, String) = (row.get(6)?, row.get(7)?, row.get(8)?);
        Ok(json!({ "event": event, "kind": kind, "action": action, "at": at, "source": source, "control_id": control_id,
            "version": version, "superseded": superseded, "statement": value(&said) }))
    })?;
    rows.collect()
}

fn child_transfers(connection: &Connection, child: &str) -> rusqlite::Result<Vec<Value>> {
    let sql = "SELECT way, event_id, from_hub, to_hub, basis, at, snapshot FROM transfer WHERE child_id = ?1 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([child], |row| {
        let (way, event, from): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (to, basis, at): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let snapshot: String = row.get(6)?;
        Ok(json!({ "way": way, "event": event, "from": from, "to": to, "basis": basis, "at": at, "snapshot": value(&snapshot) }))
    })?;
    rows.collect()
}

/// Reads the births list of a day in a hub's store: how many live here, how many only were born here, and the rows.
pub fn hub_births(file: &Path, day: &str) -> Result<Option<(i64, i64, Vec<Value>)>, StoreError> {
    let failed = |error: rusqlite::Error| broken(file, &error);
    let connection = open_to_read(file).map_err(failed)?;
    let sql = "SELECT here, elsewhere FROM births_day WHERE day = ?1";
    let counts: Option<(i64, i64)> = connection.query_row(sql, [day], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(failed)?;
    let Some((here, elsewhere)) = counts else { return Ok(None) };
    let sql = "SELECT section, child_id, nhs_number, postcode, hub, status FROM births_list WHERE day = ?1 ORDER BY section, recognised, child_id";
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let rows = statement.query_map([day], |row| {
        let (section, child, number): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (postcode, hub, status): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
        Ok(json!({ "section": section, "child": child, "nhs_number": number, "postcode": postcode, "hub": hub, "status": status }))
    });
    let rows: Vec<Value> = rows.and_then(Iterator::collect).map_err(failed)?;
    Ok(Some((here, elsewhere, rows)))
}

fn text<T: serde::Serialize>(part: &T) -> String {
    serde_json::to_string(part).unwrap_or_default()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
