//! What is sent again, as a job: which debts it would make, and how it makes them.
//!
//! # In the ledger
//!
//!     replay     what a job of kind `replay` was asked for, and how many it left out and why
//!     replayed   debts that it made: which job, which debt was sent before, and whether the receiver may have it
//!
//! # Invariants
//!
//! - The debts of a batch and the place in the ledger up to which the job has looked are one transaction: killed and started again, it goes
//!   on where it was, and makes no debt twice.
//! - A new debt is the youngest of its lane: it goes behind all that waits.
//! - What a parents' record is told is rendered from the child and the consents of now, here and before each attempt. What was withdrawn
//!   by a rule, and what is of a sealed record, is not sent again at all.
//! - To a parents' record an event may be owed several times: once as told, and to each account once as taken back. Each is judged by itself.
//!   What was taken back stays so: neither is it told again, nor what was corrected since as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::filing::{DestinationRule, FilingRules, Recipient};
use super::parents::taken_from;
use super::reader::LedgerReader;
use super::rows::{Renamed, SentAgain};
use super::writer::{Ledger, audit, row_id};
use super::{OWN_SOURCES, StoreError};
use crate::clock;
use crate::destinations::{self, Turn};
use crate::failsafe::day;
use crate::names::{DestinationName, HubName};
use crate::outbox::FiledEvent;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS replay(
    job INTEGER PRIMARY KEY, spec TEXT NOT NULL, has INTEGER NOT NULL, owed INTEGER NOT NULL, forbidden INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS replayed(debt INTEGER PRIMARY KEY, job INTEGER NOT NULL, of_debt INTEGER, forced INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS replayed_job ON replayed(job, debt);
";

/// Events read in one go; of these few may match.
const SCANNED_AT_ONCE: i64 = 2_000;
/// A job waits while so many of its debts are not paid yet: it is never far ahead of its receiver.
const AHEAD_MAX: i64 = 1_000;

/// Which events are meant: all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayQuery {
    /// Owed to this destination.
    pub destination: Option<String>,
    /// Sent by this source.
    pub source: Option<String>,
    /// Of a message of this type, `ADT^A28`.
    pub kind: Option<String>,
    /// For which this hub was responsible after them.
    pub hub: Option<HubName>,
    /// Of this child.
    pub child: Option<uuid::Uuid>,
    /// Received from then on.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
}

impl FromStr for ReplayQuery {
    type Err = String;

    /// `destination=region since=2026-01-05 type=ADT^A28`. A day as `until` is that day too.
    fn from_str(text: &str) -> Result<Self, String> {
        const KEYS: &str = "destination, source, type, hub, child, since, until";
        let mut query = Self::default();
        for pair in text.split_whitespace() {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is no key=value; known keys: {KEYS}"))?;
            let value = value.to_owned();
            match key {
                "destination" => query.destination = Some(value),
                "source" => query.source = Some(value),
                "type" => query.kind = Some(value),
                "hub" => query.hub = Some(HubName::new(value)),
                "child" => query.child = Some(value.parse().map_err(|_| "`child` is our id of a child".to_owned())?),
                "since" => query.since = Some(moment_of(&value, day::start_of)?),
                "until" => query.until = Some(moment_of(&value, day::end_of)?),
                _ => return Err(format!("no key {key:?}; known keys: {KEYS}")),
            }
        }
        if query == Self::default() {
            return Err(format!("a query of nothing would be everything; name one of: {KEYS}"));
        }
        Ok(query)
    }
}

fn moment_of(text: &str, of_day: fn(Date) -> Timestamp) -> Result<Timestamp, String> {
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10).map(of_day);
    day.or_else(|| text.parse().ok()).ok_or_else(|| format!("{text:?} is no time; write 2026-01-05 or 2026-01-05T06:00:00Z"))
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayOrder {
    /// Which events.
    pub query: ReplayQuery,
    /// Whom; none: those to whom each was owed.
    #[serde(default)]
    pub to: Option<String>,
    /// Rendered anew out of the event; else as it was sent before.
    #[serde(default)]
    pub fresh: bool,
    /// Sent though the receiver has it, under a key of its own.
    #[serde(default)]
    pub force: bool,
    /// Debts made in a second at most.
    pub per_second: u32,
}

/// What a job would do for one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayLine {
    /// Whom.
    pub destination: String,
    /// Would be sent.
    pub send: i64,
    /// Left out: the receiver has it.
    pub has: i64,
    /// Left out: it waits or is held already.
    pub owed: i64,
    /// Left out: it may not be said any more.
    pub forbidden: i64,
}

