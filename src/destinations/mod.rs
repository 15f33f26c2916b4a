//! Paying: says a filed event in the receiver's dialect, and hands it over.
//!
//!     FiledEvent ──▶ parent.rs   what a parents' account may see, or the rule that withholds it ─┐
//!                ├─▶ record.rs   what a hub is sent                                              ├─▶ bytes ──▶ wire.rs ──▶ Settlement
//!                │   render.rs   codes and conversions both share                                ┘
//!                └─▶ viewer/     what a shared-care viewer may see, by templates ──▶ messages ──▶ mllp.rs ──▶ Settlement
//!                └─▶ careplus/   vaccinations as rows of a file that is handed over whole
//!     bulk.rs: the same resources, as files of all children and as answers to a query
//!
//! # Invariants
//!
//! - Rendering is pure: the same event gives the same bytes, on every attempt and on every machine.
//! - What may go where is decided here and nowhere else, from the canonical event alone.
//! - One call of [`FhirDestination::pay`] is one request. Retrying, order and memory belong to the outbox.
//!
//! # Not here
//!
//! The built-in child health store, which shares a database with nobody and is written by `store`.

mod bulk;
mod care;
mod careplus;
pub mod fake;
mod mllp;
mod parent;
mod record;
mod render;
mod token;
mod viewer;
mod wire;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod pki;
#[cfg(test)]
mod tests_parent;

pub use bulk::standing_resources;
pub use care::{ALARM_AFTER, Care, PARENTS_MAX_AGE, Window, read_length};
pub use careplus::{COLUMNS as CAREPLUS_COLUMNS, CareplusConfig, CareplusDestination, HandedOver, RowsOfNow, VaccinationFile};
pub use mllp::{MllpConfig, MllpDestination};
pub use parent::{
    CLASSES, ELEMENTS, Item, Known, PARENTS_FILE, ParentRules, ParentsError, RULES, Showing, Standing, Told, Turn, gone, take_back,
    takes_back, tell,
};
pub use record::{Audience, whole_record, whole_record_for};
pub use token::OAuth2;
pub use viewer::{Heading, TemplateFiles, TemplateMistake, Unsaid, VIEWER_RULES, Viewer, template_files};
pub use wire::FhirDestination;

use serde::Deserialize;

use crate::names::HubName;
use crate::outbox::{FiledEvent, Settlement};

/// True where a result has an outcome that a person tells the parents first (destination rules, section 3).
pub fn is_told_by_a_person(said: &crate::canon::Statement) -> bool {
    parent::is_told_by_a_person(said)
}

/// True where other results of its kind wait for such a result too.
pub fn keeps_others_back(said: &crate::canon::Statement) -> bool {
    parent::keeps_others_back(said)
}

/// An event as a hub that is not responsible may have it: nothing by which another person is identified (destination rules, section 5).
pub fn for_interested(mut event: FiledEvent) -> FiledEvent {
    let said = event.statement.child.relations.iter_mut();
    for relation in event.record.relations.iter_mut().chain(said) {
        relation.identifiers.clear();
    }
    event
}

/// `[[destination]]` in `chis-broker.toml`.
///
/// Unknown keys are refused by [`Kind`], which is given all keys but the name and those of [`Care`]: serde cannot refuse them here
/// beside `flatten`.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Name in listings and metrics, lower-case kebab.
    pub name: String,
    /// How patient the broker is with it.
    #[serde(flatten)]
    pub care: Care,
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
        /// A PostgreSQL database in its place: `host=db.example dbname=hub_ne user=chis`, without a password.
        postgres: Option<String>,
        /// File with the password for it.
        password_file: Option<std::path::PathBuf>,
        /// PEM of the authorities that may sign that server's certificate; needed for another machine.
        ca_file: Option<std::path::PathBuf>,
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
        /// Client credentials with a signed JWT, where the receiver asks for a token.
        oauth2: Option<OAuth2>,
    },
    /// HL7 v2 over MLLP: a shared-care viewer.
    Mllp(MllpConfig),
    /// The vaccination import file of a CarePlus store.
    CareplusCsv(CareplusConfig),
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

