//! What the admin door may ask of the broker, answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use super::bundle::Active;
use super::filer::Reader;
use crate::clock;
use crate::config::Settings;
pub use crate::console::Operations;
use crate::names::{Format, Seq, SourceName};
use crate::store::{Ledger, LedgerReader, Prepared, StoreError, UnfiledEntry};

/// The broker as the admin door sees it.
pub struct BrokerOperations {
    pub(super) ledger: Ledger,
    pub(super) active: Arc<Active>,
    pub(super) settings: Arc<Settings>,
    pub(super) reader: Reader,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) runtime: Handle,
}

impl Operations for BrokerOperations {
    fn ready(&self) -> Vec<(&'static str, Result<(), String>)> {
        let no = |wrong: bool, text: &str| if wrong { Err(text.to_owned()) } else { Ok(()) };
        vec![
            ("store", no(self.ledger.is_broken(), "a write of the ledger failed; the broker stops")),
            ("disk", no(self.ledger.is_full(), "no room on the disk of the ledger; make room and it goes on by itself")),
            ("doors", no(self.draining.load(Ordering::Acquire), "the broker is draining")),
        ]
    }

    fn degraded(&self) -> Vec<String> {
        let mut degraded: Vec<String> = self.active.stale.load().iter().map(|mistake| format!("mapping files are not active: {mistake}")).collect();
        degraded.extend(self.active.directory.load().degraded());
        degraded
    }

    fn reader(&self) -> Result<LedgerReader, StoreError> {
        LedgerReader::open(self.ledger.data())
    }

    fn release(&self, seq: Seq, reason: &str) -> Result<String, StoreError> {
        let reader = self.reader()?;
        let missing = || StoreError { text: format!("entry {seq} is not held; `held list` shows what is"), exit: 66 };
        let (row, body) = reader.entry(seq)?.filter(|(row, _)| row.standing == "held").ok_or_else(missing)?;
        let arrived_us = row.arrived.parse::<jiff::Timestamp>().map_or(0, |at| at.as_microsecond());
        let entry = UnfiledEntry {
            seq,
            source: SourceName::new(&row.source),
            format: Format::from_word(&row.format).unwrap_or(Format::Hl7v2),
            control_id: row.control_id,
            arrived_us,
            body,
        };
        let prepared = Prepared { released_by: Some(reason.to_owned()), ..self.reader.prepare(&entry) };
        let stopped = || StoreError { text: "the ledger's writer has stopped".into(), exit: 74 };
        if !self.runtime.block_on(self.ledger.file(vec![prepared])) {
            return Err(stopped());
        }
        Ok(reader.standing(seq)?.map(|standing| standing.as_str().to_owned()).unwrap_or_default())
    }

    fn release_debt(&self, debt: i64, reason: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.ledger.release_debt(debt, reason, clock::now()))
    }

    fn charset(&self, source: &str) -> Option<String> {
        self.settings.sources.iter().find(|one| one.name == source).and_then(|one| one.charset.clone())
    }

    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.ledger.audit(act, what, reason, clock::now()))
    }

    fn reload(&self) -> Result<String, Vec<String>> {
        self.runtime.block_on(self.active.reload(&self.settings, &self.ledger, clock::now())).map_err(|refused| refused.mistakes)
    }
}
