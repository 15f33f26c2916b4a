//! What services do for a child, and what the broker and the parents need beside it (canonical model, section 2).

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::*;

/// Given, not given, taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImmunisationStatus {
    /// Given.
    #[default]
    Completed,
    /// Not given, with a reason.
    NotDone,
    /// Was never so.
    EnteredInError,
}

/// One vaccination.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Immunisation {
    /// The publisher's id.
    pub key: Option<String>,
    /// Who gave that id, where it is not the publisher of the whole statement (ORC-3.2 of each order).
    pub publisher: Option<String>,
    /// Given, not given, taken back.
    pub status: ImmunisationStatus,
    /// When; may be partial.
    pub occurrence: Option<Instant>,
    /// Procedure concept.
    pub procedure: Option<Code>,
    /// Product.
    pub vaccine: Option<Code>,
    /// What it protects against.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub antigens: Vec<String>,
    /// Dose in the course.
    pub dose_number: Option<i64>,
    /// Amount.
    pub dose_qty: Option<Quantity>,
    /// True where only a part of the dose was given: it is on record and counts for no dose of a course.
    pub subpotent: Option<bool>,
    /// Batch.
    pub batch: Option<String>,
    /// Expiry of the batch.
    pub expiry: Option<Date>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Body site.
    pub site: Option<Code>,
    /// Route.
    pub route: Option<Code>,
    /// Who gave it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub performer: Vec<String>,
    /// Where, ODS.
    pub location_ods: Option<String>,
    /// Reported by who gave it.
    pub primary_source: Option<bool>,
    /// Where a second-hand report comes from.
    pub report_origin: Option<Code>,
    /// Why given.
    pub reason: Option<Code>,
    /// Why not given.
    pub reason_not_given: Option<Code>,
    /// When it was recorded.
    pub recorded: Option<Instant>,
}

/// A measurement.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Measurement {
    /// `weight`, `length`, `height`, `head_circumference`, …
    pub kind: String,
    /// Value and unit.
    pub qty: Quantity,
    /// When.
    pub at: Option<Instant>,
}

/// A fact with its code, as sent: for what the model has no field of its own.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Observation {
    /// What sort of statement: `observation`, `procedure`, `condition`, `allergy`, `medication`, `referral`, `answer`, `plan`, `alert`, `contact`.
    pub kind: Option<String>,
    /// What was observed, done or asked.
    pub code: Option<Code>,
    /// The answer, where it is a code.
    pub value: Option<Code>,
    /// The answer, where it is a measured quantity.
    pub qty: Option<Quantity>,
    /// The answer in words, or a number, date or truth value as sent.
    pub text: Option<String>,
    /// When.
    pub at: Option<Instant>,
    /// Status as sent.
    pub status: Option<String>,
}

/// A set of facts from one encounter, kept whole: the Digital Child Health events that have no aggregate of their own.
/// Key: (publisher, Encounter.identifier); overwritten whole.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObservationSet {
    /// The publisher's id.
    pub key: Option<String>,
    /// Which event: `admission-details`, `referral`, `allergies-and-adverse-reactions`, …
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// DCH encounter type.
    pub encounter: Option<String>,
    /// When.
    pub at: Option<Instant>,
    /// Until when.
    pub until: Option<Instant>,
    /// Site, ODS.
    pub site: Option<String>,
    /// Who says so.
    pub performer: Option<String>,
    /// Organisation, ODS.
    pub org_ods: Option<String>,
    /// Status as sent.
    pub status: Option<String>,
    /// The facts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Observation>,
    /// Comment. Never shown to parents.
    pub comment: Option<String>,
}

/// A child protection fact (FHIR R4 page, section 6). Only for professionals: never in a record, an event's body, a
/// delivery, a log or a listing without a right of its own.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SafeguardingFact {
    /// The publisher's id.
    pub key: Option<String>,
    /// What: on a child protection plan, looked-after, at risk.
    pub code: Option<Code>,
    /// The answer, where it is a code.
    pub value: Option<Code>,
    /// In words.
    pub text: Option<String>,
    /// Since.
    pub from: Option<Instant>,
    /// Until.
    pub to: Option<Instant>,
    /// Status as sent.
    pub status: Option<String>,
    /// Organisation, ODS.
    pub org_ods: Option<String>,
}

/// What is done to identifiers (identity rules, section 3). The statement's `child` is the one who goes on (A40: PID-3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdentityAct {
    /// A40, A34: `prior` is the record that is given up.
    #[default]
    Merge,
    /// A47: one identifier was wrong and is now another.
    Rename,
    /// A24: both are the same person, nothing is given up.
    Link,
    /// A37: they are not.
    Unlink,
    /// A23, A29: the sender takes its record back; nothing is deleted.
    Withdraw,
}

