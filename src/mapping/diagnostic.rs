//! Mistakes in mapping files and tables: collected all at once, each with its place and remedy, and drawn for a terminal.
//!
//! # Invariants
//!
//! - A mistake is said once, even where a base file is compiled again for each of its site files.
//! - Places are bytes of the file as read; lines and columns are derived from them and count from 1.
//!
//! # Not here
//!
//! Findings about messages are made in `eval.rs`; a diagnostic is only ever about a file.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level as Mark, Renderer, Snippet};

use super::{Diagnostic, Files};

/// The text is no TOML.
pub(super) const SYNTAX: &str = "M001";
/// A key that does not exist there.
pub(super) const UNKNOWN_KEY: &str = "M002";
/// A value of the wrong kind.
pub(super) const WRONG_KIND: &str = "M003";
/// A key that must be there.
pub(super) const MISSING_KEY: &str = "M004";
/// A name that is used twice, or is no name.
pub(super) const NAME: &str = "M005";
/// A record type that does not exist.
pub(super) const RECORD_TYPE: &str = "M010";
/// A parent that does not exist or cannot own this record.
pub(super) const PARENT: &str = "M011";
/// Which segments a record is made of.
pub(super) const OVER: &str = "M012";
/// A canonical field that does not exist.
pub(super) const UNKNOWN_FIELD: &str = "M020";
/// A rule that cannot fill its field.
pub(super) const UNFIT: &str = "M021";
/// A constant outside a closed list of the canonical model.
pub(super) const OUTSIDE_LIST: &str = "M022";
/// A path that is none.
pub(super) const PATH: &str = "M031";
/// A `[let]` name that does not exist, or a let that names no repetition.
pub(super) const LET: &str = "M032";
/// A condition that is none.
pub(super) const CONDITION: &str = "M033";
/// A converter that does not exist.
pub(super) const CONVERTER: &str = "M040";
/// A failure policy that would lose data.
pub(super) const POLICY: &str = "M041";
/// A check that cannot be made.
pub(super) const CHECK: &str = "M042";
/// A table that does not exist.
pub(super) const TABLE: &str = "M050";
/// A code that stands in a table twice.
pub(super) const TABLE_TWICE: &str = "M051";
/// Leading zeros were lost.
pub(super) const TABLE_ZEROS: &str = "M052";
/// Byte order marks, quotation marks, spaces.
pub(super) const TABLE_TEXT: &str = "M053";
/// The header or a row has the wrong columns.
pub(super) const TABLE_COLUMNS: &str = "M054";
/// `to` is outside a closed list of the canonical model.
pub(super) const TABLE_LIST: &str = "M055";
/// A site file that extends what cannot be extended.
pub(super) const EXTENDS: &str = "M060";
/// An override, addition or removal that does not fit the common file.
pub(super) const VERB: &str = "M061";
/// Two files for the same messages.
pub(super) const TWO_FILES: &str = "M070";
/// A test that names what does not exist.
pub(super) const TEST: &str = "M080";
/// Something that is allowed and may surprise.
pub(super) const SURPRISE: &str = "M090";

/// A file of the bundle with what is needed to point into it.
#[derive(Debug)]
pub(super) struct Source {
    /// Key in [`Files`], `adt-person.toml`.
    pub name: String,
    /// With the prefix, `mappings/adt-person.toml`.
    pub shown: String,
    /// The text.
    pub text: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// Indexes the lines of `text`.
    pub fn new(name: &str, prefix: &str, text: String) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.to_owned(), shown: format!("{prefix}{name}"), text, line_starts }
    }

    /// Line from 1 of a byte.
    pub fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at).max(1)
    }

    /// Column from 1, in characters.
    fn column(&self, at: usize) -> usize {
        let start = self.line_starts.get(self.line(at) - 1).copied().unwrap_or(0);
        self.text.get(start..at.min(self.text.len())).map_or(1, |before| before.chars().count() + 1)
    }

    /// The span of `inner` bytes of a quoted text at `span`, where they can be found; else the whole text.
    pub fn inside(&self, span: &Range<usize>, value: &str, inner: Range<usize>) -> Range<usize> {
        let written = self.text.get(span.clone()).unwrap_or_default();
        match written.find(value) {
            Some(at) if inner.end <= value.len() && !value.is_empty() => {
                span.start + at + inner.start..span.start + at + inner.end.max(inner.start)
            }
            _ => span.clone(),
        }
    }
}

/// One mistake before it gets its line and column.
pub(super) struct Mistake {
    /// `M031`.
    pub code: &'static str,
    /// Bytes of the file.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// At the caret.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Mistake {
    /// A mistake without remedy yet.
    pub fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), label: String::new(), help: None }
    }
    /// Says something at the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
    /// Says what to write instead.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// Says what to write instead, where something is near enough.
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = self.help.or(help);
        self
    }
}

/// Collects the mistakes of all files.
#[derive(Default)]
pub(super) struct Report {
    said: RefCell<Vec<Diagnostic>>,
}

