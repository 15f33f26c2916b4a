//! What people are asked of identity, as JSON and over the admin door: the list, both sides of a doubt beside each other, and acts.
//!
//! # What always holds
//!
//! - What is compared is said without a value: `agrees`, `differs`, `not compared`. Values are shown for a reason that is written down.
//! - A sealed record is nobody's candidate; what is said under its identifiers is in the list of its role alone.
//! - Of a message that came for child protection facts nothing is said but that it came: `restricted`.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{Broker, look, query, refusal, respond, told};
use super::mask;
use super::reading::Rereader;
use super::sight::{Gate, Rights, Sight};
use super::views::{Charset, RESTRICTED, ViewError, no_child};
use crate::canon::{Child, Identifier, Statement};
use crate::clock;
use crate::names::{ChildId, Seq};
use crate::store::{DeskAct, LedgerReader};

/// What is asked about: `12` is a held message, `item-3` something beside messages, a uuid a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A held message.
    Entry(i64),
    /// Something that was filed and should be looked at.
    Item(i64),
    /// A child.
    Child(ChildId),
}

impl std::str::FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is neither a message (12), nor an item (item-3), nor the id of a child");
        if let Some(item) = text.strip_prefix("item-") {
            return item.parse().map(Self::Item).map_err(|_| unknown());
        }
        let child = || text.parse().map(|uuid| Self::Child(ChildId(uuid))).map_err(|_| unknown());
        text.parse().map_or_else(|_| child(), |seq| Ok(Self::Entry(seq)))
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entry(seq) => seq.fmt(f),
            Self::Item(item) => write!(f, "item-{item}"),
            Self::Child(child) => child.fmt(f),
        }
    }
}

/// What waits for a person, and what waits by itself: everybody's, or with `role` that role's alone.
pub fn list(reader: &LedgerReader, role: Option<&str>, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let all = reader.identity_items(clock::now())?;
    let (mut mine, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|item| item.role.as_deref() == role);
    let roles: BTreeSet<String> = others.into_iter().filter_map(|item| item.role).collect();
    let mut gate = Gate::new(reader, charset, sight);
    for item in &mut mine {
        if gate.is_apart(item.seq)? {
            // What waits by itself waits for a child that nobody knows yet: that would be said of it.
            (item.kind, item.message) = (RESTRICTED.to_owned(), RESTRICTED.to_owned());
            (item.child, item.waits_until) = (None, None);
        }
    }
    let items = serde_json::to_value(&mine).map_err(|error| ViewError::Store(error.to_string(), 70))?;
    Ok(json!({ "items": items, "other_roles": roles }))
}

/// One of them with everybody who could be meant, each compared with what was said.
pub fn show(reader: &LedgerReader, asked: Asked, with: Option<ChildId>, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let mut gate = Gate::new(reader, charset, sight);
    let restricted = |seq: i64| Ok(json!({ "item": asked.to_string(), "seq": seq, "restricted": true, "candidates": [] }));
    let mut shown = match asked {
        Asked::Entry(seq) => {
            reader.entry(Seq(seq))?.ok_or_else(|| ViewError::Missing(format!("the ledger has no message {seq}")))?;
            if gate.is_apart(seq)? {
                return restricted(seq);
            }
            gate.is_open(Seq(seq))?;
            entry(reader, Seq(seq), charset, sight)?
        }
        Asked::Item(item) => {
            let missing = || ViewError::Missing(format!("no open item {item}; `identity list` shows what is"));
            let (seq, about) = reader.identity_item(item)?.ok_or_else(missing)?;
            if gate.is_apart(seq.0)? {
                return restricted(seq.0);
            }
            let mut shown = child(reader, about, sight)?;
            put(&mut shown, "seq", json!(seq.0));
            shown
        }
        Asked::Child(about) => child(reader, about, sight)?,
    };
    if let Some(with) = with {
        let said = said_of(reader, asked, charset)?;
        let view = record(reader, with, sight)?;
        let one = compared(&said, &view, &[], with, sight);
        put(&mut shown, "candidates", json!([one]));
    }
    put(&mut shown, "item", json!(asked.to_string()));
    Ok(shown)
}

fn put(value: &mut Value, key: &str, new: Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(key.to_owned(), new);
    }
}

