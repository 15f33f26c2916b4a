//! Entries of the broker's own: what it did by the calendar or because a person asked. They stand in the journal like everything that
//! came, so that the account holds and `msg trace` shows what became of them.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use super::writer::{london_day, row_id};
use crate::names::{Format, Seq};

/// Rows of events of one entry.
pub(super) const STATEMENTS: i64 = 1_024;
/// Who sent them: the broker itself.
pub(super) const SOURCE: &str = "chis-broker";

/// Appends an entry of our own that is filed already: the caller keeps its events in the same transaction.
pub(super) fn entry(connection: &Connection, now: Timestamp, kind: &str, control_id: &str, body: &str) -> rusqlite::Result<Seq> {
    let source = row_id(connection, "source", SOURCE)?;
    let seq = last(connection)? + 1;
    let sql = "INSERT INTO entry(seq, arrived_us, day, source, format, kind, control_id, control_key, sha256, bytes, accepted)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, 1)";
    let sha256: [u8; 32] = Sha256::digest(body.as_bytes()).into();
    connection.prepare_cached(sql)?.execute(params![
        seq,
        now.as_microsecond(),
        london_day(now),
        source,
        Format::CanonicalJson.as_str(),
        kind,
        control_id,
        sha256.as_slice(),
        body.len() as i64
    ])?;
    connection.prepare_cached("INSERT INTO body(seq, zstd, bytes) VALUES(?1, 0, ?2)")?.execute(params![seq, body.as_bytes()])?;
    connection.prepare_cached("INSERT INTO standing(seq, state, reason) VALUES(?1, 'filed', '')")?.execute([seq])?;
    Ok(Seq(seq))
}

/// The last place in the journal.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM entry")?.query_row([], |row| row.get(0))
}
