//! A hub's store on a PostgreSQL server: nothing is lost or there twice when the server goes away, and what stands there is what stands in the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use chis_broker::broker::Running;
use chis_broker::config::Settings;
use chis_broker::destinations::Kind;
use chis_broker::names::ChildId;
use chis_broker::store::{HubReader, LedgerReader, StoreAt, hub_export};
use serde_json::Value;

use crate::postgres_server::{Cluster, shared};
use crate::world::{Line, person, settings, settled};

/// The embedded settings with the store of one hub on a server.
fn on_server(data: &Path, hub: &str, connection: &str) -> Settings {
    let mut settings = settings(data);
    for destination in &mut settings.destinations {
        match &mut destination.kind {
            Kind::Store { hub: served, postgres, .. } if served.as_str() == hub => *postgres = Some(connection.to_owned()),
            _ => {}
        }
    }
    settings
}

/// Does what waits for the server, which no task of a runtime may.
async fn waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Control ids by child, in the order of the record's versions.
fn stored(at: &StoreAt) -> BTreeMap<String, Vec<String>> {
    let mut stored = BTreeMap::new();
    hub_export(at, &mut |child| {
        let ids = child["events"].as_array().unwrap().iter().map(|event| event["control_id"].as_str().unwrap().to_owned()).collect();
        assert!(stored.insert(child["child"].as_str().unwrap().to_owned(), ids).is_none());
        Ok(())
    })
    .unwrap();
    stored
}

const CHILDREN: usize = 20;
const ROUNDS: usize = 15;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_under_delivery_has_everything_once_and_in_order_when_it_is_back() {
    let data = tempfile::tempdir().unwrap();
    let server = waiting(|| {
        let server = Cluster::make("-c listen_addresses=''");
        server.start();
        Arc::new(server)
    })
    .await;
    let (made, connection) = (Arc::clone(&server), waiting);
    let connection = connection(move || made.database()).await;
    let settings = on_server(data.path(), "SE", &connection);
    let at = settings.hub_store("SE").unwrap();
    let running = Running::start(settings, Vec::new()).await.unwrap();
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for round in 0..ROUNDS {
        let server = Arc::clone(&server);
        match round {
            4 | 10 => waiting(move || server.crash()).await,
            6 | 11 => waiting(move || server.start()).await,
            _ => {}
        }
        for child in 0..CHILDREN {
            let at = format!("20260110{:02}{child:02}", 5 + round);
            let answer = line.exchange(person(&format!("C{child}N{round:03}"), child, &at, &format!("EXAMPLE{round}")).as_bytes()).await;
            assert_eq!(answer.code, "AA", "the sender does not notice");
        }
    }
    let account = settled(data.path()).await;
    assert_eq!((account.unaccounted, account.undelivered), (0, 0), "{account:?}");
    running.stop().await;
    let stored = waiting(move || stored(&at)).await;
    assert_eq!(stored.len(), CHILDREN);
    for ids in stored.values() {
        let child = ids[0].split('N').next().unwrap();
        let expected: Vec<String> = (0..ROUNDS).map(|round| format!("{child}N{round:03}")).collect();
        assert_eq!(*ids, expected);
    }
}

/// Kind, publisher, key and content of what stands; a key of our own says nothing.
type Standing = BTreeSet<(String, String, String, String)>;

fn in_ledger(reader: &LedgerReader, child: ChildId) -> Standing {
    let rows = reader.child(child).unwrap().unwrap().aggregates;
    rows.into_iter().filter(|row| !row.deleted).map(|row| named(row.kind, row.publisher, row.key, &row.content)).collect()
}

fn in_store(shown: &Value) -> Standing {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = shown["stands"].as_array().unwrap().iter();
    let rows = rows.filter(|row| !row["content"].as_object().unwrap().is_empty());
    rows.map(|row| named(text(row, "kind"), text(row, "publisher"), text(row, "key"), &row["content"])).collect()
}

