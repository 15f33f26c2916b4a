//! A child that moves: each hub's store has what it must have, once, whatever happens in between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chis_broker::broker::Operations;
use chis_broker::names::HubName;
use chis_broker::store::{AssignAct, EntryFilter, LedgerReader, hub_births, hub_export};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::folders::copy;
use crate::world::{Line, PATIENCE, broker, free_port, nhs_number, settled};

/// Where a child lives and is registered: postcode and practice of a hub, or of nobody's.
fn place(hub: &str) -> (&'static str, &'static str) {
    match hub {
        "NE" => ("E8 4RP", "F84001"),
        "SW" => ("SW18 4RP", "H85001"),
        "SE" => ("SE1 9ZZ", "G85001"),
        _ => ("EX2 5SE", "L83001"),
    }
}

/// An ADT^A28 that says where the child lives at a moment.
pub fn lives(control_id: &str, child: usize, at: &str, hub: &str) -> String {
    let (postcode, practice) = place(hub);
    let nhs = nhs_number(child);
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|{at}||ADT^A28^ADT_A05|{control_id}|P|2.4|||||GBR|UNICODE UTF-8\rEVN||{at}||||{at}\r\
         PID|1||{nhs}^^^NHS^NH~L{child}^^^RJ122^MR||EXAMPLE^GIVEN^^^^^L||20260105|2|||10 TEST STREET^^LONDON^^{postcode}^GBR^H|||||||||||||||||||||NSTS01\r\
         PD1|||TEST SURGERY^^{practice}\r"
    )
}

/// The children of a hub's store, by the value of the first NHS number.
pub fn store(data: &Path, hub: &str) -> BTreeMap<String, Value> {
    let mut children = BTreeMap::new();
    hub_export(data.join(format!("hub-{}.db", hub.to_lowercase())), &mut |child| {
        let number = child["record"]["identifiers"][0]["value"].as_str().unwrap_or_default().to_owned();
        assert!(children.insert(number, child).is_none(), "a child stands once in a store");
        Ok(())
    })
    .unwrap();
    children
}

/// Control ids of a child's events in a store, in order; failsafe tasks, which come by the clock, are not looked at here.
pub fn events(child: &Value) -> Vec<String> {
    let ids = child["events"].as_array().unwrap().iter().map(|event| event["control_id"].as_str().unwrap());
    ids.filter(|id| !id.starts_with("task-")).map(str::to_owned).collect()
}

fn ways(child: &Value) -> Vec<String> {
    let one = |transfer: &Value| {
        let part = |key: &str| transfer[key].as_str().unwrap().to_owned();
        format!("{} {}>{}", part("way"), part("from"), part("to"))
    };
    child["transfers"].as_array().unwrap().iter().map(one).collect()
}

