//! Handing messages over by MLLP: one connection for each message in flight, and what the end of an attempt means.
//!
//! # What an answer means (destination rules, section 1; protocol rules, sections 1 and 3)
//!
//!     AA, CA                    this message is delivered     AR, CR      held; only the code is kept
//!     AE, CE                    retry                         no answer, half an answer, closed, something else: retry
//!     for another message       retry, and the connection is given up
//!
//! A connection that nobody used for a while may be dead without a sign: whatever stands between forgets it. Where not a byte of an answer came,
//! the same message goes once more on a new one, at once and under the same control id, and only that counts.
//!
//! # Invariants
//!
//! - One message is in flight on a connection; the next is sent when it was answered.
//! - A debt is delivered when each of its messages was accepted, in their order. Tried again, all are sent again under the same
//!   control ids: a receiver that knows one has no second effect of it.
//! - `why` holds a code or a kind of failure, and never a word of the receiver, an address or a name.
//!
//! # Not here
//!
//! What is said (`viewer`), and when it is tried again (`outbox`).

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::viewer::{Heading, TemplateMistake, Viewer, template_files};
use super::wire::{is_loopback, jitter, tls_failure};
use super::{Payment, out_of_range};
use crate::hl7::{Frame, MllpCodec};
use crate::outbox::{Settlement, backoff};

/// How long an answer is waited for where the configuration says nothing (protocol rules, section 1).
const ACK_TIMEOUT_S: u64 = 30;
/// As long a name look-up, connect and TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer taken.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What nobody used for so long is not used again: firewalls forget a quiet connection after five minutes and more.
const IDLE_MAX: jiff::SignedDuration = jiff::SignedDuration::from_secs(240);
/// What somebody used more recently cannot have been forgotten: silence on it is a slow receiver, who would be told everything twice.
const IDLE_MIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
/// So many messages that were answered on a connection are remembered: their answers may come twice.
const ANSWERED_MAX: usize = 16;

/// `kind = "mllp"`: a shared-care viewer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MllpConfig {
    /// `viewer.example.nhs.uk:2575`; a certificate must be for this name.
    pub address: String,
    /// PEM of the authorities that may sign the receiver's certificate. Without it the line is plain.
    pub ca_file: Option<PathBuf>,
    /// PEM of our certificate.
    pub certificate_file: Option<PathBuf>,
    /// PEM of our key.
    pub key_file: Option<PathBuf>,
    /// Says that a plain line to another machine is meant.
    #[serde(default)]
    pub plain: bool,
    /// Seconds to wait for an answer. Default 30.
    pub ack_timeout_s: Option<u64>,
    /// Messages in flight at once, each on a connection of its own. Default 1.
    pub window: Option<usize>,
    /// MSH-3 and MSH-4. Default `CHIS|LONDON`.
    pub sender: Option<String>,
    /// MSH-5 and MSH-6. Default `VIEWER|LONDON`.
    pub receiver: Option<String>,
    /// MSH-11. Default `P`.
    pub processing_id: Option<String>,
    /// MSH-12. Default 2.4.
    pub hl7_version: Option<String>,
    /// Folder of templates that take the place of the shipped ones of the same name.
    pub templates: Option<PathBuf>,
    /// Writes `""` where a sender said that there is none. Default false.
    #[serde(default)]
    pub clear: bool,
}

