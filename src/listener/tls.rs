//! Certificates: read and checked as one, replaced as one.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::settings;

/// What HTTP is called in a TLS handshake (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// What a listener shows to its clients, checked.
#[derive(Debug, Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    /// The certificate itself.
    pub certificate: CertificateDer<'static>,
    /// When it ends: Unix time, seconds.
    pub not_after_s: i64,
}

/// A mistake in the files.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The option that names the file.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl Identity {
    /// Reads the files of `settings`: TLS 1.2 and 1.3, HTTP/1.1 only.
    ///
    /// # Errors
    /// The first mistake: a file that cannot be read or holds something else, a key of another certificate.
    pub fn load(settings: &settings::Tls) -> Result<Self, Wrong> {
        let chain = certificates("cert", &settings.cert)?;
        let key = PrivateKeyDer::from_pem_file(&settings.key)
            .map_err(|error| wrong("key", &settings.key, &error, "private key"))?;
        let Some(certificate) = chain.first().cloned() else {
            return Err(wrong("cert", &settings.cert, &pem::Error::NoItemsFound, "certificate"));
        };
        let not_after_s = not_after(&certificate).ok_or_else(|| Wrong {
            key: "cert",
            what: format!("{} holds no X.509 certificate", settings.cert.display()),
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unusable = |key, what: String| Wrong { key, what };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| unusable("cert", error.to_string()))?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for root in certificates("client_ca", file)? {
                    roots.add(root).map_err(|error| unusable("client_ca", format!("{}: {error}", file.display())))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| unusable("client_ca", format!("{}: {error}", file.display())))?,
                )
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                unusable("key", format!("{} is not the key of {}", settings.key.display(), settings.cert.display()))
            }
            error => unusable("cert", format!("{} cannot be used: {error}", settings.cert.display())),
        })?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self { config: Arc::new(config), certificate, not_after_s })
    }
}

/// The certificates of one listener, to be replaced while it runs.
pub struct Tls(ArcSwap<ServerConfig>);

impl Tls {
    /// Shows `identity`.
    pub fn new(identity: &Identity) -> Self {
        Self(ArcSwap::new(identity.config.clone()))
    }

    /// Shows `identity` from the next handshake on.
    pub fn replace(&self, identity: &Identity) {
        self.0.store(identity.config.clone());
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    match read() {
        Ok(found) if found.is_empty() => Err(wrong(key, file, &pem::Error::NoItemsFound, "certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(key, file, &error, "certificate")),
    }
}

fn wrong(key: &'static str, file: &Path, error: &pem::Error, item: &str) -> Wrong {
    let file = file.display();
    let what = match error {
        pem::Error::Io(error) => format!("cannot read {file}: {error}"),
        pem::Error::NoItemsFound => format!("{file} holds no {item} in PEM"),
        error => format!("{file} is not PEM: {error}"),
    };
    Wrong { key, what }
}

/// When a certificate ends, Unix time, seconds.
fn not_after(certificate: &CertificateDer) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests;
