//! Every mistake in a file is said with its place and remedy, and all of them at once.

use super::*;

fn check(text: &str, expected: &[&str]) {
    let tables = [("tables/sex.csv", "from,to\nM,1\nF,2\n"), ("tables/safe.csv", "# safety = true\nfrom,to\n01,01\n")];
    let mut list = vec![("t.toml", text)];
    list.extend(tables);
    assert_eq!(mistakes(&list), expected, "{text}");
}

fn check_rules(rules: &str, expected: &[&str]) {
    check(&with_child(rules), expected);
}

#[test]
fn a_mistake_is_drawn_like_a_compiler_draws_it() {
    let text = with_child("birth.date = { from = 'PID-0', as = \"date\" }");
    let list = files(&[("adt.toml", &text)]);
    let said = Bundle::compile(&list, "mappings/").unwrap_err();
    let drawn = render(&said, &list, "mappings/", false);
    assert!(drawn.starts_with("error[M031]: field"), "{drawn}");
    assert!(drawn.contains("--> mappings/adt.toml:20:28"), "{drawn}");
    assert!(drawn.contains("birth.date = { from = 'PID-0', as = \"date\" }"), "{drawn}");
    assert!(drawn.lines().any(|line| line.trim_start_matches(['|', ' ']).starts_with('^')), "{drawn}");
    assert!(render(&said, &list, "mappings/", true).contains("\u{1b}["));
}

#[test]
fn toml_that_is_none_names_line_and_column() {
    let said = mistakes(&[("t.toml", &with_child("sex = { from = PID-8 }"))]);
    assert!(said[0].starts_with("M001 t.toml:20"), "{said:?}");
    let said = Bundle::compile(&files(&[("t.toml", "a = 04\n")]), "").unwrap_err();
    assert_eq!((said[0].line, said[0].code), (1, "M001"));
}

#[test]
fn unknown_keys_and_wrong_kinds_say_what_was_probably_meant() {
    check(
        &format!("[mappings]\n{}", with_child("sex = { value = \"1\" }")),
        &["M002 t.toml:1 a mapping file has no key `mappings` | did you mean `mapping`?"],
    );
    check(
        &with_child("sex = { value = \"1\" }").replace("zone =", "zonee ="),
        &["M002 t.toml:7 [mapping] has no key `zonee` | did you mean `zone`?"],
    );
    check_rules(
        "sex = { from = 'PID-8', tabel = \"sex\" }",
        &["M002 t.toml:20 the rule of `sex` has no key `tabel` | did you mean `table`?"],
    );
    check_rules("sex = 'PID-8'", &["M003 t.toml:20 the rule of `sex` must be a table | write { from = 'PID-8' }"]);
    check_rules(
        "sex = { from = 8 }",
        &["M003 t.toml:20 `from` must be a text between quotation marks, or a list of them, not an integer | write \"8\""],
    );
    check_rules("sex = { from = 'PID-8', required = \"yes\" }", &["M003 t.toml:20 `required` must be true or false, not a string"]);
    check_rules(
        "sex = { from = 'PID-8', on_error = \"drop\" }",
        &["M003 t.toml:20 `on_error` cannot be \"drop\" | known here: `hold`, `warn`, `reject`"],
    );
    check_rules(
        "sex = { }",
        &["M004 t.toml:20 the rule of `sex` says neither `from` nor `value` | write from = 'PID-8', or value = \"…\" for a constant"],
    );
}

#[test]
fn what_a_file_must_say_is_asked_for() {
    let said = mistakes(&[("t.toml", "[mapping]\nid = \"t\"\nformat = \"hl7\"\n")]);
    let expected = [
        "M004 t.toml:1 [mapping] must say `version` | add: version = \"2026.04.1\"",
        "M004 t.toml:1 [mapping] must say `schema` | add: schema = 1",
        "M003 t.toml:3 `format` cannot be \"hl7\" | did you mean `hl7v2`?",
    ];
    assert_eq!(said, expected);
    assert_eq!(
        mistakes(&[("t.toml", "")]),
        ["M004 t.toml:1 the file has no [mapping] | begin with [mapping] and its id, version, schema, format, accepts"]
    );
    let bare = "[mapping]\nid = \"t\"\nversion = \"1\"\nschema = 1\nformat = \"hl7v2\"\naccepts = [\"ADT^A28\"]\n";
    let said = mistakes(&[("t.toml", bare)]);
    assert!(said[0].contains("no record of type `child`") && said[1].contains("no record of type `event`"), "{said:?}");
    let twice = with_child("sex = { value = \"1\" }");
    assert!(mistakes(&[("a.toml", &twice), ("b.toml", &twice)])[0].starts_with("M005 b.toml:2 the id \"t\" is already used by a.toml"));
}

