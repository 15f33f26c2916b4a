//! What the admin door may ask of the broker, answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;

use super::bundle::Active;
use super::delivery_desk::DeliveryDesk;
use super::failsafe::Watching;
use super::filer::Reader;
use crate::clock;
use crate::config::Settings;
use crate::failsafe::ClockState;
use crate::intake::Controls;
use crate::mapping::Finding;
use crate::names::{ChildId, Format, HubName, Seq, SourceName};
use crate::store::{
    AssignAct, AssignEffect, DeskAct, Effect, Ledger, LedgerReader, Prepared, PreparedOutcome, ReassignPlan, StoreError, UnfiledEntry,
};

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

    /// Takes a mended copy of a held message in its place, or with `is_trial` only says how it would be read. In the audit under `reason`.
    fn edit(&self, _seq: Seq, _body: Vec<u8>, _reason: &str, _is_trial: bool) -> Result<EditEffect, StoreError> {
        Err(StoreError { text: "this broker edits nothing".into(), exit: 70 })
    }

    /// Loads the tables anew, reads what is held for want of a code of a table again, and files it in the order of the journal. In the
    /// audit under `reason` before it is done.
    fn release_code(&self, _table: &str, _code: &str, _reason: &str) -> Result<Released, StoreError> {
        Err(StoreError { text: "this broker has no tables".into(), exit: 70 })
    }

    /// Does what a person decided of identity, or with `is_trial` tells what it would do. In the audit under `reason`.
    fn decide(&self, _act: DeskAct, _reason: &str, _is_trial: bool) -> Result<Effect, StoreError> {
        Err(StoreError { text: "this broker decides nothing".into(), exit: 70 })
    }

    /// Puts a held debt back into its lane. In the audit under `reason` before it is done.
    fn release_debt(&self, debt: i64, reason: &str) -> Result<(), StoreError>;

    /// Notes that a person has looked at what was filed; `reason` says what came of it, and is in the audit.
    fn close_review(&self, _review: i64, _reason: &str) -> Result<(), StoreError> {
        Err(StoreError { text: "this broker has no reviews".into(), exit: 70 })
    }

    /// Loads mappings, directories and certificates anew, all or nothing: the hash that is active, or every mistake, a line each.
    fn reload(&self) -> Result<String, String>;

    /// The folder that mappings are loaded from; none: those inside the program.
    fn mappings_folder(&self) -> Option<String> {
        None
    }

    /// Notes that a person saw or did something; returns once it is kept.
    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError>;

    /// Decides by hand which hub a child belongs to, or shows what that would do. In the audit under `reason` before it is done.
    fn assign(&self, _act: AssignAct, _reason: &str) -> Result<AssignEffect, StoreError> {
        Err(no_hubs())
    }

    /// What looking at everybody again with the hubs and directories that are active would change.
    fn reassign_plan(&self) -> Result<ReassignPlan, StoreError> {
        Err(no_hubs())
    }

    /// Begins to look at everybody again; gives the job.
    fn reassign(&self, _reason: &str) -> Result<i64, StoreError> {
        Err(no_hubs())
    }

    /// Pauses, resumes or cancels a job: `paused`, `running`, `cancelled`. False where there is none that could be.
    fn steer_job(&self, _job: i64, _state: &'static str, _reason: &str) -> Result<bool, StoreError> {
        Err(no_hubs())
    }

    /// Notes who has a child that left. False where it waits for nobody.
    fn taken(&self, _child: ChildId, _by: &str, _reason: &str) -> Result<bool, StoreError> {
        Err(no_hubs())
    }

    /// What may be asked and done about deliveries; none: this broker delivers nothing.
    fn deliveries(&self) -> Option<DeliveryDesk> {
        None
    }

    /// What children are looked at by; none: this broker has no failsafe.
    fn watching(&self) -> Option<Watching> {
        None
    }

    /// Ends a clock of a child by hand, or only says how it stands. In the audit under `reason`.
    fn close_clock(&self, _child: ChildId, _kind: &str, _reason: &str, _dry_run: bool) -> Result<&'static str, StoreError> {
        Err(StoreError { text: "this broker has no failsafe".into(), exit: 70 })
    }

    /// The character set of a source whose messages do not name theirs, so that they are explained as they were read.
    fn charset(&self, _source: &str) -> Option<String> {
        None
    }
}

