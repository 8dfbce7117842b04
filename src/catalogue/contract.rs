//! The file `providers/<name>.toml`, key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::ContractError;
use super::value::Value;
use crate::event::{Options, schema, units};
use crate::verify::{Challenge, Spec};

/// Everything that a receiver must know of a sender.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Name for people.
    pub title: String,
    /// The sender's page about its webhooks.
    #[serde(default)]
    pub docs: Option<String>,
    /// What the operator does at the sender, and which secret to copy from there.
    #[serde(default)]
    pub setup: Option<String>,
    /// Methods that the sender uses, upper case.
    #[serde(default = "post")]
    pub methods: Vec<String>,
    /// Status that the sender takes as success.
    #[serde(default = "ok")]
    pub success_status: u16,
    /// Body that the sender demands on success.
    #[serde(default)]
    pub success_body: Option<String>,
    /// Status that makes this sender try again later.
    #[serde(default = "unavailable")]
    pub busy_status: u16,
    /// How long the sender waits for the answer; `None`: it does not say.
    #[serde(default, deserialize_with = "units::optional_duration")]
    pub timeout: Option<Duration>,
    /// How long after the event it still tries; zero: it never tries again. `None`: it does not say.
    #[serde(default, deserialize_with = "units::optional_duration")]
    pub retry_horizon: Option<Duration>,
    /// From where the sender sends, as `allow_ips` takes it: where it publishes its networks, or these. Empty: it does not
    /// say.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Whether nobody has seen this contract at work: the facts are few and from second hand.
    #[serde(default)]
    pub experimental: bool,
    /// What else a source may set in `options`, and what that is for.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Whether it stands in a source, which sets what it names in `options` itself.
    #[serde(skip)]
    pub inline: bool,
    /// Keys whose facts come from memory rather than from the sender's page or library.
    #[serde(default)]
    pub recalled: Vec<String>,
    /// How its requests are proven.
    pub verify: Spec,
    /// Where an event's attributes stand.
    #[serde(default)]
    pub event: EventSpec,
    /// Challenges, answered before anything is ferried.
    #[serde(default)]
    pub handshake: Vec<HandshakeSpec>,
    /// A request for `hookferry send` to start from.
    #[serde(default)]
    pub sample: Sample,
    /// Requests that must verify, and be refused once tampered with.
    #[serde(default)]
    pub example: Vec<Example>,
}

/// `[event]`: where an event's attributes stand; of a list the first that is there counts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventSpec {
    /// The id, equal on redelivery.
    #[serde(deserialize_with = "units::list")]
    #[schemars(with = "schema::List<Value>")]
    pub id: Vec<Value>,
    /// Whether the id alone tells one event from another: the signature covers it, and it names one event rather than an
    /// object or the first of a batch. Left out, it follows from `[verify]` and from the place of the id.
    pub id_signed: Option<bool>,
    /// Whether two events may be equal to the byte where they have no id, as a bare "something has changed" is: each delivery is an event
    /// of its own then, with an id of its own, and a redelivery is one more.
    pub repeats: bool,
    /// The type, without the provider's name.
    #[serde(rename = "type", deserialize_with = "units::list")]
    #[schemars(with = "schema::List<Value>")]
    pub kind: Vec<Value>,
    /// The time of the event: Unix seconds or milliseconds, or RFC 3339.
    #[serde(deserialize_with = "units::list")]
    #[schemars(with = "schema::List<Value>")]
    pub time: Vec<Value>,
    /// Zone of times that name none, as `2023-11-14 22:13:20` does: `+00:00`, `-08:00`. Left out, these are no times.
    pub time_zone: Option<String>,
    /// The resource that the event is about.
    #[serde(deserialize_with = "units::list")]
    #[schemars(with = "schema::List<Value>")]
    pub subject: Vec<Value>,
}

/// `[[handshake]]`: a request that is answered, never ferried.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandshakeSpec {
    /// How to tell it from an event.
    pub when: When,
    /// Whether it bears a signature like an event; it is answered only once that is proven.
    pub signed: bool,
    /// The answer.
    pub reply: ReplySpec,
    /// Place of a text in which the challenge is encrypted, e.g. `body:/encrypt`: Base64 of an initialisation vector and
    /// of what AES-256-CBC makes under the SHA-256 of a secret. `when.body` and the answer read what is in it.
    #[serde(default)]
    pub decrypt: Option<String>,
    /// What `{hmac:…}` in the answer may sign; an event whose signed text is that is not believed.
    #[serde(default)]
    pub challenge: Challenge,
    /// An address to visit in the background.
    #[serde(default)]
    pub visit: Option<VisitSpec>,
    /// A secret to believe from now on.
    #[serde(default)]
    pub remember: Option<RememberSpec>,
    /// Place of a text that is put where the operator finds it, e.g. `body:/verification_token`.
    #[serde(default)]
    pub capture: Option<String>,
}

/// `visit`: what a sender wants fetched as a sign of consent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VisitSpec {
    /// Place of the address, e.g. `body:/SubscribeURL`.
    pub url: String,
    /// The only addresses that are visited, as in `keys.allow`.
    pub allow: Vec<String>,
}

