//! Commands about deliveries: receivers, held debts, sending again. All of them ask the running broker, which alone knows how a
//! receiver stands and alone may change what is owed.

use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::arguments::HeldRelease;
use super::arguments_deliveries::{DestList, DestOne, DestSteer, HeldDiscard, HeldEdit, Replay};
use super::hubs::running;
use super::output::{Out, counted, text};
use super::source::{self, Request};
use super::tables::items;
use super::{Failure, Outcome, exit};
use crate::store::ReplayQuery;

/// `dest list`.
pub fn list(list: &DestList, out: &mut Out) -> Outcome {
    let value = running(source::call(&list.door.admin, &Request::get("/api/v1/destinations")))?;
    if list.door.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let heads = ["destination", "kind", "state", "pending", "lanes", "oldest", "held", "a minute", "last success", "last failure"];
    let rows: Vec<Vec<String>> = value.as_array().into_iter().flatten().map(row).collect();
    out.table(&heads, &rows)?;
    for one in value.as_array().into_iter().flatten() {
        remarks(one, out)?;
    }
    Ok(exit::OK)
}

fn row(one: &Value) -> Vec<String> {
    let now = one.get("now").unwrap_or(&Value::Null);
    let held: i64 = items(one, "held").iter().filter_map(|group| group.get("debts").and_then(Value::as_i64)).sum();
    let failure = [text(one, "last_failure"), text(one, "last_failure_why")].join(" ").trim().to_owned();
    vec![
        text(one, "destination"),
        text(now, "kind"),
        text(one, "state"),
        text(one, "pending"),
        text(one, "lanes"),
        age(one.get("oldest_seconds").and_then(Value::as_i64)),
        held.to_string(),
        text(now, "rate_per_minute"),
        text(one, "last_success"),
        failure,
    ]
}

/// `90 s`, `15 min`, `4 h`, `7 d`: rounded down.
fn age(seconds: Option<i64>) -> String {
    match seconds {
        None => String::new(),
        Some(seconds) if seconds < 120 => format!("{seconds} s"),
        Some(seconds) if seconds < 7_200 => format!("{} min", seconds / 60),
        Some(seconds) if seconds < 172_800 => format!("{} h", seconds / 3_600),
        Some(seconds) => format!("{} d", seconds / 86_400),
    }
}

fn remarks(one: &Value, out: &mut Out) -> std::io::Result<()> {
    let (name, now) = (text(one, "destination"), one.get("now").unwrap_or(&Value::Null));
    let paused = text(one, "paused");
    if !paused.is_empty() {
        writeln!(out, "{name}: paused since {paused}: {}", text(one, "pause_reason"))?;
    }
    let away = text(now, "away_since");
    if !away.is_empty() {
        writeln!(out, "{name}: away since {away} ({}): one lane at a time is tried", text(now, "circuit"))?;
    }
    let window = text(now, "window_ends");
    if !window.is_empty() {
        writeln!(out, "{name}: its window ends at {window}")?;
    }
    let late = text(now, "late_since");
    if !late.is_empty() {
        let limit = text(now, "alarm_after_seconds");
        if now.get("late_behind_held") == Some(&Value::Bool(true)) {
            writeln!(out, "{name}: debts wait behind held ones for more than {limit} s, since {late}; release or discard what is held")?;
        } else {
            writeln!(out, "{name}: its oldest debt is older than {limit} s, since {late}")?;
        }
    }
    let behind = one.get("behind_held").and_then(Value::as_i64).unwrap_or_default();
    if 0 < behind {
        writeln!(out, "{name}: {behind} of those that wait are behind a held debt of the same child")?;
    }
    for group in items(one, "held") {
        writeln!(out, "{name}: {} held for {:?} since {}", text(group, "debts"), text(group, "why"), text(group, "since"))?;
    }
    Ok(())
}

/// `dest show`.
pub fn show(one: &DestOne, out: &mut Out) -> Outcome {
    let value = running(source::call(&one.door.admin, &Request::get(path(&one.name, ""))))?;
    if one.door.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let now = value.get("now").unwrap_or(&Value::Null);
    writeln!(out, "receiver  {}  {}, {}", text(&value, "destination"), text(now, "kind"), text(&value, "state"))?;
    let oldest = age(value.get("oldest_seconds").and_then(Value::as_i64));
    let oldest = if oldest.is_empty() { String::new() } else { format!(", the oldest {oldest} old") };
    writeln!(out, "waiting   {} debts of {} children{oldest}", text(&value, "pending"), text(&value, "lanes"))?;
    writeln!(out, "lanes     {} under way, {} back off", text(now, "flying"), text(now, "resting"))?;
    writeln!(out, "taken     {} in the last minute, last at {}", text(now, "rate_per_minute"), text(&value, "last_success"))?;
    writeln!(out, "failed    last at {} {}", text(&value, "last_failure"), text(&value, "last_failure_why"))?;
    remarks(&value, out)?;
    let keys = ["debt", "seq", "state", "attempts", "made", "why"];
    let rows: Vec<Vec<String>> = items(&value, "debts").iter().map(|debt| keys.iter().map(|key| text(debt, key)).collect()).collect();
    if !rows.is_empty() {
        writeln!(out, "\nthe oldest that wait, and the oldest that are held; `msg trace MSG` shows the attempts at each")?;
        out.table(&["debt", "msg", "state", "attempts", "made", "why"], &rows)?;
    }
    Ok(exit::OK)
}

