//! Address of a broker: a URL whose password nobody may print.

use std::fmt;

use serde::Deserialize;
use serde::de::Error as _;
use zeroize::Zeroizing;

/// A broker's URL. `Debug` and `Display` show scheme, user, host, port and path; never password or query.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    text: Zeroizing<String>,
    shown: String,
}

impl BrokerUrl {
    /// Takes a URL with one of these schemes.
    ///
    /// # Errors
    /// What is wrong, for a person, without the text itself.
    pub fn new(text: String, schemes: &[&str]) -> Result<Self, String> {
        let text = Zeroizing::new(text);
        let url = url::Url::parse(&text).map_err(|error| format!("not a URL: {error}"))?;
        if !schemes.contains(&url.scheme()) {
            return Err(format!("a URL here begins with {}://", schemes.join(":// or ")));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("the URL names no host".to_owned());
        }
        let user = match (url.username(), url.password()) {
            ("", None) => String::new(),
            (user, None) => format!("{user}@"),
            (user, Some(_)) => format!("{user}:[redacted]@"),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{user}{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
        Ok(Self { text, shown })
    }

    /// As [`Self::new`], from the configuration.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D, schemes: &[&str]) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?, schemes).map_err(D::Error::custom)
    }

    /// The URL with its password, for the client library.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shown(text: &str) -> String {
        let url = BrokerUrl::new(text.to_owned(), &["amqp", "redis"]).unwrap();
        assert_eq!(url.expose(), text);
        assert_eq!(format!("{url:?}"), url.to_string());
        url.to_string()
    }

    #[test]
    fn a_password_is_never_printed() {
        assert_eq!(shown("amqp://me:hunter2@host:5672/%2f?x=hunter2"), "amqp://me:[redacted]@host:5672/%2f");
        assert_eq!(shown("redis://:hunter2@host"), "redis://:[redacted]@host");
        assert_eq!(shown("redis://host:1"), "redis://host:1");
    }

    #[test]
    fn a_refusal_does_not_repeat_the_text() {
        for text in ["http://me:hunter2@host", "hunter2", "redis://", "redis://me:hunter2@"] {
            let error = BrokerUrl::new(text.to_owned(), &["redis", "rediss"]).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
