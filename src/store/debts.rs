//! Debts: how one is made, which one is next, how attempts end, and what people do with those that are held.
//!
//! # In the ledger
//!
//!     debt_attempt  attempts at debts that did not go through at once: the first and the last twenty of each debt
//!     debt_sent     digest of what was sent, where it is not what stands with the debt
//!     debt_renamed  control ids of what was sent again by force, each with the one that the message had at first
//!
//! # Invariants
//!
//! - A debt that went through at its first attempt has no row in `debt_attempt`: its own row says all of it.
//! - `why` is a status or a kind of failure, never a word of a receiver.
//! - Held debts are released oldest first, so that each lane keeps its order.
//! - What was delivered stays so, but for rows that waited for their file and may not be said when it is made.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;

use super::StoreError;
use super::reader::{LedgerReader, moment};
use super::writer::{Ledger, row_id};
use crate::clock;
use crate::names::DestinationName;
use crate::outbox::{Settled, Settlement};

/// What later programs added. The index that all pending debts had before told nothing of their lanes.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS debt_attempt(
    debt INTEGER NOT NULL, number INTEGER NOT NULL, at_us INTEGER NOT NULL, outcome TEXT NOT NULL, why TEXT NOT NULL,
    PRIMARY KEY(debt, number)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS debt_sent(debt INTEGER PRIMARY KEY, digest BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS debt_renamed(debt INTEGER NOT NULL, place INTEGER NOT NULL, control_id TEXT NOT NULL, before TEXT NOT NULL,
    PRIMARY KEY(debt, place)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS debt_order ON debt(destination, id, child) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS debt_lane ON debt(destination, child, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS debt_cause ON debt(destination, why, id) WHERE state = 'held';
DROP INDEX IF EXISTS debt_pending;
";

/// Attempts kept of a debt: so many first ones, and so many last ones.
const ATTEMPTS_KEPT: i64 = 20;
/// Held debts released or withdrawn in one transaction.
const GROUP_BATCH: i64 = 500;

/// Owes an event of a child to a destination. `body`: what is delivered beside the event or in its place.
pub(super) fn owe(
    connection: &Connection,
    destination: &DestinationName,
    (child, event): (i64, i64),
    made_us: i64,
    body: Option<&[u8]>,
) -> rusqlite::Result<()> {
    let destination = row_id(connection, "destination", destination.as_str())?;
    let sql =
        "INSERT INTO debt(destination, child, event, state, attempts, why, made_us, body) VALUES(?1, ?2, ?3, 'pending', 0, '', ?4, ?5)";
    connection.prepare_cached(sql)?.execute(params![destination, child, event, made_us, body]).map(drop)
}

/// Notes how attempts ended, all of one receiver.
pub(super) fn settle_all(connection: &Connection, settled: &[Settled]) -> rusqlite::Result<()> {
    let now = clock::now().as_microsecond();
    for one in settled {
        settle(connection, one, now)?;
    }
    let is_taken = |one: &&Settled| matches!(one.settlement, Settlement::Delivered | Settlement::Superseded);
    if let Some(last) = settled.iter().rev().find(is_taken) {
        let sql = "INSERT INTO receiver(destination, delivered_us) SELECT destination, ?2 FROM debt WHERE id = ?1
            ON CONFLICT(destination) DO UPDATE SET delivered_us = excluded.delivered_us";
        connection.prepare_cached(sql)?.execute(params![last.debt, now])?;
    }
    let why = |one: &Settled| match &one.settlement {
        Settlement::Retry { why, .. } | Settlement::Held { why } => Some((one.debt, why.clone())),
        _ => None,
    };
    if let Some((debt, why)) = settled.iter().rev().find_map(why) {
        let sql = "INSERT INTO receiver(destination, failed_us, failed_why) SELECT destination, ?2, ?3 FROM debt WHERE id = ?1
            ON CONFLICT(destination) DO UPDATE SET failed_us = excluded.failed_us, failed_why = excluded.failed_why";
        connection.prepare_cached(sql)?.execute(params![debt, now, why])?;
    }
    Ok(())
}

fn settle(connection: &Connection, one: &Settled, now: i64) -> rusqlite::Result<()> {
    let Settled { debt, attempts, settlement, sent, renamed } = one;
    let (state, why, settled) = match settlement {
        Settlement::Delivered => ("delivered", "", Some(now)),
        Settlement::Superseded => ("superseded", "", Some(now)),
        Settlement::Withdrawn { rule } => ("withdrawn", *rule, Some(now)),
        Settlement::Retry { why, .. } => ("pending", why.as_str(), None),
        Settlement::Held { why } => ("held", why.as_str(), None),
    };
    let is_taken = matches!(settlement, Settlement::Delivered | Settlement::Superseded);
    // What was on its way when its job was cancelled, and has arrived, was delivered.
    let sql = "UPDATE debt SET state = ?2, attempts = ?3, why = ?4, settled_us = ?5
        WHERE id = ?1 AND (state = 'pending' OR (?6 AND state = 'withdrawn' AND why = 'cancelled'))";
    connection.prepare_cached(sql)?.execute(params![debt, state, attempts, why, settled, is_taken])?;
    if !(is_taken && *attempts == 1) {
        let outcome = if state == "pending" { "retry" } else { state };
        note_attempt(connection, *debt, now, outcome, why)?;
    }
    for (place, (control_id, before)) in (1_i64..).zip(renamed) {
        let sql = "INSERT INTO debt_renamed(debt, place, control_id, before) VALUES(?1, ?2, ?3, ?4)
            ON CONFLICT(debt, place) DO UPDATE SET control_id = excluded.control_id, before = excluded.before";
        connection.prepare_cached(sql)?.execute(params![debt, place, control_id, before])?;
    }
    if is_taken {
        super::failsafe::mark_paid(connection, *debt)?;
        if let Some(digest) = sent {
            let sql = "INSERT INTO debt_sent(debt, digest) VALUES(?1, ?2) ON CONFLICT(debt) DO UPDATE SET digest = excluded.digest";
            connection.prepare_cached(sql)?.execute(params![debt, digest.as_slice()])?;
        }
    }
    Ok(())
}

/// Attempts count on where a debt is released and its own count begins anew. Those in the middle make room.
fn note_attempt(connection: &Connection, debt: i64, now: i64, outcome: &str, why: &str) -> rusqlite::Result<()> {
    let sql = "SELECT coalesce(max(number), 0) + 1 FROM debt_attempt WHERE debt = ?1";
    let number: i64 = connection.prepare_cached(sql)?.query_row([debt], |row| row.get(0))?;
    let sql = "INSERT INTO debt_attempt(debt, number, at_us, outcome, why) VALUES(?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(sql)?.execute(params![debt, number, now, outcome, why])?;
    let sql = "DELETE FROM debt_attempt WHERE debt = ?1 AND number = ?2 AND ?3 < number";
    connection.prepare_cached(sql)?.execute(params![debt, number - ATTEMPTS_KEPT, ATTEMPTS_KEPT]).map(drop)
}

/// One attempt at a debt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptRow {
    /// Which one, from 1; those between the first and the last twenty are not kept.
    pub number: i64,
    /// When, RFC 3339.
    pub at: String,
    /// `retry`, `delivered`, `superseded`, `withdrawn`, `held`.
    pub outcome: String,
    /// `HTTP 503`, `connection refused`; empty where it went through.
    pub why: String,
}

/// Held debts of one destination and one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldGroup {
    /// Whom.
    pub destination: String,
    /// `HTTP 422`.
    pub why: String,
    /// Debts.
    pub debts: i64,
    /// When the oldest was made, RFC 3339.
    pub since: String,
}

/// Which held debts are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldDebts {
    /// One, by its number.
    One(i64),
    /// Those of a destination with this cause; without one all of it.
    Group(DestinationName, Option<String>),
}

