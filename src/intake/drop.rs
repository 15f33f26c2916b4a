//! The drop folder: files that others put there go the way of every message, each once.
//!
//! # The way of a file
//!
//!     folder -> (it stands still) -> rename to processing/ -> each message an entry, under its place in the file
//!            -> answers beside it -> rename to done/   (what cannot be read: the reason beside it, rename to failed/)
//!
//! A writer may go on after the settle time: it has the file open, and a rename is nothing to it. So a file is looked at before its first
//! byte is read, after the last, before it ends, and for a while after that. One that changed stands still anew and is read again from its
//! start; what stands where it stood is known, and what is new is taken.
//!
//! # Invariants
//!
//! - A crash between any two steps leaves a file that is taken up again from its start, and every message an entry once: the ledger
//!   knows the places of a file ([`Place`]).
//! - Files of a folder are taken one after the other, the oldest first, and the messages of each in their order.
//! - A file that somebody writes, and a thing that is no file, keep no other file waiting.
//! - Nothing is lost: a file is in the folder, in `processing`, in `done` or in `failed`. While the ledger takes nothing, it waits.
//! - Reasons are fixed words and numbers; no file name reaches a log.
//!
//! # Not here
//!
//! When a file may be taken (`drop_watch`), moving (`shelf`), which ended lately (`drop_ended`), what a control file says (`control_file`).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::admission::Rules;
use super::batch::{BatchRules, settle_file};
use super::control_file::{Transfer, read_control};
use super::desk::Desk;
use super::drop_ended::{Ended, EndedLately, Named};
use super::drop_watch::{Offer, Stamp, Watch, ending, is_control, stem};
use super::events::{self, EventDecision, ExaminedEvent, Syntax, Wanted, examine_event};
use super::listener::IntakeError;
use super::refusal::{Refusal, Told};
use super::settings::{DropConfig, FhirRelease};
use super::shelf::{Body, End, Odd, Shelf};
use super::sources::{Dialect, Source, family};
use crate::fhir::Release;
use crate::journal::{FileMark, Journal, Place};
use crate::names::SourceName;
use crate::observe;

/// Bytes of a control file that are looked at.
const CONTROL_BYTES_MAX: usize = 256 * 1024;
/// After the ledger took nothing, or the folder could not be worked on, so long is waited.
const PAUSE: Duration = Duration::from_secs(5);

/// Things that are no files, as many as a note of readiness names.
const NAMED_MAX: usize = 5;

/// What is worth saying of a folder at readiness; empty where all is well.
pub(super) type FolderNote = Arc<ArcSwap<Option<String>>>;

/// One drop folder.
pub(super) struct DropFolder<J> {
    desk: Arc<Desk<J>>,
    config: DropConfig,
    source: SourceName,
    folder: PathBuf,
    note: FolderNote,
}

/// What is remembered between two looks at a folder.
struct Seen {
    incoming: Watch,
    claimed: Watch,
    ended: EndedLately,
    odd: BTreeSet<Odd>,
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// Every message is an entry. With the answers, and how many there were and were refused.
    Done { answer: Option<Vec<u8>>, messages: usize, refused: usize },
    /// None of it can be used; a person must look.
    Failed { reason: String, answer: Option<Vec<u8>> },
    /// The ledger takes nothing now.
    NotNow,
}

/// How a look at a claimed file ended.
enum Look {
    /// It was read, and stood as the stamp says all the while.
    Read { taken: Taken, mark: String, stamp: Stamp },
    /// Somebody writes in it: it stays where it is until it stands still.
    Growing,
}

/// How a file ends.
struct Ending<'a> {
    end: End,
    stamp: Stamp,
    answer: Option<&'a [u8]>,
    reason: Option<&'a str>,
}

impl Taken {
    fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), answer: None }
    }
}

impl<J: Journal> DropFolder<J> {
    /// Makes the folders and sees that the source is known.
    ///
    /// # Errors
    ///
    /// The folder cannot be made or written, or no source has the name.
    pub(super) fn open(config: &DropConfig, desk: &Arc<Desk<J>>) -> Result<Self, IntakeError> {
        let place = format!("[[intake.drop]] folder = \"{}\"", config.folder.display());
        let source = SourceName::new(&config.source);
        if desk.sources.load().named(&source).is_none() {
            return Err(IntakeError {
                what: format!("there is no source {source}"),
                place,
                remedy: "add a [[source]] with this name, or correct `source`".into(),
            });
        }
        Shelf::open(&config.folder).map_err(|error| IntakeError {
            what: format!("its folders cannot be made: {error}"),
            place,
            remedy: "make the folder and give it to the broker's user; under systemd name it in ReadWritePaths=".into(),
        })?;
        Ok(Self { desk: Arc::clone(desk), config: config.clone(), source, folder: config.folder.clone(), note: FolderNote::default() })
    }

