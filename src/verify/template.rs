//! What a signature covers: `"{header:webhook-id}.{timestamp}.{body}"`, parsed once.

use std::borrow::Cow;

use super::field::{header_name, header_once};
use super::{Refusal, RuleError};
use crate::event::Request;

/// A parsed message template.
#[derive(Debug, Clone)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Literal(String),
    Body,
    Timestamp,
    Method,
    Path,
    Url,
    Query(String),
    Header {
        name: String,
        /// The text between this header and a timestamp. The value must not hold it: else one signature
        /// would fit several ways to cut the same bytes into header, time and body.
        until: Option<String>,
    },
}

const PLACEHOLDERS: &str = "{body}, {timestamp}, {header:NAME}, {method}, {path}, {url} or {query:NAME}";

impl Template {
    /// # Errors
    /// An unknown placeholder, or a brace without its partner.
    pub(super) fn new(text: &str) -> Result<Self, RuleError> {
        let bad = |what: &str| RuleError::new("message", format!("holds {what}; it may hold {PLACEHOLDERS}"));
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, from)) = rest.split_once('{') {
            let (name, after) = from.split_once('}').ok_or_else(|| bad("a `{` without its `}`"))?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(match name.split_once(':') {
                None if name == "body" => Part::Body,
                None if name == "timestamp" => Part::Timestamp,
                None if name == "method" => Part::Method,
                None if name == "path" => Part::Path,
                None if name == "url" => Part::Url,
                Some(("query", name)) if !name.is_empty() => Part::Query(name.to_owned()),
                Some(("header", name)) => Part::Header { name: header_name(name, "message")?, until: None },
                _ => return Err(bad(&format!("`{{{name}}}`"))),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        if parts.iter().any(|part| matches!(part, Part::Literal(text) if text.contains('}'))) {
            return Err(bad("a `}` without its `{`"));
        }
        for n in 0..parts.len() {
            let between = match parts.get(n + 1..n + 3) {
                Some([Part::Literal(text), Part::Timestamp]) => Some(text.clone()),
                _ => None,
            };
            if let Some(Part::Header { until, .. }) = parts.get_mut(n) {
                *until = between;
            }
        }
        Ok(Self(parts))
    }

    /// The bytes that are signed, in pieces; the body is borrowed, never copied.
    ///
    /// # Errors
    /// [`Refusal::Missing`]: a header, parameter or URL that is covered is absent. [`Refusal::Mismatch`]: it stands
    /// twice, or holds the separator.
    pub(super) fn fill<'r>(
        &'r self,
        request: &Request<'r>,
        timestamp: Option<&'r [u8]>,
    ) -> Result<Vec<Cow<'r, [u8]>>, Refusal> {
        let piece = |part: &'r Part| {
            Ok(match part {
                Part::Literal(text) => Cow::Borrowed(text.as_bytes()),
                Part::Body => Cow::Borrowed(request.body),
                Part::Timestamp => Cow::Borrowed(timestamp.ok_or(Refusal::Missing)?),
                Part::Method => Cow::Borrowed(request.method.as_bytes()),
                Part::Path => Cow::Borrowed(request.path.as_bytes()),
                Part::Url => Cow::Owned(url(request).ok_or(Refusal::Missing)?.into_bytes()),
                Part::Query(name) => Cow::Owned(parameter_once(request.query, name)?.into_bytes()),
                Part::Header { name, until } => {
                    let value = header_once(request, name)?;
                    if until.as_ref().is_some_and(|until| holds(value, until.as_bytes())) {
                        return Err(Refusal::Mismatch);
                    }
                    Cow::Borrowed(value)
                }
            })
        };
        self.0.iter().map(piece).collect()
    }

    pub(super) fn covers_body(&self) -> bool {
        self.0.contains(&Part::Body)
    }

    pub(super) fn covers_timestamp(&self) -> bool {
        self.0.contains(&Part::Timestamp)
    }

    pub(super) fn needs_url(&self) -> bool {
        self.0.contains(&Part::Url)
    }

    /// Lower-case names of the headers that are covered.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Header { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }
}

/// The URL that the sender was given; with the query as sent where the given URL has none of its own.
fn url(request: &Request) -> Option<String> {
    let url = request.public_url?;
    let own = url.contains('?') || request.query.is_empty();
    Some(if own { url.to_owned() } else { format!("{url}?{}", request.query) })
}

fn parameter_once(query: &str, name: &str) -> Result<String, Refusal> {
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let (_, value) = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() { Err(Refusal::Mismatch) } else { Ok(value.into_owned()) }
}

fn holds(value: &[u8], text: &[u8]) -> bool {
    value.windows(text.len().max(1)).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Draft;

    fn draft() -> Draft {
        let mut draft =
            Draft { method: "POST".into(), path: "/in".into(), query: "a=1&b=x%20y".into(), ..Draft::default() };
        draft.public_url = Some("https://example.com/in".into());
        draft.body = b"{}".to_vec();
        draft.set_header("X-Id", "msg_1");
        draft
    }

    fn fill(template: &str, draft: &Draft) -> Result<String, Refusal> {
        let template = Template::new(template).unwrap();
        let pieces = template.fill(&draft.request(), Some(b"1000"))?.concat();
        Ok(String::from_utf8(pieces).unwrap())
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        assert_eq!(fill(template, &draft()).as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn every_placeholder_stands_for_its_part_of_the_request() {
        check("{body}", "{}");
        check("v0:{timestamp}:{body}", "v0:1000:{}");
        check("{header:X-ID}.{timestamp}.{body}", "msg_1.1000.{}");
        check("{method} {path} {query:b}\n", "POST /in x y\n");
        check("{url}{body}", "https://example.com/in?a=1&b=x%20y{}");
    }

    #[test]
    fn what_is_covered_but_absent_is_missing_and_what_stands_twice_is_refused() {
        let mut twice = draft();
        twice.query.push_str("&a=2");
        twice.headers.push(("x-id".into(), "msg_1".into()));
        assert_eq!(fill("{query:a}", &twice), Err(Refusal::Mismatch));
        assert_eq!(fill("{header:x-id}", &twice), Err(Refusal::Mismatch));
        assert_eq!(fill("{query:c}", &draft()), Err(Refusal::Missing));
        assert_eq!(fill("{header:x-other}", &draft()), Err(Refusal::Missing));
        assert_eq!(fill("{url}", &Draft::default()), Err(Refusal::Missing));
    }

    #[test]
    fn one_signature_fits_only_one_way_to_cut_the_message() {
        // "a.1000.b" must not be read as the id "a", nor as the id "a.1000" with the time and body after it.
        let mut shifted = draft();
        shifted.set_header("x-id", "a.1000");
        assert_eq!(fill("{header:x-id}.{timestamp}.{body}", &shifted), Err(Refusal::Mismatch));
        assert_eq!(fill("{header:x-id}.{body}", &shifted).as_deref(), Ok("a.1000.{}"));
    }

    #[test]
    fn a_url_with_its_own_query_is_taken_as_it_is() {
        let given = Draft { public_url: Some("https://example.com/in?k=1".into()), ..draft() };
        assert_eq!(fill("{url}", &given).as_deref(), Ok("https://example.com/in?k=1"));
    }

    #[test]
    fn a_template_that_is_none_is_refused() {
        for text in ["{bdy}", "{body", "body}", "{}", "{header:}", "{header:a b}", "{query:}", "{{body}}", "{body:/a}"]
        {
            assert_eq!(Template::new(text).unwrap_err().key, "message", "{text}");
        }
    }
}
