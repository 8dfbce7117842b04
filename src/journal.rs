//! Durable log of accepted events: what the bridge still owes its backends, and what its readers may read.
//!
//! [`Journal::append`] returns once the event is on disk; only then may the ingress answer 2xx.
//! A reader is a position, never a file: backends' lanes, named consumers, streams and replay are all
//! [`Reader`]s, and a [`Cursor`] is where one of them stands.
//!
//! Invariants
//! - A position is given out once and never reused, restarts included.
//! - A record is read whole or not at all (length and CRC-32C).
//! - A key is entered once within its window: racing copies of an event are one event.
//! - After a failed sync that file is never written or believed again; failing twice in a row closes the journal.
//! - A segment goes only when every cursor has passed it.
//!
//! One thread writes ([`writer`]), one keeps house ([`keeper`]); readers share memory and files with them.
//! Knows nothing of HTTP, providers or brokers.

mod answer;
mod blocks;
mod cursors;
mod dedup;
mod direct;
mod disk;
mod find;
pub mod format;
mod keeper;
mod lock;
mod memory;
mod queue;
mod reader;
mod recovery;
mod ring;
mod scan;
mod segment;
pub mod settings;
mod shared;
mod sidecar;
mod tail;
mod writer;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{oneshot, watch};

pub use cursors::Cursor;
pub use reader::Reader;
use shared::Shared;

use crate::event::Envelope;
use crate::telemetry::Metrics;

/// Tells the time: Unix time, milliseconds.
pub type Clock = fn() -> u64;

/// Key of deduplication: 128 bits of a digest over the journal's id and what tells an event from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The event takes no part in deduplication.
    pub const NONE: Self = Self([0; 16]);
}

/// One event, ready to be appended.
#[derive(Debug)]
pub struct Record {
    /// [`Journal::key`], or [`Key::NONE`].
    pub key: Key,
    /// How long ago the same key counts as the same event, seconds.
    pub window_s: u64,
    /// Time of receipt, Unix time, milliseconds.
    pub time_ms: u64,
    attributes: Vec<u8>,
    body: Bytes,
}

impl Record {
    /// The record of `envelope`.
    pub fn new(envelope: &Envelope, key: Key, window: Duration, time_ms: u64) -> Self {
        let mut attributes = Vec::new();
        envelope.encode(&mut attributes);
        Self::of(attributes, envelope.body.clone(), key, window, time_ms)
    }

    /// The record of an event whose attributes are written already, as [`Envelope::encode`] writes them.
    pub fn of(attributes: Vec<u8>, body: Bytes, key: Key, window: Duration, time_ms: u64) -> Self {
        Self { key, window_s: window.as_secs(), time_ms, attributes, body }
    }

    /// Bytes on disk.
    fn size(&self) -> usize {
        format::Frame::size(self.attributes.len() + self.body.len())
    }
}

/// What became of an appended event; either way a copy of it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// New, at this position.
    New(u64),
    /// An event of this key was accepted before.
    Duplicate,
}

/// Why an event did not become durable; the sender is asked to send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Undelivered events fill the quota, or the disk is full.
    #[error("the journal is full")]
    Full,
    /// Syncs failed twice in a row; what is on disk is unknown until a restart.
    #[error("the journal is closed after failed writes")]
    Closed,
    /// The sync of this event's batch failed.
    #[error("the event could not be written to disk")]
    Failed,
    /// More is waiting than the writer can take soon.
    #[error("the journal is behind")]
    Slow,
}

/// Whether the journal takes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It does.
    Open,
    /// It has no room; it will, once backends take theirs or the disk has space.
    Full(String),
    /// It does not until a restart.
    Closed(String),
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("journal {} is in use by another process{}", dir.display(), holder.as_deref().map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Process id of the holder, if it can be read.
        holder: Option<String>,
    },
    /// Written by a newer release; nothing was touched.
    #[error("journal {} has format {found}; this release reads up to {}: use the release that wrote it", path.display(), format::VERSION)]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A file or directory cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl OpenError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// What one needs to open a journal.
pub struct Options {
    /// `[journal]`.
    pub settings: settings::Settings,
    /// `[dedup]`; its window is the longest of any source.
    pub dedup: settings::Dedup,
    /// The time.
    pub clock: Clock,
    /// Figures.
    pub metrics: Metrics,
}

/// A handle of an open journal; clones share it.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    threads: Arc<Mutex<Vec<std::thread::JoinHandle<()>>>>,
    lock: Arc<lock::DirLock>,
}

/// A panic elsewhere must not close the journal: what the lock guards is consistent at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes of the system.
fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}

