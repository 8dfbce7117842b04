//! How much memory the bodies of all requests take together: what connections and `max_body` alone would allow is more
//! than a host has.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Refusal;

/// Bytes of each body that are not counted. Webhooks are seldom larger: whoever fills the room with large bodies keeps out large ones only.
const FREE: u64 = 16 << 10;

/// Bytes of bodies in memory, over all requests.
#[derive(Default)]
pub struct Held(AtomicU64);

/// What one request has of them; given back when it is answered, or its sender goes away.
pub struct Room<'a> {
    held: &'a Held,
    most: u64,
    /// Bytes of this request.
    taken: u64,
    /// Those of them that count.
    counted: u64,
}

impl<'a> Room<'a> {
    /// Nothing yet, of `most` for all that share `held`.
    pub fn new(held: &'a Held, most: u64) -> Self {
        Self { held, most, taken: 0, counted: 0 }
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Refusal::Busy`]: there is no room.
    pub fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.taken += bytes as u64;
        let more = self.taken.saturating_sub(FREE) - self.counted;
        if more == 0 {
            return Ok(());
        }
        self.counted += more;
        let before = self.held.0.fetch_add(more, Ordering::Relaxed);
        if before + more > self.most { Err(Refusal::Busy) } else { Ok(()) }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.counted > 0 {
            self.held.0.fetch_sub(self.counted, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[test]
    fn large_bodies_share_what_there_is_and_give_it_back() {
        let held = Held::default();
        let room = || Room::new(&held, 100 << 10);
        let (mut first, mut second) = (room(), room());
        for _ in 0..10 {
            assert_eq!(first.take(8 * KIB), Ok(()));
        }
        assert_eq!(second.take(50 * KIB), Ok(()));
        assert_eq!(second.take(20 * KIB), Err(Refusal::Busy));
        drop(second);
        assert_eq!(first.take(36 * KIB), Ok(()));
        assert_eq!(first.take(1), Err(Refusal::Busy));
        drop(first);
        assert_eq!(held.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_small_body_finds_room_whatever_large_ones_take() {
        let held = Held::default();
        let mut large = Room::new(&held, 100);
        assert_eq!(large.take(17 * KIB), Err(Refusal::Busy));
        let mut small = Room::new(&held, 100);
        assert_eq!((small.take(KIB), small.take(15 * KIB)), (Ok(()), Ok(())));
        assert_eq!(small.take(1), Err(Refusal::Busy));
    }
}
