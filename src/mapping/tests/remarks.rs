//! What a file says of a record that contradicts itself, or is hardly possible: `hold`, `warn`, `unique`, and what conditions ask for them.

use super::*;

const SPOTS: &str = r#"
[[record]]
name   = "spot"
type   = "blood-spot"
over   = "OBR"
span   = ["OBX"]
hold   = [
    { when = 'distinct(OBX-5[*]) > 1', text = "the first outcome is told twice" },
    { when = 'days(OBR-7, MSH-7) < 0', text = "taken after the message was sent" },
]
warn   = [{ when = 'column(OBX-3.1, "heel", "of") != OBX-4', text = "the test is of another condition" }]
[record.fields]
key = { from = 'OBR-3' }

[[record]]
name   = "outcome"
type   = "blood-spot-outcome"
over   = "OBX"
unique = { by = ["condition"], same = ["nbs_status", "outcome_text"], when = 'OBX-11 != "W"' }
when   = 'OBX-2 = "ST"'
[record.fields]
condition    = { from = 'OBX-4' }
nbs_status   = { from = 'OBX-5' }
outcome_text = { from = 'OBX-6' }

[[record]]
name   = "other-outcome"
type   = "blood-spot-outcome"
over   = "OBX"
unique = { by = ["condition"], same = ["nbs_status"] }
when   = 'OBX-2 = "NM"'
[record.fields]
condition    = { from = 'OBX-4' }
nbs_status   = { from = 'OBX-5' }
"#;

fn findings(rules: &str, segments: &[&str]) -> Vec<String> {
    let rules = format!("language = {{ from = 'PID-15' }}\n{rules}");
    said(&read_child(&rules, &[("tables/heel.csv", "from,to,of\nP1,1,PKU\nC1,2,CF\n")], segments).1)
}

#[test]
fn what_holds_and_what_only_warns_is_said_in_the_files_words_at_the_place_it_is_about() {
    let good = ["PID||", "OBR|||A1||||20260401", "OBX||ST|P1|PKU|04~04"];
    assert_eq!(findings(SPOTS, &good), Vec::<String>::new());
    let bad = ["PID||", "OBR|||A1||||20260402", "OBX||ST|C1|PKU|04~SECRET"];
    assert_eq!(
        findings(SPOTS, &bad),
        [
            "Hold spot: the first outcome is told twice (see OBX-5[1])",
            "Hold spot: taken after the message was sent (see OBR-7)",
            "Warning spot: the test is of another condition (see OBX-3.1)",
        ]
    );
}

#[test]
fn a_warning_does_not_hold_and_names_its_line_and_bytes() {
    let rules = format!("language = {{ from = 'PID-15' }}\n{SPOTS}");
    let tables = [("tables/heel.csv", "from,to,of\nP1,1,PKU\nC1,2,CF\n")];
    let segments = ["PID||", "OBR|||A1||||20260401", "OBX||ST|C1|PKU|04"];
    let (_, reading) = read_child(&rules, &tables, &segments);
    assert_eq!(reading.outcome, Outcome::Mapped);
    let finding = &reading.findings[0];
    let text = with_child(&rules);
    let line = text.lines().position(|line| line.starts_with("warn")).unwrap() + 1;
    assert_eq!(
        (finding.code.as_str(), finding.at.as_str(), finding.rule.clone()),
        ("implausible", "OBX-3.1", format!("mappings/t.toml:{line}"))
    );
    assert_eq!(a28(&segments).get(finding.bytes.clone().unwrap()), Some("C1"));
}

#[test]
fn two_records_of_one_owner_about_the_same_thing_must_agree_whichever_rules_made_them() {
    let card = |outcomes: &[&str]| {
        let mut segments = vec!["PID||", "OBR|||A1||||20260401"];
        segments.extend(outcomes);
        findings(&SPOTS.replace("warn ", "#"), &segments)
    };
    let none = Vec::<String>::new();
    let first = "OBX||ST|P1|PKU|04|fine";
    assert_eq!(card(&[first, "OBX||ST|P1|PKU|04|"]), none);
    assert_eq!(card(&[first, "OBX||ST|P1|CF|08|"]), none);
    assert_eq!(card(&["OBX||ST|P1||04|", "OBX||ST|P1||08|"]), none);
    assert_eq!(card(&[first, "OBX||ST|P1|PKU|08||||||W"]), none);
    let contradiction = "OBX[2] and OBX[1] have the same condition and contradict each other in";
    assert_eq!(card(&[first, "OBX||ST|P1|PKU|08|fine"]), [format!("Hold outcome.nbs_status: {contradiction} nbs_status")]);
    assert_eq!(card(&[first, "OBX||ST|P1|PKU|04|bad"]), [format!("Hold outcome.outcome_text: {contradiction} outcome_text")]);
    assert_eq!(card(&[first, "OBX||NM|P1|PKU|08|bad"]), [format!("Hold other-outcome.nbs_status: {contradiction} nbs_status")]);
}

