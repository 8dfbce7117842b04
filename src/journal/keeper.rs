//! Housekeeping off the path of an acknowledgement: the next segment made ahead of need, keys of sealed
//! segments written down, segments that nobody needs removed.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::disk::{DiskFile, Zeros, is_full};
use super::segment::{self, Segment};
use super::sidecar::{self, Keys};
use super::{Journal, Shared, lock};

/// How often retention is looked at when nothing happens.
pub const ROUND: Duration = Duration::from_secs(1);
/// Bytes of a sync from which on the zeros of a segment cost the disk more than they spare each sync.
const LARGE_SYNC: u64 = 512 << 10;

/// A file of zeros, ready to become a segment.
pub struct Spare {
    /// Where it is.
    pub path: PathBuf,
    /// Open for writing.
    pub file: Box<dyn DiskFile>,
    /// Its size.
    pub bytes: u64,
}

/// Where the writer and the keeper exchange things.
#[derive(Default)]
pub struct Desk {
    papers: Mutex<Papers>,
    bell: Condvar,
}

#[derive(Default)]
struct Papers {
    spare: Option<Spare>,
    made: u64,
    /// Bytes of a sync of the last segment, on average.
    sync_bytes: u64,
    sealed: Vec<(u64, Keys)>,
    /// Those whose keys could not be written down yet.
    unwritten: Vec<(u64, Keys)>,
    wake: bool,
    stop: bool,
}

impl Desk {
    /// The segment made ahead, if there is one.
    pub fn take_spare(&self) -> Option<Spare> {
        lock(&self.papers).spare.take()
    }

    /// The writer left a segment whose syncs had so many bytes on average.
    pub fn filled(&self, sync_bytes: u64) {
        lock(&self.papers).sync_bytes = sync_bytes;
    }

    /// A segment with these keys is not written to any more.
    pub fn sealed(&self, first: u64, keys: Keys) {
        lock(&self.papers).sealed.push((first, keys));
        self.wake();
    }

    /// Looks at everything at once.
    pub fn wake(&self) {
        lock(&self.papers).wake = true;
        self.bell.notify_one();
    }

    /// Ends the thread.
    pub fn stop(&self) {
        lock(&self.papers).stop = true;
        self.bell.notify_one();
    }
}

