//! The resources: our structs, and a function each that builds fhir-sdk's and gives back its tree.
//!
//! A date that FHIR cannot say is already `None` here: [`When`] cannot hold one.

use std::num::NonZeroU32;

use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::resources as sdk;
use fhir_sdk::r4b::types::{Annotation, ExtensionValue, FieldExtension};
use serde_json::Value;

use crate::parts::{self, each, not_built, some};
use crate::{Address, Concept, Identifier, Meta, Name, NotBuilt, Period, Quantity, Telecom, When, url};

/// Administrative gender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gender {
    /// Male
    Male,
    /// Female
    Female,
    /// Neither of both.
    Other,
    /// Not known.
    Unknown,
}

impl Gender {
    fn code(self) -> codes::AdministrativeGender {
        match self {
            Self::Male => codes::AdministrativeGender::Male,
            Self::Female => codes::AdministrativeGender::Female,
            Self::Other => codes::AdministrativeGender::Other,
            Self::Unknown => codes::AdministrativeGender::Unknown,
        }
    }
}

/// One of several babies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultipleBirth {
    /// Whether at all.
    Said(bool),
    /// Which, from 1.
    Order(i32),
}

/// Dead, and when if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deceased {
    /// Whether at all.
    Said(bool),
    /// When.
    At(When),
}

/// A child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patient {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// NHS number, our own and local ones.
    pub identifiers: Vec<Identifier>,
    /// False where another record goes on in its place.
    pub active: Option<bool>,
    /// Names.
    pub names: Vec<Name>,
    /// Telephone and e-mail.
    pub telecoms: Vec<Telecom>,
    /// Gender.
    pub gender: Option<Gender>,
    /// Date of birth.
    pub birth_date: Option<When>,
    /// Time of birth; written only beside a date.
    pub birth_time: Option<When>,
    /// Death.
    pub deceased: Option<Deceased>,
    /// Addresses.
    pub addresses: Vec<Address>,
    /// One of several.
    pub multiple_birth: Option<MultipleBirth>,
    /// ODS code of the registered practice.
    pub gp_practice_ods: Option<String>,
    /// Who keeps the record.
    pub managing: Option<Identifier>,
    /// Ethnic category, letter.
    pub ethnic_category: Option<String>,
    /// Reference to the record that goes on in its place.
    pub replaced_by: Option<String>,
}

/// The Patient as a tree.
pub fn patient(child: &Patient) -> Result<Value, NotBuilt> {
    let mut built = sdk::Patient::builder()
        .identifier(each(&child.identifiers, parts::identifier)?)
        .name(each(&child.names, parts::name)?)
        .telecom(each(&child.telecoms, parts::telecom)?)
        .address(each(&child.addresses, parts::address)?);
    if let Some(id) = &child.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&child.meta)? {
        built = built.meta(meta);
    }
    if let Some(active) = child.active {
        built = built.active(active);
    }
    if let Some(gender) = child.gender {
        built = built.gender(gender.code());
    }
    if let Some(date) = child.birth_date {
        built = built.birth_date(date.date());
        if let Some(time) = child.birth_time {
            let time = parts::extension(url::BIRTH_TIME, ExtensionValue::DateTime(time.date_time()))?;
            built = built.birth_date_ext(FieldExtension { id: None, extension: vec![time] });
        }
    }
    if let Some(deceased) = child.deceased {
        built = built.deceased(match deceased {
            Deceased::Said(dead) => sdk::PatientDeceased::Boolean(dead),
            Deceased::At(when) => sdk::PatientDeceased::DateTime(when.date_time()),
        });
    }
    if let Some(multiple) = child.multiple_birth {
        built = built.multiple_birth(match multiple {
            MultipleBirth::Said(multiple) => sdk::PatientMultipleBirth::Boolean(multiple),
            MultipleBirth::Order(order) => sdk::PatientMultipleBirth::Integer(order),
        });
    }
    if let Some(ods) = &child.gp_practice_ods {
        built = built.general_practitioner(vec![Some(parts::organisation(ods)?)]);
    }
    if let Some(managing) = &child.managing {
        built = built.managing_organization(parts::logical_reference(managing)?);
    }
    if let Some(letter) = &child.ethnic_category {
        let said = parts::concept(&Concept::coded(url::ETHNIC_CATEGORY_CODES, letter, ""))?;
        built = built.extension(vec![parts::extension(url::ETHNIC_CATEGORY, ExtensionValue::CodeableConcept(said))?]);
    }
    if let Some(other) = &child.replaced_by {
        let link = sdk::PatientLink::builder().other(parts::reference(other)?).r#type(codes::LinkType::ReplacedBy);
        built = built.link(vec![Some(link.build().map_err(not_built)?)]);
    }
    tree(sdk::Resource::Patient(built.build().map_err(not_built)?))
}

