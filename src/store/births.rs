//! The births of a day: when each was first heard of, which hubs are told at the end of the day, and who has told of it.
//!
//! # In the ledger
//!
//!     birth       child | when it was recognised | who told of it first: maternity, the Spine | on which day's lists it stood
//!     births_day  (hub, day) | the list as it was sent | when its file was written
//!
//! # Invariants
//!
//! - Every birth stands on the lists of exactly one day: the first whose end comes after it was recognised. A clock that is set back changes
//!   nothing, because a birth that stood on no list yet is on the next one.
//! - The lists of a day are made in one transaction with the note that they were: once, also over a restart.
//! - A hub without a birth is told so.
//! - A birth whose record cannot be read stands on no list, is named to its hub, and is looked at again at the end of the next day.
//!
//! # Not here
//!
//! When a day ends: `broker/calendar.rs`.

use jiff::{Timestamp, civil};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::filing::{DestinationRule, FilingRules, Recipient, speaks_of_the_person, word};
use super::index::{ChildRow, Index, OnRecord};
use super::reader::{LedgerReader, moment};
use super::rows::{BirthAccount, StoreError};
use super::transfers::Beside;
use super::writer::Ledger;
use super::{calendar, debts, event_row, own, unread};
use crate::canon::{Action, Child, ChildStatus, EventKind, Statement};
use crate::identity::age_days;
use crate::names::HubName;
use crate::routing::{Directory, NEWBORN_DAYS};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS birth(
    child INTEGER PRIMARY KEY, seen_us INTEGER NOT NULL, event INTEGER NOT NULL, maternity_us INTEGER, maternity_event INTEGER,
    maternity_source TEXT, spine_us INTEGER, spine_event INTEGER, listed TEXT) STRICT;
CREATE INDEX IF NOT EXISTS birth_unlisted ON birth(seen_us) WHERE listed IS NULL;
CREATE INDEX IF NOT EXISTS birth_seen ON birth(seen_us);
CREATE TABLE IF NOT EXISTS births_day(
    hub TEXT NOT NULL, day TEXT NOT NULL, made_us INTEGER NOT NULL, body TEXT NOT NULL, written_us INTEGER, PRIMARY KEY(hub, day)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS births_day_unwritten ON births_day(made_us) WHERE written_us IS NULL;
CREATE TABLE IF NOT EXISTS mover(
    child INTEGER NOT NULL, event INTEGER NOT NULL, way TEXT NOT NULL, hub TEXT NOT NULL, since_us INTEGER NOT NULL, why TEXT NOT NULL,
    stores TEXT NOT NULL, taken_us INTEGER, taken_by TEXT, PRIMARY KEY(child, event)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS mover_hub ON mover(hub, since_us);
";

/// The name of the daily job.
pub const BIRTHS_JOB: &str = "births";
/// The lane of lists: no child has this row.
const LIST_LANE: i64 = 0;
/// A birth event of a child older than this is history that somebody sends again.
const BIRTH_EVENT_DAYS: i64 = 365;

/// The births of a day for one hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BirthsList {
    /// The hub.
    pub hub: String,
    /// The day, 2026-01-05.
    pub day: String,
    /// When the list was made, RFC 3339.
    pub made: String,
    /// The births; none is a nil return.
    pub births: Vec<BirthRow>,
    /// Children that the hub has to look at today because nobody knows where they belong.
    #[serde(default)]
    pub unknown: Vec<UnknownRow>,
    /// Births that are on no list because their record cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<UnknownRow>,
}

/// What the end of a day made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Lists made now.
    pub lists: usize,
    /// Our ids of births that are on no list because their record cannot be read.
    pub unread: Vec<String>,
}

/// One birth on a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BirthRow {
    /// `here`: lives here or has a practice here. `elsewhere`: born here, lives elsewhere. `stillbirth`: only where the hub asks for them.
    pub section: String,
    /// Our id of the child.
    pub child: String,
    /// NHS number.
    pub nhs_number: String,
    /// Family name.
    pub family: String,
    /// Given names.
    pub given: String,
    /// Date of birth.
    pub born: String,
    /// Sex, by its code.
    pub sex: String,
    /// Weight at birth, grams.
    pub weight_g: String,
    /// Completed weeks of gestation.
    pub gestation_weeks: String,
    /// ODS code of the place of birth.
    pub place: String,
    /// Postcode of the home; empty where it must not leave the responsible hub.
    pub postcode: String,
    /// ODS code of the practice.
    pub practice: String,
    /// The responsible hub.
    pub hub: String,
    /// On which ground.
    pub basis: String,
    /// Where the child stands, `deceased` too.
    pub status: String,
    /// When the birth was recognised, RFC 3339.
    pub recognised: String,
}

