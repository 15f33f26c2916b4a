//! `send`: a sender for trying things out. Each message waits for the answer to the one before, as hospital systems do.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::arguments::Send;
use super::files::{self, Message};
use super::output::Out;
use super::{Failure, Outcome, exit};
use crate::clock;
use crate::hl7::{Frame, MllpCodec};
use crate::names::Format;

/// An answer as its sender sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// MSA-1, or the HTTP status.
    pub code: String,
    /// MSA-2: which message is answered; empty over HTTP.
    pub control_id: String,
    /// MSA-3, or what an OperationOutcome says.
    pub text: String,
}

impl Answer {
    /// Taken: AA, CA, 2xx.
    pub fn is_accepted(&self) -> bool {
        matches!(self.code.as_str(), "AA" | "CA") || (self.code.len() == 3 && self.code.starts_with('2'))
    }

    /// Reads the acknowledgement `bytes`; a receiver that answers something else is told as it is.
    pub fn of_mllp(bytes: &[u8]) -> Self {
        let msa = bytes.split(|byte| *byte == b'\r').find(|segment| segment.starts_with(b"MSA"));
        let Some(msa) = msa else {
            return Self { code: "??".into(), control_id: String::new(), text: "the answer has no MSA segment".into() };
        };
        let separator = msa.get(3).copied().unwrap_or(b'|');
        let fields: Vec<String> = msa.split(|byte| *byte == separator).map(|field| String::from_utf8_lossy(field).into_owned()).collect();
        let field = |number: usize| fields.get(number).cloned().unwrap_or_default();
        Self { code: field(1), control_id: field(2), text: field(3) }
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + std::marker::Send {}
impl<W: AsyncRead + AsyncWrite + Unpin + std::marker::Send> Wire for W {}

/// One MLLP connection.
pub struct Line {
    framed: Framed<Box<dyn Wire>, MllpCodec>,
    patience: Duration,
}

/// Longest answer taken.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Line {
    /// Connects to `to`, plain or by `tls`; an answer is waited for at most `patience`.
    pub async fn open(to: &str, tls: Option<&rustls::ClientConfig>, patience: Duration) -> Result<Self, Failure> {
        let unreachable = |error: std::io::Error| Failure::new(exit::UNREACHABLE, format!("{to} cannot be reached: {error}"));
        let connected = tokio::time::timeout(patience, TcpStream::connect(to)).await;
        let stream = connected
            .map_err(|_| Failure::new(exit::UNREACHABLE, format!("{to} did not answer in {} s", patience.as_secs())))?
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let wire: Box<dyn Wire> = match tls {
            None => Box::new(stream),
            Some(config) => {
                let host = to.rsplit_once(':').map_or(to, |(host, _)| host).trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(host)
                    .map_err(|_| Failure::new(exit::USAGE, format!("{to} has no name that a certificate could prove")))?;
                Box::new(tokio_rustls::TlsConnector::from(Arc::new(config.clone())).connect(name, stream).await.map_err(unreachable)?)
            }
        };
        Ok(Self { framed: Framed::new(wire, MllpCodec::new(ANSWER_BYTES_MAX)), patience })
    }

    /// Sends `body` and waits for its answer.
    pub async fn ask(&mut self, body: &[u8]) -> Result<Answer, Failure> {
        let lost = |error: std::io::Error| Failure::new(exit::UNREACHABLE, format!("the connection was lost: {error}"));
        self.framed.send(body).await.map_err(lost)?;
        match tokio::time::timeout(self.patience, self.framed.next()).await {
            Err(_) => Err(Failure::new(exit::UNREACHABLE, format!("no answer in {} s", self.patience.as_secs()))),
            Ok(None) => Err(Failure::new(exit::UNREACHABLE, "the receiver closed the connection without an answer")),
            Ok(Some(Err(error))) => Err(lost(error)),
            Ok(Some(Ok(Frame::Message(bytes)))) => Ok(Answer::of_mllp(&bytes)),
            Ok(Some(Ok(Frame::Truncated { .. } | Frame::Oversize { .. }))) => {
                Err(Failure::new(exit::UNREACHABLE, "the answer was cut short or too long"))
            }
        }
    }
}

/// An HTTP client that asks nobody else where to go.
pub fn client(patience: Duration) -> Result<reqwest::Client, Failure> {
    let built = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(patience).build();
    built.map_err(|error| Failure::new(exit::SYSTEM, format!("no HTTP client can be made: {error}")))
}

/// Posts `message` to `base`; where that has no path, to the door for its dialect.
pub async fn post(client: &reqwest::Client, base: &str, message: &Message) -> Result<Answer, Failure> {
    let (door, media_type) = files::door(message);
    let mut url =
        reqwest::Url::parse(base).map_err(|_| Failure::new(exit::USAGE, format!("{base} is no URL; write http://127.0.0.1:8080")))?;
    if matches!(url.path(), "" | "/") {
        url.set_path(&door);
    }
    let accept = if message.format == Format::Hl7v2 { media_type } else { "application/fhir+json" };
    let request = client.post(url).header("content-type", media_type).header("accept", accept).body(message.body.clone());
    let unreachable = |error: reqwest::Error| Failure::new(exit::UNREACHABLE, format!("{base} cannot be reached: {}", error.without_url()));
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unreachable)?;
    if message.format == Format::Hl7v2 && status.is_success() {
        return Ok(Answer::of_mllp(&body));
    }
    Ok(Answer { code: status.as_u16().to_string(), control_id: String::new(), text: issues(&body) })
}

