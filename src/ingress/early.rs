//! What the head of a request decides alone, for a sender that asks before it sends the body.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use actix_web::http::StatusCode;
use actix_web::{HttpMessage as _, HttpResponse};

use super::{Head, Ingress, Refusal, Source, client, declared};

impl Ingress {
    /// The refusal of a request, where its body cannot change it; `None`: the body is asked for.
    pub fn refuses(&self, request: &actix_http::Request) -> Option<HttpResponse> {
        let setup = self.setup();
        let Some(source) = setup.source(request.path()) else {
            self.note_unknown(request);
            return Some(self.unknown_source());
        };
        let client = client(&setup, source, request.peer_addr(), &Head::new(request.headers()));
        let refusal = self.head(source, client, request).err()?;
        self.note(source, refusal, client.ok().flatten());
        let mut response = self.refused(source, refusal);
        // The body may be on its way all the same.
        response.head_mut().set_connection_type(actix_http::ConnectionType::Close);
        Some(response)
    }

    /// The answer where no source has the path.
    pub(super) fn unknown_source(&self) -> HttpResponse {
        self.unknown.inc();
        Refusal::UnknownSource.response(StatusCode::SERVICE_UNAVAILABLE, "POST")
    }

    /// The answer to a request that is refused, counted.
    pub(super) fn refused(&self, source: &Source, refusal: Refusal) -> HttpResponse {
        source.figures.count(super::Outcome::Refused(refusal));
        refusal.response(source.busy_status, &source.methods())
    }

    /// What the head of a request comes to, in the order in which it counts with the body as well.
    fn head(
        &self,
        source: &Source,
        client: Result<Option<IpAddr>, Refusal>,
        request: &actix_http::Request,
    ) -> Result<(), Refusal> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Refusal::ShuttingDown);
        }
        source.takes(request.method().as_str())?;
        take(source, client?, request)?;
        match declared(request.headers()) {
            Some(length) if length > source.max_body => Err(Refusal::BodyTooLarge),
            _ => Ok(()),
        }
    }
}

/// The mark of a request that was counted when its sender asked.
struct Counted;

/// Counts a request for the rates of its source, once.
///
/// # Errors
/// [`Refusal::RateLimited`].
pub(super) fn take(source: &Source, client: Option<IpAddr>, request: &actix_http::Request) -> Result<(), Refusal> {
    if request.extensions().contains::<Counted>() {
        return Ok(());
    }
    source.limits.take(client).map_err(|retry_after_s| Refusal::RateLimited { retry_after_s })?;
    if request.head().expect() {
        request.extensions_mut().insert(Counted);
    }
    Ok(())
}