/// `remember`: a sender that chooses the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RememberSpec {
    /// Place of the secret, e.g. `header:x-hook-secret`.
    pub secret: String,
    /// Whether it is believed only where the source has no secret yet, since nothing proves who shows it.
    pub first_only: bool,
}

/// Conditions of a handshake; all of those given must hold. A value is the text itself, `*` for any, or
/// `{option:NAME}` for what the source sets: without that the condition does not hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// The method.
    pub method: Option<String>,
    /// Path, where the sender asks at another one than the source's, e.g. `/.well-known/…`. Nothing but this handshake is
    /// answered there; of several sources whose senders ask there, the first by path answers.
    pub path: Option<String>,
    /// JSON Pointer into the body, and the scalar there.
    pub body: BTreeMap<String, String>,
    /// Query parameter, and its value.
    pub query: BTreeMap<String, String>,
    /// Header, and its value.
    pub header: BTreeMap<String, String>,
    /// Form field, and its value.
    pub form: BTreeMap<String, String>,
    /// Places that must hold nothing, e.g. `header:x-signature`.
    pub without: Vec<String>,
    /// Options that the source must not set.
    pub without_option: Vec<String>,
}

/// The answer to a handshake.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplySpec {
    /// The status.
    pub status: u16,
    /// `text/plain` or `application/json`: no type that a browser would run.
    pub content_type: String,
    /// Headers beside it, written like the body.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body; `{body:/pointer}`, `{query:NAME}`, `{header:NAME}` and `{form:NAME}` stand for values of the request,
    /// `{option:NAME}` for what the source sets, `{hmac:HASH:ENCODING:PLACE}` for the MAC of a value of the request
    /// under the newest secret.
    pub body: String,
}

/// `[sample]`: what a request of this sender looks like.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// A type that the sender knows.
    #[serde(rename = "type")]
    pub kind: String,
    /// The body, JSON; id, type and time are set where `[event]` reads them.
    pub body: String,
    /// Headers that the sender adds besides.
    pub headers: BTreeMap<String, String>,
}

impl Default for Sample {
    fn default() -> Self {
        Self { kind: "test".to_owned(), body: "{}".to_owned(), headers: BTreeMap::new() }
    }
}

/// `[[example]]`: a request with its secret and time, from a computation other than ours.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Secret or public key as the sender shows it to the operator; empty where a request shows its own key.
    #[serde(default)]
    pub secret: String,
    /// What the source sets in `options`.
    #[serde(default)]
    pub options: Options,
    /// Whether the request bears no proof, as some challenges do not.
    #[serde(default)]
    pub unsigned: bool,
    /// Time of receipt, Unix seconds.
    pub now: i64,
    /// The method.
    #[serde(default = "post_one")]
    pub method: String,
    /// Path of the request target.
    #[serde(default)]
    pub path: String,
    /// Query without the `?`.
    #[serde(default)]
    pub query: String,
    /// URL that the sender was given.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Headers by name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// What must be read from it.
    pub expect: Expect,
}

/// Attributes that an example must give; what is left out must be absent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// The event id.
    pub id: Option<String>,
    /// The event type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The event time, RFC 3339, UTC.
    pub time: Option<String>,
    /// The resource.
    pub subject: Option<String>,
    /// Body of the answer, where the request is a handshake.
    pub reply: Option<String>,
    /// Headers of that answer.
    pub reply_headers: BTreeMap<String, String>,
}

impl Contract {
    /// A contract of which only the scheme and the places of the attributes are known.
    pub fn inline(verify: Spec, event: EventSpec) -> Self {
        Self {
            title: "Custom".to_owned(),
            docs: None,
            setup: None,
            methods: post(),
            success_status: ok(),
            success_body: None,
            busy_status: unavailable(),
            timeout: None,
            retry_horizon: None,
            addresses: Vec::new(),
            experimental: false,
            options: BTreeMap::new(),
            inline: true,
            recalled: Vec::new(),
            verify,
            event,
            handshake: Vec::new(),
            sample: Sample::default(),
            example: Vec::new(),
        }
    }

    /// - `used`: names of the options that its scheme and its handshakes make use of.
    pub(super) fn has_use_for(&self, used: &BTreeSet<String>) -> Result<(), ContractError> {
        match self.options.keys().find(|name| !self.inline && !used.contains(*name)) {
            Some(name) => Err(ContractError::key("options", format!("declares `{name}`, which nothing in it uses"))),
            None => Ok(()),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ContractError> {
        let known = ["GET", "HEAD", "OPTIONS", "POST", "PUT"];
        if self.methods.is_empty() || !self.methods.iter().all(|method| known.contains(&method.as_str())) {
            return Err(ContractError::key("methods", format!("is not a list of some of {}", known.join(", "))));
        }
        if !(200..300).contains(&self.success_status) {
            return Err(ContractError::key("success_status", "is not between 200 and 299"));
        }
        // 410 makes many senders delete the subscription for good.
        if !(400..600).contains(&self.busy_status) || self.busy_status == 410 {
            return Err(ContractError::key("busy_status", "is not an error status that asks for another try"));
        }
        Ok(())
    }
}

fn post() -> Vec<String> {
    vec![post_one()]
}

fn post_one() -> String {
    "POST".to_owned()
}

fn ok() -> u16 {
    200
}

fn unavailable() -> u16 {
    503
}
