//! What parents are told: what else on record forbids it, what stands of a child, what an account was sent, what a hub released.
//!
//! # In the ledger
//!
//!     parents_told      what each account was sent last, by what it says; empty where it was taken back; `sure` where the receiver said so
//!     parents_informed  results of which a hub noted that a person told the parents; one version of one result each
//!
//! # What always holds
//!
//! - It is asked when an event is filed and again before it is sent, by the same code.
//! - What a hub released is one version of one result: a correction waits for a person again.
//! - What an account was sent and what stands no more is taken back whatever is to be looked at; what could not be taken back while the
//!   account could not be written to is taken back with the next event after that.
//! - What may have arrived counts as sent where it is taken back, and as not sent where it is news: it is said again, in the same bytes.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::aggregates::{self, Standing as Aggregate};
use super::filing::{kind_word, ledger_id};
use super::{Ledger, LedgerReader, StoreError, event_row, reviews};
use crate::canon::{Action, Child, EventKind, ProxyConsent, Statement};
use crate::destinations::{self, Item, Known, ParentRules, Standing, Told, Turn};
use crate::failsafe::day;
use crate::identity::Record;
use crate::outbox::FiledEvent;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS parents_told(child INTEGER NOT NULL, account TEXT NOT NULL, what TEXT NOT NULL, resource TEXT NOT NULL, text TEXT NOT NULL,
    sure INTEGER NOT NULL, at_us INTEGER NOT NULL, PRIMARY KEY(child, account, what, resource)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parents_informed(kind TEXT NOT NULL, publisher TEXT NOT NULL, key TEXT NOT NULL, event INTEGER NOT NULL,
    at_us INTEGER NOT NULL, PRIMARY KEY(kind, publisher, key)) STRICT, WITHOUT ROWID;
";

/// Results that a person tells first.
const TOLD_FIRST: [EventKind; 3] = [EventKind::BloodSpot, EventKind::Hearing, EventKind::Nipe];
/// Lists of which something may be shown; a birth is of the record.
const SHOWN: [EventKind; 6] =
    [EventKind::BloodSpot, EventKind::Hearing, EventKind::Nipe, EventKind::Immunisation, EventKind::Review, EventKind::Appointment];

/// Rules that withhold for what an event says, not for whom it is about: under them an account may be written to.
const OF_A_FACT: [&str; 13] = [
    "delete-not-sent",
    "element-not-allowed",
    "hold-back",
    "later-result",
    "no-code",
    "not-final",
    "not-on-allow-list",
    "nothing-new",
    "not-rendered",
    "nothing-to-show",
    "placeholder-name",
    "unknown-condition",
    "wrong-patient",
];

/// Of what a hub can note that the parents were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// Newborn blood spot.
    BloodSpot,
    /// Newborn hearing screen.
    Hearing,
    /// Newborn and infant physical examination.
    PhysicalExamination,
}

impl About {
    pub(super) fn kind(self) -> EventKind {
        match self {
            Self::BloodSpot => EventKind::BloodSpot,
            Self::Hearing => EventKind::Hearing,
            Self::PhysicalExamination => EventKind::Nipe,
        }
    }

    /// As it is written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::BloodSpot => "blood-spot",
            Self::Hearing => "hearing",
            Self::PhysicalExamination => "physical-examination",
        }
    }
}

/// A debt that takes something back from one account; what exactly is asked when it is paid.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeBack {
    take_back_from: String,
}

/// What is owed to parents of one event.
pub(super) enum Owing {
    /// These bodies, each a debt.
    Debts(Vec<Vec<u8>>),
    /// Nothing, by this rule.
    Withheld(&'static str),
}

/// An event and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Of<'e> {
    pub(super) child: i64,
    /// The event's own row.
    pub(super) row: i64,
    pub(super) event: &'e FiledEvent,
}

