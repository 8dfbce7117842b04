//! How a lane comes by its events.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Lane;
use crate::backend::{Failure, Limits, Reason};
use crate::dispatch::retry;
use crate::event::route::Routes;
use crate::event::{BackendName, Stored};
use crate::journal::Reader;

/// Events in a batch from which on the next one is given time to grow.
const BUSY: usize = 32;
/// That time, at least; timers may take twice as long.
const GATHER: Duration = Duration::from_millis(1);

/// Bytes of JSON that are made ahead for a batch, about.
const JSON_AHEAD: usize = 2 << 20;

/// Where the next events come from.
pub(super) enum Feed {
    /// They are read when they are wanted.
    Here(Reader),
    /// They are on disk, and are read while those before them are published.
    Ahead(JoinHandle<Batch>),
}

/// What was read.
pub(super) struct Batch {
    reader: Reader,
    events: io::Result<Vec<Stored>>,
    /// Whether the disk was asked.
    is_of_disk: bool,
}

/// What is read, and for whom.
struct Wanted {
    limits: Limits,
    routes: Arc<Routes>,
    name: BackendName,
}

impl Wanted {
    fn goes(&self, stored: &Stored) -> bool {
        let event = &stored.envelope;
        event.set_aside.is_none() && self.routes.sends(&self.name, &event.source, &event.provider, &event.kind)
    }

    /// Reads a batch. May block.
    fn read(&self, mut reader: Reader) -> Batch {
        let Limits { events, bytes, sends_json, .. } = self.limits;
        let in_memory = reader.read_memory(events, bytes);
        let is_of_disk = in_memory.is_none();
        let mut events = in_memory.map_or_else(|| reader.read(events, bytes), Ok);
        if let Ok(events) = &mut events
            && is_of_disk
            && sends_json
        {
            self.make_json(events);
        }
        Batch { reader, events, is_of_disk }
    }

    /// Makes what the backend sends, while the broker works on the batch before.
    fn make_json(&self, events: &mut [Stored]) {
        let (mut json, mut ends) = (Vec::new(), Vec::with_capacity(events.len()));
        for stored in &*events {
            if self.goes(stored) && json.len() < JSON_AHEAD {
                stored.write_json(&mut json);
            }
            ends.push(json.len());
        }
        let (json, mut start) = (Bytes::from(json), 0);
        for (stored, end) in events.iter_mut().zip(ends) {
            stored.json = (start < end).then(|| json.slice(start..end));
            start = end;
        }
    }
}

/// Whether a batch of `events` events with `bytes` of bodies tells that the next one grows if it is given time.
pub(super) fn grows(events: usize, bytes: usize, limits: Limits) -> bool {
    events >= BUSY && bytes < limits.bytes / 2
}

