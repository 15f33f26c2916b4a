//! One message of the city before it has a wire format: who sends it, when, and what it says of whom.
//!
//! What a message says is kept beside what is true: a fault is a message that says something else. The truth is made of these, never
//! of the bytes, so that it does not depend on any reader.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::london::{Home, Practice, Sender};

/// Seconds since 1970.
pub(super) type Second = i64;
/// A day has so many.
pub(super) const DAY: Second = 86_400;
/// An hour has so many.
pub(super) const HOUR: Second = 3_600;

/// The zone of the city.
pub(super) fn zone() -> TimeZone {
    crate::failsafe::day::london()
}

/// A moment as London's clocks show it.
pub(super) fn local(at: Second, zone: &TimeZone) -> jiff::Zoned {
    Timestamp::from_second(at).unwrap_or_default().to_zoned(zone.clone())
}

/// London's date at a moment.
pub(super) fn day_of(at: Second, zone: &TimeZone) -> Date {
    local(at, zone).date()
}

/// An identifier of a person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    /// `NHS`, or the authority of a local identifier.
    pub(super) authority: String,
    pub(super) value: String,
    /// `NH`, `MR`, `PI`, `LAB`.
    pub(super) kind: &'static str,
}

impl Id {
    pub(super) fn nhs(number: &str) -> Self {
        Self { authority: "NHS".into(), value: number.into(), kind: "NH" }
    }

    pub(super) fn local(authority: &str, value: String, kind: &'static str) -> Self {
        Self { authority: authority.into(), value, kind }
    }

    pub(super) fn is_nhs(&self) -> bool {
        self.authority == "NHS"
    }
}

/// A mother, as far as messages about her child name her.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mother {
    pub(super) ids: Vec<Id>,
    pub(super) given: &'static str,
    pub(super) born: Date,
    pub(super) practice: Option<Practice>,
}

/// What a message says of the person it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) ids: Vec<Id>,
    /// Verification status of the NHS number, `01`.
    pub(super) status: &'static str,
    pub(super) family: String,
    pub(super) given: String,
    pub(super) born: Date,
    /// Time of birth.
    pub(super) born_at: Option<Second>,
    pub(super) is_girl: bool,
    pub(super) home: Option<Home>,
    pub(super) practice: Option<Practice>,
    pub(super) mother: Option<Mother>,
    pub(super) births: u8,
    /// Birth order; none where the sender does not know it.
    pub(super) order: Option<u8>,
    pub(super) is_restricted: bool,
}

/// One outcome of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) condition: &'static str,
    /// NBS status as sent: `04`, `0303`.
    pub(super) status: &'static str,
    /// OBX-11: `F`, `C`, `D`, `W`.
    pub(super) standing: &'static str,
}

/// A dose given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dose {
    pub(super) key: String,
    pub(super) product: &'static str,
    pub(super) number: u8,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// ADT^A01 of a maternity unit.
    Birth { unit: u8, weight_g: u16, gestation: u8, live_still: u8 },
    /// ADT^A28 or A31.
    Person { trigger: &'static str },
    /// ADT^A40: the identifier is given up for those of the person.
    Merge { prior: Id },
    /// ADT^A47: the identifier was wrong, the person's is right.
    Rename { prior: Id },
    /// ADT^A03: sent home, or died.
    Discharge { is_dead: bool },
    /// ADT^A13: the discharge was none.
    DischargeCancelled,
    /// pds-birth-notification-1.
    NationalBirth { unit: u8, weight_g: u16, gestation: u8 },
    /// pds-change-of-address-1.
    NationalAddress { before: Option<Home> },
    /// pds-change-of-gp-1.
    NationalGp,
    /// pds-death-notification-1: informal or formal.
    NationalDeath { is_formal: bool, died: Date },
    /// ORU^R01 of a laboratory.
    BloodSpot { lab: u8, accession: String, taken: Date, received: Date, spots: Vec<Spot> },
    /// ORU^R01: newborn hearing screen; clear or no clear response in one ear.
    Hearing { key: String, is_clear: bool },
    /// ORU^R01: physical examination, newborn or at six to eight weeks.
    Examination { key: String, is_infant: bool },
    /// ORU^R01: a health visitor's review, by its encounter code.
    Review { key: String, code: &'static str, weight_g: u32 },
    /// VXU^V04.
    Vaccinations { practice: String, doses: Vec<Dose> },
}

/// A message that will be sent.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// When the network carries it.
    pub(super) at: Second,
    /// When it was written (MSH-7, meta.lastUpdated).
    pub(super) written: Second,
    /// When what it tells of happened (EVN-6, OBR-22, OBR-7).
    pub(super) event: Second,
    pub(super) sender: Sender,
    pub(super) control: String,
    /// Index of the child whom it is about in truth.
    pub(super) child: usize,
    pub(super) said: Said,
    pub(super) what: What,
    /// What is wrong with it; empty where nothing is.
    pub(super) fault: &'static str,
    /// The same bytes were sent before.
    pub(super) is_duplicate: bool,
}

