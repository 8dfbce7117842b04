//! What systemd passes (sockets), what it is told (`Type=notify`), and its watchdog; nothing where it does not ask.

use std::io;

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::journal::Journal;
use crate::listener::{Address, Listener};

/// Sockets that systemd holds for us (`sd_listen_fds`): they stay over restarts, and who connects meanwhile waits.
pub struct Passed {
    sockets: ListenFd,
    /// One a socket; `None`: it is taken.
    names: Vec<Option<String>>,
}

impl Passed {
    /// Those of this process.
    pub fn from_env() -> Self {
        let sockets = ListenFd::from_env();
        let listed = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let listed = listed.split(':').filter(|name| !name.is_empty()).map(|name| Some(name.to_owned()));
        // What systemd calls those that it has no name for.
        let names = listed.chain(std::iter::repeat_with(|| Some("unknown".to_owned())));
        Self { names: names.take(sockets.len()).collect(), sockets }
    }

    /// The socket `name`; without a name the only one.
    ///
    /// # Errors
    /// There is none, or more than one; it is no stream socket.
    pub fn take(&mut self, name: Option<&str>) -> anyhow::Result<Listener> {
        let all = self.left().collect::<Vec<_>>().join(", ");
        let is_meant = |left: &Option<String>| left.as_deref().is_some_and(|left| name.is_none_or(|name| name == left));
        let mut meant = (0..self.names.len()).filter(|n| is_meant(&self.names[*n]));
        let n = match (meant.next(), meant.next(), all.as_str()) {
            (Some(n), None, _) => n,
            (None, _, "") => bail!("systemd passes no socket: is the unit's .socket started?"),
            (None, ..) => bail!("systemd passes no socket of this name; it passes {all}"),
            (Some(_), ..) => {
                bail!("systemd passes several sockets: {all}. Write \"systemd:NAME\" of one by its FileDescriptorName=")
            }
        };
        self.names[n] = None;
        let tcp = self.sockets.take_tcp_listener(n).map(|socket| socket.map(Listener::Tcp));
        let taken = tcp.or_else(|_| self.sockets.take_unix_listener(n).map(|socket| socket.map(Listener::Unix)));
        taken.context("the socket that systemd passes is no stream socket")?.context("the socket is taken already")
    }

    /// Names of those that nobody has taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(Option::as_deref)
    }
}

/// Requests are taken.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot read the monotonic clock for systemd: {error}"),
    }
}

/// The process ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot tell systemd: {error}");
    }
}

/// Lets the watchdog know, as long as the journal's writer and a worker of the admin listener really answer. Never
/// returns.
pub async fn watchdog(journal: Journal, admin: Address) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let every = limit / 3;
    loop {
        let answers = async { journal.writer_answers().await && serves(&admin).await };
        match tokio::time::timeout(every, answers).await {
            Ok(true) => tell(&[NotifyState::Watchdog]),
            Ok(false) | Err(_) => {
                tracing::warn!("the journal or the admin listener does not answer; systemd is not told");
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// Whether a worker answers a request with anything. Where it speaks TLS that is the alert that refuses plain text: a
/// worker has to write it too, and no certificate that `client_ca` would take is needed for it.
async fn serves(admin: &Address) -> bool {
    let asked = match admin {
        Address::Tcp(address) => ask(TcpStream::connect(address).await).await,
        Address::Unix(path) => ask(UnixStream::connect(path).await).await,
        Address::Systemd(_) => return true,
    };
    asked.is_ok()
}

async fn ask(stream: io::Result<impl AsyncRead + AsyncWrite + Unpin>) -> io::Result<u8> {
    let mut stream = stream?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    stream.read_u8().await
}
