//! kill -9 under load: what was acknowledged is there, once, in order for each child.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chis_broker::store::hub_export;

use crate::world::{free_port, person, reach, settled};

const KILLS: usize = 8;
const SENDERS: usize = 4;
const CHILDREN: usize = 10;
/// Acknowledged messages between two kills.
const BETWEEN: usize = 60;

fn start(data: &Path, mllp: SocketAddr) -> Child {
    Command::new(env!("CARGO_BIN_EXE_chis-broker"))
        .args([
            "run",
            "--data",
            data.to_str().unwrap(),
            "--mllp",
            &mllp.to_string(),
            "--http",
            &free_port().to_string(),
            "--admin",
            &free_port().to_string(),
        ])
        .env("CHIS__FAILSAFE__WATCH", "false")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends like a hospital system: one message in flight, the same one again until it is answered.
async fn sender(number: usize, at: SocketAddr, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicUsize>) -> Vec<(usize, usize, String)> {
    let mut told = Vec::new();
    let mut line = None;
    let mut serial = 0;
    while !stop.load(Ordering::Relaxed) {
        let child = number * CHILDREN + serial % CHILDREN;
        let control_id = format!("S{number}N{serial}");
        // Each message says a later moment, so that its order can be seen in the record.
        let at_text = format!("202601{:02}{:02}{:02}{:02}", 6 + serial / 86_400 % 20, serial / 3_600 % 24, serial / 60 % 60, serial % 60);
        let message = person(&control_id, child, &at_text, &format!("FAMILY{}", "ABCDEFGHIJ".chars().nth(serial % 10).unwrap()));
        match reach(&mut line, at, message.as_bytes()).await {
            Some(answer) if answer.control_id == control_id && answer.code == "AA" => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                told.push((child, serial, control_id));
                serial += 1;
            }
            Some(answer) => panic!("{}", answer.whole),
            None => {}
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_filed_twice_or_out_of_order_by_kill_minus_nine() {
    let data = tempfile::tempdir().unwrap();
    let at = free_port();
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut broker = start(data.path(), at);
    let senders: Vec<_> =
        (0..SENDERS).map(|number| tokio::spawn(sender(number, at, Arc::clone(&stop), Arc::clone(&acknowledged)))).collect();
    for kill in 1..=KILLS {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while acknowledged.load(Ordering::Relaxed) < kill * BETWEEN {
            assert!(tokio::time::Instant::now() < deadline, "messages are acknowledged again after kill {}", kill - 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        broker.kill().unwrap();
        broker.wait().unwrap();
        broker = start(data.path(), at);
    }
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for sender in senders {
        told.extend(sender.await.unwrap());
    }
    let account = settled(data.path()).await;
    assert_eq!((account.unaccounted, account.undelivered), (0, 0), "{account:?}");
    broker.kill().unwrap();
    broker.wait().unwrap();
    judge(data.path(), &told);
}

/// Looks into the hub's store alone.
fn judge(data: &Path, told: &[(usize, usize, String)]) {
    let mut arrivals: HashMap<String, usize> = HashMap::new();
    let mut orders: Vec<Vec<usize>> = Vec::new();
    for hub in ["ne", "nw", "se", "sw"] {
        let file = data.join(format!("hub-{hub}.db"));
        hub_export(&file, &mut |child| {
            let mut order = Vec::new();
            for event in child["events"].as_array().unwrap() {
                let control_id = event["control_id"].as_str().unwrap().to_owned();
                order.push(control_id.split('N').nth(1).unwrap().parse().unwrap());
                *arrivals.entry(control_id).or_default() += 1;
            }
            orders.push(order);
            Ok(())
        })
        .unwrap();
    }
    assert!(KILLS * BETWEEN <= told.len());
    let lost: Vec<_> = told.iter().filter(|(_, _, control_id)| !arrivals.contains_key(control_id)).collect();
    assert!(lost.is_empty(), "acknowledged and not in any store: {lost:?}");
    let twice: Vec<_> = arrivals.iter().filter(|(_, count)| 1 < **count).collect();
    assert!(twice.is_empty(), "filed twice: {twice:?}");
    for order in &orders {
        assert!(order.is_sorted(), "out of order: {order:?}");
    }
    let children: HashSet<_> = told.iter().map(|(child, ..)| child).collect();
    assert_eq!(orders.len(), children.len(), "each child has one record");
}
