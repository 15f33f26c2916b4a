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

use super::admin::{Broker, act, look, query, read, refusal, respond, watching};
use super::mask;
use super::sight::{Gate, Sight, sealed};
use super::views::{Charset, ViewError, json as shown, no_child};
use crate::clock;
use crate::failsafe::Rules;
use crate::failsafe::day::{self, Length, Start};
use crate::names::{ChildId, HubName};
use crate::routing::Directory;
use crate::store::{AssignAct, LedgerReader};

/// The clock whose limits say when a birth of which one side has not told is late, and overdue.
const BIRTH_CLOCK: &str = "BIRTH_NOTIF";

/// The hub that is meant by `text`, in whatever case it was written.
pub(super) fn hub_of(directory: &Directory, text: &str) -> Result<HubName, ViewError> {
    let hubs: Vec<HubName> = directory.hubs().into_iter().map(|(hub, _)| hub).collect();
    let known = hubs.iter().find(|hub| hub.as_str().eq_ignore_ascii_case(text.trim())).cloned();
    known.ok_or_else(|| {
        let names: Vec<&str> = hubs.iter().map(HubName::as_str).collect();
        ViewError::Asked(format!("there is no hub {text:?}; one of: {}", names.join(", ")))
    })
}

/// Who was responsible for a child, oldest first.
pub fn history(reader: &LedgerReader, child: ChildId, charset: Charset<'_>, sight: Sight) -> Result<Value, ViewError> {
    let mut gate = Gate::new(reader, charset, sight);
    if gate.is_sealed(child)? {
        return Ok(sealed(child));
    }
    reader.child(child)?.ok_or_else(|| no_child(child))?;
    let mut periods = shown(&reader.hub_history(child)?)?;
    gate.forget(&mut periods)?;
    if sight.is_masked() {
        // The time of an event may be an hour of birth.
        mask::hide(&mut periods, &["from", "to"]);
    }
    Ok(json!({ "child": child.to_string(), "hubs": periods }))
}

/// Children that moved and that nobody has yet; with `since`, those too that were taken on after it.
pub fn movers(
    reader: &LedgerReader,
    directory: &Directory,
    (hub, since): (Option<&str>, Option<&str>),
    charset: Charset<'_>,
) -> Result<Value, ViewError> {
    let hub = hub.map(|hub| hub_of(directory, hub)).transpose()?;
    let since = since.map(of_day).transpose()?.map(day::start_of);
    let mut rows = shown(&reader.movers(hub.as_ref().map(HubName::as_str), since)?)?;
    Gate::new(reader, charset, Sight::Masked).forget(&mut rows)?;
    Ok(rows)
}

/// The births list of a hub's day, as it was sent; what it said of a child whose record was sealed since is hidden.
pub fn births(reader: &LedgerReader, directory: &Directory, (hub, of): (&str, &str), sight: Sight) -> Result<Value, ViewError> {
    let hub = hub_of(directory, hub)?;
    let of = of_day(of)?.to_string();
    let missing = || {
        ViewError::Missing(format!(
            "there is no births list of {hub} for {of}; the day may not have ended, or the broker was not there yet"
        ))
    };
    let mut list = shown(&reader.births_list(hub.as_str(), &of)?.ok_or_else(missing)?)?;
    let gate = Gate::new(reader, &|_| None, sight);
    for key in ["births", "unknown"] {
        for row in list.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            let child = row.get("child").and_then(Value::as_str).and_then(|child| child.parse().ok()).map(ChildId);
            let is_sealed = match child {
                Some(child) => gate.is_sealed(child)?,
                None => true,
            };
            if is_sealed {
                mask::mask(row, &["section", "child"]);
                row.as_object_mut().into_iter().for_each(|fields| drop(fields.insert("sealed".to_owned(), Value::Bool(true))));
            } else if let Some(child) = child
                && gate.hides_place_of(child)?
            {
                mask::hide(row, &["place", "postcode", "practice"]);
            }
        }
    }
    if sight.is_masked() {
        mask::mask(&mut list, &["day", "hub", "made", "section", "child", "basis", "status", "sealed"]);
    }
    Ok(list)
}

