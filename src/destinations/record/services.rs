//! What services do around a child, for a whole record: appointments, documents, episodes of care, failsafe tasks.

use fhir_r4::{
    Appointment, AppointmentStatus, Concept, DocumentReference, DocumentStatus, EpisodeOfCare, EpisodeStatus, Identifier, NotBuilt, Task,
    TaskStatus, url,
};

use super::{Audience, Drawing};
use crate::canon;
use crate::destinations::render::{self, Entries, SERVICE_SYSTEM};

/// By which a document is named: the SHA-256 of its content.
const DOCUMENT_SYSTEM: &str = "urn:chis-broker:document";
/// Failsafe alerts: codes of the national event service (STU3 events, "Failsafe alert").
const ALERT_SYSTEM: &str = "urn:chis-broker:failsafe";

impl Drawing<'_> {
    /// All of them.
    pub(super) fn services(&self, entries: &mut Entries) -> Result<(), NotBuilt> {
        let said = &self.event.statement;
        said.appointments.iter().try_for_each(|booked| self.appointment(booked, entries))?;
        said.documents.iter().try_for_each(|document| self.document(document, entries))?;
        said.episodes.iter().try_for_each(|episode| self.episode(episode, entries))?;
        // Tasks are of the hub that acts; a copy goes to nobody (destination rules, section 5).
        if self.audience == Audience::Responsible {
            said.tasks.iter().try_for_each(|task| self.task(task, entries))?;
        }
        Ok(())
    }

    fn appointment(&self, booked: &canon::Appointment, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = booked.key.as_deref();
        let id = self.id("appointment", key, "");
        let status = match booked.status.as_deref() {
            _ if self.deleted => AppointmentStatus::EnteredInError,
            Some("cancelled") => AppointmentStatus::Cancelled,
            Some("dna") => AppointmentStatus::NoShow,
            Some("attended") => AppointmentStatus::Fulfilled,
            _ => AppointmentStatus::Booked,
        };
        let built = fhir_r4::appointment(&Appointment {
            id: Some(id.to_string()),
            meta: self.meta.clone(),
            identifiers: self.key(key),
            status,
            service: booked.service.as_deref().map(service),
            start: render::when(booked.start.as_ref()),
            subject: entries.subject.clone(),
            location: booked.site.as_ref().map(|site| Identifier {
                system: url::ODS_ORGANISATION.to_owned(),
                value: site.clone(),
                ..Identifier::default()
            }),
        });
        entries.push("Appointment", id, built)
    }

    fn document(&self, document: &canon::Document, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = document.key.as_deref();
        let id = self.id("document", key, "");
        let status = match document.status.as_deref() {
            _ if self.deleted => DocumentStatus::EnteredInError,
            Some("cancelled" | "obsolete") => DocumentStatus::EnteredInError,
            Some("superseded" | "replaced") => DocumentStatus::Superseded,
            _ => DocumentStatus::Current,
        };
        let built = fhir_r4::document_reference(&DocumentReference {
            id: Some(id.to_string()),
            meta: self.meta.clone(),
            identifiers: self.key(key),
            status,
            kind: document.kind.as_ref().map(render::concept),
            subject: entries.subject.clone(),
            date: render::when(document.at.as_ref()),
            mime: document.mime.clone(),
            content: document.sha256.as_ref().map(|hash| format!("{DOCUMENT_SYSTEM}:{hash}")),
        });
        entries.push("DocumentReference", id, built)
    }

    fn episode(&self, episode: &canon::EpisodeOfCare, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = episode.key.as_deref();
        let id = self.id("episode", key, episode.service.as_deref().unwrap_or_default());
        let built = fhir_r4::episode_of_care(&EpisodeOfCare {
            id: Some(id.to_string()),
            meta: self.meta.clone(),
            identifiers: self.key(key),
            status: match (self.deleted, episode.to.is_some()) {
                (true, _) => EpisodeStatus::EnteredInError,
                (false, true) => EpisodeStatus::Finished,
                (false, false) => EpisodeStatus::Active,
            },
            service: episode.service.as_deref().map(service),
            subject: entries.subject.clone(),
            organisation_ods: episode.org_ods.clone(),
            period: fhir_r4::Period { start: render::when(episode.from.as_ref()), end: render::when(episode.to.as_ref()) },
        });
        entries.push("EpisodeOfCare", id, built)
    }

    fn task(&self, task: &canon::FailsafeTask, entries: &mut Entries) -> Result<(), NotBuilt> {
        let key = task.key.as_deref();
        let id = self.id("task", key, task.clock.as_deref().unwrap_or_default());
        let alert = |what: &str, code: &String| Concept::coded(ALERT_SYSTEM, &format!("{what}-{code}"), "");
        let built = fhir_r4::task(&Task {
            id: Some(id.to_string()),
            meta: self.meta.clone(),
            identifiers: self.key(key),
            status: match (self.deleted, task.closed.is_some()) {
                (true, _) => TaskStatus::EnteredInError,
                (false, true) => TaskStatus::Completed,
                (false, false) => TaskStatus::Requested,
            },
            urgent: task.severity.as_deref() == Some("003"),
            code: task.action.as_ref().map(|code| alert("action", code)),
            reason: match (&task.reason, &task.clock) {
                (Some(code), _) => Some(alert("reason", code)),
                (None, clock) => clock.as_deref().map(Concept::words),
            },
            status_reason: task.closed.as_deref().map(Concept::words),
            subject: entries.subject.clone(),
            owner_ods: task.owner_ods.clone(),
            performer: task.service.as_deref().map(service),
            due: render::when(task.due.as_ref()),
        });
        entries.push("Task", id, built)
    }
}

/// A service: our word, or what the sender called it.
fn service(word: &str) -> Concept {
    match word {
        "HV" | "CHO" | "school_nursing" | "GP" | "maternity" => Concept::coded(SERVICE_SYSTEM, word, ""),
        other => Concept::words(other),
    }
}
