//! Merges and renamings, seen from outside: which child a message lands on afterwards, and what is kept of the other.

use std::path::Path;

use chis_broker::broker::Operations;
use chis_broker::names::Seq;
use chis_broker::store::{LedgerReader, Trace, hub_export};
use serde_json::Value;

use crate::world::{Line, broker, settled};

/// A registration, or with `> PRIOR` after the identifiers a merge: `A28 A`, `A40 B > A`. Identifiers are numbers of RJ1, or
/// NHS numbers, verified. Everybody is the same child, born on 5 January 2026, and lives in SE; `@NE` moves it to NE.
fn message(number: usize, words: &str) -> String {
    let (person, prior) = words.split_once(" > ").map_or((words, None), |(person, prior)| (person, Some(prior)));
    let mut parts = person.split_whitespace();
    let event = parts.next().unwrap();
    let ids: Vec<&str> = parts.clone().filter(|word| !word.starts_with('@')).collect();
    let postcode = if person.contains("@NE") { "E8 4RP" } else { "SE1 9ZZ" };
    let cx = |id: &str| if id.starts_with("999") { format!("{id}^^^NHS^NH") } else { format!("{id}^^^RJ1^PI") };
    let list = |ids: &[&str]| ids.iter().map(|id| cx(id)).collect::<Vec<_>>().join("~");
    let status = if ids.iter().any(|id| id.starts_with("999")) { "NSTS01" } else { "NSTS07" };
    let at = format!("202602{:02}100000", number + 1);
    let mrg = prior.map_or(String::new(), |prior| format!("MRG|{}\r", list(&prior.split_whitespace().collect::<Vec<_>>())));
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|{at}||ADT^{event}|N{number}|P|2.4|||||GBR|UNICODE UTF-8\rEVN||{at}||||{at}\r\
         PID|1||{}||EXAMPLE^AMARA^^^^^L||20260105|2|||10 TEST STREET^^LONDON^^{postcode}^GBR^H|||||||||||||||||||||{status}\r{mrg}",
        list(&ids)
    )
}

/// Sends the messages one after the other and gives what became of each.
async fn told(data: &Path, messages: &[&str]) -> Vec<Trace> {
    let running = broker(data).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for (number, words) in messages.iter().enumerate() {
        assert_eq!(line.exchange(message(number, words).as_bytes()).await.code, "AA", "{words}");
    }
    let account = settled(data).await;
    assert_eq!((account.unaccounted, account.unaccounted_debts, account.undelivered), (0, 0, 0), "{messages:?}");
    assert_eq!(running.stop().await, 0);
    let reader = LedgerReader::open(data).unwrap();
    (1..=messages.len()).map(|seq| reader.trace(Seq(seq as i64)).unwrap().unwrap()).collect()
}

/// Which children the messages were filed under, by letters in the order of their appearance; held ones by their reason.
fn filed(traces: &[Trace]) -> String {
    let mut known: Vec<&str> = Vec::new();
    let mut words = Vec::new();
    for trace in traces {
        let mut word = String::new();
        for event in &trace.events {
            let place = known.iter().position(|child| *child == event.child).unwrap_or(known.len());
            if place == known.len() {
                known.push(&event.child);
            }
            word.push(char::from(b'a' + place as u8));
        }
        words.push(if word.is_empty() { trace.entry.reason.clone() } else { word });
    }
    words.join(" ")
}

