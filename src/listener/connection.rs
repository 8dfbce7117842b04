//! One connection under watch: bytes for HTTP, and the deadlines that HTTP does not keep itself.
//!
//! The dispatcher of requests bounds neither the head of a later request, nor a client that does not read its
//! answers. Here every head has a deadline and a size, and so has everything that is to be written.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::admit::Permit;
use super::carrier::Io;
use super::framing::Body;
use super::pulse::{Pulse, Turn};
use super::{KEEP_ALIVE, Options};

/// Most bytes that are thrown away at once: a client that still writes when the connection is closed may not see its last
/// answer.
const DRAIN: usize = 1 << 20;

/// Most bytes that are read behind a request before it is answered, but for those that came with it.
const AHEAD: usize = 4 << 10;

/// Least bytes of answers that a client takes within a deadline: one that is slow gets a large answer whole, one that takes a
/// byte now and then does not hold the connection. More than the kernel's buffers hide would cut off whoever goes on reading.
const LEAST_TAKEN: usize = 16 << 10;

/// The answers that are given without a request.
const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A connection that HTTP reads and writes.
pub struct Connection {
    io: Io,
    pulse: Rc<Pulse>,
    max_header: usize,
    deadline: Duration,
    is_for_bodies: bool,
    /// Since when nothing of a request was here when it was looked for.
    idle: Option<Instant>,
    /// Since when there is something to write of which the client has not taken [`LEAST_TAKEN`].
    blocked: Option<Instant>,
    /// Bytes that it has taken since.
    taken: usize,
    /// What was read of later requests.
    ahead: BytesMut,
    /// Nothing comes behind it.
    is_at_end: bool,
    /// HTTP has not looked at the head that it was given.
    is_unseen: bool,
    ended: bool,
    /// Set to the nearest deadline only when there is a wait: a request costs no timer.
    timer: Pin<Box<Sleep>>,
    _permit: Option<Permit>,
}

impl Connection {
    /// Watches `io`, as `options` say: a head has its deadline from its first byte, the first head from `begun`.
    pub fn new(io: Io, permit: Option<Permit>, begun: Instant, options: &Options) -> Self {
        let pulse = Rc::new(Pulse::new(begun));
        let timer = Box::pin(tokio::time::sleep_until(begun + options.deadline));
        Self {
            io,
            pulse,
            max_header: options.max_header,
            deadline: options.deadline,
            is_for_bodies: options.is_for_bodies,
            idle: None,
            blocked: None,
            taken: 0,
            ahead: BytesMut::new(),
            is_at_end: false,
            is_unseen: false,
            ended: false,
            timer,
            _permit: permit,
        }
    }

    /// For the requests of the connection.
    pub fn pulse(&self) -> Rc<Pulse> {
        self.pulse.clone()
    }