/// What a mended copy of a held message does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EditEffect {
    /// The held message.
    pub original: i64,
    /// The copy; none where it was only tried.
    pub copy: Option<i64>,
    /// How the copy is read: `file`, `hold`, `ignore`. Whose it is is decided when it is filed.
    pub read: &'static str,
    /// The code of the finding, where it would be held or ignored.
    pub why: String,
}

/// What became of the messages that waited for a code.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Released {
    /// The bundle that is active now.
    pub active: String,
    /// Filed now, in this order.
    pub released: Vec<i64>,
    /// Held again, each for what it is held for now.
    pub held_again: Vec<(i64, String)>,
    /// Left as they are: their own table does not know the code.
    pub waiting: Vec<i64>,
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
    pub(super) deliveries: DeliveryDesk,
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
        let mut degraded: Vec<String> = stale.iter().map(|mistake| format!("the files on disk are not active: {mistake}")).collect();
        degraded.extend(self.active.directory.load().degraded());
        degraded.extend(self.controls.folder_notes());
        degraded.extend(self.deliveries.board().degraded(clock::now()));
        degraded.extend(self.active.failsafe.load().degraded(crate::failsafe::day::date_of(clock::now())));
        degraded
            .extend(clock::followed().map(|file| format!("the clock is a test clock: {}, which says {}", file.display(), clock::now())));
        degraded
    }

    fn reader(&self) -> Result<LedgerReader, StoreError> {
        LedgerReader::open(self.ledger.data())
    }

    fn release(&self, seq: Seq, reason: &str) -> Result<(), StoreError> {
        let missing = || StoreError { text: format!("entry {seq} is not held; `held list` shows what is"), exit: 66 };
        let entry = held_entry(&self.reader()?, seq)?.ok_or_else(missing)?;
        let prepared = Prepared { released_by: Some(reason.to_owned()), ..self.reader.prepare(&entry) };
        if self.runtime.block_on(self.ledger.file(vec![prepared])) { Ok(()) } else { Err(stopped()) }
    }

    fn edit(&self, seq: Seq, body: Vec<u8>, reason: &str, is_trial: bool) -> Result<EditEffect, StoreError> {
        let missing = || StoreError { text: format!("message {seq} is not held; `held list` shows what is"), exit: 66 };
        let entry = held_entry(&self.reader()?, seq)?.ok_or_else(missing)?;
        let prepared = self.reader.prepare(&UnfiledEntry { body: body.clone(), ..entry });
        let (read, why) = match prepared.outcome {
            PreparedOutcome::File(_) => ("file", String::new()),
            PreparedOutcome::Hold(code) => ("hold", code),
            PreparedOutcome::Ignore(code, _) => ("ignore", code),
        };
        let copy = match is_trial {
            true => None,
            false => Some(self.runtime.block_on(self.ledger.edit_held(seq, body.into(), reason, clock::now()))?.0),
        };
        Ok(EditEffect { original: seq.0, copy, read, why })
    }

    fn release_code(&self, table: &str, code: &str, reason: &str) -> Result<Released, StoreError> {
        let active = self.reload().map_err(|mistakes| StoreError { text: mistakes, exit: 78 })?;
        let reader = self.reader()?;
        self.all_read(&reader);
        self.audit("table-release", &format!("{table} {code}"), reason)?;
        let (mut released, mut batch, mut sources) = (Released { active, ..Released::default() }, Vec::new(), BTreeSet::new());
        for seq in reader.waiting_for(table, code)? {
            let Some(entry) = held_entry(&reader, seq)? else { continue };
            let prepared = self.reader.prepare(&entry);
            // A table of another site, or a row that does not hold for the time of this message.
            if is_missed(&prepared.findings, table, code) {
                released.waiting.push(seq.0);
                continue;
            }
            sources.insert(entry.source.as_str().to_owned());
            batch.push(Prepared { released_by: Some(reason.to_owned()), ..prepared });
        }
        let seqs: Vec<Seq> = batch.iter().map(|prepared| prepared.seq).collect();
        if !self.runtime.block_on(self.ledger.file(batch)) {
            return Err(stopped());
        }
        for seq in seqs {
            match reader.entry(seq)? {
                Some((row, _)) if row.standing == "held" => released.held_again.push((seq.0, row.reason)),
                _ => released.released.push(seq.0),
            }
        }
        let sources = if released.waiting.is_empty() { None } else { Some(sources.into_iter().collect()) };
        self.runtime.block_on(self.ledger.resolve_miss(table, code, sources, clock::now()))?;
        Ok(released)
    }

    fn decide(&self, act: DeskAct, reason: &str, is_trial: bool) -> Result<Effect, StoreError> {
        self.runtime.block_on(self.ledger.decide(act, reason, is_trial, clock::now()))
    }

    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.ledger.audit(act, what, reason, clock::now()))
    }

    fn release_debt(&self, debt: i64, reason: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.ledger.release_debt(debt, reason, clock::now()))
    }

    fn close_review(&self, review: i64, reason: &str) -> Result<(), StoreError> {
        if !self.reader()?.reviews(None)?.iter().any(|open| open.review == review) {
            return Err(StoreError { text: format!("review {review} is not open; `held list` shows what is"), exit: 66 });
        }
        self.runtime.block_on(self.ledger.close_review(review, reason, clock::now()))
    }

    fn reload(&self) -> Result<String, String> {
        let reloaded = self.runtime.block_on(self.active.reload(&self.settings, &self.ledger, &self.controls, clock::now()));
        reloaded.map_err(|refused| refused.to_string())
    }

    fn assign(&self, act: AssignAct, reason: &str) -> Result<AssignEffect, StoreError> {
        if let Some(hub) = &act.hub {
            let known: Vec<String> = self.active.directory.load().hubs().iter().map(|(name, _)| name.to_string()).collect();
            if hub.as_str() != HubName::OUT && !known.iter().any(|name| name == hub.as_str()) {
                let text = format!("there is no hub {hub}; write one of {}, or {}", known.join(", "), HubName::OUT);
                return Err(StoreError { text, exit: 66 });
            }
        }
        self.runtime.block_on(self.ledger.assign(act, reason, clock::now()))
    }

    fn reassign_plan(&self) -> Result<ReassignPlan, StoreError> {
        self.whole_directory()?;
        self.reader()?.reassign_plan(&self.active.directory.load(), crate::failsafe::day::date_of(clock::now()))
    }

    fn reassign(&self, reason: &str) -> Result<i64, StoreError> {
        self.whole_directory()?;
        self.runtime.block_on(self.ledger.begin_reassign(reason, clock::now()))
    }

    fn steer_job(&self, job: i64, state: &'static str, reason: &str) -> Result<bool, StoreError> {
        self.runtime.block_on(self.ledger.steer_job(job, state, reason, clock::now()))
    }

    fn taken(&self, child: ChildId, by: &str, reason: &str) -> Result<bool, StoreError> {
        self.runtime.block_on(self.ledger.taken(child, by, reason, clock::now()))
    }

    fn mappings_folder(&self) -> Option<String> {
        self.settings.mappings.dir.as_ref().map(|dir| dir.display().to_string())
    }

    fn deliveries(&self) -> Option<DeliveryDesk> {
        Some(self.deliveries.clone())
    }

    fn watching(&self) -> Option<Watching> {
        Some(self.active.watching(&self.settings))
    }

    fn close_clock(&self, child: ChildId, kind: &str, reason: &str, dry_run: bool) -> Result<&'static str, StoreError> {
        let missing = |text: String| StoreError { text, exit: 66 };
        let (reader, watching, now) = (self.reader()?, self.active.watching(&self.settings), clock::now());
        let row = reader.child_row(child)?.ok_or_else(|| missing(format!("no child {child} is on record")))?;
        let look = reader.look(row, &watching.directory.load(), &watching.stores)?;
        let look = look.ok_or_else(|| missing(format!("the record of child {child} cannot be read")))?;
        let clocks = crate::failsafe::clocks(&look.facts, &watching.rules.load(), now).clocks;
        let found = clocks.into_iter().find(|clock| clock.kind == kind);
        let clock = found.ok_or_else(|| missing(format!("{kind} is not kept for this child; `due explain` shows what is")))?;
        if !(clock.state == ClockState::Pending || clock.state.needs_somebody()) {
            let text = format!("{kind} is {} and needs nobody", clock.state.word());
            return Err(StoreError { text, exit: 64 });
        }
        if !dry_run {
            self.runtime.block_on(self.ledger.close_clock(row, kind, clock.started, reason, now))?;
        }
        Ok(clock.state.word())
    }

    fn charset(&self, source: &str) -> Option<String> {
        self.reader.sources.get(&SourceName::new(source))?.charset.clone()
    }
}

