//! Tests of the module as a whole: small files, small messages, exact texts.

mod csv;
mod fhir;
mod files;
mod groups;
mod inline;
mod limits;
mod memory;
mod remarks;
mod rules;
mod selection;
mod shipped;

use super::*;

/// `[mapping]` and an event, enough for any file.
pub(super) const HEAD: &str = r#"[mapping]
id = "t"
version = "1"
schema = 1
format = "hl7v2"
accepts = ["ADT^A28", "ORU^R01"]
zone = "Europe/London"
null = "clear"

[[record]]
name = "event"
type = "event"
[record.fields]
kind = { value = "person" }
"#;

/// HEAD and a child with these rules.
pub(super) fn with_child(rules: &str) -> String {
    format!("{HEAD}\n[[record]]\nname = \"child\"\ntype = \"child\"\n[record.fields]\n{rules}\n")
}

pub(super) fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

pub(super) fn bundle(list: &[(&str, &str)]) -> Bundle {
    let files = files(list);
    Bundle::compile(&files, "mappings/").unwrap_or_else(|said| panic!("{}", render(&said, &files, "mappings/", false)))
}

/// `M020 t.toml:18 message | help` for everything that is wrong.
pub(super) fn mistakes(list: &[(&str, &str)]) -> Vec<String> {
    let said = match Bundle::compile(&files(list), "") {
        Ok(bundle) => bundle.warnings().to_vec(),
        Err(said) => said,
    };
    said.iter()
        .map(|one| {
            format!(
                "{} {}:{} {}{}",
                one.code,
                one.file,
                one.line,
                one.message,
                one.help.as_ref().map_or_else(String::new, |help| format!(" | {help}"))
            )
        })
        .collect()
}

pub(super) fn v2(body: &str) -> Input<'_> {
    Input { format: Format::Hl7v2, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None }
}

/// An A28 whose further segments are these.
pub(super) fn a28(segments: &[&str]) -> String {
    let head = "MSH|^~\\&|PAS|RJ1|X|Y|20260401120000||ADT^A28|1|P|2.4";
    std::iter::once(head).chain(segments.iter().copied()).map(|segment| format!("{segment}\r")).collect()
}

/// `field: text` of every finding with its level's first letter.
pub(super) fn said(reading: &Reading) -> Vec<String> {
    reading
        .findings
        .iter()
        .map(|one| format!("{:?} {}{}{}", one.level, one.field, if one.field.is_empty() { "" } else { ": " }, one.text))
        .collect()
}

/// Reads an A28 with the rules of a child; the first statement as JSON, and what was said.
pub(super) fn read_child(rules: &str, tables: &[(&str, &str)], segments: &[&str]) -> (serde_json::Value, Reading) {
    let text = with_child(rules);
    let mut list = vec![("t.toml", text.as_str())];
    list.extend(tables);
    let reading = bundle(&list).read(&v2(&a28(segments)), true);
    (reading.statements.first().map_or(serde_json::Value::Null, |statement| serde_json::to_value(statement).unwrap()), reading)
}
