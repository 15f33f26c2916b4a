//! Bulk migration: every record of an extract becomes an entry, and goes the way of every message: mapping, identity, routing, debts.
//!
//! # Invariants
//!
//! - A record is an entry once: its place, the line on which it begins, is noted in the transaction that appends it. After a kill the
//!   same command goes on where the journal stands.
//! - Memory does not grow with the file: one batch of records is in hand, and filing reads from the ledger.
//! - What is owed is paid by the next `run`; here nothing leaves the machine.
//!
//! # Not here
//!
//! Reading a file (`extract`), showing progress and the report (`cli`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::bundle;
use super::extract::{self, Content, Extract, ExtractFormat, Record};
use super::filer::{self, Reader};
use super::{Roll, StartError, profiles, rule};
use crate::clock;
use crate::config::Settings;
use crate::hl7::{Header, Limits};
use crate::intake::{Decision, Refusal, Rules, Source, SourceConfig, Sources, examine};
use crate::journal::{Admission, Entry, FileMark, JournalError, Place};
use crate::mapping::{Bundle, Input, Reading, canonical_statement, column_names, csv_body};
use crate::names::{Format, Seq, SourceName};
use crate::store::{FilingRules, Ledger, LedgerConfig, LedgerReader, Outcome};

/// Records appended in one go.
const BATCH: usize = 512;
/// How often it is looked how far filing is.
const LOOK: Duration = Duration::from_millis(100);
/// What a refusal of an import begins with in the ledger; its code and words follow.
pub const REFUSED: &str = "import ";

/// What is to be imported.
#[derive(Clone, Debug)]
pub struct Order {
    /// The extract.
    pub file: PathBuf,
    /// Of what it is made.
    pub format: ExtractFormat,
    /// Whose records they are.
    pub source: SourceName,
    /// Which mapping reads the rows of a CSV.
    pub mapping: Option<String>,
    /// At most so many records a second.
    pub rate: Option<u32>,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file.
    pub bytes: u64,
    /// How many of them were read.
    pub read: u64,
    /// Records that are entries, with those of earlier runs.
    pub appended: u64,
    /// Records of this run that have their standing.
    pub filed: u64,
    /// Records that an earlier run had appended.
    pub resumed: u64,
}

/// A broker without doors that takes files.
pub struct Importer {
    ledger: Ledger,
    reader: Reader,
    sources: Arc<Sources>,
    allow_test_numbers: bool,
    ends: CancellationToken,
    filing: std::thread::JoinHandle<()>,
    missing: Arc<AtomicBool>,
}

/// Reads an order without keeping anything: what would be held, as far as identity is not asked.
pub struct Rehearsal {
    bundle: Bundle,
    charset: Option<String>,
    sources: Arc<Sources>,
    allow_test_numbers: bool,
}

impl Importer {
    /// Opens the ledger (nobody else may have it) and begins to file what waits in it.
    ///
    /// # Errors
    ///
    /// 75 where a broker works on the ledger; 78 where the mappings are broken; else as [`Ledger::open`].
    pub async fn start(settings: &Settings, source: &SourceName) -> Result<Self, StartError> {
        let loaded = bundle::load(settings).map_err(|refused| StartError { text: refused.to_string(), exit: 78 })?;
        let rules = FilingRules {
            directory: Arc::new(ArcSwap::from_pointee(loaded.directory)),
            destinations: Arc::new(settings.destinations.iter().map(rule).collect::<Result<_, _>>()?),
            zone: crate::failsafe::day::london(),
            parents: Arc::new(ArcSwap::from_pointee(loaded.parents)),
        };
        let data = settings.store.data.clone();
        let ledger = Ledger::open(&LedgerConfig { data: data.clone(), ballast: true, pages_max: None }, rules).map_err(|error| {
            let text = match error.exit {
                75 => format!(
                    "a broker works on {}: stop it for the time of the import (its senders wait), or put the file into a drop folder",
                    data.display()
                ),
                _ => error.text,
            };
            StartError { text, exit: error.exit }
        })?;
        ledger.in_bulk();
        ledger.keep_bundle(loaded.bundle.hash(), &loaded.files, clock::now()).await?;
        let reader = Reader {
            bundle: Arc::new(ArcSwap::from_pointee(loaded.bundle)),
            sources: Arc::new(profiles(settings)),
            allow_test_numbers: settings.allow_test_numbers,
        };
        ledger.read_again(reader.again()).await?;
        let ends = CancellationToken::new();
        let missing = Arc::new(AtomicBool::new(false));
        let roll = Roll { ends: ends.clone(), missing: Arc::clone(&missing) };
        let filing = filer::start(ledger.clone(), data, reader.clone(), ends.clone(), Handle::current(), roll.present())
            .map_err(|error| super::no_thread(&error))?;
        let sources = sources(settings, source)?;
        Ok(Self { ledger, reader, sources, allow_test_numbers: settings.allow_test_numbers, ends, filing, missing })
    }

