//! What receivers are sent, judged by somebody else: each kind of event, in both profiles, read by a second implementation of FHIR
//! (`fhir.resources` of PyPI, installed by `tests/all`), and its names compared with those that NHS examples use.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::print_stderr, reason = "what did not run is said aloud")]
#![allow(missing_docs, reason = "helpers of tests say what they are by their names")]

mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chis_broker::canon::ProxyConsent;
use chis_broker::destinations::{Audience, Known, ParentRules, Standing, Turn, take_back, tell, whole_record_for};
use chis_broker::outbox::FiledEvent;
use serde_json::Value;

fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run tests/all, or `python3 -m venv target/venv && target/venv/bin/pip install -r tests/requirements.txt`",
        python.display()
    );
    python
}

/// What the second implementation has to say of these Bundles; nothing where they are good.
fn judged(bundles: &[Vec<u8>]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers/validate.py");
    let mut judge = Command::new(python()).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = judge.stdin.take().unwrap();
    for bundle in bundles {
        stdin.write_all(bundle).and_then(|()| stdin.write_all(b"\n")).unwrap();
    }
    drop(stdin);
    let output = judge.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn consents() -> Vec<ProxyConsent> {
    vec![ProxyConsent {
        account_id: "ACC-1".to_owned(),
        status: "active".to_owned(),
        verified_by: Some("a check".to_owned()),
        ..ProxyConsent::default()
    }]
}

/// What parents are told of an event; nothing where it is withheld.
fn for_parents(event: &FiledEvent) -> Option<chis_broker::destinations::Told> {
    let (rules, none, consents) = (ParentRules::default(), BTreeMap::new(), consents());
    let known = Known { rules: &rules, consents: &consents, now: event.filed, so_far: &[], told: &none };
    tell(event, known, Turn::First).ok()
}

#[test]
fn every_kind_of_event_in_a_whole_record_is_r4_to_a_second_implementation() {
    let mut bundles = Vec::new();
    for event in events::all() {
        for audience in [Audience::Responsible, Audience::Interested] {
            let bundle = whole_record_for(&event, audience);
            assert!(!bundle.is_empty(), "{:?}", event.statement.event.kind);
            bundles.push(bundle);
        }
        bundles.push(whole_record_for(&events::deleted(event), Audience::Responsible));
    }
    assert_eq!(judged(&bundles), "");
}

#[test]
fn every_kind_of_event_in_a_parents_record_is_r4_to_a_second_implementation() {
    let (rules, none, consents) = (ParentRules::default(), BTreeMap::new(), consents());
    let mut bundles = Vec::new();
    for event in events::all() {
        let Some(told) = for_parents(&event) else { continue };
        let known = Known { rules: &rules, consents: &consents, now: event.filed, so_far: &[], told: &none };
        bundles.extend(take_back(&events::deleted(event), "ACC-1", &told.items, known).map(|told| told.body));
        bundles.push(told.body);
    }
    // The record so far, with what a hub released.
    let so_far: Vec<Standing> = events::all().into_iter().map(|event| Standing { event, informed: true, is_forbidden: false }).collect();
    let known = Known { rules: &rules, consents: &consents, now: so_far[0].event.filed, so_far: &so_far, told: &none };
    let whole = tell(&events::of("proxy-consent", "{}"), known, Turn::First).unwrap();
    assert!(12 < whole.items.len(), "{}", whole.items.len());
    bundles.push(whole.body);
    assert!(12 < bundles.len(), "{}", bundles.len());
    assert_eq!(judged(&bundles), "");
}

#[test]
fn the_judge_finds_what_is_wrong() {
    let good = String::from_utf8(whole_record_for(&events::all()[0], Audience::Responsible)).unwrap();
    for (right, wrong) in [
        ("\"gender\":\"female\"", "\"gender\":[]"),
        ("\"birthDate\":\"2026-04-01\"", "\"birthDate\":\"1 April\""),
        ("\"Patient\"", "\"Patience\""),
    ] {
        assert!(good.contains(right), "{right}");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers/validate.py");
        let bad = good.replace(right, wrong);
        let mut judge =
            Command::new(python()).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        judge.stdin.take().unwrap().write_all(bad.as_bytes()).unwrap();
        let output = judge.wait_with_output().unwrap();
        assert!(!output.stdout.is_empty() || !output.status.success(), "{wrong}");
    }
}

/// Every URI of UK systems, extensions and profiles that is written.
fn uris(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|field| uris(field, found)),
        Value::Array(items) => items.iter().for_each(|item| uris(item, found)),
        Value::String(text) if text.starts_with("https://fhir.nhs.uk/") || text.starts_with("https://fhir.hl7.org.uk/") => {
            found.insert(text.clone());
        }
        _ => {}
    }
}

#[test]
fn uk_systems_and_extensions_are_spelled_as_in_nhs_examples() {
    let Some(corpus) = std::env::var_os("CHIS_CORPUS") else {
        eprintln!("CHIS_CORPUS is not set: this test did not run");
        return;
    };
    let mut texts = String::new();
    let mut folders = vec![PathBuf::from(corpus).join("fhir")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|extension| extension == "json") => {
                    texts.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
                }
                _ => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    for event in events::all() {
        uris(&serde_json::from_slice(&whole_record_for(&event, Audience::Responsible)).unwrap(), &mut found);
        if let Some(told) = for_parents(&event) {
            uris(&serde_json::from_slice(&told.body).unwrap(), &mut found);
        }
    }
    assert!(4 <= found.len(), "{found:?}");
    let strange: Vec<_> = found.iter().filter(|uri| !texts.contains(&format!("\"{uri}\""))).collect();
    assert!(strange.is_empty(), "{strange:?}");
}