impl BrokerOperations {
    /// Looking at everybody again needs all that routing looks up.
    fn whole_directory(&self) -> Result<(), StoreError> {
        if self.active.directory.load().is_whole() {
            return Ok(());
        }
        let text =
            "the broker started without one of its directory files and moves nobody; `status` names it: put it there and `reload` first";
        Err(StoreError { text: text.to_owned(), exit: 75 })
    }

    /// Waits until all that came before has been read: what the old tables still held is held by then. Bounded; what comes later
    /// is read by the new tables anyway.
    fn all_read(&self, reader: &LedgerReader) {
        let (appended, mut patience) = (self.ledger.appended(), READ_POLLS_MAX);
        let first = || reader.filed_through().and_then(|through| reader.unfiled(through, 1));
        let is_waiting = || first().is_ok_and(|first| first.first().is_some_and(|entry| entry.seq <= appended));
        while 0 < patience && is_waiting() {
            patience -= 1;
            self.runtime.block_on(async { tokio::time::sleep(READ_POLL).await });
        }
    }
}

/// How often, and how many times, it is asked whether all that came has been read: ten seconds in all.
const READ_POLL: Duration = Duration::from_millis(20);
const READ_POLLS_MAX: u32 = 500;

fn no_hubs() -> StoreError {
    StoreError { text: "this broker has no hubs".into(), exit: 70 }
}

fn stopped() -> StoreError {
    StoreError { text: "the ledger's writer has stopped".into(), exit: 74 }
}

/// An entry to be read again; none where it is not held.
fn held_entry(reader: &LedgerReader, seq: Seq) -> Result<Option<UnfiledEntry>, StoreError> {
    let Some((row, body)) = reader.entry(seq)?.filter(|(row, _)| row.standing == "held") else { return Ok(None) };
    let arrived_us = row.arrived.parse::<jiff::Timestamp>().map_or(0, |at| at.as_microsecond());
    let format = Format::from_word(&row.format).unwrap_or(Format::Hl7v2);
    let (source, control_id) = (SourceName::new(&row.source), row.control_id);
    Ok(Some(UnfiledEntry { seq, source, format, control_id, arrived_us, body }))
}

fn is_missed(findings: &str, table: &str, code: &str) -> bool {
    let findings: Vec<Finding> = serde_json::from_str(findings).unwrap_or_default();
    findings.iter().filter_map(|finding| finding.miss.as_ref()).any(|miss| miss.table == table && miss.code == code)
}
