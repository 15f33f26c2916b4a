//! A whole record: what a child health hub (or a region) is sent of an event.
//!
//! # In the Bundle
//!
//!     Patient        conditional update by our own id: the merged record after the event
//!     RelatedPerson  mother, father, guardians
//!     Observation, DiagnosticReport, Procedure, Immunization   what this event said, and nothing it did not say
//!     Appointment, DocumentReference, EpisodeOfCare, Task      (`services`); of a document its hash, never its content
//!     Provenance     who said it, in which message, and that we assembled it
//!
//! # Invariants
//!
//! - A deletion is the same resources with the status `entered-in-error`: nothing is ever deleted (destination rules,
//!   section 1).
//! - Nothing goes out of a sealed record, no relation of a child behind an adoption barrier or severed by an adoption,
//!   and no replaced or withdrawn identifier of such a child.
//! - A hub that is only interested gets no identifier of another person (destination rules, section 5).
//! - An event that came too late (superseded) carries the record as it is, and none of its own old facts.

mod services;

use fhir_r4::{
    Coding, Concept, Deceased, DiagnosticReport, Identifier, Immunization, Measured, Meta, MultipleBirth, NotBuilt, Observation, Patient,
    Procedure, ProcedureStatus, Provenance, Quantity, RelatedPerson, ReportStatus, When, url,
};
use uuid::Uuid;

use super::parent::gestation;
use super::render::{self, CHILD_SYSTEM, Entries, HUB_SYSTEM};
use crate::canon::{
    self, Action, Child, ChildStatus, EventKind, HearingScreen, ImmunisationStatus, NipeExam, NipeFinding, ResultStatus, Review,
};
use crate::outbox::FiledEvent;

/// System of facts for which there is no public code.
const LOCAL_SYSTEM: &str = "urn:chis-broker:fact";

/// For whom a whole record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The hub that is responsible: all that it needs to find and call the family.
    Responsible,
    /// A hub that gets a copy, or a region: no identifiers of other persons.
    Interested,
}

/// The body owed to the responsible hub. Pure. Empty where nothing may go out or nothing could be written: an empty
/// body is never sent, it holds the debt ([`super::Receiver::pay`]).
pub fn whole_record(event: &FiledEvent) -> Vec<u8> {
    whole_record_for(event, Audience::Responsible)
}

/// The same for the audience named.
pub fn whole_record_for(event: &FiledEvent, audience: Audience) -> Vec<u8> {
    if event.record.status == Some(ChildStatus::Sealed) {
        return Vec::new();
    }
    Drawing::of(event, audience).bundle().unwrap_or_default()
}

/// One Bundle in the making.
struct Drawing<'a> {
    event: &'a FiledEvent,
    audience: Audience,
    /// True where the event takes back what it names.
    deleted: bool,
    meta: Meta,
    publisher: String,
}

impl<'a> Drawing<'a> {
    fn of(event: &'a FiledEvent, audience: Audience) -> Self {
        let meta = Meta { version: Some(event.version), source: Some(message_uri(&event.control_id)), ..Meta::default() };
        let publisher = event.statement.event.publisher.clone().unwrap_or_else(|| event.source.to_string());
        Self { event, audience, deleted: event.statement.event.action == Action::Delete, meta, publisher }
    }

    fn bundle(&self) -> Result<Vec<u8>, NotBuilt> {
        let child = self.event.child_id;
        let put = format!("Patient?identifier={CHILD_SYSTEM}|{child}");
        let mut entries = Entries::of(child.0, self.patient()?, put);
        self.relations(&mut entries)?;
        if !self.event.superseded {
            let said = &self.event.statement;
            if said.event.kind == EventKind::Birth {
                self.birth(&mut entries)?;
            }
            self.blood_spots(&mut entries)?;
            said.hearing_screens.iter().try_for_each(|screen| self.hearing(screen, &mut entries))?;
            said.nipe_exams.iter().try_for_each(|exam| self.nipe(exam, &mut entries))?;
            said.immunisations.iter().try_for_each(|given| self.immunisation(given, &mut entries))?;
            said.reviews.iter().try_for_each(|review| self.review(review, &mut entries))?;
            self.services(&mut entries)?;
        }
        self.provenance(&mut entries)?;
        Ok(entries.bundle(self.event, "record"))
    }

    /// The id of an aggregate: below the child, by publisher and the publisher's key; without a key, by the event.
    fn id(&self, aggregate: &str, key: Option<&str>, part: &str) -> Uuid {
        let key = key.or(self.event.statement.event.key.as_deref()).map_or_else(|| self.event.event.to_string(), str::to_owned);
        render::id(self.event.child_id, &format!("{aggregate}\u{1f}{}\u{1f}{key}\u{1f}{part}", self.publisher))
    }

