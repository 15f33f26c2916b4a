//! Claims about what parents' accounts are sent over time, over a real ledger: hold-back and its release, consents that come and go,
//! deletions, merges, moves, and paying twice. The receiver is the test: it keeps what it would have been sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::clock;
use crate::destinations::{ParentRules, Told};
use crate::journal::{Admission, Entry, Journal};
use crate::names::{BundleHash, ChildId, Format, Seq, SourceName};
use crate::outbox::{FiledEvent, Settlement};

fn today() -> jiff::civil::Date {
    crate::failsafe::day::date_of(clock::now())
}

struct Site {
    folder: tempfile::TempDir,
    ledger: Ledger,
    next: i64,
    /// What the parents' record was sent, in its order.
    sent: Vec<Told>,
}

const A: &str = "9990000018";
const B: &str = "9990000026";

fn said(child: &str, kind: &str, time: &str, more: Value) -> Value {
    let mut statement = json!({
        "event": { "kind": kind, "at": { "value": format!("2026-01-{time}:00+00:00"), "precision": "second" }, "publisher": "LAB", "national": true },
        "child": {
            "identifiers": [{ "value": child, "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }],
            "names": [{ "family": "EXAMPLE", "given": ["TEST"], "use": "official" }],
            "birth": { "date": { "value": "2026-01-05", "precision": "day" } }, "sex": "2"
        }
    });
    for (name, value) in more.as_object().unwrap() {
        match name.as_str() {
            "event" | "child" => statement[name].as_object_mut().unwrap().extend(value.as_object().cloned().unwrap()),
            _ => statement[name] = value.clone(),
        }
    }
    statement
}

fn spot(child: &str, key: &str, time: &str, outcomes: &[(&str, &str)]) -> Value {
    let outcomes: Vec<Value> = outcomes.iter().map(|(condition, nbs)| json!({ "condition": condition, "nbs_status": nbs })).collect();
    let taken = json!({ "value": format!("2026-01-{time}:00+00:00"), "precision": "second" });
    let list = json!([{ "key": key, "sample": { "taken": taken }, "outcomes": outcomes, "comment": "zqx-comment" }]);
    said(child, "blood-spot", time, json!({ "event": { "key": key }, "blood_spots": list }))
}

fn consent(child: &str, account: &str, time: &str, status: &str) -> Value {
    said(child, "proxy-consent", time, json!({ "proxy_consents": [{ "account_id": account, "status": status, "verified_by": "a check" }] }))
}

fn given(child: &str, key: &str, time: &str, batch: &str) -> Value {
    let vaccine = json!({ "system": "http://snomed.info/sct", "code": "39114911000001105" });
    let at = json!({ "value": format!("2026-01-{time}:00+00:00"), "precision": "second" });
    let list = json!([{ "key": key, "status": "completed", "vaccine": vaccine, "occurrence": at, "batch": batch }]);
    said(child, "immunisation", time, json!({ "event": { "key": key }, "immunisations": list }))
}

fn deleted(mut statement: Value, time: &str) -> Value {
    statement["event"]["action"] = "delete".into();
    statement["event"]["at"]["value"] = format!("2026-01-{time}:00+00:00").into();
    statement
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = super::tests_filing::ledger_of_a_region_and_parents(folder.path());
        let mut site = Self { ledger, folder, next: 0, sent: Vec::new() };
        for child in [A, B] {
            site.file(said(child, "person", "06T00:00", json!({ "event": { "may_create": true } }))).await;
        }
        site
    }

    async fn file(&mut self, statement: Value) -> Seq {
        self.next += 1;
        let entry = Entry {
            source: SourceName::new("lab"),
            format: Format::Hl7v2,
            kind: "ORU^R01".into(),
            control_id: format!("T{}", self.next),
            body: Bytes::from(format!("MSH|{}", self.next)),
            arrived: "2026-02-01T08:00:00Z".parse().unwrap(),
            admission: Admission::Accepted,
        };
        let seq = self.ledger.append(entry).await.unwrap().seq();
        let prepared = Prepared {
            seq,
            source: SourceName::new("lab"),
            control_id: format!("T{}", self.next),
            arrived_us: 1_769_932_800_000_000,
            rank: 3,
            mapping: None,
            bundle: BundleHash::new("none"),
            findings: String::new(),
            contents: Vec::new(),
            outcome: PreparedOutcome::File(vec![serde_json::from_value(statement).unwrap()]),
            released_by: None,
            apart: false,
        };
        assert!(self.ledger.file(vec![prepared]).await);
        assert_eq!(self.reader().standing(seq).unwrap(), Some(crate::journal::Standing::Filed));
        seq
    }

    fn reader(&self) -> LedgerReader {
        LedgerReader::open(self.folder.path()).unwrap()
    }

    fn child(&self, child: &str) -> ChildId {
        self.reader().children_by_identifier(child).unwrap()[0]
    }

    fn withheld(&self, seq: Seq) -> Option<String> {
        let trace = self.reader().trace(seq).unwrap().unwrap();
        trace.withheld.into_iter().find(|(name, _)| name == "parents").map(|(_, rule)| rule)
    }

    /// Pays what is owed to parents as the payer does; gives what was sent now, or the rule that withdrew it.
    async fn pay(&mut self) -> Vec<Result<Told, &'static str>> {
        let reader = self.reader();
        let owed = reader.owed_lanes("parents", 0, 100).unwrap();
        let mut paid = Vec::new();
        for (debt, _) in owed {
            let debt = reader.owed_debt(debt).unwrap().unwrap();
            let told = self.told_now(&debt, &ParentRules::default());
            let settlement = match &told {
                Ok(told) => {
                    self.ledger.note_told(vec![(debt.child, told.clone(), true)], clock::now()).await.unwrap();
                    self.sent.push(told.clone());
                    Settlement::Delivered
                }
                Err(rule) => Settlement::Withdrawn { rule },
            };
            assert!(self.ledger.settle(vec![(debt.id, 1, settlement)]).await);
            paid.push(told);
        }
        paid
    }

    fn told_now(&self, debt: &OwedDebt, rules: &ParentRules) -> Result<Told, &'static str> {
        let event: FiledEvent = serde_json::from_slice(&debt.event).unwrap();
        self.reader().told_now((debt.child, event), debt.body.as_deref().unwrap(), (rules, clock::now(), debt.turn)).unwrap()
    }

    async fn inform(&self, child: &str, about: About, is_trial: bool) -> Result<Effect, StoreError> {
        self.informed_on(child, about, today(), is_trial).await
    }

    async fn informed_on(&self, child: &str, about: About, told: jiff::civil::Date, is_trial: bool) -> Result<Effect, StoreError> {
        let act = DeskAct::Inform { child: self.child(child), about, told };
        self.ledger.decide(act, "told at home by the health visitor", is_trial, clock::now()).await
    }

    /// What an account has now, by what it says: status and outcome of each.
    fn has(&self, account: &str) -> BTreeMap<String, String> {
        let mut has = BTreeMap::new();
        for told in self.sent.iter().filter(|told| told.accounts.iter().any(|one| one == account)) {
            let bundle: Value = serde_json::from_slice(&told.body).unwrap();
            for item in told.items.iter().filter(|item| item.what != "child") {
                let resource = bundle["entry"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| &entry["resource"])
                    .find(|resource| item.resource.ends_with(resource["id"].as_str().unwrap_or("none")));
                let resource = resource.unwrap();
                let code = resource["valueCodeableConcept"]["coding"][0]["code"].as_str().or(resource["lotNumber"].as_str());
                let words = format!("{} {}", resource["status"].as_str().unwrap(), code.unwrap_or_default());
                has.insert(item.what.split('/').take(2).collect::<Vec<_>>().join("/"), words.trim().to_owned());
            }
        }
        has
    }

    fn sent_text(&self) -> String {
        self.sent.iter().map(|told| String::from_utf8_lossy(&told.body).into_owned()).collect()
    }
}

