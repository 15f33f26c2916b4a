//! What is remembered of a message must be what would be found there anew: each record, each segment and each file for itself.

use super::*;
use serde_json::{Value, json};

/// Conditions that look at the same field from the whole message, from a segment and from a repetition.
const OF_EACH: &str = r#"
sex = { from = 'PID-8', when = 'PID-8 = "2" and NK1-3 = "a"' }

[[record]]
name = "first"
type = "relation"
parent = "child"
over = "NK1"
when = 'NK1-3 in ("a", "b") and PID-8 = "2"'
[record.fields]
kind = { value = "12" }
language = { from = 'NK1-20', when = 'NK1-3 = "a"' }

[[record]]
name = "second"
type = "relation"
parent = "child"
over = "NK1"
when = 'not (NK1-3 in ("a", "b")) and PID-8 = "2"'
[record.fields]
kind = { value = "98" }
language = { from = 'NK1-20', when = 'NK1-3 = "c"' }

[[record]]
name = "number"
type = "identifier"
parent = "child"
over = "PID-3"
when = 'PID-3.4 = "X" and exists(NK1-3)'
[record.fields]
value = { from = 'PID-3.1', when = 'PID-3.1 != "3"' }
system = { value = "of-x" }

[[record]]
name = "other-number"
type = "identifier"
parent = "child"
over = "PID-3"
when = 'not (PID-3.4 = "X")'
[record.fields]
value = { from = 'PID-3.1' }
system = { value = "of-others" }
"#;

#[test]
fn a_path_that_was_asked_of_one_segment_is_asked_anew_of_the_next() {
    let segments =
        ["PID|||1^^^X~2^^^Y~3^^^X~4|||||2", "NK1|1||a|||||||||||||||||en", "NK1|2||c|||||||||||||||||fr", "NK1|3||b|||||||||||||||||de"];
    let (statement, reading) = read_child(OF_EACH, &[], &segments);
    assert_eq!(said(&reading), Vec::<String>::new());
    let child = &statement["child"];
    let of = |list: &Value, a: &str, b: &str| -> Vec<String> {
        let text = |one: &Value, name: &str| one[name].as_str().unwrap_or("-").to_owned();
        list.as_array().unwrap().iter().map(|one| format!("{} {}", text(one, a), text(one, b))).collect()
    };
    assert_eq!(child["sex"], "2");
    assert_eq!(of(&child["relations"], "kind", "language"), ["12 en", "98 fr"]);
    assert_eq!(of(&child["identifiers"], "system", "value"), ["of-x 1", "of-others 2", "of-others 4"]);
}

#[test]
fn a_null_list_is_null_for_every_record_that_goes_over_it() {
    let list = |name: &str| {
        let head = format!("[[record]]\nname = \"{name}\"\ntype = \"identifier\"\nparent = \"child\"\nover = \"PID-3\"\n");
        format!("{head}[record.fields]\nvalue = {{ from = 'PID-3.1' }}\nsystem = {{ value = \"{name}\" }}\n")
    };
    let rules = format!("sex = {{ from = 'PID-8' }}\n{}{}", list("a"), list("b"));
    let (statement, _) = read_child(&rules, &[], &["PID|||\"\"|||||2"]);
    assert_eq!(statement["clears"], json!(["identifiers"]));
    let (statement, _) = read_child(&rules, &[], &["PID|||1~2|||||2"]);
    let values: Vec<&Value> = statement["child"]["identifiers"].as_array().unwrap().iter().map(|one| &one["value"]).collect();
    assert_eq!(values, ["1", "2", "1", "2"]);
}

#[test]
fn one_file_does_not_take_what_a_name_of_another_means() {
    let file = |id: &str, which: usize, when: &str| {
        let head = HEAD.replace("id = \"t\"", &format!("id = \"{id}\"\nwhen = '{when}'"));
        format!(
            "{head}\n[let]\nname = ['PID-5[{which}]']\n[[record]]\nname = \"child\"\ntype = \"child\"\n[record.fields]\nlanguage = {{ value = \"{id}\", when = '$name.1 = \"B\"' }}\n"
        )
    };
    let (a, b) = (file("a", 1, "$name.1 = \"B\""), file("b", 2, "$name.1 = \"B\""));
    let reading = bundle(&[("a.toml", &a), ("b.toml", &b)]).read(&v2(&a28(&["PID|||||A~B"])), true);
    assert_eq!((reading.mapping.map(|id| id.to_string()), reading.outcome), (Some("b".to_owned()), Outcome::Mapped));
    assert_eq!(serde_json::to_value(&reading.statements[0]).unwrap()["child"]["language"], "b");
}

