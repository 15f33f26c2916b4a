//! `demo`: the whole broker in one process on a temporary folder. Every sample goes over a real socket, and what became of it
//! is compared with what is written beside it in `samples/*.expected.json`.
//!
//! # Invariants
//!
//! - Exit code 0 only if every sample came out as expected and the account is balanced.
//! - One sample is filed and delivered before the next is sent, so that each record is compared as it is after its message.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::arguments::Demo;
use super::output::{Out, counted};
use super::send::{self, Answer, Line};
use super::{Failure, Outcome, exit, files, listen, tables};
use crate::config::{Samples, Settings};
use crate::console::views;
use crate::destinations::{Config as DestinationConfig, Kind, MllpConfig, Profile};
use crate::names::{ChildId, Format, Seq};
use crate::store::{EntryFilter, LedgerReader, Trace};
use crate::{broker, clock, console, observe};

/// A message that is not filed and delivered by then is told as it stands.
const PATIENCE: Duration = Duration::from_secs(20);

/// What must come of a sample. What is not said is not compared.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    /// MSA-1, or the HTTP status.
    answer: Option<String>,
    standing: Option<String>,
    mapping: Option<String>,
    /// How many children it is about.
    children: Option<usize>,
    /// In how many of these another record goes on afterwards.
    merged: Option<usize>,
    /// A part of the record as it is after the message.
    child: Option<Value>,
    hub: Option<String>,
    basis: Option<String>,
    /// Who was told.
    destinations: Option<BTreeSet<String>>,
    /// Who was told nothing, and by which rule.
    withheld: Option<BTreeMap<String, String>>,
    /// Code of a finding that must be among those of the message.
    finding: Option<String>,
    /// Types of the messages that the viewer was sent of it, in their order.
    viewer: Option<Vec<String>>,
}

/// What came of it.
#[derive(Debug, Default)]
struct Came {
    answer: String,
    standing: String,
    mapping: String,
    children: Vec<ChildId>,
    merged: usize,
    record: Value,
    hub: String,
    basis: String,
    destinations: BTreeSet<String>,
    undelivered: Vec<String>,
    withheld: BTreeMap<String, String>,
    findings: BTreeSet<String>,
    /// Codes of the findings that hold it.
    holding: BTreeSet<String>,
    /// What the viewer was sent.
    viewer: Vec<String>,
}

/// Runs the demo.
pub fn demo(demo: &Demo, out: &mut Out) -> Outcome {
    // Twice in one process happens in tests only; the first set-up then serves both.
    let _already_started = observe::start_logging(Some(observe::LogFormat::Text), "warn");
    let _already_there = observe::metrics();
    let samples = samples()?;
    let folder = Folder::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::SYSTEM, format!("no threads: {error}")))?;
    runtime.block_on(play(demo, &samples, &folder.path, out))
}

/// A sample: its name, its messages, what must come of it.
struct Sample {
    name: String,
    message: files::Message,
    expected: Expected,
}

fn samples() -> Result<Vec<Sample>, Failure> {
    let broken = |name: &str, what: &str| Failure::new(exit::BUG, format!("the sample {name} {what}"));
    let mut names: Vec<String> = Samples::iter().map(|name| name.into_owned()).filter(|name| is_message(name)).collect();
    names.sort();
    let mut samples = Vec::new();
    for name in names {
        let bytes = Samples::get(&name).ok_or_else(|| broken(&name, "is gone"))?.data;
        let message = files::split(&bytes).into_iter().next().ok_or_else(|| broken(&name, "holds no message"))?;
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let expected = Samples::get(&format!("{stem}.expected.json")).ok_or_else(|| broken(&name, "does not say what must come of it"))?;
        let expected =
            serde_json::from_slice(&expected.data).map_err(|error| broken(&name, &format!("expects what cannot be read: {error}")))?;
        samples.push(Sample { name: stem.to_owned(), message, expected });
    }
    if samples.is_empty() {
        return Err(Failure::new(exit::BUG, "this program was built without samples"));
    }
    Ok(samples)
}

fn is_message(name: &str) -> bool {
    let is_expectation = name.ends_with(".expected.json");
    !is_expectation && [".hl7", ".xml", ".json"].iter().any(|ending| name.ends_with(ending))
}

