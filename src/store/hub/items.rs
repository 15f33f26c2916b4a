//! What stands of what was said under a publisher's key, in rows that an analyst can read.
//!
//! The same rules as in the ledger decide which version stands ([`super::super::aggregates`]); what the ledger found to have no effect is in
//! no event that comes here. A key belongs to the child of its newest version: a record that was merged since is followed by the views.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::super::StoreError;
use super::super::aggregates::{Order, Part, Piece, Standing, pieces, place, read_parts, within, within_anothers};
use super::super::filing::kind_word;
use super::db::{Db, Val, look_up};
use super::{text, word};
use crate::canon::{Action, HearingScreen, Instant, Statement};

/// An event whose items are placed.
pub(super) struct Placing<'e> {
    /// Its row in the store.
    pub(super) row: i64,
    pub(super) child: &'e str,
    pub(super) source: &'e str,
    pub(super) seq: i64,
    pub(super) filed: Timestamp,
    pub(super) statement: &'e Statement,
}

struct Item {
    id: i64,
    child: String,
    kind: String,
    publisher: String,
    key: String,
    within: Option<String>,
    parts: Vec<Part>,
    /// How often something was said that had an effect.
    versions: i64,
    /// It has a row already, so there may be rows of what it said.
    stored: bool,
    dirty: bool,
}

/// The items of a transaction.
pub(super) struct Items {
    /// By key; none: it is known that there is none.
    known: HashMap<String, Option<Item>>,
    /// Keys to be written, in the order in which they were met.
    dirty: Vec<String>,
    /// Statements of this transaction, by row of the event.
    said: HashMap<i64, Statement>,
    next: i64,
}

const COLUMNS: &str = "SELECT item_key, id, child_id, kind, publisher, key, within, parts, versions FROM item WHERE item_key";

fn key(kind: &str, publisher: &str, key: &str) -> String {
    format!("{kind}\u{1f}{publisher}\u{1f}{key}")
}

fn key_of(piece: &Piece) -> String {
    key(&kind_word(piece.kind), &piece.publisher, &piece.key)
}

fn read(row: &super::db::Row) -> Item {
    Item {
        id: row.int(1),
        child: row.text(2),
        kind: row.text(3),
        publisher: row.text(4),
        key: row.text(5),
        within: row.maybe(6),
        parts: read_parts(&row.text(7)),
        versions: row.int(8),
        stored: true,
        dirty: false,
    }
}

