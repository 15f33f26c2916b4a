//! What one rule does with one field, for every policy and converter, in a message.

use super::*;
use serde_json::json;

const SEX: (&str, &str) = ("tables/sex.csv", "from,to\nM,1\nF,2\n");

fn check(rules: &str, pid: &str, expected: serde_json::Value, findings: &[&str]) {
    let (statement, reading) = read_child(rules, &[SEX], &[pid]);
    let mut child = statement["child"].clone();
    if let Some(child) = child.as_object_mut() {
        child.retain(|_, value| *value != json!({}));
    }
    assert_eq!((child, said(&reading)), (expected, findings.iter().map(|one| (*one).to_owned()).collect()), "{rules} {pid}");
    let held = reading.findings.iter().any(|finding| finding.level == Level::Hold);
    assert_eq!(reading.outcome == Outcome::Held, held);
}

#[test]
fn a_code_goes_through_its_table_or_its_policy() {
    let unknown = "child.sex: code \"Q\" at PID-8 is not in table sex";
    check("sex = { from = 'PID-8', table = \"sex\" }", "PID|||||||20260401|F", json!({ "sex": "2" }), &[]);
    check("sex = { from = 'PID-8', table = \"sex\" }", "PID|||||||20260401|Q", json!({}), &[&format!("Hold {unknown}")]);
    check("sex = { from = 'PID-8', table = \"sex\", unmapped = \"warn\" }", "PID||||||||Q", json!({}), &[&format!("Warning {unknown}")]);
    check(
        "sex = { from = 'PID-8', table = \"sex\", unmapped = \"use:9\" }",
        "PID||||||||Q",
        json!({ "sex": "9" }),
        &[&format!("Warning {unknown}")],
    );
    check(
        "language = { from = 'PID-8', table = \"sex\", unmapped = \"keep\" }",
        "PID||||||||Q",
        json!({ "language": "Q" }),
        &["Warning child.language: code \"Q\" at PID-8 is not in table sex"],
    );
    check("sex = { from = 'PID-8', table = \"sex\", default = \"0\" }", "PID||||||||", json!({ "sex": "0" }), &[]);
    check("sex = { from = 'PID-8', table = \"sex\", default = \"0\" }", "PID||||||||Q", json!({}), &[&format!("Hold {unknown}")]);
    check("sex = { from = 'PID-8', table = \"sex\" }", "PID||||||||F^Female", json!({ "sex": "2" }), &[]);
}

#[test]
fn a_finding_says_rule_place_bytes_and_remedy() {
    let (_, reading) = read_child("sex = { from = 'PID-8', table = \"sex\" }", &[SEX], &["PID||||||||Q"]);
    let finding = &reading.findings[0];
    let body = a28(&["PID||||||||Q"]);
    assert_eq!((finding.code.as_str(), finding.at.as_str(), finding.rule.as_str()), ("unmapped-code", "PID-8", "mappings/t.toml:20"));
    assert_eq!(&body[finding.bytes.clone().unwrap()], "Q");
    assert_eq!(finding.help, "add a row to tables/sex.csv");
}

#[test]
fn a_value_that_cannot_be_converted_meets_its_policy() {
    let rule = |policy: &str| format!("birth.date = {{ from = 'PID-7', as = \"date\"{policy} }}");
    check(&rule(""), "PID|||||||20260401", json!({ "birth": { "date": { "value": "2026-04-01", "precision": "day" } } }), &[]);
    check(&rule(""), "PID|||||||202604", json!({ "birth": { "date": { "value": "2026-04", "precision": "month" } } }), &[]);
    check(&rule(""), "PID|||||||00000000", json!({}), &[]);
    let (_, reading) = read_child(&rule(""), &[], &["PID|||||||20261301"]);
    assert!(said(&reading)[0].starts_with("Hold child.birth.date: \"20261301\" at PID-7 is no date"), "{:?}", said(&reading));
    let (_, reading) = read_child(&rule(", on_error = \"warn\""), &[], &["PID|||||||20261301"]);
    assert_eq!(
        (reading.findings[0].level, reading.findings[0].code.as_str(), reading.outcome.clone()),
        (Level::Warning, "bad-value", Outcome::Mapped)
    );
    let (_, reading) = read_child(&rule(", on_error = \"reject\""), &[], &["PID|||||||20261301"]);
    assert_eq!((reading.findings[0].level, reading.findings[0].rejects()), (Level::Hold, true));
}

