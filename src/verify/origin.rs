//! Where a sender's public keys come from: pinned by the source, or fetched from an address that the provider's file
//! allows.
//!
//! Nothing is fetched here. A request that needs a key which is not here yet is [`Refusal::KeyAbsent`]; whoever fetches
//! asks [`Rule::key_url`](super::Rule::key_url) from where, and puts what came into new [`Keys`](super::Keys).

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::chain::{Roots, fetched_key, not_roots};
use super::field::{Field, FieldSpec};
use super::material::{self, PublicKey};
use super::{Refusal, RuleError};
use crate::event::json::Pointers;
use crate::event::route::Glob;
use crate::event::{Options, Request, Setting};

/// `keys`: the address of the public keys, where the source pins none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OriginSpec {
    /// Their URL: a key set, a certificate or a key in PEM; `{option:NAME}` stands for what the source sets. The option
    /// `jwks` may name another.
    pub url: Option<String>,
    /// Where in the answer the key stands, by JSON Pointer.
    pub pointer: Option<String>,
    /// Where a request names the URL of its key.
    pub named_by: Option<FieldSpec>,
    /// The only URLs that a request may name, e.g. `https://sns.{region}.amazonaws.com/*.pem`; in the host, a `*` stands for
    /// one label, `{region}` for one that names a region of AWS. What has other spellings is not asked for: `%`, `;`, and `//` in the path.
    pub allow: Vec<String>,
    /// Where a request names the id of its key, if not in its token.
    pub id: Option<FieldSpec>,
    /// Name that a fetched certificate must bear, e.g. `*.paypal.com`.
    pub certificate_name: Option<String>,
}

/// Keys by the URL that they came from.
pub(super) type ByUrl = BTreeMap<String, Vec<PublicKey>>;

/// A compiled [`OriginSpec`], with what the source pins.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    url: Option<String>,
    pointer: Option<Pointers>,
    named_by: Option<Field>,
    named: bool,
    allow: Vec<Pattern>,
    id: Option<Field>,
    certificate_name: Option<String>,
    roots: Option<Roots>,
    pinned: ByUrl,
}

/// What a request says of its key.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'r> {
    /// Id of the key.
    pub(super) id: Option<&'r str>,
    /// URL that the token names (`jku`).
    pub(super) url: Option<&'r str>,
}

impl Origin {
    /// - `named`: the scheme itself tells which URL a request names.
    pub(super) fn new(spec: OriginSpec, named: bool) -> Result<Self, RuleError> {
        let bad = |problem: &str| RuleError::new("keys", problem.to_owned());
        let named_by = spec.named_by.map(|field| Field::new(field, "keys")).transpose()?;
        let named = named || named_by.is_some();
        let read = |text: &String| Pattern::new(text).filter(|pattern| has_one_spelling(pattern.path.as_str()));
        let allow = spec.allow.iter().map(read).collect::<Option<Vec<_>>>();
        let allow =
            allow.ok_or_else(|| bad("has `allow` that is not https://HOST/PATH, without `%`, `;` and `//` in it"))?;
        if named == allow.is_empty() || (named && spec.url.is_some()) {
            return Err(bad("needs `allow` beside `named_by`, and `url` without it"));
        }
        let pointer = spec.pointer.map(|pointer| Pointers::new([pointer])).transpose();
        Ok(Self {
            url: spec.url,
            pointer: pointer.map_err(|error| bad(&format!("has a `pointer`: {error}")))?,
            named_by,
            named,
            allow,
            id: spec.id.map(|field| Field::new(field, "keys")).transpose()?,
            certificate_name: spec.certificate_name,
            roots: None,
            pinned: ByUrl::new(),
        })
    }

    /// Names of the options that it makes use of.
    pub(super) fn options(&self) -> Vec<String> {
        let named = |text: &str| text.split('}').next().unwrap_or_default().to_owned();
        let in_url = self.url.iter().flat_map(|url| url.split("{option:").skip(1).map(named));
        let more = [
            ("jwks", !self.named),
            ("certificates", true),
            ("trusted_roots", self.certificate_name.is_some()),
            ("hosts", !self.allow.is_empty()),
        ];
        in_url.chain(more.into_iter().filter(|(_, used)| *used).map(|(name, _)| name.to_owned())).collect()
    }

