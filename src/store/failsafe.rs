//! What the failsafe keeps in the ledger: when a child must be looked at again, where its clocks stood, its open tasks.
//!
//! # In the ledger
//!
//!     watch         one row for each child: when it changes next (0: now), and where its clocks stood when it was last looked at
//!     clock_open    clocks that somebody must see: late, near, or not to be observed
//!     clock_change  the history: which clock came to stand otherwise, when, why, by which message
//!     clock_closing clocks that a person ended
//!     task          tasks raised, and how each ended; at most one open for a child and a clock
//!     hub_move      children that came to another hub
//!
//! # Invariants
//!
//! - A filed event marks its child in its own transaction ([`mark`]): no child changes unseen.
//! - What was computed from facts that have changed since is thrown away: `marks` counts, and [`write()`](write_looks) compares.
//! - A task is an entry of our own with its standing, an event and a debt to the hub's store: the account holds for it too.
//! - Nothing here is a fact of the child, but `clock_closing`: all else could be computed again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use uuid::Uuid;

use super::aggregates::{self, Order, Part};
use super::event_row;
use super::own;
use super::reader::LedgerReader;
use super::rows::StoreError;
use super::writer::{Ledger, audit};
use crate::canon::{Action, Child, EventHeader, EventKind, FailsafeTask, Instant, Statement};
use crate::failsafe::{BirthTold, ClockState, Closing, Facts, Said, Stay};
use crate::identity::Record;
use crate::names::{ChildId, DestinationName, EventId, HubName, Seq, SourceName};
use crate::outbox::FiledEvent;
use crate::routing::Directory;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS watch(
    child INTEGER PRIMARY KEY, due_us INTEGER NOT NULL, marks INTEGER NOT NULL, awaits INTEGER NOT NULL, hub TEXT NOT NULL,
    born TEXT NOT NULL, states TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS watch_due ON watch(due_us);
CREATE INDEX IF NOT EXISTS watch_born ON watch(hub, born);
CREATE TABLE IF NOT EXISTS clock_open(
    child INTEGER NOT NULL, kind TEXT NOT NULL, hub TEXT NOT NULL, state TEXT NOT NULL, owner TEXT NOT NULL, started_us INTEGER NOT NULL,
    warn_us INTEGER, due_us INTEGER, breach_us INTEGER, reason TEXT NOT NULL, PRIMARY KEY(child, kind)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS clock_open_hub ON clock_open(hub, kind);
CREATE TABLE IF NOT EXISTS clock_change(
    id INTEGER PRIMARY KEY, child INTEGER NOT NULL, kind TEXT NOT NULL, was TEXT NOT NULL, became TEXT NOT NULL, reason TEXT NOT NULL,
    by_seq INTEGER, at_us INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS clock_change_child ON clock_change(child, id);
CREATE INDEX IF NOT EXISTS clock_change_at ON clock_change(at_us);
CREATE TABLE IF NOT EXISTS clock_closing(
    child INTEGER NOT NULL, kind TEXT NOT NULL, started_us INTEGER NOT NULL, at_us INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY(child, kind, started_us)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS task(
    id INTEGER PRIMARY KEY, child INTEGER NOT NULL, kind TEXT NOT NULL, hub TEXT NOT NULL, owner TEXT NOT NULL, escalation TEXT NOT NULL,
    opened_us INTEGER NOT NULL, closed_us INTEGER, why TEXT NOT NULL, event INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS task_open ON task(child, kind) WHERE closed_us IS NULL;
CREATE TABLE IF NOT EXISTS hub_move(
    id INTEGER PRIMARY KEY, child INTEGER NOT NULL, from_hub TEXT NOT NULL, to_hub TEXT NOT NULL, at_us INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS hub_move_at ON hub_move(at_us);
";

/// Who publishes our tasks, and whose entries they are.
pub const TASK_SOURCE: &str = "broker-failsafe";

/// The child must be looked at: something was filed.
pub(super) fn mark(connection: &Connection, child: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO watch(child, due_us, marks, awaits, hub, born, states) VALUES(?1, 0, 1, 1, '', '', '')
        ON CONFLICT(child) DO UPDATE SET due_us = 0, marks = marks + 1";
    connection.prepare_cached(sql)?.execute([child]).map(drop)
}

/// A debt was paid: a child whose hub had not acknowledged its record is looked at.
pub(super) fn mark_paid(connection: &Connection, debt: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE watch SET due_us = 0, marks = marks + 1 WHERE awaits = 1 AND child = (SELECT child FROM debt WHERE id = ?1)";
    connection.prepare_cached(sql)?.execute([debt]).map(drop)
}

/// Marks the children after `after`, at most `limit` of them; gives the last one, none where there is no more.
pub(super) fn mark_all(connection: &Connection, after: i64, limit: i64) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT max(id) FROM (SELECT id FROM child WHERE id > ?1 ORDER BY id LIMIT ?2)";
    let last: Option<i64> = connection.prepare_cached(sql)?.query_row([after, limit], |row| row.get(0))?;
    if let Some(last) = last {
        let sql = "INSERT INTO watch(child, due_us, marks, awaits, hub, born, states)
            SELECT id, 0, 1, 1, '', '', '' FROM child WHERE id > ?1 AND id <= ?2
            ON CONFLICT(child) DO UPDATE SET due_us = 0, marks = marks + 1";
        connection.prepare_cached(sql)?.execute([after, last])?;
    }
    Ok(last)
}

/// A child as it is looked at: its facts, and what was kept when it was last looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// Row of the child.
    pub row: i64,
    /// The child.
    pub child: ChildId,
    /// Version of its record.
    pub version: i64,
    /// Counts what was filed; compared before anything is written.
    pub marks: i64,
    /// What is known.
    pub facts: Facts,
    /// Where its clocks stood; none: never looked at.
    pub stood: Option<BTreeMap<String, ClockState>>,
    /// The hub that acted when it was last looked at.
    pub acted: Option<HubName>,
    /// Its open tasks.
    pub tasks: Vec<OpenTask>,
}

/// An open task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTask {
    /// Its number.
    pub id: i64,
    /// The clock.
    pub kind: String,
    /// Whose.
    pub hub: HubName,
    /// Which service.
    pub owner: String,
    /// 001, 002, 003.
    pub escalation: String,
}

/// A clock that somebody must see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenClock {
    /// The clock.
    pub kind: String,
    /// `pending`, `breached`, `unobservable`.
    pub state: ClockState,
    /// Which service.
    pub owner: String,
    /// When it began.
    pub started: Timestamp,
    /// From when on it is near.
    pub warn_at: Option<Timestamp>,
    /// The first moment after the target.
    pub due_at: Option<Timestamp>,
    /// The first moment at which it is late.
    pub breach_at: Option<Timestamp>,
    /// Why it stands there.
    pub reason: String,
}

/// A clock that came to stand otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockChange {
    /// The clock.
    pub kind: String,
    /// Before; empty: it was not kept.
    pub was: String,
    /// After; empty: it is not kept any more.
    pub became: String,
    /// Why.
    pub reason: String,
    /// The message.
    pub by: Option<Seq>,
}

/// What is to be done about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskAct {
    /// Raise it, for a hub.
    Open {
        /// The clock.
        kind: String,
        /// Whose.
        hub: HubName,
        /// What it says; its key is given by the ledger.
        task: FailsafeTask,
    },
    /// It says something else now: more urgent, another service, another hub.
    Change {
        /// Its number.
        id: i64,
        /// Whose now.
        hub: HubName,
        /// What it says.
        task: FailsafeTask,
        /// The hub that had it until now, and what it is told.
        left: Option<Box<(HubName, FailsafeTask)>>,
    },
    /// It is over.
    Close {
        /// Its number.
        id: i64,
        /// Whose it was.
        hub: HubName,
        /// What its hub is told; none: nobody may be told anything of this child.
        task: Option<FailsafeTask>,
        /// Why.
        why: String,
    },
}

