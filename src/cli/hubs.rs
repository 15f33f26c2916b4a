//! Commands about hubs: who is responsible, decisions by hand, looking at everybody again, movers, births, jobs.

use std::io::Write;

use serde_json::{Value, json};

use super::arguments_hubs::{
    HubAssign, HubBirths, HubMovers, HubReassign, HubTaken, HubTimeline, JobsList, JobsShow, JobsSteer, ReconcileBirths,
};
use super::output::{Out, counted, text};
use super::read::{ask_with, rights};
use super::source::{self, Beside, Query, Request, Source, encoded};
use super::tables::items;
use super::{Failure, Outcome, exit};
use crate::clock;
use crate::console::hubs as views;
use crate::console::sight::{Rights, Sight};
use crate::names::ChildId;
use crate::store::LedgerReader;

/// What these commands read.
#[derive(Clone, Debug)]
pub enum HubQuery {
    /// Who was responsible for a child.
    Timeline(uuid::Uuid),
    /// Movers of a hub; taken on since a day too.
    Movers(Option<String>, Option<String>),
    /// The births list of a hub and day.
    Births(String, String),
    /// Births of which one side has not told, of a day and hub.
    Account(Option<String>, Option<String>),
    /// Jobs.
    Jobs,
    /// What looking at everybody again would change.
    Plan,
}

impl HubQuery {
    /// Out of a ledger, by the hubs and rules beside it.
    pub fn ask(&self, reader: &LedgerReader, sight: Sight, beside: &Beside) -> Result<Value, Failure> {
        let value = match self {
            Self::Timeline(child) => views::history(reader, ChildId(*child), &|_| None, sight),
            Self::Movers(hub, since) => views::movers(reader, &beside.directory()?, (hub.as_deref(), since.as_deref()), &|_| None),
            Self::Births(hub, day) => views::births(reader, &beside.directory()?, (hub, day), sight),
            Self::Account(day, hub) => {
                let watching = beside.watching()?;
                let rules = (&**watching.rules.load(), &**watching.directory.load());
                views::birth_account(reader, rules, (day.as_deref(), hub.as_deref()), clock::now())
            }
            Self::Jobs => views::jobs(reader),
            Self::Plan => {
                let plan = reader.reassign_plan(&beside.directory()?, crate::failsafe::day::date_of(clock::now()))?;
                return serde_json::to_value(plan).map_err(|error| Failure::new(exit::BUG, error.to_string()));
            }
        };
        Ok(value?)
    }

    /// On an admin door.
    pub fn path(&self) -> String {
        match self {
            Self::Timeline(child) => format!("/api/v1/children/{child}/hubs"),
            Self::Movers(hub, since) => format!("/api/v1/movers?{}", encoded(&[("hub", hub.clone()), ("since", since.clone())])),
            Self::Births(hub, day) => format!("/api/v1/births?{}", encoded(&[("hub", Some(hub.clone())), ("day", Some(day.clone()))])),
            Self::Account(day, hub) => format!("/api/v1/reconcile/births?{}", encoded(&[("day", day.clone()), ("hub", hub.clone())])),
            Self::Jobs => "/api/v1/jobs".to_owned(),
            Self::Plan => "/api/v1/hubs/reassign".to_owned(),
        }
    }

    /// What was looked at, for the audit.
    pub fn subject(&self) -> String {
        match self {
            Self::Timeline(child) => format!("hubs of child {child}"),
            Self::Births(hub, day) => format!("births list of {hub} for {day}"),
            Self::Movers(..) | Self::Account(..) | Self::Jobs | Self::Plan => "listing".to_owned(),
        }
    }
}

/// `hub timeline`.
pub fn timeline(timeline: &HubTimeline, out: &mut Out) -> Outcome {
    let query = Query::Hubs(HubQuery::Timeline(timeline.child));
    let value = ask_with(&timeline.from, &query, &timeline.reveal)?;
    if timeline.from.json {
        out.json(&value)?;
    } else if value.get("sealed").is_some() {
        writeln!(out, "child     {}  sealed; --sealed with --reveal REASON shows who was responsible", text(&value, "child"))?;
    } else {
        periods(items(&value, "hubs"), out)?;
    }
    Ok(exit::OK)
}

