//! What people decide of identity, done inside the writer's transaction: tried first, done only when asked for, and in the audit.
//!
//! # Invariants
//!
//! - A trial does everything and undoes it, so that the effect that is shown is the effect that will be.
//! - What changes a record leaves an event, and the hubs of every record it touches are told.
//! - Nothing is destroyed: what is taken apart was noted before it was put together ([`super::unmerge`]).

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::{Connection, OptionalExtension};

use super::{Failure, FilingRules, Held, Matched, One, Prepared, PreparedOutcome, file_one, json, ledger_id};
use crate::canon::{
    Child, ChildStatus, EventHeader, EventKind, Identifier, IdentifierUse, IdentityAct, IdentityChange, Instant, NHS_NUMBER_SYSTEM,
    Statement,
};
use crate::clock;
use crate::failsafe::day;
use crate::identity::{self, Evidence, Record};
use crate::journal::Standing;
use crate::names::{ChildId, DestinationName, Seq};
use crate::store::StoreError;
use crate::store::desk::{self, ChildEffect, DESK, Decision, DeskAct, Effect, refused};
use crate::store::event_row;
use crate::store::index::{ChildRow, Index};
use crate::store::parents::About;
use crate::store::retry::{self, ReadAgain};
use crate::store::writer::audit;

/// An act as it was asked for.
pub(in crate::store) struct Asked {
    pub(in crate::store) act: DeskAct,
    pub(in crate::store) reason: String,
    /// Undo it and only tell what it would do.
    pub(in crate::store) is_trial: bool,
    /// The entry it makes in the journal, or would make.
    pub(in crate::store) seq: i64,
}

/// Why it was not done.
pub(super) enum Stopped {
    Refused(StoreError),
    Filing(Failure),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Self::Filing(Failure::Sql(error))
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Filing(failure)
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Does an act, or tries it. The outer error is the ledger's.
pub(in crate::store) fn perform(
    connection: &Connection,
    rules: &FilingRules,
    read: Option<&ReadAgain>,
    asked: &Asked,
) -> rusqlite::Result<Result<Effect, StoreError>> {
    connection.execute_batch("SAVEPOINT desk")?;
    let done = catch_unwind(AssertUnwindSafe(|| Desk { connection, rules, read, asked }.perform()));
    let outcome = match done {
        Ok(Ok(effect)) => Ok(effect),
        Ok(Err(Stopped::Refused(error))) => Err(error),
        Ok(Err(Stopped::Filing(Failure::Held(Held::Person { text, .. })))) => Err(refused(64, text)),
        Ok(Err(Stopped::Filing(Failure::Sql(error)))) if error.sqlite_error_code() != Some(rusqlite::ErrorCode::ConstraintViolation) => {
            return Err(error);
        }
        Ok(Err(Stopped::Filing(Failure::Sql(_)))) => {
            Err(refused(70, "it cannot stand beside what is on record; the broker's makers must look"))
        }
        Err(_panic) => {
            metrics::counter!("chis_panics_total").increment(1);
            Err(refused(70, "it failed inside the broker; the log names the place, and nothing was done"))
        }
    };
    let is_kept = outcome.is_ok() && !asked.is_trial;
    connection.execute_batch(if is_kept { "RELEASE desk" } else { "ROLLBACK TO desk; RELEASE desk" })?;
    Ok(outcome.map(|effect| Effect { done: is_kept, ..effect }))
}

struct Desk<'a> {
    connection: &'a Connection,
    rules: &'a FilingRules,
    read: Option<&'a ReadAgain>,
    asked: &'a Asked,
}

