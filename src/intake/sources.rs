//! Who a peer is. A `[[source]]` compiled: identities that a connection can prove, senders it may speak for, types it may send.
//!
//! # Invariants
//!
//! - A peer that showed a certificate is found by its subject alternative names only, never by common name, never by address.
//! - A compiled [`Source`] cannot be malformed: every mistake was named by [`Sources::compile`].
//! - Several sources may share an identity (an integration engine that forwards for many); MSH-3 and MSH-4 then choose among
//!   them, and never reach a source that the peer could not have proved to be.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::IntakeError;
use super::settings::{AckProfile, AnswerWhen, Mismatch, SourceConfig, UnknownEvent};
use crate::hl7::AckMode;
use crate::names::SourceName;

/// What a connection has proved about its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from.
    pub address: IpAddr,
    /// SAN entries (URI and DNS) of the verified client certificate; `None` where none was asked for.
    pub certificate_names: Option<Arc<[String]>>,
}

/// `ADT^A28`, `ADT^*`, `*`, `pds-birth-notification-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    /// `*`
    All,
    /// `ADT^*`
    Code(String),
    /// The whole type or event code.
    Exact(String),
}

impl TypePattern {
    fn parse(text: &str) -> Self {
        match text.strip_suffix("^*") {
            _ if text == "*" => Self::All,
            Some(code) => Self::Code(code.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// Does `kind` (`ADT^A28`, an event code) fit?
    pub fn fits(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Code(code) => kind.split_once('^').map_or(kind, |(first, _)| first) == code,
            Self::Exact(exact) => exact == kind,
        }
    }

    /// Is any trigger of `code` (`ADT`) taken?
    fn knows_code(&self, code: &str) -> bool {
        match self {
            Self::All => true,
            Self::Code(known) => known == code,
            Self::Exact(exact) => exact.split_once('^').map_or(exact.as_str(), |(first, _)| first) == code,
        }
    }
}

/// One entry of `senders`; `*` on either side fits all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sender {
    application: String,
    facility: String,
}

impl Sender {
    fn parse(text: &str) -> Option<Self> {
        let (application, facility) = text.split_once('|')?;
        (!application.is_empty() && !facility.is_empty() && !facility.contains('|'))
            .then(|| Self { application: application.to_owned(), facility: facility.to_owned() })
    }

    fn fits(&self, application: &str, facility: &str) -> bool {
        let side = |wanted: &str, seen: &str| wanted == "*" || wanted == seen;
        side(&self.application, application) && side(&self.facility, facility)
    }
}

/// A `[[source]]` that can be used without looking back.
#[derive(Debug)]
pub struct Source {
    /// Its name in the journal, listings and metrics.
    pub name: SourceName,
    /// How it wants to be answered.
    pub ack_mode: AckMode,
    /// Which codes say what.
    pub ack_profile: AckProfile,
    /// When it is answered.
    pub answer: AnswerWhen,
    /// Longest message, bytes, where it is shorter than the listener's.
    pub message_bytes_max: Option<usize>,
    /// Its segments end with LF, whatever else there is.
    pub line_feed: bool,
    mismatch: Mismatch,
    unknown_event: UnknownEvent,
    senders: Vec<Sender>,
    accepts: Vec<TypePattern>,
    ignores: Vec<TypePattern>,
}

/// Is a type taken, and if not, how wrong is it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// To be filed.
    Yes,
    /// Kept, answered as accepted, never filed.
    Ignored,
    /// The code is known, this trigger is not (table 0357, 201).
    NotThisEvent,
    /// Not even the code is known (table 0357, 200).
    NotThisType,
}

impl Source {
    /// Whether `kind` is taken. `accepts = []` means the families of [`is_supported`] for HL7 v2 and every event for FHIR
    /// (an event that no mapping knows is held or ignored later, STU3 events, section 9, step 3).
    pub fn takes(&self, kind: &str, dialect: Dialect) -> Taken {
        if self.ignores.iter().any(|pattern| pattern.fits(kind)) {
            return Taken::Ignored;
        }
        let code = kind.split_once('^').map_or(kind, |(first, _)| first);
        let (fits, knows_code) = match (self.accepts.is_empty(), dialect) {
            (true, Dialect::Hl7v2) => (is_supported(kind), SUPPORTED.iter().any(|(known, _)| *known == code)),
            (true, Dialect::Fhir) => (true, true),
            (false, _) => {
                (self.accepts.iter().any(|pattern| pattern.fits(kind)), self.accepts.iter().any(|pattern| pattern.knows_code(code)))
            }
        };
        match (fits, knows_code) {
            (true, _) => Taken::Yes,
            (false, true) if dialect == Dialect::Hl7v2 && self.unknown_event == UnknownEvent::Ignore => Taken::Ignored,
            (false, true) => Taken::NotThisEvent,
            (false, false) => Taken::NotThisType,
        }
    }

