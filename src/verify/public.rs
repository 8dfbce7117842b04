//! Public-key signatures: Discord, SendGrid, Wise. Whoever reads the configuration can check, never sign.

use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value as Json;

use super::field::FieldSpec;
use super::jwt::JwtAlgorithm;
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

/// The DER that stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl Algorithm {
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Self::RsaPkcs1Sha1 => "rsa-pkcs1-sha1",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &ED25519,
            Self::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Self::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaPkcs1Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    /// The key in the form that the algorithm takes, if it is one of its keys.
    fn key(self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519 => {
                let raw = bytes.strip_prefix(&ED25519_SPKI).unwrap_or(&bytes);
                (raw.len() == 32).then(|| raw.to_vec())
            }
            // An uncompressed point, or the SubjectPublicKeyInfo of a P-256 key.
            Self::EcdsaP256Sha256 => {
                matches!((bytes.len(), bytes.first()), (65, Some(4)) | (91, Some(0x30))).then_some(bytes)
            }
            // PKCS #1 or SubjectPublicKeyInfo; 2048 bits take 270 bytes at least.
            Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha1 => {
                (bytes.len() >= 260 && bytes.first() == Some(&0x30)).then_some(bytes)
            }
        }
    }
}

/// The public keys of one secret: a JWKS may hold several.
pub(super) struct Key(Vec<UnparsedPublicKey<Vec<u8>>>);

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

    /// Reads PEM, hex, base64 (raw or SubjectPublicKeyInfo), or a JWKS.
    pub(super) fn keys(&self, texts: &[Secret]) -> Result<Vec<Key>, KeyError> {
        let key = |(n, text): (usize, &Secret)| {
            let expected = || format!("a public key for {} in PEM, hex, base64 or JWKS", self.algorithm.method());
            let found: Vec<_> = decode(text.expose())
                .into_iter()
                .filter_map(|bytes| self.algorithm.key(bytes))
                .map(|bytes| UnparsedPublicKey::new(self.algorithm.verification(), bytes))
                .collect();
            if found.is_empty() {
                Err(KeyError::Malformed { number: n + 1, expected: expected() })
            } else {
                Ok(Key(found))
            }
        };
        texts.iter().enumerate().map(key).collect()
    }

    /// The position of the key that matches.
    pub(super) fn check(&self, keys: &[Key], request: &Request, now_s: i64) -> Result<usize, Refusal> {
        let proof = self.signed.read(request)?;
        let message = self.signed.message(request, proof.time(), None)?.concat();
        let fits = |key: &Key| {
            key.0.iter().any(|key| proof.signatures.iter().any(|signature| key.verify(&message, signature).is_ok()))
        };
        // Nothing here is secret, so the first match may end the search.
        let key = keys.iter().position(fits).ok_or(Refusal::Mismatch)?;
        self.signed.fresh(&proof, now_s)?;
        Ok(key)
    }
}

/// A public key of a JSON Web Token, undecided of which algorithm.
pub(super) struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Whether this key made `signature`; never, where it is no key of the algorithm.
    pub(super) fn verifies(&self, algorithm: JwtAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let (kind, verification): (_, &dyn VerificationAlgorithm) = match algorithm {
            JwtAlgorithm::RS256 => (Algorithm::RsaPkcs1Sha256, &RSA_PKCS1_2048_8192_SHA256),
            JwtAlgorithm::ES256 => (Algorithm::EcdsaP256Sha256, &ECDSA_P256_SHA256_FIXED),
            JwtAlgorithm::EdDSA => (Algorithm::Ed25519, &ED25519),
            JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512 => return false,
        };
        let key = kind.key(self.0.clone()).map(|key| UnparsedPublicKey::new(verification, key));
        key.is_some_and(|key| key.verify(message, signature).is_ok())
    }
}

/// The public keys in PEM, base64 or a JWKS, that a token may be signed with.
pub(super) fn jwt_keys(text: &[u8]) -> Vec<PublicKey> {
    let kinds = [Algorithm::RsaPkcs1Sha256, Algorithm::EcdsaP256Sha256, Algorithm::Ed25519];
    let fits = |bytes: &Vec<u8>| kinds.iter().any(|kind| kind.key(bytes.clone()).is_some());
    decode(text).into_iter().filter(fits).map(PublicKey).collect()
}

/// All keys that `text` may hold, undecided of which algorithm.
fn decode(text: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(text) else { return Vec::new() };
    let text = text.trim();
    if text.starts_with('{') {
        return jwks(text);
    }
    if let Some(rest) = text.strip_prefix("-----BEGIN ") {
        let inside = rest.split_once("-----").and_then(|(_, rest)| rest.split_once("-----END "));
        let packed = |text: &str| text.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>();
        return inside.and_then(|(inside, _)| STANDARD.decode(packed(inside)).ok()).into_iter().collect();
    }
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    hex::decode(&packed).or_else(|_| STANDARD.decode(&packed)).into_iter().collect()
}

/// The keys of a JWK Set (RFC 7517), or of one JWK.
fn jwks(text: &str) -> Vec<Vec<u8>> {
    let Ok(json) = serde_json::from_str::<Json>(text) else { return Vec::new() };
    let one = std::slice::from_ref(&json);
    let all = json.get("keys").and_then(Json::as_array).map_or(one, Vec::as_slice);
    all.iter().filter_map(jwk).collect()
}

fn jwk(key: &Json) -> Option<Vec<u8>> {
    let text = |name: &str| key.get(name).and_then(Json::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    match (text("kty")?, text("crv")) {
        ("OKP", Some("Ed25519")) => bytes("x"),
        ("EC", Some("P-256")) => Some([vec![4], bytes("x")?, bytes("y")?].concat()),
        ("RSA", None) => Some(rsa_der(&bytes("n")?, &bytes("e")?)),
        _ => None,
    }
}

/// The RSAPublicKey of RFC 8017 in DER.
fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        let length = length.iter().position(|b| *b != 0).map_or(&[0][..], |at| length.get(at..).unwrap_or_default());
        let mut out = vec![tag];
        if content.len() >= 128 {
            out.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
        }
        out.extend_from_slice(length);
        out.extend_from_slice(content);
        out
    }
    let integer = |bytes: &[u8]| {
        let bytes = bytes.iter().position(|b| *b != 0).map_or(&[0][..], |at| bytes.get(at..).unwrap_or_default());
        // A first bit that is set would be a sign.
        let sign: &[u8] = if bytes.first().is_some_and(|b| *b >= 128) { &[0] } else { &[] };
        element(2, &[sign, bytes].concat())
    };
    element(0x30, &[integer(modulus), integer(exponent)].concat())
}

#[cfg(test)]
mod tests;
