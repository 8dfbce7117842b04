//! Redis Streams: a batch is one transaction of its `XADD`s and a `SET` of the cursor.
//!
//! The cursor lies beside the data, under `hookferry:{<stream>}:<journal>:<backend>`: the sequence up to which this
//! journal's events are in the stream. Both change in one `EXEC`, so what a crash or a time-out left open is
//! answered by reading the key.
//!
//! Invariants
//! - `Delivered` is reported only on the answer of `EXEC`.
//! - The key never passes an event that is neither in the stream nor decided by the lane: a batch is
//!   published up to its first event that cannot be, and the rest is reported as `Retry`.
//! - Events that are published again, out of their place, are `XADD`s alone: the key does not move.
//! - A transaction is executed only while no other connection has moved the key since this one's last.
//! - After a time-out, a lost connection or a dropped call the session publishes nothing more.

mod settings;
mod wire;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, Value};

pub use settings::Settings;

use super::{Backend, Context, Failure, Format, Limits, Outcome, Reason, Session};
use crate::event::Stored;
use wire::{answer, failure, number, server_failure};

/// Largest string that Redis takes unless `proto-max-bulk-len` says otherwise, in bytes.
const MAX_BULK: usize = 512 << 20;
/// Streams whose type a session remembers as checked.
const MAX_CHECKED: usize = 10_000;

/// A configured Redis.
pub struct Redis {
    settings: Arc<Settings>,
    key: Arc<str>,
    owed: Owed,
}

/// A cursor that must be written before the next one is read; `Some(None)`: the key must go.
///
/// It is set when an event of a finished `EXEC` failed and the key could not be put back at once.
type Owed = Arc<Mutex<Option<Option<u64>>>>;

impl Redis {
    /// A backend that keeps its cursor under a key of `context`.
    pub fn new(settings: Settings, context: &Context) -> Self {
        // The braces keep the key in the stream's hash slot.
        let key = format!("hookferry:{{{}}}:{}:{}", settings.stream.literal(), context.journal, context.name);
        Self { settings: Arc::new(settings), key: key.into(), owed: Owed::default() }
    }

    async fn open(&self) -> Result<MultiplexedConnection, Failure> {
        let timeout = Some(self.settings.timeout);
        // The library's own defaults are 500 ms for an answer and 1 s for a connection.
        let config = AsyncConnectionConfig::new().set_connection_timeout(timeout).set_response_timeout(timeout);
        let client = Client::open(self.settings.url.expose()).map_err(|error| failure(&error))?;
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| failure(&error))
    }

    async fn start(&self) -> Result<Box<dyn Session>, Failure> {
        let mut link = Link { connection: self.open().await?, key: self.key.clone(), checked: HashSet::new() };
        let owed = *lock(&self.owed);
        if let Some(cursor) = owed {
            link.put(cursor).await?;
            *lock(&self.owed) = None;
        }
        let mut first = Pipeline::new();
        // WATCH: an EXEC of an earlier connection that arrives after this GET makes our first EXEC fail.
        first.cmd("WATCH").arg(&*self.key).cmd("GET").arg(&*self.key);
        first.cmd("CONFIG").arg("GET").arg("proto-max-bulk-len").ignore_errors();
        let (watch, cursor, max_bulk): (Value, Value, Value) =
            first.query_async(&mut link.connection).await.map_err(|error| failure(&error))?;
        answer(watch)?;
        let published = match answer(cursor)? {
            Value::Nil => None,
            value => Some(number(&value).ok_or_else(|| {
                Failure::new(Reason::Missing, format!("key `{}` holds something other than a cursor", self.key))
            })?),
        };
        if let Some(stream) = self.settings.stream.constant() {
            link.check(&[stream]).await?;
        }
        // Where CONFIG is not allowed, the server's default stands.
        let max_bulk = wire::config_value(&max_bulk).and_then(|text| text.parse().ok()).unwrap_or(MAX_BULK);
        let settings = self.settings.clone();
        Ok(Box::new(Connection {
            settings,
            owed: self.owed.clone(),
            link,
            max_bulk,
            published,
            dead: None,
            unwatched: None,
            json: Vec::new(),
        }))
    }

    async fn inspect(&self) -> Result<Vec<String>, Failure> {
        let connection = self.open().await?;
        let mut link = Link { connection, key: self.key.clone(), checked: HashSet::new() };
        if let Some(stream) = self.settings.stream.constant() {
            link.check(&[stream]).await?;
        }
        // INFO, not CONFIG: managed services forbid the latter.
        let mut info = Pipeline::new();
        info.cmd("INFO").arg("persistence").cmd("INFO").arg("memory");
        let (persistence, memory): (String, String) =
            info.query_async(&mut link.connection).await.map_err(|error| failure(&error))?;
        Ok(wire::risks(&persistence, &memory))
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.settings.timeout, call).await {
            Ok(result) => result
                .map_err(|failure| Failure::new(failure.reason, format!("{}: {}", self.settings.url, failure.detail))),
            Err(_) => Err(no_answer(self.settings.timeout, &format!("{}: ", self.settings.url))),
        }
    }
}

