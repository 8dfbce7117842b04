//! Forms: the text fields of a URL-encoded or multipart body.
//!
//! Invariants
//! - A body of another media type has no fields.
//! - Files of a multipart body are no fields; what is not UTF-8 is no field.
//! - Nothing is copied but what has to be decoded.

use std::borrow::Cow;

/// Most parts of a multipart body that are looked at: senders use a handful.
const MAX_PARTS: usize = 256;

/// Name and value of each field, in their order.
pub fn fields<'a>(content_type: &[u8], body: &'a [u8]) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let mut pieces = content_type.split(|b| *b == b';');
    let media_type = pieces.next().unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        return url::form_urlencoded::parse(body).collect();
    }
    if !media_type.eq_ignore_ascii_case(b"multipart/form-data") {
        return Vec::new();
    }
    let boundary = pieces.find_map(|piece| parameter(piece.trim_ascii(), b"boundary"));
    boundary.map_or_else(Vec::new, |boundary| multipart(boundary, body))
}

/// The value of the field `name`, if there is exactly one.
pub fn only<'f>(fields: &'f [(Cow<'_, str>, Cow<'_, str>)], name: &str) -> Option<&'f str> {
    let mut values = fields.iter().filter(|(key, _)| key == name);
    let (_, value) = values.next()?;
    values.next().is_none().then_some(value.as_ref())
}

fn multipart<'a>(boundary: &[u8], body: &'a [u8]) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let delimiter = [b"\r\n--", boundary].concat();
    // The first delimiter may stand at the very beginning, without its line break.
    let Some(start) = delimiter.get(2..).and_then(|first| body.strip_prefix(first)).or_else(|| after(body, &delimiter))
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut rest = start;
    for _ in 0..MAX_PARTS {
        // Behind a delimiter: the end of its line and a part, or `--` and the end.
        let Some(part) = rest.strip_prefix(b"\r\n") else { break };
        let Some(end) = find(part, &delimiter) else { break };
        let (inside, behind) = part.split_at(end);
        found.extend(field(inside));
        rest = behind.get(delimiter.len()..).unwrap_or_default();
    }
    found
}

/// The field that one part is; `None` for files and for what cannot be read.
fn field(part: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let at = find(part, b"\r\n\r\n")?;
    let (head, value) = (part.get(..at)?, part.get(at + 4..)?);
    let mut name = None;
    for line in head.split(|b| *b == b'\n').map(<[u8]>::trim_ascii) {
        let colon = line.iter().position(|b| *b == b':')?;
        let (key, text) = (line.get(..colon)?, line.get(colon + 1..)?);
        if key.eq_ignore_ascii_case(b"content-disposition") {
            let mut parameters = text.split(|b| *b == b';').map(<[u8]>::trim_ascii);
            if parameters.clone().any(|p| parameter(p, b"filename").is_some()) {
                return None;
            }
            name = parameters.find_map(|p| parameter(p, b"name"));
        }
    }
    Some((std::str::from_utf8(name?).ok()?.into(), std::str::from_utf8(value).ok()?.into()))
}

/// The value of `name=value` or `name="value"`.
fn parameter<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (key, value) = (text.get(..name.len())?, text.get(name.len()..)?);
    let value = value.strip_prefix(b"=").filter(|_| key.eq_ignore_ascii_case(name))?;
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(quoted.unwrap_or(value)).filter(|value| !value.is_empty())
}

fn after<'a>(text: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    text.get(find(text, what)? + what.len()..)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len().max(1)).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &str, body: &str, expected: &[(&str, &str)]) {
        let found = fields(content_type.as_bytes(), body.as_bytes());
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        assert_eq!(found, expected, "{content_type}: {body}");
    }

    const MULTIPART: &str = "multipart/form-data; boundary=\"x-y\"";

    #[test]
    fn a_url_encoded_body_is_decoded() {
        check(
            "application/x-www-form-urlencoded; charset=utf-8",
            "a=1&b=%C3%A9+x&a=2",
            &[("a", "1"), ("b", "é x"), ("a", "2")],
        );
        check("application/json", "a=1", &[]);
        check("", "a=1", &[]);
    }

    #[test]
    fn a_multipart_body_gives_its_text_fields_and_no_files() {
        let body = "--x-y\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{\"a\":\r\n1}\r\n--x-y\r\n\
                    content-disposition: form-data; name=\"f\"; filename=\"a.pdf\"\r\n\r\nx\r\n--x-y\r\n\
                    Content-Disposition: form-data; name=\"b\"\r\nContent-Type: text/plain\r\n\r\n\r\n--x-y--\r\n";
        check(MULTIPART, body, &[("json", "{\"a\":\r\n1}"), ("b", "")]);
        check(MULTIPART, &format!("preamble\r\n{body}"), &[("json", "{\"a\":\r\n1}"), ("b", "")]);
    }

    #[test]
    fn a_multipart_body_that_is_none_has_no_fields() {
        for body in ["", "--x-y", "--x-y--", "--x-y\r\n", "--x-y\r\nname\r\n\r\n1\r\n--x-y--", "--other\r\n\r\n\r\n"] {
            check(MULTIPART, body, &[]);
        }
        check("multipart/form-data", "--\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n----", &[]);
    }

    #[test]
    fn a_field_that_stands_twice_is_not_the_only_one() {
        let found = fields(b"application/x-www-form-urlencoded", b"a=1&b=2&a=3");
        assert_eq!([only(&found, "a"), only(&found, "b"), only(&found, "c")], [None, Some("2"), None]);
    }
}
