//! Paying: says a filed event in the receiver's dialect, and hands it over.

use serde::Deserialize;

use crate::canon::ProxyConsent;
use crate::names::HubName;
use crate::outbox::{FiledEvent, Settlement};

/// `[[destination]]` in `chis-broker.toml`.
///
/// Unknown keys are refused by [`Kind`], which is given all keys but the name: serde cannot refuse them here beside `flatten`.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Name in listings and metrics, lower-case kebab.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
}

/// The kinds of destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// The built-in child health store of one hub.
    Store {
        /// The hub.
        hub: HubName,
        /// SQLite file; relative to the data directory. Default `hub-<name>.db`.
        path: Option<std::path::PathBuf>,
    },
    /// FHIR R4 transactions over HTTPS.
    Fhir {
        /// Base URL; `POST {base}/fhir/r4`. `http://` on loopback only.
        base: String,
        /// What may go there.
        profile: Profile,
        /// PEM of the CAs that may sign the receiver's certificate.
        ca_file: Option<std::path::PathBuf>,
        /// PEM of our certificate.
        certificate_file: Option<std::path::PathBuf>,
        /// PEM of our key.
        key_file: Option<std::path::PathBuf>,
        /// Attempt time-out, seconds. Default 30.
        timeout_s: Option<u64>,
        /// Lanes in flight at once. Default 8.
        concurrency: Option<usize>,
    },
}

/// Which rules guard a FHIR destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A parents' record: allow-list, never-list, proxy consent (destination rules, section 3).
    ParentRecord,
    /// A hub's or region's whole record (destination rules, section 1).
    Record,
}

/// Why nothing is owed: the rule, for the trace and the metric `messages_withheld_total{rule}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// `no-proxy-consent`, `not-on-allow-list`, `hold-back`, `placeholder-name`, `restricted`, `dissent`, `unverified-number`, `deceased`, `stillborn`, …
    pub rule: &'static str,
}

/// The body owed to a parents' record, or the rule that withholds it. Pure. One JSON Bundle (R4 transaction), ready for the wire.
pub fn parent_record(_event: &FiledEvent, _consents: &[ProxyConsent]) -> Result<Vec<u8>, Withheld> {
    unimplemented!()
}

/// The body owed to a whole record. Pure.
pub fn whole_record(_event: &FiledEvent) -> Vec<u8> {
    unimplemented!()
}

/// A FHIR receiver.
#[derive(Clone, Debug)]
pub struct FhirDestination {
    _private: (),
}

impl FhirDestination {
    /// Reads certificates and makes one HTTP client (no redirects, no proxy from the environment).
    pub fn new(_kind: &Kind) -> Result<Self, String> {
        unimplemented!()
    }
    /// One attempt. `key` goes into `Idempotency-Key`, `control_id` into `X-Source-Control-Id`; `attempts` chooses the wait.
    pub async fn pay(&self, _key: &str, _control_id: &str, _body: &[u8], _attempts: u32) -> Settlement {
        unimplemented!()
    }
}
