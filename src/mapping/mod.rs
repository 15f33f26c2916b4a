//! What a message says, in canonical words, and why: mapping files, tables, rules, findings.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::canon::Statement;
use crate::names::{BundleHash, MappingName};

pub use crate::names::Format;

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
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level { Info, Warning, Hold }

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
    pub provenance: Vec<Provenance>,
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
    _private: Arc<()>,
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

impl Bundle {
    /// The files that are shipped inside the binary.
    pub fn shipped() -> Files { unimplemented!() }
    /// The files of a directory (`*.toml`, `tables/*.csv`, `sites/**`).
    pub fn files(_dir: &Path) -> std::io::Result<Files> { unimplemented!() }
    /// Compiles all, or says everything that is wrong. `prefix` is what stands before file names in diagnostics (`mappings/`).
    pub fn compile(_files: &Files, _prefix: &str) -> Result<Self, Vec<Diagnostic>> { unimplemented!() }
    /// Hash over all files.
    pub fn hash(&self) -> &BundleHash { unimplemented!() }
    /// Mapping ids with title, format, accepts.
    pub fn mappings(&self) -> Vec<(MappingName, String)> { unimplemented!() }
    /// Reads a message. Never panics on any input; `explain` fills provenance.
    pub fn read(&self, _input: &Input<'_>, _explain: bool) -> Reading { unimplemented!() }
    /// Runs every `[[test]]`; `sample` gives the bytes of a sample file named there.
    pub fn test(&self, _sample: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<TestReport> { unimplemented!() }
}
