//! Extracts of old systems: every record once, also when the import is killed, and a report that names nobody.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use chis_broker::store::{EntryFilter, LedgerReader};

use crate::world::{PATIENCE, broker, nhs_number, person, settled};

fn import(data: &Path, file: &Path, extra: &[&str]) -> Output {
    command(data, file, extra).output().unwrap()
}

fn command(data: &Path, file: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chis-broker"));
    command.args(["import", file.to_str().unwrap(), "--source", "old-system", "--data", data.to_str().unwrap()]).args(extra);
    command
}

fn samples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/extracts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const CHILDREN: [&str; 2] = ["--mapping", "extract-children"];

/// An extract of `count` children.
fn children(count: usize) -> String {
    let header = std::fs::read_to_string(samples().join("children.csv")).unwrap().lines().next().unwrap().to_owned();
    let mut text = header + "\n";
    for child in 0..count {
        let nhs = nhs_of(child);
        text += &format!("RQX,C{child},{nhs},01,EXAMPLE,GIVEN,,05/01/2022,2,,10 TEST STREET,,LONDON,SE1 9ZZ,,G85001,,,,,,,,,01/02/2026\n");
    }
    text
}

/// As `nhs_number`, without counting from the start each time.
fn nhs_of(number: usize) -> String {
    thread_local!(static KNOWN: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) });
    KNOWN.with_borrow_mut(|known| {
        while known.len() <= number {
            let next = known.last().map_or(0, |last| last[3..9].parse::<u32>().unwrap() + 1);
            let found = (next..).find_map(|serial| {
                let digits = format!("999{serial:06}");
                let sum: u32 = digits.chars().zip((2..=10).rev()).map(|(digit, weight)| digit.to_digit(10).unwrap() * weight).sum();
                match 11 - sum % 11 {
                    10 => None,
                    check => Some(format!("{digits}{}", check % 11)),
                }
            });
            known.push(found.unwrap());
        }
        known[number].clone()
    })
}

#[test]
fn the_numbers_of_the_extract_are_those_of_the_world() {
    assert_eq!((nhs_of(0), nhs_of(40)), (nhs_number(0), nhs_number(40)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_and_vaccinations_of_an_extract_reach_the_store_of_their_hub_and_the_report_names_lines_only() {
    let home = tempfile::tempdir().unwrap();
    let (data, report) = (home.path().join("data"), home.path().join("report.csv"));
    let report_to = ["--report", report.to_str().unwrap()];
    let rehearsed = import(&data, &samples().join("children.csv"), &[&CHILDREN[..], &["--dry-run"]].concat());
    assert_eq!(rehearsed.status.code(), Some(1), "{}", text(&rehearsed));
    assert!(!data.join("ledger.db").exists(), "a rehearsal keeps nothing");
    let done = import(&data, &samples().join("children.csv"), &[&CHILDREN[..], &report_to].concat());
    assert_eq!(done.status.code(), Some(1), "{}", text(&done));
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "what,code,table,sender_code,count,first_lines\nheld,unmapped-code,sex,X,1,5\n");
    let done = import(&data, &samples().join("immunisations.csv"), &["--mapping", "extract-immunisations", "--json"]);
    assert_eq!(done.status.code(), Some(1), "{}", text(&done));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["standings"], serde_json::json!({ "filed": 2, "held": 1 }), "{told}");
    let all = std::fs::read_to_string(&report).unwrap() + &text(&done) + &text(&rehearsed);
    for name in ["EXAMPLE", "AMARA", "999190", "999 190", "C190001"] {
        assert!(!all.contains(name), "{name} in {all}");
    }

    let running = broker(&data).await;
    let account = settled(&data).await;
    assert_eq!((account.undelivered, account.unaccounted), (0, 0), "{account:?}");
    let mut kinds = Vec::new();
    chis_broker::store::hub_export(data.join("hub-se.db"), &mut |child| {
        kinds.push(child["events"].as_array().unwrap().iter().map(|event| event["kind"].to_string()).collect::<Vec<_>>().join(" "));
        Ok(())
    })
    .unwrap();
    kinds.sort();
    assert_eq!(kinds, ["\"person\"", "\"person\" \"immunisation\" \"immunisation\""]);

    let locked = import(&data, &samples().join("children.csv"), &CHILDREN);
    assert_eq!(locked.status.code(), Some(75), "{}", text(&locked));
    assert!(text(&locked).contains("stop it") && text(&locked).contains("drop folder"), "{}", text(&locked));
    assert_eq!(running.stop().await, 0);
}

#[test]
fn a_record_that_is_no_statement_is_refused_with_its_line_and_the_others_are_filed() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("extract.ndjson"));
    let statement = |child: usize, extra: &str| {
        format!(
            r#"{{"event":{{"kind":"person","may_create":true,"at":{{"value":"2026-01-06","precision":"day"}}}},"child":{{"identifiers":[{{"value":"C{child}","system":"urn:v2:OLD","type":"PI"}}],"birth":{{"date":{{"value":"2022-01-05","precision":"day"}}}}{extra}}}}}"#
        )
    };
    let lines = [statement(1, ""), statement(2, r#","surname":"SECRET""#), String::new(), "SECRET".to_owned(), statement(3, "")];
    std::fs::write(&file, lines.join("\n")).unwrap();
    for _ in 0..2 {
        let done = import(&data, &file, &["--json"]);
        assert_eq!(done.status.code(), Some(1), "{}", text(&done));
        assert!(!text(&done).contains("SECRET"));
        let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(told["standings"], serde_json::json!({ "filed": 2, "refused": 2 }), "{told}");
        let causes: Vec<String> =
            told["causes"].as_array().unwrap().iter().map(|cause| format!("{} {}", cause["code"], cause["first_lines"])).collect();
        assert_eq!(causes, ["\"no-json\" [4]", "\"unknown-field\" [2]"]);
    }
    let entries = LedgerReader::open(&data).unwrap().entries(&EntryFilter::default()).unwrap();
    let ids: Vec<&str> = entries.iter().rev().map(|entry| entry.control_id.split(':').nth(1).unwrap()).collect();
    assert_eq!(ids, ["1", "2", "4", "5"], "the second time nothing came");
}

#[test]
fn messages_of_a_file_are_admitted_as_at_any_door() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("night.hl7"));
    let messages = [
        "FHS|^~\\&|PAS|RJ1\rBHS|^~\\&|PAS|RJ1\r".to_owned(),
        person("A1", 1, "20260106101500", "EXAMPLE"),
        person("A2", 2, "20260106101500", "SAMPLE").replace("|2.4|", "|9.9|"),
        person("A1", 1, "20260106101500", "EXAMPLE"),
        "BTS|3\rFTS|1\r".to_owned(),
    ];
    std::fs::write(&file, messages.concat().replace('\r', "\r\n")).unwrap();
    let done = import(&data, &file, &["--json"]);
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["standings"], serde_json::json!({ "duplicate": 1, "filed": 1, "refused": 1 }), "{told}");
    assert_eq!(told["causes"][0]["code"], "AR 203");
}

