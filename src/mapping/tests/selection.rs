//! Which file reads which message.

use super::*;

fn file(id: &str, head: &str) -> String {
    let rest = with_child("language = { value = \"ID\" }").replace("\"ID\"", &format!("\"{id}\""));
    rest.replacen("id = \"t\"", &format!("id = \"{id}\"\n{head}"), 1)
}

fn chosen(list: &[(&str, String)], body: &str) -> String {
    let list: Vec<(&str, &str)> = list.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let reading = bundle(&list).read(&v2(body), false);
    reading.mapping.map_or_else(|| format!("{} {}", reading.findings[0].code, reading.findings[0].text), |name| name.as_str().to_owned())
}

#[test]
fn the_senders_file_comes_first_then_when_then_the_rest() {
    let list = [
        ("plain.toml", file("plain", "")),
        ("birth.toml", file("birth", "when = 'exists(ZU7)'")),
        ("sites/rj1/x.toml", file("site", "sender = { facility = \"RJ1\" }\nwhen = 'PID-1 = \"site\"'")),
        ("sites/rj1/y.toml", file("closer", "sender = { application = \"PAS\", facility = \"RJ1\" }\nwhen = 'PID-1 = \"closer\"'")),
    ];
    assert_eq!(chosen(&list, &a28(&["PID||"])), "plain");
    assert_eq!(chosen(&list, &a28(&["PID||", "ZU7||1"])), "birth");
    assert_eq!(chosen(&list, &a28(&["PID|site|", "ZU7||1"])), "site");
    assert_eq!(chosen(&list, &a28(&["PID|closer|", "ZU7||1"])), "closer");
    assert_eq!(chosen(&list, &a28(&["PID|site|", "ZU7||1"]).replace("|RJ1|", "|RJ2|")), "birth");
}

#[test]
fn a_type_that_no_file_accepts_is_held() {
    let list = [("plain.toml", file("plain", ""))];
    assert_eq!(chosen(&list, &a28(&["PID||"]).replace("A28", "A99")), "no-mapping no mapping file reads ADT^A99 messages of this sender");
    let reading = bundle(&[("plain.toml", &list[0].1)]).read(&v2("no message"), false);
    assert_eq!((reading.findings[0].code.as_str(), reading.outcome), ("unreadable", Outcome::Held));
}

#[test]
fn a_file_may_accept_all_messages_of_a_kind() {
    let all = file("all", "").replace("\"ADT^A28\", \"ORU^R01\"", "\"ADT^*\"");
    assert_eq!(chosen(&[("all.toml", all.clone())], &a28(&["PID||"])), "all");
    assert!(chosen(&[("all.toml", all.clone())], &a28(&["PID||"]).replace("ADT^A28", "ORU^R01")).starts_with("no-mapping"));
    assert!(
        mistakes(&[("all.toml", &all), ("b.toml", &file("b", ""))])[0].starts_with("M070 b.toml:7 b and all would both read ADT^A28 |")
    );
}

#[test]
fn two_equally_good_files_hold_the_message_and_two_plain_ones_do_not_compile() {
    let list = [("a.toml", file("a", "when = 'exists(PID)'")), ("b.toml", file("b", "when = 'exists(MSH)'"))];
    assert_eq!(
        chosen(&list, &a28(&["PID||"])),
        "two-mappings a (mappings/a.toml:2) and b (mappings/b.toml:2) would both read this message"
    );
    let said = mistakes(&[("a.toml", &file("a", "")), ("b.toml", &file("b", ""))]);
    assert_eq!(said, ["M070 b.toml:7 b and a would both read ADT^A28, ORU^R01 | take the type out of one of them, or give one a `when`"]);
}

/// A sender's file that extends another.
fn site(id: &str, extends: &str, rest: &str) -> String {
    format!("[mapping]\nid = \"{id}\"\nversion = \"1\"\nschema = 1\nextends = \"{extends}\"\nsender = {{ facility = \"RJ1\" }}\n{rest}")
}