impl Journal {
    /// Opens the journal of `options.settings.dir`, creating it if there is none, and recovers what was written.
    ///
    /// # Errors
    /// [`OpenError`]; nothing on disk was changed where it is in use or newer.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let lock = lock::DirLock::take(&options.settings.dir)?;
        let (shared, writer) = recovery::open(options, Box::new(disk::System), || lock.sign())?;
        Self::start(Arc::new(shared), writer, lock)
    }

    fn start(shared: Arc<Shared>, writer: writer::Writer, lock: lock::DirLock) -> Result<Self, OpenError> {
        let mut threads = Vec::new();
        for (name, body) in [
            (
                "journal-writer",
                Box::new({
                    let shared = shared.clone();
                    move || {
                        // What it was about to write is unknown: as after failed writes, a restart finds out.
                        if catch_unwind(AssertUnwindSafe(|| writer.run(&shared))).is_err() {
                            shared.give_up("the thread that writes panicked");
                        }
                    }
                }) as Box<dyn FnOnce() + Send>,
            ),
            (
                "journal-keeper",
                Box::new({
                    let shared = shared.clone();
                    move || {
                        while catch_unwind(AssertUnwindSafe(|| keeper::run(&shared))).is_err() {
                            tracing::error!("the thread that keeps house panicked; it is started again");
                            std::thread::sleep(keeper::ROUND);
                        }
                    }
                }),
            ),
        ] {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
            threads.push(thread.map_err(OpenError::io(&shared.dir))?);
        }
        Ok(Self { shared, threads: Arc::new(Mutex::new(threads)), lock: Arc::new(lock) })
    }

    /// Appends one event; resolves once it, or the event that it repeats, is on disk.
    ///
    /// The event is queued before this returns: dropping the future takes nothing back.
    ///
    /// # Errors
    /// [`AppendError`]: the event was not accepted, or (`Failed`) may be found again after a restart.
    pub fn append(&self, record: Record) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
        let answer = self.shared.queue.push(record);
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            }
        }
    }

    /// Key of the event that `parts` tell from all others.
    pub fn key(&self, parts: &[&[u8]]) -> Key {
        let mut digest = Sha256::new();
        digest.update(self.shared.id);
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Key(key)
    }

    /// Random id of this journal, hex; a new journal has a new one.
    pub fn id(&self) -> String {
        hex::encode(self.shared.id)
    }

    /// A reader of the events after the position `after`.
    pub fn reader(&self, after: u64) -> Reader {
        Reader::new(self.shared.clone(), after)
    }

    /// Position of the last accepted event; follows it as it grows.
    pub fn tail(&self) -> watch::Receiver<u64> {
        self.shared.tail.subscribe()
    }

    /// The position before the oldest event that is still kept.
    pub fn before_oldest(&self) -> u64 {
        self.shared.before_oldest()
    }

    /// Whether the journal takes events; follows it as it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// The time, Unix time, milliseconds.
    pub fn now_ms(&self) -> u64 {
        (self.shared.clock)()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes()
    }

    /// All cursors by name.
    pub fn cursors(&self) -> BTreeMap<String, Cursor> {
        lock(&self.shared.cursors).all()
    }

    /// Follows the position up to which the reader of a cursor has decided every event.
    pub fn follow_cursor(&self, name: &str) -> watch::Receiver<u64> {
        lock(&self.shared.cursors).follow(name)
    }

    /// Moves a cursor, or makes it, in memory; it is written with the next one that is saved.
    pub fn move_cursor(&self, name: &str, cursor: Cursor) {
        lock(&self.shared.cursors).set(name, cursor);
    }

    /// Has the cursors that moved written; resolves once they are (they survive a kill of the process).
    pub fn save_cursors(&self) -> oneshot::Receiver<()> {
        self.shared.queue.cursors_moved(false)
    }

    /// Moves a cursor, or makes it, and has it written.
    pub fn save_cursor(&self, name: &str, cursor: Cursor) -> oneshot::Receiver<()> {
        self.move_cursor(name, cursor);
        self.save_cursors()
    }

    /// As [`Self::save_cursor`], resolving once it is on disk.
    pub fn sync_cursor(&self, name: &str, cursor: Cursor) -> oneshot::Receiver<()> {
        self.move_cursor(name, cursor);
        self.shared.queue.cursors_moved(true)
    }

    /// Forgets a cursor: it holds no events back any more.
    pub fn drop_cursor(&self, name: &str) -> oneshot::Receiver<()> {
        lock(&self.shared.cursors).remove(name);
        self.shared.queue.cursors_moved(true)
    }

    /// Writes what waits, syncs, ends the threads and lets go of the directory. Blocks.
    pub fn close(&self) {
        self.shared.queue.stop();
        self.shared.keeper.stop();
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
        self.lock.release();
    }
}

#[cfg(test)]
mod tests;
