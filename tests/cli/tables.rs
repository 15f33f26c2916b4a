//! A code that no table knows, from the message that is held for it to the row that lets it go.

use serde_json::{Value, json};

use crate::site::Site;
use crate::{Broker, ran, run, sample};

/// A shipped sample with other fields: `(segment, field, text)`. Each has its own control id.
fn message(site: &Site, name: &str, number: usize, fields: &[(&str, usize, &str)]) -> String {
    let text = std::fs::read_to_string(sample(name)).unwrap();
    let changed: Vec<String> = text
        .lines()
        .map(|line| {
            let mut parts: Vec<String> = line.split('|').map(str::to_owned).collect();
            let segment = parts[0].clone();
            // MSH-1 is the bar itself.
            let at = |field: usize| if segment == "MSH" { field - 1 } else { field };
            if segment == "MSH" {
                parts[at(10)] = format!("TABLE{number}");
            }
            for (_, field, text) in fields.iter().filter(|(id, _, _)| *id == segment) {
                parts[at(*field)] = (*text).to_owned();
            }
            parts.join("|")
        })
        .collect();
    site.message(&format!("{number}.hl7"), &changed.join("\r"))
}

fn json_of(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn standing(broker: &Broker, seq: i64) -> (String, String) {
    let entry = json_of(&["msg", "trace", &seq.to_string(), "--json", "--admin", &broker.admin])["entry"].clone();
    (entry["standing"].as_str().unwrap().to_owned(), entry["reason"].as_str().unwrap().to_owned())
}

/// Exit code and what was said on stderr.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_row_for_an_unknown_code_files_what_waited_for_it_in_the_order_of_the_journal() {
    let site = Site::new();
    let broker = site.broker();
    let sex = ("PID", 8, "W");
    let registered = message(&site, "03-term-baby-a28-person.hl7", 2, &[sex]);
    let named = message(&site, "04-term-baby-a31-named.hl7", 3, &[sex]);
    let other_birthday = message(&site, "04-term-baby-a31-named.hl7", 4, &[sex, ("PID", 7, "20250601")]);
    // Filed meanwhile, and newer than all of them.
    let newest = message(
        &site,
        "04-term-baby-a31-named.hl7",
        5,
        &[("EVN", 6, "20260301090000"), ("PID", 5, "EXAMPLE^ZARA^^^^^L"), ("MSH", 7, "20260301090000")],
    );
    let outcome = message(&site, "14-term-baby-oru-normal.hl7", 6, &[("OBX", 5, "45^Something new^NBS")]);
    site.send(&broker, &[&sample("02-term-baby-a01-birth.hl7"), &registered, &named, &other_birthday, &newest, &outcome]);
    for (seq, expected) in [(1, "filed"), (2, "held"), (3, "held"), (4, "held"), (5, "filed"), (6, "held")] {
        assert_eq!(standing(&broker, seq).0, expected, "{seq}");
    }
    let admin = broker.admin.as_str();
    let misses = json_of(&["table", "misses", "--json", "--admin", admin]);
    let words = |miss: &Value| {
        let number = |key: &str| miss[key].as_i64().unwrap();
        format!(
            "{} {} {} {} {}-{}",
            miss["table"],
            miss["code"],
            number("count"),
            number("waiting"),
            number("first_seq"),
            number("last_seq")
        )
    };
    let listed: Vec<String> = misses.as_array().unwrap().iter().map(words).collect();
    assert_eq!(listed, [r#""sex" "W" 3 3 2-4"#, r#""bloodspot-status" "45" 1 1 6-6"#]);
    let data = site.at("data");
    assert_eq!(json_of(&["table", "misses", "--json", "--data", &data]), misses, "the ledger itself says the same");
    assert_eq!(json_of(&["table", "misses", "--table", "sex", "--source", "nobody", "--json", "--admin", admin]), json!([]));
    let (_, masked) = ran(&["msg", "trace", "2", "--json", "--admin", admin]);
    assert!(masked.contains("unmapped-code") && !masked.contains("\"W\""), "{masked}");

    let config = site.at("chis-broker.toml");
    let add = |table: &str, code: &str, to: &str| {
        json_of(&["table", "add", table, code, to, "--config", &config, "--admin", admin, "--reason", "asked the hospital", "--json"])
    };
    let added = add("sex", "W", "2");
    assert_eq!((&added["file"], &added["released"], &added["waiting"]), (&json!("tables/sex.csv"), &json!([2, 3]), &json!([])), "{added}");
    assert_eq!(added["held_again"], json!([[4, "identity-mismatch"]]), "{added}");
    assert!(std::fs::read_to_string(site.path("mappings/tables/sex.csv")).unwrap().ends_with("unknown,0,Not known,FHIR\nW,2,,\n"));
    for (seq, expected) in [(2, "filed"), (3, "filed"), (4, "held"), (6, "held")] {
        assert_eq!(standing(&broker, seq).0, expected, "{seq}");
    }
    assert_eq!(add("bloodspot-status", "45", "04")["released"], json!([6]));
    assert_eq!(json_of(&["table", "misses", "--json", "--admin", admin]), json!([]));
    // Filed late, by event time: the newest name still stands.
    crate::settled(&broker);
    let child = json_of(&["msg", "trace", "2", "--json", "--admin", admin])["events"][0]["child"].as_str().unwrap().to_owned();
    let record = json_of(&["child", &child, "--json", "--admin", admin, "--reveal", "test"])["record"].clone();
    assert_eq!(record["names"][0]["given"], json!(["ZARA"]), "{record}");
    // A message with the code is filed from now on.
    let again = message(&site, "03-term-baby-a28-person.hl7", 7, &[sex]);
    site.send(&broker, &[&again]);
    assert_eq!(standing(&broker, 7).0, "filed");
}

#[test]
fn a_row_in_a_sites_own_table_lets_only_that_sites_messages_go() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("mappings/sites/rj1")).unwrap();
    let own = "[mapping]\nid = \"rj1/adt-person\"\nversion = \"2026.11.1\"\nschema = 1\nextends = \"adt-person\"\nsender = { facility = \"RJ1\" }\n";
    std::fs::write(site.path("mappings/sites/rj1/adt-person.toml"), own).unwrap();
    let broker = site.broker();
    let ours = message(&site, "03-term-baby-a28-person.hl7", 1, &[("PID", 8, "W")]);
    let theirs = message(&site, "03-term-baby-a28-person.hl7", 2, &[("PID", 8, "W"), ("MSH", 4, "RP9")]);
    site.send(&broker, &[&ours, &theirs]);
    let dir = site.at("mappings");
    let base = ["table", "add", "sex", "W", "1", "--dir", &dir, "--admin", &broker.admin, "--reason", "their list", "--json"];
    let added = json_of(&[&base[..], &["--site", "rj1", "--display", "Male, by their list"]].concat());
    assert_eq!((&added["released"], &added["waiting"]), (&json!([1]), &json!([2])), "{added}");
    let table = std::fs::read_to_string(site.path("mappings/sites/rj1/tables/sex.csv")).unwrap();
    assert_eq!(table, "from,to,display,note\nW,1,\"Male, by their list\",\n");
    assert_eq!((standing(&broker, 1).0, standing(&broker, 2).0), ("filed".to_owned(), "held".to_owned()));
    let tables = ran(&["table", "list", "--dir", &dir]).1;
    assert!(tables.lines().any(|line| line.starts_with("sex") && line.contains("rj1")), "{tables}");
    let shown = ran(&["table", "show", "sex", "--site", "rj1", "--dir", &dir]).1;
    assert!(shown.contains("Male, by their list") && !shown.contains("Not specified"), "{shown}");
    // Everybody's table, written by hand, and what waits for it.
    let common = site.path("mappings/tables/sex.csv");
    std::fs::write(&common, std::fs::read_to_string(&common).unwrap() + "W,2,,\n").unwrap();
    let released = json_of(&["table", "release", "sex", "W", "--admin", &broker.admin, "--reason", "written by hand", "--json"]);
    assert_eq!((&released["released"], &released["waiting"]), (&json!([2]), &json!([])), "{released}");
}