#[test]
fn required_means_that_absence_holds_the_message() {
    let rule = "birth.date = { from = 'PID-7', as = \"date\", required = true }";
    check(rule, "PID||", json!({}), &["Hold child.birth.date: PID-7 is empty, and the field is required"]);
    check(
        "language = { from = ['PID-15', 'PID-16'], required = true }",
        "PID||",
        json!({}),
        &["Hold child.language: PID-15, PID-16 is empty, and the field is required"],
    );
}

#[test]
fn the_first_source_that_says_something_wins() {
    check("language = { from = ['PID-15', 'PID-17'] }", "PID|||||||||||||||   ||R", json!({ "language": "R" }), &[]);
    check("language = { from = ['PID-15', 'PID-17'] }", "PID|||||||||||||||L||R", json!({ "language": "L" }), &[]);
}

#[test]
fn when_decides_whether_a_rule_applies() {
    let rule = "birth.birth_order = { from = 'PID-25', as = \"integer\", when = 'PID-24 = \"Y\"' }";
    check(rule, "PID||||||||||||||||||||||||Y|2", json!({ "birth": { "birth_order": 2 } }), &[]);
    check(rule, "PID||||||||||||||||||||||||N|2", json!({}), &[]);
}

#[test]
fn checks_are_made_after_conversion() {
    let rule = "birth.weight_g = { from = 'ZBA-4', as = \"integer\", min = 200, max = 7000, on_error = \"warn\" }";
    for (sent, said_of) in [("3200", None), ("200", None), ("199", Some("is below 200")), ("7000", None), ("7001", Some("is above 7000"))] {
        let (_, reading) = read_child(rule, &[], &["PID||", &format!("ZBA||||{sent}")]);
        assert_eq!(
            said(&reading),
            said_of.map(|why| format!("Warning child.birth.weight_g: \"{sent}\" at ZBA-4 {why}")).into_iter().collect::<Vec<_>>()
        );
    }
    check(
        "language = { from = 'PID-15', length = \"2..3\" }",
        "PID|||||||||||||||engl",
        json!({}),
        &["Hold child.language: \"engl\" at PID-15 has 4 characters; at most 3 are expected"],
    );
    check("language = { from = 'PID-15', length = 3 }", "PID|||||||||||||||eng", json!({ "language": "eng" }), &[]);
    check(
        "language = { from = 'PID-15', pattern = \"[a-z]{2}\" }",
        "PID|||||||||||||||EN",
        json!({}),
        &["Hold child.language: \"EN\" at PID-15 does not look like [a-z]{2}"],
    );
    check("sex = { from = 'PID-8' }", "PID||||||||M", json!({}), &["Hold child.sex: \"M\" at PID-8 is not one of 1, 2, 9, 0"]);
}

#[test]
fn a_date_number_or_truth_value_knows_its_own_converter() {
    check(
        "birth.date = { from = 'PID-7' }\nbirth.birth_order = { from = 'PID-25' }\nbirth.multiple = { from = 'PID-24' }",
        "PID|||||||20260401|||||||||||||||||Y|2",
        json!({ "birth": { "date": { "value": "2026-04-01", "precision": "day" }, "birth_order": 2, "multiple": true } }),
        &[],
    );
}

