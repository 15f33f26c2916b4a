//! R4 resources for what we send, built with fhir-sdk; nothing of its types crosses this border.
//!
//!     our values ──▶ resources.rs ──▶ fhir-sdk's concrete type ──▶ serde_json::Value ──▶ bundle.rs
//!
//! # What always holds
//!
//! - Whatever comes out has the shape that FHIR R4 (4.0.1 and 4.3.0, where they agree) gives the resource:
//!   required elements are there, closed codes are of their value set, dates keep their precision.
//! - Functions are not generic. fhir-sdk's (de)serialisation of one resource pulls in all of them, and each
//!   generic instance is compiled in the crate that calls it: here it is compiled once, and the broker, which is
//!   edited all day, never sees it. One resource is serialised at a time, into the tree of the Bundle.
//! - Equal input gives equal output: no clock, no random id.
//!
//! # Not here
//!
//! Nothing is parsed with fhir-sdk: one unknown code would fail a whole Bundle, and fields it does not know would be
//! dropped silently. What may be sent to whom is decided by the broker's destinations, not here.

mod bundle;
mod parts;
mod resources;
mod services;
mod when;

pub use bundle::{Entry, transaction};
pub use parts::{
    Address, AddressUse, Coding, Concept, Identifier, IdentifierUse, Meta, Name, NameUse, Period, Quantity, Telecom, TelecomSystem,
    TelecomUse,
};
pub use resources::{
    Consent, Deceased, DiagnosticReport, Gender, Immunization, Measured, MultipleBirth, Observation, Patient, Procedure, ProcedureStatus,
    Provenance, RelatedPerson, ReportStatus, consent, diagnostic_report, immunization, observation, patient, procedure, provenance,
    related_person,
};
pub use services::{
    Appointment, AppointmentStatus, DocumentReference, DocumentStatus, EpisodeOfCare, EpisodeStatus, Task, TaskStatus, appointment,
    document_reference, episode_of_care, task,
};
pub use when::When;

/// A resource could not be built: a required element was missing. The functions here set every one, so this says that
/// the pinned version of fhir-sdk is not the one they were written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotBuilt(pub String);

impl std::fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a resource could not be built: {}", self.0)
    }
}

impl std::error::Error for NotBuilt {}

/// Systems and extensions of UK Core and FHIR that more than one resource names.
pub mod url {
    /// NHS numbers.
    pub const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";
    /// ODS codes of organisations.
    pub const ODS_ORGANISATION: &str = "https://fhir.nhs.uk/Id/ods-organization-code";
    /// SNOMED CT.
    pub const SNOMED: &str = "http://snomed.info/sct";
    /// UCUM units.
    pub const UCUM: &str = "http://unitsofmeasure.org";
    /// Verification status of an NHS number.
    pub const VERIFICATION_STATUS: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus";
    /// Its codes 01 to 08, as the Personal Demographics Service spells the system.
    pub const VERIFICATION_STATUS_CODES: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-NHSNumberVerificationStatus";
    /// Ethnic category.
    pub const ETHNIC_CATEGORY: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-EthnicCategory";
    /// Its letters.
    pub const ETHNIC_CATEGORY_CODES: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-EthnicCategoryEngland";
    /// Time of birth beside the date.
    pub const BIRTH_TIME: &str = "http://hl7.org/fhir/StructureDefinition/patient-birthTime";
    /// Vaccination procedure beside the product.
    pub const VACCINATION_PROCEDURE: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-VaccinationProcedure";
    /// Confidentiality codes for `meta.security`.
    pub const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
}
