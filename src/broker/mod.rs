//! Wiring: opens the ledger, starts the filing, the paying and the doors, reloads, drains.
//!
//! # The order of a start
//!
//! 1. mappings and directories are compiled and tested (or the last good bundle is taken, and the broker says so);
//! 2. the ledger is opened, checked and folded;
//! 3. filing and paying go on where they were;
//! 4. the doors are opened last, so that nobody is answered by half a broker.
//!
//! A drain goes the other way.

pub mod bundle;
mod daily;
mod ahead;
pub mod delivery_desk;
pub mod desk;
pub mod calendar;
pub mod extract;
pub mod failsafe;
pub mod filer;
pub mod import;
mod laying;
mod operations;
pub mod payer;
pub mod receivers;
pub mod report;
mod service;
mod viewer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use operations::{BrokerOperations, EditEffect, Operations, Released};
pub use service::{Signals, opened_sockets, serve};

use self::bundle::Active;
use self::filer::{Reader, SourceProfile};
use crate::clock;
use crate::config::Settings;
use crate::destinations::{Kind, Profile, Receiver, TemplateMistake};
use crate::intake::{Addresses, Clock, Controls, Intake, OpenedSocket, Opening, Patience, Rank, SourceConfig};
use crate::names::{DestinationName, SourceName};
use crate::store::{DestinationRule, FilingRules, Ledger, LedgerConfig, Recipient};

/// Why the broker could not start, and with which exit code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct StartError {
    /// What is wrong and what would help.
    pub text: String,
    /// Exit code (operations guide).
    pub exit: u8,
}

impl From<crate::store::StoreError> for StartError {
    fn from(error: crate::store::StoreError) -> Self {
        Self { text: error.text, exit: error.exit }
    }
}

/// A broker at work.
pub struct Running {
    /// Where the doors are.
    pub addresses: Addresses,
    ledger: Ledger,
    active: Arc<Active>,
    settings: Arc<Settings>,
    /// The doors are told to close.
    doors_close: CancellationToken,
    /// Filing and paying are told to end.
    work_ends: CancellationToken,
    doors: JoinHandle<()>,
    reader: Reader,
    payers: Vec<JoinHandle<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    draining: Arc<AtomicBool>,
    missing: Arc<AtomicBool>,
    controls: Controls,
    board: receivers::Board,
}

/// What a reload needs, for a task of its own.
struct Reloader {
    active: Arc<Active>,
    settings: Arc<Settings>,
    ledger: Ledger,
    controls: Controls,
}

impl Reloader {
    async fn reload(&self) -> Result<String, bundle::Refused> {
        self.active.reload(&self.settings, &self.ledger, &self.controls, clock::now()).await
    }
}

/// Who files and pays, and whether one of them is missing.
#[derive(Clone)]
struct Roll {
    ends: CancellationToken,
    missing: Arc<AtomicBool>,
}

impl Roll {
    fn present(&self) -> Present {
        Present(self.clone())
    }
}

/// Held by everyone who files or pays. Who leaves before the end of work is missed, and the broker says so.
pub struct Present(Roll);

impl Drop for Present {
    fn drop(&mut self) {
        if !self.0.ends.is_cancelled() && !self.0.missing.swap(true, Ordering::AcqRel) {
            tracing::error!("broker.incomplete: a thread that files or pays has ended; restart the broker and report the panic above");
        }
    }
}

