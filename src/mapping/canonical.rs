//! Canonical statements that come as JSON: they say already what a mapping would have made, so they are only checked.
//!
//! # Invariants
//!
//! - Every field is known to the model, every NHS number has its check digit, and numbers of the test range are taken only where
//!   they are allowed.
//! - Reasons quote nothing of the statement.

use serde_json::error::Category;

use super::{Explanation, Outcome, Reading, select};
use crate::canon::{NHS_NUMBER_SYSTEM, NhsNumber, Statement};

/// Why a text is no statement that can be filed: a stable code, and words that quote nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCanonical {
    /// `no-json`, `unknown-field`, `missing-field`, `bad-value`, `required`.
    pub code: &'static str,
    /// `a field at column 17 is not one of the model`.
    pub text: String,
}

/// Reads a statement.
///
/// # Errors
///
/// It is no JSON, has a field that the model does not know, a value that does not fit, or an NHS number that is none.
pub fn canonical_statement(body: &[u8], allow_test_numbers: bool) -> Result<Statement, NotCanonical> {
    let statement: Statement = serde_json::from_slice(body).map_err(|error| {
        let (said, column) = (error.to_string(), error.column());
        // serde's own text may quote a value.
        let (code, what) = match error.classify() {
            Category::Data if said.starts_with("unknown field") => ("unknown-field", "has a field there that the model does not know"),
            Category::Data if said.starts_with("missing field") => ("missing-field", "lacks a field that the model needs, before"),
            Category::Data => ("bad-value", "has a value there that does not fit its field"),
            Category::Syntax | Category::Eof | Category::Io => ("no-json", "is no JSON there"),
        };
        NotCanonical { code, text: format!("the statement {what}: line {}, column {column}", error.line()) }
    })?;
    let people = std::iter::once(&statement.child.identifiers).chain(statement.child.relations.iter().map(|one| &one.identifiers));
    for identifier in people.flatten().filter(|identifier| identifier.system == NHS_NUMBER_SYSTEM) {
        let why = match NhsNumber::parse(&identifier.value) {
            Ok(number) if number.is_test() && !allow_test_numbers => "is a test number (999), which is not taken here".to_owned(),
            // Other spellings of a number would be other numbers to the index.
            Ok(number) if number.to_string() != identifier.value => "is not written as ten digits".to_owned(),
            Ok(_) => continue,
            Err(why) => why.to_string(),
        };
        return Err(NotCanonical { code: "bad-value", text: format!("an NHS number: {why}") });
    }
    let is_date = |value: &str| value.len() < 10 || value.parse::<jiff::civil::Date>().is_ok();
    if statement.child.birth.date.as_ref().is_some_and(|date| !is_date(&date.value)) {
        return Err(NotCanonical { code: "bad-value", text: "the date of birth is no date".to_owned() });
    }
    if statement.child.identifiers.is_empty() && !statement.event.may_create {
        return Err(NotCanonical { code: "required", text: "nothing identifies the child".to_owned() });
    }
    Ok(statement)
}

/// What a statement says: itself.
pub(super) fn read(body: &[u8], allow_test_numbers: bool) -> Reading {
    match canonical_statement(body, allow_test_numbers) {
        Ok(statement) => Reading {
            mapping: None,
            outcome: Outcome::Mapped,
            statements: vec![statement],
            findings: vec![],
            provenance: Explanation::default(),
            contents: vec![],
        },
        Err(NotCanonical { code, text }) => select::held(code, text, "mend the extract and import it again", Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, code: &str) {
        let found = canonical_statement(body.as_bytes(), false).map_or_else(|why| (why.code, why.text), |_| ("taken", String::new()));
        assert_eq!(found.0, code, "{body}: {}", found.1);
        assert!(!found.1.contains("SECRET"), "{}", found.1);
    }

    #[test]
    fn a_statement_is_taken_only_when_every_part_of_it_is_known() {
        let with = |number: &str| {
            format!(
                r#"{{"event":{{"kind":"person","may_create":true}},"child":{{"identifiers":[{{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"{number}"}}]}}}}"#
            )
        };
        check(&with("5900005879"), "taken");
        check(&with("5900005870"), "bad-value");
        check(&with("590 000 5879"), "bad-value");
        check(&with("9990000018"), "bad-value");
        check(r#"{"event":{"kind":"person"},"child":{}}"#, "required");
        check(r#"{"event":{"kind":"person"},"child":{"SECRET":1}}"#, "unknown-field");
        check(r#"{"child":{}}"#, "missing-field");
        check(r#"{"event":{"kind":"SECRET"}}"#, "bad-value");
        check(
            r#"{"event":{"kind":"person","may_create":true},"child":{"birth":{"date":{"value":"2026-02-30","precision":"day"}}}}"#,
            "bad-value",
        );
        check("SECRET", "no-json");
        check("", "no-json");
    }
}
