//! The active bundle: loaded whole, tested, swapped whole; the last good one stays when a new one is broken.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::failsafe::Watching;
use crate::config::{self, Settings};
use crate::destinations::{Kind, ParentRules, VaccinationFile, Viewer};
use crate::failsafe::Rules;
use crate::intake::Controls;
use crate::mapping::{Bundle, Diagnostic, Files};
use crate::routing::Directory;
use crate::store::{DestinationRule, Ledger, LedgerReader, Recipient, StoreError};

/// What the mapping files and directories gave.
#[derive(Debug)]
pub struct Loaded {
    /// Compiled and tested.
    pub bundle: Bundle,
    /// The files it was made of.
    pub files: Files,
    /// Hubs, practices, postcodes.
    pub directory: Directory,
    /// What the failsafe watches.
    pub failsafe: Rules,
    /// What a parents' record may hold.
    pub parents: ParentRules,
}

/// Why the files of the configuration cannot become active: each mistake on a line of its own.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", mistakes.join("\n"))]
pub struct Refused {
    /// `file:line:column: what; remedy`.
    pub mistakes: Vec<String>,
}

/// Loads what `settings` name: everything compiles and every inline test passes, or nothing is taken.
pub fn load(settings: &Settings) -> Result<Loaded, Refused> {
    let dir = settings.mappings.dir.as_deref();
    let files = match dir {
        Some(dir) => Bundle::files(dir).map_err(|error| Refused { mistakes: vec![format!("{}: {error}", dir.display())] })?,
        None => Bundle::shipped(),
    };
    let bundle = compile(&files, dir)?;
    let directory = config::directory(settings).map_err(|errors| Refused { mistakes: errors.iter().map(ToString::to_string).collect() })?;
    let failsafe = config::failsafe(settings).map_err(|errors| Refused { mistakes: errors.iter().map(ToString::to_string).collect() })?;
    let parents = config::parents(settings).map_err(|errors| Refused { mistakes: errors.iter().map(ToString::to_string).collect() })?;
    Ok(Loaded { bundle, files, directory, failsafe, parents })
}

fn compile(files: &Files, dir: Option<&Path>) -> Result<Bundle, Refused> {
    let prefix = dir.map_or_else(|| "mappings/".to_owned(), |dir| format!("{}/", dir.display()));
    let bundle = Bundle::compile(files, &prefix).map_err(|diagnostics| Refused { mistakes: diagnostics.iter().map(line).collect() })?;
    let reports = bundle.test(&|name| config::samples_beside(dir, name));
    let failures = reports.iter().flat_map(|report| {
        report.failures.iter().map(move |failure| format!("{}:{}: test \"{}\": {failure}", report.file, report.line, report.name))
    });
    let mistakes: Vec<String> = failures.collect();
    if mistakes.is_empty() { Ok(bundle) } else { Err(Refused { mistakes }) }
}

fn line(diagnostic: &Diagnostic) -> String {
    let help = diagnostic.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{}:{}:{}: {}{help}", diagnostic.file, diagnostic.line, diagnostic.column, diagnostic.message)
}

/// The bundle that was active when the broker last ran, for a start with broken mapping files.
pub fn last_good(data: &Path) -> Option<(Bundle, Files)> {
    let files = LedgerReader::open(data).ok()?.last_bundle().ok()??;
    let bundle = Bundle::compile(&files, "last-good/").ok()?;
    Some((bundle, files))
}

/// By what a destination's words are made.
enum Said {
    Viewer(Viewer),
    File(VaccinationFile),
}

type Words = BTreeMap<String, Said>;

