//! What the public examples of the national event service say in canonical words.
//!
//! `tests/nems/NAME.expected.json` was written by reading each example against the specification, not by copying what came
//! out. A statement is compared whole: a field too many fails as one too few does.

#![expect(clippy::expect_used, reason = "a test stops at what it did not expect")]

use chis_broker::mapping::{Bundle, Format, Input, Level, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders of the corpus with examples of the service.
const FOLDERS: [&str; 3] = ["nhs-events-management", "nhs-ems-test-data", "nhs-bloodspot-helper"];

/// The examples by name; `None`, with a word on stderr, if there is no corpus.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn examples() -> Option<Vec<(String, PathBuf)>> {
    let Some(root) = std::env::var_os("CHIS_CORPUS") else {
        eprintln!("not run: CHIS_CORPUS is not set");
        return None;
    };
    let mut examples = Vec::new();
    for folder in FOLDERS {
        for entry in std::fs::read_dir(Path::new(&root).join("fhir").join(folder)).expect("a folder of the corpus") {
            let path = entry.expect("a file of the corpus").path();
            examples.push((path.file_stem().expect("a name").to_string_lossy().into_owned(), path));
        }
    }
    examples.sort();
    Some(examples)
}

fn expectations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nems")
}

/// What the shipped mappings make of a message, in the words of an expectation.
fn said(bundle: &Bundle, path: &Path) -> Value {
    let body = std::fs::read(path).expect("a file of the corpus");
    let reading = bundle
        .read(&Input { format: Format::Stu3Xml, body: &body, default_charset: None, allow_test_numbers: false, received: None }, false);
    let level = |level| match level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Hold => "hold",
    };
    let words = reading.findings.iter().map(|finding| format!("{} {} {}", level(finding.level), finding.code, finding.field));
    let findings: BTreeSet<String> = words.map(|words| words.trim().to_owned()).collect();
    let mapping = reading.mapping.map(|name| name.to_string());
    match reading.outcome {
        // Nothing of a message that is held is filed.
        Outcome::Held => json!({ "outcome": "held", "mapping": mapping, "findings": findings }),
        Outcome::Mapped => json!({ "outcome": "mapped", "mapping": mapping, "findings": findings, "statements": reading.statements }),
        Outcome::Ignored(why) => json!({ "outcome": format!("ignored: {why}"), "mapping": mapping, "findings": findings }),
    }
}

/// Where two values differ: `child.sex: "1", not "2"`.
fn differences(place: &str, expected: &Value, came: &Value, found: &mut Vec<String>) {
    match (expected, came) {
        (Value::Object(expected), Value::Object(came)) => {
            for key in expected.keys().chain(came.keys()).collect::<BTreeSet<_>>() {
                let at = |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
                differences(&format!("{place}.{key}"), &at(expected), &at(came), found);
            }
        }
        (Value::Array(expected), Value::Array(came)) if expected.len() == came.len() => {
            for (index, (expected, came)) in expected.iter().zip(came).enumerate() {
                differences(&format!("{place}[{index}]"), expected, came, found);
            }
        }
        _ if expected != came => found.push(format!("{place}: {expected} was expected, {came} came")),
        _ => {}
    }
}

#[test]
fn every_public_example_of_the_national_events_says_what_a_reader_of_its_xml_says() {
    let Some(examples) = examples() else { return };
    let bundle = Bundle::compile(&Bundle::shipped(), "mappings/").expect("the shipped mappings");
    let mut found = Vec::new();
    for (name, path) in &examples {
        let expected = std::fs::read(expectations().join(format!("{name}.expected.json")));
        let expected: Value = serde_json::from_slice(&expected.expect("an expectation for each example")).expect("JSON");
        differences(name, &expected, &said(&bundle, path), &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_expectation_waits_for_an_example_that_is_not_there() {
    let Some(examples) = examples() else { return };
    let names: BTreeSet<String> = examples.into_iter().map(|(name, _)| name).collect();
    let files = std::fs::read_dir(expectations()).expect("expectations");
    let written = files.map(|file| file.expect("a file").file_name().to_string_lossy().replace(".expected.json", ""));
    assert_eq!(written.collect::<BTreeSet<_>>(), names);
}

#[test]
fn a_difference_of_one_letter_is_found_wherever_it_stands() {
    let whole = json!({ "child": { "names": [{ "given": ["JACK"] }], "sex": "1" } });
    for other in [
        json!({ "child": { "names": [{ "given": ["JACk"] }], "sex": "1" } }),
        json!({ "child": { "names": [{ "given": ["JACK"] }], "sex": "1", "birth": {} } }),
        json!({ "child": { "names": [{ "given": ["JACK"] }] } }),
        json!({ "child": { "names": [], "sex": "1" } }),
    ] {
        let mut found = Vec::new();
        differences("", &whole, &other, &mut found);
        assert_eq!(found.len(), 1, "{other}");
    }
    let first = &whole["child"]["names"][0];
    let mut found = Vec::new();
    differences("", first, first, &mut found);
    assert_eq!(found, Vec::<String>::new());
}
