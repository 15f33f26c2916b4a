//! Lets a real broker live through a city: a child process on loopback ports and a test clock, every message over a real socket.
//!
//! Time goes by the hour. All messages of an hour are sent, each source on connections of its own, and answered before the next hour
//! begins; the order within an hour is the race of the sockets. Messages of one family stand in hours of their own, so that their order is
//! certain. At the end of each day everything is filed, listed and delivered before the clock goes on. Killed, the broker is started again and
//! what was not answered is sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::codec::Framed;

use super::dice::Dice;
use super::truth::{Line, TruthAct};
use super::{CityError, read_lines};
use crate::clock;
use crate::config::{Arguments, Settings};
use crate::hl7::{Frame, MllpCodec};
use crate::store::{BIRTHS_JOB, LedgerReader, NEWBORNS_JOB};

/// How a city is played.
#[derive(Clone, Debug)]
pub struct Play {
    /// The folder that `gen` wrote.
    pub city: PathBuf,
    /// The broker's data folder; it must be new.
    pub data: PathBuf,
    /// The program that runs the broker: `chis-broker`.
    pub program: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// How often the broker is killed.
    pub kills: usize,
    /// Draws the moments of the kills and who sends first.
    pub seed: u64,
    /// Features that the broker lacks: acts that need them are not done.
    pub without: BTreeSet<String>,
}

/// What it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// Messages of the city.
    pub messages: usize,
    /// Sent once more because the answer was lost.
    pub again: usize,
    /// Answered with an error or a refusal.
    pub refused: usize,
    /// Times the broker was killed.
    pub kills: usize,
    /// What people did.
    pub acts: usize,
    /// Acts that failed.
    pub acts_failed: usize,
    /// Entries of the ledger by standing.
    pub standings: BTreeMap<String, i64>,
    /// Deliveries paid.
    pub delivered: i64,
    /// Real seconds from the first message to the last delivery.
    pub seconds: f64,
    /// Messages a second, waits at the end of each day among them.
    pub rate: f64,
    /// The most memory that the broker held, MiB.
    pub memory_mib: u64,
}

/// Where the figures of a play stand, beside the city.
const PLAYED: &str = "played.json";

/// The figures of the play of a city; none where it was not played to its end, or by a program that wrote others.
pub fn played_of(city: &Path) -> Option<Played> {
    serde_json::from_str(&std::fs::read_to_string(city.join(PLAYED)).ok()?).ok()
}

/// How long a start, an answer, or the end of a day may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Connections of a source, each with one message on its way.
const LANES: usize = 8;
const HOUR: i64 = 3_600;

