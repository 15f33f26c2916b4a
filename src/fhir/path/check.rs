//! Are the names of a path names of the release? A typing error in FHIRPath is silently empty; here it is an error at load.

use super::parse::{Condition, Head, Operand, Step, StepKind, nearest};
use super::{Path, PathError, RECORD, is_type_name};
use crate::fhir::Release;
use crate::fhir::elements::{Element, Holds, Table, is_primitive, table};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// What the nodes of a path can be. The default is: anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types(BTreeSet<Kind>);

impl Default for Types {
    fn default() -> Self {
        Self(BTreeSet::from([Kind::Anything]))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Nothing is known: every name of the release may follow.
    Anything,
    /// A resource of any type.
    Resource,
    /// A type of the table.
    Of(&'static str),
    /// A primitive, which has extensions only.
    Primitive,
}

/// What is known where a path is used.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// What the path is asked of: the document, or the node that a record is made from.
    pub this: Types,
    /// What the let-names stand for; a name that is not here may be anything.
    pub lets: HashMap<String, Types>,
}

/// Checks that every name of `path` is one that the release has where it stands, as far as the path alone tells.
///
/// # Errors
///
/// [`PathError`] at the name, with the name that was probably meant.
pub fn check_names(path: &Path, release: Release) -> Result<(), PathError> {
    check_types(path, release, &Scope::default()).map(drop)
}

/// The same, with what is known of `$this` and the let-names; returns what the path finds, for the [`Scope`] of the next.
///
/// # Errors
///
/// [`PathError`] at the name, with the name that was probably meant.
pub fn check_types(path: &Path, release: Release, scope: &Scope) -> Result<Types, PathError> {
    let check = Check { table: table(release), release, lets: &scope.lets, record: &scope.this.0 };
    check.path(path, &scope.this.0).map(Types)
}

struct Check<'c> {
    table: &'static Table,
    release: Release,
    lets: &'c HashMap<String, Types>,
    record: &'c Kinds,
}

type Kinds = BTreeSet<Kind>;

