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
use super::word::{Heard, Kept, Rule, Word};
use super::{Said, name};
use crate::canon::{
    Action, Child, ChildStatus, EventKind, Flags, GpRegistration, Identifier, IdentifierUse, NHS_NUMBER_SYSTEM, Name, Relation, Statement,
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
        merging.person();
        merging.birth();
        merging.practice();
        merging.lists();
        merging.relations();
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
    merging.person();
    merging.birth();
    merging.practice();
    merging.lists();
    merging.relations();
    merging.identifiers();
    merging.status();
    merging.record
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

    fn person(&mut self) {
        hear!(self, self.copy, Rule::National, sex, death);
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
        let order = self.statement.child.birth.birth_order.filter(|order| (1..8).contains(order));
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
            return self.record.hear(group, Rule::National, mine, Heard { said: self.copy.clone(), word: theirs });
        }
        self.one(group, Rule::National, self.copy.clone(), mine, theirs)
    }

    /// Names and addresses by use, telephone by kind: what is not sent is untouched (protocol rules, section 8).
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
        let addresses = self.list("addresses", Rule::National, mine, theirs, |address| by_use(&address.usage));
        child.addresses = in_order(addresses, &["home", "temp", "correspondence", "birth_delivery", "old"]);

        let theirs = self.statement.child.telecoms.clone();
        let mine = std::mem::take(&mut child.telecoms);
        let kind = |system: &Option<String>| system.clone().unwrap_or_else(|| "phone".to_owned());
        let telecoms = self.list("telecoms", Rule::Newest, mine, theirs, |t| format!("{}.{}", kind(&t.system), by_use(&t.usage)));
        child.telecoms = in_order(telecoms, &[]);
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
        let group = |id: &Identifier| format!("identifiers.{}|{}", id.system, id.value);
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
        status_of(&self.record.child, national.is_some_and(|said| 3 <= said.rank))
    }
}

