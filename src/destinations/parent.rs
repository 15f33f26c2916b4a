//! A parents' record: what may be shown to a parent's account, and everything that stands before it.
//!
//! # The way of an event
//!
//!     refusals, in order ──▶ the allow-list picks facts into `Shown` ──▶ Bundle made of `Shown` alone
//!
//! # Invariants
//!
//! - The Bundle is made of [`Shown`], which has no field for what must not be seen. No text of a message gets into it
//!   but the child's own name; all else is a date, a number, or a code of our own tables.
//! - A doubt withholds. What stays away can be looked at by a hub; what was shown cannot be taken back.
//! - Whatever is withheld has a rule with a stable word ([`RULES`]), and the word says nothing of the child.
//!
//! # Blood spot, held back as a whole
//!
//! An event with one outcome that is not to be shown yet (suspected, carrier, repeat, follow-up, unclassified) is
//! withheld whole, the clear outcomes too. To send the others would show nine conditions where every other child has
//! ten, and the one that is missing is the news. The laboratory and the clinicians tell the family first; what a hub
//! then releases is the hub's act and not this rule's (destination rules, section 3).
//!
//! # Not here
//!
//! Whether something was sent before. Without that memory a deletion, or a correction to something held back, cannot
//! be said to the account, so it is withheld and stays on the hub's list.

use fhir_r4::{
    Concept, Consent, Identifier, IdentifierUse, Measured, Name, NotBuilt, Observation, Patient, Quantity, ReportStatus, When, url,
};
use jiff::{Timestamp, ToSpan};

use super::Withheld;
use super::render::{self, Entries};
use crate::canon::{self, Action, ChildStatus, EventKind, ProxyConsent, ResultStatus};
use crate::outbox::FiledEvent;

/// Every rule that withholds from a parents' record, with what it says (destination rules, section 3; identity rules,
/// sections 4, 7, 8, 9). The words are stable: they stand in traces and in `messages_withheld_total{rule}`.
pub const RULES: [(&str, &str); 26] = [
    ("superseded", "something later was known when it was filed"),
    ("sealed", "the record is sealed: nothing goes out"),
    ("adoption-barrier", "nothing may link to an earlier record"),
    ("merged", "another record goes on in its place"),
    ("stillborn", "born dead"),
    ("deceased", "a death was notified, in the record or in the event"),
    ("invalidated", "the national record says that the number is invalid"),
    ("moved-out", "lives outside the area of all hubs"),
    ("not-active", "known only provisionally"),
    ("birth-needs-review", "a person must look at the birth first"),
    ("identity-unknown", "a pseudo-person"),
    ("no-proxy-consent", "no account has a proxy consent in force"),
    ("aged-out", "the child's own access begins"),
    ("restricted", "restricted or hidden, or a sensitivity that is not known here"),
    ("dissent", "sharing was dissented from"),
    ("unverified-number", "no current NHS number of status 01, or more than one"),
    ("delete-not-sent", "takes back something; nothing is known to have been sent to the account"),
    ("not-on-allow-list", "this kind of event is not shown"),
    ("nothing-to-show", "says nothing of what may be shown"),
    ("placeholder-name", "says nothing but a name that stands in for one"),
    ("needs-review", "a person must look at a result of this kind first"),
    ("wrong-patient", "a result of another child"),
    ("not-final", "a result that is not final"),
    ("hold-back", "an outcome that a clinician tells first"),
    ("unknown-condition", "an outcome for a condition that is not in the table"),
    ("not-rendered", "could not be written as FHIR"),
];

/// Accounts are the child's own from this age on (destination rules, section 3).
const AGE_OUT_YEARS: i64 = 16;

/// NBS statuses that may be shown at once: not suspected, declined, not screened. 05 and 06 (carriers), 07, 08, 03, 10
/// and whatever no table knows are told by a clinician first.
const STATUSES_SHOWN: [&str; 3] = ["02", "04", "09"];
/// Sub-status of 09: not screened because the baby died.
const SUBSTATUS_DIED: &str = "0905";

/// Who an account is, in a Consent.
const ACCOUNT_SYSTEM: &str = "urn:chis-broker:account";

/// The body owed to a parents' record when it was filed, or the rule that withholds it. Pure. One JSON Bundle
/// (R4 transaction), ready for the wire.
///
/// A debt that is paid later asks again by [`parent_record_as_of`], so that a consent that ended meanwhile counts.
pub fn parent_record(event: &FiledEvent, consents: &[ProxyConsent]) -> Result<Vec<u8>, Withheld> {
    parent_record_as_of(event, consents, event.filed)
}

