//! What the admin door may ask of the broker, answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use super::bundle::Active;
use super::filer::Reader;
use crate::clock;
use crate::config::Settings;
use crate::intake::Controls;
use crate::names::{Format, Seq, SourceName};
use crate::store::{Ledger, LedgerReader, Prepared, StoreError, UnfiledEntry};

/// What the admin door needs of a running broker. Every method may block; it is called where that is allowed.
pub trait Operations: Send + Sync + 'static {
    /// Each check of readiness by name; an error says what is wrong, without patient data. Ready is when none has one.
    fn ready(&self) -> Vec<(String, Result<(), String>)>;

    /// What works less well than it should; the broker is ready all the same.
    fn degraded(&self) -> Vec<String> {
        Vec::new()
    }

    /// A reader of the live ledger.
    fn reader(&self) -> Result<LedgerReader, StoreError>;

    /// Files a held entry anew, with the mappings that are active now. In the audit under `reason` before it is done.
    fn release(&self, seq: Seq, reason: &str) -> Result<(), StoreError>;

    /// Puts a held debt back into its lane. In the audit under `reason` before it is done.
    fn release_debt(&self, debt: i64, reason: &str) -> Result<(), StoreError>;

    /// Loads mappings and directories anew, all or nothing: the hash that is active, or every mistake, a line each.
    fn reload(&self) -> Result<String, String>;

    /// Notes that a person saw or did something; returns once it is kept.
    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError>;

    /// The character set of a source whose messages do not name theirs, so that they are explained as they were read.
    fn charset(&self, _source: &str) -> Option<String> {
        None
    }
}

/// The broker as the admin door sees it.
pub struct BrokerOperations {
    pub(super) ledger: Ledger,
    pub(super) active: Arc<Active>,
    pub(super) settings: Arc<Settings>,
    pub(super) reader: Reader,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) missing: Arc<AtomicBool>,
    pub(super) controls: Controls,
    pub(super) runtime: Handle,
}

impl Operations for BrokerOperations {
    fn ready(&self) -> Vec<(String, Result<(), String>)> {
        let no = |wrong: bool, text: &str| if wrong { Err(text.to_owned()) } else { Ok(()) };
        vec![
            ("store".to_owned(), no(self.ledger.is_broken(), "a write of the ledger failed; the broker stops")),
            ("disk".to_owned(), no(self.ledger.is_full(), "no room on the disk of the ledger; make room and it goes on by itself")),
            ("workers".to_owned(), no(self.missing.load(Ordering::Acquire), "a thread that files or pays has ended; restart the broker")),
            ("doors".to_owned(), no(self.draining.load(Ordering::Acquire), "the broker is draining")),
        ]
    }

    fn degraded(&self) -> Vec<String> {
        let stale = self.active.stale.load();
        let mut degraded: Vec<String> = stale.iter().map(|mistake| format!("the mapping files are not active: {mistake}")).collect();
        degraded.extend(self.active.directory.load().degraded());
        degraded
    }

    fn reader(&self) -> Result<LedgerReader, StoreError> {
        LedgerReader::open(self.ledger.data())
    }

    fn release(&self, seq: Seq, reason: &str) -> Result<(), StoreError> {
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
        if self.runtime.block_on(self.ledger.file(vec![prepared])) { Ok(()) } else { Err(stopped()) }
    }

    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.ledger.audit(act, what, reason, clock::now()))
    }

    fn release_debt(&self, debt: i64, reason: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.ledger.release_debt(debt, reason, clock::now()))
    }

    fn reload(&self) -> Result<String, String> {
        self.runtime
            .block_on(super::reload(&self.active, &self.settings, &self.ledger, &self.controls))
            .map_err(|refused| refused.to_string())
    }

    fn charset(&self, source: &str) -> Option<String> {
        self.reader.sources.get(&SourceName::new(source))?.charset.clone()
    }
}
