//! Files: takes entries in the order of the journal, reads them by the active bundle, and hands them to the writer.
//!
//! Reading is pure and runs on this thread and its helpers, ahead of the writer; which child, which hub and which
//! debts is decided in order inside the writer's transaction. One total order: no two messages of a child can overtake.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Present;
use crate::canon::EventKind;
use crate::clock;
use crate::mapping::{Bundle, Input, Level, Outcome, Reading};
use crate::names::SourceName;
use crate::store::{Ledger, LedgerReader, Prepared, PreparedOutcome, ReadAgain, StoreError, UnfiledEntry};

/// Entries read in one go.
const BATCH: usize = 128;
/// After a pause, so long is waited for company.
const LINGER: Duration = Duration::from_millis(10);
/// Batches that may wait before the writer.
const AHEAD: usize = 2;

/// What reading must know of a source.
#[derive(Clone, Debug, Default)]
pub struct SourceProfile {
    /// Precedence of what it says.
    pub rank: u8,
    /// Charset where MSH-18 is empty.
    pub charset: Option<String>,
}

/// All that reading depends on beside the message.
#[derive(Clone)]
pub struct Reader {
    /// The active bundle; swapped whole.
    pub bundle: Arc<ArcSwap<Bundle>>,
    /// Sources of the configuration by name.
    pub sources: Arc<HashMap<SourceName, SourceProfile>>,
    /// NHS numbers of the test range are taken.
    pub allow_test_numbers: bool,
}

impl Reader {
    /// How the ledger reads a message again that waited for its child.
    pub fn again(&self) -> ReadAgain {
        let reader = self.clone();
        Arc::new(move |entry| reader.prepare(entry))
    }

    /// Reads one entry. A message that makes the reading panic is held by itself.
    pub fn prepare(&self, entry: &UnfiledEntry) -> Prepared {
        let bundle = self.bundle.load();
        let profile = self.sources.get(&entry.source);
        let input = Input {
            format: entry.format,
            body: &entry.body,
            default_charset: profile.and_then(|profile| profile.charset.as_deref()),
            allow_test_numbers: self.allow_test_numbers,
            received: Timestamp::from_microsecond(entry.arrived_us).ok(),
        };
        let started = clock::tick();
        let reading = catch_unwind(AssertUnwindSafe(|| bundle.read_from(Some(entry.source.as_str()), &input, false)));
        let mapping = reading.as_ref().ok().and_then(|reading| reading.mapping.clone());
        let named = mapping.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        metrics::histogram!("chis_mapping_duration_seconds", "mapping" => named).record(started.elapsed());
        let mut contents = Vec::new();
        let apart = reading.as_ref().is_ok_and(|reading| is_apart(&bundle, reading));
        let (outcome, findings) = match reading {
            Ok(mut reading) => {
                contents = std::mem::take(&mut reading.contents);
                let tells = reading.statements.iter().any(|said| !said.safeguarding.is_empty());
                let might_tell = tells || mapping.as_ref().is_some_and(|mapping| bundle.tells_of_safeguarding(mapping));
                outcome(if might_tell { discreet(reading) } else { reading })
            }
            Err(_panic) => {
                metrics::counter!("chis_panics_total").increment(1);
                let finding =
                    r#"[{"level":"hold","code":"panic","text":"reading this message failed inside the broker; the log names the place"}]"#;
                (PreparedOutcome::Hold("panic".into()), finding.to_owned())
            }
        };
        Prepared {
            seq: entry.seq,
            source: entry.source.clone(),
            control_id: entry.control_id.clone(),
            arrived_us: entry.arrived_us,
            rank: profile.map_or(0, |profile| profile.rank),
            mapping,
            bundle: bundle.hash().clone(),
            findings,
            outcome,
            contents,
            released_by: None,
            apart,
        }
    }
}

/// True where a message came for child protection facts alone, or might have and could not be read to the end: who may not see such facts
/// is told of it that it came, and nothing else (decision 17).
pub fn is_apart(bundle: &Bundle, reading: &Reading) -> bool {
    let said = &reading.statements;
    let is_alone = !said.is_empty() && said.iter().all(|said| said.event.kind == EventKind::Safeguarding);
    let tells = said.iter().any(|said| said.event.kind == EventKind::Safeguarding || !said.safeguarding.is_empty());
    let is_unread =
        reading.outcome != Outcome::Mapped && reading.mapping.as_ref().is_some_and(|mapping| bundle.tells_of_safeguarding(mapping));
    is_alone || (is_unread && (said.is_empty() || tells))
}

