//! The reading commands over a real ledger, directly and through a real admin door: both say the same, and neither says who
//! a child is without a reason.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::exit;
use super::tests::ran;
use crate::broker::Operations;
use crate::broker::failsafe::{Watching, looked_at};
use crate::journal::{Admission, Entry, Journal};
use crate::names::{BundleHash, Format, Seq, SourceName};
use crate::routing::Directory;
use crate::store::{DestinationRule, FilingRules, Ledger, LedgerConfig, LedgerReader, Prepared, PreparedOutcome, Recipient, StoreError};

mod sight;

/// A ledger with one filed, one held, one refused and one waiting entry.
struct Site {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    ledger: Ledger,
}

const FAMILY: &str = "EXAMPLE";
const NUMBER: &str = "9990000018";

fn body(control_id: &str) -> String {
    format!("MSH|^~\\&|MAT|RJ1|||20260105||ADT^A28|{control_id}|P|2.4\rPID|1||{NUMBER}^^^NHS^NH||{FAMILY}^BABY||20260105|2\r")
}

fn prepared(seq: i64, outcome: PreparedOutcome, findings: Value) -> Prepared {
    Prepared {
        seq: Seq(seq),
        source: SourceName::new("rj1"),
        control_id: format!("T{seq}"),
        arrived_us: 1_767_600_000_000_000,
        rank: 1,
        mapping: Some("adt-person".into()),
        bundle: BundleHash::new("abc"),
        findings: findings.to_string(),
        outcome,
        contents: Vec::new(),
        released_by: None,
        apart: false,
    }
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = Directory::load_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"))).unwrap();
        let rules = FilingRules {
            directory: Arc::new(arc_swap::ArcSwap::from_pointee(directory)),
            destinations: Arc::new(vec![DestinationRule { name: "hub-ne".into(), recipient: Recipient::HubStore("NE".into()) }]),
            zone: jiff::tz::TimeZone::get("Europe/London").unwrap(),
            parents: std::sync::Arc::default(),
        };
        let ledger = runtime.block_on(async {
            Ledger::open(&LedgerConfig { data: folder.path().to_owned(), ballast: false, pages_max: None }, rules).unwrap()
        });
        runtime.block_on(fill(&ledger));
        Self { folder, runtime, ledger }
    }

    fn data(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Opens an admin door over the ledger; gives its URL.
    fn door(&self) -> String {
        let operations = Arc::new(Door { ledger: self.ledger.clone(), runtime: self.runtime.handle().clone() });
        let any = "127.0.0.1:0".parse().unwrap();
        let (address, _door) = self.runtime.block_on(crate::console::open(any, operations, Default::default())).unwrap();
        format!("http://{address}")
    }

    fn child(&self) -> String {
        LedgerReader::open(self.folder.path()).unwrap().children_by_identifier(NUMBER).unwrap()[0].to_string()
    }
}

/// A message of a hospital, as it came.
fn entry(control_id: &str, admission: Admission) -> Entry {
    Entry {
        source: SourceName::new("rj1"),
        format: Format::Hl7v2,
        kind: "ADT^A28".into(),
        control_id: control_id.into(),
        body: Bytes::from(body(control_id)),
        arrived: "2026-01-05T08:00:00Z".parse().unwrap(),
        admission,
    }
}