impl MllpConfig {
    /// What is wrong with it, each with what would help. Reads no file.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let address = &self.address;
        let host = match split(address) {
            Some((host, _)) => host,
            None => {
                problems.push(format!("`address = \"{address}\"` is no host with a port; write it like `viewer.example.nhs.uk:2575`"));
                "localhost"
            }
        };
        match (&self.ca_file, self.plain) {
            (None, false) if !is_loopback(host) => problems.push(
                "`ca_file` is missing; name a PEM file of the authorities that sign the receiver's certificate (or write `plain = true` where the line is protected otherwise)".to_owned(),
            ),
            (Some(_), true) => problems.push("`plain` says that there is no TLS, and `ca_file` that there is; leave out one of them".to_owned()),
            _ => {}
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            problems.push("`certificate_file` and `key_file` belong together; name both or none".to_owned());
        }
        if self.ca_file.is_none() && self.certificate_file.is_some() {
            problems.push("`certificate_file` has no use without TLS; name `ca_file`, or leave it out".to_owned());
        }
        problems.extend(out_of_range("ack_timeout_s", self.ack_timeout_s, 1..=600));
        problems.extend(out_of_range("window", self.window.map(|window| window as u64), 1..=64));
        for (key, pair) in [("sender", &self.sender), ("receiver", &self.receiver)] {
            let is_pair = |pair: &String| pair.split('|').count() == 2 && pair.split('|').all(|part| !part.is_empty() && part.len() <= 60);
            if let Some(pair) = pair.as_ref().filter(|pair| !is_pair(pair)) {
                problems.push(format!("`{key} = \"{pair}\"` is no application and facility; write it like `CHIS|LONDON`"));
            }
        }
        problems
    }

    /// The viewer that its templates make.
    ///
    /// An error is a list of mistakes in templates; a folder that cannot be read is one without a place.
    pub fn viewer(&self) -> Result<Viewer, Vec<TemplateMistake>> {
        let unread = |message: String| {
            let help = "correct `templates` or its permissions".to_owned();
            let file = self.templates.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
            vec![TemplateMistake { file, span: 0..0, at: (1, 1), message, help }]
        };
        let files = template_files(self.templates.as_deref()).map_err(unread)?;
        let pair = |pair: &Option<String>, default: &str| {
            let text = pair.as_deref().unwrap_or(default);
            let (application, facility) = text.split_once('|').unwrap_or((text, ""));
            (application.to_owned(), facility.to_owned())
        };
        let heading = Heading {
            sender: pair(&self.sender, "CHIS|LONDON"),
            receiver: pair(&self.receiver, "VIEWER|LONDON"),
            processing_id: self.processing_id.clone().unwrap_or_else(|| "P".to_owned()),
            version: self.hl7_version.clone().unwrap_or_else(|| "2.4".to_owned()),
        };
        Viewer::new(&files, heading, self.clear)
    }
}

/// Host and port.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_host = !host.is_empty() && !host.contains(['/', ' ', '@']);
    is_host.then_some(())?;
    port.parse().ok().filter(|port| *port != 0).map(|port| (host, port))
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<W: AsyncRead + AsyncWrite + Unpin + Send> Wire for W {}

/// One connection.
struct Line {
    framed: Framed<Box<dyn Wire>, MllpCodec>,
    /// Messages that were answered on it, the newest last.
    answered: VecDeque<String>,
    /// Since when nobody uses it; none while it is used, and where it was used a moment ago.
    idle_since: Option<jiff::Timestamp>,
}

/// An MLLP receiver.
#[derive(Clone)]
pub struct MllpDestination {
    address: String,
    tls: Option<Arc<rustls::ClientConfig>>,
    timeout: Duration,
    /// Connections that nobody uses at the moment.
    idle: Arc<Mutex<Vec<Line>>>,
}

impl std::fmt::Debug for MllpDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MllpDestination").field("address", &self.address).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Why an exchange has no answer that counts.
struct Lost {
    why: &'static str,
    heard: Heard,
}

/// What came in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Something, or there was no connection.
    Other,
    /// Not a byte, and the connection ended.
    Closed,
    /// Not a byte in time.
    Nothing,
}

impl Lost {
    fn because(why: &'static str) -> Self {
        Self { why, heard: Heard::Other }
    }
}

impl MllpDestination {
    /// Reads certificates; opens no connection.
    ///
    /// The error names the file or setting and what would help.
    pub fn new(config: &MllpConfig) -> Result<Self, String> {
        let identity = config.certificate_file.as_deref().zip(config.key_file.as_deref());
        let tls = config.ca_file.as_deref().map(|ca| client_tls(ca, identity)).transpose()?;
        let timeout = Duration::from_secs(config.ack_timeout_s.unwrap_or(ACK_TIMEOUT_S));
        Ok(Self { address: config.address.clone(), tls: tls.map(Arc::new), timeout, idle: Arc::default() })
    }

