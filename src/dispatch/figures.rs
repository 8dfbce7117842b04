//! What a lane tells metrics and traces of its work.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::backend::Reason;
use crate::event::{BackendName, Stored};
use crate::telemetry::{Metrics, metrics, trace};

/// Figures of one backend.
pub struct Figures {
    metrics: Metrics,
    backend: BackendName,
    /// Events that were confirmed.
    pub published: Counter,
    /// Time of one publish call.
    pub publish_seconds: Histogram,
    /// 1 while connected.
    pub up: Gauge,
}

impl Figures {
    /// Figures under the label of `backend`, which is not up yet.
    pub fn new(metrics: &Metrics, backend: &BackendName) -> Self {
        let labels = metrics::backend(backend.as_str());
        let up = metrics.backend_up.get_or_create(&labels).clone();
        up.set(0);
        Self {
            metrics: metrics.clone(),
            backend: backend.clone(),
            published: metrics.published.get_or_create(&labels).clone(),
            publish_seconds: metrics.publish_seconds.get_or_create(&labels).clone(),
            up,
        }
    }

    /// Counts a publish that failed.
    pub fn failure(&self, reason: Reason) {
        let labels = vec![("backend", self.backend.to_string()), ("reason", reason.label().to_owned())];
        self.metrics.publish_failures.get_or_create(&labels).inc();
    }

    /// An event is decided by a call that took so long; rejected: for this reason.
    pub fn decided(&self, stored: &Stored, took: Duration, rejected: Option<Reason>) {
        let event = &stored.envelope;
        let Some(traceparent) = event.traceparent.as_deref().filter(|_| trace::is_on()) else { return };
        let parent = trace::Parent { traceparent, tracestate: event.tracestate.as_deref() };
        let publish = trace::Publish {
            backend: self.backend.as_str(),
            sequence: stored.sequence,
            id: &event.id,
            took,
            rejected: rejected.map(Reason::label),
        };
        trace::published(parent, &publish);
    }
}
