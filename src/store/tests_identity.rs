//! Claims about identity over a real ledger: who is found without an identifier, what waits, and what a person's decision does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::desk::Effect;
use super::*;
use crate::canon::Statement;
use crate::clock;
use crate::journal::{Admission, Entry, Journal};
use crate::names::{BundleHash, ChildId, Format, Seq, SourceName};
use crate::routing::Directory;

mod likeness;
mod triplets;
mod turns;

/// Ranks of the sources by name.
fn rank(source: &str) -> u8 {
    match source {
        "spine" => 3,
        "practice" => 4,
        "lab" | "maternity" => 2,
        "pas" => 1,
        _ => 0,
    }
}

/// What each entry says, as mappings would read it.
type Said = Arc<Mutex<HashMap<i64, (String, i64, Vec<Statement>)>>>;

/// A ledger with a region's record and a parents' record to pay.
pub(super) struct Site {
    folder: tempfile::TempDir,
    pub(super) ledger: Ledger,
    said: Said,
    next: i64,
}

fn prepared(seq: i64, source: &str, arrived_us: i64, statements: Vec<Statement>) -> Prepared {
    Prepared {
        seq: Seq(seq),
        source: SourceName::new(source),
        control_id: format!("T{seq}"),
        arrived_us,
        rank: rank(source),
        mapping: None,
        bundle: BundleHash::new("none"),
        findings: String::new(),
        contents: Vec::new(),
        outcome: PreparedOutcome::File(statements),
        released_by: None,
        apart: false,
    }
}

/// Words, `source: kind word=value …`. Of the child: `nhs=9990000026/01`, `mrn=B1`, `other=X` (another hospital's number), `born=`,
/// `family=`, `given=`, `sex=`, `postcode=`, `order=`, `births=`, `multiple`, `mother=M1`, `her=FAMILY`. Of the event: `may-create`,
/// `national`, `delete`, `at=HH:MM`, `key=K1`, `word=TEXT` (what a review says), `gone=A1` (merged into this), `linked=A1`,
/// `unlinked=A1` or `unlinked=nhs/9990000026`.
fn said(words: &str) -> (String, Statement) {
    let (source, words) = words.split_once(": ").unwrap();
    let flag = |flag: &str| words.split_whitespace().any(|word| word == flag);
    let of = |key: &str| words.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned);
    let kind = words.split_whitespace().next().unwrap();
    let nhs = "https://fhir.nhs.uk/Id/nhs-number";
    let mut ids = Vec::new();
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some(("nhs", value)) => {
                let (value, status) = value.split_once('/').unwrap_or((value, "08"));
                ids.push(json!({ "value": value, "system": nhs, "status": status }));
            }
            Some(("mrn", value)) => ids.push(json!({ "value": value, "system": "urn:v2:RJ1", "type": "PI" })),
            Some(("other", value)) => ids.push(json!({ "value": value, "system": "urn:v2:RAX", "type": "PI" })),
            _ => {}
        }
    }
    let mut child = json!({ "identifiers": ids });
    let mut put = |path: &[&str], value: Value| {
        let mut at = &mut child;
        for part in path {
            at = &mut at[*part];
        }
        *at = value;
    };
    if let Some(born) = of("born") {
        put(&["birth"], json!({ "date": { "value": born, "precision": "day" } }));
    }
    for (word, field) in [("order", "birth_order"), ("births", "births_in_confinement")] {
        if let Some(value) = of(word) {
            put(&["birth", field], json!(value.parse::<i64>().unwrap()));
        }
    }
    if flag("multiple") {
        put(&["birth", "multiple"], json!(true));
    }
    if let Some(sex) = of("sex") {
        put(&["sex"], json!(sex));
    }
    if let Some(family) = of("family") {
        let given = of("given").unwrap_or_else(|| "BABY".to_owned());
        put(&["names"], json!([{ "family": family, "given": [given], "use": "official", "placeholder": given == "BABY" }]));
    }
    if let Some(postcode) = of("postcode") {
        put(&["addresses"], json!([{ "postcode": postcode, "use": "home" }]));
    }
    if let Some(mother) = of("mother") {
        let hers = match mother.strip_prefix("nhs/") {
            Some(number) => json!({ "value": number, "system": nhs }),
            None => json!({ "value": mother, "system": "urn:v2:RJ1", "type": "PI" }),
        };
        let mut relation = json!({ "kind": "12", "identifiers": [hers] });
        if let Some(day) = of("hers") {
            relation["birth_date"] = json!({ "value": day, "precision": "day" });
        }
        if let Some(family) = of("her") {
            relation["name"] = json!({ "family": family, "given": ["TEST"] });
        }
        put(&["relations"], json!([relation]));
    }
    let at = of("at").unwrap_or_else(|| "10:00".to_owned());
    let day = of("day").unwrap_or_else(|| "2026-01-10".to_owned());
    let mut statement = json!({
        "event": { "kind": kind, "at": { "value": format!("{day}T{at}:00+00:00"), "precision": "second" }, "may_create": flag("may-create"),
            "national": flag("national"), "action": if flag("delete") { "delete" } else { "new" } },
        "child": child,
    });
    if let Some(key) = of("key") {
        statement["reviews"] = json!([{ "key": key, "comment": of("word").unwrap_or_default() }]);
    }
    if let Some(account) = of("account") {
        statement["proxy_consents"] = json!([{ "account_id": account, "relation": "mother", "status": "active" }]);
    }
    for (word, act) in [("gone", "merge"), ("linked", "link"), ("unlinked", "unlink")] {
        if let Some(prior) = of(word) {
            let prior = match prior.strip_prefix("nhs/") {
                Some(number) => json!({ "value": number, "system": nhs }),
                None => json!({ "value": prior, "system": "urn:v2:RJ1", "type": "PI" }),
            };
            statement["identity_changes"] = json!([{ "act": act, "prior": [prior] }]);
        }
    }
    (source.to_owned(), serde_json::from_value(statement).unwrap())
}

