//! Claims about the ledger: what a receipt proves, what a second message does, what a full disk does.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use crate::journal::{Admission, Entry, FileMark, Journal, JournalError, Place};
use crate::names::{BundleHash, Format, Seq, SourceName};
use crate::routing::Directory;

fn rules() -> FilingRules {
    FilingRules {
        directory: Arc::new(ArcSwap::from_pointee(Directory::default())),
        destinations: Arc::default(),
        zone: jiff::tz::TimeZone::UTC,
        parents: Arc::default(),
    }
}

fn open(data: &std::path::Path, pages_max: Option<u32>) -> Ledger {
    Ledger::open(&LedgerConfig { data: data.to_path_buf(), ballast: false, pages_max }, rules()).unwrap()
}

fn entry(control_id: &str, body: &'static str, admission: Admission) -> Entry {
    Entry {
        source: SourceName::new("rj1"),
        format: Format::Hl7v2,
        kind: "ADT^A28".into(),
        control_id: control_id.into(),
        body: Bytes::from_static(body.as_bytes()),
        arrived: Timestamp::from_second(1_767_607_200).unwrap(),
        admission,
    }
}

fn held(seq: Seq) -> Prepared {
    Prepared {
        seq,
        source: SourceName::new("rj1"),
        control_id: "A".into(),
        arrived_us: 0,
        rank: 1,
        mapping: None,
        bundle: BundleHash::new("none"),
        findings: String::new(),
        outcome: PreparedOutcome::Hold("unmapped-code".into()),
        contents: Vec::new(),
        released_by: None,
        apart: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_with_a_receipt_is_there_after_the_ledger_was_opened_anew() {
    let data = tempfile::tempdir().unwrap();
    let ledger = open(data.path(), None);
    for (number, control_id) in ["A", "B", "C"].iter().enumerate() {
        let receipt = ledger.append(entry(control_id, "MSH|one", Admission::Accepted)).await.unwrap();
        assert_eq!((receipt.seq(), receipt.duplicate_of()), (Seq(number as i64 + 1), None));
    }
    // A copy of the files as they are now is what a killed process leaves behind.
    let left = tempfile::tempdir().unwrap();
    for file in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(data.path().join(file), left.path().join(file)).unwrap();
    }
    let again = open(left.path(), None);
    assert_eq!(again.appended(), Seq(3));
    let (row, body) = LedgerReader::open(left.path()).unwrap().entry(Seq(2)).unwrap().unwrap();
    assert_eq!((row.control_id.as_str(), row.standing.as_str(), &body[..]), ("B", "waiting", &b"MSH|one"[..]));
    let next = again.append(entry("D", "MSH|four", Admission::Accepted)).await.unwrap();
    assert_eq!(next.seq(), Seq(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_message_again_is_a_duplicate_and_the_same_number_with_other_bytes_is_not() {
    let data = tempfile::tempdir().unwrap();
    let ledger = open(data.path(), None);
    let cases = [
        ("A", "MSH|one", Admission::Accepted, None),
        ("A", "MSH|one", Admission::Accepted, Some(1)),
        ("A", "MSH|two", Admission::Accepted, None),
        ("B", "MSH|one", Admission::Accepted, None),
        ("C", "MSH|bad", Admission::Refused("AR 201".into()), None),
        ("C", "MSH|bad", Admission::Refused("AR 201".into()), None),
        ("C", "MSH|bad", Admission::Accepted, None),
        ("A", "MSH|two", Admission::Accepted, Some(3)),
    ];
    for (control_id, body, admission, duplicate_of) in cases {
        let receipt = ledger.append(entry(control_id, body, admission)).await.unwrap();
        assert_eq!(receipt.duplicate_of(), duplicate_of.map(Seq), "{control_id} {body}");
    }
    let account = LedgerReader::open(data.path()).unwrap().reconcile(None, None).unwrap();
    let line = &account.lines[0];
    assert_eq!((line.received, line.waiting, line.duplicate, line.refused), (8, 4, 2, 2));
    assert_eq!((account.unaccounted, account.undelivered, line.day.as_str()), (0, 4, "2026-01-05"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_file_is_an_entry_once_refused_ones_too_and_also_after_the_process_ended() {
    let data = tempfile::tempdir().unwrap();
    let file = FileMark([7; 32]);
    let records = || {
        let admissions = [Admission::Accepted, Admission::Refused("AR 201".into()), Admission::Accepted];
        let entries = ["A", "B", "A"].into_iter().zip(admissions).map(|(id, admission)| entry(id, "MSH|one", admission));
        entries.zip(1..).map(|(entry, number)| (entry, Place { file, number })).collect::<Vec<_>>()
    };
    let seqs = |receipts: Vec<crate::journal::Receipt>| receipts.iter().map(|receipt| receipt.seq().0).collect::<Vec<_>>();
    let ledger = open(data.path(), None);
    let first = ledger.append_placed(records().remove(0).0, Place { file, number: 1 }).await.unwrap();
    assert_eq!(first.seq(), Seq(1));
    assert_eq!(seqs(ledger.append_all(records()).await.unwrap()), [1, 2, 3], "the first is there already");
    ledger.close().await;
    drop(ledger);
    let again = open(data.path(), None);
    assert_eq!(seqs(again.append_all(records()).await.unwrap()), [1, 2, 3]);
    let other = again.append_placed(records().remove(1).0, Place { file: FileMark([8; 32]), number: 1 }).await.unwrap();
    assert_eq!(other.seq(), Seq(4), "another file is another place");
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!((reader.placed_through(&file).unwrap(), reader.placed_through(&FileMark([9; 32])).unwrap()), (3, 0));
    let mut standings = Vec::new();
    reader.outcomes(&file, &mut |outcome| standings.push(format!("{} {}", outcome.place, outcome.standing))).unwrap();
    assert_eq!(standings, ["1 waiting", "2 refused", "3 duplicate"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_refused_and_is_put_back_is_taken_when_its_cause_is_mended() {
    let data = tempfile::tempdir().unwrap();
    let ledger = open(data.path(), None);
    let place = || Place { file: FileMark([7; 32]), number: 1 };
    let put = |admission| ledger.append_placed(entry("A", "MSH|one", admission), place());
    assert_eq!(put(Admission::Refused("AR 200".into())).await.unwrap().seq(), Seq(1));
    assert_eq!(put(Admission::Refused("AR 200".into())).await.unwrap().seq(), Seq(1), "still refused");
    assert_eq!(put(Admission::Accepted).await.unwrap().seq(), Seq(2), "a receipt of the refused one would be a lie");
    assert_eq!(put(Admission::Accepted).await.unwrap().seq(), Seq(2));
    let mut standings = Vec::new();
    let reader = LedgerReader::open(data.path()).unwrap();
    reader.outcomes(&place().file, &mut |outcome| standings.push(format!("{} {}", outcome.place, outcome.standing))).unwrap();
    assert_eq!(standings, ["1 waiting"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_seen_even_when_both_wait_in_the_same_turn() {
    let data = tempfile::tempdir().unwrap();
    let ledger = open(data.path(), None);
    let twice = (0..64).map(|number| ledger.append(entry(if number % 2 == 0 { "A" } else { "B" }, "MSH|one", Admission::Accepted)));
    let receipts = futures_util::future::join_all(twice).await;
    let fresh = receipts.iter().filter(|receipt| receipt.as_ref().unwrap().duplicate_of().is_none()).count();
    assert_eq!(fresh, 2);
    let mut seqs: Vec<i64> = receipts.iter().map(|receipt| receipt.as_ref().unwrap().seq().0).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=64).collect::<Vec<_>>(), "no place is skipped or given twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_accepted_that_a_full_disk_could_not_hold_and_service_comes_back() {
    let data = tempfile::tempdir().unwrap();
    let ledger = open(data.path(), Some(60));
    let long = "MSH|".to_owned() + &"x".repeat(3_000);
    let long: &'static str = Box::leak(long.into_boxed_str());
    let mut kept = 0;
    let refused = loop {
        match ledger.append(entry(&format!("N{kept}"), long, Admission::Accepted)).await {
            Ok(_receipt) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, JournalError::Full);
    assert!(ledger.is_full() && !ledger.is_broken());
    assert_eq!(
        LedgerReader::open(data.path()).unwrap().entries(&EntryFilter { limit: Some(1_000), ..EntryFilter::default() }).unwrap().len(),
        kept
    );
    // A short one still fits: the ledger serves again without anyone's help.
    assert!(ledger.append(entry("short", "MSH|s", Admission::Accepted)).await.is_ok());
    assert!(!ledger.is_full());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_entry_stands_until_a_person_releases_it_and_no_entry_stands_twice() {
    let data = tempfile::tempdir().unwrap();
    let ledger = open(data.path(), None);
    let seq = ledger.append(entry("A", "MSH|one", Admission::Accepted)).await.unwrap().seq();
    assert!(ledger.file(vec![held(seq), held(seq)]).await);
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.held().unwrap().len(), 1);
    assert_eq!(reader.filed_through().unwrap(), seq);
    assert!(reader.unfiled(Seq(0), 10).unwrap().is_empty());
    let again = Prepared {
        outcome: PreparedOutcome::Ignore("not ours".into(), Vec::new()),
        released_by: Some("agreed by telephone".into()),
        ..held(seq)
    };
    assert!(ledger.file(vec![again]).await);
    let trace = reader.trace(seq).unwrap().unwrap();
    assert_eq!((trace.entry.standing.as_str(), trace.entry.reason.as_str()), ("ignored", "not ours"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_broker_is_told_that_the_ledger_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let _first = open(data.path(), None);
    let second = Ledger::open(&LedgerConfig { data: data.path().to_path_buf(), ballast: false, pages_max: None }, rules()).unwrap_err();
    assert_eq!(second.exit, 75);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_comes_back_as_it_was_kept() {
    let data = tempfile::tempdir().unwrap();
    let ledger = open(data.path(), None);
    let files = [("a.toml".to_owned(), b"[mapping]".to_vec()), ("tables/sex.csv".to_owned(), b"from,to\n".to_vec())].into();
    ledger.keep_bundle(&BundleHash::new("h1"), &files, Timestamp::from_second(1).unwrap()).await.unwrap();
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.bundle_files("h1").unwrap(), Some(files.clone()));
    assert_eq!(reader.last_bundle().unwrap(), Some(files));
    assert_eq!(reader.bundle_files("h2").unwrap(), None);
}

mod merges {
    use super::*;
    use crate::canon::{
        Child, ChildStatus, Date, EventHeader, EventKind, Identifier, IdentityAct, IdentityChange, Precision, ProxyConsent, Statement,
    };
    use crate::names::ChildId;

    fn id(value: &str) -> Identifier {
        Identifier { system: "urn:v2:RJ1".into(), value: value.into(), ..Identifier::default() }
    }

    /// A child of that identifier; with a prior one, a merge.
    fn said(value: &str, prior: Option<&str>) -> Statement {
        let kind = if prior.is_some() { EventKind::Merge } else { EventKind::Person };
        let date = Some(Date { value: "2026-01-05".into(), precision: Precision::Day });
        let mut child = Child { identifiers: vec![id(value)], ..Child::default() };
        child.birth.date = date;
        let change = |prior: &str| IdentityChange { act: IdentityAct::Merge, prior: vec![id(prior)] };
        Statement {
            event: EventHeader { kind, may_create: true, ..EventHeader::default() },
            child,
            identity_changes: prior.map(change).into_iter().collect(),
            ..Statement::default()
        }
    }

    fn followed(value: &str, account: &str) -> Statement {
        let consent = ProxyConsent { account_id: account.into(), status: "active".into(), ..ProxyConsent::default() };
        let mut statement = said(value, None);
        statement.event.kind = EventKind::ProxyConsent;
        statement.proxy_consents = vec![consent];
        statement
    }

    /// Files each list of statements as one message; gives the reader and why each was held, empty where it was filed.
    async fn filed(data: &std::path::Path, messages: Vec<Vec<Statement>>) -> (LedgerReader, Vec<String>) {
        let ledger = open(data, None);
        let mut prepared = Vec::new();
        for (number, statements) in messages.into_iter().enumerate() {
            let control_id: &'static str = Box::leak(format!("N{number}").into_boxed_str());
            let seq = ledger.append(entry(control_id, control_id, Admission::Accepted)).await.unwrap().seq();
            let arrived_us = 1_767_607_200_000_000 + number as i64;
            prepared.push(Prepared { arrived_us, outcome: PreparedOutcome::File(statements), ..held(seq) });
        }
        let count = prepared.len() as i64;
        assert!(ledger.file(prepared).await);
        let reader = LedgerReader::open(data).unwrap();
        let reasons = (1..=count).map(|seq| reader.trace(Seq(seq)).unwrap().unwrap().entry.reason).collect();
        (reader, reasons)
    }

    fn status_of(reader: &LedgerReader, child: ChildId) -> String {
        reader.child(child).unwrap().unwrap().record["status"].as_str().unwrap().to_owned()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn pairs_of_one_message_are_merged_in_their_order_and_each_keeps_its_other() {
        let data = tempfile::tempdir().unwrap();
        let registrations = ["A", "B", "C", "D"].map(|value| said(value, None)).to_vec();
        let (reader, reasons) = filed(data.path(), vec![registrations, vec![said("B", Some("A")), said("D", Some("C"))]]).await;
        assert_eq!(reasons, ["", ""]);
        let events = reader.trace(Seq(2)).unwrap().unwrap().events;
        let now: Vec<String> = events.iter().map(|event| status_of(&reader, ChildId(event.child.parse().unwrap()))).collect();
        assert_eq!(now, ["provisional", "provisional", "merged", "merged"]);
        for (gone, goes_on) in [("A", "B"), ("C", "D")] {
            assert_eq!(reader.children_by_identifier(gone).unwrap(), reader.children_by_identifier(goes_on).unwrap());
        }
        assert_ne!(reader.children_by_identifier("A").unwrap(), reader.children_by_identifier("C").unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_pair_that_must_wait_holds_its_whole_message() {
        let data = tempfile::tempdir().unwrap();
        let mut later = said("C", None);
        later.child.birth.date = Some(Date { value: "2026-01-06".into(), precision: Precision::Day });
        let messages = vec![vec![said("A", None)], vec![said("B", None)], vec![later], vec![said("B", Some("A")), said("B", Some("C"))]];
        let (reader, reasons) = filed(data.path(), messages).await;
        assert_eq!(reasons, ["", "", "", "identity-mismatch"]);
        assert_ne!(reader.children_by_identifier("A").unwrap(), reader.children_by_identifier("B").unwrap(), "nothing of it was done");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_account_goes_over_to_the_survivor_and_two_accounts_are_a_persons_decision() {
        let data = tempfile::tempdir().unwrap();
        let messages = vec![vec![said("A", None)], vec![said("B", None)], vec![followed("A", "mum")], vec![said("B", Some("A"))]];
        let (reader, reasons) = filed(data.path(), messages).await;
        assert_eq!(reasons, ["", "", "", ""]);
        // Rows of children are numbered as they come: A is 1, B is 2.
        let accounts =
            |child: i64| reader.child_now(child).unwrap().unwrap().1.into_iter().map(|consent| consent.account_id).collect::<Vec<_>>();
        assert_eq!((accounts(1), accounts(2)), (vec!["mum".to_owned()], vec!["mum".to_owned()]));
        assert_eq!(reader.child_now(1).unwrap().unwrap().0.status, Some(ChildStatus::Merged));

        let data = tempfile::tempdir().unwrap();
        let followed = vec![followed("A", "mum"), followed("B", "dad")];
        let (_reader, reasons) =
            filed(data.path(), vec![vec![said("A", None)], vec![said("B", None)], followed, vec![said("B", Some("A"))]]).await;
        assert_eq!(reasons, ["", "", "", "identity-conflict"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_merges_no_more_children_than_its_events_have_room_for() {
        let data = tempfile::tempdir().unwrap();
        let fillers = (0..511).map(|_| said("P", None));
        let late: Vec<Statement> = fillers.chain([said("B", Some("A"))]).collect();
        let later: Vec<Statement> = (0..512).map(|_| said("P", None)).chain([said("D", Some("C"))]).collect();
        let both = ["A", "B", "C", "D"].map(|value| said(value, None)).to_vec();
        let (_reader, reasons) = filed(data.path(), vec![both, late, later]).await;
        assert_eq!(reasons, ["", "", "statement-count"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_death_that_is_taken_back_marks_the_child_for_a_person_and_not_dead_alone_does_not() {
        let dead = |status: &str| {
            let mut statement = said("A", None);
            statement.child.death = Some(crate::canon::Death { status: Some(status.into()), ..crate::canon::Death::default() });
            statement
        };
        for (messages, marked) in [
            (vec![dead("removed"), dead("removed")], false),
            (vec![dead("informal"), dead("formal")], false),
            (vec![dead("informal"), dead("removed")], true),
        ] {
            let data = tempfile::tempdir().unwrap();
            let (reader, _reasons) = filed(data.path(), messages.into_iter().map(|statement| vec![statement]).collect()).await;
            assert_eq!(reader.child_now(1).unwrap().unwrap().0.flags.birth_needs_review, marked);
        }
    }
}
