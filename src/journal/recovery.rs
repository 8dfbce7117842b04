//! Opens a journal: what is on disk after a clean stop, a kill, a power cut or damage becomes a journal again.
//!
//! What of the last write is not whole is cut ([`tail`]). A bad frame that was whole once is damage: it is set aside, the
//! rest stays. What cannot be read is kept in `quarantine/`.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::watch;

use super::blocks::End;
use super::cursors::{self, Cursor, Cursors};
use super::dedup::Index;
use super::disk::{Disk, Zeros};
use super::find::{self, Findings, Found};
use super::format::{DATA_START, Header, Kind};
use super::scan::{Scan, Step};
use super::segment::{self, Segment};
use super::sidecar::{self, Keys};
use super::writer::{Active, Writer, start_segment};
use super::{Key, OpenError, Options, Shared, State, keeper, queue, ring, tail};

/// Bytes of the newest frames kept in memory.
const RING_BYTES: usize = 8 << 20;
/// A new journal begins with a small segment, so that the first start need not wait for a large one.
const FIRST_BYTES: u64 = 1 << 20;

/// Opens the journal on `disk` and gives what its threads share, and the writer. `ours` is called before anything that
/// was there is changed, once it is certain that this release may.
pub fn open(options: Options, disk: Box<dyn Disk>, ours: impl FnOnce()) -> Result<(Shared, Writer), OpenError> {
    let dir = options.settings.dir.clone();
    let data = dir.join("journal");
    disk.create_dir_all(&data).map_err(OpenError::io(&data))?;
    let mut settings = options.settings;
    settings.segment_bytes = settings.segment_bytes.min(settings.max_bytes / 4).max(64 << 10);
    // Up to here nothing was changed: a newer journal is left as it is.
    let mut findings = find::look(&*disk, &data)?;
    ours();
    sidecar::tidy(&*disk, &dir).map_err(OpenError::io(&dir))?;
    findings.settle(&*disk, &dir, settings.segment_bytes, &options.metrics)?;
    let Findings { segments: found, given_out, .. } = findings;
    let id = match found.last() {
        Some(last) => last.header.journal,
        None => super::random().map_err(OpenError::io(&dir))?,
    };
    let mut shared = Shared {
        disk,
        dir,
        id,
        settings,
        window_s: options.dedup.window.as_secs().into(),
        max_keys: options.dedup.max_keys,
        clock: options.clock,
        metrics: options.metrics,
        queue: queue::Queue::default(),
        tail: watch::Sender::new(0),
        state: watch::Sender::new(State::Open),
        ring: RwLock::new(ring::Ring::new(RING_BYTES, 0)),
        segments: RwLock::default(),
        cursors: Mutex::default(),
        damaged: Mutex::new(HashSet::new()),
        keeper: keeper::Desk::default(),
    };
    let (active, next) =
        if found.is_empty() { begin(&shared, given_out)? } else { resume(&shared, &found, given_out)? };
    let seed = u64::from_le_bytes(super::random().map_err(OpenError::io(&shared.dir))?);
    let max_keys = usize::try_from(shared.max_keys).unwrap_or(usize::MAX);
    let mut index = Index::new(shared.window_s(), max_keys, seed);
    remember(&shared, &active, &mut index)?;
    shared.tail.send_replace(next - 1);
    shared.ring = RwLock::new(ring::Ring::new(RING_BYTES, next - 1));
    shared.metrics.journal_open.set(1);
    shared.metrics.journal_max_bytes.set(i64::try_from(shared.settings.max_bytes).unwrap_or(i64::MAX));
    shared.metrics.journal_bytes.set(shared.bytes() as i64);
    shared.metrics.dedup_keys.set(index.len() as i64);
    Ok((shared, Writer::new(active, index, next)))
}

