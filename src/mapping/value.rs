//! Values on their way into the canonical model: typed, in numbered slots, without a JSON tree between.
//!
//! A [`Part`] is one struct of the model. Its fields are known by their number, which is their place in the struct: serde's derived
//! readers take a number for a name, so that a finished part becomes its struct without any text being compared.
//!
//! # Invariants
//!
//! - A field's number in [`Model`] is its place in the struct: a test below asks every struct.
//! - What does not fit the struct is an error, never a loss, as with any other reader of serde.
//!
//! # Not here
//!
//! Which field a rule fills: `target.rs`.

use serde::de::value::{Error, SeqDeserializer, StrDeserializer, StringDeserializer, U64Deserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::target::Model;

/// A canonical value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Val {
    /// A text, or one of a closed list.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A date or moment.
    Moment(Box<Moment>),
    /// A list of texts.
    Texts(Vec<String>),
    /// A struct.
    Part(Part),
    /// A list of structs.
    Parts(Vec<Part>),
}

/// `canon::Date` or `canon::Instant`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moment {
    /// ISO text.
    pub value: String,
    /// `day`.
    pub precision: &'static str,
    /// The sender's text, where it says otherwise.
    pub raw: Option<String>,
}

/// A struct of the canonical model, as far as it is filled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Part {
    /// Its number in the model.
    pub shape: usize,
    /// Numbers of fields with what they hold, each once.
    pub fields: Vec<(usize, Val)>,
}

impl Part {
    /// An empty part with room.
    pub fn new(shape: usize, room: usize) -> Self {
        Self { shape, fields: Vec::with_capacity(room) }
    }

    /// What a field holds.
    pub fn get(&self, slot: usize) -> Option<&Val> {
        self.fields.iter().rev().find(|(known, _)| *known == slot).map(|(_, value)| value)
    }

    /// What a field holds, to be changed.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Val> {
        self.fields.iter_mut().rev().find(|(known, _)| *known == slot).map(|(_, value)| value)
    }

    /// What stands at the end of a path of slots.
    pub fn at(&self, path: &[(usize, usize)]) -> Option<&Val> {
        match path {
            [] => None,
            [(slot, _)] => self.get(*slot),
            [(slot, _), rest @ ..] => match self.get(*slot) {
                Some(Val::Part(inner)) => inner.at(rest),
                _ => None,
            },
        }
    }

    /// Is there something at the end of a path of slots.
    pub fn holds(&self, path: &[(usize, usize)]) -> bool {
        match path {
            [] => true,
            [(slot, _)] => self.get(*slot).is_some(),
            [(slot, _), rest @ ..] => matches!(self.get(*slot), Some(Val::Part(inner)) if inner.holds(rest)),
        }
    }

    /// Puts a value at the end of a path of slots where nothing is yet, making the parts on the way.
    pub fn put(&mut self, path: &[(usize, usize)], value: Val) {
        match path {
            [] => {}
            [(slot, _)] => self.fields.push((*slot, value)),
            [(slot, shape), rest @ ..] => {
                if self.get(*slot).is_none() {
                    self.fields.push((*slot, Val::Part(Self::new(*shape, 4))));
                }
                if let Some(Val::Part(inner)) = self.get_mut(*slot) {
                    inner.put(rest, value);
                }
            }
        }
    }

    /// As JSON, for tests of mapping files.
    pub fn json(&self) -> Map<String, Value> {
        let shape = Model::get().shape(self.shape);
        let named = |(slot, value): &(usize, Val)| Some((shape.fields.get(*slot)?.name.clone(), value.json()));
        self.fields.iter().filter_map(named).collect()
    }

    /// The struct that it is.
    ///
    /// # Errors
    ///
    /// A field that must be there is missing, or one holds what it cannot.
    pub fn read<'de, T: Deserialize<'de>>(self) -> Result<T, Error> {
        T::deserialize(PartReader(self))
    }
}

