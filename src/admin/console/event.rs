//! `/events/{sequence}`: one event in full, where it is, and how to send it again.

use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};
use url::form_urlencoded;

use super::{body, go, layout, parts};
use crate::admin::dead::blocking;
use crate::admin::deliveries::{Delivery, Places};
use crate::admin::events::{find, sequence};
use crate::admin::problem::Problem;
use crate::admin::{Admin, replay};
use crate::event::Stored;

const PLACE: &str = "/events";

/// One event.
pub async fn page(path: web::Path<String>, request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    let read = async {
        let stored = find(&admin, sequence("position", &path)?).await?;
        let (places, wanted) = (Places::of(&admin), stored.clone());
        let states = blocking(move || places.find(&wanted)).await?;
        Ok::<_, Problem>((stored, states))
    };
    match read.await {
        Err(problem) => layout::problem(&admin, PLACE, &problem),
        Ok((stored, states)) => {
            let is_ordered = request.query_string() == "done=replay";
            layout::page(&admin, PLACE, &stored.envelope.kind, &show(&stored, &states, is_ordered))
        }
    }
}

/// Has the event published again.
pub async fn replay(path: web::Path<String>, form: web::Bytes, admin: web::Data<Admin>) -> HttpResponse {
    let backend =
        form_urlencoded::parse(&form).find(|(name, _)| name == "backend").map(|(_, value)| value.into_owned());
    let order = async {
        let wanted = sequence("position", &path)?;
        replay::again(&admin, wanted, &backend.unwrap_or_default()).await?;
        Ok::<_, Problem>(wanted)
    };
    match order.await {
        Ok(wanted) => go(&format!("{PLACE}/{wanted}?done=replay")),
        Err(problem) => layout::problem(&admin, PLACE, &problem),
    }
}

fn show(stored: &Stored, states: &[Delivery], is_ordered: bool) -> Markup {
    let event = &stored.envelope;
    html! {
        p.path { a href=(PLACE) { "Events" } " / " span.mono { (stored.sequence_text()) } }
        h1.text { (event.kind) }
        @if is_ordered { p.note.good role="status" { "It is ordered to be published again." } }
        div.columns {
            section {
                h2 { "Where it is" }
                @if states.is_empty() { p.empty { "No backend is configured; it stays in the journal for its readers." } }
                @else {
                    table { tbody { @for state in states {
                        tr {
                            td { a href="/backends" { (state.backend) } }
                            td { (parts::state(state.state.label())) }
                            td.wide.quiet { (state.detail) @if let Some(seconds) = state.seconds { (parts::took(seconds)) " after its receipt" } }
                            td.right {
                                form method="post" action=(format!("{PLACE}/{}/replay", stored.sequence)) {
                                    input type="hidden" name="backend" value=(state.backend);
                                    button { "Replay" }
                                }
                            }
                        }
                    } } }
                }
                h2 { "Envelope" }
                dl { (attributes(stored)) }
            }
            section {
                h2 { "Body" span.quiet { (parts::size(event.body.len() as u64)) } }
                (body::show(event))
                h2 { "Kept headers" }
                (headers(event.http_headers.as_deref()))
            }
        }
    }
}

fn attributes(stored: &Stored) -> Markup {
    let mut all = Vec::new();
    stored.attributes(|name, value| {
        if name != "httpheaders" {
            all.push((name, value.to_owned()));
        }
    });
    html! { @for (name, value) in all { dt { (name) } dd.mono { (value) } } }
}

fn headers(kept: Option<&str>) -> Markup {
    let kept: serde_json::Map<String, serde_json::Value> =
        kept.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    html! {
        @if kept.is_empty() { p.empty { "None. " code { "headers" } " of the source says which are kept." } }
        dl { @for (name, value) in &kept { dt { (name) } dd.mono { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) } } }
    }
}
