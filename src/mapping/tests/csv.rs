//! Rows of CSV extracts: columns are paths, and everything that is said names columns.

use super::*;

const EXTRACT: &str = r#"[mapping]
id = "old"
version = "1"
schema = 1
format = "csv"
columns = ["ID", "NHS No", "SEX", "DOB", "NOTE"]

[[record]]
name = "event"
type = "event"
[record.fields]
kind = { value = "person" }

[[record]]
name = "child"
type = "child"
[record.fields]
birth.date = { from = 'DOB', as = "date-dmy" }
"#;

fn with(rules: &str) -> String {
    format!("{EXTRACT}{rules}\n")
}

fn read(rules: &str, row: &str) -> Reading {
    let text = with(rules);
    let body = format!("#mapping old\nID,NHS No,SEX,DOB,NOTE,FURTHER\n{row}\n");
    let bundle = bundle(&[("t.toml", text.as_str()), ("tables/sex.csv", "from,to\nM,1\nF,2\n")]);
    bundle.read(
        &Input { format: Format::CsvRow, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None },
        true,
    )
}

#[test]
fn a_value_and_a_finding_name_the_column_they_came_from() {
    let reading = read("sex = { from = 'SEX', table = \"sex\" }\nlanguage = { from = '[NHS No]' }", "7,en,Q,05/01/2026,,x");
    assert_eq!(said(&reading), [r#"Hold child.sex: code "Q" at SEX is not in table sex"#]);
    assert_eq!((reading.findings[0].at.as_str(), reading.findings[0].bytes.clone()), ("SEX", None));
    let from: Vec<&str> = reading.provenance.iter().map(|one| one.from.as_str()).filter(|from| !from.is_empty()).collect();
    assert_eq!(from, ["DOB", "NHS No"]);
    assert_eq!(reading.mapping.unwrap().as_str(), "old");
}

#[test]
fn conditions_ask_columns_also_those_whose_name_is_no_word() {
    let rule = "religion = { value = \"yes\", when = '[NHS No] = \"1\" and not exists(NOTE)' }";
    for (row, expected) in [("7,1,M,05/01/2026,,", Some("yes")), ("7,2,M,05/01/2026,,", None), ("7,1,M,05/01/2026,said,", None)] {
        let reading = read(rule, row);
        assert_eq!(reading.statements[0].child.religion.as_deref(), expected, "{row}");
    }
}

#[test]
fn dates_of_extracts_are_read_in_the_three_ways_in_which_they_are_written() {
    for (row, expected) in [("2026-01-05", "2026-01-05"), ("20260105", "2026-01-05"), ("2026", "2026")] {
        let reading = read("death.date_time = { from = 'NOTE', as = \"date\" }", &format!("7,1,M,05/01/2026,{row},"));
        assert_eq!(reading.statements[0].child.death.as_ref().unwrap().date_time.as_ref().unwrap().value, expected);
    }
    assert_eq!(read("", "7,1,M,05/01/2026,,").statements[0].child.birth.date.as_ref().unwrap().value, "2026-01-05");
}

#[test]
fn what_messages_have_and_rows_have_not_is_refused_when_the_file_is_loaded() {
    let check = |text: &str, expected: &[&str]| assert_eq!(mistakes(&[("t.toml", text)]), expected, "{text}");
    check(
        &with("sex = { from = 'SEKS' }"),
        &["M031 t.toml:19 `columns` declares no \"SEKS\" | known here: `ID`, `NHS No`, `SEX`, `DOB`, `NOTE`"],
    );
    check(
        &EXTRACT.replace("columns = [\"ID\", \"NHS No\", \"SEX\", \"DOB\", \"NOTE\"]", "columns = [\"DOB\", \"DOB\"]"),
        &["M005 t.toml:6 column \"DOB\" is declared twice"],
    );
    check(
        &EXTRACT.replace("format = \"csv\"", "format = \"csv\"\naccepts = [\"ADT^A28\"]"),
        &["M003 t.toml:6 a CSV extract has no `accepts`: its mapping is named at import | remove `accepts`"],
    );
    let said = mistakes(&[("t.toml", &EXTRACT.replace("columns", "#"))]);
    assert!(said[0].contains("must declare its `columns`"), "{said:?}");
    let said = mistakes(&[("t.toml", &with_child("").replace("accepts", "columns = [\"A\"]\naccepts"))]);
    assert!(said.iter().any(|one| one.contains("`columns` is for format = \"csv\"")), "{said:?}");
}

#[test]
fn a_row_whose_mapping_or_column_is_gone_is_held_and_never_read_by_another() {
    let bundle = bundle(&[("t.toml", EXTRACT)]);
    let read = |body: &str| {
        let input =
            Input { format: Format::CsvRow, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None };
        let reading = bundle.read(&input, false);
        assert_eq!(reading.outcome, Outcome::Held);
        reading.findings[0].code.clone()
    };
    assert_eq!(read("#mapping gone\nID\n1\n"), "no-mapping");
    assert_eq!(read("#mapping old\nID\n1\n"), "unreadable");
    assert_eq!(read("ID\n1\n"), "unreadable");
}
