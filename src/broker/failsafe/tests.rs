//! What is kept of children that were looked at, in a real ledger: tasks, changes, moves, and what was filed meanwhile.

use std::path::Path;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::names::{BundleHash, Format, SourceName};
use crate::outbox::{FiledEvent, Settlement};
use crate::store::{DestinationRule, FilingRules, LedgerConfig, Prepared, PreparedOutcome, Recipient};

const NUMBER: &str = "9990000018";
/// A practice of the hub NE, and one of NW, in the shipped directory.
const IN_NE: &str = "E83001";
const IN_NW: &str = "E84001";

/// A ledger with two hub stores and a parents' record, and nobody who pays or watches: each step is asked for.
struct Site {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    ledger: Ledger,
    watching: Watching,
    next_seq: std::cell::Cell<i64>,
}

fn rules() -> Rules {
    crate::config::failsafe(&crate::config::Settings::default()).unwrap()
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = || Directory::load_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"))).unwrap();
        let filing = FilingRules {
            directory: Arc::new(ArcSwap::from_pointee(directory())),
            destinations: Arc::new(vec![
                DestinationRule { name: "hub-ne".into(), recipient: Recipient::HubStore("NE".into()) },
                DestinationRule { name: "hub-nw".into(), recipient: Recipient::HubStore("NW".into()) },
                DestinationRule { name: "region".into(), recipient: Recipient::Record },
                DestinationRule { name: "parents".into(), recipient: Recipient::ParentRecord },
            ]),
            zone: crate::failsafe::day::london(),
            parents: Arc::default(),
        };
        let config = LedgerConfig { data: folder.path().to_owned(), ballast: false, pages_max: None };
        let ledger = runtime.block_on(async { Ledger::open(&config, filing).unwrap() });
        let (bundle, files) = (BundleHash::new("abc"), Default::default());
        runtime.block_on(ledger.keep_bundle(&bundle, &files, at("2026-01-05T00:00:00Z"))).unwrap();
        let stores = [("NE", "hub-ne"), ("NW", "hub-nw")].map(|(hub, store)| (HubName::new(hub), DestinationName::new(store)));
        let watching = Watching::of(rules(), directory(), stores.into());
        Self { folder, runtime, ledger, watching, next_seq: std::cell::Cell::new(1) }
    }

    /// Appends and files a statement that came at `arrived`.
    fn file(&self, arrived: &str, statement: Value) -> i64 {
        let statement = serde_json::from_value(statement).unwrap();
        let entry = crate::journal::Entry {
            source: SourceName::new("rj1"),
            format: Format::Hl7v2,
            kind: "ADT^A28".into(),
            control_id: format!("T{}", self.next_seq.replace(self.next_seq.get() + 1)),
            body: "MSH|".into(),
            arrived: at(arrived),
            admission: crate::journal::Admission::Accepted,
        };
        let control_id = entry.control_id.clone();
        let receipt = self.runtime.block_on(crate::journal::Journal::append(&self.ledger, entry)).unwrap();
        let prepared = Prepared {
            seq: receipt.seq(),
            source: SourceName::new("rj1"),
            control_id,
            arrived_us: at(arrived).as_microsecond(),
            rank: 2,
            mapping: Some("test".into()),
            bundle: BundleHash::new("abc"),
            findings: String::new(),
            outcome: PreparedOutcome::File(vec![statement]),
            contents: Vec::new(),
            released_by: None,
            apart: false,
        };
        let seq = prepared.seq;
        assert!(self.runtime.block_on(self.ledger.file(vec![prepared])));
        let reader = self.reader();
        assert_eq!(reader.standing(seq).unwrap(), Some(crate::journal::Standing::Filed), "{:?}", reader.trace(seq).unwrap());
        seq.0
    }

    fn reader(&self) -> LedgerReader {
        LedgerReader::open(self.folder.path()).unwrap()
    }

    fn watcher(&self, watching: &Watching) -> Watcher {
        let (watching, runtime, pause) = (watching.clone(), self.runtime.handle().clone(), CancellationToken::new());
        Watcher { watching, ledger: self.ledger.clone(), runtime, pause, judge: looked_at }
    }

    /// Looks at every child that is due, as the thread does; gives how many.
    fn turn(&self, now: &str) -> usize {
        self.watcher(&self.watching).look_at_due(&self.reader(), at(now)).unwrap()
    }

    /// Marks the children as the thread does where other rules hold; gives in how many rounds.
    fn mark(&self, watching: &Watching) -> usize {
        std::iter::from_fn(|| self.watcher(watching).mark_for_other_rules(&self.reader()).unwrap().then_some(())).count()
    }

    fn look(&self) -> Look {
        let reader = self.reader();
        let child = reader.children_by_identifier(NUMBER).unwrap()[0];
        let row = reader.child_row(child).unwrap().unwrap();
        reader.look(row, &self.watching.directory.load(), &self.watching.stores).unwrap().unwrap()
    }

    /// Everything owed to a destination because of the failsafe: `NBS_RESULT 001 requested`.
    fn told(&self, destination: &str) -> Vec<String> {
        let owed = self.reader().owed(destination, 0, 1_000).unwrap();
        let events = owed.iter().map(|debt| serde_json::from_slice::<FiledEvent>(&debt.event).unwrap());
        let words = |task: &FailsafeTask| {
            let word = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{} {} {} {}", word(&task.clock), word(&task.escalation), word(&task.status), word(&task.closed)).trim().to_owned()
        };
        events.flat_map(|event| event.statement.tasks.iter().map(words).collect::<Vec<_>>()).collect()
    }

    fn told_of(&self, destination: &str, clock: &str) -> Vec<String> {
        self.told(destination).into_iter().filter(|line| line.starts_with(clock)).collect()
    }

    fn open_tasks(&self, clock: &str) -> Vec<OpenTask> {
        self.look().tasks.into_iter().filter(|task| task.kind == clock).collect()
    }

    fn pay_all(&self, destination: &str) {
        let owed = self.reader().owed(destination, 0, 1_000).unwrap();
        let paid = owed.iter().map(|debt| (debt.id, 1, Settlement::Delivered)).collect();
        assert!(self.runtime.block_on(self.ledger.settle(paid)));
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn birth(practice: &str) -> Value {
    json!({
        "event": { "kind": "birth", "may_create": true, "national": true, "at": { "value": "2026-01-05T12:00:00Z", "precision": "second" } },
        "child": {
            "identifiers": [{ "value": NUMBER, "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }],
            "names": [{ "family": "EXAMPLE", "given": ["ROSE"], "use": "official" }], "sex": "2", "gp": { "practice_ods": practice },
            "birth": { "date": { "value": "2026-01-05", "precision": "day" }, "time": { "value": "2026-01-05T12:00:00Z", "precision": "second" } }
        }
    })
}

/// Something said later of the same child.
fn later(kind: &str, when: &str, more: Value) -> Value {
    let mut statement = birth(IN_NE);
    statement["event"] = json!({ "kind": kind, "national": true, "at": { "value": when, "precision": "second" } });
    statement["child"]["gp"] = Value::Null;
    for (key, value) in more.as_object().unwrap() {
        if let (Some(into), Some(from)) = (statement[key].as_object_mut(), value.as_object()) {
            into.extend(from.clone());
        } else {
            statement[key] = value.clone();
        }
    }
    statement
}

fn result(seq_key: &str, taken: &str, condition: &str, status: &str) -> Value {
    let spot = json!({ "key": seq_key, "sample": { "taken": { "value": taken, "precision": "day" } },
        "outcomes": [{ "condition": condition, "nbs_status": status }] });
    later("blood-spot", &format!("{taken}T18:00:00Z"), json!({ "event": { "key": seq_key, "publisher": "RP4" }, "blood_spots": [spot] }))
}

const LATE: &str = "2026-01-23T00:00:00Z";

#[test]
fn a_breach_raises_one_task_in_the_store_of_the_hub_that_acts_and_nowhere_else() {
    let site = Site::new();
    let consent =
        json!({ "event": { "kind": "proxy-consent" }, "proxy_consents": [{ "account_id": "A1", "status": "active", "relation": "12" }] });
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    site.file("2026-01-05T13:00:00Z", later("proxy-consent", "2026-01-05T13:00:00Z", consent));
    assert_eq!(site.turn("2026-01-22T23:59:59Z"), 1);
    assert_eq!(site.told_of("hub-ne", "NBS_RESULT"), [""; 0]);
    let events = |destination: &str| site.reader().owed(destination, 0, 1_000).unwrap().len();
    let (told_others, before) = ([events("region"), events("parents"), events("hub-nw")], site.reader().reconcile(None, None).unwrap());
    site.turn(LATE);
    assert_eq!(site.told_of("hub-ne", "NBS_RESULT"), ["NBS_RESULT 001 requested"]);
    assert_eq!([events("region"), events("parents"), events("hub-nw")], told_others, "a task is for the hub alone");
    // The account holds: the task is an entry of our own, filed and owed.
    let account = site.reader().reconcile(None, None).unwrap();
    assert_eq!((before.unaccounted, account.unaccounted, account.unaccounted_debts), (0, 0, 0));
    // Looked at again, for whatever reason: still one task.
    site.file("2026-01-23T01:00:00Z", later("person", "2026-01-23T01:00:00Z", json!({})));
    site.turn("2026-01-23T01:00:01Z");
    assert_eq!((site.told_of("hub-ne", "NBS_RESULT").len(), site.open_tasks("NBS_RESULT").len()), (1, 1));
}

#[test]
fn a_task_grows_more_urgent_and_ends_by_itself_with_its_reason() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    for now in [LATE, "2026-01-26T00:00:00Z", "2026-01-30T00:00:00Z"] {
        site.turn(now);
    }
    let seq = site.file("2026-02-01T10:00:00Z", result("26N1", "2026-01-31", "PKU", "04"));
    site.turn("2026-02-01T10:00:01Z");
    assert_eq!(
        site.told_of("hub-ne", "NBS_RESULT"),
        [
            "NBS_RESULT 001 requested",
            "NBS_RESULT 002 requested",
            "NBS_RESULT 003 requested",
            "NBS_RESULT  completed PKU has a conclusive outcome"
        ]
    );
    assert_eq!(site.open_tasks("NBS_RESULT"), []);
    let look = site.look();
    let history = site.reader().clock_history(look.row).unwrap();
    let steps: Vec<(&str, &str, Option<i64>)> =
        history.iter().filter(|step| step.kind == "NBS_RESULT").map(|step| (step.was.as_str(), step.became.as_str(), step.by)).collect();
    assert_eq!(steps, [("", "breached", None), ("breached", "satisfied", Some(seq))]);
    // What was taken back opens it again, as a task of its own.
    let mut wrong = result("26N1", "2026-01-31", "PKU", "04");
    wrong["event"]["at"]["value"] = json!("2026-02-02T10:00:00Z");
    wrong["blood_spots"][0]["outcomes"][0]["result_status"] = json!("wrong_patient");
    site.file("2026-02-02T10:00:00Z", wrong);
    site.turn("2026-02-02T10:00:01Z");
    assert_eq!(site.open_tasks("NBS_RESULT").len(), 1);
}

#[test]
fn a_task_goes_with_the_child_to_the_new_hub_and_the_old_one_is_told() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    site.turn(LATE);
    let number = site.open_tasks("NBS_RESULT")[0].id;
    site.file("2026-01-24T10:00:00Z", later("gp", "2026-01-24T10:00:00Z", json!({ "child": { "gp": { "practice_ods": IN_NW } } })));
    site.turn("2026-01-24T10:00:01Z");
    assert_eq!(site.told_of("hub-ne", "NBS_RESULT"), ["NBS_RESULT 001 requested", "NBS_RESULT  cancelled moved to NW"]);
    assert_eq!(site.told_of("hub-nw", "NBS_RESULT"), ["NBS_RESULT 001 requested"]);
    let open = site.open_tasks("NBS_RESULT");
    assert_eq!((open.len(), open[0].id, open[0].hub.as_str()), (1, number, "NW"), "the same task, and its clock has not begun anew");
    let moves = site.reader().moves_between(Timestamp::UNIX_EPOCH, Timestamp::MAX).unwrap();
    assert_eq!(moves.iter().map(|one| (one.from.as_str(), one.to.as_str())).collect::<Vec<_>>(), [("NE", "NW")]);
}

#[test]
fn a_death_ends_all_tasks_at_once_and_when_it_is_taken_back_they_return() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    site.turn(LATE);
    let open = site.look().tasks.len();
    assert!(3 < open);
    let death = |status: &str, when: &str| later("death", when, json!({ "child": { "death": { "status": status } } }));
    site.file("2026-01-24T10:00:00Z", death("informal", "2026-01-24T10:00:00Z"));
    site.turn("2026-01-24T10:00:01Z");
    assert_eq!(site.look().tasks, []);
    assert_eq!(site.turn("2026-01-25T10:00:01Z"), 0, "nothing about it changes by time");
    site.file("2026-01-26T10:00:00Z", death("removed", "2026-01-26T10:00:00Z"));
    site.turn("2026-01-26T10:00:01Z");
    assert!(open <= site.look().tasks.len());
}

