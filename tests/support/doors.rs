//! Intake behind real sockets, and a sender that speaks MLLP.

use std::net::SocketAddr;
use std::time::Duration;

use chis_broker::clock;
use chis_broker::intake::{Addresses, Clock, Config, Controls, Intake, IntakeError, OpenedSocket, Opening, Patience, SourceConfig};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::journal::MemoryJournal;

/// No test waits longer for anything; a wait that is this long is a failure.
const LONG: Duration = Duration::from_secs(20);

/// The part of `chis-broker.toml` that is intake's.
#[derive(Deserialize)]
struct Settings {
    intake: Config,
    #[serde(default)]
    source: Vec<SourceConfig>,
}

/// Open doors.
pub struct Doors {
    pub addresses: Addresses,
    pub controls: Controls,
    pub drain: CancellationToken,
    running: JoinHandle<()>,
}

/// What a test may want otherwise.
#[derive(Default)]
pub struct Wishes {
    pub opened: Vec<OpenedSocket>,
    pub patience: Patience,
}

/// Opens doors as `toml` says.
pub async fn open(toml: &str, journal: &MemoryJournal) -> Doors {
    try_open(toml, journal, Wishes::default()).await.unwrap()
}

pub async fn try_open(toml: &str, journal: &MemoryJournal, wishes: Wishes) -> Result<Doors, IntakeError> {
    let settings: Settings = toml::from_str(toml).unwrap();
    let opening = Opening {
        config: settings.intake,
        sources: settings.source,
        journal: journal.clone(),
        clock: Clock { now: clock::now, tick: clock::tick },
        opened: wishes.opened,
        patience: wishes.patience,
    };
    let intake = Intake::bind(opening).await?;
    let (addresses, controls, drain) = (intake.addresses(), intake.controls(), CancellationToken::new());
    let running = tokio::spawn(intake.run(drain.clone()));
    Ok(Doors { addresses, controls, drain, running })
}

impl Doors {
    /// A sender at the first MLLP door.
    pub async fn mllp(&self) -> Sender<TcpStream> {
        Sender::new(TcpStream::connect(self.addresses.mllp[0]).await.unwrap())
    }

    /// The first HTTP door.
    pub fn http(&self) -> SocketAddr {
        self.addresses.http[0]
    }

    /// Closes the doors and waits until everything in hand was answered.
    pub async fn close(self) {
        self.drain.cancel();
        timeout(LONG, self.running).await.unwrap().unwrap();
    }
}

/// A system that sends.
pub struct Sender<S> {
    pub stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    pub fn new(stream: S) -> Self {
        Self { stream }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        timeout(LONG, self.stream.write_all(bytes)).await.unwrap().unwrap();
        timeout(LONG, self.stream.flush()).await.unwrap().unwrap();
    }

    /// Sends a message in its frame.
    pub async fn say(&mut self, message: &str) {
        self.send(&frame(message)).await;
    }

    /// The next answer without its frame.
    pub async fn hear(&mut self) -> String {
        let mut answer = Vec::new();
        loop {
            let byte = timeout(LONG, self.stream.read_u8()).await.expect("an answer in time").expect("an answer before the end");
            match byte {
                0x0B => answer.clear(),
                0x1C => {
                    assert_eq!(self.stream.read_u8().await.unwrap(), b'\r');
                    return String::from_utf8(answer).unwrap();
                }
                byte => answer.push(byte),
            }
        }
    }

    /// Sends a message and gives MSA-1, MSA-2 and the code of the first ERR (or MSA-6), `AR 7 101`.
    pub async fn ask(&mut self, message: &str) -> String {
        self.say(message).await;
        short(&self.hear().await)
    }

    /// Waits for the end of the connection and gives what came before it.
    pub async fn hear_the_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = timeout(LONG, self.stream.read_to_end(&mut rest)).await.expect("the end in time");
        // A connection that was closed with bytes of ours unread ends in a reset; that is an end too.
        let _ = read;
        rest
    }
}

/// `<SB>message<EB><CR>`
pub fn frame(message: &str) -> Vec<u8> {
    [b"\x0B", message.as_bytes(), b"\x1C\r"].concat()
}

/// MSA-1, MSA-2 and the error code of an answer.
pub fn short(answer: &str) -> String {
    let field = |segment: &str, number: usize| {
        let line = answer.split('\r').find(|line| line.starts_with(segment))?;
        line.split('|').nth(number).map(str::to_owned)
    };
    let (code, id) = (field("MSA", 1).unwrap(), field("MSA", 2).unwrap_or_default());
    let fault = field("ERR", 3).or_else(|| field("ERR", 1)?.split('^').nth(3).map(str::to_owned));
    let fault = fault.map(|fault| fault.split(['^', '&']).next().unwrap_or_default().to_owned()).unwrap_or_default();
    format!("{code} {id} {fault}").trim_end().to_owned()
}

/// A person's record, told by a hospital's administration system. Invented.
pub fn a28(control_id: &str) -> String {
    message("ADT^A28^ADT_A05", control_id)
}

/// A message of this type about an invented child.
pub fn message(kind: &str, control_id: &str) -> String {
    format!(
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|20260105101500||{kind}|{control_id}|P|2.4|||||GBR|UNICODE UTF-8|EN\r\
         EVN||20260105101500||||20260105093000\r\
         PID|1||9990000026^^^NHS^NH||BABY^GIRL||20260105|2\r"
    )
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request on a connection of its own; the answer is read to the end of the connection.
pub async fn request<S: AsyncRead + AsyncWrite + Unpin>(stream: S, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut head = format!("{line} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    raw_request(stream, &[format!("{head}\r\n").as_bytes(), body].concat()).await
}

/// Sends bytes and reads an answer to the end of the connection.
pub async fn raw_request<S: AsyncRead + AsyncWrite + Unpin>(stream: S, bytes: &[u8]) -> Reply {
    let mut sender = Sender::new(stream);
    // The broker may answer and close before it has read everything.
    let _ = timeout(LONG, sender.stream.write_all(bytes)).await.unwrap();
    let _ = sender.stream.flush().await;
    let answer = String::from_utf8(sender.hear_the_end().await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
