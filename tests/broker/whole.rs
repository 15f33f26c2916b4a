//! The way of one message, seen from outside.

use chis_broker::broker::Operations;
use chis_broker::journal::Standing;
use chis_broker::names::Seq;
use chis_broker::store::{LedgerReader, hub_export};

use crate::world::{Line, broker, nhs_number, person, settled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hospitals_message_reaches_the_store_of_the_responsible_hub_and_no_other() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let answer = line.exchange(person("A1", 1, "20260106101500", "EXAMPLE").as_bytes()).await;
    assert_eq!((answer.code.as_str(), answer.control_id.as_str()), ("AA", "A1"));
    let account = settled(data.path()).await;
    assert_eq!((account.undelivered, account.lines[0].filed, account.lines[0].delivered), (0, 1, 1));
    for (hub, children) in [("se", 1), ("ne", 0), ("nw", 0), ("sw", 0)] {
        let mut seen = 0;
        let file = data.path().join(format!("hub-{hub}.db"));
        hub_export(&file, &mut |child| {
            assert_eq!(child["record"]["identifiers"][0]["value"], nhs_number(1));
            assert_eq!(child["events"][0]["control_id"], "A1");
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, children, "{hub}");
    }
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_message_again_is_answered_the_same_and_has_no_second_effect_even_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let message = person("A1", 1, "20260106101500", "EXAMPLE");
    for round in 0..3 {
        let running = broker(data.path()).await;
        let mut line = Line::open(running.addresses.mllp[0]).await;
        assert_eq!(line.exchange(message.as_bytes()).await.code, "AA", "round {round}");
        settled(data.path()).await;
        assert_eq!(running.stop().await, 0);
    }
    let account = settled(data.path()).await;
    let line = &account.lines[0];
    assert_eq!((line.received, line.filed, line.duplicate, line.delivered), (3, 1, 2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_belongs_to_a_child_with_another_birthday_is_held_and_never_filed() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    line.exchange(person("A1", 1, "20260106101500", "EXAMPLE").as_bytes()).await;
    let other = person("A2", 1, "20260107101500", "OTHER").replace("||20260105|", "||20240203|");
    assert_eq!(line.exchange(other.as_bytes()).await.code, "AA", "a resend could not mend it");
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.standing(Seq(2)).unwrap(), Some(Standing::Held));
    let trace = reader.trace(Seq(2)).unwrap().unwrap();
    assert_eq!(trace.entry.reason, "identity-mismatch");
    assert!(trace.events.is_empty() && trace.debts.is_empty());
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_message_is_filed_when_a_person_releases_it_after_the_cause_is_mended() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let unknown_sex = person("A1", 1, "20260106101500", "EXAMPLE").replace("||20260105|2|", "||20260105|Q|");
    line.exchange(unknown_sex.as_bytes()).await;
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.standing(Seq(1)).unwrap(), Some(Standing::Held), "{:?}", reader.trace(Seq(1)));
    // Nothing was mended yet: it is read again and held again.
    let operations = running.operations();
    tokio::task::spawn_blocking(move || operations.release(Seq(1), "looked at it").unwrap()).await.unwrap();
    assert_eq!(reader.standing(Seq(1)).unwrap(), Some(Standing::Held));
    let operations = running.operations();
    let unknown = tokio::task::spawn_blocking(move || operations.release(Seq(7), "no such entry").unwrap_err()).await.unwrap();
    assert_eq!(unknown.exit, 66);
    assert_eq!(running.stop().await, 0);
}
