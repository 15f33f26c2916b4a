//! Aggregates: what is said under a publisher's key, and kept, replaced and taken back as one piece (canonical model, section 1).
//!
//! # Which there are
//!
//! Each item of a statement's lists that has a key, as (kind of the list, publisher, key); and the message as a whole under
//! `event.key`, under which items without a key of their own are kept. Where neither has a key, the item stands by itself.
//! An item may name another publisher than its message. A deletion of the message takes back all items that came under its key.
//!
//! # What always holds
//!
//! - Which version stands is decided by the order of [`Order`] alone, never by the order of arrival. A deletion leaves a
//!   tombstone, also where nothing was known, so that an older version does not come back.
//! - A laboratory's blood spot message replaces the outcomes that it names, inside the sample, and no others: an outcome is taken back
//!   by being named (OBX-11 C, D, W, X) or with its whole card. Every other version replaces its aggregate whole (decision 24).
//! - One key of one publisher is one child's.
//!
//! # Not here
//!
//! Child protection facts: `safeguarding.rs`. Consents of parents, which are kept by account. What a person must look at: `doubts.rs`.

mod doubts;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use self::doubts::Doubts;
use super::event_row;
use super::filing::kind_word;
use super::reviews::{self, Matter, Why};
use crate::canon::{Action, BloodSpotResult, EventKind, ImmunisationStatus, ResultStatus, Statement};
use crate::outbox::FiledEvent;

/// Decides between two versions of the same (STU3 events, section 9): the later event; a deletion; the higher version; the later arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) at_us: i64,
    pub(super) deleted: bool,
    pub(super) version: i64,
    pub(super) seq: i64,
}

/// A version that makes up what stands: one for all aggregates but blood spot samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) order: Order,
    /// The event's row.
    pub(super) event: i64,
    /// Where in the event's statement: list and place.
    pub(super) items: Vec<(String, usize)>,
    /// The conditions that it names; none where it is the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) corrects: Option<BTreeSet<String>>,
    /// Names conditions, and says the card anew: nothing of it is marked as corrected or taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) resend: bool,
}

/// One aggregate of a statement, before it is kept.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) kind: EventKind,
    pub(super) publisher: String,
    pub(super) key: String,
    pub(super) deleted: bool,
    pub(super) items: Vec<(&'static str, usize)>,
    pub(super) corrects: Option<BTreeSet<String>>,
    pub(super) resend: bool,
    /// The message's own key, where the item has another.
    pub(super) within: Option<String>,
    /// The message as a whole.
    pub(super) is_message: bool,
}

/// What the ledger has to say of a statement's aggregates.
pub(super) struct Look<'s> {
    /// What of it has effect.
    pub(super) statement: Cow<'s, Statement>,
    /// Nothing of it has.
    pub(super) superseded: bool,
    /// What has none: `immunisations "A-1"`.
    pub(super) late: Vec<String>,
    /// What a person must look at, with what is to be said of it.
    pub(super) matters: Vec<(Matter, String)>,
    /// Such matters that this message settles.
    pub(super) settled: Vec<Matter>,
    publisher: String,
    row: i64,
    kept: Vec<(Piece, Vec<Part>)>,
    /// What came under the key of a message that was taken back before: each leaves the tombstone that it would have.
    entombed: Vec<(Piece, Vec<Part>)>,
}

