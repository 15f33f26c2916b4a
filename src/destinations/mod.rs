//! Paying: says a filed event in the receiver's dialect, and hands it over.
//!
//!     FiledEvent ──▶ parent.rs   what a parents' account may see, or the rule that withholds it ─┐
//!                └─▶ record.rs   what a hub is sent                                              ├─▶ bytes ──▶ wire.rs ──▶ Settlement
//!                    render.rs   codes and conversions both share                                ┘
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
pub mod fake;
mod parent;
mod record;
mod render;
mod token;
mod wire;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod tests_parent;

pub use bulk::standing_resources;
pub use parent::{
    CLASSES, ELEMENTS, Item, Known, PARENTS_FILE, ParentRules, ParentsError, RULES, Showing, Standing, Told, gone, take_back, takes_back,
    tell,
};
pub use record::{Audience, whole_record, whole_record_for};
pub use token::OAuth2;
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
        /// Requests in a second at most.
        rate_per_s: Option<u32>,
        /// What could not be delivered for so many days is held for a person. Default 7 for a parents' record, else never.
        max_age_days: Option<u32>,
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

impl Config {
    /// What is wrong with it, each with what would help. Reads no file: [`FhirDestination::new`] does.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(word) || self.name.starts_with('-') || self.name.ends_with('-') {
            problems.push(format!("`name = \"{}\"` must be lower-case letters, digits and hyphens, like `hub-ne`", self.name));
        }
        match &self.kind {
            Kind::Store { hub, path, postgres, password_file, ca_file } => {
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
            Kind::Fhir { base, ca_file, certificate_file, key_file, timeout_s, concurrency, oauth2, rate_per_s, max_age_days, .. } => {
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
                problems.extend(out_of_range("rate_per_s", rate_per_s.map(u64::from), 1..=10_000));
                problems.extend(out_of_range("max_age_days", max_age_days.map(u64::from), 1..=3_650));
                problems.extend(oauth2.iter().flat_map(|oauth2| oauth2.check(base.starts_with("https://"))));
            }
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
}

impl Receiver {
    /// Reads the files that the kind names; opens no connection.
    ///
    /// The error names the file or setting and what would help.
    pub fn new(kind: &Kind) -> Result<Self, String> {
        match kind {
            Kind::Fhir { .. } => FhirDestination::new(kind).map(Self::Fhir),
            Kind::Store { .. } => Err("a destination of kind `store` is written in batches, not paid one by one".to_owned()),
        }
    }

    /// One attempt, and what its end means.
    pub async fn pay(&self, payment: Payment<'_>) -> Settlement {
        match self {
            Self::Fhir(receiver) => receiver.pay(payment).await,
        }
    }
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
