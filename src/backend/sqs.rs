//! SQS: batches of at most ten messages, several in flight, each message with its own outcome.
//!
//! Invariants
//! - `Delivered` is reported only for an entry that SQS lists as successful.
//! - FIFO: at most one message of a group is in flight, and after one that failed no later one of its group is sent,
//!   so the order within a group holds whatever fails.
//! - The SDK does not retry; the lane does.
//!
//! A session is a client with what is known about the queue: there is no connection to lose.

mod errors;
mod ids;
mod message;
mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use futures_util::{StreamExt as _, stream};

pub use settings::Settings;

use super::{Backend, Context, Failure, Format, Limits, Outcome, Reason, Session, template};
use crate::event::Stored;
use errors::Told;
use ids::Dedup;

/// Most entries of a call.
const CALL_ENTRIES: usize = 10;
/// Most bytes of a call, attributes included: 1 MiB since August 2025.
const CALL_BYTES: usize = 1 << 20;
/// Calls in flight at a time.
const CALLS: usize = 8;

/// A configured queue.
pub struct Sqs {
    settings: Arc<Settings>,
    dedup: Arc<Mutex<Dedup>>,
    credentials: Option<Credentials>,
}

impl Sqs {
    /// A backend with the credentials of the AWS chain: environment, profile, container, instance.
    pub fn new(settings: Settings, _context: &Context) -> Self {
        Self { settings: Arc::new(settings), dedup: Arc::default(), credentials: None }
    }

    /// Uses this access key instead of the chain's.
    #[must_use]
    pub fn with_access_key(mut self, id: &str, secret: &str) -> Self {
        self.credentials = Some(Credentials::new(id, secret, None, None, "given"));
        self
    }

    async fn client(&self) -> Client {
        let settings = &self.settings;
        let timeouts = TimeoutConfig::builder().connect_timeout(settings.timeout).operation_timeout(settings.timeout);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build())
            // The time-out of each operation covers what it guards against.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = settings.region() {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint) = settings.endpoint() {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(credentials) = &self.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        let config = loader.load().await;
        if config.region().is_some() {
            return Client::new(&config);
        }
        // Only an emulator or a private endpoint has no region, and takes any.
        Client::new(&config.into_builder().region(Region::new("us-east-1")).build())
    }

    async fn start(&self) -> Result<Box<dyn Session>, Failure> {
        let mut queue = Queue {
            client: self.client().await,
            settings: self.settings.clone(),
            dedup: self.dedup.clone(),
            max_message: CALL_BYTES,
            again: false,
        };
        match queue.attributes().await {
            Ok(attributes) => queue.notice(&attributes),
            // A policy may allow sending and nothing else; then SQS itself tells what is too large.
            Err(told) if told.denied() => {}
            Err(told) => return Err(told.failure()),
        }
        Ok(Box::new(queue))
    }

    async fn inspect(&self) -> Result<Vec<String>, Failure> {
        let (settings, dedup) = (self.settings.clone(), self.dedup.clone());
        let queue = Queue { client: self.client().await, settings, dedup, max_message: CALL_BYTES, again: false };
        let attributes = queue.attributes().await.map_err(|told| told.failure())?;
        Ok(risks(|name| attributes.get(&name).cloned()))
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let timeout = self.settings.timeout;
        let result = tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            Err(Failure::new(Reason::Timeout, format!("no answer within {} ms", timeout.as_millis())))
        });
        result
            .map_err(|failure| Failure::new(failure.reason, format!("{}: {}", self.settings.queue_url, failure.detail)))
    }
}

