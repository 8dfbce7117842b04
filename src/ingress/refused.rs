//! Notes what is refused, for the person who looks why.

use std::net::IpAddr;

use super::{Ingress, Refusal, Source};
use crate::event::Request;
use crate::verify;

/// The name under which requests to no source are noted and counted; no source can have it.
pub const UNKNOWN: &str = "_unknown";

impl Ingress {
    /// Notes a request that its signature has nothing to do with.
    pub(super) fn note(&self, source: &Source, refusal: Refusal, client: Option<IpAddr>) {
        let now_ms = self.journal.now_ms();
        self.refusals.note(source.name.as_str(), refusal.code(), client, now_ms, || vec![refusal.title().to_owned()]);
    }

    /// Notes a request whose signature does not hold, with what the check saw.
    pub(super) fn note_unproved(
        &self,
        source: &Source,
        why: verify::Refusal,
        client: Option<IpAddr>,
        request: &Request,
    ) -> Refusal {
        let refusal = Refusal::from(why);
        let now_ms = self.journal.now_ms();
        let now_s = (now_ms / 1000) as i64;
        let seen = || verify::explain(&source.provider.rule, &source.keys.load(), request, why, now_s);
        self.refusals.note(source.name.as_str(), refusal.code(), client, now_ms, seen);
        refusal
    }

    /// Notes a request to a path that no source has.
    pub(super) fn note_unknown(&self, request: &actix_http::Request) {
        let client = request.peer_addr().map(|address| address.ip());
        let seen = || vec![format!("no source has the path `{}`", request.path())];
        self.refusals.note(UNKNOWN, Refusal::UnknownSource.code(), client, self.journal.now_ms(), seen);
    }
}
