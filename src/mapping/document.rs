//! TOML with places: every key and value knows its bytes, every key set is closed.
//!
//! # Not here
//!
//! What the keys mean. Here they are only found, or said to be unknown, missing, or of the wrong kind.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{MISSING_KEY, Mistake, Report, Source, UNKNOWN_KEY, WRONG_KIND, did_you_mean};

/// A value with its place.
pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// A text with its place.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    /// The text.
    pub value: &'a str,
    /// Bytes of the file, quotation marks included.
    pub span: Range<usize>,
}

/// A key with its value.
pub(super) struct Entry<'a> {
    /// The key.
    pub key: &'a str,
    /// Bytes of the key.
    pub span: Range<usize>,
    /// The value.
    pub node: &'a Node<'a>,
}

/// A table of a file.
#[derive(Clone)]
pub(super) struct Section<'a> {
    /// The file.
    pub source: &'a Source,
    /// Its keys and values.
    pub table: &'a DeTable<'a>,
    /// Where it stands.
    pub span: Range<usize>,
    /// What it is called in diagnostics, `[mapping]`.
    pub what: String,
}

/// The entries of a table in the order of the file.
pub(super) fn entries<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let mut all: Vec<Entry<'a>> = table.iter().map(|(key, node)| Entry { key: key.get_ref(), span: key.span(), node }).collect();
    all.sort_by_key(|entry| entry.span.start);
    all
}

impl<'a> Section<'a> {
    /// Reports every key that is not in `keys`.
    pub fn closed(&self, keys: &[&str], report: &Report) {
        for entry in entries(self.table) {
            if !keys.contains(&entry.key) {
                let mistake = Mistake::new(UNKNOWN_KEY, entry.span, format!("{} has no key `{}`", self.what, entry.key));
                report.error(self.source, mistake.maybe_help(did_you_mean(entry.key, keys.iter().copied())));
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a Node<'a>> {
        self.table.get(key)
    }

    /// Where a key stands, or the section.
    pub fn key_span(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    fn wrong<T>(&self, node: &Node<'_>, key: &str, wanted: &str, report: &Report) -> Option<T> {
        let found = node.get_ref().type_str();
        let help = if node.get_ref().is_table() || node.get_ref().is_array() { None } else { quoted_help(self.source, node, wanted) };
        let mistake = Mistake::new(WRONG_KIND, node.span(), format!("`{key}` must be {wanted}, not {}", article(found)));
        report.error(self.source, mistake.maybe_help(help));
        None
    }

    /// A text.
    pub fn text(&self, key: &str, report: &Report) -> Option<Text<'a>> {
        let node = self.get(key)?;
        match node.get_ref().as_str() {
            Some(value) => Some(Text { value, span: node.span() }),
            None => self.wrong(node, key, "a text between quotation marks", report),
        }
    }

    /// A text that must be there.
    pub fn needed(&self, key: &str, example: &str, report: &Report) -> Option<Text<'a>> {
        if self.get(key).is_none() {
            let mistake = Mistake::new(MISSING_KEY, self.span.clone(), format!("{} must say `{key}`", self.what));
            report.error(self.source, mistake.help(format!("add: {key} = {example}")));
        }
        self.text(key, report)
    }

    /// One text or a list of texts.
    pub fn texts(&self, key: &str, report: &Report) -> Vec<Text<'a>> {
        let Some(node) = self.get(key) else { return Vec::new() };
        texts_of(node, self.source, key, report)
    }

    /// True or false.
    pub fn truth(&self, key: &str, report: &Report) -> Option<bool> {
        let node = self.get(key)?;
        node.get_ref().as_bool().or_else(|| self.wrong(node, key, "true or false", report))
    }

