//! Finds the segments of a journal, and makes those readable again whose header is damaged.
//!
//! A frame's checksum is seeded with its segment's epoch, so two frames that follow one another tell the epoch
//! that the header has lost. What cannot be read even so is moved to `quarantine/`, never removed.

use std::io;
use std::path::{Path, PathBuf};

use super::OpenError;
use super::disk::{Disk, DiskFile};
use super::format::{DATA_START, FRAME_BYTES, Frame, HEADER_BYTES, HEADER_COPY, Header, HeaderError};
use super::segment;
use crate::telemetry::Metrics;

/// A segment file that was found.
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its header.
    pub header: Header,
    /// Its size.
    pub bytes: u64,
}

/// What a directory holds.
#[derive(Default)]
pub struct Findings {
    /// All usable segments in order.
    pub segments: Vec<Found>,
    /// Every sequence below may have been given out by a segment that is of no use any more.
    pub given_out: u64,
    /// Files with a name of ours and no readable header, with the first sequence that the name tells.
    headless: Vec<(u64, PathBuf)>,
    /// Segments that were made ahead.
    unfinished: Vec<PathBuf>,
}

/// Looks at the directory `data` and changes nothing.
///
/// # Errors
/// A file cannot be read, or is of a newer release.
pub fn look(disk: &dyn Disk, data: &Path) -> Result<Findings, OpenError> {
    let mut findings = Findings::default();
    for path in disk.list(data).map_err(OpenError::io(data))? {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tmp") => findings.unfinished.push(path),
            Some("seg") => {
                let Some(first) = segment::first_of(&path) else {
                    tracing::warn!("{} is no segment of this journal: left alone", path.display());
                    continue;
                };
                let file = disk.open(&path).map_err(OpenError::io(&path))?;
                let bytes = file.size().map_err(OpenError::io(&path))?;
                match read_header(&*file).map_err(OpenError::io(&path))? {
                    Ok(header) if header.first == first => findings.segments.push(Found { path, header, bytes }),
                    Err(HeaderError::Newer(found)) => return Err(OpenError::Newer { path, found }),
                    Ok(_) | Err(HeaderError::Damaged) => findings.headless.push((first, path)),
                }
            }
            _ => {}
        }
    }
    findings.segments.sort_by_key(|segment| segment.header.first);
    Ok(findings)
}

impl Findings {
    /// Removes what was made ahead, and repairs or sets aside what has no readable header.
    ///
    /// # Errors
    /// A file cannot be moved, removed or written.
    pub fn settle(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        segment_bytes: u64,
        metrics: &Metrics,
    ) -> Result<(), OpenError> {
        for path in self.unfinished.drain(..) {
            disk.remove(&path).map_err(OpenError::io(&path))?;
        }
        for (first, path) in std::mem::take(&mut self.headless) {
            metrics.journal_damaged.inc();
            let repaired = self.repair(disk, dir, first, &path).map_err(OpenError::io(&path))?;
            if let Some(found) = repaired {
                tracing::error!("{} lost its header, which was made again from its events", path.display());
                self.segments.push(found);
                self.segments.sort_by_key(|segment| segment.header.first);
                continue;
            }
            let bytes = disk.open(&path).and_then(|file| file.size()).map_err(OpenError::io(&path))?;
            self.given_out = self.given_out.max(first + bytes.max(segment_bytes) / FRAME_BYTES as u64);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let aside = keep_aside(disk, dir, &name, |to| disk.rename(&path, to));
            let aside = aside.map_err(OpenError::io(&path))?;
            tracing::error!("{} holds nothing readable: moved to {}", path.display(), aside.display());
        }
        Ok(())
    }

    /// Writes the header of a segment again; `None` if nothing in it tells its epoch.
    fn repair(&self, disk: &dyn Disk, dir: &Path, first: u64, path: &Path) -> io::Result<Option<Found>> {
        let file = disk.open_to_write(path)?;
        let bytes = file.size()?;
        let following = self.segments.iter().map(|found| &found.header).find(|header| header.previous_first == first);
        let epoch = match following {
            Some(next) => Some(next.previous_epoch),
            None => epoch_of(&*file, bytes)?,
        };
        let Some(epoch) = epoch.filter(|_| bytes > DATA_START) else { return Ok(None) };
        let journal = match self.segments.first() {
            Some(other) => other.header.journal,
            // The ids of its events are not known again, and backends that keep a cursor are asked for the old one in vain.
            None => super::random()?,
        };
        let header = Header {
            epoch,
            first,
            created_ms: file.modified_ms(),
            journal,
            previous_first: 0,
            previous_end: 0,
            previous_epoch: 0,
        };
        let mut head = vec![0; DATA_START as usize];
        file.read_exact_at(&mut head, 0)?;
        keep_aside(disk, dir, &format!("{first:020}-0.bin"), |to| disk.write(to, &head))?;
        segment::write_header(&*file, &header)?;
        file.sync_all()?;
        Ok(Some(Found { path: path.to_owned(), header, bytes }))
    }
}

/// Puts something into `quarantine/` under a name that nothing there has.
///
/// # Errors
/// It cannot be put there.
pub fn keep_aside(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let aside = dir.join("quarantine");
    disk.create_dir_all(&aside)?;
    let mut path = aside.join(name);
    let mut copy = 1;
    while disk.exists(&path) {
        path = aside.join(format!("{name}.{copy}"));
        copy += 1;
    }
    put(&path)?;
    Ok(path)
}

fn read_header(file: &dyn DiskFile) -> io::Result<Result<Header, HeaderError>> {
    let mut result = Err(HeaderError::Damaged);
    for offset in [0, HEADER_COPY] {
        let mut bytes = [0; HEADER_BYTES];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        match Header::decode(&bytes) {
            Ok(header) => return Ok(Ok(header)),
            Err(HeaderError::Newer(version)) => result = Err(HeaderError::Newer(version)),
            Err(HeaderError::Damaged) => {}
        }
    }
    Ok(result)
}

/// The epoch that two neighbouring frames agree on.
fn epoch_of(file: &dyn DiskFile, size: u64) -> io::Result<Option<u32>> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    let mut place = DATA_START as usize;
    while place + FRAME_BYTES < bytes.len() {
        if let Some(frame) = Frame::peek(&bytes[place..])
            && let Some(next) = bytes.get(place + Frame::size(frame.length)..)
            && let Some(epoch) = Frame::seed(&bytes[place..])
            && Frame::check(epoch, next).is_some()
        {
            return Ok(Some(epoch));
        }
        place += 8;
    }
    Ok(None)
}