/// A review of a child of [`lives`].
fn measured(control_id: &str, child: usize) -> String {
    crate::world::sample("37-term-baby-oru-review.hl7")
        .replace("REV0000037", control_id)
        .replace("9990000026", &nhs_number(child))
        .replace("EXAMPLE^BABY", "EXAMPLE^GIVEN")
        .replace("10 TEST STREET^^LONDON^^SE1 9ZZ^GBR^H", "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_moves_through_the_hubs_and_out_and_back_is_in_the_responsible_store_with_everything_once() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let mut send = async |message: String| assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
    let number = nhs_number(1);

    send(lives("A1", 1, "20260106101500", "NE")).await;
    send(measured("R1", 1)).await;
    settled(data.path()).await;
    let held = LedgerReader::open(data.path()).unwrap().held().unwrap();
    assert!(held.is_empty(), "{held:?}");
    assert_eq!(events(&store(data.path(), "NE")[&number]), ["A1", "R1"]);

    send(lives("A2", 1, "20260206101500", "SW")).await;
    settled(data.path()).await;
    let (north, south) = (&store(data.path(), "NE")[&number], &store(data.path(), "SW")[&number]);
    assert_eq!((ways(north), north["role"].as_str()), (vec!["transfer_out NE>SW".to_owned()], Some("former")));
    assert_eq!((ways(south), south["role"].as_str()), (vec!["transfer_in NE>SW".to_owned()], Some("responsible")));
    assert_eq!(events(south), ["A1", "R1", "A2"], "what was before comes too, once and in order");
    let snapshot = south["transfers"][0]["snapshot"].as_array().unwrap();
    assert!(snapshot.iter().any(|item| item["kind"] == "review" && item["content"]["reviews"].is_array()), "{snapshot:?}");
    let review = |child: &Value| child["events"].as_array().unwrap().iter().find(|event| event["kind"] == "review").cloned();
    assert_eq!(review(north).map(|event| event["statement"].clone()), review(south).map(|event| event["statement"].clone()));

    send(lives("A3", 1, "20260306101500", "OUT")).await;
    settled(data.path()).await;
    let south = &store(data.path(), "SW")[&number];
    assert_eq!(ways(south), ["transfer_in NE>SW", "transfer_out SW>OUT"]);
    assert_eq!((south["role"].as_str(), south["record"]["status"].as_str()), (Some("interested"), Some("moved_out")));
    assert_eq!(events(south), ["A1", "R1", "A2", "A3"], "the last hub is told, and goes on being told");
    assert_eq!(events(&store(data.path(), "NE")[&number]), ["A1", "R1", "A2"], "what it left long ago is history");

    send(lives("A4", 1, "20260406101500", "NE")).await;
    settled(data.path()).await;
    let (north, south) = (&store(data.path(), "NE")[&number], &store(data.path(), "SW")[&number]);
    assert_eq!(events(north), ["A1", "R1", "A2", "A3", "A4"], "what came in between too");
    assert_eq!(north["role"].as_str(), Some("responsible"));
    assert_eq!((south["role"].as_str(), ways(south).last().cloned()), (Some("former"), Some("copy_out OUT>NE".to_owned())));
    assert_eq!(store(data.path(), "SE").len() + store(data.path(), "NW").len(), 0);

    let reader = LedgerReader::open(data.path()).unwrap();
    let child = reader.children_by_identifier(&number).unwrap()[0];
    let history = reader.hub_history(child).unwrap();
    let periods: Vec<String> = history.iter().map(|one| format!("{} {} {}", one.hub, one.basis, one.seq)).collect();
    assert_eq!(periods, ["NE gp 1", "SW gp 3", "OUT gp 4", "NE gp 5"]);
    assert_eq!(history[0].from, "2026-01-06T10:15:00Z");
    assert_eq!((history[0].to.as_ref(), history[3].to.as_ref()), (Some(&history[1].from), None));
    let account = reader.reconcile(None, None).unwrap();
    assert_eq!((account.unaccounted, account.undelivered, account.unaccounted_debts), (0, 0, 0));
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_late_moves_no_child_back_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for message in [lives("A1", 1, "20260106101500", "NE"), lives("A3", 1, "20260306101500", "SW"), lives("A2", 1, "20260206101500", "SE")]
    {
        assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
    }
    settled(data.path()).await;
    assert!(store(data.path(), "SE").is_empty());
    assert_eq!(events(&store(data.path(), "SW")[&nhs_number(1)]), ["A1", "A3", "A2"]);
    let trace = LedgerReader::open(data.path()).unwrap().trace(chis_broker::names::Seq(3)).unwrap().unwrap();
    assert!(trace.findings.as_array().unwrap().iter().any(|finding| finding["code"] == "late-for-hub"), "{:?}", trace.findings);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_hidden_child_went_only_its_new_hub_is_told() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let hidden = lives("A2", 1, "20260206101500", "SW").replace("TEST SURGERY^^H85001", "TEST SURGERY^^H85001|||||||||Y");
    for message in [lives("A1", 1, "20260106101500", "NE"), hidden] {
        assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
    }
    settled(data.path()).await;
    let (north, south) = (&store(data.path(), "NE")[&nhs_number(1)], &store(data.path(), "SW")[&nhs_number(1)]);
    assert_eq!(south["record"]["flags"]["local_hiding"], true, "the test means a hidden child");
    assert_eq!((events(north), ways(north)), (vec!["A1".to_owned(), "A2".to_owned()], vec!["transfer_out NE>".to_owned()]));
    assert!(north["record"]["addresses"].is_null() && north["record"]["gp"].is_null(), "{}", north["record"]);
    assert!(!north.to_string().contains("SW18"), "the address it left for is in no store but its own hub's");
    assert_eq!((events(south), south["role"].as_str()), (vec!["A1".to_owned(), "A2".to_owned()], Some("responsible")));
    assert_eq!(running.stop().await, 0);
}

// ---- a broker that is a process, with a clock of its own ------------------------------------------------------------------

/// A broker with a configuration, a mappings folder and a test clock in a folder; the process can be killed and started again.
pub struct Process {
    folder: tempfile::TempDir,
    pub mllp: SocketAddr,
    pub admin: SocketAddr,
    process: Option<Child>,
}

impl Process {
    /// `clock`: the time at which it is; none on real time.
    pub fn new(clock: Option<&str>, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        copy(&root.join("mappings"), &folder.path().join("mappings"));
        copy(&root.join("samples"), &folder.path().join("samples"));
        let (mllp, admin) = (free_port(), free_port());
        let stores: String = ["NE", "NW", "SE", "SW"]
            .iter()
            .map(|hub| format!("[[destination]]\nname = \"hub-{}\"\nkind = \"store\"\nhub = \"{hub}\"\n", hub.to_lowercase()))
            .collect();
        let test = clock.map(|_| "[test]\nclock = \"clock\"\n").unwrap_or_default();
        let text = format!(
            "allow_test_numbers = true\n{test}{more}[store]\ndata = \"data\"\n[mappings]\ndir = \"mappings\"\n[admin]\nlisten = \"{admin}\"\n\
             [[intake.mllp]]\nlisten = \"{mllp}\"\n[[source]]\nname = \"loopback\"\npeers = [\"127.0.0.1\"]\naccepts = [\"*\"]\n{stores}"
        );
        std::fs::write(folder.path().join("broker.toml"), text).unwrap();
        let process = Self { folder, mllp, admin, process: None };
        if let Some(clock) = clock {
            process.set_clock(clock);
        }
        process
    }

    fn set_clock(&self, at: &str) {
        let (part, file) = (self.folder.path().join("clock.part"), self.folder.path().join("clock"));
        std::fs::write(&part, at).unwrap();
        std::fs::rename(part, file).unwrap();
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// All that it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn config(&self) -> String {
        self.folder.path().join("broker.toml").display().to_string()
    }

    /// Starts it and waits until it takes connections.
    pub async fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_chis-broker"));
        self.process = Some(command.args(["run", "--config", &self.config()]).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let opened = self.until("the broker opens its door", async |this| TcpStream::connect(this.mllp).await.is_ok()).await;
        assert!(opened);
    }

    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Waits for something that must come.
    async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) -> bool {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !is_so(self).await {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(tokio::time::Instant::now() < deadline, "{what}: {}", log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        true
    }

    pub async fn send(&self, messages: &[String]) {
        let mut line = Line::open(self.mllp).await;
        for message in messages {
            assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
        }
        let account = settled(&self.data()).await;
        assert_eq!((account.unaccounted, account.undelivered), (0, 0), "{account:?}");
    }

    /// What a command prints, with its exit code.
    pub fn command(&self, arguments: &[&str]) -> (i32, Value) {
        self.command_with(arguments, "")
    }

    /// The same, where `input` is said on standard input.
    pub fn command_with(&self, arguments: &[&str], input: &str) -> (i32, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chis-broker"));
        let mut process = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut process.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), value)
    }

    fn births(&self, hub: &str, day: &str) -> Option<(i64, i64, Vec<Value>)> {
        let file = self.data().join(format!("hub-{}.db", hub.to_lowercase()));
        if file.exists() { hub_births(&file, day).unwrap_or(None) } else { None }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _gone = process.kill();
            let _waited = process.wait();
        }
    }
}