/// Why an aggregate cannot be filed.
pub(super) enum Refusal {
    /// The key is another child's; names the list.
    OtherChild,
    /// It takes back something under a key that nobody knows, and may mean what this entry said.
    Unclear(i64),
    /// The ledger's.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Says `$do!(list, kind)` for every list of a statement that has keys, but child protection facts.
macro_rules! each_list {
    ($do:ident) => {
        $do!(blood_spots, BloodSpot);
        $do!(hearing_screens, Hearing);
        $do!(nipe_exams, Nipe);
        $do!(immunisations, Immunisation);
        $do!(reviews, Review);
        $do!(appointments, Appointment);
        $do!(documents, Document);
        $do!(episodes, EpisodeOfCare);
        $do!(tasks, Failsafe);
        $do!(observation_sets, Observations);
    };
}

/// Looks up what is on record under the keys of a statement. `source` publishes what names no publisher; `child` is the row of
/// the child it is about, none for a new one; `row` is the event's. `decided`: a person said that an unclear deletion means nothing on record.
pub(super) fn look<'s>(
    connection: &Connection,
    statement: &'s Statement,
    source: &str,
    (child, row): (Option<i64>, i64),
    (order, decided): (Order, bool),
) -> Result<Look<'s>, Refusal> {
    let publisher = publisher(statement, source).to_owned();
    let pieces = pieces(statement, source, row);
    let mut doubts = Doubts::of(connection, statement, source, (child, row), decided);
    let (mut kept, mut late, mut gone, mut conditions) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
    let (mut message_is_late, mut buried, mut entombed): (bool, Option<Part>, _) = (false, None, Vec::new());
    for piece in pieces {
        let (owner, parts) = stored(connection, (piece.kind, &piece.publisher, &piece.key))?.unwrap_or_default();
        if owner.is_some_and(|owner| Some(owner) != child) {
            return Err(Refusal::OtherChild);
        }
        let order = Order { deleted: piece.deleted, ..order };
        let new = Part { order, event: row, items: Vec::new(), corrects: piece.corrects.clone(), resend: piece.resend };
        doubts.weigh(&piece, &parts, &new)?;
        let grave = buried.as_ref().filter(|_| piece.within.is_some());
        let placed = if grave.is_some() { None } else { place(&parts, new) };
        match placed {
            Some(placed) => {
                let after: BTreeSet<String> = placed.iter().skip_while(|part| part.event != row).skip(1).flat_map(named).collect();
                for (list, item) in piece.items.iter().filter(|_| !after.is_empty()) {
                    conditions.insert((*list, *item), after.clone());
                }
                late.extend(after.iter().map(|condition| format!("{condition} of {}", piece.words())));
                kept.push((piece, placed));
            }
            None => {
                late.push(piece.words());
                gone.extend(piece.items.iter().copied());
                if let Some(grave) = grave.filter(|grave| parts.iter().all(|part| part.event != grave.event)) {
                    entombed.extend(place(&parts, Part { items: Vec::new(), ..grave.clone() }).map(|parts| (piece.clone(), parts)));
                }
                if piece.is_message {
                    message_is_late = true;
                    buried = parts.last().filter(|part| part.order.deleted).cloned();
                }
            }
        }
    }
    let speaks = super::filing::speaks_of_the_person(statement.event.kind);
    let superseded = kept.is_empty() && !late.is_empty() && (message_is_late || !speaks);
    let (matters, settled) = doubts.told();
    let mut look = Look { statement: Cow::Borrowed(statement), superseded, late, matters, settled, publisher, row, kept, entombed };
    let is_whole = gone.is_empty() && conditions.is_empty();
    if !(superseded || is_whole) {
        look.leave_out(&gone, &conditions);
    }
    Ok(look)
}