/// How final a report or an observation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportStatus {
    /// Final.
    #[default]
    Final,
    /// Corrects an earlier one.
    Corrected,
    /// Not final yet.
    Preliminary,
    /// Could not be obtained.
    Cancelled,
    /// Was never so.
    EnteredInError,
}

/// What was measured or found.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// A number with a unit.
    Quantity(Quantity),
    /// A code.
    Concept(Concept),
    /// A count or a score.
    Integer(i32),
    /// Words.
    Text(String),
}

/// A fact.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// The publisher's ids.
    pub identifiers: Vec<Identifier>,
    /// How final.
    pub status: ReportStatus,
    /// `laboratory`, `vital-signs`, `survey`: codes of FHIR's observation categories.
    pub category: Option<&'static str>,
    /// What.
    pub code: Concept,
    /// Reference to the child.
    pub subject: String,
    /// When it was so.
    pub effective: Option<When>,
    /// When it was made known; only a moment can be written.
    pub issued: Option<When>,
    /// ODS code of who observed.
    pub performer_ods: Option<String>,
    /// What was found.
    pub value: Option<Measured>,
    /// Words beside it.
    pub notes: Vec<String>,
}

/// The Observation as a tree.
pub fn observation(fact: &Observation) -> Result<Value, NotBuilt> {
    let mut built = sdk::Observation::builder()
        .identifier(each(&fact.identifiers, parts::identifier)?)
        .status(match fact.status {
            ReportStatus::Final => codes::ObservationStatus::Final,
            ReportStatus::Corrected => codes::ObservationStatus::Corrected,
            ReportStatus::Preliminary => codes::ObservationStatus::Preliminary,
            ReportStatus::Cancelled => codes::ObservationStatus::Cancelled,
            ReportStatus::EnteredInError => codes::ObservationStatus::EnteredInError,
        })
        .code(parts::concept(&fact.code)?)
        .subject(parts::reference(&fact.subject)?)
        .note(notes(&fact.notes)?);
    if let Some(id) = &fact.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&fact.meta)? {
        built = built.meta(meta);
    }
    if let Some(category) = fact.category {
        let code = Concept::coded("http://terminology.hl7.org/CodeSystem/observation-category", category, "");
        built = built.category(vec![Some(parts::concept(&code)?)]);
    }
    if let Some(when) = fact.effective {
        built = built.effective(sdk::ObservationEffective::DateTime(when.date_time()));
    }
    if let Some(issued) = fact.issued.and_then(When::instant) {
        built = built.issued(issued);
    }
    if let Some(ods) = &fact.performer_ods {
        built = built.performer(vec![Some(parts::organisation(ods)?)]);
    }
    if let Some(value) = &fact.value {
        let value = match value {
            Measured::Quantity(quantity) => parts::quantity(quantity)?.map(sdk::ObservationValue::Quantity),
            Measured::Concept(concept) => Some(sdk::ObservationValue::CodeableConcept(parts::concept(concept)?)),
            Measured::Integer(number) => Some(sdk::ObservationValue::Integer(*number)),
            Measured::Text(text) => Some(sdk::ObservationValue::String(text.clone())),
        };
        if let Some(value) = value {
            built = built.value(value);
        }
    }
    let mut fact_tree = tree(sdk::Resource::Observation(built.build().map_err(not_built)?))?;
    if let Some(Measured::Quantity(quantity)) = &fact.value {
        whole_number(&mut fact_tree, "/valueQuantity/value", &quantity.value);
    }
    Ok(fact_tree)
}

