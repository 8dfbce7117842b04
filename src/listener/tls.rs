//! Certificates: read and checked as one, replaced as one.

#[cfg(feature = "acme")]
mod acme;
#[cfg(not(feature = "acme"))]
#[path = "tls/none.rs"]
mod acme;

use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, ClientHello, WantsServerCert, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

pub use acme::Authority;

use super::settings;
use super::socket::Socket;

/// What HTTP is called in a TLS handshake (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";
/// What an authority calls the handshake in which it asks whether a name is ours (RFC 8737).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// What a listener shows to its clients, checked.
#[derive(Debug, Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    from: From,
}

#[derive(Debug, Clone)]
enum From {
    Files { certificate: CertificateDer<'static>, not_after_s: i64 },
    Authority(Authority),
}

/// A mistake in the options or the files.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The option, dotted.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// What is known of an authority's certificates.
#[derive(Debug)]
pub enum News {
    /// There is one, and it is shown; `new`: the authority just gave it.
    Shown { new: bool },
    /// None came, or it could not be kept. What was shown stays; the next attempt comes by itself.
    Failed(String),
}

impl Identity {
    /// Reads the files of `settings`, or what an authority gave before: TLS 1.2 and 1.3, HTTP/1.1 only.
    ///
    /// - `acme_dir`: where the latter is, if nothing else is said.
    ///
    /// # Errors
    /// The first mistake: a file that cannot be read or holds something else, a key of another certificate.
    pub fn load(settings: &settings::Tls, acme_dir: &Path) -> Result<Self, Wrong> {
        let missing = |key| move || Wrong { key, what: "missing".to_owned() };
        let Some(acme) = &settings.acme else {
            let cert = settings.cert.as_deref().ok_or_else(missing("cert"))?;
            let key = settings.key.as_deref().ok_or_else(missing("key"))?;
            return Self::of_files(settings, cert, key);
        };
        for (key, file) in [("cert", &settings.cert), ("key", &settings.key)] {
            if file.is_some() {
                return Err(Wrong { key, what: "the authority of `acme` gives it: leave one of them out".to_owned() });
            }
        }
        let authority = Authority::new(acme, acme_dir)?;
        let config = with_clients(settings, "acme")?.with_cert_resolver(authority.resolver());
        Ok(Self::new(config, From::Authority(authority)))
    }

    fn of_files(settings: &settings::Tls, cert: &Path, key: &Path) -> Result<Self, Wrong> {
        let chain = certificates("cert", cert)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("key", key, &error, "private key"))?;
        let Some(certificate) = chain.first().cloned() else {
            return Err(wrong("cert", cert, &pem::Error::NoItemsFound, "certificate"));
        };
        let no_x509 = || Wrong { key: "cert", what: format!("{} holds no X.509 certificate", cert.display()) };
        let (_, not_after_s) = validity(&certificate).ok_or_else(no_x509)?;
        let config = with_clients(settings, "cert")?.with_single_cert(chain, private).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Wrong { key: "key", what: format!("{} is not the key of {}", key.display(), cert.display()) }
            }
            error => Wrong { key: "cert", what: format!("{} cannot be used: {error}", cert.display()) },
        })?;
        Ok(Self::new(config, From::Files { certificate, not_after_s }))
    }

    fn new(mut config: ServerConfig, from: From) -> Self {
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Self { config: Arc::new(config), from }
    }

    /// The certificate itself; `None`: an authority has given none yet.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        match &self.from {
            From::Files { certificate, .. } => Some(certificate.clone()),
            From::Authority(authority) => authority.certificate(),
        }
    }

    /// When it ends: Unix time, seconds.
    pub fn not_after_s(&self) -> Option<i64> {
        match &self.from {
            From::Files { not_after_s, .. } => Some(*not_after_s),
            From::Authority(authority) => authority.not_after_s(),
        }
    }

    /// Who gives the certificates, if they are from no files.
    pub fn authority(&self) -> Option<&Authority> {
        match &self.from {
            From::Files { .. } => None,
            From::Authority(authority) => Some(authority),
        }
    }
}

/// Which clients are let in, as `settings` say; `key` is to blame where TLS itself cannot be set up.
fn with_clients(
    settings: &settings::Tls,
    key: &'static str,
) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, Wrong> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder: ConfigBuilder<ServerConfig, WantsVerifier> = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Wrong { key, what: error.to_string() })?;
    let Some(file) = &settings.client_ca else { return Ok(builder.with_no_client_auth()) };
    let unusable = |what: String| Wrong { key: "client_ca", what: format!("{}: {what}", file.display()) };
    let roots = roots("client_ca", file)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(builder.with_client_cert_verifier(verifier.map_err(|error| unusable(error.to_string()))?))
}

/// The certificates of one listener, to be replaced while it runs.
pub struct Tls(ArcSwap<Identity>);

impl Tls {
    /// Shows `identity`.
    pub fn new(identity: &Identity) -> Self {
        Self(ArcSwap::from_pointee(identity.clone()))
    }

    /// Shows `identity` from the next handshake on. Whether files or an authority give the certificates stays as it was, and so does the authority.
    pub fn replace(&self, identity: &Identity) {
        match (self.0.load().authority(), identity.authority()) {
            (None, None) => self.0.store(Arc::new(identity.clone())),
            (Some(authority), Some(_)) => {
                let mut config = ServerConfig::clone(&identity.config);
                config.cert_resolver = authority.resolver();
                self.0.store(Arc::new(Identity::new(config, From::Authority(authority.clone()))));
            }
            _ => {}
        }
    }

    /// What is shown.
    pub fn shown(&self) -> Arc<Identity> {
        self.0.load_full()
    }

    /// The handshake with a client.
    ///
    /// # Errors
    /// It fails; or it was an authority's, which is over with it.
    pub(super) async fn accept(&self, socket: Socket) -> io::Result<TlsStream<Socket>> {
        let shown = self.shown();
        let Some(authority) = shown.authority() else {
            return TlsAcceptor::from(shown.config.clone()).accept(socket).await;
        };
        let begun = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        if !asks_for_a_challenge(&begun.client_hello()) {
            return begun.into_stream(shown.config.clone()).await;
        }
        // It has no certificate of a client, and sends nothing.
        let answer =
            authority.challenge().ok_or_else(|| io::Error::other("no authority is asked for a certificate"))?;
        begun.into_stream(answer).await?.shutdown().await?;
        Err(io::Error::other("a challenge"))
    }
}

fn asks_for_a_challenge(hello: &ClientHello) -> bool {
    hello.alpn().is_some_and(|names| names.eq([ACME_TLS]))
}

/// The certificates of `file` as authorities.
fn roots(key: &'static str, file: &Path) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    for root in certificates(key, file)? {
        roots.add(root).map_err(|error| Wrong { key, what: format!("{}: {error}", file.display()) })?;
    }
    Ok(roots)
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

/// When a certificate begins and ends, Unix time, seconds.
fn validity(certificate: &CertificateDer) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some((parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp()))
}

#[cfg(test)]
mod tests;
