//! The house rules that a compiler does not know, read from ARCHITECTURE.md and checked on every file.
//!
//! - who may import whom: the table of ARCHITECTURE.md, against every path of `src`
//! - one place each for the HL7 parser's, the FHIR library's and SQLite's names, for SQL, and for the clock
//! - every file says at its top what it owns, and none is longer than [`LINES_MAX`]
//! - the project speaks of itself alone, and what was decided is written down
//!
//! Each check is a function of texts and is itself tested on texts that break the rule.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// A file longer than this has a second subject in it.
const LINES_MAX: usize = 900;

// ---- who may import whom ---------------------------------------------------------------------------------------------

/// A row of the table.
#[derive(Debug)]
struct Row {
    level: u32,
    /// Names, or `*`: every module of a lower level.
    may: BTreeSet<String>,
}

type ImportTable = BTreeMap<String, Row>;

/// Reads the table with the heading `| level | module | owns | may import |`. Every mistake in it is an error.
fn import_table(markdown: &str) -> Result<ImportTable, String> {
    let mut lines = markdown.lines().skip_while(|line| line.trim() != "| level | module | owns | may import |").skip(2);
    let mut table = ImportTable::new();
    for line in lines.by_ref().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [level, module, owns, may] = cells.as_slice() else { return Err(format!("not four cells: {line}")) };
        let level: u32 = level.parse().map_err(|_| format!("not a level: {line}"))?;
        let name = ticked(module).pop().ok_or_else(|| format!("no module name: {line}"))?;
        if owns.is_empty() {
            return Err(format!("`{name}` owns nothing"));
        }
        if table.insert(name.clone(), Row { level, may: ticked(may).into_iter().collect() }).is_some() {
            return Err(format!("`{name}` has two rows"));
        }
    }
    if table.is_empty() {
        return Err("no table with the heading | level | module | owns | may import |".to_owned());
    }
    for (name, row) in &table {
        for other in row.may.iter().filter(|other| *other != "*") {
            let known = table.get(other).ok_or_else(|| format!("`{name}` may import `{other}`, which has no row"))?;
            if row.level <= known.level {
                return Err(format!("`{name}` on level {} may import `{other}` on level {}: imports go down", row.level, known.level));
            }
        }
    }
    Ok(table)
}

/// The words between backticks.
fn ticked(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The module path of a file below `src`: `hl7/path.rs` is `hl7`, `path`.
fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<String> = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// Top-level modules that the code of one file names, outside `#[cfg(test)]`.
struct Imports {
    /// Where we are: the file's module path and the inline modules we are in.
    path: Vec<String>,
    found: BTreeSet<String>,
}

impl Imports {
    fn of(module: Vec<String>, code: &str) -> Result<BTreeSet<String>, String> {
        let file = syn::parse_file(code).map_err(|error| error.to_string())?;
        let mut imports = Self { path: module, found: BTreeSet::new() };
        imports.visit_file(&file);
        Ok(imports.found)
    }

    /// `crate::x::…`, or `super::…` as far up as the root.
    fn take(&mut self, segments: &[String]) {
        let mut at = match segments.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => self.path.clone(),
            _ => return,
        };
        let mut rest = segments;
        while let [first, tail @ ..] = rest {
            match first.as_str() {
                "super" => drop(at.pop()),
                "crate" | "self" => {}
                _ => break,
            }
            rest = tail;
        }
        if at.is_empty()
            && let Some(top) = rest.first()
        {
            self.found.insert(top.clone());
        }
    }

    fn take_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.take_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.take(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.take(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.take(&[before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.take_tree(before, tree)),
        }
    }
}

fn only_in_tests(attributes: &[syn::Attribute]) -> bool {
    let is_test = |list: &syn::MetaList| list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test");
    attributes.iter().any(|attribute| matches!(&attribute.meta, syn::Meta::List(list) if list.path.is_ident("cfg") && is_test(list)))
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if only_in_tests(&module.attrs) {
            return;
        }
        self.path.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.path.pop();
    }
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !only_in_tests(&item.attrs) {
            self.take_tree(&[], &item.tree);
        }
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !only_in_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.take(&segments);
        visit::visit_path(self, path);
    }
    /// Inside a macro there are only tokens: `crate :: names :: Seq`.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let tokens = call.tokens.to_string();
        for after in tokens.split("crate").skip(1) {
            let name = after.trim_start().strip_prefix("::").map(str::trim_start).unwrap_or_default();
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                self.found.insert(name);
            }
        }
        visit::visit_macro(self, call);
    }
}

