//! Which events were accepted within the window: digests in memory, in lists by digest and in generations by time.
//!
//! A key takes 11 bytes: 64 bits of its digest, 8 of its generation, 16 of its time. The list in which it stands tells 1 to 18 bits
//! more of the digest, 16 where `max_keys` is 20 million. With the lists' spare places and the allocator's that is 12 to 14 bytes.
//! Digests are salted with the journal's random id: a new event is taken for another one less than once in 2^55 events (a hundred
//! thousand years of ten thousand a second) with `max_keys` of them remembered, for up to 134 million.
//! Bounded by `max_keys`: beyond it the oldest generation goes before its time, which is counted. So it does where keys come again after
//! a short window so often that a hundred generations' worth of them were entered within the longest window.

use std::collections::VecDeque;

use super::Key;

/// How full lists are when as many keys are remembered as may be: an event is looked up in one of them, which makes a place for it.
const LIST_KEYS: usize = 512;

/// Lists at most, as a power of two: 2 MiB of places for them.
const MOST_LISTS_LOG2: u32 = 18;

/// So many generations have `max_keys`; one of them is forgotten at a time.
const SHARE: usize = 16;

/// Generations at most. They have numbers of eight bits; a number is given again once no key of it can be left.
const MOST_GENERATIONS: usize = 100;

/// In so many generations every list is rid of keys that were forgotten.
const SWEEP: usize = 64;

// A number that is given again must have been swept out of every list.
const _: () = assert!(MOST_GENERATIONS + SWEEP < 256);

/// Times before a generation's opening that it can tell, seconds: clocks are set back, and events do not reach the journal
/// exactly in order.
const BACK_S: u32 = 3600;

/// A set of keys with the time at which each was accepted.
pub struct Index {
    /// Places take memory once a key comes near: a bridge that sees no event has none.
    lists: Box<[Option<Box<List>>]>,
    generations: Generations,
    seed: u64,
    /// No key older than this matters to any source, seconds.
    window_s: u64,
    max_keys: usize,
    forgotten: u64,
    /// The list that is swept next, and how many are to be.
    sweep_at: usize,
    unswept: usize,
}

impl Index {
    /// An empty index for windows up to `window_s` seconds, holding at most `max_keys`.
    pub fn new(window_s: u64, max_keys: usize, seed: u64) -> Self {
        let max_keys = max_keys.max(SHARE);
        let lists = max_keys.div_ceil(LIST_KEYS).min(1 << MOST_LISTS_LOG2).next_power_of_two().max(2);
        Self {
            lists: vec![None; lists].into(),
            generations: Generations::default(),
            seed,
            window_s,
            max_keys,
            forgotten: 0,
            sweep_at: 0,
            unswept: 0,
        }
    }

    /// Keys matter for `window_s` seconds from now on, if that is longer than before.
    pub fn widen(&mut self, window_s: u64) {
        self.window_s = self.window_s.max(window_s);
    }

    /// Looks at the places of keys that are about to be entered, so that memory is waited for once, not by each of them.
    pub fn approach(&self, keys: impl Iterator<Item = Key>) {
        for key in keys {
            let (list, digest) = self.place(key);
            std::hint::black_box(self.lists[list].as_ref().and_then(|list| list.0.get(list.share(digest)).copied()));
        }
    }

    /// Enters `key`, seen at `now_s` (Unix time, seconds). `false`: it was there already, not longer ago than
    /// `window_s` seconds. A clock that went back makes nothing older.
    pub fn insert(&mut self, key: Key, now_s: u32, window_s: u64) -> bool {
        let (list, digest) = self.place(key);
        if let Some((at, seen_s)) = self.find(list, digest) {
            if u64::from(now_s.saturating_sub(seen_s)) <= window_s {
                return false;
            }
            self.take(list, at);
        }
        if let Some((number, time)) = self.open(now_s) {
            let entry = Entry { digest: digest.to_ne_bytes(), number, time: time.to_ne_bytes() };
            self.lists[list].get_or_insert_default().insert(entry);
        }
        if self.unswept > 0 {
            self.sweep(1);
        }
        true
    }

    /// Takes `key` out again: its event did not become durable.
    pub fn remove(&mut self, key: Key) {
        let (list, digest) = self.place(key);
        if let Some((at, _)) = self.find(list, digest) {
            self.take(list, at);
        }
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.generations.all.iter().map(|generation| generation.keys).sum()
    }

