//! What a person may decide of identity, what is asked of a person, and what an act does: plain values.
//!
//! # In the ledger
//!
//!     decision      what a person said of a held entry; it holds whenever the entry is filed again
//!     identity_item what a person should look at beside held entries, open until somebody closes it
//!     two_children  two records of which a person said that they are two children
//!     before_merge  what two records were before they became one
//!     detached      identifiers that were taken off a record, which event had linked them, and which took them off
//!
//! # Not here
//!
//! Doing it: `filing/acts.rs`, `filing/unmerge.rs`, `filing/seal.rs`, inside the writer's transaction.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::filing::Prepared;
use super::parents::About;
use crate::names::ChildId;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS decision(seq INTEGER PRIMARY KEY, child INTEGER NOT NULL, at_us INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS identity_item(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, child INTEGER NOT NULL, seq INTEGER NOT NULL,
    at_us INTEGER NOT NULL, closed_us INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS identity_item_open ON identity_item(id) WHERE closed_us IS NULL;
CREATE TABLE IF NOT EXISTS two_children(one INTEGER NOT NULL, other INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(one, other)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS before_merge(child INTEGER PRIMARY KEY, survivor INTEGER NOT NULL, event INTEGER NOT NULL,
    survivor_version INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS detached(id INTEGER PRIMARY KEY, child INTEGER NOT NULL, system TEXT NOT NULL, value TEXT NOT NULL,
    linked INTEGER NOT NULL, event INTEGER NOT NULL, at_us INTEGER NOT NULL) STRICT;
";

/// The role whose work list has what is said under the identifiers of a sealed record (identity rules, section 8).
pub const SEALED_ROLE: &str = "sealed-records";

/// The source of the entries that acts of people make in the journal.
pub const DESK: &str = "identity-desk";

/// What a person decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeskAct {
    /// These two are one child; the first goes on.
    Link {
        /// Goes on.
        survivor: ChildId,
        /// Is kept, and sends on.
        other: ChildId,
        /// Also where both have a verified NHS number and they differ.
        #[serde(default)]
        although_numbers_differ: bool,
    },
    /// The merge that made this record a part of another one is taken back.
    Unlink {
        /// The record that sends on.
        other: ChildId,
    },
    /// An identifier of this record is another person's: it is taken off.
    Detach {
        /// The record.
        child: ChildId,
        /// Which system the identifier is of; none where the child has its value once.
        #[serde(default)]
        system: Option<String>,
        /// Its value.
        value: String,
    },
    /// These two are two children, whatever a message says.
    Apart {
        /// One.
        one: ChildId,
        /// The other.
        other: ChildId,
    },
    /// A held entry is filed: under this child, or with none as a new one.
    File {
        /// The entry.
        seq: i64,
        /// Whose it is.
        under: Option<ChildId>,
    },
    /// A held entry is never filed.
    Discard {
        /// The entry.
        seq: i64,
    },
    /// Somebody looked at an item; what it kept back is let go.
    Close {
        /// The item.
        item: i64,
    },
    /// An adoption, or a new identity on request: the record is closed and led to by nothing (identity rules, section 8).
    Seal {
        /// The record.
        child: ChildId,
    },
    /// A person told the parents of what is held back of a kind: their accounts may be sent it, as far as it was on record that day.
    Inform {
        /// The child.
        child: ChildId,
        /// Of what.
        about: About,
        /// The day on which they were told, in London.
        told: jiff::civil::Date,
    },
}

impl DeskAct {
    /// The word in the audit.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Link { .. } => "identity-link",
            Self::Unlink { .. } => "identity-unlink",
            Self::Detach { .. } => "identity-unlink-alias",
            Self::Apart { .. } => "identity-apart",
            Self::File { under: Some(_), .. } => "identity-file-under",
            Self::File { under: None, .. } => "identity-file-new",
            Self::Discard { .. } => "identity-discard",
            Self::Close { .. } => "identity-close",
            Self::Seal { .. } => "seal",
            Self::Inform { .. } => "parents-informed",
        }
    }

    /// What it is about, by our own ids.
    pub fn what(&self) -> String {
        match self {
            Self::Link { survivor, other, .. } => format!("children {survivor} {other}"),
            Self::Unlink { other } | Self::Seal { child: other } => format!("child {other}"),
            Self::Detach { child, .. } => format!("child {child}, one identifier"),
            Self::Inform { child, about, told } => format!("child {child}, {}, told on {told}", about.word()),
            Self::Apart { one, other } => format!("children {one} {other}"),
            Self::File { seq, under: Some(child) } => format!("message {seq}, child {child}"),
            Self::File { seq, under: None } | Self::Discard { seq } => format!("message {seq}"),
            Self::Close { item } => format!("item {item}"),
        }
    }

    /// True for acts that leave an event of their own, and so an entry in the journal.
    pub(super) fn is_an_entry(&self) -> bool {
        matches!(
            self,
            Self::Link { .. } | Self::Unlink { .. } | Self::Detach { .. } | Self::Seal { .. } | Self::Close { .. } | Self::Inform { .. }
        )
    }
}

/// One record before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChildEffect {
    /// Our id.
    pub child: String,
    /// Status and hub before; empty for a new child.
    pub before: String,
    /// Status and hub after.
    pub after: String,
    /// The version of the record after it.
    pub version: i64,
}

