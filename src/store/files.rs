//! Which entry stands at which place of which file: the proof that each message of a file is an entry once.
//!
//! # Invariants
//!
//! - A row of `placed` is written in the transaction that appends its entry, so after a crash both are there or neither.
//! - Places of a file are appended in their order: what is at or below the highest place is there.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::reader::LedgerReader;
use crate::journal::{FileMark, Place};
use crate::names::Seq;

/// Files that the writer knows by heart; more are looked up again.
const KNOWN_MAX: usize = 1_024;

/// Row ids of files, for the writer.
#[derive(Debug, Default)]
pub(super) struct FileIds(HashMap<FileMark, i64>);

impl FileIds {
    /// Forgets all: a turn was undone.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The entry that stands there, where one does.
    pub(super) fn seq_at(&mut self, connection: &Connection, place: &Place) -> rusqlite::Result<Option<i64>> {
        let file = self.id(connection, &place.file)?;
        let sql = "SELECT seq FROM placed WHERE file = ?1 AND place = ?2";
        connection.prepare_cached(sql)?.query_row([file, place.number], |row| row.get(0)).optional()
    }

    /// Notes that an entry stands there; one that was refused gives up its place to one that was taken.
    pub(super) fn place(&mut self, connection: &Connection, place: &Place, seq: i64) -> rusqlite::Result<()> {
        let file = self.id(connection, &place.file)?;
        let sql = "INSERT INTO placed(file, place, seq) VALUES(?1, ?2, ?3) ON CONFLICT(file, place) DO UPDATE SET seq = excluded.seq";
        connection.prepare_cached(sql)?.execute([file, place.number, seq]).map(drop)
    }

    fn id(&mut self, connection: &Connection, mark: &FileMark) -> rusqlite::Result<i64> {
        if let Some(id) = self.0.get(mark) {
            return Ok(*id);
        }
        connection.prepare_cached("INSERT INTO file(mark) VALUES(?1) ON CONFLICT DO NOTHING")?.execute([mark.0.as_slice()])?;
        let sql = "SELECT id FROM file WHERE mark = ?1";
        let id = connection.prepare_cached(sql)?.query_row([mark.0.as_slice()], |row| row.get(0))?;
        if KNOWN_MAX <= self.0.len() {
            self.0.clear();
        }
        self.0.insert(*mark, id);
        Ok(id)
    }
}

/// What became of one record of a file.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its place: message number, or first line.
    pub place: i64,
    /// Its entry.
    pub seq: Seq,
    /// The word of its standing; `waiting` where it has none yet.
    pub standing: String,
    /// Why, for those that did not end as filed.
    pub reason: String,
    /// Findings as a JSON array; empty where there are none.
    pub findings: String,
}

impl LedgerReader {
    /// The highest place of a file whose message is an entry; 0 where none is.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn placed_through(&self, mark: &FileMark) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(place), 0) FROM placed WHERE file = (SELECT id FROM file WHERE mark = ?1)";
        self.read(|connection| connection.query_row(sql, [mark.0.as_slice()], |row| row.get(0)))
    }

    /// Shows what became of each record of a file, in the order of the file, one at a time: a file may have millions.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn outcomes(&self, mark: &FileMark, each: &mut dyn FnMut(Outcome)) -> Result<(), StoreError> {
        let sql = "SELECT p.place, p.seq, coalesce(t.state, 'waiting'), coalesce(t.reason, ''), coalesce(t.findings, '')
            FROM placed p LEFT JOIN standing t ON t.seq = p.seq WHERE p.file = (SELECT id FROM file WHERE mark = ?1) ORDER BY p.place";
        self.read(|connection| {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([mark.0.as_slice()])?;
            while let Some(row) = rows.next()? {
                each(Outcome {
                    place: row.get(0)?,
                    seq: Seq(row.get(1)?),
                    standing: row.get(2)?,
                    reason: row.get(3)?,
                    findings: row.get(4)?,
                });
            }
            Ok(())
        })
    }
}
