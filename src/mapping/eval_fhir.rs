//! A FHIR document as paths see it: the tree, the nodes that `[let]` names, and `$this`, the node a record is made from.
//!
//! # Invariants
//!
//! - What all paths of one message cost together is bounded by the steps of the [`Tree`].
//! - A path is asked once of one node; one that does not depend on the node, once of the document. What it found is remembered.
//! - A number or a truth value is its text; an object or a list has none, and is no value.
//!
//! # Not here
//!
//! There is no null in FHIR: what is absent was not said (canonical model, tri-state).

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;

use jiff::civil::Date;

use super::explain::{At, Notes};
use super::load::Let;
use super::path::{FhirPath, Path};
use super::record::{Over, Record};
use super::view::{Entered, Hit, Mode, View, is_blank, trimmed};
use crate::fhir::{self, Item, Spot, Tree};
use crate::hl7::{narrow, wide};

/// Nodes that reading one document may visit.
pub(super) const STEPS_MAX: u64 = 1_000_000;

/// What a record's paths may see: the whole document, and this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'t> {
    this: Option<Spot<'t>>,
    /// Paths that begin with the Bundle mean another one than that of the whole document.
    is_bundle: bool,
}

/// A document, ready to be asked.
pub(super) struct FhirView<'v, 't> {
    tree: &'v Tree<'t>,
    lets: Vec<(&'v str, Vec<Spot<'t>>)>,
    memory: RefCell<Memory<'t>>,
    /// The node whose place was noted last, and where: several fields come from one node.
    noted: Cell<(u32, u32, u32)>,
    received: Option<Date>,
}

/// Places for what is remembered; the last answer that belongs to a place is kept there.
const PLACES: u32 = 256;

/// What paths found: rules, conditions and remarks of a file ask the same few again and again.
#[derive(Default)]
struct Memory<'t> {
    /// Number of the path, number of the node that it was asked of, and which of the nodes it found.
    places: Vec<[u32; 4]>,
    found: Vec<Spot<'t>>,
}

impl<'v, 't> FhirView<'v, 't> {
    /// Finds what `[let]` names, in order, so that a name may use those above it.
    pub fn new(tree: &'v Tree<'t>, lets: &'v [Let]) -> Self {
        let mut view =
            Self { tree, lets: Vec::with_capacity(lets.len()), memory: RefCell::default(), noted: Cell::default(), received: None };
        for one in lets {
            let paths = one.sources.iter();
            let root = view.root();
            let found = paths.map(|path| view.nodes(&root, path)).find(|found| !found.is_empty()).unwrap_or_default();
            view.lets.push((&one.name, found));
        }
        view
    }

    fn any_node(&self, scope: &Scope<'t>, path: &Path, such: &mut dyn FnMut(Spot<'t>) -> bool) -> bool {
        let Path::Fhir(path) = path else { return false };
        if path.number == 0 {
            return fhir::any_spot(&path.path, self.tree, (scope.this, &self.lets), such);
        }
        self.found(scope, path).any(|at| {
            // Asking may remember more: nothing stays borrowed.
            let spot = self.memory.borrow().found.get(at).copied();
            spot.is_some_and(|spot| !self.tree.is_exhausted() && such(spot))
        })
    }

    /// Which of the nodes in the memory a path finds.
    fn found(&self, scope: &Scope<'t>, path: &FhirPath) -> Range<usize> {
        let this = scope.this.filter(|_| scope.is_bundle || !path.is_of_whole).map_or(0, |this| this.number() + 1);
        let place = wide((path.number.wrapping_add(this.wrapping_mul(61))) % PLACES);
        let memory = &mut *self.memory.borrow_mut();
        if memory.places.is_empty() {
            memory.places = vec![[0; 4]; wide(PLACES)];
            memory.found.reserve(wide(PLACES));
        }
        let Some(place) = memory.places.get_mut(place) else { return 0..0 };
        if let [number, known, from, to] = *place
            && (number, known) == (path.number, this)
        {
            return wide(from)..wide(to);
        }
        let from = memory.found.len();
        fhir::any_spot(&path.path, self.tree, (scope.this, &self.lets), &mut |spot| {
            memory.found.push(spot);
            false
        });
        let to = memory.found.len();
        *place = [path.number, this, narrow(from), narrow(to)];
        from..to
    }

    /// The same view of a message that came on this day.
    pub fn received(self, received: Option<Date>) -> Self {
        Self { received, ..self }
    }

    fn nodes(&self, scope: &Scope<'t>, path: &Path) -> Vec<Spot<'t>> {
        let mut nodes = Vec::new();
        self.any_node(scope, path, &mut |spot| {
            nodes.push(spot);
            false
        });
        if self.tree.is_exhausted() { Vec::new() } else { nodes }
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
        Scope { this: None, is_bundle: false }
    }

    fn any(&self, scope: &Scope<'t>, path: &Path, _mode: Mode, such: &mut dyn FnMut(Hit<'t, Spot<'t>>) -> bool) -> bool {
        self.any_node(scope, path, &mut |spot| {
            let text = text_of(spot.value()).filter(|text| !is_blank(text));
            text.is_some_and(|text| such(Hit { text: Cow::Borrowed(text), null: false, place: spot }))
        })
    }

    fn only_text(&self, scope: &Scope<'t>, path: &Path) -> Option<&str> {
        let Path::Fhir(path) = path else { return Some("") };
        let found = if path.number == 0 { return None } else { self.found(scope, path) };
        match found.len() {
            0 => Some(""),
            1 => {
                let spot = self.memory.borrow().found.get(found.start).copied().filter(|_| !self.tree.is_exhausted());
                Some(spot.and_then(|spot| text_of(spot.value())).map_or("", trimmed))
            }
            _ => None,
        }
    }

    fn exists(&self, scope: &Scope<'t>, path: &Path) -> bool {
        self.any_node(scope, path, &mut |spot| !spot.value().is_null())
    }

    fn count(&self, scope: &Scope<'t>, path: &Path) -> usize {
        match path {
            // What is remembered is counted already.
            Path::Fhir(path) if path.number != 0 => {
                let count = self.found(scope, path).len();
                if self.tree.is_exhausted() { 0 } else { count }
            }
            path => self.nodes(scope, path).len(),
        }
    }

    fn enter(&self, around: &Scope<'t>, record: &Record) -> Entered<Self::Scopes> {
        let Some(Over::Nodes(path)) = &record.over else { return Entered::default() };
        let is_bundle = |spot: Spot<'t>| spot.value().get("resourceType").and_then(Item::as_str) == Some("Bundle");
        let scope = |spot: Spot<'t>| Scope { this: Some(spot), is_bundle: is_bundle(spot) };
        let scopes: Vec<Scope<'t>> = self.nodes(around, path).into_iter().map(scope).collect();
        Entered { scopes: scopes.into_iter(), ..Entered::default() }
    }

    fn place(&self, spot: &Spot<'t>) -> String {
        let mut place = String::new();
        self.tree.location(*spot, &mut place);
        place
    }

    fn note(&self, spot: &Spot<'t>, notes: &mut Notes) -> At {
        let (node, start, end) = self.noted.get();
        if node == spot.number() && start < end {
            return At::Node(start..end);
        }
        let place = notes.keep(|text| self.tree.location(*spot, text));
        self.noted.set((spot.number(), place.start, place.end));
        At::Node(place)
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
