//! What can be written on the command line about deliveries.

use clap::{Args, Subcommand, ValueEnum};

/// `dest …`.
#[derive(Debug, Subcommand)]
pub enum DestCommand {
    /// Lists receivers: how each stands, what waits for it and for how long
    List(DestList),
    /// Shows one receiver, with the oldest debts that wait or are held
    Show(DestOne),
    /// Stops a receiver: nothing is sent until it is resumed, over restarts too
    Pause(DestSteer),
    /// Lets a stopped receiver go on
    Resume(DestSteer),
    /// Opens a connection as a delivery does, sends nothing of a child, and says how long each step took
    Test(DestOne),
}

/// The running broker.
#[derive(Args, Clone, Debug)]
pub struct Door {
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `dest list`.
#[derive(Args, Debug)]
pub struct DestList {
    /// Whom to ask.
    #[command(flatten)]
    pub door: Door,
}

/// `dest show`, `dest test`.
#[derive(Args, Debug)]
pub struct DestOne {
    /// The destination
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Whom to ask.
    #[command(flatten)]
    pub door: Door,
}

/// `dest pause`, `dest resume`.
#[derive(Args, Debug)]
pub struct DestSteer {
    /// The destination
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Why; written down
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Only show what it would do
    #[arg(long)]
    pub dry_run: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub door: Door,
}

/// `held discard`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").args(["debt", "destination"]).required(true))]
pub struct HeldDiscard {
    /// This held debt
    #[arg(long, value_name = "DEBT")]
    pub debt: Option<i64>,
    /// All held debts to this destination
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// With --destination: only those held for this cause, as `held list` names it
    #[arg(long, value_name = "CAUSE", requires = "destination")]
    pub why: Option<String>,
    /// Who withdraws them; written down
    #[arg(long, value_name = "NAME", required_unless_present = "dry_run")]
    pub by: Option<String>,
    /// Why; written down
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Only show what it would do
    #[arg(long)]
    pub dry_run: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub door: Door,
}

/// `held edit`.
#[derive(Args, Debug)]
pub struct HeldEdit {
    /// The held message
    #[arg(value_name = "MSG")]
    pub seq: i64,
    /// The mended copy, whole; `msg show MSG --reveal REASON` gives what came
    #[arg(long, value_name = "FILE")]
    pub file: std::path::PathBuf,
    /// Why; written down
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Only show how it would be read
    #[arg(long)]
    pub dry_run: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub door: Door,
}

/// What is rendered anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rendering {
    /// Out of the filed event, by this program
    Current,
}

/// `replay`.
#[derive(Args, Debug)]
pub struct Replay {
    /// Which events: `destination=region source=rj1 type=ADT^A28 hub=SE child=ID since=2026-01-05 until=2026-01-06`; all must fit
    #[arg(long, value_name = "QUERY")]
    pub query: String,
    /// Whom they are sent to; without it those to whom each was owed
    #[arg(long, value_name = "DEST")]
    pub to: Option<String>,
    /// Render the filed events anew by this program; without it what was sent is sent again. To parents' records, viewers and files it is always
    /// rendered anew. No message is read again
    #[arg(long, value_enum, value_name = "VERSION")]
    pub render: Option<Rendering>,
    /// Refused: what was filed is sent again, and no message is read anew by another mapping
    #[arg(long, value_name = "VERSION")]
    pub mapping: Option<String>,
    /// At most so many a second: `20/s`
    #[arg(long, value_name = "N/s", default_value = "20/s", value_parser = per_second)]
    pub rate: u32,
    /// Send though the receiver has it, under a key of its own
    #[arg(long)]
    pub force: bool,
    /// Only show what it would do
    #[arg(long)]
    pub dry_run: bool,
    /// Why; written down
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub door: Door,
}

fn per_second(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().ok().filter(|rate| 0 < *rate).ok_or_else(|| "write it like 20/s".to_owned())
}
