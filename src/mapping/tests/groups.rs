//! Who owns which segment: twins, two samples, groups, orphans.

use super::*;
use serde_json::{Value, json};

const TWO_SAMPLES: &str = r#"
[[record]]
name   = "sample"
type   = "blood-spot"
parent = "child"
over   = "OBR"
span   = ["OBX", "NTE"]
when   = 'OBR-4.1 = "NBS"'
check  = 'count(OBX) >= 1'
[record.fields]
key     = { from = 'OBR-3.1', required = true }
sample.taken = { from = 'OBR-7', as = "datetime" }
comment = { from = 'NTE-3' }

[[record]]
name     = "result"
type     = "blood-spot-outcome"
parent   = "sample"
within   = "sample"
over     = "OBX"
group_by = "OBX-4"
key      = ["condition"]
[record.fields]
condition    = { from = 'OBX-4' }
nbs_status   = { from = 'OBX[3.1 = "STATUS"]-5.1', required = true }
outcome_text = { from = 'OBX[3.1 = "SUBCODE"]-5.1' }
"#;

fn read(rules: &str, segments: &[&str]) -> (Value, Reading) {
    read_child(&format!("language = {{ from = 'PID-15' }}\n{rules}"), &[], segments)
}

fn obx(condition: &str, kind: &str, value: &str) -> String {
    format!("OBX|1|ST|{kind}|{condition}|{value}")
}

#[test]
fn two_samples_in_one_message_stay_apart() {
    let lines = [obx("PKU", "STATUS", "04"), obx("SCD", "STATUS", "06"), obx("SCD", "SUBCODE", "0602"), obx("PKU", "STATUS", "08")];
    let segments = [
        "PID||",
        "OBR|1||A1|NBS|||20260401",
        &lines[0],
        &lines[1],
        &lines[2],
        "NTE|1||first",
        "OBR|2||A2|NBS|||20260402",
        &lines[3],
        "NTE|1||second",
    ];
    let (statement, reading) = read(TWO_SAMPLES, &segments);
    assert_eq!(said(&reading), Vec::<String>::new());
    let spots = &statement["blood_spots"];
    assert_eq!(
        spots[0]["outcomes"],
        json!([{ "condition": "PKU", "nbs_status": "04", "result_status": "final" },
        { "condition": "SCD", "nbs_status": "06", "outcome_text": "0602", "result_status": "final" }])
    );
    assert_eq!(spots[1]["outcomes"], json!([{ "condition": "PKU", "nbs_status": "08", "result_status": "final" }]));
    assert_eq!((&spots[0]["comment"], &spots[1]["comment"]), (&json!("first"), &json!("second")));
    let fields: Vec<&str> =
        reading.provenance.iter().map(|one| one.field.as_str()).filter(|field| field.contains("[1].outcomes")).collect();
    assert_eq!(fields, ["blood_spots[1].outcomes[0].condition", "blood_spots[1].outcomes[0].nbs_status"]);
}

#[test]
fn an_order_of_another_kind_still_ends_the_span_of_the_one_before() {
    let (a, b) = (obx("PKU", "STATUS", "04"), obx("PKU", "STATUS", "08"));
    let (statement, reading) = read(TWO_SAMPLES, &["PID||", "OBR|1||A1|NBS", &a, "OBR|2||H1|HEARING", &b]);
    assert_eq!(said(&reading), Vec::<String>::new());
    assert_eq!(statement["blood_spots"].as_array().unwrap().len(), 1);
    assert_eq!(statement["blood_spots"][0]["outcomes"].as_array().unwrap().len(), 1);
}

#[test]
fn an_obx_before_any_obr_is_an_orphan_and_holds_the_message() {
    let (a, b) = (obx("PKU", "STATUS", "04"), obx("SCD", "STATUS", "08"));
    let (_, reading) = read(TWO_SAMPLES, &["PID||", &a, "OBR|1||A1|NBS", &b]);
    assert_eq!((said(&reading), reading.outcome), (vec!["Hold OBX[1] belongs to no OBR".to_owned()], Outcome::Held));
    let (_, reading) = read(TWO_SAMPLES, &["PID||", &a]);
    assert_eq!(said(&reading), ["Hold OBX belongs to no OBR"]);
}

