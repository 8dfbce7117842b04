//! `[server]` and `[sources.<name>]`: the public listener and who may send to it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::de::Error as _;

use super::limit::Rate;
use super::schema::OnInvalid;
use crate::catalogue::{EventSpec, Example, HandshakeSpec, Sample};
use crate::event::route::Glob;
use crate::event::{BackendName, Options, SecretRef, schema, units};
use crate::listener::{self, Address, Mode, Proxies};
use crate::verify;

/// `[server]`: the public ingress.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port, `unix:PATH`, `systemd` or `systemd:NAME`.
    pub listen: Address,
    /// Permissions of a Unix socket.
    pub socket_mode: Mode,
    /// Threads that serve requests; 0: one a core.
    pub workers: usize,
    /// Largest body, in bytes, as sent and after decoding; a source may name its own.
    #[serde(deserialize_with = "units::size")]
    #[schemars(with = "schema::Size")]
    pub max_body: u64,
    /// Most bytes of bodies in memory at once, over all requests; the first 16 KiB of each count for nothing.
    #[serde(deserialize_with = "units::size")]
    #[schemars(with = "schema::Size")]
    pub max_inflight: u64,
    /// Longest time to receive headers and body, for the first request of a connection from when that was opened.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub body_timeout: Duration,
    /// Least bytes of a body a second, over any 10 seconds; zero: however few within [`Server::body_timeout`].
    #[serde(deserialize_with = "units::size")]
    #[schemars(with = "schema::Size")]
    pub min_body_rate: u64,
    /// Longest wait for the journal, and with `ack = "published"` for the backends as well.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub ack_timeout: Duration,
    /// Most connections open at once, over all workers.
    pub max_connections: usize,
    /// Most connections open at once from one address, IPv6 by /64, proxies excepted; 0: any number.
    pub max_connections_per_ip: usize,
    /// Largest head of a request, in bytes; over it 431.
    #[serde(deserialize_with = "units::size")]
    #[schemars(with = "schema::Size")]
    pub max_header: u64,
    /// Whether connections from `trusted_proxies` begin with a PROXY header, version 1 or 2.
    pub proxy_protocol: bool,
    /// Networks whose `Forwarded` and `X-Forwarded-For` are believed, and `unix`: whoever can open our Unix socket.
    #[serde(deserialize_with = "proxies")]
    #[schemars(with = "schema::List<schema::Proxy>")]
    pub trusted_proxies: Proxies,
    /// Longest time that a stop waits for what is in flight.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub shutdown_grace: Duration,
    /// `[server.tls]`. `None`: plain HTTP.
    pub tls: Option<listener::settings::Tls>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)).into(),
            socket_mode: Mode::default(),
            workers: 0,
            max_body: 1 << 20,
            max_inflight: 256 << 20,
            body_timeout: Duration::from_secs(10),
            min_body_rate: 1 << 10,
            ack_timeout: Duration::from_secs(1),
            max_connections: 25_000,
            max_connections_per_ip: 0,
            max_header: 32 << 10,
            proxy_protocol: false,
            trusted_proxies: Proxies::default(),
            shutdown_grace: Duration::from_secs(20),
            tls: None,
        }
    }
}

fn proxies<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Proxies, D::Error> {
    Proxies::read(&units::list::<_, String>(deserializer)?).map_err(D::Error::custom)
}

/// When a source answers 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(!try_from, rename_all = "lowercase")]
pub enum Ack {
    /// Once the event is on disk.
    #[default]
    Durable,
    /// Once, besides, every backend that it goes to has confirmed it or keeps it as a dead letter.
    Published,
}

impl TryFrom<String> for Ack {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "durable" => Ok(Self::Durable),
            "published" => Ok(Self::Published),
            _ => Err("is \"durable\" or \"published\""),
        }
    }
}

