//! One configured sender, ready to receive from.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::Refusal;
use super::limit::Limits;
use super::networks::Networks;
use super::schema::Schemas;
use super::seal::{Event, Told};
use super::settings::Ack;
use crate::catalogue::Provider;
use crate::event::SourceName;
use crate::event::route::Glob;
use crate::journal::{Journal, Key};
use crate::keys::Ring;
use crate::telemetry::{Metrics, metrics};

/// One configured sender.
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// Its endpoint.
    pub path: String,
    /// Its contract, with the source's own tolerance and partition key.
    pub provider: Provider,
    /// What the signature is checked with.
    pub keys: Ring,
    /// Who may send.
    pub networks: Arc<Networks>,
    /// How often it may send; kept over a reload that does not change it.
    pub limits: Arc<Limits>,
    /// Largest body, bytes.
    pub max_body: u64,
    /// How long a redelivery is recognised; zero: no dedup.
    pub dedup_window: Duration,
    /// What its bodies must be.
    pub schemas: Arc<Schemas>,
    /// When it answers.
    pub ack: Ack,
    /// Status of an accepted event.
    pub success_status: StatusCode,
    /// Status that makes the sender try again later.
    pub busy_status: StatusCode,
    /// URL that the sender was given.
    pub public_url: Option<String>,
    /// Request headers kept in the envelope.
    pub headers: Vec<Glob>,
    /// Its counters.
    pub figures: Figures,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new event is on disk.
    Accepted,
    /// The event was accepted before.
    Duplicate,
    /// A challenge was answered.
    Handshake,
    /// It was refused.
    Refused(Refusal),
}

/// Counters of one source, made once: nothing is looked up for a request.
pub struct Figures {
    accepted: Counter,
    duplicate: Counter,
    handshake: Counter,
    refused: Vec<(Refusal, Counter)>,
    /// Time to a 2xx.
    pub ack_seconds: Histogram,
    /// Events accepted.
    pub events: Counter,
    /// Those of them that are kept aside.
    pub set_aside: Counter,
    /// Ids that came again with another body.
    pub id_conflicts: Counter,
}

impl Outcome {
    /// As it stands in metrics and traces.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Handshake => "handshake",
            Self::Refused(refusal) => refusal.code(),
        }
    }
}

impl Figures {
    /// Counters under the label `source`.
    pub fn new(metrics: &Metrics, source: &str) -> Self {
        let labels = metrics::source(source);
        let counter = |outcome: &str| {
            let labels = vec![("source", source.to_owned()), ("outcome", outcome.to_owned())];
            metrics.requests.get_or_create(&labels).clone()
        };
        Self {
            accepted: counter(Outcome::Accepted.label()),
            duplicate: counter(Outcome::Duplicate.label()),
            handshake: counter(Outcome::Handshake.label()),
            refused: Refusal::ALL.iter().map(|refusal| (*refusal, counter(refusal.code()))).collect(),
            ack_seconds: metrics.ack_seconds.get_or_create(&labels).clone(),
            events: metrics.events.get_or_create(&labels).clone(),
            set_aside: metrics.set_aside.get_or_create(&labels).clone(),
            id_conflicts: metrics.id_conflicts.get_or_create(&labels).clone(),
        }
    }

    /// Counts one request.
    pub fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => _ = self.accepted.inc(),
            Outcome::Duplicate => _ = self.duplicate.inc(),
            Outcome::Handshake => _ = self.handshake.inc(),
            Outcome::Refused(refusal) => {
                if let Some((_, counter)) = self.refused.iter().find(|(known, _)| known.is_as(refusal)) {
                    counter.inc();
                }
            }
        }
    }
}

impl Source {
    /// Whether the sender uses this method.
    pub(super) fn takes(&self, method: &str) -> Result<(), Refusal> {
        let known = self.provider.contract.methods.iter().any(|known| known == method);
        if known { Ok(()) } else { Err(Refusal::MethodNotAllowed) }
    }

    /// The methods of a 405's `Allow`.
    pub(super) fn methods(&self) -> String {
        self.provider.contract.methods.join(", ")
    }

    /// Key of deduplication, of what tells the event.
    pub(super) fn key(&self, journal: &Journal, event: &Event) -> Key {
        if self.dedup_window.is_zero() {
            return Key::NONE;
        }
        let (name, id) = (self.name.as_str().as_bytes(), event.id.as_bytes());
        match &event.told {
            Told::Id => journal.key(&[name, id]),
            Told::Body(digest) => journal.key(&[name, id, event.kind.as_bytes(), digest]),
            Told::Nothing => Key::NONE,
        }
    }

    /// Whether a request header is kept in the envelope: signatures and credentials never are.
    pub(super) fn keeps(&self, name: &str) -> bool {
        const NEVER: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-gitlab-token"];
        let rule = &self.provider.rule;
        let signature = name.contains("signature") || name.contains("hmac") || rule.is_proof(name);
        !signature && !NEVER.contains(&name) && self.headers.iter().any(|glob| glob.matches(name))
    }
}
