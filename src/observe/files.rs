//! What the folders say in which files come.
//!
//! # Not here
//!
//! The name of a file: senders put names and numbers of people into it. A file is told by its mark, the beginning of its hash.

use std::path::Path;

use metrics::{counter, gauge};

use crate::names::SourceName;

/// A file is done: every message of it is an entry.
pub struct FileTaken<'a> {
    /// Whose folder.
    pub source: &'a SourceName,
    /// Beginning of the file's hash.
    pub mark: &'a str,
    /// Messages in it.
    pub messages: usize,
    /// How many of them were refused; the answers beside the file say why.
    pub refused: usize,
}

impl FileTaken<'_> {
    /// Says it.
    pub fn say(self) {
        tracing::info!(source = %self.source, mark = self.mark, messages = self.messages, refused = self.refused, "file.taken");
        counter!("chis_drop_files_total", "source" => self.source.to_string(), "result" => "done").increment(1);
    }
}

/// A file lies in `failed`: a person should look.
pub struct FileFailed<'a> {
    /// Whose folder.
    pub source: &'a SourceName,
    /// Beginning of the file's hash; empty where it could not be read.
    pub mark: &'a str,
    /// Why, fixed words and numbers.
    pub reason: &'a str,
}

impl FileFailed<'_> {
    /// Says it.
    pub fn say(self) {
        tracing::warn!(source = %self.source, mark = self.mark, reason = self.reason, "file.failed");
        counter!("chis_drop_files_total", "source" => self.source.to_string(), "result" => "failed").increment(1);
    }
}

/// A folder could not be worked on; it is tried again.
pub struct FolderTrouble<'a> {
    /// Whose folder.
    pub source: &'a SourceName,
    /// The folder of the configuration.
    pub folder: &'a Path,
    /// What the system says.
    pub error: &'a std::io::Error,
}

impl FolderTrouble<'_> {
    /// Says it.
    pub fn say(self) {
        tracing::error!(source = %self.source, folder = %self.folder.display(), error = %self.error.kind(), "folder.trouble");
        counter!("chis_drop_trouble_total", "source" => self.source.to_string()).increment(1);
    }
}

/// A file was written on after it had stood still for the settle time; it is read again, and what is new in it is taken.
pub struct FileGrew<'a> {
    /// Whose file.
    pub source: &'a SourceName,
}

impl FileGrew<'_> {
    /// Says it.
    pub fn say(self) {
        tracing::warn!(source = %self.source, remedy = "let the sender write elsewhere and rename, or raise settle_seconds", "file.grew");
        counter!("chis_drop_grew_total", "source" => self.source.to_string()).increment(1);
    }
}

/// Something in a folder is no plain file; it is left alone.
pub struct NoPlainFile<'a> {
    /// Whose folder.
    pub source: &'a SourceName,
    /// The folder of the configuration.
    pub folder: &'a Path,
    /// `a directory`
    pub kind: &'static str,
    /// `in processing`
    pub place: &'static str,
    /// Its number, for `find -inum`: names are in no log.
    pub inode: u64,
}

impl NoPlainFile<'_> {
    /// Says it.
    pub fn say(self) {
        let Self { source, folder, kind, place, inode } = self;
        tracing::warn!(%source, folder = %folder.display(), kind, place, inode, "folder.no_plain_file");
        counter!("chis_drop_trouble_total", "source" => source.to_string()).increment(1);
    }
}

/// How many files wait in a folder.
pub struct FilesWaiting<'a> {
    /// Whose folder.
    pub source: &'a SourceName,
    /// Files that are neither done nor failed.
    pub files: usize,
}

impl FilesWaiting<'_> {
    /// Says it.
    pub fn say(self) {
        #[expect(clippy::cast_precision_loss, reason = "a number of files")]
        gauge!("chis_drop_files_waiting", "source" => self.source.to_string()).set(self.files as f64);
    }
}
