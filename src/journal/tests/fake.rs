//! A disk in memory that behaves as badly as one may: what was not synced is lost in any part at a power cut, in sectors;
//! names are not durable before their directory is synced; a failed sync drops what it did not write and says so once.

mod node;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use node::Node;

use super::Dice;
use crate::journal::disk::{Disk, DiskFile, Zeros};
use crate::journal::lock;

/// What the next operations of a kind come to.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Operations that still succeed.
    pub after: u32,
    /// Operations that then fail.
    pub times: u32,
    /// Only syncs, or every change.
    pub syncs_only: bool,
    /// The disk is full, or it is broken.
    pub full: bool,
}

/// A disk; clones are the same one.
#[derive(Clone)]
pub struct Fake(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    nodes: HashMap<u64, Node>,
    made: u64,
    /// As a process sees them; `None`: a directory.
    names: BTreeMap<PathBuf, Option<u64>>,
    durable: BTreeMap<PathBuf, Option<u64>>,
    /// Changes of names that are not durable, in order.
    changes: Vec<Vec<(PathBuf, Option<Option<u64>>)>>,
    /// Power fails at the operation after so many.
    cut_in: Option<u32>,
    dead: bool,
    fault: Option<Fault>,
    /// Reads, and files opened to be read, before they fail.
    sound_reads: Option<u32>,
    full: bool,
    panics: bool,
    /// A directory whose sync fails, and how.
    closed: Option<(PathBuf, io::ErrorKind)>,
    /// Looks on while a file is synced.
    witness: Option<Arc<dyn Fn() + Send + Sync>>,
    /// What files were made of zeros, in order.
    zeroed: Vec<Zeros>,
}

