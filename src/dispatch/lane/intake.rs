//! How a lane comes by its events.

use std::time::Duration;

use super::Lane;
use crate::backend::{Failure, Limits, Reason};
use crate::dispatch::retry;
use crate::event::Stored;
use crate::journal::Reader;

/// Events in a batch from which on the next one is given time to grow.
const BUSY: usize = 32;
/// That time, at least; timers may take twice as long.
const GATHER: Duration = Duration::from_millis(1);
/// Most batches that go without it after it was of no use.
const MOST_SKIPPED: u32 = 256;

/// Whether a batch is given time to grow.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// The last batch had many events, and room for more.
    growing: bool,
    /// Batches that go without a wait.
    skip: u32,
    /// How many went without after the last wait that was of no use.
    skipped: u32,
}

impl Gathering {
    /// Takes note of a batch that is published.
    pub(super) fn note(&mut self, batch: &[Stored], limits: Limits) {
        let bytes: usize = batch.iter().map(|stored| stored.envelope.body.len()).sum();
        self.growing = batch.len() >= BUSY && bytes < limits.bytes / 2;
    }

    /// Whether to wait now, with so many events `waiting`.
    fn waits(&mut self, waiting: u64, limits: Limits) -> bool {
        if !self.growing || waiting >= limits.events as u64 {
            return false;
        }
        let skips = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        !skips
    }

    /// Takes note of what a wait came to. Senders that wait for the confirmation of all that they sent send nothing
    /// meanwhile (`ack = "published"`): then it only costs time.
    fn waited(&mut self, has_grown: bool) {
        self.skipped = if has_grown { 0 } else { (self.skipped * 2 + 1).min(MOST_SKIPPED) };
        self.skip = self.skipped;
    }
}

impl Lane {
    pub(super) fn is_behind(&self) -> bool {
        !self.pending.is_empty() || self.reader.as_ref().is_some_and(Reader::is_behind)
    }

    /// Loads the next events before a broker is reached, so that their age can be told.
    pub(super) async fn look_ahead(&mut self) {
        if self.pending.is_empty() && self.is_behind() {
            self.read().await;
        }
    }

    /// Waits for events and loads them, or for a replay; `false`: there are none and none come.
    pub(super) async fn fill(&mut self) -> bool {
        loop {
            if self.is_behind() {
                self.gather().await;
                self.read().await;
                return true;
            }
            self.status.waits(None);
            let Some(reader) = &mut self.reader else { return false };
            tokio::select! {
                biased;
                alive = reader.wait() => if !alive { return false },
                () = self.ending.drained.cancelled() => return false,
                () = self.again.due() => return true,
            }
        }
    }

    /// Under load, lets a batch grow for a moment: a large one costs little more than a small one, which wakes as many
    /// threads here and at the broker.
    async fn gather(&mut self) {
        let waiting = |lane: &Self| lane.journal.tail().borrow().saturating_sub(lane.upto);
        let before = waiting(self);
        if !self.gathering.waits(before, self.limits) {
            return;
        }
        tokio::select! {
            biased;
            () = self.ending.drained.cancelled() => {}
            () = tokio::time::sleep(GATHER) => self.gathering.waited(waiting(self) > before),
        }
    }

    /// Reads one batch; what is not routed here counts as decided.
    pub(super) async fn read(&mut self) {
        let Some(mut reader) = self.reader.take() else { return };
        let (events, bytes) = (self.limits.events, self.limits.bytes);
        let batch = match reader.read_memory(events, bytes) {
            Some(batch) => Ok(batch),
            None => {
                let read = tokio::task::spawn_blocking(move || {
                    let batch = reader.read(events, bytes);
                    (reader, batch)
                });
                match read.await {
                    Ok((returned, batch)) => {
                        reader = returned;
                        batch
                    }
                    Err(error) => {
                        reader = self.journal.reader(self.upto);
                        Err(std::io::Error::other(error))
                    }
                }
            }
        };
        match batch {
            Ok(batch) => {
                self.upto = reader.position();
                let (routes, name) = (self.routes.load(), &self.status.name);
                self.pending.extend(batch.into_iter().filter(|stored| {
                    let event = &stored.envelope;
                    event.set_aside.is_none() && routes.sends(name, &event.source, &event.provider, &event.kind)
                }));
                self.status.waits(self.pending.first());
                if self.pending.is_empty() {
                    self.cursor.decided = self.upto;
                    self.save();
                }
            }
            Err(error) => {
                // Passed over, it would be lost: a disk that comes back has it still.
                let failure = Failure::new(Reason::Refused, format!("cannot read the journal: {error}"));
                tracing::error!("backend {}: {}", self.status.name, failure.detail);
                self.failed(&failure);
                tokio::time::sleep(retry::delay(u32::MAX, Reason::Refused, 0)).await;
            }
        }
        self.reader = Some(reader);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Envelope;

    const LIMITS: Limits = Limits { events: 100, bytes: 8000, timeout: Duration::ZERO, keeps_cursor: true };

    /// After a batch of so many events of so many bytes.
    fn after(events: usize, bytes: usize) -> Gathering {
        let envelope = Envelope { body: vec![b'x'; bytes].into(), ..Envelope::default() };
        let mut gathering = Gathering::default();
        gathering.note(&vec![Stored { sequence: 1, envelope }; events], LIMITS);
        gathering
    }

    #[test]
    fn a_batch_is_given_time_to_grow_under_load_alone() {
        assert!(!Gathering::default().waits(1, LIMITS), "the first one");
        assert!(!after(BUSY - 1, 1).waits(1, LIMITS), "few events");
        assert!(after(BUSY, 1).waits(99, LIMITS), "many events");
        assert!(!after(BUSY, 1).waits(100, LIMITS), "a full batch is there");
        assert!(!after(BUSY, 4000 / BUSY).waits(1, LIMITS), "large ones");
    }

    #[test]
    fn a_wait_that_was_of_no_use_is_seldom_tried_again() {
        let mut gathering = after(BUSY, 1);
        let waits: Vec<usize> = (0..1000)
            .filter(|_| {
                let waits = gathering.waits(1, LIMITS);
                if waits {
                    gathering.waited(false);
                }
                waits
            })
            .collect();
        assert_eq!(waits, [0, 2, 6, 14, 30, 62, 126, 254, 510, 767]);
        gathering.skip = 0;
        gathering.waited(true);
        assert!(gathering.waits(1, LIMITS) && gathering.waits(1, LIMITS));
    }
}
