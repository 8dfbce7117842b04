//! What the head of a request decides alone, for a sender that asks before it sends the body.

use actix_web::http::StatusCode;
use actix_web::{HttpMessage as _, HttpResponse};

use super::{Head, Ingress, Refusal, Source, client, declared};
use crate::ingress::setup::Setup;

impl Ingress {
    /// The refusal of a request, where its body cannot change it; `None`: the body is asked for.
    ///
    /// Rates are for whoever goes on: they are taken once, with the body.
    pub fn refuses(&self, request: &actix_http::Request) -> Option<HttpResponse> {
        let setup = self.setup();
        let Some(source) = setup.source(request.path()) else { return Some(self.unknown_source()) };
        let mut response = self.refused(source, head(&setup, source, request).err()?);
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
        tracing::info!(source = %source.name, outcome = refusal.code(), "request refused");
        refusal.response(source.busy_status, &source.methods())
    }
}

fn head(setup: &Setup, source: &Source, request: &actix_http::Request) -> Result<(), Refusal> {
    source.takes(request.method().as_str())?;
    client(setup, source, request.peer_addr(), &Head::new(request.headers()))?;
    match declared(request.headers()) {
        Some(length) if length > source.max_body => Err(Refusal::BodyTooLarge),
        _ => Ok(()),
    }
}
