//! `/v1/events/{sequence}/replay`, `/v1/replays`: retained events to a backend again.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    backend: String,
}

/// Body of an order for a range.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct What {
    backend: String,
    from: String,
    to: String,
    source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<Glob>,
}

/// Publishes one retained event again; durable when it is answered.
pub async fn event(
    path: web::Path<String>,
    body: web::Bytes,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let wanted = sequence("sequence", &path)?;
    let Where { backend: name } = serde_json::from_slice(&body)
        .map_err(|error| Problem::Invalid(format!("the body must be {{\"backend\":\"…\"}}: {error}")))?;
    let name = backend(&name)?;
    find(&admin, wanted).await?;
    let range = Range { from: wanted, to: wanted, source: None, kind: None };
    let order = admin.dispatch.replays().order(&name, range).await?;
    Ok(accepted(&order))
}

/// Publishes the retained events of a range again; durable when it is answered.
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
    Ok(accepted(&order))
}

/// All orders that are not done.
pub async fn list(admin: web::Data<Admin>) -> HttpResponse {
    let orders: Vec<_> = admin.dispatch.replays().orders().iter().map(view).collect();
    HttpResponse::Ok().json(json!({ "replays": orders }))
}

/// Ends an order where it is.
pub async fn cancel(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let gone = || Problem::NotFound("there is no such replay, or it is done".to_owned());
    let id: Id = path.parse().map_err(|_| gone())?;
    match admin.dispatch.replays().cancel(&id).await {
        Ok(true) => Ok(HttpResponse::NoContent().finish()),
        Ok(false) => Err(gone()),
        Err(error) => Err(Problem::Failed(format!("cannot end replay {id}: {error}"))),
    }
}

fn accepted(order: &Order) -> HttpResponse {
    let mut json = view(order);
    json["status"] = "accepted".into();
    HttpResponse::Accepted().json(json)
}

fn view(order: &Order) -> serde_json::Value {
    // It has been written as JSON before.
    let mut json = serde_json::to_value(order).unwrap_or_default();
    json["backend"] = order.id.backend.as_str().into();
    json
}
