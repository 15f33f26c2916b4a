//! What can be written on the command line about hubs, births, movers, jobs and directories.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::arguments::{From, Reason, Reveal};
use super::identity::Doing;

/// `hub …`.
#[derive(Debug, Subcommand)]
pub enum HubCommand {
    /// Finds children in a hub's store, by an identifier or by family name and date of birth
    Find(HubFind),
    /// Shows what a hub's store holds of one child: the record and what stands of all that was said
    Show(HubShow),
    /// Writes what a hub's store holds, one child a line; or FHIR, one file for each type of resource
    Export(HubExport),
    /// Counts a hub's children by role, standing and age, with open tasks
    Caseload(HubCount),
    /// Counts for each quarter of birth and each dose of the schedule who has it, of how many
    Uptake(HubCount),
    /// Who read what in a hub's store, the last one first
    Reads(HubReads),
    /// Who was responsible for a child since when, on which ground, and because of which message; or with --hub what that hub's store heard of it
    Timeline(HubTimeline),
    /// Decides by hand which hub a child belongs to; shows the effect and does it
    Assign(HubAssign),
    /// Looks at every child again, after hubs.toml or directories changed
    Reassign(HubReassign),
    /// Children that moved and that nobody has yet
    Movers(HubMovers),
    /// Notes who has a child that left the area of all hubs
    Taken(HubTaken),
    /// The births list of a day, as the hub got it
    Births(HubBirths),
    /// Notes that a person told a child's parents of results that were held back from their record; shows the effect first
    Informed(HubInformed),
}

/// Of what parents were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InformedAbout {
    /// Newborn blood spot
    BloodSpot,
    /// Newborn hearing screen
    Hearing,
    /// Newborn and infant physical examination
    PhysicalExamination,
}

/// `hub informed`.
#[derive(Args, Debug)]
pub struct HubInformed {
    /// Our id of the child
    #[arg(value_name = "CHILD")]
    pub child: uuid::Uuid,
    /// Of which results, as they stand now; a later version is held back again
    #[arg(long, value_enum)]
    pub about: InformedAbout,
    /// The day on which the parents were told; what came later is held back still
    #[arg(long, value_name = "DATE")]
    pub told: jiff::civil::Date,
    /// Who told them, and how; written down
    #[arg(long)]
    pub reason: String,
    /// How.
    #[command(flatten)]
    pub doing: Doing,
}

/// Where the stores of hubs are.
#[derive(Args, Debug)]
pub struct Stores {
    /// Folder of the hub stores
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Take the folder and the stores from this configuration file; needed for a store in PostgreSQL
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `hub find`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("by").args(["nhs_number", "identifier", "family"]).required(true))]
pub struct HubFind {
    /// The hub, NE; or the destination, hub-ne
    pub hub: String,
    /// NHS number
    #[arg(long, value_name = "NUMBER")]
    pub nhs_number: Option<String>,
    /// Another identifier
    #[arg(long, value_name = "VALUE")]
    pub identifier: Option<String>,
    /// The identifier's system, a URI
    #[arg(long, value_name = "URI", requires = "identifier")]
    pub system: Option<String>,
    /// Family name
    #[arg(long, value_name = "NAME", requires = "born")]
    pub family: Option<String>,
    /// Date of birth, 2026-01-05
    #[arg(long, value_name = "DATE", requires = "family")]
    pub born: Option<jiff::civil::Date>,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reason,
    /// Where to read.
    #[command(flatten)]
    pub stores: Stores,
}

/// `hub show`.
#[derive(Args, Debug)]
pub struct HubShow {
    /// The hub, NE; or the destination, hub-ne
    pub hub: String,
    /// Our id of the child
    #[arg(value_name = "CHILD")]
    pub child: uuid::Uuid,
    /// Show where a restricted child is, too; written down
    #[arg(long, requires = "reveal")]
    pub location: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reason,
    /// Where to read.
    #[command(flatten)]
    pub stores: Stores,
}

/// `hub reads`.
#[derive(Args, Debug)]
pub struct HubReads {
    /// The hub, NE; or the destination, hub-ne
    pub hub: String,
    /// Only of this child, by our id, and of all children
    #[arg(long, value_name = "CHILD")]
    pub child: Option<uuid::Uuid>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: i64,
    /// Where to read.
    #[command(flatten)]
    pub stores: Stores,
}

/// `hub caseload`, `hub uptake`.
#[derive(Args, Debug)]
pub struct HubCount {
    /// The hub, NE; or the destination, hub-ne
    pub hub: String,
    /// As of this London day, 2026-01-05; without it today
    #[arg(long, value_name = "DATE")]
    pub day: Option<jiff::civil::Date>,
    /// Where to read.
    #[command(flatten)]
    pub stores: Stores,
}

/// What an export looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Canonical JSON, one child a line, with its events and moves
    #[default]
    Ndjson,
    /// FHIR R4, one file for each type of resource, one resource a line
    Fhir,
}