impl Config {
    /// A destination with the patience of the defaults.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), care: Care::default(), kind }
    }

    /// Age of the oldest debt at which somebody is told.
    pub fn alarm_after(&self) -> std::time::Duration {
        self.care.alarm_after.unwrap_or(ALARM_AFTER)
    }

    /// Age at which a debt whose attempt fails is held.
    pub fn max_age(&self) -> Option<std::time::Duration> {
        let of_kind = matches!(self.kind, Kind::Fhir { profile: Profile::ParentRecord, .. }).then_some(PARENTS_MAX_AGE);
        self.care.max_age.or(of_kind)
    }

    /// What is wrong with it, each with what would help. Reads no file: [`FhirDestination::new`] does.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(word) || self.name.starts_with('-') || self.name.ends_with('-') {
            problems.push(format!("`name = \"{}\"` must be lower-case letters, digits and hyphens, like `hub-ne`", self.name));
        }
        problems.extend(self.care.check());
        match &self.kind {
            Kind::Store { hub, path, postgres, password_file, ca_file } => {
                if self.care.rate.is_some() || self.care.max_age.is_some() {
                    problems.push("`rate` and `max_age` are for receivers that are paid one by one; leave them out".to_owned());
                }
                if matches!(hub.as_str(), "" | HubName::OUT | HubName::UNKNOWN) {
                    problems.push(format!("`hub = \"{hub}\"` is not a hub; name one of hubs.toml"));
                }
                if postgres.is_some() && path.is_some() {
                    problems.push("`path` names a SQLite file and `postgres` a database: name one of them".to_owned());
                }
                if postgres.is_none() && (password_file.is_some() || ca_file.is_some()) {
                    problems.push("`password_file` and `ca_file` are for `postgres`; name it, or leave them out".to_owned());
                }
            }
            Kind::Fhir { base, ca_file, certificate_file, key_file, timeout_s, concurrency, oauth2, .. } => {
                match wire::transaction_url(base) {
                    Err(problem) => problems.push(problem),
                    Ok(url) if url.scheme() == "https" && ca_file.is_none() => {
                        problems.push("`ca_file` is missing; name a PEM file of the CAs that sign the receiver's certificate".to_owned());
                    }
                    Ok(url) if url.scheme() == "http" && [ca_file, certificate_file, key_file].iter().any(|file| file.is_some()) => {
                        problems.push("certificates have no use with `http://`; write `https://` or leave them out".to_owned());
                    }
                    Ok(_) => {}
                }
                if certificate_file.is_some() != key_file.is_some() {
                    problems.push("`certificate_file` and `key_file` belong together; name both or none".to_owned());
                }
                problems.extend(out_of_range("timeout_s", *timeout_s, 1..=600));
                problems.extend(out_of_range("concurrency", concurrency.map(|lanes| lanes as u64), 1..=256));
                problems.extend(oauth2.iter().flat_map(|oauth2| oauth2.check(base.starts_with("https://"))));
            }
            Kind::Mllp(config) => problems.extend(config.check()),
            Kind::CareplusCsv(config) => problems.extend(config.check()),
        }
        problems
    }
}

fn out_of_range(setting: &str, value: Option<u64>, range: std::ops::RangeInclusive<u64>) -> Option<String> {
    let value = value.filter(|value| !range.contains(value))?;
    Some(format!("`{setting} = {value}` must be from {} to {}", range.start(), range.end()))
}

/// One attempt at one debt.
#[derive(Clone, Copy, Debug)]
pub struct Payment<'a> {
    /// The same for every attempt with the same body: a receiver that knows it has no second effect.
    pub key: &'a str,
    /// The sender's own id of the message.
    pub control_id: &'a str,
    /// What is owed, in the receiver's dialect; empty where nothing could be said or nothing may go out.
    pub body: &'a [u8],
    /// Attempts before this one; they choose the wait.
    pub attempts: u32,
    /// The moment; a token is good until one.
    pub now: jiff::Timestamp,
}

/// A receiver that takes debts one by one.
#[derive(Clone, Debug)]
pub enum Receiver {
    /// FHIR over HTTPS.
    Fhir(FhirDestination),
    /// HL7 v2 over MLLP.
    Mllp(MllpDestination),
    /// Files in a folder.
    Careplus(CareplusDestination),
}

impl Receiver {
    /// Reads the files that the kind names; opens no connection.
    ///
    /// The error names the file or setting and what would help.
    pub fn new(kind: &Kind) -> Result<Self, String> {
        match kind {
            Kind::Fhir { .. } => FhirDestination::new(kind).map(Self::Fhir),
            Kind::Mllp(config) => MllpDestination::new(config).map(Self::Mllp),
            Kind::CareplusCsv(config) => CareplusDestination::new(config).map(Self::Careplus),
            Kind::Store { .. } => Err("a destination of kind `store` is written in batches, not paid one by one".to_owned()),
        }
    }