    /// Where its note for readiness stands.
    pub(super) fn note(&self) -> FolderNote {
        Arc::clone(&self.note)
    }

    fn nothing_seen(&self, shelf: &Shelf) -> Seen {
        let settle = Duration::from_secs(self.config.settle_seconds);
        Seen {
            incoming: Watch::new(settle, self.config.control_files),
            claimed: Watch::new(settle, false),
            ended: EndedLately::read(shelf.list_of_ended(), (self.desk.clock.tick)()),
            odd: BTreeSet::new(),
        }
    }

    /// Takes files until the drain begins. Blocks; the one in hand is finished first.
    pub(super) fn keep(self, runtime: &Handle, drain: &CancellationToken) {
        let mut seen: Option<Seen> = None;
        let poll = Duration::from_secs(self.config.poll_seconds.max(1));
        while !drain.is_cancelled() {
            let wait = match self.turn(&mut seen, runtime, drain) {
                Ok(true) => poll,
                Ok(false) => PAUSE,
                Err(error) => {
                    observe::FolderTrouble { source: &self.source, folder: &self.folder, error: &error }.say();
                    PAUSE
                }
            };
            runtime.block_on(async {
                tokio::select! { () = tokio::time::sleep(wait) => {}, () = drain.cancelled() => {} }
            });
        }
    }

    /// Everything that is there now. False: the ledger takes nothing, so what is left waits.
    fn turn(&self, seen: &mut Option<Seen>, runtime: &Handle, drain: &CancellationToken) -> io::Result<bool> {
        let shelf = Shelf::open(&self.folder)?;
        let seen = seen.get_or_insert_with(|| self.nothing_seen(&shelf));
        self.turn_on(&shelf, seen, runtime, drain)
    }