impl std::fmt::Display for HeldDebts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(debt) => write!(f, "debt {debt}"),
            Self::Group(destination, Some(why)) => write!(f, "debts to {destination} held for {why:?}"),
            Self::Group(destination, None) => write!(f, "all held debts to {destination}"),
        }
    }
}

/// What is done with held debts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldAct {
    /// They go back into their lanes.
    Release,
    /// They are withdrawn by this person; their lanes go on without them.
    Discard {
        /// Who.
        by: String,
    },
}

/// What an act on held debts does, before it is done.
#[derive(Clone, Debug, Serialize)]
pub struct HeldEffect {
    /// Debts released or withdrawn.
    pub debts: i64,
    /// Lanes that go on.
    pub lanes: i64,
    /// Later debts that waited behind them.
    pub behind: i64,
    /// By destination and cause.
    pub groups: Vec<HeldGroup>,
    /// Done, or only shown.
    pub done: bool,
}

/// The next held debts of a destination, of one cause and of all: each in the order of an index, which keeps the order of each lane.
pub(super) const NEXT_OF_CAUSE: &str =
    "SELECT id FROM debt WHERE state = 'held' AND destination = (SELECT id FROM destination WHERE name = ?1) AND why = ?2
    AND id <= ?3 ORDER BY id LIMIT ?4";
