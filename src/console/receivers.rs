//! Deliveries on the admin door and in the commands: receivers, held debts, sending again; and the page of receivers.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{Broker, refusal, respond};
use super::views::{ViewError, json as shown};
use crate::broker::delivery_desk::DeliveryDesk;
use crate::names::{DestinationName, Seq};
use crate::store::{HeldAct, HeldDebts, ReplayOrder};

/// The page of receivers: it reads and acts by the routes below, and holds nothing of its own.
const PAGE: &str = include_str!("receivers.html");

/// Longest request with a mended message: the longest message, in base64.
const COPY_BYTES_MAX: usize = 96 * 1024 * 1024;

pub(super) fn routes() -> Router<Broker> {
    Router::new()
        .route("/console/receivers", get(page))
        .route("/api/v1/destinations", get(list))
        .route("/api/v1/destinations/{name}", get(show))
        .route("/api/v1/destinations/{name}/pause", post(pause))
        .route("/api/v1/destinations/{name}/resume", post(resume))
        .route("/api/v1/destinations/{name}/test", post(test))
        .route("/api/v1/debts", post(held))
        .route("/api/v1/replays", post(replay))
        .route("/api/v1/held/{seq}/edit", post(edit).layer(DefaultBodyLimit::max(COPY_BYTES_MAX)))
}

async fn page() -> Response {
    let policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)], PAGE).into_response()
}

/// Asks the desk where that may block.
async fn at_desk(broker: Broker, ask: impl FnOnce(&DeliveryDesk) -> Result<Value, ViewError> + Send + 'static) -> Response {
    let done = tokio::task::spawn_blocking(move || {
        let desk = broker.deliveries().ok_or_else(|| ViewError::Missing("this broker delivers nothing".into()))?;
        ask(&desk)
    });
    respond(done.await)
}

async fn list(State(broker): State<Broker>) -> Response {
    at_desk(broker, |desk| shown(&desk.list()?)).await
}

async fn show(State(broker): State<Broker>, Path(name): Path<String>) -> Response {
    at_desk(broker, move |desk| {
        let (receiver, debts) = desk.show(&name)?;
        let mut value = shown(&receiver)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("debts".to_owned(), shown(&debts)?);
        }
        Ok(value)
    })
    .await
}

async fn test(State(broker): State<Broker>, Path(name): Path<String>) -> Response {
    at_desk(broker, move |desk| {
        let steps = desk.test(&name)?;
        let is_well = steps.iter().all(|step| step.outcome.is_ok());
        Ok(json!({ "destination": name, "ok": is_well, "steps": shown(&steps)? }))
    })
    .await
}

/// Why, and whether it is only tried.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steer {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

async fn pause(State(broker): State<Broker>, Path(name): Path<String>, body: Bytes) -> Response {
    steer(broker, name, true, &body).await
}

async fn resume(State(broker): State<Broker>, Path(name): Path<String>, body: Bytes) -> Response {
    steer(broker, name, false, &body).await
}

async fn steer(broker: Broker, name: String, is_paused: bool, body: &[u8]) -> Response {
    let asked = serde_json::from_slice::<Steer>(body).ok().filter(|asked| asked.dry_run || !asked.reason.trim().is_empty());
    let Some(asked) = asked else {
        return refusal(StatusCode::BAD_REQUEST, "the body is {\"reason\": \"…\", \"dry_run\": false}, and the reason is not empty", 64);
    };
    at_desk(broker, move |desk| shown(&desk.pause(&name, is_paused, (asked.reason.trim(), asked.dry_run))?)).await
}

/// Which held debts, and what is done with them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldOrder {
    act: String,
    debt: Option<i64>,
    destination: Option<String>,
    why: Option<String>,
    #[serde(default)]
    by: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

impl HeldOrder {
    fn debts(&self) -> Option<HeldDebts> {
        match (self.debt, &self.destination) {
            (Some(debt), None) => Some(HeldDebts::One(debt)),
            (None, Some(destination)) => Some(HeldDebts::Group(DestinationName::new(destination), self.why.clone())),
            _ => None,
        }
    }

    fn done(&self) -> Option<HeldAct> {
        match self.act.as_str() {
            "release" => Some(HeldAct::Release),
            "discard" if self.dry_run || !self.by.trim().is_empty() => Some(HeldAct::Discard { by: self.by.trim().to_owned() }),
            _ => None,
        }
    }
}

async fn held(State(broker): State<Broker>, body: Bytes) -> Response {
    let order = serde_json::from_slice::<HeldOrder>(&body).ok().filter(|order| order.dry_run || !order.reason.trim().is_empty());
    let told = order.as_ref().and_then(|order| Some((order.debts()?, order.done()?)));
    let (Some(order), Some((debts, act))) = (order, told) else {
        let text = "the body is {\"act\": \"release\" or \"discard\", \"debt\": 7 or \"destination\": \"…\", \"why\": \"HTTP 422\", \"by\": \"…\", \"reason\": \"…\", \
             \"dry_run\": false}; a reason is not empty, nor is the name of who discards";
        return refusal(StatusCode::BAD_REQUEST, text, 64);
    };
    at_desk(broker, move |desk| shown(&desk.held(debts, act, (order.reason.trim(), order.dry_run))?)).await
}

/// What is to be sent again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    order: ReplayOrder,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

async fn replay(State(broker): State<Broker>, body: Bytes) -> Response {
    let asked = serde_json::from_slice::<Replay>(&body).ok().filter(|asked| asked.dry_run || !asked.reason.trim().is_empty());
    let Some(asked) = asked else {
        let text = "the body is {\"order\": {\"query\": {…}, \"per_second\": 20}, \"reason\": \"…\", \"dry_run\": false}, and the reason is not empty";
        return refusal(StatusCode::BAD_REQUEST, text, 64);
    };
    at_desk(broker, move |desk| {
        if asked.dry_run {
            return Ok(json!({ "plan": shown(&desk.replay_plan(&asked.order)?)?, "job": null }));
        }
        let (plan, job) = desk.replay(&asked.order, asked.reason.trim())?;
        Ok(json!({ "plan": shown(&plan)?, "job": job }))
    })
    .await
}

/// A mended copy of a held message, in base64.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    body: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

async fn edit(State(broker): State<Broker>, Path(seq): Path<i64>, body: Bytes) -> Response {
    let edit = serde_json::from_slice::<Edit>(&body).ok().filter(|edit| edit.dry_run || !edit.reason.trim().is_empty());
    let told = edit.and_then(|edit| Some((BASE64_STANDARD.decode(&edit.body).ok().filter(|copy| !copy.is_empty())?, edit)));
    let Some((copy, edit)) = told else {
        let text = "the body is {\"body\": \"base64 of the message\", \"reason\": \"…\", \"dry_run\": false}, and neither is empty";
        return refusal(StatusCode::BAD_REQUEST, text, 64);
    };
    let done = tokio::task::spawn_blocking(move || shown(&broker.edit(Seq(seq), copy, edit.reason.trim(), edit.dry_run)?));
    respond(done.await)
}
