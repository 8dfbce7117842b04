//! What carries the bytes of a connection: a socket, or TLS over one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::socket::Socket;

/// What carries the bytes.
pub enum Io {
    /// As it is.
    Plain(Socket),
    /// TLS over it.
    Tls(Box<TlsStream<Socket>>),
}

impl Io {
    /// Throws away what came and was not read, up to about `most` bytes.
    pub fn discard(&self, most: usize) {
        match self {
            Self::Plain(socket) => socket.discard(most),
            Self::Tls(stream) => stream.get_ref().0.discard(most),
        }
    }

    /// Reads `most` bytes at most.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, most: u64) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(&mut stream.take(most)).poll_read(cx, buf),
            Self::Tls(stream) => match ready!(Pin::new(&mut stream.as_mut().take(most)).poll_read(cx, buf)) {
                // Many clients end without saying so in TLS; where a request ends, its framing says.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            },
        }
    }

    /// Writes what can be written at once.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    /// Waits until all is with the system.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    /// Says that nothing more comes.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
