//! From vaccinations to files: each in exactly one file, whatever is killed and when.
//!
//!     .chis-broker/spool-000007.jsonl   what came since the last file, a line a debt, synced before the debt is settled
//!     .chis-broker/handed-over.jsonl    a line a file: the vaccinations in it. Its last line is the moment of a hand-over
//!     .careplus-000007.csv.part         the file in the making
//!     careplus-000007.csv               the file
//!
//! # A hand-over
//!
//! 1. the part is written and synced; 2. its vaccinations are noted in `handed-over.jsonl` and that is synced; 3. the part is renamed;
//! 4. the spool is removed. Killed before 2, it never happened and is done again; killed after 2, steps 3 and 4 are done at the next start.
//!
//! # Invariants
//!
//! - A line that was not written whole was never settled: it is cut off at the next start.
//! - One process has the folder: it holds a lock.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::row::{COLUMNS, Entry, VACCINES_MAX};
use crate::outbox::Settlement;

/// A debt in the spool.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    entries: Vec<Entry>,
}

/// A file that was handed over: its number, and each vaccination with what was said of it.
#[derive(Debug, Serialize, Deserialize)]
struct HandedOver {
    number: u64,
    said: Vec<(Uuid, u64)>,
}

/// The spool of a folder.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    vaccinations_max: usize,
    is_excel_safe: bool,
    /// Held as long as this lives.
    _lock: File,
    /// None after a failure: what is on disk is read again first.
    state: Option<State>,
}

#[derive(Debug, Default)]
struct State {
    number: u64,
    spool: Option<File>,
    keys: HashSet<String>,
    /// In the order in which they came.
    entries: Vec<Entry>,
    handed_over: HashMap<Uuid, u64>,
}

impl Spool {
    pub(super) fn open(folder: &Path, vaccinations_max: usize, is_excel_safe: bool) -> Result<Self, String> {
        let unusable = |what: &str| format!("`folder`: {} {what}", folder.display());
        let below = folder.join(BELOW);
        std::fs::create_dir_all(&below)
            .map_err(|error| unusable(&format!("cannot be written ({}); make it for the broker's user", error.kind())))?;
        let lock = OpenOptions::new().create(true).append(true).open(below.join("lock"));
        let lock = lock.map_err(|error| unusable(&format!("cannot be written ({})", error.kind())))?;
        lock.try_lock().map_err(|_| unusable("is written by another process; give each destination a folder of its own"))?;
        let mut spool = Self { folder: folder.to_owned(), vaccinations_max, is_excel_safe, _lock: lock, state: None };
        spool.state().map_err(|error| unusable(&format!("cannot be read ({error}); what is in {BELOW} must be whole")))?;
        Ok(spool)
    }

    fn state(&mut self) -> io::Result<&mut State> {
        if self.state.is_none() {
            self.state = Some(self.load()?);
        }
        self.state.as_mut().ok_or_else(|| io::Error::other("no state"))
    }

    /// Reads what is there, and finishes a hand-over that was noted.
    fn load(&self) -> io::Result<State> {
        let mut state = State::default();
        let below = self.folder.join(BELOW);
        let mut last = 0;
        for handed in lines::<HandedOver>(&below.join(HISTORY))? {
            last = last.max(handed.number);
            state.handed_over.extend(handed.said);
        }
        let (part, spool) = (self.part(last), self.spool(last));
        if part.exists() {
            std::fs::rename(&part, self.file(last))?;
            sync(&self.folder)?;
        }
        if spool.exists() {
            std::fs::remove_file(&spool)?;
            sync(&below)?;
        }
        state.number = last + 1;
        for line in lines::<Line>(&self.spool(state.number))? {
            state.put(line);
        }
        Ok(state)
    }

    /// Takes the entries of a debt, all or none.
    pub(super) fn take(&mut self, key: &str, entries: Vec<Entry>) -> io::Result<Settlement> {
        let most = self.vaccinations_max;
        let state = self.state()?;
        if state.keys.contains(key) {
            return Ok(Settlement::Delivered);
        }
        let mut wanted = Vec::new();
        for entry in entries {
            let is_spooled = state.entries.iter().any(|spooled| spooled.id == entry.id);
            match (state.handed_over.get(&entry.id), entry.stands) {
                (Some(said), true) if *said == digest(&entry) => {}
                (Some(_), true) => return Ok(held("it was handed over before with other facts; correct it in the store by hand")),
                (Some(_), false) => return Ok(held("it was handed over before and is taken back; take it back in the store by hand")),
                // What is in no file yet needs no taking back.
                (None, false) if !is_spooled => {}
                (None, _) => wanted.push(entry),
            }
        }
        if wanted.is_empty() {
            return Ok(Settlement::Superseded);
        }
        let line = Line { key: key.to_owned(), entries: wanted };
        let spool = self.spool(self.state.as_ref().map_or(0, |state| state.number));
        if let Err(error) = self.append(&spool, &line) {
            self.state = None;
            return Err(error);
        }
        let state = self.state()?;
        state.put(line);
        if most <= state.entries.len() {
            // It is in the spool; a hand-over that fails is tried again by the clock.
            let _tried_again = self.hand_over();
        }
        Ok(Settlement::Delivered)
    }