    /// Takes in `jwks`, `certificates`, `trusted_roots` and `hosts`.
    pub(super) fn with_options(&mut self, options: &Options) -> Result<(), RuleError> {
        let bad = |problem: String| RuleError::new("options", problem);
        if let Some(jwks) = options.text("jwks").filter(|text| text.contains("://")) {
            if self.named {
                return Err(bad(
                    "has a URL in `jwks`, but this provider's requests name it: write \"file:PATH\"".to_owned()
                ));
            }
            (self.url, self.pointer) = (Some(jwks.to_owned()), None);
        }
        if let Some(url) = self.url.as_mut() {
            // Without the option there is no address, and the source has to pin its keys.
            *url = filled(url, options);
            if !url.is_empty() && !Url::parse(url).is_ok_and(|url| url.scheme() == "https" && url.has_host()) {
                return Err(bad(format!("leads to the keys at `{url}`, which is not an https:// URL")));
            }
        }
        self.url = self.url.take().filter(|url| !url.is_empty());
        match options.get("certificates") {
            None => {}
            Some(Setting::Table(table)) => {
                for (url, text) in table {
                    let keys = material::read(text.as_bytes());
                    if keys.is_empty() {
                        return Err(bad(format!("has `certificates` in which \"{url}\" is no certificate in PEM")));
                    }
                    self.pinned.insert(url.clone(), keys);
                }
            }
            Some(_) => return Err(bad("has `certificates` that is not { \"<url>\" = \"file:PATH\" }".to_owned())),
        }
        if !options.texts("trusted_roots").is_empty() {
            self.roots = Some(Roots::read(options.texts("trusted_roots")).ok_or_else(not_roots)?);
        }
        let paths: Vec<Pattern> = self.allow.clone();
        for host in options.texts("hosts") {
            let further = paths.iter().map(|pattern| pattern.at(host)).collect::<Option<Vec<_>>>();
            let what = || bad(format!("has `hosts` with `{host}`, which is not HOST or HOST:PORT"));
            self.allow.extend(further.ok_or_else(what)?);
        }
        Ok(())
    }

    /// Whether keys come without the source naming any in `public_keys`.
    pub(super) fn supplies(&self) -> bool {
        self.named || self.url.is_some() || !self.pinned.is_empty()
    }

    /// Whether a request may make a fetch necessary.
    pub(super) fn fetches(&self) -> bool {
        self.pinned.is_empty() && (self.named || self.url.is_some())
    }

    /// The URL that is always needed, and can be fetched ahead.
    pub(super) fn fixed_url(&self) -> Option<&str> {
        self.url.as_deref().filter(|_| self.pinned.is_empty())
    }

    /// The URL from which the key of this request may be fetched.
    pub(super) fn url(&self, request: &Request, wanted: Wanted) -> Result<String, Refusal> {
        let Some(named) = self.named_url(request, wanted)? else {
            return self.url.clone().ok_or(Refusal::Mismatch);
        };
        // One key under many URLs would be fetched and kept as many times.
        let one = |url: &Url| has_one_spelling(url.as_str().trim_start_matches("https://"));
        let allowed =
            |url: &Url| one(url) && self.pinned.is_empty() && self.allow.iter().any(|pattern| pattern.matches(url));
        Url::parse(&named).ok().filter(allowed).map(String::from).ok_or(Refusal::Mismatch)
    }

    fn named_url(&self, request: &Request, wanted: Wanted) -> Result<Option<String>, Refusal> {
        match &self.named_by {
            Some(field) => {
                let text = field.only(request)?.into_owned();
                String::from_utf8(text).map(Some).map_err(|_| Refusal::Mismatch)
            }
            None if self.named => wanted.url.map(|url| Some(url.to_owned())).ok_or(Refusal::Mismatch),
            None => Ok(None),
        }
    }

    /// The id of the key, where a place of the request names it.
    pub(super) fn id(&self, request: &Request) -> Result<Option<String>, Refusal> {
        let text = self.id.as_ref().map(|field| field.only(request)).transpose()?;
        text.map(|text| String::from_utf8(text.into_owned()).map_err(|_| Refusal::Mismatch)).transpose()
    }

