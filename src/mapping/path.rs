//! Paths of both dialects, compiled against the `[let]` names of their file.
//!
//! # Invariants
//!
//! - A compiled path is well formed and every name in it exists: what it finds may be nothing, but never by a typo.
//!
//! # Not here
//!
//! Grammars are `hl7::Path` and `fhir::Path`; finding is `eval_v2.rs` and `eval_fhir.rs`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use super::csv_row::SEGMENT;
use super::diagnostic::{LET, Mistake, PATH, did_you_mean};
use crate::{fhir, hl7};

pub(super) use crate::hl7::Selector;

/// In which vocabulary a mapping file's paths are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// HL7 v2.
    V2,
    /// FHIR of a release.
    Fhir(fhir::Release),
    /// Columns of a CSV extract.
    Csv,
}

/// What a v2 path starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// A segment by id.
    Segment(String, Option<Selector>),
    /// The repetition that a `[let]` chose.
    Let(usize),
}

/// A v2 path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct V2Path {
    /// Segment or let.
    pub root: Root,
    /// Field from 1 with a selector among its repetitions.
    pub field: Option<(usize, Option<Selector>)>,
    /// Component from 1.
    pub component: Option<usize>,
    /// Sub-component from 1.
    pub sub: Option<usize>,
    /// As written.
    pub text: String,
    /// Its number among those of [`Numbers`]; 0 where what it finds is not remembered.
    pub number: u32,
    /// The number of the condition that chooses among segments; 0 where there is none.
    pub choice: u32,
}

/// A FHIR path.
#[derive(Clone, Debug)]
pub(super) struct FhirPath {
    /// What it finds.
    pub path: fhir::Path,
    /// As written.
    pub text: String,
    /// Its number among those of [`Numbers`]; 0 where what it finds is not remembered.
    pub number: u32,
    /// It finds the same wherever in the document it is asked.
    pub is_of_whole: bool,
}

/// A path of one of the dialects.
#[derive(Clone, Debug)]
pub(super) enum Path {
    /// HL7 v2.
    V2(V2Path),
    /// FHIR.
    Fhir(Box<FhirPath>),
}

impl Path {
    /// The v2 path, where it is one.
    pub fn v2(&self) -> Option<&V2Path> {
        if let Self::V2(path) = self { Some(path) } else { None }
    }
    /// Its number among those of [`Numbers`]; 0 where what it finds is not remembered.
    pub fn number(&self) -> u32 {
        match self {
            Self::V2(path) => path.number,
            Self::Fhir(path) => path.number,
        }
    }
    /// As written.
    pub fn text(&self) -> &str {
        match self {
            Self::V2(path) => &path.text,
            Self::Fhir(path) => &path.text,
        }
    }
}

impl V2Path {
    /// The segment that it begins with; none after a let-name.
    pub fn segment(&self) -> Option<&str> {
        if let Root::Segment(id, _) = &self.root { Some(id) } else { None }
    }
}

/// What a file offers its paths.
#[derive(Clone, Copy)]
pub(super) struct Names<'n> {
    /// The vocabulary.
    pub dialect: Dialect,
    /// Names of `[let]`.
    pub lets: &'n [String],
    /// FHIR: what `$this` and the let-names can be.
    pub types: &'n fhir::Scope,
    /// CSV: the declared columns.
    pub columns: &'n [String],
    /// Where paths get their numbers, and the file whose paths they are; without it nothing that they find is remembered.
    pub numbers: Option<(&'n Numbers, &'n str)>,
}

/// Numbers of paths: the same for paths that find the same, so that what one found need not be looked for by another.
#[derive(Debug, Default)]
pub(super) struct Numbers(RefCell<HashMap<(String, String), u32>>);

impl Numbers {
    /// The number of a path of a file, from 1; of no file where it finds the same in all of them.
    fn of(&self, file: &str, text: &str) -> u32 {
        let mut numbers = self.0.borrow_mut();
        let next = hl7::narrow(numbers.len()) + 1;
        *numbers.entry((file.to_owned(), text.to_owned())).or_insert(next)
    }
}