    fn speaks_for(&self, application: &str, facility: &str) -> bool {
        self.senders.is_empty() || self.senders.iter().any(|sender| sender.fits(application, facility))
    }

    fn speaks_for_organisation(&self, organisation: &str) -> bool {
        self.senders.is_empty() || self.senders.iter().any(|sender| sender.facility == "*" || sender.facility == organisation)
    }
}

/// HL7 v2 or FHIR, where no more must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Vertical bars.
    Hl7v2,
    /// Bundles.
    Fhir,
}

/// Codes and triggers of HL7 messages, sections 2 and 5.
const SUPPORTED: [(&str, &[&str]); 5] = [
    (
        "ADT",
        &[
            "A01", "A02", "A03", "A04", "A05", "A08", "A11", "A12", "A13", "A14", "A15", "A16", "A21", "A22", "A23", "A24", "A25", "A26",
            "A27", "A28", "A29", "A31", "A34", "A37", "A38", "A40", "A42", "A47", "A52", "A53",
        ],
    ),
    ("ORU", &["R01"]),
    ("VXU", &["V04"]),
    ("SIU", &["S12", "S13", "S14", "S15", "S16", "S17", "S18", "S19", "S20", "S21", "S22", "S23", "S24", "S26"]),
    ("MDM", &["T02", "T04", "T06", "T08", "T10", "T11"]),
];

/// Is this one of the message types that child health data comes in (HL7 messages, sections 2 and 5)?
pub fn is_supported(kind: &str) -> bool {
    let (code, trigger) = kind.split_once('^').unwrap_or((kind, ""));
    SUPPORTED.iter().any(|(known, triggers)| *known == code && triggers.contains(&trigger))
}

/// A word for metrics out of a closed set: the code of a supported family, `fhir`, or `other`.
pub(super) fn family(kind: &str, dialect: Dialect) -> &'static str {
    let code = kind.split_once('^').map_or(kind, |(first, _)| first);
    match dialect {
        Dialect::Fhir => "fhir",
        Dialect::Hl7v2 => SUPPORTED.iter().find(|(known, _)| *known == code).map_or("other", |(known, _)| known),
    }
}

/// The source chosen for a message, or why none was.
#[derive(Clone, Debug)]
pub enum Choice {
    /// This source, speaking for itself.
    Known(Arc<Source>),
    /// This source, under a name that is not in its list; it is configured to be warned about only.
    KnownByMismatch(Arc<Source>),
    /// None. With the identity whose message it was, if the peer proved one.
    Unknown(Option<Arc<Source>>),
}

/// All sources of the configuration, found by what a peer can prove.
#[derive(Debug, Default)]
pub struct Sources {
    by_certificate: HashMap<String, Vec<Arc<Source>>>,
    by_address: HashMap<IpAddr, Vec<Arc<Source>>>,
    by_name: HashMap<SourceName, Arc<Source>>,
}

impl Sources {
    /// Compiles `[[source]]`.
    ///
    /// # Errors
    ///
    /// The first mistake: a name twice or not in lower-case kebab, an entry of `senders` that is not `MSH-3|MSH-4`.
    pub fn compile(configs: &[SourceConfig]) -> Result<Self, IntakeError> {
        let mut sources = Self::default();
        let mut names = HashSet::new();
        for config in configs {
            if !names.insert(config.name.as_str()) {
                return Err(mistake(config, "the name is used twice", "give each source a name of its own"));
            }
            let source = Arc::new(compile_one(config)?);
            sources.by_name.insert(source.name.clone(), Arc::clone(&source));
            for name in &config.certificates {
                sources.by_certificate.entry(san_key(name)).or_default().push(Arc::clone(&source));
            }
            for address in &config.peers {
                sources.by_address.entry(address.to_canonical()).or_default().push(Arc::clone(&source));
            }
        }
        Ok(sources)
    }

    /// The source with this name: for what comes in files, where a folder says who sent it.
    pub fn named(&self, name: &SourceName) -> Option<Arc<Source>> {
        self.by_name.get(name).cloned()
    }

    /// Every source that this peer has proved to be.
    pub fn of_peer(&self, peer: &Peer) -> Vec<Arc<Source>> {
        let Some(names) = &peer.certificate_names else {
            return self.by_address.get(&peer.address.to_canonical()).cloned().unwrap_or_default();
        };
        let mut found: Vec<Arc<Source>> = Vec::new();
        for source in names.iter().filter_map(|name| self.by_certificate.get(&san_key(name))).flatten() {
            if !found.iter().any(|known| Arc::ptr_eq(known, source)) {
                found.push(Arc::clone(source));
            }
        }
        found
    }
}

