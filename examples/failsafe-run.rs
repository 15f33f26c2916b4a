//! Measures the failsafe: the clocks of one child, and a night in which every child of a ledger is looked at.
//!
//!     cargo run --release --example failsafe-run -- 100000 DIR

#![allow(missing_docs, reason = "a tool for measuring")]
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::collections::HashMap;
use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chis_broker::broker::failsafe::looked_at;
use chis_broker::clock::tick;
use chis_broker::config::{self, Settings};
use chis_broker::failsafe::clocks;
use chis_broker::journal::{Admission, Entry, Place};
use chis_broker::names::{BundleHash, DestinationName, Format, HubName, SourceName};
use chis_broker::store::{DestinationRule, FilingRules, Ledger, LedgerConfig, LedgerReader, Prepared, PreparedOutcome, Recipient};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

const AT_ONCE: usize = 1_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, folder] = arguments.as_slice() else { return Err(Error::other("say how many children, and a folder")) };
    let count: u32 = count.parse().map_err(|_| Error::other("say how many children"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(count, Path::new(folder)))
}

async fn run(count: u32, folder: &Path) -> Result<()> {
    let settings = Settings::default();
    let rules = config::failsafe(&settings).map_err(|errors| Error::other(format!("{errors:?}")))?;
    let directory = config::directory(&settings).map_err(|errors| Error::other(format!("{errors:?}")))?;
    let directory = Arc::new(ArcSwap::from_pointee(directory));
    let destination = DestinationRule { name: "hub-se".into(), recipient: Recipient::HubStore("SE".into()) };
    let filing = FilingRules {
        directory: Arc::clone(&directory),
        destinations: Arc::new(vec![destination]),
        zone: chis_broker::failsafe::day::london(),
        parents: std::sync::Arc::default(),
    };
    let ledger = Ledger::open(&LedgerConfig { data: folder.to_owned(), ballast: false, pages_max: None }, filing).map_err(Error::other)?;
    ledger.in_bulk();
    let now: Timestamp = "2026-11-25T06:00:00Z".parse().map_err(Error::other)?;
    ledger.keep_bundle(&BundleHash::new("invented"), &Default::default(), now).await.map_err(Error::other)?;
    let started = tick();
    fill(&ledger, count, now).await?;
    println!("filed {count} children with 7 messages each in {:.1} s", started.elapsed().as_secs_f64());

    let reader = LedgerReader::open(folder).map_err(Error::other)?;
    let stores: Arc<HashMap<HubName, DestinationName>> = Arc::new([("SE".into(), "hub-se".into())].into());
    one_child(&reader, &rules, &directory.load(), &stores, now)?;
    for (what, at) in
        [("the first night: every child", now), ("the next night: those whose time has come", now + SignedDuration::from_hours(24))]
    {
        let (started, mut looked, mut tasks) = (tick(), 0, 0);
        loop {
            let rows = reader.children_due(at, 100).map_err(Error::other)?;
            if rows.is_empty() {
                break;
            }
            let mut looks = Vec::new();
            for row in rows {
                let look = reader.look(row, &directory.load(), &stores).map_err(Error::other)?;
                looks.extend(look.map(|look| looked_at(&look, &rules, at)));
            }
            looked += looks.len();
            tasks += looks.iter().map(|look| look.tasks.len()).sum::<usize>();
            ledger.write_looks(looks, Arc::clone(&stores), at).await.map_err(Error::other)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{what}: {looked} children, {tasks} tasks, {seconds:.1} s, {:.0} children/s, peak memory {}",
            f64::from(looked as u32) / seconds,
            peak()
        );
    }
    let started = tick();
    let lines = chis_broker::broker::report::lines(&reader, &rules, &"SE".into(), "2026-11-26".parse().map_err(Error::other)?, now)
        .map_err(Error::other)?;
    println!("report of one hub: {} rows in {:.2} s, peak memory {}", lines.len(), started.elapsed().as_secs_f64(), peak());
    ledger.close().await;
    Ok(())
}

