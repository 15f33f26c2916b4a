//! Vaccination files of a whole broker: what waited for its file is said as its child is then; and kill -9 while files roll over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chis_broker::broker::{Operations, Running};
use chis_broker::config::DEFAULT_TOML;
use chis_broker::destinations::CAREPLUS_COLUMNS;
use chis_broker::names::Seq;
use chis_broker::store::{DeskAct, LedgerReader};

use crate::world::{Line, PATIENCE, free_port, nhs_number, person, reach, settings, settled};

/// A vaccination of one of the children that `person` tells of. `key` is the sender's own, and the batch.
fn given(control_id: &str, child: usize, key: &str) -> String {
    format!(
        "MSH|^~\\&|GPSYS|G85001|ROUTE|ROUTE|20260302111500||VXU^V04^VXU_V04|{control_id}|P|2.5.1|||||GBR|UNICODE UTF-8|EN\r\
         PID|1||{}^^^NHS^NH||EXAMPLE^GIVEN||20260105|F|||10 TEST STREET^^LONDON^^SE1 9ZZ^GBR^H|||||||||||||||||||||NSTS01\r\
         ORC|RE||{key}^G85001\r\
         RXA|0|1|20260302110000||34925111000001104^Priorix^SCT|0.5|ml^millilitre^UCUM||00^New record^NIP001|N0001^NURSE^ANN^^^MS|^^^G85001||||{key}|20270331|GSK^GlaxoSmithKline^MVX|||CP|A|20260302111000\r\
         RXR|78421000^Intramuscular^SCT|368208006^Left upper arm^SCT\r\
         OBX|1|NM|30973-2^Dose number^LN||1||||||F\r",
        nhs_number(child)
    )
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + 5 * PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How a debt to the file ended, and its attempts.
fn ended(data: &Path, seq: i64) -> (String, Vec<String>) {
    let trace = LedgerReader::open(data).unwrap().trace(Seq(seq)).unwrap().expect("it was filed");
    let debt = trace.debts.iter().find(|debt| debt.destination == "careplus");
    let told = |debt: &chis_broker::store::DebtRow| {
        let tried = debt.tried.iter().map(|one| format!("{} {}", one.outcome, one.why).trim_end().to_owned()).collect();
        (format!("{} {}", debt.state, debt.why).trim_end().to_owned(), tried)
    };
    debt.map(told).unwrap_or_default()
}

fn rows(file: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(file).unwrap();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), CAREPLUS_COLUMNS);
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_child_that_was_hidden_or_sealed_while_its_row_waited_the_file_says_no_address_or_nothing() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("careplus");
    let mut settings = settings(data.path());
    let text = format!("name = 'careplus'\nkind = 'careplus-csv'\nfolder = '{}'\nvaccinations_max = 3", folder.display());
    settings.destinations.push(toml::from_str(&text).unwrap());
    let running = Running::start(settings, Vec::new()).await.unwrap();
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for child in [1, 2, 3] {
        assert_eq!(line.exchange(person(&format!("P{child}"), child, "20260106101500", "EXAMPLE").as_bytes()).await.code, "AA");
    }
    for child in [1, 2] {
        assert_eq!(line.exchange(given(&format!("V{child}"), child, &format!("K{child}")).as_bytes()).await.code, "AA");
    }
    until("both wait for their file", || (4..=5).all(|seq| ended(data.path(), seq).0 == "delivered")).await;
    // The first is hidden, the second sealed; then the third fills the file.
    let hidden = format!("{}ZU8||||2\r", person("P4", 1, "20260303101600", "EXAMPLE"));
    assert_eq!(line.exchange(hidden.as_bytes()).await.code, "AA");
    until("the child is hidden", || {
        LedgerReader::open(data.path()).unwrap().trace(Seq(6)).unwrap().is_some_and(|trace| !trace.events.is_empty())
    })
    .await;
    let child = LedgerReader::open(data.path()).unwrap().children_by_identifier(&nhs_number(2)).unwrap()[0];
    let operations = running.operations();
    let sealing = move || operations.decide(DeskAct::Seal { child }, "adoption", false).unwrap();
    assert!(tokio::task::spawn_blocking(sealing).await.unwrap().done);
    assert_eq!(line.exchange(given("V3", 3, "K3").as_bytes()).await.code, "AA");
    let file = folder.join("careplus-000001.csv");
    until("the file", || file.exists()).await;
    let said: Vec<[String; 3]> = rows(&file).iter().map(|row| [row[0].clone(), row[4].clone(), row[22].clone()]).collect();
    assert_eq!(
        said,
        [[nhs_number(1), String::new(), "K1".into()], [nhs_number(3), "10 TEST STREET".into(), "K3".into()]],
        "the hidden child without an address, and nothing of the sealed one"
    );
    assert_eq!(ended(data.path(), 5), ("withdrawn sealed".to_owned(), vec!["delivered".to_owned(), "withdrawn sealed".to_owned()]));
    settled(data.path()).await;
    assert_eq!(ended(data.path(), 4).0, "delivered");
    assert_eq!(running.stop().await, 0);
}

