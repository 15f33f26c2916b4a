//! Which files of a folder may be taken now. Pure: listings and a monotonic clock in, names out.
//!
//! # Invariants
//!
//! - A file is offered only after it stood unchanged, in size and modification time, for the whole settle time: nobody writes it any more.
//! - Hidden files and those that upload programs still write (`.part`, `.tmp`, …) are never offered.
//! - With control files a body is offered only together with its control file, both of them settled.
//!
//! # Not here
//!
//! Moving and reading: `drop`. The wall clock: a file server may have another one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Endings of files that are still being written.
const UNFINISHED: [&str; 7] = ["tmp", "part", "partial", "filepart", "crdownload", "writing", "swp"];

/// What changes when somebody writes on in a file, or puts another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) inode: u64,
    pub(super) bytes: u64,
    /// Since 1970, by the clock of whoever keeps the file.
    pub(super) modified: Option<Duration>,
}

/// A file as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: OsString,
    pub(super) stamp: Stamp,
}

/// A file to be taken, with its control file where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) body: OsString,
    /// The body as it stood still.
    pub(super) stamp: Stamp,
    pub(super) control: Option<OsString>,
}

/// What was seen of a folder so far.
#[derive(Debug)]
pub(super) struct Watch {
    settle: Duration,
    control_files: bool,
    /// Since when a file stands as it does; none: for long enough.
    seen: BTreeMap<OsString, (Stamp, Option<Instant>)>,
}

impl Watch {
    pub(super) fn new(settle: Duration, control_files: bool) -> Self {
        Self { settle, control_files, seen: BTreeMap::new() }
    }

    /// Files that are neither settled nor left alone, as of the last look.
    pub(super) fn waiting(&self) -> usize {
        self.seen.len()
    }

    /// A file that stood still already where it lay before.
    pub(super) fn know_still(&mut self, name: &OsStr, stamp: Stamp) {
        self.seen.insert(name.to_owned(), (stamp, None));
    }

    /// Looks at a listing; gives what may be taken, oldest first, names deciding between equals.
    pub(super) fn look(&mut self, listing: Vec<Listed>, now: Instant) -> Vec<Offer> {
        let listing: Vec<Listed> = listing.into_iter().filter(|file| !is_left_alone(&file.name)).collect();
        self.seen.retain(|name, _| listing.iter().any(|file| file.name == *name));
        let mut ready: Vec<&Listed> = Vec::new();
        for file in &listing {
            match self.seen.get(&file.name) {
                Some((known, since)) if *known == file.stamp => {
                    if since.is_none_or(|since| self.settle <= now.duration_since(since)) {
                        ready.push(file);
                    }
                }
                _ => {
                    self.seen.insert(file.name.clone(), (file.stamp, Some(now)));
                    if self.settle.is_zero() {
                        ready.push(file);
                    }
                }
            }
        }
        ready.sort_by(|a, b| (a.stamp.modified, &a.name).cmp(&(b.stamp.modified, &b.name)));
        if !self.control_files {
            return ready.into_iter().map(|file| Offer { body: file.name.clone(), stamp: file.stamp, control: None }).collect();
        }
        let controls: Vec<&OsString> = ready.iter().map(|file| &file.name).filter(|name| is_control(name)).collect();
        let bodies = ready.iter().filter(|file| !is_control(&file.name));
        let pairs = bodies.filter_map(|body| {
            let control = controls.iter().find(|control| stem(control) == stem(&body.name))?;
            Some(Offer { body: body.name.clone(), stamp: body.stamp, control: Some((*control).clone()) })
        });
        pairs.collect()
    }
}

/// Hidden, or still being written.
pub(super) fn is_left_alone(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b".") || bytes.ends_with(b"~") || UNFINISHED.contains(&ending(name).as_str())
}

/// `.ctl`
pub(super) fn is_control(name: &OsStr) -> bool {
    ending(name) == "ctl"
}