/// What an act did, or with `--dry-run` would do. Quotes no value out of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// It was done, and not only tried.
    pub done: bool,
    /// In words.
    pub text: Vec<String>,
    /// The records it changes.
    pub children: Vec<ChildEffect>,
    /// Destinations that are told.
    pub told: Vec<String>,
}

/// Something a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityItem {
    /// `12` for a message, `item-3` beside messages: what the commands take.
    pub item: String,
    /// `unmatched`, `identity-conflict`, …, `possible-match`, `sex-differs`, `birth-or-death`, `unmerge-unplaced`, `mother-moved`,
    /// `born-dead`, `two-mothers`, `alias-unlinked`, `record-unreadable`.
    pub kind: String,
    /// The entry.
    pub seq: i64,
    /// Who sent it.
    pub source: String,
    /// Type of the message.
    pub message: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// The child it is about, where one is known.
    pub child: Option<String>,
    /// Until when it is tried again by itself; nobody has to look before.
    pub waits_until: Option<String>,
    /// In whose work list it is; everybody's where there is none.
    pub role: Option<String>,
}

/// What a person said of a held entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is this child's: its row.
    Under(i64),
    /// It is nobody's on record.
    New,
}

/// What was decided of an entry that is filed again; nothing for one that comes for the first time.
pub(super) fn decided(connection: &Connection, prepared: &Prepared) -> rusqlite::Result<Option<Decision>> {
    if prepared.released_by.is_none() {
        return Ok(None);
    }
    let sql = "SELECT child FROM decision WHERE seq = ?1";
    let child: Option<i64> = connection.prepare_cached(sql)?.query_row([prepared.seq.0], |row| row.get(0)).optional()?;
    Ok(child.map(|child| if child == 0 { Decision::New } else { Decision::Under(child) }))
}

/// Notes something that a person should look at, once while it is open.
pub(super) fn ask(connection: &Connection, kind: &str, child: i64, seq: i64, at_us: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO identity_item(kind, child, seq, at_us) SELECT ?1, ?2, ?3, ?4
        WHERE NOT EXISTS (SELECT 1 FROM identity_item WHERE closed_us IS NULL AND kind = ?1 AND child = ?2 AND seq = ?3)";
    connection.prepare_cached(sql)?.execute(params![kind, child, seq, at_us]).map(drop)
}

/// True where a person was asked this of a child and has not answered, or was asked since then.
pub(super) fn was_asked(connection: &Connection, kind: &str, child: i64, since_us: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM identity_item WHERE kind = ?1 AND child = ?2 AND (closed_us IS NULL OR ?3 < at_us)";
    connection.prepare_cached(sql)?.exists(params![kind, child, since_us])
}

/// True where a person said that these are two children.
pub(super) fn are_apart(connection: &Connection, one: i64, other: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM two_children WHERE one = ?1 AND other = ?2";
    connection.prepare_cached(sql)?.exists([one.min(other), one.max(other)])
}

/// Keeps that these are two children. `seq`: the entry of the act, 0 where it left none.
pub(super) fn keep_apart(connection: &Connection, one: i64, other: i64, seq: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO two_children(one, other, seq) VALUES(?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute([one.min(other), one.max(other), seq]).map(drop)
}

/// What could not be done, for the person who asked.
pub(super) fn refused(exit: u8, text: impl Into<String>) -> StoreError {
    StoreError { text: text.into(), exit }
}
