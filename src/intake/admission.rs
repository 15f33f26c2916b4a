//! May this sender send this message? Pure: bytes and rules in, a decision out.
//!
//! # The order of questions
//!
//!     MSH readable? -> an answer? -> whose? -> how long? -> processing id, type -> structure (version and charset with it)
//!
//! The first "no" is the answer.
//!
//! # Not here
//!
//! What the message means. A decision needs MSH, the lengths and counts, and nothing else.

use std::sync::Arc;

use super::refusal::Refusal;
use super::sources::{Choice, Dialect, Source, Taken, choose};
use crate::hl7::{self, Fault, Header, Limits};

/// The source name in the journal where no source fits.
pub const UNKNOWN_SOURCE: &str = "unknown";

/// What a listener knows when a message arrives.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// All sources that the peer has proved to be.
    pub candidates: &'a [Arc<Source>],
    /// MSH-11 values taken here.
    pub processing_ids: &'a [String],
    /// Longest message of this listener, bytes.
    pub message_bytes_max: usize,
    /// Bounds of structure.
    pub limits: &'a Limits,
}

/// What becomes of a message at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To be mapped and filed; faults are warnings.
    Accept(Vec<Fault>),
    /// Kept, answered as accepted, never filed: a rule of the source.
    Ignore,
    /// An acknowledgement: kept, never answered (protocol rules, section 2).
    Acknowledgement,
    /// Kept and refused.
    Refuse(Refusal),
}

/// A message that was looked at.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Whose it is.
    pub source: Option<Arc<Source>>,
    /// The peer proved to be `source`, and MSH-3/4 say otherwise; `source` only warns.
    pub is_mismatch: bool,
    /// MSH, where it could be read.
    pub header: Option<Header>,
    /// What becomes of it.
    pub decision: Decision,
}

impl Examined {
    fn refused(header: Option<Header>, source: Option<Arc<Source>>, refusal: Refusal) -> Self {
        Self { source, is_mismatch: false, header, decision: Decision::Refuse(refusal) }
    }
}

/// Looks at a message.
pub fn examine(raw: &[u8], rules: &Rules<'_>) -> Examined {
    let owner = || rules.candidates.first().cloned();
    let header = match Header::read(raw) {
        Ok(header) => header,
        Err(error) => return Examined::refused(None, owner(), Refusal::HeaderUnreadable(error)),
    };
    let (source, is_mismatch) = match choose(rules.candidates, namespace(&header, Msh::Application), namespace(&header, Msh::Facility)) {
        Choice::Known(source) => (source, false),
        Choice::KnownByMismatch(source) => (source, true),
        // Two that refuse each other's answers would never stop.
        Choice::Unknown(source) if hl7::is_answer(raw, &header) => {
            return Examined { source, is_mismatch: false, header: Some(header), decision: Decision::Acknowledgement };
        }
        Choice::Unknown(owner) => return Examined::refused(Some(header), owner, Refusal::SenderUnknown),
    };
    let header = if source.line_feed { Header::read_as(raw, true).unwrap_or(header) } else { header };
    let decision = decide(raw, &header, &source, rules);
    Examined { source: Some(source), is_mismatch, header: Some(header), decision }
}

/// What is said of a frame that was too long to keep: only its beginning is left.
/// `None` where not even MSH can be read, so that nobody can be answered.
pub fn examine_oversize(head: &[u8], rules: &Rules<'_>) -> Option<Examined> {
    let header = Header::read(head).ok()?;
    if hl7::is_answer(head, &header) {
        let source = rules.candidates.first().cloned();
        return Some(Examined { source, is_mismatch: false, header: Some(header), decision: Decision::Acknowledgement });
    }
    let refusal = |limit| Refusal::TooLong { limit };
    let examined = match choose(rules.candidates, namespace(&header, Msh::Application), namespace(&header, Msh::Facility)) {
        Choice::Known(source) | Choice::KnownByMismatch(source) => {
            let limit = message_bytes_max(&source, rules);
            Examined::refused(Some(header), Some(source), refusal(limit))
        }
        Choice::Unknown(owner) => Examined::refused(Some(header), owner, Refusal::SenderUnknown),
    };
    Some(examined)
}

