//! An identifier that a link attached to a record is taken off it again (A37; identity rules, section 3), by a sender or by a person.
//!
//! # How
//!
//!     which     the events of a child say by which message an identifier came to its record: only one that a link (A24) brought goes by
//!               itself; one that was there before, or came with another record, waits for a person
//!     off       the record has it no longer, nobody is found by it, and `detached` says what it was and which message had brought it
//!     review    what came under it alone stays where it is and is named to a person: facts as reviews, so that parents are told nothing
//!               more of their kind before, other messages as items
//!
//! # Invariants
//!
//! - Nothing is destroyed: the messages and their events stay, and so does the word of who linked and who unlinked.
//! - An NHS number is never taken off.
//! - The effect is an event of its own, and the hubs that have the record are told.

use rusqlite::{OptionalExtension, params};

use super::unmerge::Since;
use super::{Failure, Held, One, acts, unindexed};
use crate::canon::{Identifier, IdentityAct, IdentityChange, NHS_NUMBER_SYSTEM, Statement};
use crate::clock;
use crate::identity::{self, Evidence, Said};
use crate::names::{ChildId, DestinationName};
use crate::store::index::{ChildRow, Index};
use crate::store::reviews::{self, Matter, Why};
use crate::store::writer::audit;
use crate::store::{OWN_SOURCES, aggregates, desk, event_row};

/// The kind of the item about a message that came under it.
pub(in crate::store) const KIND: &str = "alias-unlinked";

/// How an identifier came to be on a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// By a link, this row.
    Link(i64),
    /// With another record, this row, that became a part of it.
    Merged(i64),
    /// By what was said of the child itself.
    Own,
}

/// What taking an identifier off did.
pub(super) struct Detached {
    pub(super) owed: Vec<DestinationName>,
    pub(super) text: Vec<String>,
}

