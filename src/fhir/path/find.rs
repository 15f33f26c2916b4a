//! Path and tree to nodes.

use super::parse::{Condition, Head, Operand, Step, StepKind};
use super::{Found, Lets, Path, is_type_name};
use crate::fhir::elements::chosen_type;
use crate::fhir::path::RECORD;
use crate::fhir::{Item, Member, References};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A document that many paths are asked of: its references are looked up once, and all the paths together may take so many steps.
#[derive(Debug)]
pub struct Tree<'t> {
    root: &'t Item<'t>,
    references: OnceCell<References<'t, &'t Item<'t>>>,
    /// What `entry.resource` of the root finds: most paths begin so.
    resources: OnceCell<Vec<Node<'t>>>,
    steps_left: Cell<u64>,
    /// How each node was reached that somebody may still hold. The first is the root.
    links: RefCell<Vec<Link<'t>>>,
    /// The place of the last node whose place was asked without its own step, and which node that is: neighbours are asked together.
    around: RefCell<(u32, String)>,
}

impl<'t> Tree<'t> {
    /// A document without a bound of steps.
    pub fn new(root: &'t Item<'t>) -> Self {
        Self::with_steps(root, u64::MAX)
    }

    /// A document whose paths may visit `steps_max` nodes in all (the limits of a mapping allow 1,000,000).
    pub fn with_steps(root: &'t Item<'t>, steps_max: u64) -> Self {
        let mut links = Vec::with_capacity(256);
        links.push(Link { parent: None, value: Some(root), name: Name::Root(root_name(root)) });
        Self {
            root,
            references: OnceCell::new(),
            resources: OnceCell::new(),
            steps_left: Cell::new(steps_max),
            links: RefCell::new(links),
            around: RefCell::default(),
        }
    }

    fn root_node(&self) -> Node<'t> {
        Node { value: Some(self.root), extra: None, chosen: None, link: 0 }
    }

    /// Where a node is: `Bundle.entry[3].resource.name[0].family`.
    pub(crate) fn location(&self, spot: Spot<'t>, out: &mut String) {
        let links = self.links.borrow();
        let Some(link) = links.get(index(spot.0.link)) else { return };
        if let Some(parent) = link.parent {
            let around = &mut *self.around.borrow_mut();
            if around.0 != parent || around.1.is_empty() {
                around.0 = parent;
                around.1.clear();
                self.write_way(&links, parent, &mut around.1);
            }
            out.push_str(&around.1);
        }
        self.write_step(link, out);
    }

    fn write_way(&self, links: &[Link<'t>], link: u32, out: &mut String) {
        let Some(link) = links.get(index(link)) else { return };
        if let Some(parent) = link.parent {
            self.write_way(links, parent, out);
        }
        self.write_step(link, out);
    }

    fn write_step(&self, link: &Link<'t>, out: &mut String) {
        match &link.name {
            Name::Root(text) => out.push_str(text),
            Name::Text(text) => out.push_str(text),
            Name::Entry(at) => {
                out.push_str(root_name(self.root));
                out.push_str(".entry");
                push_place(out, *at);
                out.push_str(".resource");
            }
            Name::Element(name, at) => {
                out.push('.');
                out.push_str(name);
                if let Some(at) = at {
                    push_place(out, index(*at));
                }
            }
        }
    }

    /// Gives so many steps anew.
    pub(crate) fn refresh(&self, steps_max: u64) {
        self.steps_left.set(steps_max);
    }

    /// Whether a path was cut short because the steps were used up. What was found since then counts for nothing.
    pub fn is_exhausted(&self) -> bool {
        self.steps_left.get() == 0
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// `[3]`
fn push_place(out: &mut String, number: usize) {
    out.push('[');
    push_number(out, number);
    out.push(']');
}

fn push_number(out: &mut String, number: usize) {
    if 10 <= number {
        push_number(out, number / 10);
    }
    out.push(char::from(b'0' + u8::try_from(number % 10).unwrap_or(0)));
}

/// Nodes that names stand for: `$patient`, kept here as `patient`.
pub(super) type Named<'l, 't> = [(&'l str, Vec<Spot<'t>>)];

/// A node that was found, as its [`Tree`] knows it: its place is put into words by [`Tree::location`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'t>(Node<'t>);

impl<'t> Spot<'t> {
    /// The node.
    pub(crate) fn value(self) -> &'t Item<'t> {
        self.0.value.unwrap_or(&Item::Null)
    }

    /// Its number: no two nodes that are kept have the same.
    pub(crate) fn number(self) -> u32 {
        self.0.link
    }

    /// The node as a path begins at it.
    fn entered(self) -> Node<'t> {
        Node { chosen: None, ..self.0 }
    }
}

/// Shows the nodes that a path finds, in document order, until one is such; none, when the steps of the tree are used up.
pub(crate) fn any_spot<'t>(
    path: &Path,
    tree: &Tree<'t>,
    (base, lets): (Option<Spot<'t>>, &Named<'_, 't>),
    such: &mut dyn FnMut(Spot<'t>) -> bool,
) -> bool {
    let root = tree.root_node();
    let this = base.map_or(root, Spot::entered);
    let search = Search { tree, lets, record: this };
    // Now, when no condition is asked: what a condition looked at is forgotten behind it.
    tree.resources.get_or_init(|| search.resources(root));
    search.any(path, (root, this), &mut |node| node.value.is_some() && !tree.is_exhausted() && such(Spot(node)))
}

pub(super) fn find<'t>(path: &Path, tree: &Tree<'t>, base: Option<&Found<'t>>, lets: &Lets<'t>) -> Vec<Found<'t>> {
    let search = Search { tree, lets: &[], record: tree.root_node() };
    let enter = |found: &Found<'t>| Spot(search.enter(found));
    let base = base.map(enter);
    let used = path.lets();
    let used = used.iter().filter_map(|name| Some((*name, lets.get(*name)?.iter().map(enter).collect())));
    let lets: Vec<(&str, Vec<Spot<'t>>)> = used.collect();
    let located = |spot: Spot<'t>| {
        let mut location = String::new();
        tree.location(spot, &mut location);
        Found { value: spot.value(), location }
    };
    let mut spots = Vec::new();
    any_spot(path, tree, (base, &lets), &mut |spot| {
        spots.push(spot);
        false
    });
    if tree.is_exhausted() { Vec::new() } else { spots.into_iter().map(located).collect() }
}