/// Findings quote. What is said about a message with child protection facts keeps its place and loses its words; whoever has the
/// right gets them by `msg explain`, which reads the message again.
fn discreet(mut reading: Reading) -> Reading {
    let says = reading.outcome != Outcome::Mapped || reading.statements.iter().any(|said| !said.safeguarding.is_empty());
    for finding in reading.findings.iter_mut().filter(|_| says) {
        finding.text = "the words are kept back: `msg explain --safeguarding` shows them".to_owned();
        (finding.help, finding.miss) = (String::new(), None);
    }
    reading
}

fn outcome(reading: Reading) -> (PreparedOutcome, String) {
    let findings = match reading.findings.as_slice() {
        [] => String::new(),
        some => serde_json::to_string(some).unwrap_or_default(),
    };
    let outcome = match reading.outcome {
        Outcome::Mapped => PreparedOutcome::File(reading.statements),
        Outcome::Ignored(rule) => PreparedOutcome::Ignore(rule, reading.statements),
        Outcome::Held => {
            let holding = reading.findings.iter().find(|finding| finding.level == Level::Hold);
            PreparedOutcome::Hold(holding.map_or_else(|| "held".to_owned(), |finding| finding.code.clone()))
        }
    };
    (outcome, findings)
}

/// Starts the filing thread. It ends when `drain` is cancelled and what it handed over is filed.
pub fn start(
    ledger: Ledger,
    data: PathBuf,
    reader: Reader,
    drain: CancellationToken,
    runtime: Handle,
    present: Present,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("filer".into()).spawn(move || {
        let _present = present;
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1);
        let mut filer = Filer { ledger, reader, drain, runtime, waiting: std::collections::VecDeque::new(), threads };
        while let Err(error) = filer.run(&data) {
            tracing::error!(error = %error, "filing.reader: the ledger could not be read; it is tried again");
            if filer.pause(Duration::from_secs(1)) {
                return;
            }
        }
    })
}

struct Filer {
    ledger: Ledger,
    reader: Reader,
    drain: CancellationToken,
    runtime: Handle,
    waiting: std::collections::VecDeque<JoinHandle<bool>>,
    threads: usize,
}

impl Filer {
    fn run(&mut self, data: &std::path::Path) -> Result<(), StoreError> {
        let entries = LedgerReader::open(data)?;
        let mut after = entries.filed_through()?;
        loop {
            if self.drain.is_cancelled() || self.ledger.is_broken() {
                self.settle_down();
                return Ok(());
            }
            let batch = entries.unfiled(after, BATCH)?;
            let Some(last) = batch.last() else {
                self.runtime.block_on(async {
                    tokio::select! { () = self.ledger.entries_came() => {}, () = self.drain.cancelled() => {}, () = self.ledger.stopped() => {} }
                });
                // What comes within this moment is filed in the same transaction.
                self.runtime.block_on(async { tokio::time::sleep(LINGER).await });
                continue;
            };
            after = last.seq;
            match self.prepare_all(&batch) {
                Some(prepared) => self.hand_over(prepared),
                // A thread died over its share: all that has no standing is read again from where filing stands.
                None => {
                    self.settle_down();
                    after = entries.filed_through()?;
                }
            }
        }
    }

    /// Reads a batch, on as many threads as half the cores.
    fn prepare_all(&self, batch: &[UnfiledEntry]) -> Option<Vec<Prepared>> {
        let share = batch.len().div_ceil(self.threads).max(16);
        let mut shares = batch.chunks(share);
        let Some(own) = shares.next() else { return Some(Vec::new()) };
        std::thread::scope(|scope| {
            let others: Vec<_> =
                shares.map(|share| scope.spawn(move || share.iter().map(|entry| self.reader.prepare(entry)).collect::<Vec<_>>())).collect();
            let mut prepared: Vec<Prepared> = own.iter().map(|entry| self.reader.prepare(entry)).collect();
            for other in others {
                prepared.extend(other.join().ok()?);
            }
            Some(prepared)
        })
    }

    fn hand_over(&mut self, prepared: Vec<Prepared>) {
        while AHEAD <= self.waiting.len() {
            if let Some(oldest) = self.waiting.pop_front() {
                let _filed = self.runtime.block_on(oldest);
            }
        }
        // The writer's queue keeps the order of sends, so the send happens here and only the wait is left to the task.
        let handed = self.runtime.block_on(self.ledger.hand(prepared));
        if let Some(done) = handed {
            self.waiting.push_back(self.runtime.spawn(async move { done.await.is_ok() }));
        }
    }

    fn settle_down(&mut self) {
        for waiting in self.waiting.drain(..) {
            let _filed = self.runtime.block_on(waiting);
        }
    }

    /// True when it is time to stop.
    fn pause(&self, wait: Duration) -> bool {
        self.runtime.block_on(async {
            tokio::select! { () = tokio::time::sleep(wait) => false, () = self.drain.cancelled() => true }
        })
    }
}
