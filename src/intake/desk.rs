//! Where a message is handed over: kept first, answered then. Shared by all doors and connections.
//!
//! # Invariants
//!
//! - "Accepted" is said by [`told`] only, which asks for the receipt.
//! - A message that cannot even be looked at without a panic is kept and refused; the connection goes on.
//! - A control id of ours is used once: the start of the process and a counter.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::admission::{Decision, Examined, Rules, UNKNOWN_SOURCE, examine, examine_oversize};
use super::budget::Budget;
use super::refusal::{Refusal, Told, verdict};
use super::settings::{AckProfile, AnswerWhen, Config};
use super::sources::{Dialect, Source, Sources, family};
use crate::hl7::{self, AckMode, Answer, Answering, Header, Limits};
use crate::journal::{Admission, Entry, Journal, JournalError, Place, Receipt, Standing};
use crate::names::{Format, SourceName};
use crate::observe;

/// How intake learns the time; the broker gives it the functions of the one file that reads clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall time, for entries and answers.
    pub now: fn() -> Timestamp,
    /// Monotonic time, for measuring.
    pub tick: fn() -> Instant,
}

/// How long intake waits for others. Nobody has to set these; tests do.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// An end block came, the carriage return after it did not: 200 ms (protocol rules, section 1).
    pub unended: Duration,
    /// TLS handshake, 10 s.
    pub handshake: Duration,
    /// HTTP request head, 10 s.
    pub head: Duration,
    /// An HTTP body may be as slow as it likes for this long, 10 s; after it, 1 kB/s.
    pub body: Duration,
    /// A sender that does not read its answers, 30 s.
    pub write: Duration,
    /// `answer = "filed"`: how long the outcome is waited for, 20 s.
    pub filed: Duration,
    /// At drain: what is in hand is finished within this, 5 s.
    pub drain: Duration,
    /// Certificates of open connections are looked at again after this, 60 s.
    pub recheck: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            unended: Duration::from_millis(200),
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            write: Duration::from_secs(30),
            filed: Duration::from_secs(20),
            drain: Duration::from_secs(5),
            recheck: Duration::from_secs(60),
        }
    }
}

/// A message with the decision about it, ready for the journal.
pub(super) struct Received {
    entry: Entry,
    examined: Examined,
    tick: Instant,
}

impl Received {
    pub(super) fn examined(&self) -> &Examined {
        &self.examined
    }
}

/// See the file.
pub(super) struct Desk<J> {
    pub(super) journal: J,
    pub(super) clock: Clock,
    pub(super) patience: Patience,
    pub(super) sources: Arc<ArcSwap<Sources>>,
    pub(super) limits: Limits,
    /// Memory for long messages.
    pub(super) budget: Budget,
    /// Grows when sources or certificates may have changed: open connections look again who their peer is.
    pub(super) generation: Arc<AtomicU64>,
    application: String,
    facility: String,
    ids: ControlIds,
    stamp: ArcSwap<Stamp>,
    london: TimeZone,
}

