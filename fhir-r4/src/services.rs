//! What services do around a child: appointments, documents, episodes of care, tasks.

use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::resources as sdk;
use fhir_sdk::r4b::types::Attachment;
use serde_json::Value;

use crate::parts::{self, each, not_built};
use crate::resources::tree;
use crate::{Concept, Identifier, Meta, NotBuilt, Period, When};

/// How an appointment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppointmentStatus {
    /// Made or moved.
    #[default]
    Booked,
    /// Taken off.
    Cancelled,
    /// Nobody came.
    NoShow,
    /// It took place.
    Fulfilled,
    /// Was never so.
    EnteredInError,
}

/// An appointment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appointment {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// The publisher's ids.
    pub identifiers: Vec<Identifier>,
    /// How it stands.
    pub status: AppointmentStatus,
    /// Which service.
    pub service: Option<Concept>,
    /// When it begins; left out where it is no moment.
    pub start: Option<When>,
    /// Reference to the child.
    pub subject: String,
    /// Where.
    pub location: Option<Identifier>,
}

/// The Appointment as a tree.
pub fn appointment(booked: &Appointment) -> Result<Value, NotBuilt> {
    let status = match booked.status {
        AppointmentStatus::Booked => codes::AppointmentStatus::Booked,
        AppointmentStatus::Cancelled => codes::AppointmentStatus::Cancelled,
        AppointmentStatus::NoShow => codes::AppointmentStatus::Noshow,
        AppointmentStatus::Fulfilled => codes::AppointmentStatus::Fulfilled,
        AppointmentStatus::EnteredInError => codes::AppointmentStatus::EnteredInError,
    };
    let who = |actor| {
        let part = sdk::AppointmentParticipant::builder().actor(actor).status(codes::ParticipationStatus::Accepted);
        part.build().map(Some).map_err(not_built)
    };
    let mut participants = vec![who(parts::reference(&booked.subject)?)?];
    if let Some(location) = &booked.location {
        participants.push(who(parts::logical_reference(location)?)?);
    }
    let mut built =
        sdk::Appointment::builder().identifier(each(&booked.identifiers, parts::identifier)?).status(status).participant(participants);
    if let Some(id) = &booked.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&booked.meta)? {
        built = built.meta(meta);
    }
    if let Some(service) = &booked.service {
        built = built.service_type(vec![Some(parts::concept(service)?)]);
    }
    // An appointment that has a start must have an end (app-1, app-3): nobody says how long it is.
    if let Some(start) = booked.start.and_then(When::instant) {
        built = built.start(start.clone()).end(start);
    }
    tree(sdk::Resource::Appointment(built.build().map_err(not_built)?))
}

/// How a document stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DocumentStatus {
    /// In force.
    #[default]
    Current,
    /// Another one goes in its place.
    Superseded,
    /// Was never so.
    EnteredInError,
}

/// That there is a document, without what it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentReference {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// The publisher's ids.
    pub identifiers: Vec<Identifier>,
    /// How it stands.
    pub status: DocumentStatus,
    /// What it is.
    pub kind: Option<Concept>,
    /// Reference to the child.
    pub subject: String,
    /// When it was written; left out where it is no moment.
    pub date: Option<When>,
    /// Media type.
    pub mime: Option<String>,
    /// URI of its content.
    pub content: Option<String>,
}

/// The DocumentReference as a tree.
pub fn document_reference(document: &DocumentReference) -> Result<Value, NotBuilt> {
    let status = match document.status {
        DocumentStatus::Current => codes::DocumentReferenceStatus::Current,
        DocumentStatus::Superseded => codes::DocumentReferenceStatus::Superseded,
        DocumentStatus::EnteredInError => codes::DocumentReferenceStatus::EnteredInError,
    };
    let mut attachment = Attachment::builder();
    if let Some(mime) = &document.mime {
        attachment = attachment.content_type(mime.clone());
    }
    attachment = match &document.content {
        Some(content) => attachment.url(content.clone()),
        None => attachment.title("not sent".to_owned()),
    };
    let content = sdk::DocumentReferenceContent::builder().attachment(attachment.build().map_err(not_built)?);
    let mut built = sdk::DocumentReference::builder()
        .identifier(each(&document.identifiers, parts::identifier)?)
        .status(status)
        .subject(parts::reference(&document.subject)?)
        .content(vec![Some(content.build().map_err(not_built)?)]);
    if let Some(id) = &document.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&document.meta)? {
        built = built.meta(meta);
    }
    if let Some(kind) = &document.kind {
        built = built.r#type(parts::concept(kind)?);
    }
    if let Some(date) = document.date.and_then(When::instant) {
        built = built.date(date);
    }
    tree(sdk::Resource::DocumentReference(built.build().map_err(not_built)?))
}

/// How an episode of care stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EpisodeStatus {
    /// In force.
    #[default]
    Active,
    /// Over.
    Finished,
    /// Was never so.
    EnteredInError,
}

/// A service that looks after the child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpisodeOfCare {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// The publisher's ids.
    pub identifiers: Vec<Identifier>,
    /// How it stands.
    pub status: EpisodeStatus,
    /// Which service.
    pub service: Option<Concept>,
    /// Reference to the child.
    pub subject: String,
    /// ODS code of the organisation.
    pub organisation_ods: Option<String>,
    /// From when to when.
    pub period: Period,
}

