//! A compiled scheme and its keys: what every family answers about itself.

use std::collections::BTreeSet;
use std::time::Duration;

use super::challenge::Challenge;
use super::keyset::{KeySet, Keys};
use super::material::PublicKey;
use super::origin::{Origin, Wanted};
use super::{
    KeyError, RuleError, SecretForm, Spec, basic, digest, field, hmac, jwt, public, signed, sns, stamp, token,
    truelayer,
};
use crate::event::{Options, Request, Secret};

/// A compiled [`Spec`].
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) family: Family,
    pub(super) origin: Option<Origin>,
}

#[derive(Debug, Clone)]
pub(super) enum Family {
    Hmac(hmac::Hmac),
    Digest(digest::Digest),
    Public(public::Public),
    Jwt(jwt::Jwt),
    Sns(sns::Sns),
    TrueLayer(truelayer::TrueLayer),
    Token(token::Token),
    Basic,
    None,
}

impl Rule {
    /// Compiles `spec`.
    ///
    /// # Errors
    /// The first key that cannot be, and why.
    pub fn new(spec: Spec) -> Result<Self, RuleError> {
        let origin = |keys: Option<_>, named| keys.map(|keys| Origin::new(keys, named)).transpose();
        let (family, origin) = match spec {
            Spec::Hmac(spec) => (Family::Hmac(hmac::Hmac::new(spec)?), None),
            Spec::Digest(spec) => (Family::Digest(digest::Digest::new(spec)?), None),
            Spec::Signature(spec) => {
                let origin = origin(spec.keys.clone(), false)?;
                (Family::Public(public::Public::new(spec)?), origin)
            }
            Spec::Jwt(spec) => {
                let origin = origin(spec.keys.clone(), false)?;
                (Family::Jwt(jwt::Jwt::new(spec)?), origin)
            }
            Spec::Sns(mut spec) => {
                spec.keys.named_by = Some(sns::named_by());
                (Family::Sns(sns::Sns::new(spec.tolerance)?), origin(Some(spec.keys), false)?)
            }
            Spec::TrueLayer(spec) => (Family::TrueLayer(truelayer::TrueLayer::new()?), origin(Some(spec.keys), true)?),
            Spec::Token(spec) => (Family::Token(token::Token::new(spec)?), None),
            Spec::Basic {} => (Family::Basic, None),
            Spec::None {} => (Family::None, None),
        };
        Ok(Self { family, origin })
    }

    /// The same rule with another replay window.
    ///
    /// # Errors
    /// The scheme carries no time, so a window would be without effect.
    pub fn with_tolerance(mut self, tolerance: Duration) -> Result<Self, RuleError> {
        if let Family::Jwt(rule) = &mut self.family {
            rule.max_age_s = Some(tolerance.as_secs());
            return Ok(self);
        }
        match self.stamp_mut() {
            Some(stamp) => stamp.tolerance_s = Some(tolerance.as_secs()),
            None => return Err(RuleError::new("tolerance", "has no effect: this scheme carries no timestamp")),
        }
        Ok(self)
    }

    /// The same rule with what the source sets in its `options`.
    ///
    /// # Errors
    /// An option that the rule needs and that is not set, or one that it cannot take.
    pub fn with_options(mut self, options: &Options) -> Result<Self, RuleError> {
        let missing = |name| RuleError::new("options", format!("lacks `{name}`, which this provider needs"));
        match &mut self.family {
            Family::Jwt(rule) => rule.with_options(options)?,
            Family::Sns(rule) => rule.with_options(options)?,
            Family::Hmac(rule) => rule.with_options(options).map_err(missing)?,
            Family::Digest(rule) => rule.signed.message.with_options(options).map_err(missing)?,
            Family::Public(rule) => rule.signed.message.with_options(options).map_err(missing)?,
            Family::TrueLayer(_) | Family::Token(_) | Family::Basic | Family::None => {}
        }
        if let Some(origin) = &mut self.origin {
            origin.with_options(options)?;
        }
        Ok(self)
    }

    /// Names of the options that it makes use of, before [`Self::with_options`].
    pub fn options(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        match &self.family {
            Family::Jwt(rule) => names.extend(rule.options()),
            Family::Sns(_) => _ = names.insert("topic_arns".to_owned()),
            _ => names.extend(self.signed().into_iter().flat_map(|signed| signed.message.options())),
        }
        names.extend(self.origin.iter().flat_map(Origin::options));
        if self.wants_public_keys() {
            names.insert("jwks".to_owned());
        }
        names
    }

    /// The same rule, which believes no event whose signed text could be `challenge`: the bridge signs that for anybody.
    #[must_use]
    pub fn without(mut self, challenge: Challenge) -> Self {
        if let Family::Hmac(rule) = &mut self.family {
            rule.challenges.push(challenge);
        }
        self
    }

