//! `GET /v1/events`, `GET /v1/events/{sequence}`: accepted events, by position.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::dead::blocking;
use super::page::{self, Filter};
use super::problem::Problem;
use super::search::{self, Found};
use super::time;
use crate::dispatch::files::digits;
use crate::event::route::Glob;
use crate::event::{Stored, cloudevents};

/// Events on a page where nothing is said.
const LIMIT: usize = 100;
/// Most events on a page.
const MOST: usize = 1000;
/// Longest wait for the first event.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Parameters of a list of events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Query {
    /// Position behind which to begin.
    #[param(pattern = "^0?[0-9]{1,19}$")]
    pub after: Option<String>,
    /// With `order=newest`: position before which to begin.
    #[param(pattern = "^0?[0-9]{1,19}$")]
    before: Option<String>,
    /// `oldest`, if not given, or `newest` first.
    #[param(inline)]
    order: Option<Order>,
    /// Most events, 1 to 1000; 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Name of the source.
    source: Option<String>,
    /// Pattern of the type, with `*`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Id of the event. What is not found on a page may stand further on: `next` says how far it was looked.
    id: Option<String>,
    /// Received at or after, or released of what was set aside: RFC 3339, or a duration before now such as `15m`.
    since: Option<String>,
    /// Received before: as `since`.
    until: Option<String>,
    /// Longest wait for the first event, such as `30s`; at most a minute.
    wait: Option<String>,
    /// Whether the events come with their data, which they do if not given.
    data: Option<bool>,
}

/// Which events come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    Oldest,
    Newest,
}

/// A page of events.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is written from the envelopes' parts, so that the bytes of `data` stay")]
pub struct Page {
    events: Vec<super::openapi::Event>,
    /// Position from which to ask again: as `after`, or as `before` with `order=newest`.
    #[schema(pattern = "^[0-9]{20}$")]
    next: String,
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
    ///
    /// # Errors
    /// A time that is none.
    pub fn filter(&self, admin: &Admin) -> Result<Filter, Problem> {
        let now_ms = admin.journal.now_ms();
        let at = |name: &str, text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let what = || {
                format!("`{name}` is `{text}`, but must be a time such as 2026-01-31T12:00:00Z, or 15m for so long ago")
            };
            time::given(text, now_ms).map(Some).ok_or_else(|| Problem::Invalid(what()))
        };
        Ok(Filter {
            source: self.source.clone(),
            kind: self.kind.clone().map(Glob::from),
            id: self.id.clone(),
            since_ms: at("since", &self.since)?,
            until_ms: at("until", &self.until)?,
        })
    }

    /// Whether the newest events come first.
    fn is_newest_first(&self) -> bool {
        self.order == Some(Order::Newest)
    }

    /// Refuses what makes sense only where events are looked for backwards.
    ///
    /// # Errors
    /// `order=newest` or `before`.
    pub fn forwards(&self) -> Result<(), Problem> {
        if self.is_newest_first() || self.before.is_some() {
            let what = "here events are read from the oldest on: neither `order=newest` nor `before` can be";
            return Err(Problem::Invalid(what.to_owned()));
        }
        Ok(())
    }

    /// Whether a stream's events come without their data.
    pub fn is_bare(&self) -> bool {
        self.data == Some(false)
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
    digits(text)
        .ok_or_else(|| Problem::Invalid(format!("`{name}` is `{text}`, but must be a position, up to 20 digits")))
}

/// `{"events":[…],"next":"…"}`: `next` is the position from which to ask again.
pub fn answer(events: &[Stored], next: u64, bare: bool) -> HttpResponse {
    let mut out = b"{\"events\":[".to_vec();
    for (at, stored) in events.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if bare {
            stored.write_attributes(&mut out);
        } else {
            stored.write_json(&mut out);
        }
    }
    out.extend_from_slice(format!("],\"next\":\"{next:020}\"}}").as_bytes());
    HttpResponse::Ok().content_type("application/json").body(out)
}

/// A page of events; waits for the first one if asked to.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Query), responses((status = 200, body = Page)))]
pub async fn list(request: HttpRequest, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let position = |name: &str, text: &Option<String>| text.as_deref().map(|text| sequence(name, text)).transpose();
    let (after, before) = (position("after", &query.after)?, position("before", &query.before)?);
    let (limit, wait, filter) = (query.limit()?, query.wait()?, query.filter(&admin)?);
    if query.is_newest_first() {
        if after.is_some() || !wait.is_zero() {
            return Err(Problem::Invalid(
                "with `order=newest`, `before` says where to begin, and nothing is waited for".to_owned(),
            ));
        }
        let found = newest(&admin, before, filter, limit).await?;
        return Ok(answer(&found.events, found.next, query.is_bare()));
    }
    if before.is_some() {
        return Err(Problem::Invalid("`before` stands with `order=newest`".to_owned()));
    }
    let mut after = after.unwrap_or(0);
    if filter.since_ms.is_some() {
        let (journal, wanted) = (admin.journal.clone(), filter.clone());
        let found = blocking(move || search::bounds(&journal, &mut journal.reader(0), &wanted)).await?;
        after = after.max(found.map_err(unreadable)?.0);
    }
    let stopping = admin.stopping.cancelled();
    let (reader, events) = page::wait(admin.journal.reader(after), &filter, limit, wait, stopping).await?;
    Ok(answer(&events, reader.position(), query.is_bare()))
}

/// The newest wanted events before a position.
///
/// # Errors
/// The journal cannot be read.
pub async fn newest(admin: &Admin, before: Option<u64>, filter: Filter, limit: usize) -> Result<Found, Problem> {
    let journal = admin.journal.clone();
    blocking(move || search::newest(&journal, before, &filter, limit)).await?.map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> Problem {
    Problem::Failed(format!("cannot read the journal: {error}"))
}

/// One event, structured.
#[utoipa::path(get, path = "/v1/events/{sequence}", tag = "events", params(("sequence" = String, Path, pattern = "^0?[0-9]{1,19}$")),
    responses((status = 200, body = super::openapi::Event, content_type = "application/cloudevents+json")))]
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
