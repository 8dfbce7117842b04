//! One connection under watch: bytes for HTTP, and the deadlines that HTTP does not keep itself.
//!
//! The dispatcher of requests bounds neither the head of a later request, nor a client that does not read its
//! answers. Here every head has a deadline and a size, and so has everything that is to be written.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::admit::Permit;
use super::pulse::{MANY, Pulse, heads};
use super::socket::Socket;

/// Most bytes behind a head that is too large that are read and thrown away: a client that still writes when the
/// connection is closed may not see why.
const DRAIN: usize = 1 << 20;

/// Least bytes of answers that a client takes within a deadline: one that is slow gets a large answer whole, one that takes a
/// byte now and then does not hold the connection. More than the kernel's buffers hide would cut off whoever goes on reading.
const LEAST_TAKEN: usize = 16 << 10;

/// The answers that are given without a request.
const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What carries the bytes.
pub enum Io {
    /// As it is.
    Plain(Socket),
    /// TLS over it.
    Tls(Box<TlsStream<Socket>>),
}

/// A connection that HTTP reads and writes.
pub struct Connection {
    io: Io,
    pulse: Rc<Pulse>,
    max_header: usize,
    deadline: Duration,
    /// Since when there is something to write of which the client has not taken [`LEAST_TAKEN`].
    blocked: Option<Instant>,
    /// Bytes that it has taken since.
    taken: usize,
    /// Whether HTTP was given the time to see that a head is complete.
    yielded: bool,
    /// Heads that HTTP was given since it last had to answer before more is read.
    heads: usize,
    ended: bool,
    /// Set to the nearest deadline only when there is a wait: a request costs no timer.
    timer: Pin<Box<Sleep>>,
    _permit: Option<Permit>,
}

impl Connection {
    /// Watches `io`: a head has `max_header` bytes, and `deadline` from its first byte, the first head from
    /// `begun`.
    pub fn new(io: Io, permit: Option<Permit>, begun: Instant, max_header: usize, deadline: Duration) -> Self {
        let pulse = Rc::new(Pulse::new(begun));
        let timer = Box::pin(tokio::time::sleep_until(begun + deadline));
        Self {
            io,
            pulse,
            max_header,
            deadline,
            blocked: None,
            taken: 0,
            yielded: false,
            heads: 0,
            ended: false,
            timer,
            _permit: permit,
        }
    }

    /// For the requests of the connection.
    pub fn pulse(&self) -> Rc<Pulse> {
        self.pulse.clone()
    }

