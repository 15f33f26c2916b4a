//! Who we are to a receiver that asks for OAuth2: client credentials with a signed JWT (`private_key_jwt`, RFC 7523).
//!
//! # Invariants
//!
//! - A token is asked for once and used until shortly before it ends; while it is asked for, everybody waits for that one answer, also where
//!   it is a failure. After a failure nobody asks again before its back-off is over; who comes meanwhile is told the same.
//! - A token that the receiver refused is dropped and asked for anew once; what is refused then waits like a broken agreement.
//! - A token endpoint that is away never holds a debt: it is tried again.
//! - Neither key, assertion nor token is ever printed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Url};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA384, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::record::percent;
use super::wire;
use crate::outbox::{Settlement, backoff};

/// `oauth2 = { … }` of a destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// Where tokens are given out.
    pub token_url: String,
    /// Who we are there.
    pub client_id: String,
    /// Which of our keys, as the public key set names it.
    pub kid: String,
    /// PEM of the private key (PKCS#8): RSA signs RS384, P-384 signs ES384.
    pub key_file: std::path::PathBuf,
    /// What is asked for, where the receiver wants it said.
    pub scope: Option<String>,
}

impl OAuth2 {
    /// What is wrong with it, each with what would help. Reads no file.
    pub(super) fn check(&self, base_is_secure: bool) -> Vec<String> {
        let mut problems = Vec::new();
        match self.url() {
            Err(problem) => problems.push(problem),
            Ok(url) if url.scheme() == "https" && !base_is_secure => {
                problems.push("`token_url` is `https://` and `base` is not: both or none".to_owned());
            }
            Ok(url) if url.scheme() != "https" && base_is_secure => {
                problems.push("`base` is `https://` and `token_url` is not: both or none".to_owned());
            }
            Ok(_) => {}
        }
        let named = [("client_id", &self.client_id), ("kid", &self.kid)];
        problems
            .extend(named.into_iter().filter(|(_, value)| value.trim().is_empty()).map(|(name, _)| format!("`oauth2.{name}` is empty")));
        problems
    }

    fn url(&self) -> Result<Url, String> {
        wire::safe_url(&self.token_url, "token_url", &self.token_url)
    }
}

/// Long enough for clocks that differ a little; receivers take five minutes at most.
const ASSERTION_LASTS: SignedDuration = SignedDuration::from_mins(4);
/// A token of which nobody says how long it lasts.
const LASTS_S: u64 = 60;
/// It is asked for anew so long before it ends, or a tenth of its time if that is less.
const MARGIN_S: u64 = 30;

enum Key {
    Rsa(Box<RsaKeyPair>),
    P384(Box<EcdsaKeyPair>),
}

struct Token {
    text: String,
    ends: Timestamp,
}

/// What the last asking gave.
#[derive(Default)]
enum Held {
    /// Nobody asked yet, or what was held is over.
    #[default]
    Nothing,
    Token(Token),
    Failure(Failure),
}

/// The token endpoint gave none.
struct Failure {
    why: String,
    /// Failures in a row.
    count: u32,
    /// Nobody asks before.
    until: Instant,
}

impl Failure {
    /// What whoever comes meanwhile is told: not to come again before somebody may ask. `wait`: what its own back-off says.
    fn settlement(&self, wait: Duration) -> Settlement {
        wire::retry(self.until.saturating_duration_since(Instant::now()).max(wait), self.why.clone())
    }
}

/// The token of one destination.
pub(super) struct Tokens {
    config: OAuth2,
    url: Url,
    key: Key,
    client: Client,
    held: Mutex<Held>,
    /// How often an asking ended: whoever waited for one is answered by it.
    ended: AtomicU64,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    /// Seconds; some write a number and some a text.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl Tokens {
    /// Reads the key; asks for nothing. The error names the file and what would help.
    pub(super) fn new(config: &OAuth2, client: Client) -> Result<Self, String> {
        Ok(Self {
            url: config.url()?,
            key: key(&config.key_file)?,
            config: config.clone(),
            client,
            held: Mutex::default(),
            ended: AtomicU64::new(0),
        })
    }

