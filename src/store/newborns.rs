//! The end of a child's first 28 days, which decides hubs by itself: from then on the mother's practice and home say nothing of the child
//! any more, and a hospital's hub hears no more of one that lives outside (routing rules, sections 2 and 3).
//!
//! # In the ledger
//!
//!     newborn   (day on which the 28 days have ended, child): who is to be looked at on which day
//!
//! # Invariants
//!
//! - The row of a child follows its date of birth in the same transaction; whoever was looked at has none any more.
//! - A day looks at the children whose days ended since the last one, found by the day, and at nobody else.
//! - A batch, and the note that the day is done, are one transaction: killed and started again, it goes on where it was.
//! - A record that cannot be read is named, left for the next day, and stops nobody.
//!
//! # Not here
//!
//! The 28 days of a hub that a child left: they are counted at each screening result, which is told or not told (`transfers.rs`); that
//! hub is history for the child from the move on, so that on the last day nothing changes.

use jiff::{Timestamp, ToSpan, civil};
use rusqlite::{Connection, params};
use serde::Serialize;

use super::assign::{JOB_BATCH, decided_anew};
use super::filing::{ActOf, Assigned, FilingRules, assign_all};
use super::index::{Index, OnRecord};
use super::kin::{day_number, walk_once};
use super::rows::StoreError;
use super::writer::Ledger;
use super::{assign, calendar, unread};
use crate::canon::{Child, Date};
use crate::identity::age_days;
use crate::routing::NEWBORN_DAYS;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS newborn(ends INTEGER NOT NULL, child INTEGER NOT NULL, PRIMARY KEY(ends, child)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS newborn_child ON newborn(child);
";

/// The name of the daily job.
pub const NEWBORNS_JOB: &str = "newborns";

/// Why a hub changed.
const REASON: &str = "the first 28 days have ended";

/// What a batch of a day did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewbornsEnded {
    /// Children looked at.
    pub looked: usize,
    /// Those that another hub looks after, or gets copies of, from now on.
    pub changed: usize,
    /// Our ids of those whose record cannot be read: looked at again the next day.
    pub unread: Vec<String>,
    /// True where the day is done.
    pub done: bool,
}

/// Makes the row of a child follow its date of birth.
pub(super) fn follow(
    connection: &Connection,
    child: i64,
    before: Option<&Child>,
    after: &Child,
    today: civil::Date,
) -> rusqlite::Result<()> {
    match before {
        Some(before) if before.birth.date == after.birth.date => return Ok(()),
        Some(_) => connection.prepare_cached("DELETE FROM newborn WHERE child = ?1")?.execute([child]).map(drop)?,
        None => {}
    }
    insert(connection, child, after, today)
}

fn insert(connection: &Connection, child: i64, record: &Child, today: civil::Date) -> rusqlite::Result<()> {
    let born = record.birth.date.as_ref().and_then(Date::civil);
    let ends = born.filter(|_| age_days(record, today).is_some_and(|age| age < NEWBORN_DAYS));
    let Some(ends) = ends.and_then(|born| born.checked_add(NEWBORN_DAYS.days()).ok()) else { return Ok(()) };
    let sql = "INSERT OR IGNORE INTO newborn(ends, child) VALUES(?1, ?2)";
    connection.prepare_cached(sql)?.execute([day_number(ends), child]).map(drop)
}

/// Makes the rows of children that were on record before there were any, once.
pub(super) fn fill(connection: &Connection, today: civil::Date) -> rusqlite::Result<()> {
    walk_once(connection, "newborns_through", &|child, record| insert(connection, child, &record.child, today))
}

/// Decides again where children belong whose 28 days have ended by `day`, a batch of them; with the last one the day is done.
fn end_day(connection: &Connection, rules: &FilingRules, day: civil::Date, now: Timestamp) -> rusqlite::Result<NewbornsEnded> {
    let mut ended = NewbornsEnded::default();
    let through = day_number(day);
    let sql = "SELECT ends, child FROM newborn WHERE ends <= ?1 ORDER BY ends, child LIMIT ?2";
    let rows: Vec<(i64, i64)> = connection
        .prepare_cached(sql)?
        .query_map(params![through, JOB_BATCH as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let (directory, today) = (rules.directory.load(), rules.today(now));
    let mut changes = Vec::new();
    for (ends, child) in &rows {
        connection.prepare_cached("DELETE FROM newborn WHERE ends = ?1 AND child = ?2")?.execute([ends, child])?;
        match Index(connection).look(*child)? {
            OnRecord::Whole(row) => {
                ended.looked += 1;
                if let Some(route) = decided_anew(&directory, &row.record, today) {
                    let since_us = since(connection, rules, (*ends, *child), now)?;
                    changes.push(Assigned { row: *row, route, since_us });
                }
            }
            OnRecord::Unreadable { row, name } => {
                unread::ask(connection, row, now.as_microsecond())?;
                let next = day_number(day.tomorrow().unwrap_or(day));
                connection.prepare_cached("INSERT OR IGNORE INTO newborn(ends, child) VALUES(?1, ?2)")?.execute([next, *child])?;
                ended.unread.push(name);
            }
            OnRecord::Missing => {}
        }
    }
    ended.changed = changes.len();
    let last = rows.last().map_or(0, |(_, child)| *child);
    let act = ActOf { kind: "hub-newborns", control_id: &format!("newborns-{day}-{last}"), reason: REASON, now };
    assign_all(connection, rules, changes, &act)?;
    if rows.len() < JOB_BATCH {
        assign::put_back_unread(connection)?;
        calendar::done(connection, NEWBORNS_JOB, "", &day.to_string(), now)?;
        ended.done = true;
    }
    Ok(ended)
}

/// A change holds since the beginning of the day on which the 28 days had ended, but not from before what is on record already.
fn since(connection: &Connection, rules: &FilingRules, (ends, child): (i64, i64), now: Timestamp) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(since_us), 0) FROM hub_history WHERE child = ?1";
    let last: i64 = connection.prepare_cached(sql)?.query_row([child], |row| row.get(0))?;
    let began = super::kin::day_of(ends).and_then(|day| rules.start_of(day)).unwrap_or(now);
    Ok(began.as_microsecond().max(last))
}

impl Ledger {
    /// Looks again at the children whose first 28 days have ended by `day`, a batch of them; to be asked until the day is done.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn end_newborns(&self, day: civil::Date, now: Timestamp) -> Result<NewbornsEnded, StoreError> {
        self.act_for(move |connection, rules| end_day(connection, rules, day, now)).await
    }
}
