//! A hub's own child health store, CarePlus style: a SQLite file or a PostgreSQL database that an analyst can read.
//!
//! # In this folder
//!
//! - `tables`: tables, views, and how an older store is brought up to date.
//! - `write`: a delivery, from what is known to what is written. `items`: what stands, in rows.
//! - `read`: what people and commands are shown. `counts`: caseload and uptake.
//! - `db`: both databases behind one trait; `postgres`: the one on a server.
//!
//! # In the store
//!
//!     child   one row for each child: the columns people search by, and the whole record as JSON
//!             record; `role` says whether the hub is responsible, gets copies, or has only history
//!     identifier, name, address, relation   the parts of that record of which a child has several
//!     event   the history: one row for each event that came, whatever became of it
//!     item    what was said under a publisher's key, with its versions; what it says now stands in
//!             blood_spot, hearing, physical_exam, immunisation, review, measurement, appointment, document, episode, task
//!     transfer     who came from where and went where, with what stood at that moment
//!     births_list  the births of each day, wherever born, and those born here who live elsewhere
//!     births_day   one row for each day whose list came, also for a day without births
//!     work_item    what somebody has to look at that day
//!     read_log     who read what, and why
//!
//! People read the views (`v_…`), which `docs/hub-store.md` explains.

mod counts;
mod db;
mod items;
mod postgres;
mod read;
mod tables;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use self::counts::{CaseloadLine, UptakeLine};
pub use self::postgres::PostgresAt;
pub use self::read::{ChildFile, FindBy, HubReader, Read, hub_births, hub_export};

use self::db::{Db, Sqlite, within};
use self::postgres::Postgres;
use self::write::Turn;
use super::StoreError;
use super::filing::word;
use super::transfers::StoreDelivery;
use crate::outbox::FiledEvent;

/// Where a hub's store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAt {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresAt),
}

impl StoreAt {
    /// For errors and listings; without a password.
    pub fn name(&self) -> String {
        match self {
            Self::File(file) => file.display().to_string(),
            Self::Postgres(at) => at.name(),
        }
    }
}

impl From<PathBuf> for StoreAt {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}

impl From<&PathBuf> for StoreAt {
    fn from(file: &PathBuf) -> Self {
        Self::File(file.clone())
    }
}

impl From<&Path> for StoreAt {
    fn from(file: &Path) -> Self {
        Self::File(file.to_path_buf())
    }
}

impl From<&StoreAt> for StoreAt {
    fn from(at: &StoreAt) -> Self {
        at.clone()
    }
}

/// A hub's store, open for writing.
pub struct HubStore {
    db: Box<dyn Db>,
}

impl std::fmt::Debug for HubStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HubStore({})", self.db.name())
    }
}

impl HubStore {
    /// Opens or makes the store, and brings an older one up to date. Waits; not to be called in a task of a runtime.
    ///
    /// # Errors
    ///
    /// It cannot be opened or written, another process writes it, or a newer program made it.
    pub fn open(at: impl Into<StoreAt>) -> Result<Self, StoreError> {
        match at.into() {
            StoreAt::File(file) => {
                let mut sqlite = Sqlite::open(&file)?;
                tables::bring_up(&mut sqlite, write::fill)?;
                sqlite.fold("TRUNCATE")?;
                Ok(Self { db: Box::new(sqlite) })
            }
            StoreAt::Postgres(at) => {
                let mut postgres = Postgres::open(&at, true)?;
                tables::bring_up(&mut postgres, write::fill)?;
                Ok(Self { db: Box::new(postgres) })
            }
        }
    }

    /// Applies events in their order, all in one durable transaction; what is known already is skipped.
    pub fn apply(&mut self, events: &[FiledEvent]) -> Result<(), StoreError> {
        let deliveries: Vec<StoreDelivery> = events.iter().map(|event| StoreDelivery::Event(Box::new(event.clone()), None)).collect();
        self.deliver(&deliveries)
    }

    /// Applies what is delivered in its order, all in one durable transaction; what is known already is skipped.
    /// After an error it is not known whether it was done: deliver it again.
    pub fn deliver(&mut self, deliveries: &[StoreDelivery]) -> Result<(), StoreError> {
        within(&mut *self.db, |db| {
            let mut turn = Turn::begin(db, deliveries)?;
            deliveries.iter().try_for_each(|delivery| turn.apply(delivery))?;
            turn.end()
        })?;
        self.db.tidy(deliveries.iter().map(StoreDelivery::weight).sum())
    }
}

fn text<T: serde::Serialize + ?Sized>(part: &T) -> String {
    serde_json::to_string(part).unwrap_or_default()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
