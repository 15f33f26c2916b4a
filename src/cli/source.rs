//! Where reading commands read: the ledger of a data folder, live or at rest, or a running broker's admin door.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::From;
use super::due::DueQuery;
use super::hubs::HubQuery;
use super::{Failure, diagnostics, exit, output, send};
use crate::broker::failsafe::Watching;
use crate::clock;
use crate::config::{self, Arguments, Settings};
use crate::console::REVEAL_HEADER;
use crate::console::identity::{self, Asked};
use crate::console::sight::{Rights, Sight};
use crate::console::views;
use crate::mapping::Diagnostic;
use crate::names::{ChildId, Seq};
use crate::routing::Directory;
use crate::store::{EntryFilter, LedgerReader};

/// Where to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The ledger itself.
    Ledger(PathBuf, Beside),
    /// The admin door.
    Admin(String),
}

/// What stands beside a ledger: hubs and rules, as the configuration names them; those inside the program where only a folder was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    config: Option<PathBuf>,
}

impl Beside {
    /// The hubs.
    pub fn directory(&self) -> Result<Directory, Failure> {
        directory(&settings(self.config.as_deref())?)
    }

    /// The hubs and the rules of the failsafe.
    pub fn watching(&self) -> Result<Watching, Failure> {
        let settings = settings(self.config.as_deref())?;
        let rules = config::failsafe(&settings).map_err(|errors| unusable(&errors))?;
        Ok(Watching::of(rules, directory(&settings)?, settings.stores()))
    }
}

/// What to read.
#[derive(Clone, Debug)]
pub enum Query {
    /// A list of entries.
    Entries(EntryFilter),
    /// One entry with its body.
    Entry(i64),
    /// What became of one.
    Trace(i64),
    /// Where its values came from.
    Explain(i64, String),
    /// One document of an entry, from 1.
    Document(i64, usize),
    /// One child.
    Child(uuid::Uuid),
    /// Why its record says what it says: a field or its beginning, empty for all.
    Why(uuid::Uuid, String),
    /// The child protection facts of one.
    Safeguarding(uuid::Uuid),
    /// Children by an identifier.
    Find(String),
    /// Codes that no table knows: of a table, from a source.
    Misses(Option<String>, Option<String>),
    /// What waits for a person.
    Held,
    /// What a person must decide of identity: everybody's, or a role's.
    Identity(Option<String>),
    /// One of that with who could be meant, or with one child.
    IdentityItem(Asked, Option<ChildId>),
    /// The account.
    Reconcile(Option<String>, Option<String>),
    /// About hubs.
    Hubs(HubQuery),
    /// What is late or near.
    Due(DueQuery),
}

impl Source {
    /// As the arguments say; without any, the data folder of the defaults and the environment.
    pub fn of(from: &From) -> Result<Self, Failure> {
        match (&from.data, &from.admin) {
            (Some(data), _) => Ok(Self::Ledger(data.clone(), Beside::default())),
            (_, Some(admin)) => Ok(Self::Admin(admin.trim_end_matches('/').to_owned())),
            (None, None) => Ok(Self::Ledger(settings(from.config.as_deref())?.store.data, Beside { config: from.config.clone() })),
        }
    }

    /// Asks. With `reveal` what messages say is shown, and the reason is written down before anything is read.
    pub fn ask(&self, query: &Query, reveal: Option<&str>) -> Result<Value, Failure> {
        self.ask_as(query, reveal, Rights::default())
    }

    /// Asks with rights of their own too; each is written down by its name. Without a reason there are none.
    pub fn ask_as(&self, query: &Query, reveal: Option<&str>, rights: Rights) -> Result<Value, Failure> {
        if reveal.is_some_and(|reason| reason.trim().is_empty()) {
            return Err(Failure::new(exit::USAGE, "--reveal needs a reason"));
        }
        match self {
            Self::Ledger(data, beside) => ask_ledger((data, beside), query, reveal, rights),
            Self::Admin(base) => ask_admin(base, query, reveal, rights),
        }
    }
}

/// Settings that a broker would take too, with what it would warn of; else every mistake is said. Who writes into a ledger asks for these:
/// a destination that is left out for a mistake would not be told.
pub fn usable(file: Option<&Path>, arguments: &Arguments) -> Result<(Settings, Vec<Diagnostic>), Failure> {
    Settings::load(file, &config::environment(), arguments).accept().map_err(|unusable| {
        super::say(&diagnostics::render(&unusable.diagnostics, &unusable.texts, output::is_stderr_coloured()));
        Failure::new(unusable.exit, "the configuration cannot be used")
    })
}

/// The hubs and directories that settings name.
pub fn directory(settings: &Settings) -> Result<Directory, Failure> {
    config::directory(settings).map_err(|errors| unusable(&errors))
}

