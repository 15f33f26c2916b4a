//! What a parents' record may hold, as data: `parents-record.toml`, whole, or refused whole (destination rules, section 3).
//!
//! # Invariants
//!
//! - The file can only take away. What this code does not permit cannot be allowed by a file: that is a mistake with its line.
//! - Each class of facts and each element has its row: nothing is shown because somebody forgot to say that it is not.
//!
//! # Not here
//!
//! No file is opened: the caller gives its text. What a fact is, and which class it is of, is code (`facts`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

/// The file beside the mappings.
pub const PARENTS_FILE: &str = "parents-record.toml";

/// A mistake in the file, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ParentsError {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes of the file.
    pub span: Range<usize>,
    /// What is wrong, and what would help.
    pub message: String,
}

/// What is done with a class of facts; the later in this list, the less is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Showing {
    /// At once.
    Send,
    /// Once a hub has noted that the parents were told by a person.
    AfterInformed,
    /// To nobody.
    Never,
}

impl Showing {
    const WORDS: [(Self, &'static str); 3] = [(Self::Send, "send"), (Self::AfterInformed, "after-informed"), (Self::Never, "never")];

    fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(showing, _)| *showing)
    }

    /// As it is written in the file.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(showing, _)| *showing == self).map_or("", |(_, word)| word)
    }
}

/// Every class of facts, with the most that a file may say of it. The never-list stands here in full, so that nobody can allow it.
pub const CLASSES: [(&str, Showing); 60] = [
    ("name", Showing::Send),
    ("birth-date", Showing::Send),
    ("sex", Showing::Send),
    ("birth.weight", Showing::Send),
    ("birth.length", Showing::Send),
    ("birth.head", Showing::Send),
    ("birth.gestation", Showing::Send),
    ("birth.apgar", Showing::Send),
    ("blood-spot.02", Showing::Send),
    ("blood-spot.04", Showing::Send),
    ("blood-spot.09", Showing::Send),
    ("blood-spot.03", Showing::AfterInformed),
    ("blood-spot.05", Showing::AfterInformed),
    ("blood-spot.06", Showing::AfterInformed),
    ("blood-spot.07", Showing::AfterInformed),
    ("blood-spot.08", Showing::AfterInformed),
    ("blood-spot.10", Showing::AfterInformed),
    ("blood-spot.other", Showing::Never),
    ("hearing.clear", Showing::Send),
    ("hearing.targeted", Showing::AfterInformed),
    ("hearing.no-clear", Showing::AfterInformed),
    ("hearing.other", Showing::Never),
    ("physical-examination.no-abnormality", Showing::Send),
    ("physical-examination.suspected", Showing::AfterInformed),
    ("physical-examination.other", Showing::Never),
    ("immunisation.given", Showing::Send),
    ("immunisation.not-attended", Showing::Send),
    ("immunisation.not-given", Showing::Never),
    ("appointment", Showing::Send),
    ("appointment.site", Showing::Send),
    ("review.measurement", Showing::Send),
    ("review.score", Showing::Send),
    ("review.feeding", Showing::Send),
    ("review.comment", Showing::Never),
    ("review.concern", Showing::Never),
    ("safeguarding", Showing::Never),
    ("child-protection-information", Showing::Never),
    ("legal-information", Showing::Never),
    ("safety-alert", Showing::Never),
    ("social-context", Showing::Never),
    ("family-history", Showing::Never),
    ("death", Showing::Never),
    ("stillbirth", Showing::Never),
    ("sensitivity", Showing::Never),
    ("address", Showing::Never),
    ("telecom", Showing::Never),
    ("practice", Showing::Never),
    ("mother", Showing::Never),
    ("father", Showing::Never),
    ("other-person", Showing::Never),
    ("sibling", Showing::Never),
    ("professional-comment", Showing::Never),
    ("adoption", Showing::Never),
    ("previous-identity", Showing::Never),
    ("old-nhs-number", Showing::Never),
    ("local-identifier", Showing::Never),
    ("failsafe-task", Showing::Never),
    ("document", Showing::Never),
    ("episode-of-care", Showing::Never),
    ("other-observation", Showing::Never),
];

