//! What the record says once a statement is filed.
//!
//! Each field, or group of fields that only make sense together, is heard by itself: `sex`, `gp.practice_ods`,
//! `names.official`, `identifiers.<system>|<value>`, `relations.<source>`. [`super::word`] decides which word stands.
//!
//! # What always holds
//!
//! - The same statements give the same record in whatever order they are merged. (One exception: a clear of a whole
//!   list, `addresses`, clears what is on record when it comes.)
//! - Identifiers are never removed by absence; at most one NHS number is current (canonical model, section 2).
//! - A result's copy of the person's details fills gaps and overrides nothing but other copies.
//!
//! # Not here
//!
//! `hub` and `merged_into` are set by others and left alone. Results, reviews and the like are aggregates of their
//! own and are filed whole, not merged.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::kin;
use super::word::{Heard, Kept, NATIONAL, Rule, Word};
use super::{Said, name};
use crate::canon::{
    Action, Child, ChildStatus, Death, EventKind, Flags, GpRegistration, Identifier, IdentifierUse, NHS_NUMBER_SYSTEM, Name, Relation,
    Statement,
};

/// The merged record with, for each field group, who said it and when: what [`merge`] needs to decide the next time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The child as known now.
    pub child: Child,
    /// Field group (`names.official`, `sex`, `birth.weight_g`, `gp.practice_ods`, …) to who said what stands.
    pub said: BTreeMap<String, Said>,
    /// Field group to words that do not stand but could again, and words that are shown otherwise than they were said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Vec<Kept>>,
}

/// Merges what a statement says into a record, field by field, by event time and source precedence (canonical
/// model, sections 1 and 4; protocol rules, section 8). `None` makes a new record. Returns the record and the dotted
/// paths that changed, in alphabetical order.
pub fn merge(record: Option<&Record>, statement: &Statement, said: &Said) -> (Record, Vec<String>) {
    let before = record.cloned().unwrap_or_default();
    // It says that there is news elsewhere and which number that stands under, which after a supersession is the old one.
    if statement.event.notice {
        return (before, Vec::new());
    }
    let mut merging = Merging { record: before.clone(), statement, said, copy: copied(statement, said), other: None };
    merging.flags();
    // What is taken back is the result or the event; the details of the person in it are no news.
    if statement.event.action != Action::Delete {
        merging.details();
    }
    merging.identifiers();
    merging.status();
    let changed = differences(&before.child, &merging.record.child);
    (merging.record, changed)
}

/// The record of `survivor` once `other` turned out to be the same child: every word that `other` knows is heard as if it had been
/// said of `survivor`. Which statements came before the two were known to be one, and in which order, does not show.
pub fn unite(survivor: &Record, other: &Record) -> Record {
    let statement = Statement { child: other.child.clone(), ..Statement::default() };
    let said = Said::default();
    let mut merging = Merging { record: survivor.clone(), statement: &statement, said: &said, copy: said.clone(), other: Some(other) };
    merging.flags();
    merging.details();
    merging.identifiers();
    merging.status();
    merging.record
}

/// The record without these identifiers: they are another person's. Whatever was said of them until now is over, and by whomever; what is
/// said of them later counts again.
pub fn detach(record: &Record, ids: &[Identifier], said: &Said) -> Record {
    let mut record = record.clone();
    for id in ids {
        let group = identifier_group(id);
        let latest = record.words(&group, Some(id.clone())).iter().map(|heard| heard.said.at_us).fold(said.at_us, i64::max);
        record.child.identifiers.retain(|own| (&own.system, &own.value) != (&id.system, &id.value));
        record.forget(&group);
        record.said.insert(group, Said { at_us: latest, version: i64::MAX, ..said.clone() });
    }
    record
}

fn identifier_group(id: &Identifier) -> String {
    format!("identifiers.{}|{}", id.system, id.value)
}

/// Who says the person's details. A result carries a copy of them, as old as the request: it must not move a child
/// back to an address that the hospital has since corrected.
fn copied(statement: &Statement, said: &Said) -> Said {
    let about_the_person = matches!(
        statement.event.kind,
        EventKind::Person | EventKind::Birth | EventKind::Gp | EventKind::Address | EventKind::Death | EventKind::Merge
    );
    Said { rank: if about_the_person { said.rank } else { 0 }, ..said.clone() }
}