/// `hub export`.
#[derive(Args, Debug)]
pub struct HubExport {
    /// The hub, NE; or the destination, hub-ne
    pub hub: String,
    /// What it looks like
    #[arg(long, value_enum, default_value_t)]
    pub format: ExportFormat,
    /// New folder for the files of --format fhir
    #[arg(long, value_name = "DIR", required_if_eq("format", "fhir"))]
    pub to: Option<PathBuf>,
    /// Show where a restricted child is, too; written down
    #[arg(long, requires = "reveal")]
    pub location: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reason,
    /// Where to read.
    #[command(flatten)]
    pub stores: Stores,
}

/// `hub timeline`.
#[derive(Args, Debug)]
pub struct HubTimeline {
    /// Our id of the child
    #[arg(value_name = "CHILD")]
    pub child: uuid::Uuid,
    /// What the store of this hub heard of it, and when
    #[arg(long, value_name = "HUB", conflicts_with = "admin")]
    pub hub: Option<String>,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `hub assign`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["hub", "clear"]).required(true))]
pub struct HubAssign {
    /// Our id of the child
    #[arg(value_name = "CHILD")]
    pub child: uuid::Uuid,
    /// The hub, or OUT
    #[arg(value_name = "HUB")]
    pub hub: Option<String>,
    /// Take back what was decided by hand: practice and home decide again
    #[arg(long)]
    pub clear: bool,
    /// From this London day on, 2026-01-05; without it from today
    #[arg(long = "from", value_name = "DATE")]
    pub from_day: Option<String>,
    /// Why; written down
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Only show what it would do
    #[arg(long)]
    pub dry_run: bool,
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `hub reassign`.
#[derive(Args, Debug)]
pub struct HubReassign {
    /// Only count what would change. With --config: by the hubs and directories on disk, before they are loaded
    #[arg(long)]
    pub dry_run: bool,
    /// Why; written down
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Where to read, and whom to tell.
    #[command(flatten)]
    pub from: From,
}

/// `hub movers`.
#[derive(Args, Debug)]
pub struct HubMovers {
    /// Only of this hub
    #[arg(long, value_name = "HUB")]
    pub hub: Option<String>,
    /// Those too that were taken on since this London day, 2026-01-05
    #[arg(long, value_name = "DATE")]
    pub since: Option<String>,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `hub taken`.
#[derive(Args, Debug)]
pub struct HubTaken {
    /// Our id of the child
    #[arg(value_name = "CHILD")]
    pub child: uuid::Uuid,
    /// Who has it now: the receiving child health service
    #[arg(long, value_name = "TEXT")]
    pub by: String,
    /// How that is known; written down
    #[arg(long)]
    pub reason: String,
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `hub births`.
#[derive(Args, Debug)]
pub struct HubBirths {
    /// The hub, NE
    #[arg(value_name = "HUB")]
    pub hub: String,
    /// The London day, 2026-01-05
    #[arg(long, value_name = "DATE")]
    pub day: String,
    /// Show where a restricted child is, too; written down
    #[arg(long, requires = "reveal")]
    pub location: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `jobs …`.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Lists jobs, the newest first
    List(JobsList),
    /// Shows one job: what it was asked for and how far it is
    Show(JobsShow),
    /// Stops a job where it is; it can go on
    Pause(JobsSteer),
    /// Lets a paused job go on
    Resume(JobsSteer),
    /// Ends a job; what it has changed stays, and what it would send again and has not is withdrawn
    Cancel(JobsSteer),
}

/// `jobs list`.
#[derive(Args, Debug)]
pub struct JobsList {
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `jobs show`.
#[derive(Args, Debug)]
pub struct JobsShow {
    /// The job's number
    #[arg(value_name = "JOB")]
    pub job: i64,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `jobs pause`, `jobs resume`, `jobs cancel`.
#[derive(Args, Debug)]
pub struct JobsSteer {
    /// The job's number
    #[arg(value_name = "JOB")]
    pub job: i64,
    /// Why; written down
    #[arg(long)]
    pub reason: String,
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `directories …`.
#[derive(Debug, Subcommand)]
pub enum DirectoriesCommand {
    /// Reads hubs.toml, the postcode and the practice file, and says what they cover
    Check(DirectoriesCheck),
}

/// `directories check`.
#[derive(Args, Debug)]
pub struct DirectoriesCheck {
    /// Folder with hubs.toml; without one what is inside the program
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub dir: Option<PathBuf>,
    /// Take the folder from this configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `reconcile …`.
#[derive(Debug, Subcommand)]
pub enum ReconcileCommand {
    /// Births of which maternity told and the Spine did not, and the reverse, by site (exit code 1 where one is late)
    Births(ReconcileBirths),
}

/// `reconcile births`.
#[derive(Args, Debug)]
pub struct ReconcileBirths {
    /// Only those recognised on this London day, 2026-01-05
    #[arg(long, value_name = "DATE")]
    pub day: Option<String>,
    /// Only those of this hub
    #[arg(long, value_name = "HUB")]
    pub hub: Option<String>,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}