#[async_trait::async_trait]
impl Backend for Sqs {
    fn limits(&self) -> Limits {
        // A call begins within the time-out or not at all, and takes as long at most.
        let timeout = self.settings.timeout * 2 + Duration::from_secs(1);
        // Messages of one FIFO group go one by one, so a batch of them must be short.
        let events = if self.settings.fifo() { 50 } else { 200 };
        Limits {
            events,
            bytes: 8 << 20,
            timeout,
            keeps_cursor: false,
            sends_json: self.settings.format == Format::Structured,
        }
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Failure> {
        self.in_time(self.start()).await
    }

    async fn lint(&self) -> Result<Vec<String>, Failure> {
        self.in_time(self.inspect()).await
    }
}

/// What would lose messages, from the queue's attributes.
fn risks(attribute: impl Fn(QueueAttributeName) -> Option<String>) -> Vec<String> {
    let mut risks = Vec::new();
    if attribute(QueueAttributeName::RedrivePolicy).is_none_or(|policy| policy.is_empty()) {
        let retried = "the queue has no redrive policy: a message that its consumers fail on is retried until it expires, \
                       and then removed";
        risks.push(retried.to_owned());
    }
    let kept = attribute(QueueAttributeName::MessageRetentionPeriod).and_then(|seconds| seconds.parse::<u64>().ok());
    if let Some(seconds) = kept.filter(|seconds| *seconds < 86_400) {
        risks.push(format!("the queue removes messages that nobody read for {seconds} s (MessageRetentionPeriod)"));
    }
    risks
}

struct Queue {
    client: Client,
    settings: Arc<Settings>,
    dedup: Arc<Mutex<Dedup>>,
    /// Largest message that the queue takes, in bytes.
    max_message: usize,
    /// What is sent is wanted again: under its own id a FIFO queue would throw it away as a copy.
    again: bool,
}

/// Entries of one call, each with its index in the batch.
type Call = Vec<(usize, SendMessageBatchRequestEntry)>;

#[async_trait::async_trait]
impl Session for Queue {
    fn published(&self) -> Option<u64> {
        None
    }

    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        self.again = false;
        self.send_all(batch).await
    }

    async fn republish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        self.again = true;
        self.send_all(batch).await
    }
}