impl Site {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let said = Said::default();
        let ledger = Self::open(folder.path(), &said).await;
        Self { ledger, folder, said, next: 0 }
    }

    async fn open(data: &std::path::Path, said: &Said) -> Ledger {
        let rules = FilingRules {
            directory: Arc::new(ArcSwap::from_pointee(Directory::default())),
            destinations: Arc::new(vec![
                DestinationRule { name: "region".into(), recipient: Recipient::Record },
                DestinationRule { name: "parents".into(), recipient: Recipient::ParentRecord },
                DestinationRule { name: "hub".into(), recipient: Recipient::HubStore("SE".into()) },
            ]),
            zone: jiff::tz::TimeZone::UTC,
            parents: Arc::default(),
        };
        let config = LedgerConfig { data: data.to_path_buf(), ballast: false, pages_max: None };
        let ledger = Ledger::open(&config, rules).unwrap();
        let known = Arc::clone(said);
        let read = move |entry: &UnfiledEntry| {
            let (source, arrived, statements) = known.lock().unwrap().get(&entry.seq.0).cloned().unwrap();
            prepared(entry.seq.0, &source, arrived, statements)
        };
        ledger.read_again(Arc::new(read)).await.unwrap();
        ledger
    }

    /// Files one message that comes now.
    pub(super) async fn file(&mut self, words: &str) -> Seq {
        self.file_at(words, clock::now()).await
    }

    pub(super) async fn file_at(&mut self, words: &str, arrived: Timestamp) -> Seq {
        self.file_said(said(words), arrived).await
    }

    async fn file_said(&mut self, (source, statement): (String, Statement), arrived: Timestamp) -> Seq {
        self.next += 1;
        let entry = Entry {
            source: SourceName::new(&source),
            format: Format::Hl7v2,
            kind: "ADT^A28".into(),
            control_id: format!("T{}", self.next),
            body: Bytes::from(format!("MSH|{}", self.next)),
            arrived,
            admission: Admission::Accepted,
        };
        let seq = self.ledger.append(entry).await.unwrap().seq();
        let arrived_us = arrived.as_microsecond();
        self.said.lock().unwrap().insert(seq.0, (source.clone(), arrived_us, vec![statement.clone()]));
        assert!(self.ledger.file(vec![prepared(seq.0, &source, arrived_us, vec![statement])]).await);
        seq
    }

    pub(super) fn reader(&self) -> LedgerReader {
        LedgerReader::open(self.folder.path()).unwrap()
    }

    pub(super) fn trace(&self, seq: Seq) -> Trace {
        self.reader().trace(seq).unwrap().unwrap()
    }

    /// Where a message stands: the child it was filed under, or why it is held.
    pub(super) fn outcome(&self, seq: Seq) -> String {
        let trace = self.trace(seq);
        match trace.events.first() {
            Some(event) => event.child.clone(),
            None if trace.entry.reason.is_empty() => trace.entry.standing,
            None => trace.entry.reason,
        }
    }

    pub(super) fn child_of(&self, seq: Seq) -> ChildId {
        ChildId(self.outcome(seq).parse().unwrap_or_else(|_| panic!("{:?}", self.trace(seq))))
    }

    /// Children and held reasons of messages, by letters in the order of their appearance.
    pub(super) async fn told(&mut self, messages: &[&str]) -> String {
        let mut seqs = Vec::new();
        for words in messages {
            seqs.push(self.file(words).await);
        }
        self.letters(&seqs)
    }

    pub(super) fn letters(&self, seqs: &[Seq]) -> String {
        let mut known: Vec<String> = Vec::new();
        let mut words = Vec::new();
        for seq in seqs {
            let outcome = self.outcome(*seq);
            if outcome.parse::<uuid::Uuid>().is_err() {
                words.push(outcome);
                continue;
            }
            let place = known.iter().position(|child| *child == outcome).unwrap_or(known.len());
            if place == known.len() {
                known.push(outcome);
            }
            words.push(char::from(b'a' + place as u8).to_string());
        }
        words.join(" ")
    }

    pub(super) fn evidence(&self, seq: Seq) -> String {
        let trace = self.trace(seq);
        let held = trace.findings[0]["evidence"].clone();
        let evidence = trace.events.first().map_or(held, |event| event.evidence.clone());
        evidence
            .as_array()
            .unwrap()
            .iter()
            .map(|step| format!("{}: {}", step["step"].as_str().unwrap(), step["text"].as_str().unwrap()))
            .collect::<Vec<_>>()
            .join("; ")
    }

    pub(super) fn items(&self) -> Vec<String> {
        let items = self.reader().identity_items(clock::now()).unwrap();
        items.iter().map(|item| format!("{} {}", item.kind, item.seq)).collect()
    }

    pub(super) async fn decide(&self, act: DeskAct) -> Result<Effect, StoreError> {
        self.ledger.decide(act, "looked at both", false, clock::now()).await
    }

    pub(super) fn record(&self, child: ChildId) -> Value {
        self.reader().child(child).unwrap().unwrap().record
    }

    /// What stands of a child: `A-1: text`.
    pub(super) fn facts(&self, child: ChildId) -> Vec<String> {
        let view = self.reader().child(child).unwrap().unwrap();
        let word = |row: &AggregateRow| format!("{}: {}", row.key, row.content["reviews"][0]["comment"].as_str().unwrap_or("gone"));
        view.aggregates.iter().map(word).collect()
    }

    pub(super) fn audit(&self) -> Vec<String> {
        self.reader().list("SELECT act || ' ' || reason FROM audit ORDER BY id", [], |row| row.get(0)).unwrap()
    }
}