impl Running {
    /// Starts a broker. Sockets that are open already (socket activation) are taken instead of bound.
    pub async fn start(settings: Settings, opened: Vec<OpenedSocket>) -> Result<Self, StartError> {
        let settings = Arc::new(settings);
        let data = settings.store.data.clone();
        let recipients = Arc::new(settings.destinations.iter().map(rule).collect::<Result<Vec<_>, _>>()?);
        let (active, files, stale) = first_bundle(&settings, &recipients)?;
        let active = Arc::new(active);
        let rules = FilingRules {
            directory: Arc::clone(&active.directory),
            destinations: Arc::clone(&recipients),
            zone: crate::failsafe::day::london(),
            parents: Arc::clone(&active.parents),
        };
        let ledger = Ledger::open(&LedgerConfig { data: data.clone(), ballast: true, pages_max: None }, rules)?;
        ledger.keep_bundle(active.bundle.load().hash(), &files, clock::now()).await?;
        if !stale.is_empty() {
            tracing::error!(
                mistakes = stale.len(),
                "config.stale: the mapping or directory files are broken; the last good bundle stays active (`chis-broker check` names each mistake)"
            );
            for mistake in &stale {
                tracing::error!(mistake, "config.stale.mistake");
            }
        }
        metrics::gauge!("chis_config_stale").set(if stale.is_empty() { 0.0 } else { 1.0 });
        let (doors_close, work_ends) = (CancellationToken::new(), CancellationToken::new());
        let reader = Reader {
            bundle: Arc::clone(&active.bundle),
            sources: Arc::new(profiles(&settings)),
            allow_test_numbers: settings.allow_test_numbers,
        };
        ledger.read_again(reader.again()).await?;
        let roll = Roll { ends: work_ends.clone(), missing: Arc::new(AtomicBool::new(false)) };
        let missing = Arc::clone(&roll.missing);
        let filing = filer::start(ledger.clone(), data.clone(), reader.clone(), work_ends.clone(), Handle::current(), roll.present());
        let mut threads = vec![filing.map_err(|error| no_thread(&error))?];
        let board = receivers::Board::new(&settings);
        let mut payers = start_payers((&settings, &recipients), &ledger, (&roll, &board), &mut threads)?;
        payers.push(tokio::spawn(receivers::watch(board.clone(), ledger.clone(), work_ends.clone(), roll.present())));
        let replays = delivery_desk::start_replays(ledger.clone(), work_ends.clone(), Handle::current(), roll.present());
        threads.push(replays.map_err(|error| no_thread(&error))?);
        let daily = daily::start(ledger.clone(), Arc::clone(&settings), work_ends.clone(), Handle::current(), roll.present());
        threads.push(daily.map_err(|error| no_thread(&error))?);
        if settings.failsafe.watch {
            threads.push(start_watching(&settings, &active, &ledger, &roll)?);
        }
        let opening = Opening {
            config: settings.intake.clone(),
            sources: settings.sources.clone(),
            journal: ledger.clone(),
            clock: Clock { now: clock::now, tick: clock::tick },
            opened,
            patience: Patience::default(),
        };
        let intake = Intake::bind(opening).await.map_err(|error| StartError { text: error.to_string(), exit: 71 })?;
        let (addresses, controls) = (intake.addresses(), intake.controls());
        let draining = Arc::new(AtomicBool::new(false));
        let doors = tokio::spawn(intake.run(doors_close.clone()));
        Ok(Self {
            addresses,
            ledger,
            active,
            settings,
            doors_close,
            work_ends,
            doors,
            reader,
            payers,
            threads,
            draining,
            missing,
            controls,
            board,
        })
    }

    /// The ledger, for the commands that run a broker inside themselves.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// True while every thread that files and pays lives.
    pub fn is_whole(&self) -> bool {
        !self.doors.is_finished() && !self.missing.load(Ordering::Acquire)
    }

    /// What an admin door may ask of this broker.
    pub fn operations(&self) -> Arc<BrokerOperations> {
        Arc::new(BrokerOperations {
            ledger: self.ledger.clone(),
            active: Arc::clone(&self.active),
            settings: Arc::clone(&self.settings),
            reader: self.reader.clone(),
            draining: Arc::clone(&self.draining),
            missing: Arc::clone(&self.missing),
            controls: self.controls.clone(),
            deliveries: delivery_desk::DeliveryDesk {
                ledger: self.ledger.clone(),
                board: self.board.clone(),
                settings: Arc::clone(&self.settings),
                runtime: Handle::current(),
            },
            runtime: Handle::current(),
        })
    }

    /// The certificates of a door that is not this broker's own are read again with those of its own, all or none.
    pub fn watch_tls(&mut self, door: Arc<crate::intake::TlsDoor>) {
        self.controls.watch_tls(door);
    }

    /// Also other files of such a door: the keys of its readers.
    pub fn watch(&mut self, files: Arc<dyn crate::intake::Reread>) {
        self.controls.watch(files);
    }

    /// Loads mappings, directories and certificates anew, all or nothing. Gives the hash of what is active.
    pub async fn reload(&self) -> Result<String, bundle::Refused> {
        self.reloader().reload().await
    }

