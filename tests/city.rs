//! A small city, lived through by a real broker that is killed three times, and a verifier that can fail.
//!
//! The broker of this city is as it is today: what it still lacks is left out by name, and nothing else is.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at what it did not expect")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;

/// Features that the broker lacks, by name: none.
const LACKS: &str = "";

/// Runs the program; gives its exit code and what it said, with what it complained of.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_chis-broker")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn generate(seed: &str, births: &str, days: &str, folder: &Path) {
    let (code, said) = run(&["gen", "--seed", seed, "--births", births, "--days", days, "--faults", "all", "--out", text(folder)]);
    assert_eq!(code, 0, "{said}");
}

fn verify(city: &Path, data: &Path, without: &str) -> (i32, Value) {
    let (code, said) = run(&["gen", "verify", text(city), "--data", text(data), "--without", without, "--limit", "1000", "--json"]);
    (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}")))
}

fn counts(report: &Value, kind: &str) -> i64 {
    report["counts"][kind].as_i64().unwrap_or(0)
}

/// A copy of a folder's files, so that it can be damaged.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_city_and_another_seed_another() {
    let folder = tempfile::tempdir().unwrap();
    let [one, same, other] = ["one", "same", "other"].map(|name| folder.path().join(name));
    for (seed, city) in [("7", &one), ("7", &same), ("8", &other)] {
        generate(seed, "40", "60", city);
    }
    for file in ["messages.ndjson", "truth.ndjson", "acts.ndjson", "city.toml", "city.json", "mappings/hubs.toml"] {
        assert_eq!(fs::read(one.join(file)).unwrap(), fs::read(same.join(file)).unwrap(), "{file}");
    }
    assert_ne!(fs::read(one.join("messages.ndjson")).unwrap(), fs::read(other.join("messages.ndjson")).unwrap());
}

#[test]
fn a_broker_that_is_killed_three_times_does_right_by_every_child_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let city = folder.path().join("city");
    generate("20", "60", "70", &city);
    let (code, said) = run(&["gen", "play", text(&city), "--kill", "3", "--shuffle", "5", "--without", LACKS]);
    let log = || fs::read_to_string(city.join("broker.log")).unwrap_or_default();
    assert_eq!(code, 0, "{said}\n{}", log());
    assert!(said.contains("3 kills"), "{said}");

    let (code, report) = verify(&city, &city.join("data"), LACKS);
    assert_eq!(code, 0, "{report:#}");
    assert!(40 < report["children"].as_i64().unwrap() && 0 < report["held"].as_i64().unwrap(), "{report:#}");

    assert_eq!(report["left_out"], 0, "{report:#}");
    // What is left out is what was named.
    let (_, lenient) = verify(&city, &city.join("data"), "birth-triple,demographic,retry,seal,transfers,failsafe");
    assert!(0 < lenient["left_out"].as_i64().unwrap(), "{lenient:#}");

    damage_to_the_ledger_is_found(&city, folder.path());
    damage_to_a_store_is_found(&city, folder.path());
    damage_to_the_truth_is_found(&city, folder.path());
}

