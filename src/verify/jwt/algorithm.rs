//! Algorithms of JSON Web Tokens; `none` is not among them.

use serde::Deserialize;

use super::super::hmac::Hash;
use super::super::material::Scheme;

/// `alg` of RFC 7518 and RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-521 with SHA-512.
    ES512,
    /// Ed25519.
    EdDSA,
}

impl JwtAlgorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::HS256, Self::HS384, Self::HS512, Self::RS256, Self::ES256, Self::ES512, Self::EdDSA]
            .into_iter()
            .find(|algorithm| format!("{algorithm:?}") == name)
    }

    /// The hash of an algorithm with a secret; `None` for those with public keys.
    pub(super) fn hash(self) -> Option<Hash> {
        match self {
            Self::HS256 => Some(Hash::Sha256),
            Self::HS384 => Some(Hash::Sha384),
            Self::HS512 => Some(Hash::Sha512),
            Self::RS256 | Self::ES256 | Self::ES512 | Self::EdDSA => None,
        }
    }

    /// The scheme of an algorithm with a public key.
    pub(super) fn scheme(self) -> Option<Scheme> {
        match self {
            Self::RS256 => Some(Scheme::RsaSha256),
            Self::ES256 => Some(Scheme::EcdsaP256Fixed),
            Self::ES512 => Some(Scheme::EcdsaP521Fixed),
            Self::EdDSA => Some(Scheme::Ed25519),
            Self::HS256 | Self::HS384 | Self::HS512 => None,
        }
    }

    pub(super) fn method(self) -> &'static str {
        match self {
            Self::HS256 => "jwt-hs256",
            Self::HS384 => "jwt-hs384",
            Self::HS512 => "jwt-hs512",
            Self::RS256 => "jwt-rs256",
            Self::ES256 => "jwt-es256",
            Self::ES512 => "jwt-es512",
            Self::EdDSA => "jwt-eddsa",
        }
    }
}
