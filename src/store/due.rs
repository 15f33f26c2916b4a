//! What is late or near, for lists and reports; read only.

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::params;
use serde::Serialize;
use uuid::Uuid;

use super::failsafe::OpenClock;
use super::reader::{LedgerReader, moment};
use super::rows::StoreError;
use crate::failsafe::ClockState;
use crate::names::{ChildId, HubName};

/// A clock that somebody must see, of which child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// The child.
    pub child: ChildId,
    /// The clock.
    pub clock: OpenClock,
}

/// A child that came to another hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveRow {
    /// The child.
    pub child: ChildId,
    /// From which hub.
    pub from: HubName,
    /// To which.
    pub to: HubName,
}

/// Held messages by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCount {
    /// Stable code.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// A step in the history of a child's clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStep {
    /// The clock.
    pub kind: String,
    /// Before.
    pub was: String,
    /// After.
    pub became: String,
    /// Why.
    pub reason: String,
    /// The message.
    pub by: Option<i64>,
    /// When it was seen, RFC 3339.
    pub at: String,
}

fn child_of(bytes: &[u8]) -> ChildId {
    ChildId(Uuid::from_slice(bytes).unwrap_or_default())
}

impl LedgerReader {
    /// Says so where the ledger was made before there was a failsafe and no broker has opened it since.
    pub fn keeps_clocks(&self) -> Result<(), StoreError> {
        if self.has_table("watch")? {
            return Ok(());
        }
        Err(StoreError { text: "this ledger keeps no clocks yet: start the broker once".into(), exit: 66 })
    }

    /// Clocks of a hub that somebody must see: all, or those of one kind; what is late longest comes first.
    pub fn open_clocks(&self, hub: &HubName, kind: Option<&str>) -> Result<Vec<DueRow>, StoreError> {
        let sql = "SELECT c.uuid, o.kind, o.state, o.owner, o.started_us, o.warn_us, o.due_us, o.breach_us, o.reason
            FROM clock_open o JOIN child c ON c.id = o.child WHERE o.hub = ?1 AND (?2 IS NULL OR o.kind = ?2)
            ORDER BY coalesce(o.breach_us, o.due_us, o.started_us), o.child, o.kind";
        let us = |us: Option<i64>| us.and_then(|us| Timestamp::from_microsecond(us).ok());
        self.list(sql, params![hub.as_str(), kind], |row| {
            let clock = OpenClock {
                kind: row.get(1)?,
                state: ClockState::from_word(&row.get::<_, String>(2)?).unwrap_or_default(),
                owner: row.get(3)?,
                started: us(row.get(4)?).unwrap_or_default(),
                warn_at: us(row.get(5)?),
                due_at: us(row.get(6)?),
                breach_at: us(row.get(7)?),
                reason: row.get(8)?,
            };
            Ok(DueRow { child: child_of(&row.get::<_, Vec<u8>>(0)?), clock })
        })
    }

    /// Rows of children of a hub whose clocks stand, or may stand, otherwise at `at` than they do now: changes by time until then, and
    /// changes that were seen since; and those that are listed.
    pub fn children_to_judge(&self, hub: &HubName, at: Timestamp) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT child FROM watch WHERE hub = ?1 AND due_us <= ?2
            UNION SELECT child FROM clock_open WHERE hub = ?1
            UNION SELECT x.child FROM clock_change x JOIN watch w ON w.child = x.child WHERE x.at_us > ?2 AND w.hub = ?1 ORDER BY 1";
        self.list(sql, params![hub.as_str(), at.as_microsecond()], |row| row.get(0))
    }

    /// Children of a hub born on a day.
    pub fn born_on(&self, hub: &HubName, day: Date) -> Result<Vec<ChildId>, StoreError> {
        let sql = "SELECT c.uuid FROM watch w JOIN child c ON c.id = w.child WHERE w.hub = ?1 AND w.born = ?2 AND c.status <> 'merged' ORDER BY c.id";
        self.list(sql, params![hub.as_str(), day.to_string()], |row| Ok(child_of(&row.get::<_, Vec<u8>>(0)?)))
    }

    /// Children that came to another hub between two moments.
    pub fn moves_between(&self, from: Timestamp, to: Timestamp) -> Result<Vec<MoveRow>, StoreError> {
        let sql = "SELECT c.uuid, m.from_hub, m.to_hub FROM hub_move m JOIN child c ON c.id = m.child WHERE m.at_us >= ?1 AND m.at_us < ?2 ORDER BY m.id";
        self.list(sql, [from.as_microsecond(), to.as_microsecond()], |row| {
            let (from, to) = (HubName::new(row.get::<_, String>(1)?), HubName::new(row.get::<_, String>(2)?));
            Ok(MoveRow { child: child_of(&row.get::<_, Vec<u8>>(0)?), from, to })
        })
    }

    /// Held messages by reason.
    pub fn held_by_reason(&self) -> Result<Vec<HeldCount>, StoreError> {
        let sql = "SELECT reason, count(*) FROM standing WHERE state = 'held' GROUP BY reason ORDER BY reason";
        self.list(sql, [], |row| Ok(HeldCount { reason: row.get(0)?, count: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0) }))
    }

    /// The history of a child's clocks, oldest first.
    pub fn clock_history(&self, row: i64) -> Result<Vec<ClockStep>, StoreError> {
        let sql = "SELECT kind, was, became, reason, by_seq, at_us FROM clock_change WHERE child = ?1 ORDER BY id";
        self.list(sql, [row], |row| {
            Ok(ClockStep {
                kind: row.get(0)?,
                was: row.get(1)?,
                became: row.get(2)?,
                reason: row.get(3)?,
                by: row.get(4)?,
                at: moment(row.get(5)?),
            })
        })
    }
}
