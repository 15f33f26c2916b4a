//! Handing a Bundle over: one HTTPS request for one attempt, and what its end means.
//!
//! # What an answer means (destination rules, section 1)
//!
//!     2xx                      delivered            409               superseded: the receiver has something newer
//!     400, 422, other 4xx      held                 401, 403, 3xx     retry, rarely: the agreement is broken
//!     408, 425, 429, 5xx       retry                no answer         retry
//!
//! # Invariants
//!
//! - One call is one request. The client follows no redirect, asks no proxy, tries nothing twice: the outbox does.
//! - Only the CAs of this destination are trusted; nothing of the machine's own store.
//! - `why` holds a status or a kind of failure, and never a word of the receiver, an address or a name.

use std::error::Error as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, StatusCode, Url};

use super::Kind;
use super::record::percent;
use crate::outbox::{Settlement, backoff};

const FHIR_JSON: &str = "application/fhir+json";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CONTROL_ID: HeaderName = HeaderName::from_static("x-source-control-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Time-out of an attempt where the configuration names none.
pub(super) const TIMEOUT_S: u64 = 30;
/// As long a name look-up, connect and TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a broken agreement waits: somebody has to mend it, and sees it in the listing meanwhile.
const AGREEMENT_WAIT: Duration = Duration::from_secs(600);
/// A receiver may ask us to come back later, but not next week.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A FHIR receiver.
#[derive(Clone, Debug)]
pub struct FhirDestination {
    client: Client,
    url: Url,
}

impl FhirDestination {
    /// Reads certificates and makes one HTTP client (no redirects, no proxy from the environment).
    ///
    /// The error names the file or setting and what would help.
    pub fn new(kind: &Kind) -> Result<Self, String> {
        let Kind::Fhir { base, ca_file, certificate_file, key_file, timeout_s, .. } = kind else {
            return Err("a destination of kind `store` is not paid over HTTPS".to_owned());
        };
        let url = transaction_url(base)?;
        let timeout = Duration::from_secs(timeout_s.unwrap_or(TIMEOUT_S));
        let mut client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout));
        // The ring provider serves the whole process; a second installation changes nothing and says so.
        drop(rustls::crypto::ring::default_provider().install_default());
        if url.scheme() == "https" {
            let file = ca_file.as_ref().ok_or("`ca_file` is missing; name a PEM file of the CAs that sign the receiver's certificate")?;
            client = client.https_only(true).tls_certs_only(certificates(file)?);
        }
        if let Some(identity) = identity(certificate_file.as_deref(), key_file.as_deref())? {
            client = client.identity(identity);
        }
        let client = client.build().map_err(|error| format!("no TLS client can be made for `{base}`: {}", root_cause(&error)))?;
        Ok(Self { client, url })
    }

    /// One attempt. `key` goes into `Idempotency-Key`, `control_id` into `X-Source-Control-Id` (what a header cannot
    /// hold is percent-encoded); `attempts`, those before this one, chooses the wait.
    ///
    /// An empty body is not sent: it is held, because nothing could be said or nothing may go out.
    pub async fn pay(&self, key: &str, control_id: &str, body: &[u8], attempts: u32) -> Settlement {
        if body.is_empty() {
            return Settlement::Held { why: "nothing to send".to_owned() };
        }
        let wait = backoff(attempts, jitter(key, attempts));
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, FHIR_JSON)
            .header(reqwest::header::ACCEPT, FHIR_JSON)
            .header(IDEMPOTENCY_KEY, header_text(key))
            .header(CONTROL_ID, header_text(control_id))
            .header(PREFER, "return=minimal")
            .body(body.to_vec());
        match request.send().await {
            Ok(answer) => settle(answer.status(), answer.headers(), wait),
            Err(error) => retry(wait, failure(&error)),
        }
    }
}

