//! Proof of who sent a request: a [`Rule`] (data), [`Keys`] (decoded secrets), and [`check`].
//!
//! ```text
//! Spec ─► Rule ─┐                         ┌─► Verified
//!               ├─ check(request, now) ───┤
//! Secret ► Keys ┘                         └─► Refusal: Missing · Mismatch · Stale
//! ```
//! Reading order: [`Spec`], [`check`], then one file a family: `hmac`, `token`. What they share: `field` (where a
//! value stands), `stamp` (the replay window), `template` (what is signed), `key` (how a secret is written),
//! `sign` (the sender's side).
//!
//! Invariants
//! - Pure: no clock, no I/O. The bytes that are checked are the bytes as they came over the wire.
//! - Every key is tried against every signature, and compared in constant time.
//! - A header that stands twice proves nothing: proxies and applications differ in which one they read.
//! - The signature is checked before the time, so a refusal never tells a forger that only the time was wrong.
//! - No request makes anything here panic.
//!
//! Knows nothing of providers, HTTP servers or configuration files.

mod field;
mod hmac;
mod key;
mod sign;
mod stamp;
mod template;
mod token;

use std::time::Duration;

use serde::Deserialize;

use crate::event::{Request, Secret};

pub use field::FieldSpec;
pub use hmac::{Encoding, Hash, HmacSpec};
pub use key::SecretForm;
pub use sign::{Draft, SignError, sign};
pub use stamp::{StampSpec, Unit};
pub use token::TokenSpec;

/// Most signatures of one request that are looked at: rotation needs two, an attacker would send thousands.
pub const MAX_SIGNATURES: usize = 16;

/// `[verify]`: how a provider proves that a request is its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Spec {
    /// Keyed hash over parts of the request.
    Hmac(HmacSpec),
    /// The secret itself, in a header.
    Token(TokenSpec),
    /// Nothing proves the sender.
    None {},
}

/// What is wrong with a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct RuleError {
    /// The key of the `[verify]` table.
    pub key: &'static str,
    /// What is wrong, to be read after the key.
    pub problem: String,
}

impl RuleError {
    fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

/// Why secrets cannot serve as the keys of a rule. Never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The rule needs a secret, and there is none.
    #[error("at least one secret is needed")]
    Absent,
    /// The rule checks nothing, so a secret would be ignored.
    #[error("a source that verifies nothing takes no secrets")]
    Unused,
    /// A secret is not written as its provider writes them.
    #[error("secret {number} is not {expected}")]
    Malformed { number: usize, expected: String },
}

/// Why a request is not believed. The ingress answers 401 with this and never more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No signature, no timestamp, or no other header that the signature covers.
    #[error("signature is missing")]
    Missing,
    /// No signature of the request is one that our keys give.
    #[error("signature does not match")]
    Mismatch,
    /// The signature is right, but of another time: a replay, or a wrong clock.
    #[error("timestamp is {skew_s} s off, {tolerance_s} s are tolerated")]
    Stale { skew_s: u64, tolerance_s: u64 },
}

/// Proof that [`check`] accepted a request; nothing else makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    method: &'static str,
    key: Option<usize>,
}

impl Verified {
    /// The attribute `verification`: `hmac-sha256`, `token`, `none`.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Position of the secret that matched, 0 the newest; `None` where nothing was checked.
    pub fn key(&self) -> Option<usize> {
        self.key
    }
}

/// A compiled [`Spec`].
#[derive(Debug, Clone)]
pub struct Rule(Family);

#[derive(Debug, Clone)]
enum Family {
    Hmac(hmac::Hmac),
    Token(token::Token),
    None,
}

/// Secrets, decoded and prepared for one rule.
pub struct Keys(KeySet);

enum KeySet {
    Hmac(Vec<hmac::State>),
    Token(Vec<token::Key>),
    None,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys([redacted])")
    }
}

impl Rule {
    /// Compiles `spec`.
    ///
    /// # Errors
    /// The first key that cannot be, and why.
    pub fn new(spec: Spec) -> Result<Self, RuleError> {
        Ok(Self(match spec {
            Spec::Hmac(spec) => Family::Hmac(hmac::Hmac::new(spec)?),
            Spec::Token(spec) => Family::Token(token::Token::new(spec)?),
            Spec::None {} => Family::None,
        }))
    }

    /// The same rule with another replay window.
    ///
    /// # Errors
    /// The scheme carries no time, so a window would be without effect.
    pub fn with_tolerance(mut self, tolerance: Duration) -> Result<Self, RuleError> {
        match self.stamp_mut() {
            Some(stamp) => stamp.tolerance_s = tolerance.as_secs(),
            None => return Err(RuleError::new("tolerance", "has no effect: this scheme carries no timestamp")),
        }
        Ok(self)
    }

