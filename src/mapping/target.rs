//! What a rule may fill: the canonical model as its own JSON Schema says it, and where each record type belongs.
//!
//! # Invariants
//!
//! - The model is read from [`crate::canon::schema`], so a field that is added there can be mapped at once.
//! - A [`Target`] names a field that exists; a mapping that compiled cannot misspell one.
//!
//! # Not here
//!
//! Whether a value suits a field is decided in `rule.rs`.

use std::sync::OnceLock;

use serde_json::Value;

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Free text.
    Text,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// One of a closed list.
    Choice(Vec<String>),
    /// `canon::Date`.
    Date,
    /// `canon::Instant`.
    Instant,
    /// A list of texts.
    Texts,
    /// A part with fields of its own.
    Part(usize),
    /// A list of parts: filled by records of their own.
    Parts(usize),
    /// Set by the broker, never by a mapping.
    Ours,
}

impl Kind {
    /// In words, for diagnostics.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Choice(_) => "one of a closed list",
            Self::Date => "a date",
            Self::Instant => "a moment",
            Self::Texts => "a list of texts",
            Self::Part(_) => "a part with fields of its own",
            Self::Parts(_) => "a list of records",
            Self::Ours => "set by the broker",
        }
    }
}

/// A field of a shape.
#[derive(Debug)]
pub(super) struct Field {
    /// As in JSON, `birth`.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Without it the whole part means nothing.
    pub required: bool,
}

/// A struct of the canonical model.
#[derive(Debug)]
pub(super) struct Shape {
    /// `Child`.
    pub name: String,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

impl Shape {
    /// The number of the field called `name`, which is its place in the struct.
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// The canonical model.
#[derive(Debug)]
pub(super) struct Model {
    shapes: Vec<Shape>,
    /// Names of the members of a statement, in order.
    statement: Vec<String>,
}

impl Model {
    /// The model, read once.
    pub fn get() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        MODEL.get_or_init(|| Self::of(&crate::canon::schema()))
    }

    /// A shape by number; the empty shape cannot be reached by a number of ours.
    pub fn shape(&self, index: usize) -> &Shape {
        static NONE: Shape = Shape { name: String::new(), fields: Vec::new() };
        self.shapes.get(index).unwrap_or(&NONE)
    }

    #[cfg(test)]
    /// All shapes.
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        self.shapes.iter()
    }

    /// The number of a shape by name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.shapes.iter().position(|shape| shape.name == name)
    }

    fn of(schema: &Value) -> Self {
        let empty = serde_json::Map::new();
        let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
        let names: Vec<String> = definitions.iter().filter(|(_, d)| d.get("properties").is_some()).map(|(name, _)| name.clone()).collect();
        let shapes = names.iter().filter_map(|name| Some(shape(name, definitions.get(name)?, definitions, &names))).collect();
        let statement = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty).keys().cloned().collect();
        Self { shapes, statement }
    }

    /// The number of a member of a statement.
    pub fn member(&self, name: &str) -> Option<usize> {
        self.statement.iter().position(|known| known == name)
    }
}

fn shape(name: &str, definition: &Value, definitions: &serde_json::Map<String, Value>, names: &[String]) -> Shape {
    let required: Vec<&str> =
        definition.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = definition.get("properties").and_then(Value::as_object);
    let fields = properties.into_iter().flatten().map(|(field, schema)| {
        let ours = name == "Child" && matches!(field.as_str(), "hub" | "merged_into" | "status");
        let kind = if ours { Kind::Ours } else { kind(schema, definitions, names) };
        Field { name: field.clone(), kind, required: required.contains(&field.as_str()) }
    });
    Shape { name: name.to_owned(), fields: fields.collect() }
}

fn kind(schema: &Value, definitions: &serde_json::Map<String, Value>, names: &[String]) -> Kind {
    if let Some(some) = schema.get("anyOf").and_then(Value::as_array) {
        let inner = some.iter().find(|one| one.get("type").and_then(Value::as_str) != Some("null"));
        return inner.map_or(Kind::Ours, |inner| kind(inner, definitions, names));
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.trim_start_matches("#/$defs/");
        return match (name, names.iter().position(|known| known == name)) {
            ("Date", _) => Kind::Date,
            ("Instant", _) => Kind::Instant,
            (_, Some(index)) => Kind::Part(index),
            (_, None) => definitions.get(name).map_or(Kind::Ours, |definition| kind(definition, definitions, names)),
        };
    }
    if let Some(choices) = choices(schema) {
        return Kind::Choice(choices);
    }
    let is = |wanted: &str| match schema.get("type") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    };
    match schema.get("items") {
        Some(items) if is("array") => match kind(items, definitions, names) {
            Kind::Part(index) => Kind::Parts(index),
            Kind::Text => Kind::Texts,
            _ => Kind::Ours,
        },
        _ if is("string") => Kind::Text,
        _ if is("integer") => Kind::Integer,
        _ if is("boolean") => Kind::Boolean,
        _ => Kind::Ours,
    }
}