fn spots(of: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    of.iter().filter(|(what, _)| what.starts_with("blood-spot")).map(|(what, words)| (what.as_str(), words.as_str())).collect()
}

#[tokio::test]
async fn what_is_held_back_goes_out_once_a_hub_noted_that_the_parents_were_told_and_never_before() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    let held = site.file(spot(A, "26N1", "10T09:00", &[("PKU", "04"), ("SCD", "05"), ("CF", "08")])).await;
    assert_eq!(site.withheld(held).as_deref(), Some("hold-back"));
    site.pay().await;
    // Whatever else happens, it does not slip out beside another event.
    site.file(given(A, "V-1", "11T09:00", "AB1")).await;
    site.file(said(A, "person", "12T09:00", json!({}))).await;
    site.file(consent(A, "ACC-2", "12T10:00", "active")).await;
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), []);
    assert_eq!(spots(&site.has("ACC-2")), []);
    assert!(site.has("ACC-2").len() == 1, "the vaccination: {:?}", site.has("ACC-2"));

    let tried = site.inform(A, About::BloodSpot, true).await.unwrap();
    assert!(!tried.done && tried.text[0].contains("held back: 1") && tried.told == ["parents"], "{tried:?}");
    assert!(site.pay().await.is_empty(), "a trial sends nothing");
    let done = site.inform(A, About::BloodSpot, false).await.unwrap();
    assert!(done.done && done.told == ["parents"], "no other destination hears of it: {done:?}");
    site.pay().await;
    let all = [("blood-spot/CF", "final 08"), ("blood-spot/PKU", "final 04"), ("blood-spot/SCD", "final 05")];
    assert_eq!(spots(&site.has("ACC-1")), all);
    assert_eq!(spots(&site.has("ACC-2")), all);
    assert!(!site.sent_text().contains("zqx"), "and no comment");
    let again = site.inform(A, About::BloodSpot, false).await.unwrap_err();
    assert!(again.text.contains("nothing about blood-spot is held back"), "{}", again.text);
    let audit: i64 =
        site.reader().read(|c| c.query_row("SELECT count(*) FROM audit WHERE act = 'parents-informed'", [], |row| row.get(0))).unwrap();
    assert_eq!(audit, 1);
}

#[tokio::test]
async fn the_region_gets_what_is_held_back_from_parents_at_once_and_hears_nothing_of_the_note() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.file(spot(A, "26N1", "10T09:00", &[("CF", "08")])).await;
    let region = |site: &Site| site.reader().owed("region", 0, 100).unwrap();
    let last = region(&site).pop().unwrap();
    assert!(String::from_utf8(last.body.unwrap()).unwrap().contains("condition suspected"));
    let before = region(&site).len();
    site.inform(A, About::BloodSpot, false).await.unwrap();
    assert_eq!(region(&site).len(), before);
}

#[tokio::test]
async fn a_correction_of_a_result_that_parents_were_told_of_waits_for_a_person_again() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.file(spot(A, "26N1", "10T09:00", &[("CF", "08")])).await;
    site.inform(A, About::BloodSpot, false).await.unwrap();
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), [("blood-spot/CF", "final 08")]);
    let corrected = site.file(spot(A, "26N1", "12T09:00", &[("CF", "05")])).await;
    assert_eq!(site.withheld(corrected).as_deref(), Some("hold-back"));
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), [("blood-spot/CF", "final 08")]);
    site.inform(A, About::BloodSpot, false).await.unwrap();
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), [("blood-spot/CF", "final 05")]);
}

