//! The one writer: takes what waits, does it in one transaction, and answers everyone after the commit.
//!
//! # One turn
//!
//! 1. everything that waits is taken from the queue: appends, filings, settlements, acts;
//! 2. all appends are inserted; filings follow for at most [`FILING_BUDGET`] while senders wait, settlements and acts whole;
//! 3. one `COMMIT`, one sync;
//! 4. only now receipts are handed out.
//!
//! # When the disk says no
//!
//! Full: the turn is undone, senders are told to send again, the loop goes on. Any other error of a write or sync:
//! nobody is told "accepted" any more and the broker stops ([`JournalError::Broken`]).

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::controls::Controls;
use super::debts;
use super::files::FileIds;
use super::filing::{FilingRules, Prepared, file_one};
use super::folder;
use super::folding;
use super::retry::{self, ReadAgain};
use super::schema::{broken, checkpoint, ledger_file, open_for_writing};
use crate::clock;
use crate::journal::{Admission, Entry, Journal, JournalError, Place, Receipt, Standing};
use crate::names::{BundleHash, DestinationName, HubName, Seq};
use crate::outbox::Settled;

/// Appends that may wait before the writer; one more waits in its sender's connection.
const QUEUE_MAX: usize = 8_192;
/// Appends of one transaction.
const TURN_APPENDS_MAX: usize = 1_024;
/// Filing may use so much of a turn while senders are about, and only of every second turn while one waits for its answer.
pub(super) const FILING_BUDGET: Duration = Duration::from_micros(250);
/// Filing of a turn when no sender was about for [`SENDERS_GONE`].
const FILING_BUDGET_QUIET: Duration = Duration::from_millis(5);
/// Filing of a turn in bulk: one sync pays for thousands of records, and nobody waits for an answer.
const FILING_BUDGET_BULK: Duration = Duration::from_millis(250);
/// After so long without an append nobody is taken to be about.
const SENDERS_GONE: Duration = Duration::from_millis(50);
/// When the write-ahead log has so many frames (64 MiB), the writer folds it and begins it again from its start. The file keeps
/// its length: writing over it needs no new blocks, and so no commit of the file system's own journal.
const WAL_FRAMES_MAX: i64 = 16_384;
/// Bodies of this size and more are compressed.
const ZSTD_BYTES_MIN: usize = 4 * 1024;

/// How a ledger is opened.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The data directory.
    pub data: PathBuf,
    /// Make a ballast file (given up when the disk is full).
    pub ballast: bool,
    /// The database may grow to so many pages of 4 KiB; beyond, it behaves like a full disk.
    pub pages_max: Option<u32>,
}

/// What whoever pays waits for: each number counts up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Debts may have been made.
    pub new: u64,
    /// Debts may have been put back, or something else about them was decided: older ones too may go now.
    pub put_back: u64,
}

struct Append {
    entry: Entry,
    place: Option<Place>,
    sha256: [u8; 32],
    control_key: i64,
    day: i64,
    stored: (bool, Bytes),
    done: oneshot::Sender<Result<Receipt, JournalError>>,
}

pub(super) type Act = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

enum Command {
    Append(Box<Append>),
    File(Vec<Prepared>, oneshot::Sender<()>),
    Settle(Vec<Settled>, oneshot::Sender<bool>),
    Act(Act, oneshot::Sender<Result<(), StoreError>>),
    Close,
}

/// The durable memory of the broker. Clones share the one writer.
#[derive(Clone)]
pub struct Ledger {
    commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) data: PathBuf,
    pub(super) rules: FilingRules,
    draining: AtomicBool,
    broken: AtomicBool,
    full: AtomicBool,
    /// No sender waits: filing takes its time.
    bulk: AtomicBool,
    /// A sender was about in the last turn, or shortly before.
    pub(super) senders_about: AtomicBool,
    /// Highest entry committed.
    appended: AtomicI64,
    /// Turns done: the watchdog looks at it.
    pub(super) turns: AtomicU64,
    /// Frames in the write-ahead log when it was last folded.
    pub(super) wal_frames: AtomicI64,
    new_entries: tokio::sync::Notify,
    /// For each destination, counts up when debts were made or put back.
    debts_made: HashMap<DestinationName, tokio::sync::watch::Sender<Made>>,
    outcomes: Mutex<HashMap<i64, Vec<oneshot::Sender<Standing>>>>,
    /// How an entry that waited for its child is read again.
    read_again: std::sync::OnceLock<ReadAgain>,
    pub(super) stopped: tokio_util::sync::CancellationToken,
}