/// A child that somebody has to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownRow {
    /// Our id of the child.
    pub child: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// A statement that was just filed, as far as births and movers are concerned.
pub(super) struct Heard<'a> {
    pub(super) child: i64,
    pub(super) row: i64,
    pub(super) is_new: bool,
    pub(super) statement: &'a Statement,
    pub(super) source: &'a str,
    pub(super) record: &'a Child,
    pub(super) now: Timestamp,
    pub(super) today: civil::Date,
    pub(super) superseded: bool,
}

impl Heard<'_> {
    /// Notes a birth, and a child that came without one.
    pub(super) fn note(&self, connection: &Connection, rules: &FilingRules, directory: &Directory) -> rusqlite::Result<()> {
        let header = &self.statement.event;
        if header.action == Action::Delete || header.notice || self.superseded {
            return Ok(());
        }
        let age = age_days(self.record, self.today);
        let is_event = header.kind == EventKind::Birth && age.is_none_or(|age| age < BIRTH_EVENT_DAYS);
        // A child that is first heard of so young was born to us (routing rules, section 5); an older one without a birth event moved in.
        let is_newborn = self.is_new && age.is_some_and(|age| age < NEWBORN_DAYS);
        if is_event || is_newborn {
            return self.note_birth(connection, header.national, is_event);
        }
        match self.record.hub.as_ref().filter(|_| self.is_new).and_then(|hub| directory.acting_hub(hub)) {
            Some(hub) => {
                let why = "first heard of when older than 28 days, without a birth event";
                note_mover(connection, rules, (self.child, self.row), ("in", &hub), self.now, why)
            }
            None => Ok(()),
        }
    }

    fn note_birth(&self, connection: &Connection, national: bool, is_event: bool) -> rusqlite::Result<()> {
        let sql = "INSERT INTO birth(child, seen_us, event) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING";
        connection.prepare_cached(sql)?.execute(params![self.child, self.now.as_microsecond(), self.row])?;
        let said = match (national, is_event) {
            (true, true) => "UPDATE birth SET spine_us = ?2, spine_event = ?3 WHERE child = ?1 AND spine_us IS NULL AND ?4 <> ''",
            (true, false) => return Ok(()),
            // A laboratory's result makes a child known; it is nobody's word on its birth.
            (false, false) if !speaks_of_the_person(self.statement.event.kind) => return Ok(()),
            (false, _) => {
                "UPDATE birth SET maternity_us = ?2, maternity_event = ?3, maternity_source = ?4 WHERE child = ?1 AND maternity_us IS NULL"
            }
        };
        connection.prepare_cached(said)?.execute(params![self.child, self.now.as_microsecond(), self.row, self.source])?;
        Ok(())
    }
}

/// Notes a child that came without a record, or left: until somebody has it.
pub(super) fn note_mover(
    connection: &Connection,
    rules: &FilingRules,
    (child, event): (i64, i64),
    (way, hub): (&str, &HubName),
    now: Timestamp,
    why: &str,
) -> rusqlite::Result<()> {
    let is_its = |rule: &&DestinationRule| matches!(&rule.recipient, Recipient::HubStore(other) if other == hub);
    let stores: Vec<&str> = rules.destinations.iter().filter(is_its).map(|rule| rule.name.as_str()).collect();
    let sql = "INSERT INTO mover(child, event, way, hub, since_us, why, stores) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    let stores = stores.join(" ");
    connection.prepare_cached(sql)?.execute(params![child, event, way, hub.as_str(), now.as_microsecond(), why, stores]).map(drop)
}

