//! `map …`: mapping files, without a broker.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{MapDir, MapShow, MapTry};
use super::output::{Out, counted};
use super::{Failure, Outcome, diagnostics, exit, files, output};
use crate::config;
use crate::mapping::{Bundle, Diagnostic, Files, Finding, Input, Level, Outcome as Read, Provenance, Reading};

/// `map check`.
pub fn check(map: &MapDir, out: &mut Out) -> Outcome {
    let (files, prefix) = load(map.dir.as_deref())?;
    let compiled = Bundle::compile(&files, &prefix);
    if map.json {
        let (bundle, found) = match &compiled {
            Ok(bundle) => (json!(bundle.hash()), bundle.warnings().to_vec()),
            Err(found) => (Value::Null, found.clone()),
        };
        out.json(&json!({ "bundle": bundle, "diagnostics": found }))?;
        return Ok(if compiled.is_ok() { exit::OK } else { exit::CONFIG });
    }
    let bundle = compiled.map_err(|found| mistakes(&found, &files, &prefix))?;
    if !bundle.warnings().is_empty() {
        super::say(&diagnostics::render(bundle.warnings(), &texts(&files, &prefix), output::is_stderr_coloured()));
    }
    writeln!(out, "good: {}, {}; bundle {}", counted(bundle.mappings().len(), "mapping"), counted(files.len(), "file"), bundle.hash())?;
    Ok(exit::OK)
}

/// `map test`.
pub fn test(map: &MapDir, out: &mut Out) -> Outcome {
    let (files, prefix) = load(map.dir.as_deref())?;
    let bundle = compile(&files, &prefix)?;
    let reports = bundle.test(&|name| config::samples_beside(map.dir.as_deref(), name));
    let failed = reports.iter().filter(|report| !report.failures.is_empty()).count();
    if map.json {
        out.json(&json!({ "bundle": bundle.hash(), "tests": reports, "failed": failed }))?;
    } else {
        for report in reports.iter().filter(|report| !report.failures.is_empty()) {
            write!(out, "{}", diagnostics::failed_test(report))?;
        }
        writeln!(out, "{} passed, {failed} failed", counted(reports.len() - failed, "test"))?;
    }
    Ok(if failed == 0 { exit::OK } else { exit::FOUND })
}

/// `map try`: the file is the person's own, so nothing is masked.
pub fn try_file(map: &MapTry, out: &mut Out) -> Outcome {
    let (mapping_files, prefix) = load(map.dir.as_deref())?;
    let bundle = compile(&mapping_files, &prefix)?;
    let mut code = exit::OK;
    for message in files::read(&map.file)? {
        let input = Input {
            format: message.format,
            body: &message.body,
            default_charset: map.charset.as_deref(),
            allow_test_numbers: !map.no_test_numbers,
            received: Some(crate::clock::now()),
        };
        let reading = bundle.read_from(map.source.as_deref(), &input, true);
        if reading.outcome == Read::Held {
            code = exit::FOUND;
        }
        if map.json {
            out.json(&reading_json(&reading))?;
        } else {
            reading_text(&reading, out)?;
        }
    }
    Ok(code)
}

/// `map show`.
pub fn show(map: &MapShow, out: &mut Out) -> Outcome {
    let (files, prefix) = load(map.dir.as_deref())?;
    if let Some(name) = &map.name {
        let file = find(&files, name)
            .ok_or_else(|| Failure::new(exit::MISSING, format!("no mapping and no file is called {name}; `map show` lists them")))?;
        out.write_all(file)?;
        return Ok(exit::OK);
    }
    let bundle = compile(&files, &prefix)?;
    let mappings = bundle.mappings();
    if map.json {
        let mappings: Vec<Value> = mappings.iter().map(|(id, title)| json!({ "id": id, "title": title })).collect();
        out.json(&json!({ "bundle": bundle.hash(), "mappings": mappings, "files": files.keys().collect::<Vec<_>>() }))?;
        return Ok(exit::OK);
    }
    let rows: Vec<Vec<String>> = mappings.iter().map(|(id, title)| vec![id.to_string(), title.clone()]).collect();
    out.table(&["mapping", "title"], &rows)?;
    writeln!(out)?;
    for file in files.keys() {
        writeln!(out, "{file}")?;
    }
    Ok(exit::OK)
}

