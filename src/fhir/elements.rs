//! Which elements FHIR has, which of them repeat, and what they hold: for STU3 and for R4.
//!
//! XML does not say whether an element is a list or whether `7` is a number; this table does. The same table tells a mapping
//! file that a name is a typing error. The data is in `elements-stu3.txt` and `elements-r4.txt`, beside this file.

use super::{NameHash, Release};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::LazyLock;

/// What an element holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A primitive that JSON writes as a text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole or decimal number.
    Number,
    /// The XHTML of a narrative.
    Xhtml,
    /// A resource of any type, which XML wraps in one element more.
    Resource,
    /// A type of the table.
    Of(&'static str),
    /// Not in the table.
    Unknown,
}

/// One element of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// What it holds.
    pub(super) holds: Holds,
    /// Whether it may be given more than once, and so is an array in JSON.
    pub(super) many: bool,
}

/// One type: a resource, a data type, or a part of one.
#[derive(Debug, Default)]
pub(super) struct Shape {
    resource: bool,
    elements: BTreeMap<&'static str, Element>,
    /// `value` for `value[x]`, with the names it takes: `valueQuantity`, `valueString`.
    choices: BTreeMap<&'static str, Vec<String>>,
    /// The concrete names of choices.
    chosen: HashMap<String, Element>,
    /// Everything that it has, by name, for readers of documents.
    all: HashMap<String, Known, BuildHasherDefault<NameHash>>,
}

/// What a reader of documents has to know of an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The element.
    pub(super) element: Element,
    /// The number of the type that it holds.
    pub(super) shape: Option<usize>,
    /// Which of the elements of its type it is: no other of the first 64 has this number.
    pub(super) place: usize,
}

impl Shape {
    /// Its element `name`.
    pub(super) fn element(&self, name: &str) -> Option<Element> {
        self.all.get(name).map(|known| known.element)
    }

    /// Its element `name`, in numbers.
    pub(super) fn known(&self, name: &str) -> Option<Known> {
        self.all.get(name).copied()
    }

    fn complete(&mut self, numbers: &HashMap<&'static str, usize, BuildHasherDefault<NameHash>>) {
        let of_resources = if self.resource { OF_RESOURCES.as_slice() } else { &[] };
        // Its own come last: they win.
        let common = of_resources.iter().chain(&OF_ALL).map(|(name, element)| ((*name).to_owned(), *element));
        let chosen = self.chosen.iter().map(|(name, element)| (name.clone(), *element));
        let own = self.elements.iter().map(|(name, element)| ((*name).to_owned(), *element));
        let number = |element: &Element| if let Holds::Of(of) = element.holds { numbers.get(of).copied() } else { None };
        for (name, element) in common.chain(chosen).chain(own) {
            let place = self.all.get(&name).map_or(self.all.len(), |known| known.place);
            let shape = number(&element);
            self.all.insert(name, Known { element, shape, place });
        }
    }
}

/// All types of a release.
#[derive(Debug, Default)]
pub(super) struct Table {
    shapes: Vec<Shape>,
    /// Their numbers by name.
    numbers: HashMap<&'static str, usize, BuildHasherDefault<NameHash>>,
    /// Their names in the order of letters.
    names: Vec<&'static str>,
}

static STU3: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("elements-stu3.txt")));
static R4: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("elements-r4.txt")));

/// The table of a release.
pub(super) fn table(release: Release) -> &'static Table {
    match release {
        Release::Stu3 => &STU3,
        Release::R4 => &R4,
    }
}

