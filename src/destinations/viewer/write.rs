//! Writes a message by its template: values found, converted, escaped and joined.
//!
//! # Invariants
//!
//! - No value can make a delimiter, segment or message: each is escaped before it is joined.
//! - An absent value writes nothing. `""` is written only where the site asks and the sender said that there is none.

use serde_json::Value;

use super::shown::Shown;
use super::template::{Choice, Expression, Field, From, Segment, Step, Template, at};
use crate::hl7::{Delimiters, escape};

/// Why a message cannot be written: the place in the template, and never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unwritable(pub(super) String);

/// The segments after MSH, each with its end.
pub(super) fn segments(template: &Template, shown: &Shown, item: &Value, clear: bool) -> Result<String, Unwritable> {
    let mut tree = shown.tree.clone();
    if let Some(fields) = tree.as_object_mut() {
        fields.insert("item".to_owned(), item.clone());
    }
    let mut writer = Writer { cleared: if clear { &shown.cleared } else { &[] }, counts: Vec::new(), text: String::new() };
    for segment in &template.segments {
        writer.segment(segment, &tree)?;
    }
    Ok(writer.text)
}

struct Writer<'a> {
    cleared: &'a [String],
    /// How many segments of an id there are already.
    counts: Vec<(String, usize)>,
    text: String,
}

impl Writer<'_> {
    fn segment(&mut self, segment: &Segment, tree: &Value) -> Result<(), Unwritable> {
        let Some(each) = &segment.each else { return self.one(segment, tree) };
        for one in at(tree, each).and_then(Value::as_array).into_iter().flatten() {
            self.one(segment, &with_it(tree, one))?;
        }
        Ok(())
    }

    fn one(&mut self, segment: &Segment, tree: &Value) -> Result<(), Unwritable> {
        let has = |path: &String| at(tree, path).is_some();
        if segment.when.as_ref().is_some_and(|path| !has(path)) || segment.unless.as_ref().is_some_and(has) {
            return Ok(());
        }
        let number = self.count(&segment.id);
        let mut line = segment.id.clone();
        let last = segment.fields.keys().next_back().copied().unwrap_or_default();
        let mut is_said = segment.fields.values().all(is_constant);
        for place in 1..=last {
            line.push('|');
            if let Some(field) = segment.fields.get(&place) {
                let text = self.field(field, tree, number)?;
                is_said |= !text.is_empty() && !is_constant(field);
                line.push_str(&text);
            }
        }
        let kept = line.trim_end_matches('|').len();
        line.truncate(kept);
        // A segment that says nothing but its own number and the template's own texts is not written.
        if is_said {
            self.text.push_str(&line);
            self.text.push('\r');
        }
        Ok(())
    }

    fn count(&mut self, id: &str) -> usize {
        match self.counts.iter_mut().find(|(known, _)| known == id) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.counts.push((id.to_owned(), 1));
                1
            }
        }
    }

    fn field(&self, field: &Field, tree: &Value, number: usize) -> Result<String, Unwritable> {
        let repetitions = match &field.each {
            None => vec![repetition(field, tree, number)?],
            Some(each) => {
                let list = at(tree, each).and_then(Value::as_array).into_iter().flatten();
                list.map(|one| repetition(field, &with_it(tree, one), number)).collect::<Result<Vec<_>, _>>()?
            }
        };
        let said = repetitions.into_iter().filter(|repetition| !repetition.is_empty()).collect::<Vec<_>>().join("~");
        if said.is_empty() && self.is_cleared(field) {
            return Ok("\"\"".to_owned());
        }
        Ok(said)
    }

    /// The sender said that there is none of what this field is made of.
    fn is_cleared(&self, field: &Field) -> bool {
        let paths = field.parts.iter().flat_map(|(_, choice)| &choice.0).filter_map(|expression| match &expression.from {
            From::Path(path) if field.each.is_none() => Some(path.as_str()),
            _ => None,
        });
        let below = |path: &str, cleared: &str| path == cleared || path.strip_prefix(cleared).is_some_and(|rest| rest.starts_with('.'));
        paths.chain(field.each.as_deref()).any(|path| self.cleared.iter().any(|cleared| below(path, cleared)))
    }
}

fn is_constant(field: &Field) -> bool {
    field.each.is_none() && field.parts.iter().flat_map(|(_, choice)| &choice.0).all(|one| !matches!(one.from, From::Path(_)))
}

fn repetition(field: &Field, tree: &Value, number: usize) -> Result<String, Unwritable> {
    let mut found: Vec<(usize, String, bool)> = Vec::new();
    for (place, choice) in &field.parts {
        let (value, is_own) = value(choice, tree, number).map_err(|table| {
            let (file, line) = &field.place;
            Unwritable(format!("template {file}, line {line}: table \"{table}\" lacks the code"))
        })?;
        found.push((place.saturating_sub(1), value, is_own));
    }
    // A code system or authority without its code says nothing: neither in the whole field nor in its three components.
    let is_void = |of: &dyn Fn(usize) -> bool| {
        let mut own = found.iter().filter(|(place, _, is_own)| *is_own && of(*place)).peekable();
        own.peek().is_some() && own.all(|(_, value, _)| value.is_empty())
    };
    if is_void(&|_| true) {
        return Ok(String::new());
    }
    let mut components = vec![String::new(); found.iter().map(|(place, ..)| place + 1).max().unwrap_or_default()];
    for (place, value, is_own) in &found {
        let is_said = *is_own || !is_void(&|other| other / 3 == place / 3);
        if let Some(component) = components.get_mut(*place).filter(|_| is_said) {
            *component = escape(value, &Delimiters::default()).into_owned();
        }
    }
    let joined = components.join("^");
    Ok(joined.trim_end_matches('^').to_owned())
}

/// The value, and whether it is about the child (or stands in for what is) and not a text of the template alone.
fn value(choice: &Choice, tree: &Value, number: usize) -> Result<(String, bool), String> {
    let is_own = choice.0.iter().any(|one| matches!(one.from, From::Path(_)));
    for Expression { from, steps } in &choice.0 {
        let found = match from {
            From::Text(text) => Some(text.clone()),
            From::Number => Some(number.to_string()),
            From::Path(path) => at(tree, path).and_then(plain),
        };
        let Some(found) = found.filter(|found| !found.is_empty()) else { continue };
        let converted = steps.iter().try_fold(found, |value, step| convert(step, &value))?;
        return Ok((converted, is_own));
    }
    Ok((String::new(), is_own))
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn convert(step: &Step, value: &str) -> Result<String, String> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    Ok(match step {
        Step::Date => digits(value.split('T').next().unwrap_or_default()),
        Step::Time { zone } => {
            let Some((day, clock)) = value.split_once('T') else { return Ok(digits(value)) };
            let (clock, offset) = match clock.find(['+', '-']) {
                Some(at) => clock.split_at(at),
                None => (clock, ""),
            };
            let sign = offset.get(..1).unwrap_or_default();
            let offset = if *zone { format!("{sign}{}", digits(offset)) } else { String::new() };
            format!("{}{}{offset}", digits(day), digits(clock))
        }
        Step::Upper => value.to_uppercase(),
        Step::Table { name, rows } => rows.get(value).or_else(|| rows.get("*")).cloned().ok_or_else(|| name.clone())?,
    })
}

fn with_it(tree: &Value, one: &Value) -> Value {
    let mut tree = tree.clone();
    if let Some(fields) = tree.as_object_mut() {
        fields.insert("it".to_owned(), one.clone());
    }
    tree
}