#[test]
fn what_was_filed_while_a_child_was_looked_at_is_not_overwritten() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    let stale = looked_at(&site.look(), &rules(), at(LATE));
    site.file("2026-01-20T12:00:00Z", result("26N1", "2026-01-10", "PKU", "04"));
    site.runtime.block_on(site.ledger.write_looks(vec![stale], Arc::clone(&site.watching.stores), at(LATE))).unwrap();
    assert_eq!(site.told("hub-ne"), [""; 0], "it was computed without the result");
    assert_eq!(site.turn(LATE), 1);
    assert_eq!(site.told_of("hub-ne", "NBS_RESULT"), [""; 0]);
}

#[test]
fn a_payment_is_looked_at_while_the_hub_had_not_acknowledged_and_not_after() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    site.turn("2026-01-05T12:00:01Z");
    assert_eq!(site.turn("2026-01-05T12:00:02Z"), 0);
    site.pay_all("hub-ne");
    assert_eq!(site.turn("2026-01-05T12:00:03Z"), 1);
    assert_eq!(site.look().stood.unwrap()["CHO_ALLOC"], ClockState::Satisfied);
    site.file("2026-01-06T12:00:00Z", later("person", "2026-01-06T12:00:00Z", json!({})));
    site.turn("2026-01-06T12:00:01Z");
    site.pay_all("hub-ne");
    assert_eq!(site.turn("2026-01-06T12:00:02Z"), 0);
}

