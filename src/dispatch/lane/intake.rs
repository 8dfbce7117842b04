//! How a lane comes by its events.

use std::time::Duration;

use super::Lane;
use crate::backend::{Failure, Limits, Reason};
use crate::dispatch::retry;
use crate::journal::Reader;

/// Events in a batch from which on the next one is given time to grow.
const BUSY: usize = 32;
/// That time, at least; timers may take twice as long.
const GATHER: Duration = Duration::from_millis(1);

/// Whether a batch of `events` events with `bytes` of bodies tells that the next one grows if it is given time.
pub(super) fn grows(events: usize, bytes: usize, limits: Limits) -> bool {
    events >= BUSY && bytes < limits.bytes / 2
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
            self.save();
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
    /// threads here and at the broker. Not where senders wait for the confirmation: they send no more meanwhile.
    async fn gather(&self) {
        let waiting = self.journal.tail().borrow().saturating_sub(self.upto);
        let full = waiting >= self.limits.events as u64;
        if !self.grows || full || self.routes.load().is_awaited(&self.status.name) {
            return;
        }
        tokio::select! {
            biased;
            () = self.ending.drained.cancelled() => {}
            () = tokio::time::sleep(GATHER) => {}
        }
    }

    /// Reads one batch when nothing is pending; what is not routed here counts as decided.
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
            Ok(mut batch) => {
                self.upto = reader.position();
                let (routes, name) = (self.routes.load(), &self.status.name);
                batch.retain(|stored| {
                    let event = &stored.envelope;
                    event.set_aside.is_none() && routes.sends(name, &event.source, &event.provider, &event.kind)
                });
                self.pending = batch;
                self.status.waits(self.pending.first());
                if self.pending.is_empty() {
                    self.cursor.decided = self.upto;
                    self.moved();
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
    use std::time::Instant;

    use futures_util::FutureExt as _;

    use super::super::SAVE_EVERY;
    use super::super::tests::idle;
    use super::*;
    use crate::backend::memory::Memory;
    use crate::dispatch::{Ending, tests};
    use crate::event::route::Routes;

    #[test]
    fn batches_of_many_small_events_grow() {
        let limits = Limits { events: 100, bytes: 8000, timeout: Duration::ZERO, keeps_cursor: true };
        assert!(grows(BUSY, 3999, limits));
        assert!(!grows(BUSY - 1, 1, limits) && !grows(BUSY, 4000, limits));
    }

    #[tokio::test]
    async fn a_cursor_that_its_broker_keeps_is_written_now_and_then_and_before_a_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (mut lane, options) = idle(dir.path(), Memory::with_cursor(), &Ending::default());
        let mut is_saved_after = |act: &dyn Fn(&mut Lane)| {
            lane.saved = None;
            act(&mut lane);
            lane.saved.is_some()
        };
        let moves = |lane: &mut Lane| {
            // However slow the machine: the last time is not long ago.
            lane.saved_at = Instant::now() + SAVE_EVERY;
            lane.moved();
        };
        let fills = |lane: &mut Lane| assert!(lane.fill().now_or_never().is_none());
        assert!(!is_saved_after(&moves), "under load");
        assert!(is_saved_after(&fills), "nothing to do");
        assert!(!is_saved_after(&fills), "not moved since");
        let late = |lane: &mut Lane| {
            lane.saved_at -= 2 * SAVE_EVERY;
            lane.moved();
        };
        assert!(!is_saved_after(&moves) && is_saved_after(&late), "a while later");
        let fails = |lane: &mut Lane| lane.failed(&Failure::new(Reason::Connection, "gone"));
        assert!(!is_saved_after(&moves) && is_saved_after(&fails), "in an outage");
        let pauses = |lane: &mut Lane| {
            lane.status.pause(true);
            assert!(lane.unpaused().now_or_never().is_none());
        };
        assert!(!is_saved_after(&moves) && is_saved_after(&pauses), "in a pause");
        let keeps_none = |lane: &mut Lane| {
            lane.limits.keeps_cursor = false;
            lane.moved();
        };
        assert!(is_saved_after(&keeps_none), "only the journal knows");
        options.journal.close();
    }

    #[tokio::test]
    async fn a_lane_lets_its_batch_grow_under_load_alone() {
        let (dir, ending) = (tempfile::tempdir().unwrap(), Ending::default());
        let (mut lane, options) = idle(dir.path(), Memory::default(), &ending);
        let routes = Routes::clone(&options.routes.load());
        let waits = |lane: &Lane| lane.gather().now_or_never().is_none();
        assert!(!waits(&lane), "before the first batch");
        lane.grows = true;
        assert!(waits(&lane), "events come fast");
        options.routes.store(routes.clone().awaited_by("s", "p").into());
        assert!(!waits(&lane), "senders wait");
        options.routes.store(routes.into());
        lane.limits.events = 2;
        tests::append(&options.journal, "s.t", 1).await;
        assert!(waits(&lane), "half a batch is there");
        tests::append(&options.journal, "s.t", 1).await;
        assert!(!waits(&lane), "a full batch is there");
        lane.limits.events = 3;
        ending.drained.cancel();
        assert!(!waits(&lane), "the process stops");
        options.journal.close();
    }
}
