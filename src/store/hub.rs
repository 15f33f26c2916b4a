//! A hub's own child health store, CarePlus style: one SQLite file that an analyst can read.
//!
//! # In the store
//!
//!     child   one row for each child: the columns people search by, and the whole record as JSON
//!     event   the history: one row for each event that came, whatever became of it
//!
//! # Invariants
//!
//! - An event is applied once, by its id, however often it is delivered.
//! - A child's row is never replaced by an older version of it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};
use serde_json::{Value, json};

use super::StoreError;
use super::schema::broken;
use crate::canon::Child;
use crate::outbox::FiledEvent;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS child(
    child_id TEXT PRIMARY KEY, nhs_number TEXT, family TEXT, given TEXT, birth_date TEXT, sex TEXT, postcode TEXT, gp_practice TEXT,
    status TEXT, hub TEXT, version INTEGER NOT NULL, updated TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS child_nhs_number ON child(nhs_number);
CREATE INDEX IF NOT EXISTS child_birth_date ON child(birth_date);
CREATE TABLE IF NOT EXISTS event(
    id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, child_id TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,
    action TEXT NOT NULL, at TEXT, source TEXT NOT NULL, control_id TEXT NOT NULL, seq INTEGER NOT NULL, filed TEXT NOT NULL,
    superseded INTEGER NOT NULL, statement TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS event_child ON event(child_id, id);
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
        super::schema::checkpoint(&connection, "TRUNCATE").map_err(|error| failed(&error))?;
        Ok(Self { connection, file: file.to_path_buf(), unfolded: 0 })
    }

    /// Applies events in their order, all in one durable transaction; what is known already is skipped.
    pub fn apply(&mut self, events: &[FiledEvent]) -> Result<(), StoreError> {
        let file = self.file.clone();
        self.apply_all(events).map_err(|error| broken(&file, &error))
    }

    fn apply_all(&mut self, events: &[FiledEvent]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for event in events {
            if add_event(&transaction, event)? && !event.superseded {
                put_child(&transaction, event)?;
            }
        }
        transaction.commit()?;
        self.unfolded += events.len();
        if FOLD_AFTER < self.unfolded {
            super::schema::checkpoint(&self.connection, "RESTART")?;
            self.unfolded = 0;
        }
        Ok(())
    }
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

fn put_child(connection: &Connection, event: &FiledEvent) -> rusqlite::Result<()> {
    let child: &Child = &event.record;
    let name = child.names.iter().find(|name| matches!(name.usage.as_deref(), Some("official" | "usual"))).or_else(|| child.names.first());
    let given = name.map(|name| name.given.join(" ")).filter(|given| !given.is_empty());
    let sql = "INSERT INTO child(child_id, nhs_number, family, given, birth_date, sex, postcode, gp_practice, status, hub, version, updated, record)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
        ON CONFLICT(child_id) DO UPDATE SET nhs_number = excluded.nhs_number, family = excluded.family, given = excluded.given,
            birth_date = excluded.birth_date, sex = excluded.sex, postcode = excluded.postcode, gp_practice = excluded.gp_practice,
            status = excluded.status, hub = excluded.hub, version = excluded.version, updated = excluded.updated, record = excluded.record
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
            text(child)
        ])
        .map(drop)
}

/// Reads a hub's store: children, one JSON value each with its events, in the order of their ids. Gives how many.
pub fn hub_export(file: &Path, each: &mut dyn FnMut(Value) -> std::io::Result<()>) -> Result<u64, StoreError> {
    if !file.exists() {
        return Err(StoreError { text: format!("there is no hub store at {}", file.display()), exit: 66 });
    }
    let failed = |error: rusqlite::Error| broken(file, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    super::schema::prepare(&connection, false).map_err(failed)?;
    let mut children = connection.prepare("SELECT child_id, version, record FROM child ORDER BY child_id").map_err(failed)?;
    let mut rows = children.query([]).map_err(failed)?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        let (child, version, record): (String, i64, String) =
            row.get(0).and_then(|child| Ok((child, row.get(1)?, row.get(2)?))).map_err(failed)?;
        let record = value(&record);
        // Of a sealed record a store keeps its history for as long as the law asks, and shows none of it (identity rules, section 8).
        let is_sealed = record.get("status").and_then(Value::as_str) == Some("sealed");
        let events = if is_sealed { Vec::new() } else { child_events(&connection, &child).map_err(failed)? };
        let line = json!({ "child": child, "version": version, "record": record, "events": events });
        each(line).map_err(|error| StoreError { text: format!("the export cannot be written: {error}"), exit: 74 })?;
        count += 1;
    }
    Ok(count)
}

fn child_events(connection: &Connection, child: &str) -> rusqlite::Result<Vec<Value>> {
    let sql =
        "SELECT event_id, kind, action, at, source, control_id, version, superseded, statement FROM event WHERE child_id = ?1 ORDER BY id";
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

fn word<T: serde::Serialize>(enumeration: &T) -> String {
    serde_json::to_value(enumeration).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn text<T: serde::Serialize>(part: &T) -> String {
    serde_json::to_string(part).unwrap_or_default()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