fn decide(raw: &[u8], header: &Header, source: &Source, rules: &Rules<'_>) -> Decision {
    if hl7::is_answer(raw, header) {
        return Decision::Acknowledgement;
    }
    let limit = message_bytes_max(source, rules);
    if limit < raw.len() {
        return Decision::Refuse(Refusal::TooLong { limit });
    }
    let mut is_ignored = false;
    // Without MSH-9 or MSH-10 there is no type to ask about; the structure check says which of them is missing.
    if !header.code.is_empty() && !header.control_id.is_empty() {
        if !rules.processing_ids.contains(&header.processing_id) {
            return Decision::Refuse(Refusal::ProcessingId);
        }
        match source.takes(&header.message_type(), Dialect::Hl7v2) {
            Taken::Yes => {}
            Taken::Ignored => is_ignored = true,
            Taken::NotThisEvent => return Decision::Refuse(Refusal::EventUnsupported),
            Taken::NotThisType => return Decision::Refuse(Refusal::TypeUnsupported),
        }
    }
    match hl7::check_as(raw, header, rules.limits, source.line_feed) {
        Ok(_) if is_ignored => Decision::Ignore,
        Ok(warnings) => Decision::Accept(warnings),
        Err(fault) => Decision::Refuse(Refusal::Structure(fault)),
    }
}

fn message_bytes_max(source: &Source, rules: &Rules<'_>) -> usize {
    source.message_bytes_max.unwrap_or(usize::MAX).min(rules.message_bytes_max)
}

enum Msh {
    Application,
    Facility,
}

