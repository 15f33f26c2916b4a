//! A broker in this process on free ports and a temporary folder, and a sender that speaks MLLP as a hospital does.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chis_broker::broker::Running;
use chis_broker::config::Settings;
use chis_broker::destinations::fake::Fake;
use chis_broker::destinations::{Config, Kind, Profile};
use chis_broker::store::{LedgerReader, Reconciliation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// How long a test waits for what must come. Reached only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody has now; a process gets the same one at each start.
pub fn free_port() -> SocketAddr {
    std::net::TcpListener::bind(FREE).unwrap().local_addr().unwrap()
}

pub fn settings(data: &Path) -> Settings {
    let mut settings = Settings::embedded(data, Some(FREE), Some(FREE), Some(FREE)).expect("the embedded defaults hold");
    // The children of most tests were born on fixed days; clocks are kept where a test is about them.
    settings.failsafe.watch = false;
    settings
}

/// A receiver of FHIR that is not waited for long, four lanes at once.
pub fn receiver(name: &str, fake: &Fake, profile: Profile) -> Config {
    let kind = Kind::Fhir {
        base: fake.base(),
        profile,
        ca_file: None,
        certificate_file: None,
        key_file: None,
        timeout_s: Some(5),
        concurrency: Some(4),
        oauth2: None,
    };
    Config::new(name, kind)
}

pub async fn broker(data: &Path) -> Running {
    Running::start(settings(data), Vec::new()).await.expect("the broker starts")
}

/// Waits until nothing waits and nothing is owed, and gives the account.
pub async fn settled(data: &Path) -> Reconciliation {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let account = LedgerReader::open(data).and_then(|reader| reader.reconcile(None, None)).expect("the ledger can be read");
        if account.undelivered == 0 || deadline < tokio::time::Instant::now() {
            return account;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One MLLP connection.
pub struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    pub async fn open(at: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(at).await.expect("the door is open"), buffer: Vec::new() }
    }

    pub async fn send(&mut self, message: &[u8]) {
        let mut frame = vec![0x0B];
        frame.extend_from_slice(message);
        frame.extend_from_slice(b"\x1C\r");
        self.stream.write_all(&frame).await.expect("the connection stands");
    }

    /// The next answer, or none when the other side closed.
    pub async fn answer(&mut self) -> Option<Vec<u8>> {
        let read = async {
            loop {
                if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\x1C\r") {
                    let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                    return Some(frame[1..end].to_vec());
                }
                if self.stream.read_buf(&mut self.buffer).await.expect("the connection stands") == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer comes")
    }

    pub async fn exchange(&mut self, message: &[u8]) -> Acknowledged {
        self.send(message).await;
        Acknowledged::read(&self.answer().await.expect("the connection stays open"))
    }
}

/// Sends a message to a broker that is killed now and then, over a connection that is kept. None where no answer came: the connection is
/// given up, and a moment has passed.
pub async fn reach(line: &mut Option<TcpStream>, at: SocketAddr, message: &[u8]) -> Option<Acknowledged> {
    let answer = exchange(line, at, message).await;
    if answer.is_none() {
        *line = None;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    answer
}

async fn exchange(line: &mut Option<TcpStream>, at: SocketAddr, message: &[u8]) -> Option<Acknowledged> {
    if line.is_none() {
        *line = TcpStream::connect(at).await.ok();
    }
    let stream = line.as_mut()?;
    stream.write_all(&[&b"\x0B"[..], message, b"\x1C\r"].concat()).await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x1C\r") {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    Some(Acknowledged::read(&answer[1..]))
}

/// MSA of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub code: String,
    pub control_id: String,
    pub whole: String,
}

impl Acknowledged {
    pub fn read(answer: &[u8]) -> Self {
        let whole = String::from_utf8_lossy(answer).into_owned();
        let separator = whole.chars().nth(3).expect("an MSH");
        let msa = whole.split('\r').find(|segment| segment.starts_with("MSA")).expect("an MSA").to_owned();
        let mut fields = msa.split(separator).skip(1).map(str::to_owned);
        Self { code: fields.next().unwrap_or_default(), control_id: fields.next().unwrap_or_default(), whole }
    }
}

/// An ADT^A28 of an invented child. `number` gives an NHS number of the test range.
pub fn person(control_id: &str, child: usize, at: &str, family: &str) -> String {
    let nhs = nhs_number(child);
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|{at}||ADT^A28^ADT_A05|{control_id}|P|2.4|||||GBR|UNICODE UTF-8\rEVN||{at}||||{at}\r\
         PID|1||{nhs}^^^NHS^NH~L{child}^^^RJ122^MR||{family}^GIVEN^^^^^L||20260105|2|||10 TEST STREET^^LONDON^^SE1 9ZZ^GBR^H|||||||||||||||||||||NSTS01\r\
         PD1|||TEST SURGERY^^G85001\r"
    )
}

/// A shipped sample with the segment ends it is sent with.
pub fn sample(name: &str) -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
    std::fs::read_to_string(file).unwrap().replace('\n', "\r")
}

/// The `number`th NHS number of the test range whose check digit exists.
pub fn nhs_number(number: usize) -> String {
    (0..)
        .filter_map(|serial| {
            let digits = format!("999{serial:06}");
            let sum: u32 = digits.chars().zip((2..=10).rev()).map(|(digit, weight)| digit.to_digit(10).unwrap() * weight).sum();
            match 11 - sum % 11 {
                10 => None,
                11 => Some(format!("{digits}0")),
                check => Some(format!("{digits}{check}")),
            }
        })
        .nth(number)
        .unwrap()
}
