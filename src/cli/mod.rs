//! The commands. Each reads its arguments, does one thing, prints the result on stdout and nothing else there, and ends with
//! an exit code that a script can believe.
//!
//! # Exit codes (sysexits.h)
//!
//!     0 ok    1 ran, and found something wrong or different    64 usage    65 damaged or newer store    66 input missing
//!     69 not reachable    70 bug    71 operating system    73 cannot create    74 I/O    75 try later    77 permission    78 configuration
//!
//! # Not here
//!
//! What the commands show is made in [`crate::console::views`], so that the admin door says the same.

mod arguments;
mod arguments_deliveries;
mod arguments_hubs;
mod arguments_tables;
mod check;
mod city;
mod coverage;
mod demo;
mod deliveries;
mod due;
pub mod diagnostics;
mod directories;
mod files;
mod hub_store;
mod hubs;
mod identity;
mod import;
mod lint;
mod listen;
mod map;
mod output;
mod read;
mod run;
mod send;
mod source;
mod table;
mod tables;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;
use clap::error::ErrorKind;

use self::arguments::{Cli, Command, ConfigCommand, DueCommand, HeldCommand, MapCommand, MsgCommand, TableCommand};
use self::arguments_deliveries::DestCommand;
use self::arguments_hubs::{DirectoriesCommand, HubCommand, JobsCommand, ReconcileCommand};
use self::output::Out;

/// Exit codes by name.
pub mod exit {
    /// All is well.
    pub const OK: u8 = 0;
    /// It ran, and found something wrong or different.
    pub const FOUND: u8 = 1;
    /// The command line cannot be understood.
    pub const USAGE: u8 = 64;
    /// The store or the input is damaged, or newer than this program.
    pub const DAMAGED: u8 = 65;
    /// What was named is not there.
    pub const MISSING: u8 = 66;
    /// A service cannot be reached.
    pub const UNREACHABLE: u8 = 69;
    /// A mistake of ours.
    pub const BUG: u8 = 70;
    /// The operating system refused.
    pub const SYSTEM: u8 = 71;
    /// Something could not be made.
    pub const CANNOT_CREATE: u8 = 73;
    /// Reading or writing failed.
    pub const IO: u8 = 74;
    /// The configuration cannot be used.
    pub const CONFIG: u8 = 78;
}

/// Why a command did not do what it was asked, and the exit code for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// What is wrong and what would help; lower case, no full stop.
    pub text: String,
    /// Exit code.
    pub exit: u8,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), exit }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(exit::IO, format!("the result could not be written: {error}"))
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(error.exit, error.text)
    }
}

impl From<crate::console::views::ViewError> for Failure {
    fn from(error: crate::console::views::ViewError) -> Self {
        use crate::console::views::ViewError;
        match error {
            ViewError::Missing(text) => Self::new(exit::MISSING, text),
            ViewError::Asked(text) => Self::new(exit::USAGE, text),
            ViewError::Forbidden(text) => Self::new(77, text),
            ViewError::Store(text, code) => Self::new(code, text),
        }
    }
}

/// What a command ends with: an exit code, or a failure to be told.
pub type Outcome = Result<u8, Failure>;

/// Runs the command that `arguments` name and gives its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let mut out = Out::stdout();
    let code = match Cli::try_parse_from(arguments) {
        Ok(cli) => {
            // Both TLS ends are ours; the first one to ask would otherwise choose for all.
            let _already_chosen = rustls::crypto::ring::default_provider().install_default();
            settle(dispatch(cli, &mut out))
        }
        Err(error) => usage(&error, &mut out),
    };
    match out.flush() {
        Ok(()) => code,
        // Whoever read us has enough (`| head`); that is no error of theirs or ours.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => code,
        Err(_) => exit::IO,
    }
}

fn usage(error: &clap::Error, out: &mut Out) -> u8 {
    let text = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _seen_when_flushed = write!(out, "{text}");
            exit::OK
        }
        _ => {
            say(&text.to_string());
            exit::USAGE
        }
    }
}

fn settle(outcome: Outcome) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(failure) if failure.exit == exit::IO && failure.text.contains("Broken pipe") => exit::OK,
        Err(failure) => {
            say(&format!("chis-broker: {}\n", failure.text));
            failure.exit
        }
    }
}

/// Tells the person at the terminal. Where stderr is closed nobody is there to be told.
fn say(text: &str) {
    let _nobody_listens = std::io::stderr().write_all(text.as_bytes());
}

