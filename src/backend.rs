//! Places that events are published to: one trait, one file each.
//!
//! A [`Backend`] is a configured destination; [`Backend::connect`] gives a live [`Session`], which a lane
//! of `dispatch` drives and drops when its connection is lost. The backend decides what became of each
//! event, since only it knows its broker's errors.
//!
//! Knows nothing of the journal, of retry policy or of HTTP.

// A build for readers of the journal alone has no backend that would use these.
#![cfg_attr(not(any(feature = "redis", feature = "rabbitmq", feature = "sqs")), allow(unused))]

macro_rules! backends {
    ($($backend:ident $module:ident $kind:literal),+ $(,)?) => {
        /// Every value of `type`, whether compiled in or not.
        pub const TYPES: &[&str] = &[$($kind),+];

        /// One `[backends.<name>]` section, checked; its `type` says which.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Settings {
            $(
                #[doc = concat!("`type = \"", $kind, "\"`")]
                #[cfg(feature = $kind)]
                $backend($module::Settings)
            ),+
        }

        impl Settings {
            /// Reads the section's other keys, once its `type` is known to be `kind`.
            ///
            /// # Errors
            /// An unknown type, one that this build leaves out, or a key that is wrong.
            pub fn parse<'de, D: serde::Deserializer<'de>>(kind: &str, table: D) -> Result<Self, D::Error> {
                match kind {
                    $(
                        #[cfg(feature = $kind)]
                        $kind => $module::Settings::deserialize(table).map(Self::$backend),
                        #[cfg(not(feature = $kind))]
                        $kind => Err(D::Error::custom(concat!(
                            "this build has no backend `", $kind, "`: its cargo feature `", $kind, "` is off"
                        ))),
                    )+
                    _ => Err(D::Error::unknown_variant(kind, TYPES)),
                }
            }

            /// The schemas of all types, with the type's name.
            fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
                vec![$(#[cfg(feature = $kind)] ($kind, $module::Settings::json_schema(generator))),+]
            }

            /// What the backend will do, on one line, without a secret.
            pub fn describe(&self) -> String {
                match *self {
                    $(#[cfg(feature = $kind)] Self::$backend(ref settings) => settings.describe()),+
                }
            }

            /// The backend; nothing is reached before [`Backend::connect`].
            pub fn build(&self, context: &Context) -> Arc<dyn Backend> {
                match *self {
                    $(#[cfg(feature = $kind)] Self::$backend(ref settings) => {
                        Arc::new($module::$backend::new(settings.clone(), context))
                    }),+
                }
            }
        }
    };
}

pub mod memory;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqs")]
pub mod sqs;
pub mod template;
pub mod url;

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize as _;
use serde::de::Error as _;
use serde_json::json;

use crate::event::{BackendName, Stored};

backends! {
    Redis redis "redis",
    RabbitMq rabbitmq "rabbitmq",
    Sqs sqs "sqs",
}

impl JsonSchema for Settings {
    fn schema_name() -> Cow<'static, str> {
        "Backend".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let with_type = |(kind, mut schema): (&'static str, Schema)| {
            let object = schema.ensure_object();
            object.insert("title".to_owned(), kind.into());
            let properties = object.entry("properties").or_insert_with(|| json!({}));
            properties["type"] = json!({"const": kind});
            if let Some(required) = object.entry("required").or_insert_with(|| json!([])).as_array_mut() {
                required.push("type".into());
            }
            schema
        };
        let schemas: Vec<Schema> = Self::schemas(generator).into_iter().map(with_type).collect();
        json_schema!({"oneOf": schemas})
    }
}

/// Who publishes: a backend may keep this journal's cursor beside its data.
#[derive(Debug, Clone)]
pub struct Context {
    /// Name of the `[backends.<name>]` section.
    pub name: BackendName,
    /// Random id of the journal, hex; a new journal has a new one.
    pub journal: String,
}

