//! HTTP Basic authentication: the sender shows a user name and a password. Proves the sender, protects nothing of the
//! request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

use super::field::header_once;
use super::sign::{Draft, SignError};
use super::{KeyError, Refusal};
use crate::event::{Request, Secret};

/// The header of the credentials.
pub(super) const HEADER: &str = "authorization";

/// Credentials, and their digest: comparing digests takes as long for credentials of any length.
pub(super) struct Key {
    secret: Secret,
    digest: [u8; 32],
}

/// The keys of `secrets`, each `user:password`. The user name ends at the first colon, so it has none.
pub(super) fn keys(secrets: &[Secret]) -> Result<Vec<Key>, KeyError> {
    let key = |(n, secret): (usize, &Secret)| {
        if !secret.expose().contains(&b':') {
            return Err(KeyError::Malformed { number: n + 1, expected: "user:password".to_owned() });
        }
        Ok(Key { secret: secret.clone(), digest: sha2::Sha256::digest(secret.expose()).into() })
    };
    secrets.iter().enumerate().map(key).collect()
}

/// The position of the credentials that match.
pub(super) fn check(keys: &[Key], request: &Request) -> Result<usize, Refusal> {
    let value = header_once(request, HEADER)?.trim_ascii();
    let (scheme, credentials) = value.split_at_checked(6).ok_or(Refusal::Mismatch)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Err(Refusal::Mismatch);
    }
    let shown = STANDARD.decode(credentials.trim_ascii_start()).map_err(|_| Refusal::Mismatch)?;
    let shown: [u8; 32] = sha2::Sha256::digest(shown).into();
    let mut matched = None;
    for (n, key) in keys.iter().enumerate() {
        if bool::from(key.digest.ct_eq(&shown)) {
            matched = matched.or(Some(n));
        }
    }
    matched.ok_or(Refusal::Mismatch)
}

pub(super) fn sign(keys: &[Key], draft: &mut Draft) -> Result<(), SignError> {
    let key = keys.first().ok_or(SignError::WrongKeys)?;
    draft.set_header(HEADER, format!("Basic {}", STANDARD.encode(key.secret.expose())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Keys, Rule, Spec, check, sign};

    fn rule() -> Rule {
        Rule::new(toml::from_str::<Spec>("kind = 'basic'").unwrap()).unwrap()
    }

    fn keys() -> Keys {
        rule().keys(&["Aladdin:open sesame", "us:pä:ss"].map(|s| Secret::new(s.into()).unwrap())).unwrap()
    }

    #[track_caller]
    fn shown(headers: &[&str], expected: Result<usize, Refusal>) {
        let headers = headers.iter().map(|value| ("authorization".to_owned(), (*value).to_owned()));
        let draft = Draft { headers: headers.collect(), ..Draft::default() };
        let key = check(&rule(), &keys(), &draft.request(), 0).map(|v| v.key().unwrap());
        assert_eq!(key, expected, "{:?}", draft.headers);
    }

    #[test]
    fn any_of_the_credentials_is_accepted_and_nothing_else() {
        // The example of RFC 7617.
        shown(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="], Ok(0));
        shown(&["basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ=="], Ok(0));
        shown(&["Basic dXM6cMOkOnNz"], Ok(1));
        shown(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"], Err(Refusal::Mismatch));
        shown(&["Basic QWxhZGRpbjo="], Err(Refusal::Mismatch));
        shown(&["Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="], Err(Refusal::Mismatch));
        shown(&["Basic"], Err(Refusal::Mismatch));
        shown(&["Basic é"], Err(Refusal::Mismatch));
        shown(&[""], Err(Refusal::Missing));
        shown(&[], Err(Refusal::Missing));
        shown(&["Basic dXM6cMOkOnNz", "Basic dXM6cMOkOnNz"], Err(Refusal::Mismatch));
    }

    #[test]
    fn a_secret_without_a_colon_is_no_credentials() {
        let error = rule().keys(&[Secret::new(b"password".to_vec()).unwrap()]).unwrap_err();
        assert_eq!(error.to_string(), "secret 1 is not user:password");
    }

    #[test]
    fn a_signed_draft_shows_the_newest_credentials() {
        let mut draft = Draft::default();
        sign(&rule(), &keys(), &mut draft, 0).unwrap();
        assert_eq!(draft.headers[0].1, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
