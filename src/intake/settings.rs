//! `[intake]` and `[[source]]` of `chis-broker.toml`, as a person writes them.
//!
//! # Invariants
//!
//! - Unknown keys are refused where they are read.
//! - Nothing here is checked against anything else: [`super::Sources`] and the listeners do that when they are built.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::hl7::AckMode;

/// `[intake]` in `chis-broker.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// MLLP listeners.
    pub mllp: Vec<MllpConfig>,
    /// HTTP(S) listeners.
    pub http: Vec<HttpConfig>,
    /// Folders that others put files into.
    pub drop: Vec<DropConfig>,
    /// Our MSH-3 and MSH-4 in answers where the sender wrote ROUTE or nothing.
    pub application: String,
    /// See `application`.
    pub facility: String,
    /// Connections of all listeners together, 10,000.
    pub connections_max: usize,
    /// Connections of one peer address that no certificate names, 64 (32 unauthenticated; loopback is not counted).
    pub connections_per_peer_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mllp: vec![],
            http: vec![],
            drop: vec![],
            application: "CHIS-BROKER".into(),
            facility: "LONDON".into(),
            connections_max: 10_000,
            connections_per_peer_max: 64,
        }
    }
}

/// `[[intake.mllp]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MllpConfig {
    /// Where senders connect. Without TLS only on loopback, unless `plain_peers` names who may come.
    pub listen: SocketAddr,
    /// TLS; absent: plain.
    pub tls: Option<TlsConfig>,
    /// Addresses that may connect without TLS.
    #[serde(default)]
    pub plain_peers: Vec<IpAddr>,
    /// Longest frame, bytes; 8 MiB, at most 64 MiB.
    #[serde(default = "MllpConfig::frame_bytes_max_default")]
    pub frame_bytes_max: usize,
    /// A frame that was begun must be whole after this, seconds.
    #[serde(default = "MllpConfig::frame_seconds_max_default")]
    pub frame_seconds_max: u64,
    /// A silent connection is closed after this, seconds; 0: never.
    #[serde(default)]
    pub idle_seconds_max: u64,
    /// MSH-11 values taken: `["P"]`; the embedded default takes P, T and D.
    #[serde(default = "MllpConfig::processing_ids_default")]
    pub processing_ids: Vec<String>,
}

impl MllpConfig {
    fn frame_bytes_max_default() -> usize {
        8 * 1024 * 1024
    }
    fn frame_seconds_max_default() -> u64 {
        30
    }
    fn processing_ids_default() -> Vec<String> {
        vec!["P".into()]
    }
}

/// `[[intake.http]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where senders connect. Plain HTTP only on loopback.
    pub listen: SocketAddr,
    /// TLS; absent: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Longest body, bytes, decoded; 8 MiB.
    #[serde(default = "MllpConfig::frame_bytes_max_default")]
    pub body_bytes_max: usize,
    /// MSH-11 values taken on `/hl7v2`.
    #[serde(default = "MllpConfig::processing_ids_default")]
    pub processing_ids: Vec<String>,
}

/// `[[intake.drop]]`: a folder that others put files into.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropConfig {
    /// The folder. `processing`, `done` and `failed` are made in it.
    pub folder: PathBuf,
    /// Whose files they are: a `[[source]]` by name.
    pub source: String,
    /// Which FHIR `.xml` and `.json` files hold.
    #[serde(default)]
    pub fhir: FhirRelease,
    /// Character set where MSH-18 is empty; as `charset` of the source.
    pub charset: Option<String>,
    /// As a MESH client writes: a body (`.dat`, `.xml`, …) is taken when its `.ctl` is there and says success.
    #[serde(default)]
    pub control_files: bool,
    /// A file must not have changed for so long before it is taken, seconds; 0: files are only ever renamed into place.
    #[serde(default = "DropConfig::settle_seconds_default")]
    pub settle_seconds: u64,
    /// How often the folder is looked at, seconds.
    #[serde(default = "DropConfig::poll_seconds_default")]
    pub poll_seconds: u64,
    /// Longest file, bytes; it is read as a whole. 64 MiB.
    #[serde(default = "DropConfig::file_bytes_max_default")]
    pub file_bytes_max: usize,
    /// Longest message in a file, bytes; 8 MiB.
    #[serde(default = "MllpConfig::frame_bytes_max_default")]
    pub message_bytes_max: usize,
    /// MSH-11 values taken.
    #[serde(default = "MllpConfig::processing_ids_default")]
    pub processing_ids: Vec<String>,
}