/// Who was responsible, a line each.
pub fn periods(periods: &[Value], out: &mut Out) -> std::io::Result<()> {
    for period in periods {
        let interested: Vec<&str> = items(period, "interested").iter().filter_map(Value::as_str).collect();
        let copies = if interested.is_empty() { String::new() } else { format!(", copies to {}", interested.join(", ")) };
        let to = text(period, "to");
        let to = if to.is_empty() { "now".to_owned() } else { to };
        let reason = text(period, "reason");
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let by = text(period, "seq");
        let by = if by.is_empty() { String::new() } else { format!(" by message {by}") };
        let (hub, basis, from) = (text(period, "hub"), text(period, "basis"), text(period, "from"));
        writeln!(out, "hub       {hub} ({basis}{reason}) from {from} to {to}, decided {}{by}{copies}", text(period, "at"))?;
    }
    Ok(())
}

/// `hub assign`.
pub fn assign(assign: &HubAssign, out: &mut Out) -> Outcome {
    let reason = assign.reason.clone().unwrap_or_default();
    if !assign.dry_run && reason.trim().is_empty() {
        return Err(Failure::new(exit::USAGE, "--reason is not empty"));
    }
    let path = format!("/api/v1/children/{}/hub", assign.child);
    let ask = |dry_run: bool| {
        let body = json!({ "hub": assign.hub, "from": assign.from_day, "dry_run": dry_run, "reason": reason });
        running(source::call(&assign.admin, &Request::post(path.clone(), body)))
    };
    let mut effect = ask(true)?;
    if !assign.json {
        let named = |key: &str| match effect.get(key) {
            Some(Value::Object(hub)) => {
                let hub = Value::Object(hub.clone());
                format!("{} ({})", text(&hub, "hub"), text(&hub, "basis"))
            }
            _ => "nobody".to_owned(),
        };
        writeln!(out, "child     {}", assign.child)?;
        writeln!(out, "now       {}", named("now"))?;
        let when =
            if effect.get("at_once") == Some(&Value::Bool(true)) { "at once".to_owned() } else { format!("on {}", text(&effect, "from")) };
        writeln!(out, "then      {}, {when}", named("then"))?;
        out.flush()?;
    }
    if !assign.dry_run {
        effect = ask(false)?;
    }
    if assign.json {
        out.json(&effect)?;
    } else {
        writeln!(out, "{}", if assign.dry_run { "nothing was done" } else { "done; `hub timeline` shows it" })?;
    }
    Ok(exit::OK)
}

/// `hub reassign`.
pub fn reassign(reassign: &HubReassign, out: &mut Out) -> Outcome {
    if !reassign.dry_run {
        let reason = reassign.reason.clone().unwrap_or_default();
        if reason.trim().is_empty() {
            return Err(Failure::new(exit::USAGE, "--reason is not empty"));
        }
        let value = running(source::call(&door(reassign)?, &Request::post("/api/v1/hubs/reassign", json!({ "reason": reason }))))?;
        if reassign.from.json {
            out.json(&value)?;
        } else {
            writeln!(out, "job {} looks at every child; `jobs list` shows how far it is", text(&value, "job"))?;
        }
        return Ok(exit::OK);
    }
    let plan = running(Source::of(&reassign.from)?.ask(&Query::Hubs(HubQuery::Plan), None))?;
    if reassign.from.json {
        out.json(&plan)?;
        return Ok(exit::OK);
    }
    let line = |line: &Value| {
        let examples: Vec<&str> = items(line, "examples").iter().filter_map(Value::as_str).collect();
        vec![text(line, "from"), text(line, "to"), text(line, "basis"), text(line, "count"), examples.join(" ")]
    };
    let rows: Vec<Vec<String>> = items(&plan, "changes").iter().map(line).collect();
    out.table(&["from", "to", "basis", "children", "first"], &rows)?;
    let (looked, moved, copies) = (text(&plan, "looked"), text(&plan, "moved"), text(&plan, "copies"));
    writeln!(out, "\n{looked} looked at: {moved} would go to another hub, {copies} more would change who gets copies; nothing was done")?;
    unread(&plan, "would be left out", out)?;
    Ok(exit::OK)
}

