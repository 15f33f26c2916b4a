//! Which entries came for child protection facts alone, or may have: listings say nothing of them but that they came (decision 17).
//!
//! # What always holds
//!
//! - An entry is marked in the transaction that gives it its standing. Of those that were read before there were marks nobody knows;
//!   [`LedgerReader::is_apart`] says so, and whoever lists them reads them again.
//! - A duplicate is apart where the entry that it repeats is.

use rusqlite::{Connection, OptionalExtension, params};

use super::{LedgerReader, StoreError};

/// The marks, and from which entry on they are whole.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS apart(seq INTEGER PRIMARY KEY) STRICT;
INSERT INTO meta(key, value) SELECT 'apart_since', coalesce((SELECT max(seq) FROM standing), 0)
    WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'apart_since');
";

/// Notes whether an entry is apart; one that was held and is read again may be it no longer.
pub(super) fn mark(connection: &Connection, seq: i64, is_apart: bool) -> rusqlite::Result<()> {
    let sql = if is_apart { "INSERT OR IGNORE INTO apart(seq) VALUES(?1)" } else { "DELETE FROM apart WHERE seq = ?1" };
    connection.prepare_cached(sql)?.execute([seq]).map(drop)
}

impl LedgerReader {
    /// Whether an entry is apart; none where the ledger does not know, because it was not read yet or before there were marks.
    pub fn is_apart(&self, seq: i64) -> Result<Option<bool>, StoreError> {
        if !self.has_table("apart")? {
            return Ok(None);
        }
        self.read(|connection| {
            let since: i64 = connection
                .prepare_cached("SELECT value FROM meta WHERE key = 'apart_since'")?
                .query_row([], |row| row.get(0))
                .optional()?
                .unwrap_or(i64::MAX);
            // What the door refused or ignored was never read, and is about nobody.
            let sql = "SELECT t.bundle IS NULL AND t.state IN ('refused', 'ignored'), EXISTS (SELECT 1 FROM apart a WHERE a.seq = t.seq)
                FROM standing t WHERE t.seq = ?1";
            let known: Option<(bool, bool)> =
                connection.prepare_cached(sql)?.query_row(params![seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            Ok(known.and_then(|(was_turned_away, is_apart)| (is_apart || was_turned_away || since < seq).then_some(is_apart)))
        })
    }

    /// The entry that a duplicate repeats; otherwise the entry itself.
    pub fn repeats(&self, seq: i64) -> Result<i64, StoreError> {
        let sql = "SELECT reason FROM standing WHERE seq = ?1 AND state = 'duplicate'";
        let first: Option<String> =
            self.read(|connection| connection.prepare_cached(sql)?.query_row([seq], |row| row.get(0)).optional())?;
        Ok(first.and_then(|first| first.parse().ok()).unwrap_or(seq))
    }

    /// True where the ledger has this table: one that no newer program has written to lacks the later ones.
    pub(super) fn has_table(&self, name: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        self.read(|connection| connection.prepare_cached(sql)?.exists([name]))
    }
}
