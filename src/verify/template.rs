//! What a signature covers: `"{header:webhook-id}.{timestamp}.{body}"`, parsed once.
//!
//! `{[` and `]}` enclose a part that falls away where a value in it is absent; a value whose name ends in `?` is
//! empty where it is absent.

use std::borrow::Cow;

use sha2::Digest as _;

use super::canonical::{self, Canonical};
use super::field::{form_once, header_name, header_once, parameter_once, within};
use super::{Refusal, RuleError};
use crate::event::json::{Picked, Pointers};
use crate::event::{Options, Request, form};

/// A parsed message template.
#[derive(Debug, Clone)]
pub(super) struct Template {
    parts: Vec<Part>,
    pointers: Pointers,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Body,
    BodyHash,
    Timestamp,
    Method,
    Path,
    Url,
    FormSorted,
    Secret,
    /// The decimal CRC-32 of the body.
    BodyCrc32,
    /// An option of the source, until [`Template::with_options`] puts its text here.
    Option(String),
    /// A text in one of the forms of [`canonical`].
    Canonical(Canonical),
    Value {
        from: From,
        optional: bool,
        /// The text between this value and what follows. The value must not hold it: else one signature would fit
        /// several ways to cut the same bytes into header, time and body.
        until: Option<String>,
    },
    Group(Vec<Part>),
}

#[derive(Debug, Clone)]
enum From {
    Header(String),
    Query(String),
    Form(String),
    /// A field, and a pointer into its JSON, as text and compiled.
    FormJson(String, String, Pointers),
    /// A pointer, and its number in the set.
    Body(String, usize),
}

const PLACEHOLDERS: &str = "{body}, {body_sha256_hex}, {body_crc32}, {body_with_secret:/POINTER}, {timestamp}, {method}, \
                            {path}, {target_escaped}, {url}, {url_form_sorted}, {form_sorted}, {form_php:NAME}, {secret}, \
                            {option:NAME}, {header:NAME}, {signed_headers:LIST,NAME}, {query:NAME}, {form:NAME}, \
                            {form:NAME:/POINTER}, {body:/POINTER} or {[…]}";

/// What fills a template.
#[derive(Clone, Copy)]
pub(super) struct Filling<'r, 'v> {
    pub(super) request: &'v Request<'r>,
    pub(super) timestamp: Option<&'v [u8]>,
    pub(super) secret: Option<&'v [u8]>,
    /// Whether the URL is taken with its port where it has none, and without where it has one.
    pub(super) other_port: bool,
}

fn bad(what: &str) -> RuleError {
    RuleError::new("message", format!("holds {what}; it may hold {PLACEHOLDERS}"))
}

impl Template {
    /// # Errors
    /// An unknown placeholder, or a brace without its partner.
    pub(super) fn new(text: &str) -> Result<Self, RuleError> {
        let mut pointers = Vec::new();
        let parts = parse(text, &mut pointers)?;
        let pointers = Pointers::new(pointers).map_err(|e| RuleError::new("message", e.to_string()))?;
        Ok(Self { parts, pointers })
    }

    /// Puts `options` where the message names them.
    ///
    /// # Errors
    /// The name of the first that is not set.
    pub(super) fn with_options(&mut self, options: &Options) -> Result<(), String> {
        for part in &mut self.parts {
            if let Part::Option(name) = part {
                let text = options.text(name).ok_or_else(|| name.clone())?;
                *part = Part::Literal(text.to_owned());
            }
        }
        Ok(())
    }

    /// Names of the options in it.
    pub(super) fn options(&self) -> impl Iterator<Item = String> {
        self.parts.iter().filter_map(|part| match part {
            Part::Option(name) => Some(name.clone()),
            _ => None,
        })
    }

