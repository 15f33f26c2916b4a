//! What goes wrong on the way, or was wrong from the start: late, twice, out of order, lost, contradictory, about the wrong child.
//!
//! A fault changes what is told, never what is true. Of each family at most one thing goes wrong, so that a difference that the
//! verifier finds has one cause.

use jiff::ToSpan;

use super::dice::Dice;
use super::life::{CONDITIONS, City, Entry};
use super::london::Sender;
use super::message::{DAY, HOUR, Id, Planned, Said, Second, Spot, What};

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Faults {
    /// Nothing.
    None,
    /// In one family of seven.
    #[default]
    Some,
    /// In every family.
    All,
}

/// What can go wrong, each with the word that stands in the truth.
const LATE: &str = "late";
const TWICE: &str = "sent twice, byte for byte";
const AGAIN: &str = "sent again under another control id";
const TURNED: &str = "overtaken by what was said after it";
const WEIGHT: &str = "another birth weight";
const BIRTHDAY: &str = "a date of birth one day later";
const SWAPPED: &str = "the NHS number of the other twin";
const MOTHERS: &str = "the mother's number given for the baby";
const WRONG: &str = "another child's card, taken back";
const LOST: &str = "lost";
const CODE: &str = "an outcome that no table knows";

const ALL: [&str; 11] = [LATE, TWICE, AGAIN, TURNED, WEIGHT, BIRTHDAY, SWAPPED, MOTHERS, WRONG, LOST, CODE];

/// Lets things go wrong, and brings all messages into the order of the network.
pub(super) fn spoil(seed: u64, faults: Faults, end: Second, city: &mut City) {
    let families = city.families.last().map_or(0, |last| last + 1);
    let mut of_family: Vec<Vec<usize>> = vec![Vec::new(); families];
    for (number, message) in city.messages.iter().enumerate() {
        if let Some(list) = city.families.get(message.child).and_then(|family| of_family.get_mut(*family)) {
            list.push(number);
        }
    }
    let mut lost: Vec<usize> = Vec::new();
    for (family, messages) in of_family.iter().enumerate() {
        let mut dice = Dice::new(seed ^ 0xFA17, u64::try_from(family).unwrap_or(0));
        let is_spoilt = match faults {
            Faults::None => false,
            Faults::Some => dice.below(7) == 0,
            Faults::All => true,
        };
        if is_spoilt {
            let first = dice.below(ALL.len());
            // The first from there on that this family can have.
            let order = (0..ALL.len()).filter_map(|step| ALL.get((first + step) % ALL.len()).copied());
            let mut fault = Fault { seed, city, messages, dice, lost: &mut lost };
            let _what = order.into_iter().find(|what| fault.happens(what));
        }
    }
    lost.sort_unstable();
    let mut number = 0;
    city.messages.retain(|_| {
        number += 1;
        lost.binary_search(&(number - 1)).is_err()
    });
    space(city);
    city.messages.retain(|message| message.at < end);
}

struct Fault<'c> {
    seed: u64,
    city: &'c mut City,
    /// Those of one family.
    messages: &'c [usize],
    dice: Dice,
    lost: &'c mut Vec<usize>,
}

