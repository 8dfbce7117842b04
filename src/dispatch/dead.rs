//! Events that a backend can never take: kept durably, one file each, until somebody decides.
//!
//! `<journal>/dead/<backend>/<sequence>.json` holds why, when, after how many attempts, and the whole event.
//! Writing one again replaces it: a letter is never doubled.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backend::Failure;
use crate::event::{BackendName, Stored};

/// Where they lie.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    dir: PathBuf,
}

/// One event that a backend refused for good.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letter {
    /// `<backend>-<sequence>`.
    pub id: String,
    /// The backend that refused it.
    pub backend: String,
    /// Position in the journal, 20 digits.
    pub sequence: String,
    /// Class of the refusal.
    pub reason: String,
    /// What the broker said.
    pub detail: String,
    /// Tries, the last one included.
    pub attempts: u32,
    /// When, Unix time, milliseconds.
    pub time_ms: u64,
    /// The event, structured.
    pub event: Box<RawValue>,
}

impl DeadLetters {
    /// The letters under the journal's directory `dir`.
    pub fn new(dir: &std::path::Path) -> Self {
        Self { dir: dir.join("dead") }
    }

    /// Keeps `stored`; durable when this returns. Blocks.
    ///
    /// # Errors
    /// It cannot be written: the event is not decided then.
    pub fn keep(
        &self,
        backend: &BackendName,
        stored: &Stored,
        failure: &Failure,
        attempts: u32,
        time_ms: u64,
    ) -> io::Result<()> {
        let mut event = Vec::new();
        stored.write_json(&mut event);
        let event = String::from_utf8(event).map_err(io::Error::other)?;
        let letter = Letter {
            id: format!("{backend}-{}", stored.sequence),
            backend: backend.to_string(),
            sequence: stored.sequence_text(),
            reason: failure.reason.label().to_owned(),
            detail: failure.detail.clone(),
            attempts,
            time_ms,
            event: RawValue::from_string(event).map_err(io::Error::other)?,
        };
        let dir = self.dir.join(backend.as_str());
        std::fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.json", letter.sequence));
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&letter)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        File::open(&dir)?.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    /// How many a backend has.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn count(&self, backend: &BackendName) -> io::Result<usize> {
        Ok(self.paths(backend)?.len())
    }

    /// The letters of a backend, oldest first. Blocks.
    ///
    /// # Errors
    /// A file cannot be read, or is none of ours.
    pub fn list(&self, backend: &BackendName) -> io::Result<Vec<Letter>> {
        let read = |path: PathBuf| Ok(serde_json::from_slice(&std::fs::read(path)?)?);
        self.paths(backend)?.into_iter().map(read).collect()
    }

    fn paths(&self, backend: &BackendName) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(self.dir.join(backend.as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Reason;
    use crate::event::Envelope;

    #[test]
    fn a_letter_keeps_the_event_and_the_reason_once() {
        let dir = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(dir.path());
        let backend: BackendName = "main".parse().unwrap();
        let envelope = Envelope { id: "e".into(), is_json: true, body: "{\"a\": 1.0}".into(), ..Envelope::default() };
        let stored = Stored { sequence: 7, envelope };
        let failure = Failure::new(Reason::TooLarge, "2 MiB");
        letters.keep(&backend, &stored, &failure, 1, 5).unwrap();
        letters.keep(&backend, &stored, &failure, 2, 6).unwrap();
        let found = letters.list(&backend).unwrap();
        assert_eq!((found.len(), letters.count(&backend).unwrap()), (1, 1));
        assert_eq!((found[0].id.as_str(), found[0].attempts, found[0].reason.as_str()), ("main-7", 2, "too_large"));
        assert!(found[0].event.get().ends_with(",\"data\":{\"a\": 1.0}}"));
        assert_eq!(letters.count(&"other".parse().unwrap()).unwrap(), 0);
    }
}
