//! A start over any bytes in a segment: as they are, or as damage of a good one. Then the journal takes an event.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use hookferry::event::Envelope;
use hookferry::journal::settings::{Dedup, Settings};
use hookferry::journal::{Journal, Key, Options, Record};
use hookferry::telemetry::Metrics;
use libfuzzer_sys::fuzz_target;

const NAME: &str = "00000000000000000001.seg";

fn open(dir: &Path) -> Result<Journal, String> {
    let settings = Settings {
        dir: dir.to_owned(),
        max_bytes: 1 << 20,
        retention: Duration::from_secs(60),
        segment_bytes: 64 << 10,
    };
    let dedup = Dedup { max_keys: 1000, ..Dedup::default() };
    let options = Options { settings, dedup, clock: || 1_700_000_000_000, metrics: Metrics::default() };
    Journal::open(options).map_err(|error| error.to_string())
}

/// In memory: the disk is not what is looked at.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

fn append(journal: &Journal, id: u8) -> bool {
    let envelope =
        Envelope { id: id.to_string().into(), source: "s".into(), body: vec![id; 100].into(), ..Envelope::default() };
    let record = Record::new(&envelope, Key([id; 16]), Duration::from_secs(60), 1_700_000_000_000);
    wait(journal.append(record)).is_ok()
}

fn good() -> &'static (String, Vec<u8>) {
    static GOOD: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let dir = folder();
        let journal = open(dir.path()).unwrap();
        assert!((1..20).all(|id| append(&journal, id)));
        journal.close();
        let mut files: Vec<_> =
            fs::read_dir(dir.path().join("journal")).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        files.sort();
        let name = files[0].file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read(&files[0]).unwrap())
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let dir = folder();
    fs::create_dir(dir.path().join("journal")).unwrap();
    let (mut name, mut bytes) = (NAME, rest.to_vec());
    if mode % 2 == 1 {
        let (good_name, good) = good();
        (name, bytes) = (good_name, good.clone());
        for edit in rest.chunks_exact(4) {
            let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
            match edit[2] % 4 {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at..].fill(edit[3]),
                _ => bytes[at] = edit[3],
            }
        }
    }
    fs::write(dir.path().join("journal").join(name), bytes).unwrap();
    let journal = match open(dir.path()) {
        // A version that is not ours, in whatever else is left of a header: it is left alone.
        Err(error) if error.contains("has format") => return,
        opened => opened.unwrap(),
    };
    let mut reader = journal.reader(0);
    while reader.is_behind() {
        if reader.read(64, 1 << 20).unwrap().is_empty() {
            break;
        }
    }
    assert!(append(&journal, 200), "no event is taken after it");
    journal.close();
});
