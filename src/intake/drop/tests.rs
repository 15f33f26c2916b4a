//! Files in a folder, and a process that ends at any step.

use std::fs;
use std::io::Write;
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

/// What is kept with its place, how many more are taken (none: all), and who writes on in a file when the next one is kept.
type Inside = (Vec<(Entry, Option<Place>)>, Option<usize>, Option<(fs::File, String)>);

impl Journal for Kept {
    async fn append(&self, entry: Entry) -> Result<Receipt, JournalError> {
        let mut kept = self.0.lock().unwrap();
        kept.0.push((entry, None));
        Ok(Receipt::after_commit(Seq(kept.0.len() as i64), None))
    }
    async fn append_placed(&self, entry: Entry, place: Place) -> Result<Receipt, JournalError> {
        let mut kept = self.0.lock().unwrap();
        if let Some((mut file, text)) = kept.2.take() {
            file.write_all(text.as_bytes()).unwrap();
        }
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
    let shelf = Shelf::open(&folder.folder).unwrap();
    let mut seen = folder.nothing_seen(&shelf);
    shelf.steps_left.set(steps);
    folder.turn_on(&shelf, &mut seen, runtime.handle(), &CancellationToken::new())
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
            found.retain(|name| name != "processing/.ended.jsonl");
        }
    }
    found.sort();
    found
}

