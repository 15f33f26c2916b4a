//! `table …`: code tables, the inbox of codes that none of them knows, and the way out of it.
//!
//! `table add` changes one file and nothing else. Before it does, it compiles all files with the new row in memory and runs their
//! tests, so that a running broker is never asked to load what it would refuse. The file is replaced whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::arguments::{TableAdd, TableDir, TableList, TableMisses, TableRelease, TableShow};
use super::output::{Out, counted, text};
use super::source::{self, Query, Request, Source};
use super::tables::items;
use super::{Failure, Outcome, exit, map};
use crate::config;
use crate::mapping::{self, Files, NewRow, TableFile};

/// Where a broker's admin door is when nobody says otherwise.
const ADMIN: &str = "http://127.0.0.1:9464";

/// The folder of the mappings; none where those inside the program are meant.
fn folder(at: &TableDir) -> Result<Option<PathBuf>, Failure> {
    match (&at.dir, &at.config) {
        (Some(dir), _) => Ok(Some(dir.clone())),
        (None, Some(config)) => Ok(source::settings(Some(config))?.mappings.dir),
        (None, None) => Ok(None),
    }
}

/// `table list`.
pub fn list(list: &TableList, out: &mut Out) -> Outcome {
    let tables = mapping::tables(&map::load(folder(&list.at)?.as_deref())?.0);
    if list.at.json {
        let of = |table: &TableFile| json!({ "name": table.name, "site": table.site, "file": table.file, "safety": table.safety, "rows": table.rows.len() });
        out.json(&Value::from(tables.iter().map(of).collect::<Vec<_>>()))?;
        return Ok(exit::OK);
    }
    let row = |table: &TableFile| {
        let safety = if table.safety { "yes" } else { "" };
        vec![
            table.name.clone(),
            table.site.clone().unwrap_or_default(),
            table.rows.len().to_string(),
            safety.to_owned(),
            table.file.clone(),
        ]
    };
    out.table(&["table", "site", "rows", "safety", "file"], &tables.iter().map(row).collect::<Vec<_>>())?;
    Ok(exit::OK)
}

/// `table show`.
pub fn show(show: &TableShow, out: &mut Out) -> Outcome {
    let tables = mapping::tables(&map::load(folder(&show.at)?.as_deref())?.0);
    let is_wanted = |table: &&TableFile| table.name == show.name && (show.site.is_none() || table.site == show.site);
    let wanted: Vec<&TableFile> = tables.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Err(Failure::new(exit::MISSING, format!("there is no table {}; `table list` names them", show.name)));
    }
    if show.at.json {
        out.json(&serde_json::to_value(&wanted).unwrap_or_default())?;
        return Ok(exit::OK);
    }
    for table in wanted {
        writeln!(out, "{}", table.file)?;
        let heads: Vec<&str> = table.columns.iter().map(String::as_str).collect();
        out.table(&heads, &table.rows)?;
        writeln!(out)?;
    }
    Ok(exit::OK)
}

/// `table misses`.
pub fn misses(misses: &TableMisses, out: &mut Out) -> Outcome {
    let value = Source::of(&misses.from)?.ask(&Query::Misses(misses.table.clone(), misses.source.clone()), None)?;
    if misses.from.json {
        out.json(&value)?;
        return Ok(exit::OK);
    }
    let row = |miss: &Value| {
        let at = |which: &str| format!("{} {}", text(miss, &format!("{which}_seq")), text(miss, which));
        let mut row: Vec<String> = ["table", "code", "source", "count", "waiting"].iter().map(|key| text(miss, key)).collect();
        row.extend([at("first"), at("last")]);
        row
    };
    let rows: Vec<Vec<String>> = value.as_array().into_iter().flatten().map(row).collect();
    out.table(&["table", "code", "source", "messages", "waiting", "first", "last"], &rows)?;
    Ok(exit::OK)
}

