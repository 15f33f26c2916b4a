//! The families of the city and what happens to them: births, names, numbers, practices, screens, vaccinations, moves, deaths. Each
//! happening is told by whoever would tell it.
//!
//! Everything is drawn from the seed, family by family, so that a change in one family's story moves no other.

use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::dice::Dice;
use super::london::{Area, HUBS, Home, Practice, Sender, UNITS, lab, static_hub, trust, unit_hub};
use super::message::{DAY, Dose, HOUR, Id, Mother, Numbers, Planned, Said, Second, Spot, What, day_of};

/// The first day of the city: 5 January 2026, 00:00 in London.
pub(super) const BEGIN: Second = 1_767_571_200;

/// Where nobody was adopted among so many children, the next one who can be is.
const SEALED_BY: usize = 600;

const FAMILIES: [&str; 16] = [
    "EXAMPLE",
    "SAMPLE",
    "SPECIMEN",
    "INVENTED",
    "NONESUCH",
    "TESTER",
    "MADEUP",
    "NOBODY",
    "PATTERN",
    "TEMPLATE",
    "MOCKFORD",
    "DUMMETT",
    "FICTION",
    "PRETEND",
    "PROTOTYPE",
    "ANYONE",
];
const SECOND: [&str; 20] = [
    "ASH", "BIRCH", "CEDAR", "ELM", "FERN", "GORSE", "HAZEL", "IVY", "JUNIPER", "LARCH", "MAPLE", "OAK", "PINE", "ROWAN", "SEDGE", "THORN",
    "VINE", "WILLOW", "YEW", "ALDER",
];
const GIRLS: [&str; 8] = ["AMARA", "LEILA", "GRACE", "NOOR", "ROSE", "MEI", "ZOFIA", "ANYA"];
const BOYS: [&str; 8] = ["LEO", "KIRAN", "OSCAR", "YUSUF", "TOMAS", "IDRIS", "JUN", "SAM"];
const WOMEN: [&str; 6] = ["RUTH", "FARAH", "JOAN", "PRIYA", "ELENA", "CHIOMA"];
const ORDINALS: [&str; 3] = ["ONE", "TWO", "THREE"];

/// The conditions of a card (9 core and HT1).
pub(super) const CONDITIONS: [&str; 10] = ["PKU", "SCD", "CF", "CHT", "MCADD", "HCU", "MSUD", "GA1", "IVA", "HT1"];

/// 6-in-1, MenB, rotavirus, PCV (products that the shipped table knows).
const SIX: &str = "34765811000001105";
const MENB: &str = "23584211000001109";
const ROTA: &str = "34609911000001106";
const PCV: &str = "16649411000001104";
const MMRV: &str = "45480711000001107";

/// The schedule from 1 January 2026 (failsafe rules, section 3), for children born in the city.
const SCHEDULE: [(i64, &[(&str, u8)]); 5] = [
    (56, &[(SIX, 1), (MENB, 1), (ROTA, 1)]),
    (84, &[(SIX, 2), (MENB, 2), (ROTA, 2)]),
    (112, &[(SIX, 3), (PCV, 1)]),
    (365, &[(PCV, 2), (MENB, 3), (MMRV, 1)]),
    (548, &[(SIX, 4), (MMRV, 2)]),
];

/// How a child comes on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The maternity unit has the NHS number when it tells the birth.
    Numbered,
    /// The unit's own number first, both before the national notice.
    LinkedBefore,
    /// The unit's own number first, both after the national notice: only the mother joins the two.
    LinkedAfter,
    /// Never has an NHS number.
    Unnumbered,
    /// Born elsewhere; known by the national record.
    MovedIn,
}

/// A child in truth.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) family_name: String,
    pub(super) given: &'static str,
    pub(super) placeholder: String,
    pub(super) born: Date,
    pub(super) born_at: Second,
    pub(super) is_girl: bool,
    pub(super) births: u8,
    pub(super) order: u8,
    pub(super) unit: u8,
    pub(super) entry: Entry,
    pub(super) nhs: Option<String>,
    pub(super) is_stillborn: bool,
    /// Told by nobody any more from here on: death.
    pub(super) died: Option<Second>,
    /// Adopted: the record is sealed then.
    pub(super) sealed: Option<Second>,
    /// What happens to it that is not ordinary, in words.
    pub(super) story: Vec<&'static str>,
}