/// The broker, the doors it has, and a parents' record and a viewer that take everything.
struct Stage {
    running: broker::Running,
    mllp: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
    data: PathBuf,
    closing: CancellationToken,
    told_parents: Arc<AtomicUsize>,
    told_viewer: Arc<Mutex<Vec<String>>>,
}

async fn play(demo: &Demo, samples: &[Sample], folder: &Path, out: &mut Out) -> Outcome {
    let stage = Stage::open(folder).await?;
    let played = stage.send_all(samples, demo.json, out).await;
    let balanced = match &played {
        Ok(_) => stage.account(demo.json, out),
        Err(_) => Ok(false),
    };
    if demo.stay && played.is_ok() {
        super::say(&format!(
            "\nthe broker stays: MLLP {}, HTTP http://{}, admin http://{}, data {}\nCtrl-C ends it\n",
            stage.mllp,
            stage.http,
            stage.admin,
            stage.data.display()
        ));
        out.flush()?;
        told_to_end().await;
    }
    stage.close().await;
    let (as_expected, is_balanced) = (played?, balanced?);
    Ok(if as_expected == samples.len() && is_balanced { exit::OK } else { exit::FOUND })
}

/// Ctrl-C, or a signal to end: both clear the folder away.
pub(super) async fn told_to_end() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _pressed = tokio::signal::ctrl_c().await;
        }
    }
}

impl Stage {
    async fn open(folder: &Path) -> Result<Self, Failure> {
        let closing = CancellationToken::new();
        let told_parents = Arc::new(AtomicUsize::new(0));
        let parents = open_parents_record(Arc::clone(&told_parents), closing.clone()).await?;
        let (viewer, told_viewer) = open_viewer(closing.clone()).await?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut settings = Settings::embedded(folder, Some(any), Some(any), Some(any))
            .map_err(|unusable| Failure::new(exit::BUG, unusable.to_string()))?;
        settings.destinations.push(DestinationConfig::new("e-redbook", parents_record(parents)));
        settings.destinations.push(DestinationConfig::new(VIEWER, viewer_at(viewer)));
        // The children of the samples were born on fixed days: by now nearly everything about them would be late.
        settings.failsafe.watch = false;
        let started = broker::Running::start(settings, Vec::new()).await;
        let running = started.map_err(|error| Failure::new(error.exit, error.text))?;
        let opened = console::open(any, running.operations(), closing.clone()).await;
        let (admin, _door) = opened.map_err(|error| Failure::new(exit::SYSTEM, format!("the admin door cannot be opened: {error}")))?;
        let closed = || Failure::new(exit::BUG, "a door did not open");
        let mllp = running.addresses.mllp.first().copied().ok_or_else(closed)?;
        let http = running.addresses.http.first().copied().ok_or_else(closed)?;
        Ok(Self { running, mllp, http, admin, data: folder.to_owned(), closing, told_parents, told_viewer })
    }

    /// Sends each sample, and tells. Gives how many came out as expected.
    async fn send_all(&self, samples: &[Sample], is_json: bool, out: &mut Out) -> Result<usize, Failure> {
        let client = send::client(PATIENCE)?;
        let mut line = Line::open(&self.mllp.to_string(), None, PATIENCE).await?;
        let (mut rows, mut wrongs, mut as_expected) = (Vec::new(), Vec::new(), 0);
        for sample in samples {
            let answer = match sample.message.format {
                Format::Hl7v2 => line.ask(&sample.message.body).await?,
                _ => send::post(&client, &format!("http://{}", self.http), &sample.message).await?,
            };
            let before = self.viewer().len();
            let mut came = self.what_came(answer).await?;
            came.viewer = self.viewer().split_off(before);
            let differences = differences(&sample.expected, &came);
            as_expected += usize::from(differences.is_empty());
            if is_json {
                out.json_line(&came.json(&sample.name, &differences))?;
            }
            rows.push(came.row(&sample.name, differences.is_empty()));
            wrongs.extend(differences.into_iter().map(|difference| format!("{}: {difference}", sample.name)));
        }
        if !is_json {
            out.table(&["sample", "answer", "standing", "child", "hub", "told", "withheld", ""], &rows)?;
            writeln!(
                out,
                "\n{as_expected} of {} as expected; deliveries to the parents' record: {}, messages to the viewer: {}",
                counted(samples.len(), "sample"),
                self.told_parents.load(Ordering::Acquire),
                self.viewer().len()
            )?;
            for wrong in wrongs {
                writeln!(out, "different: {wrong}")?;
            }
        }
        Ok(as_expected)
    }

