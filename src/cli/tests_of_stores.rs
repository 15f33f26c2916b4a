//! The commands that read a hub's store, over the stores that all samples made.

use std::collections::BTreeMap;

use serde_json::Value;

use super::exit;
use super::tests::ran;
use crate::store::HubStore;

/// A data folder with the store of one hub.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub-sw.db");
    let old: &[u8] = include_bytes!("../../tests/hubstore/version-1-sw.db.zst");
    std::fs::write(&file, zstd::decode_all(old).unwrap()).unwrap();
    drop(HubStore::open(&file).unwrap());
    folder
}

fn json(command: &str) -> Value {
    let (code, out) = ran(command);
    assert!(code == exit::OK || code == exit::FOUND, "{command}: {code} {out}");
    serde_json::from_str(&out).unwrap()
}

/// Child and NHS number of everybody in the store.
fn children(data: &str) -> Vec<(String, String)> {
    let (_, out) = ran(&format!("hub export SW --data {data} --reveal a-test"));
    let line = |line: &str| -> (String, String) {
        let child: Value = serde_json::from_str(line).unwrap();
        let number =
            child["record"]["identifiers"].as_array().unwrap().iter().find(|id| id["system"].as_str().unwrap().ends_with("nhs-number"));
        (child["child"].as_str().unwrap().to_owned(), number.map(|id| id["value"].as_str().unwrap().to_owned()).unwrap_or_default())
    };
    out.lines().map(line).collect()
}

#[test]
fn a_child_is_found_shown_and_followed_and_masked_unless_somebody_says_why() {
    let folder = folder();
    let data = folder.path().display().to_string();
    let (child, number) = children(&data).into_iter().find(|(_, number)| !number.is_empty()).unwrap();
    let find = format!("hub find SW --data {data} --nhs-number {number}");
    let masked = ran(&find);
    assert_eq!(masked.0, exit::OK);
    assert!(masked.1.contains(&child) && !masked.1.contains(&number), "{}", masked.1);
    assert!(ran(&format!("{find} --reveal a-test")).1.contains(&number));
    assert_eq!(ran(&format!("hub find SW --data {data} --nhs-number 9990000000")).0, exit::FOUND);
    let show = format!("hub show SW {child} --data {data}");
    assert!(!ran(&show).1.contains(&number) && !ran(&format!("{show} --json")).1.contains(&number));
    let shown = json(&format!("{show} --json --reveal a-test"));
    assert!(!shown["stands"].as_array().unwrap().is_empty() && shown.to_string().contains(&number));
    let timeline = json(&format!("hub timeline {child} --hub SW --data {data} --json"));
    assert_eq!(
        timeline.as_array().unwrap().iter().filter(|line| line.get("control_id").is_some()).count() as i64,
        shown["events"].as_i64().unwrap()
    );
    assert_eq!(ran(&format!("hub show SW {} --data {data}", uuid::Uuid::nil())).0, exit::MISSING);
    assert_eq!(ran(&format!("hub find NE --data {data} --nhs-number {number}")).0, exit::MISSING);
}

#[test]
fn every_read_of_a_store_is_written_down_in_it_with_its_reason() {
    let folder = folder();
    let data = folder.path().display().to_string();
    let (child, number) = children(&data).into_iter().find(|(_, number)| !number.is_empty()).unwrap();
    for command in [
        format!("hub find SW --data {data} --nhs-number {number}"),
        format!("hub show SW {child} --data {data} --reveal a-call-of-the-mother"),
        format!("hub timeline {child} --hub SW --data {data}"),
        format!("hub caseload SW --data {data}"),
        format!("hub uptake SW --data {data}"),
    ] {
        assert_eq!(ran(&command).0, exit::OK, "{command}");
    }
    let reads = json(&format!("hub reads SW --data {data} --json"));
    let line = |read: &Value| {
        let child = if read["child"] == child.as_str() { "the child" } else { "" };
        format!("{} {child} {}", read["what"].as_str().unwrap(), read["reason"].as_str().unwrap())
    };
    let lines: Vec<String> = reads.as_array().unwrap().iter().map(line).collect();
    let expected =
        ["reads  ", "uptake  ", "caseload  ", "timeline the child ", "show the child a-call-of-the-mother", "find  ", "export  a-test"];
    assert_eq!(lines, expected);
}

