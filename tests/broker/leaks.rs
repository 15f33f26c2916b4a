//! The never-list of a parents' record (destination rules, section 3), row by row, through a whole broker that is a process: new, update, a
//! move between hubs, exports of both hubs, refusals at the doors, commands, and the log at its most talkative.
//!
//! # What is planted
//!
//! Texts with [`CANARY`] in them, and numbers and days that stand in nothing else. Each row says who may have them: the hub that is
//! responsible has most of it, so its export proves that the row was planted at all and that the search finds it.

use std::net::SocketAddr;
use std::process::Command;

use chis_broker::destinations::fake::Fake;
use chis_broker::store::LedgerReader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::corpus::client;
use crate::hubs::{Process, lives};
use crate::viewer::Viewer;
use crate::world::{free_port, nhs_number, sample, settled};

const CANARY: &str = "ZQX";

/// Who may have what was planted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// It is there.
    Have,
    /// It is not there, whatever was asked.
    Never,
    /// Nothing of it has a place in the record; or there is nothing to look for but a word.
    Either,
}

/// A child of one row.
struct Child {
    row: usize,
    number: usize,
}

impl Child {
    fn nhs(&self) -> String {
        nhs_number(self.number)
    }

    fn control(&self, step: &str) -> String {
        format!("LEAK{:02}{step}", self.row)
    }

    /// Where it lives and is registered, said at a step: `01` to `28`, a day of February.
    fn lives(&self, step: &str, hub: &str) -> String {
        lives(&self.control(step), self.number, &format!("202602{step}101500"), hub)
    }

    /// A sample about another child, said of this one.
    fn sample(&self, name: &str, step: &str) -> String {
        let text = sample(name);
        let control = text.split('|').nth(9).unwrap().to_owned();
        let own = format!("{:02}", self.row);
        let mut text = text.replace(&control, &self.control(step)).replace("10 TEST STREET^^LONDON^^SE1 9ZZ^GBR^H", "");
        for number in ["9990000026", "9990000093"] {
            text = text.replace(number, &self.nhs());
        }
        for (from, to) in [
            ("EXAMPLE^BABY", "EXAMPLE^GIVEN"),
            ("SPECIMEN^LEILA", "EXAMPLE^GIVEN"),
            ("7 RIVERSIDE^^LONDON^^SW18 4RP^GBR^H", ""),
            ("9990000018^^^NHS^NH", ""),
            ("|20260206|", "|20260105|"),
            ("L70001", &format!("L7{own}")),
            ("B100002", &format!("B1{own}")),
            ("CARD0002", &format!("CARD{own}")),
            ("26N000456", &format!("26N{own}")),
            ("H900032", &format!("H9{own}")),
            ("N900033", &format!("N9{own}")),
            ("R900037", &format!("R9{own}")),
            ("D000047", &format!("D0{own}")),
        ] {
            text = text.replace(from, to);
        }
        text
    }

    /// A harmless result, which every account that may be written to is sent.
    fn result(&self) -> String {
        self.sample("14-term-baby-oru-normal.hl7", "27").replace("CARD", "CARDZ").replace("26N", "26NZ")
    }

    fn consent(&self) -> String {
        let file = format!("{}/samples/11-proxy-consent.json", env!("CARGO_MANIFEST_DIR"));
        let mut text = std::fs::read_to_string(file).unwrap();
        for id in ["67640b8e", "4d7c1202", "6af4c6c9", "dbc4fa9c"] {
            text = text.replace(id, &format!("{}{:04}", &id[..4], self.row));
        }
        text.replace("9990000093", &self.nhs())
            .replace("SPECIMEN", "EXAMPLE")
            .replace("LEILA", "GIVEN")
            .replace("2026-02-06", "2026-01-05")
            .replace("CONSENT-0001", &format!("CONSENT-{}", self.row))
            .replace("ACC-0001", &format!("ACCOUNT-{}", self.row))
    }
}

/// What must never be seen by parents, how a message carries it, and who else may have it.
struct Row {
    what: &'static str,
    plant: fn(&Child) -> String,
    /// Beside the canary.
    secrets: &'static [&'static str],
    viewer: May,
    export: May,
    /// Something is still sent to the account after it.
    flows: bool,
}