    /// Waits until the newest message is filed and its debts are paid.
    async fn what_came(&self, answer: Answer) -> Result<Came, Failure> {
        let begun = clock::tick();
        loop {
            let data = self.data.clone();
            let seen = tokio::task::spawn_blocking(move || look(&data))
                .await
                .map_err(|_| Failure::new(exit::BUG, "reading the ledger ended early"))??;
            let is_late = PATIENCE < clock::tick().duration_since(begun);
            match seen {
                Some((trace, record, merged)) if is_late || is_settled(&trace) => {
                    return Ok(Came { merged, ..Came::of(answer, &trace, record) });
                }
                None if is_late => return Ok(Came { answer: answer.code, standing: "not in the ledger".into(), ..Came::default() }),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    fn viewer(&self) -> Vec<String> {
        self.told_viewer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn account(&self, is_json: bool, out: &mut Out) -> Result<bool, Failure> {
        let account = views::reconcile(&LedgerReader::open(&self.data)?, None, None)?;
        if !is_json {
            writeln!(out)?;
            tables::reconcile(&account, out)?;
        }
        let is_paid = account.get("undelivered").and_then(Value::as_i64) == Some(0);
        Ok(tables::is_balanced(&account) && is_paid)
    }

    async fn close(self) {
        self.closing.cancel();
        let _exit_of_a_demo = self.running.stop().await;
    }
}

/// The newest entry's trace, the record of the child it is about, and how many of its children were merged into another.
fn look(data: &Path) -> Result<Option<(Trace, Value, usize)>, Failure> {
    let reader = LedgerReader::open(data)?;
    let newest = reader.entries(&EntryFilter { limit: Some(1), ..EntryFilter::default() })?;
    let Some(newest) = newest.first() else { return Ok(None) };
    let Some(trace) = reader.trace(Seq(newest.seq))? else { return Ok(None) };
    let mut records = Vec::new();
    for child in trace.events.iter().filter_map(|event| event.child.parse().ok()).map(ChildId) {
        records.push(reader.child(child)?.map(|view| view.record).unwrap_or_default());
    }
    let merged = records.iter().filter(|record| record.get("merged_into").is_some()).count();
    Ok(Some((trace, records.into_iter().next().unwrap_or_default(), merged)))
}

fn is_settled(trace: &Trace) -> bool {
    trace.entry.standing != "waiting" && trace.debts.iter().all(|debt| debt.state != "pending")
}

impl Came {
    fn of(answer: Answer, trace: &Trace, record: Value) -> Self {
        let children: BTreeSet<ChildId> = trace.events.iter().filter_map(|event| event.child.parse().ok()).map(ChildId).collect();
        let last = trace.events.last();
        let is_told = |state: &str| matches!(state, "delivered" | "superseded");
        let codes = |level: &str| -> BTreeSet<String> {
            let findings = trace.findings.as_array().into_iter().flatten();
            let of_level = findings.filter(|finding| level.is_empty() || finding.get("level").and_then(Value::as_str) == Some(level));
            of_level.filter_map(|finding| finding.get("code").and_then(Value::as_str)).map(str::to_owned).collect()
        };
        Self {
            answer: answer.code,
            standing: trace.entry.standing.clone(),
            mapping: trace.mapping.clone().unwrap_or_default(),
            children: children.into_iter().collect(),
            merged: 0,
            record,
            hub: last.map(|event| event.hub.clone()).unwrap_or_default(),
            basis: last.map(|event| event.basis.clone()).unwrap_or_default(),
            destinations: trace.debts.iter().filter(|debt| is_told(&debt.state)).map(|debt| debt.destination.clone()).collect(),
            undelivered: trace
                .debts
                .iter()
                .filter(|debt| !is_told(&debt.state))
                .map(|debt| format!("{} {} {}", debt.destination, debt.state, debt.why))
                .collect(),
            withheld: trace.withheld.iter().cloned().collect(),
            findings: codes(""),
            holding: codes("hold"),
            viewer: Vec::new(),
        }
    }

    fn row(&self, name: &str, is_as_expected: bool) -> Vec<String> {
        // Eight characters tell the children of a demo apart; ids made in one second begin alike, so the end is taken.
        let short = |child: &ChildId| child.to_string().rsplit('-').next().unwrap_or_default().chars().take(8).collect::<String>();
        let children: Vec<String> = self.children.iter().map(short).collect();
        let told: Vec<String> = self.destinations.iter().cloned().collect();
        let withheld: Vec<String> = self.withheld.iter().map(|(destination, rule)| format!("{destination}: {rule}")).collect();
        let hub = if self.hub.is_empty() { String::new() } else { format!("{} ({})", self.hub, self.basis) };
        let verdict = if is_as_expected { "ok" } else { "DIFFERENT" };
        let mut standing = self.standing.clone();
        if self.standing == "held" {
            standing = format!("held: {}", self.holding.iter().cloned().collect::<Vec<_>>().join(", "));
        }
        vec![
            name.to_owned(),
            self.answer.clone(),
            standing,
            children.join(" "),
            hub,
            told.join(", "),
            withheld.join(", "),
            verdict.to_owned(),
        ]
    }

    fn json(&self, name: &str, differences: &[String]) -> Value {
        json!({
            "sample": name, "answer": self.answer, "standing": self.standing, "mapping": self.mapping, "children": self.children,
            "hub": self.hub, "basis": self.basis, "destinations": self.destinations, "withheld": self.withheld,
            "findings": self.findings, "viewer": self.viewer, "as_expected": differences.is_empty(), "differences": differences,
        })
    }
}

/// What is not as expected, a line each. Samples are invented, so values may be quoted.
fn differences(expected: &Expected, came: &Came) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, expected: Option<&String>, came: &str| {
        if let Some(expected) = expected.filter(|expected| expected.as_str() != came) {
            found.push(format!("{what} should be {expected}, is {}", if came.is_empty() { "nothing" } else { came }));
        }
    };
    compare("answer", expected.answer.as_ref(), &came.answer);
    compare("standing", expected.standing.as_ref(), &came.standing);
    compare("mapping", expected.mapping.as_ref(), &came.mapping);
    compare("hub", expected.hub.as_ref(), &came.hub);
    compare("basis", expected.basis.as_ref(), &came.basis);
    if let Some(count) = expected.children.filter(|count| *count != came.children.len()) {
        found.push(format!("it should be about {count} children, is about {}", came.children.len()));
    }
    if let Some(count) = expected.merged.filter(|count| *count != came.merged) {
        found.push(format!("{count} of its children should be merged into another, {} are", came.merged));
    }
    // What the viewer was sent is compared by its messages.
    let others: BTreeSet<String> = came.destinations.iter().filter(|name| *name != VIEWER).cloned().collect();
    if let Some(told) = expected.destinations.as_ref().filter(|told| **told != others) {
        found.push(format!("told should be {told:?}, is {others:?}"));
    }
    if let Some(told) = expected.viewer.as_ref().filter(|told| **told != came.viewer) {
        found.push(format!("the viewer should be sent {told:?}, is {:?}", came.viewer));
    }
    found.extend(came.undelivered.iter().map(|debt| format!("not delivered: {debt}")));
    for (destination, rule) in expected.withheld.iter().flatten() {
        let is = came.withheld.get(destination).map_or("nothing", String::as_str);
        if is != rule {
            found.push(format!("withheld from {destination} should be {rule}, is {is}"));
        }
    }
    if let Some(code) = expected.finding.as_ref().filter(|code| !came.findings.contains(*code)) {
        found.push(format!("finding {code} is missing; there are {:?}", came.findings));
    }
    if let Some(part) = &expected.child {
        missing(part, &came.record, "child", &mut found);
    }
    found
}

/// What of `part` is not in `whole`. A list holds another when each of its items is somewhere in it.
fn missing(part: &Value, whole: &Value, path: &str, found: &mut Vec<String>) {
    match (part, whole) {
        (Value::Object(fields), _) => {
            for (key, value) in fields {
                missing(value, whole.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(items), Value::Array(there)) => {
            let is_there = |item: &Value| {
                there.iter().any(|candidate| {
                    let mut lacks = Vec::new();
                    missing(item, candidate, "", &mut lacks);
                    lacks.is_empty()
                })
            };
            found.extend(items.iter().filter(|item| !is_there(item)).map(|item| format!("{path} lacks {item}, has {whole}")));
        }
        (part, whole) if part == whole => {}
        (part, whole) => found.push(format!("{path} should be {part}, is {whole}")),
    }
}

fn parents_record(at: SocketAddr) -> Kind {
    Kind::Fhir {
        base: format!("http://{at}"),
        profile: Profile::ParentRecord,
        ca_file: None,
        certificate_file: None,
        key_file: None,
        timeout_s: None,
        concurrency: None,
        oauth2: None,
    }
}

/// The viewer's name among the destinations.
const VIEWER: &str = "viewer";

fn viewer_at(at: SocketAddr) -> Kind {
    Kind::Mllp(MllpConfig {
        address: at.to_string(),
        ca_file: None,
        certificate_file: None,
        key_file: None,
        plain: false,
        ack_timeout_s: None,
        window: None,
        sender: None,
        receiver: None,
        processing_id: None,
        hl7_version: None,
        templates: None,
        clear: false,
    })
}

/// A viewer on a real socket that takes every message, and the types of what it took.
async fn open_viewer(closing: CancellationToken) -> Result<(SocketAddr, Arc<Mutex<Vec<String>>>), Failure> {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let types = Arc::clone(&told);
    let tell = move |message: listen::Seen| types.lock().unwrap_or_else(PoisonError::into_inner).push(message.kind);
    let receiver = listen::Receiver::new(listen::Conduct::default(), Arc::new(tell), closing)?;
    Ok((receiver.open_mllp(SocketAddr::from(([127, 0, 0, 1], 0))).await?, told))
}

/// A parents' record on a real socket that takes every transaction.
async fn open_parents_record(told: Arc<AtomicUsize>, closing: CancellationToken) -> Result<SocketAddr, Failure> {
    let failed = |error: std::io::Error| Failure::new(exit::SYSTEM, format!("the demo's parents' record cannot be opened: {error}"));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    let take = move |_body: axum::body::Bytes| {
        told.fetch_add(1, Ordering::AcqRel);
        async { ([("content-type", "application/fhir+json")], r#"{"resourceType":"Bundle","type":"transaction-response"}"#) }
    };
    let router = axum::Router::new().fallback(take);
    tokio::spawn(async move {
        let _ends_with_the_demo = axum::serve(listener, router).with_graceful_shutdown(closing.cancelled_owned()).await;
    });
    Ok(at)
}

/// A folder that goes away with the demo.
pub(super) struct Folder {
    /// Where.
    pub path: PathBuf,
}

impl Folder {
    /// Makes one.
    pub fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("chis-broker-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path)
            .map_err(|error| Failure::new(exit::CANNOT_CREATE, format!("{} cannot be made: {error}", path.display())))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for temporary files and will be with the rest.
        let _left_behind = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(part: Value, whole: Value) -> Vec<String> {
        let mut found = Vec::new();
        missing(&part, &whole, "child", &mut found);
        found
    }

    #[test]
    fn a_part_of_a_record_is_found_in_any_order_and_nothing_else_is_asked() {
        let whole = json!({ "names": [{ "family": "A", "use": "usual" }, { "family": "B" }], "sex": "2", "birth": { "weight_g": 3420 } });
        assert_eq!(lacks(json!({ "names": [{ "family": "B" }, { "family": "A" }], "birth": {} }), whole.clone()), Vec::<String>::new());
        assert_eq!(lacks(json!({ "sex": "1" }), whole.clone()), ["child.sex should be \"1\", is \"2\""]);
        assert_eq!(lacks(json!({ "names": [{ "family": "C" }] }), whole.clone()).len(), 1);
        assert_eq!(lacks(json!({ "death": { "status": "x" } }), whole), ["child.death.status should be \"x\", is null"]);
    }

    #[test]
    fn every_sample_says_what_must_come_of_it() {
        let samples = samples().unwrap();
        assert!(samples.iter().all(|sample| sample.expected.answer.is_some() && sample.expected.standing.is_some()));
    }

    #[test]
    fn only_what_is_expected_is_compared() {
        let came = Came { answer: "AA".into(), standing: "filed".into(), hub: "SE".into(), ..Came::default() };
        let expected = |text: &str| serde_json::from_str::<Expected>(text).unwrap();
        assert_eq!(differences(&expected("{}"), &came), Vec::<String>::new());
        assert_eq!(differences(&expected(r#"{"answer":"AA","hub":"NE"}"#), &came), ["hub should be NE, is SE"]);
        assert_eq!(
            differences(&expected(r#"{"withheld":{"e-redbook":"hold-back"}}"#), &came),
            ["withheld from e-redbook should be hold-back, is nothing"]
        );
    }
}
