//! The whole configuration: made of each module's own `Config`, read from files, environment and arguments.
//!
//! # How a value is found
//!
//!     default.toml (inside the program) < chis-broker.toml < conf.d/*.toml < CHIS__… < arguments
//!
//! Each file is first read alone, with positions, so that every mistake of every file is named at once; then
//! the layers are laid over each other by the crate `config`. Lists add up over the files and come from files only.
//!
//! # Invariants
//!
//! - [`Loaded`] always holds settings, even beside errors, so that `check` can go on and name the mistakes of
//!   the mappings too. Whoever starts a broker asks [`Loaded::accept`], which gives settings only without errors.
//! - Reading and checking open no connection and write nothing.
//!
//! # Not here
//!
//! What a setting means: that is said beside the `Config` it belongs to, and in `config/default.toml`.

mod check;
mod door;
mod layers;
mod places;
mod rules;
mod walk;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use check::{Checked, Samples, check, directory, failsafe, last_directory, last_failsafe, last_parents, parents, samples_beside};
pub use door::{DoorConfig, ReaderConfig};
pub use layers::{Arguments, environment};

use crate::mapping::Diagnostic;
use crate::names::HubName;
use crate::store::{PostgresAt, StoreAt};
use crate::{destinations, intake, observe};

/// The defaults, the manual and the template in one.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// Exit code: the configuration cannot be used.
pub const EXIT_CONFIG: u8 = 78;
/// Exit code: a file that was named is not there.
pub const EXIT_NO_INPUT: u8 = 66;

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// NHS numbers of the 999 range are taken.
    pub allow_test_numbers: bool,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[mappings]`.
    pub mappings: MappingsConfig,
    /// `[intake]`: listeners and their bounds.
    pub intake: intake::Config,
    /// `[[source]]`: who may send what.
    #[serde(rename = "source")]
    pub sources: Vec<intake::SourceConfig>,
    /// `[[destination]]`: who is told.
    #[serde(rename = "destination")]
    pub destinations: Vec<destinations::Config>,
    /// `[[hub_door]]`: who may read the hubs' stores as FHIR.
    #[serde(rename = "hub_door")]
    pub hub_doors: Vec<DoorConfig>,
    /// `[births]`: the lists at the end of each day.
    pub births: BirthsConfig,
    /// `[hubs]`.
    pub hubs: HubsConfig,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[failsafe]`.
    pub failsafe: FailsafeConfig,
    /// `[test]`.
    pub test: TestConfig,
    /// Where each destination stands in its file, so that what is found out later can point there too.
    #[serde(skip)]
    pub destination_places: Vec<Place>,
}

/// A place in a file of settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The name of the file in diagnostics.
    pub file: String,
    /// Bytes of the file.
    pub span: std::ops::Range<usize>,
    /// Line from 1.
    pub line: usize,
    /// Column from 1.
    pub column: usize,
}

/// `[store]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Folder of the ledger and of the hub stores.
    pub data: PathBuf,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { data: "/var/lib/chis-broker".into() }
    }
}

/// `[mappings]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MappingsConfig {
    /// Folder of the mapping files. Absent: those inside the program.
    pub dir: Option<PathBuf>,
}

/// `[births]` (routing rules, section 5).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BirthsConfig {
    /// When the day ends, Europe/London.
    pub at: jiff::civil::Time,
    /// Where the lists are written as files too; absent: nowhere.
    pub folder: Option<PathBuf>,
    /// As what.
    pub format: BirthsFormat,
}

impl Default for BirthsConfig {
    fn default() -> Self {
        Self { at: jiff::civil::Time::constant(23, 59, 0, 0), folder: None, format: BirthsFormat::Csv }
    }
}

/// How a births list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BirthsFormat {
    /// A row a birth, under a header.
    Csv,
    /// One object.
    Json,
}

/// `[hubs]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubsConfig {
    /// Children looked at in a second while everybody is looked at again.
    pub reassign_per_second: u32,
}

impl Default for HubsConfig {
    fn default() -> Self {
        Self { reassign_per_second: 1_000 }
    }
}

/// `[admin]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Health, metrics and the reading commands; loopback only.
    pub listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// `[test]`: for trials with invented people only.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestConfig {
    /// The file that this process's wall clock follows ([`crate::clock::follow`]). Absent: real time.
    pub clock: Option<PathBuf>,
}

/// `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Text or JSON. Absent: text on a terminal, JSON elsewhere.
    pub format: Option<observe::LogFormat>,
    /// Level, also by part: `info,chis_broker::intake=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: None, level: "info".into() }
    }
}

/// `[failsafe]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FailsafeConfig {
    /// Clocks are kept, tasks raised and reports written.
    pub watch: bool,
    /// Local time (Europe/London) of the nightly reports.
    pub at: jiff::civil::Time,
    /// Folder of the nightly reports. Absent: `reports` in the data folder.
    pub reports: Option<PathBuf>,
}

