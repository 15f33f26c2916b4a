//! From canonical values to those of `fhir_r4`, and the codes of what is measured: shared by every FHIR rendering.
//!
//! # Invariants
//!
//! - Ids are UUID v5 below the child's own id, by what the resource is: the same fact said again is the same resource,
//!   so that a receiver updates and never collects doubles. Nothing is random, nothing reads a clock.
//! - No decision about who may see what is taken here.

use fhir_r4::{
    Address, AddressUse, Coding, Concept, Entry, Gender, Identifier, IdentifierUse, Name, NameUse, NotBuilt, Period, Telecom, TelecomSystem,
};
use fhir_r4::{TelecomUse, When, url};
use serde_json::Value;
use uuid::Uuid;

use crate::canon;
use crate::names::ChildId;
use crate::outbox::FiledEvent;

/// System of our own ids of children.
pub(super) const CHILD_SYSTEM: &str = "urn:chis-broker:child";
/// System of hub names.
pub(super) const HUB_SYSTEM: &str = "urn:chis-broker:hub";
/// System of NBS blood spot status codes 01 to 10 and their sub-statuses.
pub(super) const NBS_SYSTEM: &str = "urn:chis-broker:nbs-status";

/// System of our words for services: `HV`, `school_nursing`.
pub(super) const SERVICE_SYSTEM: &str = "urn:chis-broker:service";

/// The conditions of the blood spot: our word, SNOMED CT screening procedure, words for people (code tables,
/// "Procedure / test codes").
pub(super) const CONDITIONS: [(&str, &str, &str); 11] = [
    ("PKU", "314081000", "phenylketonuria"),
    ("SCD", "314090007", "sickle cell disease"),
    ("CF", "171191008", "cystic fibrosis"),
    ("CHT", "400984005", "congenital hypothyroidism"),
    ("MCADD", "428056008", "medium-chain acyl-CoA dehydrogenase deficiency"),
    ("HCU", "940201000000107", "homocystinuria"),
    ("MSUD", "940221000000103", "maple syrup urine disease"),
    ("GA1", "940131000000109", "glutaric aciduria type 1"),
    ("IVA", "940151000000102", "isovaleric acidaemia"),
    ("SCID", "1239891000000106", "severe combined immunodeficiency"),
    ("HT1", "2201661000000107", "hereditary tyrosinaemia type 1"),
];

/// What an NBS status means, in the programme's words: never the SNOMED CT text, which says "trait" where none is
/// meant (code tables, "NBS blood spot status codes").
pub(super) fn nbs_meaning(status: &str) -> &'static str {
    match status {
        "01" => "specimen received",
        "02" => "screening declined",
        "03" => "repeat sample needed",
        "04" => "condition not suspected",
        "05" => "carrier",
        "06" => "condition not suspected, carrier of another variant",
        "07" => "condition not suspected, other disorders to follow up",
        "08" => "condition suspected",
        "09" => "not screened",
        "10" => "condition not suspected by DNA, others not excluded",
        _ => "unclassified",
    }
}

/// An Apgar score that was said, as the record has it.
pub(super) struct Apgar {
    pub(super) what: &'static str,
    pub(super) code: &'static str,
    pub(super) words: &'static str,
    pub(super) score: i32,
}

/// The Apgar scores of which `said` speaks, with the values that `now` has.
pub(super) fn apgar(said: &canon::BirthFacts, now: &canon::BirthFacts) -> Vec<Apgar> {
    let scores = [
        ("apgar-1", "169895004", "Apgar score at 1 minute", said.apgar_1.and(now.apgar_1)),
        ("apgar-5", "169909004", "Apgar score at 5 minutes", said.apgar_5.and(now.apgar_5)),
        ("apgar-10", "169922007", "Apgar score at 10 minutes", said.apgar_10.and(now.apgar_10)),
    ];
    let said = scores.into_iter().filter_map(|(what, code, words, score)| Some((what, code, words, i32::try_from(score?).ok()?)));
    said.map(|(what, code, words, score)| Apgar { what, code, words, score }).collect()
}