/// Every element that this code can write, by resource type; the file names those that may leave the house.
pub const ELEMENTS: [(&str, &[&str]); 6] = [
    ("Bundle", &["resourceType", "id", "type", "timestamp", "entry.fullUrl", "entry.request.method", "entry.request.url"]),
    (
        "Patient",
        &[
            "resourceType",
            "meta.versionId",
            "identifier.use",
            "identifier.system",
            "identifier.value",
            "identifier.extension.url",
            "identifier.extension.valueCodeableConcept.coding.system",
            "identifier.extension.valueCodeableConcept.coding.code",
            "name.family",
            "name.given",
            "gender",
            "birthDate",
        ],
    ),
    (
        "Observation",
        &[
            "resourceType",
            "id",
            "meta.versionId",
            "status",
            "code.coding.system",
            "code.coding.code",
            "code.text",
            "subject.reference",
            "effectiveDateTime",
            "valueInteger",
            "valueQuantity.value",
            "valueQuantity.unit",
            "valueQuantity.system",
            "valueQuantity.code",
            "valueCodeableConcept.coding.system",
            "valueCodeableConcept.coding.code",
            "valueCodeableConcept.text",
        ],
    ),
    (
        "Immunization",
        &[
            "resourceType",
            "id",
            "meta.versionId",
            "status",
            "statusReason.coding.system",
            "statusReason.coding.code",
            "statusReason.text",
            "vaccineCode.coding.system",
            "vaccineCode.coding.code",
            "vaccineCode.text",
            "patient.reference",
            "occurrenceDateTime",
            "occurrenceString",
            "lotNumber",
            "site.coding.system",
            "site.coding.code",
            "protocolApplied.doseNumberPositiveInt",
            "protocolApplied.doseNumberString",
            "protocolApplied.targetDisease.coding.system",
            "protocolApplied.targetDisease.coding.code",
        ],
    ),
    (
        "Appointment",
        &[
            "resourceType",
            "id",
            "meta.versionId",
            "status",
            "serviceType.coding.system",
            "serviceType.coding.code",
            "start",
            "end",
            "participant.actor.reference",
            "participant.actor.identifier.system",
            "participant.actor.identifier.value",
            "participant.status",
        ],
    ),
    (
        "Consent",
        &[
            "resourceType",
            "id",
            "status",
            "scope.coding.system",
            "scope.coding.code",
            "category.coding.system",
            "category.coding.code",
            "category.coding.display",
            "patient.reference",
            "policyRule.coding.system",
            "policyRule.coding.code",
            "provision.type",
            "provision.actor.role.coding.system",
            "provision.actor.role.coding.code",
            "provision.actor.role.coding.display",
            "provision.actor.reference.identifier.system",
            "provision.actor.reference.identifier.value",
        ],
    ),
];

/// Accounts are the child's own from this age on (destination rules, section 3).
const AGE_OUT_YEARS_MAX: i64 = 16;

/// What may be shown, as the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRules {
    age_out_years: i64,
    classes: BTreeMap<String, Showing>,
    elements: BTreeSet<(String, String)>,
}

