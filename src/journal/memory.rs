//! Memory that batches are put together in: on huge pages, and used again.
//!
//! A disk is told of a write a stretch of physical memory at a time. Small pages lie scattered: 2 MiB are 512 stretches of
//! 4 KiB, and a virtual disk takes 254 at once, so that such a write took it five times as long as one from a huge page.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use memmap2::{Advice, MmapMut};

use super::lock;

/// Bytes of a huge page, on most machines.
const HUGE: usize = 2 << 20;
/// Address space of a region that is kept, bytes: a batch, and what is skipped before the first whole huge page.
/// Only the pages that were written to once take memory.
const KEPT_BYTES: usize = super::writer::BATCH_BYTES + 2 * HUGE;
/// Regions that are kept while nothing is in them.
const KEPT: usize = 2;

/// Regions that wait to be used again.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Vec<MmapMut>>>);

impl Pool {
    /// Memory of at least `bytes`: zeros, or what it held when it was used before.
    pub fn take(&self, bytes: usize) -> Memory {
        let length = KEPT_BYTES.max((bytes + HUGE).next_multiple_of(HUGE));
        let kept = if length == KEPT_BYTES { lock(&self.0).pop() } else { None };
        match kept.map_or_else(|| map(length), Ok) {
            Ok(map) => {
                let start = map.as_ptr().align_offset(HUGE).min(HUGE);
                Memory(Place::Region(Region { map: Some(map), start, pool: self.clone() }))
            }
            Err(error) => {
                tracing::debug!("no region of {length} B can be mapped: {error}");
                Memory::heap(bytes)
            }
        }
    }
}

fn map(length: usize) -> io::Result<MmapMut> {
    let map = MmapMut::map_anon(length)?;
    // Where the system has no huge pages it is memory as any other.
    let _ = map.advise(Advice::HugePage);
    Ok(map)
}

/// Writable bytes.
pub struct Memory(Place);

enum Place {
    Heap(Vec<u8>),
    Region(Region),
}

struct Region {
    /// `None` only while it is dropped.
    map: Option<MmapMut>,
    /// Where the first whole huge page begins.
    start: usize,
    pool: Pool,
}

impl Memory {
    /// Memory of `bytes` on the heap, for what is small.
    pub fn heap(bytes: usize) -> Self {
        Self(Place::Heap(vec![0; bytes]))
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Heap(bytes) => bytes,
            Place::Region(region) => region.map.as_deref().and_then(|map| map.get(region.start..)).unwrap_or_default(),
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Place::Heap(bytes) => bytes,
            Place::Region(region) => {
                region.map.as_deref_mut().and_then(|map| map.get_mut(region.start..)).unwrap_or_default()
            }
        }
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(map) = self.map.take()
            && map.len() == KEPT_BYTES
        {
            let mut kept = lock(&self.pool.0);
            if kept.len() < KEPT {
                kept.push(map);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn address(memory: &Memory) -> usize {
        memory.as_ptr() as usize
    }

    #[test]
    fn a_region_is_used_again_once_nobody_reads_it_any_more() {
        let pool = Pool::default();
        let mut first = pool.take(100);
        first[..5].copy_from_slice(b"event");
        let place = address(&first);
        let read = Bytes::from_owner(first).slice(..5);
        let mut second = pool.take(100);
        second[..5].fill(0);
        assert_ne!(address(&second), place, "it is read");
        drop(second);
        assert_eq!(read, &b"event"[..]);
        drop(read);
        assert_eq!(address(&pool.take(100)), place);
    }

    #[test]
    fn few_regions_are_kept_and_none_that_is_larger_than_a_batch() {
        let pool = Pool::default();
        let taken: Vec<_> = (0..KEPT + 2).map(|_| pool.take(100)).collect();
        drop(taken);
        let large = pool.take(KEPT_BYTES + 1);
        assert!(large.len() > KEPT_BYTES);
        drop(large);
        let kept: Vec<_> = lock(&pool.0).iter().map(|map| map.len()).collect();
        assert_eq!(kept, [KEPT_BYTES; KEPT]);
    }

    #[test]
    fn a_batch_of_any_size_finds_room_behind_the_start_of_a_huge_page() {
        let pool = Pool::default();
        for bytes in [1, HUGE, KEPT_BYTES - HUGE, KEPT_BYTES - HUGE + 1, KEPT_BYTES, 3 * KEPT_BYTES + 5] {
            let memory = pool.take(bytes);
            assert!(memory.len() >= bytes, "{bytes}");
            assert_eq!(address(&memory) % HUGE, 0, "{bytes}");
        }
    }
}