impl Desk<'_> {
    fn perform(&self) -> Result<Effect, Stopped> {
        let effect = match &self.asked.act {
            DeskAct::Link { survivor, other, although_numbers_differ } => self.link(*survivor, *other, *although_numbers_differ),
            DeskAct::Unlink { other } => self.unlink(*other),
            DeskAct::Detach { child, system, value } => self.detach(*child, (system.as_deref(), value)),
            DeskAct::Apart { one, other } => self.apart(*one, *other),
            DeskAct::File { seq, under } => self.file(*seq, *under),
            DeskAct::Discard { seq } => self.discard(*seq),
            DeskAct::Close { item } => self.close(*item),
            DeskAct::Seal { child } => self.seal(*child),
            DeskAct::Inform { child, about, told } => self.inform(*child, *about, *told),
        }?;
        let act = &self.asked.act;
        audit(self.connection, clock::now(), act.word(), &act.what(), &self.asked.reason)?;
        if act.is_an_entry() {
            // It was appended as nobody's; with its events it is filed.
            let sql = "UPDATE standing SET state = 'filed', reason = '' WHERE seq = ?1";
            self.connection.execute(sql, [self.asked.seq])?;
        }
        Ok(effect)
    }

    pub(super) fn row(&self, child: ChildId) -> Result<ChildRow, Stopped> {
        let found = Index(self.connection).by_id(child).map_err(super::unindexed)?;
        found.ok_or_else(|| refused(66, format!("no child {child} is on record")).into())
    }

    /// Runs `work` with what filing needs to keep a record, its event and its debts.
    fn as_filed<T>(&self, statement: &Statement, work: impl FnOnce(&One<'_>) -> Result<T, Stopped>) -> Result<T, Stopped> {
        let seq = self.asked.seq;
        let prepared = Prepared::own(Seq(seq), DESK, format!("{DESK}-{seq}"), clock::now().as_microsecond());
        let ledger = ledger_id(self.connection)?;
        let row = event_row::of(seq, 0);
        work(&One {
            connection: self.connection,
            prepared: &prepared,
            whole: statement,
            statement,
            rules: self.rules,
            ledger,
            row,
            decided: false,
        })
    }

    /// What the records look like now, beside what they were.
    fn effect(&self, before: &[&ChildRow], told: Vec<DestinationName>, text: Vec<String>) -> Result<Effect, Stopped> {
        let mut children = Vec::new();
        for row in before {
            let Some(after) = Index(self.connection).by_row(row.id).map_err(super::unindexed)? else { continue };
            let (before, now) = (stands(&row.record.child), stands(&after.record.child));
            children.push(ChildEffect { child: ChildId(row.uuid).to_string(), before, after: now, version: after.version });
        }
        let mut told: Vec<String> = told.iter().map(ToString::to_string).collect();
        told.sort();
        told.dedup();
        Ok(Effect { done: false, text, children, told })
    }

    fn link(&self, survivor: ChildId, other: ChildId, although_numbers_differ: bool) -> Result<Effect, Stopped> {
        let (goes_on, gone) = (self.row(survivor)?, self.row(other)?);
        if goes_on.id == gone.id {
            return Err(refused(64, "these are the same record").into());
        }
        for row in [&goes_on, &gone] {
            let status = row.record.child.status;
            if matches!(status, Some(ChildStatus::Sealed)) || row.record.child.flags.adoption_barrier {
                return Err(refused(
                    77,
                    format!("child {} is sealed or behind an adoption barrier: nothing may lead to it", ChildId(row.uuid)),
                )
                .into());
            }
            if let Some(into) = row.record.child.merged_into {
                return Err(refused(64, format!("child {} is a part of {into} already; name that one", ChildId(row.uuid))).into());
            }
        }
        let numbers = (verified(&goes_on.record.child), verified(&gone.record.child));
        let differ = matches!(&numbers, (Some(a), Some(b)) if a != b);
        if differ && !although_numbers_differ {
            let text = "both records have a verified NHS number and they differ: never one child unless the national record said so; \
                if it did, say --although-numbers-differ";
            return Err(refused(64, text).into());
        }
        self.connection
            .execute("DELETE FROM two_children WHERE one = ?1 AND other = ?2", [goes_on.id.min(gone.id), goes_on.id.max(gone.id)])?;
        let statement = merge_statement(&goes_on.record, &gone.record);
        let aggregates = count(self.connection, "SELECT count(*) FROM aggregate WHERE child = ?1", gone.id)?;
        let evidence = [by_person("a person said that these two records are one child")];
        let owed = self.as_filed(&statement, |one| {
            let row = ChildRow { record: gone.record.clone(), ..gone };
            Ok(one.unite(&goes_on, row, &one.said(), &evidence)?)
        })?;
        let mut text = vec![
            format!("child {survivor} goes on and knows what both records know"),
            format!("child {other} is kept as it is and sends on; {aggregates} of its facts go over; `identity unlink` takes it back"),
        ];
        if differ {
            text.push("the NHS number of the record that is gone stays as a superseded one".to_owned());
        }
        let gone = self.row(other)?;
        let before = ChildRow { record: Record { child: Child { status: None, ..Child::default() }, ..Record::default() }, ..gone };
        let mut effect = self.effect(&[&goes_on], owed, text)?;
        effect.children.extend(
            self.effect(&[&before], Vec::new(), Vec::new())?
                .children
                .into_iter()
                .map(|child| ChildEffect { before: "on its own".into(), ..child }),
        );
        Ok(effect)
    }

    fn unlink(&self, other: ChildId) -> Result<Effect, Stopped> {
        let gone = self.row(other)?;
        let statement = Statement { event: header(EventKind::Merge), ..Statement::default() };
        let evidence = [by_person("a person said that these two records are two children after all")];
        let parted = self.as_filed(&statement, |one| one.part(&gone, &evidence))?;
        self.effect(&[&parted.survivor, &gone], parted.owed, parted.text)
    }

    fn detach(&self, child: ChildId, id: (Option<&str>, &str)) -> Result<Effect, Stopped> {
        let row = self.row(child)?;
        if row.record.child.status == Some(ChildStatus::Sealed) {
            return Err(refused(77, "the record is sealed: it stays as it is").into());
        }
        if let Some(into) = row.record.child.merged_into {
            return Err(refused(64, format!("this record is a part of {into}; name that one")).into());
        }
        let statement = Statement { event: header(EventKind::Merge), ..Statement::default() };
        let evidence = [by_person("a person said that an identifier of this record is another person's")];
        let detached = self.as_filed(&statement, |one| one.detach_by_hand(&row, id, &evidence))?;
        self.effect(&[&row], detached.owed, detached.text)
    }

    fn apart(&self, one: ChildId, other: ChildId) -> Result<Effect, Stopped> {
        let (a, b) = (self.row(one)?, self.row(other)?);
        if a.id == b.id {
            return Err(refused(64, "these are the same record").into());
        }
        if [(&a, other), (&b, one)].iter().any(|(row, id)| row.record.child.merged_into == Some(*id)) {
            return Err(refused(64, "they are one record now; `identity unlink` parts them").into());
        }
        desk::keep_apart(self.connection, a.id, b.id, 0)?;
        let (mut closed, mut open) = (0, 0);
        for row in [&a, &b] {
            // Of triplets the third may still be meant: nobody has looked at it.
            if self.is_told_from_all(row)? {
                let sql = "UPDATE identity_item SET closed_us = ?2 WHERE closed_us IS NULL AND kind = 'possible-match' AND child = ?1";
                closed += self.connection.execute(sql, [row.id, clock::now().as_microsecond()])?;
            } else {
                let sql = "SELECT count(*) FROM identity_item WHERE closed_us IS NULL AND kind = 'possible-match' AND child = ?1";
                open += count(self.connection, sql, row.id)?;
            }
        }
        let mut text = vec![
            format!("children {one} and {other} are two: a merge that a sender asks for is held"),
            format!("{closed} open items about a possible match are closed"),
        ];
        if 0 < open {
            text.push(format!("{open} stay open: another child of the same birth could be meant too, and nobody has said of it"));
        }
        self.effect(&[&a, &b], Vec::new(), text)
    }

    /// True where a person has told a child from every other that it might be.
    fn is_told_from_all(&self, row: &ChildRow) -> Result<bool, Stopped> {
        for other in identity::might_be(&row.record.child, &Index(self.connection)).map_err(super::unindexed)? {
            let other = self.row(other.id)?;
            if other.id != row.id && !desk::are_apart(self.connection, row.id, other.id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn file(&self, seq: i64, under: Option<ChildId>) -> Result<Effect, Stopped> {
        let held = || refused(66, format!("message {seq} is not held; `identity list` shows what is"));
        let entry = retry::held_entry(self.connection, seq)?.ok_or_else(held)?;
        let read = self.read.ok_or_else(|| refused(70, "nothing here can read messages"))?;
        let prepared = Prepared { released_by: Some(self.asked.reason.clone()), ..read(&entry) };
        let PreparedOutcome::File(statements) = &prepared.outcome else {
            return Err(refused(64, format!("message {seq} cannot be read by the mappings of now; `msg explain {seq}` says why")).into());
        };
        let ids = |statement: &Statement| statement.child.identifiers.clone();
        if statements.iter().any(|statement| statements.first().is_some_and(|first| ids(first) != ids(statement))) {
            return Err(
                refused(64, format!("message {seq} is about several children, and one decision cannot hold for all of them")).into()
            );
        }
        if statements.iter().any(|statement| !statement.identity_changes.is_empty()) {
            let text = format!(
                "message {seq} merges or links identifiers: decide by `identity link`, `identity unlink` or `identity resolve --apart-from`, then discard it"
            );
            return Err(refused(64, text).into());
        }
        let child = under.map(|child| self.row(child)).transpose()?;
        if let Some(row) = &child {
            if row.record.child.status == Some(ChildStatus::Sealed) {
                return Err(refused(77, "the record is sealed: nothing is filed under it").into());
            }
            if let Some(into) = row.record.child.merged_into {
                return Err(refused(64, format!("this record is a part of {into}; name that one")).into());
            }
        }
        let sql = "INSERT OR REPLACE INTO decision(seq, child, at_us) VALUES(?1, ?2, ?3)";
        self.connection.execute(sql, [seq, child.as_ref().map_or(0, |row| row.id), clock::now().as_microsecond()])?;
        let (standing, owed) = file_one(self.connection, &prepared, self.rules)?;
        if standing != Standing::Filed {
            let sql = "SELECT reason, findings FROM standing WHERE seq = ?1";
            let (reason, findings): (String, Option<String>) =
                self.connection.query_row(sql, [seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
            return Err(refused(64, format!("it would be held again: {reason}{}", last_text(findings.as_deref()))).into());
        }
        let mut owed = owed;
        for (_, _, more) in retry::try_ready(self.connection, self.rules, self.read)? {
            owed.extend(more);
        }
        match child {
            Some(row) => self.effect(&[&row], owed, vec![format!("message {seq} is filed under child {}", ChildId(row.uuid))]),
            None => {
                let sql = "SELECT c.id FROM event v JOIN child c ON c.id = v.child WHERE v.id >= ?1 AND v.id < ?2 LIMIT 1";
                let range = event_row::range(seq);
                let row: Option<i64> = self.connection.query_row(sql, range, |row| row.get(0)).optional()?;
                let made = row.map(|row| Index(self.connection).by_row(row)).transpose().map_err(super::unindexed)?.flatten();
                let before: Vec<&ChildRow> = made.iter().collect();
                let effect =
                    self.effect(&before, owed, vec![format!("message {seq} makes a new child; those on record stay as they are")])?;
                let children = effect.children.into_iter().map(|child| ChildEffect { before: String::new(), ..child }).collect();
                Ok(Effect { children, ..effect })
            }
        }
    }

    fn discard(&self, seq: i64) -> Result<Effect, Stopped> {
        let sql = "UPDATE standing SET state = 'ignored', reason = 'discarded' WHERE seq = ?1 AND state = 'held'";
        if self.connection.execute(sql, [seq])? != 1 {
            return Err(refused(66, format!("message {seq} is not held; `identity list` shows what is")).into());
        }
        retry::forget(self.connection, seq)?;
        self.effect(&[], Vec::new(), vec![format!("message {seq} is never filed; it stays in the journal as ignored: discarded")])
    }

    fn close(&self, item: i64) -> Result<Effect, Stopped> {
        let sql = "SELECT kind, child FROM identity_item WHERE id = ?1 AND closed_us IS NULL";
        let found: Option<(String, i64)> = self.connection.query_row(sql, [item], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (kind, row) = found.ok_or_else(|| refused(66, format!("no open item {item}; `identity list` shows what is")))?;
        self.connection.execute("UPDATE identity_item SET closed_us = ?2 WHERE id = ?1", [item, clock::now().as_microsecond()])?;
        let missing = || refused(65, "the child of this item is not on record");
        let child = Index(self.connection).by_row(row).map_err(super::unindexed)?.ok_or_else(missing)?;
        // What a merged record was marked with went over to the one that goes on.
        let child = match child.record.child.merged_into {
            Some(goes_on) => self.row(goes_on)?,
            None => child,
        };
        let mut record = child.record.clone();
        record.child.flags.birth_needs_review &= kind != "birth-or-death";
        let statement = Statement { event: header(EventKind::Person), ..Statement::default() };
        let evidence = [by_person("a person looked at it")];
        let owed = self.as_filed(&statement, |one| Ok(one.put(Some(&child), record, &one.said(), &evidence, &[])?))?;
        let mut text = vec![format!("item {item} ({kind}) is closed")];
        if kind == "birth-or-death" {
            text.push("the mark that kept this child from its parents' record is taken away".to_owned());
        }
        self.effect(&[&child], owed, text)
    }

    fn seal(&self, child: ChildId) -> Result<Effect, Stopped> {
        let row = self.row(child)?;
        let statement = Statement { event: header(EventKind::Person), ..Statement::default() };
        let sealed = self.as_filed(&statement, |one| one.seal(&row))?;
        self.effect(&[&row], sealed.owed, sealed.text)
    }

    fn inform(&self, child: ChildId, about: About, told: jiff::civil::Date) -> Result<Effect, Stopped> {
        if day::date_of(clock::now()) < told {
            return Err(refused(64, format!("{told} is still to come; name the day on which the parents were told")).into());
        }
        let row = self.row(child)?;
        if row.record.child.status == Some(ChildStatus::Sealed) {
            return Err(refused(77, "the record is sealed: nothing goes out").into());
        }
        if let Some(into) = row.record.child.merged_into {
            return Err(refused(64, format!("this record is a part of {into}; name that one")).into());
        }
        let statement = Statement { event: header(EventKind::ProxyConsent), ..Statement::default() };
        let informed = self.as_filed(&statement, |one| Ok(one.inform(&row, (about, told))?))?;
        self.effect(&[&row], informed.owed, informed.text)
    }
}

/// Status and hub in words.
fn stands(child: &Child) -> String {
    let status = child.status.map(|status| super::word(&status)).unwrap_or_default();
    match &child.hub {
        Some(hub) => format!("{status}, hub {}", hub.hub),
        None => status,
    }
}

fn verified(child: &Child) -> Option<String> {
    match child.nhs_number() {
        Some((number, Some("01"))) => Some(number.to_string()),
        Some((number, None)) if child.status != Some(ChildStatus::Provisional) => Some(number.to_string()),
        _ => None,
    }
}

pub(super) fn header(kind: EventKind) -> EventHeader {
    EventHeader { kind, at: Some(Instant::of(clock::now())), ..EventHeader::default() }
}

pub(super) fn by_person(text: &str) -> Evidence {
    Evidence { step: "7 person".to_owned(), text: text.to_owned() }
}

/// What a sender would have said: the identifiers of one record are given up for those of the other.
fn merge_statement(survivor: &Record, other: &Record) -> Statement {
    let in_force = |record: &Record| -> Vec<Identifier> {
        record.child.identifiers.iter().filter(|id| id.usage == IdentifierUse::Current).cloned().collect()
    };
    let kept = in_force(survivor);
    // A number verified by another source stays what it is; the record says which of two is in force.
    let is_given_up = |id: &Identifier| id.system != NHS_NUMBER_SYSTEM || kept.iter().any(|kept| kept.system == NHS_NUMBER_SYSTEM);
    let prior = in_force(other).into_iter().filter(is_given_up).collect();
    let change = IdentityChange { act: IdentityAct::Merge, prior };
    Statement { event: header(EventKind::Merge), identity_changes: vec![change], ..Statement::default() }
}

fn count(connection: &Connection, sql: &str, child: i64) -> Result<i64, Stopped> {
    Ok(connection.query_row(sql, [child], |row| row.get(0))?)
}

/// The text of the last finding: why it is held.
fn last_text(findings: Option<&str>) -> String {
    let findings: Vec<serde_json::Value> = findings.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let text = findings.last().and_then(|finding| finding.get("text")?.as_str().map(str::to_owned));
    text.map_or(String::new(), |text| format!(": {text}"))
}

/// The statement of a held entry as a person decided of it: without the identifiers that are on record for somebody else.
pub(super) fn cleaned(connection: &Connection, statement: &Statement, decision: Decision) -> Result<Statement, Failure> {
    use crate::identity::ChildIndex;
    let index = Index(connection);
    let own = match decision {
        Decision::Under(row) => index.by_row(row).map_err(super::unindexed)?,
        Decision::New => None,
    };
    let number = own.as_ref().and_then(|row| verified(&row.record.child));
    let mut kept = Vec::new();
    for id in &statement.child.identifiers {
        let holder = index.holder(id).map_err(super::unindexed)?;
        let is_anothers = holder.is_some_and(|holder| own.as_ref().is_none_or(|own| own.uuid != holder.id.0));
        let is_a_relations = index.is_a_relations(&id.system, &id.value).map_err(super::unindexed)?;
        let is_another_number = id.nhs_number().is_some_and(|said| number.as_ref().is_some_and(|known| *known != said.to_string()));
        if !(is_anothers || is_a_relations || is_another_number) {
            kept.push(id.clone());
        }
    }
    let mut cleaned = statement.clone();
    cleaned.child.identifiers = kept;
    Ok(cleaned)
}

/// Which child an entry is about, as a person decided.
pub(super) fn as_decided(connection: &Connection, statement: &Statement, decision: Decision) -> Result<Matched, Failure> {
    match decision {
        Decision::Under(row) => {
            let lost = || super::unindexed(identity::IndexError("the child that was decided on has no record".into()));
            let known = Index(connection).by_row(row).map_err(super::unindexed)?.ok_or_else(lost)?;
            Ok((Some(known), None, vec![by_person("a person said whose this is; identifiers of somebody else were left out")]))
        }
        Decision::New => {
            if statement.child.birth.date.as_ref().and_then(crate::canon::Date::civil).is_none() {
                let text = "a new child needs a date of birth, and the message has none".to_owned();
                return Err(Failure::Held(Held::Person { code: "no-birth-date".into(), text, evidence: Vec::new() }));
            }
            let evidence = vec![by_person("a person said that this is nobody on record; identifiers of somebody else were left out")];
            Ok((None, Some(ChildStatus::Provisional), evidence))
        }
    }
}

/// The bytes of a record, for a snapshot.
pub(super) fn bytes<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    Ok(json(value)?.into_bytes())
}
