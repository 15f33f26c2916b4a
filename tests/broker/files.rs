//! Files in a drop folder and batches in a frame, through the whole broker, also when it is killed.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chis_broker::broker::Running;
use chis_broker::config::Settings;
use chis_broker::intake::{DropConfig, SourceConfig};
use chis_broker::journal::Standing;
use chis_broker::names::Seq;
use chis_broker::store::{EntryFilter, LedgerReader};

use crate::world::{Line, PATIENCE, broker, person, settings, settled};

fn with_folder(data: &Path, folder: &Path, extra: &str) -> Settings {
    let mut settings = settings(data);
    let source: SourceConfig = toml::from_str("name = \"mesh\"\naccepts = [\"*\"]\nrank = \"national\"").unwrap();
    let drop: DropConfig = toml::from_str(&format!(
        "folder = {:?}\nsource = \"mesh\"\nsettle_seconds = 0\npoll_seconds = 1\n{extra}",
        folder.display().to_string()
    ))
    .unwrap();
    settings.sources.push(source);
    settings.intake.drop.push(drop);
    settings
}

/// Waits until a file is there.
async fn there(file: &Path) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !file.exists() {
        assert!(tokio::time::Instant::now() < deadline, "{} comes", file.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)).unwrap()
}

const ARRIVED: &str = "<DTSControl><MessageType>Data</MessageType><WorkflowId>BIRTHNOTIFICATION_1</WorkflowId><StatusRecord>\
    <Event>TRANSFER</Event><Status>SUCCESS</Status><StatusCode>00</StatusCode></StatusRecord></DTSControl>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_national_birth_notification_that_a_mesh_client_fetched_is_filed_when_its_control_file_has_come() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = Running::start(with_folder(data.path(), folder.path(), "control_files = true"), Vec::new()).await.unwrap();
    std::fs::write(folder.path().join("0001.dat"), sample("09-spine-birth-with-mother.xml")).unwrap();
    // A whole pair behind it is taken, so the folder was looked at, and the body alone was not.
    std::fs::write(folder.path().join("0000.dat"), sample("12-spine-birth-without-mother.xml")).unwrap();
    std::fs::write(folder.path().join("0000.ctl"), ARRIVED).unwrap();
    there(&folder.path().join("done/0000.ctl")).await;
    assert!(folder.path().join("0001.dat").exists());
    std::fs::write(folder.path().join("0001.ctl"), ARRIVED).unwrap();
    there(&folder.path().join("done/0001.ctl")).await;
    let account = settled(data.path()).await;
    let line = account.lines.iter().find(|line| line.source == "mesh").unwrap();
    assert_eq!((line.received, line.filed, account.unaccounted), (2, 2, 0), "{account:?}");
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.standing(Seq(2)).unwrap(), Some(Standing::Filed));
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_batches_of_a_public_test_suite_are_answered_message_for_message_and_kept() {
    let Some(corpus) = std::env::var_os("CHIS_CORPUS") else {
        eprintln!("CHIS_CORPUS is not set: the batches of the public test suite were not read");
        return;
    };
    let folder = Path::new(&corpus).join("hl7v2-batch/cdc-prime-reportstream");
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let (mut files, mut messages) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let batch = std::fs::read(entry.unwrap().path()).unwrap();
        let headers: Vec<Vec<String>> = String::from_utf8_lossy(&batch)
            .split(['\r', '\n'])
            .filter(|segment| segment.starts_with("MSH"))
            .map(|msh| msh.split('|').map(str::to_owned).chain(vec![String::new(); 20]).collect())
            .collect();
        let sent: Vec<&str> = headers.iter().map(|fields| fields[9].as_str()).collect();
        // Who says NE twice (MSH-15, MSH-16) wants no answer; all others one each, in order.
        let owed: Vec<&str> =
            headers.iter().filter(|fields| fields[14] != "NE" || fields[15] != "NE").map(|fields| fields[9].as_str()).collect();
        line.send(&batch).await;
        line.send(person(&format!("S{files}"), 1, &format!("2026010610150{files}"), "EXAMPLE").as_bytes()).await;
        let mut answered = Vec::new();
        let mut answer = String::from_utf8(line.answer().await.unwrap()).unwrap();
        if answer.starts_with("FHS|") {
            answered = answer
                .split('\r')
                .filter_map(|segment| segment.strip_prefix("MSA|"))
                .map(|msa| msa.split('|').nth(1).unwrap().to_owned())
                .collect();
            answer = String::from_utf8(line.answer().await.unwrap()).unwrap();
        }
        assert!(answer.contains(&format!("MSA|AA|S{files}")), "{answer}");
        assert_eq!(answered, owed, "of {sent:?}");
        files += 1;
        messages += sent.len();
    }
    assert_eq!(files, 4);
    let account = settled(data.path()).await;
    assert_eq!((account.lines[0].received, account.unaccounted), ((messages + files) as i64, 0), "{account:?}");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_says_where_it_is_shorter_than_it_declares_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let batch = format!(
        "BHS|^~\\&|PAS|RJ1|CHIS|HUB|20260105||ADT||B7\r{}{}BTS|3\r",
        person("A1", 1, "20260106101500", "EXAMPLE"),
        person("A2", 2, "20260106101500", "SAMPLE")
    );
    for _ in 0..2 {
        line.send(batch.as_bytes()).await;
        let answer = String::from_utf8(line.answer().await.unwrap()).unwrap();
        let bhs: Vec<&str> = answer.split('\r').next().unwrap().split('|').collect();
        assert_eq!((bhs[9], bhs[11]), ("AE count_mismatch", "B7"), "{answer}");
        assert!(answer.contains("MSA|AA|A1") && answer.contains("MSA|AA|A2"), "{answer}");
    }
    let account = settled(data.path()).await;
    assert_eq!((account.lines[0].received, account.lines[0].filed, account.lines[0].duplicate), (4, 2, 2));
    let answer = line.exchange(person("A3", 3, "20260106101500", "TEST").as_bytes()).await;
    assert_eq!((answer.code.as_str(), answer.control_id.as_str()), ("AA", "A3"), "what comes behind a batch is answered too");
    assert_eq!(running.stop().await, 0);
}