impl Check<'_> {
    fn path(&self, path: &Path, this: &Kinds) -> Result<Kinds, PathError> {
        let (mut kinds, steps) = match (&path.head, path.steps.split_first()) {
            (Head::Let(name), _) if name == RECORD && !self.lets.contains_key(name) => (self.record.clone(), path.steps.as_slice()),
            (Head::Let(name), _) => (self.lets.get(name).cloned().unwrap_or_default().0, path.steps.as_slice()),
            (Head::Tree, Some((Step { kind: StepKind::Name(name), span }, rest))) if is_type_name(name) => {
                (self.resource(name, span.clone())?, rest)
            }
            _ => (this.clone(), path.steps.as_slice()),
        };
        for step in steps {
            kinds = self.step(step, kinds)?;
        }
        Ok(kinds)
    }

    fn resource(&self, name: &str, span: Range<usize>) -> Result<Kinds, PathError> {
        match self.table.known(name).filter(|name| self.table.is_resource(name)) {
            Some(name) => Ok(Kinds::from([Kind::Of(name)])),
            None => {
                let near = nearest(name, self.table.types().filter(|name| self.table.is_resource(name)));
                Err(self.error(span, format!("{} has no resource {name}", self.release_name()), near))
            }
        }
    }

    fn step(&self, step: &Step, kinds: Kinds) -> Result<Kinds, PathError> {
        match &step.kind {
            StepKind::Name(name) => self.name(name, &kinds, step.span.clone()),
            StepKind::Index(_) | StepKind::First | StepKind::Last => Ok(kinds),
            StepKind::Where(condition) => self.condition(condition, &kinds).map(|()| kinds),
            StepKind::Exists(condition) => {
                condition.as_ref().map_or(Ok(()), |condition| self.condition(condition, &kinds))?;
                Ok(Kinds::from([Kind::Primitive]))
            }
            StepKind::Count => Ok(Kinds::from([Kind::Primitive])),
            StepKind::Extension(_) => self.name("extension", &kinds, step.span.clone()),
            StepKind::OfType(name) => self.of_type(name, &kinds, step.span.clone()),
            StepKind::Resolve => self.resolve(&kinds, step.span.clone()),
        }
    }

    fn condition(&self, condition: &Condition, this: &Kinds) -> Result<(), PathError> {
        let mut result = Ok(());
        condition.for_each_operand(&mut |operand| {
            if let (Operand::Path(path), Ok(())) = (operand, &result) {
                result = self.path(path, this).map(drop);
            }
        });
        result
    }

    fn name(&self, name: &str, kinds: &Kinds, span: Range<usize>) -> Result<Kinds, PathError> {
        let found: Kinds = kinds.iter().flat_map(|kind| self.children(*kind, name)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let known = kinds.iter().flat_map(|kind| self.types(*kind)).flat_map(|of| self.table.names(of));
        let message = match kinds.first() {
            Some(Kind::Of(of)) if kinds.len() == 1 => format!("{of} has no element {name} in {}", self.release_name()),
            Some(Kind::Primitive) if kinds.len() == 1 => format!("this is a single value, which has no element {name}"),
            _ => format!("nothing here has an element {name} in {}", self.release_name()),
        };
        Err(self.error(span, message, nearest(name, known)))
    }

    /// The types that a kind stands for.
    fn types(&self, kind: Kind) -> Vec<&'static str> {
        match kind {
            Kind::Anything => self.table.types().collect(),
            Kind::Resource => self.table.types().filter(|of| self.table.is_resource(of)).collect(),
            Kind::Of(of) => vec![of],
            Kind::Primitive => Vec::new(),
        }
    }

    /// What the element `name` of a node of this kind can be.
    fn children(&self, kind: Kind, name: &str) -> Kinds {
        // `id` and `extension` are beside a primitive too.
        if kind == Kind::Primitive {
            return if matches!(name, "id" | "extension") { self.children(Kind::Of("Extension"), name) } else { Kinds::new() };
        }
        let mut found = Kinds::new();
        for of in self.types(kind) {
            let chosen = self.table.choice(of, name).iter().filter_map(|name| self.table.element(of, name));
            found.extend(self.table.element(of, name).into_iter().chain(chosen).map(kind_of));
        }
        found
    }

    fn of_type(&self, name: &str, kinds: &Kinds, span: Range<usize>) -> Result<Kinds, PathError> {
        let known = self.table.known(name);
        let fits = |kind: &Kind| match kind {
            Kind::Anything => true,
            Kind::Resource => self.table.is_resource(name),
            Kind::Of(of) => *of == name,
            Kind::Primitive => known.is_none(),
        };
        let primitive = is_primitive(name);
        match known.map(Kind::Of).or_else(|| primitive.then_some(Kind::Primitive)) {
            Some(kind) if kinds.iter().any(fits) => Ok(Kinds::from([kind])),
            Some(_) => Err(self.error(span, format!("nothing here can be a {name}"), None)),
            None => Err(self.error(span, format!("{} has no type {name}", self.release_name()), nearest(name, self.table.types()))),
        }
    }

    fn resolve(&self, kinds: &Kinds, span: Range<usize>) -> Result<Kinds, PathError> {
        let can = |kind: &Kind| matches!(kind, Kind::Anything | Kind::Primitive | Kind::Of("Reference"));
        match kinds.iter().any(can) {
            true => Ok(Kinds::from([Kind::Resource])),
            false => Err(self.error(span, "resolve() follows references, and this is none".to_owned(), None)),
        }
    }

    fn release_name(&self) -> &'static str {
        match self.release {
            Release::Stu3 => "FHIR STU3",
            Release::R4 => "FHIR R4",
        }
    }

    fn error(&self, span: Range<usize>, message: String, near: Option<&str>) -> PathError {
        PathError { span, message, help: near.map(|near| format!("did you mean {near}?")) }
    }
}

