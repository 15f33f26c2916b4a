//! Writes the truth of each child down: from the registrar's fates, the items under publishers' keys that stand at the end, the
//! outcomes that count, and the clocks that run out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::clocks;
use super::life::{City, Entry, Person};
use super::london::lab;
use super::message::{Planned, Second, What};
use super::registrar::{Dossier, Fate, Listed, Register, Registrar, SEAL, TRANSFERS, acting};
use super::truth::{ALIVE, Becomes, HubSpan, Owed, TruthBirth, TruthChild, TruthClock, TruthItem, TruthMessage, TruthRecord};

/// NBS status codes that end the screening of a condition (HL7 v2 page, section 5.1).
const FINAL: [&str; 6] = ["04", "05", "06", "07", "08", "10"];

/// A child's name in the truth.
pub(super) fn name(child: usize) -> String {
    format!("c{child:06}")
}

/// RFC 3339, in UTC.
pub(super) fn moment(at: Second) -> String {
    Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default()
}

/// The word for what a message says.
fn word(what: &What) -> &'static str {
    match what {
        What::Birth { .. } => "birth",
        What::Person { .. } => "person",
        What::Merge { .. } => "merge",
        What::Rename { .. } => "rename",
        What::Discharge { .. } => "discharge",
        What::DischargeCancelled => "discharge-cancelled",
        What::NationalBirth { .. } => "national-birth",
        What::NationalAddress { .. } => "national-address",
        What::NationalGp => "national-gp",
        What::NationalDeath { .. } => "national-death",
        What::BloodSpot { .. } => "blood-spot",
        What::Hearing { .. } => "hearing",
        What::Examination { .. } => "nipe",
        What::Review { .. } => "review",
        What::Vaccinations { .. } => "immunisation",
    }
}

/// The truth of all children, in their order.
pub(super) fn write(city: &City, registrar: &Registrar<'_>, end: Second) -> Vec<TruthChild> {
    let child = |(number, person): (usize, &Person)| {
        let register = registrar.registers.get(number)?;
        let scribe = Scribe { city, registrar, register, number, person, end };
        scribe.is_known().then(|| scribe.child())
    };
    city.children.iter().enumerate().filter_map(child).collect()
}

struct Scribe<'c> {
    city: &'c City,
    registrar: &'c Registrar<'c>,
    register: &'c Register,
    number: usize,
    person: &'c Person,
    end: Second,
}

