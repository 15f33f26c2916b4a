//! All that the broker says about itself: each thing is a struct, log line and metric together.
//! Fields are names, numbers, durations; nothing out of a message ever is.

mod setup;

use std::time::Duration;

pub use setup::*;

use crate::names::{Seq, SourceName};

/// A message is safe in the journal and its sender has been told.
pub struct Admitted<'a> {
    /// The entry.
    pub seq: Seq,
    /// Who sent it.
    pub source: &'a SourceName,
    /// Body.
    pub bytes: usize,
    /// From last byte to answer.
    pub took: Duration,
}

impl Admitted<'_> {
    /// Says it.
    pub fn say(self) {
        tracing::debug!(seq = self.seq.0, source = %self.source, bytes = self.bytes, "message.accepted");
    }
}