impl Fault<'_> {
    fn find(&mut self, wanted: impl Fn(&Planned) -> bool) -> Option<usize> {
        let all = self.messages.iter().copied().filter(|number| self.city.messages.get(*number).is_some_and(&wanted));
        let all: Vec<usize> = all.collect();
        (!all.is_empty()).then(|| self.dice.pick(&all))
    }

    fn change(&mut self, number: usize, fault: &'static str, change: impl FnOnce(&mut Planned)) {
        let child = if let Some(message) = self.city.messages.get_mut(number) {
            change(message);
            message.fault = fault;
            message.child
        } else {
            return;
        };
        self.tell(child, fault);
    }

    fn tell(&mut self, child: usize, fault: &'static str) {
        if let Some(child) = self.city.children.get_mut(child) {
            child.story.push(fault);
        }
    }

    fn add(&mut self, message: Planned) {
        self.city.messages.push(message);
    }

    fn control(&self, sender: Sender) -> String {
        super::control_id(self.seed, sender, self.city.messages.len())
    }

    fn copy(&self, number: usize) -> Option<Planned> {
        self.city.messages.get(number).cloned()
    }

    /// True where it happened.
    fn happens(&mut self, fault: &str) -> bool {
        match fault {
            LATE => self.late(),
            TWICE => self.twice(),
            AGAIN => self.again(),
            TURNED => self.turned(),
            WEIGHT => self.weight(),
            BIRTHDAY => self.birthday(),
            SWAPPED => self.swapped(),
            MOTHERS => self.mothers(),
            WRONG => self.wrong(),
            LOST => self.lose(),
            _ => self.code(),
        }
        .is_some()
    }

    fn late(&mut self) -> Option<()> {
        let number = self.find(|message| !message.is_about_identifiers())?;
        let by = self.dice.between(6 * HOUR, 6 * DAY);
        self.change(number, LATE, |message| message.at += by);
        Some(())
    }

    fn twice(&mut self) -> Option<()> {
        let number = self.find(|_| true)?;
        let by = self.dice.between(60, 3 * DAY);
        let message = self.copy(number)?;
        self.tell(message.child, TWICE);
        self.add(Planned { at: message.at + by, fault: TWICE, is_duplicate: true, ..message });
        Some(())
    }

    fn again(&mut self) -> Option<()> {
        let number = self.find(|message| !message.is_about_identifiers())?;
        let by = self.dice.between(60, 3 * DAY);
        let message = self.copy(number)?;
        self.tell(message.child, AGAIN);
        self.add(Planned { at: message.at + by, fault: AGAIN, control: self.control(message.sender), ..message });
        Some(())
    }

    /// Of two messages of one sender about one child the first comes after the second.
    fn turned(&mut self) -> Option<()> {
        let first = self.find(|message| !matches!(message.what, What::Rename { .. }))?;
        let one = self.copy(first)?;
        let is_next = |message: &Planned| message.sender == one.sender && message.child == one.child && one.at < message.at;
        let next = self.messages.iter().filter_map(|number| self.city.messages.get(*number)).filter(|message| is_next(message));
        let next = next.map(|message| message.at).min()?;
        self.change(first, TURNED, |message| message.at = next + 2 * HOUR);
        Some(())
    }

    fn weight(&mut self) -> Option<()> {
        let number = self.find(|message| matches!(message.what, What::NationalBirth { .. }))?;
        self.change(number, WEIGHT, |message| {
            if let What::NationalBirth { weight_g, .. } = &mut message.what {
                *weight_g += 320;
            }
        });
        Some(())
    }

    /// The PAS has another day, in the first 28 days and beside a verified number: taken (identity rules, section 4).
    fn birthday(&mut self) -> Option<()> {
        let children = &self.city.children;
        let fits = |message: &Planned| {
            matches!(message.what, What::Person { trigger: "A28" })
                && message.said.ids.len() == 3
                && children.get(message.child).is_some_and(|child| child.births == 1 && child.entry == Entry::Numbered)
        };
        let all: Vec<usize> = self.messages.iter().copied().filter(|number| self.city.messages.get(*number).is_some_and(fits)).collect();
        let number = all.first().copied()?;
        self.change(number, BIRTHDAY, |message| {
            message.said.born = message.said.born.checked_add(1.day()).unwrap_or(message.said.born);
            message.said.born_at = None;
        });
        Some(())
    }

    fn swapped(&mut self) -> Option<()> {
        let named = |message: &Planned| matches!(message.what, What::Person { trigger: "A31" }) && matches!(message.sender, Sender::Pas(_));
        let number = self.find(|message| named(message) && 1 < message.said.births)?;
        let message = self.copy(number)?;
        let other = self.find(|other| named(other) && other.child != message.child)?;
        let other = self.copy(other)?;
        let theirs = other.said.ids.iter().find(|id| id.is_nhs()).cloned()?;
        self.change(number, SWAPPED, |message| {
            for id in message.said.ids.iter_mut().filter(|id| id.is_nhs()) {
                *id = theirs.clone();
            }
        });
        Some(())
    }

    fn mothers(&mut self) -> Option<()> {
        let number = self.find(|message| matches!(message.what, What::Person { trigger: "A28" }) && message.said.ids.len() == 3)?;
        let message = self.copy(number)?;
        let birth = self.find(|other| other.child == message.child && matches!(other.what, What::Birth { .. }))?;
        let mother = self.copy(birth)?.said.mother?;
        let ids: Vec<Id> = mother.ids.iter().filter(|id| !id.is_nhs()).cloned().collect();
        let said = Said { ids, status: "07", mother: None, ..message.said.clone() };
        self.tell(message.child, MOTHERS);
        let at = message.at + 5 * HOUR;
        self.add(Planned { at, written: at, event: at, control: self.control(message.sender), said, fault: MOTHERS, ..message });
        Some(())
    }

    /// A card of somebody else is reported for this child, and taken back as the wrong patient's.
    fn wrong(&mut self) -> Option<()> {
        let number = self.find(|message| matches!(message.what, What::BloodSpot { .. }))?;
        let message = self.copy(number)?;
        let What::BloodSpot { lab, accession, taken, received, .. } = &message.what else { return None };
        let spots = |status: &'static str, standing: &'static str| -> Vec<Spot> {
            CONDITIONS.iter().map(|condition| Spot { condition, status, standing }).collect()
        };
        let card =
            |spots: Vec<Spot>| What::BloodSpot { lab: *lab, accession: format!("{accession}W"), taken: *taken, received: *received, spots };
        self.tell(message.child, WRONG);
        let (at, back) = (message.at + 3 * HOUR, message.at + 2 * DAY);
        let reported = Planned {
            at,
            written: at,
            event: at - HOUR,
            control: self.control(message.sender),
            what: card(spots("08", "F")),
            fault: WRONG,
            ..message.clone()
        };
        self.add(reported);
        let what = card(spots("08", "W"));
        let taken_back = Planned {
            at: back,
            written: back,
            event: back - HOUR,
            control: self.control(message.sender),
            what,
            fault: WRONG,
            ..message.clone()
        };
        self.add(taken_back);
        Some(())
    }

    fn lose(&mut self) -> Option<()> {
        let number = self.find(|message| !message.is_about_identifiers())?;
        let child = self.copy(number)?.child;
        self.lost.push(number);
        self.tell(child, LOST);
        Some(())
    }

    fn code(&mut self) -> Option<()> {
        let number = self.find(|message| matches!(message.what, What::BloodSpot { .. }))?;
        let mut message = self.copy(number)?;
        let (at, control) = (message.at - HOUR, self.control(message.sender));
        if let What::BloodSpot { spots, taken, received, .. } = &mut message.what {
            // It is told before the other, so the card cannot have come on the day that the other says.
            *received = *taken;
            spots.iter_mut().take(1).for_each(|spot| spot.status = "44");
        }
        self.tell(message.child, CODE);
        self.add(Planned { at, written: at, event: at - HOUR, control, fault: CODE, ..message });
        Some(())
    }
}

