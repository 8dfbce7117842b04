//! Which events were accepted within the window: digests in memory, in generations that are dropped whole.
//!
//! A key takes 20 bytes and its share of the table's free places: 24 bytes in all in a full generation, up to 48 in the last one.
//! Bounded by `max_keys`: beyond it the oldest generation goes before its time, which is counted.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use super::Key;

/// Keys in one generation: a table of this size grows without a pause that a sender would feel, and is as full as it may be
/// (seven eighths of a power of two; one key more doubles it). Tests, the model's too, meet many generations.
const GENERATION_KEYS: usize = if cfg!(test) { 7 << 6 } else { 7 << 16 };

/// A set of keys with the time at which each was accepted.
pub struct Index {
    generations: VecDeque<Generation>,
    hasher: Seeded,
    /// No key older than this matters to any source, seconds.
    window_s: u64,
    max_keys: usize,
    forgotten: u64,
}

struct Generation {
    keys: HashMap<Key, u32, Seeded>,
    opened_s: u32,
    newest_s: u32,
}

impl Index {
    /// An empty index for windows up to `window_s` seconds, holding at most `max_keys`.
    pub fn new(window_s: u64, max_keys: usize, seed: u64) -> Self {
        Self {
            generations: VecDeque::new(),
            hasher: Seeded(seed),
            window_s,
            max_keys: max_keys.max(GENERATION_KEYS),
            forgotten: 0,
        }
    }

    /// Keys matter for `window_s` seconds from now on, if that is longer than before.
    pub fn widen(&mut self, window_s: u64) {
        self.window_s = self.window_s.max(window_s);
    }

    /// Enters `key`, seen at `now_s` (Unix time, seconds). `false`: it was there already, not longer ago than
    /// `window_s` seconds. A clock that went back makes nothing older.
    pub fn insert(&mut self, key: Key, now_s: u32, window_s: u64) -> bool {
        for generation in &mut self.generations {
            if let Some(seen_s) = generation.keys.get_mut(&key) {
                if u64::from(now_s.saturating_sub(*seen_s)) <= window_s {
                    return false;
                }
                *seen_s = now_s;
                generation.newest_s = generation.newest_s.max(now_s);
                return true;
            }
        }
        let hasher = self.hasher;
        let full =
            self.generations.back().is_none_or(|last| last.keys.len() >= GENERATION_KEYS || self.aged(last, now_s));
        if full {
            self.expire(now_s);
            self.generations.push_back(Generation {
                keys: HashMap::with_hasher(hasher),
                opened_s: now_s,
                newest_s: now_s,
            });
        }
        if let Some(last) = self.generations.back_mut() {
            last.keys.insert(key, now_s);
            last.newest_s = last.newest_s.max(now_s);
        }
        true
    }

    /// Takes `key` out again: its event did not become durable.
    pub fn remove(&mut self, key: Key) {
        for generation in self.generations.iter_mut().rev() {
            if generation.keys.remove(&key).is_some() {
                return;
            }
        }
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.generations.iter().map(|generation| generation.keys.len()).sum()
    }

    /// Keys dropped before their time, for want of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// A generation spans at most an eighth of the window, so that expiry follows it closely.
    fn aged(&self, generation: &Generation, now_s: u32) -> bool {
        u64::from(now_s.saturating_sub(generation.opened_s)) > (self.window_s / 8).max(1)
    }

    fn expire(&mut self, now_s: u32) {
        while let Some(first) = self.generations.front() {
            let old = u64::from(now_s.saturating_sub(first.newest_s)) > self.window_s;
            let crowded = self.len() + GENERATION_KEYS > self.max_keys;
            if !old && !crowded {
                break;
            }
            if !old {
                self.forgotten += first.keys.len() as u64;
            }
            self.generations.pop_front();
        }
    }
}

/// Keys are cryptographic digests: any eight bytes of them are a hash. The seed keeps a sender who knows
/// its own keys from aiming them at one place of the table.
#[derive(Clone, Copy)]
struct Seeded(u64);

struct Digest(u64);

