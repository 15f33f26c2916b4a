//! `due`: what is late or near, why, and a clock that a person ends.

use std::io::Write;

use serde_json::{Value, json};

use super::arguments::{DueClose, DueExplain, DueList};
use super::output::{Out, counted, text};
use super::read::ask_with;
use super::source::{self, Beside, Query, Request, encoded};
use super::tables::items;
use super::{Failure, Outcome, exit};
use crate::clock;
use crate::console::due::{self, Asked};
use crate::console::sight::Sight;
use crate::names::ChildId;
use crate::store::LedgerReader;

/// What these commands read.
#[derive(Clone, Debug)]
pub enum DueQuery {
    /// What is late or near of a hub's children.
    List(Asked),
    /// Why the clocks of a child stand as they do: all, or one.
    Explain(uuid::Uuid, Option<String>),
}

impl DueQuery {
    /// Out of a ledger, by the hubs and rules beside it.
    pub fn ask(&self, reader: &LedgerReader, sight: Sight, beside: &Beside) -> Result<Value, Failure> {
        let watching = beside.watching()?;
        Ok(match self {
            Self::List(asked) => due::list(reader, &watching, asked, sight)?,
            Self::Explain(child, clock) => {
                due::explain(reader, &watching, (ChildId(*child), clock.as_deref()), (&|_| None, sight), clock::now())?
            }
        })
    }

    /// On an admin door.
    pub fn path(&self) -> String {
        match self {
            Self::List(asked) => {
                let Asked { hub, day, clock } = asked.clone();
                format!("/api/v1/due?{}", encoded(&[("hub", Some(hub)), ("day", day), ("clock", clock)]))
            }
            Self::Explain(child, clock) => format!("/api/v1/children/{child}/clocks?{}", encoded(&[("clock", clock.clone())])),
        }
    }

    /// What was looked at, for the audit.
    pub fn subject(&self) -> String {
        match self {
            Self::List(asked) => format!("due list of hub {}", asked.hub),
            Self::Explain(child, _) => format!("clocks of child {child}"),
        }
    }
}

/// `due list`.
pub fn list(list: &DueList, out: &mut Out) -> Outcome {
    let asked = Asked { hub: list.hub.clone(), day: list.day.clone(), clock: list.clock.clone() };
    let value = ask_with(&list.from, &Query::Due(DueQuery::List(asked)), &list.reveal)?;
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
    let query = Query::Due(DueQuery::Explain(explain.child, explain.clock.clone()));
    let value = ask_with(&explain.from, &query, &explain.reveal)?;
    if explain.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    show(&value, out)?;
    Ok(exit::OK)
}

fn show(value: &Value, out: &mut Out) -> std::io::Result<()> {
    if value.get("sealed").is_some() {
        return writeln!(out, "child     {}  sealed; --sealed with --reveal REASON shows its clocks", text(value, "child"));
    }
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