    /// Imports a file and waits until every record of it has its standing. `tell` hears how far it is.
    ///
    /// # Errors
    ///
    /// 65 where the file is none of its format (what came before is kept); 66 where it cannot be read; 74 where the ledger cannot be
    /// written; 78 where its mapping does not fit it.
    pub async fn import(&self, order: &Order, tell: &mut dyn FnMut(Progress)) -> Result<FileMark, StartError> {
        let reading = Records::open(order, &self.reader.bundle.load(), &self.sources, self.allow_test_numbers)?;
        let mark = reading.mark;
        let ledger = LedgerReader::open(self.ledger.data())?;
        let before = ledger.placed_through(&mark)?;
        let mut progress = Progress { bytes: reading.bytes, ..Progress::default() };
        let first = self.ledger.appended();
        self.append(order, reading, before, (&ledger, first), (&mut progress, tell)).await?;
        progress.read = progress.bytes;
        let last = self.ledger.appended();
        loop {
            let through = ledger.filed_through()?;
            // The last ones may have their standing without filing: refused ones, and what came before.
            let is_done = last <= through || ledger.unfiled(through, 1)?.is_empty();
            progress.filed = filed(first, if is_done { last } else { through }, &progress);
            tell(progress);
            if is_done {
                return Ok(mark);
            }
            self.still_working()?;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn append(
        &self,
        order: &Order,
        mut reading: Records,
        before: i64,
        (ledger, first): (&LedgerReader, Seq),
        (progress, tell): (&mut Progress, &mut dyn FnMut(Progress)),
    ) -> Result<(), StartError> {
        let began = clock::tick();
        let mut fresh: u64 = 0;
        let most = order.rate.map_or(BATCH, |rate| usize::try_from(rate / 10).unwrap_or(BATCH).clamp(1, BATCH));
        loop {
            let mut batch = Vec::with_capacity(most);
            let mut read_error = None;
            while batch.len() < most {
                match reading.extract.take() {
                    Ok(Some(record)) if record.line <= before => progress.resumed += 1,
                    Ok(Some(record)) => {
                        progress.read = record.read;
                        let place = Place { file: reading.mark, number: record.line };
                        batch.push((reading.entry(record), place));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        read_error = Some(StartError { text: format!("{}: {error}", order.file.display()), exit: 65 });
                        break;
                    }
                }
            }
            let count = batch.len();
            if 0 < count {
                self.keep(batch).await?;
            }
            fresh += count as u64;
            progress.appended = progress.resumed + fresh;
            progress.filed = filed(first, ledger.filed_through()?, progress);
            tell(*progress);
            if let Some(error) = read_error {
                return Err(error);
            }
            if count < most {
                return Ok(());
            }
            self.still_working()?;
            if let Some(rate) = order.rate {
                let due = Duration::from_secs_f64(fresh as f64 / f64::from(rate.max(1)));
                tokio::time::sleep(due.saturating_sub(clock::tick().duration_since(began))).await;
            }
        }
    }

    /// Appends; while the disk is full it is tried again, as a sender would.
    async fn keep(&self, batch: Vec<(Entry, Place)>) -> Result<(), StartError> {
        for pause in [1, 2, 5, 10] {
            match self.ledger.append_all(batch.clone()).await {
                Ok(_receipts) => return Ok(()),
                Err(JournalError::Full) => tokio::time::sleep(Duration::from_secs(pause)).await,
                Err(error) => return Err(StartError { text: error.to_string(), exit: 74 }),
            }
        }
        let text = "no room on the disk of the ledger; make room and run the same command again: it goes on where it stands";
        Err(StartError { text: text.into(), exit: 74 })
    }

    fn still_working(&self) -> Result<(), StartError> {
        if self.ledger.is_broken() {
            return Err(StartError { text: JournalError::Broken.to_string(), exit: 74 });
        }
        if self.filing.is_finished() || self.missing.load(std::sync::atomic::Ordering::Acquire) {
            return Err(StartError { text: "filing has ended; report the panic above".into(), exit: 70 });
        }
        Ok(())
    }

    /// Shows what became of every record of a file, in its order.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn outcomes(&self, mark: &FileMark, each: &mut dyn FnMut(Outcome)) -> Result<(), StartError> {
        Ok(LedgerReader::open(self.ledger.data())?.outcomes(mark, each)?)
    }

    /// Ends filing, folds the ledger and gives up its lock.
    pub async fn stop(self) {
        self.ledger.drain();
        self.ends.cancel();
        let filing = self.filing;
        let _ended = tokio::task::spawn_blocking(move || filing.join().is_ok()).await;
        self.ledger.close().await;
    }
}

impl Rehearsal {
    /// Loads the mappings; no ledger is opened.
    ///
    /// # Errors
    ///
    /// 78 where the mappings are broken or the source is not known.
    pub fn new(settings: &Settings, source: &SourceName) -> Result<Self, StartError> {
        let loaded = bundle::load(settings).map_err(|refused| StartError { text: refused.to_string(), exit: 78 })?;
        let charset = profiles(settings).get(source).and_then(|profile| profile.charset.clone());
        let sources = sources(settings, source)?;
        Ok(Self { bundle: loaded.bundle, charset, sources, allow_test_numbers: settings.allow_test_numbers })
    }

