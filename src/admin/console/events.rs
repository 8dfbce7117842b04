//! `/events`: accepted events, the newest first, and the search for some of them.

use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use super::{layout, parts};
use crate::admin::page::Filter;
use crate::admin::problem::Problem;
use crate::admin::search::Found;
use crate::admin::{Admin, deliveries, events, time};
use crate::event::Stored;
use crate::event::route::Glob;

/// An event and where it is.
type Placed = (Stored, Vec<deliveries::Delivery>);

const PLACE: &str = "/events";
const LIMIT: usize = 50;

/// Fields of the form; what is empty was not filled in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Form {
    id: String,
    r#type: String,
    source: String,
    since: String,
    until: String,
    before: String,
}

impl Form {
    fn filter(&self, now_ms: u64) -> Result<Filter, Problem> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let at = |text: &str| match some(text) {
            None => Ok(None),
            Some(text) => time::given(&text, now_ms).map(Some).ok_or_else(|| {
                Problem::Invalid(format!("“{text}” is no time: write 2026-01-31 12:00, or 15m for so long ago"))
            }),
        };
        Ok(Filter {
            source: some(&self.source),
            kind: some(&self.r#type).map(Glob::from),
            id: some(&self.id),
            since_ms: at(&self.since)?,
            until_ms: at(&self.until)?,
        })
    }

    /// The same search from `before` on.
    fn further(&self, before: u64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("id", &self.id),
            ("type", &self.r#type),
            ("source", &self.source),
            ("since", &self.since),
            ("until", &self.until),
        ] {
            if !value.trim().is_empty() {
                query.append_pair(name, value.trim());
            }
        }
        format!("{PLACE}?{}", query.append_pair("before", &before.to_string()).finish())
    }
}

/// Events, and the form to find some.
pub async fn page(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    let form = web::Query::<Form>::from_query(request.query_string()).map(web::Query::into_inner).unwrap_or_default();
    let found = match form.filter(admin.journal.now_ms()) {
        Err(problem) => Err(problem),
        Ok(filter) => {
            let before = form.before.trim().parse().ok();
            let is_live = filter.is_all() && before.is_none();
            found(&admin, before, filter).await.map(|(found, placed)| (found, placed, is_live))
        }
    };
    let body = html! {
        h1 { "Events" button.quiet.follow hidden data-follow { "Pause" } }
        (search(&admin, &form))
        @match &found {
            Err(problem) => p.note.bad role="alert" { (problem.to_string()) },
            Ok((found, placed, is_live)) => (list(&form, found, placed, *is_live, admin.journal.now_ms())),
        }
    };
    layout::page(&admin, PLACE, "Events", &body)
}

/// The newest events, and where each is; the events of the first are in the second.
async fn found(admin: &Admin, before: Option<u64>, filter: Filter) -> Result<(Found, Vec<Placed>), Problem> {
    let mut found = events::newest(admin, before, filter, LIMIT).await?;
    let placed = deliveries::placed(admin, std::mem::take(&mut found.events)).await?;
    Ok((found, placed))
}

fn search(admin: &Admin, form: &Form) -> Markup {
    let setup = admin.setup.load();
    html! {
        form.search method="get" action=(PLACE) role="search" {
            label { "Id" input type="search" name="id" value=(form.id) placeholder="whole id" data-search; }
            label { "Type" input type="search" name="type" value=(form.r#type) placeholder="github.push*"; }
            label { "Source"
                select name="source" {
                    option value="" { "all" }
                    @for source in &setup.sources {
                        option value=(source.name) selected[source.name == form.source] { (source.name) }
                    }
                }
            }
            label { "From" input type="search" name="since" value=(form.since) placeholder="15m or 2026-01-31 12:00"; }
            label { "Until" input type="search" name="until" value=(form.until) placeholder="now"; }
            button.main { "Search" }
            @if form.filter(0).is_ok_and(|filter| !filter.is_all()) { a.quiet href=(PLACE) { "Clear" } }
        }
    }
}

fn list(form: &Form, found: &Found, placed: &[Placed], is_live: bool, now_ms: u64) -> Markup {
    let last = is_live.then(|| placed.first().map_or(0, |(stored, _)| stored.sequence));
    html! {
        div.scroll data-live=[is_live.then_some("events")] data-stream=[last] {
            table.events {
                thead { (parts::event_heads()) }
                tbody { @for (stored, deliveries) in placed { (parts::event_row(stored, deliveries, now_ms)) } }
            }
            @if placed.is_empty() { p.empty { "No event here." } }
        }
        p.pages {
            @if found.is_complete {
                span.quiet { "The journal keeps nothing older that was asked for." }
            } @else {
                span.quiet { "Looked back to position " (found.next) "." }
                // Where nothing was found so far, the script goes on by itself.
                " " a rel="next" href=(form.further(found.next)) data-further[placed.is_empty()] { @if placed.is_empty() { "Look further back" } @else { "Older" } }
            }
        }
    }
}
