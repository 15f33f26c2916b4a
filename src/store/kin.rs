//! By whom and by what a child can be found without an identifier of its own: its mother's identifiers with its birthday, and its details
//! (identity rules, section 2, steps 3 and 4; section 6).
//!
//! # In the ledger
//!
//!     kin           (identifier of a mother, birthday, child): all her children, where relation_identifier keeps the first alone
//!     likeness      (birthday, mark, child): a mark is a number made of family name, sex and postcode, and says none of them
//!     mother_alias  identifiers that her hospital gave up for another one: links made under either are found under both
//!     barred        children whom these steps never find
//!
//! # Invariants
//!
//! - The rows of a child follow its record in the same transaction. A merged, sealed or invalidated record has none.
//! - Children of ledgers made before these tables get their rows when the ledger is opened, in batches; a start that was cut short goes on.

use jiff::{ToSpan, civil};
use rusqlite::{Connection, OptionalExtension, params};

use crate::canon::{Child, Date, Identifier};
use crate::identity::{self, Record};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS kin(system TEXT NOT NULL, value TEXT NOT NULL, born INTEGER NOT NULL, child INTEGER NOT NULL,
    PRIMARY KEY(system, value, born, child)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kin_child ON kin(child);
CREATE TABLE IF NOT EXISTS likeness(born INTEGER NOT NULL, mark INTEGER NOT NULL, child INTEGER NOT NULL,
    PRIMARY KEY(born, mark, child)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS likeness_child ON likeness(child);
CREATE TABLE IF NOT EXISTS mother_alias(system TEXT NOT NULL, value TEXT NOT NULL, to_system TEXT NOT NULL, to_value TEXT NOT NULL,
    PRIMARY KEY(system, value)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS barred(child INTEGER PRIMARY KEY) STRICT;
";

/// Children whose rows are made in one transaction at the first start.
const BATCH: i64 = 10_000;
/// Aliases of aliases: a chain is collapsed when it is made, so that a longer one is damage.
const ALIASES_MAX: usize = 16;
/// Children that one mother's birth, or one mark, may give to be compared.
const FOUND_MAX: i64 = 32;

/// A day as it is kept: 20260105.
pub(super) fn day_number(day: civil::Date) -> i64 {
    i64::from(day.year()) * 10_000 + i64::from(day.month()) * 100 + i64::from(day.day())
}

/// The day of a number.
pub(super) fn day_of(number: i64) -> Option<civil::Date> {
    civil::Date::new((number / 10_000) as i16, (number / 100 % 100) as i8, (number % 100) as i8).ok()
}

fn born(child: &Child) -> Option<civil::Date> {
    child.birth.date.as_ref().and_then(Date::civil)
}

/// True where a change of the record can change the rows.
fn bears_on(before: &Child, after: &Child) -> bool {
    (&before.relations, &before.birth.date, &before.names) != (&after.relations, &after.birth.date, &after.names)
        || (&before.sex, &before.addresses, &before.status) != (&after.sex, &after.addresses, &after.status)
        || before.flags.adoption_barrier != after.flags.adoption_barrier
}

/// Makes the rows of a child follow its record. `before`: the record before, none for a new child.
pub(super) fn follow(connection: &Connection, child: i64, before: Option<&Child>, after: &Child) -> rusqlite::Result<()> {
    match before {
        Some(before) if !bears_on(before, after) => return Ok(()),
        Some(_) => clear(connection, child)?,
        None => {}
    }
    insert(connection, child, after)
}

/// Takes a child out of every index by which another record could lead to it.
pub(super) fn clear(connection: &Connection, child: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM kin WHERE child = ?1")?.execute([child])?;
    connection.prepare_cached("DELETE FROM likeness WHERE child = ?1")?.execute([child]).map(drop)
}

/// From now on steps 3 and 4 never find this child.
pub(super) fn bar(connection: &Connection, child: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR IGNORE INTO barred(child) VALUES(?1)")?.execute([child]).map(drop)
}

fn insert(connection: &Connection, child: i64, record: &Child) -> rusqlite::Result<()> {
    let Some(day) = born(record).filter(|_| record.goes_on() && !record.flags.adoption_barrier) else { return Ok(()) };
    let day = day_number(day);
    for id in identity::mothers_ids(record) {
        let (system, value) = of_today(connection, &id.system, &id.value)?;
        let sql = "INSERT OR IGNORE INTO kin(system, value, born, child) VALUES(?1, ?2, ?3, ?4)";
        connection.prepare_cached(sql)?.execute(params![system, value, day, child])?;
    }
    let marks = identity::likeness_marks(record);
    if marks.is_empty() || connection.prepare_cached("SELECT 1 FROM barred WHERE child = ?1")?.exists([child])? {
        return Ok(());
    }
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO likeness(born, mark, child) VALUES(?1, ?2, ?3)")?;
    marks.iter().try_for_each(|mark| statement.execute([day, *mark, child]).map(drop))
}

/// The identifier of a mother that is in force for this one.
fn of_today(connection: &Connection, system: &str, value: &str) -> rusqlite::Result<(String, String)> {
    let mut at = (system.to_owned(), value.to_owned());
    let mut statement = connection.prepare_cached("SELECT to_system, to_value FROM mother_alias WHERE system = ?1 AND value = ?2")?;
    for _ in 0..ALIASES_MAX {
        match statement.query_row([&at.0, &at.1], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(at)
}

/// Rows of the children of a mother, born in these days.
pub(super) fn of_mother(
    connection: &Connection,
    system: &str,
    value: &str,
    days: (civil::Date, civil::Date),
) -> rusqlite::Result<Vec<i64>> {
    let (system, value) = of_today(connection, system, value)?;
    let sql = "SELECT DISTINCT k.child FROM kin k WHERE k.system = ?1 AND k.value = ?2 AND k.born BETWEEN ?3 AND ?4
        AND NOT EXISTS (SELECT 1 FROM barred b WHERE b.child = k.child) LIMIT ?5";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![system, value, day_number(days.0), day_number(days.1), FOUND_MAX], |row| row.get(0))?;
    found.collect()
}

/// Rows of all children of whom this is an identifier of the mother.
pub(super) fn children_of(connection: &Connection, id: &Identifier) -> rusqlite::Result<Vec<i64>> {
    let (system, value) = of_today(connection, &id.system, &id.value)?;
    let sql = "SELECT DISTINCT child FROM kin WHERE system = ?1 AND value = ?2 ORDER BY child";
    connection.prepare_cached(sql)?.query_map([system, value], |row| row.get(0))?.collect()
}

/// True where this is an identifier of a mother, of today or given up.
pub(super) fn is_a_mothers(connection: &Connection, system: &str, value: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM kin WHERE system = ?1 AND value = ?2)
        OR EXISTS(SELECT 1 FROM mother_alias WHERE system = ?1 AND value = ?2)";
    connection.prepare_cached(sql)?.query_row([system, value], |row| row.get(0))
}

/// Rows of the children born on a day under one of these marks.
pub(super) fn like(connection: &Connection, day: civil::Date, marks: &[i64]) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached("SELECT child FROM likeness WHERE born = ?1 AND mark = ?2 LIMIT ?3")?;
    let mut found = Vec::new();
    for mark in marks {
        let rows = statement.query_map([day_number(day), *mark, FOUND_MAX], |row| row.get(0))?;
        found.extend(rows.collect::<rusqlite::Result<Vec<i64>>>()?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// True where the mother of a child has another one born within so many days.
pub(super) fn has_siblings(connection: &Connection, child: i64, days: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT system, value, born FROM kin WHERE child = ?1";
    type Row = (String, String, i64);
    let mut statement = connection.prepare_cached(sql)?;
    let rows: Vec<Row> =
        statement.query_map([child], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<rusqlite::Result<_>>()?;
    for (system, value, born) in rows {
        let Some(born) = day_of(born) else { continue };
        let (from, to) = (born.checked_sub(days.days()).unwrap_or(born), born.checked_add(days.days()).unwrap_or(born));
        if of_mother(connection, &system, &value, (from, to))?.iter().any(|other| *other != child) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A mother's identifier was given up for another one (A40 of the mother; identity rules, section 6): her links go by the new one.
pub(super) fn move_mother(connection: &Connection, prior: &Identifier, to: &Identifier) -> rusqlite::Result<()> {
    let (from, to) = (of_today(connection, &prior.system, &prior.value)?, of_today(connection, &to.system, &to.value)?);
    if from == to {
        return Ok(());
    }
    connection.execute(
        "INSERT OR IGNORE INTO kin(system, value, born, child) SELECT ?3, ?4, born, child FROM kin WHERE system = ?1 AND value = ?2",
        params![from.0, from.1, to.0, to.1],
    )?;
    connection.execute("DELETE FROM kin WHERE system = ?1 AND value = ?2", params![from.0, from.1])?;
    let sql = "INSERT OR REPLACE INTO mother_alias(system, value, to_system, to_value) VALUES(?1, ?2, ?3, ?4)";
    connection.execute(sql, params![from.0, from.1, to.0, to.1]).map(drop)
}

/// Makes the rows of children that were on record before these tables were.
pub(super) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    walk_once(connection, "kin_through", &|child, record| insert(connection, child, &record.child))
}

/// Shows every child on record to `each`: once for a `key` of the ledger, in batches, and not again.
pub(super) fn walk_once(connection: &Connection, key: &str, each: &dyn Fn(i64, &Record) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    const DONE: i64 = -1;
    let sql = "SELECT value FROM meta WHERE key = ?1";
    let mut through: i64 = connection.query_row(sql, [key], |row| row.get(0)).optional()?.unwrap_or(0);
    while through != DONE {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let sql = "SELECT id, record FROM child WHERE id > ?1 ORDER BY id LIMIT ?2";
        let batch: Vec<(i64, Vec<u8>)> = connection
            .prepare_cached(sql)?
            .query_map([through, BATCH], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (child, record) in &batch {
            // A record that cannot be read is found by its identifiers, where the trouble is told.
            if let Ok(record) = serde_json::from_slice::<Record>(record) {
                each(*child, &record)?;
            }
        }
        through = batch.last().map_or(DONE, |(child, _)| *child);
        connection.execute("INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)", params![key, through])?;
        connection.execute_batch("COMMIT")?;
        if through != DONE {
            tracing::info!(through, index = key, "store.filling: an index over all children is being made; this is done once");
        }
    }
    Ok(())
}