/// Where a child stands by what is known of it. `national`: the national record gave the number.
pub(super) fn status_of(child: &Child, national: bool) -> ChildStatus {
    let death = child.death.as_ref();
    let dead = |status: Option<&str>, dated: bool| matches!(status, Some("informal" | "formal")) || (status.is_none() && dated);
    if child.birth.is_stillbirth() || death.is_some_and(|death| death.stillbirth) {
        return ChildStatus::Stillborn;
    }
    if death.is_some_and(|death| dead(death.status.as_deref(), death.date_time.is_some())) {
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
    compare!(identifiers, names, sex, addresses, telecoms, relations, ethnic_category, language, religion, death, status);
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
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::canon::{Address, Date, Death, EventHeader, Instant, Period, Precision, Sex, Telecom};

    const NOTHING: [String; 0] = [];

    fn said(rank: u8, at: i64) -> Said {
        let source = ["other", "pas", "maternity", "spine"][usize::from(rank)];
        Said { at_us: at, version: 0, seq: at, rank, source: source.to_owned() }
    }

    fn about(child: Child) -> Statement {
        Statement { child, ..Statement::default() }
    }

    /// Merges in the order given.
    fn merged<'a>(said: impl IntoIterator<Item = &'a (Said, Statement)>) -> Record {
        said.into_iter().fold(None, |record: Option<Record>, (said, statement)| Some(merge(record.as_ref(), statement, said).0)).unwrap()
    }

    /// The same record in every order of arrival; gives it.
    #[track_caller]
    fn in_every_order(statements: &[(Said, Statement)]) -> Record {
        let forth = merged(statements);
        for order in permutations(statements.len()) {
            let record = merged(order.iter().map(|n| &statements[*n]));
            assert_eq!(record, forth, "order {order:?}");
        }
        forth
    }

    fn permutations(len: usize) -> Vec<Vec<usize>> {
        if len == 0 {
            return vec![vec![]];
        }
        let shorter = permutations(len - 1);
        shorter.iter().flat_map(|order| (0..len).map(|at| [&order[..at], &[len - 1], &order[at..]].concat())).collect()
    }

    fn nhs(value: &str, status: &str) -> Identifier {
        Identifier {
            value: value.to_owned(),
            system: NHS_NUMBER_SYSTEM.to_owned(),
            status: Some(status.to_owned()),
            ..Identifier::default()
        }
    }

    fn local(value: &str, kind: &str) -> Identifier {
        Identifier { value: value.to_owned(), system: "urn:v2:RJ122".to_owned(), kind: Some(kind.to_owned()), ..Identifier::default() }
    }

    fn name(usage: &str, given: &str, family: &str) -> Name {
        Name { usage: Some(usage.to_owned()), given: vec![given.to_owned()], family: Some(family.to_owned()), ..Name::default() }
    }

    fn home(postcode: &str) -> Address {
        Address { usage: Some("home".to_owned()), postcode: Some(postcode.to_owned()), ..Address::default() }
    }

    fn gp(practice: &str) -> Child {
        Child { gp: Some(GpRegistration { practice_ods: Some(practice.to_owned()), ..GpRegistration::default() }), ..Child::default() }
    }

    fn cleared(path: &str) -> Statement {
        Statement { clears: vec![path.to_owned()], ..Statement::default() }
    }

    #[test]
    fn the_newest_word_of_the_highest_rank_stands_in_whatever_order_they_come() {
        let sex = |sex| about(Child { sex: Some(sex), ..Child::default() });
        // Sex: the national record over all others (canonical model, section 4).
        let record = in_every_order(&[(said(3, 1), sex(Sex::Male)), (said(1, 9), sex(Sex::Female)), (said(2, 8), sex(Sex::NotKnown))]);
        assert_eq!(record.child.sex, Some(Sex::Male));
        assert_eq!(record.said["sex"], said(3, 1));
        // Without it, the newest event: a PAS corrects what maternity said before.
        let record = in_every_order(&[(said(1, 9), sex(Sex::Female)), (said(2, 8), sex(Sex::Male)), (said(0, 10), sex(Sex::NotKnown))]);
        assert_eq!(record.child.sex, Some(Sex::Female));
    }

    #[test]
    fn weight_is_the_maternity_units_and_the_date_of_birth_the_national_records() {
        let birth = |weight, date: &str| {
            let mut child = Child::default();
            child.birth.weight_g = Some(weight);
            child.birth.date = Some(Date { value: date.to_owned(), precision: Precision::Day });
            about(child)
        };
        let record = in_every_order(&[
            (said(3, 5), birth(3000, "2026-01-05")),
            (said(2, 1), birth(3120, "2026-01-04")),
            (said(1, 9), birth(3, "2026-01-03")),
        ]);
        assert_eq!(record.child.birth.weight_g, Some(3120));
        assert_eq!(record.child.birth.date.unwrap().value, "2026-01-05");
    }

    #[test]
    fn days_of_gestation_go_with_the_weeks_they_were_said_with() {
        let gestation = |weeks, days| {
            let mut child = Child::default();
            (child.birth.gestation_weeks, child.birth.gestation_days) = (Some(weeks), days);
            about(child)
        };
        let record = in_every_order(&[(said(2, 1), gestation(39, Some(4))), (said(2, 2), gestation(40, None))]);
        assert_eq!((record.child.birth.gestation_weeks, record.child.birth.gestation_days), (Some(40), None));
    }

    #[test]
    fn an_order_of_8_or_9_is_no_order() {
        for order in [0, 8, 9, -1] {
            let mut child = Child::default();
            child.birth.birth_order = Some(order);
            assert_eq!(merged(&[(said(1, 1), about(child))]).child.birth.birth_order, None, "{order}");
        }
    }

    #[test]
    fn a_clear_is_honoured_from_the_same_or_a_higher_rank_only() {
        let practice = |record: &Record| record.child.gp.clone().and_then(|gp| gp.practice_ods);
        let by = |rank, at| (said(rank, at), cleared("gp.practice_ods"));
        let has = |rank, at, ods: &str| (said(rank, at), about(gp(ods)));

        assert_eq!(practice(&in_every_order(&[has(3, 1, "E83001"), by(1, 2)])).as_deref(), Some("E83001"));
        assert_eq!(practice(&in_every_order(&[has(2, 1, "E83001"), by(1, 2)])).as_deref(), Some("E83001"));
        assert_eq!(practice(&in_every_order(&[has(1, 1, "E83001"), by(1, 2)])), None);
        assert_eq!(practice(&in_every_order(&[has(1, 1, "E83001"), by(3, 2)])), None);
        // The national record says "no practice": a hospital's later copy does not bring one back.
        assert_eq!(practice(&in_every_order(&[has(3, 1, "E83001"), by(3, 2), has(1, 3, "E84001")])), None);
        assert_eq!(practice(&in_every_order(&[has(1, 3, "E83001"), by(1, 2)])).as_deref(), Some("E83001"));
        // What the clear covered and what it did not, from three sources.
        let record = in_every_order(&[has(2, 1, "E83001"), has(1, 2, "E84001"), by(1, 3)]);
        assert_eq!(practice(&record).as_deref(), Some("E83001"), "the PAS has none, maternity still has one");
        // Not registered is not the same as not known.
        assert_eq!(in_every_order(&[has(1, 1, "E83001"), by(1, 2)]).child.gp, Some(GpRegistration::default()));
        assert_eq!(merged(&[has(1, 1, "E83001")]).child.death, None);
    }

    #[test]
    fn a_new_practice_ends_what_belonged_to_the_old_one() {
        let mut with_practitioner = gp("E83001");
        with_practitioner.gp.as_mut().unwrap().practitioner_code = Some("G1234567".to_owned());
        let record = in_every_order(&[(said(1, 1), about(with_practitioner)), (said(1, 2), about(gp("E84001")))]);
        let gp = record.child.gp.unwrap();
        assert_eq!((gp.practice_ods.as_deref(), gp.practitioner_code), (Some("E84001"), None));
    }

    #[test]
    fn a_real_name_replaces_a_placeholder_and_is_never_replaced_by_one() {
        let named = |usage, given| about(Child { names: vec![name(usage, given, "EXAMPLE")], ..Child::default() });
        let given = |record: &Record| record.child.names.iter().map(|name| name.given.join(" ")).collect::<Vec<_>>();
        let baby = merged(&[(said(3, 1), named("official", "BABY"))]);
        assert!(baby.child.names[0].placeholder);

        let record = in_every_order(&[
            (said(3, 1), named("official", "BABY")),
            (said(1, 2), named("official", "AMARA")),
            (said(1, 3), named("official", "Baby")),
        ]);
        assert_eq!(given(&record), ["AMARA"]);
        // Under another use it is hidden once there is a real one, and comes back when the real one is taken back.
        let real = [(said(1, 1), named("usual", "TWIN ONE")), (said(3, 2), named("official", "AMARA"))];
        assert_eq!(given(&in_every_order(&real)), ["AMARA"]);
        let none = Statement { clears: vec!["names.official".to_owned()], ..Statement::default() };
        let [first, second] = real;
        assert_eq!(given(&in_every_order(&[first, second, (said(3, 3), none)])), ["TWIN ONE"]);
    }

    #[test]
    fn names_and_addresses_are_snapshots_of_their_use_and_telephones_of_their_kind() {
        let person = |names: Vec<Name>, addresses: Vec<Address>, telecoms: &[(&str, &str, &str)]| {
            let telecom = |(system, usage, value): &(&str, &str, &str)| Telecom {
                system: Some((*system).to_owned()),
                usage: Some((*usage).to_owned()),
                value: (*value).to_owned(),
                rank: None,
            };
            about(Child { names, addresses, telecoms: telecoms.iter().map(telecom).collect(), ..Child::default() })
        };
        let temp = Address { usage: Some("temp".to_owned()), ..home("E8 4RP") };
        let first = person(
            vec![name("official", "AMARA", "EXAMPLE"), name("alias", "MIMI", "EXAMPLE"), name("alias", "MARA", "EXAMPLE")],
            vec![home("SE1 9ZZ"), temp.clone()],
            &[("phone", "home", "02079460001"), ("phone", "home", "02079460002"), ("sms", "mobile", "07700900001")],
        );
        let second = person(vec![name("alias", "AMY", "EXAMPLE")], vec![home("W5 9ZZ")], &[("phone", "home", "02079460003")]);
        let record = in_every_order(&[(said(1, 1), first), (said(1, 2), second)]);
        let given: Vec<&str> = record.child.names.iter().map(|name| name.given[0].as_str()).collect();
        assert_eq!(given, ["AMARA", "AMY"]);
        assert_eq!(record.child.addresses, [home("W5 9ZZ"), temp]);
        let numbers: Vec<&str> = record.child.telecoms.iter().map(|telecom| telecom.value.as_str()).collect();
        assert_eq!(numbers, ["02079460003", "07700900001"]);
    }

    #[test]
    fn a_results_copy_of_the_address_moves_nobody() {
        let living = |postcode: &str, kind| {
            let event = EventHeader { kind, ..EventHeader::default() };
            Statement { event, child: Child { addresses: vec![home(postcode)], ..Child::default() }, ..Statement::default() }
        };
        let moved = [(said(1, 2), living("W5 9ZZ", EventKind::Person)), (said(2, 9), living("SE1 9ZZ", EventKind::BloodSpot))];
        assert_eq!(in_every_order(&moved).child.addresses, [home("W5 9ZZ")]);
        let only = [(said(2, 9), living("SE1 9ZZ", EventKind::BloodSpot))];
        assert_eq!(in_every_order(&only).child.addresses, [home("SE1 9ZZ")]);
    }

    #[test]
    fn a_notice_changes_nothing_and_no_number_becomes_current_by_it() {
        let has = |id: Identifier| about(Child { identifiers: vec![id], ..Child::default() });
        let superseded = [(said(3, 1), has(nhs("9990000026", "01"))), (said(3, 2), has(nhs("9990000034", "01")))];
        let record = merged(&superseded);
        let mut notice = has(nhs("9990000026", "01"));
        assert_ne!(merge(Some(&record), &notice, &said(3, 9)).0, record);
        notice.event.notice = true;
        assert_eq!(merge(Some(&record), &notice, &said(3, 9)), (record, Vec::new()));
    }

    #[test]
    fn an_address_that_begins_later_is_not_overtaken_by_an_older_word() {
        let day = 86_400_000_000;
        let start = Instant { value: "1970-01-21".to_owned(), precision: Precision::Day, raw: None };
        let moves = Address { period: Some(Period { start: Some(start), end: None }), ..home("W5 9ZZ") };
        let at = |days: i64| said(1, days * day);
        let address = |address: &Address| about(Child { addresses: vec![address.clone()], ..Child::default() });
        let announced = (at(3), address(&moves));
        assert_eq!(in_every_order(&[announced.clone(), (at(10), address(&home("SE1 9ZZ")))]).child.addresses, [moves]);
        assert_eq!(in_every_order(&[announced, (at(21), address(&home("SE1 9ZZ")))]).child.addresses, [home("SE1 9ZZ")]);
    }

    #[test]
    fn identifiers_stay_and_one_nhs_number_at_most_is_current() {
        let has = |ids: &[Identifier]| about(Child { identifiers: ids.to_vec(), ..Child::default() });
        let uses = |record: &Record| record.child.identifiers.iter().map(|id| (id.value.clone(), id.usage)).collect::<Vec<_>>();
        use IdentifierUse::{Current, Superseded};
        let temp = || (said(1, 1), has(&[local("B1", "MR"), local("TMP7", "TEMP")]));
        assert_eq!(uses(&merged(&[temp()])), [("B1".to_owned(), Current), ("TMP7".to_owned(), Current)]);

        let record = in_every_order(&[temp(), (said(1, 2), has(&[nhs("9990000026", "01")]))]);
        let expected = [("9990000026", Current), ("B1", Current), ("TMP7", Superseded)];
        assert_eq!(uses(&record), expected.map(|(value, usage)| (value.to_owned(), usage)));
        assert_eq!(record.child.status, Some(ChildStatus::Active));

        // An unverified number, said later, does not replace the verified one; a verified one replaces it.
        for (second, current) in [("03", "9990000026"), ("01", "9990000034")] {
            let record = in_every_order(&[(said(1, 2), has(&[nhs("9990000026", "01")])), (said(1, 3), has(&[nhs("9990000034", second)]))]);
            let (number, _) = record.child.nhs_number().unwrap();
            assert_eq!(number.to_string(), current, "status {second}");
            assert_eq!(record.child.identifiers.iter().filter(|id| id.usage == Current).count(), 1);
            assert_eq!(record.child.identifiers.len(), 2);
        }
        // The national record over a verified one.
        let national = (said(3, 1), has(&[nhs("9990000034", "01")]));
        let record = in_every_order(&[national.clone(), (said(1, 9), has(&[nhs("9990000026", "01")]))]);
        assert_eq!(record.child.nhs_number().unwrap().0.to_string(), "9990000034");
        // It withdraws its number: the other one is in force again.
        let withdrawn = Identifier { usage: IdentifierUse::Invalidated, ..nhs("9990000034", "01") };
        let record = in_every_order(&[national, (said(1, 9), has(&[nhs("9990000026", "01")])), (said(3, 11), has(&[withdrawn]))]);
        assert_eq!(record.child.nhs_number().unwrap().0.to_string(), "9990000026");
        // A status, once verified, is not lost by a message that leaves it out; a number with a wrong digit is none.
        let bare = Identifier { status: None, ..nhs("9990000026", "01") };
        let record = in_every_order(&[(said(1, 1), has(&[nhs("9990000026", "01")])), (said(1, 2), has(&[bare, nhs("9990000027", "01")]))]);
        assert_eq!(record.child.nhs_number().unwrap().1, Some("01"));
        assert_eq!(record.child.identifiers.len(), 1);
    }

    #[test]
    fn where_a_child_stands_follows_its_number_its_birth_and_its_death() {
        let with = |ids: Vec<Identifier>, death: &str, live_still: &str| {
            let mut child = Child { identifiers: ids, ..Child::default() };
            let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            child.death = word(death).map(|status| Death { status: Some(status), ..Death::default() });
            child.birth.live_still = word(live_still);
            about(child)
        };
        let cases = [
            (3, vec![Identifier { status: None, ..nhs("9990000026", "") }], "", "", ChildStatus::Active),
            (1, vec![nhs("9990000026", "01")], "", "1", ChildStatus::Active),
            (1, vec![nhs("9990000026", "02")], "", "", ChildStatus::Provisional),
            (1, vec![local("B1", "MR")], "", "", ChildStatus::Provisional),
            (1, vec![local("B1", "MR")], "informal", "", ChildStatus::Deceased),
            (3, vec![nhs("9990000026", "01")], "formal", "1", ChildStatus::Deceased),
            (3, vec![nhs("9990000026", "01")], "formal", "2", ChildStatus::Stillborn),
            (1, vec![local("B1", "MR")], "", "4", ChildStatus::Stillborn),
            (1, vec![nhs("9990000026", "01")], "removed", "", ChildStatus::Active),
        ];
        for (rank, ids, death, live_still, expected) in cases {
            assert_eq!(merged(&[(said(rank, 1), with(ids, death, live_still))]).child.status, Some(expected), "{death} {live_still}");
        }
    }

    #[test]
    fn a_death_is_taken_back_by_the_same_or_a_higher_source_and_never_hidden_by_a_removal_before_it() {
        let dead =
            |status: &str| about(Child { death: Some(Death { status: Some(status.to_owned()), ..Death::default() }), ..Child::default() });
        let stands = |statements: &[(Said, Statement)]| in_every_order(statements).child.status.unwrap();
        assert_eq!(stands(&[(said(1, 1), dead("informal")), (said(1, 2), dead("removed"))]), ChildStatus::Provisional);
        assert_eq!(stands(&[(said(1, 1), dead("informal")), (said(1, 2), cleared("death.status"))]), ChildStatus::Provisional);
        assert_eq!(stands(&[(said(3, 1), dead("formal")), (said(1, 2), dead("removed"))]), ChildStatus::Deceased);
        assert_eq!(stands(&[(said(3, 1), dead("formal")), (said(1, 2), cleared("death"))]), ChildStatus::Deceased);
        // An earlier-dated update does not bring anybody back to life.
        assert_eq!(stands(&[(said(1, 5), dead("informal")), (said(1, 4), dead("removed"))]), ChildStatus::Deceased);
        // The national record took one notification back; a hospital's later one is another one.
        assert_eq!(
            stands(&[(said(3, 1), dead("informal")), (said(3, 2), dead("removed")), (said(1, 3), dead("informal"))]),
            ChildStatus::Deceased
        );
    }

    #[test]
    fn a_removal_is_shown_where_it_took_a_death_back_and_reaches_its_own_source_and_ground_only() {
        let word = |status: &str, ground: Option<&str>| {
            let death = Death { status: Some(status.to_owned()), ground: ground.map(str::to_owned), ..Death::default() };
            about(Child { death: Some(death), ..Child::default() })
        };
        let (dead, removed) = (|ground| word("informal", ground), |ground| word("removed", ground));
        let shows = |statements: &[(Said, Statement)]| in_every_order(statements).child.death.and_then(|death| death.status);
        // "Not dead" of a child who never was says nothing; of the national record it is shown.
        assert_eq!(shows(&[(said(1, 1), removed(None))]), None);
        assert_eq!(shows(&[(said(3, 1), removed(None))]).as_deref(), Some("removed"));
        assert_eq!(shows(&[(said(1, 1), dead(None)), (said(1, 2), removed(None))]).as_deref(), Some("removed"));
        // A cancelled discharge takes back what the discharge said, and what the same source says otherwise as well.
        assert_eq!(shows(&[(said(1, 1), dead(Some("discharge"))), (said(1, 2), removed(None))]).as_deref(), Some("removed"));
        // PID-30 N takes back PID-30 Y, and not the discharge.
        assert_eq!(shows(&[(said(1, 1), dead(Some("discharge"))), (said(1, 2), removed(Some("indicator")))]).as_deref(), Some("informal"));
        assert_eq!(shows(&[(said(1, 1), dead(None)), (said(1, 2), removed(Some("indicator")))]).as_deref(), Some("removed"));
        // Another source's death is not a hospital's to take back; the national record may.
        assert_eq!(shows(&[(said(2, 1), dead(None)), (said(1, 2), removed(None))]).as_deref(), Some("informal"));
        assert_eq!(shows(&[(said(1, 1), dead(None)), (said(2, 2), removed(None))]).as_deref(), Some("informal"));
        assert_eq!(shows(&[(said(1, 1), dead(Some("discharge"))), (said(3, 2), removed(None))]).as_deref(), Some("removed"));
    }

    #[test]
    fn an_identifier_that_was_given_up_stays_so_however_late_a_message_still_names_it() {
        let id = |usage| Identifier { system: "urn:v2:RJ1".to_owned(), value: "A".to_owned(), usage, ..Identifier::default() };
        let with = |usage| about(Child { identifiers: vec![id(usage)], ..Child::default() });
        let statements = [
            (said(1, 1), with(IdentifierUse::Current)),
            (said(1, 2), with(IdentifierUse::Superseded)),
            (said(2, 3), with(IdentifierUse::Current)),
            (said(1, 4), with(IdentifierUse::Current)),
        ];
        assert_eq!(in_every_order(&statements).child.identifiers, [id(IdentifierUse::Superseded)]);
    }

    #[test]
    fn a_restriction_is_lifted_by_its_own_source_or_the_national_record_only() {
        let flag = |sensitivity: &str, hiding: Option<bool>| {
            let flags = Flags { sensitivity: Some(sensitivity.to_owned()), local_hiding: hiding, ..Flags::default() };
            about(Child { flags, ..Child::default() })
        };
        let restricted = |statements: &[(Said, Statement)]| in_every_order(statements).child.flags.is_restricted();
        assert!(restricted(&[(said(1, 1), flag("restricted", None)), (said(2, 2), flag("unrestricted", None))]));
        assert!(restricted(&[(said(3, 1), flag("unrestricted", None)), (said(1, 2), flag("restricted", None))]));
        assert!(!restricted(&[(said(1, 1), flag("restricted", None)), (said(3, 2), flag("unrestricted", None))]));
        assert!(!restricted(&[(said(1, 1), flag("restricted", Some(true))), (said(1, 2), flag("unrestricted", Some(false)))]));
        assert!(restricted(&[(said(1, 1), flag("", Some(true))), (said(2, 2), flag("", Some(false)))]));
    }

    #[test]
    fn each_source_says_who_is_around_the_child_and_the_same_person_stands_once() {
        let relation = |kind: &str, given: &str| Relation {
            kind: kind.to_owned(),
            name: Some(name("usual", given, "EXAMPLE")),
            ..Relation::default()
        };
        let with = |people: &[Relation]| about(Child { relations: people.to_vec(), ..Child::default() });
        let names = |record: &Record| {
            record
                .child
                .relations
                .iter()
                .map(|person| format!("{} {}", person.kind, person.name.as_ref().map_or("-", |name| &name.given[0])))
                .collect::<Vec<_>>()
        };
        let pas = (said(1, 1), with(&[relation("12", "ROSE"), relation("13", "SAM")]));
        assert_eq!(names(&in_every_order(&[pas.clone(), (said(1, 2), with(&[relation("12", "ROSE")]))])), ["12 ROSE"]);
        assert_eq!(names(&in_every_order(&[pas.clone(), (said(1, 2), about(Child::default()))])), ["12 ROSE", "13 SAM"]);
        assert_eq!(names(&in_every_order(&[pas.clone(), (said(1, 2), cleared("relations"))])), NOTHING);

        let spine =
            Relation { identifiers: vec![nhs("9990000018", "01")], gp_practice_ods: Some("E83001".to_owned()), ..relation("12", "ROSA") };
        let record =
            in_every_order(&[pas.clone(), (said(3, 5), with(std::slice::from_ref(&spine))), (said(1, 7), with(&[relation("13", "Sám")]))]);
        assert_eq!(names(&record), ["12 ROSA", "13 Sám"]);
        assert_eq!(record.child.mother().unwrap().gp_practice_ods.as_deref(), Some("E83001"));
        // An identifier alone (PID-21) is no snapshot of the people.
        let bare = Relation { kind: "12".to_owned(), identifiers: vec![nhs("9990000018", "01")], ..Relation::default() };
        let record = in_every_order(&[pas.clone(), (said(1, 2), with(&[bare]))]);
        assert_eq!(names(&record), ["12 ROSE", "13 SAM"]);
        assert_eq!(record.child.mother().unwrap().nhs_number().unwrap().to_string(), "9990000018");
        // Two numbers are two people, side by side.
        let other = Relation { identifiers: vec![nhs("9990000034", "01")], ..relation("12", "ANA") };
        assert_eq!(names(&in_every_order(&[(said(3, 5), with(&[spine])), (said(1, 7), with(&[other]))])), ["12 ROSA", "12 ANA"]);
    }

    #[test]
    fn what_takes_back_a_result_says_nothing_of_the_person() {
        let mut statement = about(gp("E83001"));
        statement.event.action = Action::Delete;
        statement.child.flags.birth_needs_review = true;
        let record = merged(&[(said(1, 1), about(gp("E84001"))), (said(1, 2), statement)]);
        assert_eq!(record.child.gp.unwrap().practice_ods.as_deref(), Some("E84001"));
        assert!(record.child.flags.birth_needs_review);
    }

    #[test]
    fn changed_names_the_paths_that_changed_and_no_others() {
        let first = merged(&[(said(1, 1), about(gp("E83001")))]);
        let (again, changed) = merge(Some(&first), &about(gp("E83001")), &said(1, 2));
        assert_eq!(changed, NOTHING);
        let mut child = gp("E84001");
        child.sex = Some(Sex::Female);
        child.identifiers = vec![nhs("9990000026", "01")];
        let (_, changed) = merge(Some(&again), &about(child), &said(1, 3));
        assert_eq!(changed, ["gp.practice_ods", "identifiers", "sex", "status"]);
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let statements = [(said(1, 1), about(gp("E83001"))), (said(3, 2), about(gp("E84001"))), (said(1, 3), cleared("gp"))];
        let record = merged(&statements);
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
        // A record written before words were kept.
        assert_eq!(serde_json::from_str::<Record>(r#"{"child":{},"said":{}}"#).unwrap(), Record::default());
    }

    /// One of everything that scalars, lists and clears can do, drawn small so that words meet each other.
    fn any_statement() -> impl Strategy<Value = Statement> {
        let sexes = proptest::option::of(select(vec![Sex::Male, Sex::Female]));
        let digits = || proptest::option::of(select(vec!["1", "2", "3"]));
        let names = subsequence(vec![("official", "AMARA"), ("usual", "BABY"), ("usual", "LEO"), ("alias", "MIMI")], 0..3);
        let numbers = subsequence(vec![("9990000026", "01"), ("9990000034", "03"), ("9990000034", "01")], 0..2);
        let clears =
            subsequence(vec!["gp", "gp.practice_ods", "sex", "death.status", "language", "birth.weight_g", "flags.sensitivity"], 0..3);
        let deaths = proptest::option::of(select(vec!["informal", "formal", "removed", "discharge informal", "indicator removed"]));
        let flags = proptest::option::of(select(vec!["unrestricted", "restricted", "very_restricted"]));
        let kinds = select(vec![EventKind::Person, EventKind::BloodSpot]);
        let postcodes = proptest::option::of(select(vec!["SE1 9ZZ", "W5 9ZZ"]));
        ((sexes, digits(), digits(), digits(), names), (numbers, clears, deaths, flags, kinds, postcodes)).prop_map(
            |((sex, practice, weight, language, names), (numbers, clears, death, sensitivity, kind, postcode))| {
                let mut child = practice.map(gp).unwrap_or_default();
                child.sex = sex;
                child.birth.weight_g = weight.and_then(|weight| weight.parse().ok());
                child.language = language.map(str::to_owned);
                child.names = names.into_iter().map(|(usage, given)| name(usage, given, "EXAMPLE")).collect();
                child.identifiers = numbers.into_iter().map(|(value, status)| nhs(value, status)).collect();
                child.death = death.map(|words| {
                    let (ground, status) =
                        words.split_once(' ').map_or((None, words), |(ground, status)| (Some(ground.to_owned()), status));
                    Death { status: Some(status.to_owned()), ground, ..Death::default() }
                });
                child.flags.sensitivity = sensitivity.map(str::to_owned);
                child.addresses = postcode.map(home).into_iter().collect();
                let people = ["ROSE", "SAM"].into_iter().map(|given| Relation {
                    kind: "12".to_owned(),
                    name: Some(name("usual", given, "X")),
                    ..Relation::default()
                });
                child.relations = if sex.is_some() { people.collect() } else { Vec::new() };
                let event = EventHeader { kind, ..EventHeader::default() };
                Statement { event, child, clears: clears.into_iter().map(str::to_owned).collect(), ..Statement::default() }
            },
        )
    }

    /// Ranks, sources and moments so few that ties are common.
    fn any_said() -> impl Strategy<Value = Said> {
        (0..4_u8, select(vec!["a", "b"]), 0..4_i64, 0..2_i64, 0..2_i64).prop_map(|(rank, source, at_us, version, seq)| Said {
            at_us,
            version,
            seq,
            rank,
            source: source.to_owned(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_of_arrival_never_shows(
            statements in proptest::collection::vec((any_said(), any_statement()), 1..7).prop_shuffle(),
            shuffle in any::<prop::sample::Index>(),
        ) {
            let forth = merged(&statements);
            let back = merged(statements.iter().rev());
            prop_assert_eq!(&back, &forth);
            let mut turned = statements.clone();
            turned.rotate_left(shuffle.index(statements.len()));
            prop_assert_eq!(&merged(&turned), &forth);
            // What was said already changes nothing when it is said again.
            let again = statements.iter().fold(forth.clone(), |record, (said, statement)| merge(Some(&record), statement, said).0);
            prop_assert_eq!(&again, &forth);
        }

        #[test]
        fn two_records_made_one_say_what_one_record_would_have_said(
            statements in proptest::collection::vec((any_said(), any_statement()), 2..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let (one, other) = statements.split_at(1 + cut.index(statements.len() - 1));
            prop_assert_eq!(unite(&merged(one), &merged(other)), merged(&statements));
        }

        #[test]
        fn at_most_one_nhs_number_is_current(statements in proptest::collection::vec((any_said(), any_statement()), 1..7)) {
            let record = merged(&statements);
            let current = record.child.identifiers.iter().filter(|id| id.usage == IdentifierUse::Current && id.nhs_number().is_some());
            prop_assert!(current.count() <= 1);
        }
    }
}
