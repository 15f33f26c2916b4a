//! `identity` and `child seal` as a hub admin meets them: the list, both sides, the effect before the act, and what a sealed record shows.

use serde_json::Value;

use crate::site::Site;
use crate::{ran, run, settled};

fn adt(control: &str, event: &str, ids: &str, extra: &str) -> String {
    let at = "20260110100000";
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|{at}||ADT^{event}|{control}|P|2.4|||||GBR|UNICODE UTF-8\rEVN||{at}||||{at}\r\
         PID|1||{ids}||SAMPLE^AMARA^^^^^L||20260105|2|||10 TEST STREET^^LONDON^^SE1 9ZZ^GBR^H||||||||||{extra}\r"
    )
}

#[test]
fn a_doubt_is_listed_compared_decided_and_written_down() {
    let site = Site::new();
    let broker = site.broker();
    let messages = [
        site.message("a.hl7", &adt("A", "A28", "B1^^^RJ1^PI", "M1^^^RJ1^PI")),
        site.message("b.hl7", &adt("B", "A31", "M1^^^RJ1^PI~B1^^^RJ1^PI", "")),
    ];
    site.send(&broker, &messages.iter().map(String::as_str).collect::<Vec<_>>());
    settled(&broker);
    let folder = site.at("data");
    let from = [["--admin", broker.admin.as_str()], ["--data", &folder]];
    let child = {
        let (_, text) = ran(&["msg", "trace", "1", "--json", "--data", &folder]);
        serde_json::from_str::<Value>(&text).unwrap()["events"][0]["child"].as_str().unwrap().to_owned()
    };
    let mut said = Vec::new();
    for from in from {
        let (code, list) = ran(&[&["identity", "list"], &from[..]].concat());
        assert!(code == Some(0) && list.contains("identity-conflict") && list.contains("1 for a person"), "{list}");
        let (_, masked) = ran(&[&["identity", "show", "2"], &from[..]].concat());
        assert!(masked.contains("mother's") && masked.contains("agrees") && !masked.contains("2026-01-05"), "{masked}");
        let (_, revealed) = ran(&[&["identity", "show", "2", "--reveal", "two numbers"], &from[..]].concat());
        assert!(revealed.contains("2026-01-05") && revealed.contains(&child), "{revealed}");
        said.push(ran(&[&["identity", "show", "2", "--json"], &from[..]].concat()));
    }
    assert_eq!(said[0], said[1], "the broker and its ledger say the same");
    // The effect first; nothing is done without --yes.
    let resolve = ["identity", "resolve", "2", "--under", &child, "--reason", "rang the ward", "--admin", &broker.admin];
    let (code, effect) = ran(&resolve);
    assert!(code == Some(1) && effect.contains("is filed under") && effect.contains("nothing was done"), "{effect}");
    assert!(ran(&["identity", "list", "--data", &folder]).1.contains("1 for a person"));
    let (code, done) = ran(&[&resolve[..], &["--yes"]].concat());
    assert!(code == Some(0) && done.contains("written down"), "{done}");
    assert!(ran(&["identity", "list", "--data", &folder]).1.contains("0 for a person"));
    // Without a reason, without a way, and twice: told what to do.
    assert_eq!(run(&["identity", "resolve", "2", "--under", &child, "--yes"]).status.code(), Some(64));
    assert_eq!(run(&["identity", "resolve", "2", "--reason", "x"]).status.code(), Some(64));
    assert_eq!(ran(&[&resolve[..], &["--yes"]].concat()).0, Some(66));
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_record_is_sealed_on_the_ledger_of_a_stopped_broker_and_shows_that_it_is_and_nothing_else() {
    let site = Site::new();
    let broker = site.broker();
    let message = site.message("a.hl7", &adt("A", "A28", "B1^^^RJ1^PI", ""));
    site.send(&broker, &[&message]);
    settled(&broker);
    let folder = site.at("data");
    let (_, text) = ran(&["msg", "trace", "1", "--json", "--data", &folder]);
    let child = serde_json::from_str::<Value>(&text).unwrap()["events"][0]["child"].as_str().unwrap().to_owned();
    let seal = ["child", "seal", &child, "--reason", "adoption", "--yes"];
    let busy = run(&[&seal[..], &["--data", &folder]].concat());
    assert_eq!(busy.status.code(), Some(75), "{}", String::from_utf8_lossy(&busy.stderr));
    assert_eq!(broker.stop(), Some(0));
    let (code, done) = ran(&[&seal[..], &["--data", &folder]].concat());
    assert!(code == Some(0) && done.contains("is sealed") && done.contains("cannot be undone"), "{done}");
    for command in [&["child", &child][..], &["child", &child, "--reveal", "test"], &["child", &child, "--why", "--reveal", "test"]] {
        let (_, shown) = ran(&[command, &["--data", &folder]].concat());
        assert!(shown.contains("sealed") && !shown.contains("SAMPLE"), "{command:?} {shown}");
    }
    for command in [["msg", "show", "1"], ["msg", "explain", "1"]] {
        let refused = run(&[&command[..], &["--reveal", "test", "--data", &folder]].concat());
        assert_eq!(refused.status.code(), Some(77), "{command:?}");
    }
    let (_, shown) = ran(&["child", &child, "--sealed", "--reveal", "court order 12", "--data", &folder]);
    assert!(shown.contains("SAMPLE") && shown.contains("adoption_severed") == shown.contains("relations"), "{shown}");
    let audit = std::fs::read_to_string(site.path("data/audit/reveal.jsonl")).unwrap();
    assert!(audit.contains(&format!("child {child}, though sealed")), "{audit}");
    // A reason in words would be a trace.
    assert_eq!(run(&["child", "seal", &child, "--reason", "adopted by X", "--data", &folder]).status.code(), Some(64));
}
