//! Where a value stands in a request: a header, one item of the list in it, behind a prefix.
//!
//! This one primitive reads `sha256=<hex>`, `t=<time>,v1=<hex>,v1=<hex>` and `v1,<base64> v1,<base64>` alike.

use serde::Deserialize;

use super::{Refusal, RuleError};
use crate::event::Request;

/// `{ header, split?, prefix? }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// Name of the header, in any case.
    pub header: String,
    /// Separator of the list in the header, one ASCII character; blanks around the items do not count.
    #[serde(default)]
    pub split: Option<String>,
    /// What the value begins with; items of a list without it are somebody else's.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// A compiled [`FieldSpec`].
#[derive(Debug, Clone)]
pub(super) struct Field {
    header: String,
    pub(super) split: Option<u8>,
    pub(super) prefix: String,
}

impl Field {
    pub(super) fn new(spec: FieldSpec, key: &'static str) -> Result<Self, RuleError> {
        let split = match spec.split.as_deref().map(str::as_bytes) {
            None => None,
            Some([b]) if b.is_ascii() => Some(*b),
            Some(_) => return Err(RuleError::new(key, "has a `split` that is not one ASCII character")),
        };
        Ok(Self { header: header_name(&spec.header, key)?, split, prefix: spec.prefix.unwrap_or_default() })
    }

    /// Lower-case name of the header.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// The values behind the prefix, in their order.
    ///
    /// # Errors
    /// [`Refusal::Missing`] without the header, [`Refusal::Mismatch`] with two of them.
    pub(super) fn values<'r>(&self, request: &Request<'r>) -> Result<impl Iterator<Item = &'r [u8]>, Refusal> {
        let (split, prefix) = (self.split, self.prefix.as_bytes());
        Ok(header_once(request, &self.header)?
            .split(move |b| Some(*b) == split)
            .filter_map(move |item| item.trim_ascii().strip_prefix(prefix)))
    }

    /// The only value behind the prefix.
    ///
    /// # Errors
    /// As [`Self::values`]; [`Refusal::Missing`] without a value, [`Refusal::Mismatch`] with two.
    pub(super) fn only<'r>(&self, request: &Request<'r>) -> Result<&'r [u8], Refusal> {
        let mut values = self.values(request)?;
        let first = values.next().ok_or(Refusal::Missing)?;
        if values.next().is_some() { Err(Refusal::Mismatch) } else { Ok(first) }
    }
}

/// The value of a header that stands exactly once and is not empty.
pub(super) fn header_once<'r>(request: &Request<'r>, name: &str) -> Result<&'r [u8], Refusal> {
    let value = request.headers.nth(name, 0).ok_or(Refusal::Missing)?;
    if request.headers.nth(name, 1).is_some() {
        return Err(Refusal::Mismatch);
    }
    if value.trim_ascii().is_empty() { Err(Refusal::Missing) } else { Ok(value) }
}

/// `name` in lower case, if a header can have it.
pub(super) fn header_name(name: &str, key: &'static str) -> Result<String, RuleError> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(RuleError::new(key, format!("names the header `{name}`, which cannot be")));
    }
    Ok(name.to_ascii_lowercase())
}
