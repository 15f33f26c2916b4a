//! Which daily jobs were done: the row that says so is written in the transaction that did it, or after what was made elsewhere.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil};
use rusqlite::{Connection, OptionalExtension, params};

use super::reader::LedgerReader;
use super::rows::StoreError;
use super::writer::Ledger;
use crate::names::HubName;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS calendar_done(
    job TEXT NOT NULL, hub TEXT NOT NULL, day TEXT NOT NULL, at_us INTEGER NOT NULL, PRIMARY KEY(job, hub, day)) STRICT, WITHOUT ROWID;
";

/// True where the job was done for this hub and day.
pub(super) fn is_done(connection: &Connection, job: &str, hub: &str, day: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM calendar_done WHERE job = ?1 AND hub = ?2 AND day = ?3")?.exists(params![job, hub, day])
}

/// Notes that it was.
pub(super) fn done(connection: &Connection, job: &str, hub: &str, day: &str, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT INTO calendar_done(job, hub, day, at_us) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![job, hub, day, now.as_microsecond()]).map(drop)
}

impl LedgerReader {
    /// The last day for which a job was done, for whichever hub.
    pub fn last_done(&self, job: &str) -> Result<Option<civil::Date>, StoreError> {
        let sql = "SELECT max(day) FROM calendar_done WHERE job = ?1";
        let day: Option<Option<String>> = self.read(|connection| connection.query_row(sql, [job], |row| row.get(0)).optional())?;
        Ok(day.flatten().and_then(|day| day.parse().ok()))
    }
    /// The last day of each hub for which a job was done.
    pub fn jobs_done(&self, job: &str) -> Result<BTreeMap<HubName, civil::Date>, StoreError> {
        let sql = "SELECT hub, max(day) FROM calendar_done WHERE job = ?1 GROUP BY hub";
        let rows = self.list(sql, [job], |row| Ok((HubName::new(row.get::<_, String>(0)?), row.get::<_, String>(1)?)))?;
        Ok(rows.into_iter().filter_map(|(hub, day)| Some((hub, day.parse().ok()?))).collect())
    }
}

impl Ledger {
    /// Notes that a job was done for a hub and a day: what it made lies elsewhere.
    pub async fn job_done(&self, job: &str, hub: &HubName, day: civil::Date, now: Timestamp) -> Result<(), StoreError> {
        let (job, hub, day) = (job.to_owned(), hub.as_str().to_owned(), day.to_string());
        self.act(Box::new(move |connection| done(connection, &job, &hub, &day, now))).await
    }
}