const SENDERS: usize = 3;
/// Acknowledged vaccinations that are in no file yet, at most.
const AHEAD: usize = 60;
const CHILDREN: usize = 4;

/// How often it is killed, and after how many files: few here, more where somebody asks (`docs/performance.md`).
fn asked(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|asked| asked.parse().ok()).unwrap_or(usual)
}

/// What senders and importer know of each other.
#[derive(Default)]
struct Play {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
    in_files: AtomicUsize,
}

struct Site {
    folder: tempfile::TempDir,
    at: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = free_port();
        let mut text = DEFAULT_TOML
            .replace("\"127.0.0.1:2575\"", &format!("\"{at}\""))
            .replace("\"127.0.0.1:8080\"", &format!("\"{}\"", free_port()))
            .replace("\"127.0.0.1:9464\"", &format!("\"{}\"", free_port()))
            .replace("/var/lib/chis-broker", folder.path().join("data").to_str().unwrap());
        let files = folder.path().join("careplus");
        text.push_str(&format!(
            "\n[[destination]]\nname = \"careplus\"\nkind = \"careplus-csv\"\nfolder = \"{}\"\nvaccinations_max = 2\n",
            files.display()
        ));
        std::fs::create_dir(&files).unwrap();
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        std::fs::write(folder.path().join("chis-broker.toml"), text).unwrap();
        Self { folder, at }
    }

    fn run(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_chis-broker"))
            .args(["run", "--config", self.folder.path().join("chis-broker.toml").to_str().unwrap()])
            .env("CHIS__FAILSAFE__WATCH", "false")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("careplus")
    }

    /// What the store's importer does: whatever bears a file's name is taken to be whole, read, and taken away.
    fn import(&self, batches: &mut BTreeMap<String, usize>) -> usize {
        let mut imported = 0;
        for entry in std::fs::read_dir(self.files()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            assert!(name.ends_with(".csv") && text.ends_with("\r\n"), "{name} is not whole");
            let rows = rows(&entry.path());
            assert!(!rows.is_empty(), "{name} says nothing");
            for row in rows {
                let given = (0..5).filter(|at| !row[16 + 7 * at].is_empty());
                given.for_each(|at| *batches.entry(row[22 + 7 * at].clone()).or_default() += 1);
            }
            let taken = self.folder.path().join("taken").join(&name);
            assert!(!taken.exists(), "{name} comes a second time");
            std::fs::rename(entry.path(), taken).unwrap();
            imported += 1;
        }
        imported
    }

    /// True in the middle of a hand-over: a part is in the making, or is noted and not renamed.
    fn is_handing_over(&self) -> bool {
        std::fs::read_dir(self.files()).unwrap().flatten().any(|entry| entry.path().extension().is_some_and(|end| end == "part"))
    }
}

