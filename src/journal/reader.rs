//! Reads events in order from a position: from memory where it keeps up, from disk where it is behind.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::format::{DATA_START, Frame, Kind};
use super::ring;
use super::scan::{Scan, Step};
use super::segment::{MARK, Segment};
use super::{Shared, lock};
use crate::event::{Envelope, Stored};

/// Damaged places that were set aside: first sequence of the segment, offset.
pub type Damaged = HashSet<(u64, u64)>;

/// Reads the events after a position.
pub struct Reader {
    shared: Arc<Shared>,
    after: u64,
    tail: watch::Receiver<u64>,
    place: Option<Place>,
}

/// Where on disk it reads.
struct Place {
    segment: Arc<Segment>,
    scan: Scan,
    /// Sequence of the last event before the end of the scan.
    last: u64,
    /// Where the segment was last marked.
    marked: u64,
}

/// How much one read may return.
struct Room {
    events: usize,
    bytes: usize,
    any: bool,
}

impl Room {
    /// Whether `stored` is too much; the first event is never.
    fn full(&mut self, stored: &Stored) -> bool {
        let size = stored.envelope.body.len();
        if self.events == 0 || (self.any && size > self.bytes) {
            return true;
        }
        self.events -= 1;
        self.bytes = self.bytes.saturating_sub(size);
        self.any = true;
        false
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, after: u64) -> Self {
        let tail = shared.tail.subscribe();
        Self { shared, after, tail, place: None }
    }

    /// The position behind which it reads on.
    pub fn position(&self) -> u64 {
        self.after
    }

    /// Reads on behind `after` instead.
    pub fn seek(&mut self, after: u64) {
        self.after = after;
        self.place = None;
    }

    /// Whether an event is waiting to be read.
    pub fn is_behind(&self) -> bool {
        *self.tail.borrow() > self.after
    }

    /// Waits until an event can be read; `false` when the journal is gone.
    pub async fn wait(&mut self) -> bool {
        let after = self.after;
        self.tail.wait_for(|&tail| tail > after).await.is_ok()
    }

    /// Reads what memory holds, without blocking; `None` when the disk must be asked.
    pub fn read_memory(&mut self, events: usize, bytes: usize) -> Option<Vec<Stored>> {
        // A batch holds at least one event.
        let batches = self.shared.ring.read().unwrap_or_else(PoisonError::into_inner).after(self.after, events)?;
        self.place = None;
        let mut room = Room { events, bytes, any: false };
        let behind = self.tail.borrow().saturating_sub(self.after);
        let mut out = Vec::with_capacity(events.min(behind as usize));
        for frames in batches {
            if ring::events(&frames, self.after, &mut out, |stored| room.full(stored)) {
                break;
            }
        }
        self.after = out.last().map_or(self.after, |stored| stored.sequence);
        Some(out)
    }

    /// Reads up to `events` events and about `bytes` bytes of bodies, at least one event if there is one. May block.
    ///
    /// Damage on the way is set aside, counted and passed.
    ///
    /// # Errors
    /// A segment cannot be read; what lies before was returned, and the next read tries again.
    pub fn read(&mut self, events: usize, bytes: usize) -> io::Result<Vec<Stored>> {
        if let Some(out) = self.read_memory(events, bytes) {
            return Ok(out);
        }
        let mut out = Vec::new();
        match self.read_disk(&mut out, events, bytes) {
            Ok(()) => Ok(out),
            Err(error) => {
                self.place = None;
                // What was read before is not lost with it: the next read meets the error first.
                if out.is_empty() { Err(error) } else { Ok(out) }
            }
        }
    }

    fn read_disk(&mut self, out: &mut Vec<Stored>, events: usize, bytes: usize) -> io::Result<()> {
        let mut room = Room { events, bytes, any: false };
        while self.arrive()? {
            let Some(Place { segment, scan, last, marked }) = &mut self.place else { break };
            let before = scan.offset();
            match scan.next()? {
                Some(Step::Frame(frame, attributes, body)) => {
                    if scan.offset() >= *marked + MARK {
                        *marked = scan.offset();
                        segment.mark(frame.sequence, *marked);
                    }
                    let Some(stored) = wanted(self.after, &frame, attributes, body) else { continue };
                    if room.full(&stored) {
                        scan.seek(before);
                        break;
                    }
                    self.after = stored.sequence;
                    out.push(stored);
                }
                Some(Step::Damage { offset, length }) => self.shared.set_aside(segment, offset, length),
                None => {
                    if before < scan.end() {
                        self.shared.set_aside(segment, before, scan.end() - before);
                        scan.seek(scan.end());
                    }
                    self.after = self.after.max(*last);
                }
            }
        }
        Ok(())
    }

    /// Opens the segment of the next event, if it is not open; `false` when there is none.
    fn arrive(&mut self) -> io::Result<bool> {
        if let Some(place) = &mut self.place
            && place.segment.last() > self.after
        {
            // The last event before the end: one that came between the two would be passed over unread.
            place.last = place.segment.last();
            place.scan.set_end(place.segment.end());
            return Ok(true);
        }
        self.place = None;
        loop {
            let segments = self.shared.segments();
            let Some(segment) = segments.into_iter().find(|segment| segment.last() > self.after) else {
                return Ok(false);
            };
            let file = match self.shared.disk.open(&segment.path) {
                // It went while it was looked up: nobody needs it any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound && segment.first < self.shared.first() => {
                    continue;
                }
                file => file?,
            };
            self.after = self.after.max(segment.first - 1);
            let last = segment.last();
            let start = segment.near(self.after).unwrap_or(DATA_START);
            let scan = Scan::new(file, segment.header.epoch, start, segment.end());
            self.place = Some(Place { segment, scan, last, marked: start });
            return Ok(true);
        }
    }
}

fn wanted(after: u64, frame: &Frame, attributes: Bytes, body: Bytes) -> Option<Stored> {
    if frame.kind != Kind::Event || frame.sequence <= after {
        return None;
    }
    // The checksum is right, so attributes that do not decode are of a release that made a mistake: nothing to deliver.
    let envelope = Envelope::decode(attributes, body).ok()?;
    Some(Stored { sequence: frame.sequence, time_ms: frame.time_ms, envelope, json: None })
}

impl Shared {
    /// Keeps a copy of damaged bytes in `quarantine/`, counts and reports them; once a place.
    pub(super) fn set_aside(&self, segment: &Segment, offset: u64, length: u64) {
        if !lock(&self.damaged).insert((segment.first, offset)) {
            return;
        }
        self.metrics.journal_damaged.inc();
        let dir = self.dir.join("quarantine");
        let path = dir.join(format!("{:020}-{offset}.bin", segment.first));
        let kept = (|| {
            self.disk.create_dir_all(&dir)?;
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(64 << 20)];
            self.disk.open(&segment.path)?.read_exact_at(&mut bytes, offset)?;
            self.disk.write(&path, &bytes)
        })();
        let segment = segment.path.display();
        match kept {
            Ok(()) => {
                tracing::error!("{length} B of {segment} at offset {offset} are damaged: kept in {}", path.display());
            }
            Err::<(), io::Error>(error) => {
                tracing::error!(
                    "{length} B of {segment} at offset {offset} are damaged and cannot be kept aside: {error}"
                );
            }
        }
    }
}
