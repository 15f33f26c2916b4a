//! The routes of the admin door.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Operations;
use super::due::{self, Asked};
use super::sight::{Rights, Sight};
use super::views::{self, ViewError};
use crate::broker::failsafe::Watching;
use crate::names::{ChildId, Seq};
use crate::observe;
use crate::store::{EntryFilter, LedgerReader, StoreError};

/// Carries the reason for which values are shown; without it they are masked.
pub const REVEAL_HEADER: &str = "x-reveal-reason";

/// Longest body of a request; a reason or an identifier needs no more.
const BODY_BYTES_MAX: usize = 16 * 1024;

pub(super) type Broker = Arc<dyn Operations>;

/// All routes of the admin door over `operations`.
pub fn router(operations: Arc<impl Operations>) -> Router {
    let broker: Broker = operations;
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/api/v1/entries", get(entries))
        .route("/api/v1/entries/{seq}", get(entry))
        .route("/api/v1/entries/{seq}/trace", get(trace))
        .route("/api/v1/entries/{seq}/explain", get(explain))
        .route("/api/v1/entries/{seq}/documents/{number}", get(document))
        .route("/api/v1/children/find", post(find))
        .route("/api/v1/children/{child}", get(child))
        .route("/api/v1/children/{child}/why", get(why))
        .route("/api/v1/children/{child}/safeguarding", get(safeguarding))
        .route("/api/v1/children/{child}/clocks", get(clocks))
        .route("/api/v1/children/{child}/clocks/{clock}/close", post(close_clock))
        .route("/api/v1/due", get(due_list))
        .route("/api/v1/held", get(held))
        .route("/api/v1/held/{seq}/release", post(release))
        .route("/api/v1/debts/{debt}/release", post(release_debt))
        .route("/api/v1/reviews/{review}/close", post(close_review))
        .route("/api/v1/tables/misses", get(table_misses))
        .route("/api/v1/tables/release", post(release_code))
        .route("/api/v1/reconcile", get(reconcile))
        .route("/api/v1/reload", post(reload))
        .merge(super::hubs::routes())
        .merge(super::identity::routes())
        .merge(super::receivers::routes())
        .fallback(async || refusal(StatusCode::NOT_FOUND, "no such page on the admin door", 66))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(only_this_machine))
        .with_state(broker)
}

/// A browser that shows somebody else's page must not reach us: neither under a name that was made to point here, nor across origins.
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // A browser names the page that asks; our own is the one at the very address that is asked.
    let is_ours = |origin: &header::HeaderValue| origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) == Some(host);
    if !is_this_machine(host) || request.headers().get(header::ORIGIN).is_some_and(|origin| !is_ours(origin)) {
        return refusal(StatusCode::FORBIDDEN, "the admin door answers programs on this machine only", 77);
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn readyz(State(broker): State<Broker>, uri: Uri) -> Response {
    let (checks, degraded) = match tokio::task::spawn_blocking(move || (broker.ready(), broker.degraded())).await {
        Ok(looked) => looked,
        Err(_) => return refusal(StatusCode::SERVICE_UNAVAILABLE, "the checks could not be made", 70),
    };
    let is_ready = checks.iter().all(|(_, outcome)| outcome.is_ok());
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_verbose = query(&uri).iter().any(|(key, _)| key == "verbose");
    let line = |(name, outcome): &(String, Result<(), String>)| match outcome {
        Ok(()) => format!("[+] {name}\n"),
        Err(what) => format!("[-] {name}: {what}\n"),
    };
    let lines: String = checks.iter().filter(|(_, outcome)| is_verbose || outcome.is_err()).map(line).collect();
    let lacks: String = degraded.iter().filter(|_| is_verbose).map(|what| format!("[!] {what}\n")).collect();
    let verdict = match (is_ready, degraded.is_empty()) {
        (true, true) => "ready\n",
        (true, false) => "ready, degraded\n",
        (false, _) => "not ready\n",
    };
    (status, format!("{lines}{lacks}{verdict}")).into_response()
}

async fn metrics() -> Response {
    match observe::metrics() {
        Ok(handle) => {
            handle.run_upkeep();
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
        }
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), 70),
    }
}

async fn version() -> Response {
    axum::Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") })).into_response()
}

