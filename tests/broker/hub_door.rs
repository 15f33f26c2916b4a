//! A hub's own systems read its store as FHIR: real certificates, real signed tokens, real sockets.

use std::sync::Arc;
use std::time::Duration;

use chis_broker::broker::Running;
use chis_broker::config::{DoorConfig, Settings};
use chis_broker::door::Door;
use chis_broker::intake::Reread;
use chis_broker::names::ChildId;
use chis_broker::store::{HubReader, HubStore, hub_export};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use reqwest::{Certificate, Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::authority::{Authority, Identity};

/// Leila and Ada of the samples, in the store of SW; Amara, with a record that was merged into hers, in that of SE.
const LEILA: &str = "645f9f6b-d9b9-548f-85a9-ed667580b889";
const AMARA: &str = "09fa0aaf-df53-5902-953f-38dc72b87025";
const MERGED: &str = "a5a5eb65-2f35-52e6-aa07-d6131dc8a831";
const NUMBER_OF_LEILA: &str = "9990000093";

struct Site {
    authority: Authority,
    folder: tempfile::TempDir,
    /// What the reader `token-sw` signs with.
    key: KeyPair,
    base: String,
    closing: CancellationToken,
    /// The public keys of its readers.
    keys: Arc<dyn Reread>,
    door: Arc<tokio::task::JoinHandle<()>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.closing.cancel();
        self.door.abort();
    }
}

