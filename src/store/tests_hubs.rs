//! Claims about hubs over a real ledger: which births stand on whose list, who hears of a result after a move, who waits for whom.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::*;
use crate::clock;
use crate::journal::{Admission, Entry, Journal};
use crate::names::{BundleHash, Format, HubName, SourceName};
use crate::routing::Directory;

const HUBS: &str = r#"
default_hub = "NE"
[[hub]]
name = "NE"
title = "North East"
las = ["E09000012"]
stillbirths = true
[[hub]]
name = "SW"
title = "South West"
las = ["E09000032"]
[[birth_site]]
ods = "R1H"
hub = "NE"
[[birth_site]]
ods = "RAX"
hub = "SW"
"#;

struct Site {
    folder: tempfile::TempDir,
    ledger: Ledger,
    serial: i64,
}

/// Where somebody lives, by hub: a local authority.
fn la(hub: &str) -> &'static str {
    match hub {
        "NE" => "E09000012",
        "SW" => "E09000032",
        _ => "E08000003",
    }
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { ledger: Self::open(folder.path()), folder, serial: 0 }
    }

    fn open(data: &std::path::Path) -> Ledger {
        let directory = Directory::load(HUBS, "hubs.toml", &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let store = |hub: &str| DestinationRule {
            name: format!("hub-{}", hub.to_lowercase()).as_str().into(),
            recipient: Recipient::HubStore(HubName::new(hub)),
        };
        let rules = FilingRules {
            directory: Arc::new(ArcSwap::from_pointee(directory)),
            destinations: Arc::new(vec![store("NE"), store("SW")]),
            zone: jiff::tz::TimeZone::get("Europe/London").unwrap(),
            parents: Arc::default(),
        };
        let config = LedgerConfig { data: data.to_path_buf(), ballast: false, pages_max: None };
        Ledger::open(&config, rules).unwrap()
    }

    /// Files what `source` says of a child that was born `age` days ago; `more` goes over it.
    async fn file(&mut self, source: &str, nhs: &str, age: i64, hub: &str, more: Value) {
        self.serial += 1;
        let now = clock::now();
        let born = crate::failsafe::day::date_of(now).checked_sub(age.days()).unwrap();
        let mut statement = json!({
            "event": { "kind": "birth", "may_create": true, "at": { "value": now.to_string(), "precision": "second" } },
            "child": {
                "identifiers": [{ "value": nhs, "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }],
                "names": [{ "family": "EXAMPLE", "given": ["TEST"], "use": "official" }],
                "birth": { "date": { "value": born.to_string(), "precision": "day" } }, "sex": "2",
                "addresses": [{ "use": "home", "la_gss": la(hub) }]
            }
        });
        merge(&mut statement, &more);
        let (control_id, source) = (format!("T{}", self.serial), SourceName::new(source));
        let entry = Entry {
            source: source.clone(),
            format: Format::CanonicalJson,
            kind: "test".into(),
            control_id: control_id.clone(),
            body: Bytes::from(statement.to_string()),
            arrived: now,
            admission: Admission::Accepted,
        };
        let seq = self.ledger.append(entry).await.unwrap().seq();
        let prepared = Prepared {
            seq,
            source,
            control_id,
            arrived_us: now.as_microsecond(),
            rank: 2,
            mapping: None,
            bundle: BundleHash::new("none"),
            findings: String::new(),
            contents: Vec::new(),
            outcome: PreparedOutcome::File(vec![serde_json::from_value(statement).unwrap()]),
            released_by: None,
            apart: false,
        };
        assert!(self.ledger.file(vec![prepared]).await);
        let held = self.reader().held().unwrap();
        assert!(held.is_empty(), "{held:?}");
    }

    fn reader(&self) -> LedgerReader {
        LedgerReader::open(self.folder.path()).unwrap()
    }

    /// Ends a day; gives the sections of a hub's list with the end of the NHS number.
    async fn list(&self, day: &str, hub: &str) -> Vec<String> {
        let (day, now) = (day.parse().unwrap(), clock::now());
        self.ledger.list_births(day, now, now).await.unwrap();
        self.listed(&day.to_string(), hub)
    }

    fn listed(&self, day: &str, hub: &str) -> Vec<String> {
        let list = self.reader().births_list(hub, day).unwrap().unwrap();
        list.births.iter().map(|birth| format!("{} {}", birth.section, birth.nhs_number.get(8..).unwrap_or_default())).collect()
    }

    /// Who is owed what was filed last: destination and, of a move, what it is.
    fn owed(&self) -> Vec<String> {
        let mut told = Vec::new();
        for hub in ["ne", "sw"] {
            for debt in self.reader().owed(&format!("hub-{hub}"), 0, 1_000).unwrap() {
                let event: Value = serde_json::from_slice(&debt.event).unwrap();
                if event["control_id"] == format!("T{}", self.serial) {
                    let beside = debt.body.map(|body| serde_json::from_slice::<Value>(&body).unwrap()["transfer"]["way"].clone());
                    told.push(format!("{hub} {}", beside.as_ref().and_then(Value::as_str).unwrap_or("-")));
                }
            }
        }
        told
    }

    /// Lets time pass for what is on record.
    async fn days_pass(&self, table: &'static str, column: &'static str, days: i64) {
        let sql = format!("UPDATE {table} SET {column} = {column} - {}", days * 86_400_000_000);
        self.ledger.act_for(move |connection, _| connection.execute(&sql, []).map(drop)).await.unwrap();
    }
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

fn born_in(site: &str) -> Value {
    json!({ "child": { "birth": { "place_ods": site } } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_birth_stands_with_the_hub_of_its_home_and_with_the_hub_of_the_hospital() {
    let mut site = Site::new();
    site.file("maternity", "9990000018", 1, "NE", born_in("RAX01")).await;
    site.file("maternity", "9990000026", 1, "SW", born_in("RAX01")).await;
    site.file("maternity", "9990000034", 1, "elsewhere", born_in("R1H")).await;
    assert_eq!(site.list("2026-01-05", "NE").await, ["here 18", "elsewhere 34"]);
    assert_eq!(site.listed("2026-01-05", "SW"), ["elsewhere 18", "here 26"]);
    // The same day again makes nothing, and the next one has none of them.
    assert_eq!(site.list("2026-01-05", "NE").await, ["here 18", "elsewhere 34"]);
    assert_eq!(site.list("2026-01-06", "NE").await, Vec::<String>::new());
    let lists = site.reader().entries(&EntryFilter { kind: Some("births-list".into()), ..EntryFilter::default() }).unwrap();
    assert_eq!(lists.len(), 2);
    let account = site.reader().reconcile(None, Some("chis-broker")).unwrap();
    let owed: i64 = account.lines.iter().map(|line| line.owed).sum();
    assert_eq!((account.unaccounted, account.unaccounted_debts, owed), (0, 0, 4), "two days, two stores");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stillbirth_is_told_only_to_a_hub_that_asks_and_a_hidden_child_only_to_its_own() {
    let mut site = Site::new();
    let still = json!({ "child": { "birth": { "live_still": "2", "place_ods": "RAX" } } });
    site.file("maternity", "9990000018", 1, "NE", still.clone()).await;
    site.file("maternity", "9990000026", 1, "SW", still).await;
    let hidden = json!({ "child": { "birth": { "place_ods": "RAX" }, "flags": { "local_hiding": true } } });
    site.file("maternity", "9990000034", 1, "NE", hidden).await;
    assert_eq!(site.list("2026-01-05", "NE").await, ["stillbirth 18", "here 34"]);
    assert_eq!(site.listed("2026-01-05", "SW"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_birth_event_and_an_older_child_are_no_births_and_every_child_is_one_or_the_other() {
    let mut site = Site::new();
    let person = json!({ "event": { "kind": "person" } });
    site.file("pas", "9990000018", 27, "NE", person.clone()).await;
    site.file("pas", "9990000026", 28, "NE", person.clone()).await;
    site.file("maternity", "9990000034", 364, "NE", json!({})).await;
    site.file("maternity", "9990000042", 365, "NE", json!({})).await;
    assert_eq!(site.list("2026-01-05", "NE").await, ["here 18", "here 34"]);
    let movers = site.reader().movers(None, None).unwrap();
    let ways: Vec<(&str, &str)> = movers.iter().map(|row| (row.way.as_str(), row.hub.as_str())).collect();
    assert_eq!(ways, [("in", "NE"), ("in", "NE")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_birth_that_is_recorded_after_the_end_of_its_day_is_on_the_next_list_also_when_the_clock_was_set_back() {
    let mut site = Site::new();
    assert_eq!(site.list("2026-01-05", "NE").await, Vec::<String>::new());
    site.file("maternity", "9990000018", 1, "NE", json!({})).await;
    // Recorded with a time before the end of the 5th, whose lists are gone.
    site.days_pass("birth", "seen_us", 300).await;
    assert_eq!(site.list("2026-01-06", "NE").await, ["here 18"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_nobody_knows_a_place_for_is_with_the_default_hub_every_day() {
    let mut site = Site::new();
    site.file("maternity", "9990000018", 1, "NE", json!({ "child": { "addresses": [] } })).await;
    for day in ["2026-01-05", "2026-01-06"] {
        site.list(day, "NE").await;
        let unknown = |hub: &str| site.reader().births_list(hub, day).unwrap().unwrap().unknown.len();
        assert_eq!((unknown("NE"), unknown("SW")), (1, 0), "{day}");
    }
    assert_eq!(site.listed("2026-01-05", "NE"), ["here 18"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screening_result_goes_to_the_hub_that_the_child_left_for_28_days() {
    let mut site = Site::new();
    site.file("maternity", "9990000018", 5, "NE", json!({})).await;
    assert_eq!(site.owed(), ["ne -"]);
    site.file("pas", "9990000018", 5, "SW", json!({ "event": { "kind": "address" } })).await;
    assert_eq!(site.owed(), ["ne transfer_out", "sw transfer_in"]);
    let result = |kind: &str| json!({ "event": { "kind": kind, "may_create": false }, "child": { "addresses": [] } });
    site.file("lab", "9990000018", 5, "SW", result("hearing")).await;
    assert_eq!(site.owed(), ["ne -", "sw -"]);
    site.file("lab", "9990000018", 5, "SW", result("immunisation")).await;
    assert_eq!(site.owed(), ["sw -"], "only screening follows");
    site.days_pass("hub_history", "noted_us", 27).await;
    site.file("lab", "9990000018", 5, "SW", result("blood-spot")).await;
    assert_eq!(site.owed(), ["ne -", "sw -"]);
    site.days_pass("hub_history", "noted_us", 1).await;
    site.file("lab", "9990000018", 5, "SW", result("nipe")).await;
    assert_eq!(site.owed(), ["sw -"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn births_of_which_one_side_told_are_counted_until_the_other_tells() {
    let mut site = Site::new();
    let national = json!({ "event": { "national": true }, "child": { "birth": { "place_ods": "R1H" } } });
    site.file("maternity", "9990000018", 1, "NE", born_in("RAX")).await;
    site.file("spine", "9990000026", 1, "NE", national.clone()).await;
    let told = |site: &Site| -> Vec<String> {
        let rows = site.reader().birth_account(None).unwrap();
        rows.iter().map(|row| format!("{} {} {:?}", row.told_by, row.site, row.seq)).collect()
    };
    assert_eq!(told(&site), ["maternity RAX Some(1)", "spine R1H Some(2)"]);
    let today = super::writer::london_day(clock::now());
    assert_eq!(
        (site.reader().birth_account(Some(today)).unwrap().len(), site.reader().birth_account(Some(20_200_101)).unwrap().len()),
        (2, 0)
    );
    site.file("spine", "9990000018", 1, "NE", json!({ "event": { "national": true } })).await;
    assert_eq!(told(&site), ["spine R1H Some(2)"]);
    site.file("maternity", "9990000026", 1, "NE", born_in("R1H")).await;
    assert_eq!(told(&site), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_can_be_paused_goes_on_and_can_be_cancelled() {
    let mut site = Site::new();
    site.file("maternity", "9990000018", 1, "NE", json!({})).await;
    let (ledger, now) = (site.ledger.clone(), Timestamp::UNIX_EPOCH);
    let job = ledger.begin_reassign("a test", now).await.unwrap();
    assert_eq!(ledger.begin_reassign("again", now).await.unwrap(), job, "one at a time");
    assert!(ledger.steer_job(job, "paused", "a test", now).await.unwrap());
    assert!(!ledger.job_batch(now).await.unwrap(), "a paused job does nothing");
    assert!(ledger.steer_job(job, "running", "a test", now).await.unwrap());
    while ledger.job_batch(clock::now()).await.unwrap() {}
    let jobs = site.reader().jobs().unwrap();
    assert_eq!((jobs[0].state.as_str(), jobs[0].looked, jobs[0].changed), ("done", 1, 0));
    assert!(!ledger.steer_job(job, "cancelled", "a test", now).await.unwrap(), "what is done cannot be cancelled");
}

#[test]
fn a_store_that_was_made_before_moves_were_known_is_opened_and_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.db");
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute_batch(
        "CREATE TABLE child(child_id TEXT PRIMARY KEY, nhs_number TEXT, family TEXT, given TEXT, birth_date TEXT, sex TEXT, postcode TEXT,
            gp_practice TEXT, status TEXT, hub TEXT, version INTEGER NOT NULL, updated TEXT NOT NULL, record TEXT NOT NULL) STRICT;
        INSERT INTO child(child_id, version, updated, record) VALUES('c1', 1, '2026-01-05T00:00:00Z', '{}');",
    )
    .unwrap();
    drop(old);
    let list = BirthsList {
        hub: "NE".into(),
        day: "2026-01-05".into(),
        made: String::new(),
        births: Vec::new(),
        unknown: Vec::new(),
        unread: Vec::new(),
    };
    for _ in 0..2 {
        HubStore::open(&file).unwrap().deliver(&[StoreDelivery::Births(Box::new(list.clone()))]).unwrap();
    }
    assert_eq!(hub_births(&file, "2026-01-05").unwrap(), Some((0, 0, Vec::new())));
    assert_eq!(hub_export(&file, &mut |_| Ok(())).unwrap(), 1);
}

/// A record that a hospital knows by its own number alone, of whoever lives there.
fn local(number: &str) -> Value {
    json!({ "event": { "kind": "person" }, "child": { "identifiers": [{ "value": number, "system": "urn:v2:RJ1", "type": "PI" }] } })
}

/// The child of this NHS number and the one of this local number are one.
fn a40(number: &str) -> Value {
    let prior = json!({ "value": number, "system": "urn:v2:RJ1", "type": "PI" });
    json!({ "event": { "kind": "merge" }, "child": { "names": [] , "addresses": [] },
        "identity_changes": [{ "act": "merge", "prior": [prior] }] })
}

impl Site {
    /// The children that events of deliveries to a hub's store are about, without those whose event has no delivery of its own.
    fn told_of(&self, hub: &str) -> Vec<crate::names::ChildId> {
        let (reader, name) = (self.reader(), HubName::new(hub));
        let mut children = Vec::new();
        for debt in reader.owed(&format!("hub-{}", hub.to_lowercase()), 0, 1_000).unwrap() {
            match reader.store_delivery((&name, &self.ledger.default_hub()), &debt.event, debt.body.as_deref()).unwrap().unwrap() {
                StoreDelivery::Event(event, _) => children.push(event.child_id),
                StoreDelivery::Moved(moved) => children.extend(moved.earlier.iter().chain([&moved.event]).map(|event| event.child_id)),
                StoreDelivery::Births(_) => {}
            }
        }
        children
    }

    fn by_local(&self, number: &str) -> crate::names::ChildId {
        self.reader().children_by_identifier(number).unwrap().first().copied().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_unlink_a_new_hub_hears_of_its_own_child_and_of_no_other() {
    let mut site = Site::new();
    site.file("pas", "9990000018", 5, "NE", json!({ "event": { "kind": "person" } })).await;
    site.file("pas", "", 5, "NE", local("B1")).await;
    let other = site.by_local("B1");
    site.file("pas", "9990000018", 5, "NE", a40("B1")).await;
    site.file("pas", "", 5, "NE", local("B1")).await;
    site.ledger.decide(DeskAct::Unlink { other }, "two children", false, clock::now()).await.unwrap();
    assert_eq!(site.by_local("B1"), other);
    site.file("pas", "", 5, "SW", local("B1")).await;
    let told: std::collections::BTreeSet<_> = site.told_of("SW").into_iter().collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [other]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_shows_a_hidden_childs_history_to_no_hub_that_had_it_not() {
    let mut site = Site::new();
    site.file("pas", "9990000018", 5, "SW", json!({ "event": { "kind": "person" } })).await;
    let mut hidden = local("B1");
    merge(&mut hidden, &json!({ "child": { "flags": { "sensitivity": "restricted" } } }));
    site.file("pas", "", 5, "NE", hidden).await;
    let other = site.by_local("B1");
    site.file("pas", "9990000018", 5, "SW", a40("B1")).await;
    assert!(site.told_of("NE").contains(&other), "its own hub hears what became of it");
    assert!(!site.told_of("SW").contains(&other), "the other hub had nothing of it");
}

/// The stores of both hubs, paid with all that is owed.
impl Site {
    /// What `hub`'s store has of its one child after all that is owed was paid: role, number of relations' identifiers, events.
    async fn paid(&self, hub: &str) -> Vec<String> {
        let (reader, name, file) = (self.reader(), HubName::new(hub), self.folder.path().join(format!("{hub}.db")));
        let mut deliveries = Vec::new();
        for debt in reader.owed(&format!("hub-{}", hub.to_lowercase()), 0, 1_000).unwrap() {
            let delivery = reader.store_delivery((&name, &self.ledger.default_hub()), &debt.event, debt.body.as_deref());
            deliveries.push(delivery.unwrap().unwrap());
        }
        HubStore::open(&file).unwrap().deliver(&deliveries).unwrap();
        let mut told = Vec::new();
        hub_export(&file, &mut |line| {
            let ids = |of: &Value| of["relations"].as_array().into_iter().flatten().filter(|one| one["identifiers"].is_array()).count();
            let last = line["events"].as_array().unwrap().last().unwrap()["statement"]["child"].clone();
            told.push(format!("{} record {} event {}", line["role"].as_str().unwrap(), ids(&line["record"]), ids(&last)));
            Ok(())
        })
        .unwrap();
        told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_child_that_nobody_is_responsible_for_a_former_hub_sees_no_other_persons_identifiers() {
    let mut site = Site::new();
    let mother = json!([{ "kind": "12", "identifiers": [{ "value": "M1", "system": "urn:v2:RAX", "type": "PI" }] }]);
    site.file("maternity", "9990000018", 5, "SW", json!({ "child": { "relations": mother } })).await;
    assert_eq!(site.paid("SW").await, ["responsible record 1 event 1"]);
    // It lives nowhere that anybody knows: the default hub works on it.
    let nowhere = json!({ "event": { "kind": "address" }, "child": { "addresses": [{ "use": "home", "postcode": "ZZ99 3VZ" }] } });
    site.file("pas", "9990000018", 5, "SW", nowhere).await;
    assert_eq!(site.owed(), ["ne transfer_in", "sw transfer_out"]);
    let result = json!({ "event": { "kind": "hearing", "may_create": false }, "child": { "addresses": [], "relations": mother } });
    site.file("lab", "9990000018", 5, "SW", result).await;
    assert_eq!(site.owed(), ["ne -", "sw -"], "it left 28 days ago at most");
    assert_eq!(site.paid("NE").await, ["responsible record 1 event 1"], "the default hub works on it");
    assert_eq!(site.paid("SW").await, ["former record 0 event 0"], "the hub that it left is told the result, and nobody else's number");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_says_that_its_child_is_hidden_tells_a_former_hub_no_place() {
    let mut site = Site::new();
    site.file("maternity", "9990000018", 5, "SW", json!({})).await;
    site.file("pas", "9990000018", 5, "NE", json!({ "event": { "kind": "address" } })).await;
    let hidden = json!({ "event": { "kind": "hearing", "may_create": false },
        "child": { "flags": { "local_hiding": true }, "addresses": [{ "use": "home", "postcode": "E8 1AA" }] } });
    site.file("lab", "9990000018", 5, "NE", hidden).await;
    assert_eq!(site.owed().len(), 2);
    let (reader, file) = (site.reader(), site.folder.path().join("SW.db"));
    site.paid("SW").await;
    drop(reader);
    let mut text = String::new();
    hub_export(&file, &mut |line| {
        text = line.to_string();
        Ok(())
    })
    .unwrap();
    assert!(text.contains("hearing") && !text.contains("E8 1AA"), "{text}");
}

impl Site {
    /// Damages what is on record of the child with this NHS number, or mends it with what was there.
    async fn record_of(&self, nhs: &str, record: Vec<u8>) -> Vec<u8> {
        let child = self.reader().children_by_identifier(nhs).unwrap()[0];
        self.ledger
            .act_for(move |connection, _| {
                let was =
                    connection.query_row("SELECT record FROM child WHERE uuid = ?1", [child.0.as_bytes().as_slice()], |row| row.get(0))?;
                connection.execute("UPDATE child SET record = ?2 WHERE uuid = ?1", rusqlite::params![child.0.as_bytes(), record])?;
                Ok(was)
            })
            .await
            .unwrap()
    }

    fn child(&self, nhs: &str) -> String {
        self.reader().children_by_identifier(nhs).unwrap()[0].to_string()
    }

    fn hub_of(&self, nhs: &str) -> String {
        let child = self.reader().children_by_identifier(nhs).unwrap()[0];
        let periods = self.reader().hub_history(child).unwrap();
        periods
            .iter()
            .map(|one| format!("{} {}{}{}", one.hub, one.basis, if one.reason.is_empty() { "" } else { ", " }, one.reason))
            .collect::<Vec<_>>()
            .join(" | ")
    }

    /// Open items about records that cannot be read: the children.
    fn unreadable(&self) -> Vec<String> {
        let items = self.reader().identity_items(clock::now()).unwrap();
        items.into_iter().filter(|item| item.kind == "record-unreadable").filter_map(|item| item.child).collect()
    }
}

/// What a damaged page leaves of a record.
fn damaged() -> Vec<u8> {
    b"{\"child\":{\"names\":[{\"family\":\"EXAM".to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_is_named_and_keeps_nobody_else_from_the_births_list() {
    let mut site = Site::new();
    site.file("maternity", "9990000018", 1, "SW", json!({})).await;
    site.file("maternity", "9990000026", 1, "SW", json!({})).await;
    let whole = site.record_of("9990000018", damaged()).await;
    let (day, now) = ("2026-01-05".parse().unwrap(), clock::now());
    let listed = site.ledger.list_births(day, now, now).await.unwrap();
    let broken = site.child("9990000018");
    assert_eq!((listed.lists, listed.unread), (2, vec![broken.clone()]));
    assert_eq!(site.listed("2026-01-05", "SW"), ["here 26"]);
    let named = |hub: &str| site.reader().births_list(hub, "2026-01-05").unwrap().unwrap().unread;
    assert_eq!((named("SW").len(), named("SW")[0].child.clone(), named("NE").len()), (1, broken.clone(), 0), "its own hub looks at it");
    assert_eq!(site.unreadable(), [broken.as_str()]);
    // The next day it is named again and asked about once; mended it stands on the list of that day.
    assert_eq!(site.list("2026-01-06", "SW").await, Vec::<String>::new());
    assert_eq!(site.unreadable().len(), 1);
    site.record_of("9990000018", whole).await;
    assert_eq!(site.list("2026-01-07", "SW").await, ["here 18"]);
    assert_eq!(site.list("2026-01-08", "SW").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_stops_nobody_elses_decision_and_no_job_over_all_children() {
    let mut site = Site::new();
    for nhs in ["9990000018", "9990000026", "9990000034"] {
        site.file("maternity", nhs, 1, "NE", json!({})).await;
    }
    let tomorrow = clock::now().checked_add(24.hours()).unwrap();
    let from = crate::failsafe::day::date_of(tomorrow);
    for nhs in ["9990000018", "9990000026"] {
        let child = site.reader().children_by_identifier(nhs).unwrap()[0];
        let act = AssignAct { child, hub: Some(HubName::new("SW")), from: Some(from), dry_run: false };
        site.ledger.assign(act, "a test", clock::now()).await.unwrap();
    }
    let whole = site.record_of("9990000018", damaged()).await;
    let broken = site.child("9990000018");
    let applied = site.ledger.apply_overrides(tomorrow).await.unwrap();
    assert_eq!((applied.count, applied.unread), (2, vec![broken.clone()]));
    assert_eq!(site.hub_of("9990000026"), "NE address | SW manual, a test");
    assert!(!site.reader().is_override_due(from).unwrap(), "it is not tried four times a second");
    assert_eq!(site.unreadable(), [broken.as_str()]);

    // Everybody is looked at: the others by other hubs.
    let plan = site.reader().reassign_plan(&site.other_hubs(), from).unwrap();
    assert_eq!((plan.looked, plan.moved, plan.unread), (3, 1, vec![broken.clone()]));
    let job = site.ledger.begin_reassign("a test", tomorrow).await.unwrap();
    while site.ledger.job_batch(tomorrow).await.unwrap() {}
    let jobs = site.reader().jobs().unwrap();
    assert_eq!((jobs[0].job, jobs[0].state.as_str(), jobs[0].looked, &jobs[0].unread), (job, "done", 3, &vec![broken]));

    // The decision is not lost: mended, it is applied on the next day.
    site.record_of("9990000018", whole).await;
    assert!(site.ledger.end_newborns(from, tomorrow).await.unwrap().done);
    assert_eq!(site.ledger.apply_overrides(tomorrow).await.unwrap().count, 1);
    assert_eq!(site.hub_of("9990000018"), "NE address | SW manual, a test");
}

impl Site {
    /// The same hubs, each with the area of the other.
    fn other_hubs(&self) -> Directory {
        let swapped = HUBS.replace("E09000012", "X").replace("E09000032", "E09000012").replace("\"X\"", "\"E09000032\"");
        Directory::load(&swapped, "hubs.toml", &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap()
    }

    /// Ends the days from today until in `days` days, as one that stood still until then does. Gives how many were looked at and changed.
    async fn days_end(&self, days: i64) -> (usize, usize) {
        let now = clock::now().checked_add((days * 24).hours()).unwrap();
        let (mut looked, mut changed) = (0, 0);
        for day in 0..=days {
            let day = crate::failsafe::day::date_of(clock::now()).checked_add(day.days()).unwrap();
            let ended = self.ledger.end_newborns(day, now).await.unwrap();
            assert!(ended.done);
            (looked, changed) = (looked + ended.looked, changed + ended.changed);
        }
        (looked, changed)
    }
}

/// A mother whose practice or home decides; the baby has none of its own.
fn mother_in(hub: &str) -> Value {
    json!({ "child": { "addresses": [], "relations": [{ "kind": "12", "address": { "use": "home", "la_gss": la(hub) } }] } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_28_days_end_the_mothers_home_decides_no_longer_and_the_day_is_done_once() {
    let mut site = Site::new();
    let mut hers = mother_in("SW");
    merge(&mut hers, &born_in("R1H"));
    site.file("maternity", "9990000018", 26, "", hers.clone()).await;
    site.file("maternity", "9990000026", 3, "", hers).await;
    assert_eq!(site.hub_of("9990000018"), "SW mother_address");
    assert_eq!(site.days_end(1).await, (0, 0), "27 days old tomorrow");
    assert_eq!(site.days_end(2).await, (1, 1), "28 days old: looked at, and nobody else is");
    assert_eq!(site.hub_of("9990000018"), "SW mother_address | NE default, the first 28 days have ended");
    assert_eq!(site.days_end(2).await, (0, 0), "the same days again look at nobody");
    assert_eq!(site.hub_of("9990000026"), "SW mother_address");
    // It holds since the day began, and both stores are told as of any other move.
    let child = site.reader().children_by_identifier("9990000018").unwrap()[0];
    let since = site.reader().hub_history(child).unwrap()[1].from.clone();
    let day = crate::failsafe::day::date_of(clock::now()).checked_add(2.days()).unwrap();
    assert_eq!(since, crate::failsafe::day::start_of(day).to_string());
    let told: Vec<String> = ["SW", "NE"].into_iter().flat_map(|hub| site.ways(hub)).collect();
    assert_eq!(told, ["SW transfer_out", "NE transfer_in"]);
    let entries = site.reader().entries(&EntryFilter { kind: Some("hub-newborns".into()), ..EntryFilter::default() }).unwrap();
    assert_eq!(entries.len(), 1);
    let account = site.reader().reconcile(None, None).unwrap();
    assert_eq!((account.unaccounted, account.unaccounted_debts), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_on_which_the_broker_stood_still_are_caught_up_and_each_child_is_looked_at_once() {
    let mut site = Site::new();
    for (nhs, age) in [("9990000018", 27), ("9990000026", 25), ("9990000034", 10), ("9990000042", 28)] {
        let mut outside = born_in("R1H");
        merge(&mut outside, &json!({ "event": { "kind": "person" } }));
        site.file("pas", nhs, age, "elsewhere", outside).await;
    }
    let copies = |nhs: &str| {
        let child = site.reader().children_by_identifier(nhs).unwrap()[0];
        site.reader().hub_history(child).unwrap().last().unwrap().interested.join(" ")
    };
    assert_eq!((copies("9990000018").as_str(), copies("9990000042").as_str()), ("NE", ""), "the hospital's hub, in the first 28 days");
    assert_eq!(site.days_end(5).await, (2, 2));
    assert_eq!((copies("9990000018").as_str(), copies("9990000026").as_str(), copies("9990000034").as_str()), ("", "", "NE"));
    assert_eq!(site.ways("NE"), ["NE copy_out", "NE copy_out"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_date_of_birth_that_is_corrected_moves_the_end_of_the_28_days_and_an_unreadable_record_stops_no_other() {
    let mut site = Site::new();
    for nhs in ["9990000018", "9990000026"] {
        site.file("maternity", nhs, 27, "", mother_in("SW")).await;
    }
    let mut corrected = mother_in("SW");
    merge(&mut corrected, &json!({ "event": { "kind": "person", "national": true } }));
    site.file("spine", "9990000018", 26, "", corrected).await;
    let whole = site.record_of("9990000026", damaged()).await;
    assert_eq!(site.days_end(1).await, (0, 0), "the one is 27 days old tomorrow, the other cannot be read");
    assert_eq!(site.unreadable(), [site.child("9990000026")]);
    site.record_of("9990000026", whole).await;
    assert_eq!(site.days_end(2).await, (2, 2));
    assert!(site.hub_of("9990000026").ends_with("UNKNOWN default, the first 28 days have ended"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newborns_of_an_older_ledger_are_known_after_the_next_start() {
    let mut site = Site::new();
    site.file("maternity", "9990000018", 27, "", mother_in("SW")).await;
    let sql = "DELETE FROM newborn; DELETE FROM meta WHERE key = 'newborns_through'";
    site.ledger.act_for(move |connection, _| connection.execute_batch(sql)).await.unwrap();
    site.ledger.close().await;
    let site = Site { ledger: Site::open(site.folder.path()), ..site };
    assert_eq!(site.days_end(1).await, (1, 1));
}

impl Site {
    /// The moves that `hub`'s store is told of.
    fn ways(&self, hub: &str) -> Vec<String> {
        let mut ways = Vec::new();
        for debt in self.reader().owed(&format!("hub-{}", hub.to_lowercase()), 0, 1_000).unwrap() {
            let way =
                debt.body.and_then(|body| Some(serde_json::from_slice::<Value>(&body).unwrap()["transfer"]["way"].as_str()?.to_owned()));
            ways.extend(way.map(|way| format!("{hub} {way}")));
        }
        ways
    }
}
