//! What people are asked of identity, read from the ledger: the list, who could be meant, and which records are sealed.

use jiff::{Timestamp, ToSpan};
use rusqlite::{OptionalExtension, params};

use super::StoreError;
use super::desk::{IdentityItem, SEALED_ROLE};
use super::event_row;
use super::index::Index;
use super::reader::{LedgerReader, moment};
use super::retry;
use crate::canon::{Child, Date, Statement};
use crate::identity::{self, ChildIndex, IndexError, ONE_BIRTH_DAYS, Sketch};
use crate::names::{ChildId, Seq};

/// Reasons of held entries that are a matter of identity.
const REASONS: &str = "('unmatched', 'unmatched-30-days', 'no-birth-date', 'identity-mismatch', 'identity-conflict', 'identity-link', \
     'status-forbids', 'no-identifier', 'birth-date-implausible', 'record-closed')";

/// A child that could be meant by a message, and how it was found.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Our id.
    pub id: ChildId,
    /// The record.
    pub child: Child,
    /// `NHS number`, `local identifier`, `mother`, `details`.
    pub found_by: Vec<&'static str>,
}

impl LedgerReader {
    /// What a person must decide of identity, oldest message first, and what waits by itself still.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn identity_items(&self, now: Timestamp) -> Result<Vec<IdentityItem>, StoreError> {
        self.is_of_today()?;
        let sql = format!(
            "SELECT e.seq, t.reason, s.name, e.kind, e.arrived_us, w.until_us FROM standing t JOIN entry e ON e.seq = t.seq
             JOIN source s ON s.id = e.source LEFT JOIN waiting w ON w.seq = t.seq WHERE t.state = 'held' AND t.reason IN {REASONS}"
        );
        let mut items = self.list(&sql, [], |row| {
            let (seq, kind, until): (i64, String, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(5)?);
            let role = (kind == "record-closed").then(|| SEALED_ROLE.to_owned());
            let waits_until = until.filter(|until| now.as_microsecond() < *until).map(moment);
            let (source, message, since) = (row.get(2)?, row.get(3)?, moment(row.get(4)?));
            Ok(IdentityItem { item: seq.to_string(), kind, seq, source, message, since, child: None, waits_until, role })
        })?;
        // Of a message that is apart no list says what it was (decision 17).
        let sql = "SELECT i.id, i.kind, i.seq, s.name,
            CASE WHEN EXISTS (SELECT 1 FROM apart a WHERE a.seq = e.seq) THEN 'restricted' ELSE e.kind END, i.at_us, c.uuid FROM identity_item i JOIN entry e ON e.seq = i.seq
            JOIN source s ON s.id = e.source JOIN child c ON c.id = i.child WHERE i.closed_us IS NULL";
        items.extend(self.list(sql, [], |row| {
            let child: Vec<u8> = row.get(6)?;
            Ok(IdentityItem {
                item: format!("item-{}", row.get::<_, i64>(0)?),
                kind: row.get(1)?,
                seq: row.get(2)?,
                source: row.get(3)?,
                message: row.get(4)?,
                since: moment(row.get(5)?),
                child: uuid::Uuid::from_slice(&child).ok().map(|uuid| uuid.to_string()),
                waits_until: None,
                role: None,
            })
        })?);
        items.sort_by(|a, b| (a.seq, &a.item).cmp(&(b.seq, &b.item)));
        Ok(items)
    }

    /// An open item: its entry and its child.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn identity_item(&self, item: i64) -> Result<Option<(Seq, ChildId)>, StoreError> {
        self.is_of_today()?;
        let sql = "SELECT i.seq, c.uuid FROM identity_item i JOIN child c ON c.id = i.child WHERE i.id = ?1 AND i.closed_us IS NULL";
        let found: Option<(i64, Vec<u8>)> = self.read(|c| c.query_row(sql, [item], |row| Ok((row.get(0)?, row.get(1)?))).optional())?;
        Ok(found.and_then(|(seq, uuid)| Some((Seq(seq), ChildId(uuid::Uuid::from_slice(&uuid).ok()?)))))
    }

    /// Until when an entry waits for its child by itself.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn waits_until(&self, seq: Seq) -> Result<Option<Timestamp>, StoreError> {
        let until = self.read(|connection| retry::waits_until(connection, seq.0))?;
        Ok(until.and_then(|until| Timestamp::from_microsecond(until).ok()))
    }

    /// Children who could be meant by a statement: by its identifiers, by its mother's within three days, and by its details. Who is
    /// found is shown to a person, and nothing is filed by it. Sealed records are never among them.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn candidates(&self, statement: &Statement) -> Result<Vec<Candidate>, StoreError> {
        self.is_of_today()?;
        let unread = |error: IndexError| StoreError { text: error.to_string(), exit: 74 };
        self.read(|connection| Ok(of(&Index(connection), statement)))?.map_err(unread)
    }

    /// A ledger that no newer program has written to has no such lists yet.
    fn is_of_today(&self) -> Result<(), StoreError> {
        if self.has_table("identity_item")? && self.has_table("waiting")? && self.has_table("kin")? {
            return Ok(());
        }
        Err(StoreError {
            text: "this ledger has no identity lists yet: start the broker once, which brings it up to date".into(),
            exit: 65,
        })
    }

    /// True for a sealed record, and for one that became a part of a sealed one.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn is_sealed(&self, child: ChildId) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS(SELECT 1 FROM child c LEFT JOIN merged m ON m.child = c.id LEFT JOIN child s ON s.id = m.survivor
            WHERE c.uuid = ?1 AND (c.status = 'sealed' OR s.status = 'sealed'))";
        self.read(|c| c.query_row(sql, [child.0.as_bytes().as_slice()], |row| row.get(0)))
    }

    /// True for a message of a sealed record, and for one that is held because its record is closed.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn is_of_a_sealed(&self, seq: Seq) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS(SELECT 1 FROM event v JOIN child c ON c.id = v.child LEFT JOIN merged m ON m.child = c.id
                LEFT JOIN child s ON s.id = m.survivor WHERE v.id >= ?1 AND v.id < ?2 AND (c.status = 'sealed' OR s.status = 'sealed'))
            OR EXISTS(SELECT 1 FROM standing WHERE seq = ?3 AND reason = 'record-closed')";
        let [first, end] = event_row::range(seq.0);
        self.read(|c| c.query_row(sql, params![first, end, seq.0], |row| row.get(0)))
    }
}