impl DropConfig {
    fn settle_seconds_default() -> u64 {
        2
    }
    fn poll_seconds_default() -> u64 {
        1
    }
    fn file_bytes_max_default() -> usize {
        64 * 1024 * 1024
    }
}

/// Which FHIR a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FhirRelease {
    /// STU3: the Spine and NEMS.
    #[default]
    Stu3,
    /// R4.
    R4,
}

/// `tls = { … }` of a listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM chain.
    pub certificate_file: PathBuf,
    /// PEM key.
    pub key_file: PathBuf,
    /// PEM of the CAs that sign senders' certificates. Absent: no client certificate is asked for (HTTPS behind tokens is not built: sources then match by peer only).
    pub client_ca_file: Option<PathBuf>,
    /// PEM of revocation lists; an expired one refuses.
    #[serde(default)]
    pub crl_files: Vec<PathBuf>,
    /// `"none"` says on purpose that no revocation list is kept.
    pub revocation: Option<String>,
}

/// `[[source]]`: who may send what from where.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Name in listings and metrics, lower-case kebab.
    pub name: String,
    /// SAN of its certificate: `urn:nhs:ods:RJ1` or a DNS name. Identity on TLS listeners.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Peer addresses, for plain listeners.
    #[serde(default)]
    pub peers: Vec<IpAddr>,
    /// MSH-3 and MSH-4 it may use; empty: any. `["MATERNITY|RJ1"]`.
    #[serde(default)]
    pub senders: Vec<String>,
    /// Types taken: `"ADT^A28"`, `"ADT^*"`, `"*"`, event codes for FHIR.
    #[serde(default)]
    pub accepts: Vec<String>,
    /// Types kept and answered AA, and never filed.
    #[serde(default)]
    pub ignores: Vec<String>,
    /// HL7 v2 events of a known message code that are not taken: refused with 201, or kept, answered AA and never filed.
    #[serde(default)]
    pub unknown_event: UnknownEvent,
    /// Mismatch of MSH-3/4: `reject` or `warn`.
    #[serde(default)]
    pub mismatch: Mismatch,
    /// Auto, original, enhanced.
    #[serde(default)]
    pub ack_mode: AckMode,
    /// `uk` or `base` (protocol rules, section 3).
    #[serde(default)]
    pub ack_profile: AckProfile,
    /// `stored` (default): answered when durable. `filed`: the sender waits for the outcome.
    #[serde(default)]
    pub answer: AnswerWhen,
    /// Charset where MSH-18 is empty.
    pub charset: Option<String>,
    /// Segments end with LF.
    #[serde(default)]
    pub line_feed: bool,
    /// `national`, `maternity`, `laboratory`, `pas`, `other`: precedence of what it says (canonical model, section 4).
    #[serde(default)]
    pub rank: Rank,
    /// Longest frame of this source; at most the listener's.
    pub frame_bytes_max: Option<usize>,
    /// Comes by `chis-broker import` only: nobody connects as it.
    #[serde(default)]
    pub import: bool,
}

/// What to do with an event that is not taken (HL7 messages, section 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownEvent {
    /// AR with 201: the sender should know.
    #[default]
    Reject,
    /// AA, kept, never filed: for a sender whose queue would stand still.
    Ignore,
}

/// What to do when MSH-3/4 are not the source's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mismatch {
    /// The message is refused as from an unknown sender.
    #[default]
    Reject,
    /// The message is taken; the mismatch is said once a connection.
    Warn,
}

/// Which codes say what (protocol rules, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckProfile {
    /// AE: ours, send again. AR: never as it is.
    #[default]
    Uk,
    /// As base HL7: AE for faulty content, AR for what is unsupported or when we are not ready.
    Base,
}

/// When to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerWhen {
    /// When the message is durable.
    #[default]
    Stored,
    /// When it is filed, or known not to be.
    Filed,
}

/// Precedence of what a source says (canonical model, section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// Spine and NEMS.
    National,
    /// Maternity systems.
    Maternity,
    /// Laboratories.
    Laboratory,
    /// Patient administration systems.
    Pas,
    /// Systems of general practices.
    Practice,
    /// Everyone else.
    #[default]
    Other,
}
