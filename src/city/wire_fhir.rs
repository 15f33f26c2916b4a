//! National events as FHIR STU3 messages: births as XML, all others as JSON, so that both readers have work.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use uuid::Uuid;

use super::london::{Home, trust};
use super::message::{Planned, Said, Second, What, local};

const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";
const STU3: &str = "https://fhir.nhs.uk/STU3/StructureDefinition";
const CODES: &str = "https://fhir.nhs.uk/STU3/CodeSystem";
const CARE_CONNECT: &str = "https://fhir.hl7.org.uk/STU3";

/// The message: its text, and true where it is XML.
pub(super) fn write(message: &Planned, zone: &TimeZone) -> (String, bool) {
    let writer = Writer { message, zone, seed: message.control.clone() };
    let entries = match &message.what {
        What::NationalBirth { unit, weight_g, gestation } => writer.birth(*unit, *weight_g, *gestation),
        What::NationalAddress { before } => writer.address(*before),
        What::NationalGp => writer.practice(),
        What::NationalDeath { is_formal, died } => writer.death(*is_formal, *died),
        // Everybody else sends HL7 v2.
        _ => Vec::new(),
    };
    let entries: Vec<Value> =
        entries.into_iter().map(|(name, resource)| json!({ "fullUrl": writer.reference(name), "resource": resource })).collect();
    let bundle = json!({ "resourceType": "Bundle", "id": writer.id("bundle"), "type": "message", "entry": entries });
    let is_xml = matches!(message.what, What::NationalBirth { .. });
    (if is_xml { xml(&bundle) } else { bundle.to_string() }, is_xml)
}

type Entry = (&'static str, Value);

struct Writer<'m> {
    message: &'m Planned,
    zone: &'m TimeZone,
    seed: String,
}