/// What a laboratory says about one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiagnosticReport {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// The publisher's ids.
    pub identifiers: Vec<Identifier>,
    /// How final.
    pub status: ReportStatus,
    /// `LAB`: code of HL7's diagnostic service sections.
    pub category: Option<&'static str>,
    /// What was examined.
    pub code: Concept,
    /// Reference to the child.
    pub subject: String,
    /// When the sample was taken.
    pub effective: Option<When>,
    /// When it was made known; only a moment can be written.
    pub issued: Option<When>,
    /// ODS code of the laboratory.
    pub performer_ods: Option<String>,
    /// References to the observations.
    pub results: Vec<String>,
    /// The laboratory's words.
    pub conclusion: Option<String>,
}

/// The DiagnosticReport as a tree.
pub fn diagnostic_report(report: &DiagnosticReport) -> Result<Value, NotBuilt> {
    let results: Result<Vec<_>, NotBuilt> = report.results.iter().map(|target| parts::reference(target)).collect();
    let mut built = sdk::DiagnosticReport::builder()
        .identifier(each(&report.identifiers, parts::identifier)?)
        .status(match report.status {
            ReportStatus::Final => codes::DiagnosticReportStatus::Final,
            ReportStatus::Corrected => codes::DiagnosticReportStatus::Corrected,
            ReportStatus::Preliminary => codes::DiagnosticReportStatus::Preliminary,
            ReportStatus::Cancelled => codes::DiagnosticReportStatus::Cancelled,
            ReportStatus::EnteredInError => codes::DiagnosticReportStatus::EnteredInError,
        })
        .code(parts::concept(&report.code)?)
        .subject(parts::reference(&report.subject)?)
        .result(some(results?));
    if let Some(id) = &report.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&report.meta)? {
        built = built.meta(meta);
    }
    if let Some(category) = report.category {
        let code = Concept::coded("http://terminology.hl7.org/CodeSystem/v2-0074", category, "");
        built = built.category(vec![Some(parts::concept(&code)?)]);
    }
    if let Some(when) = report.effective {
        built = built.effective(sdk::DiagnosticReportEffective::DateTime(when.date_time()));
    }
    if let Some(issued) = report.issued.and_then(When::instant) {
        built = built.issued(issued);
    }
    if let Some(ods) = &report.performer_ods {
        built = built.performer(vec![Some(parts::organisation(ods)?)]);
    }
    if let Some(words) = &report.conclusion {
        built = built.conclusion(words.clone());
    }
    tree(sdk::Resource::DiagnosticReport(built.build().map_err(not_built)?))
}

/// Whether it was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcedureStatus {
    /// Done.
    #[default]
    Completed,
    /// Not done.
    NotDone,
    /// Was never so.
    EnteredInError,
}

/// Something done to or for the child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Procedure {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// The publisher's ids.
    pub identifiers: Vec<Identifier>,
    /// Whether it was done.
    pub status: ProcedureStatus,
    /// What.
    pub code: Concept,
    /// Reference to the child.
    pub subject: String,
    /// When.
    pub performed: Option<When>,
    /// Where on the body.
    pub body_site: Option<Concept>,
    /// What came of it.
    pub outcome: Option<Concept>,
    /// Words beside it.
    pub notes: Vec<String>,
}

