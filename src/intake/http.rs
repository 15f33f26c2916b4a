//! The HTTP door: FHIR messages, R4 resources, and HL7 v2 over HTTP.
//!
//! # What is answered
//!
//!     POST /fhir/stu3/$process-message   POST /fhir/r4/$process-message   POST /hl7v2   Bundles of type message, HL7 v2
//!     POST /fhir/r4                                                      Bundles of type transaction, batch, collection
//!     POST /fhir/r4/{type}   PUT /fhir/r4/{type}/{id}                    one resource
//!
//! A transaction or batch that is durable is answered by a Bundle with one `202 Accepted` for each entry: the entries are kept, in
//! one message, and what becomes of it is not known yet. Everything else is answered by an OperationOutcome.
//!
//!     200  durable             400  cannot be read        403  not a known sender     404  no such path    405  not POST
//!     408  body too slow       413  body too long         415  media type, coding     422  not processable 503  send again
//!
//! # Invariants
//!
//! - The peer is identified before its body is read.
//! - "200" is said with a receipt in hand only; the same message again gets the same answer.
//! - No answer quotes a message.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use super::admission::Rules;
use super::batch::{BatchRules, settle_batch};
use super::body::{BodyFault, read_body, unpack};
use super::budget::Share;
use super::desk::{Desk, name_of};
use super::events::{self, ALONE, EventDecision, ExaminedEvent, Fit, Syntax, Wanted, answer_syntax, examine_event, request_syntax};
use super::listener::Guest;
use super::refusal::{Refusal, Told};
use super::settings::AnswerWhen;
use super::sources::{Dialect, Source, family};
use crate::fhir::{self, Problem, Release, Severity};
use crate::journal::{Entry, Journal, JournalError, Receipt};
use crate::observe;

/// Header lines of a request (threat model's limits).
const HEADERS_MAX: usize = 64;
/// Bytes of all header lines.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Seconds after which a sender that was told 503 should come again (HL7 messages, section 7: about a minute).
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("30");
/// Longer bodies are unpacked and read on a thread of their own, so that they do not hold up short ones.
const INLINE_BYTES_MAX: usize = 128 * 1024;
/// HL7 v2 over HTTP.
const HL7V2: &str = "application/hl7-v2";

/// What all connections of one HTTP listener share.
#[derive(Debug)]
pub(super) struct WebLine {
    pub(super) processing_ids: Vec<String>,
    pub(super) body_bytes_max: usize,
}

/// What a request finds in its extensions: whose connection it came on.
struct Caller {
    guest: Guest,
    generation: AtomicU64,
}

struct Web<J> {
    desk: Arc<Desk<J>>,
    line: Arc<WebLine>,
}

impl<J> Clone for Web<J> {
    fn clone(&self) -> Self {
        Self { desk: Arc::clone(&self.desk), line: Arc::clone(&self.line) }
    }
}

/// The routes; made once for a listener.
pub(super) fn router<J: Journal>(desk: Arc<Desk<J>>, line: Arc<WebLine>) -> Router {
    Router::new()
        .route("/fhir/stu3/$process-message", post(process_stu3).fallback(not_post))
        .route("/fhir/r4/$process-message", post(process_r4).fallback(not_post))
        .route("/fhir/r4", post(take_resources).fallback(not_post))
        .route("/fhir/r4/{kind}", post(take_one).fallback(not_post))
        .route("/fhir/r4/{kind}/{id}", put(put_one).fallback(not_put))
        .route("/hl7v2", post(process_hl7v2).fallback(not_post))
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(|_panic| StatusCode::INTERNAL_SERVER_ERROR.into_response()))
        .with_state(Web { desk, line })
}

/// Serves one connection until either side is done. Returns why.
pub(super) async fn serve<J, S>(stream: S, router: Router, guest: Guest, desk: &Desk<J>, drain: CancellationToken) -> &'static str
where
    J: Journal,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let caller = Arc::new(Caller { guest, generation: AtomicU64::new(desk.generation.load(Ordering::Acquire)) });
    let answer = move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&caller));
        router.clone().oneshot(request.map(Body::new))
    };
    serve_requests(stream, desk.patience.head, drain, answer).await
}

/// Answers the requests of one connection until either side is done: heads bounded in size and time. Returns why it ended.
pub(crate) async fn serve_requests<S, F, A>(stream: S, head: Duration, drain: CancellationToken, answer: F) -> &'static str
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(hyper::Request<Incoming>) -> A,
    A: Future<Output = Result<Response, std::convert::Infallible>>,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Ok(()) => "peer",
        Err(error) if error.is_timeout() => "head_timeout",
        Err(error) if error.is_parse() => "parse",
        Err(_) => "read",
    }
}

