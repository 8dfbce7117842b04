//! The one thread that writes: takes all that waits, writes it, syncs once, answers everyone.
//!
//! There is no linger: the sync in progress is the time in which the next batch gathers.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rustix::io::Errno;

use super::answer::{Answer, answer_all};
use super::blocks::{Blocks, End};
use super::dedup::Index;
use super::disk::{DiskFile, Zeros, is_full};
use super::format::{DATA_START, Frame, Header, Kind};
use super::memory::Pool;
use super::queue::Waiting;
use super::segment::{self, Segment};
use super::sidecar::Keys;
use super::{AppendError, Appended, Key, Record, Shared, State, lock};

/// Most events in one sync.
const BATCH_EVENTS: usize = 4096;
/// Most bytes in one sync; one larger event is written alone.
pub const BATCH_BYTES: usize = 8 << 20;
/// Bytes at the end of a segment that only cursors may take, so that backends can drain a journal that is full.
const RESERVE: u64 = 64 << 10;
/// The same, as a share of a small segment.
const RESERVE_SHARE: u64 = 16;

/// What the thread owns.
pub struct Writer {
    active: Active,
    index: Index,
    /// Where batches are put together.
    pool: Pool,
    /// Sequence of the next event.
    next: u64,
    /// Sequence of the last event on disk.
    synced: u64,
    /// Failures in a row.
    failures: u32,
}

/// The segment that is written to.
pub struct Active {
    /// As readers see it.
    pub segment: Arc<Segment>,
    /// Open for writing.
    pub file: Box<dyn DiskFile>,
    /// Where the next frame goes.
    pub end: End,
    /// No frame goes beyond.
    pub limit: u64,
    /// Keys in it.
    pub keys: Keys,
    /// Batches that this process wrote to it.
    pub batches: u64,
    /// Bytes of their frames.
    pub batch_bytes: u64,
    /// A sync of it failed: it is never written again.
    pub broken: bool,
}

/// Why there is no segment to write to.
enum Trouble {
    Full(String),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let code = error.raw_os_error().map(Errno::from_raw_os_error);
        if is_full(&error) {
            Self::Full(format!("no space on disk: {error}"))
        } else if matches!(code, Some(Errno::MFILE | Errno::NFILE)) {
            // Nothing was written or synced: the disk may be well.
            Self::Full(format!("no file descriptor is free: {error}"))
        } else {
            Self::Io(error)
        }
    }
}

impl Writer {
    /// A writer that goes on in `active` with the sequence `next`.
    pub fn new(active: Active, index: Index, next: u64) -> Self {
        Self { active, index, pool: Pool::default(), next, synced: next - 1, failures: 0 }
    }

    /// Writes until the queue is stopped and empty.
    pub fn run(mut self, shared: &Shared) {
        while self.step(shared, shared.queue.take()) {}
    }

    /// Writes what was taken from the queue; `false` after the last of it.
    pub fn step(&mut self, shared: &Shared, mut work: Waiting) -> bool {
        if work.cursors && self.write_cursors(shared, work.sync || work.stop, false) {
            for saved in work.saved.drain(..) {
                let _ = saved.send(());
            }
        }
        work.saved.clear();
        let last = work.stop && work.appends.is_empty();
        self.append_all(shared, work);
        if last {
            self.write_cursors(shared, true, true);
        }
        !last
    }

    fn append_all(&mut self, shared: &Shared, mut work: Waiting) {
        while !work.appends.is_empty() {
            let most = BATCH_BYTES.min(shared.settings.segment_bytes as usize / 2);
            let mut bytes = 0;
            let fit = work.appends.iter().take(BATCH_EVENTS).take_while(|(record, _)| {
                bytes += record.size();
                bytes <= most
            });
            let rest = work.appends.split_off(fit.count().max(1));
            self.append(shared, std::mem::replace(&mut work.appends, rest));
        }
    }