/// What a location begins with: the type of the document.
pub(super) fn root_name<'t>(root: &Item<'t>) -> &'t str {
    root.get("resourceType").and_then(Item::as_str).unwrap_or("Resource")
}

/// A node on the way, and how it was reached. Locations are written only for what is found in the end.
#[derive(Clone, Copy, Debug)]
struct Node<'t> {
    /// `None`: a primitive with extensions and no value.
    value: Option<&'t Item<'t>>,
    /// The `id` and extensions of a primitive.
    extra: Option<&'t Item<'t>>,
    /// The type that ended the name of a choice, `Quantity`.
    chosen: Option<&'t str>,
    link: u32,
}

#[derive(Debug)]
struct Link<'t> {
    parent: Option<u32>,
    value: Option<&'t Item<'t>>,
    name: Name<'t>,
}

/// What an object has under a name, `birthDate` and `_birthDate` together.
struct Given<'t> {
    key: &'t str,
    value: Option<&'t Item<'t>>,
    extra: Option<&'t Item<'t>>,
    /// How many, if it is a list.
    length: Option<usize>,
}

impl<'t> Given<'t> {
    fn of(object: &'t [Member<'t>], name: &str) -> Option<Self> {
        let (mut given, mut beside) = (None, None);
        for member in object {
            let (key, value) = member;
            if given.is_none() && *key == name && !value.is_null() {
                given = Some(member);
                // Only primitives have something beside them; for the others nothing more is searched.
                if is_complex(value) {
                    beside = None;
                    break;
                }
            } else if beside.is_none() && key.strip_prefix('_') == Some(name) {
                beside = Some(member);
            }
        }
        let key = given.map(|(key, _)| *key).or_else(|| beside.and_then(|(key, _)| key.strip_prefix('_')))?;
        let (value, extra) = (given.map(|(_, value)| value), beside.map(|(_, extra)| extra));
        let length = [value, extra].into_iter().flatten().filter_map(Item::as_array).map(<[Item<'_>]>::len).max();
        Some(Self { key, value, extra, length })
    }
}

#[derive(Debug)]
enum Name<'t> {
    Root(&'t str),
    Element(&'t str, Option<u32>),
    /// The resource of an entry of the Bundle, found by a reference.
    Entry(usize),
    /// A whole location.
    Text(Box<str>),
}

/// What is left of a path on its way.
#[derive(Clone, Copy)]
struct Way<'p, 't> {
    path: &'p Path,
    root: Node<'t>,
    steps: &'p [Step],
}

struct Search<'s, 't> {
    tree: &'s Tree<'t>,
    lets: &'s Named<'s, 't>,
    /// What the whole path is asked of: `$record`, also where `$this` is a node inside `where`.
    record: Node<'t>,
}

impl<'t> Search<'_, 't> {
    /// Shows the nodes that a path finds, in document order, until one is such.
    fn any(&self, path: &Path, (root, this): (Node<'t>, Node<'t>), such: &mut dyn FnMut(Node<'t>) -> bool) -> bool {
        let way = |steps| Way { path, root, steps };
        match (&path.head, path.steps.split_first()) {
            (Head::Let(name), _) => match self.lets.iter().find(|(known, _)| known == name) {
                Some((_, spots)) => self.from(spots.iter().map(|spot| spot.entered()), way(&path.steps), such),
                None if name == RECORD => self.from(std::iter::once(self.record), way(&path.steps), such),
                None => self.from(std::iter::empty(), way(&path.steps), such),
            },
            (Head::Tree, Some((first, rest))) if is_type(first) => {
                let start = typed(first, root, this);
                match (start, self.tree.resources.get(), rest) {
                    (Some(Node { link: 0, .. }), Some(resources), [entry, resource, rest @ ..])
                        if entry.kind.is_name("entry") && resource.kind.is_name("resource") =>
                    {
                        self.from(resources.iter().copied(), way(rest), such)
                    }
                    _ => self.from(start.into_iter(), way(rest), such),
                }
            }
            (Head::Tree | Head::This, _) => self.from(std::iter::once(this), way(&path.steps), such),
        }
    }

    /// What `entry.resource` of the root finds.
    fn resources(&self, root: Node<'t>) -> Vec<Node<'t>> {
        let mut resources = Vec::new();
        self.any_child(root, "entry", &mut |entry| {
            self.any_child(entry, "resource", &mut |resource| {
                resources.push(resource);
                false
            })
        });
        resources
    }

    /// Goes the way from each of some nodes. A step that looks at all nodes together waits until all of them are known.
    fn from(&self, mut nodes: impl Iterator<Item = Node<'t>>, way: Way<'_, 't>, such: &mut dyn FnMut(Node<'t>) -> bool) -> bool {
        let Some(at) = way.steps.iter().position(|step| step.kind.is_of_all()) else {
            return nodes.any(|node| self.walk(node, way.steps, way.root, such));
        };
        let (before, rest) = way.steps.split_at_checked(at).unwrap_or_default();
        let Some((step, after)) = rest.split_first() else { return false };
        let mut all = Vec::new();
        for node in nodes {
            self.walk(node, before, way.root, &mut |node| {
                all.push(node);
                false
            });
        }
        let left = self.of_all(step, all, &way);
        self.from(left.into_iter(), Way { steps: after, ..way }, such)
    }

    /// A step from all nodes together.
    fn of_all(&self, step: &Step, nodes: Vec<Node<'t>>, way: &Way<'_, 't>) -> Vec<Node<'t>> {
        match &step.kind {
            StepKind::Index(at) => nodes.get(*at).copied().into_iter().collect(),
            StepKind::First => nodes.first().copied().into_iter().collect(),
            StepKind::Last => nodes.last().copied().into_iter().collect(),
            StepKind::Exists(condition) => {
                let passes = |node: &Node<'t>| condition.as_ref().is_none_or(|condition| self.passes(node, condition, way.root));
                let found = nodes.iter().filter(|node| passes(node)).any(|node| node.value.is_some());
                vec![self.computed(if found { &TRUE } else { &FALSE }, way.path)]
            }
            StepKind::Count => vec![self.computed(count(nodes.iter().filter(|node| node.value.is_some()).count()), way.path)],
            StepKind::Name(_) | StepKind::Where(_) | StepKind::OfType(_) | StepKind::Extension(_) | StepKind::Resolve => nodes,
        }
    }

    /// Goes some steps from one node, each of which looks at one node only.
    fn walk(&self, node: Node<'t>, steps: &[Step], root: Node<'t>, such: &mut dyn FnMut(Node<'t>) -> bool) -> bool {
        let Some((step, rest)) = steps.split_first() else { return such(node) };
        match &step.kind {
            StepKind::Name(name) => self.any_child(node, name, &mut |child| self.walk(child, rest, root, such)),
            StepKind::Where(condition) => self.passes(&node, condition, root) && self.walk(node, rest, root, such),
            StepKind::OfType(wanted) => is_of_type(node, wanted) && self.walk(node, rest, root, such),
            StepKind::Extension(url) => {
                let has_url = |node: Node<'t>| node.value.and_then(|value| value.get("url")).and_then(Item::as_str) == Some(url);
                self.any_child(node, "extension", &mut |child| has_url(child) && self.walk(child, rest, root, such))
            }
            StepKind::Resolve => self.resolve(node).is_some_and(|node| self.walk(node, rest, root, such)),
            StepKind::Index(_) | StepKind::First | StepKind::Last | StepKind::Exists(_) | StepKind::Count => false,
        }
    }

    fn passes(&self, node: &Node<'t>, condition: &Condition, root: Node<'t>) -> bool {
        let before = self.tree.links.borrow().len();
        let holds = self.holds(condition, root, *node);
        // Nothing keeps a node that a condition looked at.
        self.tree.links.borrow_mut().truncate(before);
        holds && !self.tree.is_exhausted()
    }

    fn holds(&self, condition: &Condition, root: Node<'t>, this: Node<'t>) -> bool {
        match condition {
            Condition::Any(parts) => parts.iter().any(|part| self.holds(part, root, this)),
            Condition::All(parts) => parts.iter().all(|part| self.holds(part, root, this)),
            Condition::Not(part) => !self.holds(part, root, this),
            Condition::Is(operand) => self.any_value(operand, (root, this), &mut |value| *value != Comparable::Boolean(false)),
            Condition::Compare { left, equal, right } => {
                let is_same = match right {
                    Operand::Path(_) => {
                        let mut all = Vec::new();
                        self.any_value(right, (root, this), &mut |value| {
                            all.push(value.clone());
                            false
                        });
                        self.any_value(left, (root, this), &mut |value| all.iter().any(|other| value.is_same(other)))
                    }
                    right => self
                        .any_value(left, (root, this), &mut |value| self.any_value(right, (root, this), &mut |other| value.is_same(other))),
                };
                is_same == *equal
            }
        }
    }

    /// Shows the values of one side of a comparison until one is such.
    fn any_value<'o>(&self, operand: &'o Operand, asked: (Node<'t>, Node<'t>), such: &mut dyn FnMut(&Comparable<'o>) -> bool) -> bool
    where
        't: 'o,
    {
        match operand {
            Operand::Text(text) => such(&Comparable::Text(text)),
            Operand::Number(number) => such(&Comparable::Number(number)),
            Operand::Boolean(value) => such(&Comparable::Boolean(*value)),
            Operand::Path(path) => self.any(path, asked, &mut |node| node.value.is_some_and(|value| such(&comparable(value)))),
        }
    }

    fn any_child(&self, node: Node<'t>, name: &str, such: &mut dyn FnMut(Node<'t>) -> bool) -> bool {
        // What is not an object is a primitive, whose children are beside it.
        let object = node.value.and_then(Item::as_object).or_else(|| node.extra.and_then(Item::as_object));
        let Some(object) = object.filter(|_| !self.tree.is_exhausted()) else { return false };
        match Given::of(object, name) {
            Some(given) => self.any_given(&given, None, node, such),
            None => self.any_choice(object, name, node, such),
        }
    }

    /// Shows what was given under a name.
    fn any_given(&self, given: &Given<'t>, chosen: Option<&'t str>, parent: Node<'t>, such: &mut dyn FnMut(Node<'t>) -> bool) -> bool {
        let mut all = (0..given.length.unwrap_or(1)).filter_map(|at| self.child(given, at, parent));
        all.any(|child| such(Node { chosen, ..child }))
    }

    /// The value at `at` (from 0) of those given under a name.
    fn child(&self, given: &Given<'t>, at: usize, parent: Node<'t>) -> Option<Node<'t>> {
        let one = |list: Option<&'t Item<'t>>| if given.length.is_some() { list.and_then(|list| list.as_array()?.get(at)) } else { list };
        let [value, extra] = [given.value, given.extra].map(|list| one(list).filter(|value| !value.is_null()));
        if value.is_none() && extra.is_none() {
            return None;
        }
        let at = given.length.map(|_| u32::try_from(at).unwrap_or(u32::MAX));
        let link = self.link(Some(parent.link), value, Name::Element(given.key, at));
        Some(Node { extra, ..link })
    }

    /// Shows `valueQuantity` for `value`.
    fn any_choice(&self, object: &'t [Member<'t>], name: &str, parent: Node<'t>, such: &mut dyn FnMut(Node<'t>) -> bool) -> bool {
        let mut done: Option<&str> = None;
        for key in object.iter().map(|(key, _)| key.strip_prefix('_').unwrap_or(key)) {
            if let Some(chosen) = chosen_type(name, key)
                && done != Some(key)
            {
                if let Some(given) = Given::of(object, key)
                    && self.any_given(&given, Some(chosen), parent, such)
                {
                    return true;
                }
                done = Some(key);
            }
        }
        false
    }

    /// What a reference (or a text that is one) means.
    fn resolve(&self, node: Node<'t>) -> Option<Node<'t>> {
        let value = node.value?;
        let reference = value.as_str().or_else(|| value.get("reference").and_then(Item::as_str))?;
        if let Some(id) = reference.strip_prefix('#') {
            return self.contained(node.link, id);
        }
        let references = self.tree.references.get_or_init(|| References::of(self.tree.root));
        let (at, resource) = references.entry(reference)?;
        Some(self.link(None, Some(resource), Name::Entry(at)))
    }

    /// The resource inside the one around the reference; `#` alone is the one around.
    fn contained(&self, link: u32, id: &str) -> Option<Node<'t>> {
        let around = self.around(link)?;
        if id.is_empty() {
            return Some(around);
        }
        let given = Given::of(around.value?.as_object()?, "contained")?;
        let mut found = None;
        self.any_given(&given, None, around, &mut |node| {
            found = Some(node).filter(|node| node.value.and_then(|value| value.get("id")).and_then(Item::as_str) == Some(id));
            found.is_some()
        });
        found
    }

    /// The resource around a node that is itself not contained in another.
    fn around(&self, mut link: u32) -> Option<Node<'t>> {
        loop {
            let (parent, value, contained) = {
                let links = self.tree.links.borrow();
                let here = links.get(index(link))?;
                (here.parent, here.value, matches!(here.name, Name::Element("contained", _)))
            };
            if !contained && value.is_some_and(|value| value.get("resourceType").is_some()) {
                return Some(Node { value, extra: None, chosen: None, link });
            }
            link = parent?;
        }
    }

    /// A node found earlier, with its way from the root, so that its extensions and its resource are known again.
    fn enter(&self, found: &Found<'t>) -> Node<'t> {
        let whole = || self.link(None, Some(found.value), Name::Text(found.location.as_str().into()));
        self.follow(&found.location).filter(|node| node.value.is_some_and(|value| std::ptr::eq(value, found.value))).unwrap_or_else(whole)
    }

    fn follow(&self, location: &str) -> Option<Node<'t>> {
        let root = root_name(self.tree.root);
        let mut node = self.tree.root_node();
        let rest = location.strip_prefix(root)?;
        for part in rest.split('.').skip(1) {
            let (name, at) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
                Some((name, at)) => (name, at.parse::<usize>().ok()?),
                None => (part, 0),
            };
            node = self.child(&Given::of(node.value?.as_object()?, name)?, at, node)?;
        }
        Some(node)
    }

    fn computed(&self, value: &'t Item<'t>, path: &Path) -> Node<'t> {
        self.link(None, Some(value), Name::Text(path.text.as_str().into()))
    }

    fn link(&self, parent: Option<u32>, value: Option<&'t Item<'t>>, name: Name<'t>) -> Node<'t> {
        let left = self.tree.steps_left.get();
        self.tree.steps_left.set(left.saturating_sub(1));
        let mut links = self.tree.links.borrow_mut();
        // An exhausted search ends: no value, no children.
        let value = if left == 0 { None } else { value };
        links.push(Link { parent, value, name });
        Node { value, extra: None, chosen: None, link: u32::try_from(links.len() - 1).unwrap_or(u32::MAX) }
    }
}

