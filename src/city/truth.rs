//! The truth beside a city: what must be so once all of its messages were sent, child by child. Written as `truth.ndjson`, a line for
//! each child; whoever doubts a result reads the child's line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the whole city is: `city.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// Children born or moved in; one that was adopted counts twice.
    pub births: usize,
    /// Days from 5 January 2026.
    pub days: i64,
    /// How much went wrong.
    pub faults: super::Faults,
    /// Messages on the network.
    pub messages: usize,
    /// Records that people seal while the city lives.
    pub sealed: usize,
    /// The first moment, RFC 3339.
    pub begins: String,
    /// The moment after the last day, RFC 3339.
    pub ends: String,
    /// Stories and faults, and how many children have them.
    pub stories: BTreeMap<String, usize>,
}

/// A hub or a store that must have something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owed {
    /// The hub.
    pub hub: String,
    /// The feature of the broker without which it cannot have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

/// Who is responsible from when on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubSpan {
    /// When it became so: the moment in which the network carried what decides it, RFC 3339.
    pub from: String,
    /// `NE`, `NW`, `SE`, `SW`, `OUT`, `UNKNOWN`.
    pub hub: String,
    /// `gp`, `mother_gp`, `address`, `mother_address`, `default`.
    pub basis: String,
    /// Hubs that get copies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Becomes {
    /// Filed under its child.
    Filed,
    /// Held for a person.
    Held,
    /// The same bytes came before.
    Duplicate,
}

impl Becomes {
    /// The standing's word in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filed => "filed",
            Self::Held => "held",
            Self::Duplicate => "duplicate",
        }
    }
}

/// A message about a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthMessage {
    /// When the network carries it, RFC 3339.
    pub at: String,
    /// Source of `city.toml`.
    pub source: String,
    /// MSH-10 or MessageHeader.id.
    pub control: String,
    /// In a word: `birth`, `blood-spot`, `national-address`.
    pub says: String,
    /// What becomes of it.
    pub becomes: Becomes,
    /// Held: `conflict`, `mother`, `unmatched`, `closed`, `unreadable`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Features without which it becomes something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Filed: the stores that get it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<Owed>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fault: String,
}

/// What stands at the end under a publisher's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TruthItem {
    /// `blood-spot`, `hearing`, `nipe`, `review`, `immunisation`.
    pub kind: String,
    /// Who publishes it.
    pub publisher: String,
    /// The publisher's key.
    pub key: String,
    /// Where it must be: the store of the hub that is responsible at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<Owed>,
    /// Features without which it does not stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// The word for a child that did not die.
pub const ALIVE: &str = "none";

/// What the record must say. Absent: not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthRecord {
    /// The NHS number in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nhs_number: Option<String>,
    /// Date of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<String>,
    /// `1` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sex: Option<String>,
    /// Grams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_g: Option<i64>,
    /// ODS code of the practice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub practice: Option<String>,
    /// Postcode of the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postcode: Option<String>,
    /// A given name that must be among the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// `informal`, `formal`; `none` where nobody says it or whoever said it took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<String>,
    /// `stillborn`, `sealed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `restricted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<String>,
}

/// A failsafe clock that runs out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthClock {
    /// Its id: `NBS_SAMPLE`.
    pub clock: String,
    /// The first London date on which it is a breach.
    pub breach: String,
    /// The London date on which it was met after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// A birth on the list that a hub gets at the end of a day (routing rules, section 5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TruthBirth {
    /// London date of the list.
    pub day: String,
    /// Whose list.
    pub hub: String,
    /// `here` or `elsewhere`.
    pub section: String,
    /// It need not stand there: a second record, which a broker may have found to be none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may: bool,
}

/// A child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthChild {
    /// The child's id in the truth: `c000012`.
    pub child: String,
    /// What is not ordinary about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub story: Vec<String>,
    /// Features without which nothing can be said of this child but that no other child's events are on its record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// How many records it must have: more than one only where nothing but a person could say that they are one child.
    pub records: usize,
    /// Family name.
    pub family: String,
    /// The identifiers that were given for it, `authority|value`.
    pub identifiers: Vec<String>,
    /// Who was responsible when.
    pub hubs: Vec<HubSpan>,
    /// The stores that must have the child.
    pub stores: Vec<Owed>,
    /// What the record must say.
    pub record: TruthRecord,
    /// What stands under publishers' keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<TruthItem>,
    /// The blood spot outcome that counts, by condition.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<String, String>,
    /// Clocks that run out while the city lives. Absent: not judged (moved in or out, restricted, sealed, several records).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Vec<TruthClock>>,
    /// The births lists that it stands on; on no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub births: Vec<TruthBirth>,
    /// All messages about it, in the order of the network.
    pub messages: Vec<TruthMessage>,
}

/// A line of `messages.ndjson`, in the order of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Network time, RFC 3339.
    pub at: String,
    /// Source of `city.toml`.
    pub source: String,
    /// The loopback address that it is sent from.
    pub from: String,
    /// `mllp` or `http`.
    pub protocol: String,
    /// For HTTP.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// For HTTP: the media type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media: String,
    /// MSH-10 or MessageHeader.id.
    pub control: String,
    /// The message, as it is sent (UTF-8; HL7 v2 without the MLLP frame).
    pub text: String,
}

/// A line of `acts.ndjson`: what a person does, by a command of this program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthAct {
    /// When, RFC 3339.
    pub at: String,
    /// The child in the truth.
    pub child: String,
    /// The feature that it needs.
    pub needs: String,
    /// An identifier by which the child is found.
    pub find: String,
    /// Arguments of `chis-broker`; `{child}` and `{admin}` are put in.
    pub command: Vec<String>,
}