#[test]
fn only_children_whose_time_has_come_are_touched() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    assert_eq!(site.turn("2026-01-05T12:00:01Z"), 1);
    let next = site.reader().next_due().unwrap().unwrap();
    assert_eq!(site.turn(&(next - SignedDuration::from_micros(1)).to_string()), 0);
    assert_eq!(site.turn(&next.to_string()), 1);
}

#[test]
fn other_rules_make_all_children_be_looked_at_again_also_after_a_restart() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    assert_eq!((site.mark(&site.watching), site.mark(&site.watching)), (1, 0));
    site.turn("2026-01-05T12:00:01Z");
    assert_eq!(site.turn("2026-01-05T12:00:02Z"), 0);
    let mut other = rules();
    other.fingerprint.push('x');
    let other = Watching::of(other, Directory::default(), HashMap::new());
    assert_eq!(site.mark(&other), 1);
    assert_eq!(site.turn("2026-01-05T12:00:03Z"), 1);
    // A ledger from before there was a failsafe: its children have no row yet.
    assert_eq!(site.reader().child_row(site.look().child).unwrap(), Some(site.look().row));
}

#[test]
fn a_child_at_which_judging_breaks_does_not_stop_the_others() {
    let site = Site::new();
    const OTHER: &str = "9990000026";
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    let mut other = birth(IN_NE);
    other["child"]["identifiers"][0]["value"] = json!(OTHER);
    other["child"]["names"][0]["given"] = json!(["LILY"]);
    site.file("2026-01-05T12:00:00Z", other);
    let mut watcher = site.watcher(&site.watching);
    watcher.judge = |look, rules, now| {
        let number = look.facts.record.child.nhs_number().map(|(number, _)| number.to_string());
        assert_ne!(number.as_deref(), Some(NUMBER), "a test breaks here");
        looked_at(look, rules, now)
    };
    let turn = |now: &str| watcher.look_at_due(&site.reader(), at(now)).unwrap();
    assert_eq!((turn(LATE), turn("2026-01-23T00:00:01Z")), (2, 0), "it is not tried again and again");
    assert_eq!(site.told_of("hub-ne", "NBS_RESULT"), ["NBS_RESULT 001 requested"], "of the other child");
    assert_eq!(site.turn("2026-01-24T00:00:01Z"), 1);
    assert_eq!(site.told_of("hub-ne", "NBS_RESULT").len(), 2, "a day later it is looked at again");
}

