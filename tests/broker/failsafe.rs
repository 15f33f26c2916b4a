//! Silence is noticed: a real broker on real sockets lives through weeks by a test clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chis_broker::store::hub_export;
use serde_json::Value;

use crate::world::{Acknowledged, Line, PATIENCE, free_port, sample};

/// A broker in a process of its own, whose time stands in a file.
struct Clocked {
    folder: tempfile::TempDir,
    mllp: SocketAddr,
    process: Option<Child>,
}

impl Clocked {
    fn new(now: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mllp, admin) = (free_port(), free_port());
        let store = |hub: &str| {
            let name = hub.to_lowercase();
            format!("[[destination]]\nname = \"hub-{name}\"\nkind = \"store\"\nhub = \"{hub}\"\n")
        };
        let stores = ["NE", "NW", "SE", "SW"].map(store).concat();
        let settings = format!(
            "allow_test_numbers = true\n[store]\ndata = \"data\"\n[test]\nclock = \"now\"\n[admin]\nlisten = \"{admin}\"\n\
             [[intake.mllp]]\nlisten = \"{mllp}\"\nprocessing_ids = [\"P\"]\n\
             [[source]]\nname = \"hospital\"\npeers = [\"127.0.0.1\"]\naccepts = [\"*\"]\nrank = \"maternity\"\n{stores}"
        );
        std::fs::write(folder.path().join("chis-broker.toml"), settings).unwrap();
        let clocked = Self { folder, mllp, process: None };
        clocked.set(now);
        clocked
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Moves the broker's time.
    fn set(&self, now: &str) {
        std::fs::write(self.path("now.part"), now).unwrap();
        std::fs::rename(self.path("now.part"), self.path("now")).unwrap();
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let program = env!("CARGO_BIN_EXE_chis-broker");
        let settings = self.path("chis-broker.toml");
        let process = Command::new(program).args(["run", "--config", settings.to_str().unwrap()]).stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(process.unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    async fn send(&self, message: &str) -> Acknowledged {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(self.mllp).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "{}", std::fs::read_to_string(self.path("log")).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Line::open(self.mllp).await.exchange(message.as_bytes()).await
    }

    /// What each hub's store was told of a clock, oldest first.
    fn told(&self, clock: &str) -> BTreeMap<&'static str, Vec<String>> {
        let hubs = ["ne", "nw", "se", "sw"].into_iter().map(|hub| (hub, tasks(&self.path(&format!("data/hub-{hub}.db")), clock)));
        hubs.filter(|(_, told)| !told.is_empty()).collect()
    }

    /// Waits until a clock's story is this long, and gives it.
    async fn told_at_least(&self, clock: &str, count: usize) -> BTreeMap<&'static str, Vec<String>> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let told = self.told(clock);
            if count <= told.values().map(Vec::len).sum() {
                return told;
            }
            assert!(tokio::time::Instant::now() < deadline, "{told:?}\n{}", std::fs::read_to_string(self.path("log")).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn report(&self, hub: &str, day: &str) -> String {
        let file = self.path(&format!("data/reports/failsafe-{hub}-{day}.csv"));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = std::fs::read_to_string(&file) {
                return text;
            }
            assert!(tokio::time::Instant::now() < deadline, "{}", std::fs::read_to_string(self.path("log")).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Clocked {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tasks(file: &Path, clock: &str) -> Vec<String> {
    let mut told = Vec::new();
    if file.exists() {
        let _being_made = hub_export(file, &mut |child| {
            let events = child["events"].as_array().cloned().unwrap_or_default();
            let found = events.iter().flat_map(|event| event["statement"]["tasks"].as_array().cloned().unwrap_or_default());
            let word = |task: &Value, key: &str| task[key].as_str().unwrap_or_default().to_owned();
            let about = found.filter(|task| word(task, "clock") == clock);
            told.extend(about.map(|task| format!("{} {} {}", word(&task, "status"), word(&task, "service"), word(&task, "escalation"))));
            Ok(())
        });
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_does_not_come_raises_one_task_in_the_right_hub_and_the_result_closes_it() {
    let mut broker = Clocked::new("2026-01-05T11:00:00Z");
    broker.start();
    assert_eq!(broker.send(&sample("02-term-baby-a01-birth.hl7")).await.code, "AA");
    // The sample was taken on day 5 of life, and asks for a second card for CF alone.
    broker.set("2026-01-14T12:00:00Z");
    let first = sample("13-term-baby-oru-repeat.hl7")
        .replace("314081000^PKU^SCT||04^Condition not suspected", "314081000^PKU^SCT||0303^Insufficient sample");
    assert_eq!(broker.send(&first).await.code, "AA");
    // The new birth visit is late from 20 January on: by then the broker has looked.
    broker.set("2026-01-22T23:59:59Z");
    broker.told_at_least("HV_NBV", 1).await;
    assert_eq!(broker.told("NBS_RESULT"), BTreeMap::new(), "the last second of day 17");
    broker.set("2026-01-23T00:00:00Z");
    let told = broker.told_at_least("NBS_RESULT", 1).await;
    assert_eq!(told, [("se", vec!["requested maternity 001".to_owned()])].into(), "the baby's practice is one of the hub SE");
    // Killed and started again: nothing is raised twice.
    broker.kill();
    broker.start();
    broker.set("2026-01-24T07:00:00Z");
    let report = broker.report("SE", "2026-01-24").await;
    assert_eq!(broker.told("NBS_RESULT"), told);
    assert!(report.lines().any(|line| line.starts_with("2026-01-24,SE,nbs_no_result_late,,1,")), "{report}");
    assert!(report.lines().any(|line| line.starts_with("2026-01-24,SE,immunisations_overdue,measles,0,")), "{report}");
    assert!(broker.report("NE", "2026-01-24").await.lines().any(|line| line == "2026-01-24,NE,nbs_no_result_late,,0,"));
    let second = sample("14-term-baby-oru-normal.hl7").replace("CF^CF^L", "314081000^PKU^SCT");
    assert_eq!(broker.send(&second).await.code, "AA");
    let told = broker.told_at_least("NBS_RESULT", 2).await;
    assert_eq!(told, [("se", vec!["requested maternity 001".to_owned(), "completed  ".to_owned()])].into());
}
