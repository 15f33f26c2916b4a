//! A million debts for a receiver that is away, run by hand: `docs/performance.md` says how.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Paid, pay_lanes};
use crate::broker::receivers::Board;
use crate::clock;
use crate::config::Settings;
use crate::destinations::{Config, Kind, Profile, Receiver};
use crate::store::tests_debts::{open, owe_many};
use crate::store::{Ledger, Recipient};

const LANES: i64 = 100_000;
const ALIVE: (i64, i64) = (2_000, 10);
/// What waiting for a receiver may cost in memory, the receiver's own account in this process included.
const MEMORY_MAX_KIB: u64 = 256 * 1024;

/// Takes every Bundle and keeps of each lane how many came. A debt out of its turn is counted.
#[derive(Default)]
struct Account {
    taken: AtomicUsize,
    wrong: AtomicUsize,
    lanes: Mutex<HashMap<u32, u32>>,
}

impl Account {
    fn take(&self, control_id: &str) {
        let (lane, n) = control_id.strip_prefix('L').and_then(|rest| rest.split_once('N')).unwrap();
        let (lane, n): (u32, u32) = (lane.parse().unwrap(), n.parse().unwrap());
        let mut lanes = self.lanes.lock().unwrap();
        let next = lanes.entry(lane).or_default();
        if *next == n {
            *next += 1;
        } else {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        drop(lanes);
        self.taken.fetch_add(1, Ordering::Relaxed);
    }
}

async fn listen(at: SocketAddr, account: Arc<Account>) {
    let listener = TcpListener::bind(at).await.unwrap();
    while let Ok((socket, _)) = listener.accept().await {
        let account = Arc::clone(&account);
        tokio::spawn(async move { serve(socket, &account).await });
    }
}

async fn serve(mut socket: TcpStream, account: &Account) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        let whole = end + header("content-length:").parse::<usize>().ok()?;
        while bytes.len() < whole {
            if socket.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        account.take(&header("x-source-control-id:").to_ascii_uppercase());
        bytes.drain(..whole);
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
    }
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// `VmRSS` or `VmHWM` of this process, KiB.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

fn pay(ledger: &Ledger, receivers: &[(&str, SocketAddr)], drain: &CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
    let config = |name: &str, at: SocketAddr| {
        let base = format!("http://{at}");
        let kind = Kind::Fhir {
            base,
            profile: Profile::Record,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            timeout_s: Some(20),
            concurrency: None,
            oauth2: None,
        };
        Config::new(name, kind)
    };
    let settings = Settings { destinations: receivers.iter().map(|(name, at)| config(name, *at)).collect(), ..Settings::default() };
    let board = Board::new(&settings);
    let paying = settings.destinations.iter().map(|destination| {
        let post = Arc::clone(board.post(&destination.name).unwrap());
        let receiver = Receiver::new(&destination.kind).unwrap();
        let paid = Paid { post, receiver, recipient: Recipient::Record, concurrency: 16 };
        tokio::spawn(pay_lanes(paid, ledger.clone(), drain.clone()))
    });
    paying.collect()
}

async fn taken(account: &Account, count: usize) -> Duration {
    let begun: Instant = clock::tick();
    while account.taken.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    clock::tick().duration_since(begun)
}

async fn end(ledger: &Ledger, drain: CancellationToken, payers: Vec<tokio::task::JoinHandle<()>>) {
    drain.cancel();
    for payer in payers {
        payer.await.unwrap();
    }
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long and much disk; run by hand"]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
async fn a_million_debts_of_a_receiver_that_is_away_cost_no_memory_slow_nobody_and_go_in_order_when_it_is_back() {
    let million: i64 = std::env::var("CHIS_DEBTS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let each = million / LANES;
    let alive_debts = usize::try_from(ALIVE.0 * ALIVE.1).unwrap();
    let speed = |count: usize, took: Duration| count as f64 / took.as_secs_f64();

    let alone = {
        let data = tempfile::tempdir().unwrap();
        owe_many(data.path(), &[("alive", ALIVE.0, ALIVE.1)]);
        let (ledger, drain, account) = (open(data.path(), &["alive"]), CancellationToken::new(), Arc::<Account>::default());
        let at = free_port();
        tokio::spawn(listen(at, Arc::clone(&account)));
        let payers = pay(&ledger, &[("alive", at)], &drain);
        let took = taken(&account, alive_debts).await;
        end(&ledger, drain, payers).await;
        speed(alive_debts, took)
    };
    eprintln!("a receiver alone: {alone:.0} a second");

    let data = tempfile::tempdir().unwrap();
    let begun = clock::tick();
    owe_many(data.path(), &[("dead", LANES, each), ("alive", ALIVE.0, ALIVE.1)]);
    eprintln!("{} debts made in {:.0} s", LANES * each, clock::tick().duration_since(begun).as_secs_f64());
    let (ledger, drain) = (open(data.path(), &["dead", "alive"]), CancellationToken::new());
    let (alive, back) = (Arc::<Account>::default(), Arc::<Account>::default());
    let (alive_at, dead_at) = (free_port(), free_port());
    tokio::spawn(listen(alive_at, Arc::clone(&alive)));
    let before = memory("VmRSS:");
    let payers = pay(&ledger, &[("dead", dead_at), ("alive", alive_at)], &drain);
    let took = taken(&alive, alive_debts).await;
    eprintln!("the same beside a receiver that is away with {} debts: {:.0} a second", LANES * each, speed(alive_debts, took));
    let waiting = memory("VmRSS:");
    eprintln!("memory: {} MiB before, {} MiB while they wait", before / 1024, waiting / 1024);

    tokio::spawn(listen(dead_at, Arc::clone(&back)));
    let first = taken(&back, 1).await;
    let all = usize::try_from(LANES * each).unwrap();
    let took = taken(&back, all).await;
    eprintln!("it is back: the first after {:.1} s, then {:.0} a second", first.as_secs_f64(), speed(all, took));
    let peak = memory("VmHWM:");
    eprintln!("memory: {} MiB at most", peak / 1024);
    end(&ledger, drain, payers).await;
    assert_eq!((back.taken.load(Ordering::Relaxed), back.wrong.load(Ordering::Relaxed)), (all, 0), "each once and in its turn");
    assert_eq!(alive.wrong.load(Ordering::Relaxed), 0);
    assert!(peak.saturating_sub(before) < MEMORY_MAX_KIB, "{peak} KiB");
}
