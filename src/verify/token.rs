//! Shared tokens: the sender shows the secret itself. Proves the sender, protects nothing of the request.

use serde::Deserialize;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

use super::field::{Field, FieldSpec};
use super::sign::{Draft, SignError};
use super::{Refusal, RuleError};
use crate::event::{Request, Secret};

/// `kind = "token"`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Where the token stands.
    pub token: FieldSpec,
}

/// A secret, and its digest: comparing digests takes as long for a token of any length.
pub(super) struct Key {
    secret: Secret,
    digest: [u8; 32],
}

/// A compiled [`TokenSpec`].
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) token: Field,
}

impl Token {
    pub(super) fn new(spec: TokenSpec) -> Result<Self, RuleError> {
        let token = Field::new(spec.token, "token")?;
        if token.split.is_some() {
            return Err(RuleError::new("token", "cannot be a list"));
        }
        Ok(Self { token })
    }

    pub(super) fn keys(&self, secrets: &[Secret]) -> Vec<Key> {
        let key =
            |secret: &Secret| Key { secret: secret.clone(), digest: sha2::Sha256::digest(secret.expose()).into() };
        secrets.iter().map(key).collect()
    }

    /// The position of the key that matches.
    pub(super) fn check(&self, keys: &[Key], request: &Request) -> Result<usize, Refusal> {
        let mut values = self.token.values(request)?;
        let shown: [u8; 32] = sha2::Sha256::digest(values.next().ok_or(Refusal::Mismatch)?).into();
        let mut matched = None;
        for (n, key) in keys.iter().enumerate() {
            if bool::from(key.digest.ct_eq(&shown)) {
                matched = matched.or(Some(n));
            }
        }
        matched.ok_or(Refusal::Mismatch)
    }

    pub(super) fn sign(&self, keys: &[Key], draft: &mut Draft) -> Result<(), SignError> {
        let secret = keys.first().and_then(|key| key.secret.expose_str()).ok_or(SignError::WrongKeys)?;
        draft.set_header(self.token.header(), format!("{}{secret}", self.token.prefix));
        Ok(())
    }
}
