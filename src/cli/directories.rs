//! `directories check`: what hubs.toml and its files give, before a broker takes them.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::arguments_hubs::DirectoriesCheck;
use super::output::{Out, counted};
use super::{Failure, Outcome, exit, source};
use crate::clock;
use crate::routing::{DirectoryReport, FileReport};

/// Reads everything as a broker would, and says what it covers. Exit code 78 where a file would be refused, 1 where something lacks.
pub fn check(check: &DirectoriesCheck, out: &mut Out) -> Outcome {
    let mut settings = source::settings(check.config.as_deref())?;
    if let Some(dir) = &check.dir {
        settings.mappings.dir = Some(dir.clone());
    }
    let directory = source::directory(&settings)?;
    let (report, lacks) = (directory.report(), directory.degraded());
    let dir = settings.mappings.dir.as_deref();
    if check.json {
        let file = |report: &Option<FileReport>| {
            report.as_ref().map(|report| {
                json!({ "file": report.file, "rows": report.rows, "used": report.used, "skipped": report.skipped, "age_days": age_days(dir, &report.file) })
            })
        };
        let mut value = serde_json::to_value(&report).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.insert("postcodes".to_owned(), json!(file(&report.postcodes)));
            fields.insert("practices".to_owned(), json!(file(&report.practices)));
            fields.insert("lacks".to_owned(), json!(lacks));
        }
        out.json(&value)?;
    } else {
        show(&report, dir, out)?;
        for what in &lacks {
            writeln!(out, "lacks     {what}")?;
        }
    }
    Ok(if lacks.is_empty() && report.authorities_missing.is_empty() { exit::OK } else { exit::FOUND })
}

fn show(report: &DirectoryReport, dir: Option<&Path>, out: &mut Out) -> Result<(), Failure> {
    for (what, file) in [("postcodes", &report.postcodes), ("practices", &report.practices)] {
        let Some(file) = file else {
            writeln!(out, "{what} no file is named")?;
            continue;
        };
        let age = age_days(dir, &file.file).map(|days| format!(", {} old", counted(usize::try_from(days).unwrap_or_default(), "day")));
        writeln!(out, "{what} {}: {}, {} used{}", file.file, counted(file.rows, "row"), file.used, age.unwrap_or_default())?;
        for skipped in &file.skipped {
            let lines: Vec<String> = skipped.lines.iter().map(ToString::to_string).collect();
            let lines = if lines.is_empty() { String::new() } else { format!(" (line {})", lines.join(", ")) };
            writeln!(out, "  skipped {}: {}{lines}", counted(skipped.rows, "row"), skipped.reason)?;
        }
    }
    let covered = report.authorities - report.authorities_missing.len();
    writeln!(out, "covered   {covered} of {} local authorities of hubs.toml have postcodes", report.authorities)?;
    if !report.authorities_missing.is_empty() {
        writeln!(out, "  without {}", report.authorities_missing.join(", "))?;
    }
    writeln!(out, "outside   {} whose sub-ICB belongs to no hub", counted(report.practices_outside, "practice"))?;
    writeln!(out, "outcodes  {} of {} lie in one hub with every postcode", report.outcodes_whole, report.outcodes)?;
    let rows: Vec<Vec<String>> = report
        .hubs
        .iter()
        .map(|hub| vec![hub.hub.clone(), hub.postcodes.to_string(), hub.practices.to_string(), hub.outcodes.to_string()])
        .collect();
    out.table(&["hub", "postcodes", "practices", "whole outcodes"], &rows)?;
    Ok(())
}

/// Days since a file was written; none for what is inside the program.
fn age_days(dir: Option<&Path>, file: &str) -> Option<i64> {
    let written = std::fs::metadata(dir?.join(file)).ok()?.modified().ok()?;
    let written = jiff::Timestamp::try_from(written).ok()?;
    Some(clock::now().duration_since(written).as_hours() / 24)
}