impl Lane {
    pub(super) fn is_behind(&self) -> bool {
        let is_behind = match &self.feed {
            Some(Feed::Here(reader)) => reader.is_behind(),
            Some(Feed::Ahead(_)) => true,
            None => false,
        };
        is_behind || !self.pending.is_empty()
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
            let Some(Feed::Here(reader)) = &mut self.feed else { return false };
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

    /// What is read now.
    fn wanted(&self) -> Wanted {
        Wanted { limits: self.limits, routes: self.routes.load_full(), name: self.status.name.clone() }
    }

    /// Reads one batch when nothing is pending; what is not routed here counts as decided.
    pub(super) async fn read(&mut self) {
        let limits = self.limits;
        let read = match self.feed.take() {
            None => return,
            Some(Feed::Ahead(reading)) => reading.await,
            Some(Feed::Here(mut reader)) => match reader.read_memory(limits.events, limits.bytes) {
                Some(events) => Ok(Batch { reader, events: Ok(events), is_of_disk: false }),
                None => {
                    let wanted = self.wanted();
                    spawn_blocking(move || wanted.read(reader)).await
                }
            },
        };
        let Batch { reader, events, is_of_disk } = read.unwrap_or_else(|error| Batch {
            reader: self.journal.reader(self.upto),
            events: Err(io::Error::other(error)),
            is_of_disk: true,
        });
        match events {
            Ok(mut batch) => {
                self.upto = reader.position();
                let wanted = self.wanted();
                batch.retain(|stored| wanted.goes(stored));
                self.pending = batch;
                self.feed = Some(if is_of_disk && reader.is_behind() {
                    Feed::Ahead(spawn_blocking(move || wanted.read(reader)))
                } else {
                    Feed::Here(reader)
                });
                self.status.waits(self.pending.first());
                if self.pending.is_empty() {
                    self.cursor.decided = self.upto;
                    self.moved();
                }
            }
            Err(error) => {
                self.feed = Some(Feed::Here(reader));
                // Passed over, it would be lost: a disk that comes back has it still.
                let failure = Failure::new(Reason::Refused, format!("cannot read the journal: {error}"));
                tracing::error!("backend {}: {}", self.status.name, failure.detail);
                self.failed(&failure);
                tokio::time::sleep(retry::delay(u32::MAX, Reason::Refused, 0)).await;
            }
        }
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
        let limits =
            Limits { events: 100, bytes: 8000, timeout: Duration::ZERO, keeps_cursor: true, sends_json: false };
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
    async fn what_a_backend_sends_is_made_ahead_where_events_are_read_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (_, options) = idle(dir.path(), Memory::default(), &Ending::default());
        for _ in 0..4 {
            tests::append(&options.journal, "s.t", 1).await;
        }
        options.journal.close();
        let (mut lane, options) = idle(dir.path(), Memory::default(), &Ending::default());
        lane.limits.events = 2;
        for sends_json in [true, false] {
            lane.limits.sends_json = sends_json;
            lane.restart_from(0);
            for _ in 0..2 {
                lane.read().await;
                assert_eq!(lane.pending.len(), 2);
                for stored in lane.pending.drain(..) {
                    let mut json = Vec::new();
                    Stored { json: None, ..stored.clone() }.write_json(&mut json);
                    assert_eq!(stored.json.as_deref(), sends_json.then_some(&json[..]), "{}", stored.sequence);
                }
            }
        }
        lane.limits.sends_json = true;
        let nowhere = Routes::new(Vec::new(), Vec::new(), Vec::new());
        let wanted = Wanted { routes: nowhere.into(), ..lane.wanted() };
        let batch = wanted.read(options.journal.reader(0));
        assert!(batch.events.unwrap().iter().all(|stored| stored.json.is_none()), "what goes elsewhere is not made");
        tests::append(&options.journal, "s.t", 1).await;
        lane.read().await;
        assert!(lane.pending[0].json.is_none(), "from memory");
        options.journal.close();
    }

    #[tokio::test]
    async fn on_disk_the_next_batch_is_read_ahead_and_a_lane_that_begins_elsewhere_has_none_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (_, options) = idle(dir.path(), Memory::default(), &Ending::default());
        for _ in 0..9 {
            tests::append(&options.journal, "s.t", 1).await;
        }
        options.journal.close();
        let (mut lane, options) = idle(dir.path(), Memory::default(), &Ending::default());
        lane.limits.events = 2;
        let mut seen = Vec::new();
        while lane.is_behind() {
            lane.read().await;
            seen.extend(lane.pending.drain(..).map(|stored| stored.sequence));
            assert_eq!((seen.last(), matches!(lane.feed, Some(Feed::Ahead(_)))), (Some(&lane.upto), lane.upto < 9));
            if lane.upto == 6 && seen.len() == 6 {
                lane.restart_from(3);
                seen.truncate(3);
            }
        }
        assert_eq!(seen, (1..=9).collect::<Vec<u64>>());
        tests::append(&options.journal, "s.t", 1).await;
        lane.read().await;
        assert_eq!(lane.pending.len(), 1, "from memory again");
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
