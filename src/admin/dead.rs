//! `/v1/dead-letters`: events that a backend refused for good or that do not meet their schema, and what becomes of them.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::events::limit;
use super::problem::Problem;
use crate::dispatch::{Id, aside, dead};
use crate::event::BackendName;

/// Parameters of a list of letters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only of this backend.
    backend: Option<String>,
    /// Most letters, 1 to 1000; 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// A letter's id, behind which to begin.
    after: Option<String>,
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Whether the letters come with their events.
    events: Option<bool>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Oldest,
    Newest,
}

/// A page. Written from its parts: by way of `serde_json::Value` numbers would change, and `1e400` be an error.
#[derive(Serialize, ToSchema)]
struct Letters {
    dead_letters: Vec<dead::Letter>,
    unreadable: Vec<dead::Unreadable>,
    next: Option<String>,
}

/// A letter on its way again.
#[derive(Serialize, ToSchema)]
struct Released {
    status: &'static str,
    id: String,
    backend: String,
}

/// A page of letters, of one backend or of all, and the files beside them that are none.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead letters", params(Which), responses((status = 200, body = Letters)))]
pub async fn list(request: HttpRequest, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let which = web::Query::<Which>::from_query(request.query_string());
    let which = which.map_err(|error| Problem::Invalid(error.to_string()))?.into_inner();
    let query = dead::Query {
        backend: which.backend.as_deref().map(backend).transpose()?,
        after: which.after.as_deref().map(id).transpose()?,
        newest_first: matches!(which.order, Order::Newest),
        limit: limit(which.limit)?,
        bare: which.events == Some(false),
    };
    let dead = admin.parts.dead.clone();
    let known = |name: &BackendName| {
        name.as_str() == aside::HOLDER || admin.dispatch.lanes().iter().any(|lane| *name == lane.name)
    };
    let known = query.backend.as_ref().is_none_or(known);
    let named = query.backend.clone();
    let page = blocking(move || dead.page(&query)).await?;
    let page = page.map_err(|error| Problem::Failed(format!("cannot read the dead letters: {error}")))?;
    if let Some(name) = named.filter(|_| !known && page.letters.is_empty() && page.unreadable.is_empty()) {
        return Err(Problem::NotFound(format!("there is no backend `{name}`")));
    }
    let next = page.next.map(|next| next.to_string());
    Ok(HttpResponse::Ok().json(Letters { dead_letters: page.letters, unreadable: page.unreadable, next }))
}

/// One letter with its event.
#[utoipa::path(get, path = "/v1/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 200, body = dead::Letter)))]
pub async fn show(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let (dead, id) = (admin.parts.dead.clone(), id(&path)?);
    let read = blocking({
        let id = id.clone();
        move || dead.get(&id)
    });
    match read.await? {
        Ok(Some(letter)) => Ok(HttpResponse::Ok().json(letter)),
        Ok(None) => Err(gone(&id)),
        Err(dead::LetterError::Damaged(why)) => {
            Err(Problem::Conflict(format!("dead letter {id} cannot be read: {why}")))
        }
        Err(dead::LetterError::Io(error)) => Err(Problem::Failed(format!("cannot read dead letter {id}: {error}"))),
    }
}

/// Has a letter published again; durable when it is answered.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/replay", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 202, body = Released)))]
pub async fn replay(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let id = id(&path)?;
    admin.dispatch.replays().release(&id).await?;
    let released = Released { status: "accepted", id: id.to_string(), backend: id.backend.to_string() };
    Ok(HttpResponse::Accepted().json(released))
}

/// Removes a letter for ever.
#[utoipa::path(delete, path = "/v1/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    remove(&admin, id(&path)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Removes a letter for ever.
///
/// # Errors
/// There is none, or it cannot be removed.
pub async fn remove(admin: &Admin, id: Id) -> Result<(), Problem> {
    let dead = admin.parts.dead.clone();
    let removed = blocking({
        let id = id.clone();
        move || dead.remove(&id)
    });
    match removed.await?.map_err(|error| Problem::Failed(format!("cannot remove dead letter {id}: {error}")))? {
        true => Ok(()),
        false => Err(gone(&id)),
    }
}

fn gone(id: &Id) -> Problem {
    Problem::NotFound(format!("there is no dead letter {id}"))
}

/// An id from a path or a query.
///
/// # Errors
/// It is none.
pub fn id(text: &str) -> Result<Id, Problem> {
    text.parse()
        .map_err(|error: crate::dispatch::files::BadId| Problem::NotFound(format!("there is no dead letter: {error}")))
}

/// A backend's name.
///
/// # Errors
/// None can have this name.
pub fn backend(text: &str) -> Result<BackendName, Problem> {
    text.parse()
        .map_err(|error: crate::event::names::BadName| Problem::NotFound(format!("there is no backend `{}`", error.0)))
}

/// Runs what blocks elsewhere.
///
/// # Errors
/// It panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    web::block(work).await.map_err(|error| Problem::Failed(error.to_string()))
}