#[tokio::test]
async fn hearing_and_physical_examination_are_held_back_and_released_each_by_itself() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    let at = json!({ "value": "2026-01-08T09:00:00+00:00", "precision": "second" });
    let screen = json!([{ "key": "H-1", "at": at, "summary_status": "no_clear_both" }]);
    let hearing = site.file(said(A, "hearing", "08T09:00", json!({ "hearing_screens": screen }))).await;
    let exam = json!([{ "key": "N-1", "at": at, "kind": "newborn_72h", "hips": { "status": "abnormality_suspected" }, "eyes": { "status": "no_abnormality" } }]);
    let nipe = site.file(said(A, "nipe", "08T10:00", json!({ "nipe_exams": exam }))).await;
    assert_eq!([site.withheld(hearing), site.withheld(nipe)], [Some("hold-back".to_owned()), Some("hold-back".to_owned())]);
    site.inform(A, About::Hearing, false).await.unwrap();
    site.pay().await;
    assert_eq!(site.has("ACC-1").keys().cloned().collect::<Vec<_>>(), ["hearing"]);
    site.inform(A, About::PhysicalExamination, false).await.unwrap();
    site.pay().await;
    assert_eq!(site.has("ACC-1").len(), 3, "{:?}", site.has("ACC-1"));
}

#[tokio::test]
async fn a_new_account_is_sent_the_record_so_far_and_a_revoked_one_nothing_more_without_a_recall() {
    let mut site = Site::new().await;
    site.file(given(A, "V-1", "08T09:00", "AB1")).await;
    site.file(spot(A, "26N1", "10T09:00", &[("PKU", "04")])).await;
    assert!(site.pay().await.is_empty(), "nobody follows the child");
    site.file(consent(A, "ACC-1", "11T00:00", "active")).await;
    site.pay().await;
    assert_eq!(site.has("ACC-1").len(), 2, "{:?}", site.has("ACC-1"));
    // What was owed before the revocation is not sent any more either.
    site.file(given(A, "V-2", "12T09:00", "AB2")).await;
    site.file(consent(A, "ACC-1", "12T10:00", "revoked")).await;
    assert_eq!(site.pay().await, [Err("no-proxy-consent")]);
    let later = site.file(given(A, "V-3", "13T09:00", "AB3")).await;
    assert_eq!(site.withheld(later).as_deref(), Some("no-proxy-consent"));
    assert_eq!(site.has("ACC-1").len(), 2);
    assert!(!site.sent_text().contains("entered-in-error"), "no recall");
    // Given again: what came meanwhile, and what it has is not sent twice.
    site.file(consent(A, "ACC-1", "14T10:00", "active")).await;
    let paid = site.pay().await;
    assert_eq!(paid.len(), 1);
    assert_eq!(paid[0].as_ref().unwrap().items.iter().filter(|item| item.what.starts_with("immunisation")).count(), 2);
    assert!(!String::from_utf8_lossy(&paid[0].as_ref().unwrap().body).contains("AB1"));
}

#[tokio::test]
async fn a_deletion_goes_to_the_accounts_that_were_sent_it_and_says_nothing_else() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    let vaccination = given(A, "V-1", "08T09:00", "AB1");
    site.file(vaccination.clone()).await;
    site.pay().await;
    site.file(deleted(vaccination.clone(), "09T09:00")).await;
    // Consented after the deletion: was never sent it, and hears nothing of it.
    site.file(consent(A, "ACC-2", "09T10:00", "active")).await;
    site.pay().await;
    assert_eq!(site.has("ACC-1").values().collect::<Vec<_>>(), ["entered-in-error"]);
    assert!(site.has("ACC-2").is_empty(), "{:?}", site.has("ACC-2"));
    let last = site.sent.iter().find(|told| String::from_utf8_lossy(&told.body).contains("entered-in-error")).unwrap();
    assert!(last.accounts == ["ACC-1"] && !String::from_utf8_lossy(&last.body).contains("AB1"));
    // What was never sent is not taken back.
    let never = given(B, "V-9", "08T09:00", "AB9");
    site.file(never.clone()).await;
    site.file(consent(B, "ACC-3", "10T00:00", "active")).await;
    let gone = site.file(deleted(never, "10T09:00")).await;
    let before = site.sent.len();
    site.pay().await;
    assert!(!site.sent[before..].iter().any(|told| String::from_utf8_lossy(&told.body).contains("entered-in-error")));
    assert_eq!(site.withheld(gone), None, "a debt, because the record so far was not sent yet; it is withdrawn");
}

#[tokio::test]
async fn of_two_samples_the_deletion_of_one_leaves_what_the_other_says() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.file(spot(A, "26N1", "10T09:00", &[("PKU", "04"), ("CF", "04")])).await;
    let second = spot(A, "26N2", "12T09:00", &[("PKU", "04")]);
    site.file(second.clone()).await;
    site.pay().await;
    site.file(deleted(second, "13T09:00")).await;
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), [("blood-spot/CF", "final 04"), ("blood-spot/PKU", "final 04")]);
}

#[tokio::test]
async fn paid_again_it_is_the_same_and_a_narrower_file_holds_for_what_waits() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.pay().await;
    site.file(given(A, "V-1", "08T09:00", "AB1")).await;
    let debt = site.reader().owed("parents", 0, 10).unwrap().pop().unwrap();
    let first = site.told_now(&debt, &ParentRules::default()).unwrap();
    assert_eq!(Some(&first.body), debt.body.as_ref(), "the bytes that were rendered first");
    for sure in [false, true] {
        site.ledger.note_told(vec![(debt.child, first.clone(), sure)], clock::now()).await.unwrap();
        assert_eq!(site.told_now(&debt, &ParentRules::default()).unwrap().body, first.body, "a repeat is the same");
    }
    let text = include_str!("../../mappings/parents-record.toml")
        .replace("\"immunisation.given\" = \"send\"", "\"immunisation.given\" = \"never\"");
    assert_eq!(site.told_now(&debt, &ParentRules::load(&text, "p.toml").unwrap()), Err("not-on-allow-list"));
}