#[test]
fn all_values_of_a_text_are_lines_and_a_long_rule_may_be_a_table_of_its_own() {
    let rules = "[record.fields.\"gp.practice_ods\"]\nfrom = 'PD1-3.3'\n[record.fields.language]\nfrom = 'NTE[*]-3'\nall = true";
    let (statement, _) = read_child(rules, &[], &["PID||", "PD1|||^^G1", "NTE|1||one", "NTE|2||", "NTE|3||two"]);
    assert_eq!((&statement["child"]["gp"]["practice_ods"], &statement["child"]["language"]), (&json!("G1"), &json!("one\ntwo")));
}

#[test]
fn a_day_is_read_where_its_time_is_wrong() {
    let (statement, reading) = read_child("birth.date = { from = 'PID-7' }", &[], &["PID|||||||202601052575"]);
    assert_eq!(statement["child"]["birth"]["date"], json!({ "value": "2026-01-05", "precision": "day" }));
    assert_eq!(said(&reading), ["Warning child.birth.date: \"202601052575\" at PID-7 has no such time of day; the day alone is taken"]);
}

#[test]
fn null_clears_absent_does_not() {
    let rules = "gp.practice_ods = { from = 'PD1-3.3', as = \"ods-code\" }\nlanguage = { from = 'PID-15' }";
    let (statement, _) = read_child(rules, &[], &["PID||", "PD1|||\"\""]);
    assert_eq!(statement["clears"], json!(["gp.practice_ods"]));
    let (statement, _) = read_child(rules, &[], &["PID||", "PD1|||^^\"\""]);
    assert_eq!(statement["clears"], json!(["gp.practice_ods"]));
    let (statement, _) = read_child(rules, &[], &["PID||", "PD1|||"]);
    assert_eq!(statement["clears"], json!(null));
    let ignoring = with_child(rules).replace("null = \"clear\"", "null = \"ignore\"");
    let reading = bundle(&[("t.toml", &ignoring)]).read(&v2(&a28(&["PID||", "PD1|||\"\""])), false);
    assert_eq!(reading.statements[0].clears, Vec::<String>::new());
}

#[test]
fn what_is_left_out_is_cleared_where_a_rule_says_so() {
    let rules =
        "gp.practice_ods = { from = 'PD1-3.3', as = \"ods-code\", absent = \"clear\", when = 'PID-8 = \"1\"', on_error = \"warn\" }";
    let of = |segments: &[&str]| read_child(rules, &[], segments).0["clears"].clone();
    assert_eq!(of(&["PID||||||||1"]), json!(["gp.practice_ods"]));
    assert_eq!(of(&["PID||||||||2"]), json!(null), "the rule does not apply");
    assert_eq!(of(&["PID||||||||1", "PD1|||^^A83001"]), json!(null), "a value");
    assert_eq!(of(&["PID||||||||1", "PD1|||^^?"]), json!(null), "a value that nobody can read is not none");
    let ignoring = with_child(rules).replace("null = \"clear\"", "null = \"ignore\"");
    let reading = bundle(&[("t.toml", &ignoring)]).read(&v2(&a28(&["PID||||||||1"])), false);
    assert_eq!(reading.statements[0].clears, ["gp.practice_ods"], "whatever the file says of HL7 null");
}

#[test]
fn a_null_list_clears_the_list() {
    let rules = "sex = { from = 'PID-8', table = \"sex\" }\n[[record]]\nname = \"phone\"\ntype = \"telecom\"\nparent = \"child\"\nover = \"PID-13\"\n[record.fields]\nvalue = { from = 'PID-13.1' }\n\
        [[record]]\nname = \"name\"\ntype = \"name\"\nparent = \"child\"\n[record.fields]\nfamily = { from = 'PID-5.1' }\nuse = { value = \"usual\" }";
    let (statement, _) = read_child(rules, &[SEX], &["PID|||||\"\"||||||||\"\""]);
    assert_eq!(statement["clears"], json!(["telecoms", "names"]));
    let (statement, _) = read_child(rules, &[SEX], &["PID|||||SAMPLE||||||||07700900001"]);
    assert_eq!((&statement["clears"], &statement["child"]["telecoms"][0]["value"]), (&json!(null), &json!("07700900001")));
}

