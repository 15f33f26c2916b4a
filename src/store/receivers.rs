//! How receivers stand: what waits for each, and whether a person has stopped it.
//!
//! # In the ledger
//!
//!     receiver   destination | paused since, why | last delivery | last failure and its kind
//!
//! # Invariants
//!
//! - A receiver is stopped by its row here and by nothing else, so a pause outlives every restart.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::StoreError;
use super::debts::HeldGroup;
use super::reader::{LedgerReader, moment};
use super::writer::{Ledger, audit, row_id};
use crate::names::DestinationName;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS receiver(
    destination INTEGER PRIMARY KEY, paused_us INTEGER, pause_reason TEXT, delivered_us INTEGER, failed_us INTEGER, failed_why TEXT) STRICT;
";

/// Debts of a receiver that are shown by themselves.
const SHOWN_MAX: i64 = 20;

/// What waits for one receiver, and what became of its last attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReceiverRow {
    /// Its name.
    pub destination: String,
    /// Since when a person has stopped it, RFC 3339.
    pub paused: Option<String>,
    /// Why.
    pub pause_reason: Option<String>,
    /// Debts that wait.
    pub pending: i64,
    /// Of these behind a held debt of the same child: they wait until a person looks.
    pub behind_held: i64,
    /// Children for whom something waits.
    pub lanes: i64,
    /// Held debts by cause.
    pub held: Vec<HeldGroup>,
    /// When the oldest debt that waits was made, RFC 3339.
    pub oldest: Option<String>,
    /// When it last took something.
    pub last_success: Option<String>,
    /// When an attempt last failed.
    pub last_failure: Option<String>,
    /// How it failed: a status or a kind of failure.
    pub last_failure_why: Option<String>,
}

/// A debt of one receiver that did not go through yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingDebt {
    /// Its number.
    pub debt: i64,
    /// The message.
    pub seq: i64,
    /// `pending`, `held`.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// How the last one failed.
    pub why: String,
    /// When it was made, RFC 3339.
    pub made: String,
}

/// What waits for a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Debts that wait.
    pub pending: i64,
    /// Held debts.
    pub held: i64,
    /// When the oldest that waits was made.
    pub oldest: Option<Timestamp>,
    /// When the oldest was made that does not wait behind a held debt; looked for among the first [`LOOKED_AT_MAX`] that wait.
    pub oldest_free: Option<Timestamp>,
}

/// Of so many debts it is looked whether they wait behind a held one.
pub const LOOKED_AT_MAX: i64 = 10_000;

/// What stopping a receiver, or letting it go on, does.
#[derive(Clone, Debug, Serialize)]
pub struct PauseEffect {
    /// The receiver.
    pub destination: String,
    /// `paused`, `running`.
    pub was: String,
    /// `paused`, `running`.
    pub then: String,
    /// Debts that wait now: they wait on, or go.
    pub pending: i64,
    /// When the oldest was made, RFC 3339.
    pub oldest: Option<String>,
    /// Done, or only shown.
    pub done: bool,
}

impl Ledger {
    /// Stops a receiver, or lets it go on; or with `is_trial` says what that would do. An attempt under way ends as it ends.
    ///
    /// # Errors
    ///
    /// The ledger's.
    pub async fn pause_receiver(
        &self,
        destination: &DestinationName,
        is_paused: bool,
        (reason, is_trial): (&str, bool),
        now: Timestamp,
    ) -> Result<PauseEffect, StoreError> {
        let (name, reason) = (destination.clone(), reason.to_owned());
        let word = |paused: bool| if paused { "paused" } else { "running" }.to_owned();
        let act = self.act_quietly(move |connection, _| {
            let id = row_id(connection, "destination", name.as_str())?;
            let sql = "SELECT paused_us IS NOT NULL FROM receiver WHERE destination = ?1";
            let was: bool = connection.query_row(sql, [id], |row| row.get(0)).optional()?.unwrap_or(false);
            let sql = "SELECT count(*) FROM debt WHERE destination = ?1 AND state = 'pending'";
            let pending = connection.query_row(sql, [id], |row| row.get(0))?;
            let sql = "SELECT made_us FROM debt WHERE destination = ?1 AND state = 'pending' ORDER BY id LIMIT 1";
            let oldest: Option<i64> = connection.query_row(sql, [id], |row| row.get(0)).optional()?;
            let done = !is_trial && was != is_paused;
            if done {
                let sql = "INSERT INTO receiver(destination, paused_us, pause_reason) VALUES(?1, ?2, ?3)
                    ON CONFLICT(destination) DO UPDATE SET paused_us = excluded.paused_us, pause_reason = excluded.pause_reason";
                let (since, why) = if is_paused { (Some(now.as_microsecond()), Some(reason.as_str())) } else { (None, None) };
                connection.execute(sql, params![id, since, why])?;
                audit(connection, now, if is_paused { "dest-pause" } else { "dest-resume" }, name.as_str(), &reason)?;
            }
            let oldest = oldest.map(moment);
            Ok(PauseEffect { destination: name.to_string(), was: word(was), then: word(is_paused), pending, oldest, done })
        });
        let effect = act.await?;
        self.debts_were_put_back();
        Ok(effect)
    }
}

