//! A child protection fact, from the door to the hub's store: who is shown it, and who is not.

use std::io::{BufRead, Read};

use serde_json::Value;

use crate::site::Site;
use crate::{ran, sample};

/// Stands in the fact and nowhere else.
const SECRET: &str = "QUIETWORD";

fn message(control_id: &str, kind: &str) -> String {
    format!(
        "MSH|^~\\&|LA|LA1|ROUTE|ROUTE|20260201101500||ORU^R01|{control_id}|P|2.4\rPID|1||9990000026||EXAMPLE^BABY||20260105|2\r\
         OBR|1|||TESTCP\rOBX|1|ST|{kind}|S1|{SECRET}\r"
    )
}

#[test]
fn a_child_protection_fact_is_shown_to_whoever_asks_for_it_by_name_with_a_reason_and_to_nobody_else() {
    let site = Site::new();
    let mapping = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/protection.toml");
    std::fs::copy(mapping, site.path("mappings/test-protection.toml")).unwrap();
    std::fs::write(site.path("mappings/tables/test-protection.csv"), "from,to\nPLAN,342191000000101\n").unwrap();
    let mut broker = site.broker();
    // The second says a kind that no table knows: it is held, and its finding would quote it.
    let (filed, held) = (site.message("cp.hl7", &message("CP1", "PLAN")), site.message("held.hl7", &message("CP2", "ODDWORD")));
    site.send(&broker, &[&sample("02-term-baby-a01-birth.hl7"), &filed, &held]);
    let standing: Vec<String> = (1..=3).map(|seq| ran(&["msg", "trace", &seq.to_string(), "--admin", &broker.admin, "--json"]).1).collect();
    let standing: Vec<Value> = standing.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let words: Vec<&str> = standing.iter().map(|trace| trace["entry"]["standing"].as_str().unwrap()).collect();
    assert_eq!(words, ["filed", "filed", "held"], "{}", standing[2]);
    let child = standing[0]["events"][0]["child"].as_str().unwrap().to_owned();

    let folder = site.at("data");
    for from in [["--admin", &broker.admin], ["--data", &folder]] {
        for command in [
            &["msg", "list"][..],
            &["msg", "show", "2", "--reveal", "test"],
            &["msg", "show", "3", "--reveal", "test"],
            &["msg", "trace", "2", "--reveal", "test"],
            &["msg", "trace", "3", "--reveal", "test"],
            &["msg", "explain", "2", "--reveal", "test"],
            &["msg", "explain", "3", "--reveal", "test"],
            &["held", "list", "--reveal", "test"],
            &["child", &child, "--reveal", "test"],
            &["child", &child, "--why", "--reveal", "test"],
        ] {
            for json in [&[][..], &["--json"]] {
                let (code, text) = ran(&[command, &from[..], json].concat());
                assert_eq!(code, Some(0), "{command:?} {text}");
                for word in [SECRET, "ODDWORD", "PLAN", "342191000000101"] {
                    assert!(!text.contains(word), "{command:?} says {word}: {text}");
                }
            }
        }
        // By name and with a reason.
        let (code, text) = ran(&[&["child", &child, "--safeguarding", "--reveal", "strategy meeting"], &from[..]].concat());
        assert_eq!((code, text.contains(SECRET), text.contains("342191000000101")), (Some(0), true, true), "{text}");
        for command in [["show", "2"], ["explain", "2"], ["show", "3"]] {
            let asked = [&["msg"], &command[..], &["--safeguarding", "--reveal", "strategy meeting"], &from[..]].concat();
            assert!(ran(&asked).1.contains(SECRET), "{asked:?}");
        }
        let (_, text) = ran(&[&["msg", "explain", "3", "--safeguarding", "--reveal", "strategy meeting"], &from[..]].concat());
        assert!(text.contains("ODDWORD"), "the words of the finding: {text}");
        assert_eq!(ran(&[&["child", &child, "--safeguarding"], &from[..]].concat()).0, Some(64), "without a reason");
    }
    let audit = std::fs::read_to_string(site.path("data/audit/reveal.jsonl")).unwrap();
    assert!(audit.contains(&format!("child {child}, child protection facts too")) && audit.contains("strategy meeting"), "{audit}");

    let (_, export) = ran(&["hub", "export", "SE", "--data", &folder, "--reveal", "test"]);
    assert!(export.contains("EXAMPLE") && !export.contains(SECRET) && !export.contains("safeguarding"), "{export}");
    let (_, metrics) = broker.get("/metrics");
    assert!(!metrics.contains(SECRET) && !metrics.contains("ODDWORD"));
    broker.signal("-TERM");
    let log: Vec<String> = broker.log.by_ref().lines().map(Result::unwrap).collect();
    assert!(!log.is_empty() && !log.iter().any(|line| line.contains(SECRET) || line.contains("ODDWORD")), "{log:?}");
}

/// What a listing says of messages: the one line of a message, or nothing.
fn line_of(text: &str, seq: &str) -> String {
    text.lines().find(|line| line.split_whitespace().next() == Some(seq)).unwrap_or_default().to_owned()
}

