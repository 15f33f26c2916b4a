//! The tables of the ledger and how a connection to it is opened.
//!
//! # In the ledger
//!
//!     entry      seq | arrived | source | format | kind | control id | sha-256: one row for all that ever came
//!     body       seq | bytes: may be pruned when old
//!     standing   seq | state | why: at most one row for each entry; none yet means waiting
//!     event      what was filed, with the record after it; never changes
//!     child      the merged record; identifier points at it
//!     merged     which record goes on in the place of which, and which event said so; both rows stay
//!     aggregate  (kind, publisher, key): which events hold now and where in them, tombstones too
//!     safeguarding  child protection facts; nothing else has them
//!     table_miss  codes that no table knows, counted
//!     document_body  sha-256 | bytes: contents of documents, which events only name
//!     debt       what is owed to whom, in order; kept for ever with how it ended
//!     file       files that messages came in, by the hash of name and content
//!     placed     (file, place): which entry; it makes each message of a file an entry once
//!
//! # Invariants
//!
//! - Write-ahead log with `synchronous=FULL`: a commit that returned survives a power cut.
//! - Automatic checkpoints are off, because they swallow errors; ours are checked.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::StoreError;

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
        newer => {
            return Err(StoreError {
                text: format!("{} has format {newer}, this program knows {LEDGER_VERSION}: use the program that wrote it", file.display()),
                exit: 65,
            });
        }
    }
    connection.execute_batch(LATER_TABLES).map_err(|error| broken(&file, &error))?;
    connection.execute_batch(super::documents::TABLE).map_err(|error| broken(&file, &error))?;
    checkpoint(&connection, "TRUNCATE").map_err(|error| broken(&file, &error))?;
    Ok(connection)
}

/// Opens the ledger read-only, live or at rest.
pub(super) fn open_for_reading(data: &Path) -> Result<Connection, StoreError> {
    let file = ledger_file(data);
    if !file.exists() {
        return Err(StoreError {
            text: format!("there is no ledger at {}: is this the data directory of a broker?", file.display()),
            exit: 66,
        });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&file, flags).map_err(|error| broken(&file, &error))?;
    prepare(&connection, false).map_err(|error| broken(&file, &error))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|error| broken(&file, &error))?;
    if version != LEDGER_VERSION {
        return Err(StoreError { text: format!("{} has format {version}, this program knows {LEDGER_VERSION}", file.display()), exit: 65 });
    }
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
