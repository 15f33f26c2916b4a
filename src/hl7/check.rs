//! Is it a message that can be kept as accepted? Structure only; never content (protocol rules, sections 3, 4, 9, 13).

use super::Header;

/// Bounds of one message.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Segments, 5,000.
    pub segments_max: usize,
    /// Fields of a segment, 500.
    pub fields_max: usize,
    /// Repetitions of a field, 500.
    pub repetitions_max: usize,
    /// Components of a repetition, 100.
    pub components_max: usize,
}
impl Default for Limits {
    fn default() -> Self {
        Self { segments_max: 5_000, fields_max: 500, repetitions_max: 500, components_max: 100 }
    }
}

/// What is wrong, where, as table 0357 and ERR say it. Texts never quote the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Table 0357.
    pub code: u16,
    /// Segment id, `PID`.
    pub segment: String,
    /// Which of them, from 1.
    pub occurrence: usize,
    /// Field, from 1; 0 when the whole segment is meant.
    pub field: usize,
    /// What is wrong and what would help, lower case, no personal data.
    pub text: String,
}

/// First fault, or the warnings of a good message.
pub fn check(_raw: &[u8], _header: &Header, _limits: &Limits) -> Result<Vec<Fault>, Fault> {
    unimplemented!()
}
