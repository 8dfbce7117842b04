//! `/v1/events/{sequence}/replay`, `/v1/replays`: retained events to a backend again.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Admin;
use super::dead::backend;
use super::events::{find, sequence};
use super::problem::Problem;
use crate::dispatch::Id;
use crate::dispatch::replay::{Order, Range, Refused};
use crate::event::route::Glob;

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let why = refused.to_string();
        match refused {
            Refused::Backend(_) | Refused::Gone(_) => Self::NotFound(why),
            Refused::Full(_) => Self::Busy(why),
            Refused::Damaged(_) => Self::Conflict(why),
            Refused::Journal(_) | Refused::Io(_) => Self::Failed(why),
        }
    }
}

/// Body of an order for one event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Where {
    backend: String,
}

/// Body of an order for a range.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct What {
    backend: String,
    #[schema(pattern = "^0?[0-9]{1,19}$")]
    from: String,
    #[schema(pattern = "^0?[0-9]{1,19}$")]
    to: String,
    source: Option<String>,
    /// Pattern of the types.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    kind: Option<Glob>,
}

/// An order and its backend.
#[derive(Debug, Serialize, ToSchema)]
struct View {
    #[serde(flatten)]
    order: Order,
    backend: String,
    /// `accepted` where it has just been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

/// All orders that are not done.
#[derive(Debug, Serialize, ToSchema)]
struct Replays {
    replays: Vec<View>,
}

/// Publishes one retained event again; durable when it is answered.
#[utoipa::path(post, path = "/v1/events/{sequence}/replay", tag = "events", params(("sequence" = String, Path, pattern = "^0?[0-9]{1,19}$")),
    request_body = Where, responses((status = 202, body = View)))]
pub async fn event(
    path: web::Path<String>,
    body: web::Bytes,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let wanted = sequence("sequence", &path)?;
    let Where { backend: name } = serde_json::from_slice(&body)
        .map_err(|error| Problem::Invalid(format!("the body must be {{\"backend\":\"…\"}}: {error}")))?;
    Ok(accepted(again(&admin, wanted, &name).await?))
}

/// Has one retained event published to a backend again.
///
/// # Errors
/// There is no such event or backend, or too much waits.
pub async fn again(admin: &Admin, wanted: u64, name: &str) -> Result<Order, Problem> {
    let name = backend(name)?;
    find(admin, wanted).await?;
    let range = Range { from: wanted, to: wanted, source: None, kind: None };
    Ok(admin.dispatch.replays().order(&name, range).await?)
}

/// Publishes the retained events of a range again; durable when it is answered.
#[utoipa::path(post, path = "/v1/replays", tag = "replays", request_body = What, responses((status = 202, body = View)))]
pub async fn range(body: web::Bytes, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let what: What = serde_json::from_slice(&body).map_err(|error| {
        Problem::Invalid(format!("the body must be {{\"backend\":\"…\",\"from\":\"…\",\"to\":\"…\"}}: {error}"))
    })?;
    let (from, to) = (sequence("from", &what.from)?, sequence("to", &what.to)?);
    if from > to {
        return Err(Problem::Invalid(format!("`from` is {from}, but `to` is {to}")));
    }
    let range = Range { from, to, source: what.source, kind: what.kind };
    let order = admin.dispatch.replays().order(&backend(&what.backend)?, range).await?;
    Ok(accepted(order))
}

/// All orders that are not done.
#[utoipa::path(get, path = "/v1/replays", tag = "replays", responses((status = 200, body = Replays)))]
pub async fn list(admin: web::Data<Admin>) -> HttpResponse {
    let view = |order: Order| View { backend: order.id.backend.to_string(), order, status: None };
    HttpResponse::Ok().json(Replays { replays: admin.dispatch.replays().orders().into_iter().map(view).collect() })
}

/// Ends an order where it is.
#[utoipa::path(delete, path = "/v1/replays/{id}", tag = "replays", params(("id" = String, Path)), responses((status = 204)))]
pub async fn cancel(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let gone = || Problem::NotFound("there is no such replay, or it is done".to_owned());
    let id: Id = path.parse().map_err(|_| gone())?;
    match admin.dispatch.replays().cancel(&id).await {
        Ok(true) => Ok(HttpResponse::NoContent().finish()),
        Ok(false) => Err(gone()),
        Err(error) => Err(Problem::Failed(format!("cannot end replay {id}: {error}"))),
    }
}

fn accepted(order: Order) -> HttpResponse {
    let backend = order.id.backend.to_string();
    HttpResponse::Accepted().json(View { order, backend, status: Some("accepted") })
}