/// The same, with the consents and the child's age judged at `now`.
pub fn parent_record_as_of(event: &FiledEvent, consents: &[ProxyConsent], now: Timestamp) -> Result<Vec<u8>, Withheld> {
    refuse_by_record(event)?;
    let accounts = accounts(consents, now)?;
    refuse_by_age(event, now)?;
    refuse_by_flags(event)?;
    let nhs_number = nhs_number(event)?;
    let shown = Shown { nhs_number, demographics: Demographics::of(&event.record), facts: facts(event)?, accounts };
    shown.bundle(event).map_err(|NotBuilt(_)| withheld("not-rendered"))
}

fn withheld(rule: &'static str) -> Withheld {
    Withheld { rule }
}

fn refuse_if(is_so: bool, rule: &'static str) -> Result<(), Withheld> {
    if is_so { Err(withheld(rule)) } else { Ok(()) }
}

/// Precondition 1: an active child. Also looks at what the event itself says, because a death may be notified by a
/// source that is not believed yet, and is still not to be followed by a birth weight.
fn refuse_by_record(event: &FiledEvent) -> Result<(), Withheld> {
    let (record, said) = (&event.record, &event.statement.child);
    let both = [record, said];
    refuse_if(event.superseded, "superseded")?;
    refuse_if(both.iter().any(|child| child.status == Some(ChildStatus::Sealed)), "sealed")?;
    let severed = |child: &&canon::Child| child.relations.iter().any(|r| r.link_status.as_deref() == Some("adoption_severed"));
    refuse_if(both.iter().any(|child| child.flags.adoption_barrier) || both.iter().any(severed), "adoption-barrier")?;
    refuse_if(record.merged_into.is_some() || record.status == Some(ChildStatus::Merged), "merged")?;
    let stillborn = |child: &&canon::Child| {
        child.birth.is_stillbirth() || child.death.as_ref().is_some_and(|d| d.stillbirth) || child.status == Some(ChildStatus::Stillborn)
    };
    refuse_if(both.iter().any(stillborn), "stillborn")?;
    let dead = |child: &&canon::Child| child.status == Some(ChildStatus::Deceased) || child.birth.live_still.as_deref() == Some("5");
    // Hospitals say "not dead" of every child (PID-30 N); where it took a death back, the record says so.
    let everyday =
        |death: &canon::Death| death.status.as_deref() == Some("removed") && death.ground.as_deref() == Some(canon::Death::INDICATOR);
    let notified = record.death.as_ref().is_some_and(|death| death.status.as_deref() != Some("removed"))
        || said.death.as_ref().is_some_and(|death| !everyday(death));
    refuse_if(both.iter().any(dead) || notified, "deceased")?;
    refuse_if(record.status == Some(ChildStatus::Invalidated), "invalidated")?;
    refuse_if(record.status == Some(ChildStatus::MovedOut), "moved-out")?;
    refuse_if(record.status != Some(ChildStatus::Active), "not-active")?;
    refuse_if(both.iter().any(|child| child.flags.birth_needs_review), "birth-needs-review")?;
    refuse_if(both.iter().any(|child| child.flags.identity_unknown == Some(true)), "identity-unknown")
}

/// Precondition 2: the accounts with a consent in force at `now`, in the order of their ids.
fn accounts(consents: &[ProxyConsent], now: Timestamp) -> Result<Vec<String>, Withheld> {
    let in_force = |consent: &&ProxyConsent| {
        // A bound that cannot be read is no bound that was kept: such a consent is not in force.
        let begun = consent.from.as_ref().is_none_or(|from| from.timestamp().is_some_and(|from| from <= now));
        let open = consent.to.as_ref().is_none_or(|to| to.timestamp().is_some_and(|to| now < to));
        consent.status == "active" && !consent.account_id.is_empty() && begun && open
    };
    let mut accounts: Vec<String> = consents.iter().filter(in_force).map(|consent| consent.account_id.clone()).collect();
    accounts.sort();
    accounts.dedup();
    refuse_if(accounts.is_empty(), "no-proxy-consent")?;
    Ok(accounts)
}

fn refuse_by_age(event: &FiledEvent, now: Timestamp) -> Result<(), Withheld> {
    let Some(born) = event.record.birth.date.as_ref().and_then(canon::Date::civil) else { return Ok(()) };
    let Ok(today) = now.in_tz("Europe/London").map(|at| at.date()) else { return Ok(()) };
    let grown = born.checked_add(AGE_OUT_YEARS.years()).is_ok_and(|birthday| birthday <= today);
    refuse_if(grown, "aged-out")
}