/// What parents are owed of an event as it is filed. `is_owed_more`: a debt of this child waits, so that what it says may yet be sent.
pub(super) fn owing(connection: &Connection, of: Of<'_>, rules: &ParentRules, is_owed_more: bool) -> rusqlite::Result<Owing> {
    let Of { child, row, event } = of;
    let Some(consents) = consents(connection, child)? else { return Ok(Owing::Withheld("consent-unreadable")) };
    let kind = event.statement.event.kind;
    let own = alone(event, &consents, rules);
    let mut debts = Vec::new();
    // What else is on record forbids what is told, and never what is taken back.
    let mut rule = forbids(connection, child, row, event)?.or(own.err());
    if rule.is_none() {
        match tell(connection, of, &consents, (rules, event.filed, Turn::First))? {
            Ok(told) => debts.push(told.body),
            Err(why) => rule = Some(why),
        }
    }
    // Two records that are two again: what is the other child's is taken back.
    if kind == EventKind::Merge || own.is_ok() || own.is_err_and(|rule| OF_A_FACT.contains(&rule)) {
        let may_be_sent_yet =
            is_owed_more && destinations::takes_back(&event.statement) && (SHOWN.contains(&kind) || kind == EventKind::Birth);
        for consent in consents.iter().filter(|consent| consent.status == "active") {
            // Whatever the event says: what a restriction, a dissent or an ended consent kept from being taken back is taken back now.
            if may_be_sent_yet || has_outdated(connection, of, &consents, &consent.account_id, rules)? {
                debts.push(serde_json::to_vec(&TakeBack { take_back_from: consent.account_id.clone() }).unwrap_or_default());
            }
        }
    }
    Ok(match rule {
        _ if !debts.is_empty() => Owing::Debts(debts),
        Some("no-code") if destinations::takes_back(&event.statement) => Owing::Withheld("delete-not-sent"),
        rule => Owing::Withheld(rule.unwrap_or("delete-not-sent")),
    })
}

/// The rule that forbids an event by itself, whatever else is on record.
fn alone(event: &FiledEvent, consents: &[ProxyConsent], rules: &ParentRules) -> Result<(), &'static str> {
    let none = BTreeMap::new();
    let bare = Known { rules, consents, now: event.filed, so_far: &[], told: &none };
    destinations::tell(event, bare, Turn::First).map(drop).map_err(|withheld| withheld.rule)
}

/// The delivery of an event as everything is now.
fn tell(
    connection: &Connection,
    of: Of<'_>,
    consents: &[ProxyConsent],
    (rules, now, turn): (&ParentRules, Timestamp, Turn),
) -> rusqlite::Result<Result<Told, &'static str>> {
    let none = BTreeMap::new();
    let bare = Known { rules, consents, now, so_far: &[], told: &none };
    // Most children are followed by nobody: what stands is looked at only where something may be said at all.
    if let Err(withheld) = destinations::tell(of.event, bare, Turn::First) {
        return Ok(Err(withheld.rule));
    }
    let so_far = so_far(connection, of)?;
    let told = told(connection, of.child)?;
    Ok(destinations::tell(of.event, Known { so_far: &so_far, told: &told, ..bare }, turn).map_err(|withheld| withheld.rule))
}

/// True where the account was sent what stands no more, or stands as an earlier word says it since the later one was taken back.
fn has_outdated(
    connection: &Connection,
    of: Of<'_>,
    consents: &[ProxyConsent],
    account: &str,
    rules: &ParentRules,
) -> rusqlite::Result<bool> {
    let sent = sent(connection, of.child, account)?;
    if sent.is_empty() {
        return Ok(false);
    }
    let so_far = so_far(connection, of)?;
    if !destinations::gone(&sent, &so_far).is_empty() {
        return Ok(true);
    }
    let known = Known { rules, consents, now: of.event.filed, so_far: &so_far, told: &BTreeMap::new() };
    Ok(destinations::takes_back(&of.event.statement) && destinations::take_back(of.event, account, &sent, known).is_ok())
}