    fn append(&mut self, path: &Path, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let below = self.folder.join(BELOW);
        let state = self.state()?;
        if state.spool.is_none() {
            state.spool = Some(private(path)?);
            sync(&below)?;
        }
        let Some(file) = state.spool.as_mut() else { return Err(io::Error::other("no spool")) };
        file.write_all(&bytes)?;
        file.sync_data()
    }

    /// Makes a file of what has come. Gives how many vaccinations are in it.
    pub(super) fn hand_over(&mut self) -> io::Result<usize> {
        let handed = self.make_file();
        if handed.is_err() {
            self.state = None;
        }
        handed
    }

    fn make_file(&mut self) -> io::Result<usize> {
        let (safe, below) = (self.is_excel_safe, self.folder.join(BELOW));
        let state = self.state()?;
        let (number, count) = (state.number, state.entries.len());
        if count == 0 {
            return Ok(0);
        }
        let said = state.entries.iter().map(|entry| (entry.id, digest(entry))).collect();
        let text = text(&state.entries, safe)?;
        let part = self.part(number);
        // A part of a try that failed may be there.
        let _removed = std::fs::remove_file(&part);
        let mut file = private(&part)?;
        file.write_all(&text)?;
        file.sync_all()?;
        sync(&self.folder)?;
        let mut noted = serde_json::to_vec(&HandedOver { number, said })?;
        noted.push(b'\n');
        let mut history = private(&below.join(HISTORY))?;
        history.write_all(&noted)?;
        history.sync_all()?;
        sync(&below)?;
        // From here on it is handed over: what is left is done now or at the next start.
        self.state = Some(self.load()?);
        Ok(count)
    }

    fn part(&self, number: u64) -> PathBuf {
        self.folder.join(format!(".careplus-{number:06}.csv.part"))
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("careplus-{number:06}.csv"))
    }

    fn spool(&self, number: u64) -> PathBuf {
        self.folder.join(BELOW).join(format!("spool-{number:06}.jsonl"))
    }
}

impl State {
    fn put(&mut self, line: Line) {
        self.keys.insert(line.key);
        for entry in line.entries {
            let place = self.entries.iter().position(|spooled| spooled.id == entry.id);
            match (place, entry.stands) {
                (Some(place), true) => {
                    if let Some(spooled) = self.entries.get_mut(place) {
                        *spooled = entry;
                    }
                }
                (Some(place), false) => drop(self.entries.remove(place)),
                (None, true) => self.entries.push(entry),
                (None, false) => {}
            }
        }
    }
}

/// Folder of what is not finished, below the folder of files.
const BELOW: &str = ".chis-broker";
const HISTORY: &str = "handed-over.jsonl";

fn held(why: &str) -> Settlement {
    Settlement::Held { why: why.to_owned() }
}

/// What was said of a vaccination, to be compared.
fn digest(entry: &Entry) -> u64 {
    let digest: [u8; 32] = Sha256::digest([entry.row().join("\u{1f}"), entry.vaccine.join("\u{1f}")].join("\u{1e}")).into();
    digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The file: a row for each child, place and day, with at most five vaccines; the sixth begins another.
fn text(entries: &[Entry], is_excel_safe: bool) -> io::Result<Vec<u8>> {
    let mut rows: Vec<Vec<&Entry>> = Vec::new();
    for entry in entries {
        let open = rows.iter_mut().rfind(|row| row.first().is_some_and(|first| first.row() == entry.row()));
        match open {
            Some(row) if row.len() < VACCINES_MAX => row.push(entry),
            _ => rows.push(vec![entry]),
        }
    }
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in rows {
        let Some(newest) = row.last() else { continue };
        let mut cells = newest.head.clone();
        for entry in &row {
            cells.extend(entry.vaccine.iter().cloned());
        }
        cells.resize(COLUMNS.len() - 1, String::new());
        cells.push(newest.gender.clone());
        writer.write_record(cells.iter().map(|cell| safe(cell, is_excel_safe)))?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

fn safe(cell: &str, is_excel_safe: bool) -> String {
    if is_excel_safe && cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell.to_owned() }
}

/// A file for this user alone, made where it is not there, written at its end.
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Names of a folder survive a power cut.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The lines of a file, which may be missing. A last line that is not whole is cut off, and what is there is synced: it is trusted from now on.
fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let file = OpenOptions::new().write(true).open(path)?;
    if whole < text.len() {
        file.set_len(whole as u64)?;
    }
    file.sync_all()?;
    let lines = text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            serde_json::from_slice(line)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{} ({error})", path.display())))
        })
        .collect()
}
