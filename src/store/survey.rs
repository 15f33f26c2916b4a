//! Reads the whole of a ledger and of a hub's store, for whoever has to compare all of it with something else: every entry, event and child.
//!
//! Each listing goes row by row to its caller, so that a ledger of any size can be surveyed; births lists are collected first.

use uuid::Uuid;

use super::births::BirthsList;
use super::hub::{HubReader, StoreAt};
use super::reader::LedgerReader;
use super::rows::StoreError;
use crate::names::ChildId;

/// An entry and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntrySurvey {
    /// Its place in the journal.
    pub seq: i64,
    /// Who sent it.
    pub source: String,
    /// The sender's id.
    pub control_id: String,
    /// Its standing, or `waiting`.
    pub standing: String,
    /// Why.
    pub reason: String,
}

/// An event of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSurvey {
    /// The entry that it came with.
    pub seq: i64,
    /// The record that it was filed under.
    pub child: ChildId,
    /// The hub after it.
    pub hub: String,
    /// The ground.
    pub basis: String,
}

/// A failsafe clock that ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreachSurvey {
    /// The record.
    pub child: ChildId,
    /// The clock.
    pub clock: String,
    /// When the broker saw it, microseconds since 1970.
    pub at_us: i64,
}

/// An event of a hub's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The record.
    pub child: String,
    /// Who sent the message.
    pub source: String,
    /// The sender's id.
    pub control_id: String,
    /// What was said, JSON.
    pub statement: String,
}

impl LedgerReader {
    /// Every entry, in the order of the journal.
    pub fn survey_entries(&self, each: &mut dyn FnMut(EntrySurvey)) -> Result<(), StoreError> {
        let sql = "SELECT e.seq, s.name, e.control_id, coalesce(t.state, iif(e.accepted, 'waiting', 'refused')), coalesce(t.reason, '')
            FROM entry e JOIN source s ON s.id = e.source LEFT JOIN standing t ON t.seq = e.seq ORDER BY e.seq";
        self.read(|connection| {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (seq, source, control_id) = (row.get(0)?, row.get(1)?, row.get(2)?);
                each(EntrySurvey { seq, source, control_id, standing: row.get(3)?, reason: row.get(4)? });
            }
            Ok(())
        })
    }

    /// Every event, in the order of the journal.
    pub fn survey_events(&self, each: &mut dyn FnMut(EventSurvey)) -> Result<(), StoreError> {
        let sql = "SELECT v.id / 1024, c.uuid, v.hub, v.basis FROM event v JOIN child c ON c.id = v.child ORDER BY v.id";
        self.read(|connection| {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(EventSurvey { seq: row.get(0)?, child: child_id(row, 1)?, hub: row.get(2)?, basis: row.get(3)? });
            }
            Ok(())
        })
    }

    /// Every record, and for one that was merged the record that goes on in its place.
    pub fn survey_children(&self) -> Result<Vec<(ChildId, Option<ChildId>)>, StoreError> {
        let sql =
            "SELECT c.uuid, s.uuid FROM child c LEFT JOIN merged m ON m.child = c.id LEFT JOIN child s ON s.id = m.survivor ORDER BY c.id";
        self.list(sql, [], |row| {
            let goes_on: Option<Vec<u8>> = row.get(1)?;
            Ok((child_id(row, 0)?, goes_on.and_then(|bytes| Uuid::from_slice(&bytes).ok()).map(ChildId)))
        })
    }

    /// How many debts wait to be paid; those that are held wait for a person and are not among them.
    pub fn unpaid(&self) -> Result<i64, StoreError> {
        self.read(|connection| connection.query_row("SELECT count(*) FROM debt WHERE state = 'pending'", [], |row| row.get(0)))
    }

    /// Failsafe clocks that ran out, in the order in which the broker saw it. None where this ledger keeps no clocks.
    pub fn survey_breaches(&self) -> Result<Option<Vec<BreachSurvey>>, StoreError> {
        if !self.has_table("clock_change")? {
            return Ok(None);
        }
        let sql =
            "SELECT c.uuid, h.kind, h.at_us FROM clock_change h JOIN child c ON c.id = h.child WHERE h.became = 'breached' ORDER BY h.id";
        self.list(sql, [], |row| Ok(BreachSurvey { child: child_id(row, 0)?, clock: row.get(1)?, at_us: row.get(2)? })).map(Some)
    }

    /// Every births list that was made, by day and hub.
    pub fn survey_births(&self, each: &mut dyn FnMut(BirthsList)) -> Result<(), StoreError> {
        let bodies: Vec<String> = self.list("SELECT body FROM births_day ORDER BY day, hub", [], |row| row.get(0))?;
        for body in bodies {
            let unread = |error| StoreError { text: format!("a births list cannot be read: {error}"), exit: 65 };
            each(serde_json::from_str(&body).map_err(unread)?);
        }
        Ok(())
    }

    /// How many children the failsafe has yet to look at, as of `now`, microseconds since 1970; 0 where this ledger keeps no clocks.
    pub fn unwatched(&self, now: i64) -> Result<i64, StoreError> {
        if !self.has_table("watch")? {
            return Ok(0);
        }
        self.read(|connection| connection.query_row("SELECT count(*) FROM watch WHERE due_us <= ?1", [now], |row| row.get(0)))
    }
}

/// Every child of a hub's store, by its id.
pub fn survey_store_children(at: impl Into<StoreAt>, each: &mut dyn FnMut(String)) -> Result<(), StoreError> {
    HubReader::open(at)?.each_child(each)
}

/// Day, section and child.
pub type StoredBirth = (String, String, String);

/// The births lists of a hub's store: the days whose list came, and every row.
pub fn survey_store_births(
    at: impl Into<StoreAt>,
    day: &mut dyn FnMut(String),
    birth: &mut dyn FnMut(StoredBirth),
) -> Result<(), StoreError> {
    HubReader::open(at)?.each_birth(day, birth)
}

/// Every event of a hub's store, in the order in which they came.
pub fn survey_store_events(at: impl Into<StoreAt>, each: &mut dyn FnMut(StoredEvent)) -> Result<(), StoreError> {
    HubReader::open(at)?
        .each_event(&mut |[child, source, control_id, statement]| each(StoredEvent { child, source, control_id, statement }))
}

fn child_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<ChildId> {
    let bytes: Vec<u8> = row.get(column)?;
    Ok(ChildId(Uuid::from_slice(&bytes).unwrap_or_default()))
}
