//! Reads a ledger, live or at rest, on a connection of its own: listings, traces, the account, and what the filing and
//! paying threads take next.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use uuid::Uuid;

use super::event_row;
use super::rows::*;
use super::schema::{broken, ledger_file, open_for_reading};
use crate::canon::{Child, CurrentOutcome, ProxyConsent, Statement, current_outcomes};
use crate::destinations::Turn;
use crate::identity::Record;
use crate::journal::Standing;
use crate::names::{ChildId, Format, Seq, SourceName};
use crate::outbox::FiledEvent;

/// A read-only connection to a ledger.
#[derive(Debug)]
pub struct LedgerReader {
    connection: Connection,
    file: PathBuf,
}

/// An accepted entry that has no standing yet.
#[derive(Clone, Debug)]
pub struct UnfiledEntry {
    /// Its place.
    pub seq: Seq,
    /// Who sent it.
    pub source: SourceName,
    /// Dialect.
    pub format: Format,
    /// The sender's id.
    pub control_id: String,
    /// When it came, microseconds since 1970.
    pub arrived_us: i64,
    /// As received.
    pub body: Vec<u8>,
}

/// A debt that waits to be paid.
#[derive(Clone, Debug)]
pub struct OwedDebt {
    /// Order within the destination.
    pub id: i64,
    /// Whose lane.
    pub child: i64,
    /// Tried so often.
    pub attempts: u32,
    /// When it was made, microseconds since 1970.
    pub made_us: i64,
    /// The filed event, JSON.
    pub event: Vec<u8>,
    /// What is to be sent, where it was rendered when the debt was made.
    pub body: Option<Vec<u8>>,
    /// The job that sends it again though the receiver may have it: it goes under a key of its own.
    pub forced_by: Option<i64>,
    /// Whether it is sent again, and how much of it.
    pub turn: Turn,
}

const ENTRY_COLUMNS: &str =
    "e.seq, e.arrived_us, s.name, e.format, e.kind, e.control_id, coalesce(t.state, 'waiting'), coalesce(t.reason, ''), e.bytes";
const ENTRY_TABLES: &str = "entry e JOIN source s ON s.id = e.source LEFT JOIN standing t ON t.seq = e.seq";
const EVENT_COLUMNS: &str = "v.id, v.body, c.uuid, v.kind, v.at_us, v.hub, v.basis, v.evidence, v.superseded, v.withheld";

