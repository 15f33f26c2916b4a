//! Handing a Bundle over: one HTTPS request for one attempt, and what its end means.
//!
//! # What an answer means (destination rules, section 1)
//!
//!     2xx (202: queued there)  delivered            409               superseded: the receiver has something newer
//!     400, 422, other 4xx      held                 401, 403, 404, 405, 406, 415, 3xx   retry, rarely: the agreement is broken
//!     408, 425, 429, 5xx       retry                no answer         retry
//!
//! # Invariants
//!
//! - One call is one request; with a token that was refused, one more with a new one (`token`). The client follows no redirect, asks no
//!   proxy, tries nothing twice: the outbox does.
//! - Only the CAs of this destination are trusted; nothing of the machine's own store.
//! - `why` holds a status or a kind of failure, and never a word of the receiver, an address or a name.

use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, StatusCode, Url};

use super::record::percent;
use super::token::Tokens;
use super::{Kind, Payment, ProbeStep};
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
pub(super) const AGREEMENT_WAIT: Duration = Duration::from_secs(600);
/// A receiver may ask us to come back later, but not next week.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A FHIR receiver.
#[derive(Clone, Debug)]
pub struct FhirDestination {
    client: Client,
    url: Url,
    tokens: Option<Arc<Tokens>>,
}

impl FhirDestination {
    /// Reads certificates and makes one HTTP client (no redirects, no proxy from the environment).
    ///
    /// The error names the file or setting and what would help.
    pub fn new(kind: &Kind) -> Result<Self, String> {
        let Kind::Fhir { base, ca_file, certificate_file, key_file, timeout_s, oauth2, .. } = kind else {
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
        let tokens = oauth2.as_ref().map(|oauth2| Tokens::new(oauth2, client.clone()).map(Arc::new)).transpose()?;
        Ok(Self { client, url, tokens })
    }

    /// One attempt. The key goes into `Idempotency-Key`, the sender's control id into `X-Source-Control-Id`; what a header
    /// cannot hold is percent-encoded.
    ///
    /// An empty body is not sent: it is held, because nothing could be said or nothing may go out.
    pub async fn pay(&self, payment: Payment<'_>) -> Settlement {
        let Payment { key, body, attempts, now, .. } = payment;
        if body.is_empty() {
            return Settlement::Held { why: "nothing to send".to_owned() };
        }
        let wait = backoff(attempts, jitter(key, attempts));
        let Some(tokens) = &self.tokens else { return self.send(payment, None, wait).await.1 };
        let mut token = match tokens.bearer(now, wait).await {
            Ok(token) => token,
            Err(settlement) => return settlement,
        };
        let (status, settlement) = self.send(payment, Some(&token), wait).await;
        if status != Some(StatusCode::UNAUTHORIZED) {
            return settlement;
        }
        tokens.forget(&token).await;
        token = match tokens.bearer(now, wait).await {
            Ok(token) => token,
            Err(settlement) => return settlement,
        };
        let (status, settlement) = self.send(payment, Some(&token), wait).await;
        if status == Some(StatusCode::UNAUTHORIZED) {
            tokens.forget(&token).await;
        }
        settlement
    }

    async fn send(&self, payment: Payment<'_>, token: Option<&str>, wait: Duration) -> (Option<StatusCode>, Settlement) {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, FHIR_JSON)
            .header(reqwest::header::ACCEPT, FHIR_JSON)
            .header(IDEMPOTENCY_KEY, header_text(payment.key))
            .header(CONTROL_ID, header_text(payment.control_id))
            .header(PREFER, "return=minimal")
            .body(payment.body.to_vec());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(answer) => (Some(answer.status()), settle(answer.status(), answer.headers(), wait)),
            Err(error) => (None, retry(wait, failure(&error))),
        }
    }
}

