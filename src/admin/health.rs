//! `/livez`, `/readyz`, `/metrics`, `/v1/status`, `/v1/sources`: how it goes.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{Admin, backends};
use crate::dispatch::Health;
use crate::journal::State;

/// The process serves.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// Whether events are taken. A broker that is down does not change that: it shows as degraded.
pub async fn ready(admin: web::Data<Admin>) -> HttpResponse {
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
    let degraded: Vec<_> = down.map(|lane| format!("backend {} is down", lane.name)).collect();
    if reasons.is_empty() {
        HttpResponse::Ok().json(json!({"status": "ready", "degraded": degraded}))
    } else {
        HttpResponse::ServiceUnavailable().json(json!({"status": "unready", "reasons": reasons, "degraded": degraded}))
    }
}

/// Figures for Prometheus.
pub async fn metrics(admin: web::Data<Admin>) -> HttpResponse {
    admin.dispatch.measure(&admin.parts, admin.journal.now_ms());
    let text = admin.parts.metrics.render();
    HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(text)
}

/// Everything at a glance.
pub async fn status(admin: web::Data<Admin>) -> HttpResponse {
    let (tail, now_ms) = (*admin.journal.tail().borrow(), admin.journal.now_ms());
    let state = admin.journal.state();
    let (state, reason) = match &*state.borrow() {
        State::Open => ("open", None),
        State::Full(why) => ("full", Some(why.clone())),
        State::Closed(why) => ("closed", Some(why.clone())),
    };
    let lanes: Vec<_> = admin.dispatch.lanes().iter().map(|lane| backends::view(lane, tail, now_ms)).collect();
    HttpResponse::Ok().json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": now_ms.saturating_sub(admin.started_ms) / 1000,
        "configuration": &**admin.configuration.load(),
        "journal": {
            "state": state,
            "reason": reason,
            "bytes": admin.journal.bytes(),
            "first": format!("{:020}", admin.journal.before_oldest() + 1),
            "last": format!("{tail:020}"),
        },
        "sources": admin.setup.load().sources,
        "backends": lanes,
    }))
}

/// All sources, without their secrets.
pub async fn sources(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "sources": admin.setup.load().sources }))
}
