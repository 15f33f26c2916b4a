//! Claims about a hub's store. Each holds on SQLite and on PostgreSQL.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::transfers::{Moved, Role};
use super::*;
use crate::canon::{Child, Statement};
use crate::failsafe::{Rules, Texts};
use crate::names::{ChildId, EventId, HubName, Seq, SourceName};
use crate::store::BirthsList;

#[path = "../../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod postgres_server;

#[path = "../../../tests/support/authority.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod authority;

use postgres_server::shared;

/// Does the same on a new store of each kind.
#[track_caller]
fn both(test: impl Fn(&StoreAt)) {
    let folder = tempfile::tempdir().unwrap();
    test(&StoreAt::File(folder.path().join("hub-ne.db")));
    let server = shared();
    test(&StoreAt::Postgres(PostgresAt { connection: server.database(), password_file: None, ca_file: None }));
}

/// An event as NE is told of it.
fn delivery(event: &FiledEvent) -> StoreDelivery {
    let role = Role::of(event.record.hub.as_ref(), &HubName::new("NE"), &HubName::new("SW"));
    StoreDelivery::Event(Box::new(event.clone()), Some(role))
}

const ANNA: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0001;
const BEN: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0002;
const CLEO: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0003;

fn id(child: u128) -> String {
    uuid::Uuid::from_u128(child).to_string()
}

/// The record of a child with this NHS number, born on this day.
fn record(number: &str, born: &str, family: &str) -> Value {
    json!({
        "identifiers": [
            { "value": number, "system": "https://fhir.nhs.uk/Id/nhs-number", "type": "NH", "status": "01" },
            { "value": format!("MR{number}"), "system": "urn:v2:R1H", "type": "MR", "assigner_ods": "R1H" },
            { "value": "MR-OF-ANOTHER", "system": "urn:v2:R1H", "type": "MR", "use": "wrong" }
        ],
        "names": [{ "family": family, "given": ["TEST", "SAMPLE"], "use": "official" }, { "family": "BABY", "use": "temp", "placeholder": true }],
        "birth": { "date": { "value": born, "precision": "day" }, "weight_g": 3420 }, "sex": "2",
        "addresses": [{ "use": "home", "lines": ["1 SAMPLE STREET", "LONDON"], "postcode": "E1 1AA", "la_gss": "E09000012" }],
        "relations": [{ "kind": "12", "name": { "family": "EXAMPLE", "given": ["MOTHER"] },
            "identifiers": [{ "value": "9990000026", "system": "https://fhir.nhs.uk/Id/nhs-number" }] }],
        "gp": { "practice_ods": "F84001" }, "status": "active", "hub": { "hub": "NE", "basis": "gp" }
    })
}

fn anna() -> Value {
    record("9990000018", "2026-01-05", "Example-Müller")
}

fn ben() -> Value {
    record("9990000034", "2025-11-20", "SAMPLE")
}

/// An event: serial number (of the message and of the event), child, version of its record, what was said, the record after it.
fn event(serial: i64, child: u128, version: i64, statement: Value, record: &Value) -> FiledEvent {
    let statement: Statement = serde_json::from_value(statement).unwrap();
    let record: Child = serde_json::from_value(record.clone()).unwrap();
    FiledEvent {
        event: EventId(uuid::Uuid::from_u128(0xE0_0000 + serial as u128)),
        seq: Seq(serial),
        source: SourceName::new("lab"),
        control_id: format!("M{serial}"),
        child_id: ChildId(uuid::Uuid::from_u128(child)),
        version,
        filed: Timestamp::from_second(1_770_000_000 + serial).unwrap(),
        superseded: false,
        statement,
        record,
    }
}

fn person(serial: i64, child: u128, version: i64, record: &Value) -> FiledEvent {
    event(serial, child, version, json!({ "event": { "kind": "person" }, "child": record }), record)
}

/// A card of a laboratory at an hour of 9 February 2026: `PKU 04 final`.
fn card(hour: u8, key: &str, action: &str, outcomes: &[&str]) -> Value {
    let outcome = |words: &&str| {
        let mut words = words.split(' ');
        json!({ "condition": words.next(), "nbs_status": words.next(), "result_status": words.next() })
    };
    json!({
        "event": { "kind": "blood-spot", "action": action, "at": { "value": format!("2026-02-09T{hour:02}:00:00Z"), "precision": "second" },
            "publisher": "RP4", "key": key },
        "blood_spots": [{ "key": key, "sample": { "card_no": "C1" }, "outcomes": outcomes.iter().map(outcome).collect::<Vec<_>>() }]
    })
}

fn vaccination(serial: i64, child: u128, key: &str, on: &str, antigens: &[&str], record: &Value) -> FiledEvent {
    let statement = json!({
        "event": { "kind": "immunisation", "at": { "value": format!("{on}T10:00:00Z"), "precision": "second" }, "publisher": "F84001", "key": key },
        "immunisations": [{ "key": key, "status": "completed", "occurrence": { "value": on, "precision": "day" }, "antigens": antigens,
            "batch": "B7", "dose_number": 1, "vaccine": { "system": "http://snomed.info/sct", "code": "1303503001", "display": "6-in-1" } }]
    });
    event(serial, child, serial, statement, record)
}

/// What `SELECT` says, a row a line.
#[track_caller]
fn ask(at: &StoreAt, sql: &str) -> Vec<String> {
    HubReader::open(at).unwrap().ask(sql).unwrap().iter().map(|row| row.join(" ")).collect()
}

fn deliver(at: &StoreAt, events: &[FiledEvent]) {
    let deliveries: Vec<StoreDelivery> = events.iter().map(delivery).collect();
    HubStore::open(at).unwrap().deliver(&deliveries).unwrap();
}

