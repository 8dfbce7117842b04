//! Every path of the listener, in one table; the document that describes the API is tested against it.

use std::collections::BTreeMap;

use actix_web::http::header::ALLOW;
use actix_web::{HttpResponse, Route, web};

use super::problem::Problem;
use super::{
    backends, console, consumers, dead, deliveries, events, health, log_level, openapi, refusals, replay, stream,
};

/// One method of one path.
pub struct Entry {
    /// Upper case.
    pub method: &'static str,
    /// With `{names}`.
    pub path: &'static str,
    route: fn() -> Route,
}

macro_rules! table {
    ($($method:ident $path:literal $handler:path;)+) => {
        &[$(Entry { method: stringify!($method), path: $path, route: || table!(@$method).to($handler) }),+]
    };
    (@GET) => { web::get() };
    (@POST) => { web::post() };
    (@PUT) => { web::put() };
    (@DELETE) => { web::delete() };
}

/// For programs.
pub const API: &[Entry] = table! {
    GET "/livez" health::live;
    GET "/readyz" health::ready;
    GET "/metrics" health::metrics;
    GET "/openapi.json" openapi::show;
    GET "/v1/status" health::status;
    GET "/v1/log-level" log_level::show;
    PUT "/v1/log-level" log_level::put;
    GET "/v1/sources" health::sources;
    GET "/v1/refusals" refusals::list;
    GET "/v1/events" events::list;
    GET "/v1/events/stream" stream::stream;
    GET "/v1/events/{sequence}" events::show;
    GET "/v1/events/{sequence}/deliveries" deliveries::list;
    POST "/v1/events/{sequence}/replay" replay::event;
    GET "/v1/consumers" consumers::list;
    GET "/v1/consumers/{name}/events" consumers::events;
    PUT "/v1/consumers/{name}" consumers::put;
    DELETE "/v1/consumers/{name}" consumers::delete;
    GET "/v1/backends" backends::list;
    POST "/v1/backends/{name}/pause" backends::pause;
    POST "/v1/backends/{name}/resume" backends::resume;
    GET "/v1/dead-letters" dead::list;
    GET "/v1/dead-letters/{id}" dead::show;
    DELETE "/v1/dead-letters/{id}" dead::delete;
    POST "/v1/dead-letters/{id}/replay" dead::replay;
    GET "/v1/replays" replay::list;
    POST "/v1/replays" replay::range;
    DELETE "/v1/replays/{id}" replay::cancel;
};

/// For people.
pub const CONSOLE: &[Entry] = table! {
    GET "/" console::overview::page;
    GET "/events" console::events::page;
    GET "/events/{sequence}" console::event::page;
    POST "/events/{sequence}/replay" console::event::replay;
    GET "/refused" console::refused::page;
    GET "/sources" console::sources::page;
    GET "/backends" console::backends::page;
    POST "/backends/{name}/pause" console::backends::pause;
    POST "/backends/{name}/resume" console::backends::resume;
    GET "/dead-letters" console::dead::page;
    POST "/dead-letters" console::dead::act;
    GET "/login" console::login::page;
    POST "/login" console::login::enter;
    POST "/logout" console::login::leave;
    GET "/assets/console.css" console::assets::css;
    GET "/assets/console.js" console::assets::js;
    GET "/assets/icon.svg" console::assets::icon;
};

/// Puts both tables into an application.
pub fn configure(app: &mut web::ServiceConfig) {
    // In the table's order: a fixed path stands before one with names.
    let mut paths: Vec<&str> = Vec::new();
    let mut entries: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in API.iter().chain(CONSOLE) {
        if !paths.contains(&entry.path) {
            paths.push(entry.path);
        }
        entries.entry(entry.path).or_default().push(entry);
    }
    for path in paths {
        let Some(entries) = entries.remove(path) else { continue };
        let methods: Vec<_> = entries.iter().map(|entry| entry.method).collect();
        let methods = methods.join(", ");
        let mut resource = web::resource(path);
        for entry in entries {
            resource = resource.route((entry.route)());
        }
        app.service(resource.default_service(web::to(move || {
            let methods = methods.clone();
            async move { wrong_method(methods) }
        })));
    }
    app.default_service(web::to(|| async { Problem::NotFound("this path does not exist".to_owned()).response() }));
}

fn wrong_method(methods: String) -> HttpResponse {
    let mut response = Problem::Method(methods.clone()).response();
    if let Ok(methods) = methods.parse() {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}
