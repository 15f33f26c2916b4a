//! The way of one message, seen from outside.

use chis_broker::broker::Operations;
use chis_broker::journal::Standing;
use chis_broker::names::Seq;
use chis_broker::store::{LedgerReader, hub_export};

use crate::world::{Line, broker, nhs_number, person, sample, settled};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_known_as_a_mothers_is_not_taken_for_a_babys() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let birth = sample("02-term-baby-a01-birth.hl7");
    line.exchange(birth.as_bytes()).await;
    // Another baby, without PID-21, to which the hospital gave the mother's NHS number.
    let other: Vec<String> = birth
        .split('\r')
        .map(|segment| match segment.split_once('|') {
            Some(("MSH", _)) => segment.replace("MAT0000002", "OTHER"),
            Some(("PID", _)) => {
                let mut fields: Vec<&str> = segment.split('|').collect();
                fields[3] = "9990000018^^^NHS^NH";
                fields[21] = "";
                fields.join("|")
            }
            _ => segment.to_owned(),
        })
        .filter(|segment| !segment.starts_with("NK1"))
        .collect();
    assert_eq!(line.exchange(other.join("\r").as_bytes()).await.code, "AA");
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.standing(Seq(1)).unwrap(), Some(Standing::Filed));
    let trace = reader.trace(Seq(2)).unwrap().unwrap();
    assert_eq!((trace.entry.standing.as_str(), trace.entry.reason.as_str()), ("held", "identity-conflict"), "{trace:?}");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_under_the_same_accession_of_another_child_is_held_and_hides_nothing() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for name in ["02-term-baby-a01-birth.hl7", "06-twin-two-a01-birth.hl7", "14-term-baby-oru-normal.hl7"] {
        assert_eq!(line.exchange(sample(name).as_bytes()).await.code, "AA");
    }
    let normal = sample("14-term-baby-oru-normal.hl7");
    let accession = normal.split('\r').find(|segment| segment.starts_with("OBR")).unwrap().split('|').nth(3).unwrap().to_owned();
    let suspected = sample("15-twin-two-oru-suspected.hl7");
    let other = suspected.split('\r').find(|segment| segment.starts_with("OBR")).unwrap().split('|').nth(3).unwrap().to_owned();
    line.exchange(suspected.replace(&other, &accession).as_bytes()).await;
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.standing(Seq(3)).unwrap(), Some(Standing::Filed));
    let trace = reader.trace(Seq(4)).unwrap().unwrap();
    assert_eq!((trace.entry.standing.as_str(), trace.entry.reason.as_str()), ("held", "identity-conflict"), "{trace:?}");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_read_by_the_delimiters_it_names_and_answered_with_them() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let standard = person("A1", 1, "20260106101500", "EXAMPLE");
    // The fifth character of 2.7, and a sender whose MSH names others altogether.
    let truncating = person("A2", 1, "20260106111500", "EXAMPLE").replace("|^~\\&|", "|^~\\&#|").replace("|2.4|", "|2.7|");
    let strange = person("A3", 1, "20260106121500", "EXAMPLE").replace('|', "!").replace('^', "%").replace('~', "*");
    for (message, control_id) in [(standard, "A1"), (truncating, "A2"), (strange, "A3")] {
        let answer = line.exchange(message.as_bytes()).await;
        assert_eq!((answer.code.as_str(), answer.control_id.as_str()), ("AA", control_id));
        assert_eq!(answer.whole[3..8], message[3..8]);
    }
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    let child = |seq: i64| reader.trace(Seq(seq)).unwrap().unwrap().events[0].child.clone();
    assert_eq!((child(2), child(3)), (child(1), child(1)));
    assert_eq!(running.stop().await, 0);
}