/// A new journal.
fn begin(shared: &Shared, given_out: u64) -> Result<(Active, u64), OpenError> {
    let data = shared.dir.join("journal");
    let first = given_out + 1;
    let path = data.join(segment::file_name(first));
    let capacity = FIRST_BYTES.min(shared.settings.segment_bytes);
    let temporary = data.join("first.tmp");
    let disk = &*shared.disk;
    let made = (|| {
        let file = segment::make_zeroed(disk, &temporary, capacity, Zeros::Written)?;
        let header = Header {
            epoch: u32::from_le_bytes(super::random()?),
            first,
            created_ms: (shared.clock)(),
            journal: shared.id,
            previous_first: 0,
            previous_end: 0,
            previous_epoch: 0,
        };
        let end = start_segment(&*file, &header, &[])?;
        disk.rename(&temporary, &path)?;
        sync_names(disk, &shared.dir)?;
        Ok((file, header, end))
    })();
    let (file, header, end) = made.map_err(OpenError::io(&path))?;
    let segment = Arc::new(Segment::new(path, header, end.offset, given_out, capacity));
    set_segments(shared, vec![segment.clone()]);
    Ok((
        Active { segment, file, end, limit: capacity, keys: Keys::new(), batches: 0, batch_bytes: 0, broken: false },
        first,
    ))
}

/// The names of the segments, and of the directories that they are in, are on disk.
fn sync_names(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.sync_dir(&dir.join("journal"))?;
    disk.sync_dir(dir)?;
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    // All the way up: who made them, this process or one that was killed, is not known any more.
    for above in dir.ancestors().skip(1) {
        match disk.sync_dir(if above.as_os_str().is_empty() { Path::new(".") } else { above }) {
            // Who may not read it, or where nothing can be written, has not made a name in it either.
            Err(error)
                if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported) =>
            {
                break;
            }
            synced => synced?,
        }
    }
    Ok(())
}

fn set_segments(shared: &Shared, segments: Vec<Arc<Segment>>) {
    *shared.segments.write().unwrap_or_else(std::sync::PoisonError::into_inner) = segments;
}

/// Goes on where the last process stopped, however it stopped.
fn resume(shared: &Shared, found: &[Found], given_out: u64) -> Result<(Active, u64), OpenError> {
    let mut segments = Vec::new();
    for pair in found.windows(2) {
        let (this, next) = (&pair[0], &pair[1].header);
        let known = next.previous_first == this.header.first && next.previous_end >= DATA_START;
        let end = if known { next.previous_end.min(this.bytes) } else { frames_end(shared, this)? };
        if known && next.previous_end > this.bytes {
            shared.metrics.journal_damaged.inc();
            let missing = next.previous_end - this.bytes;
            tracing::error!("the last {missing} B of {} are missing: the file was cut", this.path.display());
        }
        let segment = Segment::new(this.path.clone(), this.header, end, next.first - 1, this.bytes);
        segment.seal(next.created_ms);
        segments.push(Arc::new(segment));
    }
    let Some(last) = found.last() else { return begin(shared, given_out) };
    // An earlier process may have ended before that, and what is found is built upon from now on.
    sync_names(&*shared.disk, &shared.dir).map_err(OpenError::io(&shared.dir))?;
    let mut cursors = BTreeMap::new();
    let mut tail = tail::read(shared, last, &mut cursors)?;
    if !tail.checkpoint {
        older_cursors(shared, found, &mut cursors)?;
    }
    // A position that may have been given out is not given out again: a backend may hold its event.
    let seen = cursors.values().map(|cursor| cursor.decided.max(cursor.published)).max();
    tail.skip_to(given_out.max(seen.unwrap_or(0)), last.header.epoch, (shared.clock)());
    *super::lock(&shared.cursors) = Cursors::new(cursors);
    let segment = Arc::new(Segment::new(last.path.clone(), last.header, tail.offset, tail.last, last.bytes));
    segments.push(segment.clone());
    set_segments(shared, segments);
    for (offset, length) in tail.damage {
        shared.set_aside(&segment, offset, length);
    }
    let limit = last.bytes.max(shared.settings.segment_bytes.min(FIRST_BYTES));
    let end = End::of(&*tail.file, tail.offset).map_err(OpenError::io(&last.path))?;
    let active =
        Active { segment, file: tail.file, end, limit, keys: tail.keys, batches: 0, batch_bytes: 0, broken: false };
    Ok((active, tail.last + 1))
}