impl Look<'_> {
    /// Takes out of the statement what has no effect, and finds the places of what is left.
    fn leave_out(&mut self, gone: &[(&'static str, usize)], conditions: &BTreeMap<(&'static str, usize), BTreeSet<String>>) {
        let statement = self.statement.to_mut();
        for (item, result) in statement.blood_spots.iter_mut().enumerate() {
            if let Some(named) = conditions.get(&("blood_spots", item)) {
                result.outcomes.retain(|outcome| !named.contains(&outcome.condition));
            }
        }
        macro_rules! retain {
            ($list:ident, $kind:ident) => {
                let mut item = 0;
                statement.$list.retain(|_| {
                    item += 1;
                    !gone.contains(&(stringify!($list), item - 1))
                });
            };
        }
        each_list!(retain);
        for (piece, _) in &mut self.kept {
            for (list, item) in &mut piece.items {
                *item -= gone.iter().filter(|(other, before)| other == list && before < item).count();
            }
        }
    }

    /// Keeps what stands now; `child` is the row of the child.
    pub(super) fn keep(&self, connection: &Connection, child: i64) -> rusqlite::Result<()> {
        for (piece, parts) in &self.entombed {
            keep(connection, (&kind_word(piece.kind), &piece.publisher, &piece.key), child, piece.within.as_deref(), parts)?;
        }
        for (piece, parts) in &self.kept {
            let mut parts = parts.clone();
            for part in parts.iter_mut().filter(|part| part.event == self.row) {
                part.items = piece.items.iter().map(|(list, item)| ((*list).to_owned(), *item)).collect();
            }
            let within = piece.within.as_deref();
            keep(connection, (&kind_word(piece.kind), &piece.publisher, &piece.key), child, within, &parts)?;
            if piece.is_message && piece.deleted {
                self.take_back_within(connection, (piece, child), &parts)?;
            }
        }
        Ok(())
    }

    /// A deletion of the message takes back what came under its key.
    fn take_back_within(&self, connection: &Connection, (message, child): (&Piece, i64), parts: &[Part]) -> rusqlite::Result<()> {
        let Some(tombstone) = parts.last() else { return Ok(()) };
        let sql = "SELECT kind, publisher, key, within, parts FROM aggregate
            WHERE child = ?3 AND (publisher = ?1 AND within = ?2 OR within = ?4)";
        let of_others = within_anothers(message.kind, &message.key, &self.publisher);
        let rows: Vec<[String; 5]> = connection
            .prepare_cached(sql)?
            .query_map(params![self.publisher, within(message.kind, &message.key), child, of_others], |row| {
                Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])
            })?
            .collect::<rusqlite::Result<_>>()?;
        for [kind, publisher, key, within, known] in rows {
            let new = Part { items: Vec::new(), ..tombstone.clone() };
            if let Some(placed) = place(&read_parts(&known), new) {
                keep(connection, (&kind, &publisher, &key), child, Some(&within), &placed)?;
            }
        }
        Ok(())
    }
}

impl Piece {
    fn words(&self) -> String {
        match self.items.first() {
            Some((list, _)) => format!("{list} {:?}", self.key),
            None => format!("{} {:?}", kind_word(self.kind), self.key),
        }
    }
}

fn publisher<'s>(statement: &'s Statement, source: &'s str) -> &'s str {
    statement.event.publisher.as_deref().unwrap_or(source)
}

pub(super) fn within(kind: EventKind, key: &str) -> String {
    format!("{} {key}", kind_word(kind))
}

/// The same for an item that another publisher than the message's gave its key.
pub(super) fn within_anothers(kind: EventKind, key: &str, publisher: &str) -> String {
    format!("{} of {publisher}", within(kind, key))
}

/// The aggregates of a statement; the message as a whole comes first.
pub(super) fn pieces(statement: &Statement, source: &str, row: i64) -> Vec<Piece> {
    let header = &statement.event;
    let is_delete = header.action == Action::Delete;
    let of_all = publisher(statement, source);
    let mut pieces: Vec<Piece> = Vec::new();
    let new = |kind, publisher: &str, key: String| Piece {
        kind,
        publisher: publisher.to_owned(),
        key,
        deleted: true,
        items: Vec::new(),
        corrects: None,
        resend: false,
        within: None,
        is_message: false,
    };
    if let Some(key) = &header.key {
        pieces.push(Piece { is_message: true, ..new(header.kind, of_all, key.clone()) });
    }
    let heads = heads(statement);
    // Where the key of the message is that of one of its items (the first of two cards), the others of that kind do not hang on it.
    let names_one = heads.iter().any(|(_, kind, _, own)| *kind == header.kind && own.is_some() && *own == header.key.as_deref());
    for (list, kind, item, own) in heads {
        // Only who gives a key of its own can be another than who publishes the message.
        let by = own.and_then(|_| own_publisher(statement, list, item)).unwrap_or(of_all);
        let within_message = |message: &String| match by == of_all {
            true => within(header.kind, message),
            false => within_anothers(header.kind, message, of_all),
        };
        let (kind, key, within) = match (own, &header.key) {
            (None, Some(message)) => (kind, message.clone(), (kind != header.kind).then(|| within_message(message))),
            (Some(own), Some(message)) if own == message && kind == header.kind && by == of_all => (kind, message.clone(), None),
            (Some(own), _) if names_one && kind == header.kind => (kind, own.to_owned(), None),
            (Some(own), message) => (kind, own.to_owned(), message.as_ref().map(within_message)),
            (None, None) => (kind, format!("@{row}.{list}.{item}"), None),
        };
        match pieces.iter_mut().find(|piece| piece.kind == kind && piece.key == key && piece.publisher == by) {
            Some(piece) => piece.items.push((list, item)),
            None => pieces.push(Piece { items: vec![(list, item)], within, ..new(kind, by, key) }),
        }
    }
    for piece in &mut pieces {
        let taken_back = !piece.items.is_empty() && piece.items.iter().all(|(list, item)| is_taken_back(statement, list, *item));
        piece.deleted = is_delete || taken_back;
        (piece.corrects, piece.resend) = if piece.deleted { (None, false) } else { named_of(statement, &piece.items) };
    }
    pieces
}

