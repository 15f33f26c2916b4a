//! FHIR JSON and XML in, one generic tree out; outcomes back. Pure: no socket, no clock.
//!
//! The tree is a [`serde_json::Value`]; decimals are kept as text (a JSON string) so that nothing is rounded.

mod bundle;
mod json;
mod outcome;
mod path;
mod xml;

pub use bundle::*;
pub use json::*;
pub use outcome::*;
pub use path::*;
pub use xml::*;

/// Bounds of one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting, 64.
    pub depth_max: usize,
    /// Elements, 200,000.
    pub nodes_max: usize,
}
impl Default for Limits {
    fn default() -> Self { Self { depth_max: 64, nodes_max: 200_000 } }
}

/// FHIR release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release { Stu3, R4 }

/// What is wrong with a document and where; never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at {location}")]
pub struct Problem {
    /// OperationOutcome issue type: `structure`, `invalid`, `required`, `not-supported`, `too-long`, `duplicate`, `transient`.
    pub code: &'static str,
    /// `line 3, column 14`, or a FHIRPath expression `Bundle.entry[0].resource`.
    pub location: String,
    /// What is wrong and what would help.
    pub message: String,
}
