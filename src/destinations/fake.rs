//! A FHIR receiver that is not there: real sockets, an account of all that arrived, and failure on command.
//!
//! The parents' record and the hubs' systems have no public test endpoint, so this stands in for them in `demo` and in
//! tests. It keeps the receiver's side of the contract (destination rules, section 1): a key it has seen has no second
//! effect. It is never reachable from another machine, and no configuration can name it.
//!
//! # Not here
//!
//! No FHIR: what it is sent it keeps as bytes, for others to judge.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Older requests are forgotten beyond so many; keys are not.
const REQUESTS_MAX: usize = 10_000;

/// What the next request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status without a body.
    Status(u16),
    /// A status with a header more.
    Header(u16, &'static str, String),
    /// The Bundle is kept, and the connection closed without a word.
    Dropped,
    /// 200 with this body: a token endpoint.
    Json(String),
    /// Bytes that are not HTTP; nothing is kept.
    Garbage,
    /// The Bundle is kept, and the answer comes so late.
    Late(std::time::Duration),
    /// The Bundle is kept and answered twice over.
    Twice,
}

impl Answer {
    /// True where the Bundle is kept.
    fn keeps(&self) -> bool {
        match self {
            Self::Status(status) | Self::Header(status, ..) => (200..=299).contains(status),
            Self::Dropped | Self::Late(_) | Self::Twice => true,
            Self::Json(_) | Self::Garbage => false,
        }
    }

    fn bytes(&self) -> Option<String> {
        let more = match self {
            Self::Late(_) => return Self::Status(200).bytes(),
            Self::Twice => return Some(Self::Status(200).bytes()?.repeat(2)),
            Self::Status(_) => String::new(),
            Self::Header(_, name, value) => format!("{name}: {value}\r\n"),
            Self::Dropped => return None,
            Self::Json(body) => {
                let length = body.len();
                return Some(format!(
                    "HTTP/1.1 200 Told\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                ));
            }
            Self::Garbage => return Some("220 this is a mail server\r\n".to_owned()),
        };
        let (Self::Status(status) | Self::Header(status, ..)) = self else { return None };
        Some(format!("HTTP/1.1 {status} Told\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n"))
    }
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// `POST /fhir/r4`.
    pub target: String,
    /// `Idempotency-Key`.
    pub key: String,
    /// `X-Source-Control-Id`.
    pub control_id: String,
    /// `Content-Type`.
    pub content_type: String,
    /// `Authorization`.
    pub authorization: String,
    /// The Bundle.
    pub body: Vec<u8>,
    /// True where it was kept and its key was new.
    pub effect: bool,
}

#[derive(Debug, Default)]
struct Account {
    next: VecDeque<Answer>,
    keys: BTreeSet<String>,
    received: VecDeque<Received>,
}

/// A running receiver on a port of 127.0.0.1; it stops when this is dropped.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    scheme: &'static str,
    account: Arc<Mutex<Account>>,
    listening: JoinHandle<()>,
}

impl Fake {
    /// Listens on a free port, plain HTTP.
    pub async fn start() -> io::Result<Self> {
        Self::listen(None, 0).await
    }

    /// The same on a port that was known before.
    pub async fn start_at(port: u16) -> io::Result<Self> {
        Self::listen(None, port).await
    }

    /// The same over TLS with the caller's certificate.
    pub async fn start_tls(config: Arc<rustls::ServerConfig>) -> io::Result<Self> {
        Self::listen(Some(TlsAcceptor::from(config)), 0).await
    }

    async fn listen(tls: Option<TlsAcceptor>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let account = Arc::new(Mutex::new(Account::default()));
        let listening = tokio::spawn(accept(listener, tls, Arc::clone(&account)));
        Ok(Self { address, scheme, account, listening })
    }

    /// What a destination's `base` must be. The host is `localhost`, so that a certificate can name it.
    pub fn base(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    /// The answer to the next request that has none yet. With nothing said, a request is kept and answered 200.
    pub fn next(&self, answer: Answer) {
        lock(&self.account).next.push_back(answer);
    }

    /// All requests in the order they arrived.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.account).received.iter().cloned().collect()
    }

    /// The requests that were kept for the first time: what the receiver now knows.
    pub fn effects(&self) -> Vec<Received> {
        lock(&self.account).received.iter().filter(|request| request.effect).cloned().collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A test that panicked with the lock in hand has not spoilt the account.
fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, account: Arc<Mutex<Account>>) {
    while let Ok((socket, _peer)) = listener.accept().await {
        let (tls, account) = (tls.clone(), Arc::clone(&account));
        tokio::spawn(async move {
            // What goes wrong here is the caller's to see: it gets no answer.
            drop(match tls {
                None => serve(socket, &account).await,
                Some(tls) => match tls.accept(socket).await {
                    Ok(socket) => serve(socket, &account).await,
                    Err(error) => Err(error),
                },
            });
        });
    }
}

async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, account: &Mutex<Account>) -> io::Result<()> {
    let Some(request) = read_request(&mut socket).await? else { return Ok(()) };
    let answer = record(account, request);
    if let Answer::Late(wait) = &answer {
        tokio::time::sleep(*wait).await;
    }
    if let Some(bytes) = answer.bytes() {
        socket.write_all(bytes.as_bytes()).await?;
    }
    socket.shutdown().await
}

fn record(account: &Mutex<Account>, mut request: Received) -> Answer {
    let mut account = lock(account);
    let answer = account.next.pop_front().unwrap_or(Answer::Status(200));
    request.effect = answer.keeps() && account.keys.insert(request.key.clone());
    account.received.push_back(request);
    if REQUESTS_MAX < account.received.len() {
        account.received.pop_front();
    }
    answer
}

/// One request with a `Content-Length`; `None` where the peer went away or sent something else.
///
/// # Errors
///
/// Those of the socket.
pub async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Received>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if HEAD_BYTES_MAX < bytes.len() || socket.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..head_end).unwrap_or_default()).into_owned();
    let length: usize = header(&head, "content-length").parse().unwrap_or(0);
    if BODY_BYTES_MAX < length {
        return Ok(None);
    }
    let mut body = bytes.split_off(head_end);
    while body.len() < length {
        if socket.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    let target = head.split(" HTTP/").next().unwrap_or_default().to_owned();
    let of = |name| header(&head, name).to_owned();
    let (key, control_id, content_type) = (of("idempotency-key"), of("x-source-control-id"), of("content-type"));
    Ok(Some(Received { target, key, control_id, content_type, authorization: of("authorization"), body, effect: false }))
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next().unwrap_or_default()
}
