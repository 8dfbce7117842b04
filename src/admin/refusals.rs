//! `GET /v1/refusals`: requests that were refused, and what the check of their signature saw.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::events::limit;
use super::problem::Problem;
use super::time::rfc3339;
use crate::telemetry::Refused;

/// Which refusals are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Name of a source; `_unknown` for paths that no source has.
    source: Option<String>,
    /// Most entries, 1 to 1000; 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Requests that were refused alike.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refusal {
    /// Name of the source; `_unknown` for a path that no source has.
    source: String,
    /// Code of the problem that the sender was told.
    code: &'static str,
    /// The last sender's address.
    client: Option<String>,
    /// What was seen; never a secret or a signature.
    seen: Vec<String>,
    /// How many.
    times: u64,
    /// The first one, RFC 3339.
    first: String,
    /// The last one, RFC 3339.
    last: String,
}

/// Refusals, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refusals {
    refusals: Vec<Refusal>,
    /// Requests that were only counted, since too many came at once.
    passed_over: u64,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self {
            source: refused.source,
            code: refused.code,
            client: refused.client.map(|client| client.to_string()),
            seen: refused.seen,
            times: refused.times,
            first: rfc3339(refused.first_ms),
            last: rfc3339(refused.last_ms),
        }
    }
}

/// The last refused requests of each source.
#[utoipa::path(get, path = "/v1/refusals", tag = "events", params(Which), responses((status = 200, body = Refusals)))]
pub async fn list(request: HttpRequest, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let which = web::Query::<Which>::from_query(request.query_string());
    let which = which.map_err(|error| Problem::Invalid(error.to_string()))?.into_inner();
    let mut refusals = admin.refusals.list(which.source.as_deref());
    refusals.truncate(limit(which.limit)?);
    let refusals = refusals.into_iter().map(Refusal::from).collect();
    Ok(HttpResponse::Ok().json(Refusals { refusals, passed_over: admin.refusals.passed_over() }))
}
