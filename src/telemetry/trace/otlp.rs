//! Spans by the OpenTelemetry SDK, exported in batches from a thread of its own; a full queue drops spans, never requests.

use std::time::{Duration, SystemTime};

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{self as sdk, Sampler, SdkTracer, SdkTracerProvider};

use super::post::Post;
use super::{Parent, Publish, Settings};

/// Longest time that an export may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes spans.
pub struct Tracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A span that is not over.
pub struct Span(sdk::Span);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

fn context(parent: Option<Parent>) -> Context {
    let root = Context::new();
    parent.map_or(root.clone(), |parent| TraceContextPropagator::new().extract_with_context(&root, &parent))
}

impl Tracer {
    pub fn start(url: &str, settings: &Settings) -> Result<Self, String> {
        let headers = settings.otlp_headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Post::new(url, PATIENCE)?)
            .with_endpoint(url)
            .with_timeout(PATIENCE)
            .with_headers(headers.collect())
            .build()
            .map_err(|error| format!("telemetry.otlp_endpoint: {error}"))?;
        let resource = Resource::builder()
            .with_service_name("hookferry")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let ratio = Sampler::TraceIdRatioBased(settings.trace_sample.ratio());
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(ratio)))
            .with_resource(resource)
            .build();
        Ok(Self { tracer: provider.tracer("hookferry"), provider })
    }

    pub fn stop(&self, patience: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(patience) {
            tracing::warn!("the last traces were not sent: {error}");
        }
    }

    pub fn request(&self, path: &str, parent: Option<Parent>) -> Span {
        let span = SpanBuilder::from_name(format!("POST {path}")).with_kind(SpanKind::Server);
        let span = span.with_attributes([KeyValue::new("url.path", path.to_owned())]);
        Span(self.tracer.build_with_context(span, &context(parent)))
    }

    pub fn child(&self, span: &Span, name: &'static str) -> Span {
        let parent = Context::new().with_remote_span_context(span.0.span_context().clone());
        Span(self.tracer.build_with_context(SpanBuilder::from_name(name), &parent))
    }

    pub fn published(&self, parent: Parent, publish: &Publish) {
        let parent = context(Some(parent));
        if !parent.span().span_context().is_sampled() {
            return;
        }
        let start = SystemTime::now().checked_sub(publish.took).unwrap_or(SystemTime::UNIX_EPOCH);
        let span = SpanBuilder::from_name(format!("publish {}", publish.backend))
            .with_kind(SpanKind::Producer)
            .with_start_time(start)
            .with_attributes([
                KeyValue::new("hookferry.backend", publish.backend.to_owned()),
                KeyValue::new("hookferry.sequence", i64::try_from(publish.sequence).unwrap_or(i64::MAX)),
                KeyValue::new("messaging.message.id", publish.id.to_owned()),
            ]);
        let mut span = self.tracer.build_with_context(span, &parent);
        if let Some(reason) = publish.rejected {
            span.set_status(Status::error(reason));
        }
        span.end();
    }
}

impl Span {
    pub fn set(&mut self, key: &'static str, value: String) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    pub fn fail(&mut self, reason: &'static str) {
        self.0.set_status(Status::error(reason));
    }

    pub fn traceparent(&self) -> String {
        let context = self.0.span_context();
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags())
    }
}