async fn process_stu3<J: Journal>(State(web): State<Web<J>>, request: Request) -> Response {
    web.process_fhir(request, Release::Stu3, Wanted::Message).await
}

async fn process_r4<J: Journal>(State(web): State<Web<J>>, request: Request) -> Response {
    web.process_fhir(request, Release::R4, Wanted::Message).await
}

async fn take_resources<J: Journal>(State(web): State<Web<J>>, request: Request) -> Response {
    web.process_fhir(request, Release::R4, Wanted::Resources).await
}

async fn take_one<J: Journal>(State(web): State<Web<J>>, Path(kind): Path<String>, request: Request) -> Response {
    if !ALONE.contains(&kind.as_str()) {
        return not_found(request.headers().clone()).await;
    }
    web.process_fhir(request, Release::R4, Wanted::One { kind, id: None }).await
}

async fn put_one<J: Journal>(State(web): State<Web<J>>, Path((kind, id)): Path<(String, String)>, request: Request) -> Response {
    if !ALONE.contains(&kind.as_str()) {
        return not_found(request.headers().clone()).await;
    }
    web.process_fhir(request, Release::R4, Wanted::One { kind, id: Some(id) }).await
}

async fn process_hl7v2<J: Journal>(State(web): State<Web<J>>, request: Request) -> Response {
    let syntax = answer_syntax(request.headers());
    web.process_hl7v2(request).await.unwrap_or_else(|fit| refuse(syntax, fit))
}

async fn not_post(headers: HeaderMap) -> Response {
    not_allowed(&headers, HeaderValue::from_static("POST"), "only POST is answered here")
}

async fn not_put(headers: HeaderMap) -> Response {
    not_allowed(&headers, HeaderValue::from_static("PUT"), "only PUT is answered here")
}