#[test]
fn a_repetition_is_chosen_once_and_its_parts_stay_together() {
    let rules = "sex = { from = 'PID-8', table = \"sex\" }\n[let]\nname = ['PID-5[7 = \"L\"]', 'PID-5[1]']\n[[record]]\nname = \"name\"\ntype = \"name\"\nparent = \"child\"\n[record.fields]\n\
        family = { from = '$name.1.1', as = \"name\" }\ngiven = { from = ['$name.2', '$name.3'], as = \"name\", all = true }";
    let names = |pid: &str| read_child(rules, &[SEX], &[pid]).0["child"]["names"].clone();
    assert_eq!(names("PID|||||NICK^ANN^^^^^A~O'CONNOR&x^AOIFE^MAY^^^^L"), json!([{ "family": "O'CONNOR", "given": ["AOIFE", "MAY"] }]));
    assert_eq!(names("PID|||||FIRST^ONLY~SECOND^NEVER"), json!([{ "family": "FIRST", "given": ["ONLY"] }]));
    // The legal name has no given name: it is not borrowed from the nickname.
    assert_eq!(names("PID|||||NICK^ANN^^^^^A~LEGAL^^^^^^L"), json!([{ "family": "LEGAL" }]));
}

#[test]
fn names_lose_no_letters() {
    let rules = "sex = { from = 'PID-8', table = \"sex\" }\n[[record]]\nname = \"name\"\ntype = \"name\"\n[record.fields]\nfamily = { from = 'PID-5.1', as = \"name\" }";
    let (statement, _) = read_child(rules, &[SEX], &["PID|||||ŁĘCKA-O\\T\\B  X"]);
    assert_eq!(statement["child"]["names"][0]["family"], json!("ŁĘCKA-O&B X"));
}

#[test]
fn a_lost_zero_is_restored_and_said() {
    let (statement, reading) = read_child("language = { from = 'OBX-5.1', as = \"nbs-code\" }", &[], &["PID||", "OBX|||||303"]);
    assert_eq!(statement["child"]["language"], json!("0303"));
    assert_eq!(
        (reading.findings[0].level, reading.findings[0].code.as_str(), reading.findings[0].at.as_str()),
        (Level::Info, "zero-restored", "OBX-5.1")
    );
    assert_eq!(reading.outcome, Outcome::Mapped);
}

#[test]
fn another_column_of_the_row_can_be_taken_and_may_be_empty() {
    let table = ("tables/status.csv", "from,to,display,note,sub\n0303,03,x,,0303\n04,04,x,,\n");
    let rules = "language = { from = 'PID-15', table = \"status\" }\nreligion = { from = 'PID-15', table = \"status\", column = \"sub\" }";
    let child = |code: &str| {
        let (statement, reading) = read_child(rules, &[table], &[&format!("PID|||||||||||||||{code}")]);
        assert_eq!(reading.findings, []);
        (statement["child"]["language"].clone(), statement["child"]["religion"].clone())
    };
    assert_eq!(child("0303"), (json!("03"), json!("0303")));
    assert_eq!(child("04"), (json!("04"), json!(null)));
}

#[test]
fn a_code_needs_its_code_and_a_lone_system_goes() {
    let rules = "sex = { from = 'PID-8', table = \"sex\" }\n[[record]]\nname = \"imm\"\ntype = \"immunisation\"\n[record.fields]\noccurrence = { from = 'RXA-3', as = \"datetime\" }\n\
        vaccine.system = { value = \"http://snomed.info/sct\" }\nvaccine.code = { from = 'RXA-5.1' }\nvaccine.display = { from = 'RXA-5.2' }\nperformer = { from = 'RXA-10.2', all = true }\nprimary_source = { from = 'RXA-9', as = \"boolean\" }";
    let imms = |rxa: &str| read_child(rules, &[SEX], &["PID||", rxa]).0["immunisations"][0].clone();
    assert_eq!(
        imms("RXA|||20260401||1^Vax||||1|9^WHO")["vaccine"],
        json!({ "system": "http://snomed.info/sct", "code": "1", "display": "Vax" })
    );
    assert_eq!(imms("RXA|||20260401||^Vax")["vaccine"], json!({ "system": "http://snomed.info/sct", "code": "", "display": "Vax" }));
    assert_eq!(imms("RXA|||20260401||")["vaccine"], json!(null));
    assert_eq!(imms("RXA|||20260401||1^Vax||||Y|9^WHO")["primary_source"], json!(true));
}