    /// The publisher's own id of an aggregate.
    fn key(&self, key: Option<&str>) -> Vec<Identifier> {
        let key = key.or(self.event.statement.event.key.as_deref());
        let system = format!("urn:chis-broker:publisher:{}", percent(&self.publisher));
        key.map(|value| Identifier { system, value: value.to_owned(), ..Identifier::default() }).into_iter().collect()
    }

    fn patient(&self) -> Result<serde_json::Value, NotBuilt> {
        let record = &self.event.record;
        let own = Identifier { system: CHILD_SYSTEM.to_owned(), value: self.event.child_id.to_string(), ..Identifier::default() };
        let barrier = record.flags.adoption_barrier;
        let shown = record.identifiers.iter().filter(|id| !barrier || id.usage == canon::IdentifierUse::Current);
        let names = record
            .names
            .iter()
            .filter(|name| !barrier || !matches!(name.usage.as_deref(), Some("previous" | "birth" | "maiden" | "alias")));
        let mut meta = self.meta.clone();
        if record.flags.is_restricted() {
            meta.security.push(Coding {
                system: url::CONFIDENTIALITY.to_owned(),
                code: "R".to_owned(),
                display: Some("restricted".to_owned()),
            });
        }
        fhir_r4::patient(&Patient {
            id: Some(self.event.child_id.to_string()),
            meta,
            identifiers: std::iter::once(own).chain(shown.map(render::identifier)).collect(),
            active: Some(record.merged_into.is_none() && record.status != Some(ChildStatus::Merged)),
            names: names.map(render::name).collect(),
            telecoms: record.telecoms.iter().map(render::telecom).collect(),
            gender: record.sex.map(render::gender),
            birth_date: render::date(record.birth.date.as_ref()),
            birth_time: render::when(record.birth.time.as_ref()),
            deceased: deceased(record),
            addresses: record.addresses.iter().map(render::address).collect(),
            multiple_birth: multiple_birth(&record.birth),
            gp_practice_ods: record.gp.as_ref().and_then(|gp| gp.practice_ods.clone()),
            managing: record.hub.as_ref().map(|hub| Identifier {
                system: HUB_SYSTEM.to_owned(),
                value: hub.hub.to_string(),
                ..Identifier::default()
            }),
            ethnic_category: record.ethnic_category.clone(),
            replaced_by: record.merged_into.filter(|_| !barrier).map(|other| format!("Patient/{other}")),
        })
    }

    fn relations(&self, entries: &mut Entries) -> Result<(), NotBuilt> {
        if self.event.record.flags.adoption_barrier {
            return Ok(());
        }
        let kept = self.event.record.relations.iter().filter(|relation| relation.link_status.as_deref() != Some("adoption_severed"));
        for (place, relation) in kept.enumerate() {
            // One of a kind is the rule; a second guardian is told apart by its place.
            let id = render::id(self.event.child_id, &format!("relation/{}/{place}", relation.kind));
            let identifiers = match self.audience {
                Audience::Responsible => relation.identifiers.iter().map(render::identifier).collect(),
                Audience::Interested => Vec::new(),
            };
            let person = fhir_r4::related_person(&RelatedPerson {
                id: Some(id.to_string()),
                meta: self.meta.clone(),
                active: Some(relation.link_status.as_deref() != Some("ended")),
                subject: entries.subject.clone(),
                relationship: relationship(&relation.kind),
                identifiers,
                names: relation.name.iter().map(render::name).collect(),
                telecoms: relation.telecoms.iter().map(render::telecom).collect(),
                gender: relation.sex.map(render::gender),
                birth_date: render::date(relation.birth_date.as_ref()),
                addresses: relation.address.iter().map(render::address).collect(),
                period: render::period(relation.period.as_ref()),
            });
            entries.push("RelatedPerson", id, person)?;
        }
        Ok(())
    }

    fn status(&self, said: ResultStatus) -> ReportStatus {
        match said {
            _ if self.deleted => ReportStatus::EnteredInError,
            ResultStatus::Deleted | ResultStatus::WrongPatient => ReportStatus::EnteredInError,
            ResultStatus::Final => ReportStatus::Final,
            ResultStatus::Corrected => ReportStatus::Corrected,
            ResultStatus::Prelim => ReportStatus::Preliminary,
            ResultStatus::CannotObtain => ReportStatus::Cancelled,
        }
    }

    fn act_status(&self) -> ProcedureStatus {
        if self.deleted { ProcedureStatus::EnteredInError } else { ProcedureStatus::Completed }
    }

