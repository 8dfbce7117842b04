//! Files that are written to: what is large past the page cache.
//!
//! A copy of every event there would cost as much as its signature, and push useful pages out.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;

use super::disk::{BLOCK, DiskFile};

/// Writes of so many bytes go past the page cache: batches under load. A smaller one costs little, and a cursor before it in the
/// same block would have to reach the disk first.
pub const DIRECT: usize = 4 * BLOCK;

/// A file that is open for writing.
pub struct Written {
    /// For everything else.
    pub file: File,
    /// The same, for direct writes.
    direct: Option<File>,
    /// The file system takes no direct writes.
    refused: AtomicBool,
}

impl Written {
    /// `file` at `path`, with direct writes if its file system takes them.
    pub fn open(path: &Path, file: File) -> Self {
        let direct = OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path);
        Self { file, direct: direct.ok(), refused: false.into() }
    }
}

impl DiskFile for Written {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn modified_ms(&self) -> u64 {
        self.file.modified_ms()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let whole = offset.is_multiple_of(BLOCK as u64) && bytes.len().is_multiple_of(BLOCK) && bytes.len() >= DIRECT;
        if let Some(direct) = &self.direct
            && whole
            && bytes.as_ptr().align_offset(BLOCK) == 0
            && !self.refused.load(Ordering::Relaxed)
        {
            match FileExt::write_all_at(direct, bytes, offset) {
                // Not every file system takes such writes.
                Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                    tracing::debug!("direct writes are refused, the page cache takes them: {error}");
                    self.refused.store(true, Ordering::Relaxed);
                }
                written => return written,
            }
        }
        FileExt::write_all_at(&self.file, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Disk as _, System, new_file};
    use super::*;

    /// Many blocks of `byte` at an address that a direct write takes, and the same beside it.
    fn block(byte: u8, bytes: &mut Vec<u8>) -> (&[u8], &[u8]) {
        bytes.resize(DIRECT + BLOCK + 1, byte);
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        let beside = if start == 0 { 1 } else { 0 };
        (&bytes[start..][..DIRECT], &bytes[beside..][..DIRECT])
    }

    #[test]
    fn what_is_written_past_the_page_cache_and_through_it_is_one_file() {
        for dir in [tempfile::tempdir_in(".").unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()] {
            let path = dir.path().join("x");
            let file = Written::open(&path, new_file(&path).unwrap());
            let mut memory = (Vec::new(), Vec::new());
            let ((a, _), (_, b)) = (block(b'a', &mut memory.0), block(b'b', &mut memory.1));
            for (bytes, offset) in [(b, 0), (a, DIRECT as u64), (b, 2 * DIRECT as u64 - 1), (a, 0), (&b[..1], 1)] {
                file.write_all_at(bytes, offset).unwrap();
                let mut read = vec![0; bytes.len()];
                System.open(&path).unwrap().read_exact_at(&mut read, offset).unwrap();
                assert_eq!(read, bytes);
            }
            DiskFile::sync_data(&file).unwrap();
            // ext4, XFS and Btrfs, as <linux/magic.h> numbers them, take direct writes.
            if [0xef53, 0x5846_5342, 0x9123_683e].contains(&rustix::fs::statfs(dir.path()).unwrap().f_type) {
                assert!(file.direct.is_some() && !file.refused.load(Ordering::Relaxed));
            }
            let whole = [b"ab", &[b'a'; 2 * DIRECT - 3][..], &[b'b'; DIRECT]].concat();
            assert_eq!(System.read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn where_direct_writes_are_refused_the_page_cache_takes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        // It takes numbers only, and says EINVAL to everything else.
        let refusing = OpenOptions::new().write(true).open("/proc/self/oom_score_adj").unwrap();
        let file = Written { file: new_file(&path).unwrap(), direct: Some(refusing), refused: false.into() };
        let mut memory = Vec::new();
        let (aligned, _) = block(b'a', &mut memory);
        file.write_all_at(aligned, 0).unwrap();
        assert!(file.refused.load(Ordering::Relaxed), "not asked again");
        assert_eq!(System.read(&path).unwrap(), aligned);
    }
}