/// What a person at a hub does, by a command of the broker.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) at: Second,
    pub(super) child: usize,
}

/// All lives, and all that is told of them before anything goes wrong.
#[derive(Debug, Default)]
pub(super) struct City {
    pub(super) children: Vec<Person>,
    /// Family of each child.
    pub(super) families: Vec<usize>,
    pub(super) messages: Vec<Planned>,
    pub(super) acts: Vec<Act>,
}

/// Lets `births` children be born over `days` days.
pub(super) fn live(seed: u64, births: usize, days: i64) -> City {
    let mut town = Town { seed, end: BEGIN + days * DAY, zone: super::message::zone(), numbers: Numbers::new(seed), city: City::default() };
    let mut family = 0;
    while town.city.children.len() < births {
        let left = births - town.city.children.len();
        town.family(family, left);
        family += 1;
    }
    town.city
}

struct Town {
    seed: u64,
    end: Second,
    zone: TimeZone,
    numbers: Numbers,
    city: City,
}

/// What the children of one family share.
struct Household {
    name: String,
    mother: Mother,
    home: Home,
    practice: Practice,
    unit: u8,
    entry: Entry,
    is_order_known: bool,
}

impl Town {
    fn family(&mut self, number: usize, left: usize) {
        let mut dice = Dice::new(self.seed, u64::try_from(number).unwrap_or(0) + 1);
        let born_at = BEGIN + dice.between(HOUR, (self.end - BEGIN - HOUR).max(2 * HOUR));
        let births = match dice.below(1_000) {
            0..2 if 3 <= left => 3,
            2..32 if 2 <= left => 2,
            _ => 1,
        };
        let entry = match dice.below(100) {
            0..8 => Entry::LinkedBefore,
            8..15 => Entry::LinkedAfter,
            15..18 if births == 1 => Entry::Unnumbered,
            18..21 if births == 1 => Entry::MovedIn,
            _ => Entry::Numbered,
        };
        let born_at = if entry == Entry::MovedIn { born_at - dice.between(30, 300) * DAY } else { born_at };
        let unit = u8::try_from(dice.below(UNITS)).unwrap_or(0);
        let home = match dice.below(100) {
            0..3 if entry == Entry::Numbered => Home::outside(&mut dice),
            3..20 => {
                let hub = dice.pick(&HUBS);
                Home::of_hub(&mut dice, hub)
            }
            _ => Home::of_hub(&mut dice, unit_hub(unit)),
        };
        let practice = if dice.in_thousand(70) && entry == Entry::Numbered {
            let hub = dice.pick(&HUBS);
            let near = Home::of_hub(&mut dice, hub);
            Practice::near(&mut dice, near)
        } else {
            Practice::near(&mut dice, home)
        };
        let household = self.household(&mut dice, (home, practice, unit, entry), born_at, births);
        for order in 1..=u8::try_from(births).unwrap_or(1) {
            let at = born_at + i64::from(order - 1) * 9 * 60;
            self.child(&mut dice, number, &household, (at, u8::try_from(births).unwrap_or(1), order));
        }
    }

    fn household(&mut self, dice: &mut Dice, place: (Home, Practice, u8, Entry), born_at: Second, births: usize) -> Household {
        let (home, practice, unit, entry) = place;
        let name = format!("{}-{}", dice.pick(&FAMILIES), dice.pick(&SECOND));
        let mut ids = Vec::new();
        if entry != Entry::Unnumbered {
            ids.extend(self.numbers.next().map(|number| Id::nhs(&number)));
        }
        let site = format!("{}01", trust(unit));
        ids.push(Id::local(&site, format!("M{:06}", self.city.children.len() + 100_000), "MR"));
        let years = dice.between(19, 42);
        let born = day_of(born_at - years * 365 * DAY - dice.between(0, 364) * DAY, &self.zone);
        let mother = Mother { ids, given: dice.pick(&WOMEN), born, practice: Some(practice) };
        let is_order_known = births == 1 || entry == Entry::LinkedAfter || !dice.in_thousand(200);
        Household { name, mother, home, practice, unit, entry, is_order_known }
    }

