//! The sender's side: the very headers that a rule reads, for `hookferry send` and for tests.

use super::basic;
use super::keyset::{KeySet, Keys};
use super::rule::{Family, Rule};
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

    /// Changes the query parameter `name`: `None` is its absence.
    pub fn edit_query(&mut self, name: &str, edit: impl FnOnce(Option<String>) -> Option<String>) {
        self.query = edit_pairs(&self.query, name, edit);
    }

    /// Changes the field `name` of a URL-encoded form: `None` is its absence.
    pub fn edit_form(&mut self, name: &str, edit: impl FnOnce(Option<String>) -> Option<String>) {
        self.body = edit_pairs(&String::from_utf8_lossy(&self.body), name, edit).into_bytes();
    }
}

/// `pairs` (URL-encoded) with another value of `name`.
fn edit_pairs(pairs: &str, name: &str, edit: impl FnOnce(Option<String>) -> Option<String>) -> String {
    let parse = || url::form_urlencoded::parse(pairs.as_bytes());
    let old = parse().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    out.extend_pairs(parse().filter(|(key, _)| key != name));
    if let Some(value) = edit(old) {
        out.append_pair(name, &value);
    }
    out.finish()
}

/// Why a draft cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A header, query parameter or URL that the signature covers is absent.
    #[error("the request lacks a header, parameter or public URL that the signature covers")]
    Incomplete,
    /// The rule checks signatures of a private key, which only the sender has.
    #[error("the sender signs with a private key that nobody else has")]
    Private,
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
    match (&rule.family, &*keys.own) {
        (Family::Hmac(rule), KeySet::Hmac(keys)) => rule.sign(keys, draft, now_s),
        (Family::Digest(rule), KeySet::Secret(keys)) => rule.sign(keys, draft, now_s),
        (Family::Public(_) | Family::Sns(_) | Family::TrueLayer(_), KeySet::Public(_)) => Err(SignError::Private),
        (Family::Jwt(rule), KeySet::Jwt(keys)) => rule.sign(keys, draft, now_s),
        (Family::Token(rule), KeySet::Token(keys)) => rule.sign(keys, draft),
        (Family::Basic, KeySet::Basic(keys)) => basic::sign(keys, draft),
        (Family::None, KeySet::None) => Ok(()),
        _ => Err(SignError::WrongKeys),
    }
}

/// Changes the text in which the signature or token of `draft` stands, wherever that is; `None` is its absence.
/// For faulty requests on purpose.
pub fn edit_signature(rule: &Rule, draft: &mut Draft, edit: impl FnOnce(Option<String>) -> Option<String>) {
    match rule.signature_field() {
        Some(field) => field.edit(draft, edit),
        None if matches!(rule.family, Family::Basic) => {
            let old = draft.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(basic::HEADER));
            match edit(old.map(|(_, value)| value.clone())) {
                Some(value) => draft.set_header(basic::HEADER, value),
                None => draft.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(basic::HEADER)),
            }
        }
        None => {}
    }
}
