//! The part of a lane that publishes again: letters and ranges take turns, a small batch at a time, between the
//! batches of the lane's own flow.
//!
//! What fails for now waits with the lane's own patience, alone: the flow goes on, and the cursor knows nothing of it.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use tokio::sync::watch;

use super::files::Id;
use super::lane::SLACK;
use super::replay::{Order, Replays};
use super::retry::{self, BatchSize};
use crate::backend::{Failure, Limits, Outcome, Reason, Session};
use crate::event::{BackendName, Stored};
use crate::journal::{Journal, Reader};

/// Most events in a batch: the lane's flow waits for it.
const EVENTS: usize = 100;
/// Bytes of bodies in a batch; one larger event travels alone.
const BYTES: usize = 1 << 20;
/// Steps of a range that are read in one turn while none of its events are wanted.
const STEPS: usize = 50;

/// What one turn did.
#[derive(Debug, Default)]
pub struct Turn {
    /// Events that the broker confirmed.
    pub delivered: u64,
    /// Why events were not taken, one each.
    pub failures: Vec<Reason>,
    /// Why some of them wait.
    retry: Option<Reason>,
    /// The session is of no more use.
    pub lost: bool,
}

/// One lane's replays.
pub struct Again {
    name: BackendName,
    replays: Replays,
    journal: Journal,
    limits: Limits,
    batch_size: BatchSize,
    any: watch::Receiver<bool>,
    /// Letters are next, then a range, and so on.
    letters_next: bool,
    reading: Option<(Id, Reader)>,
    chunk: Option<Chunk>,
    attempts: u32,
    not_before: Option<Instant>,
}

/// Events of an order that are read and not decided.
struct Chunk {
    /// As it is once these are decided.
    order: Order,
    events: Vec<Stored>,
}

impl Again {
    pub fn new(name: BackendName, replays: Replays, journal: Journal, limits: Limits) -> Self {
        let any = replays.any(&name);
        let limits = Limits { events: limits.events.min(EVENTS), bytes: limits.bytes.min(BYTES), ..limits };
        Self {
            name,
            replays,
            journal,
            limits,
            batch_size: BatchSize::new(limits),
            any,
            letters_next: true,
            reading: None,
            chunk: None,
            attempts: 0,
            not_before: None,
        }
    }