/// Who gave an item its key, where the item says so.
fn own_publisher<'s>(statement: &'s Statement, list: &str, item: usize) -> Option<&'s str> {
    match list {
        "immunisations" => statement.immunisations.get(item)?.publisher.as_deref(),
        "blood_spots" => statement.blood_spots.get(item)?.publisher.as_deref(),
        _ => None,
    }
}

/// List, its kind, place and key of every item.
fn heads(statement: &Statement) -> Vec<(&'static str, EventKind, usize, Option<&str>)> {
    let mut heads = Vec::new();
    macro_rules! add {
        ($list:ident, $kind:ident) => {
            let items = statement.$list.iter().enumerate();
            heads.extend(items.map(|(item, one)| (stringify!($list), EventKind::$kind, item, one.key.as_deref())));
        };
    }
    each_list!(add);
    heads
}

/// RXA-21 D: the vaccination was never given.
fn is_taken_back(statement: &Statement, list: &str, item: usize) -> bool {
    let given = statement.immunisations.get(item).filter(|_| list == "immunisations");
    given.is_some_and(|given| given.status == ImmunisationStatus::EnteredInError)
}

/// The conditions of a sample that this version names, where it is not the whole, and whether it says the card anew. A national version
/// replaces the whole (STU3 events, section 4), and so does what is no blood spot.
fn named_of(statement: &Statement, items: &[(&'static str, usize)]) -> (Option<BTreeSet<String>>, bool) {
    let spots: Option<Vec<&BloodSpotResult>> =
        items.iter().map(|(list, item)| statement.blood_spots.get(*item).filter(|_| *list == "blood_spots")).collect();
    let Some(spots) = spots.filter(|spots| !spots.is_empty()) else { return (None, false) };
    let outcomes = || spots.iter().flat_map(|spot| &spot.outcomes);
    let is_correction = outcomes().any(|outcome| outcome.result_status.takes_back() || outcome.result_status == ResultStatus::Corrected);
    if statement.event.national && !is_correction {
        return (None, false);
    }
    let is_resend = !is_correction && outcomes().any(|outcome| outcome.result_status != ResultStatus::CannotObtain);
    (Some(outcomes().map(|outcome| outcome.condition.clone()).collect()), is_resend)
}

fn named(part: &Part) -> BTreeSet<String> {
    part.corrects.clone().unwrap_or_default()
}

/// The versions that make up the aggregate once `new` is there too; none where it has no effect.
pub(super) fn place(parts: &[Part], new: Part) -> Option<Vec<Part>> {
    let event = new.event;
    let mut all = parts.to_vec();
    all.push(new);
    all.sort_by_key(|part| part.order);
    // What stands before the newest whole version is over, and a card that is said anew goes over a version that it names altogether.
    let whole = all.iter().rposition(|part| part.corrects.is_none()).unwrap_or(0);
    all.drain(..whole);
    let resends: Vec<(Order, BTreeSet<String>)> = all.iter().filter(|part| part.resend).map(|part| (part.order, named(part))).collect();
    let is_over = |part: &Part| {
        let conditions = part.corrects.as_ref();
        conditions.is_some_and(|said| resends.iter().any(|(order, named)| part.order < *order && said.is_subset(named)))
    };
    all.retain(|part| !is_over(part));
    all.iter().any(|part| part.event == event).then_some(all)
}

type Stored = (Option<i64>, Vec<Part>);

fn stored(connection: &Connection, (kind, publisher, key): (EventKind, &str, &str)) -> rusqlite::Result<Option<Stored>> {
    let sql = "SELECT child, parts FROM aggregate WHERE kind = ?1 AND publisher = ?2 AND key = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row(params![kind_word(kind), publisher, key], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    Ok(row.optional()?.map(|(child, parts): (i64, String)| (Some(child), read_parts(&parts))))
}

pub(super) fn keep(
    connection: &Connection,
    (kind, publisher, key): (&str, &str, &str),
    child: i64,
    within: Option<&str>,
    parts: &[Part],
) -> rusqlite::Result<()> {
    let Some(top) = parts.last() else { return Ok(()) };
    let sql = "INSERT OR REPLACE INTO aggregate(kind, publisher, key, child, at_us, version, event, deleted, within, parts)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let text = serde_json::to_string(parts).unwrap_or_default();
    let Order { at_us, deleted, version, .. } = top.order;
    connection
        .prepare_cached(sql)?
        .execute(params![kind, publisher, key, child, at_us, version, top.event, deleted, within, text])
        .map(drop)
}

pub(super) fn read_parts(text: &str) -> Vec<Part> {
    serde_json::from_str(text).unwrap_or_default()
}

/// An aggregate as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) kind: String,
    pub(super) publisher: String,
    pub(super) key: String,
    pub(super) at_us: i64,
    pub(super) deleted: bool,
    pub(super) parts: Vec<Part>,
}

/// All aggregates of a child, or those of one kind, in the order of kind, publisher and key.
pub(super) fn of_child(connection: &Connection, child: i64, kind: Option<EventKind>) -> rusqlite::Result<Vec<Standing>> {
    let sql = "SELECT kind, publisher, key, at_us, deleted, parts FROM aggregate WHERE child = ?1 AND (?2 IS NULL OR kind = ?2)
        ORDER BY kind, publisher, key";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![child, kind.map(kind_word)], |row| {
        Ok(Standing {
            kind: row.get(0)?,
            publisher: row.get(1)?,
            key: row.get(2)?,
            at_us: row.get(3)?,
            deleted: row.get(4)?,
            parts: read_parts(&row.get::<_, String>(5)?),
        })
    })?;
    rows.collect()
}

