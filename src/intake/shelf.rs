//! A drop folder on disk: incoming, `processing`, `done`, `failed`. Moves are renames within one file system.
//!
//! # Invariants
//!
//! - A file is in exactly one of the four places; it moves by one rename.
//! - What we write beside a file is written under a hidden name, synced, and renamed: nobody reads half of it.
//! - Nothing is overwritten: a name that is taken in `done` or `failed` gets a number.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::drop_watch::Listed;

/// Where a file may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        for folder in ["processing", "done", "failed"] {
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

    /// The plain files that lie in the folder itself.
    pub(super) fn incoming(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            // It may have gone meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                let modified = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
                listed.push(Listed { name: entry.file_name(), bytes: metadata.len(), modified });
            }
        }
        Ok(listed)
    }

    /// What a run before this one had claimed and not finished, by name.
    pub(super) fn claimed(&self) -> io::Result<Vec<OsString>> {
        let mut names: Vec<OsString> =
            fs::read_dir(self.root.join("processing"))?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort();
        Ok(names)
    }

    /// Takes a file out of the folder. False where it is not there (any more).
    pub(super) fn claim(&self, name: &OsStr) -> io::Result<bool> {
        self.step()?;
        match fs::rename(self.root.join(name), self.processing(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn processing(&self, name: &OsStr) -> PathBuf {
        self.root.join("processing").join(name)
    }

    /// A claimed file, at most `limit` bytes; `None` for one that is longer.
    pub(super) fn read(&self, name: &OsStr, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = fs::File::open(self.processing(name))?;
        let mut bytes = Vec::new();
        file.take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
        Ok((bytes.len() <= limit).then_some(bytes))
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

    /// Is a file of this name in the folder itself?
    pub(super) fn is_incoming(&self, name: &OsStr) -> bool {
        self.root.join(name).is_file()
    }

    /// Did a file of this name end so?
    pub(super) fn has_ended(&self, name: &OsStr, end: End) -> bool {
        self.root.join(end.folder()).join(name).exists()
    }
}