/// Every row of every table.
fn everything(at: &StoreAt) -> Vec<String> {
    let tables = [
        "child ORDER BY child_id",
        "event ORDER BY id",
        "identifier ORDER BY child_id, place",
        "name ORDER BY child_id, place",
        "address ORDER BY child_id, place",
        "relation ORDER BY child_id, place",
        "item ORDER BY item_key",
        "blood_spot ORDER BY item, place",
        "immunisation ORDER BY item, place",
        "hearing ORDER BY item, place",
        "review ORDER BY item, place",
        "measurement ORDER BY item, place",
        "task ORDER BY item, place",
        "transfer ORDER BY id",
        "births_day ORDER BY day",
        "births_list ORDER BY day, section, child_id",
        "work_item ORDER BY day, kind, child_id",
    ];
    tables.iter().flat_map(|table| ask(at, &format!("SELECT * FROM {table}"))).collect()
}

#[test]
fn an_event_that_is_delivered_twice_is_there_once_and_no_older_version_replaces_a_newer() {
    both(|at| {
        let newer = person(2, ANNA, 2, &record("9990000018", "2026-01-05", "LATER"));
        let older = person(1, ANNA, 1, &anna());
        deliver(at, std::slice::from_ref(&newer));
        deliver(at, &[older.clone(), newer.clone(), older]);
        deliver(at, &[newer]);
        assert_eq!(ask(at, "SELECT control_id, version FROM event ORDER BY id"), ["M2 2", "M1 1"]);
        assert_eq!(ask(at, "SELECT family, version, role FROM v_children"), ["LATER 2 responsible"]);
        assert_eq!(ask(at, "SELECT family FROM v_names WHERE usage = 'official'"), ["LATER"]);
    });
}

#[test]
fn a_batch_is_there_whole_or_not_at_all() {
    both(|at| {
        drop(HubStore::open(at).unwrap());
        let mut store = HubStore::open(at).unwrap();
        let refused = super::db::within(&mut *store.db, |db| {
            let deliveries = [delivery(&person(1, ANNA, 1, &anna()))];
            let mut turn = Turn::begin(db, &deliveries)?;
            turn.apply(&deliveries[0])?;
            turn.end()?;
            Err::<(), _>(StoreError { text: "the power went".to_owned(), exit: 74 })
        });
        assert!(refused.is_err());
        store.apply(&[person(2, BEN, 1, &ben())]).unwrap();
        assert_eq!(ask(at, "SELECT control_id FROM event"), ["M2"]);
        assert_eq!(ask(at, "SELECT child_id FROM child"), [id(BEN)]);
    });
}

#[test]
fn the_parts_of_a_record_stand_in_views_and_follow_it() {
    both(|at| {
        deliver(at, &[person(1, ANNA, 1, &anna())]);
        let identifiers = "SELECT type, value, usage, status FROM v_identifiers ORDER BY value";
        assert_eq!(ask(at, identifiers), ["NH 9990000018 current 01", "MR MR-OF-ANOTHER wrong ", "MR MR9990000018 current "]);
        assert_eq!(ask(at, "SELECT lines, postcode, local_authority FROM v_addresses"), ["1 SAMPLE STREET, LONDON E1 1AA E09000012"]);
        assert_eq!(ask(at, "SELECT kind, family, given, nhs_number FROM v_relations"), ["12 EXAMPLE MOTHER 9990000026"]);
        assert_eq!(
            ask(at, "SELECT family, given, gp_practice, basis, restricted FROM v_children"),
            ["Example-Müller TEST SAMPLE F84001 gp 0"]
        );
        let mut moved = anna();
        moved["addresses"] = json!([{ "use": "home", "postcode": "SW1A 1AA" }]);
        moved["flags"] = json!({ "sensitivity": "restricted" });
        deliver(at, &[person(2, ANNA, 2, &moved)]);
        assert_eq!(ask(at, "SELECT lines, postcode FROM v_addresses"), [" SW1A 1AA"]);
        assert_eq!(ask(at, "SELECT postcode, restricted FROM v_children"), ["SW1A 1AA 1"]);
    });
}

#[test]
fn of_a_card_that_was_corrected_the_view_says_what_stands_and_nothing_after_it_was_taken_back() {
    both(|at| {
        let outcomes = "SELECT condition, status, result_status, card_no FROM v_blood_spot ORDER BY condition";
        let said = |serial, statement| event(serial, ANNA, serial, statement, &anna());
        deliver(at, &[said(1, card(9, "26N1", "new", &["PKU 04 final", "CF 04 final"]))]);
        assert_eq!(ask(at, outcomes), ["CF 04 final C1", "PKU 04 final C1"]);
        deliver(at, &[said(3, card(11, "26N1", "update", &["PKU 08 corrected"]))]);
        assert_eq!(ask(at, outcomes), ["CF 04 final C1", "PKU 08 corrected C1"]);
        // What was said in between comes late and changes only what nobody said since.
        deliver(at, &[said(2, card(10, "26N1", "update", &["PKU 05 corrected", "CF 02 corrected"]))]);
        assert_eq!(ask(at, outcomes), ["CF 02 corrected C1", "PKU 08 corrected C1"]);
        assert_eq!(ask(at, "SELECT kind, key, versions FROM v_items"), ["blood-spot 26N1 3"]);
        deliver(at, &[said(4, card(12, "26N1", "delete", &[]))]);
        assert_eq!(ask(at, outcomes), Vec::<String>::new());
        assert_eq!(ask(at, "SELECT count(*) FROM v_events"), ["4"]);
    });
}