    /// A number, whole or not.
    pub fn number(&self, key: &str, report: &Report) -> Option<f64> {
        let node = self.get(key)?;
        let digits = match node.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().replace('_', ""),
            DeValue::Float(number) => number.as_str().replace('_', ""),
            _ => return self.wrong(node, key, "a number", report),
        };
        digits.parse().ok().or_else(|| self.wrong(node, key, "a number", report))
    }

    /// A table below this one.
    pub fn section(&self, key: &str, what: &str, report: &Report) -> Option<Section<'a>> {
        let node = self.get(key)?;
        match node.get_ref().as_table() {
            Some(table) => Some(Section { source: self.source, table, span: self.key_span(key), what: what.to_owned() }),
            None => self.wrong(node, key, "a table", report),
        }
    }

    /// The tables of an array of tables.
    pub fn sections(&self, key: &str, what: &str, report: &Report) -> Vec<Section<'a>> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let Some(array) = node.get_ref().as_array() else {
            let mistake = Mistake::new(WRONG_KIND, self.key_span(key), format!("`{key}` must be a list of tables"));
            report.error(self.source, mistake.help(format!("write [[{key}]] with two brackets")));
            return Vec::new();
        };
        let tables = array.iter().filter_map(|item| match item.get_ref().as_table() {
            Some(table) => {
                Some(Section { source: self.source, table, span: first_key(table).unwrap_or(item.span()), what: what.to_owned() })
            }
            None => self.wrong(item, key, "a table", report),
        });
        tables.collect()
    }

    /// Compares with a closed list of words.
    pub fn word<'w, T: Copy>(&self, key: &str, words: &'w [(&'w str, T)], report: &Report) -> Option<T> {
        let text = self.text(key, report)?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
        if found.is_none() {
            let mistake = Mistake::new(WRONG_KIND, text.span, format!("`{key}` cannot be {:?}", text.value));
            report.error(self.source, mistake.maybe_help(did_you_mean(text.value, words.iter().map(|(word, _)| *word))));
        }
        found
    }
}

/// One text or a list of texts.
pub(super) fn texts_of<'a>(node: &'a Node<'a>, source: &Source, key: &str, report: &Report) -> Vec<Text<'a>> {
    let error = |node: &Node<'_>, wanted: &str| {
        let mistake =
            Mistake::new(WRONG_KIND, node.span(), format!("`{key}` must be {wanted}, not {}", article(node.get_ref().type_str())));
        report.error(source, mistake.maybe_help(quoted_help(source, node, wanted)));
    };
    match node.get_ref() {
        DeValue::String(value) => vec![Text { value, span: node.span() }],
        DeValue::Array(items) => {
            let texts = items.iter().filter_map(|item| {
                let text = item.get_ref().as_str().map(|value| Text { value, span: item.span() });
                if text.is_none() {
                    error(item, "a list of texts between quotation marks");
                }
                text
            });
            texts.collect()
        }
        _ => {
            error(node, "a text between quotation marks, or a list of them");
            Vec::new()
        }
    }
}

fn quoted_help(source: &Source, node: &Node<'_>, wanted: &str) -> Option<String> {
    let written = source.text.get(node.span()).filter(|written| !written.contains('\n') && written.len() < 60)?;
    wanted.contains("text").then(|| format!("write \"{written}\""))
}

fn article(kind: &str) -> String {
    match kind {
        "integer" | "array" => format!("an {kind}"),
        "boolean" => "true or false".to_owned(),
        _ => format!("a {kind}"),
    }
}

/// The first key of a table: arrays of tables have no place of their own that a person would look at.
fn first_key(table: &DeTable<'_>) -> Option<Range<usize>> {
    table.keys().map(Spanned::span).min_by_key(|span| span.start)
}

/// A TOML value as JSON, for constants and expectations.
pub(super) fn json(value: &DeValue<'_>) -> serde_json::Value {
    use serde_json::Value;
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            digits.parse::<i64>().map_or(Value::String(digits), |number| Value::Number(number.into()))
        }
        DeValue::Float(number) => Value::String(number.as_str().to_owned()),
        DeValue::Datetime(moment) => Value::String(moment.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| json(item.get_ref())).collect()),
        DeValue::Table(table) => {
            Value::Object(entries(table).into_iter().map(|entry| (entry.key.to_owned(), json(entry.node.get_ref()))).collect())
        }
    }
}