#[async_trait::async_trait]
impl Backend for Redis {
    fn limits(&self) -> Limits {
        // The headroom lets the session's own time-out come first.
        let timeout = self.settings.timeout + Duration::from_secs(1);
        Limits {
            events: 500,
            bytes: 8 << 20,
            timeout,
            keeps_cursor: true,
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

/// A connection and what is known about the streams behind it.
struct Link {
    connection: MultiplexedConnection,
    key: Arc<str>,
    checked: HashSet<String>,
}

impl Link {
    /// Sets the cursor's key, or removes it.
    async fn put(&mut self, cursor: Option<u64>) -> Result<(), Failure> {
        let command = match cursor {
            Some(sequence) => redis::Cmd::set(&*self.key, sequence),
            None => redis::Cmd::del(&*self.key),
        };
        command.query_async::<Value>(&mut self.connection).await.map(drop).map_err(|error| failure(&error))
    }

    /// Whether each name is a stream or free; one round trip for all that were not checked before.
    async fn check(&mut self, names: &[&str]) -> Result<(), Failure> {
        let mut types = Pipeline::new();
        for name in names {
            types.cmd("TYPE").arg(name);
        }
        let types: Vec<String> = types.query_async(&mut self.connection).await.map_err(|error| failure(&error))?;
        for (name, kind) in names.iter().zip(types) {
            if kind != "stream" && kind != "none" {
                let detail = format!("key `{name}` holds a {kind}, not a stream");
                return Err(Failure::new(Reason::Missing, detail));
            }
            if self.checked.len() >= MAX_CHECKED {
                self.checked.clear();
            }
            self.checked.insert((*name).to_owned());
        }
        Ok(())
    }
}

struct Connection {
    settings: Arc<Settings>,
    owed: Owed,
    link: Link,
    max_bulk: usize,
    published: Option<u64>,
    /// Why this session publishes nothing more.
    dead: Option<Failure>,
    /// Why the cursor's key is not watched for the next transaction.
    unwatched: Option<Failure>,
    json: Vec<u8>,
}

#[async_trait::async_trait]
impl Session for Connection {
    fn published(&self) -> Option<u64> {
        self.published
    }

    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        self.guarded(batch, false).await
    }

    async fn republish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        self.guarded(batch, true).await
    }
}

impl Connection {
    /// `again`: out of place, the key stays as it is.
    async fn guarded(&mut self, batch: &[Stored], again: bool) -> Vec<Outcome> {
        if let Some(failure) = &self.dead {
            return vec![Outcome::Retry(failure.clone()); batch.len()];
        }
        // Stands if this call is dropped in the middle: what the server did is unknown until the key is read.
        self.dead = Some(Failure::new(Reason::Connection, "a call was given up; the connection is of no more use"));
        let timeout = self.settings.timeout;
        let call = async { if again { self.append(batch).await } else { self.transact(batch).await } };
        let outcomes = match tokio::time::timeout(timeout, call).await {
            Ok(outcomes) => outcomes,
            Err(_) => vec![Outcome::Retry(no_answer(timeout, "")); batch.len()],
        };
        self.dead = outcomes.iter().find_map(fatal).or_else(|| self.unwatched.take());
        outcomes
    }

    /// The `XADD`s alone. No `EXEC`: it would end the watch that `start` has set for the first transaction.
    async fn append(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(batch.len());
        let mut commands = Pipeline::with_capacity(batch.len());
        for stored in batch {
            let name = self.settings.stream.render(stored);
            if !self.link.checked.contains(&*name)
                && let Err(failure) = self.link.check(&[&name]).await
            {
                outcomes.push(Some(Outcome::Retry(failure)));
                continue;
            }
            outcomes.push(match wire::xadd(stored, &name, &self.settings, self.max_bulk, &mut self.json) {
                Ok(command) => {
                    commands.add_command(command);
                    None
                }
                Err(failure) => Some(Outcome::Reject(failure)),
            });
        }
        let sent = commands.len();
        let answers = match sent {
            0 => Ok(Vec::new()),
            _ => self.link.connection.send_packed_commands(&commands, 0, sent).await.map_err(|error| failure(&error)),
        };
        let mut answers = answers.map(Vec::into_iter);
        let mut next = || match &mut answers {
            Err(failure) => Outcome::Retry(failure.clone()),
            Ok(answers) => match answers.next() {
                Some(Value::ServerError(error)) => Outcome::Retry(server_failure(&error)),
                Some(_) => Outcome::Delivered,
                None => Outcome::Retry(Failure::new(Reason::Connection, "a command was not answered")),
            },
        };
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(&mut next)).collect()
    }

