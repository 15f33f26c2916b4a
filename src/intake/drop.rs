//! The drop folder: files that others put there go the way of every message, each once.
//!
//! # The way of a file
//!
//!     folder -> (it stands still) -> rename to processing/ -> each message an entry, under the file's mark and its number
//!            -> answers beside it -> rename to done/   (what cannot be read: the reason beside it, rename to failed/)
//!
//! # Invariants
//!
//! - A crash between any two steps leaves a file that is taken up again from its start, and every message an entry once: the ledger
//!   knows the places of a file ([`Place`]).
//! - Files of a folder are taken one after the other, the oldest first, and the messages of each in their order.
//! - Nothing is lost: a file is in the folder, in `processing`, in `done` or in `failed`. While the ledger takes nothing, it waits.
//! - Reasons are fixed words and numbers; no file name reaches a log.
//!
//! # Not here
//!
//! When a file may be taken (`drop_watch`), moving (`shelf`), what a control file says (`control_file`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::admission::Rules;
use super::batch::{BatchRules, settle_file};
use super::control_file::{Transfer, read_control};
use super::desk::Desk;
use super::drop_watch::{Offer, Watch, ending, is_control, stem};
use super::events::{self, EventDecision, ExaminedEvent, Syntax, Wanted, examine_event};
use super::listener::IntakeError;
use super::refusal::{Refusal, Told};
use super::settings::{DropConfig, FhirRelease};
use super::shelf::{End, Shelf};
use super::sources::{Dialect, Source, family};
use crate::fhir::Release;
use crate::journal::{FileMark, Journal, Place};
use crate::names::SourceName;
use crate::observe;

/// Bytes of a control file that are looked at.
const CONTROL_BYTES_MAX: usize = 256 * 1024;
/// After the ledger took nothing, or the folder could not be worked on, so long is waited.
const PAUSE: Duration = Duration::from_secs(5);