type Words = BTreeSet<&'static str>;
/// Kind, publisher, key.
type Key = (&'static str, String, String);
type Spots = BTreeMap<&'static str, (&'static str, &'static str)>;

impl Scribe<'_> {
    /// A child nobody told of is not known to anybody; there is no line for it.
    fn is_known(&self) -> bool {
        !self.register.fates.is_empty()
    }

    /// Messages that were filed, with their places, in the order of the network.
    fn filed(&self) -> impl Iterator<Item = (&Planned, &Fate, &BTreeSet<&'static str>)> {
        self.register
            .fates
            .iter()
            .filter(|(_, fate, _)| matches!(fate, Fate::Filed { .. }))
            .filter_map(|(number, fate, needs)| Some((self.city.messages.get(*number)?, fate, needs)))
    }

    fn child(&self) -> TruthChild {
        let records = self.registrar.records(self.number);
        let is_one = records == 1;
        let stores = self.register.stores.iter().map(|hub| owed(hub, None)).collect();
        TruthChild {
            child: name(self.number),
            story: self.person.story.iter().map(|story| (*story).to_owned()).collect(),
            needs: self.register.needs.iter().map(|need| (*need).to_owned()).collect(),
            records,
            family: self.person.family_name.clone(),
            identifiers: self.identifiers(),
            hubs: self.register.spans.iter().map(span).collect(),
            stores: if self.person.is_stillborn { Vec::new() } else { stores },
            record: if is_one { self.record() } else { TruthRecord::default() },
            items: if is_one { self.items() } else { Vec::new() },
            outcomes: if is_one { self.outcomes() } else { BTreeMap::new() },
            clocks: self.clocks().filter(|_| is_one),
            births: self.births(),
            messages: self.messages(),
        }
    }

    /// Of children whose clocks run from birth to the end, under one hub or another.
    fn clocks(&self) -> Option<Vec<TruthClock>> {
        let is_outside = self.register.spans.iter().any(|(_, assignment)| ["OUT", "UNKNOWN"].contains(&assignment.hub));
        let is_restricted = self.registrar.only(self.number).is_none_or(Dossier::is_restricted);
        let is_taken_back = self.filed().any(|(message, ..)| matches!(message.what, What::DischargeCancelled));
        let has_other_rules =
            is_taken_back || self.person.is_stillborn || self.person.entry == Entry::MovedIn || self.person.sealed.is_some();
        let filed: Vec<&Planned> = self.filed().filter(|(.., needs)| needs.is_empty()).map(|(message, ..)| message).collect();
        let is_whole = self.register.fates.iter().all(|(.., needs)| needs.is_empty());
        (is_whole && !(is_outside || is_restricted || has_other_rules)).then(|| clocks::of(self.person, &filed, self.end))
    }

    /// On the lists of which days and hubs.
    fn births(&self) -> Vec<TruthBirth> {
        let one = |listed: &Listed| TruthBirth {
            day: listed.day.to_string(),
            hub: listed.hub.to_owned(),
            section: listed.section.to_owned(),
            may: listed.is_second,
        };
        self.register.listed.iter().map(one).collect()
    }

    fn identifiers(&self) -> Vec<String> {
        let ids = self.filed().flat_map(|(message, ..)| &message.said.ids);
        ids.map(|id| format!("{}|{}", id.authority, id.value)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn record(&self) -> TruthRecord {
        let Some(dossier) = self.registrar.only(self.number) else { return TruthRecord::default() };
        let is_sealed = self.person.sealed.is_some_and(|sealed| sealed < self.end);
        let is_named = self.filed().any(|(message, ..)| message.is_about_the_person() && message.said.given == self.person.given);
        let number = || self.filed().any(|(message, ..)| message.said.ids.iter().any(super::message::Id::is_nhs));
        TruthRecord {
            nhs_number: self.person.nhs.clone().filter(|_| number()),
            born: dossier.born().map(|born| born.to_string()),
            sex: Some(if self.person.is_girl { "2" } else { "1" }.to_owned()),
            weight_g: dossier.weight_g().map(i64::from),
            practice: dossier.practice().map(super::london::Practice::ods),
            postcode: dossier.home().filter(|_| !dossier.is_restricted()).map(super::london::Home::postcode),
            given: is_named.then(|| self.person.given.to_owned()),
            death: self.death().filter(|_| !self.person.is_stillborn),
            status: self.person.is_stillborn.then(|| "stillborn".to_owned()).filter(|_| !is_sealed),
            sensitivity: dossier.is_restricted().then(|| "restricted".to_owned()),
        }
    }

    /// By the national record; without it by the hospital's last word: a discharge, or that it was none (HL7 v2 page, section 4).
    fn death(&self) -> Option<String> {
        let last = |wanted: &dyn Fn(&What) -> Option<&'static str>| {
            let said = self.filed().filter_map(|(message, ..)| Some((message.ordered_by(), wanted(&message.what)?)));
            said.max_by_key(|(at, _)| *at).map(|(_, word)| word)
        };
        let national = last(&|what| match what {
            What::NationalDeath { is_formal: true, .. } => Some("formal"),
            What::NationalDeath { .. } => Some("informal"),
            _ => None,
        });
        let hospital = || {
            last(&|what| match what {
                What::Discharge { is_dead: true } => Some("informal"),
                What::DischargeCancelled => Some(ALIVE),
                _ => None,
            })
        };
        national.or_else(hospital).or(Some(ALIVE)).map(str::to_owned)
    }

    /// What stands under each key, and where it must be found at the end.
    fn items(&self) -> Vec<TruthItem> {
        let mut items: BTreeMap<Key, (Words, Words)> = BTreeMap::new();
        let taken_back = self.taken_back();
        for (message, fate, needs) in self.filed() {
            let Fate::Filed { stores, .. } = fate else { continue };
            for key in message.items().into_iter().filter(|(_, _, key)| !taken_back.contains(key.as_str())) {
                let entry = items.entry(key).or_default();
                entry.0.extend(stores);
                entry.1.extend(needs);
            }
        }
        let last = self.register.spans.last().map(|(_, assignment)| assignment);
        let hub = last.and_then(acting);
        let item = |((kind, publisher, key), (stores, needs)): (Key, (Words, Words))| {
            let need = |hub: &str| (!stores.contains(hub)).then_some(TRANSFERS);
            let stores = hub.map(|hub| owed(hub, need(hub))).into_iter().collect();
            TruthItem { kind: kind.to_owned(), publisher, key, stores, needs: needs.iter().map(|need| (*need).to_owned()).collect() }
        };
        items.into_iter().map(item).collect()
    }

    /// Keys of cards of which nothing stands.
    fn taken_back(&self) -> BTreeSet<&str> {
        let cards = self.cards();
        let gone = |spots: &Spots| spots.values().all(|(_, standing)| matches!(*standing, "W" | "D"));
        cards.into_iter().filter(|(_, (_, spots))| gone(spots)).map(|((_, key), _)| key).collect()
    }

    /// Of each card: when it was taken, and what each condition says, corrections applied in the order of what happened.
    fn cards(&self) -> BTreeMap<(String, &str), (jiff::civil::Date, Spots)> {
        let mut told: Vec<(Second, usize, &What)> =
            self.filed().enumerate().map(|(place, (message, ..))| (message.ordered_by(), place, &message.what)).collect();
        told.sort_by_key(|(at, place, _)| (*at, *place));
        let mut cards: BTreeMap<(String, &str), (jiff::civil::Date, Spots)> = BTreeMap::new();
        for (_, _, what) in told {
            let What::BloodSpot { lab: number, accession, taken, spots, .. } = what else { continue };
            let card = cards.entry((lab(*number), accession)).or_insert_with(|| (*taken, Spots::new()));
            if !spots.iter().any(|spot| matches!(spot.standing, "C" | "D" | "W")) {
                card.1.clear();
            }
            card.1.extend(spots.iter().map(|spot| (spot.condition, (spot.status, spot.standing))));
        }
        cards
    }

    /// Of each condition the outcome of the latest sample that has a final one, else of the latest.
    fn outcomes(&self) -> BTreeMap<String, String> {
        let mut cards: Vec<_> = self.cards().into_iter().collect();
        cards.sort_by(|(left, (taken, _)), (right, (other, _))| (taken, &left.1).cmp(&(other, &right.1)));
        let mut outcomes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (condition, (status, standing)) in cards.iter().flat_map(|(_, (_, spots))| spots) {
            if matches!(*standing, "F" | "C") {
                outcomes.entry((*condition).to_owned()).or_default().push(status);
            }
        }
        let counts =
            |said: Vec<&str>| said.iter().rfind(|status| FINAL.contains(status)).or(said.last()).map(|status| (*status).to_owned());
        outcomes.into_iter().filter_map(|(condition, said)| Some((condition, counts(said)?))).collect()
    }

    fn messages(&self) -> Vec<TruthMessage> {
        let one = |(number, fate, needs): &(usize, Fate, BTreeSet<&'static str>)| {
            let message = self.city.messages.get(*number)?;
            let (becomes, why, stores) = match fate {
                Fate::Duplicate => (Becomes::Duplicate, "", Vec::new()),
                Fate::Held(why) => (Becomes::Held, *why, Vec::new()),
                Fate::Filed { stores, later } => {
                    let now = stores.iter().map(|hub| owed(hub, None));
                    (Becomes::Filed, "", now.chain(later.iter().map(|hub| owed(hub, Some(TRANSFERS)))).collect())
                }
            };
            Some(TruthMessage {
                at: moment(message.at),
                source: message.sender.name(),
                control: message.control.clone(),
                says: word(&message.what).to_owned(),
                becomes,
                why: why.to_owned(),
                needs: needs.iter().map(|need| (*need).to_owned()).collect(),
                stores: if self.person.is_stillborn { Vec::new() } else { stores },
                fault: message.fault.to_owned(),
            })
        };
        self.register.fates.iter().filter_map(one).collect()
    }
}

fn owed(hub: &str, needs: Option<&str>) -> Owed {
    Owed { hub: hub.to_owned(), needs: needs.map(str::to_owned) }
}

fn span((from, assignment): &(Second, super::registrar::Assignment)) -> HubSpan {
    HubSpan {
        from: moment(*from),
        hub: assignment.hub.to_owned(),
        basis: assignment.basis.to_owned(),
        also: assignment.also.iter().map(|hub| (*hub).to_owned()).collect(),
    }
}

/// What people at the hubs do.
pub(super) fn acts(city: &City) -> Vec<super::truth::TruthAct> {
    let act = |act: &super::life::Act| {
        let nhs = city.children.get(act.child)?.nhs.clone()?;
        let words = ["child", "seal", "{child}", "--reason", "adoption", "--admin", "{admin}", "--yes"];
        Some(super::truth::TruthAct {
            at: moment(act.at),
            child: name(act.child),
            needs: SEAL.to_owned(),
            find: nhs,
            command: words.into_iter().map(str::to_owned).collect(),
        })
    };
    let mut acts: Vec<_> = city.acts.iter().filter_map(act).collect();
    acts.sort_by(|left, right| (&left.at, &left.child).cmp(&(&right.at, &right.child)));
    acts
}
