//! Compares what a broker made of a city with the truth, child by child, and says every difference in plain words.
//!
//! # What is compared
//!
//! - no record holds events of two children, and no child has more records than it must;
//! - every message became what it must: filed once, held and why, a duplicate; nothing came that was not sent;
//! - every event is in the stores that must have it, once, and under its child; a child is in no other store;
//! - the record says what it must, what stands under publishers' keys stands, the outcome that counts is the right one;
//! - the failsafe clocks that run out are seen, each on its day, and no others (where the broker keeps clocks);
//! - each hub has one births list of each day, an empty one too; each birth stands on the lists on which it must, and on no other;
//! - nothing is unaccounted for, unfiled or undelivered.
//!
//! Where the caller leaves out a feature (`--without`), what hangs on it is not judged, but for the first line: two children on one
//! record are never right.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::observed::{MessageKey, Observed};
use super::truth::{ALIVE, Becomes, Owed, TruthBirth, TruthChild, TruthMessage, TruthRecord};

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// Which kind of difference, in one word for counting.
    pub kind: &'static str,
    /// The child in the truth; empty where it is about none.
    pub child: String,
    /// What is and what must be.
    pub text: String,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Children compared.
    pub children: usize,
    /// Children not judged, because a feature was left out.
    pub left_out: usize,
    /// Messages compared.
    pub messages: usize,
    /// Held as they must be.
    pub held: usize,
    /// Events found in the stores where they must be.
    pub stored: usize,
    /// Items found under publishers' keys.
    pub items: usize,
    /// Clocks that ran out and were seen to.
    pub clocks: usize,
    /// Births lists that came, and births that stand on them as they must.
    pub lists: usize,
    /// See `lists`.
    pub births: usize,
    /// Messages that came again because their answer was lost.
    pub again: usize,
    /// Differences by kind.
    pub counts: BTreeMap<&'static str, usize>,
    /// The differences themselves.
    pub differences: Vec<Difference>,
}

impl Report {
    fn differ(&mut self, kind: &'static str, child: &str, text: String) {
        *self.counts.entry(kind).or_default() += 1;
        self.differences.push(Difference { kind, child: child.to_owned(), text });
    }
}

/// Compares. `days` are the London dates that the city lived, `without` names the features that are left out.
pub fn compare(truth: &[TruthChild], days: &BTreeSet<String>, observed: &Observed, without: &BTreeSet<String>) -> Report {
    let mut owners: HashMap<MessageKey, &str> = HashMap::new();
    for child in truth {
        owners.extend(child.messages.iter().map(|message| (key(message), child.child.as_str())));
    }
    let mut comparing = Comparing {
        observed,
        without,
        report: Report::default(),
        records: HashMap::new(),
        events: HashMap::new(),
        births: HashMap::new(),
        stored: stored(observed),
    };
    comparing.one_child_a_record(&owners);
    comparing.lists(days);
    for child in truth {
        comparing.child(child);
    }
    comparing.nothing_else(&owners);
    comparing.report
}

fn key(message: &TruthMessage) -> MessageKey {
    (message.source.clone(), message.control.clone())
}

struct Comparing<'o> {
    observed: &'o Observed,
    without: &'o BTreeSet<String>,
    report: Report,
    /// The records of each child in the truth.
    records: HashMap<String, BTreeSet<String>>,
    /// Hub and ground after each message, once for each event.
    events: HashMap<MessageKey, Vec<(String, String)>>,
    /// The births lists on which each record stands.
    births: HashMap<String, BTreeSet<Place>>,
    /// The records that each hub's store has, as those that go on.
    stored: BTreeMap<&'o str, HashSet<&'o str>>,
}

/// The records that go on of each hub's store, by the hub.
fn stored(observed: &Observed) -> BTreeMap<&str, HashSet<&str>> {
    observed
        .stores
        .iter()
        .map(|(hub, store)| (hub.as_str(), store.children.iter().map(|child| observed.current(child)).collect()))
        .collect()
}

/// Day, hub and section of a birth on a list.
type Place = (String, String, String);