impl LedgerReader {
    /// True where a person has stopped this receiver.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn is_paused(&self, destination: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS(SELECT 1 FROM receiver WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND paused_us IS NOT NULL)";
        self.read(|c| c.prepare_cached(sql)?.query_row([destination], |row| row.get(0)))
    }

    /// How many debts of a receiver wait, how many are held, and how old they are.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn queue(&self, destination: &str) -> Result<Queue, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM debt WHERE destination = n.id AND state = 'pending'),
                (SELECT count(*) FROM debt WHERE destination = n.id AND state = 'held'),
                (SELECT made_us FROM debt WHERE destination = n.id AND state = 'pending' ORDER BY id LIMIT 1),
                (SELECT w.made_us FROM (SELECT id, child, made_us FROM debt WHERE destination = n.id AND state = 'pending' ORDER BY id LIMIT ?2) w
                    WHERE NOT EXISTS (SELECT 1 FROM debt h WHERE h.destination = n.id AND h.state = 'held' AND h.child = w.child AND h.id < w.id)
                    ORDER BY w.id LIMIT 1)
            FROM destination n WHERE n.name = ?1";
        let at = |row: &rusqlite::Row<'_>, column: usize| -> rusqlite::Result<Option<Timestamp>> {
            Ok(row.get::<_, Option<i64>>(column)?.and_then(|us| Timestamp::from_microsecond(us).ok()))
        };
        let queue =
            |row: &rusqlite::Row<'_>| Ok(Queue { pending: row.get(0)?, held: row.get(1)?, oldest: at(row, 2)?, oldest_free: at(row, 3)? });
        Ok(self.read(|c| c.prepare_cached(sql)?.query_row(params![destination, LOOKED_AT_MAX], queue).optional())?.unwrap_or_default())
    }

    /// How a receiver stands in the ledger.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn receiver(&self, destination: &str) -> Result<ReceiverRow, StoreError> {
        let mut row = ReceiverRow { destination: destination.to_owned(), ..ReceiverRow::default() };
        let queue = self.queue(destination)?;
        (row.pending, row.oldest) = (queue.pending, queue.oldest.map(|at| at.to_string()));
        if 0 < queue.held {
            let sql = "SELECT count(*) FROM (SELECT destination, child, min(id) AS debt FROM debt
                    WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND state = 'held' GROUP BY child) h
                JOIN debt d ON d.destination = h.destination AND d.child = h.child AND d.state = 'pending' AND h.debt < d.id";
            row.behind_held = self.read(|c| c.query_row(sql, [destination], |row| row.get(0)))?;
        }
        let sql =
            "SELECT count(DISTINCT child) FROM debt WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND state = 'pending'";
        row.lanes = self.read(|c| c.query_row(sql, [destination], |row| row.get(0)))?;
        row.held = self.held_groups(Some(destination))?;
        if self.has_table("receiver")? {
            let sql = "SELECT paused_us, pause_reason, delivered_us, failed_us, failed_why FROM receiver
                WHERE destination = (SELECT id FROM destination WHERE name = ?1)";
            self.list(sql, [destination], |columns| {
                let at = |column: usize| columns.get::<_, Option<i64>>(column).map(|us| us.map(moment));
                (row.paused, row.pause_reason, row.last_success) = (at(0)?, columns.get(1)?, at(2)?);
                (row.last_failure, row.last_failure_why) = (at(3)?, columns.get(4)?);
                Ok(())
            })?;
        }
        Ok(row)
    }

    /// The oldest debts of a receiver that wait, and the oldest that are held.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn waiting_debts(&self, destination: &str) -> Result<Vec<WaitingDebt>, StoreError> {
        let mut waiting = Vec::new();
        for state in ["pending", "held"] {
            let sql = format!(
                "SELECT id, event / 1024, state, attempts, why, made_us FROM debt
                WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND state = '{state}' ORDER BY id LIMIT ?2"
            );
            waiting.extend(self.list(&sql, params![destination, SHOWN_MAX], |row| {
                Ok(WaitingDebt {
                    debt: row.get(0)?,
                    seq: row.get(1)?,
                    state: row.get(2)?,
                    attempts: row.get(3)?,
                    why: row.get(4)?,
                    made: moment(row.get(5)?),
                })
            })?);
        }
        Ok(waiting)
    }
}
