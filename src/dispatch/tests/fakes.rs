//! Backends that misbehave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::backend::memory::Memory;
use crate::backend::{Backend, Failure, Limits, Outcome, Session};
use crate::event::Stored;

/// A backend whose first connection panics.
pub struct Panics {
    pub queue: Memory,
    pub armed: AtomicBool,
}

#[async_trait::async_trait]
impl Backend for Panics {
    fn limits(&self) -> Limits {
        self.queue.limits()
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Failure> {
        assert!(!self.armed.swap(false, Ordering::SeqCst), "a mistake of ours");
        self.queue.connect().await
    }

    async fn lint(&self) -> Result<Vec<String>, Failure> {
        self.queue.lint().await
    }
}

/// A broker that has a message at once and confirms it later, one at a time.
#[derive(Clone, Default)]
pub struct Slow(pub Memory);

#[async_trait::async_trait]
impl Backend for Slow {
    fn limits(&self) -> Limits {
        Limits { events: 1, ..self.0.limits() }
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Failure> {
        Ok(Box::new(SlowSession(self.0.connect().await?)))
    }

    async fn lint(&self) -> Result<Vec<String>, Failure> {
        self.0.lint().await
    }
}

struct SlowSession(Box<dyn Session>);

#[async_trait::async_trait]
impl Session for SlowSession {
    fn published(&self) -> Option<u64> {
        None
    }

    async fn publish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        let outcomes = self.0.publish(batch).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        outcomes
    }

    async fn republish(&mut self, batch: &[Stored]) -> Vec<Outcome> {
        self.0.republish(batch).await
    }
}
