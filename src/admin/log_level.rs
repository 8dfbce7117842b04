//! `/v1/log-level`: how much the program says, changed while it runs.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::problem::Problem;
use crate::telemetry::log;

/// Body of a `PUT`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    level: log::Level,
}

/// The level in force.
pub async fn show() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "level": log::level() }))
}

/// Changes it until the next start.
pub async fn put(body: web::Bytes) -> Result<HttpResponse, Problem> {
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| Problem::Invalid(format!("the body must be {{\"level\":\"debug\"}}: {error}")))?;
    log::set_level(wanted.level).map_err(Problem::Failed)?;
    tracing::info!("the log level is {}", wanted.level.label());
    Ok(show().await)
}
