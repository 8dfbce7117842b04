//! Reads the segment that was written to last, and cuts what of its last write is not whole.
//!
//! A write is torn where no frame behind a bad one proves that it was on disk once: no sender was told that any of it
//! is. Where a frame proves that, the bad one is damage, and what stands behind it stays.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use super::cursors::{self, Cursor};
use super::disk::DiskFile;
use super::find::{self, Found};
use super::format::{DATA_START, FRAME_BYTES, Frame, Kind};
use super::scan::{self, Scan, Step};
use super::sidecar::Keys;
use super::{Key, OpenError, Shared};

/// The last segment, read whole.
pub struct Tail {
    /// Open for writing.
    pub file: Box<dyn DiskFile>,
    /// Where the next frame goes.
    pub offset: u64,
    /// The last position that may have been given out.
    pub last: u64,
    /// Keys of its events.
    pub keys: Keys,
    /// Whether it tells all cursors.
    pub checkpoint: bool,
    /// Damaged places: offset and length.
    pub damage: Vec<(u64, u64)>,
    /// The last position that its frames tell.
    told: u64,
}

/// What one walk over the frames finds.
#[derive(Default)]
struct Walk {
    last: u64,
    keys: Keys,
    checkpoint: bool,
    damage: Vec<(u64, u64)>,
    cursors: BTreeMap<String, Cursor>,
    /// Bad places that nothing proves to have been on disk, with the last position before each.
    unproven: Vec<(u64, u64)>,
    /// Events that nothing proves to be on disk: position, and where each ends.
    unsynced: VecDeque<(u64, u64)>,
    /// Everything before is on disk.
    synced_end: u64,
}

impl Walk {
    fn over(scan: &mut Scan, first: u64) -> io::Result<Self> {
        let mut walk = Self { last: first - 1, synced_end: DATA_START, ..Self::default() };
        while let Some(step) = scan.next()? {
            match step {
                Step::Frame(frame, _, body) => walk.frame(&frame, &body, scan.offset()),
                Step::Damage { offset, length } => {
                    walk.unproven.push((offset, walk.last));
                    walk.damage.push((offset, length));
                }
            }
        }
        Ok(walk)
    }

    fn frame(&mut self, frame: &Frame, body: &[u8], end: u64) {
        // Frames without an event are written behind what is on disk.
        let known = frame.sequence.saturating_sub(u64::from(frame.unsynced));
        self.unproven.retain(|&(_, before)| before >= known);
        while let Some((_, end)) = self.unsynced.pop_front_if(|(sequence, _)| *sequence <= known) {
            self.synced_end = end;
        }
        self.last = self.last.max(frame.sequence);
        match frame.kind {
            Kind::Event => {
                self.unsynced.push_back((frame.sequence, end));
                if frame.key != Key::NONE {
                    self.keys.push((frame.key, (frame.time_ms / 1000) as u32));
                }
            }
            Kind::Checkpoint => {
                self.checkpoint = true;
                self.cursors.clear();
                cursors::apply(body, &mut self.cursors);
            }
            Kind::Cursors => cursors::apply(body, &mut self.cursors),
            Kind::Unknown => {}
        }
    }
}

/// Reads the segment, cuts a torn write off, and sees to it that all that is left is on disk.
///
/// # Errors
/// The file cannot be read or written.
pub fn read(shared: &Shared, found: &Found, cursors: &mut BTreeMap<String, Cursor>) -> Result<Tail, OpenError> {
    let path = &found.path;
    let io = |error| OpenError::io(path)(error);
    let file = shared.disk.open_to_write(path).map_err(io)?;
    let mut scan = Scan::new(file, found.header.epoch, DATA_START, found.bytes);
    let mut walk = Walk::over(&mut scan, found.header.first).map_err(io)?;
    if let Some(&(torn, _)) = walk.unproven.first() {
        let whole = scan.offset();
        scan.seek(DATA_START);
        scan.set_end(torn);
        let before = Walk::over(&mut scan, found.header.first).map_err(io)?;
        // Their positions may not be given out again.
        walk = Walk { last: walk.last.max(before.last), ..before };
        scan.seek(torn);
        tracing::debug!("frames between {torn} and {whole} belong to a write that is not whole");
    }
    let offset = scan.offset();
    scan.set_end(found.bytes);
    let torn_end = scan.nonzero_end().map_err(io)?;
    let file = scan.into_file();
    // What an earlier process wrote may be in memory only, and its sync may have failed: pages that the kernel takes
    // for clean are written again, so that nothing is confirmed or delivered before it is on disk.
    rewrite(&*file, walk.synced_end, offset).map_err(io)?;
    let told = walk.last;
    if torn_end > offset {
        let length = torn_end - offset;
        tracing::warn!("{length} B of an unfinished write were cut from {} at {offset}", path.display());
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(64 << 20)];
        let name = format!("{:020}-{offset}.tail", found.header.first);
        let kept = file.read_exact_at(&mut bytes, offset);
        let kept =
            kept.and_then(|()| find::keep_aside(&*shared.disk, &shared.dir, &name, |to| shared.disk.write(to, &bytes)));
        if let Err(error) = kept {
            tracing::error!("they cannot be kept aside: {error}");
        }
        walk.last += length.div_ceil(FRAME_BYTES as u64);
        clear(&*file, offset, torn_end).map_err(io)?;
    }
    file.sync_all().map_err(io)?;
    *cursors = walk.cursors;
    let Walk { last, keys, checkpoint, damage, .. } = walk;
    Ok(Tail { file, offset, last, keys, checkpoint, damage, told })
}

impl Tail {
    /// No position up to `position` is given out again. What was skipped is written down: a gap is no damage.
    pub fn skip_to(&mut self, position: u64, epoch: u32, now_ms: u64) {
        self.last = self.last.max(position);
        if self.last == self.told {
            return;
        }
        let frame = Frame {
            length: 0,
            sequence: self.last,
            time_ms: now_ms,
            key: Key::NONE,
            kind: Kind::Cursors,
            unsynced: 0,
            attributes: 0,
        };
        let mut bytes = Vec::new();
        frame.encode(epoch, &[], &[], &mut bytes);
        match self.file.write_all_at(&bytes, self.offset).and_then(|()| self.file.sync_all()) {
            Ok(()) => self.offset += bytes.len() as u64,
            // A full disk must not keep the backlog from its backends; the next event overwrites it.
            Err(error) => tracing::warn!("cannot note the positions that are left out: {error}"),
        }
    }
}

/// Writes `[from, to)` with what it holds; the zeros that fill up its last frame may not be there yet.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)];
    scan::read_up_to(file, &mut bytes, from)?;
    file.write_all_at(&bytes, from)
}

/// Overwrites `[from, to)` with zeros, so that no later start takes it for a torn write.
fn clear(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut offset = from;
    while offset < to {
        let part = zeros.len().min((to - offset) as usize);
        file.write_all_at(&zeros[..part], offset)?;
        offset += part as u64;
    }
    Ok(())
}
