//! The hubs' own door: a hub's store as FHIR R4, to be read by that hub's systems and by nobody else.
//!
//!     GET  /hubs/{hub}/fhir/r4/metadata                     what is answered here
//!     POST /hubs/{hub}/fhir/r4/Patient/_search              by identifier, or by name and date of birth
//!     GET  /hubs/{hub}/fhir/r4/Patient/{id}                 one child
//!     GET  /hubs/{hub}/fhir/r4/Patient/{id}/$everything     all that stands of it, page by page
//!     GET  /hubs/{hub}/fhir/r4/Immunization?patient={id}    also Observation and the other types that the store tells
//!
//! # Invariants
//!
//! - A reader proves all that its configuration names: a certificate, a signed token, or both; and it reads one hub's store.
//! - Nothing is shown that was not written down in the store first: who, what, which child.
//! - No URL holds anything of a child but our own ids; what would (a number, a name) comes in the body of a POST, and a GET with it is refused.
//! - Of a sealed record nothing is shown; of a child for which another hub is responsible what an interested hub may have.
//!
//! # Not here
//!
//! What a child looks like in FHIR: `destinations` renders it, the same as what a hub is sent.

mod answers;
mod query;
mod who;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use self::answers::Refused;
use self::who::{Caller, Reader};
use crate::clock;
use crate::config::{DoorConfig, Settings};
use crate::intake::{Clock, IntakeError, Patience, Replacement, Reread, TlsDoor, serve_requests};

/// Connections at once; a hub's systems are few.
const CONNECTIONS_MAX: usize = 128;
/// Answers made at once: each reads a store.
const READS_MAX: usize = 8;
/// Longest body of a search.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a body may take.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// A door, bound and not yet open.
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<TlsDoor>>,
    house: Arc<House>,
}

/// What all connections share.
struct House {
    readers: Vec<Reader>,
    seats: Semaphore,
    connections: Arc<Semaphore>,
}

impl Door {
    /// Reads keys and certificates and binds.
    ///
    /// # Errors
    ///
    /// A file cannot be used, a hub has no store, or the address is taken: each with its place and what would help.
    pub async fn bind(config: &DoorConfig, settings: &Settings) -> Result<Self, IntakeError> {
        let place = format!("hub_door {}", config.listen);
        let time = Clock { now: clock::now, tick: clock::tick };
        let tls = config.tls.as_ref().map(|tls| TlsDoor::open(tls, Some(b"http/1.1"), &place, time)).transpose()?;
        let wrong = |what: String, remedy: &str| IntakeError { what, place: place.clone(), remedy: remedy.to_owned() };
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| wrong(format!("the address cannot be bound: {error}"), "is another program there? choose another port"))?;
        let address = listener.local_addr().map_err(|error| wrong(format!("the address is not known: {error}"), "try again"))?;
        let base = DoorConfig { listen: address, ..config.clone() }.base();
        let readers = config.readers.iter().map(|reader| Reader::new(reader, &base, settings)).collect::<Result<_, _>>();
        let readers = readers.map_err(|(what, remedy): (String, &str)| wrong(what, remedy))?;
        let house = House { readers, seats: Semaphore::new(READS_MAX), connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        Ok(Self { listener, address, tls, house: Arc::new(house) })
    }

    /// Where it is; of interest where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificates, to be read again at a reload.
    pub fn tls(&self) -> Option<Arc<TlsDoor>> {
        self.tls.clone()
    }

    /// The public keys of its readers, to be read again at a reload.
    pub fn keys(&self) -> Arc<dyn Reread> {
        Arc::new(Keys { house: Arc::clone(&self.house), place: format!("hub_door {}", self.address) })
    }

    /// Serves until `closing`; answers under way are ended.
    pub async fn serve(self, closing: CancellationToken) {
        let tasks = TaskTracker::new();
        let router = router(Arc::clone(&self.house));
        tracing::info!(address = %self.address, tls = self.tls.as_ref().map_or("none", |tls| tls.word()), "hub_door.open");
        while let Some(accepted) = closing.run_until_cancelled(self.listener.accept()).await {
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(pass) = Arc::clone(&self.house.connections).try_acquire_owned() else {
                metrics::counter!("chis_hub_door_refused_total", "reason" => "connections").increment(1);
                continue;
            };
            let (tls, router, closing) = (self.tls.clone(), router.clone(), closing.clone());
            tasks.spawn(async move {
                let _pass = pass;
                talk(stream, peer, tls, router, closing).await;
            });
        }
        tasks.close();
        let _ended = tokio::time::timeout(Patience::default().drain, tasks.wait()).await;
    }
}

/// The keys of a door's readers.
struct Keys {
    house: Arc<House>,
    place: String,
}

impl Reread for Keys {
    fn read(&self) -> Result<Replacement, IntakeError> {
        let readers = self.house.readers.iter().map(who::Reader::key_again);
        let keys: Result<Vec<_>, _> = readers.collect();
        let wrong = |(what, remedy): (String, &str)| IntakeError { what, place: self.place.clone(), remedy: remedy.to_owned() };
        let (keys, house) = (keys.map_err(wrong)?, Arc::clone(&self.house));
        Ok(Box::new(move || house.readers.iter().zip(keys).for_each(|(reader, key)| reader.use_key(key))))
    }
}

