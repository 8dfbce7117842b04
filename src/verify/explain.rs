//! What [`super::check`] saw of a request that it refused, in words for the operator of the source.
//!
//! Never a secret, a signature or a token, nor a part of one: places, counts, lengths and alphabets.

use super::field::Field;
use super::hmac::Hash;
use super::keyset::KeySet;
use super::rule::Family;
use super::signed::{Encoding, Signed};
use super::{Keys, Refusal, Rule, basic};
use crate::event::Request;

/// One remark a line.
///
/// - `now_s`: Unix time, seconds.
pub fn explain(rule: &Rule, keys: &Keys, request: &Request, refusal: Refusal, now_s: i64) -> Vec<String> {
    let mut seen = Vec::new();
    if let Refusal::Stale { skew_s, tolerance_s } = refusal {
        seen.push(format!("the signature is right, but {skew_s} s off by this clock; {tolerance_s} s are tolerated"));
    }
    match &rule.family {
        Family::None => {}
        Family::Basic => basic_header(request, &mut seen),
        Family::Token(token) => _ = values(&token.token, "the token", request, &mut seen),
        Family::Jwt(jwt) => web_token(&jwt.token, request, &mut seen),
        Family::Hmac(hmac) => {
            let expected = hmac.also_hash.is_none().then(|| length(hmac.hash));
            signature(&hmac.signed, expected, request, now_s, &mut seen);
        }
        Family::Sns(sns) => _ = values(&sns.signature, "the signature", request, &mut seen),
        Family::TrueLayer(scheme) => _ = values(&scheme.signature, "the signature", request, &mut seen),
        Family::Digest(digest) => signature(&digest.signed, None, request, now_s, &mut seen),
        Family::Public(public) => signature(&public.signed, None, request, now_s, &mut seen),
    }
    if refusal == Refusal::KeyAbsent {
        seen.push("the sender's public key could not be fetched".to_owned());
    }
    for name in rule.covered_headers() {
        if request.headers.nth(name, 0).is_none() {
            seen.push(format!("header `{name}`, which the signature covers, is absent"));
        }
    }
    if rule.needs_url() {
        let url = request.public_url.unwrap_or("not set");
        seen.push(format!("the signature covers the URL; `public_url` is {url}"));
    }
    let (count, what) = (keys.count(), if rule.wants_public_keys() { "public key" } else { "secret" });
    seen.push(format!("{count} {what}{} configured, scheme {}", if count == 1 { "" } else { "s" }, rule.method()));
    seen.push(format!("the body has {} B", request.body.len()));
    seen
}

impl Keys {
    fn count(&self) -> usize {
        match &*self.own {
            KeySet::Hmac(keys) => keys.len(),
            KeySet::Secret(keys) => keys.len(),
            KeySet::Public(keys) => keys.len(),
            KeySet::Jwt(keys) => keys.len(),
            KeySet::Token(keys) => keys.len(),
            KeySet::Basic(keys) => keys.len(),
            KeySet::None => 0,
        }
    }
}

/// Bytes of a MAC.
fn length(hash: Hash) -> usize {
    match hash {
        Hash::Md5 => 16,
        Hash::Sha1 => 20,
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
        Hash::Sha512 => 64,
    }
}

/// The values at `field`; none where that is a reason to refuse.
fn values<'r>(
    field: &Field,
    what: &str,
    request: &Request<'r>,
    seen: &mut Vec<String>,
) -> Vec<std::borrow::Cow<'r, [u8]>> {
    let place = field.words();
    match field.values(request) {
        Err(Refusal::Missing) => seen.push(format!("{what} is looked for in {place}: absent or empty")),
        Err(_) => seen.push(format!("{what} is looked for in {place}: it stands there twice, or among blanks")),
        Ok(values) if values.is_empty() => {
            let prefix = &field.prefix;
            seen.push(format!("{what} is looked for in {place}: present, but nothing in it begins with `{prefix}`"));
        }
        Ok(values) => {
            seen.push(format!("{what} is looked for in {place}: present, {} value(s)", values.len()));
            return values;
        }
    }
    Vec::new()
}