impl Comparing<'_> {
    fn lacks(&self, needs: &[String]) -> bool {
        lacks(self.without, needs)
    }

    fn must(&self, owed: &Owed) -> bool {
        must(self.without, owed)
    }

    /// Through the events: whose is each record?
    fn one_child_a_record(&mut self, owners: &HashMap<MessageKey, &str>) {
        let mut children: BTreeMap<&str, BTreeMap<&str, &MessageKey>> = BTreeMap::new();
        let observed = self.observed;
        for event in &observed.events {
            let current = observed.current(&event.child);
            self.events.entry(event.message.clone()).or_default().push((event.hub.clone(), event.basis.clone()));
            if let Some(owner) = owners.get(&event.message) {
                children.entry(current).or_default().entry(owner).or_insert(&event.message);
                self.records.entry((*owner).to_owned()).or_default().insert(current.to_owned());
            }
        }
        for (record, children) in children.into_iter().filter(|(_, children)| 1 < children.len()) {
            let names: Vec<String> = children.iter().map(|(child, (source, control))| format!("{child} ({control} of {source})")).collect();
            let text = format!("one record holds events of {}: {record}", names.join(" and "));
            self.report.differ("wrong child", children.keys().next().copied().unwrap_or_default(), text);
        }
    }

    /// One list for each hub and day, in its store as it was made; whose births stand on it is judged child by child.
    fn lists(&mut self, days: &BTreeSet<String>) {
        const KIND: &str = "births list";
        let observed = self.observed;
        let known: HashSet<&str> = self.records.values().flatten().map(String::as_str).collect();
        for (hub, store) in &observed.stores {
            let of_hub = observed.births.keys().filter(|(of, _)| of == hub).map(|(_, day)| day);
            for day in days.iter().chain(of_hub).chain(store.births.keys()).collect::<BTreeSet<_>>() {
                let made = observed.births.get(&(hub.clone(), day.clone()));
                let name = format!("the births list of {hub} of {day}");
                match (days.contains(day), made, store.births.get(day)) {
                    (false, ..) => self.report.differ(KIND, "", format!("{name} is of no day of the city")),
                    (true, None, _) => self.report.differ(KIND, "", format!("{name} was not made")),
                    (true, Some(_), None) => self.report.differ(KIND, "", format!("{name} is not in its store")),
                    (true, Some(made), Some(came)) if made != came => {
                        self.report.differ(KIND, "", format!("{name} is another in its store"));
                    }
                    _ => self.report.lists += 1,
                }
            }
        }
        for ((hub, day), rows) in &observed.births {
            for (section, child) in rows {
                let record = observed.current(child);
                if !known.contains(record) {
                    self.report.differ(KIND, "", format!("{record} stands on the births list of {hub} of {day} and nobody told of it"));
                }
                let place = (day.clone(), hub.clone(), section.clone());
                if !self.births.entry(record.to_owned()).or_default().insert(place) {
                    self.report.differ(KIND, "", format!("{record} stands twice on the births list of {hub} of {day}"));
                }
            }
        }
    }

    /// On the births lists on which it must stand, and on no other.
    fn birth(&mut self, truth: &TruthChild, records: &BTreeSet<String>) {
        let is: BTreeSet<Place> = records.iter().filter_map(|record| self.births.get(record)).flatten().cloned().collect();
        let place = |birth: &TruthBirth| (birth.day.clone(), birth.hub.clone(), birth.section.clone());
        let may: BTreeSet<Place> = truth.births.iter().map(place).collect();
        let must: BTreeSet<Place> = truth.births.iter().filter(|birth| !birth.may).map(place).collect();
        for (day, hub, section) in must.difference(&is) {
            self.report.differ("births list", &truth.child, format!("is not on the list of {hub} of {day} ({section})"));
        }
        for (day, hub, section) in is.difference(&may) {
            self.report.differ("births list", &truth.child, format!("is on the list of {hub} of {day} ({section}) and must not be"));
        }
        self.report.births += is.intersection(&may).count();
    }

    fn child(&mut self, truth: &TruthChild) {
        if self.lacks(&truth.needs) {
            self.report.left_out += 1;
            return;
        }
        self.report.children += 1;
        let records = self.records.get(&truth.child).cloned().unwrap_or_default();
        let is_partly_judged = truth.messages.iter().any(|message| self.lacks(&message.needs));
        let may_be_found = truth.needs.iter().any(|need| need == super::DEMOGRAPHIC);
        let fewer_will_do = (is_partly_judged || may_be_found) && records.len() < truth.records;
        if records.len() != truth.records && !fewer_will_do {
            let text = format!("has {} records and must have {}: {}", records.len(), truth.records, list(&records));
            self.report.differ("records", &truth.child, text);
        }
        self.stores(truth, &records);
        if !is_partly_judged {
            self.birth(truth, &records);
        }
        if let (1, Some(record)) = (truth.records, records.first()) {
            self.record(truth, record);
        }
        if let (1, Some(record), false) = (truth.records, records.first(), self.without.contains(super::FAILSAFE)) {
            self.clocks(truth, record);
        }
        for message in &truth.messages {
            self.message(truth, message, &records);
        }
    }

    /// Every clock that runs out is seen on the day on which it does, and no other.
    fn clocks(&mut self, truth: &TruthChild, record: &str) {
        let (Some(must), Some(breaches)) = (&truth.clocks, &self.observed.breaches) else { return };
        let must: BTreeSet<(&str, &str)> = must.iter().map(|clock| (clock.clock.as_str(), clock.breach.as_str())).collect();
        let judged = |clock: &str| super::clocks::judged().any(|judged| judged == clock);
        let seen = breaches.get(record).into_iter().flatten().filter(|(clock, _)| judged(clock));
        let seen: BTreeSet<(&str, &str)> = seen.map(|(clock, day)| (clock.as_str(), day.as_str())).collect();
        for (clock, day) in must.difference(&seen) {
            self.report.differ("clock missed", &truth.child, format!("{clock} runs out on {day} and the broker did not see it that day"));
        }
        for (clock, day) in seen.difference(&must) {
            self.report.differ("clock invented", &truth.child, format!("{clock} ran out on {day} by the broker and did not"));
        }
        self.report.clocks += must.intersection(&seen).count();
    }

    /// In exactly the stores that must have the child.
    fn stores(&mut self, truth: &TruthChild, records: &BTreeSet<String>) {
        if truth.stores.is_empty() && truth.record.status.as_deref() == Some("stillborn") {
            return;
        }
        let may: HashSet<&str> =
            truth.messages.iter().flat_map(|message| &message.stores).chain(&truth.stores).map(|owed| owed.hub.as_str()).collect();
        let observed = self.observed;
        for hub in observed.stores.keys() {
            let has = self.stored.get(hub.as_str()).is_some_and(|stored| records.iter().any(|record| stored.contains(record.as_str())));
            let must = truth.stores.iter().any(|owed| owed.hub == *hub && self.must(owed));
            match (must, has) {
                (true, false) => self.report.differ("missing in a store", &truth.child, format!("is not in the store of {hub}")),
                (false, true) if !may.contains(hub.as_str()) => {
                    self.report.differ("in a wrong store", &truth.child, format!("is in the store of {hub}, which never looked after it"));
                }
                _ => {}
            }
        }
    }

    fn record(&mut self, truth: &TruthChild, id: &str) {
        let observed = self.observed;
        let Some(seen) = observed.records.get(id) else {
            self.report.differ("records", &truth.child, format!("its record {id} cannot be read"));
            return;
        };
        let record: Value = serde_json::from_str(&seen.record).unwrap_or_default();
        for (field, must, is) in fields(&truth.record, &record) {
            if must != is {
                self.report.differ("record", &truth.child, format!("{field} is {is:?} and must be {must:?}"));
            }
        }
        let hub = |name: &str| text(record.get("hub").and_then(|hub| hub.get(name)));
        if let Some(last) = truth.hubs.last()
            && (hub("hub"), hub("basis")) != (Some(last.hub.clone()), Some(last.basis.clone()))
        {
            let text = format!("hub is {:?} by {:?} and must be {} by {}", hub("hub"), hub("basis"), last.hub, last.basis);
            self.report.differ("hub", &truth.child, text);
        }
        if truth.messages.iter().any(|message| self.lacks(&message.needs)) {
            return;
        }
        if truth.outcomes != seen.outcomes {
            let differing = |from: &BTreeMap<String, String>, other: &BTreeMap<String, String>| -> Vec<String> {
                let differs = from.iter().filter(|(condition, status)| other.get(*condition) != Some(status));
                differs.map(|(condition, status)| format!("{condition} {status}")).collect()
            };
            let (is, must) = (differing(&seen.outcomes, &truth.outcomes), differing(&truth.outcomes, &seen.outcomes));
            self.report.differ("outcome", &truth.child, format!("what counts is [{}] and must be [{}]", is.join(", "), must.join(", ")));
        }
        let without = self.without;
        for item in truth.items.iter().filter(|item| !lacks(without, &item.needs)) {
            let key = (item.kind.clone(), item.publisher.clone(), item.key.clone());
            if !seen.items.contains(&key) {
                self.report.differ("item", &truth.child, format!("{} {} of {} does not stand", item.kind, item.key, item.publisher));
            }
            for owed in item.stores.iter().filter(|owed| must(without, owed)) {
                let has = observed.stores.get(&owed.hub).and_then(|store| store.items.get(&key));
                if has.is_some_and(|children| children.iter().any(|child| observed.current(child) == id)) {
                    self.report.items += 1;
                } else {
                    let text = format!("{} {} of {} is not in the store of {}", item.kind, item.key, item.publisher, owed.hub);
                    self.report.differ("item", &truth.child, text);
                }
            }
        }
    }

    fn message(&mut self, truth: &TruthChild, message: &TruthMessage, records: &BTreeSet<String>) {
        if self.lacks(&message.needs) {
            return;
        }
        self.report.messages += 1;
        let name = format!("{} {} of {} at {}", message.says, message.control, message.source, message.at);
        let observed = self.observed;
        let entries = observed.entries.get(&key(message)).map(Vec::as_slice).unwrap_or_default();
        let standings: Vec<&str> = entries.iter().map(|entry| entry.standing.as_str()).collect();
        let Some(entry) = entries.iter().find(|entry| entry.standing == message.becomes.as_str()) else {
            let text = format!("{name} must be {} and is {}", message.becomes.as_str(), told(&standings, entries.first()));
            self.report.differ("standing", &truth.child, text);
            return;
        };
        match message.becomes {
            Becomes::Duplicate => {}
            Becomes::Held => {
                if reasons(&message.why).contains(&entry.reason.as_str()) {
                    self.report.held += 1;
                } else {
                    let text = format!("{name} must be held as {} and is held as {}", message.why, entry.reason);
                    self.report.differ("held", &truth.child, text);
                }
            }
            Becomes::Filed => self.filed(truth, message, &name, records),
        }
        let first = standings.iter().filter(|standing| **standing != "duplicate").count();
        if 1 < first {
            self.report.differ("twice", &truth.child, format!("{name} was taken {first} times"));
        }
        let duplicates = standings.len() - first;
        let sent_twice = truth.messages.iter().filter(|other| key(other) == key(message) && other.becomes == Becomes::Duplicate).count();
        self.report.again += if message.becomes == Becomes::Duplicate { 0 } else { duplicates.saturating_sub(sent_twice) };
    }

    fn filed(&mut self, truth: &TruthChild, message: &TruthMessage, name: &str, records: &BTreeSet<String>) {
        let observed = self.observed;
        let span = truth.hubs.iter().rev().find(|span| span.from <= message.at);
        let seen = self.events.get(&key(message)).and_then(|events| events.last()).cloned();
        if let (Some(span), Some((hub, basis)), 1, true) = (span, seen, truth.records, message.says != "merge" && message.needs.is_empty())
            && (&hub, &basis) != (&span.hub, &span.basis)
            && !message.stores.is_empty()
        {
            let text = format!("after {name} the hub is {hub} by {basis} and must be {} by {}", span.hub, span.basis);
            self.report.differ("hub", &truth.child, text);
        }
        for (hub, store) in &observed.stores {
            let owed = message.stores.iter().find(|owed| owed.hub == *hub);
            let has = store.events.get(&key(message)).map(Vec::as_slice).unwrap_or_default();
            let of_child = has.iter().filter(|child| records.contains(observed.current(child))).count();
            let times_max = if message.says == "merge" { 2 } else { 1 };
            match (owed, of_child) {
                (Some(owed), 0) if self.must(owed) => {
                    self.report.differ("missing in a store", &truth.child, format!("{name} is not in the store of {hub}"));
                }
                (_, times) if times_max < times => {
                    self.report.differ("twice", &truth.child, format!("{name} is {times} times in the store of {hub}"));
                }
                (Some(_), 1..) => self.report.stored += 1,
                _ => {}
            }
            if of_child < has.len() {
                self.report.differ("wrong child", &truth.child, format!("{name} stands under another child in the store of {hub}"));
            }
        }
    }

    /// What was never sent, what is nowhere, and what is not finished.
    fn nothing_else(&mut self, owners: &HashMap<MessageKey, &str>) {
        let mut unknown: Vec<&MessageKey> = self.observed.entries.keys().filter(|key| !owners.contains_key(*key)).collect();
        unknown.sort();
        for (source, control) in unknown {
            self.report.differ("never sent", "", format!("{control} of {source} is in the journal and was never sent"));
        }
        for (hub, store) in &self.observed.stores {
            let mut strangers: Vec<&MessageKey> = store.events.keys().filter(|key| !self.events.contains_key(*key)).collect();
            strangers.sort();
            for (source, control) in strangers {
                self.report.differ(
                    "never sent",
                    "",
                    format!("the store of {hub} has an event of {control} of {source}, the ledger has not"),
                );
            }
        }
        if self.observed.breaches.is_none() && !self.without.contains(super::FAILSAFE) {
            self.report.differ("no clocks", "", "the broker keeps no failsafe clocks".to_owned());
        }
        for (count, what) in [(self.observed.unaccounted, "in no state"), (self.observed.unfinished, "unfiled or undelivered")] {
            if count != 0 {
                self.report.differ("unaccounted", "", format!("{count} entries or debts are {what}"));
            }
        }
    }
}

