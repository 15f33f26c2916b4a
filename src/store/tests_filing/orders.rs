//! The order in which messages of one child arrive cannot be seen in what stands of it.

use proptest::prelude::*;

use super::*;

const CONDITIONS: [&str; 4] = ["CF", "MCADD", "PKU", "SCD"];

/// What one message says; its place in the list is its time.
#[derive(Clone, Debug)]
enum Says {
    /// A card of the laboratory: key, conditions by bit, status.
    Card(usize, u8, &'static str),
    /// Outcomes of it, corrected, taken back, another child's, not to be had.
    Marked(usize, u8, &'static str),
    /// The card is taken back.
    CardGone(usize),
    /// The national service says a card, or takes it back.
    National(u8),
    NationalGone,
    /// A vaccination, given or taken back by RXA-21 D or by its message.
    Given(usize, &'static str),
    Gone(usize),
    /// A screen that its message takes back with all that came under its key.
    Hearing(&'static str),
    HearingGone,
    /// Who the child is.
    Person(&'static str),
}

fn says() -> impl Strategy<Value = Says> {
    use Says::*;
    let marks = prop::sample::select(vec!["corrected", "deleted", "wrong_patient", "cannot_obtain", "prelim"]);
    prop_oneof![
        4 => (0..2_usize, 1..16_u8, prop::sample::select(vec!["04", "08", "03"])).prop_map(|(key, set, status)| Card(key, set, status)),
        3 => (0..2_usize, 1..16_u8, marks).prop_map(|(key, set, mark)| Marked(key, set, mark)),
        1 => (0..2_usize).prop_map(CardGone),
        2 => (1..16_u8).prop_map(National),
        1 => Just(NationalGone),
        2 => (0..2_usize, prop::sample::select(vec!["completed", "not_done", "entered_in_error"])).prop_map(|(key, status)| Given(key, status)),
        1 => (0..2_usize).prop_map(Gone),
        1 => prop::sample::select(vec!["clear", "refer"]).prop_map(Hearing),
        1 => Just(HearingGone),
        1 => prop::sample::select(vec!["en", "fr", "pl"]).prop_map(Person),
    ]
}

fn card(time: &str, (publisher, key): (&str, &str), set: u8, outcome: (&str, &str)) -> Value {
    let named = CONDITIONS.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
    let outcomes: Vec<Value> =
        named.map(|(_, condition)| json!({ "condition": condition, "nbs_status": outcome.0, "result_status": outcome.1 })).collect();
    let taken = json!({ "value": "2026-01-10", "precision": "day" });
    let spot = json!({ "key": key, "sample": { "accession": key, "taken": taken }, "outcomes": outcomes });
    said("A", time, json!({ "kind": "blood-spot", "publisher": publisher, "key": key }), json!({ "blood_spots": [spot] }))
}

fn message(place: usize, says: &Says) -> Value {
    let time = format!("{:02}:00", place + 1);
    let delete = |kind: &str, publisher: &str, key: &str| {
        said("A", &time, json!({ "kind": kind, "publisher": publisher, "key": key, "action": "delete" }), json!({}))
    };
    let key = |number: &usize| ["K0", "K1"][*number];
    match says {
        Says::Card(number, set, status) => card(&time, ("RJ1", key(number)), *set, (status, "final")),
        Says::Marked(number, set, mark) => card(&time, ("RJ1", key(number)), *set, ("04", mark)),
        Says::CardGone(number) => delete("blood-spot", "RJ1", key(number)),
        Says::National(set) => {
            let mut national = card(&time, ("NEMS", "N0"), *set, ("04", "final"));
            national["event"]["national"] = json!(true);
            national
        }
        Says::NationalGone => delete("blood-spot", "NEMS", "N0"),
        Says::Given(number, status) => {
            let day = json!({ "value": format!("2026-01-0{}", number + 6), "precision": "day" });
            let given = json!({ "key": key(number), "status": status, "occurrence": day });
            said("A", &time, json!({ "kind": "immunisation", "publisher": "G1", "key": key(number) }), json!({ "immunisations": [given] }))
        }
        Says::Gone(number) => delete("immunisation", "G1", key(number)),
        Says::Hearing(comment) => {
            let screens = json!([{ "key": "H1", "comment": comment }, { "comment": comment }]);
            said("A", &time, json!({ "kind": "hearing", "publisher": "NHSP", "key": "H0" }), json!({ "hearing_screens": screens }))
        }
        Says::HearingGone => delete("hearing", "NHSP", "H0"),
        Says::Person(language) => {
            let mut person = said("A", &time, json!({}), json!({}));
            person["child"]["language"] = json!(language);
            person
        }
    }
}

/// What stands: the record and all aggregates, without which entries said it.
async fn final_record(messages: &[Value], order: &[usize]) -> Value {
    let mut site = Site::new().await;
    for at in order {
        let seq = site.file(messages[*at].clone()).await;
        assert_eq!(site.trace(seq).entry.standing, "filed", "{:?}", site.trace(seq));
    }
    let view = site.reader().child(site.child("A")).unwrap().unwrap();
    let aggregates: Vec<Value> = view
        .aggregates
        .iter()
        .map(|row| json!({ "kind": row.kind, "of": row.publisher, "key": row.key, "at": row.at, "deleted": row.deleted, "content": row.content }))
        .collect();
    let mut record = view.record;
    record["hub"]["from"] = Value::Null;
    json!({ "record": record, "aggregates": aggregates, "outcomes": view.outcomes })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_one_childs_messages_gives_the_same_record(
        said in prop::collection::vec(says(), 2..8),
        keys in prop::collection::vec(any::<u32>(), 8),
    ) {
        let messages: Vec<Value> = said.iter().enumerate().map(|(place, says)| message(place, says)).collect();
        let in_time: Vec<usize> = (0..messages.len()).collect();
        let mut shuffled = in_time.clone();
        shuffled.sort_by_key(|place| keys[*place]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let expected = runtime.block_on(final_record(&messages, &in_time));
        prop_assert_eq!(runtime.block_on(final_record(&messages, &shuffled)), expected, "{:?} in the order {:?}", said, shuffled);
    }
}
