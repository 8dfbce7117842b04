//! Keyed hashes: the family of GitHub, Stripe, Slack, Shopify and Standard Webhooks.

use std::time::Duration;

use hmac::{KeyInit as _, Mac};
use serde::Deserialize;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

use super::field::{Field, FieldSpec};
use super::key::SecretForm;
use super::sign::{Draft, SignError};
use super::signed::{Encoding, Signed, five_minutes};
use super::stamp::StampSpec;
use super::{KeyError, Refusal, RuleError};
use crate::event::json::Pointers;
use crate::event::{Request, Secret, form, schema, units};

/// `kind = "hmac"`.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacSpec {
    /// The hash function.
    #[serde(default)]
    pub hash: Hash,
    /// How the signature is written.
    pub encoding: Encoding,
    /// Where the signatures stand.
    pub signature: FieldSpec,
    /// Where the time of signing stands; without it nothing bounds a replay.
    #[serde(default)]
    pub timestamp: Option<StampSpec>,
    /// What is signed, e.g. `"{timestamp}.{body}"`.
    pub message: String,
    /// How secrets are written.
    #[serde(default)]
    pub secret: SecretForm,
    /// Largest distance of the timestamp from now, either way; 5 minutes where the provider names none
    /// (what the Standard Webhooks reference libraries use).
    #[serde(default = "five_minutes", deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub tolerance: Duration,
    /// Where the SHA-256 of a body that is no form stands, in hex: for senders that sign only that.
    #[serde(default)]
    pub body_hash: Option<FieldSpec>,
    /// JSON Pointer of a list that must not hold more than one item, since only the first is signed.
    #[serde(default)]
    pub single: Option<String>,
}

/// The hash function under the MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// MD5; no attack on its HMAC is known, although by itself it is broken.
    Md5,
    /// SHA-1; sound in HMAC, although no longer by itself.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Md5 => "hmac-md5",
            Self::Sha1 => "hmac-sha1",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }
}

/// A MAC that has already taken in its key; cloned for each request.
#[derive(Clone)]
pub(super) enum State {
    Md5(hmac::Hmac<md5::Md5>),
    Sha1(hmac::Hmac<sha1::Sha1>),
    Sha256(hmac::Hmac<sha2::Sha256>),
    Sha384(hmac::Hmac<sha2::Sha384>),
    Sha512(hmac::Hmac<sha2::Sha512>),
}

impl State {
    pub(super) fn new(hash: Hash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Md5 => Self::Md5(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha1 => Self::Sha1(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha256 => Self::Sha256(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha384 => Self::Sha384(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha512 => Self::Sha512(hmac::Hmac::new_from_slice(key).ok()?),
        })
    }

    pub(super) fn tag<P: AsRef<[u8]>>(&self, message: &[P]) -> Vec<u8> {
        fn run<M: Mac + Clone, P: AsRef<[u8]>>(state: &M, message: &[P]) -> Vec<u8> {
            let mut mac = state.clone();
            message.iter().for_each(|piece| mac.update(piece.as_ref()));
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Md5(state) => run(state, message),
            Self::Sha1(state) => run(state, message),
            Self::Sha256(state) => run(state, message),
            Self::Sha384(state) => run(state, message),
            Self::Sha512(state) => run(state, message),
        }
    }
}

/// A compiled [`HmacSpec`].
#[derive(Debug, Clone)]
pub(super) struct Hmac {
    pub(super) hash: Hash,
    pub(super) signed: Signed,
    pub(super) secret: SecretForm,
    body_hash: Option<Field>,
    single: Option<String>,
}

impl Hmac {
    pub(super) fn new(spec: HmacSpec) -> Result<Self, RuleError> {
        let signed = Signed::new(spec.encoding, spec.signature, spec.timestamp, &spec.message, spec.tolerance)?;
        if signed.message.covers_secret() {
            return Err(RuleError::new("message", "holds {secret}, which is the key of the hash already"));
        }
        if let Some(pointer) = &spec.single {
            Pointers::new([pointer]).map_err(|e| RuleError::new("single", e.to_string()))?;
        }
        let body_hash = spec.body_hash.map(|field| Field::new(field, "body_hash")).transpose()?;
        Ok(Self { hash: spec.hash, signed, secret: spec.secret, body_hash, single: spec.single })
    }

    pub(super) fn keys(&self, secrets: &[Secret]) -> Result<Vec<State>, KeyError> {
        let keys = self.secret.decode(secrets)?;
        // HMAC takes a key of any length, so no secret is lost here.
        Ok(keys.iter().filter_map(|key| State::new(self.hash, key.expose())).collect())
    }

    /// The position of the key that matches.
    pub(super) fn check(&self, keys: &[State], request: &Request, now_s: i64) -> Result<usize, Refusal> {
        let proof = self.signed.read(request)?;
        let message = self.signed.message(request, proof.time(), None)?;
        let mut matched = None;
        for (n, key) in keys.iter().enumerate() {
            let tag = key.tag(&message);
            for signature in &proof.signatures {
                // A slice of another length is unequal; lengths are no secret.
                if bool::from(tag.ct_eq(signature)) {
                    matched = matched.or(Some(n));
                }
            }
        }
        let key = matched.ok_or(Refusal::Mismatch)?;
        self.whole(request)?;
        self.signed.fresh(&proof, now_s)?;
        Ok(key)
    }

    /// Refuses what the signature would have to cover, but does not.
    fn whole(&self, request: &Request) -> Result<(), Refusal> {
        if let Some(field) = &self.body_hash
            && !request.body.is_empty()
            && form::fields(content_type(request), request.body).is_empty()
        {
            let named = hex::decode(field.only(request)?).map_err(|_| Refusal::Mismatch)?;
            if named != sha2::Sha256::digest(request.body).as_slice() {
                return Err(Refusal::Mismatch);
            }
        }
        if let Some(pointer) = &self.single {
            let body = serde_json::from_slice::<serde_json::Value>(request.body).map_err(|_| Refusal::Mismatch)?;
            if body.pointer(pointer).and_then(serde_json::Value::as_array).is_some_and(|items| items.len() > 1) {
                return Err(Refusal::Mismatch);
            }
        }
        Ok(())
    }

    pub(super) fn sign(&self, keys: &[State], draft: &mut Draft, now_s: i64) -> Result<(), SignError> {
        let key = keys.first().ok_or(SignError::WrongKeys)?;
        if let Some(field) = &self.body_hash
            && form::fields(content_type(&draft.request()), &draft.body).is_empty()
            && !draft.body.is_empty()
        {
            let digest = hex::encode(sha2::Sha256::digest(&draft.body));
            field.edit(draft, |_| Some(digest));
        }
        self.signed.write(draft, now_s, None, |message| key.tag(message))
    }
}

fn content_type<'r>(request: &Request<'r>) -> &'r [u8] {
    request.headers.nth("content-type", 0).unwrap_or_default()
}

#[cfg(test)]
mod tests;
