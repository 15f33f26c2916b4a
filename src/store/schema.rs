//! The tables of the ledger and how a connection to it is opened.
//!
//! # In the ledger
//!
//!     entry      seq | arrived | source | format | kind | control id | sha-256: one row for all that ever came
//!     body       seq | bytes: may be pruned when old
//!     standing   seq | state | why: at most one row for each entry; none yet means waiting
//!     event      what was filed, with the record after it; its body never changes, an un-merge may put it under another child
//!     child      the merged record; identifier points at it
//!     merged     which record goes on in the place of which, and which event said so; both rows stay
//!     aggregate  (kind, publisher, key): which events hold now and where in them, tombstones too
//!     safeguarding  child protection facts; nothing else has them
//!     table_miss  codes that no table knows, counted
//!     document_body  sha-256 | bytes: contents of documents, which events only name
//!     debt       what is owed to whom, in order; kept for ever with how it ended
//!     file       files that messages came in, by the hash of name and content
//!     watch, clock_open, clock_change, clock_closing, task, hub_move  the failsafe's (`failsafe.rs`)
//!     review     what was filed and must be looked at by a person
//!     apart      entries that listings say nothing of
//!     placed     (file, place): which entry; it makes each message of a file an entry once
//!     hub_history  who was responsible for a child since when, and on which ground
//!     birth      when a birth was recognised, who told of it, and on which day's lists it stood; births_day has the lists
//!     mover      children that moved and that somebody has to take on
//!     calendar_done  (job, hub, day): daily jobs that were done
//!     hub_override, job, job_unread  what people decided, and work that goes through all children
//!     newborn    children in their first 28 days, by the day on which these have ended
//!     waiting, waits_for, waits_like  held entries that are tried again, and the identifiers and details that they wait for (`retry.rs`)
//!     debt_attempt, debt_sent, receiver, replay, replayed  attempts at debts, how receivers stand, and what is sent again
//!     edited     held messages that a person mended, and their copies
//!     parents_told, parents_informed  what accounts were sent, and of which results the parents were told by a person (`parents.rs`)
//!     kin, likeness, mother_alias, barred  by what a child is found without an identifier of its own (`kin.rs`, `mothers.rs`)
//!     decision, identity_item, two_children, before_merge, detached  what people decided of identity, and what it takes to undo it (`desk.rs`)
//!
//! # Invariants
//!
//! - Write-ahead log with `synchronous=FULL`: a commit that returned survives a power cut.
//! - Automatic checkpoints are off, because they swallow errors; ours are checked.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{StoreError, apart, assign, births, calendar, documents, reviews, transfers};