impl Items {
    /// Looks up what is known under the keys of these events.
    pub(super) fn look_up<'e>(db: &mut dyn Db, events: impl Iterator<Item = &'e crate::outbox::FiledEvent>) -> Result<Self, StoreError> {
        let keys: BTreeSet<String> = events
            .flat_map(|event| pieces(&event.statement, event.source.as_str(), 0))
            .filter(|piece| !piece.key.starts_with('@'))
            .map(|piece| key_of(&piece))
            .collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let mut items = Self::all_unknown(db)?;
        items.known.extend(keys.iter().map(|key| (key.clone(), None)));
        look_up(db, &format!("{COLUMNS} IN"), &keys, |row| drop(items.known.insert(row.text(0), Some(read(&row)))))?;
        Ok(items)
    }

    /// Nothing was looked up yet.
    pub(super) fn all_unknown(db: &mut dyn Db) -> Result<Self, StoreError> {
        let next = db.rows("SELECT coalesce(max(id), 0) FROM item", &[])?.first().map_or(0, |row| row.int(0)) + 1;
        Ok(Self { known: HashMap::new(), dirty: Vec::new(), said: HashMap::new(), next })
    }

    fn find(&mut self, db: &mut dyn Db, item_key: &str) -> Result<Option<&mut Item>, StoreError> {
        if !self.known.contains_key(item_key) {
            let found = db.rows(&format!("{COLUMNS} = ?1"), &[item_key.into()])?.first().map(read);
            self.known.insert(item_key.to_owned(), found);
        }
        Ok(self.known.get_mut(item_key).and_then(Option::as_mut))
    }

    /// Places what an event said.
    pub(super) fn place(&mut self, db: &mut dyn Db, event: &Placing<'_>) -> Result<(), StoreError> {
        let header = &event.statement.event;
        let at_us = header.at.as_ref().and_then(Instant::timestamp).unwrap_or(event.filed).as_microsecond();
        let order = Order { at_us, deleted: header.action == Action::Delete, version: header.version.unwrap_or(0), seq: event.seq };
        let mut buried = false;
        let mut taken_back: Vec<(Piece, Part)> = Vec::new();
        for piece in pieces(event.statement, event.source, event.row) {
            let item_key = key_of(&piece);
            let new = Part {
                order: Order { deleted: piece.deleted, ..order },
                event: event.row,
                items: piece.items.iter().map(|(list, item)| ((*list).to_owned(), *item)).collect(),
                corrects: piece.corrects.clone(),
                resend: piece.resend,
            };
            if piece.key.starts_with(&format!("@{}.", event.row)) {
                // It is named by the row of this event, so nothing was said under it before: the store need not be asked.
                self.known.entry(item_key.clone()).or_insert(None);
            }
            let known = self.find(db, &item_key)?;
            let parts = known.as_ref().map(|item| item.parts.clone()).unwrap_or_default();
            let placed = if buried && piece.within.is_some() { None } else { place(&parts, new) };
            let Some(placed) = placed else {
                buried |= piece.is_message && parts.last().is_some_and(|part| part.order.deleted);
                continue;
            };
            if let (true, true, Some(grave)) = (piece.is_message, piece.deleted, placed.last()) {
                taken_back.push((piece.clone(), grave.clone()));
            }
            match known {
                Some(item) => {
                    item.parts = placed;
                    item.versions += 1;
                    item.child = event.child.to_owned();
                    item.within.clone_from(&piece.within);
                }
                None => {
                    let item = Item {
                        id: self.next,
                        child: event.child.to_owned(),
                        kind: kind_word(piece.kind),
                        publisher: piece.publisher.clone(),
                        key: piece.key.clone(),
                        within: piece.within.clone(),
                        parts: placed,
                        versions: 1,
                        stored: false,
                        dirty: false,
                    };
                    self.next += 1;
                    self.known.insert(item_key.clone(), Some(item));
                }
            }
            self.touch(item_key);
        }
        if !event.statement_is_empty() {
            self.said.insert(event.row, event.statement.clone());
        }
        for (message, grave) in taken_back {
            self.take_back_within(db, &message, &grave, event.child)?;
        }
        Ok(())
    }

    fn touch(&mut self, item_key: String) {
        if let Some(Some(item)) = self.known.get_mut(&item_key)
            && !item.dirty
        {
            item.dirty = true;
            self.dirty.push(item_key);
        }
    }

    /// A deletion of the message takes back what came under its key.
    fn take_back_within(&mut self, db: &mut dyn Db, message: &Piece, grave: &Part, child: &str) -> Result<(), StoreError> {
        let (own, of_others) = (within(message.kind, &message.key), within_anothers(message.kind, &message.key, &message.publisher));
        let sql = "SELECT item_key FROM item WHERE child_id = ?3 AND (publisher = ?1 AND within = ?2 OR within = ?4)";
        let values = [message.publisher.as_str().into(), own.as_str().into(), child.into(), of_others.as_str().into()];
        let mut keys: BTreeSet<String> = db.rows(sql, &values)?.iter().map(|row| row.text(0)).collect();
        let is_within = |item: &Item| {
            let within = item.within.as_deref();
            item.child == child && (item.publisher == message.publisher && within == Some(&own) || within == Some(&of_others))
        };
        let here = self.known.iter().filter(|(_, item)| item.as_ref().is_some_and(is_within));
        keys.extend(here.map(|(key, _)| key.clone()));
        for item_key in keys {
            let Some(item) = self.find(db, &item_key)? else { continue };
            if let Some(placed) = place(&item.parts, Part { items: Vec::new(), ..grave.clone() }) {
                item.parts = placed;
                item.versions += 1;
                self.touch(item_key);
            }
        }
        Ok(())
    }

    /// Writes the items that changed, and the rows of what they say now.
    pub(super) fn write(&mut self, db: &mut dyn Db) -> Result<(), StoreError> {
        for item_key in std::mem::take(&mut self.dirty) {
            let Some(Some(mut item)) = self.known.remove(&item_key) else { continue };
            let Some(top) = item.parts.last() else { continue };
            let (at, is_deleted) = (super::super::reader::moment(top.order.at_us), top.order.deleted);
            // A message's own key without items of its own is kept for deletions; there is nothing to show.
            let says = !is_deleted && item.parts.iter().any(|part| !part.items.is_empty());
            let sql = "INSERT INTO item(item_key, id, child_id, kind, publisher, key, within, at, deleted, says, versions, parts)
                VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                ON CONFLICT(item_key) DO UPDATE SET child_id = excluded.child_id, within = excluded.within, at = excluded.at,
                    deleted = excluded.deleted, says = excluded.says, versions = excluded.versions, parts = excluded.parts";
            let values = vec![
                item_key.as_str().into(),
                item.id.into(),
                item.child.as_str().into(),
                item.kind.as_str().into(),
                item.publisher.as_str().into(),
                item.key.as_str().into(),
                item.within.as_deref().into(),
                at.into(),
                is_deleted.into(),
                says.into(),
                item.versions.into(),
                text(&item.parts).into(),
            ];
            db.run(sql, values)?;
            if item.stored {
                take_rows_away(db, &item)?;
            }
            if says {
                let content = self.content(db, &item)?;
                write_rows(db, item.id, &content)?;
            }
            (item.stored, item.dirty) = (true, false);
            self.known.insert(item_key, Some(item));
        }
        Ok(())
    }

    /// What an item says now.
    fn content(&mut self, db: &mut dyn Db, item: &Item) -> Result<Statement, StoreError> {
        let missing: Vec<i64> = item
            .parts
            .iter()
            .filter(|part| !part.items.is_empty())
            .map(|part| part.event)
            .filter(|row| !self.said.contains_key(row))
            .collect();
        for row in missing {
            let found = db.rows("SELECT statement FROM event WHERE id = ?1", &[row.into()])?;
            if let Some(said) = found.first().and_then(|found| serde_json::from_str(&found.text(0)).ok()) {
                self.said.insert(row, said);
            }
        }
        Ok(standing(item.parts.clone()).content_of(|row| self.said.get(&row)))
    }
}