async fn fill(ledger: &Ledger) {
    ledger.keep_bundle(&BundleHash::new("abc"), &Default::default(), "2026-01-05T08:00:00Z".parse().unwrap()).await.unwrap();
    for (control_id, admission) in
        [("T1", Admission::Accepted), ("T2", Admission::Accepted), ("T3", Admission::Refused("AR 201".into())), ("T4", Admission::Accepted)]
    {
        let _receipt = ledger.append(entry(control_id, admission)).await.unwrap();
    }
    let statement = serde_json::from_value(json!({
        "event": { "kind": "person", "may_create": true },
        "child": {
            "identifiers": [{ "value": NUMBER, "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }],
            "names": [{ "family": FAMILY, "given": ["BABY"] }],
            "birth": { "date": { "value": "2026-01-05", "precision": "day" } }
        }
    }))
    .unwrap();
    let finding = json!([{ "level": "hold", "code": "unmapped-code", "field": "child.sex", "at": "PID-8", "rule": "a.toml:4", "text": "code \"Q\" of EXAMPLE", "help": "add Q" }]);
    let filed = prepared(1, PreparedOutcome::File(vec![statement]), json!([]));
    assert!(ledger.file(vec![filed, prepared(2, PreparedOutcome::Hold("unmapped-code".into()), finding)]).await);
}

/// The rules and hubs inside the program.
fn watching() -> Watching {
    let settings = crate::config::Settings::default();
    let stores = [("NE".into(), "hub-ne".into())].into();
    Watching::of(crate::config::failsafe(&settings).unwrap(), crate::config::directory(&settings).unwrap(), stores)
}

/// The admin door's broker: a ledger and nothing else.
struct Door {
    ledger: Ledger,
    runtime: tokio::runtime::Handle,
}

impl Operations for Door {
    fn ready(&self) -> Vec<(String, Result<(), String>)> {
        vec![("store".into(), Ok(()))]
    }
    fn reader(&self) -> Result<LedgerReader, StoreError> {
        LedgerReader::open(self.ledger.data())
    }
    fn release(&self, _seq: Seq, _reason: &str) -> Result<(), StoreError> {
        Err(StoreError { text: "entry 9 is not held".into(), exit: 66 })
    }
    fn release_debt(&self, _debt: i64, _reason: &str) -> Result<(), StoreError> {
        Ok(())
    }
    fn reload(&self) -> Result<String, String> {
        Err("a.toml:1:1: wrong".into())
    }
    fn watching(&self) -> Option<Watching> {
        Some(watching())
    }
    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.ledger.audit(act, what, reason, crate::clock::now()))
    }
}

fn json_of((code, text): (u8, String)) -> Value {
    assert_eq!(code, exit::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_ledger_and_the_admin_door_say_the_same() {
    let site = Site::new();
    let (data, door, child) = (site.data(), site.door(), site.child());
    for command in [
        "msg list",
        "msg list --standing held --limit 1",
        "msg show 1",
        "msg trace 1",
        "msg trace 2",
        &format!("child {child} --why"),
        "held list",
        "reconcile",
        "reconcile --day 2026-01-05",
    ] {
        let direct = ran(&format!("{command} --json --data {data}"));
        assert_eq!(ran(&format!("{command} --json --admin {door}")), direct, "{command}");
        assert_eq!(direct.0, exit::OK, "{command}: {}", direct.1);
        assert_eq!(ran(&format!("{command} --data {data}")), ran(&format!("{command} --admin {door}")), "{command}");
    }
}

#[test]
fn nothing_says_who_a_child_is_without_a_reason() {
    let site = Site::new();
    let (data, door, child) = (site.data(), site.door(), site.child());
    for command in ["msg list", "msg show 1", "msg trace 1", "msg trace 2", &format!("child {child} --why"), "held list", "held show 2"] {
        for from in [format!("--data {data}"), format!("--data {data} --json"), format!("--admin {door}"), format!("--admin {door} --json")]
        {
            let (code, text) = ran(&format!("{command} {from}"));
            assert_eq!(code, exit::OK, "{command} {from}");
            for said in [FAMILY, NUMBER, "2026-01-05\"", "\"Q\""] {
                assert!(!text.contains(said), "{command} {from} says {said}: {text}");
            }
        }
    }
    assert!(!site.folder.path().join("audit").exists(), "nothing was revealed, so nothing is written down");
}

#[test]
fn a_reveal_is_written_down_and_shows_what_was_said() {
    let site = Site::new();
    let (data, door, child) = (site.data(), site.door(), site.child());
    let (code, text) = ran(&format!("msg show 1 --data {data} --reveal complaint-17"));
    assert_eq!((code, text.contains(FAMILY)), (exit::OK, true), "{text}");
    assert_eq!(json_of(ran(&format!("child {child} --json --data {data} --reveal complaint-17")))["record"]["names"][0]["family"], FAMILY);
    let written = std::fs::read_to_string(site.folder.path().join("audit/reveal.jsonl")).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| (line["what"].as_str().unwrap(), line["reason"].as_str().unwrap())).collect::<Vec<_>>(),
        [("message 1", "complaint-17"), (format!("child {child}").as_str(), "complaint-17")]
    );
    let (code, text) = ran(&format!("msg show 1 --admin {door} --reveal complaint-17"));
    assert_eq!((code, text.contains(FAMILY)), (exit::OK, true), "{text}");
    assert_eq!(
        std::fs::read_to_string(site.folder.path().join("audit/reveal.jsonl")).unwrap(),
        written,
        "the door's audit is in the ledger"
    );
}

