//! The outside of a message Bundle: what the door must know.
//!
//! The event code and the source decide who may send what and which mapping reads it; the message id decides whether it is the
//! same message again. Nothing of the child is read here.

use super::{Look, Problem, References};

/// What identifies a message Bundle.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BundleHead {
    /// `message`, `transaction`, `batch`, `collection`.
    pub kind: String,
    /// MessageHeader.id, else Bundle.identifier.value, else Bundle.id.
    pub message_id: Option<String>,
    /// Event code, `pds-birth-notification-1`; older EMS codes are given under their new names.
    pub event: Option<String>,
    /// ODS code or ASID of the source, as the header says.
    pub source: Option<String>,
}

/// The event codes of 2017 and what they are called now: STU3 events, section 2; the names are of the code system EventType-1.
const OLDER_EVENTS: [(&str, &str); 6] = [
    ("PDS001", "pds-change-of-gp-1"),
    ("PDS002", "pds-change-of-address-1"),
    ("PDS003", "pds-birth-notification-1"),
    ("PDS004", "pds-death-notification-1"),
    ("FM001", "national-population-failsafe-alert-1"),
    ("FM002", "national-population-failsafe-alert-nullify-1"),
];

/// Reads the outside of a Bundle; a tree that is none, or a message without MessageHeader as entry 0, is a problem.
///
/// # Errors
///
/// `structure` if the tree is no Bundle, `required` if it has no type, or is a message without its header in the first entry
/// (STU3 events, section 2, rule 1).
pub fn bundle_head<'t>(tree: impl Look<'t>) -> Result<BundleHead, Problem> {
    let (kind, header) = outside(tree)?;
    let message_id = header.and_then(|header| text(header, &["id"]));
    let bundle_id = || text(tree, &["identifier", "value"]).or_else(|| text(tree, &["id"]));
    Ok(BundleHead {
        kind: kind.to_owned(),
        message_id: message_id.or_else(bundle_id).map(str::to_owned),
        event: header.and_then(event),
        source: header.and_then(|header| source(tree, header)),
    })
}

/// What says which mapping reads a Bundle: its event, or its kind where it has none. `None` where [`bundle_head`] sees a problem.
pub fn bundle_kind<'t>(tree: impl Look<'t>) -> Option<String> {
    let (kind, header) = outside(tree).ok()?;
    header.and_then(event).or_else(|| Some(kind.to_owned()))
}

/// The type of the Bundle, and its header.
fn outside<'t, T: Look<'t>>(tree: T) -> Result<(&'t str, Option<T>), Problem> {
    if text(tree, &["resourceType"]) != Some("Bundle") {
        return Err(problem("structure", "Bundle", "the document is not a Bundle; send the message as a Bundle"));
    }
    let Some(kind) = text(tree, &["type"]) else {
        return Err(problem("required", "Bundle.type", "the Bundle has no type"));
    };
    let first = tree.member("entry").and_then(Look::items).and_then(|mut entries| entries.next()?.member("resource"));
    let header = first.filter(|first| text(*first, &["resourceType"]) == Some("MessageHeader"));
    if kind == "message" && header.is_none() {
        let message = "the first entry of a message Bundle must be its MessageHeader";
        return Err(problem("required", "Bundle.entry[0].resource", message));
    }
    Ok((kind, header))
}

/// STU3 has `event` as a Coding, R4 a choice of `eventCoding` and `eventUri`.
fn event<'t>(header: impl Look<'t>) -> Option<String> {
    let coded = text(header, &["event", "code"]).or_else(|| text(header, &["eventCoding", "code"]));
    let code = coded.or_else(|| text(header, &["eventUri"]))?;
    let older = code.strip_prefix("EMS-").unwrap_or(code);
    let renamed = OLDER_EVENTS.iter().find(|(known, _)| *known == older).map(|(_, name)| *name);
    Some(renamed.unwrap_or(code).to_owned())
}

/// The organisation that answers for the message, else the system that sent it.
fn source<'t, T: Look<'t>>(bundle: T, header: T) -> Option<String> {
    let endpoint = text(header, &["source", "endpoint"]);
    let ods_endpoint = endpoint.and_then(|endpoint| endpoint.rsplit_once(":ods:")).map(|(_, code)| code.to_owned());
    let organisation = ["responsible", "sender"].iter().find_map(|who| ods_code(bundle, header.member(who)?));
    let asid = || endpoint.and_then(|endpoint| endpoint.rsplit_once(":asid:")).map(|(_, asid)| asid.to_owned());
    ods_endpoint.or(organisation).or_else(asid)
}

