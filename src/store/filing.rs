//! What happens to a read message inside the writer's transaction: which child, which record, which hub, which debts.
//!
//! # One message
//!
//! Everything of one entry stands in one savepoint: its events, the records after them, its debts and its standing.
//! If one statement of it must wait for a person, the whole entry is held and nothing of it is filed.
//!
//! # Invariants
//!
//! - After [`file_one`] the entry has exactly one standing.
//! - An event's debts are made with it or never: `reconcile` counts both.
//! - The same entry gives the same event ids, so a receiver that has them already knows.

mod acts;
mod alias;
mod assigning;
mod informing;
mod location;
mod merging;
mod seal;
mod unmerge;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::{Timestamp, civil};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use uuid::Uuid;

use super::aggregates::{self, Order, Refusal};
use super::apart;
use super::births::Heard;
use super::debts;
use super::desk;
use super::documents;
use super::event_row;
use super::index::{ChildRow, Index};
use super::kin;
use super::misses::{self, Miss};
use super::mothers;
use super::movers;
use super::newborns;
use super::parents::{self, Owing};
use super::retry;
use super::reviews;
use super::safeguarding;
use super::transfers::Moving;
use super::writer::audit;
use crate::canon::{Action, Child, ChildStatus, Content, EventKind, HubAssignment, Instant, NHS_NUMBER_SYSTEM, Statement};
use crate::clock;
use crate::destinations::{self, ParentRules};
use crate::identity::{self, Evidence, Match, Record, Said};
use crate::journal::Standing;
use crate::names::{BundleHash, ChildId, DestinationName, EventId, HubName, MappingName, Seq, SourceName};
use crate::outbox::FiledEvent;
use crate::routing::Directory;
pub(super) use assigning::{ActOf, Assigned, assign_all};
pub(super) use location::for_hub;

/// Statements of one entry that can be told apart by their event id.
const STATEMENTS_MAX: usize = event_row::PER_ENTRY as usize;

/// What mapping said of an entry, ready to be filed.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The entry.
    pub seq: Seq,
    /// Who sent it.
    pub source: SourceName,
    /// The sender's id of the message.
    pub control_id: String,
    /// When it came, microseconds since 1970: the event time where the message has none.
    pub arrived_us: i64,
    /// Precedence of the source (see [`Said::rank`]).
    pub rank: u8,
    /// Which mapping spoke.
    pub mapping: Option<MappingName>,
    /// Under which bundle.
    pub bundle: BundleHash,
    /// Findings as a JSON array; empty where there are none.
    pub findings: String,
    /// What is to be done.
    pub outcome: PreparedOutcome,
    /// Contents of documents, which the statements name by their hash.
    pub contents: Vec<Content>,
    /// A person's reason, where a held entry is read again.
    pub released_by: Option<String>,
    /// It came for child protection facts, or might have: listings say nothing of it (decision 17).
    pub apart: bool,
}

impl Prepared {
    /// Precedence with which this is said.
    fn rank_of(&self, statement: &Statement) -> u8 {
        if statement.event.national { 3 } else { self.rank }
    }

    /// The national record and practices know children by themselves; hospitals and laboratories meet them through their mothers.
    pub(super) fn is_child_first(&self, statement: &Statement) -> bool {
        matches!(self.rank_of(statement), 3 | 4)
    }

    /// An entry of the broker's own: no mapping read it, and nothing of it is to be filed by itself.
    fn own(seq: Seq, source: &str, control_id: String, arrived_us: i64) -> Self {
        Self {
            seq,
            source: SourceName::new(source),
            control_id,
            arrived_us,
            rank: 0,
            mapping: None,
            bundle: BundleHash::new(""),
            findings: String::new(),
            outcome: PreparedOutcome::File(Vec::new()),
            contents: Vec::new(),
            released_by: None,
            apart: false,
        }
    }
}

/// What is to be done with an entry.
#[derive(Clone, Debug)]
pub enum PreparedOutcome {
    /// File these.
    File(Vec<Statement>),
    /// A person must look; the stable code of the finding.
    Hold(String),
    /// A rule says that there is nothing for us. Where it says so only of persons who are no known children, they are named.
    Ignore(String, Vec<Statement>),
}