#[test]
fn a_field_that_the_model_does_not_have_is_refused_with_the_one_it_has() {
    check_rules(
        "birth.wieght_g = { from = 'ZBA-4', as = \"integer\" }",
        &["M020 t.toml:20 a record of type `child` has no field `birth.wieght_g` | did you mean `birth.weight_g`?"],
    );
    check_rules("sexx = { value = \"1\" }", &["M020 t.toml:20 a record of type `child` has no field `sexx` | did you mean `sex`?"]);
    check_rules(
        "nhs_number = { from = 'PID-3.1' }",
        &[
            "M020 t.toml:20 a record of type `child` has no field `nhs_number` | write a [[record]] of type = \"identifier\" with parent = \"child\"",
        ],
    );
    check_rules(
        "names = { from = 'PID-5' }",
        &["M020 t.toml:20 `names` is a list of records | write a [[record]] of type = \"name\" with this record as its parent"],
    );
    check_rules("hub = { value = \"NE\" }", &["M020 t.toml:20 `hub` is set by the broker, not by a mapping | remove this rule"]);
    check_rules(
        "gp = 'PD1-3'",
        &[
            "M003 t.toml:20 `gp` is a part with fields of its own | write one rule for each of its fields: gp.practice_ods, gp.practitioner_code, gp.from, gp.to",
        ],
    );
}

#[test]
fn a_rule_that_cannot_fill_its_field_is_refused() {
    check_rules(
        "birth.date = { from = 'PID-7', as = \"text\" }",
        &["M021 t.toml:20 `birth.date` holds a date | write as = \"date\", or leave it out"],
    );
    check_rules(
        "birth.date = { from = 'PID-7', table = \"sex\" }",
        &["M021 t.toml:20 `birth.date` holds a date | a table gives codes: remove it"],
    );
    check_rules(
        "birth.time = { from = 'PID-7', as = \"text\" }",
        &["M021 t.toml:20 `birth.time` holds a moment | write as = \"datetime\", or leave it out"],
    );
    check_rules(
        "birth.weight_g = { from = 'ZU7-3', as = \"decimal\" }",
        &["M021 t.toml:20 `birth.weight_g` holds a whole number | write as = \"integer\", or leave it out"],
    );
    check_rules(
        "birth.weight_g = { value = \"3000\" }",
        &["M021 t.toml:20 `value` does not fit: `birth.weight_g` holds a whole number | write a whole number without quotation marks"],
    );
    check_rules(
        "language = { from = 'PID-15', required = true, absent = \"clear\" }",
        &["M041 t.toml:20 `language` cannot be absent and cleared | remove `absent`, or `required` and `default`"],
    );
    check_rules(
        "[[record]]\nname = \"phone\"\ntype = \"telecom\"\nparent = \"child\"\n[record.fields]\nvalue = { from = 'PID-13.1', absent = \"clear\" }",
        &["M021 t.toml:21 `value` is cleared where it is absent, and only fields of a child can be | remove `absent`"],
    );
    check_rules("sex = { value = \"3\" }", &["M022 t.toml:20 \"3\" cannot be a value of `sex` | known here: `1`, `2`, `9`, `0`"]);
    check_rules(
        "sex = { from = 'PID-8', table = \"sex\", default = \"x\" }",
        &["M022 t.toml:20 \"x\" cannot be a value of `sex` | known here: `1`, `2`, `9`, `0`"],
    );
    check_rules(
        "sex = { from = 'PID-8', value = \"1\" }",
        &["M021 t.toml:20 the rule of `sex` has both `from` and `value` | keep one; what stands in for nothing found is `default`"],
    );
    check_rules(
        "language = { value = \"en\", table = \"sex\" }",
        &["M021 t.toml:20 `table` means nothing beside the constant `value` | remove `table`"],
    );
    check_rules("sex = { from = 'PID-8', all = true }", &["M021 t.toml:20 `sex` takes one value, not all | remove `all`"]);
    check_rules(
        "birth.date = { from = 'PID-7' }\n[record.fields.\"birth.date\"]\nfrom = 'PID-7'",
        &["M005 t.toml:21 `birth.date` already has a rule above | keep one of the two"],
    );
    check_rules("language = { from = 'PID' }", &["M031 t.toml:20 PID is a whole segment, not a value | name a field: PID-3"]);
    check_rules("language = { from = 'PID-15', as = \"txt\" }", &["M040 t.toml:20 there is no converter \"txt\" | did you mean `text`?"]);
    check_rules(
        "language = { from = 'PID-15', min = 1 }",
        &["M042 t.toml:20 `min` compares numbers | write as = \"integer\" or as = \"decimal\" beside it"],
    );
    check_rules(
        "language = { from = 'PID-15', pattern = \"(a)\" }",
        &["M042 t.toml:20 '(' is not part of a pattern; write \\( for the sign itself"],
    );
    check_rules(
        "language = { from = 'PID-15', length = true }",
        &["M042 t.toml:20 `length` is the greatest number of characters or a range | write length = 40 or length = \"10..40\""],
    );
}