impl BuildHasher for Seeded {
    type Hasher = Digest;
    fn build_hasher(&self) -> Digest {
        Digest(self.0)
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(n: u64) -> Key {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        bytes[8..].copy_from_slice(&n.to_le_bytes());
        Key(bytes)
    }

    #[test]
    fn a_key_counts_as_seen_until_its_window_is_over() {
        let mut index = Index::new(100, 1 << 20, 1);
        assert!(index.insert(key(1), 1_000, 100));
        assert!(!index.insert(key(1), 1_100, 100));
        assert!(index.insert(key(1), 1_101, 100));
        assert!(!index.insert(key(1), 1_150, 100));
        assert!(index.insert(key(1), 1_150, 20), "a source with a shorter window");
    }

    #[test]
    fn a_key_that_is_asked_for_without_a_limit_keeps_no_other_one_longer() {
        let mut index = Index::new(80, 1 << 20, 1);
        assert!(index.insert(key(0), 0, u64::MAX));
        assert!(!index.insert(key(0), 1, u64::MAX));
        for second in 1..400 {
            index.insert(key(second), second as u32, 80);
        }
        assert!(index.len() <= 80 + 20, "{}", index.len());
        index.widen(200);
        for second in 400..800 {
            index.insert(key(second), second as u32, 80);
        }
        assert!(!index.insert(key(610), 800, 200), "the window is longer since a reload");
    }

    #[test]
    fn keys_fall_into_places_of_their_own_that_no_sender_can_tell() {
        let places = |seed| (0..1000).map(|n| Seeded(seed).hash_one(key(n))).collect::<HashSet<_>>();
        let (one, other) = (places(1), places(2));
        assert_eq!((one.len(), other.len()), (1000, 1000));
        assert!(one.is_disjoint(&other));
    }

    #[test]
    fn a_clock_that_went_back_forgets_nothing() {
        let mut index = Index::new(100, 1 << 20, 1);
        assert!(index.insert(key(1), 10_000, 100));
        assert!(!index.insert(key(1), 5, 100));
    }

    #[test]
    fn a_key_whose_event_was_refused_is_new_again() {
        let mut index = Index::new(100, 1 << 20, 1);
        index.insert(key(1), 1, 100);
        index.remove(key(1));
        assert!(index.insert(key(1), 1, 100));
    }

    #[test]
    fn old_generations_go_and_the_rest_stays() {
        let mut index = Index::new(80, 1 << 20, 1);
        for second in 0..400 {
            assert!(index.insert(key(second), second as u32, 80));
            // An event is looked up in each of them.
            assert!(index.generations.len() <= 10, "{}", index.generations.len());
        }
        assert!(index.len() <= 80 + 20, "{}", index.len());
        for second in 320..400 {
            assert!(!index.insert(key(second), 400, 80), "{second}");
        }
        assert_eq!(index.forgotten(), 0);
        assert!(index.insert(key(400), 1_000, 80));
        assert_eq!(index.len(), 1, "nothing came for longer than the window");
    }

    #[test]
    fn as_many_keys_are_remembered_as_may_be_and_what_goes_early_is_counted() {
        let full = 2 * GENERATION_KEYS as u64;
        let mut index = Index::new(1_000_000, full as usize, 1);
        for n in 0..full {
            assert!(index.insert(key(n), 1, 1_000_000));
        }
        assert!((0..full).all(|n| !index.insert(key(n), 1, 1_000_000)));
        assert_eq!((index.len() as u64, index.forgotten()), (full, 0));
        assert!(index.insert(key(full), 1, 1_000_000));
        assert_eq!((index.len() as u64, index.forgotten()), (full / 2 + 1, full / 2), "the older half");
        assert!(!index.insert(key(full - 1), 1, 1_000_000));
        assert!(index.insert(key(0), 1, 1_000_000));
    }

    #[test]
    fn one_generation_is_remembered_whatever_the_limit() {
        let mut index = Index::new(1_000_000, 0, 1);
        for n in 0..GENERATION_KEYS as u64 {
            index.insert(key(n), 1, 1_000_000);
        }
        assert_eq!((index.len(), index.forgotten()), (GENERATION_KEYS, 0));
    }
}