/// To whom events are owed.
#[derive(Clone, Debug)]
pub struct DestinationRule {
    /// Its name.
    pub name: DestinationName,
    /// What it gets.
    pub recipient: Recipient,
}

/// What a destination gets.
#[derive(Clone, Debug)]
pub enum Recipient {
    /// All of the children a hub is responsible for or interested in.
    HubStore(HubName),
    /// All children, as whole records.
    Record,
    /// What parents may see.
    ParentRecord,
    /// What a shared-care viewer may see, said by its templates when it is paid; they are swapped at reload.
    Viewer(Arc<ArcSwap<destinations::Viewer>>),
    /// Vaccinations, as rows of a file; its code tables are swapped at reload.
    VaccinationFile(Arc<ArcSwap<destinations::VaccinationFile>>),
}

/// What filing decides by; the directory is swapped whole at reload.
#[derive(Clone, Debug)]
pub struct FilingRules {
    /// Hubs, practices, postcodes.
    pub directory: Arc<ArcSwap<Directory>>,
    /// Destinations in the order of the configuration.
    pub destinations: Arc<Vec<DestinationRule>>,
    /// Where a day begins and ends: Europe/London.
    pub zone: jiff::tz::TimeZone,
    /// What a parents' record may hold; swapped whole at reload.
    pub parents: Arc<ArcSwap<ParentRules>>,
}

impl FilingRules {
    /// The day of a moment.
    pub(super) fn today(&self, now: Timestamp) -> civil::Date {
        now.to_zoned(self.zone.clone()).date()
    }

    /// The first moment of a day.
    pub(super) fn start_of(&self, day: civil::Date) -> Option<Timestamp> {
        day.to_zoned(self.zone.clone()).ok().map(|start| start.timestamp())
    }
}

enum Held {
    Person { code: String, text: String, evidence: Vec<Evidence> },
}

enum Failure {
    Held(Held),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(super) use acts::{Asked, perform};

/// Files one entry; gives its standing and to whom debts were made. An error is the ledger's and undoes the whole turn.
pub(super) fn file_one(
    connection: &Connection,
    prepared: &Prepared,
    rules: &FilingRules,
) -> rusqlite::Result<(Standing, Vec<DestinationName>)> {
    let Some(before) = clear_the_way(connection, prepared)? else { return Ok((Standing::Waiting, Vec::new())) };
    misses::count(connection, prepared.seq.0, &prepared.findings, &before.missed)?;
    if prepared.apart || before.was_held {
        apart::mark(connection, prepared.seq.0, prepared.apart)?;
    }
    let statements = match &prepared.outcome {
        PreparedOutcome::File(statements) => statements,
        PreparedOutcome::Hold(code) => {
            return stand(connection, prepared, Standing::Held, code, &prepared.findings).map(|standing| (standing, Vec::new()));
        }
        PreparedOutcome::Ignore(rule, about) => {
            let about = if before.decided { &[] } else { about.as_slice() };
            let hers = mothers::hear(connection, prepared, about)?;
            let rule = hers.as_ref().unwrap_or(rule);
            let standing = match known_otherwise(connection, about)? {
                Some((code, text)) => {
                    let findings = add_finding(&prepared.findings, code, &format!("{text}; the rule that would ignore it: {rule}"), &[]);
                    stand(connection, prepared, Standing::Held, code, &findings)?
                }
                None => stand(connection, prepared, Standing::Ignored, rule, &prepared.findings)?,
            };
            return Ok((standing, Vec::new()));
        }
    };
    if let Some(rule) = mothers::hear(connection, prepared, statements)? {
        return stand(connection, prepared, Standing::Ignored, &rule, &prepared.findings).map(|standing| (standing, Vec::new()));
    }
    connection.prepare_cached("SAVEPOINT entry")?.execute([])?;
    // A message that makes us panic is held by itself; the next one is served.
    let filed = catch_unwind(AssertUnwindSafe(|| file_statements(connection, (prepared, before.decided), statements, rules)));
    let held = match filed {
        Ok(Ok(filed)) => {
            let findings = add_findings(&prepared.findings, filed.findings);
            let standing = stand(connection, prepared, Standing::Filed, "", &findings)?;
            retry::note(connection, prepared, None)?;
            connection.prepare_cached("RELEASE entry")?.execute([])?;
            return Ok((standing, filed.owed));
        }
        // What this message breaks is this message's trouble; what the disk breaks is the ledger's.
        Ok(Err(Failure::Sql(error))) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
            let text = "what this message says cannot stand beside what is on record; the broker's makers must look".to_owned();
            Held::Person { code: "unfileable".into(), text, evidence: Vec::new() }
        }
        Ok(Err(Failure::Sql(error))) => return Err(error),
        Ok(Err(Failure::Held(held))) => held,
        Err(_panic) => {
            metrics::counter!("chis_panics_total").increment(1);
            let text = "filing this message failed inside the broker; the log names the place".to_owned();
            Held::Person { code: "panic".into(), text, evidence: Vec::new() }
        }
    };
    connection.execute_batch("ROLLBACK TO entry; RELEASE entry")?;
    let Held::Person { code, text, evidence } = held;
    let findings = add_finding(&prepared.findings, &code, &text, &evidence);
    retry::note(connection, prepared, Some(&code))?;
    stand(connection, prepared, Standing::Held, &code, &findings).map(|standing| (standing, Vec::new()))
}

