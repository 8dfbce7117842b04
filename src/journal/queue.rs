//! What waits for the writer: a bounded list of events, and whether cursors moved.

use std::sync::{Condvar, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::answer::{self, Answer, Pending};
use super::{AppendError, Journal, Record, lock};

/// Most events that wait.
const EVENTS: usize = 1 << 16;
/// Most bytes that wait; one event is taken whatever its size.
const BYTES: usize = 64 << 20;

/// The list and its bell.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

/// Everything that waits, taken at once.
#[derive(Default)]
pub struct Waiting {
    /// In order of arrival.
    pub appends: Vec<(Record, Answer)>,
    bytes: usize,
    /// Whether cursors moved.
    pub cursors: bool,
    /// Whether the cursors are to be synced.
    pub sync: bool,
    /// Who waits for the cursors.
    pub saved: Vec<oneshot::Sender<()>>,
    /// Nothing comes after this.
    pub stop: bool,
}

impl Journal {
    /// Whether the thread that writes comes round; waits until it does.
    pub async fn writer_answers(&self) -> bool {
        self.shared.queue.cursors_moved(false).await.is_ok()
    }
}

impl Queue {
    /// Queues one event.
    pub fn push(&self, record: Record) -> Result<Pending, AppendError> {
        let (answer, pending) = answer::channel();
        let size = record.size();
        let mut waiting = lock(&self.waiting);
        if waiting.stop {
            return Err(AppendError::Closed);
        }
        if waiting.appends.len() >= EVENTS || (waiting.bytes > 0 && waiting.bytes + size > BYTES) {
            return Err(AppendError::Slow);
        }
        let first = waiting.appends.is_empty();
        waiting.bytes += size;
        waiting.appends.push((record, answer));
        drop(waiting);
        if first {
            self.bell.notify_one();
        }
        Ok(pending)
    }

    /// Asks for the cursors to be written (and synced).
    pub fn cursors_moved(&self, sync: bool) -> oneshot::Receiver<()> {
        let (saved, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        if !waiting.stop {
            waiting.cursors = true;
            waiting.sync |= sync;
            waiting.saved.push(saved);
            self.bell.notify_one();
        }
        receiver
    }

    /// Lets the writer end when all is written.
    pub fn stop(&self) {
        lock(&self.waiting).stop = true;
        self.bell.notify_one();
    }

    /// Waits until there is something, and takes it all.
    pub fn take(&self) -> Waiting {
        let mut waiting = lock(&self.waiting);
        while waiting.appends.is_empty() && !waiting.cursors && !waiting.stop {
            waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let stop = waiting.stop;
        let taken = std::mem::take(&mut *waiting);
        waiting.stop = stop;
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::Key;
    use super::*;
    use crate::event::Envelope;

    fn record(body: Bytes) -> Record {
        Record::new(&Envelope { body, ..Envelope::default() }, Key::NONE, Duration::ZERO, 0)
    }

    #[test]
    fn bytes_that_wait_are_bounded_but_one_event_is_taken_whatever_its_size() {
        let queue = Queue::default();
        let large = Bytes::from(vec![0; BYTES + 1]);
        assert!(queue.push(record(large.clone())).is_ok());
        assert_eq!(queue.push(record(Bytes::new())).err(), Some(AppendError::Slow));
        assert_eq!(queue.take().appends.len(), 1);
        // Four of these take all bytes that there are.
        let quarter = large.slice(..BYTES / 4 - record(Bytes::new()).size());
        for _ in 0..4 {
            assert!(queue.push(record(quarter.clone())).is_ok());
        }
        assert_eq!(queue.push(record(Bytes::new())).err(), Some(AppendError::Slow));
    }

    #[test]
    fn events_that_wait_are_bounded_however_small() {
        let queue = Queue::default();
        for _ in 0..EVENTS {
            assert!(queue.push(record(Bytes::new())).is_ok());
        }
        assert_eq!(queue.push(record(Bytes::new())).err(), Some(AppendError::Slow));
    }
}
