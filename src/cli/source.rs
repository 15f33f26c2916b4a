//! Where reading commands read: the ledger of a data folder, live or at rest, or a running broker's admin door.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::From;
use super::hubs::HubQuery;
use super::{Failure, diagnostics, exit, output, send};
use crate::clock;
use crate::config::{self, Arguments, Settings};
use crate::console::identity::{self, Asked};
use crate::console::views::{self, Sight};
use crate::console::{REVEAL_HEADER, SAFEGUARDING_HEADER, SEALED_HEADER};
use crate::names::{ChildId, Seq};
use crate::store::{EntryFilter, LedgerReader};

/// Where to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The ledger itself.
    Ledger(PathBuf),
    /// The admin door.
    Admin(String),
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
}

/// What is shown, and why.
#[derive(Clone, Copy)]
enum Right<'a> {
    /// Values out of messages.
    Reveal(&'a str),
    /// Values of a sealed record.
    Sealed(&'a str),
    /// Child protection facts too.
    Safeguarding(&'a str),
}

impl<'a> Right<'a> {
    fn reason(self) -> &'a str {
        match self {
            Self::Reveal(reason) | Self::Sealed(reason) | Self::Safeguarding(reason) => reason,
        }
    }
}

impl Source {
    /// As the arguments say; without any, the data folder of the defaults and the environment.
    pub fn of(from: &From) -> Result<Self, Failure> {
        match (&from.data, &from.admin) {
            (Some(data), _) => Ok(Self::Ledger(data.clone())),
            (_, Some(admin)) => Ok(Self::Admin(admin.trim_end_matches('/').to_owned())),
            (None, None) => Ok(Self::Ledger(settings(from.config.as_deref())?.store.data)),
        }
    }

    /// Asks. With `reveal` nothing is masked but child protection facts, and the reason is written down before anything is read.
    pub fn ask(&self, query: &Query, reveal: Option<&str>) -> Result<Value, Failure> {
        self.ask_as(query, reveal.map(Right::Reveal))
    }

    /// Asks for child protection facts too.
    pub fn ask_safeguarding(&self, query: &Query, reason: &str) -> Result<Value, Failure> {
        self.ask_as(query, Some(Right::Safeguarding(reason)))
    }

    /// Asks for a sealed record.
    pub fn ask_sealed(&self, query: &Query, reason: &str) -> Result<Value, Failure> {
        self.ask_as(query, Some(Right::Sealed(reason)))
    }

    fn ask_as(&self, query: &Query, right: Option<Right<'_>>) -> Result<Value, Failure> {
        if right.is_some_and(|right| right.reason().trim().is_empty()) {
            return Err(Failure::new(exit::USAGE, "--reveal needs a reason"));
        }
        match self {
            Self::Ledger(data) => ask_ledger(data, query, right),
            Self::Admin(base) => ask_admin(base, query, right),
        }
    }
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

fn ask_ledger(data: &Path, query: &Query, right: Option<Right<'_>>) -> Result<Value, Failure> {
    let reader = open(data)?;
    let sight = match right {
        Some(Right::Safeguarding(reason)) => {
            write_down(data, &format!("{}, child protection facts too", subject(query)), reason)?;
            Sight::Safeguarding
        }
        Some(Right::Sealed(reason)) => {
            write_down(data, &format!("{}, though sealed", subject(query)), reason)?;
            Sight::Sealed
        }
        Some(Right::Reveal(reason)) => {
            write_down(data, &subject(query), reason)?;
            Sight::Revealed
        }
        None => Sight::Masked,
    };
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
        Query::Identity(role) => identity::list(&reader, role.as_deref()),
        Query::IdentityItem(asked, with) => identity::show(&reader, *asked, *with, &|_| None, sight),
        Query::Reconcile(day, source) => views::reconcile(&reader, day.as_deref(), source.as_deref()),
        Query::Hubs(query) => query.ask(&reader, sight),
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
    let who = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_default();
    let line = json!({ "at": clock::now().to_string(), "who": who, "what": what, "reason": reason.trim() });
    file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data()).map_err(refused)
}

fn ask_admin(base: &str, query: &Query, right: Option<Right<'_>>) -> Result<Value, Failure> {
    let (safeguarding, sealed) = (matches!(right, Some(Right::Safeguarding(_))), matches!(right, Some(Right::Sealed(_))));
    let reveal = right.map(|right| right.reason().to_owned());
    let get = |path: String| Request { reveal: reveal.clone(), safeguarding, sealed, ..Request::get(path) };
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
    /// Child protection facts too.
    pub safeguarding: bool,
    /// Though the record is sealed.
    pub sealed: bool,
}

impl Request {
    /// A question without values.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: None, reveal: None, safeguarding: false, sealed: false }
    }

    /// An act.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: "POST", path: path.into(), body: Some(body), reveal: None, safeguarding: false, sealed: false }
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
        if request.safeguarding {
            asked = asked.header(SAFEGUARDING_HEADER, "yes");
        }
        if request.sealed {
            asked = asked.header(SEALED_HEADER, "yes");
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
