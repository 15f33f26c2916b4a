//! A parents' record at the end of the whole broker: real messages in, what a receiver is sent out, and what is said of it where it fails.

use std::collections::BTreeSet;

use chis_broker::broker::{Operations, Running};
use chis_broker::destinations::fake::{Answer, Fake};
use chis_broker::destinations::{ELEMENTS, Profile};
use chis_broker::store::{About, DeskAct, LedgerReader};
use serde_json::Value;

use crate::corpus::client;
use crate::world::{Line, receiver, sample, settings, settled};

/// The child of samples 11, 16, 33, 35 and 97, as a hospital registers it: with all that parents' records never hold.
const CHILD: &str = "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|202602070900||ADT^A28^ADT_A05|P0001|P|2.4|||||GBR|UNICODE UTF-8\rEVN||202602070900||||202602070900\r\
    PID|1||9990000093^^^NHS^NH~ZQX93^^^RJ122^MR||SPECIMEN^LEILA^^^^^L||20260206|2|||7 RIVERSIDE^^LONDON^^SW18 4RP^GBR^H||07700900093^PRN|||||||||||||||||||NSTS01\r\
    PD1|||TEST SURGERY^^G85001\rNK1|1|SPECIMEN^ZQXMOTHER|MTH|7 RIVERSIDE^^LONDON^^SW18 4RP|07700900094||||||||||||19900101||||||||||||||||||9990000107^^^NHS^NH\r";

fn leaves(value: &Value, (kind, at): (String, String), found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            let entered = fields.get("resourceType").and_then(Value::as_str).filter(|_| at == "entry.resource");
            let (kind, at) = entered.map_or((kind, at), |entered| (entered.to_owned(), String::new()));
            for (name, field) in fields {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                leaves(field, (kind.clone(), path), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, (kind.clone(), at.clone()), found)),
        _ => {
            found.insert((kind, at));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_parents_record_receives_is_what_the_list_names_and_the_rest_is_said_nowhere() {
    let data = tempfile::tempdir().unwrap();
    let fake = Fake::start().await.unwrap();
    let mut settings = settings(data.path());
    settings.destinations.push(receiver("e-redbook", &fake, Profile::ParentRecord));
    let running = Running::start(settings, Vec::new()).await.unwrap();
    let mut line = Line::open(running.addresses.mllp[0]).await;
    assert_eq!(line.exchange(CHILD.as_bytes()).await.code, "AA");
    for answer in [Answer::Status(503), Answer::Dropped] {
        fake.next(answer);
    }
    let consent = std::fs::read(format!("{}/samples/11-proxy-consent.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let url = format!("http://{}/fhir/r4/$process-message", running.addresses.http[0]);
    let answer = client().post(url).header("content-type", "application/fhir+json").body(consent).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    for name in [
        "16-spine-baby-oru-normal.hl7",
        "33-spine-baby-oru-nipe.hl7",
        "35-spine-baby-oru-birth.hl7",
        "97-spine-baby-oru-hearing-no-clear.hl7",
    ] {
        let answer = line.exchange(sample(name).as_bytes()).await;
        assert!(["AA", "CA"].contains(&answer.code.as_str()), "{name}: {answer:?}");
    }
    let account = settled(data.path()).await;
    assert_eq!((account.undelivered, account.unaccounted), (0, 0), "{account:?}");
    let held_back = fake.effects().iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect::<String>();
    assert!(held_back.contains("condition not suspected") && held_back.contains("birth weight"), "{held_back}");
    for news in ["abnormality", "no clear response", "physical examination"] {
        assert!(!held_back.contains(news), "{news} in {held_back}");
    }

    // A person told them of the hearing, and of nothing else.
    let child = LedgerReader::open(data.path()).unwrap().children_by_identifier("9990000093").unwrap()[0];
    let operations = running.operations();
    let today = chis_broker::clock::now().in_tz("Europe/London").unwrap().date();
    let act = || DeskAct::Inform { child, about: About::Hearing, told: today };
    let decide = |is_trial: bool| {
        let operations = operations.clone();
        let act = act();
        tokio::task::spawn_blocking(move || operations.decide(act, "at home", is_trial).unwrap())
    };
    let before = fake.received().len();
    assert_eq!(decide(true).await.unwrap().told, ["e-redbook"]);
    assert_eq!(fake.received().len(), before);
    // Refused for good: what is said of it says nothing of the child.
    fake.next(Answer::Status(422));
    assert!(decide(false).await.unwrap().done);
    let held = loop {
        let held = LedgerReader::open(data.path()).unwrap().held_debts().unwrap();
        if !held.is_empty() {
            break held;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!((held.len(), held[0].why.as_str()), (1, "HTTP 422"));
    assert_eq!(running.stop().await, 0);

    let named: BTreeSet<(String, String)> =
        ELEMENTS.iter().flat_map(|(kind, paths)| paths.iter().map(|path| ((*kind).to_owned(), (*path).to_owned()))).collect();
    let mut all = String::new();
    for received in fake.received() {
        let bundle: Value = serde_json::from_slice(&received.body).unwrap();
        let mut found = BTreeSet::new();
        leaves(&bundle, ("Bundle".to_owned(), String::new()), &mut found);
        let more: Vec<_> = found.difference(&named).collect();
        assert!(more.is_empty(), "{more:?}");
        all.push_str(&String::from_utf8_lossy(&received.body));
        all.push_str(&received.key);
    }
    assert!(all.contains("no clear response in one ear") && !all.contains("abnormality suspected"));
    for never in ["ZQX", "RIVERSIDE", "SW18", "0770090", "9990000107", "G85001", "SURGERY", "licky", "SCREENER", "EXAMINER", "risk"] {
        assert!(!all.contains(never), "{never}");
    }
}