impl Writer<'_> {
    fn id(&self, name: &str) -> String {
        if name == "header" {
            return self.message.control.clone();
        }
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{} {name}", self.seed).as_bytes()).to_string()
    }

    fn reference(&self, name: &str) -> String {
        format!("urn:uuid:{}", self.id(name))
    }

    fn moment(&self, at: Second) -> String {
        local(at, self.zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// The header is addressed by the number of `whom`: of a birth, the mother's.
    fn header(&self, event: &str, number: &str, born: Date) -> Entry {
        let said = &self.message.said;
        let demographics = json!({ "url": format!("{STU3}/Extension-RoutingDemographics-1"), "extension": [
            { "url": "nhsNumber", "valueIdentifier": { "system": NHS_NUMBER, "value": number } },
            { "url": "name", "valueHumanName": { "use": "official", "family": said.family } },
            { "url": "birthDateTime", "valueDateTime": format!("{born}T00:00:00+00:00") },
        ] });
        let kind = json!({ "url": format!("{STU3}/Extension-MessageEventType-1"), "valueCodeableConcept": {
            "coding": [{ "system": format!("{CODES}/MessageEventType-1"), "code": "new" }] } });
        let at = self.moment(self.message.written);
        (
            "header",
            json!({
                "resourceType": "MessageHeader", "id": self.id("header"), "meta": { "lastUpdated": at },
                "extension": [demographics, kind], "event": { "system": format!("{CODES}/EventType-1"), "code": event }, "timestamp": at,
                "source": { "name": "CITY", "endpoint": "urn:nhs:addressing:asid:000000000000" },
                "responsible": { "reference": self.reference("spine") }, "focus": { "reference": self.reference("notice") },
            }),
        )
    }

    fn organisation(&self, name: &'static str, ods: &str) -> Entry {
        let identifier = json!([{ "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": ods }]);
        (name, json!({ "resourceType": "Organization", "id": self.id(name), "identifier": identifier }))
    }

    fn notice(&self, subject: &str) -> Entry {
        let subject = json!({ "reference": self.reference(subject) });
        ("notice", json!({ "resourceType": "Communication", "id": self.id("notice"), "status": "completed", "subject": subject }))
    }

    fn number(&self, number: &str) -> Value {
        let status = json!({ "url": format!("{CARE_CONNECT}/StructureDefinition/Extension-CareConnect-NHSNumberVerificationStatus-1"),
            "valueCodeableConcept": { "coding": [{
                "system": format!("{CARE_CONNECT}/CodeSystem/CareConnect-NHSNumberVerificationStatus-1"), "code": "01" }] } });
        json!({ "extension": [status], "system": NHS_NUMBER, "value": number })
    }

    fn home(&self, home: Home, usage: &str, since: Option<Date>) -> Value {
        let mut address = json!({ "use": usage, "line": [home.street(), "LONDON"], "postalCode": home.postcode() });
        if let (Some(since), Some(members)) = (since, address.as_object_mut()) {
            members.insert("period".into(), json!({ "start": since.to_string() }));
        }
        address
    }

    /// The child as the national record has it.
    fn child(&self, addresses: Vec<Value>) -> Value {
        let Said { ids, family, given, born, born_at, is_girl, births, order, .. } = &self.message.said;
        let number = ids.iter().find(|id| id.is_nhs()).map(|id| id.value.as_str()).unwrap_or_default();
        let mut patient = json!({ "resourceType": "Patient", "id": self.id("child"), "identifier": [self.number(number)],
            "name": [{ "use": "official", "family": family, "given": [given] }],
            "gender": if *is_girl { "female" } else { "male" }, "birthDate": born.to_string() });
        if let Some(members) = patient.as_object_mut() {
            if let Some(at) = born_at {
                let time =
                    json!([{ "url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": self.moment(*at) }]);
                members.insert("_birthDate".into(), json!({ "extension": time }));
            }
            if !addresses.is_empty() {
                members.insert("address".into(), Value::Array(addresses));
            }
            if let Some(order) = order.filter(|_| 1 < *births) {
                members.insert("multipleBirthInteger".into(), order.into());
            }
        }
        patient
    }

    fn routed(&self) -> (String, Date) {
        let said = &self.message.said;
        let number = said.ids.iter().find(|id| id.is_nhs()).map(|id| id.value.clone()).unwrap_or_default();
        (number, said.born)
    }

    fn birth(&self, unit: u8, weight_g: u16, gestation: u8) -> Vec<Entry> {
        let said = &self.message.said;
        let Some(mother) = &said.mother else { return Vec::new() };
        let number = mother.ids.iter().find(|id| id.is_nhs()).map(|id| id.value.clone()).unwrap_or_default();
        let practice = mother.practice.map(|practice| self.organisation("practice", &practice.ods()));
        let mut woman = json!({ "resourceType": "Patient", "id": self.id("mother"), "identifier": [self.number(&number)],
            "name": [{ "use": "official", "family": said.family, "given": [mother.given] }], "birthDate": mother.born.to_string() });
        if let (true, Some(members)) = (practice.is_some(), woman.as_object_mut()) {
            members.insert("generalPractitioner".into(), json!([{ "reference": self.reference("practice") }]));
        }
        if let Some(members) = woman.as_object_mut() {
            members.insert("link".into(), json!([{ "other": { "reference": self.reference("relation") }, "type": "seealso" }]));
        }
        let relation = json!({ "resourceType": "RelatedPerson", "id": self.id("relation"),
            "patient": { "reference": self.reference("child") },
            "relationship": { "coding": [{ "system": "http://hl7.org/fhir/v3/RoleCode", "code": "NMTH" }] } });
        let delivered = json!({ "resourceType": "EpisodeOfCare", "id": self.id("delivery"), "status": "active",
            "type": [{ "coding": [{ "system": format!("{CODES}/BirthEpisodeCategory-1"), "code": "delivery-place" }] }],
            "patient": { "reference": self.reference("child") }, "managingOrganization": { "reference": self.reference("place") } });
        let fact = |name: &str, code: &str, value: Value| {
            let mut fact = json!({ "resourceType": "Observation", "id": self.id(name), "status": "final",
                "code": { "coding": [{ "system": "http://snomed.info/sct", "code": code }] },
                "subject": { "reference": self.reference("child") } });
            if let (Some(members), Some(value)) = (fact.as_object_mut(), value.as_object()) {
                members.extend(value.clone());
            }
            fact
        };
        let quantity = |value: u64| json!({ "valueQuantity": { "value": value } });
        let live =
            json!({ "valueCodeableConcept": { "coding": [{ "system": format!("{CODES}/EMS-PDS-StillBornIndicator-1"), "code": "1" }] } });
        let homes = said.home.map(|home| self.home(home, "home", None)).into_iter().collect();
        let mut entries = vec![
            self.header("pds-birth-notification-1", &number, mother.born),
            self.organisation("spine", "X26"),
            self.notice("mother"),
            ("mother", woman),
            ("relation", relation),
            ("child", self.child(homes)),
            ("births", fact("births", "382341000000101", quantity(said.births.into()))),
            ("weight", fact("weight", "364589006", quantity(weight_g.into()))),
            ("gestation", fact("gestation", "412726003", quantity(gestation.into()))),
            ("live", fact("live", "237364002", live)),
            self.organisation("place", &format!("{}01", trust(unit))),
            ("delivery", delivered),
        ];
        entries.extend(practice);
        entries
    }

    fn about_the_child(&self, event: &str, patient: Value) -> Vec<Entry> {
        let (number, born) = self.routed();
        vec![self.header(event, &number, born), self.organisation("spine", "X26"), self.notice("child"), ("child", patient)]
    }

    fn address(&self, before: Option<Home>) -> Vec<Entry> {
        let since = Some(super::message::day_of(self.message.event, self.zone));
        let mut homes: Vec<Value> = before.map(|home| self.home(home, "old", None)).into_iter().collect();
        homes.extend(self.message.said.home.map(|home| self.home(home, "home", since)));
        self.about_the_child("pds-change-of-address-1", self.child(homes))
    }

    fn practice(&self) -> Vec<Entry> {
        let mut patient = self.child(Vec::new());
        let practice = self.message.said.practice.map(|practice| self.organisation("practice", &practice.ods()));
        if let (true, Some(members)) = (practice.is_some(), patient.as_object_mut()) {
            members.insert("generalPractitioner".into(), json!([{ "reference": self.reference("practice") }]));
        }
        let mut entries = self.about_the_child("pds-change-of-gp-1", patient);
        entries.extend(practice);
        entries
    }

    fn death(&self, is_formal: bool, died: Date) -> Vec<Entry> {
        let mut patient = self.child(Vec::new());
        let status = json!([{ "url": format!("{CARE_CONNECT}/StructureDefinition/Extension-CareConnect-DeathNotificationStatus-1"), "extension": [
            { "url": "deathNotificationStatus", "valueCodeableConcept": { "coding": [{
                "system": format!("{CARE_CONNECT}/CodeSystem/CareConnect-DeathNotificationStatus-1"),
                "code": if is_formal { "2" } else { "1" } }] } },
            { "url": "systemEffectiveDate", "valueDateTime": self.moment(self.message.written) },
        ] }]);
        if let Some(members) = patient.as_object_mut() {
            members.insert("extension".into(), status);
            members.insert("deceasedDateTime".into(), died.to_string().into());
        }
        self.about_the_child("pds-death-notification-1", patient)
    }
}

/// FHIR JSON as FHIR XML.
fn xml(bundle: &Value) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    resource(bundle, " xmlns=\"http://hl7.org/fhir\"", &mut text);
    text
}