/// The id of a resource that says `what` of the child.
pub(super) fn id(child: ChildId, what: &str) -> Uuid {
    Uuid::new_v5(&child.0, what.as_bytes())
}

/// Bundle entries in the making, for one child.
#[derive(Debug)]
pub(super) struct Entries {
    /// Reference to the Patient, for all others.
    pub(super) subject: String,
    entries: Vec<Entry>,
}

impl Entries {
    /// Begins with the Patient; `put` says how the receiver finds it.
    pub(super) fn of(patient_id: Uuid, patient: Value, put: String) -> Self {
        let subject = format!("urn:uuid:{patient_id}");
        Self { entries: vec![Entry { full_url: subject.clone(), resource: patient, put }], subject }
    }

    /// Adds a resource that has this id.
    pub(super) fn push(&mut self, kind: &str, id: Uuid, resource: Result<Value, NotBuilt>) -> Result<(), NotBuilt> {
        self.entries.push(Entry { full_url: format!("urn:uuid:{id}"), resource: resource?, put: format!("{kind}/{id}") });
        Ok(())
    }

    /// References to all that is there, for a Provenance.
    pub(super) fn targets(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.full_url.clone()).collect()
    }

    /// The wire form. `purpose` keeps Bundles for different receivers apart.
    pub(super) fn bundle(self, event: &FiledEvent, purpose: &str) -> Vec<u8> {
        let id = Uuid::new_v5(&event.event.0, purpose.as_bytes());
        let filed = canon::Instant::of(event.filed).value;
        fhir_r4::transaction(&id.to_string(), &filed, self.entries).to_string().into_bytes()
    }
}

pub(super) fn when(at: Option<&canon::Instant>) -> Option<When> {
    When::parse(&at?.value)
}

pub(super) fn date(date: Option<&canon::Date>) -> Option<When> {
    When::parse(&date?.value)
}

/// Only the day of a moment, in London.
pub(super) fn day(at: Option<&canon::Instant>) -> Option<When> {
    let at = at?;
    at.date().map_or_else(|| When::parse(&at.value), |date| When::parse(&date.to_string()))
}

pub(super) fn period(period: Option<&canon::Period>) -> Period {
    Period { start: when(period.and_then(|p| p.start.as_ref())), end: when(period.and_then(|p| p.end.as_ref())) }
}

pub(super) fn gender(sex: canon::Sex) -> Gender {
    match sex {
        canon::Sex::Male => Gender::Male,
        canon::Sex::Female => Gender::Female,
        canon::Sex::NotSpecified => Gender::Other,
        canon::Sex::NotKnown => Gender::Unknown,
    }
}

pub(super) fn concept(code: &canon::Code) -> Concept {
    let coding = Coding { system: code.system.clone().unwrap_or_default(), code: code.code.clone(), display: code.display.clone() };
    let coded = !coding.code.is_empty() && !coding.system.is_empty();
    let text = code.text.clone().or_else(|| (!coded && !code.code.is_empty()).then(|| code.code.clone()));
    Concept { codings: if coded { vec![coding] } else { Vec::new() }, text }
}

/// Codes of what is measured (code tables, "Observations").
pub(super) fn measured(kind: &str) -> Concept {
    let (sct, loinc) = match kind {
        "weight" => ("27113001", "29463-7"),
        "height" => ("50373000", "8302-2"),
        "length" => ("248334005", "8306-3"),
        "head_circumference" => ("363812007", "8287-5"),
        _ => return Concept::words(kind),
    };
    let mut code = snomed(sct, &kind.replace('_', " "));
    code.codings.push(Coding { system: "http://loinc.org".to_owned(), code: loinc.to_owned(), display: None });
    code
}

/// A SNOMED CT code with our words beside it.
pub(super) fn snomed(code: &str, words: &str) -> Concept {
    Concept { text: Some(words.to_owned()), ..Concept::coded(url::SNOMED, code, "") }
}

/// What a vaccine protects against: a SNOMED CT code, else its word.
pub(super) fn antigen(antigen: &str) -> Concept {
    let is_code = 6 <= antigen.len() && antigen.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { Concept::coded(url::SNOMED, antigen, "") } else { Concept::words(antigen) }
}