pub(super) fn unusable(errors: &[impl ToString]) -> Failure {
    Failure::new(exit::CONFIG, errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Settings of a file, for their data folder and their stores. Mistakes elsewhere in the file do not keep anybody from reading.
pub fn settings(file: Option<&Path>) -> Result<Settings, Failure> {
    let loaded = Settings::load(file, &config::environment(), &Arguments::default());
    if loaded.exit == config::EXIT_NO_INPUT {
        super::say(&diagnostics::render(&loaded.diagnostics, &loaded.texts, output::is_stderr_coloured()));
        return Err(Failure::new(loaded.exit, "the configuration file cannot be read"));
    }
    Ok(loaded.settings)
}

fn ask_ledger((data, beside): (&Path, &Beside), query: &Query, reveal: Option<&str>, rights: Rights) -> Result<Value, Failure> {
    let reader = open(data)?;
    let sight = reveal.map_or(Sight::Masked, |_| Sight::Revealed(rights));
    for (_, words) in sight.audited() {
        write_down(data, &format!("{}{words}", subject(query)), reveal.unwrap_or_default())?;
    }
    let value = match query {
        Query::Entries(filter) => views::entries(&reader, filter, &|_| None, sight),
        Query::Entry(seq) => views::entry(&reader, Seq(*seq), &|_| None, sight),
        Query::Trace(seq) => views::trace(&reader, Seq(*seq), &|_| None, sight),
        Query::Explain(seq, field) => views::explain(&reader, Seq(*seq), field, &|_| None, sight),
        Query::Document(seq, number) => views::document(&reader, Seq(*seq), *number, &|_| None, sight),
        Query::Child(child) => views::child(&reader, ChildId(*child), &|_| None, sight),
        Query::Why(child, field) => views::why(&reader, ChildId(*child), field, &|_| None, sight),
        Query::Safeguarding(child) => views::safeguarding(&reader, ChildId(*child), sight),
        Query::Find(identifier) => views::find(&reader, identifier),
        Query::Misses(table, source) => views::table_misses(&reader, table.as_deref(), source.as_deref()),
        Query::Held => views::held(&reader, &|_| None, sight),
        Query::Identity(role) => identity::list(&reader, role.as_deref(), &|_| None, sight),
        Query::IdentityItem(asked, with) => identity::show(&reader, *asked, *with, &|_| None, sight),
        Query::Reconcile(day, source) => views::reconcile(&reader, day.as_deref(), source.as_deref()),
        Query::Hubs(query) => return query.ask(&reader, sight, beside),
        Query::Due(query) => return query.ask(&reader, sight, beside),
    };
    Ok(value?)
}

/// The ledger of a folder; where there is none, says how to name another.
///
/// # Errors
///
/// There is none, or it cannot be read.
pub fn open(data: &Path) -> Result<LedgerReader, Failure> {
    LedgerReader::open(data).map_err(|error| match error.exit {
        exit::MISSING => {
            let ways = "name the folder with --data DIR or the broker's configuration with --config FILE, or ask the running broker with --admin URL";
            Failure::new(error.exit, format!("{}; {ways}", error.text))
        }
        _ => Failure::from(error),
    })
}

fn subject(query: &Query) -> String {
    match query {
        Query::Entry(seq) | Query::Trace(seq) | Query::Explain(seq, _) => format!("message {seq}"),
        Query::Document(seq, number) => format!("document {number} of message {seq}"),
        Query::Child(child) | Query::Why(child, _) | Query::Safeguarding(child) => format!("child {child}"),
        Query::Held => "held list".to_owned(),
        Query::Hubs(query) => query.subject(),
        Query::Due(query) => query.subject(),
        Query::IdentityItem(asked, _) => format!("identity {asked}"),
        Query::Identity(_) | Query::Entries(_) | Query::Find(_) | Query::Misses(..) | Query::Reconcile(..) => "listing".to_owned(),
    }
}

/// Who read the ledger's folder directly, what, and why: `audit/reveal.jsonl` beside the ledger. What cannot be written
/// down is not shown. (A running broker keeps the audit of its admin door in the ledger itself, which only it may write.)
pub fn write_down(data: &Path, what: &str, reason: &str) -> Result<(), Failure> {
    let folder = data.join("audit");
    let refused = |error: std::io::Error| {
        let text = format!(
            "nothing is revealed that cannot be written down in {}: {error}; ask the running broker with --admin, or run this as the broker's user",
            folder.display()
        );
        Failure::new(77, text)
    };
    std::fs::create_dir_all(&folder).map_err(refused)?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("reveal.jsonl")).map_err(refused)?;
    let who = who();
    let line = json!({ "at": clock::now().to_string(), "who": who, "what": what, "reason": reason.trim() });
    file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data()).map_err(refused)
}

/// The login name of whoever asks, also behind sudo; empty where the system does not tell.
pub(super) fn who() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_default()
}