impl Planned {
    /// Kind word, publisher and keys of what stands under the publisher's own keys.
    pub(super) fn items(&self) -> Vec<(&'static str, String, String)> {
        let sent_by = || self.sender.application().1;
        match &self.what {
            What::BloodSpot { lab, accession, .. } => vec![("blood-spot", super::london::lab(*lab), accession.clone())],
            What::Hearing { key, .. } => vec![("hearing", sent_by(), key.clone())],
            What::Examination { key, .. } => vec![("nipe", sent_by(), key.clone())],
            What::Review { key, .. } => vec![("review", sent_by(), key.clone())],
            What::Vaccinations { practice, doses } => {
                doses.iter().map(|dose| ("immunisation", practice.clone(), dose.key.clone())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The event time that decides which of two versions stands: that of the vaccinations is when they were written.
    pub(super) fn ordered_by(&self) -> Second {
        match self.what {
            What::Vaccinations { .. } => self.written,
            What::NationalBirth { .. } | What::NationalAddress { .. } | What::NationalGp | What::NationalDeath { .. } => self.written,
            _ => self.event,
        }
    }

    /// True where the national record says it.
    pub(super) fn is_national(&self) -> bool {
        self.sender == Sender::Spine
    }

    /// True where it says that identifiers belong together, and nothing else.
    pub(super) fn is_about_identifiers(&self) -> bool {
        matches!(self.what, What::Merge { .. } | What::Rename { .. })
    }

    /// True where it is about the person, not a result with a copy of the person's details.
    pub(super) fn is_about_the_person(&self) -> bool {
        self.items().is_empty()
    }
}

/// NHS numbers of the range that is never issued (identity rules, section 1), no number twice: about 900 000.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    next: u32,
    left: u32,
}

/// Steps through all of a million: it has no common factor with it.
const STEP: u32 = 617_381;
const RANGE: u32 = 1_000_000;

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self { next: u32::try_from(seed % u64::from(RANGE)).unwrap_or(0), left: RANGE }
    }
}

impl Iterator for Numbers {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while 0 < self.left {
            self.left -= 1;
            self.next = (self.next + STEP) % RANGE;
            let nine = format!("999{:06}", self.next);
            let sum: u32 = nine.chars().zip((2..=10).rev()).map(|(digit, weight)| digit.to_digit(10).unwrap_or(0) * weight).sum();
            let check = (11 - sum % 11) % 11;
            if check < 10 && nine != "999999999" {
                return Some(format!("{nine}{check}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::NhsNumber;

    #[test]
    fn no_number_is_given_twice_and_all_of_them_are_valid_test_numbers() {
        let numbers: Vec<String> = Numbers::new(7).collect();
        let valid = numbers.iter().filter(|number| NhsNumber::parse(number).is_ok_and(|number| number.is_test())).count();
        assert_eq!(valid, numbers.len());
        assert!(900_000 <= numbers.len(), "enough for 120 000 births with their mothers: {}", numbers.len());
        assert_eq!(numbers.iter().collect::<std::collections::HashSet<_>>().len(), numbers.len());
    }
}