/// Names the children whose record cannot be read.
fn unread(of: &Value, what: &str, out: &mut Out) -> std::io::Result<()> {
    for child in items(of, "unread").iter().filter_map(Value::as_str) {
        writeln!(out, "child {child} {what}: its record cannot be read")?;
    }
    Ok(())
}

/// The admin door: as named, or as the configuration says.
fn door(reassign: &HubReassign) -> Result<String, Failure> {
    match (&reassign.from.admin, &reassign.from.config) {
        (Some(admin), _) => Ok(admin.clone()),
        (None, Some(config)) => Ok(format!("http://{}", source::settings(Some(config))?.admin.listen)),
        (None, None) => Ok("http://127.0.0.1:9464".to_owned()),
    }
}

pub(super) fn running(answer: Result<Value, Failure>) -> Result<Value, Failure> {
    answer.map_err(|failure| match failure.exit {
        exit::UNREACHABLE => Failure::new(exit::UNREACHABLE, format!("this needs the running broker: {}", failure.text)),
        _ => failure,
    })
}

/// `hub movers`.
pub fn movers(movers: &HubMovers, out: &mut Out) -> Outcome {
    let query = Query::Hubs(HubQuery::Movers(movers.hub.clone(), movers.since.clone()));
    let value = Source::of(&movers.from)?.ask(&query, None)?;
    if movers.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let keys = ["child", "way", "hub", "since", "seq", "why", "taken_by", "taken"];
    let rows: Vec<Vec<String>> =
        value.as_array().into_iter().flatten().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    out.table(&["child", "way", "hub", "since", "msg", "why", "taken by", "taken"], &rows)?;
    Ok(exit::OK)
}

/// `hub taken`.
pub fn taken(taken: &HubTaken, out: &mut Out) -> Outcome {
    if taken.reason.trim().is_empty() || taken.by.trim().is_empty() {
        return Err(Failure::new(exit::USAGE, "neither --by nor --reason is empty"));
    }
    let path = format!("/api/v1/children/{}/taken", taken.child);
    let value = running(source::call(&taken.admin, &Request::post(path, json!({ "by": taken.by, "reason": taken.reason }))))?;
    if taken.json {
        out.json(&value)?;
    } else {
        writeln!(out, "child {} is with {} now", taken.child, taken.by.trim())?;
    }
    Ok(exit::OK)
}

/// `hub births`.
pub fn births(births: &HubBirths, out: &mut Out) -> Outcome {
    let query = Query::Hubs(HubQuery::Births(births.hub.clone(), births.day.clone()));
    let right = Rights { sealed: births.reveal.sealed, ..rights(false, births.location) };
    let value = Source::of(&births.from)?.ask_as(&query, births.reveal.reveal.as_deref(), right)?;
    if births.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let keys = ["section", "child", "nhs_number", "family", "given", "born", "place", "postcode", "practice", "hub", "basis", "status"];
    let rows: Vec<Vec<String>> = items(&value, "births").iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    out.table(&keys, &rows)?;
    let unknown = items(&value, "unknown").len();
    writeln!(out, "\n{} on {} for {}, made {}", counted(rows.len(), "birth"), births.day, births.hub, text(&value, "made"))?;
    if 0 < unknown {
        writeln!(out, "{unknown} children belong to no hub that anybody knows: look at their addresses")?;
    }
    for birth in items(&value, "unread") {
        writeln!(out, "child {} is on no list: its record cannot be read", text(birth, "child"))?;
    }
    Ok(exit::OK)
}

