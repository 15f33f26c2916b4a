//! Sealing a record after an adoption, or when a person was given a new identity (identity rules, section 8).
//!
//! # What always holds afterwards
//!
//! - Nothing leads to the record: no index of mothers or details has it, and its identifiers are on record only to stop what is said under
//!   them. That goes to the work list of the role [`crate::store::desk::SEALED_ROLE`]: held, not filed, not sent on.
//! - Nothing goes out: what was owed is withdrawn, and the stores of hubs that had the record are told that it is sealed and nothing else.
//! - Relations are closed, and no account follows it any more.
//! - The rows stay for as long as the law asks; reading commands show them to whoever asks for sealed records by name and with a reason.
//! - No link to a new record is made, stored or sent, by anybody.

use rusqlite::params;
use uuid::Uuid;

use super::{Failure, One, Recipient, acts, json, unindexed};
use crate::canon::{Child, ChildStatus, ProxyConsent, Statement};
use crate::clock;
use crate::names::{ChildId, DestinationName, EventId};
use crate::outbox::FiledEvent;
use crate::store::desk::{self, DESK};
use crate::store::index::{ChildRow, Index};
use crate::store::kin;

/// How a relation is closed.
const SEVERED: &str = "adoption_severed";

/// What sealing did.
pub(super) struct Sealed {
    pub(super) owed: Vec<DestinationName>,
    pub(super) text: Vec<String>,
}

impl One<'_> {
    /// Seals a record and those that became a part of it.
    pub(super) fn seal(&self, row: &ChildRow) -> Result<Sealed, acts::Stopped> {
        match (row.record.child.status, row.record.child.merged_into) {
            (_, Some(into)) => return Err(desk::refused(64, format!("this record is a part of {into}; name that one")).into()),
            (Some(ChildStatus::Sealed), _) => return Err(desk::refused(64, "the record is sealed already").into()),
            _ => {}
        }
        let sql = "SELECT child FROM merged WHERE survivor = ?1 ORDER BY child";
        let mut rows: Vec<i64> = self.connection.prepare(sql)?.query_map([row.id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        rows.insert(0, row.id);
        let (mut owed, mut withdrawn, mut revoked, mut relations) = (Vec::new(), 0, 0, 0);
        for (place, id) in rows.iter().enumerate() {
            let Some(one) = Index(self.connection).by_row(*id).map_err(unindexed)? else { continue };
            relations += one.record.child.relations.len();
            withdrawn += self.withdraw_all(*id)?;
            revoked += self.revoke_all(*id)?;
            kin::clear(self.connection, *id)?;
            kin::bar(self.connection, *id)?;
            self.connection.execute("DELETE FROM relation_identifier WHERE child = ?1", [*id])?;
            self.connection.execute(
                "UPDATE identity_item SET closed_us = ?2 WHERE child = ?1 AND closed_us IS NULL",
                [*id, clock::now().as_microsecond()],
            )?;
            // What others had to be told of a merge would lead here.
            self.connection.execute("DELETE FROM two_children WHERE one = ?1 OR other = ?1", [*id])?;
            owed.extend(self.close(&one, *id == row.id, self.row + i64::try_from(place).unwrap_or(0))?);
        }
        self.connection.execute("DELETE FROM before_merge WHERE survivor = ?1", [row.id])?;
        let text = vec![
            format!("child {} is sealed: {relations} relations are closed, {revoked} accounts follow it no more", ChildId(row.uuid)),
            format!("{withdrawn} deliveries that waited are withdrawn; nothing goes out any more"),
            format!("what is said under its identifiers waits for the role {}, and is neither filed nor sent on", desk::SEALED_ROLE),
            "it cannot be undone by a command".to_owned(),
        ];
        Ok(Sealed { owed, text })
    }

    fn withdraw_all(&self, child: i64) -> rusqlite::Result<usize> {
        let sql = "UPDATE debt SET state = 'withdrawn', why = 'sealed', settled_us = ?2
            WHERE event IN (SELECT id FROM event WHERE child = ?1) AND state IN ('pending', 'held')";
        self.connection.execute(sql, [child, clock::now().as_microsecond()])
    }

    fn revoke_all(&self, child: i64) -> Result<usize, Failure> {
        let sql = "SELECT account, consent FROM proxy_consent WHERE child = ?1";
        let consents: Vec<(String, String)> =
            self.connection.prepare(sql)?.query_map([child], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        for (account, consent) in &consents {
            match serde_json::from_str::<ProxyConsent>(consent) {
                Ok(mut consent) => {
                    consent.status = "revoked".to_owned();
                    let sql = "UPDATE proxy_consent SET consent = ?3 WHERE child = ?1 AND account = ?2";
                    self.connection.execute(sql, params![child, account, json(&consent)?])?;
                }
                Err(_) => {
                    self.connection.execute("DELETE FROM proxy_consent WHERE child = ?1 AND account = ?2", params![child, account])?;
                }
            }
        }
        Ok(consents.len())
    }

    /// Closes one record and tells the stores that had it.
    fn close(&self, row: &ChildRow, is_the_one: bool, event_row: i64) -> Result<Vec<DestinationName>, Failure> {
        let mut record = row.record.clone();
        if is_the_one {
            record.child.status = Some(ChildStatus::Sealed);
        }
        record.child.flags.adoption_barrier = true;
        for relation in &mut record.child.relations {
            relation.link_status = Some(SEVERED.to_owned());
        }
        let status = record.child.status.map(|status| super::word(&status)).unwrap_or_default();
        let sql = "UPDATE child SET version = ?2, status = ?3, record = ?4 WHERE id = ?1";
        self.connection.execute(sql, params![row.id, row.version + 1, status, json(&record)?.into_bytes()])?;
        // A store hears that the record is sealed: no name, no number, no relation.
        let bare = Child { status: Some(ChildStatus::Sealed), hub: record.child.hub.clone(), ..Child::default() };
        let today = self.rules.today(clock::now());
        let route = record.child.hub.clone().unwrap_or_else(|| self.rules.directory.load().decide(&bare, None, today));
        let event = FiledEvent {
            event: EventId(Uuid::new_v5(&self.ledger, &event_row.to_be_bytes())),
            seq: self.prepared.seq,
            source: DESK.into(),
            control_id: self.prepared.control_id.clone(),
            child_id: ChildId(row.uuid),
            version: row.version + 1,
            filed: clock::now(),
            superseded: false,
            statement: Statement { event: self.statement.event.clone(), ..Statement::default() },
            record: bare,
        };
        let one = One { row: event_row, ..*self };
        let evidence = [acts::by_person("a person with the right to it sealed the record")];
        one.keep_event(&event, row.id, &self.said(), &route, &evidence, &std::collections::BTreeMap::new())?;
        let sql = "SELECT DISTINCT n.name FROM debt d JOIN destination n ON n.id = d.destination
            WHERE d.event IN (SELECT id FROM event WHERE child = ?1)";
        let had: Vec<String> =
            self.connection.prepare_cached(sql)?.query_map([row.id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let is_store = |recipient: &Recipient| matches!(recipient, Recipient::HubStore(_));
        let stores =
            self.rules.destinations.iter().filter(|rule| is_store(&rule.recipient) && had.iter().any(|name| name == rule.name.as_str()));
        let debts: Vec<(DestinationName, Option<Vec<u8>>)> = stores.map(|rule| (rule.name.clone(), None)).collect();
        one.keep_debts(&event, row.id, &debts)?;
        Ok(debts.into_iter().map(|(name, _)| name).collect())
    }
}