/// What one file imports that the table does not let it.
fn import_mistakes(table: &ImportTable, file: &Path, code: &str) -> Vec<String> {
    let module = module_path(file);
    let Some(own) = module.first().cloned() else { return Vec::new() };
    // The roots only name modules.
    if own == "lib" || own == "main" {
        return Vec::new();
    }
    let Some(row) = table.get(&own) else { return vec![format!("{}: `{own}` has no row in the table", file.display())] };
    let found = match Imports::of(module, code) {
        Ok(found) => found,
        Err(error) => return vec![format!("{}: {error}", file.display())],
    };
    let lower = |other: &str| row.may.contains("*") && table.get(other).is_some_and(|other| other.level < row.level);
    let refused = found.into_iter().filter(|other| *other != own && !row.may.contains(other) && !lower(other));
    refused.map(|other| format!("{}: `{own}` may not import `{other}`", file.display())).collect()
}

// ---- one place for each -----------------------------------------------------------------------------------------------

/// A file's code without comments and texts, and its texts: enough to look for a name or for SQL.
struct Plain {
    code: String,
    texts: Vec<String>,
}

impl Plain {
    /// Parses, and prints the tokens again: comments are gone, doc comments and literals can be told apart.
    fn of(code: &str) -> Result<Self, String> {
        struct Texts(Vec<String>);
        impl<'ast> Visit<'ast> for Texts {
            fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
                self.0.push(text.value());
            }
            fn visit_macro(&mut self, call: &'ast syn::Macro) {
                self.0.push(call.tokens.to_string());
                visit::visit_macro(self, call);
            }
            fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
                if !attribute.path().is_ident("doc") {
                    visit::visit_attribute(self, attribute);
                }
            }
        }
        let file = syn::parse_file(code).map_err(|error| error.to_string())?;
        let mut texts = Texts(Vec::new());
        texts.visit_file(&file);
        Ok(Self { code: blanked(code), texts: texts.0 })
    }

    /// True where the code has `name` as a whole word, or a path ending in it: `Instant::now`.
    fn names(&self, name: &str) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(name).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + name.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    }
}

/// The code with comments and texts left out.
fn blanked(code: &str) -> String {
    let mut plain = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            text_length(rest).unwrap_or_default()
        };
        if skip == 0 {
            plain.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            plain.push(' ');
            rest = &rest[skip..];
        }
    }
    plain
}

/// How long the text or character literal is that begins here.
fn text_length(code: &str) -> Option<usize> {
    let raw = code.strip_prefix("br").or_else(|| code.strip_prefix('r'));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = code.len() - raw.len() + hashes + 1;
            return Some(code[start..].find(&end).map_or(code.len(), |at| start + at + end.len()));
        }
    }
    if code.starts_with('"') {
        let mut escaped = false;
        for (at, c) in code.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return Some(at + 1),
                _ => {}
            }
        }
        return Some(code.len());
    }
    // A character, not a lifetime.
    let mut characters = code.char_indices();
    let quote = characters.next().is_some_and(|(_, c)| c == '\'');
    match (quote, characters.next(), characters.next()) {
        (true, Some((_, '\\')), Some((at, _))) => code[at + 1..].find('\'').map(|end| at + 1 + end + 1),
        (true, Some(_), Some((at, '\''))) => Some(at + 1),
        _ => None,
    }
}

