//! Child protection facts: a table of their own, reached by nothing but the one command that asks for them (FHIR R4 page, section 6).
//!
//! # What always holds
//!
//! - A fact leaves the statement before anything is made of it: no event, record, debt, aggregate, finding or listing has it.
//! - An event that came for such facts alone goes to nobody, and its body does not say that it did.
//! - Versions are ordered as aggregates are; a deletion leaves a tombstone.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::aggregates::{Order, Refusal};
use crate::canon::{Action, EventHeader, EventKind, SafeguardingFact, Statement};

/// Keeps the facts of a statement. `source` publishes what names no publisher; `child` and `row` are the child's and the event's.
pub(super) fn keep(
    connection: &Connection,
    statement: &Statement,
    source: &str,
    (child, row): (i64, i64),
    order: Order,
) -> Result<(), Refusal> {
    let header = &statement.event;
    let is_delete = header.action == Action::Delete;
    let publisher = header.publisher.as_deref().unwrap_or(source);
    let mut facts: BTreeMap<String, Vec<&SafeguardingFact>> = BTreeMap::new();
    for (place, fact) in statement.safeguarding.iter().enumerate() {
        let key = fact.key.clone().or_else(|| header.key.clone()).unwrap_or_else(|| format!("@{row}.{place}"));
        facts.entry(key).or_default().push(fact);
    }
    let message = header.key.as_deref();
    if let Some(key) = message.filter(|_| is_delete) {
        facts.entry(key.to_owned()).or_default();
    }
    // What was taken back with its whole message does not come back by an older copy of it.
    let buried = match message {
        Some(key) if !facts.is_empty() => stored(connection, publisher, key)?.is_some_and(|(_, before)| before.deleted && order < before),
        _ => false,
    };
    for (key, facts) in facts {
        let before = stored(connection, publisher, &key)?;
        if before.is_some_and(|(owner, _)| owner != child) {
            return Err(Refusal::OtherChild);
        }
        if buried || before.is_some_and(|(_, before)| order < before) {
            continue;
        }
        let body = if is_delete { None } else { serde_json::to_string(&facts).ok() };
        let within = message.filter(|message| *message != key);
        let sql = "INSERT OR REPLACE INTO safeguarding(publisher, key, child, at_us, deleted, version, seq, within, body)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let Order { at_us, deleted, version, seq } = order;
        connection.prepare_cached(sql)?.execute(params![publisher, key, child, at_us, deleted, version, seq, within, body])?;
    }
    if let Some(key) = message.filter(|_| is_delete) {
        let sql = "UPDATE safeguarding SET at_us = ?4, deleted = 1, version = ?5, seq = ?6, body = NULL
            WHERE publisher = ?1 AND within = ?2 AND child = ?3 AND (at_us, deleted, version, seq) < (?4, 1, ?5, ?6)";
        connection.prepare_cached(sql)?.execute(params![publisher, key, child, order.at_us, order.version, order.seq])?;
    }
    Ok(())
}

fn stored(connection: &Connection, publisher: &str, key: &str) -> rusqlite::Result<Option<(i64, Order)>> {
    let sql = "SELECT child, at_us, deleted, version, seq FROM safeguarding WHERE publisher = ?1 AND key = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row([publisher, key], |row| {
        let order = Order { at_us: row.get(1)?, deleted: row.get(2)?, version: row.get(3)?, seq: row.get(4)? };
        Ok((row.get(0)?, order))
    });
    row.optional()
}

/// True where the statement came for nothing but such facts.
pub(super) fn is_all(statement: &Statement) -> bool {
    statement.event.kind == EventKind::Safeguarding
}

/// What may stand in an event: without the facts, and without a word that they were there.
pub(super) fn public(statement: &Statement) -> Statement {
    let mut public = Statement { safeguarding: Vec::new(), ..statement.clone() };
    if is_all(statement) {
        let EventHeader { at, national, .. } = public.event;
        public.event = EventHeader { kind: EventKind::Observations, at, national, ..EventHeader::default() };
    }
    public
}
