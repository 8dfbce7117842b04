//! `/v1/backends`: where accepted events are, and what keeps them.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use super::problem::Problem;
use crate::dispatch::Status;

/// One backend.
#[derive(Debug, Serialize, ToSchema)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// `connecting`, `up`, `down` or `paused`.
    pub state: &'static str,
    /// Every event up to this position is decided, 20 digits.
    pub sequence: String,
    /// Events that wait.
    pub backlog_events: u64,
    /// Age of the oldest of them, seconds.
    pub backlog_age_seconds: f64,
    /// Events published since the start.
    pub published: u64,
    /// Tries of the batch that fails now; 0 while none does.
    pub attempts: u32,
    /// The last failure, also after it healed.
    pub last_error: Option<LastError>,
}

/// The last failure of a backend.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastError {
    /// Its class.
    pub reason: &'static str,
    /// What the broker or the network said.
    pub detail: String,
    /// How long ago.
    pub seconds_ago: u64,
}

/// All backends.
#[derive(Debug, Serialize, ToSchema)]
pub struct Backends {
    backends: Vec<Backend>,
}

/// One lane.
pub fn view(lane: &Status, tail: u64, now_ms: u64) -> Backend {
    let error = lane.last_error().map(|(failure, at_ms)| LastError {
        reason: failure.reason.label(),
        detail: failure.detail,
        seconds_ago: now_ms.saturating_sub(at_ms) / 1000,
    });
    Backend {
        name: lane.name.to_string(),
        state: if lane.is_paused() { "paused" } else { lane.health().label() },
        sequence: format!("{:020}", lane.decided()),
        backlog_events: lane.backlog(tail),
        backlog_age_seconds: lane.age_ms(tail, now_ms) as f64 / 1000.0,
        published: lane.published(),
        attempts: lane.attempts(),
        last_error: error,
    }
}

/// All lanes.
pub fn all(admin: &Admin) -> Vec<Backend> {
    let (tail, now_ms) = (*admin.journal.tail().borrow(), admin.journal.now_ms());
    admin.dispatch.lanes().iter().map(|lane| view(lane, tail, now_ms)).collect()
}

/// All backends with their state and backlog.
#[utoipa::path(get, path = "/v1/backends", tag = "backends", responses((status = 200, body = Backends)))]
pub async fn list(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(Backends { backends: all(&admin) })
}

/// Stops a backend before its next batch; its events wait in the journal.
#[utoipa::path(post, path = "/v1/backends/{name}/pause", tag = "backends", params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")),
    responses((status = 200, body = Backend)))]
pub async fn pause(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    set_paused(&admin, &path, true).map(|backend| HttpResponse::Ok().json(backend))
}

/// Lets a backend go on.
#[utoipa::path(post, path = "/v1/backends/{name}/resume", tag = "backends", params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")),
    responses((status = 200, body = Backend)))]
pub async fn resume(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    set_paused(&admin, &path, false).map(|backend| HttpResponse::Ok().json(backend))
}

/// Stops a backend, or lets it go on.
///
/// # Errors
/// There is none of this name.
pub fn set_paused(admin: &Admin, name: &str, paused: bool) -> Result<Backend, Problem> {
    let lane = find(admin, name)?;
    lane.pause(paused);
    let (tail, now_ms) = (*admin.journal.tail().borrow(), admin.journal.now_ms());
    Ok(view(lane, tail, now_ms))
}

fn find<'a>(admin: &'a Admin, name: &str) -> Result<&'a Arc<Status>, Problem> {
    let lane = admin.dispatch.lanes().iter().find(|lane| lane.name.as_str() == name);
    lane.ok_or_else(|| Problem::NotFound(format!("there is no backend `{name}`")))
}
