//! `GET /openapi.json`: the API as OpenAPI 3.1, derived from its handlers and types.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi, ToSchema};

use super::{backends, consumers, dead, deliveries, events, health, log_level, refusals, replay, stream};

/// Media type of an error.
const PROBLEM: &str = "application/problem+json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "hookferry admin API",
        description = "What was accepted, what was refused, where events are, and what an operator can do about it. \
            Positions are texts of 20 digits; any number of digits is read. A request that changes something is \
            refused where its Host, Origin or Sec-Fetch-Site is another site's."
    ),
    paths(
        health::live, health::ready, health::metrics, show, health::status, log_level::show, log_level::put, health::sources, refusals::list,
        events::list, stream::stream, events::show, deliveries::list, replay::event, consumers::list, consumers::events, consumers::put,
        consumers::delete, backends::list, backends::pause, backends::resume, dead::list, dead::show, dead::delete,
        dead::replay, replay::list, replay::range, replay::cancel,
    ),
    components(schemas(Problem, Event)),
    modifiers(&Common),
    security(("bearer" = [])),
)]
struct Document;

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// `urn:hookferry:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: &'static str,
    /// The status.
    pub status: u16,
    /// What is wrong here.
    pub detail: String,
}

/// One accepted event: CloudEvents 1.0, structured; `data` holds the bytes of a JSON body as they came.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is written from the envelope's parts, so that the bytes of `data` stay")]
pub struct Event {
    #[schema(pattern = "^1\\.0$")]
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    subject: Option<String>,
    datacontenttype: Option<String>,
    partitionkey: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    clientip: Option<String>,
    httpheaders: Option<String>,
    time: String,
    recordedtime: String,
    #[schema(pattern = "^[0-9]{20}$")]
    sequence: String,
    deliveryid: String,
    provider: String,
    verification: String,
    bodysha256: String,
    data: Option<serde_json::Value>,
    data_base64: Option<String>,
}

/// What every operation shares: the token, and its errors.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten() {
                let is_probe = operation.security.is_some();
                let errors: &[_] = if is_probe { &["405"] } else { &["401", "403", "default"] };
                for status in errors {
                    let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
                    let mut response = Response::new("An error.");
                    response.content.insert(PROBLEM.to_owned(), content.into());
                    operation.responses.responses.insert((*status).to_owned(), RefOr::T(response));
                }
            }
        }
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses((status = 200, body = Object)))]
pub async fn show() -> HttpResponse {
    HttpResponse::Ok().json(Document::openapi())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin::routes;

    #[test]
    fn the_document_describes_the_routes_and_no_others() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            described
                .extend(item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
        }
        let served: BTreeSet<_> = routes::API.iter().map(|entry| format!("{} {}", entry.method, entry.path)).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn a_problem_is_what_the_document_says() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let required = document["components"]["schemas"]["Problem"]["required"].clone();
        assert_eq!(required, serde_json::json!(["type", "title", "status", "detail"]));
    }
}