    /// Facts of the birth that this event said, as the record has them now; of a deletion, as the event named them.
    fn birth(&self, entries: &mut Entries) -> Result<(), NotBuilt> {
        let said = &self.event.statement.child.birth;
        let now = if self.deleted { said } else { &self.event.record.birth };
        let on = render::when(now.time.as_ref()).or_else(|| render::date(now.date.as_ref()));
        for fact in birth_facts(said, now) {
            let id = render::id(self.event.child_id, &format!("birth/{}", fact.what));
            let observation = fhir_r4::observation(&Observation {
                id: Some(id.to_string()),
                meta: self.meta.clone(),
                status: self.status(ResultStatus::Final),
                code: fact.code,
                subject: entries.subject.clone(),
                effective: on,
                value: Some(fact.value),
                ..Observation::default()
            });
            entries.push("Observation", id, observation)?;
        }
        Ok(())
    }

    fn blood_spots(&self, entries: &mut Entries) -> Result<(), NotBuilt> {
        let said = &self.event.statement;
        for result in &said.blood_spots {
            self.blood_spot(result, entries)?;
        }
        // A deletion may name no more than the key of what it takes back.
        if self.deleted && said.event.kind == EventKind::BloodSpot && said.blood_spots.is_empty() {
            self.blood_spot(&canon::BloodSpotResult::default(), entries)?;
        }
        Ok(())
    }

    fn blood_spot(&self, result: &canon::BloodSpotResult, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = result.key.as_deref();
        let taken = render::when(result.sample.taken.as_ref());
        let issued = render::when(result.received_at.as_ref());
        let mut references = Vec::new();
        for outcome in &result.outcomes {
            let id = self.id("blood-spot", key, &outcome.condition);
            references.push(format!("urn:uuid:{id}"));
            let observation = fhir_r4::observation(&Observation {
                id: Some(id.to_string()),
                meta: self.meta.clone(),
                status: self.status(outcome.result_status),
                category: Some("laboratory"),
                code: screening_code(outcome),
                subject: entries.subject.clone(),
                effective: taken,
                issued,
                performer_ods: result.sample.lab_ods.clone(),
                value: outcome_value(outcome).map(Measured::Concept),
                notes: outcome.flags.clone(),
                ..Observation::default()
            });
            entries.push("Observation", id, observation)?;
        }
        let id = self.id("blood-spot", key, "report");
        let mut identifiers = self.key(key);
        let card = result.sample.card_no.iter().map(|card| ("urn:chis-broker:blood-spot-card", card));
        let accession = result.sample.accession.iter().map(|accession| ("urn:chis-broker:lab-accession", accession));
        identifiers.extend(card.chain(accession).map(|(system, value)| Identifier {
            system: system.to_owned(),
            value: value.clone(),
            ..Identifier::default()
        }));
        let corrected = result.outcomes.iter().any(|outcome| outcome.result_status == ResultStatus::Corrected);
        let report = fhir_r4::diagnostic_report(&DiagnosticReport {
            id: Some(id.to_string()),
            meta: self.meta.clone(),
            identifiers,
            status: self.status(if corrected { ResultStatus::Corrected } else { ResultStatus::Final }),
            category: Some("LAB"),
            code: Concept { text: Some("newborn blood spot screening".to_owned()), ..Concept::coded(LOCAL_SYSTEM, "NBS", "") },
            subject: entries.subject.clone(),
            effective: taken,
            issued,
            performer_ods: result.sample.lab_ods.clone(),
            results: references,
            conclusion: result.comment.clone(),
        });
        entries.push("DiagnosticReport", id, report)
    }

    fn act(&self, entries: &mut Entries, id: Uuid, key: Option<&str>, act: Procedure) -> Result<(), NotBuilt> {
        let built = fhir_r4::procedure(&Procedure {
            id: Some(id.to_string()),
            meta: self.meta.clone(),
            identifiers: self.key(key),
            status: self.act_status(),
            subject: entries.subject.clone(),
            ..act
        });
        entries.push("Procedure", id, built)
    }

    fn hearing(&self, screen: &HearingScreen, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = screen.key.as_deref();
        for (place, test) in screen.tests.iter().enumerate() {
            let (code, words) = match test.kind.as_deref() {
                Some("AABR") => ("413083006", "automated auditory brainstem response"),
                _ => ("446077009", "automated otoacoustic emission"),
            };
            let act = Procedure {
                code: render::snomed(code, words),
                performed: render::when(test.at.as_ref().or(screen.at.as_ref())),
                body_site: test.ear.as_deref().map(|ear| Concept::words(&format!("{ear} ear"))),
                outcome: test.result.as_ref().map(render::concept),
                ..Procedure::default()
            };
            self.act(entries, self.id("hearing", key, &format!("test-{place}")), key, act)?;
        }
        let id = self.id("hearing", key, "summary");
        let summary = fhir_r4::observation(&Observation {
            id: Some(id.to_string()),
            meta: self.meta.clone(),
            identifiers: self.key(key),
            status: self.status(ResultStatus::Final),
            code: render::snomed("276771000000107", "newborn hearing screening outcome"),
            subject: entries.subject.clone(),
            effective: render::when(screen.summary_at.as_ref().or(screen.at.as_ref())),
            performer_ods: screen.site.clone(),
            value: screen.summary.as_ref().map(|code| Measured::Concept(render::concept(code))),
            notes: screen.comment.iter().cloned().collect(),
            ..Observation::default()
        });
        entries.push("Observation", id, summary)
    }

