//! Which child a statement is about: the same as one we know, a new one, or a person must look; and what
//! the record says once it is filed.
//!
//! # In this folder
//!
//! - [`decide`]: the match, step by step, each step with its evidence (identity rules, section 2).
//! - `birth`: steps 3 and 4 of it, which find a child without an identifier of its own, and where they are forbidden.
//! - [`merge`]: the record after a statement, field by field (canonical model, sections 1 and 4).
//! - [`decide_change`]: what a merge, a renaming or a link does (section 3); [`unite`]: the record of two that are one child; [`detach`]: of
//!   one that has an identifier no longer.
//! - [`plain_name`], [`is_placeholder`]: names for comparison, and names that are none.
//!
//! # What always holds
//!
//! - Nothing is filed by a name alone, and no likeness is ever weighed: a step hits or it does not.
//! - Of several babies of one birth none is told from another by anything but its NHS number or local identifier.
//! - After an adoption nothing leads from the new record to the old.
//! - A record has at most one current NHS number.
//! - The same statements give the same fields, in whatever order they came.
//!
//! # Not here
//!
//! No index and no clock: [`ChildIndex`] is asked, and time is the time of the event. Which hub is responsible is
//! decided by routing. What becomes of the rows of two children that are one is the store's.

mod birth;
mod change;
mod decide;
mod kin;
mod merge;
mod name;
mod word;

use jiff::civil;
use serde::{Deserialize, Serialize};

use crate::canon::{Child, ChildStatus, Identifier, NhsNumber, Sex};
use crate::names::ChildId;

pub use birth::{ONE_BIRTH_DAYS, POSSIBLE, has_two_mothers, is_barred, likeness_marks, might_be, mothers_ids};
pub use change::{Change, decide_change, identifiers_of, unlinked_sides};
pub use decide::{decide, known_otherwise};
pub use merge::{Record, detach, merge, unite};
pub use name::{is_placeholder, plain_name};
pub use word::Kept;

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

    /// The child that has this identifier, of whichever kind it is.
    fn holder(&self, id: &Identifier) -> Result<Option<Sketch>, IndexError> {
        match id.nhs_number() {
            Some(number) => self.by_nhs_number(number),
            None => self.by_local_id(&id.system, &id.value),
        }
    }

    /// True where this identifier is on record as that of a child's mother or another relation.
    fn is_a_relations(&self, _system: &str, _value: &str) -> Result<bool, IndexError> {
        Ok(false)
    }

    /// Children whose mother has this identifier, born from the first to the last of these days. Sealed ones are not among them.
    fn by_mother(&self, _system: &str, _value: &str, _days: (civil::Date, civil::Date)) -> Result<Vec<Sketch>, IndexError> {
        Ok(Vec::new())
    }

    /// Children born on this day under one of these [`likeness_marks`]; whether they agree is for the caller to compare.
    fn by_likeness(&self, _born: civil::Date, _marks: &[i64]) -> Result<Vec<Sketch>, IndexError> {
        Ok(Vec::new())
    }

    /// True where the mother of this child has another one, born within so many days.
    fn has_siblings(&self, _child: ChildId, _days: i64) -> Result<bool, IndexError> {
        Ok(false)
    }
}

/// Why it was decided so, step by step: kept with the event and shown by `child --why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `0 identity-unknown`, `1 nhs-number`, `2 local-id`, `3 birth-triple`, `3 possible-match`, `4 demographic`, `5 new`,
    /// `6 identity-change`, `7 person`.
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
    /// A person must look.
    Held {
        /// Stable: `identity-mismatch`, `identity-conflict`, `unmatched`, `status-forbids`, `no-identifier`,
        /// `no-birth-date`, `birth-date-implausible`, `record-closed`.
        code: &'static str,
        /// For the person who looks: what did not fit. Quotes nothing.
        text: String,
        /// Every step that was tried.
        evidence: Vec<Evidence>,
    },
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
    /// Precedence of the source: 3 national, 2 maternity or laboratory, 1 PAS, 0 other; 4 a practice, which comes between national and
    /// maternity for address, practice and death, beside maternity for the person, and after all for a birth.
    pub rank: u8,
    /// The source's name.
    pub source: String,
}

/// Age in whole days at `on`, where the date of birth is known to the day. Negative before the birth.
pub fn age_days(child: &Child, on: civil::Date) -> Option<i64> {
    let born = child.birth.date.as_ref()?.civil()?;
    on.since(born).ok().map(|age| i64::from(age.get_days()))
}

/// Compared sexes agree, or one of them does not say.
pub fn sex_agrees(a: Option<Sex>, b: Option<Sex>) -> bool {
    match (stated(a), stated(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// Male or female; "not known" and "not specified" say nothing that could be compared.
fn stated(sex: Option<Sex>) -> Option<Sex> {
    sex.filter(|sex| matches!(sex, Sex::Male | Sex::Female))
}
