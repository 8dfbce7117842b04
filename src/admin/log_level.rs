//! `/v1/log-level`: how much the program says, changed while it runs.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::telemetry::log;

/// The least level of the log lines.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    #[schema(value_type = String, pattern = "^(error|warn|info|debug|trace)$")]
    level: log::Level,
}

/// The level in force.
#[utoipa::path(get, path = "/v1/log-level", tag = "health", responses((status = 200, body = LogLevel)))]
pub async fn show() -> HttpResponse {
    HttpResponse::Ok().json(LogLevel { level: log::level() })
}

/// Changes the level until the next start.
#[utoipa::path(put, path = "/v1/log-level", tag = "health", request_body = LogLevel, responses((status = 200, body = LogLevel)))]
pub async fn put(body: web::Bytes) -> Result<HttpResponse, Problem> {
    let wanted: LogLevel = serde_json::from_slice(&body)
        .map_err(|error| Problem::Invalid(format!("the body must be {{\"level\":\"debug\"}}: {error}")))?;
    log::set_level(wanted.level).map_err(Problem::Failed)?;
    tracing::info!("the log level is {}", wanted.level.label());
    Ok(show().await)
}
