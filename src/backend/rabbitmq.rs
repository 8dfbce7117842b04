//! RabbitMQ: persistent messages, published `mandatory`, each confirmed by the broker.
//!
//! Invariants
//! - `Delivered` is reported only for a confirm whose message was not returned.
//! - A batch has all its confirms in flight; what is not confirmed in time is `Retry`.
//! - After a queue has refused a message the next ones go one at a time, and none behind one that was not taken: with many
//!   in flight, a place that a consumer makes would go to a later message.
//! - While the broker blocks publishers (an alarm), nothing new is sent, and what is in flight stays so:
//!   a second copy would be a duplicate once the alarm ends.
//! - There is no recovery inside: a session that lost its channel reports so for ever, and the lane connects anew.

mod connect;
mod flight;
mod lint;
mod message;
mod settings;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use lapin::types::ShortString;
use lapin::{Channel, Connection, Event};
use tokio::time::{Instant, timeout_at};

pub use settings::Settings;

use super::{Backend, Context, Failure, Format, Limits, Outcome, Reason, Session};
use crate::event::Stored;
use flight::{Fate, Flight, Return};

/// Largest message that RabbitMQ takes unless configured otherwise, in bytes: 128 MiB until 3.13.
const MAX_MESSAGE: usize = 128 << 20;
/// Most events of a batch.
const EVENTS: usize = 500;

/// A configured RabbitMQ.
pub struct RabbitMq {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    name: String,
}

/// What one session learns for the next.
struct Shared {
    /// Largest message that the broker takes, in bytes; it tells when it refuses one.
    max_message: AtomicUsize,
    /// It has told so in the session before.
    has_told: AtomicBool,
    /// Messages that go one at a time before batches have all theirs in flight again.
    singly: AtomicUsize,
    /// The last handshake was not answered in time.
    stalled: AtomicBool,
}

impl RabbitMq {
    /// A backend whose connections are named after `context`.
    pub fn new(settings: Settings, context: &Context) -> Self {
        let shared = Shared {
            max_message: AtomicUsize::new(MAX_MESSAGE),
            has_told: AtomicBool::new(false),
            singly: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
        };
        Self { settings: Arc::new(settings), shared: Arc::new(shared), name: format!("hookferry {}", context.name) }
    }

    async fn start(&self) -> Result<Box<dyn Session>, Failure> {
        let connection = connect::open(&self.settings, &self.shared, &self.name).await?;
        // Listens before the first frame, so that no `connection.blocked` is missed.
        let events = Box::pin(connection.events_listener());
        let channel = connect::prepare(&connection, &self.settings).await?;
        // Telling ends a session. One that ended for something else may be followed by a broker that is configured anew.
        if !self.shared.has_told.swap(false, Ordering::Relaxed) {
            self.shared.max_message.store(MAX_MESSAGE, Ordering::Relaxed);
        }
        let frame_max = connection.configuration().frame_max() as usize;
        Ok(Box::new(Link {
            settings: self.settings.clone(),
            shared: self.shared.clone(),
            connection,
            channel,
            events,
            exchange: message::short(&self.settings.exchange),
            blocked: String::new(),
            frame_max,
            dead: None,
            pending: HashMap::new(),
            returned: Vec::new(),
        }))
    }

    async fn inspect(&self) -> Result<Vec<String>, Failure> {
        let connection = connect::open(&self.settings, &self.shared, &self.name).await?;
        lint::risks(&connection, &self.settings).await
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let timeout = self.settings.timeout;
        let result = tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            self.shared.stalled.store(true, Ordering::Relaxed);
            Err(Failure::new(Reason::Timeout, format!("no answer within {} ms", timeout.as_millis())))
        });
        result.map_err(|failure| Failure::new(failure.reason, format!("{}: {}", self.settings.url, failure.detail)))
    }
}

#[async_trait::async_trait]
impl Backend for RabbitMq {
    fn limits(&self) -> Limits {
        // The headroom lets the session's own time-out come first.
        let timeout = self.settings.timeout + Duration::from_secs(1);
        Limits {
            events: EVENTS,
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

struct Link {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    connection: Connection,
    channel: Channel,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    exchange: ShortString,
    /// Why the broker blocks, in its words.
    blocked: String,
    frame_max: usize,
    /// Why this session publishes nothing more.
    dead: Option<Failure>,
    /// Events that were sent before the broker blocked and are not confirmed, by sequence.
    pending: HashMap<u64, Flight>,
    /// Messages that the broker returned while others were still in flight.
    returned: Vec<Return>,
}

#[async_trait::async_trait]
impl Session for Link {
    fn published(&self) -> Option<u64> {
        None
    }

    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        self.call(batch, false).await
    }

    async fn republish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        self.call(batch, true).await
    }
}

impl Link {
    /// - `again`: out of their place, so that no order is kept.
    async fn call(&mut self, batch: &[Stored], again: bool) -> Vec<Outcome> {
        if let Some(failure) = &self.dead {
            return vec![Outcome::Retry(failure.clone()); batch.len()];
        }
        // Stands if this call is dropped in the middle: its confirms are lost with it.
        self.dead = Some(Failure::new(Reason::Connection, "a call was given up; the connection is of no more use"));
        let deadline = Instant::now() + self.settings.timeout;
        let outcomes = match self.unblocked(deadline).await {
            // What is in flight is waited for with the rest of its batch.
            Ok(()) if !again && self.pending.is_empty() && self.shared.singly.load(Ordering::Relaxed) > 0 => {
                self.send_singly(batch, deadline).await
            }
            Ok(()) => self.send(batch, deadline, again).await,
            Err(failure) => vec![Outcome::Retry(failure); batch.len()],
        };
        self.dead = outcomes.iter().find_map(|outcome| self.fatal(outcome));
        outcomes
    }

