//! HTTP: FHIR messages and HL7 v2, what is refused how, and what must never be held in memory.

use std::io::Write;
use std::time::Duration;

use chis_broker::intake::Patience;
use chis_broker::journal::{JournalError, Standing};
use chis_broker::names::Format;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::net::TcpStream;

use crate::doors::{Doors, Reply, Wishes, a28, open, raw_request, request, short, try_open};
use crate::journal::MemoryJournal;

const PLAIN: &str = r#"
    [[intake.http]]
    listen = "127.0.0.1:0"
    body_bytes_max = 100000

    [[source]]
    name = "nems"
    peers = ["127.0.0.1"]
"#;
const STU3: &str = "POST /fhir/stu3/$process-message";
const R4: &str = "POST /fhir/r4/$process-message";
const JSON: (&str, &str) = ("content-type", "application/fhir+json");
const XML: (&str, &str) = ("content-type", "application/fhir+xml; charset=utf-8");

fn birth_json(id: &str) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"message","entry":[{{"fullUrl":"urn:uuid:{id}","resource":{{"resourceType":"MessageHeader",
        "id":"{id}","event":{{"system":"https://fhir.nhs.uk/STU3/CodeSystem/EventType-1","code":"pds-birth-notification-1"}}}}}}]}}"#
    )
}

fn birth_xml(id: &str) -> String {
    format!(
        r#"<Bundle xmlns="http://hl7.org/fhir"><type value="message"/><entry><fullUrl value="urn:uuid:{id}"/><resource><MessageHeader><id value="{id}"/>
        <event><system value="https://fhir.nhs.uk/STU3/CodeSystem/EventType-1"/><code value="pds-birth-notification-1"/></event>
        </MessageHeader></resource></entry></Bundle>"#
    )
}

impl Doors {
    async fn post(&self, line: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let stream = TcpStream::connect(self.http()).await.unwrap();
        request(stream, line, headers, body.as_ref()).await
    }
}

fn pack(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_message_in_json_or_xml_is_kept_as_it_came_and_answered_in_kind() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let json = doors.post(STU3, &[JSON], birth_json("a1")).await;
    assert_eq!(json.status, 200, "{json:?}");
    assert!(json.head.contains("content-type: application/fhir+json"), "{json:?}");
    assert!(
        json.body.contains("OperationOutcome") && json.body.contains("information") && json.body.contains("kept as entry 1"),
        "{json:?}"
    );

    let xml = doors.post(STU3, &[XML], birth_xml("a2")).await;
    assert_eq!(xml.status, 200, "{xml:?}");
    assert!(xml.body.contains("<OperationOutcome") && xml.head.contains("content-type: application/fhir+xml"), "{xml:?}");
    let asked = doors.post(STU3, &[XML, ("accept", "application/fhir+json")], birth_xml("a2")).await;
    assert!(asked.body.contains("kept as entry 2"), "the same message again hears of the first one: {asked:?}");

    let kept = journal.kept();
    assert_eq!([kept[0].format, kept[1].format], [Format::Stu3Json, Format::Stu3Xml]);
    assert_eq!([&*kept[0].kind, &*kept[0].control_id, kept[0].source.as_str()], ["pds-birth-notification-1", "a1", "nems"]);
    assert_eq!(kept[0].body, birth_json("a1"));
    assert_eq!(kept[1].body, birth_xml("a2"));
    doors.close().await;
}

#[tokio::test]
async fn an_r4_message_names_its_event_otherwise() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let body = birth_json("r1").replace("\"event\"", "\"eventCoding\"");
    assert_eq!(doors.post(R4, &[JSON], body).await.status, 200);
    assert_eq!(journal.kept()[0].format, Format::R4Json);
    doors.close().await;
}

const RESOURCES: &str = "POST /fhir/r4";

fn resources(kind: &str, entries: &str) -> String {
    format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{entries}]}}"#)
}

