//! What is asked, out of a path and its parameters. A parameter that is not known is refused: to leave a filter out shows more than was asked for.

use axum::http::StatusCode;
use uuid::Uuid;

use super::answers::Refused;
use crate::canon::NHS_NUMBER_SYSTEM;
use crate::names::ChildId;
use crate::store::FindBy;

/// Types that are searched by the child they are about.
pub(super) const TYPES: [&str; 6] = ["Immunization", "Observation", "DiagnosticReport", "Procedure", "RelatedPerson", "Provenance"];
/// Resources on a page where nobody says how many, and the most that anybody gets.
const COUNT: usize = 50;
const COUNT_MAX: usize = 200;
/// FHIR's system of NHS numbers.
const NHS_NUMBER_OF_FHIR: &str = "https://fhir.nhs.uk/Id/nhs-number";

/// Part of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) count: usize,
    pub(super) offset: usize,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Children that fit; `given` narrows.
    Find(FindBy, Option<String>, Page),
    /// One child's Patient.
    One(ChildId),
    /// The same as a search (`Patient?_id=`).
    OneAsSearch(ChildId),
    /// All of a child, of these types (all, where empty).
    Everything(ChildId, Vec<String>, Page),
    /// Of a child the resources of one type; with `code`, those that have it.
    Of { kind: &'static str, child: ChildId, code: Option<String>, page: Page },
}

fn bad(text: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "invalid", text)
}

/// Parameters, each at most once.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(query: &str, body: Option<&str>) -> Result<Self, Refused> {
        let mut all: Vec<(String, String)> = Vec::new();
        for text in [query, body.unwrap_or_default()] {
            for (name, value) in form_urlencoded::parse(text.as_bytes()) {
                if name == "_format" || value.is_empty() {
                    continue;
                }
                if all.iter().any(|(known, _)| *known == name) {
                    return Err(bad("a parameter is given twice; give each once"));
                }
                all.push((name.into_owned(), value.into_owned()));
            }
        }
        Ok(Self(all))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn number(&mut self, name: &str, default: usize) -> Result<usize, Refused> {
        let Some(text) = self.take(name) else { return Ok(default) };
        text.parse().map_err(|_| bad(format!("`{name}` must be a number")))
    }

    fn page(&mut self) -> Result<Page, Refused> {
        let (count, offset) = (self.number("_count", COUNT)?, self.number("_offset", 0)?);
        Ok(Page { count: count.clamp(1, COUNT_MAX), offset })
    }

    /// Nothing may be left.
    fn end(self, known: &str) -> Result<(), Refused> {
        if self.0.is_empty() {
            return Ok(());
        }
        // The name itself is not said again: somebody may have put a value there.
        Err(bad(format!("a parameter or modifier is not supported here; supported are {known}")))
    }
}

fn child(text: &str) -> Result<ChildId, Refused> {
    let id = text.strip_prefix("Patient/").unwrap_or(text);
    Uuid::try_parse(id).map(ChildId).map_err(|_| bad("a patient is named by our own id, as Patient/_search gives it"))
}

impl Asked {
    /// Reads a path below the base and its parameters; `body` are those of a POST. None: what the door answers (`metadata`), for which no store is read.
    pub(super) fn of(path: &str, query: &str, body: Option<&str>) -> Result<Option<Self>, Refused> {
        let mut given = Parameters::of(query, body)?;
        if body.is_some() && !query.is_empty() {
            return Err(bad("the parameters of a search by POST stand in its body, none in the URL"));
        }
        let parts: Vec<&str> = path.split('/').collect();
        let asked = match (parts.as_slice(), body.is_some()) {
            (["metadata"], false) => None,
            (["Patient", "_search"], true) => return Self::search(given).map(Some),
            (["Patient"], false) => {
                let id =
                    given.take("_id").ok_or_else(|| bad("search by POST Patient/_search: no number and no name may stand in a URL"))?;
                Some(Self::OneAsSearch(child(&id)?))
            }
            (["Patient", id], false) => Some(Self::One(child(id)?)),
            (["Patient", id, "$everything"], false) => {
                let types = given.take("_type").map(|types| types.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default();
                if let Some(unknown) = types.iter().find(|kind| *kind != "Patient" && !TYPES.contains(&kind.as_str())) {
                    let known = TYPES.join(", ");
                    return Err(bad(format!(
                        "`_type` has a type of {} letters that is not told here; told are Patient, {known}",
                        unknown.len()
                    )));
                }
                let page = given.page()?;
                given.end("_type, _count, _offset")?;
                return Ok(Some(Self::Everything(child(id)?, types, page)));
            }
            ([kind], false) | ([kind, "_search"], true) => {
                let Some(kind) = TYPES.iter().find(|known| *known == kind) else { return Err(Refused::no_such_path()) };
                let whose = given.take("patient").or_else(|| given.take("subject"));
                let child = child(&whose.ok_or_else(|| bad("name the child: patient=ID, our own id as Patient/_search gives it"))?)?;
                let asked = Self::Of { kind, child, code: given.take("code"), page: given.page()? };
                given.end("patient, code, _count, _offset")?;
                return Ok(Some(asked));
            }
            _ => return Err(Refused::no_such_path()),
        };
        given.end("_format")?;
        Ok(asked)
    }

    fn search(mut given: Parameters) -> Result<Self, Refused> {
        let page = given.page()?;
        let (identifier, id) = (given.take("identifier"), given.take("_id"));
        let (family, name, given_name) = (given.take("family"), given.take("name"), given.take("given"));
        let born = given.take("birthdate");
        given.end("identifier, family or name, given, birthdate, _id, _count, _offset")?;
        if let Some(id) = id {
            return Ok(Self::OneAsSearch(child(&id)?));
        }
        let by = match (identifier, family.or(name), born) {
            (Some(identifier), None, None) => identifier_of(&identifier)?,
            (None, Some(family), Some(born)) => {
                let birth_date = born.strip_prefix("eq").unwrap_or(&born);
                if birth_date.parse::<jiff::civil::Date>().is_err() || birth_date.len() != 10 {
                    return Err(bad("`birthdate` must be a day, 2026-01-05"));
                }
                FindBy::Name { family, birth_date: birth_date.to_owned() }
            }
            _ => return Err(bad("search by `identifier`, or by `family` and `birthdate` together")),
        };
        Ok(Self::Find(by, given_name, page))
    }

    /// What is asked, in a closed set of words.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Find(..) => "Patient/_search",
            Self::One(_) | Self::OneAsSearch(_) => "Patient",
            Self::Everything(..) => "$everything",
            Self::Of { kind, .. } => kind,
        }
    }
}

/// `system|value`, or a value of any system.
fn identifier_of(text: &str) -> Result<FindBy, Refused> {
    let (system, value) = match text.split_once('|') {
        Some((system, value)) => (Some(system).filter(|system| !system.is_empty()), value),
        None => (None, text),
    };
    if value.is_empty() {
        return Err(bad("`identifier` has no value: system|value"));
    }
    Ok(match system {
        Some(system) if system == NHS_NUMBER_OF_FHIR || system == NHS_NUMBER_SYSTEM => FindBy::nhs_number(value),
        system => FindBy::Identifier { system: system.map(str::to_owned), value: value.to_owned() },
    })
}