    fn reloader(&self) -> Reloader {
        Reloader {
            active: Arc::clone(&self.active),
            settings: Arc::clone(&self.settings),
            ledger: self.ledger.clone(),
            controls: self.controls.clone(),
        }
    }

    /// Resolves when the ledger's writer has ended: the broker must stop.
    pub async fn broken(&self) {
        self.ledger.stopped().await;
    }

    /// Drains: no new connections, what is in hand is answered, deliveries under way end, the ledger is folded.
    /// Gives the exit code: 0, or 74 when the ledger was broken.
    pub async fn stop(self) -> u8 {
        self.draining.store(true, Ordering::Release);
        self.doors_close.cancel();
        let _closed = tokio::time::timeout(Duration::from_secs(6), self.doors).await;
        self.ledger.drain();
        self.work_ends.cancel();
        for payer in self.payers {
            let _ended = tokio::time::timeout(Duration::from_secs(5), payer).await;
        }
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A thread that panicked has said so itself; the ledger is consistent all the same.
                let _ended = thread.join();
            }
        });
        let _ended = tokio::time::timeout(Duration::from_secs(5), joined).await;
        let _ended = tokio::time::timeout(Duration::from_secs(10), self.ledger.close()).await;
        if self.ledger.is_broken() { 74 } else { 0 }
    }
}

fn first_bundle(
    settings: &Settings,
    recipients: &Arc<Vec<DestinationRule>>,
) -> Result<(Active, crate::mapping::Files, Vec<String>), StartError> {
    let active = |bundle, (directory, failsafe, parents), stale: &[String]| Active {
        bundle: Arc::new(ArcSwap::from_pointee(bundle)),
        directory: Arc::new(ArcSwap::from_pointee(directory)),
        failsafe: Arc::new(ArcSwap::from_pointee(failsafe)),
        parents: Arc::new(ArcSwap::from_pointee(parents)),
        recipients: Arc::clone(recipients),
        stale: ArcSwap::from_pointee(stale.to_vec()),
        turn: tokio::sync::Mutex::default(),
    };
    let told = |mistakes: Vec<String>| StartError { text: mistakes.join("\n"), exit: 78 };
    match bundle::load(settings) {
        Ok(loaded) => Ok((active(loaded.bundle, (loaded.directory, loaded.failsafe, loaded.parents), &[]), loaded.files, Vec::new())),
        Err(refused) => {
            // A feed on yesterday's mapping at night is safer than none.
            let Some((last, files)) = bundle::last_good(&settings.store.data) else {
                return Err(told(refused.mistakes));
            };
            // The hubs belong to the bundle; of large directory files there is no copy, so nobody is moved while one is away.
            let directory = crate::config::last_directory(settings, &files)
                .or_else(|_| crate::config::directory(settings))
                .map_err(|errors| told(errors.iter().map(ToString::to_string).collect()))?;
            // Clocks by other limits than the site's are better than none; what is wrong with its own is among the mistakes.
            let failsafe = crate::config::last_failsafe(&files)
                .or_else(|_| crate::config::failsafe(&Settings::default()))
                .map_err(|errors| told(errors.iter().map(ToString::to_string).collect()))?;
            // What parents may see is never more than the last good file said.
            let parents = crate::config::last_parents(&files).map_err(|errors| told(errors.iter().map(ToString::to_string).collect()))?;
            Ok((active(last, (directory, failsafe, parents), &refused.mistakes), files, refused.mistakes))
        }
    }
}

fn rule(destination: &crate::destinations::Config) -> Result<DestinationRule, StartError> {
    let recipient = match &destination.kind {
        Kind::Store { hub, .. } => Recipient::HubStore(hub.clone()),
        Kind::Fhir { profile: Profile::ParentRecord, .. } => Recipient::ParentRecord,
        Kind::Fhir { profile: Profile::Record, .. } => Recipient::Record,
        Kind::Mllp(config) => {
            let told = |mistakes: Vec<TemplateMistake>| {
                let lines: Vec<String> = mistakes.iter().map(|one| format!("destination {}: template {one}", destination.name)).collect();
                StartError { text: lines.join("\n"), exit: 78 }
            };
            Recipient::Viewer(Arc::new(ArcSwap::from_pointee(config.viewer().map_err(told)?)))
        }
        Kind::CareplusCsv(config) => {
            let told = |error: String| StartError { text: format!("destination {}: {error}", destination.name), exit: 78 };
            Recipient::VaccinationFile(Arc::new(ArcSwap::from_pointee(config.rules().map_err(told)?)))
        }
    };
    Ok(DestinationRule { name: DestinationName::new(&destination.name), recipient })
}