fn dispatch(cli: Cli, out: &mut Out) -> Outcome {
    match cli.command {
        Command::Run(run) => run::run(&run),
        Command::Demo(demo) => demo::demo(&demo, out),
        Command::Check(check) => check::check(&check, out),
        Command::Config(ConfigCommand::Default) => write!(out, "{}", crate::config::DEFAULT_TOML).map(|()| exit::OK).map_err(Failure::from),
        Command::Gen(order) => city::run(&order, out),
        Command::Send(send) => send::send(&send, out),
        Command::Listen(listen) => listen::listen(&listen, out),
        Command::Import(import) => import::import(&import, out),
        Command::Map(MapCommand::Check(map)) => map::check(&map, out),
        Command::Map(MapCommand::Test(map)) => map::test(&map, out),
        Command::Map(MapCommand::Try(map)) => map::try_file(&map, out),
        Command::Map(MapCommand::Show(map)) => map::show(&map, out),
        Command::Map(MapCommand::Coverage(map)) => coverage::coverage(&map, out),
        Command::LintSender(lint) => lint::lint(&lint, out),
        Command::Msg(MsgCommand::List(list)) => read::list(&list, out),
        Command::Msg(MsgCommand::Show(one)) => read::show(&one, out),
        Command::Msg(MsgCommand::Trace(one)) => read::trace(&one, out),
        Command::Msg(MsgCommand::Explain(one)) => read::explain(&one, out),
        Command::Msg(MsgCommand::Document(one)) => read::document(&one, out),
        Command::Child(child) => read::child(&child, out),
        Command::Identity(command) => identity::run(&command, out),
        Command::Due(DueCommand::List(list)) => due::list(&list, out),
        Command::Due(DueCommand::Explain(explain)) => due::explain(&explain, out),
        Command::Due(DueCommand::Close(close)) => due::close(&close, out),
        Command::Hub(HubCommand::Find(find)) => hub_store::find(&find, out),
        Command::Hub(HubCommand::Show(show)) => hub_store::show(&show, out),
        Command::Hub(HubCommand::Export(export)) => hub_store::export(&export, out),
        Command::Hub(HubCommand::Caseload(count)) => hub_store::caseload(&count, out),
        Command::Hub(HubCommand::Reads(reads)) => hub_store::reads(&reads, out),
        Command::Hub(HubCommand::Uptake(count)) => hub_store::uptake(&count, out),
        Command::Hub(HubCommand::Timeline(timeline)) => match &timeline.hub {
            Some(hub) => hub_store::timeline(hub, &timeline, out),
            None => hubs::timeline(&timeline, out),
        },
        Command::Hub(HubCommand::Assign(assign)) => hubs::assign(&assign, out),
        Command::Hub(HubCommand::Reassign(reassign)) => hubs::reassign(&reassign, out),
        Command::Hub(HubCommand::Movers(movers)) => hubs::movers(&movers, out),
        Command::Hub(HubCommand::Taken(taken)) => hubs::taken(&taken, out),
        Command::Hub(HubCommand::Births(births)) => hubs::births(&births, out),
        Command::Hub(HubCommand::Informed(informed)) => identity::informed(&informed, out),
        Command::Jobs(JobsCommand::List(list)) => hubs::jobs(&list, out),
        Command::Jobs(JobsCommand::Show(one)) => hubs::job(&one, out),
        Command::Jobs(JobsCommand::Pause(job)) => hubs::steer(&job, "pause", out),
        Command::Jobs(JobsCommand::Resume(job)) => hubs::steer(&job, "resume", out),
        Command::Jobs(JobsCommand::Cancel(job)) => hubs::steer(&job, "cancel", out),
        Command::Dest(DestCommand::List(list)) => deliveries::list(&list, out),
        Command::Dest(DestCommand::Show(one)) => deliveries::show(&one, out),
        Command::Dest(DestCommand::Pause(steer)) => deliveries::steer(&steer, "pause", out),
        Command::Dest(DestCommand::Resume(steer)) => deliveries::steer(&steer, "resume", out),
        Command::Dest(DestCommand::Test(one)) => deliveries::test(&one, out),
        Command::Replay(replay) => deliveries::replay(&replay, out),
        Command::Directories(DirectoriesCommand::Check(check)) => directories::check(&check, out),
        Command::Held(HeldCommand::List(list)) => read::held_list(&list, out),
        Command::Held(HeldCommand::Show(one)) => read::trace(&one, out),
        Command::Held(HeldCommand::Edit(edit)) => deliveries::edit(&edit, out),
        Command::Held(HeldCommand::Discard(discard)) => deliveries::discard(&discard, out),
        Command::Held(HeldCommand::Release(release)) if release.destination.is_some() => deliveries::release_group(&release, out),
        Command::Held(HeldCommand::Release(release)) => read::release(&release, out),
        Command::Table(TableCommand::List(list)) => table::list(&list, out),
        Command::Table(TableCommand::Show(show)) => table::show(&show, out),
        Command::Table(TableCommand::Misses(misses)) => table::misses(&misses, out),
        Command::Table(TableCommand::Add(add)) => table::add(&add, out),
        Command::Table(TableCommand::Release(release)) => table::release(&release, out),
        Command::Reconcile(reconcile) => match &reconcile.other {
            Some(ReconcileCommand::Births(births)) => hubs::account(births, out),
            None => read::reconcile(&reconcile, out),
        },
        Command::Status(status) => read::status(&status, out),
        Command::Reload(reload) => read::reload(&reload, out),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_reading;
#[cfg(test)]
mod tests_of_stores;