    /// Whether a deadline has passed; if not, the task is woken when it does.
    fn overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let begun = [self.pulse.since(), self.blocked].map(|begun| begun.map(|begun| begun + self.deadline));
        let ends = begun.into_iter().chain([self.pulse.closing()]);
        let Some(deadline) = ends.flatten().min() else { return false };
        loop {
            let reached = self.timer.as_mut().poll(cx).is_ready();
            if reached && Instant::now() >= deadline {
                return true;
            }
            if !reached && self.timer.deadline() <= deadline {
                return false;
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Ends the connection, with `answer` if the client takes it at once.
    fn end(&mut self, cx: &mut Context<'_>, answer: &[u8]) {
        self.ended = true;
        if let Poll::Ready(Ok(_)) = self.io.poll_write(cx, answer) {
            // What does not fit now is not waited for: the client had its time.
            let _ = self.io.poll_flush(cx);
        }
    }

    fn drain(&mut self, cx: &mut Context<'_>) {
        let mut scratch = [0; 8192];
        let mut left = DRAIN;
        while left > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            match self.io.poll_read(cx, &mut buffer, usize::MAX) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    left = left.saturating_sub(buffer.filled().len());
                }
                _ => return,
            }
        }
    }

    /// What a client that does not read gets: nothing more.
    fn waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.blocked = self.blocked.or_else(|| Some(Instant::now()));
        if self.overdue(cx) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(end) = this.pulse.closing() {
            // A client that goes on sending would otherwise hold the connection for as long as it does.
            this.ended |= Instant::now() >= end;
        }
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        // Whoever does not take its answers is not asked for more requests.
        if this.blocked.is_some() {
            return this.waiting(cx);
        }
        if this.heads > MANY {
            this.heads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.pulse.head_bytes() < this.max_header {
            this.yielded = false;
        } else if this.yielded {
            this.drain(cx);
            this.end(cx, TOO_LARGE);
            return Poll::Ready(Ok(()));
        } else {
            // The head may be complete, and what counts be its body: HTTP looks at it before more is read.
            this.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(most) = this.pulse.may_read(cx) else { return Poll::Pending };
        let before = buf.filled().len();
        match this.io.poll_read(cx, buf, most) {
            Poll::Ready(result) => {
                let read = &buf.filled()[before..];
                this.pulse.received(read.len());
                this.heads += heads(read);
                Poll::Ready(result)
            }
            Poll::Pending if this.overdue(cx) => {
                if this.pulse.closing().is_some() && this.blocked.is_none() {
                    this.ended = true;
                    return Poll::Ready(Ok(()));
                }
                if this.blocked.is_none() && this.pulse.head_bytes() > 0 {
                    this.end(cx, TIMEOUT);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Written is not drained: a flush, after all of it, ends the wait. What is taken until then begins it anew only
        // once it is no drip.
        match this.io.poll_write(cx, buf) {
            Poll::Pending => this.waiting(cx),
            Poll::Ready(Ok(written)) if this.blocked.is_some() => {
                this.taken += written;
                if this.taken >= LEAST_TAKEN {
                    this.taken = 0;
                    this.blocked = Some(Instant::now());
                }
                Poll::Ready(Ok(written))
            }
            written => written,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.io.poll_flush(cx) {
            Poll::Pending => this.waiting(cx),
            flushed => {
                this.taken = 0;
                if this.blocked.take().is_some() {
                    // What waits to be read was passed over.
                    cx.waker().wake_by_ref();
                }
                flushed
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.io.poll_shutdown(cx) {
            Poll::Pending => this.waiting(cx),
            shut => shut,
        }
    }
}

impl Io {
    /// Reads `most` bytes at most.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, most: usize) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(&mut stream.take(most as u64)).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut stream.as_mut().take(most as u64)).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;

    use super::*;

    /// What becomes of a large answer to a client that takes at most `bytes` every `pause`, with a deadline of 1 s.
    async fn answered(bytes: usize, pause: Duration) -> io::Result<()> {
        let (server, client) = (TcpSocket::new_v4()?, TcpSocket::new_v4()?);
        // The buffers of the kernel are as small as it lets them be: what is taken shows at once.
        server.set_send_buffer_size(4096)?;
        client.set_recv_buffer_size(4096)?;
        server.bind(([127, 0, 0, 1], 0).into())?;
        let server = server.listen(1)?;
        let mut client = client.connect(server.local_addr()?).await?;
        let (socket, _) = server.accept().await?;
        let reader = tokio::spawn(async move {
            let mut part = vec![0; bytes];
            while client.read(&mut part).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(pause).await;
            }
        });
        let deadline = Duration::from_secs(1);
        let mut connection = Connection::new(Io::Plain(Socket::Tcp(socket)), None, Instant::now(), 1 << 20, deadline);
        let _busy = connection.pulse().begin(false, None);
        let written = async {
            connection.write_all(&[0; 256 << 10]).await?;
            connection.flush().await
        };
        let begun = Instant::now();
        let written = written.await;
        assert!(written.is_err() || begun.elapsed() > deadline * 3 / 2, "it was no slow client");
        reader.abort();
        written
    }

    #[tokio::test]
    async fn a_slow_client_gets_all_of_a_large_answer_and_one_that_drips_is_cut_off() {
        let (slow, dripping) =
            tokio::join!(answered(8 << 10, Duration::from_millis(100)), answered(512, Duration::from_millis(50)));
        slow.unwrap();
        assert_eq!(dripping.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