async fn entries(State(broker): State<Broker>, uri: Uri, headers: HeaderMap) -> Response {
    let filter = match filter(&uri) {
        Ok(filter) => filter,
        Err(error) => return told(&error),
    };
    look(broker, headers, "listing".to_owned(), move |reader, sight, broker| {
        views::entries(reader, &filter, &|source| broker.charset(source), sight)
    })
    .await
}

fn filter(uri: &Uri) -> Result<EntryFilter, ViewError> {
    let mut filter = EntryFilter::default();
    for (key, value) in query(uri) {
        let number = || value.parse::<i64>().map_err(|_| ViewError::Asked(format!("`{key}` is a number")));
        match key.as_str() {
            "source" => filter.source = Some(value),
            "standing" => filter.standing = Some(value),
            "kind" => filter.kind = Some(value),
            "limit" => filter.limit = usize::try_from(number()?).ok(),
            "before" => filter.before = Some(number()?),
            _ => return Err(ViewError::Asked("known here: source, standing, kind, limit, before".into())),
        }
    }
    Ok(filter)
}

async fn entry(State(broker): State<Broker>, Path(seq): Path<i64>, headers: HeaderMap) -> Response {
    let what = format!("message {seq}");
    look(broker, headers, what, move |reader, sight, broker| views::entry(reader, Seq(seq), &|source| broker.charset(source), sight)).await
}

async fn trace(State(broker): State<Broker>, Path(seq): Path<i64>, headers: HeaderMap) -> Response {
    let what = format!("message {seq}");
    look(broker, headers, what, move |reader, sight, broker| views::trace(reader, Seq(seq), &|source| broker.charset(source), sight)).await
}

async fn explain(State(broker): State<Broker>, Path(seq): Path<i64>, uri: Uri, headers: HeaderMap) -> Response {
    let field = query(&uri).into_iter().find(|(key, _)| key == "field").map(|(_, field)| field).unwrap_or_default();
    let what = format!("message {seq}");
    look(broker, headers, what, move |reader, sight, broker| {
        views::explain(reader, Seq(seq), &field, &|source| broker.charset(source), sight)
    })
    .await
}

async fn document(State(broker): State<Broker>, Path((seq, number)): Path<(i64, usize)>, headers: HeaderMap) -> Response {
    let what = format!("document {number} of message {seq}");
    look(broker, headers, what, move |reader, sight, broker| {
        views::document(reader, Seq(seq), number, &|source| broker.charset(source), sight)
    })
    .await
}

async fn child(State(broker): State<Broker>, Path(child): Path<uuid::Uuid>, headers: HeaderMap) -> Response {
    let what = format!("child {child}");
    look(broker, headers, what, move |reader, sight, broker| views::child(reader, ChildId(child), &|source| broker.charset(source), sight))
        .await
}

async fn why(State(broker): State<Broker>, Path(child): Path<uuid::Uuid>, uri: Uri, headers: HeaderMap) -> Response {
    let field = query(&uri).into_iter().find(|(key, _)| key == "field").map(|(_, field)| field).unwrap_or_default();
    let what = format!("child {child}");
    look(broker, headers, what, move |reader, sight, broker| {
        views::why(reader, ChildId(child), &field, &|source| broker.charset(source), sight)
    })
    .await
}

async fn safeguarding(State(broker): State<Broker>, Path(child): Path<uuid::Uuid>, headers: HeaderMap) -> Response {
    let what = format!("child {child}");
    look(broker, headers, what, move |reader, sight, _| views::safeguarding(reader, ChildId(child), sight)).await
}

async fn due_list(State(broker): State<Broker>, uri: Uri, headers: HeaderMap) -> Response {
    let mut asked = Asked::default();
    for (key, value) in query(&uri) {
        match key.as_str() {
            "hub" => asked.hub = value,
            "day" => asked.day = Some(value),
            "clock" => asked.clock = Some(value),
            _ => return told(&ViewError::Asked("known here: hub, day, clock".into())),
        }
    }
    let what = format!("due list of hub {}", asked.hub);
    look(broker, headers, what, move |reader, sight, broker| due::list(reader, &watching(broker)?, &asked, sight)).await
}

