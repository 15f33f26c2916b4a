//! Which child a statement is about: the same as one we know, a new one, or a person must look.

use jiff::civil;
use serde::{Deserialize, Serialize};

use crate::canon::{Child, ChildStatus, NhsNumber, Sex, Statement};
use crate::names::ChildId;

/// As much of a known child as matching compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    /// Our id.
    pub id: ChildId,
    /// The merged record.
    pub child: Child,
    /// Where it stands.
    pub status: ChildStatus,
}

/// The index could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the identity index could not be read: {0}")]
pub struct IndexError(pub String);

/// What matching needs to know of the children on record. A merged child is given as the one that goes on in its place.
pub trait ChildIndex {
    /// The child whose current or superseded NHS number this is.
    fn by_nhs_number(&self, number: NhsNumber) -> Result<Option<Sketch>, IndexError>;
    /// The child that has this local identifier (`system` is `urn:v2:<authority>` or a URI).
    fn by_local_id(&self, system: &str, value: &str) -> Result<Option<Sketch>, IndexError>;
}

/// Why it was decided so, step by step: kept with the event and shown by `child --why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `1 nhs-number`, `2 local-id`, `5 new`.
    pub step: String,
    /// What was compared and how it came out. Names fields, does not quote values.
    pub text: String,
}

/// The decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// This child.
    Known(ChildId, Vec<Evidence>),
    /// Nobody we know; the statement may create.
    New(ChildStatus, Vec<Evidence>),
    /// A person must look. `code` is stable: `identity-mismatch`, `identity-conflict`, `unmatched`, `status-forbids`, `no-identifier`.
    Held { code: &'static str, text: String, evidence: Vec<Evidence> },
}

/// Decides (identity rules, section 2: steps 0, 1, 2, 5).
pub fn decide(_statement: &Statement, _index: &dyn ChildIndex) -> Result<Match, IndexError> {
    unimplemented!()
}

/// For comparison only: NFKD, no diacritics, upper case, letters only.
pub fn plain_name(_name: &str) -> String {
    unimplemented!()
}

/// True for `BABY`, `TWIN ONE`, `B/O SMITH` (identity rules, section 4).
pub fn is_placeholder(_family: Option<&str>, _given: &[String]) -> bool {
    unimplemented!()
}

/// Merges what a statement says into a record, field by field, by event time and source precedence (canonical
/// model, sections 1 and 4). `None` makes a new record. Returns the record and the dotted paths that changed.
pub fn merge(_record: Option<&Record>, _statement: &Statement, _said: &Said) -> (Record, Vec<String>) {
    unimplemented!()
}

/// The merged record with, for each field group, who said it and when: what [`merge`] needs to decide the next time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The child as known now.
    pub child: Child,
    /// Field group (`names`, `sex`, `birth.weight_g`, `gp`, …) to who said it.
    pub said: std::collections::BTreeMap<String, Said>,
}

/// Who said something, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Event time (ordering key), microseconds since 1970.
    pub at_us: i64,
    /// Decides between equal times: version, then sequence.
    pub version: i64,
    /// The entry.
    pub seq: i64,
    /// Precedence of the source: 3 national, 2 maternity or laboratory, 1 PAS, 0 other.
    pub rank: u8,
    /// The source's name.
    pub source: String,
}

/// Age in whole days at `on`, where the date of birth is known to the day.
pub fn age_days(_child: &Child, _on: civil::Date) -> Option<i64> {
    unimplemented!()
}

/// Compared sexes agree, or one of them does not say.
pub fn sex_agrees(_a: Option<Sex>, _b: Option<Sex>) -> bool {
    unimplemented!()
}
