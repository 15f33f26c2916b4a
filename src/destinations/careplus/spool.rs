//! From vaccinations to files: each in exactly one file, whatever is killed and when.
//!
//!     .chis-broker/spool-000007.jsonl   what came since the last file, a line a debt, synced before the debt is settled
//!     .chis-broker/handed-over.jsonl    a line a file: the vaccinations in it (`said`). Its last line is the moment of a hand-over
//!     .careplus-000007.csv.part         the file in the making
//!     careplus-000007.csv               the file
//!
//! # A hand-over
//!
//! 1. each debt in the spool is asked for again as its child is now, and what ends without rows is noted in the ledger;
//! 2. the part is written and synced;
//! 3. its vaccinations are noted in `handed-over.jsonl` and that is synced;
//! 4. the part is renamed;
//! 5. the spool is removed.
//!
//! Killed before 3, it never happened and is done again; killed after 3, steps 4 and 5 are done at the next start.
//!
//! # Invariants
//!
//! - A line that was not written whole was never settled: it is cut off at the next start.
//! - One process has the folder: it holds a lock.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::row::{COLUMNS, Entry, VACCINES_MAX};
use super::said::Said;
use super::{HandedOver, RowsOfNow};
use crate::outbox::Settlement;

/// What a debt has for the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rows {
    /// Its number in the ledger, by which it is asked for again.
    pub(super) debt: i64,
    pub(super) entries: Vec<Entry>,
}

/// A debt in the spool.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    rows: Rows,
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

#[derive(Debug)]
struct State {
    number: u64,
    spool: Option<File>,
    /// The keys of what came, each with the debt that brought it last.
    keys: HashMap<String, i64>,
    /// In the order in which they came.
    lines: Vec<Rows>,
    net: Net,
    said: Said,
}