/// One drop folder.
pub(super) struct DropFolder<J> {
    desk: Arc<Desk<J>>,
    config: DropConfig,
    source: SourceName,
    folder: PathBuf,
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
        Ok(Self { desk: Arc::clone(desk), config: config.clone(), source, folder: config.folder.clone() })
    }

    /// Takes files until the drain begins. Blocks; the one in hand is finished first.
    pub(super) fn keep(self, runtime: &Handle, drain: &CancellationToken) {
        let mut watch = Watch::new(Duration::from_secs(self.config.settle_seconds), self.config.control_files);
        let poll = Duration::from_secs(self.config.poll_seconds.max(1));
        while !drain.is_cancelled() {
            let wait = match self.turn(&mut watch, runtime, drain) {
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
    fn turn(&self, watch: &mut Watch, runtime: &Handle, drain: &CancellationToken) -> io::Result<bool> {
        let shelf = Shelf::open(&self.folder)?;
        self.turn_on(&shelf, watch, runtime, drain)
    }

    fn turn_on(&self, shelf: &Shelf, watch: &mut Watch, runtime: &Handle, drain: &CancellationToken) -> io::Result<bool> {
        // What was claimed before comes first: it was older than anything that lies in the folder.
        for offer in self.left_over(shelf)? {
            if !self.take(shelf, &offer, runtime)? {
                return Ok(false);
            }
        }
        let offers = watch.look(shelf.incoming()?, (self.desk.clock.tick)());
        observe::FilesWaiting { source: &self.source, files: watch.waiting() }.say();
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
            if !self.take(shelf, &offer, runtime)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Files in `processing`, with their control files put beside them again.
    fn left_over(&self, shelf: &Shelf) -> io::Result<Vec<Offer>> {
        let names = shelf.claimed()?;
        let mut offers = Vec::new();
        for body in names.iter().filter(|name| !self.config.control_files || !is_control(name)) {
            let control = self.config.control_files.then(|| self.control_of(shelf, &names, body)).transpose()?.flatten();
            offers.push(Offer { body: body.clone(), control });
        }
        if self.config.control_files {
            for control in names.iter().filter(|name| is_control(name)) {
                if !offers.iter().any(|offer| offer.control.as_ref() == Some(control)) {
                    // Its body has ended already; only the last rename is missing.
                    let end = if self.body_is_done(shelf, control) { End::Done } else { End::Failed };
                    shelf.finish(control, end, &shelf.free_name(control, end))?;
                }
            }
        }
        Ok(offers)
    }

    fn control_of(&self, shelf: &Shelf, claimed: &[OsString], body: &OsStr) -> io::Result<Option<OsString>> {
        let stem = stem(body);
        if let Some(control) = claimed.iter().find(|name| is_control(name) && self::stem(name) == stem) {
            return Ok(Some(control.clone()));
        }
        let incoming = shelf.incoming()?.into_iter().map(|file| file.name).find(|name| is_control(name) && self::stem(name) == stem);
        let Some(control) = incoming.filter(|name| shelf.is_incoming(name)) else { return Ok(None) };
        shelf.claim(&control)?;
        Ok(Some(control))
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
    fn take(&self, shelf: &Shelf, offer: &Offer, runtime: &Handle) -> io::Result<bool> {
        let (taken, mark) = self.read(shelf, offer, runtime)?;
        match taken {
            Taken::NotNow => return Ok(false),
            Taken::Done { answer, messages, refused } => {
                self.end(shelf, offer, End::Done, answer.as_deref(), None)?;
                observe::FileTaken { source: &self.source, mark: &mark, messages, refused }.say();
            }
            Taken::Failed { reason, answer } => {
                self.end(shelf, offer, End::Failed, answer.as_deref(), Some(&reason))?;
                observe::FileFailed { source: &self.source, mark: &mark, reason: &reason }.say();
            }
        }
        Ok(true)
    }

    /// Writes what belongs beside the file and moves it, its control file last.
    fn end(&self, shelf: &Shelf, offer: &Offer, end: End, answer: Option<&[u8]>, reason: Option<&str>) -> io::Result<()> {
        let ended = shelf.free_name(&offer.body, end);
        let beside = |what: &str| {
            let mut name = ended.clone();
            name.push(what);
            name
        };
        if let Some(answer) = answer {
            shelf.put(&beside(".ack.hl7"), end, answer)?;
        }
        if let Some(reason) = reason {
            shelf.put(&beside(".reason.txt"), end, format!("{reason}\n").as_bytes())?;
        }
        shelf.finish(&offer.body, end, &ended)?;
        if let Some(control) = &offer.control {
            shelf.finish(control, end, &shelf.free_name(control, end))?;
        }
        Ok(())
    }

    /// Reads a claimed file and hands its messages over. With the beginning of its mark, for the log.
    fn read(&self, shelf: &Shelf, offer: &Offer, runtime: &Handle) -> io::Result<(Taken, String)> {
        let unread = |taken| Ok((taken, String::new()));
        if self.config.control_files {
            let Some(control) = &offer.control else { return unread(Taken::failed("there is no control file for it")) };
            let bytes = shelf.read(control, CONTROL_BYTES_MAX)?.unwrap_or_default();
            if let Transfer::Failed(why) = read_control(&bytes) {
                return unread(Taken::failed(why));
            }
        }
        let body = match shelf.read(&offer.body, self.config.file_bytes_max) {
            Ok(Some(body)) => body,
            Ok(None) => {
                let limit = self.config.file_bytes_max;
                let reason = format!("longer than {limit} bytes (file_bytes_max); split it, or use `chis-broker import`");
                return unread(Taken::failed(reason));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return unread(Taken::failed("the broker's user may not read it; correct its mode and put it into the folder again"));
            }
            Err(error) => return Err(error),
        };
        let mark = mark(&offer.body, &body);
        let shown = mark.0.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok((runtime.block_on(self.hand_over(&offer.body, Bytes::from(body), mark)), shown))
    }

    async fn hand_over(&self, name: &OsStr, body: Bytes, mark: FileMark) -> Taken {
        let Some(source) = self.desk.sources.load().named(&self.source) else {
            return Taken::failed("its source is no longer configured");
        };
        if body.trim_ascii().is_empty() {
            return Taken::failed("empty");
        }
        match kind_of(name, &body, self.config.control_files) {
            Some(Kind::Hl7v2) => self.hand_over_hl7(source, body, mark).await,
            Some(Kind::Fhir(syntax)) => self.hand_over_event(source, syntax, body, mark).await,
            None => Taken::failed(
                "no format has this ending; .hl7 and .txt are HL7 v2, .xml and .json FHIR (.dat and .ctl: control_files = true)",
            ),
        }
    }

    async fn hand_over_hl7(&self, source: Arc<Source>, body: Bytes, mark: FileMark) -> Taken {
        let rules = BatchRules {
            candidates: vec![source],
            processing_ids: self.config.processing_ids.clone(),
            message_bytes_max: self.config.message_bytes_max,
        };
        let settled = settle_file(&self.desk, body.clone(), &rules, mark).await;
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

/// Which file this is: its name and every byte of it.
fn mark(name: &OsStr, body: &[u8]) -> FileMark {
    let mut hash = Sha256::new();
    hash.update(name.as_encoded_bytes());
    hash.update([0]);
    hash.update(body);
    FileMark(hash.finalize().into())
}

#[cfg(test)]
mod tests;