#[test]
fn no_command_says_of_which_type_or_about_whom_a_child_protection_message_is_but_to_who_asks_for_it_by_name() {
    let site = Site::new();
    let mapping = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/protection.toml");
    std::fs::copy(mapping, site.path("mappings/test-protection.toml")).unwrap();
    std::fs::write(site.path("mappings/tables/test-protection.csv"), "from,to\nPLAN,342191000000101\n").unwrap();
    let broker = site.broker();
    let (filed, held) = (site.message("cp.hl7", &message("CP1", "PLAN")), site.message("held.hl7", &message("CP2", "ODDWORD")));
    // 1 birth, 2 filed, 3 held, 4 the same as 2 again; 5 a national alert, whose type says what it is.
    site.send(&broker, &[&sample("02-term-baby-a01-birth.hl7"), &filed, &held, &filed]);
    let alert = sample("67-dch-safety-alert.json");
    assert!(ran(&["send", &alert, "--http", &broker.http]).1.starts_with('2'));
    crate::settled(&broker);
    let trace: Value = serde_json::from_str(&ran(&["msg", "trace", "1", "--admin", &broker.admin, "--json"]).1).unwrap();
    let child = trace["events"][0]["child"].as_str().unwrap().to_owned();

    let folder = site.at("data");
    let right = ["--safeguarding", "--reveal", "strategy meeting"];
    let telling = [
        child.as_str(),
        "ORU",
        "test-protection",
        "dch-safeguarding",
        "safety",
        "afeguarding.toml",
        "fact",
        "hub  ",
        "unmapped",
        "SE (",
        "NE (",
    ];
    for from in [["--admin", broker.admin.as_str()], ["--data", folder.as_str()]] {
        let asks = |command: &[&str]| ran(&[command, &from[..]].concat());
        for (reveal, json) in [(&[][..], &[][..]), (&["--reveal", "ward round"], &["--json"])] {
            for command in [["msg", "show"], ["msg", "trace"], ["msg", "explain"], ["held", "show"]] {
                for seq in ["2", "3", "5"] {
                    let (code, text) = asks(&[&command[..], &[seq], reveal, json].concat());
                    assert_eq!((code, text.contains("restricted")), (Some(0), true), "{command:?} {seq} {reveal:?}: {text}");
                    for word in telling {
                        assert!(!text.contains(word), "{command:?} {seq} {reveal:?} says {word}: {text}");
                    }
                }
            }
            let (_, document) = asks(&[&["msg", "document", "5"], reveal, json].concat());
            assert!(!document.contains("restricted") && !document.contains(&child), "{document}");
            for view in [&["child", &child][..], &["child", &child, "--why"]] {
                let (code, text) = asks(&[view, reveal, json].concat());
                assert_eq!((code, text.contains("estricted"), text.contains("test-protection")), (Some(0), false, false), "{text}");
            }
            // The same message again says no more than it.
            let (_, list) = asks(&[&["msg", "list"], reveal].concat());
            let (_, held) = asks(&[&["held", "list"], reveal].concat());
            for (text, seq) in [(&list, "2"), (&list, "3"), (&list, "4"), (&list, "5"), (&held, "3")] {
                let line = line_of(text, seq);
                assert!(line.contains("restricted") && telling.iter().all(|word| !line.contains(word)), "{line} in {text}");
            }
            assert!(line_of(&list, "1").contains("ADT^A01"), "{list}");
            let (_, list) = asks(&[&["msg", "list", "--type", "ORU^R01"], reveal].concat());
            assert_eq!(list.matches("CP").count(), 0, "who asks for a type is not told that one is of it: {list}");
        }
        // By name and with a reason.
        let (_, list) = asks(&[&["msg", "list"], &right[..]].concat());
        assert!(line_of(&list, "2").contains("ORU^R01") && line_of(&list, "5").contains("safety-alerts-1"), "{list}");
        let (_, held) = asks(&[&["held", "list"], &right[..]].concat());
        assert!(line_of(&held, "3").contains("unmapped-code"), "{held}");
        for command in [["msg", "trace"], ["held", "show"]] {
            let (_, text) = asks(&[&command[..], &["2"], &right[..]].concat());
            assert!(text.contains(&child) && text.contains("test-protection"), "{text}");
        }
        assert_eq!(asks(&["msg", "list", "--safeguarding"]).0, Some(64), "without a reason");
    }
    let audit = std::fs::read_to_string(site.path("data/audit/reveal.jsonl")).unwrap();
    for what in ["listing", "held list", "message 2"] {
        assert!(audit.contains(&format!("{what}, child protection facts too")), "{what}: {audit}");
    }
    let ledger = rusqlite::Connection::open(site.path("data/ledger.db")).unwrap();
    let count = |what: &str| {
        let sql = "SELECT count(*) FROM audit WHERE act = 'reveal-safeguarding' AND what = ?1 AND reason = 'strategy meeting'";
        ledger.query_row(sql, [what], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!([count("listing"), count("held list"), count("message 2")], [1, 1, 2]);
    // The hub's store has the child and not a word of it.
    let (_, export) = ran(&["hub", "export", "SE", "--data", &folder, "--reveal", "test"]);
    assert!(export.contains("EXAMPLE") && !export.contains("afeguard") && !export.contains("CP1"), "{export}");
}