/// The Procedure as a tree.
pub fn procedure(act: &Procedure) -> Result<Value, NotBuilt> {
    let mut built = sdk::Procedure::builder()
        .identifier(each(&act.identifiers, parts::identifier)?)
        .status(match act.status {
            ProcedureStatus::Completed => codes::EventStatus::Completed,
            ProcedureStatus::NotDone => codes::EventStatus::NotDone,
            ProcedureStatus::EnteredInError => codes::EventStatus::EnteredInError,
        })
        .code(parts::concept(&act.code)?)
        .subject(parts::reference(&act.subject)?)
        .note(notes(&act.notes)?);
    if let Some(id) = &act.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&act.meta)? {
        built = built.meta(meta);
    }
    if let Some(when) = act.performed {
        built = built.performed(sdk::ProcedurePerformed::DateTime(when.date_time()));
    }
    if let Some(site) = &act.body_site {
        built = built.body_site(vec![Some(parts::concept(site)?)]);
    }
    if let Some(outcome) = &act.outcome {
        built = built.outcome(parts::concept(outcome)?);
    }
    tree(sdk::Resource::Procedure(built.build().map_err(not_built)?))
}

/// A vaccination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Immunization {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// The publisher's ids.
    pub identifiers: Vec<Identifier>,
    /// Given, not given, taken back.
    pub status: ProcedureStatus,
    /// Why not given.
    pub status_reason: Option<Concept>,
    /// Product.
    pub vaccine: Concept,
    /// Vaccination procedure.
    pub procedure: Option<Concept>,
    /// Reference to the child.
    pub subject: String,
    /// When; where nobody said, the element reads `unknown`.
    pub occurrence: Option<When>,
    /// When it was recorded.
    pub recorded: Option<When>,
    /// Reported by who gave it.
    pub primary_source: Option<bool>,
    /// Where a second-hand report comes from.
    pub report_origin: Option<Concept>,
    /// ODS code of the place.
    pub location_ods: Option<String>,
    /// Batch.
    pub batch: Option<String>,
    /// Expiry of the batch.
    pub expiry: Option<When>,
    /// Body site.
    pub site: Option<Concept>,
    /// Route.
    pub route: Option<Concept>,
    /// Amount.
    pub dose: Option<Quantity>,
    /// Only a part of the dose was given.
    pub subpotent: Option<bool>,
    /// Which dose of the course, from 1.
    pub dose_number: Option<u32>,
    /// What it protects against.
    pub target_diseases: Vec<Concept>,
    /// Why given.
    pub reason: Option<Concept>,
}

/// The Immunization as a tree.
pub fn immunization(given: &Immunization) -> Result<Value, NotBuilt> {
    let status = match given.status {
        ProcedureStatus::Completed => "completed",
        ProcedureStatus::NotDone => "not-done",
        ProcedureStatus::EnteredInError => "entered-in-error",
    };
    let occurrence = match given.occurrence {
        Some(when) => sdk::ImmunizationOccurrence::DateTime(when.date_time()),
        None => sdk::ImmunizationOccurrence::String("unknown".to_owned()),
    };
    let mut built = sdk::Immunization::builder()
        .identifier(each(&given.identifiers, parts::identifier)?)
        .status(status.to_owned())
        .vaccine_code(parts::concept(&given.vaccine)?)
        .patient(parts::reference(&given.subject)?)
        .occurrence(occurrence);
    if let Some(id) = &given.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&given.meta)? {
        built = built.meta(meta);
    }
    if let Some(reason) = &given.status_reason {
        built = built.status_reason(parts::concept(reason)?);
    }
    if let Some(procedure) = &given.procedure {
        let said = ExtensionValue::CodeableConcept(parts::concept(procedure)?);
        built = built.extension(vec![parts::extension(url::VACCINATION_PROCEDURE, said)?]);
    }
    built = what_was_given(built, given)?;
    if let Some(recorded) = given.recorded {
        built = built.recorded(recorded.date_time());
    }
    if let Some(primary) = given.primary_source {
        built = built.primary_source(primary);
    }
    if let Some(origin) = &given.report_origin {
        built = built.report_origin(parts::concept(origin)?);
    }
    if let Some(ods) = &given.location_ods {
        built = built.location(parts::organisation(ods)?);
    }
    if let Some(reason) = &given.reason {
        built = built.reason_code(vec![Some(parts::concept(reason)?)]);
    }
    tree(sdk::Resource::Immunization(built.build().map_err(not_built)?))
}

