//! Canonical forms of requests, each of one sender's making, as parts of a message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::Digest as _;

use super::field::{header_name, header_once};
use super::template::url;
use super::{Refusal, template};
use crate::event::json::Pointers;
use crate::event::{Request, form};

/// Most headers that a request may list as signed.
const MAX_HEADERS: usize = 64;

/// A text made of several parts of a request.
#[derive(Debug, Clone)]
pub(super) enum Canonical {
    /// `{signed_headers:LIST,NAME}`: the headers that the header LIST lists, itself and NAME among them, as
    /// `name:value`, sorted, with `;` between.
    SignedHeaders(Vec<String>),
    /// `{target_escaped}`: path and query, the query escaped twice.
    TargetEscaped,
    /// `{url_form_sorted}`: the URL with its query sorted, then the fields of the form, sorted.
    UrlForm,
    /// `{form_php:NAME}`: the form without the field NAME, as PHP's `serialize` writes it.
    FormPhp(String),
    /// `{body_with_secret:/POINTER}`: the body with the secret in place of the text there.
    BodyWithSecret(Pointers),
}

impl Canonical {
    pub(super) fn covers_body(&self) -> bool {
        matches!(self, Self::BodyWithSecret(_))
    }

    pub(super) fn covers_form(&self) -> bool {
        matches!(self, Self::UrlForm | Self::FormPhp(_))
    }

    pub(super) fn covers_secret(&self) -> bool {
        matches!(self, Self::BodyWithSecret(_))
    }

    /// # Errors
    /// [`Refusal::Missing`]: a part is absent. [`Refusal::Mismatch`]: the request has what the form leaves open.
    pub(super) fn write(&self, request: &Request, secret: Option<&[u8]>) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::SignedHeaders(needed) => signed_headers(request, needed),
            Self::TargetEscaped => Ok(target_escaped(request).into_bytes()),
            Self::UrlForm => url_form(request).map(String::into_bytes),
            Self::FormPhp(without) => form_php(request, without),
            Self::BodyWithSecret(pointers) => body_with_secret(request, pointers, secret.ok_or(Refusal::Mismatch)?),
        }
    }
}

/// `url` without its port, or with the one of its scheme where it has none.
pub(super) fn other_port(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(at);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => format!("{scheme}://{host}{rest}"),
        _ => format!("{scheme}://{authority}:{}{rest}", if scheme == "https" { 443 } else { 80 }),
    }
}

fn signed_headers(request: &Request, needed: &[String]) -> Result<Vec<u8>, Refusal> {
    let list = needed.first().ok_or(Refusal::Mismatch)?;
    let names = std::str::from_utf8(header_once(request, list)?).map_err(|_| Refusal::Mismatch)?;
    let names = names.split(',').map(|name| header_name(name.trim(), "message"));
    let names: Result<Vec<String>, _> = names.take(MAX_HEADERS + 1).collect();
    let mut names = names.map_err(|_| Refusal::Mismatch)?;
    names.sort();
    names.dedup();
    // A list that is not signed itself could be cut short.
    if names.len() > MAX_HEADERS || !needed.iter().all(|name| names.contains(name)) {
        return Err(Refusal::Mismatch);
    }
    let mut out = Vec::new();
    for name in &names {
        if !out.is_empty() {
            out.push(b';');
        }
        out.extend([name.as_bytes(), b":", header_once(request, name)?.trim_ascii()].concat());
    }
    Ok(out)
}

/// JavaScript's `encodeURI(path + "?" + querystring.escape(query))`.
fn target_escaped(request: &Request) -> String {
    let path = template::signed_path(request);
    if request.query.is_empty() {
        return encode(&path, ENCODE_URI);
    }
    let query = request.query.split('?').next().unwrap_or_default();
    encode(&format!("{path}?{}", encode(query, "-_.!~*'()")), ENCODE_URI)
}

const ENCODE_URI: &str = "-_.!~*'();/?:@&=+$,#";

/// Percent-encodes all but letters, digits and `kept`.
pub(super) fn encode(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || kept.bytes().any(|kept| kept == b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn content_type<'r>(request: &Request<'r>) -> &'r [u8] {
    request.headers.nth("content-type", 0).unwrap_or_default()
}

fn url_form(request: &Request) -> Result<String, Refusal> {
    let url = url(request).ok_or(Refusal::Missing)?;
    let (base, query) = url.split_once('?').unwrap_or((&url, ""));
    let mut parameters: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let mut fields = form::fields(content_type(request), request.body);
    if fields.is_empty() && !request.body.is_empty() {
        // What is no form is not signed.
        return Err(Refusal::Mismatch);
    }
    parameters.sort();
    fields.sort();
    let pair = |(name, value): &(Cow<str>, Cow<str>)| format!("{name}={value}");
    let mut out = base.to_owned();
    if !parameters.is_empty() || !fields.is_empty() {
        out.push('?');
        out.push_str(&parameters.iter().map(pair).collect::<Vec<_>>().join("&"));
    }
    if !parameters.is_empty() && !fields.is_empty() {
        out.push('.');
    }
    out.extend(fields.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]));
    Ok(out)
}