    /// One attempt: every message of the debt, in order, until one is not accepted.
    pub async fn pay(&self, payment: Payment<'_>) -> Settlement {
        let messages = messages(payment.body);
        if messages.is_empty() {
            return Settlement::Held { why: "nothing to send".to_owned() };
        }
        let wait = backoff(payment.attempts, jitter(payment.key, payment.attempts));
        let retry = |why: String| Settlement::Retry { after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), why };
        let mut line = self.take_idle(payment.now);
        for (place, message) in (1..).zip(&messages) {
            let whole = if messages.len() == 1 { String::new() } else { format!(" to message {place} of {}", messages.len()) };
            match self.exchange(&mut line, message).await {
                Err(lost) => return retry(format!("{}{whole}", lost.why)),
                Ok(code) => match code.as_str() {
                    "AA" | "CA" => {}
                    "AE" | "CE" => {
                        self.give_back(line, payment.now);
                        return retry(format!("{code}{whole}"));
                    }
                    _ => {
                        self.give_back(line, payment.now);
                        return Settlement::Held { why: format!("{code}{whole}") };
                    }
                },
            }
        }
        self.give_back(line, payment.now);
        Settlement::Delivered
    }

    /// Sends one message and waits for its answer. A connection that had been open and turns out to be closed, or that nobody had used and that is
    /// silent, is opened anew, once. What failed leaves no connection behind.
    async fn exchange(&self, line: &mut Option<Line>, message: &[u8]) -> Result<String, Lost> {
        let (mut was_open, was_idle) = (line.is_some(), line.as_ref().is_some_and(|line| line.idle_since.is_some()));
        loop {
            let mut open = match line.take() {
                Some(open) => open,
                None => self.open().await?,
            };
            match open.ask(message, self.timeout).await {
                Ok(code) => {
                    *line = Some(open);
                    return Ok(code);
                }
                Err(lost) if was_open && (lost.heard == Heard::Closed || was_idle && lost.heard == Heard::Nothing) => was_open = false,
                Err(lost) => return Err(lost),
            }
        }
    }

    async fn open(&self) -> Result<Line, Lost> {
        match tokio::time::timeout(CONNECT_TIMEOUT.min(self.timeout), self.connect()).await {
            Err(_) => Err(Lost::because("no connection in time")),
            Ok(Err(error)) => Err(Lost::because(failure(&error))),
            Ok(Ok(wire)) => {
                Ok(Line { framed: Framed::new(wire, MllpCodec::new(ANSWER_BYTES_MAX)), answered: VecDeque::new(), idle_since: None })
            }
        }
    }

    /// Connects as a payment does, and sends nothing.
    pub async fn probe(&self, tick: fn() -> std::time::Instant) -> Vec<super::ProbeStep> {
        let begun = tick();
        let outcome = match tokio::time::timeout(self.timeout, self.connect()).await {
            Ok(Ok(_)) => Ok("it takes connections".to_owned()),
            Ok(Err(error)) => Err(error.kind().to_string()),
            Err(_) => Err("time-out".to_owned()),
        };
        let step = if self.tls.is_some() { "name, connection, TLS, certificates" } else { "name and connection" };
        vec![super::ProbeStep { step, milliseconds: tick().duration_since(begun).as_millis(), outcome }]
    }

    async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let host = split(&self.address).map_or("", |(host, _)| host).to_owned();
        let name = ServerName::try_from(host).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Box::new(tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await?))
    }

    /// A connection that is open and on which nothing came that nobody asked for.
    fn take_idle(&self, now: jiff::Timestamp) -> Option<Line> {
        loop {
            let mut line = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            let is_fresh = line.idle_since.is_none_or(|since| now.duration_since(since) < IDLE_MAX);
            line.idle_since = line.idle_since.filter(|since| IDLE_MIN <= now.duration_since(*since));
            if is_fresh && line.is_quiet() {
                return Some(line);
            }
        }
    }

    fn give_back(&self, line: Option<Line>, now: jiff::Timestamp) {
        let line = line.map(|line| Line { idle_since: Some(now), ..line });
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(line);
    }
}

impl Line {
    /// False where it was closed, or something came that is no second answer to a message of before.
    fn is_quiet(&mut self) -> bool {
        loop {
            match self.framed.next().now_or_never() {
                None => return self.framed.read_buffer().is_empty(),
                Some(Some(Ok(Frame::Message(bytes)))) if read_answer(&bytes).is_some_and(|(_, id)| self.answered.contains(&id)) => {}
                Some(_) => return false,
            }
        }
    }

