//! Acts on the hubs of children: a person's decision, and looking at everybody again when hubs or directories have changed.
//!
//! # In the ledger
//!
//!     hub_override   what a person decided for a child, from which day on; applied when that day has come
//!     job            work that goes through all children: how far it is, and whether it may go on
//!     job_unread     the children whose record it could not read, by our ids
//!
//! # Invariants
//!
//! - A batch of a job and how far the job is are one transaction: killed and started again, it goes on where it was.
//! - What a person decided stands against everything until a person clears it.
//! - A record that cannot be read is named in the result, and stops nobody else's.

use jiff::{Timestamp, civil};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::filing::{ActOf, Assigned, FilingRules, assign_all, word};
use super::index::{Index, OnRecord};
use super::reader::{LedgerReader, moment};
use super::rows::StoreError;
use super::unread;
use super::writer::{Ledger, audit};
use crate::canon::{HubAssignment, HubBasis};
use crate::identity::Record;
use crate::names::{ChildId, HubName};
use crate::routing::Directory;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS hub_override(
    id INTEGER PRIMARY KEY, child INTEGER NOT NULL, hub TEXT NOT NULL, from_day TEXT NOT NULL, made_us INTEGER NOT NULL, reason TEXT NOT NULL,
    applied_us INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS hub_override_open ON hub_override(from_day) WHERE applied_us IS NULL;
CREATE TABLE IF NOT EXISTS job(
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, made_us INTEGER NOT NULL, ended_us INTEGER,
    cursor INTEGER NOT NULL, looked INTEGER NOT NULL, changed INTEGER NOT NULL, total INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS job_unread(job INTEGER NOT NULL, child TEXT NOT NULL, PRIMARY KEY(job, child)) STRICT, WITHOUT ROWID;
";

/// Children looked at in one transaction of a job.
pub const JOB_BATCH: usize = 100;

/// A job as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct JobRow {
    /// Its number.
    pub job: i64,
    /// `reassign`, `replay`.
    pub kind: String,
    /// `running`, `paused`, `cancelled`, `done`.
    pub state: String,
    /// Why it was begun.
    pub reason: String,
    /// When it was begun, RFC 3339.
    pub begun: String,
    /// When it ended.
    pub ended: Option<String>,
    /// Children looked at.
    pub looked: i64,
    /// Children that another hub looks after, or gets copies of, because of it.
    pub changed: i64,
    /// Children when it was begun.
    pub total: i64,
    /// Our ids of those whose record cannot be read: they were left out.
    pub unread: Vec<String>,
    /// For a job that sends again: what, and how far it is.
    pub replay: Option<super::replays::ReplayRow>,
}

/// What came of decisions whose day has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many were looked at.
    pub count: usize,
    /// Our ids of the children whose record cannot be read: their decision is tried again the next day.
    pub unread: Vec<String>,
}

/// What an assignment does, before it is done.
#[derive(Clone, Debug, Serialize)]
pub struct AssignEffect {
    /// The child.
    pub child: String,
    /// Responsible now: hub and ground.
    pub now: Option<HubAssignment>,
    /// Responsible then.
    pub then: HubAssignment,
    /// From which day on, 2026-01-05.
    pub from: String,
    /// True where it holds at once.
    pub at_once: bool,
    /// Done, or only shown.
    pub done: bool,
}

/// A person's decision.
#[derive(Clone, Debug)]
pub struct AssignAct {
    /// The child.
    pub child: ChildId,
    /// The hub; none clears what was decided before.
    pub hub: Option<HubName>,
    /// From this day on; none: today.
    pub from: Option<civil::Date>,
    /// Only say what it would do.
    pub dry_run: bool,
}

/// What looking at everybody again would change, or changes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReassignPlan {
    /// Children looked at.
    pub looked: usize,
    /// Those whose hub would change.
    pub moved: usize,
    /// Those of whom only other hubs would get copies.
    pub copies: usize,
    /// How many go from where to where, on which ground.
    pub changes: Vec<ReassignLine>,
    /// Our ids of those whose record cannot be read: they would be left out.
    pub unread: Vec<String>,
}

/// One line of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct ReassignLine {
    /// Responsible now.
    pub from: String,
    /// Responsible then.
    pub to: String,
    /// Ground then.
    pub basis: String,
    /// Children.
    pub count: usize,
    /// The beginnings of the ids of the first of them.
    pub examples: Vec<String>,
}

/// Examples of a line.
const EXAMPLES_MAX: usize = 3;
/// `applied_us` of a decision that a later one goes before.
const OVERTAKEN: i64 = -1;
/// `applied_us` of a decision whose child's record could not be read: tried again the next day.
const UNREAD: i64 = -2;