/// What a job would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayPlan {
    /// Events that fit the query.
    pub events: i64,
    /// By destination.
    pub destinations: Vec<ReplayLine>,
}

/// How far a job of this kind is, beside what every job has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayRow {
    /// What was asked for.
    pub order: ReplayOrder,
    /// Left out: the receiver has it.
    pub has: i64,
    /// Left out: it waits or is held already.
    pub owed: i64,
    /// Left out: it may not be said any more.
    pub forbidden: i64,
    /// Of the debts it made: not paid yet.
    pub pending: i64,
    /// Of the debts it made: the receiver has them.
    pub delivered: i64,
}

/// A job that runs.
#[derive(Clone, Debug)]
pub struct RunningReplay {
    /// Its number.
    pub job: i64,
    /// What was asked for.
    pub order: ReplayOrder,
    /// All events up to here were looked at.
    pub cursor: i64,
}

/// A debt that a job makes.
#[derive(Clone, Debug)]
struct Again {
    destination: DestinationName,
    child: i64,
    event: i64,
    body: Option<Vec<u8>>,
    of_debt: Option<i64>,
    /// The receiver has had something of this event, by force or because it was another body: it goes under a key of its own.
    own_key: bool,
}

/// The next events of a job, looked at.
#[derive(Clone, Debug, Default)]
pub struct ReplayBatch {
    plan: ReplayPlan,
    debts: Vec<Again>,
    from: i64,
    through: i64,
    /// There are no more.
    ended: bool,
}

impl ReplayBatch {
    /// Debts that it makes.
    pub fn debts(&self) -> usize {
        self.debts.len()
    }
}

/// One event with what was owed of it.
struct Candidate {
    row: i64,
    child: i64,
    kind: String,
    source: String,
    body: Vec<u8>,
    debts: Vec<OwedBefore>,
}

struct OwedBefore {
    debt: i64,
    destination: String,
    child: i64,
    state: String,
    why: String,
    body: Option<Vec<u8>>,
    sent: Option<Vec<u8>>,
    /// The account from which it takes back.
    back_from: Option<String>,
}

impl OwedBefore {
    fn is_taken(&self) -> bool {
        self.state == "delivered" || self.state == "superseded"
    }
}

enum Verdict {
    Send(Again),
    Has,
    Owed,
    Forbidden,
}

