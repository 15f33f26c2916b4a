//! The inbox of codes that no table knows: how often each came, from whom, and what waits for it.
//!
//! # What always holds
//!
//! - An entry counts once for each code, when it gets its first standing; read again, only what it misses newly counts.
//! - What waits is not counted but looked up: the held entries whose findings name the code.
//!
//! # Not here
//!
//! Codes of child protection facts: such findings come here without their code.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use serde::Deserialize;

use super::rows::MissRow;

/// Characters of a code that is counted; a longer text is no code.
const CODE_MAX: usize = 80;

/// As much of a finding as is needed here.
#[derive(Deserialize)]
struct Finding {
    #[serde(default)]
    miss: Option<Miss>,
}

/// Table and code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Miss {
    pub(super) table: String,
    pub(super) code: String,
}

/// The codes that findings name as missing.
pub(super) fn of(findings: &str) -> BTreeSet<Miss> {
    // Most messages miss nothing, and their findings are not parsed.
    if !findings.contains("\"miss\"") {
        return BTreeSet::new();
    }
    let findings: Vec<Finding> = serde_json::from_str(findings).unwrap_or_default();
    findings.into_iter().filter_map(|finding| finding.miss).filter(|miss| miss.code.chars().count() <= CODE_MAX).collect()
}

/// Counts what an entry misses; `before` is what it missed when it was read the last time.
pub(super) fn count(connection: &Connection, seq: i64, findings: &str, before: &BTreeSet<Miss>) -> rusqlite::Result<()> {
    for Miss { table, code } in of(findings).difference(before) {
        let sql = "INSERT INTO table_miss(tbl, code, source, count, first_seq, last_seq)
            SELECT ?1, ?2, source, 1, seq, seq FROM entry WHERE seq = ?3
            ON CONFLICT(tbl, code, source) DO UPDATE SET count = count + 1, last_seq = max(last_seq, excluded.last_seq), resolved_us = NULL";
        connection.prepare_cached(sql)?.execute(params![table, code, seq])?;
    }
    Ok(())
}

/// Notes that a table knows the code now: for everybody, or only where it came from `sources`.
pub(super) fn resolve(connection: &Connection, miss: &Miss, sources: Option<&[String]>, now_us: i64) -> rusqlite::Result<()> {
    let Miss { table, code } = miss;
    match sources {
        None => connection
            .execute("UPDATE table_miss SET resolved_us = ?3 WHERE tbl = ?1 AND code = ?2", params![table, code, now_us])
            .map(drop),
        Some(sources) => sources.iter().try_for_each(|source| {
            let sql =
                "UPDATE table_miss SET resolved_us = ?4 WHERE tbl = ?1 AND code = ?2 AND source = (SELECT id FROM source WHERE name = ?3)";
            connection.execute(sql, params![table, code, source, now_us]).map(drop)
        }),
    }
}

/// The inbox: codes that no table knows yet, those for which most waits first.
pub(super) fn list(connection: &Connection, table: Option<&str>, source: Option<&str>) -> rusqlite::Result<Vec<MissRow>> {
    let waiting = waiting(connection)?;
    let sql = "SELECT m.tbl, m.code, s.name, m.count, m.first_seq, f.arrived_us, m.last_seq, l.arrived_us
        FROM table_miss m JOIN source s ON s.id = m.source LEFT JOIN entry f ON f.seq = m.first_seq LEFT JOIN entry l ON l.seq = m.last_seq
        WHERE m.resolved_us IS NULL AND (?1 IS NULL OR m.tbl = ?1) AND (?2 IS NULL OR s.name = ?2)";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map(params![table, source], |row| {
        let (table, code, source): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let waits = waiting.iter().filter(|held| held.source == source && held.misses.iter().any(|m| m.table == table && m.code == code));
        let waiting = waits.count();
        let moment = |us: Option<i64>| us.map(super::reader::moment).unwrap_or_default();
        let (first, last) = (moment(row.get(5)?), moment(row.get(7)?));
        Ok(MissRow { table, code, source, count: row.get(3)?, first_seq: row.get(4)?, first, last_seq: row.get(6)?, last, waiting })
    })?;
    let mut rows: Vec<MissRow> = rows.collect::<rusqlite::Result<_>>()?;
    rows.sort_by(|a, b| (b.waiting, b.count, &a.table, &a.code, &a.source).cmp(&(a.waiting, a.count, &b.table, &b.code, &b.source)));
    Ok(rows)
}

/// A held entry that waits for codes.
pub(super) struct Waiting {
    pub(super) seq: i64,
    source: String,
    pub(super) misses: BTreeSet<Miss>,
}

/// Held entries whose findings name a missing code, in the order of the journal.
pub(super) fn waiting(connection: &Connection) -> rusqlite::Result<Vec<Waiting>> {
    let sql = "SELECT t.seq, s.name, t.findings FROM standing t JOIN entry e ON e.seq = t.seq JOIN source s ON s.id = e.source
        WHERE t.state = 'held' AND t.findings IS NOT NULL ORDER BY t.seq";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let findings: String = row.get(2)?;
        Ok(Waiting { seq: row.get(0)?, source: row.get(1)?, misses: of(&findings) })
    })?;
    let mut waiting: Vec<Waiting> = rows.collect::<rusqlite::Result<_>>()?;
    waiting.retain(|held| !held.misses.is_empty());
    Ok(waiting)
}
