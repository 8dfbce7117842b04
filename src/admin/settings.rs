//! `[admin]`: the second listener, for operators and consumers.

use std::net::{Ipv4Addr, SocketAddr};

use crate::event::{SecretRef, schema, units};
use crate::listener::{self, Address, Mode};

/// `[admin]`: the second listener.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub struct Settings {
    /// As `server.listen`; other than loopback and a Unix socket needs [`Settings::token`].
    pub listen: Address,
    /// Permissions of a Unix socket.
    pub socket_mode: Mode,
    /// Bearer token that everything but `/livez` and `/readyz` asks for. `None`: open, on loopback only.
    pub token: Option<SecretRef>,
    /// `[admin.tls]`. `None`: plain HTTP.
    pub tls: Option<listener::settings::Tls>,
    /// Names, without a port, by which browsers and programs ask beside loopback's; none: any, where it listens elsewhere.
    #[serde(deserialize_with = "units::list")]
    #[schemars(with = "schema::List<String>")]
    pub hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)).into(),
            socket_mode: Mode::default(),
            token: None,
            hosts: Vec::new(),
            tls: None,
        }
    }
}
