//! Why a request is not accepted, and the one place that maps it to a status.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};

use crate::journal::AppendError;
use crate::verify;

/// Why a request is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No source has this path.
    UnknownSource,
    /// The source's provider does not use this method.
    MethodNotAllowed,
    /// The sender's address is not among the allowed networks.
    AddressNotAllowed,
    /// More requests than the source, or the sender's address, may send.
    RateLimited {
        /// Seconds after which one more fits.
        retry_after_s: u32,
    },
    /// Larger than `max_body`, as sent or decoded.
    BodyTooLarge,
    /// More bodies are in memory than there is room for.
    Busy,
    /// Not received within `body_timeout`.
    BodyTimeout,
    /// The sender went away in the middle of its body.
    BodyBroken,
    /// A content encoding that is not supported, or content that is not encoded as it says.
    UnsupportedMediaType,
    /// The scheme's headers are not all there.
    SignatureMissing,
    /// Not signed with any of the secrets.
    SignatureMismatch,
    /// Signed too long ago, or in the future.
    TimestampOutOfTolerance,
    /// The sender's public key could not be fetched, or its secret not be kept.
    KeyUnavailable,
    /// Authentic, but not as the source's schema has it.
    SchemaMismatch,
    /// The journal has no room.
    JournalFull,
    /// The journal takes nothing after failed writes.
    JournalClosed,
    /// The journal did not answer within `ack_timeout`.
    JournalSlow,
    /// On disk, but not confirmed by every backend within `ack_timeout`, as `ack = "published"` asks for.
    PublishSlow,
    /// The process is about to stop.
    ShuttingDown,
}