const ROWS: &[Row] = &[
    Row {
        what: "mother: name, number, day of birth, address, telephone",
        plant: |child| {
            format!(
                "{}NK1|1|ZQXMOTHER^ZQXMARY|MTH|7 ZQX ROAD^^LONDON^^E8 4RP|07700900094||||||||||||19810101||||||||||||||||||9990000107^^^NHS^NH\r",
                child.lives("10", "NE")
            )
        },
        secrets: &["9990000107", "07700900094", "19810101", "1981-01-01"],
        viewer: May::Never,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "father: paternity",
        plant: |child| format!("{}NK1|1|ZQXFATHER^ZQXTOM|FTH|9 ZQX ROAD^^LONDON^^E8 4RP|07700900096\r", child.lives("10", "NE")),
        secrets: &["07700900096"],
        viewer: May::Never,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "the child's address and telephone",
        plant: |child| child.lives("10", "NE").replace("10 TEST STREET", "7 ZQX ROAD").replace("GBR^H|||", "GBR^H||07700900095^PRN|"),
        secrets: &["07700900095"],
        viewer: May::Have,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "the practice",
        plant: |child| child.lives("10", "NE").replace("TEST SURGERY", "ZQX SURGERY"),
        secrets: &[],
        viewer: May::Either,
        export: May::Either,
        flows: true,
    },
    Row {
        what: "an earlier name",
        plant: |child| child.lives("10", "NE").replace("GIVEN^^^^^L", "GIVEN^^^^^L~ZQXFORMER^ZQXOLD^^^^^A"),
        secrets: &[],
        viewer: May::Either,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "a twin",
        plant: |child| child.lives("10", "NE").replace("GBR^H|||||||||||||||||||||NSTS01", "GBR^H|||||||||||||Y|2|||||||NSTS01"),
        secrets: &[],
        viewer: May::Either,
        export: May::Either,
        flows: true,
    },
    Row {
        what: "the laboratory's comment",
        plant: |child| format!("{}NTE|1|L|ZQX comment\r", child.sample("14-term-baby-oru-normal.hl7", "10")),
        secrets: &[],
        viewer: May::Never,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "a suspected condition before a person told of it",
        plant: |child| {
            let card = child.sample("14-term-baby-oru-normal.hl7", "10");
            format!("{}NTE|1|L|ZQX suspected\r", card.replace("04^Condition not suspected", "08^Condition suspected"))
        },
        secrets: &[],
        viewer: May::Either,
        export: May::Have,
        flows: false,
    },
    Row {
        what: "comment and screener of a hearing screen",
        plant: |child| {
            child.sample("32-term-baby-oru-hearing.hl7", "10").replace("Settled", "ZQX settled").replace("DE  SCREENER", "ZQXSCREENER")
        },
        secrets: &[],
        viewer: May::Never,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "comment, examiner and suspicion of a physical examination",
        plant: |child| child.sample("33-spine-baby-oru-nipe.hl7", "10").replace("clicky", "ZQX").replace("DE  EXAMINER", "ZQXEXAMINER"),
        secrets: &[],
        viewer: May::Never,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "comments and concerns of a review: safeguarding, social context, history of others",
        plant: |child| {
            let review = child.sample("37-term-baby-oru-review.hl7", "10");
            review
                .replace("Seen at home with mother", "ZQX: mother's history")
                .replace("slow to latch", "ZQX concern")
                .replace("DE  VISITOR", "ZQXVISITOR")
        },
        secrets: &[],
        viewer: May::Never,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "a document and its author",
        plant: |child| child.sample("47-term-baby-mdm-summary.hl7", "10").replace("SAMPLE^DANA", "ZQXAUTHOR^DANA"),
        secrets: &[],
        viewer: May::Either,
        export: May::Have,
        flows: true,
    },
    Row {
        what: "a child protection fact",
        plant: |child| {
            let file = format!("{}/samples/67-dch-safety-alert.json", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(file).unwrap().replace("9990000093", &child.nhs());
            text.replace("SPECIMEN", "EXAMPLE")
                .replace("LEILA", "GIVEN")
                .replace("2026-02-06", "2026-01-05")
                .replace("an invented risk", "ZQX risk")
        },
        secrets: &["1064461000000103"],
        viewer: May::Never,
        export: May::Never,
        flows: true,
    },
    Row {
        what: "a death",
        plant: |child| {
            let dead = child.lives("10", "NE").replace("GBR^H|||||||||||||||||||||NSTS01", "GBR^H||||||||||||||||||20260209|Y||NSTS01");
            dead.replace("10 TEST STREET", "7 ZQX ROAD")
        },
        secrets: &[],
        viewer: May::Either,
        export: May::Have,
        flows: false,
    },
    Row {
        what: "where a restricted child is",
        plant: |child| format!("{}ZU8||||2\r", child.lives("10", "NE").replace("10 TEST STREET", "7 ZQX ROAD")),
        secrets: &[],
        viewer: May::Never,
        export: May::Never,
        flows: false,
    },
    Row {
        what: "where a hidden child is",
        plant: |child| child.lives("10", "NE").replace("10 TEST STREET", "7 ZQX ROAD").replace("^^F84001", "^^F84001|||||||||Y"),
        secrets: &[],
        viewer: May::Never,
        export: May::Never,
        flows: false,
    },
    Row {
        what: "a child of whom sharing was dissented from",
        plant: |child| format!("{}ZU8||2\r", child.lives("10", "NE").replace("10 TEST STREET", "7 ZQX ROAD")),
        secrets: &[],
        viewer: May::Never,
        export: May::Have,
        flows: false,
    },
];

/// The first secret of a row that stands in a text, in whatever case.
fn found(row: &Row, text: &str) -> Option<&'static str> {
    let upper = text.to_uppercase();
    std::iter::once(&CANARY).chain(row.secrets).copied().find(|secret| upper.contains(&secret.to_uppercase()))
}

