//! What a reload replaces as one; a request keeps the one that it began with.

use std::collections::HashMap;
use std::time::Duration;

use super::settings::Server;
use super::{Confirmed, Source};
use crate::event::SourceName;

/// Sources, routes and limits. Never changed, only replaced.
pub struct Setup {
    /// By path.
    sources: HashMap<String, Source>,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Longest time to receive a body.
    pub body_timeout: Duration,
    /// Longest wait for the journal.
    pub ack_timeout: Duration,
    /// Where events go, and who has them.
    pub confirmed: Confirmed,
}

impl Setup {
    /// The limits of `server` for `sources`, whose paths differ.
    pub fn new(server: &Server, sources: Vec<Source>, confirmed: Confirmed) -> Self {
        Self {
            sources: sources.into_iter().map(|source| (source.path.clone(), source)).collect(),
            trusted_proxies: server.trusted_proxies.clone(),
            body_timeout: server.body_timeout,
            ack_timeout: server.ack_timeout,
            confirmed,
        }
    }

    /// The source whose endpoint this path is.
    pub fn source(&self, path: &str) -> Option<&Source> {
        self.sources.get(path)
    }

    /// The source of this name.
    pub fn named(&self, name: &SourceName) -> Option<&Source> {
        self.sources.values().find(|source| source.name == *name)
    }
}