impl LedgerReader {
    /// Looks at the next events of a job after `after`, until `most` debts are found or enough was looked at.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn replay_batch(&self, rules: &FilingRules, order: &ReplayOrder, after: i64, most: usize) -> Result<ReplayBatch, StoreError> {
        let query = &order.query;
        let child = query.child.map(|child| child.as_bytes().to_vec());
        let sql = "SELECT v.id, v.child, v.kind, s.name, v.body,
                (?2 IS NULL OR s.name = ?2) AND (?3 IS NULL OR e.kind = ?3) AND (?4 IS NULL OR v.hub = ?4)
                AND (?5 IS NULL OR v.child IN (SELECT id FROM child WHERE uuid = ?5)
                    OR v.child IN (SELECT m.child FROM merged m JOIN child c ON c.id = m.survivor WHERE c.uuid = ?5))
                AND (?6 IS NULL OR ?6 <= e.arrived_us) AND (?7 IS NULL OR e.arrived_us < ?7)
                AND (?8 IS NULL OR EXISTS(SELECT 1 FROM debt d JOIN destination n ON n.id = d.destination WHERE d.event = v.id AND n.name = ?8))
            FROM event v JOIN entry e ON e.seq = v.id / 1024 JOIN source s ON s.id = e.source
            WHERE ?1 < v.id ORDER BY v.id LIMIT ?9";
        let us = |at: Option<Timestamp>| at.map(Timestamp::as_microsecond);
        let hub = query.hub.as_ref().map(HubName::as_str);
        let mut batch = ReplayBatch { from: after, through: after, ..ReplayBatch::default() };
        let mut lines: BTreeMap<String, ReplayLine> = BTreeMap::new();
        let mut scanned = 0;
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let given =
                params![after, query.source, query.kind, hub, child, us(query.since), us(query.until), query.destination, SCANNED_AT_ONCE];
            let mut rows = statement.query(given)?;
            while batch.debts.len() < most
                && let Some(row) = rows.next()?
            {
                scanned += 1;
                batch.through = row.get(0)?;
                if !row.get::<_, Option<bool>>(5)?.unwrap_or(false) {
                    continue;
                }
                batch.plan.events += 1;
                let (event, child) = (batch.through, row.get(1)?);
                let (kind, source, body) = (row.get(2)?, row.get(3)?, row.get(4)?);
                let candidate = Candidate { row: event, child, kind, source, body, debts: owed_before(connection, event)? };
                for (name, verdict) in self.judge(rules, order, &candidate)? {
                    let line = lines.entry(name.clone()).or_insert_with(|| ReplayLine { destination: name, ..ReplayLine::default() });
                    match verdict {
                        Verdict::Send(debt) => {
                            line.send += 1;
                            batch.debts.push(debt);
                        }
                        Verdict::Has => line.has += 1,
                        Verdict::Owed => line.owed += 1,
                        Verdict::Forbidden => line.forbidden += 1,
                    }
                }
            }
            Ok(())
        })?;
        batch.ended = batch.debts.len() < most && scanned < SCANNED_AT_ONCE;
        batch.plan.destinations = lines.into_values().collect();
        Ok(batch)
    }

    /// What a job would do, counted through to the end.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn replay_plan(&self, rules: &FilingRules, order: &ReplayOrder) -> Result<ReplayPlan, StoreError> {
        let (mut plan, mut after) = (ReplayPlan::default(), 0);
        let mut lines: BTreeMap<String, ReplayLine> = BTreeMap::new();
        loop {
            let batch = self.replay_batch(rules, order, after, 500)?;
            plan.events += batch.plan.events;
            for found in batch.plan.destinations {
                let line = lines.entry(found.destination.clone()).or_default();
                line.destination = found.destination;
                line.send += found.send;
                line.has += found.has;
                line.owed += found.owed;
                line.forbidden += found.forbidden;
            }
            after = batch.through;
            if batch.ended {
                break;
            }
        }
        plan.destinations = lines.into_values().collect();
        Ok(plan)
    }

    fn judge(&self, rules: &FilingRules, order: &ReplayOrder, of: &Candidate) -> rusqlite::Result<Vec<(String, Verdict)>> {
        let mut verdicts = Vec::new();
        for rule in rules.destinations.iter() {
            let name = rule.name.as_str();
            let before: Vec<&OwedBefore> = of.debts.iter().filter(|debt| debt.destination == name).collect();
            let is_meant = match &order.to {
                Some(to) => to == name,
                None => !before.is_empty() && order.query.destination.as_deref().is_none_or(|asked| asked == name),
            };
            if !is_meant {
                continue;
            }
            let mut accounts: BTreeSet<Option<&str>> = before.iter().map(|debt| debt.back_from.as_deref()).collect();
            if order.to.is_some() {
                accounts.insert(None);
            }
            for account in accounts {
                let before: Vec<&OwedBefore> = before.iter().copied().filter(|debt| debt.back_from.as_deref() == account).collect();
                verdicts.push((name.to_owned(), self.verdict(rules, rule, order, (of, &before))?));
            }
        }
        Ok(verdicts)
    }

    /// Of the debts of one event to one destination that were made for one purpose.
    fn verdict(
        &self,
        rules: &FilingRules,
        rule: &DestinationRule,
        order: &ReplayOrder,
        (of, before): (&Candidate, &[&OwedBefore]),
    ) -> rusqlite::Result<Verdict> {
        let DestinationRule { name, recipient } = rule;
        if before.iter().any(|debt| debt.state == "pending" || debt.state == "held") {
            return Ok(Verdict::Owed);
        }
        let last = before.last().copied();
        // What a rule withdrew stays withdrawn; what a person withdrew, or a job that was cancelled, may be asked for again.
        let by_rule =
            last.is_some_and(|debt| debt.state == "withdrawn" && !["discarded", "cancelled", "nothing-new"].contains(&debt.why.as_str()));
        // What the broker writes for one hub, and child protection facts, are for nobody who was not owed them.
        let is_apart = last.is_none() && (of.kind == "safeguarding" || OWN_SOURCES.contains(&of.source.as_str()));
        let lane = last.map_or(of.child, |debt| debt.child);
        if by_rule || is_apart || is_sealed(self, lane)? {
            return Ok(Verdict::Forbidden);
        }
        let was_taken = before.iter().any(|debt| debt.is_taken());
        let of_debt = last.map(|debt| debt.debt);
        let again = |body: Option<Vec<u8>>| {
            let own_key = order.force || was_taken;
            Verdict::Send(Again { destination: name.clone(), child: lane, event: of.row, body, of_debt, own_key })
        };
        let stored = last.and_then(|debt| debt.body.clone());
        let body = match recipient {
            // Who is told is decided when an event is filed; what a viewer or a file is told, when it is paid.
            Recipient::HubStore(_) | Recipient::Viewer(_) | Recipient::VaccinationFile(_) if last.is_none() => {
                return Ok(Verdict::Forbidden);
            }
            Recipient::HubStore(_) | Recipient::Viewer(_) | Recipient::VaccinationFile(_) => stored,
            Recipient::Record if stored.is_some() && !order.fresh => stored,
            Recipient::Record => match serde_json::from_slice::<FiledEvent>(&of.body) {
                Ok(event) => Some(destinations::whole_record(&event)),
                Err(_) => return Ok(Verdict::Forbidden),
            },
            // The account was told so, and nothing of it is there any more that could be taken back once more.
            Recipient::ParentRecord if was_taken && last.is_some_and(|debt| debt.back_from.is_some()) => return Ok(Verdict::Has),
            Recipient::ParentRecord => {
                let turn = if order.force { Turn::Whole } else { Turn::Missing };
                return Ok(match self.for_parents_now(rules, lane, of, (stored.as_deref().unwrap_or_default(), turn))? {
                    Ok(body) => again(Some(body)),
                    Err("nothing-new") => Verdict::Has,
                    Err(_) => Verdict::Forbidden,
                });
            }
        };
        let digest = body.as_deref().map(digest_of);
        let had = |debt: &OwedBefore| {
            let sent = debt.sent.clone().or_else(|| debt.body.as_deref().map(|body| digest_of(body).to_vec()));
            debt.state == "superseded" || sent.as_deref() == digest.as_ref().map(<[u8; 32]>::as_slice)
        };
        if !order.force && before.iter().filter(|debt| debt.is_taken()).any(|debt| had(debt)) {
            return Ok(Verdict::Has);
        }
        Ok(again(body))
    }

    /// What parents may be told of an event as the child and the consents are now, or the rule that forbids it.
    fn for_parents_now(
        &self,
        rules: &FilingRules,
        child: i64,
        of: &Candidate,
        (before, turn): (&[u8], Turn),
    ) -> rusqlite::Result<Result<Vec<u8>, &'static str>> {
        let Ok(event) = serde_json::from_slice::<FiledEvent>(&of.body) else { return Ok(Err("not-rendered")) };
        let told = self.told_now((child, event), before, (&rules.parents.load(), clock::now(), turn));
        let told = told.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.text.into()))?;
        // What takes back says only of whom; what it takes back is decided when it is sent.
        Ok(told.map(|told| if taken_from(Some(before)).is_some() { before.to_vec() } else { told.body }))
    }

    /// The job to go on with: the oldest that runs and is not too far ahead of its receiver.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn running_replay(&self) -> Result<Option<RunningReplay>, StoreError> {
        let sql = "SELECT j.id, r.spec, j.cursor FROM job j JOIN replay r ON r.job = j.id WHERE j.kind = 'replay' AND j.state = 'running' ORDER BY j.id";
        let running: Vec<(i64, String, i64)> = self.list(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        for (job, spec, cursor) in running {
            let sql = "SELECT count(*) FROM (SELECT debt FROM replayed WHERE job = ?1 ORDER BY debt DESC LIMIT ?2) r
                JOIN debt d ON d.id = r.debt WHERE d.state = 'pending'";
            let ahead: i64 = self.read(|c| c.query_row(sql, [job, AHEAD_MAX], |row| row.get(0)))?;
            if ahead < AHEAD_MAX
                && let Ok(order) = serde_json::from_str(&spec)
            {
                return Ok(Some(RunningReplay { job, order, cursor }));
            }
        }
        Ok(None)
    }

    /// How far a job that sends again is; none for another kind.
    pub(super) fn replay_row(&self, job: i64) -> Result<Option<ReplayRow>, StoreError> {
        if !self.has_table("replay")? {
            return Ok(None);
        }
        let sql = "SELECT spec, has, owed, forbidden,
                (SELECT count(*) FROM replayed r JOIN debt d ON d.id = r.debt WHERE r.job = ?1 AND d.state IN ('pending', 'held')),
                (SELECT count(*) FROM replayed r JOIN debt d ON d.id = r.debt WHERE r.job = ?1 AND d.state IN ('delivered', 'superseded'))
            FROM replay WHERE job = ?1";
        type Found = (String, [i64; 5]);
        let found: Option<Found> = self.read(|c| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]));
            c.query_row(sql, [job], row).optional()
        })?;
        let Some((spec, [has, owed, forbidden, pending, delivered])) = found else { return Ok(None) };
        let order =
            serde_json::from_str(&spec).map_err(|error| StoreError { text: format!("job {job} cannot be read: {error}"), exit: 65 })?;
        Ok(Some(ReplayRow { order, has, owed, forbidden, pending, delivered }))
    }

    /// Why a debt was made again; none for one that was made by filing.
    pub(super) fn sent_again(&self, debt: i64) -> Result<Option<SentAgain>, StoreError> {
        if !self.has_table("replayed")? {
            return Ok(None);
        }
        let sql = "SELECT job, of_debt, forced FROM replayed WHERE debt = ?1";
        let row =
            |row: &rusqlite::Row<'_>| Ok(SentAgain { job: row.get(0)?, of_debt: row.get(1)?, forced: row.get(2)?, renamed: Vec::new() });
        let Some(again) = self.read(|c| c.query_row(sql, [debt], row).optional())? else { return Ok(None) };
        let renamed = if self.has_table("debt_renamed")? {
            let sql = "SELECT control_id, before FROM debt_renamed WHERE debt = ?1 ORDER BY place";
            self.list(sql, [debt], |row| Ok(Renamed { control_id: row.get(0)?, before: row.get(1)? }))?
        } else {
            Vec::new()
        };
        Ok(Some(SentAgain { renamed, ..again }))
    }
}