fn signature(signed: &Signed, expected: Option<usize>, request: &Request, now_s: i64, seen: &mut Vec<String>) {
    let values = values(&signed.signature, "the signature", request, seen);
    let mut is_sound = false;
    for (n, value) in values.iter().enumerate() {
        let number = if values.len() > 1 { format!("signature {}", n + 1) } else { "the signature".to_owned() };
        match signed.encoding().decode(value) {
            Some(bytes) if expected.is_none_or(|expected| expected == bytes.len()) => is_sound = true,
            Some(bytes) => {
                let expected = expected.unwrap_or_default();
                seen.push(format!("{number} decodes to {} B, but this hash gives {expected} B", bytes.len()));
            }
            None => seen.push(format!("{number} is not {}{}", name(signed.encoding()), likely(value))),
        }
    }
    if let Some(stamp) = &signed.timestamp {
        let place = stamp.field.words();
        seen.push(match stamp.read(request) {
            Err(Refusal::Missing) => format!("the time of signing is looked for in {place}: absent or empty"),
            Err(_) => format!("the time of signing in {place} is not a time of the unit that the scheme uses"),
            Ok(sent) => {
                let (skew_s, side) = (now_s.abs_diff(sent.at_s), if sent.at_s > now_s { "ahead" } else { "ago" });
                let limit =
                    stamp.tolerance_s.map_or_else(|| "any is believed".to_owned(), |s| format!("{s} s are tolerated"));
                format!("it was signed {skew_s} s {side} by this clock; {limit}")
            }
        });
    }
    if is_sound && !seen[0].starts_with("the signature is right") {
        seen.push(
            "the signature is well formed, but no key gives it: a wrong secret, or a body changed on its way"
                .to_owned(),
        );
    }
}

fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Hex => "hex",
        Encoding::Base64 => "base64",
        Encoding::Base64Url => "base64url",
    }
}

/// What a text is that does not decode as it should.
fn likely(text: &[u8]) -> String {
    let fits = [Encoding::Hex, Encoding::Base64, Encoding::Base64Url].into_iter().find(|other| {
        // A few letters decode as almost anything.
        text.len() >= 16 && other.decode(text).is_some()
    });
    let looks = fits.map_or_else(String::new, |other| format!(", it looks like {}", name(other)));
    format!(" ({} characters{looks})", text.len())
}

fn basic_header(request: &Request, seen: &mut Vec<String>) {
    let header = basic::HEADER;
    seen.push(match request.headers.nth(header, 0) {
        None => format!("credentials are looked for in header `{header}`: absent"),
        Some(_) if request.headers.nth(header, 1).is_some() => format!("header `{header}` stands twice"),
        Some(value) if !value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic ")) => {
            format!("header `{header}` is present, but not of scheme Basic")
        }
        Some(_) => format!("header `{header}` is present and of scheme Basic; user or password is another"),
    });
}