    /// Decodes `secrets`, newest first; public keys where [`Self::wants_public_keys`].
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn keys(&self, secrets: &[Secret]) -> Result<Keys, KeyError> {
        match (&self.family, secrets.is_empty()) {
            (Family::None, false) => Err(KeyError::Unused),
            (Family::None, true) => self.decode(secrets),
            (_, true) if !self.supplies_keys() => Err(KeyError::Absent),
            _ => self.decode(secrets),
        }
    }

    /// Keys of a source that has no secret yet: nothing matches them.
    ///
    /// # Errors
    /// None that is known.
    pub fn no_keys(&self) -> Result<Keys, KeyError> {
        self.decode(&[])
    }

    fn decode(&self, secrets: &[Secret]) -> Result<Keys, KeyError> {
        let own = match &self.family {
            Family::None => KeySet::None,
            Family::Hmac(rule) => KeySet::Hmac(rule.keys(secrets)?),
            Family::Digest(_) => KeySet::Secret(secrets.to_vec()),
            Family::Public(rule) => KeySet::Public(rule.keys(secrets)?),
            Family::Jwt(rule) => KeySet::Jwt(rule.keys(secrets)?),
            Family::Sns(_) => KeySet::Public(public::keys(secrets, |_| true, "a certificate or a public key in PEM")?),
            Family::TrueLayer(_) => {
                let fits = |key: &PublicKey| key.fits(super::material::Scheme::EcdsaP521Fixed);
                KeySet::Public(public::keys(secrets, fits, "a public key for ES512 in PEM or JWKS")?)
            }
            Family::Token(rule) => KeySet::Token(rule.keys(secrets)),
            Family::Basic => KeySet::Basic(basic::keys(secrets)?),
        };
        Ok(Keys::new(own))
    }

    /// Whether keys come without the source naming any: fetched, pinned by option, or shown by each token.
    pub fn supplies_keys(&self) -> bool {
        let shown = matches!(&self.family, Family::Jwt(rule) if rule.shows_chain());
        shown || self.origin.as_ref().is_some_and(Origin::supplies)
    }

    /// URL of keys that every request needs, where the source has none of its own in `keys`.
    pub fn fixed_key_url(&self, keys: &Keys) -> Option<&str> {
        let own = match &*keys.own {
            KeySet::Public(keys) => !keys.is_empty(),
            KeySet::Jwt(keys) => !keys.is_empty(),
            _ => true,
        };
        if own { None } else { self.origin.as_ref()?.fixed_url() }
    }

    /// Whether keys may have to be fetched, now or for a request.
    pub fn fetches(&self, keys: &Keys) -> bool {
        let named = matches!(&*keys.own, KeySet::Public(keys) if keys.is_empty());
        self.fixed_key_url(keys).is_some() || (named && self.origin.as_ref().is_some_and(Origin::fetches))
    }

    /// The URL from which to fetch the key of a request that [`super::check`] found [`Refusal::KeyAbsent`]. Always one
    /// that the provider's file or the source allows.
    pub fn key_url(&self, request: &Request) -> Option<String> {
        let origin = self.origin.as_ref()?;
        let url = match &self.family {
            Family::Jwt(rule) => rule.key_url(origin, request),
            Family::TrueLayer(rule) => rule.read(request).and_then(|parts| origin.url(request, parts.wanted())),
            _ => origin.url(request, Wanted::default()),
        };
        url.ok()
    }

    /// The same keys, and those that `content` from `url` holds, in place of what came from there before.
    ///
    /// - `now_s`: Unix time, seconds.
    ///
    /// # Errors
    /// Why it gives no key, to be read after its URL.
    pub fn with_fetched(&self, keys: &Keys, url: &str, content: &[u8], now_s: i64) -> Result<Keys, String> {
        let origin = self.origin.as_ref().ok_or("is not where keys come from")?;
        Ok(keys.with(url, origin.read(content, now_s)?))
    }

    /// Whether the keys are public: a source names them in `public_keys`, and has no secrets.
    pub fn wants_public_keys(&self) -> bool {
        match &self.family {
            Family::Public(_) | Family::Sns(_) | Family::TrueLayer(_) => true,
            Family::Jwt(rule) => rule.wants_public_keys(),
            _ => false,
        }
    }

