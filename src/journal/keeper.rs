//! Housekeeping off the path of an acknowledgement: the next segment made ahead of need, keys of sealed
//! segments written down, segments that nobody needs removed.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::segment::{self, Segment};
use super::sidecar::{self, Keys};
use super::{Journal, Shared, State, lock};

/// How often retention is looked at when nothing happens.
const ROUND: Duration = Duration::from_secs(1);

/// A file of zeros, ready to become a segment.
pub struct Spare {
    /// Where it is.
    pub path: PathBuf,
    /// Open for writing.
    pub file: File,
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
    sealed: Vec<(u64, Keys)>,
    wake: bool,
    stop: bool,
}

impl Desk {
    /// The segment made ahead, if there is one.
    pub fn take_spare(&self) -> Option<Spare> {
        lock(&self.papers).spare.take()
    }

    /// The writer left this segment with these keys.
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
    loop {
        let (sealed, stop) = {
            let mut papers = lock(&shared.keeper.papers);
            (std::mem::take(&mut papers.sealed), papers.stop)
        };
        for (first, keys) in sealed {
            if let Err(error) = sidecar::write(&shared.dir, first, &shared.id, &keys) {
                // A start reads the segment instead.
                tracing::warn!("cannot write the event ids of segment {first}: {error}");
            }
        }
        if stop {
            return;
        }
        let crowded = make_spare(shared).is_err();
        let full = matches!(*shared.state.borrow(), State::Full(_));
        if full && !crowded {
            // Ready again before the next event comes: where a balancer asks, none would come.
            shared.set_state(State::Open);
        }
        retire(shared, crowded);
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

/// There is no room for another segment.
struct NoRoom;

/// Makes the next segment, if there is none and the quota has room.
fn make_spare(shared: &Shared) -> Result<(), NoRoom> {
    let made = {
        let mut papers = lock(&shared.keeper.papers);
        if papers.spare.is_some() {
            return Ok(());
        }
        // A name of its own: the writer may not have renamed the last one yet.
        papers.made += 1;
        papers.made
    };
    let bytes = shared.settings.segment_bytes;
    let room = |shared: &Shared| shared.bytes() + bytes <= shared.settings.max_bytes;
    if !room(shared) {
        return Err(NoRoom);
    }
    let path = shared.dir.join("journal").join(format!("spare-{made}.tmp"));
    let made = segment::has_room(&shared.dir, bytes).and_then(|()| segment::make_zeroed(&path, bytes));
    match made {
        // The writer may have made a segment of its own meanwhile.
        Ok(_) if !room(shared) => {
            let _ = std::fs::remove_file(&path);
            Err(NoRoom)
        }
        Ok(file) => {
            lock(&shared.keeper.papers).spare = Some(Spare { path, file, bytes });
            Ok(())
        }
        Err(error) => {
            tracing::warn!("cannot make the next segment: {error}");
            Err(NoRoom)
        }
    }
}

/// Removes the oldest segments that every cursor has passed: those past retention, and one for each that `crowded` needs.
fn retire(shared: &Shared, crowded: bool) {
    let now_ms = (shared.clock)();
    let slowest = lock(&shared.cursors).slowest().unwrap_or(u64::MAX);
    let retention_ms = u64::try_from(shared.settings.retention.as_millis()).unwrap_or(u64::MAX);
    let mut needed = usize::from(crowded);
    let free = |segment: &Segment, needed: usize| {
        let Some(sealed_ms) = segment.sealed_ms() else { return false };
        let kept_ms = now_ms.saturating_sub(sealed_ms);
        segment.last() <= slowest && (kept_ms > retention_ms || needed > 0)
    };
    let mut gone = Vec::new();
    {
        let mut segments = shared.segments.write().unwrap_or_else(PoisonError::into_inner);
        while segments.first().is_some_and(|segment| free(segment, needed)) {
            needed = needed.saturating_sub(1);
            gone.push(segments.remove(0));
        }
    }
    for segment in &gone {
        match std::fs::remove_file(&segment.path) {
            Ok(()) => tracing::debug!("segment {} removed", segment.path.display()),
            Err(error) => tracing::error!("cannot remove segment {}: {error}", segment.path.display()),
        }
    }
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

/// Removes the sidecars of segments that are gone and whose keys are all older than the window.
fn expire_sidecars(shared: &Shared, now_ms: u64) {
    let oldest = shared.before_oldest();
    let window_s = shared.window_s();
    for first in sidecar::list(&shared.dir) {
        if first > oldest {
            break;
        }
        let newest_s =
            sidecar::read(&shared.dir, first, &shared.id).and_then(|keys| keys.last().map(|&(_, time_s)| time_s));
        if u64::from(newest_s.unwrap_or(0)).saturating_add(window_s) < now_ms / 1000 {
            let _ = std::fs::remove_file(sidecar::path(&shared.dir, first));
        }
    }
}
