//! The ledger and the hub stores: the only place that knows SQL.
//!
//! One thread owns the only writing connection ([`Ledger`]). It takes what waits, does it in one transaction, syncs
//! once, and only then answers everyone who waited: one sync pays for hundreds of messages. Readers
//! ([`LedgerReader`]) have connections of their own and never disturb it.
//!
//! - `schema`: tables, opening, checkpoints.
//! - `asked`: what people are asked, read.
//! - `asking`: acts of people, done by the one writer.
//! - `controls`: has this message come before?
//! - `writer`: the loop of the one writer, and the journal it implements.
//! - `filing`: what happens to a read message inside the transaction: which child, which hub, which debts.
//! - `aggregates`: which version of what is said under a publisher's key stands.
//! - `safeguarding`: child protection facts, apart from everything else.
//! - `misses`: codes that no table knows.
//! - `desk`: what a person may decide of identity, and what is asked of a person.
//! - `documents`: contents of documents, by their hash.
//! - `reviews`: what was filed and must still be looked at by a person.
//! - `apart`: entries that listings say nothing of.
//! - `parents`: what else on record forbids telling parents, what accounts were sent, what a hub released.
//! - `index`: identity's view of the children.
//! - `kin`: mothers and details, by which a child is found without an identifier of its own.
//! - `mothers`: what is said of a mother herself.
//! - `files`: which entry stands at which place of which file.
//! - `retry`: messages that wait for their child.
//! - `failsafe`: when a child is looked at again, where its clocks stood, its open tasks.
//! - `due`: what is late, for lists and reports.
//! - `event_row`: the number of an event's row: which entry, which statement.
//! - `reader`: listings, traces, the account.
//! - `survey`: the whole of a ledger and of a hub's store, row by row.
//! - `transfers`: what hubs are told when a child moves, and who was responsible since when.
//! - `births`: births of the day. `movers`: children that somebody has to take on. `calendar`: daily jobs that were done.
//! - `assign`: hubs decided by hand, and looking at everybody again. `own`: entries of the broker's own.
//! - `newborns`: the end of the first 28 days. `unread`: records that cannot be read.
//! - `debts`: how a debt is made, which is next, how attempts end. `receivers`: how receivers stand. `replays`: what is sent again.
//! - `edits`: held messages that a person mended.
//! - `hub`: a hub's own child health store, a SQLite file or a PostgreSQL database.

mod aggregates;
mod apart;
mod asked;
mod asking;
mod assign;
mod births;
mod calendar;
mod controls;
mod debts;
mod desk;
mod files;
mod documents;
mod due;
mod edits;
mod event_row;
mod failsafe;
mod filing;
mod folder;
mod folding;
mod hub;
mod index;
mod kin;
mod misses;
mod mothers;
mod movers;
mod own;
mod newborns;
mod parents;
mod reader;
mod receivers;
mod replays;
mod retry;
mod reviews;
mod rows;
mod safeguarding;
mod schema;
mod survey;
mod transfers;
mod unread;
mod writer;

pub use asked::Candidate;
pub use assign::{Applied, AssignAct, AssignEffect, JOB_BATCH, JobRow, ReassignLine, ReassignPlan};
pub use births::{BIRTHS_JOB, BirthRow, BirthsList, Listed, UnknownRow};
pub use debts::{AttemptRow, HeldAct, HeldDebts, HeldEffect, HeldGroup};
pub use desk::{ChildEffect, DESK, DeskAct, Effect, IdentityItem, SEALED_ROLE};
pub use documents::KeptDocument;
pub use due::{ClockStep, DueRow, HeldCount, MoveRow};
pub use failsafe::{ClockChange, Look, LookedAt, OpenClock, OpenTask, TASK_SOURCE, TaskAct};
pub use files::Outcome;
pub use filing::{DestinationRule, FilingRules, Prepared, PreparedOutcome, Recipient};
pub use hub::{CaseloadLine, ChildFile, FindBy, HubReader, HubStore, PostgresAt, Read, StoreAt, UptakeLine, hub_births, hub_export};
pub use newborns::{NEWBORNS_JOB, NewbornsEnded};
pub use parents::About;
pub use reader::{LedgerReader, OwedDebt, UnfiledEntry};
pub use receivers::{LOOKED_AT_MAX, PauseEffect, Queue, ReceiverRow, WaitingDebt};
pub use replays::{ReplayBatch, ReplayLine, ReplayOrder, ReplayPlan, ReplayQuery, ReplayRow, RunningReplay};
pub use retry::{ReadAgain, WAITED};
pub use rows::*;
pub use survey::{
    BreachSurvey, EntrySurvey, EventSurvey, StoredBirth, StoredEvent, survey_store_births, survey_store_children, survey_store_events,
};
pub use transfers::{Moved, Role, StoreDelivery, Transfer, Way};
pub use writer::{Ledger, LedgerConfig, Made};

/// Names under which the broker writes entries of its own; no sender may have one of them.
pub const OWN_SOURCES: [&str; 3] = [own::SOURCE, DESK, TASK_SOURCE];

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_alias;
#[cfg(test)]
pub(crate) mod tests_debts;
#[cfg(test)]
mod tests_filing;
#[cfg(test)]
mod tests_hubs;
#[cfg(test)]
mod tests_identity;
#[cfg(test)]
mod tests_parents;
#[cfg(test)]
mod tests_scale;
