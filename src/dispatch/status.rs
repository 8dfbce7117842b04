//! What a lane shows of itself to an operator.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::backend::{Failure, Reason};
use crate::event::{BackendName, Stored};

/// Whether a broker takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not reached yet.
    Connecting,
    /// Reached, and the last publish went through.
    Up,
    /// The last try failed.
    Down,
}

impl Health {
    /// One word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Runs of events whose confirmation is remembered; one is a batch, where nothing in it fails.
const RUNS: usize = 4096;

/// Neighbouring events of the lane that were confirmed at once.
struct Run {
    first: u64,
    last: u64,
    at_ms: u64,
}

/// A lane's state, shared with the admin listener.
pub struct Status {
    /// The backend.
    pub name: BackendName,
    decided: AtomicU64,
    published: AtomicU64,
    /// Up to where the broker may have events of this journal.
    given: AtomicU64,
    /// Where it said that it stands and could not, if it did.
    foreign: AtomicU64,
    oldest_ms: AtomicU64,
    paused: watch::Sender<bool>,
    inner: Mutex<Inner>,
    /// The newest last.
    confirmed: Mutex<VecDeque<Run>>,
}

struct Inner {
    health: Health,
    error: Option<(Failure, u64)>,
    attempts: u32,
}

impl Status {
    /// A lane that stands at `decided`; what earlier processes gave to its broker ends at `tail` at the latest.
    pub fn new(name: BackendName, decided: u64, tail: u64) -> Self {
        Self {
            name,
            decided: decided.into(),
            published: 0.into(),
            given: tail.into(),
            foreign: 0.into(),
            oldest_ms: 0.into(),
            paused: watch::Sender::new(false),
            inner: Mutex::new(Inner { health: Health::Connecting, error: None, attempts: 0 }),
            confirmed: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the broker takes events.
    pub fn health(&self) -> Health {
        self.inner().health
    }

    /// The last failure and when, Unix time in milliseconds; kept after it healed.
    pub fn last_error(&self) -> Option<(Failure, u64)> {
        self.inner().error.clone()
    }

    /// Tries in a row that failed, up to now.
    pub fn attempts(&self) -> u32 {
        self.inner().attempts
    }

    /// Events that the lane has not decided yet, the journal ending at `tail`.
    pub fn backlog(&self, tail: u64) -> u64 {
        tail.saturating_sub(self.decided())
    }

    /// Age of the oldest of them, milliseconds; 0 if there is none.
    pub fn age_ms(&self, tail: u64, now_ms: u64) -> u64 {
        match self.oldest_ms.load(Ordering::Relaxed) {
            0 => 0,
            _ if self.backlog(tail) == 0 => 0,
            oldest_ms => now_ms.saturating_sub(oldest_ms),
        }
    }

    /// Every event up to this position is decided.
    pub fn decided(&self) -> u64 {
        self.decided.load(Ordering::Relaxed)
    }

    /// When the broker confirmed the event at this position, Unix time in milliseconds; `None` where that is long ago, or
    /// was another process. Only of events that go to this backend.
    pub fn confirmed_ms(&self, sequence: u64) -> Option<u64> {
        let runs = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().rev().find(|run| (run.first..=run.last).contains(&sequence)).map(|run| run.at_ms)
    }

    /// Events published since the start of the process.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Whether an operator stopped it.
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Stops the lane before its next batch, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    pub(super) fn paused(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    pub(super) fn moved(&self, decided: u64, published: u64) {
        self.decided.store(decided, Ordering::Relaxed);
        self.published.fetch_add(published, Ordering::Relaxed);
    }

    /// The lane is about to publish events up to `last`.
    pub(super) fn gives(&self, last: u64) {
        self.given.fetch_max(last, Ordering::Relaxed);
    }

    /// Whether a broker that says that it has events up to `there` cannot have them from this journal.
    ///
    /// What was foreign once stays so, though positions grow to it while the broker takes nothing. Only a batch that ends just
    /// there and whose answer is lost is published twice for that.
    pub(super) fn is_foreign(&self, there: u64) -> bool {
        let foreign = there > self.given.load(Ordering::Relaxed) || there == self.foreign.load(Ordering::Relaxed);
        if foreign {
            self.foreign.store(there, Ordering::Relaxed);
        }
        foreign
    }

    /// The broker has confirmed the lane's events from `first` to `last`.
    pub(super) fn confirmed(&self, first: u64, last: u64, at_ms: u64) {
        let mut runs = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() == RUNS {
            runs.pop_front();
        }
        runs.push_back(Run { first, last, at_ms });
    }

    /// `oldest`: the first event that waits, if it is known.
    pub(super) fn waits(&self, oldest: Option<&Stored>) {
        let parse = |stored: &Stored| {
            let format = &time::format_description::well_known::Rfc3339;
            let time = time::OffsetDateTime::parse(&stored.envelope.recorded_time, format).ok()?;
            u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
        };
        self.oldest_ms.store(oldest.and_then(parse).unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether the health changed.
    pub(super) fn up(&self) -> bool {
        let mut inner = self.inner();
        inner.attempts = 0;
        std::mem::replace(&mut inner.health, Health::Up) != Health::Up
    }

    /// Whether the health or the class of the failure changed.
    pub(super) fn down(&self, failure: &Failure, now_ms: u64) -> bool {
        let mut inner = self.inner();
        let before: Option<Reason> = inner.error.as_ref().map(|(failure, _)| failure.reason);
        let changed = inner.health != Health::Down || before != Some(failure.reason);
        inner.health = Health::Down;
        inner.attempts = inner.attempts.saturating_add(1);
        inner.error = Some((failure.clone(), now_ms));
        changed
    }
}
