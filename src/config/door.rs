//! `[[hub_door]]`: a hub's store as FHIR R4, for its own systems to read.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::intake::TlsConfig;
use crate::names::HubName;

/// `[[hub_door]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The URL by which readers reach it, without `/hubs/…`; links and the audience of tokens are made of it. Default: `listen`.
    pub base: Option<String>,
    /// TLS; only on loopback it may be absent.
    pub tls: Option<TlsConfig>,
    /// `[[hub_door.reader]]`: who may read which hub's store.
    #[serde(default, rename = "reader")]
    pub readers: Vec<ReaderConfig>,
}

/// `[[hub_door.reader]]`. What is named must be proved, all of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderConfig {
    /// Name in the store's list of reads and in logs, lower-case kebab. The issuer of its tokens.
    pub name: String,
    /// The hub whose store it reads; no other.
    pub hub: HubName,
    /// SAN of its certificate: `urn:nhs:ods:RJ1` or a DNS name.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// PEM of the public key of its tokens (RS384 or ES384).
    pub token_key_file: Option<PathBuf>,
}

impl DoorConfig {
    /// The base URL, without a slash at its end.
    pub fn base(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let base = self.base.clone().unwrap_or_else(|| format!("{scheme}://{}", self.listen));
        base.trim_end_matches('/').to_owned()
    }
}
