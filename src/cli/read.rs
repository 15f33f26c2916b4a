//! The reading commands, and the two acts that a running broker does for them.

use std::io::{Read, Write};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::arguments::{
    Child, From, HeldFormat, HeldList, HeldRelease, MsgDocument, MsgExplain, MsgList, MsgOne, MsgShow, Reconcile, Reload, Reveal, Status,
};
use super::identity::ChildCommand;
use super::output::{Out, text};
use super::source::{self, Query, Request, Source};
use super::tables::{self, is_balanced, items};
use super::{Failure, Outcome, exit};
use crate::console::sight::Rights;
use crate::store::EntryFilter;

/// `msg list`.
pub fn list(list: &MsgList, out: &mut Out) -> Outcome {
    let words = ["waiting", "filed", "held", "refused", "duplicate", "ignored"];
    if let Some(standing) = list.standing.as_deref().filter(|standing| !words.contains(standing)) {
        return Err(Failure::new(exit::USAGE, format!("no message stands `{standing}`; one of: {}", words.join(", "))));
    }
    let filter = EntryFilter {
        source: list.source.clone(),
        standing: list.standing.clone(),
        kind: list.kind.clone(),
        limit: Some(list.limit),
        before: list.before,
    };
    let right = rights(list.safeguarding, false);
    let value = Source::of(&list.from)?.ask_as(&Query::Entries(filter), list.reveal.reveal.as_deref(), right)?;
    if list.from.json {
        out.json(&value)?
    } else {
        tables::entries(&value, out)?
    }
    Ok(exit::OK)
}

/// `msg show`.
pub fn show(one: &MsgShow, out: &mut Out) -> Outcome {
    let value = ask(&one.from, &Query::Entry(one.seq), &one.reveal, rights(one.safeguarding, one.location))?;
    if one.from.json {
        out.json(&value)?
    } else {
        tables::entry(&value, out)?
    }
    Ok(exit::OK)
}

/// Asks with a reason, for a sealed record where that was said, and with what was said beside it.
fn ask(from: &From, query: &Query, reveal: &Reveal, further: Rights) -> Result<Value, Failure> {
    Source::of(from)?.ask_as(query, reveal.reveal.as_deref(), Rights { sealed: reveal.sealed, ..further })
}

/// Asks with a reason, for a sealed record where that was said.
pub(super) fn ask_with(from: &From, query: &Query, reveal: &Reveal) -> Result<Value, Failure> {
    ask(from, query, reveal, Rights::default())
}

/// Child protection facts too, where a restricted child is too.
pub(super) fn rights(safeguarding: bool, location: bool) -> Rights {
    Rights { safeguarding, location, ..Rights::default() }
}

/// `msg trace` and `held show`.
pub fn trace(one: &MsgOne, out: &mut Out) -> Outcome {
    let value = ask(&one.from, &Query::Trace(one.seq), &one.reveal, rights(one.safeguarding, false))?;
    if one.from.json {
        out.json(&value)?
    } else {
        tables::trace(&value, out)?
    }
    Ok(exit::OK)
}

/// `msg explain`.
pub fn explain(explain: &MsgExplain, out: &mut Out) -> Outcome {
    let query = Query::Explain(explain.seq, explain.field.clone());
    let value = ask(&explain.from, &query, &explain.reveal, rights(explain.safeguarding, explain.location))?;
    if explain.from.json {
        out.json(&value)?
    } else {
        tables::explain(&value, out)?
    }
    Ok(exit::OK)
}

