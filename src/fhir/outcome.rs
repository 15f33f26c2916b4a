//! OperationOutcome.
use super::Problem;
use serde_json::Value;
/// `error`, `warning`, `information`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity { Error, Warning, Information }
/// Builds an OperationOutcome (same shape in STU3 and R4; `expression` carries the location).
pub fn outcome(_severity: Severity, _problems: &[Problem]) -> Value { unimplemented!() }
/// The same as XML.
pub fn outcome_xml(_severity: Severity, _problems: &[Problem]) -> String { unimplemented!() }
