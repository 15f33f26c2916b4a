//! `[[test]]` inside the files: mutations, expectations, and that a wrong expectation fails.

use super::*;

const RULES: &str = r#"
sex = { from = 'PID-8', table = "sex", required = true }
birth.date = { from = 'PID-7', as = "date" }
gp.practice_ods = { from = 'PD1-3.3' }

[[record]]
name = "contact"
type = "relation"
over = "NK1"
[record.fields]
kind = { from = 'NK1-3.1' }
name.family = { from = 'NK1-2.1' }

[[record]]
name = "sample"
type = "blood-spot"
over = "OBR"
span = ["OBX"]
[record.fields]
key = { from = 'OBR-3' }

[[record]]
name = "result"
type = "blood-spot-outcome"
over = "OBX"
[record.fields]
condition = { from = 'OBX-3' }

[[ignore]]
when = 'PV1-2 = "B"'
reason = "not a child"
"#;

const SAMPLE: &str = "MSH|^~\\&|PAS|RJ1|X|Y|20260401120000||ADT^A28|1|P|2.4\rPID|||A~B||ONE^TWO||20260401|F\rPD1|||^^G1\rNK1|1|MUM|12\rNK1|2|DAD|13\r\
    OBR|1||S1\rOBX|1||PKU\rOBX|2||SCD\rOBR|2||S2\rOBX|1||CF\r";

/// The failures of one test.
fn run(test: &str) -> Vec<String> {
    let text = format!("{}[[test]]\nname = \"x\"\nsample = \"s.hl7\"\n{test}\n", with_child(RULES));
    let bundle = bundle(&[("t.toml", &text), ("tables/sex.csv", "from,to\nF,2\n")]);
    let mut reports = bundle.test(&|name| (name == "s.hl7").then(|| SAMPLE.as_bytes().to_vec()));
    assert_eq!((reports.len(), reports[0].name.as_str(), reports[0].file.as_str()), (1, "x", "mappings/t.toml"));
    reports.remove(0).failures
}

#[test]
fn expectations_that_are_met_pass() {
    let test = r#"
expect.child.sex = "2"
expect.child.birth.date = { value = "2026-04-01", precision = "day" }
expect.child.gp = { practice_ods = "G1" }
expect.contact.0.kind = "12"
expect.contact.1 = { kind = "13", name = { family = "DAD" } }
expect.child.relations.1.name.family = "DAD"
expect.counts = { contact = 2, sample = 2, result = 3 }
expect.result.2.parent = "sample.1"
expect.result.1.parent = "sample.0"
expect.absent = ["child.religion", "contact.0.name.use"]
expect.held = false
expect.ignored = false
expect.issues = []
"#;
    assert_eq!(run(test), Vec::<String>::new());
    assert_eq!(run("expect.child.birth.date = \"2026-04-01\""), Vec::<String>::new());
}

#[test]
fn expectations_that_are_not_met_say_what_came() {
    let cases = [
        ("expect.child.sex = \"1\"", "child.sex: expected \"1\", came \"2\""),
        (
            "expect.child.birth.date = \"2026-04\"",
            "child.birth.date: expected \"2026-04\", came {\"value\":\"2026-04-01\",\"precision\":\"day\"}",
        ),
        ("expect.child.religion = \"x\"", "child.religion: expected \"x\", nothing came"),
        ("expect.contact.2.kind = \"x\"", "contact.2: was expected, and did not come"),
        ("expect.counts = { contact = 1 }", "contact: 1 records were expected, 2 came"),
        ("expect.result.2.parent = \"sample.0\"", "result.2: belongs to sample.1, sample.0 was expected"),
        ("expect.absent = [\"child.sex\"]", "child.sex: should be absent, and is \"2\""),
        ("expect.cleared = [\"child.gp.practice_ods\"]", "child.gp.practice_ods: should be cleared, and is not"),
        ("set = { \"PD1-3\" = '\"\"' }\nexpect.cleared = []", "child.gp.practice_ods: is cleared, and nothing should be"),
        ("expect.held = true", "should be held, and is not"),
        ("expect.ignored = true", "ignored: expected true, came no"),
        ("expect.issues = [\"a\"]", "this issue was expected: a"),
        ("drop = [\"PID-8\"]\nexpect.issues = []", "this issue was not expected: child.sex: PID-8 is empty, and the field is required"),
    ];
    for (test, failure) in cases {
        assert_eq!(run(test), [failure], "{test}");
    }
}

