//! What the broker does by itself for the hubs: the births lists at the end of the day, children whose first 28 days have ended, decisions
//! whose day has come, and jobs that look at everybody again.
//!
//! One thread asks four times a second what is due; what it does is a transaction of the ledger each. A kill between any two of them
//! loses nothing: what is on record says where to go on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Time;
use jiff::{Timestamp, ToSpan};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Present;
use super::calendar::days_due;
use super::laying::lay;
use crate::clock;
use crate::config::{BirthsConfig, BirthsFormat, Settings};
use crate::failsafe::day::{date_of, local};
use crate::store::{BIRTHS_JOB, BirthRow, BirthsList, JOB_BATCH, Ledger, LedgerReader, NEWBORNS_JOB, StoreError};

/// How often it is asked what is due.
const EVERY: Duration = Duration::from_millis(250);
/// When a new day's work begins.
const NEW_DAY: Time = Time::constant(0, 10, 0, 0);
/// After an error, and the longest wait between two batches of a job.
const REST: Duration = Duration::from_secs(5);
/// Lists of so many days are written into a folder that is named for the first time.
const WRITE_BACK_DAYS: i64 = 7;

/// Starts the thread. It ends when `ends` is cancelled.
pub fn start(
    ledger: Ledger,
    settings: Arc<Settings>,
    ends: CancellationToken,
    runtime: Handle,
    present: Present,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("daily".into()).spawn(move || {
        let _present = present;
        let daily = DailyWork { end: settings.births.at, ledger, settings, runtime };
        let mut reader = None;
        loop {
            let rest = match daily.turn(&mut reader, clock::now()) {
                Ok(rest) => rest,
                Err(error) => {
                    reader = None;
                    tracing::error!(error = %error, "daily.failed: births lists, decisions or jobs could not be done; they are tried again");
                    REST
                }
            };
            let ended = daily.runtime.block_on(async {
                tokio::select! { () = tokio::time::sleep(rest) => false, () = ends.cancelled() => true, () = daily.ledger.stopped() => true }
            });
            if ended {
                return;
            }
        }
    })
}

struct DailyWork {
    /// When a day ends.
    end: Time,
    ledger: Ledger,
    settings: Arc<Settings>,
    runtime: Handle,
}

impl DailyWork {
    /// Does what is due, each thing also where another one fails. Gives how long to wait. The reader is opened where there is none yet.
    fn turn(&self, reader: &mut Option<LedgerReader>, now: Timestamp) -> Result<Duration, StoreError> {
        let reader = match reader {
            Some(open) => open,
            None => reader.insert(LedgerReader::open(self.ledger.data())?),
        };
        let done = [
            ("the end of the first 28 days", self.newborns(reader, now)),
            ("births lists", self.births(reader, now)),
            ("files of births lists", self.files(reader, now)),
            ("decisions of people", self.decisions(reader, now)),
        ];
        let rest = self.jobs(reader, now);
        // Each is told: one that fails for days must not hide what fails beside it.
        for (what, error) in done.iter().filter_map(|(what, done)| Some((what, done.as_ref().err()?))) {
            tracing::error!(error = %error, what, "daily.failed: it could not be done and is tried again");
        }
        done.into_iter().try_for_each(|(_, done)| done).and(rest)
    }

    /// Decisions of people whose day has come.
    fn decisions(&self, reader: &LedgerReader, now: Timestamp) -> Result<(), StoreError> {
        if reader.is_override_due(date_of(now))? {
            let applied = self.runtime.block_on(self.ledger.apply_overrides(now))?;
            unread(&applied.unread, "decision of a hub");
        }
        Ok(())
    }

    /// The next batch of a job that looks at everybody again. Gives how long to wait.
    fn jobs(&self, reader: &LedgerReader, now: Timestamp) -> Result<Duration, StoreError> {
        if self.ledger.moves_nobody() || !reader.is_job_running()? {
            return Ok(clock::poll(EVERY));
        }
        self.runtime.block_on(self.ledger.job_batch(now))?;
        let pace = u64::from(self.settings.hubs.reassign_per_second.max(1));
        Ok(Duration::from_millis(JOB_BATCH as u64 * 1_000 / pace).min(REST))
    }

