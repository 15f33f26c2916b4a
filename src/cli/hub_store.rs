//! Commands that read a hub's own store: find, show, timeline, export, caseload, uptake. Each read is written down in the store itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::arguments_hubs::{ExportFormat, HubCount, HubExport, HubFind, HubReads, HubShow, HubTimeline, Stores};
use super::output::{Out, counted, text};
use super::read::private;
use super::tables::items;
use super::{Failure, Outcome, exit, source};
use crate::config::{self, Settings};
use crate::console::{mask, sight};
use crate::destinations::{Audience, standing_resources};
use crate::names::{ChildId, HubName};
use crate::store::{ChildFile, FindBy, HubReader, Read, StoreAt};
use crate::{clock, failsafe};

/// What says nothing of a person, in whole records.
const KEPT: [&str; 12] =
    ["child", "version", "versions", "hub", "basis", "kind", "action", "event", "source", "control_id", "superseded", "role"];
/// The same in lines that have no record in them.
const KEPT_OF_LINES: [&str; 14] =
    ["child", "version", "hub", "action", "source", "control_id", "superseded", "role", "status", "what", "from", "to", "filed", "section"];

/// A store, open, with the read written down.
struct Opened {
    reader: HubReader,
    settings: Settings,
}

impl Opened {
    /// Opens the store of a hub and writes down what is read of it, and why.
    fn of(hub: &str, stores: &Stores, (what, child): (&str, Option<uuid::Uuid>), reveal: Option<&str>) -> Result<Self, Failure> {
        if reveal.is_some_and(|reason| reason.trim().is_empty()) {
            return Err(Failure::new(exit::USAGE, "--reveal needs a reason"));
        }
        let mut settings = source::settings(stores.config.as_deref())?;
        if let Some(data) = &stores.data {
            settings.store.data.clone_from(data);
        }
        let at = match (&stores.config, settings.hub_store(hub)) {
            (_, Some(at)) => at,
            // Without a file of settings the store's own name for it is good enough.
            (None, None) => StoreAt::File(settings.store_file(&HubName::new(hub), None)),
            (Some(_), None) => return Err(Failure::new(exit::MISSING, format!("no destination of kind store serves hub {hub}"))),
        };
        if let StoreAt::File(file) = &at
            && !file.is_file()
        {
            let text = format!(
                "hub {hub} has no store at {}: nothing was delivered to it yet, or it lies elsewhere (--data, --config)",
                file.display()
            );
            return Err(Failure::new(exit::MISSING, text));
        }
        if let Some(reason) = reveal {
            source::write_down(&settings.store.data, &format!("{what} of hub {hub}"), reason)?;
        }
        let who = source::who();
        let child = child.map(|child| child.to_string());
        let mut reader = HubReader::open(at)?;
        let read = Read { who: &who, what, child: child.as_deref(), reason: reveal.unwrap_or_default() };
        reader.note_read(&read, clock::now())?;
        Ok(Self { reader, settings })
    }
}

fn masked(value: &mut Value, reveal: Option<&str>, kept: &[&str]) {
    if reveal.is_none() {
        mask::mask(value, kept);
    }
}

/// What is read, as it is written down.
fn with_place(what: &str, location: bool) -> String {
    format!("{what}{}", if location { sight::LOCATION.words } else { "" })
}

/// Hides where a restricted child is, unless it was asked for: what its messages said goes as a whole, for they say it too.
fn hide_place(child: &mut Value, location: bool) {
    if location || !child.get("record").is_some_and(sight::is_restricted) {
        return;
    }
    sight::hide_place(child);
    for event in child.get_mut("events").and_then(Value::as_array_mut).into_iter().flatten() {
        mask::mask(event, &KEPT);
    }
    if let Some(transfers) = child.get_mut("transfers") {
        mask::mask(transfers, &KEPT);
    }
}

/// `hub find`: exit code 1 where there is none.
pub fn find(find: &HubFind, out: &mut Out) -> Outcome {
    let by = match (&find.nhs_number, &find.identifier, &find.family, &find.born) {
        (Some(number), ..) => FindBy::nhs_number(number),
        (_, Some(value), ..) => FindBy::Identifier { system: find.system.clone(), value: value.clone() },
        (_, _, Some(family), Some(born)) => FindBy::Name { family: family.clone(), birth_date: born.to_string() },
        _ => return Err(Failure::new(exit::USAGE, "name an identifier, or a family name and a date of birth")),
    };
    let mut opened = Opened::of(&find.hub, &find.stores, ("find", None), find.reveal.reveal.as_deref())?;
    let mut found = Value::Array(opened.reader.find(&by)?);
    masked(&mut found, find.reveal.reveal.as_deref(), &KEPT_OF_LINES);
    let rows = found.as_array().map(Vec::as_slice).unwrap_or_default();
    if find.stores.json {
        out.json(&found)?;
    } else {
        let keys = ["child", "nhs_number", "family", "given", "birth_date", "sex", "status", "role", "hub"];
        let cells: Vec<Vec<String>> = rows.iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
        out.table(&keys, &cells)?;
    }
    Ok(if rows.is_empty() { exit::FOUND } else { exit::OK })
}