struct Merging<'a> {
    record: Record,
    statement: &'a Statement,
    /// Who says what the message is about.
    said: &'a Said,
    /// Who says the person's details.
    copy: Said,
    /// Another record of the same child, whose words are heard instead of the statement's.
    other: Option<&'a Record>,
}

/// Hears each named field under its rule: `hear!(self, self.copy, Rule::Newest, language, religion)`.
macro_rules! hear {
    ($merging:ident, $said:expr, $rule:expr, $($($part:ident).+),+ $(,)?) => {$(
        let said = $said.clone();
        let group = concat_path(stringify!($($part).+));
        let theirs = $merging.statement.child.$($part).+.clone();
        let mine = $merging.record.child.$($part).+.take();
        $merging.record.child.$($part).+ = $merging.one(&group, $rule, said, mine, theirs);
    )+};
}

/// `stringify!` may put spaces around the dots.
fn concat_path(path: &str) -> String {
    path.chars().filter(|c| !c.is_whitespace()).collect()
}

impl Merging<'_> {
    /// Hears one field; absent leaves it as it is.
    fn one<T: Word>(&mut self, group: &str, rule: Rule, said: Said, mine: Option<T>, theirs: Option<T>) -> Option<T> {
        if let Some(other) = self.other {
            return other.words(group, theirs).into_iter().fold(mine, |mine, heard| self.record.hear(group, rule, mine, heard));
        }
        if theirs.is_none() && !self.cleared(group) {
            return mine;
        }
        self.record.hear(group, rule, mine, Heard { said, word: theirs })
    }

    /// True where the statement clears `group` or all of what it is a part of.
    fn cleared(&self, group: &str) -> bool {
        // Whoever clears the notification clears the death.
        if group == "death" && self.cleared("death.status") {
            return true;
        }
        let covers = |path: &String| {
            let path = path.strip_prefix("child.").unwrap_or(path);
            group.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.statement.clears.iter().any(covers)
    }

    /// All that is said of the person.
    fn details(&mut self) {
        self.person();
        self.birth();
        self.practice();
        self.lists();
        self.relations();
    }

    fn person(&mut self) {
        hear!(self, self.copy, Rule::National, sex);
        hear!(self, self.copy, Rule::Home, death);
        hear!(self, self.copy, Rule::Newest, ethnic_category, language, religion);
        self.removal_of_death();
    }

    /// Senders say "not dead" of every child (PID-30 N). It is shown where a death was taken back by it (identity rules, section 7);
    /// the national record's word is always shown.
    fn removal_of_death(&mut self) {
        let Some(removal) = self.record.child.death.take_if(|death| death.takes_back()) else { return };
        let words = self.record.words("death", Some(removal.clone()));
        let was_dead = words.iter().any(|heard| heard.word.as_ref().is_some_and(|death| !death.takes_back()));
        let is_national = self.record.said.get("death").is_some_and(|said| said.rank == 3);
        let shown = (was_dead || is_national).then(|| removal.clone());
        self.record.show("death", &removal, shown.as_ref());
        self.record.child.death = shown;
    }

    /// Identity rules, section 9, and section 8 for the barrier.
    fn flags(&mut self) {
        hear!(self, self.said, Rule::Careful, flags.sensitivity, flags.local_hiding);
        hear!(self, self.said, Rule::Newest, flags.share_consent, flags.identity_unknown, flags.bcg_eligible);
        // Once raised only a person lowers them.
        let Flags { adoption_barrier, birth_needs_review, .. } = self.statement.child.flags;
        self.record.child.flags.adoption_barrier |= adoption_barrier;
        self.record.child.flags.birth_needs_review |= birth_needs_review;
    }

    fn birth(&mut self) {
        hear!(self, self.copy, Rule::Birth, birth.date, birth.time, birth.place_ods, birth.place_type, birth.place_text);
        hear!(self, self.copy, Rule::Birth, birth.births_in_confinement, birth.multiple, birth.live_still, birth.congenital_anomaly);
        hear!(self, self.copy, Rule::Birth, birth.registering_authority, birth.responsible_cho, birth.partner_cho);
        hear!(self, self.copy, Rule::Birth, birth.notified_at, birth.notifier);
        hear!(self, self.copy, Rule::Delivery, birth.weight_g, birth.delivery_method, birth.resuscitation);
        hear!(self, self.copy, Rule::Delivery, birth.apgar_1, birth.apgar_5, birth.apgar_10, birth.neonatal_care_level);

        // 8 "not applicable" and 9 "not known" are no order (identity rules, section 5).
        let order = super::decide::order(&self.statement.child.birth);
        let mine = self.record.child.birth.birth_order.take();
        self.record.child.birth.birth_order = self.one("birth.birth_order", Rule::Birth, self.copy.clone(), mine, order);

        // Days over the completed weeks belong to the weeks they were said with.
        let pair = |child: &Child| child.birth.gestation_weeks.map(|weeks| (weeks, child.birth.gestation_days));
        let (mine, theirs) = (pair(&self.record.child), pair(&self.statement.child));
        let gestation = self.one("birth.gestation_weeks", Rule::Delivery, self.copy.clone(), mine, theirs);
        self.record.child.birth.gestation_weeks = gestation.map(|(weeks, _)| weeks);
        self.record.child.birth.gestation_days = gestation.and_then(|(_, days)| days);
    }

    /// The practice, and what belongs to it: with a new practice the old practitioner and dates are over.
    fn practice(&mut self) {
        let theirs = self.statement.child.gp.clone().unwrap_or_default();
        let mine = self.record.child.gp.take().unwrap_or_default();
        let practice_said = theirs.practice_ods.is_some() || self.cleared("gp.practice_ods");
        let gp = GpRegistration {
            practice_ods: self.one_with("gp.practice_ods", practice_said, mine.practice_ods, theirs.practice_ods),
            practitioner_code: self.one_with("gp.practitioner_code", practice_said, mine.practitioner_code, theirs.practitioner_code),
            from: self.one_with("gp.from", practice_said, mine.from, theirs.from),
            to: self.one_with("gp.to", practice_said, mine.to, theirs.to),
        };
        let heard = self.record.said.keys().any(|group| group.starts_with("gp."));
        self.record.child.gp = heard.then_some(gp);
    }

    /// Hears a field of the practice; where the practice itself was said, an absent field is "none".
    fn one_with<T: Word>(&mut self, group: &str, practice_said: bool, mine: Option<T>, theirs: Option<T>) -> Option<T> {
        if practice_said && self.other.is_none() {
            return self.record.hear(group, Rule::Home, mine, Heard { said: self.copy.clone(), word: theirs });
        }
        self.one(group, Rule::Home, self.copy.clone(), mine, theirs)
    }

    /// Names and addresses by use, telephone by kind, earlier practices by their start: what is not sent is untouched (protocol rules, section 8).
    fn lists(&mut self) {
        let mut child = std::mem::take(&mut self.record.child);
        let mut said_names = self.statement.child.names.clone();
        for said in &mut said_names {
            said.placeholder |= name::is_placeholder(said.family.as_deref(), &said.given);
        }
        child.names = self.names(std::mem::take(&mut child.names), said_names);

        let by_use = |usage: &Option<String>| usage.clone().unwrap_or_else(|| "home".to_owned());
        let theirs = self.statement.child.addresses.clone();
        let mine = std::mem::take(&mut child.addresses);
        let addresses = self.list("addresses", Rule::Home, mine, theirs, |address| by_use(&address.usage));
        child.addresses = in_order(addresses, &["home", "temp", "correspondence", "birth_delivery", "old"]);

        let theirs = self.statement.child.telecoms.clone();
        let mine = std::mem::take(&mut child.telecoms);
        let kind = |system: &Option<String>| system.clone().unwrap_or_else(|| "phone".to_owned());
        let telecoms = self.list("telecoms", Rule::Newest, mine, theirs, |t| format!("{}.{}", kind(&t.system), by_use(&t.usage)));
        child.telecoms = in_order(telecoms, &[]);

        // The same practice from the same day on is one registration, whoever names it; by its start, the earliest first.
        let registration = |gp: &GpRegistration| {
            let start = gp.from.as_ref().map_or("", |from| &from.value);
            format!("|{start}|{}", gp.practice_ods.as_deref().unwrap_or_default())
        };
        let theirs = self.statement.child.gp_history.clone();
        let mine = std::mem::take(&mut child.gp_history);
        child.gp_history = in_order(self.list("gp_history", Rule::Home, mine, theirs, registration), &[]);
        self.record.child = child;
    }

    /// Placeholders are kept but no longer shown once there is a real name (identity rules, section 4).
    fn names(&mut self, mine: Vec<Name>, theirs: Vec<Name>) -> Vec<Name> {
        let by_use = |name: &Name| name.usage.clone().unwrap_or_else(|| "usual".to_owned());
        let groups = self.list("names", Rule::National, mine, theirs, by_use);
        let is_real = |names: &Vec<Name>| names.iter().any(|name| !name.placeholder);
        let any_real = groups.values().any(is_real);
        let mut shown = BTreeMap::new();
        for (usage, names) in groups {
            let is_shown = !any_real || is_real(&names);
            self.record.show(&format!("names.{usage}"), &names, is_shown.then_some(&names));
            if is_shown {
                shown.insert(usage, names);
            }
        }
        in_order(shown, &["official", "usual", "preferred", "birth", "maiden", "bachelor", "alias", "previous", "temp"])
    }

    /// Hears a list part by part; a part is what has the same key.
    fn list<T: Clone>(
        &mut self,
        prefix: &str,
        rule: Rule,
        mine: Vec<T>,
        theirs: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> BTreeMap<String, Vec<T>>
    where
        Vec<T>: Word,
    {
        let (mut mine, mut theirs) = (by_key(mine, &key), by_key(theirs, &key));
        let others = self.other.into_iter().flat_map(|other| other.said.keys());
        let known = self.record.said.keys().chain(&self.statement.clears).chain(others);
        let known = known.filter_map(|group| group.strip_prefix("child.").unwrap_or(group).strip_prefix(prefix)?.strip_prefix('.'));
        let parts: BTreeSet<String> = known.map(str::to_owned).chain(theirs.keys().cloned()).collect();
        let mut stand = BTreeMap::new();
        for part in parts {
            let group = format!("{prefix}.{part}");
            let (mine, theirs) = (mine.remove(&part), theirs.remove(&part));
            // A part that is not shown was said all the same.
            let mine = self.record.stands(&group, mine).and_then(|heard| heard.word);
            if let Some(words) = self.one(&group, rule, self.copy.clone(), mine, theirs) {
                stand.insert(part, words);
            }
        }
        stand
    }

    /// The people around the child: each source's list is its own snapshot, identifiers alone are none.
    fn relations(&mut self) {
        let said = self.snapshots_said();
        if said.is_empty() {
            return;
        }
        let mut snapshots = snapshots(&self.record);
        for (group, new) in said {
            if snapshots.get(&group).is_none_or(|earlier| new.replaces(earlier)) {
                snapshots.insert(group, new);
            }
        }
        let people = kin::together(snapshots.values().cloned().collect());
        let lone = snapshots.len() == 1;
        for (group, heard) in snapshots {
            self.record.said.insert(group.clone(), heard.said);
            let said = heard.word.unwrap_or_default();
            self.record.show(&group, &said, Some(&people).filter(|_| lone));
        }
        self.record.child.relations = people;
    }

    /// The lists of people that are to be heard.
    fn snapshots_said(&self) -> BTreeMap<String, Heard<Vec<Relation>>> {
        if let Some(other) = self.other {
            return snapshots(other);
        }
        let theirs = &self.statement.child.relations;
        let parts: &[&str] = match theirs.as_slice() {
            [] if self.cleared("relations") => &["ids", "list"],
            [] => &[],
            people if people.iter().all(kin::is_bare) => &["ids"],
            _ => &["list"],
        };
        let new = Heard { said: self.copy.clone(), word: (!theirs.is_empty()).then(|| theirs.clone()) };
        parts.iter().map(|part| (format!("relations.{}.{}.{part}", new.said.source, new.said.rank), new.clone())).collect()
    }

    /// Adds identifiers; says which NHS number is current, and which identifiers are thereby superseded.
    fn identifiers(&mut self) {
        let group = identifier_group;
        let shown = std::mem::take(&mut self.record.child.identifiers);
        let mut words: BTreeMap<String, Heard<Identifier>> = BTreeMap::new();
        for id in shown {
            let group = group(&id);
            if let Some(heard) = self.record.stands(&group, Some(id)) {
                words.insert(group, heard);
            }
        }
        for id in self.statement.child.identifiers.iter().filter(|id| is_usable(id)) {
            let group = group(id);
            if let Some(off) = self.record.taken_off(&group).filter(|_| !words.contains_key(&group)) {
                // What was taken off comes back by a newer word alone, and then as if it had never been here.
                let at_us = self.other.map_or(Some(self.said.at_us), |other| other.said.get(&group).map(|said| said.at_us));
                if at_us.is_none_or(|at_us| at_us <= off) {
                    continue;
                }
                self.record.forget(&group);
            }
            let mine = words.remove(&group).and_then(|heard| heard.word);
            let word = self.one(&group, Rule::Newest, self.said.clone(), mine, Some(id.clone()));
            if let Some(said) = self.record.said.get(&group).cloned() {
                words.insert(group, Heard { said, word });
            }
        }
        let current = current_number(words.values());
        let mut ids = Vec::new();
        for (group, heard) in words {
            let Some(said) = heard.word else { continue };
            let over = match (said.nhs_number(), &current) {
                (Some(_), Some(current)) => said.value != *current,
                (None, Some(_)) => said.kind.as_deref() == Some("TEMP"),
                (_, None) => false,
            };
            let mut shown = said.clone();
            if over && said.usage == IdentifierUse::Current {
                shown.usage = IdentifierUse::Superseded;
            }
            self.record.show(&group, &said, Some(&shown));
            ids.push(shown);
        }
        let is_over = |id: &Identifier| id.usage != IdentifierUse::Current;
        ids.sort_by(|a, b| {
            (a.nhs_number().is_none(), is_over(a), &a.system, &a.value).cmp(&(b.nhs_number().is_none(), is_over(b), &b.system, &b.value))
        });
        self.record.child.identifiers = ids;
    }

    /// Where the child stands (identity rules, sections 3, 4 and 7).
    fn status(&mut self) {
        let before = self.record.child.status;
        let invalid_by_flag = self.record.child.flags.sensitivity.as_deref() == Some("invalid");
        let after = match before {
            // Set by a person or by a merge; no statement lifts them.
            Some(closed @ (ChildStatus::Merged | ChildStatus::Sealed)) => closed,
            Some(ChildStatus::Invalidated) if !self.record.said.contains_key("flags.sensitivity") => ChildStatus::Invalidated,
            _ if invalid_by_flag => ChildStatus::Invalidated,
            _ => match (self.living_status(), before) {
                // Routing says who lives outside, not a statement.
                (ChildStatus::Active | ChildStatus::Provisional, Some(ChildStatus::MovedOut)) => ChildStatus::MovedOut,
                (status, _) => status,
            },
        };
        self.record.child.status = Some(after);
    }

    fn living_status(&self) -> ChildStatus {
        let number = self.record.child.identifiers.iter().find(|id| id.usage == IdentifierUse::Current && id.nhs_number().is_some());
        let national = number.and_then(|id| self.record.said.get(&format!("identifiers.{}|{}", id.system, id.value)));
        status_of(&self.record.child, national.is_some_and(|said| said.rank == NATIONAL))
    }
}

/// Where a child stands by what is known of it. `national`: the national record gave the number.
pub(super) fn status_of(child: &Child, national: bool) -> ChildStatus {
    let death = child.death.as_ref();
    if child.birth.is_stillbirth() || death.is_some_and(|death| death.stillbirth) {
        return ChildStatus::Stillborn;
    }
    if death.is_some_and(Death::is_told) {
        return ChildStatus::Deceased;
    }
    match child.nhs_number() {
        Some((_, Some("01"))) => ChildStatus::Active,
        Some(_) if national => ChildStatus::Active,
        _ => ChildStatus::Provisional,
    }
}

/// The list of people of each source, as it was said.
fn snapshots(record: &Record) -> BTreeMap<String, Heard<Vec<Relation>>> {
    let groups: Vec<&String> = record.said.keys().filter(|group| group.starts_with("relations.")).collect();
    let lone = (groups.len() == 1).then(|| record.child.relations.clone());
    let stands = |group: &String| Some((group.clone(), record.stands(group, lone.clone())?));
    groups.into_iter().filter_map(stands).collect()
}

/// An identifier that can identify: complete, and where it claims to be an NHS number, a valid one.
fn is_usable(id: &Identifier) -> bool {
    !id.value.trim().is_empty() && !id.system.is_empty() && (id.system != NHS_NUMBER_SYSTEM || id.nhs_number().is_some())
}

/// The NHS number in force: the best verified, of equals the newest (canonical model, section 4).
fn current_number<'a>(words: impl Iterator<Item = &'a Heard<Identifier>>) -> Option<String> {
    let in_force =
        |heard: &&Heard<Identifier>| heard.word.as_ref().is_some_and(|id| id.usage == IdentifierUse::Current && id.nhs_number().is_some());
    let value = |heard: &Heard<Identifier>| heard.word.as_ref().map(|id| id.value.clone());
    let order = |heard: &&Heard<Identifier>| (heard.quality(), heard.moment(), heard.said.rank, heard.said.source.clone(), value(heard));
    words.filter(in_force).max_by_key(order).and_then(value)
}

