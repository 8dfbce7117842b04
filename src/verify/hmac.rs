//! Keyed hashes: the family of GitHub, Stripe, Slack, Shopify and Standard Webhooks.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use hmac::{KeyInit as _, Mac};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::Digest as _;

use super::challenge::Challenge;
use super::field::{Field, FieldSpec};
use super::key::SecretForm;
use super::sign::{Draft, SignError};
use super::signed::{Bytes, Encoding, Proof, Signed, five_minutes};
use super::stamp::StampSpec;
use super::{KeyError, MAX_SIGNATURES, Refusal, RuleError};
use crate::event::json::Pointers;
use crate::event::{Options, Request, Secret, form, schema, units};

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
    /// JSON Pointer of a list of which every item is signed by itself; `signature` and `message` show the first, as
    /// `/items/0/…`.
    #[serde(default)]
    pub each: Option<String>,
    /// A further hash function; the length of a signature tells which one made it.
    #[serde(default)]
    pub also_hash: Option<Hash>,
    /// Whether the URL counts with the port of its scheme and without: some senders sign the one, some the other.
    #[serde(default)]
    pub any_port: bool,
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

    pub(super) fn tag<P: AsRef<[u8]>>(&self, message: &[P]) -> Bytes {
        fn run<M: Mac + Clone, P: AsRef<[u8]>>(state: &M, message: &[P]) -> Bytes {
            let mut mac = state.clone();
            message.iter().for_each(|piece| mac.update(piece.as_ref()));
            Bytes::new(&mac.finalize().into_bytes())
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

/// The states of one secret, one a hash function.
pub(super) type Key = Vec<State>;

/// A compiled [`HmacSpec`].
#[derive(Debug, Clone)]
pub(super) struct Hmac {
    pub(super) hash: Hash,
    pub(super) also_hash: Option<Hash>,
    pub(super) signed: Signed,
    pub(super) secret: SecretForm,
    body_hash: Option<Field>,
    each: Option<Each>,
    any_port: bool,
    /// What is signed for strangers.
    pub(super) challenges: Vec<Challenge>,
}

/// A list, and the rules of its items from the second on.
#[derive(Debug, Clone)]
struct Each {
    list: String,
    others: Vec<Signed>,
}

impl Each {
    fn new(spec: &HmacSpec, list: &str) -> Result<Self, RuleError> {
        Pointers::new([list]).map_err(|e| RuleError::new("each", e.to_string()))?;
        let first = format!("{list}/0/");
        let text =
            spec.signature.body.as_deref().filter(|body| body.starts_with(&first) && spec.signature.form.is_none());
        let text =
            text.ok_or_else(|| RuleError::new("each", format!("needs a `signature` in the body, at {first}…")))?;
        let others = (1..MAX_SIGNATURES).map(|n| {
            let nth = |text: &str| text.replace(&first, &format!("{list}/{n}/"));
            let signature = FieldSpec { body: Some(nth(text)), ..spec.signature.clone() };
            Signed::new(spec.encoding, signature, spec.timestamp.clone(), &nth(&spec.message), spec.tolerance)
        });
        Ok(Self { list: list.to_owned(), others: others.collect::<Result<_, _>>()? })
    }

    /// How many items `body` lists. Values stay text: a number of any size is no reason to refuse an authentic body.
    fn count(&self, body: &[u8]) -> Result<usize, Refusal> {
        let list = || {
            let mut at = serde_json::from_slice::<&RawValue>(body).ok()?;
            for token in self.list.split('/').skip(1) {
                let members: HashMap<String, &RawValue> = serde_json::from_str(at.get()).ok()?;
                at = members.get(&token.replace("~1", "/").replace("~0", "~"))?;
            }
            serde_json::from_str::<Vec<&RawValue>>(at.get()).ok()
        };
        list().map(|items| items.len()).ok_or(Refusal::Missing)
    }
}

impl Hmac {
    pub(super) fn new(spec: HmacSpec) -> Result<Self, RuleError> {
        let each = spec.each.as_deref().map(|list| Each::new(&spec, list)).transpose()?;
        let signed = Signed::new(spec.encoding, spec.signature, spec.timestamp, &spec.message, spec.tolerance)?;
        if signed.message.covers_secret() {
            return Err(RuleError::new("message", "holds {secret}, which is the key of the hash already"));
        }
        let (any_port, also_hash) = (spec.any_port, spec.also_hash);
        if any_port && !signed.message.needs_url() {
            return Err(RuleError::new("any_port", "has no effect: the message holds no {url}"));
        }
        let body_hash = spec.body_hash.map(|field| Field::new(field, "body_hash")).transpose()?;
        Ok(Self {
            hash: spec.hash,
            also_hash,
            signed,
            secret: spec.secret,
            body_hash,
            each,
            any_port,
            challenges: Vec::new(),
        })
    }

    pub(super) fn with_options(&mut self, options: &Options) -> Result<(), String> {
        let others = self.each.iter_mut().flat_map(|each| &mut each.others);
        others.chain([&mut self.signed]).try_for_each(|signed| signed.message.with_options(options))
    }

    pub(super) fn keys(&self, secrets: &[Secret]) -> Result<Vec<Key>, KeyError> {
        let keys = self.secret.decode(secrets)?;
        // HMAC takes a key of any length, so no secret is lost here.
        let hashes = || [self.hash].into_iter().chain(self.also_hash);
        Ok(keys.iter().map(|key| hashes().filter_map(|hash| State::new(hash, key.expose())).collect()).collect())
    }

    /// The position of the key that matches.
    pub(super) fn check(&self, keys: &[Key], request: &Request, now_s: i64) -> Result<usize, Refusal> {
        let proof = self.signed.read(request)?;
        let message = self.signed.message(request, proof.time(), None)?;
        let mut matched = made_by(keys, &proof, &message);
        if self.any_port && matched.is_none() {
            matched = made_by(keys, &proof, &self.signed.message_of_other_port(request, proof.time())?);
        }
        let key = matched.ok_or(Refusal::Mismatch)?;
        if self.challenges.iter().any(|challenge| challenge.holds(&message)) {
            return Err(Refusal::Mismatch);
        }
        self.others(keys, request, now_s)?;
        self.whole(request)?;
        self.signed.fresh(&proof, now_s)?;
        Ok(key)
    }

    /// Checks the items of a list behind the first.
    fn others(&self, keys: &[Key], request: &Request, now_s: i64) -> Result<(), Refusal> {
        let Some(each) = &self.each else { return Ok(()) };
        let others = each.others.get(..each.count(request.body)?.saturating_sub(1)).ok_or(Refusal::Mismatch)?;
        for signed in others {
            let proof = signed.read(request)?;
            let message = signed.message(request, proof.time(), None)?;
            made_by(keys, &proof, &message).ok_or(Refusal::Mismatch)?;
            signed.fresh(&proof, now_s)?;
        }
        Ok(())
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
        Ok(())
    }

    pub(super) fn sign(&self, keys: &[Key], draft: &mut Draft, now_s: i64) -> Result<(), SignError> {
        let key = keys.first().and_then(|key| key.first()).ok_or(SignError::WrongKeys)?;
        if let Some(field) = &self.body_hash
            && form::fields(content_type(&draft.request()), &draft.body).is_empty()
            && !draft.body.is_empty()
        {
            let digest = hex::encode(sha2::Sha256::digest(&draft.body));
            field.edit(draft, |_| Some(digest));
        }
        let count = self.each.as_ref().and_then(|each| each.count(&draft.body).ok()).unwrap_or(1);
        let others = self.each.iter().flat_map(|each| &each.others).take(count.saturating_sub(1));
        for signed in others.chain([&self.signed]) {
            signed.write(draft, now_s, None, |message| key.tag(message))?;
        }
        Ok(())
    }
}

/// The position of the key that made one of the signatures; all are tried.
fn made_by(keys: &[Key], proof: &Proof, message: &[Cow<[u8]>]) -> Option<usize> {
    let mut matched = None;
    for (n, key) in keys.iter().enumerate() {
        for state in key {
            let tag = state.tag(message);
            for signature in proof.signatures() {
                if tag.is(&signature) {
                    matched = matched.or(Some(n));
                }
            }
        }
    }
    matched
}

fn content_type<'r>(request: &Request<'r>) -> &'r [u8] {
    request.headers.nth("content-type", 0).unwrap_or_default()
}

#[cfg(test)]
mod tests;
