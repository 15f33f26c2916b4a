//! Hubs on the admin door and in the commands: who is responsible since when, movers, births, decisions by hand, jobs.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{Broker, act, look, query, read, refusal, respond};
use super::mask;
use super::views::{Sight, ViewError, json as shown, no_child};
use crate::clock;
use crate::names::{ChildId, HubName};
use crate::store::{AssignAct, LedgerReader};

/// After so many hours a birth of which one side has not told is late, and overdue (failsafe rules: BIRTH_NOTIF).
pub const BIRTH_HOURS: (i64, i64) = (36, 72);

/// Who was responsible for a child, oldest first.
pub fn history(reader: &LedgerReader, child: ChildId, sight: Sight) -> Result<Value, ViewError> {
    reader.child(child)?.ok_or_else(|| no_child(child))?;
    let mut periods = shown(&reader.hub_history(child)?)?;
    if sight == Sight::Masked {
        // The time of an event may be an hour of birth.
        mask::hide(&mut periods, &["from", "to"]);
    }
    Ok(json!({ "child": child.to_string(), "hubs": periods }))
}

/// Children that moved and that nobody has yet; with `since`, those too that were taken on after it.
pub fn movers(reader: &LedgerReader, hub: Option<&str>, since: Option<&str>) -> Result<Value, ViewError> {
    let since = since.map(|since| day(since)?.to_zoned(london()).map_err(|error| ViewError::Asked(error.to_string()))).transpose()?;
    shown(&reader.movers(hub, since.map(|since| since.timestamp()))?)
}

/// The births list of a hub's day, as it was sent.
pub fn births(reader: &LedgerReader, hub: &str, of: &str, sight: Sight) -> Result<Value, ViewError> {
    let of = day(of)?.to_string();
    let missing = || {
        ViewError::Missing(format!(
            "there is no births list of {hub} for {of}; the day may not have ended, or the broker was not there yet"
        ))
    };
    let mut list = shown(&reader.births_list(hub, &of)?.ok_or_else(missing)?)?;
    if sight == Sight::Masked {
        mask::mask(&mut list, &["day", "hub", "made", "section", "child", "basis", "status"]);
    }
    Ok(list)
}

/// Births of which only one side told, with how late the other is, and how many by site.
pub fn birth_account(reader: &LedgerReader, of: Option<&str>, hub: Option<&str>, now: Timestamp) -> Result<Value, ViewError> {
    let number = |day: jiff::civil::Date| i64::from(day.year()) * 10_000 + i64::from(day.month()) * 100 + i64::from(day.day());
    let of = of.map(day).transpose()?.map(number);
    let mut rows = reader.birth_account(of)?;
    rows.retain(|row| hub.is_none_or(|hub| row.hub == hub));
    let mut sites: std::collections::BTreeMap<(String, String), [usize; 3]> = std::collections::BTreeMap::new();
    for row in &mut rows {
        let since = row.since.parse::<Timestamp>().unwrap_or(now);
        row.hours = now.duration_since(since).as_hours().max(0);
        let late = match row.hours {
            hours if hours < BIRTH_HOURS.0 => 0,
            hours if hours < BIRTH_HOURS.1 => 1,
            _ => 2,
        };
        row.state = ["waiting", "late", "overdue"].get(late).copied().unwrap_or_default().to_owned();
        if let Some(count) = sites.entry((row.site.clone(), row.told_by.clone())).or_default().get_mut(late) {
            *count += 1;
        }
    }
    let sites: Vec<Value> = sites
        .into_iter()
        .map(|((site, told_by), [waiting, late, overdue])| {
            json!({ "site": site, "told_by": told_by, "waiting": waiting, "late": late, "overdue": overdue })
        })
        .collect();
    Ok(json!({ "births": shown(&rows)?, "sites": sites, "late_after_hours": BIRTH_HOURS.0, "overdue_after_hours": BIRTH_HOURS.1 }))
}

/// Jobs, the newest first.
pub fn jobs(reader: &LedgerReader) -> Result<Value, ViewError> {
    shown(&reader.jobs()?)
}

fn day(text: &str) -> Result<jiff::civil::Date, ViewError> {
    text.parse().map_err(|_| ViewError::Asked("the day is written 2026-01-05".into()))
}

fn london() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::get("Europe/London").unwrap_or(jiff::tz::TimeZone::UTC)
}