/// A configured destination.
///
/// The suite in `tests/backends.rs` runs against every implementation:
/// - outcomes come in batch order, one an event;
/// - [`Outcome::Delivered`] means that the broker confirmed the event;
/// - dropping a future may duplicate events, never lose one;
/// - every call ends within [`Limits::timeout`] of its own making, whatever the broker does.
#[async_trait::async_trait]
pub trait Backend: Send + Sync {
    /// What one call may carry.
    fn limits(&self) -> Limits;

    /// Reaches the broker, checks or declares what it needs there, and is ready to publish.
    ///
    /// # Errors
    /// Why not; the lane tries again later, for ever.
    async fn connect(&self) -> Result<Box<dyn Session>, Failure>;

    /// What would lose data at the broker (no persistence, eviction, no dead-letter queue), one sentence each.
    ///
    /// # Errors
    /// The broker cannot be reached, or does not hold what it must.
    async fn lint(&self) -> Result<Vec<String>, Failure>;
}

/// A live connection to a broker.
#[async_trait::async_trait]
pub trait Session: Send {
    /// Sequence of the last event that the broker itself knows as published from this journal,
    /// where the backend keeps that beside its data. `None`: it keeps none, or knows of none.
    fn published(&self) -> Option<u64>;

    /// Publishes 1 to [`Limits::events`] events, in order, and reports on each.
    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome>;

    /// As [`Self::publish`], for events out of their place that somebody asked to have again: a cursor that the
    /// backend keeps beside its data stays where it is, and the broker does not take them for copies.
    async fn republish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        self.publish(batch).await
    }
}

/// What one call of [`Session::publish`] may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most events in a batch.
    pub events: usize,
    /// Most bytes of bodies in a batch; one larger event travels alone.
    pub bytes: usize,
    /// Longest time that a call may take.
    pub timeout: std::time::Duration,
    /// Whether the broker keeps the cursor beside the data, so that a lane need not save its own first.
    pub keeps_cursor: bool,
    /// Whether an event travels as [`Stored::write_json`] writes it, so that this can be made ahead.
    pub sends_json: bool,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Confirmed by the broker.
    Delivered,
    /// May succeed later; blocks only its own backend.
    Retry(Failure),
    /// Was not sent in this call, with nothing known against it.
    Later,
    /// Will never succeed; goes to the dead letters, and the lane goes on.
    Reject(Failure),
}

/// Why a broker did not take something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({})", reason.label())]
pub struct Failure {
    /// The class, a label of bounded number.
    pub reason: Reason,
    /// For a person: what the broker said. Never a secret.
    pub detail: String,
}

impl Failure {
    /// A failure of this class.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $label:literal),+ $(,)?) => {
        /// Classes of failures, as the label `reason` shows them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant),+ }

        impl Reason {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label's value.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }
    };
}

reasons! {
    /// No connection, or it was lost.
    Connection "connection",
    /// Accepted, but no answer in time.
    Timeout "timeout",
    /// Login or permission refused.
    Unauthorized "unauthorized",
    /// Queue, exchange or stream is missing or of the wrong type.
    Missing "missing",
    /// The broker asks for less: throttled, busy, loading.
    Throttled "throttled",
    /// The broker is full: out of memory or disk, a memory alarm, queue at its length.
    Full "full",
    /// Refused for now for another reason, e.g. a nack or a read-only replica.
    Refused "refused",
    /// Returned by the broker: no queue is bound for it.
    Unroutable "unroutable",
    /// Larger than the backend can hold, ever.
    TooLarge "too_large",
    /// Content that the backend can never hold.
    Invalid "invalid",
}

/// How the envelope is written into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One CloudEvents JSON object.
    #[default]
    Structured,
    /// The raw body; attributes travel beside it.
    Binary,
}

impl Format {
    /// For a person.
    pub fn label(self) -> &'static str {
        match self {
            Self::Structured => "structured format",
            Self::Binary => "binary format",
        }
    }
}
