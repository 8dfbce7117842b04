//! What is known of the URLs of keys, and who names those of which nothing is known.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Asker, Found};

/// How long a URL that gave no key is taken to have none.
pub const NOTHING: Duration = Duration::from_secs(60);
/// Most fetches within [`NOTHING`] of URLs that no authentic request has named, and about as many of these are remembered:
/// anybody can make them up.
pub const STRANGE: usize = 1024;
/// Most of them for one address: who makes URLs up uses up his own.
pub const STRANGE_EACH: usize = 64;

/// What is known of one URL.
pub struct Slot {
    /// Who waits for the fetch in progress; `None`: none is.
    pub waiting: Option<Vec<oneshot::Sender<Found>>>,
    /// How the last one ended, and when.
    pub last: Option<(Found, Instant)>,
    /// When it is fetched again by itself; only for URLs that gave keys, and the one that all requests need. Keys that
    /// nobody has proven are thrown away then instead.
    pub due: Option<Instant>,
    /// When a request had it fetched last.
    pub named: Option<Instant>,
}

impl Slot {
    /// One that nobody has named.
    pub fn own(due: Option<Instant>) -> Self {
        Self { waiting: None, last: None, due, named: None }
    }

    /// Whether somebody has named it just now.
    pub fn is_recent(&self, now: Instant) -> bool {
        self.named.is_some_and(|at| now.duration_since(at) < NOTHING)
    }
}

/// Who has had such URLs fetched within [`NOTHING`]; the same one again counts again.
#[derive(Default)]
pub struct Strange {
    /// In the order of time, at most [`STRANGE`].
    named: VecDeque<(Instant, Asker)>,
    /// How many of them are whose.
    each: HashMap<Asker, usize>,
}

impl Strange {
    /// Counts one more of `by`, where there is room for it.
    pub fn take(&mut self, by: Asker, now: Instant) -> bool {
        while let Some((_, whose)) = self.named.pop_front_if(|(at, _)| now.duration_since(*at) >= NOTHING) {
            match self.each.get_mut(&whose) {
                Some(count) if *count > 1 => *count -= 1,
                _ => _ = self.each.remove(&whose),
            }
        }
        let own = self.each.get(&by).copied().unwrap_or_default();
        let fits = self.named.len() < STRANGE && own < STRANGE_EACH;
        if fits {
            self.named.push_back((now, by));
            self.each.insert(by, own + 1);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_uses_up_its_own_share_and_has_it_back_after_a_while() {
        let (mut strange, start) = (Strange::default(), Instant::now());
        for n in 0..STRANGE_EACH {
            assert!(strange.take(Some(1), start + Duration::from_millis(n as u64)));
        }
        assert!(!strange.take(Some(1), start));
        assert!(strange.take(Some(2), start) && strange.take(None, start));
        let later = start + NOTHING;
        assert!(strange.take(Some(1), later), "the first of them is over");
        assert!(!strange.take(Some(1), later), "no more than that one");
    }

    #[test]
    fn all_addresses_together_name_a_bounded_number() {
        let (mut strange, start) = (Strange::default(), Instant::now());
        let taken = (0..10 * STRANGE as u64).filter(|n| strange.take(Some(*n), start)).count();
        assert_eq!(taken, STRANGE);
        assert!(strange.take(Some(1), start + NOTHING));
        assert_eq!((strange.named.len(), strange.each.len()), (1, 1), "nothing is left of those that are over");
    }
}
