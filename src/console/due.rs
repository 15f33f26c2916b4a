//! What is late or near, and why, as JSON: for `due list`, `due explain` and the admin door.
//!
//! # What always holds
//!
//! - Masked, no date is shown: a day on which a result is due is a date of birth. Our ids, the clocks and where they stand are shown.
//!
//! # Not here
//!
//! Judging: [`crate::failsafe`]. What was kept when children were looked at: the store.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::hubs::hub_of;
use super::mask;
use super::sight::{Gate, Sight, sealed};
use super::views::{Charset, ViewError, no_child};
use crate::broker::failsafe::Watching;
use crate::failsafe::day::end_of;
use crate::failsafe::{self, CLOCKS, Clock, Facts, Said};
use crate::names::{ChildId, HubName, Seq};
use crate::store::{LedgerReader, Look};

/// What is asked of a hub's children.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The hub.
    pub hub: String,
    /// At the end of this day; without one as it stands now.
    pub day: Option<String>,
    /// Only this clock.
    pub clock: Option<String>,
}

/// Dates and words that tell more of a child than that something is late.
const HIDDEN: &[&str] = &["started", "listed_at", "warn_at", "due_at", "breach_at", "missed_at", "closes_at", "reason"];

/// Clocks of a hub's children that are late or near.
pub fn list(reader: &LedgerReader, watching: &Watching, asked: &Asked, sight: Sight) -> Result<Value, ViewError> {
    reader.keeps_clocks()?;
    let directory = watching.directory.load();
    let hub = &hub_of(&directory, &asked.hub)?;
    if let Some(clock) = &asked.clock {
        clock_is_known(watching, clock)?;
    }
    let mut rows = match &asked.day {
        None => kept(reader, hub, asked.clock.as_deref())?,
        Some(day) => {
            let day: Date = day.parse().map_err(|_| ViewError::Asked("the day is written 2026-01-05".into()))?;
            judged(reader, watching, hub, (end_of(day), asked.clock.as_deref()))?
        }
    };
    let gate = Gate::new(reader, &|_| None, sight);
    let mut open = Vec::new();
    for row in rows.as_array_mut().into_iter().flat_map(std::mem::take) {
        match row.get("child").and_then(Value::as_str).and_then(|child| child.parse().ok()) {
            Some(child) if !gate.is_sealed(ChildId(child))? => open.push(row),
            _ => {}
        }
    }
    let mut rows = Value::from(open);
    if sight.is_masked() {
        mask::hide(&mut rows, HIDDEN);
    }
    Ok(json!({ "hub": hub, "day": asked.day, "clocks": rows }))
}

fn clock_is_known(watching: &Watching, clock: &str) -> Result<(), ViewError> {
    let rules = watching.rules.load();
    let is_dose = clock.strip_prefix("IMM_").is_some_and(|id| rules.schedule.rows.iter().any(|row| row.id == id));
    let is_ours = ["IMM_UNKNOWN", "IMM_UNDATED", "BIRTH_DATE"].contains(&clock);
    if is_dose || is_ours || CLOCKS.contains(&clock) {
        return Ok(());
    }
    let text = format!("there is no clock {clock:?}; one of: {}, or IMM_ with the id of a dose of schedule.toml", CLOCKS.join(", "));
    Err(ViewError::Asked(text))
}

fn kept(reader: &LedgerReader, hub: &HubName, clock: Option<&str>) -> Result<Value, ViewError> {
    let rows = reader.open_clocks(hub, clock)?.into_iter().map(|row| {
        let open = row.clock;
        json!({ "child": row.child, "clock": open.kind, "state": open.state, "owner": open.owner, "started": open.started,
            "warn_at": open.warn_at, "due_at": open.due_at, "breach_at": open.breach_at, "reason": open.reason })
    });
    Ok(rows.collect())
}