fn resource(value: &Value, attributes: &str, text: &mut String) {
    let kind = value.get("resourceType").and_then(Value::as_str).unwrap_or_default();
    text.push_str(&format!("<{kind}{attributes}>"));
    members(value, text);
    text.push_str(&format!("</{kind}>"));
}

fn members(value: &Value, text: &mut String) {
    let Some(object) = value.as_object() else { return };
    for (name, member) in object {
        if name == "resourceType" || name.starts_with('_') {
            continue;
        }
        let beside = object.get(&format!("_{name}"));
        match member {
            Value::Array(items) => items.iter().for_each(|item| element(name, item, beside, text)),
            one => element(name, one, beside, text),
        }
    }
}

fn element(name: &str, value: &Value, beside: Option<&Value>, text: &mut String) {
    match value {
        Value::Object(_) if name == "resource" => {
            text.push_str("<resource>");
            resource(value, "", text);
            text.push_str("</resource>");
        }
        Value::Object(object) => {
            // The address of an extension is an attribute.
            let url = object.get("url").and_then(Value::as_str).filter(|_| name == "extension");
            let attribute = url.map(|url| format!(" url=\"{}\"", escaped(url))).unwrap_or_default();
            text.push_str(&format!("<{name}{attribute}>"));
            let mut rest = object.clone();
            if url.is_some() {
                rest.shift_remove("url");
            }
            members(&Value::Object(rest), text);
            text.push_str(&format!("</{name}>"));
        }
        primitive => {
            let value = primitive.as_str().map_or_else(|| primitive.to_string(), str::to_owned);
            text.push_str(&format!("<{name} value=\"{}\"", escaped(&value)));
            match beside {
                Some(beside) => {
                    text.push('>');
                    members(beside, text);
                    text.push_str(&format!("</{name}>"));
                }
                None => text.push_str("/>"),
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Limits, Release, read_xml};

    #[test]
    fn what_is_written_as_xml_reads_back_as_the_same_tree() {
        let patient = json!({ "resourceType": "Patient", "id": "p",
            "extension": [{ "url": "http://x.example/a&b", "extension": [{ "url": "inner", "valueDateTime": "2026-01-05" }] }],
            "name": [{ "family": "EXAMPLE", "given": ["A", "B"] }], "birthDate": "2026-01-05",
            "_birthDate": { "extension": [{ "url": "time", "valueDateTime": "2026-01-05T04:00:00+00:00" }] } });
        let bundle = json!({ "resourceType": "Bundle", "id": "b", "type": "message",
            "entry": [{ "fullUrl": "urn:uuid:p", "resource": patient }] });
        let read = read_xml(xml(&bundle).as_bytes(), Release::Stu3, &Limits::default()).unwrap();
        assert_eq!(read, bundle);
    }
}
