//! The FHIRPath subset of mapping files, on the generic tree.
//!
//!     Bundle.entry.resource.ofType(Patient)[1]
//!     $patient.name.where(use = 'official' and not exists(period.end)).family
//!     $patient.birthDate.extension('http://hl7.org/fhir/StructureDefinition/patient-birthTime').value
//!     $encounter.location.location.resolve().identifier.where(system = 'https://fhir.nhs.uk/Id/ods-site-code').value
//!
//! # Where it differs from FHIRPath, on purpose
//!
//! - `[1]` is the first: mapping files count from 1 everywhere. Locations that are printed count from 0, as FHIRPath does.
//! - `a = 'x'` holds when any of several values is `x`, and `a != 'x'` is exactly its negation, so it holds where `a` is absent.
//! - `exists(a)` asks for a value: an element that has only extensions does not exist. A path that stands alone is asked the same.
//! - `a = b` of two elements holds when they are one element of the document: `subject.resolve() = $record.subject.resolve()`.
//! - `$record` is what the whole path is asked of, inside `where` too, where `$this` is the node that is looked at.
//! - The name of a choice is written without its type, `value`; with it, `valueQuantity`, it is understood too.
//!
//! # Invariants
//!
//! - A [`Path`] cannot fail: it finds, or finds nothing. Everything that can be wrong with it is a [`PathError`] when it is parsed
//!   ([`Path::parse`]) or held against the release ([`check_names`]).
//! - What it costs is bounded by the steps of a [`Tree`].

mod check;
mod find;
mod parse;

pub use check::{Scope, Types, check_names, check_types};
pub use find::Tree;
pub(crate) use find::{Spot, any_spot};

use super::Item;
use parse::{Head, Operand, Step, StepKind};
use std::ops::Range;

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// Lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    head: Head,
    steps: Vec<Step>,
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A node found, with its place: `Bundle.entry[3].resource.name[0].family`.
#[derive(Clone, Debug)]
pub struct Found<'t> {
    /// The node.
    pub value: &'t Item<'t>,
    /// Where it is, indices from 0 as FHIRPath writes them; a choice is named as the message names it, `valueQuantity`.
    pub location: String,
}

impl<'t> Found<'t> {
    /// The document itself.
    pub fn root(root: &'t Item<'t>) -> Self {
        Self { value: root, location: find::root_name(root).to_owned() }
    }
}

/// `$record`, as [`Path::lets`] names it: what the whole path is asked of, unless a let has this name.
pub const RECORD: &str = "record";

/// Names that stand for nodes: `$patient`, kept here as `patient`.
pub type Lets<'t> = std::collections::HashMap<String, Vec<Found<'t>>>;

/// Elements begin with a small letter, types with a capital.
fn is_type_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
}

impl Path {
    /// Parses names, `[n]`, `where(a = 'x' and …)`, `ofType(T)`, `first()`, `last()`, `exists()`, `count()`, `extension('url')`,
    /// `resolve()`, `$name`, `$this`.
    ///
    /// # Errors
    ///
    /// [`PathError`] with the bytes that are wrong and, where it can be guessed, what to write instead.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        parse::parse(text)
    }

    /// The let-names it uses, without `$`, each once; [`RECORD`] among them.
    pub fn lets(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect_lets(&mut names);
        names
    }

    /// True where it finds the same wherever in a Bundle it is asked: it begins with the Bundle or a let-name, and nothing in it says [`RECORD`].
    pub(crate) fn is_of_whole(&self) -> bool {
        let begins = match (&self.head, self.steps.first()) {
            (Head::Let(_), _) => true,
            (Head::Tree, Some(first)) => matches!(&first.kind, StepKind::Name(name) if name == "Bundle"),
            (Head::Tree | Head::This, _) => false,
        };
        begins && !self.lets().contains(&RECORD)
    }

    fn collect_lets<'p>(&'p self, names: &mut Vec<&'p str>) {
        if let Head::Let(name) = &self.head
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
        for step in &self.steps {
            if let StepKind::Where(condition) | StepKind::Exists(Some(condition)) = &step.kind {
                let mut collect = |operand: &'p Operand| {
                    if let Operand::Path(path) = operand {
                        path.collect_lets(names);
                    }
                };
                condition.for_each_operand(&mut collect);
            }
        }
    }

    /// All nodes, in document order. `root` is the Bundle (or resource); `resolve()` follows references by fullUrl or `Type/id` inside it.
    pub fn find<'t>(&self, root: &'t Item<'t>, lets: &Lets<'t>) -> Vec<Found<'t>> {
        self.find_in(&Tree::new(root), None, lets)
    }

    /// All nodes, beginning at `base`, which is `$this`; a path that begins with the type of the root still begins at the root.
    pub fn find_from<'t>(&self, root: &'t Item<'t>, base: &Found<'t>, lets: &Lets<'t>) -> Vec<Found<'t>> {
        self.find_in(&Tree::new(root), Some(base), lets)
    }

    /// All nodes, beginning at `base` or at the root. A [`Tree`] used for many paths finds references faster and bounds what all of
    /// them cost together; when it is exhausted, nothing is found and [`Tree::is_exhausted`] says so.
    pub fn find_in<'t>(&self, tree: &Tree<'t>, base: Option<&Found<'t>>, lets: &Lets<'t>) -> Vec<Found<'t>> {
        find::find(self, tree, base, lets)
    }
}