fn kind_of(element: Element) -> Kind {
    match element.holds {
        Holds::Of(of) => Kind::Of(of),
        Holds::Resource => Kind::Resource,
        Holds::Unknown => Kind::Anything,
        Holds::Text | Holds::Boolean | Holds::Number | Holds::Xhtml => Kind::Primitive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, release: Release) -> Result<(), (String, String)> {
        let path = Path::parse(path).expect(path);
        let text = path.to_string();
        let words = |error: PathError| {
            (text[error.span.clone()].to_owned(), [Some(error.message), error.help].into_iter().flatten().collect::<Vec<_>>().join("; "))
        };
        check_names(&path, release).map_err(words)
    }

    fn good(path: &str) {
        assert_eq!(check(path, Release::Stu3), Ok(()), "{path}");
    }

    fn fails(path: &str, marked: &str, words: &str) {
        assert_eq!(check(path, Release::Stu3), Err((marked.to_owned(), words.to_owned())), "{path}");
    }

    #[test]
    fn names_of_the_release_are_good() {
        good("Bundle.entry.resource.ofType(Patient)[1].name.where(use = 'official' or period.end.exists()).given.first()");
        good("Bundle.entry.resource.ofType(Observation).where(code.coding.code = '364589006').value.ofType(Quantity).value");
        good("Observation.valueQuantity.unit");
        good("$patient.birthDate.extension('http://hl7.org/fhir/StructureDefinition/patient-birthTime').value");
        good("Bundle.entry.resource.ofType(Encounter).location.location.resolve().ofType(Location).identifier.value");
        good("Patient.contact.name.family.count()");
        good("$this.participant.individual.reference.resolve()");
        good("Patient.contained.ofType(Organization).meta.versionId");
        good("Patient.multipleBirth.ofType(integer)");
    }

    #[test]
    fn a_typing_error_is_shown_with_what_was_meant() {
        fails(
            "Bundle.entry.resource.ofType(Patient).brithDate",
            "brithDate",
            "Patient has no element brithDate in FHIR STU3; did you mean birthDate?",
        );
        fails("Bundle.entry.resource.ofType(Paitent)", "ofType(Paitent)", "FHIR STU3 has no type Paitent; did you mean Patient?");
        fails("Bundel.entry", "Bundel", "FHIR STU3 has no resource Bundel; did you mean Bundle?");
        fails("Patient.name.where(usage = 'official')", "usage", "HumanName has no element usage in FHIR STU3; did you mean use?");
        fails("$patient.nmae", "nmae", "nothing here has an element nmae in FHIR STU3; did you mean name?");
        fails("Patient.gender.code", "code", "this is a single value, which has no element code");
        fails("Patient.name.ofType(Address)", "ofType(Address)", "nothing here can be a Address");
        fails("Patient.name.resolve()", "resolve()", "resolve() follows references, and this is none");
    }

    #[test]
    fn each_release_has_its_own_names() {
        assert_eq!(check("Immunization.notGiven", Release::Stu3), Ok(()));
        assert_eq!(check("Immunization.occurrence", Release::R4), Ok(()));
        let older = ("notGiven".to_owned(), "Immunization has no element notGiven in FHIR R4".to_owned());
        assert_eq!(check("Immunization.notGiven", Release::R4), Err(older));
        assert!(check("Immunization.occurrence", Release::Stu3).is_err());
    }

    #[test]
    fn what_a_let_stands_for_is_known_to_the_paths_that_use_it() {
        let patient =
            check_types(&Path::parse("Bundle.entry.resource.ofType(Patient)[1]").unwrap(), Release::R4, &Scope::default()).unwrap();
        let scope = Scope { this: patient.clone(), lets: HashMap::from([("patient".to_owned(), patient)]) };
        let check = |path: &str| check_types(&Path::parse(path).unwrap(), Release::R4, &scope).map_err(|error| error.message);
        assert!(check("$patient.birthDate").is_ok() && check("birthDate").is_ok());
        let message = "Patient has no element valueQuantity in FHIR R4".to_owned();
        assert_eq!(check("$patient.valueQuantity"), Err(message.clone()), "Observation has one, Patient has not");
        assert_eq!(check("valueQuantity"), Err(message));
    }
}