/// Rows of the never-list that arise over time, and each way something reaches an account by.
#[tokio::test]
async fn nothing_of_the_never_list_arrives_by_any_way() {
    type Plant = fn(&str, &str) -> Value;
    let rows: [(&str, Plant, bool); 6] = [
        ("restricted", |child, time| said(child, "person", time, json!({ "child": { "flags": { "sensitivity": "restricted" } } })), true),
        ("hidden", |child, time| said(child, "person", time, json!({ "child": { "flags": { "local_hiding": true } } })), true),
        ("dissent", |child, time| said(child, "person", time, json!({ "child": { "flags": { "share_consent": "dissent" } } })), true),
        ("death", |child, time| said(child, "death", time, json!({ "child": { "death": { "status": "informal" } } })), true),
        (
            "mother, address, telephone",
            |child, time| {
                let mother = json!({ "kind": "12", "name": { "family": "ZQX-MOTHER" }, "identifiers": [{ "value": "zqx-mrn", "system": "urn:v2:RJ1" }] });
                let home = json!([{ "lines": ["zqx street"], "postcode": "SE1 9ZZ", "use": "home" }]);
                said(
                    child,
                    "person",
                    time,
                    json!({ "child": { "relations": [mother], "addresses": home, "telecoms": [{ "value": "zqx-phone" }] } }),
                )
            },
            false,
        ),
        (
            "concerns and comments",
            |child, time| {
                let at = json!({ "value": format!("2026-01-{time}:00+00:00"), "precision": "second" });
                let weight = json!([{ "kind": "weight", "qty": { "value": "4.2", "unit": "kg" } }]);
                let review =
                    json!([{ "key": "R-1", "at": at, "comment": "zqx-comment", "concerns": ["zqx-safeguarding"], "measurements": weight }]);
                said(child, "review", time, json!({ "reviews": review, "documents": [{ "key": "D-1", "author": "zqx" }] }))
            },
            false,
        ),
    ];
    for (what, plant, stops) in rows {
        let mut site = Site::new().await;
        site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
        site.file(given(A, "V-1", "07T09:00", "AB1")).await;
        site.pay().await;
        let before = site.sent.len();
        // Owed before, and paid after.
        site.file(given(A, "V-2", "08T09:00", "AB2")).await;
        site.file(plant(A, "09T09:00")).await;
        // New, update, delete, a new account, another result, a merge, and all of it paid again.
        site.file(given(A, "V-2", "10T09:00", "AB22")).await;
        site.file(given(A, "V-3", "10T10:00", "AB3")).await;
        site.file(deleted(given(A, "V-1", "07T09:00", "AB1"), "10T11:00")).await;
        site.file(consent(A, "ACC-2", "10T12:00", "active")).await;
        site.file(spot(A, "26N1", "11T09:00", &[("PKU", "04")])).await;
        let act = DeskAct::Link { survivor: site.child(A), other: site.child(B), although_numbers_differ: true };
        site.ledger.decide(act, "one child", false, clock::now()).await.unwrap();
        site.file(said(A, "person", "12T09:00", json!({}))).await;
        site.pay().await;
        let text = site.sent_text().to_lowercase();
        assert!(
            !text.contains("zqx") && !text.contains("se1 9zz") && !text.contains("restricted") && !text.contains("deceased"),
            "{what}: {text}"
        );
        if stops {
            assert_eq!(site.sent.len(), before, "{what}: nothing after it");
        } else {
            assert!(before < site.sent.len(), "{what}: the rest is sent");
        }
        let errors: Vec<String> = site.reader().list("SELECT why FROM debt", [], |row| row.get(0)).unwrap();
        assert!(!errors.join(" ").to_lowercase().contains("zqx"), "{errors:?}");
    }
}

#[tokio::test]
async fn a_sealed_record_is_silent_and_what_waited_is_withdrawn() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.file(given(A, "V-1", "08T09:00", "AB1")).await;
    let child = site.child(A);
    site.ledger.decide(DeskAct::Seal { child }, "adoption", false, clock::now()).await.unwrap();
    assert!(site.pay().await.is_empty());
    let refused =
        site.ledger.decide(DeskAct::Inform { child, about: About::BloodSpot, told: today() }, "x", false, clock::now()).await.unwrap_err();
    assert_eq!(refused.exit, 77);
}

#[tokio::test]
async fn a_siblings_result_goes_to_the_siblings_account_alone() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-A", "07T00:00", "active")).await;
    site.file(consent(B, "ACC-B", "07T00:00", "active")).await;
    site.file(given(B, "V-B", "08T09:00", "BB1")).await;
    site.file(spot(A, "26N1", "10T09:00", &[("PKU", "04")])).await;
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-B")), []);
    assert!(!site.has("ACC-A").values().any(|words| words.contains("BB1")));
}

#[tokio::test]
async fn after_a_merge_the_account_follows_the_record_that_goes_on_and_what_it_was_sent_can_be_taken_back() {
    let mut site = Site::new().await;
    site.file(consent(B, "ACC-B", "07T00:00", "active")).await;
    let vaccination = given(B, "V-B", "08T09:00", "BB1");
    site.file(vaccination.clone()).await;
    site.pay().await;
    let act = DeskAct::Link { survivor: site.child(A), other: site.child(B), although_numbers_differ: true };
    site.ledger.decide(act, "one child", false, clock::now()).await.unwrap();
    site.pay().await;
    site.file(deleted(vaccination, "09T09:00")).await;
    site.pay().await;
    let texts = site.sent_text();
    assert!(texts.contains("entered-in-error"), "{texts}");
    assert!(!texts.contains(&format!("{A}\"")) || site.sent.iter().all(|told| told.accounts == ["ACC-B"]));
}