/// The second half of [`immunization`]: batch, dose, site, route.
fn what_was_given(mut built: sdk::ImmunizationBuilder, given: &Immunization) -> Result<sdk::ImmunizationBuilder, NotBuilt> {
    if let Some(batch) = &given.batch {
        built = built.lot_number(batch.clone());
    }
    if let Some(expiry) = given.expiry {
        built = built.expiration_date(expiry.date());
    }
    if let Some(site) = &given.site {
        built = built.site(parts::concept(site)?);
    }
    if let Some(route) = &given.route {
        built = built.route(parts::concept(route)?);
    }
    if let Some(dose) = given.dose.as_ref().map(parts::quantity).transpose()?.flatten() {
        built = built.dose_quantity(dose);
    }
    if let Some(subpotent) = given.subpotent {
        built = built.is_subpotent(subpotent);
    }
    // The dose number is required where anything is said of the course.
    let dose = given.dose_number.and_then(NonZeroU32::new).map(sdk::ImmunizationProtocolAppliedDoseNumber::PositiveInt);
    if dose.is_some() || !given.target_diseases.is_empty() {
        let dose = dose.unwrap_or_else(|| sdk::ImmunizationProtocolAppliedDoseNumber::String("unknown".to_owned()));
        let diseases = each(&given.target_diseases, parts::concept)?;
        let course = sdk::ImmunizationProtocolApplied::builder().dose_number(dose).target_disease(diseases);
        built = built.protocol_applied(vec![Some(course.build().map_err(not_built)?)]);
    }
    Ok(built)
}

/// Where what is sent came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// Logical id.
    pub id: Option<String>,
    /// References to what it speaks of.
    pub targets: Vec<String>,
    /// When it happened or was said.
    pub occurred: Option<When>,
    /// When we recorded it; a moment.
    pub recorded: When,
    /// Who sent it.
    pub author: Identifier,
    /// Who assembled it.
    pub assembler: Identifier,
    /// The message it was made from.
    pub source: Identifier,
    /// Create, update, take back: code of HL7's data operations.
    pub activity: &'static str,
}

/// The Provenance as a tree. Fails where `recorded` is no moment.
pub fn provenance(origin: &Provenance) -> Result<Value, NotBuilt> {
    let targets: Result<Vec<_>, NotBuilt> = origin.targets.iter().map(|target| parts::reference(target)).collect();
    let recorded = origin.recorded.instant().ok_or_else(|| NotBuilt("recorded is no moment".to_owned()))?;
    let activity = Concept::coded("http://terminology.hl7.org/CodeSystem/v3-DataOperation", origin.activity, "");
    let message =
        sdk::ProvenanceEntity::builder().role(codes::ProvenanceEntityRole::Source).what(parts::logical_reference(&origin.source)?);
    let mut built = sdk::Provenance::builder()
        .target(some(targets?))
        .recorded(recorded)
        .activity(parts::concept(&activity)?)
        .agent(vec![Some(agent("author", &origin.author)?), Some(agent("assembler", &origin.assembler)?)])
        .entity(vec![Some(message.build().map_err(not_built)?)]);
    if let Some(id) = &origin.id {
        built = built.id(id.clone());
    }
    if let Some(when) = origin.occurred {
        built = built.occurred(sdk::ProvenanceOccurred::DateTime(when.date_time()));
    }
    tree(sdk::Resource::Provenance(built.build().map_err(not_built)?))
}

fn agent(role: &str, who: &Identifier) -> Result<sdk::ProvenanceAgent, NotBuilt> {
    let role = Concept::coded("http://terminology.hl7.org/CodeSystem/provenance-participant-type", role, "");
    sdk::ProvenanceAgent::builder().r#type(parts::concept(&role)?).who(parts::logical_reference(who)?).build().map_err(not_built)
}