#[test]
fn an_export_as_fhir_has_each_resource_once_in_the_file_of_its_type_and_every_reference_leads_somewhere() {
    let folder = folder();
    let data = folder.path().display().to_string();
    let to = folder.path().join("out");
    let export = format!("hub export SW --data {data} --format fhir --to {}", to.display());
    assert_eq!(ran(&export).0, exit::USAGE, "values are not hidden in FHIR, so a reason is needed");
    let manifest = json(&format!("{export} --json --reveal a-test"));
    let mut resources: BTreeMap<String, Value> = BTreeMap::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for file in manifest["output"].as_array().unwrap() {
        let kind = file["type"].as_str().unwrap();
        let text = std::fs::read_to_string(to.join(file["url"].as_str().unwrap())).unwrap();
        assert_eq!(text.lines().count() as u64, file["count"].as_u64().unwrap());
        for line in text.lines() {
            let resource: Value = serde_json::from_str(line).unwrap();
            assert_eq!(resource["resourceType"], kind);
            *counts.entry(kind.to_owned()).or_default() += 1;
            let name = format!("{kind}/{}", resource["id"].as_str().unwrap());
            assert!(resources.insert(name.clone(), resource).is_none(), "{name} is there twice");
        }
    }
    assert_eq!(counts["Patient"], 4);
    assert!(3 <= counts["Immunization"] && 20 <= counts["Observation"] && 1 <= counts["RelatedPerson"], "{counts:?}");
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, field)| match field {
                Value::String(target) if key == "reference" => found.push(target),
                field => references(field, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    for (name, resource) in &resources {
        let mut found = Vec::new();
        references(resource, &mut found);
        found.retain(|target| !target.starts_with('#'));
        assert!(found.iter().all(|target| resources.contains_key(*target)), "{name}: {found:?}");
        assert!(!found.is_empty() || name.starts_with("Patient/"), "{name} is about nobody");
    }
    let children: Vec<String> = children(&data).into_iter().map(|(child, _)| format!("Patient/{child}")).collect();
    assert!(children.iter().all(|child| resources.contains_key(child)), "a Patient's id is our own id");
    assert_ne!(ran(&format!("{export} --reveal a-test")).0, exit::OK, "a folder that is there is not written over");
}

/// Ada, who is restricted.
const ADA: &str = "213e926a-0230-5aff-a546-9e185c8783d2";

#[test]
fn where_a_restricted_child_is_is_shown_and_exported_to_whoever_asks_for_it_by_name() {
    let folder = folder();
    let data = folder.path().display().to_string();
    let show = format!("hub show SW {ADA} --data {data} --json");
    let place = |shown: &Value| shown["record"]["gp"]["practice_ods"].as_str().unwrap().to_owned();
    let practice = place(&json(&format!("{show} --reveal a-test --location")));
    assert_eq!(practice.len(), 6, "{practice}");
    assert_eq!(place(&json(&format!("{show} --reveal a-test"))), "***");
    assert_eq!(ran(&format!("{show} --location")).0, exit::USAGE, "without a reason there is no right");
    let of_ada = |text: &str| text.lines().find(|line| line.starts_with(&format!("{{\"child\":\"{ADA}"))).unwrap().to_owned();
    let export = |more: &str| of_ada(&ran(&format!("hub export SW --data {data} --reveal a-test{more}")).1);
    assert!(export(" --location").contains(&practice) && !export("").contains(&practice) && export("").contains("9990070032"));
    let fhir = |to: &str, more: &str| {
        let to = folder.path().join(to);
        json(&format!("hub export SW --data {data} --format fhir --to {} --json --reveal a-test{more}", to.display()));
        let patients = std::fs::read_to_string(to.join("Patient.ndjson")).unwrap();
        patients.lines().find(|line| line.contains(ADA)).unwrap().to_owned()
    };
    assert!(fhir("with", " --location").contains(&practice) && !fhir("without", "").contains(&practice));
    let reads = json(&format!("hub reads SW --data {data} --json")).to_string();
    for what in [
        "show, with where a restricted child is",
        "export, with where a restricted child is",
        "export as FHIR, with where a restricted child is",
    ] {
        assert!(reads.contains(what), "{what}");
    }
}

#[test]
fn caseload_and_uptake_come_as_tables_and_as_json() {
    let folder = folder();
    let data = folder.path().display().to_string();
    let caseload = json(&format!("hub caseload SW --data {data} --day 2026-06-01 --json"));
    let total: u64 = caseload["lines"].as_array().unwrap().iter().map(|line| line["children"].as_u64().unwrap()).sum();
    assert_eq!(total, 4);
    let uptake = json(&format!("hub uptake SW --data {data} --day 2027-06-01 --json"));
    let lines = uptake["lines"].as_array().unwrap();
    assert!(!lines.is_empty() && lines.iter().all(|line| line["given"].as_u64() <= line["due"].as_u64()), "{uptake}");
    let table = ran(&format!("hub uptake SW --data {data} --day 2027-06-01")).1;
    assert_eq!(table.lines().count(), lines.len() + 1, "{table}");
}
