//! Files that ended lately: a writer may still have them open, and write on.
//!
//! # Invariants
//!
//! - A file is on the list before it is moved to where it ends, so that a process that ends between the two forgets none.
//! - The list has a bound in files and in time. It is a help, not a promise: what a sender should do stands in the manual.
//! - A line that cannot be read (a process ended while it was written) is passed over.
//!
//! # Not here
//!
//! Looking at the files, and taking them back: `drop`.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::drop_watch::Stamp;
use super::shelf::End;

/// Files that are remembered; of more the oldest are forgotten.
pub(super) const ENDED_MAX: usize = 1_024;
/// So long a file is looked at after it ended, or after the broker began.
pub(super) const LOOKED_AT: Duration = Duration::from_secs(3_600);

/// Under which name a file ended, and which it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) ended: String,
    pub(super) name: String,
}

impl Named {
    /// `None` for a name that is no Unicode; such a file is not remembered.
    pub(super) fn of(ended: &OsStr, name: &OsStr) -> Option<Self> {
        Some(Self { ended: ended.to_str()?.to_owned(), name: name.to_str()?.to_owned() })
    }

    pub(super) fn ended(&self) -> OsString {
        OsString::from(&self.ended)
    }

    pub(super) fn name(&self) -> OsString {
        OsString::from(&self.name)
    }
}

/// A file that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) body: Named,
    pub(super) control: Option<Named>,
    /// How it stood when it was read.
    pub(super) stamp: Stamp,
}

/// Those that ended lately, the oldest first, in memory and in a file.
#[derive(Debug)]
pub(super) struct EndedLately {
    kept_in: PathBuf,
    lately: VecDeque<(Ended, Instant)>,
    /// Lines of the file.
    lines: usize,
}

impl EndedLately {
    /// What a run before this one noted. A list that cannot be read is none.
    pub(super) fn read(kept_in: PathBuf, now: Instant) -> Self {
        let text = std::fs::read_to_string(&kept_in).unwrap_or_default();
        let mut ended = Self { kept_in, lately: VecDeque::new(), lines: text.lines().count() };
        for one in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            ended.remember(one, now);
        }
        ended
    }

    fn remember(&mut self, one: Ended, now: Instant) {
        self.lately.retain(|(known, _)| known.end != one.end || known.body.ended != one.body.ended);
        self.lately.push_back((one, now));
        while ENDED_MAX < self.lately.len() {
            self.lately.pop_front();
        }
    }

    /// Notes one that is about to end.
    ///
    /// # Errors
    ///
    /// The list cannot be written.
    pub(super) fn note(&mut self, one: Ended, now: Instant) -> std::io::Result<()> {
        let line = serde_json::to_string(&one)?;
        self.remember(one, now);
        if 2 * ENDED_MAX <= self.lines {
            let all: Vec<String> = self.lately.iter().map(|(one, _)| serde_json::to_string(one)).collect::<Result<_, _>>()?;
            std::fs::write(&self.kept_in, all.join("\n") + "\n")?;
            self.lines = all.len();
            return Ok(());
        }
        // Begun with a line end too: the last line may be half a one.
        let mut file = std::fs::File::options().create(true).append(true).open(&self.kept_in)?;
        file.write_all(format!("\n{line}\n").as_bytes())?;
        self.lines += 2;
        Ok(())
    }

    /// Those to be looked at now; `is_over` says which of them need not be looked at again.
    pub(super) fn look(&mut self, now: Instant, mut is_over: impl FnMut(&Ended) -> std::io::Result<bool>) -> std::io::Result<()> {
        let mut left = VecDeque::new();
        let mut failed = Ok(());
        for (one, since) in self.lately.drain(..) {
            if LOOKED_AT <= now.duration_since(since) {
                continue;
            }
            match failed.is_ok().then(|| is_over(&one)) {
                Some(Ok(true)) => continue,
                Some(Err(error)) => failed = Err(error),
                Some(Ok(false)) | None => {}
            }
            left.push_back((one, since));
        }
        self.lately = left;
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Instant {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(crate::clock::tick);
        *START + Duration::from_secs(second)
    }

    fn ended(name: &str) -> Ended {
        let named = Named { ended: name.to_owned(), name: name.to_owned() };
        Ended { end: End::Done, body: named, control: None, stamp: Stamp { inode: 1, bytes: 2, modified: None } }
    }

    fn names(list: &mut EndedLately, second: u64) -> Vec<String> {
        let mut names = Vec::new();
        list.look(at(second), |one| {
            names.push(one.body.ended.clone());
            Ok(false)
        })
        .unwrap();
        names
    }

    #[test]
    fn a_list_is_there_again_after_the_process_ended_and_a_line_that_was_cut_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        let mut list = EndedLately::read(file.clone(), at(0));
        list.note(ended("a"), at(0)).unwrap();
        let whole = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{whole}{}", &whole[..20])).unwrap();
        let mut again = EndedLately::read(file.clone(), at(0));
        again.note(ended("b"), at(0)).unwrap();
        assert_eq!(names(&mut EndedLately::read(file, at(0)), 0), ["a", "b"]);
    }

    #[test]
    fn a_file_is_looked_at_for_an_hour_and_the_oldest_of_too_many_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut list = EndedLately::read(folder.path().join("list"), at(0));
        list.note(ended("old"), at(0)).unwrap();
        assert_eq!(names(&mut list, 3_599), ["old"]);
        assert_eq!(names(&mut list, 3_600), [""; 0]);
        for number in 0..=ENDED_MAX * 2 {
            list.note(ended(&number.to_string()), at(4_000)).unwrap();
        }
        let kept = names(&mut list, 4_000);
        assert_eq!((kept.len(), kept[0].as_str()), (ENDED_MAX, (ENDED_MAX + 1).to_string().as_str()));
        let text = std::fs::read_to_string(folder.path().join("list")).unwrap();
        assert!(text.lines().count() <= 2 * ENDED_MAX + 2, "the file does not grow for ever: {}", text.lines().count());
        assert_eq!(names(&mut EndedLately::read(folder.path().join("list"), at(0)), 0), kept);
    }
}