/// What stands of these versions.
pub(super) fn standing(parts: Vec<Part>) -> Standing {
    Standing { kind: String::new(), publisher: String::new(), key: String::new(), at_us: 0, deleted: false, parts }
}

impl Placing<'_> {
    /// Nothing of it can be in a row.
    fn statement_is_empty(&self) -> bool {
        pieces(self.statement, self.source, self.row).iter().all(|piece| piece.items.is_empty())
    }
}

fn take_rows_away(db: &mut dyn Db, item: &Item) -> Result<(), StoreError> {
    let tables: &[&'static str] = match item.kind.as_str() {
        "blood-spot" => &["DELETE FROM blood_spot WHERE item = ?1"],
        "hearing" => &["DELETE FROM hearing WHERE item = ?1"],
        "nipe" => &["DELETE FROM physical_exam WHERE item = ?1"],
        "immunisation" => &["DELETE FROM immunisation WHERE item = ?1"],
        "review" => &["DELETE FROM review WHERE item = ?1", "DELETE FROM measurement WHERE item = ?1"],
        "appointment" => &["DELETE FROM appointment WHERE item = ?1"],
        "document" => &["DELETE FROM document WHERE item = ?1"],
        "episode-of-care" => &["DELETE FROM episode WHERE item = ?1"],
        "failsafe" => &["DELETE FROM task WHERE item = ?1"],
        _ => &[],
    };
    tables.iter().try_for_each(|sql| db.run(sql, vec![item.id.into()]))
}

fn at(instant: Option<&Instant>) -> Val {
    instant.map(|at| at.value.as_str()).into()
}

fn opt(words: &Option<String>) -> Val {
    words.as_deref().into()
}

/// The outcomes of one ear in the order of the tests: `no_clear, clear`.
fn ear(screen: &HearingScreen, ear: &str) -> Val {
    let of_ear = screen.tests.iter().filter(|test| test.ear.as_deref() == Some(ear)).filter_map(|test| test.status.as_deref());
    Some(of_ear.collect::<Vec<_>>().join(", ")).filter(|outcomes| !outcomes.is_empty()).into()
}