    /// Whether a turn may do something now.
    pub fn is_due(&self) -> bool {
        *self.any.borrow() && self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// Resolves once [`Self::is_due`].
    pub async fn due(&mut self) {
        if self.any.wait_for(|any| *any).await.is_err() {
            // The process ends.
            return std::future::pending().await;
        }
        if let Some(at) = self.not_before {
            tokio::time::sleep_until(at.into()).await;
        }
    }

    /// Publishes one batch, if there is one.
    pub async fn turn(&mut self, session: &mut dyn Session) -> Turn {
        let first = self.letters_next;
        self.letters_next = !first;
        for letters in [first, !first] {
            let turn = if letters { self.letters(session).await } else { self.range(session).await };
            match turn {
                Ok(Some(turn)) => {
                    self.rest(&turn);
                    return turn;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("backend {}: cannot replay: {error}", self.name);
                    let turn = Turn { retry: Some(Reason::Refused), ..Turn::default() };
                    self.rest(&turn);
                    return turn;
                }
            }
        }
        Turn::default()
    }

    fn rest(&mut self, turn: &Turn) {
        if turn.delivered > 0 {
            self.attempts = 0;
        }
        self.not_before = turn.retry.map(|reason| {
            self.attempts = self.attempts.saturating_add(1);
            let random = getrandom::u32().unwrap_or(u32::MAX);
            Instant::now() + retry::delay(self.attempts, reason, random)
        });
    }

    async fn letters(&mut self, session: &mut dyn Session) -> io::Result<Option<Turn>> {
        let numbers = self.replays.take_letters(&self.name, self.limits.events);
        if numbers.is_empty() {
            return Ok(None);
        }
        let taken = numbers.clone();
        let (replays, name, most) = (self.replays.clone(), self.name.clone(), self.limits.bytes);
        let batch = blocking(move || {
            let (mut batch, mut bytes, mut unread) = (BTreeMap::new(), 0, Vec::new());
            let mut numbers = numbers.into_iter();
            for number in numbers.by_ref() {
                let stored = match replays.letter(&name, number) {
                    Ok(Some(stored)) => stored,
                    Ok(None) => {
                        // Dropped, or damaged since: nothing to publish.
                        replays.dead().unmark(&Id { number, backend: name.clone() })?;
                        continue;
                    }
                    Err(error) => {
                        tracing::error!("dead letter {name}-{number} cannot be read: {error}; it is tried again");
                        unread.push(number);
                        continue;
                    }
                };
                bytes += stored.envelope.body.len();
                batch.insert(number, stored);
                if bytes >= most {
                    break;
                }
            }
            let retry = (!unread.is_empty()).then_some(Reason::Refused);
            replays.put_letters(&name, numbers.chain(unread));
            Ok((batch.into_values().collect::<Vec<_>>(), retry))
        });
        let (batch, retry) = batch.await.inspect_err(|_| self.replays.put_letters(&self.name, taken))?;
        if batch.is_empty() {
            return Ok(Some(Turn { retry, ..Turn::default() }));
        }
        let (mut turn, outcomes) = self.publish(session, &batch).await;
        turn.retry = turn.retry.or(retry);
        let (replays, name, now_ms) = (self.replays.clone(), self.name.clone(), self.journal.now_ms());
        let kept = blocking(move || {
            let mut problem = None;
            for (stored, outcome) in batch.into_iter().zip(outcomes) {
                let id = Id { number: stored.sequence, backend: name.clone() };
                let decided = match &outcome {
                    Outcome::Delivered => {
                        tracing::info!("backend {name} has taken dead letter {id}");
                        replays.dead().remove(&id).map(drop)
                    }
                    Outcome::Reject(why) => {
                        tracing::error!("backend {name} cannot take dead letter {id}: {why}; it stays");
                        let refused = replays.dead().refused_again(&id, &stored, why, now_ms, true);
                        refused.and_then(|()| replays.dead().unmark(&id))
                    }
                    Outcome::Retry(_) | Outcome::Later => {
                        replays.put_letters(&name, [stored.sequence]);
                        Ok(())
                    }
                };
                problem = problem.or(decided.err());
            }
            Ok(problem)
        });
        if let Some(error) = kept.await? {
            tracing::error!("backend {}: a dead letter cannot be changed: {error}", self.name);
            turn.retry = Some(Reason::Refused);
        }
        Ok(Some(turn))
    }

    async fn range(&mut self, session: &mut dyn Session) -> io::Result<Option<Turn>> {
        let Some(order) = self.replays.first(&self.name) else { return Ok(None) };
        // It may have been cancelled while its events waited.
        let waiting = self.chunk.take().filter(|chunk| chunk.order.id == order.id);
        let mut chunk = match waiting {
            Some(chunk) => chunk,
            None => self.read(order).await?,
        };
        let mut turn = Turn::default();
        if !chunk.events.is_empty() {
            let (published, outcomes) = self.publish(session, &chunk.events).await;
            turn = published;
            chunk.order.delivered += turn.delivered;
            let events = std::mem::take(&mut chunk.events);
            for (stored, outcome) in events.into_iter().zip(outcomes) {
                match outcome {
                    Outcome::Delivered => {}
                    Outcome::Retry(_) | Outcome::Later => chunk.events.push(stored),
                    Outcome::Reject(why) => match self.bury(&stored, &why).await {
                        Ok(()) => chunk.order.rejected += 1,
                        Err(error) => {
                            tracing::error!("backend {}: cannot keep a dead letter: {error}", self.name);
                            turn.retry = Some(Reason::Refused);
                            chunk.events.push(stored);
                        }
                    },
                }
            }
        }
        if !chunk.events.is_empty() {
            self.chunk = Some(chunk);
            return Ok(Some(turn));
        }
        let (replays, order) = (self.replays.clone(), chunk.order);
        if order.is_done() {
            let Order { id, delivered, rejected, .. } = &order;
            tracing::info!("replay {id} is done: {delivered} events published, {rejected} dead letters");
            self.reading = None;
        }
        blocking(move || replays.advance(&order)).await?;
        Ok(Some(turn))
    }

    async fn bury(&self, stored: &Stored, why: &Failure) -> io::Result<()> {
        let id = Id { number: stored.sequence, backend: self.name.clone() };
        tracing::error!("backend {} cannot take event {}: {why}; it is a dead letter", self.name, stored.sequence);
        let (dead, stored, why, now_ms) =
            (self.replays.dead().clone(), stored.clone(), why.clone(), self.journal.now_ms());
        blocking(move || dead.refused_again(&id, &stored, &why, now_ms, false)).await
    }

    /// The next events of `order`; none: it is further now, or done.
    async fn read(&mut self, mut order: Order) -> io::Result<Chunk> {
        let reader = self.reading.take().filter(|(id, reader)| *id == order.id && reader.position() == order.after);
        let mut reader = reader.map_or_else(|| self.journal.reader(order.after), |(_, reader)| reader);
        let limits = self.limits;
        let (reader, chunk) = blocking(move || {
            let mut events = Vec::new();
            for _ in 0..STEPS {
                events = reader.read(limits.events, limits.bytes)?;
                events.retain(|stored| order.wants(stored));
                // Without more to read, what is left of the range is not kept.
                order.after = if reader.is_behind() { reader.position() } else { order.to };
                if !events.is_empty() || order.is_done() {
                    break;
                }
            }
            Ok((reader, Chunk { order, events }))
        })
        .await?;
        self.reading = Some((chunk.order.id.clone(), reader));
        Ok(chunk)
    }

    async fn publish(&mut self, session: &mut dyn Session, batch: &[Stored]) -> (Turn, Vec<Outcome>) {
        let (now, start) = (self.batch_size.of(batch), Instant::now());
        let published = tokio::time::timeout(self.limits.timeout + SLACK, session.republish(now)).await;
        let mut outcomes = published.unwrap_or_else(|_| {
            let failure = Failure::new(Reason::Timeout, "no answer to a publish");
            vec![Outcome::Retry(failure); now.len()]
        });
        let missing = Outcome::Retry(Failure::new(Reason::Refused, "the backend gave no outcome"));
        outcomes.resize(now.len(), missing);
        outcomes.resize(batch.len(), Outcome::Later);
        let mut turn = Turn::default();
        for outcome in &outcomes {
            match outcome {
                Outcome::Delivered => turn.delivered += 1,
                Outcome::Retry(why) => {
                    // What only this event meets must not cost the flow its session.
                    turn.lost |= matches!(why.reason, Reason::Connection | Reason::Timeout);
                    turn.failures.push(why.reason);
                    if self.attempts == 0 && turn.retry.is_none() {
                        tracing::warn!("backend {}: a replay has to wait: {why}", self.name);
                    }
                    turn.retry.get_or_insert(why.reason);
                }
                Outcome::Later => {}
                Outcome::Reject(why) => turn.failures.push(why.reason),
            }
        }
        self.batch_size.learn(now.len(), turn.retry, start.elapsed());
        (turn, outcomes)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