static TRUE: Item<'static> = Item::Bool(true);
static FALSE: Item<'static> = Item::Bool(false);

/// A number that lives as long as any tree. Each is made once, and a document has no more elements than its limits allow.
fn count(number: usize) -> &'static Item<'static> {
    static COUNTS: Mutex<BTreeMap<usize, &'static Item<'static>>> = Mutex::new(BTreeMap::new());
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    counts.entry(number).or_insert_with(|| Box::leak(Box::new(Item::Number(number.to_string().leak()))))
}

/// A path that begins with a type begins at the node of that type: the one it is asked of, or the root.
fn typed<'t>(first: &Step, root: Node<'t>, this: Node<'t>) -> Option<Node<'t>> {
    let StepKind::Name(name) = &first.kind else { return None };
    [this, root].into_iter().find(|node| resource_type(*node) == Some(name))
}

impl StepKind {
    fn is_name(&self, name: &str) -> bool {
        matches!(self, Self::Name(known) if known == name)
    }

    /// It looks at all nodes together: which is the first, how many there are.
    fn is_of_all(&self) -> bool {
        matches!(self, Self::Index(_) | Self::First | Self::Last | Self::Exists(_) | Self::Count)
    }
}

fn is_type(step: &Step) -> bool {
    matches!(&step.kind, StepKind::Name(name) if is_type_name(name))
}