    fn nipe(&self, exam: &NipeExam, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = exam.key.as_deref();
        let kind = exam.kind.as_deref().unwrap_or("physical examination");
        let organs = [
            ("eyes", "988361000000105", &exam.eyes),
            ("heart", "988351000000107", &exam.heart),
            ("hips", "985531000000102", &exam.hips),
            ("testes", "988371000000103", &exam.testes),
        ];
        let found = organs.into_iter().filter_map(|(organ, code, finding)| Some((organ, code, finding.as_ref()?)));
        for (organ, code, finding) in found {
            let act = Procedure {
                code: render::snomed(code, &format!("{kind}: {organ}")),
                performed: render::when(exam.at.as_ref()),
                body_site: finding.side.as_deref().map(Concept::words),
                outcome: Some(nipe_outcome(finding)),
                notes: finding.risk.iter().chain(exam.comment.iter()).cloned().collect(),
                ..Procedure::default()
            };
            self.act(entries, self.id("nipe", key, organ), key, act)?;
        }
        Ok(())
    }

    fn immunisation(&self, given: &canon::Immunisation, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = given.key.as_deref();
        let id = self.id("immunisation", key, "");
        let status = match given.status {
            _ if self.deleted => ProcedureStatus::EnteredInError,
            ImmunisationStatus::Completed => ProcedureStatus::Completed,
            ImmunisationStatus::NotDone => ProcedureStatus::NotDone,
            ImmunisationStatus::EnteredInError => ProcedureStatus::EnteredInError,
        };
        let vaccine = given.vaccine.as_ref().or(given.procedure.as_ref()).map(render::concept);
        let built = fhir_r4::immunization(&Immunization {
            id: Some(id.to_string()),
            meta: self.meta.clone(),
            identifiers: self.key(key),
            status,
            status_reason: given.reason_not_given.as_ref().map(render::concept),
            vaccine: vaccine.unwrap_or_else(|| Concept::words("not said")),
            procedure: given.procedure.as_ref().map(render::concept),
            subject: entries.subject.clone(),
            occurrence: render::when(given.occurrence.as_ref()),
            recorded: render::when(given.recorded.as_ref()),
            primary_source: given.primary_source,
            report_origin: given.report_origin.as_ref().map(render::concept),
            location_ods: given.location_ods.clone(),
            batch: given.batch.clone(),
            expiry: render::date(given.expiry.as_ref()),
            site: given.site.as_ref().map(render::concept),
            route: given.route.as_ref().map(render::concept),
            dose: given.dose_qty.as_ref().map(|dose| Quantity { value: dose.value.clone(), unit: dose.unit.clone() }),
            subpotent: given.subpotent,
            dose_number: given.dose_number.and_then(|number| u32::try_from(number).ok()),
            target_diseases: given.antigens.iter().map(|antigen| render::antigen(antigen)).collect(),
            reason: given.reason.as_ref().map(render::concept),
        });
        entries.push("Immunization", id, built)
    }

    fn review(&self, review: &Review, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = review.key.as_deref();
        let mut facts: Vec<Fact> = Vec::new();
        for measurement in &review.measurements {
            let value = Measured::Quantity(Quantity { value: measurement.qty.value.clone(), unit: measurement.qty.unit.clone() });
            let code = render::measured(&measurement.kind);
            facts.push(Fact { what: format!("measurement/{}", measurement.kind), code, value });
        }
        for score in &review.scores {
            let words = [Some(score.instrument.clone()), score.domain.clone(), score.months.map(|months| format!("{months} months"))];
            let words = words.into_iter().flatten().collect::<Vec<_>>().join(", ");
            if let Ok(value) = i32::try_from(score.value) {
                facts.push(Fact { what: format!("score/{words}"), code: Concept::words(&words), value: Measured::Integer(value) });
            }
        }
        let texts = [
            ("type", &review.kind),
            ("mode", &review.mode),
            ("attended", &review.attended),
            ("feeding", &review.feeding),
            ("comment", &review.comment),
        ];
        facts.extend(texts.into_iter().filter_map(|(what, text)| local(&format!("review-{what}"), text.clone())));
        facts.extend(review.concerns.iter().enumerate().filter_map(|(place, concern)| {
            local("review-concern", Some(concern.clone())).map(|fact| Fact { what: format!("{}-{place}", fact.what), ..fact })
        }));
        for fact in facts {
            let id = self.id("review", key, &fact.what);
            let observation = fhir_r4::observation(&Observation {
                id: Some(id.to_string()),
                meta: self.meta.clone(),
                identifiers: self.key(key),
                status: self.status(ResultStatus::Final),
                code: fact.code,
                subject: entries.subject.clone(),
                effective: render::when(review.at.as_ref()),
                performer_ods: review.site.clone(),
                value: Some(fact.value),
                ..Observation::default()
            });
            entries.push("Observation", id, observation)?;
        }
        Ok(())
    }

