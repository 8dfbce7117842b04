//! `[backends.<name>]` with `type = "redis"`.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::backend::Format;
use crate::backend::template::Template;
use crate::backend::url::BrokerUrl;
use crate::event::{schema, units};

/// Where and how events go into Redis Streams.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Redis")]
pub struct Settings {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    #[serde(deserialize_with = "url")]
    #[schemars(with = "String")]
    pub url: BrokerUrl,
    /// Key of the stream; a template.
    #[serde(default = "stream")]
    pub stream: Template,
    /// About how many entries a stream keeps (`MAXLEN ~`); unset: all.
    #[serde(default)]
    pub max_len: Option<NonZeroU64>,
    /// How the envelope is written.
    #[serde(default)]
    pub format: Format,
    /// Longest wait for a connection, and for the answer to a batch.
    #[serde(default = "timeout", deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub timeout: Duration,
}

fn stream() -> Template {
    Template::fixed("webhooks")
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BrokerUrl, D::Error> {
    let url = BrokerUrl::deserialize(deserializer, &["redis", "rediss"])?;
    match redis::Client::open(url.expose()) {
        Ok(_) => Ok(url),
        // The library's detail may repeat a part of the URL.
        Err(error) => Err(de::Error::custom(format!("{url} is not a Redis URL: {}", error.category()))),
    }
}

impl Settings {
    /// What the backend does, on one line.
    pub fn describe(&self) -> String {
        let trimmed = self.max_len.map(|most| format!(", trimmed to about {most} entries")).unwrap_or_default();
        format!("redis {}, stream `{}`{trimmed}, {}", self.url, self.stream, self.format.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_is_all_that_is_needed() {
        let settings = parse("url = 'redis://:hunter2@localhost:6380/2'").unwrap();
        assert_eq!(settings.stream.constant(), Some("webhooks"));
        assert_eq!((settings.max_len, settings.timeout.as_secs()), (None, 5));
        assert_eq!(
            settings.describe(),
            "redis redis://:[redacted]@localhost:6380/2, stream `webhooks`, structured format"
        );
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn mistakes_are_named_without_the_password() {
        for (text, part) in [
            ("url = 'http://a:hunter2@b'", "begins with redis:// or rediss://"),
            ("url = 'redis://:hunter2@localhost/nope'", "not a Redis URL"),
            ("url = 'redis://a'\nstreem = 'x'", "unknown field `streem`"),
            ("url = 'redis://a'\nstream = '{kind}'", "unknown placeholder `{kind}`"),
            ("url = 'redis://a'\nmax_len = 0", "nonzero"),
            ("", "missing field `url`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