const ONE_TEXT: Element = Element { holds: Holds::Text, many: false };
const EXTENSIONS: Element = Element { holds: Holds::Of("Extension"), many: true };
/// What every type has.
const OF_ALL: [(&str, Element); 3] = [("id", ONE_TEXT), ("extension", EXTENSIONS), ("modifierExtension", EXTENSIONS)];
/// What every resource has.
const OF_RESOURCES: [(&str, Element); 5] = [
    ("meta", Element { holds: Holds::Of("Meta"), many: false }),
    ("implicitRules", ONE_TEXT),
    ("language", ONE_TEXT),
    ("text", Element { holds: Holds::Of("Narrative"), many: false }),
    ("contained", Element { holds: Holds::Resource, many: true }),
];
/// Names of primitives as they end the name of a choice: `valueDateTime`.
const PRIMITIVES: [(&str, Holds); 19] = [
    ("Base64Binary", Holds::Text),
    ("Boolean", Holds::Boolean),
    ("Canonical", Holds::Text),
    ("Code", Holds::Text),
    ("Date", Holds::Text),
    ("DateTime", Holds::Text),
    ("Decimal", Holds::Number),
    ("Id", Holds::Text),
    ("Instant", Holds::Text),
    ("Integer", Holds::Number),
    ("Markdown", Holds::Text),
    ("Oid", Holds::Text),
    ("PositiveInt", Holds::Number),
    ("String", Holds::Text),
    ("Time", Holds::Text),
    ("UnsignedInt", Holds::Number),
    ("Uri", Holds::Text),
    ("Url", Holds::Text),
    ("Uuid", Holds::Text),
];

/// What these names hold in every type of the standard, and so very likely in a type that is not in the table.
const OF_UNKNOWN: [(&str, Element); 3] = [
    ("coding", Element { holds: Holds::Of("Coding"), many: true }),
    ("given", Element { holds: Holds::Text, many: true }),
    ("line", Element { holds: Holds::Text, many: true }),
];

/// What every type has, and every resource.
fn common(resource: bool, name: &str) -> Option<Element> {
    let of_resource = if resource { named(&OF_RESOURCES, name) } else { None };
    of_resource.or_else(|| named(&OF_ALL, name))
}

/// The element `name` of a type that is not in the table.
pub(super) fn element_of_unknown(resource: bool, name: &str) -> Option<Element> {
    common(resource, name).or_else(|| named(&OF_UNKNOWN, name))
}

fn named<T: Copy>(list: &[(&str, T)], name: &str) -> Option<T> {
    list.iter().find(|(known, _)| *known == name).map(|(_, what)| *what)
}

impl Table {
    fn read(text: &'static str) -> Self {
        let mut table = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((head, elements)) = line.split_once(" =") else { continue };
            let name = head.strip_prefix("resource ");
            let mut shape = Shape { resource: name.is_some(), ..Shape::default() };
            elements.split_whitespace().for_each(|element| shape.add(element));
            table.numbers.insert(name.unwrap_or(head), table.shapes.len());
            table.shapes.push(shape);
        }
        table.shapes.iter_mut().for_each(|shape| shape.complete(&table.numbers));
        table.names = table.numbers.keys().copied().collect();
        table.names.sort_unstable();
        table
    }

    /// The element `name` of the type `of`.
    pub(super) fn element(&self, of: &str, name: &str) -> Option<Element> {
        self.shape(of)?.element(name)
    }

    /// A type.
    pub(super) fn shape(&self, of: &str) -> Option<&Shape> {
        self.shapes.get(*self.numbers.get(of)?)
    }

    /// A type by its number.
    pub(super) fn shape_numbered(&self, number: usize) -> Option<&Shape> {
        self.shapes.get(number)
    }

    /// The names that the choice `name` of the type `of` takes: `value` of Observation is `valueQuantity`, `valueString`, …
    pub(super) fn choice(&self, of: &str, name: &str) -> &[String] {
        self.shape(of).and_then(|shape| shape.choices.get(name)).map_or(&[], Vec::as_slice)
    }

    /// The type's name as the table keeps it, if the table has it.
    pub(super) fn known(&self, of: &str) -> Option<&'static str> {
        self.numbers.get_key_value(of).map(|(name, _)| *name)
    }

    /// Whether this is a resource type of the release.
    pub(super) fn is_resource(&self, of: &str) -> bool {
        self.shape(of).is_some_and(|shape| shape.resource)
    }

    /// All types.
    pub(super) fn types(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied()
    }

    /// All names that a path may use on the type `of`: elements, and choices without their ending.
    pub(super) fn names(&self, of: &str) -> Vec<&str> {
        let Some(shape) = self.shape(of) else { return Vec::new() };
        let resource = if shape.resource { OF_RESOURCES.as_slice() } else { &[] };
        let own = shape.elements.keys().chain(shape.choices.keys()).copied();
        own.chain(resource.iter().chain(&OF_ALL).map(|(name, _)| *name)).chain(shape.chosen.keys().map(String::as_str)).collect()
    }
}

