//! Bounded FHIR XML to the JSON tree, by a table of cardinalities.
//!
//!     <birthDate value="2026-04-01">          "birthDate": "2026-04-01",
//!       <extension url="…"> … </extension>    "_birthDate": { "extension": [ … ] }
//!     </birthDate>
//!
//! # Invariants
//!
//! - No DTD, no entity but the five, no processing instruction: each is refused by name, so nothing expands and nothing is fetched.
//! - Depth and elements are counted before anything is kept; the reader itself does not recurse.
//! - Nothing of the document is dropped in silence, except comments and white space between elements.
//!
//! # What the table does not know
//!
//! An element that the release does not have is kept: as a text if it has a `value`, else as an object, and as an array only when it
//! is given more than once; only `extension`, `coding`, `given`, `line` and `contained` are arrays always. An attribute
//! that FHIR does not have is refused, and so is an element given twice that the release allows once (JSON could not say it either).

use super::elements::{Element, Holds, Shape, Table, element_of_unknown, table};
use super::json::number;
use super::tags::{Attribute, LETTER, Lexeme, SPECIAL, Tags, Word, class};
use super::{Item, Limits, Member, Problem, Release, text_of};
use bumpalo::Bump;
use quick_xml::Reader;
use quick_xml::errors::Error;
use quick_xml::escape::{resolve_xml_entity, unescape_with};
use quick_xml::events::{BytesStart, Event};
use serde_json::Value;
use std::collections::HashMap;

const FHIR: &str = "http://hl7.org/fhir";
const XHTML: &str = "http://www.w3.org/1999/xhtml";
/// Attributes of one element, and namespaces in scope: FHIR needs three of the first and four of the second.
const ATTRIBUTES_MAX: usize = 64;
/// Names of one element that are looked through one by one; where there are more, they are hashed.
const NAMES_MAX: usize = 24;

/// Reads FHIR XML (no DTD, no entities but the five, UTF-8) into the shape that FHIR JSON of that release has.
///
/// # Errors
///
/// [`Problem`] with `line L, column C`: `structure` for what is no XML or no FHIR, `not-supported` for what is refused on purpose
/// (DTD, entities, processing instructions, other encodings), `too-long` for more depth or elements than `limits` allow.
pub fn read_xml(bytes: &[u8], release: Release, limits: &Limits) -> Result<Value, Problem> {
    read_xml_in(bytes, release, limits, &Bump::new()).map(|item| item.to_value())
}

/// [`read_xml`] to a tree that borrows its texts from the document, and lives as long as the arena.
///
/// # Errors
///
/// As [`read_xml`].
pub fn read_xml_in<'t>(bytes: &'t [u8], release: Release, limits: &'t Limits, arena: &'t Bump) -> Result<Item<'t>, Problem> {
    let text = text_of(bytes)?;
    // Nearly every document is nothing but tags, and is read in one pass. What is anything else, right or wrong, is read from the
    // start by the reader that knows all of XML: it alone decides what is refused, and why.
    match Builder::new(text, release, limits, arena).run_plain() {
        Some(item) => Ok(item),
        None => Builder::new(text, release, limits, arena).run(),
    }
}

/// What a prefix stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Fhir,
    Xhtml,
    Other,
}

struct Builder<'t> {
    text: &'t str,
    arena: &'t Bump,
    /// Where the current event begins.
    at: usize,
    table: &'static Table,
    limits: &'t Limits,
    nodes: usize,
    /// Prefixes in scope, innermost last, with the depth that declared them.
    namespaces: Vec<(usize, &'t str, Namespace)>,
    open: Vec<Node<'t>>,
    /// What was given so far inside all that is open: inside the innermost element last.
    pending: Vec<Given<'t>>,
    /// `id` and `url` of all that is open, in the order of the sender.
    kept: Vec<Member<'t>>,
    /// Rooms to put together in what goes into the arena.
    members: Vec<Member<'t>>,
    items: Vec<Item<'t>>,
    narrative: Option<Narrative>,
    root: Option<Item<'t>>,
}

/// The XHTML we are inside of, and how many of its elements are open.
struct Narrative {
    begins: usize,
    open: usize,
}

/// The attributes of one element.
struct Attributes<'t> {
    value: Option<&'t str>,
    /// Where its `id` and `url` begin among all that are kept.
    kept: usize,
    /// There was one that FHIR does not have; a narrative may have any.
    has_stray: bool,
}

/// An element that is open.
struct Node<'t> {
    /// Its name in the element around it.
    name: &'t str,
    /// What it holds, and whether it repeats; `None` repeats when it is seen more than once.
    holds: Holds,
    many: Option<bool>,
    /// The type whose elements it has, if the table knows it.
    shape: Option<&'static Shape>,
    /// Set if it is a resource, whose name is its type.
    is_resource: bool,
    value: Option<&'t str>,
    /// Where its `id` and `url` begin among all that are kept.
    attributes: usize,
    /// Where its children begin among all that are pending.
    children: usize,
    /// Which of the elements that have a place in the table are among them, a bit for each.
    seen: u64,
    /// Its own place among the elements that the table has for the type around it.
    place: Option<u32>,
    /// Where each name was first given among them, once there are many.
    index: Option<HashMap<&'t str, usize>>,
}