/// The ODS code that a reference to an organisation carries, or its address in the Spine directory, or the organisation in the Bundle.
fn ods_code<'t, T: Look<'t>>(bundle: T, reference: T) -> Option<String> {
    if let Some(code) = text(reference, &["identifier", "value"]) {
        return Some(code.to_owned());
    }
    let target = text(reference, &["reference"])?;
    if target.starts_with("https://directory.spineservices.nhs.uk/") {
        return target.rsplit_once("/Organization/").map(|(_, code)| code.to_owned());
    }
    let organisation = References::of(bundle).entry(target)?.1;
    let mut identifiers = organisation.member("identifier")?.items()?;
    let of_ods = |identifier: &T| text(*identifier, &["system"]).is_some_and(|system| system.contains("/Id/ods-"));
    text(identifiers.find(of_ods)?, &["value"]).map(str::to_owned)
}

fn text<'t>(tree: impl Look<'t>, path: &[&str]) -> Option<&'t str> {
    let found = path.iter().try_fold(tree, |node, name| node.member(name))?;
    found.text().filter(|text| !text.is_empty())
}

fn problem(code: &'static str, location: &str, message: &str) -> Problem {
    Problem { code, location: location.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn message(header: &Value) -> Value {
        json!({
            "resourceType": "Bundle", "type": "message", "id": "bundle-1",
            "entry": [
                { "fullUrl": "urn:uuid:h", "resource": header },
                { "fullUrl": "urn:uuid:o", "resource": {
                    "resourceType": "Organization",
                    "identifier": [
                        { "system": "https://fhir.nhs.uk/Id/local", "value": "7" },
                        { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "RJ1" }
                    ]
                } }
            ]
        })
    }

    #[test]
    fn an_stu3_header_names_the_event_and_the_organisation_that_answers_for_it() {
        let head = bundle_head(&message(&json!({
            "resourceType": "MessageHeader", "id": "m-1",
            "event": { "code": "newborn-hearing-1" },
            "source": { "endpoint": "urn:nhs:addressing:asid:200000000001" },
            "responsible": { "reference": "urn:uuid:o" }
        })));
        let expected = BundleHead {
            kind: "message".to_owned(),
            message_id: Some("m-1".to_owned()),
            event: Some("newborn-hearing-1".to_owned()),
            source: Some("RJ1".to_owned()),
        };
        assert_eq!(head, Ok(expected));
    }

    #[test]
    fn an_r4_header_names_the_event_by_its_coding() {
        let head = bundle_head(&message(&json!({ "resourceType": "MessageHeader", "eventCoding": { "code": "vaccinations-1" } }))).unwrap();
        assert_eq!(head.event.as_deref(), Some("vaccinations-1"));
        assert_eq!(head.message_id.as_deref(), Some("bundle-1"), "the Bundle's id stands in for the header's");
    }

    #[test]
    fn older_codes_are_given_under_their_new_names() {
        let event = |code: &str| event(&json!({ "event": { "code": code } })).unwrap();
        assert_eq!(event("PDS003"), "pds-birth-notification-1");
        assert_eq!(event("EMS-PDS001"), "pds-change-of-gp-1");
        assert_eq!(event("FM002"), "national-population-failsafe-alert-nullify-1");
        assert_eq!(event("CH015"), "CH015", "the alpha set had other shapes too, so its codes are not renamed");
    }

    #[test]
    fn the_source_is_an_ods_code_before_it_is_an_asid() {
        let source = |header: Value| source(&message(&json!({})), &header);
        let asid = json!({ "endpoint": "urn:nhs:addressing:asid:200000000001" });
        assert_eq!(source(json!({ "source": asid })).as_deref(), Some("200000000001"));
        let directory = json!({ "reference": "https://directory.spineservices.nhs.uk/STU3/Organization/X26" });
        assert_eq!(source(json!({ "source": asid, "responsible": directory })).as_deref(), Some("X26"));
        assert_eq!(source(json!({ "source": { "endpoint": "urn:nhs-uk:addressing:ods:RJ1" } })).as_deref(), Some("RJ1"));
        assert_eq!(source(json!({ "sender": { "identifier": { "value": "RJ2" } } })).as_deref(), Some("RJ2"));
        assert_eq!(source(json!({})), None);
    }

    #[test]
    fn a_message_begins_with_its_header() {
        let place = |tree: Value| bundle_head(&tree).map_err(|problem| problem.location);
        assert_eq!(place(json!({ "resourceType": "Patient" })), Err("Bundle".to_owned()));
        assert_eq!(place(json!([])), Err("Bundle".to_owned()));
        assert_eq!(place(json!({ "resourceType": "Bundle" })), Err("Bundle.type".to_owned()));
        let headless = json!({ "resourceType": "Bundle", "type": "message", "entry": [{ "resource": { "resourceType": "Patient" } }] });
        assert_eq!(place(headless), Err("Bundle.entry[0].resource".to_owned()));
        let transaction = json!({ "resourceType": "Bundle", "type": "transaction", "identifier": { "value": "t-1" } });
        assert_eq!(bundle_head(&transaction).unwrap().message_id.as_deref(), Some("t-1"), "only messages have a header");
    }
}