    fn provenance(&self, entries: &mut Entries) -> Result<(), NotBuilt> {
        let recorded = canon::Instant::of(self.event.filed).value;
        let recorded = When::parse(&recorded).ok_or_else(|| NotBuilt("the time of filing is no moment".to_owned()))?;
        let named = |system: &str, value: &str| Identifier { system: system.to_owned(), value: value.to_owned(), ..Identifier::default() };
        let id = Uuid::new_v5(&self.event.event.0, b"provenance");
        let built = fhir_r4::provenance(&Provenance {
            id: Some(id.to_string()),
            targets: entries.targets(),
            occurred: render::when(self.event.statement.event.at.as_ref()),
            recorded,
            author: named("urn:chis-broker:source", self.event.source.as_str()),
            assembler: named("urn:chis-broker:software", "chis-broker"),
            source: named("urn:chis-broker:control-id", &self.event.control_id),
            activity: match self.event.statement.event.action {
                Action::New => "CREATE",
                Action::Update => "UPDATE",
                Action::Delete => "NULLIFY",
            },
        });
        entries.push("Provenance", id, built)
    }
}

/// A fact of the birth or of a review.
struct Fact {
    what: String,
    code: Concept,
    value: Measured,
}

/// A fact in the sender's words or code, under a code of our own.
fn local(what: &str, value: Option<String>) -> Option<Fact> {
    let code = Concept { text: Some(what.replace('-', " ")), ..Concept::coded(LOCAL_SYSTEM, what, "") };
    Some(Fact { what: what.to_owned(), code, value: Measured::Text(value?) })
}

/// Facts of which `said` speaks, with the values that `now` has.
fn birth_facts(said: &canon::BirthFacts, now: &canon::BirthFacts) -> Vec<Fact> {
    let both = |said: Option<i64>, now: Option<i64>| said.and(now);
    let coded =
        |what: &str, code: &str, words: &str, value: Measured| Fact { what: what.to_owned(), code: render::snomed(code, words), value };
    let mut facts = Vec::new();
    if let Some(grams) = both(said.weight_g, now.weight_g) {
        let value = Measured::Quantity(Quantity { value: grams.to_string(), unit: "g".to_owned() });
        facts.push(coded("weight", "364589006", "birth weight", value));
    }
    if let Some(weeks) = both(said.gestation_weeks, now.gestation_weeks) {
        facts.push(coded("gestation", "268477000", "gestation at birth", gestation(weeks, now.gestation_days)));
    }
    if let Some(births) = both(said.births_in_confinement, now.births_in_confinement).and_then(|births| i32::try_from(births).ok()) {
        facts.push(coded("births", "246435002", "number of babies", Measured::Integer(births)));
    }
    facts.extend(
        render::apgar(said, now).into_iter().map(|apgar| coded(apgar.what, apgar.code, apgar.words, Measured::Integer(apgar.score))),
    );
    // Systems as in the birth record of the national demographics service (R4, section 2).
    let national = [
        ("live-still", "237364002", "live or still birth", "urn:oid:2.16.840.1.113883.2.1.3.2.4.17.172", &said.live_still, &now.live_still),
        (
            "anomaly",
            "66091009",
            "suspected congenital anomaly",
            "urn:oid:2.16.840.1.113883.2.1.3.2.4.17.171",
            &said.congenital_anomaly,
            &now.congenital_anomaly,
        ),
    ];
    for (what, code, words, system, said, now) in national {
        if let (Some(_), Some(now)) = (said, now) {
            facts.push(coded(what, code, words, Measured::Concept(Concept::coded(system, now, ""))));
        }
    }
    let texts = [
        ("birth-place", &said.place_ods, &now.place_ods),
        ("birth-place-type", &said.place_type, &now.place_type),
        ("birth-place-text", &said.place_text, &now.place_text),
        ("delivery-method", &said.delivery_method, &now.delivery_method),
        ("resuscitation", &said.resuscitation, &now.resuscitation),
        ("neonatal-care-level", &said.neonatal_care_level, &now.neonatal_care_level),
        ("responsible-child-health-organisation", &said.responsible_cho, &now.responsible_cho),
        ("partner-child-health-organisation", &said.partner_cho, &now.partner_cho),
        ("registering-authority", &said.registering_authority, &now.registering_authority),
    ];
    facts.extend(texts.into_iter().filter_map(|(what, said, now)| said.as_ref().and_then(|_| local(what, now.clone()))));
    facts
}