#[test]
fn another_default_hub_takes_over_what_nobody_is_responsible_for() {
    let site = Site::new();
    let mut of_nobody = birth(IN_NE);
    of_nobody["child"]["gp"] = Value::Null;
    site.file("2026-01-05T12:00:00Z", of_nobody);
    let mark = || site.mark(&site.watching);
    assert_eq!(mark(), 1);
    site.turn(LATE);
    assert_eq!((mark(), site.turn(LATE)), (0, 0));
    assert_eq!(site.open_tasks("NBS_RESULT")[0].hub.as_str(), "NE");
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"));
    let hubs = std::fs::read_to_string(folder.join("hubs.toml")).unwrap().replace("default_hub = \"NE\"", "default_hub = \"NW\"");
    let other = Directory::load(&hubs, "hubs.toml", &|file| Ok(Box::new(std::fs::File::open(folder.join(file))?))).unwrap();
    site.watching.directory.store(Arc::new(other));
    assert_eq!(mark(), 1);
    assert_eq!(site.turn("2026-01-23T00:00:01Z"), 1);
    assert_eq!((site.open_tasks("NBS_RESULT")[0].hub.as_str(), mark()), ("NW", 0));
}

#[test]
fn a_clock_that_a_person_ended_stays_ended_and_its_task_with_it() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    site.turn(LATE);
    let look = site.look();
    let clock = failsafe::clocks(&look.facts, &rules(), at(LATE)).clocks.into_iter().find(|clock| clock.kind == "HV_NBV").unwrap();
    let closed = site.ledger.close_clock(look.row, "HV_NBV", clock.started, "seen at home, note 7", at("2026-01-23T09:00:00Z"));
    site.runtime.block_on(closed).unwrap();
    site.turn("2026-01-23T09:00:01Z");
    assert_eq!(site.open_tasks("HV_NBV"), []);
    assert_eq!(site.told_of("hub-ne", "HV_NBV").last().map(String::as_str), Some("HV_NBV  completed closed by a person"));
}

