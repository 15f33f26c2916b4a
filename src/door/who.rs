//! Who asks: what a certificate and a signed token prove.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::answers::Refused;
use crate::clock;
use crate::config::{ReaderConfig, Settings};
use crate::intake::{Credentials, Peer, san_key};
use crate::names::HubName;
use crate::store::StoreAt;

/// Longest life of a token, seconds.
const TOKEN_SECONDS_MAX: i64 = 3_600;
/// By how much clocks may differ, seconds.
const LEEWAY: i64 = 60;

/// Whose connection it is.
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) credentials: Option<Credentials>,
}

impl Caller {
    pub(super) fn plain(address: IpAddr) -> Self {
        Self { peer: Peer { address, certificate_names: None }, credentials: None }
    }
}

/// `[[hub_door.reader]]`, ready to be asked.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) hub: HubName,
    pub(super) at: StoreAt,
    /// `{base}/hubs/{hub}/fhir/r4`: the base of all URLs, and the audience of tokens.
    pub(super) base: String,
    certificates: HashSet<String>,
    key_file: Option<PathBuf>,
    key: ArcSwapOption<Key>,
}

/// What a reader signs with.
pub(super) type Key = (Algorithm, DecodingKey);

impl Reader {
    pub(super) fn new(config: &ReaderConfig, base: &str, settings: &Settings) -> Result<Self, (String, &'static str)> {
        let none = (format!("no destination of kind store serves hub {}", config.hub), "name a hub that has a store");
        let at = settings.store_of_hub(&config.hub).ok_or(none)?;
        Ok(Self {
            name: config.name.clone(),
            hub: config.hub.clone(),
            at,
            base: format!("{base}/hubs/{}/fhir/r4", config.hub),
            certificates: config.certificates.iter().map(|name| san_key(name)).collect(),
            key_file: config.token_key_file.clone(),
            key: ArcSwapOption::from(config.token_key_file.as_deref().map(key).transpose()?.map(Arc::new)),
        })
    }

    /// Reads its key again and changes nothing: what is wrong with the file, and what would help.
    pub(super) fn key_again(&self) -> Result<Option<Arc<Key>>, (String, &'static str)> {
        Ok(self.key_file.as_deref().map(key).transpose()?.map(Arc::new))
    }

    /// From now on its tokens are proved by this.
    pub(super) fn use_key(&self, key: Option<Arc<Key>>) {
        self.key.store(key);
    }

    /// True where all that is asked of this reader is proved.
    fn is_proved(&self, names: Option<&[String]>, token: Option<&str>) -> bool {
        let shows = |names: &[String]| names.iter().any(|name| self.certificates.contains(&san_key(name)));
        let by_certificate = self.certificates.is_empty() || names.is_some_and(shows);
        let key = self.key.load();
        let by_token = key.as_ref().is_none_or(|key| token.is_some_and(|token| self.signed(key, token)));
        let asks_for_something = !self.certificates.is_empty() || key.is_some();
        asks_for_something && by_certificate && by_token
    }

    fn signed(&self, (algorithm, key): &Key, token: &str) -> bool {
        let mut validation = Validation::new(*algorithm);
        validation.set_issuer(&[&self.name]);
        validation.set_audience(&[&self.base]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Our own clock says what time it is.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let Ok(token) = jsonwebtoken::decode::<Claims>(token, key, &validation) else { return false };
        let now = clock::now().as_second();
        let begun = token.claims.nbf.into_iter().chain(token.claims.iat).all(|from| from <= now + LEEWAY);
        begun && now - LEEWAY < token.claims.exp && token.claims.exp <= now + TOKEN_SECONDS_MAX + LEEWAY
    }
}

#[derive(Deserialize)]
struct Claims {
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
}

fn key(file: &std::path::Path) -> Result<Key, (String, &'static str)> {
    let remedy = "put the PEM of the reader's public key there: RSA for RS384, P-384 for ES384";
    let pem = std::fs::read(file).map_err(|error| (format!("{} cannot be read: {error}", file.display()), remedy))?;
    let rsa = DecodingKey::from_rsa_pem(&pem).map(|key| (Algorithm::RS384, key));
    let either = rsa.or_else(|_| DecodingKey::from_ec_pem(&pem).map(|key| (Algorithm::ES384, key)));
    either.map_err(|_| (format!("{} holds no public key that can be used", file.display()), remedy))
}

/// The reader that a request proves to be, for this hub.
pub(super) fn identify<'r>(readers: &'r [Reader], hub: &str, request: &Request) -> Result<&'r Reader, Refused> {
    let caller = request.extensions().get::<Arc<Caller>>().ok_or_else(Refused::unknown)?;
    // A certificate that was good when the connection began may have been revoked since.
    let is_good = caller.credentials.as_ref().is_none_or(|credentials| credentials.are_still_good(clock::now()));
    let names = caller.peer.certificate_names.as_deref().filter(|_| is_good);
    let said = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = said.and_then(|said| said.strip_prefix("Bearer ")).map(str::trim);
    let is_hub = |reader: &&Reader| reader.hub.as_str().eq_ignore_ascii_case(hub);
    let proved = || readers.iter().filter(|reader| reader.is_proved(names, token));
    match (proved().find(is_hub), proved().next()) {
        (Some(reader), _) => Ok(reader),
        (None, Some(_)) => Err(Refused::new(StatusCode::FORBIDDEN, "forbidden", "this is not the store of your hub")),
        (None, None) => Err(Refused::unknown()),
    }
}