impl Site {
    /// A door on which `careplus-sw` and `careplus-se` show a certificate; or one without TLS for `token-sw`.
    async fn new(by_token: bool) -> Self {
        let authority = Authority::new("test CA");
        authority.write("server", &authority.sign(1, &["door.example"]));
        let folder = tempfile::tempdir().unwrap();
        let stores: [(&str, &[u8]); 2] =
            [("sw", include_bytes!("../hubstore/version-1-sw.db.zst")), ("se", include_bytes!("../hubstore/version-1-se.db.zst"))];
        for (hub, store) in stores {
            let file = folder.path().join(format!("hub-{hub}.db"));
            std::fs::write(&file, zstd::decode_all(store).unwrap()).unwrap();
            drop(HubStore::open(&file).unwrap());
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        std::fs::write(authority.path("reader.pem"), key.public_key_pem()).unwrap();
        let settings = Settings::embedded(folder.path(), None, None, None).unwrap();
        let readers = match by_token {
            true => "[[reader]]\nname = 'token-sw'\nhub = 'SW'\ntoken_key_file = 'KEYS/reader.pem'\n".to_owned(),
            false => {
                let tls = "[tls]\ncertificate_file = 'KEYS/server.pem'\nkey_file = 'KEYS/server.key'\nclient_ca_file = 'KEYS/ca.pem'\nrevocation = 'none'\n";
                let reader = |hub: &str| {
                    format!("[[reader]]\nname = 'careplus-{}'\nhub = '{hub}'\ncertificates = ['urn:nhs:ods:{hub}1']\n", hub.to_lowercase())
                };
                format!("{tls}{}{}", reader("SW"), reader("SE"))
            }
        };
        let keys = authority.path("").display().to_string();
        let text = format!("listen = '127.0.0.1:0'\n{readers}").replace("KEYS/", &keys);
        let config: DoorConfig = toml::from_str(&text).unwrap();
        let door = Door::bind(&config, &settings).await.unwrap();
        let scheme = if by_token { "http" } else { "https" };
        let base = format!("{scheme}://{}/hubs", door.address());
        let (closing, keys) = (CancellationToken::new(), door.keys());
        let door = Arc::new(tokio::spawn(door.serve(closing.clone())));
        Self { authority, folder, key, base, closing, keys, door }
    }

    /// A client that shows the certificate of a reader, or none.
    fn client(&self, shown: Option<&Identity>) -> Client {
        drop(rustls::crypto::ring::default_provider().install_default());
        let ca = std::fs::read(self.authority.path("ca.pem")).unwrap();
        let address = self.base.split("//").nth(1).unwrap().trim_end_matches("/hubs").parse().unwrap();
        let mut client =
            Client::builder().tls_certs_only([Certificate::from_pem(&ca).unwrap()]).no_proxy().resolve("door.example", address);
        if let Some(identity) = shown {
            self.authority.write("client", identity);
            let mut pem = std::fs::read(self.authority.path("client.pem")).unwrap();
            pem.extend(std::fs::read(self.authority.path("client.key")).unwrap());
            client = client.identity(reqwest::Identity::from_pem(&pem).unwrap());
        }
        client.timeout(Duration::from_secs(20)).build().unwrap()
    }

    fn reader(&self, hub: &str) -> Client {
        self.client(Some(&self.authority.sign(7, &[&format!("urn:nhs:ods:{hub}1")])))
    }

    /// An URL below a hub, by the name in the server's certificate.
    fn url(&self, path: &str) -> String {
        let port = self.base.rsplit(':').next().unwrap();
        if self.base.starts_with("https") { format!("https://door.example:{port}/{path}") } else { format!("{}/{path}", self.base) }
    }

    fn token(&self, claims: &Value, key: &KeyPair, algorithm: Algorithm) -> String {
        let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    /// Who read what of which child, the last first.
    fn reads(&self, hub: &str) -> Vec<String> {
        let mut reader = HubReader::open(self.folder.path().join(format!("hub-{hub}.db"))).unwrap();
        let text = |read: &Value, key: &str| read[key].as_str().unwrap_or("-").to_owned();
        let line = |read: &Value| format!("{} {} {}", text(read, "who"), text(read, "what"), text(read, "child"));
        reader.reads(None, 1_000).unwrap().iter().map(line).collect()
    }
}

async fn body(answer: Response) -> Value {
    assert_eq!(answer.headers()["content-type"], "application/fhir+json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn get(client: &Client, url: String) -> (StatusCode, Value) {
    let answer = client.get(url).send().await.unwrap();
    (answer.status(), body(answer).await)
}

async fn search(client: &Client, url: String, parameters: &'static str) -> (StatusCode, Value) {
    let post = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(parameters);
    let answer = post.send().await.unwrap();
    (answer.status(), body(answer).await)
}

fn ids(bundle: &Value) -> Vec<String> {
    let name =
        |entry: &Value| format!("{}/{}", entry["resource"]["resourceType"].as_str().unwrap(), entry["resource"]["id"].as_str().unwrap());
    bundle["entry"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_finds_its_child_reads_all_of_it_page_by_page_and_every_read_is_written_down() {
    let site = Site::new(false).await;
    let careplus = site.reader("SW");
    let (status, found) =
        search(&careplus, site.url("SW/fhir/r4/Patient/_search"), "identifier=https://fhir.nhs.uk/Id/nhs-number|9990000093").await;
    assert_eq!((status, ids(&found)), (StatusCode::OK, vec![format!("Patient/{LEILA}")]), "{found}");
    let by_name = "family=specimen&birthdate=2026-02-06&given=leila";
    assert_eq!(ids(&search(&careplus, site.url("SW/fhir/r4/Patient/_search"), by_name).await.1), [format!("Patient/{LEILA}")]);
    let nobody = "family=specimen&birthdate=2026-02-07";
    assert_eq!(search(&careplus, site.url("SW/fhir/r4/Patient/_search"), nobody).await.1["total"], 0);

    let whole = get(&careplus, site.url(&format!("SW/fhir/r4/Patient/{LEILA}/$everything?_count=200"))).await.1;
    let all = ids(&whole);
    assert!(10 < all.len() && all[0] == format!("Patient/{LEILA}") && whole["total"] == all.len(), "{all:?}");
    let (mut paged, mut next) = (Vec::new(), Some(site.url(&format!("SW/fhir/r4/Patient/{LEILA}/$everything?_count=7"))));
    while let Some(url) = next {
        assert!(!url.contains(NUMBER_OF_LEILA));
        let page = get(&careplus, url).await.1;
        assert!(ids(&page).len() <= 7);
        paged.extend(ids(&page));
        let link = page["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next").cloned();
        // Links have the address that was configured; the client knows the server by the name in its certificate.
        next = link.map(|link| site.url(link["url"].as_str().unwrap().split("/hubs/").nth(1).unwrap()));
    }
    assert_eq!(paged, all);

    let given = get(&careplus, site.url(&format!("SW/fhir/r4/Immunization?patient={LEILA}"))).await.1;
    let wanted: Vec<&String> = all.iter().filter(|id| id.starts_with("Immunization/")).collect();
    assert_eq!(ids(&given).iter().collect::<Vec<_>>(), wanted);
    assert!(!wanted.is_empty());
    let mut reads = site.reads("sw");
    reads.reverse();
    assert_eq!(reads[..2], ["careplus-sw fhir Patient/_search -".to_owned(), format!("careplus-sw fhir Patient {LEILA}")]);
    assert_eq!(reads.last().unwrap(), &format!("careplus-sw fhir Immunization {LEILA}"));
    assert!(site.reads("se").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_sees_its_own_children_only_and_a_stranger_nothing() {
    let site = Site::new(false).await;
    let (careplus, other) = (site.reader("SW"), site.reader("SE"));
    let amara = format!("fhir/r4/Patient/{AMARA}");
    assert_eq!(get(&careplus, site.url(&format!("SE/{amara}"))).await.0, StatusCode::FORBIDDEN);
    assert_eq!(get(&careplus, site.url(&format!("SW/{amara}"))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&other, site.url(&format!("SE/{amara}"))).await.0, StatusCode::OK);
    let stranger = site.client(Some(&site.authority.sign(8, &["urn:nhs:ods:XX1", "careplus-se.example"])));
    assert_eq!(get(&stranger, site.url(&format!("SE/{amara}"))).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&stranger, site.url("SE/fhir/r4/metadata")).await.0, StatusCode::UNAUTHORIZED);
    assert!(site.client(None).get(site.url("SE/fhir/r4/metadata")).send().await.is_err(), "without a certificate there is no handshake");
    assert_eq!(site.reads("se"), [format!("careplus-se fhir Patient {AMARA}")], "nothing else was read");
    assert_eq!(site.reads("sw"), [format!("careplus-sw fhir Patient {AMARA}")], "a question without an answer is a read, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_merged_says_as_what_it_goes_on() {
    let site = Site::new(false).await;
    let careplus = site.reader("SE");
    let answer = careplus.get(site.url(&format!("SE/fhir/r4/Patient/{MERGED}"))).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GONE);
    assert!(answer.headers()["location"].to_str().unwrap().ends_with(&format!("/hubs/SE/fhir/r4/Patient/{AMARA}")));
    let mut merged = 0;
    hub_export(site.folder.path().join("hub-se.db"), &mut |child| {
        merged += usize::from(child["child"] == MERGED && child["record"]["merged_into"] == AMARA);
        Ok(())
    })
    .unwrap();
    assert_eq!(merged, 1, "the store has such a record");
    assert!(HubReader::open(site.folder.path().join("hub-se.db")).unwrap().file(ChildId(MERGED.parse().unwrap())).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_with_a_number_or_a_name_and_a_filter_that_is_not_known_are_refused_and_not_said_again() {
    let site = Site::new(false).await;
    let careplus = site.reader("SW");
    for (path, status) in [
        ("Patient?identifier=9990000093", 400),
        ("Patient?family=SPECIMEN&birthdate=2026-02-06", 400),
        ("Observation?patient=645f9f6b-d9b9-548f-85a9-ed667580b889&value-quantity=SPECIMEN", 400),
        ("Observation?patient=9990000093", 400),
        ("Observation", 400),
        ("Patient/9990000093", 400),
        ("Encounter?patient=645f9f6b-d9b9-548f-85a9-ed667580b889", 404),
        ("Patient/645f9f6b-d9b9-548f-85a9-ed667580b889?_format=xml", 406),
    ] {
        let (answered, outcome) = get(&careplus, site.url(&format!("SW/fhir/r4/{path}"))).await;
        assert_eq!(answered.as_u16(), status, "{path}: {outcome}");
        assert_eq!(outcome["resourceType"], "OperationOutcome");
        assert!(!outcome.to_string().contains("SPECIMEN") && !outcome.to_string().contains(NUMBER_OF_LEILA), "{outcome}");
    }
    for parameters in
        ["family=SPECIMEN", "birthdate=2026-02-06", "identifier=", "name:exact=SPECIMEN&birthdate=2026-02-06", "family=A&family=B"]
    {
        let (status, outcome) = search(&careplus, site.url("SW/fhir/r4/Patient/_search"), parameters).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{parameters}: {outcome}");
    }
    let delete = careplus.delete(site.url(&format!("SW/fhir/r4/Patient/{LEILA}"))).send().await.unwrap();
    assert_eq!(delete.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(site.reads("sw").is_empty(), "what is refused was not read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_where_it_is_signed_by_the_reader_for_this_hub_and_not_yet_over() {
    let site = Site::new(true).await;
    let client = site.client(None);
    let audience = format!("{}/SW/fhir/r4", site.base);
    let now = chis_broker::clock::now().as_second();
    let claims = |iss: &str, aud: &str, exp: i64| json!({ "iss": iss, "sub": iss, "aud": aud, "exp": exp, "iat": now });
    let ask = async |token: Option<String>, hub: &str| {
        let mut request = client.get(format!("{}/{hub}/fhir/r4/Patient/{LEILA}", site.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let signed = |claims: Value| Some(site.token(&claims, &site.key, Algorithm::ES384));
    assert_eq!(ask(signed(claims("token-sw", &audience, now + 300)), "SW").await, 200);
    assert_eq!(ask(signed(claims("token-sw", &audience, now + 300)), "SE").await, 403);
    assert_eq!(ask(None, "SW").await, 401);
    assert_eq!(ask(signed(claims("token-se", &audience, now + 300)), "SW").await, 401, "another issuer");
    assert_eq!(ask(signed(claims("token-sw", "https://elsewhere.example", now + 300)), "SW").await, 401, "for somebody else");
    assert_eq!(ask(signed(claims("token-sw", &audience, now - 120)), "SW").await, 401, "over");
    assert_eq!(ask(signed(claims("token-sw", &audience, now + 90_000)), "SW").await, 401, "good for too long");
    assert_eq!(ask(signed(json!({ "iss": "token-sw", "aud": audience })), "SW").await, 401, "without an end");
    let stranger = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let forged = site.token(&claims("token-sw", &audience, now + 300), &stranger, Algorithm::ES384);
    assert_eq!(ask(Some(forged), "SW").await, 401, "another key");
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJpc3MiOiJ0b2tlbi1zdyJ9.";
    assert_eq!(ask(Some(unsigned.to_owned()), "SW").await, 401, "no signature");
    assert_eq!(site.reads("sw"), [format!("token-sw fhir Patient {LEILA}")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_the_new_key_of_a_reader_and_keeps_the_old_one_where_the_file_is_broken() {
    let site = Site::new(true).await;
    let data = tempfile::tempdir().unwrap();
    let mut running = Running::start(crate::world::settings(data.path()), Vec::new()).await.unwrap();
    running.watch(Arc::clone(&site.keys));
    let client = site.client(None);
    let now = chis_broker::clock::now().as_second();
    let audience = format!("{}/SW/fhir/r4", site.base);
    let claims = json!({ "iss": "token-sw", "sub": "token-sw", "aud": audience, "exp": now + 300, "iat": now });
    let ask = async |key: &KeyPair| {
        let token = site.token(&claims, key, Algorithm::ES384);
        let request = client.get(format!("{}/SW/fhir/r4/Patient/{LEILA}", site.base)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let (old, new) = (&site.key, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
    let file = site.authority.path("reader.pem");
    assert_eq!((ask(old).await, ask(&new).await), (200, 401));

    std::fs::write(&file, new.public_key_pem()).unwrap();
    assert_eq!((ask(old).await, ask(&new).await), (200, 401), "not before the reload");
    running.reload().await.unwrap();
    assert_eq!((ask(old).await, ask(&new).await), (401, 200));

    std::fs::write(&file, "no key").unwrap();
    let refused = running.reload().await.unwrap_err().to_string();
    assert!(refused.contains("reader.pem") && refused.contains("PEM of the reader's public key"), "{refused}");
    assert_eq!((ask(old).await, ask(&new).await), (401, 200), "the old one stays");
    for broken in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        std::fs::write(&file, broken).unwrap();
        assert!(site.keys.read().err().unwrap().to_string().contains("reader.pem"), "{broken}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(site.keys.read().err().unwrap().to_string().contains("cannot be read"));
    assert_eq!(ask(&new).await, 200);
    assert_eq!(running.stop().await, 0);
}
