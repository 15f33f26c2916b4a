//! The vaccination import file of a CarePlus store: 52 columns, handed over as whole files (destination rules, section 2).
//!
//!     FiledEvent ──▶ row.rs  entries, or why there is no row ──▶ spool.rs  durable, once ──▶ asked again ──▶ careplus-000001.csv
//!                                                                 said.rs  which were handed over
//!
//! # Invariants
//!
//! - A debt is settled when its vaccinations are in the spool on disk; each is then in exactly one file, whatever is killed and when.
//! - What waited in the spool is said as its child is when the file is made, or not at all.
//! - A row that cannot be said right is not said: its debt is held with the reason, and the reason quotes nothing of the child.
//!
//! # Not here
//!
//! Corrections of what was handed over: the file has no word for them, so they are held for a person.

mod row;
mod said;
mod spool;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use self::row::Codes;
use self::spool::{Rows, Spool};
use super::wire::jitter;
use super::{Payment, out_of_range};
use crate::canon::EventKind;
use crate::names::HubName;
use crate::outbox::{FiledEvent, Settlement, backoff};

pub use self::row::COLUMNS;

/// `kind = "careplus-csv"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CareplusConfig {
    /// Where finished files are put; what is not finished lies below it in `.chis-broker`.
    pub folder: PathBuf,
    /// Children of this hub only.
    pub hub: Option<HubName>,
    /// A file is handed over at least so often, where there is anything to say. Default 60.
    pub every_minutes: Option<u64>,
    /// A file is handed over when it has so many vaccinations. Default 1000.
    pub vaccinations_max: Option<usize>,
    /// `CL` clinic or `SC` school. Default `CL`.
    pub venue_type: Option<String>,
    /// Column Staff Type.
    pub staff_type: Option<String>,
    /// Column Staff Code.
    pub staff_code: Option<String>,
    /// CSV `from,to,doses` in place of the shipped codes of products.
    pub vaccines: Option<PathBuf>,
    /// CSV `from,to` in place of the shipped codes of body sites.
    pub sites: Option<PathBuf>,
    /// Values that a spreadsheet would take for a formula begin with `'`. Default false.
    #[serde(default)]
    pub csv_excel_safe: bool,
}

impl CareplusConfig {
    /// What is wrong with it, each with what would help.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.folder.as_os_str().is_empty() {
            problems.push("`folder` has no name; write it like `/srv/careplus/in`".to_owned());
        }
        if let Some(word) = self.venue_type.as_deref().filter(|word| !matches!(*word, "CL" | "SC")) {
            problems.push(format!("`venue_type = \"{word}\"` is neither; write `CL` for a clinic or `SC` for a school"));
        }
        if self.hub.as_ref().is_some_and(|hub| matches!(hub.as_str(), "" | HubName::OUT | HubName::UNKNOWN)) {
            problems.push("`hub` is not a hub; name one of hubs.toml, or leave it out".to_owned());
        }
        problems.extend(out_of_range("every_minutes", self.every_minutes, 1..=1440));
        problems.extend(out_of_range("vaccinations_max", self.vaccinations_max.map(|most| most as u64), 1..=100_000));
        problems.extend(self.rules().err());
        problems
    }

    /// The rules of its rows, with the code tables read.
    ///
    /// The error names the setting, the file, its line, and what would help.
    pub fn rules(&self) -> Result<VaccinationFile, String> {
        let codes = Codes::read(self.vaccines.as_deref(), self.sites.as_deref())?;
        Ok(VaccinationFile { config: self.clone(), codes })
    }
}

/// What a vaccination file is made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaccinationFile {
    config: CareplusConfig,
    codes: Codes,
}

impl VaccinationFile {
    /// True where this event may have rows: vaccinations of a child of the hub, as far as they are news.
    pub fn wants(&self, event: &FiledEvent) -> bool {
        let is_of_hub = |hub: &HubName| event.record.hub.as_ref().is_some_and(|route| route.hub == *hub);
        event.statement.event.kind == EventKind::Immunisation
            && !event.superseded
            && self.config.hub.as_ref().is_none_or(is_of_hub)
            && row::says_anything(event)
    }

