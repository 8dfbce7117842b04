//! `--ca` and `--insecure`: whom a command takes for the server that it speaks to over TLS; `--cert` and `--key`: whom it
//! is itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::http::Error;

/// Options about the server's certificate.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "trust")]
pub struct Options {
    /// Authorities, in PEM, whose certificates are good for the server [default: the system's; where the address is
    /// the configuration's, the configured certificate itself]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Take any certificate of the server
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
    /// Certificate to show to a server that asks for one (`client_ca`), PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl Options {
    /// What is chosen, or else `otherwise`.
    pub fn or(&self, otherwise: Trust) -> Trust {
        let trust = match &self.ca {
            _ if self.insecure => Trust::Anyone,
            Some(file) => Trust::Authorities(file.clone()),
            None => otherwise,
        };
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Trust::Mutual { of: Box::new(trust), cert: cert.clone(), key: key.clone() },
            _ => trust,
        }
    }
}

/// Whose certificate is good.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// One of an authority that the system trusts.
    #[default]
    System,
    /// One of an authority in this file.
    Authorities(PathBuf),
    /// This one, whatever name it has.
    Only(CertificateDer<'static>),
    /// Any.
    Anyone,
    /// As `of` says, and the server sees a certificate of ours.
    Mutual {
        /// Whose certificate is good.
        of: Box<Self>,
        /// Ours.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

impl Trust {
    /// How to speak TLS so.
    ///
    /// # Errors
    /// [`Error::Unusable`] when there are no authorities, or our own certificate cannot be used.
    pub fn client(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Self::Mutual { of, cert, key } = self {
            let chain = certificates("--cert", cert)?;
            let private = PrivateKeyDer::from_pem_file(key);
            let private = private.map_err(|error| Error::Unusable(format!("--key: {}: {error}", key.display())))?;
            let config = of.verifying()?.with_client_auth_cert(chain, private);
            return config
                .map(Arc::new)
                .map_err(|error| Error::Unusable(format!("--cert: {}: {error}", cert.display())));
        }
        Ok(Arc::new(self.verifying()?.with_no_client_auth()))
    }

    fn verifying(&self) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Unusable(error.to_string()))?;
        Ok(match self {
            Self::Mutual { of, .. } => return of.verifying(),
            Self::System => builder.with_root_certificates(system()?),
            Self::Authorities(file) => builder.with_root_certificates(authorities(file)?),
            Self::Only(certificate) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Named { only: Some(certificate.clone()), provider })),
            Self::Anyone => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Named { only: None, provider }))
            }
        })
    }
}

fn system() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // A system's store may hold what is no certificate any more; what is left is what counts.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::Unusable("the system has no certificate authorities; name one with --ca".to_owned()));
    }
    Ok(roots)
}

fn authorities(file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--ca", file)? {
        roots.add(certificate).map_err(|error| Error::Unusable(format!("--ca: {}: {error}", file.display())))?;
    }
    Ok(roots)
}

fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let shown = file.display();
    let found = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let found = found.map_err(|error| Error::Unusable(format!("{option}: cannot read {shown}: {error}")))?;
    if found.is_empty() {
        return Err(Error::Unusable(format!("{option}: {shown} holds no certificate in PEM")));
    }
    Ok(found)
}

/// Takes one certificate, or any, without a look at its names; the server must still hold its key.
#[derive(Debug)]
struct Named {
    only: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.only {
            Some(only) if only != shown => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
