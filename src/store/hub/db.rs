//! A database as the hub's store sees it: one text of SQL for SQLite and for PostgreSQL.
//!
//! Placeholders are written `?1`; types are `TEXT` and `INTEGER` (64 bits). A write may be sent when the next read or the end of the
//! transaction comes, and fails there at the latest: over a network one round trip then pays for many.

use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql};

use super::super::StoreError;
use super::super::schema::{self, broken};

/// A value of a row or of a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Val {
    Null,
    Int(i64),
    Text(String),
}

impl From<&str> for Val {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Val {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Val {
    fn from(truth: bool) -> Self {
        Self::Int(i64::from(truth))
    }
}

impl<T: Into<Val>> From<Option<T>> for Val {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row(pub(super) Vec<Val>);

impl Row {
    /// A text; empty where there is none.
    pub(super) fn text(&self, column: usize) -> String {
        self.maybe(column).unwrap_or_default()
    }

    /// A text, where there is one.
    pub(super) fn maybe(&self, column: usize) -> Option<String> {
        match self.0.get(column) {
            Some(Val::Text(text)) => Some(text.clone()),
            Some(Val::Int(number)) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A number; 0 where there is none.
    pub(super) fn int(&self, column: usize) -> i64 {
        match self.0.get(column) {
            Some(Val::Int(number)) => *number,
            _ => 0,
        }
    }
}

/// What both databases can do.
pub(super) trait Db: Send {
    /// Where it is, for errors and logs; no password.
    fn name(&self) -> String;
    /// Runs several statements without values.
    fn script(&mut self, sql: &str) -> Result<(), StoreError>;
    /// Writes; at the latest with the next read or [`Db::commit`].
    fn run(&mut self, sql: &'static str, values: Vec<Val>) -> Result<(), StoreError>;
    /// Reads.
    fn rows(&mut self, sql: &str, values: &[Val]) -> Result<Vec<Row>, StoreError>;
    /// Begins a transaction.
    fn begin(&mut self) -> Result<(), StoreError>;
    /// Ends it durably.
    fn commit(&mut self) -> Result<(), StoreError>;
    /// Undoes it, as far as the database is still there.
    fn rollback(&mut self);
    /// Makes of the tables' text what this database understands.
    fn tables(&self, sql: &str) -> String;
    /// True where there is such a table or view.
    fn has(&mut self, table: &str) -> Result<bool, StoreError>;
    /// Called after each transaction with the number of events in it.
    fn tidy(&mut self, events: usize) -> Result<(), StoreError>;
}

/// Does all of `work` in one durable transaction, or nothing.
pub(super) fn within<T>(db: &mut dyn Db, work: impl FnOnce(&mut dyn Db) -> Result<T, StoreError>) -> Result<T, StoreError> {
    db.begin()?;
    match work(db).and_then(|done| db.commit().map(|()| done)) {
        Ok(done) => Ok(done),
        Err(error) => {
            db.rollback();
            Err(error)
        }
    }
}

/// Values looked up in one go.
const AT_ONCE: usize = 64;

/// Looks rows up by the values of one text column; `sql` ends before the list of [`AT_ONCE`] placeholders.
pub(super) fn look_up(db: &mut dyn Db, sql: &str, values: &[String], mut each: impl FnMut(Row)) -> Result<(), StoreError> {
    let places: Vec<String> = (1..=AT_ONCE).map(|place| format!("?{place}")).collect();
    let sql = format!("{sql} ({})", places.join(", "));
    for some in values.chunks(AT_ONCE) {
        let Some(last) = some.last() else { continue };
        let padded: Vec<Val> = some.iter().chain(std::iter::repeat(last)).take(AT_ONCE).map(|value| Val::from(value.as_str())).collect();
        db.rows(&sql, &padded)?.into_iter().for_each(&mut each);
    }
    Ok(())
}

/// Events after which the write-ahead log is folded in and begun again; its file keeps its length.
const FOLD_AFTER: usize = 4_096;

/// One SQLite file.
#[derive(Debug)]
pub(super) struct Sqlite {
    connection: Connection,
    file: PathBuf,
    /// Events applied since the log was folded into the database.
    unfolded: usize,
}

impl Sqlite {
    /// Opens or makes the file, for writing.
    pub(super) fn open(file: &Path) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| broken(file, &error);
        let connection = Connection::open(file).map_err(failed)?;
        schema::prepare(&connection, true).map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed)?;
        Ok(Self { connection, file: file.to_path_buf(), unfolded: 0 })
    }

    /// Opens a file that is there, for reading.
    pub(super) fn open_to_read(file: &Path) -> Result<Self, StoreError> {
        if !file.exists() {
            return Err(StoreError { text: format!("there is no hub store at {}", file.display()), exit: 66 });
        }
        let failed = |error: rusqlite::Error| broken(file, &error);
        let connection = schema::open_to_read(file).map_err(failed)?;
        Ok(Self { connection, file: file.to_path_buf(), unfolded: 0 })
    }

    /// Folds the write-ahead log into the file.
    pub(super) fn fold(&self, mode: &str) -> Result<(), StoreError> {
        schema::checkpoint(&self.connection, mode).map(drop).map_err(|error| broken(&self.file, &error))
    }

    fn done<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| broken(&self.file, &error))
    }
}

impl ToSql for Val {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Int(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

fn read(connection: &Connection, sql: &str, values: &[Val]) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
        let value = |column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => Val::Null,
                ValueRef::Integer(number) => Val::Int(number),
                ValueRef::Real(number) => Val::Text(number.to_string()),
                ValueRef::Text(text) | ValueRef::Blob(text) => Val::Text(String::from_utf8_lossy(text).into_owned()),
            })
        };
        (0..columns).map(value).collect::<rusqlite::Result<Vec<_>>>().map(Row)
    })?;
    rows.collect()
}

impl Db for Sqlite {
    fn name(&self) -> String {
        self.file.display().to_string()
    }

    fn script(&mut self, sql: &str) -> Result<(), StoreError> {
        self.done(self.connection.execute_batch(sql))
    }

    fn run(&mut self, sql: &'static str, values: Vec<Val>) -> Result<(), StoreError> {
        let run = || self.connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(&values));
        self.done(run()).map(drop)
    }

    fn rows(&mut self, sql: &str, values: &[Val]) -> Result<Vec<Row>, StoreError> {
        self.done(read(&self.connection, sql, values))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.script("BEGIN IMMEDIATE")
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.script("COMMIT")
    }

    fn rollback(&mut self) {
        let _undone = self.script("ROLLBACK");
    }

    fn tables(&self, sql: &str) -> String {
        sql.to_owned()
    }

    fn has(&mut self, table: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM sqlite_master WHERE name = ?1";
        self.rows(sql, &[table.into()]).map(|rows| !rows.is_empty())
    }

    fn tidy(&mut self, events: usize) -> Result<(), StoreError> {
        self.unfolded += events;
        if FOLD_AFTER < self.unfolded {
            self.fold("RESTART")?;
            self.unfolded = 0;
        }
        Ok(())
    }
}