fn is_complex(value: &Item<'_>) -> bool {
    match value {
        Item::Object(_) => true,
        Item::Array(values) => matches!(values.first(), Some(Item::Object(_))),
        _ => false,
    }
}

fn resource_type<'t>(node: Node<'t>) -> Option<&'t str> {
    node.value.and_then(|value| value.get("resourceType")).and_then(Item::as_str)
}

/// A resource of this type, or a choice that was made for it; primitives are written `dateTime` or `DateTime`.
fn is_of_type(node: Node<'_>, wanted: &str) -> bool {
    resource_type(node) == Some(wanted) || node.chosen.is_some_and(|chosen| chosen.eq_ignore_ascii_case(wanted))
}

/// A value as comparisons see it.
#[derive(Clone, Debug, PartialEq)]
enum Comparable<'v> {
    Text(&'v str),
    Number(&'v str),
    Boolean(bool),
    /// An object, which is the same as itself and nothing else, however like it another may be.
    Object(&'v Item<'v>),
}

fn comparable<'v>(value: &'v Item<'v>) -> Comparable<'v> {
    match value {
        Item::Text(text) => Comparable::Text(text),
        Item::Number(number) => Comparable::Number(number),
        Item::Bool(value) => Comparable::Boolean(*value),
        Item::Null | Item::Array(_) | Item::Object(_) => Comparable::Object(value),
    }
}

impl Comparable<'_> {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(left), Self::Object(right)) => std::ptr::eq(*left, *right),
            (Self::Object(_), _) | (_, Self::Object(_)) => false,
            (Self::Number(left), Self::Number(right)) => plain_decimal(left) == plain_decimal(right),
            // A decimal is a text in the tree.
            (Self::Number(number), Self::Text(text)) | (Self::Text(text), Self::Number(number)) => {
                plain_decimal(number) == plain_decimal(text)
            }
            (Self::Boolean(value), Self::Text(text)) | (Self::Text(text), Self::Boolean(value)) => {
                *text == if *value { "true" } else { "false" }
            }
            (left, right) => left == right,
        }
    }
}