/// How an entry stood before it is read again.
#[derive(Default)]
struct Before {
    was_held: bool,
    /// The codes that it missed.
    missed: BTreeSet<Miss>,
    /// It was held for a question that only a person answers ([`UNCLEAR`], [`KNOWN`]); whoever releases it answers that it means nobody
    /// and nothing on record.
    decided: bool,
}

/// Code of a deletion that may mean something under another key.
const UNCLEAR: &str = "deletion-unclear";

/// Code of a message that a rule would ignore, about somebody who is on record.
const KNOWN: &str = "ignored-but-known";

/// None when there is nothing to do: the entry has its standing already, or was to be released and is not held.
fn clear_the_way(connection: &Connection, prepared: &Prepared) -> rusqlite::Result<Option<Before>> {
    let sql = "SELECT state, reason, findings FROM standing WHERE seq = ?1";
    type Stood = (String, String, Option<String>);
    let stood: Option<Stood> =
        connection.prepare_cached(sql)?.query_row([prepared.seq.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    match (stood, &prepared.released_by) {
        (None, None) => Ok(Some(Before::default())),
        (Some((state, why, findings)), Some(reason)) if state == "held" => {
            connection.execute("DELETE FROM standing WHERE seq = ?1", [prepared.seq.0])?;
            if reason != retry::BY_ITSELF {
                audit(connection, clock::now(), "release", &prepared.seq.to_string(), reason)?;
            }
            Ok(Some(Before {
                was_held: true,
                missed: misses::of(&findings.unwrap_or_default()),
                decided: [UNCLEAR, KNOWN].contains(&why.as_str()),
            }))
        }
        _ => Ok(None),
    }
}

fn stand(connection: &Connection, prepared: &Prepared, standing: Standing, reason: &str, findings: &str) -> rusqlite::Result<Standing> {
    let sql = "INSERT INTO standing(seq, state, reason, mapping, bundle, findings)
        VALUES(?1, ?2, ?3, ?4, (SELECT id FROM bundle WHERE hash = ?5), ?6)";
    let findings = (!findings.is_empty()).then_some(findings);
    let mapping = prepared.mapping.as_ref().map(MappingName::as_str);
    connection.prepare_cached(sql)?.execute(params![
        prepared.seq.0,
        standing.as_str(),
        reason,
        mapping,
        prepared.bundle.as_str(),
        findings
    ])?;
    Ok(standing)
}

pub(super) fn add_finding(findings: &str, code: &str, text: &str, evidence: &[Evidence]) -> String {
    add_findings(findings, vec![serde_json::json!({ "level": "hold", "code": code, "text": text, "evidence": evidence })]).into_owned()
}

fn add_findings(findings: &str, more: Vec<Value>) -> Cow<'_, str> {
    if more.is_empty() {
        return Cow::Borrowed(findings);
    }
    let mut all: Vec<Value> = serde_json::from_str(findings).unwrap_or_default();
    all.extend(more);
    Cow::Owned(Value::from(all).to_string())
}

/// What came of filing.
#[derive(Default)]
struct Filed {
    owed: Vec<DestinationName>,
    /// What a person may want to know of it.
    findings: Vec<Value>,
}

/// The same child, another sex (canonical model, section 4): filed, and a person should look.
fn sex_finding() -> Value {
    let text = "the sex is not the one on record; a person should look whether this is the same child";
    serde_json::json!({ "level": "warning", "code": "sex-differs", "field": "child.sex", "text": text })
}

/// Nothing later moves a child back (routing rules, section 5).
fn late_for_hub_finding(route: &HubAssignment) -> Value {
    let text = format!("this would lead to another hub, but something that was said later stands: the child stays with {}", route.hub);
    serde_json::json!({ "level": "info", "code": "late-for-hub", "text": text })
}

/// Filed, and a person must look: `held list` lists it until somebody has.
fn review_finding(matter: &reviews::Matter, text: &str) -> Value {
    serde_json::json!({ "level": "warning", "code": matter.why.code(), "text": text })
}

/// What of the message has no effect, because something later is on record.
fn late_finding(late: &[String]) -> Value {
    let text = format!("a later version is on record, so this has no effect: {}", late.join(", "));
    serde_json::json!({ "level": "info", "code": "superseded-item", "text": text })
}

/// Why a message that a rule would ignore is held: one of its persons is a child on record with another date of birth.
fn known_otherwise(connection: &Connection, about: &[Statement]) -> rusqlite::Result<Option<(&'static str, &'static str)>> {
    for statement in about {
        match identity::known_otherwise(&statement.child, &Index(connection)) {
            Ok(None) => {}
            Ok(Some(text)) => return Ok(Some((KNOWN, text))),
            Err(_unread) => return Ok(Some(("index", "whether this person is a child on record could not be looked up"))),
        }
    }
    Ok(None)
}

fn file_statements(
    connection: &Connection,
    (prepared, decided): (&Prepared, bool),
    statements: &[Statement],
    rules: &FilingRules,
) -> Result<Filed, Failure> {
    if statements.is_empty() || STATEMENTS_MAX <= statements.len() {
        let text = format!("the message says {} things about children; 1 to {STATEMENTS_MAX} are taken", statements.len());
        return Err(Failure::Held(Held::Person { code: "statement-count".into(), text, evidence: Vec::new() }));
    }
    let ledger = ledger_id(connection)?;
    let decision = desk::decided(connection, prepared)?;
    let mut filed = Filed::default();
    for (place, statement) in statements.iter().enumerate() {
        // A message that does not say when it happened happened when it came.
        let whole = &timed(statement, prepared.arrived_us);
        let whole = &match decision {
            Some(decision) => Cow::Owned(acts::cleaned(connection, whole, decision)?),
            None => Cow::Borrowed(&**whole),
        };
        let public = if safeguarding::is_all(whole) || !whole.safeguarding.is_empty() { Some(safeguarding::public(whole)) } else { None };
        let row = event_row::of(prepared.seq.0, place as i64);
        let one = One { connection, prepared, whole, statement: public.as_ref().unwrap_or(whole), rules, ledger, row, decided };
        let one = one.file(decision)?;
        filed.owed.extend(one.owed);
        filed.findings.extend(one.findings);
    }
    documents::keep(connection, statements, &prepared.contents)?;
    Ok(filed)
}

fn timed(statement: &Statement, arrived_us: i64) -> Cow<'_, Statement> {
    if statement.event.at.is_some() {
        return Cow::Borrowed(statement);
    }
    let mut timed = statement.clone();
    timed.event.at = Timestamp::from_microsecond(arrived_us).ok().map(Instant::of);
    Cow::Owned(timed)
}