#[tokio::test]
async fn a_transaction_that_is_kept_is_answered_entry_by_entry_and_a_collection_by_an_outcome() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let entry = r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#;
    let two = format!("{entry},{entry}");
    let reply = doors.post(RESOURCES, &[JSON], resources("transaction", &two)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&answer["resourceType"], &answer["type"]), (&"Bundle".into(), &"transaction-response".into()));
    assert_eq!(answer["entry"].as_array().unwrap().len(), 2, "one for each entry");
    let response = &answer["entry"][1]["response"];
    assert_eq!(response["status"], "202 Accepted");
    assert_eq!(response["outcome"]["resourceType"], "OperationOutcome");
    assert_eq!(response["outcome"]["issue"][0]["details"]["text"], "kept as entry 1");

    let xml = r#"<Bundle xmlns="http://hl7.org/fhir"><type value="batch"/><entry><resource><Patient/></resource></entry></Bundle>"#;
    let reply = doors.post(RESOURCES, &[XML], xml).await;
    assert!(reply.status == 200 && reply.head.contains("content-type: application/fhir+xml"), "{reply:?}");
    let said = r#"<type value="batch-response"/><entry><response><status value="202 Accepted"/><outcome><OperationOutcome><issue>"#;
    assert!(reply.body.contains(said) && reply.body.trim_end().ends_with("</entry></Bundle>"), "{reply:?}");

    let reply = doors.post(RESOURCES, &[JSON], resources("collection", entry)).await;
    assert!(reply.status == 200 && reply.body.contains(r#""resourceType":"OperationOutcome""#), "{reply:?}");
    let kept = journal.kept();
    assert_eq!([&*kept[0].kind, &*kept[1].kind, &*kept[2].kind], ["transaction", "batch", "collection"]);
    assert_eq!([kept[0].format, kept[1].format], [Format::R4Json, Format::R4Xml]);
    doors.close().await;
}

#[tokio::test]
async fn what_has_no_id_is_known_again_by_its_bytes_and_never_called_by_the_number_of_a_patient() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let entry = r#"{"resource":{"resourceType":"Patient","id":"9990000026"}}"#;
    let named = resources("batch", entry).replace(r#""type""#, r#""identifier":{"value":"b-1"},"type""#);
    let one = r#"{"resourceType":"Patient","id":"9990000026"}"#;
    for (line, body) in [
        (RESOURCES, resources("batch", entry)),
        (RESOURCES, named),
        ("POST /fhir/r4/Patient", one.into()),
        ("PUT /fhir/r4/Patient/9990000026", one.into()),
    ] {
        assert_eq!(doors.post(line, &[JSON], body).await.status, 200, "{line}");
    }
    let ids: Vec<String> = journal.kept().iter().map(|kept| kept.control_id.clone()).collect();
    assert_eq!(ids[1], "b-1");
    assert!(ids[0].starts_with("sha256-") && ids[0] != ids[2], "{ids:?}");
    assert_eq!(ids[2], ids[3], "the same bytes have the same name");
    assert!(ids.iter().all(|id| !id.contains("9990000026")), "{ids:?}");
    assert_eq!(journal.kept()[2].kind, "Patient");
    doors.close().await;
}

#[tokio::test]
async fn what_the_r4_door_will_never_do_is_refused_with_the_place() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let patient = r#"{"resourceType":"Patient","id":"1"}"#;
    let many = |count: usize| resources("batch", &vec![r#"{"resource":{"resourceType":"Task"}}"#; count].join(","));
    let asked =
        |method: &str| resources("transaction", &format!(r#"{{"resource":{patient},"request":{{"method":"{method}","url":"Patient"}}}}"#));
    let read: [(&str, &str, String, u16, &str); 14] = [
        ("POST", RESOURCES, asked("POST"), 200, ""),
        ("PUT", RESOURCES, asked("PUT"), 200, ""),
        ("a read", RESOURCES, asked("GET"), 422, "Bundle.entry[0].request.method"),
        ("a deletion", RESOURCES, asked("DELETE"), 422, "Bundle.entry[0].request.method"),
        ("no resource", RESOURCES, resources("batch", r#"{"fullUrl":"urn:uuid:a"}"#), 422, "Bundle.entry[0].resource"),
        ("no entry", RESOURCES, resources("batch", ""), 422, "Bundle.entry"),
        ("as many as are taken", RESOURCES, many(1_000), 200, ""),
        ("one more", RESOURCES, many(1_001), 422, "Bundle.entry"),
        ("a message", RESOURCES, birth_json("1"), 422, "Bundle.type"),
        ("a searchset", RESOURCES, resources("searchset", ""), 422, "Bundle.type"),
        ("not JSON", RESOURCES, "{".into(), 400, "line 1, column 2"),
        ("a Patient as a Task", "POST /fhir/r4/Task", patient.into(), 422, "Task"),
        ("a Bundle as a Task", "POST /fhir/r4/Task", resources("batch", ""), 422, "Task"),
        ("another id", "PUT /fhir/r4/Patient/2", patient.into(), 422, "Patient.id"),
    ];
    for (what, line, body, status, place) in read {
        let reply = doors.post(line, &[JSON], body).await;
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert!(reply.body.contains(place), "{what}: {reply:?}");
    }
    for (line, status) in
        [("POST /fhir/r4/Account", 404), ("GET /fhir/r4/Patient/1", 405), ("PUT /fhir/r4/Patient", 405), ("GET /fhir/r4", 405)]
    {
        assert_eq!(doors.post(line, &[JSON], patient).await.status, status, "{line}");
    }
    doors.close().await;
}

/// What is wrong, media type, body; status and a place that the answer names.
type ReadCase = (&'static str, (&'static str, &'static str), String, u16, &'static str);
/// What is wrong, request line, headers, body; status.
type UnreadCase = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, u16);

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_its_status_and_kept_where_it_was_read() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bomb = r#"<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Bundle xmlns="http://hl7.org/fhir"><id value="&b;"/></Bundle>"#;
    let read: [ReadCase; 8] = [
        ("not JSON", JSON, "{".into(), 400, ""),
        ("10,000 deep", JSON, deep, 400, ""),
        ("entities", XML, bomb.into(), 400, ""),
        ("no Bundle", JSON, r#"{"resourceType":"Patient"}"#.into(), 422, "Bundle"),
        ("no message", JSON, birth_json("1").replace("message", "transaction"), 422, "Bundle.type"),
        ("no header first", JSON, birth_json("1").replace("MessageHeader", "Patient"), 422, "Bundle.entry[0].resource"),
        ("no event", JSON, birth_json("1").replace("\"event\"", "\"other\""), 422, "Bundle.entry[0].resource.event"),
        ("no id", JSON, birth_json("1").replace("\"id\"", "\"ident\""), 422, "Bundle.entry[0].resource.id"),
    ];
    let count = read.len();
    for (what, media_type, body, status, place) in read {
        let reply = doors.post(STU3, &[media_type], body).await;
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert!(reply.body.contains("OperationOutcome") && reply.body.contains("error") && reply.body.contains(place), "{what}: {reply:?}");
    }
    let kept = journal.admissions();
    assert_eq!(kept.len(), count);
    assert!(kept.iter().all(|entry| entry.contains("refused 4")), "{kept:?}");

    let unread: [UnreadCase; 9] = [
        ("GET", "GET /fhir/stu3/$process-message", &[JSON], "", 405),
        ("path", "POST /fhir/stu3/Patient", &[JSON], "{}", 404),
        ("media type", STU3, &[("content-type", "text/plain")], "{}", 415),
        ("no media type", STU3, &[], "{}", 415),
        ("charset", STU3, &[("content-type", "application/json; charset=utf-16")], "{}", 415),
        ("version", STU3, &[("content-type", "application/fhir+json; fhirVersion=4.0")], "{}", 400),
        ("coding", STU3, &[JSON, ("content-encoding", "br")], "{}", 415),
        ("two codings", STU3, &[JSON, ("content-encoding", "gzip, gzip")], "{}", 415),
        ("not gzip", STU3, &[JSON, ("content-encoding", "gzip")], "{}", 400),
    ];
    for (what, line, headers, body, status) in unread {
        let reply = doors.post(line, headers, body).await;
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert!(reply.body.contains("OperationOutcome"), "{what}: {reply:?}");
    }
    assert_eq!(journal.kept().len(), count, "what was not read is not kept");
    doors.close().await;
}

#[tokio::test]
async fn a_method_that_is_not_answered_hears_which_is() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    assert!(doors.post("PUT /hl7v2", &[JSON], "").await.head.contains("allow: post"));
    doors.close().await;
}

#[tokio::test]
async fn a_packed_body_is_unpacked_once_and_a_bomb_is_not() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let gzip = ("content-encoding", "gzip");
    assert_eq!(doors.post(STU3, &[JSON, gzip], pack(birth_json("z1").as_bytes())).await.status, 200);
    assert_eq!(journal.kept()[0].body, birth_json("z1"), "kept unpacked");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..40 {
        encoder.write_all(&[b' '; 1_000_000]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 50_000, "40 MB of nothing in {} bytes", bomb.len());
    assert_eq!(doors.post(STU3, &[JSON, gzip], bomb).await.status, 413);
    let twice = pack(&pack(birth_json("z2").as_bytes()));
    assert_eq!(doors.post(STU3, &[JSON, gzip], twice).await.status, 400, "the second layer is no JSON");
    doors.close().await;
}

#[tokio::test]
async fn a_body_may_be_as_long_as_the_limit_and_not_one_byte_longer() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let birth = birth_json("l1");
    let exactly = format!("{birth}{}", " ".repeat(100_000 - birth.len()));
    assert_eq!(doors.post(STU3, &[JSON], &exactly).await.status, 200);
    assert_eq!(doors.post(STU3, &[JSON], exactly + " ").await.status, 413);
    let head = "POST /fhir/stu3/$process-message HTTP/1.1\r\nhost: b\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", 100_001, " ".repeat(100_001));
    let stream = TcpStream::connect(doors.http()).await.unwrap();
    assert_eq!(raw_request(stream, chunked.as_bytes()).await.status, 413, "a length that is not declared is counted");
    let declared = format!("{head}content-length: 1000000000000\r\n\r\n");
    let stream = TcpStream::connect(doors.http()).await.unwrap();
    assert_eq!(raw_request(stream, declared.as_bytes()).await.status, 413, "a declared length is refused before it comes");
    doors.close().await;
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_are_given_up() {
    let journal = MemoryJournal::default();
    let short = Duration::from_millis(100);
    let patience = Patience { head: short, body: short, ..Patience::default() };
    let doors = try_open(PLAIN, &journal, Wishes { patience, ..Wishes::default() }).await.unwrap();
    let connect = || async { TcpStream::connect(doors.http()).await.unwrap() };
    let head = "POST /fhir/stu3/$process-message HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\n";
    let slow = raw_request(connect().await, format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await;
    assert_eq!(slow.status, 408, "{slow:?}");
    let unended = raw_request(connect().await, head.as_bytes()).await;
    assert!([0, 408].contains(&unended.status), "closed: {unended:?}");
    let many: String = (0..65).map(|number| format!("x-{number}: 1\r\n")).collect();
    assert_eq!(raw_request(connect().await, format!("{head}{many}\r\n").as_bytes()).await.status, 431);
    doors.close().await;
}

#[tokio::test]
async fn nothing_is_read_from_a_peer_that_is_no_source() {
    let journal = MemoryJournal::default();
    let doors = open(&PLAIN.replace("\"127.0.0.1\"]", "\"10.0.0.7\"]"), &journal).await;
    let reply = doors.post(STU3, &[JSON], "{").await;
    assert_eq!(reply.status, 403, "{reply:?}");
    let head = "POST /hl7v2 HTTP/1.1\r\nhost: b\r\nconnection: close\r\ncontent-type: application/hl7-v2\r\ncontent-length: 10\r\n\r\n";
    let stream = TcpStream::connect(doors.http()).await.unwrap();
    assert_eq!(raw_request(stream, head.as_bytes()).await.status, 403, "the body never came, the answer did");
    assert!(journal.kept().is_empty());
    doors.close().await;
}

#[tokio::test]
async fn events_and_organisations_are_taken_as_the_source_says() {
    let journal = MemoryJournal::default();
    let settings = PLAIN.to_owned() + "accepts = [\"newborn-hearing-1\"]\nignores = [\"pds-record-change-1\"]\nsenders = [\"*|RJ1\"]";
    let doors = open(&settings, &journal).await;
    let with = |event: &str, ods: &str| {
        let endpoint = format!("\"source\":{{\"endpoint\":\"urn:nhs-uk:addressing:ods:{ods}\"}},\"event\"");
        birth_json("1").replace("pds-birth-notification-1", event).replace("\"event\"", &endpoint)
    };
    assert_eq!(doors.post(STU3, &[JSON], with("newborn-hearing-1", "RJ1")).await.status, 200);
    assert_eq!(doors.post(STU3, &[JSON], with("pds-record-change-1", "RJ1")).await.status, 200);
    assert_eq!(doors.post(STU3, &[JSON], with("pds-birth-notification-1", "RJ1")).await.status, 422);
    assert_eq!(doors.post(STU3, &[JSON], with("newborn-hearing-1", "RJ2")).await.status, 403);
    assert_eq!(
        journal.admissions(),
        [
            "1 accepted",
            "1 ignored event ignored for this source",
            "1 refused 422 event not taken from this sender",
            "1 refused 403 unknown sender; ask for it to be added to the sources",
        ]
    );
    doors.close().await;
}

#[tokio::test]
async fn a_journal_that_cannot_keep_says_503_and_when_to_come_again() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let v2 = ("content-type", "application/hl7-v2");
    for trouble in [JournalError::Full, JournalError::Draining] {
        journal.fail_with(Some(trouble));
        for reply in [doors.post(STU3, &[JSON], birth_json("1")).await, doors.post("POST /hl7v2", &[v2], a28("1")).await] {
            assert_eq!(reply.status, 503, "{reply:?}");
            assert!(reply.head.contains("retry-after: "), "{reply:?}");
        }
        assert_eq!(doors.post(STU3, &[JSON], "{").await.status, 503, "what cannot be kept is not refused for ever");
    }
    journal.fail_with(None);
    assert_eq!(doors.post(STU3, &[JSON], birth_json("1")).await.status, 200);
    doors.close().await;
}

#[tokio::test]
async fn nothing_is_answered_before_the_journal_holds_it() {
    let journal = MemoryJournal::gated();
    let doors = open(PLAIN, &journal).await;
    let address = doors.http();
    let asking = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        request(stream, STU3, &[JSON], birth_json("g1").as_bytes()).await
    });
    journal.begun(1).await;
    assert!(!asking.is_finished());
    journal.let_through(1);
    assert_eq!(asking.await.unwrap().status, 200);
    doors.close().await;
}

#[tokio::test]
async fn a_source_that_waits_for_filing_hears_what_became_of_its_message() {
    let journal = MemoryJournal::default();
    let doors = open(&(PLAIN.to_owned() + "answer = \"filed\""), &journal).await;
    for (standing, status) in [(Standing::Filed, 200), (Standing::Held, 422), (Standing::Waiting, 503), (Standing::Filed, 200)] {
        journal.file_as(standing);
        assert_eq!(doors.post(STU3, &[JSON], birth_json("1")).await.status, status, "{standing:?}");
    }
    doors.close().await;
}

#[tokio::test]
async fn hl7_v2_is_answered_by_its_acknowledgement_and_a_status_that_agrees() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let ask = async |body: String| doors.post("POST /hl7v2", &[("content-type", "application/hl7-v2")], body).await;
    let check = async |body: String, status: u16, answer: &str| {
        let reply = ask(body).await;
        assert_eq!((reply.status, short(&reply.body).as_str()), (status, answer), "{reply:?}");
        assert!(reply.head.contains("content-type: application/hl7-v2"), "{reply:?}");
    };
    check(a28("1"), 200, "AA 1").await;
    check(a28("1").replace("|P|2.4", "|T|2.4"), 422, "AR 1 202").await;
    check("no HL7".into(), 400, "AR  100").await;
    let batch = |second: String| format!("BHS|^~\\&|PAS|RJ1|||||||B1\r{}{second}BTS|2\r", a28("1"));
    check(batch(a28("2")), 200, "AA 1").await;
    check(batch(a28("2").replace("|P|2.4", "|T|2.4")), 422, "AA 1 202").await;
    let silent = ask("MSH|^~\\&|PAS|RJ1|||20260105101500||ACK^A28^ACK|1|P|2.4\rMSA|AA|7\r".into()).await;
    assert_eq!((silent.status, silent.body.as_str()), (204, ""));
    assert_eq!(doors.post("POST /hl7v2", &[("content-type", "application/hl7-v2+xml")], "<x/>").await.status, 415);
    doors.close().await;
}

#[tokio::test]
async fn plain_http_is_for_this_machine_only() {
    let journal = MemoryJournal::default();
    let error = try_open(&PLAIN.replace("127.0.0.1:0", "0.0.0.0:0"), &journal, Wishes::default()).await.err().unwrap().to_string();
    assert!(error.contains("HTTP without TLS") && error.contains("set tls"), "{error}");
}

#[tokio::test]
async fn at_the_end_of_the_day_a_request_in_hand_is_answered() {
    let journal = MemoryJournal::gated();
    let doors = open(PLAIN, &journal).await;
    let address = doors.http();
    let asking = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        request(stream, STU3, &[JSON], birth_json("d1").as_bytes()).await
    });
    journal.begun(1).await;
    doors.drain.cancel();
    while TcpStream::connect(address).await.is_ok() {}
    journal.let_through(1);
    assert_eq!(asking.await.unwrap().status, 200);
    doors.close().await;
}