pub(super) const NEXT_OF_ALL: &str =
    "SELECT id FROM debt WHERE state = 'held' AND destination = (SELECT id FROM destination WHERE name = ?1)
    AND ?2 = '' AND id <= ?3 ORDER BY child, id LIMIT ?4";
const GROUP: &str = "state = 'held' AND destination = (SELECT id FROM destination WHERE name = ?1) AND (?2 IS NULL OR why = ?2)";

impl Ledger {
    /// Notes how attempts at one receiver ended. Resolves after the commit; false when it could not be noted.
    pub async fn settle<S: Into<Settled>>(&self, settled: Vec<S>) -> bool {
        self.settle_noted(settled.into_iter().map(Into::into).collect()).await
    }

    /// Notes of debts whose rows waited for their file how they ended without it: withdrawn or held. Resolves after the commit.
    ///
    /// # Errors
    ///
    /// The ledger's: nothing is noted.
    pub async fn take_out(&self, ended: Vec<(i64, Settlement)>, now: Timestamp) -> Result<(), StoreError> {
        if ended.is_empty() {
            return Ok(());
        }
        self.act_quietly(move |connection, _| ended.iter().try_for_each(|(debt, how)| take_out(connection, *debt, how, now))).await
    }

    /// Puts a held debt back into its lane. `reason` is a person's, for the audit.
    ///
    /// # Errors
    ///
    /// 66 where it is not held; else the ledger's.
    pub async fn release_debt(&self, debt: i64, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.held_debts(HeldDebts::One(debt), HeldAct::Release, (reason, false), now).await.map(drop)
    }

    /// Releases or withdraws held debts, or with `is_trial` says which ones. A group is done in batches, its oldest first; what is held
    /// meanwhile is left.
    ///
    /// # Errors
    ///
    /// 66 where nothing like it is held; else the ledger's.
    pub async fn held_debts(
        &self,
        debts: HeldDebts,
        act: HeldAct,
        (reason, is_trial): (&str, bool),
        now: Timestamp,
    ) -> Result<HeldEffect, StoreError> {
        let reader = LedgerReader::open(self.data());
        let asked = debts.clone();
        let looked = tokio::task::spawn_blocking(move || reader?.held_effect(&asked)).await;
        let effect = looked.map_err(|_| StoreError { text: "the held debts could not be looked at".into(), exit: 70 })??;
        let Some((mut effect, last)) = effect else {
            return Err(StoreError { text: format!("{debts}: nothing is held; `held list` shows what is"), exit: 66 });
        };
        if is_trial {
            return Ok(effect);
        }
        let (word, by) = match &act {
            HeldAct::Release => ("release-debt", String::new()),
            HeldAct::Discard { by } => ("discard-debt", format!(" by {by}")),
        };
        self.audit(word, &format!("{debts}{by}"), reason, now).await?;
        let mut done = 0;
        loop {
            let (debts, act) = (debts.clone(), act.clone());
            let changed = self.act_quietly(move |connection, _| change(connection, (&debts, last), &act, now)).await?;
            done += changed;
            if changed < GROUP_BATCH {
                break;
            }
        }
        self.debts_were_put_back();
        (effect.debts, effect.done) = (done, true);
        Ok(effect)
    }
}