impl Shape {
    /// Adds `name:type`, `name:type*` or `name[x]:A|B`.
    fn add(&mut self, element: &'static str) {
        let Some((name, holds)) = element.split_once(':') else { return };
        if let Some(base) = name.strip_suffix("[x]") {
            for ending in holds.split('|') {
                let holds = named(&PRIMITIVES, ending).unwrap_or(Holds::Of(ending));
                self.chosen.insert(format!("{base}{ending}"), Element { holds, many: false });
                self.choices.entry(base).or_default().push(format!("{base}{ending}"));
            }
            return;
        }
        let single = holds.strip_suffix('*');
        let holds = match single.unwrap_or(holds) {
            "string" => Holds::Text,
            "boolean" => Holds::Boolean,
            "integer" | "decimal" => Holds::Number,
            "xhtml" => Holds::Xhtml,
            "Resource" => Holds::Resource,
            other => Holds::Of(other),
        };
        self.elements.insert(name, Element { holds, many: single.is_some() });
    }
}

/// Whether this names a primitive type, written `dateTime` or `DateTime`.
pub(super) fn is_primitive(name: &str) -> bool {
    PRIMITIVES.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// The type that ends the name of a choice: `Quantity` for (`value`, `valueQuantity`). `None` if `name` is no choice of `base`.
pub(super) fn chosen_type<'n>(base: &str, name: &'n str) -> Option<&'n str> {
    // Every name of an object is asked, and nearly none goes on with a capital where the base ends.
    name.as_bytes().get(base.len()).filter(|first| first.is_ascii_uppercase())?;
    let ending = name.strip_prefix(base)?;
    let known =
        named(&PRIMITIVES, ending).is_some() || table(Release::R4).known(ending).is_some() || table(Release::Stu3).known(ending).is_some();
    known.then_some(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_an_element_names_is_in_the_table() {
        for release in [Release::Stu3, Release::R4] {
            let table = table(release);
            for (name, shape) in table.types().filter_map(|name| Some((name, table.shape(name)?))) {
                for (element, what) in shape
                    .elements
                    .iter()
                    .map(|(name, what)| (*name, what))
                    .chain(shape.chosen.iter().map(|(name, what)| (name.as_str(), what)))
                {
                    if let Holds::Of(of) = what.holds {
                        assert!(table.known(of).is_some(), "{release:?} {name}.{element} is {of}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_two_releases_differ_where_the_standard_does() {
        let (stu3, r4) = (table(Release::Stu3), table(Release::R4));
        assert_eq!(stu3.element("MessageHeader", "event").map(|event| event.holds), Some(Holds::Of("Coding")));
        assert_eq!(r4.element("MessageHeader", "eventCoding").map(|event| event.holds), Some(Holds::Of("Coding")));
        assert_eq!(stu3.element("Immunization", "notGiven").map(|element| element.holds), Some(Holds::Boolean));
        assert_eq!(r4.element("Immunization", "notGiven"), None);
        assert!(stu3.is_resource("Patient") && !stu3.is_resource("HumanName") && !r4.is_resource("Paitent"));
    }

    #[test]
    fn a_choice_ends_with_a_type() {
        assert_eq!(chosen_type("value", "valueQuantity"), Some("Quantity"));
        assert_eq!(chosen_type("value", "valueDateTime"), Some("DateTime"));
        assert_eq!(chosen_type("value", "valueSet"), None, "there is no type `Set`");
        assert_eq!(chosen_type("value", "values"), None);
        assert_eq!(chosen_type("value", "value"), None);
    }
}
