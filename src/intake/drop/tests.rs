//! Files in a folder, and a process that ends at any step.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use tokio::time::Instant;

use super::super::desk::{Clock, Patience};
use super::super::settings::Config;
use super::super::sources::Sources;
use super::*;
use crate::intake::SourceConfig;
use crate::journal::{Admission, Entry, JournalError, Receipt, Standing};
use crate::names::Seq;

/// Keeps in memory, as a ledger on disk would over the end of a process; takes so many appends and is full then.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Inside>>);

/// What is kept with its place, and how many more are taken; none: all.
type Inside = (Vec<(Entry, Option<Place>)>, Option<usize>);

impl Journal for Kept {
    async fn append(&self, entry: Entry) -> Result<Receipt, JournalError> {
        let mut kept = self.0.lock().unwrap();
        kept.0.push((entry, None));
        Ok(Receipt::after_commit(Seq(kept.0.len() as i64), None))
    }
    async fn append_placed(&self, entry: Entry, place: Place) -> Result<Receipt, JournalError> {
        let mut kept = self.0.lock().unwrap();
        if let Some(at) = kept.0.iter().position(|(_, known)| *known == Some(place)) {
            return Ok(Receipt::after_commit(Seq(at as i64 + 1), None));
        }
        match &mut kept.1 {
            Some(0) => return Err(JournalError::Full),
            Some(room) => *room -= 1,
            None => {}
        }
        kept.0.push((entry, Some(place)));
        Ok(Receipt::after_commit(Seq(kept.0.len() as i64), None))
    }
    async fn outcome(&self, _seq: Seq, _patience: Duration) -> Standing {
        Standing::Filed
    }
}

impl Kept {
    /// `CONTROL-ID accepted` of all that is kept, in order.
    fn shown(&self) -> Vec<String> {
        let show = |(entry, _): &(Entry, Option<Place>)| match &entry.admission {
            Admission::Accepted => format!("{} accepted", entry.control_id),
            Admission::Refused(why) => format!("{} refused {}", entry.control_id, why.split(' ').take(2).collect::<Vec<_>>().join(" ")),
            Admission::Ignored(_) => format!("{} ignored", entry.control_id),
        };
        self.0.lock().unwrap().0.iter().map(show).collect()
    }
}

fn message(control_id: &str) -> String {
    let nhs = "9990000018";
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|20260105101500||ADT^A28^ADT_A05|{control_id}|P|2.4\rEVN||20260105101500\rPID|1||{nhs}^^^NHS^NH\r"
    )
}

fn now() -> jiff::Timestamp {
    "2026-01-05T09:30:00Z".parse().unwrap()
}

fn folder(root: &Path, journal: &Kept, extra: &str) -> DropFolder<Kept> {
    let config: DropConfig =
        toml::from_str(&format!("folder = {:?}\nsource = \"mesh\"\nsettle_seconds = 0\n{extra}", root.display().to_string())).unwrap();
    let source: SourceConfig = toml::from_str("name = \"mesh\"").unwrap();
    // The runtime's clock: the broker's own is nothing that intake may import.
    let clock = Clock { now, tick: || Instant::now().into_std() };
    let sources = Sources::compile(&[source]).unwrap();
    let desk = Arc::new(Desk::new(&Config::default(), sources, journal.clone(), clock, Patience::default()));
    DropFolder::open(&config, &desk).unwrap()
}

/// One look at the folder by a process that ends after so many steps on disk.
fn turn(folder: &DropFolder<Kept>, runtime: &tokio::runtime::Runtime, steps: usize) -> io::Result<bool> {
    let mut watch = Watch::new(Duration::ZERO, folder.config.control_files);
    let shelf = Shelf::open(&folder.folder).unwrap();
    shelf.steps_left.set(steps);
    folder.turn_on(&shelf, &mut watch, runtime.handle(), &CancellationToken::new())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Every plain file below the folder, `done/a.hl7`.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for below in ["", "processing", "done", "failed"] {
        for entry in fs::read_dir(root.join(below)).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            found.push(Path::new(below).join(entry.file_name()).display().to_string());
        }
    }
    found.sort();
    found
}

#[track_caller]
fn check(name: &str, body: &str, extra: &str, entries: &[&str], ends: &[&str]) -> (tempfile::TempDir, Kept) {
    let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
    let folder = folder(root.path(), &journal, extra);
    fs::write(root.path().join(name), body).unwrap();
    assert!(turn(&folder, &runtime, usize::MAX).unwrap());
    assert_eq!(journal.shown(), entries, "{name}");
    assert_eq!(files(root.path()), ends, "{name}");
    (root, journal)
}

#[test]
fn a_file_ends_in_done_with_its_answers_or_in_failed_with_a_reason() {
    check("a.hl7", &message("1"), "", &["1 accepted"], &["done/a.hl7", "done/a.hl7.ack.hl7"]);
    let (root, _) = check("a.hl7", "not a message", "", &[" refused AR 100"], &["failed/a.hl7", "failed/a.hl7.reason.txt"]);
    let reason = fs::read_to_string(root.path().join("failed/a.hl7.reason.txt")).unwrap();
    assert!(reason.starts_with("AR 100 ") && !reason.contains("not a message"), "{reason}");
    check("a.txt", "", "", &[], &["failed/a.txt", "failed/a.txt.reason.txt"]);
    check("a.pdf", "%PDF", "", &[], &["failed/a.pdf", "failed/a.pdf.reason.txt"]);
    check("a.hl7.part", &message("1"), "", &[], &["a.hl7.part"]);
    check("a.hl7", &message("1"), "file_bytes_max = 10", &[], &["failed/a.hl7", "failed/a.hl7.reason.txt"]);
    check("a.json", "{}", "", &[" refused 422 the"], &["failed/a.json", "failed/a.json.reason.txt"]);
}