#[test]
fn a_policy_that_would_lose_or_invent_data_is_refused() {
    check_rules(
        "birth.date = { from = 'PID-7', as = \"date\", required = true, on_error = \"warn\" }",
        &[
            "M041 t.toml:20 `birth.date` is required, and an error would drop it with a warning | write on_error = \"hold\", or remove `required`",
        ],
    );
    check_rules(
        "sex = { from = 'PID-8', table = \"sex\", required = true, unmapped = \"warn\" }",
        &[
            "M041 t.toml:20 `sex` is required, and an unknown code would drop it with a warning | write unmapped = \"hold\", or remove `required`",
        ],
    );
    check_rules(
        "sex = { from = 'PID-8', table = \"sex\", unmapped = \"keep\" }",
        &["M041 t.toml:20 `sex` is one of a closed list: it cannot keep an unknown code | write unmapped = \"hold\" or \"warn\""],
    );
    check_rules(
        "language = { from = 'PID-15', table = \"safe\", unmapped = \"use:01\" }",
        &["M041 t.toml:20 table `safe` is marked safety = true: an unknown code must not be guessed | write unmapped = \"hold\""],
    );
    let defaults = with_child("sex = { from = 'PID-8', required = true }")
        .replace("[[record]]\nname = \"event\"", "[defaults]\non_error = \"warn\"\n[[record]]\nname = \"event\"");
    check(
        &defaults,
        &["M041 t.toml:22 `sex` is required, and an error would drop it with a warning | write on_error = \"hold\", or remove `required`"],
    );
}

#[test]
fn tables_are_checked_where_they_are_used() {
    check_rules("sex = { from = 'PID-8', table = \"sax\" }", &["M050 t.toml:20 there is no table \"sax\" | did you mean `sex`?"]);
    check_rules(
        "sex = { from = 'PID-8', table = \"sex\", column = \"form\" }",
        &["M050 t.toml:20 tables/sex.csv has no column `form` | did you mean `from`?"],
    );
    check_rules("sex = { from = 'PID-8', column = \"to\" }", &["M021 t.toml:20 `column` needs a `table`"]);
    let text = with_child("sex = { from = 'PID-8', table = \"sex\" }");
    assert_eq!(
        mistakes(&[("t.toml", &text), ("tables/sex.csv", "from,to\nM,male\n")]),
        ["M055 tables/sex.csv:2 \"male\" cannot be a value of `sex` | known here: `1`, `2`, `9`, `0`"]
    );
    assert_eq!(
        mistakes(&[("t.toml", &text), ("tables/sex.csv", "from,to\nM,1\nM,2\n")]),
        ["M051 tables/sex.csv:3 code \"M\" stands here a second time | it is already in line 2; keep one of the two"]
    );
}

