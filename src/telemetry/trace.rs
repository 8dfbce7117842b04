//! Traces: one from a request to its confirmed publish, sent to an OpenTelemetry collector.
//!
//! Off unless configured; what is off costs one look at a pointer. Spans carry names and figures, never a body, a
//! header's value or a secret.

#[cfg(not(feature = "otlp"))]
mod none;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "otlp")]
mod post;

use std::sync::OnceLock;
use std::time::Duration;

#[cfg(not(feature = "otlp"))]
use none as exporter;
#[cfg(feature = "otlp")]
use otlp as exporter;

use super::settings::Settings;

static TRACER: OnceLock<exporter::Tracer> = OnceLock::new();

/// Part of a trace; ends when it is dropped. Does nothing while traces are off.
#[must_use]
pub struct Span(Option<exporter::Span>);

/// Who caused what a span is about: the W3C headers `traceparent` and `tracestate`.
#[derive(Debug, Clone, Copy)]
pub struct Parent<'a> {
    /// Trace, span and flags; what is not well-formed is no parent.
    pub traceparent: &'a str,
    /// What other systems keep with the trace.
    pub tracestate: Option<&'a str>,
}

/// What became of an event at a backend.
#[derive(Debug)]
pub struct Publish<'a> {
    /// Name of the backend.
    pub backend: &'a str,
    /// Position of the event.
    pub sequence: u64,
    /// Its id.
    pub id: &'a str,
    /// How long the call took that decided it.
    pub took: Duration,
    /// Why it became a dead letter, in one word.
    pub rejected: Option<&'static str>,
}

/// Begins to send traces, if `settings` name a collector; for the rest of the process.
///
/// # Errors
/// The endpoint or a header cannot be used, or this build cannot send any.
pub fn start(settings: &Settings) -> Result<(), String> {
    let Some(url) = settings.traces_url().map_err(|what| format!("telemetry.otlp_endpoint {what}"))? else {
        return Ok(());
    };
    let tracer = exporter::Tracer::start(&url, settings)?;
    // A second bridge in one process goes on with the first one's.
    let _ = TRACER.set(tracer);
    Ok(())
}

/// Sends what is left; blocks for `patience` at most.
pub fn stop(patience: Duration) {
    if let Some(tracer) = TRACER.get() {
        tracer.stop(patience);
    }
}

/// Whether traces are made: worth asking before what a span needs is put together.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// A request has come to the endpoint `path`.
pub fn request<'a>(path: &str, parent: impl FnOnce() -> Option<Parent<'a>>) -> Span {
    Span(TRACER.get().map(|tracer| tracer.request(path, parent())))
}

/// An event was published, or is a dead letter; nothing where its trace is not sampled.
pub fn published(parent: Parent, publish: &Publish) {
    if let Some(tracer) = TRACER.get() {
        tracer.published(parent, publish);
    }
}

impl Span {
    /// A step within this one.
    pub fn child(&self, name: &'static str) -> Self {
        let child = |(tracer, span): (&exporter::Tracer, &exporter::Span)| tracer.child(span, name);
        Self(TRACER.get().zip(self.0.as_ref()).map(child))
    }

    /// Sets an attribute; `value` is made only where traces are on.
    pub fn set(&mut self, key: &'static str, value: impl FnOnce() -> String) {
        if let Some(span) = &mut self.0 {
            span.set(key, value());
        }
    }

    /// The work did not succeed, for this reason.
    pub fn fail(&mut self, reason: &'static str) {
        if let Some(span) = &mut self.0 {
            span.fail(reason);
        }
    }

    /// Itself as the `traceparent` of what it causes.
    pub fn traceparent(&self) -> Option<String> {
        self.0.as_ref().map(exporter::Span::traceparent)
    }
}