    async fn transact(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut transaction = Pipeline::with_capacity(batch.len() + 1);
        transaction.atomic();
        // From the first event that cannot be published on, nothing is sent: see the module's invariants.
        let rest = self.prepare(batch, &mut transaction).await;
        let sent = &batch[..transaction.len()];
        if let Some(last) = sent.last() {
            transaction.add_command(redis::Cmd::set(&*self.link.key, last.sequence));
            let mut next = self.link.connection.clone();
            // The answers of MULTI and of queueing are skipped; EXEC's is kept. It ends the watch, so the next one begins
            // behind it, on the wire at once: an EXEC that the network has held back, of whatever age, finds the key
            // changed by a later session and does nothing.
            let (answers, watch) = tokio::join!(
                self.link.connection.send_packed_commands(&transaction, sent.len() + 2, 1),
                watch(&mut next, &self.link.key)
            );
            self.unwatched = watch.err();
            match wire::exec(answers) {
                Ok(answers) => self.settle(sent, answers, &mut outcomes).await,
                Err(failure) => outcomes.resize(batch.len(), Outcome::Retry(failure)),
            }
        }
        if let Some(first) = rest
            && outcomes.len() < batch.len()
        {
            let after = match &first {
                Outcome::Reject(_) => {
                    let sequence = batch[outcomes.len()].sequence;
                    let detail = format!("not sent: sequence {sequence} before it is a dead letter first");
                    Outcome::Retry(Failure::new(Reason::Refused, detail))
                }
                other => other.clone(),
            };
            outcomes.push(first);
            outcomes.resize(batch.len(), after);
        }
        outcomes
    }

    /// Adds one `XADD` an event, up to the first event that cannot be published; returns that one's outcome.
    async fn prepare(&mut self, batch: &[Stored], transaction: &mut Pipeline) -> Option<Outcome> {
        let mut stop = None;
        let mut batch = batch;
        let mut new: Vec<&str> = Vec::new();
        let names: Vec<_> = batch.iter().map(|stored| self.settings.stream.render(stored)).collect();
        for name in &names {
            if !self.link.checked.contains(&**name) && !new.contains(&&**name) {
                new.push(name);
            }
        }
        if !new.is_empty()
            && let Err(failure) = self.link.check(&new).await
        {
            // Names before the wrong one were found good, so publish up to the first that was not.
            let first = names.iter().position(|name| !self.link.checked.contains(&**name)).unwrap_or(0);
            batch = &batch[..first];
            stop = Some(Outcome::Retry(failure));
        }
        for (stored, name) in batch.iter().zip(&names) {
            match wire::xadd(stored, name, &self.settings, self.max_bulk, &mut self.json) {
                Ok(command) => transaction.add_command(command),
                Err(failure) => return Some(Outcome::Reject(failure)),
            };
        }
        stop
    }

    /// Turns `EXEC`'s answers into outcomes; puts the key back when one of them is an error.
    async fn settle(&mut self, sent: &[Stored], answers: Vec<Value>, outcomes: &mut Vec<Outcome>) {
        let before = self.published;
        let mut first_failed = None;
        for (index, answer) in answers.iter().take(sent.len()).enumerate() {
            outcomes.push(match answer {
                Value::ServerError(error) => {
                    first_failed.get_or_insert(index);
                    Outcome::Retry(server_failure(error))
                }
                _ => Outcome::Delivered,
            });
        }
        let Some(index) = first_failed else {
            self.published = sent.last().map(|stored| stored.sequence);
            return;
        };
        let cursor = index.checked_sub(1).map(|last| sent[last].sequence).or(before);
        self.published = cursor;
        *lock(&self.owed) = Some(cursor);
        match self.link.put(cursor).await {
            Ok(()) => *lock(&self.owed) = None,
            // The next connection puts the key back before it reads it.
            Err(failure) => outcomes[index] = Outcome::Retry(Failure::new(Reason::Connection, failure.detail)),
        }
    }
}

async fn watch(connection: &mut MultiplexedConnection, key: &str) -> Result<(), Failure> {
    let answer: Value = redis::cmd("WATCH").arg(key).query_async(connection).await.map_err(|error| failure(&error))?;
    wire::answer(answer).map(drop)
}

/// The failure after which the session is of no more use.
fn fatal(outcome: &Outcome) -> Option<Failure> {
    match outcome {
        Outcome::Retry(failure) if matches!(failure.reason, Reason::Connection | Reason::Timeout) => {
            Some(failure.clone())
        }
        // A replica stays one until the name is resolved anew.
        Outcome::Retry(failure) if failure.detail.starts_with("READONLY") => Some(failure.clone()),
        _ => None,
    }
}

fn no_answer(timeout: Duration, address: &str) -> Failure {
    Failure::new(Reason::Timeout, format!("{address}no answer within {} ms", timeout.as_millis()))
}

fn lock(owed: &Owed) -> std::sync::MutexGuard<'_, Option<Option<u64>>> {
    owed.lock().unwrap_or_else(PoisonError::into_inner)
}