/// Keeps house until it is stopped.
pub fn run(shared: &Shared) {
    while round(shared) {
        let papers = lock(&shared.keeper.papers);
        if papers.wake || papers.stop || !papers.sealed.is_empty() {
            drop(papers);
            lock(&shared.keeper.papers).wake = false;
            continue;
        }
        let waited = shared.keeper.bell.wait_timeout(papers, ROUND);
        let (mut papers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        papers.wake = false;
    }
}

/// Looks at everything once; `false` after the last time.
pub fn round(shared: &Shared) -> bool {
    let (sealed, stop) = {
        let mut papers = lock(&shared.keeper.papers);
        let mut sealed = std::mem::take(&mut papers.unwritten);
        sealed.append(&mut papers.sealed);
        (sealed, papers.stop)
    };
    for (first, keys) in sealed {
        if let Err(error) = sidecar::write(&*shared.disk, &shared.dir, first, &shared.id, &keys) {
            // Tried again in the next round; a start reads the segment instead.
            tracing::warn!("cannot write the event ids of segment {first}: {error}");
            lock(&shared.keeper.papers).unwritten.push((first, keys));
        }
    }
    if stop {
        return false;
    }
    let made = make_spare(shared);
    if made.is_ok() {
        // Ready again before the next event comes: where a balancer asks, none would come.
        shared.reopen();
    }
    // A disk that fails has no more room without what is kept on it.
    retire(shared, matches!(made, Err(NoSpare::Room)));
    true
}

/// Why there is no other segment.
enum NoSpare {
    /// No room, in the quota or on the disk.
    Room,
    /// Something else.
    Failed,
}

/// Makes the next segment, if there is none and the quota has room.
fn make_spare(shared: &Shared) -> Result<(), NoSpare> {
    let (made, zeros) = {
        let mut papers = lock(&shared.keeper.papers);
        if papers.spare.is_some() {
            return Ok(());
        }
        // A name of its own: the writer may not have renamed the last one yet.
        papers.made += 1;
        (papers.made, if papers.sync_bytes < LARGE_SYNC { Zeros::Written } else { Zeros::Reserved })
    };
    let bytes = shared.settings.segment_bytes;
    let room = |shared: &Shared| shared.bytes() + bytes <= shared.settings.max_bytes;
    if !room(shared) {
        return Err(NoSpare::Room);
    }
    let path = shared.dir.join("journal").join(format!("spare-{made}.tmp"));
    let made = segment::has_room(&*shared.disk, &shared.dir, bytes)
        .and_then(|()| segment::make_zeroed(&*shared.disk, &path, bytes, zeros));
    match made {
        // The writer may have made a segment of its own meanwhile.
        Ok(_) if !room(shared) => {
            let _ = shared.disk.remove(&path);
            Err(NoSpare::Room)
        }
        Ok(file) => {
            lock(&shared.keeper.papers).spare = Some(Spare { path, file, bytes });
            Ok(())
        }
        Err(error) => {
            tracing::warn!("cannot make the next segment: {error}");
            Err(if is_full(&error) { NoSpare::Room } else { NoSpare::Failed })
        }
    }
}

/// Removes the oldest segments that every cursor has passed: those past retention, and one for each that `crowded` needs.
fn retire(shared: &Shared, crowded: bool) {
    let now_ms = (shared.clock)();
    let retention_ms = u64::try_from(shared.settings.retention.as_millis()).unwrap_or(u64::MAX);
    let unwritten: Vec<u64> = {
        let papers = lock(&shared.keeper.papers);
        papers.unwritten.iter().chain(&papers.sealed).map(|(first, _)| *first).collect()
    };
    let mut needed = usize::from(crowded);
    let free = |segment: &Segment, slowest: u64, needed: usize| {
        let Some(sealed_ms) = segment.sealed_ms() else { return false };
        let kept_ms = now_ms.saturating_sub(sealed_ms);
        // Ids are remembered for longer than their segment is kept: they are written down first.
        let forgotten = unwritten.contains(&segment.first);
        segment.last() <= slowest && !forgotten && (kept_ms > retention_ms || needed > 0)
    };
    let mut gone = Vec::new();
    {
        let mut segments = shared.segments.write().unwrap_or_else(PoisonError::into_inner);
        // Not before: whoever makes a cursor and then looks what is kept finds it kept, or gone.
        let slowest = lock(&shared.cursors).slowest().unwrap_or(u64::MAX);
        while segments.first().is_some_and(|segment| free(segment, slowest, needed)) {
            needed = needed.saturating_sub(1);
            gone.push(segments.remove(0));
        }
    }
    let kept = gone.iter().position(|segment| match shared.disk.remove(&segment.path) {
        Ok(()) => {
            tracing::debug!("segment {} removed", segment.path.display());
            false
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            tracing::error!("cannot remove segment {}: {error}", segment.path.display());
            true
        }
    });
    // Oldest first, without a gap: it is tried again in the next round.
    let kept = gone.split_off(kept.unwrap_or(gone.len()));
    shared.segments.write().unwrap_or_else(PoisonError::into_inner).splice(0..0, kept);
    if !gone.is_empty() {
        shared.metrics.journal_bytes.set(shared.bytes() as i64);
        expire_sidecars(shared, now_ms);
        if crowded {
            shared.keeper.wake();
        }
    }
}

impl Journal {
    /// Remembers keys for at least `window` from now on; those that were forgotten before stay so.
    pub fn widen_dedup(&self, window: Duration) {
        self.shared.window_s.fetch_max(window.as_secs(), Ordering::Relaxed);
    }
}

impl Shared {
    /// Longest window of any source, seconds.
    pub(super) fn window_s(&self) -> u64 {
        self.window_s.load(Ordering::Relaxed)
    }
}

/// Removes the sidecars of segments that are gone, oldest first, as long as their keys are all older than the window
/// or more than are remembered.
fn expire_sidecars(shared: &Shared, now_ms: u64) {
    let oldest = shared.before_oldest();
    let window_s = shared.window_s();
    let (many, needed) = sidecar::newest(&*shared.disk, &shared.dir, shared.max_keys);
    let too_many = many.into_iter().map(|first| (first, true));
    for (first, too_many) in too_many.chain(needed.into_iter().map(|first| (first, false))) {
        let expired = || {
            let newest_s = sidecar::read(&*shared.disk, &shared.dir, first, &shared.id)
                .and_then(|keys| keys.iter().map(|&(_, time_s)| time_s).max());
            u64::from(newest_s.unwrap_or(0)).saturating_add(window_s) < now_ms / 1000
        };
        if first > oldest || !(too_many || expired()) {
            break;
        }
        let _ = shared.disk.remove(&sidecar::path(&shared.dir, first));
    }
}
