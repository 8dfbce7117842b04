//! `[admin]`: the second listener, for operators and consumers.

use std::net::SocketAddr;

use crate::event::SecretRef;
use crate::listener;

/// `[admin]`: the second listener.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub struct Settings {
    /// Address and port; other than loopback needs [`Settings::token`].
    pub listen: SocketAddr,
    /// Bearer token that everything but `/livez` and `/readyz` asks for. `None`: open, on loopback only.
    pub token: Option<SecretRef>,
    /// `[admin.tls]`. `None`: plain HTTP.
    pub tls: Option<listener::settings::Tls>,
    /// Names, without a port, by which browsers and programs ask beside loopback's; none: any, where it listens elsewhere.
    pub hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8081)), token: None, hosts: Vec::new(), tls: None }
    }
}