impl One<'_> {
    /// Does what an A37 says of a record that has both identifiers. Gives who is owed what, and what to tell of it.
    pub(super) fn unlink(&self, row: &ChildRow, said: &Said, evidence: &[Evidence]) -> Result<Detached, Failure> {
        let events = self.events(row.id)?;
        let mut linked: Vec<Vec<Identifier>> = Vec::new();
        let mut merged = None;
        for side in identity::unlinked_sides(self.whole) {
            let held: Vec<Identifier> = side.into_iter().filter(|id| has(&row.record.child.identifiers, id)).collect();
            let mut origins = Vec::with_capacity(held.len());
            for id in &held {
                origins.push(self.origin(row, id, &events)?);
            }
            merged =
                merged.or_else(|| origins.iter().find_map(|origin| if let Origin::Merged(other) = origin { Some(*other) } else { None }));
            if !held.is_empty() && origins.iter().all(|origin| matches!(origin, Origin::Link(_))) {
                linked.push(held);
            }
        }
        let text = match (linked.as_slice(), merged) {
            ([ids], _) => {
                let reason = format!("unlinked by a message of {}", self.prepared.source);
                return self.detach(row, ids, said, (evidence, &events), &reason);
            }
            (_, Some(other)) => {
                let other = Index(self.connection).by_row(other).map_err(unindexed)?.map(|other| ChildId(other.uuid).to_string());
                format!(
                    "these identifiers stand on one record because two records were made one: `identity unlink {}` takes that back",
                    other.unwrap_or_default()
                )
            }
            ([], None) => {
                "these identifiers stand on one record, and no link (A24) brought one of them: a person must say which one goes, \
                 `identity unlink CHILD --alias`"
                    .to_owned()
            }
            _ => "both identifiers came to this record by links, so neither is the record's own: a person must say which one goes, \
                 `identity unlink CHILD --alias`"
                .to_owned(),
        };
        Err(Failure::Held(Held::Person { code: "identity-link".into(), text, evidence: evidence.to_vec() }))
    }

    /// Takes an identifier off a record because a person said so.
    pub(super) fn detach_by_hand(
        &self,
        row: &ChildRow,
        (system, value): (Option<&str>, &str),
        evidence: &[Evidence],
    ) -> Result<Detached, acts::Stopped> {
        let name = ChildId(row.uuid);
        let ids = &row.record.child.identifiers;
        let meant: Vec<&Identifier> =
            ids.iter().filter(|id| id.value == value && system.is_none_or(|system| id.system == system)).collect();
        let id = match meant.as_slice() {
            [id] => (*id).clone(),
            [] => {
                return Err(
                    desk::refused(66, format!("child {name} has no such identifier; `child {name} --reveal REASON` shows them")).into()
                );
            }
            several => {
                let systems: Vec<&str> = several.iter().map(|id| id.system.as_str()).collect();
                let text = format!("child {name} has this identifier in several systems: say --system, one of {}", systems.join(", "));
                return Err(desk::refused(64, text).into());
            }
        };
        if id.system == NHS_NUMBER_SYSTEM {
            return Err(
                desk::refused(64, "an NHS number is no alias: the national record says whose it is, and a person seals or links").into()
            );
        }
        if ids.len() == 1 {
            return Err(desk::refused(64, format!("this is the only identifier of child {name}: nothing would find it any more")).into());
        }
        let events = self.events(row.id)?;
        if let Origin::Merged(other) = self.origin(row, &id, &events)? {
            let other = Index(self.connection).by_row(other).map_err(unindexed)?.map(|other| ChildId(other.uuid).to_string());
            let text = format!(
                "this identifier came with another record that became a part of child {name}: `identity unlink {}` takes that back",
                other.unwrap_or_default()
            );
            return Err(desk::refused(64, text).into());
        }
        Ok(self.detach(row, &[id], &self.said(), (evidence, &events), "")?)
    }

    /// `reason`: what the audit has of it; empty where the act of a person is in the audit by itself.
    fn detach(
        &self,
        row: &ChildRow,
        ids: &[Identifier],
        said: &Said,
        (evidence, events): (&[Evidence], &[Since]),
        reason: &str,
    ) -> Result<Detached, Failure> {
        let now = clock::now();
        let record = identity::detach(&row.record, ids, said);
        let mut linked = Vec::new();
        for id in ids {
            let by = match self.origin(row, id, events)? {
                Origin::Link(event) => event,
                Origin::Merged(_) | Origin::Own => 0,
            };
            linked.push(by);
            let sql = "DELETE FROM identifier WHERE system = ?1 AND value = ?2 AND child = ?3";
            self.connection.prepare_cached(sql)?.execute(params![id.system, id.value, row.id])?;
            let sql = "INSERT INTO detached(child, system, value, linked, event, at_us) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
            self.connection.prepare_cached(sql)?.execute(params![row.id, id.system, id.value, by, self.row, now.as_microsecond()])?;
        }
        let (facts, messages) = self.review(row, ids, (&record.child.identifiers, events, &linked))?;
        if !reason.is_empty() {
            let what = format!("child {}, message {}", ChildId(row.uuid), self.prepared.seq);
            audit(self.connection, now, "identity-unlink-alias", &what, reason)?;
        }
        // What the event says is what was done: these identifiers are not the child's.
        let change = IdentityChange { act: IdentityAct::Unlink, prior: ids.to_vec() };
        let done = Statement { identity_changes: vec![change], ..self.statement.clone() };
        let mut evidence = evidence.to_vec();
        let text = "an identifier is taken off; what came under it alone is for a person".to_owned();
        evidence.push(Evidence { step: "6 identity-change".to_owned(), text });
        let owed = One { statement: &done, ..*self }.put(Some(row), record, said, &evidence, &[])?;
        let how = match linked.first() {
            Some(0) | None => "which no link had brought".to_owned(),
            Some(event) => format!("which message {} had linked", event_row::entry(*event)),
        };
        let text = vec![
            format!("{} of child {}, {how}, is taken off its record", counted(ids.len(), "identifier"), ChildId(row.uuid)),
            format!(
                "{} and {} that came under it alone stay with this child until somebody has looked: `held list` and `identity list` name them",
                counted(facts, "fact"),
                counted(messages, "other message")
            ),
            "what is said under it from now on finds nobody, and is tried like anybody's".to_owned(),
        ];
        Ok(Detached { owed, text })
    }

    /// Names to a person what came under these identifiers alone: facts, and messages without any.
    fn review(
        &self,
        row: &ChildRow,
        ids: &[Identifier],
        (kept, events, linked): (&[Identifier], &[Since], &[i64]),
    ) -> Result<(usize, usize), Failure> {
        let now = clock::now().as_microsecond();
        let under = |event: &&Since| {
            let said = &event.event.statement;
            let named = &said.child.identifiers;
            !OWN_SOURCES.contains(&event.event.source.as_str())
                && !linked.contains(&event.row)
                && said.identity_changes.is_empty()
                && named.iter().any(|id| has(ids, id))
                && !named.iter().any(|id| has(kept, id))
        };
        let under: Vec<i64> = events.iter().filter(under).map(|event| event.row).collect();
        let (mut facts, mut of_facts) = (0, Vec::new());
        for standing in aggregates::of_child(self.connection, row.id, None)? {
            let Some(event) = standing.parts.iter().map(|part| part.event).find(|event| under.contains(event)) else { continue };
            let matter = Matter { why: Why::AliasUnlinked, kind: standing.kind, publisher: standing.publisher, key: standing.key };
            reviews::open(self.connection, &matter, (event_row::entry(event), row.id), now)?;
            of_facts.extend(standing.parts.iter().map(|part| event_row::entry(part.event)));
            facts += 1;
        }
        let mut messages: Vec<i64> = under.into_iter().map(event_row::entry).filter(|seq| !of_facts.contains(seq)).collect();
        messages.dedup();
        for seq in &messages {
            desk::ask(self.connection, KIND, row.id, *seq, now)?;
        }
        Ok((facts, messages.len()))
    }

    /// By what an identifier came to the record of a child, the last time it came.
    fn origin(&self, row: &ChildRow, id: &Identifier, events: &[Since]) -> Result<Origin, Failure> {
        let sql = "SELECT child FROM identifier WHERE system = ?1 AND value = ?2";
        let holder: Option<i64> = self.connection.prepare_cached(sql)?.query_row([&id.system, &id.value], |row| row.get(0)).optional()?;
        if let Some(other) = holder.filter(|holder| *holder != row.id) {
            return Ok(Origin::Merged(other));
        }
        let mut origin = Origin::Own;
        let mut had = false;
        for event in events {
            let has = has(&event.event.record.identifiers, id);
            if has && !had {
                let changes = &event.event.statement.identity_changes;
                let is_link = !changes.is_empty() && changes.iter().all(|change| change.act == IdentityAct::Link);
                origin = if is_link { Origin::Link(event.row) } else { Origin::Own };
            }
            had = has;
        }
        Ok(origin)
    }
}

pub(super) fn has(ids: &[Identifier], id: &Identifier) -> bool {
    ids.iter().any(|own| (&own.system, &own.value) == (&id.system, &id.value))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