/// Compiles a path; spans of mistakes are bytes of `text`. A FHIR path also says what it finds, for those that build on it.
pub(super) fn compile(text: &str, names: Names<'_>) -> Result<(Path, fhir::Types), Mistake> {
    match names.dialect {
        Dialect::V2 => v2(text, names).map(|path| (path, fhir::Types::default())),
        Dialect::Fhir(release) => fhir(text, release, names),
        Dialect::Csv => column(text, names).map(|path| (path, fhir::Types::default())),
    }
}

/// `NHS_NUMBER`, or `[NHS No]` where the name is not one word.
fn column(text: &str, Names { columns, numbers, .. }: Names<'_>) -> Result<Path, Mistake> {
    let name = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).trim();
    let Some(at) = columns.iter().position(|column| column == name) else {
        let mistake = Mistake::new(PATH, 0..text.len(), format!("`columns` declares no {name:?}"));
        return Err(mistake.maybe_help(did_you_mean(name, columns.iter().map(String::as_str))));
    };
    let root = Root::Segment(SEGMENT.to_owned(), None);
    let number = numbers.map_or(0, |(numbers, file)| numbers.of(file, name));
    Ok(Path::V2(V2Path { root, field: Some((at + 1, None)), component: None, sub: None, text: name.to_owned(), number, choice: 0 }))
}

fn v2(text: &str, Names { lets, numbers, .. }: Names<'_>) -> Result<Path, Mistake> {
    let parsed = hl7::Path::parse(text).map_err(|why| of_path_error(why.span, why.message, why.help))?;
    let root = match parsed.root {
        hl7::Root::Segment { id, selector } => Root::Segment(id, selector),
        hl7::Root::Let(name) => Root::Let(let_index(&name, lets, text)?),
    };
    // A name of `[let]` is that of its file; a segment is the same for all of them.
    let file = |file| if matches!(root, Root::Let(_)) { file } else { "" };
    let number = numbers.map_or(0, |(numbers, of)| numbers.of(file(of), text));
    let chooses =
        |root: &Root| if let Root::Segment(_, Some(Selector::Where(condition))) = root { Some(format!("{condition:?}")) } else { None };
    let choice = numbers.zip(chooses(&root)).map_or(0, |((numbers, _), condition)| numbers.of("", &condition));
    let text = text.to_owned();
    Ok(Path::V2(V2Path { root, field: parsed.field, component: parsed.component, sub: parsed.sub, text, number, choice }))
}

fn fhir(text: &str, release: fhir::Release, names: Names<'_>) -> Result<(Path, fhir::Types), Mistake> {
    let parsed = fhir::Path::parse(text).map_err(|why| of_path_error(why.span, why.message, why.help))?;
    // `$record` is known wherever something is made from an element.
    let is_record = |name: &str| name == fhir::RECORD && names.types.this != fhir::Types::default();
    for name in parsed.lets().into_iter().filter(|name| !is_record(name)) {
        let_index(name, names.lets, text)?;
    }
    let types = fhir::check_types(&parsed, release, names.types).map_err(|why| of_path_error(why.span, why.message, why.help))?;
    let number = names.numbers.map_or(0, |(numbers, file)| numbers.of(file, text));
    let is_of_whole = parsed.is_of_whole();
    Ok((Path::Fhir(Box::new(FhirPath { path: parsed, text: text.to_owned(), number, is_of_whole })), types))
}

fn of_path_error(span: Range<usize>, message: String, help: Option<String>) -> Mistake {
    let mistake = Mistake::new(PATH, span, message);
    Mistake { help, ..mistake }
}

fn let_index(name: &str, lets: &[String], text: &str) -> Result<usize, Mistake> {
    lets.iter().position(|known| known == name).ok_or_else(|| {
        let at = text.find(&format!("${name}")).unwrap_or(0);
        let mistake = Mistake::new(LET, at..at + name.len() + 1, format!("[let] has no name `{name}` here"));
        let help = did_you_mean(name, lets.iter().map(String::as_str))
            .unwrap_or_else(|| format!("add it above its first use: [let] {name} = [\"…\"]"));
        mistake.help(help)
    })
}
