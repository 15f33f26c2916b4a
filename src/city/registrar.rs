//! The registrar: goes through all messages in the order of the network and says what must become of each, by the rules of identity
//! and routing and by nothing else. It knows who each message is about in truth and what it says; it reads no bytes and asks no code of the
//! broker.
//!
//! The rules are those of the identity page (sections 1 to 8) and the routing page (sections 2, 3). A rule that a broker may still lack
//! is named by a feature, so that a verifier can leave it out until it is there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::life::City;
use super::london::{Area, DEFAULT_HUB, HUBS, Home, Practice, Sender, unit_hub};
use super::message::{Id, Planned, Second, What, day_of};
use super::play::NEW_DAY;

/// Match by mother, date of birth and birth order (identity rules, section 2, step 3).
pub const BIRTH_TRIPLE: &str = "birth-triple";
/// Match by date of birth, names, sex and postcode (step 4).
pub const DEMOGRAPHIC: &str = "demographic";
/// What nobody was known for is tried again (step 5).
pub const RETRY: &str = "retry";
/// A sealed record (identity rules, section 8).
pub const SEAL: &str = "seal";
/// Failsafe clocks (failsafe rules, section 2).
pub const FAILSAFE: &str = "failsafe";
/// A child that moves takes its whole record along (section 10; routing rules, section 2).
pub const TRANSFERS: &str = "transfers";

/// A mother's details count for so many days (routing rules, section 2).
const NEWBORN_DAYS: i32 = 28;

/// Who is responsible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) hub: &'static str,
    pub(super) basis: &'static str,
    pub(super) also: BTreeSet<&'static str>,
}

/// What becomes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Filed { stores: BTreeSet<&'static str>, later: BTreeSet<&'static str> },
    Held(&'static str),
    Duplicate,
}

/// A birth on a hub's list of a day (routing rules, section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) day: Date,
    pub(super) hub: &'static str,
    /// `here`: the home or the practice is the hub's. `elsewhere`: only the place of birth is.
    pub(super) section: &'static str,
    /// Of a second record of the child, which a broker may have found to be none.
    pub(super) is_second: bool,
}

/// A record that the messages of one child make.
#[derive(Clone, Debug, Default)]
pub(super) struct Dossier {
    pub(super) child: usize,
    ids: BTreeSet<Id>,
    mothers: BTreeSet<Id>,
    homes: Vec<(u8, Second, Home)>,
    practices: Vec<(u8, Second, Practice)>,
    mothers_practice: Option<(Second, Practice)>,
    born: Vec<(u8, Second, Date)>,
    weights: Vec<(u8, Second, u16)>,
    unit: Option<u8>,
    is_restricted: bool,
    is_closed: bool,
    /// The end of the first 28 days was looked at.
    is_grown: bool,
    is_order_known: bool,
    /// Heard of as a birth: by a birth event, or first heard of within 28 days.
    is_birth: bool,
    is_stillborn: bool,
    /// Another record goes on in its place.
    pub(super) is_merged: bool,
    pub(super) assignment: Option<Assignment>,
    /// The hub that worked on it last.
    last: Option<&'static str>,
    /// When a hub was left, and which.
    left: Vec<(Second, &'static str)>,
}

/// What the registrar wrote down of one child.
#[derive(Clone, Debug, Default)]
pub(super) struct Register {
    pub(super) spans: Vec<(Second, Assignment)>,
    pub(super) stores: BTreeSet<&'static str>,
    pub(super) needs: BTreeSet<&'static str>,
    /// The births lists that it stands on.
    pub(super) listed: Vec<Listed>,
    /// Index of the message and its fate.
    pub(super) fates: Vec<(usize, Fate, BTreeSet<&'static str>)>,
}

/// All of it.
pub(super) struct Registrar<'c> {
    city: &'c City,
    zone: TimeZone,
    pub(super) dossiers: Vec<Dossier>,
    /// The dossiers of each child, in the order in which they were begun.
    of_child: Vec<Vec<usize>>,
    /// The dossiers that name a mother by this identifier.
    of_mother: BTreeMap<Id, BTreeSet<usize>>,
    owners: BTreeMap<Id, usize>,
    mothers: BTreeSet<Id>,
    /// Births that stood on no list yet, and the day that has not ended yet.
    unlisted: Vec<usize>,
    today: Date,
    pub(super) registers: Vec<Register>,
}

/// Goes through the whole city, to its end.
pub(super) fn register(city: &City, end: Second) -> Registrar<'_> {
    let mut registrar = Registrar {
        city,
        zone: super::message::zone(),
        dossiers: Vec::new(),
        of_child: vec![Vec::new(); city.children.len()],
        of_mother: BTreeMap::new(),
        owners: BTreeMap::new(),
        mothers: BTreeSet::new(),
        unlisted: Vec::new(),
        today: Date::ZERO,
        registers: vec![Register::default(); city.children.len()],
    };
    let mut acts = city.acts.clone();
    acts.sort_by_key(|act| act.at);
    let mut acts = acts.into_iter().peekable();
    for (number, message) in city.messages.iter().enumerate() {
        while let Some(act) = acts.next_if(|act| act.at <= message.at) {
            registrar.end_day(act.at);
            registrar.seal(act.child);
        }
        registrar.end_day(message.at);
        registrar.hear(number, message);
    }
    registrar.end_day(end);
    acts.for_each(|act| registrar.seal(act.child));
    for number in 0..registrar.dossiers.len() {
        // The day that begins at the end is the last one whose jobs are done.
        registrar.grow_up(number, end + NEW_DAY);
    }
    registrar.try_again();
    registrar.count_records();
    registrar
}

