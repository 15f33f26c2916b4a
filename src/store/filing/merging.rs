//! Filing what is said of identifiers themselves: merges, renamings, links (identity rules, section 3).
//!
//! # Two records become one
//!
//!     survivor   hears every word of the other; is given its identifiers as superseded; its results point here from now on
//!     other      keeps its row, its record and its events; its status is `merged`, and it names the survivor
//!
//! # Invariants
//!
//! - Nothing is destroyed: the other's row, its identifiers and its events stay where they are, and `merged` names the
//!   event that made the two one. What both were is kept beside it; `unmerge.rs` takes it back.
//! - `merged.survivor` is never itself merged: a chain is one step long. `first_survivor` is what the message said.
//! - Both records get an event, and the hubs of both get both events.

use rusqlite::params;

use super::{Failure, Filed, Held, One, Owed, json, location, move_status, unindexed};
use crate::canon::{Child, ChildStatus, HubAssignment, Statement};
use crate::clock;
use crate::identity::{self, Change, Evidence, Record, Said};
use crate::names::{ChildId, DestinationName, EventId};
use crate::outbox::FiledEvent;
use crate::routing::Directory;
use crate::store::births::Heard;
use crate::store::event_row;
use crate::store::filing::{Recipient, STATEMENTS_MAX};
use crate::store::index::{ChildRow, Index};
use crate::store::movers;
use crate::store::parents;
use crate::store::transfers::{self, Beside, Moving, Role};

/// Tables whose rows go over to the survivor; their events still name the child they were said of.
const GO_OVER: [&str; 3] = ["aggregate", "safeguarding", "review"];