fn one_child(
    reader: &LedgerReader,
    rules: &chis_broker::failsafe::Rules,
    directory: &chis_broker::routing::Directory,
    stores: &HashMap<HubName, DestinationName>,
    now: Timestamp,
) -> Result<()> {
    let Some(look) = reader.look(1, directory, stores).map_err(Error::other)? else { return Ok(()) };
    let (rounds, started) = (10_000, tick());
    let mut kept = 0;
    for _ in 0..rounds {
        kept = clocks(&look.facts, rules, now).clocks.len();
    }
    println!("clocks of one child: {kept} in {:.1} µs", started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    let started = tick();
    for _ in 0..rounds {
        reader.look(1, directory, stores).map_err(Error::other)?;
    }
    println!("facts of one child out of the ledger: {:.1} µs", started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    Ok(())
}

/// Children up to five years old: a birth, a blood spot, a hearing screen, four vaccinations; each tenth has nothing but its birth.
async fn fill(ledger: &Ledger, count: u32, now: Timestamp) -> Result<()> {
    let mut batch: Vec<(serde_json::Value, i64)> = Vec::new();
    let mut place = 0;
    for (child, number) in (0..1_000_000).filter_map(nhs_number).take(count as usize).enumerate() {
        let born = (now - SignedDuration::from_hours(24 * (child as i64 % 1_800))).to_string();
        let day = born.get(..10).unwrap_or_default();
        let whole = child % 10 != 9;
        for said in statements(&number, day).into_iter().take(if whole { 7 } else { 1 }) {
            batch.push((said, place));
            place += 1;
        }
        if AT_ONCE <= batch.len() {
            file(ledger, std::mem::take(&mut batch), now).await?;
        }
    }
    file(ledger, batch, now).await
}

fn statements(number: &str, day: &str) -> Vec<serde_json::Value> {
    let child = json!({
        "identifiers": [{ "value": number, "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }],
        "names": [{ "family": "EXAMPLE", "given": ["ROSE"], "use": "official" }], "sex": "2", "gp": { "practice_ods": "G85001" },
        "birth": { "date": { "value": day, "precision": "day" } }
    });
    let on = |days: i64| {
        let date: jiff::civil::Date = day.parse().unwrap_or_default();
        json!({ "value": chis_broker::failsafe::day::plus_days(date, days).to_string(), "precision": "day" })
    };
    let said = |kind: &str, days: i64, list: &str, item: serde_json::Value| {
        let mut statement = json!({ "event": { "kind": kind, "may_create": true, "at": on(days), "publisher": "RP4", "key": format!("{number}-{kind}-{days}") }, "child": child });
        if let (false, Some(fields)) = (list.is_empty(), statement.as_object_mut()) {
            fields.insert(list.to_owned(), json!([item]));
        }
        statement
    };
    let conditions = ["PKU", "SCD", "CF", "CHT", "MCADD", "MSUD", "IVA", "GA1", "HCU"];
    let outcomes: Vec<serde_json::Value> =
        conditions.iter().map(|condition| json!({ "condition": condition, "nbs_status": "04" })).collect();
    let dose =
        |days, antigens: &[&str]| said("immunisation", days, "immunisations", json!({ "occurrence": on(days), "antigens": antigens }));
    let six = ["397430003", "76902006", "27836007", "398102009", "709410003", "66071002"];
    vec![
        said("birth", 0, "", json!(null)),
        said("blood-spot", 9, "blood_spots", json!({ "sample": { "taken": on(5) }, "outcomes": outcomes })),
        said("hearing", 14, "hearing_screens", json!({ "at": on(14), "summary_status": "clear_no_followup" })),
        dose(56, &six),
        dose(84, &six),
        dose(112, &six),
        dose(365, &["14189004", "36989005", "36653000", "38907003"]),
    ]
}

async fn file(ledger: &Ledger, batch: Vec<(serde_json::Value, i64)>, now: Timestamp) -> Result<()> {
    let entry = |(statement, number): &(serde_json::Value, i64)| {
        let entry = Entry {
            source: SourceName::new("invented"),
            format: Format::CanonicalJson,
            kind: "canonical".to_owned(),
            control_id: number.to_string(),
            body: statement.to_string().into(),
            arrived: now,
            admission: Admission::Accepted,
        };
        (entry, Place { file: chis_broker::journal::FileMark([7; 32]), number: *number })
    };
    let receipts = ledger.append_all(batch.iter().map(entry).collect()).await.map_err(Error::other)?;
    let mut prepared = Vec::new();
    for ((statement, number), receipt) in batch.into_iter().zip(receipts) {
        prepared.push(Prepared {
            seq: receipt.seq(),
            source: SourceName::new("invented"),
            control_id: number.to_string(),
            arrived_us: now.as_microsecond(),
            rank: 2,
            mapping: None,
            bundle: BundleHash::new("invented"),
            findings: String::new(),
            outcome: PreparedOutcome::File(vec![serde_json::from_value(statement).map_err(Error::other)?]),
            contents: Vec::new(),
            released_by: None,
            apart: false,
        });
    }
    if ledger.file(prepared).await { Ok(()) } else { Err(Error::other("the ledger's writer has stopped")) }
}

/// A number of the range that is never issued; none where the check digit would have to be 10.
fn nhs_number(serial: u32) -> Option<String> {
    let digits = format!("999{serial:06}");
    let sum: u32 = digits.bytes().zip((2..=10).rev()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    match 11 - sum % 11 {
        10 => None,
        check => Some(format!("{digits}{}", check % 11)),
    }
}

/// The largest resident set of this process, as the kernel counts it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(|text| text.trim().to_owned()).unwrap_or_default()
}
