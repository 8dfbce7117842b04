//! Ferries accepted events from the journal to the backends: one lane each, none in another's way.
//!
//! A lane reads the journal in order, publishes batches, and moves its cursor only over decided events:
//! delivered, dead, or not routed to it. What may heal is retried for ever; what cannot goes to the dead letters.
//! What somebody asks for again ([`Replays`]) travels beside that flow, and moves no cursor.
//!
//! Knows nothing of HTTP or of who sent an event.

mod again;
pub mod aside;
pub mod dead;
mod figures;
pub mod files;
mod lane;
pub mod replay;
pub mod retry;
pub mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use dead::DeadLetters;
pub use files::Id;
pub use replay::Replays;
pub use status::{Health, Status};

use crate::backend::{Backend, Failure, Reason};
use crate::event::BackendName;
use crate::event::route::Routes;
use crate::journal::{Cursor, Journal};
use crate::telemetry::Metrics;

/// Wait before a lane that panicked is started again.
const RESTART: Duration = Duration::from_secs(1);

/// What every lane uses.
#[derive(Clone)]
pub struct Options {
    /// Where events come from.
    pub journal: Journal,
    /// Which events go where; replaced by a reload, for every event read from then on.
    pub routes: Arc<ArcSwap<Routes>>,
    /// Where events go that a backend can never take.
    pub dead: DeadLetters,
    /// Figures.
    pub metrics: Metrics,
}

/// The running lanes.
pub struct Dispatch {
    lanes: Vec<Arc<Status>>,
    replays: Replays,
    /// Whether what is set aside is being kept.
    keeps_aside: AtomicBool,
    tasks: TaskTracker,
    ending: Ending,
    halt: CancellationToken,
}

/// How lanes are told to end.
#[derive(Debug, Clone, Default)]
struct Ending {
    /// Once nothing is left that the broker takes.
    drained: CancellationToken,
    /// With the batch in flight: whatever the broker has of it is decided.
    now: CancellationToken,
}

/// Runs a lane until it ends; one that panics is started again where its cursor stands, since nobody else
/// would deliver its events.
async fn supervise<F>(lane: impl Fn(Cursor) -> F, mut cursor: Cursor, journal: &Journal, status: &Status)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(error) = AbortOnDropHandle::new(tokio::spawn(lane(cursor))).await {
        tracing::error!("the lane of backend {} ended and is started again: {error}", status.name);
        let failure = Failure::new(Reason::Refused, "the lane panicked; it was started again");
        status.down(&failure, journal.now_ms());
        tokio::time::sleep(RESTART).await;
        cursor = journal.cursors().get(&cursor_name(&status.name)).copied().unwrap_or(cursor);
    }
}

/// Name of a backend's cursor in the journal.
pub fn cursor_name(backend: &BackendName) -> String {
    format!("backend:{backend}")
}