#[test]
fn a_message_that_is_taken_back_takes_back_what_came_under_its_key() {
    both(|at| {
        let encounter = |hour: u8, action: &str, tests: Value| {
            json!({ "event": { "kind": "hearing", "action": action, "at": { "value": format!("2026-02-09T{hour:02}:00:00Z"), "precision": "second" },
                "publisher": "S4H", "key": "ENC-1" }, "hearing_screens": tests,
                "immunisations": if action == "new" { json!([{ "key": "V-1", "status": "completed" }]) } else { json!([]) } })
        };
        let screen = json!([{ "key": "SCREEN-7", "summary_status": "clear",
            "tests": [{ "ear": "left", "status": "no_clear" }, { "ear": "left", "status": "clear" }, { "ear": "right", "status": "clear" }] }]);
        deliver(at, &[event(1, ANNA, 1, encounter(9, "new", screen), &anna())]);
        assert_eq!(ask(at, "SELECT summary, left_ear, right_ear FROM v_hearing"), ["clear no_clear, clear clear"]);
        assert_eq!(ask(at, "SELECT status FROM v_immunisations"), ["completed"]);
        deliver(at, &[event(2, ANNA, 2, encounter(10, "delete", json!([])), &anna())]);
        assert_eq!(ask(at, "SELECT summary FROM v_hearing"), Vec::<String>::new());
        assert_eq!(ask(at, "SELECT status FROM v_immunisations"), Vec::<String>::new());
    });
}

/// A move as it is delivered, `transfer_in` of Anna with what was filed before.
fn moved(way: &str, role: &str, event: FiledEvent, earlier: Vec<FiledEvent>) -> StoreDelivery {
    let transfer = json!({ "way": way, "from": "SW", "to": "NE", "basis": "gp", "at": "2026-02-10T00:00:00Z", "role": role, "child": id(ANNA),
        "events": [], "items": [] });
    let transfer = serde_json::from_value(transfer).unwrap();
    let (id, filed) = (event.event.to_string(), event.filed.to_string());
    StoreDelivery::Moved(Box::new(Moved { transfer, id, event, filed, earlier, items: json!([{ "kind": "hearing" }]) }))
}

#[test]
fn a_move_brings_the_whole_history_once_and_delivered_again_after_a_later_move_says_nothing_of_now() {
    both(|at| {
        let (first, second) = (person(1, ANNA, 1, &anna()), person(2, ANNA, 2, &anna()));
        let mut store = HubStore::open(at).unwrap();
        let incoming =
            moved("transfer_in", "responsible", second, vec![first.clone(), vaccination(7, ANNA, "V1", "2026-02-01", &[], &anna())]);
        store.deliver(&[delivery(&first), incoming.clone()]).unwrap();
        assert_eq!(ask(at, "SELECT control_id FROM event ORDER BY id"), ["M1", "M7", "M2"]);
        assert_eq!(ask(at, "SELECT way, from_hub, to_hub, basis FROM v_transfers"), ["transfer_in SW NE gp"]);
        assert_eq!(ask(at, "SELECT role FROM v_children"), ["responsible"]);
        assert_eq!(ask(at, "SELECT batch FROM v_immunisations"), ["B7"]);
        let out = moved("transfer_out", "former", person(8, ANNA, 8, &anna()), Vec::new());
        store.deliver(&[out]).unwrap();
        store.deliver(&[incoming]).unwrap();
        assert_eq!(ask(at, "SELECT role, version FROM v_children"), ["former 8"]);
        assert_eq!(ask(at, "SELECT count(*) FROM event"), ["4"]);
        assert_eq!(ask(at, "SELECT way FROM v_transfers ORDER BY filed"), ["transfer_in", "transfer_out"]);
    });
}

fn births_list(day: &str) -> BirthsList {
    let birth = |section: &str, child: u128, status: &str| {
        json!({ "section": section, "child": id(child), "nhs_number": "9990000018", "family": "EXAMPLE", "given": "", "born": day, "sex": "2",
            "weight_g": "3420", "gestation_weeks": "40", "place": "R1H", "postcode": "", "practice": "F84001", "hub": "NE", "basis": "gp",
            "status": status, "recognised": format!("{day}T10:00:00Z") })
    };
    let list = json!({ "hub": "NE", "day": day, "made": format!("{day}T23:59:00Z"),
        "births": [birth("here", ANNA, "active"), birth("elsewhere", BEN, "deceased")],
        "unknown": [{ "child": id(CLEO), "since": "2026-01-01T00:00:00Z" }] });
    serde_json::from_value(list).unwrap()
}

#[test]
fn a_births_list_that_comes_twice_is_there_once_and_a_day_without_births_is_known_too() {
    both(|at| {
        let nil = BirthsList { births: Vec::new(), unknown: Vec::new(), ..births_list("2026-01-06") };
        for _ in 0..2 {
            let lists = [births_list("2026-01-05"), nil.clone()].map(|list| StoreDelivery::Births(Box::new(list)));
            HubStore::open(at).unwrap().deliver(&lists).unwrap();
        }
        assert_eq!(
            ask(at, "SELECT day, section, status FROM v_births ORDER BY section"),
            ["2026-01-05 elsewhere deceased", "2026-01-05 here active"]
        );
        let (here, elsewhere, rows) = hub_births(at, "2026-01-05").unwrap().unwrap();
        assert_eq!((here, elsewhere, rows.len()), (1, 1, 2));
        assert_eq!(hub_births(at, "2026-01-06").unwrap(), Some((0, 0, Vec::new())));
        assert_eq!(hub_births(at, "2026-01-07").unwrap(), None);
        assert_eq!(ask(at, "SELECT day, kind, child_id FROM v_work_items"), [format!("2026-01-05 address-unknown {}", id(CLEO))]);
    });
}