/// Preconditions 3 and 4. A sensitivity this code does not know is taken for a restriction.
fn refuse_by_flags(event: &FiledEvent) -> Result<(), Withheld> {
    for flags in [&event.record.flags, &event.statement.child.flags] {
        let unrestricted = matches!(flags.sensitivity.as_deref(), None | Some("unrestricted"));
        refuse_if(flags.is_restricted() || !unrestricted, "restricted")?;
        refuse_if(flags.share_consent.as_deref() == Some("dissent"), "dissent")?;
    }
    Ok(())
}

/// Precondition 5: one current NHS number, verified.
fn nhs_number(event: &FiledEvent) -> Result<String, Withheld> {
    let current =
        event.record.identifiers.iter().filter(|id| id.system == canon::NHS_NUMBER_SYSTEM && id.usage == canon::IdentifierUse::Current);
    let mut numbers = current.map(|id| (id.nhs_number(), id.status.as_deref()));
    match (numbers.next(), numbers.next()) {
        (Some((Some(number), Some("01"))), None) => Ok(number.to_string()),
        _ => Err(withheld("unverified-number")),
    }
}

/// All that can be shown. There is no field for anything else.
struct Shown {
    nhs_number: String,
    demographics: Demographics,
    facts: Vec<Fact>,
    accounts: Vec<String>,
}

/// Name, date of birth, sex.
struct Demographics {
    name: Option<Name>,
    birth_date: Option<When>,
    sex: Option<canon::Sex>,
}

/// A number or an outcome.
struct Fact {
    /// What it is, for its id.
    what: String,
    code: Concept,
    value: Measured,
    on: Option<When>,
    status: ReportStatus,
}

impl Demographics {
    fn of(record: &canon::Child) -> Self {
        Self { name: shown_name(&record.names), birth_date: render::date(record.birth.date.as_ref()), sex: record.sex }
    }
}

/// The one name a parent knows the child by: never one that stands in for a name, never a former, birth or alias name
/// (which could link to an earlier identity), no titles, no dates.
fn shown_name(names: &[canon::Name]) -> Option<Name> {
    let real = |name: &&canon::Name| {
        let ended = name.period.as_ref().is_some_and(|period| period.end.is_some());
        !name.placeholder && !ended && !name.given.is_empty()
    };
    let of = |usage: Option<&str>| names.iter().filter(real).find(|name| name.usage.as_deref() == usage);
    let name = of(Some("usual")).or_else(|| of(Some("official"))).or_else(|| of(None))?;
    Some(Name { family: name.family.clone(), given: name.given.clone(), ..Name::default() })
}

/// Precondition 6, the allow-list by kind of event: births, blood spot, and demographics.
fn facts(event: &FiledEvent) -> Result<Vec<Fact>, Withheld> {
    let kind = event.statement.event.kind;
    refuse_if(!matches!(kind, EventKind::Person | EventKind::Birth | EventKind::BloodSpot), "not-on-allow-list")?;
    refuse_if(event.statement.event.action == Action::Delete, "delete-not-sent")?;
    match kind {
        EventKind::Birth => Ok(birth_facts(event)),
        EventKind::BloodSpot => blood_spot_facts(event),
        _ => person_facts(event).map(|()| Vec::new()),
    }
}

/// Person details are worth telling only where they say something that may be shown.
fn person_facts(event: &FiledEvent) -> Result<(), Withheld> {
    let said = &event.statement.child;
    let other = said.sex.is_some() || said.birth.date.is_some();
    refuse_if(!other && said.names.is_empty(), "nothing-to-show")?;
    refuse_if(!other && shown_name(&said.names).is_none(), "placeholder-name")
}

/// What the event said of the birth, as the record now has it: another source may know better.
fn birth_facts(event: &FiledEvent) -> Vec<Fact> {
    let (said, birth) = (&event.statement.child.birth, &event.record.birth);
    let on = render::date(birth.date.as_ref());
    let fact =
        |what: &str, code: Concept, value: Measured| Fact { what: format!("birth/{what}"), code, value, on, status: ReportStatus::Final };
    let mut facts = Vec::new();
    if let (Some(_), Some(grams)) = (said.weight_g, birth.weight_g) {
        facts.push(fact("weight", render::snomed("364589006", "birth weight"), quantity(grams.to_string(), "g")));
    }
    if let (Some(_), Some(weeks)) = (said.gestation_weeks, birth.gestation_weeks) {
        facts.push(fact("gestation", render::snomed("268477000", "gestation at birth"), gestation(weeks, birth.gestation_days)));
    }
    for apgar in render::apgar(said, birth) {
        facts.push(fact(apgar.what, render::snomed(apgar.code, apgar.words), Measured::Integer(apgar.score)));
    }
    for measurement in event.statement.reviews.iter().flat_map(|review| &review.measurements) {
        let (what, code) = match measurement.kind.as_str() {
            "length" => ("length", render::snomed("248334005", "length at birth")),
            "head_circumference" => ("head", render::snomed("169876006", "head circumference at birth")),
            _ => continue,
        };
        // The unit comes from a message: only the two that a length is given in are written.
        if let (Ok(_), "cm" | "mm") = (measurement.qty.value.parse::<f64>(), measurement.qty.unit.as_str()) {
            facts.push(fact(what, code, quantity(measurement.qty.value.clone(), &measurement.qty.unit)));
        }
    }
    facts
}