fn by_key<T>(items: Vec<T>, key: impl Fn(&T) -> String) -> BTreeMap<String, Vec<T>> {
    let mut parts: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for item in items {
        parts.entry(key(&item)).or_default().push(item);
    }
    parts
}

/// The parts one after the other: those of `first` in that order, then the others.
fn in_order<T>(mut parts: BTreeMap<String, Vec<T>>, first: &[&str]) -> Vec<T> {
    let mut items: Vec<T> = first.iter().filter_map(|key| parts.remove(*key)).flatten().collect();
    items.extend(parts.into_values().flatten());
    items
}

/// Dotted paths that are not the same in both.
fn differences(before: &Child, after: &Child) -> Vec<String> {
    let mut changed = Vec::new();
    macro_rules! compare {
        ($($($part:ident).+),+ $(,)?) => {$(
            if before.$($part).+ != after.$($part).+ {
                changed.push(concat_path(stringify!($($part).+)));
            }
        )+};
    }
    compare!(identifiers, names, sex, addresses, telecoms, relations, gp_history, ethnic_category, language, religion, death, status);
    compare!(birth.date, birth.time, birth.place_ods, birth.place_type, birth.place_text, birth.weight_g, birth.gestation_weeks);
    compare!(birth.gestation_days, birth.birth_order, birth.births_in_confinement, birth.multiple, birth.live_still);
    compare!(birth.congenital_anomaly, birth.delivery_method, birth.resuscitation, birth.apgar_1, birth.apgar_5, birth.apgar_10);
    compare!(birth.neonatal_care_level, birth.registering_authority, birth.responsible_cho, birth.partner_cho, birth.notified_at);
    compare!(birth.notifier, flags.sensitivity, flags.local_hiding, flags.share_consent, flags.adoption_barrier);
    compare!(flags.identity_unknown, flags.bcg_eligible, flags.birth_needs_review);
    let gp = |child: &Child| child.gp.clone().unwrap_or_default();
    let (before_gp, after_gp) = (gp(before), gp(after));
    for (path, same) in [
        ("gp.practice_ods", before_gp.practice_ods == after_gp.practice_ods && before.gp.is_some() == after.gp.is_some()),
        ("gp.practitioner_code", before_gp.practitioner_code == after_gp.practitioner_code),
        ("gp.from", before_gp.from == after_gp.from),
        ("gp.to", before_gp.to == after_gp.to),
    ] {
        if !same {
            changed.push(path.to_owned());
        }
    }
    changed.sort();
    changed
}

#[cfg(test)]
mod tests;