/// What came of looking at a child.
#[derive(Clone, Debug)]
pub struct LookedAt {
    /// Row of the child.
    pub row: i64,
    /// The child.
    pub child: ChildId,
    /// Version of its record.
    pub version: i64,
    /// As in [`Look`].
    pub marks: i64,
    /// When it must be looked at again.
    pub next: Option<Timestamp>,
    /// Its hub has not acknowledged its record.
    pub awaits: bool,
    /// The hub that acts; empty where none does.
    pub hub: String,
    /// `2026-01-05`, or less where less is known.
    pub born: String,
    /// Where its clocks stand.
    pub states: BTreeMap<String, ClockState>,
    /// Clocks that somebody must see.
    pub open: Vec<OpenClock>,
    /// Clocks that came to stand otherwise.
    pub changes: Vec<ClockChange>,
    /// Tasks.
    pub tasks: Vec<TaskAct>,
    /// It came to another hub: from, to, when.
    pub moved: Option<(HubName, HubName, Timestamp)>,
    /// The record, where a task is told.
    pub record: Option<Child>,
}

impl LookedAt {
    /// A child that could not be looked at.
    pub fn unread(row: i64, marks: i64, next: Option<Timestamp>) -> Self {
        Self {
            row,
            child: ChildId(Uuid::nil()),
            version: 0,
            marks,
            next,
            awaits: false,
            hub: String::new(),
            born: String::new(),
            states: BTreeMap::new(),
            open: Vec::new(),
            changes: Vec::new(),
            tasks: Vec::new(),
            moved: None,
            record: None,
        }
    }
}

