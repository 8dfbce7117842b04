//! What is written to a segment at once: whole blocks, at their place in memory as on disk.
//!
//! A block that is written in part would be read from the disk first, and only whole ones can go past the page cache
//! ([`super::direct`]): the block that the last write has begun is written again with what it held,
//! the last one is filled up with zeros.

use std::io;

use bytes::Bytes;

use super::direct::DIRECT;
use super::disk::{BLOCK, DiskFile};
use super::format::Frame;
use super::memory::{Memory, Pool};

/// Frames of this many bytes are kept where they were put together; fewer would hold a whole huge page.
const LARGE: usize = 256 * BLOCK;

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

    /// Room for frames of `room` bytes, in memory of `pool` if they are many.
    pub fn blocks(&self, room: usize, pool: &Pool) -> Blocks {
        let most = self.begun.len() + room + 2 * BLOCK;
        let mut memory = if room < DIRECT { Memory::heap(most) } else { pool.take(most) };
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        let frames = start + self.begun.len();
        memory[start..frames].copy_from_slice(&self.begun);
        Blocks { memory, start, frames, end: frames }
    }

    /// Writes `blocks` here, nothing but their frames beyond `limit`, and moves behind them.
    ///
    /// # Errors
    /// The file cannot be written; a part of them may be.
    pub fn write(&mut self, blocks: &mut Blocks, file: &dyn DiskFile, limit: u64) -> io::Result<()> {
        let end = self.offset + blocks.len() as u64;
        let padding = end.next_multiple_of(BLOCK as u64).min(limit.max(end)) - end;
        let padded = blocks.end + padding as usize;
        blocks.memory[blocks.end..padded].fill(0);
        file.write_all_at(&blocks.memory[blocks.start..padded], self.offset - self.begun.len() as u64)?;
        self.offset = end;
        self.begun.clear();
        let begun = &blocks.memory[blocks.start..blocks.end];
        self.begun.extend_from_slice(&begun[begun.len() / BLOCK * BLOCK..]);
        Ok(())
    }
}

/// Frames that are put together for one write.
pub struct Blocks {
    memory: Memory,
    /// Where the first block begins: an address that the disk takes.
    start: usize,
    /// Where the new frames begin.
    frames: usize,
    /// Where they end.
    end: usize,
}

impl Blocks {
    /// Appends a frame, for which there must be room.
    pub fn push(&mut self, frame: &Frame, epoch: u32, attributes: &[u8], body: &[u8]) {
        let mut rest = &mut self.memory[self.end..];
        let room = rest.len();
        frame.encode(epoch, attributes, body, &mut rest);
        self.end += room - rest.len();
    }

    /// Bytes of the frames.
    pub fn len(&self) -> usize {
        self.end - self.frames
    }

    /// The frames.
    pub fn into_frames(self) -> Bytes {
        if self.len() < LARGE {
            return Bytes::copy_from_slice(&self.memory[self.frames..self.end]);
        }
        Bytes::from_owner(self.memory).slice(self.frames..self.end)
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

    impl Blocks {
        fn put(&mut self, frames: &[u8]) {
            self.memory[self.end..][..frames.len()].copy_from_slice(frames);
            self.end += frames.len();
        }
    }

    fn put(end: &mut End, file: &Noting, frames: &[u8], limit: u64) -> Bytes {
        let pool = Pool::default();
        // Another batch was there.
        pool.take(1)[..2 * LARGE].fill(b'?');
        let mut blocks = end.blocks(frames.len(), &pool);
        blocks.put(frames);
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
            (&[b'd'; LARGE - 8], 4 * block, b"dd", LARGE),
            (b"e", 3 * block + LARGE as u64, b"dd", BLOCK),
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