    /// The attribute `verification` of what this rule accepts: `hmac-sha256`, `token`, `none`.
    pub fn method(&self) -> &'static str {
        match &self.family {
            Family::Hmac(rule) => rule.hash.method(),
            Family::Digest(rule) => rule.method(),
            Family::Public(rule) => rule.algorithm.method(),
            Family::Jwt(rule) => rule.method(),
            Family::Sns(_) => "sns",
            Family::TrueLayer(_) => "jws-es512",
            Family::Token(_) => "token",
            Family::Basic => "basic",
            Family::None => "none",
        }
    }

    /// Whether the header `name` may hold the signature or the token: it never leaves the ingress.
    pub fn is_proof(&self, name: &str) -> bool {
        let first = self.signature_header().into_iter();
        let also = self.signature_field().into_iter().flat_map(|field| field.headers());
        first.chain(also.map(String::as_str)).any(|header| header.eq_ignore_ascii_case(name))
    }

    /// Lower-case name of the header that holds the signature or the token, the first where there may be several. `None`
    /// where it stands elsewhere in the request.
    pub fn signature_header(&self) -> Option<&str> {
        match &self.family {
            Family::Basic => Some(basic::HEADER),
            _ => self.signature_field()?.header(),
        }
    }

    /// Lower-case name of the header that holds the time of signing.
    pub fn timestamp_header(&self) -> Option<&str> {
        self.stamp()?.field.header()
    }

    /// Replay window, seconds; `None` where the scheme carries no time, or any is believed.
    pub fn tolerance_s(&self) -> Option<u64> {
        match &self.family {
            Family::Jwt(rule) => rule.max_age_s,
            _ => self.stamp()?.tolerance_s,
        }
    }

    /// Whether the scheme carries a time of signing.
    pub fn is_timed(&self) -> bool {
        self.stamp().is_some() || matches!(self.family, Family::Jwt(_))
    }

    /// Whether a changed body is refused.
    pub fn covers_body(&self) -> bool {
        match &self.family {
            Family::Jwt(rule) => rule.covers_body(),
            Family::TrueLayer(_) => true,
            _ => self.signed().is_some_and(|signed| signed.message.covers_body()),
        }
    }

    /// Whether a changed form is refused.
    pub fn covers_form(&self) -> bool {
        self.covers_body() || self.signed().is_some_and(|signed| signed.message.covers_form())
    }

    /// Lower-case names of the headers that the signature covers.
    pub fn covered_headers(&self) -> Vec<&str> {
        self.signed().map_or_else(Vec::new, |signed| signed.message.headers().collect())
    }

    /// Names of the query parameters that the signature covers by themselves.
    pub fn covered_queries(&self) -> Vec<&str> {
        self.signed().map_or_else(Vec::new, |signed| signed.message.queries().collect())
    }

    /// JSON Pointers of the scalars that the signature covers by themselves.
    pub fn covered_pointers(&self) -> Vec<&str> {
        match &self.family {
            Family::Sns(_) => sns::COVERED.to_vec(),
            _ => self.signed().map_or_else(Vec::new, |signed| signed.message.pointers().collect()),
        }
    }

    /// Names of the form fields that the signature covers by themselves, with the JSON Pointer of the part where it
    /// covers no more.
    pub fn covered_form_fields(&self) -> Vec<(&str, Option<&str>)> {
        self.signed().map_or_else(Vec::new, |signed| signed.message.form_fields().collect())
    }

    /// Whether the signature covers the URL, so that a source needs `public_url`.
    pub fn needs_url(&self) -> bool {
        match &self.family {
            Family::Jwt(rule) => rule.needs_url(),
            _ => self.signed().is_some_and(|signed| signed.message.needs_url()),
        }
    }

    /// How secrets are written, where that is not simply text.
    pub(super) fn secret_form(&self) -> Option<&SecretForm> {
        match &self.family {
            Family::Hmac(rule) => Some(&rule.secret),
            _ => None,
        }
    }

    /// JSON Pointer of the signature or token, where it stands in the body.
    pub fn signature_pointer(&self) -> Option<&str> {
        self.signature_field()?.body()
    }

    pub(super) fn signature_field(&self) -> Option<&field::Field> {
        match &self.family {
            Family::Token(rule) => Some(&rule.token),
            Family::Jwt(rule) => Some(&rule.token),
            Family::Sns(rule) => Some(&rule.signature),
            Family::TrueLayer(rule) => Some(&rule.signature),
            _ => self.signed().map(|signed| &signed.signature),
        }
    }

    fn signed(&self) -> Option<&signed::Signed> {
        match &self.family {
            Family::Hmac(rule) => Some(&rule.signed),
            Family::Digest(rule) => Some(&rule.signed),
            Family::Public(rule) => Some(&rule.signed),
            Family::Jwt(_) | Family::Sns(_) | Family::TrueLayer(_) => None,
            Family::Token(_) | Family::Basic | Family::None => None,
        }
    }

    fn stamp(&self) -> Option<&stamp::Stamp> {
        match &self.family {
            Family::Sns(rule) => Some(&rule.timestamp),
            _ => self.signed()?.timestamp.as_ref(),
        }
    }

    fn stamp_mut(&mut self) -> Option<&mut stamp::Stamp> {
        let signed = match &mut self.family {
            Family::Hmac(rule) => &mut rule.signed,
            Family::Digest(rule) => &mut rule.signed,
            Family::Public(rule) => &mut rule.signed,
            Family::Sns(rule) => return Some(&mut rule.timestamp),
            Family::Jwt(_) | Family::TrueLayer(_) | Family::Token(_) | Family::Basic | Family::None => return None,
        };
        signed.timestamp.as_mut()
    }
}
