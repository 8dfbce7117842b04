//! One file of the journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::{Disk, DiskFile, Zeros};
use super::format::{HEADER_COPY, Header};

/// Bytes of the file system that no segment takes: dead letters and event ids are written there.
const RESERVE: u64 = 16 << 20;

/// Least bytes between two marks of a segment.
pub const MARK: u64 = 1 << 20;

/// A segment as readers and the keeper see it; the writer alone has it open for writing.
pub struct Segment {
    /// No event of it has a lower sequence.
    pub first: u64,
    /// Its header.
    pub header: Header,
    /// Its file.
    pub path: PathBuf,
    /// Where the synced frames end, bytes.
    end: AtomicU64,
    /// Sequence of its last event, or `first - 1`.
    last: AtomicU64,
    /// Bytes of the file.
    capacity: AtomicU64,
    /// When it was sealed, Unix time, milliseconds; 0 while it is written to.
    sealed_ms: AtomicU64,
    /// Places that readers have passed: all events behind the offset have a higher sequence. In order.
    marks: Mutex<Vec<(u64, u64)>>,
}

impl Segment {
    /// A segment whose frames end at `end` and whose last event is `last`.
    pub fn new(path: PathBuf, header: Header, end: u64, last: u64, capacity: u64) -> Self {
        Self {
            first: header.first,
            header,
            path,
            end: end.into(),
            last: last.into(),
            capacity: capacity.into(),
            sealed_ms: 0.into(),
            marks: Mutex::default(),
        }
    }

    /// Remembers that all events behind `offset` have a higher sequence than `sequence`.
    pub fn mark(&self, sequence: u64, offset: u64) {
        let mut marks = super::lock(&self.marks);
        let at = marks.partition_point(|&(_, known)| known < offset);
        let near = |mark: Option<&(u64, u64)>| mark.is_some_and(|(_, known)| known.abs_diff(offset) < MARK);
        if !near(marks.get(at)) && !near(at.checked_sub(1).and_then(|before| marks.get(before))) {
            marks.insert(at, (sequence, offset));
        }
    }

    /// The last known offset with no event behind `after` before it.
    pub fn near(&self, after: u64) -> Option<u64> {
        let marks = super::lock(&self.marks);
        let at = marks.partition_point(|&(sequence, _)| sequence <= after);
        at.checked_sub(1).and_then(|at| marks.get(at)).map(|&(_, offset)| offset)
    }

    /// Where the synced frames end, bytes.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Sequence of its last synced event.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Bytes of the file.
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// When it was sealed, Unix time, milliseconds; `None` while it is written to.
    pub fn sealed_ms(&self) -> Option<u64> {
        Some(self.sealed_ms.load(Ordering::Acquire)).filter(|&ms| ms > 0)
    }

    /// Everything up to `end` and `last` is synced. Who reads `last` first finds at least its frame before `end`.
    pub fn grow(&self, end: u64, last: u64) {
        self.capacity.fetch_max(end, Ordering::Relaxed);
        self.end.store(end, Ordering::Release);
        self.last.store(last, Ordering::Release);
    }

    /// Nothing is written to it any more.
    pub fn seal(&self, now_ms: u64) {
        self.sealed_ms.store(now_ms.max(1), Ordering::Release);
    }
}

/// Name of the segment whose first sequence is `first`.
pub fn file_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The first sequence that the name of a segment tells; `None` if it is no such name.
pub fn first_of(path: &Path) -> Option<u64> {
    let name = path.file_stem()?.to_str()?;
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok())?
}

/// Whether a file of `bytes` can be made in `dir` and the rest of the bridge keeps room for what it must write.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`], or the file system cannot be asked.
pub fn has_room(disk: &dyn Disk, dir: &Path, bytes: u64) -> io::Result<()> {
    let free = disk.free_bytes(dir)?;
    if free < bytes + bytes.min(RESERVE) {
        let message = format!("{free} B are free, {} are needed", bytes + bytes.min(RESERVE));
        return Err(io::Error::new(io::ErrorKind::StorageFull, message));
    }
    Ok(())
}

/// Makes a file of `bytes` zeros.
///
/// # Errors
/// No space, or another failure; the file is gone then.
pub fn make_zeroed(disk: &dyn Disk, path: &Path, bytes: u64, zeros: Zeros) -> io::Result<Box<dyn DiskFile>> {
    disk.create_zeroed(path, bytes, zeros).inspect_err(|_| {
        // Half a file is of no use and takes the room that others need.
        let _ = disk.remove(path);
    })
}

/// Writes both copies of the header.
///
/// # Errors
/// The file cannot be written.
pub fn write_header(file: &dyn DiskFile, header: &Header) -> io::Result<()> {
    file.write_all_at(&header.encode(), HEADER_COPY)?;
    file.write_all_at(&header.encode(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_noted_once_in_each_stretch_and_found_from_behind() {
        let header = Header {
            epoch: 1,
            first: 1,
            created_ms: 1,
            journal: [0; 16],
            previous_first: 0,
            previous_end: 0,
            previous_epoch: 0,
        };
        let segment = Segment::new("x".into(), header, 0, 0, 0);
        for (sequence, offset) in
            [(50, 5 * MARK), (30, 3 * MARK), (29, 3 * MARK - 1), (55, 6 * MARK - 1), (60, 6 * MARK)]
        {
            segment.mark(sequence, offset);
        }
        let near = [29, 30, 49, 50, 59, 60, 99].map(|after| segment.near(after).map(|offset| offset / MARK));
        assert_eq!(near, [None, Some(3), Some(3), Some(5), Some(5), Some(6), Some(6)]);
    }
}