    /// One attempt, and what its end means.
    pub async fn pay(&self, payment: Payment<'_>) -> Settlement {
        match self {
            Self::Fhir(receiver) => receiver.pay(payment).await,
            Self::Mllp(receiver) => receiver.pay(payment).await,
            Self::Careplus(receiver) => receiver.pay(payment).await,
        }
    }

    /// Opens a connection as [`Receiver::pay`] does and sends nothing of a child.
    /// `tick` reads the monotonic clock, for how long each step took.
    pub async fn probe(&self, tick: fn() -> std::time::Instant) -> Vec<ProbeStep> {
        match self {
            Self::Fhir(receiver) => receiver.probe(tick).await,
            Self::Mllp(receiver) => receiver.probe(tick).await,
            // There is no connection; whoever asks looks whether the folder is there.
            Self::Careplus(_) => Vec::new(),
        }
    }
}

/// One step of opening a connection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ProbeStep {
    /// What was done.
    pub step: &'static str,
    /// How long it took.
    pub milliseconds: u128,
    /// What came of it, or how it failed: statuses and kinds of failure, no word of the receiver.
    pub outcome: Result<String, String>,
}

/// Why nothing is owed: the rule, for the trace and the metric `messages_withheld_total{rule}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// One of [`RULES`]: `no-proxy-consent`, `not-on-allow-list`, `hold-back`, `placeholder-name`, `restricted`, `dissent`,
    /// `unverified-number`, `deceased`, `stillborn`, …
    pub rule: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn a_destination_is_read_and_an_unknown_key_refused() {
        let fhir = "name = 'e-redbook'\nkind = 'fhir'\nbase = 'https://receiver.example'\nprofile = 'parent-record'\nca_file = 'ca.pem'";
        let read = config(fhir).unwrap();
        assert!(matches!(read.kind, Kind::Fhir { profile: Profile::ParentRecord, .. }));
        assert_eq!(read.check(), Vec::<String>::new());
        assert!(config(&format!("{fhir}\nretries = 3")).is_err(), "a misspelt key must not be ignored");
        let store = config("name = 'hub-ne'\nkind = 'store'\nhub = 'NE'").unwrap();
        assert_eq!(store.check(), Vec::<String>::new());
        assert!(config("name = 'hub-ne'\nkind = 'store'\nhub = 'NE'\nbase = 'x'").is_err());
        assert_eq!((read.alarm_after(), read.max_age()), (ALARM_AFTER, Some(PARENTS_MAX_AGE)));
        assert_eq!(store.max_age(), None);
        let patient =
            config(&format!("{fhir}\nmax_age = '2 d'\nmaintenance = [{{ days = 'sat', from = '22:00', to = '02:00' }}]")).unwrap();
        assert_eq!((patient.care.window.len(), patient.max_age()), (1, Some(std::time::Duration::from_secs(2 * 86_400))));
        assert!(config(&format!("{fhir}\nmaintenance = [{{ days = 'sat', from = '22:00' }}]")).is_err());
    }

    #[test]
    fn every_mistake_is_named_at_once_with_its_remedy() {
        let problems = |text: &str| config(text).unwrap().check().join(" | ");
        let wrong = "name = 'E Redbook'\nkind = 'fhir'\nbase = 'http://receiver.example'\nprofile = 'record'\ntimeout_s = 0\nconcurrency = 257\nkey_file = 'k.pem'";
        for part in ["`name", "use `https://`", "belong together", "`timeout_s = 0` must be from 1 to 600", "`concurrency = 257`"] {
            assert!(problems(wrong).contains(part), "{part} in {}", problems(wrong));
        }
        let base = |base: &str| problems(&format!("name = 'x'\nkind = 'fhir'\nprofile = 'record'\nbase = '{base}'"));
        assert!(base("https://r.example").contains("ca_file"));
        assert!(base("ftp://r.example").contains("https://"));
        assert!(base("not a url").contains("not a URL"));
        assert!(base("https://user:secret@r.example").contains("must not hold"));
        assert!(!base("https://user:secret@r.example").contains("secret"), "a password is not repeated");
        assert!(base("https://r.example/x?y=1").contains("leave out"));
        for loopback in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:1/x/"] {
            assert_eq!(base(loopback), "", "{loopback}");
        }
        assert!(base("http://127.0.0.1.example").contains("in the clear"));
    }
}