impl Ledger {
    /// Opens the ledger of a data directory and starts its writer. Exit codes of the error: 65 damaged or newer,
    /// 73 the directory cannot be made, 75 another broker has it, 74 I/O.
    pub fn open(config: &LedgerConfig, rules: FilingRules) -> Result<Self, StoreError> {
        let data = &config.data;
        std::fs::create_dir_all(data)
            .map_err(|error| StoreError { text: format!("{} cannot be made: {error}", data.display()), exit: 73 })?;
        let lock = folder::lock(data)?;
        let connection = open_for_writing(data)?;
        if let Some(pages) = config.pages_max {
            connection.pragma_update(None, "max_page_count", pages).map_err(|error| broken(&ledger_file(data), &error))?;
        }
        if config.ballast {
            folder::lay_ballast(data);
        }
        let appended: i64 = connection
            .query_row("SELECT coalesce(max(seq), 0) FROM entry", [], |row| row.get(0))
            .map_err(|error| broken(&ledger_file(data), &error))?;
        let (commands, queue) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            data: data.clone(),
            rules: rules.clone(),
            draining: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            full: AtomicBool::new(false),
            bulk: AtomicBool::new(false),
            senders_about: AtomicBool::new(false),
            appended: AtomicI64::new(appended),
            turns: AtomicU64::new(0),
            wal_frames: AtomicI64::new(0),
            new_entries: tokio::sync::Notify::new(),
            debts_made: rules
                .destinations
                .iter()
                .map(|rule| (rule.name.clone(), tokio::sync::watch::Sender::new(Made::default())))
                .collect(),
            outcomes: Mutex::default(),
            read_again: std::sync::OnceLock::new(),
            stopped: tokio_util::sync::CancellationToken::new(),
        });
        let writer =
            Writer::new(connection, rules, Arc::clone(&shared), appended, lock).map_err(|error| broken(&ledger_file(data), &error))?;
        let stopped = shared.stopped.clone();
        std::thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || {
                writer.run(queue);
                stopped.cancel();
            })
            .map_err(|error| StoreError { text: format!("the writer cannot be started: {error}"), exit: 71 })?;
        folding::start(Arc::clone(&shared))?;
        Ok(Self { commands, shared })
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.shared.data
    }

    /// From now on no sender waits for an answer (an import): filing may use most of each turn.
    pub fn in_bulk(&self) {
        self.shared.bulk.store(true, Ordering::Release);
    }

    /// Appends entries of a file in their order and waits for all of them; the receipts stand in the same order.
    pub async fn append_all(&self, entries: Vec<(Entry, Place)>) -> Result<Vec<Receipt>, JournalError> {
        let mut waits = Vec::with_capacity(entries.len());
        for (entry, place) in entries {
            waits.push(self.begin_append(entry, Some(place)).await?);
        }
        let mut receipts = Vec::with_capacity(waits.len());
        for wait in waits {
            receipts.push(wait.await.map_err(|_| JournalError::Broken)??);
        }
        Ok(receipts)
    }

    async fn begin_append(
        &self,
        entry: Entry,
        place: Option<Place>,
    ) -> Result<oneshot::Receiver<Result<Receipt, JournalError>>, JournalError> {
        if self.shared.broken.load(Ordering::Acquire) {
            return Err(JournalError::Broken);
        }
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(JournalError::Draining);
        }
        let (done, wait) = oneshot::channel();
        let append = Box::new(Append {
            sha256: Sha256::digest(&entry.body).into(),
            control_key: control_key(entry.source.as_str(), &entry.control_id),
            day: london_day(entry.arrived),
            stored: squeeze(&entry.body),
            entry,
            place,
            done,
        });
        self.commands.send(Command::Append(append)).await.map_err(|_| JournalError::Broken)?;
        Ok(wait)
    }

    /// No new entries from now on; what is in hand is still done.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// Ends the writer after what it has in hand, folds the log in and gives up the lock. Whoever asks later is told that it has stopped.
    pub async fn close(&self) {
        let _gone = self.commands.send(Command::Close).await;
        self.stopped().await;
    }

    /// Resolves when the writer has ended: after a broken write, or when all handles are gone.
    pub async fn stopped(&self) {
        self.shared.stopped.cancelled().await;
    }

    /// True after a write or sync failed: the broker must stop with exit code 74.
    pub fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::Acquire)
    }

    /// True while the last turn found the disk full.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Acquire)
    }

    /// Turns done since the start; it moves whenever the writer lives and has work.
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }

    /// Asks the writer for a turn, so that a watchdog sees whether it lives. Nothing when its queue is full: then it has work.
    pub fn nudge(&self) {
        let (done, _nobody) = oneshot::channel();
        let _full = self.commands.try_send(Command::Act(Box::new(|_| Ok(())), done));
    }

    /// The highest entry on disk.
    pub fn appended(&self) -> Seq {
        Seq(self.shared.appended.load(Ordering::Acquire))
    }

    /// Resolves when entries may have come since the last call.
    pub async fn entries_came(&self) {
        self.shared.new_entries.notified().await;
    }

    /// Counts up whenever debts to `destination` were made or put back: what its paying thread waits for.
    /// A destination that is not in the rules is never owed anything.
    pub fn debts(&self, destination: &DestinationName) -> tokio::sync::watch::Receiver<Made> {
        let known = self.shared.debts_made.get(destination);
        known.map_or_else(|| tokio::sync::watch::Sender::new(Made::default()).subscribe(), tokio::sync::watch::Sender::subscribe)
    }

    /// Hands read messages to the writer in their order; each is filed in the transaction that also makes its debts. What is
    /// given back resolves after the commit that holds the last; `None` when the writer has ended.
    pub async fn hand(&self, prepared: Vec<Prepared>) -> Option<oneshot::Receiver<()>> {
        let (done, wait) = oneshot::channel();
        self.commands.send(Command::File(prepared, done)).await.ok().map(|()| wait)
    }

    /// [`Ledger::hand`], waited for. False when the writer ended before.
    pub async fn file(&self, prepared: Vec<Prepared>) -> bool {
        match self.hand(prepared).await {
            Some(done) => done.await.is_ok(),
            None => false,
        }
    }

    /// From now on messages that waited for their child are read by `read` and filed as soon as it comes. Asked once, at the start.
    pub async fn read_again(&self, read: ReadAgain) -> Result<(), StoreError> {
        let _first_stays = self.shared.read_again.set(Arc::clone(&read));
        self.act(Box::new(move |connection| retry::adopt(connection, &read))).await
    }

    pub(super) async fn settle_noted(&self, settled: Vec<Settled>) -> bool {
        let (done, wait) = oneshot::channel();
        self.commands.send(Command::Settle(settled, done)).await.is_ok() && wait.await == Ok(true)
    }

    /// Keeps the files of a bundle that becomes active, so that every reading can be explained later.
    pub async fn keep_bundle(
        &self,
        hash: &BundleHash,
        files: &std::collections::BTreeMap<String, Vec<u8>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let hash = hash.as_str().to_owned();
        let packed = pack(files)?;
        self.act(Box::new(move |connection| {
            let sql = "INSERT INTO bundle(hash, files, activated_us) VALUES(?1, ?2, ?3)
                ON CONFLICT(hash) DO UPDATE SET activated_us = excluded.activated_us";
            connection.execute(sql, params![hash, packed, now.as_microsecond()]).map(drop)
        }))
        .await
    }

    /// Everybody who pays looks whether there is something new.
    pub(super) fn debts_were_made(&self) {
        for made in self.shared.debts_made.values() {
            made.send_modify(|made| made.new += 1);
        }
    }

    /// Everybody who pays looks at all debts again: something was decided about older ones.
    pub(super) fn debts_were_put_back(&self) {
        for made in self.shared.debts_made.values() {
            made.send_modify(|made| made.put_back += 1);
        }
    }

    /// The hub that works on what nobody is responsible for, by the directory of now.
    pub fn default_hub(&self) -> HubName {
        self.shared.rules.directory.load().default_hub()
    }

    /// True while a directory file that is named is away: who is on record keeps its hub.
    pub fn moves_nobody(&self) -> bool {
        !self.shared.rules.directory.load().is_whole()
    }

    pub(super) fn reads_again(&self) -> Option<ReadAgain> {
        self.shared.read_again.get().cloned()
    }

    /// Notes that a table knows a code now: for everybody, or for these sources.
    pub async fn resolve_miss(&self, table: &str, code: &str, sources: Option<Vec<String>>, now: Timestamp) -> Result<(), StoreError> {
        let miss = super::misses::Miss { table: table.to_owned(), code: code.to_owned() };
        self.act(Box::new(move |connection| super::misses::resolve(connection, &miss, sources.as_deref(), now.as_microsecond()))).await
    }

    /// Writes down that a person did or saw something.
    pub async fn audit(&self, act: &str, what: &str, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let (act, what, reason) = (act.to_owned(), what.to_owned(), reason.to_owned());
        self.act(Box::new(move |connection| audit(connection, now, &act, &what, &reason))).await
    }

    /// Does something by the rules of filing, in one transaction, and gives what came of it after the commit. Debts that it made are paid.
    pub(super) async fn act_for<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection, &FilingRules) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outcome = self.act_quietly(act).await?;
        self.debts_were_made();
        Ok(outcome)
    }

    /// [`Ledger::act_for`], where no debts are made or the caller says so.
    pub(super) async fn act_quietly<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection, &FilingRules) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let rules = self.shared.rules.clone();
        self.act(Box::new(move |connection| {
            let _gone = tell.send(act(connection, &rules)?);
            Ok(())
        }))
        .await?;
        told.await.map_err(|_| StoreError { text: "the act did not come to its end".into(), exit: 70 })
    }

    /// Tells whoever pays these destinations that there may be something to pay.
    pub(super) fn debts_were_made_to<'d>(&self, destinations: impl Iterator<Item = &'d DestinationName>) {
        for made in destinations.filter_map(|destination| self.shared.debts_made.get(destination)) {
            made.send_modify(|made| made.new += 1);
        }
    }

    pub(super) async fn act(&self, act: Act) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        let stopped = || StoreError { text: "the ledger's writer has stopped".into(), exit: 74 };
        self.commands.send(Command::Act(act, done)).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())?
    }
}