#[test]
fn what_cannot_be_written_down_is_not_revealed() {
    let site = Site::new();
    std::fs::write(site.folder.path().join("audit"), "a file where the folder should be").unwrap();
    assert_eq!(ran(&format!("msg show 1 --data {} --reveal complaint-17", site.data())), (77, String::new()));
}

#[test]
fn the_tokens_of_held_messages_are_a_line_each() {
    let site = Site::new();
    assert_eq!(ran(&format!("held list --format token --data {}", site.data())), (exit::OK, "T2\n".into()));
}

#[test]
fn the_account_has_a_line_for_a_day_and_says_what_is_undelivered() {
    let site = Site::new();
    let account = json_of(ran(&format!("reconcile --json --data {}", site.data())));
    let line = &account["lines"][0];
    assert_eq!(
        [&line["received"], &line["filed"], &line["held"], &line["refused"], &line["waiting"]].map(Value::as_i64),
        [Some(4), Some(1), Some(1), Some(1), Some(1)]
    );
    assert_eq!((account["unaccounted"].as_i64(), account["undelivered"].as_i64()), (Some(0), Some(2)), "one debt, one message waiting");
    assert_eq!(ran(&format!("reconcile --day yesterday --data {}", site.data())).0, exit::USAGE);
}

#[test]
fn the_account_that_does_not_agree_is_exit_code_1() {
    assert!(!super::tables::is_balanced(&json!({ "unaccounted": 1, "unaccounted_debts": 0 })));
    assert!(!super::tables::is_balanced(&json!({ "unaccounted": 0, "unaccounted_debts": -1 })));
    assert!(!super::tables::is_balanced(&json!({})), "an answer without the sums is no proof");
    assert!(super::tables::is_balanced(&json!({ "unaccounted": 0, "unaccounted_debts": 0 })));
}

#[test]
fn what_is_not_there_is_66_and_the_doors_refusals_keep_their_code() {
    let site = Site::new();
    let (data, door) = (site.data(), site.door());
    for from in [format!("--data {data}"), format!("--admin {door}")] {
        assert_eq!(ran(&format!("msg trace 99 {from}")).0, exit::MISSING, "{from}");
        assert_eq!(ran(&format!("child 0197a3c2-0000-7000-8000-000000000000 {from}")).0, exit::MISSING, "{from}");
        assert_eq!(ran(&format!("msg explain 3 {from}")).0, exit::MISSING, "a refused message was not mapped; {from}");
    }
    assert_eq!(ran(&format!("held release 9 --reason x --admin {door}")).0, exit::MISSING);
    assert_eq!(ran(&format!("reload --admin {door}")), (exit::CONFIG, String::new()));
    let (code, text) = ran(&format!("status --admin {door}"));
    assert_eq!(
        (code, text.contains("[+] store"), text.contains("4 received, 1 waiting, 1 held, 1 undelivered")),
        (exit::OK, true, true),
        "{text}"
    );
}

