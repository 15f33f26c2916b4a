//! A hub notes that a person told the parents of what is held back: their accounts may be sent it (destination rules, section 3).
//!
//! # What always holds
//!
//! - It holds for the results as they stand now, as far as they were on record on the day on which the parents were told: what came later, and a
//!   correction, waits for a person again.
//! - Everything else that stands before a parents' record stands before this too: no consent, a restriction, a death.
//! - Nobody but a parents' record hears of it: for all others the result was never held back.

use std::collections::BTreeMap;

use jiff::civil;
use uuid::Uuid;

use super::{Failure, Held, One, Owing, Recipient, acts};
use crate::clock;
use crate::names::{ChildId, DestinationName, EventId};
use crate::outbox::FiledEvent;
use crate::store::index::ChildRow;
use crate::store::parents::{self, About, Noted, Of};

/// What came of it.
pub(super) struct Informed {
    pub(super) owed: Vec<DestinationName>,
    pub(super) text: Vec<String>,
}

impl One<'_> {
    /// Notes it, and owes each parents' record what it may be sent now.
    pub(super) fn inform(&self, row: &ChildRow, (about, told): (About, civil::Date)) -> Result<Informed, Failure> {
        let now = clock::now();
        let Noted { released, left } = parents::inform(self.connection, row.id, (about, told), now.as_microsecond())?;
        let event = FiledEvent {
            event: EventId(Uuid::new_v5(&self.ledger, &self.row.to_be_bytes())),
            seq: self.prepared.seq,
            source: self.prepared.source.clone(),
            control_id: self.prepared.control_id.clone(),
            child_id: ChildId(row.uuid),
            version: row.version,
            filed: now,
            superseded: false,
            statement: self.statement.clone(),
            record: row.record.child.clone(),
        };
        let of = Of { child: row.id, row: self.row, event: &event };
        let mut debts: Vec<(DestinationName, Option<Vec<u8>>)> = Vec::new();
        let (mut withheld, mut text) = (BTreeMap::new(), Vec::new());
        for rule in self.rules.destinations.iter().filter(|rule| matches!(rule.recipient, Recipient::ParentRecord)) {
            match parents::owing(self.connection, of, &self.rules.parents.load(), false)? {
                Owing::Debts(bodies) => debts.extend(bodies.into_iter().map(|body| (rule.name.clone(), Some(body)))),
                Owing::Withheld(why) => {
                    text.push(format!("{} is sent nothing: {why}", rule.name));
                    withheld.insert(rule.name.as_str().to_owned(), why);
                }
            }
        }
        let later = |day: &civil::Date| format!("left: a result that came on {day}; the parents were told on {told}");
        if released.is_empty() && (debts.is_empty() || !left.is_empty()) {
            let none = format!("nothing about {} is held back of this child", about.word());
            let text = if left.is_empty() { none } else { left.iter().map(later).collect::<Vec<_>>().join("; ") };
            return Err(Failure::Held(Held::Person { code: "nothing-held-back".into(), text, evidence: Vec::new() }));
        }
        let mut lines =
            vec![format!("results about {} that were held back: {}; a person told the parents on {told}", about.word(), released.len())];
        lines.extend(released.iter().map(|day| format!("released: a result that came on {day}")));
        lines.extend(left.iter().map(later));
        text.splice(0..0, lines);
        text.push("a later version of such a result is held back again".to_owned());
        let hub = row.record.child.hub.clone();
        let route = hub.unwrap_or_else(|| self.rules.directory.load().decide(&row.record.child, None, self.rules.today(now)));
        let evidence = [acts::by_person("a hub noted that a person told the parents")];
        self.keep_event(&event, row.id, &self.said(), &route, &evidence, &withheld)?;
        self.keep_debts(&event, row.id, &debts)?;
        Ok(Informed { owed: debts.into_iter().map(|(name, _)| name).collect(), text })
    }
}
