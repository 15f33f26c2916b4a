//! The broker's memory: every message that came, in order, on disk before the sender is told.
//!
//! # Invariants
//!
//! - A [`Receipt`] exists only for bytes that survive a power cut.
//! - Seq never repeats and never skips: entry `n + 1` was appended after entry `n`.
//! - Each entry ends in exactly one [`Standing`] other than waiting.
//!
//! # Not here
//!
//! The journal does not parse. What cannot be read today can be mapped tomorrow.

use std::future::Future;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::{Format, Seq, SourceName};

/// What intake decided before anything was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// To be mapped and filed.
    Accepted,
    /// Answered with a refusal; the body is kept. Code as answered and reason, `AR 201 event not supported`: nothing from inside the message.
    Refused(String),
    /// Kept and never filed: an ACK, a rule of the source. The reason.
    Ignored(String),
}

/// A message to be remembered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who sent it; `unknown` where no source fits.
    pub source: SourceName,
    /// Dialect.
    pub format: Format,
    /// `ADT^A28`, `pds-birth-notification-1`; empty where it could not be read.
    pub kind: String,
    /// MSH-10, MessageHeader.id; empty where it could not be read.
    pub control_id: String,
    /// As received.
    pub body: Bytes,
    /// When the last byte came.
    pub arrived: Timestamp,
    /// Accepted, refused, ignored.
    pub admission: Admission,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Accepted, its turn has not come.
    Waiting,
    /// Its statements are in the record and its debts are made.
    Filed,
    /// A person must look.
    Held,
    /// Answered with a refusal.
    Refused,
    /// Came before, byte for byte.
    Duplicate,
    /// Nothing for us, by rule.
    Ignored,
}

impl Standing {
    /// The word in listings and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Filed => "filed",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
        }
    }
}

/// Proof that an entry is on disk. Only a journal can make one; intake cannot say "accepted" without one.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    seq: Seq,
    duplicate_of: Option<Seq>,
}

impl Receipt {
    /// For journals, after the commit that holds the entry.
    pub fn after_commit(seq: Seq, duplicate_of: Option<Seq>) -> Self {
        Self { seq, duplicate_of }
    }
    /// The entry's place.
    pub fn seq(&self) -> Seq {
        self.seq
    }
    /// The entry that had the same source, control id and bytes.
    pub fn duplicate_of(&self) -> Option<Seq> {
        self.duplicate_of
    }
}

/// SHA-256 of a file's name and content: which file. The same file under the same name is the same file, however often it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileMark(pub [u8; 32]);

/// Where in a file an entry stands: its number among the messages of the file, or its first line. Numbers of a file grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileMark,
    /// From 1.
    pub number: i64,
}

/// Why an entry could not be kept. None of these is the sender's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// No room on the disk.
    #[error("no room on the disk of the ledger; make room and it goes on by itself")]
    Full,
    /// A write or sync failed; the broker stops.
    #[error("the ledger could not be written; the broker stops rather than lie")]
    Broken,
    /// Shutting down.
    #[error("the broker is draining; send again in a moment")]
    Draining,
}

/// What intake needs of durable memory, and no more.
pub trait Journal: Clone + Send + Sync + 'static {
    /// Returns once `entry` would survive pulling the plug. Waits when the queue before the writer is full.
    fn append(&self, entry: Entry) -> impl Future<Output = Result<Receipt, JournalError>> + Send;

    /// As [`Journal::append`], for an entry out of a file. What was appended under this place before gives its receipt and changes
    /// nothing, also after a crash: a file may be read again from its start.
    fn append_placed(&self, entry: Entry, place: Place) -> impl Future<Output = Result<Receipt, JournalError>> + Send;

    /// Waits for the outcome of an accepted entry, at most `patience`: for sources with `answer = "filed"`.
    /// `Standing::Waiting` means that it was not known in time.
    fn outcome(&self, seq: Seq, patience: std::time::Duration) -> impl Future<Output = Standing> + Send;
}
