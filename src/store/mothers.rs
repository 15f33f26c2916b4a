//! What is said of a child's mother herself (identity rules, section 6): her identifiers move her links, her address moves
//! nobody and is a person's question, and nothing else of her is filed.
//!
//! # Not here
//!
//! Filing of messages about the child that name her: `filing.rs`.

use jiff::ToSpan;
use rusqlite::Connection;

use super::filing::Prepared;
use super::index::Index;
use super::{desk, kin};
use crate::canon::{Child, Date, Identifier, IdentityAct, NHS_NUMBER_SYSTEM, Statement};

/// A child-health record ends at so many years (mapping rules of person messages).
const NO_CHILD_YEARS: i64 = 19;
/// A mother's address is asked about again after so long: 90 days.
const ASKED_AGAIN_US: i64 = 90 * 24 * 3600 * 1_000_000;
const ADULT: &str = "19 years or older: no longer a child";

/// A change of identifiers that is about no child: moves the links of a mother, and gives the rule by which the entry is ignored.
pub(super) fn hear(connection: &Connection, prepared: &Prepared, statements: &[Statement]) -> rusqlite::Result<Option<String>> {
    let [statement] = statements else { return Ok(None) };
    let moves = |act| matches!(act, IdentityAct::Merge | IdentityAct::Rename);
    if statement.identity_changes.is_empty() {
        return hear_address(connection, prepared, statement);
    }
    if !statement.identity_changes.iter().all(|change| moves(change.act)) {
        return Ok(None);
    }
    let prior: Vec<&Identifier> = statement.identity_changes.iter().flat_map(|change| &change.prior).collect();
    for id in statement.child.identifiers.iter().chain(prior.iter().copied()) {
        if is_a_childs(connection, id)? {
            return Ok(None);
        }
    }
    let mut moved = 0;
    for id in prior {
        if let Some(to) = partner(&statement.child, id).filter(|to| (&to.system, &to.value) != (&id.system, &id.value))
            && kin::is_a_mothers(connection, &id.system, &id.value)?
        {
            moved += kin::children_of(connection, id)?.len();
            kin::move_mother(connection, id, to)?;
        }
    }
    if 0 < moved {
        return Ok(Some("a mother's identifiers: her children are linked by the surviving one now".to_owned()));
    }
    Ok(is_adult(statement, prepared).then(|| ADULT.to_owned()))
}

/// What a mother says of her own address moves nobody: her children who live elsewhere by their records are a person's question, once
/// until it is answered.
fn hear_address(connection: &Connection, prepared: &Prepared, statement: &Statement) -> rusqlite::Result<Option<String>> {
    let home = |child: &Child| child.home().and_then(|home| home.postcode.clone());
    let Some(hers) = home(&statement.child).filter(|_| is_adult(statement, prepared)) else { return Ok(None) };
    let now = crate::clock::now().as_microsecond();
    let mut children = Vec::new();
    for id in &statement.child.identifiers {
        if is_a_childs(connection, id)? {
            return Ok(None);
        }
        children.extend(kin::children_of(connection, id)?);
    }
    children.sort_unstable();
    children.dedup();
    for child in children {
        let Ok(Some(row)) = Index(connection).by_row(child) else { continue };
        let lives_with_her =
            row.record.child.mother().and_then(|mother| mother.address.as_ref()?.postcode.clone()).is_none_or(|was| was != hers);
        if lives_with_her
            && home(&row.record.child).is_some_and(|theirs| theirs != hers)
            && !desk::was_asked(connection, "mother-moved", child, now - ASKED_AGAIN_US)?
        {
            desk::ask(connection, "mother-moved", child, prepared.seq.0, now)?;
        }
    }
    Ok(None)
}

/// The identifier that goes on in the place of another: of the same issuer, else the first.
fn partner<'c>(survivor: &'c Child, prior: &Identifier) -> Option<&'c Identifier> {
    let same = survivor.identifiers.iter().find(|id| id.system == prior.system);
    same.or_else(|| survivor.identifiers.iter().find(|id| prior.system != NHS_NUMBER_SYSTEM && id.system != NHS_NUMBER_SYSTEM))
}

fn is_a_childs(connection: &Connection, id: &Identifier) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM identifier WHERE system = ?1 AND value = ?2";
    connection.prepare_cached(sql)?.exists([&id.system, &id.value])
}

fn is_adult(statement: &Statement, prepared: &Prepared) -> bool {
    let said = statement.event.at.as_ref().and_then(|at| at.date());
    let on = said.or_else(|| Some(jiff::Timestamp::from_microsecond(prepared.arrived_us).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date()));
    let born = statement.child.birth.date.as_ref().and_then(Date::civil);
    match (born.and_then(|born| born.checked_add(NO_CHILD_YEARS.years()).ok()), on) {
        (Some(grown), Some(on)) => grown <= on,
        _ => false,
    }
}

/// True where a message about the child says that its mother, who lived with it, lives elsewhere now.
pub(super) fn moved_away(before: &Child, after: &Child) -> bool {
    let hers = |child: &Child| child.mother().and_then(|mother| mother.address.as_ref()?.postcode.clone());
    let home = |child: &Child| child.home().and_then(|home| home.postcode.clone());
    match (hers(before), hers(after), home(after)) {
        (Some(was), Some(is), Some(home)) => was != is && was == home,
        _ => false,
    }
}
