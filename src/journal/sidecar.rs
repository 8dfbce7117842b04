//! The keys of a sealed segment in a small file, so that a start need not read whole segments,
//! and so that keys outlive their segment for as long as the window lasts.
//!
//! `sidecar = magic 8, version u32, count u32, journal id 16, (key 16, time s u32)*, crc u32`

use std::io;
use std::path::{Path, PathBuf};

use super::Key;
use super::disk::Disk;

const MAGIC: &[u8; 8] = b"HOOKIDS\n";
const VERSION: u32 = 1;
const HEAD: usize = 32;
const ENTRY: usize = 20;

/// Keys with the time at which each was accepted, Unix time, seconds.
pub type Keys = Vec<(Key, u32)>;

/// The file of the segment whose first sequence is `first`.
pub fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join("dedup").join(format!("{first:020}.ids"))
}

/// Writes the keys of a segment; whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(disk: &dyn Disk, dir: &Path, first: u64, journal: &[u8; 16], keys: &Keys) -> io::Result<()> {
    let mut out = Vec::with_capacity(HEAD + keys.len() * ENTRY + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(keys.len() as u32).to_le_bytes());
    out.extend_from_slice(journal);
    for (key, time_s) in keys {
        out.extend_from_slice(&key.0);
        out.extend_from_slice(&time_s.to_le_bytes());
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    let path = path(dir, first);
    let parent = dir.join("dedup");
    disk.create_dir_all(&parent)?;
    let temporary = path.with_extension("tmp");
    disk.write(&temporary, &out)?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(&parent)?;
    // That it is there does not say that its own name is on disk: the sync of an earlier write may have failed.
    disk.sync_dir(dir)
}

/// The keys of the segment whose first sequence is `first`; `None` if they are missing, damaged or of another journal.
pub fn read(disk: &dyn Disk, dir: &Path, first: u64, journal: &[u8; 16]) -> Option<Keys> {
    let bytes = disk.read(&path(dir, first)).ok()?;
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let number = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?)) };
    let count = number(12)? as usize;
    let sound = crc32c::crc32c(body) == u32::from_le_bytes(*crc)
        && body.starts_with(MAGIC)
        && number(8)? == VERSION
        && body.get(16..32)? == journal
        && body.len() == HEAD + count * ENTRY;
    if !sound {
        return None;
    }
    let entries = body[HEAD..].chunks_exact(ENTRY);
    entries
        .map(|entry| Some((Key(entry[..16].try_into().ok()?), u32::from_le_bytes(entry[16..].try_into().ok()?))))
        .collect()
}

/// Removes what an interrupted [`write`] has left.
///
/// # Errors
/// The directory cannot be read, or a file not removed.
pub fn tidy(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let paths = match disk.list(&dir.join("dedup")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        paths => paths?,
    };
    for path in paths {
        if path.extension().is_some_and(|extension| extension == "tmp") && super::segment::first_of(&path).is_some() {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

/// First sequences of all sidecars, in order.
pub fn list(disk: &dyn Disk, dir: &Path) -> Vec<u64> {
    let Ok(paths) = disk.list(&dir.join("dedup")) else { return Vec::new() };
    let first = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".ids")?.parse().ok();
    let mut found: Vec<u64> = paths.into_iter().filter_map(first).collect();
    found.sort_unstable();
    found
}

/// First sequences of the sidecars, in order: those that are not needed to know the `most` newest keys, and those that are.
pub fn newest(disk: &dyn Disk, dir: &Path, most: u64) -> (Vec<u64>, Vec<u64>) {
    let mut all = list(disk, dir);
    let mut keys = 0;
    let keys_of = |first: u64| {
        let size = disk.open(&path(dir, first)).and_then(|file| file.size()).unwrap_or(0);
        size.saturating_sub(HEAD as u64) / ENTRY as u64
    };
    let needed = all.iter().rev().take_while(|&&first| {
        let before = keys;
        keys += keys_of(first);
        before < most
    });
    let needed = all.split_off(all.len() - needed.count());
    (all, needed)
}

#[cfg(test)]
mod tests {
    use super::super::disk::System;
    use super::*;

    #[test]
    fn only_the_newest_are_needed_to_know_so_many_keys() {
        let dir = tempfile::tempdir().unwrap();
        for first in 1..=4 {
            write(&System, dir.path(), first, &[7; 16], &vec![(Key([first as u8; 16]), 5); 10]).unwrap();
        }
        assert_eq!(newest(&System, dir.path(), 20), (vec![1, 2], vec![3, 4]));
        assert_eq!(newest(&System, dir.path(), 21), (vec![1], vec![2, 3, 4]));
        assert_eq!(newest(&System, dir.path(), 1000), (vec![], vec![1, 2, 3, 4]));
        assert_eq!(newest(&System, dir.path(), 0), (vec![1, 2, 3, 4], vec![]));
    }

    #[test]
    fn keys_come_back_and_damaged_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let keys = vec![(Key([1; 16]), 5), (Key([2; 16]), 6)];
        write(&System, dir.path(), 9, &[7; 16], &keys).unwrap();
        assert_eq!(read(&System, dir.path(), 9, &[7; 16]), Some(keys));
        assert_eq!(read(&System, dir.path(), 9, &[8; 16]), None);
        assert_eq!(list(&System, dir.path()), [9]);
        let path = path(dir.path(), 9);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(&System, dir.path(), 9, &[7; 16]), None);
        std::fs::write(&path, b"x").unwrap();
        assert_eq!(read(&System, dir.path(), 9, &[7; 16]), None);
    }
}
