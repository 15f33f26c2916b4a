//! No child under the wrong number, seen from outside: what becomes of messages, what a person is asked, and what hubs hold afterwards.

use std::path::Path;

use chis_broker::broker::{Operations, Running};
use chis_broker::names::{ChildId, Seq};
use chis_broker::store::{DeskAct, Effect, LedgerReader, StoreError, hub_export};
use serde_json::Value;

use crate::hubs::Process;
use crate::world::{Line, broker, settled};

/// A message of RJ1: `A28 mrn=A nhs=9990000026 order=1 mother=M1 sex=1 @NE > B`.
fn adt(number: usize, words: &str) -> String {
    let (person, prior) = words.split_once(" > ").map_or((words, None), |(person, prior)| (person, Some(prior)));
    let of = |key: &str| person.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    let event = person.split_whitespace().next().unwrap();
    let mut ids = Vec::new();
    if !of("nhs").is_empty() {
        ids.push(format!("{}^^^NHS^NH", of("nhs")));
    }
    ids.extend(person.split_whitespace().filter_map(|word| word.strip_prefix("mrn=")).map(|id| format!("{id}^^^RJ1^PI")));
    let status = if of("nhs").is_empty() { "NSTS08" } else { "NSTS01" };
    let mother = if of("mother").is_empty() { String::new() } else { format!("{}^^^RJ1^PI", of("mother")) };
    let (sex, order) = (if of("sex").is_empty() { "2" } else { of("sex") }, of("order"));
    let multiple = if order.is_empty() { "" } else { "Y" };
    let postcode = if person.contains("@NE") { "E8 4RP" } else { "SE1 9ZZ" };
    let at = format!("202601{:02}100000", number + 6);
    let mrg = prior.map_or(String::new(), |prior| format!("MRG|{prior}^^^RJ1^PI\r"));
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|{at}||ADT^{event}|I{number}|P|2.4|||||GBR|UNICODE UTF-8\rEVN||{at}||||{at}\r\
         PID|1||{}||SAMPLE^BABY^^^^^L||20260105|{sex}|||10 TEST STREET^^LONDON^^{postcode}^GBR^H||||||||||{mother}|||{multiple}|{order}|||||||{status}\r{mrg}",
        ids.join("~")
    )
}

fn result(control: &str, ids: &str, key: &str) -> String {
    format!(
        "MSH|^~\\&|NBSLIMS|RP4|CHIS|LONDON|20260112100000||ORU^R01^ORU_R01|{control}|P|2.5.1\r\
         PID|1||{ids}||SAMPLE^BABY||20260105|2|||||||||||||||||||||||||NSTS01\r\
         OBR|1|CARD-{key}|{key}^RP4|NBS|||20260110|||||||20260112||||||||20260112100000|||F\r\
         OBX|1|CWE|314081000^PKU^SCT||04^X^NBS||||||F|||20260112100000\r"
    )
}

struct World {
    data: tempfile::TempDir,
    running: Running,
    line: Line,
    sent: i64,
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let running = broker(data.path()).await;
        let line = Line::open(running.addresses.mllp[0]).await;
        Self { data, running, line, sent: 0 }
    }

    /// Sends, and waits until nothing is owed.
    async fn send(&mut self, message: &str) -> Seq {
        assert_eq!(self.line.exchange(message.as_bytes()).await.code, "AA", "{message}");
        let account = settled(self.data.path()).await;
        assert_eq!((account.unaccounted, account.unaccounted_debts, account.undelivered), (0, 0, 0), "{message}");
        self.sent = self.reader().entries(&Default::default()).unwrap()[0].seq;
        Seq(self.sent)
    }

    async fn adt(&mut self, words: &str) -> Seq {
        let number = usize::try_from(self.sent).unwrap();
        self.send(&adt(number, words)).await
    }

    fn reader(&self) -> LedgerReader {
        LedgerReader::open(self.data.path()).unwrap()
    }

    fn outcome(&self, seq: Seq) -> String {
        let trace = self.reader().trace(seq).unwrap().unwrap();
        trace.events.first().map_or(trace.entry.reason, |event| event.child.clone())
    }

    fn child(&self, seq: Seq) -> ChildId {
        ChildId(self.outcome(seq).parse().unwrap_or_else(|_| panic!("{:?}", self.reader().trace(seq))))
    }

    async fn decide(&self, act: DeskAct) -> Result<Effect, StoreError> {
        let operations = self.running.operations();
        let done = tokio::task::spawn_blocking(move || operations.decide(act, "looked at both", false)).await.unwrap();
        settled(self.data.path()).await;
        done
    }

    fn kinds(&self) -> Vec<String> {
        let now = "2026-11-25T00:00:00Z".parse().unwrap();
        self.reader().identity_items(now).unwrap().into_iter().map(|item| format!("{} {}", item.kind, item.seq)).collect()
    }

    async fn end(self) {
        assert_eq!(self.running.stop().await, 0);
    }
}