/// Each act on a copy, and the kind of difference that must be found.
fn damage_to_the_ledger_is_found(city: &Path, folder: &Path) {
    let hearing = "SELECT id FROM event WHERE kind = 'hearing' ORDER BY id LIMIT 1";
    let damages = [
        (
            "an event moved to another child",
            format!("UPDATE event SET child = (SELECT id FROM child WHERE id <> event.child AND status = 'active' LIMIT 1) WHERE id = ({hearing})"),
            "wrong child",
        ),
        (
            "an entry removed",
            format!("DELETE FROM standing WHERE seq = ({hearing}) / 1024; DELETE FROM entry WHERE seq = ({hearing}) / 1024"),
            "standing",
        ),
        (
            "an entry doubled",
            format!(
                "INSERT INTO entry SELECT seq + 1000000, arrived_us, day, source, format, kind, control_id, control_key, sha256, bytes, accepted
                     FROM entry WHERE seq = ({hearing}) / 1024;
                 INSERT INTO standing SELECT seq + 1000000, state, reason, mapping, bundle, findings FROM standing WHERE seq = ({hearing}) / 1024"
            ),
            "twice",
        ),
        ("a child's hub changed", "UPDATE child SET record = CAST(replace(CAST(record AS TEXT), '\"hub\":{\"hub\":\"NE\"', '\"hub\":{\"hub\":\"SW\"') AS BLOB)".into(), "hub"),
        ("a child's number changed", "UPDATE child SET record = CAST(replace(CAST(record AS TEXT), '\"value\":\"999', '\"value\":\"998') AS BLOB)".into(), "record"),
        ("a result taken back", "UPDATE aggregate SET deleted = 1 WHERE kind = 'hearing'".into(), "item"),
        ("a held message filed", "UPDATE standing SET state = 'filed' WHERE state = 'held'".into(), "standing"),
        ("a births list that was not made", "DELETE FROM births_day WHERE hub = 'NW' AND day = '2026-02-01'".into(), "births list"),
        (
            "a birth on no list",
            "UPDATE births_day SET body = json_set(body, '$.births', json('[]')) WHERE body LIKE '%\"section\":\"here\"%'".into(),
            "births list",
        ),
        (
            "a death that was not",
            "UPDATE child SET record = CAST(json_set(CAST(record AS TEXT), '$.child.death', json('{\"status\":\"informal\"}')) AS BLOB)".into(),
            "record",
        ),
        ("a delivery that is owed still", "UPDATE debt SET state = 'pending' WHERE id = 1".into(), "unaccounted"),
    ];
    for (number, (what, sql, found)) in damages.iter().enumerate() {
        let data = folder.join(format!("ledger-{number}"));
        copy(&city.join("data"), &data);
        let ledger = Connection::open(data.join("ledger.db")).unwrap();
        ledger.execute_batch(sql).unwrap_or_else(|error| panic!("{what}: {error}"));
        drop(ledger);
        let (code, report) = verify(city, &data, LACKS);
        assert_eq!(code, 1, "{what} is not found");
        assert!(0 < counts(&report, found), "{what} is found as something else: {:#}", report["counts"]);
    }
}

fn damage_to_a_store_is_found(city: &Path, folder: &Path) {
    let first = "SELECT min(id) FROM event WHERE kind = 'hearing'";
    let damages = [
        ("an event removed", format!("DELETE FROM event WHERE id = ({first})"), "missing in a store"),
        (
            "an event doubled",
            format!(
                "INSERT INTO event(event_id, child_id, version, kind, action, at, source, control_id, seq, filed, superseded, statement)
                 SELECT 'again', child_id, version, kind, action, at, source, control_id, seq, filed, superseded, statement FROM event WHERE id = ({first})"
            ),
            "twice",
        ),
        (
            "an event moved to another child",
            format!("UPDATE event SET child_id = (SELECT c.child_id FROM child c WHERE c.child_id <> event.child_id LIMIT 1) WHERE id = ({first})"),
            "wrong child",
        ),
        ("an empty births list that did not come", "DELETE FROM births_day WHERE day = (SELECT min(day) FROM births_day)".into(), "births list"),
        ("a birth removed from its list", "DELETE FROM births_list WHERE day = (SELECT min(day) FROM births_list)".into(), "births list"),
        (
            "a birth on the list of another day, too",
            "INSERT OR IGNORE INTO births_list SELECT (SELECT max(day) FROM births_day), section, child_id, nhs_number, family, given, birth_date, sex,
                 weight_g, gestation_weeks, place, postcode, gp_practice, hub, basis, status, recognised FROM births_list"
                .into(),
            "births list",
        ),
        ("a child removed", "DELETE FROM child WHERE child_id = (SELECT min(child_id) FROM child)".into(), "missing in a store"),
    ];
    for (number, (what, sql, found)) in damages.iter().enumerate() {
        let data = folder.join(format!("store-{number}"));
        copy(&city.join("data"), &data);
        Connection::open(data.join("hub-ne.db")).unwrap().execute_batch(sql).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (code, report) = verify(city, &data, LACKS);
        assert_eq!(code, 1, "{what} is not found");
        assert!(0 < counts(&report, found), "{what} is found as something else: {:#}", report["counts"]);
    }
    // A child in a store that never looked after it.
    let data = folder.join("store-other");
    copy(&city.join("data"), &data);
    let store = Connection::open(data.join("hub-ne.db")).unwrap();
    store.execute("ATTACH ?1 AS sw", [text(&data.join("hub-sw.db"))]).unwrap();
    store.execute_batch("INSERT OR IGNORE INTO child SELECT * FROM sw.child").unwrap();
    drop(store);
    let (code, report) = verify(city, &data, LACKS);
    assert!(code == 1 && 0 < counts(&report, "in a wrong store"), "{:#}", report["counts"]);
}