    /// A token that is good at `now`. `wait`: what a failure waits at least.
    pub(super) async fn bearer(&self, now: Timestamp, wait: Duration) -> Result<String, Settlement> {
        let before = self.ended.load(Ordering::Acquire);
        let mut held = self.held.lock().await;
        let waited_for_it = before != self.ended.load(Ordering::Acquire);
        let failures = match &*held {
            Held::Token(token) if now < token.ends => return Ok(token.text.clone()),
            Held::Failure(failure) if waited_for_it || Instant::now() < failure.until => return Err(failure.settlement(wait)),
            Held::Failure(failure) => failure.count,
            Held::Token(_) | Held::Nothing => 0,
        };
        let asked = self.ask(now).await;
        self.ended.fetch_add(1, Ordering::AcqRel);
        match asked {
            Ok(token) => {
                let text = token.text.clone();
                *held = Held::Token(token);
                Ok(text)
            }
            Err((why, at_least)) => {
                let rest = backoff(failures, wire::jitter(&self.config.client_id, failures)).max(at_least);
                let failure = Failure { why: format!("token: {why}"), count: failures.saturating_add(1), until: Instant::now() + rest };
                let settlement = failure.settlement(wait);
                *held = Held::Failure(failure);
                Err(settlement)
            }
        }
    }

    /// Forgets a token that the receiver refused; not one that took its place meanwhile.
    pub(super) async fn forget(&self, refused: &str) {
        let mut held = self.held.lock().await;
        if matches!(&*held, Held::Token(token) if token.text == refused) {
            *held = Held::Nothing;
        }
    }