#[test]
fn a_check_that_fails_holds_and_names_the_segment() {
    let (_, reading) = read(TWO_SAMPLES, &["PID||", "OBR|1||A1|NBS", "OBR|2||A2|NBS", &obx("PKU", "STATUS", "04")]);
    assert_eq!(said(&reading), ["Hold sample: sample at OBR[1] does not meet its check: count(OBX) >= 1"]);
}

#[test]
fn a_required_field_that_is_missing_in_one_of_many_says_in_which() {
    let (_, reading) =
        read(TWO_SAMPLES, &["PID||", "OBR|1||A1|NBS", &obx("PKU", "STATUS", "04"), "OBR|2|||NBS", &obx("PKU", "OTHER", "04")]);
    assert_eq!(
        said(&reading),
        [
            "Hold sample.key: OBR-3.1 is empty in OBR[2], and the field is required",
            "Hold result.nbs_status: OBX[3.1 = \"STATUS\"]-5.1 is empty in OBX[2], and the field is required"
        ]
    );
}

#[test]
fn a_record_without_anything_that_identifies_it_is_held() {
    let (_, reading) = read(TWO_SAMPLES, &["PID||", "OBR|1||A1|NBS", &obx("", "STATUS", "04")]);
    assert_eq!(said(&reading), ["Hold result: nothing identifies this result: none of condition is there"]);
}

#[test]
fn two_babies_in_one_message_are_two_statements() {
    let text = format!(
        "{HEAD}{}",
        r#"
[[record]]
name = "child"
type = "child"
over = "PID"
span = ["NK1"]
[record.fields]
birth.birth_order = { from = 'PID-25', as = "integer" }

[let]
id = 'PID-3[1]'

[[record]]
name   = "identifier"
type   = "identifier"
parent = "child"
over   = "PID-3"
needs  = ["value"]
[record.fields]
value  = { from = 'PID-3.1' }
system = { value = "urn:v2:X" }
type   = { from = '$id.1' }

[[record]]
name   = "mother"
type   = "relation"
parent = "child"
over   = "NK1"
[record.fields]
kind        = { value = "12" }
name.family = { from = 'NK1-2.1' }
"#
    );
    let body = a28(&["PID|||A1~A2||||||||||||||||||||||1", "NK1|1|ONE", "PID|||B1||||||||||||||||||||||2", "NK1|1|TWO"]);
    let reading = bundle(&[("t.toml", &text)]).read(&v2(&body), false);
    assert_eq!(said(&reading), Vec::<String>::new());
    let made: Vec<Value> = reading.statements.iter().map(|one| serde_json::to_value(&one.child).unwrap()).collect();
    assert_eq!(made.len(), 2);
    assert_eq!((&made[0]["identifiers"][1]["value"], &made[0]["identifiers"][1]["type"]), (&json!("A2"), &json!("A1")));
    assert_eq!((&made[1]["identifiers"][0]["value"], &made[1]["identifiers"][0]["type"]), (&json!("B1"), &json!("B1")));
    assert_eq!((&made[0]["relations"][0]["name"]["family"], &made[1]["relations"][0]["name"]["family"]), (&json!("ONE"), &json!("TWO")));
    assert_eq!((&made[0]["birth"]["birth_order"], &made[1]["birth"]["birth_order"]), (&json!(1), &json!(2)));
}