    /// Keys dropped before their time, for want of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Keys are cryptographic digests: any bits of them are a hash. The seed keeps a sender who knows
    /// its own keys from aiming them at one list.
    fn place(&self, key: Key) -> (usize, u64) {
        let bits = u128::from_be_bytes(key.0);
        let first = ((bits >> 64) as u64 ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = u128::from(first) << 64 | u128::from(bits as u64);
        let known = self.lists.len().ilog2();
        ((bits >> (128 - known)) as usize, (bits >> (64 - known)) as u64)
    }

    /// Where in its list a key is, and when it was seen.
    fn find(&self, list: usize, digest: u64) -> Option<(usize, u32)> {
        self.lists[list].as_ref()?.find(digest, &self.generations)
    }

    fn take(&mut self, list: usize, at: usize) {
        let Some(list) = &mut self.lists[list] else { return };
        let entry = list.0.remove(at);
        if let Some(generation) = self.generations.of_mut(&entry) {
            generation.keys -= 1;
        }
    }

    /// Number of the generation that takes a key at `now_s`, which is counted there, and this time as it tells it.
    fn open(&mut self, now_s: u32) -> Option<(u8, u16)> {
        // It spans at most an eighth of the window, so that expiry follows it closely.
        let span_s = (self.window_s / 8).max(1);
        let open = self.generations.all.back().is_some_and(|last| {
            let aged = u64::from(now_s.saturating_sub(last.opened_s)) > span_s;
            last.keys < self.max_keys / SHARE && !aged && last.time(now_s).is_some()
        });
        if !open {
            self.expire(now_s);
            self.sweep(self.lists.len().div_ceil(SWEEP));
            self.generations.all.push_back(Generation::new(now_s, span_s));
        }
        let number = self.generations.last();
        let last = self.generations.all.back_mut()?;
        last.keys += 1;
        last.newest_s = last.newest_s.max(now_s);
        Some((number, last.time(now_s)?))
    }

    fn expire(&mut self, now_s: u32) {
        while let Some(first) = self.generations.all.front() {
            let old = u64::from(now_s.saturating_sub(first.newest_s)) > self.window_s;
            let crowded =
                self.len() + self.max_keys / SHARE > self.max_keys || self.generations.all.len() >= MOST_GENERATIONS;
            if !old && !crowded {
                break;
            }
            if !old {
                self.forgotten += first.keys as u64;
            }
            self.generations.drop_first();
            self.unswept = self.lists.len();
        }
    }

    /// Rids the next `count` lists of keys whose generation is gone.
    fn sweep(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(list) = &mut self.lists[self.sweep_at] {
                list.sweep(&self.generations);
            }
            self.sweep_at = (self.sweep_at + 1) % self.lists.len();
        }
        self.unswept = self.unswept.saturating_sub(count);
    }
}

/// Those whose keys count, in order; the last one takes new keys.
#[derive(Default)]
struct Generations {
    all: VecDeque<Generation>,
    /// Number of the first one.
    first: u8,
}

impl Generations {
    fn last(&self) -> u8 {
        self.first.wrapping_add(self.all.len() as u8).wrapping_sub(1)
    }

    fn of(&self, entry: &Entry) -> Option<&Generation> {
        self.all.get(usize::from(entry.number.wrapping_sub(self.first)))
    }

    fn of_mut(&mut self, entry: &Entry) -> Option<&mut Generation> {
        self.all.get_mut(usize::from(entry.number.wrapping_sub(self.first)))
    }

    fn drop_first(&mut self) {
        if self.all.pop_front().is_some() {
            self.first = self.first.wrapping_add(1);
        }
    }
}

/// Keys that are forgotten together.
///
/// Its times are seconds in 16 bits, counted from a little before its opening: exact for windows of up to five days. In longer
/// ones a key may count as seen for longer than its window, by a 500,000th of the longest one and a second, never shorter.
struct Generation {
    keys: usize,
    opened_s: u32,
    newest_s: u32,
    zero_s: u32,
    unit_s: u32,
}

impl Generation {
    /// For times up to `span_s` after `opened_s`.
    fn new(opened_s: u32, span_s: u64) -> Self {
        let span_s = u32::try_from(span_s).unwrap_or(u32::MAX);
        Self {
            keys: 0,
            opened_s,
            newest_s: opened_s,
            zero_s: opened_s.saturating_sub(BACK_S),
            unit_s: span_s.saturating_add(BACK_S).div_ceil(u32::from(u16::MAX)),
        }
    }

    /// `None`: that is too far from the opening.
    fn time(&self, now_s: u32) -> Option<u16> {
        let since_s = now_s.checked_sub(self.zero_s)?;
        u16::try_from(since_s.div_ceil(self.unit_s)).ok()
    }

    fn seen_s(&self, time: u16) -> u32 {
        self.zero_s.saturating_add(u32::from(time).saturating_mul(self.unit_s))
    }
}

/// A key in its list: 64 bits of its digest, number of the generation, time.
#[derive(Clone, Copy)]
struct Entry {
    digest: [u8; 8],
    number: u8,
    time: [u8; 2],
}

impl Entry {
    fn digest(&self) -> u64 {
        u64::from_ne_bytes(self.digest)
    }
}

/// Keys in the order of their digests.
#[derive(Clone, Default)]
struct List(Vec<Entry>);

impl List {
    /// Where `digest` would be if digests were spread quite evenly.
    fn share(&self, digest: u64) -> usize {
        ((u128::from(digest) * self.0.len() as u128) >> 64) as usize
    }

    /// Where the first one that is not before `digest` is or would be: near its share.
    fn search(&self, digest: u64) -> usize {
        let mut at = self.share(digest);
        while at > 0 && self.0[at - 1].digest() >= digest {
            at -= 1;
        }
        while at < self.0.len() && self.0[at].digest() < digest {
            at += 1;
        }
        at
    }

    /// Where the key is, and when it was seen.
    fn find(&self, digest: u64, generations: &Generations) -> Option<(usize, u32)> {
        let from = self.search(digest);
        let same = self.0[from..].iter().take_while(|entry| entry.digest() == digest);
        same.enumerate().find_map(|(at, entry)| {
            let generation = generations.of(entry)?;
            Some((from + at, generation.seen_s(u16::from_ne_bytes(entry.time))))
        })
    }

    fn insert(&mut self, entry: Entry) {
        let at = self.search(entry.digest());
        if self.0.len() == self.0.capacity() {
            // Twice as many would leave a third of the memory unused.
            self.0.reserve_exact((self.0.len() / 32).max(8));
        }
        self.0.insert(at, entry);
    }

    fn sweep(&mut self, generations: &Generations) {
        self.0.retain(|entry| generations.of(entry).is_some());
        if self.0.len() < self.0.capacity() / 4 * 3 {
            self.0.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests;