impl Default for ParentRules {
    /// The file inside the program; were it broken, nothing would be shown.
    fn default() -> Self {
        let shipped = include_str!("../../../mappings/parents-record.toml");
        Self::load(shipped, PARENTS_FILE).unwrap_or(Self { age_out_years: 0, classes: BTreeMap::new(), elements: BTreeSet::new() })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    age_out_years: Spanned<i64>,
    facts: BTreeMap<Spanned<String>, Spanned<String>>,
    elements: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
}

impl ParentRules {
    /// Reads the text of `parents-record.toml`; every mistake is named.
    pub fn load(text: &str, file: &str) -> Result<Self, Vec<ParentsError>> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            vec![mistake(text, file, error.span().unwrap_or(0..0), message)]
        })?;
        let mut reading = Reading { text, file, mistakes: Vec::new() };
        let rules = reading.rules(&raw);
        if reading.mistakes.is_empty() { Ok(rules) } else { Err(reading.mistakes) }
    }

    /// What is done with a class; what is no class is shown to nobody.
    pub fn showing(&self, class: &str) -> Showing {
        self.classes.get(class).copied().unwrap_or(Showing::Never)
    }

    /// From this age on nothing is sent.
    pub fn age_out_years(&self) -> i64 {
        self.age_out_years
    }

    /// The first leaf of a Bundle that may not leave the house: `Observation.note.text`.
    pub fn strange_element(&self, bundle: &Value) -> Option<String> {
        let mut leaves = BTreeSet::new();
        leaves_of(bundle, ("Bundle", String::new()), &mut leaves);
        leaves.into_iter().find(|leaf| !self.elements.contains(leaf)).map(|(kind, path)| format!("{kind}.{path}"))
    }
}

/// Every leaf of a Bundle, as (resource type, path inside the resource).
pub(in crate::destinations) fn leaves_of(value: &Value, (kind, at): (&str, String), leaves: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            let entered = fields.get("resourceType").and_then(Value::as_str).filter(|_| at == "entry.resource");
            let (kind, at) = entered.map_or((kind, at), |entered| (entered, String::new()));
            for (name, field) in fields {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                leaves_of(field, (kind, path), leaves);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| leaves_of(item, (kind, at.clone()), leaves)),
        _ => {
            leaves.insert((kind.to_owned(), at));
        }
    }
}

struct Reading<'t> {
    text: &'t str,
    file: &'t str,
    mistakes: Vec<ParentsError>,
}

impl Reading<'_> {
    fn wrong(&mut self, span: Range<usize>, message: String) {
        self.mistakes.push(mistake(self.text, self.file, span, message));
    }

    fn rules(&mut self, raw: &Raw) -> ParentRules {
        let years = *raw.age_out_years.get_ref();
        if !(0..=AGE_OUT_YEARS_MAX).contains(&years) {
            let message = format!("`age_out_years = {years}` must be from 0 to {AGE_OUT_YEARS_MAX}: older children decide themselves");
            self.wrong(raw.age_out_years.span(), message);
        }
        let mut classes = BTreeMap::new();
        for (class, word) in &raw.facts {
            let Some((_, most)) = CLASSES.iter().find(|(known, _)| known == class.get_ref()) else {
                self.wrong(class.span(), format!("\"{}\" is no class of facts; remove the line, or correct its name", class.get_ref()));
                continue;
            };
            match Showing::of(word.get_ref()) {
                None => self.wrong(word.span(), format!("\"{}\" must be \"send\", \"after-informed\" or \"never\"", word.get_ref())),
                Some(said) if said < *most => {
                    let message = format!(
                        "\"{}\" may not be \"{}\": the program permits \"{}\" and a file can only take away; write \"{}\"",
                        class.get_ref(),
                        said.word(),
                        most.word(),
                        most.word()
                    );
                    self.wrong(word.span(), message);
                }
                Some(said) => {
                    classes.insert(class.get_ref().clone(), said);
                }
            }
        }
        for (class, most) in CLASSES {
            if !raw.facts.iter().any(|(said, _)| said.get_ref() == class) {
                self.wrong(0..0, format!("[facts] has no line for \"{class}\"; add `\"{class}\" = \"{}\"`, or \"never\"", most.word()));
            }
        }
        ParentRules { age_out_years: years, classes, elements: self.elements(raw) }
    }

    fn elements(&mut self, raw: &Raw) -> BTreeSet<(String, String)> {
        let mut elements = BTreeSet::new();
        for (kind, paths) in &raw.elements {
            let Some((_, known)) = ELEMENTS.iter().find(|(known, _)| known == kind.get_ref()) else {
                self.wrong(kind.span(), format!("a parents' record never holds a \"{}\"; remove the line", kind.get_ref()));
                continue;
            };
            for path in paths {
                if known.contains(&path.get_ref().as_str()) {
                    elements.insert((kind.get_ref().clone(), path.get_ref().clone()));
                } else {
                    let message = format!("\"{}\" of {} may never be sent to parents; remove it", path.get_ref(), kind.get_ref());
                    self.wrong(path.span(), message);
                }
            }
        }
        elements
    }
}