fn write_rows(db: &mut dyn Db, item: i64, content: &Statement) -> Result<(), StoreError> {
    let mut place = 0_i64;
    let mut put = |db: &mut dyn Db, sql: &'static str, mut values: Vec<Val>| {
        place += 1;
        values.splice(0..0, [item.into(), place.into()]);
        db.run(sql, values)
    };
    for spot in &content.blood_spots {
        let sample = &spot.sample;
        for outcome in &spot.outcomes {
            let sql = "INSERT INTO blood_spot(item, place, card_no, accession, laboratory, taken, received, condition, status, substatus, outcome,
                result_status, at) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
            let values = vec![
                opt(&sample.card_no),
                opt(&sample.accession),
                opt(&sample.lab_ods),
                at(sample.taken.as_ref()),
                at(sample.received.as_ref()),
                outcome.condition.as_str().into(),
                opt(&outcome.nbs_status),
                opt(&outcome.nbs_substatus),
                opt(&outcome.outcome_text),
                word(&outcome.result_status).into(),
                at(outcome.at.as_ref()),
            ];
            put(db, sql, values)?;
        }
    }
    for screen in &content.hearing_screens {
        let sql = "INSERT INTO hearing(item, place, at, site, summary, left_ear, right_ear) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values =
            vec![at(screen.at.as_ref()), opt(&screen.site), opt(&screen.summary_status), ear(screen, "left"), ear(screen, "right")];
        put(db, sql, values)?;
    }
    for exam in &content.nipe_exams {
        let sql =
            "INSERT INTO physical_exam(item, place, exam, at, site, eyes, heart, hips, testes) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let found = |finding: &Option<crate::canon::NipeFinding>| Val::from(finding.as_ref().and_then(|finding| finding.status.as_deref()));
        let parts = [&exam.eyes, &exam.heart, &exam.hips, &exam.testes].map(found);
        let values = [opt(&exam.kind), at(exam.at.as_ref()), opt(&exam.site)].into_iter().chain(parts).collect();
        put(db, sql, values)?;
    }
    for given in &content.immunisations {
        let sql = "INSERT INTO immunisation(item, place, status, given, vaccine_code, vaccine, procedure_code, antigens, dose, batch, manufacturer, site,
            location, reason_not_given) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        let code = |code: &Option<crate::canon::Code>| Val::from(code.as_ref().map(|code| code.code.as_str()));
        let words =
            |code: &Option<crate::canon::Code>| Val::from(code.as_ref().and_then(|code| code.display.as_deref().or(code.text.as_deref())));
        let values = vec![
            word(&given.status).into(),
            at(given.occurrence.as_ref()),
            code(&given.vaccine),
            words(&given.vaccine),
            code(&given.procedure),
            given.antigens.join(" ").into(),
            given.dose_number.into(),
            opt(&given.batch),
            opt(&given.manufacturer),
            code(&given.site),
            opt(&given.location_ods),
            code(&given.reason_not_given),
        ];
        put(db, sql, values)?;
    }
    for review in &content.reviews {
        let sql = "INSERT INTO review(item, place, kind, at, site, mode, attended, feeding) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let values = vec![
            opt(&review.kind),
            at(review.at.as_ref()),
            opt(&review.site),
            opt(&review.mode),
            opt(&review.attended),
            opt(&review.feeding),
        ];
        put(db, sql, values)?;
        for measured in &review.measurements {
            let sql = "INSERT INTO measurement(item, place, kind, value, unit, at) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
            let (kind, value, unit) = (measured.kind.as_str(), measured.qty.value.as_str(), measured.qty.unit.as_str());
            put(db, sql, vec![kind.into(), value.into(), unit.into(), at(measured.at.as_ref().or(review.at.as_ref()))])?;
        }
    }
    for one in &content.appointments {
        let sql = "INSERT INTO appointment(item, place, service, starts, site, status) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        put(db, sql, vec![opt(&one.service), at(one.start.as_ref()), opt(&one.site), opt(&one.status)])?;
    }
    for one in &content.documents {
        let sql = "INSERT INTO document(item, place, type_code, type, at, author, mime, sha256, status) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let kind = one.kind.as_ref();
        let values = vec![
            kind.map(|kind| kind.code.as_str()).into(),
            kind.and_then(|kind| kind.display.as_deref()).into(),
            at(one.at.as_ref()),
            opt(&one.author),
            opt(&one.mime),
            opt(&one.sha256),
            opt(&one.status),
        ];
        put(db, sql, values)?;
    }
    for one in &content.episodes {
        let sql = "INSERT INTO episode(item, place, service, organisation, since, until, status) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        put(db, sql, vec![opt(&one.service), opt(&one.org_ods), at(one.from.as_ref()), at(one.to.as_ref()), opt(&one.status)])?;
    }
    for one in &content.tasks {
        let sql = "INSERT INTO task(item, place, clock, service, severity, reason, due, owner, status, closed)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let values = vec![
            opt(&one.clock),
            opt(&one.service),
            opt(&one.severity),
            opt(&one.reason),
            at(one.due.as_ref()),
            opt(&one.owner_ods),
            opt(&one.status),
            opt(&one.closed),
        ];
        put(db, sql, values)?;
    }
    Ok(())
}