    /// What goes into the spool for this debt, of the child as it is now; or why there is no right row. The reason is a text of ours.
    pub fn body(&self, debt: i64, event: &FiledEvent) -> Result<Vec<u8>, String> {
        let entries = row::entries(event, &self.config, &self.codes)?;
        serde_json::to_vec(&Rows { debt, entries }).map_err(|_| "the row cannot be written".to_owned())
    }
}

/// What the spool asks when a file is made: a child may have been sealed or hidden since its debt was paid.
pub trait RowsOfNow: std::fmt::Debug + Send + Sync {
    /// Of each debt what [`VaccinationFile::body`] makes of its child as it is now; none where nothing may be said of it. How such a debt ended is
    /// noted before this returns. May block.
    ///
    /// # Errors
    ///
    /// It cannot be known now: no file is made, and it is asked again.
    fn rows_of_now(&self, debts: &[i64]) -> std::io::Result<Vec<Option<Vec<u8>>>>;
}

/// What came of a hand-over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// Vaccinations in the file; without any there is none.
    pub vaccinations: usize,
    /// Debts of which nothing may be said any more.
    pub withheld: usize,
}

/// A folder of vaccination files.
#[derive(Clone, Debug)]
pub struct CareplusDestination {
    spool: Arc<Mutex<Spool>>,
    now: Option<Arc<dyn RowsOfNow>>,
    /// How often a file is handed over.
    pub every: Duration,
}

impl CareplusDestination {
    /// Takes the folder for this process, and finishes what a process before left half done.
    ///
    /// The error names the folder and what would help.
    pub fn new(config: &CareplusConfig) -> Result<Self, String> {
        let spool = Spool::open(&config.folder, config.vaccinations_max.unwrap_or(1000), config.csv_excel_safe)?;
        Ok(Self { spool: Arc::new(Mutex::new(spool)), now: None, every: Duration::from_secs(config.every_minutes.unwrap_or(60) * 60) })
    }

    /// The same folder, with somebody to ask before a file is made. Without one, rows are said as they came.
    #[must_use]
    pub fn asking(self, now: Arc<dyn RowsOfNow>) -> Self {
        Self { now: Some(now), ..self }
    }

    /// One attempt: the entries of `body` into the spool, and a file handed over where it is full.
    pub async fn pay(&self, payment: Payment<'_>) -> Settlement {
        let wait = backoff(payment.attempts, jitter(payment.key, payment.attempts));
        let retry = |why: String| Settlement::Retry { after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), why };
        let (files, key, body) = (self.clone(), payment.key.to_owned(), payment.body.to_vec());
        let taken = tokio::task::spawn_blocking(move || {
            let Ok(rows) = serde_json::from_slice(&body) else { return Ok(Settlement::Held { why: "nothing to write".to_owned() }) };
            let mut spool = files.spool.lock().unwrap_or_else(PoisonError::into_inner);
            let settlement = spool.take(&key, rows)?;
            if spool.is_full() {
                // It is in the spool; a hand-over that fails is tried again by the clock.
                if let Ok(HandedOver { vaccinations, withheld }) = spool.hand_over(files.now.as_deref()) {
                    tracing::info!(
                        vaccinations,
                        withheld,
                        "delivery.file: a full spool was made a file of, as far as it may be said still"
                    );
                }
            }
            Ok(settlement)
        });
        match taken.await {
            Ok(Ok(settlement)) => settlement,
            Ok(Err(error)) => retry(format!("the folder cannot be written ({})", std::io::Error::kind(&error))),
            Err(_) => retry("writing ended early".to_owned()),
        }
    }

    /// Hands over what has come so far and may be said now.
    ///
    /// # Errors
    ///
    /// Those of the file system: nothing is lost, and the next call tries again.
    pub fn hand_over(&self) -> std::io::Result<HandedOver> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner).hand_over(self.now.as_deref())
    }
}

fn read(setting: &str, file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file)
        .map_err(|error| format!("`{setting}`: {} cannot be read ({error}); correct the name or its permissions", file.display()))
}
