//! What is owed to whom: debts, lanes, when to try again.
//!
//! # Invariants
//!
//! - A [`FiledEvent`] never changes once made: each attempt renders the same bytes from it.
//! - A lane is one child at one destination, strictly first in, first out: a debt that waits or is held lets no later
//!   debt of that child pass, and no other child wait.
//! - `why` of a [`Settlement`] holds statuses and kinds of failure, nothing that a receiver or a message said.
//!
//! # Not here
//!
//! No SQL, no sockets, no clock: debts are kept by `store` and paid by `destinations`.

mod breaker;

use std::time::Duration;

pub use breaker::{Breaker, Circuit, FAILURES_MAX, Outage, REST_MAX};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canon::{Child, Statement};
use crate::names::{ChildId, DestinationName, EventId, Seq, SourceName};

/// A canonical event as it was filed: what every destination renders from. Never changes once made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiledEvent {
    /// Stable id: the same entry filed again gives the same.
    pub event: EventId,
    /// The entry.
    pub seq: Seq,
    /// Who sent it.
    pub source: SourceName,
    /// The sender's own id of the message.
    pub control_id: String,
    /// The child.
    pub child_id: ChildId,
    /// Version of the child's record after this event, from 1.
    pub version: i64,
    /// When it was filed.
    pub filed: Timestamp,
    /// True where an event with a later ordering key was there before: kept, without effect on the aggregate.
    #[serde(default)]
    pub superseded: bool,
    /// What was said.
    pub statement: Statement,
    /// The record after it, hub included.
    pub record: Child,
}

/// Something owed to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// Order within the destination.
    pub id: i64,
    /// Whom.
    pub destination: DestinationName,
    /// Whose lane.
    pub child: ChildId,
    /// What.
    pub event: EventId,
    /// From which entry.
    pub seq: Seq,
    /// Tried so often.
    pub attempts: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver has it.
    Delivered,
    /// The receiver had something newer.
    Superseded,
    /// It may no longer be said: what allowed it has ended since the debt was made.
    Withdrawn {
        /// The rule that forbids it now.
        rule: &'static str,
    },
    /// For now not; the lane waits `after_ms`. `why` holds no answer of the receiver, only status and kind.
    Retry {
        /// Milliseconds.
        after_ms: u64,
        /// `HTTP 503`, `connection refused`.
        why: String,
    },
    /// Never as it is; the lane stands until a person looks.
    Held {
        /// `HTTP 422`.
        why: String,
    },
}

/// How an attempt at a debt ended, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The debt.
    pub debt: i64,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// The end.
    pub settlement: Settlement,
    /// Digest of what was sent, where it is not what was rendered when the debt was made.
    pub sent: Option<[u8; 32]>,
    /// Control ids under which messages were sent again by force, each with the one that the message had at first.
    pub renamed: Vec<(String, String)>,
}

impl From<(i64, u32, Settlement)> for Settled {
    fn from((debt, attempts, settlement): (i64, u32, Settlement)) -> Self {
        Self { debt, attempts, settlement, sent: None, renamed: Vec::new() }
    }
}

impl Settlement {
    /// True where the receiver may have it, whatever it answered: what was refused before a word of it was read has not arrived.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Delivered | Self::Superseded => true,
            Self::Withdrawn { .. } | Self::Held { .. } => false,
            Self::Retry { why, .. } => {
                !["connection refused", "no connection", "TLS", "HTTP 3", "HTTP 4", "token"].iter().any(|not| why.starts_with(not))
            }
        }
    }
}

/// Wait after an attempt that failed; `attempts` is how many there were before it. 1 s doubling to 10 min, of which half
/// always and half by `jitter` (0 to 1000): never at once, and never all together (destination rules, section 1).
pub fn backoff(attempts: u32, jitter: u32) -> Duration {
    let ceiling = Duration::from_secs(1).saturating_mul(1_u32.checked_shl(attempts.min(10)).unwrap_or(1024)).min(Duration::from_secs(600));
    (ceiling / 2).saturating_add((ceiling / 2).saturating_mul(jitter.min(1000)) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_a_second_to_ten_minutes_and_never_beyond() {
        let waits: Vec<u64> = (0..12).map(|attempts| backoff(attempts, 1000).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(backoff(u32::MAX, u32::MAX), Duration::from_secs(600));
    }

    #[test]
    fn jitter_takes_away_no_more_than_half() {
        for attempts in 0..20 {
            let (least, most) = (backoff(attempts, 0), backoff(attempts, 1000));
            assert_eq!(least * 2, most);
            assert!(least < backoff(attempts, 1) && backoff(attempts, 999) < most, "{attempts}");
        }
    }
}
