//! Answers: bundles, outcomes and the statement of what is answered; and what a store is read for.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::NO_STORE;
use super::query::{Asked, Page, TYPES};
use crate::destinations::{Audience, standing_resources};
use crate::fhir::{self, Problem, Severity};
use crate::identity::plain_name;
use crate::names::ChildId;
use crate::store::{ChildFile, HubReader, Read, StoreAt, StoreError};

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");

/// Why a request is not answered, in words that say nothing of a child.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    code: &'static str,
    text: String,
    /// Where it is now.
    location: Option<String>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into(), location: None }
    }

    pub(super) fn unknown() -> Self {
        let text = "not known as a reader: show the certificate, or the signed token, that the broker's configuration names for you";
        Self::new(StatusCode::UNAUTHORIZED, "login", text)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "no such path; GET metadata says what there is")
    }

    pub(super) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "transient", "the broker is ending; ask again")
    }

    fn no_child() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "this hub's store has no such child that may be shown")
    }

    pub(super) fn response(self) -> Response {
        let problem = Problem { code: self.code, location: String::new(), message: self.text };
        let mut response = fhir(self.status, &fhir::outcome(Severity::Error, &[problem]));
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if let Some(location) = self.location.and_then(|url| HeaderValue::from_str(&url).ok()) {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = error.text, "hub_door.store: a hub's store could not be read");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "transient", "the store cannot be read now; ask again")
    }
}

/// A resource as an answer that nothing on the way keeps.
pub(super) fn fhir(status: StatusCode, resource: &Value) -> Response {
    let mut response = Response::new(Body::from(resource.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, FHIR_JSON);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// Reads a store for what is asked, after writing down that it is read.
pub(super) fn read(at: &StoreAt, who: &str, asked: &Asked, base: &str, now: Timestamp) -> Result<Value, Refused> {
    let mut store = Store { reader: HubReader::open(at.clone())?, who, base, now };
    match asked {
        Asked::Find(by, given, page) => {
            store.note("fhir Patient/_search", None)?;
            let found = store.reader.find(by)?;
            let ids: Vec<ChildId> = found.iter().filter_map(|row| row.get("child")?.as_str()?.parse().ok().map(ChildId)).collect();
            let mut patients = Vec::new();
            for child in ids {
                let Some(file) = store.reader.file(child)? else { continue };
                if given.as_deref().is_none_or(|given| is_called(&file, given)) {
                    store.note("fhir Patient", Some(child))?;
                    patients.extend(resources(&file).into_iter().next());
                }
            }
            Ok(bundle(base, "Patient/_search", patients, *page, None))
        }
        Asked::One(child) => {
            store.note("fhir Patient", Some(*child))?;
            let all = store.all(*child)?;
            all.into_iter().next().ok_or_else(Refused::no_child)
        }
        Asked::OneAsSearch(child) => {
            store.note("fhir Patient", Some(*child))?;
            let file = store.reader.file(*child)?;
            let found = file.map(|file| resources(&file)).unwrap_or_default().into_iter().take(1).collect();
            Ok(bundle(base, &format!("Patient?_id={}", child.0), found, Page { count: 1, offset: 0 }, None))
        }
        Asked::Everything(child, types, page) => {
            store.note("fhir $everything", Some(*child))?;
            let wanted = |resource: &Value| types.is_empty() || types.iter().any(|kind| kind == kind_of(resource));
            let found = store.all(*child)?.into_iter().filter(wanted).collect();
            let types = if types.is_empty() { String::new() } else { format!("_type={}&", types.join(",")) };
            Ok(bundle(base, &format!("Patient/{}/$everything", child.0), found, *page, Some(&types)))
        }
        Asked::Of { kind, child, code, page } => {
            store.note(&format!("fhir {kind}"), Some(*child))?;
            let wanted = |resource: &Value| kind_of(resource) == *kind && code.as_deref().is_none_or(|code| is_coded(resource, code));
            let found = store.all(*child)?.into_iter().filter(wanted).collect();
            let code: String = code.iter().flat_map(|code| form_urlencoded::byte_serialize(code.as_bytes())).collect();
            let more = if code.is_empty() { String::new() } else { format!("code={code}&") };
            Ok(bundle(base, kind, found, *page, Some(&format!("patient={}&{more}", child.0))))
        }
    }
}

struct Store<'r> {
    reader: HubReader,
    who: &'r str,
    base: &'r str,
    now: Timestamp,
}

impl Store<'_> {
    fn note(&mut self, what: &str, child: Option<ChildId>) -> Result<(), StoreError> {
        let child = child.map(|child| child.to_string());
        self.reader.note_read(&Read { who: self.who, what, child: child.as_deref(), reason: "" }, self.now)
    }

    /// All that stands of a child, the Patient first. Of one that was merged: where it goes on.
    fn all(&mut self, child: ChildId) -> Result<Vec<Value>, Refused> {
        if let Some(file) = self.reader.file(child)? {
            let found = resources(&file);
            return if found.is_empty() { Err(Refused::no_child()) } else { Ok(found) };
        }
        let Some(other) = self.reader.goes_on(child)? else { return Err(Refused::no_child()) };
        let text = format!("this record was merged and goes on as Patient/{}", other.0);
        let location = Some(format!("{}/Patient/{}", self.base, other.0));
        Err(Refused { location, ..Refused::new(StatusCode::GONE, "deleted", text) })
    }
}

