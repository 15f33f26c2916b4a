//! FHIR at the door: messages, and for R4 Bundles of resources and resources alone. Pure: bytes, media types and rules in, a decision out.
//!
//! # Invariants
//!
//! - A document is read within the bounds of [`fhir::Limits`]; what breaks them is refused like any other that cannot be read.
//! - Only the outside of a message is looked at: its kind, id, event and sender, and of a Bundle of resources what is asked for each.
//! - What is asked and never done here (to read, to delete, to patch) is refused, not kept: its sender would wait for ever.
//!
//! # Not here
//!
//! The same id with other bytes (STU3 events, section 9, step 2: 409 at the door). Only the journal can know, in the transaction
//! that keeps the entry, and a [`crate::journal::Receipt`] does not say it; until it does, such a message is kept as a new version.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use jiff::Timestamp;

use super::desk::name_of;
use super::settings::AnswerWhen;
use super::sources::{Choice, Dialect, Source, Taken, choose_for_organisation};
use crate::fhir::{self, Limits, Problem, Release};
use crate::journal::{Admission, Entry};
use crate::names::Format;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// JSON or XML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Json,
    Xml,
}

impl Syntax {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/fhir+json; charset=utf-8",
            Self::Xml => "application/fhir+xml; charset=utf-8",
        }
    }
}

/// The names of both syntaxes (STU3 events, section 1).
fn syntax_of(essence: &str) -> Option<Syntax> {
    match essence {
        "application/fhir+json" | "application/json+fhir" | "application/json" => Some(Syntax::Json),
        "application/fhir+xml" | "application/xml+fhir" | "application/xml" | "text/xml" => Some(Syntax::Xml),
        _ => None,
    }
}

/// `type/subtype` and parameters of a header, lower case.
pub(super) fn media_type(value: &str) -> (String, Vec<(String, String)>) {
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameters = parts.filter_map(|part| part.split_once('='));
    let clean = |text: &str| text.trim().trim_matches('"').to_ascii_lowercase();
    (essence, parameters.map(|(name, value)| (clean(name), clean(value))).collect())
}

/// A request that is refused, as the sender will read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) status: StatusCode,
    pub(super) problem: Problem,
}

impl Fit {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, problem: Problem { code, location: String::new(), message: message.into() } }
    }

    /// What the journal notes.
    pub(super) fn reason(&self) -> String {
        let Problem { location, message, .. } = &self.problem;
        let status = self.status.as_u16();
        if location.is_empty() { format!("{status} {message}") } else { format!("{status} {message}, at {location}") }
    }
}

/// In which syntax the answer is: the first that `Accept` names, else that of the request, else JSON.
pub(super) fn answer_syntax(headers: &HeaderMap) -> Syntax {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let accepted = text(header::ACCEPT).and_then(|accept| accept.split(',').find_map(|range| syntax_of(&media_type(range).0)));
    let sent = || text(header::CONTENT_TYPE).and_then(|sent| syntax_of(&media_type(sent).0));
    accepted.or_else(sent).unwrap_or(Syntax::Json)
}

/// In which syntax the request is, if this door reads it.
///
/// # Errors
///
/// 415 for another media type, charset or FHIR version; 400 where the version contradicts the path (R4, section 1).
pub(super) fn request_syntax(headers: &HeaderMap, release: Release) -> Result<Syntax, Fit> {
    let unsupported = |message: &str| Fit::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", message);
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (essence, parameters) = media_type(sent);
    let syntax = syntax_of(&essence).ok_or_else(|| unsupported("send application/fhir+json or application/fhir+xml"))?;
    for (name, value) in parameters {
        let version = match (name.as_str(), value.as_str()) {
            ("charset", "utf-8" | "utf8") => continue,
            ("charset", _) => return Err(unsupported("only charset utf-8 is read here")),
            ("fhirversion", "3.0" | "3.0.1" | "3.0.2") => Release::Stu3,
            ("fhirversion", "4.0" | "4.0.1") => Release::R4,
            ("fhirversion", _) => return Err(unsupported("fhirVersion 3.0 and 4.0 are read here")),
            _ => continue,
        };
        if version != release {
            return Err(Fit::new(StatusCode::BAD_REQUEST, "invalid", "fhirVersion contradicts the path; stu3 is 3.0, r4 is 4.0"));
        }
    }
    Ok(syntax)
}

