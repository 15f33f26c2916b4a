//! The outside of a message Bundle: what the door must know.
use super::Problem;
use serde_json::Value;
/// What identifies a message Bundle.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BundleHead {
    /// `message`, `transaction`, `batch`, `collection`.
    pub kind: String,
    /// MessageHeader.id, else Bundle.identifier.value, else Bundle.id.
    pub message_id: Option<String>,
    /// Event code, `pds-birth-notification-1`; older EMS codes are given under their new names.
    pub event: Option<String>,
    /// ODS code or ASID of the source, as the header says.
    pub source: Option<String>,
}
/// Reads the outside of a Bundle; a tree that is none, or a message without MessageHeader as entry 0, is a problem.
pub fn bundle_head(_tree: &Value) -> Result<BundleHead, Problem> { unimplemented!() }