fn of(index: &Index<'_>, statement: &Statement) -> Result<Vec<Candidate>, IndexError> {
    let said = &statement.child;
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |sketch: Sketch, how: &'static str| {
        if sketch.status == crate::canon::ChildStatus::Sealed {
            return;
        }
        match found.iter_mut().find(|known| known.id == sketch.id) {
            Some(known) if known.found_by.contains(&how) => {}
            Some(known) => known.found_by.push(how),
            None => found.push(Candidate { id: sketch.id, child: sketch.child, found_by: vec![how] }),
        }
    };
    let prior = statement.identity_changes.iter().flat_map(|change| &change.prior);
    for id in said.identifiers.iter().chain(prior) {
        match id.nhs_number() {
            Some(number) => index.by_nhs_number(number)?.into_iter().for_each(|sketch| add(sketch, "NHS number")),
            None => index.by_local_id(&id.system, &id.value)?.into_iter().for_each(|sketch| add(sketch, "local identifier")),
        }
    }
    if let Some(day) = said.birth.date.as_ref().and_then(Date::civil).filter(|_| !identity::is_barred(statement)) {
        let days = (day.checked_sub(ONE_BIRTH_DAYS.days()).unwrap_or(day), day.checked_add(ONE_BIRTH_DAYS.days()).unwrap_or(day));
        for id in identity::mothers_ids(said) {
            index.by_mother(&id.system, &id.value, days)?.into_iter().for_each(|sketch| add(sketch, "mother"));
        }
        index.by_likeness(day, &identity::likeness_marks(said))?.into_iter().for_each(|sketch| add(sketch, "details"));
    }
    Ok(found)
}