#[test]
fn a_document_is_written_to_a_file_for_a_reason_and_its_content_is_nowhere_else() {
    let site = Site::new();
    let (data, door) = (site.data(), site.door());
    let bytes = b"%PDF-1.4 BABY EXAMPLE".to_vec();
    let content = crate::canon::Content { sha256: "ab".repeat(32), bytes: bytes.clone() };
    let statement = serde_json::from_value(json!({
        "event": { "kind": "document", "may_create": true },
        "child": { "identifiers": [{ "value": "9990000026", "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }], "names": [{ "family": FAMILY, "given": ["BABY"] }], "birth": { "date": { "value": "2026-01-05", "precision": "day" } } },
        "documents": [{ "key": "D1", "mime": "application/pdf", "sha256": content.sha256 }, { "key": "D2", "store_ref": "https://documents.example/D2" }]
    }))
    .unwrap();
    let unnamed = crate::canon::Content { sha256: "cd".repeat(32), bytes: b"nobody names this".to_vec() };
    let filed =
        Prepared { contents: vec![content.clone(), unnamed, content], ..prepared(4, PreparedOutcome::File(vec![statement]), json!([])) };
    assert!(site.runtime.block_on(site.ledger.file(vec![filed])));
    assert_eq!(ran(&format!("msg document 4 --data {data}")), (exit::OK, "document 1 of 2: 21 bytes, application/pdf\n".into()));
    for from in [format!("--data {data}"), format!("--admin {door}")] {
        let (code, masked) = ran(&format!("msg document 4 1 --json {from}"));
        assert!(code == exit::OK && !masked.contains("D1") && !masked.contains("JVBERi"), "{masked}");
        let (_, all) = ran(&format!("msg document 4 1 --json {from} --reveal complaint-17"));
        assert!(all.contains("D1") && !all.contains("JVBERi"), "the content goes into a file and nowhere else: {all}");
        assert_eq!(ran(&format!("msg document 4 3 {from}")).0, exit::MISSING);
        assert_eq!(ran(&format!("msg document 1 {from}")).0, exit::MISSING, "a person is no document");
        let (code, _) = ran(&format!("msg document 4 2 {from} --out {data}/none --reveal complaint-17"));
        assert_eq!((code, site.folder.path().join("none").exists()), (exit::MISSING, false), "a pointer has no content");
    }
    let file = site.folder.path().join("letter.pdf");
    let write = format!("msg document 4 --data {data} --out {} --reveal complaint-17", file.display());
    assert_eq!(ran(&write).0, exit::OK);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(ran(&write).0, exit::IO, "a file that is there is not written over");
    assert_ne!(ran(&format!("msg document 4 --data {data} --out {}", site.folder.path().join("x").display())).0, exit::OK);
    let written = std::fs::read_to_string(site.folder.path().join("audit/reveal.jsonl")).unwrap();
    assert!(written.contains("document 1 of message 4"), "{written}");
}

#[test]
fn where_there_is_no_ledger_it_is_said_how_to_name_another() {
    let folder = tempfile::tempdir().unwrap();
    let failure = super::source::open(folder.path()).err().unwrap();
    assert_eq!(failure.exit, exit::MISSING);
    for way in ["--data DIR", "--config FILE", "--admin URL"] {
        assert!(failure.text.contains(way), "{}", failure.text);
    }
}

#[test]
fn a_message_held_for_a_code_shows_its_table_and_the_fix_and_the_code_only_for_a_reason() {
    let site = Site::new();
    let finding = json!([{ "level": "hold", "code": "unmapped-code", "field": "child.sex", "at": "PID-8", "rule": "a.toml:4",
        "text": "code \"Q7\" at PID-8 is not in table sex", "help": "add a row to tables/sex.csv", "miss": { "table": "sex", "code": "Q7" } }]);
    assert!(site.runtime.block_on(site.ledger.file(vec![prepared(4, PreparedOutcome::Hold("unmapped-code".into()), finding)])));
    for from in [format!("--data {}", site.data()), format!("--admin {}", site.door())] {
        let (_, masked) = ran(&format!("held show 4 {from}"));
        assert!(
            masked.contains("table   sex does not know the code ***") && masked.contains("fix     add a row to tables/sex.csv"),
            "{masked}"
        );
        assert!(!masked.contains("Q7"), "{masked}");
        let (_, shown) = ran(&format!("held show 4 {from} --reveal complaint-17"));
        assert!(shown.contains("table   sex does not know the code Q7"), "{shown}");
    }
}

#[test]
fn what_is_due_is_listed_and_explained_and_its_dates_only_for_a_reason() {
    let site = Site::new();
    let (data, door, child) = (site.data(), site.door(), site.child());
    let none = format!("due list --hub NE --data {data}");
    assert!(ran(&none).1.ends_with("0 clocks of hub NE\n"), "nobody has looked yet");
    let (watching, now) = (watching(), "2026-01-23T00:00:00Z".parse().unwrap());
    let reader = LedgerReader::open(site.folder.path()).unwrap();
    let look = reader.look(1, &watching.directory.load(), &watching.stores).unwrap().unwrap();
    let looked = looked_at(&look, &watching.rules.load(), now);
    site.runtime.block_on(site.ledger.write_looks(vec![looked], Arc::clone(&watching.stores), now)).unwrap();
    for from in [format!("--data {data}"), format!("--admin {door}")] {
        let listed = json_of(ran(&format!("due list --hub ne --clock NBS_RESULT --json {from}")));
        let row = &listed["clocks"][0];
        assert_eq!(
            (&row["child"], &row["clock"], &row["state"], &row["owner"]),
            (&json!(child), &json!("NBS_RESULT"), &json!("breached"), &json!("maternity"))
        );
        assert_eq!((&row["breach_at"], &row["reason"]), (&json!("***"), &json!("***")));
        let revealed = json_of(ran(&format!("due list --hub NE --clock NBS_RESULT --json --reveal weekly-round {from}")));
        assert_eq!(revealed["clocks"][0]["breach_at"], "2026-01-23T00:00:00Z");
        // At the end of another day, by what is known now: the day before, and long after.
        let at = |day: &str| json_of(ran(&format!("due list --hub NE --day {day} --clock NBS_RESULT --json {from}")))["clocks"].clone();
        assert_eq!(
            (&at("2026-01-21")[0]["state"], &at("2026-01-22")[0]["state"]),
            (&json!("pending"), &json!("pending")),
            "late from the second after"
        );
        assert_eq!((&at("2026-01-23")[0]["state"], at("2027-02-01")), (&json!("breached"), json!([])), "too late to be mended");
        assert_eq!(at("2026-01-10"), json!([]), "not yet near");
        let explained = json_of(ran(&format!("due explain {child} NBS_RESULT --json {from}")));
        let clock = &explained["clocks"][0];
        assert_eq!((&clock["source"], &clock["breach_at"]), (&json!("G-NBS S01a"), &json!("***")));
        assert_eq!((&explained["history"][0]["became"], &explained["tasks"][0]["escalation"]), (&json!("breached"), &json!("001")));
        let text = ran(&format!("due explain {child} --reveal weekly-round {from}")).1;
        for said in ["NBS_RESULT", "breach_at 2026-01-23T00:00:00Z", "rule: G-NBS S01a", "2026-01-05", "NBS_RESULT:  -> breached"] {
            assert!(text.contains(said), "no {said:?} in {text}");
        }
        let masked = ran(&format!("due explain {child} {from}")).1;
        assert!(!masked.contains("2026-01-"), "{masked}");
        assert_eq!(ran(&format!("due list --hub XX {from}")).0, exit::USAGE);
        assert_eq!(ran(&format!("due list --hub NE --clock NBS_RSULT {from}")).0, exit::USAGE);
        assert_eq!(ran(&format!("due list --hub NE --day yesterday {from}")).0, exit::USAGE);
        assert_eq!(ran(&format!("due explain {child} BCG {from}")).0, exit::MISSING);
        assert_eq!(ran(&format!("due explain 0197a3c2-0000-7000-8000-000000000000 {from}")).0, exit::MISSING);
    }
    let written = std::fs::read_to_string(site.folder.path().join("audit/reveal.jsonl")).unwrap();
    assert!(written.contains("due list of hub NE") && written.contains(&format!("clocks of child {child}")), "{written}");
    assert_ne!(ran(&format!("due close {child} NBS_RESULT --reason x --admin {door}")).0, exit::OK, "this door has no failsafe thread");
}