const KILLS: usize = 8;
const FILES: usize = 24;
const EACH: usize = 40;

fn start(config: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_chis-broker"))
        .args(["run", "--config", config.to_str().unwrap()])
        .env("CHIS__FAILSAFE__WATCH", "false")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn entries(data: &Path) -> usize {
    let filter = EntryFilter { limit: Some(100_000), ..EntryFilter::default() };
    LedgerReader::open(data).and_then(|reader| reader.entries(&filter)).map_or(0, |entries| entries.len())
}

/// Files come in by a rename while the broker is killed again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_every_file_is_an_entry_once_however_often_the_broker_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let (data, folder) = (home.path().join("data"), home.path().join("in"));
    std::fs::create_dir(&folder).unwrap();
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = home.path().join("chis-broker.toml");
    std::fs::write(
        &config,
        format!(
            "allow_test_numbers = true\n[store]\ndata = \"data\"\n[admin]\nlisten = \"{}\"\n[[intake.mllp]]\nlisten = \"{}\"\n\
             [[intake.drop]]\nfolder = \"in\"\nsource = \"night\"\nsettle_seconds = 0\n[[source]]\nname = \"night\"\naccepts = [\"*\"]\n",
            port(),
            port()
        ),
    )
    .unwrap();
    let dropping = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || {
            for file in 0..FILES {
                let messages: Vec<String> = (0..EACH)
                    .map(|message| person(&format!("F{file}M{message}"), message, &format!("2026010610{file:02}{message:02}"), "EXAMPLE"))
                    .collect();
                let hidden = folder.join(format!(".{file}.hl7"));
                std::fs::write(&hidden, messages.concat()).unwrap();
                std::fs::rename(hidden, folder.join(format!("{file:02}.hl7"))).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let mut broker = start(&config);
    for kill in 1..=KILLS {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let target = kill * FILES * EACH / (KILLS + 2);
        while entries(&data) < target {
            assert!(tokio::time::Instant::now() < deadline, "entries come again after kill {}", kill - 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        broker.kill().unwrap();
        broker.wait().unwrap();
        broker = start(&config);
    }
    dropping.await.unwrap();
    for file in 0..FILES {
        there(&folder.join(format!("done/{file:02}.hl7"))).await;
        assert!(folder.join(format!("done/{file:02}.hl7.ack.hl7")).exists());
    }
    let account = settled(&data).await;
    assert_eq!((account.unaccounted, account.lines.len()), (0, 1), "{account:?}");
    broker.kill().unwrap();
    broker.wait().unwrap();
    let mut times: HashMap<String, usize> = HashMap::new();
    let filter = EntryFilter { limit: Some(100_000), ..EntryFilter::default() };
    for entry in LedgerReader::open(&data).unwrap().entries(&filter).unwrap() {
        *times.entry(entry.control_id).or_default() += 1;
    }
    assert_eq!(times.len(), FILES * EACH);
    let twice: Vec<_> = times.iter().filter(|(_, count)| 1 < **count).collect();
    assert!(twice.is_empty(), "an entry twice: {twice:?}");
    let is_left = |entry: &std::fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    assert_eq!(std::fs::read_dir(folder.join("processing")).unwrap().map(Result::unwrap).filter(is_left).count(), 0);
}

/// A broker of its own process over `home`, with one drop folder, `in`. Its configuration, and where its admin door is.
fn configured(home: &Path, settle_seconds: u64) -> (std::path::PathBuf, std::net::SocketAddr) {
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (admin, config) = (port(), home.join("chis-broker.toml"));
    std::fs::create_dir_all(home.join("in")).unwrap();
    let text = format!(
        "allow_test_numbers = true\n[store]\ndata = \"data\"\n[admin]\nlisten = \"{admin}\"\n[[intake.mllp]]\nlisten = \"{}\"\n\
         [[intake.drop]]\nfolder = \"in\"\nsource = \"night\"\nsettle_seconds = {settle_seconds}\n[[source]]\nname = \"night\"\naccepts = [\"*\"]\n",
        port()
    );
    std::fs::write(&config, text).unwrap();
    (config, admin)
}

fn killed(mut broker: Child) {
    broker.kill().unwrap();
    broker.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_goes_on_after_the_broker_took_its_file_and_was_killed_loses_no_message() {
    use std::io::Write;
    let home = tempfile::tempdir().unwrap();
    let (config, _) = configured(home.path(), 0);
    let (data, folder) = (home.path().join("data"), home.path().join("in"));
    let messages: Vec<String> =
        (0..EACH).map(|message| person(&format!("M{message}"), message, &format!("20260106101{message:03}"), "EXAMPLE")).collect();
    let whole = messages.concat();
    let mut writer = std::fs::File::create(folder.join("a.hl7")).unwrap();
    let mut broker = start(&config);
    let mut written = 0;
    // A part ends in the middle of a message; each is taken whole, and the broker is killed before and after the next is written.
    for part in 1..=6 {
        let until = whole.len() * part / 6 - if part < 6 { 30 } else { 0 };
        writer.write_all(&whole.as_bytes()[written..until]).unwrap();
        written = until;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let begun = whole[..until].matches("MSH|").count() as i64;
        let taken =
            || LedgerReader::open(&data).and_then(|reader| reader.reconcile(None, None)).map_or(0, |account| account.lines[0].received);
        while !data.join("ledger.db").exists() || std::panic::catch_unwind(taken).unwrap_or(0) < begun {
            assert!(tokio::time::Instant::now() < deadline, "part {part} is taken");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if part % 2 == 0 {
            there(&folder.join("done/a.hl7")).await;
        }
        killed(broker);
        broker = start(&config);
    }
    there(&folder.join("done/a.hl7")).await;
    let account = settled(&data).await;
    assert_eq!(account.unaccounted, 0, "{account:?}");
    killed(broker);
    let reader = LedgerReader::open(&data).unwrap();
    let filter = EntryFilter { limit: Some(100_000), ..EntryFilter::default() };
    let mut bodies: HashMap<Vec<u8>, usize> = HashMap::new();
    for row in reader.entries(&filter).unwrap() {
        let (_, body) = reader.entry(Seq(row.seq)).unwrap().unwrap();
        *bodies.entry(body.trim_ascii().to_vec()).or_default() += 1;
    }
    for message in &messages {
        assert_eq!(bodies.get(message.trim().as_bytes()), Some(&1), "{message}");
    }
    assert!(bodies.len() <= EACH + 5, "besides the messages there are at most the halves of five");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_and_a_pipe_in_the_folder_are_said_at_readiness_and_the_files_beside_them_are_taken() {
    let _another_test_was_first = rustls::crypto::ring::default_provider().install_default();
    let home = tempfile::tempdir().unwrap();
    let (config, admin) = configured(home.path(), 0);
    let folder = home.path().join("in");
    std::fs::create_dir_all(folder.join("processing/night.hl7")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("processing/pipe.hl7")).status().unwrap().success());
    std::fs::write(folder.join("b.hl7"), person("B1", 1, "20260106101500", "EXAMPLE")).unwrap();
    let broker = start(&config);
    there(&folder.join("done/b.hl7")).await;
    let ready = reqwest::get(format!("http://{admin}/readyz?verbose")).await.unwrap().text().await.unwrap();
    assert!(ready.contains("ready, degraded") && ready.contains("a directory in processing") && ready.contains("a named pipe"), "{ready}");
    assert!(!ready.contains("night.hl7"), "{ready}");
    killed(broker);
}