/// What the broker says of a message that the truth holds for this reason. Where a mapping could not read it, the reason is the mapping's.
fn reasons(why: &str) -> &'static [&'static str] {
    match why {
        "conflict" | "mother" => &["identity-conflict"],
        "unmatched" => &["unmatched"],
        "closed" => &["record-closed"],
        "unreadable" => &["unmapped-code", "unknown-code", "table-miss"],
        _ => &[],
    }
}

fn lacks(without: &BTreeSet<String>, needs: &[String]) -> bool {
    needs.iter().any(|need| without.contains(need))
}

fn must(without: &BTreeSet<String>, owed: &Owed) -> bool {
    owed.needs.as_ref().is_none_or(|need| !without.contains(need))
}

fn told(standings: &[&str], first: Option<&super::observed::SeenEntry>) -> String {
    match first {
        None => "not in the journal".to_owned(),
        Some(entry) if entry.reason.is_empty() => standings.join(", "),
        Some(entry) => format!("{} ({})", standings.join(", "), entry.reason),
    }
}

fn list(records: &BTreeSet<String>) -> String {
    records.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(|value| value.as_str().map(str::to_owned))
}

/// Field, what it must be, what it is; fields that the truth does not name are left out.
fn fields(truth: &TruthRecord, record: &Value) -> Vec<(&'static str, Option<String>, Option<String>)> {
    let at = |pointer: &str| record.pointer(pointer);
    let all = |pointer: &str| at(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let identifier = all("/identifiers").into_iter().find(|id| {
        id.get("system").and_then(Value::as_str) == Some(crate::canon::NHS_NUMBER_SYSTEM)
            && id.get("use").and_then(Value::as_str) == Some("current")
    });
    let home = all("/addresses").into_iter().find(|address| address.get("use").and_then(Value::as_str) == Some("home"));
    let given = |wanted: &String| {
        let names = all("/names");
        let has = names.iter().filter_map(|name| name.get("given")?.as_array()).flatten().any(|name| name.as_str() == Some(wanted));
        has.then(|| wanted.clone())
    };
    let mut fields = Vec::new();
    let mut add = |name: &'static str, must: &Option<String>, is: Option<String>| {
        if must.is_some() {
            fields.push((name, must.clone(), is));
        }
    };
    add("NHS number", &truth.nhs_number, identifier.and_then(|id| text(id.get("value"))));
    add("date of birth", &truth.born, text(at("/birth/date/value")));
    add("sex", &truth.sex, text(at("/sex")));
    add("birth weight", &truth.weight_g.map(|weight| weight.to_string()), at("/birth/weight_g").map(Value::to_string));
    add("practice", &truth.practice, text(at("/gp/practice_ods")));
    add("postcode", &truth.postcode, home.and_then(|home| text(home.get("postcode"))));
    add("given name", &truth.given, truth.given.as_ref().and_then(given));
    let death = text(at("/death/status")).filter(|status| status != "removed").unwrap_or_else(|| ALIVE.to_owned());
    add("death", &truth.death, Some(death));
    add("status", &truth.status, text(at("/status")));
    add("sensitivity", &truth.sensitivity, text(at("/flags/sensitivity")));
    fields
}
