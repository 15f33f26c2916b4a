//! Hubs that change without a message: because a person decided, or because the hubs or directories changed.
//!
//! Each change is an event of an entry of our own, with the record after it and its debts, filed like any other.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::Connection;

use super::merging::Owing;
use super::{Failure, FilingRules, Held, One, Prepared, ledger_id, move_status};
use crate::canon::{Action, EventHeader, EventKind, HubAssignment, Instant, Statement};
use crate::names::DestinationName;
use crate::store::event_row;
use crate::store::index::ChildRow;
use crate::store::own;

/// A child that another hub looks after from now on.
pub(in crate::store) struct Assigned {
    pub(in crate::store) row: ChildRow,
    pub(in crate::store) route: HubAssignment,
    /// Effective since, microseconds since 1970.
    pub(in crate::store) since_us: i64,
}

/// What is written down of an act.
pub(in crate::store) struct ActOf<'a> {
    /// `hub-assign`, `hub-reassign`.
    pub(in crate::store) kind: &'a str,
    /// Names the act in listings.
    pub(in crate::store) control_id: &'a str,
    /// A person's.
    pub(in crate::store) reason: &'a str,
    pub(in crate::store) now: Timestamp,
}

/// Files changes of hubs as one entry of our own. Gives to whom debts were made. At most 512 at a time.
pub(in crate::store) fn assign_all(
    connection: &Connection,
    rules: &FilingRules,
    changes: Vec<Assigned>,
    act: &ActOf<'_>,
) -> rusqlite::Result<BTreeSet<DestinationName>> {
    let mut owed = BTreeSet::new();
    if changes.is_empty() {
        return Ok(owed);
    }
    let body = serde_json::json!({ "act": act.kind, "reason": act.reason, "children": changes.len() }).to_string();
    let seq = own::entry(connection, act.now, own::SOURCE, (act.kind, act.control_id), body.as_bytes())?;
    let prepared = Prepared::own(seq, own::SOURCE, act.control_id.to_owned(), act.now.as_microsecond());
    let ledger = ledger_id(connection)?;
    let header = EventHeader {
        kind: EventKind::Person,
        action: Action::Update,
        at: Some(Instant::of(act.now)),
        publisher: Some(own::SOURCE.to_owned()),
        notice: true,
        ..EventHeader::default()
    };
    let statement = Statement { event: header, ..Statement::default() };
    for (place, change) in (0..).zip(changes) {
        let row = event_row::of(seq.0, place);
        let one = One { connection, prepared: &prepared, whole: &statement, statement: &statement, rules, ledger, row, decided: false };
        owed.extend(one.assign(change, act.reason).map_err(as_sql)?);
    }
    Ok(owed)
}

/// An act is done whole or not at all; there is no message that could be held.
fn as_sql(failure: Failure) -> rusqlite::Error {
    match failure {
        Failure::Sql(error) => error,
        Failure::Held(Held::Person { text, .. }) => rusqlite::Error::ToSqlConversionFailure(text.into()),
    }
}

impl One<'_> {
    fn assign(&self, change: Assigned, reason: &str) -> Result<Vec<DestinationName>, Failure> {
        let Assigned { row, route, since_us } = change;
        let before = row.record.child.hub.clone();
        let mut record = row.record.clone();
        move_status(&mut record.child, &route);
        record.child.hub = Some(route.clone());
        let directory = self.rules.directory.load();
        let mut said = self.said();
        said.at_us = since_us;
        let owing = Owing { said: &said, evidence: &[], route: &route, before: before.as_ref(), also: &[], directory: &directory, reason };
        self.keep(Some(&row), record, &owing)
    }
}