fn consents(connection: &Connection, child: i64) -> rusqlite::Result<Option<Vec<ProxyConsent>>> {
    let mut statement = connection.prepare_cached("SELECT consent FROM proxy_consent WHERE child = ?1 ORDER BY account")?;
    let texts: Vec<String> = statement.query_map([child], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(texts.iter().map(|text| serde_json::from_str(text).ok()).collect())
}

/// What an account was sent and not taken back.
fn sent(connection: &Connection, child: i64, account: &str) -> rusqlite::Result<Vec<Item>> {
    let sql = "SELECT what, resource, text FROM parents_told WHERE child = ?1 AND account = ?2 AND text <> '' ORDER BY what, resource";
    let mut statement = connection.prepare_cached(sql)?;
    let rows =
        statement.query_map(params![child, account], |row| Ok(Item { what: row.get(0)?, resource: row.get(1)?, text: row.get(2)? }))?;
    rows.collect()
}

fn told(connection: &Connection, child: i64) -> rusqlite::Result<BTreeMap<(String, String), String>> {
    let mut statement =
        connection.prepare_cached("SELECT account, what, text FROM parents_told WHERE child = ?1 AND sure = 1 ORDER BY at_us")?;
    let rows = statement.query_map([child], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

/// What stands of a child, oldest first. The event itself may not be in the ledger yet. Where one result of a kind must be told by a person
/// first, all of that kind wait: the one that is missing would be the news.
fn so_far(connection: &Connection, of: Of<'_>) -> rusqlite::Result<Vec<Standing>> {
    let mut waiting: Vec<EventKind> = Vec::new();
    let mut standing: Vec<(Option<Timestamp>, EventKind, Standing)> = Vec::new();
    for aggregate in aggregates::of_child(connection, of.child, None)? {
        let Some(newest) = aggregate.parts.last().map(|part| part.event).filter(|_| !aggregate.deleted) else { continue };
        let Some((mut event, said)) = read(connection, &aggregate, newest, of)? else {
            // What cannot be read cannot be shown to be harmless.
            waiting.extend(TOLD_FIRST.into_iter().filter(|kind| kind_word(*kind) == aggregate.kind));
            continue;
        };
        let informed = is_informed(connection, &aggregate)?;
        let header = event.statement.event.clone();
        let from_birth = header.kind == EventKind::Birth;
        for kind in SHOWN {
            let mut lists = only(&said, kind);
            if lists == Statement::default() {
                continue;
            }
            if destinations::keeps_others_back(&lists) && !informed {
                waiting.push(kind);
            }
            lists.event = header.clone();
            lists.event.action = Action::New;
            // The length that a birth says is the birth's.
            lists.event.kind = if from_birth && kind == EventKind::Review { EventKind::Birth } else { kind };
            let at = time(&lists).or_else(|| Timestamp::from_microsecond(aggregate.at_us).ok());
            event.statement = lists;
            event.record = of.event.record.clone();
            event.child_id = of.event.child_id;
            standing.push((at, kind, Standing { event: event.clone(), informed, is_forbidden: false }));
        }
    }
    standing.sort_by_key(|(at, ..)| *at);
    let mut birth = of.event.clone();
    birth.statement = Statement { child: Child { birth: birth.record.birth.clone(), ..Child::default() }, ..Statement::default() };
    birth.statement.event.kind = EventKind::Birth;
    let mut all = vec![Standing { event: birth, informed: false, is_forbidden: reviews::is_open(connection, of.child, "birth")? }];
    for (_, kind, one) in standing {
        let is_forbidden = waiting.contains(&kind) || reviews::is_open(connection, of.child, &kind_word(kind))?;
        all.push(Standing { is_forbidden, ..one });
    }
    Ok(all)
}

/// The lists of one kind.
fn only(said: &Statement, kind: EventKind) -> Statement {
    let mut one = Statement::default();
    match kind {
        EventKind::BloodSpot => one.blood_spots = said.blood_spots.clone(),
        EventKind::Hearing => one.hearing_screens = said.hearing_screens.clone(),
        EventKind::Nipe => one.nipe_exams = said.nipe_exams.clone(),
        EventKind::Immunisation => one.immunisations = said.immunisations.clone(),
        EventKind::Review => one.reviews = said.reviews.clone(),
        EventKind::Appointment => one.appointments = said.appointments.clone(),
        _ => {}
    }
    one
}

/// The event of the newest version and what stands of the aggregate; nothing where an event cannot be read.
fn read(connection: &Connection, aggregate: &Aggregate, newest: i64, of: Of<'_>) -> rusqlite::Result<Option<(FiledEvent, Statement)>> {
    let mut events = BTreeMap::new();
    for part in aggregate.parts.iter().filter(|part| !part.items.is_empty() || part.event == newest) {
        let event = if part.event == of.row {
            Some(of.event.clone())
        } else {
            event_row::body(connection, part.event)?.and_then(|body| serde_json::from_slice::<FiledEvent>(&body).ok())
        };
        let Some(event) = event else { return Ok(None) };
        events.insert(part.event, event);
    }
    let said = aggregate.content_of(|row| events.get(&row).map(|event| &event.statement));
    Ok(events.remove(&newest).map(|event| (event, said)))
}

fn is_informed(connection: &Connection, aggregate: &Aggregate) -> rusqlite::Result<bool> {
    let sql = "SELECT event FROM parents_informed WHERE kind = ?1 AND publisher = ?2 AND key = ?3";
    let key = params![aggregate.kind, aggregate.publisher, aggregate.key];
    let informed: Option<i64> = connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
    Ok(informed.is_some() && informed == aggregate.parts.last().map(|part| part.event))
}

/// What came of a note that a person told the parents: the day on which each result came, in London.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Of what they were told.
    pub(super) released: Vec<civil::Date>,
    /// What came after that day.
    pub(super) left: Vec<civil::Date>,
}

/// Notes that a person told the parents on a day of the results of this kind that are held back as they stand now and came by then.
pub(super) fn inform(connection: &Connection, child: i64, (about, told): (About, civil::Date), now_us: i64) -> rusqlite::Result<Noted> {
    let mut noted = Noted::default();
    for aggregate in aggregates::of_child(connection, child, Some(about.kind()))?.into_iter().filter(|aggregate| !aggregate.deleted) {
        let Some(said) = aggregate.content(connection)? else { continue };
        let Some(newest) = aggregate.parts.last().map(|part| part.event) else { continue };
        if !destinations::is_told_by_a_person(&said) || is_informed(connection, &aggregate)? {
            continue;
        }
        let mut came = None;
        for part in &aggregate.parts {
            let event = event_row::body(connection, part.event)?.and_then(|body| serde_json::from_slice::<FiledEvent>(&body).ok());
            came = came.max(event.map(|event| day::date_of(event.filed)));
        }
        // Of what cannot be read nobody knows what the parents were told.
        let Some(came) = came else { continue };
        if told < came {
            noted.left.push(came);
            continue;
        }
        let sql = "INSERT OR REPLACE INTO parents_informed(kind, publisher, key, event, at_us) VALUES(?1, ?2, ?3, ?4, ?5)";
        connection.prepare_cached(sql)?.execute(params![aggregate.kind, aggregate.publisher, aggregate.key, newest, now_us])?;
        noted.released.push(came);
    }
    Ok(noted)
}

/// The rule that forbids it, if one does. `row` is the event's own row.
///
/// - `needs-review`: a person must look first at something of this kind of the child.
/// - `superseded`: a later version of the same result is on record.
/// - `later-sample`: a sample that was taken later is on record; the older one would look like the newest word.
/// - `hold-back`: another result of this child has an outcome that a person must tell first, and nobody has noted that one did.
pub(super) fn forbids(connection: &Connection, child: i64, row: i64, event: &FiledEvent) -> rusqlite::Result<Option<&'static str>> {
    let kind = event.statement.event.kind;
    if reviews::is_open(connection, child, &kind_word(kind))? {
        return Ok(Some("needs-review"));
    }
    if !TOLD_FIRST.contains(&kind) {
        return Ok(None);
    }
    let own_keys = aggregates::keys(event, row);
    for other in aggregates::of_child(connection, child, Some(kind))? {
        let newest = other.parts.last().map(|part| part.event);
        if newest == Some(row) && other.parts.len() == 1 {
            continue;
        }
        if newest != Some(row) && own_keys.contains(&(other.publisher.clone(), other.key.clone())) {
            return Ok(Some("superseded"));
        }
        if other.deleted {
            continue;
        }
        // What cannot be read cannot be shown to be harmless.
        let Some((_, said)) = read(connection, &other, newest.unwrap_or(row), Of { child, row, event })? else {
            return Ok(Some("hold-back"));
        };
        if destinations::keeps_others_back(&said) && !is_informed(connection, &other)? {
            return Ok(Some("hold-back"));
        }
        let told = time(&said).or_else(|| Timestamp::from_microsecond(other.at_us).ok());
        if newest != Some(row) && kind == EventKind::BloodSpot && time(&event.statement) < told {
            return Ok(Some("later-sample"));
        }
    }
    Ok(None)
}

/// When the sample was taken, else when the result was said.
fn time(statement: &Statement) -> Option<Timestamp> {
    let taken = statement.blood_spots.iter().filter_map(|spot| spot.sample.taken.as_ref()).filter_map(|at| at.timestamp()).max();
    taken.or_else(|| statement.event.at.as_ref()?.timestamp())
}

/// The account from which a debt with this body takes something back.
pub(super) fn taken_from(body: Option<&[u8]>) -> Option<String> {
    serde_json::from_slice::<TakeBack>(body?).ok().map(|back| back.take_back_from)
}

impl LedgerReader {
    /// What a debt to a parents' record says as the child, its results and the consents are now, or the rule that forbids it by now. `turn`: whether
    /// it is sent again; what is taken back is the same each time.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read, or the child's record in it.
    pub fn told_now(
        &self,
        (child, event): (i64, FiledEvent),
        body: &[u8],
        (rules, now, turn): (&ParentRules, Timestamp, Turn),
    ) -> Result<Result<Told, &'static str>, StoreError> {
        let take_back = serde_json::from_slice::<TakeBack>(body).ok();
        // What is taken back waits for nobody: a person who must look, or a later result, forbids only what is told.
        if take_back.is_none()
            && let Some(rule) = self.forbidden_to_parents(child, &event)?
        {
            return Ok(Err(rule));
        }
        let sql = "SELECT record, version FROM child WHERE id = ?1";
        let found: Option<(Vec<u8>, i64)> = self.read(|c| c.query_row(sql, [child], |row| Ok((row.get(0)?, row.get(1)?))).optional())?;
        let found = found.and_then(|(record, version)| Some((serde_json::from_slice::<Record>(&record).ok()?, version)));
        let (record, version) = found.ok_or_else(|| StoreError { text: "the child's record cannot be read".into(), exit: 65 })?;
        // Said again under the version of now: a receiver leaves aside what has an older one than it knows.
        let version = if turn == Turn::First { event.version } else { version };
        let event = FiledEvent { record: record.child, version, ..event };
        self.read(|connection| {
            let of = Of { child, row: own_row(connection, &event)?, event: &event };
            let Some(consents) = consents(connection, child)? else { return Ok(Err("consent-unreadable")) };
            match take_back {
                Some(TakeBack { take_back_from }) => {
                    let (sent, so_far, told) = (sent(connection, child, &take_back_from)?, so_far(connection, of)?, BTreeMap::new());
                    let known = Known { rules, consents: &consents, now, so_far: &so_far, told: &told };
                    Ok(destinations::take_back(&event, &take_back_from, &sent, known).map_err(|withheld| withheld.rule))
                }
                None => tell(connection, of, &consents, (rules, now, turn)),
            }
        })
    }
}