/// What an answer means.
fn settle(status: StatusCode, headers: &HeaderMap, wait: Duration) -> Settlement {
    let code = status.as_u16();
    match code {
        // A sign-in page of something in between also says 200: it has not kept our Bundle.
        200..=299 if is_web_page(headers) => retry(AGREEMENT_WAIT.max(wait), format!("HTTP {code}, a web page and not a FHIR answer")),
        200..=299 => Settlement::Delivered,
        300..=399 => retry(AGREEMENT_WAIT.max(wait), format!("HTTP {code}, redirect not followed")),
        401 | 403 => retry(AGREEMENT_WAIT.max(wait), format!("HTTP {code}, not authorised")),
        409 => Settlement::Superseded,
        408 | 425 | 429 | 500..=599 => retry(asked_to_wait(headers).map_or(wait, |asked| asked.max(wait)), format!("HTTP {code}")),
        400..=499 => Settlement::Held { why: format!("HTTP {code}") },
        _ => retry(wait, format!("HTTP {code}")),
    }
}

fn retry(wait: Duration, why: String) -> Settlement {
    Settlement::Retry { after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), why }
}

fn is_web_page(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}

/// `Retry-After` as seconds, or as a date measured against the receiver's own `Date`, so that no clock of ours is read.
fn asked_to_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let seconds = match asked.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let then = jiff::fmt::rfc2822::parse(asked).ok()?.timestamp();
            let now = jiff::fmt::rfc2822::parse(text(DATE)?).ok()?.timestamp();
            u64::try_from(then.as_second().saturating_sub(now.as_second())).ok()?
        }
    };
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// 0 to 1000, the same for the same key and attempt: lanes that failed together do not come back together.
fn jitter(key: &str, attempts: u32) -> u32 {
    let mut hasher = DefaultHasher::new();
    (key, attempts).hash(&mut hasher);
    u32::try_from(hasher.finish() % 1001).unwrap_or_default()
}

/// A header holds visible ASCII; the rest is percent-encoded.
fn header_text(text: &str) -> String {
    if text.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) { text.to_owned() } else { percent(text) }
}

/// The kind of a failure without an answer, in words of ours.
fn failure(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut refused = false;
    let mut tls = None;
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<rustls::Error>() {
            tls = Some(tls_failure(found));
        }
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
            // An io::Error gives as its source what it wraps leaves out: look inside.
            if let Some(found) = io.get_ref().and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>()) {
                tls = Some(tls_failure(found));
            }
        }
        cause = inner.source();
    }
    let kind = match tls {
        Some(kind) => kind,
        None if error.is_timeout() => "time-out",
        None if refused => "connection refused",
        None if error.is_connect() => "no connection",
        None => "no answer",
    };
    kind.to_owned()
}

fn tls_failure(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => "TLS: the receiver's certificate is not trusted",
        rustls::Error::AlertReceived(_) => "TLS: the receiver refused our handshake",
        _ => "TLS: the handshake failed",
    }
}

/// `{base}/fhir/r4`; HTTP only to this machine, no credentials in the URL.
pub(super) fn transaction_url(base: &str) -> Result<Url, String> {
    let url: Url = format!("{}/fhir/r4", base.trim_end_matches('/'))
        .parse()
        .map_err(|_| format!("`base = \"{base}\"` is not a URL; write it like `https://receiver.example.nhs.uk`"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`base` must not hold a user name or password; the receiver knows us by `certificate_file`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`base = \"{base}\"` must end with its path; leave out `?` and `#` and what follows"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(url.host_str().unwrap_or_default()) => Ok(url),
        "http" => Err(format!("`base = \"{base}\"` would send records in the clear; use `https://` (`http://` is for 127.0.0.1 and ::1)")),
        _ => Err(format!("`base = \"{base}\"` must begin with `https://`")),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read(file: &Path, setting: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("`{setting}`: {} cannot be read ({})", file.display(), error.kind()))
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, String> {
    let pem = read(file, "ca_file")?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|_| format!("`ca_file`: {} is not PEM; it must hold BEGIN CERTIFICATE blocks", file.display()))?;
    if found.is_empty() {
        return Err(format!("`ca_file`: {} holds no certificate; it must hold BEGIN CERTIFICATE blocks", file.display()));
    }
    Ok(found)
}

fn identity(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Identity>, String> {
    let (certificate, key) = match (certificate, key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => return Err("`certificate_file` and `key_file` belong together; name both or none".to_owned()),
    };
    let mut pem = read(certificate, "certificate_file")?;
    pem.push(b'\n');
    pem.extend(read(key, "key_file")?);
    let both = Identity::from_pem(&pem);
    both.map(Some).map_err(|_| format!("{} and {} are not a certificate and its key in PEM", certificate.display(), key.display()))
}

/// The innermost cause, which says most.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