/// Chooses among the sources of a peer by MSH-3 and MSH-4 (protocol rules, section 1).
pub fn choose(candidates: &[Arc<Source>], application: &str, facility: &str) -> Choice {
    choose_by(candidates, |source| source.speaks_for(application, facility))
}

/// Chooses among the sources of a peer by the organisation that a MessageHeader names; a header that names none fits all.
pub fn choose_for_organisation(candidates: &[Arc<Source>], organisation: Option<&str>) -> Choice {
    choose_by(candidates, |source| organisation.is_none_or(|organisation| source.speaks_for_organisation(organisation)))
}

fn choose_by(candidates: &[Arc<Source>], speaks: impl Fn(&Source) -> bool) -> Choice {
    // A source that lists this very sender stands before one that takes any.
    let listed = candidates.iter().find(|source| !source.senders.is_empty() && speaks(source));
    let any = || candidates.iter().find(|source| source.senders.is_empty());
    if let Some(source) = listed.or_else(any) {
        return Choice::Known(Arc::clone(source));
    }
    match candidates.iter().find(|source| source.mismatch == Mismatch::Warn) {
        Some(source) => Choice::KnownByMismatch(Arc::clone(source)),
        None => Choice::Unknown(candidates.first().cloned()),
    }
}

fn compile_one(config: &SourceConfig) -> Result<Source, IntakeError> {
    let is_kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if config.name.is_empty() || !config.name.bytes().all(is_kebab) {
        return Err(mistake(config, "the name is not lower-case kebab", "use a-z, 0-9 and hyphens, as in rj1-maternity"));
    }
    if config.name == super::UNKNOWN_SOURCE {
        return Err(mistake(config, "the name is kept for messages that no source fits", "choose another name"));
    }
    let sender = |text: &String| {
        Sender::parse(text).ok_or_else(|| {
            mistake(config, "an entry of senders is not MSH-3 and MSH-4", r#"write both with a bar between, "MATERNITY|RJ1", or "*|RJ1""#)
        })
    };
    Ok(Source {
        name: SourceName::new(&config.name),
        ack_mode: config.ack_mode,
        ack_profile: config.ack_profile,
        answer: config.answer,
        message_bytes_max: config.frame_bytes_max,
        line_feed: config.line_feed,
        mismatch: config.mismatch,
        unknown_event: config.unknown_event,
        senders: config.senders.iter().map(sender).collect::<Result<_, _>>()?,
        accepts: config.accepts.iter().map(|text| TypePattern::parse(text)).collect(),
        ignores: config.ignores.iter().map(|text| TypePattern::parse(text)).collect(),
    })
}

fn mistake(config: &SourceConfig, what: &str, remedy: &str) -> IntakeError {
    IntakeError { what: what.to_owned(), place: format!("[[source]] name = {:?}", config.name), remedy: remedy.to_owned() }
}

/// DNS names compare without case; URIs do not.
pub(crate) fn san_key(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { name.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> SourceConfig {
        toml::from_str(toml).unwrap()
    }

    fn sources(tomls: &[&str]) -> Sources {
        Sources::compile(&tomls.iter().map(|toml| config(toml)).collect::<Vec<_>>()).unwrap()
    }

    fn plain(address: &str) -> Peer {
        Peer { address: address.parse().unwrap(), certificate_names: None }
    }

    fn with_certificate(address: &str, names: &[&str]) -> Peer {
        Peer { certificate_names: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..plain(address) }
    }

    fn names(found: &[Arc<Source>]) -> Vec<&str> {
        found.iter().map(|source| source.name.as_str()).collect()
    }

    #[test]
    fn a_certificate_is_worth_its_names_and_not_its_address() {
        let all = sources(&[
            r#"name = "rj1-maternity"
               certificates = ["urn:nhs:ods:RJ1", "Maternity.RJ1.example"]"#,
            r#"name = "lab"
               peers = ["10.0.0.7"]"#,
        ]);
        assert_eq!(names(&all.of_peer(&with_certificate("10.0.0.7", &["urn:nhs:ods:RJ1"]))), ["rj1-maternity"]);
        assert_eq!(names(&all.of_peer(&with_certificate("10.0.0.7", &["maternity.rj1.EXAMPLE"]))), ["rj1-maternity"], "DNS without case");
        assert_eq!(names(&all.of_peer(&with_certificate("10.0.0.7", &["urn:nhs:ods:rj1"]))), [""; 0], "a URI has case");
        assert_eq!(names(&all.of_peer(&with_certificate("10.0.0.7", &[]))), [""; 0], "a certificate without names never falls back");
        assert_eq!(names(&all.of_peer(&plain("10.0.0.7"))), ["lab"]);
        assert_eq!(names(&all.of_peer(&plain("::ffff:10.0.0.7"))), ["lab"], "an IPv4 peer on an IPv6 socket is the same peer");
        assert_eq!(names(&all.of_peer(&plain("10.0.0.8"))), [""; 0]);
    }

    #[test]
    fn behind_one_address_msh_chooses_the_source() {
        let all = sources(&[
            r#"name = "any"
               peers = ["10.0.0.7"]"#,
            r#"name = "maternity"
               peers = ["10.0.0.7"]
               senders = ["MATERNITY|RJ1"]"#,
        ]);
        let found = all.of_peer(&plain("10.0.0.7"));
        assert!(matches!(choose(&found, "MATERNITY", "RJ1"), Choice::Known(source) if source.name.as_str() == "maternity"));
        assert!(matches!(choose(&found, "PAS", "RJ1"), Choice::Known(source) if source.name.as_str() == "any"));
    }

    #[test]
    fn a_sender_that_is_not_listed_is_unknown_unless_the_source_only_warns() {
        let strict = sources(&["name = \"lab\"\npeers = [\"10.0.0.7\"]\nsenders = [\"LIMS|RP4\"]"]).of_peer(&plain("10.0.0.7"));
        assert!(matches!(choose(&strict, "LIMS", "RP4"), Choice::Known(_)));
        assert!(matches!(choose(&strict, "LIMS", "RJ1"), Choice::Unknown(Some(_))));
        assert!(matches!(choose(&[], "LIMS", "RP4"), Choice::Unknown(None)));
        assert!(matches!(choose_for_organisation(&strict, Some("RJ1")), Choice::Unknown(Some(_))));
        assert!(matches!(choose_for_organisation(&strict, Some("RP4")), Choice::Known(_)));
        assert!(matches!(choose_for_organisation(&strict, None), Choice::Known(_)));

        let warned = sources(&["name = \"lab\"\npeers = [\"10.0.0.7\"]\nsenders = [\"*|RP4\"]\nmismatch = \"warn\""]);
        let warned = warned.of_peer(&plain("10.0.0.7"));
        assert!(matches!(choose(&warned, "ANYTHING", "RP4"), Choice::Known(_)));
        assert!(matches!(choose(&warned, "LIMS", "RJ1"), Choice::KnownByMismatch(_)));
    }

    #[test]
    fn types_are_taken_as_the_source_says() {
        let taken = |accepts: &str, kind: &str| {
            let all = sources(&[&format!("name = \"a\"\npeers = [\"10.0.0.7\"]\nignores = [\"ADT^A60\"]\naccepts = {accepts}")]);
            all.of_peer(&plain("10.0.0.7")).first().unwrap().takes(kind, Dialect::Hl7v2)
        };
        assert_eq!(taken(r#"["ADT^A28"]"#, "ADT^A28"), Taken::Yes);
        assert_eq!(taken(r#"["ADT^A28"]"#, "ADT^A31"), Taken::NotThisEvent);
        assert_eq!(taken(r#"["ADT^A28"]"#, "ORU^R01"), Taken::NotThisType);
        assert_eq!(taken(r#"["ADT^*"]"#, "ADT^A31"), Taken::Yes);
        assert_eq!(taken(r#"["ADT^*"]"#, "ADT"), Taken::Yes, "a type without trigger is of its code");
        assert_eq!(taken(r#"["*"]"#, "ZZZ^Z01"), Taken::Yes);
        assert_eq!(taken(r#"["*"]"#, "ADT^A60"), Taken::Ignored, "ignores speaks first");
        assert_eq!(taken("[]", "VXU^V04"), Taken::Yes);
        assert_eq!(taken("[]", "ADT^A45"), Taken::NotThisEvent);
        assert_eq!(taken("[]", "QRY^A19"), Taken::NotThisType);
    }

    #[test]
    fn a_mistake_names_the_source_and_the_remedy() {
        let wrong = |toml: &[&str]| Sources::compile(&toml.iter().map(|toml| config(toml)).collect::<Vec<_>>()).unwrap_err().to_string();
        assert!(wrong(&[r#"name = "Lab""#]).contains("kebab"));
        assert!(wrong(&[r#"name = "unknown""#]).contains("choose another"));
        assert!(wrong(&[r#"name = "a""#, r#"name = "a""#]).contains("twice"));
        assert!(wrong(&["name = \"a\"\nsenders = [\"RJ1\"]"]).contains("MATERNITY|RJ1"));
    }
}