const LETTERS: [(ClockState, char); 6] = [
    (ClockState::Pending, 'p'),
    (ClockState::Satisfied, 's'),
    (ClockState::Excluded, 'x'),
    (ClockState::Breached, 'b'),
    (ClockState::Suspended, 'h'),
    (ClockState::Unobservable, 'u'),
];

fn pack(states: &BTreeMap<String, ClockState>) -> String {
    let letter = |state: &ClockState| LETTERS.iter().find(|(known, _)| known == state).map_or('p', |(_, letter)| *letter);
    states.iter().map(|(kind, state)| format!("{kind}:{}", letter(state))).collect::<Vec<_>>().join(" ")
}

fn unpack(text: &str) -> BTreeMap<String, ClockState> {
    let one = |pair: &str| {
        let (kind, letter) = pair.split_once(':')?;
        let state = LETTERS.iter().find(|(_, known)| letter.starts_with(*known))?.0;
        Some((kind.to_owned(), state))
    };
    text.split(' ').filter_map(one).collect()
}

// ---- writing -----------------------------------------------------------------------------------------------------------

/// Writes what came of looking at children; what was filed for one of them meanwhile makes it be looked at again.
pub(super) fn write_looks(
    connection: &Connection,
    looks: &[LookedAt],
    stores: &HashMap<HubName, DestinationName>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    for look in looks {
        let sql = "UPDATE watch SET due_us = ?3, awaits = ?4, hub = ?5, born = ?6, states = ?7 WHERE child = ?1 AND marks = ?2";
        let next = look.next.map_or(i64::MAX, Timestamp::as_microsecond);
        let written = connection.prepare_cached(sql)?.execute(params![
            look.row,
            look.marks,
            next,
            look.awaits,
            look.hub,
            look.born,
            pack(&look.states)
        ])?;
        if written == 0 {
            continue;
        }
        write_open(connection, look)?;
        let sql = "INSERT INTO clock_change(child, kind, was, became, reason, by_seq, at_us) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut statement = connection.prepare_cached(sql)?;
        for change in &look.changes {
            let by = change.by.map(|seq| seq.0);
            statement.execute(params![look.row, change.kind, change.was, change.became, change.reason, by, now.as_microsecond()])?;
        }
        if let Some((from, to, at)) = &look.moved {
            let sql = "INSERT INTO hub_move(child, from_hub, to_hub, at_us) VALUES(?1, ?2, ?3, ?4)";
            connection.prepare_cached(sql)?.execute(params![look.row, from.as_str(), to.as_str(), at.as_microsecond()])?;
        }
        for act in &look.tasks {
            TaskWriter { connection, look, stores, now }.write(act)?;
        }
    }
    Ok(())
}

fn write_open(connection: &Connection, look: &LookedAt) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM clock_open WHERE child = ?1")?.execute([look.row])?;
    let sql = "INSERT INTO clock_open(child, kind, hub, state, owner, started_us, warn_us, due_us, breach_us, reason)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let mut statement = connection.prepare_cached(sql)?;
    let us = |at: Option<Timestamp>| at.map(Timestamp::as_microsecond);
    for open in &look.open {
        statement.execute(params![
            look.row,
            open.kind,
            look.hub,
            open.state.word(),
            open.owner,
            open.started.as_microsecond(),
            us(open.warn_at),
            us(open.due_at),
            us(open.breach_at),
            open.reason
        ])?;
    }
    Ok(())
}

struct TaskWriter<'a> {
    connection: &'a Connection,
    look: &'a LookedAt,
    stores: &'a HashMap<HubName, DestinationName>,
    now: Timestamp,
}

