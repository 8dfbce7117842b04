//! The vocabulary that every other module speaks: names, secrets, requests as data, events and positions.
//!
//! Reading order: [`Envelope`] (what is kept and published), [`Stored`] (an envelope and its place
//! in the journal), [`cloudevents`] (how it looks to a consumer).
//!
//! Knows nothing of HTTP servers, files or brokers.

pub mod cloudevents;
pub mod envelope;
pub mod form;
pub mod json;
pub mod names;
pub mod options;
pub mod route;
pub mod schema;
pub mod secret;
pub mod units;

pub use envelope::{Envelope, Stored};
pub use names::{BackendName, ConsumerName, SourceName};
pub use options::{Options, Setting};
pub use secret::{Secret, SecretRef};

/// Request headers, as verification and extraction need them; names are compared without case.
pub trait Headers {
    /// The `n`-th value (from 0) of the header `name` (lower case), raw bytes; `None` past the last one.
    fn nth(&self, name: &str, n: usize) -> Option<&[u8]>;
}

/// Header lists of tests, of providers' examples and of requests that are being signed.
impl Headers for Vec<(String, String)> {
    fn nth(&self, name: &str, n: usize) -> Option<&[u8]> {
        self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).nth(n).map(|(_, value)| value.as_bytes())
    }
}

/// One received request as pure data: what verification and extraction look at.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Upper-case method, e.g. `POST`.
    pub method: &'a str,
    /// Path of the request target, as sent.
    pub path: &'a str,
    /// Query of the request target, as sent, without the `?`; empty if none.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a dyn Headers,
    /// Body bytes exactly as they came over the wire (still content-encoded).
    pub body: &'a [u8],
    /// URL that the sender was given (`public_url`), for providers that sign the URL.
    pub public_url: Option<&'a str>,
}
