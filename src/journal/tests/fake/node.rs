//! One file: what a process sees of it, and what of that is on the disk.

use std::collections::{BTreeMap, BTreeSet};

use super::Dice;

const SECTOR: usize = 512;

/// A file.
#[derive(Default)]
pub struct Node {
    pub bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written since they were synced: what they held each time.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Sectors that are in memory and that no sync writes any more: theirs has failed.
    lost: BTreeSet<usize>,
}

fn sector(bytes: &[u8], at: usize) -> Vec<u8> {
    let from = (at * SECTOR).min(bytes.len());
    let mut out = bytes[from..(from + SECTOR).min(bytes.len())].to_vec();
    out.resize(SECTOR, 0);
    out
}

impl Node {
    pub fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        for at in offset / SECTOR..end.div_ceil(SECTOR) {
            let now = sector(&self.bytes, at);
            let was = self.dirty.get(&at).and_then(|old| old.last().cloned());
            let was = was.unwrap_or_else(|| sector(&self.durable, at));
            if self.lost.remove(&at) || was != now {
                self.dirty.entry(at).or_default().push(now);
            }
        }
    }

    fn put_durable(&mut self, at: usize, sector: &[u8]) {
        let end = (at + 1) * SECTOR;
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[at * SECTOR..end].copy_from_slice(sector);
    }

    pub fn sync(&mut self) {
        for (at, versions) in std::mem::take(&mut self.dirty) {
            if let Some(newest) = versions.last() {
                self.put_durable(at, newest);
            }
        }
        self.durable.resize(self.bytes.len(), 0);
    }

    /// The kernel gives up on the pages it could not write, and takes them for clean.
    pub fn fail_sync(&mut self, dice: &mut Dice) {
        for (at, versions) in std::mem::take(&mut self.dirty) {
            if dice.roll(2) == 0 {
                self.put_durable(at, &versions[versions.len() - 1]);
            } else {
                self.lost.insert(at);
            }
        }
    }

    /// Some pages that are clean leave memory.
    pub fn evict(&mut self, dice: &mut Dice) {
        for at in std::mem::take(&mut self.lost) {
            if dice.roll(2) == 0 {
                self.lost.insert(at);
                continue;
            }
            let (from, to) = (at * SECTOR, ((at + 1) * SECTOR).min(self.bytes.len()));
            let old = sector(&self.durable, at);
            if from < to {
                self.bytes[from..to].copy_from_slice(&old[..to - from]);
            }
        }
    }

    /// Any part of what was not synced may have reached the disk, each sector as it was at some time.
    pub fn cut(&mut self, dice: &mut Dice) {
        let grown = self.bytes.len();
        let luck = dice.roll(4);
        for (at, versions) in std::mem::take(&mut self.dirty) {
            let pick = dice.roll(versions.len() as u64 + 1) as usize;
            match luck {
                0 => {}
                1 => self.put_durable(at, &versions[versions.len() - 1]),
                _ if pick > 0 => self.put_durable(at, &versions[pick - 1]),
                _ => {}
            }
        }
        self.durable.truncate(grown);
        self.bytes.clone_from(&self.durable);
        self.lost.clear();
    }
}