fn judge(row: &Row, place: &str, may: May, text: &str) {
    match (may, found(row, text)) {
        (May::Never, Some(secret)) => panic!("{}: {place} has {secret}: {text}", row.what),
        (May::Have, None) => panic!("{}: {place} has nothing of it, so nothing was planted: {text}", row.what),
        _ => {}
    }
}

/// What no log line, no refusal and no command may say of any child of the test.
fn assert_says_nothing(place: &str, text: &str, children: &[Child]) {
    for row in ROWS {
        judge(row, place, May::Never, text);
    }
    let upper = text.to_uppercase();
    for word in ["EXAMPLE^", "\"EXAMPLE\"", "TEST STREET", "E8 4RP", "SW18 4RP", "ACCOUNT-"] {
        assert!(!upper.contains(word), "{place}: {word} in {text}");
    }
    for child in children {
        assert!(!text.contains(&child.nhs()), "{place}: the number of {} in {text}", child.row);
    }
}

/// What a door answers to bytes in one frame; nothing where it closes without a word.
async fn answered(at: SocketAddr, message: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(&[b"\x0B", message, b"\x1C\r"].concat()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x1C\r") && 0 < stream.read_buf(&mut answer).await.unwrap_or(0) {}
    String::from_utf8_lossy(&answer).into_owned()
}

/// Everything that a command says on both outputs, and whether it did what it was asked.
fn ran(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_chis-broker")).args(arguments).output().unwrap();
    (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

fn said(arguments: &[&str]) -> String {
    let (is_done, text) = ran(arguments);
    assert!(is_done && !text.is_empty(), "{arguments:?}: {text}");
    text
}

/// The part of an export that is about a child: the lines with its number, or, of resources, with its id.
fn about(export: &str, needle: &str) -> String {
    export.lines().filter(|line| line.contains(needle)).collect::<Vec<_>>().join("\n")
}

async fn post(at: SocketAddr, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let answer = client().post(format!("http://{at}{path}")).header("content-type", kind).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_each_row_of_the_never_list_nothing_arrives_by_a_move_an_export_an_error_a_command_or_the_log() {
    let (redbook, viewer, http) = (Fake::start().await.unwrap(), Viewer::open(&[]).await, free_port());
    let mut broker = Process::new(
        None,
        &format!(
            "[log]\nformat = \"json\"\nlevel = \"trace\"\n[[intake.http]]\nlisten = \"{http}\"\n\
             [[destination]]\nname = \"e-redbook\"\nkind = \"fhir\"\nbase = \"{}\"\nprofile = \"parent-record\"\n\
             [[destination]]\nname = \"viewer\"\nkind = \"mllp\"\naddress = \"{}\"\n",
            redbook.base(),
            viewer.at
        ),
    );
    broker.start().await;
    let data = broker.data();
    let children: Vec<Child> = (0..ROWS.len()).map(|row| Child { row, number: 100 + row }).collect();

    // New; an account; the row; a move to another hub; and something that every account may have.
    broker.send(&children.iter().map(|child| child.lives("06", "NE")).collect::<Vec<_>>()).await;
    for child in &children {
        let (status, text) = post(http, "/fhir/r4/$process-message", "application/fhir+json", child.consent()).await;
        assert_eq!(status, 200, "{text}");
    }
    settled(&data).await;
    let planted: Vec<String> = ROWS.iter().zip(&children).map(|(row, child)| (row.plant)(child)).collect();
    for text in planted.iter().filter(|text| text.starts_with('{')) {
        let (status, text) = post(http, "/fhir/stu3/$process-message", "application/fhir+json", text.clone()).await;
        assert_eq!(status, 200, "{text}");
    }
    broker.send(&planted.iter().filter(|text| text.starts_with("MSH")).cloned().collect::<Vec<_>>()).await;
    broker.send(&children.iter().map(|child| child.lives("20", "SW")).collect::<Vec<_>>()).await;
    broker.send(&children.iter().map(Child::result).collect::<Vec<_>>()).await;
    let held = LedgerReader::open(&data).unwrap().held().unwrap();
    assert!(held.is_empty(), "{held:?}");

    // The account and the viewer.
    for (row, child) in ROWS.iter().zip(&children) {
        let sent: Vec<String> = redbook.received().iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect();
        let own: String = sent.iter().filter(|body| body.contains(&child.nhs())).cloned().collect();
        judge(row, "the parents' record", May::Never, &own);
        assert!(own.contains(&format!("ACCOUNT-{}", child.row)), "{}: the account was written to before", row.what);
        assert_eq!(own.contains("171191008"), row.flows, "{}: {own}", row.what);
        for never in
            ["F84001", "H85001", "TEST STREET", "E8 4RP", "SW18", "RJ122", "multipleBirth", "deceased", "\"08\"", "988311000000108"]
        {
            assert!(!own.contains(never), "{}: {never} in {own}", row.what);
        }
        let shown: String = viewer.received().into_iter().map(|(message, _)| message).filter(|text| text.contains(&child.nhs())).collect();
        judge(row, "the viewer", row.viewer, &shown);
    }

    // Both hubs' exports: as canonical records and as FHIR.
    let folder = data.display().to_string();
    for hub in ["NE", "SW"] {
        let export = said(&["hub", "export", hub, "--data", &folder, "--reveal", "test"]);
        let to = broker.data().join(format!("export-{hub}"));
        let exported =
            said(&["hub", "export", hub, "--data", &folder, "--reveal", "test", "--format", "fhir", "--to", &to.display().to_string()]);
        assert!(to.join("Patient.ndjson").is_file(), "{exported}");
        let mut resources = String::new();
        for file in std::fs::read_dir(&to).unwrap() {
            resources.push_str(&std::fs::read_to_string(file.unwrap().path()).unwrap());
        }
        for (row, child) in ROWS.iter().zip(&children) {
            let own = about(&export, &child.nhs());
            let id = serde_json::from_str::<serde_json::Value>(&own).unwrap()["child"].as_str().unwrap().to_owned();
            judge(row, &format!("the export of {hub}"), row.export, &own);
            let fhir = about(&resources, &id);
            assert!(fhir.contains("\"Patient\""), "{}: {hub}", row.what);
            if row.export == May::Never {
                judge(row, &format!("the FHIR export of {hub}"), May::Never, &fhir);
            }
        }
        // Masked, nothing of anybody is in it.
        assert_says_nothing("the masked export", &said(&["hub", "export", hub, "--data", &folder]), &[]);
    }

    // Refusals at the doors.
    let mut refused = 0;
    for (row, text) in ROWS.iter().zip(&planted).filter(|(_, text)| text.starts_with("MSH")) {
        let id = text.split('|').nth(9).unwrap();
        let mut not_text = text.clone().into_bytes();
        not_text.extend(b"NTE|1|L|ZQX \xC3\x28\r");
        let broken = [
            text.replace("|2.4|", "|9.9|").replace("|2.5.1|", "|9.9|").into_bytes(),
            text.replace(id, "").into_bytes(),
            text.replace("ADT^A28", "ODD^A28").replace("ORU^R01", "ODD^R01").replace("MDM^T02", "ODD^T02").into_bytes(),
            text.replace("\rPID", "\rPIDZQX").into_bytes(),
            text.replace("MSH|", "MSZ|").into_bytes(),
            text.replace("UNICODE UTF-8", "ODD SET").into_bytes(),
            text.replace("\rPID|", "\rPID|ZQX\rPID|").into_bytes(),
            text.as_bytes()[..60].to_vec(),
            not_text,
        ];
        for message in broken {
            let answer = answered(broker.mllp, &message).await;
            refused += usize::from(answer.contains("\rERR|"));
            assert_says_nothing(&format!("{}: the acknowledgement", row.what), &answer, &children);
        }
    }
    assert!(3 * ROWS.len() < refused, "{refused} refusals with ERR");
    for (path, kind, body) in [
        ("/fhir/r4/$process-message", "application/fhir+json", planted[0].clone()),
        ("/fhir/r4/$process-message", "application/fhir+json", children[0].consent().replace("GIVEN", "ZQX").split_at(2_000).0.to_owned()),
        (
            "/fhir/r4/$process-message",
            "application/fhir+json",
            children[0].consent().replace("GIVEN", "ZQX").replace("\"Consent\"", "\"OddConsent\""),
        ),
        (
            "/fhir/r4/$process-message",
            "application/fhir+json",
            children[0].consent().replace("GIVEN", "ZQX").replace("\"message\"", "\"odd\""),
        ),
        (
            "/fhir/r4/$process-message",
            "application/fhir+json",
            children[0].consent().replace("GIVEN", "ZQX").replace("proxy-consent-1", "odd-1"),
        ),
        ("/fhir/r4/$process-message", "application/fhir+json", children[0].consent().replace("GIVEN", "ZQX")),
        ("/fhir/r4/$process-message", "application/fhir+xml", children[0].consent().replace("GIVEN", "ZQX")),
        ("/fhir/r4/$process-message", "text/zqx", children[0].consent()),
        (
            "/fhir/stu3/$process-message",
            "application/fhir+xml",
            "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"ZQX\"/><ZQX>".to_owned(),
        ),
        (
            "/fhir/r4",
            "application/fhir+json",
            "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"ZQX\"}],\"birthDate\":\"ZQX\"}".to_owned(),
        ),
        (
            "/fhir/r4/Patient",
            "application/fhir+json",
            "{\"resourceType\":\"Patient\",\"ZQX\":[{\"family\":\"ZQX\"}],\"birthDate\":\"ZQX\"}".to_owned(),
        ),
    ] {
        let (status, answer) = post(http, path, kind, body).await;
        assert!(answer.contains("OperationOutcome"), "{status}: {answer}");
        assert_says_nothing(&format!("the answer {status}"), &answer, &children);
    }
    settled(&data).await;

    // Commands that were not told why: the listings, and every child.
    let admin = format!("http://{}", broker.admin);
    let reader = LedgerReader::open(&data).unwrap();
    let ids: Vec<String> = children.iter().map(|child| reader.children_by_identifier(&child.nhs()).unwrap()[0].to_string()).collect();
    let mut commands: Vec<Vec<&str>> = vec![vec!["msg", "list"], vec!["held", "list"], vec!["status"]];
    commands.extend(ids.iter().map(|id| vec!["child", id]));
    for command in &commands {
        let text = said(&[&command[..], &["--admin", &admin]].concat());
        assert_says_nothing(&command.join(" "), &text, &children);
    }

    // The log of all of it.
    let log = broker.log();
    assert!(log.contains("\"TRACE\""), "it is at its most talkative");
    for line in log.lines() {
        assert_says_nothing("the log", line, &children);
    }
}
