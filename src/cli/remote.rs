//! `--admin` and `--token`: which running hookferry a command speaks to.

use clap::builder::NonEmptyStringValueParser;
use url::Url;

use super::http::{Client, Error, Method, Outgoing};

/// The admin listener of a running hookferry.
#[derive(Debug, Clone, clap::Args)]
pub struct Remote {
    /// Address of the admin listener
    #[arg(long = "admin", value_name = "URL", default_value = "http://127.0.0.1:8081")]
    pub url: Url,
    /// Token of the admin listener
    #[arg(long, env = "HOOKFERRY_ADMIN_TOKEN", hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub token: Option<String>,
}

impl Remote {
    /// A client of the listener; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the address is not plain http.
    pub fn client(&self) -> Result<Client, Error> {
        Client::new(&self.url)
    }

    /// A request for `path` (as in `/v1/events`) with the token, where there is one.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the token cannot stand in a header.
    pub fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<Outgoing, Error> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
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
        let remote = Remote { url: base.parse().unwrap(), token: None };
        remote.request(Method::GET, "/v1/events", query).unwrap().target.to_string()
    }

    #[test]
    fn a_request_goes_below_the_address_and_its_query_is_escaped() {
        assert_eq!(target("http://127.0.0.1:8081", &[]), "/v1/events");
        assert_eq!(
            target("http://gate/ferry/", &[("type", "a.b*"), ("source", "x&y")]),
            "/ferry/v1/events?type=a.b*&source=x%26y"
        );
    }

    #[test]
    fn the_token_travels_as_a_bearer() {
        let remote = Remote { url: "http://a".parse().unwrap(), token: Some("t0ken".to_owned()) };
        let request = remote.request(Method::GET, "/", &[]).unwrap();
        assert_eq!(request.headers[super::super::http::header::AUTHORIZATION], "Bearer t0ken");
    }
}
