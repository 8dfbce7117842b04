//! The sender's side: the very headers that a rule reads, for `hookferry send` and for tests.

use super::{Family, KeySet, Keys, Rule};
use crate::event::Request;

/// A request that is being written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// Upper-case method.
    pub method: String,
    /// Path of the request target.
    pub path: String,
    /// Query without the `?`; empty if none.
    pub query: String,
    /// URL that the sender was given, where the signature covers it.
    pub public_url: Option<String>,
    /// Headers, in their order.
    pub headers: Vec<(String, String)>,
    /// Body bytes.
    pub body: Vec<u8>,
}

impl Draft {
    /// The draft as its receiver sees it.
    pub fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
            public_url: self.public_url.as_deref(),
        }
    }

    /// Sets a header, in place of all that had the name.
    pub fn set_header(&mut self, name: &str, value: impl Into<String>) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
    }
}

/// Why a draft cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A header, query parameter or URL that the signature covers is absent.
    #[error("the request lacks a header, parameter or public URL that the signature covers")]
    Incomplete,
    /// The keys are of another rule, or cannot stand in a header.
    #[error("the keys do not fit the rule")]
    WrongKeys,
}

/// Adds the headers by which [`super::check`] believes `draft`, made with the first key. A rule that checks
/// nothing adds none.
///
/// - `now_s`: Unix time, seconds.
///
/// # Errors
/// See [`SignError`].
pub fn sign(rule: &Rule, keys: &Keys, draft: &mut Draft, now_s: i64) -> Result<(), SignError> {
    match (&rule.0, &keys.0) {
        (Family::Hmac(rule), KeySet::Hmac(keys)) => rule.sign(keys, draft, now_s),
        (Family::Token(rule), KeySet::Token(keys)) => rule.sign(keys, draft),
        (Family::None, KeySet::None) => Ok(()),
        _ => Err(SignError::WrongKeys),
    }
}