/// Plays the city and says what it took.
///
/// # Errors
///
/// A file of the city that cannot be read, a broker that does not start or does not come to an end of its work.
pub async fn play(order: &Play) -> Result<Played, CityError> {
    let wrong = |what: String| CityError::new(&order.city, what);
    let summary = super::summary_of(&order.city)?;
    if order.data.join("ledger.db").exists() {
        return Err(CityError::new(&order.data, "holds a ledger already; name a new folder with --data"));
    }
    std::fs::create_dir_all(&order.data).map_err(|error| CityError::new(&order.data, error))?;
    let acts: Vec<TruthAct> = read_lines(&order.city.join("acts.ndjson"))?.collect::<Result<_, _>>()?;
    let mut acts = acts.into_iter().filter(|act| !order.without.contains(&act.needs)).peekable();
    set_clock(&order.city, &summary.begins)?;
    let mut dice = Dice::new(order.seed, 0xF1A7);
    let mut kills: Vec<usize> = (0..order.kills).map(|_| dice.below(summary.messages)).collect();
    kills.sort_unstable();
    let host = Host::start(order, kills)?;
    let began = clock::tick();
    let mut played = Played::default();
    let mut senders: BTreeMap<Lane, Sender> = BTreeMap::new();
    let mut hour: Vec<Line> = Vec::new();
    let mut now = second(&summary.begins);
    let reader = || LedgerReader::open(&order.data).map_err(|error| wrong(error.text));
    host.settle(&reader()?, Until::Begun).await?;
    let lines = read_lines::<Line>(&order.city.join("messages.ndjson"))?;
    let end = Line { at: summary.ends.clone(), source: String::new(), ..empty() };
    for line in lines.chain([Ok(end)]) {
        let line = line?;
        let at = second(&line.at).max(second(&summary.begins));
        if at.div_euclid(HOUR) != now.div_euclid(HOUR) {
            played.send(&host, &mut senders, std::mem::take(&mut hour), &mut dice).await?;
            // Every day that is over ends by itself, however quiet it was.
            while let Some(midnight) = next_midnight(now).filter(|midnight| *midnight <= at) {
                let reader = reader()?;
                host.settle(&reader, Until::Filed).await?;
                set_clock(&order.city, &stamp(midnight - 1))?;
                host.settle(&reader, Until::Listed(midnight - 1)).await?;
                now = midnight;
                set_clock(&order.city, &stamp(now))?;
                host.settle(&reader, Until::Watched(now)).await?;
                set_clock(&order.city, &stamp(now + NEW_DAY))?;
                host.settle(&reader, Until::Grown(now)).await?;
            }
            while let Some(act) = acts.next_if(|act| second(&act.at) <= at) {
                host.settle(&reader()?, Until::Filed).await?;
                played.act(order, &host, &reader()?, &act)?;
            }
            now = at.div_euclid(HOUR) * HOUR;
            set_clock(&order.city, &stamp(now))?;
        }
        if !line.source.is_empty() {
            played.messages += 1;
            hour.push(line);
        }
    }
    set_clock(&order.city, &summary.ends)?;
    host.settle(&reader()?, Until::Watched(second(&summary.ends))).await?;
    played.seconds = clock::tick().duration_since(began).as_secs_f64();
    let rate = played.messages as f64 / played.seconds.max(0.001);
    played.rate = rate.round();
    played.count(&reader()?).map_err(|error| wrong(error.text))?;
    (played.kills, played.memory_mib) = host.end();
    played.again = host.again.load(Ordering::Relaxed);
    let file = order.city.join(PLAYED);
    let text = serde_json::to_string_pretty(&played).unwrap_or_default();
    std::fs::write(&file, format!("{text}\n")).map_err(|error| CityError::new(&file, error))?;
    Ok(played)
}

fn empty() -> Line {
    let none = String::new;
    Line { at: none(), source: none(), from: none(), protocol: none(), path: none(), media: none(), control: none(), text: none() }
}

fn second(at: &str) -> i64 {
    at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second)
}

fn stamp(at: i64) -> String {
    jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default()
}

/// London's next midnight after `at`.
fn next_midnight(at: i64) -> Option<i64> {
    let zone = super::message::zone();
    let tomorrow = super::message::day_of(at, &zone).tomorrow().ok()?;
    Some(tomorrow.to_zoned(zone).ok()?.timestamp().as_second())
}

/// Written beside and renamed, so that nobody reads half a time; and read by the broker before we go on.
fn set_clock(city: &Path, at: &str) -> Result<(), CityError> {
    let (file, beside) = (city.join("clock"), city.join("clock.next"));
    let write = || std::fs::write(&beside, format!("{at}\n")).and_then(|()| std::fs::rename(&beside, &file));
    write().map_err(|error| CityError::new(&file, error))
}

/// When a day begins for the jobs of the broker: ten minutes after midnight, seconds.
pub(super) const NEW_DAY: i64 = 600;

/// What a day waits for, beside that all is filed and delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Nothing else.
    Filed,
    /// The broker's calendar has begun: what it does by the day counts from here.
    Begun,
    /// The births lists of the day of this moment are made.
    Listed(i64),
    /// The failsafe has looked at every child whose time has come by this moment.
    Watched(i64),
    /// Those whose first 28 days ended before the day of this moment were looked at.
    Grown(i64),
}

/// The broker as a process.
struct Host {
    program: PathBuf,
    arguments: Vec<String>,
    data: PathBuf,
    log: PathBuf,
    mllp: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
    process: Mutex<Running>,
    /// Messages begun so far; at some of them the broker is killed.
    begun: AtomicUsize,
    kills: Vec<usize>,
    again: AtomicUsize,
}

struct Running {
    child: Child,
    kills: usize,
    memory_kib: u64,
}

