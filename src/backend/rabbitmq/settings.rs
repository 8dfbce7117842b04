//! `[backends.<name>]` with `type = "rabbitmq"`.

use std::time::Duration;

use lapin::uri::AMQPUri;
use serde::{Deserialize, Deserializer, de};

use crate::backend::Format;
use crate::backend::template::Template;
use crate::backend::url::BrokerUrl;
use crate::event::{schema, units};

/// Where and how events go into RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RabbitMq")]
pub struct Settings {
    /// `amqp://[user:password@]host[:port][/vhost]`, or `amqps://` for TLS.
    #[serde(deserialize_with = "url")]
    #[schemars(with = "String")]
    pub url: BrokerUrl,
    /// Exchange that events are published to.
    #[serde(default = "exchange", deserialize_with = "name")]
    #[schemars(with = "String")]
    pub exchange: String,
    /// Routing key; a template.
    #[serde(default = "routing_key")]
    pub routing_key: Template,
    /// Whether to declare a durable topic exchange and a durable quorum queue that takes everything from it;
    /// otherwise both must exist.
    #[serde(default = "declare")]
    pub declare: bool,
    /// The queue; unset: `webhooks` where it is declared, none to check where it is not.
    #[serde(default, deserialize_with = "optional_name")]
    #[schemars(with = "Option<String>")]
    pub queue: Option<String>,
    /// How the envelope is written.
    #[serde(default)]
    pub format: Format,
    /// Longest wait for a connection, and for the confirms of a batch.
    #[serde(default = "timeout", deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub timeout: Duration,
}

fn exchange() -> String {
    "webhooks".to_owned()
}

fn routing_key() -> Template {
    "{type}".parse().unwrap_or_else(|_| Template::fixed("webhooks"))
}

fn declare() -> bool {
    true
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BrokerUrl, D::Error> {
    let url = BrokerUrl::deserialize(deserializer, &["amqp", "amqps"])?;
    match uri(&url) {
        Some(_) => Ok(url),
        // The library's detail may repeat a part of the URL.
        None => Err(de::Error::custom(format!("{url} is not an AMQP URL"))),
    }
}

/// Where `url` leads, for the client library.
fn uri(url: &BrokerUrl) -> Option<AMQPUri> {
    let mut uri: AMQPUri = url.expose().parse().ok()?;
    // The library takes an address of IPv6 for no host at all, that is for `localhost`.
    if let url::Host::Ipv6(address) = url::Url::parse(url.expose()).ok()?.host()? {
        uri.authority.host = address.to_string();
    }
    Some(uri)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if (1..=255).contains(&name.len()) {
        Ok(name)
    } else {
        Err(de::Error::custom("a name of RabbitMQ has 1 to 255 bytes"))
    }
}

fn optional_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    name(deserializer).map(Some)
}

impl Settings {
    /// The queue to declare or to check, if any.
    pub fn queue(&self) -> Option<&str> {
        self.queue.as_deref().or(self.declare.then_some("webhooks"))
    }

    /// Where the broker is; `None`: [`Self::url`] is not an AMQP URL.
    pub fn uri(&self) -> Option<AMQPUri> {
        uri(&self.url)
    }

    /// What the backend does, on one line.
    pub fn describe(&self) -> String {
        let (verb, queue) = (if self.declare { "declares" } else { "expects" }, self.queue());
        let queue = queue.map(|queue| format!(" and queue `{queue}`")).unwrap_or_default();
        format!(
            "rabbitmq {}, {verb} exchange `{}`{queue}, routing key `{}`, {}",
            self.url,
            self.exchange,
            self.routing_key,
            self.format.label()
        )
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
        let settings = parse("url = 'amqp://guest:hunter2@localhost:5672/%2f'").unwrap();
        assert_eq!(
            settings.describe(),
            "rabbitmq amqp://guest:[redacted]@localhost:5672/%2f, declares exchange `webhooks` and queue `webhooks`, \
             routing key `{type}`, structured format"
        );
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert_eq!(settings.timeout.as_secs(), 10);
    }

    #[test]
    fn an_address_of_ipv6_is_where_it_leads() {
        let host = |url: &str| parse(&format!("url = '{url}'")).unwrap().uri().unwrap().authority.host;
        assert_eq!(host("amqp://guest:guest@[2001:db8::5]:5673/"), "2001:db8::5");
        assert_eq!(host("amqps://192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn without_declare_only_a_named_queue_is_checked() {
        let settings = parse("url = 'amqp://h'\ndeclare = false").unwrap();
        assert_eq!(settings.queue(), None);
        let settings = parse("url = 'amqp://h'\ndeclare = false\nqueue = 'q'\nformat = 'binary'").unwrap();
        assert_eq!(settings.queue(), Some("q"));
        assert!(settings.describe().contains("expects exchange `webhooks` and queue `q`"));
    }

    #[test]
    fn mistakes_are_named_without_the_password() {
        for (text, part) in [
            ("url = 'http://a:hunter2@b'", "begins with amqp:// or amqps://"),
            ("url = 'amqp://a:hunter2@b?heartbeat=x'", "not an AMQP URL"),
            ("url = 'amqp://a'\nexchange = ''", "1 to 255 bytes"),
            ("url = 'amqp://a'\nrouting_key = '{topic}'", "unknown placeholder `{topic}`"),
            ("url = 'amqp://a'\nformat = 'xml'", "unknown variant `xml`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("is not") || !error.contains("hunter2@b\""), "{error}");
        }
    }
}
