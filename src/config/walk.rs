//! Reads one file to its end, whatever is wrong with it: after each mistake the place is taken out and reading begins
//! again, so that the types of the modules stay the only description of what may be written, and every mistake is found.
//!
//! # Invariants
//!
//! - Each round takes something out or puts something in that was missing; the rounds are bounded.
//! - A place that was mended is remembered, so that nothing further is said about it.

use std::collections::HashSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::Settings;
use super::places::{self, Step};
use crate::mapping::Diagnostic;

/// One file, read alone.
#[derive(Debug)]
pub struct FilePass<'t> {
    /// What it says, as far as it can be used.
    pub settings: Settings,
    /// Its tree, with positions, without the mistakes.
    pub tree: Spanned<DeTable<'t>>,
    /// Paths about which everything was said already.
    pub mended: HashSet<String>,
    /// Every mistake.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads `text` as settings; `file` is the name that the diagnostics use.
pub fn read<'t>(file: &str, text: &'t str) -> FilePass<'t> {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let mut pass = FilePass { settings: Settings::default(), tree, mended: HashSet::new(), diagnostics: Vec::new() };
    for error in syntax {
        let span = error.span().unwrap_or(0..0);
        let told = Told { code: "C001", span, message: error.message().to_owned(), label: "not TOML", help: None };
        pass.diagnostics.push(told.diagnostic(file, text));
    }
    let is_whole = pass.diagnostics.is_empty();
    for _round in 0..ROUNDS_MAX {
        match attempt(&pass.tree) {
            Ok(settings) => {
                pass.settings = settings;
                break;
            }
            Err(error) => match mend(&mut pass, &error) {
                // After a syntax error the tree has gaps that nobody wrote; what is missing then is not said.
                Some(told) if is_whole || told.code != "C004" => pass.diagnostics.push(told.diagnostic(file, text)),
                _ => {}
            },
        }
    }
    pass
}

/// More mistakes than this in one file are not told one by one.
const ROUNDS_MAX: usize = 500;

/// A mistake before it has a file.
pub struct Told {
    /// `C002`.
    pub code: &'static str,
    /// Bytes of the file.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// At the caret.
    pub label: &'static str,
    /// What to write instead.
    pub help: Option<String>,
}

impl Told {
    /// With its place.
    pub fn diagnostic(self, file: &str, text: &str) -> Diagnostic {
        let (line, column) = places::line_column(text, self.span.start);
        Diagnostic {
            code: self.code,
            file: file.to_owned(),
            span: self.span,
            line,
            column,
            message: self.message,
            label: self.label.to_owned(),
            help: self.help,
            is_error: true,
        }
    }
}

fn attempt(tree: &Spanned<DeTable<'_>>) -> Result<Settings, toml::de::Error> {
    serde::Deserialize::deserialize(Deserializer::from(tree.clone()))
}

/// Takes the mistake out of the tree. `None` where it only follows from one that was told.
fn mend(pass: &mut FilePass<'_>, error: &toml::de::Error) -> Option<Told> {
    let message = error.message().to_owned();
    let at = error.span().map(|span| places::deepest(&pass.tree, &span)).unwrap_or_default();
    if let Some(missing) = quoted_after(&message, "missing field ") {
        return supply(pass, at, &missing);
    }
    let culprit = culprit(&pass.tree, at, &message);
    let span = places::span_at(&pass.tree, &culprit, is_about_key(&message));
    let told = describe(&message, &culprit, span);
    pass.mended.insert(places::dotted(&culprit));
    if culprit.is_empty() {
        // Nothing smaller than the file can be blamed: nothing of it is used.
        *pass.tree.get_mut() = DeTable::new();
    } else {
        places::remove(&mut pass.tree, &culprit);
    }
    Some(told)
}