impl Ledger {
    /// What debts are made by.
    pub fn filing_rules(&self) -> &FilingRules {
        &self.shared.rules
    }

    /// Begins a job that sends again. Gives its number.
    ///
    /// # Errors
    ///
    /// The ledger's.
    pub async fn begin_replay(&self, order: &ReplayOrder, events: i64, reason: &str, now: Timestamp) -> Result<i64, StoreError> {
        let spec = serde_json::to_string(order).map_err(|error| StoreError { text: error.to_string(), exit: 70 })?;
        let reason = reason.to_owned();
        self.act_quietly(move |connection, _| {
            audit(connection, now, "replay", &spec, &reason)?;
            let sql = "INSERT INTO job(kind, state, reason, made_us, cursor, looked, changed, total) VALUES('replay', 'running', ?1, ?2, 0, 0, 0, ?3)";
            connection.execute(sql, params![reason, now.as_microsecond(), events])?;
            let job = connection.last_insert_rowid();
            connection.execute("INSERT INTO replay(job, spec, has, owed, forbidden) VALUES(?1, ?2, 0, 0, 0)", params![job, spec])?;
            Ok(job)
        })
        .await
    }

    /// Makes the debts of a batch, unless the job was stopped or is elsewhere meanwhile. Gives how many.
    ///
    /// # Errors
    ///
    /// The ledger's.
    pub async fn replay(&self, running: &RunningReplay, batch: ReplayBatch, now: Timestamp) -> Result<i64, StoreError> {
        let job = running.job;
        self.act_for(move |connection, _| {
            let sql = "SELECT EXISTS(SELECT 1 FROM job WHERE id = ?1 AND state = 'running' AND cursor = ?2)";
            if !connection.query_row(sql, [job, batch.from], |row| row.get::<_, bool>(0))? {
                return Ok(0);
            }
            let mut made = 0;
            for again in &batch.debts {
                made += make(connection, job, again, now)?;
            }
            let sum = |of: fn(&ReplayLine) -> i64| batch.plan.destinations.iter().map(of).sum::<i64>();
            let sql = "UPDATE replay SET has = has + ?2, owed = owed + ?3, forbidden = forbidden + ?4 WHERE job = ?1";
            let late = batch.debts.len() as i64 - made;
            connection.execute(sql, params![job, sum(|l| l.has), sum(|l| l.owed) + late, sum(|l| l.forbidden)])?;
            let sql = "UPDATE job SET cursor = ?2, looked = looked + ?3, changed = changed + ?4, state = ?5, ended_us = ?6 WHERE id = ?1";
            let (state, ended) = if batch.ended { ("done", Some(now.as_microsecond())) } else { ("running", None) };
            connection.execute(sql, params![job, batch.through, batch.plan.events, made, state, ended])?;
            Ok(made)
        })
        .await
    }
}

