//! `due …` on the command line.

use clap::{Args, Subcommand};

use super::{From, Reveal};

/// `due …`.
#[derive(Debug, Subcommand)]
pub enum DueCommand {
    /// Lists what is late or near of a hub's children
    List(DueList),
    /// Why the clocks of a child stand as they do: facts, rules with their source, dates
    Explain(DueExplain),
    /// Ends a clock by hand: letters that went, a child that was looked at
    Close(DueClose),
}

/// `due list`.
#[derive(Args, Debug)]
pub struct DueList {
    /// The hub
    #[arg(long, value_name = "NAME")]
    pub hub: String,
    /// As it stands at the end of this day, by what is known now: 2026-01-05; without it as it stands now
    #[arg(long, value_name = "DATE")]
    pub day: Option<String>,
    /// Only this clock: NBS_RESULT
    #[arg(long, value_name = "KIND")]
    pub clock: Option<String>,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `due explain`.
#[derive(Args, Debug)]
pub struct DueExplain {
    /// Our id of the child
    #[arg(value_name = "CHILD")]
    pub child: uuid::Uuid,
    /// Only this clock: NBS_RESULT
    #[arg(value_name = "CLOCK")]
    pub clock: Option<String>,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `due close`.
#[derive(Args, Debug)]
pub struct DueClose {
    /// Our id of the child
    #[arg(value_name = "CHILD")]
    pub child: uuid::Uuid,
    /// The clock
    #[arg(value_name = "CLOCK")]
    pub clock: String,
    /// Why; written down
    #[arg(long)]
    pub reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}