fn damage_to_the_truth_is_found(city: &Path, folder: &Path) {
    type Damage = fn(&mut Vec<Value>);
    let ordinary = |child: &Value| child.get("needs").is_none() && 4 < child["messages"].as_array().unwrap().len();
    let damages: [(&str, Damage, &str); 6] = [
        (
            "a message of another child",
            |children| {
                let moved = children.first_mut().unwrap()["messages"].as_array_mut().unwrap().pop().unwrap();
                children.get_mut(1).unwrap()["messages"].as_array_mut().unwrap().push(moved);
            },
            "wrong child",
        ),
        (
            "a message that nobody sent",
            |children| drop(children.first_mut().unwrap()["messages"].as_array_mut().unwrap().pop()),
            "never sent",
        ),
        ("a death that nobody told", |children| children.first_mut().unwrap()["record"]["death"] = "informal".into(), "record"),
        (
            "a birth on the list of another day",
            |children| children.first_mut().unwrap()["births"][0]["day"] = "2025-12-31".into(),
            "births list",
        ),
        ("another weight", |children| children.first_mut().unwrap()["record"]["weight_g"] = 1.into(), "record"),
        ("an outcome that was not", |children| children.first_mut().unwrap()["outcomes"]["PKU"] = "08".into(), "outcome"),
    ];
    let truth = fs::read_to_string(city.join("truth.ndjson")).unwrap();
    for (number, (what, damage, found)) in damages.into_iter().enumerate() {
        let copied = folder.join(format!("truth-{number}"));
        copy(city, &copied);
        let mut children: Vec<Value> = truth.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // Ordinary children first, so that the damage is done to one that is judged.
        children.sort_by_key(|child| !ordinary(child));
        damage(&mut children);
        let lines: Vec<String> = children.iter().map(Value::to_string).collect();
        fs::write(copied.join("truth.ndjson"), lines.join("\n")).unwrap();
        let (code, report) = {
            let config: PathBuf = city.join("city.toml");
            let (code, said) = run(&[
                "gen",
                "verify",
                text(&copied),
                "--config",
                text(&config),
                "--data",
                text(&city.join("data")),
                "--without",
                LACKS,
                "--json",
            ]);
            (code, serde_json::from_str::<Value>(&said).unwrap())
        };
        assert_eq!(code, 1, "{what} is not found");
        assert!(0 < counts(&report, found), "{what} is found as something else: {:#}", report["counts"]);
    }
}

#[test]
fn a_feature_that_nobody_knows_is_not_left_out_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    generate("1", "3", "20", folder.path());
    let (code, said) = run(&["gen", "verify", text(folder.path()), "--without", "birth-tripel"]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("birth-tripel") && said.contains("birth-triple"), "{said}");
}
