//! The doors: sockets, who may come in, and the end of the day.
//!
//! # Invariants
//!
//! - A door without TLS is open to this machine, or to peers that the site wrote down, and to nobody else.
//! - A peer is counted as a stranger until its handshake is done, and what a stranger may take is bounded in number and time.
//! - After the drain began no connection is accepted; what was in hand is answered, and all is closed within [`Patience::drain`].
//!
//! # Not here
//!
//! What is said through a door: `mllp`, `http`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::{Clock, Desk, Patience};
use super::drop::{DropFolder, FolderNote};
use super::gate::{Full, Gate, Key, Pass};
use super::http::{self, WebLine};
use super::mllp::{Conversation, Ended, Line};
use super::settings::{Config, HttpConfig, MllpConfig, SourceConfig};
use super::sources::{Peer, Sources};
use super::tls::{Credentials, TlsDoor};
use crate::journal::Journal;
use crate::observe;

/// Connections that the kernel holds for us while we are busy or not yet back.
const BACKLOG: u32 = 1024;
/// No frame or body may be longer, whatever is configured (protocol rules, section 1).
const MESSAGE_BYTES_CAP: usize = 64 * 1024 * 1024;

/// Why intake could not be built. One conversation with whoever starts the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at {place}; {remedy}")]
pub struct IntakeError {
    /// What is wrong.
    pub what: String,
    /// The setting or file.
    pub place: String,
    /// What would help.
    pub remedy: String,
}

/// A listening socket that was open before the broker started (socket activation). Name: `mllp` or `http`; several of a name
/// belong to the listeners of that kind in the order of the configuration.
#[derive(Debug)]
pub struct OpenedSocket {
    /// `mllp` or `http`.
    pub name: String,
    /// The socket.
    pub listener: std::net::TcpListener,
}

/// All that intake is made of.
#[derive(Debug)]
pub struct Opening<J> {
    /// `[intake]`.
    pub config: Config,
    /// `[[source]]`.
    pub sources: Vec<SourceConfig>,
    /// Where messages are kept.
    pub journal: J,
    /// How the time is learnt.
    pub clock: Clock,
    /// Sockets that are open already.
    pub opened: Vec<OpenedSocket>,
    /// How long others are waited for.
    pub patience: Patience,
}

/// Where the doors are, in the order of the configuration; of interest where port 0 was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// MLLP listeners.
    pub mllp: Vec<SocketAddr>,
    /// HTTP listeners.
    pub http: Vec<SocketAddr>,
}

/// All doors of the broker, bound and not yet open.
pub struct Intake<J> {
    desk: Arc<Desk<J>>,
    gate: Arc<Gate>,
    mllp: Vec<Door<Line>>,
    http: Vec<Door<WebDoor>>,
    drops: Vec<DropFolder<J>>,
}

/// What the connections of an HTTP listener share.
struct WebDoor {
    router: Router,
}

/// Certificates, keys, CAs and revocation lists of all listeners, read and proved, and not in use yet.
pub struct TlsRead {
    certificates: Vec<super::tls::Fresh>,
    others: Vec<Replacement>,
}

/// What can be changed while the doors are open.
#[derive(Clone)]
pub struct Controls {
    sources: Arc<ArcSwap<Sources>>,
    generation: Arc<AtomicU64>,
    tls: Vec<Arc<TlsDoor>>,
    others: Vec<Arc<dyn Reread>>,
    folders: Vec<FolderNote>,
}

/// Files of another door that a reload reads again.
pub trait Reread: Send + Sync {
    /// Reads and proves, and changes nothing; what it gives makes the change and cannot fail.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used, with its remedy.
    fn read(&self) -> Result<Replacement, IntakeError>;
}

/// Puts what was read in the place of what was there.
pub type Replacement = Box<dyn FnOnce() + Send>;

impl Controls {
    /// What lies in drop folders and can never be taken, a text for each folder where something does.
    pub fn folder_notes(&self) -> Vec<String> {
        self.folders.iter().filter_map(|note| note.load().as_ref().clone()).collect()
    }

    /// Also another door's certificates are read again from now on.
    pub fn watch_tls(&mut self, door: Arc<TlsDoor>) {
        self.tls.push(door);
    }