impl Val {
    /// The value of a JSON constant; nothing where it is of no canonical kind.
    pub fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::String(text) => Self::Text(text.clone()),
            Value::Bool(truth) => Self::Boolean(*truth),
            Value::Number(number) => Self::Integer(number.as_i64()?),
            Value::Array(items) => Self::Texts(items.iter().map(|item| Some(item.as_str()?.to_owned())).collect::<Option<_>>()?),
            Value::Null | Value::Object(_) => return None,
        })
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Integer(number) => Value::from(*number),
            Self::Boolean(truth) => Value::Bool(*truth),
            Self::Moment(moment) => {
                let Moment { value, precision, raw } = &**moment;
                let mut object = Map::new();
                object.insert("value".to_owned(), Value::String(value.clone()));
                object.insert("precision".to_owned(), Value::String((*precision).to_owned()));
                object.extend(raw.as_ref().map(|raw| ("raw".to_owned(), Value::String(raw.clone()))));
                Value::Object(object)
            }
            Self::Texts(texts) => texts.iter().map(String::as_str).collect(),
            Self::Part(part) => Value::Object(part.json()),
            Self::Parts(parts) => parts.iter().map(|part| Value::Object(part.json())).collect(),
        }
    }

    /// As text: a moment is its value, a list its items.
    pub fn write(&self, out: &mut String) {
        use std::fmt::Write;
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Integer(number) => drop(write!(out, "{number}")),
            Self::Boolean(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Self::Moment(moment) => out.push_str(&moment.value),
            Self::Texts(texts) => {
                for (at, text) in texts.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { ", " });
                    out.push_str(text);
                }
            }
            Self::Part(_) | Self::Parts(_) => {}
        }
    }

    /// The text of [`Val::write`].
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Text(text) => std::borrow::Cow::Borrowed(text),
            other => {
                let mut text = String::new();
                other.write(&mut text);
                std::borrow::Cow::Owned(text)
            }
        }
    }
}

/// Reads a part as serde would read an object, with numbers for names.
pub(super) struct PartReader(Part);

struct Fields {
    left: std::vec::IntoIter<(usize, Val)>,
    value: Option<Val>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((slot, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        let number: U64Deserializer<Error> = u64::try_from(slot).unwrap_or(u64::MAX).into_deserializer();
        seed.deserialize(number).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(ValReader(value)),
            None => Err(serde::de::Error::custom("a field without a value")),
        }
    }
}

impl<'de> Deserializer<'de> for PartReader {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { left: self.0.fields.into_iter(), value: None })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Part {
    type Deserializer = PartReader;

    fn into_deserializer(self) -> PartReader {
        PartReader(self)
    }
}

/// Reads a value.
struct ValReader(Val);

