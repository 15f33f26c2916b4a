//! `due`: what is late or near, why, and a clock that a person ends.

use std::io::Write;

use serde_json::{Value, json};

use super::arguments::{DueClose, DueExplain, DueList, From};
use super::output::{Out, counted, text};
use super::source::{self, Request, Source};
use super::tables::items;
use super::{Failure, Outcome, exit};
use crate::broker::failsafe::Watching;
use crate::clock;
use crate::config;
use crate::console::due::{self, Asked};
use crate::console::views::Sight;
use crate::names::ChildId;
use crate::store::LedgerReader;

/// `due list`.
pub fn list(list: &DueList, out: &mut Out) -> Outcome {
    let asked = Asked { hub: list.hub.clone(), day: list.day.clone(), clock: list.clock.clone() };
    let reveal = list.reveal.reveal.as_deref();
    let value = match Source::of(&list.from)? {
        Source::Ledger(data) => {
            let sight = sight(&data, &format!("due list of hub {}", list.hub), reveal)?;
            due::list(&LedgerReader::open(&data)?, &watching(&list.from)?, &asked, sight)?
        }
        Source::Admin(base) => {
            let pairs = [("hub", Some(asked.hub)), ("day", asked.day), ("clock", asked.clock)];
            let request = Request { reveal: reveal.map(str::to_owned), ..Request::get(format!("/api/v1/due?{}", source::encoded(&pairs))) };
            source::call(&base, &request)?
        }
    };
    if list.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let row = |row: &Value| ["child", "clock", "state", "owner", "breach_at", "reason"].iter().map(|key| text(row, key)).collect();
    let rows: Vec<Vec<String>> = items(&value, "clocks").iter().map(row).collect();
    out.table(&["child", "clock", "state", "owner", "late from", "reason"], &rows)?;
    writeln!(out, "{} of hub {}", counted(rows.len(), "clock"), text(&value, "hub"))?;
    Ok(exit::OK)
}

/// `due explain`.
pub fn explain(explain: &DueExplain, out: &mut Out) -> Outcome {
    let reveal = explain.reveal.reveal.as_deref();
    let value = match Source::of(&explain.from)? {
        Source::Ledger(data) => {
            let sight = sight(&data, &format!("clocks of child {}", explain.child), reveal)?;
            let asked = (ChildId(explain.child), explain.clock.as_deref());
            due::explain(&LedgerReader::open(&data)?, &watching(&explain.from)?, asked, sight, clock::now())?
        }
        Source::Admin(base) => {
            let pairs = source::encoded(&[("clock", explain.clock.clone())]);
            let request = Request::get(format!("/api/v1/children/{}/clocks?{pairs}", explain.child));
            source::call(&base, &Request { reveal: reveal.map(str::to_owned), ..request })?
        }
    };
    if explain.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    show(&value, out)?;
    Ok(exit::OK)
}

fn show(value: &Value, out: &mut Out) -> std::io::Result<()> {
    writeln!(out, "child     {}  hub {}", text(value, "child"), text(value, "hub"))?;
    for clock in items(value, "clocks") {
        let by = text(clock, "satisfied_by");
        let by = if by.is_empty() { String::new() } else { format!(" by message {by}") };
        writeln!(out, "\n{}  {}{by}: {}", text(clock, "kind"), text(clock, "state"), text(clock, "reason"))?;
        writeln!(out, "  {}; asked of {}", text(clock, "title"), text(clock, "owner"))?;
        let dates = ["started", "warn_at", "due_at", "breach_at", "missed_at", "closes_at"].iter();
        let dates: Vec<String> =
            dates.filter(|key| !text(clock, key).is_empty()).map(|key| format!("{key} {}", text(clock, key))).collect();
        writeln!(out, "  {}", dates.join(", "))?;
        writeln!(out, "  rule: {}", text(clock, "source"))?;
    }
    writeln!(out, "\nfacts")?;
    for fact in items(value, "facts") {
        let msg = text(fact, "msg");
        let msg = if msg.is_empty() { String::new() } else { format!("  message {msg}") };
        writeln!(out, "  {}{msg}  {}{}", text(fact, "fact"), text(fact, "at"), text(fact, "born"))?;
    }
    for task in items(value, "tasks") {
        let (number, clock, owner, level) = (text(task, "task"), text(task, "clock"), text(task, "owner"), text(task, "escalation"));
        writeln!(out, "task {number}  {clock}  {owner} of hub {}, escalation {level}", text(task, "hub"))?;
    }
    for step in items(value, "history") {
        let (kind, was, became) = (text(step, "kind"), text(step, "was"), text(step, "became"));
        writeln!(out, "{}  {kind}: {was} -> {became}  {}", text(step, "at"), text(step, "reason"))?;
    }
    Ok(())
}

/// `due close`: shows what it does, and does it unless it was only asked.
pub fn close(close: &DueClose, out: &mut Out) -> Outcome {
    let base = close.admin.trim_end_matches('/');
    let body = json!({ "reason": close.reason, "dry_run": close.dry_run });
    let value = source::call(base, &Request::post(format!("/api/v1/children/{}/clocks/{}/close", close.child, close.clock), body))?;
    if close.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let done = if close.dry_run { "would end" } else { "ended" };
    writeln!(out, "{} of child {} {done}; it was {}", close.clock, close.child, text(&value, "was"))?;
    Ok(exit::OK)
}

fn sight(data: &std::path::Path, what: &str, reveal: Option<&str>) -> Result<Sight, Failure> {
    match reveal {
        Some(reason) if reason.trim().is_empty() => Err(Failure::new(exit::USAGE, "--reveal needs a reason")),
        Some(reason) => source::write_down(data, what, reason).map(|()| Sight::Revealed),
        None => Ok(Sight::Masked),
    }
}

/// Rules and hubs as the settings name them; those inside the program where only a folder was named.
fn watching(from: &From) -> Result<Watching, Failure> {
    let settings = match from.config.as_deref() {
        Some(file) => source::settings(Some(file))?,
        None => source::settings(None)?,
    };
    let text = |mistakes: Vec<String>| Failure::new(exit::CONFIG, mistakes.join("\n"));
    let rules = config::failsafe(&settings).map_err(|errors| text(errors.iter().map(ToString::to_string).collect()))?;
    let directory = config::directory(&settings).map_err(|errors| text(errors.iter().map(ToString::to_string).collect()))?;
    Ok(Watching::of(rules, directory, settings.stores()))
}
