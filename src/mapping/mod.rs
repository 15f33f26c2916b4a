//! What a message says, in canonical words, and why: mapping files, tables, rules, findings.
//!
//! # The way of a message
//!
//! ```text
//! bytes -> Document -> select: which file reads it -> eval: records, rules, policies -> assemble: statements
//! ```
//!
//! # The way of a file
//!
//! ```text
//! text -> document: TOML with places -> load: what it extends -> record, rule, condition, path, table: compiled
//! ```
//!
//! # The language, as far as it is more than its examples
//!
//! | where | key | meaning |
//! |---|---|---|
//! | `[mapping]` | `when` | chooses among files that accept the same type; a file that extends another takes it over |
//! | | `accepts` | `ADT^A28`, `ADT^*`; for FHIR the event code, or the kind of a Bundle that has no event |
//! | | `null` | `clear` or `ignore` (default): what HL7 `""` means |
//! | | `columns` | `format = "csv"` instead of `accepts`: the columns that its paths may name; a row says itself which mapping reads it |
//! | | `zone` | for times without offset; not written: MSH-7's offset, else London |
//! | `[let]` | | one repetition (HL7: chosen once for each record's scope, whatever repetition `over` goes through) or nodes (FHIR: of the whole document); a name may use those above it |
//! | `[[ignore]]` | `when`, `reason` | these messages have nothing for us |
//! | `[[record]]` | `over` | one for each segment, repetition (then the field *is* that repetition) or FHIR node (then `$this`) |
//! | | `span` | segments owned up to the next segment of the `over` name, whatever selector `over` has; before the first: orphans, held |
//! | | `lead` | segments owned from the one before of the `over` name on; behind the last: orphans, held |
//! | | `group_by` | segments with equal value in this field are one record, wherever they stand in the scope |
//! | | `parent`, `within` | the owner; may be left out where only one record can be it. A record sees what its owner owns |
//! | | `when`, `check` | no record where false; a finding that holds where false |
//! | | `hold`, `warn` | findings in the file's own words where a condition holds |
//! | | `unique` | records of one owner and type that are the same in `by` must be the same in `same`, else held |
//! | | `key` | fields or records below this one: at least one must be there, else held |
//! | | `needs` | silently no record where one of these fields is absent |
//! | rule | `column` | with `table`: this column instead of `to`; its empty cell says nothing |
//! | | `all` | all values of all paths: a list, or lines of one text |
//! | | `join` | with `all`: one text of all that was found, before it is converted |
//! | | `else` | with `join`: what is joined where `from` finds nothing |
//! | | `table` | where the field is a list, a cell is a list with spaces between |
//! | | `as` | may be left out for dates, moments, whole numbers, truth values |
//! | | `length` | `40` at most, `"10..40"` from and to |
//! | | `pattern` | see the patterns of `pattern.rs` |
//!
//! A list record (all but `event` and `child`) of which only constants and defaults are known, and that owns no other record, is
//! none. One that is nothing but HL7 null clears its list. Of several `event` records the first whose `when` holds is the
//! event; each `child` record with it is one statement.
//!
//! A path without a component means the whole field for a text and its first component for everything else: converters,
//! tables, comparisons.
//!
//! # Invariants
//!
//! - All files compile together or none does, and every mistake is said at once, with file, line, column and remedy.
//! - Every name in a file is checked against the canonical model before it can be used.
//! - Reading is pure: no clock, no disk, no chance. It never panics, and what it can cost is bounded.
//!
//! # Not here
//!
//! Which child a statement is about, and where it goes. A mapping cannot see that.

mod assemble;
mod canonical;
mod condition;
mod convert;
mod csv_row;
mod diagnostic;
mod document;
mod eval;
mod eval_fhir;
mod eval_v2;
mod explain;
mod fhir_coverage;
mod inline_test;
mod inventory;
mod load;
mod mutate;
mod path;
mod pattern;
mod record;
mod rule;
mod select;
mod shipped;
mod show;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod value;
mod view;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bumpalo::Bump;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canon::{Content, Statement};
use crate::names::{BundleHash, MappingName};

