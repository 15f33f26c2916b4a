//! Which vaccinations were handed over, and what was said of each: on disk, and little of it in memory.
//!
//!     handed-over.jsonl          a line a file: its number and its vaccinations. The last line is the moment of a hand-over
//!     said-000001-000512.idx     the vaccinations of files 1 to 512, sorted: id (16 bytes), digest of what was said (8 bytes)
//!
//! When the lines name [`RECENT_MAX`] vaccinations they are folded into a sorted file, and sorted files of like size into one. So what is read
//! at a start is bounded, a question costs some reads of 24 bytes, and each vaccination is written again some ten times in ten years.
//!
//! # Invariants
//!
//! - A fold changes nothing of what is known. Killed after a sorted file is in its place and before its sources are gone, they say the same:
//!   a sorted file within the range of another is removed at the next start, and so are lines within the range of one.
//! - The last line stays, for its number.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::spool::{lines, private, sync};

/// So many vaccinations are kept in lines and in memory.
pub(super) const RECENT_MAX: usize = 1_024;

/// A file that was handed over: its number, and each vaccination with what was said of it.
#[derive(Debug, Serialize, Deserialize)]
struct HandedOver {
    number: u64,
    said: Vec<(Uuid, u64)>,
}

/// What was handed over.
#[derive(Debug)]
pub(super) struct Said {
    below: PathBuf,
    last: u64,
    recent: HashMap<Uuid, u64>,
    /// The first file among the recent ones.
    recent_from: u64,
    /// Oldest first.
    sorted: Vec<Sorted>,
}

#[derive(Debug)]
struct Sorted {
    from: u64,
    through: u64,
    path: PathBuf,
    file: File,
    records: u64,
}

impl Said {
    /// Reads the lines and looks which sorted files there are; folds what is due.
    ///
    /// # Errors
    ///
    /// Those of the file system, and what is there and cannot be read.
    pub(super) fn open(below: &Path) -> io::Result<Self> {
        let mut sorted = Vec::new();
        for entry in std::fs::read_dir(below)? {
            let path = entry?.path();
            if let Some((from, through)) = range_of(&path) {
                sorted.push(Sorted::open(path, (from, through))?);
            }
        }
        sorted.sort_by_key(|one| (one.from, std::cmp::Reverse(one.through)));
        let mut kept: Vec<Sorted> = Vec::new();
        for one in sorted {
            match kept.last() {
                Some(whole) if one.through <= whole.through => std::fs::remove_file(&one.path)?,
                _ => kept.push(one),
            }
        }
        let folded = kept.last().map_or(0, |one| one.through);
        let mut said = Self { below: below.to_owned(), last: folded, recent: HashMap::new(), recent_from: 0, sorted: kept };
        for handed in lines::<HandedOver>(&below.join(HISTORY))? {
            said.last = said.last.max(handed.number);
            if folded < handed.number && !handed.said.is_empty() {
                if said.recent.is_empty() {
                    said.recent_from = handed.number;
                }
                said.recent.extend(handed.said);
            }
        }
        if RECENT_MAX <= said.recent.len() {
            // A disk that is full must not keep from work what is noted already: the next start folds.
            let _folded_later = said.fold();
        }
        Ok(said)
    }

