//! `[server.tls]` and `[admin.tls]`: how a listener proves who it is.

use std::path::PathBuf;

use crate::event::{schema, units};

/// `[server.tls]`, `[admin.tls]`: certificate and key, PEM. Changed files are taken up while the process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate, then those of the authorities between it and the root.
    pub cert: Option<PathBuf>,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: Option<PathBuf>,
    /// Authorities of client certificates. `None`: clients need none.
    pub client_ca: Option<PathBuf>,
    /// `[server.tls.acme]`, in place of `cert` and `key`.
    pub acme: Option<Acme>,
}

/// `[server.tls.acme]`: an authority that gives the certificate, and renews it (ACME, RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// Where the authority's directory is, https.
    pub directory: String,
    /// Names that the certificate is for; port 443 of each must lead to this listener, TLS and all.
    #[serde(deserialize_with = "units::list")]
    #[schemars(with = "schema::List<String>")]
    pub domains: Vec<String>,
    /// Whom the authority may write to: `mailto:ADDRESS`.
    #[serde(deserialize_with = "units::list")]
    #[schemars(with = "schema::List<String>")]
    pub contact: Vec<String>,
    /// Where account and certificate are kept, mode 0600. `None`: `acme` in `journal.dir`.
    pub cache_dir: Option<PathBuf>,
    /// Authorities of the directory's own certificate. `None`: the system's.
    pub ca: Option<PathBuf>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            domains: Vec::new(),
            contact: Vec::new(),
            cache_dir: None,
            ca: None,
        }
    }
}
