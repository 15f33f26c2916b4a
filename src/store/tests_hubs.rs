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
        let directory = Directory::load(HUBS, "hubs.toml", &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let store = |hub: &str| DestinationRule {
            name: format!("hub-{}", hub.to_lowercase()).as_str().into(),
            recipient: Recipient::HubStore(HubName::new(hub)),
        };
        let rules = FilingRules {
            directory: Arc::new(ArcSwap::from_pointee(directory)),
            destinations: Arc::new(vec![store("NE"), store("SW")]),
            zone: jiff::tz::TimeZone::get("Europe/London").unwrap(),
        };
        let config = LedgerConfig { data: folder.path().to_path_buf(), ballast: false, pages_max: None };
        Self { ledger: Ledger::open(&config, rules).unwrap(), folder, serial: 0 }
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
    let list = BirthsList { hub: "NE".into(), day: "2026-01-05".into(), made: String::new(), births: Vec::new(), unknown: Vec::new() };
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