#[test]
fn of_a_sealed_record_the_hub_is_told_nothing_more() {
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    site.turn(LATE);
    let before = site.told("hub-ne");
    let mut look = site.look();
    look.facts.record.child.status = Some(ChildStatus::Sealed);
    let looked = looked_at(&look, &rules(), at(LATE));
    assert_eq!(looked.tasks.len(), look.tasks.len());
    site.runtime.block_on(site.ledger.write_looks(vec![looked], Arc::clone(&site.watching.stores), at(LATE))).unwrap();
    assert_eq!((site.told("hub-ne"), site.look().tasks), (before, Vec::new()));
}

#[test]
fn the_same_messages_in_another_order_give_the_same_clocks() {
    let messages = [
        result("26N1", "2026-01-10", "PKU", "03"),
        result("26N2", "2026-01-20", "PKU", "04"),
        later("person", "2026-01-07T10:00:00Z", json!({ "child": { "language": "en" } })),
        later("death", "2026-02-01T10:00:00Z", json!({ "child": { "death": { "status": "informal" } } })),
        later("death", "2026-02-02T10:00:00Z", json!({ "child": { "death": { "status": "removed" } } })),
    ];
    let stood = |order: &[usize]| {
        let site = Site::new();
        site.file("2026-01-05T12:00:00Z", birth(IN_NE));
        for place in order {
            site.file("2026-02-10T12:00:00Z", messages[*place].clone());
            site.turn("2026-02-10T12:00:01Z");
        }
        let facts = site.look().facts;
        let clocks = failsafe::clocks(&facts, &rules(), at("2026-03-01T00:00:00Z")).clocks;
        clocks.into_iter().map(|clock| (clock.kind, clock.state, clock.reason, clock.breach_at)).collect::<Vec<_>>()
    };
    let first = stood(&[0, 1, 2, 3, 4]);
    assert!(first.iter().any(|(kind, state, ..)| kind == "NBS_RESULT" && *state == ClockState::Satisfied));
    for order in [[4, 3, 2, 1, 0], [1, 0, 4, 2, 3], [3, 1, 4, 0, 2]] {
        assert_eq!(stood(&order), first, "{order:?}");
    }
}