fn deceased(record: &Child) -> Option<Deceased> {
    let stillborn = record.birth.is_stillbirth() || record.status == Some(ChildStatus::Stillborn);
    let Some(death) = record.death.as_ref() else { return stillborn.then_some(Deceased::Said(true)) };
    if death.status.as_deref() == Some("removed") {
        return Some(Deceased::Said(false));
    }
    Some(render::when(death.date_time.as_ref()).map_or(Deceased::Said(true), Deceased::At))
}

/// Which of several; 8 and 9 say that nobody knows (R4, section 3).
fn multiple_birth(birth: &canon::BirthFacts) -> Option<MultipleBirth> {
    let order = birth.birth_order.filter(|order| (1..=7).contains(order)).and_then(|order| i32::try_from(order).ok());
    match order.filter(|_| birth.is_multiple()) {
        Some(order) => Some(MultipleBirth::Order(order)),
        None if birth.is_multiple() => Some(MultipleBirth::Said(true)),
        None => birth.multiple.map(MultipleBirth::Said),
    }
}

fn relationship(kind: &str) -> Concept {
    let role = "http://terminology.hl7.org/CodeSystem/v3-RoleCode";
    match kind {
        canon::Relation::MOTHER => Concept::coded(role, "NMTH", "natural mother"),
        "13" => Concept::coded(role, "FTH", "father"),
        "05" => Concept::coded(role, "GUARD", "guardian"),
        other => Concept::coded("urn:chis-broker:person-relationship", other, ""),
    }
}

/// The sender's procedure code stands beside ours where it is another one.
fn screening_code(outcome: &canon::ConditionOutcome) -> Concept {
    let mut code = render::screening(&outcome.condition);
    if let Some(said) = outcome.procedure_code.as_ref().filter(|said| code.codings.iter().all(|coding| coding.code != **said)) {
        code.codings.push(Coding { system: url::SNOMED.to_owned(), code: said.clone(), display: None });
    }
    code
}

fn outcome_value(outcome: &canon::ConditionOutcome) -> Option<Concept> {
    let mut value = outcome.nbs_status.as_deref().map(render::nbs).unwrap_or_default();
    let more = [(render::NBS_SYSTEM, &outcome.nbs_substatus, None), (url::SNOMED, &outcome.outcome_code, outcome.outcome_text.clone())];
    for (system, code, display) in more {
        if let Some(code) = code {
            value.codings.push(Coding { system: system.to_owned(), code: code.clone(), display });
        }
    }
    if value.text.is_none() {
        value.text = outcome.outcome_text.clone();
    }
    (value != Concept::default()).then_some(value)
}

fn nipe_outcome(finding: &NipeFinding) -> Concept {
    let mut outcome = finding.code.as_ref().map(render::concept).unwrap_or_default();
    outcome.text = finding.status.clone().or(outcome.text);
    outcome
}

/// The message as a URI.
fn message_uri(control_id: &str) -> String {
    format!("urn:chis-broker:message:{}", percent(control_id))
}