impl FhirDestination {
    /// Connects, and asks for the receiver's capability statement with the certificates of a payment. Nothing of a child is sent.
    pub async fn probe(&self, tick: fn() -> std::time::Instant) -> Vec<ProbeStep> {
        let (host, port) = (self.url.host_str().unwrap_or_default(), self.url.port_or_known_default().unwrap_or(443));
        let begun = tick();
        let bare = host.trim_matches(['[', ']']);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect((bare, port))).await;
        let outcome = match connected {
            Ok(Ok(_)) => Ok(format!("port {port} takes connections")),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err("connection refused".to_owned()),
            Ok(Err(error)) => Err(format!("no connection: {}", error.kind())),
            Err(_) => Err("time-out".to_owned()),
        };
        let is_there = outcome.is_ok();
        let mut steps = vec![ProbeStep { step: "name and connection", milliseconds: tick().duration_since(begun).as_millis(), outcome }];
        if !is_there {
            return steps;
        }
        let begun = tick();
        let url = format!("{}/metadata", self.url);
        let outcome = match self.client.get(url).header(reqwest::header::ACCEPT, FHIR_JSON).send().await {
            Ok(answer) => match answer.status().as_u16() {
                200..=299 if is_web_page(answer.headers()) => Err("a web page and not a FHIR answer".to_owned()),
                code @ 200..=299 => Ok(format!("HTTP {code}")),
                code @ (401 | 403) => Err(format!("HTTP {code}, not authorised")),
                code => Err(format!("HTTP {code}; it answers, and has no capability statement there")),
            },
            Err(error) => Err(failure(&error)),
        };
        let step = if self.url.scheme() == "https" { "TLS, certificates, metadata" } else { "metadata" };
        steps.push(ProbeStep { step, milliseconds: tick().duration_since(begun).as_millis(), outcome });
        steps
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
        // Not what we agreed on, for whatever is sent: no child is held for it.
        404 | 405 | 406 | 415 => retry(AGREEMENT_WAIT.max(wait), format!("HTTP {code}, not the agreed address or format")),
        400..=499 => Settlement::Held { why: format!("HTTP {code}") },
        _ => retry(wait, format!("HTTP {code}")),
    }
}

pub(super) fn retry(wait: Duration, why: String) -> Settlement {
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
pub(super) fn jitter(key: &str, attempts: u32) -> u32 {
    let mut hasher = DefaultHasher::new();
    (key, attempts).hash(&mut hasher);
    u32::try_from(hasher.finish() % 1001).unwrap_or_default()
}

/// A header holds visible ASCII; the rest is percent-encoded.
fn header_text(text: &str) -> String {
    if text.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) { text.to_owned() } else { percent(text) }
}

