//! The broker as systemd and its sysadmin meet it: signals at every moment, the watchdog, a start and a reload with broken files.
//!
//! A named pipe in the place of `hubs.toml` holds a start or a reload exactly there, for as long as a test likes.

use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::site::Site;
use crate::{Broker, PROGRAM, next_line, ran, run, sample};

/// A process that tells what it does to `socket`, and must feed a watchdog.
struct Watched {
    child: Child,
    socket: UnixDatagram,
}

impl Watched {
    fn start(site: &Site, watchdog: Duration) -> Self {
        let socket = UnixDatagram::bind(site.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let child = Command::new(PROGRAM)
            .args(["run", "--config", &site.at("chis-broker.toml")])
            .env("CHIS__FAILSAFE__WATCH", "false")
            .env("NOTIFY_SOCKET", site.path("notify"))
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, socket }
    }

    /// What it says next.
    fn says(&self) -> String {
        let mut bytes = [0_u8; 4096];
        let length = self.socket.recv(&mut bytes).expect("the broker says nothing any more");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Listens until it says `word`; gives how often the watchdog was fed before.
    fn until(&self, word: &str) -> usize {
        let mut fed = 0;
        loop {
            let said = self.says();
            if said.contains(word) {
                return fed;
            }
            fed += usize::from(said.contains("WATCHDOG=1"));
        }
    }

    fn signal(&self, name: &str) {
        signal(&self.child, name);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Puts a named pipe in the place of `hubs.toml`; gives what stood there.
fn hold(site: &Site) -> String {
    let hubs = site.path("mappings/hubs.toml");
    let text = std::fs::read_to_string(&hubs).unwrap();
    std::fs::remove_file(&hubs).unwrap();
    assert!(Command::new("mkfifo").arg(&hubs).status().unwrap().success());
    text
}

/// Waits until the broker reads the pipe, and puts a plain file in its place for whoever reads next.
fn held(site: &Site, text: &str) -> File {
    let hubs = site.path("mappings/hubs.toml");
    let pipe = File::options().write(true).open(&hubs).unwrap();
    std::fs::write(site.path("hubs.new"), text).unwrap();
    std::fs::rename(site.path("hubs.new"), hubs).unwrap();
    pipe
}

#[test]
fn reloads_neither_starve_the_watchdog_nor_hold_up_the_end() {
    let site = Site::new();
    let mut broker = Watched::start(&site, Duration::from_millis(900));
    broker.until("READY=1");
    // One after the other, without a pause that is longer than a third of the watchdog's limit.
    let is_fed = |_reload| {
        broker.signal("-HUP");
        0 < broker.until("READY=1")
    };
    assert!((0..12).any(is_fed), "twelve reloads without a sign of life");
    let text = hold(&site);
    broker.signal("-HUP");
    broker.until("RELOADING=1");
    let pipe = held(&site, &text);
    broker.until("WATCHDOG=1");
    broker.until("WATCHDOG=1");
    broker.signal("-TERM");
    broker.until("STOPPING=1");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
    drop(pipe);
}

#[test]
fn hups_that_come_during_a_reload_are_one_more_reload_after_it() {
    let site = Site::new();
    let broker = Watched::start(&site, Duration::from_secs(3_600));
    broker.until("READY=1");
    let text = hold(&site);
    broker.signal("-HUP");
    broker.until("RELOADING=1");
    let mut pipe = held(&site, &text);
    for _hup in 0..3 {
        broker.signal("-HUP");
    }
    pipe.write_all(text.as_bytes()).unwrap();
    drop(pipe);
    broker.until("RELOADING=1");
    broker.until("READY=1");
    broker.signal("-TERM");
    assert!(broker.says().contains("STOPPING=1"), "a third reload");
}

/// A start that is held at `hubs.toml`, is sent a signal there, and goes on.
fn signalled_during_its_start(site: &Site, name: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let text = hold(site);
    let mut child = Command::new(PROGRAM).args(["run", "--config", &site.at("chis-broker.toml")]).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut pipe = held(site, &text);
    signal(&child, name);
    let _killed_already = pipe.write_all(text.as_bytes());
    (child, log)
}

#[test]
fn a_hup_during_the_start_is_a_reload_after_it_and_a_term_drains() {
    let site = Site::new();
    let (mut child, mut log) = signalled_during_its_start(&site, "-HUP");
    assert!(next_line(&mut log, "broker.ready").is_some(), "the start ended with the HUP");
    assert!(next_line(&mut log, "config.reloaded").is_some());
    signal(&child, "-TERM");
    assert!(next_line(&mut log, "broker.draining").is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let (mut child, mut log) = signalled_during_its_start(&site, "-TERM");
    assert!(next_line(&mut log, "broker.draining").is_some(), "the start ended with the TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn standing(broker: &Broker, seq: &str) -> String {
    let trace: serde_json::Value = serde_json::from_str(&ran(&["msg", "trace", seq, "--json", "--admin", &broker.admin]).1).unwrap();
    trace["entry"]["standing"].as_str().unwrap().to_owned()
}

fn metric(broker: &Broker, line: &str) -> bool {
    broker.get("/metrics").1.lines().any(|one| one == line)
}

#[test]
fn a_reload_with_a_broken_certificate_changes_nothing_at_all() {
    let site = Site::new();
    let made = rcgen::generate_simple_self_signed(vec!["broker.example".to_owned()]).unwrap();
    std::fs::write(site.path("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(site.path("server.key"), made.signing_key.serialize_pem()).unwrap();
    let config = site.path("chis-broker.toml");
    let door = format!(
        "[[intake.mllp]]\nlisten = \"127.0.0.1:0\"\ntls = {{ certificate_file = \"{}\", key_file = \"{}\" }}\n",
        site.at("server.pem"),
        site.at("server.key")
    );
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + &door).unwrap();
    let broker = site.broker();
    let w = std::fs::read_to_string(sample("03-term-baby-a28-person.hl7")).unwrap();
    let w = site.message("w.hl7", &w.replace("|20260105|2|", "|20260105|W|"));
    site.send(&broker, &[&w]);
    assert_eq!(standing(&broker, "1"), "held");

    std::fs::write(site.path("server.key"), "no key\n").unwrap();
    let added =
        run(&["table", "add", "sex", "W", "2", "--config", &site.at("chis-broker.toml"), "--admin", &broker.admin, "--reason", "x"]);
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    assert_eq!((added.status.code(), said.contains("server.key")), (Some(78), true), "{said}");
    assert!(metric(&broker, "chis_config_stale 1"), "{}", broker.get("/metrics").1);
    assert!(metric(&broker, "chis_config_reloads_total{result=\"refused\"} 1"));
    // The row that was refused is not active: what is sent now is held too.
    let again = site.message("again.hl7", &std::fs::read_to_string(&w).unwrap().replace("PAS0000003", "PAS0000093"));
    site.send(&broker, &[&again]);
    assert_eq!((standing(&broker, "1"), standing(&broker, "2")), ("held".to_owned(), "held".to_owned()));

    std::fs::write(site.path("server.key"), made.signing_key.serialize_pem()).unwrap();
    let (code, released) = ran(&["table", "release", "sex", "W", "--admin", &broker.admin, "--reason", "the key is mended", "--json"]);
    assert_eq!((code, released.contains("\"held_again\"")), (Some(0), true), "{released}");
    assert_eq!(standing(&broker, "1"), "filed");
    assert!(metric(&broker, "chis_config_stale 0"));
    assert_eq!(broker.stop(), Some(0));
}

fn hub_of_first(broker: &Broker) -> String {
    let trace: serde_json::Value = serde_json::from_str(&ran(&["msg", "trace", "1", "--json", "--admin", &broker.admin]).1).unwrap();
    let child = trace["events"][0]["child"].as_str().unwrap().to_owned();
    let child: serde_json::Value =
        serde_json::from_str(&ran(&["child", &child, "--json", "--admin", &broker.admin, "--reveal", "test"]).1).unwrap();
    child["record"]["hub"]["hub"].as_str().unwrap().to_owned()
}

#[test]
fn a_start_with_broken_hubs_goes_on_with_those_of_the_last_good_bundle() {
    let site = Site::new();
    let broker = site.broker();
    site.send(&broker, &[&sample("02-term-baby-a01-birth.hl7")]);
    assert_eq!(hub_of_first(&broker), "SE");
    assert_eq!(broker.stop(), Some(0));

    let hubs = site.path("mappings/hubs.toml");
    let good = std::fs::read_to_string(&hubs).unwrap();
    std::fs::write(&hubs, format!("{good}\n[broken\n")).unwrap();
    let broker = site.broker();
    let (code, ready) = broker.get("/readyz?verbose");
    assert_eq!((code, ready.contains("hubs.toml")), (200, true), "{ready}");
    assert!(metric(&broker, "chis_config_stale 1"), "{}", broker.get("/metrics").1);
    site.send(&broker, &[&sample("03-term-baby-a28-person.hl7"), &sample("04-term-baby-a31-named.hl7")]);
    assert_eq!(hub_of_first(&broker), "SE");
    std::fs::write(&hubs, &good).unwrap();
    assert_eq!(ran(&["reload", "--admin", &broker.admin]).0, Some(0));
    assert!(metric(&broker, "chis_config_stale 0"));
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_start_without_its_directory_files_moves_nobody_and_says_so() {
    let site = Site::new();
    let broker = site.broker();
    site.send(&broker, &[&sample("02-term-baby-a01-birth.hl7")]);
    assert_eq!(broker.stop(), Some(0));

    let (there, away) = (site.path("mappings/directories"), site.path("directories-away"));
    std::fs::rename(&there, &away).unwrap();
    let broker = site.broker();
    let (code, ready) = broker.get("/readyz?verbose");
    assert_eq!((code, ready.contains("nobody is moved"), ready.contains("postcodes.csv")), (200, true, true), "{ready}");
    // Neither a message nor a person makes it UNKNOWN.
    site.send(&broker, &[&sample("03-term-baby-a28-person.hl7"), &sample("04-term-baby-a31-named.hl7")]);
    assert_eq!(hub_of_first(&broker), "SE");
    let refused = run(&["hub", "reassign", "--admin", &broker.admin, "--reason", "x"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), said.contains("directory files")), (Some(75), true), "{said}");

    std::fs::rename(&away, &there).unwrap();
    assert_eq!(ran(&["reload", "--admin", &broker.admin]).0, Some(0));
    let (_, ready) = broker.get("/readyz?verbose");
    assert!(!ready.contains("nobody is moved"), "{ready}");
    assert_eq!(hub_of_first(&broker), "SE");
    assert_eq!(broker.stop(), Some(0));
}
