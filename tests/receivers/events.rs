//! Filed events of an invented child, one of each kind, as JSON of the canonical model.

use chis_broker::canon::{Action, Statement};
use chis_broker::outbox::FiledEvent;
use serde_json::{Value, json};

/// An event of this kind that says these lists.
pub fn of(kind: &str, lists: &str) -> FiledEvent {
    let child = json!({
        "identifiers": [
            { "value": "9990000018", "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01", "use": "current" },
            { "value": "L1", "system": "urn:v2:RJ122", "assigner_ods": "RJ122", "use": "current" }
        ],
        "names": [{ "family": "EXAMPLE", "given": ["ADA"], "use": "usual" }],
        "sex": "2",
        "birth": {
            "date": { "value": "2026-04-01", "precision": "day" }, "time": { "value": "2026-04-01T09:30:00+01:00", "precision": "second" },
            "weight_g": 3420, "gestation_weeks": 39, "gestation_days": 4, "apgar_1": 8, "apgar_5": 9, "apgar_10": 10, "birth_order": 2,
            "births_in_confinement": 2, "live_still": "1", "congenital_anomaly": "N", "delivery_method": "0", "place_ods": "RJ122"
        },
        "addresses": [{ "lines": ["10 TEST STREET", "LONDON"], "postcode": "SE1 9ZZ", "use": "home" }],
        "telecoms": [{ "system": "phone", "use": "mobile", "value": "07700900001" }],
        "gp": { "practice_ods": "G85001" },
        "ethnic_category": "A",
        "relations": [{
            "kind": "12", "name": { "family": "EXAMPLE", "given": ["MARY"] }, "birth_date": { "value": "1996-05-05", "precision": "day" },
            "identifiers": [{ "value": "9990000026", "system": "https://fhir.nhs.uk/Id/nhs-number", "status": "01" }]
        }]
    });
    let mut record = child.clone();
    record["status"] = "active".into();
    record["hub"] = json!({ "hub": "SE", "basis": "gp" });
    let mut statement: Value = serde_json::from_str(lists).unwrap();
    statement["event"] =
        json!({ "kind": kind, "at": { "value": "2026-06-01T10:00:00+01:00", "precision": "second" }, "key": "KEY-1", "publisher": "RJ1" });
    statement["child"] = child;
    let event = json!({
        "event": "0198f0a0-0000-7000-8000-00000000000e", "seq": 7, "source": "rj1", "control_id": "MSG00007",
        "child_id": "0198f0a0-0000-7000-8000-00000000000c", "version": 3, "filed": "2026-06-07T09:00:00Z",
        "statement": statement, "record": record
    });
    serde_json::from_value(event).unwrap()
}

/// The same taken back.
pub fn deleted(event: FiledEvent) -> FiledEvent {
    let mut statement: Statement = event.statement;
    statement.event.action = Action::Delete;
    FiledEvent { statement, version: event.version + 1, ..event }
}

pub fn all() -> Vec<FiledEvent> {
    [
        ("person", r#"{}"#),
        ("birth", r#"{ "reviews": [{ "measurements": [{ "kind": "length", "qty": { "value": "51.5", "unit": "cm" } }] }] }"#),
        (
            "blood-spot",
            r#"{ "blood_spots": [{ "key": "26N1", "sample": { "card_no": "C1", "accession": "26N1", "lab_ods": "RP4",
                "taken": { "value": "2026-04-06T11:00:00+01:00", "precision": "second" } },
                "outcomes": [{ "condition": "PKU", "nbs_status": "04", "outcome_code": "413456007" }, { "condition": "CF", "nbs_status": "04" }],
                "comment": "words of the laboratory" }] }"#,
        ),
        ("blood-spot", r#"{ "blood_spots": [{ "key": "26N2", "outcomes": [{ "condition": "PKU", "nbs_status": "08" }] }] }"#),
        (
            "hearing",
            r#"{ "hearing_screens": [{ "summary_status": "clear_no_followup",
                "summary": { "system": "http://snomed.info/sct", "code": "276781000000109" },
                "tests": [{ "kind": "AOAE", "ear": "left", "status": "clear", "result": { "code": "CLEAR" } }] }] }"#,
        ),
        (
            "nipe",
            r#"{ "nipe_exams": [{ "kind": "newborn_72h", "at": { "value": "2026-04-02", "precision": "day" },
                "hips": { "status": "no_abnormality", "side": "left", "code": { "system": "http://snomed.info/sct", "code": "985701000000100" } },
                "eyes": { "status": "no_abnormality" }, "comment": "words" }] }"#,
        ),
        (
            "immunisation",
            r#"{ "immunisations": [{ "status": "completed", "occurrence": { "value": "2026-06-01T10:00:00+01:00", "precision": "second" },
                "vaccine": { "system": "http://snomed.info/sct", "code": "39114911000001105", "display": "a vaccine" },
                "procedure": { "system": "http://snomed.info/sct", "code": "1082441000000108" }, "antigens": ["76902006", "IPV"],
                "dose_number": 1, "dose_qty": { "value": "0.5", "unit": "ml" }, "batch": "AB12", "expiry": { "value": "2027-01-01", "precision": "day" },
                "site": { "system": "http://snomed.info/sct", "code": "61396006" }, "location_ods": "G85001", "primary_source": true }] }"#,
        ),
        (
            "immunisation",
            r#"{ "immunisations": [{ "status": "not_done", "vaccine": { "system": "http://snomed.info/sct", "code": "39114911000001105" },
                "reason_not_given": { "system": "http://snomed.info/sct", "code": "201741000000102" } }] }"#,
        ),
        (
            "review",
            r#"{ "reviews": [{ "type": "12 month", "at": { "value": "2026-06-01", "precision": "day" }, "feeding": "01", "concerns": ["a"],
                "measurements": [{ "kind": "weight", "qty": { "value": "5.4", "unit": "kg" } }],
                "scores": [{ "instrument": "ASQ-3", "months": 24, "domain": "fine_motor", "value": 45 }], "comment": "words" }] }"#,
        ),
        (
            "appointment",
            r#"{ "appointments": [{ "service": "HV", "start": { "value": "2026-06-09T10:00:00+01:00", "precision": "second" }, "site": "RJ122",
                "status": "booked" }] }"#,
        ),
        ("appointment", r#"{ "appointments": [{ "status": "dna", "service": "a clinic" }] }"#),
        (
            "document",
            r#"{ "documents": [{ "type": { "system": "http://snomed.info/sct", "code": "373942005" }, "mime": "application/pdf", "author": "A",
                "at": { "value": "2026-06-01T10:00:00+01:00", "precision": "second" }, "sha256": "ab", "status": "AU" }] }"#,
        ),
        (
            "episode-of-care",
            r#"{ "episodes": [{ "service": "HV", "org_ods": "RQX", "from": { "value": "2026-04-10", "precision": "day" } },
                { "key": "E2", "service": "maternity", "to": { "value": "2026-04-10", "precision": "day" } }] }"#,
        ),
        (
            "failsafe",
            r#"{ "tasks": [{ "severity": "003", "action": "001", "reason": "002", "owner_ods": "RQX", "service": "HV", "clock": "NBS_RESULT",
                "due": { "value": "2026-04-20", "precision": "day" } }, { "key": "T2", "closed": "done" }] }"#,
        ),
        ("death", r#"{}"#),
        ("gp", r#"{}"#),
        ("address", r#"{}"#),
        ("proxy-consent", r#"{ "proxy_consents": [{ "account_id": "ACC-1", "status": "active" }] }"#),
    ]
    .map(|(kind, lists)| of(kind, lists))
    .into()
}
