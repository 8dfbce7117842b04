//! Public-key signatures: Discord, SendGrid, Wise. Whoever reads the configuration can check, never sign.

use std::time::Duration;

use serde::Deserialize;

use super::field::FieldSpec;
use super::material::{self, PublicKey, Scheme};
use super::origin::{ByUrl, Origin, OriginSpec, Wanted};
use super::signed::{Encoding, Signed, five_minutes};
use super::stamp::StampSpec;
use super::{KeyError, Refusal, RuleError};
use crate::event::{Request, Secret, schema, units};

/// `kind = "signature"`.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureSpec {
    /// The algorithm; never what a request names.
    pub algorithm: Algorithm,
    /// How the signature is written.
    pub encoding: Encoding,
    /// Where the signatures stand.
    pub signature: FieldSpec,
    /// Where the time of signing stands; without it nothing bounds a replay.
    #[serde(default)]
    pub timestamp: Option<StampSpec>,
    /// What is signed, e.g. `"{timestamp}{body}"`.
    pub message: String,
    /// As in [`super::HmacSpec`].
    #[serde(default = "five_minutes", deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub tolerance: Duration,
    /// Where the public keys come from, where the source pins none.
    #[serde(default)]
    pub keys: Option<OriginSpec>,
}

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256; the signature is DER.
    EcdsaP256Sha256,
    /// RSA PKCS #1 v1.5 with SHA-256; keys of 2048 bits and more.
    RsaPkcs1Sha256,
    /// RSA PKCS #1 v1.5 with SHA-1, for senders that have nothing better; keys of 2048 bits and more.
    RsaPkcs1Sha1,
}

impl Algorithm {
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Self::RsaPkcs1Sha1 => "rsa-pkcs1-sha1",
        }
    }

    fn scheme(self) -> Scheme {
        match self {
            Self::Ed25519 => Scheme::Ed25519,
            Self::EcdsaP256Sha256 => Scheme::EcdsaP256Der,
            Self::RsaPkcs1Sha256 => Scheme::RsaSha256,
            Self::RsaPkcs1Sha1 => Scheme::RsaSha1,
        }
    }
}

/// The public keys of one text: a key set may hold several.
pub(super) type Key = Vec<PublicKey>;

/// A compiled [`SignatureSpec`].
#[derive(Debug, Clone)]
pub(super) struct Public {
    pub(super) algorithm: Algorithm,
    pub(super) signed: Signed,
}

impl Public {
    pub(super) fn new(spec: SignatureSpec) -> Result<Self, RuleError> {
        let signed = Signed::new(spec.encoding, spec.signature, spec.timestamp, &spec.message, spec.tolerance)?;
        if signed.message.covers_secret() {
            return Err(RuleError::new("message", "holds {secret}, but a public key is none"));
        }
        Ok(Self { algorithm: spec.algorithm, signed })
    }

    /// Reads PEM, hex, base64 (raw or SubjectPublicKeyInfo), a certificate, or a JWKS.
    pub(super) fn keys(&self, texts: &[Secret]) -> Result<Vec<Key>, KeyError> {
        let (scheme, method) = (self.algorithm.scheme(), self.algorithm.method());
        keys(texts, |key| key.fits(scheme), &format!("a public key for {method} in PEM, hex, base64 or JWKS"))
    }

    /// What the request says of its key.
    pub(super) fn wanted<'r>(id: Option<&'r str>) -> Wanted<'r> {
        Wanted { id, url: None }
    }

    /// The position of the key that matches; 0 for one that was fetched.
    pub(super) fn check(
        &self,
        keys: &[Key],
        from: Option<(&Origin, &ByUrl)>,
        request: &Request,
        now_s: i64,
    ) -> Result<usize, Refusal> {
        let proof = self.signed.read(request)?;
        let message = self.signed.message(request, proof.time(), None)?.concat();
        let scheme = self.algorithm.scheme();
        let made = |key: &PublicKey| proof.signatures().any(|signature| key.verifies(scheme, &message, &signature));
        // Nothing here is secret, so the first match may end the search.
        let key = match from {
            Some((origin, fetched)) if keys.is_empty() => {
                let id = origin.id(request)?;
                let found = origin.find(fetched, request, Self::wanted(id.as_deref()), now_s)?;
                found.into_iter().any(made).then_some(0)
            }
            _ => keys.iter().position(|key| key.iter().any(made)),
        };
        let key = key.ok_or(Refusal::Mismatch)?;
        self.signed.fresh(&proof, now_s)?;
        Ok(key)
    }
}

/// The keys of each of `texts` that fit, one at least.
pub(super) fn keys(texts: &[Secret], fits: impl Fn(&PublicKey) -> bool, expected: &str) -> Result<Vec<Key>, KeyError> {
    let key = |(n, text): (usize, &Secret)| {
        let found: Vec<_> = material::read(text.expose()).into_iter().filter(|key| fits(key)).collect();
        let malformed = || KeyError::Malformed { number: n + 1, expected: expected.to_owned() };
        if found.is_empty() { Err(malformed()) } else { Ok(found) }
    };
    texts.iter().enumerate().map(key).collect()
}

#[cfg(test)]
mod tests;
