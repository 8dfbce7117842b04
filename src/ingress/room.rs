//! How much memory the bodies of all requests take together: what connections and `max_body` alone would allow is more
//! than a host has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use super::Refusal;

/// Bytes of each body that are not counted. Webhooks are seldom larger: whoever fills the room with large bodies keeps out large ones only.
const FREE: u64 = 16 << 10;
/// One address has at most this part of the room, or that of one body: whoever fills his own keeps nobody else out.
const SHARE: u64 = 4;

/// Bytes of bodies in memory, over all requests.
#[derive(Default)]
pub struct Held(Mutex<Sums>);

#[derive(Default)]
struct Sums {
    all: u64,
    /// Of each address that has any: no more of them than requests.
    each: HashMap<u64, u64>,
}

/// What one request has of them; given back when it is answered, or its sender goes away.
pub struct Room<'a> {
    held: &'a Held,
    most: u64,
    /// Of that, for one address.
    share: u64,
    /// Whose it is, by [`super::limit::key`]; `None`: nobody can tell, behind a Unix socket.
    client: Option<u64>,
    /// Bytes of this request.
    taken: u64,
    /// Those of them that count.
    counted: u64,
}

impl<'a> Room<'a> {
    /// Nothing yet, of `most` for all that share `held`, for the request of `client` with a body of at most `max_body` bytes, as sent
    /// and as decoded.
    pub fn new(held: &'a Held, most: u64, max_body: u64, client: Option<u64>) -> Self {
        // What its source takes has room beside nothing else of its sender's: it would be refused each time that it is sent again.
        let share = (most / SHARE).max(max_body.saturating_mul(2));
        Self { held, most, share, client, taken: 0, counted: 0 }
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
        let mut sums = self.held.sums();
        sums.all += more;
        let own = self.client.map_or(0, |client| {
            let own = sums.each.entry(client).or_default();
            *own += more;
            *own
        });
        if own > self.share || sums.all > self.most { Err(Refusal::Busy) } else { Ok(()) }
    }
}

impl Held {
    fn sums(&self) -> std::sync::MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.counted == 0 {
            return;
        }
        let mut sums = self.held.sums();
        sums.all -= self.counted;
        if let Some(client) = self.client
            && let Entry::Occupied(mut own) = sums.each.entry(client)
        {
            *own.get_mut() -= self.counted;
            if *own.get() == 0 {
                own.remove();
            }
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
        let room = |client| Room::new(&held, 400 << 10, 0, Some(client));
        let (mut first, mut second) = (room(1), room(1));
        for _ in 0..10 {
            assert_eq!(first.take(8 * KIB), Ok(()));
        }
        assert_eq!(second.take(50 * KIB), Ok(()));
        assert_eq!(second.take(20 * KIB), Err(Refusal::Busy));
        drop(second);
        assert_eq!(first.take(36 * KIB), Ok(()));
        assert_eq!(first.take(1), Err(Refusal::Busy));
        drop(first);
        assert!(held.sums().all == 0 && held.sums().each.is_empty());
    }

    #[test]
    fn one_address_leaves_the_others_theirs() {
        let held = Held::default();
        let room = |client| Room::new(&held, 400 << 10, 0, client);
        let (mut greedy, mut other, mut unknown) = (room(Some(1)), room(Some(2)), room(None));
        assert_eq!(greedy.take(200 * KIB), Err(Refusal::Busy));
        assert_eq!(other.take(100 * KIB), Ok(()));
        assert_eq!(unknown.take(100 * KIB), Ok(()), "behind a Unix socket nobody has a share");
        assert_eq!(unknown.take(50 * KIB), Err(Refusal::Busy), "the room is full");
    }

    #[test]
    fn a_body_that_its_source_takes_has_room_where_nothing_else_is_of_its_sender() {
        let held = Held::default();
        let room = || Room::new(&held, 400 << 10, 150 << 10, Some(1));
        let mut one = room();
        assert_eq!((one.take(150 * KIB), one.take(150 * KIB)), (Ok(()), Ok(())), "as sent, and decoded");
        assert_eq!(room().take(50 * KIB), Err(Refusal::Busy));
    }

    #[test]
    fn a_small_body_finds_room_whatever_large_ones_take() {
        let held = Held::default();
        let mut large = Room::new(&held, 100, 0, None);
        assert_eq!(large.take(17 * KIB), Err(Refusal::Busy));
        let mut small = Room::new(&held, 100, 0, None);
        assert_eq!((small.take(KIB), small.take(15 * KIB)), (Ok(()), Ok(())));
        assert_eq!(small.take(1), Err(Refusal::Busy));
    }
}