/// Makes one debt: 1, or 0 where it is owed meanwhile or its record was sealed.
fn make(connection: &Connection, job: i64, again: &Again, now: Timestamp) -> rusqlite::Result<i64> {
    let destination = row_id(connection, "destination", again.destination.as_str())?;
    let sql = "SELECT EXISTS(SELECT 1 FROM child c LEFT JOIN merged m ON m.child = c.id LEFT JOIN child s ON s.id = m.survivor
            WHERE c.id = ?1 AND (c.status = 'sealed' OR s.status = 'sealed'))";
    if connection.prepare_cached(sql)?.query_row([again.child], |row| row.get(0))? {
        return Ok(0);
    }
    let sql = "SELECT body FROM debt WHERE event = ?1 AND destination = ?2 AND state IN ('pending', 'held')";
    let mut owed = connection.prepare_cached(sql)?;
    let bodies = owed.query_map(params![again.event, destination], |row| row.get::<_, Option<Vec<u8>>>(0))?;
    let bodies = bodies.collect::<rusqlite::Result<Vec<_>>>()?;
    if bodies.iter().any(|body| taken_from(body.as_deref()) == taken_from(again.body.as_deref())) {
        return Ok(0);
    }
    let lane = (again.child, again.event);
    super::debts::owe(connection, &again.destination, lane, now.as_microsecond(), again.body.as_deref())?;
    let debt = connection.last_insert_rowid();
    let sql = "INSERT INTO replayed(debt, job, of_debt, forced) VALUES(?1, ?2, ?3, ?4)";
    connection.prepare_cached(sql)?.execute(params![debt, job, again.of_debt, again.own_key])?;
    Ok(1)
}

