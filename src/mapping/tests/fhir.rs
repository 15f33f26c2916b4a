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
fn a_modifier_extension_anywhere_holds_but_for_those_that_a_table_names() {
    let of = |body: &str, table: Option<&str>| {
        let mut files = vec![("birth.toml", BIRTH), SEX];
        files.extend(table.map(|table| ("tables/modifier-extension.csv", table)));
        let input =
            Input { format: Format::Stu3Json, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None };
        bundle(&files).read(&input, false)
    };
    let with = |patient: &Value, table: Option<&str>| of(&document(patient), table);
    let mut patient = patient();
    patient["name"][1]["modifierExtension"] = json!([{ "url": "urn:not", "valueBoolean": true }]);
    let reading = with(&patient, None);
    assert_eq!(
        said(&reading),
        ["Hold Bundle.entry[1].resource.name[1].modifierExtension may change what is said there, and no rule reads it"]
    );
    assert_eq!((reading.outcome, reading.findings[0].code.as_str()), (Outcome::Held, "modifier"));
    assert_eq!(with(&patient, Some("from,to\nurn:not,-\n")).outcome, Outcome::Mapped);
    let escaped = document(&patient).replace("modifierExtension", "modifier\\u0045xtension");
    assert_eq!(of(&escaped, None).outcome, Outcome::Held, "JSON may write a letter of a name as an escape");
    patient["modifierExtension"] = json!([{ "url": "urn:not" }, { "url": "urn:other" }]);
    assert_eq!(with(&patient, Some("from,to\nurn:not,-\n")).outcome, Outcome::Held);
    patient["modifierExtension"] = json!("nonsense");
    assert_eq!(with(&patient, Some("from,to\nurn:not,-\n")).outcome, Outcome::Held);
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

#[test]
fn every_element_with_a_value_is_used_left_by_rule_or_unmapped() {
    let mut patient = patient();
    patient["text"] = json!({ "status": "generated", "div": "<div>x</div>" });
    patient["maritalStatus"] = json!({ "text": "single" });
    patient["extension"] = json!([{ "url": "https://fhir.example/Extension-Colour", "valueString": "red" }]);
    patient["_birthDate"] = json!({ "extension": [{ "url": "https://fhir.example/birthTime", "valueDateTime": "2026-04-01T09:00:00Z" }] });
    patient["active"] = json!("");
    let left = (
        "tables/left-fields.csv",
        "from,to,display,note\n*.text,left,,a repeat\nPatient.extension(Extension-Colour),left,,x\n**.lastUpdated,left,,x\n",
    );
    let body = document(&patient);
    let bundle = bundle(&[("birth.toml", BIRTH), SEX, left]);
    let covered = bundle.coverage(&Input {
        format: Format::Stu3Json,
        body: body.as_bytes(),
        default_charset: None,
        allow_test_numbers: true,
        received: None,
    });
    let of = |how: Coverage| covered.iter().filter(|(_, one)| *one == how).map(|(place, _)| place.as_str()).collect::<Vec<_>>();
    assert_eq!(
        of(Coverage::Used),
        [
            "Bundle.type",
            "MessageHeader.meta.lastUpdated",
            "MessageHeader.event.system",
            "MessageHeader.event.code",
            "Patient.gender",
            "Patient.birthDate",
            "Patient.multipleBirthBoolean",
            "Patient.identifier[0].system",
            "Patient.identifier[0].value",
            "Patient.name[0].use",
            "Patient.name[0].family",
            "Patient.name[0].given[0]",
            "Patient.name[0].given[1]",
            "Patient.name[1].family",
        ]
    );
    assert_eq!(
        of(Coverage::Ignored),
        // The other identifier: a rule has its name, and took nothing from it.
        [
            "Patient.identifier[1].system",
            "Patient.identifier[1].value",
            "Patient.text.status",
            "Patient.text.div",
            "Patient.extension(Extension-Colour)[0].valueString"
        ]
    );
    assert_eq!(of(Coverage::Unmapped), ["Patient.maritalStatus.text", "Patient.birthDate.extension(birthTime)[0].valueDateTime"]);
}

#[test]
fn an_element_is_looked_at_where_any_path_has_its_name_inside_conditions_and_behind_references_too() {
    let looked = r#"
[let]
patient = ["Bundle.entry.resource.ofType(Patient)[1]"]
surgery = ["$patient.generalPractitioner.where(exists(display) and not reference = 'x').resolve()"]
"#;
    let text = BIRTH.replace("[let]\npatient = [\"Bundle.entry.resource.ofType(Patient)[1]\"]\n", looked).replace(
        "sex = {",
        "gp.practice_ods = { from = \"$surgery.identifier.where(system = 'https://fhir.nhs.uk/Id/ods-organization-code').value\" }\n\
         birth.time = { from = \"$patient.birthDate.extension('https://fhir.example/birthTime').value\", as = \"datetime\", on_error = \"warn\", when = \"$patient.active = 'x'\" }\nsex = {",
    );
    let bundle = bundle(&[("birth.toml", &text), SEX]);
    let mut patient = patient();
    patient["generalPractitioner"] =
        json!([{ "reference": "Organization/1", "display": "SURGERY", "identifier": { "period": { "start": "2026" } } }]);
    patient["_birthDate"] = json!({ "extension": [{ "url": "https://fhir.example/birthTime", "valueDateTime": "2026-04-01T09:00:00Z" }] });
    patient["active"] = json!(true);
    let body = document(&patient);
    let covered = bundle.coverage(&Input {
        format: Format::Stu3Json,
        body: body.as_bytes(),
        default_charset: None,
        allow_test_numbers: true,
        received: None,
    });
    let how = |place: &str| covered.iter().find(|(known, _)| known == place).unwrap_or_else(|| panic!("{place}: {covered:?}")).1;
    for place in [
        "Patient.generalPractitioner[0].reference",
        "Patient.generalPractitioner[0].display",
        "Patient.birthDate.extension(birthTime)[0].valueDateTime",
        "Patient.active",
    ] {
        assert_eq!(how(place), Coverage::Ignored, "{place}");
    }
    assert_eq!(how("Patient.generalPractitioner[0].identifier.period.start"), Coverage::Unmapped);
}