impl Default for FailsafeConfig {
    fn default() -> Self {
        Self { watch: true, at: jiff::civil::Time::constant(6, 0, 0, 0), reports: None }
    }
}

/// Settings as far as they could be read, with all that must be said about the files they came from.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What holds. Where there are errors, their places hold defaults.
    pub settings: Settings,
    /// Mistakes and warnings, by file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts the diagnostics point into, by the name they use for the file.
    pub texts: BTreeMap<String, String>,
    /// Exit code where the settings cannot be used: 78, or 66 where the file itself is missing.
    pub exit: u8,
}

/// Settings that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}", summary(.diagnostics))]
pub struct Unusable {
    /// Mistakes and warnings, by file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts the diagnostics point into.
    pub texts: BTreeMap<String, String>,
    /// Exit code: 78, or 66 where the file itself is missing.
    pub exit: u8,
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics
        .iter()
        .filter(|one| one.is_error)
        .map(|one| format!("{}:{}:{}: {}", one.file, one.line, one.column, one.message))
        .collect();
    lines.join("\n")
}

impl Loaded {
    /// The settings, if nothing is wrong with them; warnings stay behind in `Ok`'s second half.
    pub fn accept(self) -> Result<(Settings, Vec<Diagnostic>), Unusable> {
        if self.diagnostics.iter().any(|one| one.is_error) {
            return Err(Unusable { diagnostics: self.diagnostics, texts: self.texts, exit: self.exit });
        }
        Ok((self.settings, self.diagnostics))
    }
}

impl Settings {
    /// Reads `file` (and `conf.d/*.toml` beside it), the `CHIS__` variables of `environment`, and the arguments.
    /// Without a file: what `default.toml` lists, for trying out on loopback.
    pub fn load(file: Option<&Path>, environment: &[(String, String)], arguments: &Arguments) -> Loaded {
        layers::load(file, environment, arguments)
    }

    /// What holds without a file, on `data` and on other addresses than those of `default.toml` where given.
    pub fn embedded(data: &Path, mllp: Option<SocketAddr>, http: Option<SocketAddr>, admin: Option<SocketAddr>) -> Result<Self, Unusable> {
        let arguments = Arguments { data: Some(data.to_owned()), mllp, http, admin, log_format: None };
        Self::load(None, &[], &arguments).accept().map(|(settings, _warnings)| settings)
    }

    /// Where a hub's built-in store is, if `hub` names a hub or a destination of kind `store`.
    pub fn hub_store(&self, hub: &str) -> Option<StoreAt> {
        self.destinations.iter().find_map(|destination| match &destination.kind {
            destinations::Kind::Store { hub: served, .. } if served.as_str().eq_ignore_ascii_case(hub) || destination.name == hub => {
                self.store_at(&destination.kind)
            }
            _ => None,
        })
    }

    /// Where the built-in store of this hub is. Nothing else than a hub's name names it: not the one of a destination, which may be another hub's.
    pub fn store_of_hub(&self, hub: &HubName) -> Option<StoreAt> {
        let serves = |destination: &&destinations::Config| match &destination.kind {
            destinations::Kind::Store { hub: served, .. } => served.as_str().eq_ignore_ascii_case(hub.as_str()),
            _ => false,
        };
        self.destinations.iter().find(serves).and_then(|destination| self.store_at(&destination.kind))
    }

    /// The folder of the nightly reports.
    pub fn reports(&self) -> PathBuf {
        self.failsafe.reports.clone().unwrap_or_else(|| self.store.data.join("reports"))
    }

    /// Which destination is the built-in store of which hub.
    pub fn stores(&self) -> std::collections::HashMap<HubName, crate::names::DestinationName> {
        let store = |destination: &destinations::Config| match &destination.kind {
            destinations::Kind::Store { hub, .. } => Some((hub.clone(), crate::names::DestinationName::new(&destination.name))),
            _ => None,
        };
        self.destinations.iter().filter_map(store).collect()
    }

    /// Where a destination of kind `store` writes; none for another kind.
    pub fn store_at(&self, kind: &destinations::Kind) -> Option<StoreAt> {
        let destinations::Kind::Store { hub, path, postgres, password_file, ca_file } = kind else { return None };
        let Some(connection) = postgres else { return Some(StoreAt::File(self.store_file(hub, path.as_deref()))) };
        let at = PostgresAt { connection: connection.clone(), password_file: password_file.clone(), ca_file: ca_file.clone() };
        Some(StoreAt::Postgres(at))
    }

    /// The file of a destination of kind `store`: `path` where it is given, else `hub-ne.db` in the data folder.
    pub fn store_file(&self, hub: &HubName, path: Option<&Path>) -> PathBuf {
        let default = || PathBuf::from(format!("hub-{}.db", hub.as_str().to_lowercase()));
        self.store.data.join(path.map(Path::to_owned).unwrap_or_else(default))
    }
}

#[cfg(test)]
mod tests;