/// Everything that a URI or a header may not hold, percent-encoded.
pub(super) fn percent(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::canon::{Address, Death, Flags, HubAssignment, HubBasis, Identifier as Id, IdentifierUse, Name, Relation};
    use crate::destinations::fixture::{event, moment, nhs, on};

    fn sent(event: &FiledEvent) -> Value {
        serde_json::from_slice(&whole_record(event)).unwrap()
    }

    fn resources<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
        let entries = bundle["entry"].as_array().unwrap();
        entries.iter().map(|entry| &entry["resource"]).filter(|resource| resource["resourceType"] == kind).collect()
    }

    fn mother() -> Relation {
        Relation {
            kind: "12".to_owned(),
            name: Some(Name { family: Some("EXAMPLE".to_owned()), given: vec!["Mary".to_owned()], ..Name::default() }),
            identifiers: vec![nhs("9990000026", "01")],
            birth_date: Some(on("1996-05-05")),
            ..Relation::default()
        }
    }

    #[test]
    fn a_birth_is_a_patient_its_facts_and_where_they_came_from() {
        let mut birth = event(EventKind::Birth);
        birth.record.relations = vec![mother()];
        birth.record.hub = Some(HubAssignment { hub: "NE".into(), basis: HubBasis::Gp, interested: Vec::new(), left: None });
        let bundle = sent(&birth);
        assert_eq!(bundle["type"], "transaction");
        let patient = resources(&bundle, "Patient")[0];
        assert_eq!(bundle["entry"][0]["request"]["url"], format!("Patient?identifier={CHILD_SYSTEM}|{}", birth.child_id));
        assert_eq!(patient["meta"], serde_json::json!({ "versionId": "3", "source": "urn:chis-broker:message:MSG00007" }));
        assert_eq!(patient["managingOrganization"]["identifier"]["value"], "NE");
        let weight = resources(&bundle, "Observation").into_iter().find(|fact| fact["code"]["coding"][0]["code"] == "364589006").unwrap();
        assert_eq!(weight["valueQuantity"]["value"], 3420);
        assert_eq!(weight["subject"]["reference"], bundle["entry"][0]["fullUrl"]);
        assert_eq!(resources(&bundle, "RelatedPerson")[0]["identifier"][0]["value"], "9990000026");
        let provenance = resources(&bundle, "Provenance")[0];
        assert_eq!(provenance["entity"][0]["what"]["identifier"]["value"], "MSG00007");
        assert_eq!(provenance["recorded"], "2026-04-07T09:00:00Z");
        assert_eq!(provenance["target"].as_array().unwrap().len(), bundle["entry"].as_array().unwrap().len() - 1, "all but itself");
    }

    #[test]
    fn only_what_the_event_said_is_sent_and_a_better_source_is_believed() {
        let mut birth = event(EventKind::Birth);
        birth.statement.child.birth.apgar_1 = None;
        birth.statement.child.birth.weight_g = Some(3000);
        let bytes = String::from_utf8(whole_record(&birth)).unwrap();
        assert!(!bytes.contains("169895004"), "not said, not sent");
        assert!(bytes.contains("3420") && !bytes.contains("3000"), "the record knows better than this event");
        birth.superseded = true;
        let late = sent(&birth);
        assert!(resources(&late, "Observation").is_empty(), "what came too late changes nothing");
        assert_eq!(resources(&late, "Patient").len(), 1);
    }

    #[test]
    fn a_blood_spot_has_a_report_and_an_observation_for_each_condition() {
        let spot = event(EventKind::BloodSpot);
        let bundle = sent(&spot);
        let facts = resources(&bundle, "Observation");
        assert_eq!(facts.len(), 2);
        assert_eq!(facts[0]["status"], "final");
        assert_eq!(facts[0]["valueCodeableConcept"]["coding"][0]["code"], "04");
        assert_eq!(facts[0]["effectiveDateTime"], "2026-04-06T11:00:00+01:00");
        let report = resources(&bundle, "DiagnosticReport")[0];
        assert_eq!(report["result"].as_array().unwrap().len(), 2);
        assert_eq!(report["identifier"][0]["value"], "acc-1");
    }

    #[test]
    fn a_deletion_is_the_same_resources_entered_in_error() {
        let spot = event(EventKind::BloodSpot);
        let mut deletion = spot.clone();
        deletion.event = crate::names::EventId(Uuid::from_u128(0xd));
        deletion.statement.event.action = Action::Delete;
        let ids = |bundle: &Value| resources(bundle, "Observation").iter().map(|fact| fact["id"].clone()).collect::<Vec<_>>();
        let (before, after) = (sent(&spot), sent(&deletion));
        assert_eq!(ids(&before), ids(&after));
        for resource in resources(&after, "Observation").into_iter().chain(resources(&after, "DiagnosticReport")) {
            assert_eq!(resource["status"], "entered-in-error");
        }
        assert!(!String::from_utf8(whole_record(&deletion)).unwrap().contains("\"DELETE\""));
        // A deletion that names no outcome takes the report back by its key.
        deletion.statement.event.key = Some("acc-1".to_owned());
        deletion.statement.blood_spots.clear();
        let bare = sent(&deletion);
        assert_eq!(resources(&bare, "DiagnosticReport")[0]["id"], resources(&before, "DiagnosticReport")[0]["id"]);
        assert_eq!(resources(&bare, "DiagnosticReport")[0]["status"], "entered-in-error");
    }

    #[test]
    fn an_interested_hub_gets_no_identifier_of_another_person() {
        let mut birth = event(EventKind::Birth);
        birth.record.relations = vec![mother()];
        let of = |audience| String::from_utf8(whole_record_for(&birth, audience)).unwrap();
        assert!(of(Audience::Responsible).contains("9990000026"));
        assert!(!of(Audience::Interested).contains("9990000026"));
        assert!(of(Audience::Interested).contains("Mary"));
    }

    #[test]
    fn an_adoption_leaves_no_thread_to_what_was_before() {
        let mut birth = event(EventKind::Birth);
        let old = Id { usage: IdentifierUse::Superseded, ..nhs("9990000034", "01") };
        birth.record.identifiers.push(old);
        birth.record.names.push(Name { family: Some("FORMER".to_owned()), usage: Some("previous".to_owned()), ..Name::default() });
        birth.record.relations = vec![mother(), Relation { link_status: Some("adoption_severed".to_owned()), ..mother() }];
        assert_eq!(resources(&sent(&birth), "RelatedPerson").len(), 1, "a severed relation is not sent");
        birth.record.flags.adoption_barrier = true;
        let bytes = String::from_utf8(whole_record(&birth)).unwrap();
        for thread in ["9990000034", "9990000026", "FORMER", "Mary"] {
            assert!(!bytes.contains(thread), "{thread}");
        }
        birth.record.status = Some(ChildStatus::Sealed);
        assert!(whole_record(&birth).is_empty());
    }

    #[test]
    fn a_restricted_child_is_sent_with_its_label() {
        let mut birth = event(EventKind::Birth);
        birth.record.flags = Flags { sensitivity: Some("restricted".to_owned()), ..Flags::default() };
        birth.record.addresses =
            vec![Address { postcode: Some("SE1 9ZZ".to_owned()), usage: Some("home".to_owned()), ..Address::default() }];
        let bundle = sent(&birth);
        let patient = resources(&bundle, "Patient")[0];
        assert_eq!(patient["meta"]["security"][0]["code"], "R");
        assert_eq!(patient["address"][0]["postalCode"], "SE1 9ZZ");
    }

    #[test]
    fn a_death_is_told_and_taken_back() {
        let of = |death: Death| {
            let mut birth = event(EventKind::Birth);
            birth.record.death = Some(death);
            sent(&birth)["entry"][0]["resource"].clone()
        };
        let dated = Death { status: Some("formal".to_owned()), date_time: Some(moment("2026-04-09T01:00:00+01:00")), ..Death::default() };
        assert_eq!(of(dated)["deceasedDateTime"], "2026-04-09T01:00:00+01:00");
        assert_eq!(of(Death { status: Some("informal".to_owned()), ..Death::default() })["deceasedBoolean"], true);
        assert_eq!(of(Death { status: Some("removed".to_owned()), ..Death::default() })["deceasedBoolean"], false);
    }

    #[test]
    fn every_kind_of_event_can_be_written_twice_alike() {
        let mut all = event(EventKind::Birth);
        all.control_id = "A|B \u{e9}".to_owned();
        let said = &mut all.statement;
        said.blood_spots = event(EventKind::BloodSpot).statement.blood_spots;
        said.hearing_screens =
            vec![HearingScreen { tests: vec![canon::HearingTest::default()], comment: Some("c".to_owned()), ..HearingScreen::default() }];
        said.nipe_exams = vec![NipeExam {
            hips: Some(NipeFinding { status: Some("clear".to_owned()), ..NipeFinding::default() }),
            ..NipeExam::default()
        }];
        said.immunisations = vec![canon::Immunisation {
            dose_number: Some(1),
            antigens: vec!["IPV".to_owned(), "76902006".to_owned()],
            subpotent: Some(true),
            ..canon::Immunisation::default()
        }];
        let weight = canon::Measurement {
            kind: "weight".to_owned(),
            qty: canon::Quantity { value: "4.25".to_owned(), unit: "kg".to_owned() },
            at: None,
        };
        let score = canon::Score { instrument: "ASQ-3".to_owned(), months: Some(24), domain: Some("communication".to_owned()), value: 55 };
        said.reviews = vec![Review {
            measurements: vec![weight],
            scores: vec![score],
            concerns: vec!["a".to_owned(), "b".to_owned()],
            ..Review::default()
        }];
        let bundle = sent(&all);
        assert_eq!(whole_record(&all), whole_record(&all));
        assert_eq!(resources(&bundle, "Procedure").len(), 2);
        let given = resources(&bundle, "Immunization");
        assert_eq!((given.len(), &given[0]["isSubpotent"]), (1, &serde_json::Value::Bool(true)));
        let diseases = &given[0]["protocolApplied"][0]["targetDisease"];
        assert_eq!((&diseases[0]["text"], &diseases[1]["coding"][0]["code"]), (&"IPV".into(), &"76902006".into()));
        assert_eq!(resources(&bundle, "Patient")[0]["meta"]["source"], "urn:chis-broker:message:A%7CB%20%C3%A9");
        let mut urls: Vec<&str> = bundle["entry"].as_array().unwrap().iter().filter_map(|entry| entry["request"]["url"].as_str()).collect();
        let count = urls.len();
        urls.sort_unstable();
        urls.dedup();
        assert_eq!(urls.len(), count, "no resource stands twice in one transaction");
    }
}
