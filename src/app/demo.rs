//! The demo source of a start without a file: its secret is made once and kept beside the journal.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::{Config, DEMO};
use crate::event::Secret;

/// Gives the demo source its secret, making it at the first start.
///
/// # Errors
/// The file cannot be made or read.
pub fn add(config: &mut Config) -> io::Result<()> {
    let path = config.demo_secret_file();
    std::fs::create_dir_all(&config.journal.dir)?;
    make(&path)?;
    let secret = secret(&path)?;
    for source in config.sources.iter_mut().filter(|source| source.name.as_str() == DEMO) {
        source.secrets = vec![secret.clone()];
    }
    Ok(())
}

/// The secret in the file that a first start has made.
///
/// # Errors
/// It cannot be read, or is empty.
pub fn secret(path: &Path) -> io::Result<Secret> {
    let text = std::fs::read_to_string(path)?;
    let empty = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is empty", path.display()));
    Secret::new(text.trim().as_bytes().to_vec()).ok_or_else(empty)
}

/// 32 random bytes as Standard Webhooks writes them; the file is there whole or not at all.
fn make(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        return Ok(());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let temporary = path.with_extension("secret.tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "whsec_{}", STANDARD.encode(bytes))?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_again_only_where_a_crash_left_it_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo.secret");
        make(&path).unwrap();
        let first = secret(&path).unwrap();
        make(&path).unwrap();
        assert_eq!(secret(&path).unwrap().expose(), first.expose());
        std::fs::write(&path, "").unwrap();
        make(&path).unwrap();
        assert!(secret(&path).unwrap().expose().starts_with(b"whsec_"));
    }
}