    /// Decodes `secrets`, newest first.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn keys(&self, secrets: &[Secret]) -> Result<Keys, KeyError> {
        match (&self.0, secrets.is_empty()) {
            (Family::None, true) => Ok(Keys(KeySet::None)),
            (Family::None, false) => Err(KeyError::Unused),
            (_, true) => Err(KeyError::Absent),
            (Family::Hmac(rule), _) => rule.keys(secrets).map(|keys| Keys(KeySet::Hmac(keys))),
            (Family::Token(rule), _) => Ok(Keys(KeySet::Token(rule.keys(secrets)))),
        }
    }

    /// The attribute `verification` of what this rule accepts: `hmac-sha256`, `token`, `none`.
    pub fn method(&self) -> &'static str {
        match &self.0 {
            Family::Hmac(rule) => rule.hash.method(),
            Family::Token(_) => "token",
            Family::None => "none",
        }
    }

    /// Lower-case name of the header that holds the signature or the token; it never leaves the ingress.
    pub fn signature_header(&self) -> Option<&str> {
        match &self.0 {
            Family::Hmac(rule) => Some(rule.signature.header()),
            Family::Token(rule) => Some(rule.token.header()),
            Family::None => None,
        }
    }

    /// Lower-case name of the header that holds the time of signing.
    pub fn timestamp_header(&self) -> Option<&str> {
        self.stamp().map(|stamp| stamp.field.header())
    }

    /// Replay window, seconds; `None` where the scheme carries no time.
    pub fn tolerance_s(&self) -> Option<u64> {
        self.stamp().map(|stamp| stamp.tolerance_s)
    }

    /// Whether a changed body is refused.
    pub fn covers_body(&self) -> bool {
        matches!(&self.0, Family::Hmac(rule) if rule.message.covers_body())
    }

    /// Lower-case names of the headers that the signature covers.
    pub fn covered_headers(&self) -> Vec<&str> {
        match &self.0 {
            Family::Hmac(rule) => rule.message.headers().collect(),
            Family::Token(_) | Family::None => Vec::new(),
        }
    }

    /// Whether the signature covers the URL, so that a source needs `public_url`.
    pub fn needs_url(&self) -> bool {
        matches!(&self.0, Family::Hmac(rule) if rule.message.needs_url())
    }

    fn stamp(&self) -> Option<&stamp::Stamp> {
        match &self.0 {
            Family::Hmac(rule) => rule.timestamp.as_ref(),
            Family::Token(_) | Family::None => None,
        }
    }

    fn stamp_mut(&mut self) -> Option<&mut stamp::Stamp> {
        match &mut self.0 {
            Family::Hmac(rule) => rule.timestamp.as_mut(),
            Family::Token(_) | Family::None => None,
        }
    }
}

/// Checks that `request` was sent by somebody who holds one of `keys`, about now.
///
/// - `now_s`: Unix time, seconds.
///
/// # Errors
/// See [`Refusal`]. Keys that were made for a rule of another kind match nothing.
pub fn check(rule: &Rule, keys: &Keys, request: &Request, now_s: i64) -> Result<Verified, Refusal> {
    let key = match (&rule.0, &keys.0) {
        (Family::Hmac(rule), KeySet::Hmac(keys)) => Some(rule.check(keys, request, now_s)?),
        (Family::Token(rule), KeySet::Token(keys)) => Some(rule.check(keys, request)?),
        (Family::None, KeySet::None) => None,
        _ => return Err(Refusal::Mismatch),
    };
    Ok(Verified { method: rule.method(), key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<Spec, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    fn secret() -> Secret {
        Secret::new(b"s".to_vec()).unwrap()
    }

    const TOKEN: &str = "kind = 'token'\ntoken = { header = 'x-token' }";

    #[test]
    fn unknown_keys_and_kinds_are_refused() {
        assert!(spec(TOKEN).is_ok());
        assert!(spec(&format!("{TOKEN}\nhash = 'sha256'")).unwrap_err().contains("hash"));
        assert!(spec("kind = 'none'\nhash = 'sha256'").unwrap_err().contains("hash"));
        assert!(spec("kind = 'hmac'\nencoding = 'hex'\nmessage = ''").unwrap_err().contains("signature"));
        assert!(spec("kind = 'md5'").is_err());
    }

    #[test]
    fn no_secret_and_a_needless_secret_are_both_mistakes() {
        let rule = |text| Rule::new(spec(text).unwrap()).unwrap();
        assert_eq!(rule(TOKEN).keys(&[]).unwrap_err(), KeyError::Absent);
        assert_eq!(rule("kind = 'none'").keys(&[secret()]).unwrap_err(), KeyError::Unused);
    }

    #[test]
    fn a_rule_that_checks_nothing_says_so() {
        let rule = Rule::new(Spec::None {}).unwrap();
        let keys = rule.keys(&[]).unwrap();
        let verified = check(&rule, &keys, &Draft::default().request(), 0).unwrap();
        assert_eq!((verified.method(), verified.key()), ("none", None));
    }

    #[test]
    fn keys_of_another_rule_open_nothing() {
        let none = Rule::new(Spec::None {}).unwrap().keys(&[]).unwrap();
        let token = Rule::new(spec(TOKEN).unwrap()).unwrap();
        let mut draft = Draft::default();
        draft.set_header("x-token", "s");
        assert_eq!(check(&token, &none, &draft.request(), 0), Err(Refusal::Mismatch));
        assert_eq!(sign(&token, &none, &mut draft, 0), Err(SignError::WrongKeys));
    }

    #[test]
    fn a_window_without_a_timestamp_is_a_mistake() {
        let token = Rule::new(spec(TOKEN).unwrap()).unwrap();
        assert_eq!(token.with_tolerance(Duration::from_secs(1)).unwrap_err().key, "tolerance");
    }

    #[test]
    fn keys_are_never_printed() {
        let keys = Rule::new(spec(TOKEN).unwrap()).unwrap().keys(&[secret()]).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys([redacted])");
    }
}