#[test]
fn an_extract_whose_header_lacks_a_column_is_not_begun() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("children.csv"));
    std::fs::write(&file, children(2).replacen("FAMILY_NAME,GIVEN_NAME", "SURNAME,GIVEN_NAME", 1)).unwrap();
    for (extra, told) in
        [(&CHILDREN[..], "no column FAMILY_NAME"), (&[], "Say --mapping"), (&["--mapping", "adt-person"], "extract-children")]
    {
        let done = import(&data, &file, extra);
        assert_eq!(done.status.code(), Some(78), "{}", text(&done));
        assert!(text(&done).contains(told), "{}", text(&done));
    }
}

const COUNT: usize = 4_000;
const KILLS: usize = 4;

#[test]
fn an_import_that_is_killed_goes_on_where_it_stood_and_takes_nothing_twice() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("children.csv"));
    std::fs::write(&file, children(COUNT)).unwrap();
    let appended = || {
        LedgerReader::open(&data)
            .and_then(|reader| reader.reconcile(None, None))
            .map_or(0, |account| account.lines.iter().map(|line| line.received).sum::<i64>())
    };
    let mut early = 0;
    for kill in 1..=KILLS {
        let mut running = command(&data, &file, &CHILDREN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let target = (kill * COUNT / (KILLS + 2)) as i64;
        let mut looks = 0;
        while appended() < target && running.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
            looks += 1;
            assert!(looks < PATIENCE.as_millis() / 2, "records come");
        }
        early += usize::from(running.try_wait().unwrap().is_none());
        running.kill().unwrap();
        running.wait().unwrap();
    }
    assert!(2 <= early, "killed at work {early} times");
    let done = import(&data, &file, &[&CHILDREN[..], &["--json"]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["standings"], serde_json::json!({ "filed": COUNT }), "{told}");
    let mut times: HashMap<String, usize> = HashMap::new();
    let filter = EntryFilter { limit: Some(100_000), ..EntryFilter::default() };
    for entry in LedgerReader::open(&data).unwrap().entries(&filter).unwrap() {
        *times.entry(entry.control_id).or_default() += 1;
    }
    assert_eq!((times.len(), times.values().max()), (COUNT, Some(&1)));
}