#[test]
fn a_sites_file_takes_no_message_from_a_file_that_would_come_before_the_one_it_extends() {
    let mut list = vec![
        ("plain.toml", file("plain", "")),
        ("birth.toml", file("birth", "when = 'exists(ZU7)'")),
        ("sites/rj1/plain.toml", site("rj1/plain", "plain", "")),
    ];
    assert_eq!(chosen(&list, &a28(&["PID||"])), "rj1/plain");
    assert_eq!(chosen(&list, &a28(&["PID||", "ZU7||1"])), "birth", "its weight would be lost");
    assert_eq!(chosen(&list, &a28(&["PID||"]).replace("|RJ1|", "|RJ2|")), "plain");
    list.push(("sites/rj1/birth.toml", site("rj1/birth", "birth", "")));
    assert_eq!(chosen(&list, &a28(&["PID||", "ZU7||1"])), "rj1/birth");
}

#[test]
fn a_sites_file_that_stands_alone_is_warned_about_where_it_passes_over_a_condition() {
    let alone = file("s", "sender = { facility = \"RJ1\" }");
    let said = mistakes(&[
        ("plain.toml", &file("plain", "")),
        ("birth.toml", &file("birth", "when = 'exists(ZU7)'")),
        ("sites/rj1/s.toml", &alone),
    ]);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("M090 sites/rj1/s.toml:") && said[0].contains("that `birth` would read by its `when` are read by `s`"),
        "{said:?}"
    );
}

#[test]
fn a_sites_file_may_change_a_common_file_that_changes_another() {
    let base = with_child("sex = { value = \"1\" }\nlanguage = { value = \"base\" }\nreligion = { value = \"base\" }");
    let birth = "[mapping]\nid = \"birth\"\nversion = \"1\"\nschema = 1\nextends = \"t\"\nwhen = 'exists(ZU7)'\n\
        [override.child]\nlanguage = { value = \"birth\" }\nreligion = { value = \"birth\" }\n";
    let site = site("rj1/birth", "birth", "[override.child]\nreligion = { value = \"site\" }\n");
    let bundle = bundle(&[("t.toml", &base), ("birth.toml", birth), ("sites/rj1/birth.toml", &site)]);
    let child = |body: &str| {
        let child = bundle.read(&v2(body), false).statements[0].child.clone();
        (child.language.unwrap(), child.religion.unwrap())
    };
    assert_eq!(child(&a28(&["PID||", "ZU7||1"])), ("birth".to_owned(), "site".to_owned()));
    assert_eq!(child(&a28(&["PID||", "ZU7||1"]).replace("|RJ1|", "|RJ2|")), ("birth".to_owned(), "birth".to_owned()));
    assert_eq!(child(&a28(&["PID||"])), ("base".to_owned(), "base".to_owned()));
}

