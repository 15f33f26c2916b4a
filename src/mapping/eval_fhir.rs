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

use jiff::civil::Date;

use super::explain::{At, Notes};
use super::load::Let;
use super::path::Path;
use super::record::{Over, Record};
use super::view::{Entered, Hit, Mode, View, is_blank};
use crate::fhir::{self, Item, Spot, Tree};

/// Nodes that reading one document may visit.
pub(super) const STEPS_MAX: u64 = 1_000_000;

/// What a record's paths may see: the whole document, and this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'t> {
    this: Option<Spot<'t>>,
}

/// A document, ready to be asked.
pub(super) struct FhirView<'v, 't> {
    tree: &'v Tree<'t>,
    lets: Vec<(&'v str, Vec<Spot<'t>>)>,
    received: Option<Date>,
}

impl<'v, 't> FhirView<'v, 't> {
    /// Finds what `[let]` names, in order, so that a name may use those above it.
    pub fn new(tree: &'v Tree<'t>, lets: &'v [Let]) -> Self {
        let mut view = Self { tree, lets: Vec::with_capacity(lets.len()), received: None };
        for one in lets {
            let paths = one.sources.iter();
            let found = paths.map(|path| view.nodes(None, path)).find(|found| !found.is_empty()).unwrap_or_default();
            view.lets.push((&one.name, found));
        }
        view
    }

    fn any_node(&self, scope: &Scope<'t>, path: &Path, such: &mut dyn FnMut(Spot<'t>) -> bool) -> bool {
        match path {
            Path::Fhir(path, _) => fhir::any_spot(path, self.tree, (scope.this, &self.lets), such),
            Path::V2(_) => false,
        }
    }

    /// The same view of a message that came on this day.
    pub fn received(self, received: Option<Date>) -> Self {
        Self { received, ..self }
    }

    fn nodes(&self, this: Option<Spot<'t>>, path: &Path) -> Vec<Spot<'t>> {
        match path {
            Path::Fhir(path, _) => fhir::spots(path, self.tree, this, &self.lets),
            Path::V2(_) => Vec::new(),
        }
    }
}

/// The text of a node that is a single value.
fn text_of<'t>(value: &Item<'t>) -> Option<&'t str> {
    match value {
        Item::Text(text) | Item::Number(text) => Some(text),
        Item::Bool(truth) => Some(if *truth { "true" } else { "false" }),
        Item::Null | Item::Array(_) | Item::Object(_) => None,
    }
}

impl<'t> View<'t> for FhirView<'_, 't> {
    type Scope = Scope<'t>;
    type Scopes = std::vec::IntoIter<Scope<'t>>;
    type Place = Spot<'t>;

    fn root(&self) -> Scope<'t> {
        Scope { this: None }
    }

    fn any(&self, scope: &Scope<'t>, path: &Path, _mode: Mode, such: &mut dyn FnMut(Hit<'t, Spot<'t>>) -> bool) -> bool {
        self.any_node(scope, path, &mut |spot| {
            let text = text_of(spot.value()).filter(|text| !is_blank(text));
            text.is_some_and(|text| such(Hit { text: Cow::Borrowed(text), null: false, place: spot }))
        })
    }

    fn exists(&self, scope: &Scope<'t>, path: &Path) -> bool {
        self.any_node(scope, path, &mut |spot| !spot.value().is_null())
    }

    fn count(&self, scope: &Scope<'t>, path: &Path) -> usize {
        self.nodes(scope.this, path).len()
    }

    fn enter(&self, scope: &Scope<'t>, record: &Record) -> Entered<Self::Scopes> {
        let Some(Over::Nodes(path)) = &record.over else { return Entered::default() };
        let scopes: Vec<Scope<'t>> = self.nodes(scope.this, path).into_iter().map(|spot| Scope { this: Some(spot) }).collect();
        Entered { scopes: scopes.into_iter(), ..Entered::default() }
    }

    fn place(&self, spot: &Spot<'t>) -> String {
        let mut place = String::new();
        self.tree.location(*spot, &mut place);
        place
    }

    fn note(&self, spot: &Spot<'t>, notes: &mut Notes) -> At {
        At::Node(notes.keep(|text| self.tree.location(*spot, text)))
    }

    fn bytes(&self, _spot: &Spot<'t>) -> Option<Range<usize>> {
        None
    }

    fn stands_on(&self, scope: &Scope<'t>) -> String {
        scope.this.as_ref().map_or_else(String::new, |this| self.place(this))
    }

    fn received(&self) -> Option<Date> {
        self.received
    }

    fn is_exhausted(&self) -> bool {
        self.tree.is_exhausted()
    }
}