/// The screening for a condition; a condition we have no code for keeps its word.
pub(super) fn screening(condition: &str) -> Concept {
    match CONDITIONS.iter().find(|(word, ..)| *word == condition) {
        Some((_, code, words)) => snomed(code, &format!("newborn blood spot screening: {words}")),
        None => Concept::words(condition),
    }
}

/// An NBS status with its meaning.
pub(super) fn nbs(status: &str) -> Concept {
    Concept { text: Some(nbs_meaning(status).to_owned()), ..Concept::coded(NBS_SYSTEM, status, "") }
}

pub(super) fn identifier(id: &canon::Identifier) -> Identifier {
    let usage = match (id.usage, id.system == canon::NHS_NUMBER_SYSTEM) {
        (canon::IdentifierUse::Current, true) => IdentifierUse::Official,
        (canon::IdentifierUse::Current, false) => IdentifierUse::Secondary,
        _ => IdentifierUse::Old,
    };
    Identifier {
        system: id.system.clone(),
        value: id.value.clone(),
        usage: Some(usage),
        verification: id.status.clone(),
        assigner_ods: id.assigner_ods.clone(),
        period: period(id.period.as_ref()),
    }
}

pub(super) fn name(name: &canon::Name) -> Name {
    let usage = match name.usage.as_deref() {
        _ if name.placeholder => Some(NameUse::Temp),
        Some("usual") => Some(NameUse::Usual),
        Some("official") => Some(NameUse::Official),
        Some("temp") => Some(NameUse::Temp),
        Some("preferred" | "alias") => Some(NameUse::Nickname),
        Some("birth" | "previous") => Some(NameUse::Old),
        Some("maiden" | "bachelor") => Some(NameUse::Maiden),
        _ => None,
    };
    Name {
        usage,
        family: name.family.clone(),
        given: name.given.clone(),
        prefix: name.prefix.clone(),
        suffix: name.suffix.clone(),
        period: period(name.period.as_ref()),
    }
}

pub(super) fn address(address: &canon::Address) -> Address {
    let usage = match address.usage.as_deref() {
        Some("home") => Some(AddressUse::Home),
        Some("temp") => Some(AddressUse::Temp),
        Some("old") => Some(AddressUse::Old),
        _ => None,
    };
    Address {
        usage,
        lines: address.lines.clone(),
        postcode: address.postcode.clone(),
        text: address.text.clone(),
        period: period(address.period.as_ref()),
    }
}

pub(super) fn telecom(telecom: &canon::Telecom) -> Telecom {
    Telecom {
        system: match telecom.system.as_deref() {
            Some("phone") => Some(TelecomSystem::Phone),
            Some("sms") => Some(TelecomSystem::Sms),
            Some("email") => Some(TelecomSystem::Email),
            _ => None,
        },
        usage: match telecom.usage.as_deref() {
            Some("home") => Some(TelecomUse::Home),
            Some("mobile") => Some(TelecomUse::Mobile),
            Some("work") => Some(TelecomUse::Work),
            Some("temp") => Some(TelecomUse::Temp),
            _ => None,
        },
        value: telecom.value.clone(),
        rank: telecom.rank.and_then(|rank| u32::try_from(rank).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_without_a_system_is_written_as_words_and_never_as_a_coding() {
        let bare = canon::Code { code: "CLEAR".to_owned(), ..canon::Code::default() };
        assert_eq!(concept(&bare), Concept::words("CLEAR"));
        let coded = canon::Code { system: Some(url::SNOMED.to_owned()), code: "1".to_owned(), ..canon::Code::default() };
        assert_eq!(concept(&coded).codings.len(), 1);
    }

    #[test]
    fn the_day_of_a_moment_is_the_day_in_london() {
        let late = canon::Instant { value: "2026-06-30T23:30:00Z".to_owned(), precision: canon::Precision::Second, raw: None };
        assert_eq!(day(Some(&late)), When::parse("2026-07-01"));
        let month = canon::Instant { value: "2026-06".to_owned(), precision: canon::Precision::Month, raw: None };
        assert_eq!(day(Some(&month)), When::parse("2026-06"));
    }
}
