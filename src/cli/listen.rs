//! `listen`: a receiver for trying things out. It answers as it is told, well or badly, and says of each message its type, its id and
//! what it was answered; never its content.
//!
//! # What always holds
//!
//! - With `--record`, a message is on disk before it is answered. Files of before are never written over.
//! - A message whose id came before is told as `again`: a sender that loses nothing sends things twice.

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::arguments::Listen;
use super::output::Out;
use super::{Failure, Outcome, exit};
use crate::clock;
use crate::destinations::fake;
use crate::hl7::{Frame, Header, MllpCodec};

/// Longest message taken.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is wrong with an answer beside its code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Our half of the connection is closed without an answer.
    HalfClose,
    /// There is none, and the connection stays.
    NoAnswer,
    /// It is for another message.
    WrongId,
    /// It comes twice.
    AnswerTwice,
}

/// How messages are answered.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// MSA-1.
    pub ack: String,
    /// HTTP status.
    pub status: u16,
    /// Waited before each answer.
    pub delay: Duration,
    /// What is wrong.
    pub fault: Fault,
    /// All of this holds for each Nth message; the others are accepted at once.
    pub every: u64,
    /// Folder of what came.
    pub record: Option<PathBuf>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { ack: "AA".into(), status: 200, delay: Duration::ZERO, fault: Fault::None, every: 1, record: None }
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// From 1, over both doors.
    pub order: u64,
    /// `ADT^A31`, or `POST /fhir/r4`.
    pub kind: String,
    /// MSH-10, or `Idempotency-Key`.
    pub id: String,
    /// What it was answered: `AA`, `200`, `none`.
    pub answer: String,
    /// The id came before.
    pub again: bool,
}

/// Told of each message before it is answered.
pub type Tell = Arc<dyn Fn(Seen) + Send + Sync>;

/// A receiver at work; it ends with `closing`.
#[derive(Clone)]
pub struct Receiver {
    conduct: Arc<Conduct>,
    order: Arc<AtomicU64>,
    ids: Arc<Mutex<HashSet<String>>>,
    tell: Tell,
    closing: CancellationToken,
}

