//! A FHIR document as paths see it: the tree, the nodes that `[let]` names, and `$this`, the node a record is made from.
//!
//! # Invariants
//!
//! - What all paths of one message cost together is bounded by the steps of the [`Tree`].
//! - A number or a truth value is its text; an object or a list has none, and is no value.
//!
//! # Not here
//!
//! There is no null in FHIR: what is absent was not said (canonical model, tri-state).

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::explain::{At, Notes};
use super::load::Let;
use super::path::Path;
use super::record::{Over, Record};
use super::view::{Entered, Hit, Mode, View};
use crate::fhir::{Found, Lets, Tree};

/// Nodes that reading one document may visit.
pub(super) const STEPS_MAX: u64 = 1_000_000;

/// What a record's paths may see: the whole document, and this node.
#[derive(Clone, Debug)]
pub(super) struct Scope<'t> {
    this: Option<Found<'t>>,
}

/// A document, ready to be asked.
pub(super) struct FhirView<'v, 't> {
    tree: &'v Tree<'t>,
    lets: Lets<'t>,
}

impl<'v, 't> FhirView<'v, 't> {
    /// Finds what `[let]` names, in order, so that a name may use those above it.
    pub fn new(tree: &'v Tree<'t>, lets: &[Let]) -> Self {
        let mut view = Self { tree, lets: Lets::new() };
        for one in lets {
            let paths = one.sources.iter();
            let found = paths.map(|path| view.nodes(None, path)).find(|found| !found.is_empty()).unwrap_or_default();
            view.lets.insert(one.name.clone(), found);
        }
        view
    }

    fn nodes(&self, this: Option<&Found<'t>>, path: &Path) -> Vec<Found<'t>> {
        match path {
            Path::Fhir(path, _) => path.find_in(self.tree, this, &self.lets),
            Path::V2(_) => Vec::new(),
        }
    }
}

/// The text of a node that is a single value.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl<'t> View<'t> for FhirView<'_, 't> {
    type Scope = Scope<'t>;
    type Place = String;

    fn root(&self) -> Scope<'t> {
        Scope { this: None }
    }

    fn any(&self, scope: &Scope<'t>, path: &Path, _mode: Mode, such: &mut dyn FnMut(Hit<'t, String>) -> bool) -> bool {
        let hit = |found: Found<'t>| {
            let text = text_of(found.value).filter(|text| !text.trim().is_empty())?;
            Some(Hit { text, null: false, place: found.location })
        };
        self.nodes(scope.this.as_ref(), path).into_iter().filter_map(hit).any(such)
    }

    fn exists(&self, scope: &Scope<'t>, path: &Path) -> bool {
        self.nodes(scope.this.as_ref(), path).iter().any(|found| !found.value.is_null())
    }

    fn count(&self, scope: &Scope<'t>, path: &Path) -> usize {
        self.nodes(scope.this.as_ref(), path).len()
    }

    fn enter(&self, scope: &Scope<'t>, record: &Record) -> Entered<Scope<'t>> {
        let Some(Over::Nodes(path)) = &record.over else { return Entered::of(vec![scope.clone()]) };
        let scopes = self.nodes(scope.this.as_ref(), path).into_iter().map(|found| Scope { this: Some(found) });
        Entered::of(scopes.collect())
    }

    fn place(&self, place: &String) -> String {
        place.clone()
    }

    fn note(&self, place: &String, notes: &mut Notes) -> At {
        At::Node(notes.keep(|text| text.push_str(place)))
    }

    fn bytes(&self, _place: &String) -> Option<Range<usize>> {
        None
    }

    fn stands_on(&self, scope: &Scope<'t>) -> String {
        scope.this.as_ref().map_or_else(String::new, |found| found.location.clone())
    }

    fn is_exhausted(&self) -> bool {
        self.tree.is_exhausted()
    }
}