impl Standing {
    /// What stands, in the lists of a statement; nothing where the events cannot be read.
    pub(super) fn content(&self, connection: &Connection) -> rusqlite::Result<Option<Statement>> {
        let mut content = Statement::default();
        for part in self.parts.iter().filter(|part| !part.items.is_empty()) {
            let body = event_row::body(connection, part.event)?;
            let Some(event) = body.and_then(|body| serde_json::from_slice::<FiledEvent>(&body).ok()) else { return Ok(None) };
            add(&mut content, &event.statement, part);
        }
        Ok(Some(content))
    }
}

impl Standing {
    /// What stands, out of statements that were read before; a version whose statement is missing says nothing.
    pub(super) fn content_of<'s>(&self, statement: impl Fn(i64) -> Option<&'s Statement>) -> Statement {
        let mut content = Statement::default();
        for part in self.parts.iter().filter(|part| !part.items.is_empty()) {
            if let Some(said) = statement(part.event) {
                add(&mut content, said, part);
            }
        }
        content
    }
}

/// Adds the items of a version; what it corrects goes over what was there.
fn add(content: &mut Statement, said: &Statement, part: &Part) {
    let has = |list: &str, item: usize| part.items.iter().any(|(name, place)| name == list && *place == item);
    let before = std::mem::take(&mut content.blood_spots);
    macro_rules! take {
        ($list:ident, $kind:ident) => {
            let items = said.$list.iter().enumerate().filter(|(item, _)| has(stringify!($list), *item));
            content.$list.extend(items.map(|(_, one)| one.clone()));
        };
    }
    each_list!(take);
    let Some(newest) = content.blood_spots.first_mut() else {
        content.blood_spots = before;
        return;
    };
    let Some(older) = before.into_iter().next() else { return };
    let named = named(part);
    newest.outcomes.extend(older.outcomes.into_iter().filter(|outcome| !named.contains(&outcome.condition)));
    newest.outcomes.sort_by(|a, b| a.condition.cmp(&b.condition));
    let (sample, known) = (&mut newest.sample, older.sample);
    sample.card_no = sample.card_no.take().or(known.card_no);
    sample.accession = sample.accession.take().or(known.accession);
    sample.lab_ods = sample.lab_ods.take().or(known.lab_ods);
    sample.taken = sample.taken.take().or(known.taken);
    sample.received = sample.received.take().or(known.received);
    sample.gestation = sample.gestation.or(known.gestation);
    sample.transfused = sample.transfused.or(known.transfused);
    newest.comment = newest.comment.take().or(older.comment);
}

