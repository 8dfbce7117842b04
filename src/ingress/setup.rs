//! What a reload replaces as one; a request keeps the one that it began with.

use std::collections::HashMap;
use std::time::Duration;

use super::body::{Pace, WINDOW};
use super::settings::Server;
use super::{Confirmed, Source};
use crate::event::SourceName;
use crate::listener::Proxies;

/// Sources, routes and limits. Never changed, only replaced.
pub struct Setup {
    /// By path.
    sources: HashMap<String, Source>,
    /// Paths at which senders ask besides, and that of the source which answers.
    further: HashMap<String, String>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Proxies,
    /// How long a body may take.
    pub pace: Pace,
    /// Most bytes of bodies at once.
    pub max_inflight: u64,
    /// Longest wait for the journal.
    pub ack_timeout: Duration,
    /// Where events go, and who has them.
    pub confirmed: Confirmed,
}

impl Setup {
    /// The limits of `server` for `sources`, whose paths differ.
    pub fn new(server: &Server, sources: Vec<Source>, confirmed: Confirmed) -> Self {
        let mut further = HashMap::new();
        for source in &sources {
            for path in source.provider.further_paths() {
                let first: &mut String = further.entry(path.to_owned()).or_insert_with(|| source.path.clone());
                if source.path < *first {
                    first.clone_from(&source.path);
                }
            }
        }
        Self {
            further,
            sources: sources.into_iter().map(|source| (source.path.clone(), source)).collect(),
            trusted_proxies: server.trusted_proxies.clone(),
            pace: Pace {
                timeout: server.body_timeout,
                least: server.min_body_rate.saturating_mul(WINDOW.as_secs()),
                window: WINDOW,
            },
            max_inflight: server.max_inflight,
            ack_timeout: server.ack_timeout,
            confirmed,
        }
    }

    /// The source whose endpoint this path is, or whose sender asks here for a sign of consent.
    pub fn source(&self, path: &str) -> Option<&Source> {
        self.sources.get(path).or_else(|| self.sources.get(self.further.get(path)?))
    }

    /// The source of this name.
    pub fn named(&self, name: &SourceName) -> Option<&Source> {
        self.sources.values().find(|source| source.name == *name)
    }
}
