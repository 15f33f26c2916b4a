//! The same rules over FHIR documents.

use super::*;
use serde_json::{Value, json};

const BIRTH: &str = r#"
[mapping]
id = "birth"
version = "1"
schema = 1
format = "fhir-stu3"
accepts = ["pds-birth-notification-1"]

[let]
patient = ["Bundle.entry.resource.ofType(Patient)[1]"]

[[record]]
name = "event"
type = "event"
[record.fields]
kind = { value = "birth" }
at = { from = "Bundle.entry.resource.ofType(MessageHeader)[1].meta.lastUpdated", as = "datetime", required = true }
national = { value = true }

[[record]]
name = "child"
type = "child"
[record.fields]
birth.date = { from = "$patient.birthDate", as = "date", required = true }
birth.multiple = { from = "$patient.multipleBirth", as = "boolean", on_error = "warn" }
sex = { from = "$patient.gender", table = "sex" }

[[record]]
name = "nhs"
type = "identifier"
over = "$patient.identifier.where(system = 'https://fhir.nhs.uk/Id/nhs-number')"
needs = ["value"]
[record.fields]
value = { from = "$this.value", as = "nhs-number" }
system = { from = "$this.system" }

[[record]]
name = "name"
type = "name"
over = "$patient.name"
[record.fields]
family = { from = "$this.family", as = "name" }
given = { from = "given", as = "name", all = true }
use = { from = "$this.use", default = "usual" }
"#;

const SEX: (&str, &str) = ("tables/sex.csv", "from,to\nmale,1\nfemale,2\n");

fn document(patient: &Value) -> String {
    json!({ "resourceType": "Bundle", "type": "message", "entry": [
        { "resource": { "resourceType": "MessageHeader", "meta": { "lastUpdated": "2026-04-01T09:30:00+01:00" },
            "event": { "system": "https://fhir.nhs.uk/STU3/CodeSystem/EventType-1", "code": "pds-birth-notification-1" } } },
        { "resource": patient } ] })
    .to_string()
}

fn patient() -> Value {
    json!({ "resourceType": "Patient", "gender": "female", "birthDate": "2026-04-01", "multipleBirthBoolean": true,
        "identifier": [{ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9990000018" }, { "system": "urn:x", "value": "L" }],
        "name": [{ "use": "official", "family": "SPECIMEN", "given": ["LEILA", "NOOR"] }, { "family": "OTHER" }] })
}

fn read(patient: &Value) -> Reading {
    let body = document(patient);
    bundle(&[("birth.toml", BIRTH), SEX]).read(
        &Input { format: Format::Stu3Json, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None },
        true,
    )
}

#[test]
fn a_document_becomes_a_statement_with_places() {
    let reading = read(&patient());
    assert_eq!(said(&reading), Vec::<String>::new());
    let statement = serde_json::to_value(&reading.statements[0]).unwrap();
    assert_eq!(statement["event"]["at"], json!({ "value": "2026-04-01T09:30:00+01:00", "precision": "second" }));
    assert_eq!(
        statement["child"]["identifiers"],
        json!([{ "value": "9990000018", "system": "https://fhir.nhs.uk/Id/nhs-number", "use": "current" }])
    );
    assert_eq!(
        statement["child"]["names"],
        json!([{ "family": "SPECIMEN", "given": ["LEILA", "NOOR"], "use": "official" }, { "family": "OTHER", "use": "usual" }])
    );
    assert_eq!((&statement["child"]["sex"], &statement["child"]["birth"]["multiple"]), (&json!("2"), &json!(true)));
    let from = |field: &str| reading.provenance.iter().find(|one| one.field == field).map(|one| one.from.clone()).unwrap_or_default();
    assert_eq!(from("child.names[0].given[1]"), "Bundle.entry[1].resource.name[0].given[1]");
    assert_eq!(from("child.birth.multiple"), "Bundle.entry[1].resource.multipleBirthBoolean");
}

#[test]
fn a_missing_date_and_an_unknown_code_hold_the_document() {
    let mut patient = patient();
    patient["gender"] = json!("other");
    patient.as_object_mut().unwrap().shift_remove("birthDate");
    let reading = read(&patient);
    assert_eq!(
        said(&reading),
        [
            "Hold child.sex: code \"other\" at Bundle.entry[1].resource.gender is not in table sex",
            "Hold child.birth.date: $patient.birthDate is empty, and the field is required"
        ]
    );
    assert_eq!(reading.outcome, Outcome::Held);
}

#[test]
fn names_that_the_release_does_not_have_are_refused_where_they_stand() {
    let said = mistakes(&[("birth.toml", &BIRTH.replace("$patient.birthDate", "$patient.birthdate")), SEX]);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("M031 birth.toml:24 ") && said[0].contains("birthDate"), "{said:?}");
    let said = mistakes(&[("birth.toml", &BIRTH.replace("$this.family", "$this.familly")), SEX]);
    assert!(said.len() == 1 && said[0].contains("family"), "{said:?}");
    let said = mistakes(&[("birth.toml", &BIRTH.replace("from = \"given\"", "from = \"gender\"")), SEX]);
    assert!(said.len() == 1, "a name has no gender: {said:?}");
}

#[test]
fn what_belongs_to_hl7_v2_is_refused() {
    let said = mistakes(&[("birth.toml", &BIRTH.replace("name = \"nhs\"", "name = \"nhs\"\nspan = [\"OBX\"]")), SEX]);
    assert_eq!(said, ["M012 birth.toml:30 `span` needs `over` with a segment | FHIR resources own what is inside them: remove `span`"]);
}

#[test]
fn broken_documents_are_held_and_never_quoted() {
    for (format, body) in [
        (Format::Stu3Json, "{\"resourceType\": \"SECRET"),
        (Format::Stu3Xml, "<Bundle><SECRET"),
        (Format::R4Json, "[1,2]"),
        (Format::R4Xml, ""),
    ] {
        let bundle = bundle(&[("birth.toml", BIRTH), SEX]);
        let reading =
            bundle.read(&Input { format, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None }, false);
        assert_eq!(reading.outcome, Outcome::Held, "{body}");
        assert!(!reading.findings.iter().any(|finding| finding.text.contains("SECRET")), "{:?}", reading.findings);
    }
}
