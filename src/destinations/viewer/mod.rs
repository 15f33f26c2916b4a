//! A shared-care viewer: what it may be told, said in HL7 v2.4 by templates that a site can change (destination rules, section 4).
//!
//!     FiledEvent ──▶ shown.rs  what may be said, or the rule that forbids it ──▶ template.rs + write.rs ──▶ messages
//!
//! # Invariants
//!
//! - Pure: the same event of the same child gives the same bytes, under the same control ids, on every attempt.
//! - An event is one or more messages in a fixed order; each begins with its MSH, and MSH-10 is unique to (event, version, place), and where a
//!   job sends them by force, to that job.
//!
//! # Not here
//!
//! The socket (`super::mllp`), and when it is tried again (`outbox`).

mod shown;
mod template;
mod write;

#[cfg(test)]
mod leaks;
#[cfg(test)]
mod tests;

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rust_embed::RustEmbed;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use self::shown::VIEWER_RULES;
use self::shown::shown;
use self::template::{Template, Templates};
pub use self::template::{TemplateFiles, TemplateMistake};
use crate::canon::Child;
use crate::hl7::{Delimiters, escape};
use crate::names::EventId;
use crate::outbox::FiledEvent;

/// Templates and their tables as they were when the program was built.
#[derive(RustEmbed)]
#[folder = "mappings/viewer/"]
struct Shipped;

/// A control id has so many letters at most (HL7 messages, section 3: ITK).
const CONTROL_ID_LETTERS: usize = 20;

/// How a viewer's messages are headed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// MSH-3 and MSH-4.
    pub sender: (String, String),
    /// MSH-5 and MSH-6.
    pub receiver: (String, String),
    /// MSH-11.
    pub processing_id: String,
    /// MSH-12.
    pub version: String,
}

/// A viewer: its templates and how it wants to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    templates: Templates,
    heading: Heading,
    /// Writes `""` for what a sender said to be none.
    clear: bool,
}

/// Why nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsaid {
    /// A rule forbids it: one of [`VIEWER_RULES`].
    Withheld(&'static str),
    /// A template cannot say it: its place and the table. No value.
    Unsayable(String),
    /// A document's content cannot be read now.
    Unread(String),
}

/// The bytes of a document by their hash; none where they are not kept, an error where they cannot be read now.
pub type Contents<'c> = &'c dyn Fn(&str) -> Result<Option<Vec<u8>>, String>;

/// The shipped templates and tables, with those of `folder` in the place of what has the same name.
///
/// The error names the file that cannot be read.
pub fn template_files(folder: Option<&Path>) -> Result<TemplateFiles, String> {
    let text = |name: &str| Some((name.to_owned(), String::from_utf8_lossy(&Shipped::get(name)?.data).into_owned()));
    let mut files: TemplateFiles = Shipped::iter().filter(|name| is_ours(name)).filter_map(|name| text(&name)).collect();
    let Some(folder) = folder else { return Ok(files) };
    for (below, prefix) in [(folder.to_owned(), ""), (folder.join("tables"), "tables/")] {
        let entries = match std::fs::read_dir(&below) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !prefix.is_empty() => continue,
            Err(error) => return Err(format!("`templates`: {} cannot be read ({})", below.display(), error.kind())),
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') || !is_ours(&name) {
                continue;
            }
            let text = std::fs::read_to_string(entry.path());
            let text =
                text.map_err(|error| format!("`templates`: {} cannot be read ({error}); save it as UTF-8", entry.path().display()))?;
            files.insert(format!("{prefix}{name}"), text);
        }
    }
    Ok(files)
}

fn is_ours(name: &str) -> bool {
    name.ends_with(".toml") || name.ends_with(".csv")
}

impl Viewer {
    /// Compiles the templates, or names every mistake in them.
    pub fn new(files: &TemplateFiles, heading: Heading, clear: bool) -> Result<Self, Vec<TemplateMistake>> {
        Ok(Self { templates: Templates::compile(files)?, heading, clear })
    }

    /// The rule by which nothing is owed of this event, if one says so.
    pub fn withholds(&self, event: &FiledEvent) -> Option<&'static str> {
        match shown(event) {
            Err(rule) => Some(rule),
            Ok(shown) => {
                let has_template = |(occasion, _): &(&'static str, Vec<Value>)| self.templates.of(occasion).next().is_some();
                (!shown.occasions.iter().any(has_template)).then_some("not-for-viewer")
            }
        }
    }

    /// The messages of this event, one after the other. `survivor`: the record that goes on where the child's was given up;
    /// `content`: of its documents.
    pub fn body(&self, event: &FiledEvent, survivor: Option<&Child>, content: Contents<'_>) -> Result<Vec<u8>, Unsaid> {
        self.body_again(event, survivor, content, None)
    }

