//! How long to wait before a backend is tried again, and with how much.

use std::time::Duration;

use crate::backend::{Limits, Reason};
use crate::event::Stored;

const FIRST: Duration = Duration::from_millis(100);
/// So that the first delivery comes within 5 s of a broker's return.
const LONGEST: Duration = Duration::from_secs(3);
/// So that refused logins do not lock an account.
const LONGEST_UNAUTHORIZED: Duration = Duration::from_secs(30);

/// Wait before the next try after `attempt` failures in a row (from 1), with jitter: `random` is uniform.
pub fn delay(attempt: u32, reason: Reason, random: u32) -> Duration {
    let longest = if reason == Reason::Unauthorized { LONGEST_UNAUTHORIZED } else { LONGEST };
    let full = FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(longest);
    // Between half and all of it: many lanes or instances do not come back at the same moment.
    full / 2 + full.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

/// How many events go in a batch: fewer after each one that was not taken in time. On a slow link the same batch would not be taken
/// at the next try either.
pub struct BatchSize {
    most: usize,
    limits: Limits,
}

impl BatchSize {
    /// As many as `limits` allow.
    pub fn new(limits: Limits) -> Self {
        Self { most: limits.events, limits }
    }

    /// What goes of `batch`: from its start.
    pub fn of<'a>(&self, batch: &'a [Stored]) -> &'a [Stored] {
        &batch[..batch.len().min(self.most)]
    }

    /// `sent` events were published, or not, within this time.
    pub fn learn(&mut self, sent: usize, failed: Option<Reason>, took: Duration) {
        if failed == Some(Reason::Timeout) {
            self.most = sent.div_ceil(2);
        } else if took < self.limits.timeout / 4 {
            // Twice as many are taken in time as well.
            self.most = self.most.saturating_mul(2).min(self.limits.events);
        }
    }
}

/// Whether a failure says that the session is of no use any more.
pub fn reconnects(reason: Reason) -> bool {
    !matches!(reason, Reason::Throttled | Reason::Full | Reason::Unroutable | Reason::TooLarge | Reason::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attempt: u32, reason: Reason, between_ms: (u64, u64)) {
        assert_eq!(delay(attempt, reason, 0).as_millis() as u64, between_ms.0, "least of attempt {attempt}");
        assert_eq!(delay(attempt, reason, u32::MAX).as_millis() as u64, between_ms.1, "most of attempt {attempt}");
    }

    #[test]
    fn waits_grow_to_a_cap_that_meets_the_recovery_time() {
        check(1, Reason::Connection, (50, 100));
        check(2, Reason::Connection, (100, 200));
        check(6, Reason::Connection, (1500, 3000));
        check(u32::MAX, Reason::Timeout, (1500, 3000));
    }

    #[test]
    fn refused_logins_are_tried_rarely() {
        check(u32::MAX, Reason::Unauthorized, (15_000, 30_000));
    }
}