/// A file with this text, and its writer, who has it open and may go on wherever the file is moved to.
fn opened(root: &Path, name: &str, text: &str) -> fs::File {
    let mut file = fs::File::create(root.join(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
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

#[test]
fn what_a_writer_adds_while_its_file_is_taken_or_after_it_was_is_taken_too_and_nothing_comes_twice() {
    let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
    let folder = folder(root.path(), &journal, "");
    let file = opened(root.path(), "a.hl7", &message("1"));
    let mut later = file.try_clone().unwrap();
    journal.0.lock().unwrap().2 = Some((file, message("2")));
    assert!(turn(&folder, &runtime, usize::MAX).unwrap());
    assert_eq!(files(root.path()), ["processing/a.hl7"], "it grew while its first message was kept");
    assert!(turn(&folder, &runtime, usize::MAX).unwrap());
    assert_eq!(files(root.path()), ["done/a.hl7", "done/a.hl7.ack.hl7"]);
    later.write_all(message("3").as_bytes()).unwrap();
    assert!(turn(&folder, &runtime, usize::MAX).unwrap());
    assert_eq!(journal.shown(), ["1 accepted", "2 accepted", "3 accepted"]);
    assert_eq!(files(root.path()), ["done/a.hl7", "done/a.hl7.ack.hl7"]);
    let answers = fs::read_to_string(root.path().join("done/a.hl7.ack.hl7")).unwrap();
    assert_eq!(answers.matches("MSA|AA|").count(), 3, "{answers}");
}

#[test]
fn wherever_a_writer_pauses_every_whole_message_is_an_entry_once_when_it_has_ended() {
    let bodies = [message("1"), message("2"), message("3")];
    let whole = format!("FHS|^~\\&|PAS|RJ1\rBHS|^~\\&|PAS|RJ1\r{}BTS|3\rFTS|1\r", bodies.concat());
    for cut in 0..=whole.len() {
        let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
        let folder = folder(root.path(), &journal, "");
        let mut file = opened(root.path(), "a.hl7", &whole[..cut]);
        turn(&folder, &runtime, usize::MAX).unwrap();
        file.write_all(&whole.as_bytes()[cut..]).unwrap();
        turn(&folder, &runtime, usize::MAX).unwrap();
        let kept: Vec<String> =
            journal.0.lock().unwrap().0.iter().map(|(entry, _)| String::from_utf8_lossy(entry.body.trim_ascii()).into_owned()).collect();
        for body in &bodies {
            assert_eq!(kept.iter().filter(|one| *one == body.trim()).count(), 1, "cut at {cut}: {kept:#?}");
        }
        assert!(kept.len() <= 4, "cut at {cut}, one message may have come in half too: {kept:#?}");
        assert_eq!(files(root.path()), ["done/a.hl7", "done/a.hl7.ack.hl7"], "cut at {cut}");
    }
}

#[test]
fn half_an_event_fails_and_goes_the_way_of_every_file_when_its_rest_has_come() {
    let event = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/09-spine-birth-with-mother.xml")).unwrap();
    let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
    let folder = folder(root.path(), &journal, "");
    let (half, rest) = event.split_at(event.len() / 2);
    let mut file = opened(root.path(), "a.xml", half);
    turn(&folder, &runtime, usize::MAX).unwrap();
    assert_eq!(files(root.path()), ["failed/a.xml", "failed/a.xml.reason.txt"]);
    file.write_all(rest.as_bytes()).unwrap();
    turn(&folder, &runtime, usize::MAX).unwrap();
    assert_eq!(files(root.path()), ["done/a.xml"]);
    assert_eq!(journal.shown().iter().filter(|one| one.ends_with("accepted")).count(), 1, "{:?}", journal.shown());
}

#[test]
fn a_process_that_ends_at_any_step_while_a_writer_goes_on_loses_and_doubles_nothing() {
    let mut ended_early = 0;
    for steps in 0..30 {
        let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
        let folder = folder(root.path(), &journal, "");
        let mut file = opened(root.path(), "a.hl7", &message("1"));
        ended_early += usize::from(turn(&folder, &runtime, steps % 15).is_err());
        file.write_all(message("2").as_bytes()).unwrap();
        // The second half of the steps ends while the file is taken back.
        ended_early += usize::from(turn(&folder, &runtime, if steps < 15 { usize::MAX } else { steps - 15 }).is_err());
        for _ in 0..2 {
            assert!(turn(&folder, &runtime, usize::MAX).unwrap(), "step {steps}");
        }
        assert_eq!(journal.shown(), ["1 accepted", "2 accepted"], "step {steps}");
        let left: Vec<String> = files(root.path()).into_iter().filter(|file| !file.contains("/.")).collect();
        assert_eq!(left, ["done/a.hl7", "done/a.hl7.ack.hl7"], "step {steps}");
    }
    assert!(10 < ended_early, "{ended_early}");
}

#[test]
fn a_file_that_somebody_writes_keeps_no_other_waiting_and_its_name_is_not_taken_by_another() {
    let (root, journal, runtime) = (tempfile::tempdir().unwrap(), Kept::default(), runtime());
    let folder = folder(root.path(), &journal, "");
    let shelf = Shelf::open(root.path()).unwrap();
    let mut seen = folder.nothing_seen(&shelf);
    let stop = CancellationToken::new();
    let file = opened(root.path(), "a.hl7", &message("1"));
    fs::write(root.path().join("b.hl7"), message("3")).unwrap();
    journal.0.lock().unwrap().2 = Some((file, message("2")));
    folder.turn_on(&shelf, &mut seen, runtime.handle(), &stop).unwrap();
    assert_eq!(journal.shown(), ["1 accepted", "3 accepted"]);
    fs::write(root.path().join("a.hl7"), message("4")).unwrap();
    assert!(!shelf.claim(OsStr::new("a.hl7")).unwrap(), "another file of the name waits in the folder");
    for _ in 0..2 {
        folder.turn_on(&shelf, &mut seen, runtime.handle(), &stop).unwrap();
    }
    assert_eq!(journal.shown(), ["1 accepted", "3 accepted", "2 accepted", "4 accepted"]);
}

#[test]
fn what_is_no_file_stops_nothing_is_noted_and_is_neither_followed_nor_moved() {
    let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (journal, runtime) = (Kept::default(), runtime());
    let folder = folder(root.path(), &journal, "");
    let secret = elsewhere.path().join("secret.hl7");
    fs::write(&secret, message("9")).unwrap();
    let mut odd = Vec::new();
    for place in ["", "processing"] {
        let at = |name: &str| root.path().join(place).join(name);
        fs::create_dir(at("dir.hl7")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe.hl7")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket.hl7")).unwrap();
        std::os::unix::fs::symlink(&secret, at("link.hl7")).unwrap();
        odd.extend(["dir.hl7", "pipe.hl7", "socket.hl7", "link.hl7"].map(at));
    }
    // A file whose name a directory has in `processing`.
    fs::create_dir(root.path().join("processing/b.hl7")).unwrap();
    fs::write(root.path().join("b.hl7"), message("2")).unwrap();
    fs::write(root.path().join("c.hl7"), message("3")).unwrap();
    for _ in 0..2 {
        assert!(turn(&folder, &runtime, usize::MAX).unwrap());
    }
    assert_eq!(journal.shown(), ["3 accepted"]);
    assert!(odd.iter().all(|path| fs::symlink_metadata(path).is_ok()), "all are where they were");
    let note = folder.note.load().as_ref().clone().unwrap();
    assert!(note.contains("a directory in processing (find -inum ") && note.contains("and 4 more"), "{note}");
    assert!(!note.contains(".hl7"), "names of files are said nowhere: {note}");

    fs::remove_dir(root.path().join("processing/b.hl7")).unwrap();
    for path in &odd {
        fs::remove_file(path).or_else(|_| fs::remove_dir(path)).unwrap();
    }
    turn(&folder, &runtime, usize::MAX).unwrap();
    assert_eq!(journal.shown(), ["3 accepted", "2 accepted"]);
}