/// Format of the ledger; a newer one is refused.
pub(super) const LEDGER_VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE source(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE destination(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE bundle(id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, files BLOB NOT NULL, activated_us INTEGER NOT NULL) STRICT;
CREATE TABLE entry(
    seq INTEGER PRIMARY KEY, arrived_us INTEGER NOT NULL, day INTEGER NOT NULL, source INTEGER NOT NULL, format TEXT NOT NULL,
    kind TEXT NOT NULL, control_id TEXT NOT NULL, control_key INTEGER NOT NULL, sha256 BLOB NOT NULL, bytes INTEGER NOT NULL,
    accepted INTEGER NOT NULL) STRICT;
CREATE TABLE control(key INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(key, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE body(seq INTEGER PRIMARY KEY, zstd INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE standing(
    seq INTEGER PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL, mapping TEXT, bundle INTEGER, findings TEXT) STRICT;
CREATE INDEX standing_held ON standing(seq) WHERE state = 'held';
CREATE TABLE child(
    id INTEGER PRIMARY KEY, uuid BLOB NOT NULL UNIQUE, version INTEGER NOT NULL, status TEXT NOT NULL, hub TEXT NOT NULL,
    record BLOB NOT NULL) STRICT;
CREATE TABLE identifier(system TEXT NOT NULL, value TEXT NOT NULL, child INTEGER NOT NULL, PRIMARY KEY(system, value)) STRICT, WITHOUT ROWID;
CREATE INDEX identifier_child ON identifier(child);
CREATE TABLE relation_identifier(system TEXT NOT NULL, value TEXT NOT NULL, child INTEGER NOT NULL, PRIMARY KEY(system, value)) STRICT, WITHOUT ROWID;
CREATE TABLE merged(child INTEGER PRIMARY KEY, survivor INTEGER NOT NULL, first_survivor INTEGER NOT NULL, event INTEGER NOT NULL) STRICT;
CREATE INDEX merged_survivor ON merged(survivor);
CREATE TABLE aggregate(
    kind TEXT NOT NULL, publisher TEXT NOT NULL, key TEXT NOT NULL, child INTEGER NOT NULL, at_us INTEGER NOT NULL,
    version INTEGER NOT NULL, event INTEGER NOT NULL, deleted INTEGER NOT NULL, within TEXT, parts TEXT NOT NULL,
    PRIMARY KEY(kind, publisher, key)) STRICT, WITHOUT ROWID;
CREATE INDEX aggregate_child ON aggregate(child, kind);
CREATE INDEX aggregate_within ON aggregate(publisher, within) WHERE within IS NOT NULL;
CREATE TABLE safeguarding(
    publisher TEXT NOT NULL, key TEXT NOT NULL, child INTEGER NOT NULL, at_us INTEGER NOT NULL, deleted INTEGER NOT NULL,
    version INTEGER NOT NULL, seq INTEGER NOT NULL, within TEXT, body TEXT, PRIMARY KEY(publisher, key)) STRICT, WITHOUT ROWID;
CREATE INDEX safeguarding_child ON safeguarding(child);
CREATE TABLE event(
    id INTEGER PRIMARY KEY, child INTEGER NOT NULL, kind TEXT NOT NULL, at_us INTEGER NOT NULL, hub TEXT NOT NULL, basis TEXT NOT NULL,
    superseded INTEGER NOT NULL, evidence TEXT NOT NULL, withheld TEXT, body BLOB NOT NULL) STRICT;
CREATE INDEX event_child ON event(child, id);
CREATE TABLE debt(
    id INTEGER PRIMARY KEY, destination INTEGER NOT NULL, child INTEGER NOT NULL, event INTEGER NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL, why TEXT NOT NULL, made_us INTEGER NOT NULL, settled_us INTEGER, body BLOB) STRICT;
CREATE INDEX debt_pending ON debt(destination, id) WHERE state = 'pending';
CREATE INDEX debt_held ON debt(destination, child, id) WHERE state = 'held';
CREATE INDEX debt_event ON debt(event);
CREATE TABLE proxy_consent(child INTEGER NOT NULL, account TEXT NOT NULL, at_us INTEGER NOT NULL, consent TEXT NOT NULL, PRIMARY KEY(child, account)) STRICT, WITHOUT ROWID;
CREATE TABLE table_miss(
    tbl TEXT NOT NULL, code TEXT NOT NULL, source INTEGER NOT NULL, count INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    resolved_us INTEGER, PRIMARY KEY(tbl, code, source)) STRICT, WITHOUT ROWID;
CREATE TABLE audit(id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, act TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL) STRICT;
";

/// From format 1, in which a message had at most one aggregate. What its row says is enough where its event cannot be read; all others are
/// found anew out of the events.
const FROM_1: &str = r#"
ALTER TABLE aggregate ADD COLUMN within TEXT;
ALTER TABLE aggregate ADD COLUMN parts TEXT NOT NULL DEFAULT '[]';
UPDATE aggregate SET parts = json_array(json_object(
    'order', json_object('at_us', at_us, 'deleted', json(iif(deleted, 'true', 'false')), 'version', version, 'seq', event / 1024),
    'event', event,
    'items', json(iif(kind = 'blood-spot' AND NOT deleted, '[["blood_spots",0]]', '[]'))));
CREATE INDEX aggregate_within ON aggregate(publisher, within) WHERE within IS NOT NULL;
CREATE TABLE merged(child INTEGER PRIMARY KEY, survivor INTEGER NOT NULL, first_survivor INTEGER NOT NULL, event INTEGER NOT NULL) STRICT;
CREATE INDEX merged_survivor ON merged(survivor);
CREATE TABLE safeguarding(
    publisher TEXT NOT NULL, key TEXT NOT NULL, child INTEGER NOT NULL, at_us INTEGER NOT NULL, deleted INTEGER NOT NULL,
    version INTEGER NOT NULL, seq INTEGER NOT NULL, within TEXT, body TEXT, PRIMARY KEY(publisher, key)) STRICT, WITHOUT ROWID;
CREATE INDEX safeguarding_child ON safeguarding(child);
CREATE TABLE table_miss(
    tbl TEXT NOT NULL, code TEXT NOT NULL, source INTEGER NOT NULL, count INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    resolved_us INTEGER, PRIMARY KEY(tbl, code, source)) STRICT, WITHOUT ROWID;
"#;

/// Tables that came later; a ledger that was made before gets them when it is opened for writing.
const LATER_TABLES: &str = "
CREATE TABLE IF NOT EXISTS file(id INTEGER PRIMARY KEY, mark BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS placed(file INTEGER NOT NULL, place INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(file, place)) STRICT, WITHOUT ROWID;
";

/// The ledger's file in a data directory.
pub(super) fn ledger_file(data: &Path) -> PathBuf {
    data.join("ledger.db")
}

/// Opens (or makes) the ledger for writing and proves by a checkpoint that what the last run wrote can be read
/// and written again: a page that failed to reach the disk would otherwise hide behind the page cache.
pub(super) fn open_for_writing(data: &Path) -> Result<Connection, StoreError> {
    let file = ledger_file(data);
    let connection = Connection::open(&file).map_err(|error| broken(&file, &error))?;
    prepare(&connection, true).map_err(|error| broken(&file, &error))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|error| broken(&file, &error))?;
    match version {
        LEDGER_VERSION => {}
        0 => create(&connection).map_err(|error| broken(&file, &error))?,
        1 => upgrade(&connection).map_err(|error| broken(&file, &error))?,
        newer => {
            return Err(StoreError {
                text: format!("{} has format {newer}, this program knows {LEDGER_VERSION}: use the program that wrote it", file.display()),
                exit: 65,
            });
        }
    }
    connection.execute_batch(LATER_TABLES).map_err(|error| broken(&file, &error))?;
    let later = [documents::TABLE, reviews::TABLE, apart::TABLE, transfers::TABLES, births::TABLES, calendar::TABLES, assign::TABLES];
    for tables in later {
        connection.execute_batch(tables).map_err(|error| broken(&file, &error))?;
    }
    connection.execute_batch(super::desk::TABLES).map_err(|error| broken(&file, &error))?;
    connection.execute_batch(super::parents::TABLES).map_err(|error| broken(&file, &error))?;
    connection.execute_batch(super::retry::TABLES).map_err(|error| broken(&file, &error))?;
    connection.execute_batch(super::kin::TABLES).and_then(|()| super::kin::fill(&connection)).map_err(|error| broken(&file, &error))?;
    let today = crate::failsafe::day::date_of(crate::clock::now());
    connection
        .execute_batch(super::newborns::TABLES)
        .and_then(|()| super::newborns::fill(&connection, today))
        .map_err(|error| broken(&file, &error))?;
    for tables in [super::debts::TABLES, super::receivers::TABLES, super::replays::TABLES, super::edits::TABLES] {
        connection.execute_batch(tables).map_err(|error| broken(&file, &error))?;
    }
    connection.execute_batch(super::failsafe::TABLES).map_err(|error| broken(&file, &error))?;
    checkpoint(&connection, "TRUNCATE").map_err(|error| broken(&file, &error))?;
    Ok(connection)
}

/// Opens the ledger read-only, live or at rest.
pub(super) fn open_for_reading(data: &Path) -> Result<Connection, StoreError> {
    let file = ledger_file(data);
    if !file.exists() {
        return Err(StoreError { text: format!("there is no ledger at {}", file.display()), exit: 66 });
    }
    let connection = open_to_read(&file).map_err(|error| broken(&file, &error))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|error| broken(&file, &error))?;
    if version != LEDGER_VERSION {
        let what =
            if version < LEDGER_VERSION { "start the broker once, which brings it up to date" } else { "use the program that wrote it" };
        let text = format!("{} has format {version}, this program knows {LEDGER_VERSION}: {what}", file.display());
        return Err(StoreError { text, exit: 65 });
    }
    Ok(connection)
}

/// Opens a database of ours, the ledger or a hub's store, without changing it.
pub(super) fn open_to_read(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    prepare(&connection, false)?;
    Ok(connection)
}

/// Settings of every connection.
pub(super) fn prepare(connection: &Connection, writes: bool) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Plans stay as they were made; otherwise each new value beside a partial index makes SQLite plan the query again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if writes {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.pragma_update(None, "cache_size", -16_384)?;
    } else {
        connection.pragma_update(None, "query_only", "ON")?;
        connection.pragma_update(None, "cache_size", -16_384)?;
    }
    Ok(())
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    let ledger = uuid::Uuid::now_v7();
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES}"))?;
    connection.execute("INSERT INTO meta VALUES('ledger', ?1)", [ledger.as_bytes().as_slice()])?;
    connection.execute("INSERT INTO meta VALUES('filed_through', 0), ('controls_through', 0)", [])?;
    connection.execute_batch(&format!("PRAGMA user_version = {LEDGER_VERSION}; COMMIT"))
}

/// All of it or nothing: a ledger whose upgrade was cut short is still of the old format.
fn upgrade(connection: &Connection) -> rusqlite::Result<()> {
    let upgrading = rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate)?;
    upgrading.execute_batch(FROM_1)?;
    upgrading.execute_batch(super::reviews::TABLE)?;
    super::aggregates::rebuild(&upgrading, crate::clock::now().as_microsecond())?;
    upgrading.execute_batch(&format!("PRAGMA user_version = {LEDGER_VERSION}"))?;
    upgrading.commit()
}

/// Runs a checkpoint and reads its result. Gives how many frames the log has and how many are in the database.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(1)?, row.get(2)?)))
}

