//! Findings in words that can leave the house: what is wrong, where, and what the sender should change.

use super::lint::{Issue, Kind, Severity};
use super::standard::{plain_place, shown};
use crate::mapping::{Finding, Level};

/// A code longer than this, or with blanks in it, is not quoted: it may be a name in the wrong place.
const CODE_MAX: usize = 20;

/// In whose words the sender is told what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Segments and fields.
    Hl7v2,
    /// Resources and elements.
    Fhir,
}

/// An issue out of a finding; none for what only the hub has to do with.
pub(super) fn of_finding(finding: &Finding, form: Form) -> Option<Issue> {
    let severity = match finding.level {
        Level::Hold => Severity::Must,
        Level::Warning => Severity::Should,
        Level::Info => Severity::May,
    };
    let code = finding.code.strip_prefix("reject-").unwrap_or(&finding.code);
    let at = shown(&finding.at);
    let (what, change) = match code {
        "unmapped-code" => unmapped(finding, &at),
        "bad-value" => {
            let why = clause(finding).unwrap_or("cannot be read");
            (format!("{at} {why}"), format!("send {at} as the standard writes it, or leave it empty"))
        }
        "required" => {
            let places: Vec<String> = finding.at.split(", ").map(shown).collect();
            (format!("{} is empty", places.join(" and ")), format!("fill {}", places.join(" or ")))
        }
        "no-key" => (
            format!("nothing identifies the {}", record_word(&finding.field)),
            format!("send an identifier: {}", identifier_places(&finding.field, form)),
        ),
        "zero-restored" => (format!("{at} has lost its leading zero"), "send the code as text, with its leading zero".to_owned()),
        "time-adjusted" => {
            let written = if form == Form::Fhir { "YYYY-MM-DDThh:mm:ss+zz:zz, with its offset" } else { "YYYYMMDDHHMMSS" };
            (format!("{at} {}", clause(finding).unwrap_or("was adjusted")), format!("send date and time as {written}"))
        }
        "orphan" => (
            format!("{} stands before the segment it belongs to", plain_place(&finding.at)),
            "keep the order of segments: OBR before its OBX, PID before what is about that person".to_owned(),
        ),
        "no-mapping" => (finding.text.clone(), "agree with the hub what this message is for; nothing reads it".to_owned()),
        "no-child" if form == Form::Fhir => (
            finding.text.clone(),
            "send the Patient with an identifier and the date of birth, and let every resource refer to it".to_owned(),
        ),
        "no-child" => (finding.text.clone(), "send PID with an identifier and the date of birth".to_owned()),
        // What the hub's own files are unsure of is no fault of the sender.
        "two-mappings" | "not-canonical" | "no-event" => return None,
        "check-failed" => {
            let (record, check) = finding.text.split_once(" does not meet its check: ").unwrap_or(("the message", &finding.text));
            (
                format!("{record} does not fit the rest of the message; this has to hold: {check}"),
                "send these so that they agree".to_owned(),
            )
        }
        "charset-guess" => (
            "the message has letters beyond ASCII and does not say its character set".to_owned(),
            "fill MSH-18 (Character Set): UNICODE UTF-8".to_owned(),
        ),
        _ => {
            let help = if finding.help.is_empty() { "ask the hub what it expects here" } else { &finding.help };
            (unquoted(&finding.text), help.to_owned())
        }
    };
    let place = plain_place(&finding.at);
    Some(Issue { severity, kind: Kind::Content, code: code.to_owned(), place, what, change })
}

fn unmapped(finding: &Finding, at: &str) -> (String, String) {
    let table = finding.text.rsplit_once("is not in table ").map_or("its table", |(_, table)| table);
    let code = finding.text.strip_prefix("code \"").and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let looks_like_one = !code.is_empty() && code.len() <= CODE_MAX && code.bytes().all(|byte| byte.is_ascii_graphic());
    let code = if looks_like_one { format!("the code {code}") } else { "a text that is no code".to_owned() };
    (
        format!("{at} has {code}, which table {table} does not know"),
        format!("send a code of table {table}, or tell the hub what this one means"),
    )
}

/// What follows `"value" at PLACE` in a finding's text.
fn clause(finding: &Finding) -> Option<&str> {
    finding.text.split_once(&format!(" at {} ", finding.at)).map(|(_, clause)| clause)
}

/// A finding's text without what it quotes.
fn unquoted(text: &str) -> String {
    let mut plain = String::new();
    for (part, piece) in text.split('"').enumerate() {
        plain.push_str(if part % 2 == 0 { piece } else { "…" });
    }
    plain
}

fn record_word(field: &str) -> &str {
    field.split('.').next().filter(|word| !word.is_empty()).unwrap_or("record")
}

fn identifier_places(field: &str, form: Form) -> &'static str {
    match record_word(field) {
        "child" if form == Form::Fhir => {
            "Patient.identifier with the NHS number (system https://fhir.nhs.uk/Id/nhs-number) or a local one with its system"
        }
        "child" => "an NHS number or a local identifier in PID-3 (Patient Identifier List)",
        _ => "the sender's own id of it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(code: &str, at: &str, text: &str) -> Finding {
        let json = serde_json::json!({ "level": "hold", "code": code, "field": "child.sex", "at": at, "text": text });
        serde_json::from_value(json).unwrap()
    }

    fn said(finding: &Finding) -> (String, String) {
        let issue = of_finding(finding, Form::Hl7v2).unwrap();
        (issue.what, issue.change)
    }

    #[test]
    fn a_code_is_quoted_and_a_name_in_its_place_is_not() {
        let code = finding("unmapped-code", "PID-8", "code \"Q\" at PID-8 is not in table sex");
        assert_eq!(said(&code).0, "PID-8 (Administrative Sex) has the code Q, which table sex does not know");
        for name in ["EXAMPLE AMARA", "AMARA-LOUISE-EXAMPLE-OF-LONDON", "Zo\u{eb}"] {
            let name = finding("unmapped-code", "PID-8", &format!("code \"{name}\" at PID-8 is not in table sex"));
            assert_eq!(said(&name).0, "PID-8 (Administrative Sex) has a text that is no code, which table sex does not know");
        }
    }

    #[test]
    fn no_value_of_a_message_is_quoted() {
        for (code, at, text) in [
            ("bad-value", "PID-7", "\"SECRET\" at PID-7 is no date: YYYYMMDD is expected"),
            ("reject-bad-value", "PID-7", "\"SECRET\" at PID-7 is no date"),
            ("time-adjusted", "OBR-7", "\"SECRET\" at OBR-7 happened twice that night"),
            ("something-else", "PID-7", "it says \"SECRET\" there"),
        ] {
            let (what, change) = said(&finding(code, at, text));
            assert!(!what.contains("SECRET") && !change.contains("SECRET"), "{code}: {what} / {change}");
        }
        assert_eq!(
            said(&finding("bad-value", "PID-7", "\"x\" at PID-7 is no date: YYYYMMDD is expected")).0,
            "PID-7 (Date/Time of Birth) is no date: YYYYMMDD is expected"
        );
    }

    #[test]
    fn all_places_of_a_required_field_are_named() {
        let required = finding("required", "OBR-3.2, MSH-4.1", "OBR-3.2, MSH-4.1 is empty, and the field is required");
        let (what, change) = said(&required);
        assert!(what.contains("Filler Order Number, Namespace ID") && what.contains("Sending Facility"), "{what}");
        assert!(change.starts_with("fill OBR-3.2"), "{change}");
    }
}
