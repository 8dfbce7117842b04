//! The keys of one source as they stand at one time: its own, and those that were fetched.

use std::sync::Arc;

use super::material::PublicKey;
use super::origin::{ByUrl, Origin, Wanted};
use super::{Refusal, basic, hmac, jwt, public, token};
use crate::event::{Request, Secret};

/// Most URLs of keys that count as proven: a sender has a few at once.
const PROVEN: usize = 64;

/// What a source's requests are checked with: its own keys, decoded, and those that were fetched. A snapshot: cloning is
/// cheap, and what is fetched later makes another one.
#[derive(Clone)]
pub struct Keys {
    pub(super) own: Arc<KeySet>,
    pub(super) fetched: Arc<ByUrl>,
    /// URLs of fetched keys that an authentic request, or the provider's file, has named: at most [`PROVEN`], the newest
    /// last.
    proven: Arc<Vec<String>>,
}

impl Keys {
    pub(super) fn new(own: KeySet) -> Self {
        Self { own: Arc::new(own), fetched: Arc::default(), proven: Arc::default() }
    }

    /// With those that were fetched for an earlier snapshot of the same rule.
    #[must_use]
    pub fn and_fetched_of(self, earlier: &Self) -> Self {
        Self { fetched: Arc::clone(&earlier.fetched), proven: Arc::clone(&earlier.proven), ..self }
    }

    /// The same keys, and `keys` in place of what came from `url` before.
    pub(super) fn with(&self, url: &str, keys: Vec<PublicKey>) -> Self {
        let mut fetched = ByUrl::clone(&self.fetched);
        fetched.insert(url.to_owned(), keys);
        Self { fetched: Arc::new(fetched), ..self.clone() }
    }

    /// The same keys but those that came from `url`.
    #[must_use]
    pub fn without(&self, url: &str) -> Self {
        let (mut fetched, mut proven) = (ByUrl::clone(&self.fetched), Vec::clone(&self.proven));
        fetched.remove(url);
        proven.retain(|known| known != url);
        Self { fetched: Arc::new(fetched), proven: Arc::new(proven), ..self.clone() }
    }

    /// The same keys, of which those from `url` have shown whose they are. Where that are too many, those that did so
    /// first count as unproven until they do so again.
    #[must_use]
    pub fn proven_by(&self, url: &str) -> Self {
        if self.are_proven(url) {
            return self.clone();
        }
        let over = (self.proven.len() + 1).saturating_sub(PROVEN);
        let mut proven = self.proven.get(over..).unwrap_or_default().to_vec();
        proven.push(url.to_owned());
        Self { proven: Arc::new(proven), ..self.clone() }
    }

    /// Whether the keys from `url` have shown whose they are; those of others are there because somebody named them.
    pub fn are_proven(&self, url: &str) -> bool {
        self.proven.iter().any(|known| known == url)
    }

    /// Whether there are fetched keys of which nobody knows yet.
    pub fn any_unproven(&self) -> bool {
        self.proven.len() < self.fetched.len()
    }

    /// From where keys were fetched.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.fetched.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys([redacted])")
    }
}

pub(super) enum KeySet {
    Hmac(Vec<hmac::Key>),
    Secret(Vec<Secret>),
    Public(Vec<public::Key>),
    Jwt(Vec<jwt::Key>),
    Token(Vec<token::Key>),
    Basic(Vec<basic::Key>),
    None,
}

/// The keys that may have signed `request`: the source's own, else those of its provider's address.
pub(super) fn candidates<'k>(
    own: &'k [public::Key],
    from: Option<(&'k Origin, &'k ByUrl)>,
    request: &Request,
    wanted: Wanted,
    now_s: i64,
) -> Result<Vec<&'k PublicKey>, Refusal> {
    match from {
        Some((origin, fetched)) if own.is_empty() => origin.find(fetched, request, wanted, now_s),
        _ => Ok(own.iter().flatten().collect()),
    }
}