fn ask_admin(base: &str, query: &Query, reveal: Option<&str>, rights: Rights) -> Result<Value, Failure> {
    let get = |path: String| Request { reveal: reveal.map(str::to_owned), rights, ..Request::get(path) };
    let request = match query {
        Query::Entries(filter) => get(format!("/api/v1/entries?{}", pairs(filter))),
        Query::Entry(seq) => get(format!("/api/v1/entries/{seq}")),
        Query::Trace(seq) => get(format!("/api/v1/entries/{seq}/trace")),
        Query::Explain(seq, field) => get(format!("/api/v1/entries/{seq}/explain?{}", encoded(&[("field", Some(field.clone()))]))),
        Query::Document(seq, number) => get(format!("/api/v1/entries/{seq}/documents/{number}")),
        Query::Child(child) => get(format!("/api/v1/children/{child}")),
        Query::Why(child, field) => get(format!("/api/v1/children/{child}/why?{}", encoded(&[("field", Some(field.clone()))]))),
        Query::Safeguarding(child) => get(format!("/api/v1/children/{child}/safeguarding")),
        Query::Find(identifier) => Request::post("/api/v1/children/find", json!({ "identifier": identifier })),
        Query::Misses(table, source) => {
            get(format!("/api/v1/tables/misses?{}", encoded(&[("table", table.clone()), ("source", source.clone())])))
        }
        Query::Held => get("/api/v1/held".into()),
        Query::Hubs(query) => get(query.path()),
        Query::Due(query) => get(query.path()),
        Query::Identity(role) => get(format!("/api/v1/identity?{}", encoded(&[("role", role.clone())]))),
        Query::IdentityItem(asked, with) => {
            get(format!("/api/v1/identity/{asked}?{}", encoded(&[("with", with.map(|child| child.to_string()))])))
        }
        Query::Reconcile(day, source) => get(format!("/api/v1/reconcile?{}", encoded(&[("day", day.clone()), ("source", source.clone())]))),
    };
    call(base, &request)
}

fn pairs(filter: &EntryFilter) -> String {
    let EntryFilter { source, standing, kind, limit, before } = filter.clone();
    encoded(&[
        ("source", source),
        ("standing", standing),
        ("kind", kind),
        ("limit", limit.map(|limit| limit.to_string())),
        ("before", before.map(|before| before.to_string())),
    ])
}

/// A query of these pairs.
pub fn encoded(pairs: &[(&str, Option<String>)]) -> String {
    let Ok(mut url) = reqwest::Url::parse("http://localhost/") else { return String::new() };
    let said = pairs.iter().filter_map(|(key, value)| value.as_ref().map(|value| (*key, value.as_str())));
    url.query_pairs_mut().extend_pairs(said);
    url.query().unwrap_or_default().to_owned()
}

/// One question to an admin door.
pub struct Request {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// JSON, for `POST`.
    pub body: Option<Value>,
    /// Why values are to be shown.
    pub reveal: Option<String>,
    /// What else is to be shown.
    pub rights: Rights,
}

impl Request {
    /// A question without values.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: None, reveal: None, rights: Rights::default() }
    }

    /// An act.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: "POST", path: path.into(), body: Some(body), reveal: None, rights: Rights::default() }
    }
}

/// Asks the admin door at `base`; its refusals become failures with its exit code.
pub fn call(base: &str, request: &Request) -> Result<Value, Failure> {
    let (status, text) = call_text(base, request)?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|_| Failure::new(exit::UNREACHABLE, format!("{base} answered something that is no admin door (HTTP {status})")))?;
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let code = value.get("exit").and_then(Value::as_u64).and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::UNREACHABLE);
    Err(Failure::new(code, value.get("error").and_then(Value::as_str).unwrap_or("the admin door refused").to_owned()))
}

/// Asks the admin door at `base`: status and text.
pub fn call_text(base: &str, request: &Request) -> Result<(u16, String), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::SYSTEM, error.to_string()))?;
    runtime.block_on(async {
        let base = base.trim_end_matches('/');
        let url = reqwest::Url::parse(&format!("{base}{}", request.path))
            .map_err(|_| Failure::new(exit::USAGE, format!("{base} is no URL; write http://127.0.0.1:9464")))?;
        let client = send::client(Duration::from_secs(60))?;
        let mut asked = if request.method == "POST" { client.post(url) } else { client.get(url) };
        if let Some(body) = &request.body {
            asked = asked.json(body);
        }
        if let Some(reason) = &request.reveal {
            let reason = reqwest::header::HeaderValue::from_bytes(reason.trim().as_bytes())
                .map_err(|_| Failure::new(exit::USAGE, "a reason is one line of text"))?;
            asked = asked.header(REVEAL_HEADER, reason);
        }
        for right in request.rights.named().iter().filter(|_| request.reveal.is_some()) {
            asked = asked.header(right.header, "yes");
        }
        let unreachable = |error: reqwest::Error| {
            let text = format!(
                "no broker answers at {base} ({}); start it, name its address with --admin, or read its folder with --data",
                plain(&error)
            );
            Failure::new(exit::UNREACHABLE, text)
        };
        let response = asked.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.map_err(unreachable)?))
    })
}

fn plain(error: &reqwest::Error) -> &'static str {
    match (error.is_timeout(), error.is_connect()) {
        (true, _) => "it takes too long",
        (false, true) => "no connection",
        (false, false) => "the connection broke",
    }
}
