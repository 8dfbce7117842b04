//! Errors of the admin listener, as `application/problem+json` (RFC 9457).

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};

use super::openapi;

/// What was wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// A parameter or body that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The bearer token is missing or wrong.
    #[error("a bearer token is needed")]
    Unauthorized,
    /// Asked by a foreign name or from a foreign page.
    #[error("{0}")]
    Forbidden(String),
    /// The path takes other methods.
    #[error("this path takes {0}")]
    Method(String),
    /// It is not in a state for this.
    #[error("{0}")]
    Conflict(String),
    /// Too much of it waits already.
    #[error("{0}")]
    Busy(String),
    /// The journal cannot be read or written.
    #[error("{0}")]
    Failed(String),
}

impl Problem {
    /// The answer.
    pub fn response(&self) -> HttpResponse {
        self.error_response()
    }

    fn code(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request", "The request is wrong"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Not authorized"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "Not from there"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Another method is needed"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Not possible as it is"),
            Self::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many", "Too many wait"),
            Self::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "journal_failed", "The journal failed"),
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, code, title) = self.code();
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if matches!(self, Self::Unauthorized) {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if matches!(self, Self::Busy(_)) {
            response.insert_header((RETRY_AFTER, "5"));
        }
        let kind = format!("urn:hookferry:problem:{code}");
        let problem = openapi::Problem { kind, title, status: status.as_u16(), detail: self.to_string() };
        // Four plain fields: writing them cannot fail.
        response.body(serde_json::to_string(&problem).unwrap_or_default())
    }
}
