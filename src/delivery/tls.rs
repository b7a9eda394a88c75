//! The TLS set-up of HTTP senders: rustls on aws-lc, the system's certificates, nothing weaker.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The system's certificates, read from disk once: a thousand tenants' senders share them.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, unreadable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() || unreadable > 0 || !found.errors.is_empty() {
        tracing::warn!(usable = roots.len(), unreadable, "not every system certificate can be used");
    }
    Arc::new(roots)
});

/// The set-up that trusts only the system's certificates.
static SYSTEM: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| config(Arc::clone(&SYSTEM_ROOTS)));

/// A client set-up that trusts the system's certificates and those of `extra`, in PEM. None if
/// `extra` cannot be read.
pub(super) fn client_config(extra: Option<&[u8]>) -> Option<Arc<ClientConfig>> {
    let Some(pem) = extra else { return SYSTEM.clone() };
    let mut roots = RootCertStore::clone(&SYSTEM_ROOTS);
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    config(Arc::new(roots))
}

fn config(roots: Arc<RootCertStore>) -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Our connections carry HTTP/1.1 alone.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}
