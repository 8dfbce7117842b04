//! An in-process queue, for tests: keeps what is published, and fails when it is told to.
//!
//! It has no `type` in the configuration.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Backend, Failure, Limits, Outcome, Reason, Session};
use crate::event::Stored;

/// An in-process queue; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    messages: Vec<Stored>,
    /// What every call reports, while set.
    failure: Option<Failure>,
    /// What publishing again reports, while set.
    again: Option<Failure>,
    /// Larger bodies are rejected, while set.
    max_body: Option<usize>,
    /// Counts the failures that were set: a session from before one is lost.
    outages: u64,
    /// Keeps the cursor beside the data, as Redis does.
    keeps_cursor: bool,
    /// The cursor: sequence of the last event that was published in its place.
    cursor: Option<u64>,
}

impl Memory {
    /// A queue that keeps the cursor beside its data, as Redis does.
    pub fn with_cursor() -> Self {
        let memory = Self::default();
        memory.state().keeps_cursor = true;
        memory
    }

    /// Everything published so far, in order.
    pub fn messages(&self) -> Vec<Stored> {
        self.state().messages.clone()
    }

    /// From now on every call fails so, and sessions of before are lost; `None` heals.
    pub fn fail(&self, failure: Option<Failure>) {
        let mut state = self.state();
        state.outages += u64::from(failure.is_some());
        state.failure = failure;
    }

    /// From now on publishing again fails so, and nothing else does; `None` heals.
    pub fn hold_again(&self, failure: Option<Failure>) {
        self.state().again = failure;
    }

    /// From now on bodies of more than `bytes` are rejected as too large.
    pub fn limit(&self, bytes: usize) {
        self.state().max_body = Some(bytes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere leaves the list whole: every change is one push.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Backend for Memory {
    fn limits(&self) -> Limits {
        let keeps_cursor = self.state().keeps_cursor;
        Limits { events: 500, bytes: 8 << 20, timeout: Duration::from_secs(1), keeps_cursor, sends_json: false }
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Failure> {
        let state = self.state();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let published = state.cursor.filter(|_| state.keeps_cursor);
        Ok(Box::new(Connection { memory: self.clone(), outages: state.outages, published }))
    }

    async fn lint(&self) -> Result<Vec<String>, Failure> {
        match &self.state().failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(vec!["the queue is this process's memory: what it holds is lost with the process".to_owned()]),
        }
    }
}

struct Connection {
    memory: Memory,
    outages: u64,
    published: Option<u64>,
}

#[async_trait::async_trait]
impl Session for Connection {
    fn published(&self) -> Option<u64> {
        self.published
    }

    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        let outcomes = self.push(batch);
        let delivered = batch.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Delivered);
        let mut state = self.memory.state();
        state.cursor = delivered.map(|(stored, _)| stored.sequence).last().or(state.cursor);
        self.published = state.cursor.filter(|_| state.keeps_cursor);
        outcomes
    }

    async fn republish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        let held = self.memory.state().again.clone();
        match held {
            Some(failure) => vec![Outcome::Retry(failure); batch.len()],
            None => self.push(batch),
        }
    }
}

impl Connection {
    fn push(&self, batch: &[Stored]) -> Vec<Outcome> {
        let mut state = self.memory.state();
        let lost = (self.outages != state.outages).then(|| Failure::new(Reason::Connection, "the session was lost"));
        if let Some(failure) = state.failure.clone().or(lost) {
            return vec![Outcome::Retry(failure); batch.len()];
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for stored in batch {
            let bytes = stored.envelope.body.len();
            outcomes.push(match state.max_body {
                Some(most) if bytes > most => {
                    Outcome::Reject(Failure::new(Reason::TooLarge, format!("{bytes} B, of at most {most} B")))
                }
                _ => {
                    state.messages.push(stored.clone());
                    Outcome::Delivered
                }
            });
        }
        outcomes
    }
}