#[test]
fn a_site_file_takes_over_what_it_does_not_change_and_its_table_rows_win() {
    let base = with_child("sex = { from = 'PID-8', table = \"sex\" }\nlanguage = { from = 'PID-15' }\nreligion = { from = 'PID-17' }");
    let site = r#"
[mapping]
id = "rj1/t"
version = "1"
schema = 1
extends = "t"
sender = { application = "PAS", facility = "RJ1" }
tables = { sex = "sites/rj1/tables/sex.csv" }
[override.child]
language = { value = "cy" }
[add.child]
birth.weight_g = { from = 'ZBA-4', as = "integer" }
[remove]
child = ["religion"]
[[record]]
name = "name"
type = "name"
parent = "child"
[record.fields]
family = { from = 'PID-5.1' }
"#;
    let tables = [("tables/sex.csv", "from,to\n1,1\n2,2\nF,2\n"), ("sites/rj1/tables/sex.csv", "from,to\nF,9\n")];
    let bundle = bundle(&[("t.toml", &base), ("sites/rj1/t.toml", site), tables[0], tables[1]]);
    let body = a28(&["PID|||||FAM|||F|||||||en||rel", "ZBA||||2518"]);
    let site = &bundle.read(&v2(&body), false).statements[0].child;
    assert_eq!((site.language.as_deref(), site.religion.as_deref(), site.birth.weight_g), (Some("cy"), None, Some(2518)));
    assert_eq!((site.sex, site.names[0].family.as_deref()), (Some(crate::canon::Sex::NotSpecified), Some("FAM")));
    let other = &bundle.read(&v2(&body.replace("|RJ1|", "|RJ2|")), false).statements[0].child;
    assert_eq!(
        (other.language.as_deref(), other.religion.as_deref(), other.sex),
        (Some("en"), Some("rel"), Some(crate::canon::Sex::Female))
    );
    let unknown = bundle.read(&v2(&body.replace("|F|", "|Q|")), false);
    assert_eq!(unknown.findings[0].help, "add a row to sites/rj1/tables/sex.csv (this sender), or to tables/sex.csv (every sender)");
    let resolved = bundle.resolved("rj1/t").unwrap();
    assert!(resolved.contains("language = { value = \"cy\" }"), "{resolved}");
    let lines: Vec<&str> = resolved.lines().filter(|line| line.contains("# sites/rj1/t.toml:") || line.contains("# t.toml:")).collect();
    assert!(lines.iter().any(|line| line.starts_with("sex =") && line.ends_with("# t.toml:20")), "{resolved}");
    assert!(!resolved.contains("religion"), "{resolved}");
}

#[test]
fn an_ignored_message_says_why_and_where_that_is_written() {
    let text =
        format!("{}[[ignore]]\nwhen = 'PV1-2 = \"B\"'\nreason = \"an obstetric patient\"\n", with_child("language = { from = 'PID-15' }"));
    let reading = bundle(&[("t.toml", &text)]).read(&v2(&a28(&["PID||", "PV1||B"])), false);
    assert_eq!(reading.outcome, Outcome::Ignored("an obstetric patient [mappings/t.toml:22]".to_owned()));
    assert!(reading.statements.is_empty());
}

#[test]
fn an_ignored_message_names_its_persons_where_the_rule_asks_whether_they_are_known_and_says_nothing_else_of_them() {
    let ignore = "[[ignore]]\nwhen = 'PV1-2 = \"B\"'\nreason = \"an adult\"\nunless_known = true\n";
    let text = format!("{}{ignore}", with_child("language = { from = 'PID-15' }\nbirth.date = { from = 'PID-7', as = \"date\" }"));
    let pid = "PID|||||||NODATE||||||||en";
    let reading = bundle(&[("t.toml", &text)]).read(&v2(&a28(&[pid, "PV1||B"])), false);
    assert_eq!(reading.outcome, Outcome::Ignored("an adult [mappings/t.toml:23]".to_owned()));
    assert_eq!(reading.statements.iter().map(|said| said.child.language.as_deref()).collect::<Vec<_>>(), [Some("en")]);
    assert!(reading.findings.is_empty(), "{:?}", reading.findings);
    // The same message where the rule does not hold has them.
    let reading = bundle(&[("t.toml", &text)]).read(&v2(&a28(&[pid, "PV1||I"])), false);
    assert!(!reading.findings.is_empty());
    let wrong = text.replace("unless_known = true", "unless_known = \"yes\"");
    assert!(mistakes(&[("t.toml", &wrong)])[0].contains("`unless_known` must be true or false"), "{:?}", mistakes(&[("t.toml", &wrong)]));
}

#[test]
fn the_hash_knows_every_byte_and_name() {
    let text = with_child("sex = { value = \"1\" }");
    let hash = |list: &[(&str, &str)]| bundle(list).hash().clone();
    let first = hash(&[("t.toml", &text)]);
    assert_eq!(first, hash(&[("t.toml", &text)]));
    assert_ne!(first, hash(&[("u.toml", &text)]));
    assert_ne!(first, hash(&[("t.toml", &text), ("tables/x.csv", "from,to\na,b\n")]));
    assert_ne!(
        hash(&[("t.toml", &text), ("tables/x.csv", "from,to\na,b\n")]),
        hash(&[("t.toml", &text), ("tables/x.csv", "from,to\na,c\n")])
    );
}