/// Debts of a cancelled job that were not paid are withdrawn.
pub(super) fn withdraw(connection: &Connection, job: i64, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE debt SET state = 'withdrawn', why = 'cancelled', settled_us = ?2
        WHERE id IN (SELECT debt FROM replayed WHERE job = ?1) AND state IN ('pending', 'held')";
    connection.execute(sql, params![job, now.as_microsecond()]).map(drop)
}

fn is_sealed(reader: &LedgerReader, child: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM child c LEFT JOIN merged m ON m.child = c.id LEFT JOIN child s ON s.id = m.survivor
        WHERE c.id = ?1 AND (c.status = 'sealed' OR s.status = 'sealed'))";
    let unread = |error: StoreError| rusqlite::Error::ToSqlConversionFailure(error.text.into());
    reader.read(|c| c.prepare_cached(sql)?.query_row([child], |row| row.get(0))).map_err(unread)
}

fn owed_before(connection: &Connection, event: i64) -> rusqlite::Result<Vec<OwedBefore>> {
    let sql = "SELECT d.id, n.name, d.child, d.state, d.why, d.body, t.digest FROM debt d JOIN destination n ON n.id = d.destination
        LEFT JOIN debt_sent t ON t.debt = d.id WHERE d.event = ?1 ORDER BY d.id";
    let mut found = connection.prepare_cached(sql)?;
    let rows = found.query_map([event], |row| {
        let body: Option<Vec<u8>> = row.get(5)?;
        Ok(OwedBefore {
            debt: row.get(0)?,
            destination: row.get(1)?,
            child: row.get(2)?,
            state: row.get(3)?,
            why: row.get(4)?,
            back_from: taken_from(body.as_deref()),
            body,
            sent: row.get(6)?,
        })
    })?;
    rows.collect()
}

fn digest_of(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_it_says_and_an_unknown_key_or_nothing_is_refused() {
        let query: ReplayQuery = "destination=region type=ADT^A28 since=2026-03-29 until=2026-03-29".parse().unwrap();
        assert_eq!((query.destination.as_deref(), query.kind.as_deref()), (Some("region"), Some("ADT^A28")));
        // 29 March 2026 has 23 hours.
        assert_eq!(query.since.unwrap().to_string(), "2026-03-29T00:00:00Z");
        assert_eq!(query.until.unwrap().to_string(), "2026-03-29T23:00:00Z");
        for (wrong, told) in
            [("", "everything"), ("hub", "key=value"), ("colour=red", "no key"), ("since=soon", "2026-01-05"), ("child=7", "our id")]
        {
            assert!(wrong.parse::<ReplayQuery>().unwrap_err().contains(told), "{wrong}");
        }
    }
}
