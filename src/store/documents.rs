//! Contents of documents: kept once, by their hash, beside the events that name them and never inside.
//!
//! # Invariants
//!
//! - A content is written in the transaction that files the event that names it: an event never names bytes that are not there.
//! - The same bytes are kept once, however many messages bring them.
//!
//! # Not here
//!
//! Decoding: a rule of a mapping does it, and its hash is the value of the field (`mapping/convert.rs`).

use rusqlite::{Connection, OptionalExtension, params};

use super::{LedgerReader, StoreError, event_row};
use crate::canon::{Content, Document, Statement};
use crate::names::Seq;
use crate::outbox::FiledEvent;

/// The table, made where it is not there: a program that does not know it leaves it alone, so the ledger's format stays.
pub(super) const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS document_body(sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;";

/// A document of an entry, with its content where the ledger has it.
#[derive(Clone, Debug)]
pub struct KeptDocument {
    /// What was said of it.
    pub document: Document,
    /// Its bytes; none where the message brought none.
    pub content: Option<Vec<u8>>,
    /// How many documents the entry has.
    pub count: usize,
}

/// Keeps the contents that the statements name.
pub(super) fn keep(connection: &Connection, statements: &[Statement], contents: &[Content]) -> rusqlite::Result<()> {
    let named = |content: &&Content| {
        statements.iter().flat_map(|said| &said.documents).any(|document| document.sha256.as_ref() == Some(&content.sha256))
    };
    let mut statement =
        connection.prepare_cached("INSERT INTO document_body(sha256, size, bytes) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
    for content in contents.iter().filter(named) {
        let squeezed = zstd::bulk::compress(&content.bytes, 3).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let size = i64::try_from(content.bytes.len()).unwrap_or(i64::MAX);
        statement.execute(params![content.sha256, size, squeezed])?;
    }
    Ok(())
}

impl LedgerReader {
    /// The `number`th document of an entry, from 1, in the order of its events; none where it has not so many.
    pub fn document(&self, seq: Seq, number: usize) -> Result<Option<KeptDocument>, StoreError> {
        let sql = "SELECT body FROM event WHERE id >= ?1 AND id < ?2 ORDER BY id";
        let events: Vec<Vec<u8>> = self.list(sql, event_row::range(seq.0), |row| row.get(0))?;
        let events = events.iter().filter_map(|body| serde_json::from_slice::<FiledEvent>(body).ok());
        let documents: Vec<Document> = events.flat_map(|event| event.statement.documents).collect();
        let count = documents.len();
        let Some(document) = number.checked_sub(1).and_then(|at| documents.into_iter().nth(at)) else { return Ok(None) };
        let content = match &document.sha256 {
            Some(sha256) => self.content(sha256)?,
            None => None,
        };
        Ok(Some(KeptDocument { document, content, count }))
    }

    /// The content of this hash, where the ledger has it.
    pub fn content(&self, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
        // A ledger that an older program made has no such table until a newer one opened it for writing.
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'document_body'";
        if self.read(|c| c.query_row(sql, [], |row| row.get::<_, i64>(0)))? == 0 {
            return Ok(None);
        }
        let sql = "SELECT size, bytes FROM document_body WHERE sha256 = ?1";
        let kept: Option<(i64, Vec<u8>)> = self.read(|c| c.query_row(sql, [sha256], |row| Ok((row.get(0)?, row.get(1)?))).optional())?;
        kept.map(|(size, bytes)| self.unsqueeze(true, bytes, usize::try_from(size).unwrap_or(0))).transpose()
    }
}