/// The EpisodeOfCare as a tree.
pub fn episode_of_care(episode: &EpisodeOfCare) -> Result<Value, NotBuilt> {
    let mut built = sdk::EpisodeOfCare::builder()
        .identifier(each(&episode.identifiers, parts::identifier)?)
        .status(match episode.status {
            EpisodeStatus::Active => codes::EpisodeOfCareStatus::Active,
            EpisodeStatus::Finished => codes::EpisodeOfCareStatus::Finished,
            EpisodeStatus::EnteredInError => codes::EpisodeOfCareStatus::EnteredInError,
        })
        .patient(parts::reference(&episode.subject)?);
    if let Some(id) = &episode.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&episode.meta)? {
        built = built.meta(meta);
    }
    if let Some(service) = &episode.service {
        built = built.r#type(vec![Some(parts::concept(service)?)]);
    }
    if let Some(ods) = &episode.organisation_ods {
        built = built.managing_organization(parts::organisation(ods)?);
    }
    if let Some(period) = parts::period(&episode.period)? {
        built = built.period(period);
    }
    tree(sdk::Resource::EpisodeOfCare(built.build().map_err(not_built)?))
}

/// How a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskStatus {
    /// Asked for.
    #[default]
    Requested,
    /// Done, or no longer to be done.
    Completed,
    /// Was never so.
    EnteredInError,
}

/// Something that somebody is asked to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// Logical id.
    pub id: Option<String>,
    /// Version, source, labels.
    pub meta: Meta,
    /// The publisher's ids.
    pub identifiers: Vec<Identifier>,
    /// How it stands.
    pub status: TaskStatus,
    /// True where it is a directive.
    pub urgent: bool,
    /// What is to be done.
    pub code: Option<Concept>,
    /// Why.
    pub reason: Option<Concept>,
    /// Why it ended.
    pub status_reason: Option<Concept>,
    /// Reference to the child.
    pub subject: String,
    /// ODS code of who is to do it.
    pub owner_ods: Option<String>,
    /// Which service that is.
    pub performer: Option<Concept>,
    /// Until when.
    pub due: Option<When>,
}

/// The Task as a tree.
pub fn task(task: &Task) -> Result<Value, NotBuilt> {
    let mut built = sdk::Task::builder()
        .identifier(each(&task.identifiers, parts::identifier)?)
        .status(match task.status {
            TaskStatus::Requested => codes::TaskStatus::Requested,
            TaskStatus::Completed => codes::TaskStatus::Completed,
            TaskStatus::EnteredInError => codes::TaskStatus::EnteredInError,
        })
        .intent(codes::TaskIntent::_Custom("order".to_owned()))
        .priority(if task.urgent { codes::RequestPriority::Urgent } else { codes::RequestPriority::Routine })
        .r#for(parts::reference(&task.subject)?);
    if let Some(id) = &task.id {
        built = built.id(id.clone());
    }
    if let Some(meta) = parts::meta(&task.meta)? {
        built = built.meta(meta);
    }
    if let Some(code) = &task.code {
        built = built.code(parts::concept(code)?);
    }
    if let Some(reason) = &task.reason {
        built = built.reason_code(parts::concept(reason)?);
    }
    if let Some(reason) = &task.status_reason {
        built = built.status_reason(parts::concept(reason)?);
    }
    if let Some(ods) = &task.owner_ods {
        built = built.owner(parts::organisation(ods)?);
    }
    if let Some(performer) = &task.performer {
        built = built.performer_type(vec![Some(parts::concept(performer)?)]);
    }
    let until = Period { start: None, end: task.due };
    if let Some(period) = parts::period(&until)? {
        built = built.restriction(sdk::TaskRestriction::builder().period(period).build().map_err(not_built)?);
    }
    tree(sdk::Resource::Task(built.build().map_err(not_built)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_them_has_what_r4_asks_for() {
        let subject = "Patient/1".to_owned();
        let start = When::parse("2026-04-01T09:30:00Z");
        let booked = appointment(&Appointment { subject: subject.clone(), start, ..Appointment::default() }).unwrap();
        assert_eq!(
            (booked["status"].as_str(), booked["start"].as_str(), booked["end"].as_str()),
            (Some("booked"), Some("2026-04-01T09:30:00Z"), Some("2026-04-01T09:30:00Z"))
        );
        assert_eq!(booked["participant"][0]["actor"]["reference"], "Patient/1");
        let day = Appointment { start: When::parse("2026-04-01"), ..Appointment::default() };
        assert_eq!(appointment(&day).unwrap().get("start"), None, "a day is no instant");
        let document = document_reference(&DocumentReference { subject: subject.clone(), ..DocumentReference::default() }).unwrap();
        assert!(document["content"][0]["attachment"].is_object(), "{document}");
        assert_eq!(episode_of_care(&EpisodeOfCare { subject: subject.clone(), ..EpisodeOfCare::default() }).unwrap()["status"], "active");
        let asked = task(&Task { subject, due: start, urgent: true, ..Task::default() }).unwrap();
        assert_eq!((asked["intent"].as_str(), asked["priority"].as_str()), (Some("order"), Some("urgent")));
        assert_eq!(asked["restriction"]["period"]["end"], "2026-04-01T09:30:00Z");
    }
}