#[test]
fn explain_names_field_place_bytes_steps_and_rule() {
    let body = ["PID|||||A^B~SAMPLE^ONE^^^^^L|||F"];
    let rules = "sex = { from = 'PID-8', table = \"sex\" }\n[let]\nname = ['PID-5[7 = \"L\"]']\n[[record]]\nname = \"name\"\ntype = \"name\"\n[record.fields]\nfamily = { from = '$name.1.1', as = \"name\" }";
    let (_, reading) = read_child(rules, &[SEX], &body);
    let shown: Vec<String> = reading
        .provenance
        .iter()
        .map(|one| format!("{} = {} <- {} {:?} {} [{}]", one.field, one.value, one.from, one.raw, one.steps.join(", "), one.rule))
        .collect();
    assert_eq!(
        shown,
        [
            "event.kind = person <-  \"\" constant [t.toml:14]",
            "child.sex = 2 <- PID-8 \"F\" table tables/sex.csv:3 [t.toml:20]",
            "child.names[0].family = SAMPLE <- PID-5[2].1.1 \"SAMPLE\" name [t.toml:27]",
        ]
    );
    assert_eq!(&a28(&body)[reading.provenance[2].bytes.clone().unwrap()], "SAMPLE");
}

#[test]
fn every_field_of_a_message_is_used_ignored_or_unmapped() {
    let bundle = bundle(&[("t.toml", &with_child("sex = { from = 'PID-8', table = \"sex\", when = 'PID-30 != \"Y\"' }")), SEX]);
    let covered = bundle.coverage(&v2(&a28(&["PID||||||||F||B~C|||||||||||||||||||||||||||"])));
    let of = |place: &str| covered.iter().find(|(at, _)| at == place).map(|(_, how)| *how);
    assert_eq!((of("PID-8"), of("PID-10[2]"), of("MSH-9")), (Some(Coverage::Used), Some(Coverage::Unmapped), Some(Coverage::Used)));
    let covered = bundle.coverage(&v2(&a28(&["PID||||||||F||||||||||||||||||||||Y"])));
    let of = |place: &str| covered.iter().find(|(at, _)| at == place).map(|(_, how)| *how);
    assert_eq!((of("PID-8"), of("PID-30")), (Some(Coverage::Ignored), Some(Coverage::Ignored)));
}

#[test]
fn joined_values_are_one_text_before_they_are_converted() {
    let rule = "religion = { from = ['PID-5.2', 'PID-5.1', 'PID-17'], all = true, join = \" \", as = \"name\" }";
    check(rule, "PID|||||EXAMPLE^ANN  B", json!({ "religion": "ANN B EXAMPLE" }), &[]);
    check(rule, "PID|||||", json!({}), &[]);
    let rule = "religion = { from = ['PID-5.1', 'PID-5.2'], all = true, join = \"\", as = \"sct-code\" }";
    check(rule, "PID|||||314081^000", json!({ "religion": "314081000" }), &[]);
    let rule = "religion = { from = 'PID-17', else = ['PID-5.1', 'PID-5.2'], join = \"-\" }";
    check(rule, "PID|||||A^B||||||||||||C", json!({ "religion": "C" }), &[]);
    check(rule, "PID|||||A^B", json!({ "religion": "A-B" }), &[]);
    let said = mistakes(&[("t.toml", &with_child("religion = { from = 'PID-17', else = 'PID-5' }"))]);
    assert_eq!(said, ["M021 t.toml:20 what `else` finds is joined | write join = \"-\" beside it, or name the paths in `from`"]);
    let said = mistakes(&[("t.toml", &with_child("religion = { from = 'PID-5.1', join = \" \" }"))]);
    assert_eq!(said, ["M021 t.toml:20 `join` makes one text of all that is found | write all = true beside it"]);
}

