//! JSON Web Tokens (RFC 7519) that a sender signs beside the body, or in its place.
//!
//! The algorithms are the rule's, never the token's choice: a rule takes secrets or public keys, not both, so that
//! nobody signs with a public key as if it were a secret, and `none` is no algorithm at all.

mod algorithm;
mod compact;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::Digest as _;

use super::chain::{Chain, ChainSpec};
use super::field::{Field, FieldSpec};
use super::hmac::State;
use super::material::PublicKey;
use super::origin::{ByUrl, Origin, OriginSpec};
use super::public;
use super::sign::{Draft, SignError};
use super::signed::{Bytes, Encoding};
use super::{KeyError, Refusal, RuleError};
use crate::event::{Options, Request, Secret, schema, units};

pub use algorithm::JwtAlgorithm;
use compact::Token;

/// `kind = "jwt"`.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtSpec {
    /// Where the token stands.
    pub token: FieldSpec,
    /// Algorithms that are believed.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Claims that must be there, each with one of these values. A name that begins with `/` is a JSON Pointer; of
    /// several with commas between, the first that is there counts. `{url}` stands for the URL that the sender was given,
    /// `{option:NAME}` for what the source sets, `{option:NAME?}` for that or, where it is not set, anything.
    #[serde(default)]
    pub claims: BTreeMap<String, Values>,
    /// The claim with the body's SHA-256.
    #[serde(default)]
    pub body_hash: Option<HashSpec>,
    /// The claim with the URL's SHA-256.
    #[serde(default)]
    pub url_hash: Option<HashSpec>,
    /// Oldest `iat` that is believed; without it only `exp` and `nbf` bound a token, where it has them.
    #[serde(default, deserialize_with = "units::optional_duration")]
    #[schemars(with = "Option<schema::Duration>")]
    pub max_age: Option<Duration>,
    /// The claim with the SHA-256 of Atlassian's canonical request (`qsh`), in hex.
    #[serde(default)]
    pub query_hash: Option<String>,
    /// Where the public keys come from, where the source pins none.
    #[serde(default)]
    pub keys: Option<OriginSpec>,
    /// The token shows the chain of certificates of its key.
    #[serde(default)]
    pub x5c: Option<ChainSpec>,
}

/// One value, or several of which one must be there.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// The only value.
    One(String),
    /// Any of these.
    Any(Vec<String>),
}

/// A claim that holds a SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashSpec {
    /// Name of the claim.
    pub claim: String,
    /// How the digest is written.
    pub encoding: Encoding,
    /// Whether the sender leaves the claim out where there is nothing to take the digest of. Any other token of the same
    /// signer proves an empty body then.
    #[serde(default)]
    pub optional: bool,
}

/// How far two clocks may be apart, seconds.
const LEEWAY_S: i64 = 60;

/// How long a token of ours is valid, seconds.
const VALID_S: i64 = 300;

/// A secret or the public keys of one text.
pub(super) enum Key {
    Secret(Secret),
    Public(Vec<PublicKey>),
}

/// A compiled [`JwtSpec`].
#[derive(Debug, Clone)]
pub(super) struct Jwt {
    pub(super) token: Field,
    algorithms: Vec<JwtAlgorithm>,
    claims: BTreeMap<String, Vec<String>>,
    body_hash: Option<HashSpec>,
    url_hash: Option<HashSpec>,
    query_hash: Option<String>,
    chain: Option<Chain>,
    pub(super) max_age_s: Option<u64>,
}

impl Jwt {
    pub(super) fn new(spec: JwtSpec) -> Result<Self, RuleError> {
        let secret = spec.algorithms.iter().filter(|algorithm| algorithm.hash().is_some()).count();
        if spec.algorithms.is_empty() || (secret != 0 && secret != spec.algorithms.len()) {
            return Err(RuleError::new(
                "algorithms",
                "must be some of HS256, HS384 and HS512, or of RS256, ES256, ES512 and EdDSA",
            ));
        }
        let values = |values| match values {
            Values::One(value) => vec![value],
            Values::Any(values) => values,
        };
        let claims: BTreeMap<_, _> = spec.claims.into_iter().map(|(name, all)| (name, values(all))).collect();
        if claims.values().any(Vec::is_empty) {
            return Err(RuleError::new("claims", "has a claim without a value"));
        }
        Ok(Self {
            token: Field::new(spec.token, "token")?,
            algorithms: spec.algorithms,
            claims,
            body_hash: spec.body_hash,
            url_hash: spec.url_hash,
            query_hash: spec.query_hash,
            chain: spec.x5c.map(Chain::new).transpose()?,
            max_age_s: spec.max_age.map(|age| age.as_secs()),
        })
    }

    /// Names of the options that it makes use of.
    pub(super) fn options(&self) -> Vec<String> {
        let named =
            |value: &String| Some(value.split_once("{option:")?.1.split('}').next()?.trim_end_matches('?').to_owned());
        let chain = self.chain.iter().map(|_| "trusted_roots".to_owned());
        self.claims.values().flatten().filter_map(named).chain(chain).collect()
    }