fn web_token(field: &Field, request: &Request, seen: &mut Vec<String>) {
    for value in values(field, "the token", request, seen) {
        let parts = value.split(|b| *b == b'.').count();
        if parts != 3 {
            seen.push(format!("the token has {parts} part(s), but a JSON Web Token has 3"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Spec, check};
    use super::*;
    use crate::event::Secret;

    const SECRET: &str = "correct-horse";

    fn said(headers: &[(&str, &str)]) -> String {
        let spec = "kind = \"hmac\"\nencoding = \"hex\"\nmessage = \"{timestamp}.{body}\"\n\
            signature = { header = \"X-Sig\", prefix = \"v1=\", split = \",\" }\n\
            timestamp = { header = \"X-Time\" }\n";
        said_of(spec, &[SECRET], headers)
    }

    fn said_of(spec: &str, secrets: &[&str], headers: &[(&str, &str)]) -> String {
        let rule = Rule::new(toml::from_str::<Spec>(spec).unwrap()).unwrap();
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(secret.as_bytes().to_vec()).unwrap()).collect();
        let keys = rule.keys(&secrets).unwrap();
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request =
            Request { method: "POST", path: "/", query: "", headers: &headers, body: b"{}", public_url: None };
        let refusal = check(&rule, &keys, &request, 1000).unwrap_err();
        let said = explain(&rule, &keys, &request, refusal, 1000).join("\n");
        assert!(!said.contains(SECRET));
        for (_, value) in &headers {
            assert!(value.len() < 8 || !said.contains(value.trim_start_matches("v1=")), "{said}");
        }
        said
    }

    fn mac(secret: &Secret, message: &[u8]) -> String {
        let state = super::super::hmac::State::new(Hash::Sha256, secret.expose()).unwrap();
        format!("v1={}", hex::encode(state.tag(&[message])))
    }

    #[track_caller]
    fn check_said(headers: &[(&str, &str)], expected: &str) {
        let said = said(headers);
        assert!(said.contains(expected), "{expected:?} in\n{said}");
    }

    #[test]
    fn a_refusal_is_explained_without_what_was_sent() {
        let (time, hex) = (("x-time", "1000"), "ab".repeat(32));
        let (sha1, named) = (format!("v1={}", "ab".repeat(20)), format!("v1={hex}"));
        check_said(&[], "in header `x-sig`: absent");
        check_said(&[("x-sig", &hex), time], "nothing in it begins with `v1=`");
        check_said(&[("x-sig", &named), time], "no key gives it: a wrong secret");
        check_said(&[("x-sig", &sha1), time], "decodes to 20 B, but this hash gives 32 B");
        check_said(&[("x-sig", &named)], "the time of signing is looked for in header `x-time`: absent");
        check_said(&[("x-sig", &named), ("x-time", "400")], "signed 600 s ago by this clock; 300 s are tolerated");
        check_said(&[("x-sig", &named), ("x-time", "1700")], "signed 700 s ahead");
        check_said(&[("x-sig", &named), ("x-time", "noon")], "is not a time of the unit");
        let base64 = "v1=rqurq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
        check_said(&[("x-sig", base64), time], "is not hex (44 characters, it looks like base64)");
        check_said(&[("x-sig", &named), ("x-sig", &named), time], "it stands there twice");
        check_said(&[("x-sig", &named), time], "1 secret configured, scheme hmac-sha256");
        let right = mac(&Secret::new(SECRET.as_bytes().to_vec()).unwrap(), b"400.{}");
        let stale = [("x-sig", right.as_str()), ("x-time", "400")];
        check_said(&stale, "the signature is right, but 600 s off by this clock; 300 s are tolerated");
        assert!(!said(&stale).contains("wrong secret"));
    }

    #[test]
    fn several_signatures_are_told_apart() {
        let hex = format!("v1={}", "ab".repeat(32));
        check_said(&[("x-sig", "v1=zz"), ("x-time", "1000")], "the signature is not hex");
        check_said(&[("x-sig", &format!("{hex},v1=zz")), ("x-time", "1000")], "signature 2 is not hex");
        check_said(&[("x-sig", &hex), ("x-time", "1000")], "signed 0 s ago");
    }

    #[test]
    fn every_scheme_says_what_it_looked_for() {
        let basic =
            |headers: &[(&str, &str)]| said_of("kind = 'basic'", &["user:password-1", "user:password-2"], headers);
        assert!(basic(&[]).contains("credentials are looked for in header `authorization`: absent"));
        assert!(basic(&[("authorization", "Bearer x")]).contains("is present, but not of scheme Basic"));
        assert!(basic(&[("authorization", "a"), ("authorization", "b")]).contains("`authorization` stands twice"));
        let said = basic(&[("authorization", "bAsIc eDp5")]);
        assert!(said.contains("of scheme Basic; user or password is another") && said.contains("2 secrets configured"));
        assert!(!said.contains("could not be fetched"));

        let jwt = "kind = 'jwt'\ntoken = { header = 't' }\nalgorithms = ['ES256']\nkeys = { url = 'https://a/b' }";
        let jwt = |token: &str| said_of(jwt, &[], &[("t", token)]);
        assert!(jwt("a.b").contains("the token has 2 part(s), but a JSON Web Token has 3"));
        let said = jwt("eyJhbGciOiJFUzI1NiJ9.e30.AA");
        assert!(said.contains("could not be fetched") && said.contains("0 public keys") && !said.contains("part(s)"));
    }
}