#[tokio::test]
async fn what_may_have_arrived_is_said_again_in_the_same_bytes_and_is_taken_back_later() {
    let mut site = Site::new().await;
    let vaccination = given(A, "V-1", "08T09:00", "AB1");
    site.file(vaccination.clone()).await;
    site.file(consent(A, "ACC-1", "09T00:00", "active")).await;
    let owed = |site: &Site| site.reader().owed("parents", 0, 10).unwrap();
    let so_far = owed(&site).pop().unwrap();
    let first = site.told_now(&so_far, &ParentRules::default()).unwrap();
    // No answer came: the record so far is news still.
    site.ledger.note_told(vec![(so_far.child, first.clone(), false)], clock::now()).await.unwrap();
    assert_eq!(site.told_now(&so_far, &ParentRules::default()).unwrap().body, first.body);
    assert!(site.ledger.settle(vec![(so_far.id, 1, Settlement::Withdrawn { rule: "restricted" })]).await);
    // It may be there all the same: the deletion is sent, and again until an answer comes.
    site.file(deleted(vaccination, "10T09:00")).await;
    let back = owed(&site).pop().unwrap();
    let gone = site.told_now(&back, &ParentRules::default()).unwrap();
    assert!(String::from_utf8_lossy(&gone.body).contains("entered-in-error"));
    site.ledger.note_told(vec![(back.child, gone.clone(), false)], clock::now()).await.unwrap();
    assert_eq!(site.told_now(&back, &ParentRules::default()).unwrap(), gone);
    site.ledger.note_told(vec![(back.child, gone, true)], clock::now()).await.unwrap();
    assert_eq!(site.told_now(&back, &ParentRules::default()), Err("delete-not-sent"));
}

#[tokio::test]
async fn what_an_account_was_sent_of_another_child_is_taken_back_when_the_two_are_two_again() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-A", "07T00:00", "active")).await;
    site.file(given(B, "V-B", "08T09:00", "BB1")).await;
    let (a, b) = (site.child(A), site.child(B));
    site.ledger
        .decide(DeskAct::Link { survivor: a, other: b, although_numbers_differ: true }, "one child", false, clock::now())
        .await
        .unwrap();
    site.file(said(A, "person", "09T09:00", json!({}))).await;
    site.pay().await;
    assert!(site.has("ACC-A").values().any(|words| words.contains("BB1")), "{:?}", site.has("ACC-A"));
    site.ledger.decide(DeskAct::Unlink { other: b }, "two children after all", false, clock::now()).await.unwrap();
    site.pay().await;
    assert_eq!(site.has("ACC-A").values().collect::<Vec<_>>(), ["entered-in-error"]);
}

#[tokio::test]
async fn a_repeat_that_was_asked_for_waits_for_a_person_and_does_not_keep_back_the_sample_that_answers_it() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    let first = site.file(spot(A, "26N1", "10T09:00", &[("PKU", "04"), ("CF", "03")])).await;
    assert_eq!(site.withheld(first).as_deref(), Some("hold-back"));
    site.file(spot(A, "26N2", "20T09:00", &[("CF", "04")])).await;
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), [("blood-spot/CF", "final 04")]);
    // Once the parents were told, the rest of the first card comes, and not the outcome that the second one answered.
    site.inform(A, About::BloodSpot, false).await.unwrap();
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), [("blood-spot/CF", "final 04"), ("blood-spot/PKU", "final 04")]);
}

fn with_outcome(mut card: Value, result: &str, time: &str) -> Value {
    card["blood_spots"][0]["outcomes"][0]["result_status"] = result.into();
    card["event"]["at"]["value"] = format!("2026-01-{time}:00+00:00").into();
    card
}

fn person(child: &str, time: &str, flags: Value) -> Value {
    said(child, "person", time, json!({ "child": { "flags": flags } }))
}

/// A person must look at it (`needs-review`), and the account has it all the same until it is taken back.
#[tokio::test]
async fn an_outcome_of_another_child_is_taken_back_at_once_from_whoever_was_sent_it() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    let card = spot(A, "26N1", "10T09:00", &[("PKU", "04"), ("CF", "04")]);
    site.file(card.clone()).await;
    site.pay().await;
    let wrong = site.file(with_outcome(card, "wrong_patient", "11T09:00")).await;
    assert!(site.reader().read(|c| super::reviews::is_open(c, 1, "blood-spot")).unwrap(), "a person is told");
    assert_eq!(site.withheld(wrong), None);
    // A later card comes before it is paid: nothing takes the debt away.
    site.file(spot(A, "26N2", "12T09:00", &[("MCADD", "08")])).await;
    let paid = site.pay().await;
    assert!(paid.iter().any(Result::is_ok), "{paid:?}");
    assert_eq!(site.has("ACC-1")["blood-spot/PKU"], "entered-in-error");
    assert_eq!(site.has("ACC-1")["blood-spot/CF"], "final 04");
}

#[tokio::test]
async fn what_was_deleted_while_the_account_could_not_be_written_to_is_taken_back_with_the_next_event_after_it() {
    type Pause = [Value; 2];
    let pauses: [(&str, Pause); 3] = [
        (
            "restricted",
            [
                person(A, "09T09:00", json!({ "sensitivity": "restricted" })),
                person(A, "11T09:00", json!({ "sensitivity": "unrestricted" })),
            ],
        ),
        (
            "dissent",
            [
                person(A, "09T09:00", json!({ "share_consent": "dissent" })),
                person(A, "11T09:00", json!({ "share_consent": "express_consent" })),
            ],
        ),
        ("no-proxy-consent", [consent(A, "ACC-1", "09T09:00", "revoked"), consent(A, "ACC-1", "11T09:00", "active")]),
    ];
    for (rule, [begins, ends]) in pauses {
        let mut site = Site::new().await;
        site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
        let vaccination = given(A, "V-1", "08T09:00", "AB1");
        site.file(vaccination.clone()).await;
        site.pay().await;
        site.file(begins).await;
        let gone = site.file(deleted(vaccination, "10T09:00")).await;
        assert_eq!(site.withheld(gone).as_deref(), Some(rule));
        site.pay().await;
        assert_eq!(site.has("ACC-1").values().collect::<Vec<_>>(), ["completed AB1"], "{rule}");
        site.file(ends).await;
        site.pay().await;
        assert_eq!(site.has("ACC-1").values().collect::<Vec<_>>(), ["entered-in-error"], "{rule}");
        let before = site.sent.len();
        site.file(given(A, "V-2", "12T09:00", "AB2")).await;
        site.pay().await;
        let later: String = site.sent[before..].iter().map(|told| String::from_utf8_lossy(&told.body).into_owned()).collect();
        assert!(later.contains("AB2") && !later.contains("entered-in-error"), "{rule}: taken back once");
    }
}

