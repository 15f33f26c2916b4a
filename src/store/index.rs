//! Identity's view of the children in the ledger, inside the writer's transaction.

use jiff::civil;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::kin;
use crate::canon::{ChildStatus, NHS_NUMBER_SYSTEM, NhsNumber};
use crate::identity::{ChildIndex, IndexError, Record, Sketch};
use crate::names::ChildId;

/// A child's row.
pub(super) struct ChildRow {
    pub(super) id: i64,
    pub(super) uuid: Uuid,
    pub(super) version: i64,
    pub(super) record: Record,
}

/// What stands under a child's row.
pub(super) enum OnRecord {
    /// The record.
    Whole(Box<ChildRow>),
    /// A record that cannot be read.
    Unreadable {
        /// The child's row.
        row: i64,
        /// Our id of the child.
        name: String,
    },
    /// Nothing.
    Missing,
}

/// Looks children up through the writer's connection, so that it sees what this very transaction has filed.
pub(super) struct Index<'c>(pub(super) &'c Connection);

impl Index<'_> {
    /// The child with this id of ours.
    pub(super) fn by_id(&self, id: ChildId) -> Result<Option<ChildRow>, IndexError> {
        let sql = "SELECT id, uuid, version, record FROM child WHERE uuid = ?1";
        let row =
            self.0.prepare_cached(sql).and_then(|mut statement| statement.query_row([id.0.as_bytes().as_slice()], read_row).optional());
        row.map_err(unread)?.map(parse).transpose()
    }

    /// The child with this row.
    pub(super) fn by_row(&self, row: i64) -> Result<Option<ChildRow>, IndexError> {
        let sql = "SELECT id, uuid, version, record FROM child WHERE id = ?1";
        let row = self.0.prepare_cached(sql).and_then(|mut statement| statement.query_row([row], read_row).optional());
        row.map_err(unread)?.map(parse).transpose()
    }

    /// The child with this row, where a record that cannot be read must not stop the others.
    pub(super) fn look(&self, row: i64) -> rusqlite::Result<OnRecord> {
        let sql = "SELECT id, uuid, version, record FROM child WHERE id = ?1";
        let Some(raw) = self.0.prepare_cached(sql)?.query_row([row], read_row).optional()? else { return Ok(OnRecord::Missing) };
        let name = Uuid::from_slice(&raw.1).map_or_else(|_| format!("row {row}"), |uuid| uuid.to_string());
        Ok(parse(raw).map_or(OnRecord::Unreadable { row, name }, |row| OnRecord::Whole(Box::new(row))))
    }

    fn by_identifier(&self, system: &str, value: &str) -> Result<Option<Sketch>, IndexError> {
        let sql = "SELECT c.id, c.uuid, c.version, c.record FROM identifier i JOIN child c ON c.id = i.child WHERE i.system = ?1 AND i.value = ?2";
        let row = self.0.prepare_cached(sql).and_then(|mut statement| statement.query_row(params![system, value], read_row).optional());
        let Some(mut row) = row.map_err(unread)?.map(parse).transpose()? else { return Ok(None) };
        // A merged record points at the one that goes on; a chain is short, and a cycle ends here.
        for _ in 0..16 {
            let Some(next) = row.record.child.merged_into else { break };
            match self.by_id(next)? {
                Some(survivor) => row = survivor,
                None => break,
            }
        }
        Ok(Some(sketch(row)))
    }

    fn sketches(&self, rows: &[i64]) -> Result<Vec<Sketch>, IndexError> {
        let found = rows.iter().map(|row| self.by_row(*row));
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().map(sketch).collect())
    }
}

impl ChildIndex for Index<'_> {
    fn by_nhs_number(&self, number: NhsNumber) -> Result<Option<Sketch>, IndexError> {
        self.by_identifier(NHS_NUMBER_SYSTEM, &number.to_string())
    }

    fn by_local_id(&self, system: &str, value: &str) -> Result<Option<Sketch>, IndexError> {
        self.by_identifier(system, value)
    }

    fn is_a_relations(&self, system: &str, value: &str) -> Result<bool, IndexError> {
        let sql = "SELECT 1 FROM relation_identifier WHERE system = ?1 AND value = ?2";
        let is_named = self.0.prepare_cached(sql).and_then(|mut statement| statement.exists(params![system, value])).map_err(unread)?;
        Ok(is_named || kin::is_a_mothers(self.0, system, value).map_err(unread)?)
    }

    fn by_mother(&self, system: &str, value: &str, days: (civil::Date, civil::Date)) -> Result<Vec<Sketch>, IndexError> {
        self.sketches(&kin::of_mother(self.0, system, value, days).map_err(unread)?)
    }

    fn by_likeness(&self, born: civil::Date, marks: &[i64]) -> Result<Vec<Sketch>, IndexError> {
        self.sketches(&kin::like(self.0, born, marks).map_err(unread)?)
    }

    fn has_siblings(&self, child: ChildId, days: i64) -> Result<bool, IndexError> {
        let sql = "SELECT id FROM child WHERE uuid = ?1";
        let row = self
            .0
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([child.0.as_bytes().as_slice()], |row| row.get(0)).optional());
        match row.map_err(unread)? {
            Some(row) => kin::has_siblings(self.0, row, days).map_err(unread),
            None => Ok(false),
        }
    }
}

fn sketch(row: ChildRow) -> Sketch {
    let status = row.record.child.status.unwrap_or(ChildStatus::Provisional);
    Sketch { id: ChildId(row.uuid), child: row.record.child, status }
}

type RawRow = (i64, Vec<u8>, i64, Vec<u8>);

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<RawRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn parse((id, uuid, version, record): RawRow) -> Result<ChildRow, IndexError> {
    let uuid = Uuid::from_slice(&uuid).map_err(|error| IndexError(error.to_string()))?;
    // serde's text may quote the record, so only its place is passed on.
    let record = serde_json::from_slice(&record)
        .map_err(|error| IndexError(format!("the record of a child cannot be read at byte {}", error.column())))?;
    Ok(ChildRow { id, uuid, version, record })
}

fn unread(error: rusqlite::Error) -> IndexError {
    IndexError(error.to_string())
}