    /// Children whose first 28 days have ended, on each day since the last one that was done. While a directory file is away that nobody
    /// may be moved by, the days wait.
    fn newborns(&self, reader: &LedgerReader, now: Timestamp) -> Result<(), StoreError> {
        if self.ledger.moves_nobody() {
            return Ok(());
        }
        for day in days_due(reader.last_done(NEWBORNS_JOB)?, NEW_DAY, now) {
            let (mut looked, mut changed) = (0, 0);
            loop {
                let ended = self.runtime.block_on(self.ledger.end_newborns(day, now))?;
                (looked, changed) = (looked + ended.looked, changed + ended.changed);
                unread(&ended.unread, "end of the first 28 days");
                if ended.done {
                    break;
                }
            }
            tracing::info!(day = %day, looked, changed, "newborns.ended");
        }
        Ok(())
    }

    fn births(&self, reader: &LedgerReader, now: Timestamp) -> Result<(), StoreError> {
        let Some(done) = reader.last_done(BIRTHS_JOB)? else {
            let today = date_of(now);
            let before = if local(today, self.end) <= now { today } else { today.yesterday().unwrap_or(today) };
            return self.runtime.block_on(self.ledger.begin_calendar(BIRTHS_JOB, before, now));
        };
        for day in days_due(Some(done), self.end, now) {
            let ended = local(day, self.end);
            let listed = self.runtime.block_on(self.ledger.list_births(day, ended, now))?;
            tracing::info!(day = %day, lists = listed.lists, unread = listed.unread.len(), "births.listed");
            unread(&listed.unread, "births list");
        }
        Ok(())
    }

    fn files(&self, reader: &LedgerReader, now: Timestamp) -> Result<(), StoreError> {
        let Some(folder) = &self.settings.births.folder else { return Ok(()) };
        let since = now.checked_sub((WRITE_BACK_DAYS * 24).hours()).unwrap_or(now);
        for list in reader.unwritten_births(since)? {
            let failed = |error: std::io::Error| StoreError {
                text: format!("a births list cannot be written to {}: {error}", folder.display()),
                exit: 74,
            };
            write(folder, &self.settings.births, &list).map_err(failed)?;
            self.runtime.block_on(self.ledger.births_written(&list.hub, &list.day, now))?;
        }
        Ok(())
    }
}

/// Says of whom something could not be done. By our ids; nothing of a record is told.
fn unread(children: &[String], what: &'static str) {
    for child in children {
        tracing::error!(child = %child, what, "record.unreadable: a child was left out; `identity list` has it, and it is tried again tomorrow");
    }
}

/// Writes a list under its name: whole, or not at all. Only this user may read it.
fn write(folder: &Path, config: &BirthsConfig, list: &BirthsList) -> std::io::Result<()> {
    let (ending, bytes) = match config.format {
        BirthsFormat::Csv => ("csv", csv_of(list)?),
        BirthsFormat::Json => ("json", serde_json::to_vec_pretty(list)?),
    };
    lay(folder, &format!("births-{}-{}.{ending}", list.hub, list.day), &bytes, 0o600)
}

/// The columns of a list, in this order.
const COLUMNS: [&str; 16] = [
    "section",
    "child",
    "nhs_number",
    "family",
    "given",
    "birth_date",
    "sex",
    "weight_g",
    "gestation_weeks",
    "place",
    "postcode",
    "gp_practice",
    "hub",
    "basis",
    "status",
    "recognised",
];

fn csv_of(list: &BirthsList) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for birth in &list.births {
        writer.write_record(cells(birth))?;
    }
    writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))
}

