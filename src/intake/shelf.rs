//! A drop folder on disk: incoming, `processing`, `done`, `failed`. Moves are renames within one file system.
//!
//! # Invariants
//!
//! - A file is in exactly one of the four places; it moves by one rename.
//! - What we write beside a file is written under a hidden name, synced, and renamed: nobody reads half of it.
//! - Nothing is overwritten: a name that is taken in `done` or `failed` gets a number, one that is taken in `processing` waits.
//! - Only plain files are files. A directory, a named pipe, a socket or a symbolic link is never moved, opened or followed: a link may
//!   lead anywhere, and opening a pipe waits for ever.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::drop_watch::{Listed, Stamp};

/// Where a file may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Done,
    Failed,
}

impl End {
    fn folder(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// Something that is no plain file, named by its number: names of files are in no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Odd {
    /// `a directory`
    pub(super) kind: &'static str,
    /// `in the folder`, `in processing`
    pub(super) place: &'static str,
    pub(super) inode: u64,
}

/// What lies in the folder or in `processing`.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<Listed>,
    pub(super) odd: Vec<Odd>,
}

/// A claimed file that was read.
pub(super) enum Body {
    /// Every byte; it stood as the stamp says before the first and after the last.
    Whole(Vec<u8>, Stamp),
    /// Longer than the limit.
    TooLong(Stamp),
    /// Somebody wrote while it was read.
    Changing,
}

/// The folders that are made in the folder.
const FOLDERS: [&str; 3] = ["processing", "done", "failed"];

/// See the file.
#[derive(Debug)]
pub(super) struct Shelf {
    root: PathBuf,
    /// Tests end the process, as it were, at any step.
    #[cfg(test)]
    pub(super) steps_left: std::cell::Cell<usize>,
}

impl Shelf {
    /// Makes the three folders where they are missing.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder))?;
        }
        Ok(Self {
            root: root.to_owned(),
            #[cfg(test)]
            steps_left: std::cell::Cell::new(usize::MAX),
        })
    }

    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        match self.steps_left.get().checked_sub(1) {
            Some(left) => self.steps_left.set(left),
            None => return Err(io::Error::other("the process ended here")),
        }
        Ok(())
    }

    /// What lies in the folder itself; hidden things are not looked at.
    pub(super) fn incoming(&self) -> io::Result<Listing> {
        let mut listing = listed(&self.root, "in the folder", &FOLDERS)?;
        listing.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// What a run before this one had claimed and not finished, by name; hidden things are not looked at.
    pub(super) fn claimed(&self) -> io::Result<Listing> {
        let mut listing = listed(&self.root.join("processing"), "in processing", &[])?;
        listing.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// Takes a file out of the folder. False where it is not there (any more), or where its name is taken in `processing`: it waits.
    pub(super) fn claim(&self, name: &OsStr) -> io::Result<bool> {
        self.step()?;
        if fs::symlink_metadata(self.processing(name)).is_ok() {
            return Ok(false);
        }
        match fs::rename(self.root.join(name), self.processing(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn processing(&self, name: &OsStr) -> PathBuf {
        self.root.join("processing").join(name)
    }

    /// A claimed file, at most `limit` bytes.
    pub(super) fn read(&self, name: &OsStr, limit: usize) -> io::Result<Body> {
        let before = self.stamp(name)?;
        let mut file = fs::File::open(self.processing(name))?;
        let mut bytes = Vec::new();
        (&mut file).take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
        if limit < bytes.len() {
            return Ok(Body::TooLong(before));
        }
        let is_same = stamp(&file.metadata()?) == before && before.bytes == bytes.len() as u64;
        Ok(if is_same { Body::Whole(bytes, before) } else { Body::Changing })
    }

    /// How a claimed file stands now.
    pub(super) fn stamp(&self, name: &OsStr) -> io::Result<Stamp> {
        plain_stamp(&self.processing(name))
    }

    /// How a file stands now that ended under this name.
    pub(super) fn ended_stamp(&self, ended: &OsStr, end: End) -> io::Result<Stamp> {
        plain_stamp(&self.root.join(end.folder()).join(ended))
    }

    /// Takes back a file that ended, under the name that it had. False where that name is taken in `processing`: it waits.
    pub(super) fn take_back(&self, ended: &OsStr, end: End, name: &OsStr) -> io::Result<bool> {
        self.step()?;
        if fs::symlink_metadata(self.processing(name)).is_ok() {
            return Ok(false);
        }
        fs::rename(self.root.join(end.folder()).join(ended), self.processing(name))?;
        Ok(true)
    }

    /// Removes what was written beside the place where a file ended.
    pub(super) fn remove(&self, name: &OsStr, end: End) -> io::Result<()> {
        match fs::remove_file(self.root.join(end.folder()).join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where the list of those that ended lately is kept.
    pub(super) fn list_of_ended(&self) -> PathBuf {
        self.root.join("processing/.ended.jsonl")
    }

    /// The name under which a claimed file will end, so that what is written beside it can carry it.
    pub(super) fn free_name(&self, name: &OsStr, end: End) -> OsString {
        let folder = self.root.join(end.folder());
        let numbered = |number: usize| {
            let mut numbered = name.to_owned();
            if 1 < number {
                numbered.push(format!(".{number}"));
            }
            numbered
        };
        (1..).map(numbered).find(|candidate| !folder.join(candidate).exists()).unwrap_or_else(|| name.to_owned())
    }

    /// Writes something beside the place where a file will end.
    pub(super) fn put(&self, name: &OsStr, end: End, bytes: &[u8]) -> io::Result<()> {
        let folder = self.root.join(end.folder());
        let mut hidden = OsString::from(".");
        hidden.push(name);
        let hidden = folder.join(hidden);
        self.step()?;
        let mut file = fs::File::create(&hidden)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.step()?;
        fs::rename(hidden, folder.join(name))
    }

    /// Moves a claimed file to where it ends; this is the last step of it.
    pub(super) fn finish(&self, name: &OsStr, end: End, ended: &OsStr) -> io::Result<()> {
        self.step()?;
        let folder = self.root.join(end.folder());
        fs::rename(self.processing(name), folder.join(ended))?;
        // Renames survive a power cut when their folders were synced; where that cannot be done they are done again.
        let _synced = fs::File::open(&folder).and_then(|folder| folder.sync_all());
        Ok(())
    }

    /// Did a file of this name end so?
    pub(super) fn has_ended(&self, name: &OsStr, end: End) -> bool {
        self.root.join(end.folder()).join(name).exists()
    }
}

/// Plain files and the others. What goes while it is looked at is in neither.
fn listed(folder: &Path, place: &'static str, except: &[&str]) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || except.iter().any(|known| name == *known) {
            continue;
        }
        // Of a link this is the link itself.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            listing.files.push(Listed { name, stamp: stamp(&metadata) });
        } else {
            listing.odd.push(Odd { kind: kind(&metadata.file_type()), place, inode: metadata.ino() });
        }
    }
    listing.odd.sort();
    Ok(listing)
}

fn kind(of: &fs::FileType) -> &'static str {
    match of {
        of if of.is_dir() => "a directory",
        of if of.is_symlink() => "a symbolic link",
        of if of.is_fifo() => "a named pipe",
        of if of.is_socket() => "a socket",
        _ => "a device",
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Stamp { inode: metadata.ino(), bytes: metadata.len(), modified }
}

/// Of a plain file, not of what a link leads to.
fn plain_stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() { Ok(stamp(&metadata)) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
}