fn is_sql(text: &str) -> bool {
    let starts =
        ["INSERT INTO ", "INSERT OR ", "DELETE FROM ", "CREATE TABLE ", "CREATE INDEX ", "ALTER TABLE ", "PRAGMA ", "BEGIN IMMEDIATE"];
    starts.iter().any(|start| text.contains(start))
        || text.contains("SELECT ") && text.contains(" FROM ")
        || text.contains("UPDATE ") && text.contains(" SET ")
}

/// Names that belong to one place. `file` is relative to the project.
fn misplaced(file: &str, code: &str) -> Vec<String> {
    let plain = match Plain::of(code) {
        Ok(plain) => plain,
        Err(error) => return vec![format!("{file}: {error}")],
    };
    let mut mistakes = Vec::new();
    let mut only = |what: &str, there: bool, place: &str, is_place: bool| {
        if there && !is_place {
            mistakes.push(format!("{file}: {what} is for {place} alone"));
        }
    };
    let in_store = file.starts_with("src/store/");
    only("hl7_parser", plain.names("hl7_parser"), "src/hl7/field.rs", file == "src/hl7/field.rs");
    only("fhir_sdk", plain.names("fhir_sdk"), "fhir-r4", file.starts_with("fhir-r4/"));
    only("rusqlite", plain.names("rusqlite"), "src/store", in_store);
    only("tokio_postgres", plain.names("tokio_postgres"), "src/store", in_store);
    only("SQL", plain.texts.iter().any(|text| is_sql(text)), "src/store", in_store);
    // The runtime's own clock stands still in tests when they say so: sockets wait by it.
    let waits = plain.code.contains("tokio::time::{") || plain.names("tokio::time::Instant");
    let standard = plain.names("std::time::Instant") || plain.names("time::SystemTime") || plain.names("SystemTime");
    let reads = ["Timestamp::now", "Zoned::now"].iter().any(|read| plain.names(read));
    let ticks = plain.names("Instant::now") && (!waits || standard);
    only("reading the clock", reads || ticks || plain.names("SystemTime"), "src/clock.rs", file == "src/clock.rs");
    mistakes
}

// ---- every file ---------------------------------------------------------------------------------------------------------

fn head_and_length(file: &str, code: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    let whole_readme = code.starts_with("#![doc = include_str!");
    if !code.starts_with("//! ") && !whole_readme {
        mistakes.push(format!("{file}: begins without `//!`, what the file owns"));
    }
    let lines = code.lines().count();
    if LINES_MAX < lines {
        mistakes.push(format!("{file}: {lines} lines; at most {LINES_MAX}, look for the second subject"));
    }
    mistakes
}

/// Words that have no place in the project: paths of somebody's machine, hosts of package registries, notes to oneself.
/// Put together here, so that this file does not hold them.
fn foreign_words(file: &str, text: &str) -> Vec<String> {
    let outside = [["../sha", "red"].concat(), ["/wo", "rk/"].concat(), ["/ho", "me/"].concat(), ["/ro", "ot/"].concat()];
    let hosts = [
        ["index.cra", "tes.io"].concat(),
        ["static.cra", "tes.io"].concat(),
        ["registry.np", "mjs.org"].concat(),
        ["files.python", "hosted.org"].concat(),
    ];
    let notes = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    let is_lock = file == "Cargo.lock";
    let allowed = |word: &str| (file == ".ci/run" && word == outside[0]) || (is_lock && hosts.iter().any(|host| host == word));
    let all = outside.iter().chain(&hosts).chain(&notes).filter(|word| !allowed(word) && text.contains(word.as_str()));
    all.map(|word| format!("{file}: holds `{word}`")).collect()
}

