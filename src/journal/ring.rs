//! The last few MiB of frames in memory, so that a reader that keeps up never touches the disk.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{FRAME_BYTES, Frame, Kind};
use crate::event::{Envelope, Stored};

/// Batches as they were written, newest last.
pub struct Ring {
    batches: VecDeque<Batch>,
    bytes: usize,
    capacity: usize,
    /// Every event after this sequence is here.
    base: u64,
}

struct Batch {
    last: u64,
    frames: Bytes,
}

impl Ring {
    /// An empty ring of at most about `capacity` bytes; the journal ends at `base`.
    pub fn new(capacity: usize, base: u64) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, capacity, base }
    }

    /// Adds the frames of one synced batch whose last event is `last`.
    pub fn push(&mut self, last: u64, frames: Bytes) {
        self.bytes += frames.len();
        self.batches.push_back(Batch { last, frames });
        while self.bytes > self.capacity
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.frames.len();
            self.base = oldest.last;
        }
    }

    /// The frames of up to `batches` batches that hold events after `after`; `None` when some of them are on disk only.
    pub fn after(&self, after: u64, batches: usize) -> Option<Vec<Bytes>> {
        if after < self.base {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.last <= after);
        Some(self.batches.range(first..).take(batches).map(|batch| batch.frames.clone()).collect())
    }
}

/// Appends the events after `after` in `frames` (valid ones, from memory) to `out` until `full` says that it is enough.
pub fn events(frames: &Bytes, after: u64, out: &mut Vec<Stored>, mut full: impl FnMut(&Stored) -> bool) -> bool {
    let mut offset = 0;
    while let Some(frame) = frames.get(offset..).and_then(Frame::peek) {
        let start = offset + FRAME_BYTES;
        offset += Frame::size(frame.length);
        if frame.kind != Kind::Event || frame.sequence <= after {
            continue;
        }
        let attributes = frames.slice(start..start + frame.attributes);
        let body = frames.slice(start + frame.attributes..start + frame.length);
        if let Ok(envelope) = Envelope::decode(attributes, body) {
            let stored = Stored { sequence: frame.sequence, time_ms: frame.time_ms, envelope, json: None };
            if full(&stored) {
                return true;
            }
            out.push(stored);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_batches_make_room_for_new_ones_and_are_known_to_be_gone() {
        let mut ring = Ring::new(100, 7);
        let kept = |ring: &Ring| (7..14).map(|after| ring.after(after, 9).map(|found| found.len())).collect::<Vec<_>>();
        assert_eq!(ring.after(6, 9), None, "on disk only");
        for last in [8, 10] {
            ring.push(last, Bytes::from_static(&[0; 50]));
        }
        assert_eq!(kept(&ring)[..4], [Some(2), Some(1), Some(1), Some(0)]);
        ring.push(11, Bytes::from_static(&[0; 40]));
        assert_eq!(kept(&ring), [None, Some(2), Some(2), Some(1), Some(0), Some(0), Some(0)]);
        ring.push(12, Bytes::from_static(&[0; 20]));
        assert_eq!(kept(&ring)[..4], [None, None, None, Some(2)]);
        ring.push(13, Bytes::from_static(&[0; 30]));
        assert_eq!(kept(&ring)[3..], [Some(3), Some(2), Some(1), Some(0)]);
        assert_eq!(ring.after(10, 1).unwrap().len(), 1, "no more than asked for");
    }
}