fn mistake(text: &str, file: &str, span: Range<usize>, message: String) -> ParentsError {
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    ParentsError { file: file.to_owned(), line, column, span, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../mappings/parents-record.toml");

    fn mistakes(text: &str) -> Vec<String> {
        ParentRules::load(text, "p.toml").unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_shipped_file_says_of_every_class_and_element_what_the_program_permits() {
        let rules = ParentRules::load(SHIPPED, PARENTS_FILE).unwrap();
        assert_eq!(rules, ParentRules::default());
        assert_eq!(rules.age_out_years(), 16);
        for (class, most) in CLASSES {
            assert_eq!(rules.showing(class), most, "{class}");
        }
        let all = ELEMENTS.iter().flat_map(|(kind, paths)| paths.iter().map(|path| ((*kind).to_owned(), (*path).to_owned())));
        assert_eq!(rules.elements, all.collect());
        assert_eq!(rules.showing("nobody knows this"), Showing::Never);
    }

    #[test]
    fn no_row_of_the_never_list_and_nothing_that_a_person_tells_first_can_be_allowed_by_the_file() {
        for (class, most) in CLASSES.iter().filter(|(_, most)| *most != Showing::Send) {
            let line = format!("\"{class}\" = \"{}\"", most.word());
            let place = SHIPPED.lines().position(|text| text.starts_with(&line)).unwrap_or_else(|| panic!("{line}")) + 1;
            for word in ["send", "after-informed"].into_iter().filter(|word| Showing::of(word).is_some_and(|said| said < *most)) {
                let told = mistakes(&SHIPPED.replace(&line, &format!("\"{class}\" = \"{word}\"")));
                assert_eq!(told.len(), 1, "{told:?}");
                assert!(
                    told[0].starts_with(&format!("p.toml:{place}:")) && told[0].contains(&format!("write \"{}\"", most.word())),
                    "{told:?}"
                );
            }
        }
    }

    #[test]
    fn a_file_can_take_away_and_every_mistake_is_named_with_its_place() {
        let less = SHIPPED
            .replace("\"birth.weight\" = \"send\"", "\"birth.weight\" = \"never\"")
            .replace("age_out_years = 16", "age_out_years = 11");
        let rules = ParentRules::load(&less, "p.toml").unwrap();
        assert_eq!((rules.showing("birth.weight"), rules.age_out_years()), (Showing::Never, 11));
        let forgot = mistakes(&SHIPPED.replace("\"sex\" = \"send\"", ""));
        assert!(forgot.len() == 1 && forgot[0].contains("no line for \"sex\""), "{forgot:?}");
        let wrong = SHIPPED
            .replace("\"sex\" = \"send\"", "\"sex\" = \"yes\"\n\"shoe-size\" = \"send\"")
            .replace("\"gender\"", "\"gender\", \"address.line\"");
        let told = mistakes(&wrong).join("\n");
        for part in ["\"yes\" must be", "\"shoe-size\" is no class", "\"address.line\" of Patient may never"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(
            mistakes("age_out_years = 17\n[facts]\n[elements]\nRelatedPerson = []").join("\n").contains("never holds a \"RelatedPerson\"")
        );
        assert!(mistakes("age_out_years = 18\n[facts]\n[elements]").join("\n").contains("from 0 to 16"));
        assert!(mistakes("more = 1").join("\n").contains("p.toml:1:"));
    }
}