pub use crate::names::Format;
pub use canonical::{NotCanonical, canonical_statement};
pub use csv_row::{column_names, csv_body};
pub use diagnostic::render;
pub use explain::Explanation;
pub use inventory::{NewRow, TableFile, tables, with_row};
pub use select::plain_place;

use diagnostic::{Mistake, Report, Source};
use load::Mapping;
use select::{Document, How};

/// A body to be read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Dialect.
    pub format: Format,
    /// As received.
    pub body: &'a [u8],
    /// The source's default charset for HL7 v2, where MSH-18 is empty.
    pub default_charset: Option<&'a str>,
    /// 999 NHS numbers are taken (tests, demo, embedded default).
    pub allow_test_numbers: bool,
    /// When it came, where that is known: what a message without a time of its own is measured by.
    pub received: Option<Timestamp>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Somebody should look; the message goes on.
    Warning,
    /// The message waits for a person.
    Hold,
}

/// Something to say about a message: may quote it, so it goes to the work list, never to a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Holds the message, or only warns.
    pub level: Level,
    /// Stable code, `unmapped-code`.
    pub code: String,
    /// Canonical field, `child.sex`; empty where none.
    #[serde(default)]
    pub field: String,
    /// Where in the message, `PID-8` or a FHIRPath.
    #[serde(default)]
    pub at: String,
    /// Bytes of the message text (HL7 v2).
    #[serde(default)]
    pub bytes: Option<Range<usize>>,
    /// `mappings/adt-person.toml:40`.
    #[serde(default)]
    pub rule: String,
    /// What is wrong: `code "Q" at PID-8 is not in table sex`.
    pub text: String,
    /// What would help.
    #[serde(default)]
    pub help: String,
    /// Which code of which table, where one is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miss: Option<Miss>,
}

/// A code that a table does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Miss {
    /// `sex`.
    pub table: String,
    /// The code, as the table would have to have it.
    pub code: String,
}

/// Where one canonical value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// `child.names[0].family`.
    pub field: String,
    /// The canonical value as text.
    pub value: String,
    /// `PID-5[2].1.1`, or a FHIRPath; empty for a constant.
    pub from: String,
    /// Bytes of the message text (HL7 v2).
    pub bytes: Option<Range<usize>>,
    /// What the sender wrote.
    pub raw: String,
    /// Steps: `name`, `table tables/sex.csv:4`, `constant`, `default`.
    pub steps: Vec<String>,
    /// `adt-person.toml:30`.
    pub rule: String,
}

/// What became of reading a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// At least one statement, nothing that holds it.
    Mapped,
    /// A finding of level hold says why.
    Held,
    /// A rule says that this message has nothing for us; the text names the rule.
    Ignored(String),
}

/// All that reading a message gives. The same body and bundle always give the same reading.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which mapping spoke.
    pub mapping: Option<MappingName>,
    /// Mapped, held, ignored.
    pub outcome: Outcome,
    /// What was said, one for each child and event.
    pub statements: Vec<Statement>,
    /// What must be said about the message.
    pub findings: Vec<Finding>,
    /// Where each value came from (only where [`Bundle::read`] was asked to explain).
    pub provenance: Explanation,
    /// Contents of documents, which the statements name by their hash.
    pub contents: Vec<Content>,
}

/// One mistake in a file, with its place and remedy.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    /// `M031`.
    pub code: &'static str,
    /// `mappings/adt-person.toml`.
    pub file: String,
    /// Bytes of the file.
    pub span: Range<usize>,
    /// Line from 1.
    pub line: usize,
    /// Column from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// At the caret.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
    /// False: a warning.
    pub is_error: bool,
}

/// The files of a bundle by relative path (`adt-person.toml`, `tables/sex.csv`), as read.
pub type Files = BTreeMap<String, Vec<u8>>;