/// MSH-3 or MSH-4 without universal id and its type (HL7 messages, section 3: namespace only).
fn namespace(header: &Header, which: Msh) -> &str {
    let whole = match which {
        Msh::Application => &header.sending_application,
        Msh::Facility => &header.sending_facility,
    };
    match header.encoding.chars().next() {
        Some(component) => whole.split_once(component).map_or(whole.as_str(), |(first, _)| first),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{Peer, SourceConfig, Sources};

    const A28: &str =
        "MSH|^~\\&|PAS|RJ1|ROUTE|ROUTE|20260105101500||ADT^A28^ADT_A05|1|P|2.4\rEVN||20260105101500\rPID|1||9990000018^^^NHS^NH\r";

    fn look(source: &str, message: &str) -> Examined {
        let config: SourceConfig = toml::from_str(&format!("name = \"pas\"\npeers = [\"10.0.0.7\"]\n{source}")).unwrap();
        let sources = Sources::compile(&[config]).unwrap();
        let candidates = sources.of_peer(&Peer { address: [10, 0, 0, 7].into(), certificate_names: None });
        let limits = Limits::default();
        let rules = Rules { candidates: &candidates, processing_ids: &["P".to_owned()], message_bytes_max: 8192, limits: &limits };
        examine(message.as_bytes(), &rules)
    }

    #[track_caller]
    fn check(source: &str, message: &str, expected: &str) {
        let found = match look(source, message).decision {
            Decision::Accept(_) => "accept".to_owned(),
            Decision::Ignore => "ignore".to_owned(),
            Decision::Acknowledgement => "silence".to_owned(),
            Decision::Refuse(refusal) => {
                let fault = refusal.fault();
                format!("{} {}-{}", fault.code, fault.segment, fault.field)
            }
        };
        assert_eq!(found, expected, "{message}");
    }

    #[test]
    fn each_question_has_its_answer() {
        check("", A28, "accept");
        check("", "not a message", "100 MSH-0");
        check("senders = [\"PAS|RJ2\"]", A28, "204 MSH-3");
        check("senders = [\"PAS|RJ2\"]\nmismatch = \"warn\"", A28, "accept");
        check("frame_bytes_max = 100", A28, "207 MSH-0");
        check("", &A28.replace("ADT^A28^ADT_A05", ""), "101 MSH-9");
        check("", &A28.replace("|1|P|", "||P|"), "101 MSH-10");
        check("", &A28.replace("|2.4", "|3.0"), "203 MSH-12");
        check("", &A28.replace("|2.4", "|2.4||||||UNICODE UTF-16"), "102 MSH-18");
        check("", &A28.replace("|2.4", "|2.9"), "203 MSH-12");
        check("", &A28.replace("|2.4", "|2.5.1"), "accept");
        check("", &A28.replace("|P|", "|T|"), "202 MSH-11");
        check("", &A28.replace("ADT^A28^ADT_A05", "ADT^A45"), "201 MSH-9");
        check("", &A28.replace("ADT^A28^ADT_A05", "QRY^A19"), "200 MSH-9");
        check("ignores = [\"ADT^A28\"]", A28, "ignore");
    }

    #[test]
    fn an_answer_is_never_answered_not_even_refused() {
        check("", "MSH|^~\\&|PAS|RJ1|||20260105101500||ACK^A28|1|P|2.4\rMSA|AA|7\r", "silence");
        check("", "MSH|^~\\&|PAS|RJ1|||20260105101500||ADR^A19|1|X|9\rMSA|AA|7\rPID|1\r", "silence");
        // Nor one of somebody nobody knows, nor one that is too long.
        let ack = "MSH|^~\\&|PAS|RJ1|||20260105101500||ACK^A28|1|P|2.4\rMSA|AA|7\r";
        check("senders = [\"PAS|RJ2\"]", ack, "silence");
        check("frame_bytes_max = 10", ack, "silence");
        let limits = Limits::default();
        let rules = Rules { candidates: &[], processing_ids: &[], message_bytes_max: 10, limits: &limits };
        assert_eq!(examine_oversize(ack.as_bytes(), &rules).unwrap().decision, Decision::Acknowledgement);
    }

    #[test]
    fn an_event_that_is_not_taken_is_refused_unless_the_source_lets_it_be_ignored() {
        for event in ["A43", "A44", "A45", "A50", "A60"] {
            let message = A28.replace("ADT^A28^ADT_A05", &format!("ADT^{event}"));
            check("", &message, "201 MSH-9");
            check("unknown_event = \"ignore\"", &message, "ignore");
            check(&format!("accepts = [\"ADT^{event}\"]"), &message, "accept");
        }
        // Only events of a code that is taken; and what is listed stands before it.
        check("unknown_event = \"ignore\"", &A28.replace("ADT^A28^ADT_A05", "QRY^A19"), "200 MSH-9");
        check("unknown_event = \"ignore\"", A28, "accept");
        check("unknown_event = \"ignore\"\naccepts = [\"ADT^A31\"]", A28, "ignore");
        for event in [
            "A01", "A02", "A03", "A04", "A05", "A08", "A11", "A12", "A13", "A14", "A15", "A16", "A21", "A22", "A23", "A24", "A25", "A26",
            "A27", "A28", "A29", "A31", "A34", "A37", "A38", "A40", "A42", "A47", "A52", "A53",
        ] {
            check("", &A28.replace("ADT^A28^ADT_A05", &format!("ADT^{event}")), "accept");
        }
    }

    #[test]
    fn a_source_that_ends_segments_with_line_feeds_is_read_so() {
        let message =
            A28.replace("\rPID|1|", "\rNTE|1||two~lines\rPID|1|").replace('\r', "\n").replace('~', "\r").replace("^\r\\&", "^~\\&");
        assert_eq!(look("line_feed = true", &message).header.unwrap().version, "2.4");
        check("line_feed = true", &message, "accept");
    }

    #[test]
    fn a_universal_id_behind_the_facility_does_not_hide_it() {
        check("senders = [\"PAS|RJ1\"]", &A28.replace("|PAS|RJ1|", "|PAS^1.2.3^ISO|RJ1^2.16^ISO|"), "accept");
    }

    #[test]
    fn nobody_is_answered_for_an_oversize_frame_without_msh() {
        let limits = Limits::default();
        let rules = Rules { candidates: &[], processing_ids: &[], message_bytes_max: 10, limits: &limits };
        assert!(examine_oversize(b"garbage", &rules).is_none());
        let known = examine_oversize(A28.as_bytes(), &rules).unwrap();
        assert_eq!(known.decision, Decision::Refuse(Refusal::SenderUnknown));
    }
}
