//! What the doors say.
//!
//! # Not here
//!
//! Anything that a sender wrote. A peer is named by address or by its source's name, never by what its message claims.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{counter, gauge, histogram};

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

/// What an answered message was to us. [`Admitted`] is its log line where it was accepted.
pub struct Answered<'a> {
    /// Who sent it.
    pub source: &'a SourceName,
    /// Family of its type, a closed set: `ADT`, `fhir`, `other`.
    pub family: &'static str,
    /// Body.
    pub bytes: usize,
    /// When its last byte came.
    pub arrived: Timestamp,
    /// From last byte to answer.
    pub took: Duration,
}

impl Answered<'_> {
    /// Counts an accepted one.
    pub fn say_accepted(self) {
        #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
        gauge!("chis_last_message_timestamp_seconds", "source" => self.source.to_string()).set(self.arrived.as_second() as f64);
        counter!("chis_messages_accepted_total", "source" => self.source.to_string(), "type" => self.family).increment(1);
        self.measure();
    }

    /// Counts a refused one; `reason` out of a closed set.
    pub fn say_refused(self, reason: &'static str) {
        tracing::debug!(source = %self.source, bytes = self.bytes, reason, "message.refused");
        counter!("chis_messages_refused_total", "source" => self.source.to_string(), "code" => reason).increment(1);
        self.measure();
    }

    /// Counts one that came before.
    pub fn say_duplicate(self) {
        counter!("chis_messages_duplicate_total", "source" => self.source.to_string()).increment(1);
        self.measure();
    }

    fn measure(self) {
        histogram!("chis_ack_duration_seconds", "source" => self.source.to_string()).record(self.took);
        #[expect(clippy::cast_precision_loss, reason = "a length")]
        histogram!("chis_message_bytes", "source" => self.source.to_string()).record(self.bytes as f64);
    }
}

/// The journal did not keep a message; its sender was told to come again.
pub struct NotKept<'a> {
    /// Who sent it.
    pub source: &'a SourceName,
    /// `full`, `broken`, `draining`.
    pub reason: &'static str,
}

impl NotKept<'_> {
    /// Says it. The ledger itself says why, and louder.
    pub fn say(self) {
        tracing::debug!(source = %self.source, reason = self.reason, "message.not_kept");
        counter!("chis_messages_not_kept_total", "source" => self.source.to_string(), "reason" => self.reason).increment(1);
    }
}

/// Reading one message panicked inside the broker. It was kept and refused; the next one is served.
pub struct ReadingBroke<'a> {
    /// Who sent it.
    pub source: &'a SourceName,
    /// Body.
    pub bytes: usize,
}

impl ReadingBroke<'_> {
    /// Says it.
    pub fn say(self) {
        tracing::error!(source = %self.source, bytes = self.bytes, "message.reading_broke");
        counter!("chis_panics_total").increment(1);
    }
}

/// A door is open.
pub struct ListenerOpened {
    /// `mllp`, `http`.
    pub kind: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// `mutual`, `server`, `none`.
    pub tls: &'static str,
}

impl ListenerOpened {
    /// Says it; a door without TLS that is not on this machine only is said as a warning.
    pub fn say(self) {
        if self.tls == "none" && !self.address.ip().is_loopback() {
            tracing::warn!(kind = self.kind, address = %self.address, tls = self.tls, "listener.opened");
        } else {
            tracing::info!(kind = self.kind, address = %self.address, tls = self.tls, "listener.opened");
        }
    }
}

/// A listener could not take a connection: out of descriptors, most often.
pub struct AcceptFailed<'a> {
    /// `mllp`, `http`.
    pub kind: &'static str,
    /// What the system said.
    pub error: &'a std::io::Error,
}

impl AcceptFailed<'_> {
    /// Says it.
    pub fn say(self) {
        tracing::warn!(kind = self.kind, error = %self.error, "connection.accept_failed");
        counter!("chis_connections_refused_total", "reason" => "accept").increment(1);
    }
}

/// A peer was sent away before it could say anything.
pub struct PeerRefused {
    /// Where it came from.
    pub peer: IpAddr,
    /// Out of a closed set: `not_listed`, `connections_total`, `certificate_revoked`, …
    pub reason: &'static str,
}

impl PeerRefused {
    /// Says it.
    pub fn say(self) {
        tracing::info!(peer = %self.peer, reason = self.reason, "connection.refused");
        counter!("chis_auth_refusals_total", "reason" => self.reason).increment(1);
    }
}

/// A connection began; the end is said by [`ConnectionClosed`].
pub struct ConnectionOpened {
    /// `mllp`, `http`.
    pub kind: &'static str,
    /// Where it comes from.
    pub peer: IpAddr,
}

impl ConnectionOpened {
    /// Says it.
    pub fn say(self) {
        tracing::debug!(kind = self.kind, peer = %self.peer, "connection.opened");
        counter!("chis_connections_total").increment(1);
        gauge!("chis_connections", "listener" => self.kind).increment(1);
    }
}