/// A store with something in every view.
fn filled(at: &StoreAt) {
    let task = json!({ "event": { "kind": "failsafe", "publisher": "chis-broker", "key": "T1" },
        "tasks": [{ "key": "T1", "clock": "NBS_TAKEN", "service": "CHO", "severity": "001", "status": "requested",
            "due": { "value": "2026-02-20T00:00:00Z", "precision": "second" } }] });
    let hearing = json!({ "event": { "kind": "hearing", "publisher": "S4H", "key": "H1" },
        "hearing_screens": [{ "key": "H1", "summary_status": "no_clear", "tests": [{ "ear": "left", "status": "no_clear" }, { "ear": "right", "status": "clear" }] }] });
    let exam = json!({ "event": { "kind": "nipe", "publisher": "S4N", "key": "N1" },
        "nipe_exams": [{ "key": "N1", "kind": "newborn_72h", "hips": { "status": "suspected" }, "eyes": { "status": "normal" } }] });
    let review = json!({ "event": { "kind": "review", "publisher": "RYV", "key": "R1" },
        "reviews": [{ "key": "R1", "type": "CH006", "feeding": "01", "at": { "value": "2026-02-11T09:00:00Z", "precision": "second" },
            "measurements": [{ "kind": "weight", "qty": { "value": "4.1", "unit": "kg" } }] }] });
    let visit = json!({ "event": { "kind": "appointment", "publisher": "RYV", "key": "A1" },
        "appointments": [{ "key": "A1", "service": "hearing", "status": "dna", "start": { "value": "2026-02-12T09:00:00Z", "precision": "second" } }] });
    let letter = json!({ "event": { "kind": "document", "publisher": "RYV", "key": "D1" },
        "documents": [{ "key": "D1", "type": { "code": "861421000000109", "display": "report" }, "mime": "application/pdf", "sha256": "00" }] });
    let episode = json!({ "event": { "kind": "episode-of-care", "publisher": "RYV", "key": "E1" },
        "episodes": [{ "key": "E1", "service": "HV", "org_ods": "RYV", "from": { "value": "2026-01-10", "precision": "day" } }] });
    let said = [card(9, "26N1", "new", &["PKU 08 final", "CF 04 final"]), hearing, exam, review, visit, letter, episode, task];
    let mut events = vec![person(1, ANNA, 1, &anna()), person(2, BEN, 1, &ben())];
    events.extend(said.into_iter().zip(3..).map(|(statement, serial)| event(serial, ANNA, serial, statement, &anna())));
    events.push(vaccination(
        40,
        BEN,
        "V1",
        "2026-01-20",
        &["397430003", "76902006", "27836007", "398102009", "709410003", "66071002"],
        &ben(),
    ));
    let mut deliveries: Vec<StoreDelivery> = events.into_iter().map(|event| delivery(&event)).collect();
    deliveries.push(moved("transfer_in", "responsible", person(50, ANNA, 50, &anna()), Vec::new()));
    deliveries.push(StoreDelivery::Births(Box::new(births_list("2026-01-05"))));
    HubStore::open(at).unwrap().deliver(&deliveries).unwrap();
    let read = Read { who: "analyst", what: "show", child: Some(&id(ANNA)), reason: "a question of the hub" };
    HubReader::open(at).unwrap().note_read(&read, Timestamp::UNIX_EPOCH).unwrap();
}

#[test]
fn every_query_of_the_documentation_is_answered_and_alike_by_both_and_every_view_is_in_it() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hub-store.md")).unwrap();
    let queries: Vec<String> =
        text.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap().trim().trim_end_matches(';').to_owned()).collect();
    for (view, _) in tables::views() {
        assert!(queries.iter().any(|query| query.contains(view)) || view == "v_goes_on", "{view} has no example");
        assert!(text.contains(&format!("`{view}`")), "{view} is not explained");
    }
    let answers = std::cell::RefCell::new(Vec::new());
    both(|at| {
        filled(at);
        let of_this: Vec<Vec<String>> = queries.iter().map(|query| ask(at, query)).collect();
        for (query, rows) in queries.iter().zip(&of_this) {
            assert!(!rows.is_empty(), "{}: no row: {query}", at.name());
        }
        answers.borrow_mut().push(of_this);
    });
    let answers = answers.into_inner();
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn what_was_filed_under_a_record_that_was_merged_since_is_shown_under_the_one_that_goes_on() {
    both(|at| {
        let mut merged = ben();
        (merged["status"], merged["merged_into"]) = (json!("merged"), json!(id(ANNA)));
        deliver(at, &[person(1, ANNA, 1, &anna()), vaccination(2, BEN, "V1", "2026-01-20", &[], &ben())]);
        assert_eq!(ask(at, "SELECT child_id FROM v_immunisations"), [id(BEN)]);
        deliver(at, &[event(3, BEN, 3, json!({ "event": { "kind": "merge" } }), &merged)]);
        assert_eq!(ask(at, "SELECT child_id FROM v_immunisations"), [id(ANNA)]);
        let mut reader = HubReader::open(at).unwrap();
        assert_eq!(reader.find(&FindBy::nhs_number("999 000 0034")).unwrap()[0]["child"], json!(id(ANNA)));
        let shown = reader.show(ChildId(uuid::Uuid::from_u128(ANNA))).unwrap().unwrap();
        assert_eq!(shown["stands"][0]["content"]["immunisations"][0]["batch"], json!("B7"));
        // Taken apart again, each has its own.
        deliver(at, &[person(4, BEN, 4, &ben())]);
        assert_eq!(ask(at, "SELECT child_id FROM v_immunisations"), [id(BEN)]);
    });
}