async fn clocks(State(broker): State<Broker>, Path(child): Path<uuid::Uuid>, uri: Uri, headers: HeaderMap) -> Response {
    let clock = query(&uri).into_iter().find(|(key, _)| key == "clock").map(|(_, clock)| clock);
    let what = format!("clocks of child {child}");
    look(broker, headers, what, move |reader, sight, broker| {
        let asked = (ChildId(child), clock.as_deref());
        due::explain(reader, &watching(broker)?, asked, (&|source| broker.charset(source), sight), crate::clock::now())
    })
    .await
}

pub(super) fn watching(broker: &dyn Operations) -> Result<Watching, ViewError> {
    broker.watching().ok_or_else(|| ViewError::Missing("this broker has no failsafe".into()))
}

/// Ends a clock by hand; with `dry_run` only says how it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseClock {
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

async fn close_clock(State(broker): State<Broker>, Path((child, clock)): Path<(uuid::Uuid, String)>, body: Bytes) -> Response {
    let asked = serde_json::from_slice::<CloseClock>(&body).ok().filter(|asked| !asked.reason.trim().is_empty());
    let Some(asked) = asked else {
        return refusal(StatusCode::BAD_REQUEST, "the body is {\"reason\": \"…\", \"dry_run\": false}, and the reason is not empty", 64);
    };
    let done = tokio::task::spawn_blocking(move || {
        let was = broker.close_clock(ChildId(child), &clock, asked.reason.trim(), asked.dry_run)?;
        Ok(json!({ "child": child, "clock": clock, "was": was, "closed": !asked.dry_run }))
    });
    respond(done.await)
}

async fn held(State(broker): State<Broker>, headers: HeaderMap) -> Response {
    look(broker, headers, "held list".to_owned(), |reader, sight, broker| views::held(reader, &|source| broker.charset(source), sight))
        .await
}

async fn reconcile(State(broker): State<Broker>, uri: Uri) -> Response {
    let query = query(&uri);
    let of = move |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    read(broker, move |reader, _| views::reconcile(reader, of("day").as_deref(), of("source").as_deref())).await
}

async fn table_misses(State(broker): State<Broker>, uri: Uri) -> Response {
    let query = query(&uri);
    let of = move |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    read(broker, move |reader, _| views::table_misses(reader, of("table").as_deref(), of("source").as_deref())).await
}

/// A code comes in the body: it comes from messages, and addresses are logged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    table: String,
    code: String,
    reason: String,
}

async fn release_code(State(broker): State<Broker>, body: Bytes) -> Response {
    let code = serde_json::from_slice::<Code>(&body).ok().filter(|code| !code.reason.trim().is_empty());
    let Some(code) = code else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "the body is {\"table\": \"…\", \"code\": \"…\", \"reason\": \"…\"}, and the reason is not empty",
            64,
        );
    };
    let done = tokio::task::spawn_blocking(move || {
        let released = broker.release_code(&code.table, &code.code, code.reason.trim())?;
        serde_json::to_value(&released).map_err(|error| ViewError::Store(error.to_string(), 70))
    });
    respond(done.await)
}

/// An identifier comes in the body: addresses are logged by proxies and kept by shells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Find {
    identifier: String,
}

async fn find(State(broker): State<Broker>, body: Bytes) -> Response {
    let Ok(find) = serde_json::from_slice::<Find>(&body) else {
        return refusal(StatusCode::BAD_REQUEST, "the body is {\"identifier\": \"…\"}", 64);
    };
    read(broker, move |reader, _| views::find(reader, &find.identifier)).await
}

/// Every act by hand has a reason.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Because {
    reason: String,
}

async fn release(State(broker): State<Broker>, Path(seq): Path<i64>, body: Bytes) -> Response {
    act(broker, &body, move |broker, reason| broker.release(Seq(seq), reason).map(|()| json!({ "released": seq }))).await
}

async fn release_debt(State(broker): State<Broker>, Path(debt): Path<i64>, body: Bytes) -> Response {
    act(broker, &body, move |broker, reason| broker.release_debt(debt, reason).map(|()| json!({ "released": debt }))).await
}

async fn close_review(State(broker): State<Broker>, Path(review): Path<i64>, body: Bytes) -> Response {
    act(broker, &body, move |broker, reason| broker.close_review(review, reason).map(|()| json!({ "closed": review }))).await
}

