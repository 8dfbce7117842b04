//! What a mistake of ours costs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::config::{self, Vars};

/// The next request that asks for the time meets a mistake.
static MISTAKE: AtomicBool = AtomicBool::new(false);

fn clock() -> u64 {
    // The journal's own threads tell the time too: what becomes of those is proved elsewhere.
    let journal = std::thread::current().name().is_some_and(|name| name.starts_with("journal-"));
    assert!(journal || !MISTAKE.swap(false, Ordering::Relaxed), "a mistake of ours");
    now_ms()
}

/// A sender with a connection of its own.
struct Sender(TcpStream);

impl Sender {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    fn write(&mut self, part: &str) {
        self.0.write_all(part.as_bytes()).unwrap();
    }

    fn begin(&mut self, body: &str) {
        self.write(&format!("POST /webhooks/a HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()));
    }

    /// The status of an answer; `None`: the connection ends without one.
    fn answered(&mut self) -> Option<String> {
        let mut bytes = [0; 1024];
        let read = self.0.read(&mut bytes).unwrap_or_else(|error| match error.kind() {
            std::io::ErrorKind::ConnectionReset => 0,
            _ => panic!("{error}"),
        });
        (read > 0).then(|| String::from_utf8_lossy(&bytes[9..12]).into_owned())
    }

    fn send(&mut self, body: &str) -> Option<String> {
        self.begin(body);
        self.write(body);
        self.answered()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_within_a_request_ends_its_connection_and_touches_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hookferry.toml");
    // All connections are with one worker, and a sender may hold two.
    let text = format!(
        "[server]\nworkers = 1\nmax_connections_per_ip = 2\n[journal]\ndir = {:?}\n\
         [sources.a]\nprovider = \"none\"\ninsecure = true\n\
         [backends.b]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:9\"\nstream = \"s\"\n",
        dir.path().join("data")
    );
    std::fs::write(&file, text).unwrap();
    let config = config::load(&[file], &Vars::new()).unwrap_or_else(|errors| panic!("{errors}"));
    let metrics = Metrics::default();
    let options = journal::Options {
        settings: config.journal.clone(),
        dedup: config.dedup.clone(),
        clock,
        metrics: metrics.clone(),
    };
    let journal = Journal::open(options).unwrap();
    let running = Running { journal: &journal, backends: &[], metrics: &metrics, ingress: None };
    let setup = parts::make(&config, &running).unwrap().ingress;
    let ingress = Arc::new(Ingress::new(setup, journal.clone(), &metrics, Refusals::default()));
    let (listener, _) = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), Mode::default()).unwrap();
    let Address::Tcp(address) = listener.address().unwrap() else { panic!("not TCP") };
    let server = ingress::serve(&config.server, 100, listener, None, ingress.clone()).unwrap();
    let (handle, task) = (server.handle(), tokio::spawn(server));

    let senders = tokio::task::spawn_blocking(move || {
        let (mut other, mut unlucky) = (Sender::new(address), Sender::new(address));
        assert_eq!(other.send("one").as_deref(), Some("200"));
        other.begin("two");
        other.write("t");
        MISTAKE.store(true, Ordering::Relaxed);
        assert_eq!(unlucky.send("three"), None, "an answer would say what is not known");
        other.write("wo");
        assert_eq!(other.answered().as_deref(), Some("200"), "a request that was under way");
        assert_eq!(Sender::new(address).send("three").as_deref(), Some("200"), "the next try, on a connection more");
    });
    senders.await.unwrap();

    let events = journal.reader(0).read(10, 1 << 20).unwrap();
    let bodies: Vec<_> = events.iter().map(|event| event.envelope.body.as_ref()).collect();
    assert_eq!(bodies, [b"one".as_ref(), b"two", b"three"]);
    tokio::time::timeout(Duration::from_secs(10), ingress.idle()).await.expect("a stop waits for no lost request");
    handle.stop(false).await;
    task.await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || journal.close()).await.unwrap();
}
