//! When requests are due: at once (closed loop) or by the clock (open loop).
//!
//! In an open loop the due time of request `n` is fixed before the run, so the time that a late request
//! waited for a free connection counts as its latency: a slow server cannot hide behind a slow generator.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Longest sleep of the pacer, so that it sees a stop soon.
const NAP: Duration = Duration::from_millis(50);

/// Due times of an open loop.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Instant,
    /// Requests a second.
    rate: f64,
}

impl Schedule {
    /// Requests at `rate` a second from `start` on.
    pub fn new(start: Instant, rate: f64) -> Self {
        Self { start, rate }
    }

    /// When request `n` (from 0) is due.
    pub fn due(&self, n: u64) -> Instant {
        self.start + Duration::from_secs_f64(n as f64 / self.rate)
    }

    /// How many requests are due at `now`.
    pub fn due_by(&self, now: Instant) -> u64 {
        match now.checked_duration_since(self.start) {
            None => 0,
            Some(since) => {
                // The division is the inverse of `due` only up to rounding.
                let guess = (since.as_secs_f64() * self.rate) as u64;
                (guess..=guess + 2).find(|&n| self.due(n) > now).unwrap_or(guess)
            }
        }
    }
}

/// The number of a request, and since when its latency counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// From 0, never given twice.
    pub number: u64,
    /// Due time; `None` in a closed loop.
    pub due: Option<Instant>,
}

/// Gives out tickets until the run is over.
pub struct Pace {
    schedule: Option<Schedule>,
    count: u64,
    deadline: Option<Instant>,
    next: AtomicU64,
    released: AtomicU64,
    free: Semaphore,
    stopped: AtomicBool,
}

impl Pace {
    /// At most `count` tickets, none after `deadline`, by `schedule` if there is one.
    pub fn new(schedule: Option<Schedule>, count: Option<u64>, deadline: Option<Instant>) -> Self {
        Self {
            schedule,
            count: count.unwrap_or(u64::MAX),
            deadline,
            next: AtomicU64::new(0),
            released: AtomicU64::new(0),
            free: Semaphore::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// The next ticket, once it is due; `None` when the run is over.
    pub async fn next(&self) -> Option<Ticket> {
        if self.over() {
            return None;
        }
        if self.schedule.is_some() {
            self.free.acquire().await.ok()?.forget();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then(|| Ticket { number, due: self.schedule.map(|schedule| schedule.due(number)) })
    }

    /// Whether no further ticket is given.
    pub fn over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
            || self.next.load(Ordering::Relaxed) >= self.count
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Ends the run: requests in flight are finished, no new ones begin.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.free.close();
    }

    /// Requests that were due but had no connection free for them before the run ended.
    pub fn unsent(&self) -> u64 {
        self.released.load(Ordering::Relaxed).saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Releases tickets as they fall due, until the run is over. For a thread of its own: tokio's timers tick
    /// in milliseconds, which would show as latency.
    pub fn release(&self, schedule: Schedule) {
        let mut released = 0;
        while released < self.count && !self.over() {
            let now = Instant::now();
            let due = schedule.due_by(now).min(self.count);
            if due > released {
                self.released.store(due, Ordering::Relaxed);
                self.free.add_permits((due - released) as usize);
                released = due;
            }
            let wake = self.deadline.map_or(schedule.due(released), |deadline| deadline.min(schedule.due(released)));
            std::thread::sleep(wake.saturating_duration_since(now).min(NAP));
        }
        if let Some(deadline) = self.deadline.filter(|_| !self.stopped.load(Ordering::Relaxed)) {
            // This thread may have slept past the end: what fell due before it counts all the same.
            self.released.store(schedule.due_by(deadline).min(self.count), Ordering::Relaxed);
        }
        if released >= self.count {
            // Every worker that still waits wakes, and finds that nothing is left.
            self.free.add_permits(Semaphore::MAX_PERMITS / 2);
        } else {
            self.free.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn requests_are_due_at_even_distances_and_counted_as_due_from_that_instant_on() {
        let start = Instant::now();
        for rate in [0.5, 3.0, 1_000.0, 7_777.7] {
            let schedule = Schedule::new(start, rate);
            for n in [0, 1, 2, 999, 123_456] {
                assert_eq!(schedule.due_by(schedule.due(n)), n + 1, "request {n} at {rate}/s");
                assert_eq!(schedule.due_by(schedule.due(n) - Duration::from_nanos(1)), n, "before {n} at {rate}/s");
            }
        }
        assert_eq!(Schedule::new(start, 2.0).due(3), start + Duration::from_millis(1_500));
        assert_eq!(Schedule::new(start + NAP, 2.0).due_by(start), 0);
    }

    #[tokio::test]
    async fn a_closed_loop_gives_each_number_once_and_then_ends() {
        let pace = Pace::new(None, Some(3), None);
        for number in 0..3 {
            assert_eq!(pace.next().await, Some(Ticket { number, due: None }));
        }
        assert_eq!(pace.next().await, None);
        assert!(pace.over());
    }

    #[tokio::test]
    async fn no_ticket_is_given_past_the_deadline_or_after_a_stop() {
        let past = Pace::new(None, None, Some(Instant::now()));
        assert_eq!(past.next().await, None);
        let stopped = Pace::new(None, None, None);
        assert!(stopped.next().await.is_some());
        stopped.stop();
        assert_eq!(stopped.next().await, None);
    }

    #[tokio::test]
    async fn an_open_loop_keeps_to_its_schedule_whoever_is_late() {
        let schedule = Schedule::new(Instant::now(), 2_000.0);
        let pace = Arc::new(Pace::new(Some(schedule), Some(20), None));
        let pacer = {
            let pace = pace.clone();
            std::thread::spawn(move || pace.release(schedule))
        };
        for number in 0..20 {
            let ticket = pace.next().await.unwrap();
            assert_eq!(ticket, Ticket { number, due: Some(schedule.due(number)) });
            assert!(Instant::now() >= schedule.due(number), "request {number} left before it was due");
        }
        assert_eq!(pace.next().await, None);
        pacer.join().unwrap();
        assert_eq!(pace.unsent(), 0);
    }

    #[tokio::test]
    async fn requests_that_were_due_but_found_no_connection_are_counted() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 1_000.0);
        let pace = Pace::new(Some(schedule), None, Some(start + Duration::from_micros(20_500)));
        pace.release(schedule);
        assert_eq!(pace.unsent(), 21);
        assert_eq!(pace.next().await, None);
    }
}