impl Journal for Ledger {
    async fn append(&self, entry: Entry) -> Result<Receipt, JournalError> {
        let wait = self.begin_append(entry, None).await?;
        wait.await.map_err(|_| JournalError::Broken)?
    }

    async fn append_placed(&self, entry: Entry, place: Place) -> Result<Receipt, JournalError> {
        let wait = self.begin_append(entry, Some(place)).await?;
        wait.await.map_err(|_| JournalError::Broken)?
    }

    async fn outcome(&self, seq: Seq, patience: Duration) -> Standing {
        let (done, wait) = oneshot::channel();
        self.shared.outcomes.lock().unwrap_or_else(PoisonError::into_inner).entry(seq.0).or_default().push(done);
        // It may have been filed before we asked; a reader of its own looks once.
        let data = self.shared.data.clone();
        let known = tokio::task::spawn_blocking(move || super::LedgerReader::open(&data).ok()?.standing(seq).ok()?).await.ok().flatten();
        let standing = match known {
            Some(standing) => standing,
            None => tokio::time::timeout(patience, wait).await.ok().and_then(Result::ok).unwrap_or(Standing::Waiting),
        };
        let mut outcomes = self.shared.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiters) = outcomes.get_mut(&seq.0) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                outcomes.remove(&seq.0);
            }
        }
        standing
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("data", &self.shared.data).finish_non_exhaustive()
    }
}