/// A death that was taken back: a person looks (identity rules, section 7), and parents hear nothing before.
fn look_at_removal(before: Option<&Child>, after: &mut Child) {
    let status = |child: &Child| child.death.as_ref().and_then(|death| death.status.clone());
    let (was, is) = (before.and_then(status), status(after));
    let is_alive = is.as_deref().is_none_or(|is| is == "removed");
    after.flags.birth_needs_review |= is_alive && was != is;
}

/// A child who lives outside the area of all hubs has moved out, and back in when a hub is responsible again.
fn move_status(child: &mut Child, route: &HubAssignment) {
    match child.status {
        Some(ChildStatus::Active) if route.hub.as_str() == HubName::OUT => child.status = Some(ChildStatus::MovedOut),
        Some(ChildStatus::MovedOut) if route.hub.as_str() != HubName::OUT => child.status = Some(ChildStatus::Active),
        _ => {}
    }
}

pub(super) fn ledger_id(connection: &Connection) -> rusqlite::Result<Uuid> {
    let bytes: Vec<u8> = connection.prepare_cached("SELECT value FROM meta WHERE key = 'ledger'")?.query_row([], |row| row.get(0))?;
    Ok(Uuid::from_slice(&bytes).unwrap_or_default())
}

/// The child on record, or the status of a new one, and how that was found.
type Matched = (Option<ChildRow>, Option<ChildStatus>, Vec<Evidence>);

