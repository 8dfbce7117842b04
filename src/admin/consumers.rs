//! `/v1/consumers/{name}`: cursors that the server keeps for consumers that read over HTTP.
//!
//! A consumer that has saved a cursor holds back the events behind it, as a backend does, until it is deleted.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Admin;
use super::events::{Page, Query, answer, sequence};
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

/// One consumer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Consumer {
    /// Its name.
    name: String,
    /// The last event that it has processed, 20 digits.
    sequence: String,
}

/// All consumers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Consumers {
    consumers: Vec<Consumer>,
}

impl Consumer {
    fn new(name: &str, decided: u64) -> Self {
        Self { name: name.to_owned(), sequence: format!("{decided:020}") }
    }
}

/// All consumers with their positions.
#[utoipa::path(get, path = "/v1/consumers", tag = "consumers", responses((status = 200, body = Consumers)))]
pub async fn list(admin: web::Data<Admin>) -> HttpResponse {
    let cursors = admin.journal.cursors();
    let consumer = |(name, cursor): (&String, &Cursor)| Some(Consumer::new(name.strip_prefix(PREFIX)?, cursor.decided));
    HttpResponse::Ok().json(Consumers { consumers: cursors.iter().filter_map(consumer).collect() })
}

/// The events behind a consumer's cursor; from the oldest one where it has none yet.
#[utoipa::path(get, path = "/v1/consumers/{name}/events", tag = "consumers", params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"), Query),
    responses((status = 200, body = Page)))]
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
    if query.is_newest_first() {
        return Err(Problem::Invalid("a consumer reads from the oldest event on".to_owned()));
    }
    let after = admin.journal.cursors().get(&name).map_or(0, |cursor| cursor.decided);
    let (limit, wait) = (query.limit()?, query.wait()?);
    let stopping = admin.stopping.cancelled();
    let (reader, events) =
        page::wait(admin.journal.reader(after), &query.filter(&admin)?, limit, wait, stopping).await?;
    Ok(answer(&events, reader.position()))
}

/// Body of a `PUT`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Position {
    /// The last event that was processed.
    #[schema(pattern = "^0?[0-9]{1,19}$")]
    sequence: String,
}

/// Moves a consumer's cursor, or makes it; durable when it is answered.
#[utoipa::path(put, path = "/v1/consumers/{name}", tag = "consumers", params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")),
    request_body = Position, responses((status = 200, body = Consumer)))]
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
    saved.await.map_err(|_| Problem::Failed("the journal is closed".to_owned()))?;
    Ok(HttpResponse::Ok().json(Consumer::new(&path, decided)))
}

/// Forgets a consumer: it holds no events back any more.
#[utoipa::path(delete, path = "/v1/consumers/{name}", tag = "consumers", params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")),
    responses((status = 204)))]
pub async fn delete(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let name = cursor_name(&path)?;
    if !admin.journal.cursors().contains_key(&name) {
        return Err(Problem::NotFound(format!("there is no consumer `{path}`")));
    }
    let dropped = admin.journal.drop_cursor(&name);
    dropped.await.map_err(|_| Problem::Failed("the journal is closed".to_owned()))?;
    Ok(HttpResponse::NoContent().finish())
}