    fn append(&mut self, shared: &Shared, batch: Vec<(Record, Answer)>) {
        let need: usize = batch.iter().map(|(record, _)| record.size()).sum();
        if let Err(error) = self.make_room(shared, need as u64) {
            answer_all(batch.into_iter().map(|(record, answer)| (record, answer, Err(error))));
            return;
        }
        let mut blocks = self.active.end.blocks(need, &self.pool);
        let mut answers = Vec::with_capacity(batch.len());
        let keys_before = self.active.keys.len();
        // A reload may have lengthened it.
        self.index.widen(shared.window_s());
        self.index.approach(batch.iter().map(|(record, _)| record.key));
        for (record, answer) in batch {
            let time_s = (record.time_ms / 1000) as u32;
            if record.key != Key::NONE {
                if !self.index.insert(record.key, time_s, record.window_s) {
                    answers.push((record, answer, Appended::Duplicate));
                    continue;
                }
                self.active.keys.push((record.key, time_s));
            }
            let frame = Frame {
                length: 0,
                sequence: self.next,
                time_ms: record.time_ms,
                key: record.key,
                kind: Kind::Event,
                unsynced: u16::try_from(self.next - self.synced).unwrap_or(u16::MAX),
                attributes: 0,
            };
            blocks.push(&frame, self.active.segment.header.epoch, &record.attributes, &record.body);
            answers.push((record, answer, Appended::New(self.next)));
            self.next += 1;
        }
        if blocks.len() > 0
            && let Err(error) = self.write_synced(shared, &mut blocks)
        {
            for (key, _) in self.active.keys.drain(keys_before..) {
                self.index.remove(key);
            }
            let refusal = self.failed(shared, &error);
            answer_all(answers.into_iter().map(|(record, answer, _)| (record, answer, Err(refusal))));
            return;
        }
        if blocks.len() > 0 {
            self.publish(shared, blocks.into_frames());
        }
        answer_all(answers.into_iter().map(|(record, answer, appended)| (record, answer, Ok(appended))));
    }

    /// Lets readers see what was synced.
    fn publish(&mut self, shared: &Shared, frames: Bytes) {
        self.failures = 0;
        self.active.batches += 1;
        self.active.batch_bytes += frames.len() as u64;
        self.synced = self.next - 1;
        self.active.segment.grow(self.active.end.offset, self.synced);
        shared.ring.write().unwrap_or_else(PoisonError::into_inner).push(self.synced, frames);
        shared.tail.send_replace(self.synced);
        shared.set_state(State::Open);
        shared.metrics.dedup_keys.set(self.index.len() as i64);
        shared.metrics.dedup_forgotten.set(self.index.forgotten() as i64);
    }

    fn write_synced(&mut self, shared: &Shared, blocks: &mut Blocks) -> io::Result<()> {
        let start = Instant::now();
        let active = &mut self.active;
        // A large write waits for the disk as the sync does.
        active.end.write(blocks, &*active.file, active.limit)?;
        let synced = active.file.sync_data();
        shared.metrics.journal_fsync_seconds.observe(start.elapsed().as_secs_f64());
        synced
    }

    /// The file that failed is never written again; failing twice in a row closes the journal.
    fn failed(&mut self, shared: &Shared, error: &io::Error) -> AppendError {
        shared.metrics.journal_fsync_failures.inc();
        self.active.broken = true;
        let path = self.active.segment.path.display();
        if let Trouble::Full(why) = Trouble::from(io::Error::from(error.kind())) {
            shared.set_state(State::Full(format!("{path}: {why}")));
            return AppendError::Full;
        }
        self.failures += 1;
        tracing::error!("cannot write {path}: {error}; its events are refused and it is sealed");
        if self.failures > 1 {
            shared.set_state(State::Closed(format!("{path}: {error}, and the segment before failed as well")));
            return AppendError::Closed;
        }
        AppendError::Failed
    }

    /// Makes sure that `need` bytes of events fit into the active segment.
    fn make_room(&mut self, shared: &Shared, need: u64) -> Result<(), AppendError> {
        if self.failures > 1 {
            return Err(AppendError::Closed);
        }
        let reserve = RESERVE.min(shared.settings.segment_bytes / RESERVE_SHARE);
        if !self.active.broken && self.active.end.offset + need + reserve <= self.active.limit {
            return Ok(());
        }
        match self.rotate(shared) {
            Ok(()) => Ok(()),
            Err(Trouble::Full(why)) => {
                shared.set_state(State::Full(why));
                shared.keeper.wake();
                Err(AppendError::Full)
            }
            Err(Trouble::Io(error)) => Err(self.failed(shared, &error)),
        }
    }