/// Makes the lists of a day for every hub, where they were not made: an entry of our own, with a debt to each hub's store.
pub(super) fn list_day(
    connection: &Connection,
    rules: &FilingRules,
    day: civil::Date,
    ended: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<Listed> {
    let directory = rules.directory.load();
    let hubs: Vec<HubName> = directory.hubs().into_iter().map(|(name, _)| name).collect();
    let day_word = day.to_string();
    let mut lists = Vec::new();
    for hub in hubs {
        if !calendar::is_done(connection, BIRTHS_JOB, hub.as_str(), &day_word)? {
            let (day, made) = (day_word.clone(), now.to_string());
            lists.push(BirthsList { hub: hub.to_string(), day, made, births: Vec::new(), unknown: Vec::new(), unread: Vec::new() });
        }
    }
    if lists.is_empty() {
        return Ok(Listed::default());
    }
    let today = rules.today(now);
    let mut unread = Vec::new();
    for born in unlisted(connection, ended)? {
        let row = match whole(connection, &born, &day_word)? {
            OnRecord::Whole(row) => row,
            OnRecord::Missing => continue,
            OnRecord::Unreadable { row, name } => {
                unread::ask(connection, row, now.as_microsecond())?;
                let hub = kept_hub(connection, row, &directory)?;
                for list in lists.iter_mut().filter(|list| list.hub == hub.as_str()) {
                    list.unread.push(UnknownRow { child: name.clone(), since: moment(born.seen_us) });
                }
                unread.push(name);
                continue;
            }
        };
        let child = &row.record.child;
        let places = directory.places(child, today);
        for list in &mut lists {
            let hub = HubName::new(&list.hub);
            let is_acting = child.hub.as_ref().and_then(|assignment| directory.acting_hub(assignment)).as_ref() == Some(&hub);
            let lives = is_acting || [&places.gp, &places.home].into_iter().any(|place| place.as_ref() == Some(&hub));
            let section = match (child.status, lives, places.birth_site.as_ref() == Some(&hub)) {
                // Where the child lives is for the responsible hub alone (identity rules, section 9).
                _ if child.flags.is_restricted() && !is_acting => continue,
                (Some(ChildStatus::Stillborn), true, _) if directory.asks_for_stillbirths(&hub) => "stillbirth",
                (Some(ChildStatus::Stillborn), ..) => continue,
                (_, true, _) => "here",
                (_, false, true) => "elsewhere",
                (_, false, false) => continue,
            };
            list.births.push(birth_row(section, &row, born.seen_us));
        }
    }
    let default = directory.default_hub();
    for list in lists.iter_mut().filter(|list| list.hub == default.as_str()) {
        list.unknown = unknown(connection)?;
    }
    send(connection, rules, &lists, now)?;
    Ok(Listed { lists: lists.len(), unread })
}

/// The hub of a child whose record cannot be read, as its row says; the default hub where it says none that acts.
fn kept_hub(connection: &Connection, child: i64, directory: &Directory) -> rusqlite::Result<HubName> {
    let hub: String = connection.prepare_cached("SELECT hub FROM child WHERE id = ?1")?.query_row([child], |row| row.get(0))?;
    let acts = directory.hubs().into_iter().any(|(name, _)| name.as_str() == hub);
    Ok(if acts { HubName::new(hub) } else { directory.default_hub() })
}

struct Unlisted {
    child: i64,
    seen_us: i64,
}

fn unlisted(connection: &Connection, ended: Timestamp) -> rusqlite::Result<Vec<Unlisted>> {
    let sql = "SELECT child, seen_us FROM birth WHERE listed IS NULL AND seen_us <= ?1 ORDER BY seen_us, child";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([ended.as_microsecond()], |row| Ok(Unlisted { child: row.get(0)?, seen_us: row.get(1)? }))?.collect()
}

/// The record that goes on for a birth, which from now on stood on this day's lists; missing where it stood on a list by itself, or must
/// stand on none. One that cannot be read stood on none.
fn whole(connection: &Connection, born: &Unlisted, day: &str) -> rusqlite::Result<OnRecord> {
    let sql = "SELECT survivor FROM merged WHERE child = ?1";
    let survivor: Option<i64> = connection.prepare_cached(sql)?.query_row([born.child], |row| row.get(0)).optional()?;
    let found = Index(connection).look(survivor.unwrap_or(born.child))?;
    if matches!(found, OnRecord::Unreadable { .. }) {
        return Ok(found);
    }
    connection.prepare_cached("UPDATE birth SET listed = ?2 WHERE child = ?1")?.execute(params![born.child, day])?;
    if let Some(survivor) = survivor {
        let known = connection.prepare_cached("SELECT 1 FROM birth WHERE child = ?1")?.exists([survivor])?;
        if known {
            return Ok(OnRecord::Missing);
        }
        let sql = "INSERT INTO birth(child, seen_us, event, maternity_us, maternity_event, maternity_source, spine_us, spine_event, listed)
            SELECT ?2, seen_us, event, maternity_us, maternity_event, maternity_source, spine_us, spine_event, listed FROM birth WHERE child = ?1";
        connection.prepare_cached(sql)?.execute([born.child, survivor])?;
    }
    Ok(match found {
        OnRecord::Whole(row) if row.record.child.goes_on() => OnRecord::Whole(row),
        _ => OnRecord::Missing,
    })
}

fn birth_row(section: &str, row: &ChildRow, seen_us: i64) -> BirthRow {
    let child = &row.record.child;
    let name = child.name_to_show();
    BirthRow {
        section: section.to_owned(),
        child: row.uuid.to_string(),
        nhs_number: child.nhs_number().map(|(number, _)| number.to_string()).unwrap_or_default(),
        family: name.and_then(|name| name.family.clone()).unwrap_or_default(),
        given: name.map(|name| name.given.join(" ")).unwrap_or_default(),
        born: child.birth.date.as_ref().map(|date| date.value.clone()).unwrap_or_default(),
        sex: child.sex.as_ref().map(word).unwrap_or_default(),
        weight_g: child.birth.weight_g.map(|weight| weight.to_string()).unwrap_or_default(),
        gestation_weeks: child.birth.gestation_weeks.map(|weeks| weeks.to_string()).unwrap_or_default(),
        place: child.birth.place_ods.clone().unwrap_or_default(),
        postcode: child.home().and_then(|home| home.postcode.clone()).unwrap_or_default(),
        practice: child.gp.as_ref().and_then(|gp| gp.practice_ods.clone()).unwrap_or_default(),
        hub: child.hub.as_ref().map(|hub| hub.hub.to_string()).unwrap_or_default(),
        basis: child.hub.as_ref().map(|hub| word(&hub.basis)).unwrap_or_default(),
        status: child.status.as_ref().map(word).unwrap_or_default(),
        recognised: moment(seen_us),
    }
}

/// Children whom no hub is responsible for (routing rules, section 3): the default hub looks at them every day.
fn unknown(connection: &Connection) -> rusqlite::Result<Vec<UnknownRow>> {
    let sql =
        "SELECT c.uuid, coalesce((SELECT max(h.noted_us) FROM hub_history h WHERE h.child = c.id AND h.hub = 'UNKNOWN'), 0) FROM child c
        WHERE c.hub = 'UNKNOWN' AND c.status NOT IN ('merged', 'sealed', 'invalidated', 'stillborn', 'deceased') ORDER BY 2, c.id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let uuid: Vec<u8> = row.get(0)?;
        Ok(UnknownRow { child: uuid::Uuid::from_slice(&uuid).map(|id| id.to_string()).unwrap_or_default(), since: moment(row.get(1)?) })
    })?;
    rows.collect()
}

