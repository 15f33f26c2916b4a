//! `identity list|show|link|unlink|resolve` and `child seal`: what a person must decide, with the effect before the act.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;

use super::arguments::{From, Reason, Reveal};
use super::arguments_hubs::{HubInformed, InformedAbout};
use super::output::{Out, text};
use super::read::{rights, said_in_private};
use super::source::{self, Query, Request, Source};
use super::tables::items;
use super::{Failure, Outcome, exit};
use crate::broker;
use crate::config::Arguments;
use crate::console::identity::Asked;
use crate::console::sight::Rights;
use crate::names::ChildId;
use crate::store::{About, DeskAct};

/// `identity …`.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Lists what a person must decide, and what still waits for its child by itself
    List(IdentityList),
    /// Shows one with everybody who could be meant, compared field by field
    Show(IdentityShow),
    /// Two records are one child
    Link(IdentityLink),
    /// Two records that were made one are two children: takes the merge back. With --alias one identifier is another person's
    Unlink(IdentityUnlink),
    /// Says whose a held message is, or that two records are two children, or that somebody has looked
    Resolve(IdentityResolve),
}

/// `identity list`.
#[derive(Args, Debug)]
pub struct IdentityList {
    /// The list of this role alone: sealed-records
    #[arg(long)]
    pub role: Option<String>,
    /// Child protection messages too; written down
    #[arg(long, requires = "reveal")]
    pub safeguarding: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reason,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `identity show`.
#[derive(Args, Debug)]
pub struct IdentityShow {
    /// A held message (12), an item of the list (item-3), or a child's id
    #[arg(value_name = "ITEM")]
    pub item: Asked,
    /// Compare with this child instead of with all who could be meant
    #[arg(long, value_name = "CHILD")]
    pub with: Option<Uuid>,
    /// A child protection message too; written down
    #[arg(long, requires = "reveal")]
    pub safeguarding: bool,
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

/// How an act is done.
#[derive(Args, Debug)]
pub struct Doing {
    /// Do it; without this only the effect is shown
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Only show the effect
    #[arg(long)]
    pub dry_run: bool,
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// The data folder of a stopped broker, with the trial set-up
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    pub data: Option<PathBuf>,
    /// The configuration file of a stopped broker
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin", "data"])]
    pub config: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `identity link`.
#[derive(Args, Debug)]
pub struct IdentityLink {
    /// The record that goes on
    #[arg(value_name = "CHILD")]
    pub survivor: Uuid,
    /// The record that becomes a part of it
    #[arg(value_name = "OTHER")]
    pub other: Uuid,
    /// Also where both have a verified NHS number and they differ: the national record said that they are one
    #[arg(long)]
    pub although_numbers_differ: bool,
    /// Why; written down
    #[arg(long)]
    pub reason: String,
    /// How.
    #[command(flatten)]
    pub doing: Doing,
}

/// `identity unlink`.
#[derive(Args, Debug)]
pub struct IdentityUnlink {
    /// The record that became a part of another one; with --alias the record that has the identifier
    #[arg(value_name = "CHILD")]
    pub other: Uuid,
    /// Take one identifier off the record, read from standard input (never an argument: those are seen by others), and leave everything else
    #[arg(long)]
    pub alias: bool,
    /// Where the child has this identifier in several systems: which one, as `child CHILD --reveal REASON` shows it
    #[arg(long, value_name = "SYSTEM", requires = "alias")]
    pub system: Option<String>,
    /// Why; written down
    #[arg(long)]
    pub reason: String,
    /// How.
    #[command(flatten)]
    pub doing: Doing,
}

/// `identity resolve`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("how").args(["under", "new", "discard", "apart_from", "looked"]).required(true))]
pub struct IdentityResolve {
    /// A held message (12), an item of the list (item-3), or with --apart-from a child's id
    #[arg(value_name = "ITEM")]
    pub item: Asked,
    /// File the message under this child
    #[arg(long, value_name = "CHILD")]
    pub under: Option<Uuid>,
    /// File the message as a new child
    #[arg(long)]
    pub new: bool,
    /// Never file the message
    #[arg(long)]
    pub discard: bool,
    /// The two are two children: no message makes them one
    #[arg(long, value_name = "CHILD")]
    pub apart_from: Option<Uuid>,
    /// Somebody has looked at the item; what it kept back is let go
    #[arg(long)]
    pub looked: bool,
    /// Why; written down
    #[arg(long)]
    pub reason: String,
    /// How.
    #[command(flatten)]
    pub doing: Doing,
}

/// Why a record is sealed: a code, because words would be a trace (identity rules, section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SealReason {
    /// An adoption order
    Adoption,
    /// A new identity on request
    NewIdentity,
    /// An order of a court
    CourtOrder,
}

impl SealReason {
    fn code(self) -> &'static str {
        match self {
            Self::Adoption => "adoption",
            Self::NewIdentity => "new-identity",
            Self::CourtOrder => "court-order",
        }
    }
}

/// `child …`.
#[derive(Debug, Subcommand)]
pub enum ChildCommand {
    /// Closes a record after an adoption or a new identity: nothing goes out, nothing leads to it; cannot be undone
    Seal(ChildSeal),
}

/// `child seal`.
#[derive(Args, Debug)]
pub struct ChildSeal {
    /// Our id of the child
    #[arg(value_name = "ID")]
    pub child: Uuid,
    /// Why: a code, written down
    #[arg(long, value_enum)]
    pub reason: SealReason,
    /// How.
    #[command(flatten)]
    pub doing: Doing,
}

/// `identity …`.
pub fn run(command: &IdentityCommand, out: &mut Out) -> Outcome {
    match command {
        IdentityCommand::List(listing) => list(listing, out),
        IdentityCommand::Show(showing) => show(showing, out),
        IdentityCommand::Link(link) => {
            let (survivor, other) = (ChildId(link.survivor), ChildId(link.other));
            let act = DeskAct::Link { survivor, other, although_numbers_differ: link.although_numbers_differ };
            decide(act, &link.reason, &link.doing, out)
        }
        IdentityCommand::Unlink(unlink) => {
            let act = match unlink.alias {
                true => DeskAct::Detach { child: ChildId(unlink.other), system: unlink.system.clone(), value: said_in_private()? },
                false => DeskAct::Unlink { other: ChildId(unlink.other) },
            };
            decide(act, &unlink.reason, &unlink.doing, out)
        }
        IdentityCommand::Resolve(resolve) => decide(resolution(resolve)?, &resolve.reason, &resolve.doing, out),
    }
}

/// `child seal`.
pub fn seal(seal: &ChildSeal, out: &mut Out) -> Outcome {
    decide(DeskAct::Seal { child: ChildId(seal.child) }, seal.reason.code(), &seal.doing, out)
}

/// `hub informed`.
pub fn informed(informed: &HubInformed, out: &mut Out) -> Outcome {
    let about = match informed.about {
        InformedAbout::BloodSpot => About::BloodSpot,
        InformedAbout::Hearing => About::Hearing,
        InformedAbout::PhysicalExamination => About::PhysicalExamination,
    };
    decide(DeskAct::Inform { child: ChildId(informed.child), about, told: informed.told }, &informed.reason, &informed.doing, out)
}

fn resolution(resolve: &IdentityResolve) -> Result<DeskAct, Failure> {
    let unfit = |what: &str| Failure::new(exit::USAGE, format!("{what}; `identity list` shows both"));
    match (resolve.item, resolve.apart_from) {
        (Asked::Child(one), Some(other)) => Ok(DeskAct::Apart { one, other: ChildId(other) }),
        (_, Some(_)) => Err(unfit("--apart-from is for two children: write the id of one before it")),
        (Asked::Item(item), None) if resolve.looked => Ok(DeskAct::Close { item }),
        (_, None) if resolve.looked => Err(unfit("--looked is for an item (item-3)")),
        (Asked::Entry(seq), None) if resolve.discard => Ok(DeskAct::Discard { seq }),
        (Asked::Entry(seq), None) => Ok(DeskAct::File { seq, under: resolve.under.map(ChildId) }),
        (_, None) => Err(unfit("--under, --new and --discard are for a held message (12)")),
    }
}

fn list(list: &IdentityList, out: &mut Out) -> Outcome {
    let query = Query::Identity(list.role.clone());
    let value = Source::of(&list.from)?.ask_as(&query, list.reveal.reveal.as_deref(), rights(list.safeguarding, false))?;
    if list.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let row = |item: &Value| {
        let mut row: Vec<String> =
            ["item", "kind", "seq", "source", "message", "since", "child"].iter().map(|key| text(item, key)).collect();
        let until = text(item, "waits_until");
        row.push(if until.is_empty() { "a person".to_owned() } else { format!("its child, until {until}") });
        row
    };
    let rows: Vec<Vec<String>> = items(&value, "items").iter().map(row).collect();
    out.table(&["item", "kind", "msg", "source", "type", "since", "child", "waits for"], &rows)?;
    let waiting = items(&value, "items").iter().filter(|item| !text(item, "waits_until").is_empty()).count();
    writeln!(out, "\n{} for a person, {waiting} wait for their child by themselves", rows.len() - waiting)?;
    for role in items(&value, "other_roles").iter().filter_map(Value::as_str) {
        writeln!(out, "more waits for a role of its own: --role {role}")?;
    }
    Ok(exit::OK)
}

fn show(show: &IdentityShow, out: &mut Out) -> Outcome {
    let query = Query::IdentityItem(show.item, show.with.map(ChildId));
    let right = Rights { sealed: show.reveal.sealed, ..rights(show.safeguarding, show.location) };
    let value = Source::of(&show.from)?.ask_as(&query, show.reveal.reveal.as_deref(), right)?;
    if show.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    if value.get("restricted").is_some() {
        let (item, seq) = (text(&value, "item"), text(&value, "seq"));
        writeln!(out, "item      {item}  message {seq}")?;
        writeln!(out, "restricted: what it says is shown by --safeguarding --reveal REASON, which is written down")?;
        return Ok(exit::OK);
    }
    let kind = [text(&value, "kind"), text(&value, "source"), text(&value, "message")].join("  ");
    writeln!(out, "item      {}  {}", text(&value, "item"), kind.trim())?;
    for (word, key) in [("why", "why"), ("child", "child"), ("waits", "waits_until")] {
        let said = text(&value, key);
        if !said.is_empty() {
            writeln!(out, "{word:<9} {said}")?;
        }
    }
    for step in items(&value, "evidence") {
        writeln!(out, "match     {}: {}", text(step, "step"), text(step, "text"))?;
    }
    let said = value.get("said").cloned().unwrap_or_default();
    for candidate in items(&value, "candidates") {
        let found: Vec<&str> = items(candidate, "found_by").iter().filter_map(Value::as_str).collect();
        let by = if found.is_empty() { String::new() } else { format!("  found by {}", found.join(", ")) };
        writeln!(out, "\nchild     {}  {}{by}", text(candidate, "child"), text(candidate, "status"))?;
        let compared = candidate.get("compared").and_then(Value::as_object).cloned().unwrap_or_default();
        let known = candidate.get("fields").cloned().unwrap_or_default();
        let row = |(field, word): (&String, &Value)| {
            vec![field.clone(), text(&said, field), text(&known, field), word.as_str().unwrap_or_default().to_owned()]
        };
        let rows: Vec<Vec<String>> = compared.iter().map(row).collect();
        out.table(&["field", "said", "on record", ""], &rows)?;
    }
    if items(&value, "candidates").is_empty() {
        writeln!(out, "\nnobody on record could be meant")?;
    }
    Ok(exit::OK)
}

/// Tries the act and shows what it would do; with `--yes` does it.
fn decide(act: DeskAct, reason: &str, doing: &Doing, out: &mut Out) -> Outcome {
    if reason.trim().is_empty() {
        return Err(Failure::new(exit::USAGE, "--reason is not empty"));
    }
    let effect = ask(act.clone(), reason, doing, true)?;
    if !doing.json {
        effect_lines(&effect, out)?;
        out.flush()?;
    }
    if !doing.yes {
        if doing.json {
            out.json(&effect)?;
        } else {
            writeln!(out, "\nnothing was done: the same command with --yes does it")?;
        }
        return Ok(if doing.dry_run { exit::OK } else { exit::FOUND });
    }
    let done = ask(act, reason, doing, false)?;
    if doing.json {
        out.json(&done)?;
    } else {
        writeln!(out, "\ndone, and written down")?;
    }
    Ok(exit::OK)
}

fn effect_lines(effect: &Value, out: &mut Out) -> std::io::Result<()> {
    for line in items(effect, "text").iter().filter_map(Value::as_str) {
        writeln!(out, "{line}")?;
    }
    for child in items(effect, "children") {
        let (before, after) = (text(child, "before"), text(child, "after"));
        let before = if before.is_empty() { "new".to_owned() } else { before };
        writeln!(out, "child     {}: {before} -> {after} (version {})", text(child, "child"), text(child, "version"))?;
    }
    let told: Vec<&str> = items(effect, "told").iter().filter_map(Value::as_str).collect();
    if told.is_empty() { writeln!(out, "told      nobody") } else { writeln!(out, "told      {}", told.join(", ")) }
}

fn ask(act: DeskAct, reason: &str, doing: &Doing, is_trial: bool) -> Result<Value, Failure> {
    if doing.data.is_none() && doing.config.is_none() {
        let request = Request::post("/api/v1/identity", json!({ "act": act, "reason": reason.trim(), "trial": is_trial }));
        return source::call(&doing.admin, &request);
    }
    let arguments = Arguments { data: doing.data.clone(), ..Arguments::default() };
    let (settings, _warnings) = source::usable(doing.config.as_deref(), &arguments)?;
    super::run::follow_test_clock(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::SYSTEM, error.to_string()))?;
    let effect = runtime
        .block_on(broker::desk::decide(&settings, act, reason.trim(), is_trial))
        .map_err(|error| Failure::new(error.exit, error.text))?;
    serde_json::to_value(&effect).map_err(|error| Failure::new(exit::BUG, error.to_string()))
}
