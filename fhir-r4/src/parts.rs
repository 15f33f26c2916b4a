//! The data types that resources are made of: ours, and how each becomes fhir-sdk's.

use std::num::NonZeroU32;

use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::types as sdk;

use crate::{NotBuilt, When, url};

/// A code of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coding {
    /// URI of the system.
    pub system: String,
    /// The code.
    pub code: String,
    /// What people call it.
    pub display: Option<String>,
}

/// Codes that mean the same, and words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concept {
    /// Codes.
    pub codings: Vec<Coding>,
    /// Words.
    pub text: Option<String>,
}

impl Concept {
    /// One code with its words.
    pub fn coded(system: &str, code: &str, display: &str) -> Self {
        let display = (!display.is_empty()).then(|| display.to_owned());
        Self { codings: vec![Coding { system: system.to_owned(), code: code.to_owned(), display }], text: None }
    }

    /// Words only.
    pub fn words(text: &str) -> Self {
        Self { codings: Vec::new(), text: Some(text.to_owned()) }
    }
}

/// A number with its UCUM unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantity {
    /// Decimal digits. Trailing zeros after the point are not kept: fhir-sdk has binary fractions.
    pub value: String,
    /// UCUM unit.
    pub unit: String,
}

/// From when to when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// First moment.
    pub start: Option<When>,
    /// Last moment.
    pub end: Option<When>,
}

/// What an identifier is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentifierUse {
    /// The one to use.
    Official,
    /// Another one.
    Secondary,
    /// For now.
    Temp,
    /// No longer in force.
    Old,
}

/// An identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identifier {
    /// URI of the system.
    pub system: String,
    /// The identifier.
    pub value: String,
    /// What it is for.
    pub usage: Option<IdentifierUse>,
    /// NHS numbers only: verification status 01 to 08.
    pub verification: Option<String>,
    /// ODS code of who assigned it.
    pub assigner_ods: Option<String>,
    /// When it holds.
    pub period: Period,
}

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameUse {
    /// As called.
    Usual,
    /// As registered.
    Official,
    /// For now.
    Temp,
    /// Among friends.
    Nickname,
    /// No longer.
    Old,
    /// Before a marriage.
    Maiden,
}

/// A person's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// What it is for.
    pub usage: Option<NameUse>,
    /// Family name.
    pub family: Option<String>,
    /// Given names in order.
    pub given: Vec<String>,
    /// Titles.
    pub prefix: Vec<String>,
    /// Suffixes.
    pub suffix: Vec<String>,
    /// When it holds.
    pub period: Period,
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressUse {
    /// Where somebody lives.
    Home,
    /// For now.
    Temp,
    /// No longer.
    Old,
}

/// A postal address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// What it is for.
    pub usage: Option<AddressUse>,
    /// Lines in order.
    pub lines: Vec<String>,
    /// Postcode.
    pub postcode: Option<String>,
    /// The whole in one text.
    pub text: Option<String>,
    /// When it holds.
    pub period: Period,
}

/// By what means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TelecomSystem {
    /// Voice.
    Phone,
    /// Text message.
    Sms,
    /// E-mail.
    Email,
}

/// Where it rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TelecomUse {
    /// At home.
    Home,
    /// In the pocket.
    Mobile,
    /// At work.
    Work,
    /// For now.
    Temp,
}

/// A way to reach a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telecom {
    /// By what means.
    pub system: Option<TelecomSystem>,
    /// Where it rings.
    pub usage: Option<TelecomUse>,
    /// Number or address.
    pub value: String,
    /// 1 is tried first.
    pub rank: Option<u32>,
}

/// What is said of a resource as such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Version of what it says.
    pub version: Option<i64>,
    /// URI of where it came from.
    pub source: Option<String>,
    /// Security labels.
    pub security: Vec<Coding>,
    /// Profiles that it meets.
    pub profile: Vec<String>,
}

/// Each list of FHIR's may hold gaps; ours do not.
pub(crate) fn some<T>(values: Vec<T>) -> Vec<Option<T>> {
    values.into_iter().map(Some).collect()
}

/// Builds each of `values`.
pub(crate) fn each<T, U>(values: &[T], build: fn(&T) -> Result<U, NotBuilt>) -> Result<Vec<Option<U>>, NotBuilt> {
    values.iter().map(|value| build(value).map(Some)).collect()
}

pub(crate) fn not_built(error: impl std::fmt::Display) -> NotBuilt {
    NotBuilt(error.to_string())
}

pub(crate) fn coding(value: &Coding) -> Result<sdk::Coding, NotBuilt> {
    let mut built = sdk::Coding::builder().system(value.system.clone()).code(value.code.clone());
    if let Some(display) = &value.display {
        built = built.display(display.clone());
    }
    built.build().map_err(not_built)
}

pub(crate) fn concept(value: &Concept) -> Result<sdk::CodeableConcept, NotBuilt> {
    let mut built = sdk::CodeableConcept::builder().coding(each(&value.codings, coding)?);
    if let Some(text) = &value.text {
        built = built.text(text.clone());
    }
    built.build().map_err(not_built)
}

/// `None` where the digits are no number.
pub(crate) fn quantity(value: &Quantity) -> Result<Option<sdk::Quantity>, NotBuilt> {
    let Some(number) = value.value.parse::<f64>().ok().filter(|number| number.is_finite()) else { return Ok(None) };
    let built = sdk::Quantity::builder().value(number).unit(value.unit.clone()).system(url::UCUM.to_owned()).code(value.unit.clone());
    built.build().map(Some).map_err(not_built)
}

