//! Messages about children who are not on record yet: they wait, and are tried again by themselves (identity rules, section 2, step 5).
//!
//! # In the ledger
//!
//!     waiting    seq | until | ready: held entries that a later message can help
//!     waits_for  (identifier, of whom) | seq: the identifiers by which they would be found
//!     waits_like (birthday, mark) | seq: the details by which they would be found, where their source may be matched by details (step 4)
//!
//! # Invariants
//!
//! - An entry is tried again in the transaction that brings one of the identifiers it names, and after that message: in the order of
//!   the journal, by the mappings of now, and through the same match as everything else. Nothing is filed by a name alone.
//! - Which entries to try is found by identifier, or by the mark of a child's details; what waits for others costs nothing, and a child
//!   whose details many have wakes a few.
//! - After [`WAIT_DAYS`] it is a person's: the entry stays held and says so.
//!
//! # Not here
//!
//! Messages that contradict what is on record: waiting does not help those, so they are a person's at once.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::filing::{FilingRules, Prepared, PreparedOutcome, file_one};
use super::kin;
use super::reader::UnfiledEntry;
use crate::canon::{Child, Date, Identifier, IdentifierUse, Statement};
use crate::clock;
use crate::identity;
use crate::journal::Standing;
use crate::names::{DestinationName, Format, Seq, SourceName};

/// So long a message waits for its child before a person is asked (identity rules, section 2, step 5).
const WAIT_DAYS: i64 = 30;
const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// Entries that the details of one child wake in one go, the oldest first; the next change of its details wakes more, once these are filed.
const LIKE_MAX: i64 = 32;
/// Entries of an older ledger that are taken up in one go.
const ADOPT_MAX: i64 = 10_000;

/// The reason of an entry that waited in vain.
pub const WAITED: &str = "unmatched-30-days";

