//! Proof of who sent a request: a [`Rule`] (data), [`Keys`] (decoded secrets), and [`check`].
//!
//! ```text
//! Spec ─► Rule ─┐                         ┌─► Verified
//!               ├─ check(request, now) ───┤
//! Secret ► Keys ┘                         └─► Refusal: Missing · Mismatch · Stale
//! ```
//! Reading order: [`Spec`], [`check`], then one file a family: `hmac`, `digest`, `public`, `jwt`, `token`, `basic`. What they
//! share: `field` (where a value stands), `stamp` (the replay window), `template` (what is signed), `signed` (these
//! three together), `key` (how a secret is written), `sign` (the sender's side).
//!
//! Invariants
//! - Pure: no clock, no I/O. The bytes that are checked are the bytes as they came over the wire.
//! - Every key is tried against every signature, and compared in constant time.
//! - A header that stands twice proves nothing: proxies and applications differ in which one they read.
//! - The signature is checked before the time, so a refusal never tells a forger that only the time was wrong.
//! - No request makes anything here panic.
//!
//! Knows nothing of providers, HTTP servers or configuration files.

mod basic;
mod digest;
mod explain;
mod field;
mod hmac;
mod jwt;
mod key;
mod public;
mod sign;
mod signed;
mod stamp;
mod template;
mod token;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::event::{Request, Secret};

pub use digest::DigestSpec;
pub use explain::explain;
pub use field::FieldSpec;
pub use hmac::{Hash, HmacSpec};
pub use jwt::{HashSpec, JwtAlgorithm, JwtSpec, Values};
pub use key::SecretForm;
pub use public::{Algorithm, SignatureSpec};
pub use sign::{Draft, SignError, edit_signature, sign};
pub use signed::Encoding;
pub use stamp::{StampSpec, Unit};
pub use token::TokenSpec;

/// Most signatures of one request that are looked at: rotation needs two, an attacker would send thousands.
pub const MAX_SIGNATURES: usize = 16;

/// `[verify]`: how a provider proves that a request is its own.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Spec {
    /// Keyed hash over parts of the request.
    Hmac(HmacSpec),
    /// Plain hash over parts of the request and the secret.
    Digest(DigestSpec),
    /// Signature of a private key over parts of the request.
    Signature(SignatureSpec),
    /// JSON Web Token.
    Jwt(JwtSpec),
    /// The secret itself.
    Token(TokenSpec),
    /// User name and password of HTTP Basic authentication.
    Basic {},
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
    Digest(digest::Digest),
    Public(public::Public),
    Jwt(jwt::Jwt),
    Token(token::Token),
    Basic,
    None,
}

/// Secrets, decoded and prepared for one rule.
pub struct Keys(KeySet);