impl Queue {
    async fn send_all(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        // The lane gives a call up some time after that.
        let last_start = Instant::now() + self.settings.timeout;
        if batch.iter().any(|stored| message::least_bytes(stored) > self.max_message) {
            // The queue's limit may have been raised since; without an answer the known one stands.
            if let Ok(attributes) = self.attributes().await {
                self.notice(&attributes);
            }
        }
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let silent = || Outcome::Retry(Failure::new(Reason::Refused, "the answer did not mention the message"));
        let queue = &*self;
        for mut round in queue.rounds(batch) {
            if queue.settings.fifo() {
                round.retain(|&index| outcomes[index].is_none());
            }
            let calls = queue.pack(batch, &round, &mut outcomes);
            let calls = calls.into_iter().map(|call| queue.send(batch, call, last_start));
            let mut answers = stream::iter(calls).buffer_unordered(CALLS);
            while let Some(answer) = answers.next().await {
                for (index, outcome) in answer {
                    if queue.settings.fifo() && matches!(outcome, Outcome::Retry(_)) {
                        hold_back(batch, index, &outcome, &mut outcomes);
                    }
                    outcomes[index] = Some(outcome);
                }
            }
            for index in round.into_iter().filter(|_| queue.settings.fifo()) {
                if outcomes[index].is_none() {
                    hold_back(batch, index, &silent(), &mut outcomes);
                }
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(silent)).collect()
    }
}

/// Later messages of the group of `batch[index]` wait with it.
fn hold_back(batch: &[Stored], index: usize, outcome: &Outcome, outcomes: &mut [Option<Outcome>]) {
    let group = template::partition(&batch[index].envelope);
    for (later, outcome_of_later) in batch.iter().zip(outcomes).skip(index + 1) {
        if template::partition(&later.envelope) == group {
            *outcome_of_later = Some(outcome.clone());
        }
    }
}

impl Queue {
    async fn attributes(&self) -> Result<HashMap<QueueAttributeName, String>, Told> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.settings.queue_url)
            .attribute_names(QueueAttributeName::All)
            .send()
            .await;
        answer.map(|answer| answer.attributes.unwrap_or_default()).map_err(|error| Told::by(&error))
    }

    fn notice(&mut self, attributes: &HashMap<QueueAttributeName, String>) {
        let told = attributes.get(&QueueAttributeName::MaximumMessageSize).and_then(|bytes| bytes.parse().ok());
        self.max_message = told.unwrap_or(CALL_BYTES).min(CALL_BYTES);
    }

    /// Indices that may be in flight together. FIFO: the first of each group, then the second, and so on.
    fn rounds(&self, batch: &[Stored]) -> Vec<Vec<usize>> {
        if !self.settings.fifo() {
            return vec![(0..batch.len()).collect()];
        }
        let mut sent: HashMap<&str, usize> = HashMap::new();
        let mut rounds: Vec<Vec<usize>> = Vec::new();
        for (index, stored) in batch.iter().enumerate() {
            let turn = sent.entry(template::partition(&stored.envelope)).or_default();
            if *turn == rounds.len() {
                rounds.push(Vec::new());
            }
            rounds[*turn].push(index);
            *turn += 1;
        }
        rounds
    }

    /// Entries in calls of at most [`CALL_ENTRIES`] and [`CALL_BYTES`]; what can never be sent is rejected here.
    fn pack(&self, batch: &[Stored], round: &[usize], outcomes: &mut [Option<Outcome>]) -> Vec<Call> {
        let (mut calls, mut call, mut call_bytes): (Vec<Call>, Call, usize) = (Vec::new(), Call::new(), 0);
        for &index in round {
            let (entry, bytes) = match self.entry(index, &batch[index]) {
                Ok((_, bytes)) if bytes > self.max_message => {
                    let detail =
                        format!("{bytes} B with attributes, and the queue takes at most {} B", self.max_message);
                    outcomes[index] = Some(Outcome::Reject(Failure::new(Reason::TooLarge, detail)));
                    continue;
                }
                Ok(built) => built,
                Err(failure) => {
                    outcomes[index] = Some(Outcome::Reject(failure));
                    continue;
                }
            };
            if call.len() == CALL_ENTRIES || (call_bytes + bytes > CALL_BYTES && !call.is_empty()) {
                calls.push(std::mem::take(&mut call));
                call_bytes = 0;
            }
            call.push((index, entry));
            call_bytes += bytes;
        }
        if !call.is_empty() {
            calls.push(call);
        }
        calls
    }

    /// One message and its size as SQS counts it.
    fn entry(&self, index: usize, stored: &Stored) -> Result<(SendMessageBatchRequestEntry, usize), Failure> {
        let (body, attributes, bytes) = message::build(stored, self.settings.format);
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(body)
            .set_message_attributes(Some(attributes));
        if self.settings.fifo() {
            let mut dedup = self.dedup.lock().unwrap_or_else(PoisonError::into_inner);
            entry = entry.message_group_id(ids::group(&stored.envelope)).message_deduplication_id(match self.again {
                true => dedup.fresh(&stored.envelope, Instant::now()),
                false => dedup.id(&stored.envelope, Instant::now()),
            });
        }
        let entry = entry.build().map_err(|error| Failure::new(Reason::Invalid, error.to_string()))?;
        Ok((entry, bytes))
    }

    /// One call. When SQS refuses it as a whole for its content, its messages are sent one by one.
    async fn send(&self, batch: &[Stored], call: Call, last_start: Instant) -> Vec<(usize, Outcome)> {
        let indices: Vec<usize> = call.iter().map(|(index, _)| *index).collect();
        match self.send_once(call, last_start).await {
            Ok(outcomes) => outcomes,
            Err(told) if !told.permanent() => {
                let outcome = Outcome::Retry(told.failure());
                indices.into_iter().map(|index| (index, outcome.clone())).collect()
            }
            Err(told) if indices.len() == 1 => vec![(indices[0], Outcome::Reject(told.failure()))],
            Err(_) => {
                let mut outcomes = Vec::with_capacity(indices.len());
                for index in indices {
                    outcomes.extend(self.send_alone(batch, index, last_start).await);
                }
                outcomes
            }
        }
    }

    async fn send_alone(&self, batch: &[Stored], index: usize, last_start: Instant) -> Vec<(usize, Outcome)> {
        let call = match self.entry(index, &batch[index]) {
            Ok((entry, _)) => vec![(index, entry)],
            Err(failure) => return vec![(index, Outcome::Reject(failure))],
        };
        match self.send_once(call, last_start).await {
            Ok(outcomes) => outcomes,
            Err(told) if told.permanent() => vec![(index, Outcome::Reject(told.failure()))],
            Err(told) => vec![(index, Outcome::Retry(told.failure()))],
        }
    }

    async fn send_once(&self, call: Call, last_start: Instant) -> Result<Vec<(usize, Outcome)>, Told> {
        if Instant::now() > last_start {
            return Err(Told::late("not sent: the calls before it took too long"));
        }
        let entries = call.into_iter().map(|(_, entry)| entry).collect();
        let answer = self
            .client
            .send_message_batch()
            .queue_url(&self.settings.queue_url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(|error| Told::by(&error))?;
        let sent = answer.successful.iter().map(|entry| (entry.id.parse(), Outcome::Delivered));
        let failed = answer.failed.iter().map(|entry| {
            let told = Told::of_entry(entry);
            let outcome =
                if told.permanent() { Outcome::Reject(told.failure()) } else { Outcome::Retry(told.failure()) };
            (entry.id.parse(), outcome)
        });
        // An id that is not ours names none of our messages.
        Ok(sent.chain(failed).filter_map(|(id, outcome)| Some((id.ok()?, outcome))).collect())
    }
}