/// What is compared: what a message said, or a record.
fn said_of(reader: &LedgerReader, asked: Asked, charset: Charset<'_>) -> Result<Child, ViewError> {
    // Whether it may be seen was decided before.
    let gated = Sight::Revealed(Rights { sealed: true, ..Rights::default() });
    Ok(match asked {
        Asked::Entry(seq) => statement(reader, Seq(seq), charset)?.child,
        Asked::Item(item) => match reader.identity_item(item)? {
            Some((_, child)) => record(reader, child, gated)?,
            None => Child::default(),
        },
        Asked::Child(child) => record(reader, child, gated)?,
    })
}

fn statement(reader: &LedgerReader, seq: Seq, charset: Charset<'_>) -> Result<Statement, ViewError> {
    let read = Rereader::new(reader, charset).reread(seq)?;
    let unread = || ViewError::Missing(format!("message {seq} says nothing of a child that could be read"));
    read.reading.statements.into_iter().next().ok_or_else(unread)
}

fn record(reader: &LedgerReader, child: ChildId, sight: Sight) -> Result<Child, ViewError> {
    if !sight.rights().sealed && reader.is_sealed(child)? {
        return Err(ViewError::Forbidden(format!("child {child} is sealed")));
    }
    let view = reader.child(child)?.ok_or_else(|| no_child(child))?;
    serde_json::from_value(view.record).map_err(|_| ViewError::Store("the record of a child cannot be read".to_owned(), 65))
}

fn entry(reader: &LedgerReader, seq: Seq, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let missing = || ViewError::Missing(format!("the ledger has no message {seq}"));
    let trace = reader.trace(seq)?.ok_or_else(missing)?;
    let said = statement(reader, seq, charset)?;
    let candidates = reader.candidates(&said)?;
    let candidates: Vec<Value> = candidates.iter().map(|one| compared(&said.child, &one.child, &one.found_by, one.id, sight)).collect();
    let findings = trace.findings.as_array().cloned().unwrap_or_default();
    let held = findings.iter().rev().find(|finding| finding.get("evidence").is_some());
    let part = |key: &str| held.and_then(|finding| finding.get(key)).cloned().unwrap_or_default();
    Ok(json!({
        "seq": seq.0,
        "kind": trace.entry.reason,
        "source": trace.entry.source,
        "message": trace.entry.kind,
        "why": part("text"),
        "evidence": part("evidence"),
        "waits_until": reader.waits_until(seq)?.map(|at| at.to_string()),
        "said": fields(&said.child, sight),
        "candidates": candidates,
    }))
}

/// A child with those of its birth and its likes, without itself.
fn child(reader: &LedgerReader, about: ChildId, sight: Sight) -> Result<Value, ViewError> {
    let own = record(reader, about, sight)?;
    let asked = Statement { child: own.clone(), ..Statement::default() };
    let others = reader.candidates(&asked)?.into_iter().filter(|one| one.id != about);
    let candidates: Vec<Value> = others.map(|one| compared(&own, &one.child, &one.found_by, one.id, sight)).collect();
    Ok(json!({ "child": about.to_string(), "said": fields(&own, sight), "candidates": candidates }))
}

fn compared(said: &Child, known: &Child, found_by: &[&str], id: ChildId, sight: Sight) -> Value {
    let both = parts(said).into_iter().zip(parts(known));
    let words: serde_json::Map<String, Value> = both
        .map(|((name, a), (_, b))| {
            let word = match (a.is_empty(), b.is_empty()) {
                (false, false) if a.iter().any(|value| b.contains(value)) => "agrees",
                (false, false) => "differs",
                _ => "not compared",
            };
            (name.to_owned(), json!(word))
        })
        .collect();
    let status = known.status.map(|status| serde_json::to_value(status).unwrap_or_default());
    let hub = known.hub.as_ref().map(|hub| hub.hub.as_str().to_owned());
    json!({ "child": id.to_string(), "status": status, "hub": hub, "found_by": found_by, "compared": words, "fields": fields(known, sight) })
}

