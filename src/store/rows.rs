//! What reading commands and the admin door are given: rows of the ledger as plain structs.

use serde::Serialize;


/// The ledger could not be opened or read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    /// What is wrong and what would help.
    pub text: String,
    /// Exit code of `operations`: 65 damaged or newer, 66 missing, 74 I/O, 75 locked.
    pub exit: u8,
}

/// Which entries to list.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Only this source.
    pub source: Option<String>,
    /// Only this standing (its word).
    pub standing: Option<String>,
    /// Only this type.
    pub kind: Option<String>,
    /// Newest first, at most so many (default 50).
    pub limit: Option<usize>,
    /// Only seq smaller than this (paging).
    pub before: Option<i64>,
}

/// One entry in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct EntryRow {
    /// Place in the journal: the message id in all commands.
    pub seq: i64,
    /// RFC 3339.
    pub arrived: String,
    /// Who sent it.
    pub source: String,
    /// Dialect.
    pub format: String,
    /// `ADT^A28`.
    pub kind: String,
    /// MSH-10.
    pub control_id: String,
    /// Standing.
    pub standing: String,
    /// Why (held, refused, ignored: a stable reason; duplicate: of which entry).
    pub reason: String,
    /// Body bytes as received.
    pub bytes: i64,
}

/// One event of an entry.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// Stable id.
    pub event: String,
    /// The child.
    pub child: String,
    /// Kind word.
    pub kind: String,
    /// Event time, RFC 3339.
    pub at: String,
    /// Hub after it.
    pub hub: String,
    /// Ground.
    pub basis: String,
    /// Evidence of the match, as JSON.
    pub evidence: serde_json::Value,
    /// Stored without effect because something later was known.
    pub superseded: bool,
}

/// One debt.
#[derive(Clone, Debug, Serialize)]
pub struct DebtRow {
    /// Debt id.
    pub debt: i64,
    /// Whom.
    pub destination: String,
    /// The event.
    pub event: String,
    /// `pending`, `delivered`, `superseded`, `withdrawn`, `held`.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// Last answer, `HTTP 503`.
    pub why: String,
    /// When it was settled.
    pub settled: Option<String>,
}

/// What became of one entry.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// The entry.
    pub entry: EntryRow,
    /// Which mapping and bundle spoke.
    pub mapping: Option<String>,
    /// Hash of the bundle.
    pub bundle: Option<String>,
    /// Findings (may quote the message).
    pub findings: serde_json::Value,
    /// Events.
    pub events: Vec<EventRow>,
    /// Debts.
    pub debts: Vec<DebtRow>,
    /// Destinations that were owed nothing, and the rule: `[destination, rule]`.
    pub withheld: Vec<(String, String)>,
}

/// One child.
#[derive(Clone, Debug, Serialize)]
pub struct ChildView {
    /// Our id.
    pub child: String,
    /// Version.
    pub version: i64,
    /// Merged record.
    pub record: serde_json::Value,
    /// Who said what when.
    pub said: serde_json::Value,
    /// Events, oldest first, with the entry's seq.
    pub events: Vec<(i64, EventRow)>,
}

/// One held entry.
#[derive(Clone, Debug, Serialize)]
pub struct HeldRow {
    /// The entry.
    pub entry: EntryRow,
    /// Findings that hold it.
    pub findings: serde_json::Value,
}

/// Received and owed, and whether the sums agree.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciliation {
    /// One line for each day and source.
    pub lines: Vec<ReconciliationLine>,
    /// Entries in no state: must be 0.
    pub unaccounted: i64,
    /// Debts pending or held, and entries waiting.
    pub undelivered: i64,
    /// Debts in no state or events without their debts: must be 0.
    pub unaccounted_debts: i64,
}

/// The account of one day and source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReconciliationLine {
    /// London date of arrival.
    pub day: String,
    /// Source.
    pub source: String,
    /// Entries.
    pub received: i64,
    /// Filed.
    pub filed: i64,
    /// Held.
    pub held: i64,
    /// Refused.
    pub refused: i64,
    /// Duplicate.
    pub duplicate: i64,
    /// Ignored.
    pub ignored: i64,
    /// Accepted, not yet filed.
    pub waiting: i64,
    /// Debts made.
    pub owed: i64,
    /// Delivered.
    pub delivered: i64,
    /// Superseded.
    pub superseded: i64,
    /// Withdrawn by a person.
    pub withdrawn: i64,
    /// Pending or held.
    pub pending: i64,
}