/// Decisions are numbered from 0001 without a gap, titled, and say what was rejected.
fn decision_mistakes(decisions: &BTreeMap<String, String>) -> Vec<String> {
    let mut mistakes = Vec::new();
    if decisions.is_empty() {
        mistakes.push("docs/decisions holds no decision".to_owned());
    }
    for (number, (name, text)) in (1..).zip(decisions) {
        if !name.starts_with(&format!("{number:04}-")) {
            mistakes.push(format!("docs/decisions/{name}: its number should be {number:04}"));
        }
        if !text.starts_with("# ") {
            mistakes.push(format!("docs/decisions/{name}: begins without a title"));
        }
        if !text.to_lowercase().contains("rejected") {
            mistakes.push(format!("docs/decisions/{name}: does not say what was rejected"));
        }
    }
    mistakes
}

// ---- the project ----------------------------------------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the project, without what is built and what git keeps.
fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", ".git"].contains(&name.as_str()) {
            files_below(&path, found);
        } else if path.is_file() && name != ".git" {
            found.push(path);
        }
    }
}

/// Path relative to the project and text, of every file that is text and that `wanted` wants.
fn texts(wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut files = Vec::new();
    files_below(root(), &mut files);
    let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    let named = files.iter().map(|path| (relative(path), path)).filter(|(name, _)| wanted(name));
    named.filter_map(|(name, path)| Some((name, fs::read_to_string(path).ok()?))).collect()
}

fn none(mistakes: Vec<String>) {
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

fn table_of_the_project() -> ImportTable {
    import_table(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()).unwrap()
}

#[test]
fn modules_import_only_what_the_table_lets_them() {
    let table = table_of_the_project();
    let sources = texts(|name| name.starts_with("src/") && name.ends_with(".rs"));
    assert!(!sources.is_empty());
    let of = |(name, code): &(String, String)| import_mistakes(&table, Path::new(name.strip_prefix("src/").unwrap()), code);
    none(sources.iter().flat_map(of).collect());
}

#[test]
fn every_row_of_the_table_is_a_module_of_the_library() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let table = table_of_the_project();
    let rows: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(rows, declared);
}

#[test]
fn what_belongs_to_one_place_stands_there_alone() {
    let sources = texts(|name| (name.starts_with("src/") || name.starts_with("fhir-r4/")) && name.ends_with(".rs"));
    none(sources.iter().flat_map(|(name, code)| misplaced(name, code)).collect());
}

#[test]
fn every_file_says_what_it_owns_and_is_short_enough_to_be_read() {
    let sources = texts(|name| name.ends_with(".rs"));
    none(sources.iter().flat_map(|(name, code)| head_and_length(name, code)).collect());
}

#[test]
fn the_project_speaks_of_itself_alone() {
    none(texts(|_| true).iter().flat_map(|(name, text)| foreign_words(name, text)).collect());
}

#[test]
fn decisions_are_written_down() {
    let folder = "docs/decisions/";
    let decisions = texts(|name| name.starts_with(folder) && name.ends_with(".md"));
    none(decision_mistakes(&decisions.into_iter().map(|(name, text)| (name[folder.len()..].to_owned(), text)).collect()));
}

// ---- the checks themselves ----------------------------------------------------------------------------------------------------

/// No mistake.
const NOTHING: [String; 0] = [];

const TABLE: &str = "\
# Words before it

| level | module | owns | may import |
|---|---|---|---|
| 0 | `names` | typed names | |
| 1 | `canon` | the model | `names` |
| 2 | `mapping` | mappings | `names` `canon` |
| 3 | `store` | SQL | `names` `canon` |
| 4 | `broker` | wiring | `*` |

Words after it.
";

