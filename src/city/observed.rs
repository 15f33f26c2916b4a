//! What a broker made of a city: read from its ledger and from every hub's store, as plain values that a test can damage.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::canon::Statement;
use crate::config::Settings;
use crate::destinations::Kind;
use crate::names::ChildId;
use crate::store::{LedgerReader, OWN_SOURCES, StoreAt, StoreError, survey_store_births, survey_store_children, survey_store_events};

/// A message as its source and control id name it.
pub type MessageKey = (String, String);

/// Clock and London date, by record.
pub type Breaches = HashMap<String, BTreeSet<(String, String)>>;

/// Kind, publisher, key.
pub type ItemKey = (String, String, String);

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenEntry {
    /// Its place.
    pub seq: i64,
    /// `filed`, `held`, `duplicate`, …
    pub standing: String,
    /// The code of the finding or a reason.
    pub reason: String,
}

/// An event of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenEvent {
    /// The message that it came with.
    pub message: MessageKey,
    /// The record it was filed under.
    pub child: String,
    /// The hub after it.
    pub hub: String,
    /// The ground.
    pub basis: String,
}

/// A record that goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenRecord {
    /// What is compared of the merged record, as JSON text: values of all children of a year would not fit into memory.
    pub record: String,
    /// What stands under publishers' keys.
    pub items: BTreeSet<ItemKey>,
    /// The blood spot outcome that counts, status with sub-status.
    pub outcomes: BTreeMap<String, String>,
}

/// A hub's store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenStore {
    /// The records it has.
    pub children: BTreeSet<String>,
    /// The events of each message, by the record they stand under.
    pub events: HashMap<MessageKey, Vec<String>>,
    /// What was said under publishers' keys, by record.
    pub items: HashMap<ItemKey, BTreeSet<String>>,
    /// The births lists that came, by day: section and record.
    pub births: BTreeMap<String, BTreeSet<(String, String)>>,
}

/// Everything that is compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Entries of each message.
    pub entries: HashMap<MessageKey, Vec<SeenEntry>>,
    /// Every event.
    pub events: Vec<SeenEvent>,
    /// A merged record, and the one that goes on.
    pub goes_on: HashMap<String, String>,
    /// Records that go on.
    pub records: HashMap<String, SeenRecord>,
    /// By hub.
    pub stores: BTreeMap<String, SeenStore>,
    /// Failsafe clocks that ran out, by record: clock and London date. None where the ledger keeps no clocks.
    pub breaches: Option<Breaches>,
    /// The births lists that were made, by hub and day: section and record.
    pub births: BTreeMap<(String, String), BTreeSet<(String, String)>>,
    /// Entries and debts in no state, and those that wait still.
    pub unaccounted: i64,
    /// Undelivered debts and unfiled entries.
    pub unfinished: i64,
}

impl Observed {
    /// Reads a data folder; `settings` say which hubs have stores.
    ///
    /// # Errors
    ///
    /// A ledger or store that is not there or cannot be read.
    pub fn read(settings: &Settings) -> Result<Self, StoreError> {
        let ledger = LedgerReader::open(&settings.store.data)?;
        let mut observed = Self::default();
        let mut messages: HashMap<i64, MessageKey> = HashMap::new();
        ledger.survey_entries(&mut |entry| {
            // What the broker writes into its own journal (tasks, births of a day, decisions) nobody sent.
            if OWN_SOURCES.contains(&entry.source.as_str()) {
                return;
            }
            let key = (entry.source, entry.control_id);
            messages.insert(entry.seq, key.clone());
            let seen = SeenEntry { seq: entry.seq, standing: entry.standing, reason: entry.reason };
            observed.entries.entry(key).or_default().push(seen);
        })?;
        ledger.survey_events(&mut |event| {
            let Some(message) = messages.get(&event.seq).cloned() else { return };
            observed.events.push(SeenEvent { message, child: event.child.to_string(), hub: event.hub, basis: event.basis });
        })?;
        for (child, goes_on) in ledger.survey_children()? {
            match goes_on {
                Some(goes_on) => drop(observed.goes_on.insert(child.to_string(), goes_on.to_string())),
                None => drop(observed.records.insert(child.to_string(), record(&ledger, child)?)),
            }
        }
        observed.breaches = breaches(&ledger)?;
        ledger.survey_births(&mut |list| {
            let rows = list.births.into_iter().map(|birth| (birth.section, birth.child)).collect();
            observed.births.insert((list.hub, list.day), rows);
        })?;
        let account = ledger.reconcile(None, None)?;
        observed.unaccounted = account.unaccounted + account.unaccounted_debts;
        observed.unfinished = account.undelivered;
        for destination in &settings.destinations {
            if let (Kind::Store { hub, .. }, Some(at)) = (&destination.kind, settings.store_at(&destination.kind)) {
                observed.stores.insert(hub.as_str().to_owned(), store(&at)?);
            }
        }
        Ok(observed)
    }

