//! Who may ask: names of this listener, origins of a browser, and the token as bearer or as session.
//!
//! A page of another site must neither read nor change anything here. It cannot by its own name (`Host`, which a
//! rebound DNS name does not change), nor by a form or script of its own (`Origin`, `Sec-Fetch-Site`); the session's
//! cookie is `SameSite=Strict` besides.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use actix_web::middleware::Next;
use actix_web::web;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::{Admin, console};
use crate::event::Secret;

/// Name of the session's cookie.
pub const COOKIE: &str = "hookferry_session";
/// What stands before the token in `authorization`.
const SCHEME: &[u8] = b"bearer ";
/// What probes ask, by whatever name and without a token.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// SHA-256 of a bearer token: comparing digests tells nothing of the token, not even its length.
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of `token`.
    pub fn new(token: &Secret) -> Self {
        Self(Sha256::digest(token.expose()).into())
    }

    /// Whether `token` is the one, in constant time.
    pub fn is_of(&self, token: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        digest.ct_eq(&self.0).into()
    }
}

/// Makes the cookies of sessions. They end with the process, and with the token.
pub struct Session([u8; 32]);

impl Session {
    /// Sessions of this process.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new() -> std::io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self(key))
    }

    /// The cookie's value of who has shown `token`.
    pub fn value(&self, token: &TokenDigest) -> String {
        // HMAC takes a key of any length.
        Hmac::<Sha256>::new_from_slice(&self.0).map_or_else(
            |_| String::new(),
            |mut mac| {
                mac.update(&token.0);
                hex::encode(mac.finalize().into_bytes())
            },
        )
    }

    fn holds(&self, token: &TokenDigest, value: &str) -> bool {
        let expected = self.value(token);
        !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(value.as_bytes()))
    }
}

/// Lets a request through that may ask.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let Some(admin) = request.app_data::<web::Data<Admin>>().cloned() else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    if PROBES.contains(&request.path()) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let setup = admin.setup.load_full();
    let is_change = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let named = check_names(request.headers(), &setup.hosts, admin.is_local, is_change);
    if let Err(problem) = named {
        return Ok(request.into_response(problem.response()).map_into_right_body());
    }
    let may = setup.token.as_ref().is_none_or(|token| {
        bears(request.headers(), token)
            || request.cookie(COOKIE).is_some_and(|cookie| admin.session.holds(token, cookie.value()))
    });
    if may || console::is_open(request.path()) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let response = if request.method() == Method::GET && console::is_page(request.path()) {
        console::login::form(actix_web::http::StatusCode::UNAUTHORIZED, None)
    } else {
        Problem::Unauthorized.response()
    };
    Ok(request.into_response(response).map_into_right_body())
}

fn bears(headers: &HeaderMap, token: &TokenDigest) -> bool {
    let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    // The name of a scheme has no case (RFC 9110, 11.1).
    let given = header.and_then(|value| value.split_at_checked(SCHEME.len()));
    given.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(SCHEME) && token.is_of(given.trim_ascii()))
}

/// Refuses foreign names of this listener, and changes that another site's page asks for.
///
/// - `is_local`: whether only this host reaches the listener.
fn check_names(headers: &HeaderMap, hosts: &[String], is_local: bool, is_change: bool) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value: &actix_web::http::header::HeaderValue| value.to_str());
    let host = match text(HOST) {
        None => None,
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return Err(foreign("Host")),
    };
    // Elsewhere the token protects: a browser sends neither it nor the cookie to a name that it was not given for.
    let any = !is_local && hosts.is_empty();
    if let Some(host) = host
        && !any
        && !is_own(name_of(host), hosts)
    {
        return Err(foreign("Host"));
    }
    if !is_change {
        return Ok(());
    }
    match text(ORIGIN.clone()) {
        None => {}
        Some(Ok(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            let own = authority.is_some_and(|origin| {
                host.is_some_and(|host| origin.eq_ignore_ascii_case(host)) || listed(name_of(origin), hosts)
            });
            if !own {
                return Err(foreign("Origin"));
            }
        }
        Some(Err(_)) => return Err(foreign("Origin")),
    }
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(foreign("Sec-Fetch-Site"));
    }
    Ok(())
}

fn foreign(header: &str) -> Problem {
    let what = "is not one of this listener";
    Problem::Forbidden(format!("`{header}` {what}; names beside loopback stand in `admin.hosts`"))
}

/// The name in `name:port`.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(inside, _)| inside);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn listed(name: &str, hosts: &[String]) -> bool {
    hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn is_own(name: &str, hosts: &[String]) -> bool {
    let loopback = name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    loopback || name.eq_ignore_ascii_case("localhost") || listed(name, hosts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    #[track_caller]
    fn check(bound: &str, hosts: &[&str], headers: &[(&str, &str)], is_change: bool, expected: bool) {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let found = check_names(&map, &hosts, bound.parse::<IpAddr>().unwrap().is_loopback(), is_change);
        assert_eq!(found.is_ok(), expected, "{headers:?}");
    }

    #[test]
    fn a_loopback_listener_has_loopback_names_and_those_that_are_listed() {
        for (host, expected) in [
            ("127.0.0.1:8081", true),
            ("localhost:8081", true),
            ("LOCALHOST", true),
            ("[::1]:8081", true),
            ("127.8.9.1", true),
            ("evil.example:8081", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("192.0.2.1:8081", false),
            ("", false),
        ] {
            check("127.0.0.1", &[], &[("host", host)], false, expected);
        }
        check("127.0.0.1", &["ops.example"], &[("host", "ops.example:443")], false, true);
        check("0.0.0.0", &[], &[("host", "bridge.internal")], false, true);
        check("0.0.0.0", &["ops.example"], &[("host", "bridge.internal")], false, false);
        check("127.0.0.1", &[], &[], false, true);
    }

    #[test]
    fn a_change_comes_from_this_origin_or_from_no_browser() {
        let host = ("host", "localhost:8081");
        for (header, value, expected) in [
            ("origin", "http://localhost:8081", true),
            ("origin", "https://localhost:8081", true),
            ("origin", "http://localhost:9999", false),
            ("origin", "http://evil.example", false),
            ("origin", "null", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
        ] {
            check("127.0.0.1", &[], &[host, (header, value)], true, expected);
            check("127.0.0.1", &[], &[host, (header, value)], false, true);
        }
        check("127.0.0.1", &[], &[host], true, true);
        let behind = [("host", "10.0.0.1"), ("origin", "https://ops.example")];
        check("0.0.0.0", &["ops.example", "10.0.0.1"], &behind, true, true);
    }

    #[test]
    fn a_session_ends_with_the_token_and_with_the_process() {
        let digest = |text: &str| TokenDigest::new(&Secret::new(text.as_bytes().to_vec()).unwrap());
        let (token, session) = (digest("one"), Session::new().unwrap());
        let value = session.value(&token);
        assert!(session.holds(&token, &value));
        assert!(!session.holds(&digest("two"), &value));
        assert!(!Session::new().unwrap().holds(&token, &value));
        assert!(!session.holds(&token, "") && token.is_of(b"one") && !token.is_of(b"two"));
    }
}
