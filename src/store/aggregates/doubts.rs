//! What a person must look at when a version of an aggregate comes: it is filed as it is said, and somebody is told.
//!
//! # What always holds
//!
//! - Nothing is taken back by a guess. A deletion under a key that nobody knows leaves its tombstone, and a person looks; where it may
//!   mean a vaccination under another key, it is not filed before a person has said what it means.
//! - The same matter is seen in whatever order its messages come; what the last of them settles is settled.
//!
//! # Not here
//!
//! Where such matters are kept and closed: `reviews.rs`.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use super::{Part, Piece, Refusal, of_child};
use crate::canon::{ConditionOutcome, EventKind, Immunisation, ResultStatus, Statement, is_final};
use crate::outbox::FiledEvent;
use crate::store::event_row;
use crate::store::filing::kind_word;
use crate::store::reviews::{Matter, Why};

/// Weighs the pieces of one statement.
pub(super) struct Doubts<'a> {
    connection: &'a Connection,
    statement: &'a Statement,
    source: &'a str,
    child: Option<i64>,
    row: i64,
    /// A person said that an unclear deletion means nothing on record.
    decided: bool,
    raised: Vec<(Matter, String)>,
    /// Deletions that met nothing: told where no piece of the statement met anything, or of single items.
    unmet: Vec<(Matter, String, bool)>,
    has_met: bool,
    settled: Vec<Matter>,
}

impl<'a> Doubts<'a> {
    pub(super) fn of(
        connection: &'a Connection,
        statement: &'a Statement,
        source: &'a str,
        (child, row): (Option<i64>, i64),
        decided: bool,
    ) -> Self {
        let (raised, unmet, settled) = (Vec::new(), Vec::new(), Vec::new());
        Self { connection, statement, source, child, row, decided, raised, unmet, has_met: false, settled }
    }

    /// Weighs a piece before it is placed; `parts` is what is on record under its key.
    pub(super) fn weigh(&mut self, piece: &Piece, parts: &[Part], new: &Part) -> Result<(), Refusal> {
        if self.outcomes(piece).iter().any(|outcome| outcome.result_status == ResultStatus::WrongPatient) {
            let text = "an outcome is marked as another child's (OBX-11 W): it counts for nothing here, and the child whose it is has none; \
                find out whose it is";
            self.raise(piece, Why::WrongPatient, text.to_owned());
        }
        if piece.deleted {
            self.weigh_deletion(piece, parts)?;
        } else {
            self.weigh_version(piece, parts, new)?;
        }
        Ok(())
    }

    /// What is to be told, and what is settled.
    pub(super) fn told(self) -> (Vec<(Matter, String)>, Vec<Matter>) {
        let Self { mut raised, unmet, has_met, settled, .. } = self;
        let several = unmet.len() > 1;
        // The key of the message is told only where nothing below it says more.
        let is_told = |is_message: bool| if is_message { !has_met && !several } else { true };
        raised.extend(unmet.into_iter().filter(|(_, _, is_message)| is_told(*is_message)).map(|(matter, text, _)| (matter, text)));
        (raised, settled)
    }

    fn matter(piece: &Piece, why: Why) -> Matter {
        Matter { why, kind: kind_word(piece.kind), publisher: piece.publisher.clone(), key: piece.key.clone() }
    }

    fn raise(&mut self, piece: &Piece, why: Why, text: String) {
        self.raised.push((Self::matter(piece, why), text));
    }

    fn settle(&mut self, piece: &Piece, why: Why) {
        self.settled.push(Self::matter(piece, why));
    }

    fn weigh_deletion(&mut self, piece: &Piece, parts: &[Part]) -> Result<(), Refusal> {
        if !parts.is_empty() {
            self.has_met = true;
            self.settle(piece, Why::OutcomeDropped);
            // Another version beside the tombstone: what was taken back is on record.
            return Ok(());
        }
        if let (EventKind::Immunisation, Some(child), false) = (piece.kind, self.child, self.decided)
            && let Some(seq) = self.may_mean(piece, child)?
        {
            return Err(Refusal::Unclear(seq));
        }
        let text = format!("takes back something that is not on record: {}{}", piece.words(), self.of_another_publisher(piece)?);
        self.unmet.push((Self::matter(piece, Why::TakesBackNothing), text, piece.is_message && piece.items.is_empty()));
        Ok(())
    }