/// `None` where both ends are open.
pub(crate) fn period(value: &Period) -> Result<Option<sdk::Period>, NotBuilt> {
    if *value == Period::default() {
        return Ok(None);
    }
    let mut built = sdk::Period::builder();
    if let Some(start) = value.start {
        built = built.start(start.date_time());
    }
    if let Some(end) = value.end {
        built = built.end(end.date_time());
    }
    built.build().map(Some).map_err(not_built)
}

pub(crate) fn extension(url: &str, value: sdk::ExtensionValue) -> Result<sdk::Extension, NotBuilt> {
    sdk::Extension::builder().url(url.to_owned()).value(value).build().map_err(not_built)
}

pub(crate) fn reference(target: &str) -> Result<sdk::Reference, NotBuilt> {
    sdk::Reference::builder().reference(target.to_owned()).build().map_err(not_built)
}

/// A reference to what only its identifier is known of.
pub(crate) fn logical_reference(value: &Identifier) -> Result<sdk::Reference, NotBuilt> {
    sdk::Reference::builder().identifier(identifier(value)?).build().map_err(not_built)
}

/// A reference to an organisation by its ODS code.
pub(crate) fn organisation(ods: &str) -> Result<sdk::Reference, NotBuilt> {
    logical_reference(&Identifier { system: url::ODS_ORGANISATION.to_owned(), value: ods.to_owned(), ..Identifier::default() })
}

pub(crate) fn identifier(value: &Identifier) -> Result<sdk::Identifier, NotBuilt> {
    let mut built = sdk::Identifier::builder().system(value.system.clone()).value(value.value.clone());
    if let Some(usage) = value.usage {
        built = built.r#use(match usage {
            IdentifierUse::Official => codes::IdentifierUse::Official,
            IdentifierUse::Secondary => codes::IdentifierUse::Secondary,
            IdentifierUse::Temp => codes::IdentifierUse::Temp,
            IdentifierUse::Old => codes::IdentifierUse::Old,
        });
    }
    if let Some(code) = &value.verification {
        let said = concept(&Concept::coded(url::VERIFICATION_STATUS_CODES, code, ""))?;
        built = built.extension(vec![extension(url::VERIFICATION_STATUS, sdk::ExtensionValue::CodeableConcept(said))?]);
    }
    if let Some(ods) = &value.assigner_ods {
        built = built.assigner(organisation(ods)?);
    }
    if let Some(period) = period(&value.period)? {
        built = built.period(period);
    }
    built.build().map_err(not_built)
}

pub(crate) fn name(value: &Name) -> Result<sdk::HumanName, NotBuilt> {
    let mut built =
        sdk::HumanName::builder().given(some(value.given.clone())).prefix(some(value.prefix.clone())).suffix(some(value.suffix.clone()));
    if let Some(usage) = value.usage {
        built = built.r#use(match usage {
            NameUse::Usual => codes::NameUse::Usual,
            NameUse::Official => codes::NameUse::Official,
            NameUse::Temp => codes::NameUse::Temp,
            NameUse::Nickname => codes::NameUse::Nickname,
            NameUse::Old => codes::NameUse::Old,
            NameUse::Maiden => codes::NameUse::Maiden,
        });
    }
    if let Some(family) = &value.family {
        built = built.family(family.clone());
    }
    if let Some(period) = period(&value.period)? {
        built = built.period(period);
    }
    built.build().map_err(not_built)
}

pub(crate) fn address(value: &Address) -> Result<sdk::Address, NotBuilt> {
    let mut built = sdk::Address::builder().line(some(value.lines.clone()));
    if let Some(usage) = value.usage {
        built = built.r#use(match usage {
            AddressUse::Home => codes::AddressUse::Home,
            AddressUse::Temp => codes::AddressUse::Temp,
            AddressUse::Old => codes::AddressUse::Old,
        });
    }
    if let Some(postcode) = &value.postcode {
        built = built.postal_code(postcode.clone());
    }
    if let Some(text) = &value.text {
        built = built.text(text.clone());
    }
    if let Some(period) = period(&value.period)? {
        built = built.period(period);
    }
    built.build().map_err(not_built)
}

pub(crate) fn telecom(value: &Telecom) -> Result<sdk::ContactPoint, NotBuilt> {
    let mut built = sdk::ContactPoint::builder().value(value.value.clone());
    if let Some(system) = value.system {
        built = built.system(match system {
            TelecomSystem::Phone => codes::ContactPointSystem::Phone,
            TelecomSystem::Sms => codes::ContactPointSystem::Sms,
            TelecomSystem::Email => codes::ContactPointSystem::Email,
        });
    }
    if let Some(usage) = value.usage {
        built = built.r#use(match usage {
            TelecomUse::Home => codes::ContactPointUse::Home,
            TelecomUse::Mobile => codes::ContactPointUse::Mobile,
            TelecomUse::Work => codes::ContactPointUse::Work,
            TelecomUse::Temp => codes::ContactPointUse::Temp,
        });
    }
    if let Some(rank) = value.rank.and_then(NonZeroU32::new) {
        built = built.rank(rank);
    }
    built.build().map_err(not_built)
}

pub(crate) fn meta(value: &Meta) -> Result<Option<sdk::Meta>, NotBuilt> {
    if *value == Meta::default() {
        return Ok(None);
    }
    let mut built = sdk::Meta::builder().security(each(&value.security, coding)?).profile(some(value.profile.clone()));
    if let Some(version) = value.version {
        built = built.version_id(version.to_string());
    }
    if let Some(source) = &value.source {
        built = built.source(source.clone());
    }
    built.build().map(Some).map_err(not_built)
}