fn form_php(request: &Request, without: &str) -> Result<Vec<u8>, Refusal> {
    let mut fields = form::fields(content_type(request), request.body);
    fields.retain(|(name, _)| name != without);
    fields.sort();
    // Twice the same field: PHP keeps the last, others the first.
    if fields.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return Err(Refusal::Mismatch);
    }
    let text = |text: &str| format!("s:{}:\"{text}\";", text.len());
    let inside: String = fields.iter().flat_map(|(name, value)| [text(name), text(value)]).collect();
    Ok(format!("a:{}:{{{inside}}}", fields.len()).into_bytes())
}

fn body_with_secret(request: &Request, pointers: &Pointers, secret: &[u8]) -> Result<Vec<u8>, Refusal> {
    let picked = pointers.read(request.body).map_err(|_| Refusal::Missing)?;
    let shown = picked.get(0).filter(|text| !text.is_empty()).ok_or(Refusal::Missing)?.as_bytes();
    // In linear time: both are of the sender's making.
    let at = memchr::memmem::find(request.body, shown).ok_or(Refusal::Mismatch)?;
    let (before, after) = request.body.split_at(at);
    Ok([before, secret, after.get(shown.len()..).unwrap_or_default()].concat())
}

/// The SHA-256, in hex, of Atlassian's canonical request: method, path and sorted query.
pub(super) fn query_hash(request: &Request) -> String {
    const UNRESERVED: &str = "-._~";
    let path = template::signed_path(request).replace('&', "%26");
    let path = Some(path.trim_end_matches('/')).filter(|path| !path.is_empty()).unwrap_or("/");
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(request.query.as_bytes()).filter(|(name, _)| name != "jwt") {
        values.entry(encode(&name, UNRESERVED)).or_default().push(encode(&value, UNRESERVED));
    }
    let pair = |(name, mut values): (String, Vec<String>)| {
        values.sort();
        format!("{name}={}", values.join(","))
    };
    let query = values.into_iter().map(pair).collect::<Vec<_>>().join("&");
    hex::encode(sha2::Sha256::digest(format!("{}&{path}&{query}", request.method)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Draft;

    #[test]
    fn the_port_of_a_scheme_may_be_left_out() {
        for (with, without) in [
            ("https://h.example:443/a?b=c:1", "https://h.example/a?b=c:1"),
            ("http://h.example:80", "http://h.example"),
            ("https://[::1]:443/a", "https://[::1]/a"),
        ] {
            assert_eq!(other_port(with), without);
            assert_eq!(other_port(without), with);
        }
        assert_eq!(other_port("https://h.example:8443/a"), "https://h.example/a");
    }

    #[test]
    fn a_list_of_signed_headers_covers_itself() {
        let mut draft = Draft::default();
        draft.set_header("X-A", "1");
        draft.set_header("x-list", "x-list, X-A");
        let text = |draft: &Draft| signed_headers(&draft.request(), &["x-list".to_owned()]);
        assert_eq!(text(&draft).unwrap(), b"x-a:1;x-list:x-list, X-A");
        for list in ["X-A", "", "x-list,x-b", "x-list,,x-a"] {
            draft.set_header("x-list", list);
            assert!(text(&draft).is_err(), "{list}");
        }
    }

    #[test]
    fn a_list_of_signed_headers_has_an_end() {
        let listed = |many: usize| {
            let mut draft = Draft::default();
            let mut names = vec!["x-list".to_owned()];
            for n in 1..many {
                names.push(format!("x-{n}"));
                draft.set_header(&names[n], "1");
            }
            draft.set_header("x-list", names.join(","));
            signed_headers(&draft.request(), &["x-list".to_owned()])
        };
        assert!(listed(MAX_HEADERS).is_ok());
        assert_eq!(listed(MAX_HEADERS + 1), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_form_is_signed_behind_the_query_and_what_is_no_form_is_not_signed() {
        let text = |url: &str, body: &str| {
            let mut draft = Draft { body: body.into(), ..Draft::default() };
            draft.public_url = Some(url.to_owned());
            draft.set_header("content-type", "application/x-www-form-urlencoded");
            url_form(&draft.request())
        };
        let url = "https://h.example/a";
        assert_eq!(text(url, "").unwrap(), "https://h.example/a");
        assert_eq!(text(&format!("{url}?c=3&b=2"), "").unwrap(), "https://h.example/a?b=2&c=3");
        let mut json = Draft { body: b"{}".to_vec(), ..Draft::default() };
        json.public_url = Some(url.to_owned());
        json.set_header("content-type", "application/json");
        assert_eq!(url_form(&json.request()), Err(Refusal::Mismatch));
    }
}
