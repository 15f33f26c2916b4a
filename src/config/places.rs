//! Places in a TOML tree: from a byte range to the key it belongs to, and back.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key of a table.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// `intake.mllp[0].listen`: the path as our own code asks for it.
pub fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// `intake.mllp.listen`: the path as a person reads it; the caret says which of several.
pub fn plain(path: &[Step]) -> String {
    let keys: Vec<&str> = path.iter().filter_map(|step| if let Step::Key(key) = step { Some(key.as_str()) } else { None }).collect();
    keys.join(".")
}

/// Reads what [`dotted`] writes.
pub fn parse(dotted: &str) -> Vec<Step> {
    let mut path = Vec::new();
    for part in dotted.split('.').filter(|part| !part.is_empty()) {
        let mut pieces = part.split('[');
        if let Some(key) = pieces.next() {
            path.push(Step::Key(key.to_owned()));
        }
        path.extend(pieces.filter_map(|piece| piece.trim_end_matches(']').parse().ok()).map(Step::Index));
    }
    path
}

/// The smallest key or value that `span` lies in.
pub fn deepest(tree: &Spanned<DeTable<'_>>, span: &Range<usize>) -> Vec<Step> {
    let mut best = (usize::MAX, Vec::new());
    search(tree.get_ref(), &mut Vec::new(), span, &mut best);
    best.1
}

fn search(table: &DeTable<'_>, path: &mut Vec<Step>, span: &Range<usize>, best: &mut (usize, Vec<Step>)) {
    for (key, value) in table.iter() {
        path.push(Step::Key(key.get_ref().to_string()));
        consider(&key.span(), path, span, best);
        search_value(value, path, span, best);
        path.pop();
    }
}

fn search_value(value: &Spanned<DeValue<'_>>, path: &mut Vec<Step>, span: &Range<usize>, best: &mut (usize, Vec<Step>)) {
    consider(&value.span(), path, span, best);
    match value.get_ref() {
        DeValue::Table(table) => search(table, path, span, best),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Index(index));
                search_value(item, path, span, best);
                path.pop();
            }
        }
        _ => {}
    }
}

fn consider(candidate: &Range<usize>, path: &[Step], span: &Range<usize>, best: &mut (usize, Vec<Step>)) {
    let encloses = candidate.start <= span.start && span.end <= candidate.end;
    // On equal terms the deeper one: a list of tables and its first table share a header.
    if encloses && candidate.len() <= best.0 {
        *best = (candidate.len(), path.to_vec());
    }
}

/// Bytes of what stands at `path`, or of the nearest thing above it that stands. With `of_key` the key, else the value.
pub fn span_at(tree: &Spanned<DeTable<'_>>, path: &[Step], of_key: bool) -> Range<usize> {
    let mut found = 0..0;
    let mut table = Some(tree.get_ref());
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    for (depth, step) in path.iter().enumerate() {
        let is_last = depth + 1 == path.len();
        match step {
            Step::Key(key) => {
                let Some((written, below)) = table.and_then(|table| table.get_key_value(key.as_str())) else { return found };
                found = if is_last && of_key { written.span() } else { below.span() };
                value = Some(below);
            }
            Step::Index(index) => {
                let Some(below) = value.and_then(|value| value.get_ref().as_array()).and_then(|items| items.get(*index)) else {
                    return found;
                };
                found = below.span();
                value = Some(below);
            }
        }
        table = value.and_then(|value| value.get_ref().as_table());
    }
    found
}

/// True where something stands at `path`.
pub fn has(tree: &Spanned<DeTable<'_>>, path: &[Step]) -> bool {
    let Some((last, home)) = path.split_last() else { return true };
    match last {
        Step::Key(key) => table(tree, home).is_some_and(|table| table.contains_key(key.as_str())),
        Step::Index(_) => value(tree, path).is_some(),
    }
}

fn value<'a, 't>(tree: &'a Spanned<DeTable<'t>>, path: &[Step]) -> Option<&'a Spanned<DeValue<'t>>> {
    let (first, rest) = path.split_first()?;
    let Step::Key(key) = first else { return None };
    let mut found = tree.get_ref().get(key.as_str())?;
    for step in rest {
        found = match step {
            Step::Key(key) => found.get_ref().as_table()?.get(key.as_str())?,
            Step::Index(index) => found.get_ref().as_array()?.get(*index)?,
        };
    }
    Some(found)
}

