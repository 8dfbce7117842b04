//! What the threads of the journal and its readers share.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use super::{Clock, State, cursors, disk, keeper, queue, reader, ring, segment, settings};
use crate::telemetry::Metrics;

/// What the threads and the readers share.
pub struct Shared {
    pub(super) disk: Box<dyn disk::Disk>,
    pub(super) dir: PathBuf,
    pub(super) id: [u8; 16],
    pub(super) settings: settings::Settings,
    /// Longest window of any source, seconds.
    pub(super) window_s: AtomicU64,
    /// Keys that are remembered at most.
    pub(super) max_keys: u64,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) queue: queue::Queue,
    /// Sequence of the last event that is on disk and in memory.
    pub(super) tail: watch::Sender<u64>,
    pub(super) state: watch::Sender<State>,
    pub(super) ring: RwLock<ring::Ring>,
    /// In order; the last one is written to.
    pub(super) segments: RwLock<Vec<Arc<segment::Segment>>>,
    pub(super) cursors: Mutex<cursors::Cursors>,
    pub(super) damaged: Mutex<reader::Damaged>,
    pub(super) keeper: keeper::Desk,
}

impl Shared {
    pub(super) fn segments(&self) -> Vec<Arc<segment::Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// First sequence of the oldest segment.
    pub(super) fn first(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(1, |segment| segment.first)
    }

    pub(super) fn before_oldest(&self) -> u64 {
        self.first().saturating_sub(1)
    }

    pub(super) fn bytes(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().map(|segment| segment.capacity()).sum()
    }

    pub(super) fn set_state(&self, state: State) {
        self.change_state(state, |_| true);
    }

    /// Takes no event any more, and answers those that wait.
    pub(super) fn give_up(&self, why: &str) {
        self.set_state(State::Closed(why.to_owned()));
        self.queue.stop();
        drop(self.queue.take());
    }

    /// There is room again; a journal that is closed stays so.
    pub(super) fn reopen(&self) {
        self.change_state(State::Open, |current| matches!(current, State::Full(_)));
    }

    fn change_state(&self, state: State, from: impl FnOnce(&State) -> bool) {
        self.state.send_if_modified(|current| {
            let changed = *current != state && from(current);
            if changed {
                match &state {
                    State::Open => tracing::info!("journal takes events again"),
                    State::Full(why) => tracing::error!("journal is full: {why}"),
                    State::Closed(why) => tracing::error!("journal is closed: {why}"),
                }
                self.metrics.journal_open.set(i64::from(state == State::Open));
                *current = state;
            }
            changed
        });
    }
}
