//! What can be written on the command line about hubs, births, movers, jobs and directories.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::{From, HubExport, Reveal};

/// `hub …`.
#[derive(Debug, Subcommand)]
pub enum HubCommand {
    /// Writes what a hub's store holds, one child a line
    Export(HubExport),
    /// Who was responsible for a child since when, on which ground, and because of which message
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
}

/// `hub timeline`.
#[derive(Args, Debug)]
pub struct HubTimeline {
    /// Our id of the child
    #[arg(value_name = "CHILD")]
    pub child: uuid::Uuid,
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
    /// Stops a job where it is; it can go on
    Pause(JobsSteer),
    /// Lets a paused job go on
    Resume(JobsSteer),
    /// Ends a job; what it has changed stays
    Cancel(JobsSteer),
}

/// `jobs list`.
#[derive(Args, Debug)]
pub struct JobsList {
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
