//! What one message says about one child.

use serde::{Deserialize, Serialize};

use super::*;

/// Which conversation a message is part of. The text is the one in mapping files, stores and listings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Person details: name, address, practice.
    #[default]
    Person,
    /// A birth was recorded.
    Birth,
    /// Newborn blood spot outcome.
    BloodSpot,
    /// Newborn hearing screen.
    Hearing,
    /// Newborn and infant physical examination.
    Nipe,
    /// A vaccination given, not given, deleted.
    Immunisation,
    /// A health visitor's or practice's review with measurements and scores.
    Review,
    /// An appointment made, moved, missed.
    Appointment,
    /// A document.
    Document,
    /// A responsible service took over or ended.
    EpisodeOfCare,
    /// A change of registered practice.
    Gp,
    /// A change of address.
    Address,
    /// A death was notified, confirmed, removed.
    Death,
    /// Two identifiers are one person.
    Merge,
    /// A failsafe alert or its nullification.
    Failsafe,
    /// A parent's account may see this child.
    ProxyConsent,
    /// Facts of another kind, kept as a typed set: admission, referral, allergies, medication, investigations.
    Observations,
    /// A child protection fact; kept apart from everything else.
    Safeguarding,
}

/// What the sender wants done with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Said for the first time, or said again whole.
    #[default]
    New,
    /// Replaces what was said under the same key.
    Update,
    /// Takes back what was said under the same key.
    Delete,
}

/// The head of a [`Statement`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventHeader {
    /// Which conversation.
    pub kind: EventKind,
    /// New, update, delete.
    #[serde(default)]
    pub action: Action,
    /// When it happened or was said: the ordering key (canonical model, section 1). Absent: the time of arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// Decides between two statements with equal `at`: `meta.versionId`, MSH-13.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The system that says so, as the message names it: ODS code or URI. With [`EventHeader::key`] it keys the aggregate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// The publisher's own id of the aggregate (Encounter.identifier, lab accession), where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// True where the sender is the national record (PDS, NEMS): its verification status may be trusted alone.
    #[serde(default)]
    pub national: bool,
    /// True where this message may create a child who is not known (ADT with a date of birth, a birth).
    #[serde(default)]
    pub may_create: bool,
    /// True where the message only says that something changed elsewhere (pds-record-change-1): it finds its child and
    /// is filed, and nothing of it is merged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notice: bool,
}

/// All that one message says about one child. Absent fields were not said; `clears` lists what was said to be none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Kind, action, time, key.
    pub event: EventHeader,
    /// Who it is about, and what was said of the person.
    #[serde(default)]
    pub child: Child,
    /// Dotted paths below `child` that the sender cleared (HL7 `""`): `gp.practice_ods`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clears: Vec<String>,
    /// Blood spot results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blood_spots: Vec<BloodSpotResult>,
    /// Hearing screens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hearing_screens: Vec<HearingScreen>,
    /// Physical examinations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nipe_exams: Vec<NipeExam>,
    /// Vaccinations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub immunisations: Vec<Immunisation>,
    /// Reviews.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<Review>,
    /// Appointments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub appointments: Vec<Appointment>,
    /// Documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Document>,
    /// Responsible services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub episodes: Vec<EpisodeOfCare>,
    /// Failsafe tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<FailsafeTask>,
    /// Proxy consents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_consents: Vec<ProxyConsent>,
    /// Facts of other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observation_sets: Vec<ObservationSet>,
    /// Child protection facts. Kept in a table of their own and in no event, record or delivery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub safeguarding: Vec<SafeguardingFact>,
    /// What the message says about identifiers themselves: merges, renamings, links, withdrawals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity_changes: Vec<IdentityChange>,
}
