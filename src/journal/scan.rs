//! Walks the frames of a segment, from memory or from a file, and finds the way again behind damage.

use std::io;

use bytes::Bytes;

use super::disk::DiskFile;
use super::format::{FRAME_BYTES, Frame};

/// Bytes read from a file at once, or one larger event, while the disk reads as many ahead: a sync of events waits for both.
const CHUNK: usize = 256 << 10;

/// What stands at a place of a segment.
#[derive(Debug)]
pub enum Step {
    /// A valid frame: its fixed part, attributes and body.
    Frame(Frame, Bytes, Bytes),
    /// Bytes that are no valid frame, with valid ones behind them.
    Damage {
        /// Where they begin.
        offset: u64,
        /// How many.
        length: u64,
    },
}

/// Reads a segment's frames one after another.
pub struct Scan {
    file: Box<dyn DiskFile>,
    epoch: u32,
    /// Where the next frame is looked for.
    offset: u64,
    /// Nothing is read from here on.
    end: u64,
    chunk: Bytes,
    chunk_offset: u64,
}

impl Scan {
    /// A scan of `[offset, end)` of a segment with this epoch.
    pub fn new(file: Box<dyn DiskFile>, epoch: u32, offset: u64, end: u64) -> Self {
        Self { file, epoch, offset, end, chunk: Bytes::new(), chunk_offset: offset }
    }

    /// Nothing is read from here on.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Moves the end: a segment that is written to grows.
    pub fn set_end(&mut self, end: u64) {
        self.end = end;
    }

    /// Looks for the next frame at `offset`, where one was returned or damage ends.
    pub fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The file, for the one who goes on writing to it.
    pub fn into_file(self) -> Box<dyn DiskFile> {
        self.file
    }

    /// Where the next frame is looked for; behind the last one that was returned.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next valid frame or the damage before it; `None` when no valid frame follows.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self) -> io::Result<Option<Step>> {
        if let Some((frame, bytes)) = self.frame_at(self.offset)? {
            self.offset += Frame::size(frame.length) as u64;
            let attributes = bytes.slice(FRAME_BYTES..FRAME_BYTES + frame.attributes);
            let body = bytes.slice(FRAME_BYTES + frame.attributes..FRAME_BYTES + frame.length);
            return Ok(Some(Step::Frame(frame, attributes, body)));
        }
        let start = self.offset;
        let mut place = start + 8;
        while place + FRAME_BYTES as u64 <= self.end {
            let zeros = zeros(&self.bytes_at(place, FRAME_BYTES)?);
            if zeros >= FRAME_BYTES {
                // No frame begins with so many: free space is passed at the speed of memory.
                place += (zeros - FRAME_BYTES).max(8).next_multiple_of(8) as u64;
                continue;
            }
            if self.frame_at(place)?.is_some() {
                self.offset = place;
                return Ok(Some(Step::Damage { offset: start, length: place - start }));
            }
            place += 8;
        }
        Ok(None)
    }

    /// Behind the last byte from `offset()` on that is not zero; `offset()` if there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn nonzero_end(&mut self) -> io::Result<u64> {
        let mut last = self.offset;
        let mut place = self.offset;
        while place < self.end {
            let bytes = self.bytes_at(place, 8)?;
            if bytes.is_empty() {
                break;
            }
            if zeros(&bytes) < bytes.len()
                && let Some(at) = bytes.iter().rposition(|&b| b != 0)
            {
                last = place + at as u64 + 1;
            }
            place += bytes.len() as u64;
        }
        Ok(last)
    }

    /// The valid frame at `place`, whole; `None` if there is none.
    fn frame_at(&mut self, place: u64) -> io::Result<Option<(Frame, Bytes)>> {
        let head = self.bytes_at(place, FRAME_BYTES)?;
        let Some(frame) = Frame::peek(&head) else { return Ok(None) };
        let size = FRAME_BYTES + frame.length;
        if place + size as u64 > self.end {
            return Ok(None);
        }
        let whole = self.bytes_at(place, size)?;
        Ok(Frame::check(self.epoch, &whole).map(|frame| (frame, whole)))
    }

    /// At least `least` bytes at `place`, fewer only at the end.
    fn bytes_at(&mut self, place: u64, least: usize) -> io::Result<Bytes> {
        let have = |chunk: &Bytes, start: u64| {
            place
                .checked_sub(start)
                .and_then(|skip| chunk.len().checked_sub(skip as usize).map(|rest| (skip as usize, rest)))
        };
        let left = usize::try_from(self.end.saturating_sub(place)).unwrap_or(usize::MAX);
        match have(&self.chunk, self.chunk_offset) {
            Some((skip, rest)) if rest >= least.min(left) => Ok(self.chunk.slice(skip..)),
            _ => {
                let mut buffer = vec![0; least.max(CHUNK).min(left)];
                let (read, end) = fill(&*self.file, &mut buffer, place);
                if read < least.min(left) {
                    // Else what is needed lies before the place that cannot be read.
                    end?;
                }
                if read < left {
                    self.file.will_need(place + read as u64, CHUNK.min(left - read));
                }
                buffer.truncate(read);
                self.chunk = buffer.into();
                self.chunk_offset = place;
                Ok(self.chunk.clone())
            }
        }
    }
}