    /// As [`Viewer::body`]; where a job sends them though the viewer may have them, under control ids of that job's own: it would leave aside what
    /// has an id that it knows.
    pub fn body_again(
        &self,
        event: &FiledEvent,
        survivor: Option<&Child>,
        content: Contents<'_>,
        job: Option<i64>,
    ) -> Result<Vec<u8>, Unsaid> {
        let shown = shown(event).map_err(Unsaid::Withheld)?;
        // A merge names the one who goes on.
        if let Some(survivor) = survivor.filter(|survivor| shown::is_restricted_child(survivor) || is_silent(survivor)) {
            let is_hidden = shown::is_restricted_child(survivor);
            return Err(Unsaid::Withheld(if is_hidden {
                "restricted"
            } else if is_dissent(survivor) {
                "dissent"
            } else {
                "sealed"
            }));
        }
        let mut body = Vec::new();
        let mut number = 0;
        for (occasion, items) in &shown.occasions {
            for template in self.templates.of(occasion) {
                for item in items {
                    let item = with_content(item, content, shown.is_delete)?;
                    let written =
                        write::segments(template, &shown, &item, self.clear).map_err(|unwritable| Unsaid::Unsayable(unwritable.0))?;
                    number += 1;
                    let kind = kind(template, shown.is_first, shown.is_delete);
                    let control_id = control_id((event.event, event.version), number, job);
                    body.extend_from_slice(self.msh(event, kind, &control_id).as_bytes());
                    body.extend_from_slice(written.as_bytes());
                }
            }
        }
        if body.is_empty() { Err(Unsaid::Withheld("not-for-viewer")) } else { Ok(body) }
    }

    /// Which control ids the messages of a body have by a job, and which they had at first.
    pub fn renamed(event: (EventId, i64), body: &[u8], job: i64) -> Vec<(String, String)> {
        let starts = (0..body.len())
            .filter(|at| body.get(*at..).is_some_and(|rest| rest.starts_with(b"MSH|")) && (*at == 0 || body.get(*at - 1) == Some(&b'\r')));
        (1..=starts.count()).map(|number| (control_id(event, number, Some(job)), control_id(event, number, None))).collect()
    }

    fn msh(&self, event: &FiledEvent, kind: &str, control_id: &str) -> String {
        let Heading { sender, receiver, processing_id, version } = &self.heading;
        let plain = |text: &str| escape(text, &Delimiters::default()).into_owned();
        let filed = event.filed.to_zoned(jiff::tz::TimeZone::get("Europe/London").unwrap_or(jiff::tz::TimeZone::UTC));
        format!(
            "MSH|^~\\&|{}|{}|{}|{}|{}||{kind}|{}|{}|{version}|||||GBR|UNICODE UTF-8\r",
            plain(&sender.0),
            plain(&sender.1),
            plain(&receiver.0),
            plain(&receiver.1),
            filed.strftime("%Y%m%d%H%M%S%z"),
            control_id,
            plain(processing_id),
        )
    }
}

fn is_dissent(child: &Child) -> bool {
    child.flags.share_consent.as_deref() == Some("dissent")
}

fn is_silent(child: &Child) -> bool {
    is_dissent(child) || child.status == Some(crate::canon::ChildStatus::Sealed)
}

fn kind(template: &Template, is_first: bool, is_delete: bool) -> &str {
    let other = if is_delete { template.kind_of_delete.as_ref() } else { None };
    let other = other.or(if is_first { template.kind_of_new.as_ref() } else { None });
    other.unwrap_or(&template.kind)
}

/// The same on each attempt, another for each event, version, place and job: 100 bits of a hash in letters that no eye confuses.
fn control_id((event, version): (EventId, i64), number: usize, job: Option<i64>) -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let again = job.map(|job| format!("\u{1f}again-{job}")).unwrap_or_default();
    let digest: [u8; 32] = Sha256::digest(format!("{event}\u{1f}{version}\u{1f}{number}{again}")).into();
    let letter = |place: usize| {
        let bit = place * 5;
        let pair = (bit / 8..bit / 8 + 2).fold(0_u16, |pair, at| pair << 8 | u16::from(digest.get(at).copied().unwrap_or_default()));
        LETTERS.get(usize::from(pair >> (11 - bit % 8) & 31)).copied().map_or('0', char::from)
    };
    (0..CONTROL_ID_LETTERS).map(letter).collect()
}

/// A document's item with its bytes as OBX-5 has them. What takes a document back may say it without.
fn with_content(item: &Value, content: Contents<'_>, is_delete: bool) -> Result<Value, Unsaid> {
    let Some(sha256) = item.get("sha256").and_then(Value::as_str) else { return Ok(item.clone()) };
    let Some(bytes) = content(sha256).map_err(Unsaid::Unread)? else {
        return if is_delete { Ok(item.clone()) } else { Err(Unsaid::Unsayable("the content of the document is not kept".to_owned())) };
    };
    let mut item = item.clone();
    let mime = item.get("mime").and_then(Value::as_str).unwrap_or("application/octet-stream").to_owned();
    let (media, format) = mime.split_once('/').unwrap_or(("application", "octet-stream"));
    if let Some(fields) = item.as_object_mut() {
        fields.insert("media".to_owned(), json!(media));
        fields.insert("format".to_owned(), json!(format));
        fields.insert("content".to_owned(), json!(BASE64_STANDARD.encode(bytes)));
    }
    Ok(item)
}
