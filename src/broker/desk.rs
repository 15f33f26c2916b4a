//! Decides what a person decided on the ledger of a stopped broker: no doors, nothing is filed but that, and what is owed is paid by the
//! next `run`.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::filer::Reader;
use super::{StartError, bundle, profiles, rule};
use crate::clock;
use crate::config::Settings;
use crate::store::{DeskAct, Effect, FilingRules, Ledger, LedgerConfig};

/// Does one act, or tries it.
///
/// # Errors
///
/// 75 where a broker works on the ledger: ask it with `--admin`; 78 where the mappings are broken; else as [`Ledger::decide`].
pub async fn decide(settings: &Settings, act: DeskAct, reason: &str, is_trial: bool) -> Result<Effect, StartError> {
    let data = &settings.store.data;
    if !data.join("ledger.db").is_file() {
        return Err(StartError {
            text: format!("there is no ledger at {}: is this the data directory of a broker?", data.display()),
            exit: 66,
        });
    }
    let loaded = bundle::load(settings).map_err(|refused| StartError { text: refused.to_string(), exit: 78 })?;
    let rules = FilingRules {
        directory: Arc::new(ArcSwap::from_pointee(loaded.directory)),
        destinations: Arc::new(settings.destinations.iter().map(rule).collect::<Result<_, _>>()?),
        zone: crate::failsafe::day::london(),
        parents: Arc::new(ArcSwap::from_pointee(loaded.parents)),
    };
    let ledger = Ledger::open(&LedgerConfig { data: data.clone(), ballast: true, pages_max: None }, rules).map_err(|error| {
        let text = match error.exit {
            75 => format!("a broker works on {}: ask it with --admin URL", data.display()),
            _ => error.text,
        };
        StartError { text, exit: error.exit }
    })?;
    ledger.keep_bundle(loaded.bundle.hash(), &loaded.files, clock::now()).await?;
    let reader = Reader {
        bundle: Arc::new(ArcSwap::from_pointee(loaded.bundle)),
        sources: Arc::new(profiles(settings)),
        allow_test_numbers: settings.allow_test_numbers,
    };
    ledger.read_again(reader.again()).await?;
    let effect = ledger.decide(act, reason, is_trial, clock::now()).await;
    ledger.drain();
    ledger.close().await;
    Ok(effect?)
}
