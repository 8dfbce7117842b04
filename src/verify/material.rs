//! Public keys as people paste them and senders publish them: PEM, hex, base64, certificates and JSON Web Key Sets.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value as Json;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Most keys of one set that are taken in.
const MAX_KEYS: usize = 64;

/// A scheme of signatures, fixed by a rule, never by a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Ed25519,
    EcdsaP256Der,
    EcdsaP256Fixed,
    EcdsaP521Fixed,
    RsaSha256,
    RsaSha1,
}

/// The DER that stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl Scheme {
    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &ED25519,
            Self::EcdsaP256Der => &ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP256Fixed => &ECDSA_P256_SHA256_FIXED,
            Self::EcdsaP521Fixed => &ECDSA_P521_SHA512_FIXED,
            Self::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaSha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    /// The key in the form that the scheme takes, if it is one of its keys.
    fn key(self, bytes: &[u8]) -> Option<&[u8]> {
        let shape = (bytes.len(), bytes.first());
        let fits = match self {
            Self::Ed25519 => return Some(bytes.strip_prefix(&ED25519_SPKI).unwrap_or(bytes)).filter(|k| k.len() == 32),
            // An uncompressed point, or the SubjectPublicKeyInfo of one.
            Self::EcdsaP256Der | Self::EcdsaP256Fixed => matches!(shape, (65, Some(4)) | (91, Some(0x30))),
            Self::EcdsaP521Fixed => matches!(shape, (133, Some(4)) | (158, Some(0x30))),
            // PKCS #1 or SubjectPublicKeyInfo; 2048 bits take 270 bytes at least.
            Self::RsaSha256 | Self::RsaSha1 => bytes.len() >= 260 && bytes.first() == Some(&0x30),
        };
        fits.then_some(bytes)
    }
}

/// A public key, undecided of which scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its id in the set that it came in.
    pub(super) id: Option<String>,
    bytes: Vec<u8>,
    /// First and last second at which it is believed; `None`: always.
    pub(super) valid_s: Option<(i64, i64)>,
}

impl PublicKey {
    /// Whether this is a key of `scheme`.
    pub(super) fn fits(&self, scheme: Scheme) -> bool {
        scheme.key(&self.bytes).is_some()
    }

    /// Whether this key made `signature`; never, where it is no key of the scheme.
    pub(super) fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        let key = scheme.key(&self.bytes).map(|key| UnparsedPublicKey::new(scheme.verification(), key));
        key.is_some_and(|key| key.verify(message, signature).is_ok())
    }

    /// Whether it is believed at `now_s`.
    pub(super) fn is_valid(&self, now_s: i64) -> bool {
        self.valid_s.is_none_or(|(from, to)| (from..=to).contains(&now_s))
    }
}

/// All keys that `text` holds. Of a chain of certificates, the first is the key's.
pub(super) fn read(text: &[u8]) -> Vec<PublicKey> {
    let Ok(text) = std::str::from_utf8(text) else { return Vec::new() };
    let text = text.trim();
    let plain = |bytes| PublicKey { id: None, bytes, valid_s: None };
    if text.starts_with('{') {
        return jwks(text);
    }
    if text.contains("-----BEGIN ") {
        if let Some(der) = certificates(text.as_bytes()).first() {
            return certificate_key(der).into_iter().collect();
        }
        let keys = blocks(text).filter(|(label, _)| label.ends_with("PUBLIC KEY"));
        return keys.take(MAX_KEYS).map(|(_, bytes)| plain(bytes)).collect();
    }
    let packed = packed(text);
    hex::decode(&packed).or_else(|_| STANDARD.decode(&packed)).into_iter().map(plain).collect()
}

/// The certificates of a PEM text, in DER.
pub(super) fn certificates(text: &[u8]) -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    blocks(text).filter(|(label, _)| *label == "CERTIFICATE").map(|(_, der)| der).take(MAX_KEYS).collect()
}

/// The key of a certificate, whose issuer and dates nobody looks at here.
pub(super) fn certificate_key(der: &[u8]) -> Option<PublicKey> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(PublicKey { id: None, bytes: certificate.public_key().raw.to_vec(), valid_s: None })
}

fn packed(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace()).collect()
}

/// Label and content of each PEM block (RFC 7468).
fn blocks(text: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    text.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        let (inside, _) = rest.split_once("-----END ")?;
        Some((label, STANDARD.decode(packed(inside)).ok()?))
    })
}

/// The keys of a JWK Set (RFC 7517), or of one JWK.
fn jwks(text: &str) -> Vec<PublicKey> {
    let Ok(json) = serde_json::from_str::<Json>(text) else { return Vec::new() };
    let one = std::slice::from_ref(&json);
    let all = json.get("keys").and_then(Json::as_array).map_or(one, Vec::as_slice);
    all.iter().filter_map(jwk).take(MAX_KEYS).collect()
}

fn jwk(key: &Json) -> Option<PublicKey> {
    let text = |name: &str| key.get(name).and_then(Json::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    // A coordinate has the length of its field, whatever zeros a writer left out.
    let point = |length: usize| {
        let padded = |bytes: Vec<u8>| Some([vec![0; length.checked_sub(bytes.len())?], bytes].concat());
        Some([vec![4], padded(bytes("x")?)?, padded(bytes("y")?)?].concat())
    };
    let bytes = match (text("kty")?, text("crv")) {
        ("OKP", Some("Ed25519")) => bytes("x"),
        ("EC", Some("P-256")) => point(32),
        ("EC", Some("P-521")) => point(66),
        ("RSA", None) => Some(rsa_der(&bytes("n")?, &bytes("e")?)),
        _ => None,
    };
    Some(PublicKey { id: text("kid").map(str::to_owned), bytes: bytes?, valid_s: None })
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