    fn weigh_version(&mut self, piece: &Piece, parts: &[Part], new: &Part) -> Result<(), Refusal> {
        let corrects = new.corrects.is_some() && !new.resend;
        let outcomes = self.outcomes(piece);
        if parts.is_empty() {
            if corrects && outcomes.iter().any(|outcome| outcome.result_status.takes_back()) {
                let text = format!("takes back an outcome of something that is not on record: {}", piece.words());
                let text = format!("{text}{}", self.of_another_publisher(piece)?);
                self.raise(piece, Why::TakesBackNothing, text);
            } else if corrects && outcomes.iter().any(|outcome| outcome.result_status == ResultStatus::Corrected) {
                let text = format!("corrects something that is not on record: {}", piece.words());
                let text = format!("{text}{}", self.of_another_publisher(piece)?);
                self.raise(piece, Why::CorrectsNothing, text);
            }
            return Ok(());
        }
        if !corrects {
            // What was taken back or corrected before it came is here now.
            self.settle(piece, Why::TakesBackNothing);
            self.settle(piece, Why::CorrectsNothing);
        }
        if piece.kind == EventKind::BloodSpot && !piece.items.is_empty() {
            self.weigh_outcomes(piece, parts, new)?;
        }
        Ok(())
    }

    /// Final outcomes that stood and that a newer version of the card does not name.
    fn weigh_outcomes(&mut self, piece: &Piece, parts: &[Part], new: &Part) -> Result<(), Refusal> {
        let own = self.finals(piece);
        if new.corrects.is_none() || parts.iter().any(|part| part.order > new.order && part.corrects.is_none() && !part.order.deleted) {
            return self.weigh_whole(piece, parts, new).map_err(Refusal::from);
        }
        let Some(placed) = super::place(parts, new.clone()) else { return Ok(()) };
        let mut dropped = BTreeSet::new();
        if placed.iter().skip(1).any(|part| part.resend) {
            let mut stands: BTreeMap<String, bool> = BTreeMap::new();
            for part in &placed {
                let said = if part.event == new.event { own.clone() } else { self.said(part)? };
                if part.resend && said.keys().any(|condition| stands.contains_key(condition)) {
                    dropped.extend(
                        stands.iter().filter(|(condition, is_final)| **is_final && !said.contains_key(*condition)).map(|(c, _)| c.clone()),
                    );
                }
                dropped.retain(|condition| !said.contains_key(condition));
                stands.extend(said);
            }
        }
        if dropped.is_empty() {
            self.settle(piece, Why::OutcomeDropped);
            return Ok(());
        }
        // Told where this message has a part in it: it leaves them out, or it says what a newer one had left out.
        let names = listed(&dropped);
        let says = own.keys().any(|condition| dropped.contains(condition));
        if says || new.resend {
            let text = format!(
                "a newer version of {} does not say what stood: {names}. It stays until it is taken back by name (OBX-11 D, W, X) or with the card",
                piece.words()
            );
            self.raise(piece, Why::OutcomeDropped, text);
        }
        Ok(())
    }

    /// A national version replaces the whole: what it does not say is gone, and a person is told.
    fn weigh_whole(&mut self, piece: &Piece, parts: &[Part], new: &Part) -> rusqlite::Result<()> {
        let mut before = BTreeMap::new();
        let (mut newer, own) = (None, self.finals(piece));
        for part in parts {
            let said = self.said(part)?;
            if part.order < new.order {
                before.extend(said);
            } else if part.corrects.is_none() && !part.order.deleted {
                newer = Some(said);
            }
        }
        let (older, newer) = match newer {
            Some(newer) => (own, newer),
            None => (before, own),
        };
        let gone: BTreeSet<String> =
            older.into_iter().filter(|(condition, is_final)| *is_final && !newer.contains_key(condition)).map(|(c, _)| c).collect();
        if !gone.is_empty() {
            let text = format!("a newer version of {} replaces the whole and does not say what stood: {}", piece.words(), listed(&gone));
            self.raise(piece, Why::OutcomeDropped, text);
        }
        Ok(())
    }