#[track_caller]
fn identifiers(data: &Path, value: &str) -> String {
    let reader = LedgerReader::open(data).unwrap();
    let children = reader.children_by_identifier(value).unwrap();
    assert_eq!(children.len(), 1, "{value}");
    let record = reader.child(children[0]).unwrap().unwrap().record;
    let word = |id: &Value| format!("{} {}", id["value"].as_str().unwrap(), id["use"].as_str().unwrap());
    record["identifiers"].as_array().unwrap().iter().map(word).collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_with_a_number_that_nobody_has_lets_late_messages_on_it_land_on_the_survivor() {
    let data = tempfile::tempdir().unwrap();
    let traces = told(data.path(), &["A28 B", "A40 B > A", "A31 A", "A31 A B"]).await;
    assert_eq!(filed(&traces), "a a a a");
    assert_eq!(identifiers(data.path(), "A"), "B current, A superseded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_known_children_become_one_both_hubs_know_and_nothing_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let traces = told(data.path(), &["A28 B @NE", "A28 A", "A40 B @NE > A", "A31 A @NE", "A31 B @NE"]).await;
    assert_eq!(filed(&traces), "a b ab a a");
    assert_eq!(identifiers(data.path(), "A"), "B current, A superseded");
    let (survivor, gone) = (traces[0].events[0].child.clone(), traces[1].events[0].child.clone());
    // The other's row stays with its identifiers and its events, and sends on.
    let reader = LedgerReader::open(data.path()).unwrap();
    let view = |child: &str| reader.child(chis_broker::names::ChildId(child.parse().unwrap())).unwrap().unwrap();
    let other = view(&gone);
    assert_eq!((other.record["status"].as_str(), other.record["merged_into"].as_str()), (Some("merged"), Some(survivor.as_str())));
    assert_eq!(other.record["identifiers"].as_array().unwrap().len(), 1);
    assert_eq!(other.events.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2, 3]);
    // From the survivor the whole story is found, each event under the child it was filed for.
    let story: Vec<(i64, bool)> = view(&survivor).events.iter().map(|(seq, event)| (*seq, event.child == survivor)).collect();
    assert_eq!(story, [(1, true), (2, false), (3, true), (3, false), (4, true), (5, true)]);
    // The hub of each child has both: the one that is gone, and the one that goes on.
    for hub in ["ne", "se"] {
        let mut seen = Vec::new();
        hub_export(data.path().join(format!("hub-{hub}.db")), &mut |child| {
            seen.push((child["child"] == survivor.as_str(), child["record"]["status"].as_str().unwrap().to_owned()));
            Ok(())
        })
        .unwrap();
        seen.sort();
        assert_eq!(seen, [(false, "merged".to_owned()), (true, "provisional".to_owned())], "{hub}");
    }
    let told: Vec<&str> = traces[2].debts.iter().map(|debt| debt.destination.as_str()).collect();
    assert_eq!(told, ["hub-ne", "hub-se", "hub-se", "hub-ne"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_of_the_child_that_is_gone_is_corrected_on_the_survivor() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let result = |control: &str, at: &str, id: &str, code: &str| {
        format!(
            "MSH|^~\\&|NBSLIMS|RP4|CHIS|LONDON|{at}||ORU^R01^ORU_R01|{control}|P|2.5.1\r\
             PID|1||{id}^^^RJ1^PI||EXAMPLE^AMARA||20260105|2\r\
             OBR|1|CARD1|26N1^RP4|NBS|||20260110|||||||20260112||||||||{at}|||F\r\
             OBX|1|CWE|314081000^PKU^SCT||{code}^X^NBS||||||F|||{at}\r"
        )
    };
    let messages = [
        message(0, "A28 B"),
        message(1, "A28 A"),
        result("R1", "20260203", "A", "03"),
        message(3, "A40 B > A"),
        result("R2", "20260206", "B", "04"),
    ];
    for message in &messages {
        assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
    }
    settled(data.path()).await;
    assert_eq!(running.stop().await, 0);
    let reader = LedgerReader::open(data.path()).unwrap();
    let traces: Vec<Trace> = (1..=5).map(|seq| reader.trace(Seq(seq)).unwrap().unwrap()).collect();
    assert_eq!(filed(&traces), "a b b ab a", "{:?}", traces[4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_children_with_verified_numbers_of_their_own_are_held_and_stay_two() {
    let data = tempfile::tempdir().unwrap();
    let traces = told(data.path(), &["A28 B 9990000026", "A28 A 9990000077", "A40 B > A", "A31 A 9990000077", "A31 B 9990000026"]).await;
    assert_eq!(filed(&traces), "a b identity-conflict b a");
    let text = traces[2].findings[0]["text"].as_str().unwrap();
    assert!(text.contains("both records have a verified NHS number"), "{text}");
    assert!(traces[2].debts.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_comes_before_its_registrations_makes_one_child_of_them() {
    let data = tempfile::tempdir().unwrap();
    let traces = told(data.path(), &["A40 B > A", "A28 A", "A28 B 9990000026", "A31 A"]).await;
    assert_eq!(filed(&traces), "a a a a");
    assert_eq!(identifiers(data.path(), "A"), "9990000026 current, B current, A superseded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_merges_ends_at_its_last_child_in_whatever_order_it_comes() {
    for (messages, expected) in [
        (["A28 A", "A28 B", "A28 C", "A40 B > A", "A40 C > B", "A31 A"], "a b c ba cb c"),
        (["A28 A", "A28 B", "A28 C", "A40 C > B", "A40 B > A", "A31 A"], "a b c cb ca c"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let traces = told(data.path(), &messages).await;
        assert_eq!(filed(&traces), expected, "{messages:?}");
        assert_eq!(identifiers(data.path(), "A"), "C current, A superseded, B superseded", "{messages:?}");
        // The first of the chain points at its end, not at the next.
        let reader = LedgerReader::open(data.path()).unwrap();
        let (first, last) = (&traces[0].events[0].child, &traces[2].events[0].child);
        let record = reader.child(chis_broker::names::ChildId(first.parse().unwrap())).unwrap().unwrap().record;
        assert_eq!(record["merged_into"].as_str(), Some(last.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_that_would_go_round_in_a_circle_are_held() {
    let data = tempfile::tempdir().unwrap();
    let traces = told(data.path(), &["A28 A", "A28 B", "A40 B > A", "A40 A > B", "A40 C > B", "A40 A > C", "A31 A"]).await;
    assert_eq!(filed(&traces), "a b ba identity-conflict b identity-conflict b");
    assert!(traces[3].findings[0]["text"].as_str().unwrap().contains("in a circle"));
    assert_eq!(identifiers(data.path(), "A"), "C current, A superseded, B superseded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renaming_keeps_both_numbers_and_one_to_a_number_of_another_child_is_held() {
    let data = tempfile::tempdir().unwrap();
    let traces = told(data.path(), &["A28 A", "A28 B", "A47 C > A", "A47 B > C", "A31 A", "A31 C", "A31 B"]).await;
    assert_eq!(filed(&traces), "a b a identity-conflict a a b");
    assert_eq!(identifiers(data.path(), "A"), "C current, A superseded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_of_two_birthdays_is_held_and_released_without_mending_it_is_held_again() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let messages = [message(0, "A28 B"), message(1, "A28 A").replace("|20260105|", "|20260106|"), message(2, "A40 B > A")];
    for message in &messages {
        line.exchange(message.as_bytes()).await;
    }
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.trace(Seq(3)).unwrap().unwrap().entry.reason, "identity-mismatch");
    let operations = running.operations();
    tokio::task::spawn_blocking(move || operations.release(Seq(3), "looked at it").unwrap()).await.unwrap();
    assert_eq!(reader.trace(Seq(3)).unwrap().unwrap().entry.reason, "identity-mismatch", "nothing was mended");
    assert_eq!(running.stop().await, 0);
}
