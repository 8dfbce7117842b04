//! `/livez`, `/readyz`, `/metrics`, `/v1/status`, `/v1/sources`: how it goes.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::backends::{self, Backend};
use super::{Admin, Configuration, SourceView};
use crate::dispatch::Health;
use crate::journal::State;

/// The process serves.
#[derive(Debug, Serialize, ToSchema)]
pub struct Live {
    status: &'static str,
}

/// Whether events are taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// `ready` or `unready`.
    pub status: &'static str,
    /// Why it takes none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What else does not work.
    pub degraded: Vec<String>,
}

/// Everything at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    version: &'static str,
    uptime_seconds: u64,
    configuration: Configuration,
    journal: Journal,
    sources: Vec<SourceView>,
    backends: Vec<Backend>,
}

/// The journal.
#[derive(Debug, Serialize, ToSchema)]
pub struct Journal {
    /// `open`, `full` or `closed`.
    pub state: &'static str,
    /// Why it takes no events.
    pub reason: Option<String>,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Position of the oldest event that may be kept, 20 digits.
    pub first: String,
    /// Position of the last event, 20 digits.
    pub last: String,
}

/// All sources.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sources {
    sources: Vec<SourceView>,
}

/// The process serves.
#[utoipa::path(get, path = "/livez", tag = "health", security(()), responses((status = 200, body = Live)))]
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Live { status: "live" })
}

/// Whether events are taken. A broker that is down does not change that: it shows as degraded.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub async fn ready(admin: web::Data<Admin>) -> HttpResponse {
    let ready = readiness(&admin);
    if ready.reasons.is_empty() {
        HttpResponse::Ok().json(ready)
    } else {
        HttpResponse::ServiceUnavailable().json(ready)
    }
}

/// Whether events are taken, in words.
pub fn readiness(admin: &Admin) -> Ready {
    let mut reasons = Vec::new();
    if admin.stopping.is_cancelled() {
        reasons.push("the process is stopping".to_owned());
    }
    match &*admin.journal.state().borrow() {
        State::Open => {}
        State::Full(why) => reasons.push(format!("the journal is full: {why}")),
        State::Closed(why) => reasons.push(format!("the journal is closed: {why}")),
    }
    let down = admin.dispatch.lanes().iter().filter(|lane| lane.health() == Health::Down);
    let degraded = down.map(|lane| format!("backend {} is down", lane.name)).collect();
    Ready { status: if reasons.is_empty() { "ready" } else { "unready" }, reasons, degraded }
}

/// Figures for Prometheus (OpenMetrics 1.0).
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub async fn metrics(admin: web::Data<Admin>) -> HttpResponse {
    admin.dispatch.measure(&admin.parts, admin.journal.now_ms());
    let text = admin.parts.metrics.render();
    HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(text)
}

/// Everything at a glance.
#[utoipa::path(get, path = "/v1/status", tag = "health", responses((status = 200, body = Status)))]
pub async fn status(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: admin.journal.now_ms().saturating_sub(admin.started_ms) / 1000,
        configuration: Configuration::clone(&admin.configuration.load()),
        journal: journal(&admin),
        sources: admin.setup.load().sources.clone(),
        backends: backends::all(&admin),
    })
}

/// The journal as it is.
pub fn journal(admin: &Admin) -> Journal {
    let state = admin.journal.state();
    let (state, reason) = match &*state.borrow() {
        State::Open => ("open", None),
        State::Full(why) => ("full", Some(why.clone())),
        State::Closed(why) => ("closed", Some(why.clone())),
    };
    Journal {
        state,
        reason,
        bytes: admin.journal.bytes(),
        first: format!("{:020}", admin.journal.before_oldest() + 1),
        last: format!("{:020}", *admin.journal.tail().borrow()),
    }
}

/// All sources, without their secrets.
#[utoipa::path(get, path = "/v1/sources", tag = "health", responses((status = 200, body = Sources)))]
pub async fn sources(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(Sources { sources: admin.setup.load().sources.clone() })
}