/// `reconcile births`.
pub fn account(asked: &ReconcileBirths, out: &mut Out) -> Outcome {
    let query = Query::Hubs(HubQuery::Account(asked.day.clone(), asked.hub.clone()));
    let value = Source::of(&asked.from)?.ask(&query, None)?;
    let is_late = items(&value, "births").iter().any(|birth| text(birth, "state") != "waiting");
    if asked.from.json {
        out.json(&value)?;
    } else {
        let table = |key: &str, keys: &[&str]| -> Vec<Vec<String>> {
            items(&value, key).iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect()
        };
        let sites = ["site", "told_by", "waiting", "late", "overdue"];
        out.table(&sites, &table("sites", &sites))?;
        writeln!(out)?;
        let births = ["child", "told_by", "site", "hub", "since", "hours", "state", "seq"];
        out.table(&births, &table("births", &births))?;
        writeln!(out, "\nof these births only one side told")?;
        for (state, key) in [("late", "late_after_hours"), ("overdue", "overdue_after_hours")] {
            match text(&value, key) {
                hours if hours.is_empty() => writeln!(out, "when the other is {state} failsafe.toml says (BIRTH_NOTIF)")?,
                hours => writeln!(out, "the other is {state} after {hours} hours")?,
            }
        }
    }
    Ok(if is_late { exit::FOUND } else { exit::OK })
}

/// `jobs list`.
pub fn jobs(list: &JobsList, out: &mut Out) -> Outcome {
    let value = Source::of(&list.from)?.ask(&Query::Hubs(HubQuery::Jobs), None)?;
    if list.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let keys = ["job", "kind", "state", "looked", "total", "changed", "begun", "ended", "reason"];
    let rows: Vec<Vec<String>> =
        value.as_array().into_iter().flatten().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    out.table(&keys, &rows)?;
    for job in value.as_array().into_iter().flatten() {
        unread(job, &format!("was left out by job {}", text(job, "job")), out)?;
    }
    Ok(exit::OK)
}

/// `jobs show`.
pub fn job(one: &JobsShow, out: &mut Out) -> Outcome {
    let value = Source::of(&one.from)?.ask(&Query::Hubs(HubQuery::Jobs), None)?;
    let found = value.as_array().into_iter().flatten().find(|job| job.get("job").and_then(Value::as_i64) == Some(one.job));
    let Some(job) = found else {
        return Err(Failure::new(exit::MISSING, format!("there is no job {} among the newest hundred", one.job)));
    };
    if one.from.json {
        out.json(job)?;
        return Ok(exit::OK);
    }
    writeln!(out, "job       {}  {}, {}: {}", text(job, "job"), text(job, "kind"), text(job, "state"), text(job, "reason"))?;
    writeln!(out, "begun     {}  ended {}", text(job, "begun"), text(job, "ended"))?;
    writeln!(out, "looked at {} of {}, {} changed", text(job, "looked"), text(job, "total"), text(job, "changed"))?;
    if let Some(replay) = job.get("replay").filter(|replay| replay.is_object()) {
        let order = replay.get("order").unwrap_or(&Value::Null);
        let fits = order.get("query").and_then(Value::as_object).into_iter().flatten();
        let query: Vec<String> =
            fits.filter(|(_, value)| !value.is_null()).map(|(key, value)| format!("{key}={value}").replace('"', "")).collect();
        writeln!(out, "query     {}", query.join(" "))?;
        let to = text(order, "to");
        let to = if to.is_empty() { "those to whom each was owed".to_owned() } else { to };
        writeln!(out, "to        {to}, {} a second", text(order, "per_second"))?;
        writeln!(
            out,
            "made      {} debts: {} taken, {} not paid yet",
            text(job, "changed"),
            text(replay, "delivered"),
            text(replay, "pending")
        )?;
        let (has, owed, forbidden) = (text(replay, "has"), text(replay, "owed"), text(replay, "forbidden"));
        writeln!(out, "left out  {has} the receiver has, {owed} wait already, {forbidden} may not be said")?;
    }
    unread(job, &format!("was left out by job {}", one.job), out)?;
    Ok(exit::OK)
}

/// `jobs pause`, `jobs resume`, `jobs cancel`.
pub fn steer(steer: &JobsSteer, verb: &str, out: &mut Out) -> Outcome {
    if steer.reason.trim().is_empty() {
        return Err(Failure::new(exit::USAGE, "--reason is not empty"));
    }
    let path = format!("/api/v1/jobs/{}/{verb}", steer.job);
    let value = running(source::call(&steer.admin, &Request::post(path, json!({ "reason": steer.reason }))))?;
    if steer.json {
        out.json(&value)?;
    } else {
        writeln!(out, "job {} is {}", steer.job, text(&value, "state"))?;
    }
    Ok(exit::OK)
}