#[test]
fn two_cards_may_say_different_things_of_one_condition() {
    let cards = ["PID||", "OBR|||A1||||20260401", "OBX||ST|P1|PKU|03", "OBR|||A2||||20260401", "OBX||ST|P1|PKU|04"];
    assert_eq!(findings(SPOTS, &cards), Vec::<String>::new());
}

#[test]
fn the_day_of_receipt_is_an_argument_and_asked_for_only_where_it_is_known() {
    let rules = "language = { value = \"late\", when = 'days(PID-7, received()) < 0' }\nreligion = { from = 'PID-7' }";
    let (text, body) = (with_child(rules), a28(&["PID|||||||20260402"]));
    let bundle = bundle(&[("t.toml", text.as_str())]);
    // 23:30 UTC on the 1st is the 2nd in London.
    for (received, late) in [(None, false), (Some("2026-04-01T12:00:00Z"), true), (Some("2026-04-01T23:30:00Z"), false)] {
        let input = Input { received: received.map(|at: &str| at.parse().unwrap()), ..v2(&body) };
        let reading = bundle.read(&input, false);
        assert_eq!(reading.statements[0].child.language.is_some(), late, "{received:?}");
    }
}

#[test]
fn what_cannot_be_asked_is_refused_when_the_file_is_loaded() {
    let with = |head: &str| {
        with_child(&format!(
            "language = {{ from = 'PID-15' }}\n[[record]]\nname = \"r\"\ntype = \"blood-spot\"\n{head}\n[record.fields]\nkey = {{ from = 'OBR-3' }}"
        ))
    };
    let cases = [
        ("warn = [{ when = 'exists(OBR-3)' }]", "M004 t.toml:24 an item of `warn` must say `text` | add: text = \"what is wrong\""),
        ("hold = [{ text = \"x\" }]", "M004 t.toml:24 an item of `hold` must say `when` | add: when = 'RXA-6 > 10'"),
        (
            "hold = [{ when = 'exists(OBR-3)', text = \"x\", txt = 1 }]",
            "M002 t.toml:24 an item of `hold` has no key `txt` | did you mean `text`?",
        ),
        ("hold = [{ when = 'exist(OBR-3)', text = \"x\" }]", "M033 t.toml:24 there is no function `exist` | did you mean `exists`?"),
        (
            "unique = { by = [\"kye\"], same = [\"key\"] }",
            "M020 t.toml:24 `by` names \"kye\", for which this record has no rule | did you mean `key`?",
        ),
        ("unique = { by = [\"key\"] }", "M004 t.toml:24 `unique` must say `same` | add: same = [\"nbs_status\"]"),
    ];
    for (head, expected) in cases {
        assert_eq!(mistakes(&[("t.toml", &with(head))]), [expected], "{head}");
    }
    let child = with_child("language = { from = 'PID-15' }")
        .replace("type = \"child\"", "type = \"child\"\nunique = { by = [\"language\"], same = [\"language\"] }");
    assert_eq!(mistakes(&[("t.toml", &child)]), ["M021 t.toml:19 `unique` is for records that belong to another one | remove `unique`"]);
}

#[test]
fn a_resolved_mapping_shows_what_it_holds_and_warns_of() {
    let text = with_child(&format!("language = {{ from = 'PID-15' }}\n{SPOTS}"));
    let shown = bundle(&[("t.toml", text.as_str()), ("tables/heel.csv", "from,to,of\nP1,1,PKU\n")]).resolved("t").unwrap();
    for line in [
        "hold: taken after the message was sent",
        "warn: the test is of another condition",
        "unique: with the same condition the same nbs_status, outcome_text",
    ] {
        assert!(shown.lines().any(|shown| shown.starts_with(line)), "{line}\n{shown}");
    }
}