impl State {
    /// Whether the operation goes through; an error is what its caller sees.
    fn gate(&mut self, sync: bool) -> io::Result<()> {
        assert!(!self.panics, "a mistake of ours");
        if self.cut_in == Some(0) {
            (self.dead, self.cut_in) = (true, None);
        }
        if self.dead {
            return Err(io::Error::other("no power"));
        }
        self.cut_in = self.cut_in.map(|left| left - 1);
        if let Some(fault) = &mut self.fault
            && (sync || !fault.syncs_only)
        {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                let kind = if fault.full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
                return Err(kind.into());
            }
        }
        Ok(())
    }

    fn gate_read(&mut self) -> io::Result<()> {
        match &mut self.sound_reads {
            Some(0) => return Err(io::Error::other("cannot be read")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn change(&mut self, change: Vec<(PathBuf, Option<Option<u64>>)>) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    fn ino(&self, path: &Path) -> io::Result<u64> {
        if self.dead {
            return Err(io::Error::other("no power"));
        }
        self.names.get(path).copied().flatten().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Option<u64>>, change: &[(PathBuf, Option<Option<u64>>)]) {
    for (path, entry) in change {
        match entry {
            Some(entry) => names.insert(path.clone(), *entry),
            None => names.remove(path),
        };
    }
}

impl Fake {
    pub fn new(seed: u64) -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), None)]);
        Self(Arc::new(Mutex::new(State {
            dice: Dice(seed),
            nodes: HashMap::new(),
            made: 0,
            names: root.clone(),
            durable: root,
            changes: Vec::new(),
            cut_in: None,
            dead: false,
            fault: None,
            sound_reads: None,
            full: false,
            panics: false,
            closed: None,
            witness: None,
            zeroed: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Whether power has failed.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    pub fn cut_in(&self, operations: u32) {
        self.state().cut_in = Some(operations);
    }

    pub fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// After so many, reads fail; `None`: they do not any more.
    pub fn fail_reads(&self, after: Option<u32>) {
        self.state().sound_reads = after;
    }

    /// Syncs of `dir` fail so.
    pub fn close_dir(&self, dir: &str, kind: io::ErrorKind) {
        self.state().closed = Some((dir.into(), kind));
    }

    /// Calls `witness` during each sync of a file.
    pub fn watch_syncs(&self, witness: impl Fn() + Send + Sync + 'static) {
        self.state().witness = Some(Arc::new(witness));
    }

    pub fn fill(&self, full: bool) {
        self.state().full = full;
    }

    /// What the last file was made of.
    pub fn zeroed(&self) -> Option<Zeros> {
        self.state().zeroed.last().copied()
    }

    /// From now on every change of a file is a mistake of ours.
    pub fn panic(&self) {
        self.state().panics = true;
    }

    pub fn heal(&self) {
        let mut state = self.state();
        (state.fault, state.full) = (None, false);
    }

    /// The process ends; the machine goes on.
    pub fn kill(&self) {
        let state = &mut *self.state();
        state.nodes.values_mut().for_each(|node| node.evict(&mut state.dice));
    }

    /// The machine ends, and is started again.
    pub fn cut(&self) {
        let state = &mut *self.state();
        let kept = state.dice.roll(state.changes.len() as u64 + 1) as usize;
        for change in std::mem::take(&mut state.changes).into_iter().take(kept) {
            apply(&mut state.durable, &change);
        }
        // What is in a directory that is gone is gone.
        let names = state.durable.clone();
        state.durable.retain(|path, _| path.ancestors().all(|above| names.contains_key(above)));
        state.names.clone_from(&state.durable);
        let named: BTreeSet<u64> = state.names.values().copied().flatten().collect();
        state.nodes.retain(|ino, _| named.contains(ino));
        state.nodes.values_mut().for_each(|node| node.cut(&mut state.dice));
        (state.cut_in, state.dead) = (None, false);
    }
}

impl Disk for Fake {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut missing: Vec<_> = dir.ancestors().filter(|path| !state.names.contains_key(*path)).collect();
        while let Some(path) = missing.pop() {
            state.gate(false)?;
            state.change(vec![(path.to_owned(), Some(None))]);
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        if !state.names.contains_key(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(state.names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn exists(&self, path: &Path) -> bool {
        self.state().names.contains_key(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.gate_read()?;
        let ino = state.ino(path)?;
        Ok(Box::new(FakeFile { disk: self.clone(), ino }))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.gate(false)?;
        state.made += 1;
        let ino = state.made;
        state.nodes.insert(ino, Node::default());
        state.change(vec![(path.to_owned(), Some(Some(ino)))]);
        Ok(Box::new(FakeFile { disk: self.clone(), ino }))
    }

    fn create_zeroed(&self, path: &Path, bytes: u64, zeros: Zeros) -> io::Result<Box<dyn DiskFile>> {
        let file = self.create(path)?;
        self.state().zeroed.push(zeros);
        if zeros == Zeros::Reserved {
            return Ok(file);
        }
        file.write_all_at(&vec![0; bytes as usize], 0)?;
        file.sync_all()?;
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.gate(false)?;
        let ino = state.ino(from)?;
        state.change(vec![(from.to_owned(), None), (to.to_owned(), Some(Some(ino)))]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.gate(false)?;
        state.ino(path)?;
        state.change(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        state.gate(true)?;
        if let Some((_, kind)) = state.closed.as_ref().filter(|(closed, _)| closed == dir) {
            return Err((*kind).into());
        }
        let here = |change: &Vec<(PathBuf, _)>| change.iter().any(|(path, _)| path.parent() == Some(dir));
        let (synced, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut state.changes).into_iter().partition(here);
        synced.iter().for_each(|change| apply(&mut state.durable, change));
        state.changes = rest;
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(if self.state().full { 0 } else { 1 << 30 })
    }
}

struct FakeFile {
    disk: Fake,
    ino: u64,
}

impl FakeFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, &mut Node) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *self.disk.state();
        let Some(mut node) = state.nodes.remove(&self.ino) else { return Err(io::Error::other("no power")) };
        let done = act(state, &mut node);
        state.nodes.insert(self.ino, node);
        done
    }

    fn sync(&self) -> io::Result<()> {
        let witness = self.disk.state().witness.clone();
        witness.inspect(|witness| witness());
        self.with(|state, node| {
            state.gate(true).inspect_err(|_| {
                if !state.dead {
                    node.fail_sync(&mut state.dice);
                }
            })?;
            node.sync();
            Ok(())
        })
    }
}

impl DiskFile for FakeFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|_, node| Ok(node.bytes.len() as u64))
    }

    fn modified_ms(&self) -> u64 {
        0
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state, node| {
            state.gate_read()?;
            let from = (offset as usize).min(node.bytes.len());
            let read = buffer.len().min(node.bytes.len() - from);
            buffer[..read].copy_from_slice(&node.bytes[from..from + read]);
            Ok(read)
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state, node| {
            if state.full && offset as usize + bytes.len() > node.bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let was_dead = state.dead;
            let gate = state.gate(false);
            // What fails in the middle has written a part.
            let part = if gate.is_ok() { bytes.len() } else { state.dice.roll(bytes.len() as u64 + 1) as usize };
            if !was_dead {
                node.write(&bytes[..part], offset as usize);
            }
            gate
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
