//! `GET /v1/events`, `GET /v1/events/{sequence}`: accepted events, by position.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Admin;
use super::page::{self, Filter};
use super::problem::Problem;
use crate::event::route::Glob;
use crate::event::{Stored, cloudevents};

/// Events on a page where nothing is said.
const LIMIT: usize = 100;
/// Most events on a page.
const MOST: usize = 1000;
/// Longest wait for the first event.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Parameters of a list of events.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Position behind which to begin.
    pub after: Option<String>,
    limit: Option<usize>,
    source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    wait: Option<String>,
}

impl Query {
    /// The parameters of `request`.
    ///
    /// # Errors
    /// One that is unknown or has another form.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let query = web::Query::<Self>::from_query(request.query_string());
        Ok(query.map_err(|error| Problem::Invalid(error.to_string()))?.into_inner())
    }

    /// Which events are wanted.
    pub fn filter(&self) -> Filter {
        Filter { source: self.source.clone(), kind: self.kind.clone().map(Glob::from) }
    }

    /// Events on the page.
    ///
    /// # Errors
    /// None, or more than a page holds.
    pub fn limit(&self) -> Result<usize, Problem> {
        limit(self.limit)
    }

    /// Longest wait for the first event.
    ///
    /// # Errors
    /// Not a duration.
    pub fn wait(&self) -> Result<Duration, Problem> {
        let Some(text) = &self.wait else { return Ok(Duration::ZERO) };
        let wait = humantime::parse_duration(text);
        let wait =
            wait.map_err(|_| Problem::Invalid(format!("`wait` is `{text}`, but must be a duration such as 30s")))?;
        Ok(wait.min(LONGEST_WAIT))
    }
}

/// Things on a page.
///
/// # Errors
/// None, or more than a page holds.
pub fn limit(given: Option<usize>) -> Result<usize, Problem> {
    match given.unwrap_or(LIMIT) {
        limit if (1..=MOST).contains(&limit) => Ok(limit),
        limit => Err(Problem::Invalid(format!("`limit` is {limit}, but must be 1 to {MOST}"))),
    }
}

/// A position from its digits.
///
/// # Errors
/// Not a number.
pub fn sequence(name: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::Invalid(format!("`{name}` is `{text}`, but must be a position, up to 20 digits")))
}

/// `{"events":[…],"next":"…"}`: `next` is the position from which to ask again.
pub fn answer(events: &[Stored], next: u64) -> HttpResponse {
    let mut out = b"{\"events\":[".to_vec();
    for (at, stored) in events.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        stored.write_json(&mut out);
    }
    out.extend_from_slice(format!("],\"next\":\"{next:020}\"}}").as_bytes());
    HttpResponse::Ok().content_type("application/json").body(out)
}

/// A page of events; waits for the first one if asked to.
pub async fn list(request: HttpRequest, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let after = query.after.as_deref().map_or(Ok(0), |after| sequence("after", after))?;
    let (limit, wait) = (query.limit()?, query.wait()?);
    let stopping = admin.stopping.cancelled();
    let (reader, events) = page::wait(admin.journal.reader(after), &query.filter(), limit, wait, stopping).await?;
    Ok(answer(&events, reader.position()))
}

/// One event, structured.
pub async fn show(path: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let stored = find(&admin, sequence("sequence", &path)?).await?;
    let mut out = Vec::new();
    stored.write_json(&mut out);
    Ok(HttpResponse::Ok().content_type(cloudevents::CONTENT_TYPE).body(out))
}

/// The event at a position.
///
/// # Errors
/// It is not kept, or cannot be read.
pub async fn find(admin: &Admin, wanted: u64) -> Result<Stored, Problem> {
    let reader = admin.journal.reader(wanted.saturating_sub(1));
    let (_, events) = page::read(reader, &Filter::default(), 1).await?;
    let found = events.into_iter().next().filter(|stored| stored.sequence == wanted);
    found.ok_or_else(|| Problem::NotFound(format!("there is no event {wanted}, or it is not kept any more")))
}