    /// Whether `deadline` has passed; if not, the task is woken when it does.
    fn has_passed(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
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

    /// Whether what is waited for comes too late.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let begun = match self.pulse.turn() {
            Turn::Body(_) if self.is_for_bodies => self.pulse.since().or(self.pulse.begun()),
            _ => self.pulse.since(),
        };
        let deadline = begun.map(|begun| begun + self.deadline);
        deadline.into_iter().chain(self.pulse.closing()).min().is_some_and(|deadline| self.has_passed(cx, deadline))
    }

    /// Gives HTTP what it may have of the next bytes, of which at most `most` are read.
    fn give(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, most: u64) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let was_ahead = !self.ahead.is_empty();
        if was_ahead {
            let here = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..here]);
        } else if !self.is_at_end {
            ready!(self.io.poll_read(cx, buf, most))?;
        }
        let bytes = &buf.filled()[before..];
        let Ok(given) = self.pulse.give(bytes) else {
            // HTTP has a body that breaks off.
            buf.set_filled(before);
            self.ended = true;
            return Poll::Ready(Ok(()));
        };
        if was_ahead && given == self.ahead.len() {
            self.ahead = BytesMut::new();
        } else if was_ahead {
            self.ahead.advance(given);
        } else {
            self.ahead.extend_from_slice(&bytes[given..]);
        }
        buf.set_filled(before + given);
        if self.pulse.head_bytes() > self.max_header {
            buf.set_filled(before);
            self.say(cx, TOO_LARGE);
            self.pulse.end();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_unseen = self.pulse.turn() == Turn::Asked;
        Poll::Ready(Ok(()))
    }

    /// Reads a little of what comes behind a request: a client that is gone shows so.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < AHEAD && !self.is_at_end {
            let mut space = [MaybeUninit::uninit(); AHEAD];
            let mut bytes = ReadBuf::uninit(&mut space);
            let Poll::Ready(read) = self.io.poll_read(cx, &mut bytes, u64::MAX) else { break };
            read?;
            self.is_at_end = bytes.filled().is_empty();
            self.ahead.extend_from_slice(bytes.filled());
        }
        if self.is_at_end || !self.ahead.is_empty() || self.pulse.lags() {
            self.pulse.hold(cx.waker());
        }
        Poll::Pending
    }

    /// Throws away what comes, so that its sender sees the answer.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.clear();
        let mut drained = 0;
        while drained < DRAIN && !self.is_at_end {
            let mut space = [MaybeUninit::uninit(); 4 * AHEAD];
            let mut bytes = ReadBuf::uninit(&mut space);
            ready!(self.io.poll_read(cx, &mut bytes, u64::MAX))?;
            self.is_at_end = bytes.filled().is_empty();
            drained += bytes.filled().len();
        }
        if self.is_at_end {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives `answer`, if the client takes it at once.
    fn say(&mut self, cx: &mut Context<'_>, answer: &[u8]) {
        if let Poll::Ready(Ok(_)) = self.io.poll_write(cx, answer) {
            // What does not fit now is not waited for: the client had its time.
            let _ = self.io.poll_flush(cx);
        }
    }

    /// What a client that does not read gets: nothing more.
    fn waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let deadline = *self.blocked.get_or_insert_with(Instant::now) + self.deadline;
        if self.has_passed(cx, deadline) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Whoever does not take its answers is not asked for more requests.
        if this.blocked.is_some() {
            return this.waiting(cx);
        }
        if this.pulse.closing().is_some_and(|end| Instant::now() >= end) {
            // A client that goes on sending would otherwise hold the connection for as long as it does.
            this.ended = true;
        }
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        let read = match this.pulse.turn() {
            Turn::Body(Body::Bytes(left)) => this.give(cx, buf, left),
            Turn::Head(_) | Turn::Body(Body::Chunks(_)) => this.give(cx, buf, u64::MAX),
            Turn::Asked => {
                // HTTP looks at what it has only once there is no more.
                if std::mem::take(&mut this.is_unseen) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Turn::Next => this.read_ahead(cx),
            Turn::Over => this.drain(cx),
        };
        if read.is_ready() {
            this.idle = None;
            return read;
        }
        let is_head = matches!(this.pulse.turn(), Turn::Head(_) | Turn::Asked);
        if this.is_late(cx) {
            if is_head && this.pulse.head_bytes() == 0 {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if is_head {
                this.say(cx, TIMEOUT);
            }
            // A body breaks off here, and what is thrown away ends.
            this.ended = true;
            return Poll::Ready(Ok(()));
        }
        // HTTP's own timer begins anew with every look, for which TLS wakes it also where no byte comes.
        if is_head && this.pulse.since().is_none() {
            let idle = *this.idle.get_or_insert_with(Instant::now);
            if Instant::now() >= idle + KEEP_ALIVE {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        Poll::Pending
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

impl Drop for Connection {
    fn drop(&mut self) {
        // What is left unread would make the kernel take back what the client has not read yet.
        self.io.discard(DRAIN);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;

    use super::super::Proxies;
    use super::super::socket::Socket;
    use super::*;

    fn options(deadline: Duration) -> Options {
        Options {
            workers: 1,
            max_connections: 1,
            max_connections_per_ip: 0,
            max_header: 1 << 10,
            deadline,
            is_for_bodies: false,
            shutdown_grace: Duration::ZERO,
            proxy_protocol: false,
            proxies: Proxies::default(),
            tls: None,
        }
    }

    fn look(connection: &mut Connection) -> Poll<io::Result<()>> {
        let mut space = [0; 100];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Pin::new(connection).poll_read(&mut cx, &mut ReadBuf::new(&mut space))
    }

    #[tokio::test]
    async fn a_connection_that_is_woken_without_a_byte_is_closed_as_one_that_sleeps() {
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let options = options(Duration::from_secs(60));
        let mut connection = Connection::new(Io::Plain(Socket::Unix(ours)), None, Instant::now(), &options);
        connection.pulse().give(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        drop(connection.pulse().begin(false, Body::Bytes(0)));
        for _ in 0..2 {
            assert!(look(&mut connection).is_pending());
            tokio::time::sleep(KEEP_ALIVE / 2).await;
        }
        assert!(matches!(look(&mut connection), Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut));
    }

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
        let mut connection = Connection::new(Io::Plain(Socket::Tcp(socket)), None, Instant::now(), &options(deadline));
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