impl One<'_> {
    /// Files a merge, renaming or link.
    pub(super) fn change(&self) -> Result<Filed, Failure> {
        let index = Index(self.connection);
        let lost = || unindexed(identity::IndexError("the matched child has no record".into()));
        let known = |child: ChildId| index.by_id(child).map_err(unindexed)?.ok_or_else(lost);
        let said = self.said();
        let owed = match identity::decide_change(self.statement, &index).map_err(unindexed)? {
            Change::Known(child, evidence) => {
                let row = known(child)?;
                let (record, _) = identity::merge(Some(&row.record), &self.identifiers_alone(), &said);
                self.put(Some(&row), record, &said, &evidence, &[])
            }
            Change::New(status, evidence) => {
                let mut whole = self.statement.clone();
                whole.child.identifiers = identity::identifiers_of(self.statement);
                let (mut record, _) = identity::merge(None, &whole, &said);
                record.child.status = record.child.status.or(Some(status));
                self.put(None, record, &said, &evidence, &[])
            }
            Change::Unite { survivor, other, evidence } => self.unite(&known(survivor)?, known(other)?, &said, &evidence),
            Change::Detach { child, evidence } => {
                let detached = self.unlink(&known(child)?, &said, &evidence)?;
                let finding = |text: String| serde_json::json!({ "level": "info", "code": "identity-unlinked", "text": text });
                return Ok(Filed { owed: detached.owed, findings: detached.text.into_iter().map(finding).collect() });
            }
            Change::Held { code, text, evidence } => Err(Failure::Held(Held::Person { code: code.into(), text, evidence })),
        }?;
        Ok(Filed { owed, findings: Vec::new() })
    }

    /// What a merge says of the child that goes on: identifiers, and nothing of the person (HL7 messages, section 2, A40).
    fn identifiers_alone(&self) -> Statement {
        let child = Child { identifiers: identity::identifiers_of(self.statement), ..Child::default() };
        Statement { event: self.statement.event.clone(), child, ..Statement::default() }
    }

    pub(super) fn unite(
        &self,
        survivor: &ChildRow,
        other: ChildRow,
        said: &Said,
        evidence: &[Evidence],
    ) -> Result<Vec<DestinationName>, Failure> {
        self.one_account_only(survivor, &other, evidence)?;
        self.not_apart(survivor, &other, evidence)?;
        self.remember(survivor, &other)?;
        let record = identity::unite(&survivor.record, &other.record);
        let (record, _) = identity::merge(Some(&record), &self.identifiers_alone(), said);
        let left: Vec<HubAssignment> = other.record.child.hub.clone().into_iter().collect();
        let mut owed = self.put(Some(survivor), record, said, evidence, &left)?;
        self.go_over(survivor, &other)?;
        // What the other knew may have moved the survivor to another hub; the one it was with must hear of the other too.
        let goes_on = Index(self.connection).by_row(survivor.id).map_err(unindexed)?;
        let now = goes_on.and_then(|row| row.record.child.hub);
        // Of a hidden child no hub hears that had it not (identity rules, section 9).
        let had = survivor.record.child.hub.clone().filter(|_| !other.record.child.flags.is_restricted());
        let hubs: Vec<HubAssignment> = had.into_iter().chain(now).collect();
        let mut gone = other.record.clone();
        gone.child.status = Some(ChildStatus::Merged);
        gone.child.merged_into = Some(ChildId(survivor.uuid));
        owed.extend(self.of_the_other()?.put_as_it_is(&other, gone, said, evidence, &hubs)?);
        Ok(owed)
    }

    /// Where parents follow both records, a person must say whose account stays (identity rules, section 3).
    fn one_account_only(&self, survivor: &ChildRow, other: &ChildRow, evidence: &[Evidence]) -> Result<(), Failure> {
        let sql = "SELECT 1 FROM proxy_consent WHERE child = ?1";
        let follows = |row: &ChildRow| self.connection.prepare_cached(sql)?.exists([row.id]);
        if follows(survivor)? && follows(other)? {
            let text = "parents' accounts follow both records; a person must say which of them stays".to_owned();
            return Err(Failure::Held(Held::Person { code: "identity-conflict".into(), text, evidence: evidence.to_vec() }));
        }
        Ok(())
    }

    /// Results and consents go over to the survivor, and so do the records that had gone over to the other before.
    fn go_over(&self, survivor: &ChildRow, other: &ChildRow) -> Result<(), Failure> {
        for table in GO_OVER {
            self.connection.prepare_cached(&format!("UPDATE {table} SET child = ?1 WHERE child = ?2"))?.execute([survivor.id, other.id])?;
        }
        let sql = "INSERT OR IGNORE INTO proxy_consent(child, account, at_us, consent) SELECT ?1, account, at_us, consent FROM proxy_consent WHERE child = ?2";
        self.connection.prepare_cached(sql)?.execute([survivor.id, other.id])?;
        parents::go_over(self.connection, survivor.id, other.id)?;
        let sql = "SELECT child FROM merged WHERE survivor = ?1 ORDER BY child";
        let earlier: Vec<i64> =
            self.connection.prepare_cached(sql)?.query_map([other.id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for row in earlier {
            let Some(mut row) = Index(self.connection).by_row(row).map_err(unindexed)? else { continue };
            row.record.child.merged_into = Some(ChildId(survivor.uuid));
            let record = json(&row.record)?.into_bytes();
            self.connection.prepare_cached("UPDATE child SET record = ?2 WHERE id = ?1")?.execute(params![row.id, record])?;
        }
        self.connection.prepare_cached("UPDATE merged SET survivor = ?1 WHERE survivor = ?2")?.execute([survivor.id, other.id])?;
        let sql = "INSERT INTO merged(child, survivor, first_survivor, event) VALUES(?1, ?2, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute([other.id, survivor.id, self.row])?;
        Ok(())
    }

    /// The same statement as it is filed under the child that is gone: rows of an entry are taken from its end.
    pub(super) fn of_the_other(&self) -> Result<Self, Failure> {
        let (first, place) = (event_row::of(event_row::entry(self.row), 0), event_row::place(self.row));
        if event_row::PER_ENTRY <= 2 * place {
            let text = format!("at most {} children are merged by one message", STATEMENTS_MAX / 2);
            return Err(Failure::Held(Held::Person { code: "statement-count".into(), text, evidence: Vec::new() }));
        }
        Ok(Self { row: first + event_row::PER_ENTRY - 1 - place, ..*self })
    }

    /// Routes and keeps a record with its event and debts. `also`: whose hubs hear of it besides.
    pub(super) fn put(
        &self,
        known: Option<&ChildRow>,
        mut record: Record,
        said: &Said,
        evidence: &[Evidence],
        also: &[HubAssignment],
    ) -> Result<Vec<DestinationName>, Failure> {
        let before = known.and_then(|row| row.record.child.hub.clone());
        let directory = self.rules.directory.load();
        let today = self.rules.today(clock::now());
        let route = directory.decide(&record.child, before.as_ref(), today);
        move_status(&mut record.child, &route);
        record.child.hub = Some(route.clone());
        self.keep(known, record, &Owing { said, evidence, route: &route, before: before.as_ref(), also, directory: &directory, reason: "" })
    }

    /// Keeps the record of a child that is gone: nobody becomes responsible for it.
    fn put_as_it_is(
        &self,
        known: &ChildRow,
        record: Record,
        said: &Said,
        evidence: &[Evidence],
        also: &[HubAssignment],
    ) -> Result<Vec<DestinationName>, Failure> {
        let directory = self.rules.directory.load();
        let today = self.rules.today(clock::now());
        let route = record.child.hub.clone().unwrap_or_else(|| directory.decide(&record.child, None, today));
        let before = Some(&route);
        self.keep(Some(known), record, &Owing { said, evidence, route: &route, before, also, directory: &directory, reason: "" })
    }

    /// Keeps a record whose hub was decided, with its event, its debts, and what hubs are told of a move.
    pub(super) fn keep(&self, known: Option<&ChildRow>, record: Record, owing: &Owing<'_>) -> Result<Vec<DestinationName>, Failure> {
        let (child_row, child, version) = self.keep_child(known, &record)?;
        let event = FiledEvent {
            event: EventId(uuid::Uuid::new_v5(&self.ledger, &self.row.to_be_bytes())),
            seq: self.prepared.seq,
            source: self.prepared.source.clone(),
            control_id: self.prepared.control_id.clone(),
            child_id: child,
            version,
            filed: clock::now(),
            superseded: false,
            statement: self.statement.clone(),
            record: record.child,
        };
        let Owing { directory, route, before, .. } = *owing;
        let moving = Moving { directory, route, before, child: child_row, row: self.row, at_us: owing.said.at_us };
        let mut owed = self.owed(&event, &moving)?;
        self.tell_hubs(owing, &moving, &event, &mut owed)?;
        moving.note(self.connection, event.filed, owing.reason)?;
        movers::note_move(self.connection, self.rules, &moving, event.filed)?;
        let (is_new, source, today) = (known.is_none(), event.source.as_str(), self.rules.today(event.filed));
        let (statement, record, now) = (self.statement, &event.record, event.filed);
        Heard { child: child_row, row: self.row, is_new, statement, source, record, now, today, superseded: false }.note(
            self.connection,
            self.rules,
            directory,
        )?;
        self.keep_event(&event, child_row, owing.said, owing.route, owing.evidence, &owed.withheld)?;
        self.keep_debts(&event, child_row, &owed.debts)?;
        Ok(owed.debts.into_iter().map(|(destination, _)| destination).collect())
    }

    /// The hubs of the other record hear of this one. Of one that goes no further they get all that was ever filed.
    fn tell_hubs(&self, owing: &Owing<'_>, moving: &Moving<'_>, event: &FiledEvent, owed: &mut Owed) -> Result<(), Failure> {
        for assignment in owing.also {
            let Some(hub) = owing.directory.acting_hub(assignment) else { continue };
            for destination in self.rules.destinations.iter() {
                let is_the_hubs = matches!(&destination.recipient, Recipient::HubStore(other) if *other == hub);
                if is_the_hubs && !owed.debts.iter().any(|(name, _)| *name == destination.name) {
                    let role = Role::of(Some(assignment), &hub, &owing.directory.default_hub());
                    let goes_over = event.record.status == Some(ChildStatus::Merged);
                    let beside = match goes_over {
                        true => transfers::of_a_merged_record(self.connection, moving, event, (&hub, role))?,
                        false => {
                            location::for_hub(event, &hub, (owing.route, owing.directory)).map(|told| Beside::Told(Box::new(told)).bytes())
                        }
                    };
                    owed.debts.push((destination.name.clone(), beside));
                }
            }
        }
        Ok(())
    }
}

/// What a kept record is told by, and to whom.
pub(super) struct Owing<'a> {
    pub(super) said: &'a Said,
    pub(super) evidence: &'a [Evidence],
    pub(super) route: &'a HubAssignment,
    pub(super) before: Option<&'a HubAssignment>,
    pub(super) also: &'a [HubAssignment],
    pub(super) directory: &'a Directory,
    /// A person's, where a person decided.
    pub(super) reason: &'a str,
}