/// Keeps the lists, and owes each to the stores of its hub, in a lane of its own.
fn send(connection: &Connection, rules: &FilingRules, lists: &[BirthsList], now: Timestamp) -> rusqlite::Result<()> {
    let Some(day) = lists.first().map(|list| list.day.clone()) else { return Ok(()) };
    let count = |list: &BirthsList| serde_json::json!({ "hub": list.hub, "births": list.births.len(), "unread": list.unread.len() });
    let what: Vec<_> = lists.iter().map(count).collect();
    let body = serde_json::json!({ "day": day, "lists": what }).to_string();
    let seq = own::entry(connection, now, own::SOURCE, ("births-list", &format!("births-{day}")), body.as_bytes())?;
    for (place, list) in (0..).zip(lists) {
        let row = event_row::of(seq.0, place);
        let sql = "INSERT INTO event(id, child, kind, at_us, hub, basis, superseded, evidence, body) VALUES(?1, ?2, 'births-list', ?3, ?4, '', 0, '[]', ?5)";
        connection.prepare_cached(sql)?.execute(params![row, LIST_LANE, now.as_microsecond(), list.hub, b"{}".as_slice()])?;
        let body = Beside::Births(list.clone()).bytes();
        for destination in rules.destinations.iter() {
            if matches!(&destination.recipient, Recipient::HubStore(hub) if hub.as_str() == list.hub) {
                debts::owe(connection, &destination.name, (LIST_LANE, row), now.as_microsecond(), Some(&body))?;
            }
        }
        let text = serde_json::to_string(list).unwrap_or_default();
        let sql = "INSERT OR REPLACE INTO births_day(hub, day, made_us, body) VALUES(?1, ?2, ?3, ?4)";
        connection.prepare_cached(sql)?.execute(params![list.hub, list.day, now.as_microsecond(), text])?;
        calendar::done(connection, BIRTHS_JOB, &list.hub, &list.day, now)?;
    }
    Ok(())
}

