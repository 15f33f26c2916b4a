//! Every public HL7 v2 message of a kind that a child health service knows is read, left by a rule that says why, or held by a
//! finding that names segment and field.
//!
//! The folder is named by `CHIS_CORPUS`; without it this says that it did not run.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chis_broker::hl7::{Header, Limits, check};
use chis_broker::mapping::{Bundle, Input, Level, Outcome};
use chis_broker::names::Format;

fn messages_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut inside: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inside.sort();
    for path in inside {
        if path.is_dir() {
            messages_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "hl7") {
            found.push(path);
        }
    }
}

/// `PID-7`, `OBX[2]-5.1`, `OBR-4.1, OBX-3.1`, or a segment alone: `OBX[1]`, `SCH`.
fn names_a_place(at: &str) -> bool {
    !at.is_empty()
        && at.split(", ").all(|place| {
            let segment: String = place.chars().take(3).collect();
            segment.len() == 3 && segment.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        })
}

#[test]
fn every_known_kind_of_message_gives_a_record_or_a_finding_that_names_its_place() {
    let Some(corpus) = std::env::var_os("CHIS_CORPUS").map(PathBuf::from) else {
        #[expect(clippy::print_stderr, reason = "a test that did not run must not look like one that passed")]
        {
            eprintln!("CHIS_CORPUS is not set: the public messages were not read");
        }
        return;
    };
    let bundle = Bundle::compile(&Bundle::shipped(), "mappings/").unwrap();
    let mut files = Vec::new();
    messages_below(&corpus.join("hl7v2"), &mut files);
    let mut outcomes: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut silent = Vec::new();
    for file in &files {
        let body = std::fs::read(file).unwrap();
        // What the door refuses by its form never comes to a mapping; its answer names the place (table 0357).
        let Ok(header) = Header::read(&body) else { continue };
        let kind = header.message_type();
        let family = kind.split('^').next().unwrap_or_default().to_owned();
        if !["ADT", "ORU", "VXU", "SIU", "MDM"].contains(&family.as_str()) || check(&body, &header, &Limits::default()).is_err() {
            continue;
        }
        let reading = bundle
            .read(&Input { format: Format::Hl7v2, body: &body, default_charset: None, allow_test_numbers: true, received: None }, false);
        let outcome = match &reading.outcome {
            Outcome::Mapped => "read",
            Outcome::Ignored(reason) if !reason.is_empty() => "left by a rule",
            Outcome::Ignored(_) => "left without a reason",
            Outcome::Held => {
                let held = reading.findings.iter().filter(|finding| finding.level == Level::Hold);
                let named = held
                    .clone()
                    .any(|finding| names_a_place(&finding.at) || finding.text.contains("PID-") || finding.text.contains("MSH-"));
                if !named {
                    let texts: Vec<String> = held.map(|finding| format!("{} {}", finding.code, finding.text)).collect();
                    silent.push(format!("{}: {texts:?}", file.display()));
                }
                "held"
            }
        };
        *outcomes.entry((family, outcome)).or_default() += 1;
    }
    assert!(silent.is_empty(), "{} are held by findings without a place:\n{}", silent.len(), silent.join("\n"));
    assert!(!outcomes.keys().any(|(_, outcome)| *outcome == "left without a reason"), "{outcomes:?}");
    assert!(500 < outcomes.values().sum::<usize>(), "{outcomes:?}");
}