/// What an SQLite error means for whoever waits.
pub(super) fn broken(file: &Path, error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    let (what, exit) = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => ("is damaged: restore a backup", 65),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ("is in use by another program: stop it, or try later", 75),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            ("cannot be opened: check the folder and its rights", 77)
        }
        Some(ErrorCode::DiskFull) => ("cannot grow: make room on its disk", 74),
        _ => ("cannot be read or written", 74),
    };
    StoreError { text: format!("{} {what} ({error})", file.display()), exit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ChildId;
    use crate::store::LedgerReader;
    use crate::store::aggregates::{Order, read_parts};

    /// A ledger that the program before format 2 wrote (`tests/ledger/README.md`).
    const LEDGER_1: &[u8] = include_bytes!("../../tests/ledger/format-1.db.zst");

    fn rows(connection: &Connection, sql: &str) -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns).map(|column| Ok(format!("{:?}", row.get_ref(column)?))).collect::<rusqlite::Result<Vec<_>>>()
        };
        statement.query_map([], |columns| Ok(row(columns)?.join(" "))).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    /// `RJ1 26N000123 PKU 04`: every outcome that stands of every child.
    fn outcomes(reader: &LedgerReader, children: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        for child in children {
            let view = reader.child(ChildId(child.parse().unwrap())).unwrap().unwrap();
            for row in view.aggregates.iter().filter(|row| row.kind == "blood-spot" && !row.deleted) {
                for spot in row.content["blood_spots"].as_array().into_iter().flatten() {
                    let words =
                        |one: &serde_json::Value| format!("{} {} {} {}", row.publisher, row.key, one["condition"], one["nbs_status"]);
                    all.extend(spot["outcomes"].as_array().into_iter().flatten().map(words));
                }
            }
        }
        all.into_iter().map(|words| words.replace('"', "")).collect()
    }

    #[test]
    fn a_ledger_that_the_program_before_wrote_has_all_its_children_events_and_outcomes_and_those_that_were_out_of_sight() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(ledger_file(data.path()), zstd::decode_all(LEDGER_1).unwrap()).unwrap();
        let kept = [
            "entry",
            "body",
            "standing",
            "source",
            "event",
            "child",
            "identifier",
            "relation_identifier",
            "debt",
            "proxy_consent",
            "bundle",
        ];
        let all = |connection: &Connection| kept.map(|table| rows(connection, &format!("SELECT * FROM {table} ORDER BY 1, 2")));
        let old = Connection::open(ledger_file(data.path())).unwrap();
        let before = all(&old);
        assert_eq!(old.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        let known = rows(&old, "SELECT kind, publisher, key, child, deleted FROM aggregate");
        drop(old);

        let upgraded = open_for_writing(data.path()).unwrap();
        for (table, (before, after)) in kept.iter().zip(before.iter().zip(&all(&upgraded))) {
            assert!(!before.is_empty(), "{table}");
            assert_eq!(before, after, "{table}");
        }
        let now = rows(&upgraded, "SELECT kind, publisher, key, child, deleted FROM aggregate");
        assert!(known.iter().all(|row| now.contains(row)), "{known:?}\n{now:?}");
        drop(upgraded);

        // Every event can be read, and is shown with its child.
        let reader = LedgerReader::open(data.path()).unwrap();
        let mut events = Vec::new();
        let entries = reader.entries(&crate::store::EntryFilter::default()).unwrap();
        for entry in &entries {
            events.extend(reader.trace(crate::names::Seq(entry.seq)).unwrap().unwrap().events);
        }
        assert_eq!((entries.len(), events.len()), (22, 19));
        assert!(events.iter().all(|event| !event.event.is_empty()), "{events:?}");
        let mut children: Vec<String> = events.iter().map(|event| event.child.clone()).collect();
        children.sort();
        children.dedup();
        assert_eq!(children.len(), 6);
        assert_eq!(reader.reviews(None).unwrap().len(), 0);

        let outcomes = outcomes(&reader, &children);
        let of = |key: &str| outcomes.iter().filter(|words| words.contains(key)).cloned().collect::<Vec<_>>();
        let count = |key: &str| of(key).len();
        assert_eq!((count("26N000123"), count("26N000456"), count("26N000789")), (10, 1, 10));
        // A correction of one condition had put the nine others out of sight.
        assert_eq!(count("26N001011"), 10);
        // Of a message with two cards the second one was not seen.
        assert_eq!(of("26N009001"), ["RJ1 26N009001 CF 04", "RJ1 26N009001 SCD 04"]);
        assert_eq!(of("26N009002"), ["RJ1 26N009002 PKU 04"]);
        assert_eq!(outcomes.len(), 34);
    }

    #[test]
    fn what_an_old_ledger_says_and_this_program_cannot_read_is_kept_and_a_person_is_told() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(ledger_file(data.path()), zstd::decode_all(LEDGER_1).unwrap()).unwrap();
        let old = Connection::open(ledger_file(data.path())).unwrap();
        old.execute("UPDATE event SET body = CAST('{}' AS BLOB) WHERE id = 13 * 1024", []).unwrap();
        drop(old);
        drop(open_for_writing(data.path()).unwrap());
        let reader = LedgerReader::open(data.path()).unwrap();
        let reviews: Vec<(String, String, i64)> =
            reader.reviews(None).unwrap().into_iter().map(|row| (row.code, row.key, row.seq)).collect();
        assert_eq!(reviews, [("not-read-again".to_owned(), "26N000123".to_owned(), 13)]);
    }

    /// The tables of format 1 that the upgrade changes; the others are the same.
    const AGGREGATE_1: &str = "