fn not_allowed(headers: &HeaderMap, allowed: HeaderValue, message: &str) -> Response {
    let mut response = refuse(answer_syntax(headers), Fit::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", message));
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

async fn not_found(headers: HeaderMap) -> Response {
    let paths = "no such path; there are /fhir/stu3/$process-message, /fhir/r4/$process-message, /fhir/r4, /fhir/r4/{type} and /hl7v2";
    refuse(answer_syntax(&headers), Fit::new(StatusCode::NOT_FOUND, "not-found", paths))
}

impl<J: Journal> Web<J> {
    async fn process_fhir(&self, request: Request, release: Release, wanted: Wanted) -> Response {
        let syntax = answer_syntax(request.headers());
        match self.take_event(request, release, wanted).await {
            Ok((said, response)) => said.response(syntax, response),
            Err(fit) => refuse(syntax, fit),
        }
    }

    /// What the sender is told, and the Bundle it is told in, if any.
    async fn take_event(&self, request: Request, release: Release, wanted: Wanted) -> Result<(Said, Option<(&'static str, usize)>), Fit> {
        let candidates = self.identify(&request)?;
        let syntax = request_syntax(request.headers(), release)?;
        let (body, _share) = self.body_of(request).await?;
        let tick = (self.desk.clock.tick)();
        let arrived = (self.desk.clock.now)();

        let examined = examine_apart(body.clone(), (syntax, release), wanted, candidates).await;
        let response = examined.response;
        let bytes = body.len();
        let entry = examined.entry(events::format(release, syntax), body, arrived);
        let source = entry.source.clone();
        let said = self.settle_event(entry, examined).await;
        let took = (self.desk.clock.tick)().duration_since(tick);
        said.say(observe::Answered { source: &source, family: family("", Dialect::Fhir), bytes, arrived, took });
        Ok((said, response))
    }

    async fn settle_event(&self, entry: Entry, examined: ExaminedEvent) -> Said {
        let source = entry.source.clone();
        if examined.is_mismatch {
            observe::SenderMismatch { source: &source }.say();
        }
        let answer_when = examined.answer_when();
        match (self.desk.keep(entry, None).await, examined.decision) {
            (Err(error), _) => Said::TryAgain(not_kept(&error)),
            (Ok(_receipt), EventDecision::Refuse(fit)) => Said::Refused(fit),
            (Ok(receipt), EventDecision::Accept) if answer_when == AnswerWhen::Filed => match self.desk.filed(&receipt, vec![]).await {
                Told::NotFiledYet | Told::NotKept(_) => Said::TryAgain("kept, not filed in time; send again"),
                Told::Refused(_) => Said::Refused(Fit::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "business-rule",
                    "kept, and a person must look at it; do not send it again",
                )),
                Told::Kept(_) => Said::Kept(receipt),
            },
            (Ok(receipt), EventDecision::Accept | EventDecision::Ignore) => Said::Kept(receipt),
        }
    }

    async fn process_hl7v2(&self, request: Request) -> Result<Response, Fit> {
        let candidates = self.identify(&request)?;
        let sent = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if events::media_type(sent).0 != HL7V2 {
            let message = "send application/hl7-v2; HL7 v2 in XML is not read here";
            return Err(Fit::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", message));
        }
        let (body, _share) = self.body_of(request).await?;
        let batch =
            BatchRules { candidates, processing_ids: self.line.processing_ids.clone(), message_bytes_max: self.line.body_bytes_max };
        if batch.is_batch(&body) {
            let settled = settle_batch(Arc::clone(&self.desk), body, batch).await;
            // One status for all: the sender must look into the answers wherever it is not 200.
            let worst =
                settled.told.iter().map(status_of).max_by_key(|status| (*status == StatusCode::SERVICE_UNAVAILABLE, status.as_u16()));
            return Ok(answer_hl7v2(worst.unwrap_or(StatusCode::OK), settled.answer));
        }
        let rules = Rules {
            candidates: &batch.candidates,
            processing_ids: &batch.processing_ids,
            message_bytes_max: batch.message_bytes_max,
            limits: &self.desk.limits,
        };
        let (told, answer) = self.desk.settle(self.desk.receive(body, &rules), None).await;
        Ok(answer_hl7v2(status_of(&told), answer.map(|answer| answer.bytes)))
    }

    /// Every source that the caller proved to be.
    fn identify(&self, request: &Request) -> Result<Vec<Arc<Source>>, Fit> {
        let unknown = || Fit::new(StatusCode::FORBIDDEN, "forbidden", "unknown sender; ask for it to be added to the sources");
        let caller = request.extensions().get::<Arc<Caller>>().ok_or_else(unknown)?;
        let generation = self.desk.generation.load(Ordering::Acquire);
        if caller.generation.load(Ordering::Acquire) != generation {
            if !caller.guest.is_still_trusted((self.desk.clock.now)()) {
                observe::PeerRefused { peer: caller.guest.peer.address, reason: "certificate" }.say();
                return Err(unknown());
            }
            caller.generation.store(generation, Ordering::Release);
        }
        let candidates = self.desk.sources.load().of_peer(&caller.guest.peer);
        if candidates.is_empty() {
            observe::PeerRefused { peer: caller.guest.peer.address, reason: "no_source" }.say();
            return Err(unknown());
        }
        Ok(candidates)
    }

    /// The body, unpacked, with the memory it uses.
    async fn body_of(&self, request: Request) -> Result<(Bytes, Share), Fit> {
        let is_packed = is_packed(request.headers())?;
        let number = |value: &HeaderValue| value.to_str().ok().and_then(|text| text.parse().ok());
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(number);
        let bytes_max = self.line.body_bytes_max;
        let fit = |fault| body_fit(fault, bytes_max);
        let mut share = Share::default();
        // A packed body, and one that does not say how long it is, may become as long as is allowed.
        let expected = declared.filter(|_| !is_packed).map_or(bytes_max, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if expected <= bytes_max && INLINE_BYTES_MAX < expected && !share.grow_to(expected, &self.desk.budget) {
            return Err(Fit::new(StatusCode::SERVICE_UNAVAILABLE, "transient", "too many long messages at once; send again"));
        }
        let body = read_body(request.into_body(), declared, bytes_max, self.desk.patience.body).await.map_err(fit)?;
        if !is_packed {
            return Ok((body, share));
        }
        let unpacked = if body.len() <= INLINE_BYTES_MAX / 4 {
            unpack(&body, bytes_max)
        } else {
            let unpacked = tokio::task::spawn_blocking(move || unpack(&body, bytes_max)).await;
            unpacked.unwrap_or(Err(BodyFault::Broken))
        };
        Ok((unpacked.map_err(fit)?, share))
    }
}

fn status_of(told: &Told) -> StatusCode {
    match told {
        Told::Kept(_) => StatusCode::OK,
        Told::NotKept(_) | Told::NotFiledYet => StatusCode::SERVICE_UNAVAILABLE,
        Told::Refused(Refusal::HeaderUnreadable(_)) => StatusCode::BAD_REQUEST,
        Told::Refused(Refusal::SenderUnknown) => StatusCode::FORBIDDEN,
        Told::Refused(Refusal::TooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        Told::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Where no answer is owed, none is given; that it could not be kept is said all the same.
fn answer_hl7v2(status: StatusCode, answer: Option<Vec<u8>>) -> Response {
    let response = match answer {
        Some(answer) => respond(status, HL7V2, answer),
        None if status == StatusCode::SERVICE_UNAVAILABLE => respond(status, HL7V2, Body::empty()),
        None => respond(StatusCode::NO_CONTENT, HL7V2, Body::empty()),
    };
    with_retry(response)
}

/// gzip and nothing else, once.
fn is_packed(headers: &HeaderMap) -> Result<bool, Fit> {
    let codings: Vec<&str> = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .filter(|coding| !coding.eq_ignore_ascii_case("identity"))
        .collect();
    match codings.as_slice() {
        [] => Ok(false),
        [coding] if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => Ok(true),
        _ => Err(Fit::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", "only gzip is unpacked here, and only once")),
    }
}

fn body_fit(fault: BodyFault, bytes_max: usize) -> Fit {
    match fault {
        BodyFault::TooLong => Fit::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", format!("at most {bytes_max} bytes are taken")),
        BodyFault::GrowsTooMuch => {
            Fit::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", "unpacked it is more than 20 times as long; send it unpacked")
        }
        BodyFault::TooSlow => Fit::new(StatusCode::REQUEST_TIMEOUT, "transient", "the body came slower than 1 kB/s; send again"),
        BodyFault::Broken => Fit::new(StatusCode::BAD_REQUEST, "structure", "the body ended early; send again"),
        BodyFault::NotGzip => Fit::new(StatusCode::BAD_REQUEST, "structure", "the body is not gzip from its first to its last byte"),
    }
}

/// Reads a message where a long one holds nobody up, and where a panic is this message's own.
async fn examine_apart(body: Bytes, form: (Syntax, Release), wanted: Wanted, candidates: Vec<Arc<Source>>) -> ExaminedEvent {
    let owner = candidates.first().cloned();
    let bytes = body.len();
    let examine = move || examine_event(&body, form, &wanted, &candidates);
    let examined = if bytes <= INLINE_BYTES_MAX {
        std::panic::catch_unwind(AssertUnwindSafe(examine)).ok()
    } else {
        tokio::task::spawn_blocking(examine).await.ok()
    };
    examined.unwrap_or_else(|| {
        observe::ReadingBroke { source: &name_of(owner.as_deref()), bytes }.say();
        let message = "the message could not be read by the broker; it was kept";
        ExaminedEvent::refused(owner, Fit::new(StatusCode::UNPROCESSABLE_ENTITY, "exception", message))
    })
}

/// What the sender of a FHIR message is told.
enum Said {
    Kept(Receipt),
    TryAgain(&'static str),
    Refused(Fit),
}

impl Said {
    fn response(self, syntax: Syntax, bundle: Option<(&'static str, usize)>) -> Response {
        match self {
            Self::Kept(receipt) => {
                // The number under which it is kept; a duplicate hears that of the first.
                let seq = receipt.duplicate_of().unwrap_or_else(|| receipt.seq());
                let problem = Problem { code: "informational", location: String::new(), message: format!("kept as entry {seq}") };
                let Some((kind, entries)) = bundle else { return outcome(syntax, StatusCode::OK, Severity::Information, problem) };
                let body = match syntax {
                    Syntax::Json => fhir::accepted_bundle(kind, entries, &problem).to_string(),
                    Syntax::Xml => fhir::accepted_bundle_xml(kind, entries, &problem),
                };
                respond(StatusCode::OK, syntax.media_type(), body)
            }
            Self::TryAgain(message) => refuse(syntax, Fit::new(StatusCode::SERVICE_UNAVAILABLE, "transient", message)),
            Self::Refused(fit) => refuse(syntax, fit),
        }
    }

    fn say(&self, answered: observe::Answered<'_>) {
        match self {
            Self::Kept(receipt) if receipt.duplicate_of().is_some() => answered.say_duplicate(),
            Self::Kept(receipt) => {
                let observe::Answered { source, bytes, took, .. } = answered;
                observe::Admitted { seq: receipt.seq(), source, bytes, took }.say();
                answered.say_accepted();
            }
            Self::Refused(fit) => answered.say_refused(fit.problem.code),
            Self::TryAgain(_) => {}
        }
    }
}

fn not_kept(error: &JournalError) -> &'static str {
    match error {
        JournalError::Draining => "shutting down; send again",
        JournalError::Full | JournalError::Broken => "storage not available; send again",
    }
}

fn refuse(syntax: Syntax, fit: Fit) -> Response {
    with_retry(outcome(syntax, fit.status, Severity::Error, fit.problem))
}

fn outcome(syntax: Syntax, status: StatusCode, severity: Severity, problem: Problem) -> Response {
    let problems = [problem];
    let body = match syntax {
        Syntax::Json => fhir::outcome(severity, &problems).to_string(),
        Syntax::Xml => fhir::outcome_xml(severity, &problems),
    };
    respond(status, syntax.media_type(), body)
}

fn respond(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    if status == StatusCode::REQUEST_TIMEOUT {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn with_retry(mut response: Response) -> Response {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}