/// The keys under which a filed event said something, as (publisher, key).
pub(super) fn keys(event: &FiledEvent, row: i64) -> BTreeSet<(String, String)> {
    pieces(&event.statement, event.source.as_str(), row).into_iter().map(|piece| (piece.publisher, piece.key)).collect()
}

/// Events read in one go.
const PAGE: i64 = 1_000;

/// Finds anew what stands, out of all events: for a ledger whose format knew one aggregate of a message only. A row whose events cannot be
/// read stays as it is, and a person is told.
pub(super) fn rebuild(connection: &Connection, now_us: i64) -> rusqlite::Result<()> {
    // Nothing may stand in the way of an older version: what can be read is taken away before anything is placed.
    each_event(connection, |(row, _, _, event)| match event {
        Some(_) => connection.prepare_cached("DELETE FROM aggregate WHERE event = ?1")?.execute([row]).map(drop),
        None => Ok(()),
    })?;
    each_event(connection, |(row, child, at_us, event)| match event {
        Some(event) => place_anew(connection, &event, (row, child, at_us)),
        None => tell_unread(connection, row, now_us),
    })
}

fn each_event(connection: &Connection, mut each: impl FnMut(FiledRow) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let mut after = 0;
    loop {
        let page = events_after(connection, after)?;
        let Some((last, ..)) = page.last() else { return Ok(()) };
        after = *last;
        page.into_iter().try_for_each(&mut each)?;
    }
}

type FiledRow = (i64, i64, i64, Option<FiledEvent>);

fn events_after(connection: &Connection, after: i64) -> rusqlite::Result<Vec<FiledRow>> {
    let sql = "SELECT id, child, at_us, body FROM event WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([after, PAGE], |row| {
        let body: Vec<u8> = row.get(3)?;
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, serde_json::from_slice(&body).ok()))
    })?;
    rows.collect()
}

fn place_anew(connection: &Connection, event: &FiledEvent, (row, child, at_us): (i64, i64, i64)) -> rusqlite::Result<()> {
    let header = &event.statement.event;
    let order = Order { at_us, deleted: header.action == Action::Delete, version: header.version.unwrap_or(0), seq: event.seq.0 };
    let (statement, source) = (&event.statement, event.source.as_str());
    let mut look = Look {
        statement: Cow::Borrowed(statement),
        superseded: false,
        late: Vec::new(),
        matters: Vec::new(),
        settled: Vec::new(),
        publisher: publisher(statement, source).to_owned(),
        row,
        kept: Vec::new(),
        entombed: Vec::new(),
    };
    let mut buried = false;
    for piece in pieces(statement, source, row) {
        let (owner, parts) = stored(connection, (piece.kind, &piece.publisher, &piece.key))?.unwrap_or_default();
        let order = Order { deleted: piece.deleted, ..order };
        let new = Part { order, event: row, items: Vec::new(), corrects: piece.corrects.clone(), resend: piece.resend };
        let placed = if buried && piece.within.is_some() { None } else { place(&parts, new) };
        match placed.filter(|_| owner.is_none_or(|owner| owner == child)) {
            Some(placed) => look.kept.push((piece, placed)),
            None => buried |= piece.is_message && parts.last().is_some_and(|part| part.order.deleted),
        }
    }
    look.keep(connection, child)
}

fn tell_unread(connection: &Connection, row: i64, now_us: i64) -> rusqlite::Result<()> {
    let sql = "SELECT kind, publisher, key, child FROM aggregate WHERE event = ?1";
    let rows: Vec<(String, String, String, i64)> = connection
        .prepare_cached(sql)?
        .query_map([row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (kind, publisher, key, child) in rows {
        let matter = Matter { why: Why::NotReadAgain, kind, publisher, key };
        reviews::open(connection, &matter, (event_row::entry(row), child), now_us)?;
    }
    Ok(())
}
