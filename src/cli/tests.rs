//! The command line as scripts see it: what is understood, and with which exit code it ends.

use std::sync::{Arc, Mutex};

use clap::CommandFactory;

use super::*;

/// Memory that can be read after the command.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Exit code and stdout of a command line.
pub(super) fn ran(line: &str) -> (u8, String) {
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    let kept = Kept::default();
    let mut out = Out::to(kept.clone());
    let words = std::iter::once("chis-broker").chain(line.split(' ').filter(|word| !word.is_empty()));
    let code = match Cli::try_parse_from(words) {
        Ok(cli) => settle(dispatch(cli, &mut out)),
        Err(error) => usage(&error, &mut out),
    };
    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    (code, text)
}

#[test]
fn the_arguments_do_not_contradict_each_other() {
    Cli::command().debug_assert();
}

#[test]
fn what_cannot_be_understood_is_64_and_help_is_0() {
    for line in [
        "",
        "flow",
        "run",
        "run --data d --colour",
        "run --config a --mllp 127.0.0.1:1",
        "run --data d --mllp here",
        "run --data d --log-format xml",
        "send --to 127.0.0.1:1",
        "send a.hl7",
        "send a.hl7 --to x:1 --rate 0",
        "msg trace one",
        "msg list --data d --admin http://127.0.0.1:1",
        "child not-an-id",
        "child",
        "held release 7",
        "held list --format xml",
    ] {
        assert_eq!(ran(line).0, exit::USAGE, "`{line}`");
    }
    for line in ["--help", "--version", "msg --help", "help send"] {
        let (code, text) = ran(line);
        assert_eq!((code, text.is_empty()), (exit::OK, false), "`{line}`");
    }
}

#[test]
fn every_command_of_the_guide_is_understood() {
    for line in [
        "run --data d --mllp 127.0.0.1:1 --http 127.0.0.1:2 --admin 127.0.0.1:3 --log-format json",
        "run --config f",
        "demo --stay",
        "check --config f --quiet --strict --json",
        "send a.hl7 b.xml --to h:1 --http http://h:2 --rate 5 --count 3 --json",
        "send - --to h:1 --tls ca.pem --certificate c.pem --key k.pem",
        "map check",
        "map test mappings --json",
        "map try a.hl7 --dir mappings",
        "map show birth",
        "msg list --data d --source s --standing held --type ADT^A28 --limit 3 --before 9 --json",
        "msg show 7 --data d --reveal because",
        "msg trace 7 --admin http://127.0.0.1:9464",
        "msg explain 7 child.birth --data d --json",
        "child 0197a3c2-0000-7000-8000-000000000000 --why --data d",
        "child --find --data d",
        "hub export NE --data d --reveal audit",
        "held list --format token --data d",
        "held show 7 --data d",
        "held release 7 --reason mended --admin http://127.0.0.1:9464",
        "held release 7 --debt --reason mended",
        "reconcile --day 2026-01-05 --source s --data d --json",
        "status --json",
        "reload",
        "config default",
    ] {
        let words = std::iter::once("chis-broker").chain(line.split(' '));
        assert!(Cli::try_parse_from(words).is_ok(), "`{line}`");
    }
}

#[test]
fn a_sender_is_told_of_times_that_would_hold_its_messages() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.hl7");
    let now = crate::clock::now();
    for (days, expected) in [(-1, exit::OK), (3, exit::FOUND)] {
        let happened = now.checked_add(jiff::ToSpan::hours(24 * days)).unwrap().strftime("%Y%m%d").to_string();
        let message = format!(
            "MSH|^~\\&|PAS|RJ1|X|Y|20260105101500||ADT^A28^ADT_A05|1|P|2.4\rEVN||20260105||||{happened}\r\
             PID|||9990000026^^^NHS^NH||EXAMPLE^A^^^^^L||20260105|2|||1 A^^LONDON^^SE1 9ZZ^GBR^H|||||||||||||||||||||NSTS01\rPD1|||S^^G85001\r"
        );
        std::fs::write(&file, message).unwrap();
        let (code, text) = ran(&format!("lint-sender {}", file.display()));
        assert_eq!((code, text.contains("a time of this message lies in the future")), (expected, days > 0), "{text}");
        assert_eq!(ran(&format!("map try {}", file.display())).0, expected);
    }
}

#[test]
fn what_is_not_there_is_66_and_says_so() {
    assert_eq!(ran("check --config /nowhere/chis-broker.toml").0, exit::MISSING);
    assert_eq!(ran("run --config /nowhere/chis-broker.toml").0, exit::MISSING);
    assert_eq!(ran("send /nowhere.hl7 --to 127.0.0.1:1").0, exit::MISSING);
    assert_eq!(ran("msg list --data /nowhere").0, exit::MISSING);
    assert_eq!(ran("hub export NE --data /nowhere").0, exit::MISSING);
    assert_eq!(ran("map check /nowhere").0, exit::MISSING);
}

#[test]
fn a_configuration_with_mistakes_is_78() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chis-broker.toml");
    std::fs::write(&file, "[admin]\nlisen = 1\n").unwrap();
    assert_eq!(ran(&format!("run --config {}", file.display())), (exit::CONFIG, String::new()));
    assert_eq!(ran(&format!("check --config {}", file.display())).0, exit::CONFIG);
}

#[test]
fn without_a_broker_releasing_and_status_are_69() {
    // A port that was free a moment ago and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(ran(&format!("held release 7 --reason mended --admin http://127.0.0.1:{port}")), (exit::UNREACHABLE, String::new()));
    assert_eq!(ran(&format!("status --admin http://127.0.0.1:{port}")).0, exit::UNREACHABLE);
    assert_eq!(ran(&format!("msg list --admin http://127.0.0.1:{port}")).0, exit::UNREACHABLE);
}

#[test]
fn a_standing_that_does_not_exist_is_told_with_those_that_do() {
    assert_eq!(ran("msg list --data /nowhere --standing parked").0, exit::USAGE);
}

#[test]
fn the_template_is_what_is_inside_the_program() {
    assert_eq!(ran("config default"), (exit::OK, crate::config::DEFAULT_TOML.to_owned()));
}

#[test]
fn a_replay_by_another_mapping_is_refused_before_anybody_is_asked_and_told_what_there_is() {
    let words =
        ["chis-broker", "replay", "--query", "destination=region", "--mapping", "current", "--dry-run", "--admin", "http://127.0.0.1:1"];
    let cli = Cli::try_parse_from(words).unwrap();
    let refused = dispatch(cli, &mut Out::to(Kept::default())).unwrap_err();
    assert_eq!(refused.exit, 64);
    for part in ["reads no message anew", "`--render current`", "`map try`"] {
        assert!(refused.text.contains(part), "{}", refused.text);
    }
    assert_eq!(ran("replay --query destination=region --render old --dry-run").0, 64);
}