/// Somebody else, beside the child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RelatedPerson {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// Whether the relation still holds.
    pub active: Option<bool>,
    /// Reference to the child.
    pub subject: String,
    /// Mother, father, guardian.
    pub relationship: Concept,
    /// Identifiers.
    pub identifiers: Vec<Identifier>,
    /// Names.
    pub names: Vec<Name>,
    /// Telephone and e-mail.
    pub telecoms: Vec<Telecom>,
    /// Gender.
    pub gender: Option<Gender>,
    /// Date of birth.
    pub birth_date: Option<When>,
    /// Addresses.
    pub addresses: Vec<Address>,
    /// When it holds.
    pub period: Period,
}

/// The RelatedPerson as a tree.
pub fn related_person(person: &RelatedPerson) -> Result<Value, NotBuilt> {
    let mut built = sdk::RelatedPerson::builder()
        .patient(parts::reference(&person.subject)?)
        .relationship(vec![Some(parts::concept(&person.relationship)?)])
        .identifier(each(&person.identifiers, parts::identifier)?)
        .name(each(&person.names, parts::name)?)
        .telecom(each(&person.telecoms, parts::telecom)?)
        .address(each(&person.addresses, parts::address)?);
    if let Some(id) = &person.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&person.meta)? {
        built = built.meta(meta);
    }
    if let Some(active) = person.active {
        built = built.active(active);
    }
    if let Some(gender) = person.gender {
        built = built.gender(gender.code());
    }
    if let Some(date) = person.birth_date {
        built = built.birth_date(date.date());
    }
    if let Some(period) = parts::period(&person.period)? {
        built = built.period(period);
    }
    tree(sdk::Resource::RelatedPerson(built.build().map_err(not_built)?))
}

/// Which accounts may see what is sent with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Consent {
    /// Logical id.
    pub id: Option<String>,
    /// Reference to the child.
    pub subject: String,
    /// The accounts.
    pub accounts: Vec<Identifier>,
}

/// The Consent as a tree: active, about privacy, permitting the accounts and nobody else.
pub fn consent(consent: &Consent) -> Result<Value, NotBuilt> {
    let role = Concept::coded("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP", "information recipient");
    let mut actors = Vec::new();
    for account in &consent.accounts {
        let actor = sdk::ConsentProvisionActor::builder().role(parts::concept(&role)?).reference(parts::logical_reference(account)?);
        actors.push(Some(actor.build().map_err(not_built)?));
    }
    let provision =
        sdk::ConsentProvision::builder().r#type(codes::ConsentProvisionType::Permit).actor(actors).build().map_err(not_built)?;
    let scope = Concept::coded("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy", "");
    let category = Concept::coded("http://loinc.org", "59284-0", "Consent Document");
    let policy = Concept::coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN", "");
    let mut built = sdk::Consent::builder()
        .status(codes::ConsentState::Active)
        .scope(parts::concept(&scope)?)
        .category(vec![Some(parts::concept(&category)?)])
        .policy_rule(parts::concept(&policy)?)
        .patient(parts::reference(&consent.subject)?)
        .provision(provision);
    if let Some(id) = &consent.id {
        built = built.id(id.clone());
    }
    tree(sdk::Resource::Consent(built.build().map_err(not_built)?))
}

fn notes(texts: &[String]) -> Result<Vec<Option<Annotation>>, NotBuilt> {
    texts.iter().map(|text| Annotation::builder().text(text.clone()).build().map(Some).map_err(not_built)).collect()
}

/// The only place where fhir-sdk serialises: one type, one serialiser, compiled once.
pub(crate) fn tree(resource: sdk::Resource) -> Result<Value, NotBuilt> {
    serde_json::to_value(&resource).map_err(not_built)
}

