//! A document as one tree that is read and thrown away: its texts stand in the document itself, its nodes in one arena.
//!
//! ```text
//! Object[ ("resourceType", Text("Bundle")), ("entry", Array[ Object[ … ], … ]) ]
//! ```
//!
//! Reading a message makes a thousand nodes that nobody changes. Here they cost a few blocks of memory, and letting go of them costs
//! nothing. Whoever wants to change a document, or to keep it, takes a [`serde_json::Value`]: [`Item::to_value`].
//!
//! # Invariants
//!
//! - The shape is that of FHIR JSON, and members stand in the sender's order, each name once: as [`Value`] has them.

use bumpalo::Bump;
use serde_json::{Map, Value};

/// A node of a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'t> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number, as it is written.
    Number(&'t str),
    /// A text.
    Text(&'t str),
    /// A list.
    Array(&'t [Item<'t>]),
    /// An object.
    Object(&'t [Member<'t>]),
}

/// A name and what an object has under it.
pub type Member<'t> = (&'t str, Item<'t>);

impl<'t> Item<'t> {
    /// What an object has under a name.
    pub fn get(&self, name: &str) -> Option<&'t Self> {
        self.as_object()?.iter().find(|(known, _)| *known == name).map(|(_, item)| item)
    }

    /// The members of an object.
    pub fn as_object(&self) -> Option<&'t [Member<'t>]> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// The items of a list.
    pub fn as_array(&self) -> Option<&'t [Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// A text.
    pub fn as_str(&self) -> Option<&'t str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// `null`
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The same tree with texts and nodes of its own.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(text) => whole_number(text).unwrap_or_else(|| Value::from(*text)),
            Self::Text(text) => Value::from(*text),
            Self::Array(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                let mut object = Map::with_capacity(members.len());
                object.extend(members.iter().map(|(name, item)| ((*name).to_owned(), item.to_value())));
                Value::Object(object)
            }
        }
    }

    /// A tree as items, in an arena.
    pub fn of(value: &Value, arena: &'t Bump) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::Number(arena.alloc_str(&number.to_string())),
            Value::String(text) => Self::Text(arena.alloc_str(text)),
            Value::Array(items) => Self::Array(arena.alloc_slice_fill_iter(items.iter().map(|item| Self::of(item, arena)))),
            Value::Object(object) => {
                let members = object.iter().map(|(name, item)| (&*arena.alloc_str(name), Self::of(item, arena)));
                Self::Object(arena.alloc_slice_fill_iter(members))
            }
        }
    }
}

/// A whole number of 64 bits.
pub(super) fn whole_number(text: &str) -> Option<Value> {
    text.parse::<i64>().ok().map(Value::from).or_else(|| text.parse::<u64>().ok().map(Value::from))
}

/// What the outside of a document is asked, whichever kind of tree it is.
pub trait Look<'t>: Copy {
    /// What an object has under a name.
    fn member(self, name: &str) -> Option<Self>;
    /// The text that it is.
    fn text(self) -> Option<&'t str>;
    /// The items of the list that it is.
    fn items(self) -> Option<impl Iterator<Item = Self>>;
    /// Is it an object.
    fn is_object(self) -> bool;
}

impl<'t> Look<'t> for &'t Value {
    fn member(self, name: &str) -> Option<Self> {
        self.get(name)
    }
    fn text(self) -> Option<&'t str> {
        self.as_str()
    }
    fn items(self) -> Option<impl Iterator<Item = Self>> {
        self.as_array().map(|items| items.iter())
    }
    fn is_object(self) -> bool {
        Value::is_object(self)
    }
}

impl<'t> Look<'t> for &'t Item<'t> {
    fn member(self, name: &str) -> Option<Self> {
        self.get(name)
    }
    fn text(self) -> Option<&'t str> {
        self.as_str()
    }
    fn items(self) -> Option<impl Iterator<Item = Self>> {
        self.as_array().map(|items| items.iter())
    }
    fn is_object(self) -> bool {
        matches!(self, Item::Object(_))
    }
}
