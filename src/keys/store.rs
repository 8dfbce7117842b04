//! Files of learnt secrets, readable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::event::Secret;

/// Most secrets of one source: a subscription has one each.
const MAX: usize = 64;
/// Longest secret, bytes.
const MAX_LEN: usize = 512;

/// The files of one source.
#[derive(Debug, Clone)]
pub struct Store {
    secrets: PathBuf,
    shown: PathBuf,
}

/// Why learnt secrets cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    /// It is empty, too long, or holds more than visible ASCII.
    #[error("not a secret that can be kept")]
    Unfit,
    /// Another text was shown before.
    #[error("another is there already")]
    Taken,
    /// There are as many as are kept.
    #[error("{path} holds {MAX} secrets already")]
    Full { path: PathBuf },
}

impl Store {
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        Self { secrets: dir.join(format!("{name}.learnt")), shown: dir.join(format!("{name}.captured")) }
    }

    /// The file of what was captured for the operator.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// The secrets that were learnt, newest first.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(&self) -> Result<Vec<Secret>, StoreError> {
        match fs::read_to_string(&self.secrets) {
            Ok(text) => Ok(text.lines().rev().filter_map(|line| Secret::new(line.trim().into())).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::Io { path: self.secrets.clone(), error }),
        }
    }

    /// Keeps a further secret; on disk when this returns.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn add(&self, secret: &Secret) -> Result<(), StoreError> {
        let known = self.read()?;
        if known.iter().any(|known| known.expose() == secret.expose()) {
            return Ok(());
        }
        if known.len() >= MAX {
            return Err(StoreError::Full { path: self.secrets.clone() });
        }
        let mut text = Vec::new();
        for secret in known.iter().rev().chain([secret]) {
            text.extend_from_slice(fit(secret)?);
            text.push(b'\n');
        }
        write(&self.secrets, &text)
    }

    /// Puts `text` where the operator finds it. What is there already stays: nothing vouches for who shows the next.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn show(&self, text: &Secret) -> Result<(), StoreError> {
        let line = [fit(text)?, b"\n"].concat();
        match fs::read(&self.shown) {
            Ok(there) if there == line => Ok(()),
            Ok(_) => Err(StoreError::Taken),
            Err(error) if error.kind() == io::ErrorKind::NotFound => write(&self.shown, &line),
            Err(error) => Err(StoreError::Io { path: self.shown.clone(), error }),
        }
    }
}

fn fit(secret: &Secret) -> Result<&[u8], StoreError> {
    let text = secret.expose();
    let fits = text.len() <= MAX_LEN && text.iter().all(u8::is_ascii_graphic);
    if fits { Ok(text) } else { Err(StoreError::Unfit) }
}

/// Replaces a file as a whole, synced.
fn write(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    let place = || -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let temporary = path.with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    };
    place().map_err(|error| StoreError::Io { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into()).unwrap()
    }

    #[test]
    fn what_was_learnt_is_read_back_newest_first_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("secrets"), "tasks");
        assert!(store.read().unwrap().is_empty());
        for text in ["one", "two", "one"] {
            store.add(&secret(text)).unwrap();
        }
        let read: Vec<_> = store.read().unwrap().iter().map(|s| s.expose_str().unwrap().to_owned()).collect();
        assert_eq!(read, ["two", "one"]);
        assert_eq!(fs::metadata(&store.secrets).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_was_shown_first_stays_until_the_operator_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("secrets"), "notes");
        for text in ["one", "one"] {
            store.show(&secret(text)).unwrap();
        }
        assert!(matches!(store.show(&secret("two")), Err(StoreError::Taken)));
        assert_eq!(fs::read_to_string(store.shown()).unwrap(), "one\n");
        fs::remove_file(store.shown()).unwrap();
        store.show(&secret("two")).unwrap();
        assert_eq!(fs::read_to_string(store.shown()).unwrap(), "two\n");
    }

    #[test]
    fn what_is_no_line_of_text_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "tasks");
        for text in ["a\nb", "a b", "é", &"x".repeat(MAX_LEN + 1)] {
            assert!(matches!(store.add(&secret(text)), Err(StoreError::Unfit)), "{text}");
        }
        for n in 0..MAX {
            store.add(&secret(&n.to_string())).unwrap();
        }
        assert!(matches!(store.add(&secret("more")), Err(StoreError::Full { .. })));
    }
}
