//! The people around a child, as several sources name them.
//!
//! Each source's list is a snapshot: a person it no longer names is no longer said by it (protocol rules, section 8).
//! The record shows the union; where two sources name the same person, the stronger one's words come first and the
//! other fills what it leaves open.
//!
//! # What always holds
//!
//! - Two people are never blended when an NHS number or a date of birth tells them apart.
//!
//! # Not here
//!
//! No matching of children: a shared mother never makes two children one.

use super::name::plain_name;
use super::word::{Heard, Rule};
use crate::canon::{Name, Relation};

/// One list for the record out of the snapshots of all sources.
pub(super) fn together(mut snapshots: Vec<Heard<Vec<Relation>>>) -> Vec<Relation> {
    let order = |heard: &Heard<Vec<Relation>>| (Rule::Home.power(heard.said.rank), heard.moment(), heard.said.source.clone(), whole(heard));
    snapshots.sort_by_key(|heard| std::cmp::Reverse(order(heard)));
    let mut people: Vec<Relation> = Vec::new();
    for said in snapshots.into_iter().filter_map(|heard| heard.word).flatten() {
        match people.iter_mut().find(|known| same_person(known, &said)) {
            Some(known) => fill(known, said),
            None => people.push(said),
        }
    }
    people
}

/// A snapshot before a list of identifiers only, where both were said at once.
fn whole(heard: &Heard<Vec<Relation>>) -> bool {
    heard.word.as_ref().is_some_and(|people| people.iter().any(|person| !is_bare(person)))
}

/// True for a mother of whom nothing was said but identifiers (PID-21, PID-6): no snapshot of the people (NK1) at all.
pub(super) fn is_bare(person: &Relation) -> bool {
    person.is_mother() && person.name.is_none() && person.address.is_none() && person.telecoms.is_empty() && person.birth_date.is_none()
}

fn same_person(a: &Relation, b: &Relation) -> bool {
    let differ = |a: Option<String>, b: Option<String>| matches!((a, b), (Some(a), Some(b)) if a != b);
    let number = |person: &Relation| person.nhs_number().map(|number| number.to_string());
    let born = |person: &Relation| person.birth_date.as_ref().map(|date| date.value.clone());
    if a.kind != b.kind || differ(number(a), number(b)) || differ(born(a), born(b)) {
        return false;
    }
    // A child has one birth mother, and her name may change; of others the name has to agree.
    a.is_mother() || called(a) == called(b)
}

fn called(person: &Relation) -> Option<(String, String)> {
    let plain = |name: &Name| (plain_name(name.family.as_deref().unwrap_or_default()), plain_name(&name.given.concat()));
    person.name.as_ref().map(plain)
}

/// Fills what `known` leaves open with what `said` has.
fn fill(known: &mut Relation, said: Relation) {
    for identifier in said.identifiers {
        if !known.identifiers.iter().any(|have| (&have.system, &have.value) == (&identifier.system, &identifier.value)) {
            known.identifiers.push(identifier);
        }
    }
    if known.telecoms.is_empty() {
        known.telecoms = said.telecoms;
    }
    known.name = known.name.take().or(said.name);
    known.birth_date = known.birth_date.take().or(said.birth_date);
    known.birth_family_name = known.birth_family_name.take().or(said.birth_family_name);
    known.address = known.address.take().or(said.address);
    known.gp_practice_ods = known.gp_practice_ods.take().or(said.gp_practice_ods);
    known.parental_responsibility = known.parental_responsibility.or(said.parental_responsibility);
    known.sex = known.sex.or(said.sex);
    known.language = known.language.take().or(said.language);
    known.period = known.period.take().or(said.period);
    known.link_status = known.link_status.take().or(said.link_status);
}