/// `table add`.
pub fn add(add: &TableAdd, out: &mut Out) -> Outcome {
    let reason = reason(&add.reason)?;
    if add.at.dir.is_none() && add.at.config.is_none() {
        let text = "say which mappings: --dir DIR, or --config FILE of the broker";
        return Err(Failure::new(exit::USAGE, text));
    }
    let Some(dir) = folder(&add.at)? else {
        let text = "this configuration uses the mappings inside the program, which cannot be changed: write them out with `map show`, or copy them from \
            the package, name their folder as `dir` under [mappings], reload, and add the row there";
        return Err(Failure::new(exit::CONFIG, text));
    };
    let (files, prefix) = map::load(Some(&dir))?;
    map::compile(&files, &prefix)?;
    let row = NewRow {
        table: &add.name,
        code: &add.code,
        to: &add.to,
        site: add.site.as_deref(),
        display: add.display.as_deref(),
        more: add.set.iter().map(|(column, cell)| (column.as_str(), cell.as_str())).collect(),
    };
    let (file, text) = mapping::with_row(&files, &row).map_err(|why| Failure::new(exit::USAGE, why))?;
    if add.site.is_none() && !add.all_senders {
        super::say(&for_all(add));
    }
    prove(&files, &prefix, (&dir, &file, &text))?;
    replace(&dir.join(&file), &text)?;
    let admin = match (&add.admin, &add.at.config) {
        (Some(admin), _) => admin.clone(),
        (None, Some(config)) => format!("http://{}", source::settings(Some(config))?.admin.listen),
        (None, None) => ADMIN.to_owned(),
    };
    let released = ask(&admin, (&add.name, &add.code), reason).map_err(|failure| {
        let text = format!(
            "the row stands in {}, but nothing was loaded or filed: {}; later: `table release {} CODE --reason …`",
            dir.join(&file).display(),
            failure.text,
            add.name
        );
        Failure::new(failure.exit, text)
    })?;
    if add.at.json {
        let mut released = released;
        if let Some(fields) = released.as_object_mut() {
            fields.insert("file".to_owned(), json!(file));
            fields.insert("site".to_owned(), json!(add.site));
        }
        out.json(&released)?;
    } else {
        writeln!(out, "added to {}", dir.join(&file).display())?;
        told(&released, out)?;
    }
    Ok(exit::OK)
}

/// What whoever forgot `--site` should know. It is no refusal: scripts of before go on.
fn for_all(add: &TableAdd) -> String {
    format!(
        "warning: without --site the row holds for EVERY sender: {:?} means {:?} in table {} whoever sends it. Another sender may mean something else \
         by it. For one sender: --site SITE (its folder below sites/); for all, and no warning: --all-senders\n",
        add.code, add.to, add.name
    )
}

/// `table release`.
pub fn release(release: &TableRelease, out: &mut Out) -> Outcome {
    let released = ask(&release.admin, (&release.name, &release.code), reason(&release.reason)?)?;
    if release.json {
        out.json(&released)?;
    } else {
        told(&released, out)?;
    }
    Ok(exit::OK)
}

fn reason(reason: &str) -> Result<&str, Failure> {
    let reason = reason.trim();
    if reason.is_empty() { Err(Failure::new(exit::USAGE, "--reason is not empty")) } else { Ok(reason) }
}

fn ask(admin: &str, (table, code): (&str, &str), reason: &str) -> Result<Value, Failure> {
    source::call(admin, &Request::post("/api/v1/tables/release", json!({ "table": table, "code": code, "reason": reason })))
}

fn told(released: &Value, out: &mut Out) -> std::io::Result<()> {
    let seqs = |key: &str| items(released, key).iter().map(Value::to_string).collect::<Vec<_>>();
    let (filed, waiting, again) = (seqs("released"), seqs("waiting"), items(released, "held_again"));
    let named = |seqs: &[String]| if seqs.is_empty() { String::new() } else { format!(": {}", seqs.join(", ")) };
    writeln!(out, "{} filed{}", counted(filed.len(), "message"), named(&filed))?;
    for held in again {
        let part = |index: usize| held.get(index).cloned().unwrap_or_default();
        writeln!(out, "message {} is held again: {}", part(0), part(1).as_str().unwrap_or_default())?;
    }
    if !waiting.is_empty() {
        writeln!(out, "{} still waiting for this code in a table of their own{}", counted(waiting.len(), "message"), named(&waiting))?;
    }
    Ok(())
}

/// All files with the new text compile, and every test in them passes.
fn prove(files: &Files, prefix: &str, (dir, file, text): (&Path, &str, &[u8])) -> Result<(), Failure> {
    let mut with = files.clone();
    with.insert(file.to_owned(), text.to_vec());
    let bundle = map::compile(&with, prefix)?;
    let failed: Vec<String> = bundle
        .test(&|name| config::samples_beside(Some(dir), name))
        .iter()
        .flat_map(|report| {
            report.failures.iter().map(move |why| format!("{}:{}: test \"{}\": {why}", report.file, report.line, report.name))
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(exit::CONFIG, format!("nothing was written, because with this row a test would fail:\n{}", failed.join("\n"))))
}

/// Writes beside the file, syncs, and puts it in its place: a crash leaves the old or the new one.
fn replace(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(exit::CANNOT_CREATE, format!("{} cannot be written: {error}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = std::fs::File::create(&beside)?;
        if let Ok(known) = std::fs::metadata(path) {
            file.set_permissions(known.permissions())?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    written.map_err(|error| {
        let _gone_already = std::fs::remove_file(&beside);
        failed(error)
    })
}