fn quantity(value: String, unit: &str) -> Measured {
    Measured::Quantity(Quantity { value, unit: unit.to_owned() })
}

/// Completed weeks, or days in all where the days over are known.
pub(super) fn gestation(weeks: i64, days: Option<i64>) -> Measured {
    match days {
        Some(days) => quantity(weeks.saturating_mul(7).saturating_add(days).to_string(), "d"),
        None => quantity(weeks.to_string(), "wk"),
    }
}

fn blood_spot_facts(event: &FiledEvent) -> Result<Vec<Fact>, Withheld> {
    let mut facts = Vec::new();
    for result in &event.statement.blood_spots {
        let on = render::day(result.sample.taken.as_ref());
        for outcome in &result.outcomes {
            facts.push(blood_spot_fact(outcome, on)?);
        }
    }
    refuse_if(facts.is_empty(), "nothing-to-show")?;
    Ok(facts)
}

/// One outcome, or the rule that withholds the whole event (see above). Its id is by condition, so that an account
/// sees one outcome for each condition, the last.
fn blood_spot_fact(outcome: &canon::ConditionOutcome, on: Option<When>) -> Result<Fact, Withheld> {
    let status = match outcome.result_status {
        ResultStatus::Final => ReportStatus::Final,
        ResultStatus::Corrected => ReportStatus::Corrected,
        ResultStatus::Deleted => return Err(withheld("delete-not-sent")),
        ResultStatus::WrongPatient => return Err(withheld("wrong-patient")),
        ResultStatus::Prelim | ResultStatus::CannotObtain => return Err(withheld("not-final")),
    };
    let nbs = outcome.nbs_status.as_deref().and_then(|said| STATUSES_SHOWN.iter().find(|shown| **shown == said));
    let died = outcome.nbs_substatus.as_deref() == Some(SUBSTATUS_DIED);
    let doubtful = outcome.flags.iter().any(|flag| flag == "invalid_for_condition");
    let Some(nbs) = nbs.filter(|_| !died && !doubtful) else { return Err(withheld("hold-back")) };
    let known = render::CONDITIONS.iter().find(|(word, ..)| *word == outcome.condition);
    let Some((condition, ..)) = known else { return Err(withheld("unknown-condition")) };
    let what = format!("blood-spot/{condition}");
    Ok(Fact { what, code: render::screening(condition), value: Measured::Concept(render::nbs(nbs)), on, status })
}

impl Shown {
    fn bundle(self, event: &FiledEvent) -> Result<Vec<u8>, NotBuilt> {
        let id = |what: &str| render::id(event.child_id, &format!("parent-record/{what}"));
        let meta = fhir_r4::Meta { version: Some(event.version), ..fhir_r4::Meta::default() };
        let patient = fhir_r4::patient(&Patient {
            meta: meta.clone(),
            identifiers: vec![Identifier {
                system: url::NHS_NUMBER.to_owned(),
                value: self.nhs_number.clone(),
                usage: Some(IdentifierUse::Official),
                verification: Some("01".to_owned()),
                ..Identifier::default()
            }],
            names: self.demographics.name.into_iter().collect(),
            gender: self.demographics.sex.map(render::gender),
            birth_date: self.demographics.birth_date,
            ..Patient::default()
        })?;
        let put = format!("Patient?identifier={}|{}", url::NHS_NUMBER, self.nhs_number);
        let mut entries = Entries::of(id("patient"), patient, put);
        let subject = entries.subject.clone();
        for fact in self.facts {
            let id = id(&fact.what);
            let observation = Observation {
                id: Some(id.to_string()),
                meta: meta.clone(),
                status: fact.status,
                code: fact.code,
                subject: subject.clone(),
                effective: fact.on,
                value: Some(fact.value),
                ..Observation::default()
            };
            entries.push("Observation", id, fhir_r4::observation(&observation))?;
        }
        let account = |value: String| Identifier { system: ACCOUNT_SYSTEM.to_owned(), value, ..Identifier::default() };
        let consent_id = id("consent");
        let consent = Consent { id: Some(consent_id.to_string()), subject, accounts: self.accounts.into_iter().map(account).collect() };
        entries.push("Consent", consent_id, fhir_r4::consent(&consent))?;
        Ok(entries.bundle(event, "parent-record"))
    }
}