    /// Waits until the broker takes messages.
    async fn unblocked(&mut self, deadline: Instant) -> Result<(), Failure> {
        while self.connection.status().blocked() {
            match timeout_at(deadline, self.events.next()).await {
                Ok(Some(Event::ConnectionBlocked(reason))) => self.blocked = reason,
                Ok(Some(Event::Error(error))) => return Err(message::failure(&error)),
                Ok(Some(_)) => {}
                Ok(None) => return Err(Failure::new(Reason::Connection, "the connection ended")),
                Err(_) => return Err(self.full()),
            }
        }
        Ok(())
    }

    fn full(&self) -> Failure {
        let reason = if self.blocked.is_empty() { "an alarm" } else { &self.blocked };
        Failure::new(Reason::Full, format!("the broker blocks publishers: {reason}"))
    }

    /// One message at a time, up to the first that is not taken.
    async fn send_singly(&mut self, batch: &[Stored], deadline: Instant) -> Vec<Outcome> {
        // The last one has the other half for its confirm.
        let now = Instant::now();
        let last_start = now + deadline.saturating_duration_since(now) / 2;
        let mut outcomes = Vec::with_capacity(batch.len());
        for stored in batch {
            if Instant::now() > last_start {
                break;
            }
            outcomes.append(&mut self.send(std::slice::from_ref(stored), deadline, false).await);
            match outcomes.last() {
                Some(Outcome::Delivered) => {
                    let left = self.shared.singly.load(Ordering::Relaxed);
                    self.shared.singly.store(left.saturating_sub(1), Ordering::Relaxed);
                }
                Some(Outcome::Reject(_)) => {}
                _ => break,
            }
        }
        outcomes.resize(batch.len(), Outcome::Later);
        outcomes
    }

    async fn send(&mut self, batch: &[Stored], deadline: Instant, again: bool) -> Vec<Outcome> {
        let mut flights = Vec::with_capacity(batch.len());
        for stored in batch {
            let flight = match self.pending.remove(&stored.sequence) {
                Some(flight) => flight,
                None => self.launch(stored).await,
            };
            flights.push(flight);
        }
        // A flight of another batch may carry the return of one in this batch.
        flight::land_all(&mut flights, &mut self.pending, deadline, &mut self.returned).await;
        self.notice_events();
        self.notice_size(&flights);
        if !again && flights.iter().any(|flight| flight.fate == Fate::Nacked) {
            self.shared.singly.store(EVENTS, Ordering::Relaxed);
        }
        let blocked = self.connection.status().blocked().then(|| self.full());
        let all_landed = flights.iter().chain(self.pending.values()).all(|flight| flight.fate != Fate::Pending);
        let late = Failure::new(Reason::Timeout, format!("no confirm within {} ms", self.settings.timeout.as_millis()));
        let late = blocked.as_ref().unwrap_or(&late);
        let max_message = self.shared.max_message.load(Ordering::Relaxed);
        let outcomes = flights.iter().map(|flight| flight.outcome(&self.returned, all_landed, late, max_message));
        let outcomes = outcomes.collect();
        if all_landed {
            self.returned.clear();
            self.pending.clear();
        } else if blocked.is_some() {
            let open = batch.iter().zip(flights).filter(|(_, flight)| flight.fate == Fate::Pending);
            self.pending.extend(open.map(|(stored, flight)| (stored.sequence, flight)));
        }
        outcomes
    }

    /// Hands one message to the connection; the broker's word comes with [`Flight::land`].
    async fn launch(&mut self, stored: &Stored) -> Flight {
        let routing_key = message::short(&self.settings.routing_key.render(stored));
        match message::build(stored, self.settings.format, self.frame_max) {
            Ok((properties, payload)) => {
                let largest = self.shared.max_message.load(Ordering::Relaxed);
                if payload.len() > largest {
                    return Flight::refused(message::too_large(payload.len(), largest));
                }
                let (channel, exchange) = (&self.channel, self.exchange.clone());
                Flight::launch(channel, exchange, routing_key, properties, payload, &mut self.returned).await
            }
            Err(failure) => Flight::refused(failure),
        }
    }

    fn notice_events(&mut self) {
        // The stream holds only what came since the last call.
        while let Some(Some(event)) = futures_util::FutureExt::now_or_never(self.events.next()) {
            if let Event::ConnectionBlocked(reason) = event {
                self.blocked = reason;
            }
        }
    }

    /// Learns the broker's own limit from its refusal.
    fn notice_size(&self, flights: &[Flight]) {
        let told = flights.iter().find_map(|flight| match &flight.fate {
            Fate::Failed(failure) => message::told_limit(&failure.detail),
            _ => None,
        });
        if let Some(limit) = told {
            self.shared.max_message.store(limit, Ordering::Relaxed);
            self.shared.has_told.store(true, Ordering::Relaxed);
        }
    }

    /// The failure after which the session is of no more use.
    fn fatal(&self, outcome: &Outcome) -> Option<Failure> {
        let Outcome::Retry(failure) = outcome else { return None };
        let ended = || Failure::new(Reason::Connection, format!("the channel ended: {}", failure.detail));
        match failure.reason {
            Reason::Connection | Reason::Timeout => Some(failure.clone()),
            // The queue or its binding is gone; connecting declares them again.
            Reason::Unroutable if self.settings.declare => Some(ended()),
            _ if !self.channel.status().connected() => Some(ended()),
            _ => None,
        }
    }
}
