//! Shared tokens: the sender shows the secret itself. Proves the sender, protects nothing of the request.

use serde::Deserialize;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

use super::field::{Field, FieldSpec};
use super::sign::{Draft, SignError};
use super::{Refusal, RuleError};
use crate::event::{Request, Secret};

/// `kind = "token"`.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
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
        if token.split.is_some() || token.prefix.starts_with('*') {
            return Err(RuleError::new("token", "cannot be a list, nor stand behind any text"));
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
        let values = self.token.values(request)?;
        let shown: [u8; 32] = sha2::Sha256::digest(values.first().ok_or(Refusal::Mismatch)?).into();
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
        self.token.edit(draft, |_| Some(self.token.write(secret)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Keys, Rule, Spec, check, sign};

    fn rule() -> Rule {
        let token =
            FieldSpec { header: Some("Authorization".into()), prefix: Some("Bearer ".into()), ..FieldSpec::default() };
        Rule::new(Spec::Token(TokenSpec { token })).unwrap()
    }

    fn keys() -> Keys {
        rule().keys(&["new", "old"].map(|s| Secret::new(s.into()).unwrap())).unwrap()
    }

    #[track_caller]
    fn shown(headers: &[&str], expected: Result<usize, Refusal>) {
        let headers = headers.iter().map(|value| ("authorization".to_owned(), (*value).to_owned()));
        let draft = Draft { headers: headers.collect(), ..Draft::default() };
        assert_eq!(
            check(&rule(), &keys(), &draft.request(), 0).map(|v| v.key().unwrap()),
            expected,
            "{:?}",
            draft.headers
        );
    }

    #[test]
    fn any_of_the_secrets_is_accepted_and_nothing_else() {
        shown(&["Bearer new"], Ok(0));
        shown(&["Bearer old"], Ok(1));
        shown(&["Bearer ol"], Err(Refusal::Mismatch));
        shown(&["Bearer oldx"], Err(Refusal::Mismatch));
        shown(&["Bearer "], Err(Refusal::Mismatch));
        shown(&["old"], Err(Refusal::Mismatch));
        shown(&[""], Err(Refusal::Missing));
        shown(&[], Err(Refusal::Missing));
        shown(&["Bearer old", "Bearer old"], Err(Refusal::Mismatch));
    }

    #[test]
    fn a_signed_draft_shows_the_newest_secret() {
        let mut draft = Draft::default();
        sign(&rule(), &keys(), &mut draft, 0).unwrap();
        assert_eq!(draft.headers, [("authorization".to_owned(), "Bearer new".to_owned())]);
    }
}