/// One connection, from its handshake on.
async fn talk(stream: TcpStream, peer: SocketAddr, tls: Option<Arc<TlsDoor>>, router: Router, closing: CancellationToken) {
    let patience = Patience::default();
    let serve = |caller: Caller| {
        let caller = Arc::new(caller);
        move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Arc::clone(&caller));
            router.clone().oneshot(request.map(Body::new))
        }
    };
    match tls {
        None => {
            serve_requests(stream, patience.head, closing, serve(Caller::plain(peer.ip()))).await;
        }
        Some(tls) => match tls.greet(stream, peer.ip(), patience.handshake).await {
            Ok(greeted) => {
                let caller = Caller { peer: greeted.peer, credentials: greeted.credentials };
                serve_requests(greeted.stream, patience.head, closing, serve(caller)).await;
            }
            Err(reason) => {
                metrics::counter!("chis_hub_door_refused_total", "reason" => reason).increment(1);
                tracing::info!(peer = %peer.ip(), reason, "hub_door.handshake");
            }
        },
    }
}

fn router(house: Arc<House>) -> Router {
    Router::new()
        .route("/hubs/{hub}/fhir/r4/{*what}", any(answer))
        .fallback(async || {
            Refused::new(StatusCode::NOT_FOUND, "not-found", "no such path; there is /hubs/{hub}/fhir/r4/metadata").response()
        })
        .layer(CatchPanicLayer::custom(|_panic| StatusCode::INTERNAL_SERVER_ERROR.into_response()))
        .with_state(house)
}

/// One request, from who asks to what is answered.
async fn answer(State(house): State<Arc<House>>, Path((hub, what)): Path<(String, String)>, request: Request) -> Response {
    let mut said = Said { reader: String::new(), hub: String::new(), what: "unknown" };
    let outcome = house.answer(&hub, &what, request, &mut said).await;
    let status = outcome.as_ref().map_or_else(|refused| refused.status, |_| StatusCode::OK);
    let result = if status.is_success() { "answered" } else { "refused" };
    metrics::counter!("chis_hub_door_requests_total", "hub" => said.hub.clone(), "result" => result).increment(1);
    tracing::info!(reader = said.reader, hub = said.hub, what = said.what, status = status.as_u16(), "hub_door.request");
    outcome.map_or_else(Refused::response, |resource| answers::fhir(StatusCode::OK, &resource))
}

/// What is said of a request: names of the configuration and words of ours.
struct Said {
    reader: String,
    hub: String,
    what: &'static str,
}

impl House {
    async fn answer(&self, hub: &str, what: &str, request: Request, said: &mut Said) -> Result<Value, Refused> {
        let reader = who::identify(&self.readers, hub, &request)?;
        (said.reader, said.hub) = (reader.name.clone(), reader.hub.to_string());
        speaks_json(request.headers(), request.uri())?;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let body = match method {
            Method::POST => Some(form(request).await?),
            Method::GET => None,
            _ => {
                return Err(Refused::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "not-supported",
                    "this door only reads: GET, and POST of a search",
                ));
            }
        };
        let base = reader.base.clone();
        let Some(asked) = query::Asked::of(what, uri.query().unwrap_or_default(), body.as_deref())? else {
            said.what = "metadata";
            return Ok(answers::capability(&base, clock::now()));
        };
        said.what = asked.word();
        let _seat = self.seats.acquire().await.map_err(|_| Refused::busy())?;
        let (at, who, now) = (reader.at.clone(), reader.name.clone(), clock::now());
        let read = tokio::task::spawn_blocking(move || answers::read(&at, &who, &asked, &base, now));
        match read.await {
            Ok(answer) => answer,
            Err(_panicked) => {
                metrics::counter!("chis_panics_total").increment(1);
                Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the answer could not be made"))
            }
        }
    }
}

/// JSON is what is spoken here; who asks for nothing else gets it.
fn speaks_json(headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*").to_ascii_lowercase();
    let takes = ["json", "*/*", "application/*"].iter().any(|kind| accepted.contains(kind));
    let wants = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).find(|(name, _)| name == "_format");
    if takes && wants.is_none_or(|(_, format)| format.to_ascii_lowercase().contains("json")) {
        return Ok(());
    }
    Err(Refused::new(StatusCode::NOT_ACCEPTABLE, "not-supported", "this door speaks application/fhir+json"))
}

/// The parameters of a search, as they stand in the body.
async fn form(request: Request) -> Result<String, Refused> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        let text = "send the parameters of a search as application/x-www-form-urlencoded";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", text));
    }
    let body = tokio::time::timeout(BODY_WAIT, axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX));
    let body = body.await.map_err(|_| Refused::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time"))?;
    let body = body.map_err(|_| Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", "a search has 16 KiB at most"))?;
    String::from_utf8(body.to_vec()).map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "structure", "the body is not text"))
}

/// The header that keeps answers out of every cache.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