pub(super) fn routes() -> Router<Broker> {
    Router::new()
        .route("/api/v1/children/{child}/hubs", get(history_of))
        .route("/api/v1/children/{child}/hub", post(assign))
        .route("/api/v1/children/{child}/taken", post(taken))
        .route("/api/v1/movers", get(movers_of))
        .route("/api/v1/births", get(births_of))
        .route("/api/v1/reconcile/births", get(account_of))
        .route("/api/v1/hubs/reassign", get(plan).post(reassign))
        .route("/api/v1/jobs", get(jobs_of))
        .route("/api/v1/jobs/{job}/{verb}", post(steer))
}

async fn history_of(State(broker): State<Broker>, Path(child): Path<uuid::Uuid>, headers: HeaderMap) -> Response {
    let what = format!("hubs of child {child}");
    look(broker, headers, what, move |reader, sight, _| history(reader, ChildId(child), sight)).await
}

fn pairs(uri: &Uri) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs = query(uri);
    move |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

async fn movers_of(State(broker): State<Broker>, uri: Uri) -> Response {
    let of = pairs(&uri);
    read(broker, move |reader, _| movers(reader, of("hub").as_deref(), of("since").as_deref())).await
}

async fn births_of(State(broker): State<Broker>, uri: Uri, headers: HeaderMap) -> Response {
    let of = pairs(&uri);
    let (hub, day) = (of("hub").unwrap_or_default(), of("day").unwrap_or_default());
    let what = format!("births list of {hub} for {day}");
    look(broker, headers, what, move |reader, sight, _| births(reader, &hub, &day, sight)).await
}

async fn account_of(State(broker): State<Broker>, uri: Uri) -> Response {
    let of = pairs(&uri);
    read(broker, move |reader, _| birth_account(reader, of("day").as_deref(), of("hub").as_deref(), clock::now())).await
}

async fn jobs_of(State(broker): State<Broker>) -> Response {
    read(broker, |reader, _| jobs(reader)).await
}

/// A decision by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assign {
    /// None clears.
    hub: Option<String>,
    from: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    reason: String,
}

async fn assign(State(broker): State<Broker>, Path(child): Path<uuid::Uuid>, body: Bytes) -> Response {
    let asked = serde_json::from_slice::<Assign>(&body).ok().filter(|asked| asked.dry_run || !asked.reason.trim().is_empty());
    let Some(asked) = asked else {
        let text = "the body is {\"hub\": \"NE\" or null, \"from\": \"2026-01-05\", \"dry_run\": false, \"reason\": \"…\"}, and the reason is not empty";
        return refusal(StatusCode::BAD_REQUEST, text, 64);
    };
    let done = tokio::task::spawn_blocking(move || {
        let from = asked.from.as_deref().map(day).transpose()?;
        let act = AssignAct { child: ChildId(child), hub: asked.hub.map(HubName::new), from, dry_run: asked.dry_run };
        shown(&broker.assign(act, asked.reason.trim())?)
    });
    respond(done.await)
}

/// Who has a child now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Taken {
    by: String,
    reason: String,
}

async fn taken(State(broker): State<Broker>, Path(child): Path<uuid::Uuid>, body: Bytes) -> Response {
    let said = serde_json::from_slice::<Taken>(&body).ok().filter(|said| !said.by.trim().is_empty() && !said.reason.trim().is_empty());
    let Some(said) = said else {
        return refusal(StatusCode::BAD_REQUEST, "the body is {\"by\": \"…\", \"reason\": \"…\"}, and neither is empty", 64);
    };
    let done = tokio::task::spawn_blocking(move || match broker.taken(ChildId(child), said.by.trim(), said.reason.trim())? {
        true => Ok(json!({ "child": child.to_string(), "taken_by": said.by.trim() })),
        false => Err(ViewError::Missing(format!("child {child} is no mover that waits for somebody; `hub movers` lists them"))),
    });
    respond(done.await)
}

async fn plan(State(broker): State<Broker>) -> Response {
    respond(tokio::task::spawn_blocking(move || shown(&broker.reassign_plan()?)).await)
}

async fn reassign(State(broker): State<Broker>, body: Bytes) -> Response {
    act(broker, &body, |broker, reason| broker.reassign(reason).map(|job| json!({ "job": job }))).await
}

async fn steer(State(broker): State<Broker>, Path((job, verb)): Path<(i64, String)>, body: Bytes) -> Response {
    let state = match verb.as_str() {
        "pause" => "paused",
        "resume" => "running",
        "cancel" => "cancelled",
        _ => return refusal(StatusCode::NOT_FOUND, "a job can be told: pause, resume, cancel", 66),
    };
    act(broker, &body, move |broker, reason| {
        let missing = crate::store::StoreError { text: format!("job {job} is not under way; `jobs list` shows them"), exit: 66 };
        if broker.steer_job(job, state, reason)? { Ok(json!({ "job": job, "state": state })) } else { Err(missing) }
    })
    .await
}
