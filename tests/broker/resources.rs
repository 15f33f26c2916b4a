//! R4 Bundles of resources: each fact reaches the store of its own child's hub, and a half of a Bundle reaches nobody.

use chis_broker::broker::Running;
use chis_broker::journal::Standing;
use chis_broker::names::Seq;
use chis_broker::store::{LedgerReader, hub_export};
use serde_json::Value;

use crate::corpus::client;
use crate::world::{broker, settings, settled};

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/samples/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Posts to the R4 door as JSON.
async fn post(to: std::net::SocketAddr, path: &str, body: Vec<u8>) -> (u16, Value) {
    let request = client().post(format!("http://{to}/fhir/r4{path}")).header("content-type", "application/fhir+json");
    let response = request.body(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// What the stores of all hubs hold: hub, NHS number, kinds of its events with what was given or measured.
fn stores(data: &std::path::Path) -> Vec<String> {
    let mut all = Vec::new();
    for hub in ["ne", "nw", "se", "sw"] {
        hub_export(data.join(format!("hub-{hub}.db")), &mut |child| {
            let number = child["record"]["identifiers"][0]["value"].as_str().unwrap().to_owned();
            for event in child["events"].as_array().unwrap() {
                let statement = &event["statement"];
                let dose = statement["immunisations"][0]["key"].as_str().unwrap_or_default();
                let weight = statement["reviews"][0]["measurements"][0]["qty"]["value"].as_str().unwrap_or_default();
                all.push(format!("{hub} {number} {} {dose}{weight}", event["kind"].as_str().unwrap()));
            }
            Ok(())
        })
        .unwrap();
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_bundle_says_of_two_children_is_filed_on_each_and_nothing_on_the_other() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let (status, answer) = post(running.addresses.http[0], "", sample("74-r4-two-children.json")).await;
    assert_eq!((status, answer["type"].as_str(), answer["entry"].as_array().unwrap().len()), (200, Some("batch-response"), 6));
    let account = settled(data.path()).await;
    assert_eq!((account.unaccounted, account.undelivered), (0, 0));
    let expected = [
        "ne 9990070024 immunisation VACC-74A",
        "ne 9990070024 person ",
        "ne 9990070024 review 5.25",
        "sw 9990070032 immunisation VACC-74B",
        "sw 9990070032 person ",
        "sw 9990070032 review 10.4",
    ];
    assert_eq!(stores(data.path()), expected);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_of_which_one_fact_has_no_child_is_held_whole() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    // The weight of one child names nobody; of the other child nothing is wrong, and nothing of it is filed either.
    let torn = String::from_utf8(sample("74-r4-two-children.json")).unwrap();
    let reference = torn.rfind("urn:uuid:").unwrap();
    let torn = format!("{}urn:uuid:00000000-0000-4000-8000-000000000001{}", &torn[..reference], &torn[reference + 45..]);
    assert_eq!(post(running.addresses.http[0], "", torn.into_bytes()).await.0, 200, "sending it again would mend nothing");
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.standing(Seq(1)).unwrap(), Some(Standing::Held));
    assert!(
        reader.children_by_identifier("9990070024").unwrap().is_empty() && reader.children_by_identifier("9990070032").unwrap().is_empty()
    );
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vaccination_that_comes_alone_waits_for_its_child_and_is_filed_once() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let http = running.addresses.http[0];
    let dose = sample("72-r4-immunisation.json");
    let (status, answer) = post(http, "/Immunization", dose.clone()).await;
    assert_eq!((status, answer["resourceType"].as_str()), (200, Some("OperationOutcome")));
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    assert_eq!(reader.trace(Seq(1)).unwrap().unwrap().entry.reason, "unmatched");

    assert_eq!(post(http, "", sample("70-r4-birth.json")).await.0, 200);
    settled(data.path()).await;
    assert_eq!(reader.trace(Seq(1)).unwrap().unwrap().entry.standing, "filed", "the birth brought what waited for it");
    let (_, again) = post(http, "/Immunization", dose).await;
    assert!(again.to_string().contains("kept as entry 1"), "the same bytes are the same message: {again}");
    settled(data.path()).await;
    assert_eq!(stores(data.path()), ["sw 9990070016 birth ", "sw 9990070016 immunisation VACC-72"]);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_for_a_source_reads_the_resources_of_that_source_and_of_no_other() {
    for (of, religion) in [("the-unit", "own"), ("another-unit", "")] {
        let (data, mappings) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, text) in chis_broker::mapping::Bundle::shipped() {
            let path = mappings.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(mappings.path().join("sites/unit")).unwrap();
        let site = format!(
            "[mapping]\nid = \"unit/r4-record\"\nversion = \"1\"\nschema = 1\nextends = \"r4-record\"\nsender = {{ source = \"{of}\" }}\n\
             [add.child]\nreligion = {{ value = \"own\" }}\n"
        );
        std::fs::write(mappings.path().join("sites/unit/r4-record.toml"), site).unwrap();
        let mut settings = settings(data.path());
        settings.mappings.dir = Some(mappings.path().to_owned());
        settings.sources[0].name = "the-unit".to_owned();
        let running = Running::start(settings, Vec::new()).await.unwrap();
        assert_eq!(post(running.addresses.http[0], "", sample("74-r4-two-children.json")).await.0, 200);
        settled(data.path()).await;
        let reader = LedgerReader::open(data.path()).unwrap();
        let child = reader.children_by_identifier("9990070024").unwrap()[0];
        let record = serde_json::to_value(reader.child(child).unwrap().unwrap().record).unwrap();
        assert_eq!(record["religion"].as_str().unwrap_or_default(), religion, "a file for {of}");
        assert_eq!(running.stop().await, 0);
    }
}