impl TaskWriter<'_> {
    fn write(&self, act: &TaskAct) -> rusqlite::Result<()> {
        let (child, now) = (self.look.row, self.now.as_microsecond());
        match act {
            TaskAct::Open { kind, hub, task } => {
                let sql =
                    "INSERT INTO task(child, kind, hub, owner, escalation, opened_us, why, event) VALUES(?1, ?2, ?3, ?4, ?5, ?6, '', 0)";
                let owner = task.service.as_deref().unwrap_or_default();
                let escalation = task.escalation.as_deref().unwrap_or_default();
                self.connection.prepare_cached(sql)?.execute(params![child, kind, hub.as_str(), owner, escalation, now])?;
                let id = self.connection.last_insert_rowid();
                self.tell(id, hub, task, Action::New)
            }
            TaskAct::Change { id, hub, task, left } => {
                let sql = "UPDATE task SET hub = ?2, owner = ?3, escalation = ?4 WHERE id = ?1";
                let owner = task.service.as_deref().unwrap_or_default();
                let escalation = task.escalation.as_deref().unwrap_or_default();
                self.connection.prepare_cached(sql)?.execute(params![id, hub.as_str(), owner, escalation])?;
                if let Some((hub, told)) = left.as_deref() {
                    self.tell(*id, hub, told, Action::Update)?;
                }
                self.tell(*id, hub, task, Action::Update)
            }
            TaskAct::Close { id, hub, task, why } => {
                let sql = "UPDATE task SET closed_us = ?2, why = ?3 WHERE id = ?1";
                self.connection.prepare_cached(sql)?.execute(params![id, now, why])?;
                task.as_ref().map_or(Ok(()), |task| self.tell(*id, hub, task, Action::Update))
            }
        }
    }

    /// An entry of our own, filed at once: a task is told to the store of one hub, and to nobody else.
    fn tell(&self, id: i64, hub: &HubName, task: &FailsafeTask, action: Action) -> rusqlite::Result<()> {
        let Some(record) = &self.look.record else { return Ok(()) };
        let c = self.connection;
        let key = format!("task-{id}");
        let task = FailsafeTask { key: Some(key.clone()), ..task.clone() };
        let publisher = Some(TASK_SOURCE.to_owned());
        let at = Some(Instant::of(self.now));
        let event = EventHeader { kind: EventKind::Failsafe, action, at, publisher, key: Some(key.clone()), ..EventHeader::default() };
        let statement = Statement { event, tasks: vec![task], ..Statement::default() };
        let body = serde_json::to_vec(&statement).unwrap_or_default();
        let control_id = format!("{key}-{}", own::last(c)? + 1);
        let seq = own::entry(c, self.now, TASK_SOURCE, ("failsafe", &control_id), &body)?.0;
        let (row, us) = (event_row::of(seq, 0), self.now.as_microsecond());
        let ledger = super::filing::ledger_id(c)?;
        let filed = FiledEvent {
            event: EventId(Uuid::new_v5(&ledger, &row.to_be_bytes())),
            seq: Seq(seq),
            source: SourceName::new(TASK_SOURCE),
            control_id,
            child_id: self.look.child,
            version: self.look.version,
            filed: self.now,
            superseded: false,
            statement,
            record: record.clone(),
        };
        let (route, basis) =
            record.hub.as_ref().map_or(("", String::new()), |route| (route.hub.as_str(), super::filing::word(&route.basis)));
        let sql = "INSERT INTO event(id, child, kind, at_us, hub, basis, superseded, evidence, withheld, body)
            VALUES(?1, ?2, 'failsafe', ?3, ?4, ?5, 0, '[]', NULL, ?6)";
        let event = serde_json::to_vec(&filed).unwrap_or_default();
        c.prepare_cached(sql)?.execute(params![row, self.look.row, us, route, basis, event])?;
        let order = Order { at_us: us, deleted: false, version: 0, seq };
        let part = Part { order, event: row, items: vec![("tasks".to_owned(), 0)], corrects: None, resend: false };
        aggregates::keep(c, ("failsafe", TASK_SOURCE, &key), self.look.row, None, &[part])?;
        c.prepare_cached("UPDATE task SET event = ?2 WHERE id = ?1")?.execute([id, row])?;
        if let Some(store) = self.stores.get(hub) {
            super::debts::owe(c, store, (self.look.row, row), us, None)?;
        }
        Ok(())
    }
}

