//! `lint-sender`: what a sender sends that does not fit, for the sender itself.
//!
//! The report quotes no value of a message, so nothing of it has to be revealed.

use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan};

use super::arguments::LintSender;
use super::output::{Out, counted};
use super::{Failure, Outcome, exit, files, map, source};
use crate::clock;
use crate::conformance::{Lint, Report, Severity};
use crate::mapping::Input;
use crate::names::{Format, Seq};
use crate::store::EntryFilter;

/// Entries read from the ledger in one go.
const PAGE: usize = 500;
/// Fields that nobody reads, shown of each type; the rest is counted.
const UNREAD_SHOWN: usize = 12;

/// Runs the command. Exit code 1 where something must be mended.
pub fn lint(lint: &LintSender, out: &mut Out) -> Outcome {
    let (mapping_files, prefix) = map::load(lint.dir.as_deref())?;
    let bundle = map::compile(&mapping_files, &prefix)?;
    let mut linter = Lint::new(&bundle);
    let mut take = |format: Format, body: &[u8], received: Timestamp, name: &str| {
        let charset = lint.charset.as_deref();
        let allow_test_numbers = !lint.no_test_numbers;
        let input = Input { format, body, default_charset: charset, allow_test_numbers, received: Some(received) };
        linter.take_from(lint.source.as_deref(), &input, name);
    };
    match &lint.source {
        Some(name) => of_source(lint, name, &mut take)?,
        None => of_files(&lint.paths, &mut take)?,
    }
    let report = linter.report();
    if lint.json {
        out.json(&serde_json::to_value(&report).map_err(|error| Failure::new(exit::BUG, error.to_string()))?)?;
    } else {
        tell(&report, out)?;
    }
    let must = report.issues.iter().any(|seen| seen.issue.severity == Severity::Must);
    Ok(if must { exit::FOUND } else { exit::OK })
}

/// A file says nothing of when it was received: what lies in the future now did so then.
fn of_files(paths: &[PathBuf], take: &mut impl FnMut(Format, &[u8], Timestamp, &str)) -> Result<(), Failure> {
    let now = clock::now();
    let mut found = Vec::new();
    for path in paths {
        found.extend(messages_below(path)?);
    }
    let mut read = 0;
    for path in &found {
        // A folder may hold other files too; a file that was named has to be a message.
        let is_named = paths.contains(path);
        let mut messages = match files::read(path) {
            Err(failure) if is_named => return Err(failure),
            other => other.unwrap_or_default(),
        };
        messages.retain(|message| is_named || looks_like_one(message));
        let several = messages.len() > 1;
        for (at, message) in messages.iter().enumerate() {
            let name = if several { format!("{} message {}", path.display(), at + 1) } else { path.display().to_string() };
            take(message.format, &message.body, now, &name);
            read += 1;
        }
    }
    if read == 0 {
        return Err(Failure::new(exit::MISSING, "there is no message in what was named"));
    }
    Ok(())
}

/// XML and JSON are also used for other things than FHIR.
fn looks_like_one(message: &files::Message) -> bool {
    let says = |needle: &[u8]| message.body.windows(needle.len()).any(|window| window == needle);
    message.format == Format::Hl7v2 || says(b"\"resourceType\"") || says(b"http://hl7.org/fhir")
}

/// A file itself; of a folder all files below it, by name.
pub(super) fn messages_below(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error: std::io::Error| Failure::new(exit::MISSING, format!("{} cannot be read: {error}", path.display()));
    let mut inside: Vec<PathBuf> =
        std::fs::read_dir(path).map_err(unreadable)?.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !is_hidden(path)).collect();
    inside.sort();
    let mut found = Vec::new();
    for path in inside {
        found.extend(messages_below(&path)?);
    }
    Ok(found)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

