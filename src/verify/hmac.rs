//! Keyed hashes: the family of GitHub, Stripe, Slack, Shopify and Standard Webhooks.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{KeyInit as _, Mac};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::field::{Field, FieldSpec};
use super::key::SecretForm;
use super::sign::{Draft, SignError};
use super::stamp::{Stamp, StampSpec};
use super::template::Template;
use super::{KeyError, MAX_SIGNATURES, Refusal, RuleError};
use crate::event::{Request, Secret, units};

/// `kind = "hmac"`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    pub tolerance: Duration,
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

/// The hash function under the MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// SHA-1; sound in HMAC, although no longer by itself.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Sha1 => "hmac-sha1",
            Self::Sha256 => "hmac-sha256",
            Self::Sha512 => "hmac-sha512",
        }
    }
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Two digits a byte, in either case.
    Hex,
    /// RFC 4648 with padding.
    Base64,
}

impl Encoding {
    fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD.decode(text).ok(),
        }
    }

    fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }
}

/// A MAC that has already taken in its key; cloned for each request.
#[derive(Clone)]
pub(super) enum State {
    Sha1(hmac::Hmac<sha1::Sha1>),
    Sha256(hmac::Hmac<sha2::Sha256>),
    Sha512(hmac::Hmac<sha2::Sha512>),
}

impl State {
    fn new(hash: Hash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Sha1 => Self::Sha1(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha256 => Self::Sha256(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha512 => Self::Sha512(hmac::Hmac::new_from_slice(key).ok()?),
        })
    }

    fn tag<P: AsRef<[u8]>>(&self, message: &[P]) -> Vec<u8> {
        fn run<M: Mac + Clone, P: AsRef<[u8]>>(state: &M, message: &[P]) -> Vec<u8> {
            let mut mac = state.clone();
            message.iter().for_each(|piece| mac.update(piece.as_ref()));
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha1(state) => run(state, message),
            Self::Sha256(state) => run(state, message),
            Self::Sha512(state) => run(state, message),
        }
    }
}

/// A compiled [`HmacSpec`].
#[derive(Debug, Clone)]
pub(super) struct Hmac {
    pub(super) hash: Hash,
    encoding: Encoding,
    pub(super) signature: Field,
    pub(super) timestamp: Option<Stamp>,
    pub(super) message: Template,
    secret: SecretForm,
}

impl Hmac {
    pub(super) fn new(spec: HmacSpec) -> Result<Self, RuleError> {
        let message = Template::new(&spec.message)?;
        match (&spec.timestamp, message.covers_timestamp()) {
            (None, true) => {
                return Err(RuleError::new("message", "holds {timestamp}, but no `timestamp` says where it is"));
            }
            (Some(stamp), false) if !message.headers().any(|name| stamp.header.eq_ignore_ascii_case(name)) => {
                return Err(RuleError::new("timestamp", "is not part of `message`, so anybody could change it"));
            }
            _ => {}
        }
        let tolerance_s = spec.tolerance.as_secs();
        Ok(Self {
            hash: spec.hash,
            encoding: spec.encoding,
            signature: Field::new(spec.signature, "signature")?,
            timestamp: spec.timestamp.map(|stamp| Stamp::new(stamp, tolerance_s)).transpose()?,
            message,
            secret: spec.secret,
        })
    }

    pub(super) fn keys(&self, secrets: &[Secret]) -> Result<Vec<State>, KeyError> {
        let keys = self.secret.decode(secrets)?;
        // HMAC takes a key of any length, so no secret is lost here.
        Ok(keys.iter().filter_map(|key| State::new(self.hash, key.expose())).collect())
    }

    /// The position of the key that matches.
    pub(super) fn check(&self, keys: &[State], request: &Request, now_s: i64) -> Result<usize, Refusal> {
        let values = self.signature.values(request)?;
        let sent = self.timestamp.as_ref().map(|stamp| stamp.read(request)).transpose()?;
        let message = self.message.fill(request, sent.as_ref().map(|sent| sent.text))?;
        let signatures: Vec<Vec<u8>> =
            values.take(MAX_SIGNATURES).filter_map(|text| self.encoding.decode(text)).collect();
        let mut matched = None;
        for (n, key) in keys.iter().enumerate() {
            let tag = key.tag(&message);
            for signature in &signatures {
                // A slice of another length is unequal; lengths are no secret.
                if bool::from(tag.ct_eq(signature)) {
                    matched = matched.or(Some(n));
                }
            }
        }
        let key = matched.ok_or(Refusal::Mismatch)?;
        if let (Some(stamp), Some(sent)) = (&self.timestamp, &sent) {
            stamp.fresh(sent, now_s)?;
        }
        Ok(key)
    }

    pub(super) fn sign(&self, keys: &[State], draft: &mut Draft, now_s: i64) -> Result<(), SignError> {
        let key = keys.first().ok_or(SignError::WrongKeys)?;
        let time = self.timestamp.as_ref().map(|stamp| (stamp, stamp.write(now_s)));
        if let Some((stamp, text)) = &time {
            draft.set_header(stamp.field.header(), format!("{}{text}", stamp.field.prefix));
        }
        let message = self.message.fill(&draft.request(), time.as_ref().map(|(_, text)| text.as_bytes()));
        let tag = key.tag(&message.map_err(|_| SignError::Incomplete)?);
        let mut value = format!("{}{}", self.signature.prefix, self.encoding.encode(&tag));
        if let Some((stamp, text)) = &time
            && stamp.field.header() == self.signature.header()
        {
            let split = char::from(self.signature.split.unwrap_or(b','));
            value = format!("{}{text}{split}{value}", stamp.field.prefix);
        }
        draft.set_header(self.signature.header(), value);
        Ok(())
    }
}
