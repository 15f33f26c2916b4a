//! Claims about filing, over a real ledger: which version of what stands, what a deletion leaves behind, and what goes nowhere.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::journal::{Admission, Entry, Journal};
use crate::names::{BundleHash, ChildId, Format, Seq, SourceName};
use crate::routing::Directory;

mod orders;
mod reviews;

/// A ledger with a hub's store, the region's record and a parents' record to pay, and children A and B on record.
struct Site {
    folder: tempfile::TempDir,
    ledger: Ledger,
    next: i64,
}

const DAY: &str = "2026-01-10T";

fn nhs(child: &str) -> &'static str {
    if child == "A" { "9990000018" } else { "9990000026" }
}

/// A statement of `source` about child A or B, said at `time` of the day.
fn said(child: &str, time: &str, event: Value, lists: Value) -> Value {
    let mut statement = json!({
        "event": { "kind": "person", "at": { "value": format!("{DAY}{time}:00+00:00"), "precision": "second" } },
        "child": {
            "identifiers": [{ "value": nhs(child), "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }],
            "names": [{ "family": format!("EXAMPLE{child}"), "given": ["TEST"], "use": "official" }],
            "birth": { "date": { "value": "2026-01-05", "precision": "day" } }, "sex": "2"
        }
    });
    statement["event"].as_object_mut().unwrap().extend(event.as_object().cloned().unwrap());
    statement.as_object_mut().unwrap().extend(lists.as_object().cloned().unwrap());
    statement
}

/// A ledger without hubs that owes a region and a parents' record.
pub(super) fn ledger_of_a_region_and_parents(data: &std::path::Path) -> Ledger {
    let rules = FilingRules {
        directory: Arc::new(ArcSwap::from_pointee(Directory::default())),
        destinations: Arc::new(vec![
            DestinationRule { name: "region".into(), recipient: Recipient::Record },
            DestinationRule { name: "parents".into(), recipient: Recipient::ParentRecord },
        ]),
        zone: jiff::tz::TimeZone::UTC,
        parents: Arc::default(),
    };
    Ledger::open(&LedgerConfig { data: data.to_path_buf(), ballast: false, pages_max: None }, rules).unwrap()
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger_of_a_region_and_parents(folder.path());
        let mut site = Self { ledger, folder, next: 0 };
        for child in ["A", "B"] {
            site.file(said(child, "00:00", json!({ "may_create": true }), json!({}))).await;
        }
        site
    }

    /// Files one message; gives its place.
    async fn file(&mut self, statement: Value) -> Seq {
        self.file_all(vec![statement]).await
    }

    async fn file_all(&mut self, statements: Vec<Value>) -> Seq {
        let statements = statements.into_iter().map(|statement| serde_json::from_value(statement).unwrap()).collect();
        self.file_as("lab", PreparedOutcome::File(statements)).await
    }

    async fn file_as(&mut self, source: &str, outcome: PreparedOutcome) -> Seq {
        self.next += 1;
        let entry = Entry {
            source: SourceName::new(source),
            format: Format::Hl7v2,
            kind: "ORU^R01".into(),
            control_id: format!("T{}", self.next),
            body: Bytes::from(format!("MSH|{}", self.next)),
            arrived: "2026-02-01T08:00:00Z".parse().unwrap(),
            admission: Admission::Accepted,
        };
        let seq = self.ledger.append(entry).await.unwrap().seq();
        let prepared = self.prepared(seq, source, outcome);
        assert!(self.ledger.file(vec![prepared]).await);
        seq
    }

    fn prepared(&self, seq: Seq, source: &str, outcome: PreparedOutcome) -> Prepared {
        Prepared {
            seq,
            source: SourceName::new(source),
            control_id: format!("T{}", self.next),
            arrived_us: 1_769_932_800_000_000,
            rank: 2,
            mapping: None,
            bundle: BundleHash::new("none"),
            findings: String::new(),
            contents: Vec::new(),
            outcome,
            released_by: None,
            apart: false,
        }
    }

    /// A person releases a held entry.
    async fn release(&self, seq: Seq, source: &str, outcome: PreparedOutcome) {
        let prepared = Prepared { released_by: Some("test".to_owned()), ..self.prepared(seq, source, outcome) };
        assert!(self.ledger.file(vec![prepared]).await);
    }

    fn reader(&self) -> LedgerReader {
        LedgerReader::open(self.folder.path()).unwrap()
    }

    fn child(&self, child: &str) -> ChildId {
        self.reader().children_by_identifier(nhs(child)).unwrap()[0]
    }

    /// What stands of child A: `immunisation A-1: completed`, without the keys of the birth.
    fn stands(&self) -> Vec<String> {
        let view = self.reader().child(self.child("A")).unwrap().unwrap();
        let words = |row: &AggregateRow| match row.deleted {
            true => format!("{} {} gone", row.kind, row.key),
            false => {
                let first = row.content.as_object().unwrap().values().next().unwrap()[0].clone();
                let word = ["status", "attended", "comment"].iter().find_map(|field| first[*field].as_str()).unwrap_or("-").to_owned();
                format!("{} {} {word}", row.kind, row.key)
            }
        };
        view.aggregates.iter().map(words).collect()
    }

    fn trace(&self, seq: Seq) -> Trace {
        self.reader().trace(seq).unwrap().unwrap()
    }
}

/// The same messages in every order of arrival give the same.
async fn in_every_order(messages: &[Value], expected: &[&str]) {
    let count = messages.len();
    let mut orders: Vec<Vec<usize>> = vec![vec![]];
    for at in 0..count {
        orders = orders
            .iter()
            .flat_map(|order| (0..=order.len()).map(move |place| [&order[..place], &[at], &order[place..]].concat()))
            .collect();
    }
    for order in orders {
        let mut site = Site::new().await;
        for at in &order {
            let seq = site.file(messages[*at].clone()).await;
            assert_eq!(site.trace(seq).entry.standing, "filed", "{:?}", site.trace(seq));
        }
        assert_eq!(site.stands(), expected, "order {order:?}");
    }
}

fn given(time: &str, key: &str, status: &str) -> Value {
    said("A", time, json!({ "kind": "immunisation" }), json!({ "immunisations": [{ "key": key, "status": status }] }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_item_with_a_key_is_kept_and_the_newest_version_stands_in_whatever_order_they_come() {
    for (kind, list, shown) in [
        ("blood-spot", "blood_spots", "comment"),
        ("hearing", "hearing_screens", "comment"),
        ("nipe", "nipe_exams", "comment"),
        ("review", "reviews", "comment"),
        ("appointment", "appointments", "status"),
        ("document", "documents", "status"),
        ("episode-of-care", "episodes", "status"),
        ("failsafe", "tasks", "status"),
        ("observations", "observation_sets", "status"),
    ] {
        let version = |time: &str, word: &str| said("A", time, json!({ "kind": kind }), json!({ list: [{ "key": "K1", shown: word }] }));
        in_every_order(&[version("09:00", "old"), version("10:00", "new")], &[&format!("{kind} K1 new")]).await;
    }
    in_every_order(&[given("09:00", "K1", "completed"), given("10:00", "K1", "not_done")], &["immunisation K1 not_done"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_stands_against_an_older_version_that_comes_late_and_not_against_a_newer_one() {
    let delete = |time: &str| {
        let event = json!({ "kind": "appointment", "action": "delete" });
        said("A", time, event, json!({ "appointments": [{ "key": "K1" }] }))
    };
    let booked = |time: &str, word: &str| {
        said("A", time, json!({ "kind": "appointment" }), json!({ "appointments": [{ "key": "K1", "status": word }] }))
    };
    // The key was never seen when the deletion comes first.
    in_every_order(&[booked("09:00", "booked"), delete("10:00")], &["appointment K1 gone"]).await;
    // Said at the same moment, the deletion wins.
    in_every_order(&[booked("10:00", "booked"), delete("10:00")], &["appointment K1 gone"]).await;
    in_every_order(&[booked("09:00", "booked"), delete("10:00"), booked("11:00", "moved")], &["appointment K1 moved"]).await;
    // RXA-21 D is a deletion of the one vaccination.
    in_every_order(&[given("10:00", "K1", "completed"), given("10:00", "K1", "entered_in_error")], &["immunisation K1 gone"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_versions_at_the_same_moment_the_higher_stands_and_then_the_later_arrival() {
    let version = |number: i64, word: &str| {
        said("A", "10:00", json!({ "kind": "review", "version": number }), json!({ "reviews": [{ "key": "K1", "comment": word }] }))
    };
    in_every_order(&[version(2, "second"), version(1, "first")], &["review K1 second"]).await;
    let mut site = Site::new().await;
    site.file(version(1, "one")).await;
    site.file(version(1, "two")).await;
    assert_eq!(site.stands(), ["review K1 two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_of_the_message_takes_back_all_that_came_under_its_key() {
    let event = |more: Value| {
        let mut event = json!({ "kind": "review", "key": "E1", "publisher": "X26" });
        event.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        event
    };
    // One without a key of its own, one with the message's, two with others, one of another kind without.
    let lists = json!({ "reviews": [{ "comment": "whole" }, { "key": "R2", "comment": "two" }],
        "nipe_exams": [{ "key": "N1", "comment": "eyes" }], "hearing_screens": [{ "comment": "ears" }] });
    let new = said("A", "09:00", event(json!({})), lists);
    let delete = said("A", "10:00", event(json!({ "action": "delete" })), json!({}));
    let site = {
        let mut site = Site::new().await;
        site.file(new.clone()).await;
        site
    };
    assert_eq!(site.stands(), ["hearing E1 ears", "nipe N1 eyes", "review E1 whole", "review R2 two"]);
    let mut site = site;
    site.file(delete.clone()).await;
    assert_eq!(site.stands(), ["hearing E1 gone", "nipe N1 gone", "review E1 gone", "review R2 gone"]);
    // The other way round nothing of it comes back.
    let mut site = Site::new().await;
    site.file(delete).await;
    let late = site.file(new).await;
    assert_eq!(site.stands(), ["hearing E1 gone", "nipe N1 gone", "review E1 gone", "review R2 gone"]);
    let trace = site.trace(late);
    assert_eq!((trace.entry.standing.as_str(), trace.events[0].superseded), ("filed", true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_some_items_are_late_they_are_left_out_and_named() {
    let mut site = Site::new().await;
    site.file(given("10:00", "K2", "not_done")).await;
    let items =
        json!({ "immunisations": [{ "key": "K1", "batch": "B1" }, { "key": "K2", "batch": "OLD" }, { "key": "K3", "batch": "B3" }] });
    let seq = site.file(said("A", "09:00", json!({ "kind": "immunisation" }), items)).await;
    assert_eq!(site.stands(), ["immunisation K1 completed", "immunisation K2 not_done", "immunisation K3 completed"]);
    let trace = site.trace(seq);
    assert!(!trace.events[0].superseded);
    let finding = &trace.findings[0];
    assert_eq!((&finding["level"], &finding["code"]), (&json!("info"), &json!("superseded-item")));
    assert!(finding["text"].as_str().unwrap().ends_with("immunisations \"K2\""), "{finding}");
    // What is told is what has effect; places are those of what is told.
    let said = site.reader().child(site.child("A")).unwrap().unwrap();
    assert_eq!(said.aggregates[2].content["immunisations"][0]["batch"], "B3");
    let owed = site.reader().owed("region", 0, 100).unwrap();
    let last = String::from_utf8(owed.last().unwrap().event.clone()).unwrap();
    assert!(last.contains("\"B1\"") && last.contains("\"B3\"") && !last.contains("OLD"), "{last}");
    // All late: kept, and without effect.
    let seq = site.file(given("08:00", "K1", "not_done")).await;
    assert!(site.trace(seq).events[0].superseded);
    assert_eq!(site.stands()[0], "immunisation K1 completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_item_does_not_keep_a_message_about_the_person_from_being_heard() {
    let mut site = Site::new().await;
    let visit = |time: &str, word: &str| json!({ "appointments": [{ "key": "K1", "status": word }], "event": said("A", time, json!({}), json!({}))["event"] });
    site.file(said("A", "10:00", json!({}), visit("10:00", "attended"))).await;
    let mut older = said("A", "09:00", json!({}), visit("09:00", "booked"));
    older["child"]["language"] = json!("fr");
    let seq = site.file(older).await;
    assert!(!site.trace(seq).events[0].superseded);
    let view = site.reader().child(site.child("A")).unwrap().unwrap();
    assert_eq!(view.record["language"], "fr");
    assert_eq!(site.stands(), ["appointment K1 attended"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_said_of_another_child_holds_the_message_item_by_item_and_files_nothing_of_it() {
    let mut site = Site::new().await;
    site.file(given("10:00", "K2", "completed")).await;
    let items = json!({ "immunisations": [{ "key": "K9" }, { "key": "K2" }] });
    let seq = site.file(said("B", "11:00", json!({ "kind": "immunisation" }), items)).await;
    let trace = site.trace(seq);
    assert_eq!((trace.entry.standing.as_str(), trace.entry.reason.as_str()), ("held", "identity-conflict"));
    let other = site.reader().child(site.child("B")).unwrap().unwrap();
    assert!(other.aggregates.is_empty(), "{:?}", other.aggregates);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_for_an_unknown_child_waits_for_a_person() {
    let mut site = Site::new().await;
    let mut delete = said("A", "10:00", json!({ "kind": "blood-spot", "action": "delete", "key": "K1" }), json!({}));
    delete["child"]["identifiers"][0]["value"] = json!("9990000034");
    let seq = site.file(delete).await;
    assert_eq!((site.trace(seq).entry.standing, site.trace(seq).entry.reason), ("held".to_owned(), "unmatched".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_without_any_key_stand_each_by_itself() {
    let mut site = Site::new().await;
    for time in ["09:00", "08:00"] {
        site.file(said("A", time, json!({ "kind": "review" }), json!({ "reviews": [{ "comment": time }] }))).await;
    }
    let stands: Vec<String> = site.stands().iter().map(|words| words.split(' ').next_back().unwrap().to_owned()).collect();
    assert_eq!(stands, ["09:00", "08:00"]);
}

/// A blood spot message: condition, status, result status.
fn sample(time: &str, outcomes: &[(&str, &str, &str)]) -> Value {
    let outcomes: Vec<Value> = outcomes
        .iter()
        .map(|(condition, status, result)| json!({ "condition": condition, "nbs_status": status, "result_status": result }))
        .collect();
    let taken = json!({ "value": "2026-01-10", "precision": "day" });
    let spot = json!({ "key": "ACC1", "sample": { "accession": "ACC1", "taken": taken }, "outcomes": outcomes });
    said("A", time, json!({ "kind": "blood-spot", "publisher": "RJ1", "key": "ACC1" }), json!({ "blood_spots": [spot] }))
}

impl Site {
    /// `PKU 08, SCD 04`: all outcomes of the one sample, and those that count.
    fn outcomes(&self) -> (String, String) {
        let view = self.reader().child(self.child("A")).unwrap().unwrap();
        let spots = view.aggregates.iter().filter(|row| row.kind == "blood-spot").collect::<Vec<_>>();
        assert_eq!(spots.len(), 1, "{spots:?}");
        let all = spots[0].content["blood_spots"][0]["outcomes"].as_array().cloned().unwrap_or_default();
        let words = |one: &Value| format!("{} {} {}", one["condition"], one["nbs_status"], one["result_status"]).replace('"', "");
        let counts =
            view.outcomes.iter().map(|(condition, current)| format!("{condition} {}", current.outcome.nbs_status.as_deref().unwrap()));
        (all.iter().map(words).collect::<Vec<_>>().join(", "), counts.collect::<Vec<_>>().join(", "))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_inside_a_sample_replaces_the_conditions_it_names_and_loses_no_other() {
    let first = sample("09:00", &[("CF", "04", "final"), ("PKU", "04", "final"), ("SCD", "04", "final")]);
    let corrects = sample("10:00", &[("PKU", "08", "corrected")]);
    let takes_back = sample("11:00", &[("SCD", "04", "wrong_patient")]);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut site = Site::new().await;
        for at in order {
            let seq = site.file([&first, &corrects, &takes_back][at].clone()).await;
            assert_eq!(site.trace(seq).entry.standing, "filed");
        }
        let expected = ("CF 04 final, PKU 08 corrected, SCD 04 wrong_patient".to_owned(), "CF 04, PKU 08".to_owned());
        assert_eq!(site.outcomes(), expected, "order {order:?}");
    }
    // A later version of the card goes over what it names, whenever the rest comes, and takes nothing away.
    let whole = sample("12:00", &[("PKU", "03", "final")]);
    for messages in [[&first, &corrects, &whole], [&whole, &corrects, &first], [&corrects, &whole, &first]] {
        let mut site = Site::new().await;
        for message in messages {
            site.file(message.clone()).await;
        }
        assert_eq!(site.outcomes(), ("CF 04 final, PKU 03 final, SCD 04 final".to_owned(), "CF 04, PKU 03, SCD 04".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_correction_had_overtaken_is_not_told_by_the_older_message() {
    let mut site = Site::new().await;
    site.file(sample("10:00", &[("PKU", "08", "corrected")])).await;
    let seq = site.file(sample("09:00", &[("PKU", "04", "final"), ("SCD", "04", "final")])).await;
    let trace = site.trace(seq);
    assert!(!trace.events[0].superseded);
    assert!(trace.findings[0]["text"].as_str().unwrap().contains("PKU of blood_spots \"ACC1\""), "{}", trace.findings);
    let owed = site.reader().owed("region", 0, 100).unwrap();
    let told: Value = serde_json::from_slice(&owed.last().unwrap().event).unwrap();
    assert_eq!(told["statement"]["blood_spots"][0]["outcomes"].as_array().unwrap().len(), 1, "{told}");
    assert!(trace.withheld.iter().any(|(destination, _)| destination == "parents"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_sex_of_the_same_child_is_filed_and_a_person_is_told() {
    let mut site = Site::new().await;
    let mut other = said("A", "10:00", json!({}), json!({}));
    other["child"]["sex"] = json!("1");
    let seq = site.file(other).await;
    let trace = site.trace(seq);
    assert_eq!((trace.entry.standing.as_str(), &trace.findings[0]["code"]), ("filed", &json!("sex-differs")));
    // Not known and not specified are no other sex.
    for sex in ["0", "9", "1"] {
        let mut same = said("A", "11:00", json!({}), json!({}));
        same["child"]["sex"] = json!(sex);
        let seq = site.file(same).await;
        assert_eq!(site.trace(seq).findings, json!(null), "{sex}");
    }
}

/// A word that stands in every field of the fact.
const SECRET: &str = "QUIETWORD";

fn protection(time: &str, event: Value, key: &str) -> Value {
    let code = json!({ "code": SECRET, "display": SECRET, "system": SECRET });
    let fact = json!({ "key": key, "code": code, "value": code, "text": SECRET, "status": SECRET, "org_ods": SECRET });
    said("A", time, event, json!({ "safeguarding": [fact] }))
}

/// Every table of a database with every value that has `word` in it, as `table.column`.
fn places_of(file: &std::path::Path, word: &str) -> Vec<String> {
    let connection = rusqlite::Connection::open(file).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let mut places = Vec::new();
    for table in names("SELECT name FROM sqlite_schema WHERE type = 'table'") {
        for column in names(&format!("SELECT name FROM pragma_table_info('{table}')")) {
            let sql = format!("SELECT count(*) FROM {table} WHERE instr(CAST({column} AS BLOB), CAST('{word}' AS BLOB)) > 0");
            if connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() > 0 {
                places.push(format!("{table}.{column}"));
            }
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_protection_fact_is_in_its_own_table_and_nowhere_else() {
    let mut site = Site::new().await;
    let owed_before = site.reader().owed("region", 0, 100).unwrap().len();
    let alone = site.file(protection("10:00", json!({ "kind": "safeguarding", "key": "M1", "publisher": SECRET }), SECRET)).await;
    assert_eq!(site.reader().owed("region", 0, 100).unwrap().len(), owed_before, "what came for such facts alone goes to nobody");
    let beside = site.file(protection("11:00", json!({ "kind": "person" }), "S2")).await;
    assert_eq!(site.reader().owed("region", 0, 100).unwrap().len(), owed_before + 1);
    for seq in [alone, beside] {
        assert_eq!(site.trace(seq).entry.standing, "filed");
    }
    let ledger = site.folder.path().join("ledger.db");
    let expected = ["safeguarding.publisher", "safeguarding.key", "safeguarding.body"];
    let places = places_of(&ledger, SECRET);
    assert!(places.iter().all(|place| expected.contains(&place.as_str())), "{places:?}");
    assert_eq!(places.len(), expected.len(), "{places:?}");

    // A hub's store, given all that is owed.
    let store = site.folder.path().join("hub.db");
    let events: Vec<crate::outbox::FiledEvent> =
        site.reader().owed("region", 0, 100).unwrap().iter().map(|debt| serde_json::from_slice(&debt.event).unwrap()).collect();
    HubStore::open(&store).unwrap().apply(&events).unwrap();
    assert_eq!(places_of(&store, SECRET), Vec::<String>::new());
    assert_eq!(places_of(&store, "safeguarding"), Vec::<String>::new());

    // No listing tells that they are there.
    let view = site.reader().child(site.child("A")).unwrap().unwrap();
    let shown = serde_json::to_string(&(view, site.trace(alone), site.trace(beside))).unwrap();
    assert!(!shown.contains(SECRET) && !shown.contains("safeguarding"), "{shown}");
    assert_eq!(site.reader().reconcile(None, None).unwrap().unaccounted, 0);

    let facts = site.reader().safeguarding(site.child("A")).unwrap();
    assert_eq!((facts.len(), facts[0].facts[0]["text"].as_str()), (2, Some(SECRET)));
    assert_eq!(site.reader().safeguarding(site.child("B")).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_protection_facts_are_ordered_taken_back_and_held_as_aggregates_are() {
    let event = |action: &str| json!({ "kind": "safeguarding", "key": "M1", "publisher": "LA1", "action": action });
    let stands = |site: &Site| -> Vec<(String, bool, String)> {
        let rows = site.reader().safeguarding(site.child("A")).unwrap();
        rows.into_iter().map(|row| (row.key, row.deleted, row.at[11..16].to_owned())).collect()
    };
    let mut site = Site::new().await;
    for time in ["10:00", "09:00"] {
        site.file(protection(time, event("new"), "S1")).await;
    }
    assert_eq!(stands(&site), [("S1".to_owned(), false, "10:00".to_owned())]);
    site.file(said("A", "11:00", event("delete"), json!({}))).await;
    site.file(protection("10:30", event("new"), "S1")).await;
    site.file(protection("10:30", event("new"), "S9")).await;
    assert_eq!(stands(&site), [("M1".to_owned(), true, "11:00".to_owned()), ("S1".to_owned(), true, "11:00".to_owned())]);
    assert_eq!(places_of(&site.folder.path().join("ledger.db"), SECRET), Vec::<String>::new(), "what was taken back is gone");
    // The same key said of another child.
    let mut other = protection("12:00", event("new"), "S1");
    other["child"] = said("B", "12:00", json!({}), json!({}))["child"].clone();
    let seq = site.file(other).await;
    assert_eq!(site.trace(seq).entry.reason, "identity-conflict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_counts_once_for_each_message_and_not_again_when_it_is_read_again() {
    let site = Site::new().await;
    let miss = |code: &str| json!({ "level": "hold", "code": "unmapped-code", "text": "x", "miss": { "table": "sex", "code": code } });
    let prepared = |seq: Seq, findings: Value, released: bool| Prepared {
        seq,
        source: SourceName::new("lab"),
        control_id: "M".into(),
        arrived_us: 0,
        rank: 1,
        mapping: None,
        bundle: BundleHash::new("none"),
        findings: findings.to_string(),
        contents: Vec::new(),
        outcome: PreparedOutcome::Hold("unmapped-code".into()),
        released_by: released.then(|| "test".to_owned()),
        apart: false,
    };
    let mut seqs = Vec::new();
    for number in 0..2 {
        let body = Bytes::from(format!("MSH|M{number}"));
        let (source, kind) = (SourceName::new(["lab", "pas"][number]), "ORU^R01".to_owned());
        let arrived = "2026-02-01T08:00:00Z".parse().unwrap();
        let entry =
            Entry { source, format: Format::Hl7v2, kind, control_id: format!("M{number}"), body, arrived, admission: Admission::Accepted };
        seqs.push(site.ledger.append(entry).await.unwrap().seq());
    }
    let inbox = || -> Vec<String> {
        let rows = site.reader().table_misses(None, None).unwrap();
        rows.iter().map(|row| format!("{} {} {} {} {}", row.table, row.code, row.source, row.count, row.waiting)).collect()
    };
    // The same code twice in one message is one message.
    site.ledger.file(vec![prepared(seqs[0], json!([miss("W"), miss("W")]), false), prepared(seqs[1], json!([miss("W")]), false)]).await;
    assert_eq!(inbox(), ["sex W lab 1 1", "sex W pas 1 1"]);
    // Read again, one code is known and another one is not.
    site.ledger.file(vec![prepared(seqs[0], json!([miss("W"), miss("V")]), true)]).await;
    assert_eq!(inbox(), ["sex V lab 1 1", "sex W lab 1 1", "sex W pas 1 1"]);
    assert_eq!(site.reader().waiting_for("sex", "W").unwrap(), seqs);
    let now = "2026-02-02T08:00:00Z".parse().unwrap();
    site.ledger.resolve_miss("sex", "W", Some(vec!["lab".into()]), now).await.unwrap();
    assert_eq!(inbox(), ["sex V lab 1 1", "sex W pas 1 1"]);
    site.ledger.resolve_miss("sex", "W", None, now).await.unwrap();
    assert_eq!(inbox(), ["sex V lab 1 1"]);
    // A text that is too long to be a code is held, and not counted.
    let long = miss(&"x".repeat(81));
    site.ledger.file(vec![prepared(seqs[1], json!([long]), true)]).await;
    assert_eq!(inbox(), ["sex V lab 1 1"]);
}