/// An element that was closed inside one that is open.
#[derive(Clone, Copy)]
struct Given<'t> {
    name: &'t str,
    many: Option<bool>,
    /// The value, and the `id` and extensions of a primitive.
    value: Item<'t>,
    extra: Item<'t>,
    /// The first of its name, which may be itself.
    first: usize,
    /// The next of its name; 0 for none.
    next: usize,
    /// Of the first of a name: the last of it.
    last: usize,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str, release: Release, limits: &'t Limits, arena: &'t Bump) -> Self {
        Self {
            text,
            arena,
            at: 0,
            table: table(release),
            limits,
            nodes: 0,
            namespaces: Vec::new(),
            open: Vec::with_capacity(16),
            pending: Vec::with_capacity(64),
            kept: Vec::with_capacity(16),
            members: Vec::with_capacity(32),
            items: Vec::with_capacity(32),
            narrative: None,
            root: None,
        }
    }

    /// Reads a document that is nothing but tags and, in narratives, text. `None`: it is more than that, or is wrong.
    fn run_plain(mut self) -> Option<Item<'t>> {
        let mut tags = Tags::new(self.text);
        loop {
            match tags.next()? {
                Lexeme::Open { at, name, is_plain, attributes, is_closed } => {
                    self.at = at;
                    self.start((name, is_plain), attributes.iter().copied().map(Ok)).ok()?;
                    if is_closed {
                        self.end(tags.at()).ok()?;
                    }
                }
                Lexeme::Close => self.end(tags.at()).ok()?,
                Lexeme::Text(text) => self.characters(text.as_bytes()).ok()?,
                Lexeme::End => return self.finish().ok(),
            }
        }
    }

    fn run(mut self) -> Result<Item<'t>, Problem> {
        let mut reader = Reader::from_str(self.text);
        loop {
            self.at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let event = reader.read_event();
            let end = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            match event {
                Ok(Event::Start(start)) => self.begin(&start)?,
                Ok(Event::Empty(start)) => {
                    self.begin(&start)?;
                    self.end(end)?;
                }
                Ok(Event::End(_)) => self.end(end)?,
                Ok(Event::Text(text)) => self.characters(&text)?,
                Ok(Event::CData(_)) if self.narrative.is_some() => {}
                Ok(Event::CData(_)) => return Err(self.problem("a CDATA section outside of a narrative; write a `value` attribute")),
                Ok(Event::GeneralRef(reference)) => self.reference(&reference)?,
                Ok(Event::Comment(_)) => {}
                Ok(Event::Decl(declaration)) => {
                    self.declaration(declaration.encoding().map(|name| name.map(|name| name.into_owned()).ok()))?
                }
                Ok(Event::PI(_)) => return Err(self.refused("processing instructions are refused; leave it out")),
                Ok(Event::DocType(_)) => return Err(self.refused("a document type (DTD) is refused; leave it out")),
                Ok(Event::Eof) => return self.finish(),
                Err(error) => {
                    self.at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
                    return Err(self.problem(not_well_formed(&error)));
                }
            }
        }
    }

    /// [`Builder::start`], with names and values kept in the arena.
    fn begin(&mut self, start: &BytesStart<'_>) -> Result<(), Problem> {
        let arena = self.arena;
        let kept = |bytes: &[u8]| &*arena.alloc_str(std::str::from_utf8(bytes).unwrap_or_default());
        let attributes = start.attributes().map(|attribute| match attribute {
            Ok(attribute) => Ok((kept(attribute.key.into_inner()), kept(&attribute.value))),
            Err(_) => Err(()),
        });
        self.start((kept(start.name().into_inner()), false), attributes)
    }

    fn finish(mut self) -> Result<Item<'t>, Problem> {
        self.at = self.text.len();
        if !self.open.is_empty() {
            return Err(self.problem("the document ends too early: an element is not closed"));
        }
        self.root.take().ok_or_else(|| self.problem("the document has no element"))
    }

    fn declaration(&self, encoding: Option<Option<Vec<u8>>>) -> Result<(), Problem> {
        if self.at != 0 {
            return Err(self.problem("the XML declaration must be the first thing in the document"));
        }
        match encoding {
            None => Ok(()),
            Some(Some(name)) if [&b"utf-8"[..], b"utf8", b"us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known)) => Ok(()),
            Some(_) => Err(self.refused("the document declares another encoding than UTF-8; send UTF-8")),
        }
    }

    fn characters(&self, text: &[u8]) -> Result<(), Problem> {
        // A narrative is kept as one text, as in JSON; whoever shows it must treat it as text.
        let blank = text.iter().all(u8::is_ascii_whitespace);
        if blank || self.narrative.is_some() {
            Ok(())
        } else {
            Err(self.problem("text between elements; FHIR keeps values in `value` attributes"))
        }
    }

    fn reference(&self, name: &[u8]) -> Result<(), Problem> {
        let name = std::str::from_utf8(name).unwrap_or_default();
        if resolve_xml_entity(name).is_none() && !name.starts_with('#') {
            return Err(self.refused(OTHER_ENTITY));
        }
        self.unescape(self.arena.alloc_str(&format!("&{name};")))?;
        self.characters(b"x")
    }

    /// An element begins. A plain name is known to be letters and digits; of any other that is found out here.
    fn start(&mut self, (name, is_plain): Word<'t>, attributes: impl Iterator<Item = Result<Attribute<'t>, ()>>) -> Result<(), Problem> {
        self.nodes += 1;
        if self.limits.nodes_max < self.nodes {
            return Err(self.too_long(format!("more than {} elements", self.limits.nodes_max)));
        }
        // The narrative's own element is in both.
        let depth = self.open.len() + self.narrative.as_ref().map_or(0, |narrative| narrative.open - 1);
        if self.limits.depth() <= depth {
            return Err(self.too_long(format!("nested deeper than {}", self.limits.depth())));
        }
        let attributes = self.attributes(attributes, depth)?;
        if let Some(narrative) = &mut self.narrative {
            narrative.open += 1;
            self.kept.truncate(attributes.kept);
            return Ok(());
        }
        let (prefix, name) = if is_plain { ("", name) } else { split_name(name) };
        let namespace = self.namespace(prefix);
        let Some(name) = Some(name).filter(|name| is_plain || is_name(name)) else {
            return Err(self.problem("an element with a name that FHIR does not have"));
        };
        match self.open.last() {
            None => self.open_root(name, namespace)?,
            Some(parent) if parent.holds == Holds::Resource => self.open_resource(name, namespace)?,
            Some(_) => self.open_element(name, namespace)?,
        }
        self.keep(attributes)
    }

    fn open_root(&mut self, name: &'t str, namespace: Namespace) -> Result<(), Problem> {
        if self.root.is_some() {
            return Err(self.problem("a second element after the end of the document"));
        }
        if namespace != Namespace::Fhir {
            return Err(self.problem("the root element is not in the namespace http://hl7.org/fhir"));
        }
        self.open.push(Node::resource(name, (self.table.shape(name), self.pending.len())));
        Ok(())
    }

    /// The one element inside `resource`, `contained` and their like.
    fn open_resource(&mut self, name: &'t str, namespace: Namespace) -> Result<(), Problem> {
        if namespace != Namespace::Fhir {
            return Err(self.problem("a resource that is not in the namespace http://hl7.org/fhir"));
        }
        if self.open.last().is_some_and(|wrapper| wrapper.children < self.pending.len()) {
            return Err(self.problem("a second resource where one is allowed"));
        }
        self.open.push(Node::resource(name, (self.table.shape(name), self.pending.len())));
        Ok(())
    }

    fn open_element(&mut self, name: &'t str, namespace: Namespace) -> Result<(), Problem> {
        let Some(parent) = self.open.last() else { return Ok(()) };
        let in_table = parent.shape.and_then(|shape| shape.known(name));
        let known = match parent.shape {
            Some(_) => in_table.map(|known| known.element),
            None => element_of_unknown(parent.is_resource, name),
        };
        let shape = match (in_table, known) {
            (Some(known), _) => known.shape.and_then(|number| self.table.shape_numbered(number)),
            (None, Some(Element { holds: Holds::Of(of), .. })) => self.table.shape(of),
            (None, _) => None,
        };
        let xhtml = known.is_some_and(|element| element.holds == Holds::Xhtml);
        if namespace == Namespace::Other || (namespace == Namespace::Xhtml && !xhtml) {
            return Err(self.problem("an element that is not in the namespace http://hl7.org/fhir"));
        }
        if parent.is_resource && name == "resourceType" {
            return Err(self.problem("an element named resourceType; in XML the name of the resource says its type"));
        }
        if xhtml {
            self.narrative = Some(Narrative { begins: self.at, open: 1 });
        }
        let place = in_table.and_then(|known| u32::try_from(known.place).ok()).filter(|place| *place < u64::BITS);
        self.open.push(Node { place, ..Node::element(name, known, (shape, self.pending.len())) });
        Ok(())
    }

    /// The attributes, checked; namespace declarations come into scope.
    fn attributes(&mut self, attributes: impl Iterator<Item = Result<Attribute<'t>, ()>>, depth: usize) -> Result<Attributes<'t>, Problem> {
        let mut found = Attributes { value: None, kept: self.kept.len(), has_stray: false };
        for (count, attribute) in attributes.enumerate() {
            if ATTRIBUTES_MAX <= count || ATTRIBUTES_MAX <= self.namespaces.len() {
                return Err(self.too_long(format!("more than {ATTRIBUTES_MAX} attributes or namespaces")));
            }
            let (key, raw) = attribute.map_err(|()| self.problem("an attribute that is not well-formed, or given twice"))?;
            let value = self.unescape(raw)?;
            match key {
                "value" => found.value = Some(value),
                "id" | "url" => self.kept.push((key, Item::Text(value))),
                _ => {
                    let (prefix, local) = split_name(key);
                    if key == "xmlns" || prefix == "xmlns" {
                        // Inside a narrative nobody asks what a prefix means.
                        if self.narrative.is_none() {
                            self.namespaces.push((depth, if prefix.is_empty() { "" } else { local }, namespace_of(value)));
                        }
                    } else {
                        // `xml:lang`, `xsi:schemaLocation` speak about the XML, not about the resource.
                        found.has_stray |= prefix.is_empty();
                    }
                }
            }
        }
        Ok(found)
    }

    /// Puts the attributes into the element just opened; a narrative is a text, and has none.
    fn keep(&mut self, attributes: Attributes<'t>) -> Result<(), Problem> {
        if self.narrative.is_some() {
            self.kept.truncate(attributes.kept);
        } else if attributes.has_stray {
            return Err(self.problem("an attribute that FHIR does not have; it has `value`, `id` and `url`"));
        }
        let Some(node) = self.open.last_mut() else { return Ok(()) };
        node.attributes = attributes.kept;
        if self.narrative.is_none() {
            node.value = attributes.value;
        }
        let has_some = node.value.is_some() || node.attributes < self.kept.len();
        if (node.is_resource || node.holds == Holds::Resource) && has_some {
            return Err(self.problem("an attribute on a resource; its `id` is an element"));
        }
        Ok(())
    }

    fn end(&mut self, end: usize) -> Result<(), Problem> {
        if let Some(narrative) = &mut self.narrative {
            narrative.open -= 1;
            if narrative.open != 0 {
                return Ok(());
            }
        }
        let narrative = self.narrative.take();
        let Some(node) = self.open.pop() else { return Err(self.problem("an element is closed that was not open")) };
        let depth = self.open.len();
        while self.namespaces.last().is_some_and(|(declared_at, ..)| depth <= *declared_at) {
            self.namespaces.pop();
        }
        let (name, many) = (node.name, node.many);
        let (value, extra) = match narrative {
            Some(narrative) => (Item::Text(self.text.get(narrative.begins..end).unwrap_or_default()), Item::Null),
            None => self.close(&node).map_err(|message| self.problem(message))?,
        };
        self.kept.truncate(node.attributes);
        match self.open.last_mut() {
            Some(parent) => {
                parent.add(&mut self.pending, (name, many, node.place), (value, extra)).map_err(|message| self.problem(message))
            }
            None => {
                self.root = Some(value);
                Ok(())
            }
        }
    }

    /// The value of an attribute: white space made spaces as XML says, the five entities and character references resolved.
    fn unescape(&self, raw: &'t str) -> Result<&'t str, Problem> {
        if raw.bytes().fold(0, |seen, byte| seen | class(byte)) & SPECIAL == 0 {
            return Ok(raw);
        }
        if raw.contains('<') {
            return Err(self.problem("an attribute that is not well-formed: `<` must be written `&lt;`"));
        }
        let spaced = raw.replace("\r\n", " ").replace(['\t', '\r', '\n'], " ");
        let value = unescape_with(&spaced, resolve_xml_entity).map_err(|error| match error {
            quick_xml::escape::EscapeError::UnrecognizedEntity(..) => self.refused(OTHER_ENTITY),
            _ => self.problem("`&` begins no character reference; write it `&amp;`"),
        })?;
        let control = |sign: char| (sign < ' ' && !matches!(sign, '\t' | '\n' | '\r')) || matches!(sign, '\u{FFFE}' | '\u{FFFF}');
        if value.contains(control) {
            return Err(self.problem("a control character, which XML does not have"));
        }
        Ok(self.arena.alloc_str(&value))
    }

    fn namespace(&self, prefix: &str) -> Namespace {
        // Nearly no element has a prefix. That two texts are both empty is not left to `==`: to compare no bytes at the address of no
        // text is a fault that some processors mend in hundreds of cycles (a masked load), which was a fifth of reading an event.
        let is_it = |bound: &str| if prefix.is_empty() { bound.is_empty() } else { bound == prefix };
        let declared = self.namespaces.iter().rev().find(|(_, bound, _)| is_it(bound));
        declared.map_or(Namespace::Other, |(.., namespace)| *namespace)
    }

    fn problem(&self, message: &str) -> Problem {
        Problem::in_text("structure", self.text, self.at, message)
    }

    fn refused(&self, message: &str) -> Problem {
        Problem::in_text("not-supported", self.text, self.at, message)
    }

    fn too_long(&self, message: String) -> Problem {
        Problem::in_text("too-long", self.text, self.at, message)
    }
}

const OTHER_ENTITY: &str = "an entity other than amp, lt, gt, quot and apos is refused; write the character itself";

/// Closing: what was given inside an element becomes the members of one object.
impl<'t> Builder<'t> {
    /// The element's value, and the `id` and extensions of a primitive; its children are pending no longer.
    fn close(&mut self, node: &Node<'t>) -> Result<(Item<'t>, Item<'t>), &'static str> {
        let children = self.pending.get(node.children..).unwrap_or_default();
        if node.holds == Holds::Resource {
            let only = children.last().map(|child| (child.value, child.extra));
            self.pending.truncate(node.children);
            return only.ok_or("a resource is missing here");
        }
        let attributes = self.kept.get(node.attributes..).unwrap_or_default();
        let empty = children.is_empty() && attributes.is_empty();
        let primitive = matches!(node.holds, Holds::Text | Holds::Boolean | Holds::Number);
        if empty && let Some(value) = node.value {
            return Ok((typed(node.holds, value), Item::Null));
        }
        let only_extensions = children.iter().all(|child| child.name == "extension");
        match node.value {
            Some(_) if !only_extensions => Err("an element with a `value` may hold extensions only"),
            Some(value) => Ok((typed(node.holds, value), self.object_or_null(node))),
            None if empty && (primitive || node.holds == Holds::Unknown) && !node.is_resource => Ok((Item::Null, Item::Null)),
            None if primitive && only_extensions => Ok((Item::Null, self.object_or_null(node))),
            None => {
                // An attribute and an element of the same name cannot both be kept.
                let twice = attributes.iter().any(|(name, _)| children.iter().any(|child| child.name == *name));
                if twice {
                    return Err("this name is given as an attribute and as an element");
                }
                Ok((self.object(node, node.is_resource.then_some(node.name)), Item::Null))
            }
        }
    }

    fn object_or_null(&mut self, node: &Node<'t>) -> Item<'t> {
        let empty = node.attributes == self.kept.len() && node.children == self.pending.len();
        if empty { Item::Null } else { self.object(node, None) }
    }

    fn object(&mut self, node: &Node<'t>, resource_type: Option<&'t str>) -> Item<'t> {
        self.members.clear();
        self.members.extend(resource_type.map(|of| ("resourceType", Item::Text(of))));
        self.members.extend(self.kept.get(node.attributes..).unwrap_or_default());
        let mut at = node.children;
        while let Some(child) = self.pending.get(at).copied() {
            if child.first == at {
                self.write(child);
            }
            at += 1;
        }
        self.pending.truncate(node.children);
        Item::Object(self.arena.alloc_slice_copy(&self.members))
    }

    /// Writes `name`, and `_name` if a primitive has an `id` or extensions; arrays of both stay in step, with nulls for what is missing.
    fn write(&mut self, child: Given<'t>) {
        let is_single = child.next == 0;
        let array = child.many.unwrap_or(!is_single);
        let (mut has_value, mut has_extra) = (!child.value.is_null(), !child.extra.is_null());
        let mut more = child.next;
        while let Some(given) = self.pending.get(more).filter(|_| more != 0) {
            has_value |= !given.value.is_null();
            has_extra |= !given.extra.is_null();
            more = given.next;
        }
        if has_value || !has_extra {
            let item = if array { self.list(child, |given| given.value) } else { child.value };
            self.members.push((child.name, item));
        }
        if has_extra {
            let item = if array { self.list(child, |given| given.extra) } else { child.extra };
            let name = format!("_{}", child.name);
            self.members.push((self.arena.alloc_str(&name), item));
        }
    }

    /// All that was given under the name of `first`.
    fn list(&mut self, first: Given<'t>, of: impl Fn(&Given<'t>) -> Item<'t>) -> Item<'t> {
        self.items.clear();
        self.items.push(of(&first));
        let mut more = first.next;
        while let Some(given) = self.pending.get(more).filter(|_| more != 0) {
            self.items.push(of(given));
            more = given.next;
        }
        Item::Array(self.arena.alloc_slice_copy(&self.items))
    }
}

impl<'t> Node<'t> {
    fn element(name: &'t str, known: Option<Element>, (shape, children): (Option<&'static Shape>, usize)) -> Self {
        Self {
            name,
            holds: known.map_or(Holds::Unknown, |element| element.holds),
            many: known.map(|element| element.many),
            shape,
            is_resource: false,
            value: None,
            attributes: 0,
            children,
            seen: 0,
            place: None,
            index: None,
        }
    }

    fn resource(name: &'t str, of: (Option<&'static Shape>, usize)) -> Self {
        Self { is_resource: true, many: Some(false), ..Self::element(name, None, of) }
    }

    /// Where a name was first given among the children.
    fn place(&mut self, pending: &[Given<'t>], name: &'t str) -> Option<usize> {
        let children = pending.get(self.children..).unwrap_or_default();
        if let Some(last) = children.last().filter(|last| last.name == name) {
            return Some(last.first);
        }
        if children.len() <= NAMES_MAX {
            return children.iter().rev().find(|child| child.name == name).map(|child| child.first);
        }
        let hashed = || children.iter().map(|child| (child.name, child.first)).collect();
        self.index.get_or_insert_with(hashed).get(name).copied()
    }

    fn add(
        &mut self,
        pending: &mut Vec<Given<'t>>,
        (name, many, place): (&'t str, Option<bool>, Option<u32>),
        (value, extra): (Item<'t>, Item<'t>),
    ) -> Result<(), &'static str> {
        let at = pending.len();
        // An element whose bit is not set is not there yet: nothing need be looked through.
        let bit = place.map_or(0, |place| 1 << place);
        let first = if bit != 0 && self.seen & bit == 0 { None } else { self.place(pending, name) };
        self.seen |= bit;
        pending.push(Given { name, many, value, extra, first: first.unwrap_or(at), next: 0, last: at });
        let Some(first) = first else {
            if let Some(index) = &mut self.index {
                index.insert(name, at);
            }
            return Ok(());
        };
        let Some(known) = pending.get_mut(first) else { return Ok(()) };
        let (before, is_once) = (known.last, known.many == Some(false));
        known.last = at;
        if let Some(before) = pending.get_mut(before) {
            before.next = at;
        }
        if is_once { Err("this element is given twice, and may be given once") } else { Ok(()) }
    }
}

/// The JSON value of a `value` attribute. What is not of its type stays a text, for the mapping to find.
fn typed(holds: Holds, value: &str) -> Item<'_> {
    match (holds, value) {
        (Holds::Boolean, "true") => Item::Bool(true),
        (Holds::Boolean, "false") => Item::Bool(false),
        (Holds::Number, text) => number(text).unwrap_or(Item::Text(text)),
        _ => Item::Text(value),
    }
}

fn namespace_of(uri: &str) -> Namespace {
    match uri {
        FHIR => Namespace::Fhir,
        XHTML => Namespace::Xhtml,
        _ => Namespace::Other,
    }
}

/// The prefix, empty where there is none, and the rest.
fn split_name(name: &str) -> (&str, &str) {
    // Names are short: one byte after the other is faster than many at once.
    let colon = name.bytes().position(|byte| byte == b':');
    colon.and_then(|colon| Some((name.get(..colon)?, name.get(colon + 1..)?))).unwrap_or(("", name))
}

/// Names of FHIR are letters and digits; `_` would collide with the extensions of primitives.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().fold(LETTER, |all, byte| all & class(byte)) == LETTER
}