impl Receiver {
    /// A receiver that tells of each message.
    pub fn new(conduct: Conduct, tell: Tell, closing: CancellationToken) -> Result<Self, Failure> {
        let mut before = 0;
        if let Some(folder) = &conduct.record {
            let unusable = |error: std::io::Error| Failure::new(exit::CANNOT_CREATE, format!("{}: {error}", folder.display()));
            std::fs::create_dir_all(folder).map_err(unusable)?;
            for entry in std::fs::read_dir(folder).map_err(unusable)?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                before = before.max(name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0));
            }
        }
        Ok(Self { conduct: Arc::new(conduct), order: Arc::new(AtomicU64::new(before)), ids: Arc::default(), tell, closing })
    }

    /// Opens the MLLP door and gives where it is.
    pub async fn open_mllp(&self, at: SocketAddr) -> Result<SocketAddr, Failure> {
        self.open(at, |this, socket| Box::pin(async move { this.serve_mllp(socket).await })).await
    }

    /// Opens the FHIR door and gives where it is.
    pub async fn open_fhir(&self, at: SocketAddr) -> Result<SocketAddr, Failure> {
        self.open(at, |this, socket| Box::pin(async move { this.serve_fhir(socket).await })).await
    }

    async fn open<S>(&self, at: SocketAddr, serve: S) -> Result<SocketAddr, Failure>
    where
        S: Fn(Self, TcpStream) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>> + Send + 'static,
    {
        let failed =
            |error: std::io::Error| Failure::new(exit::SYSTEM, format!("{at} cannot be opened: {error}; choose another port, or 0"));
        let listener = TcpListener::bind(at).await.map_err(failed)?;
        let opened = listener.local_addr().map_err(failed)?;
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                let socket = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = this.closing.cancelled() => return,
                };
                if let Ok((socket, _)) = socket {
                    let (served, closing) = (serve(this.clone(), socket), this.closing.clone());
                    tokio::spawn(async move {
                        // A connection that breaks is the sender's to see.
                        tokio::select! { _broken = served => {}, () = closing.cancelled() => {} }
                    });
                }
            }
        });
        Ok(opened)
    }

    async fn serve_mllp(self, socket: TcpStream) -> std::io::Result<()> {
        let mut framed = Framed::new(socket, MllpCodec::new(MESSAGE_BYTES_MAX));
        while let Some(frame) = framed.next().await {
            let Frame::Message(message) = frame? else { continue };
            let header = Header::read(&message).ok();
            let kind = header.as_ref().map_or_else(|| "no MSH".to_owned(), Header::message_type);
            let id = header.as_ref().map(|header| header.control_id.clone()).unwrap_or_default();
            let (order, again, is_at_fault) = self.arrived("mllp", "hl7", &id, &message)?;
            let (code, fault) = if is_at_fault { (self.conduct.ack.as_str(), self.conduct.fault) } else { ("AA", Fault::None) };
            let told = match fault {
                Fault::None => code.to_owned(),
                Fault::HalfClose => "half-closed".to_owned(),
                Fault::NoAnswer => "none".to_owned(),
                Fault::WrongId => format!("{code} to another"),
                Fault::AnswerTwice => format!("{code} twice"),
            };
            (self.tell)(Seen { order, kind, id: id.clone(), answer: told, again });
            self.wait(is_at_fault).await;
            match fault {
                Fault::HalfClose => {
                    framed.get_mut().shutdown().await?;
                    // The other half stays open until the sender has had enough.
                    while framed.next().await.is_some() {}
                    return Ok(());
                }
                Fault::NoAnswer => continue,
                Fault::None | Fault::WrongId | Fault::AnswerTwice => {}
            }
            let id = if fault == Fault::WrongId { format!("NOT-{id}") } else { id };
            let answer = acknowledge(header.as_ref(), code, &id, order);
            for _ in 0..if fault == Fault::AnswerTwice { 2 } else { 1 } {
                framed.send(answer.as_bytes()).await?;
            }
        }
        Ok(())
    }

    async fn serve_fhir(self, mut socket: TcpStream) -> std::io::Result<()> {
        let Some(request) = fake::read_request(&mut socket).await? else { return Ok(()) };
        let ending = if request.content_type.contains("xml") { "xml" } else { "json" };
        let (order, again, is_at_fault) = self.arrived("fhir", ending, &request.key, &request.body)?;
        let (status, fault) = if is_at_fault { (self.conduct.status, self.conduct.fault) } else { (200, Fault::None) };
        let told = match fault {
            Fault::HalfClose => "half-closed".to_owned(),
            Fault::NoAnswer => "none".to_owned(),
            Fault::AnswerTwice => format!("{status} twice"),
            Fault::None | Fault::WrongId => status.to_string(),
        };
        (self.tell)(Seen { order, kind: request.target, id: request.key, answer: told, again });
        self.wait(is_at_fault).await;
        match fault {
            Fault::NoAnswer => return std::future::pending().await,
            Fault::HalfClose => return socket.shutdown().await,
            Fault::None | Fault::WrongId | Fault::AnswerTwice => {}
        }
        let body = if (200..300).contains(&status) {
            r#"{"resourceType":"Bundle","type":"transaction-response"}"#
        } else {
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing"}]}"#
        };
        let answer = format!(
            "HTTP/1.1 {status} Told\r\ncontent-type: application/fhir+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        for _ in 0..if fault == Fault::AnswerTwice { 2 } else { 1 } {
            socket.write_all(answer.as_bytes()).await?;
        }
        socket.shutdown().await
    }

    /// Counts and keeps a message. Gives its order, whether its id came before, and whether it is an Nth.
    fn arrived(&self, door: &str, ending: &str, id: &str, body: &[u8]) -> std::io::Result<(u64, bool, bool)> {
        let order = self.order.fetch_add(1, Ordering::AcqRel) + 1;
        if let Some(folder) = &self.conduct.record {
            keep(&folder.join(format!("{order:06}-{door}.{ending}")), body)?;
        }
        let again = !id.is_empty() && !self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{door} {id}"));
        Ok((order, again, order.is_multiple_of(self.conduct.every.max(1))))
    }

    async fn wait(&self, is_at_fault: bool) {
        if is_at_fault && !self.conduct.delay.is_zero() {
            tokio::time::sleep(self.conduct.delay).await;
        }
    }
}

fn keep(path: &Path, body: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(body)?;
    file.sync_all()
}