/// The kind of a failure without an answer, in words of ours.
pub(super) fn failure(error: &reqwest::Error) -> String {
    let causes = || std::iter::successors(Some(error as &(dyn Error + 'static)), |cause| below(*cause));
    let tls = causes().find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let refused =
        |cause: &(dyn Error + 'static)| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused);
    let kind = match tls {
        Some(found) => tls_failure(found),
        None if error.is_timeout() => "time-out",
        None if causes().any(refused) => "connection refused",
        None if error.is_connect() => "no connection",
        None => "no answer",
    };
    kind.to_owned()
}

/// What caused an error. An `io::Error` names as its source only what lies below the error it wraps: look inside first.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
}

pub(super) fn tls_failure(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => "TLS: the receiver's certificate is not trusted",
        rustls::Error::AlertReceived(_) => "TLS: the receiver refused our handshake",
        _ => "TLS: the handshake failed",
    }
}

/// `{base}/fhir/r4`; HTTP only to this machine, no credentials in the URL.
pub(super) fn transaction_url(base: &str) -> Result<Url, String> {
    safe_url(&format!("{}/fhir/r4", base.trim_end_matches('/')), "base", base)
}

/// A URL that a record or a token may be sent to. `said`: what the setting holds.
pub(super) fn safe_url(text: &str, setting: &str, said: &str) -> Result<Url, String> {
    let url: Url =
        text.parse().map_err(|_| format!("`{setting} = \"{said}\"` is not a URL; write it like `https://receiver.example.nhs.uk`"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{setting}` must not hold a user name or password; the receiver knows us by `certificate_file`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{setting} = \"{said}\"` must end with its path; leave out `?` and `#` and what follows"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(url.host_str().unwrap_or_default()) => Ok(url),
        "http" => {
            Err(format!("`{setting} = \"{said}\"` would send records in the clear; use `https://` (`http://` is for 127.0.0.1 and ::1)"))
        }
        _ => Err(format!("`{setting} = \"{said}\"` must begin with `https://`")),
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn read(file: &Path, setting: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("`{setting}`: {} cannot be read ({})", file.display(), error.kind()))
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, String> {
    let pem = read(file, "ca_file")?;
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|_| format!("`ca_file`: {} is not PEM; it must hold BEGIN CERTIFICATE blocks", file.display()))?;
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
    let causes = std::iter::successors(Some(error as &(dyn Error + 'static)), |cause| below(*cause));
    causes.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::Profile;
    use super::super::fake::{Answer, Fake};
    use super::super::pki::Pki;
    use super::*;

    fn kind(base: String) -> Kind {
        let profile = Profile::ParentRecord;
        Kind::Fhir {
            base,
            profile,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            timeout_s: Some(20),
            concurrency: None,
            oauth2: None,
        }
    }

    fn secure(base: String, trusted: &Pki, ours: Option<(PathBuf, PathBuf)>) -> Kind {
        let (certificate_file, key_file) = ours.unzip();
        let profile = Profile::Record;
        Kind::Fhir {
            base,
            profile,
            ca_file: Some(trusted.file("ca.pem")),
            certificate_file,
            key_file,
            timeout_s: Some(20),
            concurrency: None,
            oauth2: None,
        }
    }

    async fn pay(destination: &FhirDestination) -> Settlement {
        destination
            .pay(Payment { key: "e1/patient/3", control_id: "MSG00007", body: b"{}", attempts: 0, now: jiff::Timestamp::UNIX_EPOCH })
            .await
    }

    fn held(why: &str) -> Settlement {
        Settlement::Held { why: why.to_owned() }
    }

    fn why(settlement: Settlement) -> (String, u64) {
        match settlement {
            Settlement::Retry { after_ms, why } => (why, after_ms),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn every_answer_has_its_settlement() {
        let fake = Fake::start().await.unwrap();
        let destination = FhirDestination::new(&kind(fake.base())).unwrap();
        for (status, settlement) in [
            (200, Settlement::Delivered),
            (201, Settlement::Delivered),
            (202, Settlement::Delivered),
            (204, Settlement::Delivered),
            (409, Settlement::Superseded),
            (400, held("HTTP 400")),
            (412, held("HTTP 412")),
            (422, held("HTTP 422")),
        ] {
            fake.next(Answer::Status(status));
            assert_eq!(pay(&destination).await, settlement, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            fake.next(Answer::Status(status));
            let (why, after_ms) = why(pay(&destination).await);
            assert_eq!(why, format!("HTTP {status}"));
            assert!((500..=1000).contains(&after_ms), "the first wait is about a second: {after_ms}");
        }
        for (status, said) in [
            (401, "HTTP 401, not authorised"),
            (403, "HTTP 403, not authorised"),
            (302, "HTTP 302, redirect not followed"),
            (404, "HTTP 404, not the agreed address or format"),
            (415, "HTTP 415, not the agreed address or format"),
        ] {
            fake.next(Answer::Status(status));
            assert_eq!(why(pay(&destination).await), (said.to_owned(), 600_000));
        }
    }

    #[tokio::test]
    async fn the_request_carries_key_and_origin_and_the_bundle_unchanged() {
        let fake = Fake::start().await.unwrap();
        let destination = FhirDestination::new(&kind(fake.base())).unwrap();
        let payment = Payment {
            key: "e1/patient/3",
            control_id: "A B\u{e9}\r\nX: y",
            body: b"{\"a\":1}",
            attempts: 0,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        assert_eq!(destination.pay(payment).await, Settlement::Delivered);
        let [request] = fake.received().try_into().unwrap();
        assert_eq!(request.target, "POST /fhir/r4");
        assert_eq!((request.key.as_str(), request.control_id.as_str()), ("e1/patient/3", "A%20B%C3%A9%0D%0AX%3A%20y"));
        assert_eq!((request.content_type.as_str(), request.body.as_slice()), ("application/fhir+json", &b"{\"a\":1}"[..]));
        let empty = Payment { key: "e2", control_id: "m", body: b"", attempts: 0, now: jiff::Timestamp::UNIX_EPOCH };
        assert_eq!(destination.pay(empty).await, held("nothing to send"));
        assert_eq!(fake.received().len(), 1, "an empty body is never sent");
    }

    #[tokio::test]
    async fn a_failing_receiver_is_tried_again_under_the_same_key_and_keeps_it_once() {
        let fake = Fake::start().await.unwrap();
        let destination = FhirDestination::new(&kind(fake.base())).unwrap();
        for (answer, said) in [(Answer::Status(503), "HTTP 503"), (Answer::Garbage, "no answer"), (Answer::Dropped, "no answer")] {
            fake.next(answer);
            assert_eq!(why(pay(&destination).await).0, said);
        }
        assert_eq!(pay(&destination).await, Settlement::Delivered);
        assert_eq!(fake.received().len(), 4, "one call is one request");
        assert_eq!(fake.effects().len(), 1, "the dropped answer had its effect, and the next request none");
    }

    #[tokio::test]
    async fn a_receiver_may_ask_us_to_wait_longer_but_not_shorter() {
        let fake = Fake::start().await.unwrap();
        let destination = FhirDestination::new(&kind(fake.base())).unwrap();
        for (asked, after_ms) in
            [("7", 7_000..=7_000), ("0", 500..=1000), ("99999999", 3_600_000..=3_600_000), ("soon", 500..=1000), ("-5", 500..=1000)]
        {
            fake.next(Answer::Header(503, "Retry-After", asked.to_owned()));
            assert!(after_ms.contains(&why(pay(&destination).await).1), "{asked}");
        }
        // A date is measured against the receiver's own clock.
        let date = "Wed, 01 Apr 2026 09:02:00 GMT\r\nDate: Wed, 01 Apr 2026 09:00:00 GMT".to_owned();
        fake.next(Answer::Header(503, "Retry-After", date));
        assert_eq!(why(pay(&destination).await).1, 120_000);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_a_sign_in_page_is_no_delivery() {
        let (fake, elsewhere) = (Fake::start().await.unwrap(), Fake::start().await.unwrap());
        let destination = FhirDestination::new(&kind(fake.base())).unwrap();
        for status in [301, 302, 307, 308] {
            fake.next(Answer::Header(status, "Location", format!("{}/fhir/r4", elsewhere.base())));
            assert_eq!(why(pay(&destination).await).0, format!("HTTP {status}, redirect not followed"));
        }
        assert!(elsewhere.received().is_empty());
        fake.next(Answer::Header(200, "Content-Type", "text/html; charset=utf-8".to_owned()));
        assert_eq!(why(pay(&destination).await).0, "HTTP 200, a web page and not a FHIR answer");
    }

    #[tokio::test]
    async fn nobody_there_is_a_reason_to_come_back() {
        let fake = Fake::start().await.unwrap();
        let base = fake.base();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop((fake, listener));
        for base in [base, format!("http://127.0.0.1:{port}")] {
            let destination = FhirDestination::new(&kind(base)).unwrap();
            let said = why(pay(&destination).await).0;
            assert!(matches!(said.as_str(), "connection refused" | "no connection" | "no answer"), "{said}");
        }
    }

    #[tokio::test]
    async fn both_sides_show_certificates_and_only_this_destinations_ca_is_trusted() {
        let (pki, stranger) = (Pki::new(), Pki::new());
        let fake = Fake::start_tls(pki.server("localhost")).await.unwrap();
        let known = FhirDestination::new(&secure(fake.base(), &pki, Some(pki.our_certificate()))).unwrap();
        assert_eq!(pay(&known).await, Settlement::Delivered);
        assert_eq!(fake.received().len(), 1);

        let deceived = FhirDestination::new(&secure(fake.base(), &stranger, Some(pki.our_certificate()))).unwrap();
        assert_eq!(why(pay(&deceived).await).0, "TLS: the receiver's certificate is not trusted");
        let nameless = FhirDestination::new(&secure(fake.base(), &pki, None)).unwrap();
        assert_eq!(why(pay(&nameless).await).0, "TLS: the receiver refused our handshake");
        let unknown = FhirDestination::new(&secure(fake.base(), &pki, Some(stranger.our_certificate()))).unwrap();
        assert_eq!(why(pay(&unknown).await).0, "TLS: the receiver refused our handshake");

        let other = Fake::start_tls(pki.server("other.example")).await.unwrap();
        let misled = FhirDestination::new(&secure(other.base(), &pki, Some(pki.our_certificate()))).unwrap();
        assert_eq!(why(pay(&misled).await).0, "TLS: the receiver's certificate is not trusted");
        assert_eq!((fake.received().len(), other.received().len()), (1, 0), "nothing of a child was sent to a stranger");
    }

    #[test]
    fn what_cannot_be_paid_over_is_refused_with_its_remedy() {
        let pki = Pki::new();
        let refused = |kind: &Kind| FhirDestination::new(kind).unwrap_err();
        let with = |ca: Option<&str>, certificate: Option<&str>, key: Option<&str>| Kind::Fhir {
            base: "https://receiver.example".to_owned(),
            profile: Profile::Record,
            ca_file: ca.map(|name| pki.file(name)),
            certificate_file: certificate.map(|name| pki.file(name)),
            key_file: key.map(|name| pki.file(name)),
            timeout_s: None,
            concurrency: None,
            oauth2: None,
        };
        pki.our_certificate();
        assert!(FhirDestination::new(&with(Some("ca.pem"), Some("our.pem"), Some("our.key"))).is_ok());
        assert!(refused(&with(None, None, None)).contains("`ca_file` is missing"));
        assert!(refused(&with(Some("none.pem"), None, None)).contains("cannot be read"));
        assert!(refused(&with(Some("our.key"), None, None)).contains("no certificate"));
        assert!(refused(&with(Some("ca.pem"), None, Some("our.key"))).contains("belong together"));
        assert!(refused(&with(Some("ca.pem"), Some("our.key"), Some("our.key"))).contains("not a certificate and its key"));
        assert!(refused(&kind("http://receiver.example".to_owned())).contains("in the clear"));
        assert!(
            refused(&Kind::Store { hub: "NE".into(), path: None, postgres: None, password_file: None, ca_file: None }).contains("`store`")
        );
    }

    #[test]
    fn lanes_that_failed_together_do_not_come_back_together() {
        let waits: std::collections::BTreeSet<u32> = (0..100).map(|lane| jitter(&format!("lane-{lane}"), 3)).collect();
        assert!(waits.len() > 90, "{}", waits.len());
        assert!(waits.iter().all(|wait| *wait <= 1000));
        assert_eq!(jitter("lane-1", 3), jitter("lane-1", 3));
        assert_ne!(jitter("lane-1", 3), jitter("lane-1", 4));
    }
}