/// The table at `path`.
pub fn table<'a, 't>(tree: &'a Spanned<DeTable<'t>>, path: &[Step]) -> Option<&'a DeTable<'t>> {
    if path.is_empty() {
        return Some(tree.get_ref());
    }
    value(tree, path)?.get_ref().as_table()
}

fn value_mut<'a, 't>(tree: &'a mut Spanned<DeTable<'t>>, path: &[Step]) -> Option<&'a mut Spanned<DeValue<'t>>> {
    let (first, rest) = path.split_first()?;
    let Step::Key(key) = first else { return None };
    let mut found = tree.get_mut().get_mut(key.as_str())?;
    for step in rest {
        found = match (step, found.get_mut()) {
            (Step::Key(key), DeValue::Table(table)) => table.get_mut(key.as_str())?,
            (Step::Index(index), DeValue::Array(items)) => items.get_mut(*index)?,
            _ => return None,
        };
    }
    Some(found)
}

/// The table at `path`, to be changed.
pub fn table_mut<'a, 't>(tree: &'a mut Spanned<DeTable<'t>>, path: &[Step]) -> Option<&'a mut DeTable<'t>> {
    if path.is_empty() {
        return Some(tree.get_mut());
    }
    match value_mut(tree, path)?.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// Takes away what stands at `path`.
pub fn remove(tree: &mut Spanned<DeTable<'_>>, path: &[Step]) {
    let Some((last, home)) = path.split_last() else { return };
    match last {
        Step::Key(key) => {
            if let Some(table) = table_mut(tree, home) {
                table.remove(key.as_str());
            }
        }
        Step::Index(index) => {
            if let Some(DeValue::Array(items)) = value_mut(tree, home).map(Spanned::get_mut) {
                let kept = items.iter().enumerate().filter(|(at, _)| at != index).map(|(_, item)| item.clone());
                *items = kept.collect();
            }
        }
    }
}

/// Line and column of a byte, both from 1; columns count characters.
pub fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

/// The word nearest to `written`, if it is near enough to be what was meant.
pub fn nearest(written: &str, words: &[String]) -> Option<String> {
    let limit = (written.chars().count() / 3).max(1);
    let scored = words.iter().map(|word| (distance(written, word), word));
    scored.filter(|(score, _)| *score <= limit).min().map(|(_, word)| word.clone())
}

/// How many characters must be put in, taken out, changed or swapped with their neighbour (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, from) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in right.iter().enumerate() {
            let cell = |up: usize, at: usize| rows.len().checked_sub(up).and_then(|r| rows.get(r)).and_then(|row| row.get(at)).copied();
            let changed = cell(1, j).unwrap_or(usize::MAX - 1) + usize::from(from != to);
            let removed = cell(1, j + 1).unwrap_or(usize::MAX - 1) + 1;
            let inserted = row.last().copied().unwrap_or(usize::MAX - 1) + 1;
            let is_swap = i > 0 && j > 0 && left.get(i - 1) == Some(to) && right.get(j - 1) == Some(from);
            let swapped = if is_swap { cell(2, j - 1).map_or(usize::MAX, |cost| cost + 1) } else { usize::MAX };
            row.push(changed.min(removed).min(inserted).min(swapped));
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_the_same_when_it_is_read_back() {
        for text in ["log", "intake.mllp[1].tls.key_file", "source[0].peers[2]"] {
            assert_eq!(dotted(&parse(text)), text);
        }
    }

    #[test]
    fn only_near_words_are_proposed() {
        let words = ["frame_bytes_max".to_owned(), "listen".to_owned()];
        assert_eq!(nearest("frame_byte_max", &words).as_deref(), Some("frame_bytes_max"));
        assert_eq!(nearest("lisetn", &words).as_deref(), Some("listen"));
        assert_eq!(nearest("colour", &words), None);
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        assert_eq!(line_column("a\nbé = 1", 5), (2, 3));
        assert_eq!(line_column("", 0), (1, 1));
    }
}