#[test]
fn a_path_that_begins_with_the_bundle_means_the_one_that_a_record_stands_in() {
    let rules = r#"
[mapping]
id = "inner"
version = "1"
schema = 1
format = "fhir-stu3"
accepts = ["pds-birth-notification-1"]

[[record]]
name = "event"
type = "event"
[record.fields]
kind = { value = "birth" }

[[record]]
name = "child"
type = "child"
[record.fields]
language = { from = "Bundle.id" }

[[record]]
name = "number"
type = "identifier"
parent = "child"
over = "Bundle.entry.resource.ofType(Bundle)"
[record.fields]
value = { from = "Bundle.id" }
system = { from = "$this.type", when = "Bundle.id = 'two' or Bundle.id = 'one'" }
"#;
    let entry = |inner: Value| json!({ "resource": inner });
    let header = json!({ "resourceType": "MessageHeader", "event": { "code": "pds-birth-notification-1" } });
    let inner = |id: &str| entry(json!({ "resourceType": "Bundle", "id": id, "type": "collection" }));
    let body = json!({ "resourceType": "Bundle", "id": "outer", "type": "message", "entry": [entry(header), inner("one"), inner("two")] });
    let body = body.to_string();
    let input = Input { format: Format::Stu3Json, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None };
    let reading = bundle(&[("inner.toml", rules)]).read(&input, true);
    let statement = serde_json::to_value(&reading.statements[0]).unwrap();
    assert_eq!(statement["child"]["language"], "outer");
    let numbers: Vec<&Value> = statement["child"]["identifiers"].as_array().unwrap().iter().map(|one| &one["value"]).collect();
    assert_eq!(numbers, ["one", "two"]);
    let places: Vec<&str> = reading.provenance.iter().map(|one| one.from.as_str()).filter(|from| from.ends_with(".id")).collect();
    assert_eq!(places, ["Bundle.id", "Bundle.entry[1].resource.id", "Bundle.entry[2].resource.id"]);
}

#[test]
fn what_reads_otherwise_than_it_stands_there_is_compared_as_it_reads_however_often_it_is_asked() {
    let record = |name: &str, when: &str| {
        let head =
            format!("[[record]]\nname = \"{name}\"\ntype = \"relation\"\nparent = \"child\"\nover = \"NK1\"\nwhen = '{when} and {when}'\n");
        format!("{head}[record.fields]\nkind = {{ value = \"12\" }}\nlanguage = {{ from = 'NK1-20' }}\n")
    };
    let rules = [
        record("escaped", "NK1-3 = \"a&b\""),
        record("with-blanks", "NK1-3 = \"a\" and length(NK1-3) = 1"),
        record("several", "NK1-3[*] = \"a\" and distinct(NK1-3[*], NK1-3) = 2"),
        record("same", "distinct(NK1-3[*], NK1-3.1, NK1-3[*].1) = 1 and NK1-3 in (\"a\", \"x\")"),
        record("empty", "NK1-3 = \"\" and distinct(NK1-3) = 0 and not exists(NK1-3)"),
    ];
    let segment = |number: usize, text: &str| format!("NK1|{number}||{text}|||||||||||||||||l{number}");
    let texts = ["a\\T\\b", " a ", "x~a", "", "x~x", "a&b"];
    let segments: Vec<String> = (1..).zip(texts).map(|(number, text)| segment(number, text)).collect();
    let all: Vec<&str> = std::iter::once("PID|||1|||||2").chain(segments.iter().map(String::as_str)).collect();
    let (statement, _) = read_child(&format!("sex = {{ from = 'PID-8' }}\n{}", rules.concat()), &[], &all);
    let languages: Vec<&Value> = statement["child"]["relations"].as_array().unwrap().iter().map(|one| &one["language"]).collect();
    // `a&b` without an escape is two parts, and its first is compared.
    assert_eq!(languages, ["l1", "l2", "l6", "l3", "l2", "l5", "l6", "l4"]);
}
