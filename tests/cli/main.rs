//! The program as a sysadmin meets it: started, asked, told to end, by its command line and its exit codes alone.
#![allow(missing_docs, reason = "helpers of tests say what they are by their names")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test ends where it fails")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;

#[path = "../support/folders.rs"]
mod folders;

mod identity;
mod provenance;
mod safeguarding;
mod service;
mod site;
mod tables;

const PROGRAM: &str = env!("CARGO_BIN_EXE_chis-broker");

/// A broker of the embedded default on ports of its own.
struct Broker {
    child: Child,
    log: BufReader<ChildStderr>,
    mllp: String,
    http: String,
    admin: String,
}

impl Broker {
    fn start(data: &Path) -> Self {
        let any = "127.0.0.1:0";
        let data = data.display().to_string();
        Self::start_as(&["--mllp", any, "--http", any, "--admin", any, "--log-format", "json", "--data", &data])
    }

    /// `run` with these arguments; it says where its doors are.
    fn start_as(arguments: &[&str]) -> Self {
        let mut child =
            Command::new(PROGRAM).arg("run").args(arguments).env("CHIS__FAILSAFE__WATCH", "false").stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let ready = next_line(&mut log, "broker.ready").expect("the broker ended before it was ready");
        let doors = ready["doors"].as_str().unwrap();
        let door = |kind: &str| doors.split(", ").find_map(|door| door.strip_prefix(kind)).unwrap().trim().to_owned();
        let (mllp, http) = (door("mllp "), door("http "));
        Self { child, log, mllp, http: format!("http://{http}"), admin: format!("http://{}", ready["admin"].as_str().unwrap()) }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// A page of the admin door: status and text.
    fn get(&self, path: &str) -> (u16, String) {
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let response = reqwest::get(format!("{}{path}", self.admin)).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        })
    }

    fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        // The pipe is read to its end, or a talkative broker would wait for us for ever.
        for _line in self.log.by_ref().lines() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Broker {
    /// A test that failed leaves no broker behind.
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

/// The next log line with this message; `None` where the log ends before.
fn next_line(log: &mut BufReader<ChildStderr>, message: &str) -> Option<Value> {
    log.lines().map_while(Result::ok).filter_map(|line| serde_json::from_str::<Value>(&line).ok()).find(|line| line["message"] == message)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

/// Exit code and stdout.
fn ran(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn sample(name: &str) -> String {
    format!("{}/samples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Asks until everything is filed and delivered, each time by a new process; gives up when that is plainly not coming.
fn settled(broker: &Broker) -> Value {
    for _ask in 0..2_000 {
        let (code, text) = ran(&["reconcile", "--json", "--admin", &broker.admin]);
        assert_eq!(code, Some(0), "{text}");
        let account: Value = serde_json::from_str(&text).unwrap();
        if account["undelivered"] == 0 {
            return account;
        }
    }
    panic!("nothing more is filed or delivered: {}", ran(&["status", "--admin", &broker.admin]).1);
}

#[test]
fn a_broker_is_started_sent_to_asked_reloaded_and_told_to_end() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(data.path());
    assert_eq!(ran(&["status", "--admin", &broker.admin]).0, Some(0));

    let (code, answers) = ran(&["send", &sample("02-term-baby-a01-birth.hl7"), "--to", &broker.mllp]);
    assert_eq!((code, answers.starts_with("AA  MAT0000002")), (Some(0), true), "{answers}");
    let (code, answers) = ran(&["send", &sample("12-spine-birth-without-mother.xml"), "--http", &broker.http]);
    assert_eq!((code, answers.starts_with('2')), (Some(0), true), "{answers}");
    assert_eq!(settled(&broker)["lines"][0]["filed"], 2);

    // The ledger of a running broker, read beside it.
    let folder = data.path().display().to_string();
    let (code, listing) = ran(&["msg", "list", "--data", &folder]);
    assert_eq!((code, listing.lines().count()), (Some(0), 3), "{listing}");
    let (code, explained) = ran(&["msg", "explain", "1", "child.birth.weight_g", "--data", &folder, "--reveal", "test"]);
    assert_eq!((code, explained.contains("= \"3420\" <- ZU7-3")), (Some(0), true), "{explained}");
    let (code, export) = ran(&["hub", "export", "SE", "--data", &folder]);
    assert_eq!((code, export.lines().count(), export.contains("EXAMPLE")), (Some(0), 1, false), "{export}");
    let (_, export) = ran(&["hub", "export", "SE", "--data", &folder, "--reveal", "test"]);
    assert!(export.contains("EXAMPLE"), "{export}");

    broker.signal("-HUP");
    assert!(next_line(&mut broker.log, "config.reloaded").is_some());
    assert_eq!(ran(&["reload", "--admin", &broker.admin]).0, Some(0));
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(ran(&["reconcile", "--data", &folder]).0, Some(0), "the ledger at rest is read too");
}

#[test]
fn a_second_broker_on_the_same_folder_is_75() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path());
    let any = "127.0.0.1:0";
    let second = run(&["run", "--mllp", any, "--http", any, "--admin", any, "--data", &data.path().display().to_string()]);
    assert_eq!(second.status.code(), Some(75), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_71_and_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let any = "127.0.0.1:0";
    for door in ["--mllp", "--http", "--admin"] {
        let address = |name: &str| if name == door { at.as_str() } else { any };
        let arguments = [
            "run",
            "--data",
            &data.path().display().to_string(),
            "--mllp",
            address("--mllp"),
            "--http",
            address("--http"),
            "--admin",
            address("--admin"),
        ];
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.contains(&at)), (Some(71), true), "{door}: {said}");
    }
}

#[test]
fn what_is_read_by_others_is_plain_and_alone_on_stdout() {
    let output = run(&["config", "default"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty() && !output.stdout.contains(&0x1B));
    let wrong = run(&["msg"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(wrong.stdout.is_empty() && !wrong.stderr.contains(&0x1B));
}