/// The order of the network: by time; messages of one family at least an hour apart, each in an hour of its own. Between two
/// senders within an hour the order is nobody's promise, so a family's story must not hang on it.
fn space(city: &mut City) {
    let families = &city.families;
    let family = |message: &Planned| families.get(message.child).copied().unwrap_or(0);
    city.messages.sort_by_cached_key(|message| (message.at, message.control.clone(), message.is_duplicate));
    let mut last: Vec<Second> = vec![Second::MIN; families.last().map_or(0, |last| last + 1)];
    for message in &mut city.messages {
        let Some(last) = last.get_mut(family(message)) else { continue };
        let hour = message.at.div_euclid(HOUR);
        if hour <= *last {
            message.at = (*last + 1) * HOUR + message.at.rem_euclid(HOUR);
        }
        *last = message.at.div_euclid(HOUR);
    }
    city.messages.sort_by_cached_key(|message| (message.at, message.control.clone(), message.is_duplicate));
}

#[cfg(test)]
mod tests {
    use super::super::life::{BEGIN, live};
    use super::*;

    #[test]
    fn every_fault_happens_somewhere_and_messages_of_a_family_have_hours_of_their_own() {
        let mut city = live(3, 900, 60);
        spoil(3, Faults::All, BEGIN + 60 * DAY, &mut city);
        for fault in ALL {
            assert!(city.children.iter().any(|child| child.story.contains(&fault)), "nobody has: {fault}");
        }
        let mut hours = std::collections::HashSet::new();
        for message in &city.messages {
            assert!(hours.insert((city.families[message.child], message.at.div_euclid(HOUR))), "two in an hour");
            assert!(message.at < BEGIN + 60 * DAY);
        }
        assert!(city.messages.is_sorted_by_key(|message| message.at));
    }

    #[test]
    fn without_faults_nothing_goes_wrong() {
        let mut city = live(3, 200, 60);
        let before = city.messages.len();
        spoil(3, Faults::None, BEGIN + 1_000 * DAY, &mut city);
        assert_eq!(city.messages.len(), before);
        assert!(city.messages.iter().all(|message| message.fault.is_empty()));
    }
}
