//! Entries of the broker's own: what it did by the calendar or because a person asked. They stand in the journal like everything that
//! came, so that the account holds and `msg trace` shows what became of them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use super::writer::{FILING_BUDGET, Ledger, control_key, london_day, row_id};
use crate::names::{Format, Seq};

/// Who sent those that no part of the broker has a name of its own for.
pub(super) const SOURCE: &str = "chis-broker";

/// An act of our own that can be done in pieces may take so long when no sender was about.
const ACT_BUDGET_QUIET: Duration = Duration::from_millis(25);

impl Ledger {
    /// How long a piece of an act of our own may take: not longer than filing while senders are about.
    pub(super) fn act_budget(&self) -> Duration {
        if self.senders_are_about() { FILING_BUDGET } else { ACT_BUDGET_QUIET }
    }

    /// True where a sender was about in the writer's last turn, or shortly before.
    pub(super) fn senders_are_about(&self) -> bool {
        self.shared.senders_about.load(Ordering::Acquire)
    }
}

/// Appends an entry of our own that is filed already: the caller keeps its events in the same transaction.
pub(super) fn entry(
    connection: &Connection,
    now: Timestamp,
    source: &str,
    (kind, control_id): (&str, &str),
    body: &[u8],
) -> rusqlite::Result<Seq> {
    let control = control_key(source, control_id);
    let source = row_id(connection, "source", source)?;
    let seq = last(connection)? + 1;
    let sql = "INSERT INTO entry(seq, arrived_us, day, source, format, kind, control_id, control_key, sha256, bytes, accepted)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1)";
    let sha256: [u8; 32] = Sha256::digest(body).into();
    connection.prepare_cached(sql)?.execute(params![
        seq,
        now.as_microsecond(),
        london_day(now),
        source,
        Format::CanonicalJson.as_str(),
        kind,
        control_id,
        control,
        sha256.as_slice(),
        body.len() as i64
    ])?;
    connection.prepare_cached("INSERT INTO body(seq, zstd, bytes) VALUES(?1, 0, ?2)")?.execute(params![seq, body])?;
    connection.prepare_cached("INSERT INTO standing(seq, state, reason) VALUES(?1, 'filed', '')")?.execute([seq])?;
    Ok(Seq(seq))
}

/// The last place in the journal.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM entry")?.query_row([], |row| row.get(0))
}