#[test]
fn paths_lets_and_conditions_are_pointed_at() {
    let list = files(&[("t.toml", &with_child("language = { from = ['PID-15', 'PID-15.1.2.9'] }"))]);
    let said = Bundle::compile(&list, "").unwrap_err();
    assert_eq!((said[0].code, said[0].line), ("M031", 20));
    let text = String::from_utf8(list["t.toml"].clone()).unwrap();
    assert_eq!(
        text[..said[0].span.start].lines().last().unwrap(),
        "language = { from = ['PID-15', 'PID-15.1.2",
        "the caret stands at the mistake inside the text"
    );
    check_rules(
        "language = { from = '$nam.1' }\n[let]\nname = 'PID-5[1]'",
        &["M032 t.toml:20 [let] has no name `nam` here | did you mean `name`?"],
    );
    check_rules(
        "[let]\nname = 'PID-5[1].1'",
        &[
            "M032 t.toml:21 [let] names a repetition of a field, whose parts are taken later | write 'PID-5[7 = \"L\"]', and take its parts as $name.1",
        ],
    );
    check_rules(
        "language = { from = 'PID-15', when = 'PID-24' }",
        &[
            "M033 t.toml:20 a comparison is expected here: =, !=, <, <=, >, >=, in or fits | to ask whether it is there, write exists(PID-24)",
        ],
    );
    check_rules(
        "language = { from = 'PID-15', when = 'exist(PID-24)' }",
        &["M033 t.toml:20 there is no function `exist` | did you mean `exists`?"],
    );
}

#[test]
fn records_must_belong_to_somebody() {
    let with = |record: &str| {
        with_child(&format!("sex = {{ value = \"1\" }}\n[[record]]\n{record}\n[record.fields]\nvalue = {{ from = 'PID-3.1' }}"))
    };
    check(
        &with("name = \"id\"\ntype = \"identifer\""),
        &["M010 t.toml:23 there is no record type \"identifer\" | did you mean `identifier`?"],
    );
    check(
        &with("name = \"id\"\ntype = \"identifier\"\nparent = \"chidl\""),
        &["M011 t.toml:24 there is no record \"chidl\" | did you mean `child`?"],
    );
    check(
        &with("name = \"id\"\ntype = \"identifier\"\nparent = \"event\""),
        &[
            "M011 t.toml:24 a record of type `identifier` cannot belong to `event` | its parent is a record of type child or relation or identity-change",
        ],
    );
    check(
        &with("name = \"held\"\ntype = \"identifier\""),
        &["M005 t.toml:22 \"held\" cannot be the name of a record | use small letters and hyphens"],
    );
    check(
        &with("name = \"child\"\ntype = \"identifier\""),
        &["M005 t.toml:22 there is already a record `child` | give every record a name of its own"],
    );
    check(
        &with("name = \"id\"\ntype = \"identifier\"\nneeds = [\"valu\"]"),
        &["M020 t.toml:24 `needs` names \"valu\", for which this record has no rule | did you mean `value`?"],
    );
    check(
        &with("name = \"id\"\ntype = \"identifier\"\nkey = [\"system\"]"),
        &["M020 t.toml:24 `key` names \"system\", which is neither a field nor a record of `id` | known here: `value`"],
    );
    check(
        &with("name = \"id\"\ntype = \"identifier\"\nspan = [\"OBX\"]"),
        &["M012 t.toml:24 `span` needs `over` with a segment | add over = \"OBR\""],
    );
    check(
        &with("name = \"id\"\ntype = \"identifier\"\nover = \"PID-3.1\""),
        &["M012 t.toml:24 `over` names a segment or a field | write over = \"NK1\" or over = \"PID-3\""],
    );
    check(
        &with("name = \"id\"\ntype = \"identifier\"\nover = \"OBX\"\ngroup_by = \"OBR-4\""),
        &["M012 t.toml:25 `group_by` names a field of the segment in `over` | write group_by = \"OBX-4\""],
    );
    let numbered = with("name = \"id\"\ntype = \"identifier\"\nover = \"PID-3\"").replace("'PID-3.1'", "'PID-3[2].1'");
    check(&numbered, &["M012 t.toml:26 inside `over`, field 3 is already the current repetition | leave the number in brackets out"]);
}

