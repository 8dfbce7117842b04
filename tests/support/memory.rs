//! The in-process queue, under the same contract.

use std::sync::Arc;

use hookferry::backend::memory::Memory;
use hookferry::backend::{Backend, Failure, Format, Reason};

use super::events::{Message, expected};
use super::harness::{Harness, Options, Use};

pub struct InMemory(Memory);

#[async_trait::async_trait]
impl Harness for InMemory {
    const TOO_LARGE: usize = 2 << 20;

    async fn start(_mode: Use) -> Self {
        let memory = Memory::with_cursor();
        memory.limit(1 << 20);
        Self(memory)
    }

    fn backend(&self, _options: Options) -> Arc<dyn Backend> {
        Arc::new(self.0.clone())
    }

    async fn read_all(&mut self, _format: Format) -> Vec<Message> {
        self.0.messages().iter().map(expected).collect()
    }

    async fn kill(&mut self) {
        self.0.fail(Some(Failure::new(Reason::Connection, "killed")));
    }

    async fn restart(&mut self) {
        self.0.fail(None);
    }

    async fn stall(&mut self) {
        self.0.fail(Some(Failure::new(Reason::Timeout, "stalled")));
    }

    async fn resume(&mut self) {
        self.0.fail(None);
    }

    async fn spoil(&mut self) {
        self.0.fail(Some(Failure::new(Reason::Missing, "no such queue")));
    }

    async fn repair(&mut self) {
        self.0.fail(None);
    }
}