#[test]
fn a_sample_can_be_changed_in_place() {
    let passes = [
        "set = { \"PID-8\" = \"Q\" }\nexpect.held = true\nexpect.issues = ['child.sex: code \"Q\" at PID-8 is not in table sex']",
        "set = { \"PD1-3\" = '\"\"' }\nexpect.cleared = [\"child.gp.practice_ods\"]",
        "set = { \"PD1-3.3\" = \"G2\", \"NK1[2]-2.1\" = \"PA\" }\nexpect.child.gp.practice_ods = \"G2\"\nexpect.contact.1.name.family = \"PA\"",
        "set = { \"ZZZ-3\" = \"new segment\", \"PV1-2\" = \"B\" }\nexpect.ignored = \"not a child\"",
        "set = { \"MSH-7\" = \"2027\" }\nexpect.held = false",
        "set = { \"NK1[1]-2.1\" = \"MÜM\" }\nexpect.contact.0.name.family = \"MÜM\"\nexpect.issues = []",
        "drop = [\"NK1[1]\"]\nexpect.counts = { contact = 1 }\nexpect.contact.0.kind = \"13\"",
        "drop = [\"NK1\"]\nexpect.counts = { contact = 0 }\nexpect.cleared = []",
        "drop = [\"PD1-3\"]\nexpect.absent = [\"child.gp.practice_ods\"]",
        "move = { \"OBX[1]\" = \"before OBR[1]\" }\nexpect.held = true\nexpect.issues = ['OBX[1] belongs to no OBR']",
        "insert = { \"after NK1[2]\" = [\"NK1|3|GRAN|05\", \"NK1|4|AUNT|99\"] }\nexpect.contact.2.kind = \"05\"\nexpect.contact.3.kind = \"99\"",
        "insert = { \"NK1[2]\" = \"NK1|x|GRAN|05\", \"ZZZ[1]\" = \"ZZZ|1\" }\nexpect.contact.1.kind = \"05\"\nexpect.counts = { contact = 3 }",
        "insert = { \"NK1[3]\" = \"NK1|x|GRAN|05\" }\nexpect.contact.2.kind = \"05\"",
        "insert = { \"before NK1[1]\" = \"NK1|0|GRAN|05\" }\nexpect.contact.0.kind = \"05\"",
    ];
    for test in passes {
        assert_eq!(run(test), Vec::<String>::new(), "{test}");
    }
    assert_eq!(run("drop = [\"NK1[7]\"]\nexpect.held = false"), ["the sample has no NK1[7]"]);
    assert_eq!(run("sample2 = 1\nexpect.held = false".replace("sample2 = 1\n", "").as_str()), Vec::<String>::new());
}

#[test]
fn names_in_a_test_that_do_not_exist_are_refused() {
    let check = |test: &str, expected: &str| {
        let text = format!("{}[[test]]\nname = \"x\"\nsample = \"s.hl7\"\n{test}\n", with_child(RULES));
        let said = mistakes(&[("t.toml", &text), ("tables/sex.csv", "from,to\nF,2\n")]);
        assert_eq!(said.len(), 1, "{test}: {said:?}");
        assert!(said[0].contains(expected), "{test}: {said:?}");
    };
    check("expect.chidl.sex = \"1\"", "`expect` names `chidl`, and there is no such record | did you mean `child`?");
    check("expect.child.sexx = \"1\"", "`child` has no field `sexx` | did you mean `sex`?");
    check("expect.child.sex = \"7\"", "`child.sex` can never be \"7\"");
    check("expect.child.birth.date = { valu = \"1\" }", "`child.birth.date` has no field `valu`");
    check("expect.contact.0.knid = \"1\"", "`contact` has no field `knid` | did you mean `kind`?");
    check(
        "expect.absent = [\"child.gp.practise\"]",
        "`child` has no field `gp.practise` | known here: `practice_ods`, `practitioner_code`, `from`, `to`",
    );
    check("expect.cleared = [\"contact.0.kind\"]", "only fields of the child can be cleared");
    check("expect.counts = { contacts = 1 }", "there is no record `contacts` | did you mean `contact`?");
    check("sett = { }\nexpect.held = true", "[[test]] has no key `sett` | did you mean `set`?");
    check("set = { \"PID-0\" = \"x\" }\nexpect.held = true", "M031");
    check("move = { \"OBX[1]\" = \"behind OBR[1]\" }\nexpect.held = true", "\"behind OBR[1]\" is no place");
    check("", "a test must `expect` something");
}

#[test]
fn a_fhir_sample_can_be_changed_too() {
    let text = r#"
[mapping]
id = "t"
version = "1"
schema = 1
format = "fhir-r4"
accepts = ["collection"]
[[record]]
name = "event"
type = "event"
[record.fields]
kind = { value = "person" }
[[record]]
name = "child"
type = "child"
[record.fields]
birth.date = { from = "Bundle.entry.resource.ofType(Patient).birthDate", as = "date" }
language = { from = "Bundle.entry.resource.ofType(Patient).language" }
[[test]]
name = "set, add and drop"
sample = "s.json"
set = { "Bundle.entry.resource.ofType(Patient).birthDate" = "2026-05-01", "Bundle.entry[1].resource.ofType(Patient).language" = "cy" }
drop = ["Bundle.entry.resource.ofType(Patient).gender"]
expect.child.birth.date = "2026-05-01"
expect.child.language = "cy"
[[test]]
name = "drop"
sample = "s.json"
drop = ["Bundle.entry.resource.ofType(Patient).birthDate"]
expect.absent = ["child.birth.date"]
"#;
    let sample = r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","gender":"female","birthDate":"2026-04-01"}}]}"#;
    let reports = bundle(&[("t.toml", text)]).test(&|_| Some(sample.as_bytes().to_vec()));
    for report in reports {
        assert_eq!(report.failures, Vec::<String>::new(), "{}", report.name);
    }
}
