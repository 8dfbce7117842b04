//! Notices that a file of the configuration has changed, however it was replaced: written in place, renamed over, or
//! by the symbolic link of a directory above it, as Kubernetes does.
//!
//! What counts is the content: a directory's events only say when to look.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

/// How long writers are left alone after the first sign of a change: several files change together.
const SETTLE: Duration = Duration::from_millis(400);
/// How often the files are looked at without a sign: network file systems give none.
const LOOK: Duration = Duration::from_secs(30);
/// Most symbolic links that are followed from one file.
const LINKS: usize = 16;

/// What stands in the files, and the names in the folders: SHA-256 of each; `None` for one that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Contents {
    /// Reads `files`; blocks.
    pub fn of(files: BTreeSet<PathBuf>) -> Self {
        let digest = |path: &Path| {
            let bytes = if path.is_dir() { names(path) } else { std::fs::read(path).ok() };
            bytes.map(|bytes| Sha256::digest(bytes).into())
        };
        Self(files.into_iter().map(|path| (path.clone(), digest(&path))).collect())
    }
}

/// The names in a folder, in order, as bytes that differ where they do.
fn names(folder: &Path) -> Option<Vec<u8>> {
    let entries = std::fs::read_dir(folder).ok()?;
    let names: BTreeSet<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    Some(names.iter().flat_map(|name| [name.as_encoded_bytes(), b"\0"].concat()).collect())
}

/// Follows the files of one configuration after the other.
pub struct Watch {
    /// `None`: the system gives no signs, and the files are looked at now and then.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    sign: Arc<Notify>,
    seen: Contents,
}

impl Watch {
    /// Follows the files of `seen`.
    pub fn new(seen: Contents) -> Self {
        let sign = Arc::new(Notify::new());
        let tell = sign.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Looking at the files must not be a reason to look at them.
            let looked = event.is_ok_and(|event| match event.kind {
                EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
                _ => false,
            });
            if !looked {
                tell.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!("changes of files are found within {} s only: {error}", LOOK.as_secs());
        });
        let mut watch = Self { watcher: watcher.ok(), watched: BTreeSet::new(), sign, seen: Contents::default() };
        watch.follow(seen);
        watch
    }

    /// Follows the files of `seen` instead, as they stand there.
    pub fn follow(&mut self, seen: Contents) {
        let wanted = seen.0.keys().flat_map(|path| directories(path)).collect();
        self.seen = seen;
        let Some(watcher) = &mut self.watcher else { return };
        let gone: Vec<_> = self.watched.difference(&wanted).cloned().collect();
        for directory in gone {
            // Fails where the directory is gone, which is as good.
            let _ = watcher.unwatch(&directory);
            self.watched.remove(&directory);
        }
        for directory in wanted {
            // Again for those that are watched: one of that name may have come in the place of the last.
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.watched.insert(directory),
                Err(error) => tracing::debug!("cannot watch {}: {error}", directory.display()),
            }
        }
    }

    /// Returns once a file stands differently than when it was read last. Nothing is lost where it is dropped before.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                () = self.sign.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(LOOK) => {}
            }
            let files = self.seen.0.keys().cloned().collect();
            let Ok(now) = tokio::task::spawn_blocking(|| Contents::of(files)).await else { continue };
            if now != self.seen {
                return;
            }
            self.follow(now);
        }
    }
}

/// The directories in which something happens when `file` is replaced: its own, and that of each link on the way.
fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    };
    let mut found = BTreeSet::new();
    if file.is_dir() {
        found.extend(file.canonicalize());
    }
    let mut path = file.to_owned();
    for _ in 0..LINKS {
        let directory = parent(&path);
        found.extend(directory.canonicalize());
        // The directory itself may be a link that is swapped.
        if let Ok(target) = directory.read_link() {
            let above = parent(&directory);
            found.extend(above.canonicalize());
            found.extend(above.join(target).canonicalize());
        }
        match path.read_link() {
            Ok(target) => path = directory.join(target),
            Err(_) => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    async fn changes(watch: &mut Watch, change: impl FnOnce()) -> bool {
        change();
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    fn watch(file: &Path) -> Watch {
        Watch::new(Contents::of([file.to_owned()].into()))
    }

    #[tokio::test]
    async fn a_file_that_is_written_renamed_over_or_removed_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("a"), dir.path().join("b"));
        let mut watch = watch(&file);
        assert!(changes(&mut watch, || std::fs::write(&file, "1").unwrap()).await);
        watch.follow(Contents::of([file.clone()].into()));
        std::fs::write(&other, "2").unwrap();
        assert!(changes(&mut watch, || std::fs::rename(&other, &file).unwrap()).await);
        watch.follow(Contents::of([file.clone()].into()));
        assert!(changes(&mut watch, || std::fs::remove_file(&file).unwrap()).await);
    }

    #[tokio::test]
    async fn the_swap_of_a_kubernetes_volume_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("a.toml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a.toml", at("a.toml")).unwrap();
        let mut watch = watch(&at("a.toml"));
        for version in ["..2", "..3"] {
            let swap = || {
                symlink(version, at("..data_tmp")).unwrap();
                std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
            };
            assert!(changes(&mut watch, swap).await, "{version}");
            watch.follow(Contents::of([at("a.toml")].into()));
        }
    }

    #[tokio::test]
    async fn a_file_that_comes_into_a_folder_or_goes_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("providers"), dir.path().join("providers/a.toml"));
        std::fs::create_dir(&folder).unwrap();
        let mut watch = watch(&folder);
        assert!(changes(&mut watch, || std::fs::write(&file, "1").unwrap()).await);
        watch.follow(Contents::of([folder.clone(), file.clone()].into()));
        assert!(changes(&mut watch, || std::fs::remove_file(&file).unwrap()).await);
    }

    #[tokio::test]
    async fn the_same_content_again_and_other_files_are_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "1").unwrap();
        let mut watch = watch(&file);
        std::fs::write(&file, "1").unwrap();
        std::fs::write(dir.path().join("b"), "2").unwrap();
        assert!(tokio::time::timeout(SETTLE * 3, watch.changed()).await.is_err());
    }
}