/// `[sources.<name>]`: one sender, as the file has it; secrets are references still.
///
/// `None` means: as the provider, or `[server]` and `[dedup]`, say.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// An entry of the catalogue, `custom` (with [`Source::verify`]) or `none` (with [`Source::insecure`]).
    pub provider: String,
    /// Newest first; any match verifies.
    #[serde(default, deserialize_with = "units::list")]
    #[schemars(with = "schema::List<SecretRef>")]
    pub secrets: Vec<SecretRef>,
    /// Keys of a provider that signs with a private key: PEM, hex, base64 or JWKS; any match verifies.
    #[serde(default, deserialize_with = "units::list")]
    #[schemars(with = "schema::List<SecretRef>")]
    pub public_keys: Vec<SecretRef>,
    /// What else the provider needs, by the catalogue's names; `env:`, `file:` and `literal:` as in secrets.
    #[serde(default)]
    pub options: Options,
    /// Path of the endpoint. `None`: `/webhooks/<name>`.
    pub path: Option<String>,
    /// Where its events go, whatever the routes say. `None`: by the routes.
    #[serde(default, deserialize_with = "units::optional_list")]
    #[schemars(with = "Option<schema::List<BackendName>>")]
    pub backends: Option<Vec<BackendName>>,
    /// Who may send: networks, names of providers' published ranges, `file:PATH`. Left out: anybody.
    #[serde(default, deserialize_with = "units::filled_list")]
    #[schemars(with = "schema::List<String>")]
    pub allow_ips: Vec<String>,
    /// Most requests to the source in a second, minute or hour; one unit's worth may come at once. `None`: any number.
    pub rate_limit: Option<Rate>,
    /// The same for each address that sends to it; IPv6 by /64.
    pub rate_limit_per_ip: Option<Rate>,
    /// Largest body, in bytes.
    #[serde(default, deserialize_with = "units::optional_size")]
    #[schemars(with = "Option<schema::Size>")]
    pub max_body: Option<u64>,
    /// Largest distance between the signed time and ours.
    #[serde(default, deserialize_with = "units::optional_duration")]
    #[schemars(with = "Option<schema::Duration>")]
    pub tolerance: Option<Duration>,
    /// How long a redelivery is recognised; zero: no dedup.
    #[serde(default, deserialize_with = "units::optional_duration")]
    #[schemars(with = "Option<schema::Duration>")]
    pub dedup_window: Option<Duration>,
    /// Status of an accepted event, 200 to 299.
    pub success_status: Option<u16>,
    /// Status that makes the sender try again later, 400 to 599.
    pub busy_status: Option<u16>,
    /// `body:/json/pointer`, `header:name` or another place of the request: key of ordering and of FIFO groups.
    pub partition_key: Option<String>,
    /// JSON Schema that every body must meet: `FILE`, or `FILE#/pointer` for a part of it.
    pub schema: Option<String>,
    /// Further schemas by pattern of the CloudEvents type; every one that fits must be met.
    #[serde(default)]
    pub schemas: BTreeMap<String, String>,
    /// What becomes of an event that does not meet them. `None`: a dead letter.
    pub on_invalid: Option<OnInvalid>,
    /// When the answer is given.
    #[serde(default)]
    pub ack: Ack,
    /// URL that the sender was given, for providers that sign it.
    pub public_url: Option<String>,
    /// Request headers kept in the envelope, lower case; `*` stands for any text.
    #[serde(default, deserialize_with = "units::list")]
    #[schemars(with = "schema::List<Glob>")]
    pub headers: Vec<Glob>,
    /// Says that `provider = "none"` is meant.
    #[serde(default)]
    pub insecure: bool,
    /// The signature of a `custom` source.
    pub verify: Option<verify::Spec>,
    /// Where a `custom` source has its event id, type, time and subject.
    pub event: Option<EventSpec>,
    /// Methods that the sender of a `custom` source uses. `None`: POST.
    #[serde(default, deserialize_with = "units::optional_list")]
    #[schemars(with = "Option<schema::List<String>>")]
    pub methods: Option<Vec<String>>,
    /// Body that the sender of a `custom` source demands on success.
    pub success_body: Option<String>,
    /// Challenges of a `custom` source, answered before anything is ferried.
    #[serde(default)]
    pub handshake: Vec<HandshakeSpec>,
    /// A request of a `custom` source for `hookferry send` to start from.
    pub sample: Option<Sample>,
    /// Requests that a `custom` source must accept, read and answer.
    #[serde(default)]
    pub example: Vec<Example>,
}
