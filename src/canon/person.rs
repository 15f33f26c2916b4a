//! The child, its people and its birth (canonical model, section 2).

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::*;

/// Sex as recorded (NHS data dictionary: person stated gender code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Sex {
    /// Male
    #[serde(rename = "1")]
    Male,
    /// Female
    #[serde(rename = "2")]
    Female,
    /// Not specified: indeterminate.
    #[serde(rename = "9")]
    NotSpecified,
    /// Not known.
    #[serde(rename = "0")]
    NotKnown,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChildStatus {
    /// Known by a verified number or by the national record.
    Active,
    /// Known only by local identifiers or an unverified number.
    Provisional,
    /// Lives outside the area of all hubs.
    MovedOut,
    /// Died after birth.
    Deceased,
    /// Born dead: kept for reconciliation only.
    Stillborn,
    /// Another record goes on in its place.
    Merged,
    /// The national record says the number is invalid.
    Invalidated,
    /// Sealed after adoption: nothing goes out.
    Sealed,
}

/// A child: the merged record, or, inside a [`Statement`], the facts that were said.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Child {
    /// NHS number and local identifiers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<Identifier>,
    /// Names, each with its use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Name>,
    /// Sex.
    pub sex: Option<Sex>,
    /// All about the birth, date first.
    pub birth: BirthFacts,
    /// Addresses, each with its use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Telephone and e-mail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub telecoms: Vec<Telecom>,
    /// Mother, father, guardians.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<Relation>,
    /// Registered practice.
    pub gp: Option<GpRegistration>,
    /// Practices that the child was registered with before, as far as a sender named them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gp_history: Vec<GpRegistration>,
    /// Ethnic category, 16+1 letters.
    pub ethnic_category: Option<String>,
    /// Language, as sent.
    pub language: Option<String>,
    /// Religion, as sent.
    pub religion: Option<String>,
    /// Death, where one was notified.
    pub death: Option<Death>,
    /// Sensitivity, consent, hiding.
    pub flags: Flags,
    /// Where the child stands; set by the broker.
    pub status: Option<ChildStatus>,
    /// The record that goes on in its place.
    pub merged_into: Option<crate::names::ChildId>,
    /// Which hub is responsible; set by the broker.
    pub hub: Option<HubAssignment>,
}

/// What an identifier is worth now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdentifierUse {
    /// In force.
    #[default]
    Current,
    /// Replaced by another; still resolves.
    Superseded,
    /// Withdrawn by its issuer.
    Invalidated,
    /// Was never this child's.
    Wrong,
}

/// The system URI of NHS numbers.
pub const NHS_NUMBER_SYSTEM: &str = "https://fhir.nhs.uk/Id/nhs-number";

/// An identifier of a person.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Identifier {
    /// The identifier. An NHS number stands here only with ten digits and a right check digit, without spaces.
    pub value: String,
    /// URI, [`NHS_NUMBER_SYSTEM`] or `urn:v2:<authority>`.
    pub system: String,
    /// `NH`, `MR`, `PI`, `TEMP`, `VN`, `LAB`, `CARD`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// ODS code of who assigned it.
    pub assigner_ods: Option<String>,
    /// NHS number only: verification status 01 to 08.
    pub status: Option<String>,
    /// When it holds.
    pub period: Option<Period>,
    /// What it is worth now.
    #[serde(rename = "use")]
    pub usage: IdentifierUse,
}

impl Identifier {
    /// The NHS number, where this is one and its check digit is right.
    pub fn nhs_number(&self) -> Option<NhsNumber> {
        (self.system == NHS_NUMBER_SYSTEM).then(|| NhsNumber::parse(&self.value).ok()).flatten()
    }
}

impl Child {
    /// The name to show of several: the official or usual one, else the first.
    pub fn name_to_show(&self) -> Option<&Name> {
        let shown = |name: &&Name| matches!(name.usage.as_deref(), Some("official" | "usual"));
        self.names.iter().find(shown).or_else(|| self.names.first())
    }

    /// False for a record that was merged, sealed or invalidated: nothing more goes out of it.
    pub fn goes_on(&self) -> bool {
        !matches!(self.status, Some(ChildStatus::Merged | ChildStatus::Sealed | ChildStatus::Invalidated))
    }