impl<'de> Deserializer<'de> for ValReader {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Val::Text(text) => visitor.visit_string(text),
            Val::Integer(number) => visitor.visit_i64(number),
            Val::Boolean(truth) => visitor.visit_bool(truth),
            Val::Moment(moment) => visitor.visit_map(MomentFields { moment: *moment, at: 0 }),
            Val::Texts(texts) => visitor.visit_seq(SeqDeserializer::new(texts.into_iter())),
            Val::Part(part) => PartReader(part).deserialize_any(visitor),
            Val::Parts(parts) => visitor.visit_seq(SeqDeserializer::new(parts.into_iter())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Val::Text(text) => {
                let text: StringDeserializer<Error> = text.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            other => Self(other).deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// `value`, `precision`, `raw`: fields 0, 1 and 2 of `canon::Instant`, and the first two of `canon::Date`.
struct MomentFields {
    moment: Moment,
    at: u64,
}

impl<'de> MapAccess<'de> for MomentFields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.at == 3 || (self.at == 2 && self.moment.raw.is_none()) {
            return Ok(None);
        }
        let number: U64Deserializer<Error> = self.at.into_deserializer();
        self.at += 1;
        seed.deserialize(number).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        match self.at {
            1 => seed.deserialize(ValReader(Val::Text(std::mem::take(&mut self.moment.value)))),
            2 => {
                let word: StrDeserializer<'_, Error> = self.moment.precision.into_deserializer();
                seed.deserialize(word)
            }
            _ => seed.deserialize(ValReader(Val::Text(self.moment.raw.take().unwrap_or_default()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{
        Address, Appointment, BirthFacts, BloodSpotResult, Child, Code, ConditionOutcome, Death, Document, EpisodeOfCare, EventHeader,
        FailsafeTask, Flags, GpRegistration, HearingScreen, HearingTest, Identifier, IdentityChange, Immunisation, Measurement, Name,
        NipeExam, NipeFinding, Observation, ObservationSet, Period, ProxyConsent, Quantity, Relation, Review, SafeguardingFact, Sample,
        Score, Statement, Telecom,
    };

    /// Tells the names of the fields that a struct asks for, in its order.
    struct Asked<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
            Err(serde::de::Error::custom("no struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
            seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn asked<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
        let mut fields = Vec::new();
        assert!(T::deserialize(Asked(&mut fields)).is_err());
        fields
    }

    #[test]
    fn the_number_of_a_field_is_its_place_in_its_struct_for_every_struct_of_the_model() {
        let model = Model::get();
        let mut checked = Vec::new();
        macro_rules! check {
            ($($name:ident)*) => {$(
                let name = stringify!($name);
                let shape = model.shape(model.index(name).unwrap_or_else(|| panic!("{name} is no shape")));
                assert_eq!(asked::<$name>(), shape.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), "{name}");
                checked.push(name);
            )*};
        }
        check! {
            Address Appointment BirthFacts BloodSpotResult Child Code ConditionOutcome Death Document EpisodeOfCare EventHeader FailsafeTask
            Flags GpRegistration HearingScreen HearingTest Identifier IdentityChange Immunisation Measurement Name NipeExam NipeFinding
            Observation ObservationSet Period ProxyConsent Quantity Relation Review SafeguardingFact Sample Score Telecom
        }
        for (place, member) in asked::<Statement>().into_iter().enumerate() {
            assert_eq!(model.member(member), Some(place), "{member}");
        }
        let shapes = model.shapes().filter(|shape| !["Date", "Instant", "HubAssignment"].contains(&shape.name.as_str()));
        let unchecked: Vec<&str> = shapes.map(|shape| shape.name.as_str()).filter(|name| !checked.contains(name)).collect();
        assert_eq!(unchecked, Vec::<&str>::new(), "add them above");
    }

    #[test]
    fn what_does_not_fit_its_struct_is_an_error_and_no_loss() {
        let text = |text: &str| Val::Text(text.to_owned());
        let name = |fields: Vec<(usize, Val)>| Part { shape: 0, fields }.read::<Name>().map_err(|why| why.to_string());
        let family = name(vec![(0, text("EXAMPLE")), (1, Val::Texts(vec!["ROSE".to_owned()]))]).unwrap();
        assert_eq!((family.family.as_deref(), family.given), (Some("EXAMPLE"), vec!["ROSE".to_owned()]));
        assert!(name(vec![(99, text("x"))]).is_err(), "a field that the struct does not have");
        assert!(name(vec![(0, text("x")), (0, text("y"))]).is_err(), "a field given twice");
        assert!(name(vec![(0, Val::Integer(1))]).is_err(), "a number for a text");
        let quantity = Part { shape: 0, fields: vec![(0, text("3.10"))] };
        assert!(quantity.read::<Quantity>().is_err(), "a field that must be there");
        let moment = |raw: Option<&str>| {
            Val::Moment(Box::new(Moment { value: "2026-01-05".to_owned(), precision: "day", raw: raw.map(str::to_owned) }))
        };
        let birth = |date: Val| Part { shape: 0, fields: vec![(0, date)] }.read::<BirthFacts>();
        assert_eq!(birth(moment(None)).unwrap().date.unwrap().value, "2026-01-05");
        assert!(birth(moment(Some("20260105"))).is_err(), "a date has no raw text");
    }
}
