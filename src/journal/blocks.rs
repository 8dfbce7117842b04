//! What is written to a segment at once: whole blocks, at their place in memory as on disk.
//!
//! A block that is written in part would be read from the disk first, and only whole ones can go past the page cache
//! ([`super::disk::DiskFile::write_all_at`]): the block that the last write has begun is written again with what it held,
//! the last one is filled up with zeros.

use std::io;

use bytes::Bytes;

use super::disk::{BLOCK, DiskFile};

/// Frames of this many bytes are kept where they were put together: what lies around them is little beside them.
const LARGE: usize = 16 * BLOCK;

/// Where the frames of a segment end.
pub struct End {
    /// Bytes before it.
    pub offset: u64,
    /// What the block before it holds, if it is not full.
    begun: Vec<u8>,
}

impl End {
    /// The end at `offset` of `file`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(file: &dyn DiskFile, offset: u64) -> io::Result<Self> {
        let mut begun = vec![0; (offset % BLOCK as u64) as usize];
        let start = offset - begun.len() as u64;
        file.read_exact_at(&mut begun, start)?;
        Ok(Self { offset, begun })
    }

    /// Room for frames of `room` bytes.
    pub fn blocks(&self, room: usize) -> Blocks {
        let mut bytes = Vec::<u8>::with_capacity(self.begun.len() + room + 2 * BLOCK);
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        bytes.resize(start, 0);
        bytes.extend_from_slice(&self.begun);
        Blocks { start, frames: bytes.len(), bytes }
    }

    /// Writes `blocks` here, nothing but their frames beyond `limit`, and moves behind them.
    ///
    /// # Errors
    /// The file cannot be written; a part of them may be.
    pub fn write(&mut self, blocks: &mut Blocks, file: &dyn DiskFile, limit: u64) -> io::Result<()> {
        let filled = blocks.bytes.len();
        let end = self.offset + blocks.len() as u64;
        let padding = end.next_multiple_of(BLOCK as u64).min(limit.max(end)) - end;
        blocks.bytes.resize(filled + padding as usize, 0);
        let written = file.write_all_at(&blocks.bytes[blocks.start..], self.offset - self.begun.len() as u64);
        blocks.bytes.truncate(filled);
        written?;
        self.offset = end;
        self.begun.clear();
        let begun = &blocks.bytes[blocks.start..];
        self.begun.extend_from_slice(&begun[begun.len() / BLOCK * BLOCK..]);
        Ok(())
    }
}

/// Frames that are put together for one write.
pub struct Blocks {
    bytes: Vec<u8>,
    /// Where the first block begins: an address that the disk takes.
    start: usize,
    /// Where the new frames begin.
    frames: usize,
}

impl Blocks {
    /// What the frames are appended to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes of the frames.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.frames
    }

    /// The frames.
    pub fn into_frames(mut self) -> Bytes {
        if self.len() < LARGE {
            return Bytes::copy_from_slice(&self.bytes[self.frames..]);
        }
        self.bytes.shrink_to_fit();
        Bytes::from(self.bytes).slice(self.frames..)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Writes as they came: offset, bytes, and whether they may go past the page cache.
    #[derive(Default)]
    struct Noting(Mutex<Vec<(u64, Vec<u8>, bool)>>);

    impl DiskFile for Noting {
        fn size(&self) -> io::Result<u64> {
            unreachable!("not asked")
        }

        fn modified_ms(&self) -> u64 {
            unreachable!("not asked")
        }

        fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<usize> {
            buffer.fill(b'o');
            Ok(buffer.len())
        }

        fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            let whole = bytes.len().is_multiple_of(BLOCK) && offset.is_multiple_of(BLOCK as u64);
            let direct = whole && bytes.as_ptr().align_offset(BLOCK) == 0;
            self.0.lock().unwrap().push((offset, bytes.to_vec(), direct));
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            unreachable!("not asked")
        }

        fn sync_all(&self) -> io::Result<()> {
            unreachable!("not asked")
        }
    }

    fn put(end: &mut End, file: &Noting, frames: &[u8], limit: u64) -> Bytes {
        let mut blocks = end.blocks(frames.len());
        blocks.out().extend_from_slice(frames);
        assert_eq!(blocks.len(), frames.len());
        end.write(&mut blocks, file, limit).unwrap();
        blocks.into_frames()
    }

    #[test]
    fn frames_are_written_in_whole_blocks_behind_what_the_first_of_them_holds_already() {
        let (file, block) = (Noting::default(), BLOCK as u64);
        let mut end = End::of(&file, 2 * block + 3).unwrap();
        for (frames, offset, first, length) in [
            (&[b'a'; 5][..], 2 * block, &b"oooaaaaa\0"[..], BLOCK),
            (&[b'b'; BLOCK], 2 * block, b"oooaaaaabb", 2 * BLOCK),
            (&[b'c'; BLOCK - 8], 3 * block, b"bbbbbbbbcc", BLOCK),
            (&[b'd'; LARGE], 4 * block, b"dd", LARGE),
            (b"e", 4 * block + LARGE as u64, b"e\0", BLOCK),
        ] {
            assert_eq!(put(&mut end, &file, frames, u64::MAX), frames);
            let (at, bytes, direct) = file.0.lock().unwrap().pop().unwrap();
            assert_eq!((at, bytes.len(), direct), (offset, length, true));
            assert_eq!(&bytes[..first.len()], first);
            assert_eq!(end.offset, offset + length as u64 - bytes.iter().rev().take_while(|&&b| b == 0).count() as u64);
        }
    }

    #[test]
    fn nothing_but_frames_is_written_beyond_the_limit() {
        let file = Noting::default();
        let mut end = End::of(&file, 0).unwrap();
        for (limit, written) in [(20, 20), (11, 12)] {
            put(&mut end, &file, b"frames", limit);
            assert_eq!(file.0.lock().unwrap().pop().unwrap().1.len(), written);
        }
    }
}
