//! Why a message is not taken: each variant is one conversation with one sender.
//!
//! # Invariants
//!
//! - [`Refusal::fault`] is the only place where a refusal becomes a code and a text; texts are fixed words and numbers.
//! - [`verdict`] is the only place where an acknowledgement profile swaps codes (protocol rules, section 3).

use super::settings::AckProfile;
use crate::hl7::{Fault, HeaderError, Verdict};
use crate::journal::JournalError;

/// Never takeable as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No MSH that can be read, so there is no control id to answer to.
    HeaderUnreadable(HeaderError),
    /// The peer, or MSH-3 and MSH-4, are not of any source that may send here.
    SenderUnknown,
    /// MSH-9.1 is none that this source may send.
    TypeUnsupported,
    /// MSH-9.1 is, with another trigger.
    EventUnsupported,
    /// MSH-11 is none that this listener takes: a test message at a production door.
    ProcessingId,
    /// Longer than the listener or the source allows.
    TooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// Its structure is wrong where the fault says.
    Structure(Fault),
    /// Reading it failed inside the broker. It is kept, so that a person can find out why.
    Broken,
    /// The source waits for the outcome, and the outcome was that a person must look.
    HeldForAPerson,
}

impl Refusal {
    /// Table 0357 code, place and text.
    pub fn fault(&self) -> Fault {
        let msh = |code, field, text: String| Fault { code, segment: "MSH".into(), occurrence: 1, field, text };
        match self {
            Self::HeaderUnreadable(error) => msh(100, 0, error.to_string()),
            Self::SenderUnknown => msh(204, 3, "unknown sender; ask for it to be added to the sources".into()),
            Self::TypeUnsupported => msh(200, 9, "message type not taken from this sender".into()),
            Self::EventUnsupported => msh(201, 9, "event not taken from this sender".into()),
            Self::ProcessingId => msh(202, 11, "processing id not taken at this door".into()),
            Self::TooLong { limit } => msh(207, 0, format!("message too long; at most {limit} bytes are taken")),
            Self::Structure(fault) => fault.clone(),
            Self::Broken => msh(207, 0, "the message could not be read by the broker; it was kept".into()),
            Self::HeldForAPerson => msh(207, 0, "kept, and a person must look at it; do not send it again".into()),
        }
    }

    /// What the journal notes: code as answered and reason, nothing from inside the message.
    pub fn reason(&self) -> String {
        let fault = self.fault();
        format!("AR {} {}", fault.code, fault.text)
    }

    /// A word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::HeaderUnreadable(_) => "header",
            Self::SenderUnknown => "sender",
            Self::TypeUnsupported => "type",
            Self::EventUnsupported => "event",
            Self::ProcessingId => "processing_id",
            Self::TooLong { .. } => "too_long",
            Self::Structure(_) => "structure",
            Self::Broken => "broken",
            Self::HeldForAPerson => "held",
        }
    }
}

/// What a sender is told, before codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Durable. With warnings.
    Kept(Vec<Fault>),
    /// Ours to mend; the same message can come again.
    NotKept(JournalError),
    /// Durable, and its outcome was not known in time; coming again does no harm.
    NotFiledYet,
    /// Never.
    Refused(Refusal),
}

/// The codes of `told` for a source of this profile.
pub fn verdict(told: &Told, profile: AckProfile) -> Verdict {
    let ours = |text: &str| Fault { code: 207, segment: "MSH".into(), occurrence: 1, field: 0, text: text.to_owned() };
    let verdict = match told {
        Told::Kept(warnings) => return Verdict::Accepted(warnings.clone()),
        Told::NotKept(JournalError::Draining) => Verdict::TryAgain(ours("shutting down; send again")),
        Told::NotKept(_) => Verdict::TryAgain(ours("storage not available; send again")),
        Told::NotFiledYet => Verdict::TryAgain(ours("kept, not filed in time; send again")),
        Told::Refused(refusal) => Verdict::Rejected(refusal.fault()),
    };
    match profile {
        AckProfile::Uk => verdict,
        AckProfile::Base => swapped(verdict),
    }
}

/// Base HL7: AR says unsupported or not ready, AE says that the content is wrong.
fn swapped(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::TryAgain(fault) => Verdict::Rejected(fault),
        Verdict::Rejected(fault) if !(200..=204).contains(&fault.code) => Verdict::TryAgain(fault),
        unchanged => unchanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uk_profile_says_ae_only_where_sending_again_helps() {
        let told = [
            (Told::NotKept(JournalError::Full), "again"),
            (Told::NotKept(JournalError::Draining), "again"),
            (Told::NotFiledYet, "again"),
            (Told::Refused(Refusal::ProcessingId), "never"),
            (Told::Refused(Refusal::TooLong { limit: 8 }), "never"),
            (Told::Kept(vec![]), "kept"),
        ];
        for (told, expected) in told {
            let found = match verdict(&told, AckProfile::Uk) {
                Verdict::Accepted(_) => "kept",
                Verdict::TryAgain(_) => "again",
                Verdict::Rejected(_) => "never",
            };
            assert_eq!(found, expected, "{told:?}");
        }
    }

    #[test]
    fn the_base_profile_swaps_content_and_readiness_and_nothing_else() {
        assert!(matches!(verdict(&Told::NotKept(JournalError::Full), AckProfile::Base), Verdict::Rejected(_)));
        assert!(matches!(verdict(&Told::Refused(Refusal::TooLong { limit: 8 }), AckProfile::Base), Verdict::TryAgain(_)));
        assert!(matches!(verdict(&Told::Refused(Refusal::EventUnsupported), AckProfile::Base), Verdict::Rejected(_)));
        assert!(matches!(verdict(&Told::Kept(vec![]), AckProfile::Base), Verdict::Accepted(_)));
    }

    #[test]
    fn every_text_fits_into_an_acknowledgement() {
        let all = [
            Refusal::HeaderUnreadable(HeaderError::NoMsh),
            Refusal::HeaderUnreadable(HeaderError::Delimiters),
            Refusal::SenderUnknown,
            Refusal::TypeUnsupported,
            Refusal::EventUnsupported,
            Refusal::ProcessingId,
            Refusal::TooLong { limit: 64 * 1024 * 1024 },
            Refusal::Broken,
            Refusal::HeldForAPerson,
        ];
        for refusal in all {
            let text = refusal.fault().text;
            assert!(text.len() <= 80, "{text}: 80 characters are read by all (protocol rules, section 4)");
        }
    }
}
