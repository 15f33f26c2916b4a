//! Certificates for the tests of this folder: a CA, a server of it that wants a certificate of it too, and ours.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A CA, and files signed by it, in a folder that goes away.
pub(super) struct Pki {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { folder: tempfile::tempdir().unwrap(), issuer };
        std::fs::write(pki.file("ca.pem"), pki.issuer.pem()).unwrap();
        pki
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn leaf(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server for this name that asks for a client certificate of the same CA.
    pub(super) fn server(&self, name: &str) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = self.leaf(name, ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(self.issuer.der().to_vec())).unwrap();
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_client_cert_verifier(clients).with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }

    /// Writes our certificate and key.
    pub(super) fn our_certificate(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.leaf("chis-broker", ExtendedKeyUsagePurpose::ClientAuth);
        std::fs::write(self.file("our.pem"), certificate.pem()).unwrap();
        std::fs::write(self.file("our.key"), key.serialize_pem()).unwrap();
        (self.file("our.pem"), self.file("our.key"))
    }
}
