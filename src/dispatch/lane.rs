//! One backend's way through the journal.

mod intake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use intake::Feed;

use super::again::Again;
use super::figures::Figures;
use super::replay::Replays;
use super::retry::{self, BatchSize};
use super::status::Status;
use super::{DeadLetters, Ending, Options, cursor_name};
use crate::backend::{Backend, Failure, Limits, Outcome, Reason, Session};
use crate::event::Stored;
use crate::event::route::Routes;
use crate::journal::{Cursor, Journal};

/// How much longer than its own limit a backend is given before the lane gives the session up.
pub(super) const SLACK: Duration = Duration::from_secs(2);

/// How often a cursor is written under load whose broker keeps it as well: that one is right after a kill. Each write wakes the
/// journal's writer between two batches of events.
const SAVE_EVERY: Duration = Duration::from_millis(100);

/// Reads, publishes, decides, moves the cursor.
pub struct Lane {
    status: Arc<Status>,
    backend: Arc<dyn Backend>,
    limits: Limits,
    journal: Journal,
    /// `None` while a batch is read.
    feed: Option<Feed>,
    routes: Arc<ArcSwap<Routes>>,
    dead: DeadLetters,
    again: Again,
    cursor: Cursor,
    /// Read and routed here, not decided yet, in order.
    pending: Vec<Stored>,
    /// Everything up to here is in `pending` or decided.
    upto: u64,
    saved: Option<oneshot::Receiver<()>>,
    /// When the cursor was last given to be written.
    saved_at: Instant,
    /// Whether it has moved since.
    unsaved: bool,
    attempts: u32,
    batch_size: BatchSize,
    /// Whether the next batch is given time to grow.
    grows: bool,
    figures: Figures,
    ending: Ending,
}

impl Lane {
    pub fn new(
        options: &Options,
        replays: &Replays,
        status: Arc<Status>,
        backend: Arc<dyn Backend>,
        cursor: Cursor,
        ending: Ending,
    ) -> Self {
        let figures = Figures::new(&options.metrics, &status.name);
        let limits = backend.limits();
        Self {
            limits,
            again: Again::new(status.name.clone(), replays.clone(), options.journal.clone(), limits),
            feed: Some(Feed::Here(options.journal.reader(cursor.decided))),
            journal: options.journal.clone(),
            routes: options.routes.clone(),
            dead: options.dead.clone(),
            status,
            backend,
            cursor,
            pending: Vec::new(),
            upto: cursor.decided,
            saved: None,
            saved_at: Instant::now(),
            unsaved: false,
            attempts: 0,
            batch_size: BatchSize::new(limits),
            grows: false,
            figures,
            ending,
        }
    }

    /// Works until it is told to drain and has nothing left that its broker would take.
    pub async fn run(mut self) {
        let mut session: Option<Box<dyn Session>> = None;
        while !self.ending.now.is_cancelled() {
            if session.is_none() {
                self.look_ahead().await;
                match self.connect().await {
                    Some(Ok(connected)) => {
                        self.resume(connected.as_ref());
                        session = Some(connected);
                    }
                    Some(Err(failure)) => {
                        self.figures.failure(failure.reason);
                        self.failed(&failure);
                        if !self.rest(failure.reason).await {
                            break;
                        }
                        continue;
                    }
                    None => break,
                }
            }
            if self.pending.is_empty() && !self.fill().await {
                break;
            }
            if !self.unpaused().await {
                break;
            }
            let Some(connected) = session.as_mut() else { continue };
            let failed = match self.pending.is_empty() {
                true => None,
                false => self.publish(connected.as_mut()).await,
            };
            if failed.is_none() && self.again.is_due() && self.replay(connected.as_mut()).await {
                session = None;
            }
            if let Some(reason) = failed {
                if retry::reconnects(reason) {
                    session = None;
                }
                if !self.rest(reason).await {
                    break;
                }
            }
        }
        self.settled().await;
        self.figures.up.set(0);
    }

    /// Connects within the backend's limit; `None`: told to drain meanwhile, with nothing reached.
    async fn connect(&self) -> Option<Result<Box<dyn Session>, Failure>> {
        let limited = tokio::time::timeout(self.limits.timeout + SLACK, self.backend.connect());
        tokio::select! {
            biased;
            result = limited => Some(result.unwrap_or_else(|_| Err(Failure::new(Reason::Timeout, "no answer to the connection")))),
            () = self.ending.drained.cancelled(), if self.attempts > 0 || !self.is_behind() => None,
        }
    }