#[test]
fn a_record_cannot_take_segments_that_its_owner_does_not_own() {
    let text = with_child(
        "sex = { value = \"1\" }\n[[record]]\nname = \"sample\"\ntype = \"blood-spot\"\nover = \"OBR\"\n[record.fields]\nkey = { from = 'OBR-3' }\n\
        [[record]]\nname = \"result\"\ntype = \"blood-spot-outcome\"\nover = \"OBX\"\n[record.fields]\ncondition = { from = 'OBX-3.1' }",
    );
    check(
        &text,
        &["M012 t.toml:30 `sample` owns no OBX: every one of its records would get all of them | add \"OBX\" to the `span` of `sample`"],
    );
}

#[test]
fn site_files_change_only_what_is_there() {
    let base = with_child("sex = { value = \"1\" }");
    let site = |rest: &str| {
        format!("[mapping]\nid = \"x/t\"\nversion = \"1\"\nschema = 1\nextends = \"t\"\nsender = {{ facility = \"RJ1\" }}\n{rest}\n")
    };
    let check =
        |rest: &str, expected: &[&str]| assert_eq!(mistakes(&[("sites/x/t.toml", &site(rest)), ("t.toml", &base)]), expected, "{rest}");
    check("[override.child]\nsex = { value = \"2\" }", &[]);
    check(
        "[override.child]\nsexx = { value = \"2\" }",
        &["M020 sites/x/t.toml:8 a record of type `child` has no field `sexx` | did you mean `sex`?"],
    );
    check(
        "[override.child]\nlanguage = { value = \"en\" }",
        &["M061 sites/x/t.toml:8 override of child.language, which the common file does not have | write it below [add.child]"],
    );
    check(
        "[add.child]\nsex = { value = \"2\" }",
        &["M061 sites/x/t.toml:8 `sex` of `child` is already there (t.toml:20) | write it below [override.child] to replace it"],
    );
    check("[add.chidl]\nsex = { value = \"2\" }", &["M061 sites/x/t.toml:7 the common file has no record `chidl` | did you mean `child`?"]);
    check("[remove]\nchild = [\"religion\"]", &["M061 sites/x/t.toml:8 `child` has no field \"religion\" to remove | known here: `sex`"]);
    assert_eq!(
        mistakes(&[("t.toml", &format!("{base}[add.child]\nlanguage = {{ value = \"en\" }}"))]),
        ["M061 t.toml:21 [add] needs a common file to change | add extends = \"…\" to [mapping], or write the rules into [[record]]"]
    );
    let help = "a common file extends one that stands alone, a sender's file any common one; a longer chain cannot be followed by a person";
    let of_a_site = site("").replace("x/t\"", "y\"").replace("extends = \"t\"", "extends = \"x/t\"");
    assert_eq!(
        mistakes(&[("sites/x/t.toml", &site("")), ("t.toml", &base), ("y.toml", &of_a_site)]),
        [format!("M060 y.toml:5 \"x/t\" cannot be extended here | {help}")]
    );
    let common = |id: &str, extends: &str| {
        let text = site("[override.child]\nsex = { value = \"2\" }")
            .replace("x/t\"", &format!("{id}\""))
            .replace("sender = { facility = \"RJ1\" }", "when = 'exists(ZU7)'");
        text.replace("extends = \"t\"", &format!("extends = \"{extends}\""))
    };
    assert_eq!(
        mistakes(&[("a.toml", &common("a", "t")), ("b.toml", &common("b", "a")), ("t.toml", &base)]),
        [format!("M060 b.toml:5 \"t\" cannot be extended here | {help}")]
    );
    let circle = [("a.toml", common("a", "b")), ("b.toml", common("b", "a")), ("t.toml", base.clone())];
    assert_eq!(mistakes(&circle.iter().map(|(name, text)| (*name, text.as_str())).collect::<Vec<_>>()).len(), 2);
    let lost = site("").replace("extends = \"t\"", "extends = \"tt\"");
    assert_eq!(
        mistakes(&[("s.toml", &lost), ("t.toml", &base)]),
        ["M060 s.toml:5 there is no mapping with the id \"tt\" | known here: `x/t`, `t`"]
    );
}

