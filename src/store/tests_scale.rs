//! How long it takes to find a child, and its hub, among one and a half million: run by hand, as `docs/performance.md` says.

use std::path::Path;

use jiff::{ToSpan, civil};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::index::Index;
use super::kin;
use super::schema::{ledger_file, open_for_writing};
use crate::canon::Statement;
use crate::identity::{self, Match, Record};
use crate::routing::Directory;

const CHILDREN: i64 = 1_500_000;
const ASKED: i64 = 20_000;
/// Births of five years, one mother for two children.
const DAYS: i64 = 1_826;

/// What a registration says of child `n`.
fn said(n: i64) -> Statement {
    let born = civil::date(2021, 1, 1).saturating_add((n % DAYS).days());
    let number = nhs(n);
    let text = format!(
        r#"{{"event":{{"kind":"person","may_create":true,"at":{{"value":"2026-01-10T10:00:00+00:00","precision":"second"}}}},
        "child":{{"identifiers":[{{"value":"{number}","system":"https://fhir.nhs.uk/Id/nhs-number","status":"01","type":"NH"}},{{"value":"B{n}","system":"urn:v2:RJ1","type":"PI"}}],
        "names":[{{"family":"EXAMPLE{family}","given":["TEST{given}"],"use":"official"}}],"sex":"{sex}",
        "birth":{{"date":{{"value":"{born}","precision":"day"}},"birth_order":1,"births_in_confinement":1,"weight_g":3300}},
        "addresses":[{{"lines":["{n} TEST STREET","LONDON"],"postcode":"SE{area} {sector}ZZ","use":"home"}}],
        "gp":{{"practice_ods":"G{practice:05}"}},
        "relations":[{{"kind":"12","name":{{"family":"EXAMPLE{family}","given":["ROSE"]}},"identifiers":[{{"value":"M{mother}","system":"urn:v2:RJ1","type":"PI"}}]}}]}}}}"#,
        family = n % 30_011,
        given = n % 997,
        sex = 1 + n % 2,
        area = 1 + n % 28,
        sector = n % 10,
        practice = n % 1_200,
        mother = n % 750_000,
    );
    serde_json::from_str(&text).unwrap()
}

/// An NHS number of nobody: nine digits after each other with their check digit, where there is one.
fn nhs(n: i64) -> String {
    (n * 11..)
        .find_map(|serial| {
            let digits = format!("{:09}", 400_000_000 + serial);
            let sum: u32 = digits.chars().zip((2..=10).rev()).map(|(digit, weight)| digit.to_digit(10).unwrap() * weight).sum();
            match 11 - sum % 11 {
                10 => None,
                11 => Some(format!("{digits}0")),
                check => Some(format!("{digits}{check}")),
            }
        })
        .unwrap()
}