/// `msg document`: the content goes into a file of its own and never onto a terminal.
pub fn document(one: &MsgDocument, out: &mut Out) -> Outcome {
    let right = rights(one.safeguarding, one.location);
    let mut value = ask(&one.from, &Query::Document(one.seq, one.number), &one.reveal, right)?;
    let content = value.as_object_mut().and_then(|fields| fields.remove("content"));
    if let Some(file) = &one.out {
        let bytes = content.as_ref().and_then(Value::as_str).and_then(|text| BASE64_STANDARD.decode(text).ok());
        let missing = || Failure::new(exit::MISSING, format!("message {} brought no content for document {}", one.seq, one.number));
        write_new(file, &bytes.ok_or_else(missing)?)?;
    }
    if one.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let size = value.get("bytes").and_then(Value::as_u64).map_or_else(|| "no content".to_owned(), |bytes| format!("{bytes} bytes"));
    let mime = value.pointer("/document/mime").and_then(Value::as_str).unwrap_or("of unknown type");
    writeln!(out, "document {} of {}: {size}, {mime}", one.number, text(&value, "of"))?;
    if let Some(file) = &one.out {
        writeln!(out, "written to {}", file.display())?;
    }
    Ok(exit::OK)
}

/// A file that only this user may read, and that was not there before.
pub(super) fn private(file: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

fn write_new(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = private(file).and_then(|mut opened| opened.write_all(bytes));
    written.map_err(|error| Failure::new(exit::IO, format!("{} cannot be written: {error}", file.display())))
}

/// An identifier from standard input: an argument is seen by everybody on this machine.
pub fn said_in_private() -> Result<String, Failure> {
    let mut identifier = String::new();
    std::io::stdin()
        .lock()
        .take(1024)
        .read_to_string(&mut identifier)
        .map_err(|error| Failure::new(exit::MISSING, format!("standard input cannot be read: {error}")))?;
    match identifier.trim() {
        "" => Err(Failure::new(exit::USAGE, "no identifier came on standard input: `… < number`, or type it and end with Ctrl-D")),
        identifier => Ok(identifier.to_owned()),
    }
}

/// `child`.
pub fn child(child: &Child, out: &mut Out) -> Outcome {
    if let Some(ChildCommand::Seal(seal)) = &child.act {
        return super::identity::seal(seal, out);
    }
    let source = Source::of(&child.from)?;
    let Some(id) = child.child else {
        return found(&source.ask(&Query::Find(said_in_private()?), None)?, child.from.json, out);
    };
    if child.safeguarding {
        let value = ask(&child.from, &Query::Safeguarding(id), &child.reveal, rights(true, false))?;
        if child.from.json {
            out.json(&value)?
        } else {
            tables::safeguarding(&value, out)?
        }
        return Ok(exit::OK);
    }
    let right = rights(false, child.location);
    let why = child.why.as_ref().map(|field| ask(&child.from, &Query::Why(id, field.clone()), &child.reveal, right)).transpose()?;
    if let Some(why) = why.as_ref().filter(|_| child.why.as_deref() != Some("")) {
        if child.from.json {
            out.json(why)?
        } else {
            tables::why(why, out)?
        }
        return Ok(exit::OK);
    }
    let mut value = ask(&child.from, &Query::Child(id), &child.reveal, right)?;
    if let (Some(fields), Some(value)) = (why.as_ref().and_then(|why| why.get("why")), value.as_object_mut()) {
        value.insert("why".to_owned(), fields.clone());
    }
    if child.from.json {
        out.json(&value)?
    } else {
        tables::child(&value, why.is_some(), out)?;
        tables::why(&value, out)?
    }
    Ok(exit::OK)
}

fn found(value: &Value, is_json: bool, out: &mut Out) -> Outcome {
    let ids = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if is_json {
        out.json(value)?;
    } else {
        for id in ids.iter().filter_map(Value::as_str) {
            writeln!(out, "{id}")?;
        }
    }
    Ok(if ids.is_empty() { exit::FOUND } else { exit::OK })
}

/// `held list`.
pub fn held_list(list: &HeldList, out: &mut Out) -> Outcome {
    let value = ask(&list.from, &Query::Held, &list.reveal, rights(list.safeguarding, false))?;
    match (list.format, list.from.json) {
        (HeldFormat::Token, _) => {
            for held in items(&value, "entries") {
                writeln!(out, "{}", text(held.get("entry").unwrap_or(&Value::Null), "control_id"))?;
            }
        }
        (HeldFormat::Table, true) => out.json(&value)?,
        (HeldFormat::Table, false) => tables::held(&value, out)?,
    }
    Ok(exit::OK)
}

/// `held release`: only the broker that has the ledger may file.
pub fn release(release: &HeldRelease, out: &mut Out) -> Outcome {
    if release.reason.trim().is_empty() {
        return Err(Failure::new(exit::USAGE, "--reason is not empty"));
    }
    let path = match (release.debt, release.review) {
        (true, _) => format!("/api/v1/debts/{}/release", release.seq),
        (_, true) => format!("/api/v1/reviews/{}/close", release.seq),
        _ => format!("/api/v1/held/{}/release", release.seq),
    };
    let request = Request::post(path, json!({ "reason": release.reason }));
    let value = source::call(&release.admin, &request).map_err(|failure| match failure.exit {
        exit::UNREACHABLE => Failure::new(exit::UNREACHABLE, format!("releasing needs the running broker: {}", failure.text)),
        _ => failure,
    })?;
    if release.json {
        out.json(&value)?;
    } else if release.review {
        writeln!(out, "review {} is closed", release.seq)?;
    } else {
        let what = if release.debt { "debt" } else { "message" };
        writeln!(out, "{what} {} is released; `msg trace` shows what becomes of it", release.seq)?;
    }
    Ok(exit::OK)
}

/// `reconcile`.
pub fn reconcile(reconcile: &Reconcile, out: &mut Out) -> Outcome {
    let query = Query::Reconcile(reconcile.day.clone(), reconcile.source.clone());
    let value = Source::of(&reconcile.from)?.ask(&query, None)?;
    if reconcile.from.json {
        out.json(&value)?
    } else {
        tables::reconcile(&value, out)?
    }
    Ok(if is_balanced(&value) { exit::OK } else { exit::FOUND })
}

/// `status`.
pub fn status(status: &Status, out: &mut Out) -> Outcome {
    let (code, checks) = source::call_text(&status.admin, &Request::get("/readyz?verbose"))?;
    let version = source::call(&status.admin, &Request::get("/version"))?;
    let account = source::call(&status.admin, &Request::get("/api/v1/reconcile"));
    let sum = |key: &str| {
        account
            .as_ref()
            .map(|account| items(account, "lines").iter().filter_map(|line| line.get(key).and_then(Value::as_i64)).sum::<i64>())
            .unwrap_or_default()
    };
    let is_ready = code == 200;
    let (received, waiting, held, pending) = (sum("received"), sum("waiting"), sum("held"), sum("pending"));
    if status.json {
        let checks: Vec<&str> = checks.lines().collect();
        out.json(&json!({ "ready": is_ready, "version": version.get("version"), "checks": checks, "received": received, "waiting": waiting, "held": held, "pending": pending }))?;
    } else {
        writeln!(out, "chis-broker {} at {}", text(&version, "version"), status.admin)?;
        write!(out, "{checks}")?;
        writeln!(out, "{received} received, {waiting} waiting, {held} held, {pending} undelivered")?;
    }
    Ok(if is_ready { exit::OK } else { exit::FOUND })
}

/// `reload`.
pub fn reload(reload: &Reload, out: &mut Out) -> Outcome {
    let request = Request::post("/api/v1/reload", json!({}));
    let value = source::call(&reload.admin, &request)?;
    if reload.json {
        out.json(&value)?;
    } else {
        let from = match text(&value, "folder") {
            folder if folder.is_empty() => {
                "the mappings inside the program; name your folder by [mappings] dir in the configuration".to_owned()
            }
            folder => folder,
        };
        writeln!(out, "active: {} ({from})", text(&value, "active"))?;
    }
    Ok(exit::OK)
}