impl Dispatch {
    /// Registers a cursor for every backend, durably, and starts its lane.
    ///
    /// A backend that the journal does not know yet begins with the next event. A cursor of a backend that is not
    /// configured any more is dropped, since it would hold all later events back.
    pub async fn start(options: &Options, backends: Vec<(BackendName, Arc<dyn Backend>)>) -> Self {
        let known = options.journal.cursors();
        let tail = *options.journal.tail().borrow();
        for (name, cursor) in &known {
            let Some(backend) = name.strip_prefix("backend:") else { continue };
            if backends.iter().any(|(configured, _)| configured.as_str() == backend) {
                continue;
            }
            let left = tail.saturating_sub(cursor.decided);
            if left > 0 {
                tracing::warn!(
                    "backend {backend} is not configured any more: {left} events that it had not taken stay in the journal only"
                );
            }
            let _ = options.journal.drop_cursor(name).await;
        }
        let names: Vec<_> = backends.iter().map(|(name, _)| name.clone()).collect();
        // Blocks, while nothing else runs yet.
        let replays = Replays::open(&options.dead, &options.journal, &names);
        let tasks = TaskTracker::new();
        let (ending, halt) = (Ending::default(), CancellationToken::new());
        let mut lanes = Vec::new();
        for (name, backend) in backends {
            let cursor_name = cursor_name(&name);
            let cursor = match known.get(&cursor_name) {
                Some(cursor) => *cursor,
                None => {
                    let cursor = Cursor { decided: tail, published: 0 };
                    // Before the first event is accepted: a kill must not make the backend begin behind it.
                    let _ = options.journal.sync_cursor(&cursor_name, cursor).await;
                    cursor
                }
            };
            let status = Arc::new(Status::new(name, cursor.decided, tail));
            let lane = {
                let (parts, replays) = (options.clone(), replays.clone());
                let (status, ending) = (status.clone(), ending.clone());
                move |cursor| {
                    lane::Lane::new(&parts, &replays, status.clone(), backend.clone(), cursor, ending.clone()).run()
                }
            };
            let (journal, status_of_lane, halt) = (options.journal.clone(), status.clone(), halt.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = supervise(lane, cursor, &journal, &status_of_lane) => {}
                    () = halt.cancelled() => {}
                }
            });
            lanes.push(status);
        }
        tasks.close();
        Self { lanes, replays, keeps_aside: AtomicBool::new(false), tasks, ending, halt }
    }

    /// Keeps what sources set aside as dead letters from now on, durably once this returns. Where that is not `wanted`, only
    /// what an earlier configuration left is kept.
    pub async fn keep_aside(&self, options: &Options, wanted: bool) {
        let journal = &options.journal;
        // Once begun it lasts as long as the process: its cursor must not go, since a request that began with an earlier
        // configuration may still set something aside, and a later one may want it again.
        if self.keeps_aside.load(Ordering::Relaxed) || (!wanted && !aside::is_left(journal).await) {
            return;
        }
        self.keeps_aside.store(true, Ordering::Relaxed);
        let cursor = aside::register(journal).await;
        let keeping = aside::run(journal.clone(), options.dead.clone(), cursor, self.ending.drained.clone());
        let halt = self.halt.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = keeping => {}
                () = halt.cancelled() => {}
            }
        });
    }

    /// Keeps a place in the journal for each of the `configured` backends that has no lane yet, durably, so that its
    /// lane begins there at the next start; gives up the places of those that are not configured any more.
    pub async fn hold(&self, journal: &Journal, configured: &[&BackendName]) {
        let has_lane = |name: &str| self.lanes.iter().any(|lane| lane.name.as_str() == name);
        let known = journal.cursors();
        let held = known.keys().filter_map(|cursor| cursor.strip_prefix("backend:"));
        for name in held.filter(|name| !has_lane(name) && !configured.iter().any(|other| other.as_str() == *name)) {
            let _ = journal.drop_cursor(&format!("backend:{name}")).await;
        }
        for name in configured.iter().filter(|name| !has_lane(name.as_str()) && !known.contains_key(&cursor_name(name)))
        {
            let cursor = Cursor { decided: *journal.tail().borrow(), published: 0 };
            let _ = journal.sync_cursor(&cursor_name(name), cursor).await;
        }
    }

    /// All lanes, in the configuration's order.
    pub fn lanes(&self) -> &[Arc<Status>] {
        &self.lanes
    }

    /// What is to be published again.
    pub fn replays(&self) -> &Replays {
        &self.replays
    }

    /// Brings the figures of backlogs up to date; `now_ms` is Unix time in milliseconds.
    pub fn measure(&self, options: &Options, now_ms: u64) {
        let tail = *options.journal.tail().borrow();
        for lane in &self.lanes {
            let labels = crate::telemetry::metrics::backend(lane.name.as_str());
            options.metrics.backlog_events.get_or_create(&labels).set(lane.backlog(tail) as i64);
            let age_s = lane.age_ms(tail, now_ms) as f64 / 1000.0;
            options.metrics.backlog_age_seconds.get_or_create(&labels).set(age_s);
        }
    }

    /// Lets every lane publish what waits as long as its broker takes it, then finish the batch in flight, then ends them:
    /// within `patience` in all.
    pub async fn stop(&self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        for (token, until) in [(&self.ending.drained, deadline - patience / 2), (&self.ending.now, deadline)] {
            token.cancel();
            if tokio::time::timeout_at(until, self.tasks.wait()).await.is_ok() {
                return;
            }
        }
        self.halt.cancel();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests;
