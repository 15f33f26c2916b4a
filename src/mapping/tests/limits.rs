//! Nothing panics, nothing runs away, the same input gives the same reading.

use super::*;
use proptest::prelude::*;

pub(super) const WIDE: &str = r#"
birth.date = { from = 'PID-7', as = "date", on_error = "warn" }
birth.time = { from = 'PID-7', as = "datetime", when = 'length(PID-7) > 8', on_error = "warn" }
sex = { from = 'PID-8', table = "sex", unmapped = "warn" }
gp.practice_ods = { from = ['PD1-3.3', 'PD1-3[last].1', '$name.1.1'], as = "ods-code", on_error = "warn" }

[let]
name = ['PID-5[7 = "L"]', 'PID-5[1]']

[[record]]
name = "identifier"
type = "identifier"
parent = "child"
over = "PID-3"
[record.fields]
value = { from = 'PID-3.1' }
system = { from = 'PID-3.4.1', as = "v2-authority" }

[[record]]
name = "contact"
type = "relation"
over = "NK1"
[record.fields]
kind = { from = 'NK1-3.1', default = "98" }
name.given = { from = 'NK1-2[*].2', all = true }

[[record]]
name = "sample"
type = "blood-spot"
over = "OBR"
span = ["OBX", "NTE"]
check = 'count(OBX) >= 1'
[record.fields]
key = { from = 'OBR-3.1' }

[[record]]
name = "result"
type = "blood-spot-outcome"
over = "OBX"
group_by = "OBX-4"
key = ["condition"]
[record.fields]
condition = { from = 'OBX-3.1', pattern = "[A-Z]*" }
nbs_status = { from = 'OBX[*]-5.1', as = "nbs-code", on_error = "warn" }
"#;

const SEX: (&str, &str) = ("tables/sex.csv", "from,to\nM,1\nF,2\n");

pub(super) fn wide() -> &'static Bundle {
    static BUNDLE: std::sync::LazyLock<Bundle> = std::sync::LazyLock::new(|| bundle(&[("t.toml", &with_child(WIDE)), SEX]));
    &BUNDLE
}

pub(super) fn read_bytes(bundle: &Bundle, format: Format, body: &[u8]) -> Reading {
    let reading = bundle.read(&Input { format, body, default_charset: None, allow_test_numbers: false, received: None }, true);
    bundle.coverage(&Input { format, body, default_charset: None, allow_test_numbers: false, received: None });
    reading
}

fn many(segment: &str, times: usize) -> Vec<&str> {
    std::iter::repeat_n(segment, times).collect()
}

#[test]
fn a_message_that_repeats_itself_thousands_of_times_is_bounded() {
    let bundle = wide();
    let obr = [vec!["PID||"], many("OBR|1||A", 2_000), many("OBX|1||PKU|x|04", 2_000)].concat();
    let reading = bundle.read(&v2(&a28(&obr)), false);
    assert_eq!(reading.statements[0].blood_spots.len(), 2_000);
    let repeated = format!("PID|||{}", "A~".repeat(60_000));
    let reading = bundle.read(&v2(&a28(&[&repeated])), false);
    assert_eq!((reading.outcome.clone(), reading.findings.last().map(|finding| finding.code.as_str())), (Outcome::Held, Some("too-much")));
}

#[test]
fn a_thousand_findings_are_not_a_thousand_rows() {
    let segments: Vec<String> =
        std::iter::once("PID||".to_owned()).chain((0..2_000).map(|number| format!("OBX|1||x|{number}|04"))).collect();
    let reading = wide().read(&v2(&a28(&segments.iter().map(String::as_str).collect::<Vec<_>>())), false);
    assert!(reading.findings.len() <= 501, "{}", reading.findings.len());
    assert_eq!(reading.outcome, Outcome::Held);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_reading_panic(body in proptest::collection::vec(any::<u8>(), 0..400), tail in "[A-Z0-9|^~&\\\\\"\r ]{0,300}") {
        let bundle = wide();
        for format in [Format::Hl7v2, Format::Stu3Json, Format::R4Xml] {
            read_bytes(bundle, format, &body);
        }
        let message = format!("{}PID|1||{tail}", a28(&[]));
        let first = read_bytes(bundle, Format::Hl7v2, message.as_bytes());
        let again = read_bytes(bundle, Format::Hl7v2, message.as_bytes());
        prop_assert_eq!((first.outcome, first.findings, first.statements), (again.outcome, again.findings, again.statements));
    }

    #[test]
    fn segments_in_any_order_are_read_without_panic(order in proptest::collection::vec(0_usize..9, 0..14)) {
        let known = ["PID|||A^^^X~\"\"||B^C^^^^^L||20260401|F", "NK1|1|A^B~C^D|12", "OBR|1||A1", "OBX|1||PKU|g|4", "NTE|1||x", "PD1|||\"\"", "OBX|2||SCD|g|04~05", "junk", "PID|||"];
        let segments: Vec<&str> = order.iter().map(|at| known[*at]).collect();
        let reading = read_bytes(wide(), Format::Hl7v2, a28(&segments).as_bytes());
        prop_assert!(reading.outcome == Outcome::Held || !reading.statements.is_empty());
    }

    #[test]
    fn no_change_of_a_file_makes_compiling_panic(at in any::<prop::sample::Index>(), length in 0_usize..12, put in "[ -~\n\"'éß]{0,8}") {
        let mut text = with_child(WIDE);
        let start = (0..=at.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let end = (start..=(start + length).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(start);
        text.replace_range(start..end, &put);
        let files = files(&[("t.toml", &text), SEX]);
        if let Err(said) = Bundle::compile(&files, "mappings/") {
            prop_assert!(!said.is_empty());
            let drawn = render(&said, &files, "mappings/", false);
            prop_assert!(drawn.contains("error[M"));
        }
    }

    #[test]
    fn no_table_makes_compiling_panic(table in "(from,to[,a-z]{0,10}\n)?[ -~\n\"é,]{0,120}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut list = files(&[("t.toml", &with_child("language = { from = 'PID-8', table = \"x\" }")), ("tables/x.csv", &table)]);
        let _ = Bundle::compile(&list, "");
        list.insert("tables/x.csv".to_owned(), bytes);
        let _ = Bundle::compile(&list, "");
    }
}