impl Report {
    /// An error in `source`.
    pub fn error(&self, source: &Source, mistake: Mistake) {
        self.say(source, mistake, true);
    }
    /// A warning in `source`.
    pub fn warn(&self, source: &Source, mistake: Mistake) {
        self.say(source, mistake, false);
    }
    fn say(&self, source: &Source, mistake: Mistake, is_error: bool) {
        let Mistake { code, span, message, label, help } = mistake;
        let span = span.start.min(source.text.len())..span.end.min(source.text.len());
        let (line, column) = (source.line(span.start), source.column(span.start));
        self.said.borrow_mut().push(Diagnostic { code, file: source.shown.clone(), span, line, column, message, label, help, is_error });
    }
    /// True where an error of this code was said.
    pub fn has(&self, code: &str) -> bool {
        self.said.borrow().iter().any(|said| said.code == code && said.is_error)
    }
    /// Everything that was said, once each, in the order of files and lines.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut all = self.said.into_inner();
        let mut seen = HashSet::new();
        all.retain(|said| seen.insert((said.file.clone(), said.span.start, said.span.end, said.code, said.message.clone())));
        all.sort_by(|a, b| (&a.file, a.span.start, a.code).cmp(&(&b.file, b.span.start, b.code)));
        all
    }
}

/// The word among `known` that was probably meant: at most a third of its letters differ.
pub(super) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written = written.to_lowercase();
    let score = |word: &str| if written.len() >= 3 && word.starts_with(&written) { 1 } else { distance(&written, word) };
    let scored = known.into_iter().map(|word| (score(&word.to_lowercase()), word));
    let best = scored.min_by_key(|(score, _)| *score)?;
    let allowed = best.1.chars().count().max(written.chars().count()) / 3;
    (best.0 <= allowed).then_some(best.1)
}

/// `did you mean "sex"?`, or the whole list where it is short.
pub(super) fn did_you_mean<'k>(written: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<String> {
    if let Some(word) = nearest(written, known.clone()) {
        return Some(format!("did you mean `{word}`?"));
    }
    let all: Vec<String> = known.into_iter().map(|word| format!("`{word}`")).collect();
    (!all.is_empty() && all.len() <= 32).then(|| format!("known here: {}", all.join(", ")))
}

/// Edit distance with neighbours that changed places counted as one. Texts are short; longer ones are cut.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(48).collect();
    let b: Vec<char> = b.chars().take(48).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&row, j) + usize::from(x != y)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

/// Draws diagnostics as compilers do: `error[M031]`, file, line, column, the line itself, a caret, help.
///
/// `files` are the files as they were compiled, `prefix` the same that [`super::Bundle::compile`] was given.
pub fn render(diagnostics: &[Diagnostic], files: &Files, prefix: &str, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let drawn: Vec<String> = diagnostics.iter().map(|diagnostic| draw(diagnostic, files, prefix, &renderer)).collect();
    drawn.join("\n\n")
}

fn draw(diagnostic: &Diagnostic, files: &Files, prefix: &str, renderer: &Renderer) -> String {
    let mark = if diagnostic.is_error { Mark::ERROR } else { Mark::WARNING };
    let title = mark.primary_title(diagnostic.message.as_str()).id(diagnostic.code);
    let name = diagnostic.file.strip_prefix(prefix).unwrap_or(&diagnostic.file);
    let text = files.get(name).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let span = on_characters(&text, &diagnostic.span);
    let mut group = Group::with_title(title);
    if text.is_empty() {
        group = group.element(annotate_snippets::Origin::path(diagnostic.file.as_str()));
    } else {
        let label = (!diagnostic.label.is_empty()).then_some(diagnostic.label.as_str());
        let caret = AnnotationKind::Primary.span(span).label(label);
        group = group.element(Snippet::source(text.as_ref()).path(diagnostic.file.as_str()).annotation(caret));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Mark::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// Moves a span to character boundaries inside `text`.
fn on_characters(text: &str, span: &Range<usize>) -> Range<usize> {
    let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_the_word_that_was_meant_and_noise_finds_none() {
        let known = ["nhs-number", "date", "datetime", "postcode"];
        assert_eq!(nearest("nhs_number", known), Some("nhs-number"));
        assert_eq!(nearest("psotcode", known), Some("postcode"));
        assert_eq!(nearest("dat", known), Some("date"));
        assert_eq!(nearest("xylophone", known), None);
    }

    #[test]
    fn a_place_is_a_line_and_a_column_of_characters() {
        let source = Source::new("a.toml", "mappings/", "x = 1\ny = 'é' # z\n".to_owned());
        let report = Report::default();
        let at = source.text.find('#').unwrap();
        report.error(&source, Mistake::new(SYNTAX, at..at + 1, "wrong").help("right"));
        let said = report.into_diagnostics();
        assert_eq!((said[0].line, said[0].column), (2, 9));
        let files = Files::from([("a.toml".to_owned(), source.text.clone().into_bytes())]);
        let drawn = render(&said, &files, "mappings/", false);
        assert!(drawn.starts_with("error[M001]: wrong\n"), "{drawn}");
        assert!(drawn.contains("--> mappings/a.toml:2:9"), "{drawn}");
        assert!(drawn.contains("help: right"), "{drawn}");
    }
}
