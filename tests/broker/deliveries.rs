//! Receivers as they are: slow, failing, losing answers, answering twice, away; stopped by a person; sent to again. A real process, killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chis_broker::broker::{Operations, Running};
use chis_broker::config::DEFAULT_TOML;
use chis_broker::destinations::Profile;
use chis_broker::destinations::fake::{Answer, Fake, Received};
use chis_broker::names::Seq;
use chis_broker::store::LedgerReader;
use serde_json::Value;

use crate::world::{Line, PATIENCE, free_port, person, receiver, settings, settled};

const CHILDREN: usize = 6;
const EACH: usize = 4;

/// A broker of its own process over a folder, and the commands that ask it.
struct Site {
    folder: tempfile::TempDir,
    mllp: SocketAddr,
    admin: String,
    broker: Child,
}

impl Site {
    async fn new(receivers: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mllp, admin) = (free_port(), free_port());
        let mut text = DEFAULT_TOML
            .replace("\"127.0.0.1:2575\"", &format!("\"{mllp}\""))
            .replace("\"127.0.0.1:8080\"", &format!("\"{}\"", free_port()))
            .replace("\"127.0.0.1:9464\"", &format!("\"{admin}\""))
            .replace("/var/lib/chis-broker", folder.path().join("data").to_str().unwrap());
        for (name, base) in receivers {
            text.push_str(&format!(
                "\n[[destination]]\nname = \"{name}\"\nkind = \"fhir\"\nprofile = \"record\"\nbase = \"{base}\"\ntimeout_s = 5\n"
            ));
        }
        std::fs::write(folder.path().join("chis-broker.toml"), text).unwrap();
        let broker = run(folder.path());
        let site = Self { folder, mllp, admin: format!("http://{admin}"), broker };
        site.is_up().await;
        site
    }

    async fn kill_and_start_again(&mut self) {
        self.broker.kill().unwrap();
        self.broker.wait().unwrap();
        self.broker = run(self.folder.path());
        self.is_up().await;
    }

    async fn is_up(&self) {
        until("the broker is up", || self.command(&["status"]).0 == Some(0)).await;
    }

    fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_chis-broker")).args(words).args(["--admin", &self.admin]).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let (code, text) = self.command(&[words, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{words:?} gave {code:?}: {text}"))
    }

    /// `state` of a receiver.
    fn state(&self, name: &str) -> String {
        let all = self.json(&["dest", "list"]);
        let one = all.as_array().unwrap().iter().find(|one| one["destination"] == name).unwrap();
        one["state"].as_str().unwrap().to_owned()
    }

    fn job(&self, job: &str) -> Value {
        self.json(&["jobs", "show", job])
    }

    async fn settled(&self) {
        let account = settled(&self.folder.path().join("data")).await;
        assert_eq!((account.undelivered, account.unaccounted), (0, 0), "{account:?}");
    }

    /// One message of each child, each later than the one before.
    async fn say(&self, line: &mut Line, turn: usize) {
        for child in 0..CHILDREN {
            let message = person(
                &format!("C{child}N{turn}"),
                child,
                &format!("202601061015{turn:02}"),
                &format!("NAME{}", ["A", "B", "C", "D"][turn]),
            );
            assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _gone = self.broker.kill();
        let _gone = self.broker.wait();
    }
}