struct Writer {
    connection: Connection,
    /// Given up when the writer ends, and not before.
    _lock: std::fs::File,
    closing: bool,
    rules: FilingRules,
    shared: Arc<Shared>,
    last_seq: i64,
    sources: HashMap<String, i64>,
    files: FileIds,
    controls: Controls,
    filings: VecDeque<Prepared>,
    /// Who waits for filings, with how many are left before them.
    filing_waits: VecDeque<(u64, oneshot::Sender<()>)>,
    filed_count: u64,
    queued_count: u64,
    senders_seen: std::time::Instant,
    filed_last_turn: bool,
}

#[derive(Default)]
struct Turn {
    appends: Vec<Append>,
    settles: Vec<(Vec<Settled>, oneshot::Sender<bool>)>,
    acts: Vec<(Act, oneshot::Sender<Result<(), StoreError>>)>,
}

/// What a committed turn owes to whom.
#[derive(Default)]
struct Done {
    receipts: Vec<Receipt>,
    acts: Vec<Result<(), StoreError>>,
    standings: Vec<(i64, Standing)>,
    owed: HashSet<DestinationName>,
    controls_laid: usize,
}

impl Writer {
    fn new(connection: Connection, rules: FilingRules, shared: Arc<Shared>, last_seq: i64, lock: std::fs::File) -> rusqlite::Result<Self> {
        let mut sources = HashMap::new();
        {
            let mut statement = connection.prepare("SELECT name, id FROM source")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                sources.insert(row.get(0)?, row.get(1)?);
            }
        }
        let controls = Controls::read(&connection)?;
        Ok(Self {
            connection,
            _lock: lock,
            closing: false,
            rules,
            shared,
            last_seq,
            sources,
            files: FileIds::default(),
            controls,
            filings: VecDeque::new(),
            filing_waits: VecDeque::new(),
            filed_count: 0,
            queued_count: 0,
            senders_seen: clock::tick(),
            filed_last_turn: false,
        })
    }

    fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        loop {
            let mut turn = Turn::default();
            if self.filings.is_empty() {
                match queue.blocking_recv() {
                    Some(command) => self.take(command, &mut turn),
                    None => return self.close(),
                }
            }
            while turn.appends.len() < TURN_APPENDS_MAX {
                match queue.try_recv() {
                    Ok(command) => self.take(command, &mut turn),
                    Err(_) => break,
                }
            }
            if !self.do_turn(turn) {
                return;
            }
            if self.closing && self.filings.is_empty() {
                return self.close();
            }
        }
    }

    fn take(&mut self, command: Command, turn: &mut Turn) {
        match command {
            Command::Append(append) => turn.appends.push(*append),
            Command::Settle(settled, done) => turn.settles.push((settled, done)),
            Command::Act(act, done) => turn.acts.push((act, done)),
            Command::Close => self.closing = true,
            Command::File(prepared, done) => {
                self.queued_count += prepared.len() as u64;
                self.filing_waits.push_back((self.queued_count, done));
                self.filings.extend(prepared);
            }
        }
    }

    /// One transaction and its answers. False: the ledger is broken and the writer ends.
    fn do_turn(&mut self, mut turn: Turn) -> bool {
        let (seq_before, filed_before) = (self.last_seq, self.filed_count);
        let mut put_back = Vec::new();
        let started = clock::tick();
        let result = self.transact(&mut turn, &mut put_back);
        metrics::histogram!("chis_store_commit_duration_seconds").record(started.elapsed());
        self.shared.turns.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(done) => {
                self.shared.full.store(false, Ordering::Release);
                self.controls.committed(done.controls_laid);
                self.answer(turn, done);
                self.fold_if_long();
                true
            }
            Err(error) => {
                (self.last_seq, self.filed_count) = (seq_before, filed_before);
                for prepared in put_back.into_iter().rev() {
                    self.filings.push_front(prepared);
                }
                let _undone = self.connection.execute_batch("ROLLBACK");
                self.sources.clear();
                self.files.clear();
                self.controls.undo(seq_before);
                self.refuse(turn, &error)
            }
        }
    }

    fn transact(&mut self, turn: &mut Turn, put_back: &mut Vec<Prepared>) -> rusqlite::Result<Done> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut done = Done::default();
        for append in &turn.appends {
            let receipt = self.append(append)?;
            done.receipts.push(receipt);
        }
        for (settled, _) in &turn.settles {
            debts::settle_all(&self.connection, settled)?;
        }
        for (act, answer) in std::mem::take(&mut turn.acts) {
            self.connection.execute_batch("SAVEPOINT act")?;
            let outcome = act(&self.connection);
            self.connection.execute_batch(if outcome.is_ok() { "RELEASE act" } else { "ROLLBACK TO act; RELEASE act" })?;
            done.acts.push(outcome.map_err(|error| broken(&ledger_file(&self.shared.data), &error)));
            turn.acts.push((Box::new(|_| Ok(())), answer));
        }
        if !turn.acts.is_empty() {
            // An act may have made entries of our own.
            self.last_seq = super::own::last(&self.connection)?;
        }
        self.file_some(!turn.appends.is_empty(), put_back, &mut done)?;
        done.controls_laid = self.controls.lay(&self.connection)?;
        self.connection.execute_batch("COMMIT")?;
        metrics::histogram!("chis_commit_batch_messages").record(turn.appends.len() as f64);
        Ok(done)
    }

    /// What was refused once and is taken now, because somebody mended the cause and put the file back, is an entry of its own.
    fn was_refused(&self, seq: i64) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS(SELECT 1 FROM standing WHERE seq = ?1 AND state = 'refused')";
        self.connection.prepare_cached(sql)?.query_row([seq], |row| row.get(0))
    }

    fn append(&mut self, append: &Append) -> rusqlite::Result<Receipt> {
        let entry = &append.entry;
        if let Some(place) = &append.place
            && let Some(seq) = self.files.seq_at(&self.connection, place)?
            && !(entry.admission == Admission::Accepted && self.was_refused(seq)?)
        {
            return Ok(Receipt::after_commit(Seq(seq), None));
        }
        let source = match self.sources.get(entry.source.as_str()) {
            Some(id) => *id,
            None => {
                let id = row_id(&self.connection, "source", entry.source.as_str())?;
                self.sources.insert(entry.source.as_str().to_owned(), id);
                id
            }
        };
        let duplicate_of = match entry.admission {
            Admission::Accepted => self.same_entry(append, source)?,
            _ => None,
        };
        let seq = self.last_seq + 1;
        let sql = "INSERT INTO entry(seq, arrived_us, day, source, format, kind, control_id, control_key, sha256, bytes, accepted)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let accepted = entry.admission == Admission::Accepted && duplicate_of.is_none();
        self.connection.prepare_cached(sql)?.execute(params![
            seq,
            entry.arrived.as_microsecond(),
            append.day,
            source,
            entry.format.as_str(),
            entry.kind,
            entry.control_id,
            append.control_key,
            append.sha256.as_slice(),
            entry.body.len() as i64,
            accepted
        ])?;
        if duplicate_of.is_none() {
            let (zstd, bytes) = &append.stored;
            self.connection.prepare_cached("INSERT INTO body(seq, zstd, bytes) VALUES(?1, ?2, ?3)")?.execute(params![
                seq,
                zstd,
                &bytes[..]
            ])?;
        }
        let ended = match (&entry.admission, duplicate_of) {
            (_, Some(first)) => Some((Standing::Duplicate, first.to_string())),
            (Admission::Refused(why), None) => Some((Standing::Refused, why.clone())),
            (Admission::Ignored(why), None) => Some((Standing::Ignored, why.clone())),
            (Admission::Accepted, None) => None,
        };
        if let Some((standing, reason)) = ended {
            let sql = "INSERT INTO standing(seq, state, reason) VALUES(?1, ?2, ?3)";
            self.connection.prepare_cached(sql)?.execute(params![seq, standing.as_str(), reason])?;
        }
        if let Some(place) = &append.place {
            self.files.place(&self.connection, place, seq)?;
        }
        if accepted {
            self.controls.add(append.control_key, seq);
        }
        self.last_seq = seq;
        Ok(Receipt::after_commit(Seq(seq), duplicate_of.map(Seq)))
    }

    /// The accepted entry with the same source, control id and bytes.
    fn same_entry(&self, append: &Append, source: i64) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT 1 FROM entry WHERE seq = ?1 AND sha256 = ?2 AND source = ?3 AND control_id = ?4";
        let mut statement = self.connection.prepare_cached(sql)?;
        for seq in self.controls.find(&self.connection, append.control_key)? {
            if statement.exists(params![seq, append.sha256.as_slice(), source, append.entry.control_id])? {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }

    /// Files from the front of the queue until the budget of this turn is used up.
    fn file_some(&mut self, senders_wait: bool, put_back: &mut Vec<Prepared>, done: &mut Done) -> rusqlite::Result<()> {
        let started = clock::tick();
        if senders_wait {
            self.senders_seen = started;
        }
        let is_quiet = SENDERS_GONE < started.duration_since(self.senders_seen);
        self.shared.senders_about.store(!is_quiet, Ordering::Release);
        if senders_wait {
            self.filed_last_turn = !self.filed_last_turn;
            if !self.filed_last_turn {
                return Ok(());
            }
        }
        let budget = match (self.shared.bulk.load(Ordering::Acquire), is_quiet) {
            (true, _) => FILING_BUDGET_BULK,
            (false, true) => FILING_BUDGET_QUIET,
            (false, false) => FILING_BUDGET,
        };
        let mut through = None;
        while let Some(prepared) = self.filings.pop_front() {
            let (seq, is_release) = (prepared.seq, prepared.released_by.is_some());
            put_back.push(prepared);
            let Some(prepared) = put_back.last() else { break };
            let (standing, owed) = file_one(&self.connection, prepared, &self.rules)?;
            done.standings.push((seq.0, standing));
            done.owed.extend(owed);
            self.filed_count += 1;
            if !is_release {
                through = Some(seq.0);
            }
            self.try_ready(done)?;
            if budget <= started.elapsed() {
                break;
            }
        }
        if !put_back.is_empty() {
            retry::give_up(&self.connection, clock::now().as_microsecond())?;
        }
        if let Some(through) = through {
            let sql = "UPDATE meta SET value = max(value, ?1) WHERE key = 'filed_through'";
            self.connection.prepare_cached(sql)?.execute([through])?;
        }
        Ok(())
    }

    /// Files what waited for what was filed just now.
    fn try_ready(&self, done: &mut Done) -> rusqlite::Result<()> {
        for (seq, standing, owed) in retry::try_ready(&self.connection, &self.rules, self.shared.read_again.get())? {
            done.standings.push((seq, standing));
            done.owed.extend(owed);
        }
        Ok(())
    }

    fn answer(&mut self, turn: Turn, done: Done) {
        self.shared.appended.store(self.last_seq, Ordering::Release);
        let any = !turn.appends.is_empty();
        for (append, receipt) in turn.appends.into_iter().zip(done.receipts) {
            let _gone = append.done.send(Ok(receipt));
        }
        for (_, answer) in turn.settles {
            let _gone = answer.send(true);
        }
        for ((_, answer), outcome) in turn.acts.into_iter().zip(done.acts) {
            let _gone = answer.send(outcome);
        }
        while self.filing_waits.front().is_some_and(|(at, _)| *at <= self.filed_count) {
            if let Some((_, answer)) = self.filing_waits.pop_front() {
                let _gone = answer.send(());
            }
        }
        if !done.standings.is_empty() {
            self.tell_outcomes(&done.standings);
        }
        if any {
            self.shared.new_entries.notify_one();
        }
        for made in done.owed.iter().filter_map(|destination| self.shared.debts_made.get(destination)) {
            made.send_modify(|made| made.new += 1);
        }
    }

    fn tell_outcomes(&self, standings: &[(i64, Standing)]) {
        let mut outcomes = self.shared.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes.is_empty() {
            return;
        }
        for (seq, standing) in standings {
            for waiter in outcomes.remove(seq).unwrap_or_default() {
                let _gone = waiter.send(*standing);
            }
        }
    }

    /// Tells everyone of a turn that was undone. False when the ledger is broken.
    fn refuse(&mut self, turn: Turn, error: &rusqlite::Error) -> bool {
        let full = is_full(error);
        metrics::counter!("chis_store_errors_total", "op" => if full { "full" } else { "write" }).increment(1);
        let answer = if full { JournalError::Full } else { JournalError::Broken };
        if full {
            if !self.shared.full.swap(true, Ordering::AcqRel) {
                tracing::error!("store.full: no room on the disk of the ledger; senders are told to send again");
            }
            let _gone = std::fs::remove_file(self.shared.data.join("ballast"));
        } else {
            tracing::error!(error = %error, "store.broken: a write or sync of the ledger failed; nothing more is acknowledged");
            self.shared.broken.store(true, Ordering::Release);
        }
        for append in turn.appends {
            let _gone = append.done.send(Err(answer.clone()));
        }
        for (_, done) in turn.settles {
            let _gone = done.send(false);
        }
        for (_, done) in turn.acts {
            let _gone = done.send(Err(broken(&ledger_file(&self.shared.data), error)));
        }
        if full && !self.filings.is_empty() {
            std::thread::sleep(Duration::from_millis(200));
        }
        full
    }

    fn fold_if_long(&mut self) {
        if self.shared.wal_frames.load(Ordering::Relaxed) < WAL_FRAMES_MAX {
            return;
        }
        self.shared.wal_frames.store(0, Ordering::Relaxed);
        if let Err(error) = checkpoint(&self.connection, "RESTART") {
            metrics::counter!("chis_store_checkpoints_total", "result" => "failed").increment(1);
            tracing::warn!(error = %error, "store.checkpoint: the log could not be folded in; it is tried again");
        }
    }

    fn close(self) {
        if let Err(error) = checkpoint(&self.connection, "TRUNCATE") {
            tracing::warn!(error = %error, "store.checkpoint: the log was not folded in at the end; the next start does it");
        }
    }
}