/// Children in the store of a hub, with their status.
fn store(data: &Path, hub: &str) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    hub_export(data.join(format!("hub-{hub}.db")), &mut |child| {
        seen.push((child["child"].as_str().unwrap().to_owned(), child["record"]["status"].as_str().unwrap_or_default().to_owned()));
        Ok(())
    })
    .unwrap();
    seen.sort();
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_whose_numbers_were_swapped_are_held_and_both_records_stay_as_they_were() {
    let mut world = World::new().await;
    let one = world.adt("A28 mrn=T1 nhs=9990000042 sex=1 order=1 mother=M1").await;
    let two = world.adt("A28 mrn=T2 nhs=9990000050 sex=1 order=2 mother=M1").await;
    assert_ne!(world.child(one), world.child(two));
    let before = [one, two].map(|seq| world.reader().child(world.child(seq)).unwrap().unwrap().version);
    let swapped = world.adt("A31 mrn=T2 nhs=9990000042 sex=1 mother=M1").await;
    let result = world.send(&result("R1", "9990000042^^^NHS^NH~T2^^^RJ1^PI", "26N1").replace("|20260105|2|", "|20260105|1|")).await;
    assert_eq!([world.outcome(swapped), world.outcome(result)], ["identity-conflict", "identity-conflict"]);
    assert_eq!([one, two].map(|seq| world.reader().child(world.child(seq)).unwrap().unwrap().version), before);
    // A person says whose the result is: the number of the other twin is left out.
    let under = Some(world.child(two));
    assert!(world.decide(DeskAct::File { seq: result.0, under }).await.unwrap().done);
    assert_eq!(world.child(result), world.child(two));
    let numbers = world.reader().child(world.child(two)).unwrap().unwrap().record["identifiers"].to_string();
    assert!(numbers.contains("9990000050") && !numbers.contains("9990000042"), "{numbers}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_without_a_birth_order_are_two_records_and_a_person_is_asked() {
    let mut world = World::new().await;
    let (one, two) = (world.adt("A28 mrn=T1 mother=M1").await, world.adt("A28 mrn=T2 mother=M1").await);
    assert_ne!(world.child(one), world.child(two));
    assert_eq!(world.kinds(), [format!("possible-match {two}")]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mothers_hospital_number_on_her_baby_is_held_until_a_person_files_it_without_it() {
    let mut world = World::new().await;
    let born = world.adt("A28 mrn=B1 mother=M1").await;
    let wrong = world.adt("A31 mrn=M1 mrn=B1").await;
    assert_eq!(world.outcome(wrong), "identity-conflict");
    let under = Some(world.child(born));
    assert!(world.decide(DeskAct::File { seq: wrong.0, under }).await.unwrap().done);
    let record = world.reader().child(world.child(born)).unwrap().unwrap().record;
    assert_eq!(record["identifiers"].as_array().unwrap().len(), 1, "{record}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_came_before_its_child_is_filed_as_soon_as_the_registration_comes() {
    let mut world = World::new().await;
    let early = world.send(&result("R1", "B1^^^RJ1^PI", "26N1")).await;
    assert_eq!(world.outcome(early), "unmatched");
    let born = world.adt("A28 mrn=B1").await;
    assert_eq!(world.child(early), world.child(born));
    assert!(world.kinds().is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_merged_by_mistake_is_two_again_in_the_ledger_and_in_the_stores_of_both_hubs() {
    let mut world = World::new().await;
    let (one, two) = (world.adt("A28 mrn=A @NE").await, world.adt("A28 mrn=B").await);
    let result_of_b = world.send(&result("R1", "B^^^RJ1^PI", "26N1")).await;
    world.adt("A40 mrn=A @NE > B").await;
    let (one, two) = (world.child(one), world.child(two));
    let facts = |world: &World, child: ChildId| world.reader().child(child).unwrap().unwrap().aggregates.len();
    assert_eq!((facts(&world, one), facts(&world, two)), (1, 0));
    assert!(world.decide(DeskAct::Unlink { other: two }).await.unwrap().done);
    assert_eq!((facts(&world, one), facts(&world, two)), (0, 1));
    for (hub, place) in [("ne", 0), ("se", 1)] {
        let mut expected = vec![(one.to_string(), "provisional".to_owned()), (two.to_string(), "provisional".to_owned())];
        expected.sort();
        assert_eq!(store(world.data.path(), hub), expected, "{hub} {place}");
    }
    let late = world.adt("A31 mrn=B").await;
    assert_eq!((world.child(late), world.child(result_of_b)), (two, two));
    let again = world.adt("A40 mrn=A @NE > B").await;
    assert_eq!(world.outcome(again), "identity-conflict", "a person said that they are two");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_for_a_sealed_child_is_in_the_list_of_its_role_and_reaches_nobody() {
    let mut world = World::new().await;
    let born = world.adt("A28 mrn=B1 nhs=9990000026 mother=M1").await;
    let child = world.child(born);
    assert!(world.decide(DeskAct::Seal { child }).await.unwrap().done);
    // The store of the hub is told that it is sealed, and shows nothing of it.
    hub_export(world.data.path().join("hub-se.db"), &mut |line| {
        assert_eq!(line["record"]["status"], "sealed");
        assert!(!line.to_string().contains("SAMPLE") && !line.to_string().contains("9990000026"), "{line}");
        Ok(())
    })
    .unwrap();
    let late = world.send(&result("R1", "9990000026^^^NHS^NH~B1^^^RJ1^PI", "26N1")).await;
    let trace = world.reader().trace(late).unwrap().unwrap();
    assert_eq!((trace.entry.reason.as_str(), trace.debts.len()), ("record-closed", 0));
    let items = world.reader().identity_items("2026-11-25T00:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(items[0].role.as_deref(), Some("sealed-records"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_that_a_restricted_child_leaves_sees_that_it_left_and_not_where_to() {
    let mut world = World::new().await;
    let hidden = |message: String| format!("{message}ZU8||||2\r");
    let born = world.send(&adt(0, "A28 mrn=B1")).await;
    world.send(&hidden(adt(1, "A31 mrn=B1"))).await;
    world.send(&hidden(adt(2, "A31 mrn=B1 @NE"))).await;
    let record = world.reader().child(world.child(born)).unwrap().unwrap().record;
    assert_eq!((record["flags"]["sensitivity"].as_str(), record["hub"]["hub"].as_str()), (Some("restricted"), Some("NE")), "{record}");
    for (hub, knows) in [("ne", true), ("se", false)] {
        hub_export(world.data.path().join(format!("hub-{hub}.db")), &mut |line| {
            assert_eq!(line.to_string().contains("E8 4RP"), knows, "{hub}: {line}");
            assert_eq!(line["record"]["hub"]["hub"], "NE", "{hub}");
            Ok(())
        })
        .unwrap();
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mothers_own_messages_move_her_links_and_never_her_baby() {
    let mut world = World::new().await;
    let born = world.adt("A28 mrn=B1 mother=M1").await;
    let grown = |message: String| message.replace("||20260105|", "||19900101|");
    let merged = world.send(&grown(adt(1, "A40 mrn=M2 > M1"))).await;
    assert!(world.outcome(merged).contains("mother's identifiers"), "{}", world.outcome(merged));
    let moved = world.send(&grown(adt(2, "A31 mrn=M2 @NE"))).await;
    assert_eq!(world.reader().trace(moved).unwrap().unwrap().entry.standing, "ignored");
    assert_eq!(world.kinds(), [format!("mother-moved {moved}")]);
    let record = world.reader().child(world.child(born)).unwrap().unwrap().record;
    assert_eq!(record["addresses"][0]["postcode"], "SE1 9ZZ");
    // Said again, it is not asked again.
    world.send(&grown(adt(3, "A31 mrn=M2 @NE"))).await;
    assert_eq!(world.kinds().len(), 1);
    world.end().await;
}

/// An A24 or A37 of RJ1: these two numbers are one person's, or two persons'.
fn two_persons(control: &str, event: &str, at: &str, mrn: &str, other: &str) -> String {
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|{at}||ADT^{event}|{control}|P|2.4|||||GBR|UNICODE UTF-8\rEVN||{at}||||{at}\r\
         PID|1||{mrn}^^^RJ1^PI||SAMPLE^BABY^^^^^L||20260105|2\rPID|2||{other}^^^RJ1AE^PI||SAMPLE^BABY^^^^^L||20260105|2\r"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_what_an_unlink_left_to_look_at_and_takes_a_number_off_by_command_after_having_seen_the_effect() {
    // Its tasks are entries too, and come by the clock.
    let mut broker = Process::new(None, "[failsafe]\nwatch = false\n");
    broker.start().await;
    let baby = adt(1, "A28 mrn=T1 nhs=9990000042");
    let ids = |number: &str| format!("{number}^^^RJ1AE^PI");
    broker
        .send(&[baby, two_persons("L1", "A24", "20260108100000", "T1", "AE1"), two_persons("L2", "A24", "20260108110000", "T1", "AE2")])
        .await;
    broker.send(&[result("R1", &ids("AE1"), "26N1"), result("R2", &ids("AE2"), "26N2")]).await;
    broker.send(&[two_persons("U1", "A37", "20260112120000", "T1", "AE1")]).await;
    let admin = format!("http://{}", broker.admin);
    let say = |arguments: &[&str]| broker.command(&[arguments, &["--admin", &admin, "--json"]].concat());
    let reviews = || -> Vec<String> {
        let (_, held) = say(&["held", "list"]);
        let word = |row: &Value, key: &str| row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
        held["reviews"].as_array().unwrap().iter().map(|row| format!("{} {}", word(row, "code"), word(row, "seq"))).collect()
    };
    assert_eq!(reviews(), ["alias-unlinked 4"], "the result that came under the number alone");
    let reader = LedgerReader::open(&broker.data()).unwrap();
    let child = reader.children_by_identifier("9990000042").unwrap()[0];
    let ids_of = |reader: &LedgerReader| reader.child(child).unwrap().unwrap().record["identifiers"].to_string();
    assert!(!ids_of(&reader).contains("AE1") && ids_of(&reader).contains("AE2"));
    let facts = reader.child(child).unwrap().unwrap().aggregates;
    assert_eq!(facts.iter().filter(|fact| fact.kind != "failsafe").count(), 2, "the facts stay");

    // The other one by hand: shown first.
    let name = child.to_string();
    let command = ["identity", "unlink", &name, "--alias", "--reason", "the ward's list of 12 January", "--admin", &admin, "--json"];
    let (exit, effect) = broker.command_with(&command, "AE2\n");
    assert_eq!((exit, effect["done"].as_bool()), (1, Some(false)), "{effect}");
    assert!(effect["text"].to_string().contains("message 3 had linked") && ids_of(&reader).contains("AE2"), "{effect}");
    let (exit, effect) = broker.command_with(&[&command[..], &["--yes"]].concat(), "AE2\n");
    assert_eq!((exit, effect["done"].as_bool()), (0, Some(true)), "{effect}");
    assert!(!ids_of(&reader).contains("AE2"));
    assert_eq!(reviews(), ["alias-unlinked 4", "alias-unlinked 5"]);
    // Whoever has the number now is somebody else.
    broker.send(&[result("R3", &ids("AE2"), "26N3")]).await;
    assert_eq!(reader.trace(Seq(8)).unwrap().unwrap().entry.reason, "unmatched");
}
