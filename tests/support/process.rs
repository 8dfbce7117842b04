//! A broker's process: started on private ports, killed with the test, however the test ends.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The guard leads a process group of its own and kills the broker's when its input ends,
/// which happens even if the test process is killed.
const GUARD: &str = r#"set -m
"$@" >>"$HF_LOG" 2>&1 </dev/null &
child=$!
echo "$child"
read -r _
kill -9 -- "-$child"
wait "$child"
eval "$HF_CLEAN"
"#;

/// A running broker.
pub struct Process {
    guard: Child,
    group: String,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts `command`; `clean` is run by the shell once the broker is dead.
    pub fn start(command: &[&str], env: &[(&str, String)], dir: &Path, clean: &str) -> Self {
        let log = dir.join("log.txt");
        let mut guard = Command::new("bash")
            .args(["-c", GUARD, "guard"])
            .args(command)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env("HF_LOG", &log)
            .env("HF_CLEAN", clean)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash starts");
        let mut group = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut group).unwrap();
        Self { guard, group: group.trim().to_owned(), log }
    }

    /// Waits until `ready` says so; panics with the broker's own words when it ends or takes more than 90 s.
    pub async fn wait<F: Future<Output = bool>>(&mut self, install: &str, mut ready: impl FnMut() -> F) {
        let start = Instant::now();
        while !ready().await {
            let late = start.elapsed() > Duration::from_secs(90);
            if late || !self.alive() {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                panic!("the broker does not start; install {install}. It said:\n{}", tail.join("\n"));
            }
            // A broker announces its readiness only by answering.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn alive(&self) -> bool {
        self.signal("-0")
    }

    fn signal(&self, signal: &str) -> bool {
        let group = format!("-{}", self.group);
        Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }

    /// Asks the broker to end, and waits until it has.
    pub async fn stop(self) {
        self.signal("-TERM");
        while self.alive() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the broker in its tracks: it keeps its connections and answers nothing.
    pub fn stall(&self) {
        assert!(self.signal("-STOP"), "the broker can be stopped");
    }

    /// Ends [`Self::stall`].
    pub fn resume(&self) {
        assert!(self.signal("-CONT"), "the broker can be continued");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The first of `count` adjacent ports that nobody listens on, below the range of outgoing connections.
pub fn ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = (std::process::id() % 1000) as u16 * 10;
    for _ in 0..1000 {
        let step = NEXT.fetch_add(10, Ordering::Relaxed) % 3000;
        let base = 19_000 + (spread + step) % 12_000;
        if (base..base + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
    panic!("no free ports");
}

/// Whether something accepts connections there.
pub async fn accepts(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