/// Puts something in for a key that is missing, so that what follows it is read too.
fn supply(pass: &mut FilePass<'_>, at: Vec<Step>, key: &str) -> Option<Told> {
    let mut path = at.clone();
    path.push(Step::Key(key.to_owned()));
    let name = places::dotted(&path);
    let span = places::span_at(&pass.tree, &at, true);
    if pass.mended.contains(&format!("{name}?")) {
        // The filler was not taken either: the table goes.
        places::remove(&mut pass.tree, &at);
        if at.is_empty() {
            *pass.tree.get_mut() = DeTable::new();
        }
        return None;
    }
    let was_told = !pass.mended.insert(name.clone());
    pass.mended.insert(format!("{name}?"));
    let filler = match key {
        "kind" => "store",
        "profile" => "record",
        _ => "127.0.0.1:0",
    };
    let value = Spanned::new(span.clone(), DeValue::String(filler.into()));
    if let Some(table) = places::table_mut(&mut pass.tree, &at) {
        table.insert(Spanned::new(span.clone(), key.to_owned().into()), value);
    }
    if was_told {
        return None;
    }
    let help = Some(format!("add `{key} = …` here; config/default.toml shows it (`chis-broker config default` prints that file)"));
    let owner = if at.is_empty() { "the file".to_owned() } else { format!("`{}`", places::plain(&at)) };
    Some(Told { code: "C004", span, message: format!("{owner} needs `{key}`"), label: "it is missing here", help })
}

/// The key to blame. Where serde names only the table (tagged enums lose the place), each key is tried.
fn culprit(tree: &Spanned<DeTable<'_>>, at: Vec<Step>, message: &str) -> Vec<Step> {
    let Some(table) = places::table(tree, &at) else { return at };
    let keys: Vec<String> = table.keys().map(|key| key.get_ref().to_string()).collect();
    let below = |key: &str| at.iter().cloned().chain([Step::Key(key.to_owned())]).collect::<Vec<_>>();
    if let Some(unknown) = quoted_after(message, "unknown field ").filter(|unknown| keys.contains(unknown)) {
        return below(&unknown);
    }
    for key in &keys {
        let mut without = tree.clone();
        places::remove(&mut without, &below(key));
        let is_to_blame = match attempt(&without) {
            Ok(_) => true,
            Err(other) => other.message() != message,
        };
        if is_to_blame {
            return below(key);
        }
    }
    at
}

fn is_about_key(message: &str) -> bool {
    message.starts_with("unknown field")
}

fn describe(message: &str, culprit: &[Step], span: Range<usize>) -> Told {
    if let Some(unknown) = quoted_after(message, "unknown field ") {
        let mut expected = expected_words(message);
        // The keys that every kind of destination has are not known to the kind, which says what it knows.
        if culprit.first() == Some(&Step::Key("destination".to_owned())) && expected.iter().all(|word| word != "days") {
            expected.extend(crate::destinations::Care::KEYS.map(str::to_owned));
        }
        let help = match places::nearest(&unknown, &expected) {
            Some(near) => format!("did you mean `{near}`?"),
            None if expected.is_empty() => "take it away".to_owned(),
            None => format!("known here: {}", expected.join(", ")),
        };
        let home = culprit.split_last().map(|(_, home)| home).filter(|home| !home.is_empty());
        let place = home.map(|home| format!(" in `{}`", places::plain(home))).unwrap_or_default();
        return Told {
            code: "C002",
            span,
            message: format!("unknown key `{unknown}`{place}"),
            label: "nothing has this name",
            help: Some(help),
        };
    }
    if let Some(unknown) = quoted_after(message, "unknown variant ") {
        let expected = expected_words(message);
        let near = places::nearest(&unknown, &expected).map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
        let help = Some(format!("{near}one of: {}", expected.join(", ")));
        return Told {
            code: "C003",
            span,
            message: format!("`{}` cannot be \"{unknown}\"", places::plain(culprit)),
            label: "not one of the words",
            help,
        };
    }
    let what = match message {
        "invalid socket address syntax" => "is no address with a port".to_owned(),
        "invalid IP address syntax" => "is no IP address".to_owned(),
        other => format!("cannot be read: {other}"),
    };
    let help = match message {
        "invalid socket address syntax" => Some("write it like \"127.0.0.1:2575\" or \"[::1]:2575\"".to_owned()),
        "invalid IP address syntax" => Some("write it like \"10.1.2.3\"".to_owned()),
        _ => None,
    };
    Told { code: "C003", span, message: format!("`{}` {what}", places::plain(culprit)), label: "this value", help }
}

/// The words in backquotes after `expected`.
fn expected_words(message: &str) -> Vec<String> {
    let Some((_, list)) = message.split_once("expected") else { return Vec::new() };
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn quoted_after(message: &str, lead: &str) -> Option<String> {
    let rest = message.strip_prefix(lead)?.strip_prefix('`')?;
    rest.split_once('`').map(|(word, _)| word.to_owned())
}