impl<J: Journal> Desk<J> {
    pub(super) fn new(config: &Config, sources: Sources, journal: J, clock: Clock, patience: Patience) -> Self {
        let now = (clock.now)();
        // Without a time zone database on the machine, answers carry UTC and say so by their offset.
        let london = TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC);
        Self {
            journal,
            clock,
            patience,
            sources: Arc::new(ArcSwap::from_pointee(sources)),
            limits: Limits::default(),
            budget: Budget::default(),
            generation: Arc::default(),
            application: config.application.clone(),
            facility: config.facility.clone(),
            ids: ControlIds::starting(now),
            stamp: ArcSwap::from_pointee(Stamp::of(now, &london)),
            london,
        }
    }

    /// Looks at a whole message.
    pub(super) fn receive(&self, raw: Bytes, rules: &Rules<'_>) -> Received {
        let tick = (self.clock.tick)();
        let examined = catch_unwind(AssertUnwindSafe(|| examine(&raw, rules))).unwrap_or_else(|_| {
            let source = rules.candidates.first().cloned();
            observe::ReadingBroke { source: &name_of(source.as_deref()), bytes: raw.len() }.say();
            // The header alone may still be readable, so that the sender gets its control id back.
            let header = catch_unwind(|| Header::read(&raw).ok()).unwrap_or_default();
            Examined { source, is_mismatch: false, header, decision: Decision::Refuse(Refusal::Broken) }
        });
        self.received(raw, examined, tick)
    }

    /// Looks at what is left of a frame that was too long. `None`: nobody can be answered.
    pub(super) fn receive_oversize(&self, head: Bytes, rules: &Rules<'_>) -> Option<Received> {
        let tick = (self.clock.tick)();
        let examined = examine_oversize(&head, rules)?;
        Some(self.received(head, examined, tick))
    }

    fn received(&self, body: Bytes, examined: Examined, tick: Instant) -> Received {
        let header = examined.header.as_ref();
        let entry = Entry {
            source: name_of(examined.source.as_deref()),
            format: Format::Hl7v2,
            kind: header.map(Header::message_type).unwrap_or_default(),
            control_id: header.map(|header| header.control_id.clone()).unwrap_or_default(),
            body,
            arrived: (self.clock.now)(),
            admission: match &examined.decision {
                Decision::Accept(_) => Admission::Accepted,
                Decision::Ignore => Admission::Ignored("type ignored for this source".into()),
                Decision::Acknowledgement => Admission::Ignored("an acknowledgement".into()),
                Decision::Refuse(refusal) => Admission::Refused(refusal.reason()),
            },
        };
        Received { entry, examined, tick }
    }

    /// Keeps the message, then says what its sender is told. The append is begun at the first poll. A message out of a file says
    /// where it stands there, and is an entry once.
    pub(super) async fn settle(&self, received: Received, place: Option<Place>) -> (Told, Option<Answer>) {
        let Received { entry, examined, tick } = received;
        let source = entry.source.clone();
        let family = family(&entry.kind, Dialect::Hl7v2);
        let (bytes, arrived) = (entry.body.len(), entry.arrived);
        let is_silent = examined.decision == Decision::Acknowledgement;
        let answer_when = examined.source.as_ref().map_or(AnswerWhen::Stored, |source| source.answer);

        let kept = self.keep(entry, place).await;
        let told = match (&kept, told(&kept, examined.decision)) {
            (Ok(receipt), Told::Kept(warnings)) if answer_when == AnswerWhen::Filed && !is_silent => self.filed(receipt, warnings).await,
            (_, told) => told,
        };
        let answer = if is_silent { None } else { self.answer(examined.header.as_ref(), &told, examined.source.as_deref()) };
        self.say(
            &kept,
            &told,
            observe::Answered { source: &source, family, bytes, arrived, took: (self.clock.tick)().duration_since(tick) },
        );
        (told, answer)
    }

    /// Hands an entry to the journal.
    pub(super) async fn keep(&self, entry: Entry, place: Option<Place>) -> Result<Receipt, JournalError> {
        let source = entry.source.clone();
        let kept = match place {
            Some(place) => self.journal.append_placed(entry, place).await,
            None => self.journal.append(entry).await,
        };
        if let Err(error) = &kept {
            let reason = match error {
                JournalError::Full => "full",
                JournalError::Broken => "broken",
                JournalError::Draining => "draining",
            };
            observe::NotKept { source: &source, reason }.say();
        }
        kept
    }

    /// Waits for what became of an accepted entry, for a source that asked to be answered then.
    pub(super) async fn filed(&self, receipt: &Receipt, warnings: Vec<hl7::Fault>) -> Told {
        // What came before is filed, if it is, under its first number.
        let seq = receipt.duplicate_of().unwrap_or_else(|| receipt.seq());
        match self.journal.outcome(seq, self.patience.filed).await {
            Standing::Filed | Standing::Duplicate | Standing::Ignored => Told::Kept(warnings),
            Standing::Held | Standing::Refused => Told::Refused(Refusal::HeldForAPerson),
            Standing::Waiting => Told::NotFiledYet,
        }
    }

    /// Counts what was told.
    pub(super) fn say(&self, kept: &Result<Receipt, JournalError>, told: &Told, answered: observe::Answered<'_>) {
        let Ok(receipt) = kept else { return };
        match told {
            Told::Refused(refusal) => answered.say_refused(refusal.word()),
            _ if receipt.duplicate_of().is_some() => answered.say_duplicate(),
            _ => {
                let observe::Answered { source, bytes, took, .. } = answered;
                observe::Admitted { seq: receipt.seq(), source, bytes, took }.say();
                answered.say_accepted();
            }
        }
    }

    fn answer(&self, header: Option<&Header>, told: &Told, source: Option<&Source>) -> Option<Answer> {
        let (mode, profile) = source.map_or((AckMode::Auto, AckProfile::Uk), |source| (source.ack_mode, source.ack_profile));
        let stamp = self.stamp((self.clock.now)());
        let answering =
            Answering { application: &self.application, facility: &self.facility, time: &stamp.text, control_id: &self.ids.next(), mode };
        hl7::answer(header, &verdict(told, profile), &answering)
    }

    /// The batch of answers to a batch.
    pub(super) fn answer_batch(&self, file: &hl7::BatchFile<'_>, answers: Vec<Option<Answer>>) -> Vec<u8> {
        let mut answers = answers.into_iter();
        let of_batch = |batch: &hl7::Batch<'_>| {
            let own = answers.by_ref().take(batch.messages.len());
            own.flatten().map(|answer| answer.bytes).collect()
        };
        let answers: Vec<Vec<Vec<u8>>> = file.batches.iter().map(of_batch).collect();
        let stamp = self.stamp((self.clock.now)());
        let answering =
            hl7::BatchAnswering { sender: [&self.application, &self.facility], time: &stamp.text, control_id: &self.ids.next() };
        hl7::answer_batch(file, &answers, &answering)
    }

    /// The text of this second, made once for all connections.
    fn stamp(&self, now: Timestamp) -> Arc<Stamp> {
        let stamp = self.stamp.load();
        if stamp.second == now.as_second() {
            return Arc::clone(&stamp);
        }
        let fresh = Arc::new(Stamp::of(now, &self.london));
        self.stamp.store(Arc::clone(&fresh));
        fresh
    }
}

