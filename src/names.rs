//! Typed names shared by all: wherever two arguments could be swapped, one of these stands between them.
//!
//! # Invariants
//!
//! - A name is made once, where it is read (configuration, ledger), and compared cheaply afterwards.
//! - [`Seq`] orders entries; nothing else does. Wall time never decides an order.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The place of an entry in the journal. Starts at 1, never repeats, never skips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub i64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the name as it is written.
            pub fn new(name: impl AsRef<str>) -> Self {
                Self(Arc::from(name.as_ref()))
            }

            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

text_name! {
    /// Who sends: a name from the configuration, `rj1-maternity`.
    SourceName
}
text_name! {
    /// Who receives: a name from the configuration, `hub-ne`, `e-redbook`.
    DestinationName
}
text_name! {
    /// A child health hub of `hubs.toml`, `NE`; or `OUT` and `UNKNOWN` (routing rules, section 3).
    HubName
}
text_name! {
    /// The `id` of a mapping file, `bloodspot-oru`.
    MappingName
}
text_name! {
    /// SHA-256 (hex) over all mapping files and tables compiled together: which rules spoke.
    BundleHash
}

impl HubName {
    /// Outside the area of all hubs.
    pub const OUT: &'static str = "OUT";
    /// Nothing says where the child belongs; the default hub looks.
    pub const UNKNOWN: &'static str = "UNKNOWN";
}

/// Our own, stable id of a child. The only thing about a child that may stand in a log or a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String")]
pub struct ChildId(pub Uuid);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of one canonical event: the same entry filed again gives the same id, so that a receiver
/// that has it already knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String")]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// In which dialect a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// HL7 v2, vertical bars.
    Hl7v2,
    /// FHIR STU3 as XML.
    Stu3Xml,
    /// FHIR STU3 as JSON.
    Stu3Json,
    /// FHIR R4 as XML.
    R4Xml,
    /// FHIR R4 as JSON.
    R4Json,
    /// One canonical statement as JSON: migration.
    CanonicalJson,
    /// One row of a CSV extract with its header and the name of its mapping: migration.
    CsvRow,
}

impl Format {
    /// The word in listings and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hl7v2 => "hl7v2",
            Self::Stu3Xml => "stu3-xml",
            Self::Stu3Json => "stu3-json",
            Self::R4Xml => "r4-xml",
            Self::R4Json => "r4-json",
            Self::CanonicalJson => "canonical-json",
            Self::CsvRow => "csv-row",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Hl7v2, Self::Stu3Xml, Self::Stu3Json, Self::R4Xml, Self::R4Json, Self::CanonicalJson, Self::CsvRow];
        all.into_iter().find(|format| format.as_str() == word)
    }
}