/// One statement on its way into the record.
#[derive(Clone, Copy)]
struct One<'a> {
    connection: &'a Connection,
    prepared: &'a Prepared,
    /// All that was said, child protection facts too.
    whole: &'a Statement,
    /// What may stand in an event.
    statement: &'a Statement,
    rules: &'a FilingRules,
    ledger: Uuid,
    row: i64,
    /// A person said that an unclear deletion means nothing on record.
    decided: bool,
}

impl One<'_> {
    fn file(&self, decision: Option<desk::Decision>) -> Result<Filed, Failure> {
        if !self.statement.identity_changes.is_empty() {
            return self.change_alone();
        }
        let (known, new_status, evidence) = match decision {
            Some(decision) => acts::as_decided(self.connection, self.whole, decision)?,
            None => self.matched()?,
        };
        let said = self.said();
        let order = Order { at_us: said.at_us, deleted: self.whole.event.action == Action::Delete, version: said.version, seq: said.seq };
        let place = (known.as_ref().map(|row| row.id), self.row);
        let refused = |refusal| match refusal {
            Refusal::Sql(error) => Failure::from(error),
            Refusal::OtherChild => {
                // Otherwise the newer of two babies' results would hide the other.
                let text = "this result was said of another child before, under the same id of its publisher".to_owned();
                Failure::Held(Held::Person { code: "identity-conflict".into(), text, evidence: evidence.clone() })
            }
            Refusal::Unclear(seq) => {
                let text = format!(
                    "takes back a vaccination under an id that is not on record; message {seq} says one of the same day and product under another \
                     id, which this may mean. Ask the sender to take it back under that id. Released as it is, it takes back nothing"
                );
                Failure::Held(Held::Person { code: UNCLEAR.into(), text, evidence: evidence.clone() })
            }
        };
        let source = self.prepared.source.as_str();
        let look = aggregates::look(self.connection, self.statement, source, place, (order, self.decided)).map_err(refused)?;
        let superseded = look.superseded;
        let mut findings = if superseded || look.late.is_empty() { Vec::new() } else { vec![late_finding(&look.late)] };
        if known.as_ref().is_some_and(|row| !identity::sex_agrees(row.record.child.sex, self.statement.child.sex)) {
            findings.push(sex_finding());
        }
        findings.extend(look.matters.iter().map(|(matter, text)| review_finding(matter, text)));
        let merges = !superseded && (known.is_none() || speaks_of_the_person(self.whole.event.kind));
        let (mut record, _changed) = match (&known, merges) {
            (Some(row), false) => (row.record.clone(), Vec::new()),
            (row, _) => identity::merge(row.as_ref().map(|row| &row.record), self.statement, &said),
        };
        look_at_removal(known.as_ref().map(|row| &row.record.child), &mut record.child);
        if let (Some(status), None) = (new_status, record.child.status) {
            record.child.status = Some(status);
        }
        let before = known.as_ref().and_then(|row| row.record.child.hub.clone());
        let now = clock::now();
        let directory = self.rules.directory.load();
        let today = self.rules.today(now);
        // A child protection fact goes to nobody, so nobody would be told of a move.
        let stays = before.clone().filter(|_| safeguarding::is_all(self.whole));
        let route = stays.unwrap_or_else(|| directory.decide(&record.child, before.as_ref(), today));
        if directory.is_late_for(&self.statement.child, &record, &route, said.at_us) {
            findings.push(late_for_hub_finding(&route));
        }
        move_status(&mut record.child, &route);
        record.child.hub = Some(route.clone());
        let (child_row, child, version) = self.keep_child(known.as_ref(), &record)?;
        look.keep(self.connection, child_row)?;
        let from = (self.prepared.seq.0, child_row);
        for matter in &look.settled {
            reviews::settle(self.connection, matter, from, now.as_microsecond())?;
        }
        for (matter, _) in &look.matters {
            reviews::open(self.connection, matter, from, now.as_microsecond())?;
        }
        safeguarding::keep(self.connection, self.whole, source, (child_row, self.row), order).map_err(refused)?;
        self.ask_a_person(child_row, &evidence, (known.as_ref(), &record.child))?;
        self.keep_consents(child_row, &said)?;
        let event = FiledEvent {
            event: EventId(Uuid::new_v5(&self.ledger, &self.row.to_be_bytes())),
            seq: self.prepared.seq,
            source: self.prepared.source.clone(),
            control_id: self.prepared.control_id.clone(),
            child_id: child,
            version,
            filed: now,
            superseded,
            statement: look.statement.into_owned(),
            record: record.child,
        };
        let moving =
            Moving { directory: &directory, route: &route, before: before.as_ref(), child: child_row, row: self.row, at_us: said.at_us };
        let owed = if safeguarding::is_all(self.whole) { Owed::default() } else { self.owed(&event, &moving)? };
        moving.note(self.connection, now, "")?;
        movers::note_move(self.connection, self.rules, &moving, now)?;
        let (is_new, source) = (known.is_none(), self.prepared.source.as_str());
        let statement = self.statement;
        Heard { child: child_row, row: self.row, is_new, statement, source, record: &event.record, now, today, superseded }.note(
            self.connection,
            self.rules,
            &directory,
        )?;
        self.keep_event(&event, child_row, &said, &route, &evidence, &owed.withheld)?;
        self.keep_debts(&event, child_row, &owed.debts)?;
        Ok(Filed { owed: owed.debts.into_iter().map(|(destination, _)| destination).collect(), findings })
    }

    /// What was filed and should all the same be looked at (identity rules, sections 2, 5 and 7; canonical model, section 4).
    fn ask_a_person(&self, child: i64, evidence: &[Evidence], (known, after): (Option<&ChildRow>, &Child)) -> rusqlite::Result<()> {
        let sex_differs = known.is_some_and(|row| !identity::sex_agrees(row.record.child.sex, self.statement.child.sex));
        let is_marked = after.flags.birth_needs_review && known.is_none_or(|row| !row.record.child.flags.birth_needs_review);
        let is_unclear = |child: &Child| child.birth.live_still.as_deref() == Some("5");
        let kinds = [
            ("possible-match", evidence.iter().any(|step| step.step == identity::POSSIBLE)),
            ("sex-differs", sex_differs),
            ("birth-or-death", is_marked),
            // ZU7-2 5, "dead", is defined nowhere: born alive and died, or stillborn (identity rules, section 7).
            ("born-dead", is_unclear(after) && !known.is_some_and(|row| is_unclear(&row.record.child))),
            ("two-mothers", identity::has_two_mothers(after) && !known.is_some_and(|row| identity::has_two_mothers(&row.record.child))),
            ("mother-moved", known.is_some_and(|row| mothers::moved_away(&row.record.child, after))),
        ];
        for (kind, _) in kinds.iter().filter(|(_, is_so)| *is_so) {
            desk::ask(self.connection, kind, child, self.prepared.seq.0, clock::now().as_microsecond())?;
        }
        Ok(())
    }

    /// Which child it is about: the row of one on record, or where a new one would stand.
    fn matched(&self) -> Result<Matched, Failure> {
        let index = Index(self.connection);
        match identity::decide(self.whole, self.prepared.is_child_first(self.whole), &index).map_err(unindexed)? {
            Match::Known(child, evidence) => {
                let lost = || unindexed(identity::IndexError("the matched child has no record".into()));
                Ok((Some(index.by_id(child).map_err(unindexed)?.ok_or_else(lost)?), None, evidence))
            }
            Match::New(status, evidence) => Ok((None, Some(status), evidence)),
            Match::Held { code, text, evidence } => Err(Failure::Held(Held::Person { code: code.into(), text, evidence })),
        }
    }

    /// A merge, renaming or link says nothing else: facts beside it would be lost, so it waits for a person.
    fn change_alone(&self) -> Result<Filed, Failure> {
        if !self.whole.safeguarding.is_empty() {
            let text = "the message changes identifiers and says facts beside it, which are not filed together".to_owned();
            return Err(Failure::Held(Held::Person { code: "unfileable".into(), text, evidence: Vec::new() }));
        }
        self.change()
    }

    fn said(&self) -> Said {
        let header = &self.whole.event;
        let at_us = header.at.as_ref().and_then(|at| at.timestamp()).map_or(self.prepared.arrived_us, |at| at.as_microsecond());
        let rank = self.prepared.rank_of(self.whole);
        Said {
            at_us,
            version: header.version.unwrap_or(0),
            seq: self.prepared.seq.0,
            rank,
            source: self.prepared.source.as_str().to_owned(),
        }
    }

    fn keep_consents(&self, child: i64, said: &Said) -> Result<(), Failure> {
        for consent in &self.statement.proxy_consents {
            let sql = "INSERT INTO proxy_consent(child, account, at_us, consent) VALUES(?1, ?2, ?3, ?4)
                ON CONFLICT(child, account) DO UPDATE SET at_us = excluded.at_us, consent = excluded.consent WHERE at_us <= excluded.at_us";
            self.connection.prepare_cached(sql)?.execute(params![child, consent.account_id, said.at_us, json(consent)?])?;
        }
        Ok(())
    }

    fn keep_child(&self, known: Option<&ChildRow>, record: &Record) -> Result<(i64, ChildId, i64), Failure> {
        let bytes = json(record)?.into_bytes();
        let status = record.child.status.map(|status| word(&status)).unwrap_or_default();
        let hub = record.child.hub.as_ref().map_or("", |hub| hub.hub.as_str());
        let (row, child, version) = match known {
            Some(row) => {
                let sql = "UPDATE child SET version = ?2, status = ?3, hub = ?4, record = ?5 WHERE id = ?1";
                self.connection.prepare_cached(sql)?.execute(params![row.id, row.version + 1, status, hub, bytes])?;
                (row.id, ChildId(row.uuid), row.version + 1)
            }
            None => {
                let uuid = Uuid::new_v5(&self.ledger, format!("child {}", self.row).as_bytes());
                let sql = "INSERT INTO child(uuid, version, status, hub, record) VALUES(?1, 1, ?2, ?3, ?4)";
                self.connection.prepare_cached(sql)?.execute(params![uuid.as_bytes().as_slice(), status, hub, bytes])?;
                (self.connection.last_insert_rowid(), ChildId(uuid), 1)
            }
        };
        // An identifier keeps the child it was first given; who says otherwise was stopped by identity.
        let sql = "INSERT INTO identifier(system, value, child) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let mut statement = self.connection.prepare_cached(sql)?;
        for identifier in &record.child.identifiers {
            let known = known.is_some_and(|row| {
                row.record.child.identifiers.iter().any(|k| k.system == identifier.system && k.value == identifier.value)
            });
            let is_key = identifier.system != NHS_NUMBER_SYSTEM || identifier.nhs_number().is_some();
            if !known && is_key && statement.execute(params![identifier.system, identifier.value, row])? == 1 {
                retry::wake(self.connection, identifier, false)?;
            }
        }
        if known.is_none() && identity::is_barred(self.whole) {
            kin::bar(self.connection, row)?;
        }
        kin::follow(self.connection, row, known.map(|row| &row.record.child), &record.child)?;
        let today = self.rules.today(clock::now());
        newborns::follow(self.connection, row, known.map(|row| &row.record.child), &record.child, today)?;
        retry::wake_changed(self.connection, known.map(|row| &row.record.child), &record.child)?;
        let sql = "INSERT INTO relation_identifier(system, value, child) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let mut statement = self.connection.prepare_cached(sql)?;
        for identifier in record.child.relations.iter().flat_map(|relation| &relation.identifiers) {
            statement.execute(params![identifier.system, identifier.value, row])?;
        }
        Ok((row, child, version))
    }

    fn owed(&self, event: &FiledEvent, moving: &Moving<'_>) -> Result<Owed, Failure> {
        let told = moving.told(self.connection, event)?;
        let child = moving.child;
        let mut owed = Owed::default();
        for destination in self.rules.destinations.iter() {
            match &destination.recipient {
                Recipient::HubStore(hub) => {
                    let beside = told.iter().find(|(told, _)| told == hub);
                    owed.debts.extend(beside.map(|(_, beside)| (destination.name.clone(), beside.clone())));
                }
                Recipient::Record => owed.debts.push((destination.name.clone(), Some(destinations::whole_record(event)))),
                Recipient::ParentRecord => match self.for_parents(event, child, &destination.name)? {
                    Owing::Debts(bodies) => owed.debts.extend(bodies.into_iter().map(|body| (destination.name.clone(), Some(body)))),
                    Owing::Withheld(rule) => {
                        metrics::counter!("chis_messages_withheld_total", "rule" => rule).increment(1);
                        owed.withheld.insert(destination.name.as_str().to_owned(), rule);
                    }
                },
                Recipient::VaccinationFile(file) if file.load().wants(event) => owed.debts.push((destination.name.clone(), None)),
                Recipient::VaccinationFile(_) => {}
                Recipient::Viewer(viewer) => match viewer.load().withholds(event) {
                    None => owed.debts.push((destination.name.clone(), None)),
                    Some(rule) => {
                        metrics::counter!("chis_messages_withheld_total", "rule" => rule).increment(1);
                        owed.withheld.insert(destination.name.as_str().to_owned(), rule);
                    }
                },
            }
        }
        Ok(owed)
    }

    /// What parents are told of this event, or the rule that forbids it.
    fn for_parents(&self, event: &FiledEvent, child: i64, destination: &DestinationName) -> Result<Owing, Failure> {
        let of = parents::Of { child, row: self.row, event };
        let is_owed_more = debts::is_owed(self.connection, destination, child)?;
        Ok(parents::owing(self.connection, of, &self.rules.parents.load(), is_owed_more)?)
    }

    fn keep_event(
        &self,
        event: &FiledEvent,
        child: i64,
        said: &Said,
        route: &HubAssignment,
        evidence: &[Evidence],
        withheld: &BTreeMap<String, &'static str>,
    ) -> Result<(), Failure> {
        let sql = "INSERT INTO event(id, child, kind, at_us, hub, basis, superseded, evidence, withheld, body)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let withheld = (!withheld.is_empty()).then(|| json(withheld)).transpose()?;
        self.connection.prepare_cached(sql)?.execute(params![
            self.row,
            child,
            kind_word(self.whole.event.kind),
            said.at_us,
            route.hub.as_str(),
            word(&route.basis),
            event.superseded,
            json(&evidence)?,
            withheld,
            json(event)?.into_bytes()
        ])?;
        super::failsafe::mark(self.connection, child)?;
        Ok(())
    }

    fn keep_debts(&self, event: &FiledEvent, child: i64, owed: &[(DestinationName, Option<Vec<u8>>)]) -> Result<(), Failure> {
        for (destination, body) in owed {
            debts::owe(self.connection, destination, (child, self.row), event.filed.as_microsecond(), body.as_deref())?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Owed {
    debts: Vec<(DestinationName, Option<Vec<u8>>)>,
    withheld: BTreeMap<String, &'static str>,
}

/// True where the message is about the person. A result names a child to be found; it does not change who the child is.
pub(super) fn speaks_of_the_person(kind: EventKind) -> bool {
    matches!(kind, EventKind::Person | EventKind::Birth | EventKind::Gp | EventKind::Address | EventKind::Death)
}

/// The word of an event kind in the ledger.
pub(super) fn kind_word(kind: EventKind) -> String {
    word(&kind)
}

/// The serde word of a plain enum.
pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| {
        let text = format!("the record cannot be written: {error}");
        Failure::Held(Held::Person { code: "unwritable".into(), text, evidence: Vec::new() })
    })
}

fn unindexed(error: identity::IndexError) -> Failure {
    Failure::Held(Held::Person { code: "index".into(), text: error.to_string(), evidence: Vec::new() })
}