pub(super) fn audit(connection: &Connection, now: Timestamp, act: &str, what: &str, reason: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO audit(at_us, act, what, reason) VALUES(?1, ?2, ?3, ?4)";
    connection.execute(sql, params![now.as_microsecond(), act, what, reason]).map(drop)
}

/// The id of a named row, made when it is new.
pub(super) fn row_id(connection: &Connection, table: &'static str, name: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached(&format!("INSERT INTO {table}(name) VALUES(?1) ON CONFLICT DO NOTHING"))?.execute([name])?;
    connection.prepare_cached(&format!("SELECT id FROM {table} WHERE name = ?1"))?.query_row([name], |row| row.get(0))
}

fn is_full(error: &rusqlite::Error) -> bool {
    // A quota that is used up comes as an I/O error of the write with this system error.
    const EDQUOT: &str = "Disk quota exceeded";
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull)) || error.to_string().contains(EDQUOT)
}

pub(super) fn control_key(source: &str, control_id: &str) -> i64 {
    let mut hash = Sha256::new();
    hash.update(source.as_bytes());
    hash.update([0]);
    hash.update(control_id.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The London date of a moment as a number, 20260105.
pub(super) fn london_day(at: Timestamp) -> i64 {
    super::kin::day_number(crate::failsafe::day::date_of(at))
}

fn squeeze(body: &Bytes) -> (bool, Bytes) {
    if body.len() < ZSTD_BYTES_MIN {
        return (false, body.clone());
    }
    match zstd::bulk::compress(body, 1) {
        Ok(small) if small.len() < body.len() => (true, Bytes::from(small)),
        _ => (false, body.clone()),
    }
}

fn pack(files: &std::collections::BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, StoreError> {
    let unfit = |text: String| StoreError { text, exit: 70 };
    let text: std::collections::BTreeMap<&String, std::borrow::Cow<'_, str>> =
        files.iter().map(|(name, bytes)| (name, String::from_utf8_lossy(bytes))).collect();
    let json = serde_json::to_vec(&text).map_err(|error| unfit(error.to_string()))?;
    zstd::bulk::compress(&json, 3).map_err(|error| unfit(error.to_string()))
}