#[test]
fn inside_a_repetition_the_field_is_that_repetition() {
    let rules = r#"
[[record]]
name   = "nhs"
type   = "identifier"
over   = "PID-3"
when   = 'PID-3.4.1 = "NHS"'
needs  = ["value"]
[record.fields]
value  = { from = 'PID-3.1', as = "nhs-number", on_error = "warn" }
system = { value = "https://fhir.nhs.uk/Id/nhs-number" }

[[record]]
name   = "local"
type   = "identifier"
over   = 'PID-3[4.1 != "NHS"]'
[record.fields]
value  = { from = 'PID-3.1' }
system = { from = 'PID-3.4', as = "v2-authority" }
"#;
    let (statement, reading) = read(rules, &["PID|||L1^^^RJ1~9990000018^^^NHS~9990000019^^^NHS~L2^^^RJ1"]);
    let values: Vec<&str> = statement["child"]["identifiers"].as_array().unwrap().iter().map(|id| id["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["9990000018", "L1", "L2"]);
    assert_eq!(
        said(&reading),
        ["Warning nhs.value: \"9990000019\" at PID-3[3].1 is no NHS number: the check digit does not fit; one of the digits is wrong"]
    );
}

#[test]
fn parts_of_a_relation_hang_below_it() {
    let rules = r#"
[[record]]
name = "contact"
type = "relation"
over = "NK1"
[record.fields]
kind = { from = 'NK1-3.1' }

[[record]]
name   = "contact-name"
type   = "name"
parent = "contact"
needs  = ["family"]
[record.fields]
family = { from = 'NK1-2.1' }

[[record]]
name   = "contact-phone"
type   = "telecom"
parent = "contact"
over   = "NK1-5"
[record.fields]
value  = { from = 'NK1-5.1' }
"#;
    let (statement, reading) = read(rules, &["PID||", "NK1|1|ONE|12||1~2", "NK1|2||13", "NK1|3"]);
    assert_eq!(said(&reading), Vec::<String>::new());
    assert_eq!(
        statement["child"]["relations"],
        json!([{ "kind": "12", "name": { "family": "ONE" }, "telecoms": [{ "value": "1" }, { "value": "2" }] }, { "kind": "13" }])
    );
}

#[test]
fn a_record_of_constants_alone_is_no_record() {
    let rules = "[[record]]\nname = \"mother\"\ntype = \"relation\"\n[record.fields]\nkind = { value = \"12\" }\nbirth_family_name = { from = 'PID-6.1' }";
    assert_eq!(read(rules, &["PID||"]).0["child"]["relations"], json!(null));
    assert_eq!(read(rules, &["PID||||||MAIDEN"]).0["child"]["relations"], json!([{ "kind": "12", "birth_family_name": "MAIDEN" }]));
}

const ORDERED: &str = r#"
[[record]]
name   = "given"
type   = "immunisation"
parent = "child"
over   = "RXA"
lead   = ["ORC"]
span   = ["RXR"]
[record.fields]
key        = { from = 'ORC-3.1' }
batch      = { from = 'RXA-15' }
route.code = { from = 'RXR-1.1' }
"#;

#[test]
fn what_leads_a_segment_is_never_anothers() {
    let rxa = |lot: &str| format!("RXA|0|1|20260302||||||||||||{lot}");
    let (a, b, c) = (rxa("A"), rxa("B"), rxa("C"));
    let segments = ["PID||", "ORC|RE||1", &a, "RXR|IM", &b, "ORC|RE||3", &c, "RXR|SC"];
    let (statement, reading) = read(ORDERED, &segments);
    assert_eq!(said(&reading), Vec::<String>::new());
    let expected = json!([
        { "key": "1", "status": "completed", "batch": "A", "route": { "code": "IM" } },
        { "status": "completed", "batch": "B" },
        { "key": "3", "status": "completed", "batch": "C", "route": { "code": "SC" } },
    ]);
    assert_eq!(statement["immunisations"], expected);
}

#[test]
fn what_leads_nothing_is_an_orphan() {
    let rxa = "RXA|0|1|20260302||||||||||||A";
    let (_, reading) = read(ORDERED, &["PID||", "RXR|IM", rxa, "ORC|RE||2"]);
    assert_eq!(said(&reading), ["Hold RXR belongs to no RXA", "Hold ORC belongs to no RXA"]);
    let (_, reading) = read(ORDERED, &["PID||", "ORC|RE||1"]);
    assert_eq!(said(&reading), ["Hold ORC belongs to no RXA"]);
}