#[tokio::test]
async fn a_result_that_came_after_the_day_on_which_the_parents_were_told_stays_held_back() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.file(spot(A, "26N1", "10T09:00", &[("SCD", "05")])).await;
    let (yesterday, tomorrow) = (today().yesterday().unwrap(), today().tomorrow().unwrap());
    let refused = site.informed_on(A, About::BloodSpot, yesterday, false).await.unwrap_err();
    assert!(refused.text.contains(&format!("a result that came on {}", today())), "{}", refused.text);
    assert_eq!(site.informed_on(A, About::BloodSpot, tomorrow, false).await.unwrap_err().exit, 64, "a day to come");
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), []);
    let effect = site.informed_on(A, About::BloodSpot, today(), false).await.unwrap();
    assert!(effect.text.contains(&format!("released: a result that came on {}", today())), "{:?}", effect.text);
    site.pay().await;
    assert_eq!(spots(&site.has("ACC-1")), [("blood-spot/SCD", "final 05")]);
}

impl Site {
    /// Sends again what fits; gives of one destination how many are sent, had, owed already, and forbidden.
    async fn replay(&self, query: &str, to: &str, force: bool) -> [i64; 4] {
        let order = ReplayOrder { query: query.parse().unwrap(), to: None, fresh: false, force, per_second: 100 };
        let (reader, rules) = (self.reader(), self.ledger.filing_rules());
        let plan = reader.replay_plan(rules, &order).unwrap();
        self.ledger.begin_replay(&order, plan.events, "they lost something", clock::now()).await.unwrap();
        let running = reader.running_replay().unwrap().unwrap();
        let batch = reader.replay_batch(rules, &running.order, running.cursor, 1_000).unwrap();
        let line = plan.destinations.iter().find(|line| line.destination == to).cloned().unwrap_or_default();
        assert_eq!(i64::try_from(batch.debts()).unwrap(), plan.destinations.iter().map(|line| line.send).sum::<i64>());
        assert_eq!(self.ledger.replay(&running, batch, clock::now()).await.unwrap(), line.send, "each has a debt of its own");
        [line.send, line.has, line.owed, line.forbidden]
    }

    /// Pays what is owed to the region, each with what it was rendered as.
    async fn pay_region(&self, how: impl Fn(i64) -> crate::outbox::Settled) {
        for (debt, _) in self.reader().owed_lanes("region", 0, 100).unwrap() {
            assert!(self.ledger.settle(vec![how(debt)]).await);
        }
    }

    /// Of debts to parents that wait: a person withdraws those that `is_it`.
    async fn discard(&self, is_it: impl Fn(&OwedDebt) -> bool) -> usize {
        let (reader, mut discarded) = (self.reader(), 0);
        for (debt, _) in reader.owed_lanes("parents", 0, 100).unwrap() {
            if is_it(&reader.owed_debt(debt).unwrap().unwrap()) {
                assert!(self.ledger.settle(vec![(debt, 1, Settlement::Held { why: "HTTP 422".into() })]).await);
                let by = HeldAct::Discard { by: "A TEST".into() };
                self.ledger.held_debts(HeldDebts::One(debt), by, ("wrong", false), clock::now()).await.unwrap();
                discarded += 1;
            }
        }
        discarded
    }
}

#[tokio::test]
async fn sent_again_to_parents_nothing_that_was_taken_back_or_corrected_returns_and_what_they_have_is_left_out() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.file(given(A, "V-1", "08T09:00", "AB1")).await;
    site.pay().await;
    // The second account came later: what the first was sent is another body today.
    site.file(consent(A, "ACC-2", "08T10:00", "active")).await;
    site.pay().await;
    site.file(given(A, "V-1", "09T09:00", "AB2")).await;
    let second = given(A, "V-2", "10T09:00", "AB3");
    site.file(second.clone()).await;
    site.pay().await;
    site.file(deleted(second, "11T09:00")).await;
    site.pay().await;
    let before = ["ACC-1", "ACC-2"].map(|account| site.has(account));
    for has in &before {
        let mut says: Vec<&str> = has.values().map(String::as_str).collect();
        says.sort_unstable();
        assert_eq!(says, ["completed AB2", "entered-in-error"]);
    }
    let sent = site.sent.len();
    let [send, had, owed, _] = site.replay("destination=parents", "parents", false).await;
    assert_eq!((send, owed), (0, 0), "they have all of it");
    assert!(3 <= had, "among it both that take back: {had}");
    assert!(site.pay().await.is_empty() && site.sent.len() == sent);
    // They lost their database: what stands goes, as it stands.
    let [send, ..] = site.replay("destination=parents", "parents", true).await;
    assert!(0 < send);
    site.pay().await;
    let again: String = site.sent[sent..].iter().map(|told| String::from_utf8_lossy(&told.body).into_owned()).collect();
    assert!(again.contains("AB2") && !again.contains("AB1") && !again.contains("AB3"), "{again}");
    assert_eq!(["ACC-1", "ACC-2"].map(|account| site.has(account)), before);
}