fn path(name: &str, verb: &str) -> String {
    // A name that is no name is refused by the broker; here it only must not be another path.
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(c)).collect();
    if verb.is_empty() { format!("/api/v1/destinations/{name}") } else { format!("/api/v1/destinations/{name}/{verb}") }
}

/// `dest pause`, `dest resume`.
pub fn steer(steer: &DestSteer, verb: &str, out: &mut Out) -> Outcome {
    let reason = said(steer.reason.as_deref(), steer.dry_run)?;
    let ask = |dry_run: bool| {
        let body = json!({ "reason": reason, "dry_run": dry_run });
        running(source::call(&steer.door.admin, &Request::post(path(&steer.name, verb), body)))
    };
    let mut effect = ask(true)?;
    let is_same = text(&effect, "was") == text(&effect, "then");
    if !steer.door.json {
        writeln!(out, "{}  {} → {}", steer.name, text(&effect, "was"), text(&effect, "then"))?;
        let oldest = text(&effect, "oldest");
        let since = if oldest.is_empty() { String::new() } else { format!(", the oldest since {oldest}") };
        writeln!(out, "waiting   {} debts{since}", text(&effect, "pending"))?;
        out.flush()?;
    }
    if !steer.dry_run && !is_same {
        effect = ask(false)?;
    }
    if steer.door.json {
        out.json(&effect)?;
    } else if is_same {
        writeln!(out, "it is {} already; nothing was done", text(&effect, "then"))?;
    } else {
        writeln!(out, "{}", if steer.dry_run { "nothing was done" } else { "done; `dest list` shows it" })?;
    }
    Ok(exit::OK)
}

fn said(reason: Option<&str>, dry_run: bool) -> Result<String, Failure> {
    let reason = reason.unwrap_or_default().trim().to_owned();
    if !dry_run && reason.is_empty() {
        return Err(Failure::new(exit::USAGE, "--reason is not empty"));
    }
    Ok(reason)
}

/// `dest test`.
pub fn test(one: &DestOne, out: &mut Out) -> Outcome {
    let value = running(source::call(&one.door.admin, &Request::post(path(&one.name, "test"), json!({}))))?;
    let is_well = value.get("ok") == Some(&Value::Bool(true));
    if one.door.json {
        out.json(&value)?;
    } else {
        for step in items(&value, "steps") {
            let outcome = step.get("outcome").unwrap_or(&Value::Null);
            let (sign, what) = match outcome.get("Ok") {
                Some(_) => ("[+]", text(outcome, "Ok")),
                None => ("[-]", text(outcome, "Err")),
            };
            writeln!(out, "{sign} {}: {what}, {} ms", text(step, "step"), text(step, "milliseconds"))?;
        }
        writeln!(
            out,
            "{}",
            if is_well { "a delivery would get through so far; nothing of a child was sent" } else { "deliveries do not get through" }
        )?;
    }
    Ok(if is_well { exit::OK } else { exit::FOUND })
}

/// `held discard`.
pub fn discard(discard: &HeldDiscard, out: &mut Out) -> Outcome {
    let reason = said(discard.reason.as_deref(), discard.dry_run)?;
    let by = discard.by.as_deref().unwrap_or_default().trim();
    if !discard.dry_run && by.is_empty() {
        return Err(Failure::new(exit::USAGE, "--by is not empty"));
    }
    let body = json!({ "act": "discard", "debt": discard.debt, "destination": discard.destination, "why": discard.why, "by": by, "reason": reason });
    held((&discard.door.admin, discard.door.json), body, discard.dry_run, "withdrawn", out)
}

