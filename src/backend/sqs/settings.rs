//! `[backends.<name>]` with `type = "sqs"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use url::Url;

use crate::backend::Format;
use crate::event::{schema, units};

/// Where and how events go into SQS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sqs")]
pub struct Settings {
    /// URL of the queue; one that ends in `.fifo` is a FIFO queue.
    #[serde(deserialize_with = "queue_url")]
    #[schemars(with = "String")]
    pub queue_url: String,
    /// Address of the service; unset: that of `queue_url` if it is not Amazon's own, else the AWS chain's.
    #[serde(default, deserialize_with = "endpoint")]
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<String>,
    /// Region; unset: that of `queue_url`, else the AWS chain's.
    #[serde(default)]
    pub region: Option<String>,
    /// How the envelope is written.
    #[serde(default)]
    pub format: Format,
    /// Longest time of one call.
    #[serde(default = "timeout", deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub timeout: Duration,
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("a URL here begins with https:// or http://".to_owned());
    }
    if url.password().is_some() {
        return Err("credentials come from the AWS chain, not from the URL".to_owned());
    }
    Ok(url)
}

fn queue_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let url = http_url(&text).map_err(de::Error::custom)?;
    if url.path().trim_matches('/').is_empty() {
        return Err(de::Error::custom("the URL names no queue"));
    }
    Ok(text)
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    http_url(&text).map_err(de::Error::custom)?;
    Ok(Some(text))
}

impl Settings {
    /// Whether the queue is FIFO.
    pub fn fifo(&self) -> bool {
        self.queue_url.ends_with(".fifo")
    }

    /// The address to use instead of the AWS chain's.
    pub fn endpoint(&self) -> Option<String> {
        let origin = || {
            let url = Url::parse(&self.queue_url).ok()?;
            let amazon = url.host_str().is_none_or(|host| host.contains(".amazonaws.") || host.ends_with(".api.aws"));
            (!amazon).then(|| url.origin().ascii_serialization())
        };
        self.endpoint.clone().or_else(origin)
    }

    /// The region to use instead of the AWS chain's.
    pub fn region(&self) -> Option<String> {
        let from_host = || {
            let url = Url::parse(&self.queue_url).ok()?;
            let (_, rest) = url.host_str()?.split_once("sqs.")?;
            let (region, _) = rest.split_once(".amazonaws.")?;
            Some(region.to_owned())
        };
        self.region.clone().or_else(from_host)
    }

    /// What the backend does, on one line.
    pub fn describe(&self) -> String {
        let kind = if self.fifo() { ", FIFO" } else { "" };
        let endpoint = self.endpoint().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
        format!("sqs {}{endpoint}{kind}, {}", self.queue_url, self.format.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_queues_url_tells_kind_region_and_endpoint() {
        let amazon = parse("queue_url = 'https://sqs.eu-west-1.amazonaws.com/1234/orders.fifo'").unwrap();
        assert_eq!((amazon.fifo(), amazon.region(), amazon.endpoint()), (true, Some("eu-west-1".into()), None));
        let local = parse("queue_url = 'http://127.0.0.1:4566/0/q'\nregion = 'x'").unwrap();
        assert_eq!(local.endpoint().as_deref(), Some("http://127.0.0.1:4566"));
        assert_eq!((local.fifo(), local.region().as_deref()), (false, Some("x")));
        assert_eq!(local.describe(), "sqs http://127.0.0.1:4566/0/q at http://127.0.0.1:4566, structured format");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("queue_url = 'orders'", "not a URL"),
            ("queue_url = 'ftp://h/q'", "begins with https://"),
            ("queue_url = 'https://sqs.eu-west-1.amazonaws.com/'", "names no queue"),
            ("queue_url = 'https://a:b@h/q'", "credentials come from the AWS chain"),
            ("queue_url = 'https://h/q'\nendpoint = 'x'", "not a URL"),
            ("queue_url = 'https://h/q'\nurl = 'x'", "unknown field `url`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
