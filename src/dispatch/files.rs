//! Small files that are there whole or not at all, also after a power cut. All of it blocks.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use crate::event::BackendName;

/// `<backend>-<number>`: names one file of a backend, and nothing outside its directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Position in the journal, or another number.
    pub number: u64,
    /// The backend.
    pub backend: BackendName,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.backend, self.number)
    }
}

/// The text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id such as main-42")]
pub struct BadId(String);

impl FromStr for Id {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let read = || {
            let (backend, number) = text.rsplit_once('-')?;
            Some(Self { backend: backend.parse().ok()?, number: digits(number)? })
        };
        read().ok_or_else(|| BadId(text.chars().take(100).collect()))
    }
}

/// A number of digits alone: `u64` would take a sign as well.
pub fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Name of a file of `number`.
pub fn name(number: u64, extension: &str) -> String {
    format!("{number:020}.{extension}")
}

/// The number of a file that [`name`] named so.
pub fn number(file: &str, extension: &str) -> Option<u64> {
    let stem = file.strip_suffix(extension)?.strip_suffix('.')?;
    digits(stem).filter(|_| stem.len() == 20)
}

/// Writes `dir/file`, making `dir` and its parent if they are missing; durable when this returns.
///
/// # Errors
/// It cannot be written: what was there before still is.
pub fn write(dir: &Path, file: &str, bytes: &[u8]) -> io::Result<()> {
    let path = dir.join(file);
    std::fs::create_dir_all(dir)?;
    let temporary = path.with_extension("tmp");
    let mut out = File::create(&temporary)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    // Up to the directory that holds `dir` and its parent. That they are there does not say that their names are on disk:
    // the sync of an earlier write may have failed.
    dir.ancestors().take(3).try_for_each(sync)
}

/// Removes `dir/file`, durably; whether it was there.
///
/// # Errors
/// It cannot be removed.
pub fn remove(dir: &Path, file: &str) -> io::Result<bool> {
    match std::fs::remove_file(dir.join(file)) {
        Ok(()) => sync(dir).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Names in `dir`, in order; none if it is missing. A name that is not text is shown as well as it can be.
///
/// # Errors
/// It cannot be read.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Removes what a kill in the middle of [`write`] left.
///
/// # Errors
/// `dir` cannot be read, or a file of it not be removed.
pub fn sweep(dir: &Path) -> io::Result<()> {
    for name in names(dir)? {
        if number(&name, "tmp").is_some() {
            std::fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_file_of_its_backend_and_nothing_else() {
        let id: Id = "eu-west-2-0042".parse().unwrap();
        assert_eq!((id.backend.as_str(), id.number, id.to_string().as_str()), ("eu-west-2", 42, "eu-west-2-42"));
        for text in [
            "",
            "main",
            "main-",
            "-1",
            "main-+1",
            "main--1x",
            "../main-1",
            "main/../x-1",
            "main-1/..",
            "..-1",
            "main-1.json",
            "MAIN-1",
            "main-18446744073709551616",
            "main-\u{0661}",
            "main-1\0",
            "main-1 ",
        ] {
            assert!(text.parse::<Id>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_what_a_kill_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        for bytes in [b"one".as_slice(), b"two"] {
            write(&inner, &name(7, "json"), bytes).unwrap();
        }
        std::fs::write(inner.join(name(8, "tmp")), "torn").unwrap();
        std::fs::write(inner.join("notes.tmp"), "a person's").unwrap();
        sweep(&inner).unwrap();
        assert_eq!(names(&inner).unwrap(), [name(7, "json"), "notes.tmp".to_owned()]);
        assert_eq!(std::fs::read(inner.join(name(7, "json"))).unwrap(), b"two");
        assert!(remove(&inner, &name(7, "json")).unwrap());
        assert!(!remove(&inner, &name(7, "json")).unwrap());
        assert_eq!((number("00000000000000000007.json", "json"), number("7.json", "json")), (Some(7), None));
    }
}