CREATE TABLE aggregate(
    kind TEXT NOT NULL, publisher TEXT NOT NULL, key TEXT NOT NULL, child INTEGER NOT NULL, at_us INTEGER NOT NULL,
    version INTEGER NOT NULL, event INTEGER NOT NULL, deleted INTEGER NOT NULL, PRIMARY KEY(kind, publisher, key)) STRICT, WITHOUT ROWID;
CREATE INDEX aggregate_child ON aggregate(child, kind);
INSERT INTO aggregate VALUES('blood-spot', 'RP4', '26N1', 7, 1000, 3, 5121, 0), ('blood-spot', 'RP4', '26N2', 7, 2000, 0, 6144, 1);
PRAGMA user_version = 1;";

    #[test]
    fn a_ledger_of_format_1_is_brought_up_to_date_and_says_what_it_said() {
        let data = tempfile::tempdir().unwrap();
        let old = Connection::open(ledger_file(data.path())).unwrap();
        let unchanged = ["meta", "entry", "standing", "event", "child", "debt"].map(|name| format!("CREATE TABLE {name}"));
        let kept = TABLES.split(";\n").filter(|sql| unchanged.iter().any(|start| sql.trim_start().starts_with(start.as_str())));
        old.execute_batch(&kept.collect::<Vec<_>>().join(";")).unwrap();
        old.execute_batch(AGGREGATE_1).unwrap();
        drop(old);
        assert!(open_for_reading(data.path()).unwrap_err().text.contains("start the broker once"));

        let upgraded = open_for_writing(data.path()).unwrap();
        let parts = |key: &str| {
            let sql = "SELECT parts FROM aggregate WHERE kind = 'blood-spot' AND publisher = 'RP4' AND key = ?1";
            read_parts(&upgraded.query_row(sql, [key], |row| row.get::<_, String>(0)).unwrap())
        };
        let [stands] = parts("26N1").try_into().unwrap();
        assert_eq!(stands.order, Order { at_us: 1000, deleted: false, version: 3, seq: 5 });
        assert_eq!((stands.event, stands.items.as_slice()), (5121, [("blood_spots".to_owned(), 0)].as_slice()));
        let [tombstone] = parts("26N2").try_into().unwrap();
        assert!(tombstone.order.deleted && tombstone.items.is_empty());
        for table in [
            "merged",
            "safeguarding",
            "table_miss",
            "file",
            "placed",
            "document_body",
            "kin",
            "likeness",
            "waiting",
            "before_merge",
            "identity_item",
        ] {
            upgraded.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap();
        }
        drop(upgraded);
        open_for_reading(data.path()).unwrap();
    }
}