    /// Also these files of another door are read again from now on.
    pub fn watch(&mut self, files: Arc<dyn Reread>) {
        self.others.push(files);
    }

    /// Reads certificates, keys, CAs and revocation lists of all listeners again. New connections use the new ones; the peers of
    /// open ones are looked at again at their next message.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used, with its remedy; then all of the old material stays.
    pub fn reload_tls(&self) -> Result<(), IntakeError> {
        let read = self.read_tls()?;
        self.use_tls(read);
        Ok(())
    }

    /// The first half of [`Controls::reload_tls`]: reads and proves, and changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Controls::reload_tls`].
    pub fn read_tls(&self) -> Result<TlsRead, IntakeError> {
        let certificates = self.tls.iter().map(|door| door.read_again()).collect::<Result<_, _>>()?;
        let others = self.others.iter().map(|files| files.read()).collect::<Result<_, _>>()?;
        Ok(TlsRead { certificates, others })
    }

    /// The second half, which cannot fail.
    pub fn use_tls(&self, read: TlsRead) {
        for (door, fresh) in self.tls.iter().zip(read.certificates) {
            door.use_now(fresh);
        }
        read.others.into_iter().for_each(|replace| replace());
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Replaces all sources; open connections use the new ones from their next message on.
    ///
    /// # Errors
    ///
    /// As [`Sources::compile`]; then the old ones stay.
    pub fn reload_sources(&self, sources: &[SourceConfig]) -> Result<(), IntakeError> {
        self.sources.store(Arc::new(Sources::compile(sources)?));
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

/// One listener with what its connections share.
struct Door<T> {
    listener: TcpListener,
    plain_peers: Vec<IpAddr>,
    tls: Option<Arc<TlsDoor>>,
    shared: Arc<T>,
}

/// The other end of a connection, as far as it was identified.
pub(super) struct Guest {
    pub(super) peer: Peer,
    credentials: Option<Credentials>,
}

impl Guest {
    /// One that showed no certificate.
    pub(super) fn at(address: IpAddr) -> Self {
        Self { peer: Peer { address, certificate_names: None }, credentials: None }
    }

    /// Would it be let in now?
    pub(super) fn is_still_trusted(&self, now: Timestamp) -> bool {
        self.credentials.as_ref().is_none_or(|credentials| credentials.are_still_good(now))
    }
}

impl<J: Journal> Intake<J> {
    /// Compiles the sources and binds every listener. Must be called inside a runtime.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong: with a source, with a listener that would be open to all, with an address that cannot be bound.
    pub async fn bind(opening: Opening<J>) -> Result<Self, IntakeError> {
        let Opening { config, sources, journal, clock, mut opened, patience } = opening;
        let desk = Arc::new(Desk::new(&config, Sources::compile(&sources)?, journal, clock, patience));
        let mut mllp = Vec::new();
        for listener in &config.mllp {
            mllp.push(bind_mllp(listener, take_opened(&mut opened, "mllp"), clock)?);
        }
        let mut http = Vec::new();
        for listener in &config.http {
            http.push(bind_http(listener, take_opened(&mut opened, "http"), &desk)?);
        }
        let drops = config.drop.iter().map(|drop| DropFolder::open(drop, &desk)).collect::<Result<_, _>>()?;
        if let Some(unused) = opened.first() {
            return Err(IntakeError {
                what: "a socket was handed over that no listener wants".into(),
                place: format!("socket unit, FileDescriptorName={}", unused.name),
                remedy: "name it mllp or http, and have one [[intake.mllp]] or [[intake.http]] for each".into(),
            });
        }
        let gate = Gate::new(config.connections_max, config.connections_per_peer_max);
        Ok(Self { desk, gate, mllp, http, drops })
    }

    /// Where the doors are.
    pub fn addresses(&self) -> Addresses {
        let of = |listener: &TcpListener| listener.local_addr().ok();
        Addresses {
            mllp: self.mllp.iter().filter_map(|door| of(&door.listener)).collect(),
            http: self.http.iter().filter_map(|door| of(&door.listener)).collect(),
        }
    }

    /// A handle for changes while the doors are open.
    pub fn controls(&self) -> Controls {
        let mllp = self.mllp.iter().filter_map(|door| door.tls.clone());
        let http = self.http.iter().filter_map(|door| door.tls.clone());
        Controls {
            sources: Arc::clone(&self.desk.sources),
            generation: Arc::clone(&self.desk.generation),
            tls: mllp.chain(http).collect(),
            others: Vec::new(),
            folders: self.drops.iter().map(DropFolder::note).collect(),
        }
    }

    /// Opens the doors, until `drain` is cancelled and what was in hand then is answered.
    pub async fn run(self, drain: CancellationToken) {
        let house = Arc::new(House {
            desk: self.desk,
            gate: self.gate,
            tasks: TaskTracker::new(),
            end_now: CancellationToken::new(),
            drain: drain.clone(),
        });
        for door in self.mllp {
            house.tasks.spawn(keep_door("mllp", door, Arc::clone(&house), serve_mllp));
        }
        for door in self.http {
            house.tasks.spawn(keep_door("http", door, Arc::clone(&house), serve_http));
        }
        for folder in self.drops {
            let (runtime, drain) = (tokio::runtime::Handle::current(), drain.clone());
            house.tasks.spawn_blocking(move || folder.keep(&runtime, &drain));
        }
        let _ = tokio::join!(drain.cancelled(), drain.run_until_cancelled(recheck(&house.desk)));
        house.tasks.close();
        if tokio::time::timeout(house.desk.patience.drain, house.tasks.wait()).await.is_err() {
            house.end_now.cancel();
            house.tasks.wait().await;
        }
    }
}

/// What the tasks of all doors share.
struct House<J> {
    desk: Arc<Desk<J>>,
    gate: Arc<Gate>,
    tasks: TaskTracker,
    drain: CancellationToken,
    end_now: CancellationToken,
}

/// Certificates and revocation lists run out without anybody doing anything.
async fn recheck<J: Journal>(desk: &Desk<J>) {
    loop {
        tokio::time::sleep(desk.patience.recheck).await;
        desk.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// An accepted connection.
struct Arrival<T> {
    kind: &'static str,
    stream: TcpStream,
    address: IpAddr,
    pass: Pass,
    tls: Option<Arc<TlsDoor>>,
    shared: Arc<T>,
}

/// Accepts until the drain begins. Dropping the listener closes the door.
async fn keep_door<J, T, F>(kind: &'static str, door: Door<T>, house: Arc<House<J>>, serve: fn(Arrival<T>, Arc<House<J>>) -> F)
where
    J: Journal,
    T: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    if let Ok(address) = door.listener.local_addr() {
        observe::ListenerOpened { kind, address, tls: door.tls.as_ref().map_or("none", |tls| tls.word()) }.say();
    }
    while let Some(accepted) = house.drain.run_until_cancelled(door.listener.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                let address = address.ip().to_canonical();
                if let Some(pass) = admit_peer(&door, &house.gate, address) {
                    // Answers are small and awaited: nothing is gained by holding them back.
                    let _ = stream.set_nodelay(true);
                    let arrival = Arrival { kind, stream, address, pass, tls: door.tls.clone(), shared: Arc::clone(&door.shared) };
                    house.tasks.spawn(serve(arrival, Arc::clone(&house)));
                }
            }
            Err(error) => {
                observe::AcceptFailed { kind, error: &error }.say();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A pass, or nothing: then the connection is closed at once, so that the peer learns it without waiting.
fn admit_peer<T>(door: &Door<T>, gate: &Arc<Gate>, address: IpAddr) -> Option<Pass> {
    let is_plain = door.tls.is_none();
    if is_plain && !address.is_loopback() && !door.plain_peers.contains(&address) {
        return refuse(address, "not_listed");
    }
    let key = match (address.is_loopback(), is_plain) {
        (true, _) => Key::Uncounted,
        (false, true) => Key::Address(address),
        (false, false) => Key::Handshake(address),
    };
    gate.enter(key).map_or_else(|full| refuse(address, word(full)), Some)
}

fn refuse<T>(peer: IpAddr, reason: &'static str) -> Option<T> {
    observe::PeerRefused { peer, reason }.say();
    None
}

fn word(full: Full) -> &'static str {
    match full {
        Full::Total => "connections_total",
        Full::Peer => "connections_peer",
    }
}

/// Shakes hands and counts the peer as whom it proved to be.
async fn greet<J: Journal, T>(arrival: Arrival<T>, tls: Arc<TlsDoor>, house: &House<J>) -> Option<(TlsStream<TcpStream>, Guest, Pass)> {
    let Arrival { kind, stream, address, mut pass, .. } = arrival;
    let greeting = house.drain.run_until_cancelled(tls.greet(stream, address, house.desk.patience.handshake)).await?;
    observe::Handshake { kind, result: greeting.as_ref().err().copied().unwrap_or("ok") }.say();
    let greeted = match greeting {
        Ok(greeted) => greeted,
        Err(reason) => return refuse(address, reason),
    };
    let key = match greeted.peer.certificate_names.as_ref().and_then(|names| names.first()) {
        Some(name) => Key::Certificate(name.clone()),
        None if address.is_loopback() => Key::Uncounted,
        None => Key::Address(address),
    };
    if let Err(full) = pass.become_known(key) {
        return refuse(address, word(full));
    }
    Some((greeted.stream, Guest { peer: greeted.peer, credentials: greeted.credentials }, pass))
}

async fn serve_mllp<J: Journal>(arrival: Arrival<Line>, house: Arc<House<J>>) {
    let line = Arc::clone(&arrival.shared);
    let Some(tls) = arrival.tls.clone() else {
        return talk_mllp(arrival.stream, line, Guest::at(arrival.address), &house).await;
    };
    if let Some((stream, guest, _pass)) = greet(arrival, tls, &house).await {
        talk_mllp(stream, line, guest, &house).await;
    }
}

async fn talk_mllp<J, S>(stream: S, line: Arc<Line>, guest: Guest, house: &House<J>)
where
    J: Journal,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut open = OpenConnection::begin("mllp", guest.peer.address);
    let mut conversation = Conversation::new(stream, Arc::clone(&house.desk), line, guest);
    // Tokens of its own: a connection asks them at every turn, and no other shall wait for that.
    let ended = house.end_now.child_token().run_until_cancelled_owned(conversation.run(house.drain.child_token())).await;
    open.noise_bytes = conversation.noise_bytes();
    open.reason = ended.map_or("drain_timeout", Ended::word);
    if let Some(ended) = ended {
        conversation.close(ended).await;
    }
}

async fn serve_http<J: Journal>(arrival: Arrival<WebDoor>, house: Arc<House<J>>) {
    let door = Arc::clone(&arrival.shared);
    let Some(tls) = arrival.tls.clone() else {
        return talk_http(arrival.stream, &door, Guest::at(arrival.address), &house).await;
    };
    if let Some((stream, guest, _pass)) = greet(arrival, tls, &house).await {
        talk_http(stream, &door, guest, &house).await;
    }
}

async fn talk_http<J, S>(stream: S, door: &WebDoor, guest: Guest, house: &House<J>)
where
    J: Journal,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut open = OpenConnection::begin("http", guest.peer.address);
    let serving = http::serve(stream, door.router.clone(), guest, &house.desk, house.drain.child_token());
    open.reason = house.end_now.child_token().run_until_cancelled_owned(serving).await.unwrap_or("drain_timeout");
}

/// Says that a connection ended, on whatever path.
struct OpenConnection {
    kind: &'static str,
    peer: IpAddr,
    reason: &'static str,
    noise_bytes: u64,
}

impl OpenConnection {
    fn begin(kind: &'static str, peer: IpAddr) -> Self {
        observe::ConnectionOpened { kind, peer }.say();
        Self { kind, peer, reason: "broken", noise_bytes: 0 }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let Self { kind, peer, reason, noise_bytes } = *self;
        observe::ConnectionClosed { kind, peer, reason, noise_bytes }.say();
    }
}

fn bind_mllp(config: &MllpConfig, opened: Option<std::net::TcpListener>, clock: Clock) -> Result<Door<Line>, IntakeError> {
    let place = format!("[[intake.mllp]] listen = \"{}\"", config.listen);
    if config.tls.is_none() && !config.listen.ip().is_loopback() && config.plain_peers.is_empty() {
        return Err(IntakeError {
            what: "MLLP without TLS would be open to the whole network".into(),
            place,
            remedy: "set tls, or write in plain_peers which addresses may come without it, or listen on 127.0.0.1".into(),
        });
    }
    if config.tls.is_some() && !config.plain_peers.is_empty() {
        return Err(IntakeError {
            what: "a listener with TLS names peers that come without it".into(),
            place,
            remedy: "give those peers a listener of their own, without tls".into(),
        });
    }
    check_bytes_max("frame_bytes_max", config.frame_bytes_max, &place)?;
    let tls = config.tls.as_ref().map(|tls| TlsDoor::open(tls, None, &place, clock)).transpose()?;
    let listener = listen(config.listen, opened, &place)?;
    let shared = Arc::new(Line {
        processing_ids: config.processing_ids.clone(),
        frame_bytes_max: config.frame_bytes_max,
        frame_time_max: Duration::from_secs(config.frame_seconds_max.max(1)),
        idle_time_max: (config.idle_seconds_max != 0).then(|| Duration::from_secs(config.idle_seconds_max)),
    });
    Ok(Door { listener, plain_peers: config.plain_peers.iter().map(IpAddr::to_canonical).collect(), tls, shared })
}

fn bind_http<J: Journal>(
    config: &HttpConfig,
    opened: Option<std::net::TcpListener>,
    desk: &Arc<Desk<J>>,
) -> Result<Door<WebDoor>, IntakeError> {
    let place = format!("[[intake.http]] listen = \"{}\"", config.listen);
    if config.tls.is_none() && !config.listen.ip().is_loopback() {
        return Err(IntakeError {
            what: "HTTP without TLS would be open to the whole network".into(),
            place,
            remedy: "set tls, or listen on 127.0.0.1".into(),
        });
    }
    check_bytes_max("body_bytes_max", config.body_bytes_max, &place)?;
    let tls = config.tls.as_ref().map(|tls| TlsDoor::open(tls, Some(b"http/1.1"), &place, desk.clock)).transpose()?;
    let listener = listen(config.listen, opened, &place)?;
    let line = Arc::new(WebLine { processing_ids: config.processing_ids.clone(), body_bytes_max: config.body_bytes_max });
    let shared = Arc::new(WebDoor { router: http::router(Arc::clone(desk), line) });
    Ok(Door { listener, plain_peers: Vec::new(), tls, shared })
}

fn check_bytes_max(name: &str, bytes_max: usize, place: &str) -> Result<(), IntakeError> {
    if (1..=MESSAGE_BYTES_CAP).contains(&bytes_max) {
        return Ok(());
    }
    Err(IntakeError {
        what: format!("{name} is {bytes_max}"),
        place: place.to_owned(),
        remedy: format!("choose 1 to {MESSAGE_BYTES_CAP} bytes"),
    })
}

fn take_opened(opened: &mut Vec<OpenedSocket>, name: &str) -> Option<std::net::TcpListener> {
    let at = opened.iter().position(|socket| socket.name == name)?;
    Some(opened.remove(at).listener)
}

fn listen(address: SocketAddr, opened: Option<std::net::TcpListener>, place: &str) -> Result<TcpListener, IntakeError> {
    let failed = |error: std::io::Error| IntakeError {
        what: format!("cannot listen on {address}: {error}"),
        place: place.to_owned(),
        remedy: "see with `ss -ltnp` who has the port, or listen elsewhere".into(),
    };
    if let Some(listener) = opened {
        listener.set_nonblocking(true).map_err(failed)?;
        return TcpListener::from_std(listener).map_err(failed);
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    // Accepted sockets inherit it: a peer that lost its power is noticed in the end, even where silence is allowed.
    socket.set_keepalive(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)
}

impl<J> fmt::Debug for Intake<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("mllp", &self.mllp.len()).field("http", &self.http.len()).finish_non_exhaustive()
    }
}