    fn outcomes(&self, piece: &Piece) -> Vec<&'a ConditionOutcome> {
        let spots =
            piece.items.iter().filter(|(list, _)| *list == "blood_spots").filter_map(|(_, item)| self.statement.blood_spots.get(*item));
        spots.flat_map(|spot| &spot.outcomes).collect()
    }

    /// The conditions of a piece, and whether each outcome is final.
    fn finals(&self, piece: &Piece) -> BTreeMap<String, bool> {
        self.outcomes(piece).into_iter().map(|outcome| (outcome.condition.clone(), is_final(outcome))).collect()
    }

    /// The same of a version on record; nothing where its event cannot be read.
    fn said(&self, part: &Part) -> rusqlite::Result<BTreeMap<String, bool>> {
        let Some(event) = event(self.connection, part.event)? else { return Ok(BTreeMap::new()) };
        let has = |item: usize| part.items.iter().any(|(list, place)| list == "blood_spots" && *place == item);
        let spots = event.statement.blood_spots.iter().enumerate().filter(|(item, _)| has(*item));
        Ok(spots.flat_map(|(_, spot)| &spot.outcomes).map(|outcome| (outcome.condition.clone(), is_final(outcome))).collect())
    }

    /// The same key, given by somebody else.
    fn of_another_publisher(&self, piece: &Piece) -> rusqlite::Result<&'static str> {
        let sql = "SELECT 1 FROM aggregate WHERE child = ?1 AND kind = ?2 AND key = ?3 AND publisher <> ?4 AND NOT deleted";
        let is_known = match self.child {
            Some(child) => {
                self.connection.prepare_cached(sql)?.exists(params![child, kind_word(piece.kind), piece.key, piece.publisher])?
            }
            None => false,
        };
        Ok(if is_known { "; another publisher has something of this child under that key, which stays" } else { "" })
    }

    /// The entry that said a vaccination of the same day and product from the same sender under another key.
    fn may_mean(&self, piece: &Piece, child: i64) -> rusqlite::Result<Option<i64>> {
        let taken_back: Vec<&Immunisation> = piece
            .items
            .iter()
            .filter(|(list, _)| *list == "immunisations")
            .filter_map(|(_, item)| self.statement.immunisations.get(*item))
            .collect();
        for known in of_child(self.connection, child, Some(EventKind::Immunisation))? {
            let Some(part) = known.parts.last().filter(|_| !known.deleted) else { continue };
            let Some(event) = event(self.connection, part.event)?.filter(|_| part.event != self.row) else { continue };
            if event.source.as_str() != self.source && known.publisher != piece.publisher {
                continue;
            }
            let has = |item: usize| part.items.iter().any(|(list, place)| list == "immunisations" && *place == item);
            let mut stands = event.statement.immunisations.iter().enumerate().filter(|(item, _)| has(*item)).map(|(_, given)| given);
            if stands.any(|given| taken_back.iter().any(|gone| is_alike(given, gone))) {
                return Ok(Some(event_row::entry(part.event)));
            }
        }
        Ok(None)
    }
}

/// The same day and product, as far as both say them.
fn is_alike(given: &Immunisation, gone: &Immunisation) -> bool {
    let day = |one: &Immunisation| one.occurrence.as_ref().map(|at| at.value.chars().take(10).collect::<String>());
    let product = |one: &Immunisation| one.vaccine.as_ref().map(|vaccine| vaccine.code.clone()).filter(|code| !code.is_empty());
    let same = |a: Option<String>, b: Option<String>| match (a, b) {
        (Some(a), Some(b)) => a.starts_with(&b) || b.starts_with(&a),
        _ => true,
    };
    same(day(given), day(gone)) && same(product(given), product(gone))
}

fn listed(conditions: &BTreeSet<String>) -> String {
    conditions.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn event(connection: &Connection, row: i64) -> rusqlite::Result<Option<FiledEvent>> {
    Ok(event_row::body(connection, row)?.and_then(|body| serde_json::from_slice(&body).ok()))
}