/// What an OperationOutcome says, its issues in one line; of a Bundle that answers, the outcome of its first entry: all say the same.
fn issues(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let outcome = answer.pointer("/entry/0/response/outcome").unwrap_or(&answer);
    let says = |issue: &Value| {
        let text = issue.get("diagnostics").or_else(|| issue.get("details").and_then(|details| details.get("text")));
        text.and_then(Value::as_str).map(str::to_owned)
    };
    let texts: Vec<String> = outcome.get("issue").and_then(Value::as_array).into_iter().flatten().filter_map(says).collect();
    texts.join("; ")
}

/// Sends and prints; the exit code is 0 only if every message was taken.
pub fn send(send: &Send, out: &mut Out) -> Outcome {
    let mut messages = Vec::new();
    for file in &send.files {
        messages.extend(files::read(file)?.into_iter().map(|message| (file.display().to_string(), message)));
    }
    let tls = send.tls.as_deref().map(|ca| tls(ca, send.certificate.as_deref(), send.key.as_deref())).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::SYSTEM, error.to_string()))?;
    runtime.block_on(send_all(send, &messages, tls, out))
}

async fn send_all(send: &Send, messages: &[(String, Message)], tls: Option<rustls::ClientConfig>, out: &mut Out) -> Outcome {
    let patience = Duration::from_secs(send.timeout.max(1));
    let client = client(patience)?;
    let mut line: Option<Line> = None;
    let mut refused = 0_usize;
    let gap = send.rate.map(|rate| Duration::from_secs(1) / rate);
    let mut next = tokio::time::Instant::from_std(clock::tick());
    for (file, message) in (0..send.count).flat_map(|_| messages) {
        if let Some(gap) = gap {
            tokio::time::sleep_until(next).await;
            next += gap;
        }
        let answer = match (&send.to, &send.http) {
            (Some(to), _) if message.format == Format::Hl7v2 => {
                let open = match line.take() {
                    Some(open) => open,
                    None => Line::open(to, tls.as_ref(), patience).await?,
                };
                line.insert(open).ask(&message.body).await?
            }
            (_, Some(http)) => post(&client, http, message).await?,
            _ => return Err(Failure::new(exit::USAGE, format!("{file} is FHIR; say where to with --http URL"))),
        };
        refused += usize::from(!answer.is_accepted());
        tell(file, &answer, send.json, out)?;
    }
    Ok(if refused == 0 { exit::OK } else { exit::FOUND })
}

fn tell(file: &str, answer: &Answer, is_json: bool, out: &mut Out) -> std::io::Result<()> {
    if is_json {
        out.json_line(&json!({ "file": file, "answer": answer.code, "control_id": answer.control_id, "text": answer.text }))?;
    } else {
        let line = format!("{}  {}  {file}  {}", answer.code, answer.control_id, answer.text);
        writeln!(out, "{}", line.trim_end())?;
    }
    // A person watches this; a pipe wants each answer when it comes.
    out.flush()
}

fn tls(ca: &Path, certificate: Option<&Path>, key: Option<&Path>) -> Result<rustls::ClientConfig, Failure> {
    let unusable = |file: &Path, what: &str| Failure::new(exit::CONFIG, format!("{} {what}", file.display()));
    let certificates = |file: &Path| {
        let read: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        read.map_err(|error| unusable(file, &format!("holds no certificates as PEM: {error}")))
    };
    let mut roots = rustls::RootCertStore::empty();
    for authority in certificates(ca)? {
        roots.add(authority).map_err(|error| unusable(ca, &format!("has an authority that cannot be used: {error}")))?;
    }
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    match certificate.zip(key) {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &format!("holds no key as PEM: {error}")))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| unusable(certificate, &format!("does not go with the key: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_their_own_separator() {
        let answer = Answer::of_mllp(b"MSH|^~\\&|A\rMSA|AR|T1|unsupported\rERR|x\r");
        assert_eq!(answer, Answer { code: "AR".into(), control_id: "T1".into(), text: "unsupported".into() });
        assert_eq!(Answer::of_mllp(b"MSH$^~\\&\rMSA$CA$T|2\r").control_id, "T|2");
        assert_eq!(Answer::of_mllp(b"hello").code, "??");
    }

    #[test]
    fn only_accepts_count_as_taken() {
        let is_taken = |code: &str| Answer { code: code.into(), control_id: String::new(), text: String::new() }.is_accepted();
        assert_eq!(
            ["AA", "CA", "200", "202", "AE", "AR", "CE", "CR", "400", "503", "??", "2"].map(is_taken),
            [true, true, true, true, false, false, false, false, false, false, false, false]
        );
    }

    #[test]
    fn an_outcome_is_told_in_one_line() {
        let body = br#"{"resourceType":"OperationOutcome","issue":[{"diagnostics":"a"},{"details":{"text":"b"}},{"code":"x"}]}"#;
        assert_eq!(issues(body), "a; b");
        assert_eq!(issues(b"<html>"), "");
    }

    #[tokio::test]
    async fn a_message_is_sent_and_its_answer_read_over_a_real_socket() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let receiver = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut framed = Framed::new(stream, MllpCodec::new(1000));
            let Some(Ok(Frame::Message(body))) = framed.next().await else { panic!("no message") };
            framed.send(b"MSH|^~\\&|B\rMSA|AA|T1\r".as_slice()).await.unwrap();
            body
        });
        let mut line = Line::open(&to, None, Duration::from_secs(10)).await.unwrap();
        let answer = line.ask(b"MSH|^~\\&|A\r").await.unwrap();
        assert_eq!((answer.code.as_str(), answer.control_id.as_str()), ("AA", "T1"));
        assert_eq!(receiver.await.unwrap(), b"MSH|^~\\&|A\r".as_slice());
        assert_eq!(line.ask(b"MSH|^~\\&|A\r").await.unwrap_err().exit, exit::UNREACHABLE);
    }
}