/// An acknowledgement in the delimiters of the message; its names the other way round.
fn acknowledge(header: Option<&Header>, code: &str, id: &str, order: u64) -> String {
    let standard = Header { field: b'|', encoding: "^~\\&".into(), version: "2.4".into(), processing_id: "P".into(), ..Header::default() };
    let header = header.unwrap_or(&standard);
    let bar = char::from(header.field);
    let kind = if header.trigger.is_empty() {
        "ACK".to_owned()
    } else {
        format!("ACK{}{}", header.encoding.chars().next().unwrap_or('^'), header.trigger)
    };
    let msh = [
        "MSH",
        &header.encoding,
        &header.receiving_application,
        &header.receiving_facility,
        &header.sending_application,
        &header.sending_facility,
        &clock::now().strftime("%Y%m%d%H%M%S+0000").to_string(),
        "",
        &kind,
        &format!("LISTEN{order}"),
        &header.processing_id,
        &header.version,
    ]
    .join(&bar.to_string());
    format!("{msh}\rMSA{bar}{code}{bar}{id}\r")
}

/// An id as it may be shown on a terminal.
fn shown(text: &str) -> String {
    text.chars().take(80).map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// Listens until Ctrl-C, a signal to end, or `--count` messages.
pub fn listen(listen: &Listen, out: &mut Out) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::SYSTEM, error.to_string()))?;
    runtime.block_on(run(listen, out))
}

async fn run(listen: &Listen, out: &mut Out) -> Outcome {
    let faults = [
        (listen.half_close, Fault::HalfClose),
        (listen.no_answer, Fault::NoAnswer),
        (listen.wrong_id, Fault::WrongId),
        (listen.answer_twice, Fault::AnswerTwice),
    ];
    let conduct = Conduct {
        ack: listen.ack.clone(),
        status: listen.status,
        delay: listen.delay,
        fault: faults.into_iter().find(|(is_asked, _)| *is_asked).map(|(_, fault)| fault).unwrap_or_default(),
        every: listen.every,
        record: listen.record.clone(),
    };
    let closing = CancellationToken::new();
    // Each sender waits for its answer, so what waits here is bounded by the connections.
    let (tell, mut seen) = mpsc::unbounded_channel();
    // Where nobody wants to know any more, the answer goes out all the same.
    let tell = move |message| drop(tell.send(message));
    let receiver = Receiver::new(conduct, Arc::new(tell), closing.clone())?;
    let at = |port: u16| SocketAddr::new(listen.address, port);
    if let Some(port) = listen.mllp {
        tell_where("MLLP", &receiver.open_mllp(at(port)).await?.to_string(), listen.json, out)?;
    }
    if let Some(port) = listen.fhir {
        tell_where("FHIR", &format!("http://{}", receiver.open_fhir(at(port)).await?), listen.json, out)?;
    }
    drop(receiver);
    let mut count = 0;
    let ended = super::demo::told_to_end();
    tokio::pin!(ended);
    while listen.count.is_none_or(|most| count < most) {
        let message = tokio::select! {
            message = seen.recv() => message,
            () = &mut ended => None,
        };
        let Some(Seen { order, kind, id, answer, again }) = message else { break };
        count += 1;
        if listen.json {
            out.json_line(&json!({ "order": order, "type": kind, "control_id": id, "answer": answer, "again": again }))?;
        } else {
            writeln!(out, "{order}  {}  {}  {answer}{}", shown(&kind), shown(&id), if again { "  again" } else { "" })?;
        }
        out.flush()?;
    }
    if listen.count.is_some() {
        // The last answer is on its way.
        tokio::time::sleep(listen.delay + Duration::from_millis(50)).await;
    }
    closing.cancel();
    Ok(exit::OK)
}