async fn reload(State(broker): State<Broker>) -> Response {
    let folder = broker.mappings_folder();
    match tokio::task::spawn_blocking(move || broker.reload()).await {
        Ok(Ok(hash)) => axum::Json(json!({ "active": hash, "folder": folder })).into_response(),
        Ok(Err(mistakes)) => refusal(StatusCode::CONFLICT, &mistakes, 78),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the reload did not come to its end; the old bundle stays active", 70),
    }
}

pub(super) async fn act(
    broker: Broker,
    body: &[u8],
    act: impl FnOnce(&dyn Operations, &str) -> Result<Value, StoreError> + Send + 'static,
) -> Response {
    let because = serde_json::from_slice::<Because>(body).ok().filter(|because| !because.reason.trim().is_empty());
    let Some(because) = because else {
        return refusal(StatusCode::BAD_REQUEST, "the body is {\"reason\": \"…\"}, and the reason is not empty", 64);
    };
    let done = tokio::task::spawn_blocking(move || act(broker.as_ref(), because.reason.trim()).map_err(ViewError::from)).await;
    respond(done)
}

pub(super) async fn read(
    broker: Broker,
    view: impl FnOnce(&LedgerReader, &dyn Operations) -> Result<Value, ViewError> + Send + 'static,
) -> Response {
    let shown = tokio::task::spawn_blocking(move || view(&broker.reader()?, broker.as_ref())).await;
    respond(shown)
}

/// Reads something that may hold values of messages: masked, or in the audit under the reason given.
pub(super) async fn look(
    broker: Broker,
    headers: HeaderMap,
    what: String,
    view: impl FnOnce(&LedgerReader, Sight, &dyn Operations) -> Result<Value, ViewError> + Send + 'static,
) -> Response {
    let reason = headers.get(REVEAL_HEADER).map(|reason| String::from_utf8_lossy(reason.as_bytes()).trim().to_owned());
    if reason.as_deref() == Some("") {
        return refusal(StatusCode::BAD_REQUEST, "a reason for revealing is not empty", 64);
    }
    let rights = Rights::of(|right| headers.contains_key(right.header));
    let shown = tokio::task::spawn_blocking(move || {
        let sight = reason.as_ref().map_or(Sight::Masked, |_| Sight::Revealed(rights));
        for (act, _) in sight.audited() {
            broker.audit(act, &what, reason.as_deref().unwrap_or_default())?;
        }
        view(&broker.reader()?, sight, broker.as_ref())
    });
    respond(shown.await)
}

pub(super) fn respond(shown: Result<Result<Value, ViewError>, tokio::task::JoinError>) -> Response {
    match shown {
        Ok(Ok(value)) => axum::Json(value).into_response(),
        Ok(Err(error)) => told(&error),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the ledger could not be asked", 70),
    }
}

pub(super) fn told(error: &ViewError) -> Response {
    match error {
        ViewError::Missing(text) => refusal(StatusCode::NOT_FOUND, text, 66),
        ViewError::Asked(text) => refusal(StatusCode::BAD_REQUEST, text, 64),
        ViewError::Forbidden(text) => refusal(StatusCode::FORBIDDEN, text, 77),
        ViewError::Store(text, exit) if [69, 75].contains(exit) => refusal(StatusCode::SERVICE_UNAVAILABLE, text, *exit),
        ViewError::Store(text, exit) if [64, 66, 78].contains(exit) => refusal(StatusCode::CONFLICT, text, *exit),
        ViewError::Store(text, exit) => refusal(StatusCode::INTERNAL_SERVER_ERROR, text, *exit),
    }
}

/// What went wrong, and the exit code that a command ends with because of it.
pub(super) fn refusal(status: StatusCode, text: &str, exit: u8) -> Response {
    let body = json!({ "error": text, "exit": exit });
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(format!("{body}\n"))).into_response()
}

/// The pairs after `?`, decoded.
pub(super) fn query(uri: &Uri) -> Vec<(String, String)> {
    let Ok(url) = reqwest::Url::parse(&format!("http://localhost/?{}", uri.query().unwrap_or_default())) else { return Vec::new() };
    url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

#[cfg(test)]
mod tests;
