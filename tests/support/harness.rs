//! What the contract's tests need of a broker.

use std::sync::Arc;
use std::time::Duration;

use hookferry::backend::{Backend, Format};

use super::events::Message;

/// Whether a test leaves the broker as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It may run beside others.
    Shared,
    /// It kills or stops the broker.
    Alone,
}

/// What a backend is made with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub format: Format,
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        // Long enough for a busy machine.
        Self { format: Format::Structured, timeout: Duration::from_secs(20) }
    }
}

/// A broker with a fresh destination.
#[async_trait::async_trait]
pub trait Harness: Send + Sized {
    /// Whether messages are read in the order in which they were published.
    const ORDERED: bool = true;
    /// Whether messages survive the broker's kill -9.
    const DURABLE: bool = true;
    /// Bytes of a body that the broker does not take.
    const TOO_LARGE: usize;

    /// Starts the broker, or joins one that runs, and makes a destination of its own.
    async fn start(mode: Use) -> Self;

    /// A backend that publishes there.
    fn backend(&self, options: Options) -> Arc<dyn Backend>;

    /// Everything that was published, in the order of the destination.
    async fn read_all(&mut self, format: Format) -> Vec<Message>;

    /// Whether a message of this format has room for the attribute.
    fn carries(&self, _format: Format, _attribute: &str) -> bool {
        true
    }

    /// Called once the destination exists and before anything is published that must survive a kill -9.
    async fn settle(&mut self) {}

    /// kill -9.
    async fn kill(&mut self);
    /// Starts it again, where it was.
    async fn restart(&mut self);
    /// Stops it: connections stay, nothing is answered.
    async fn stall(&mut self);
    /// Ends that.
    async fn resume(&mut self);
    /// Makes the destination missing, or something else than it must be.
    async fn spoil(&mut self);
    /// Makes it right again.
    async fn repair(&mut self);
}