/// Births of which only one side told, with how late the other is, and how many by site. When it is late the rules say.
pub fn birth_account(
    reader: &LedgerReader,
    (rules, directory): (&Rules, &Directory),
    (of, hub): (Option<&str>, Option<&str>),
    now: Timestamp,
) -> Result<Value, ViewError> {
    // Children of whom nobody knows where they belong, or who live outside, are in this account too.
    let nobody = |text: &str| ["UNKNOWN", "OUT"].into_iter().find(|word| word.eq_ignore_ascii_case(text)).map(HubName::new);
    let hub = hub.map(|hub| nobody(hub).map_or_else(|| hub_of(directory, hub), Ok)).transpose()?;
    let number = |day: jiff::civil::Date| i64::from(day.year()) * 10_000 + i64::from(day.month()) * 100 + i64::from(day.day());
    let of = of.map(of_day).transpose()?.map(number);
    let mut rows = reader.birth_account(of)?;
    rows.retain(|row| hub.as_ref().is_none_or(|hub| row.hub == hub.as_str()));
    let (warn, breach) = rules.clocks.get(BIRTH_CLOCK).map_or((None, None), |rule| (rule.warn, rule.breach));
    let mut sites: std::collections::BTreeMap<(String, String), [usize; 3]> = std::collections::BTreeMap::new();
    for row in &mut rows {
        let since = row.since.parse::<Timestamp>().unwrap_or(now);
        row.hours = now.duration_since(since).as_hours().max(0);
        let start = Start { date: day::date_of(since), at: Some(since) };
        let is_late = warn.is_some_and(|warn| warn.opens(start, &rules.holidays) <= now);
        let is_overdue = breach.is_some_and(|breach| breach.ends(start, &rules.holidays) <= now);
        let late = if is_overdue { 2 } else { usize::from(is_late) };
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
    let (late_after, overdue_after) = (warn.and_then(hours), breach.and_then(hours));
    Ok(json!({ "births": shown(&rows)?, "sites": sites, "late_after_hours": late_after, "overdue_after_hours": overdue_after }))
}

/// A limit as hours, where it is so many.
fn hours(limit: Length) -> Option<i64> {
    match limit {
        Length::Hours(hours) => Some(hours),
        Length::Days(days) => Some(days * 24),
        Length::Months(_) | Length::WorkingDays(_) => None,
    }
}

/// Jobs, the newest first.
pub fn jobs(reader: &LedgerReader) -> Result<Value, ViewError> {
    shown(&reader.jobs()?)
}

fn of_day(text: &str) -> Result<jiff::civil::Date, ViewError> {
    text.parse().map_err(|_| ViewError::Asked("the day is written 2026-01-05".into()))
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
    look(broker, headers, what, move |reader, sight, broker| history(reader, ChildId(child), &|source| broker.charset(source), sight)).await
}

fn pairs(uri: &Uri) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs = query(uri);
    move |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

async fn movers_of(State(broker): State<Broker>, uri: Uri) -> Response {
    let of = pairs(&uri);
    read(broker, move |reader, broker| {
        let (hub, since) = (of("hub"), of("since"));
        let directory = watching(broker)?.directory.load_full();
        movers(reader, &directory, (hub.as_deref(), since.as_deref()), &|source| broker.charset(source))
    })
    .await
}

async fn births_of(State(broker): State<Broker>, uri: Uri, headers: HeaderMap) -> Response {
    let of = pairs(&uri);
    let (hub, day) = (of("hub").unwrap_or_default(), of("day").unwrap_or_default());
    let what = format!("births list of {hub} for {day}");
    look(broker, headers, what, move |reader, sight, broker| births(reader, &watching(broker)?.directory.load(), (&hub, &day), sight)).await
}

async fn account_of(State(broker): State<Broker>, uri: Uri) -> Response {
    let of = pairs(&uri);
    read(broker, move |reader, broker| {
        let watching = watching(broker)?;
        let (day, hub) = (of("day"), of("hub"));
        let rules = (&**watching.rules.load(), &**watching.directory.load());
        birth_account(reader, rules, (day.as_deref(), hub.as_deref()), clock::now())
    })
    .await
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
        let from = asked.from.as_deref().map(of_day).transpose()?;
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