fn cells(birth: &BirthRow) -> [&str; 16] {
    [
        &birth.section,
        &birth.child,
        &birth.nhs_number,
        &birth.family,
        &birth.given,
        &birth.born,
        &birth.sex,
        &birth.weight_g,
        &birth.gestation_weeks,
        &birth.place,
        &birth.postcode,
        &birth.practice,
        &birth.hub,
        &birth.basis,
        &birth.status,
        &birth.recognised,
    ]
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;

    use super::*;
    use crate::routing::Directory;
    use crate::store::{FilingRules, LedgerConfig};

    const HUBS: &str = "default_hub = \"NE\"\n[[hub]]\nname = \"NE\"\ntitle = \"North East\"\nlas = [\"E09000012\"]\n";

    struct Site {
        work: DailyWork,
        reader: Option<LedgerReader>,
        directory: Arc<ArcSwap<Directory>>,
        runtime: tokio::runtime::Runtime,
        folder: tempfile::TempDir,
    }

    impl Site {
        /// `hubs` as hubs.toml, beside which there is no other file; `births` is where lists are laid.
        fn new(hubs: &str, births: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let directory = Arc::new(ArcSwap::from_pointee(read(hubs)));
            let rules = FilingRules {
                directory: Arc::clone(&directory),
                destinations: Arc::new(Vec::new()),
                zone: crate::failsafe::day::london(),
                parents: Arc::default(),
            };
            let config = LedgerConfig { data: folder.path().to_owned(), ballast: false, pages_max: None };
            let ledger = runtime.block_on(async { Ledger::open(&config, rules).unwrap() });
            let births = BirthsConfig { folder: births.map(|name| folder.path().join(name)), ..BirthsConfig::default() };
            let settings = Settings { births, ..Settings::default() };
            let work = DailyWork { end: settings.births.at, ledger, settings: Arc::new(settings), runtime: runtime.handle().clone() };
            Self { work, reader: None, directory, runtime, folder }
        }

        fn turn(&mut self, at: &str) -> Result<Duration, StoreError> {
            self.work.turn(&mut self.reader, at.parse().unwrap())
        }

        fn begin_a_job(&self, at: &str) {
            self.runtime.block_on(self.work.ledger.begin_reassign("a test", at.parse().unwrap())).unwrap();
        }

        fn jobs(&self) -> Vec<String> {
            let jobs = LedgerReader::open(self.folder.path()).unwrap().jobs().unwrap();
            jobs.into_iter().map(|job| job.state).collect()
        }

        fn newborns_done(&self) -> Option<String> {
            LedgerReader::open(self.folder.path()).unwrap().last_done(NEWBORNS_JOB).unwrap().map(|day| day.to_string())
        }
    }

    fn read(hubs: &str) -> Directory {
        Directory::load_readable(hubs, "hubs.toml", &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap()
    }

    #[test]
    fn a_births_folder_that_cannot_be_written_to_does_not_stop_jobs() {
        let mut site = Site::new(HUBS, Some("births"));
        // A file lies where the folder should be.
        std::fs::write(site.folder.path().join("births"), "").unwrap();
        site.turn("2026-01-05T12:00:00Z").unwrap();
        site.begin_a_job("2026-01-06T00:00:00Z");
        let error = site.turn("2026-01-06T00:00:00Z").unwrap_err();
        assert!(error.text.contains("a births list cannot be written to"), "{error}");
        assert_eq!(site.jobs(), ["done"]);
    }

    #[test]
    fn while_a_directory_file_is_away_jobs_and_the_end_of_the_first_days_wait_and_are_done_when_it_is_back() {
        let mut site = Site::new(HUBS, None);
        site.turn("2026-01-05T12:00:00Z").unwrap();
        assert_eq!(site.newborns_done().as_deref(), Some("2026-01-05"));
        site.directory.store(Arc::new(read(&format!("{HUBS}[directories]\npostcodes = \"away.csv\"\n"))));
        site.begin_a_job("2026-01-06T12:00:00Z");
        site.turn("2026-01-06T12:00:00Z").unwrap();
        site.turn("2026-01-07T12:00:00Z").unwrap();
        assert_eq!((site.newborns_done().as_deref(), site.jobs()), (Some("2026-01-05"), vec!["running".to_owned()]));
        site.directory.store(Arc::new(read(HUBS)));
        site.turn("2026-01-08T12:00:00Z").unwrap();
        assert_eq!((site.newborns_done().as_deref(), site.jobs()), (Some("2026-01-08"), vec!["done".to_owned()]));
    }

    #[test]
    fn a_list_is_written_whole_and_one_without_births_has_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let birth = BirthRow { section: "here".into(), child: "c1".into(), family: "EXAMPLE, \"TEST\"".into(), ..BirthRow::default() };
        let list = |births| BirthsList {
            hub: "NE".into(),
            day: "2026-01-05".into(),
            made: String::new(),
            births,
            unknown: Vec::new(),
            unread: Vec::new(),
        };
        let config = |format| BirthsConfig { format, ..BirthsConfig::default() };
        write(folder.path(), &config(BirthsFormat::Csv), &list(vec![birth.clone()])).unwrap();
        let text = std::fs::read_to_string(folder.path().join("births-NE-2026-01-05.csv")).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("here,c1,,\"EXAMPLE, \"\"TEST\"\"\","), "{text}");
        write(folder.path(), &config(BirthsFormat::Csv), &list(Vec::new())).unwrap();
        let text = std::fs::read_to_string(folder.path().join("births-NE-2026-01-05.csv")).unwrap();
        assert_eq!(text, format!("{}\n", COLUMNS.join(",")));
        write(folder.path(), &config(BirthsFormat::Json), &list(vec![birth])).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half written is left");
    }
}