/// A connection ended.
pub struct ConnectionClosed {
    /// `mllp`, `http`.
    pub kind: &'static str,
    /// Where it came from.
    pub peer: IpAddr,
    /// Out of a closed set.
    pub reason: &'static str,
    /// Bytes between frames that were no frame.
    pub noise_bytes: u64,
}

impl ConnectionClosed {
    /// Says it.
    pub fn say(self) {
        if self.noise_bytes == 0 {
            tracing::debug!(kind = self.kind, peer = %self.peer, reason = self.reason, "connection.closed");
        } else {
            tracing::info!(kind = self.kind, peer = %self.peer, reason = self.reason, noise_bytes = self.noise_bytes, "connection.closed");
            counter!("chis_noise_bytes_total").increment(self.noise_bytes);
        }
        counter!("chis_connections_closed_total", "reason" => self.reason).increment(1);
        gauge!("chis_connections", "listener" => self.kind).decrement(1);
    }
}

/// A frame was cut short, by the next one or by the end of the connection. It is not answered: the sender has it still.
pub struct FrameTruncated {
    /// Where it came from.
    pub peer: IpAddr,
    /// What there was of it.
    pub bytes: usize,
}

impl FrameTruncated {
    /// Says it.
    pub fn say(self) {
        tracing::info!(peer = %self.peer, bytes = self.bytes, "frame.truncated");
        counter!("chis_frames_truncated_total").increment(1);
    }
}

/// A frame was longer than allowed. It was read to its end and dropped.
pub struct FrameOversize {
    /// Where it came from.
    pub peer: IpAddr,
    /// How long it was.
    pub bytes: u64,
}

impl FrameOversize {
    /// Says it.
    pub fn say(self) {
        tracing::info!(peer = %self.peer, bytes = self.bytes, "frame.oversize");
        counter!("chis_frames_oversize_total").increment(1);
    }
}

/// A source speaks under a name that is not in its list, and is configured to be warned about only. Once a connection.
pub struct SenderMismatch<'a> {
    /// The source that the peer proved to be.
    pub source: &'a SourceName,
}

impl SenderMismatch<'_> {
    /// Says it.
    pub fn say(self) {
        tracing::warn!(source = %self.source, "source.sender_mismatch");
        counter!("chis_sender_mismatches_total", "source" => self.source.to_string()).increment(1);
    }
}

/// A TLS handshake ended.
pub struct Handshake {
    /// `mllp`, `http`.
    pub kind: &'static str,
    /// `ok`, or why not, out of a closed set.
    pub result: &'static str,
}

impl Handshake {
    /// Counts it; a failed one is said by [`PeerRefused`].
    pub fn say(self) {
        counter!("chis_tls_handshakes_total", "listener" => self.kind, "result" => self.result).increment(1);
    }
}

/// A certificate of ours, or of a CA that signs senders' certificates, is in use.
pub struct CertificateLoaded<'a> {
    /// `own`, `client_ca`.
    pub role: &'static str,
    /// Where it was read.
    pub file: &'a Path,
    /// Seconds since 1970.
    pub expires: i64,
    /// It has run out already.
    pub is_expired: bool,
}

impl CertificateLoaded<'_> {
    /// Says it.
    pub fn say(self) {
        let Self { role, file, expires, is_expired } = self;
        if is_expired {
            tracing::error!(role, file = %file.display(), expires, "certificate.expired");
        } else {
            tracing::info!(role, file = %file.display(), expires, "certificate.loaded");
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
        gauge!("chis_certificate_expiry_timestamp_seconds", "role" => role, "name" => file.display().to_string()).set(expires as f64);
    }
}

/// A revocation list is in use.
pub struct RevocationListLoaded<'a> {
    /// Where it was read.
    pub file: &'a Path,
    /// When the next one is due, seconds since 1970.
    pub next_update: Option<i64>,
    /// It is due already: nobody with a certificate of its CA can come in.
    pub is_expired: bool,
}

impl RevocationListLoaded<'_> {
    /// Says it.
    pub fn say(self) {
        let Self { file, next_update, is_expired } = self;
        if is_expired {
            tracing::error!(file = %file.display(), next_update, "revocation_list.expired");
        } else {
            tracing::info!(file = %file.display(), next_update, "revocation_list.loaded");
        }
        if let Some(next_update) = next_update {
            #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
            gauge!("chis_crl_next_update_timestamp_seconds", "ca" => file.display().to_string()).set(next_update as f64);
        }
    }
}

/// A batch came in one frame or body.
pub struct BatchReceived {
    /// Messages in it.
    pub messages: usize,
    /// It declares another number of messages or batches.
    pub is_count_wrong: bool,
    /// Lines that belong to no message; they are lost with the frame.
    pub stray_lines: usize,
}

impl BatchReceived {
    /// Says it; a person should look where something may be missing.
    pub fn say(self) {
        let Self { messages, is_count_wrong, stray_lines } = self;
        if is_count_wrong || stray_lines != 0 {
            tracing::warn!(messages, is_count_wrong, stray_lines, "batch.incomplete");
            counter!("chis_batches_incomplete_total").increment(1);
        } else {
            tracing::debug!(messages, "batch.received");
        }
    }
}