/// Address, practice and death: the national record, then practices, then hospitals alike, then copies in results (canonical model, section 4).
fn weight(message: &Planned) -> u8 {
    match message.sender {
        _ if !message.is_about_the_person() => 0,
        Sender::Spine => 3,
        Sender::Gp => 2,
        Sender::Maternity(_) | Sender::Pas(_) => 1,
        _ => 0,
    }
}

/// Birth facts: the national record, maternity, PAS.
fn birth_weight(message: &Planned) -> u8 {
    match message.sender {
        _ if !message.is_about_the_person() => 0,
        Sender::Spine => 3,
        Sender::Maternity(_) => 2,
        Sender::Pas(_) => 1,
        _ => 0,
    }
}

fn best<T: Copy>(said: &[(u8, Second, T)]) -> Option<T> {
    said.iter().max_by_key(|(weight, at, _)| (*weight, *at)).map(|(_, _, what)| *what)
}

impl Registrar<'_> {
    fn seal(&mut self, child: usize) {
        for number in self.of_child.get(child).into_iter().flatten() {
            if let Some(dossier) = self.dossiers.get_mut(*number) {
                dossier.is_closed = true;
            }
        }
    }

    /// Where `now` is another day, the one before has its lists made.
    fn end_day(&mut self, now: Second) {
        let day = day_of(now, &self.zone);
        if self.today < day {
            self.list_births();
            self.today = day;
        }
    }

    /// The lists at 23:59 of today: all births heard of since the last ones, to each hub whose home, practice or place of birth it is.
    fn list_births(&mut self) {
        for number in std::mem::take(&mut self.unlisted) {
            let Some(dossier) = self.dossiers.get(number) else { continue };
            if dossier.is_merged || dossier.is_closed || dossier.is_stillborn {
                continue;
            }
            let is_second = self.of_child.get(dossier.child).and_then(|all| all.first()) != Some(&number);
            let now = dossier.decide(self.today);
            for hub in HUBS {
                let is_acting = acting(&now) == Some(hub);
                let section = match (is_acting || dossier.lives_in(hub, self.today), dossier.unit.map(unit_hub) == Some(hub)) {
                    // Of a restricted child only the responsible hub is told (identity rules, section 9).
                    _ if dossier.is_restricted && !is_acting => continue,
                    (true, _) => "here",
                    (false, true) => "elsewhere",
                    (false, false) => continue,
                };
                if let Some(register) = self.registers.get_mut(dossier.child) {
                    register.listed.push(Listed { day: self.today, hub, section, is_second });
                }
            }
        }
    }

    fn hear(&mut self, number: usize, message: &Planned) {
        let (fate, needs) = self.fate(message);
        let Some(register) = self.registers.get_mut(message.child) else { return };
        register.fates.push((number, fate, needs));
    }

    fn fate(&mut self, message: &Planned) -> (Fate, BTreeSet<&'static str>) {
        let nothing = BTreeSet::new;
        if message.is_duplicate {
            return (Fate::Duplicate, nothing());
        }
        if let What::BloodSpot { spots, .. } = &message.what
            && spots.iter().any(|spot| spot.status == "44")
        {
            return (Fate::Held("unreadable"), nothing());
        }
        let said = &message.said;
        if said.ids.iter().any(|id| self.mothers.contains(id)) {
            return (Fate::Held("mother"), nothing());
        }
        let mut owners: BTreeSet<usize> = said.ids.iter().filter_map(|id| self.owners.get(id).copied()).collect();
        let closed = |dossier: &usize| self.dossiers.get(*dossier).is_some_and(|dossier| dossier.is_closed);
        if owners.iter().any(closed) {
            return (Fate::Held("closed"), BTreeSet::from([SEAL]));
        }
        if let What::Merge { prior } = &message.what {
            let prior = self.owners.get(prior).copied();
            if let (Some(goes_on), Some(prior)) = (owners.first().copied(), prior.filter(|prior| !owners.contains(prior))) {
                self.unite(goes_on, prior);
            } else {
                owners.extend(prior);
            }
        }
        if let What::Rename { prior } = &message.what {
            owners.extend(self.owners.get(prior).copied());
        }
        let is_another = |dossier: &usize| self.dossiers.get(*dossier).is_some_and(|dossier| dossier.child != message.child);
        if owners.iter().any(is_another) || 1 < owners.len() {
            return (Fate::Held("conflict"), nothing());
        }
        let dossier = match owners.first() {
            Some(dossier) => *dossier,
            None => match self.without_identifier(message) {
                Ok(dossier) => dossier,
                Err(why) => return (Fate::Held(why), nothing()),
            },
        };
        (self.file(dossier, message), nothing())
    }

    /// Nobody has an identifier of the message: steps 3 to 5.
    fn without_identifier(&mut self, message: &Planned) -> Result<usize, &'static str> {
        let said = &message.said;
        let living = |dossier: &Dossier| dossier.child == message.child && !dossier.is_merged && !dossier.is_closed;
        let is_order_known = said.births == 1 || said.order.is_some();
        let ids = said.mother.iter().flat_map(|mother| &mother.ids);
        let of_mother: BTreeSet<usize> = ids.filter_map(|id| self.of_mother.get(id)).flatten().copied().collect();
        let known = || of_mother.iter().filter_map(|number| Some((*number, self.dossiers.get(*number)?)));
        let by_mother = known().find(|(_, dossier)| living(dossier) && is_order_known && (said.births == 1 || dossier.is_order_known));
        if let Some((dossier, _)) = by_mother {
            // Of several, the order tells once two of them are on record, each with an order that no other record has: not where one of
            // them has two records still.
            let open = || known().filter(|(_, known)| !known.is_merged && !known.is_closed);
            let counted: BTreeSet<usize> = open().map(|(_, known)| known.child).collect();
            let has_unordered = open().any(|(_, known)| !known.is_order_known);
            if said.births != 1 && (counted.len() < 2 || has_unordered || counted.len() < open().count()) {
                return Err("conflict");
            }
            self.need(message.child, BIRTH_TRIPLE);
            return Ok(dossier);
        }
        let has_number = said.ids.iter().any(Id::is_nhs) && said.status == "01";
        if !(message.is_about_the_person() || has_number) {
            return Err("unmatched");
        }
        self.dossiers.push(Dossier { child: message.child, is_order_known, ..Dossier::default() });
        let number = self.dossiers.len() - 1;
        if let Some(of_child) = self.of_child.get_mut(message.child) {
            of_child.push(number);
        }
        Ok(number)
    }

    fn need(&mut self, child: usize, feature: &'static str) {
        if let Some(register) = self.registers.get_mut(child) {
            register.needs.insert(feature);
        }
    }

    fn unite(&mut self, goes_on: usize, prior: usize) {
        let Some(other) = self.dossiers.get_mut(prior) else { return };
        other.is_merged = true;
        let other = other.clone();
        for id in &other.ids {
            self.owners.insert(id.clone(), goes_on);
        }
        for id in &other.mothers {
            self.of_mother.entry(id.clone()).or_default().insert(goes_on);
        }
        if let Some(dossier) = self.dossiers.get_mut(goes_on) {
            dossier.ids.extend(other.ids);
            dossier.mothers.extend(other.mothers);
            dossier.homes.extend(other.homes);
            dossier.practices.extend(other.practices);
            dossier.born.extend(other.born);
            dossier.weights.extend(other.weights);
        }
    }

    /// The end of the first 28 days, when the day begins, where it came before `at`: what the mother and the hospital say of the hub
    /// ends by itself (routing rules, section 2).
    fn grow_up(&mut self, number: usize, at: Second) {
        let Some(dossier) = self.dossiers.get_mut(number) else { return };
        let last_day = dossier.born().and_then(|born| born.checked_add(i64::from(NEWBORN_DAYS).days()).ok());
        let Some((day, midnight)) = last_day.and_then(|day| Some((day, day.to_zoned(self.zone.clone()).ok()?.timestamp().as_second())))
        else {
            return;
        };
        let ends = midnight + NEW_DAY;
        let is_over = dossier.is_grown || dossier.is_merged || dossier.is_closed || dossier.assignment.is_none();
        if is_over || at < ends {
            return;
        }
        dossier.is_grown = true;
        let (child, now) = (dossier.child, dossier.decide(day));
        if dossier.assignment.as_ref() == Some(&now) {
            return;
        }
        if let Some(register) = self.registers.get_mut(child) {
            register.stores.extend(now.also.iter().copied().chain(acting(&now)));
        }
        self.assign(number, ends, now);
    }

    /// The record is this hub's from `at` on. Gives the assignment that ends, where it was another hub's.
    fn assign(&mut self, number: usize, at: Second, now: Assignment) -> Option<Assignment> {
        let dossier = self.dossiers.get_mut(number)?;
        let ended = dossier.assignment.replace(now.clone()).filter(|before| before.hub != now.hub);
        dossier.left.extend(ended.as_ref().and_then(acting).map(|hub| (at, hub)));
        dossier.last = acting(&now).or(dossier.last);
        if let Some(register) = self.registers.get_mut(dossier.child)
            && register.spans.last().is_none_or(|(_, last)| *last != now)
        {
            register.spans.push((at, now));
        }
        ended
    }

    fn file(&mut self, number: usize, message: &Planned) -> Fate {
        let zone = self.zone.clone();
        self.grow_up(number, message.at);
        let Some(dossier) = self.dossiers.get_mut(number) else { return Fate::Held("unmatched") };
        dossier.take(message);
        for id in &message.said.ids {
            self.owners.entry(id.clone()).or_insert(number);
        }
        if let What::Merge { prior } | What::Rename { prior } = &message.what {
            self.owners.entry(prior.clone()).or_insert(number);
            dossier.ids.insert(prior.clone());
        }
        self.mothers.extend(message.said.mother.iter().flat_map(|mother| &mother.ids).cloned());
        for id in message.said.mother.iter().flat_map(|mother| &mother.ids).filter(|id| dossier.mothers.contains(*id)) {
            self.of_mother.entry(id.clone()).or_default().insert(number);
        }
        let today = day_of(message.at, &zone);
        let is_birth_event = matches!(message.what, What::Birth { .. } | What::NationalBirth { .. });
        let now = dossier.decide(today);
        if !dossier.is_birth && (is_birth_event || (dossier.assignment.is_none() && dossier.is_newborn(today))) {
            dossier.is_birth = true;
            self.unlisted.push(number);
        }
        let mut stores: BTreeSet<&'static str> = now.also.iter().copied().chain(acting(&now)).collect();
        let mut later = BTreeSet::new();
        if let Some(ended) = self.assign(number, message.at, now) {
            // The hub that the child leaves must see that it leaves.
            stores.extend(acting(&ended));
        } else if matches!(message.what, What::BloodSpot { .. } | What::Hearing { .. } | What::Examination { .. }) {
            // Screening results follow a child that moved to the hub that it left (routing rules, section 2).
            let recent = |(left, _): &&(Second, &'static str)| message.at - left <= i64::from(NEWBORN_DAYS) * super::message::DAY;
            let left = self.dossiers.get(number).into_iter().flat_map(|dossier| &dossier.left);
            later.extend(left.filter(recent).map(|(_, hub)| *hub).filter(|hub| !stores.contains(hub)));
        }
        if let Some(register) = self.registers.get_mut(message.child) {
            register.stores.extend(stores.iter().copied());
        }
        Fate::Filed { stores, later }
    }

    /// What was held because nobody was known is filed once its child is known by one of its identifiers.
    fn try_again(&mut self) {
        for register in &mut self.registers {
            for (number, fate, needs) in &mut register.fates {
                let Some(message) = self.city.messages.get(*number) else { continue };
                let known = message.said.ids.iter().any(|id| self.owners.contains_key(id));
                if *fate == Fate::Held("unmatched") && known {
                    *fate = Fate::Filed { stores: BTreeSet::new(), later: BTreeSet::new() };
                    needs.insert(RETRY);
                }
            }
        }
    }

    /// More than one record at the end: step 4 may have found that they are one, where one of the two came from a child-first source.
    fn count_records(&mut self) {
        for child in 0..self.registers.len() {
            let living = self.records(child);
            let is_single = self.city.children.get(child).is_some_and(|person| person.births == 1);
            if 1 < living && is_single {
                self.need(child, DEMOGRAPHIC);
            }
        }
    }

    /// How many records a child has that go on.
    pub(super) fn records(&self, child: usize) -> usize {
        self.living(child).count()
    }

    fn living(&self, child: usize) -> impl Iterator<Item = &Dossier> {
        let numbers = self.of_child.get(child).into_iter().flatten();
        numbers.filter_map(|number| self.dossiers.get(*number)).filter(|dossier| !dossier.is_merged)
    }

    /// The one record of a child; none where there are several.
    pub(super) fn only(&self, child: usize) -> Option<&Dossier> {
        let mut living = self.living(child);
        living.next().filter(|_| living.next().is_none())
    }
}