    /// Seals the active segment and goes on in a new one.
    fn rotate(&mut self, shared: &Shared) -> Result<(), Trouble> {
        let dir = shared.dir.join("journal");
        let (spare, file, capacity) = match shared.keeper.take_spare() {
            Some(spare) => (spare.path, spare.file, spare.bytes),
            None if shared.bytes() + shared.settings.segment_bytes > shared.settings.max_bytes => {
                return Err(Trouble::Full("undelivered events fill its quota".to_owned()));
            }
            None => {
                segment::has_room(&*shared.disk, &dir, shared.settings.segment_bytes)?;
                let path = dir.join("next.tmp");
                // Whoever waits for it does not wait for zeros.
                let file = segment::make_zeroed(&*shared.disk, &path, shared.settings.segment_bytes, Zeros::Reserved)?;
                (path, file, shared.settings.segment_bytes)
            }
        };
        // A segment without events keeps its name: the next one begins a position later.
        self.next = self.next.max(self.active.segment.first + 1);
        let now_ms = (shared.clock)();
        let old = &self.active;
        let header = Header {
            epoch: u32::from_le_bytes(super::random()?),
            first: self.next,
            created_ms: now_ms,
            journal: shared.id,
            previous_first: old.segment.first,
            // Cursors behind it were not synced, and stand in the checkpoint of this one.
            previous_end: old.segment.end(),
            previous_epoch: old.segment.header.epoch,
        };
        let path = dir.join(segment::file_name(self.next));
        // Whoever moves a cursor does not wait for the disk.
        let checkpoint = lock(&shared.cursors).checkpoint();
        let started = start_segment(&*file, &header, &checkpoint);
        let end = started.inspect_err(|_| {
            // It would take room for nothing until the next start, which removes it in any case.
            let _ = shared.disk.remove(&spare);
        })?;
        if let Err(error) = shared.disk.rename(&spare, &path).and_then(|()| shared.disk.sync_dir(&dir)) {
            // The new header may be on disk: it says where the old segment ends.
            self.active.broken = true;
            return Err(error.into());
        }
        let segment = Arc::new(Segment::new(path, header, end.offset, self.next - 1, capacity.max(end.offset)));
        shared.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment.clone());
        let old = std::mem::replace(
            &mut self.active,
            Active {
                segment,
                file,
                end,
                limit: capacity,
                keys: Keys::new(),
                batches: 0,
                batch_bytes: 0,
                broken: false,
            },
        );
        shared.metrics.journal_bytes.set(shared.bytes() as i64);
        // Only then may it be removed.
        shared.keeper.filled(old.batch_bytes / old.batches.max(1));
        shared.keeper.sealed(old.segment.first, old.keys);
        old.segment.seal(now_ms);
        Ok(())
    }

    /// Writes the cursors that moved; `false` if they are not written. The checkpoint of the next segment holds them then,
    /// and no event is accepted before it: a failure costs duplicates after a kill, nothing else.
    ///
    /// The `last` frame is written in any case: damage to the events before it can be told from an unfinished write.
    fn write_cursors(&mut self, shared: &Shared, sync: bool, last: bool) -> bool {
        let moved = lock(&shared.cursors).take_moved();
        let written = self.write_moved(shared, &moved.bytes(), sync, last);
        if !written {
            lock(&shared.cursors).put_back(moved);
        }
        written
    }

    fn write_moved(&mut self, shared: &Shared, moved: &[u8], sync: bool, last: bool) -> bool {
        if self.active.broken && (self.failures > 1 || self.rotate(shared).is_err()) {
            return false;
        }
        if !moved.is_empty() || last {
            let size = Frame::size(moved.len()) as u64;
            if self.active.end.offset + size > self.active.limit && self.rotate(shared).is_err() {
                return false;
            }
            let frame = Frame {
                length: 0,
                sequence: self.synced,
                time_ms: (shared.clock)(),
                key: Key::NONE,
                kind: Kind::Cursors,
                unsynced: 0,
                attributes: 0,
            };
            let mut blocks = self.active.end.blocks(size as usize, &self.pool);
            blocks.push(&frame, self.active.segment.header.epoch, &[], moved);
            let active = &mut self.active;
            if let Err(error) = active.end.write(&mut blocks, &*active.file, active.limit) {
                self.failed(shared, &error);
                return false;
            }
        }
        if sync && let Err(error) = self.active.file.sync_data() {
            self.failed(shared, &error);
            return false;
        }
        true
    }
}

/// Writes the header and the checkpoint of a new segment, synced; gives where its first event goes.
///
/// # Errors
/// The file cannot be written.
pub fn start_segment(file: &dyn DiskFile, header: &Header, checkpoint: &[u8]) -> io::Result<End> {
    let frame = Frame {
        length: 0,
        sequence: header.first - 1,
        time_ms: header.created_ms,
        key: Key::NONE,
        kind: Kind::Checkpoint,
        unsynced: 0,
        attributes: 0,
    };
    let mut bytes = Vec::new();
    frame.encode(header.epoch, &[], checkpoint, &mut bytes);
    segment::write_header(file, header)?;
    file.write_all_at(&bytes, DATA_START)?;
    file.sync_all()?;
    End::of(file, DATA_START + bytes.len() as u64)
}