    /// Where a broker knows what it has, it is right: what stands there is published, what is missing there is not.
    fn resume(&mut self, session: &dyn Session) {
        if self.status.up() {
            tracing::info!("backend {} is connected", self.status.name);
        }
        self.figures.up.set(1);
        match session.published() {
            Some(there) if there < self.cursor.published => {
                tracing::warn!(
                    "backend {} lost events: it has up to {there}, {} were confirmed; they are published again",
                    self.status.name,
                    self.cursor.published
                );
                self.cursor = Cursor { decided: there, published: there };
                self.restart_from(there);
                // At once: the journal must keep what is published again.
                self.moved();
            }
            Some(there) if there > self.cursor.decided && self.status.is_foreign(there) => tracing::error!(
                "backend {} says that it has events up to {there}, which this journal has not given to it: the journal was put \
                 back to an earlier state, or is a copy of one in use; going on after {}",
                self.status.name,
                self.cursor.decided
            ),
            Some(there) if there > self.cursor.decided => {
                self.pending.retain(|stored| stored.sequence > there);
                if self.upto < there {
                    self.restart_from(there);
                }
                // What was read behind it and is not routed here is decided as well.
                self.cursor = Cursor { decided: self.decided(), published: there };
                self.moved();
            }
            None if self.limits.keeps_cursor && self.cursor.published > 0 => tracing::warn!(
                "backend {} does not know what it was sent: its cursor is missing; going on after {}, replay what is missing there",
                self.status.name,
                self.cursor.decided
            ),
            _ => {}
        }
    }

    /// Up to where nothing waits, of what was read.
    fn decided(&self) -> u64 {
        self.pending.first().map_or(self.upto, |stored| stored.sequence - 1)
    }

    fn restart_from(&mut self, after: u64) {
        self.pending.clear();
        self.upto = after;
        self.status.moved(after, 0);
        // What is being read ahead is of another place.
        self.feed = Some(Feed::Here(self.journal.reader(after)));
    }

    async fn unpaused(&mut self) -> bool {
        let mut paused = self.status.paused();
        if *paused.borrow() {
            self.save();
        }
        tokio::select! {
            biased;
            resumed = paused.wait_for(|paused| !paused) => resumed.is_ok(),
            () = self.ending.drained.cancelled() => false,
        }
    }

    /// Publishes what is pending; the reason, if some of it must be tried again.
    async fn publish(&mut self, session: &mut dyn Session) -> Option<Reason> {
        if !self.limits.keeps_cursor {
            // A kill may double at most the batch in flight: the one before must be written down first.
            self.settled().await;
        }
        let bytes = self.pending.iter().map(|stored| stored.envelope.body.len()).sum();
        self.grows = intake::grows(self.pending.len(), bytes, self.limits);
        let batch = self.batch_size.of(&self.pending);
        let sent = batch.len();
        if let Some(last) = batch.last() {
            // Before the call: without its answer the broker may have them.
            self.status.gives(last.sequence);
        }
        let start = Instant::now();
        let published = tokio::time::timeout(self.limits.timeout + SLACK, session.publish(batch)).await;
        let took = start.elapsed();
        self.figures.publish_seconds.observe(took.as_secs_f64());
        let mut outcomes = published.unwrap_or_else(|_| {
            let failure = Failure::new(Reason::Timeout, "no answer to a publish");
            vec![Outcome::Retry(failure); sent]
        });
        outcomes.resize(sent, Outcome::Retry(Failure::new(Reason::Refused, "the backend gave no outcome")));
        outcomes.resize(self.pending.len(), Outcome::Later);
        let failed = self.decide(outcomes, session.published(), took).await;
        self.batch_size.learn(sent, failed, took);
        failed
    }

    /// Publishes a batch of what is wanted again; whether the session is of no more use.
    async fn replay(&mut self, session: &mut dyn Session) -> bool {
        let turn = self.again.turn(session).await;
        self.figures.published.inc_by(turn.delivered);
        self.status.moved(self.cursor.decided, turn.delivered);
        turn.failures.into_iter().for_each(|reason| self.figures.failure(reason));
        turn.lost
    }