    /// Puts `options` into the claims.
    ///
    /// # Errors
    /// The first option that is needed and not set; roots that are none.
    pub(super) fn with_options(&mut self, options: &Options) -> Result<(), RuleError> {
        let mut missing = None;
        self.claims.retain(|_, values| {
            let mut needless = false;
            let mut filled = Vec::new();
            for value in values.iter() {
                let Some((before, rest)) = value.split_once("{option:") else {
                    filled.push(value.clone());
                    continue;
                };
                let (name, after) = rest.split_once('}').unwrap_or((rest, ""));
                match (options.texts(name.trim_end_matches('?')), name.ends_with('?')) {
                    ([], true) => needless = true,
                    ([], false) => missing = missing.take().or(Some(name.to_owned())),
                    (set, _) => filled.extend(set.iter().map(|set| format!("{before}{set}{after}"))),
                }
            }
            *values = filled;
            !needless
        });
        if let Some(name) = missing {
            return Err(RuleError::new("options", format!("lacks `{name}`, which this provider needs")));
        }
        self.chain.as_mut().map_or(Ok(()), |chain| chain.with_options(options))
    }

    /// Whether each token shows the certificate of its key.
    pub(super) fn shows_chain(&self) -> bool {
        self.chain.is_some()
    }

    pub(super) fn method(&self) -> &'static str {
        self.algorithms.first().map_or("jwt", |algorithm| algorithm.method())
    }

    pub(super) fn wants_public_keys(&self) -> bool {
        self.algorithms.iter().all(|algorithm| algorithm.hash().is_none())
    }

    pub(super) fn covers_body(&self) -> bool {
        self.body_hash.is_some() || self.token.is_whole_body()
    }

    pub(super) fn needs_url(&self) -> bool {
        self.url_hash.is_some() || self.claims.values().flatten().any(|value| value == "{url}")
    }

    pub(super) fn keys(&self, secrets: &[Secret]) -> Result<Vec<Key>, KeyError> {
        if !self.wants_public_keys() {
            return Ok(secrets.iter().cloned().map(Key::Secret).collect());
        }
        if self.chain.is_some() {
            let needless =
                KeyError::Malformed { number: 1, expected: "needed: each token shows its certificate".to_owned() };
            return if secrets.is_empty() { Ok(Vec::new()) } else { Err(needless) };
        }
        let fits = |key: &PublicKey| self.algorithms.iter().filter_map(|a| a.scheme()).any(|scheme| key.fits(scheme));
        let keys = public::keys(secrets, fits, "a public key in PEM, base64 or JWKS")?;
        Ok(keys.into_iter().map(Key::Public).collect())
    }

    /// The position of the key that matches; 0 for one that was fetched or shown.
    pub(super) fn check(
        &self,
        keys: &[Key],
        from: Option<(&Origin, &ByUrl)>,
        request: &Request,
        now_s: i64,
    ) -> Result<usize, Refusal> {
        let text = self.token.only(request)?;
        let token = Token::read(&text, &self.algorithms).ok_or(Refusal::Mismatch)?;
        let made = |key: &PublicKey| {
            let scheme = token.algorithm.scheme();
            scheme.is_some_and(|scheme| key.verifies(scheme, token.signed.as_bytes(), &token.signature))
        };
        let key = match (&self.chain, from) {
            (Some(chain), _) => made(&chain.key(&token.header, now_s)?).then_some(0),
            (None, Some((origin, fetched))) if keys.is_empty() => {
                let found = origin.find(fetched, request, token.wanted(), now_s)?;
                found.into_iter().any(made).then_some(0)
            }
            _ => own(keys, &token, made),
        };
        let key = key.ok_or(Refusal::Mismatch)?;
        let claims = token.claims().ok_or(Refusal::Mismatch)?;
        self.claims_hold(&claims, request)?;
        self.fresh(&claims, now_s)?;
        Ok(key)
    }

    /// The URL from which the key of this token may be fetched.
    pub(super) fn key_url(&self, origin: &Origin, request: &Request) -> Result<String, Refusal> {
        let text = self.token.only(request)?;
        let token = Token::read(&text, &self.algorithms).ok_or(Refusal::Mismatch)?;
        origin.url(request, token.wanted())
    }

    fn claims_hold(&self, claims: &Json, request: &Request) -> Result<(), Refusal> {
        for (name, allowed) in &self.claims {
            let claim = name.split(',').find_map(|name| claim(claims, name.trim())).ok_or(Refusal::Mismatch)?;
            let one = std::slice::from_ref(claim);
            let found = claim.as_array().map_or(one, Vec::as_slice);
            let fits = |found: &Json| {
                allowed.iter().any(|wanted| match wanted.as_str() {
                    "{url}" => found.as_str().is_some_and(|found| Some(found) == request.public_url),
                    wanted => text(found).is_some_and(|found| found == wanted),
                })
            };
            if !found.iter().any(fits) {
                return Err(Refusal::Mismatch);
            }
        }
        let url = || request.public_url.map(str::as_bytes).unwrap_or_default();
        if let Some(name) = &self.query_hash {
            let named = claims.get(name).and_then(Json::as_str).ok_or(Refusal::Mismatch)?;
            if !named.eq_ignore_ascii_case(&super::canonical::query_hash(request)) {
                return Err(Refusal::Mismatch);
            }
        }
        self.hash_holds(self.body_hash.as_ref(), claims, request.body)?;
        self.hash_holds(self.url_hash.as_ref(), claims, url())
    }

    fn hash_holds(&self, spec: Option<&HashSpec>, claims: &Json, content: &[u8]) -> Result<(), Refusal> {
        let Some(spec) = spec else { return Ok(()) };
        let digest = claims.get(&spec.claim).and_then(Json::as_str);
        if spec.optional && digest.is_none() && content.is_empty() {
            return Ok(());
        }
        let digest = digest.and_then(|text| spec.encoding.decode(text.as_bytes())).ok_or(Refusal::Mismatch)?;
        if *digest == *sha2::Sha256::digest(content) { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    fn fresh(&self, claims: &Json, now_s: i64) -> Result<(), Refusal> {
        let time = |name: &str| claims.get(name).and_then(|at| at.as_i64().or_else(|| at.as_f64().map(|at| at as i64)));
        let stale = |at_s: i64, tolerance_s: u64| Err(Refusal::Stale { skew_s: now_s.abs_diff(at_s), tolerance_s });
        if let Some(at_s) = time("exp")
            && now_s.saturating_sub(LEEWAY_S) >= at_s
        {
            return stale(at_s, LEEWAY_S.unsigned_abs());
        }
        if let Some(at_s) = time("nbf")
            && now_s.saturating_add(LEEWAY_S) < at_s
        {
            return stale(at_s, LEEWAY_S.unsigned_abs());
        }
        match (self.max_age_s, time("iat")) {
            (Some(_), None) => Err(Refusal::Missing),
            (Some(age), Some(at_s)) if now_s.abs_diff(at_s) > age => stale(at_s, age),
            _ => Ok(()),
        }
    }

    pub(super) fn sign(&self, keys: &[Key], draft: &mut Draft, now_s: i64) -> Result<(), SignError> {
        let Some(Key::Secret(secret)) = keys.first() else { return Err(SignError::Private) };
        let algorithm = self.algorithms.first().ok_or(SignError::WrongKeys)?;
        let hash = algorithm.hash().ok_or(SignError::Private)?;
        let mut claims = serde_json::Map::new();
        for (name, values) in &self.claims {
            let value = values.first().map(String::as_str).unwrap_or_default();
            let value =
                if value == "{url}" { draft.public_url.as_deref().ok_or(SignError::Incomplete)? } else { value };
            claims.insert(name.clone(), value.into());
        }
        for (name, at_s) in [("iat", now_s), ("nbf", now_s), ("exp", now_s.saturating_add(VALID_S))] {
            claims.insert(name.to_owned(), at_s.into());
        }
        // The id of a token is new with each; nobody looks further at it.
        let id = sha2::Sha256::new().chain_update(&draft.body).chain_update(now_s.to_be_bytes()).finalize();
        claims.insert("jti".to_owned(), hex::encode(id).into());
        let url = draft.public_url.clone().unwrap_or_default().into_bytes();
        for (spec, content) in [(&self.body_hash, &draft.body), (&self.url_hash, &url)] {
            if let Some(spec) = spec {
                claims.insert(spec.claim.clone(), spec.encoding.encode(&sha2::Sha256::digest(content)).into());
            }
        }
        if let Some(name) = &self.query_hash {
            claims.insert(name.clone(), super::canonical::query_hash(&draft.request()).into());
        }
        let header = format!(r#"{{"alg":"{algorithm:?}","typ":"JWT"}}"#);
        let payload = Json::Object(claims).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let state = State::new(hash, secret.expose()).ok_or(SignError::WrongKeys)?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(state.tag(&[&signed])));
        self.token.edit(draft, |_| Some(self.token.write(&token)));
        Ok(())
    }
}

/// The position of the key of the source that made the signature; all secrets are tried.
fn own(keys: &[Key], token: &Token, made: impl Fn(&PublicKey) -> bool) -> Option<usize> {
    let mut matched = None;
    for (n, key) in keys.iter().enumerate() {
        let right = match (key, token.algorithm.hash()) {
            (Key::Secret(secret), Some(hash)) => State::new(hash, secret.expose())
                .is_some_and(|state| state.tag(&[token.signed]).is(&Bytes::new(&token.signature))),
            (Key::Public(keys), None) => keys.iter().any(&made),
            _ => false,
        };
        if right {
            matched = matched.or(Some(n));
        }
    }
    matched
}

fn claim<'c>(claims: &'c Json, name: &str) -> Option<&'c Json> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

/// A claim as the text that a rule has.
fn text(claim: &Json) -> Option<String> {
    match claim {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(claim.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