    fn child(&mut self, dice: &mut Dice, family: usize, house: &Household, (born_at, births, order): (Second, u8, u8)) {
        let nhs = if house.entry == Entry::Unnumbered { None } else { self.numbers.next() };
        let is_girl = dice.in_thousand(490);
        let given = if is_girl { dice.pick(&GIRLS) } else { dice.pick(&BOYS) };
        let ordinal = ORDINALS.get(usize::from(order.saturating_sub(1))).copied().unwrap_or_default();
        let person = Person {
            family_name: house.name.clone(),
            given,
            placeholder: if 1 < births { format!("TWIN {ordinal}") } else { "BABY".into() },
            born: day_of(born_at, &self.zone),
            born_at,
            is_girl,
            births,
            order,
            unit: house.unit,
            entry: house.entry,
            nhs,
            is_stillborn: births == 1 && house.entry == Entry::Numbered && dice.in_thousand(4),
            died: None,
            sealed: None,
            story: if 1 < births { vec!["one of several"] } else { Vec::new() },
        };
        let index = self.city.children.len();
        self.city.children.push(person.clone());
        self.city.families.push(family);
        let mut story =
            Story { town: self, dice, index, person, house, home: house.home, practice: None, is_named: false, is_restricted: false };
        story.tell();
        let person = story.person;
        if let Some(slot) = self.city.children.get_mut(index) {
            *slot = person;
        }
    }
}

/// One child's life while it is told.
struct Story<'t> {
    town: &'t mut Town,
    dice: &'t mut Dice,
    index: usize,
    person: Person,
    house: &'t Household,
    home: Home,
    practice: Option<Practice>,
    is_named: bool,
    is_restricted: bool,
}

