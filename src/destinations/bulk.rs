//! What stands of a child as FHIR resources, each once: for export and for queries, where a transaction has no place.
//!
//! The same rendering as a hub is sent ([`super::record`]); references are relative (`Patient/…`), as in files of a bulk export.

use std::collections::HashMap;

use serde_json::Value;

use super::record::{Audience, whole_record_for};
use crate::outbox::FiledEvent;

/// The resources of a child: first the person and the birth as `person` has them, then what each of `standing` says. Empty where nothing of
/// the child may go out. The id of each is the same wherever it is shown.
pub fn standing_resources(person: &FiledEvent, standing: &[FiledEvent], audience: Audience) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let events = std::iter::once((person, true)).chain(standing.iter().map(|event| (event, false)));
    for (event, is_person) in events {
        for (name, resource) in resources(event, audience) {
            let about_the_person = name.starts_with("Patient/") || name.starts_with("RelatedPerson/");
            // Nobody said the record: who said what of it stands with the facts.
            if if is_person { name.starts_with("Provenance/") } else { about_the_person } {
                continue;
            }
            match places.get(&name).and_then(|place| all.get_mut(*place)) {
                Some(known) => *known = resource,
                None => {
                    places.insert(name, all.len());
                    all.push(resource);
                }
            }
        }
    }
    all
}

/// The resources of one event with their names, `Observation/…`.
fn resources(event: &FiledEvent, audience: Audience) -> Vec<(String, Value)> {
    let body = whole_record_for(event, audience);
    let mut bundle: Value = serde_json::from_slice(&body).unwrap_or_default();
    let entries = bundle.get_mut("entry").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let name = |entry: &Value| {
        let url = entry.get("fullUrl")?.as_str()?;
        let kind = entry.get("resource")?.get("resourceType")?.as_str()?;
        Some((url.to_owned(), format!("{kind}/{}", url.strip_prefix("urn:uuid:")?)))
    };
    let names: HashMap<String, String> = entries.iter().filter_map(name).collect();
    let mut named = Vec::with_capacity(entries.len());
    for mut entry in entries {
        let Some((_, name)) = name(&entry) else { continue };
        let Some(mut resource) = entry.get_mut("resource").map(Value::take) else { continue };
        if let (Some(fields), Some((_, id))) = (resource.as_object_mut(), name.split_once('/')) {
            fields.insert("id".to_owned(), id.into());
        }
        refer(&mut resource, &names);
        named.push((name, resource));
    }
    named
}

/// Makes references inside a Bundle relative ones.
fn refer(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match field {
                    Value::String(url) if key == "reference" => {
                        if let Some(name) = names.get(url.as_str()) {
                            url.clone_from(name);
                        }
                    }
                    field => refer(field, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, names)),
        _ => {}
    }
}
