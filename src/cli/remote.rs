//! `--admin` and `--token`: which running hookferry a command speaks to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use url::Url;

use super::http::{Client, Error, Method, Outgoing, is_socket};
use super::trust::{self, Trust};
use super::{Files, Wrong};
use crate::config;
use crate::event::{Secret, SecretRef};
use crate::listener::Address;
use crate::listener::tls::Identity;

/// Where the token is looked for when `--token` is not given.
const TOKEN: &str = "HOOKFERRY_ADMIN_TOKEN";

/// What is asked for over a Unix socket.
const SOCKET: &str = "http://localhost/";

/// Options that name the admin listener.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Address of the admin listener, or unix:PATH of its socket [default: where the configuration has it]
    #[arg(long = "admin", value_name = "URL")]
    pub url: Option<Url>,
    /// Token of the admin listener, or where it stands: env:NAME, file:PATH [default: HOOKFERRY_ADMIN_TOKEN, then the
    /// configuration's]
    #[arg(long, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    pub token: Option<String>,
    #[command(flatten)]
    pub trust: trust::Options,
}

impl Options {
    /// The listener that is meant.
    ///
    /// # Errors
    /// The token cannot be read; without `--admin` also whatever is wrong with the configuration.
    pub fn resolve(&self, files: &Files) -> anyhow::Result<Remote> {
        let vars = config::environment();
        let given = self.token.as_deref().map(|text| token(text, &vars)).transpose()?;
        let given = given.or_else(|| vars.get(TOKEN).filter(|text| !text.is_empty()).cloned());
        match &self.url {
            Some(url) => Ok(Remote { url: url.clone(), token: given, trust: self.trust.or(Trust::System) }),
            None => {
                let admin = files.load()?.admin;
                // The configuration's token is for the configuration's listener alone.
                let own = || admin.token.as_ref().map(text).transpose();
                let token = given.map_or_else(own, |token| Ok(Some(token)))?;
                let (url, own) = configured(&admin.listen, admin.tls.as_ref()).ok_or_else(|| {
                    Wrong(format!("where {} is only systemd knows: name it with --admin", admin.listen))
                })?;
                Ok(Remote { url, token, trust: self.trust.or(own) })
            }
        }
    }
}

/// The token that `text` is or names.
fn token(given: &str, vars: &config::Vars) -> anyhow::Result<String> {
    match given.parse::<SecretRef>() {
        Ok(reference) => {
            let secret = config::resolve(&reference, vars).map_err(|what| Wrong(format!("--token: {what}")))?;
            text(&secret)
        }
        Err(_) => Ok(given.to_owned()),
    }
}

fn text(secret: &Secret) -> anyhow::Result<String> {
    Ok(secret.expose_str().context("the token of the admin listener is not text")?.to_owned())
}

/// How a listener of the configuration is reached: its address, and the certificate that it must show. `None` where
/// only systemd knows.
pub fn configured(listen: &Address, tls: Option<&Identity>) -> Option<(Url, Trust)> {
    let (scheme, trust) = match tls {
        Some(identity) => ("https", identity.certificate().map_or(Trust::System, Trust::Only)),
        None => ("http", Trust::System),
    };
    let url = match listen {
        Address::Tcp(address) => format!("{scheme}://{}/", reachable(*address)),
        Address::Unix(path) => format!("unix:{}", Url::from_file_path(std::path::absolute(path).ok()?).ok()?.path()),
        Address::Systemd(_) => return None,
    };
    Some((url.parse().ok()?, trust))
}

/// Where to reach who listens on `address`: one that listens everywhere is reached on loopback.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address
}

/// The admin listener of a running hookferry.
#[derive(Clone)]
pub struct Remote {
    /// Its address.
    pub url: Url,
    /// Its token.
    pub token: Option<String>,
    /// Whom to take for it.
    pub trust: Trust,
}

impl Remote {
    /// A client of the listener; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the address is not http or https.
    pub fn client(&self) -> Result<Client, Error> {
        Client::new(&self.url, &self.trust)
    }

    /// A request for `path` (as in `/v1/events`) with the token, where there is one.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the token cannot stand in a header.
    pub fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<Outgoing, Error> {
        // The path of a Unix socket's URL is that of the socket.
        let mut url = if is_socket(&self.url) {
            Url::parse(SOCKET).map_err(|why| Error::Unusable(why.to_string()))?
        } else {
            self.url.clone()
        };
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url.set_query(None);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Outgoing::new(method, &target)?.bearer(self.token.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(base: &str, query: &[(&str, &str)]) -> String {
        let remote = Remote { url: base.parse().unwrap(), token: None, trust: Trust::System };
        remote.request(Method::GET, "/v1/events", query).unwrap().target.to_string()
    }

    #[test]
    fn a_request_goes_below_the_address_and_its_query_is_escaped() {
        assert_eq!(target("http://127.0.0.1:8081", &[]), "/v1/events");
        assert_eq!(
            target("http://gate/ferry/", &[("type", "a.b*"), ("source", "x&y")]),
            "/ferry/v1/events?type=a.b*&source=x%26y"
        );
        assert_eq!(target("unix:/run/a.sock", &[]), "/v1/events");
    }

    #[test]
    fn the_token_travels_as_a_bearer() {
        let remote = Remote { url: "http://a".parse().unwrap(), token: Some("t0ken".to_owned()), trust: Trust::System };
        let request = remote.request(Method::GET, "/", &[]).unwrap();
        assert_eq!(request.headers[super::super::http::header::AUTHORIZATION], "Bearer t0ken");
    }

    #[test]
    fn a_token_is_given_as_itself_or_by_where_it_stands() {
        let vars = config::Vars::from([("NAME".to_owned(), "from the environment".to_owned())]);
        assert_eq!(token("plain", &vars).unwrap(), "plain");
        assert_eq!(token("with:colon", &vars).unwrap(), "with:colon");
        assert_eq!(token("env:NAME", &vars).unwrap(), "from the environment");
        assert_eq!(token("literal:x", &vars).unwrap(), "x");
        assert!(token("env:OTHER", &vars).unwrap_err().is::<Wrong>());
    }

    #[test]
    fn a_unix_socket_of_the_configuration_is_reached_by_its_path() {
        let url = |listen: &str| configured(&listen.parse().unwrap(), None).map(|(url, _)| url.to_string());
        assert_eq!(url("unix:/run/a b.sock").unwrap(), "unix:/run/a%20b.sock");
        assert_eq!(url("systemd"), None);
    }

    #[test]
    fn who_listens_everywhere_is_reached_on_loopback() {
        let reach = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:8081"), "127.0.0.1:8081");
        assert_eq!(reach("[::]:8081"), "[::1]:8081");
        assert_eq!(reach("10.1.2.3:8081"), "10.1.2.3:8081");
    }
}