/// A person ended a clock; the child is looked at.
pub(super) fn close(
    connection: &Connection,
    child: i64,
    (kind, started): (&str, Timestamp),
    (reason, now): (&str, Timestamp),
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO clock_closing(child, kind, started_us, at_us, reason) VALUES(?1, ?2, ?3, ?4, ?5)";
    connection.execute(sql, params![child, kind, started.as_microsecond(), now.as_microsecond(), reason])?;
    mark(connection, child)
}

impl Ledger {
    /// Keeps what came of looking at children, and tells their hubs' stores of tasks.
    pub async fn write_looks(
        &self,
        looks: Vec<LookedAt>,
        stores: Arc<HashMap<HubName, DestinationName>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let tells = looks.iter().any(|look| !look.tasks.is_empty());
        let written = Arc::clone(&stores);
        self.act(Box::new(move |connection| write_looks(connection, &looks, &written, now))).await?;
        if tells {
            self.debts_were_made_to(stores.values());
        }
        Ok(())
    }

    /// Makes the failsafe look at the children after `after` again, at most `limit` of them: they were judged by something else than
    /// `judged_by`. Gives the last one; none where there was no more, and then `judged_by` is kept.
    pub async fn look_again(&self, after: i64, limit: i64, judged_by: &str) -> Result<Option<i64>, StoreError> {
        let judged_by = judged_by.to_owned();
        self.act_quietly(move |connection, _| {
            let marked = mark_all(connection, after, limit)?;
            let value = |key: &str, value: &str| {
                connection.execute("INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)", params![key, value]).map(drop)
            };
            value("failsafe_marked", &format!("{judged_by} {}", marked.unwrap_or(after)))?;
            if marked.is_none() {
                value("failsafe_rules", &judged_by)?;
            }
            Ok(marked)
        })
        .await
    }

    /// A person ends a clock of a child that began at `started`. In the audit under `reason`.
    pub async fn close_clock(&self, child: i64, kind: &str, started: Timestamp, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let (kind, reason) = (kind.to_owned(), reason.to_owned());
        self.act(Box::new(move |connection| {
            close(connection, child, (&kind, started), (&reason, now))?;
            audit(connection, now, "close-clock", &format!("{kind} of child row {child}"), &reason)
        }))
        .await
    }
}

// ---- reading -----------------------------------------------------------------------------------------------------------

/// As much of a filed event as facts need.
#[derive(Deserialize)]
struct Told {
    statement: Statement,
}

impl LedgerReader {
    /// Children that must be looked at by `now`, the longest waiting first.
    pub fn children_due(&self, now: Timestamp, limit: usize) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT child FROM watch WHERE due_us <= ?1 ORDER BY due_us LIMIT ?2";
        self.list(sql, [now.as_microsecond(), i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get(0))
    }

    /// When the next child must be looked at.
    #[cfg(test)]
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let us: Option<i64> = self.read(|c| c.query_row("SELECT min(due_us) FROM watch", [], |row| row.get(0)))?;
        Ok(us.and_then(|us| Timestamp::from_microsecond(us).ok()))
    }

    /// The child's row, where it is on record.
    pub fn child_row(&self, child: ChildId) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id FROM child WHERE uuid = ?1";
        self.read(|c| c.query_row(sql, [child.0.as_bytes().as_slice()], |row| row.get(0)).optional())
    }

    /// Everything about a child that the failsafe counts by. `stores`: which destination is the store of which hub.
    pub fn look(&self, row: i64, directory: &Directory, stores: &HashMap<HubName, DestinationName>) -> Result<Option<Look>, StoreError> {
        self.read(|connection| {
            // One state of the ledger for all that is read.
            connection.execute_batch("BEGIN")?;
            let look = look(connection, row, directory, stores);
            connection.execute_batch("COMMIT")?;
            look
        })
    }

    /// How often a child was marked.
    pub fn marks(&self, row: i64) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(marks), 0) FROM watch WHERE child = ?1";
        self.read(|c| c.query_row(sql, [row], |row| row.get(0)))
    }

    /// Keys of the failsafe in `meta`.
    pub fn failsafe_meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.read(|c| c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional())
    }
}

