//! Who is shown what: sealed records, child protection messages, and where a restricted child is, over a folder and over the admin door.

use jiff::Timestamp;

use super::*;
use crate::cli::source::{self, Request};
use crate::clock;
use crate::console::hubs::birth_account;
use crate::failsafe::day::{Length, date_of};
use crate::names::ChildId;
use crate::store::DeskAct;

const OTHER: &str = "9990000026";

/// What a message says of a child with this number; `more` is laid over it.
fn said(number: &str, kind: &str, born: &str, more: Value) -> crate::canon::Statement {
    let mut child = json!({
        "identifiers": [{ "value": number, "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }],
        "names": [{ "family": FAMILY, "given": ["AMARA"] }],
        "birth": { "date": { "value": born, "precision": "day" } }
    });
    for (key, value) in more.as_object().unwrap() {
        match value.as_object().filter(|_| key == "birth") {
            Some(birth) => birth.iter().for_each(|(key, value)| child["birth"][key] = value.clone()),
            None => child[key] = value.clone(),
        }
    }
    serde_json::from_value(json!({ "event": { "kind": kind, "may_create": true }, "child": child })).unwrap()
}

impl Site {
    /// Appends one more message and files it; gives its place.
    fn add(&self, control_id: &str, outcome: PreparedOutcome, findings: Value, apart: bool) -> i64 {
        let _receipt = self.runtime.block_on(self.ledger.append(entry(control_id, Admission::Accepted))).unwrap();
        let rows = LedgerReader::open(self.folder.path()).unwrap().entries(&Default::default()).unwrap();
        let seq = rows[0].seq;
        let is_filed = matches!(outcome, PreparedOutcome::File(_));
        let arrived_us = clock::now().as_microsecond();
        assert!(self.runtime.block_on(self.ledger.file(vec![Prepared { apart, arrived_us, ..prepared(seq, outcome, findings) }])));
        let trace = LedgerReader::open(self.folder.path()).unwrap().trace(Seq(seq)).unwrap().unwrap();
        assert_eq!(trace.entry.standing == "filed", is_filed, "{trace:?}");
        seq
    }

    fn id_of(&self, number: &str) -> ChildId {
        LedgerReader::open(self.folder.path()).unwrap().children_by_identifier(number).unwrap()[0]
    }

    fn seal(&self, child: ChildId) {
        let done = self.runtime.block_on(self.ledger.decide(DeskAct::Seal { child }, "adoption", false, clock::now()));
        assert!(done.unwrap().done);
    }

    fn both(&self) -> [String; 2] {
        [format!("--data {}", self.data()), format!("--admin {}", self.door())]
    }

    fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit/reveal.jsonl")).unwrap_or_default()
    }
}

#[test]
fn the_identity_list_says_of_a_child_protection_message_that_it_came_and_no_more_but_to_who_asks_by_name() {
    let site = Site::new();
    let finding = json!([{ "level": "hold", "code": "unmatched", "text": "EXAMPLE", "evidence": [] }]);
    let held = site.add("P1", PreparedOutcome::Hold("unmatched".into()), finding, true);
    let filed = PreparedOutcome::File(vec![said(OTHER, "person", "2026-01-05", json!({ "birth": { "live_still": "5" } }))]);
    site.add("P2", filed, json!([]), true);
    let child = site.id_of(OTHER).to_string();
    for from in site.both() {
        let list = json_of(ran(&format!("identity list --json {from}")));
        let rows = list["items"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{list}");
        for row in rows {
            assert_eq!((&row["kind"], &row["message"], &row["child"]), (&json!("restricted"), &json!("restricted"), &Value::Null), "{row}");
        }
        for (item, reveal) in [(held.to_string(), ""), ("item-1".to_owned(), ""), (held.to_string(), " --reveal x")] {
            for with in ["".to_owned(), format!(" --with {child}")] {
                let (code, text) = ran(&format!("identity show {item}{with}{reveal} {from}"));
                assert_eq!((code, text.contains("restricted")), (exit::OK, true), "{item}: {text}");
                assert!(!text.contains(FAMILY) && !text.contains(&child) && !text.contains("ADT"), "{item}: {text}");
            }
        }
        let right = "--safeguarding --reveal strategy-meeting";
        let (_, list) = ran(&format!("identity list {right} {from}"));
        assert!(list.contains("unmatched") && list.contains("born-dead") && list.contains(&child), "{list}");
        let (_, shown) = ran(&format!("identity show item-1 {right} {from}"));
        assert!(shown.contains(&child), "{shown}");
        assert_eq!(ran(&format!("identity list --safeguarding {from}")).0, exit::USAGE, "without a reason");
    }
    assert!(site.audit().contains("identity item-1, child protection facts too"), "{}", site.audit());
}

#[test]
fn a_sealed_record_is_named_and_explained_by_no_command_but_to_who_asks_for_sealed_records() {
    let site = Site::new();
    let child = site.id_of(NUMBER);
    // The same message again; and, once the record is closed, another one under its number.
    let entry = Entry {
        source: SourceName::new("rj1"),
        format: Format::Hl7v2,
        kind: "ADT^A28".into(),
        control_id: "T1".into(),
        body: Bytes::from(body("T1")),
        arrived: "2026-01-06T08:00:00Z".parse().unwrap(),
        admission: Admission::Accepted,
    };
    let _receipt = site.runtime.block_on(site.ledger.append(entry)).unwrap();
    let again = LedgerReader::open(site.folder.path()).unwrap().entries(&Default::default()).unwrap()[0].clone();
    assert_eq!((again.standing.as_str(), again.reason.as_str()), ("duplicate", "1"));
    site.seal(child);
    let finding = json!([{ "level": "hold", "code": "record-closed", "text": "EXAMPLE BABY is told of again" }]);
    let closed = site.add("T9", PreparedOutcome::Hold("record-closed".into()), finding, false);
    for from in site.both() {
        let (code, trace) = ran(&format!("msg trace 1 --json {from}"));
        assert!(code == exit::OK && !trace.contains(&child.to_string()) && trace.contains("\"sealed\""), "{trace}");
        for command in [
            "msg trace 1 --reveal x",
            "msg trace 1 --reveal x --safeguarding",
            "held show 1 --reveal x --safeguarding",
            "msg show 1 --reveal x --safeguarding",
            &format!("msg show {} --reveal x", again.seq),
            &format!("msg trace {closed} --reveal x"),
        ] {
            assert_eq!(ran(&format!("{command} {from}")).0, 77, "{command}");
        }
        let (code, trace) = ran(&format!("msg trace 1 --reveal x --sealed {from}"));
        assert!(code == exit::OK && trace.contains(&child.to_string()), "{trace}");
        for reveal in ["", "--reveal x"] {
            let (_, held) = ran(&format!("held list --json {reveal} {from}"));
            assert!(held.contains("record-closed") && !held.contains("is told of again"), "{held}");
            for command in [format!("due explain {child}"), format!("hub timeline {child}")] {
                let shown = json_of(ran(&format!("{command} --json {reveal} {from}")));
                assert_eq!(shown, json!({ "child": child.to_string(), "sealed": true }), "{command} {reveal}");
                assert!(ran(&format!("{command} {reveal} {from}")).1.contains("sealed"), "{command}");
            }
        }
        let (_, held) = ran(&format!("held list --json --reveal x --sealed {from}"));
        assert!(held.contains("is told of again"), "{held}");
        assert!(json_of(ran(&format!("due explain {child} --json --reveal x --sealed {from}")))["facts"].is_array());
        assert!(json_of(ran(&format!("hub timeline {child} --json --reveal x --sealed {from}")))["hubs"].is_array());
    }
    for what in [format!("clocks of child {child}, though sealed"), format!("hubs of child {child}, though sealed")] {
        assert!(site.audit().contains(&what), "{what}: {}", site.audit());
    }
}

#[test]
fn a_child_protection_message_of_a_sealed_record_takes_both_rights_and_both_are_written_down() {
    let site = Site::new();
    let filed = || PreparedOutcome::File(vec![said(OTHER, "person", "2026-01-05", json!({}))]);
    site.add("P0", filed(), json!([]), false);
    let seq = site.add("P1", filed(), json!([]), true);
    let child = site.id_of(OTHER);
    site.seal(child);
    for from in site.both() {
        let show = |rights: &str| ran(&format!("msg show {seq} --reveal x {rights} {from}"));
        assert!(show("--sealed").1.contains("restricted"));
        assert_eq!(show("--safeguarding").0, 77);
        let (code, text) = show("--safeguarding --sealed");
        assert!(code == exit::OK && text.contains(FAMILY), "{text}");
        let facts = |rights: &str| json_of(ran(&format!("child {child} --safeguarding --json --reveal x {rights} {from}")));
        assert_eq!(facts(""), json!({ "child": child.to_string(), "sealed": true }));
        assert!(facts("--sealed")["safeguarding"].is_array());
    }
    for words in ["child protection facts too", "though sealed"] {
        assert!(site.audit().contains(&format!("message {seq}, {words}")), "{words}: {}", site.audit());
    }
}

#[test]
fn the_message_that_put_a_child_on_record_for_its_protection_is_named_by_no_list_of_hubs() {
    let site = Site::new();
    let seq = site.add("P1", PreparedOutcome::File(vec![said(OTHER, "person", "2025-02-03", json!({}))]), json!([]), true);
    let (child, of_all) = (site.id_of(OTHER), site.id_of(NUMBER));
    for from in site.both() {
        let history = json_of(ran(&format!("hub timeline {child} --json {from}")));
        assert_eq!(history["hubs"][0]["seq"], Value::Null, "{history}");
        assert_eq!(json_of(ran(&format!("child {child} --json --reveal x {from}")))["hubs"][0]["seq"], Value::Null);
        assert!(!ran(&format!("hub timeline {child} {from}")).1.contains("by message"));
        let movers = json_of(ran(&format!("hub movers --json {from}")));
        let mover = movers.as_array().unwrap().iter().find(|row| row["child"] == json!(child.to_string())).unwrap();
        assert_eq!(mover["seq"], Value::Null, "{movers}");
        let plain = json_of(ran(&format!("hub timeline {of_all} --json {from}")));
        assert_eq!(plain["hubs"][0]["seq"], 1, "{plain}");
    }
    assert_ne!(seq, 1);
}

#[test]
fn a_hub_is_meant_in_any_case_and_one_that_is_not_there_is_refused_with_those_that_are() {
    let site = Site::new();
    site.add("P1", PreparedOutcome::File(vec![said(OTHER, "person", "2025-02-03", json!({}))]), json!([]), false);
    for from in site.both() {
        let all = json_of(ran(&format!("hub movers --json {from}")));
        let hub = all[0]["hub"].as_str().unwrap().to_owned();
        let of = |name: &str| json_of(ran(&format!("hub movers --hub {name} --json {from}")));
        assert_eq!(of(&hub.to_lowercase()), of(&hub));
        assert!(!of(&hub).as_array().unwrap().is_empty());
        for command in ["hub movers --hub XX", "reconcile births --hub XX", "hub births XX --day 2026-01-05", "due list --hub XX"] {
            assert_eq!(ran(&format!("{command} {from}")).0, exit::USAGE, "{command} {from}");
        }
        assert_ne!(ran(&format!("reconcile births --hub {} {from}", hub.to_lowercase())).0, exit::USAGE);
        assert_ne!(ran(&format!("reconcile births --hub unknown {from}")).0, exit::USAGE);
    }
    let refused = source::call(&site.door(), &Request::get("/api/v1/movers?hub=XX")).unwrap_err();
    assert!(refused.text.contains("NE, ") || refused.text.contains(", NE"), "{}", refused.text);
}

#[test]
fn what_is_compared_with_something_that_is_no_child_is_refused_and_not_compared_with_all() {
    let site = Site::new();
    let refused = source::call(&site.door(), &Request::get(format!("/api/v1/identity/{}?with=BAD", site.child()))).unwrap_err();
    assert_eq!(refused.exit, exit::USAGE, "{}", refused.text);
}

#[test]
fn a_right_that_a_command_cannot_honour_is_not_taken() {
    for command in ["hub export NE --data d", "msg list --data d", "identity list --data d", "hub movers --data d"] {
        assert_eq!(ran(&format!("{command} --sealed --reveal x")).0, exit::USAGE, "{command}");
    }
    assert_eq!(ran("child 0197a3c2-0000-7000-8000-000000000000 --location --data d").0, exit::USAGE, "without a reason");
}

#[test]
fn where_a_restricted_child_is_takes_a_right_of_its_own() {
    let site = Site::new();
    let more = json!({ "flags": { "sensitivity": "restricted" }, "addresses": [{ "use": "home", "postcode": "SE1 9ZZ" }],
        "gp": { "practice_ods": "G85001" }, "birth": { "place_ods": "RJ122" } });
    let seq = site.add("P1", PreparedOutcome::File(vec![said(OTHER, "person", "2026-01-05", more)]), json!([]), false);
    let child = site.id_of(OTHER);
    for from in site.both() {
        for command in [format!("child {child} --json"), format!("child {child} --why --json"), format!("identity show {child} --json")] {
            let (code, shown) = ran(&format!("{command} --reveal x {from}"));
            assert!(code == exit::OK && shown.contains(FAMILY), "{command}: {shown}");
            for place in ["SE1 9ZZ", "G85001", "RJ122"] {
                assert!(!shown.contains(place), "{command} says {place}: {shown}");
            }
            let (code, shown) = ran(&format!("{command} --reveal x --location {from}"));
            assert!(code == exit::OK && shown.contains("SE1 9ZZ"), "{command}: {shown}");
        }
        assert_eq!(ran(&format!("msg show {seq} {from}")).0, exit::OK);
        assert_eq!(ran(&format!("msg show {seq} --reveal x {from}")).0, 77, "its text says where the child lives");
        assert!(ran(&format!("msg show {seq} --reveal x --location {from}")).1.contains(FAMILY));
    }
    assert!(site.audit().contains(&format!("child {child}, with where a restricted child is")), "{}", site.audit());
}

#[test]
fn a_births_list_hides_what_it_said_of_a_child_whose_record_was_sealed_since() {
    let site = Site::new();
    let today = date_of(clock::now());
    site.add("P1", PreparedOutcome::File(vec![said(OTHER, "birth", &today.to_string(), json!({}))]), json!([]), false);
    let made = site.runtime.block_on(site.ledger.list_births(today, clock::now(), clock::now())).unwrap();
    assert!(0 < made.lists);
    let hub = watching().directory.load().default_hub().to_string().to_lowercase();
    let row = |from: &str, rights: &str| {
        let list = json_of(ran(&format!("hub births {hub} --day {today} --json --reveal x {rights} {from}")));
        let births = list["births"].as_array().unwrap().clone();
        births.into_iter().find(|row| row["child"] == json!(site.id_of(OTHER).to_string())).unwrap()
    };
    let [folder, door] = site.both();
    assert_eq!(row(&folder, "")["family"], FAMILY);
    site.seal(site.id_of(OTHER));
    for from in [folder, door] {
        let hidden = row(&from, "");
        assert_eq!((&hidden["sealed"], &hidden["family"], &hidden["born"]), (&json!(true), &json!("***"), &json!("***")), "{hidden}");
        assert_eq!(row(&from, "--sealed")["family"], FAMILY);
    }
}

#[test]
fn a_birth_of_which_one_side_told_is_late_when_the_sites_rules_say_so() {
    let site = Site::new();
    let today = date_of(clock::now());
    site.add("P1", PreparedOutcome::File(vec![said(OTHER, "birth", &today.to_string(), json!({}))]), json!([]), false);
    let reader = LedgerReader::open(site.folder.path()).unwrap();
    let directory = watching().directory.load_full();
    let mut rules = (**watching().rules.load()).clone();
    let account = |rules: &crate::failsafe::Rules, hours: i64| {
        let now: Timestamp = clock::now() + jiff::SignedDuration::from_hours(hours);
        let account = birth_account(&reader, (rules, &directory), (None, None), now).unwrap();
        let row = account["births"].as_array().unwrap().iter().find(|row| row["child"] == json!(site.id_of(OTHER).to_string())).cloned();
        (row.unwrap()["state"].clone(), account["late_after_hours"].clone())
    };
    assert_eq!(account(&rules, 35), (json!("waiting"), json!(36)));
    assert_eq!(account(&rules, 37).0, "late");
    assert_eq!(account(&rules, 73).0, "overdue");
    let rule = rules.clocks.get_mut("BIRTH_NOTIF").unwrap();
    (rule.warn, rule.breach) = (Some(Length::Hours(4)), Some(Length::Hours(8)));
    assert_eq!(account(&rules, 5), (json!("late"), json!(4)));
    assert_eq!(account(&rules, 9).0, "overdue");
}

#[test]
fn an_act_on_a_ledger_is_not_done_by_a_configuration_that_a_broker_would_refuse() {
    let site = Site::new();
    let file = site.folder.path().join("chis-broker.toml");
    let config = format!(
        "allow_test_numbers = true\n[store]\ndata = {:?}\n[[destination]]\nname = \"hub-ne\"\nkind = \"stroe\"\nhub = \"NE\"\n",
        site.data()
    );
    std::fs::write(&file, config).unwrap();
    let child = site.child();
    for act in [
        format!("child seal {child} --reason adoption"),
        format!("child seal {child} --reason adoption --yes"),
        "identity resolve 2 --discard --reason x --yes".to_owned(),
    ] {
        assert_eq!(ran(&format!("{act} --config {}", file.display())).0, exit::CONFIG, "{act}");
    }
    // Whoever only reads is not kept from it.
    assert_eq!(ran(&format!("child {child} --config {}", file.display())).0, exit::OK);
}
