//! Claims about what is filed and must still be looked at: another child's result, what takes back nothing, what a newer card leaves out.

use super::*;

impl Site {
    /// Open reviews: `wrong-patient blood-spot ACC1`.
    fn reviews(&self) -> Vec<String> {
        self.reader().reviews(None).unwrap().iter().map(|row| format!("{} {} {}", row.code, row.kind, row.key)).collect()
    }

    /// Codes of the findings of an entry.
    fn codes(&self, seq: Seq) -> Vec<String> {
        let findings = self.trace(seq).findings;
        findings.as_array().into_iter().flatten().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    }

    /// Why parents were told nothing of an entry.
    fn withheld(&self, seq: Seq) -> String {
        self.trace(seq).withheld.first().map(|(_, rule)| rule.clone()).unwrap_or_default()
    }
}

fn deletion(time: &str, kind: &str, list: &str, item: Value) -> Value {
    said("A", time, json!({ "kind": kind, "action": "delete" }), json!({ list: [item] }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_of_another_child_is_a_matter_for_a_person_and_parents_are_told_nothing_of_blood_spots_until_one_has_looked() {
    let mut site = Site::new().await;
    site.file(sample("09:00", &[("CF", "04", "final"), ("PKU", "04", "final")])).await;
    assert_eq!(site.reviews(), Vec::<String>::new());
    let wrong = site.file(sample("10:00", &[("PKU", "04", "wrong_patient")])).await;
    assert_eq!((site.trace(wrong).entry.standing, site.codes(wrong)), ("filed".to_owned(), vec!["wrong-patient".to_owned()]));
    assert_eq!(site.trace(wrong).findings[0]["level"], "warning");
    assert_eq!(site.reviews(), ["wrong-patient blood-spot ACC1"]);
    assert_eq!(site.outcomes().1, "CF 04");
    // It is marked on the child, once however often it is said.
    let again = site.file(sample("10:30", &[("PKU", "04", "wrong_patient")])).await;
    let view = site.reader().child(site.child("A")).unwrap().unwrap();
    assert_eq!(view.reviews.iter().map(|row| row.seq).collect::<Vec<_>>(), [wrong.0]);
    assert_eq!(site.codes(again), ["wrong-patient"]);
    // Parents: nothing about blood spots, neither by what is said later nor by what is already owed; everything else as ever.
    let later = site.file(sample("11:00", &[("SCD", "04", "final")])).await;
    assert_eq!(site.withheld(later), "needs-review");
    let other = site.file(given("11:00", "V1", "completed")).await;
    assert_ne!(site.withheld(other), "needs-review");
    let owed = site.reader().owed("region", 0, 100).unwrap();
    let event = |debt: &OwedDebt| serde_json::from_slice::<crate::outbox::FiledEvent>(&debt.event).unwrap();
    let forbidden = |seq: Seq| {
        let debt = owed.iter().find(|debt| event(debt).seq == seq).unwrap();
        site.reader().forbidden_to_parents(debt.child, &event(debt)).unwrap()
    };
    assert_eq!((forbidden(later), forbidden(other)), (Some("needs-review"), None));
    // A person has looked.
    let now = "2026-02-02T08:00:00Z".parse().unwrap();
    site.ledger.close_review(view.reviews[0].review, "it was child B's; the laboratory sends it again", now).await.unwrap();
    assert_eq!((site.reviews(), forbidden(later)), (Vec::<String>::new(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_back_or_corrects_nothing_is_filed_with_a_warning_and_a_review_and_what_it_took_back_does_not_come_back() {
    for (kind, list) in [("appointment", "appointments"), ("hearing", "hearing_screens"), ("document", "documents"), ("review", "reviews")]
    {
        let mut site = Site::new().await;
        let seq = site.file(deletion("10:00", kind, list, json!({ "key": "K1" }))).await;
        assert_eq!((site.trace(seq).entry.standing, site.codes(seq)), ("filed".to_owned(), vec!["takes-back-nothing".to_owned()]));
        assert_eq!(site.reviews(), [format!("takes-back-nothing {kind} K1")]);
        assert_eq!(site.stands(), [format!("{kind} K1 gone")]);
        // The one that it meant comes late: it stays taken back, and there is nothing more to look at.
        let late = site.file(said("A", "09:00", json!({ "kind": kind }), json!({ list: [{ "key": "K1" }] }))).await;
        assert!(site.trace(late).events[0].superseded);
        assert_eq!((site.stands(), site.reviews()), (vec![format!("{kind} K1 gone")], vec![]));
    }
    let mut site = Site::new().await;
    site.file(given("10:00", "V1", "entered_in_error")).await;
    assert_eq!(site.reviews(), ["takes-back-nothing immunisation V1"]);
    // A second time it is on record as taken back.
    let again = site.file(given("11:00", "V1", "entered_in_error")).await;
    assert_eq!((site.codes(again), site.reviews().len()), (vec![], 1));

    let mut site = Site::new().await;
    let corrects = site.file(sample("10:00", &[("PKU", "08", "corrected")])).await;
    assert_eq!(
        (site.codes(corrects), site.reviews()),
        (vec!["corrects-nothing".to_owned()], vec!["corrects-nothing blood-spot ACC1".to_owned()])
    );
    site.file(sample("09:00", &[("PKU", "04", "final"), ("CF", "04", "final")])).await;
    assert_eq!((site.reviews(), site.outcomes().1), (vec![], "CF 04, PKU 08".to_owned()));
    let mut site = Site::new().await;
    let takes_back = site.file(sample("10:00", &[("PKU", "04", "deleted")])).await;
    assert_eq!(site.codes(takes_back), ["takes-back-nothing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_under_a_key_of_another_publisher_takes_nothing_of_it() {
    let mut site = Site::new().await;
    let of = |publisher: &str, action: &str, time: &str| {
        let event = json!({ "kind": "hearing", "action": action, "publisher": publisher, "key": "E1" });
        said("A", time, event, json!({ "hearing_screens": [{ "comment": publisher }] }))
    };
    site.file(of("ONE", "new", "09:00")).await;
    let seq = site.file(of("TWO", "delete", "10:00")).await;
    assert_eq!(site.codes(seq), ["takes-back-nothing"]);
    assert!(site.trace(seq).findings[0]["text"].as_str().unwrap().contains("another publisher"), "{}", site.trace(seq).findings);
    assert_eq!(site.stands(), ["hearing E1 ONE", "hearing E1 gone"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_one_message_are_kept_each_under_the_publisher_that_it_names() {
    let mut site = Site::new().await;
    let items = json!({ "immunisations": [{ "key": "7", "publisher": "G1", "batch": "B1" }, { "key": "7", "publisher": "G2", "batch": "B2" },
        { "key": "8", "batch": "B3" }] });
    let event = json!({ "kind": "immunisation", "publisher": "HUB", "key": "M1" });
    site.file(said("A", "09:00", event.clone(), items)).await;
    let of = |site: &Site| -> Vec<String> {
        let view = site.reader().child(site.child("A")).unwrap().unwrap();
        let words = |row: &AggregateRow| {
            let batch = row.content["immunisations"][0]["batch"].as_str().unwrap_or("gone").to_owned();
            format!("{} of {}: {batch}", row.key, row.publisher)
        };
        view.aggregates.iter().filter(|row| !row.key.starts_with('M')).map(words).collect()
    };
    assert_eq!(of(&site), ["7 of G1: B1", "7 of G2: B2", "8 of HUB: B3"]);
    // Each is taken back by its own publisher's deletion alone.
    let gone = json!({ "immunisations": [{ "key": "7", "publisher": "G2", "status": "entered_in_error" }] });
    site.file(said("A", "10:00", json!({ "kind": "immunisation", "publisher": "ELSEWHERE" }), gone)).await;
    assert_eq!(of(&site), ["7 of G1: B1", "7 of G2: gone", "8 of HUB: B3"]);
    // The whole message takes back what came under its key, whoever's it is.
    let mut all = event;
    all["action"] = json!("delete");
    site.file(said("A", "11:00", all, json!({}))).await;
    assert_eq!(of(&site), ["7 of G1: gone", "7 of G2: gone", "8 of HUB: gone"]);
    assert_eq!(site.reviews(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_cards_of_one_message_the_first_is_taken_back_without_the_second() {
    let spot = |key: &str, condition: &str| {
        let outcome = json!({ "condition": condition, "nbs_status": "04", "result_status": "final" });
        json!({ "key": key, "sample": { "accession": key }, "outcomes": [outcome] })
    };
    let event = |action: &str| json!({ "kind": "blood-spot", "publisher": "RJ1", "key": "ACC1", "action": action });
    let both = said("A", "09:00", event("new"), json!({ "blood_spots": [spot("ACC1", "CF"), spot("ACC2", "PKU")] }));
    let gone = said("A", "10:00", event("delete"), json!({ "blood_spots": [{ "key": "ACC1" }] }));
    for order in [[&both, &gone], [&gone, &both]] {
        let mut site = Site::new().await;
        for message in order {
            site.file(message.clone()).await;
        }
        let view = site.reader().child(site.child("A")).unwrap().unwrap();
        let stands: Vec<(String, bool)> = view.aggregates.into_iter().map(|row| (row.key, row.deleted)).collect();
        assert_eq!(stands, [("ACC1".to_owned(), true), ("ACC2".to_owned(), false)]);
        assert_eq!(view.outcomes.keys().collect::<Vec<_>>(), ["PKU"]);
    }
}

fn vaccination(time: &str, key: &str, day: &str, product: &str, status: &str) -> Value {
    let given = json!({ "key": key, "status": status, "occurrence": { "value": day, "precision": "day" }, "vaccine": { "code": product } });
    said("A", time, json!({ "kind": "immunisation", "publisher": "G1" }), json!({ "immunisations": [given] }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vaccination_taken_back_under_another_id_is_held_and_never_deleted_by_guess() {
    let file = |statement: &Value| PreparedOutcome::File(vec![serde_json::from_value(statement.clone()).unwrap()]);
    let given = vaccination("09:00", "ORDER-1", "2026-01-09", "MENB", "completed");
    let gone = vaccination("10:00", "2026-01-09-MENB", "2026-01-09", "MENB", "entered_in_error");
    let mut site = Site::new().await;
    let first = site.file(given.clone()).await;
    let seq = site.file(gone.clone()).await;
    let trace = site.trace(seq);
    assert_eq!((trace.entry.standing.as_str(), trace.entry.reason.as_str()), ("held", "deletion-unclear"));
    assert!(trace.findings[0]["text"].as_str().unwrap().contains(&format!("message {}", first.0)), "{}", trace.findings);
    assert_eq!(site.stands(), ["immunisation ORDER-1 completed"]);
    // A person who releases it says that it means nothing on record: it is filed as such, and takes back nothing.
    site.release(seq, "lab", file(&gone)).await;
    assert_eq!((site.trace(seq).entry.standing, site.codes(seq)), ("filed".to_owned(), vec!["takes-back-nothing".to_owned()]));
    assert_eq!(site.stands(), ["immunisation 2026-01-09-MENB gone", "immunisation ORDER-1 completed"]);

    // Another day, another product, another sender under another publisher: it can mean none of them.
    for (other, source) in [
        (vaccination("10:00", "X", "2026-01-08", "MENB", "entered_in_error"), "lab"),
        (vaccination("10:00", "X", "2026-01-09", "ROTA", "entered_in_error"), "lab"),
        (said("A", "10:00", json!({ "kind": "immunisation", "publisher": "G2" }), gone_of(&gone)), "clinic"),
    ] {
        let mut site = Site::new().await;
        site.file(given.clone()).await;
        let seq = site.file_as(source, file(&other)).await;
        assert_eq!(
            (site.trace(seq).entry.standing, site.codes(seq)),
            ("filed".to_owned(), vec!["takes-back-nothing".to_owned()]),
            "{other}"
        );
    }
    // What says less than a day or no product may mean it too.
    for vague in
        [vaccination("10:00", "X", "2026-01", "MENB", "entered_in_error"), vaccination("10:00", "X", "2026-01-09", "", "entered_in_error")]
    {
        let mut site = Site::new().await;
        site.file(given.clone()).await;
        let seq = site.file(vague).await;
        assert_eq!(site.trace(seq).entry.reason, "deletion-unclear");
    }
}

fn gone_of(statement: &Value) -> Value {
    json!({ "immunisations": statement["immunisations"] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_card_that_leaves_out_a_final_outcome_takes_nothing_away_and_a_person_is_told_in_whatever_order_they_come() {
    let full = sample("09:00", &[("CF", "04", "final"), ("PKU", "04", "final"), ("SCD", "08", "final")]);
    let fewer = sample("10:00", &[("CF", "04", "final"), ("PKU", "04", "final")]);
    let all = "CF 04, PKU 04, SCD 08";
    for order in [[&full, &fewer], [&fewer, &full]] {
        let mut site = Site::new().await;
        site.file(order[0].clone()).await;
        let last = site.file(order[1].clone()).await;
        assert_eq!((site.outcomes().1.as_str(), site.reviews()), (all, vec!["outcome-dropped blood-spot ACC1".to_owned()]));
        let finding = site.trace(last).findings.as_array().unwrap().iter().find(|finding| finding["code"] == "outcome-dropped").cloned();
        assert!(finding.unwrap()["text"].as_str().unwrap().contains("SCD"));
        assert_eq!(site.withheld(last), "needs-review");
        // Said again, or taken back by name, it is settled.
        let whole_again = sample("11:00", &[("CF", "04", "final"), ("PKU", "04", "final"), ("SCD", "08", "final")]);
        for settles in [whole_again, sample("11:00", &[("SCD", "08", "deleted")])] {
            let mut site = Site::new().await;
            site.file(order[0].clone()).await;
            site.file(order[1].clone()).await;
            site.file(settles).await;
            assert_eq!(site.reviews(), Vec::<String>::new());
        }
    }
    // Outcomes that come one after the other leave out nothing, nor does one that was not final or was taken back before.
    for before in [("SCD", "08", "prelim"), ("SCD", "03", "final"), ("SCD", "08", "deleted")] {
        let mut site = Site::new().await;
        site.file(sample("08:00", &[("SCD", "08", "final")])).await;
        site.file(sample("09:00", &[before])).await;
        site.file(sample("10:00", &[("CF", "04", "final"), ("PKU", "04", "final")])).await;
        site.file(sample("11:00", &[("CF", "04", "final"), ("PKU", "04", "final")])).await;
        assert_eq!(site.reviews(), Vec::<String>::new(), "{before:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_national_version_replaces_the_whole_and_a_person_is_told_of_a_final_outcome_that_is_gone() {
    let national = |mut message: Value| {
        message["event"]["national"] = json!(true);
        message
    };
    let full = national(sample("09:00", &[("CF", "04", "final"), ("SCD", "08", "final")]));
    let fewer = national(sample("10:00", &[("CF", "04", "final")]));
    for order in [[&full, &fewer], [&fewer, &full]] {
        let mut site = Site::new().await;
        site.file(order[0].clone()).await;
        let last = site.file(order[1].clone()).await;
        assert_eq!((site.outcomes().1.as_str(), site.reviews()), ("CF 04", vec!["outcome-dropped blood-spot ACC1".to_owned()]));
        assert!(site.codes(last).contains(&"outcome-dropped".to_owned()));
    }
    let mut site = Site::new().await;
    site.file(full).await;
    site.file(national(sample("10:00", &[("CF", "04", "final"), ("SCD", "08", "final")]))).await;
    assert_eq!(site.reviews(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_a_rule_ignores_is_held_where_it_names_a_child_on_record_who_was_born_on_another_day() {
    let about = |child: &str, born: Option<&str>| {
        let mut statement = said(child, "10:00", json!({}), json!({}));
        statement["child"]["birth"]["date"] = born.map_or(Value::Null, |born| json!({ "value": born, "precision": "day" }));
        if born.is_none() {
            statement["child"]["birth"] = json!({});
        }
        PreparedOutcome::Ignore("19 years or older [adt.toml:1]".to_owned(), vec![serde_json::from_value(statement).unwrap()])
    };
    let mut site = Site::new().await;
    for (born, standing, reason) in [
        (Some("1966-01-05"), "held", "ignored-but-known"),
        (None, "held", "ignored-but-known"),
        // The child has grown up.
        (Some("2026-01-05"), "ignored", "19 years or older [adt.toml:1]"),
    ] {
        let seq = site.file_as("pas", about("A", born)).await;
        let entry = site.trace(seq).entry;
        assert_eq!((entry.standing.as_str(), entry.reason.as_str()), (standing, reason), "{born:?}");
    }
    let stranger = {
        let PreparedOutcome::Ignore(rule, mut about) = about("A", Some("1966-01-05")) else { panic!("ignored") };
        about[0].child.identifiers[0].value = "9990000077".to_owned();
        PreparedOutcome::Ignore(rule, about)
    };
    let seq = site.file_as("pas", stranger).await;
    assert_eq!(site.trace(seq).entry.standing, "ignored");
    // A person who has looked lets it be ignored.
    let seq = site.file_as("pas", about("B", Some("1970-01-01"))).await;
    site.release(seq, "pas", about("B", Some("1970-01-01"))).await;
    assert_eq!(site.trace(seq).entry.standing, "ignored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_go_over_to_the_record_that_goes_on() {
    let mut site = Site::new().await;
    let merge = json!({
        "event": { "kind": "merge", "at": { "value": "2026-01-11T10:00:00+00:00", "precision": "second" } },
        "child": { "identifiers": [{ "value": "M1", "system": "urn:v2:RJ1" }] },
        "identity_changes": [{ "act": "merge", "prior": [{ "value": "M2", "system": "urn:v2:RJ1" }] }]
    });
    for (child, id) in [("C1", "M1"), ("C2", "M2")] {
        let mut one = said("A", "01:00", json!({ "may_create": true }), json!({}));
        one["child"]["identifiers"] = json!([{ "value": id, "system": "urn:v2:RJ1" }]);
        one["child"]["names"] = json!([]);
        let seq = site.file(one).await;
        assert_eq!(site.trace(seq).entry.standing, "filed", "{child}");
    }
    let mut wrong = sample("10:00", &[("PKU", "04", "wrong_patient")]);
    wrong["child"]["identifiers"] = json!([{ "value": "M2", "system": "urn:v2:RJ1" }]);
    wrong["child"]["names"] = json!([]);
    let seq = site.file(wrong).await;
    assert_eq!(site.trace(seq).entry.standing, "filed", "{:?}", site.trace(seq));
    let of = |site: &Site, id: &str| {
        let child = site.reader().children_by_identifier(id).unwrap()[0].to_string();
        let rows = site.reader().reviews(Some(&child)).unwrap();
        rows.into_iter().map(|row| row.code).collect::<Vec<_>>()
    };
    assert_eq!((of(&site, "M1"), of(&site, "M2")), (vec![], vec!["wrong-patient".to_owned(), "takes-back-nothing".to_owned()]));
    let seq = site.file(merge).await;
    assert_eq!(site.trace(seq).entry.standing, "filed", "{:?}", site.trace(seq));
    assert_eq!(of(&site, "M1"), ["wrong-patient", "takes-back-nothing"]);
}