/// Reads templates and code tables of all destinations, or names every mistake in them.
fn words(settings: &Settings) -> Result<Words, Refused> {
    let (mut words, mut mistakes) = (Words::new(), Vec::new());
    for destination in &settings.destinations {
        let name = &destination.name;
        let read = match &destination.kind {
            Kind::Mllp(config) => config
                .viewer()
                .map(Said::Viewer)
                .map_err(|found| found.iter().map(|one| format!("destination {name}: template {one}")).collect::<Vec<_>>()),
            Kind::CareplusCsv(config) => config.rules().map(Said::File).map_err(|error| vec![format!("destination {name}: {error}")]),
            Kind::Store { .. } | Kind::Fhir { .. } => continue,
        };
        match read {
            Ok(said) => drop(words.insert(name.clone(), said)),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(words) } else { Err(Refused { mistakes }) }
}

/// What is active now, and whether it is what the files say.
pub struct Active {
    /// Rules and tables.
    pub bundle: Arc<ArcSwap<Bundle>>,
    /// Hubs, practices, postcodes.
    pub directory: Arc<ArcSwap<Directory>>,
    /// What the failsafe watches.
    pub failsafe: Arc<ArcSwap<Rules>>,
    /// What a parents' record may hold.
    pub parents: Arc<ArcSwap<ParentRules>>,
    /// Destinations, with the templates of viewers and the code tables of files.
    pub recipients: Arc<Vec<DestinationRule>>,
    /// Why the files on disk are not active; empty when they are.
    pub stale: ArcSwap<Vec<String>>,
    /// Held by the reload that is under way: an older reading never goes over a newer one.
    pub turn: tokio::sync::Mutex<()>,
}

impl Active {
    /// What children are looked at by.
    pub fn watching(&self, settings: &Settings) -> Watching {
        Watching { rules: Arc::clone(&self.failsafe), directory: Arc::clone(&self.directory), stores: Arc::new(settings.stores()) }
    }

    /// Loads mappings, directories, templates and the doors' certificates anew and swaps all of it, or keeps all of the old. Gives the hash that
    /// is active. One at a time; the files are read aside, so that nobody else waits for them.
    pub async fn reload(&self, settings: &Arc<Settings>, ledger: &Ledger, doors: &Controls, now: Timestamp) -> Result<String, Refused> {
        let _one_at_a_time = self.turn.lock().await;
        let (named, material) = (Arc::clone(settings), doors.clone());
        let read = tokio::task::spawn_blocking(move || (load(&named), words(&named), material.read_tls())).await;
        let outcome = match read {
            Ok((Ok(loaded), Ok(words), Ok(tls))) => {
                let activated = self.activate(loaded, ledger, now).await.map_err(|error| Refused { mistakes: vec![error.to_string()] });
                activated.inspect(|_| {
                    self.say_by(words);
                    doors.use_tls(tls);
                })
            }
            Ok((loaded, words, tls)) => {
                let mut mistakes = loaded.err().map(|refused| refused.mistakes).unwrap_or_default();
                mistakes.extend(words.err().map(|refused| refused.mistakes).unwrap_or_default());
                mistakes.extend(tls.err().map(|error| error.to_string()));
                Err(Refused { mistakes })
            }
            Err(_) => Err(Refused { mistakes: vec!["reading the files panicked; report the panic above".to_owned()] }),
        };
        let result = if outcome.is_ok() { "ok" } else { "refused" };
        metrics::counter!("chis_config_reloads_total", "result" => result).increment(1);
        metrics::gauge!("chis_config_stale").set(if outcome.is_ok() { 0.0 } else { 1.0 });
        self.stale.store(Arc::new(outcome.as_ref().err().map(|refused| refused.mistakes.clone()).unwrap_or_default()));
        outcome
    }

    fn say_by(&self, mut words: Words) {
        for rule in self.recipients.iter() {
            match (&rule.recipient, words.remove(rule.name.as_str())) {
                (Recipient::Viewer(viewer), Some(Said::Viewer(read))) => viewer.store(Arc::new(read)),
                (Recipient::VaccinationFile(file), Some(Said::File(read))) => file.store(Arc::new(read)),
                _ => {}
            }
        }
    }

    async fn activate(&self, loaded: Loaded, ledger: &Ledger, now: Timestamp) -> Result<String, StoreError> {
        let hash = loaded.bundle.hash().clone();
        ledger.keep_bundle(&hash, &loaded.files, now).await?;
        self.bundle.store(Arc::new(loaded.bundle));
        self.directory.store(Arc::new(loaded.directory));
        self.failsafe.store(Arc::new(loaded.failsafe));
        self.parents.store(Arc::new(loaded.parents));
        Ok(hash.to_string())
    }
}