/// A child's resources as this hub may have them, in an order that stays: the Patient, then by type and id.
fn resources(file: &ChildFile) -> Vec<Value> {
    let is_responsible = file.role == "responsible";
    let audience = if is_responsible { Audience::Responsible } else { Audience::Interested };
    // What was said before the child was restricted says where it goes too.
    let file = if is_responsible { Cow::Borrowed(file) } else { Cow::Owned(file.clone().without_place()) };
    let mut all = standing_resources(&file.person(), &file.standing, audience);
    let id = |resource: &Value| resource.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    all.sort_by_cached_key(|resource| (kind_of(resource) != "Patient", kind_of(resource).to_owned(), id(resource)));
    all
}

fn kind_of(resource: &Value) -> &str {
    resource.get("resourceType").and_then(Value::as_str).unwrap_or_default()
}

fn is_called(file: &ChildFile, given: &str) -> bool {
    let wanted = plain_name(given);
    file.record.names.iter().flat_map(|name| &name.given).any(|name| plain_name(name) == wanted)
}

/// `code`, `system|code`: against the codings of `code`, and of a vaccine's.
fn is_coded(resource: &Value, wanted: &str) -> bool {
    let (system, code) = wanted.split_once('|').map_or((None, wanted), |(system, code)| (Some(system), code));
    let codings = ["code", "vaccineCode"].iter().filter_map(|name| resource.get(name)?.get("coding")?.as_array()).flatten();
    let says = |coding: &Value, name: &str, value: &str| coding.get(name).and_then(Value::as_str) == Some(value);
    codings.into_iter().any(|coding| says(coding, "code", code) && system.is_none_or(|system| says(coding, "system", system)))
}

/// A page of what was found. `more`: the parameters of the next page's URL; none where it is asked for by POST again.
fn bundle(base: &str, path: &str, found: Vec<Value>, page: Page, more: Option<&str>) -> Value {
    let (total, next) = (found.len(), page.offset.saturating_add(page.count));
    let entry = |resource: Value| {
        let id = resource.get("id").and_then(Value::as_str).unwrap_or_default();
        let url = format!("{base}/{}/{id}", kind_of(&resource));
        json!({ "fullUrl": url, "resource": resource, "search": { "mode": "match" } })
    };
    let mut entries: Vec<Value> = found.into_iter().skip(page.offset).take(page.count).map(entry).collect();
    let url = |offset: usize| match more {
        Some(more) => format!("{base}/{path}?{more}_count={}&_offset={offset}", page.count),
        None => format!("{base}/{path}"),
    };
    let mut links = vec![json!({ "relation": "self", "url": url(page.offset) })];
    match more {
        Some(_) if next < total => links.push(json!({ "relation": "next", "url": url(next) })),
        None if next < total => {
            let text = format!("{} more: send the same search again with _offset={next}", total - next);
            let problem = Problem { code: "informational", location: String::new(), message: text };
            let outcome = fhir::outcome(Severity::Information, &[problem]);
            entries.push(json!({ "resource": outcome, "search": { "mode": "outcome" } }));
        }
        _ => {}
    }
    json!({ "resourceType": "Bundle", "type": "searchset", "total": total, "link": links, "entry": entries })
}

/// What is answered here (`metadata`).
pub(super) fn capability(base: &str, now: Timestamp) -> Value {
    let parameter = |(name, kind): &(&str, &str)| json!({ "name": name, "type": kind });
    let patient: Vec<Value> =
        [("_id", "token"), ("identifier", "token"), ("family", "string"), ("name", "string"), ("given", "string"), ("birthdate", "date")]
            .iter()
            .map(parameter)
            .collect();
    let about_a_child: Vec<Value> = [("patient", "reference"), ("code", "token")].iter().map(parameter).collect();
    let everything = json!([{ "name": "everything", "definition": "http://hl7.org/fhir/OperationDefinition/Patient-everything" }]);
    let mut resources = vec![json!({ "type": "Patient", "interaction": [{ "code": "read" }, { "code": "search-type" }],
        "searchParam": patient, "operation": everything,
        "documentation": "Search by POST: by identifier, or by family and birthdate together." })];
    resources.extend(TYPES.iter().map(|kind| {
        json!({ "type": kind, "interaction": [{ "code": "search-type" }], "searchParam": about_a_child,
            "documentation": "Search by the child, `patient`, with our own id." })
    }));
    let words = "Show the certificate, or send the signed token (Bearer), that the broker's configuration names for you; a token's audience is the URL of this endpoint.";
    json!({ "resourceType": "CapabilityStatement", "status": "active", "date": now.to_string(), "kind": "instance",
        "software": { "name": "chis-broker", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "A child health hub's store, read only", "url": base },
        "fhirVersion": "4.0.1", "format": ["json"],
        "rest": [{ "mode": "server", "security": { "description": words }, "resource": resources }] })
}