    async fn ask(&mut self, message: &[u8], patience: Duration) -> Result<String, Lost> {
        let control_id = control_id(message);
        self.idle_since = None;
        let closed = || Lost { why: "the connection was closed without an answer", heard: Heard::Closed };
        let asked = async {
            if self.framed.send(message).await.is_err() {
                return Err(closed());
            }
            loop {
                match self.framed.next().await {
                    None | Some(Err(_)) => return Err(closed()),
                    Some(Ok(Frame::Truncated { .. } | Frame::Oversize { .. })) => {
                        return Err(Lost::because("the answer was cut short or too long"));
                    }
                    Some(Ok(Frame::Message(bytes))) => match read_answer(&bytes) {
                        None => return Err(Lost::because("the answer is no acknowledgement")),
                        Some((code, id)) if id == control_id => return Ok(code),
                        // An answer that came twice says nothing of this message.
                        Some((_, id)) if self.answered.contains(&id) => {}
                        Some(_) => return Err(Lost::because("an answer to another message")),
                    },
                }
            }
        };
        let asked = tokio::time::timeout(patience, asked).await;
        let code = match asked {
            Ok(asked) => asked?,
            Err(_) => {
                let heard = if self.framed.read_buffer().is_empty() { Heard::Nothing } else { Heard::Other };
                return Err(Lost { why: "no answer in time", heard });
            }
        };
        self.answered.push_back(control_id);
        if ANSWERED_MAX < self.answered.len() {
            self.answered.pop_front();
        }
        Ok(code)
    }
}

/// The messages of a body: each begins with MSH.
fn messages(body: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..body.len())
        .filter(|at| body.get(*at..).is_some_and(|rest| rest.starts_with(b"MSH|")) && (*at == 0 || body.get(*at - 1) == Some(&b'\r')))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([body.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| body.get(*start..end)).collect()
}

/// MSH-10 of a message of our own.
fn control_id(message: &[u8]) -> String {
    let field = message.split(|byte| *byte == b'|').nth(9).unwrap_or_default();
    String::from_utf8_lossy(field).into_owned()
}

/// MSA-1 and MSA-2. None for what is no acknowledgement, or has a code that nobody knows.
fn read_answer(bytes: &[u8]) -> Option<(String, String)> {
    let separator = bytes.strip_prefix(b"MSH").and_then(<[u8]>::first).copied()?;
    let segment = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).find(|segment| segment.starts_with(b"MSA"))?;
    let mut fields = segment.split(|byte| *byte == separator).skip(1).map(|field| String::from_utf8_lossy(field).trim().to_owned());
    let (code, id) = (fields.next()?, fields.next().unwrap_or_default());
    matches!(code.as_str(), "AA" | "AE" | "AR" | "CA" | "CE" | "CR").then_some((code, id))
}

/// The kind of a failure to connect, in words of ours.
fn failure(error: &io::Error) -> &'static str {
    if let Some(found) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_failure(found);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::TimedOut => "no connection in time",
        _ => "no connection",
    }
}

fn client_tls(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<rustls::ClientConfig, String> {
    let unusable = |setting: &str, file: &Path, what: &str| format!("`{setting}`: {} {what}", file.display());
    let certificates = |setting: &str, file: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        let read = read.map_err(|error| unusable(setting, file, &format!("holds no certificates as PEM ({error})")))?;
        if read.is_empty() { Err(unusable(setting, file, "holds no certificate; it must hold BEGIN CERTIFICATE blocks")) } else { Ok(read) }
    };
    let mut roots = rustls::RootCertStore::empty();
    for authority in certificates("ca_file", ca)? {
        roots.add(authority).map_err(|error| unusable("ca_file", ca, &format!("has an authority that cannot be used ({error})")))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("key_file", key, &format!("holds no key as PEM ({error})")))?;
    let built = builder.with_client_auth_cert(certificates("certificate_file", certificate)?, private);
    built.map_err(|error| unusable("key_file", key, &format!("does not go with the certificate ({error})")))
}

#[cfg(test)]
#[path = "mllp_tests.rs"]
mod tests;