impl Host {
    fn start(order: &Play, kills: Vec<usize>) -> Result<Self, CityError> {
        let config = with_ports(&order.config)?;
        let [mllp, http, admin] = addresses(&config)?;
        let words = ["run".to_owned(), "--config".to_owned(), config.display().to_string()];
        let log = order.city.join("broker.log");
        let child = launch(&order.program, &words, &order.data, &log)?;
        let host = Self {
            program: order.program.clone(),
            arguments: words.into(),
            data: order.data.clone(),
            log,
            mllp,
            http,
            admin,
            process: Mutex::new(Running { child, kills: 0, memory_kib: 0 }),
            begun: AtomicUsize::new(0),
            kills,
            again: AtomicUsize::new(0),
        };
        host.wait_until_up()?;
        Ok(host)
    }

    fn wait_until_up(&self) -> Result<(), CityError> {
        let begun = clock::tick();
        while clock::tick().duration_since(begun) < PATIENCE {
            if std::net::TcpStream::connect_timeout(&self.admin, LOOK).is_ok() {
                return Ok(());
            }
            let mut running = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(CityError::new(&self.log, format!("the broker ended with {status}; its last words are here")));
            }
            drop(running);
            std::thread::sleep(LOOK);
        }
        Err(CityError::new(&self.log, "the broker did not open its doors in five minutes"))
    }

    /// Counts a message that is on its way; where its number was drawn, the broker dies under it, some milliseconds later: before it is
    /// stored, after it, or after the answer.
    async fn count(&self) -> Result<(), CityError> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        for (place, _) in self.kills.iter().enumerate().filter(|(_, kill)| **kill == number) {
            tokio::time::sleep(Duration::from_millis(u64::try_from(place * 3 % 13).unwrap_or(0))).await;
            tokio::task::block_in_place(|| self.kill())?;
        }
        Ok(())
    }

    fn kill(&self) -> Result<(), CityError> {
        let mut running = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.memory_kib = running.memory_kib.max(peak_memory_kib(running.child.id()));
        let failed = |error: std::io::Error| CityError::new(&self.log, error);
        running.child.kill().map_err(failed)?;
        running.child.wait().map_err(failed)?;
        running.kills += 1;
        running.child = launch(&self.program, &self.arguments, &self.data, &self.log)?;
        drop(running);
        self.wait_until_up()
    }

    /// Waits until all that came is filed and all that is owed is paid, and what else `until` names is done. A new time is read by the broker
    /// before that.
    async fn settle(&self, reader: &LedgerReader, until: Until) -> Result<(), CityError> {
        let begun = clock::tick();
        let failed = |error: crate::store::StoreError| CityError::new(&self.log, error.text);
        if until != Until::Filed {
            tokio::time::sleep(clock::REREAD_AFTER).await;
        }
        let is_done_on = |job: &str, at: i64| -> Result<bool, CityError> {
            let today = super::message::day_of(at, &super::message::zone());
            Ok(reader.last_done(job).map_err(failed)?.is_some_and(|done| today <= done))
        };
        loop {
            let filed = reader.filed_through().map_err(failed)?;
            let is_done = reader.unfiled(filed, 1).map_err(failed)?.is_empty()
                && match until {
                    Until::Filed => true,
                    Until::Begun => reader.last_done(BIRTHS_JOB).map_err(failed)?.is_some(),
                    Until::Listed(now) => is_done_on(BIRTHS_JOB, now)?,
                    Until::Grown(now) => is_done_on(NEWBORNS_JOB, now)?,
                    Until::Watched(now) => reader.unwatched(now.saturating_mul(1_000_000)).map_err(failed)? == 0,
                };
            if is_done && reader.unpaid().map_err(failed)? == 0 {
                return Ok(());
            }
            if PATIENCE < clock::tick().duration_since(begun) {
                return Err(CityError::new(&self.log, "the broker did not file, list and deliver a day's messages in five minutes"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Drains the broker; gives how often it was killed and the most memory it had, MiB.
    fn end(&self) -> (usize, u64) {
        let mut running = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.memory_kib = running.memory_kib.max(peak_memory_kib(running.child.id()));
        let asked = Command::new("kill").arg(running.child.id().to_string()).status().is_ok_and(|status| status.success());
        if !asked {
            let _already_gone = running.child.kill();
        }
        let _ended = running.child.wait();
        (running.kills, running.memory_kib / 1_024)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // After a mistake nobody else ends the broker.
        let running = self.process.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _already_gone = running.child.kill();
        let _ended = running.child.wait();
    }
}

fn launch(program: &Path, arguments: &[String], data: &Path, log: &Path) -> Result<Child, CityError> {
    let failed = |error: std::io::Error| CityError::new(program, error);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(|error| CityError::new(log, error))?;
    let errors = file.try_clone().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(arguments).env("CHIS__STORE__DATA", std::path::absolute(data).unwrap_or_else(|_| data.to_owned()));
    command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().map_err(failed)
}

/// The configuration with a free port wherever it says 0, written beside it: after a kill the ports must be the same.
fn with_ports(config: &Path) -> Result<PathBuf, CityError> {
    const ANY: &str = "\"127.0.0.1:0\"";
    let failed = |error: std::io::Error| CityError::new(config, error);
    let text = std::fs::read_to_string(config).map_err(failed)?;
    // All are held until the last one is found, so that none is given twice.
    let held: Vec<TcpListener> = text.matches(ANY).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(failed)?;
    let mut played = text;
    for listener in &held {
        played = played.replacen(ANY, &format!("\"{}\"", listener.local_addr().map_err(failed)?), 1);
    }
    let file = config.with_file_name("play.toml");
    std::fs::write(&file, played).map_err(|error| CityError::new(&file, error))?;
    Ok(file)
}

/// Where the broker takes HL7 v2 and FHIR, and its admin door.
fn addresses(config: &Path) -> Result<[SocketAddr; 3], CityError> {
    let loaded = Settings::load(Some(config), &[], &Arguments::default()).accept();
    let (settings, _warnings) = loaded.map_err(|error| CityError::new(config, error))?;
    let (mllp, http) = (settings.intake.mllp.first(), settings.intake.http.first());
    match (mllp, http) {
        (Some(mllp), Some(http)) => Ok([mllp.listen, http.listen, settings.admin.listen]),
        _ => Err(CityError::new(config, "needs [[intake.mllp]] and [[intake.http]]")),
    }
}

/// The high-water mark of a process, where the system tells it.
fn peak_memory_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A source, and which of its connections.
type Lane = (String, usize);

/// One connection of a source.
#[derive(Default)]
struct Sender {
    line: Option<Framed<TcpStream, MllpCodec>>,
    client: Option<reqwest::Client>,
}

impl Played {
    /// Sends an hour's messages, all connections at once; returns when all are answered.
    async fn send(&mut self, host: &Host, senders: &mut BTreeMap<Lane, Sender>, hour: Vec<Line>, dice: &mut Dice) -> Result<(), CityError> {
        let mut of_source: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        for line in hour {
            of_source.entry(line.source.clone()).or_default().push(line);
        }
        let mut lanes: BTreeMap<Lane, Vec<Line>> = BTreeMap::new();
        for (source, lines) in of_source {
            for (place, line) in lines.into_iter().enumerate() {
                lanes.entry((source.clone(), place % LANES)).or_default().push(line);
            }
        }
        let mut queues: Vec<(Lane, Vec<Line>)> = lanes.into_iter().collect();
        for place in (1..queues.len()).rev() {
            queues.swap(place, dice.below(place + 1));
        }
        let sending = queues.into_iter().map(|(lane, queue)| {
            let mut sender = senders.remove(&lane).unwrap_or_default();
            async move {
                let mut refused = 0;
                for line in queue {
                    let (delivered, killed) = tokio::join!(sender.deliver(host, &line), host.count());
                    killed?;
                    refused += usize::from(!delivered?);
                }
                Ok::<_, CityError>((lane, sender, refused))
            }
        });
        for sent in futures_util::future::join_all(sending).await {
            let (lane, sender, refused) = sent?;
            self.refused += refused;
            senders.insert(lane, sender);
        }
        Ok(())
    }

    fn act(&mut self, order: &Play, host: &Host, reader: &LedgerReader, act: &TruthAct) -> Result<(), CityError> {
        let found = reader.children_by_identifier(&act.find).map_err(|error| CityError::new(&order.data, error.text))?;
        let put_in = |word: &String| match word.as_str() {
            "{child}" => found.first().map(ToString::to_string).unwrap_or_default(),
            "{admin}" => format!("http://{}", host.admin),
            word => word.to_owned(),
        };
        let words: Vec<String> = act.command.iter().map(put_in).collect();
        let done = Command::new(&order.program).args(&words).stdin(Stdio::null()).output();
        if let Some(said) = done.as_ref().ok().filter(|done| !done.status.success()).map(|done| &done.stderr) {
            // What the program said of it stands beside what the broker says; the act goes on to fail.
            let noted =
                std::fs::OpenOptions::new().append(true).open(&host.log).and_then(|mut log| std::io::Write::write_all(&mut log, said));
            noted.map_err(|error| CityError::new(&host.log, error))?;
        }
        self.acts += 1;
        self.acts_failed += usize::from(!done.is_ok_and(|done| done.status.success()));
        Ok(())
    }

    fn count(&mut self, reader: &LedgerReader) -> Result<(), crate::store::StoreError> {
        let account = reader.reconcile(None, None)?;
        let sum = |of: &dyn Fn(&crate::store::ReconciliationLine) -> i64| account.lines.iter().map(of).sum::<i64>();
        for (word, count) in [
            ("received", sum(&|line| line.received)),
            ("filed", sum(&|line| line.filed)),
            ("held", sum(&|line| line.held)),
            ("ignored", sum(&|line| line.ignored)),
            ("duplicate", sum(&|line| line.duplicate)),
            ("refused", sum(&|line| line.refused)),
        ] {
            self.standings.insert(word.to_owned(), count);
        }
        self.delivered = sum(&|line| line.delivered);
        Ok(())
    }
}

impl Sender {
    /// Sends until there is an answer; true where it was accepted.
    async fn deliver(&mut self, host: &Host, line: &Line) -> Result<bool, CityError> {
        let begun = clock::tick();
        loop {
            let answered = if line.protocol == "http" { self.post(host, line).await } else { self.ask(host, line).await };
            if let Some(is_accepted) = answered {
                return Ok(is_accepted);
            }
            self.line = None;
            host.again.fetch_add(1, Ordering::Relaxed);
            if PATIENCE < clock::tick().duration_since(begun) {
                return Err(CityError::new(&host.log, format!("{} got no answer in five minutes", line.control)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// None where the connection was lost before the answer.
    async fn ask(&mut self, host: &Host, line: &Line) -> Option<bool> {
        if self.line.is_none() {
            let socket = TcpSocket::new_v4().ok()?;
            socket.bind(SocketAddr::new(line.from.parse::<IpAddr>().ok()?, 0)).ok()?;
            let stream = socket.connect(host.mllp).await.ok()?;
            stream.set_nodelay(true).ok()?;
            self.line = Some(Framed::new(stream, MllpCodec::new(ANSWER_BYTES_MAX)));
        }
        let framed = self.line.as_mut()?;
        framed.send(line.text.as_bytes()).await.ok()?;
        match tokio::time::timeout(PATIENCE, framed.next()).await.ok()?? {
            Ok(Frame::Message(answer)) => Some(is_accepted(&answer)),
            _ => None,
        }
    }

    async fn post(&mut self, host: &Host, line: &Line) -> Option<bool> {
        if self.client.is_none() {
            let from = line.from.parse::<IpAddr>().ok()?;
            let built = reqwest::Client::builder().no_proxy().local_address(from).timeout(PATIENCE).build();
            self.client = Some(built.ok()?);
        }
        let url = format!("http://{}{}", host.http, line.path);
        let request = self.client.as_ref()?.post(url).header("content-type", &line.media).body(line.text.clone());
        let response = request.send().await.ok()?;
        let status = response.status();
        let _body = response.bytes().await.ok()?;
        Some(status.is_success())
    }
}

/// MSA-1 is AA or CA.
fn is_accepted(answer: &[u8]) -> bool {
    answer.split(|byte| *byte == b'\r').any(|segment| segment.starts_with(b"MSA|AA") || segment.starts_with(b"MSA|CA"))
}
