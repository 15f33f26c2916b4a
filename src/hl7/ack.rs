//! Answers: which code, whether any, and the bytes of it (protocol rules, sections 2 to 4).

use super::{Fault, Header};

/// What became of a message, as far as its sender is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Kept. Faults are warnings (ERR severity W, 2.5 and later).
    Accepted(Vec<Fault>),
    /// Could not be kept; send it again.
    TryAgain(Fault),
    /// Never takeable as it is.
    Rejected(Fault),
}

/// How a source wants to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// As MSH-15 and MSH-16 say.
    #[default]
    Auto,
    /// Always AA, AE, AR.
    Original,
    /// Always CA, CE, CR.
    Enhanced,
}

/// Who answers, when, under which number.
#[derive(Clone, Debug)]
pub struct Answering<'a> {
    /// Our MSH-3 where the request's MSH-5 is empty or ROUTE.
    pub application: &'a str,
    /// Our MSH-4 where the request's MSH-6 is empty or ROUTE.
    pub facility: &'a str,
    /// MSH-7, `YYYYMMDDHHMMSS+ZZZZ`.
    pub time: &'a str,
    /// MSH-10 of the answer.
    pub control_id: &'a str,
    /// Auto, original, enhanced.
    pub mode: AckMode,
}

/// An answer ready for the wire, and its code for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `AA`, `CR`, …
    pub code: &'static str,
    /// The message, without frame.
    pub bytes: Vec<u8>,
}

/// The answer owed to `header`, or none where MSH-15/16 ask for none or the message is itself an ACK.
/// `header` is `None` where MSH could not be read: AR with an empty MSA-2 and standard delimiters, version 2.4.
pub fn answer(_header: Option<&Header>, _verdict: &Verdict, _answering: &Answering<'_>) -> Option<Answer> {
    unimplemented!()
}