#[test]
fn a_cell_is_a_list_where_the_field_is_one() {
    let table = ("tables/vaccine.csv", "from,to,antigens\n34,34,A B\n35,35,\n");
    let file = "language = { from = 'PID-15' }\n[[record]]\nname = \"given\"\ntype = \"immunisation\"\nparent = \"child\"\nover = \"RXA\"\n[record.fields]\nkey = { from = 'RXA-1' }\nantigens = { from = 'RXA-5.1', table = \"vaccine\", column = \"antigens\" }";
    let (statement, reading) = read_child(file, &[table], &["PID||", "RXA|1||||34^SIX^SCT", "RXA|2||||35"]);
    assert_eq!(said(&reading), Vec::<String>::new());
    assert_eq!(statement["immunisations"][0]["antigens"], json!(["A", "B"]));
    assert_eq!(statement["immunisations"][1]["antigens"], json!(null));
}

const DOCUMENT: &str = "language = { from = 'PID-15' }
[[record]]
name = \"letter\"
type = \"document\"
parent = \"child\"
[record.fields]
sha256 = { from = 'OBX[2 = \"TX\"]-5[*]', all = true, join = \"\\n\", as = \"text-content\" }
";

#[test]
fn a_content_travels_beside_the_statement_and_not_in_it() {
    let (statement, reading) =
        read_child(DOCUMENT, &[], &["PID||", "OBX|1|TX|||went home \\T\\ well ^ with ~mother", "OBX|2|TX|||on Monday"]);
    assert_eq!(said(&reading), Vec::<String>::new());
    let [content] = reading.contents.as_slice() else { panic!("{:?}", reading.contents) };
    assert_eq!(String::from_utf8_lossy(&content.bytes), "went home & well ^ with \nmother\non Monday");
    assert_eq!(statement["documents"][0]["sha256"], json!(content.sha256));
    assert!(!statement.to_string().contains("home") && !format!("{reading:?}").contains("home"), "{reading:?}");
}

#[test]
fn a_content_with_a_raw_line_break_is_held_and_not_filed_by_half() {
    let (_, reading) = read_child(DOCUMENT, &[], &["PID||", "OBX|1|TX|||to be seen again\rin two weeks"]);
    assert_eq!(reading.outcome, Outcome::Held);
    assert!(said(&reading).contains(&"Hold document.sha256: OBX-5 may be cut: the message has lines that are no segments".to_owned()));
    let (_, reading) = read_child(DOCUMENT, &[], &["PID||", "in two weeks"]);
    assert_eq!(reading.outcome, Outcome::Mapped, "without a content it stays a warning");
}

#[test]
fn a_field_or_segment_of_the_table_of_left_fields_is_left_by_rule() {
    let left = ("tables/left-fields.csv", "from,to,display,note\nPID-10,left,Race,not in use\nZXX,left,,a vendor's\n");
    let bundle = bundle(&[("t.toml", &with_child("sex = { from = 'PID-8', table = \"sex\" }")), SEX, left]);
    let covered = bundle.coverage(&v2(&a28(&["PID||||||||F||B|X", "ZXX|a|b", "ZYY|c"])));
    let of = |place: &str| covered.iter().find(|(at, _)| at == place).map(|(_, how)| *how);
    assert_eq!((of("PID-10"), of("ZXX-1"), of("ZXX-2")), (Some(Coverage::Ignored), Some(Coverage::Ignored), Some(Coverage::Ignored)));
    assert_eq!((of("PID-11"), of("ZYY-1")), (Some(Coverage::Unmapped), Some(Coverage::Unmapped)));
}