enum KeySet {
    Hmac(Vec<hmac::State>),
    Secret(Vec<Secret>),
    Public(Vec<public::Key>),
    Jwt(Vec<jwt::Key>),
    Token(Vec<token::Key>),
    Basic(Vec<basic::Key>),
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
            Spec::Digest(spec) => Family::Digest(digest::Digest::new(spec)?),
            Spec::Signature(spec) => Family::Public(public::Public::new(spec)?),
            Spec::Jwt(spec) => Family::Jwt(jwt::Jwt::new(spec)?),
            Spec::Token(spec) => Family::Token(token::Token::new(spec)?),
            Spec::Basic {} => Family::Basic,
            Spec::None {} => Family::None,
        }))
    }

    /// The same rule with another replay window.
    ///
    /// # Errors
    /// The scheme carries no time, so a window would be without effect.
    pub fn with_tolerance(mut self, tolerance: Duration) -> Result<Self, RuleError> {
        if let Family::Jwt(rule) = &mut self.0 {
            rule.max_age_s = Some(tolerance.as_secs());
            return Ok(self);
        }
        match self.stamp_mut() {
            Some(stamp) => stamp.tolerance_s = Some(tolerance.as_secs()),
            None => return Err(RuleError::new("tolerance", "has no effect: this scheme carries no timestamp")),
        }
        Ok(self)
    }

    /// The same rule with what the source sets in its `options`.
    ///
    /// # Errors
    /// An option that the rule needs, and that is not set.
    pub fn with_options(mut self, options: &BTreeMap<String, String>) -> Result<Self, RuleError> {
        if let Family::Jwt(rule) = &mut self.0 {
            let missing = |name| RuleError::new("options", format!("lacks `{name}`, which this provider needs"));
            rule.with_options(options).map_err(missing)?;
        }
        Ok(self)
    }

    /// Decodes `secrets`, newest first; public keys where [`Self::wants_public_keys`].
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn keys(&self, secrets: &[Secret]) -> Result<Keys, KeyError> {
        match (&self.0, secrets.is_empty()) {
            (Family::None, true) => Ok(Keys(KeySet::None)),
            (Family::None, false) => Err(KeyError::Unused),
            (_, true) => Err(KeyError::Absent),
            (Family::Hmac(rule), _) => rule.keys(secrets).map(|keys| Keys(KeySet::Hmac(keys))),
            (Family::Digest(_), _) => Ok(Keys(KeySet::Secret(secrets.to_vec()))),
            (Family::Public(rule), _) => rule.keys(secrets).map(|keys| Keys(KeySet::Public(keys))),
            (Family::Jwt(rule), _) => rule.keys(secrets).map(|keys| Keys(KeySet::Jwt(keys))),
            (Family::Token(rule), _) => Ok(Keys(KeySet::Token(rule.keys(secrets)))),
            (Family::Basic, _) => basic::keys(secrets).map(|keys| Keys(KeySet::Basic(keys))),
        }
    }

    /// Whether the keys are public: a source names them in `public_keys`, and has no secrets.
    pub fn wants_public_keys(&self) -> bool {
        match &self.0 {
            Family::Public(_) => true,
            Family::Jwt(rule) => rule.wants_public_keys(),
            _ => false,
        }
    }

    /// The attribute `verification` of what this rule accepts: `hmac-sha256`, `token`, `none`.
    pub fn method(&self) -> &'static str {
        match &self.0 {
            Family::Hmac(rule) => rule.hash.method(),
            Family::Digest(rule) => rule.method(),
            Family::Public(rule) => rule.algorithm.method(),
            Family::Jwt(rule) => rule.method(),
            Family::Token(_) => "token",
            Family::Basic => "basic",
            Family::None => "none",
        }
    }

    /// Lower-case name of the header that holds the signature or the token; it never leaves the ingress. `None` where
    /// it stands elsewhere in the request.
    pub fn signature_header(&self) -> Option<&str> {
        match &self.0 {
            Family::Basic => Some(basic::HEADER),
            _ => self.signature_field()?.header(),
        }
    }

    /// Lower-case name of the header that holds the time of signing.
    pub fn timestamp_header(&self) -> Option<&str> {
        self.stamp()?.field.header()
    }

    /// Replay window, seconds; `None` where the scheme carries no time, or any is believed.
    pub fn tolerance_s(&self) -> Option<u64> {
        match &self.0 {
            Family::Jwt(rule) => rule.max_age_s,
            _ => self.stamp()?.tolerance_s,
        }
    }

    /// Whether the scheme carries a time of signing.
    pub fn is_timed(&self) -> bool {
        self.stamp().is_some() || matches!(self.0, Family::Jwt(_))
    }

    /// Whether a changed body is refused.
    pub fn covers_body(&self) -> bool {
        match &self.0 {
            Family::Jwt(rule) => rule.covers_body(),
            _ => self.signed().is_some_and(|signed| signed.message.covers_body()),
        }
    }

    /// Whether a changed form is refused.
    pub fn covers_form(&self) -> bool {
        self.covers_body() || self.signed().is_some_and(|signed| signed.message.covers_form())
    }

    /// Lower-case names of the headers that the signature covers.
    pub fn covered_headers(&self) -> Vec<&str> {
        self.signed().map_or_else(Vec::new, |signed| signed.message.headers().collect())
    }

    /// Names of the query parameters that the signature covers by themselves.
    pub fn covered_queries(&self) -> Vec<&str> {
        self.signed().map_or_else(Vec::new, |signed| signed.message.queries().collect())
    }

    /// JSON Pointers of the scalars that the signature covers by themselves.
    pub fn covered_pointers(&self) -> Vec<&str> {
        self.signed().map_or_else(Vec::new, |signed| signed.message.pointers().collect())
    }

    /// Names of the form fields that the signature covers by themselves.
    pub fn covered_form_fields(&self) -> Vec<&str> {
        self.signed().map_or_else(Vec::new, |signed| signed.message.form_fields().collect())
    }

    /// Whether the signature covers the URL, so that a source needs `public_url`.
    pub fn needs_url(&self) -> bool {
        match &self.0 {
            Family::Jwt(rule) => rule.needs_url(),
            _ => self.signed().is_some_and(|signed| signed.message.needs_url()),
        }
    }

    /// How secrets are written, where that is not simply text.
    fn secret_form(&self) -> Option<&SecretForm> {
        match &self.0 {
            Family::Hmac(rule) => Some(&rule.secret),
            _ => None,
        }
    }

    fn signature_field(&self) -> Option<&field::Field> {
        match &self.0 {
            Family::Token(rule) => Some(&rule.token),
            Family::Jwt(rule) => Some(&rule.token),
            _ => self.signed().map(|signed| &signed.signature),
        }
    }

    fn signed(&self) -> Option<&signed::Signed> {
        match &self.0 {
            Family::Hmac(rule) => Some(&rule.signed),
            Family::Digest(rule) => Some(&rule.signed),
            Family::Public(rule) => Some(&rule.signed),
            Family::Jwt(_) | Family::Token(_) | Family::Basic | Family::None => None,
        }
    }

    fn stamp(&self) -> Option<&stamp::Stamp> {
        self.signed()?.timestamp.as_ref()
    }

    fn stamp_mut(&mut self) -> Option<&mut stamp::Stamp> {
        let signed = match &mut self.0 {
            Family::Hmac(rule) => &mut rule.signed,
            Family::Digest(rule) => &mut rule.signed,
            Family::Public(rule) => &mut rule.signed,
            Family::Jwt(_) | Family::Token(_) | Family::Basic | Family::None => return None,
        };
        signed.timestamp.as_mut()
    }
}

/// The MAC of `message` under `secret`, the way `rule` decodes its secrets; for challenges.
///
/// # Errors
/// A secret that is not written as its provider writes them.
pub fn mac(rule: &Rule, secret: &Secret, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let plain = SecretForm::default();
    let keys = rule.secret_form().unwrap_or(&plain).decode(std::slice::from_ref(secret))?;
    let state = keys.first().and_then(|key| hmac::State::new(hash, key.expose())).ok_or(KeyError::Absent)?;
    Ok(state.tag(&[message]))
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
        (Family::Digest(rule), KeySet::Secret(keys)) => Some(rule.check(keys, request, now_s)?),
        (Family::Public(rule), KeySet::Public(keys)) => Some(rule.check(keys, request, now_s)?),
        (Family::Jwt(rule), KeySet::Jwt(keys)) => Some(rule.check(keys, request, now_s)?),
        (Family::Token(rule), KeySet::Token(keys)) => Some(rule.check(keys, request)?),
        (Family::Basic, KeySet::Basic(keys)) => Some(basic::check(keys, request)?),
        (Family::None, KeySet::None) => None,
        _ => return Err(Refusal::Mismatch),
    };
    Ok(Verified { method: rule.method(), key })
}

#[cfg(test)]
mod tests;