/// The failsafe and the calendar.
fn start_watching(settings: &Settings, active: &Active, ledger: &Ledger, roll: &Roll) -> Result<std::thread::JoinHandle<()>, StartError> {
    let watching = active.watching(settings);
    let data = settings.store.data.clone();
    let nightly = report::Nightly { folder: settings.reports(), at: settings.failsafe.at, watching: watching.clone() };
    let calendar = calendar::Calendar::new(nightly, ledger.clone(), Handle::current());
    let started = failsafe::start(watching, (ledger.clone(), data), calendar, roll.ends.clone(), Handle::current(), roll.present());
    started.map_err(|error| no_thread(&error))
}

fn start_payers(
    (settings, recipients): (&Settings, &[DestinationRule]),
    ledger: &Ledger,
    (roll, board): (&Roll, &receivers::Board),
    threads: &mut Vec<std::thread::JoinHandle<()>>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut payers = Vec::new();
    for (destination, rule) in settings.destinations.iter().zip(recipients) {
        let Some(post) = board.post(&destination.name).cloned() else { continue };
        match &destination.kind {
            Kind::Store { hub, .. } => {
                let Some(at) = settings.store_at(&destination.kind) else { continue };
                let paying =
                    payer::start_store((post, hub.clone()), at, ledger.clone(), roll.ends.clone(), Handle::current(), roll.present());
                threads.push(paying.map_err(|error| no_thread(&error))?);
            }
            Kind::Fhir { .. } | Kind::Mllp(_) | Kind::CareplusCsv(_) => {
                let receiver = Receiver::new(&destination.kind)
                    .map_err(|error| StartError { text: format!("destination {}: {error}", destination.name), exit: 78 })?;
                let concurrency = match &destination.kind {
                    Kind::Fhir { concurrency, .. } => concurrency.unwrap_or(8),
                    Kind::Mllp(config) => config.window.unwrap_or(1),
                    _ => 1,
                };
                let receiver = match (receiver, &rule.recipient) {
                    (Receiver::Careplus(files), Recipient::VaccinationFile(file)) => {
                        let now = viewer::Spooled { file: Arc::clone(file), ledger: ledger.clone(), runtime: Handle::current() };
                        Receiver::Careplus(files.asking(Arc::new(now)))
                    }
                    (receiver, _) => receiver,
                };
                if let Receiver::Careplus(files) = &receiver {
                    payers.push(tokio::spawn(viewer::hand_over_by_the_clock(
                        (Arc::clone(&post), ledger.data().to_path_buf()),
                        files.clone(),
                        roll.ends.clone(),
                    )));
                }
                let paid = payer::Paid { post, receiver, recipient: rule.recipient.clone(), concurrency };
                let (ledger, ends, present) = (ledger.clone(), roll.ends.clone(), roll.present());
                payers.push(tokio::spawn(async move {
                    let _present = present;
                    payer::pay_lanes(paid, ledger, ends).await;
                }));
            }
        }
    }
    Ok(payers)
}

fn profiles(settings: &Settings) -> HashMap<SourceName, SourceProfile> {
    let rank = |rank| match rank {
        Rank::National => 3,
        Rank::Maternity | Rank::Laboratory => 2,
        Rank::Pas => 1,
        Rank::Practice => 4,
        Rank::Other => 0,
    };
    let charset = |source: &SourceConfig| {
        let of_folder = || settings.intake.drop.iter().find(|drop| drop.source == source.name).and_then(|drop| drop.charset.clone());
        source.charset.clone().or_else(of_folder)
    };
    let profile = |source: &SourceConfig| SourceProfile { rank: rank(source.rank), charset: charset(source) };
    settings.sources.iter().map(|source| (SourceName::new(&source.name), profile(source))).collect()
}

fn no_thread(error: &std::io::Error) -> StartError {
    StartError { text: format!("a thread cannot be started: {error}; look at TasksMax and the memory limit"), exit: 71 }
}
