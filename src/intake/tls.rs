//! TLS of the doors: material from files, the handshake, and who the certificate says the peer is.
//!
//! # Invariants
//!
//! - TLS 1.3, or 1.2 with ECDHE and an AEAD; no tickets, no resumption, no early data: a revoked peer cannot come back by memory.
//! - Where senders' certificates are asked for, a handshake without a good one fails; a revocation list that ran out is no list,
//!   and then nobody comes in. Only `revocation = "none"` says otherwise, in writing.
//! - Material is replaced whole or not at all; what cannot be loaded leaves the old one in place.
//! - A name is taken from the subject alternative names only: URI and DNS.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;

use super::IntakeError;
use super::desk::Clock;
use super::settings::TlsConfig;
use super::sources::Peer;
use crate::observe;

/// What one listener shows and asks for, replaced whole at a reload.
struct Material {
    server: Arc<ServerConfig>,
    /// `None`: no certificate is asked for.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// TLS of one listener.
pub struct TlsDoor {
    config: TlsConfig,
    protocol: Option<&'static [u8]>,
    place: String,
    clock: Clock,
    material: ArcSwap<Material>,
}

/// Material that was read and checked, and is not yet in use.
pub(super) struct Fresh(Material);

/// The certificates that a peer showed, to be looked at again when rules change.
pub(crate) struct Credentials {
    door: Arc<TlsDoor>,
    chain: Vec<CertificateDer<'static>>,
}

impl Credentials {
    /// Would these certificates be accepted now?
    pub(crate) fn are_still_good(&self, now: Timestamp) -> bool {
        let material = self.door.material.load();
        let (Some(verifier), Some((own, issuers))) = (&material.verifier, self.chain.split_first()) else {
            return false;
        };
        verifier.verify_client_cert(own, issuers, unix_time(now)).is_ok()
    }
}

/// A peer after its handshake.
pub(crate) struct Greeted {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) peer: Peer,
    pub(crate) credentials: Option<Credentials>,
}

impl TlsDoor {
    /// Reads the material of a listener. `protocol`: what is agreed on by ALPN.
    pub(crate) fn open(config: &TlsConfig, protocol: Option<&'static [u8]>, place: &str, clock: Clock) -> Result<Arc<Self>, IntakeError> {
        let material = load(config, protocol, place, clock)?;
        let (config, place) = (config.clone(), place.to_owned());
        Ok(Arc::new(Self { config, protocol, place, clock, material: ArcSwap::from_pointee(material) }))
    }

    /// Reads the files again.
    pub(super) fn read_again(&self) -> Result<Fresh, IntakeError> {
        load(&self.config, self.protocol, &self.place, self.clock).map(Fresh)
    }

    /// From now on.
    pub(super) fn use_now(&self, fresh: Fresh) {
        self.material.store(Arc::new(fresh.0));
    }

    /// `mutual` or `server`.
    pub(crate) fn word(&self) -> &'static str {
        if self.asks_for_certificates() { "mutual" } else { "server" }
    }

    pub(super) fn asks_for_certificates(&self) -> bool {
        self.config.client_ca_file.is_some()
    }

    /// Shakes hands. An error is the reason in one word.
    pub(crate) async fn greet(self: &Arc<Self>, stream: TcpStream, address: IpAddr, patience: Duration) -> Result<Greeted, &'static str> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.material.load().server));
        let stream = match tokio::time::timeout(patience, acceptor.accept(stream)).await {
            Err(_) => return Err("handshake_timeout"),
            Ok(Err(error)) => return Err(reason(&error)),
            Ok(Ok(stream)) => stream,
        };
        if !self.asks_for_certificates() {
            return Ok(Greeted { stream, peer: Peer { address, certificate_names: None }, credentials: None });
        }
        let chain: Vec<_> =
            stream.get_ref().1.peer_certificates().unwrap_or_default().iter().map(|each| each.clone().into_owned()).collect();
        let names = chain.first().map(|own| san_names(own)).unwrap_or_default();
        let peer = Peer { address, certificate_names: Some(names.into()) };
        Ok(Greeted { stream, peer, credentials: Some(Credentials { door: Arc::clone(self), chain }) })
    }
}

/// Why a handshake failed, out of a closed set.
fn reason(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::NoCertificatesPresented) => "certificate_missing",
        Some(rustls::Error::InvalidCertificate(error)) => match error {
            CertificateError::Revoked => "certificate_revoked",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate_expired",
            CertificateError::UnknownIssuer => "certificate_unknown_issuer",
            CertificateError::UnknownRevocationStatus => "revocation_unknown",
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => "revocation_list_expired",
            _ => "certificate",
        },
        Some(rustls::Error::AlertReceived(_)) => "handshake_alert",
        Some(rustls::Error::PeerIncompatible(_)) => "handshake_incompatible",
        Some(_) => "handshake",
        None => "handshake_ended",
    }
}

/// URI and DNS names of a certificate. Others, and the common name, are nothing.
fn san_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(name) | GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    names.collect()
}

/// rustls asks the time of nobody else.
#[derive(Debug)]
struct HouseTime(Clock);

impl TimeProvider for HouseTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time((self.0.now)()))
    }
}

fn unix_time(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()))
}