/// What a sender is told.
struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    /// Seconds after which to try again.
    retry_after_s: Option<u32>,
    /// Whether the status is the one that makes this sender try again.
    busy: bool,
    /// Whether bytes of the request may be left unread.
    close: bool,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: &'static [Self] = &[
        Self::UnknownSource,
        Self::MethodNotAllowed,
        Self::AddressNotAllowed,
        Self::RateLimited { retry_after_s: 1 },
        Self::BodyTooLarge,
        Self::Busy,
        Self::BodyTimeout,
        Self::BodyBroken,
        Self::UnsupportedMediaType,
        Self::SignatureMissing,
        Self::SignatureMismatch,
        Self::TimestampOutOfTolerance,
        Self::KeyUnavailable,
        Self::SchemaMismatch,
        Self::JournalFull,
        Self::JournalClosed,
        Self::JournalSlow,
        Self::PublishSlow,
        Self::ShuttingDown,
    ];

    /// Whether the proof of who sent it failed.
    pub fn is_of_signature(self) -> bool {
        matches!(
            self,
            Self::SignatureMissing | Self::SignatureMismatch | Self::TimestampOutOfTolerance | Self::KeyUnavailable
        )
    }

    /// What it means, in a few words.
    pub fn title(self) -> &'static str {
        self.problem().title
    }

    fn problem(self) -> Problem {
        let plain =
            |status, code, title| Problem { status, code, title, retry_after_s: None, busy: false, close: false };
        let closing = |status, code, title| Problem { close: true, ..plain(status, code, title) };
        let later = |seconds, code, title| Problem {
            retry_after_s: Some(seconds),
            busy: true,
            ..plain(StatusCode::SERVICE_UNAVAILABLE, code, title)
        };
        match self {
            Self::UnknownSource => closing(StatusCode::NOT_FOUND, "unknown_source", "No source has this path"),
            Self::MethodNotAllowed => {
                closing(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This source does not take this method")
            }
            Self::AddressNotAllowed => {
                closing(StatusCode::FORBIDDEN, "address_not_allowed", "This address may not send to this source")
            }
            Self::RateLimited { retry_after_s } => Problem {
                retry_after_s: Some(retry_after_s),
                ..closing(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Requests come too often")
            },
            Self::BodyTooLarge => closing(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large"),
            Self::BodyTimeout => closing(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The request came too slowly"),
            Self::BodyBroken => closing(StatusCode::BAD_REQUEST, "body_broken", "The body is not complete"),
            Self::UnsupportedMediaType => plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The content encoding is not supported or not what it says",
            ),
            Self::Busy => Problem { close: true, ..later(1, "busy", "Too many large bodies are being received") },
            Self::SignatureMissing => plain(StatusCode::UNAUTHORIZED, "signature_missing", "The signature is missing"),
            Self::SignatureMismatch => {
                plain(StatusCode::UNAUTHORIZED, "signature_mismatch", "The signature does not match")
            }
            Self::TimestampOutOfTolerance => {
                plain(StatusCode::UNAUTHORIZED, "timestamp_out_of_tolerance", "The signed time is too far from now")
            }
            Self::KeyUnavailable => later(5, "key_unavailable", "The sender's key cannot be fetched or kept now"),
            Self::SchemaMismatch => {
                plain(StatusCode::UNPROCESSABLE_ENTITY, "schema_mismatch", "The content is not as its schema says")
            }
            Self::JournalFull => later(10, "journal_full", "There is no room for more events"),
            Self::JournalClosed => later(10, "journal_closed", "Events cannot be written to disk"),
            Self::JournalSlow => later(2, "journal_slow", "Events are not written to disk in time"),
            Self::PublishSlow => later(2, "publish_slow", "The event is kept, and not yet published"),
            Self::ShuttingDown => Problem { close: true, ..later(2, "shutting_down", "The service is stopping") },
        }
    }

    /// Whether both are of one kind.
    pub fn is_as(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// Its code: the end of the problem's type, and the value of the label `outcome`.
    pub fn code(self) -> &'static str {
        self.problem().code
    }

    /// The answer, as `application/problem+json` (RFC 9457).
    ///
    /// - `busy`: the status that makes this sender try again later;
    /// - `methods`: what a 405 allows.
    pub fn response(self, busy: StatusCode, methods: &str) -> HttpResponse {
        let problem = self.problem();
        let status = if problem.busy { busy } else { problem.status };
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = problem.retry_after_s {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if self == Self::MethodNotAllowed {
            response.insert_header((ALLOW, methods));
        }
        if problem.close {
            response.force_close();
        }
        let (code, title) = (problem.code, problem.title);
        response.body(format!(
            r#"{{"type":"urn:hookferry:problem:{code}","title":"{title}","status":{},"detail":"{title}."}}"#,
            status.as_u16()
        ))
    }
}

impl From<verify::Refusal> for Refusal {
    fn from(refusal: verify::Refusal) -> Self {
        match refusal {
            verify::Refusal::Missing => Self::SignatureMissing,
            verify::Refusal::Mismatch => Self::SignatureMismatch,
            verify::Refusal::Stale { .. } => Self::TimestampOutOfTolerance,
            verify::Refusal::KeyAbsent => Self::KeyUnavailable,
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::JournalFull,
            AppendError::Closed | AppendError::Failed => Self::JournalClosed,
            AppendError::Slow => Self::JournalSlow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_never_a_redirect_a_410_or_a_5xx_that_a_sender_causes() {
        for refusal in Refusal::ALL {
            let status = refusal.response(StatusCode::SERVICE_UNAVAILABLE, "POST").status().as_u16();
            assert!((400..=499).contains(&status) || status == 503, "{refusal:?}: {status}");
            assert_ne!(status, 410);
            assert_eq!(status == 503, refusal.problem().busy, "{refusal:?}");
            assert_eq!(status == 503 || status == 429, refusal.problem().retry_after_s.is_some(), "{refusal:?}");
        }
    }

    #[test]
    fn a_busy_answer_has_the_status_that_the_provider_retries() {
        let response = Refusal::JournalFull.response(StatusCode::TOO_MANY_REQUESTS, "POST");
        assert_eq!(response.status(), 429);
        assert!(response.headers().contains_key(RETRY_AFTER));
        assert_eq!(Refusal::SignatureMissing.response(StatusCode::TOO_MANY_REQUESTS, "POST").status(), 401);
        let limited = Refusal::RateLimited { retry_after_s: 7 }.response(StatusCode::SERVICE_UNAVAILABLE, "POST");
        assert_eq!(
            (limited.status().as_u16(), limited.headers().get(RETRY_AFTER).unwrap().as_bytes()),
            (429, &b"7"[..])
        );
    }
}
