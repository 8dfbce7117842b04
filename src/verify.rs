//! Proof of who sent a request: a [`Rule`] (data), [`Keys`] (decoded secrets), and [`check`].
//!
//! ```text
//! Spec ─► Rule ─┐                         ┌─► Verified
//!               ├─ check(request, now) ───┤
//! Secret ► Keys ┘                         └─► Refusal: Missing · Mismatch · Stale
//! ```
//! Reading order: [`Spec`], [`check`], then one file a family: `hmac`, `digest`, `public`, `jwt`, `token`, `basic`. What they
//! share: `rule` (what all of them answer), `origin` (where public keys come from), `field` (where a value stands), `stamp` (the replay window), `template` (what is signed), `signed` (these
//! three together), `key` (how a secret is written), `keyset` (the keys of a source at one time), `sign` (the sender's side).
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
mod canonical;
mod chain;
mod challenge;
mod cipher;
mod digest;
mod explain;
mod field;
mod hmac;
mod jwt;
mod key;
mod keyset;
mod material;
mod origin;
mod public;
mod rule;
mod sign;
mod signed;
mod sns;
mod stamp;
mod template;
mod token;
mod truelayer;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::event::{Request, Secret};

pub use chain::ChainSpec;
pub use challenge::Challenge;
pub use cipher::decrypt;
pub use digest::DigestSpec;
pub use explain::explain;
pub use field::FieldSpec;
pub use hmac::{Hash, HmacSpec};
pub use jwt::{HashSpec, JwtAlgorithm, JwtSpec, Values};
pub use key::SecretForm;
pub use keyset::Keys;
pub use origin::{OriginSpec, Pattern};
pub use public::{Algorithm, SignatureSpec};
pub use rule::Rule;
pub use sign::{Draft, SignError, edit_signature, sign};
pub use signed::Encoding;
pub use sns::SnsSpec;
pub use stamp::{StampSpec, Unit};
pub use token::TokenSpec;
pub use truelayer::TrueLayerSpec;

use keyset::KeySet;
use rule::Family;

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
    /// Amazon SNS.
    Sns(SnsSpec),
    /// TrueLayer's detached JSON Web Signature.
    TrueLayer(TrueLayerSpec),
    /// The secret itself.
    Token(TokenSpec),
    /// User name and password of HTTP Basic authentication.
    Basic {},
    /// Nothing proves the sender.
    None {},
}

/// A `kind` that says it all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {}

macro_rules! kinds {
    ($($kind:literal $spec:ty => $make:expr;)+) => {
        /// Every `kind`.
        pub const KINDS: &[&str] = &[$($kind),+];

        impl Spec {
            /// Reads the rest of a table `[verify]` of this kind. What derives from `Deserialize` reads the same, and
            /// cannot tell at which key it fails.
            ///
            /// # Errors
            /// What the deserializer finds wrong.
            pub fn parse<'de, D: Deserializer<'de>>(kind: &str, table: D) -> Result<Self, D::Error> {
                match kind {
                    $($kind => <$spec>::deserialize(table).map($make),)+
                    _ => Err(D::Error::unknown_variant(kind, KINDS)),
                }
            }
        }
    };
}

kinds! {
    "hmac" HmacSpec => Self::Hmac;
    "digest" DigestSpec => Self::Digest;
    "signature" SignatureSpec => Self::Signature;
    "jwt" JwtSpec => Self::Jwt;
    "sns" SnsSpec => Self::Sns;
    "truelayer" TrueLayerSpec => Self::TrueLayer;
    "token" TokenSpec => Self::Token;
    "basic" Plain => |Plain {}| Self::Basic {};
    "none" Plain => |Plain {}| Self::None {};
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
    /// The public key that the request needs has not been fetched: see [`Rule::key_url`]. Nothing is known of the
    /// request yet.
    #[error("the public key is not here")]
    KeyAbsent,
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

/// The MAC of `message` under `secret`, the way `rule` decodes its secrets; for challenges.
///
/// # Errors
/// A secret that is not written as its provider writes them.
pub fn mac(rule: &Rule, secret: &Secret, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let plain = SecretForm::default();
    let keys = rule.secret_form().unwrap_or(&plain).decode(std::slice::from_ref(secret))?;
    let state = keys.first().and_then(|key| hmac::State::new(hash, key.expose())).ok_or(KeyError::Absent)?;
    Ok(state.tag(&[message]).to_vec())
}

/// Checks that `request` was sent by somebody who holds one of `keys`, about now.
///
/// - `now_s`: Unix time, seconds.
///
/// # Errors
/// See [`Refusal`]. Keys that were made for a rule of another kind match nothing.
pub fn check(rule: &Rule, keys: &Keys, request: &Request, now_s: i64) -> Result<Verified, Refusal> {
    let from = rule.origin.as_ref().map(|origin| (origin, &*keys.fetched));
    let key = match (&rule.family, &*keys.own) {
        (Family::Hmac(rule), KeySet::Hmac(keys)) => Some(rule.check(keys, request, now_s)?),
        (Family::Digest(rule), KeySet::Secret(keys)) => Some(rule.check(keys, request, now_s)?),
        (Family::Public(rule), KeySet::Public(keys)) => Some(rule.check(keys, from, request, now_s)?),
        (Family::Jwt(rule), KeySet::Jwt(keys)) => Some(rule.check(keys, from, request, now_s)?),
        (Family::Sns(rule), KeySet::Public(keys)) => {
            let wanted = origin::Wanted::default();
            rule.check(&keyset::candidates(keys, from, request, wanted, now_s)?, request, now_s)?;
            Some(0)
        }
        (Family::TrueLayer(rule), KeySet::Public(keys)) => {
            let parts = rule.read(request)?;
            rule.check(&keyset::candidates(keys, from, request, parts.wanted(), now_s)?, &parts, request)?;
            Some(0)
        }
        (Family::Token(rule), KeySet::Token(keys)) => Some(rule.check(keys, request)?),
        (Family::Basic, KeySet::Basic(keys)) => Some(basic::check(keys, request)?),
        (Family::None, KeySet::None) => None,
        _ => return Err(Refusal::Mismatch),
    };
    Ok(Verified { method: rule.method(), key })
}

#[cfg(test)]
mod tests;