    fn turn_on(&self, shelf: &Shelf, seen: &mut Seen, runtime: &Handle, drain: &CancellationToken) -> io::Result<bool> {
        self.take_back(shelf, &mut seen.ended)?;
        // What was claimed before comes first: it was older than anything that lies in the folder.
        let claimed = shelf.claimed()?;
        let mut odd: BTreeSet<Odd> = claimed.odd.iter().copied().collect();
        let names: Vec<OsString> = claimed.files.iter().map(|file| file.name.clone()).collect();
        let still = seen.claimed.look(claimed.files, (self.desk.clock.tick)());
        for offer in self.left_over(shelf, &names, still)? {
            if !self.take(shelf, &offer, &mut seen.ended, runtime)? {
                return Ok(false);
            }
        }
        let incoming = shelf.incoming()?;
        odd.extend(incoming.odd);
        self.tell_odd(&mut seen.odd, odd);
        let offers = seen.incoming.look(incoming.files, (self.desk.clock.tick)());
        observe::FilesWaiting { source: &self.source, files: seen.incoming.waiting() }.say();
        for offer in offers {
            if drain.is_cancelled() {
                return Ok(true);
            }
            if !shelf.claim(&offer.body)? {
                continue;
            }
            if let Some(control) = &offer.control {
                shelf.claim(control)?;
            }
            // It stood still where it lay; while it does, it need not prove that again.
            seen.claimed.know_still(&offer.body, offer.stamp);
            if !self.take(shelf, &offer, &mut seen.ended, runtime)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says once of each thing that it is no file, and notes for readiness what there is.
    fn tell_odd(&self, known: &mut BTreeSet<Odd>, odd: BTreeSet<Odd>) {
        for Odd { kind, place, inode } in odd.difference(known).copied() {
            observe::NoPlainFile { source: &self.source, folder: &self.folder, kind, place, inode }.say();
        }
        if *known != odd {
            self.note.store(Arc::new(note_of(&self.folder, &odd)));
        }
        *known = odd;
    }

    /// Files that ended and were written on after that go through `processing` again.
    fn take_back(&self, shelf: &Shelf, ended: &mut EndedLately) -> io::Result<()> {
        ended.look((self.desk.clock.tick)(), |one| {
            let (body, end) = (&one.body, one.end);
            match shelf.ended_stamp(&body.ended(), end) {
                Ok(stamp) if stamp == one.stamp => return Ok(false),
                Ok(_) => {}
                // Cleared away, or something else lies there now.
                Err(_) => return Ok(true),
            }
            if !shelf.take_back(&body.ended(), end, &body.name())? {
                return Ok(false);
            }
            observe::FileGrew { source: &self.source }.say();
            // What was said of it then is said anew.
            shelf.remove(&beside(&body.ended(), REASON), end)?;
            shelf.remove(&beside(&body.ended(), ANSWER), end)?;
            if let Some(control) = &one.control {
                // Where it is not there any more, the body says so in `failed`.
                let _taken = shelf.take_back(&control.ended(), end, &control.name());
            }
            Ok(true)
        })
    }

    /// Files in `processing` that stand still, with their control files put beside them again.
    fn left_over(&self, shelf: &Shelf, names: &[OsString], still: Vec<Offer>) -> io::Result<Vec<Offer>> {
        if !self.config.control_files {
            return Ok(still);
        }
        let mut offers = Vec::new();
        for offer in still.into_iter().filter(|offer| !is_control(&offer.body)) {
            let control = self.control_of(shelf, names, &offer.body)?;
            offers.push(Offer { control, ..offer });
        }
        for control in names.iter().filter(|name| is_control(name)) {
            if !names.iter().any(|name| !is_control(name) && stem(name) == stem(control)) {
                // Its body has ended already; only the last rename is missing.
                let end = if self.body_is_done(shelf, control) { End::Done } else { End::Failed };
                shelf.finish(control, end, &shelf.free_name(control, end))?;
            }
        }
        Ok(offers)
    }

    fn control_of(&self, shelf: &Shelf, claimed: &[OsString], body: &OsStr) -> io::Result<Option<OsString>> {
        let stem = stem(body);
        if let Some(control) = claimed.iter().find(|name| is_control(name) && self::stem(name) == stem) {
            return Ok(Some(control.clone()));
        }
        let incoming = shelf.incoming()?.files.into_iter().map(|file| file.name);
        let Some(control) = incoming.into_iter().find(|name| is_control(name) && self::stem(name) == stem) else { return Ok(None) };
        Ok(shelf.claim(&control)?.then_some(control))
    }

    fn body_is_done(&self, shelf: &Shelf, control: &OsStr) -> bool {
        ["dat", "xml", "json", "hl7", "txt"].iter().any(|ending| {
            let mut body = stem(control);
            body.push(".");
            body.push(ending);
            shelf.has_ended(&body, End::Done)
        })
    }

    /// Takes a claimed file to its end. False: the ledger takes nothing; the file stays claimed.
    fn take(&self, shelf: &Shelf, offer: &Offer, ended: &mut EndedLately, runtime: &Handle) -> io::Result<bool> {
        let look = match self.read(shelf, offer, runtime) {
            Ok(look) => look,
            // This one cannot be read; the others can.
            Err(error) => {
                observe::FolderTrouble { source: &self.source, folder: &self.folder, error: &error }.say();
                return Ok(true);
            }
        };
        let Look::Read { taken, mark, stamp } = look else {
            observe::FileGrew { source: &self.source }.say();
            return Ok(true);
        };
        match taken {
            Taken::NotNow => return Ok(false),
            Taken::Done { answer, messages, refused } => {
                self.end(shelf, offer, ended, Ending { end: End::Done, stamp, answer: answer.as_deref(), reason: None })?;
                observe::FileTaken { source: &self.source, mark: &mark, messages, refused }.say();
            }
            Taken::Failed { reason, answer } => {
                self.end(shelf, offer, ended, Ending { end: End::Failed, stamp, answer: answer.as_deref(), reason: Some(&reason) })?;
                observe::FileFailed { source: &self.source, mark: &mark, reason: &reason }.say();
            }
        }
        Ok(true)
    }

    /// Writes what belongs beside the file and moves it, its control file last.
    fn end(&self, shelf: &Shelf, offer: &Offer, lately: &mut EndedLately, ending: Ending<'_>) -> io::Result<()> {
        let Ending { end, stamp, answer, reason } = ending;
        let ended = shelf.free_name(&offer.body, end);
        let control = offer.control.as_ref().map(|control| (control, shelf.free_name(control, end)));
        if let Some(answer) = answer {
            shelf.put(&beside(&ended, ANSWER), end, answer)?;
        }
        if let Some(reason) = reason {
            shelf.put(&beside(&ended, REASON), end, format!("{reason}\n").as_bytes())?;
        }
        if let Some(body) = Named::of(&ended, &offer.body) {
            let control = control.as_ref().and_then(|(control, ended)| Named::of(ended, control));
            lately.note(Ended { end, body, control, stamp }, (self.desk.clock.tick)())?;
        }
        shelf.finish(&offer.body, end, &ended)?;
        if let Some((control, ended)) = control {
            shelf.finish(control, end, &ended)?;
        }
        Ok(())
    }

    /// Reads a claimed file and hands its messages over. With the beginning of its mark, for the log.
    fn read(&self, shelf: &Shelf, offer: &Offer, runtime: &Handle) -> io::Result<Look> {
        let unread = |taken, stamp| Ok(Look::Read { taken, mark: String::new(), stamp });
        if self.config.control_files {
            let Some(control) = &offer.control else {
                return unread(Taken::failed("there is no control file for it"), offer.stamp);
            };
            let bytes = match shelf.read(control, CONTROL_BYTES_MAX)? {
                Body::Whole(bytes, _) => bytes,
                Body::TooLong(_) => Vec::new(),
                Body::Changing => return Ok(Look::Growing),
            };
            if let Transfer::Failed(why) = read_control(&bytes) {
                return unread(Taken::failed(why), offer.stamp);
            }
        }
        let (body, stamp) = match shelf.read(&offer.body, self.config.file_bytes_max) {
            Ok(Body::Whole(body, stamp)) if stamp == offer.stamp => (body, stamp),
            Ok(Body::Whole(..) | Body::Changing) => return Ok(Look::Growing),
            Ok(Body::TooLong(stamp)) => {
                let limit = self.config.file_bytes_max;
                let reason = format!("longer than {limit} bytes (file_bytes_max); split it, or use `chis-broker import`");
                return unread(Taken::failed(reason), stamp);
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let reason = "the broker's user may not read it; correct its mode and put it into the folder again";
                return unread(Taken::failed(reason), offer.stamp);
            }
            Err(error) => return Err(error),
        };
        let mark = mark(&offer.body, &body);
        let shown = mark.0.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let taken = runtime.block_on(self.hand_over(&offer.body, Bytes::from(body), mark));
        // Entries have their places: what was taken now is known when the file is read again.
        if taken != Taken::NotNow && shelf.stamp(&offer.body)? != stamp {
            return Ok(Look::Growing);
        }
        Ok(Look::Read { taken, mark: shown, stamp })
    }

    async fn hand_over(&self, name: &OsStr, body: Bytes, mark: FileMark) -> Taken {
        let Some(source) = self.desk.sources.load().named(&self.source) else {
            return Taken::failed("its source is no longer configured");
        };
        if body.trim_ascii().is_empty() {
            return Taken::failed("empty");
        }
        match kind_of(name, &body, self.config.control_files) {
            Some(Kind::Hl7v2) => self.hand_over_hl7(source, body, (&begun(name), mark)).await,
            Some(Kind::Fhir(syntax)) => self.hand_over_event(source, syntax, body, mark).await,
            None => Taken::failed(
                "no format has this ending; .hl7 and .txt are HL7 v2, .xml and .json FHIR (.dat and .ctl: control_files = true)",
            ),
        }
    }

    async fn hand_over_hl7(&self, source: Arc<Source>, body: Bytes, (name, mark): (&Sha256, FileMark)) -> Taken {
        let rules = BatchRules {
            candidates: vec![source],
            processing_ids: self.config.processing_ids.clone(),
            message_bytes_max: self.config.message_bytes_max,
        };
        let settled = settle_file(&self.desk, body.clone(), &rules, name).await;
        if settled.told.is_empty() {
            return self.keep_unreadable(body, &rules, mark).await;
        }
        if settled.told.iter().any(|told| matches!(told, Told::NotKept(_))) {
            return Taken::NotNow;
        }
        let refusals: Vec<&Refusal> =
            settled.told.iter().filter_map(|told| if let Told::Refused(refusal) = told { Some(refusal) } else { None }).collect();
        let (messages, refused) = (settled.told.len(), refusals.len());
        match refusals.first() {
            Some(first) if refused == messages => Taken::Failed {
                reason: format!("none of its {messages} messages was taken; the first: {}", first.reason()),
                answer: settled.answer,
            },
            _ => Taken::Done { answer: settled.answer, messages, refused },
        }
    }

    /// No message in it: it is kept as it is, as any frame would be, and a person must look.
    async fn keep_unreadable(&self, body: Bytes, rules: &BatchRules, mark: FileMark) -> Taken {
        let looked_at = Rules {
            candidates: &rules.candidates,
            processing_ids: &rules.processing_ids,
            message_bytes_max: rules.message_bytes_max,
            limits: &self.desk.limits,
        };
        let received = self.desk.receive(body, &looked_at);
        match self.desk.settle(received, Some(Place { file: mark, number: 1 })).await.0 {
            Told::NotKept(_) => Taken::NotNow,
            Told::Refused(refusal) => Taken::failed(refusal.reason()),
            Told::Kept(_) | Told::NotFiledYet => Taken::failed("no message was found in it"),
        }
    }

    async fn hand_over_event(&self, source: Arc<Source>, syntax: Syntax, body: Bytes, mark: FileMark) -> Taken {
        let release = match self.config.fhir {
            FhirRelease::Stu3 => Release::Stu3,
            FhirRelease::R4 => Release::R4,
        };
        let (tick, arrived, bytes) = ((self.desk.clock.tick)(), (self.desk.clock.now)(), body.len());
        let looked = {
            let body = body.clone();
            let candidates = vec![Arc::clone(&source)];
            tokio::task::spawn_blocking(move || examine_file(&body, (syntax, release), &candidates)).await
        };
        let examined = looked.unwrap_or_else(|_| {
            observe::ReadingBroke { source: &self.source, bytes }.say();
            ExaminedEvent::broken(source)
        });
        let entry = examined.entry(events::format(release, syntax), body, arrived);
        let Ok(receipt) = self.desk.keep(entry, Some(Place { file: mark, number: 1 })).await else { return Taken::NotNow };
        let took = (self.desk.clock.tick)().duration_since(tick);
        let answered = observe::Answered { source: &self.source, family: family("", Dialect::Fhir), bytes, arrived, took };
        match &examined.decision {
            EventDecision::Refuse(fit) => {
                answered.say_refused(fit.problem.code);
                Taken::failed(fit.reason())
            }
            EventDecision::Accept | EventDecision::Ignore => {
                observe::Admitted { seq: receipt.seq(), source: &self.source, bytes, took }.say();
                answered.say_accepted();
                Taken::Done { answer: None, messages: 1, refused: 0 }
            }
        }
    }
}

/// A file does not come by a path that says what it holds: R4 has Bundles of resources beside messages.
fn examine_file(body: &[u8], form: (Syntax, Release), candidates: &[Arc<Source>]) -> ExaminedEvent {
    let as_message = examine_event(body, form, &Wanted::Message, candidates);
    if form.1 == Release::Stu3 || !matches!(as_message.decision, EventDecision::Refuse(_)) {
        return as_message;
    }
    let as_resources = examine_event(body, form, &Wanted::Resources, candidates);
    if matches!(as_resources.decision, EventDecision::Refuse(_)) { as_message } else { as_resources }
}

enum Kind {
    Hl7v2,
    Fhir(Syntax),
}

/// By the ending; a MESH body says nothing by its ending, so its first byte is asked.
fn kind_of(name: &OsStr, body: &[u8], control_files: bool) -> Option<Kind> {
    let plain = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    match ending(name).as_str() {
        "hl7" | "txt" => Some(Kind::Hl7v2),
        "xml" => Some(Kind::Fhir(Syntax::Xml)),
        "json" => Some(Kind::Fhir(Syntax::Json)),
        "dat" if control_files => match plain.first() {
            Some(b'<') => Some(Kind::Fhir(Syntax::Xml)),
            Some(b'{') => Some(Kind::Fhir(Syntax::Json)),
            _ => Some(Kind::Hl7v2),
        },
        _ => None,
    }
}

/// The answers to a file, written beside it.
const ANSWER: &str = ".ack.hl7";
/// What is written beside a file that failed.
const REASON: &str = ".reason.txt";

/// `a.hl7.reason.txt`
fn beside(ended: &OsStr, what: &str) -> OsString {
    let mut name = ended.to_owned();
    name.push(what);
    name
}

/// What readiness says of things that are no files.
fn note_of(folder: &std::path::Path, odd: &BTreeSet<Odd>) -> Option<String> {
    let named: Vec<String> =
        odd.iter().take(NAMED_MAX).map(|Odd { kind, place, inode }| format!("{kind} {place} (find -inum {inode})")).collect();
    let more = odd.len().saturating_sub(NAMED_MAX);
    let rest = if more == 0 { String::new() } else { format!(", and {more} more") };
    let text =
        || format!("in the drop folder {} are things that are no files and are left alone: {}{rest}", folder.display(), named.join(", "));
    (!odd.is_empty()).then(text)
}

/// Which file this is, by its name; the places of its messages begin with it.
fn begun(name: &OsStr) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(name.as_encoded_bytes());
    hash.update([0]);
    hash
}

/// Which file this is: its name and every byte of it.
fn mark(name: &OsStr, body: &[u8]) -> FileMark {
    let mut hash = begun(name);
    hash.update(body);
    FileMark(hash.finalize().into())
}

#[cfg(test)]
mod tests;
