//! `/v1/consumers/{name}`: cursors that the server keeps for consumers that read over HTTP.
//!
//! A consumer that has saved a cursor holds back the events behind it, as a backend does, until it is deleted.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Admin;
use super::events::{Query, answer, sequence};
use super::page;
use super::problem::Problem;
use crate::event::ConsumerName;
use crate::journal::Cursor;

const PREFIX: &str = "consumer:";

fn cursor_name(name: &str) -> Result<String, Problem> {
    let name: ConsumerName =
        name.parse().map_err(|error: crate::event::names::BadName| Problem::Invalid(error.to_string()))?;
    Ok(format!("{PREFIX}{name}"))
}

/// All consumers with their positions.
pub async fn list(admin: web::Data<Admin>) -> HttpResponse {
    let cursors = admin.journal.cursors();
    let consumers: Vec<_> = cursors
        .iter()
        .filter_map(|(name, cursor)| Some((name.strip_prefix(PREFIX)?, cursor.decided)))
        .map(|(name, decided)| serde_json::json!({"name": name, "sequence": format!("{decided:020}")}))
        .collect();
    HttpResponse::Ok().json(serde_json::json!({ "consumers": consumers }))
}

/// The events behind a consumer's cursor; from the oldest one where it has none yet.
pub async fn events(
    path: web::Path<String>,
    request: HttpRequest,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let name = cursor_name(&path)?;
    let query = Query::of(&request)?;
    if query.after.is_some() {
        return Err(Problem::Invalid("`after` is the consumer's own cursor; PUT it to move".to_owned()));
    }
    let after = admin.journal.cursors().get(&name).map_or(0, |cursor| cursor.decided);
    let (limit, wait) = (query.limit()?, query.wait()?);
    let stopping = admin.stopping.cancelled();
    let (reader, events) = page::wait(admin.journal.reader(after), &query.filter(), limit, wait, stopping).await?;
    Ok(answer(&events, reader.position()))
}

/// Body of a `PUT`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// The last event that was processed.
    sequence: String,
}

/// Moves a consumer's cursor, or makes it; durable when it is answered.
pub async fn put(path: web::Path<String>, body: web::Bytes, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let name = cursor_name(&path)?;
    let position: Position = serde_json::from_slice(&body)
        .map_err(|error| Problem::Invalid(format!("the body must be {{\"sequence\":\"…\"}}: {error}")))?;
    let decided = sequence("sequence", &position.sequence)?;
    let tail = *admin.journal.tail().borrow();
    if decided > tail {
        return Err(Problem::Invalid(format!("`sequence` is {decided}, but the last event is {tail}")));
    }
    let saved = admin.journal.sync_cursor(&name, Cursor { decided, published: decided });
    saved.await.map_err(|_| Problem::Failed("the journal cannot write it".to_owned()))?;
    let name = path.into_inner();
    Ok(HttpResponse::Ok().json(serde_json::json!({"name": name, "sequence": format!("{decided:020}")})))
}

/// Forgets a consumer: it holds no events back any more.
pub async fn delete(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let name = cursor_name(&path)?;
    if !admin.journal.cursors().contains_key(&name) {
        return Err(Problem::NotFound(format!("there is no consumer `{path}`")));
    }
    let dropped = admin.journal.drop_cursor(&name);
    dropped.await.map_err(|_| Problem::Failed("the journal cannot write it".to_owned()))?;
    Ok(HttpResponse::NoContent().finish())
}