fn no_child(hub: &str, child: uuid::Uuid) -> Failure {
    Failure::new(exit::MISSING, format!("the store of hub {hub} has no child {child}, or its record is sealed"))
}

/// `hub show`.
pub fn show(show: &HubShow, out: &mut Out) -> Outcome {
    let mut opened =
        Opened::of(&show.hub, &show.stores, (&with_place("show", show.location), Some(show.child)), show.reveal.reveal.as_deref())?;
    let mut child = opened.reader.show(ChildId(show.child))?.ok_or_else(|| no_child(&show.hub, show.child))?;
    hide_place(&mut child, show.location);
    masked(&mut child, show.reveal.reveal.as_deref(), &KEPT);
    if show.stores.json {
        out.json(&child)?;
        return Ok(exit::OK);
    }
    writeln!(
        out,
        "child     {} ({}), version {}, {} events",
        show.child,
        text(&child, "role"),
        text(&child, "version"),
        text(&child, "events")
    )?;
    if let Some(Value::Object(fields)) = child.get("record") {
        for (name, field) in fields {
            writeln!(out, "{name:<18}{field}")?;
        }
    }
    writeln!(out)?;
    let keys = ["kind", "publisher", "key", "at", "versions", "source", "control_id", "content"];
    let cells: Vec<Vec<String>> = items(&child, "stands").iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    out.table(&keys, &cells)?;
    Ok(exit::OK)
}

/// `hub timeline CHILD --hub HUB`.
pub fn timeline(hub: &str, asked: &HubTimeline, out: &mut Out) -> Outcome {
    let stores = Stores { data: asked.from.data.clone(), config: asked.from.config.clone(), json: asked.from.json };
    let mut opened = Opened::of(hub, &stores, ("timeline", Some(asked.child)), asked.reveal.reveal.as_deref())?;
    let lines = opened.reader.timeline(ChildId(asked.child))?.ok_or_else(|| no_child(hub, asked.child))?;
    let mut lines = Value::Array(lines);
    masked(&mut lines, asked.reveal.reveal.as_deref(), &KEPT_OF_LINES);
    if asked.from.json {
        out.json(&lines)?;
        return Ok(exit::OK);
    }
    let keys = ["filed", "what", "action", "at", "source", "control_id", "version", "from", "to"];
    let rows = lines.as_array().map(Vec::as_slice).unwrap_or_default();
    let cells: Vec<Vec<String>> = rows.iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    out.table(&keys, &cells)?;
    Ok(exit::OK)
}

/// `hub export`: one child after another, nothing kept in memory.
pub fn export(export: &HubExport, out: &mut Out) -> Outcome {
    let reveal = export.reveal.reveal.as_deref();
    match (export.format, &export.to) {
        (ExportFormat::Ndjson, Some(_)) => {
            return Err(Failure::new(exit::USAGE, "--to is for --format fhir; this format goes to standard output"));
        }
        (ExportFormat::Ndjson, None) => {
            let mut opened = Opened::of(&export.hub, &export.stores, (&with_place("export", export.location), None), reveal)?;
            opened.reader.export(&mut |mut child| {
                hide_place(&mut child, export.location);
                masked(&mut child, reveal, &KEPT);
                out.json_line(&child)
            })?;
        }
        (ExportFormat::Fhir, Some(folder)) => {
            if reveal.is_none() {
                let text = "FHIR is not written with values hidden: say why by --reveal REASON, or take the other format";
                return Err(Failure::new(exit::USAGE, text));
            }
            let mut opened = Opened::of(&export.hub, &export.stores, (&with_place("export as FHIR", export.location), None), reveal)?;
            let mut files = Files::new(folder)?;
            let children = opened.reader.files(&mut |child| files.add(&if export.location { child } else { child.without_place() }))?;
            let written = files.end(&export.hub)?;
            if export.stores.json {
                out.json(&written)?;
            } else {
                let row = |file: &Value| vec![text(file, "type"), text(file, "count"), text(file, "url")];
                out.table(&["type", "resources", "file"], &items(&written, "output").iter().map(row).collect::<Vec<_>>())?;
                writeln!(out, "\n{} in {}", counted(usize::try_from(children).unwrap_or_default(), "record"), folder.display())?;
            }
        }
        (ExportFormat::Fhir, None) => return Err(Failure::new(exit::USAGE, "--format fhir needs --to DIR")),
    }
    Ok(exit::OK)
}

