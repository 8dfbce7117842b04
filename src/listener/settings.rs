//! `[server.tls]` and `[admin.tls]`: how a listener proves who it is.

use std::path::PathBuf;

/// `[server.tls]`, `[admin.tls]`: certificate and key, PEM. Changed files are taken up while the process runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, then those of the authorities between it and the root.
    pub cert: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// Authorities of client certificates. `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}