#[test]
fn an_import_that_the_table_does_not_allow_is_found_however_it_is_written() {
    let table = import_table(TABLE).unwrap();
    let forbidden = [
        ("store/mod.rs", "use crate::mapping::Bundle;"),
        ("store/mod.rs", "use crate::{canon::Child, mapping::{self, Bundle}};"),
        ("store/mod.rs", "pub use crate::mapping as m;"),
        ("store/mod.rs", "fn f(bundle: &crate::mapping::Bundle) {}"),
        ("store/mod.rs", "fn f() { let x = crate::mapping::compile(); }"),
        ("store/mod.rs", "#[derive(Debug)] struct S { f: Option<Vec<crate::mapping::Files>> }"),
        ("store/mod.rs", "fn f() { println!(\"{}\", crate::mapping::NAME); }"),
        ("store/mod.rs", "macro_rules! m { () => { $crate::mapping::f() } }"),
        ("store/mod.rs", "use super::mapping::Bundle;"),
        ("store/rows.rs", "use super::super::mapping::Bundle;"),
        ("store/rows.rs", "mod inner { use super::super::super::mapping::Bundle; }"),
        ("store/rows.rs", "use crate::*;"),
        ("names.rs", "use super::mapping::Bundle;"),
        ("names.rs", "use crate::canon::Child;"),
        ("mapping/mod.rs", "use crate::broker::Broker;"),
        ("broker/mod.rs", "use crate::nowhere::Thing;"),
        ("elsewhere.rs", ""),
    ];
    for (file, code) in forbidden {
        assert_eq!(import_mistakes(&table, Path::new(file), code).len(), 1, "{file}: {code}");
    }
    let allowed = [
        ("store/mod.rs", "use crate::names::Seq; use crate::canon::Child; use crate::store::rows;"),
        ("store/rows.rs", "use super::Thing; use super::super::canon::Child; use self::inner::X; use std::fmt; use mapping::x;"),
        ("store/mod.rs", "/// As crate::mapping does.\nfn f() -> &'static str { \"crate::mapping::x\" }"),
        ("store/mod.rs", "#[cfg(test)]\nmod tests { use crate::mapping::Bundle; }"),
        ("store/mod.rs", "#[cfg(any(test, feature = \"fake\"))]\npub mod fake { use crate::mapping::Bundle; }"),
        ("broker/mod.rs", "use crate::{names::Seq, mapping::Bundle, store::Ledger};"),
        ("lib.rs", "pub mod anything;"),
        ("main.rs", "fn main() { crate::mapping::f() }"),
    ];
    for (file, code) in allowed {
        assert_eq!(import_mistakes(&table, Path::new(file), code), NOTHING, "{file}: {code}");
    }
    assert!(!import_mistakes(&table, Path::new("store/mod.rs"), "fn (").is_empty(), "what cannot be read is not passed");
}

#[test]
fn a_table_that_is_wrong_is_refused() {
    let broken = [
        TABLE.replace("| level |", "| stage |"),
        TABLE.replace("| `names` `canon` |\n| 4", "| `names` `broker` |\n| 4"),
        TABLE.replace("| 1 | `canon` | the model | `names` |", "| 1 | `canon` | the model | `nams` |"),
        TABLE.replace("| 1 | `canon`", "| one | `canon`"),
        TABLE.replace("`canon` | the model", "canon | the model"),
        TABLE.replace("`canon` | the model", "`names` | the model"),
        TABLE.replace("| the model |", "| |"),
        TABLE.replace("| the model |", "| the | model |"),
    ];
    for markdown in broken {
        assert!(import_table(&markdown).is_err(), "{markdown}");
    }
}

