//! Held messages that a person mended: the copy is an entry of its own, and both say which the other is.
//!
//! # In the ledger
//!
//!     edited   copy | original | when
//!
//! # Invariants
//!
//! - What came is never changed: the original stays in the journal with its bytes, set aside as `ignored`, reason `edited`.
//! - A copy has one original. Killed between its append and this row, the original is held still; asked again, the same copy is found.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::StoreError;
use super::reader::LedgerReader;
use super::retry;
use super::writer::{Ledger, audit};
use crate::journal::{Admission, Entry, Journal};
use crate::names::{Format, Seq, SourceName};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS edited(copy INTEGER PRIMARY KEY, original INTEGER NOT NULL, at_us INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS edited_original ON edited(original);
";

/// Standing reason of an original.
const EDITED: &str = "edited";

impl Ledger {
    /// Takes a mended copy of a held message in its place. Gives the copy's entry, which is read and filed like all that comes.
    ///
    /// # Errors
    ///
    /// 64 where the copy says the same bytes, 66 where the message is not held; else the ledger's.
    pub async fn edit_held(&self, original: Seq, body: Bytes, reason: &str, now: Timestamp) -> Result<Seq, StoreError> {
        let data = self.data().to_path_buf();
        let found = tokio::task::spawn_blocking(move || LedgerReader::open(&data)?.entry(original)).await;
        let found = found.map_err(|_| StoreError { text: "the held message could not be looked at".into(), exit: 70 })??;
        let Some((row, before)) = found.filter(|(row, _)| row.standing == "held") else {
            return Err(StoreError { text: format!("message {original} is not held; `held list` shows what is"), exit: 66 });
        };
        if before == body {
            let text = format!("the copy is the same as message {original}; `held release` files that anew");
            return Err(StoreError { text, exit: 64 });
        }
        let entry = Entry {
            source: SourceName::new(&row.source),
            format: Format::from_word(&row.format).unwrap_or(Format::Hl7v2),
            kind: row.kind,
            control_id: row.control_id,
            body,
            arrived: now,
            admission: Admission::Accepted,
        };
        let receipt = self.append(entry).await.map_err(|error| StoreError { text: error.to_string(), exit: 74 })?;
        let copy = receipt.duplicate_of().unwrap_or(receipt.seq());
        let reason = reason.to_owned();
        self.act_quietly(move |connection, _| {
            let sql = "UPDATE standing SET state = 'ignored', reason = ?2 WHERE seq = ?1 AND state = 'held'";
            connection.execute(sql, params![original.0, EDITED])?;
            retry::forget(connection, original.0)?;
            let sql = "INSERT INTO edited(copy, original, at_us) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING";
            connection.execute(sql, params![copy.0, original.0, now.as_microsecond()])?;
            audit(connection, now, "held-edit", &format!("message {original} by its copy {copy}"), &reason)
        })
        .await?;
        Ok(copy)
    }
}

impl LedgerReader {
    /// Of which message this one is a mended copy, and its own mended copies.
    pub(super) fn edits_of(&self, seq: i64) -> Result<(Option<i64>, Vec<i64>), StoreError> {
        if !self.has_table("edited")? {
            return Ok((None, Vec::new()));
        }
        let sql = "SELECT original FROM edited WHERE copy = ?1";
        let original = self.read(|c| c.query_row(sql, [seq], |row| row.get(0)).optional())?;
        Ok((original, self.list("SELECT copy FROM edited WHERE original = ?1 ORDER BY copy", [seq], |row| row.get(0))?))
    }
}
