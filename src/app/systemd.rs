//! What systemd is told (`Type=notify`), and its watchdog; nothing where it does not ask.

use std::net::SocketAddr;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::journal::Journal;

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
pub async fn watchdog(journal: Journal, admin: SocketAddr) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let every = limit / 3;
    loop {
        let answers = async { journal.writer_answers().await && serves(admin).await };
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
async fn serves(admin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        let request = format!("GET /livez HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.read_u8().await
    };
    ask.await.is_ok()
}