/// What the sender hears. Only a receipt makes "kept".
fn told(kept: &Result<Receipt, JournalError>, decision: Decision) -> Told {
    match (kept, decision) {
        (Err(error), _) => Told::NotKept(error.clone()),
        (Ok(_receipt), Decision::Accept(warnings)) => Told::Kept(warnings),
        (Ok(_receipt), Decision::Ignore | Decision::Acknowledgement) => Told::Kept(Vec::new()),
        (Ok(_receipt), Decision::Refuse(refusal)) => Told::Refused(refusal),
    }
}

/// The source's name for the journal.
pub(super) fn name_of(source: Option<&Source>) -> SourceName {
    source.map_or_else(|| SourceName::new(UNKNOWN_SOURCE), |source| source.name.clone())
}

/// MSH-7 of answers within one second.
struct Stamp {
    second: i64,
    text: String,
}

impl Stamp {
    fn of(now: Timestamp, london: &TimeZone) -> Self {
        Self { second: now.as_second(), text: now.to_zoned(london.clone()).strftime("%Y%m%d%H%M%S%z").to_string() }
    }
}

/// MSH-10 of answers: at most 20 characters (HL7 messages, section 3), never used before.
struct ControlIds {
    prefix: String,
    next: AtomicU64,
}

impl ControlIds {
    fn starting(now: Timestamp) -> Self {
        Self { prefix: base36(now.as_millisecond().unsigned_abs()), next: AtomicU64::new(1) }
    }

    fn next(&self) -> String {
        format!("{}{:04}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u8::try_from(number % 36).unwrap_or_default();
        digits.push(char::from(if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_ids_of_a_process_never_repeat_and_fit() {
        let ids = ControlIds::starting("2026-01-05T09:30:00Z".parse().unwrap());
        let made: std::collections::HashSet<String> = (0..20_000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 20_000);
        assert!(made.iter().all(|id| id.len() <= 20));
        let later = ControlIds::starting("2026-01-05T09:30:00.001Z".parse().unwrap());
        assert_ne!(ids.prefix, later.prefix);
        assert_eq!(ids.prefix.len(), later.prefix.len(), "else prefix and counter could run into each other");
    }

    #[test]
    fn answers_carry_the_time_of_london() {
        let london = TimeZone::get("Europe/London").unwrap();
        let text = |at: &str| Stamp::of(at.parse().unwrap(), &london).text;
        assert_eq!(text("2026-01-05T09:30:00Z"), "20260105093000+0000");
        assert_eq!(text("2026-07-05T09:30:00Z"), "20260705103000+0100");
    }

    #[test]
    fn kept_is_said_only_with_a_receipt() {
        for error in [JournalError::Full, JournalError::Broken, JournalError::Draining] {
            assert!(matches!(told(&Err(error), Decision::Accept(vec![])), Told::NotKept(_)));
        }
        let receipt = || Ok(Receipt::after_commit(crate::names::Seq(1), None));
        assert_eq!(told(&receipt(), Decision::Accept(vec![])), Told::Kept(vec![]));
        assert_eq!(told(&Err(JournalError::Full), Decision::Refuse(Refusal::ProcessingId)), Told::NotKept(JournalError::Full));
    }
}