/// Behind the last byte that is not zero, or the last frame: where the frames of a sealed segment end
/// whose successor, which knew, is gone.
fn frames_end(shared: &Shared, found: &Found) -> Result<u64, OpenError> {
    let io = |error| OpenError::io(&found.path)(error);
    let file = shared.disk.open(&found.path).map_err(io)?;
    let mut scan = Scan::new(file, found.header.epoch, DATA_START, found.bytes);
    while scan.next().map_err(io)?.is_some() {}
    scan.nonzero_end().map_err(io)
}

/// The last segment lost its checkpoint: cursors of the segments before, under what the last one still says.
/// Older cursors cost duplicates, never loss.
fn older_cursors(shared: &Shared, found: &[Found], newest: &mut BTreeMap<String, Cursor>) -> Result<(), OpenError> {
    tracing::warn!(
        "the newest checkpoint is damaged: cursors come from older ones, some events may be published again"
    );
    for segment in found.iter().rev().skip(1) {
        let file = shared.disk.open(&segment.path).map_err(OpenError::io(&segment.path))?;
        let mut scan = Scan::new(file, segment.header.epoch, DATA_START, segment.bytes);
        let mut older = BTreeMap::new();
        let mut checkpoint = false;
        while let Some(step) = scan.next().map_err(OpenError::io(&segment.path))? {
            match step {
                Step::Frame(frame, _, body) if matches!(frame.kind, Kind::Checkpoint | Kind::Cursors) => {
                    checkpoint |= frame.kind == Kind::Checkpoint;
                    cursors::apply(&body, &mut older);
                }
                Step::Frame(..) | Step::Damage { .. } => {}
            }
        }
        older.append(newest);
        *newest = older;
        if checkpoint {
            break;
        }
    }
    Ok(())
}

/// Enters the keys of sidecars and of sealed segments without one, oldest first, then those of the active segment.
/// Never more of them are in memory beside the index than one segment has.
fn remember(shared: &Shared, active: &Active, index: &mut Index) -> Result<(), OpenError> {
    let now_s = ((shared.clock)() / 1000) as u32;
    let mut enter = |keys: &Keys| {
        for &(key, time_s) in keys {
            if u64::from(now_s.saturating_sub(time_s)) <= shared.window_s() {
                index.insert(key, time_s, 0);
            }
        }
    };
    // The index would drop those that are more than it holds.
    let (more, needed) = sidecar::newest(&*shared.disk, &shared.dir, shared.max_keys);
    let mut have: HashSet<u64> = more.into_iter().collect();
    for first in needed {
        if let Some(found) = sidecar::read(&*shared.disk, &shared.dir, first, &shared.id) {
            enter(&found);
            have.insert(first);
        } else {
            let path = sidecar::path(&shared.dir, first);
            tracing::warn!("{} is damaged: its event ids are read from the segment, if it is there", path.display());
        }
    }
    for segment in shared.segments() {
        // However long ago it was sealed: where the clock had gone back by then, its events are younger than that.
        if have.contains(&segment.first) || segment.sealed_ms().is_none() {
            continue;
        }
        let found = scan_keys(shared, &segment).map_err(OpenError::io(&segment.path))?;
        enter(&found);
        shared.keeper.sealed(segment.first, found);
    }
    enter(&active.keys);
    Ok(())
}

fn scan_keys(shared: &Shared, segment: &Segment) -> io::Result<Keys> {
    let file = shared.disk.open(&segment.path)?;
    let mut scan = Scan::new(file, segment.header.epoch, DATA_START, segment.end());
    let mut keys = Keys::new();
    while let Some(step) = scan.next()? {
        if let Step::Frame(frame, ..) = step
            && frame.kind == Kind::Event
            && frame.key != Key::NONE
        {
            keys.push((frame.key, (frame.time_ms / 1000) as u32));
        }
    }
    Ok(keys)
}