/// Who releases what is tried again: nobody, so it is no act for the audit.
pub(super) const BY_ITSELF: &str = "tried again by itself";

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS waiting(seq INTEGER PRIMARY KEY, until_us INTEGER NOT NULL, ready INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS waiting_ready ON waiting(seq) WHERE ready = 1;
CREATE INDEX IF NOT EXISTS waiting_until ON waiting(until_us);
CREATE TABLE IF NOT EXISTS waits_for(system TEXT NOT NULL, value TEXT NOT NULL, mother INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY(system, value, mother, seq)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waits_for_seq ON waits_for(seq);
CREATE TABLE IF NOT EXISTS waits_like(born INTEGER NOT NULL, mark INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(born, mark, seq)) STRICT,
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waits_like_seq ON waits_like(seq);
";

/// Reads an entry by the mappings that are active now. Pure, and asked on the writer's thread.
pub type ReadAgain = Arc<dyn Fn(&UnfiledEntry) -> Prepared + Send + Sync>;

/// True for reasons that a later message can take away.
fn may_come(code: &str) -> bool {
    matches!(code, "unmatched" | "no-birth-date")
}

/// Notes how filing ended for an entry: it waits, or it no longer does.
pub(super) fn note(connection: &Connection, prepared: &Prepared, held_for: Option<&str>) -> rusqlite::Result<()> {
    let until = prepared.arrived_us.saturating_add(WAIT_DAYS * DAY_US);
    let statements = match (&prepared.outcome, held_for) {
        (PreparedOutcome::File(statements), Some(code)) if may_come(code) && clock::now().as_microsecond() < until => statements,
        _ if prepared.released_by.is_some() => return forget(connection, prepared.seq.0),
        _ => return Ok(()),
    };
    forget(connection, prepared.seq.0)?;
    let sql = "INSERT INTO waiting(seq, until_us, ready) VALUES(?1, ?2, 0)";
    connection.prepare_cached(sql)?.execute([prepared.seq.0, until])?;
    let sql = "INSERT INTO waits_for(system, value, mother, seq) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let mut insert = connection.prepare_cached(sql)?;
    for (id, is_mothers) in statements.iter().flat_map(named) {
        insert.execute(params![id.system, id.value, is_mothers, prepared.seq.0])?;
    }
    let mut insert = connection.prepare_cached("INSERT INTO waits_like(born, mark, seq) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
    for statement in statements.iter().filter(|statement| prepared.is_child_first(statement)) {
        let Some(born) = born(&statement.child) else { continue };
        for mark in identity::likeness_marks(&statement.child) {
            insert.execute([born, mark, prepared.seq.0])?;
        }
    }
    Ok(())
}

fn born(child: &Child) -> Option<i64> {
    child.birth.date.as_ref().and_then(Date::civil).map(kin::day_number)
}

pub(super) fn forget(connection: &Connection, seq: i64) -> rusqlite::Result<()> {
    if connection.prepare_cached("DELETE FROM waiting WHERE seq = ?1")?.execute([seq])? == 1 {
        connection.prepare_cached("DELETE FROM waits_for WHERE seq = ?1")?.execute([seq])?;
        connection.prepare_cached("DELETE FROM waits_like WHERE seq = ?1")?.execute([seq])?;
    }
    Ok(())
}

/// The identifiers by which a statement's child could be found: its own, the prior ones of a merge, and those of its mother.
fn named(statement: &Statement) -> impl Iterator<Item = (&Identifier, bool)> {
    let own = statement.child.identifiers.iter().chain(statement.identity_changes.iter().flat_map(|change| &change.prior));
    own.map(|id| (id, false)).chain(mothers(&statement.child).map(|id| (id, true)))
}

fn mothers(child: &Child) -> impl Iterator<Item = &Identifier> {
    child.relations.iter().filter(|relation| relation.is_mother()).flat_map(|mother| &mother.identifiers)
}

/// Makes ready what waits for an identifier of a child or, with `mother`, of a child's mother.
pub(super) fn wake(connection: &Connection, id: &Identifier, mother: bool) -> rusqlite::Result<()> {
    let sql = "UPDATE waiting SET ready = 1 WHERE ?4 < until_us
        AND seq IN (SELECT seq FROM waits_for WHERE system = ?1 AND value = ?2 AND mother = ?3)";
    connection.prepare_cached(sql)?.execute(params![id.system, id.value, mother, clock::now().as_microsecond()]).map(drop)
}

/// Makes ready what waits for a child whose details have changed: what was too little to be sure may be enough now.
pub(super) fn wake_changed(connection: &Connection, before: Option<&Child>, after: &Child) -> rusqlite::Result<()> {
    let is_same = before.is_some_and(|before| {
        (&before.birth.date, &before.names, &before.sex) == (&after.birth.date, &after.names, &after.sex)
            && (&before.addresses, &before.relations) == (&after.addresses, &after.relations)
    });
    if is_same {
        return Ok(());
    }
    for id in after.identifiers.iter().filter(|id| matches!(id.usage, IdentifierUse::Current | IdentifierUse::Superseded)) {
        wake(connection, id, false)?;
    }
    mothers(after).try_for_each(|id| wake(connection, id, true))?;
    match born(after) {
        Some(born) => identity::likeness_marks(after).into_iter().try_for_each(|mark| wake_like(connection, born, mark)),
        None => Ok(()),
    }
}

/// Makes ready what a child of this birthday and mark may be meant by: whether it is, the match says.
fn wake_like(connection: &Connection, born: i64, mark: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE waiting SET ready = 1 WHERE ?3 < until_us
        AND seq IN (SELECT seq FROM waits_like WHERE born = ?1 AND mark = ?2 ORDER BY seq LIMIT ?4)";
    connection.prepare_cached(sql)?.execute(params![born, mark, clock::now().as_microsecond(), LIKE_MAX]).map(drop)
}

/// An entry that was tried again, how it ended, and to whom debts were made.
pub(super) type Tried = (i64, Standing, Vec<DestinationName>);

/// Tries what is ready, oldest first. What it files may make more ready; each entry is tried once for each identifier that comes.
pub(super) fn try_ready(connection: &Connection, rules: &FilingRules, read: Option<&ReadAgain>) -> rusqlite::Result<Vec<Tried>> {
    let Some(read) = read else { return Ok(Vec::new()) };
    let mut tried = Vec::new();
    let sql = "SELECT seq FROM waiting WHERE ready = 1 ORDER BY seq LIMIT 1";
    while let Some(seq) = connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).optional()? {
        connection.prepare_cached("UPDATE waiting SET ready = 0 WHERE seq = ?1")?.execute([seq])?;
        let Some(entry) = held_entry(connection, seq)? else {
            forget(connection, seq)?;
            continue;
        };
        let prepared = Prepared { released_by: Some(BY_ITSELF.to_owned()), ..read(&entry) };
        let (standing, owed) = file_one(connection, &prepared, rules)?;
        tried.push((seq, standing, owed));
    }
    Ok(tried)
}

/// An entry that is held, with its body; none where it is not held any more or the body is gone.
pub(super) fn held_entry(connection: &Connection, seq: i64) -> rusqlite::Result<Option<UnfiledEntry>> {
    let sql = "SELECT s.name, e.format, e.control_id, e.arrived_us, b.zstd, b.bytes, e.bytes FROM entry e
        JOIN source s ON s.id = e.source JOIN body b ON b.seq = e.seq JOIN standing t ON t.seq = e.seq AND t.state = 'held' WHERE e.seq = ?1";
    type Raw = (String, String, String, i64, bool, Vec<u8>, i64);
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Raw> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
    };
    let raw = connection.prepare_cached(sql)?.query_row([seq], read).optional()?;
    let Some((source, format, control_id, arrived_us, zstd, bytes, length)) = raw else { return Ok(None) };
    let body = if zstd { zstd::bulk::decompress(&bytes, usize::try_from(length).unwrap_or(0)).ok() } else { Some(bytes) };
    let format = Format::from_word(&format).unwrap_or(Format::Hl7v2);
    Ok(body.map(|body| UnfiledEntry { seq: Seq(seq), source: SourceName::new(source), format, control_id, arrived_us, body }))
}

/// Gives to a person what has waited in vain until `now_us`.
pub(super) fn give_up(connection: &Connection, now_us: i64) -> rusqlite::Result<()> {
    let sql = "SELECT seq FROM waiting WHERE until_us <= ?1 ORDER BY seq";
    let over: Vec<i64> = connection.prepare_cached(sql)?.query_map([now_us], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for seq in over {
        let sql = "SELECT findings FROM standing WHERE seq = ?1 AND state = 'held'";
        let findings: Option<Option<String>> = connection.prepare_cached(sql)?.query_row([seq], |row| row.get(0)).optional()?;
        if let Some(findings) = findings {
            let text = format!("no message brought this child in {WAIT_DAYS} days; a person must say whose it is");
            let findings = super::filing::add_finding(&findings.unwrap_or_default(), WAITED, &text, &[]);
            let sql = "UPDATE standing SET reason = ?2, findings = ?3 WHERE seq = ?1";
            connection.prepare_cached(sql)?.execute(params![seq, WAITED, findings])?;
        }
        forget(connection, seq)?;
    }
    Ok(())
}

/// Takes up what an older program held and did not note: it waits from now on as everything does.
pub(super) fn adopt(connection: &Connection, read: &ReadAgain) -> rusqlite::Result<()> {
    // What waited before there were marks is noted again, once; up to which entry that is done, the ledger knows.
    let marked: Option<i64> =
        connection.prepare("SELECT value FROM meta WHERE key = 'waits_like'")?.query_row([], |row| row.get(0)).optional()?;
    let sql =
        "SELECT t.seq FROM standing t JOIN entry e ON e.seq = t.seq WHERE t.state = 'held' AND t.reason IN ('unmatched', 'no-birth-date')
        AND e.arrived_us > ?1 AND (?3 < t.seq OR NOT EXISTS (SELECT 1 FROM waiting w WHERE w.seq = t.seq)) ORDER BY t.seq LIMIT ?2";
    let since = clock::now().as_microsecond() - WAIT_DAYS * DAY_US;
    let seqs: Vec<i64> = connection
        .prepare(sql)?
        .query_map(params![since, ADOPT_MAX, marked.unwrap_or(0)], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let is_all = i64::try_from(seqs.len()).unwrap_or(i64::MAX) < ADOPT_MAX;
    let through = if is_all { i64::MAX } else { seqs.last().copied().unwrap_or(0).max(marked.unwrap_or(0)) };
    connection.execute(
        "INSERT INTO meta(key, value) VALUES('waits_like', ?1) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        [through],
    )?;
    for seq in seqs {
        let Some(entry) = held_entry(connection, seq)? else { continue };
        note(connection, &read(&entry), Some("unmatched"))?;
        // What it waits for may have come while nobody looked.
        connection.prepare_cached("UPDATE waiting SET ready = 1 WHERE seq = ?1")?.execute([seq])?;
    }
    Ok(())
}

/// Until when an entry waits by itself, microseconds since 1970; none where it does not.
pub(super) fn waits_until(connection: &Connection, seq: i64) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT until_us FROM waiting WHERE seq = ?1")?.query_row([seq], |row| row.get(0)).optional()
}