    /// The number of the last file.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// What was said of a vaccination.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub(super) fn get(&self, id: Uuid) -> io::Result<Option<u64>> {
        if let Some(said) = self.recent.get(&id) {
            return Ok(Some(*said));
        }
        for sorted in self.sorted.iter().rev() {
            if let Some(said) = sorted.get(id)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// Notes that a file was handed over. When this returns it is on disk.
    ///
    /// # Errors
    ///
    /// Those of the file system: whether it is noted is known after [`Said::open`].
    pub(super) fn note(below: &Path, number: u64, said: Vec<(Uuid, u64)>) -> io::Result<()> {
        let mut noted = serde_json::to_vec(&HandedOver { number, said })?;
        noted.push(b'\n');
        let mut history = private(&below.join(HISTORY))?;
        history.write_all(&noted)?;
        history.sync_all()?;
        sync(below)
    }

    fn fold(&mut self) -> io::Result<()> {
        let mut records: Vec<(Uuid, u64)> = self.recent.iter().map(|(id, said)| (*id, *said)).collect();
        records.sort_unstable();
        let range = (self.recent_from, self.last);
        let sorted = self.write(range, |out| records.iter().try_for_each(|record| out.write_all(&bytes_of(*record))))?;
        self.sorted.push(sorted);
        let mut last = serde_json::to_vec(&HandedOver { number: self.last, said: Vec::new() })?;
        last.push(b'\n');
        self.put(&self.below.join(HISTORY), |out| out.write_all(&last))?;
        self.recent.clear();
        while let [.., older, newer] = self.sorted.as_slice()
            && older.records <= 2 * newer.records
        {
            let merged = self.write((older.from, newer.through), |out| merge(older, newer, out))?;
            for source in [self.sorted.pop(), self.sorted.pop()].into_iter().flatten() {
                std::fs::remove_file(&source.path)?;
            }
            sync(&self.below)?;
            self.sorted.push(merged);
        }
        Ok(())
    }

    fn write(&self, (from, through): (u64, u64), fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<Sorted> {
        let path = self.below.join(format!("said-{from:06}-{through:06}.idx"));
        self.put(&path, fill)?;
        Sorted::open(path, (from, through))
    }

    /// A file appears whole or not at all.
    fn put(&self, path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
        let new = self.below.join(NEW);
        // One of a try that failed may be there.
        let _removed = std::fs::remove_file(&new);
        let mut out = BufWriter::new(private(&new)?);
        fill(&mut out)?;
        out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        std::fs::rename(&new, path)?;
        sync(&self.below)
    }
}

impl Sorted {
    fn open(path: PathBuf, (from, through): (u64, u64)) -> io::Result<Self> {
        let file = File::open(&path)?;
        let bytes = file.metadata()?.len();
        if !bytes.is_multiple_of(RECORD as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is not whole", path.display())));
        }
        Ok(Self { from, through, path, file, records: bytes / RECORD as u64 })
    }

    fn get(&self, id: Uuid) -> io::Result<Option<u64>> {
        let (mut low, mut high) = (0, self.records);
        let mut record = [0; RECORD];
        while low < high {
            let middle = low + (high - low) / 2;
            self.file.read_exact_at(&mut record, middle * RECORD as u64)?;
            let (found, said) = record_of(record);
            match found.cmp(&id) {
                std::cmp::Ordering::Equal => return Ok(Some(said)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
}

const HISTORY: &str = "handed-over.jsonl";
/// What is in the making.
const NEW: &str = "said.new";
/// Bytes of a record.
const RECORD: usize = 24;

fn range_of(path: &Path) -> Option<(u64, u64)> {
    let (from, through) = path.file_name()?.to_str()?.strip_prefix("said-")?.strip_suffix(".idx")?.split_once('-')?;
    Some((from.parse().ok()?, through.parse().ok()?))
}

fn bytes_of((id, said): (Uuid, u64)) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    let said = said.to_be_bytes();
    bytes.iter_mut().zip(id.as_bytes().iter().chain(&said)).for_each(|(to, from)| *to = *from);
    bytes
}

fn record_of(bytes: [u8; RECORD]) -> (Uuid, u64) {
    let whole = bytes.iter().take(16).fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    (Uuid::from_u128(whole), bytes.iter().skip(16).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Both, sorted, a record at a time; of one that stands in both the newer.
fn merge(older: &Sorted, newer: &Sorted, out: &mut impl Write) -> io::Result<()> {
    let open = |sorted: &Sorted| File::open(&sorted.path).map(BufReader::new);
    let (mut first, mut second) = (open(older)?, open(newer)?);
    let (mut left, mut right) = (next(&mut first)?, next(&mut second)?);
    loop {
        let record = match (left, right) {
            (None, None) => return Ok(()),
            (Some(one), None) => {
                left = next(&mut first)?;
                one
            }
            (Some(one), Some(other)) if one.0 < other.0 => {
                left = next(&mut first)?;
                one
            }
            (_, Some(other)) => {
                if left.is_some_and(|one| one.0 == other.0) {
                    left = next(&mut first)?;
                }
                right = next(&mut second)?;
                other
            }
        };
        out.write_all(&bytes_of(record))?;
    }
}

fn next(from: &mut impl Read) -> io::Result<Option<(Uuid, u64)>> {
    let mut record = [0; RECORD];
    match from.read_exact(&mut record) {
        Ok(()) => Ok(Some(record_of(record))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand_over(below: &Path, files: std::ops::RangeInclusive<u64>, each: u128) {
        for number in files {
            // Ids in no order, as hashes are.
            let said = (0..each).map(|at| (id(u128::from(number) * 1_000_000 + at), number)).collect();
            Said::note(below, number, said).unwrap();
            Said::open(below).unwrap();
        }
    }

    fn id(number: u128) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes())
    }

    fn names(below: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(below).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn knows_all(below: &Path, files: u64, each: u128) {
        let said = Said::open(below).unwrap();
        assert_eq!(said.last(), files);
        for number in 1..=files {
            for at in 0..each {
                assert_eq!(said.get(id(u128::from(number) * 1_000_000 + at)).unwrap(), Some(number), "file {number}, {at}");
            }
        }
        assert_eq!(said.get(id(7)).unwrap(), None);
    }

    #[test]
    fn twenty_thousand_vaccinations_are_known_and_what_is_read_at_a_start_does_not_grow() {
        let folder = tempfile::tempdir().unwrap();
        let mut most = 0;
        for file in 1..=200 {
            hand_over(folder.path(), file..=file, 100);
            most = most.max(std::fs::metadata(folder.path().join(HISTORY)).unwrap().len());
        }
        knows_all(folder.path(), 200, 100);
        let said = Said::open(folder.path()).unwrap();
        assert!(said.recent.len() < RECENT_MAX && most < 100_000, "{} in memory, {most} bytes of lines", said.recent.len());
        assert!(said.sorted.len() < 8, "{:?}", names(folder.path()));
        assert!(said.sorted.iter().map(|one| one.records).sum::<u64>() + said.recent.len() as u64 == 20_000);
    }

    /// Each state that a kill in a fold can leave.
    #[test]
    fn a_kill_in_the_middle_of_a_fold_loses_nothing_and_leaves_nothing() {
        let copy = |from: &Path, name: &str, to: &Path| {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        };
        let before = tempfile::tempdir().unwrap();
        hand_over(before.path(), 1..=20, 60);
        let after = tempfile::tempdir().unwrap();
        names(before.path()).iter().for_each(|name| copy(before.path(), name, after.path()));
        hand_over(after.path(), 21..=36, 60);
        let (old, new) = (names(before.path()), names(after.path()));
        assert_eq!(old, [HISTORY, "said-000001-000018.idx"]);
        assert_eq!(new, [HISTORY, "said-000001-000036.idx"], "two of a size became one");
        // The sorted file is in its place, and its sources are there: the older one, and the lines.
        copy(before.path(), &old[1], after.path());
        let mut history = std::fs::read(before.path().join(HISTORY)).unwrap();
        history.extend(std::fs::read(after.path().join(HISTORY)).unwrap());
        std::fs::write(after.path().join(HISTORY), history).unwrap();
        // And a file in the making of a later try.
        std::fs::write(after.path().join(NEW), "half").unwrap();
        knows_all(after.path(), 36, 60);
        assert!(!after.path().join(&old[1]).exists());
        hand_over(after.path(), 37..=60, 60);
        knows_all(after.path(), 60, 60);
        assert!(!after.path().join(NEW).exists());
    }
}