fn run(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_chis-broker"))
        .args(["run", "--config", folder.join("chis-broker.toml").to_str().unwrap()])
        .env("CHIS__FAILSAFE__WATCH", "false")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Each message once, and those of each child in their order.
#[track_caller]
fn judge(name: &str, effects: &[Received]) {
    let mut order: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let bundles = || effects.iter().filter(|one| !one.control_id.is_empty());
    for effect in bundles() {
        let (child, turn) = effect.control_id.split_once('N').unwrap();
        order.entry(child).or_default().push(turn.parse().unwrap());
    }
    for (child, turns) in &order {
        assert_eq!(turns, &(0..EACH).collect::<Vec<_>>(), "{name}: {child}");
    }
    assert_eq!((order.len(), bundles().count()), (CHILDREN, CHILDREN * EACH), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_receivers_do_and_though_the_broker_is_killed_each_gets_every_event_once_and_each_childs_in_order() {
    let away = free_port();
    let (slow, failing, losing, twice) =
        (Fake::start().await.unwrap(), Fake::start().await.unwrap(), Fake::start().await.unwrap(), Fake::start().await.unwrap());
    for _ in 0..6 {
        slow.next(Answer::Late(Duration::from_millis(150)));
        for answer in [Answer::Status(503), Answer::Status(200), Answer::Garbage, Answer::Status(200)] {
            failing.next(answer);
        }
        [Answer::Dropped, Answer::Status(200)].into_iter().for_each(|answer| losing.next(answer));
        twice.next(Answer::Twice);
    }
    let receivers = [
        ("slow", slow.base()),
        ("failing", failing.base()),
        ("losing", losing.base()),
        ("twice", twice.base()),
        ("away", format!("http://localhost:{}", away.port())),
    ];
    let mut site = Site::new(&receivers).await;
    let mut line = Line::open(site.mllp).await;
    site.say(&mut line, 0).await;
    until("the others are paid while one is away", || twice.effects().len() == CHILDREN && slow.effects().len() == CHILDREN).await;
    until("it is left alone", || site.state("away") == "resting").await;
    let (_, status) = site.command(&["status"]);
    assert!(status.contains("receiver away is away since"), "{status}");

    // Stopped by a person, over a kill.
    let (code, effect) = site.command(&["dest", "pause", "twice", "--reason", "their upgrade"]);
    assert!(code == Some(0) && effect.contains("running → paused"), "{effect}");
    site.say(&mut line, 1).await;
    site.kill_and_start_again().await;
    assert_eq!(site.state("twice"), "paused");
    let mut line = Line::open(site.mllp).await;
    site.say(&mut line, 2).await;
    until("the others go on", || slow.effects().len() == 3 * CHILDREN).await;
    assert_eq!(twice.effects().len(), CHILDREN, "nothing is sent to one that is stopped");
    let shown = site.json(&["dest", "show", "twice"]);
    assert_eq!(
        (&shown["pending"], &shown["lanes"], &shown["pause_reason"]),
        (&Value::from(12), &Value::from(6), &Value::from("their upgrade"))
    );
    assert_eq!(site.command(&["dest", "resume", "twice", "--reason", "they are back"]).0, Some(0));

    let (code, told) = site.command(&["dest", "test", "away"]);
    assert!(code == Some(1) && told.contains("connection refused"), "{told}");
    let away = Fake::start_at(away.port()).await.unwrap();
    let (code, told) = site.command(&["dest", "test", "away"]);
    assert!(code == Some(0) && told.contains("HTTP 200"), "{told}");
    site.say(&mut line, 3).await;
    site.settled().await;
    for (name, fake) in [("slow", &slow), ("failing", &failing), ("losing", &losing), ("twice", &twice), ("away", &away)] {
        judge(name, &fake.effects());
    }
    assert_eq!(site.state("away"), "running");
    assert_eq!(site.command(&["dest", "show", "nobody"]).0, Some(66));
    assert!(losing.effects().len() < losing.received().len(), "some answers were lost");

    // The attempts at each debt are kept with their answers.
    let trace = site.json(&["msg", "trace", "1"]);
    let debt = |name: &str| trace["debts"].as_array().unwrap().iter().find(|debt| debt["destination"] == name).unwrap().clone();
    let tried = debt("away")["tried"].as_array().unwrap().clone();
    assert!(1 < tried.len(), "{tried:?}");
    assert_eq!((&tried[0]["outcome"], &tried[0]["why"]), (&Value::from("retry"), &Value::from("connection refused")));
    assert_eq!(tried.last().unwrap()["outcome"], "delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_sends_again_goes_on_after_a_kill_and_leaves_out_what_the_receiver_has() {
    let region = Fake::start().await.unwrap();
    let mut site = Site::new(&[("region", region.base())]).await;
    let mut line = Line::open(site.mllp).await;
    for turn in 0..EACH {
        site.say(&mut line, turn).await;
    }
    site.settled().await;
    let all = CHILDREN * EACH;
    let replay = |more: &[&str]| site.json(&[&["replay", "--query", "destination=region"], more].concat());
    let line_of = |value: &Value| value["plan"]["destinations"][0].clone();

    let had = line_of(&replay(&["--dry-run"]));
    assert_eq!((&had["send"], &had["has"]), (&Value::from(0), &Value::from(all)), "it has everything");
    let forced = line_of(&replay(&["--dry-run", "--force"]));
    assert_eq!(forced["send"], Value::from(all));
    assert_eq!(replay(&["--dry-run"])["job"], Value::Null);
    assert_eq!(site.json(&["jobs", "list"]), Value::Array(Vec::new()), "nothing was done");

    // Nothing to send: the job ends and has made nothing.
    let job = replay(&["--reason", "did they get it?"])["job"].to_string();
    until("the job ends", || site.job(&job)["state"] == "done").await;
    assert_eq!((&site.job(&job)["changed"], &site.job(&job)["replay"]["has"]), (&Value::from(0), &Value::from(all)));
    assert_eq!(region.received().len(), all);

    // They lost their database: all of it again, killed in the middle.
    let job = replay(&["--force", "--rate", "6/s", "--reason", "they lost their database"])["job"].to_string();
    let again = || region.effects().into_iter().skip(all).collect::<Vec<_>>();
    until("some came", || 3 < again().len()).await;
    site.kill_and_start_again().await;
    assert!(again().len() < all, "it was killed in the middle");
    until("the job ends", || site.job(&job)["state"] == "done").await;
    site.settled().await;
    judge("again", &again());
    let keys: BTreeSet<String> = again().into_iter().map(|one| one.key).collect();
    assert!(keys.len() == all && keys.iter().all(|key| key.ends_with(&format!("/again-{job}"))), "{keys:?}");
    let debts = site.json(&["msg", "trace", "1"])["debts"].as_array().unwrap().clone();
    let second = debts.iter().find(|debt| debt["again"].is_object()).unwrap();
    assert_eq!((second["again"]["job"].to_string(), second["again"]["forced"].clone()), (job, Value::Bool(true)));

    // A storm can be stopped: what was made and not sent yet is withdrawn.
    assert_eq!(site.command(&["dest", "pause", "region", "--reason", "test"]).0, Some(0));
    let job = site.json(&["replay", "--query", "destination=region type=ADT^A28", "--force", "--rate", "10/s", "--reason", "again"])["job"]
        .to_string();
    until("some wait", || 0 < site.job(&job)["replay"]["pending"].as_i64().unwrap()).await;
    assert_eq!(site.command(&["jobs", "cancel", &job, "--reason", "wrong receiver"]).0, Some(0));
    assert_eq!(site.job(&job)["replay"]["pending"], 0);
    assert_eq!(site.command(&["dest", "resume", "region", "--reason", "test"]).0, Some(0));
    site.settled().await;
    assert_eq!(region.effects().len(), 2 * all);
    let (code, told) = site.command(&["replay", "--query", "colour=red", "--dry-run"]);
    assert!(code == Some(64) && told.contains("known keys"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_debts_are_listed_by_cause_and_released_in_the_order_of_their_lane_and_in_a_window_nothing_is_sent() {
    let data = tempfile::tempdir().unwrap();
    let (region, quiet) = (Fake::start().await.unwrap(), Fake::start().await.unwrap());
    let mut settings = settings(data.path());
    settings.destinations.push(receiver("region", &region, Profile::Record));
    let mut windowed = receiver("quiet", &quiet, Profile::Record);
    // Two windows that are a whole day together.
    let window = "maintenance = [{ days = 'daily', from = '00:00', to = '12:00' }, { days = 'daily', from = '12:00', to = '00:00' }]";
    windowed.care = toml::from_str(window).unwrap();
    settings.destinations.push(windowed);
    for _ in 0..CHILDREN {
        region.next(Answer::Status(422));
    }
    let running = Running::start(settings, Vec::new()).await.unwrap();
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for turn in 0..2 {
        for child in 0..CHILDREN {
            let message = person(&format!("C{child}N{turn}"), child, &format!("202601061015{turn:02}"), ["NAMEA", "NAMEB"][turn]);
            assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
        }
    }
    let desk = running.operations().deliveries().unwrap();
    let region_now = || desk.list().unwrap().into_iter().find(|one| one.row.destination == "region").unwrap();
    until("six are held", || region_now().row.held.iter().map(|group| group.debts).sum::<i64>() == 6).await;
    until("the others wait behind them", || region_now().row.pending == 6).await;
    let held = region_now().row.held;
    assert_eq!((held.len(), held[0].why.as_str()), (1, "HTTP 422"));
    let group = chis_broker::store::HeldDebts::Group("region".into(), Some("HTTP 422".into()));
    let release = chis_broker::store::HeldAct::Release;
    let asked = desk.clone();
    let effect = tokio::task::spawn_blocking(move || asked.held(group, release, ("they mended it", false))).await.unwrap().unwrap();
    assert_eq!((effect.debts, effect.lanes, effect.behind), (6, 6, 6));
    until("all are taken", || region.effects().len() == 2 * CHILDREN).await;
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for effect in region.effects() {
        let (child, turn) = effect.control_id.split_once('N').unwrap();
        seen.entry(child.to_owned()).or_default().push(turn.to_owned());
    }
    assert!(seen.values().all(|turns| turns == &["0", "1"]), "{seen:?}");
    let stand = desk.list().unwrap().into_iter().find(|one| one.row.destination == "quiet").unwrap();
    assert_eq!((stand.state.as_str(), stand.row.pending, quiet.received().len()), ("window", 12, 0));
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_message_that_a_person_mended_is_set_aside_and_its_copy_filed_and_each_names_the_other() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(settings(data.path()), Vec::new()).await.unwrap();
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let mended = person("A1", 1, "20260106101500", "EXAMPLE");
    let wrong = mended.replace("||20260105|2|", "||20260105|Q|");
    line.exchange(wrong.as_bytes()).await;
    settled(data.path()).await;
    let operations = running.operations();
    let edit = move |body: String, is_trial: bool| {
        let operations = std::sync::Arc::clone(&operations);
        tokio::task::spawn_blocking(move || operations.edit(Seq(1), body.into_bytes(), "RJ1 said by telephone", is_trial))
    };
    assert_eq!(edit(wrong.clone(), true).await.unwrap().unwrap().read, "hold");
    let shown = edit(mended.clone(), true).await.unwrap().unwrap();
    assert_eq!((shown.read, shown.copy), ("file", None));
    assert_eq!(edit(wrong, false).await.unwrap().unwrap_err().exit, 64, "the same bytes are no mended copy");
    let done = edit(mended.clone(), false).await.unwrap().unwrap();
    let copy = done.copy.unwrap();
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    let trace = |seq: i64| reader.trace(Seq(seq)).unwrap().unwrap();
    assert_eq!((trace(1).entry.standing.as_str(), trace(1).entry.reason.as_str(), trace(1).copies), ("ignored", "edited", vec![copy]));
    assert_eq!((trace(copy).entry.standing.as_str(), trace(copy).copy_of, trace(copy).events.len()), ("filed", Some(1), 1));
    assert_eq!(edit(mended, false).await.unwrap().unwrap_err().exit, 66, "it is not held any more");
    assert_eq!(reader.reconcile(None, None).unwrap().unaccounted, 0);
    assert_eq!(running.stop().await, 0);
}