fn take_out(connection: &Connection, debt: i64, how: &Settlement, now: Timestamp) -> rusqlite::Result<()> {
    let (state, why, settled) = match how {
        Settlement::Withdrawn { rule } => ("withdrawn", *rule, Some(now.as_microsecond())),
        Settlement::Held { why } => ("held", why.as_str(), None),
        Settlement::Delivered | Settlement::Superseded | Settlement::Retry { .. } => return Ok(()),
    };
    // Of one that went through at once its own row says so; that is written down before it says otherwise.
    let sql = "INSERT INTO debt_attempt(debt, number, at_us, outcome, why) SELECT id, 1, settled_us, 'delivered', '' FROM debt
        WHERE id = ?1 AND state = 'delivered' AND NOT EXISTS (SELECT 1 FROM debt_attempt WHERE debt = ?1)";
    connection.prepare_cached(sql)?.execute([debt])?;
    let sql = "UPDATE debt SET state = ?2, why = ?3, settled_us = ?4 WHERE id = ?1 AND state IN ('pending', 'delivered')";
    if 0 < connection.prepare_cached(sql)?.execute(params![debt, state, why, settled])? {
        note_attempt(connection, debt, now.as_microsecond(), state, why)?;
    }
    Ok(())
}

/// The next batch; gives how many it were.
fn change(connection: &Connection, (debts, last): (&HeldDebts, i64), act: &HeldAct, now: Timestamp) -> rusqlite::Result<i64> {
    let ids: Vec<i64> = match debts {
        HeldDebts::One(debt) => vec![*debt],
        HeldDebts::Group(destination, why) => {
            let (sql, why) = match why {
                Some(why) => (NEXT_OF_CAUSE, why.as_str()),
                None => (NEXT_OF_ALL, ""),
            };
            let mut found = connection.prepare_cached(sql)?;
            let rows = found.query_map(params![destination.as_str(), why, last, GROUP_BATCH], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<_>>()?
        }
    };
    let sql = match act {
        HeldAct::Release => "UPDATE debt SET state = 'pending', attempts = 0 WHERE id = ?1 AND state = 'held' AND ?2 IS NOT NULL",
        HeldAct::Discard { .. } => {
            "UPDATE debt SET state = 'withdrawn', why = 'discarded', settled_us = ?2 WHERE id = ?1 AND state = 'held'"
        }
    };
    let mut update = connection.prepare_cached(sql)?;
    let mut changed = 0;
    for debt in ids {
        changed += update.execute(params![debt, now.as_microsecond()])?;
        if let HeldAct::Discard { .. } = act {
            note_attempt(connection, debt, now.as_microsecond(), "withdrawn", "discarded")?;
        }
    }
    Ok(changed as i64)
}

impl LedgerReader {
    /// The oldest debt of a lane that waits.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn lane_head(&self, destination: &str, child: i64) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT min(id) FROM debt WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND state = 'pending' AND child = ?2";
        self.read(|c| c.prepare_cached(sql)?.query_row(params![destination, child], |row| row.get(0)))
    }

    /// True where a debt of this lane before `debt` is held.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn lane_stands(&self, destination: &str, child: i64, debt: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS(SELECT 1 FROM debt WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND state = 'held'
            AND child = ?2 AND id < ?3)";
        self.read(|c| c.prepare_cached(sql)?.query_row(params![destination, child, debt], |row| row.get(0)))
    }

    /// Attempts at a debt as far as they are kept. `done`: how the debt itself says that it ended, for one that went through at once.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn attempts(&self, debt: i64) -> Result<Vec<AttemptRow>, StoreError> {
        if !self.has_table("debt_attempt")? {
            return Ok(Vec::new());
        }
        let sql = "SELECT number, at_us, outcome, why FROM debt_attempt WHERE debt = ?1 ORDER BY number";
        let kept = self.list(sql, [debt], |row| {
            Ok(AttemptRow { number: row.get(0)?, at: moment(row.get(1)?), outcome: row.get(2)?, why: row.get(3)? })
        })?;
        if !kept.is_empty() {
            return Ok(kept);
        }
        let sql = "SELECT settled_us, state FROM debt WHERE id = ?1 AND attempts = 1 AND state IN ('delivered', 'superseded')";
        self.list(sql, [debt], |row| Ok(AttemptRow { number: 1, at: moment(row.get(0)?), outcome: row.get(1)?, why: String::new() }))
    }

    /// Held debts by destination and cause; of one destination, or of all.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn held_groups(&self, destination: Option<&str>) -> Result<Vec<HeldGroup>, StoreError> {
        let sql =
            "SELECT n.name, d.why, count(*), min(d.made_us) FROM destination n JOIN debt d ON d.destination = n.id AND d.state = 'held'
            WHERE ?1 IS NULL OR n.name = ?1 GROUP BY n.name, d.why ORDER BY n.name, count(*) DESC";
        self.list(sql, [destination], |row| {
            Ok(HeldGroup { destination: row.get(0)?, why: row.get(1)?, debts: row.get(2)?, since: moment(row.get(3)?) })
        })
    }

    /// What an act on these would be on, and the last of them; none where nothing is held.
    fn held_effect(&self, debts: &HeldDebts) -> Result<Option<(HeldEffect, i64)>, StoreError> {
        let (condition, first, second) = match debts {
            HeldDebts::One(debt) => ("state = 'held' AND ?2 IS NULL AND id = CAST(?1 AS INTEGER)", debt.to_string(), None),
            HeldDebts::Group(destination, why) => (GROUP, destination.to_string(), why.clone()),
        };
        let sql = format!("SELECT count(*), count(DISTINCT child), max(id) FROM debt WHERE {condition}");
        let found: (i64, i64, Option<i64>) =
            self.read(|c| c.query_row(&sql, params![first, second], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))?;
        let (count, lanes, Some(last)) = found else { return Ok(None) };
        let sql = format!(
            "WITH first AS (SELECT destination, child, min(id) AS debt FROM debt WHERE {condition} GROUP BY 1, 2)
            SELECT count(*) FROM first f JOIN debt d ON d.destination = f.destination AND d.child = f.child AND d.state = 'pending' AND f.debt < d.id"
        );
        let behind = self.read(|c| c.query_row(&sql, params![first, second], |row| row.get(0)))?;
        let sql = format!(
            "SELECT n.name, d.why, count(*), min(d.made_us) FROM (SELECT * FROM debt WHERE {condition}) d
            JOIN destination n ON n.id = d.destination GROUP BY 1, 2"
        );
        let groups = self.list(&sql, params![first, second], |row| {
            Ok(HeldGroup { destination: row.get(0)?, why: row.get(1)?, debts: row.get(2)?, since: moment(row.get(3)?) })
        })?;
        Ok(Some((HeldEffect { debts: count, lanes, behind, groups, done: false }, last)))
    }
}

/// True while something of a child is not settled at a destination.
pub(super) fn is_owed(connection: &Connection, destination: &DestinationName, child: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM debt WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND child = ?2 AND state IN ('pending', 'held')";
    connection.prepare_cached(sql)?.exists(params![destination.as_str(), child])
}