    /// The keys that may have signed this request.
    ///
    /// # Errors
    /// [`Refusal::KeyAbsent`]: they would have to be fetched first. [`Refusal::Mismatch`]: no allowed URL is named.
    pub(super) fn find<'k>(
        &'k self,
        fetched: &'k ByUrl,
        request: &Request,
        wanted: Wanted,
        now_s: i64,
    ) -> Result<Vec<&'k PublicKey>, Refusal> {
        if let Some(named) = self.named_url(request, wanted)?
            && let Some(keys) = self.pinned.get(&named)
        {
            return Ok(keys.iter().collect());
        }
        let url = self.url(request, wanted)?;
        let keys = fetched.get(&url).ok_or(Refusal::KeyAbsent)?;
        let fits = |key: &&PublicKey| {
            key.is_valid(now_s) && wanted.id.is_none_or(|id| key.id.as_deref().is_none_or(|own| own == id))
        };
        let found: Vec<_> = keys.iter().filter(fits).collect();
        // A key set is renewed: the id may be in the next one.
        if found.is_empty() { Err(Refusal::KeyAbsent) } else { Ok(found) }
    }

    /// Reads what was fetched.
    ///
    /// # Errors
    /// Why it gives no key, to be read after its URL.
    pub(super) fn read(&self, content: &[u8], now_s: i64) -> Result<Vec<PublicKey>, String> {
        let inside = match &self.pointer {
            None => None,
            Some(pointer) => {
                let picked = pointer.read(content).map_err(|error| error.to_string())?;
                Some(picked.get(0).ok_or("has no key where one is looked for")?.as_bytes().to_vec())
            }
        };
        let content = inside.as_deref().unwrap_or(content);
        if let Some(name) = &self.certificate_name {
            return fetched_key(content, self.roots.as_ref(), name, now_s).map(|key| vec![key]);
        }
        let keys = material::read(content);
        if keys.is_empty() { Err("holds no key that is understood".to_owned()) } else { Ok(keys) }
    }
}

/// `text` with the options in it, empty where one is not set; a host that is set as a URL counts as the host.
fn filled(text: &str, options: &Options) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("{option:") {
        let (name, after) = from.split_once('}').unwrap_or((from, ""));
        let Some(value) = options.text(name) else { return String::new() };
        let value = value.strip_prefix("https://").unwrap_or(value);
        out.push_str(before);
        out.push_str(value.trim_end_matches('/'));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether what stands behind `https://` leads elsewhere as soon as it is written otherwise.
fn has_one_spelling(text: &str) -> bool {
    !text.contains(['%', ';']) && !text.contains("//")
}

/// A label of a pattern that stands for a region of AWS.
const REGION: &str = "{region}";

/// Whether `label` names a region as AWS does, such as `us-gov-west-1`. Of other names in the same place some are anybody's:
/// `NAME.s3-us-west-2.amazonaws.com` is a bucket.
fn is_region(label: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let Some((place, number)) = label.rsplit_once('-') else { return false };
    let Some((country, place)) = place.split_once('-') else { return false };
    country.len() == 2
        && is_word(country)
        && place.split('-').all(is_word)
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// A URL that may be asked: always https.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Labels of the host; `*` stands for one, [`REGION`] for a region's.
    host: Vec<String>,
    port: Option<u16>,
    /// Path and query.
    path: Glob,
}

impl Pattern {
    /// Reads `https://HOST/PATH`.
    pub fn new(text: &str) -> Option<Self> {
        let (authority, path) = text.strip_prefix("https://")?.split_once('/')?;
        Self { host: Vec::new(), port: None, path: Glob::from(format!("/{path}")) }.at(authority)
    }

    /// The same path at another host.
    pub fn at(&self, authority: &str) -> Option<Self> {
        let (host, port) = match authority.split_once(':') {
            None => (authority, None),
            Some((host, port)) => (host, Some(port.parse().ok()?)),
        };
        let label = |label: &str| {
            ["*", REGION].contains(&label)
                || (!label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        };
        let labels: Vec<String> = host.split('.').map(str::to_ascii_lowercase).collect();
        labels.iter().all(|text| label(text)).then(|| Self { host: labels, port, path: self.path.clone() })
    }

    /// Whether `url` may be asked.
    pub fn matches(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let labels: Vec<&str> = host.split('.').collect();
        let same = |(pattern, label): (&String, &&str)| match pattern.as_str() {
            "*" => !label.is_empty(),
            REGION => is_region(label),
            pattern => pattern == *label,
        };
        let target = match url.query() {
            None => url.path().to_owned(),
            Some(query) => format!("{}?{query}", url.path()),
        };
        url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && url.port() == self.port
            && labels.len() == self.host.len()
            && self.host.iter().zip(&labels).all(same)
            && (url.query().is_none() || self.path.as_str().contains('?'))
            && self.path.matches(&target)
    }
}

#[cfg(test)]
mod tests;
