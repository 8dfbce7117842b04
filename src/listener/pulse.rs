//! Where a connection is in its requests; shared by the connection and its requests, on one thread.
//!
//! HTTP decodes every request that it is given, before it answers the first, and keeps answers that the client does not take. So
//! it is given little: what a request may have, and of those behind it no more than [`HEADS`].

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::LINGER;

/// Most bytes that are read at once where requests begin: they may be a hundred requests.
pub const HEADS: usize = 4 << 10;
/// Heads after which HTTP answers what it has before more is read.
pub const MANY: usize = 16;

/// The state of a connection.
#[derive(Default)]
pub struct Pulse {
    /// A request is being answered.
    busy: Cell<bool>,
    /// Bytes of its body that may still come; `None`: nobody knows how many.
    body: Cell<Option<u64>>,
    /// Bytes that came behind it.
    ahead: Cell<usize>,
    /// Who reads on once it is answered.
    held: Cell<Option<Waker>>,
    /// One of both sides has said that a request was the last: whatever comes behind it is not one
    /// (RFC 9112, section 9.6).
    done: Cell<bool>,
    /// When the wait for the head of a request began; `None`: nothing of one is here.
    since: Cell<Option<Instant>>,
    /// The same of the request that is being answered.
    begun: Cell<Option<Instant>>,
    /// Bytes received in that wait.
    bytes: Cell<usize>,
    /// The last answer is given: what still comes until then is thrown away, so that the client sees the answer.
    closing: Cell<Option<Instant>>,
}

/// A request between its head and its answer.
pub struct Busy(Rc<Pulse>);

impl Pulse {
    /// A connection that was opened at `begun`.
    pub fn new(begun: Instant) -> Self {
        Self { since: Cell::new(Some(begun)), ..Self::default() }
    }

    /// A head is here. `None`: one before it was the last.
    ///
    /// - `last`: its client says that no other follows.
    /// - `body`: bytes of its body; `None`: it will show.
    pub fn begin(self: Rc<Self>, last: bool, body: Option<u64>) -> Option<Busy> {
        if self.done.replace(self.done.get() || last) {
            return None;
        }
        self.busy.set(true);
        self.body.set(body);
        self.begun.set(self.since.take());
        self.bytes.set(0);
        Some(Busy(self))
    }

    /// The body of the request that is being answered is here.
    pub fn whole(&self) {
        self.body.set(Some(0));
    }

    /// When the wait for the head of this request began; `None`: it came behind another.
    pub fn begun(&self) -> Option<Instant> {
        self.begun.get()
    }

    /// Whether no further request is one.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    /// The answer that is given now is the last: the connection ends behind it.
    pub fn end(&self) {
        self.done.set(true);
        self.closing.set(Some(Instant::now() + LINGER));
    }

    /// When the connection ends, if its last answer is given.
    pub fn closing(&self) -> Option<Instant> {
        self.closing.get()
    }

    /// When the wait for a head began that is not here yet.
    pub fn since(&self) -> Option<Instant> {
        self.since.get()
    }

    /// Bytes of that head so far.
    pub fn head_bytes(&self) -> usize {
        self.bytes.get()
    }

    /// How many bytes may be read now; `None`: none until the answer is made, when the task is woken.
    pub fn may_read(&self, cx: &Context<'_>) -> Option<usize> {
        if !self.busy.get() {
            self.ahead.set(0);
            return Some(HEADS);
        }
        match self.body.get() {
            Some(0) if self.ahead.get() >= HEADS => {
                self.held.set(Some(cx.waker().clone()));
                None
            }
            Some(0) | None => Some(HEADS),
            Some(body) => Some(usize::try_from(body).unwrap_or(usize::MAX)),
        }
    }

    /// So many bytes were read.
    pub fn received(&self, bytes: usize) {
        if self.busy.get() {
            if let Some(body) = self.body.get() {
                let behind = (bytes as u64).saturating_sub(body);
                self.body.set(Some(body.saturating_sub(bytes as u64)));
                self.ahead.set(self.ahead.get().saturating_add(usize::try_from(behind).unwrap_or(usize::MAX)));
            }
        } else if self.closing.get().is_none() && bytes > 0 {
            self.since.set(self.since.get().or_else(|| Some(Instant::now())));
            self.bytes.set(self.bytes.get() + bytes);
        }
    }
}

/// How many heads of requests may end in `bytes`: every empty line counts, those of bodies as well.
pub fn heads(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes)
        .filter(|end| matches!(&bytes[end + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
        .count()
}

impl Busy {
    /// The answer is made; `last`: the connection ends with it.
    pub fn answered(self, last: bool) {
        if last {
            self.0.end();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(false);
        if let Some(reader) = self.0.held.take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn behind_a_request_little_is_read_and_the_rest_once_it_is_answered() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        let pulse = Rc::new(Pulse::new(Instant::now()));
        assert_eq!(pulse.may_read(&cx), Some(HEADS));
        pulse.received(100);
        let busy = pulse.clone().begin(false, Some(10_000)).unwrap();
        assert_eq!(pulse.may_read(&cx), Some(10_000), "its body is read as it comes");
        pulse.received(9_000);
        assert_eq!(pulse.may_read(&cx), Some(1_000));
        pulse.received(1_000);
        assert_eq!(pulse.may_read(&cx), Some(HEADS));
        pulse.received(HEADS);
        assert_eq!(pulse.may_read(&cx), None);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(busy);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        // A body of which nobody knows the length, until it is here.
        let busy = pulse.clone().begin(false, None).unwrap();
        for _ in 0..3 {
            assert_eq!(pulse.may_read(&cx), Some(HEADS));
            pulse.received(HEADS);
        }
        pulse.whole();
        assert_eq!(pulse.may_read(&cx), None, "what came behind the request before counts as well");
        drop(busy);
        assert_eq!(pulse.may_read(&cx), Some(HEADS));
    }

    #[test]
    fn every_head_counts_however_its_lines_end() {
        assert_eq!(heads(b""), 0);
        assert_eq!(heads(b"GET / HTTP/1.1\r\nA: b\r\n\r\nGET / HTTP/1.1\n\nGET / HTTP/1.1\r\n\n{\n}\r\n"), 3);
    }

    #[test]
    fn nothing_begins_behind_the_last_request() {
        for ended in [false, true] {
            let pulse = Rc::new(Pulse::new(Instant::now()));
            pulse.clone().begin(false, None).unwrap().answered(false);
            if ended {
                pulse.end();
            } else {
                pulse.clone().begin(true, None).unwrap().answered(false);
            }
            assert!(pulse.is_done() && pulse.clone().begin(false, None).is_none());
        }
    }
}