#[test]
fn a_refused_message_of_a_batch_is_in_the_answers_and_in_the_journal_and_the_others_are_taken() {
    let batch = format!(
        "FHS|^~\\&|PAS|RJ1|||||||F1\rBHS|^~\\&|PAS|RJ1|||||||B1\r{}{}{}BTS|4\rFTS|1\r",
        message("1"),
        message("2").replace("|P|2.4", "|T|2.4"),
        message("3")
    );
    let (root, _) =
        check("night.hl7", &batch, "", &["1 accepted", "2 refused AR 202", "3 accepted"], &["done/night.hl7", "done/night.hl7.ack.hl7"]);
    let answers = fs::read_to_string(root.path().join("done/night.hl7.ack.hl7")).unwrap();
    let codes: Vec<&str> = answers.split('\r').filter_map(|segment| segment.strip_prefix("MSA|")).map(|msa| &msa[..4]).collect();
    assert_eq!(codes, ["AA|1", "AR|2", "AA|3"]);
    assert!(answers.contains("AE count_mismatch") && answers.contains("|B1\r"), "{answers}");
}

#[test]
fn the_same_file_again_is_not_taken_twice_and_the_first_is_not_overwritten() {
    let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
    let folder = folder(root.path(), &journal, "");
    for _ in 0..2 {
        fs::write(root.path().join("a.hl7"), message("1")).unwrap();
        turn(&folder, &runtime, usize::MAX).unwrap();
    }
    assert_eq!(journal.shown(), ["1 accepted"]);
    assert_eq!(files(root.path()), ["done/a.hl7", "done/a.hl7.2", "done/a.hl7.2.ack.hl7", "done/a.hl7.ack.hl7"]);
    fs::write(root.path().join("a.hl7"), message("2")).unwrap();
    turn(&folder, &runtime, usize::MAX).unwrap();
    assert_eq!(journal.shown(), ["1 accepted", "2 accepted"], "another content under the same name is another file");
}

#[test]
fn a_process_that_ends_at_any_step_leaves_every_message_an_entry_once_and_every_file_at_its_end() {
    let body = format!("{}{}{}", message("1"), message("2"), message("3"));
    let control = "<DTSControl><StatusRecord><Status>SUCCESS</Status><StatusCode>00</StatusCode></StatusRecord></DTSControl>";
    let mut ended_early = 0;
    for steps in 0..40 {
        let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
        let folder = folder(root.path(), &journal, "control_files = true");
        fs::write(root.path().join("a.dat"), &body).unwrap();
        fs::write(root.path().join("a.ctl"), control).unwrap();
        fs::write(root.path().join("b.dat"), "unreadable").unwrap();
        fs::write(root.path().join("b.ctl"), control).unwrap();
        ended_early += usize::from(turn(&folder, &runtime, steps).is_err());
        for _ in 0..2 {
            assert!(turn(&folder, &runtime, usize::MAX).unwrap(), "step {steps}");
        }
        let mut shown = journal.shown();
        shown.sort();
        assert_eq!(shown, [" refused AR 100", "1 accepted", "2 accepted", "3 accepted"], "step {steps}");
        let left: Vec<String> = files(root.path()).into_iter().filter(|file| !file.contains("/.")).collect();
        let expected = ["done/a.ctl", "done/a.dat", "done/a.dat.ack.hl7", "failed/b.ctl", "failed/b.dat", "failed/b.dat.reason.txt"];
        assert_eq!(left, expected, "step {steps}");
    }
    assert!(10 < ended_early, "the process ended early {ended_early} times: there are more steps than that");
}

#[test]
fn while_the_ledger_is_full_a_file_waits_and_goes_on_where_it_stood() {
    let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
    let folder = folder(root.path(), &journal, "");
    fs::write(root.path().join("a.hl7"), format!("{}{}{}", message("1"), message("2"), message("3"))).unwrap();
    journal.0.lock().unwrap().1 = Some(2);
    assert!(!turn(&folder, &runtime, usize::MAX).unwrap());
    assert_eq!(
        (journal.shown(), files(root.path())),
        (vec!["1 accepted".into(), "2 accepted".into()], vec!["processing/a.hl7".to_owned()])
    );
    journal.0.lock().unwrap().1 = None;
    assert!(turn(&folder, &runtime, usize::MAX).unwrap());
    assert_eq!(journal.shown(), ["1 accepted", "2 accepted", "3 accepted"]);
}

#[test]
fn a_mesh_body_without_its_control_file_waits_and_one_whose_transfer_failed_is_for_a_person() {
    let control_files = "control_files = true";
    check("a.dat", &message("1"), control_files, &[], &["a.dat"]);
    check("a.ctl", "<DTSControl></DTSControl>", control_files, &[], &["a.ctl"]);
    let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
    let folder = folder(root.path(), &journal, control_files);
    fs::write(root.path().join("a.dat"), message("1")).unwrap();
    fs::write(
        root.path().join("a.ctl"),
        "<DTSControl><Subject>EXAMPLE</Subject><StatusRecord><Status>ERROR</Status><StatusCode>14</StatusCode></StatusRecord></DTSControl>",
    )
    .unwrap();
    turn(&folder, &runtime, usize::MAX).unwrap();
    assert_eq!(journal.shown(), [""; 0]);
    assert_eq!(files(root.path()), ["failed/a.ctl", "failed/a.dat", "failed/a.dat.reason.txt"]);
    let reason = fs::read_to_string(root.path().join("failed/a.dat.reason.txt")).unwrap();
    assert_eq!(reason, "the control file does not say success (status code 14)\n");
}
