//! What was filed and must still be looked at by a person: the result of another child, a deletion that met nothing, an outcome that a
//! newer version no longer says.
//!
//! # In the ledger
//!
//!     review   one row for each matter: which entry, which child, under which key, why; how it was closed, and it stays
//!
//! # What always holds
//!
//! - While a review of a child is open, parents are told nothing of its kind (`parents.rs`).
//! - A matter is open once, however often it is said again.
//! - It is closed by a named person's reason, or by the message that settles it, and the row says which.
//!
//! # Not here
//!
//! What was not filed: those entries are held.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::rows::ReviewRow;
use super::{Ledger, LedgerReader, StoreError};

/// The table, made where it is not there: a program that does not know it leaves it alone, so the ledger's format stays.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS review(
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, child INTEGER NOT NULL, kind TEXT NOT NULL, publisher TEXT NOT NULL, key TEXT NOT NULL,
    code TEXT NOT NULL, opened_us INTEGER NOT NULL, closed_us INTEGER, closed TEXT) STRICT;
CREATE INDEX IF NOT EXISTS review_open ON review(child, kind) WHERE closed_us IS NULL;
";

/// Why a person must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// OBX-11 W: the result was another child's, which has none now (HL7 v2 page, section 5.1).
    WrongPatient,
    /// A deletion of something that is not on record.
    TakesBackNothing,
    /// A correction of something that is not on record.
    CorrectsNothing,
    /// A final outcome stood, and a newer version of its card does not say it.
    OutcomeDropped,
    /// It came under an identifier alone that a link had attached and that is another person's (A37; identity rules, section 3).
    AliasUnlinked,
    /// A ledger of an older format; what its event says cannot be read by this program.
    NotReadAgain,
}

impl Why {
    /// Stable: the code of the finding, too.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::WrongPatient => "wrong-patient",
            Self::TakesBackNothing => "takes-back-nothing",
            Self::CorrectsNothing => "corrects-nothing",
            Self::OutcomeDropped => "outcome-dropped",
            Self::AliasUnlinked => "alias-unlinked",
            Self::NotReadAgain => "not-read-again",
        }
    }
}

/// Something that a person must look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matter {
    pub(super) why: Why,
    /// Kind word, publisher and key of the aggregate.
    pub(super) kind: String,
    pub(super) publisher: String,
    pub(super) key: String,
}

/// Opens a review, where none of the same matter is open.
pub(super) fn open(connection: &Connection, matter: &Matter, (seq, child): (i64, i64), now_us: i64) -> rusqlite::Result<()> {
    let Matter { why, kind, publisher, key } = matter;
    let sql = "INSERT INTO review(seq, child, kind, publisher, key, code, opened_us) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
        WHERE NOT EXISTS (SELECT 1 FROM review WHERE child = ?2 AND kind = ?3 AND publisher = ?4 AND key = ?5 AND code = ?6 AND closed_us IS NULL)";
    connection.prepare_cached(sql)?.execute(params![seq, child, kind, publisher, key, why.code(), now_us]).map(drop)
}

/// Closes what a later message settled.
pub(super) fn settle(connection: &Connection, matter: &Matter, (seq, child): (i64, i64), now_us: i64) -> rusqlite::Result<()> {
    let Matter { why, kind, publisher, key } = matter;
    let sql = "UPDATE review SET closed_us = ?1, closed = ?2
        WHERE child = ?3 AND kind = ?4 AND publisher = ?5 AND key = ?6 AND code = ?7 AND closed_us IS NULL";
    let settled = format!("settled by message {seq}");
    connection.prepare_cached(sql)?.execute(params![now_us, settled, child, kind, publisher, key, why.code()]).map(drop)
}

/// True while a person must look at something of this kind of the child.
pub(super) fn is_open(connection: &Connection, child: i64, kind: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM review WHERE child = ?1 AND kind = ?2 AND closed_us IS NULL";
    connection.prepare_cached(sql)?.exists(params![child, kind])
}

impl LedgerReader {
    /// What was filed and must be looked at, oldest first; with a child's id only its own.
    pub fn reviews(&self, child: Option<&str>) -> Result<Vec<ReviewRow>, StoreError> {
        // A ledger that no newer program has written to has none.
        if !self.has_table("review")? {
            return Ok(Vec::new());
        }
        // Of one child by its index: with many open questions the others are not gone through.
        let of = if child.is_some() { "r.child = (SELECT id FROM child WHERE uuid = ?1)" } else { "?1 IS NULL" };
        let sql = format!(
            "SELECT r.id, r.seq, c.uuid, r.kind, r.publisher, r.key, r.code, r.opened_us FROM review r JOIN child c ON c.id = r.child
            WHERE r.closed_us IS NULL AND {of} ORDER BY r.id"
        );
        let child = child.map(|child| Uuid::parse_str(child).map(|child| child.as_bytes().to_vec()).unwrap_or_default());
        self.list(&sql, [child], |row| {
            let uuid: Vec<u8> = row.get(2)?;
            Ok(ReviewRow {
                review: row.get(0)?,
                seq: row.get(1)?,
                child: Uuid::from_slice(&uuid).map(|uuid| uuid.to_string()).unwrap_or_default(),
                kind: row.get(3)?,
                publisher: row.get(4)?,
                key: row.get(5)?,
                code: row.get(6)?,
                opened: super::reader::moment(row.get(7)?),
            })
        })
    }
}

impl Ledger {
    /// Notes that a person has looked; `reason` says what came of it.
    pub async fn close_review(&self, review: i64, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let reason = reason.to_owned();
        self.act(Box::new(move |connection| {
            let sql = "UPDATE review SET closed_us = ?1, closed = ?2 WHERE id = ?3 AND closed_us IS NULL";
            connection.execute(sql, params![now.as_microsecond(), reason, review])?;
            super::writer::audit(connection, now, "close-review", &review.to_string(), &reason)
        }))
        .await
    }
}
