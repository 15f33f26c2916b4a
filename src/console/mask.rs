//! Hides what stands in a record or a finding, and keeps its shape: who works on the broker rarely needs to know who the child is.

use serde_json::Value;

/// What stands in place of a hidden value.
pub const HIDDEN: &str = "***";

/// Hides every value below, but plain values under `kept` keys; numbers and dates too, because a weight with an hour of
/// birth is a child. What is an object or a list is looked into even under a kept key.
pub fn mask(value: &mut Value, kept: &[&str]) {
    match value {
        Value::Object(fields) => {
            let is_kept = |key: &str, field: &Value| kept.contains(&key) && !field.is_object() && !field.is_array();
            fields.iter_mut().filter(|(key, field)| !is_kept(key, field)).for_each(|(_, field)| mask(field, kept));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, kept)),
        Value::Null => {}
        hidden => *hidden = Value::String(HIDDEN.to_owned()),
    }
}

/// Hides only the values of `keys`, wherever they are.
pub fn hide(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                if keys.contains(&key.as_str()) {
                    mask(field, &[]);
                } else {
                    hide(field, keys);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, keys)),
        _ => {}
    }
}

/// Hides what follows a bar in the keys of an object: `identifiers.<system>|<value>` names a group by a value. The groups stay
/// apart by a number.
pub fn mask_keys(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    let named = std::mem::take(fields);
    for (number, (key, field)) in named.into_iter().enumerate() {
        let key = match key.split_once('|') {
            Some((group, _)) => format!("{group}|{HIDDEN}{number}"),
            None => key,
        };
        fields.insert(key, field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_is_hidden_but_what_is_kept() {
        let mut record = json!({ "names": [{ "family": "EXAMPLE", "given": ["BABY"] }], "birth": { "weight_g": 3420, "multiple": true }, "hub": { "hub": "SE", "basis": "gp" }, "gp": null });
        mask(&mut record, &["hub", "basis"]);
        assert_eq!(
            record,
            json!({ "names": [{ "family": "***", "given": ["***"] }], "birth": { "weight_g": "***", "multiple": "***" }, "hub": { "hub": "SE", "basis": "gp" }, "gp": null })
        );
    }

    #[test]
    fn a_kept_key_hides_what_is_nested_below_it() {
        let mut line = json!({ "child": "id", "events": [{ "statement": { "child": { "names": ["X"] } } }], "status": ["01"] });
        mask(&mut line, &["child", "status"]);
        assert_eq!(line, json!({ "child": "id", "events": [{ "statement": { "child": { "names": ["***"] } } }], "status": ["***"] }));
    }

    #[test]
    fn a_key_that_names_a_value_is_hidden_too() {
        let mut said = json!({ "sex": 1, "identifiers.urn:v2:RJ1|A1": 2, "identifiers.urn:v2:RJ1|A2": 3 });
        mask_keys(&mut said);
        assert_eq!(said, json!({ "sex": 1, "identifiers.urn:v2:RJ1|***1": 2, "identifiers.urn:v2:RJ1|***2": 3 }));
    }

    #[test]
    fn named_keys_are_hidden_at_any_depth() {
        let mut findings = json!([{ "code": "unmapped-code", "at": "PID-8", "text": "code \"Q\" is not in table sex" }]);
        hide(&mut findings, &["text"]);
        assert_eq!(findings, json!([{ "code": "unmapped-code", "at": "PID-8", "text": "***" }]));
    }
}
