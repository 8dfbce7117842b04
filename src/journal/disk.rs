//! The file operations of the journal: [`System`] is the operating system's; the model of the tests puts a disk
//! in its place that loses what was not synced, tears what was being written and fails on demand.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

use super::direct::Written;
use super::memory::Pool;

/// Bytes that are zeroed with one call: a sync of events waits for the call that is under way.
const ZEROS: usize = 256 << 10;
/// What file systems read and write at least, bytes; few disks have larger sectors.
pub const BLOCK: usize = 4096;

/// What the zeros of a new file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeros {
    /// On disk: what is written over them later changes nothing else at its sync, and costs the disk twice its bytes.
    Written,
    /// Blocks that are set aside: each sync of what is written there for the first time says so on disk as well.
    /// Where a file system knows no such blocks the file is empty.
    Reserved,
}

/// Where the journal's files are. Names of files are durable after [`Disk::sync_dir`], their bytes after a sync of the file.
pub trait Disk: Send + Sync {
    /// Makes a directory and those above it; one that is there is no error.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Paths of all that is in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Whether there is something at `path`.
    fn exists(&self, path: &Path) -> bool;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes an empty file, in place of one that is there, open for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes a file of `bytes` zeros, in place of one that is there, open for reading and writing.
    fn create_zeroed(&self, path: &Path, bytes: u64, zeros: Zeros) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of one that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Syncs the names in a directory.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that a user may still write to the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Everything that a file holds.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Makes a file that holds `bytes`, synced.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.create(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()
    }
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Its bytes.
    fn size(&self) -> io::Result<u64>;
    /// When it was last written to, Unix time, milliseconds; 0 if that is not known.
    fn modified_ms(&self) -> u64;
    /// Reads up to the length of `buffer`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`; on an error some of them may be written. Many whole blocks at an address that is a
    /// multiple of [`BLOCK`] may go past the page cache.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// What was written is on disk, and the size that it needs (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// All of the file is on disk (`fsync`).
    fn sync_all(&self) -> io::Result<()>;

    /// So many bytes are read there next: the disk may begin.
    fn will_need(&self, _offset: u64, _bytes: usize) {}

    /// Fills `buffer` or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The operating system's files.
pub struct System;

impl Disk for System {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::open(path)?;
        // What is read ahead is for us to say: of its own accord the kernel may read 8 MiB, for which syncs of events wait.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Random);
        Ok(Box::new(file))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Written::open(path, OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Written::open(path, new_file(path)?)))
    }

    fn create_zeroed(&self, path: &Path, bytes: u64, zeros: Zeros) -> io::Result<Box<dyn DiskFile>> {
        let file = Written::open(path, new_file(path)?);
        if zeros == Zeros::Reserved {
            return match rustix::fs::fallocate(&file.file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Box::new(file)),
                Err(error) => Err(error.into()),
            };
        }
        let zeros = Pool::default().take(ZEROS);
        let mut offset = 0;
        while offset < bytes {
            let part = &zeros[..ZEROS.min(usize::try_from(bytes - offset).unwrap_or(ZEROS))];
            file.write_all_at(part, offset)?;
            offset += part.len() as u64;
        }
        file.sync_all()?;
        // Where they went through the page cache, they take room there for nothing.
        let _ = rustix::fs::fadvise(&file.file, 0, None, Advice::DontNeed);
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(dir)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// Whether there is no room: on the disk, or for this user.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An empty file, whatever was there; the group may read it.
pub fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o640).open(path)
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn modified_ms(&self) -> u64 {
        let modified = self.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
        modified.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn will_need(&self, offset: u64, bytes: usize) {
        // Where it is not known as advice, reading waits a little longer.
        let _ = rustix::fs::fadvise(self, offset, std::num::NonZeroU64::new(bytes as u64), Advice::WillNeed);
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::scan::read_up_to;
    use super::*;

    /// Gives three bytes at a time, and is interrupted every other time; behind `sound` bytes the disk fails.
    struct Halting {
        reads: AtomicU32,
        sound: u64,
    }

    const BYTES: &[u8] = b"0123456789";

    impl DiskFile for Halting {
        fn size(&self) -> io::Result<u64> {
            Ok(BYTES.len() as u64)
        }

        fn modified_ms(&self) -> u64 {
            0
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            if self.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if offset >= self.sound {
                return Err(io::Error::other("broken"));
            }
            let rest = BYTES.get(offset as usize..).unwrap_or_default();
            let read = rest.len().min(buffer.len()).min(3);
            buffer[..read].copy_from_slice(&rest[..read]);
            Ok(read)
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

    fn exact(sound: u64, at: u64, length: usize) -> Result<Vec<u8>, io::ErrorKind> {
        let file = Halting { reads: AtomicU32::new(0), sound };
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, at).map(|()| buffer).map_err(|error| error.kind())
    }

    fn up_to(sound: u64, at: u64, length: usize) -> Result<Vec<u8>, io::ErrorKind> {
        let file = Halting { reads: AtomicU32::new(0), sound };
        let mut buffer = vec![0; length];
        let read = read_up_to(&file, &mut buffer, at).map_err(|error| error.kind())?;
        buffer.truncate(read);
        Ok(buffer)
    }

    #[test]
    fn a_read_goes_on_where_it_was_interrupted_or_came_short() {
        assert_eq!((exact(99, 1, 8).unwrap(), up_to(99, 1, 8).unwrap()), (b"12345678".to_vec(), b"12345678".to_vec()));
        assert_eq!(exact(99, 1, 10), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(up_to(99, 1, 10).unwrap(), b"123456789");
        assert_eq!((exact(4, 1, 8), up_to(4, 1, 8)), (Err(io::ErrorKind::Other), Err(io::ErrorKind::Other)));
    }

    #[test]
    fn the_systems_files_tell_size_and_time_and_are_private_to_a_group() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        System.write(&path, b"0123").unwrap();
        let file = System.open(&path).unwrap();
        assert_eq!(file.size().unwrap(), 4);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        let time = UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(file.modified_ms(), 1_700_000_000_123);
        assert!(file.write_all_at(b"x", 0).is_err(), "opened for reading");
        assert!(System.free_bytes(dir.path()).unwrap() > 1 << 20);
    }

    #[test]
    fn a_file_of_zeros_is_zeros_to_its_end_whatever_was_there() {
        for dir in [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()] {
            let path = dir.path().join("x");
            for bytes in [64 << 10, 3 << 19, (2 << 20) + 1] {
                std::fs::write(&path, vec![7; 5 << 20]).unwrap();
                for zeros in [Zeros::Written, Zeros::Reserved] {
                    let file = System.create_zeroed(&path, bytes, zeros).unwrap();
                    assert_eq!(file.size().unwrap(), bytes);
                    assert!(System.read(&path).unwrap().iter().all(|&byte| byte == 0));
                    file.write_all_at(b"x", bytes - 1).unwrap();
                }
            }
        }
    }
}