fn look(
    connection: &Connection,
    row: i64,
    directory: &Directory,
    stores: &HashMap<HubName, DestinationName>,
) -> rusqlite::Result<Option<Look>> {
    type Row = (Vec<u8>, i64, Vec<u8>, Option<i64>, Option<String>, Option<String>);
    let sql =
        "SELECT c.uuid, c.version, c.record, w.marks, w.states, w.hub FROM child c LEFT JOIN watch w ON w.child = c.id WHERE c.id = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?));
    let found: Option<Row> = connection.prepare_cached(sql)?.query_row([row], read).optional()?;
    let Some((uuid, version, record, marks, states, acted)) = found else { return Ok(None) };
    let Ok(record) = serde_json::from_slice::<Record>(&record) else { return Ok(None) };
    let mut facts = Facts {
        acting: record.child.hub.as_ref().and_then(|assignment| directory.acting_hub(assignment)),
        record,
        first_known: Timestamp::UNIX_EPOCH,
        births: Vec::new(),
        stays: Vec::new(),
        acknowledged: Vec::new(),
        blood_spots: Vec::new(),
        hearing: Vec::new(),
        nipe: Vec::new(),
        immunisations: Vec::new(),
        reviews: Vec::new(),
        appointments: Vec::new(),
        episodes: Vec::new(),
        observations: Vec::new(),
        closings: closings(connection, row)?,
    };
    told(connection, row, &mut facts)?;
    facts.acknowledged = acknowledged(connection, row, stores)?;
    items(connection, row, &mut facts)?;
    let was_looked_at = states.as_deref().is_some_and(|states| !states.is_empty());
    Ok(Some(Look {
        row,
        child: ChildId(Uuid::from_slice(&uuid).unwrap_or_default()),
        version,
        marks: marks.unwrap_or(0),
        facts,
        stood: states.filter(|_| was_looked_at).map(|states| unpack(&states)),
        acted: acted.filter(|hub| was_looked_at && !hub.is_empty()).map(HubName::new),
        tasks: tasks(connection, row)?,
    }))
}

/// When the child was first heard of, the births told, and the hubs it was with.
fn told(connection: &Connection, row: i64, facts: &mut Facts) -> rusqlite::Result<()> {
    let sql = "SELECT v.id, v.kind, v.hub, v.superseded, v.child, v.at_us FROM event v
        WHERE v.child = ?1 OR v.child IN (SELECT child FROM merged WHERE survivor = ?1) ORDER BY v.id";
    type Event = (i64, String, String, bool, i64, i64);
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?));
    let events: Vec<Event> = connection.prepare_cached(sql)?.query_map([row], read)?.collect::<rusqlite::Result<_>>()?;
    if let Some((first, ..)) = events.first() {
        facts.first_known = arrived(connection, *first)?;
    }
    for (id, _, _, _, _, at_us) in events.iter().filter(|(_, kind, _, superseded, ..)| kind == "birth" && !superseded) {
        let Some(told) = event_body(connection, *id)? else { continue };
        let header = &told.statement.event;
        let at = Timestamp::from_microsecond(*at_us).unwrap_or_default();
        if header.action != Action::Delete {
            facts.births.push(BirthTold { seq: Seq(event_row::entry(*id)), at, is_national: header.national });
        }
    }
    // Whose record went over has hubs of its own, which are no moves of this child.
    let own: Vec<&Event> = events.iter().filter(|(_, _, _, _, child, _)| *child == row).collect();
    let Some((first, ..)) = own.first() else { return Ok(()) };
    let mut by_filing: Vec<(Timestamp, &str)> = Vec::new();
    let has_moved = own.windows(2).any(|pair| matches!(pair, [a, b] if a.2 != b.2));
    if has_moved {
        // An entry that was held and filed later has an earlier number: what counts is when it was filed.
        for (id, _, hub, ..) in &own {
            by_filing.push((filed(connection, *id)?, hub));
        }
        by_filing.sort_by_key(|(at, _)| *at);
    } else if let Some((_, _, hub, ..)) = own.first() {
        by_filing.push((arrived(connection, *first)?, hub));
    }
    for (from, hub) in by_filing {
        if facts.stays.last().is_none_or(|stay| stay.hub.as_str() != hub) {
            facts.stays.push(Stay { hub: HubName::new(hub), from });
        }
    }
    if let Some(stay) = facts.stays.first_mut() {
        stay.from = arrived(connection, *first)?;
    }
    Ok(())
}

fn arrived(connection: &Connection, event: i64) -> rusqlite::Result<Timestamp> {
    let sql = "SELECT arrived_us FROM entry WHERE seq = ?1";
    let us: Option<i64> = connection.prepare_cached(sql)?.query_row([event_row::entry(event)], |row| row.get(0)).optional()?;
    Ok(us.and_then(|us| Timestamp::from_microsecond(us).ok()).unwrap_or_default())
}