fn of_source(lint: &LintSender, name: &str, take: &mut impl FnMut(Format, &[u8], Timestamp, &str)) -> Result<(), Failure> {
    let data = match &lint.data {
        Some(data) => data.clone(),
        None => source::settings(lint.config.as_deref())?.store.data,
    };
    let reader = source::open(&data)?;
    let now = clock::now();
    let since = now.checked_sub((24 * lint.last).hours()).map_err(|_| Failure::new(exit::USAGE, "--last reaches too far back"))?;
    let mut before = None;
    let mut read = 0;
    loop {
        let filter = EntryFilter { source: Some(name.to_owned()), limit: Some(PAGE), before, ..EntryFilter::default() };
        let page = reader.entries(&filter)?;
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        for row in &page {
            let arrived = row.arrived.parse::<Timestamp>().unwrap_or(now);
            if arrived < since {
                before = None;
                break;
            }
            let entry = reader.entry(Seq(row.seq))?;
            if let Some((Some(format), body)) = entry.map(|(row, body)| (Format::from_word(&row.format), body)) {
                take(format, &body, arrived, &format!("message {}", row.seq));
                read += 1;
            }
        }
        if before.is_none() {
            break;
        }
    }
    if read == 0 {
        return Err(Failure::new(exit::MISSING, format!("{name} sent nothing in the last {} days; `msg list` shows who did", lint.last)));
    }
    Ok(())
}

fn tell(report: &Report, out: &mut Out) -> std::io::Result<()> {
    writeln!(out, "{}\n", counted(report.messages, "message"))?;
    let rows: Vec<Vec<String>> = report
        .types
        .iter()
        .map(|(kind, count)| {
            let numbers = [count.messages, count.mapped, count.held, count.ignored, count.refused];
            std::iter::once(kind.clone()).chain(numbers.iter().map(ToString::to_string)).collect()
        })
        .collect();
    out.table(&["type", "messages", "read", "held", "ignored", "refused"], &rows)?;
    for (severity, title) in [
        (Severity::Must, "must be mended: these messages are refused, or wait for a person"),
        (Severity::Should, "should be mended: something of these messages is lost, or cannot be relied on"),
        (Severity::May, "worth knowing"),
    ] {
        let these: Vec<_> = report.issues.iter().filter(|seen| seen.issue.severity == severity).collect();
        if these.is_empty() {
            continue;
        }
        writeln!(out, "\n{title}")?;
        for (at, seen) in these.iter().enumerate() {
            let often = if seen.times > seen.messages { format!(", {} times", seen.times) } else { String::new() };
            let types = seen.types.iter().take(6).cloned().collect::<Vec<_>>().join(" ");
            writeln!(out, "  {}. {}", at + 1, seen.issue.what)?;
            writeln!(out, "     in {} of {}{often} ({types}); for example {}", seen.messages, report.messages, seen.examples.join(", "))?;
            writeln!(out, "     change: {}", seen.issue.change)?;
        }
    }
    if report.issues.is_empty() {
        writeln!(out, "\nnothing that does not fit")?;
    }
    unread(report, out)
}

fn unread(report: &Report, out: &mut Out) -> std::io::Result<()> {
    let kinds: std::collections::BTreeSet<&str> = report.unread.iter().map(|unread| unread.kind.as_str()).collect();
    if !kinds.is_empty() {
        writeln!(out, "\nsent and read by nobody (no fault; a field that matters may stand here)")?;
    }
    for kind in kinds {
        let all: Vec<_> = report.unread.iter().filter(|unread| unread.kind == kind).collect();
        let shown = all.iter().take(UNREAD_SHOWN).map(|unread| {
            let name = if unread.name.is_empty() { String::new() } else { format!(" {}", unread.name) };
            format!("{}{name} ({})", unread.place, unread.messages)
        });
        let more = all.len().saturating_sub(UNREAD_SHOWN);
        let rest = if more == 0 { String::new() } else { format!(", and {more} more") };
        writeln!(out, "  {kind}: {}{rest}", shown.collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}