    /// Reads every record and shows what would become of it.
    ///
    /// # Errors
    ///
    /// As [`Importer::import`], but for the ledger.
    pub fn import(&self, order: &Order, tell: &mut dyn FnMut(Progress), each: &mut dyn FnMut(Outcome)) -> Result<(), StartError> {
        let mut reading = Records::open(order, &self.bundle, &self.sources, self.allow_test_numbers)?;
        let mut progress = Progress { bytes: reading.bytes, ..Progress::default() };
        let unread = |error| StartError { text: format!("{}: {error}", order.file.display()), exit: 65 };
        while let Some(record) = reading.extract.take().map_err(unread)? {
            let place = record.line;
            progress.read = record.read;
            let entry = reading.entry(record);
            each(self.outcome(&entry, place));
            progress.appended += 1;
            progress.filed += 1;
            tell(progress);
        }
        Ok(())
    }

    fn outcome(&self, entry: &Entry, place: i64) -> Outcome {
        let (standing, reason, findings) = match &entry.admission {
            Admission::Refused(why) => ("refused", why.clone(), String::new()),
            Admission::Ignored(why) => ("ignored", why.clone(), String::new()),
            Admission::Accepted => {
                let (format, charset) = (entry.format, self.charset.as_deref());
                let input = Input {
                    format,
                    body: &entry.body,
                    default_charset: charset,
                    allow_test_numbers: self.allow_test_numbers,
                    received: Some(entry.arrived),
                };
                said(&self.bundle.read(&input, false))
            }
        };
        Outcome { place, seq: Seq(0), standing: standing.to_owned(), reason, findings }
    }
}

fn said(reading: &Reading) -> (&'static str, String, String) {
    use crate::mapping::Outcome;
    let findings = if reading.findings.is_empty() { String::new() } else { serde_json::to_string(&reading.findings).unwrap_or_default() };
    match &reading.outcome {
        Outcome::Mapped => ("filed", String::new(), findings),
        Outcome::Ignored(rule) => ("ignored", rule.clone(), findings),
        Outcome::Held => ("held", String::new(), findings),
    }
}

/// Filed of this run, as far as numbers tell: entries of earlier runs that still waited are filed first.
fn filed(first: Seq, through: Seq, progress: &Progress) -> u64 {
    let filed = u64::try_from(through.0 - first.0).unwrap_or(0);
    filed.min(progress.appended.saturating_sub(progress.resumed))
}

/// The configured sources; for a trial set-up also one of this name.
fn sources(settings: &Settings, source: &SourceName) -> Result<Arc<Sources>, StartError> {
    let mut configs = settings.sources.clone();
    if !configs.iter().any(|config| config.name == source.as_str()) {
        let text = format!("name = {:?}\nimport = true\naccepts = [\"*\"]", source.as_str());
        let config: SourceConfig =
            toml::from_str(&text).map_err(|_| StartError { text: format!("{source} is no name of a source"), exit: 64 })?;
        configs.push(config);
    }
    let sources = Sources::compile(&configs).map_err(|error| StartError { text: error.to_string(), exit: 64 })?;
    Ok(Arc::new(sources))
}

/// The records of an order as entries.
struct Records {
    extract: Extract,
    bytes: u64,
    mark: FileMark,
    prefix: String,
    source: SourceName,
    known: Option<Arc<Source>>,
    mapping: Option<String>,
    columns: usize,
    allow_test_numbers: bool,
}

impl Records {
    fn open(order: &Order, bundle: &Bundle, sources: &Sources, allow_test_numbers: bool) -> Result<Self, StartError> {
        let unread = |error: std::io::Error| {
            let exit = if error.kind() == std::io::ErrorKind::InvalidData { 65 } else { 66 };
            StartError { text: format!("{} cannot be read: {error}", order.file.display()), exit }
        };
        let (content, bytes) = extract::digest(&order.file).map_err(unread)?;
        let extract = Extract::open(&order.file, order.format).map_err(unread)?;
        if let Some(header) = extract.header() {
            fits(order, &column_names(header), bundle)?;
        }
        Ok(Self {
            columns: extract.header().map_or(0, csv::ByteRecord::len),
            extract,
            bytes,
            mark: mark(order, &content),
            prefix: content.iter().take(6).map(|byte| format!("{byte:02x}")).collect(),
            source: order.source.clone(),
            known: sources.named(&order.source),
            mapping: order.mapping.clone(),
            allow_test_numbers,
        })
    }