/// What the directory says of a child now; none where it says what is on record, or where the record goes no further.
pub(super) fn decided_anew(directory: &Directory, record: &Record, today: civil::Date) -> Option<HubAssignment> {
    if !record.child.goes_on() {
        return None;
    }
    let before = record.child.hub.as_ref();
    let route = directory.decide(&record.child, before, today);
    (before != Some(&route)).then_some(route)
}

/// What holds for a child once a person has decided.
fn decided_by_hand(directory: &Directory, record: &Record, hub: Option<&HubName>, today: civil::Date) -> HubAssignment {
    let before = record.child.hub.clone();
    let interested = before.as_ref().map(|before| before.interested.clone()).unwrap_or_default();
    let previous = match (hub, before) {
        (Some(hub), _) => Some(HubAssignment { hub: hub.clone(), basis: HubBasis::Manual, interested, left: None }),
        (None, Some(before)) => Some(HubAssignment { basis: HubBasis::Default, ..before }),
        (None, None) => None,
    };
    directory.decide(&record.child, previous.as_ref(), today)
}

fn sql_of(error: crate::identity::IndexError) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.to_string().into())
}

impl Ledger {
    /// Decides by hand which hub a child belongs to, or clears such a decision; or only says what that would do.
    pub async fn assign(&self, act: AssignAct, reason: &str, now: Timestamp) -> Result<AssignEffect, StoreError> {
        let reason = reason.to_owned();
        let missing = format!("no child {} is on record whose record goes on (it may be merged, sealed or invalidated)", act.child);
        let effect = self
            .act_for(move |connection, rules| {
                let today = rules.today(now);
                let from = act.from.unwrap_or(today);
                let row = Index(connection).by_id(act.child).map_err(sql_of)?.filter(|row| row.record.child.goes_on());
                let Some(row) = row else { return Ok(None) };
                let directory = rules.directory.load();
                let then = decided_by_hand(&directory, &row.record, act.hub.as_ref(), today);
                let effect = AssignEffect {
                    child: act.child.to_string(),
                    now: row.record.child.hub.clone(),
                    then,
                    from: from.to_string(),
                    at_once: from <= today,
                    done: !act.dry_run,
                };
                if act.dry_run {
                    return Ok(Some(effect));
                }
                let hub = act.hub.as_ref().map_or("", HubName::as_str);
                let what = format!("child {} {} from {from}", act.child, if hub.is_empty() { "clear" } else { hub });
                audit(connection, now, "hub-assign", &what, &reason)?;
                // A later decision goes before one whose day has not come.
                let sql = "UPDATE hub_override SET applied_us = ?2 WHERE child = ?1 AND (applied_us IS NULL OR applied_us = ?3)";
                connection.execute(sql, [row.id, OVERTAKEN, UNREAD])?;
                let sql = "INSERT INTO hub_override(child, hub, from_day, made_us, reason) VALUES(?1, ?2, ?3, ?4, ?5)";
                connection.execute(sql, params![row.id, hub, from.to_string(), now.as_microsecond(), reason])?;
                apply_due(connection, rules, now)?;
                Ok(Some(effect))
            })
            .await?;
        effect.ok_or(StoreError { text: missing, exit: 66 })
    }

    /// Applies what people decided and whose day has come.
    pub async fn apply_overrides(&self, now: Timestamp) -> Result<Applied, StoreError> {
        self.act_for(move |connection, rules| apply_due(connection, rules, now)).await
    }

    /// Begins to look at everybody again, in batches. Gives the job; the one that is under way where there is one.
    pub async fn begin_reassign(&self, reason: &str, now: Timestamp) -> Result<i64, StoreError> {
        let reason = reason.to_owned();
        self.act_for(move |connection, _| {
            let sql = "SELECT id FROM job WHERE kind = 'reassign' AND state IN ('running', 'paused')";
            if let Some(job) = connection.query_row(sql, [], |row| row.get(0)).optional()? {
                return Ok(job);
            }
            audit(connection, now, "hub-reassign", "all children", &reason)?;
            let sql = "INSERT INTO job(kind, state, reason, made_us, cursor, looked, changed, total)
                VALUES('reassign', 'running', ?1, ?2, 0, 0, 0, (SELECT count(*) FROM child))";
            connection.execute(sql, params![reason, now.as_microsecond()])?;
            Ok(connection.last_insert_rowid())
        })
        .await
    }

    /// Does the next batch of whatever job is running. False where none is.
    pub async fn job_batch(&self, now: Timestamp) -> Result<bool, StoreError> {
        self.act_for(move |connection, rules| batch(connection, rules, now)).await
    }