/// All mappings and tables compiled together. Immutable; swapped whole.
#[derive(Debug)]
pub struct Bundle {
    hash: BundleHash,
    mappings: Vec<Mapping>,
    accepting: select::Accepting,
    warnings: Vec<Diagnostic>,
}

/// What became of a field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Coverage {
    /// A canonical value came from it, or the reader itself needs it.
    Used,
    /// A rule or condition looks at it and took nothing from it this time, or the table `left-fields` says that nobody has to.
    Ignored,
    /// No rule of the mapping looks at it.
    Unmapped,
}

/// How one inline test went.
#[derive(Clone, Debug, Serialize)]
pub struct TestReport {
    /// Mapping file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// What was expected and what came; empty when it passed.
    pub failures: Vec<String>,
}

impl Finding {
    /// True where the rule says `on_error = "reject"`: a source that waits for the outcome gets AR.
    pub fn rejects(&self) -> bool {
        self.code.starts_with(eval::REJECT)
    }
}

impl Bundle {
    /// The files that are shipped inside the binary.
    pub fn shipped() -> Files {
        shipped::files()
    }

    /// The files of a directory (`*.toml`, `tables/*.csv`, `sites/**`).
    ///
    /// # Errors
    ///
    /// What the file system says; a directory without files is no error.
    pub fn files(dir: &Path) -> std::io::Result<Files> {
        shipped::files_of(dir)
    }

    /// Compiles all, or says everything that is wrong. `prefix` is what stands before file names in diagnostics (`mappings/`).
    ///
    /// # Errors
    ///
    /// Every mistake of all files, in the order of files and lines, with the warnings among them.
    pub fn compile(files: &Files, prefix: &str) -> Result<Self, Vec<Diagnostic>> {
        let report = Report::default();
        let sources = sources(files, prefix, &report);
        let sheets = load::sheets(&sources, &report);
        let parsed = load::parse(&sources, &report);
        let mappings = load::compile(&parsed, &sheets, &report);
        select::clashes(&mappings, &sources, &report);
        load::unused_tables(&mappings, &sources, &report);
        let said = report.into_diagnostics();
        if said.iter().any(|diagnostic| diagnostic.is_error) {
            return Err(said);
        }
        let accepting = select::Accepting::of(&mappings);
        Ok(Self { hash: shipped::hash(files), mappings, accepting, warnings: said })
    }

    /// Hash over all files.
    pub fn hash(&self) -> &BundleHash {
        &self.hash
    }

    /// What compiled and may surprise.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Mapping ids with title, format, accepts.
    pub fn mappings(&self) -> Vec<(MappingName, String)> {
        self.mappings.iter().map(|mapping| (mapping.id.clone(), show::summary(mapping))).collect()
    }

    /// True where messages of this mapping may say child protection facts; what is said about such a message is not for everybody.
    pub fn tells_of_safeguarding(&self, mapping: &MappingName) -> bool {
        let tells = |mapping: &Mapping| mapping.records.iter().any(|record| record.kind.name == "safeguarding-fact");
        self.mappings.iter().any(|known| known.id == *mapping && tells(known))
    }

    /// The columns that a mapping of CSV extracts declares; `None` where there is no such mapping.
    pub fn columns(&self, mapping: &str) -> Option<&[String]> {
        self.mappings.iter().find(|one| one.dialect == path::Dialect::Csv && one.id.as_str() == mapping).map(|one| one.columns.as_slice())
    }

    /// Ids of the mappings of CSV extracts.
    pub fn csv_mappings(&self) -> Vec<MappingName> {
        self.mappings.iter().filter(|one| one.dialect == path::Dialect::Csv).map(|one| one.id.clone()).collect()
    }

    /// Reads a message of nobody in particular. Never panics on any input; `explain` fills provenance.
    pub fn read(&self, input: &Input<'_>, explain: bool) -> Reading {
        self.read_from(None, input, explain)
    }