/// Fills child, identifier, kin and likeness with what filing would have put there; the records are copies of one with other values.
fn fill(connection: &Connection) {
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; BEGIN").unwrap();
    let first = said(0);
    let by = identity::Said { at_us: 1_768_039_200_000_000, version: 0, seq: 1, rank: 1, source: "rj1".into() };
    let (record, _) = identity::merge(None::<&Record>, &first, &by);
    let text = serde_json::to_string(&record).unwrap();
    let born_first = record.child.birth.date.clone().unwrap().value;
    let mut child = record.child.clone();
    for n in 0..CHILDREN {
        let (number, born) = (nhs(n), civil::date(2021, 1, 1).saturating_add((n % DAYS).days()).to_string());
        let (family, mother, postcode) =
            (format!("EXAMPLE{}", n % 30_011), format!("M{}", n % 750_000), format!("SE{} {}ZZ", 1 + n % 28, n % 10));
        let record = text
            .replace(&nhs(0), &number)
            .replace("RJ1|B0", &format!("RJ1|B{n}"))
            .replace("\"B0\"", &format!("\"B{n}\""))
            .replace("\"M0\"", &format!("\"{mother}\""))
            .replace("\"EXAMPLE0\"", &format!("\"{family}\""))
            .replace("\"TEST0\"", &format!("\"TEST{}\"", n % 997))
            .replace("\"sex\":\"1\"", &format!("\"sex\":\"{}\"", 1 + n % 2))
            .replace("SE1 0ZZ", &postcode)
            .replace(&born_first, &born);
        let sql = "INSERT INTO child(id, uuid, version, status, hub, record) VALUES(?1, ?2, 1, 'active', 'SE', ?3)";
        let uuid = Uuid::from_u128((n as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_0C8A_7D3B_11E5));
        connection.prepare_cached(sql).unwrap().execute(params![n + 1, uuid.as_bytes().as_slice(), record.as_bytes()]).unwrap();
        let sql = "INSERT INTO identifier(system, value, child) VALUES(?1, ?2, ?3)";
        let mut insert = connection.prepare_cached(sql).unwrap();
        insert.execute(params![crate::canon::NHS_NUMBER_SYSTEM, number, n + 1]).unwrap();
        insert.execute(params!["urn:v2:RJ1", format!("B{n}"), n + 1]).unwrap();
        drop(insert);
        child.birth.date.as_mut().unwrap().value = born;
        child.names[0].family = Some(family.clone());
        child.sex = Some(if n % 2 == 0 { crate::canon::Sex::Male } else { crate::canon::Sex::Female });
        child.addresses[0].postcode = Some(postcode);
        child.relations[0].identifiers[0].value = mother;
        child.relations[0].name.as_mut().unwrap().family = Some(family);
        kin::follow(connection, n + 1, None, &child).unwrap();
        if n % 50_000 == 49_999 {
            connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE); BEGIN").unwrap();
        }
    }
    connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

/// Peak memory of this process, MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

#[test]
#[ignore = "fills a ledger of some gigabytes: run by hand"]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
fn a_child_and_its_hub_are_found_among_one_and_a_half_million() {
    let data = tempfile::tempdir().unwrap();
    fill(&open_for_writing(data.path()).unwrap());
    let size = std::fs::metadata(ledger_file(data.path())).unwrap().len() / 1_048_576;
    let directory = Directory::load_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings"))).unwrap();
    let today = civil::date(2026, 1, 10);
    let connection = open_for_writing(data.path()).unwrap();
    eprintln!("{CHILDREN} children, ledger {size} MiB");
    type Change = fn(&mut Statement, i64);
    let cases: [(&str, Change, bool); 5] = [
        ("known by number and local identifier", |_, _| {}, false),
        ("known by its number, verified elsewhere", |said, _| drop(said.child.identifiers.pop()), false),
        ("a new child of a mother on record", |said, n| renew(said, n, "2026-01-09"), true),
        ("found by mother, day and order", |said, n| rename(said, n), true),
        ("nobody by its details, 820 born that day", strange, true),
    ];
    for (what, change, child_first) in cases {
        let statements: Vec<Statement> = (0..ASKED)
            .map(|k| {
                let n = (k * 7_919) % CHILDREN;
                let mut statement = said(n);
                change(&mut statement, n);
                statement
            })
            .collect();
        let started = crate::clock::tick();
        let mut known = 0;
        for statement in &statements {
            let index = Index(&connection);
            let found = identity::decide(statement, child_first, &index).unwrap();
            known += i64::from(matches!(found, Match::Known(..)));
            let route = directory.decide(&statement.child, None, today);
            std::hint::black_box(route);
        }
        let each = started.elapsed().as_micros() as f64 / ASKED as f64;
        eprintln!("{each:>8.1} us a message: {what} ({known} of {ASKED} known)");
    }
    eprintln!("peak memory {} MiB", peak_mib());
}

/// Another local identifier and no number.
fn rename(said: &mut Statement, n: i64) {
    said.child.identifiers.retain(|id| id.nhs_number().is_none());
    for id in &mut said.child.identifiers {
        (id.system, id.value) = ("urn:v2:RAX".into(), format!("X{n}"));
    }
}

/// Another child of the same mother.
fn renew(said: &mut Statement, n: i64, born: &str) {
    rename(said, n);
    if let Some(date) = &mut said.child.birth.date {
        date.value = born.to_owned();
    }
}

/// Another name, and no mother.
fn strange(said: &mut Statement, n: i64) {
    rename(said, n);
    said.child.relations.clear();
    said.child.names[0].family = Some("NOBODY".into());
}
