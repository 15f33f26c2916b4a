//! Debts: attempts, pauses, groups, and what they cost when there are a million of them.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::schema::{ledger_file, open_for_writing};
use super::*;
use crate::canon::{EventHeader, Statement};
use crate::names::{ChildId, DestinationName, EventId};
use crate::outbox::{FiledEvent, Settlement};
use crate::routing::Directory;

const NOW: &str = "2026-11-07T10:00:00Z";

/// A ledger in which each destination is owed so many debts of so many lanes, one lane after the other; debt `n` of lane `l` is told as `LlNn`.
pub(crate) fn owe_many(data: &Path, owed: &[(&str, i64, i64)]) {
    let mut connection = open_for_writing(data).unwrap();
    let made_us = crate::clock::now().as_microsecond();
    let inserting = connection.transaction().unwrap();
    let mut seq = 0;
    {
        let mut event = inserting.prepare("INSERT INTO event VALUES(?1, ?2, 'person', 0, 'NE', 'default', 0, '[]', NULL, ?3)").unwrap();
        let sql =
            "INSERT INTO debt(destination, child, event, state, attempts, why, made_us, body) VALUES(?1, ?2, ?3, 'pending', 0, '', ?4, ?5)";
        let mut debt = inserting.prepare(sql).unwrap();
        for (name, lanes, each) in owed {
            let destination = writer::row_id(&inserting, "destination", name).unwrap();
            for n in 0..*each {
                for lane in 0..*lanes {
                    seq += 1;
                    let filed = FiledEvent {
                        event: EventId(Uuid::from_u128(u128::try_from(seq).unwrap())),
                        seq: crate::names::Seq(seq),
                        source: "rj1".into(),
                        control_id: format!("L{lane}N{n}"),
                        child_id: ChildId(Uuid::from_u128(u128::try_from(lane).unwrap())),
                        version: n + 1,
                        filed: NOW.parse().unwrap(),
                        superseded: false,
                        statement: Statement { event: EventHeader::default(), ..Statement::default() },
                        record: crate::canon::Child::default(),
                    };
                    event.execute(params![seq * 1024, lane, serde_json::to_vec(&filed).unwrap()]).unwrap();
                    debt.execute(params![destination, lane, seq * 1024, made_us, format!("{{\"n\":{n}}}").into_bytes()]).unwrap();
                }
            }
        }
    }
    inserting.commit().unwrap();
    schema::checkpoint(&connection, "TRUNCATE").unwrap();
}

/// A ledger without hubs that owes nobody anything by itself.
pub(crate) fn open(data: &Path, destinations: &[&str]) -> Ledger {
    let hubs = "default_hub = \"NE\"\n[[hub]]\nname = \"NE\"\ntitle = \"North East\"\nlas = [\"E09000012\"]\n";
    let directory = Directory::load_readable(hubs, "hubs.toml", &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    let rule = |name: &&str| DestinationRule { name: DestinationName::new(*name), recipient: Recipient::Record };
    let rules = FilingRules {
        directory: Arc::new(ArcSwap::from_pointee(directory)),
        destinations: Arc::new(destinations.iter().map(rule).collect()),
        zone: crate::failsafe::day::london(),
        parents: Arc::default(),
    };
    Ledger::open(&LedgerConfig { data: data.to_owned(), ballast: false, pages_max: None }, rules).unwrap()
}

fn retry(why: &str) -> Settlement {
    Settlement::Retry { after_ms: 1_000, why: why.into() }
}

fn held(why: &str) -> Settlement {
    Settlement::Held { why: why.into() }
}

fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
    rows.collect::<rusqlite::Result<Vec<_>>>().unwrap().join("; ")
}