/// How a body in this syntax and release is noted in the journal.
pub(super) fn format(release: Release, syntax: Syntax) -> Format {
    match (release, syntax) {
        (Release::Stu3, Syntax::Json) => Format::Stu3Json,
        (Release::Stu3, Syntax::Xml) => Format::Stu3Xml,
        (Release::R4, Syntax::Json) => Format::R4Json,
        (Release::R4, Syntax::Xml) => Format::R4Xml,
    }
}

/// What a path takes (R4, section 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A Bundle of type message with its header.
    Message,
    /// A Bundle of resources: transaction, batch, collection.
    Resources,
    /// One resource of this type, and with this id where the path has one.
    One { kind: String, id: Option<String> },
}

/// Entries of one Bundle: each is answered, and more than 1,023 statements of one message are not filed.
const ENTRIES_MAX: usize = 1_000;

/// The resources that may come alone, or stand in a path (R4, section 1).
pub(super) const ALONE: [&str; 10] = [
    "Appointment",
    "Communication",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Immunization",
    "Observation",
    "Patient",
    "Procedure",
    "Task",
];

/// What becomes of a FHIR message at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EventDecision {
    Accept,
    Ignore,
    Refuse(Fit),
}

/// A FHIR message that was looked at.
#[derive(Clone, Debug)]
pub(super) struct ExaminedEvent {
    pub(super) source: Option<Arc<Source>>,
    pub(super) is_mismatch: bool,
    /// Event code; empty where it could not be read.
    pub(super) kind: String,
    /// MessageHeader.id, else that of the Bundle, else made of the bytes; empty where it could not be read.
    pub(super) message_id: String,
    /// The type of the Bundle that answers, and its entries, one for each that was sent.
    pub(super) response: Option<(&'static str, usize)>,
    pub(super) decision: EventDecision,
}

impl ExaminedEvent {
    pub(super) fn refused(source: Option<Arc<Source>>, fit: Fit) -> Self {
        let (kind, message_id) = Default::default();
        Self { source, is_mismatch: false, kind, message_id, response: None, decision: EventDecision::Refuse(fit) }
    }

    /// Looking at it panicked.
    pub(super) fn broken(source: Arc<Source>) -> Self {
        let message = "the message could not be read by the broker; it was kept";
        Self::refused(Some(source), Fit::new(StatusCode::UNPROCESSABLE_ENTITY, "exception", message))
    }

    /// What the journal keeps of it.
    pub(super) fn entry(&self, format: Format, body: Bytes, arrived: Timestamp) -> Entry {
        Entry {
            source: name_of(self.source.as_deref()),
            format,
            kind: self.kind.clone(),
            control_id: self.message_id.clone(),
            body,
            arrived,
            admission: match &self.decision {
                EventDecision::Accept => Admission::Accepted,
                EventDecision::Ignore => Admission::Ignored("event ignored for this source".into()),
                EventDecision::Refuse(fit) => Admission::Refused(fit.reason()),
            },
        }
    }