impl LedgerReader {
    /// The list of a hub's births of a day, as it was sent.
    pub fn births_list(&self, hub: &str, day: &str) -> Result<Option<BirthsList>, StoreError> {
        let sql = "SELECT body FROM births_day WHERE hub = ?1 AND day = ?2";
        Ok(self.list(sql, [hub, day], |row| row.get::<_, String>(0))?.pop().and_then(|body| serde_json::from_str(&body).ok()))
    }

    /// Lists made after `since` whose file was not written yet, oldest first.
    pub fn unwritten_births(&self, since: Timestamp) -> Result<Vec<BirthsList>, StoreError> {
        let sql = "SELECT body FROM births_day WHERE written_us IS NULL AND ?1 <= made_us ORDER BY day, hub LIMIT 100";
        let bodies = self.list(sql, [since.as_microsecond()], |row| row.get::<_, String>(0))?;
        Ok(bodies.iter().filter_map(|body| serde_json::from_str(body).ok()).collect())
    }

    /// Births of which only maternity or only the Spine told, oldest first. `day`: recognised on that London day, 20260105.
    pub fn birth_account(&self, day: Option<i64>) -> Result<Vec<BirthAccount>, StoreError> {
        let sql = "SELECT c.uuid, c.record, b.maternity_us, b.maternity_event, b.maternity_source, b.spine_us, b.spine_event, b.seen_us, c.hub
            FROM birth b JOIN child c ON c.id = b.child
            WHERE (b.maternity_us IS NULL OR b.spine_us IS NULL) AND c.status NOT IN ('merged', 'sealed', 'invalidated') ORDER BY b.seen_us, b.child";
        let rows = self.list(sql, [], |row| {
            let (uuid, record): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let record = serde_json::from_slice::<crate::identity::Record>(&record).unwrap_or_default().child;
            let (maternity_us, spine_us): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(5)?);
            let event: Option<i64> = row.get::<_, Option<i64>>(3)?.or(row.get(6)?);
            let source: Option<String> = row.get(4)?;
            let site = record.birth.place_ods.clone().or_else(|| source.clone());
            let account = BirthAccount {
                child: uuid::Uuid::from_slice(&uuid).map(|id| id.to_string()).unwrap_or_default(),
                told_by: match (maternity_us, spine_us) {
                    (Some(_), _) => "maternity",
                    (None, Some(_)) => "spine",
                    (None, None) => "neither",
                }
                .to_owned(),
                site: site.unwrap_or_else(|| "unknown".to_owned()),
                // Also where the record cannot be read: a birth is in the account of its hub.
                hub: row.get(8)?,
                since: moment(maternity_us.or(spine_us).unwrap_or(row.get(7)?)),
                seq: event.map(event_row::entry),
                hours: 0,
                state: String::new(),
            };
            Ok((row.get::<_, i64>(7)?, account))
        })?;
        let on_day =
            |seen_us: i64| day.is_none_or(|day| Timestamp::from_microsecond(seen_us).is_ok_and(|at| super::writer::london_day(at) == day));
        Ok(rows.into_iter().filter(|(seen_us, _)| on_day(*seen_us)).map(|(_, account)| account).collect())
    }
}

impl Ledger {
    /// Makes the births lists of a day that has ended, and owes them to the hubs' stores; what was made is not made again.
    pub async fn list_births(&self, day: civil::Date, ended: Timestamp, now: Timestamp) -> Result<Listed, StoreError> {
        self.act_for(move |connection, rules| list_day(connection, rules, day, ended, now)).await
    }

    /// Notes that the file of a list was written.
    pub async fn births_written(&self, hub: &str, day: &str, now: Timestamp) -> Result<(), StoreError> {
        let (hub, day) = (hub.to_owned(), day.to_owned());
        self.act_for(move |connection, _| {
            let sql = "UPDATE births_day SET written_us = ?3 WHERE hub = ?1 AND day = ?2";
            connection.execute(sql, params![hub, day, now.as_microsecond()]).map(drop)
        })
        .await
    }

    /// Where a daily job was never done: it counts as done through `day`, so that the first day that ends from now on is the first.
    pub async fn begin_calendar(&self, job: &'static str, day: civil::Date, now: Timestamp) -> Result<(), StoreError> {
        self.act_for(move |connection, _| calendar::done(connection, job, "", &day.to_string(), now)).await
    }
}