#[test]
fn of_a_sealed_record_no_view_find_or_export_shows_anything() {
    both(|at| {
        filled(at);
        let mut sealed = anna();
        sealed["status"] = json!("sealed");
        deliver(at, &[person(60, ANNA, 60, &sealed)]);
        for (view, _) in tables::views().filter(|(view, _)| *view != "v_reads") {
            let rows = HubReader::open(at).unwrap().ask(&format!("SELECT * FROM {view}")).unwrap();
            assert!(rows.iter().flatten().all(|cell| *cell != id(ANNA)), "{view}: {rows:?}");
        }
        let mut reader = HubReader::open(at).unwrap();
        assert_eq!(reader.find(&FindBy::nhs_number("9990000018")).unwrap(), Vec::<Value>::new());
        let by_name = FindBy::Name { family: "EXAMPLE MULLER".to_owned(), birth_date: "2026-01-05".to_owned() };
        assert_eq!(reader.find(&by_name).unwrap(), Vec::<Value>::new());
        let anna = ChildId(uuid::Uuid::from_u128(ANNA));
        assert_eq!((reader.show(anna).unwrap(), reader.timeline(anna).unwrap()), (None, None));
        assert!(reader.file(anna).unwrap().is_none());
        reader
            .export(&mut |line| {
                let shown = line["events"].as_array().unwrap().len() + line["transfers"].as_array().unwrap().len();
                assert_eq!(shown == 0, line["child"] == json!(id(ANNA)), "{line}");
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn a_child_is_found_by_any_identifier_that_is_its_own_and_by_name_however_it_is_written() {
    both(|at| {
        deliver(at, &[person(1, ANNA, 1, &anna()), person(2, BEN, 1, &ben())]);
        let mut reader = HubReader::open(at).unwrap();
        let mut found =
            |by: &FindBy| -> Vec<String> { reader.find(by).unwrap().iter().map(|row| row["child"].as_str().unwrap().to_owned()).collect() };
        let local = |system: Option<&str>, value: &str| FindBy::Identifier { system: system.map(str::to_owned), value: value.to_owned() };
        assert_eq!(found(&FindBy::nhs_number("999 000 0018")), [id(ANNA)]);
        assert_eq!(found(&local(Some("urn:v2:R1H"), "MR9990000034")), [id(BEN)]);
        assert_eq!(found(&local(None, "MR9990000034")), [id(BEN)]);
        assert_eq!(found(&local(Some("urn:v2:RJ1"), "MR9990000034")), Vec::<String>::new());
        assert_eq!(found(&local(None, "MR-OF-ANOTHER")), Vec::<String>::new(), "what was never this child's finds nobody");
        let name = |family: &str, born: &str| FindBy::Name { family: family.to_owned(), birth_date: born.to_owned() };
        assert_eq!(found(&name("EXAMPLE MÜLLER", "2026-01-05")), [id(ANNA)]);
        assert_eq!(found(&name("example muller", "2026-01-05")), [id(ANNA)]);
        assert_eq!(found(&name("example muller", "2026-01-06")), Vec::<String>::new());
    });
}

#[test]
fn a_timeline_has_events_moves_and_births_lists_in_the_order_in_which_they_were_filed() {
    both(|at| {
        filled(at);
        let lines = HubReader::open(at).unwrap().timeline(ChildId(uuid::Uuid::from_u128(ANNA))).unwrap().unwrap();
        let what: Vec<&str> = lines.iter().map(|line| line["what"].as_str().unwrap()).collect();
        let expected = [
            "births-list",
            "person",
            "blood-spot",
            "hearing",
            "nipe",
            "review",
            "appointment",
            "document",
            "episode-of-care",
            "failsafe",
            "person",
            "transfer_in",
        ];
        assert_eq!(what, expected);
    });
}

#[test]
fn caseload_and_uptake_are_counted_as_of_a_day() {
    let texts = Texts {
        failsafe: include_str!("../../../mappings/failsafe.toml"),
        schedule: include_str!("../../../mappings/schedule.toml"),
        holidays: include_str!("../../../mappings/holidays.toml"),
    };
    let schedule = Rules::load(texts).unwrap().schedule;
    both(|at| {
        filled(at);
        let mut former = record("9990000042", "2020-06-01", "GONE");
        former["hub"] = json!({ "hub": "SW", "basis": "gp" });
        deliver(at, &[person(70, CLEO, 1, &former)]);
        let mut reader = HubReader::open(at).unwrap();
        let mut caseload = |day: &str| -> Vec<String> {
            let lines = reader.caseload(day.parse().unwrap()).unwrap();
            lines
                .iter()
                .map(|line| format!("{} {} {}: {} {}", line.role, line.status, line.age, line.children, line.with_open_tasks))
                .collect()
        };
        let expected = ["former active 5: 1 0", "responsible active 0-27 days: 1 1", "responsible active 28 days-11 months: 1 0"];
        assert_eq!(caseload("2026-02-01"), expected);
        assert_eq!(caseload("2026-01-04")[1], "responsible active unborn: 1 1");
        assert_eq!(
            caseload("2026-11-20"),
            ["former active 6: 1 0", "responsible active 28 days-11 months: 1 1", "responsible active 1: 1 0"]
        );
        let mut uptake = |day: &str| -> Vec<String> {
            let lines = reader.uptake(&schedule, day.parse().unwrap()).unwrap();
            let first = lines.into_iter().filter(|line| line.antigens.contains(&"pertussis".to_owned()));
            first.map(|line| format!("{} {} {}/{}", line.cohort, line.number, line.given, line.due)).collect()
        };
        // Ben's first dose was due at 8 weeks, on 15 January, and given on the 20th; Anna, of the next quarter, had none.
        assert_eq!(uptake("2026-01-14"), Vec::<String>::new(), "nothing is due yet");
        assert_eq!(uptake("2026-01-19"), ["2025 Q4 1 0/1"]);
        assert_eq!(uptake("2026-01-20"), ["2025 Q4 1 1/1"]);
        assert_eq!(uptake("2026-03-05"), ["2025 Q4 1 1/1", "2025 Q4 2 0/1", "2026 Q1 1 0/1"]);
    });
}

#[test]
fn who_read_what_is_written_down_in_the_store_itself() {
    both(|at| {
        filled(at);
        assert_eq!(
            ask(at, "SELECT at, who, what, child_id, reason FROM v_reads"),
            [format!("1970-01-01T00:00:00Z analyst show {} a question of the hub", id(ANNA))]
        );
    });
}

#[test]
fn a_reader_changes_nothing() {
    both(|at| {
        filled(at);
        let mut reader = HubReader::open(at).unwrap();
        assert!(reader.ask("DELETE FROM event").is_err());
        assert_ne!(ask(at, "SELECT count(*) FROM event"), ["0"]);
    });
}

#[test]
fn a_store_that_a_newer_program_wrote_is_refused_and_an_empty_one_is_no_store() {
    both(|at| {
        let error = HubReader::open(at).map(drop).unwrap_err();
        assert_eq!(error.exit, 66, "{error:?}");
        let mut store = HubStore::open(at).unwrap();
        store.db.script("INSERT INTO store_version(version) VALUES(99)").unwrap();
        drop(store);
        for error in [HubStore::open(at).map(drop).unwrap_err(), HubReader::open(at).map(drop).unwrap_err()] {
            assert!(error.text.contains("has version 99"), "{}", error.text);
            assert_eq!(error.exit, 65);
        }
    });
}

#[test]
fn a_character_that_a_database_cannot_hold_stops_no_delivery() {
    both(|at| {
        let mut odd = anna();
        odd["names"][0]["family"] = json!("EX\u{0}AMPLE \u{1F}'\"?1$1\\");
        deliver(at, &[person(1, ANNA, 1, &odd)]);
        let family = ask(at, "SELECT family FROM v_children").remove(0);
        assert!(family.starts_with("EX") && family.ends_with("AMPLE \u{1F}'\"?1$1\\"), "{family:?}");
        let mut whole = Vec::new();
        hub_export(at, &mut |line| {
            whole.push(line);
            Ok(())
        })
        .unwrap();
        assert_eq!(whole[0]["record"]["names"][0]["family"], odd["names"][0]["family"]);
    });
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// 60 events of three children: people, cards, corrections, deletions, vaccinations.
fn history(dice: &mut Dice) -> Vec<FiledEvent> {
    let records = [anna(), ben(), record("9990000042", "2024-06-01", "THIRD")];
    let mut versions = [0; 3];
    let mut one = |serial: i64| {
        let at = dice.below(3) as usize;
        versions[at] += 1;
        let (child, record) = ([ANNA, BEN, CLEO][at], &records[at]);
        let (hour, key) = (dice.below(24) as u8, format!("26N{at}{}", dice.below(2)));
        let mut made = match dice.below(6) {
            0 => person(serial, child, versions[at], record),
            1 => event(serial, child, versions[at], card(hour, &key, "new", &["PKU 04 final", "CF 04 final"]), record),
            2 => event(serial, child, versions[at], card(hour, &key, "update", &["CF 08 corrected"]), record),
            3 => event(serial, child, versions[at], card(hour, &key, "update", &["PKU 02 corrected", "SCD 04 final"]), record),
            4 => event(serial, child, versions[at], card(hour, &key, "delete", &[]), record),
            _ => vaccination(serial, child, &format!("V{at}{}", dice.below(4)), "2026-02-01", &["397430003"], record),
        };
        made.version = versions[at];
        made.superseded = dice.below(12) == 0;
        made
    };
    (1..=60).map(&mut one).collect()
}

#[test]
fn however_deliveries_are_cut_and_repeated_both_stores_hold_the_same_as_one_that_got_each_event_alone() {
    for seed in 0..3 {
        let events = history(&mut Dice(seed));
        let folder = tempfile::tempdir().unwrap();
        let alone = StoreAt::File(folder.path().join("alone.db"));
        let mut store = HubStore::open(&alone).unwrap();
        events.iter().for_each(|event| store.apply(std::slice::from_ref(event)).unwrap());
        drop(store);
        let expected = everything(&alone);
        both(|at| {
            let mut dice = Dice(seed + 100);
            let mut store = HubStore::open(at).unwrap();
            let mut done = 0;
            while done < events.len() {
                let from = done.saturating_sub(dice.below(9) as usize);
                done = events.len().min(done + 1 + dice.below(12) as usize);
                store.apply(&events[from..done]).unwrap();
            }
            drop(store);
            let found = everything(at);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "seed {seed} on {}", at.name());
            }
        });
    }
}

#[test]
#[ignore = "prints how fast both are"]
#[allow(clippy::print_stdout, reason = "the figures are what it is for")]
fn how_many_events_a_second_both_take() {
    let folder = tempfile::tempdir().unwrap();
    let server = shared();
    let stores = [StoreAt::File(folder.path().join("hub-ne.db")), StoreAt::Postgres(on_server(server.database()))];
    let events: Vec<FiledEvent> = (0..8_192_i64)
        .map(|serial| {
            let (child, version) = (u128::from(serial.unsigned_abs() % 2_048) + 1, serial / 2_048 + 1);
            let record = anna();
            match serial % 2 {
                0 => person(serial, child, version, &record),
                _ => event(
                    serial,
                    child,
                    version,
                    card(9, &format!("26N{serial}"), "new", &["PKU 04 final", "CF 04 final", "SCD 04 final"]),
                    &record,
                ),
            }
        })
        .collect();
    for batch in [256, 16, 1] {
        for at in &stores {
            let at = match at {
                StoreAt::File(file) => StoreAt::File(file.with_extension(batch.to_string())),
                StoreAt::Postgres(_) => StoreAt::Postgres(on_server(server.database())),
            };
            let mut store = HubStore::open(&at).unwrap();
            let some = events.len().min(batch * 64);
            let begun = crate::clock::beat();
            events.iter().take(some).collect::<Vec<_>>().chunks(batch).for_each(|chunk| {
                let deliveries: Vec<StoreDelivery> = chunk.iter().map(|event| delivery(event)).collect();
                store.deliver(&deliveries).unwrap();
            });
            let seconds = begun.elapsed().as_secs_f64();
            println!("{}: {some} events in batches of {batch}: {:.0} events/s", at.name(), some as f64 / seconds);
        }
    }
}

// ---- a server ---------------------------------------------------------------------------------------------------------------

fn on_server(connection: String) -> PostgresAt {
    PostgresAt { connection, password_file: None, ca_file: None }
}

#[test]
fn a_database_has_one_writer_and_another_gets_it_when_the_first_has_gone() {
    let server = shared();
    let at = StoreAt::Postgres(on_server(server.database()));
    let first = HubStore::open(&at).unwrap();
    let error = HubStore::open(&at).map(drop).unwrap_err();
    assert!(error.text.contains("another broker") && error.exit == 75, "{error:?}");
    drop(first);
    HubStore::open(&at).unwrap();
}

#[test]
fn settings_of_a_database_that_would_leak_a_password_or_go_without_tls_are_refused() {
    let problems = |connection: &str| on_server(connection.to_owned()).check().join(" | ");
    assert_eq!(problems("host=/run/postgresql dbname=hub user=chis"), "");
    assert_eq!(problems("host=127.0.0.1 port=5433 dbname=hub user=chis"), "");
    assert!(problems("host=db.example dbname=hub user=chis").contains("`ca_file` is missing"));
    let with_password = problems("host=127.0.0.1 dbname=hub user=chis password=sesame");
    assert!(with_password.contains("`password_file`") && !with_password.contains("sesame"), "{with_password}");
    assert!(problems("host=db.example dbname=hub user=chis sslmode=disable").contains("must not switch TLS off"));
    assert!(problems("host=127.0.0.1 user=chis").contains("dbname="));
    assert!(problems("dbname=hub user=chis").contains("names no host"));
    assert!(problems("no words").contains("is not a connection"));
    // Below a problem stands the line of the key that it names first.
    for connection in
        ["host=x dbname=hub user=chis password=sesame", "host=127.0.0.1 password=open sesame", "postgres://chis:sesame@db/hub"]
    {
        assert!(problems(connection).starts_with("`password_file`"), "{connection}");
    }
    for connection in [
        "host=db.example port=5433 dbname=hub user=chis",
        "dbname = hub host = db.example user=x port=5433",
        "postgres://u@db.example:5433/hub",
    ] {
        assert_eq!(on_server(connection.to_owned()).name(), "postgres host=db.example port=5433 dbname=hub");
    }
    assert_eq!(on_server("host=h dbname=d user=u password='host=sesame x'".to_owned()).name(), "postgres host=h dbname=d");
}

/// The same database by TCP.
fn by_tcp(server: &postgres_server::Cluster, connection: &str) -> String {
    let database = connection.split_whitespace().find(|word| word.starts_with("dbname=")).unwrap();
    format!("host=127.0.0.1 port={} {database} user=chis", server.port())
}

#[test]
fn a_password_comes_from_its_file_and_a_wrong_one_is_refused_without_being_told() {
    let server = postgres_server::Cluster::make("-c listen_addresses=127.0.0.1");
    server.start();
    let connection = server.database();
    let mut near = Postgres::open(&on_server(connection.clone()), true).unwrap();
    near.script("ALTER USER chis PASSWORD 'open sesame'").unwrap();
    drop(near);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "open sesame\n").unwrap();
    let at = StoreAt::Postgres(PostgresAt { password_file: Some(file.clone()), ..on_server(by_tcp(&server, &connection)) });
    HubStore::open(&at).unwrap().apply(&[person(1, ANNA, 1, &anna())]).unwrap();
    assert_eq!(ask(&at, "SELECT child_id FROM v_children"), [id(ANNA)]);
    std::fs::write(&file, "open barley").unwrap();
    let error = HubStore::open(&at).map(drop).unwrap_err();
    assert!(error.text.contains("password_file") && !error.text.contains("barley"), "{}", error.text);
    std::fs::remove_file(&file).unwrap();
    assert!(HubStore::open(&at).map(drop).unwrap_err().text.contains("cannot be read"));
}

#[test]
fn by_tls_only_a_server_whose_certificate_the_named_authority_signed_gets_anything() {
    let authority = authority::Authority::new("ours");
    authority.write("server", &authority.sign(1, &["localhost"]));
    let read = |name: &str| std::fs::read_to_string(authority.path(name)).unwrap();
    let server = postgres_server::Cluster::make(
        "-c listen_addresses=127.0.0.1 -c ssl=on -c ssl_cert_file=../server.crt -c ssl_key_file=../server.key",
    );
    server.put("server.crt", &read("server.pem"));
    server.put("server.key", &read("server.key"));
    server.start();
    let connection = server.database();
    let mut near = Postgres::open(&on_server(connection.clone()), true).unwrap();
    near.script("ALTER USER chis PASSWORD 'open sesame'").unwrap();
    drop(near);
    let password_file = Some(authority.path("password"));
    std::fs::write(authority.path("password"), "open sesame").unwrap();
    let with = |ca_file: PathBuf, host: &str| PostgresAt {
        ca_file: Some(ca_file),
        password_file: password_file.clone(),
        connection: by_tcp(&server, &connection).replace("127.0.0.1", host),
    };
    let mut opened = Postgres::open(&with(authority.path("ca.pem"), "localhost"), true).unwrap();
    let is_encrypted = opened.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).unwrap();
    assert_eq!(is_encrypted[0].int(0), 1);
    let other = authority::Authority::new("a stranger");
    assert!(Postgres::open(&with(other.path("ca.pem"), "localhost"), false).is_err(), "a stranger's certificate");
    assert!(Postgres::open(&with(authority.path("ca.pem"), "127.0.0.1"), false).is_err(), "a certificate for another name");
}

// ---- older stores -----------------------------------------------------------------------------------------------------------

const OLD_SW: &[u8] = include_bytes!("../../../tests/hubstore/version-1-sw.db.zst");
const OLD_SE: &[u8] = include_bytes!("../../../tests/hubstore/version-1-se.db.zst");

/// What version 1 said: every row of its tables.
fn said_by_version_1(file: &Path) -> Vec<String> {
    let columns =
        "child_id, nhs_number, family, given, birth_date, sex, postcode, gp_practice, status, hub, version, updated, record, role";
    let mut db = Sqlite::open_to_read(file).unwrap();
    let queries = [
        format!("SELECT {columns} FROM child ORDER BY child_id"),
        "SELECT * FROM event ORDER BY id".to_owned(),
        "SELECT * FROM transfer ORDER BY id".to_owned(),
        "SELECT * FROM births_list ORDER BY day, section, child_id".to_owned(),
    ];
    queries.iter().flat_map(|sql| db.rows(sql, &[]).unwrap()).map(|row| format!("{row:?}")).collect()
}

#[test]
fn a_store_of_version_1_says_what_it_said_and_has_in_its_views_what_its_events_say() {
    let folder = tempfile::tempdir().unwrap();
    let [sw, se] = [("sw.db", OLD_SW), ("se.db", OLD_SE)].map(|(name, bytes)| {
        let file = folder.path().join(name);
        std::fs::write(&file, zstd::decode_all(bytes).unwrap()).unwrap();
        let before = said_by_version_1(&file);
        let error = HubReader::open(&file).map(drop).unwrap_err();
        assert!(error.text.contains("start the broker once"), "{}", error.text);
        drop(HubStore::open(&file).unwrap());
        assert_eq!(said_by_version_1(&file), before);
        drop(HubStore::open(&file).unwrap());
        StoreAt::File(file)
    });
    assert_eq!(ask(&sw, "SELECT max(version) FROM store_version"), ["2"]);
    let count = |at: &StoreAt, view: &str| ask(at, &format!("SELECT count(*) FROM {view}")).remove(0);
    let views = ["v_children", "v_events", "v_transfers"];
    assert_eq!(views.map(|view| count(&sw, view)), ["4", "82", "2"]);
    assert_eq!(views.map(|view| count(&se, view)), ["2", "44", "0"]);
    // What the ledger of the program that wrote them said stands.
    let vaccinations = "SELECT status, coalesce(batch, '-'), given FROM v_immunisations ORDER BY given, batch";
    assert_eq!(
        ask(&sw, vaccinations),
        [
            "completed - 2026-04",
            "not_done - 2026-04",
            "completed - 2026-04-27",
            "completed LOT-EXAMPLE 2026-04-27",
            "completed LOT72 2026-04-28T10:15:00+01:00",
            "not_done - 2026-04-28T10:20:00+01:00",
            "completed PV1, PV2 2026-04-30",
        ]
    );
    assert_eq!(
        ask(&se, vaccinations),
        [
            "completed A21CX001 2026-03-02T11:00:00+00:00",
            "completed ABX22 2026-03-02T11:05:00+00:00",
            "completed A21CX009 2026-03-30T10:00:00+01:00",
            "not_done - 2026-03-30T10:05:00+01:00",
            "not_done - 2026-03-30T10:08:00+01:00",
        ]
    );
    let cards = "SELECT accession, condition, status FROM v_blood_spot ORDER BY accession, condition";
    let (all, lab) = (ask(&sw, cards), "26N001011");
    assert_eq!(all.len(), 12, "{all:?}");
    assert!(all.contains(&format!("{lab} CHT 03")) && all.contains(&format!("{lab} CF 04")), "{all:?}");
    assert_eq!(ask(&se, cards).len(), 11);
    assert_eq!(ask(&se, "SELECT status FROM v_appointments"), ["dna"]);
    assert_eq!(ask(&se, "SELECT key FROM v_items WHERE kind IN ('document', 'review') ORDER BY key"), ["D000047", "R900037"]);
    assert_eq!(ask(&sw, "SELECT summary FROM v_hearing WHERE summary IS NOT NULL").len(), 1);
    assert_eq!(["v_physical_exams", "v_episodes", "v_documents"].map(|view| count(&sw, view)), ["3", "2", "0"]);
    assert_eq!(ask(&sw, "SELECT key FROM v_items WHERE kind = 'observations' ORDER BY key"), ["B900035", "BD-0062", "BS-0063", "EV-0061"]);
}

#[test]
fn what_of_an_old_store_cannot_be_read_is_kept_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sw.db");
    std::fs::write(&file, zstd::decode_all(OLD_SW).unwrap()).unwrap();
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute("UPDATE event SET statement = '{' WHERE id = (SELECT min(id) FROM event WHERE kind = 'immunisation')", []).unwrap();
    drop(old);
    drop(HubStore::open(&file).unwrap());
    assert_eq!(ask(&file.clone().into(), "SELECT count(*) FROM v_events"), ["82"]);
    assert_eq!(ask(&file.into(), "SELECT count(*) FROM event WHERE statement = '{'"), ["1"]);
}