    /// The current NHS number with its verification status.
    pub fn nhs_number(&self) -> Option<(NhsNumber, Option<&str>)> {
        let current = self.identifiers.iter().filter(|id| id.usage == IdentifierUse::Current);
        current.filter_map(|id| Some((id.nhs_number()?, id.status.as_deref()))).next()
    }

    /// The mother, where one is named.
    pub fn mother(&self) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.is_mother())
    }

    /// The home address, else the first that is not old or a place of delivery.
    pub fn home(&self) -> Option<&Address> {
        let home = self.addresses.iter().find(|address| address.usage.as_deref() == Some("home"));
        home.or_else(|| self.addresses.iter().find(|a| !matches!(a.usage.as_deref(), Some("old" | "birth_delivery"))))
    }
}

/// A name with its use.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Name {
    /// Family name.
    pub family: Option<String>,
    /// Given names in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
    /// Titles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<String>,
    /// Suffixes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suffix: Vec<String>,
    /// `usual`, `official`, `alias`, `preferred`, `birth`, `maiden`, `bachelor`, `previous`, `temp`.
    #[serde(rename = "use")]
    pub usage: Option<String>,
    /// `BABY`, `TWIN ONE`: stands in for a name; never compared, never shown to parents (identity rules, section 4).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub placeholder: bool,
    /// When it holds.
    pub period: Option<Period>,
}

/// A postal address with its use.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Address {
    /// One to five lines in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// Normalised: `SE1 9ZZ`.
    pub postcode: Option<String>,
    /// Unique property reference number.
    pub uprn: Option<String>,
    /// `home`, `temp`, `correspondence`, `old`, `birth_delivery`.
    #[serde(rename = "use")]
    pub usage: Option<String>,
    /// When it holds.
    pub period: Option<Period>,
    /// The whole address as one text.
    pub text: Option<String>,
    /// Local authority (GSS code); set by routing.
    pub la_gss: Option<String>,
    /// Lower layer super output area.
    pub lsoa: Option<String>,
    /// Sub-ICB; set by routing.
    pub sub_icb: Option<String>,
    /// `file` or `none`.
    pub resolved_by: Option<String>,
    /// No fixed abode (ZZ99 3VZ).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_fixed_abode: bool,
}

/// A way to reach a person.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telecom {
    /// `phone`, `sms`, `email`.
    pub system: Option<String>,
    /// `home`, `mobile`, `work`, `temp`.
    #[serde(rename = "use")]
    pub usage: Option<String>,
    /// Number or address.
    pub value: String,
    /// 1 is tried first.
    pub rank: Option<i64>,
}

/// Somebody else, as far as the child's care needs them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Relation {
    /// PersonRelationshipType-1 code with two digits: `12` mother, `13` father, `05` guardian.
    pub kind: String,
    /// Name.
    pub name: Option<Name>,
    /// Identifiers; third-party data, used for matching only (identity rules, section 6).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<Identifier>,
    /// Date of birth.
    pub birth_date: Option<Date>,
    /// The mother's maiden name (PID-6); never shown to parents.
    pub birth_family_name: Option<String>,
    /// Address.
    pub address: Option<Address>,
    /// Registered practice, ODS code; of the mother it routes a newborn (routing rules, section 2).
    pub gp_practice_ods: Option<String>,
    /// Telephone and e-mail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub telecoms: Vec<Telecom>,
    /// Holds parental responsibility.
    pub parental_responsibility: Option<bool>,
    /// Sex.
    pub sex: Option<Sex>,
    /// Language.
    pub language: Option<String>,
    /// When it holds.
    pub period: Option<Period>,
    /// `active`, `ended`, `adoption_severed`.
    pub link_status: Option<String>,
}

impl Relation {
    /// The birth mother.
    pub const MOTHER: &'static str = "12";

    /// True for the birth mother.
    pub fn is_mother(&self) -> bool {
        self.kind == Self::MOTHER
    }

    /// Her NHS number, where it is valid.
    pub fn nhs_number(&self) -> Option<NhsNumber> {
        self.identifiers.iter().find_map(Identifier::nhs_number)
    }
}