#[test]
fn what_the_reader_tolerated_is_said() {
    let bundle = bundle(&[("t.toml", &with_child("language = { from = 'PID-15' }"))]);
    let body: Vec<u8> = [a28(&["PID||"]).as_bytes(), b"x no segment\rNK1|1|\xe9\r"].concat();
    let reading =
        bundle.read(&Input { format: Format::Hl7v2, body: &body, default_charset: None, allow_test_numbers: true, received: None }, false);
    let codes: Vec<(&str, Level)> = reading.findings.iter().map(|finding| (finding.code.as_str(), finding.level)).collect();
    assert!(codes.contains(&("charset-guess", Level::Warning)) && codes.contains(&("line-is-no-segment", Level::Warning)), "{codes:?}");
    assert_eq!(reading.outcome, Outcome::Mapped);
}

#[test]
fn a_missing_code_names_the_senders_own_table_also_where_a_common_file_reads_the_message() {
    let base = with_child("sex = { from = 'PID-8', table = \"sex\" }");
    let other = base
        .replace("id = \"t\"", "id = \"rj1/o\"\nsender = { facility = \"RJ1\" }")
        .replace("[\"ADT^A28\", \"ORU^R01\"]", "[\"ADT^A31\"]");
    let table = ("tables/sex.csv", "from,to\n1,1\n");
    let bundle = bundle(&[("t.toml", &base), ("sites/rj1/o.toml", &other), table]);
    let help = |body: &str| bundle.read(&v2(body), false).findings[0].help.clone();
    let theirs = a28(&["PID||||||||Q"]);
    assert_eq!(
        help(&theirs),
        "add a row to tables/sex.csv (every sender); for this sender alone sites/rj1 needs a file that extends t, \
         then the row goes to sites/rj1/tables/sex.csv"
    );
    assert_eq!(
        help(&theirs.replace("^A28", "^A31")),
        "add a row to sites/rj1/tables/sex.csv (this sender), or to tables/sex.csv (every sender)"
    );
    assert_eq!(help(&theirs.replace("|RJ1|", "|RJ2|")), "add a row to tables/sex.csv");
}

#[test]
fn a_file_may_be_for_a_source_of_the_configuration_and_then_for_no_other() {
    let base = with_child("language = { value = \"base\" }");
    let site = |id: &str, sender: &str, word: &str| {
        format!(
            "[mapping]\nid = \"{id}\"\nversion = \"1\"\nschema = 1\nextends = \"t\"\nsender = {{ {sender} }}\n[override.child]\nlanguage = {{ value = \"{word}\" }}\n"
        )
    };
    let (own, closer) = (site("a/t", "source = \"maternity\"", "own"), site("b/t", "source = \"maternity\", facility = \"RJ2\"", "closer"));
    let bundle = bundle(&[("t.toml", &base), ("sites/a/t.toml", &own), ("sites/b/t.toml", &closer)]);
    let body = a28(&["PID||"]);
    let language =
        |source: Option<&str>, body: &str| bundle.read_from(source, &v2(body), false).statements[0].child.language.clone().unwrap();
    assert_eq!(language(Some("maternity"), &body), "own");
    assert_eq!(language(Some("maternity"), &body.replace("|RJ1|", "|RJ2|")), "closer");
    assert_eq!(language(Some("pas"), &body), "base");
    assert_eq!(language(None, &body), "base");
    let nothing = site("c/t", "", "x");
    let said = mistakes(&[("t.toml", &base), ("sites/c/t.toml", &nothing)]);
    assert!(said[0].contains("`sender` says neither `application` nor `facility` nor `source`"), "{said:?}");
}