#[test]
fn a_row_that_would_break_something_is_refused_and_changes_nothing() {
    let site = Site::new();
    let (dir, table) = (site.at("mappings"), site.path("mappings/tables/sex.csv"));
    let before = std::fs::read_to_string(&table).unwrap();
    let reason = ["--reason", "x", "--admin", "http://127.0.0.1:9"];
    let add = |code: &str, to: &str, more: &[&str]| refused(&[&["table", "add", "sex", code, to][..], &reason, more].concat());
    let at = ["--dir", dir.as_str()];
    for (code, to, more, exit, said) in [
        ("M", "1", &at[..], 64, "has \"M\" already"),
        ("W", "woman", &at, 64, "it has: 0, 1, 2, 9"),
        ("W", "2", &[], 64, "--dir DIR"),
        ("W", "2", &["--dir", &dir, "--site", "rx9"], 64, "there is no site rx9"),
        ("W", "2", &["--dir", &dir, "--set", "colour=red"], 64, "has no column colour"),
        // A test of the mapping says that Q is unknown.
        ("Q", "2", &at, 78, "a test would fail"),
    ] {
        let (code, text) = add(code, to, more);
        assert_eq!((code, text.contains(said)), (Some(exit), true), "{text}");
        assert_eq!(std::fs::read_to_string(&table).unwrap(), before, "{said}");
    }
    assert_eq!(refused(&["table", "add", "sex", "W", "2", "--dir", &dir, "--reason", " "]).0, Some(64));
    // A configuration that uses the mappings inside the program.
    let inside = site.message("inside.toml", "[store]\ndata = \"data\"\n");
    let (code, text) = add("W", "2", &["--config", &inside]);
    assert_eq!((code, text.contains("inside the program")), (Some(78), true), "{text}");
    // Another table is broken already: the row is not the moment to find out.
    std::fs::write(site.path("mappings/tables/relationship.csv"), "from;to\n").unwrap();
    let (code, text) = add("W", "2", &at);
    assert_eq!((code, text.contains("relationship.csv:1:1")), (Some(78), true), "{text}");
    assert_eq!(std::fs::read_to_string(&table).unwrap(), before);
    // Without a broker the row stands, and it is said what is left to do.
    std::fs::copy(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/tables/relationship.csv"),
        site.path("mappings/tables/relationship.csv"),
    )
    .unwrap();
    let (code, text) = add("W", "2", &at);
    assert_eq!((code, text.contains("the row stands in"), text.contains("table release sex")), (Some(69), true, true), "{text}");
    assert_eq!(std::fs::read_to_string(&table).unwrap(), format!("{before}W,2,,\n"));
}

#[test]
fn a_row_for_every_sender_is_said_to_be_one_unless_that_was_meant() {
    let site = Site::new();
    let dir = site.at("mappings");
    std::fs::create_dir_all(site.path("mappings/sites/rj1")).unwrap();
    let own = "[mapping]\nid = \"rj1/adt\"\nversion = \"1\"\nschema = 1\nextends = \"adt-person\"\nsender = { facility = \"RJ1\" }\n";
    std::fs::write(site.path("mappings/sites/rj1/adt.toml"), own).unwrap();
    // No broker: the row is written, and the rest is said to be left.
    let add = |code: &str, more: &[&str]| {
        let base = ["table", "add", "sex", code, "1", "--dir", &dir, "--reason", "x", "--admin", "http://127.0.0.1:9"];
        let (_, text) = refused(&[&base[..], more].concat());
        assert!(text.contains("the row stands in"), "{text}");
        text.contains("EVERY sender")
    };
    assert!(add("W1", &[]));
    assert!(!add("W2", &["--all-senders"]));
    assert!(!add("W3", &["--site", "rj1"]));
    assert_eq!(refused(&["table", "add", "sex", "W4", "1", "--dir", &dir, "--reason", "x", "--all-senders", "--site", "rj1"]).0, Some(64));
}
