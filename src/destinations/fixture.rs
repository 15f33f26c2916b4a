//! Invented events for the tests of this folder.

use jiff::Timestamp;
use uuid::Uuid;

use crate::canon::{
    BirthFacts, BloodSpotResult, Child, ChildStatus, ConditionOutcome, Date, EventHeader, EventKind, Flags, Identifier, Instant,
    NHS_NUMBER_SYSTEM, Name, Precision, ProxyConsent, Sample, Sex, Statement,
};
use crate::names::{ChildId, EventId, Seq};
use crate::outbox::FiledEvent;

pub(super) fn moment(text: &str) -> Instant {
    Instant { value: text.to_owned(), precision: Precision::Second, raw: None }
}

pub(super) fn on(text: &str) -> Date {
    Date { value: text.to_owned(), precision: Precision::Day }
}

pub(super) fn nhs(number: &str, status: &str) -> Identifier {
    Identifier { value: number.to_owned(), system: NHS_NUMBER_SYSTEM.to_owned(), status: Some(status.to_owned()), ..Identifier::default() }
}

pub(super) fn outcome(condition: &str, status: &str) -> ConditionOutcome {
    ConditionOutcome { condition: condition.to_owned(), nbs_status: Some(status.to_owned()), ..ConditionOutcome::default() }
}

pub(super) fn consent() -> Vec<ProxyConsent> {
    vec![ProxyConsent {
        account_id: "account-1".to_owned(),
        status: "active".to_owned(),
        verified_by: Some("a check".to_owned()),
        ..ProxyConsent::default()
    }]
}

/// A child of whom everything may be shown, and an event of this kind that says something.
pub(super) fn event(kind: EventKind) -> FiledEvent {
    let birth = BirthFacts {
        date: Some(on("2026-04-01")),
        weight_g: Some(3420),
        gestation_weeks: Some(39),
        gestation_days: Some(4),
        apgar_1: Some(8),
        apgar_5: Some(9),
        apgar_10: Some(10),
        ..BirthFacts::default()
    };
    let name =
        Name { family: Some("EXAMPLE".to_owned()), given: vec!["Ada".to_owned()], usage: Some("usual".to_owned()), ..Name::default() };
    let child = Child {
        identifiers: vec![nhs("9990000018", "01")],
        names: vec![name],
        sex: Some(Sex::Female),
        birth,
        flags: Flags::default(),
        ..Child::default()
    };
    let mut statement = Statement {
        event: EventHeader { kind, at: Some(moment("2026-04-01T10:00:00+01:00")), ..EventHeader::default() },
        ..Statement::default()
    };
    statement.child = child.clone();
    if kind == EventKind::BloodSpot {
        statement.child.birth = BirthFacts::default();
        statement.blood_spots = vec![BloodSpotResult {
            key: Some("acc-1".to_owned()),
            sample: Sample { taken: Some(moment("2026-04-06T11:00:00+01:00")), ..Sample::default() },
            outcomes: vec![outcome("PKU", "04"), outcome("SCD", "04")],
            ..BloodSpotResult::default()
        }];
    }
    FiledEvent {
        event: EventId(Uuid::from_u128(0xe)),
        seq: Seq(7),
        source: "rj1-maternity".into(),
        control_id: "MSG00007".to_owned(),
        child_id: ChildId(Uuid::from_u128(0xc)),
        version: 3,
        filed: "2026-04-07T09:00:00.25Z".parse::<Timestamp>().unwrap(),
        superseded: false,
        statement,
        record: Child { status: Some(ChildStatus::Active), ..child },
    }
}

// ---- what must never be seen ----

/// With what planted texts begin.
pub(in crate::destinations) const CANARY: &str = "zqx";

/// A text that would be seen.
pub(in crate::destinations) fn text(what: &str) -> String {
    format!("{CANARY}-{what}")
}

pub(in crate::destinations) fn said(what: &str) -> Option<String> {
    Some(text(what))
}

/// One row: what must never be seen, and how a message would carry it.
pub(in crate::destinations) struct Row {
    pub(in crate::destinations) what: &'static str,
    pub(in crate::destinations) plant: fn(&mut FiledEvent),
    /// The rule that withholds the event; without one it is sent, and the planted texts are not in it.
    pub(in crate::destinations) rule: Option<&'static str>,
}

/// The person as known and as said: what is planted stands in both.
pub(in crate::destinations) fn both(event: &mut FiledEvent, plant: impl Fn(&mut Child)) {
    plant(&mut event.record);
    plant(&mut event.statement.child);
}