const MULTI: &str = "pas: person may-create born=2026-01-05 sex=2 family=SAMPLE postcode=SE1_9ZZ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mother_birthday_and_birth_order_find_a_baby_without_an_identifier_of_its_own() {
    for (first, second, expected) in [
        ("mother=M1 order=1", "mother=M1 order=1", "a a"),
        ("mother=M1 births=1", "mother=M1", "a a"),
        ("mother=M1", "mother=M1 births=1", "a a"),
        // Nobody says how many were born, or in which order: two records, never one.
        ("mother=M1", "mother=M1", "a b"),
        ("mother=M1 order=1", "mother=M1", "a b"),
        ("mother=M1 births=2", "mother=M1 births=2", "a b"),
        // 8 and 9 are no order.
        ("mother=M1 order=9", "mother=M1 order=9", "a b"),
        ("mother=M1 order=8 births=1", "mother=M1 order=8", "a a"),
        // Another order is another baby.
        ("mother=M1 order=1", "mother=M1 order=2", "a b"),
        // Two with one order wait for a person.
        ("mother=M1 order=2", "mother=M1 order=2", "a identity-conflict"),
        ("mother=M1 multiple order=1", "mother=M1 order=1", "a identity-conflict"),
        ("mother=M1 order=1", "mother=M2 order=1", "a b"),
    ] {
        let mut site = Site::new().await;
        let at = "may-create born=2026-01-05";
        let messages = [format!("pas: birth {at} mrn=B1 {first}"), format!("maternity: birth {at} other=X1 {second}")];
        assert_eq!(site.told(&[&messages[0], &messages[1]]).await, expected, "{first} / {second}: {}", site.evidence(Seq(2)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_the_birth_order_is_the_baby_once_each_has_one_of_its_own() {
    let twin = |mrn: &str, order: &str| format!("pas: birth may-create born=2026-01-05 mrn={mrn} mother=M1 multiple {order}");
    let notice = |order: &str| format!("spine: birth national may-create born=2026-01-05 nhs=9990000026/01 mother=M1 {order}");
    for (first, second, third, expected) in [
        (twin("B1", "order=1"), twin("B2", "order=2"), notice("order=2"), "a b b"),
        (twin("B1", "order=1"), twin("B2", "order=2"), notice("order=1"), "a b a"),
        (twin("B1", "order=1"), twin("B2", "order=2"), notice("order=3"), "a b c"),
        (twin("B1", "order=1"), twin("B2", "order=2"), notice("order=2 sex=1"), "a b b"),
        // A hospital that gives everybody the order 1: the second baby waits, and so does the notice, whichever twin it means.
        (twin("B1", "order=1"), twin("B2", "order=1"), notice("order=1"), "a identity-conflict identity-conflict"),
        (twin("B1", "order=1"), twin("B2", ""), notice("order=1"), "a b identity-conflict"),
        // The number is the other one's.
        (twin("B1", "order=1 nhs=9990000077/01"), twin("B2", "order=2"), notice("order=1"), "a b identity-conflict"),
        (twin("B1", "order=1 sex=2"), twin("B2", "order=2 sex=2"), notice("order=1 sex=1"), "a b identity-conflict"),
    ] {
        let mut site = Site::new().await;
        assert_eq!(site.told(&[&first, &second, &third]).await, expected, "{second} / {third}: {}", site.evidence(Seq(3)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_beside_the_birth_triple_is_asked_and_not_filed() {
    for (second, expected) in [
        ("maternity: birth other=X1 sex=2", "a a"),
        ("maternity: birth other=X1 sex=1", "a identity-conflict"),
        // Another number of the same hospital: twins who were both given order 1, or one baby registered twice.
        ("maternity: birth mrn=B2", "a identity-conflict"),
        ("spine: birth national nhs=9990000077/01", "a identity-conflict"),
        ("maternity: birth other=X1 born=2026-01-06", "a identity-conflict"),
        ("maternity: birth other=X1 born=2026-01-09", "a b"),
    ] {
        let mut site = Site::new().await;
        let born = if second.contains("born=") { "" } else { "born=2026-01-05" };
        let second = format!("{second} {born} may-create mother=M1 order=1");
        let first = "pas: birth may-create mrn=B1 nhs=9990000026/01 born=2026-01-05 sex=2 mother=M1 order=1";
        assert_eq!(site.told(&[first, &second]).await, expected, "{second}: {}", site.evidence(Seq(2)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_babies_none_is_found_by_its_details() {
    let mut site = Site::new().await;
    let told = site
        .told(&[
            &format!("{MULTI} mrn=T1 mother=M1 her=SAMPLE"),
            &format!("{MULTI} mrn=T2 mother=M1 her=SAMPLE"),
            // The practice knows one of them, by nothing that tells which.
            "practice: person may-create other=X1 born=2026-01-05 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ",
        ])
        .await;
    assert_eq!(told, "a b c");
    // A name that says TWIN is enough, though nothing else does.
    let mut site = Site::new().await;
    let twin = "pas: person may-create mrn=T1 born=2026-01-05 sex=2 family=SAMPLE given=TWIN postcode=SE1_9ZZ mother=M1 her=SAMPLE";
    let told =
        site.told(&[twin, "practice: person may-create other=X1 born=2026-01-05 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ"]).await;
    assert_eq!(told, "a b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_number_for_a_child_over_eight_weeks_leads_to_nobody_and_nobody_leads_to_it() {
    let old = "practice: person may-create mrn=B1 nhs=9990000026/08 born=2025-11-10 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ mother=M1 order=1";
    // 10 January is the 61st day of a child of 10 November, and the 56th of one of 15 November.
    for (born, kind, expected) in [("2025-11-10", "person", "b"), ("2025-11-15", "person", "a"), ("2025-11-10", "birth", "a")] {
        let mut site = Site::new().await;
        let old = old.replace("2025-11-10", born).replace("nhs=9990000026/08 ", "").replace("day=2026-01-10", "");
        let new = format!(
            "spine: {kind} national may-create nhs=9990000077/01 born={born} sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ mother=M1 order=1"
        );
        let told = site.told(&[&old, &new]).await;
        assert_eq!(told, format!("a {expected}"), "{born} {kind}: {}", site.evidence(Seq(2)));
    }
    // The one that came so is not found by likeness either.
    let mut site = Site::new().await;
    let messages = [
        "spine: person national may-create nhs=9990000077/01 born=2025-11-10 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ mother=M1 order=1",
        "practice: person may-create other=X1 born=2025-11-10 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ mother=M1 order=1",
    ];
    assert_eq!(site.told(&messages).await, "a b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_records_of_one_birth_without_an_order_are_asked_about() {
    let mut site = Site::new().await;
    site.told(&[&format!("{MULTI} mrn=T1 mother=M1"), &format!("{MULTI} mrn=T2 mother=M1")]).await;
    assert_eq!(site.items(), ["possible-match 2"]);
    let (one, other) = (site.child_of(Seq(1)), site.child_of(Seq(2)));
    let effect = site.decide(DeskAct::Apart { one, other }).await.unwrap();
    assert!(effect.done && effect.text[0].contains("are two"), "{effect:?}");
    assert!(site.items().is_empty());
    // The hospital says so later all the same: not by itself.
    let seq = site.file("pas: merge mrn=T1 born=2026-01-05 gone=T2").await;
    assert_eq!(site.outcome(seq), "identity-conflict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_waits_for_its_child_and_is_filed_when_the_registration_comes() {
    let mut site = Site::new().await;
    let first = site.file("lab: review mrn=B1 born=2026-01-05 key=K1 word=first at=09:00").await;
    let second = site.file("lab: review mrn=B1 born=2026-01-05 key=K1 word=second at=11:00").await;
    let other = site.file("lab: review mrn=B2 born=2026-01-05 key=K2 word=elsewhere").await;
    assert_eq!(site.letters(&[first, second, other]), "unmatched unmatched unmatched");
    let born = site.file("pas: person may-create mrn=B1 born=2026-01-05").await;
    assert_eq!(site.letters(&[born, first, second, other]), "a a a unmatched");
    assert_eq!(site.facts(site.child_of(born)), ["K1: second"]);
    // In the order of the journal, after the message that brought the child; and nobody's act.
    let events: Vec<i64> = site.reader().child(site.child_of(born)).unwrap().unwrap().events.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(events, [first.0, second.0, born.0]);
    assert!(site.audit().is_empty());
    let account = site.reader().reconcile(None, None).unwrap();
    assert_eq!((account.unaccounted, account.unaccounted_debts), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_identifier_of_a_known_child_brings_what_waited_for_it() {
    let mut site = Site::new().await;
    let born = site.file("pas: person may-create mrn=B1 born=2026-01-05 sex=2").await;
    let result = site.file("lab: review other=X1 born=2026-01-05 key=K1 word=found").await;
    assert_eq!(site.outcome(result), "unmatched");
    site.file("pas: person mrn=B1 other=X1 born=2026-01-05").await;
    assert_eq!(site.letters(&[born, result]), "a a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_too_little_to_be_sure_is_tried_again_when_more_is_known() {
    let mut site = Site::new().await;
    let born = site.file("pas: person may-create nhs=9990000026/01 mrn=B1 born=2026-01-05").await;
    let result = site.file("lab: review nhs=9990000026/01 born=2026-01-05 sex=2 key=K1").await;
    assert_eq!(site.outcome(result), "unmatched");
    site.file("pas: person mrn=B1 born=2026-01-05 sex=2 at=11:00").await;
    assert_eq!(site.letters(&[born, result]), "a a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_names_its_mother_waits_for_her_baby() {
    let mut site = Site::new().await;
    let result = site.file("lab: review other=L1 born=2026-01-05 mother=M1 births=1 key=K1").await;
    assert_eq!(site.outcome(result), "unmatched");
    let born = site.file("maternity: birth may-create mrn=B1 born=2026-01-05 mother=M1 births=1").await;
    assert_eq!(site.letters(&[born, result]), "a a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_came_before_its_child_takes_back_what_it_meant() {
    let mut site = Site::new().await;
    let delete = site.file("lab: review delete mrn=B1 born=2026-01-05 key=K1 at=12:00").await;
    let result = site.file("lab: review mrn=B1 born=2026-01-05 key=K1 word=wrong at=11:00").await;
    let born = site.file("pas: person may-create mrn=B1 born=2026-01-05").await;
    assert_eq!(site.letters(&[born, delete, result]), "a a a");
    assert_eq!(site.facts(site.child_of(born)), ["K1: gone"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_thirty_days_a_result_is_a_persons_and_is_not_filed_by_itself() {
    let mut site = Site::new().await;
    let now = clock::now();
    let late = site.file_at("lab: review mrn=B1 born=2026-01-05 key=K1", now - (30 * 24).hours() - 1.minutes()).await;
    let soon = site.file_at("lab: review mrn=B1 born=2026-01-05 key=K2", now - (30 * 24).hours() + 10.minutes()).await;
    let items = site.reader().identity_items(now).unwrap();
    let waits: Vec<(i64, bool)> = items.iter().map(|item| (item.seq, item.waits_until.is_some())).collect();
    assert_eq!(waits, [(late.0, false), (soon.0, true)]);
    // Eleven minutes later, with nothing come meanwhile, both are a person's.
    let items = site.reader().identity_items(now + 11.minutes()).unwrap();
    assert!(items.iter().all(|item| item.waits_until.is_none()), "{items:?}");
    site.ledger.act(Box::new(move |connection| retry::give_up(connection, (now + 11.minutes()).as_microsecond()))).await.unwrap();
    assert_eq!(site.outcome(soon), WAITED);
    assert!(site.trace(soon).findings.to_string().contains("in 30 days"));
    let born = site.file("pas: person may-create mrn=B1 born=2026-01-05").await;
    assert_eq!(site.letters(&[born, late, soon]), format!("a unmatched {WAITED}"));
    // A person files it, and the decision stands.
    let child = site.child_of(born);
    let effect = site.decide(DeskAct::File { seq: soon.0, under: Some(child) }).await.unwrap();
    assert!(effect.done, "{effect:?}");
    assert_eq!(site.letters(&[born, soon]), "a a");
    assert_eq!(site.audit(), ["release looked at both", "identity-file-under looked at both"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_program_held_waits_from_the_next_start_on() {
    let mut site = Site::new().await;
    let result = site.file("lab: review mrn=B1 born=2026-01-05 key=K1").await;
    site.ledger.act(Box::new(|connection| connection.execute_batch("DELETE FROM waiting; DELETE FROM waits_for"))).await.unwrap();
    site.ledger.close().await;
    site.ledger = Site::open(site.folder.path(), &site.said).await;
    let born = site.file("pas: person may-create mrn=B1 born=2026-01-05").await;
    assert_eq!(site.letters(&[born, result]), "a a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_of_an_older_ledger_are_found_by_their_mothers_after_the_next_start() {
    let mut site = Site::new().await;
    site.file("pas: birth may-create mrn=B1 born=2026-01-05 mother=M1 order=1").await;
    site.ledger
        .act(Box::new(|connection| {
            connection.execute_batch("DELETE FROM kin; DELETE FROM likeness; DELETE FROM meta WHERE key = 'kin_through'")
        }))
        .await
        .unwrap();
    site.ledger.close().await;
    site.ledger = Site::open(site.folder.path(), &site.said).await;
    let again = site.file("maternity: birth may-create other=X1 born=2026-01-05 mother=M1 order=1").await;
    assert_eq!(site.letters(&[Seq(1), again]), "a a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_tells_the_effect_and_leaves_everything_as_it_was() {
    let mut site = Site::new().await;
    let (a, b) =
        (site.file("pas: person may-create mrn=A born=2026-01-05").await, site.file("pas: person may-create mrn=B born=2026-01-05").await);
    let (survivor, other) = (site.child_of(a), site.child_of(b));
    let before = (site.record(survivor), site.record(other));
    let act = DeskAct::Link { survivor, other, although_numbers_differ: false };
    let effect = site.ledger.decide(act.clone(), "only looking", true, clock::now()).await.unwrap();
    assert!(!effect.done && effect.text[0].contains("goes on") && effect.told.contains(&"region".to_owned()), "{effect:?}");
    assert_eq!((site.record(survivor), site.record(other)), before);
    assert!(site.audit().is_empty());
    assert_eq!(site.decide(act).await.unwrap().text, effect.text);
    assert_eq!(site.audit(), ["identity-link looked at both"]);
    let account = site.reader().reconcile(None, None).unwrap();
    assert_eq!((account.unaccounted, account.unaccounted_debts), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_verified_numbers_are_one_child_only_when_a_person_says_so_twice() {
    let mut site = Site::new().await;
    let a = site.file("pas: person may-create mrn=A nhs=9990000026/01 born=2026-01-05").await;
    let b = site.file("pas: person may-create mrn=B nhs=9990000077/01 born=2026-01-05").await;
    let (survivor, other) = (site.child_of(a), site.child_of(b));
    let link = |although_numbers_differ| DeskAct::Link { survivor, other, although_numbers_differ };
    let refused = site.decide(link(false)).await.unwrap_err();
    assert!(refused.exit == 64 && refused.text.contains("verified NHS number"), "{refused:?}");
    assert!(site.decide(link(true)).await.unwrap().done);
    let late = site.file("pas: person nhs=9990000077/01 mrn=B born=2026-01-05").await;
    assert_eq!(site.child_of(late), survivor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_one_is_two_again_and_everything_is_where_it_belongs() {
    let mut site = Site::new().await;
    let a = site.file("pas: person may-create mrn=A nhs=9990000026/01 born=2026-01-05 family=SAMPLE given=AMARA sex=2").await;
    let b = site.file("practice: person may-create mrn=B born=2026-01-05 family=SAMPLE given=AMARA sex=2 postcode=E8_4RP").await;
    site.file("lab: review mrn=A born=2026-01-05 key=KA word=hers").await;
    site.file("lab: review mrn=B born=2026-01-05 key=KB word=his").await;
    site.file("spine: proxy-consent mrn=B born=2026-01-05 account=ACC-B").await;
    let (one, other) = (site.child_of(a), site.child_of(b));
    let (before_one, before_other) = (site.record(one), site.record(other));
    let merge = site.file("pas: merge mrn=A born=2026-01-05 gone=B").await;
    assert_eq!(site.trace(merge).events.len(), 2, "{:?}", site.trace(merge));
    // What comes since: two to place, one that names both, one new fact of each.
    site.file("lab: review mrn=B born=2026-01-05 key=KB word=later at=11:00").await;
    site.file("lab: review mrn=A born=2026-01-05 key=KA2 word=new at=11:00").await;
    site.file("pas: person mrn=B other=XB born=2026-01-05 at=11:30").await;
    let both = site.file("pas: person mrn=A mrn=B born=2026-01-05 sex=2 at=12:00").await;
    assert_eq!(site.facts(one), ["KA: hers", "KA2: new", "KB: later"]);

    let effect = site.decide(DeskAct::Unlink { other }).await.unwrap();
    assert!(effect.text.iter().any(|line| line.contains("1 need a look")), "{effect:?}");
    assert_eq!(site.facts(one), ["KA: hers", "KA2: new"]);
    assert_eq!(site.facts(other), ["KB: later"]);
    let ids = |child: ChildId| -> Vec<String> {
        let record = site.record(child);
        record["identifiers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| format!("{} {}", id["value"].as_str().unwrap(), id["use"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(ids(one), ["9990000026 current", "A current"]);
    assert_eq!(ids(other), ["XB current", "B current"]);
    for (child, before) in [(one, &before_one), (other, &before_other)] {
        let now = site.record(child);
        for field in ["status", "names", "addresses", "sex", "birth", "merged_into"] {
            assert_eq!(now[field], before[field], "{field}");
        }
    }
    assert_eq!(site.items(), [format!("unmerge-unplaced {both}")]);
    // Late messages land where they belong, accounts follow their own child, and the same merge is held.
    let late = [
        site.file("lab: review mrn=B born=2026-01-05 key=KB3 word=late").await,
        site.file("lab: review other=XB born=2026-01-05 key=KB4 word=late").await,
        site.file("lab: review mrn=A born=2026-01-05 key=KA3 word=late").await,
    ];
    assert_eq!(late.map(|seq| site.child_of(seq)), [other, other, one]);
    let accounts = site
        .reader()
        .list("SELECT c.uuid, p.account FROM proxy_consent p JOIN child c ON c.id = p.child", [], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?))
        })
        .unwrap();
    assert_eq!(accounts, [(other.0.as_bytes().to_vec(), "ACC-B".to_owned())]);
    let again = site.file("pas: merge mrn=A born=2026-01-05 gone=B at=13:00").await;
    assert_eq!(site.outcome(again), "identity-conflict");
    // Both records are told to whoever had either.
    assert!(effect.told.contains(&"region".to_owned()), "{effect:?}");
    let account = site.reader().reconcile(None, None).unwrap();
    assert_eq!((account.unaccounted, account.unaccounted_debts), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_are_taken_back_newest_first() {
    let mut site = Site::new().await;
    let seqs = ["A", "B", "C"];
    let mut children = Vec::new();
    for id in seqs {
        let seq = site.file(&format!("pas: person may-create mrn={id} born=2026-01-05")).await;
        children.push(site.child_of(seq));
    }
    site.file("pas: merge mrn=B born=2026-01-05 gone=A").await;
    site.file("pas: merge mrn=C born=2026-01-05 gone=B").await;
    let refused = site.decide(DeskAct::Unlink { other: children[0] }).await.unwrap_err();
    assert!(refused.text.contains(&children[1].to_string()), "{refused:?}");
    assert!(site.decide(DeskAct::Unlink { other: children[1] }).await.unwrap().done);
    let a = site.file("pas: person mrn=A born=2026-01-05").await;
    assert_eq!(site.child_of(a), children[1], "A is a part of B still");
    assert!(site.decide(DeskAct::Unlink { other: children[0] }).await.unwrap().done);
    let a = site.file("pas: person mrn=A born=2026-01-05 at=11:00").await;
    assert_eq!(site.child_of(a), children[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_merges_into_one_record_are_taken_back_without_a_trace_of_the_others() {
    let mut site = Site::new().await;
    let mut children = Vec::new();
    for id in ["A", "B", "C"] {
        let seq = site.file(&format!("pas: person may-create mrn={id} born=2026-01-05")).await;
        children.push(site.child_of(seq));
    }
    site.file("pas: merge mrn=A born=2026-01-05 gone=B").await;
    site.file("pas: merge mrn=A born=2026-01-05 gone=C at=11:00").await;
    assert!(site.decide(DeskAct::Unlink { other: children[2] }).await.unwrap().done);
    assert!(site.decide(DeskAct::Unlink { other: children[1] }).await.unwrap().done);
    for (child, id) in children.iter().zip(["A", "B", "C"]) {
        let record = site.record(*child);
        let ids: Vec<&str> = record["identifiers"].as_array().unwrap().iter().map(|id| id["value"].as_str().unwrap()).collect();
        assert_eq!(ids, [id]);
        let late = site.file(&format!("pas: person mrn={id} born=2026-01-05 at=12:00")).await;
        assert_eq!(site.child_of(late), *child);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_went_over_with_a_merge_is_lifted_on_the_record_that_goes_on() {
    let mut site = Site::new().await;
    let a = site.file("pas: person may-create mrn=A born=2026-01-05").await;
    let (source, mut statement) = said("pas: birth may-create mrn=B born=2026-01-05");
    statement.child.flags.birth_needs_review = true;
    let b = site.file_said((source, statement), clock::now()).await;
    assert_eq!(site.items(), [format!("birth-or-death {b}")]);
    site.file("pas: merge mrn=A born=2026-01-05 gone=B").await;
    let goes_on = site.child_of(a);
    let marked = |site: &Site| site.record(goes_on)["flags"]["birth_needs_review"].as_bool().unwrap_or(false);
    assert!(marked(&site));
    let item = site.reader().identity_items(clock::now()).unwrap()[0].item.clone();
    let item = item.trim_start_matches("item-").parse().unwrap();
    assert!(site.decide(DeskAct::Close { item }).await.unwrap().done);
    assert!(!marked(&site));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_files_a_message_without_the_identifier_that_is_somebody_elses() {
    let mut site = Site::new().await;
    let born = site.file("maternity: birth may-create mrn=B1 born=2026-01-05 mother=M1 order=1").await;
    // The mother's number on the baby: both the baby's own and hers are given.
    let held = site.file("pas: person mrn=M1 mrn=B1 born=2026-01-05 sex=2").await;
    assert_eq!(site.outcome(held), "identity-conflict");
    let child = site.child_of(born);
    assert!(site.decide(DeskAct::File { seq: held.0, under: Some(child) }).await.unwrap().done);
    assert_eq!(site.child_of(held), child);
    let record = site.record(child);
    assert_eq!((record["identifiers"].as_array().unwrap().len(), record["sex"].as_str()), (1, Some("2")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_makes_a_new_child_of_a_second_baby_with_the_same_order() {
    let mut site = Site::new().await;
    let told = site
        .told(&[
            "pas: birth may-create mrn=B1 born=2026-01-05 mother=M1 order=1",
            "pas: birth may-create mrn=B2 born=2026-01-05 mother=M1 order=1",
        ])
        .await;
    assert_eq!(told, "a identity-conflict");
    assert!(site.decide(DeskAct::File { seq: 2, under: None }).await.unwrap().done);
    assert_eq!(site.letters(&[Seq(1), Seq(2)]), "a b");
    let late = site.file("lab: review mrn=B2 born=2026-01-05 key=K1").await;
    assert_eq!(site.letters(&[Seq(1), Seq(2), late]), "a b b");
    let gone = site.decide(DeskAct::Discard { seq: 2 }).await.unwrap_err();
    assert_eq!(gone.exit, 66, "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_record_takes_nothing_gives_nothing_and_leads_nowhere() {
    let mut site = Site::new().await;
    let born = site.file("pas: birth may-create mrn=B1 nhs=9990000026/01 born=2026-01-05 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ mother=M1 order=1").await;
    site.file("spine: proxy-consent mrn=B1 born=2026-01-05 account=ACC-1").await;
    let child = site.child_of(born);
    let effect = site.decide(DeskAct::Seal { child }).await.unwrap();
    assert!(effect.done && effect.text.iter().any(|line| line.contains("1 relations are closed, 1 accounts")), "{effect:?}");
    let record = site.record(child);
    assert_eq!((record["status"].as_str(), record["relations"][0]["link_status"].as_str()), (Some("sealed"), Some("adoption_severed")));
    let states: Vec<String> = site
        .reader()
        .list("SELECT DISTINCT d.state FROM debt d JOIN destination n ON n.id = d.destination WHERE n.name <> 'hub'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(states, ["withdrawn"]);
    // Under the old identifiers: the work list of a role, and neither filed nor sent on.
    let result = site.file("lab: review nhs=9990000026/01 mrn=B1 born=2026-01-05 sex=2 key=K1").await;
    assert_eq!(site.outcome(result), "record-closed");
    let items = site.reader().identity_items(clock::now()).unwrap();
    assert_eq!(items[0].role.as_deref(), Some(SEALED_ROLE));
    // The new identity, with everything the same but the number: nothing leads to the old record.
    let new = site.file("spine: person national may-create nhs=9990000077/01 born=2026-01-05 sex=2 family=NEW given=NAME postcode=SE1_9ZZ mother=M1 order=1 day=2026-06-10").await;
    assert_ne!(site.child_of(new), child);
    let young = site.file("maternity: birth may-create other=X1 born=2026-01-05 mother=M1 order=1").await;
    assert_ne!(site.child_of(young), child);
    // And no person can make them one.
    let survivor = site.child_of(new);
    let refused = site.decide(DeskAct::Link { survivor, other: child, although_numbers_differ: true }).await.unwrap_err();
    assert_eq!(refused.exit, 77, "{refused:?}");
    let refused = site.decide(DeskAct::File { seq: result.0, under: Some(child) }).await.unwrap_err();
    assert_eq!(refused.exit, 77, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mother_has_several_children_and_her_merge_moves_them_all() {
    // Under the new and under the old identifier of hers the younger one is found, and the older one is no sibling of its birth.
    for mother in ["M2", "M1"] {
        let mut site = Site::new().await;
        let first = site.file("pas: birth may-create mrn=B1 born=2024-03-01 mother=M1 order=1 day=2024-03-02").await;
        let second = site.file("pas: birth may-create mrn=B2 born=2026-01-05 mother=M1 order=1").await;
        let merge = site.file("pas: merge mrn=M2 born=1995-05-05 gone=M1").await;
        assert_eq!(site.trace(merge).entry.standing, "ignored");
        assert!(site.trace(merge).entry.reason.contains("mother's identifiers"), "{:?}", site.trace(merge));
        let again = site.file(&format!("maternity: birth may-create other=X1 born=2026-01-05 mother={mother} order=1")).await;
        assert_eq!(site.letters(&[first, second, again]), "a b b", "{mother}: {}", site.evidence(again));
        // Both of hers are nobody's own: a baby cannot have them.
        let wrong = site.file(&format!("lab: review mrn={mother} born=2026-01-05 key=K1")).await;
        assert_eq!(site.outcome(wrong), "identity-conflict", "{mother}");
        let adults = site.file("pas: merge mrn=Z1 born=1995-05-05 gone=Z2 may-create").await;
        assert_eq!(site.trace(adults).entry.reason, "19 years or older: no longer a child");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_number_on_two_babies_of_a_birth_is_held() {
    let mut site = Site::new().await;
    let told = site
        .told(&[
            "pas: birth may-create mrn=T1 nhs=9990000026/01 born=2026-01-05 sex=2 multiple mother=M1",
            "pas: birth may-create mrn=T2 nhs=9990000026/01 born=2026-01-05 sex=2 multiple mother=M1",
        ])
        .await;
    assert_eq!(told, "a identity-conflict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_number_closes_its_record_and_parents_hear_nothing() {
    let mut site = Site::new().await;
    let born = site.file("pas: person may-create mrn=B1 nhs=9990000026/01 born=2026-01-05 sex=2").await;
    let (source, mut statement) = said("spine: person national nhs=9990000026/01 born=2026-01-05 at=11:00");
    statement.child.flags.sensitivity = Some("invalid".to_owned());
    let seq = site.file_said((source, statement), clock::now()).await;
    assert_eq!(site.record(site.child_of(born))["status"], "invalidated");
    assert_eq!(site.trace(seq).withheld, [("parents".to_owned(), "invalidated".to_owned())]);
    let late = site.file("lab: review mrn=B1 born=2026-01-05 key=K1").await;
    assert_eq!(site.outcome(late), "record-closed");
}

/// Orders of arrival that keep each source's own order, by a seed.
fn interleaved(sources: &[&[&str]], seed: u64) -> Vec<String> {
    let mut at = vec![0; sources.len()];
    let (mut state, mut all) = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, Vec::new());
    while let Some(left) =
        Some((0..sources.len()).filter(|n| at[*n] < sources[*n].len()).collect::<Vec<_>>()).filter(|left| !left.is_empty())
    {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chosen = left[(state >> 33) as usize % left.len()];
        all.push(sources[chosen][at[chosen]].to_owned());
        at[chosen] += 1;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_whatever_order_sources_are_heard_the_child_is_the_same_unless_a_person_must_look() {
    let sources: [&[&str]; 4] = [
        &[
            "pas: person may-create mrn=A born=2026-01-05 sex=2 family=SAMPLE mother=M1 order=1 births=1 at=08:00",
            "pas: person mrn=A nhs=9990000026/01 born=2026-01-05 sex=2 family=SAMPLE given=AMARA at=10:00",
            "pas: merge mrn=A born=2026-01-05 gone=OLD at=15:00",
        ],
        &[
            "lab: review nhs=9990000026/01 born=2026-01-05 sex=2 key=K1 word=one at=09:00",
            "lab: review delete nhs=9990000026/01 born=2026-01-05 sex=2 key=K1 at=11:00",
            "lab: review mrn=OLD born=2026-01-05 key=K2 word=two at=13:00",
        ],
        &["spine: birth national may-create nhs=9990000026/01 born=2026-01-05 sex=2 mother=M1 order=1 births=1 at=07:30"],
        &["practice: person nhs=9990000026/01 born=2026-01-05 sex=2 family=NEW given=NORA postcode=SE1_9ZZ at=14:00"],
    ];
    let (mut expected, mut whole) = (None, 0);
    for seed in 0..24 {
        let messages = interleaved(&sources, seed);
        let mut site = Site::new().await;
        let words: Vec<&str> = messages.iter().map(String::as_str).collect();
        let told = site.told(&words).await;
        if told.split(' ').any(|outcome| outcome.len() > 1) {
            // Whatever is not filed is in a person's list and nowhere else.
            let held = told.split(' ').filter(|outcome| outcome.len() > 1).count();
            assert!(held <= site.items().len(), "seed {seed}: {told} {:?}", site.items());
            continue;
        }
        whole += 1;
        assert!(told.split(' ').all(|child| child == "a"), "seed {seed}: {told} {messages:?}");
        let child = site.child_of(Seq(1));
        let shown = (site.record(child), site.facts(child));
        let first = expected.get_or_insert_with(|| shown.clone());
        assert_eq!(&shown, first, "seed {seed}: {messages:?}");
    }
    assert!(20 <= whole, "only {whole} orders were filed whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mother_who_moves_does_not_move_her_baby_and_a_person_is_asked() {
    let mut site = Site::new().await;
    let with = |postcode: &str, at: &str| {
        let (source, mut statement) =
            said(&format!("pas: person may-create mrn=B1 born=2026-01-05 postcode=SE1_9ZZ mother=M1 her=SAMPLE at={at}"));
        let address = json!({ "postcode": postcode, "use": "home" });
        statement.child.relations[0].address = Some(serde_json::from_value(address).unwrap());
        (source, statement)
    };
    for (number, (postcode, at)) in [("SE1_9ZZ", "10:00"), ("E8_4RP", "11:00")].into_iter().enumerate() {
        let seq = site.file_said(with(postcode, at), clock::now()).await;
        assert_eq!(site.items().len(), number, "{:?}", site.trace(seq));
    }
    assert_eq!(site.items(), ["mother-moved 2"]);
    assert_eq!(site.record(site.child_of(Seq(1)))["addresses"][0]["postcode"], "SE1_9ZZ");
}