    /// Pauses, resumes or cancels a job: `paused`, `running`, `cancelled`. False where there is none that could be.
    pub async fn steer_job(&self, job: i64, state: &'static str, reason: &str, now: Timestamp) -> Result<bool, StoreError> {
        let reason = reason.to_owned();
        let done = self
            .act_for(move |connection, _| {
                let ended = (state == "cancelled").then(|| now.as_microsecond());
                let sql = "UPDATE job SET state = ?2, ended_us = ?3 WHERE id = ?1 AND state IN ('running', 'paused')";
                let done = connection.execute(sql, params![job, state, ended])? == 1;
                if done {
                    if state == "cancelled" {
                        super::replays::withdraw(connection, job, now)?;
                    }
                    audit(connection, now, "job", &format!("{job} {state}"), &reason)?;
                }
                Ok(done)
            })
            .await?;
        // Lanes that waited behind what was withdrawn go on.
        self.debts_were_put_back();
        Ok(done)
    }

    /// Notes who has a child that left the area of all hubs. False where it waits for nobody.
    pub async fn taken(&self, child: ChildId, by: &str, reason: &str, now: Timestamp) -> Result<bool, StoreError> {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.act_for(move |connection, _| {
            let sql =
                "UPDATE mover SET taken_us = ?2, taken_by = ?3 WHERE taken_us IS NULL AND child = (SELECT id FROM child WHERE uuid = ?1)";
            let done = 0 < connection.execute(sql, params![child.0.as_bytes().as_slice(), now.as_microsecond(), by])?;
            if done {
                audit(connection, now, "hub-taken", &format!("child {child} by {by}"), &reason)?;
            }
            Ok(done)
        })
        .await
    }
}