fn tell_where(door: &str, at: &str, is_json: bool, out: &mut Out) -> std::io::Result<()> {
    if is_json {
        out.json_line(&json!({ "listening": door, "at": at }))?;
    } else {
        writeln!(out, "listening: {door} {at}")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::super::send::Line;
    use super::*;

    fn message(id: &str) -> Vec<u8> {
        format!("MSH|^~\\&|CHIS|LONDON|VIEWER|SITE|20260401||ADT^A31^ADT_A05|{id}|P|2.4\rPID|1||x\r").into_bytes()
    }

    fn told() -> (Tell, mpsc::UnboundedReceiver<Seen>) {
        let (tell, seen) = mpsc::unbounded_channel();
        (Arc::new(move |message| tell.send(message).unwrap()), seen)
    }

    async fn open(conduct: Conduct) -> (String, mpsc::UnboundedReceiver<Seen>, CancellationToken) {
        let (tell, seen) = told();
        let closing = CancellationToken::new();
        let at = Receiver::new(conduct, tell, closing.clone()).unwrap().open_mllp(([127, 0, 0, 1], 0).into()).await.unwrap();
        (at.to_string(), seen, closing)
    }

    async fn line(at: &str) -> Line {
        Line::open(at, None, Duration::from_secs(20)).await.unwrap()
    }

    #[tokio::test]
    async fn it_answers_as_it_was_told_each_nth_time_and_says_what_came() {
        let (at, mut seen, _closing) = open(Conduct { ack: "AE".into(), every: 2, ..Conduct::default() }).await;
        let mut line = line(&at).await;
        let mut answers = Vec::new();
        for id in ["M1", "M2", "M2", "M4"] {
            let answer = line.ask(&message(id)).await.unwrap();
            assert_eq!(answer.control_id, id);
            answers.push(answer.code);
        }
        assert_eq!(answers, ["AA", "AE", "AA", "AE"]);
        let mut told = Vec::new();
        for _ in 0..4 {
            let Seen { order, kind, id, answer, again } = seen.recv().await.unwrap();
            told.push(format!("{order} {kind} {id} {answer} {again}"));
        }
        assert_eq!(told, ["1 ADT^A31 M1 AA false", "2 ADT^A31 M2 AE false", "3 ADT^A31 M2 AA true", "4 ADT^A31 M4 AE false"]);
    }

    #[tokio::test]
    async fn what_came_is_on_disk_in_its_order_and_nothing_of_before_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..2 {
            let (at, _seen, closing) = open(Conduct { record: Some(folder.path().to_owned()), ..Conduct::default() }).await;
            let mut line = line(&at).await;
            for id in ["M1", "M2"] {
                line.ask(&message(&format!("{id}{round}"))).await.unwrap();
            }
            closing.cancel();
        }
        let mut names: Vec<String> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["000001-mllp.hl7", "000002-mllp.hl7", "000003-mllp.hl7", "000004-mllp.hl7"]);
        assert_eq!(std::fs::read(folder.path().join("000004-mllp.hl7")).unwrap(), message("M21"));
    }

    #[tokio::test]
    async fn each_fault_is_seen_by_the_sender() {
        let ask = |fault| async move {
            let (at, _seen, _closing) = open(Conduct { fault, ..Conduct::default() }).await;
            let mut line = Line::open(&at, None, Duration::from_millis(if fault == Fault::NoAnswer { 50 } else { 20_000 })).await.unwrap();
            line.ask(&message("M1")).await.map(|answer| answer.control_id).map_err(|failure| failure.text)
        };
        assert_eq!(ask(Fault::WrongId).await, Ok("NOT-M1".to_owned()));
        assert_eq!(ask(Fault::AnswerTwice).await, Ok("M1".to_owned()));
        assert!(ask(Fault::HalfClose).await.unwrap_err().contains("closed the connection"));
        assert!(ask(Fault::NoAnswer).await.unwrap_err().contains("no answer"));
    }

    #[tokio::test]
    async fn a_bundle_is_answered_with_the_status_that_was_asked_for() {
        let (tell, mut seen) = told();
        let receiver = Receiver::new(Conduct { status: 409, ..Conduct::default() }, tell, CancellationToken::new()).unwrap();
        let at = receiver.open_fhir(([127, 0, 0, 1], 0).into()).await.unwrap();
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let client = super::super::send::client(Duration::from_secs(20)).unwrap();
        let answer = client.post(format!("http://{at}/fhir/r4")).header("idempotency-key", "e1/3").body("{}").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 409);
        let told = seen.recv().await.unwrap();
        assert_eq!((told.kind.as_str(), told.id.as_str(), told.answer.as_str()), ("POST /fhir/r4", "e1/3", "409"));
    }

    #[test]
    fn an_id_cannot_write_on_the_terminal() {
        assert_eq!(shown("M1\u{1b}[2J\n"), "M1?[2J?");
        assert_eq!(shown(&"x".repeat(200)).len(), 80);
    }
}
