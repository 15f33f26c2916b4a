//! Every message of the public test suites: to each the answer that the protocol asks for, and none unaccounted for.

use std::path::{Path, PathBuf};

use chis_broker::store::LedgerReader;

use crate::world::{Acknowledged, Line, broker, person, settled};

/// The folder of the public messages, or none, said aloud.
fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("CHIS_CORPUS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("CHIS_CORPUS is not set: the messages of the public test suites were not read");
    }
    folder
}

pub fn client() -> reqwest::Client {
    let _another_test_was_first = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What is owed to a message by the protocol rules, section 2, read here without the broker's own reader:
/// the control id that MSA-2 must carry, or none where no answer may come.
fn owed(message: &[u8]) -> Owed {
    let text = String::from_utf8_lossy(message).into_owned();
    let text = text.trim_start_matches('\u{feff}').trim_start_matches(['\r', '\n', ' ']).to_owned();
    let unreadable = Owed { control_id: String::new(), accept: String::new(), application: String::new(), is_ack: false, enhanced: false };
    if !text.starts_with("MSH") {
        return unreadable;
    }
    let Some(separator) = text.chars().nth(3) else { return unreadable };
    // LF ends a segment only in a message that has no CR (section 1).
    let end = if text.contains('\r') { '\r' } else { '\n' };
    let header = text.split(end).next().unwrap_or_default();
    let fields: Vec<&str> = header.split(separator).collect();
    let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
    let bad_delimiters =
        field(2).is_empty() || field(2).chars().any(|c| c.is_ascii_alphanumeric() || !c.is_ascii() || c == ' ') || 5 < field(2).len();
    if separator.is_ascii_alphanumeric() || bad_delimiters {
        return unreadable;
    }
    let component = field(2).chars().next().unwrap_or('^');
    let repetition = field(2).chars().nth(1).unwrap_or('~');
    let first = |number: usize| field(number).split([component, repetition]).next().unwrap_or_default().to_owned();
    let mode = |number: usize| if first(number) == "\"\"" { String::new() } else { first(number) };
    let has_msa = text.split(end).any(|segment| segment.trim_start_matches('\n').starts_with("MSA"));
    Owed {
        control_id: field(10).to_owned(),
        accept: mode(15),
        application: mode(16),
        enhanced: !mode(15).is_empty() || !mode(16).is_empty(),
        is_ack: first(9) == "ACK" || has_msa,
    }
}

struct Owed {
    control_id: String,
    accept: String,
    application: String,
    is_ack: bool,
    enhanced: bool,
}

/// Table 0155: is an answer with this kind of code asked for? A word that is not in the table asks.
fn asks(condition: &str, accepted: bool) -> bool {
    match condition {
        "" | "NE" => false,
        "ER" => !accepted,
        "SU" => accepted,
        _ => true,
    }
}

impl Owed {
    /// The kind of answer that must come where the message is taken, or where it is not: `A`, `C` or none.
    fn kind(&self, accepted: bool) -> Option<char> {
        match () {
            () if self.is_ack => None,
            () if !self.enhanced => Some('A'),
            () if asks(&self.accept, accepted) => Some('C'),
            () => asks(&self.application, accepted).then_some('A'),
        }
    }

    /// May an answer with this code come?
    fn fits(&self, code: &str) -> bool {
        let accepted = code.ends_with('A');
        matches!(code, "AA" | "AE" | "AR" | "CA" | "CE" | "CR") && self.kind(accepted) == code.chars().next()
    }

    /// Must some answer come, whatever its code?
    fn is_sure(&self) -> bool {
        self.kind(true).is_some() && self.kind(false).is_some()
    }

    /// Can none come, whatever the code?
    fn is_silent(&self) -> bool {
        self.kind(true).is_none() && self.kind(false).is_none()
    }
}

async fn check(connections: usize) {
    let Some(folder) = corpus() else { return };
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let messages: Vec<(PathBuf, Vec<u8>)> =
        files(&folder.join("hl7v2"), &["hl7"]).into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
    assert!(700 < messages.len(), "the corpus is there");
    let at = running.addresses.mllp[0];
    let shares: Vec<Vec<(PathBuf, Vec<u8>)>> =
        (0..connections).map(|line| messages.iter().skip(line).step_by(connections).cloned().collect()).collect();
    let mut sent = 0;
    let lines: Vec<_> = shares.into_iter().enumerate().map(|(number, share)| tokio::spawn(one_line(at, number, share))).collect();
    for line in lines {
        sent += line.await.unwrap();
    }
    let account = settled(data.path()).await;
    let received: i64 = account.lines.iter().map(|line| line.received).sum();
    assert_eq!((account.unaccounted, account.unaccounted_debts, account.undelivered), (0, 0, 0), "{account:?}");
    assert_eq!(received, sent, "every frame is an entry");
    let ended: i64 = account.lines.iter().map(|line| line.filed + line.held + line.refused + line.duplicate + line.ignored).sum();
    assert_eq!(ended, received);
    assert_eq!(running.stop().await, 0);
}

/// Sends a share and reads what comes, in step; a last message whose answer is sure ends it.
async fn one_line(at: std::net::SocketAddr, number: usize, share: Vec<(PathBuf, Vec<u8>)>) -> i64 {
    let mut line = Line::open(at).await;
    for (file, message) in &share {
        line.send(message).await;
        let owed = owed(message);
        if owed.is_silent() {
            continue;
        }
        // Where the code decides whether an answer comes, a probe behind it shows that none came.
        if !owed.is_sure() {
            let probe = person(&format!("PROBE{number}"), 0, "20260105101500", "PROBE");
            line.send(probe.as_bytes()).await;
            let first = Acknowledged::read(&line.answer().await.expect("no connection is dropped"));
            if first.control_id.starts_with("PROBE") {
                continue;
            }
            assert!(owed.fits(&first.code) && first.control_id == owed.control_id, "{}: {}", file.display(), first.whole);
            let _probed = line.answer().await.expect("no connection is dropped");
            continue;
        }
        let answer = Acknowledged::read(&line.answer().await.unwrap_or_else(|| panic!("{}: the connection was dropped", file.display())));
        assert_eq!(answer.control_id, owed.control_id, "{}: {}", file.display(), answer.whole);
        assert!(owed.fits(&answer.code), "{}: {}", file.display(), answer.whole);
        assert!(!owed.control_id.is_empty() || answer.code == "AR" || answer.code == "CR", "{}: {}", file.display(), answer.whole);
    }
    let last = person(&format!("LAST{number}"), 0, "20260105101500", "LAST");
    assert_eq!(line.exchange(last.as_bytes()).await.control_id, format!("LAST{number}"), "no answer came that nobody asked for");
    let probes = share
        .iter()
        .filter(|(_, message)| {
            let owed = owed(message);
            !owed.is_silent() && !owed.is_sure()
        })
        .count();
    i64::try_from(share.len() + probes + 1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_public_message_is_answered_as_the_protocol_asks_over_one_connection() {
    check(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_public_message_is_answered_as_the_protocol_asks_over_sixteen_connections() {
    check(16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_public_fhir_file_is_kept_or_refused_with_an_outcome_that_says_where() {
    let Some(folder) = corpus() else { return };
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let client = client();
    let files = files(&folder.join("fhir"), &["json", "xml"]);
    assert!(400 < files.len(), "the corpus is there");
    let (mut taken, mut refused) = (0, 0);
    for file in &files {
        let name = file.to_string_lossy();
        let release = if name.contains("stu3") || name.contains("ems") || name.contains("events-management") { "stu3" } else { "r4" };
        let dialect = if name.ends_with("xml") { "xml" } else { "json" };
        let response = client
            .post(format!("http://{}/fhir/{release}/$process-message", running.addresses.http[0]))
            .header("content-type", format!("application/fhir+{dialect}"))
            .header("accept", "application/fhir+json")
            .body(std::fs::read(file).unwrap())
            .send()
            .await
            .unwrap();
        let status = response.status();
        let outcome: serde_json::Value = response.json().await.unwrap_or_else(|error| panic!("{name}: {status}: no outcome: {error}"));
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{name}");
        let issue = &outcome["issue"][0];
        assert!(!issue["diagnostics"].as_str().or(issue["details"]["text"].as_str()).unwrap_or_default().is_empty(), "{name}: {outcome}");
        if status.is_success() {
            taken += 1;
        } else {
            refused += 1;
            assert!(status.is_client_error(), "{name}: {status}");
            let place = issue["expression"][0].as_str().or(issue["location"][0].as_str()).unwrap_or_default();
            assert!(!place.is_empty(), "{name}: the outcome says where: {outcome}");
        }
    }
    assert!(10 < taken, "{taken} taken, {refused} refused");
    let account = settled(data.path()).await;
    assert_eq!((account.unaccounted, account.undelivered), (0, 0));
    let received: i64 = account.lines.iter().map(|line| line.received).sum();
    assert_eq!(received, i64::try_from(files.len()).unwrap());
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_national_examples_of_births_and_blood_spots_are_filed_with_the_right_child_facts_and_hub() {
    let Some(folder) = corpus() else { return };
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let client = client();
    for file in ["BirthNotificationWithoutMother.xml", "blood-spot-test-outcome-1-update.xml", "blood-spot-test-outcome-1-delete.xml"] {
        let response = client
            .post(format!("http://{}/fhir/stu3/$process-message", running.addresses.http[0]))
            .header("content-type", "application/fhir+xml")
            .body(std::fs::read(folder.join("fhir/nhs-events-management").join(file)).unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{file}");
    }
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    let of = |seq| reader.trace(chis_broker::names::Seq(seq)).unwrap().unwrap();
    // Born in Exeter of a mother registered in London: nothing of the routing demographics, which are the mother's, is filed.
    let birth = of(1);
    assert_eq!(birth.entry.standing, "filed", "{birth:?}");
    let children = reader.children_by_identifier("5900005879").unwrap();
    assert_eq!(children.len(), 1);
    let record = reader.child(children[0]).unwrap().unwrap().record;
    assert_eq!(record["names"][0]["family"], "BETA");
    assert_eq!(record["sex"], "1");
    assert_eq!(record["birth"]["date"]["value"], "2020-01-13");
    assert_eq!((&record["birth"]["weight_g"], &record["birth"]["gestation_weeks"]), (&5888.into(), &38.into()));
    assert_eq!((&record["birth"]["live_still"], &record["birth"]["congenital_anomaly"]), (&"1".into(), &"N".into()));
    assert_eq!((&record["birth"]["place_ods"], &record["birth"]["partner_cho"]), (&"5IV".into(), &"5D7".into()));
    assert_eq!(birth.events[0].hub, "OUT", "{record}");
    // The blood spot example names another child, by number and by name.
    let spots = of(2);
    assert_eq!(spots.entry.standing, "filed", "{spots:?}");
    let children = reader.children_by_identifier("9912003888").unwrap();
    let view = reader.child(children[0]).unwrap().unwrap();
    assert_eq!(view.record["names"][0]["family"], "DAWKINS");
    assert_eq!(
        view.events.iter().map(|(seq, event)| (*seq, event.kind.as_str())).collect::<Vec<_>>(),
        [(2, "blood-spot"), (3, "blood-spot")]
    );
    assert_eq!(of(3).entry.standing, "filed");
    assert_eq!(running.stop().await, 0);
}