#[test]
fn a_name_in_the_wrong_place_is_found_and_one_in_a_comment_or_text_is_not() {
    let found = [
        ("src/intake/mllp.rs", "use hl7_parser::Message;"),
        ("src/hl7/path.rs", "fn f() { hl7_parser::parse() }"),
        ("src/destinations/record.rs", "use fhir_sdk::r4b;"),
        ("src/identity/mod.rs", "use rusqlite::Connection;"),
        ("src/console/mod.rs", "const Q: &str = \"SELECT a FROM b\";"),
        ("src/console/mod.rs", "fn f() { run(&format!(\"DELETE FROM {t}\")) }"),
        ("src/broker/mod.rs", "use std::time::SystemTime;"),
        ("src/broker/mod.rs", "use std::time::Instant; fn f() { Instant::now(); }"),
        ("src/broker/mod.rs", "use tokio::time::{sleep}; fn f() { std::time::Instant::now(); }"),
        ("src/broker/mod.rs", "fn f() { let t = jiff::Timestamp::now(); }"),
        ("src/broker/mod.rs", "fn f() { let t = '\"'; jiff::Zoned::now(); let u = '\"'; }"),
    ];
    for (file, code) in found {
        assert_eq!(misplaced(file, code).len(), 1, "{file}: {code}");
    }
    let fine = [
        ("src/hl7/field.rs", "use hl7_parser::Message;"),
        ("fhir-r4/src/lib.rs", "use fhir_sdk::r4b;"),
        ("src/store/rows.rs", "use rusqlite::Connection; const Q: &str = \"SELECT a FROM b\";"),
        ("src/clock.rs", "pub fn now() -> Timestamp { Timestamp::now() }"),
        ("src/intake/mllp.rs", "use tokio::time::{Instant, timeout}; fn f() { Instant::now(); }"),
        ("src/intake/mllp.rs", "//! Not hl7_parser, not fhir_sdk.\n/* rusqlite */ const A: &str = r#\"hl7_parser \" SystemTime\"#;"),
        ("src/broker/mod.rs", "fn my_hl7_parser_x() { let a = \"\\\"Timestamp::now\"; }"),
        ("src/broker/mod.rs", "/// Takes what SELECT … FROM gives.\nfn f<'a>(a: &'a str) { say(\"we select from these\"); }"),
    ];
    for (file, code) in fine {
        assert_eq!(misplaced(file, code), NOTHING, "{file}: {code}");
    }
}

#[test]
fn a_file_without_a_head_and_a_file_too_long_are_found() {
    assert_eq!(head_and_length("a.rs", "//! Owns this.\n"), NOTHING);
    assert_eq!(head_and_length("lib.rs", "#![doc = include_str!(\"../README.md\")]\n"), NOTHING);
    for headless in ["", "use std::fmt;\n//! late\n", "// not a doc\n", "/// of something else\n", "//!\n"] {
        assert_eq!(head_and_length("a.rs", headless).len(), 1, "{headless:?}");
    }
    let lines = |count: usize| "//! Owns this.\n".repeat(count);
    assert_eq!(head_and_length("a.rs", &lines(LINES_MAX)), NOTHING);
    assert_eq!(head_and_length("a.rs", &lines(LINES_MAX + 1)).len(), 1);
}

#[test]
fn words_of_somebody_elses_machine_are_found() {
    let shared = ["../sha", "red/x"].concat();
    let host = ["https://index.cra", "tes.io/"].concat();
    for (file, text) in [
        ("README.md", &shared),
        ("README.md", &host),
        (".ci/run", &host),
        ("Cargo.lock", &shared),
        ("src/a.rs", &["// TO", "DO"].concat()),
        ("docs/a.md", &["see /wo", "rk/x"].concat()),
    ] {
        assert_eq!(foreign_words(file, text).len(), 1, "{file}: {text}");
    }
    for (file, text) in [(".ci/run", shared.as_str()), ("Cargo.lock", host.as_str()), ("README.md", "network/x, shared/x, todo")] {
        assert_eq!(foreign_words(file, text), NOTHING, "{file}: {text}");
    }
}

#[test]
fn decisions_that_are_missing_misnumbered_or_one_sided_are_found() {
    let decisions = |files: &[(&str, &str)]| files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let good = ("0001-a.md", "# A\n\nRejected: b.\n");
    assert_eq!(decision_mistakes(&decisions(&[good])), NOTHING);
    assert_eq!(decision_mistakes(&decisions(&[])).len(), 1);
    assert_eq!(decision_mistakes(&decisions(&[good, ("0003-c.md", good.1)])).len(), 1);
    assert_eq!(decision_mistakes(&decisions(&[("0001-a.md", "# A\n\nBecause.\n")])).len(), 1);
    assert_eq!(decision_mistakes(&decisions(&[("0001-a.md", "Rejected: b.\n")])).len(), 1);
}