fn apply_due(connection: &Connection, rules: &FilingRules, now: Timestamp) -> rusqlite::Result<Applied> {
    let today = rules.today(now);
    let sql = "SELECT id, child, hub, from_day, reason FROM hub_override WHERE applied_us IS NULL AND from_day <= ?1 ORDER BY id LIMIT 100";
    type Due = (i64, i64, String, String, String);
    let due: Vec<Due> = connection
        .prepare_cached(sql)?
        .query_map([today.to_string()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let directory = rules.directory.load();
    let mut applied = Applied { count: due.len(), unread: Vec::new() };
    for (id, child, hub, from, reason) in due {
        let found = Index(connection).look(child)?;
        let applied_us = if matches!(found, OnRecord::Unreadable { .. }) { UNREAD } else { now.as_microsecond() };
        connection.execute("UPDATE hub_override SET applied_us = ?2 WHERE id = ?1", params![id, applied_us])?;
        let row = match found {
            OnRecord::Whole(row) if row.record.child.goes_on() => *row,
            OnRecord::Whole(_) | OnRecord::Missing => continue,
            OnRecord::Unreadable { row, name } => {
                unread::ask(connection, row, now.as_microsecond())?;
                applied.unread.push(name);
                continue;
            }
        };
        let hub = Some(hub).filter(|hub| !hub.is_empty()).map(HubName::new);
        let route = decided_by_hand(&directory, &row.record, hub.as_ref(), today);
        if row.record.child.hub.as_ref() == Some(&route) {
            continue;
        }
        let day: Option<civil::Date> = from.parse().ok();
        let since = day.and_then(|day| rules.start_of(day)).unwrap_or(now);
        let change = Assigned { row, route, since_us: since.as_microsecond() };
        let act = ActOf { kind: "hub-assign", control_id: &format!("assign-{id}"), reason: &reason, now };
        assign_all(connection, rules, vec![change], &act)?;
    }
    Ok(applied)
}

/// Decisions whose child's record could not be read are tried again.
pub(super) fn put_back_unread(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE hub_override SET applied_us = NULL WHERE applied_us = ?1", [UNREAD]).map(drop)
}

fn batch(connection: &Connection, rules: &FilingRules, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "SELECT id, reason, cursor FROM job WHERE kind = 'reassign' AND state = 'running' ORDER BY id LIMIT 1";
    let running: Option<(i64, String, i64)> =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let Some((job, reason, cursor)) = running else { return Ok(false) };
    let today = rules.today(now);
    let directory = rules.directory.load();
    let rows: Vec<i64> = connection
        .prepare_cached("SELECT id FROM child WHERE ?1 < id ORDER BY id LIMIT ?2")?
        .query_map(params![cursor, JOB_BATCH as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let (Some(last), looked) = (rows.last().copied(), rows.len()) else {
        connection.execute("UPDATE job SET state = 'done', ended_us = ?2 WHERE id = ?1", params![job, now.as_microsecond()])?;
        return Ok(true);
    };
    let mut changes = Vec::new();
    for id in rows {
        match Index(connection).look(id)? {
            OnRecord::Whole(row) => {
                if let Some(route) = decided_anew(&directory, &row.record, today) {
                    changes.push(Assigned { row: *row, route, since_us: now.as_microsecond() });
                }
            }
            OnRecord::Unreadable { row, name } => {
                unread::ask(connection, row, now.as_microsecond())?;
                connection.execute("INSERT OR IGNORE INTO job_unread(job, child) VALUES(?1, ?2)", params![job, name])?;
            }
            OnRecord::Missing => {}
        }
    }
    let changed = changes.len() as i64;
    let act = ActOf { kind: "hub-reassign", control_id: &format!("reassign-{job}-{last}"), reason: &reason, now };
    assign_all(connection, rules, changes, &act)?;
    let sql = "UPDATE job SET cursor = ?2, looked = looked + ?3, changed = changed + ?4 WHERE id = ?1";
    connection.execute(sql, params![job, last, looked as i64, changed])?;
    Ok(true)
}

impl LedgerReader {
    /// What looking at everybody again with this directory would change.
    pub fn reassign_plan(&self, directory: &Directory, today: civil::Date) -> Result<ReassignPlan, StoreError> {
        let mut plan = ReassignPlan::default();
        let mut after = 0_i64;
        loop {
            let sql = "SELECT id, uuid, record FROM child WHERE ?1 < id ORDER BY id LIMIT 500";
            let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = self.list(sql, [after], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let Some((last, ..)) = rows.last() else { break };
            after = *last;
            for (_, uuid, record) in rows {
                plan.looked += 1;
                let Ok(record) = serde_json::from_slice::<Record>(&record) else {
                    plan.unread.push(uuid::Uuid::from_slice(&uuid).map(|id| id.to_string()).unwrap_or_default());
                    continue;
                };
                if let Some(route) = decided_anew(directory, &record, today) {
                    plan.add(&record, &route, &uuid);
                }
            }
        }
        plan.changes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.from, &a.to, &a.basis).cmp(&(&b.from, &b.to, &b.basis))));
        Ok(plan)
    }

    /// All jobs, the newest first.
    pub fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        let sql = "SELECT id, kind, state, reason, made_us, ended_us, looked, changed, total FROM job ORDER BY id DESC LIMIT 100";
        let mut jobs = self.list(sql, [], |row| {
            Ok(JobRow {
                job: row.get(0)?,
                kind: row.get(1)?,
                state: row.get(2)?,
                reason: row.get(3)?,
                begun: moment(row.get(4)?),
                ended: row.get::<_, Option<i64>>(5)?.map(moment),
                looked: row.get(6)?,
                changed: row.get(7)?,
                total: row.get(8)?,
                unread: Vec::new(),
                replay: None,
            })
        })?;
        for job in jobs.iter_mut().filter(|job| job.kind == "replay") {
            job.replay = self.replay_row(job.job)?;
        }
        // A ledger that no newer program has written to has none.
        if self.has_table("job_unread")? {
            for job in &mut jobs {
                job.unread = self.list("SELECT child FROM job_unread WHERE job = ?1 ORDER BY child", [job.job], |row| row.get(0))?;
            }
        }
        Ok(jobs)
    }

    /// True where a job that looks at everybody again is running.
    pub fn is_job_running(&self) -> Result<bool, StoreError> {
        self.read(|c| c.query_row("SELECT EXISTS(SELECT 1 FROM job WHERE kind = 'reassign' AND state = 'running')", [], |row| row.get(0)))
    }

    /// True where what people decided waits for a day that has come.
    pub fn is_override_due(&self, today: civil::Date) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS(SELECT 1 FROM hub_override WHERE applied_us IS NULL AND from_day <= ?1)";
        self.read(|c| c.query_row(sql, [today.to_string()], |row| row.get(0)))
    }
}

impl ReassignPlan {
    fn add(&mut self, record: &Record, route: &HubAssignment, uuid: &[u8]) {
        let from = record.child.hub.as_ref().map(|hub| hub.hub.to_string()).unwrap_or_default();
        if from == route.hub.as_str() {
            self.copies += 1;
        } else {
            self.moved += 1;
        }
        let basis = word(&route.basis);
        let to = route.hub.to_string();
        let at = self.changes.iter().position(|line| (&line.from, &line.to, &line.basis) == (&from, &to, &basis));
        let at = at.unwrap_or_else(|| {
            self.changes.push(ReassignLine { from, to, basis, count: 0, examples: Vec::new() });
            self.changes.len() - 1
        });
        if let Some(line) = self.changes.get_mut(at) {
            line.count += 1;
            if line.examples.len() < EXAMPLES_MAX {
                line.examples.push(uuid::Uuid::from_slice(uuid).map(|id| id.to_string().chars().take(8).collect()).unwrap_or_default());
            }
        }
    }
}