    fn entry(&self, record: Record) -> Entry {
        let Record { line, content, .. } = record;
        let control_id = format!("{}:{line}", self.prefix);
        let refused = |code: &str, words: &str| Admission::Refused(format!("{REFUSED}{code}: {words}"));
        let entry = |format, kind: &str, body: Vec<u8>, admission| Entry {
            source: self.source.clone(),
            format,
            kind: kind.to_owned(),
            control_id: control_id.clone(),
            body: Bytes::from(body),
            arrived: clock::now(),
            admission,
        };
        match (content, &self.mapping, self.extract.header()) {
            (Content::Row(row), Some(mapping), Some(header)) => {
                let words = format!("the row has {} values, the header {} columns", row.len(), self.columns);
                let admission = if row.len() == self.columns { Admission::Accepted } else { refused("field-count", &words) };
                entry(Format::CsvRow, mapping, csv_body(mapping, header, &row), admission)
            }
            (Content::Bytes(body), _, _) if self.is_hl7() => self.message(body, control_id),
            (Content::Bytes(body), _, _) => {
                let admission = match canonical_statement(&body, self.allow_test_numbers) {
                    Ok(_) => Admission::Accepted,
                    Err(why) => refused(why.code, &why.text),
                };
                entry(Format::CanonicalJson, "canonical", body, admission)
            }
            (Content::TooLong(body), _, _) => {
                let format = if self.is_hl7() { Format::Hl7v2 } else { Format::CanonicalJson };
                entry(format, "", body, refused("too-long", "longer than an import takes"))
            }
            // Rows come from files with a header, whose mapping was asked for.
            (Content::Row(_), _, _) => entry(Format::CsvRow, "", Vec::new(), refused("no-mapping", "no mapping was named")),
        }
    }

    fn is_hl7(&self) -> bool {
        self.extract.is_hl7()
    }

    /// A message is admitted as at any door, and keeps its own control id.
    fn message(&self, body: Vec<u8>, control_id: String) -> Entry {
        let limits = Limits::default();
        let candidates: Vec<Arc<Source>> = self.known.iter().cloned().collect();
        let processing_ids = ["P".to_owned(), "T".to_owned(), "D".to_owned()];
        let rules = Rules { candidates: &candidates, processing_ids: &processing_ids, message_bytes_max: usize::MAX, limits: &limits };
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| examine(&body, &rules)));
        let (header, admission) = match looked {
            Ok(examined) => {
                let admission = match &examined.decision {
                    Decision::Accept(_) => Admission::Accepted,
                    Decision::Ignore => Admission::Ignored("type ignored for this source".into()),
                    Decision::Acknowledgement => Admission::Ignored("an acknowledgement".into()),
                    Decision::Refuse(refusal) => Admission::Refused(refusal.reason()),
                };
                (examined.header, admission)
            }
            Err(_panic) => (None, Admission::Refused(Refusal::Broken.reason())),
        };
        Entry {
            source: self.source.clone(),
            format: Format::Hl7v2,
            kind: header.as_ref().map(Header::message_type).unwrap_or_default(),
            control_id: header.map(|header| header.control_id).filter(|id| !id.is_empty()).unwrap_or(control_id),
            body: Bytes::from(body),
            arrived: clock::now(),
            admission,
        }
    }
}

/// The same content of the same source read by the same mapping is the same import.
fn mark(order: &Order, content: &[u8; 32]) -> FileMark {
    let mut hash = Sha256::new();
    for part in ["import", order.source.as_str(), order.format.as_str(), order.mapping.as_deref().unwrap_or_default()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(content);
    FileMark(hash.finalize().into())
}

/// The mapping is there, and the header has every column that it declares.
fn fits(order: &Order, header: &[String], bundle: &Bundle) -> Result<(), StartError> {
    let known = || bundle.csv_mappings().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let bad = |text: String| Err(StartError { text, exit: 78 });
    let Some(mapping) = &order.mapping else {
        return bad(format!("which mapping reads {}? Say --mapping; there are: {}", order.file.display(), known()));
    };
    let Some(columns) = bundle.columns(mapping) else {
        return bad(format!("no mapping of CSV extracts is called {mapping:?}; there are: {}", known()));
    };
    let missing: Vec<&str> = columns.iter().filter(|column| !header.contains(column)).map(String::as_str).collect();
    if !missing.is_empty() {
        let file = Path::new(&order.file).display();
        return bad(format!(
            "{file} has no column {}, which {mapping} declares; correct `columns` of a mapping of your own",
            missing.join(", ")
        ));
    }
    Ok(())
}