/// The hub that works on a child: none for a child outside London.
pub(super) fn acting(assignment: &Assignment) -> Option<&'static str> {
    match assignment.hub {
        "OUT" => None,
        "UNKNOWN" => Some(DEFAULT_HUB),
        hub => Some(hub),
    }
}

impl Dossier {
    fn take(&mut self, message: &Planned) {
        let (said, at, weight) = (&message.said, message.ordered_by(), weight(message));
        self.ids.extend(said.ids.iter().cloned());
        if message.is_about_identifiers() {
            // Details are not changed by a merge (identity rules, section 3).
            return;
        }
        self.mothers.extend(said.mother.iter().flat_map(|mother| &mother.ids).cloned());
        self.homes.extend(said.home.map(|home| (weight, at, home)));
        self.practices.extend(said.practice.map(|practice| (weight, at, practice)));
        if message.is_national()
            && let Some(practice) = said.mother.as_ref().and_then(|mother| mother.practice)
        {
            self.mothers_practice = self.mothers_practice.filter(|(known, _)| at < *known).or(Some((at, practice)));
        }
        self.born.push((birth_weight(message), at, said.born));
        match message.what {
            // Weight: maternity before the national record (canonical model, section 4).
            What::Birth { unit, weight_g, .. } => {
                self.unit = Some(unit);
                self.weights.push((2, at, weight_g));
            }
            What::NationalBirth { unit, weight_g, .. } => {
                self.unit = Some(unit);
                self.weights.push((1, at, weight_g));
            }
            _ => {}
        }
        self.is_restricted |= said.is_restricted;
        self.is_stillborn |= matches!(message.what, What::Birth { live_still: 2.., .. });
    }