    /// Reads a message of a source of the configuration, for the files that say `sender = { source = "…" }`.
    pub fn read_from(&self, source: Option<&str>, input: &Input<'_>, explain: bool) -> Reading {
        if input.format == Format::CanonicalJson {
            return canonical::read(input.body, input.allow_test_numbers);
        }
        match Document::read(input, &Bump::new()) {
            Ok(document) => {
                let mappings = (self.mappings.as_slice(), &self.accepting);
                let (allow_test_numbers, received) = (input.allow_test_numbers, input.received);
                let how = How { allow_test_numbers, explain, keep: false, received, is_unmodified: select::is_unmodified(input) };
                select::read(mappings, (&document, source), how)
            }
            Err(why) => {
                select::held("unreadable", format!("the message cannot be read: {why}"), "ask the sender to send it again", Vec::new())
            }
        }
    }

    /// What a message is called in `accepts`: `ADT^A28`, `pds-birth-notification-1`; `None` for one that cannot be read.
    pub fn kind(&self, input: &Input<'_>) -> Option<String> {
        Document::read(input, &Bump::new()).ok().map(|document| document.accepts()).filter(|kind| !kind.is_empty())
    }

    /// The findings of a reading as its sender understands them, who has no mapping file before him: a FHIR element is called by the type of
    /// its resource, and no name of a `[let]` is in them.
    pub fn findings_for_sender(&self, input: &Input<'_>, reading: &Reading) -> Vec<Finding> {
        let spoke = reading.mapping.as_ref().and_then(|name| self.mappings.iter().find(|mapping| mapping.id == *name));
        let arena = Bump::new();
        match (spoke, Document::read(input, &arena)) {
            (Some(mapping), Ok(document)) => fhir_coverage::in_words_of_sender(mapping, &document, &reading.findings),
            _ => reading.findings.clone(),
        }
    }

    /// Runs every `[[test]]`; `sample` gives the bytes of a sample file named there.
    pub fn test(&self, sample: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<TestReport> {
        self.mappings.iter().flat_map(|mapping| inline_test::run(mapping, sample)).collect()
    }

    /// The effective mapping with the file and line of every rule, for people; `None` where there is no such mapping.
    pub fn resolved(&self, name: &str) -> Option<String> {
        self.mappings.iter().find(|mapping| mapping.id.as_str() == name).map(show::resolved)
    }

    /// Every field of an HL7 v2 message, or leaf element of a FHIR message, that has a value, and whether it was used. Empty for others,
    /// and where no mapping reads it.
    pub fn coverage(&self, input: &Input<'_>) -> Vec<(String, Coverage)> {
        self.coverage_from(None, input)
    }

    /// As [`Self::coverage`], of a source of the configuration.
    pub fn coverage_from(&self, source: Option<&str>, input: &Input<'_>) -> Vec<(String, Coverage)> {
        let arena = Bump::new();
        let Ok(document) = Document::read(input, &arena) else { return Vec::new() };
        match (select::choose((&self.mappings, &self.accepting), (&document, source)), document) {
            (Ok(mapping), Document::V2(message)) => show::coverage(mapping, *message),
            (Ok(mapping), document @ Document::Fhir(..)) => fhir_coverage::coverage(mapping, &document),
            _ => Vec::new(),
        }
    }
}

/// The texts of all files that can be compiled.
fn sources(files: &Files, prefix: &str, report: &Report) -> Vec<Source> {
    let wanted = files.iter().filter(|(name, _)| load::is_mapping(name) || load::is_table(name));
    let read = wanted.map(|(name, bytes)| match std::str::from_utf8(bytes) {
        Ok(text) => Source::new(name, prefix, text.to_owned()),
        Err(why) => {
            let source = Source::new(name, prefix, String::from_utf8_lossy(bytes).into_owned());
            let at = why.valid_up_to();
            let mistake = Mistake::new(diagnostic::SYNTAX, at..at + 1, "the file is not UTF-8");
            report.error(&source, mistake.help("save it again as UTF-8"));
            source
        }
    });
    read.collect()
}