/// Tells of its children, then of vaccinations, each again until it is answered. Gives the keys of those that were.
async fn sender(number: usize, at: SocketAddr, play: Arc<Play>) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let (mut line, mut serial) = (None, 0);
    while !play.stop.load(Ordering::Relaxed) {
        // Senders are faster than files: what waits stays little, so that kills fall where files are made.
        if play.in_files.load(Ordering::Relaxed) + AHEAD < play.acknowledged.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let child = number * CHILDREN + serial % CHILDREN;
        let key = format!("S{number}N{serial}");
        let message =
            if serial < CHILDREN { person(&key, child, "20260106101500", "EXAMPLE") } else { given(&format!("V{key}"), child, &key) };
        match reach(&mut line, at, message.as_bytes()).await {
            Some(answer) if answer.code == "AA" => {
                if CHILDREN <= serial {
                    play.acknowledged.fetch_add(1, Ordering::Relaxed);
                    told.insert(key);
                }
                serial += 1;
            }
            Some(answer) => panic!("{}", answer.whole),
            None => {}
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_while_files_roll_over_no_row_is_lost_none_comes_twice_and_no_file_is_half() {
    let site = Site::new();
    let play = Arc::new(Play::default());
    let mut broker = site.run();
    let senders: Vec<_> = (0..SENDERS).map(|number| tokio::spawn(sender(number, site.at, Arc::clone(&play)))).collect();
    let (mut batches, mut files, mut in_the_middle) = (BTreeMap::new(), 0, 0);
    let (kills, between) = (asked("CHIS_FILE_KILLS", 6), asked("CHIS_FILES_BETWEEN", 3));
    for kill in 1..=kills {
        let deadline = tokio::time::Instant::now() + 2 * PATIENCE;
        let wanted = files + between;
        while files < wanted {
            assert!(tokio::time::Instant::now() < deadline, "files come again after kill {}", kill - 1);
            files += site.import(&mut batches);
            play.in_files.store(batches.len(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Two of three kills fall into a hand-over, the third wherever it falls.
        while kill % 3 != 0 && !site.is_handing_over() && tokio::time::Instant::now() < deadline {
            files += site.import(&mut batches);
            play.in_files.store(batches.len(), Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
        broker.kill().unwrap();
        broker.wait().unwrap();
        in_the_middle += usize::from(site.is_handing_over());
        files += site.import(&mut batches);
        broker = site.run();
    }
    play.stop.store(true, Ordering::Relaxed);
    let mut told = BTreeSet::new();
    for sender in senders {
        told.extend(sender.await.unwrap());
    }
    let account = settled(&site.data()).await;
    assert_eq!((account.unaccounted, account.undelivered), (0, 0), "{account:?}");
    // The first thing a start does is to hand over what a process before left.
    broker.kill().unwrap();
    broker.wait().unwrap();
    broker = site.run();
    let is_empty = || {
        !std::fs::read_dir(site.files().join(".chis-broker"))
            .unwrap()
            .flatten()
            .any(|one| one.file_name().to_string_lossy().starts_with("spool-"))
    };
    until("the last file", is_empty).await;
    files += site.import(&mut batches);
    broker.kill().unwrap();
    broker.wait().unwrap();
    files += site.import(&mut batches);
    eprintln!("{kills} kills, {in_the_middle} of them in a hand-over: {} vaccinations in {files} files", batches.len());
    let lost: Vec<_> = told.iter().filter(|key| !batches.contains_key(*key)).collect();
    assert!(lost.is_empty(), "acknowledged and in no file: {lost:?}");
    let twice: Vec<_> = batches.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "in two files: {twice:?}");
    // What a kill kept from being answered was sent again and is among them; nothing else is.
    assert!(batches.len() <= told.len() + SENDERS, "{} in files, {} acknowledged", batches.len(), told.len());
}