#[test]
fn what_payers_ask_again_and_again_is_answered_by_an_index_alone() {
    let data = tempfile::tempdir().unwrap();
    owe_many(data.path(), &[("region", 5, 2)]);
    let connection = Connection::open(ledger_file(data.path())).unwrap();
    let of = "destination = (SELECT id FROM destination WHERE name = 'region')";
    let asked = |sql: &str| sql.replace("?1", "'region'").replace("?2", "'HTTP 422'").replace("?3", "9").replace("?4", "500");
    for (sql, index) in [
        (
            format!("SELECT id, child FROM debt WHERE {of} AND state = 'pending' AND id > 7 ORDER BY id LIMIT 512"),
            "COVERING INDEX debt_order",
        ),
        (format!("SELECT min(id) FROM debt WHERE {of} AND state = 'pending' AND child = 7"), "COVERING INDEX debt_lane"),
        (format!("SELECT EXISTS(SELECT 1 FROM debt WHERE {of} AND state = 'held' AND child = 7 AND id < 9)"), "COVERING INDEX debt_held"),
        (format!("SELECT child, min(id) FROM debt WHERE {of} AND state = 'held' GROUP BY child"), "COVERING INDEX debt_held"),
        (format!("SELECT made_us FROM debt WHERE {of} AND state = 'pending' ORDER BY id LIMIT 1"), "INDEX debt_order"),
        (format!("SELECT count(*) FROM debt WHERE {of} AND state = 'pending'"), "COVERING INDEX debt_"),
        (asked(super::debts::NEXT_OF_CAUSE), "INDEX debt_cause"),
        (asked(super::debts::NEXT_OF_ALL), "INDEX debt_held"),
    ] {
        let plan = plan(&connection, &sql);
        assert!(plan.contains(index) && !plan.contains("SCAN debt") && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn of_each_debt_the_first_and_the_last_twenty_attempts_are_kept_and_of_one_that_went_through_at_once_nothing_more() {
    let data = tempfile::tempdir().unwrap();
    owe_many(data.path(), &[("region", 2, 1)]);
    let ledger = open(data.path(), &["region"]);
    for attempt in 1..=70 {
        assert!(ledger.settle(vec![(1, attempt, retry(&format!("HTTP 5{:02}", attempt % 100)))]).await);
    }
    assert!(ledger.settle(vec![(1, 71, Settlement::Delivered), (2, 1, Settlement::Delivered)]).await);
    let reader = LedgerReader::open(data.path()).unwrap();
    let attempts = reader.attempts(1).unwrap();
    let numbers: Vec<i64> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (1..=20).chain(52..=71).collect::<Vec<_>>());
    let told = |at: usize| (attempts[at].outcome.as_str(), attempts[at].why.as_str());
    assert_eq!((told(0), told(39)), (("retry", "HTTP 501"), ("delivered", "")));
    let at_once = reader.attempts(2).unwrap();
    assert_eq!((at_once.len(), at_once[0].outcome.as_str()), (1, "delivered"));
    let stands = reader.receiver("region").unwrap();
    assert!(stands.last_success.is_some());
    assert_eq!((stands.last_failure_why.as_deref(), stands.pending), (Some("HTTP 570"), 0));
}

#[tokio::test]
async fn a_pause_is_written_down_and_is_there_when_the_ledger_is_opened_again() {
    let data = tempfile::tempdir().unwrap();
    owe_many(data.path(), &[("region", 3, 2)]);
    let region = DestinationName::new("region");
    let ledger = open(data.path(), &["region"]);
    let steer = |paused, trial| ledger.pause_receiver(&region, paused, ("their upgrade", trial), NOW.parse().unwrap());
    let effect = steer(true, true).await.unwrap();
    assert_eq!((effect.was.as_str(), effect.then.as_str(), effect.pending, effect.done), ("running", "paused", 6, false));
    assert!(!LedgerReader::open(data.path()).unwrap().is_paused("region").unwrap(), "it was only shown");
    assert!(steer(true, false).await.unwrap().done);
    assert!(!steer(true, false).await.unwrap().done, "it is paused already");
    ledger.close().await;
    let ledger = open(data.path(), &["region"]);
    let reader = LedgerReader::open(data.path()).unwrap();
    assert!(reader.is_paused("region").unwrap());
    assert_eq!(reader.receiver("region").unwrap().pause_reason.as_deref(), Some("their upgrade"));
    assert!(ledger.pause_receiver(&region, false, ("done", false), NOW.parse().unwrap()).await.unwrap().done);
    assert!(!reader.is_paused("region").unwrap());
    let connection = Connection::open(ledger_file(data.path())).unwrap();
    let mut audit = connection.prepare("SELECT act || ' ' || what || ' ' || reason FROM audit ORDER BY id").unwrap();
    let acts: Vec<String> = audit.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    assert_eq!(acts, ["dest-pause region their upgrade", "dest-resume region done"]);
}

#[tokio::test]
async fn held_debts_are_released_or_withdrawn_by_their_cause_and_nobody_elses() {
    let data = tempfile::tempdir().unwrap();
    owe_many(data.path(), &[("region", 700, 2), ("other", 1, 1)]);
    let ledger = open(data.path(), &["region", "other"]);
    let held_now: Vec<(i64, u32, Settlement)> =
        (1..=700).map(|debt| (debt, 1, held(if debt % 7 == 0 { "HTTP 400" } else { "HTTP 422" }))).collect();
    assert!(ledger.settle(held_now).await);
    assert!(ledger.settle(vec![(1_401, 1, held("HTTP 422"))]).await);
    let reader = LedgerReader::open(data.path()).unwrap();
    let groups = |name: &str| -> Vec<(String, i64)> {
        reader.held_groups(Some(name)).unwrap().into_iter().map(|group| (group.why, group.debts)).collect()
    };
    assert_eq!(groups("region"), [("HTTP 422".to_owned(), 600), ("HTTP 400".to_owned(), 100)]);
    assert!(reader.lane_stands("region", 0, 701).unwrap() && !reader.lane_stands("other", 0, 1).unwrap());

    let region = || DestinationName::new("region");
    let act = |debts, act, trial| ledger.held_debts(debts, act, ("mended", trial), NOW.parse().unwrap());
    let group = |why: &str| HeldDebts::Group(region(), Some(why.to_owned()));
    let shown = act(group("HTTP 422"), HeldAct::Release, true).await.unwrap();
    assert_eq!((shown.debts, shown.lanes, shown.behind, shown.done), (600, 600, 600, false));
    assert_eq!(act(group("HTTP 422"), HeldAct::Release, false).await.unwrap().debts, 600);
    let by = || HeldAct::Discard { by: "A TEST".into() };
    assert_eq!(act(HeldDebts::One(7), by(), false).await.unwrap().debts, 1);
    assert_eq!(act(group("HTTP 400"), by(), false).await.unwrap().debts, 99);
    assert_eq!((groups("region"), groups("other")), (vec![], vec![("HTTP 422".to_owned(), 1)]));
    assert_eq!(reader.lane_head("region", 0).unwrap(), Some(1), "what was released is the head of its lane again");
    assert_eq!(reader.lane_head("region", 6).unwrap(), Some(707), "what was withdrawn is not");
    let withdrawn = reader.attempts(7).unwrap();
    assert_eq!(withdrawn.last().map(|last| (last.outcome.as_str(), last.why.as_str())), Some(("withdrawn", "discarded")));
    let nothing = act(group("HTTP 422"), HeldAct::Release, false).await.unwrap_err();
    assert_eq!((nothing.exit, nothing.text.contains("nothing is held")), (66, true));
}

#[tokio::test]
async fn of_what_waits_it_is_known_what_stands_behind_a_held_debt_and_how_old_the_rest_is() {
    let data = tempfile::tempdir().unwrap();
    owe_many(data.path(), &[("region", 2, 3)]);
    let connection = Connection::open(ledger_file(data.path())).unwrap();
    // Debt n was made n seconds after a moment.
    connection.execute("UPDATE debt SET made_us = id * 1000000", []).unwrap();
    let ledger = open(data.path(), &["region"]);
    let reader = LedgerReader::open(data.path()).unwrap();
    let seconds = |at: Option<jiff::Timestamp>| at.map(jiff::Timestamp::as_second);
    let queue = || {
        let queue = reader.queue("region").unwrap();
        (queue.pending, queue.held, seconds(queue.oldest), seconds(queue.oldest_free), reader.receiver("region").unwrap().behind_held)
    };
    assert_eq!(queue(), (6, 0, Some(1), Some(1), 0));
    assert!(ledger.settle(vec![(1, 1, held("HTTP 422"))]).await);
    assert_eq!(queue(), (5, 1, Some(2), Some(2), 2));
    assert!(ledger.settle(vec![(2, 1, Settlement::Delivered), (4, 1, Settlement::Delivered), (6, 1, Settlement::Delivered)]).await);
    assert_eq!(queue(), (2, 1, Some(3), None, 2), "all that waits is behind it");
    ledger.release_debt(1, "mended", NOW.parse().unwrap()).await.unwrap();
    assert_eq!(queue(), (3, 0, Some(1), Some(1), 0));
}
