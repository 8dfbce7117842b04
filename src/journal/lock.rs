//! One process a directory: a lock that ends with its holder, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::OpenError;

/// The directory is this process's as long as this lives, or until [`DirLock::release`].
pub struct DirLock {
    path: PathBuf,
    file: File,
}

impl DirLock {
    /// Takes the directory; makes it if it is missing.
    ///
    /// # Errors
    /// [`OpenError`]: another process has it, or it cannot be used.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
        let path = dir.join("journal.lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(OpenError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = Some(holder.trim().to_owned()).filter(|pid| !pid.is_empty());
                Err(OpenError::InUse { dir: dir.to_owned(), holder })
            }
            Err(TryLockError::Error(error)) => Err(OpenError::io(&path)(error)),
        }
    }

    /// Notes who has the directory, for the message to the next one who wants it.
    pub fn sign(&self) {
        let mut file = &self.file;
        if let Err(error) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
            // A full disk must not keep the backlog from its backends.
            tracing::warn!("cannot write the process id to {}: {error}", self.path.display());
        }
    }

    /// Lets go of the directory.
    pub fn release(&self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!("cannot unlock the journal: {error}");
        }
    }
}
