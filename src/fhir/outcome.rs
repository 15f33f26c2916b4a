//! OperationOutcome: what a sender is told over HTTP, in JSON and in XML; and the Bundle that answers a Bundle of resources.
//!
//! Every text comes from a [`Problem`], which never quotes a message, so an outcome cannot carry a child's data back out.

use super::Problem;
use quick_xml::escape::escape;
use serde_json::{Value, json};

/// `error`, `warning`, `information`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The message was not taken.
    Error,
    /// It was taken; somebody should know this.
    Warning,
    /// It was taken.
    Information,
}

impl Severity {
    fn code(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Information => "information",
        }
    }
}

/// One issue, before it is written down in either format.
struct Issue<'p> {
    code: &'p str,
    details: &'p str,
    /// `expression` for a FHIRPath, `location` for a line and column; both exist in STU3 and R4.
    place: Option<(&'static str, &'p str)>,
}

/// An outcome has at least one issue: without problems it says that all is well.
fn issues(problems: &[Problem]) -> Vec<Issue<'_>> {
    if problems.is_empty() {
        return vec![Issue { code: "informational", details: "no issues", place: None }];
    }
    problems.iter().map(issue).collect()
}

fn issue(problem: &Problem) -> Issue<'_> {
    let element = if problem.location.starts_with("line ") { "location" } else { "expression" };
    let place = (!problem.location.is_empty()).then_some((element, problem.location.as_str()));
    Issue { code: problem.code, details: &problem.message, place }
}

/// Builds an OperationOutcome (same shape in STU3 and R4; `expression` carries a FHIRPath, `location` a line and column).
pub fn outcome(severity: Severity, problems: &[Problem]) -> Value {
    let write = |issue: Issue<'_>| {
        let mut tree = json!({ "severity": severity.code(), "code": issue.code, "details": { "text": issue.details } });
        if let (Some((element, place)), Some(fields)) = (issue.place, tree.as_object_mut()) {
            fields.insert(element.to_owned(), json!([place]));
        }
        tree
    };
    let issues: Vec<Value> = issues(problems).into_iter().map(write).collect();
    json!({ "resourceType": "OperationOutcome", "issue": issues })
}

/// The same as XML.
pub fn outcome_xml(severity: Severity, problems: &[Problem]) -> String {
    format!("{XML_DECLARATION}{}\n", outcome_element(severity, problems, FHIR_NAMESPACE))
}

const XML_DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const FHIR_NAMESPACE: &str = " xmlns=\"http://hl7.org/fhir\"";

fn outcome_element(severity: Severity, problems: &[Problem], namespace: &str) -> String {
    let mut xml = format!("<OperationOutcome{namespace}>");
    for issue in issues(problems) {
        let details = escape(issue.details);
        xml.push_str(&format!("<issue><severity value=\"{}\"/><code value=\"{}\"/>", severity.code(), escape(issue.code)));
        xml.push_str(&format!("<details><text value=\"{details}\"/></details>"));
        if let Some((element, place)) = issue.place {
            xml.push_str(&format!("<{element} value=\"{}\"/>", escape(place)));
        }
        xml.push_str("</issue>");
    }
    xml.push_str("</OperationOutcome>");
    xml
}

/// What an entry of an answer says: kept, and what becomes of it is not known yet.
const ACCEPTED: &str = "202 Accepted";

/// A Bundle of type `kind` (`transaction-response`, `batch-response`) that says of each of so many entries that it was kept.
pub fn accepted_bundle(kind: &str, entries: usize, problem: &Problem) -> Value {
    let outcome = outcome(Severity::Information, std::slice::from_ref(problem));
    let entry = json!({ "response": { "status": ACCEPTED, "outcome": outcome } });
    json!({ "resourceType": "Bundle", "type": kind, "entry": vec![entry; entries] })
}

/// The same as XML.
pub fn accepted_bundle_xml(kind: &str, entries: usize, problem: &Problem) -> String {
    let outcome = outcome_element(Severity::Information, std::slice::from_ref(problem), "");
    let entry = format!("<entry><response><status value=\"{ACCEPTED}\"/><outcome>{outcome}</outcome></response></entry>");
    format!("{XML_DECLARATION}<Bundle{FHIR_NAMESPACE}><type value=\"{kind}\"/>{}</Bundle>\n", entry.repeat(entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Limits, Release, read_xml};

    fn problems() -> Vec<Problem> {
        let line =
            Problem { code: "structure", location: "line 3, column 14".to_owned(), message: "a comma or `}` was expected".to_owned() };
        let path = Problem { code: "required", location: "Bundle.entry[0].resource".to_owned(), message: "a < b & \"c\"".to_owned() };
        vec![line, path]
    }

    #[test]
    fn an_outcome_tells_what_and_where() {
        let expected = json!({
            "resourceType": "OperationOutcome",
            "issue": [
                { "severity": "error", "code": "structure", "details": { "text": "a comma or `}` was expected" }, "location": ["line 3, column 14"] },
                { "severity": "error", "code": "required", "details": { "text": "a < b & \"c\"" }, "expression": ["Bundle.entry[0].resource"] }
            ]
        });
        assert_eq!(outcome(Severity::Error, &problems()), expected);
    }

    #[test]
    fn xml_and_json_are_the_same_outcome_in_both_releases() {
        for severity in [Severity::Error, Severity::Warning, Severity::Information] {
            let xml = outcome_xml(severity, &problems());
            for release in [Release::Stu3, Release::R4] {
                assert_eq!(read_xml(xml.as_bytes(), release, &Limits::default()), Ok(outcome(severity, &problems())), "{release:?}");
            }
        }
    }

    #[test]
    fn an_outcome_without_problems_says_so() {
        let expected = json!({
            "resourceType": "OperationOutcome",
            "issue": [{ "severity": "information", "code": "informational", "details": { "text": "no issues" } }]
        });
        assert_eq!(outcome(Severity::Information, &[]), expected);
    }
}