fn filed(connection: &Connection, event: i64) -> rusqlite::Result<Timestamp> {
    let sql = "SELECT json_extract(CAST(body AS TEXT), '$.filed') FROM event WHERE id = ?1";
    let text: Option<String> = connection.prepare_cached(sql)?.query_row([event], |row| row.get(0)).optional()?.flatten();
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
}

fn event_body(connection: &Connection, event: i64) -> rusqlite::Result<Option<Told>> {
    Ok(event_row::body(connection, event)?.and_then(|body| serde_json::from_slice(&body).ok()))
}

fn acknowledged(
    connection: &Connection,
    row: i64,
    stores: &HashMap<HubName, DestinationName>,
) -> rusqlite::Result<Vec<(HubName, Timestamp)>> {
    let sql = "SELECT n.name, max(d.settled_us) FROM event v JOIN debt d ON d.event = v.id JOIN destination n ON n.id = d.destination
        WHERE v.child = ?1 AND d.state IN ('delivered', 'superseded') GROUP BY n.name";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([row], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    let mut found = Vec::new();
    for row in rows {
        let (name, us) = row?;
        let hub = stores.iter().find(|(_, store)| store.as_str() == name).map(|(hub, _)| hub.clone());
        if let (Some(hub), Some(at)) = (hub, us.and_then(|us| Timestamp::from_microsecond(us).ok())) {
            found.push((hub, at));
        }
    }
    found.sort();
    Ok(found)
}

fn closings(connection: &Connection, row: i64) -> rusqlite::Result<Vec<Closing>> {
    let sql = "SELECT kind, started_us, at_us FROM clock_closing WHERE child = ?1 ORDER BY kind, started_us";
    let us = |us: i64| Timestamp::from_microsecond(us).unwrap_or_default();
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([row], |row| Ok(Closing { kind: row.get(0)?, started: us(row.get(1)?), at: us(row.get(2)?) }))?;
    rows.collect()
}

fn tasks(connection: &Connection, row: i64) -> rusqlite::Result<Vec<OpenTask>> {
    let sql = "SELECT id, kind, hub, owner, escalation FROM task WHERE child = ?1 AND closed_us IS NULL ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([row], |row| {
        let hub = HubName::new(row.get::<_, String>(2)?);
        Ok(OpenTask { id: row.get(0)?, kind: row.get(1)?, hub, owner: row.get(3)?, escalation: row.get(4)? })
    })?;
    rows.collect()
}

/// What stands of the child's screens, vaccinations, reviews, …, with the message that said it last.
fn items(connection: &Connection, row: i64, facts: &mut Facts) -> rusqlite::Result<()> {
    let mut bodies: HashMap<i64, Option<Statement>> = HashMap::new();
    for standing in aggregates::of_child(connection, row, None)? {
        if standing.deleted || standing.kind == "failsafe" || standing.kind == "document" {
            continue;
        }
        for part in &standing.parts {
            if let std::collections::hash_map::Entry::Vacant(vacant) = bodies.entry(part.event) {
                vacant.insert(event_body(connection, part.event)?.map(|told| told.statement));
            }
        }
        let content = standing.content_of(|event| bodies.get(&event).and_then(Option::as_ref));
        let seq = Seq(standing.parts.iter().map(|part| event_row::entry(part.event)).max().unwrap_or(0));
        let at = Timestamp::from_microsecond(standing.at_us).unwrap_or_default();
        macro_rules! take {
            ($list:ident, $into:ident) => {
                facts.$into.extend(content.$list.into_iter().map(|item| Said { seq, at, item }));
            };
        }
        take!(blood_spots, blood_spots);
        take!(hearing_screens, hearing);
        take!(nipe_exams, nipe);
        take!(immunisations, immunisations);
        take!(reviews, reviews);
        take!(appointments, appointments);
        take!(episodes, episodes);
        take!(observation_sets, observations);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_clocks_stood_is_read_as_it_was_written() {
        let states: BTreeMap<String, ClockState> =
            LETTERS.iter().enumerate().map(|(number, (state, _))| (format!("CLOCK_{number}"), *state)).collect();
        assert_eq!(unpack(&pack(&states)), states);
        assert_eq!(unpack(""), BTreeMap::new());
    }
}
