//! The Bundle: assembled as a tree, so that no Bundle type of fhir-sdk is ever compiled.

use serde_json::{Value, json};

/// One entry of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// How other entries refer to it, `urn:uuid:…`.
    pub full_url: String,
    /// What is sent.
    pub resource: Value,
    /// Relative URL of a `PUT`: `Observation/{id}`, or a conditional update `Patient?identifier=…|…`.
    pub put: String,
}

/// A Bundle of type transaction. `timestamp` is an instant in RFC 3339.
pub fn transaction(id: &str, timestamp: &str, entries: Vec<Entry>) -> Value {
    let entries: Vec<Value> = entries.into_iter().map(entry).collect();
    json!({ "resourceType": "Bundle", "id": id, "type": "transaction", "timestamp": timestamp, "entry": entries })
}

fn entry(entry: Entry) -> Value {
    json!({ "fullUrl": entry.full_url, "resource": entry.resource, "request": { "method": "PUT", "url": entry.put } })
}