/// A merge, renaming, link, unlink or withdrawal of identifiers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityChange {
    /// What is done.
    pub act: IdentityAct,
    /// The other identifiers: MRG-1, the second PID of A24 and A37.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prior: Vec<Identifier>,
}

/// One score of an assessment.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Score {
    /// `ASQ-3`, `ASQ:SE-2`.
    pub instrument: String,
    /// Questionnaire age in months.
    pub months: Option<i64>,
    /// Domain.
    pub domain: Option<String>,
    /// Score.
    pub value: i64,
}

/// A review by a health visitor or a practice.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Review {
    /// The publisher's id.
    pub key: Option<String>,
    /// DCH encounter type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// When.
    pub at: Option<Instant>,
    /// Site, ODS.
    pub site: Option<String>,
    /// Who reviewed.
    pub performer: Option<String>,
    /// How: clinic, home, telephone.
    pub mode: Option<String>,
    /// `attended`, `dna`, `cancelled`.
    pub attended: Option<String>,
    /// Measurements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
    /// Scores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<Score>,
    /// Skills, findings and answers beside measurements and scores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub observations: Vec<Observation>,
    /// Breast-feeding status 01, 02, 03.
    pub feeding: Option<String>,
    /// Concerns. Never shown to parents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<String>,
    /// Consent to share.
    pub consent_to_share: Option<bool>,
    /// Comment. Never shown to parents.
    pub comment: Option<String>,
}

/// An appointment.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Appointment {
    /// The publisher's id.
    pub key: Option<String>,
    /// Service.
    pub service: Option<String>,
    /// When it begins.
    pub start: Option<Instant>,
    /// Site.
    pub site: Option<String>,
    /// `booked`, `moved`, `cancelled`, `dna`, `attended`.
    pub status: Option<String>,
}

/// A document; its bytes are kept by hash, not here.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Document {
    /// The publisher's id.
    pub key: Option<String>,
    /// Type.
    #[serde(rename = "type")]
    pub kind: Option<Code>,
    /// When.
    pub at: Option<Instant>,
    /// Author.
    pub author: Option<String>,
    /// Media type.
    pub mime: Option<String>,
    /// SHA-256 of the content, hex.
    pub sha256: Option<String>,
    /// Where the content is kept.
    pub store_ref: Option<String>,
    /// Status.
    pub status: Option<String>,
    /// The document it replaces.
    pub replaces: Option<String>,
    /// The document it is an addendum to.
    pub addendum_to: Option<String>,
    /// Confidentiality.
    pub confidential: Option<String>,
}

/// The bytes of a document. They travel beside a statement, never inside it; what names them is [`Document::sha256`].
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// SHA-256 of the bytes, hex.
    pub sha256: String,
    /// As decoded from the message.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({}, {} bytes)", self.sha256, self.bytes.len())
    }
}

/// A service that looks after the child.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeOfCare {
    /// The publisher's id.
    pub key: Option<String>,
    /// `HV`, `CHO`, `school_nursing`, `GP`, `maternity`.
    pub service: Option<String>,
    /// ODS code.
    pub org_ods: Option<String>,
    /// Since.
    pub from: Option<Instant>,
    /// Until.
    pub to: Option<Instant>,
    /// Status.
    pub status: Option<String>,
}

/// A failsafe alert as a task (NEMS failsafe alert).
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FailsafeTask {
    /// The publisher's id.
    pub key: Option<String>,
    /// 001 warning, 002 resource, 003 directive.
    pub severity: Option<String>,
    /// 001 service, 002 manager, 003 service lead.
    pub escalation: Option<String>,
    /// Action required, 001 to 003.
    pub action: Option<String>,
    /// Reason, 001 to 008.
    pub reason: Option<String>,
    /// Owner, ODS.
    pub owner_ods: Option<String>,
    /// When it is due.
    pub due: Option<Instant>,
    /// Which service: `HV`, `CHO`, `maternity`, `school_nursing`.
    pub service: Option<String>,
    /// The clock that ran out, where it is one of our own.
    pub clock: Option<String>,
    /// Why it ended, where it did.
    pub closed: Option<String>,
    /// Status.
    pub status: Option<String>,
}

/// A parent's account that may see this child. Without an active one nothing goes to the parents' record.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConsent {
    /// The account.
    pub account_id: String,
    /// Relationship code.
    pub relation: Option<String>,
    /// `active`, `revoked`, `ended`.
    pub status: String,
    /// Since.
    pub from: Option<Instant>,
    /// Until.
    pub to: Option<Instant>,
    /// Who verified the relationship.
    pub verified_by: Option<String>,
}