/// fhir-sdk's decimals are binary fractions and are written `3420.0`; a whole number is written whole again.
fn whole_number(tree: &mut Value, pointer: &str, digits: &str) {
    if let (Some(place), Ok(number)) = (tree.pointer_mut(pointer), digits.parse::<i64>()) {
        *place = Value::from(number);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::IdentifierUse;

    #[test]
    fn a_patient_has_the_shape_of_uk_core() {
        let nhs = Identifier {
            system: url::NHS_NUMBER.to_owned(),
            value: "9990000018".to_owned(),
            usage: Some(IdentifierUse::Official),
            verification: Some("01".to_owned()),
            ..Identifier::default()
        };
        let built = patient(&Patient {
            identifiers: vec![nhs],
            names: vec![Name { family: Some("EXAMPLE".to_owned()), given: vec!["Ada".to_owned()], ..Name::default() }],
            gender: Some(Gender::Female),
            birth_date: When::parse("2026-04-01"),
            birth_time: When::parse("2026-04-01T09:30:00+01:00"),
            multiple_birth: Some(MultipleBirth::Order(2)),
            gp_practice_ods: Some("F84003".to_owned()),
            ..Patient::default()
        });
        let expected = json!({
            "resourceType": "Patient",
            "identifier": [{
                "extension": [{
                    "url": url::VERIFICATION_STATUS,
                    "valueCodeableConcept": { "coding": [{ "system": url::VERIFICATION_STATUS_CODES, "code": "01" }] }
                }],
                "use": "official", "system": url::NHS_NUMBER, "value": "9990000018"
            }],
            "name": [{ "family": "EXAMPLE", "given": ["Ada"] }],
            "gender": "female",
            "birthDate": "2026-04-01",
            "_birthDate": { "extension": [{ "url": url::BIRTH_TIME, "valueDateTime": "2026-04-01T09:30:00+01:00" }] },
            "multipleBirthInteger": 2,
            "generalPractitioner": [{ "identifier": { "system": url::ODS_ORGANISATION, "value": "F84003" } }]
        });
        assert_eq!(built, Ok(expected));
    }

    #[test]
    fn precision_is_kept_and_whole_grams_stay_whole() {
        for (said, date) in [("2026", "2026"), ("2026-04", "2026-04"), ("2026-04-01T00:15:00+01:00", "2026-04-01")] {
            let built = patient(&Patient { birth_date: When::parse(said), ..Patient::default() }).unwrap();
            assert_eq!(built["birthDate"], json!(date));
        }
        for (digits, written) in [("3420", "3420"), ("3.5", "3.5"), ("0", "0")] {
            let value = Some(Measured::Quantity(Quantity { value: digits.to_owned(), unit: "g".to_owned() }));
            let built = observation(&Observation { value, subject: "Patient/1".to_owned(), ..Observation::default() }).unwrap();
            assert_eq!(built["valueQuantity"]["value"].to_string(), written);
        }
        let words = Some(Measured::Quantity(Quantity { value: "heavy".to_owned(), unit: "g".to_owned() }));
        let built = observation(&Observation { value: words, ..Observation::default() }).unwrap();
        assert_eq!(built.get("valueQuantity"), None, "what is no number is not written as one");
    }

    #[test]
    fn every_function_builds_from_nothing_but_defaults() {
        assert_eq!(observation(&Observation::default()).unwrap()["status"], "final");
        assert_eq!(diagnostic_report(&DiagnosticReport::default()).unwrap()["resourceType"], "DiagnosticReport");
        assert_eq!(
            procedure(&Procedure { status: ProcedureStatus::EnteredInError, ..Procedure::default() }).unwrap()["status"],
            "entered-in-error"
        );
        assert_eq!(immunization(&Immunization::default()).unwrap()["occurrenceString"], "unknown");
        assert_eq!(related_person(&RelatedPerson::default()).unwrap()["resourceType"], "RelatedPerson");
        assert_eq!(consent(&Consent::default()).unwrap()["provision"]["type"], "permit");
        let who = Identifier { system: "urn:x".to_owned(), value: "y".to_owned(), ..Identifier::default() };
        let origin = |recorded| Provenance {
            id: None,
            targets: vec!["Patient/1".to_owned()],
            occurred: None,
            recorded,
            author: who.clone(),
            assembler: who.clone(),
            source: who.clone(),
            activity: "UPDATE",
        };
        let moment = When::parse("2026-04-01T09:30:00Z").unwrap();
        assert_eq!(provenance(&origin(moment)).unwrap()["recorded"], "2026-04-01T09:30:00Z");
        assert!(provenance(&origin(When::Year(2026))).is_err());
    }
}