fn named(kind: String, publisher: String, key: String, content: &Value) -> (String, String, String, String) {
    let key = if key.starts_with('@') { "@".to_owned() } else { key };
    (kind, publisher, key, content.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_all_samples_of_hospitals_what_stands_in_each_hubs_store_is_what_stands_in_the_ledger() {
    let data = tempfile::tempdir().unwrap();
    let connection = waiting(|| {
        let server = shared();
        let connection = server.database();
        (server, connection)
    });
    let (server, connection) = connection.await;
    let settings = on_server(data.path(), "SE", &connection);
    let stores: Vec<StoreAt> = ["NE", "NW", "SE", "SW"].iter().map(|hub| settings.hub_store(hub).unwrap()).collect();
    assert!(matches!(stores[2], StoreAt::Postgres(_)));
    let running = Running::start(settings, Vec::new()).await.unwrap();
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut samples: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    samples.retain(|path| path.extension().is_some_and(|extension| extension == "hl7"));
    samples.sort();
    for sample in &samples {
        line.exchange(std::fs::read_to_string(sample).unwrap().replace('\n', "\r").as_bytes()).await;
    }
    settled(data.path()).await;
    running.stop().await;
    let folder = data.path().to_owned();
    let (compared, pieces) = waiting(move || {
        let _server = server;
        commands_read(&folder, &connection, &stores[2]);
        let ledger = LedgerReader::open(&folder).unwrap();
        let (mut compared, mut pieces) = (0, 0);
        for at in &stores {
            let Ok(mut reader) = HubReader::open(at) else { continue };
            for (child, goes_on) in ledger.survey_children().unwrap() {
                let Some(shown) = reader.show(child).unwrap().filter(|shown| shown["role"] == "responsible" && goes_on.is_none()) else {
                    continue;
                };
                let expected = in_ledger(&ledger, child);
                assert_eq!(in_store(&shown), expected, "child {child} in {}", at.name());
                compared += 1;
                pieces += expected.len();
            }
        }
        (compared, pieces)
    })
    .await;
    assert!(4 <= compared && 20 <= pieces, "{compared} children with {pieces} pieces");
}

/// The commands read the store on the server as they read a file, and their reads stand in it.
fn commands_read(data: &Path, connection: &str, at: &StoreAt) {
    let file = data.join("chis-broker.toml");
    let store = format!("[[destination]]\nname = \"hub-se\"\nkind = \"store\"\nhub = \"SE\"\npostgres = \"{connection}\"\n");
    std::fs::write(&file, format!("allow_test_numbers = true\n[store]\ndata = \"{}\"\n{store}", data.display())).unwrap();
    let ask = |arguments: &str| {
        let asked = Command::new(env!("CARGO_BIN_EXE_chis-broker")).args(arguments.split(' ')).arg("--config").arg(&file).output().unwrap();
        assert_eq!(asked.status.code(), Some(0), "{arguments}: {}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8(asked.stdout).unwrap()
    };
    let lines = ask("hub export SE --reveal a-test");
    let children: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stored = stored(at);
    assert_eq!(
        children.iter().map(|child| child["child"].as_str().unwrap()).collect::<BTreeSet<_>>(),
        stored.keys().map(String::as_str).collect()
    );
    let (child, events) = stored.iter().max_by_key(|(_, events)| events.len()).unwrap();
    let shown: Value = serde_json::from_str(&ask(&format!("hub show SE {child} --json --reveal a-test"))).unwrap();
    assert!(events.len() as i64 <= shown["events"].as_i64().unwrap() && !shown["stands"].as_array().unwrap().is_empty());
    let timeline: Value = serde_json::from_str(&ask(&format!("hub timeline {child} --hub SE --json"))).unwrap();
    assert!(events.len() <= timeline.as_array().unwrap().len());
    let number = children.iter().find_map(|child| {
        child["record"]["identifiers"].as_array()?.iter().find(|id| id["system"].as_str().unwrap().ends_with("nhs-number"))
    });
    let found = ask(&format!("hub find SE --nhs-number {}", number.unwrap()["value"].as_str().unwrap()));
    assert_eq!(found.lines().count(), 2, "a head and one child: {found}");
    let caseload: Value = serde_json::from_str(&ask("hub caseload SE --json")).unwrap();
    let counted: i64 = caseload["lines"].as_array().unwrap().iter().map(|line| line["children"].as_i64().unwrap()).sum();
    assert!(0 < counted && counted <= children.len() as i64, "{caseload}");
    assert!(ask("hub uptake SE").lines().count() > 1);
    let reads: Value = serde_json::from_str(&ask("hub reads SE --json")).unwrap();
    let words: Vec<&str> = reads.as_array().unwrap().iter().rev().map(|read| read["what"].as_str().unwrap()).collect();
    assert_eq!(words, ["export", "show", "timeline", "find", "caseload", "uptake", "reads"]);
}