/// The reader's own texts quote names of the document; ours do not.
fn not_well_formed(error: &Error) -> &'static str {
    match error {
        Error::IllFormed(_) => "the XML is not well-formed: start and end tags do not match, or a reference is not ended by `;`",
        Error::Syntax(_) => "the XML is not well-formed: the markup that begins here is not ended",
        _ => "the XML is not well-formed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(xml: &str) -> Result<Value, String> {
        read_xml(xml.as_bytes(), Release::Stu3, &Limits::default()).map_err(|problem| problem.to_string())
    }

    fn fails(xml: &str, error: &str) {
        assert_eq!(read(xml), Err(error.to_owned()), "{xml}");
    }

    /// A Patient with this inside.
    fn patient(inside: &str) -> Result<Value, String> {
        read(&format!("<Patient xmlns=\"http://hl7.org/fhir\">{inside}</Patient>"))
    }

    #[test]
    fn a_resource_has_the_shape_of_its_json() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
            <!-- invented -->
            <Patient xmlns="http://hl7.org/fhir">
              <id value="baby"/>
              <text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml" lang="en">a &lt; <b>b</b></div></text>
              <extension url="http://hl7.org/fhir/StructureDefinition/birthPlace">
                <valueAddress><city value="London"/></valueAddress>
              </extension>
              <identifier><system value="https://fhir.nhs.uk/Id/nhs-number"/><value value="9990000018"/></identifier>
              <active value="true"/>
              <name id="n1"><family value="O&apos;Example"/><given value="Ada"/><given value="May"/></name>
              <birthDate value="2026-04-01">
                <extension url="http://hl7.org/fhir/StructureDefinition/patient-birthTime"><valueDateTime value="2026-04-01T03:04:05+01:00"/></extension>
              </birthDate>
              <multipleBirthInteger value="2"/>
            </Patient>"#;
        let expected = json!({
            "resourceType": "Patient",
            "id": "baby",
            "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">a &lt; <b>b</b></div>" },
            "extension": [{ "url": "http://hl7.org/fhir/StructureDefinition/birthPlace", "valueAddress": { "city": "London" } }],
            "identifier": [{ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9990000018" }],
            "active": true,
            "name": [{ "id": "n1", "family": "O'Example", "given": ["Ada", "May"] }],
            "birthDate": "2026-04-01",
            "_birthDate": { "extension": [
                { "url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": "2026-04-01T03:04:05+01:00" }
            ] },
            "multipleBirthInteger": 2
        });
        assert_eq!(read(xml).unwrap(), expected);
    }

    #[test]
    fn extensions_of_a_repeating_primitive_stay_in_step() {
        let extended = r#"<given value="B"><extension url="u"><valueCode value="c"/></extension></given>"#;
        let only = r#"<given><extension url="u"><valueCode value="c"/></extension></given>"#;
        let extension = json!({ "extension": [{ "url": "u", "valueCode": "c" }] });
        let name = |inside: &str| patient(&format!("<name>{inside}</name>")).unwrap()["name"][0].clone();
        let one = json!({ "given": ["A", "B", "C"], "_given": [null, extension, null] });
        assert_eq!(name(&format!(r#"<given value="A"/>{extended}<given value="C"/>"#)), one);
        assert_eq!(name(&format!(r#"<given value="A"/>{only}"#)), json!({ "given": ["A", null], "_given": [null, extension] }));
        assert_eq!(name(only), json!({ "_given": [extension] }), "no value at all: no list of values");
    }

    #[test]
    fn decimals_are_texts_as_written_and_whole_numbers_are_numbers_as_in_json() {
        let observation = |value: &str| {
            let xml = format!(
                r#"<Observation xmlns="http://hl7.org/fhir"><valueQuantity><value value="{value}"/></valueQuantity></Observation>"#
            );
            read(&xml).unwrap()["valueQuantity"]["value"].clone()
        };
        assert_eq!(observation("3.50"), json!("3.50"));
        assert_eq!(observation("3500"), json!(3500));
        assert_eq!(observation("about 3"), json!("about 3"), "kept for the mapping to find");
        assert_eq!(observation("007"), json!("007"), "JSON has no such number");
    }

    #[test]
    fn resources_are_unwrapped_and_contained_ones_are_a_list() {
        let xml = r#"<f:Bundle xmlns:f="http://hl7.org/fhir">
            <f:type value="message"/>
            <f:entry>
              <f:fullUrl value="urn:uuid:1"/>
              <f:resource><f:Patient><f:contained><f:Organization><f:id value="o"/></f:Organization></f:contained></f:Patient></f:resource>
            </f:entry>
          </f:Bundle>"#;
        let contained = json!([{ "resourceType": "Organization", "id": "o" }]);
        let resource = json!({ "resourceType": "Patient", "contained": contained });
        let expected = json!({ "resourceType": "Bundle", "type": "message", "entry": [{ "fullUrl": "urn:uuid:1", "resource": resource }] });
        assert_eq!(read(xml).unwrap(), expected);
    }

    #[test]
    fn the_release_decides_what_repeats() {
        let xml = r#"<Practitioner xmlns="http://hl7.org/fhir"><name><family value="A"/></name></Practitioner>"#;
        assert_eq!(read(xml).unwrap()["name"], json!([{ "family": "A" }]));
        let xml = br#"<Appointment xmlns="http://hl7.org/fhir"><serviceCategory><text value="a"/></serviceCategory></Appointment>"#;
        let category = |release| read_xml(xml, release, &Limits::default()).unwrap()["serviceCategory"].clone();
        assert_eq!(category(Release::Stu3), json!({ "text": "a" }));
        assert_eq!(category(Release::R4), json!([{ "text": "a" }]));
    }

    #[test]
    fn what_the_release_does_not_have_is_kept() {
        assert_eq!(patient(r#"<shoe value="7"/>"#).unwrap()["shoe"], json!("7"));
        assert_eq!(patient(r#"<shoe value="7"/><shoe value="8"/>"#).unwrap()["shoe"], json!(["7", "8"]));
        assert_eq!(patient(r#"<shoe><size value="7"/></shoe>"#).unwrap()["shoe"], json!({ "size": "7" }));
        assert_eq!(patient(r#"<shoe><coding><code value="7"/></coding></shoe>"#).unwrap()["shoe"], json!({ "coding": [{ "code": "7" }] }));
        assert_eq!(patient("<birthDate/>").unwrap()["birthDate"], Value::Null, "given, and empty");
    }

    #[test]
    fn dtd_entities_and_instructions_are_refused_by_name() {
        let dtd = "a document type (DTD) is refused; leave it out at line 1, column 1";
        let laughs = r#"<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;">]><Patient xmlns="http://hl7.org/fhir"/>"#;
        fails(laughs, dtd);
        fails(r#"<!DOCTYPE a SYSTEM "file:///etc/passwd"><Patient xmlns="http://hl7.org/fhir"/>"#, dtd);
        let entity = |place| Err(format!("{OTHER_ENTITY} at {place}"));
        assert_eq!(patient(r#"<birthDate value="&xxe;"/>"#), entity("line 1, column 38"));
        assert_eq!(patient("<text><div>&nbsp;</div></text>"), entity("line 1, column 49"));
        assert_eq!(patient("<?php exit ?>"), Err("processing instructions are refused; leave it out at line 1, column 38".to_owned()));
    }

    #[test]
    fn only_fhir_in_utf_8_is_taken() {
        fails("<Patient/>", "the root element is not in the namespace http://hl7.org/fhir at line 1, column 1");
        fails("<Patient xmlns=\"urn:hl7-org:v3\"/>", "the root element is not in the namespace http://hl7.org/fhir at line 1, column 1");
        let latin = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><Patient xmlns=\"http://hl7.org/fhir\"/>";
        fails(latin, "the document declares another encoding than UTF-8; send UTF-8 at line 1, column 1");
        let marked = "\u{feff}<?xml version='1.0' encoding='utf-8'?><Patient xmlns='http://hl7.org/fhir'/>";
        assert_eq!(read(marked).unwrap(), json!({ "resourceType": "Patient" }));
    }

    #[test]
    fn what_is_no_fhir_is_refused_with_its_place() {
        let error = |inside: &str| patient(inside).unwrap_err();
        let at = "at line 1, column 38";
        assert_eq!(
            error("\n  <a:b xmlns:a=\"urn:x\"/>"),
            "an element that is not in the namespace http://hl7.org/fhir at line 2, column 3"
        );
        assert_eq!(error("words"), format!("text between elements; FHIR keeps values in `value` attributes {at}"));
        assert_eq!(error("<active worth=\"1\"/>"), format!("an attribute that FHIR does not have; it has `value`, `id` and `url` {at}"));
        assert_eq!(
            error("<resourceType value=\"Bundle\"/>"),
            format!("an element named resourceType; in XML the name of the resource says its type {at}")
        );
        assert_eq!(error("<_birthDate value=\"1\"/>"), format!("an element with a name that FHIR does not have {at}"));
        assert_eq!(error("<contained/>"), format!("a resource is missing here {at}"));
        assert_eq!(
            error("<gender value=\"a\"/><gender value=\"b\"/>"),
            "this element is given twice, and may be given once at line 1, column 57"
        );
        assert_eq!(error("<gender value=\"a&#0;\"/>"), format!("`&` begins no character reference; write it `&amp;` {at}"));
        assert_eq!(error("<gender value=\"a&#1;\"/>"), format!("a control character, which XML does not have {at}"));
        assert_eq!(error("<gender value=\"a\" value=\"b\"/>"), format!("an attribute that is not well-formed, or given twice {at}"));
        fails(
            "<Patient xmlns=\"http://hl7.org/fhir\"/><Patient xmlns=\"http://hl7.org/fhir\"/>",
            "a second element after the end of the document at line 1, column 39",
        );
        fails("<!-- nothing -->", "the document has no element at line 1, column 17");
    }

    #[test]
    fn depth_is_refused_before_it_is_entered() {
        let nested = |depth: usize| {
            let (open, close) = ("<extension>".repeat(depth - 1), "</extension>".repeat(depth - 1));
            read(&format!("<Patient xmlns=\"http://hl7.org/fhir\">{open}{close}</Patient>"))
        };
        assert!(nested(64).is_ok(), "exactly the limit");
        assert!(nested(65).unwrap_err().starts_with("nested deeper than 64 at line 1"));
        assert!(nested(10_000).unwrap_err().starts_with("nested deeper than 64 at line 1"));
        let narrative = |depth: usize| format!("<text><div>{}{}</div></text>", "<b>".repeat(depth - 3), "</b>".repeat(depth - 3));
        assert!(patient(&narrative(64)).is_ok(), "Patient, text and div are three");
        assert!(patient(&narrative(65)).is_err());
        assert!(patient(&narrative(10_000)).unwrap_err().starts_with("nested deeper than 64"), "a narrative counts too");
    }

    #[test]
    fn elements_and_attributes_are_counted() {
        let limits = Limits { nodes_max: 3, ..Limits::default() };
        let count =
            |inside: &str| read_xml(format!("<Patient xmlns='http://hl7.org/fhir'>{inside}</Patient>").as_bytes(), Release::R4, &limits);
        assert!(count("<active value='true'/><gender value='male'/>").is_ok());
        assert_eq!(count("<name><given value='A'/><given value='B'/></name>").unwrap_err().code, "too-long");
        let spaces: String = (0..70).map(|n| format!(" xmlns:n{n}='urn:{n}'")).collect();
        assert_eq!(read_xml(format!("<Patient{spaces}/>").as_bytes(), Release::R4, &Limits::default()).unwrap_err().code, "too-long");
    }

    #[test]
    fn every_truncation_of_a_document_is_refused() {
        let whole =
            "<Patient xmlns='http://hl7.org/fhir'><name><family value='Zo\u{eb}'/></name><text><div>a &amp; b</div></text></Patient>";
        assert!(read(whole).is_ok());
        for cut in 0..whole.len() {
            let problem = read_xml(&whole.as_bytes()[..cut], Release::Stu3, &Limits::default()).unwrap_err();
            assert!(problem.location.starts_with("line 1, column "), "cut at {cut}");
        }
    }

    /// By the reader of plain XML and by the one that knows all of it.
    fn both<'t>(xml: &'t str, arena: &'t Bump, limits: &'t Limits) -> (Option<Item<'t>>, Result<Item<'t>, Problem>) {
        let builder = || Builder::new(xml, Release::Stu3, limits, arena);
        (builder().run_plain(), builder().run())
    }

    #[test]
    fn events_of_the_national_service_are_plain_and_read_the_same_either_way() {
        let (arena, limits) = (Bump::new(), Limits::default());
        for xml in [include_str!("../../samples/17-nems-bloodspot-new.xml"), include_str!("../../samples/09-spine-birth-with-mother.xml")] {
            let (plain, whole) = both(xml, &arena, &limits);
            assert_eq!(plain, Some(whole.unwrap()));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_as_plain_xml_reads_the_same_either_way(
            inside in r#"(<name>|<name id='1'>|</name>|<given value="a&amp;b"/>|<text><div xmlns="http://www.w3.org/1999/xhtml">|</div></text>|<active value="true" />|<birthDate\nvalue="x>y"/>|<extension url="u"><valueCode value="v"/></extension>|<x/>|<x value="1" value="2"/>|<x:y/>| |\t|t|<a.b/>|<!-- -->|&lt;|<x value=1/>|< x/>|</name >|\n {7,20}|\t {8,9}\t|<given value='a"b'/>|<given  value = "a"/>|<given valued="a"/>|<_x/>|<x_y/>){0,8}"#
        ) {
            let (arena, limits) = (Bump::new(), Limits::default());
            let xml = format!("<Patient xmlns=\"http://hl7.org/fhir\">{inside}</Patient>");
            if let (Some(plain), whole) = both(&xml, &arena, &limits) {
                prop_assert_eq!(Ok(plain), whole);
            }
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = read_xml(&bytes, Release::R4, &Limits::default());
        }

        #[test]
        fn reading_text_that_looks_like_xml_never_panics(inside in r#"(<|>|</|/>|<name>|</name>|<div>|</div>|value="1"|&amp;|&#|;|<!--|-->|<!\[CDATA\[|\]\]>|<\?|\?>| |é|[a-z]){0,30}"#) {
            let _ = patient(&inside);
        }
    }
}
