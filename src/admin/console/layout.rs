//! What all pages share: head, navigation, state at a glance.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::{answer, parts};
use crate::admin::Admin;
use crate::admin::health::readiness;
use crate::admin::problem::Problem;
use crate::dispatch::aside;
use crate::telemetry::metrics;

/// Places of the navigation: path, name, key.
const PLACES: [(&str, &str, &str); 6] = [
    ("/", "Overview", "o"),
    ("/events", "Events", "e"),
    ("/refused", "Refused", "r"),
    ("/sources", "Sources", "s"),
    ("/backends", "Backends", "b"),
    ("/dead-letters", "Dead letters", "d"),
];

/// A document around `body`.
pub fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · hookferry" }
                link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/console.css";
                script src="/assets/console.js" defer {}
            }
            body { (body) }
        }
    }
}

/// Dead letters of all backends, and what schemas have set aside.
pub fn dead_letters(admin: &Admin) -> i64 {
    let figures = &admin.parts.metrics.dead_letters;
    let of = |name: &str| figures.get(&metrics::backend(name)).map_or(0, |count| count.get());
    admin.dispatch.lanes().iter().map(|lane| of(lane.name.as_str())).sum::<i64>() + of(aside::HOLDER)
}

/// A page of the console.
pub fn page(admin: &Admin, place: &str, title: &str, body: &Markup) -> HttpResponse {
    page_with(admin, StatusCode::OK, place, title, body)
}

/// An error as a page.
pub fn problem(admin: &Admin, place: &str, problem: &Problem) -> HttpResponse {
    let status = problem.response().status();
    let body = html! { h1 { (status.canonical_reason().unwrap_or("Error")) } p.note.bad { (problem.to_string()) } };
    page_with(admin, status, place, "Error", &body)
}

fn page_with(admin: &Admin, status: StatusCode, place: &str, title: &str, body: &Markup) -> HttpResponse {
    let ready = readiness(admin);
    let dead = dead_letters(admin);
    let (class, word) = match (ready.reasons.is_empty(), ready.degraded.is_empty()) {
        (false, _) => ("bad", "not taking events"),
        (true, false) => ("warn", "degraded"),
        (true, true) => ("good", "taking events"),
    };
    let up_s = admin.journal.now_ms().saturating_sub(admin.started_ms) / 1000;
    let shell = html! {
        a.skip href="#main" { "Skip to content" }
        header.top {
            a.brand href="/" { "hookferry" }
            nav aria-label="Console" {
                @for (path, name, key) in PLACES {
                    a href=(path) data-key=(key) aria-current=[(path == place).then_some("page")] {
                        (name)
                        @if path == "/dead-letters" && dead > 0 { " " span.count { (dead) } }
                    }
                }
            }
            div.right {
                span.pill.(class) role="status" data-live="state" { (word) }
                @if admin.setup.load().token.is_some() {
                    form method="post" action="/logout" { button.quiet { "Sign out" } }
                }
            }
        }
        main #main tabindex="-1" { (body) }
        footer {
            span { "hookferry " (env!("CARGO_PKG_VERSION")) }
            span { "up " (parts::span(up_s)) }
            span { "times are UTC" }
            a href="/openapi.json" { "API" }
            a href="/metrics" { "metrics" }
            span.keys { "keys: o e r s b d, / to search" }
        }
    };
    answer(status, document(title, &shell))
}