#[test]
fn a_nightly_report_has_every_row_also_where_nothing_is_and_is_made_once_a_day() {
    use crate::broker::calendar::Calendar;
    use crate::broker::report::Nightly;
    let site = Site::new();
    site.file("2026-01-05T12:00:00Z", birth(IN_NE));
    site.turn("2026-01-20T00:00:00Z");
    let folder = site.folder.path().join("reports");
    let at_six = jiff::civil::Time::constant(6, 0, 0, 0);
    let nightly = || Nightly { folder: folder.clone(), at: at_six, watching: site.watching.clone() };
    let calendar = || Calendar::new(nightly(), site.ledger.clone(), site.runtime.handle().clone());
    let tick = |calendar: &mut Calendar, now: &str| calendar.tick(&site.reader(), at(now)).unwrap();
    let mut first = calendar();
    assert_eq!(
        (tick(&mut first, "2026-01-20T05:59:59Z"), tick(&mut first, "2026-01-20T06:00:00Z"), tick(&mut first, "2026-01-20T06:00:01Z")),
        (0, 4, 0)
    );
    let files = || std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files(), 8, "CSV and JSON of four hubs");
    // Another process: what is done is done; two missed nights are caught up.
    let mut second = calendar();
    assert_eq!((tick(&mut second, "2026-01-20T23:00:00Z"), tick(&mut second, "2026-01-22T07:00:00Z")), (0, 8));
    assert_eq!(files(), 24);
    let csv = |hub: &str, day: &str| std::fs::read_to_string(folder.join(format!("failsafe-{hub}-{day}.csv"))).unwrap();
    let report = csv("NE", "2026-01-20");
    let child = site.look().child.to_string();
    for line in [
        "day,hub,row,of,count,children",
        "2026-01-20,NE,births_today,,0,",
        &format!("2026-01-20,NE,nbs_no_result_warned,,1,{child}"),
        "2026-01-20,NE,nbs_no_result_late,,0,",
        "2026-01-20,NE,nbs_repeat_open,,0,",
        "2026-01-20,NE,nbs_mover_no_result,,0,",
        "2026-01-20,NE,hearing_overdue,,0,",
        &format!("2026-01-20,NE,nipe_overdue,,1,{child}"),
        "2026-01-20,NE,no_gp,,0,",
        "2026-01-20,NE,no_nhs_number,,0,",
        &format!("2026-01-20,NE,new_birth_visit_overdue,,1,{child}"),
        &format!("2026-01-20,NE,overdue,NBS_SAMPLE,1,{child}"),
        "2026-01-20,NE,immunisations_due_in_28_days,measles,0,",
        "2026-01-20,NE,immunisations_overdue,rotavirus,0,",
        "2026-01-20,NE,messages_unmatched,all hubs,0,",
        "2026-01-20,NE,messages_held,all hubs,0,",
        "2026-01-20,NE,transfers_in,,0,",
        "2026-01-20,NE,transfers_out,,0,",
        "2026-01-20,NE,unobservable,,0,",
    ] {
        assert!(report.lines().any(|written| written == line), "no line {line:?} in\n{report}");
    }
    assert_eq!(report.lines().count(), csv("NW", "2026-01-20").lines().count());
    assert!(csv("NW", "2026-01-20").lines().skip(1).all(|line| line.ends_with(",0,")), "none of its children");
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("failsafe-NE-2026-01-20.json")).unwrap()).unwrap();
    assert_eq!((&json["day"], &json["hub"]), (&json!("2026-01-20"), &json!("NE")));
    assert_eq!(json["rows"].as_array().unwrap().len() + 1, report.lines().count());
}