impl Story<'_> {
    fn tell(&mut self) {
        if self.person.is_stillborn {
            self.person.nhs = None;
            self.person.story.push("stillborn");
            let said = Said { ids: vec![self.unit_id()], status: "08", ..self.said() };
            let what = What::Birth { unit: self.person.unit, weight_g: 2_400, gestation: 37, live_still: 2 };
            self.say(Sender::Maternity(self.person.unit), self.person.born_at + 2 * HOUR, said, what);
            return;
        }
        self.decide_fate();
        if self.person.entry == Entry::MovedIn {
            self.arrive()
        } else {
            self.birth()
        }
        self.register();
        if self.person.entry != Entry::MovedIn {
            self.screen();
        }
        self.grow();
        self.move_house();
        self.leave();
    }

    /// Dates that end what is told are drawn first.
    fn decide_fate(&mut self) {
        let ordinary = self.person.births == 1 && self.person.entry == Entry::Numbered;
        // In a city of twice so many somebody is adopted, whatever the dice say.
        let is_due = SEALED_BY <= self.index && self.town.city.acts.is_empty() && self.person.born_at + 103 * DAY < self.town.end;
        match self.dice.below(1_000) {
            // Who moved in lives: a death before anybody here knew of the child would be a story before the city begins.
            0..6 if self.person.nhs.is_some() && self.person.entry != Entry::MovedIn => {
                self.person.died = Some(self.person.born_at + self.dice.between(3, 40) * DAY);
                self.person.story.push("died");
            }
            drawn if ordinary && ((6..30).contains(&drawn) || is_due) => {
                self.person.sealed = Some(self.person.born_at + self.dice.between(70, 90) * DAY);
                self.person.story.push("adopted: the record is sealed");
            }
            30..40 if ordinary => self.person.story.push("restricted"),
            40..66 if ordinary && self.is_at_home() => self.person.story.push("registered twice by the PAS, and merged"),
            66..96 => self.person.story.push("lost to the screens: no sample, no examination"),
            96..156 if ordinary => self.person.story.push("moves"),
            156..168 if ordinary => self.person.story.push("said to have died at the hospital, and taken back"),
            168..190 if ordinary => self.person.story.push("renamed by the PAS"),
            _ => {}
        }
    }

    fn has(&self, word: &str) -> bool {
        self.person.story.iter().any(|story| story.starts_with(word))
    }

    /// The practice and the home are one hub's.
    fn is_at_home(&self) -> bool {
        self.house.practice.area() == self.house.home.area() && self.house.home.area() != Area::Out
    }

    fn after(&mut self, from: i64, to: i64) -> Second {
        self.person.born_at + self.dice.between(from, to)
    }

    fn unit_id(&self) -> Id {
        Id::local(&format!("{}01", trust(self.person.unit)), format!("B{:06}", self.index), "MR")
    }

    fn pas_id(&self) -> Id {
        Id::local(&trust(self.person.unit), format!("T{:06}", self.index), "PI")
    }

    fn nhs_id(&self) -> Option<Id> {
        self.person.nhs.as_deref().map(Id::nhs)
    }

    /// The person with the number, and whatever else the sender has.
    fn said(&self) -> Said {
        let person = &self.person;
        let given = if self.is_named { person.given.to_owned() } else { person.placeholder.clone() };
        Said {
            ids: self.nhs_id().into_iter().collect(),
            status: if person.nhs.is_some() { "01" } else { "07" },
            family: person.family_name.clone(),
            given,
            born: person.born,
            born_at: Some(person.born_at),
            is_girl: person.is_girl,
            home: Some(self.home).filter(|_| !self.is_restricted),
            practice: None,
            mother: Some(self.house.mother.clone()),
            births: person.births,
            order: self.house.is_order_known.then_some(person.order),
            is_restricted: self.is_restricted,
        }
    }

    /// The person as a result names it.
    fn said_by_result(&self, own: Option<Id>) -> Said {
        let mut ids: Vec<Id> = self.nhs_id().into_iter().collect();
        if ids.is_empty() {
            ids.push(self.unit_id());
        }
        ids.extend(own);
        Said { ids, born_at: None, mother: None, practice: None, home: None, is_restricted: false, ..self.said() }
    }

    fn is_over(&self, at: Second) -> bool {
        self.person.died.is_some_and(|died| died < at) || self.person.sealed.is_some_and(|sealed| sealed < at)
    }

    fn say(&mut self, sender: Sender, at: Second, said: Said, what: What) {
        self.say_of(sender, (at, at), said, what);
    }

    /// Told at `at` of what happened at `event`.
    fn say_of(&mut self, sender: Sender, (at, event): (Second, Second), said: Said, what: What) {
        if self.town.end <= at {
            return;
        }
        let number = self.town.city.messages.len();
        let control = super::control_id(self.town.seed, sender, number);
        let child = self.index;
        self.town.city.messages.push(Planned {
            at,
            written: at,
            event,
            sender,
            control,
            child,
            said,
            what,
            fault: "",
            is_duplicate: false,
        });
    }

    fn birth(&mut self) {
        let (unit, weight_g, gestation) = (
            self.person.unit,
            u16::try_from(self.dice.between(2_500, 4_300)).unwrap_or(3_000),
            u8::try_from(self.dice.between(37, 41)).unwrap_or(39),
        );
        let told = self.after(HOUR, 3 * HOUR);
        let event = self.person.born_at;
        let facts = What::Birth { unit, weight_g, gestation, live_still: 1 };
        let maternity = Sender::Maternity(unit);
        let both = || -> Vec<Id> { self.nhs_id().into_iter().chain([self.unit_id()]).collect() };
        let (with_both, alone) = (Said { ids: both(), ..self.said() }, Said { ids: vec![self.unit_id()], status: "08", ..self.said() });
        let (notified, linked) = match self.person.entry {
            Entry::LinkedBefore => (self.after(30 * HOUR, 40 * HOUR), Some(self.after(18 * HOUR, 24 * HOUR))),
            Entry::LinkedAfter => (self.after(8 * HOUR, 12 * HOUR), Some(self.after(18 * HOUR, 24 * HOUR))),
            _ => (self.after(6 * HOUR, 30 * HOUR), None),
        };
        let first = if self.person.entry == Entry::Numbered { with_both.clone() } else { alone };
        self.say_of(maternity, (told, event), first, facts);
        if let Some(linked) = linked {
            self.say(maternity, linked, with_both, What::Person { trigger: "A31" });
        }
        if self.person.nhs.is_some() {
            let what = What::NationalBirth { unit, weight_g, gestation };
            self.say(Sender::Spine, notified, self.said(), what);
        }
        let admitted = self.after(41 * HOUR, 60 * HOUR);
        let ids = self.nhs_id().into_iter().chain([self.pas_id()]).chain([self.unit_id()]).collect();
        self.say(Sender::Pas(unit), admitted, Said { ids, mother: None, ..self.said() }, What::Person { trigger: "A28" });
        let named = self.after(10 * DAY, 20 * DAY);
        self.is_named = true;
        if !self.is_over(named) {
            let ids = self.nhs_id().into_iter().chain([self.pas_id()]).collect();
            self.say(Sender::Pas(unit), named, Said { ids, mother: None, ..self.said() }, What::Person { trigger: "A31" });
        }
        self.merge();
        self.rename();
        self.discharge();
        self.restrict();
    }

    /// The PAS made a second record, and says so.
    fn merge(&mut self) {
        if !self.has("registered twice") {
            return;
        }
        let (unit, twice) = (self.person.unit, self.after(22 * DAY, 30 * DAY));
        let prior = Id::local(&trust(unit), format!("X{:06}", self.index), "PI");
        let temporary = Said { ids: vec![prior.clone()], status: "07", mother: None, ..self.said() };
        self.say(Sender::Pas(unit), twice, temporary, What::Person { trigger: "A28" });
        let ids = self.nhs_id().into_iter().chain([self.pas_id()]).collect();
        let merged = twice + self.dice.between(1, 3) * DAY;
        self.say(Sender::Pas(unit), merged, Said { ids, mother: None, ..self.said() }, What::Merge { prior });
    }

    /// The PAS had given a wrong number, and has another from then on.
    fn rename(&mut self) {
        if !self.has("renamed") {
            return;
        }
        let (unit, at) = (self.person.unit, self.after(30 * DAY, 36 * DAY));
        let right = Id::local(&trust(unit), format!("U{:06}", self.index), "PI");
        let said = Said { ids: vec![right], status: "07", mother: None, ..self.said() };
        self.say(Sender::Pas(unit), at, said.clone(), What::Rename { prior: self.pas_id() });
        let later = at + self.dice.between(1, 4) * DAY;
        self.say(Sender::Pas(unit), later, said, What::Person { trigger: "A31" });
    }

    /// The hospital discharges a child that died; of another it says so and takes it back.
    fn discharge(&mut self) {
        let unit = self.person.unit;
        let ids = self.nhs_id().into_iter().chain([self.pas_id()]).collect();
        let said = Said { ids, mother: None, home: None, ..self.said() };
        if let Some(died) = self.person.died {
            self.say(Sender::Pas(unit), died + 2 * HOUR, said, What::Discharge { is_dead: true });
        } else if self.has("said to have died") {
            let at = self.after(3 * DAY, 9 * DAY);
            self.say(Sender::Pas(unit), at, said.clone(), What::Discharge { is_dead: true });
            let back = at + self.dice.between(5 * HOUR, 2 * DAY);
            self.say(Sender::Pas(unit), back, said, What::DischargeCancelled);
        }
    }

    fn restrict(&mut self) {
        if !self.has("restricted") {
            return;
        }
        let (unit, at) = (self.person.unit, self.after(50 * DAY, 55 * DAY));
        let ids = self.nhs_id().into_iter().chain([self.pas_id()]).collect();
        let said = Said { ids, mother: None, is_restricted: true, home: None, ..self.said() };
        self.say(Sender::Pas(unit), at, said, What::Person { trigger: "A31" });
    }

    /// From outside London: the national record tells the new address.
    fn arrive(&mut self) {
        self.person.story.push("moved in without a record");
        self.is_named = true;
        let at = (BEGIN + self.dice.between(DAY, (self.town.end - BEGIN).max(2 * DAY))).max(self.person.born_at + 31 * DAY);
        let before = Home::outside(self.dice);
        let said = Said { mother: None, ..self.said() };
        self.say(Sender::Spine, at, said, What::NationalAddress { before: Some(before) });
        self.practice = Some(self.house.practice);
        let said = Said { practice: self.practice, mother: None, home: None, ..self.said() };
        let registered = at + self.dice.between(1, 12) * DAY;
        self.say(Sender::Spine, registered, said, What::NationalGp);
        let (key, weight_g) = (format!("R{:06}X", self.index), 6_200);
        let seen = registered + self.dice.between(3, 20) * DAY;
        let said = self.said_by_result(None);
        let visitors = self.visitors();
        self.say(visitors, seen, said, What::Review { key, code: "0022", weight_g });
    }

    fn register(&mut self) {
        if self.person.entry == Entry::MovedIn {
            return;
        }
        let at = self.after(5 * DAY, 26 * DAY);
        if self.is_over(at) {
            return;
        }
        self.practice = Some(self.house.practice);
        let said = Said { practice: self.practice, mother: None, home: None, ..self.said() };
        if self.person.nhs.is_some() {
            self.say(Sender::Spine, at, said, What::NationalGp);
        } else {
            let said = Said { ids: vec![self.pas_id(), self.unit_id()], home: Some(self.home), ..said };
            self.say(Sender::Pas(self.person.unit), at, said, What::Person { trigger: "A31" });
        }
    }

    fn visitors(&self) -> Sender {
        let hub = match self.home.area() {
            Area::Hub(hub) => HUBS.iter().position(|known| *known == hub).unwrap_or(0),
            Area::Out => 0,
        };
        Sender::HealthVisitors(u8::try_from(hub).unwrap_or(0))
    }

    fn screen(&mut self) {
        if self.has("lost to the screens") {
            return;
        }
        let examined = self.after(12 * HOUR, 70 * HOUR);
        let said = self.said_by_result(None);
        let key = format!("N{:06}", self.index);
        self.say_of(Sender::Nipe, (examined + 3 * HOUR, examined), said, What::Examination { key, is_infant: false });
        let heard = self.after(2 * DAY, 12 * DAY);
        let (said, key, is_clear) = (self.said_by_result(None), format!("H{:06}", self.index), !self.dice.in_thousand(20));
        if !self.is_over(heard) {
            self.say_of(Sender::Hearing, (heard + 4 * HOUR, heard), said, What::Hearing { key, is_clear });
        }
        let pricked = self.after(5 * DAY + 6 * HOUR, 5 * DAY + 14 * HOUR);
        if self.is_over(pricked) {
            // The sample of a child that died is told all the same: nothing was taken.
            return;
        }
        match self.dice.below(1_000) {
            0..15 => self.card(pricked, "", &[("", "02", "F")], pricked + 2 * DAY),
            15..70 => {
                self.card(pricked, "", &[("CF", "0303", "F"), ("", "04", "F")], pricked + self.result_days() * DAY);
                let again = pricked + self.dice.between(9, 12) * DAY;
                if !self.is_over(again) {
                    self.card(again, "B", &[("CF", "04", "F")], again + self.result_days() * DAY);
                }
            }
            70..95 => {
                let told = pricked + self.result_days() * DAY;
                self.card(pricked, "", &[("", "04", "F")], told);
                self.card(pricked, "", &[("CHT", "08", "C")], told + 2 * DAY);
            }
            95..110 => {
                let told = pricked + self.result_days() * DAY;
                self.card(pricked, "", &[("", "04", "F")], told);
                self.card(pricked, "", &[("MSUD", "04", "D")], told + 2 * DAY);
            }
            110..300 => {
                self.card(pricked, "", &[("", "01", "F")], pricked + 2 * DAY);
                let told = pricked + 2 * DAY + self.result_days() * DAY;
                self.card(pricked, "", &[("", "04", "F")], told);
            }
            _ => {
                let told = pricked + self.result_days() * DAY;
                self.card(pricked, "", &[("", "04", "F")], told);
            }
        }
    }

    fn result_days(&self) -> i64 {
        3 + i64::try_from(self.index % 5).unwrap_or(0)
    }

    /// A card and its outcomes: `("CF", …)` for one condition, `("", …)` for all others of a whole card.
    fn card(&mut self, pricked: Second, part: &str, outcomes: &[(&'static str, &'static str, &'static str)], told: Second) {
        let number = self.person.unit % 3;
        let is_whole = outcomes.iter().any(|(condition, _, _)| condition.is_empty());
        let one = |condition: &&'static str| outcomes.iter().find(|(named, _, _)| named == condition);
        let rest = outcomes.iter().find(|(condition, _, _)| condition.is_empty());
        let spots: Vec<Spot> = CONDITIONS
            .iter()
            .filter(|condition| is_whole || one(condition).is_some())
            .filter_map(|condition| {
                let (_, status, standing) = one(condition).or(rest)?;
                Some(Spot { condition, status, standing })
            })
            .collect();
        let taken = day_of(pricked, &self.town.zone);
        // In the week in which a day has 25 hours the result is told on the day before.
        let received = taken.checked_add(2.days()).unwrap_or(taken).min(day_of(told - HOUR, &self.town.zone)).max(taken);
        let accession = format!("26S{:06}{part}", self.index);
        let own = Id::local(&format!("{}LAB", lab(number)), format!("L{:06}", self.index), "LAB");
        // Laboratories have the address and the mother from the card.
        let said = Said { home: Some(self.home), mother: Some(self.house.mother.clone()), ..self.said_by_result(Some(own)) };
        let what = What::BloodSpot { lab: number, accession, taken, received, spots };
        self.say_of(Sender::Lab(number), (told, told - HOUR), said, what);
    }

    /// Reviews, the infant examination, vaccinations.
    fn grow(&mut self) {
        let is_in = self.person.entry == Entry::MovedIn;
        for (from, to, code, weight_g) in [(10, 13, "0023", 3_600), (43, 55, "0022", 4_900), (300, 360, "0021", 9_500)] {
            let at = self.after(from * DAY, to * DAY);
            if !(self.is_over(at) || is_in) {
                let (said, visitors) = (self.said_by_result(None), self.visitors());
                let key = format!("R{:06}{code}", self.index);
                self.say_of(visitors, (at + 6 * HOUR, at), said, What::Review { key, code, weight_g });
            }
        }
        let examined = self.after(42 * DAY, 52 * DAY);
        if !(self.is_over(examined) || is_in || self.has("lost to the screens")) {
            let (said, key) = (self.said_by_result(None), format!("N{:06}G", self.index));
            self.say_of(Sender::Gp, (examined + HOUR, examined), said, What::Examination { key, is_infant: true });
        }
        for (visit, (due, doses)) in SCHEDULE.into_iter().enumerate() {
            let at = self.after(due * DAY, (due + 9) * DAY);
            if self.is_over(at) || is_in {
                continue;
            }
            let practice = self.house.practice.ods();
            let dose = |(number, (product, dose)): (usize, &(&'static str, u8))| Dose {
                key: format!("V{:06}-{visit}-{number}", self.index),
                product,
                number: *dose,
            };
            let doses: Vec<Dose> = doses.iter().enumerate().map(dose).collect();
            let own = Id::local(&practice, format!("P{:06}", self.index), "PI");
            let said = self.said_by_result(Some(own));
            self.say_of(Sender::Gp, (at + HOUR, at), said, What::Vaccinations { practice, doses });
        }
    }

    /// To another borough or out of London; the national record tells the address, then the practice.
    fn move_house(&mut self) {
        if !self.has("moves") {
            return;
        }
        let at = self.after(57 * DAY, 75 * DAY);
        let to = match self.dice.below(5) {
            0 => Home::outside(self.dice),
            _ => {
                let hub = static_hub(self.dice.pick(&HUBS));
                Home::of_hub(self.dice, hub)
            }
        };
        let before = std::mem::replace(&mut self.home, to);
        let said = Said { mother: None, ..self.said() };
        self.say(Sender::Spine, at, said, What::NationalAddress { before: Some(before) });
        self.practice = Some(Practice::near(self.dice, to));
        let said = Said { practice: self.practice, mother: None, home: None, ..self.said() };
        let registered = at + self.dice.between(2, 8) * DAY;
        self.say(Sender::Spine, registered, said, What::NationalGp);
        let (said, visitors) = (self.said_by_result(None), self.visitors());
        let seen = registered + self.dice.between(2, 6) * DAY;
        let key = format!("R{:06}M", self.index);
        self.say_of(visitors, (seen + 2 * HOUR, seen), said, What::Review { key, code: "004", weight_g: 5_400 });
    }

    /// Death, told informally and then formally; adoption, after which the old number is still told once.
    fn leave(&mut self) {
        if let Some(died) = self.person.died {
            let day = day_of(died, &self.town.zone);
            let said = Said { mother: None, home: None, ..self.said() };
            self.say(Sender::Spine, died + 6 * HOUR, said.clone(), What::NationalDeath { is_formal: false, died: day });
            self.say(Sender::Spine, died + 6 * DAY, said, What::NationalDeath { is_formal: true, died: day });
        }
        if let Some(sealed) = self.person.sealed.filter(|sealed| *sealed < self.town.end) {
            self.town.city.acts.push(Act { at: sealed, child: self.index });
            let (said, visitors) = (self.said_by_result(None), self.visitors());
            let late = sealed + self.dice.between(2, 9) * DAY;
            let key = format!("R{:06}Z", self.index);
            self.say(visitors, late, said, What::Review { key, code: "004", weight_g: 5_800 });
            self.begin_anew(sealed);
        }
    }

    /// The adopted child has a new number and a new name, and nothing leads from one to the other (identity rules, section 8). In the truth
    /// it is another child: two records that become one are a breach.
    fn begin_anew(&mut self, sealed: Second) {
        let Some(number) = self.town.numbers.next() else { return };
        let mut anew = self.person.clone();
        anew.nhs = Some(number);
        anew.family_name = format!("{}-{}", self.dice.pick(&FAMILIES), self.dice.pick(&SECOND));
        anew.entry = Entry::MovedIn;
        anew.sealed = None;
        anew.story = vec!["adopted: the new identity"];
        let index = self.town.city.children.len();
        let family = self.town.city.families.get(self.index).copied().unwrap_or_default();
        self.town.city.children.push(anew.clone());
        self.town.city.families.push(family);
        let home = Home::of_hub(self.dice, unit_hub(anew.unit));
        let practice = Some(Practice::near(self.dice, home));
        let (house, is_named) = (self.house, true);
        let mut told =
            Story { town: self.town, dice: self.dice, index, person: anew, house, home, practice, is_named, is_restricted: false };
        let said = Said { mother: None, ..told.said() };
        told.say(Sender::Spine, sealed + 2 * DAY, said, What::NationalAddress { before: None });
        let said = Said { practice, mother: None, home: None, ..told.said() };
        told.say(Sender::Spine, sealed + 5 * DAY, said, What::NationalGp);
        let (said, visitors, key) = (told.said_by_result(None), told.visitors(), format!("R{index:06}N"));
        told.say(visitors, sealed + 12 * DAY, said, What::Review { key, code: "004", weight_g: 5_900 });
    }
}

/// The stories that were drawn, counted.
pub(super) fn stories(city: &City) -> std::collections::BTreeMap<&'static str, usize> {
    let mut stories = std::collections::BTreeMap::new();
    for story in city.children.iter().flat_map(|child| child.story.iter().collect::<BTreeSet<_>>()) {
        *stories.entry(*story).or_default() += 1;
    }
    stories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_every_city_of_twelve_hundred_births_somebody_is_adopted_renamed_and_said_to_have_died() {
        for seed in 1..=6 {
            let city = live(seed, 1_200, 120);
            let stories = stories(&city);
            for story in ["adopted: the new identity", "renamed by the PAS", "said to have died at the hospital, and taken back"] {
                assert!(stories.contains_key(story), "nobody of seed {seed}: {story}");
            }
            assert!(!city.acts.is_empty());
        }
    }
}