/// The ending, lower case, without its dot; empty where there is none.
pub(super) fn ending(name: &OsStr) -> String {
    Path::new(name).extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// The name without its ending.
pub(super) fn stem(name: &OsStr) -> OsString {
    Path::new(name).file_stem().map(OsStr::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Instant {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(crate::clock::tick);
        *START + Duration::from_secs(second)
    }

    /// `NAME:BYTES:MTIME`
    fn listing(files: &[&str]) -> Vec<Listed> {
        let listed = |text: &&str| {
            let parts: Vec<&str> = text.split(':').collect();
            let modified = Duration::from_secs(parts[2].parse().unwrap());
            Listed { name: parts[0].into(), stamp: Stamp { inode: 0, bytes: parts[1].parse().unwrap(), modified: Some(modified) } }
        };
        files.iter().map(listed).collect()
    }

    #[track_caller]
    fn check(watch: &mut Watch, second: u64, files: &[&str], expected: &[&str]) {
        let offers = watch.look(listing(files), at(second));
        let shown: Vec<String> = offers
            .iter()
            .map(|offer| match &offer.control {
                Some(control) => format!("{}+{}", offer.body.display(), control.display()),
                None => offer.body.display().to_string(),
            })
            .collect();
        assert_eq!(shown, expected, "second {second}");
    }

    #[test]
    fn a_file_is_offered_when_it_stood_still_for_the_settle_time_and_not_a_second_before() {
        let mut watch = Watch::new(Duration::from_secs(5), false);
        check(&mut watch, 0, &["a.hl7:10:0"], &[]);
        check(&mut watch, 3, &["a.hl7:20:0"], &[]);
        check(&mut watch, 7, &["a.hl7:20:0"], &[]);
        check(&mut watch, 8, &["a.hl7:20:0"], &["a.hl7"]);
        check(&mut watch, 9, &["a.hl7:20:9"], &[]);
        check(&mut watch, 14, &["a.hl7:20:9"], &["a.hl7"]);
    }

    #[test]
    fn a_file_that_went_and_came_again_begins_anew() {
        let mut watch = Watch::new(Duration::from_secs(2), false);
        check(&mut watch, 0, &["a.hl7:10:0"], &[]);
        check(&mut watch, 1, &[], &[]);
        check(&mut watch, 2, &["a.hl7:10:0"], &[]);
    }

    #[test]
    fn another_file_of_the_same_size_and_time_begins_anew_and_one_that_is_known_to_stand_still_does_not() {
        let mut watch = Watch::new(Duration::from_secs(5), false);
        let mut file = listing(&["a.hl7:10:0"]).remove(0);
        watch.know_still(&file.name, file.stamp);
        assert_eq!(watch.look(vec![file.clone()], at(0)).len(), 1);
        file.stamp.inode = 7;
        assert_eq!(watch.look(vec![file.clone()], at(1)).len(), 0);
        assert_eq!(watch.look(vec![file.clone()], at(5)).len(), 0);
        assert_eq!(watch.look(vec![file], at(6)).len(), 1);
    }

    #[test]
    fn the_oldest_is_first_and_what_is_being_written_is_left_alone() {
        let mut watch = Watch::new(Duration::ZERO, false);
        let files = ["b.hl7:1:5", "a.hl7:1:5", "z.xml:1:1", "c.hl7.part:1:0", ".hidden.hl7:1:0", "d.TMP:1:0", "e.hl7~:1:0"];
        check(&mut watch, 0, &files, &["z.xml", "a.hl7", "b.hl7"]);
        assert_eq!(watch.waiting(), 3);
    }

    #[test]
    fn a_body_waits_for_its_control_file_and_a_control_file_for_its_body() {
        let mut watch = Watch::new(Duration::from_secs(1), true);
        check(&mut watch, 0, &["1.dat:5:0", "2.ctl:5:0"], &[]);
        check(&mut watch, 9, &["1.dat:5:0", "2.ctl:5:0"], &[]);
        check(&mut watch, 10, &["1.dat:5:0", "2.ctl:5:0", "1.ctl:7:0"], &[]);
        check(&mut watch, 11, &["1.dat:5:0", "2.ctl:5:0", "1.ctl:7:0"], &["1.dat+1.ctl"]);
    }
}