/// `held edit`.
pub fn edit(edit: &HeldEdit, out: &mut Out) -> Outcome {
    let reason = said(edit.reason.as_deref(), edit.dry_run)?;
    let unread = |error: std::io::Error| Failure::new(exit::MISSING, format!("{} cannot be read: {error}", edit.file.display()));
    let copy = BASE64_STANDARD.encode(std::fs::read(&edit.file).map_err(unread)?);
    let ask = |dry_run: bool| {
        let body = json!({ "body": copy, "reason": reason, "dry_run": dry_run });
        running(source::call(&edit.door.admin, &Request::post(format!("/api/v1/held/{}/edit", edit.seq), body)))
    };
    let mut effect = ask(true)?;
    if !edit.door.json {
        let words = match text(&effect, "read").as_str() {
            "file" => "is read without a doubt and filed, where its child is certain".to_owned(),
            "hold" => format!("is held again: {}", text(&effect, "why")),
            _ => format!("is ignored: {}", text(&effect, "why")),
        };
        writeln!(out, "the copy of message {} {words}", edit.seq)?;
        out.flush()?;
    }
    if !edit.dry_run {
        effect = ask(false)?;
    }
    if edit.door.json {
        out.json(&effect)?;
    } else if edit.dry_run {
        writeln!(out, "nothing was done")?;
    } else {
        writeln!(
            out,
            "message {} is set aside, its copy is message {}; `msg trace` of each names the other",
            edit.seq,
            text(&effect, "copy")
        )?;
    }
    Ok(exit::OK)
}

/// `held release --destination`.
pub fn release_group(release: &HeldRelease, out: &mut Out) -> Outcome {
    let reason = said(Some(&release.reason), release.dry_run)?;
    let body = json!({ "act": "release", "destination": release.destination, "why": release.why, "reason": reason });
    held((&release.admin, release.json), body, release.dry_run, "released", out)
}

/// Shows what an act on held debts does, and does it.
fn held((admin, is_json): (&str, bool), mut body: Value, dry_run: bool, done: &str, out: &mut Out) -> Outcome {
    let mut ask = |dry_run: bool| {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("dry_run".to_owned(), json!(dry_run));
        }
        running(source::call(admin, &Request::post("/api/v1/debts", body.clone())))
    };
    let mut effect = ask(true)?;
    if !is_json {
        for group in items(&effect, "groups") {
            let (name, why) = (text(group, "destination"), text(group, "why"));
            writeln!(out, "{name}  {} held for {why:?} since {}", text(group, "debts"), text(group, "since"))?;
        }
        writeln!(out, "lanes     {} go on; {} later debts waited behind", text(&effect, "lanes"), text(&effect, "behind"))?;
        out.flush()?;
    }
    if !dry_run {
        effect = ask(false)?;
    }
    if is_json {
        out.json(&effect)?;
    } else if dry_run {
        writeln!(out, "nothing was done")?;
    } else {
        let count = effect.get("debts").and_then(Value::as_u64).unwrap_or_default();
        writeln!(out, "{} {done}", counted(usize::try_from(count).unwrap_or(usize::MAX), "debt"))?;
    }
    Ok(exit::OK)
}

/// `replay`.
pub fn replay(replay: &Replay, out: &mut Out) -> Outcome {
    if replay.mapping.is_some() {
        let text = "--mapping: replay sends what was filed, and reads no message anew: another reading is another event, and the receiver would have both. \
            `--render current` renders the filed events anew by this program; `map try` shows how a message is read now; what its sender sends again \
            is read by the mapping of now. Leave out --mapping";
        return Err(Failure::new(exit::USAGE, text));
    }
    let reason = said(replay.reason.as_deref(), replay.dry_run)?;
    let query: ReplayQuery = replay.query.parse().map_err(|text| Failure::new(exit::USAGE, format!("--query: {text}")))?;
    let order =
        json!({ "query": query, "to": replay.to, "fresh": replay.render.is_some(), "force": replay.force, "per_second": replay.rate });
    let ask = |dry_run: bool| {
        let body = json!({ "order": order, "reason": reason, "dry_run": dry_run });
        running(source::call(&replay.door.admin, &Request::post("/api/v1/replays", body)))
    };
    let mut value = ask(true)?;
    if !replay.door.json {
        let plan = value.get("plan").unwrap_or(&Value::Null);
        writeln!(out, "{} events fit the query", text(plan, "events"))?;
        let keys = ["destination", "send", "has", "owed", "forbidden"];
        let rows: Vec<Vec<String>> =
            items(plan, "destinations").iter().map(|line| keys.iter().map(|key| text(line, key)).collect()).collect();
        out.table(&["destination", "sent again", "has it", "waits already", "may not be said"], &rows)?;
        out.flush()?;
    }
    if !replay.dry_run {
        value = ask(false)?;
    }
    if replay.door.json {
        out.json(&value)?;
    } else if replay.dry_run {
        writeln!(out, "\nnothing was done")?;
    } else {
        let job = text(&value, "job");
        writeln!(out, "\njob {job} sends them, {} a second; `jobs show {job}` shows how far it is", replay.rate)?;
    }
    Ok(exit::OK)
}