#[tokio::test]
async fn what_an_account_never_got_goes_to_that_account_and_the_other_is_not_written_to() {
    let mut site = Site::new().await;
    for account in ["ACC-1", "ACC-2"] {
        site.file(consent(A, account, "07T00:00", "active")).await;
    }
    site.pay().await;
    let vaccination = given(A, "V-1", "08T09:00", "AB1");
    site.file(vaccination.clone()).await;
    // The first account has it (the answer for both was a refusal that a person then put away).
    let (debt, _) = site.reader().owed_lanes("parents", 0, 100).unwrap()[0];
    let debt = site.reader().owed_debt(debt).unwrap().unwrap();
    let told = site.told_now(&debt, &ParentRules::default()).unwrap();
    let to_first = Told { accounts: vec!["ACC-1".into()], ..told };
    site.ledger.note_told(vec![(debt.child, to_first.clone(), true)], clock::now()).await.unwrap();
    site.sent.push(to_first);
    assert_eq!(site.discard(|_| true).await, 1);
    let [send, ..] = site.replay("destination=parents since=2026-01-01", "parents", false).await;
    assert_eq!(send, 2, "the vaccination, and the consent of who lacks it, which would bring it along");
    let paid = site.pay().await;
    assert_eq!((paid.len(), &paid[1]), (2, &Err("nothing-new")), "whichever is first");
    assert_eq!(paid[0].as_ref().unwrap().accounts, ["ACC-2"]);
    assert_eq!(site.has("ACC-2").values().collect::<Vec<_>>(), ["completed AB1"]);

    // It is taken back from both; one of these debts is paid, the other put away.
    site.file(deleted(vaccination, "09T09:00")).await;
    let of = |debt: &OwedDebt, account: &str| String::from_utf8_lossy(debt.body.as_deref().unwrap()).contains(account);
    assert_eq!(site.discard(|debt| of(debt, "ACC-2")).await, 1);
    let paid = site.pay().await;
    assert!(paid.len() == 1 && paid[0].as_ref().unwrap().accounts == ["ACC-1"]);
    let [send, had, ..] = site.replay("destination=parents", "parents", false).await;
    assert!(send == 1 && 0 < had, "{send} sent, {had} had");
    let paid = site.pay().await;
    assert_eq!(paid.len(), 1);
    assert_eq!(paid[0].as_ref().unwrap().accounts, ["ACC-2"]);
    assert_eq!([site.has("ACC-1"), site.has("ACC-2")].map(|has| has.into_values().collect::<Vec<_>>()), [["entered-in-error"]; 2]);
    let [send, ..] = site.replay("destination=parents", "parents", true).await;
    let paid = site.pay().await;
    assert!(paid.iter().flatten().all(|told| !String::from_utf8_lossy(&told.body).contains("AB1")), "{send} by force");
}

#[tokio::test]
async fn both_that_are_owed_of_one_event_are_made_again_and_neither_twice() {
    let mut site = Site::new().await;
    for account in ["ACC-1", "ACC-2"] {
        site.file(consent(A, account, "07T00:00", "active")).await;
    }
    let vaccination = given(A, "V-1", "08T09:00", "AB1");
    site.file(vaccination.clone()).await;
    site.pay().await;
    site.file(deleted(vaccination, "09T09:00")).await;
    assert_eq!(site.discard(|_| true).await, 2);
    let [send, ..] = site.replay("destination=parents", "parents", false).await;
    assert_eq!(send, 2, "from each account by itself");
    let [send, _, owed, _] = site.replay("destination=parents", "parents", false).await;
    assert_eq!((send, owed), (0, 2));
    site.pay().await;
    assert_eq!([site.has("ACC-1"), site.has("ACC-2")].map(|has| has.into_values().collect::<Vec<_>>()), [["entered-in-error"]; 2]);
}

#[tokio::test]
async fn without_force_only_what_a_receiver_had_in_another_body_goes_under_a_key_of_its_own() {
    use crate::outbox::Settled;
    let mut site = Site::new().await;
    let all = site.reader().owed_lanes("region", 0, 100).unwrap().len();
    assert_eq!(all, 2, "the two children");
    let key_of = |site: &Site, debt: i64| site.reader().owed_debt(debt).unwrap().unwrap().forced_by;
    // It has both, as they were rendered.
    site.pay_region(|debt| (debt, 1, Settlement::Delivered).into()).await;
    assert_eq!(site.replay("destination=region", "region", false).await, [0, 2, 0, 0]);
    // It has another rendering of the third: what is sent now has a key of its own, or it would be taken for the same.
    site.file(given(A, "V-1", "08T09:00", "AB1")).await;
    site.pay_region(|debt| Settled { sent: Some([7; 32]), ..(debt, 1, Settlement::Delivered).into() }).await;
    assert_eq!(site.replay("destination=region", "region", false).await, [1, 2, 0, 0]);
    let again = site.reader().owed_lanes("region", 0, 100).unwrap();
    let job = site.reader().jobs().unwrap().iter().map(|job| job.job).max();
    assert!(again.len() == 1 && key_of(&site, again[0].0) == job, "{again:?}");
    site.pay_region(|debt| (debt, 1, Settlement::Delivered).into()).await;
    assert_eq!(site.replay("destination=region", "region", false).await, [0, 3, 0, 0], "now it has that too");
    // Of the fourth it has nothing: a person withdrew it. It goes under the key that it had.
    site.file(given(B, "V-2", "08T09:00", "AB2")).await;
    let (debt, _) = site.reader().owed_lanes("region", 0, 100).unwrap()[0];
    assert!(site.ledger.settle(vec![(debt, 1, Settlement::Held { why: "HTTP 422".into() })]).await);
    let by = HeldAct::Discard { by: "A TEST".into() };
    site.ledger.held_debts(HeldDebts::One(debt), by, ("wrong", false), clock::now()).await.unwrap();
    assert_eq!(site.replay("destination=region", "region", false).await, [1, 3, 0, 0]);
    let again = site.reader().owed_lanes("region", 0, 100).unwrap();
    assert!(again.len() == 1 && key_of(&site, again[0].0).is_none(), "{again:?}");
}

/// A screen or an examination that was so on `on`, as somebody said at `time`.
fn screened(kind: &str, key: &str, on: &str, time: &str) -> Value {
    let precision = if on.len() == 10 { "day" } else { "second" };
    let at = json!({ "value": on, "precision": precision });
    let list = match kind {
        "hearing" => json!({ "hearing_screens": [{ "key": key, "at": at, "summary_status": "clear_no_followup" }] }),
        _ => json!({ "nipe_exams": [{ "key": key, "at": at, "kind": "newborn_72h", "hips": { "status": "no_abnormality" } }] }),
    };
    let mut statement = said(A, kind, time, list);
    statement["event"]["key"] = key.into();
    statement
}