/// A decimal without the zeros that make no difference: `3.50` is `3.5`.
fn plain_decimal(number: &str) -> &str {
    if number.contains('.') && !number.contains(['e', 'E']) { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bumpalo::Bump;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const BIRTH_TIME: &str = "http://hl7.org/fhir/StructureDefinition/patient-birthTime";

    /// A mother, her baby, and two observations of the baby.
    fn bundle() -> Value {
        let observation = |code: &str, value: Value| {
            let mut observation = json!({
                "resourceType": "Observation",
                "code": { "coding": [{ "system": "http://loinc.org", "code": "29463-7" }, { "system": "http://snomed.info/sct", "code": code }] },
                "subject": { "reference": "urn:uuid:baby" }
            });
            observation.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            observation
        };
        let baby = json!({
            "resourceType": "Patient", "id": "2",
            "contained": [{ "resourceType": "Organization", "id": "gp", "name": "The Surgery" }],
            "generalPractitioner": [{ "reference": "#gp" }],
            "name": [{ "family": "Old", "given": ["A"], "use": "old" }, { "family": "Example", "given": ["Ada", null], "_given": [null, { "id": "x" }] }],
            "active": true, "birthDate": "2026-04-01", "multipleBirthInteger": 2,
            "_birthDate": { "extension": [{ "url": BIRTH_TIME, "valueDateTime": "2026-04-01T03:04:05+01:00" }] },
            "_gender": { "extension": [{ "url": "absent", "valueCode": "unknown" }] }
        });
        json!({
            "resourceType": "Bundle", "type": "message",
            "entry": [
                { "fullUrl": "urn:uuid:mother", "resource": { "resourceType": "Patient", "id": "1", "name": [{ "family": "Example", "use": "official" }] } },
                { "fullUrl": "urn:uuid:baby", "resource": baby },
                { "fullUrl": "urn:uuid:w", "resource": observation("364589006", json!({ "valueQuantity": { "value": "3.50", "unit": "kg" } })) },
                { "fullUrl": "urn:uuid:g", "resource": observation("412726003", json!({ "valueInteger": 40 })) }
            ]
        })
    }

    /// What a path finds, with places: `Bundle.type=message`.
    fn found(path: &str, lets: &[(&str, &str)]) -> Vec<String> {
        let arena = Bump::new();
        let bundle = Item::of(&bundle(), &arena);
        let find = |path: &str, lets: &Lets<'_>| -> Vec<String> {
            let text = |item: &Item<'_>| item.as_str().map_or_else(|| item.to_value().to_string(), str::to_owned);
            Path::parse(path)
                .expect(path)
                .find(&bundle, lets)
                .iter()
                .map(|found| format!("{}={}", found.location, text(found.value)))
                .collect()
        };
        let lets = lets.iter().map(|(name, path)| ((*name).to_owned(), Path::parse(path).unwrap().find(&bundle, &Lets::new()))).collect();
        find(path, &lets)
    }

    fn check(path: &str, expected: &[&str]) {
        let lets =
            [("baby", "Bundle.entry.resource.ofType(Patient)[2]"), ("date", "Bundle.entry.resource.birthDate"), ("none", "Bundle.nothing")];
        assert_eq!(found(path, &lets), expected, "{path}");
    }

    #[test]
    fn names_go_through_lists_and_places_count_from_zero() {
        check("Bundle.type", &["Bundle.type=message"]);
        check("type", &["Bundle.type=message"]);
        check("$this.type", &["Bundle.type=message"]);
        check(
            "Bundle.entry.resource.name.given",
            &["Bundle.entry[1].resource.name[0].given[0]=A", "Bundle.entry[1].resource.name[1].given[0]=Ada"],
        );
        check("Patient.name", &[]);
        check("Bundle.nothing.at.all", &[]);
    }

    #[test]
    fn numbers_count_from_one_over_all_that_was_found() {
        check("Bundle.entry.resource.name.family[1]", &["Bundle.entry[0].resource.name[0].family=Example"]);
        check("Bundle.entry.resource.name.family[3]", &["Bundle.entry[1].resource.name[1].family=Example"]);
        check("Bundle.entry.resource.name.family[4]", &[]);
        check("Bundle.entry.resource.name.first().family", &["Bundle.entry[0].resource.name[0].family=Example"]);
        check("Bundle.entry.resource.name.last().family", &["Bundle.entry[1].resource.name[1].family=Example"]);
    }

    #[test]
    fn conditions_choose() {
        check("$baby.name.where(use = 'old').family", &["Bundle.entry[1].resource.name[0].family=Old"]);
        check("$baby.name.where(use != 'old').family", &["Bundle.entry[1].resource.name[1].family=Example"]);
        check("$baby.name.where(exists(use) and given = 'A' or family = 'x').family", &["Bundle.entry[1].resource.name[0].family=Old"]);
        check("$baby.name.where(not (use = 'old')).family", &["Bundle.entry[1].resource.name[1].family=Example"]);
        check("$baby.name.where(not exists(use)).given", &["Bundle.entry[1].resource.name[1].given[0]=Ada"]);
        check("$baby.where(name.use = 'old').id", &["Bundle.entry[1].resource.id=2"]);
        check("$baby.where(active and active = true).id", &["Bundle.entry[1].resource.id=2"]);
        check("$baby.where(active = false).id", &[]);
        check("Bundle.entry.where(fullUrl = 'urn:uuid:w' and Bundle.type = 'message').fullUrl", &["Bundle.entry[2].fullUrl=urn:uuid:w"]);
        check("Bundle.entry.resource.where(birthDate = $date).id", &["Bundle.entry[1].resource.id=2"]);
        check("Bundle.entry.resource.where(name.where(use = 'official')).id", &["Bundle.entry[0].resource.id=1"]);
        check("$baby.name.given.where($this = 'Ada')", &["Bundle.entry[1].resource.name[1].given[0]=Ada"]);
    }

    #[test]
    fn numbers_are_equal_when_they_are_worth_the_same() {
        check("Bundle.entry.resource.valueQuantity.where(value = 3.5).unit", &["Bundle.entry[2].resource.valueQuantity.unit=kg"]);
        check("Bundle.entry.resource.valueQuantity.where(value = '3.5').unit", &[]);
        check("Bundle.entry.resource.where(valueInteger = 40).valueInteger", &["Bundle.entry[3].resource.valueInteger=40"]);
        check("Bundle.entry.where(resource.name.count() = 2).fullUrl", &["Bundle.entry[1].fullUrl=urn:uuid:baby"]);
    }

    #[test]
    fn a_choice_is_found_without_its_type_and_chosen_with_it() {
        let [weight, weeks] = ["Bundle.entry[2].resource.valueQuantity.value=3.50", "Bundle.entry[3].resource.valueInteger=40"];
        check("Bundle.entry.resource.value.value", &[weight]);
        check("Bundle.entry.resource.value.ofType(integer)", &[weeks]);
        check("Bundle.entry.resource.value.ofType(Quantity).value", &[weight]);
        check("Bundle.entry.resource.where(code.coding.code = '412726003').value", &[weeks]);
        check("$baby.multipleBirth", &["Bundle.entry[1].resource.multipleBirthInteger=2"]);
    }

    #[test]
    fn extensions_of_primitives_are_found_beside_them() {
        let time = "Bundle.entry[1].resource.birthDate.extension[0].valueDateTime=2026-04-01T03:04:05+01:00";
        check(&format!("$baby.birthDate.extension('{BIRTH_TIME}').value"), &[time]);
        check(&format!("$date.extension('{BIRTH_TIME}').value"), &[time]);
        check("$baby.birthDate.extension('other').value", &[]);
        check("$baby.gender.extension('absent').value", &["Bundle.entry[1].resource.gender.extension[0].valueCode=unknown"]);
        check("$baby.gender", &[]);
        check("$baby.gender.exists()", &["$baby.gender.exists()=false"]);
        check("$baby.name.given.id", &["Bundle.entry[1].resource.name[1].given[1].id=x"]);
    }

    #[test]
    fn references_are_followed() {
        check(
            "Bundle.entry.resource.ofType(Observation)[1].subject.resolve().birthDate",
            &["Bundle.entry[1].resource.birthDate=2026-04-01"],
        );
        check("Bundle.entry.resource.subject.reference.resolve().id", &["Bundle.entry[1].resource.id=2", "Bundle.entry[1].resource.id=2"]);
        check(
            "Bundle.entry.resource.ofType(Observation).where(subject.resolve().active).value.unit",
            &["Bundle.entry[2].resource.valueQuantity.unit=kg"],
        );
        check("$baby.generalPractitioner.resolve().name", &["Bundle.entry[1].resource.contained[0].name=The Surgery"]);
        check("$baby.name.resolve()", &[]);
    }

    #[test]
    fn existing_and_counting_answer_for_nothing_too() {
        check("$none.exists()", &["$none.exists()=false"]);
        check("$none.a.b.count()", &["$none.a.b.count()=0"]);
        check("Bundle.entry.exists(fullUrl = 'urn:uuid:g')", &["Bundle.entry.exists(fullUrl = 'urn:uuid:g')=true"]);
        check("Bundle.entry.count()", &["Bundle.entry.count()=4"]);
        check("$unknown.id", &[]);
    }

    #[test]
    fn a_record_is_made_from_the_node_it_is_over() {
        let arena = Bump::new();
        let bundle = Item::of(&bundle(), &arena);
        let over = Path::parse("Bundle.entry.resource.ofType(Observation)").unwrap().find(&bundle, &Lets::new());
        let values = |path: &str| -> Vec<String> {
            let path = Path::parse(path).unwrap();
            over.iter().flat_map(|base| path.find_from(&bundle, base, &Lets::new())).map(|found| found.location).collect()
        };
        let [weight, weeks] = ["Bundle.entry[2].resource", "Bundle.entry[3].resource"];
        assert_eq!(values("value"), [format!("{weight}.valueQuantity"), format!("{weeks}.valueInteger")]);
        assert_eq!(values("$this"), [weight, weeks]);
        assert_eq!(values("Observation.valueQuantity"), [format!("{weight}.valueQuantity")], "the type of the node it is asked of");
        assert_eq!(values("Bundle.type"), ["Bundle.type", "Bundle.type"], "the type of the root");
        assert_eq!(values("subject.resolve().birthDate"), ["Bundle.entry[1].resource.birthDate"; 2]);
    }

    #[test]
    fn an_element_is_the_same_as_itself_however_it_was_reached() {
        let child = |id: &str| json!({ "resource": { "resourceType": "Patient", "id": id, "gender": "female" } });
        let fact = |id: &str, subject: &str| json!({ "resource": { "resourceType": "Observation", "id": id, "subject": { "reference": subject } } });
        let bundle = json!({ "resourceType": "Bundle", "entry": [
            child("1"), child("2"),
            fact("a", "Patient/1"), fact("b", "https://x.example/Patient/1"), fact("c", "Patient/2"), fact("d", "Patient/3"), fact("e", "Patient/3")
        ] });
        let arena = Bump::new();
        let bundle = Item::of(&bundle, &arena);
        let patients = Path::parse("Bundle.entry.resource.ofType(Patient)").unwrap().find(&bundle, &Lets::new());
        let observations = Path::parse("Bundle.entry.resource.ofType(Observation)").unwrap().find(&bundle, &Lets::new());
        let ids = |path: &str, base: &Found<'_>, lets: &Lets<'_>| -> String {
            let found = Path::parse(path).unwrap().find_from(&bundle, base, lets);
            found.iter().map(|found| found.value.as_str().unwrap()).collect()
        };
        let same = "Bundle.entry.resource.ofType(Observation).where(subject.resolve() = $record.subject.resolve()).id";
        let of_all: Vec<String> = observations.iter().map(|base| ids(same, base, &Lets::new())).collect();
        assert_eq!(of_all, ["ab", "ab", "c", "", ""], "what is not there is nobody's");
        let mine = "Bundle.entry.resource.ofType(Observation).where(subject.resolve() = $record).id";
        assert_eq!(patients.iter().map(|base| ids(mine, base, &Lets::new())).collect::<Vec<_>>(), ["ab", "c"]);
        let lets = Lets::from([("some".to_owned(), observations[1..3].to_vec())]);
        assert_eq!(ids("Bundle.entry.resource.where($this = $some).id", &patients[0], &lets), "bc", "one of several");
        assert_eq!(ids("Bundle.entry.resource.where($this = $other).id", &patients[0], &lets), "");
        let shadowed = Lets::from([("record".to_owned(), observations[2..3].to_vec())]);
        assert_eq!(ids("$record.id", &patients[0], &shadowed), "c", "a let of this name comes first");
    }

    #[test]
    fn what_paths_cost_has_an_end_that_is_said() {
        let arena = Bump::new();
        let bundle = Item::of(&bundle(), &arena);
        let path = Path::parse("Bundle.entry.where(Bundle.entry.where(Bundle.entry.resource.id = 'x')).fullUrl").unwrap();
        let unbounded = Tree::new(&bundle);
        assert!(path.find_in(&unbounded, None, &Lets::new()).is_empty() && !unbounded.is_exhausted());
        let bounded = Tree::with_steps(&bundle, 50);
        assert!(path.find_in(&bounded, None, &Lets::new()).is_empty() && bounded.is_exhausted());
        let simple = Path::parse("Bundle.type").unwrap();
        assert!(simple.find_in(&bounded, None, &Lets::new()).is_empty(), "nothing counts after that");
    }

    proptest! {
        #[test]
        fn a_path_over_any_tree_finds_or_finds_nothing(
            path in r"(Bundle|entry|name|value|\$this)(\.(entry|name|value|_name|resolve\(\)|first\(\)|extension\('u'\)|where\(a = b\)|ofType\(X\))|\[2\]){0,5}",
            json in r#"\{("(entry|name|_name|value|valueCode|reference|fullUrl|resourceType)": ("x"|null|1|\[\]|\[null, "a"\]|\{"name": \[\{"value": 1\}\]\}), ){0,4}"z": 1\}"#,
        ) {
            let tree: Value = serde_json::from_str(&json).unwrap();
            let arena = Bump::new();
            let tree = Item::of(&tree, &arena);
            if let Ok(path) = Path::parse(&path) {
                for found in path.find(&tree, &Lets::new()) {
                    prop_assert!(!found.value.is_null() && !found.location.is_empty());
                }
            }
        }
    }
}
