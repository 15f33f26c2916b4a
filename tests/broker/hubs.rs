//! A child that moves: each hub's store has what it must have, once, whatever happens in between.

use std::collections::BTreeMap;
use std::path::Path;

use chis_broker::store::{LedgerReader, hub_export};
use serde_json::Value;

use crate::world::{Line, broker, nhs_number, settled};

/// Where a child lives and is registered: postcode and practice of a hub, or of nobody's.
fn place(hub: &str) -> (&'static str, &'static str) {
    match hub {
        "NE" => ("E8 4RP", "F84001"),
        "SW" => ("SW18 4RP", "H85001"),
        "SE" => ("SE1 9ZZ", "G85001"),
        _ => ("EX2 5SE", "L83001"),
    }
}

/// An ADT^A28 that says where the child lives at a moment.
pub fn lives(control_id: &str, child: usize, at: &str, hub: &str) -> String {
    let (postcode, practice) = place(hub);
    let nhs = nhs_number(child);
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|{at}||ADT^A28^ADT_A05|{control_id}|P|2.4|||||GBR|UNICODE UTF-8\rEVN||{at}||||{at}\r\
         PID|1||{nhs}^^^NHS^NH~L{child}^^^RJ122^MR||EXAMPLE^GIVEN^^^^^L||20260105|2|||10 TEST STREET^^LONDON^^{postcode}^GBR^H|||||||||||||||||||||NSTS01\r\
         PD1|||TEST SURGERY^^{practice}\r"
    )
}

/// The children of a hub's store, by the value of the first NHS number.
pub fn store(data: &Path, hub: &str) -> BTreeMap<String, Value> {
    let mut children = BTreeMap::new();
    hub_export(&data.join(format!("hub-{}.db", hub.to_lowercase())), &mut |child| {
        let number = child["record"]["identifiers"][0]["value"].as_str().unwrap_or_default().to_owned();
        assert!(children.insert(number, child).is_none(), "a child stands once in a store");
        Ok(())
    })
    .unwrap();
    children
}

/// Control ids of a child's events in a store, in order.
pub fn events(child: &Value) -> Vec<String> {
    child["events"].as_array().unwrap().iter().map(|event| event["control_id"].as_str().unwrap().to_owned()).collect()
}

fn ways(child: &Value) -> Vec<String> {
    let one = |transfer: &Value| {
        let part = |key: &str| transfer[key].as_str().unwrap().to_owned();
        format!("{} {}>{}", part("way"), part("from"), part("to"))
    };
    child["transfers"].as_array().unwrap().iter().map(one).collect()
}