#[test]
fn all_mistakes_of_all_files_come_at_once_and_once() {
    let base = with_child("sex = { from = 'PID-8', as = \"txt\" }\nlanguage = { from = 'PID-0' }");
    let site = "[mapping]\nid = \"s\"\nversion = \"1\"\nschema = 1\nextends = \"t\"\nsender = { facility = \"R\" }\n[add.child]\nreligion = { form = 'PID-17' }\n";
    let said = mistakes(&[("t.toml", &base), ("s.toml", site), ("tables/x.csv", "a,b\n")]);
    let mut codes: Vec<&str> = said.iter().map(|one| one.split(' ').next().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["M002", "M004", "M031", "M040", "M054"], "{said:?}");
}

#[test]
fn a_forgotten_bracket_is_said_once_with_its_place_and_what_extends_the_file_says_nothing_more() {
    let base = with_child("language = { from = ['PID-15', 'PID-16' }\nsex = { from = 'PID-8' }\nreligion = { from = 'PID-17' }");
    let site = "[mapping]\nid = \"a/t\"\nversion = \"1\"\nschema = 1\nextends = \"t\"\nsender = { facility = \"RJ1\" }\n";
    let said = mistakes(&[("t.toml", &base), ("sites/a/t.toml", site), ("tables/sex.csv", "from,to\nM,1\n")]);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("M001 t.toml:20 "), "{said:?}");
    // Another file is still checked.
    let other = with_child("sexx = { value = \"1\" }")
        .replace("id = \"t\"", "id = \"u\"")
        .replace("ADT^A28", "ADT^A31")
        .replace("ORU^R01", "ADT^A05");
    let said = mistakes(&[("t.toml", &base), ("u.toml", &other)]);
    assert_eq!(said.iter().map(|said| &said[..4]).collect::<Vec<_>>(), ["M001", "M020"], "{said:?}");
}

#[test]
fn a_table_of_a_sender_that_no_file_asks_is_said_and_one_that_is_asked_is_not() {
    let base = with_child("sex = { from = 'PID-8', table = \"sex\" }");
    let site = "[mapping]\nid = \"a/t\"\nversion = \"1\"\nschema = 1\nextends = \"t\"\nsender = { facility = \"RJ1\" }\n";
    let (common, own) = (("tables/sex.csv", "from,to\nM,1\n"), ("sites/a/tables/sex.csv", "from,to\nF,2\n"));
    assert_eq!(mistakes(&[("t.toml", &base), common, own, ("sites/a/t.toml", site)]), [""; 0]);
    assert_eq!(
        mistakes(&[("t.toml", &base), common, own]),
        [
            "M090 sites/a/tables/sex.csv:1 no mapping file of sites/a asks this table, so its rows change nothing | its rows hold for messages that \
          a file of sites/a reads: add one there that extends the file with table \"sex\""
        ]
    );
    let slip = ("sites/a/tables/sxe.csv", "from,to\nF,2\n");
    assert_eq!(
        mistakes(&[("t.toml", &base), common, slip, ("sites/a/t.toml", site)]),
        ["M090 sites/a/tables/sxe.csv:1 no mapping file of sites/a asks this table, so its rows change nothing | did you mean `sex`?"]
    );
    // One that only a condition asks is asked.
    let asked = ("sites/a/tables/staff.csv", "from,to\nX,1\n");
    let with = format!("{site}when = 'PID-10 in table(\"staff\")'\n");
    assert_eq!(mistakes(&[("t.toml", &base), common, asked, ("sites/a/t.toml", &with)]), [""; 0]);
}