/// A birth told by the maternity system of R1H, which belongs to NE. `postcode`: where the baby lives.
fn born(control_id: &str, sample: &str, postcode: &str) -> String {
    crate::world::sample(sample).replace("TWN0000005", control_id).replace("TWN0000006", control_id).replace("E8 4RP", postcode)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_births_of_a_day_are_listed_at_its_end_once_for_every_hub_also_over_kills_around_the_minute() {
    let mut broker = Process::new(Some("2026-01-20T10:00:00Z"), "[births]\nfolder = \"lists\"\n");
    broker.start().await;
    broker.send(&[born("B1", "05-twin-one-a01-birth.hl7", "E8 4RP"), born("B2", "06-twin-two-a01-birth.hl7", "SW18 4RP")]).await;
    broker.set_clock("2026-01-20T23:58:59Z");
    broker.send(&[lives("A1", 1, "20260120101500", "SE")]).await;
    assert_eq!(broker.births("NE", "2026-01-20"), None, "the day has not ended");
    broker.kill();
    broker.set_clock("2026-01-20T23:59:00Z");
    broker.start().await;
    broker
        .until("the lists of the 20th come", async |broker| {
            broker.births("SW", "2026-01-20").is_some() && broker.births("NE", "2026-01-20").is_some()
        })
        .await;
    broker.kill();
    broker.start().await;
    broker
        .until("every hub has its list", async |broker| {
            ["NE", "NW", "SE", "SW"].iter().all(|hub| broker.births(hub, "2026-01-20").is_some())
        })
        .await;
    let sections = |broker: &Process, hub: &str, day: &str| {
        let (here, elsewhere, rows) = broker.births(hub, day).unwrap();
        let rows: Vec<String> =
            rows.iter().map(|row| format!("{} {}", row["section"].as_str().unwrap(), row["postcode"].as_str().unwrap())).collect();
        (here, elsewhere, rows)
    };
    assert_eq!(sections(&broker, "NE", "2026-01-20"), (1, 1, vec!["elsewhere SW18 4RP".to_owned(), "here E8 4RP".to_owned()]));
    assert_eq!(sections(&broker, "SW", "2026-01-20"), (1, 0, vec!["here SW18 4RP".to_owned()]));
    // Fifteen days old when it was first heard of: born here, however late.
    assert_eq!(sections(&broker, "SE", "2026-01-20"), (1, 0, vec!["here SE1 9ZZ".to_owned()]));
    assert_eq!(sections(&broker, "NW", "2026-01-20"), (0, 0, Vec::new()), "a hub without births is told so");
    let lists = broker.folder.path().join("lists");
    let file = |hub: &str, day: &str| lists.join(format!("births-{hub}-{day}.csv"));
    broker.until("the files are written", async |_| file("NW", "2026-01-20").exists() && file("SW", "2026-01-20").exists()).await;
    assert_eq!(std::fs::read_to_string(file("SW", "2026-01-20")).unwrap().lines().count(), 2);

    // Two days without a broker: their lists come all the same, and a birth that is told late stands on the day on which it was.
    broker.kill();
    broker.set_clock("2026-01-22T08:00:00Z");
    broker.start().await;
    broker.until("the 21st is caught up", async |broker| broker.births("NE", "2026-01-21").is_some()).await;
    assert_eq!(sections(&broker, "NE", "2026-01-21"), (0, 0, Vec::new()));
    assert_eq!(broker.births("NE", "2026-01-22"), None);
    broker.send(&[lives("A2", 77, "20260110101500", "NE")]).await;
    broker.set_clock("2026-01-23T00:10:00Z");
    broker.until("the 22nd comes", async |broker| broker.births("NE", "2026-01-22").is_some()).await;
    assert_eq!(sections(&broker, "NE", "2026-01-22"), (1, 0, vec!["here E8 4RP".to_owned()]));
    let lists = LedgerReader::open(&broker.data())
        .unwrap()
        .entries(&EntryFilter { kind: Some("births-list".into()), ..EntryFilter::default() })
        .unwrap();
    let days: Vec<&str> = lists.iter().rev().map(|entry| entry.control_id.as_str()).collect();
    assert_eq!(days, ["births-2026-01-20", "births-2026-01-21", "births-2026-01-22"]);

    // Maternity told, the Spine did not.
    let data = broker.data().display().to_string();
    let (_, told) = broker.command(&["reconcile", "births", "--data", &data, "--json", "--hub", "NE"]);
    let told: Vec<(&str, &str)> = told["births"]
        .as_array()
        .unwrap()
        .iter()
        .map(|birth| (birth["told_by"].as_str().unwrap(), birth["site"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("maternity", "R1H12"), ("maternity", "loopback")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_that_are_cut_by_kills_bring_each_child_over_once_with_everything() {
    let children = 40;
    let mut broker = Process::new(None, "");
    broker.start().await;
    broker.send(&(0..children).map(|child| lives(&format!("A{child}"), child, "20260106101500", "NE")).collect::<Vec<_>>()).await;
    let mut child = 0;
    for kill in 0..4 {
        let mut line = Line::open(broker.mllp).await;
        for _ in 0..children / 4 {
            let message = lives(&format!("B{child}"), child, "20260206101500", "SW");
            assert_eq!(line.exchange(message.as_bytes()).await.code, "AA", "kill {kill}");
            child += 1;
        }
        // Whatever was delivered by now, and to whom.
        broker.kill();
        broker.start().await;
    }
    let account = settled(&broker.data()).await;
    assert_eq!((account.unaccounted, account.undelivered, account.unaccounted_debts), (0, 0, 0), "{account:?}");
    let (north, south) = (store(&broker.data(), "NE"), store(&broker.data(), "SW"));
    assert_eq!((north.len(), south.len()), (children, children));
    for child in 0..children {
        let (north, south) = (&north[&nhs_number(child)], &south[&nhs_number(child)]);
        let both = vec![format!("A{child}"), format!("B{child}")];
        assert_eq!((events(north), events(south)), (both.clone(), both));
        assert_eq!((ways(north), ways(south)), (vec!["transfer_out NE>SW".to_owned()], vec!["transfer_in NE>SW".to_owned()]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_looked_at_again_after_the_hubs_changed_and_a_kill_in_the_middle_changes_nothing_twice() {
    let children: i32 = 230;
    let mut broker = Process::new(None, "[hubs]\nreassign_per_second = 100\n");
    broker.start().await;
    broker.send(&(0..230).map(|child| lives(&format!("A{child}"), child, "20260106101500", "SE")).collect::<Vec<_>>()).await;
    // Southwark and the sub-ICB of the south east go over to SW.
    let hubs = broker.folder.path().join("mappings/hubs.toml");
    let text = std::fs::read_to_string(&hubs).unwrap();
    let without = text.replace("\"E09000028\",", "").replace("\"72Q\",", "");
    let with = without.replace("\"E09000032\",", "\"E09000032\", \"E09000028\",").replace("\"36L\",", "\"36L\", \"72Q\",");
    assert_ne!(without, text);
    std::fs::write(&hubs, with).unwrap();

    let (code, plan) = broker.command(&["hub", "reassign", "--dry-run", "--config", &broker.config(), "--json"]);
    assert_eq!((code, &plan["looked"], &plan["moved"]), (0, &Value::from(children), &Value::from(children)));
    let line = &plan["changes"][0];
    assert_eq!((&line["from"], &line["to"], &line["count"]), (&Value::from("SE"), &Value::from("SW"), &Value::from(children)));
    assert_eq!(line["examples"].as_array().unwrap().len(), 3);
    assert!(store(&broker.data(), "SW").is_empty(), "nothing was done");

    let admin = format!("http://{}", broker.admin);
    let (code, _) = broker.command(&["reload", "--admin", &admin, "--json"]);
    assert_eq!(code, 0);
    let (code, job) = broker.command(&["hub", "reassign", "--admin", &admin, "--reason", "Southwark goes to SW", "--json"]);
    assert_eq!((code, &job["job"]), (0, &Value::from(1)));
    let looked = |broker: &Process| LedgerReader::open(&broker.data()).unwrap().jobs().unwrap().first().map_or(0, |job| job.looked);
    broker.until("the first batch is done", async |broker| 0 < looked(broker)).await;
    broker.kill();
    assert!(looked(&broker) < i64::from(children), "it was killed in the middle");
    broker.start().await;
    broker
        .until("the job ends", async |broker| {
            LedgerReader::open(&broker.data()).unwrap().jobs().unwrap().iter().all(|job| job.state == "done")
        })
        .await;
    settled(&broker.data()).await;
    let jobs = LedgerReader::open(&broker.data()).unwrap().jobs().unwrap();
    assert_eq!((jobs.len(), jobs[0].looked, jobs[0].changed), (1, i64::from(children), i64::from(children)));
    let south = store(&broker.data(), "SW");
    assert_eq!(south.len(), usize::try_from(children).unwrap());
    for child in south.values() {
        assert_eq!((ways(child), child["role"].as_str()), (vec!["transfer_in SE>SW".to_owned()], Some("responsible")));
        assert_eq!(events(child).len(), 2, "the message and the act");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_decides_stands_until_it_is_cleared_and_who_left_waits_until_somebody_has_it() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    line.exchange(lives("A1", 1, "20260106101500", "NE").as_bytes()).await;
    settled(data.path()).await;
    let reader = || LedgerReader::open(data.path()).unwrap();
    let child = reader().children_by_identifier(&nhs_number(1)).unwrap()[0];
    let operations = running.operations();
    let assign = async |hub: Option<&str>, from: Option<&str>, dry_run: bool| {
        let operations = operations.clone();
        let act = AssignAct { child, hub: hub.map(HubName::new), from: from.map(|from| from.parse().unwrap()), dry_run };
        let effect = tokio::task::spawn_blocking(move || operations.assign(act, "a test")).await.unwrap();
        settled(data.path()).await;
        effect
    };
    let hubs = || reader().hub_history(child).unwrap().iter().map(|one| format!("{} {}", one.hub, one.basis)).collect::<Vec<_>>();

    let effect = assign(Some("SW"), None, true).await.unwrap();
    assert_eq!((effect.then.hub.as_str(), effect.done, hubs()), ("SW", false, vec!["NE gp".to_owned()]));
    assert!(assign(Some("XX"), None, false).await.unwrap_err().text.contains("no hub XX"));
    // A day that has not come changes nothing yet.
    assert!(!assign(Some("SW"), Some("2999-01-01"), false).await.unwrap().at_once);
    assert_eq!(hubs(), ["NE gp"]);
    assign(Some("SW"), Some("2026-02-01"), false).await.unwrap();
    assert_eq!(hubs(), ["NE gp", "SW manual"]);
    assert_eq!(reader().hub_history(child).unwrap()[1].from, "2026-02-01T00:00:00Z");
    assert_eq!(events(&store(data.path(), "SW")[&nhs_number(1)]).first().map(String::as_str), Some("A1"));
    // A message does not move it.
    line.exchange(lives("A2", 1, "20260301101500", "SE").as_bytes()).await;
    settled(data.path()).await;
    assert_eq!(hubs().last().map(String::as_str), Some("SW manual"));
    assign(None, None, false).await.unwrap();
    assert_eq!(hubs().last().map(String::as_str), Some("SE gp"));

    // First heard of with months and without a birth: a mover, until the hub's store has it; then it leaves.
    let waiting = || reader().movers(None, None).unwrap().iter().map(|row| format!("{} {}", row.way, row.hub)).collect::<Vec<_>>();
    assert_eq!(waiting(), Vec::<String>::new());
    let all = reader().movers(None, Some(jiff::Timestamp::UNIX_EPOCH)).unwrap();
    let ways: Vec<String> = all.iter().map(|row| format!("{} {}", row.way, row.hub)).collect();
    assert_eq!(ways, ["in NE", "between SW", "between SE"]);
    line.exchange(lives("A3", 1, "20260401101500", "OUT").as_bytes()).await;
    settled(data.path()).await;
    assert_eq!(waiting(), ["out SE"]);
    let taken = operations.clone();
    assert!(tokio::task::spawn_blocking(move || taken.taken(child, "EXAMPLE CHIS", "a call")).await.unwrap().unwrap());
    assert_eq!(waiting(), Vec::<String>::new());
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_written_directory_is_refused_with_its_line_and_the_old_one_goes_on() {
    let mut broker = Process::new(None, "");
    broker.start().await;
    let file = broker.folder.path().join("mappings/directories/postcodes.csv");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &whole[..whole.find("E8 4RP").unwrap() + 3]).unwrap();
    let told = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_chis-broker")).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let line = whole[..whole.find("E8 4RP").unwrap()].lines().count() + 1;
    let expected = format!("directories/postcodes.csv:{line}:1: the file ends in the middle of this line");
    for (code, text) in
        [told(&["reload", "--admin", &format!("http://{}", broker.admin)]), told(&["directories", "check", "--config", &broker.config()])]
    {
        assert_eq!(code, 78, "{text}");
        assert!(text.contains(&expected), "{text}");
    }
    // Only the home says where this child belongs, and its postcode is no longer in the file.
    broker.send(&[lives("A1", 1, "20260106101500", "NE").replace("F84001", "Z99999")]).await;
    assert_eq!(store(&broker.data(), "NE")[&nhs_number(1)]["record"]["hub"]["basis"], "address");
    std::fs::write(&file, &whole).unwrap();
    let (code, report) = broker.command(&["directories", "check", "--config", &broker.config(), "--json"]);
    assert_eq!((code, &report["authorities"], &report["authorities_missing"]), (0, &Value::from(33), &Value::from(Vec::<String>::new())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hospitals_hub_of_a_child_outside_hears_no_more_when_the_28_days_end_also_where_the_broker_stood_still_on_that_day() {
    let mut broker = Process::new(Some("2026-01-24T10:00:00Z"), "");
    broker.start().await;
    let later =
        born("B2", "06-twin-two-a01-birth.hl7", "EX2 5SE").replace("|||20260120", "|||20260122").replace("||20260120", "||20260122");
    assert!(later.contains("||20260122"), "{later}");
    broker.send(&[born("B1", "05-twin-one-a01-birth.hl7", "EX2 5SE"), later]).await;
    let roles = |broker: &Process| -> Vec<String> {
        let mut roles: Vec<String> = store(&broker.data(), "NE")
            .values()
            .map(|child| format!("{} {}", child["record"]["birth"]["date"]["value"].as_str().unwrap(), child["role"].as_str().unwrap()))
            .collect();
        roles.sort();
        roles
    };
    assert_eq!(roles(&broker), ["2026-01-20 interested", "2026-01-22 interested"]);
    broker.set_clock("2026-02-16T23:59:00Z");
    broker.send(&[lives("A1", 1, "20260216101500", "SW")]).await;
    assert_eq!(roles(&broker), ["2026-01-20 interested", "2026-01-22 interested"], "27 days old");
    broker.set_clock("2026-02-17T00:10:00Z");
    broker.until("the first has no hospital any more", async |broker| roles(broker)[0] == "2026-01-20 former").await;
    assert_eq!(roles(&broker)[1], "2026-01-22 interested", "26 days old");
    // Nobody is here on the 19th.
    broker.kill();
    broker.set_clock("2026-02-22T09:00:00Z");
    broker.start().await;
    broker.until("the second has none either", async |broker| roles(broker)[1] == "2026-01-22 former").await;
    let account = settled(&broker.data()).await;
    assert_eq!((account.unaccounted, account.undelivered), (0, 0));

    let reader = LedgerReader::open(&broker.data()).unwrap();
    let ended = reader.entries(&EntryFilter { kind: Some("hub-newborns".into()), ..EntryFilter::default() }).unwrap();
    assert_eq!(ended.len(), 2, "one entry for each day on which a hub changed, and none for the others");
    for (child, day) in store(&broker.data(), "NE").values().zip(["2026-02-17", "2026-02-19"]) {
        assert_eq!(ways(child).last().map(String::as_str), Some("copy_out OUT>OUT"));
        let id = chis_broker::names::ChildId(child["child"].as_str().unwrap().parse().unwrap());
        let last = reader.hub_history(id).unwrap().pop().unwrap();
        assert_eq!((last.hub.as_str(), last.interested.len(), last.from), ("OUT", 0, format!("{day}T00:00:00Z")));
        assert_eq!(last.reason, "the first 28 days have ended");
    }
}