    /// Takes the outcomes in: delivered and dead events are decided, the others stay pending. `there`: what the broker now
    /// knows as published.
    async fn decide(&mut self, outcomes: Vec<Outcome>, there: Option<u64>, took: Duration) -> Option<Reason> {
        let mut left = Vec::new();
        let mut failure = None;
        let (mut delivered, mut buried) = (0, false);
        let (mut run, now_ms) = (None, self.journal.now_ms());
        let pending = std::mem::take(&mut self.pending);
        for (stored, outcome) in pending.iter().zip(outcomes) {
            if outcome != Outcome::Delivered
                && let Some((first, last)) = run.take()
            {
                self.status.confirmed(first, last, now_ms);
            }
            match outcome {
                Outcome::Delivered => {
                    self.figures.decided(stored, took, None);
                    run = Some((run.map_or(stored.sequence, |(first, _)| first), stored.sequence));
                    self.cursor.published = self.cursor.published.max(stored.sequence);
                    delivered += 1;
                }
                Outcome::Retry(why) => {
                    self.figures.failure(why.reason);
                    failure.get_or_insert(why);
                    left.push(stored.clone());
                }
                Outcome::Later => left.push(stored.clone()),
                Outcome::Reject(why) => {
                    self.figures.failure(why.reason);
                    if let Err(error) = self.bury(stored, &why).await {
                        tracing::error!("backend {}: cannot keep a dead letter: {error}", self.status.name);
                        failure.get_or_insert(why);
                        left.push(stored.clone());
                    } else {
                        self.figures.decided(stored, took, Some(why.reason));
                        buried = true;
                    }
                }
            }
        }
        if let Some((first, last)) = run {
            self.status.confirmed(first, last, now_ms);
        }
        self.figures.published.inc_by(delivered);
        if delivered > 0 && self.limits.keeps_cursor {
            // It stands before an event that failed between others: found there later, it has lost nothing.
            self.cursor.published = self.cursor.published.min(there.unwrap_or(0));
        }
        self.pending = left;
        self.cursor.decided = self.decided();
        self.status.moved(self.cursor.decided, delivered);
        self.status.waits(self.pending.first());
        self.moved();
        if buried {
            // Only the journal knows that it is decided.
            self.save();
        }
        if buried && failure.as_ref().is_some_and(|failure| failure.reason == Reason::Refused) {
            // What came behind the dead letter was only held back until that was kept.
            return None;
        }
        match &failure {
            Some(failure) => self.failed(failure),
            None => {
                self.attempts = 0;
                self.status.up();
                self.figures.up.set(1);
            }
        }
        failure.map(|failure| failure.reason)
    }

    async fn bury(&self, stored: &Stored, why: &Failure) -> std::io::Result<()> {
        let (dead, name, attempts) = (self.dead.clone(), self.status.name.clone(), self.attempts + 1);
        let (stored, why, now_ms) = (stored.clone(), why.clone(), self.journal.now_ms());
        let sequence = stored.sequence;
        let kept = tokio::task::spawn_blocking({
            let (name, why) = (name.clone(), why.clone());
            move || dead.keep(&name, &stored, &why, attempts, now_ms)
        });
        kept.await.map_err(std::io::Error::other)??;
        tracing::error!("backend {name} cannot take event {sequence}: {why}; it is a dead letter");
        Ok(())
    }

    fn failed(&mut self, failure: &Failure) {
        self.save();
        self.attempts = self.attempts.saturating_add(1);
        self.figures.up.set(0);
        if self.status.down(failure, self.journal.now_ms()) {
            tracing::warn!("backend {}: {failure}; events wait in the journal", self.status.name);
        }
    }

    /// Waits before the next try; `false`: told to drain, and the broker takes nothing.
    async fn rest(&self, reason: Reason) -> bool {
        let random = getrandom::u32().unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            () = self.ending.drained.cancelled() => false,
            () = tokio::time::sleep(retry::delay(self.attempts, reason, random)) => true,
        }
    }

    /// The cursor has moved: whoever looks sees it, and it is written, sooner or later.
    fn moved(&mut self) {
        self.status.moved(self.cursor.decided, 0);
        self.journal.move_cursor(&cursor_name(&self.status.name), self.cursor);
        self.unsaved = true;
        if !self.limits.keeps_cursor || self.saved_at.elapsed() >= SAVE_EVERY {
            self.save();
        }
    }

    /// Has the cursor written, if it has moved.
    fn save(&mut self) {
        if std::mem::take(&mut self.unsaved) {
            self.saved = Some(self.journal.save_cursors());
            self.saved_at = Instant::now();
        }
    }

    /// Waits until the cursor is written.
    async fn settled(&mut self) {
        self.save();
        if let Some(saved) = self.saved.take() {
            // The journal is gone only when the process ends.
            let _ = saved.await;
        }
    }
}

#[cfg(test)]
mod tests;