/// As it stands, with what is known now, just before `end`.
fn judged(reader: &LedgerReader, watching: &Watching, hub: &HubName, (end, kind): (Timestamp, Option<&str>)) -> Result<Value, ViewError> {
    let (rules, directory) = (watching.rules.load(), watching.directory.load());
    let now = end - jiff::SignedDuration::from_micros(1);
    let mut rows = Vec::new();
    for row in reader.children_to_judge(hub, now)? {
        let Some(look) = reader.look(row, &directory, &watching.stores)? else { continue };
        if look.facts.acting.as_ref() != Some(hub) {
            continue;
        }
        let listed = failsafe::clocks(&look.facts, &rules, now).clocks.into_iter();
        let listed = listed.filter(|clock| clock.is_listed(now) && kind.is_none_or(|kind| clock.kind == kind));
        rows.extend(listed.map(|clock| (clock.breach_at.or(clock.due_at), line(look.child, &clock))));
    }
    rows.sort_by_key(|(at, _)| at.unwrap_or(Timestamp::MAX));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn line(child: ChildId, clock: &Clock) -> Value {
    json!({ "child": child, "clock": clock.kind, "state": clock.state, "owner": clock.owner, "started": clock.started,
        "warn_at": clock.warn_at, "due_at": clock.due_at, "breach_at": clock.breach_at, "reason": clock.reason })
}

/// Why the clocks of a child stand as they do: the facts they were judged by, the rules with their sources, the dates, the history.
pub fn explain(
    reader: &LedgerReader,
    watching: &Watching,
    (child, clock): (ChildId, Option<&str>),
    (charset, sight): (Charset<'_>, Sight),
    now: Timestamp,
) -> Result<Value, ViewError> {
    reader.keeps_clocks()?;
    if let Some(clock) = clock {
        clock_is_known(watching, clock)?;
    }
    let mut gate = Gate::new(reader, charset, sight);
    if gate.is_sealed(child)? {
        return Ok(sealed(child));
    }
    let (rules, directory) = (watching.rules.load(), watching.directory.load());
    let row = reader.child_row(child)?.ok_or_else(|| no_child(child))?;
    let look: Look = reader.look(row, &directory, &watching.stores)?.ok_or_else(|| no_child(child))?;
    let watched = failsafe::clocks(&look.facts, &rules, now);
    let shown: Vec<&Clock> = watched.clocks.iter().filter(|one| clock.is_none_or(|kind| one.kind == kind)).collect();
    if let (Some(kind), true) = (clock, shown.is_empty()) {
        let text = format!("{kind} is not kept for this child: nothing on record begins it, or failsafe.toml does not watch it");
        return Err(ViewError::Missing(text));
    }
    let mut history = serde_json::to_value(reader.clock_history(row)?).unwrap_or_default();
    if let (Some(kind), Value::Array(steps)) = (clock, &mut history) {
        steps.retain(|step| step.get("kind").and_then(Value::as_str) == Some(kind));
    }
    let tasks: Vec<Value> = look.tasks.iter().filter(|task| clock.is_none_or(|kind| task.kind == kind)).map(task).collect();
    let mut value = json!({ "child": child, "hub": look.facts.acting, "next_change": watched.next_change, "clocks": shown, "tasks": tasks,
        "facts": facts(&look.facts), "history": history });
    gate.forget(&mut value)?;
    if sight.is_masked() {
        mask::hide(&mut value, HIDDEN);
        mask::hide(&mut value, &["at", "born", "next_change"]);
    }
    Ok(value)
}

fn task(task: &crate::store::OpenTask) -> Value {
    json!({ "task": task.id, "clock": task.kind, "hub": task.hub, "owner": task.owner, "escalation": task.escalation })
}

/// What the clocks were judged by, each with the message that said it.
fn facts(facts: &Facts) -> Vec<Value> {
    let mut lines = vec![
        json!({ "fact": "birth", "born": facts.record.child.birth.date.as_ref().map(|date| &date.value) }),
        json!({ "fact": "first heard of", "at": facts.first_known }),
    ];
    let mut add = |fact: &str, seq: Seq, at: Timestamp| lines.push(json!({ "fact": fact, "msg": seq, "at": at }));
    facts.births.iter().for_each(|told| add(if told.is_national { "birth told by the Spine" } else { "birth told" }, told.seq, told.at));
    fn each<T>(fact: &str, said: &[Said<T>], add: &mut impl FnMut(&str, Seq, Timestamp)) {
        said.iter().for_each(|said| add(fact, said.seq, said.at));
    }
    each("blood spot sample", &facts.blood_spots, &mut add);
    each("hearing screen", &facts.hearing, &mut add);
    each("physical examination", &facts.nipe, &mut add);
    each("vaccination", &facts.immunisations, &mut add);
    each("review", &facts.reviews, &mut add);
    each("appointment", &facts.appointments, &mut add);
    each("service", &facts.episodes, &mut add);
    each("observations", &facts.observations, &mut add);
    lines.extend(facts.stays.iter().map(|stay| json!({ "fact": format!("with hub {}", stay.hub), "at": stay.from })));
    lines.extend(facts.acknowledged.iter().map(|(hub, at)| json!({ "fact": format!("acknowledged by {hub}"), "at": at })));
    lines.extend(facts.closings.iter().map(|closing| json!({ "fact": format!("{} closed by a person", closing.kind), "at": closing.at })));
    lines
}