fn find<'f>(files: &'f Files, name: &str) -> Option<&'f Vec<u8>> {
    let says_id = |text: &[u8]| {
        let table: Option<toml::Table> = std::str::from_utf8(text).ok().and_then(|text| toml::from_str(text).ok());
        table.is_some_and(|table| {
            table.get("id").and_then(toml::Value::as_str) == Some(name)
                || table.get("mapping").and_then(|head| head.get("id")).and_then(toml::Value::as_str) == Some(name)
        })
    };
    files.get(name).or_else(|| files.get(&format!("{name}.toml"))).or_else(|| files.values().find(|text| says_id(text)))
}

/// The files, and what stands before their names in diagnostics.
pub(super) fn load(dir: Option<&Path>) -> Result<(Files, String), Failure> {
    let Some(dir) = dir else { return Ok((Bundle::shipped(), "mappings/".to_owned())) };
    let files = Bundle::files(dir).map_err(|error| Failure::new(exit::MISSING, format!("{} cannot be read: {error}", dir.display())))?;
    Ok((files, format!("{}/", dir.display().to_string().trim_end_matches('/'))))
}

/// The bundle of the files; mistakes are told in full.
pub(super) fn compile(files: &Files, prefix: &str) -> Result<Bundle, Failure> {
    Bundle::compile(files, prefix).map_err(|found| mistakes(&found, files, prefix))
}

/// The texts that diagnostics point into.
fn texts(files: &Files, prefix: &str) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| (format!("{prefix}{name}"), String::from_utf8_lossy(text).into_owned())).collect()
}

fn mistakes(found: &[Diagnostic], files: &Files, prefix: &str) -> Failure {
    super::say(&diagnostics::render(found, &texts(files, prefix), output::is_stderr_coloured()));
    Failure::new(exit::CONFIG, counted(found.iter().filter(|one| one.is_error).count(), "mistake"))
}

fn outcome(reading: &Reading) -> (&'static str, &str) {
    match &reading.outcome {
        Read::Mapped => ("mapped", ""),
        Read::Held => ("held", ""),
        Read::Ignored(why) => ("ignored", why),
    }
}

fn reading_json(reading: &Reading) -> Value {
    let (outcome, why) = outcome(reading);
    json!({ "mapping": reading.mapping, "outcome": outcome, "why": why, "statements": reading.statements, "findings": reading.findings, "provenance": reading.provenance })
}

fn reading_text(reading: &Reading, out: &mut Out) -> std::io::Result<()> {
    let (outcome, why) = outcome(reading);
    let mapping = reading.mapping.as_ref().map_or("no mapping", |mapping| mapping.as_str());
    writeln!(out, "{outcome} by {mapping}{}{why}", if why.is_empty() { "" } else { ": " })?;
    for finding in &reading.findings {
        writeln!(out, "{}", finding_line(finding))?;
    }
    for statement in &reading.statements {
        writeln!(out, "\n{}", serde_json::to_string_pretty(statement)?)?;
    }
    if !reading.provenance.is_empty() {
        writeln!(out)?;
    }
    for one in &reading.provenance {
        writeln!(out, "{}", provenance_line(one))?;
    }
    Ok(())
}

fn finding_line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Hold => "held",
    };
    let bytes = finding.bytes.as_ref().map(|bytes| format!(", bytes {}..{}", bytes.start, bytes.end)).unwrap_or_default();
    let help = if finding.help.is_empty() { String::new() } else { format!("  fix: {}", finding.help) };
    format!("{level}  {}: {}   [{}{bytes}]{help}", finding.field, finding.text, finding.rule)
}

fn provenance_line(one: &Provenance) -> String {
    let bytes = one.bytes.as_ref().map(|bytes| format!(" bytes {}..{}", bytes.start, bytes.end)).unwrap_or_default();
    let from = if one.from.is_empty() { String::new() } else { format!(" <- {}{bytes} {:?}", one.from, one.raw) };
    let steps: String = one.steps.iter().map(|step| format!(" -> {step}")).collect();
    format!("{} = {:?}{from}{steps}   [{}]", one.field, one.value, one.rule)
}