/// The days of what was said of one thing, in the order in which it was sent; the same day again is not counted.
fn days(site: &Site, what: &str) -> Vec<String> {
    let mut days = Vec::new();
    for told in &site.sent {
        for item in told.items.iter().filter(|item| item.what == what) {
            let resource: Value = serde_json::from_str(&item.text).unwrap();
            days.push(resource["effectiveDateTime"].as_str().unwrap_or_default().to_owned());
        }
    }
    days.dedup();
    days
}

#[tokio::test]
async fn a_result_that_arrives_late_does_not_go_over_a_later_one_of_the_same_thing() {
    for (kind, what) in [("hearing", "hearing"), ("nipe", "newborn-physical-examination/hips")] {
        let mut site = Site::new().await;
        site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
        site.file(screened(kind, "K-2", "2026-01-10T09:00:00+00:00", "10T10:00")).await;
        site.pay().await;
        // From another place, about an earlier day: said later or earlier, it arrives last.
        for (key, time) in [("K-1", "08T10:00"), ("K-0", "20T10:00")] {
            let late = site.file(screened(kind, key, "2026-01-08T09:00:00+00:00", time)).await;
            assert_eq!(site.withheld(late), Some("later-result".to_owned()), "{kind} {key}");
            site.pay().await;
        }
        assert_eq!(days(&site, what), ["2026-01-10"], "{kind}");
        // A new account is sent the later one too, and a still later one goes over it.
        site.file(consent(A, "ACC-2", "21T00:00", "active")).await;
        site.pay().await;
        site.file(screened(kind, "K-3", "2026-01-12", "22T10:00")).await;
        site.pay().await;
        assert_eq!(days(&site, what), ["2026-01-10", "2026-01-12"], "{kind}");
        // Of two of one day of which nobody said the hour, the one that was said later counts; an hour of that day is before its end.
        let withheld =
            [("K-4", "2026-01-12", "21T10:00"), ("K-5", "2026-01-12T12:00:00+00:00", "23T10:00"), ("K-6", "2026-01-12", "24T10:00")];
        for ((key, on, time), rule) in withheld.into_iter().zip([Some("later-result"), Some("later-result"), None]) {
            let seq = site.file(screened(kind, key, on, time)).await;
            assert_eq!(site.withheld(seq).as_deref(), rule, "{kind} {key}");
        }
    }
}

#[tokio::test]
async fn what_waits_for_its_turn_is_not_said_once_a_later_result_is_on_record() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.file(screened("hearing", "K-1", "2026-01-08T09:00:00+00:00", "08T10:00")).await;
    site.file(screened("hearing", "K-2", "2026-01-10T09:00:00+00:00", "10T10:00")).await;
    site.pay().await;
    assert_eq!(days(&site, "hearing"), ["2026-01-10"], "the debt of the first says what stands when it is paid");
}

#[tokio::test]
async fn an_earlier_length_of_a_birth_and_an_earlier_sample_that_arrive_late_go_over_nothing() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    let born = |length: &str, publisher: &str, time: &str| {
        let review = json!([{ "measurements": [{ "kind": "length", "qty": { "value": length, "unit": "cm" } }] }]);
        let mut statement = said(A, "birth", time, json!({ "reviews": review }));
        statement["event"]["publisher"] = publisher.into();
        statement["event"]["key"] = publisher.into();
        statement
    };
    site.file(born("52", "RJ1", "08T10:00")).await;
    site.file(born("49", "RJ2", "07T10:00")).await;
    site.file(spot(A, "26N2", "12T09:00", &[("PKU", "04")])).await;
    let late = site.file(spot(A, "26N1", "10T09:00", &[("PKU", "04"), ("CF", "04")])).await;
    assert_eq!(site.withheld(late), Some("later-sample".to_owned()));
    site.pay().await;
    assert!(site.sent_text().contains("\"value\":52") && !site.sent_text().contains("\"value\":49"), "{}", site.sent_text());
    assert_eq!(days(&site, "blood-spot/PKU"), ["2026-01-12"]);
}

#[tokio::test]
async fn once_the_later_of_two_screens_is_taken_back_parents_are_shown_the_earlier() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    site.file(screened("hearing", "K-1", "2026-01-08T09:00:00+00:00", "08T10:00")).await;
    site.pay().await;
    let later = screened("hearing", "K-2", "2026-01-10T09:00:00+00:00", "10T10:00");
    site.file(later.clone()).await;
    site.pay().await;
    site.file(deleted(later, "11T10:00")).await;
    site.pay().await;
    assert_eq!(days(&site, "hearing"), ["2026-01-08", "2026-01-10", "2026-01-08"]);
    // And when that is taken back too, nothing stands.
    site.file(deleted(screened("hearing", "K-1", "2026-01-08T09:00:00+00:00", "08T10:00"), "12T10:00")).await;
    site.pay().await;
    assert_eq!(site.has("ACC-1").values().collect::<Vec<_>>(), ["entered-in-error"]);
}

#[tokio::test]
async fn a_deleted_screen_is_taken_back_also_where_the_earlier_one_must_be_told_by_a_person() {
    let mut site = Site::new().await;
    site.file(consent(A, "ACC-1", "07T00:00", "active")).await;
    let earlier = |time: &str| screened("hearing", "K-1", "2026-01-08T09:00:00+00:00", time);
    let later = screened("hearing", "K-2", "2026-01-10T09:00:00+00:00", "10T10:00");
    for said in [earlier("08T10:00"), later.clone()] {
        site.file(said).await;
        site.pay().await;
    }
    let mut corrected = earlier("11T10:00");
    corrected["hearing_screens"][0]["summary_status"] = "no_clear_both".into();
    site.file(corrected).await;
    site.pay().await;
    assert_eq!(days(&site, "hearing"), ["2026-01-08", "2026-01-10"]);
    site.file(deleted(later, "12T10:00")).await;
    site.pay().await;
    assert_eq!(site.has("ACC-1").values().collect::<Vec<_>>(), ["entered-in-error"]);
}