    pub(super) fn answer_when(&self) -> AnswerWhen {
        self.source.as_ref().map_or(AnswerWhen::Stored, |source| source.answer)
    }
}

/// Looks at what one of `candidates` sent.
pub(super) fn examine_event(
    body: &[u8],
    (syntax, release): (Syntax, Release),
    wanted: &Wanted,
    candidates: &[Arc<Source>],
) -> ExaminedEvent {
    let owner = || candidates.first().cloned();
    let head = match read_head(body, syntax, release, wanted) {
        Ok(head) => head,
        Err(fit) => return ExaminedEvent::refused(owner(), fit),
    };
    let Head { kind, message_id, organisation, response } = head;
    let (source, is_mismatch) = match choose_for_organisation(candidates, organisation.as_deref()) {
        Choice::Known(source) => (source, false),
        Choice::KnownByMismatch(source) => (source, true),
        Choice::Unknown(owner) => {
            let fit = Fit::new(StatusCode::FORBIDDEN, "forbidden", "unknown sender; ask for it to be added to the sources");
            return ExaminedEvent { kind, message_id, ..ExaminedEvent::refused(owner, fit) };
        }
    };
    let decision = match source.takes(&kind, Dialect::Fhir) {
        Taken::Yes => EventDecision::Accept,
        Taken::Ignored => EventDecision::Ignore,
        Taken::NotThisEvent | Taken::NotThisType => {
            let fit = Fit::new(StatusCode::UNPROCESSABLE_ENTITY, "not-supported", "event not taken from this sender");
            EventDecision::Refuse(fit)
        }
    };
    ExaminedEvent { source: Some(source), is_mismatch, kind, message_id, response, decision }
}

struct Head {
    kind: String,
    message_id: String,
    organisation: Option<String>,
    response: Option<(&'static str, usize)>,
}

/// 422 and where.
fn unfit(code: &'static str, location: impl Into<String>, message: impl Into<String>) -> Fit {
    let problem = Problem { code, location: location.into(), message: message.into() };
    Fit { status: StatusCode::UNPROCESSABLE_ENTITY, problem }
}

fn read_head(body: &[u8], syntax: Syntax, release: Release, wanted: &Wanted) -> Result<Head, Fit> {
    let limits = Limits::default();
    let tree = match syntax {
        Syntax::Json => fhir::read_json(body, &limits),
        Syntax::Xml => fhir::read_xml(body, release, &limits),
    };
    let tree = tree.map_err(|problem| Fit { status: StatusCode::BAD_REQUEST, problem })?;
    match wanted {
        Wanted::Message => message_head(&tree, release),
        Wanted::Resources => resources_head(&tree, body),
        Wanted::One { kind, id } => one_head(&tree, kind, id.as_deref(), body),
    }
}

fn bundle_head(tree: &Value) -> Result<fhir::BundleHead, Fit> {
    fhir::bundle_head(tree).map_err(|problem| Fit { status: StatusCode::UNPROCESSABLE_ENTITY, problem })
}

fn message_head(tree: &Value, release: Release) -> Result<Head, Fit> {
    let head = bundle_head(tree)?;
    if head.kind != "message" {
        return Err(unfit("invalid", "Bundle.type", "only Bundles of type message are processed here"));
    }
    let event = if release == Release::Stu3 { "event" } else { "eventCoding" };
    let place = format!("Bundle.entry[0].resource.{event}");
    let kind = head.event.ok_or_else(|| unfit("required", place, "the MessageHeader names no event; fill it with its code"))?;
    let message_id = head.message_id.ok_or_else(|| {
        unfit("required", "Bundle.entry[0].resource.id", "the MessageHeader has no id; each message needs a UUID of its own")
    })?;
    Ok(Head { kind, message_id, organisation: head.source, response: None })
}

/// A Bundle of resources. It has no header, so its sender is whoever the connection belongs to.
fn resources_head(tree: &Value, body: &[u8]) -> Result<Head, Fit> {
    let head = bundle_head(tree)?;
    let response = match head.kind.as_str() {
        "transaction" => Some("transaction-response"),
        "batch" => Some("batch-response"),
        "collection" => None,
        "message" => return Err(unfit("invalid", "Bundle.type", "send a Bundle of type message to /fhir/r4/$process-message")),
        _ => return Err(unfit("invalid", "Bundle.type", "Bundles of type transaction, batch and collection are taken here")),
    };
    let entries = tree.get("entry").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if entries.is_empty() {
        return Err(unfit("required", "Bundle.entry", "the Bundle has no entry"));
    }
    if ENTRIES_MAX < entries.len() {
        return Err(unfit("too-long", "Bundle.entry", format!("at most {ENTRIES_MAX} entries are taken; send several Bundles")));
    }
    for (at, entry) in entries.iter().enumerate() {
        let asked = entry.pointer("/request/method").and_then(Value::as_str);
        if asked.is_some_and(|method| !matches!(method, "POST" | "PUT")) {
            let place = format!("Bundle.entry[{at}].request.method");
            return Err(unfit("not-supported", place, "only POST and PUT are done here: nothing is read, deleted or patched"));
        }
        if entry.pointer("/resource/resourceType").and_then(Value::as_str).is_none() {
            return Err(unfit("required", format!("Bundle.entry[{at}].resource"), "the entry has no resource"));
        }
    }
    let message_id = head.message_id.unwrap_or_else(|| id_of(body));
    Ok(Head { kind: head.kind, message_id, organisation: None, response: response.map(|kind| (kind, entries.len())) })
}

/// A resource alone. Its own id may be an NHS number, so it is not what the journal calls the message by.
fn one_head(tree: &Value, kind: &str, id: Option<&str>, body: &[u8]) -> Result<Head, Fit> {
    let text = |name: &str| tree.get(name).and_then(Value::as_str);
    if text("resourceType") != Some(kind) {
        return Err(unfit("invalid", kind, format!("the path says {kind}, the body is no {kind}")));
    }
    if id.is_some() && text("id") != id {
        return Err(unfit("invalid", format!("{kind}.id"), "the id of the resource is not that of the path"));
    }
    Ok(Head { kind: kind.to_owned(), message_id: id_of(body), organisation: None, response: None })
}

/// A name for what has none: the same bytes have the same one.
fn id_of(body: &[u8]) -> String {
    let digest: String = Sha256::digest(body).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_name_of_fhir_json_and_xml_is_read_and_others_are_415() {
        let syntax = |sent| request_syntax(&headers(&[("content-type", sent)]), Release::Stu3).map_err(|fit| fit.status.as_u16());
        for sent in
            ["application/fhir+json", "application/json+fhir;charset=UTF-8", "application/json", "Application/FHIR+JSON; charset=\"utf-8\""]
        {
            assert_eq!(syntax(sent), Ok(Syntax::Json), "{sent}");
        }
        for sent in ["application/fhir+xml", "application/xml+fhir", "application/xml; charset=utf-8", "text/xml"] {
            assert_eq!(syntax(sent), Ok(Syntax::Xml), "{sent}");
        }
        for sent in
            ["", "text/plain", "application/hl7-v2", "application/fhir+json; charset=utf-16", "application/fhir+json; fhirVersion=5.0"]
        {
            assert_eq!(syntax(sent), Err(415), "{sent}");
        }
        assert_eq!(syntax("application/fhir+json; fhirVersion=3.0"), Ok(Syntax::Json));
        assert_eq!(syntax("application/fhir+json; fhirVersion=4.0"), Err(400));
    }

    #[test]
    fn the_answer_is_in_what_accept_names_or_else_in_what_was_sent() {
        let answer = |pairs: &[_]| answer_syntax(&headers(pairs));
        assert_eq!(answer(&[("content-type", "text/xml")]), Syntax::Xml);
        assert_eq!(answer(&[("content-type", "text/xml"), ("accept", "*/*")]), Syntax::Xml);
        assert_eq!(answer(&[("content-type", "text/xml"), ("accept", "text/html, application/fhir+json;q=0.9")]), Syntax::Json);
        assert_eq!(answer(&[]), Syntax::Json);
    }
}