/// How many zeros `bytes` begin with; compared in blocks, as the free space of a segment is many of them.
fn zeros(bytes: &[u8]) -> usize {
    const BLOCK: [u8; 4096] = [0; 4096];
    let blocks = bytes.chunks_exact(BLOCK.len()).take_while(|block| **block == BLOCK).count() * BLOCK.len();
    blocks + bytes[blocks..].iter().take(BLOCK.len()).take_while(|&&b| b == 0).count()
}

/// Fills `buffer` as far as the file goes, and tells how far that is.
pub fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let (done, end) = fill(file, buffer, offset);
    end.map(|()| done)
}

/// Fills `buffer` as far as it can, and tells how far that is, and why not further.
fn fill(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::Key;
    use super::super::format::Kind;
    use super::*;

    fn frames(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, body) in bodies.iter().enumerate() {
            let frame = Frame {
                length: 0,
                sequence: at as u64 + 1,
                time_ms: 0,
                key: Key::NONE,
                kind: Kind::Event,
                unsynced: 0,
                attributes: 0,
            };
            frame.encode(5, b"", body, &mut out);
        }
        out
    }

    /// A disk on which `bad` and what follows cannot be read.
    #[derive(Default)]
    struct Bad {
        bytes: Vec<u8>,
        bad: u64,
        /// What it is told that is read next.
        next: Arc<Mutex<Vec<(u64, usize)>>>,
    }

    impl DiskFile for Bad {
        fn size(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }

        fn modified_ms(&self) -> u64 {
            0
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let sound = self.bytes.get(offset as usize..self.bad as usize).unwrap_or_default();
            if sound.is_empty() {
                return Err(io::Error::other("cannot be read"));
            }
            let read = sound.len().min(buffer.len());
            buffer[..read].copy_from_slice(&sound[..read]);
            Ok(read)
        }

        fn will_need(&self, offset: u64, bytes: usize) {
            self.next.lock().unwrap().push((offset, bytes));
        }

        fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!("only read")
        }

        fn sync_data(&self) -> io::Result<()> {
            unreachable!("only read")
        }

        fn sync_all(&self) -> io::Result<()> {
            unreachable!("only read")
        }
    }

    #[test]
    fn frames_before_a_place_that_cannot_be_read_are_found() {
        let bytes = frames(&[b"aaaa", b"bbbb", b"cccc", b"dddd"]);
        for bad in [112, 113, 152, 163] {
            let end = bytes.len() as u64;
            let mut scan = Scan::new(Box::new(Bad { bytes: bytes.clone(), bad, ..Bad::default() }), 5, 0, end);
            for sequence in [1, 2] {
                let step = scan.next().unwrap();
                assert!(matches!(step, Some(Step::Frame(frame, ..)) if frame.sequence == sequence), "{bad}: {step:?}");
            }
            assert!(scan.next().is_err() && scan.offset() == 112, "{bad}: it is no damage");
        }
    }

    fn walk(bytes: &[u8]) -> Vec<String> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let mut scan = Scan::new(Box::new(file), 5, 0, bytes.len() as u64);
        let mut seen = Vec::new();
        while let Some(step) = scan.next().unwrap() {
            seen.push(match step {
                Step::Frame(frame, _, body) => format!("{}:{}", frame.sequence, body.len()),
                Step::Damage { offset, length } => format!("damage {offset}+{length}"),
            });
        }
        seen
    }

    #[test]
    fn frames_come_in_order_across_reads() {
        let big = vec![7; CHUNK + 100];
        assert_eq!(walk(&frames(&[b"a", &big, b"", b"bcd"])), ["1:1", "2:262244", "3:0", "4:3"]);
    }

    #[test]
    fn the_disk_is_told_what_is_read_next_and_no_more_than_a_sync_can_wait_for() {
        let bytes = frames(&[&vec![7; CHUNK / 4][..]; 9]);
        let (end, next) = (bytes.len() as u64, Arc::default());
        let file = Bad { bytes, bad: end, next: Arc::clone(&next) };
        let mut scan = Scan::new(Box::new(file), 5, 0, end);
        while scan.next().unwrap().is_some() {}
        let next = next.lock().unwrap();
        assert_eq!(next[0], (CHUNK as u64, CHUNK));
        assert!(next.len() >= 2 && next.iter().all(|&(at, bytes)| bytes <= CHUNK && at + bytes as u64 <= end));
        assert_eq!(next.last().map(|&(at, bytes)| at + bytes as u64), Some(end));
    }

    #[test]
    fn damage_costs_only_the_frame_that_it_hit() {
        let mut bytes = frames(&[b"aaaa", b"bbbb", b"cccc"]);
        bytes[56 + 50] ^= 1;
        assert_eq!(walk(&bytes), ["1:4", "damage 56+56", "3:4"]);
        // A length that is wild.
        bytes[56..60].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(walk(&bytes), ["1:4", "damage 56+56", "3:4"]);
    }

    #[test]
    fn a_frame_is_found_behind_any_number_of_zeros() {
        for zeros in [8, 40, 48, 56, 64, 4096, 8200, CHUNK + 16] {
            let mut bytes = frames(&[b"aaaa"]);
            bytes.resize(56 + zeros, 0);
            bytes.extend(frames(&[b"x", b"bbbb"]));
            assert_eq!(walk(&bytes), ["1:4".to_owned(), format!("damage 56+{zeros}"), "1:1".into(), "2:4".into()]);
        }
    }

    #[test]
    fn a_torn_tail_ends_the_walk() {
        let bytes = frames(&[b"aaaa", b"bbbb"]);
        assert_eq!(walk(&bytes[..bytes.len() - 8]), ["1:4"]);
    }
}
