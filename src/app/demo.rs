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
pub fn add(config: &mut Config) -> anyhow::Result<()> {
    let path = config.demo_secret_file();
    std::fs::create_dir_all(&config.journal.dir)?;
    if let Err(error) = make(&path)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error.into());
    }
    let secret = secret(&path)?;
    for source in config.sources.iter_mut().filter(|source| source.name.as_str() == DEMO) {
        source.keys = source.provider.rule.keys(std::slice::from_ref(&secret))?;
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

/// 32 random bytes as Standard Webhooks writes them.
fn make(path: &Path) -> io::Result<()> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "whsec_{}", STANDARD.encode(bytes))?;
    file.sync_all()
}
