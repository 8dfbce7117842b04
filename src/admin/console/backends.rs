//! `/backends`: where events go, what waits and why; pause and resume.

use actix_web::{HttpResponse, web};
use maud::{Markup, html};

use super::{go, layout, parts};
use crate::admin::Admin;
use crate::admin::backends::{all, set_paused};

const PLACE: &str = "/backends";

/// All backends.
pub async fn page(admin: web::Data<Admin>) -> HttpResponse {
    let body = html! {
        h1 { "Backends" }
        p.lead { "A paused backend's events wait in the journal; senders notice nothing." }
        div data-live="backends" { (table(&admin, true)) }
    };
    layout::page(&admin, PLACE, "Backends", &body)
}

/// Pauses one.
pub async fn pause(path: web::Path<String>, admin: web::Data<Admin>) -> HttpResponse {
    change(&admin, &path, true)
}

/// Lets one go on.
pub async fn resume(path: web::Path<String>, admin: web::Data<Admin>) -> HttpResponse {
    change(&admin, &path, false)
}

fn change(admin: &Admin, name: &str, paused: bool) -> HttpResponse {
    match set_paused(admin, name, paused) {
        Ok(_) => go(PLACE),
        Err(problem) => layout::problem(admin, PLACE, &problem),
    }
}

/// All backends; `whole`: with their last errors and what can be done.
pub fn table(admin: &Admin, whole: bool) -> Markup {
    let backends = all(admin);
    let history = &admin.history;
    html! {
        div.scroll {
            @if backends.is_empty() { p.empty { "None is configured: events stay in the journal for its readers." } }
            @else {
                table {
                    thead { tr {
                        th { "Backend" } th { "State" } th.right { "Waiting" } th.right { "Oldest" } th.right { "Published" } th { "Rate, last hour" } th { "Waiting, last hour" }
                        @if whole { th.right { "Failed tries" } th { "Last error" } th {} }
                    } }
                    tbody { @for backend in &backends {
                        @let rate = history.rate(&format!("published:{}", backend.name));
                        @let waiting = history.values(&format!("backlog:{}", backend.name));
                        tr {
                            td { (backend.name) }
                            td { (parts::state(backend.state)) }
                            td.right data-label="waiting" { (parts::number(backend.backlog_events)) }
                            td.right data-label="oldest" { (if backend.backlog_events > 0 { parts::span(backend.backlog_age_seconds as u64) } else { "–".to_owned() }) }
                            td.right title="a second, now" data-label="published" { (parts::figure(parts::last(&rate))) "/s" }
                            td.drawn { (parts::picture(&rate, "published a second")) }
                            td.drawn { (parts::picture(&waiting, "waiting")) }
                            @if whole {
                                td.right data-label="failed tries" { (backend.attempts) }
                                td.wide { @if let Some(error) = &backend.last_error {
                                    span.quiet { (parts::span(error.seconds_ago)) " ago: " } strong { (error.reason) } " " (error.detail)
                                } @else { span.quiet { "no error" } } }
                                td.right { (button(&backend.name, backend.state == "paused")) }
                            }
                        }
                    } }
                }
            }
        }
    }
}

fn button(name: &str, is_paused: bool) -> Markup {
    let (verb, word) = if is_paused { ("resume", "Resume") } else { ("pause", "Pause") };
    html! {
        form method="post" action=(format!("{PLACE}/{name}/{verb}")) {
            button aria-label=(format!("{word} {name}")) { (word) }
        }
    }
}