    /// The bytes that are signed, in pieces; the body is borrowed, never copied.
    ///
    /// # Errors
    /// [`Refusal::Missing`]: a header, parameter or URL that is covered is absent. [`Refusal::Mismatch`]: it stands
    /// twice, or holds the separator.
    pub(super) fn fill<'v>(&'v self, filling: Filling<'_, 'v>) -> Result<Vec<Cow<'v, [u8]>>, Refusal> {
        let wanted = self.places().any(|from| matches!(from, From::Body(..)));
        let picked = if wanted { self.pointers.read(filling.request.body).ok() } else { None };
        let mut pieces = Vec::with_capacity(self.parts.len());
        fill(&self.parts, filling, picked.as_ref(), &mut pieces)?;
        Ok(pieces)
    }

    pub(super) fn covers_body(&self) -> bool {
        let covers = |part: &Part| match part {
            Part::Body | Part::BodyHash | Part::BodyCrc32 => true,
            Part::Canonical(canonical) => canonical.covers_body(),
            _ => false,
        };
        self.parts.iter().any(covers)
    }

    pub(super) fn covers_form(&self) -> bool {
        let covers = |part: &Part| match part {
            Part::FormSorted => true,
            Part::Canonical(canonical) => canonical.covers_form(),
            _ => false,
        };
        self.covers_body() || self.parts.iter().any(covers)
    }

    pub(super) fn covers_timestamp(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Timestamp))
    }

    pub(super) fn covers_secret(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Secret => true,
            Part::Canonical(canonical) => canonical.covers_secret(),
            _ => false,
        })
    }

    pub(super) fn needs_url(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Url | Part::Canonical(Canonical::UrlForm)))
    }

    /// Lower-case names of the headers that are covered.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        let listed = self.parts.iter().filter_map(|part| match part {
            Part::Canonical(Canonical::SignedHeaders(names)) => Some(names),
            _ => None,
        });
        let own = self.places().filter_map(|from| match from {
            From::Header(name) => Some(name.as_str()),
            _ => None,
        });
        own.chain(listed.flatten().map(String::as_str))
    }

    /// Names of the query parameters that are covered.
    pub(super) fn queries(&self) -> impl Iterator<Item = &str> {
        self.places().filter_map(|from| match from {
            From::Query(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Pointers of the scalars of the body that are covered.
    pub(super) fn pointers(&self) -> impl Iterator<Item = &str> {
        self.places().filter_map(|from| match from {
            From::Body(pointer, _) => Some(pointer.as_str()),
            _ => None,
        })
    }

    /// Names of the form fields that are covered, and the pointer where only a part of the field's JSON is.
    pub(super) fn form_fields(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.places().filter_map(|from| match from {
            From::Form(name) => Some((name.as_str(), None)),
            From::FormJson(name, pointer, _) => Some((name.as_str(), Some(pointer.as_str()))),
            _ => None,
        })
    }

    fn places(&self) -> impl Iterator<Item = &From> {
        fn of(part: &Part) -> &[Part] {
            match part {
                Part::Group(parts) => parts,
                other => std::slice::from_ref(other),
            }
        }
        self.parts.iter().flat_map(of).filter_map(|part| match part {
            Part::Value { from, .. } => Some(from),
            _ => None,
        })
    }
}

fn parse(mut rest: &str, pointers: &mut Vec<String>) -> Result<Vec<Part>, RuleError> {
    let mut parts = Vec::new();
    while let Some((literal, from)) = rest.split_once('{') {
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        if let Some(inner) = from.strip_prefix('[') {
            let (inner, after) = inner.split_once("]}").ok_or_else(|| bad("a `{[` without its `]}`"))?;
            let mut inner = parse(inner, pointers)?;
            if inner.iter().any(|part| matches!(part, Part::Group(_))) {
                return Err(bad("a `{[` within another"));
            }
            bound(&mut inner, true);
            parts.push(Part::Group(inner));
            rest = after;
            continue;
        }
        let (name, after) = from.split_once('}').ok_or_else(|| bad("a `{` without its `}`"))?;
        parts.push(placeholder(name, pointers)?);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    if parts.iter().any(|part| matches!(part, Part::Literal(text) if text.contains('}'))) {
        return Err(bad("a `}` without its `{`"));
    }
    bound(&mut parts, false);
    Ok(parts)
}

fn placeholder(name: &str, pointers: &mut Vec<String>) -> Result<Part, RuleError> {
    let (full, optional) = (name, name.ends_with('?'));
    let name = name.strip_suffix('?').unwrap_or(name);
    let from = match name.split_once(':') {
        None => {
            return match (name, optional) {
                ("body", false) => Ok(Part::Body),
                ("body_sha256_hex", false) => Ok(Part::BodyHash),
                ("timestamp", false) => Ok(Part::Timestamp),
                ("method", false) => Ok(Part::Method),
                ("path", false) => Ok(Part::Path),
                ("url", false) => Ok(Part::Url),
                ("form_sorted", false) => Ok(Part::FormSorted),
                ("secret", false) => Ok(Part::Secret),
                ("body_crc32", false) => Ok(Part::BodyCrc32),
                ("target_escaped", false) => Ok(Part::Canonical(Canonical::TargetEscaped)),
                ("url_form_sorted", false) => Ok(Part::Canonical(Canonical::UrlForm)),
                _ => Err(bad(&format!("`{{{full}}}`"))),
            };
        }
        Some(("option", name)) if !name.is_empty() && !optional => return Ok(Part::Option(name.to_owned())),
        Some(("signed_headers", name)) if !optional => {
            let names = name.split(',').map(|name| header_name(name, "message"));
            return Ok(Part::Canonical(Canonical::SignedHeaders(names.collect::<Result<_, _>>()?)));
        }
        Some(("form_php", name)) if !name.is_empty() && !optional => {
            return Ok(Part::Canonical(Canonical::FormPhp(name.to_owned())));
        }
        Some(("body_with_secret", pointer)) if pointer.starts_with('/') && !optional => {
            let pointers = Pointers::new([pointer]).map_err(|e| RuleError::new("message", e.to_string()))?;
            return Ok(Part::Canonical(Canonical::BodyWithSecret(pointers)));
        }
        Some(("query", name)) if !name.is_empty() => From::Query(name.to_owned()),
        Some(("form", name)) if !name.is_empty() => match name.split_once(":/") {
            None => From::Form(name.to_owned()),
            Some((field, rest)) => {
                let pointer = format!("/{rest}");
                let pointers = Pointers::new([&pointer]).map_err(|e| RuleError::new("message", e.to_string()))?;
                From::FormJson(field.to_owned(), pointer, pointers)
            }
        },
        Some(("header", name)) => From::Header(header_name(name, "message")?),
        Some(("body", pointer)) if pointer.starts_with('/') => {
            pointers.push(pointer.to_owned());
            From::Body(pointer.to_owned(), pointers.len() - 1)
        }
        _ => return Err(bad(&format!("`{{{full}}}`"))),
    };
    Ok(Part::Value { from, optional, until: None })
}

/// Bounds each value by the text behind it: everywhere in a group, elsewhere where a timestamp follows.
fn bound(parts: &mut [Part], always: bool) {
    for n in 0..parts.len() {
        let text = match parts.get(n + 1..) {
            Some([Part::Literal(text), Part::Timestamp, ..]) => Some(text.clone()),
            Some([Part::Literal(text), ..]) if always => Some(text.clone()),
            _ => None,
        };
        if let Some(Part::Value { until, .. }) = parts.get_mut(n)
            && text.is_some()
        {
            *until = text;
        }
    }
}

fn fill<'v>(
    parts: &'v [Part],
    filling: Filling<'_, 'v>,
    picked: Option<&Picked>,
    pieces: &mut Vec<Cow<'v, [u8]>>,
) -> Result<(), Refusal> {
    let request = filling.request;
    for part in parts {
        pieces.push(match part {
            Part::Literal(text) => Cow::Borrowed(text.as_bytes()),
            Part::Body => Cow::Borrowed(request.body),
            Part::BodyHash => Cow::Owned(hex::encode(sha2::Sha256::digest(request.body)).into_bytes()),
            Part::Timestamp => Cow::Borrowed(filling.timestamp.ok_or(Refusal::Missing)?),
            Part::Method => Cow::Borrowed(request.method.as_bytes()),
            Part::Path => Cow::Borrowed(request.path.as_bytes()),
            Part::Url => {
                let url = url(request).ok_or(Refusal::Missing)?;
                let url = if filling.other_port { canonical::other_port(&url) } else { url };
                Cow::Owned(url.into_bytes())
            }
            Part::BodyCrc32 => Cow::Owned(crc32fast::hash(request.body).to_string().into_bytes()),
            // A rule that nobody gave its options proves nothing.
            Part::Option(_) => return Err(Refusal::Mismatch),
            Part::Canonical(canonical) => Cow::Owned(canonical.write(request, filling.secret)?),
            Part::FormSorted => Cow::Owned(form_sorted(request).into_bytes()),
            Part::Secret => Cow::Borrowed(filling.secret.ok_or(Refusal::Mismatch)?),
            Part::Value { from, optional, until } => match value(from, request, picked) {
                Ok(value) if until.as_ref().is_some_and(|until| holds(&value, until.as_bytes())) => {
                    return Err(Refusal::Mismatch);
                }
                Ok(value) => value,
                Err(Refusal::Missing) if *optional => Cow::Borrowed(b""),
                Err(refusal) => return Err(refusal),
            },
            Part::Group(inner) => {
                let before = pieces.len();
                match fill(inner, filling, picked, pieces) {
                    Err(Refusal::Missing) => pieces.truncate(before),
                    other => other?,
                }
                continue;
            }
        });
    }
    Ok(())
}

fn value<'v>(from: &From, request: &Request<'v>, picked: Option<&Picked>) -> Result<Cow<'v, [u8]>, Refusal> {
    Ok(match from {
        From::Header(name) => Cow::Borrowed(header_once(request, name)?),
        From::Query(name) => Cow::Owned(parameter_once(request.query, name)?.into_bytes()),
        From::Form(name) => Cow::Owned(form_once(request, name)?.into_bytes()),
        From::FormJson(name, _, pointers) => Cow::Owned(within(&form_once(request, name)?, pointers)?.into_bytes()),
        From::Body(_, n) => {
            let text = picked.and_then(|picked| picked.get(*n)).ok_or(Refusal::Missing)?;
            Cow::Owned(text.as_bytes().to_vec())
        }
    })
}

/// The URL that the sender was given, with the query as sent where that has none of its own, or more behind it: Twilio adds a
/// parameter.
pub(super) fn url(request: &Request) -> Option<String> {
    let url = request.public_url?;
    let own = url.split_once('?').map(|(_, query)| query);
    let more = match own {
        None => Some(request.query).filter(|query| !query.is_empty()).map(|query| format!("?{query}")),
        Some(own) => request.query.strip_prefix(own).filter(|more| more.starts_with('&')).map(str::to_owned),
    };
    Some([url, &more.unwrap_or_default()].concat())
}

/// The path that the sender was given: of `public_url` where the source has one, else as it came.
pub(super) fn signed_path(request: &Request) -> String {
    let given = request.public_url.and_then(|url| url::Url::parse(url).ok());
    given.map_or_else(|| request.path.to_owned(), |url| url.path().to_owned())
}

/// Name and value of each form field, sorted; equal ones count once.
fn form_sorted(request: &Request) -> String {
    let mut fields = form::fields(request.headers.nth("content-type", 0).unwrap_or_default(), request.body);
    fields.sort();
    fields.dedup();
    fields.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]).collect()
}

fn holds(value: &[u8], text: &[u8]) -> bool {
    value.windows(text.len().max(1)).any(|window| window == text)
}

#[cfg(test)]
mod tests;