/// All about a birth. Precedence: PDS, then maternity, then PAS, field by field.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BirthFacts {
    /// Date of birth.
    pub date: Option<Date>,
    /// Time of birth.
    pub time: Option<Instant>,
    /// ODS code of the place.
    pub place_ods: Option<String>,
    /// Actual delivery place, 0 to 9.
    pub place_type: Option<String>,
    /// Place in words.
    pub place_text: Option<String>,
    /// Grams.
    pub weight_g: Option<i64>,
    /// Completed weeks.
    pub gestation_weeks: Option<i64>,
    /// Days over the completed weeks.
    pub gestation_days: Option<i64>,
    /// 1 is the first of the confinement.
    pub birth_order: Option<i64>,
    /// Babies of this confinement.
    pub births_in_confinement: Option<i64>,
    /// One of several.
    pub multiple: Option<bool>,
    /// 1 live, 2 stillbirth ante-partum, 3 intra-partum, 4 indeterminate, 5 dead.
    pub live_still: Option<String>,
    /// `Y`, `N`, `U`.
    pub congenital_anomaly: Option<String>,
    /// Delivery method, 0 to 9.
    pub delivery_method: Option<String>,
    /// Resuscitation code.
    pub resuscitation: Option<String>,
    /// Apgar score at one minute.
    pub apgar_1: Option<i64>,
    /// Apgar score at five minutes.
    pub apgar_5: Option<i64>,
    /// Apgar score at ten minutes.
    pub apgar_10: Option<i64>,
    /// 0 normal, 1 special, 2 high dependency, 3 intensive.
    pub neonatal_care_level: Option<String>,
    /// ODS code of the registering authority.
    pub registering_authority: Option<String>,
    /// ODS code of the child health organisation where the baby lives.
    pub responsible_cho: Option<String>,
    /// ODS code of the child health organisation where the baby was born.
    pub partner_cho: Option<String>,
    /// When it was notified.
    pub notified_at: Option<Instant>,
    /// Who notified, as sent.
    pub notifier: Option<String>,
}

impl BirthFacts {
    /// True for a baby born dead (identity rules, section 7).
    pub fn is_stillbirth(&self) -> bool {
        matches!(self.live_still.as_deref(), Some("2" | "3" | "4"))
    }

    /// True where more than one baby was born, or the order says so; 8 and 9 are no order (identity rules, section 5).
    pub fn is_multiple(&self) -> bool {
        let order = self.birth_order.is_some_and(|order| (2..8).contains(&order));
        self.multiple == Some(true) || self.births_in_confinement.is_some_and(|n| n > 1) || order
    }
}

/// A death, as far as it was notified.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Death {
    /// `informal`, `formal`, `removed`.
    pub status: Option<String>,
    /// When.
    pub date_time: Option<Instant>,
    /// When the notification took effect.
    pub effective_at: Option<Instant>,
    /// Recorded as a stillbirth.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stillbirth: bool,
    /// `discharge` where a discharge says so, [`Death::INDICATOR`] where a field of the person does. A removal with a ground takes
    /// back what was said on that ground only.
    pub ground: Option<String>,
}

impl Death {
    /// The ground of a death that a field of the person says (PID-30); also that of a death without a ground.
    pub const INDICATOR: &'static str = "indicator";

    /// True where this says that the person died: a status other than `removed`, or without one a date (a national record that
    /// gives `deceasedDateTime` alone).
    pub fn is_told(&self) -> bool {
        self.status.as_deref().map_or(self.date_time.is_some(), |status| status != "removed")
    }
}

/// A registration with a practice. A cleared `practice_ods` means not registered, an absent one not known.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GpRegistration {
    /// ODS code of the practice.
    pub practice_ods: Option<String>,
    /// National code of the practitioner.
    pub practitioner_code: Option<String>,
    /// Since.
    pub from: Option<Instant>,
    /// Until.
    pub to: Option<Instant>,
}

impl GpRegistration {
    /// Codes of the ODS that stand for "no practice": not registered, not applicable, not known (from memory).
    const NO_PRACTICE: [&str; 3] = ["V81997", "V81998", "V81999"];

