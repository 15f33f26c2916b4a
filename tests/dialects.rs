//! The same message in another dress says the same: other separators, other versions, other line ends, Z segments, trailing
//! separators.
//!
//! Every HL7 v2 sample is dressed anew and read again; what it says, what is found wrong, and where, must not change.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::Path;

use chis_broker::mapping::{Bundle, Finding, Input, Outcome, Reading};
use chis_broker::names::Format;
use serde_json::Value;

fn samples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut samples: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "hl7"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap().trim_end().replace('\n', "\r") + "\r")
        })
        .collect();
    samples.sort();
    assert!(30 < samples.len(), "the samples are there");
    samples
}

fn read(bundle: &Bundle, body: &str) -> Reading {
    bundle.read(
        &Input { format: Format::Hl7v2, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None },
        false,
    )
}

/// All that a reading says, but for bytes, which are others in another dress, and what only the dress itself is told.
fn says(reading: &Reading) -> (Option<String>, Outcome, Vec<Value>, Vec<Value>) {
    let finding = |finding: &Finding| {
        let mut value = serde_json::to_value(finding).unwrap();
        value.as_object_mut().unwrap().remove("bytes");
        value
    };
    let of_dress = ["lf-endings", "blank-line"];
    (
        reading.mapping.as_ref().map(ToString::to_string),
        reading.outcome.clone(),
        reading.statements.iter().map(|statement| serde_json::to_value(statement).unwrap()).collect(),
        reading.findings.iter().filter(|found| !of_dress.contains(&found.code.as_str())).map(finding).collect(),
    )
}

/// Reads every sample in another dress. `dress` gives `None` for a sample that it does not suit. Gives how many were compared.
fn check(what: &str, dress: impl Fn(&str) -> Option<String>) -> usize {
    let bundle = Bundle::compile(&Bundle::shipped(), "mappings/").unwrap();
    let mut compared = 0;
    for (name, body) in samples() {
        let Some(dressed) = dress(&body) else { continue };
        assert_ne!(dressed, body, "{name}: {what}");
        assert_eq!(says(&read(&bundle, &dressed)), says(&read(&bundle, &body)), "{name}: {what}");
        compared += 1;
    }
    compared
}

/// Other characters for `|^~\&`; none where the message has them, or escapes, in its texts.
fn separators(body: &str, other: [char; 5]) -> Option<String> {
    let own = ['|', '^', '~', '\\', '&'];
    let rest = body.strip_prefix("MSH|^~\\&").unwrap();
    let suits = !rest.contains('\\') && !rest.chars().any(|c| other.contains(&c) && !own.contains(&c));
    let turned = |c: char| own.iter().position(|known| *known == c).and_then(|at| other.get(at).copied()).unwrap_or(c);
    suits.then(|| body.chars().map(turned).collect())
}

#[test]
fn the_separators_are_read_from_the_message() {
    for other in [['$', '%', '!', '?', '*'], ['^', '|', '~', '\\', '&'], ['|', '&', '~', '\\', '^'], ['#', ';', '@', '`', '=']] {
        let compared = check(&format!("separators {other:?}"), |body| separators(body, other));
        assert!(20 < compared, "{other:?} suited {compared} samples");
    }
}

#[test]
fn the_truncation_sign_of_version_2_7_is_no_text() {
    assert!(30 < check("2.7", |body| Some(body.replacen("MSH|^~\\&|", "MSH|^~\\&#|", 1))));
}

#[test]
fn every_version_from_2_1_to_2_8_is_read() {
    for version in ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8"] {
        let dress = |body: &str| {
            let mut fields: Vec<&str> = body.split('|').collect();
            let own = fields.get(11).copied()?;
            if own == version {
                return None;
            }
            // MSH-12 is the last field of its segment in some messages.
            let end = own.find('\r').map_or("", |at| own.get(at..).unwrap_or_default());
            let other = format!("{version}{end}");
            *fields.get_mut(11)? = &other;
            Some(fields.join("|"))
        };
        assert!(5 < check(version, dress), "{version}");
    }
}

#[test]
fn line_ends_and_trailing_separators_say_nothing() {
    assert!(30 < check("CR LF", |body| Some(body.replace('\r', "\r\n"))));
    assert!(30 < check("LF", |body| Some(body.replace('\r', "\n"))));
    assert!(30 < check("no last line end", |body| Some(body.trim_end().to_owned())));
    assert!(30 < check("trailing separators", |body| Some(body.replace('\r', "||\r"))));
    assert!(
        30 < check("trailing components", |body| {
            let (header, rest) = body.split_once('\r').unwrap();
            let dressed = rest.split_inclusive('\r').map(|line| match line.trim_end().rsplit_once('|') {
                Some((_, last)) if !last.is_empty() && !last.contains('^') => line.replace('\r', "^^\r"),
                _ => line.to_owned(),
            });
            let dressed = dressed.collect::<String>();
            (dressed != rest).then(|| format!("{header}\r{dressed}"))
        })
    );
}

#[test]
fn segments_of_a_vendor_stand_anywhere_after_the_header() {
    let vendor = "ZVN|1|MAT1^301-1B001|20260105~20260106\r";
    assert!(30 < check("at the end", |body| Some(format!("{body}{vendor}"))));
    assert!(30 < check("everywhere", |body| Some(body.replace('\r', &format!("\r{vendor}")))));
}
