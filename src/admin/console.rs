//! The console: what an operator sees in a browser. Rendered here, embedded, without anything from elsewhere.
//!
//! Works without scripts; with them, figures and events come by themselves. Everything that senders wrote is escaped by
//! the renderer, and the policy of the answers lets no script run but the one file that is served.

pub mod assets;
pub mod backends;
pub mod body;
pub mod dead;
pub mod event;
pub mod events;
pub mod layout;
pub mod login;
pub mod overview;
pub mod parts;
pub mod refused;
pub mod sources;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use maud::Markup;

/// What a page may load and do. Nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Paths that are answered without the token: what the login itself needs.
pub fn is_open(path: &str) -> bool {
    matches!(path, "/login" | "/assets/console.css" | "/assets/console.js" | "/assets/icon.svg")
}

/// Whether a path is a page for people.
pub fn is_page(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    matches!(first, "" | "events" | "refused" | "sources" | "backends" | "dead-letters")
}

/// A whole page as an answer.
pub fn answer(status: StatusCode, page: Markup) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    secure(&mut response);
    response.insert_header((CONTENT_TYPE, "text/html; charset=utf-8"));
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.body(page.into_string())
}

/// Sends the browser to a page of this listener by GET.
pub fn go(to: &str) -> HttpResponse {
    let mut response = HttpResponse::SeeOther();
    secure(&mut response);
    response.insert_header((LOCATION, to)).finish()
}

fn secure(response: &mut actix_web::HttpResponseBuilder) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        // `no-referrer` would make the Origin of our own forms `null`.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        response.insert_header((name, value));
    }
}
