//! Published ranges of `allow_ips`: fetched before a configuration is in force, and again while it is.
//!
//! What was fetched last is kept beside the journal: a start does not depend on a provider's page, a first one does.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use crate::config::{Config, Source};
use crate::ingress::networks::Published;
use crate::keys::Client;

/// How often a list is fetched: providers announce changes days before.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Largest answer, bytes; that of AWS takes 2 MiB.
const LARGEST: usize = 16 << 20;

/// Puts the lists of all sources of `config` in place, as they are published now or were when they could last be had.
///
/// # Errors
/// A list was never there: nobody knows whom to let in.
pub async fn first(config: &Config) -> anyhow::Result<()> {
    let mut client = None;
    for source in &config.sources {
        put(source, &config.journal.dir, &mut client).await?;
    }
    Ok(())
}

/// Puts the lists of `source` in place, all or none.
async fn put(source: &Source, dir: &Path, client: &mut Option<Client>) -> anyhow::Result<()> {
    let mut lists = Vec::new();
    for list in source.networks.published() {
        let file = file(dir, list);
        let client = match client {
            Some(client) => &*client,
            None => client.insert(Client::new().context("no certificate authorities to fetch allow_ips with")?),
        };
        let found = match fetch(client, list, &file).await {
            Ok(found) => Ok(found),
            Err(why) => {
                let kept = fs::read(&file).map_err(|_| why.clone()).and_then(|content| list.read(&content));
                kept.inspect(|_| tracing::warn!(source = %source.name, "{} is as it was last: {why}", list.url))
            }
        };
        let what = |why| anyhow!("source {}: allow_ips: {} cannot be had: {why}", source.name, list.url);
        lists.extend(found.map_err(what)?);
    }
    if !source.networks.published().is_empty() {
        source.networks.put(lists);
    }
    Ok(())
}

/// Keeps the lists of the configuration in force as they are published. Never returns.
pub async fn follow(current: Arc<ArcSwap<Config>>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let config = current.load_full();
        let mut client = None;
        for source in &config.sources {
            // What cannot be had stays as it is, and is in no other source's way.
            if let Err(error) = put(source, &config.journal.dir, &mut client).await {
                tracing::warn!("{error:#}");
            }
        }
    }
}

async fn fetch(client: &Client, list: &Published, file: &Path) -> Result<Vec<IpNet>, String> {
    let content = client.get(&list.url, LARGEST).await.map_err(|error| error.to_string())?;
    let found = list.read(&content)?;
    let file = file.to_owned();
    match tokio::task::spawn_blocking(move || keep(&file, &content)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("{} cannot be kept for the next start: {error}", list.url),
        Err(error) => tracing::warn!("keeping {} panicked: {error}", list.url),
    }
    Ok(found)
}

fn file(dir: &Path, list: &Published) -> PathBuf {
    dir.join("ranges").join(hex::encode(&Sha256::digest(&list.url)[..16]))
}

fn keep(file: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    let temporary = file.with_extension("tmp");
    let mut new = fs::File::create(&temporary)?;
    new.write_all(content)?;
    new.sync_all()?;
    fs::rename(temporary, file)
}