/// The row of a filed event: its id was made of it.
fn own_row(connection: &Connection, event: &FiledEvent) -> rusqlite::Result<i64> {
    let ledger = ledger_id(connection)?;
    let [first, end] = event_row::range(event.seq.0);
    let mut statement = connection.prepare_cached("SELECT id FROM event WHERE id >= ?1 AND id < ?2")?;
    let rows: Vec<i64> = statement.query_map([first, end], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(rows.into_iter().find(|row| Uuid::new_v5(&ledger, &row.to_be_bytes()) == event.event.0).unwrap_or(first))
}

impl Ledger {
    /// What a parents' record may hold, as the file of now says.
    pub fn parents(&self) -> std::sync::Arc<ParentRules> {
        self.shared.rules.parents.load_full()
    }

    /// Notes what accounts were sent: child, delivery, and whether the receiver said that it has it. Resolves after the commit.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn note_told(&self, told: Vec<(i64, Told, bool)>, now: Timestamp) -> Result<(), StoreError> {
        self.act(Box::new(move |connection| {
            // What is known to be there stays known where the same may have come once more.
            let sql = "INSERT INTO parents_told(child, account, what, resource, text, sure, at_us) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
                ON CONFLICT DO UPDATE SET text = excluded.text, at_us = excluded.at_us, sure = max(excluded.sure, sure AND text = excluded.text)";
            for (child, told, sure) in &told {
                let items = told.items.iter().filter(|item| *sure || !item.text.is_empty());
                for (account, item) in items.flat_map(|item| told.accounts.iter().map(move |account| (account, item))) {
                    let row = params![child, account, item.what, item.resource, item.text, sure, now.as_microsecond()];
                    connection.prepare_cached(sql)?.execute(row)?;
                }
            }
            Ok(())
        }))
        .await
    }
}

/// What an account was sent goes back with it to the record that it follows again.
pub(super) fn give_back(connection: &Connection, (survivor, gone): (i64, i64), account: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE OR REPLACE parents_told SET child = ?2 WHERE child = ?1 AND account = ?3";
    connection.prepare_cached(sql)?.execute(params![survivor, gone, account]).map(drop)
}

/// What the accounts of a record that became a part of another one were sent goes over with them.
pub(super) fn go_over(connection: &Connection, survivor: i64, other: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE OR REPLACE parents_told SET child = ?1 WHERE child = ?2";
    connection.prepare_cached(sql)?.execute([survivor, other]).map(drop)
}
