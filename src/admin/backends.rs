//! `/v1/backends`: where accepted events are, and what keeps them.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::Admin;
use super::problem::Problem;
use crate::dispatch::Status;

/// One lane, as JSON.
pub fn view(lane: &Status, tail: u64, now_ms: u64) -> serde_json::Value {
    let error = lane.last_error().map(|(failure, at_ms)| {
        json!({"reason": failure.reason.label(), "detail": failure.detail, "seconds_ago": now_ms.saturating_sub(at_ms) / 1000})
    });
    json!({
        "name": lane.name.as_str(),
        "state": if lane.is_paused() { "paused" } else { lane.health().label() },
        "sequence": format!("{:020}", lane.decided()),
        "backlog_events": lane.backlog(tail),
        "backlog_age_seconds": lane.age_ms(tail, now_ms) as f64 / 1000.0,
        "published": lane.published(),
        "last_error": error,
    })
}

/// All backends with their state and backlog.
pub async fn list(admin: web::Data<Admin>) -> HttpResponse {
    let (tail, now_ms) = (*admin.journal.tail().borrow(), admin.journal.now_ms());
    let backends: Vec<_> = admin.dispatch.lanes().iter().map(|lane| view(lane, tail, now_ms)).collect();
    HttpResponse::Ok().json(json!({ "backends": backends }))
}

/// Stops a backend before its next batch; its events wait in the journal.
pub async fn pause(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    set_paused(&admin, &path, true)
}

/// Lets a backend go on.
pub async fn resume(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    set_paused(&admin, &path, false)
}

fn set_paused(admin: &Admin, name: &str, paused: bool) -> Result<HttpResponse, Problem> {
    let lane = find(admin, name)?;
    lane.pause(paused);
    let (tail, now_ms) = (*admin.journal.tail().borrow(), admin.journal.now_ms());
    Ok(HttpResponse::Ok().json(view(lane, tail, now_ms)))
}

fn find<'a>(admin: &'a Admin, name: &str) -> Result<&'a Arc<Status>, Problem> {
    let lane = admin.dispatch.lanes().iter().find(|lane| lane.name.as_str() == name);
    lane.ok_or_else(|| Problem::NotFound(format!("there is no backend `{name}`")))
}