    pub(super) fn home(&self) -> Option<Home> {
        best(&self.homes)
    }

    pub(super) fn practice(&self) -> Option<Practice> {
        best(&self.practices)
    }

    pub(super) fn born(&self) -> Option<Date> {
        best(&self.born)
    }

    pub(super) fn weight_g(&self) -> Option<u16> {
        best(&self.weights)
    }

    pub(super) fn is_restricted(&self) -> bool {
        self.is_restricted
    }

    fn is_newborn(&self, today: Date) -> bool {
        self.born().and_then(|born| today.since(born).ok()).map_or(0, |span| span.get_days()) < NEWBORN_DAYS
    }

    /// The practice, of a newborn without one the mother's, or the home is this hub's.
    fn lives_in(&self, hub: &'static str, today: Date) -> bool {
        let mothers = self.mothers_practice.filter(|_| self.is_newborn(today)).map(|(_, practice)| practice);
        let practice = self.practice().or(mothers).map(Practice::area);
        [practice, self.home().map(Home::area)].contains(&Some(Area::Hub(hub)))
    }

    /// The routing page, sections 2 and 3.
    fn decide(&self, today: Date) -> Assignment {
        let is_newborn = self.is_newborn(today);
        let by_practice = self.practice().map(|practice| (practice.area(), "gp"));
        let mothers =
            self.mothers_practice.filter(|_| is_newborn && by_practice.is_none()).map(|(_, practice)| (practice.area(), "mother_gp"));
        let by_home = self.home().map(|home| (home.area(), "address"));
        let by_unit = self.unit.map(|unit| (Area::Hub(unit_hub(unit)), "default"));
        let (hub, basis) = match by_practice.or(mothers).or(by_home).or(by_unit) {
            Some((Area::Hub(hub), basis)) => (hub, basis),
            Some((Area::Out, basis)) => ("OUT", basis),
            None => ("UNKNOWN", "default"),
        };
        let mut also = BTreeSet::new();
        if !self.is_restricted {
            also.extend(self.home().and_then(|home| match home.area() {
                Area::Hub(hub) => Some(hub),
                Area::Out => None,
            }));
            if hub == "OUT" {
                also.extend(self.last);
                also.extend(self.unit.filter(|_| is_newborn).map(unit_hub));
            }
        }
        also.remove(hub);
        Assignment { hub, basis, also }
    }
}