/// A review of a child of [`lives`].
fn measured(control_id: &str, child: usize) -> String {
    crate::world::sample("37-term-baby-oru-review.hl7")
        .replace("REV0000037", control_id)
        .replace("9990000026", &nhs_number(child))
        .replace("EXAMPLE^BABY", "EXAMPLE^GIVEN")
        .replace("10 TEST STREET^^LONDON^^SE1 9ZZ^GBR^H", "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_moves_through_the_hubs_and_out_and_back_is_in_the_responsible_store_with_everything_once() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let mut send = async |message: String| assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
    let number = nhs_number(1);

    send(lives("A1", 1, "20260106101500", "NE")).await;
    send(measured("R1", 1)).await;
    settled(data.path()).await;
    let held = LedgerReader::open(data.path()).unwrap().held().unwrap();
    assert!(held.is_empty(), "{held:?}");
    assert_eq!(events(&store(data.path(), "NE")[&number]), ["A1", "R1"]);

    send(lives("A2", 1, "20260206101500", "SW")).await;
    settled(data.path()).await;
    let (north, south) = (&store(data.path(), "NE")[&number], &store(data.path(), "SW")[&number]);
    assert_eq!((ways(north), north["role"].as_str()), (vec!["transfer_out NE>SW".to_owned()], Some("former")));
    assert_eq!((ways(south), south["role"].as_str()), (vec!["transfer_in NE>SW".to_owned()], Some("responsible")));
    assert_eq!(events(south), ["A1", "R1", "A2"], "what was before comes too, once and in order");
    let snapshot = south["transfers"][0]["snapshot"].as_array().unwrap();
    assert!(snapshot.iter().any(|item| item["kind"] == "review" && item["content"]["reviews"].is_array()), "{snapshot:?}");
    let review = |child: &Value| child["events"].as_array().unwrap().iter().find(|event| event["kind"] == "review").cloned();
    assert_eq!(review(north).map(|event| event["statement"].clone()), review(south).map(|event| event["statement"].clone()));

    send(lives("A3", 1, "20260306101500", "OUT")).await;
    settled(data.path()).await;
    let south = &store(data.path(), "SW")[&number];
    assert_eq!(ways(south), ["transfer_in NE>SW", "transfer_out SW>OUT"]);
    assert_eq!((south["role"].as_str(), south["record"]["status"].as_str()), (Some("interested"), Some("moved_out")));
    assert_eq!(events(south), ["A1", "R1", "A2", "A3"], "the last hub is told, and goes on being told");
    assert_eq!(events(&store(data.path(), "NE")[&number]), ["A1", "R1", "A2"], "what it left long ago is history");

    send(lives("A4", 1, "20260406101500", "NE")).await;
    settled(data.path()).await;
    let (north, south) = (&store(data.path(), "NE")[&number], &store(data.path(), "SW")[&number]);
    assert_eq!(events(north), ["A1", "R1", "A2", "A3", "A4"], "what came in between too");
    assert_eq!(north["role"].as_str(), Some("responsible"));
    assert_eq!((south["role"].as_str(), ways(south).last().cloned()), (Some("former"), Some("copy_out OUT>NE".to_owned())));
    assert_eq!(store(data.path(), "SE").len() + store(data.path(), "NW").len(), 0);

    let reader = LedgerReader::open(data.path()).unwrap();
    let child = reader.children_by_identifier(&number).unwrap()[0];
    let history = reader.hub_history(child).unwrap();
    let periods: Vec<String> = history.iter().map(|one| format!("{} {} {}", one.hub, one.basis, one.seq)).collect();
    assert_eq!(periods, ["NE gp 1", "SW gp 3", "OUT gp 4", "NE gp 5"]);
    assert_eq!(history[0].from, "2026-01-06T10:15:00Z");
    assert_eq!((history[0].to.as_ref(), history[3].to.as_ref()), (Some(&history[1].from), None));
    let account = reader.reconcile(None, None).unwrap();
    assert_eq!((account.unaccounted, account.undelivered, account.unaccounted_debts), (0, 0, 0));
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_late_moves_no_child_back_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for message in [lives("A1", 1, "20260106101500", "NE"), lives("A3", 1, "20260306101500", "SW"), lives("A2", 1, "20260206101500", "SE")]
    {
        assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
    }
    settled(data.path()).await;
    assert!(store(data.path(), "SE").is_empty());
    assert_eq!(events(&store(data.path(), "SW")[&nhs_number(1)]), ["A1", "A3", "A2"]);
    let trace = LedgerReader::open(data.path()).unwrap().trace(chis_broker::names::Seq(3)).unwrap().unwrap();
    assert!(trace.findings.as_array().unwrap().iter().any(|finding| finding["code"] == "late-for-hub"), "{:?}", trace.findings);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_hidden_child_went_only_its_new_hub_is_told() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let hidden = lives("A2", 1, "20260206101500", "SW").replace("TEST SURGERY^^H85001", "TEST SURGERY^^H85001|||||||||Y");
    for message in [lives("A1", 1, "20260106101500", "NE"), hidden] {
        assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
    }
    settled(data.path()).await;
    let (north, south) = (&store(data.path(), "NE")[&nhs_number(1)], &store(data.path(), "SW")[&nhs_number(1)]);
    assert_eq!(south["record"]["flags"]["local_hiding"], true, "the test means a hidden child");
    assert_eq!((events(north), ways(north)), (vec!["A1".to_owned()], vec!["transfer_out NE>".to_owned()]));
    assert!(!north.to_string().contains("SW18"), "the address it left for is in no store but its own hub's");
    assert_eq!((events(south), south["role"].as_str()), (vec!["A1".to_owned(), "A2".to_owned()], Some("responsible")));
    assert_eq!(running.stop().await, 0);
}
