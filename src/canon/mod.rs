//! The canonical child-health model: what every sender's dialect is translated into, and all that a
//! destination ever sees.
//!
//! # What lives here
//!
//! - [`Statement`]: what one message says about one child. Mapping makes it, nothing else does.
//! - [`Child`] and its parts: the merged record, and, inside a statement, only the facts that were said.
//! - One struct for each aggregate of the model ([`BloodSpotResult`], [`HearingScreen`], …).
//! - [`current_outcomes`]: which blood spot outcome counts, of all samples.
//! - [`NhsNumber`]: ten digits whose check digit was verified.
//!
//! # Three states of a field
//!
//! `None` is *absent*: nobody said anything. `Some` is a value. *Null* (HL7 `""`) is a path in
//! [`Statement::clears`]: the sender says that there is none.
//!
//! # Not here
//!
//! No matching, no routing, no wire format. A field's meaning is stated; what follows from it is decided elsewhere.

mod current;
mod event;
mod nhs_number;
mod person;
mod screening;
mod services;
mod time;

pub use current::*;
pub use event::*;
pub use nhs_number::*;
pub use person::*;
pub use screening::*;
pub use services::*;
pub use time::*;

use serde::{Deserialize, Serialize};

/// A code with its system. `display` is the sender's text; `text` is free text where there was no code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// URI of the code system, `http://snomed.info/sct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The code as sent, or as the table says.
    pub code: String,
    /// What the sender calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Free text beside the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A number with its UCUM unit. The number stays text, so that `3.10` stays `3.10`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// Decimal digits as sent.
    pub value: String,
    /// UCUM unit, `g`.
    pub unit: String,
}

/// From when to when something holds; an open end is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// First moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Instant>,
    /// Last moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Instant>,
}

/// The JSON Schema of everything that mapping can say: the root is [`Statement`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Statement).to_value()
}