/// The values of a closed list, `enum` or `oneOf` constants.
fn choices(schema: &Value) -> Option<Vec<String>> {
    let texts = |values: &Vec<Value>| values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return texts(values);
    }
    let one_of = schema.get("oneOf").and_then(Value::as_array)?;
    let lists = one_of.iter().map(|one| match (one.get("const"), one.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => value.as_str().map(|text| vec![text.to_owned()]),
        (None, Some(values)) => texts(values),
        (None, None) => None,
    });
    Some(lists.collect::<Option<Vec<_>>>()?.concat())
}

/// Where records of a type go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// `statement.event`: one for each statement.
    Event,
    /// `statement.child`: each makes a statement.
    Child,
    /// A list or part of another record, by that record's type: `("child", "identifiers")`.
    Of(&'static [(&'static str, &'static str)]),
    /// A list of the statement whose child is the parent.
    Statement(&'static str),
}

/// A record type.
#[derive(Debug)]
pub(super) struct RecordType {
    /// `blood-spot`.
    pub name: &'static str,
    /// Shape in the model.
    pub shape: &'static str,
    /// Where its records go.
    pub home: Home,
}

/// All record types: every list of a statement and of a child.
pub(super) const RECORD_TYPES: &[RecordType] = &[
    RecordType { name: "event", shape: "EventHeader", home: Home::Event },
    RecordType { name: "child", shape: "Child", home: Home::Child },
    RecordType {
        name: "identifier",
        shape: "Identifier",
        home: Home::Of(&[("child", "identifiers"), ("relation", "identifiers"), ("identity-change", "prior")]),
    },
    RecordType { name: "name", shape: "Name", home: Home::Of(&[("child", "names"), ("relation", "name")]) },
    RecordType { name: "address", shape: "Address", home: Home::Of(&[("child", "addresses"), ("relation", "address")]) },
    RecordType { name: "telecom", shape: "Telecom", home: Home::Of(&[("child", "telecoms"), ("relation", "telecoms")]) },
    RecordType { name: "relation", shape: "Relation", home: Home::Of(&[("child", "relations")]) },
    RecordType { name: "blood-spot", shape: "BloodSpotResult", home: Home::Statement("blood_spots") },
    RecordType { name: "blood-spot-outcome", shape: "ConditionOutcome", home: Home::Of(&[("blood-spot", "outcomes")]) },
    RecordType { name: "hearing-screen", shape: "HearingScreen", home: Home::Statement("hearing_screens") },
    RecordType { name: "hearing-test", shape: "HearingTest", home: Home::Of(&[("hearing-screen", "tests")]) },
    RecordType { name: "nipe-exam", shape: "NipeExam", home: Home::Statement("nipe_exams") },
    RecordType { name: "immunisation", shape: "Immunisation", home: Home::Statement("immunisations") },
    RecordType { name: "review", shape: "Review", home: Home::Statement("reviews") },
    RecordType { name: "measurement", shape: "Measurement", home: Home::Of(&[("review", "measurements")]) },
    RecordType { name: "score", shape: "Score", home: Home::Of(&[("review", "scores")]) },
    RecordType { name: "appointment", shape: "Appointment", home: Home::Statement("appointments") },
    RecordType { name: "document", shape: "Document", home: Home::Statement("documents") },
    RecordType { name: "episode", shape: "EpisodeOfCare", home: Home::Statement("episodes") },
    RecordType { name: "task", shape: "FailsafeTask", home: Home::Statement("tasks") },
    RecordType { name: "observation-set", shape: "ObservationSet", home: Home::Statement("observation_sets") },
    RecordType { name: "observation", shape: "Observation", home: Home::Of(&[("observation-set", "items"), ("review", "observations")]) },
    RecordType { name: "safeguarding-fact", shape: "SafeguardingFact", home: Home::Statement("safeguarding") },
    RecordType { name: "identity-change", shape: "IdentityChange", home: Home::Statement("identity_changes") },
    RecordType { name: "gp-history", shape: "GpRegistration", home: Home::Of(&[("child", "gp_history")]) },
    RecordType { name: "proxy-consent", shape: "ProxyConsent", home: Home::Statement("proxy_consents") },
];

impl RecordType {
    /// The type called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        RECORD_TYPES.iter().find(|kind| kind.name == name)
    }

    /// The member of a parent of type `parent` that these records fill.
    pub fn member(&self, parent: &str) -> Option<&'static str> {
        match self.home {
            Home::Of(homes) => homes.iter().find(|(kind, _)| *kind == parent).map(|(_, member)| *member),
            Home::Statement(member) if parent == "child" => Some(member),
            _ => None,
        }
    }

    /// The types that may own these records.
    pub fn parents(&self) -> Vec<&'static str> {
        match self.home {
            Home::Of(homes) => homes.iter().map(|(kind, _)| *kind).collect(),
            Home::Statement(_) | Home::Event => vec!["child"],
            Home::Child => Vec::new(),
        }
    }

    /// Its shape in the model.
    pub fn shape(&self) -> usize {
        Model::get().index(self.shape).unwrap_or(usize::MAX)
    }
}