    /// The record that goes on where this one was filed.
    pub fn current<'o>(&'o self, child: &'o str) -> &'o str {
        let mut at = child;
        // A chain is no longer than all merges; a circle ends there too.
        for _ in 0..=self.goes_on.len() {
            match self.goes_on.get(at) {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }
}

fn breaches(ledger: &LedgerReader) -> Result<Option<Breaches>, StoreError> {
    let zone = super::message::zone();
    let Some(rows) = ledger.survey_breaches()? else { return Ok(None) };
    let mut breaches = Breaches::new();
    for row in rows {
        let day = super::message::day_of(row.at_us.div_euclid(1_000_000), &zone).to_string();
        breaches.entry(row.child.to_string()).or_default().insert((row.clock, day));
    }
    Ok(Some(breaches))
}

fn record(ledger: &LedgerReader, child: ChildId) -> Result<SeenRecord, StoreError> {
    let Some(view) = ledger.child(child)? else { return Ok(SeenRecord::default()) };
    let stands = view.aggregates.into_iter().filter(|item| !item.deleted);
    let items = stands.map(|item| (item.kind, item.publisher, item.key)).collect();
    let outcome = |(condition, current): (String, crate::canon::CurrentOutcome)| {
        let outcome = current.outcome;
        (condition, outcome.nbs_substatus.or(outcome.nbs_status).unwrap_or_default())
    };
    Ok(SeenRecord { record: compared(view.record).to_string(), items, outcomes: view.outcomes.into_iter().map(outcome).collect() })
}

/// The parts of a record that the truth speaks of.
fn compared(record: Value) -> Value {
    const PARTS: [&str; 10] = ["identifiers", "names", "addresses", "birth", "sex", "gp", "death", "status", "flags", "hub"];
    let Value::Object(mut record) = record else { return Value::Null };
    record.retain(|part, _| PARTS.contains(&part.as_str()));
    Value::Object(record)
}

fn store(at: &StoreAt) -> Result<SeenStore, StoreError> {
    let mut seen = SeenStore::default();
    if matches!(at, StoreAt::File(file) if !file.exists()) {
        return Ok(seen);
    }
    survey_store_children(at, &mut |child| {
        seen.children.insert(child);
    })?;
    let mut births = Vec::new();
    let mut days = Vec::new();
    survey_store_births(at, &mut |day| days.push(day), &mut |birth| births.push(birth))?;
    seen.births = days.into_iter().map(|day| (day, BTreeSet::new())).collect();
    for (day, section, child) in births {
        seen.births.entry(day).or_default().insert((section, child));
    }
    survey_store_events(at, &mut |event| {
        if OWN_SOURCES.contains(&event.source.as_str()) {
            return;
        }
        if let Ok(statement) = serde_json::from_str::<Statement>(&event.statement) {
            for item in items(&statement, &event.source) {
                seen.items.entry(item).or_default().insert(event.child.clone());
            }
        }
        seen.events.entry((event.source, event.control_id)).or_default().push(event.child);
    })?;
    Ok(seen)
}

/// What a statement says under keys of its own or of its message.
fn items(statement: &Statement, source: &str) -> Vec<ItemKey> {
    let publisher = statement.event.publisher.as_deref().unwrap_or(source);
    let mut items = Vec::new();
    let mut add = |kind: &str, keys: Vec<Option<&String>>| {
        for key in keys.into_iter().filter_map(|key| key.or(statement.event.key.as_ref())) {
            items.push((kind.to_owned(), publisher.to_owned(), key.clone()));
        }
    };
    add("blood-spot", statement.blood_spots.iter().map(|item| item.key.as_ref()).collect());
    add("hearing", statement.hearing_screens.iter().map(|item| item.key.as_ref()).collect());
    add("nipe", statement.nipe_exams.iter().map(|item| item.key.as_ref()).collect());
    add("immunisation", statement.immunisations.iter().map(|item| item.key.as_ref()).collect());
    add("review", statement.reviews.iter().map(|item| item.key.as_ref()).collect());
    items
}