/// What tells children apart, by name, ready to be compared.
fn parts(child: &Child) -> Vec<(&'static str, BTreeSet<String>)> {
    let id = |id: &Identifier| format!("{} {}", id.system, id.value);
    let is_number = |id: &&Identifier| id.nhs_number().is_some();
    let names = child.names.iter().filter(|name| !name.placeholder);
    let number = |value: Option<i64>| value.map(|value| value.to_string()).into_iter().collect();
    vec![
        ("NHS number", child.identifiers.iter().filter(is_number).map(|id| id.value.clone()).collect()),
        ("local identifiers", child.identifiers.iter().filter(|id| !is_number(id)).map(id).collect()),
        ("date of birth", child.birth.date.iter().map(|date| date.value.clone()).collect()),
        ("family name", names.clone().filter_map(|name| name.family.as_deref()).map(str::to_uppercase).collect()),
        ("given name", names.filter_map(|name| name.given.first()).map(|given| given.to_uppercase()).collect()),
        ("sex", child.sex.iter().filter_map(|sex| serde_json::to_value(sex).ok()?.as_str().map(str::to_owned)).collect()),
        ("postcode", child.home().and_then(|home| home.postcode.clone()).into_iter().collect()),
        ("birth order", number(child.birth.birth_order)),
        ("births", number(child.birth.births_in_confinement)),
        (
            "mother",
            child.relations.iter().filter(|relation| relation.is_mother()).flat_map(|mother| mother.identifiers.iter().map(id)).collect(),
        ),
    ]
}

fn fields(child: &Child, sight: Sight) -> Value {
    let mut fields: serde_json::Map<String, Value> = parts(child)
        .into_iter()
        .map(|(name, values)| (name.to_owned(), json!(values.into_iter().collect::<Vec<_>>().join(", "))))
        .collect();
    if sight.is_masked() {
        for value in fields.values_mut().filter(|value| value.as_str() != Some("")) {
            *value = json!(mask::HIDDEN);
        }
    }
    // Where a restricted child lives is for its hub alone (identity rules, section 9).
    if child.flags.is_restricted() && !sight.rights().location {
        fields.insert("postcode".to_owned(), json!(mask::HIDDEN));
    }
    Value::from(fields)
}

/// The routes of this page.
pub(super) fn routes() -> Router<Broker> {
    Router::new().route("/api/v1/identity", get(listed).post(decide)).route("/api/v1/identity/{item}", get(shown))
}

async fn listed(State(broker): State<Broker>, uri: Uri, headers: HeaderMap) -> Response {
    let role = query(&uri).into_iter().find(|(key, _)| key == "role").map(|(_, role)| role);
    look(broker, headers, "listing".to_owned(), move |reader, sight, broker| {
        list(reader, role.as_deref(), &|source| broker.charset(source), sight)
    })
    .await
}

async fn shown(State(broker): State<Broker>, Path(item): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = match item.parse::<Asked>() {
        Ok(asked) => asked,
        Err(text) => return refusal(StatusCode::BAD_REQUEST, &text, 64),
    };
    let with = query(&uri).into_iter().find(|(key, _)| key == "with").map(|(_, with)| with.parse().map(ChildId)).transpose();
    let Ok(with) = with else { return told(&ViewError::Asked("`with` is our id of a child".into())) };
    look(broker, headers, format!("identity {asked}"), move |reader, sight, broker| {
        show(reader, asked, with, &|source| broker.charset(source), sight)
    })
    .await
}

/// An act: what, why, and whether it is only tried.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    act: DeskAct,
    reason: String,
    #[serde(default)]
    trial: bool,
}

async fn decide(State(broker): State<Broker>, body: Bytes) -> Response {
    let order = serde_json::from_slice::<Order>(&body).ok().filter(|order| !order.reason.trim().is_empty());
    let Some(Order { act, reason, trial }) = order else {
        let text = "the body is {\"act\": {\"act\": \"link\", …}, \"reason\": \"…\", \"trial\": true}, and the reason is not empty";
        return refusal(StatusCode::BAD_REQUEST, text, 64);
    };
    let done = tokio::task::spawn_blocking(move || {
        let effect = broker.decide(act, reason.trim(), trial)?;
        serde_json::to_value(&effect).map_err(|error| ViewError::Store(error.to_string(), 70))
    });
    respond(done.await)
}