/// Which field a rule fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `["birth", "date"]`.
    pub path: Vec<String>,
    /// What the field holds.
    pub kind: Kind,
}

impl Target {
    /// `birth.date`.
    pub fn dotted(&self) -> String {
        self.path.join(".")
    }

    /// The path in numbers, from a shape: of each step the field, and the shape of the part that it enters.
    pub fn slots(&self, shape: usize) -> Vec<(usize, usize)> {
        let model = Model::get();
        let mut at = shape;
        let step = |name: &String| {
            let here = model.shape(at);
            let slot = here.slot(name)?;
            if let Some(Kind::Part(next)) = here.fields.get(slot).map(|field| &field.kind) {
                at = *next;
            }
            Some((slot, at))
        };
        self.path.iter().map_while(step).collect()
    }

    #[cfg(test)]
    /// Finds a dotted path below a shape; the error is how many parts of it are right.
    pub fn find(shape: usize, dotted: &str) -> Result<Self, usize> {
        let model = Model::get();
        let (mut at, mut kind) = (Some(shape), None);
        let path: Vec<String> = dotted.split('.').map(str::to_owned).collect();
        for (right, part) in path.iter().enumerate() {
            let field = at.and_then(|at| model.shape(at).field(part)).ok_or(right)?;
            at = if let Kind::Part(next) = field.kind { Some(next) } else { None };
            kind = Some(field.kind.clone());
        }
        kind.map(|kind| Self { path, kind }).ok_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_type_has_a_shape_and_every_member_exists() {
        let model = Model::get();
        for kind in RECORD_TYPES {
            assert!(model.index(kind.shape).is_some(), "{}", kind.name);
            for parent in kind.parents() {
                let Some(member) = kind.member(parent) else { continue };
                let owner = if let Home::Statement(_) = kind.home { None } else { Some(RecordType::find(parent).unwrap().shape()) };
                let Some(owner) = owner else { continue };
                assert!(model.shape(owner).field(member).is_some(), "{parent}.{member}");
            }
        }
    }

    #[test]
    fn every_list_of_a_statement_has_a_record_type() {
        let schema = crate::canon::schema();
        for (name, property) in schema["properties"].as_object().unwrap() {
            if property.get("items").is_some_and(|items| items.get("$ref").is_some()) {
                let known = RECORD_TYPES.iter().any(|kind| kind.home == Home::Statement(Box::leak(name.clone().into_boxed_str())));
                assert!(known, "{name}");
            }
        }
    }

    #[test]
    fn fields_are_found_by_dotted_path_and_typed() {
        let child = RecordType::find("child").unwrap().shape();
        assert_eq!(Target::find(child, "birth.date").unwrap().kind, Kind::Date);
        assert_eq!(Target::find(child, "birth.weight_g").unwrap().kind, Kind::Integer);
        assert_eq!(Target::find(child, "gp.practice_ods").unwrap().kind, Kind::Text);
        assert!(matches!(Target::find(child, "sex").unwrap().kind, Kind::Choice(list) if list == ["1", "2", "9", "0"]));
        assert_eq!(Target::find(child, "birth.wieght_g"), Err(1));
        assert_eq!(Target::find(child, "hub").unwrap().kind, Kind::Ours);
        let event = RecordType::find("event").unwrap().shape();
        assert!(matches!(Target::find(event, "kind").unwrap().kind, Kind::Choice(list) if list.contains(&"blood-spot".to_owned())));
        let name = RecordType::find("name").unwrap().shape();
        assert_eq!(Target::find(name, "given").unwrap().kind, Kind::Texts);
    }
}