/// The files of a FHIR export: one for each type of resource, and at the end a manifest like that of a bulk export's answer.
struct Files<'f> {
    folder: &'f Path,
    /// What was written before it is in them; of what came later some may be.
    begun: jiff::Timestamp,
    open: BTreeMap<String, (BufWriter<File>, u64)>,
}

impl<'f> Files<'f> {
    fn new(folder: &'f Path) -> Result<Self, Failure> {
        let refused = |error: std::io::Error| {
            Failure::new(exit::IO, format!("{} cannot be made: {error}; name a folder that is not there yet", folder.display()))
        };
        std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(refused)?;
        Ok(Self { folder, begun: clock::now(), open: BTreeMap::new() })
    }

    fn add(&mut self, child: &ChildFile) -> std::io::Result<()> {
        let audience = if child.role == "responsible" { Audience::Responsible } else { Audience::Interested };
        for resource in standing_resources(&child.person(), &child.standing, audience) {
            let kind = resource.get("resourceType").and_then(Value::as_str).unwrap_or("Resource").to_owned();
            let (file, count) = match self.open.get_mut(&kind) {
                Some(open) => open,
                None => {
                    let file = private(&self.folder.join(format!("{kind}.ndjson")))?;
                    self.open.entry(kind).or_insert((BufWriter::new(file), 0))
                }
            };
            *count += 1;
            serde_json::to_writer(&mut *file, &resource)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Ends the files; the manifest comes last, so that a folder without one is not whole.
    fn end(self, hub: &str) -> Result<Value, Failure> {
        let mut output = Vec::new();
        for (kind, (file, count)) in self.open {
            let file = file.into_inner().map_err(|error| Failure::from(error.into_error()))?;
            file.sync_all()?;
            output.push(json!({ "type": kind, "url": format!("{kind}.ndjson"), "count": count }));
        }
        let manifest = json!({ "transactionTime": self.begun.to_string(), "request": format!("hub export {hub} --format fhir"),
            "requiresAccessToken": false, "output": output, "error": [] });
        private(&self.folder.join("manifest.json"))?.write_all(format!("{manifest:#}\n").as_bytes())?;
        Ok(manifest)
    }
}

/// `hub reads`; this one is written down too.
pub fn reads(reads: &HubReads, out: &mut Out) -> Outcome {
    let mut opened = Opened::of(&reads.hub, &reads.stores, ("reads", reads.child), None)?;
    let rows = opened.reader.reads(reads.child.map(ChildId), reads.limit)?;
    if reads.stores.json {
        out.json(&Value::Array(rows))?;
        return Ok(exit::OK);
    }
    let keys = ["at", "who", "what", "child", "reason"];
    let cells: Vec<Vec<String>> = rows.iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    out.table(&keys, &cells)?;
    Ok(exit::OK)
}

fn day(count: &HubCount) -> jiff::civil::Date {
    count.day.unwrap_or_else(|| failsafe::day::date_of(clock::now()))
}

fn counts<T: Serialize>(hub: &str, day: jiff::civil::Date, lines: &[T]) -> Result<Value, Failure> {
    let lines = serde_json::to_value(lines).map_err(|error| Failure::new(exit::BUG, error.to_string()))?;
    Ok(json!({ "hub": hub, "day": day.to_string(), "lines": lines }))
}

/// `hub caseload`.
pub fn caseload(count: &HubCount, out: &mut Out) -> Outcome {
    let mut opened = Opened::of(&count.hub, &count.stores, ("caseload", None), None)?;
    let value = counts(&count.hub, day(count), &opened.reader.caseload(day(count))?)?;
    if count.stores.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let keys = ["role", "status", "age", "children", "with_open_tasks"];
    let cells: Vec<Vec<String>> = items(&value, "lines").iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect();
    out.table(&["role", "status", "age", "children", "with open tasks"], &cells)?;
    Ok(exit::OK)
}

/// `hub uptake`.
pub fn uptake(count: &HubCount, out: &mut Out) -> Outcome {
    let mut opened = Opened::of(&count.hub, &count.stores, ("uptake", None), None)?;
    let rules = config::failsafe(&opened.settings).map_err(|errors| source::unusable(&errors))?;
    let lines = opened.reader.uptake(&rules.schedule, day(count))?;
    let value = counts(&count.hub, day(count), &lines)?;
    if count.stores.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let cells: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let share = (line.given * 1000).checked_div(line.due).unwrap_or_default();
            let numbers = [line.due, line.given, line.not_required, line.not_given].map(|number| number.to_string());
            let mut cells = vec![line.cohort.clone(), line.dose.clone(), line.antigens.join(" ")];
            cells.extend(numbers);
            cells.push(format!("{}.{} %", share / 10, share % 10));
            cells
        })
        .collect();
    out.table(&["born", "dose", "against", "due", "given", "not required", "not given", "uptake"], &cells)?;
    Ok(exit::OK)
}