fn load(config: &TlsConfig, protocol: Option<&'static [u8]>, place: &str, clock: Clock) -> Result<Material, IntakeError> {
    let now = (clock.now)();
    let wrong = |what: String, remedy: &str| IntakeError { what, place: format!("{place} tls"), remedy: remedy.to_owned() };
    let chain = certificates(&config.certificate_file, place, "put the PEM certificate there, own one first, then those that signed it")?;
    say_expiry("own", &config.certificate_file, &chain, now);
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .map_err(|error| unreadable(&config.key_file, &error, place, "put the PEM key there, and let the user of the broker read it"))?;

    let verifier = verifier(config, place, now)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_details(provider, Arc::new(HouseTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| wrong(format!("TLS cannot be set up: {error}"), "this is a fault of the broker; report it"))?;
    let builder = match &verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| {
        let files = format!("{} and {}", config.certificate_file.display(), config.key_file.display());
        wrong(format!("certificate and key do not fit: {error} ({files})"), "renew both together; the key must be the certificate's own")
    })?;
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.alpn_protocols = protocol.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Material { server: Arc::new(server), verifier })
}

fn verifier(config: &TlsConfig, place: &str, now: Timestamp) -> Result<Option<Arc<dyn ClientCertVerifier>>, IntakeError> {
    let wrong = |what: String, remedy: &str| IntakeError { what, place: format!("{place} tls"), remedy: remedy.to_owned() };
    let is_none = match config.revocation.as_deref() {
        None => false,
        Some("none") => true,
        Some(_) => return Err(wrong("revocation is not \"none\"".into(), "leave it out and name crl_files, or write \"none\" on purpose")),
    };
    let Some(ca_file) = &config.client_ca_file else {
        if config.crl_files.is_empty() && !is_none {
            return Ok(None);
        }
        return Err(wrong("revocation is configured, but no senders' certificates are asked for".into(), "set client_ca_file"));
    };
    if config.crl_files.is_empty() != is_none {
        let what = if is_none {
            "revocation is \"none\" and crl_files are named"
        } else {
            "senders' certificates are asked for, and no revocation list is kept"
        };
        return Err(wrong(what.into(), "name a revocation list of each CA in crl_files, or write revocation = \"none\" on purpose"));
    }
    let authorities = certificates(ca_file, place, "put the PEM certificates of the CAs there that sign senders' certificates")?;
    say_expiry("client_ca", ca_file, &authorities, now);
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| unreadable(ca_file, &error, place, "each certificate there must be that of a CA"))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
    if !is_none {
        builder = builder.with_crls(revocation_lists(config, place, now)?).enforce_revocation_expiration();
    }
    let verifier =
        builder.build().map_err(|error| unreadable(ca_file, &error, place, "check the CA certificates and the revocation lists"))?;
    Ok(Some(verifier))
}

fn certificates(file: &Path, place: &str, remedy: &str) -> Result<Vec<CertificateDer<'static>>, IntakeError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(file, &error, place, remedy))?;
    if certificates.is_empty() {
        return Err(unreadable(file, &"it holds no certificate", place, remedy));
    }
    Ok(certificates)
}

fn revocation_lists(config: &TlsConfig, place: &str, now: Timestamp) -> Result<Vec<CertificateRevocationListDer<'static>>, IntakeError> {
    let remedy = "put the PEM revocation list there (DER lists: openssl crl -inform der)";
    let mut lists = Vec::new();
    for file in &config.crl_files {
        let read = CertificateRevocationListDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let found = read.map_err(|error| unreadable(file, &error, place, remedy))?;
        if found.is_empty() {
            return Err(unreadable(file, &"it holds no revocation list", place, remedy));
        }
        for list in &found {
            let Ok((_, parsed)) = x509_parser::parse_x509_crl(list) else {
                return Err(unreadable(file, &"it is not a revocation list", place, remedy));
            };
            let next_update = parsed.next_update().map(|at| at.timestamp());
            observe::RevocationListLoaded { file, next_update, is_expired: next_update.is_some_and(|at| at <= now.as_second()) }.say();
        }
        lists.extend(found);
    }
    Ok(lists)
}

fn unreadable(file: &Path, error: &dyn fmt::Display, place: &str, remedy: &str) -> IntakeError {
    IntakeError { what: format!("cannot use {}: {error}", file.display()), place: format!("{place} tls"), remedy: remedy.to_owned() }
}

/// The first of a chain to run out counts.
fn say_expiry(role: &'static str, file: &Path, chain: &[CertificateDer<'_>], now: Timestamp) {
    let end = |certificate: &CertificateDer<'_>| {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        Some(certificate.validity().not_after.timestamp())
    };
    if let Some(expires) = chain.iter().filter_map(end).min() {
        observe::CertificateLoaded { role, file, expires, is_expired: expires <= now.as_second() }.say();
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_come_from_uri_and_dns_and_never_from_the_common_name_or_an_address() {
        let mut params = CertificateParams::new(vec!["maternity.rj1.example".into(), "10.0.0.7".into()]).unwrap();
        params.subject_alt_names.push(SanType::URI("urn:nhs:ods:RJ1".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("somebody@example.org".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "urn:nhs:ods:RP4");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(san_names(certificate.der()), ["maternity.rj1.example", "urn:nhs:ods:RJ1"]);
        assert_eq!(san_names(&CertificateDer::from(vec![1, 2, 3])), [""; 0]);
    }
}
