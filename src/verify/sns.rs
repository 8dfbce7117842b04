//! Amazon SNS: RSA over a few members of the JSON body, with the key of a certificate that the message names.
//!
//! Anybody can have Amazon sign messages of a topic of his own, so the topics of a source are listed.
//! Raw message delivery bears no signature at all, and is refused.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::field::{Field, FieldSpec};
use super::material::{PublicKey, Scheme};
use super::origin::OriginSpec;
use super::signed::five_minutes;
use super::stamp::{Stamp, StampSpec};
use super::{Refusal, RuleError};
use crate::event::json::Pointers;
use crate::event::route::Glob;
use crate::event::{Options, Request, schema, units};

/// `kind = "sns"`.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnsSpec {
    /// Where certificates come from; which one, a message says by `SigningCertURL`.
    pub keys: OriginSpec,
    /// As in [`super::HmacSpec`]; measured from the publication of the message.
    #[serde(default = "five_minutes", deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub tolerance: Duration,
}

/// A compiled [`SnsSpec`].
#[derive(Debug, Clone)]
pub(super) struct Sns {
    pub(super) signature: Field,
    pub(super) timestamp: Stamp,
    topics: Vec<Glob>,
    members: Pointers,
}

/// Members that are signed, as pointers; the name of one follows its slash.
pub(super) const COVERED: [&str; 8] =
    ["/Message", "/MessageId", "/Subject", "/SubscribeURL", "/Timestamp", "/Token", "/TopicArn", "/Type"];

/// Members of a notification, in the order in which they are signed.
const NOTIFICATION: [usize; 6] = [0, 1, 2, 4, 6, 7];
/// Members of the confirmation of a subscription or of its end.
const CONFIRMATION: [usize; 7] = [0, 1, 3, 4, 5, 6, 7];
const MESSAGE: usize = 0;
const TOPIC: usize = 6;
const TYPE: usize = 7;
const SUBJECT: usize = 2;
const VERSION: usize = 8;

/// Where a message names its certificate.
pub(super) fn named_by() -> FieldSpec {
    FieldSpec { body: Some("/SigningCertURL".to_owned()), ..FieldSpec::default() }
}

impl Sns {
    pub(super) fn new(tolerance: Duration) -> Result<Self, RuleError> {
        let signature = FieldSpec { body: Some("/Signature".to_owned()), ..FieldSpec::default() };
        // A message may wait for hours at Amazon, which names no window.
        let timestamp = StampSpec {
            body: Some("/Timestamp".to_owned()),
            unit: super::Unit::Rfc3339,
            enforce: Some(false),
            ..StampSpec::default()
        };
        let members = COVERED.into_iter().chain(["/SignatureVersion"]);
        Ok(Self {
            signature: Field::new(signature, "signature")?,
            timestamp: Stamp::new(timestamp, tolerance.as_secs())?,
            topics: Vec::new(),
            members: Pointers::new(members).map_err(|error| RuleError::new("kind", error.to_string()))?,
        })
    }

    pub(super) fn with_options(&mut self, options: &Options) -> Result<(), RuleError> {
        let topics = options.texts("topic_arns");
        if topics.is_empty() {
            let what = "lacks `topic_arns`, without which anybody's topic would be believed";
            return Err(RuleError::new("options", what));
        }
        if let Some(topic) = topics.iter().find(|topic| !topic.starts_with("arn:")) {
            return Err(RuleError::new("options", format!("has `topic_arns` with `{topic}`, which is no ARN")));
        }
        self.topics = topics.iter().cloned().map(Glob::from).collect();
        Ok(())
    }

    /// Whether one of `keys` signed the message, and its topic is one of the source's.
    pub(super) fn check(&self, keys: &[&PublicKey], request: &Request, now_s: i64) -> Result<(), Refusal> {
        let signature = self.signature.only(request)?;
        let signature = STANDARD.decode(signature).map_err(|_| Refusal::Mismatch)?;
        let picked = self.members.read(request.body).map_err(|_| Refusal::Missing)?;
        let scheme = match picked.get(VERSION) {
            Some("1") => Scheme::RsaSha1,
            Some("2") => Scheme::RsaSha256,
            _ => return Err(Refusal::Mismatch),
        };
        let order: &[usize] = match picked.get(TYPE) {
            Some("Notification") => &NOTIFICATION,
            Some("SubscriptionConfirmation" | "UnsubscribeConfirmation") => &CONFIRMATION,
            _ => return Err(Refusal::Mismatch),
        };
        let mut message = String::new();
        for n in order {
            match (picked.get(*n), *n) {
                // Members are told apart by line breaks alone, and Amazon signs what anybody publishes: only the first one, the
                // message itself, may hold any, so that there is one way to read what was signed.
                (Some(value), n) if n != MESSAGE && value.contains('\n') => return Err(Refusal::Mismatch),
                (Some(value), n) => {
                    let name = COVERED.get(n).and_then(|pointer| pointer.strip_prefix('/')).unwrap_or_default();
                    message.extend([name, "\n", value, "\n"]);
                }
                (None, SUBJECT) => {}
                (None, _) => return Err(Refusal::Missing),
            }
        }
        let topic = picked.get(TOPIC).unwrap_or_default();
        if !keys.iter().any(|key| key.verifies(scheme, message.as_bytes(), &signature))
            || !self.topics.iter().any(|allowed| allowed.matches(topic))
        {
            return Err(Refusal::Mismatch);
        }
        self.timestamp.fresh(&self.timestamp.read(request)?, now_s)
    }
}