impl LedgerReader {
    /// Opens `ledger.db` of a data directory, read-only.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: open_for_reading(data)?, file: ledger_file(data) })
    }

    /// Lists entries, newest first.
    pub fn entries(&self, filter: &EntryFilter) -> Result<Vec<EntryRow>, StoreError> {
        let sql = format!(
            "SELECT {ENTRY_COLUMNS} FROM {ENTRY_TABLES}
             WHERE (?1 IS NULL OR s.name = ?1) AND (?2 IS NULL OR coalesce(t.state, 'waiting') = ?2) AND (?3 IS NULL OR e.kind = ?3)
               AND (?4 IS NULL OR e.seq < ?4) ORDER BY e.seq DESC LIMIT ?5"
        );
        let limit = i64::try_from(filter.limit.unwrap_or(50)).unwrap_or(i64::MAX);
        self.list(&sql, params![filter.source, filter.standing, filter.kind, filter.before, limit], entry_row)
    }

    /// One entry with its body as received; the body is empty where it was pruned or never kept (duplicates).
    pub fn entry(&self, seq: Seq) -> Result<Option<(EntryRow, Vec<u8>)>, StoreError> {
        let sql = format!("SELECT {ENTRY_COLUMNS} FROM {ENTRY_TABLES} WHERE e.seq = ?1");
        let Some(row) = self.list(&sql, [seq.0], entry_row)?.pop() else { return Ok(None) };
        let sql = "SELECT zstd, bytes FROM body WHERE seq = ?1";
        let body: Option<(bool, Vec<u8>)> = self.read(|c| c.query_row(sql, [seq.0], |row| Ok((row.get(0)?, row.get(1)?))).optional())?;
        let limit = usize::try_from(row.bytes).unwrap_or(0);
        let body = match body {
            Some((zstd, bytes)) => self.unsqueeze(zstd, bytes, limit)?,
            None => Vec::new(),
        };
        Ok(Some((row, body)))
    }

    /// Its standing, where it has one.
    pub fn standing(&self, seq: Seq) -> Result<Option<Standing>, StoreError> {
        let sql = "SELECT state FROM standing WHERE seq = ?1";
        let word: Option<String> = self.read(|c| c.query_row(sql, [seq.0], |row| row.get(0)).optional())?;
        let all = [Standing::Filed, Standing::Held, Standing::Refused, Standing::Duplicate, Standing::Ignored];
        Ok(word.and_then(|word| all.into_iter().find(|standing| standing.as_str() == word)))
    }

    /// What became of it.
    pub fn trace(&self, seq: Seq) -> Result<Option<Trace>, StoreError> {
        let Some((entry, _body)) = self.entry(seq)? else { return Ok(None) };
        type Said = (Option<String>, Option<String>, Option<String>);
        let sql = "SELECT t.mapping, b.hash, t.findings FROM standing t LEFT JOIN bundle b ON b.id = t.bundle WHERE t.seq = ?1";
        let said: Option<Said> = self.read(|c| c.query_row(sql, [seq.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional())?;
        let (mapping, bundle, findings) = said.unwrap_or_default();
        let sql =
            format!("SELECT {EVENT_COLUMNS} FROM event v JOIN child c ON c.id = v.child WHERE v.id >= ?1 AND v.id < ?2 ORDER BY v.id");
        let events = self.list(&sql, event_row::range(seq.0), event_row)?;
        let mut debts = Vec::new();
        let mut withheld = Vec::new();
        for (id, event, without) in &events {
            for debt in self.debts("d.event = ?1", *id)? {
                let (tried, again) = (self.attempts(debt.debt)?, self.sent_again(debt.debt)?);
                debts.push(DebtRow { event: event.event.clone(), tried, again, ..debt });
            }
            let without: std::collections::BTreeMap<String, String> = parse(without.as_deref());
            withheld.extend(without);
        }
        let events = events.into_iter().map(|(_, event, _)| event).collect();
        let (copy_of, copies) = self.edits_of(seq.0)?;
        Ok(Some(Trace { entry, mapping, bundle, findings: parse(findings.as_deref()), events, debts, withheld, copy_of, copies }))
    }

    /// The bundle that spoke when the entry got its standing.
    pub fn bundle_of(&self, seq: Seq) -> Result<Option<String>, StoreError> {
        let sql = "SELECT b.hash FROM standing t JOIN bundle b ON b.id = t.bundle WHERE t.seq = ?1";
        self.read(|c| c.query_row(sql, [seq.0], |row| row.get(0)).optional())
    }

    /// The mapping files of a bundle, as they were when it was active.
    pub fn bundle_files(&self, hash: &str) -> Result<Option<std::collections::BTreeMap<String, Vec<u8>>>, StoreError> {
        let packed: Option<Vec<u8>> =
            self.read(|c| c.query_row("SELECT files FROM bundle WHERE hash = ?1", [hash], |row| row.get(0)).optional())?;
        packed.map(|packed| self.unpack(packed)).transpose()
    }

    /// The bundle that was activated last.
    pub fn last_bundle(&self) -> Result<Option<std::collections::BTreeMap<String, Vec<u8>>>, StoreError> {
        let sql = "SELECT files FROM bundle ORDER BY activated_us DESC LIMIT 1";
        let packed: Option<Vec<u8>> = self.read(|c| c.query_row(sql, [], |row| row.get(0)).optional())?;
        packed.map(|packed| self.unpack(packed)).transpose()
    }

    /// One child.
    pub fn child(&self, child: ChildId) -> Result<Option<ChildView>, StoreError> {
        let sql = "SELECT id, version, record FROM child WHERE uuid = ?1";
        let row: Option<(i64, i64, Vec<u8>)> =
            self.read(|c| c.query_row(sql, [child.0.as_bytes().as_slice()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional())?;
        let Some((id, version, record)) = row else { return Ok(None) };
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
        // Of a child that went on in the place of others, what was said of them is part of its story.
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM event v JOIN child c ON c.id = v.child
             WHERE (v.child = ?1 OR v.child IN (SELECT child FROM merged WHERE survivor = ?1)) AND v.kind <> 'safeguarding' ORDER BY v.id"
        );
        let events = self.list(&sql, [id], event_row)?.into_iter().map(|(id, event, _)| (event_row::entry(id), event)).collect();
        let part = |name: &str| record.get(name).cloned().unwrap_or_default();
        let (aggregates, outcomes) = self.read(|connection| aggregates(connection, id))?;
        let reviews = self.reviews(Some(&child.to_string()))?;
        let (kept, said, record) = (part("kept"), part("said"), part("child"));
        Ok(Some(ChildView { child: child.to_string(), version, record, said, kept, aggregates, outcomes, reviews, events }))
    }

    /// The child protection facts of a child. Who asks has a right of its own to them, and has been written down.
    pub fn safeguarding(&self, child: ChildId) -> Result<Vec<SafeguardingRow>, StoreError> {
        let sql = "SELECT f.publisher, f.key, f.at_us, f.seq, f.deleted, f.body FROM safeguarding f JOIN child c ON c.id = f.child
            WHERE c.uuid = ?1 ORDER BY f.at_us, f.publisher, f.key";
        self.list(sql, [child.0.as_bytes().as_slice()], |row| {
            let facts: Option<String> = row.get(5)?;
            let (publisher, key, at) = (row.get(0)?, row.get(1)?, moment(row.get(2)?));
            Ok(SafeguardingRow { publisher, key, at, seq: row.get(3)?, deleted: row.get(4)?, facts: parse(facts.as_deref()) })
        })
    }

    /// Which statements of an entry were filed for this child, or for one that it took over, from 0.
    pub fn statements_about(&self, seq: Seq, child: ChildId) -> Result<Vec<usize>, StoreError> {
        let sql = "SELECT v.id FROM event v LEFT JOIN merged m ON m.child = v.child JOIN child c ON c.id = coalesce(m.survivor, v.child)
            WHERE v.id >= ?1 AND v.id < ?2 AND c.uuid = ?3 ORDER BY v.id";
        let [first, end] = event_row::range(seq.0);
        let rows: Vec<i64> = self.list(sql, params![first, end, child.0.as_bytes().as_slice()], |row| row.get(0))?;
        Ok(rows.into_iter().filter_map(|row| usize::try_from(event_row::place(row)).ok()).collect())
    }

    /// Child ids whose current or former NHS number or local identifier this is; of a merged child the one that goes on.
    pub fn children_by_identifier(&self, value: &str) -> Result<Vec<ChildId>, StoreError> {
        let plain: String = value.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let sql = "SELECT DISTINCT c.uuid FROM identifier i LEFT JOIN merged m ON m.child = i.child JOIN child c ON c.id = coalesce(m.survivor, i.child)
            WHERE i.value IN (?1, ?2)";
        let found: Vec<Vec<u8>> = self.list(sql, [value.trim(), plain.as_str()], |row| row.get(0))?;
        Ok(found.iter().filter_map(|bytes| Uuid::from_slice(bytes).ok()).map(ChildId).collect())
    }

    /// What waits for a person, oldest first.
    pub fn held(&self) -> Result<Vec<HeldRow>, StoreError> {
        let sql = format!("SELECT {ENTRY_COLUMNS}, t.findings FROM {ENTRY_TABLES} WHERE t.state = 'held' ORDER BY e.seq");
        self.list(&sql, [], |row| {
            let findings: Option<String> = row.get(9)?;
            Ok(HeldRow { entry: entry_row(row)?, findings: parse(findings.as_deref()) })
        })
    }

    /// Codes that no table knows, those for which most waits first.
    pub fn table_misses(&self, table: Option<&str>, source: Option<&str>) -> Result<Vec<MissRow>, StoreError> {
        self.read(|connection| super::misses::list(connection, table, source))
    }

    /// Held entries that wait for a code of a table, in the order of the journal.
    pub fn waiting_for(&self, table: &str, code: &str) -> Result<Vec<Seq>, StoreError> {
        let waiting = self.read(super::misses::waiting)?;
        let names = |held: &super::misses::Waiting| held.misses.iter().any(|miss| miss.table == table && miss.code == code);
        Ok(waiting.into_iter().filter(names).map(|held| Seq(held.seq)).collect())
    }

    /// How many entries are held.
    pub fn held_count(&self) -> Result<i64, StoreError> {
        self.read(|c| c.query_row("SELECT count(*) FROM standing WHERE state = 'held'", [], |row| row.get(0)))
    }

    /// The oldest held debts; how many there are the groups say.
    pub fn held_debts(&self) -> Result<Vec<DebtRow>, StoreError> {
        const SHOWN_MAX: i64 = 200;
        self.debts("d.state = 'held' AND d.id IN (SELECT id FROM debt WHERE state = 'held' ORDER BY id LIMIT ?1)", SHOWN_MAX)
    }

    /// The account; `day` is a London date, `2026-01-05`.
    pub fn reconcile(&self, day: Option<&str>, source: Option<&str>) -> Result<Reconciliation, StoreError> {
        let day = day.map(|day| day.chars().filter(char::is_ascii_digit).collect::<String>()).and_then(|digits| digits.parse::<i64>().ok());
        let sql = "SELECT e.day, s.name, count(*), sum(t.state IS 'filed'), sum(t.state IS 'held'), sum(t.state IS 'refused'), sum(t.state IS 'duplicate'),
                sum(t.state IS 'ignored'), sum(t.state IS NULL AND e.accepted = 1)
            FROM entry e JOIN source s ON s.id = e.source LEFT JOIN standing t ON t.seq = e.seq
            WHERE (?1 IS NULL OR e.day = ?1) AND (?2 IS NULL OR s.name = ?2) GROUP BY e.day, s.name ORDER BY e.day, s.name";
        let mut lines = self.list(sql, params![day, source], |row| {
            let day: i64 = row.get(0)?;
            Ok(ReconciliationLine {
                day: format!("{:04}-{:02}-{:02}", day / 10_000, day / 100 % 100, day % 100),
                source: row.get(1)?,
                received: row.get(2)?,
                filed: row.get(3)?,
                held: row.get(4)?,
                refused: row.get(5)?,
                duplicate: row.get(6)?,
                ignored: row.get(7)?,
                waiting: row.get(8)?,
                ..ReconciliationLine::default()
            })
        })?;
        let sql =
            "SELECT e.day, s.name, d.state, count(*) FROM debt d JOIN entry e ON e.seq = d.event / 1024 JOIN source s ON s.id = e.source
            WHERE (?1 IS NULL OR e.day = ?1) AND (?2 IS NULL OR s.name = ?2) GROUP BY e.day, s.name, d.state";
        let debts: Vec<(i64, String, String, i64)> =
            self.list(sql, params![day, source], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let mut account = Reconciliation::default();
        for (day, source, state, count) in debts {
            let day = format!("{:04}-{:02}-{:02}", day / 10_000, day / 100 % 100, day % 100);
            let Some(line) = lines.iter_mut().find(|line| line.day == day && line.source == source) else { continue };
            line.owed += count;
            match state.as_str() {
                "delivered" => line.delivered += count,
                "superseded" => line.superseded += count,
                "withdrawn" => line.withdrawn += count,
                "pending" | "held" => line.pending += count,
                _ => account.unaccounted_debts += count,
            }
        }
        for line in &lines {
            account.unaccounted += line.received - line.filed - line.held - line.refused - line.duplicate - line.ignored - line.waiting;
            account.undelivered += line.pending + line.waiting;
        }
        account.lines = lines;
        let sql = "SELECT count(*) FROM standing t WHERE t.state = 'filed' AND NOT EXISTS (SELECT 1 FROM event v WHERE v.id >= t.seq * 1024 AND v.id < t.seq * 1024 + 1024)";
        account.unaccounted += self.read(|c| c.query_row(sql, [], |row| row.get::<_, i64>(0)))?;
        Ok(account)
    }

    /// Accepted entries after `after` that have no standing, oldest first, at most `limit`.
    pub fn unfiled(&self, after: Seq, limit: usize) -> Result<Vec<UnfiledEntry>, StoreError> {
        let sql = "SELECT e.seq, s.name, e.format, e.control_id, e.arrived_us, b.zstd, b.bytes, e.bytes
            FROM entry e JOIN source s ON s.id = e.source JOIN body b ON b.seq = e.seq
            WHERE e.seq > ?1 AND e.accepted = 1 AND NOT EXISTS (SELECT 1 FROM standing t WHERE t.seq = e.seq) ORDER BY e.seq LIMIT ?2";
        let rows = self.list(sql, [after.0, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            let entry = UnfiledEntry {
                seq: Seq(row.get(0)?),
                source: SourceName::new(row.get::<_, String>(1)?),
                format: Format::from_word(&row.get::<_, String>(2)?).unwrap_or(Format::Hl7v2),
                control_id: row.get(3)?,
                arrived_us: row.get(4)?,
                body: row.get(6)?,
            };
            Ok((entry, row.get::<_, bool>(5)?, row.get::<_, i64>(7)?))
        })?;
        rows.into_iter()
            .map(|(entry, zstd, bytes)| {
                let UnfiledEntry { body, .. } = entry;
                Ok(UnfiledEntry { body: self.unsqueeze(zstd, body, usize::try_from(bytes).unwrap_or(0))?, ..entry })
            })
            .collect()
    }

    /// Entries at or below this have their standing.
    pub fn filed_through(&self) -> Result<Seq, StoreError> {
        self.read(|c| c.query_row("SELECT value FROM meta WHERE key = 'filed_through'", [], |row| row.get(0))).map(Seq)
    }

    /// Debts of a destination that wait after `after`, oldest first, at most `limit`.
    pub fn owed(&self, destination: &str, after: i64, limit: usize) -> Result<Vec<OwedDebt>, StoreError> {
        let sql = "SELECT d.id, d.child, d.attempts, v.body, d.body, d.made_us, NULL, NULL FROM debt d JOIN event v ON v.id = d.event
            WHERE d.destination = (SELECT id FROM destination WHERE name = ?1) AND d.state = 'pending' AND d.id > ?2
            ORDER BY d.id LIMIT ?3";
        self.list(sql, params![destination, after, i64::try_from(limit).unwrap_or(i64::MAX)], owed_debt)
    }

    /// Debts of a destination that wait after `after`, oldest first: debt and lane, without what is to be sent.
    pub fn owed_lanes(&self, destination: &str, after: i64, limit: usize) -> Result<Vec<(i64, i64)>, StoreError> {
        let sql =
            "SELECT id, child FROM debt WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND state = 'pending' AND id > ?2
            ORDER BY id LIMIT ?3";
        self.list(sql, params![destination, after, i64::try_from(limit).unwrap_or(i64::MAX)], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// One debt that waits, with what is to be sent.
    pub fn owed_debt(&self, debt: i64) -> Result<Option<OwedDebt>, StoreError> {
        self.debt_to_pay(debt, "d.state = 'pending'")
    }

    fn debt_to_pay(&self, debt: i64, condition: &str) -> Result<Option<OwedDebt>, StoreError> {
        let sql = format!(
            "SELECT d.id, d.child, d.attempts, v.body, d.body, d.made_us, iif(r.forced, r.job, NULL), json_extract(p.spec, '$.force')
            FROM debt d JOIN event v ON v.id = d.event LEFT JOIN replayed r ON r.debt = d.id LEFT JOIN replay p ON p.job = r.job
            WHERE d.id = ?1 AND {condition}"
        );
        Ok(self.list(&sql, [debt], owed_debt)?.pop())
    }

    /// A debt whose rows wait for their file, for another look; none where it ended otherwise since.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn spooled_debt(&self, debt: i64) -> Result<Option<OwedDebt>, StoreError> {
        self.debt_to_pay(debt, "d.state IN ('pending', 'delivered')")
    }

    /// What else on record forbids telling parents this event of a child, as it is now.
    pub fn forbidden_to_parents(&self, child: i64, event: &FiledEvent) -> Result<Option<&'static str>, StoreError> {
        let sql = "SELECT id FROM event WHERE id >= ?1 AND id < ?2 AND child = ?3";
        let [first, end] = event_row::range(event.seq.0);
        let rows: Vec<i64> = self.list(sql, params![first, end, child], |row| row.get(0))?;
        for row in rows {
            if let Some(rule) = self.read(|connection| super::parents::forbids(connection, child, row, event))? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    /// A child as it is now, with the accounts that may see it: what decides whether something that waited may still be said.
    pub fn child_now(&self, child: i64) -> Result<Option<(Child, Vec<ProxyConsent>)>, StoreError> {
        let record: Option<Vec<u8>> =
            self.read(|c| c.query_row("SELECT record FROM child WHERE id = ?1", [child], |row| row.get(0)).optional())?;
        let Some(record) = record.and_then(|record| serde_json::from_slice::<Record>(&record).ok()) else { return Ok(None) };
        let consents: Vec<String> = self.list("SELECT consent FROM proxy_consent WHERE child = ?1", [child], |row| row.get(0))?;
        // A consent that cannot be read is none: nothing is told because of it.
        Ok(Some((record.child, consents.iter().filter_map(|consent| serde_json::from_str(consent).ok()).collect())))
    }

    /// Lanes of a destination that stand until a person looks: the children of its held debts, with the first held debt of each.
    pub fn held_lanes(&self, destination: &str) -> Result<Vec<(i64, i64)>, StoreError> {
        let sql = "SELECT child, min(id) FROM debt WHERE destination = (SELECT id FROM destination WHERE name = ?1)
            AND state = 'held' GROUP BY child";
        self.list(sql, [destination], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn debts(&self, condition: &str, value: impl ToSql) -> Result<Vec<DebtRow>, StoreError> {
        let sql = format!(
            "SELECT d.id, n.name, d.event, d.state, d.attempts, d.why, d.settled_us FROM debt d JOIN destination n ON n.id = d.destination
             WHERE {condition} ORDER BY d.id"
        );
        self.list(&sql, [value], |row| {
            let settled: Option<i64> = row.get(6)?;
            Ok(DebtRow {
                debt: row.get(0)?,
                destination: row.get(1)?,
                event: row.get::<_, i64>(2)?.to_string(),
                state: row.get(3)?,
                attempts: row.get(4)?,
                why: row.get(5)?,
                settled: settled.map(moment),
                tried: Vec::new(),
                again: None,
            })
        })
    }

    pub(super) fn list<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        each: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.read(|connection| connection.prepare_cached(sql)?.query_map(params, each)?.collect())
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(&self.connection).map_err(|error| broken(&self.file, &error))
    }

    pub(super) fn unsqueeze(&self, zstd: bool, bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, StoreError> {
        if !zstd {
            return Ok(bytes);
        }
        zstd::bulk::decompress(&bytes, limit)
            .map_err(|_| StoreError { text: format!("a body in {} is damaged: restore a backup", self.file.display()), exit: 65 })
    }

    fn unpack(&self, packed: Vec<u8>) -> Result<std::collections::BTreeMap<String, Vec<u8>>, StoreError> {
        const BUNDLE_BYTES_MAX: usize = 64 * 1024 * 1024;
        let json = self.unsqueeze(true, packed, BUNDLE_BYTES_MAX)?;
        let text: std::collections::BTreeMap<String, String> = serde_json::from_slice(&json)
            .map_err(|_| StoreError { text: format!("a mapping bundle in {} is damaged", self.file.display()), exit: 65 })?;
        Ok(text.into_iter().map(|(name, text)| (name, text.into_bytes())).collect())
    }
}

fn owed_debt(row: &rusqlite::Row<'_>) -> rusqlite::Result<OwedDebt> {
    Ok(OwedDebt {
        id: row.get(0)?,
        child: row.get(1)?,
        attempts: row.get(2)?,
        event: row.get(3)?,
        body: row.get(4)?,
        made_us: row.get(5)?,
        forced_by: row.get(6)?,
        turn: match row.get::<_, Option<bool>>(7)? {
            None => Turn::First,
            Some(false) => Turn::Missing,
            Some(true) => Turn::Whole,
        },
    })
}

fn entry_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<EntryRow> {
    Ok(EntryRow {
        seq: row.get(0)?,
        arrived: moment(row.get(1)?),
        source: row.get(2)?,
        format: row.get(3)?,
        kind: row.get(4)?,
        control_id: row.get(5)?,
        standing: row.get(6)?,
        reason: row.get(7)?,
        bytes: row.get(8)?,
    })
}

type Aggregates = (Vec<AggregateRow>, std::collections::BTreeMap<String, CurrentOutcome>);

/// What stands under publishers' keys, and which blood spot outcomes count.
fn aggregates(connection: &Connection, child: i64) -> rusqlite::Result<Aggregates> {
    let (mut rows, mut spots) = (Vec::new(), Vec::new());
    for standing in super::aggregates::of_child(connection, child, None)? {
        let Some((row, content)) = aggregate_row(connection, &standing)? else { continue };
        spots.extend(content.into_iter().filter(|_| !standing.deleted).flat_map(|content| content.blood_spots));
        rows.push(row);
    }
    Ok((rows, current_outcomes(&spots)))
}

/// What stands under one key; none where there is nothing to show.
pub(super) fn aggregate_row(
    connection: &Connection,
    standing: &super::aggregates::Standing,
) -> rusqlite::Result<Option<(AggregateRow, Option<Statement>)>> {
    let content = standing.content(connection)?;
    let lists = content.as_ref().map(lists).unwrap_or_default();
    // A message's own key without items of its own is kept for deletions; there is nothing to show.
    if !standing.deleted && lists.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(None);
    }
    let super::aggregates::Standing { kind, publisher, key, at_us, deleted, parts } = standing.clone();
    let seqs = parts.iter().map(|part| event_row::entry(part.event)).collect();
    let lists = if deleted { serde_json::Value::Null } else { lists };
    Ok(Some((AggregateRow { kind, publisher, key, at: moment(at_us), seqs, deleted, content: lists }, content)))
}

/// The lists of a statement that are not empty.
pub(super) fn lists(content: &Statement) -> serde_json::Value {
    let mut lists = serde_json::to_value(content).unwrap_or_default();
    if let Some(lists) = lists.as_object_mut() {
        lists.retain(|name, _| name != "event" && name != "child");
    }
    lists
}

type EventWithRow = (i64, EventRow, Option<String>);

fn event_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<EventWithRow> {
    let body: Vec<u8> = row.get(1)?;
    let child: Vec<u8> = row.get(2)?;
    let (kind, evidence): (String, String) = (row.get(3)?, row.get(7)?);
    let event = serde_json::from_slice::<FiledEvent>(&body).map(|event| event.event.to_string()).unwrap_or_default();
    let view = EventRow {
        event,
        child: Uuid::from_slice(&child).map(|uuid| uuid.to_string()).unwrap_or_default(),
        kind: if kind == "safeguarding" { "restricted".to_owned() } else { kind },
        at: moment(row.get(4)?),
        hub: row.get(5)?,
        basis: row.get(6)?,
        evidence: parse(Some(&evidence)),
        superseded: row.get(8)?,
    };
    Ok((row.get(0)?, view, row.get(9)?))
}

pub(super) fn moment(us: i64) -> String {
    Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default()
}

fn parse<T: serde::de::DeserializeOwned + Default>(text: Option<&str>) -> T {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