    /// True for a code that names a practice.
    pub fn is_practice(ods: &str) -> bool {
        !Self::NO_PRACTICE.iter().any(|none| none.eq_ignore_ascii_case(ods.trim()))
    }

    /// The practice, where there is one.
    pub fn practice(&self) -> Option<&str> {
        self.practice_ods.as_deref().filter(|ods| Self::is_practice(ods))
    }
}

/// What may be shown, and to whom.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Flags {
    /// `unrestricted`, `restricted` (S-flag), `very_restricted`, `invalid` (I-flag). Absent: nobody said.
    pub sensitivity: Option<String>,
    /// Hidden by the local system (ZU8-4 1, PD1-12 Y).
    pub local_hiding: Option<bool>,
    /// `implied`, `consent`, `dissent`, `unknown`.
    pub share_consent: Option<String>,
    /// Nothing may link to an earlier record.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub adoption_barrier: bool,
    /// PID-31: a pseudo-person; exact identifiers only.
    pub identity_unknown: Option<bool>,
    /// BCG eligible.
    pub bcg_eligible: Option<bool>,
    /// A person must look at the birth (its admission was cancelled).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub birth_needs_review: bool,
}

impl Flags {
    /// True where location must not leave the responsible hub (identity rules, section 9).
    pub fn is_restricted(&self) -> bool {
        self.local_hiding == Some(true) || matches!(self.sensitivity.as_deref(), Some("restricted" | "very_restricted" | "invalid"))
    }
}

/// Which hub is responsible, and on which ground.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubAssignment {
    /// The hub, or `OUT`, `UNKNOWN`.
    pub hub: crate::names::HubName,
    /// The ground.
    pub basis: HubBasis,
    /// Hubs that get a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interested: Vec<crate::names::HubName>,
    /// Outside the area of all hubs: the hub that was responsible last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<crate::names::HubName>,
}

/// The ground of a responsibility (routing rules, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HubBasis {
    /// The child's practice.
    Gp,
    /// The child's home.
    Address,
    /// The mother's practice, in the first 28 days.
    MotherGp,
    /// The mother's home, in the first 28 days.
    MotherAddress,
    /// The organisation named in the birth notification.
    ChoCode,
    /// A person decided.
    Manual,
    /// The place of birth, or the default hub.
    Default,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_number_is_the_childs_and_a_former_one_is_not() {
        let id = |value: &str, usage| Identifier {
            value: value.to_owned(),
            system: NHS_NUMBER_SYSTEM.to_owned(),
            usage,
            ..Identifier::default()
        };
        let mut child = Child { identifiers: vec![id("9990000018", IdentifierUse::Superseded)], ..Child::default() };
        assert_eq!(child.nhs_number(), None);
        // A wrong check digit is no number, whatever it is called.
        child.identifiers.push(id("9990000019", IdentifierUse::Current));
        assert_eq!(child.nhs_number(), None);
        child.identifiers.push(id("9990000026", IdentifierUse::Current));
        assert_eq!(child.nhs_number().map(|(number, _)| number.to_string()).as_deref(), Some("9990000026"));
    }

    #[test]
    fn home_is_where_the_child_lives_and_never_where_it_was_born() {
        let address = |usage: Option<&str>| Address { usage: usage.map(str::to_owned), ..Address::default() };
        let home = |addresses: &[Option<&str>]| {
            let child = Child { addresses: addresses.iter().map(|usage| address(*usage)).collect(), ..Child::default() };
            child.home().map(|home| home.usage.clone())
        };
        assert_eq!(home(&[Some("temp"), Some("home")]), Some(Some("home".to_owned())));
        assert_eq!(home(&[Some("old"), Some("birth_delivery"), None]), Some(None));
        assert_eq!(home(&[Some("old"), Some("birth_delivery")]), None);
    }

    #[test]
    fn what_was_not_said_is_not_written() {
        assert_eq!(serde_json::to_string(&Child::default()).unwrap(), r#"{"birth":{},"flags":{}}"#);
        assert!(serde_json::from_str::<Child>(r#"{"brith":{}}"#).is_err(), "an unknown field is an error, not a loss");
    }
}