    /// One request. A failure says why, and how long it rests at least.
    async fn ask(&self, now: Timestamp) -> Result<Token, (String, Duration)> {
        let soon = |why: String| (why, Duration::ZERO);
        let assertion = self.assertion(now).map_err(|why| soon(why.to_owned()))?;
        let mut body = format!(
            "grant_type=client_credentials&client_assertion_type={}&client_assertion={assertion}",
            percent("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        );
        if let Some(scope) = &self.config.scope {
            body.push_str(&format!("&scope={}", percent(scope)));
        }
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.header(ACCEPT, "application/json").body(body).send().await;
        let answer = answer.map_err(|error| soon(wire::failure(&error)))?;
        let code = answer.status().as_u16();
        if code != 200 {
            // Who we are is settled by agreement; a refusal is not mended by asking often.
            let refused = (400..=499).contains(&code) && !matches!(code, 408 | 425 | 429);
            return Err((format!("HTTP {code}"), if refused { wire::AGREEMENT_WAIT } else { Duration::ZERO }));
        }
        let given: Given = answer.json().await.map_err(|_| soon("the answer is no token".to_owned()))?;
        let lasts = given.expires_in.as_u64().or_else(|| given.expires_in.as_str()?.parse().ok()).unwrap_or(LASTS_S);
        let good = i64::try_from(lasts.saturating_sub(MARGIN_S.min(lasts / 10 + 1))).unwrap_or(i64::MAX);
        let ends = now.checked_add(SignedDuration::from_secs(good)).unwrap_or(now);
        Ok(Token { text: given.access_token, ends })
    }

    /// The signed JWT that says who we are, once.
    fn assertion(&self, now: Timestamp) -> Result<String, &'static str> {
        let random = SystemRandom::new();
        let mut once = [0_u8; 16];
        random.fill(&mut once).map_err(|_| "no random numbers")?;
        let algorithm = match &self.key {
            Key::Rsa(_) => "RS384",
            Key::P384(_) => "ES384",
        };
        let head = serde_json::json!({ "alg": algorithm, "typ": "JWT", "kid": self.config.kid });
        let claims = serde_json::json!({
            "iss": self.config.client_id,
            "sub": self.config.client_id,
            "aud": self.config.token_url,
            "jti": URL_SAFE_NO_PAD.encode(once),
            "iat": now.as_second(),
            "exp": now.checked_add(ASSERTION_LASTS).unwrap_or(now).as_second(),
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA384, &random, signed.as_bytes(), &mut signature).map_err(|_| "cannot be signed")?;
                signature
            }
            Key::P384(key) => key.sign(&random, signed.as_bytes()).map_err(|_| "cannot be signed")?.as_ref().to_vec(),
        };
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn key(file: &std::path::Path) -> Result<Key, String> {
    let pem = wire::read(file, "oauth2.key_file")?;
    let unfit = || {
        format!(
            "`oauth2.key_file`: {} must hold an RSA key of 2048 bits and more, or a P-384 key, as PKCS#8 in PEM: `openssl pkcs8 -topk8 -nocrypt` makes one",
            file.display()
        )
    };
    match PrivateKeyDer::from_pem_slice(&pem).map_err(|_| unfit())? {
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            let random = SystemRandom::new();
            let p384 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der, &random).map(|key| Key::P384(Box::new(key)));
            RsaKeyPair::from_pkcs8(der).map(|key| Key::Rsa(Box::new(key))).or_else(|_| p384()).map_err(|_| unfit())
        }
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).map(|key| Key::Rsa(Box::new(key))).map_err(|_| unfit()),
        _ => Err(unfit()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    use super::super::fake::{Answer, Fake};
    use super::super::{FhirDestination, Kind, Payment, Profile};
    use super::*;

    fn now(second: i64) -> Timestamp {
        Timestamp::from_second(1_770_000_000 + second).unwrap()
    }

    /// A token endpoint, a receiver, and a destination that asks the one for the other. The public key checks assertions.
    struct World {
        tokens: Fake,
        receiver: Fake,
        destination: FhirDestination,
        public: Vec<u8>,
        key_file: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl World {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
            let file = folder.path().join("client.key");
            std::fs::write(&file, pair.serialize_pem()).unwrap();
            let (tokens, receiver) = (Fake::start().await.unwrap(), Fake::start().await.unwrap());
            let kind = kind(&receiver, &tokens, file.clone());
            let destination = FhirDestination::new(&kind).unwrap();
            Self { tokens, receiver, destination, public: pair.public_key_raw().to_vec(), key_file: file, _folder: folder }
        }

        fn give(&self, token: &str, lasts: Value) {
            self.tokens.next(Answer::Json(serde_json::json!({ "access_token": token, "expires_in": lasts }).to_string()));
        }

        async fn pay(&self, key: &str, second: i64) -> Settlement {
            self.destination.pay(Payment { key, control_id: "M1", body: b"{}", attempts: 0, now: now(second) }).await
        }

        /// The tokens that the receiver was shown.
        fn shown(&self) -> Vec<String> {
            self.receiver.received().into_iter().map(|request| request.authorization).collect()
        }
    }

    fn kind(receiver: &Fake, tokens: &Fake, key_file: PathBuf) -> Kind {
        let token_url = format!("{}/token", tokens.base());
        let oauth2 =
            Some(OAuth2 { token_url, client_id: "client".to_owned(), kid: "k1".to_owned(), key_file, scope: Some("a b".to_owned()) });
        Kind::Fhir {
            base: receiver.base(),
            profile: Profile::Record,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            timeout_s: Some(20),
            concurrency: None,
            oauth2,
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_by_a_signed_assertion_and_used_until_shortly_before_it_ends() {
        let world = World::new().await;
        world.give("T1", 100.into());
        world.give("T2", "599".into());
        for (key, second) in [("a", 0), ("b", 60), ("c", 95), ("d", 600)] {
            assert_eq!(world.pay(key, second).await, Settlement::Delivered, "{key}");
        }
        assert_eq!(world.shown(), ["Bearer T1", "Bearer T1", "Bearer T2", "Bearer T2"]);
        let asked = world.tokens.received();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0].target, "POST /token");
        let form = String::from_utf8(asked[0].body.clone()).unwrap();
        assert!(
            form.starts_with("grant_type=client_credentials&client_assertion_type=urn%3Aietf") && form.ends_with("&scope=a%20b"),
            "{form}"
        );
        let assertion = form.split("client_assertion=").nth(1).unwrap().split('&').next().unwrap();
        let parts: Vec<&str> = assertion.split('.').collect();
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let head: Value = serde_json::from_slice(&decoded(parts[0])).unwrap();
        let claims: Value = serde_json::from_slice(&decoded(parts[1])).unwrap();
        assert_eq!(head, serde_json::json!({ "alg": "ES384", "typ": "JWT", "kid": "k1" }));
        assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("client"), Some("client")));
        assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 300);
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &world.public);
        key.verify(format!("{}.{}", parts[0], parts[1]).as_bytes(), &decoded(parts[2])).unwrap();
        assert_ne!(asked[0].body, asked[1].body, "an assertion is used once");
    }

    #[tokio::test]
    async fn lanes_that_need_a_token_at_once_ask_for_one() {
        let world = World::new().await;
        world.give("T1", 600.into());
        let (a, b, c) = tokio::join!(world.pay("a", 0), world.pay("b", 0), world.pay("c", 0));
        assert_eq!([a, b, c], [Settlement::Delivered, Settlement::Delivered, Settlement::Delivered]);
        assert_eq!(world.tokens.received().len(), 1);
    }

    #[tokio::test]
    async fn one_failure_serves_all_lanes_that_wait_and_nobody_asks_again_before_its_back_off_is_over() {
        let world = World::new().await;
        world.tokens.next(Answer::Status(503));
        let lanes: Vec<String> = (0..20).map(|lane| format!("lane-{lane}")).collect();
        let told = futures_util::future::join_all(lanes.iter().map(|lane| world.pay(lane, 0))).await;
        assert!(told.iter().all(|told| matches!(told, Settlement::Retry { why, .. } if why == "token: HTTP 503")), "{told:?}");
        assert_eq!(world.tokens.received().len(), 1, "one asked for all");
    }

    impl Tokens {
        /// The same as so long ago.
        async fn earlier(&self, by: u64) {
            if let Held::Failure(failure) = &mut *self.held.lock().await {
                failure.until = failure.until.checked_sub(Duration::from_millis(by)).unwrap();
            }
        }

        /// How long whoever asks now is told to wait, in milliseconds; none where there is a token.
        async fn rest(&self) -> Option<u64> {
            match self.bearer(now(0), Duration::ZERO).await {
                Err(Settlement::Retry { after_ms, .. }) => Some(after_ms),
                Err(settlement) => panic!("{settlement:?}"),
                Ok(_token) => None,
            }
        }
    }

    #[tokio::test]
    async fn after_a_failure_nobody_asks_before_its_back_off_is_over_and_a_token_ends_the_count() {
        let world = World::new().await;
        let Kind::Fhir { oauth2: Some(oauth2), .. } = kind(&world.receiver, &world.tokens, world.key_file.clone()) else { panic!() };
        let tokens = Tokens::new(&oauth2, Client::new()).unwrap();
        let asked = || world.tokens.received().len();
        // 1 s doubling: in the first half of it nobody asks, after all of it one does.
        for (failures, ceiling) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
            world.tokens.next(Answer::Status(503));
            tokens.earlier(ceiling).await;
            let rest = tokens.rest().await.unwrap();
            assert!((ceiling / 2 - 50..=ceiling).contains(&rest), "{failures}: {rest}");
            assert_eq!(asked(), failures);
            tokens.earlier(ceiling / 2 - 400).await;
            assert!(tokens.rest().await.unwrap() < rest);
            assert_eq!(asked(), failures, "in its first half nobody asks");
        }
        tokens.earlier(4_000).await;
        world.give("T1", 600.into());
        assert_eq!(tokens.rest().await, None);
        tokens.forget("T1").await;
        // A refusal is not mended by asking often; and it is the first failure again.
        world.tokens.next(Answer::Status(401));
        let rest = tokens.rest().await.unwrap();
        assert!((590_000..=600_000).contains(&rest), "{rest}");
        tokens.earlier(580_000).await;
        assert!(tokens.rest().await.unwrap() <= 20_000);
        assert_eq!(asked(), 5);
        world.tokens.next(Answer::Status(503));
        tokens.earlier(20_000).await;
        assert!(tokens.rest().await.unwrap() <= 2_000, "the second failure, not the fourth");
    }

    #[tokio::test]
    async fn who_waited_while_a_token_was_asked_for_in_vain_does_not_ask_again_however_long_it_took() {
        let world = World::new().await;
        world.tokens.next(Answer::Late(Duration::from_millis(1)));
        // The first asking is answered by no token; the second lane came while it was under way, by its clock long after it began.
        let (first, second) = tokio::join!(world.pay("a", 0), world.pay("b", 3_000));
        for told in [first, second] {
            assert!(matches!(&told, Settlement::Retry { why, .. } if why == "token: the answer is no token"), "{told:?}");
        }
        assert_eq!(world.tokens.received().len(), 1);
    }

    #[tokio::test]
    async fn an_rsa_key_signs_rs384_and_the_token_endpoint_can_prove_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, public) = (folder.path().join("client.key"), folder.path().join("client.pub"));
        let openssl = |arguments: &[&str]| {
            let output = std::process::Command::new("openssl").args(arguments).output().expect("openssl is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let (path, public_path) = (file.to_str().unwrap(), public.to_str().unwrap());
        openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path]);
        openssl(&["pkey", "-in", path, "-pubout", "-out", public_path]);
        // The older form of the same key is taken too.
        let older = folder.path().join("older.key");
        openssl(&["rsa", "-in", path, "-traditional", "-out", older.to_str().unwrap()]);
        let verify_by = jsonwebtoken::DecodingKey::from_rsa_pem(&std::fs::read(&public).unwrap()).unwrap();
        for key_file in [file, older] {
            let (tokens, receiver) = (Fake::start().await.unwrap(), Fake::start().await.unwrap());
            tokens.next(Answer::Json("{\"access_token\":\"T1\",\"expires_in\":600}".to_owned()));
            let destination = FhirDestination::new(&kind(&receiver, &tokens, key_file)).unwrap();
            let paid = destination.pay(Payment { key: "a", control_id: "M1", body: b"{}", attempts: 0, now: now(0) }).await;
            assert_eq!(paid, Settlement::Delivered);
            let form = String::from_utf8(tokens.received()[0].body.clone()).unwrap();
            let assertion = form.split("client_assertion=").nth(1).unwrap().split('&').next().unwrap();
            let mut asked = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS384);
            asked.set_audience(&[format!("{}/token", tokens.base())]);
            asked.set_issuer(&["client"]);
            // The time of the test is not ours.
            asked.validate_exp = false;
            let proved = jsonwebtoken::decode::<Value>(assertion, &verify_by, &asked).unwrap();
            assert_eq!((proved.header.kid.as_deref(), proved.claims["sub"].as_str()), (Some("k1"), Some("client")));
            assert_eq!(proved.claims["exp"].as_i64().unwrap() - proved.claims["iat"].as_i64().unwrap(), 240);
            // What was signed cannot be changed: one letter of the claims is enough.
            let (head, rest) = assertion.split_once('.').unwrap();
            let forged = format!("{head}.{}{}", if rest.starts_with('A') { "B" } else { "A" }, &rest[1..]);
            assert!(jsonwebtoken::decode::<Value>(&forged, &verify_by, &asked).is_err());
        }
    }

    #[tokio::test]
    async fn a_refused_token_is_dropped_and_asked_for_anew_once() {
        let world = World::new().await;
        world.give("OLD", 600.into());
        world.give("NEW", 600.into());
        world.receiver.next(Answer::Status(401));
        assert_eq!(world.pay("a", 0).await, Settlement::Delivered);
        assert_eq!(world.shown(), ["Bearer OLD", "Bearer NEW"]);
        // Refused again at once: the agreement is broken, and nobody hammers.
        world.give("NEWER", 600.into());
        world.receiver.next(Answer::Status(401));
        world.receiver.next(Answer::Status(401));
        let Settlement::Retry { after_ms, why } = world.pay("b", 1).await else { panic!() };
        assert!(why == "HTTP 401, not authorised" && 600_000 <= after_ms, "{why} {after_ms}");
        assert_eq!(world.shown().len(), 4);
    }

    #[tokio::test]
    async fn a_token_endpoint_that_is_away_or_refuses_is_tried_again_and_nothing_is_sent() {
        for (answer, why, at_least) in [
            (Answer::Status(503), "token: HTTP 503", 500),
            (Answer::Status(401), "token: HTTP 401", 599_000),
            (Answer::Json("{\"error\":\"zqx\"}".to_owned()), "token: the answer is no token", 500),
            (Answer::Garbage, "token: no answer", 500),
        ] {
            let world = World::new().await;
            world.tokens.next(answer);
            let Settlement::Retry { after_ms, why: told } = world.pay("a", 0).await else { panic!("{why}") };
            assert!(told == why && at_least <= after_ms, "{told} {after_ms}");
            assert!(world.receiver.received().is_empty());
            assert!(!format!("{:?}", world.destination).contains("PRIVATE"));
        }
    }

    #[test]
    fn a_key_that_does_not_fit_is_named_with_what_would_help() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k.pem");
        for text in ["", "no key", &rcgen::KeyPair::generate().unwrap().serialize_pem()] {
            std::fs::write(&file, text).unwrap();
            let problem = key(&file).err().unwrap();
            assert!(problem.contains("k.pem") && problem.contains("openssl pkcs8"), "{problem}");
        }
    }
}
