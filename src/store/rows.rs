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
    /// Attempts as far as they are kept; in a trace only.
    pub tried: Vec<super::AttemptRow>,
    /// Where a job sends again what was owed before; in a trace only.
    pub again: Option<SentAgain>,
}

/// Why something is owed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SentAgain {
    /// The job.
    pub job: i64,
    /// The debt that was sent before; none where this destination was never owed it.
    pub of_debt: Option<i64>,
    /// Sent though the receiver has it.
    pub forced: bool,
    /// Of HL7 v2, where it was sent under control ids of its own: MSH-10 of each message.
    pub renamed: Vec<Renamed>,
}

/// A message that was sent again under another control id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// MSH-10 now.
    pub control_id: String,
    /// MSH-10 at first.
    pub before: String,
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
    /// The message that this one is a mended copy of.
    pub copy_of: Option<i64>,
    /// Mended copies of it.
    pub copies: Vec<i64>,
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
    /// Words that do not stand, and words that are shown otherwise than they were said.
    pub kept: serde_json::Value,
    /// What stands under publishers' keys, tombstones too; child protection facts are not among them.
    pub aggregates: Vec<AggregateRow>,
    /// The blood spot outcome that counts, for each condition.
    pub outcomes: std::collections::BTreeMap<String, crate::canon::CurrentOutcome>,
    /// What of it a person must look at.
    pub reviews: Vec<ReviewRow>,
    /// Events, oldest first, with the entry's seq. Those that came for child protection facts alone are not among them.
    pub events: Vec<(i64, EventRow)>,
}

/// An aggregate as it stands: a screen, a vaccination, a review, an appointment, …
#[derive(Clone, Debug, Serialize)]
pub struct AggregateRow {
    /// Kind word.
    pub kind: String,
    /// Who publishes it.
    pub publisher: String,
    /// The publisher's key.
    pub key: String,
    /// Event time of the newest version, RFC 3339.
    pub at: String,
    /// The entries of the versions that make it up, oldest first.
    pub seqs: Vec<i64>,
    /// Taken back: a tombstone.
    pub deleted: bool,
    /// Lists of a statement with what stands; null where the events cannot be read.
    pub content: serde_json::Value,
}

/// Child protection facts under one key of a publisher.
#[derive(Clone, Debug, Serialize)]
pub struct SafeguardingRow {
    /// Who publishes them.
    pub publisher: String,
    /// The publisher's key.
    pub key: String,
    /// Event time, RFC 3339.
    pub at: String,
    /// The entry.
    pub seq: i64,
    /// Taken back: a tombstone.
    pub deleted: bool,
    /// The facts.
    pub facts: serde_json::Value,
}

/// One held entry.
#[derive(Clone, Debug, Serialize)]
pub struct HeldRow {
    /// The entry.
    pub entry: EntryRow,
    /// Findings that hold it.
    pub findings: serde_json::Value,
}

/// Something that was filed and that a person must look at.
#[derive(Clone, Debug, Serialize)]
pub struct ReviewRow {
    /// Its number.
    pub review: i64,
    /// The entry that raised it.
    pub seq: i64,
    /// The child.
    pub child: String,
    /// Kind word of the aggregate.
    pub kind: String,
    /// Who publishes it.
    pub publisher: String,
    /// The publisher's key.
    pub key: String,
    /// Why, a stable code: `wrong-patient`, `takes-back-nothing`, `corrects-nothing`, `outcome-dropped`, `not-read-again`.
    pub code: String,
    /// Since when, RFC 3339.
    pub opened: String,
}

/// A code that no table knows, from one source.
#[derive(Clone, Debug, Serialize)]
pub struct MissRow {
    /// The table.
    pub table: String,
    /// The code, as the table would have to have it.
    pub code: String,
    /// Who sends it.
    pub source: String,
    /// Messages with it.
    pub count: i64,
    /// The first of them.
    pub first_seq: i64,
    /// When it came, RFC 3339.
    pub first: String,
    /// The last of them.
    pub last_seq: i64,
    /// When it came, RFC 3339.
    pub last: String,
    /// Held messages that wait for it now.
    pub waiting: usize,
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

/// A time in which one hub was responsible for a child on one ground.
#[derive(Clone, Debug, Serialize)]
pub struct HubPeriod {
    /// The hub; `OUT` or `UNKNOWN`.
    pub hub: String,
    /// Ground.
    pub basis: String,
    /// Hubs that got copies.
    pub interested: Vec<String>,
    /// Responsible before; empty where nobody was.
    pub before: String,
    /// Event time of what made it so, RFC 3339.
    pub from: String,
    /// Until the next; none where it still is so.
    pub to: Option<String>,
    /// When it was decided, RFC 3339.
    pub at: String,
    /// The entry that made it so.
    pub seq: i64,
    /// A person's reason, where a person decided.
    pub reason: String,
}

/// A birth of which only one side told.
#[derive(Clone, Debug, Serialize)]
pub struct BirthAccount {
    /// Our id of the child.
    pub child: String,
    /// `maternity`, `spine`; `neither` where it was first heard of otherwise.
    pub told_by: String,
    /// ODS code of the place of birth, else the source that told of it.
    pub site: String,
    /// The responsible hub.
    pub hub: String,
    /// When it was told, RFC 3339.
    pub since: String,
    /// The entry that told it.
    pub seq: Option<i64>,
    /// Whole hours since.
    pub hours: i64,
    /// `waiting`, `late`, `overdue`.
    pub state: String,
}

/// A child that moved and that nobody has taken on yet, or that was taken on lately.
#[derive(Clone, Debug, Serialize)]
pub struct MoverRow {
    /// Our id of the child.
    pub child: String,
    /// `in`: came without a record. `out`: left the area of all hubs. `between`: from hub to hub.
    pub way: String,
    /// The hub that has to see to it.
    pub hub: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// What happened.
    pub why: String,
    /// The entry.
    pub seq: i64,
    /// Who has the child now; none while nobody has.
    pub taken_by: Option<String>,
    /// Since when, RFC 3339.
    pub taken: Option<String>,
}