/// What is left of lines: a later one replaces or removes what an earlier one said of a vaccination.
#[derive(Debug, Default)]
struct Net {
    /// In the order in which they came; none where one was removed.
    entries: Vec<Option<Entry>>,
    places: HashMap<Uuid, usize>,
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
        let below = self.folder.join(BELOW);
        let said = Said::open(&below)?;
        let last = said.last();
        let (part, spool) = (self.part(last), self.spool(last));
        if part.exists() {
            std::fs::rename(&part, self.file(last))?;
            sync(&self.folder)?;
        }
        if spool.exists() {
            std::fs::remove_file(&spool)?;
            sync(&below)?;
        }
        let mut state = State { number: last + 1, spool: None, keys: HashMap::new(), lines: Vec::new(), net: Net::default(), said };
        for line in lines::<Line>(&self.spool(state.number))? {
            state.put(line);
        }
        Ok(state)
    }

    /// Takes the entries of a debt, all or none.
    pub(super) fn take(&mut self, key: &str, rows: Rows) -> io::Result<Settlement> {
        let state = self.state()?;
        // Another debt under the same key replaces one that was withdrawn: the line of that one says nothing any more.
        if state.keys.get(key) == Some(&rows.debt) {
            return Ok(Settlement::Delivered);
        }
        let mut wanted = Vec::new();
        for entry in rows.entries {
            match (state.said.get(entry.id)?, entry.stands) {
                (Some(said), true) if said == digest(&entry) => {}
                (Some(_), true) => return Ok(held("it was handed over before with other facts; correct it in the store by hand")),
                (Some(_), false) => return Ok(held("it was handed over before and is taken back; take it back in the store by hand")),
                // What is in no file yet needs no taking back.
                (None, false) if !state.net.places.contains_key(&entry.id) => {}
                (None, _) => wanted.push(entry),
            }
        }
        if wanted.is_empty() {
            return Ok(Settlement::Superseded);
        }
        let line = Line { key: key.to_owned(), rows: Rows { entries: wanted, ..rows } };
        let spool = self.spool(self.state.as_ref().map_or(0, |state| state.number));
        if let Err(error) = self.append(&spool, &line) {
            self.state = None;
            return Err(error);
        }
        self.state()?.put(line);
        Ok(Settlement::Delivered)
    }

    /// True where as much has come as a file should have.
    pub(super) fn is_full(&self) -> bool {
        self.state.as_ref().is_some_and(|state| self.vaccinations_max <= state.net.places.len())
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

    /// Makes a file of what has come and may be said now.
    pub(super) fn hand_over(&mut self, now: Option<&dyn RowsOfNow>) -> io::Result<HandedOver> {
        let handed = self.make_file(now);
        if handed.is_err() {
            self.state = None;
        }
        handed
    }

    fn make_file(&mut self, now: Option<&dyn RowsOfNow>) -> io::Result<HandedOver> {
        let (safe, below) = (self.is_excel_safe, self.folder.join(BELOW));
        let state = self.state()?;
        if state.lines.is_empty() {
            return Ok(HandedOver::default());
        }
        let (net, withheld) = state.as_of_now(now)?;
        let (number, entries) = (state.number, net.entries.into_iter().flatten().collect::<Vec<_>>());
        let handed = HandedOver { vaccinations: entries.len(), withheld };
        if entries.is_empty() {
            // Nothing is left to be said: no file, and its number is that of the next one.
            std::fs::remove_file(self.spool(number))?;
            sync(&below)?;
            self.state = None;
            return Ok(handed);
        }
        let said = entries.iter().map(|entry| (entry.id, digest(entry))).collect();
        let text = text(&entries, safe)?;
        let part = self.part(number);
        // A part of a try that failed may be there.
        let _removed = std::fs::remove_file(&part);
        let mut file = private(&part)?;
        file.write_all(&text)?;
        file.sync_all()?;
        sync(&self.folder)?;
        Said::note(&below, number, said)?;
        // From here on it is handed over: what is left is done now or at the next start.
        self.state = Some(self.load()?);
        Ok(handed)
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
        self.keys.insert(line.key, line.rows.debt);
        line.rows.entries.iter().cloned().for_each(|entry| self.net.put(entry));
        self.lines.push(line.rows);
    }

    /// What the lines say of their children as they are now, and how many of them say nothing any more.
    fn as_of_now(&self, now: Option<&dyn RowsOfNow>) -> io::Result<(Net, usize)> {
        let debts: Vec<i64> = self.lines.iter().map(|line| line.debt).collect();
        let bodies = now.map(|now| now.rows_of_now(&debts)).transpose()?;
        let (mut net, mut withheld) = (Net::default(), 0);
        for (place, line) in self.lines.iter().enumerate() {
            let said = match &bodies {
                None => Some(line.entries.clone()),
                Some(bodies) => match bodies.get(place).and_then(Option::as_ref) {
                    Some(body) => Some(serde_json::from_slice::<Rows>(body)?.entries),
                    None => None,
                },
            };
            let Some(said) = said else {
                withheld += 1;
                line.entries.iter().for_each(|entry| net.remove(entry.id));
                continue;
            };
            // What was in a file before has no place in this one.
            let is_meant = |entry: &Entry| line.entries.iter().any(|meant| meant.id == entry.id);
            said.into_iter().filter(is_meant).for_each(|entry| net.put(entry));
        }
        Ok((net, withheld))
    }
}

impl Net {
    fn put(&mut self, entry: Entry) {
        if !entry.stands {
            return self.remove(entry.id);
        }
        match self.places.get(&entry.id).and_then(|place| self.entries.get_mut(*place)) {
            Some(spooled) => *spooled = Some(entry),
            None => {
                self.places.insert(entry.id, self.entries.len());
                self.entries.push(Some(entry));
            }
        }
    }

    fn remove(&mut self, id: Uuid) {
        if let Some(spooled) = self.places.remove(&id).and_then(|place| self.entries.get_mut(place)) {
            *spooled = None;
        }
    }
}

/// Folder of what is not finished, below the folder of files.
const BELOW: &str = ".chis-broker";

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
    let mut open: HashMap<[&str; 3], usize> = HashMap::new();
    for entry in entries {
        match open.get(&entry.row()).and_then(|place| rows.get_mut(*place)) {
            Some(row) if row.len() < VACCINES_MAX => row.push(entry),
            _ => {
                open.insert(entry.row(), rows.len());
                rows.push(vec![entry]);
            }
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
pub(super) fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Names of a folder survive a power cut.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The lines of a file, which may be missing. A last line that is not whole is cut off, and what is there is synced: it is trusted from now on.
pub(super) fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
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
