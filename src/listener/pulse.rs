//! Where a connection is in its requests; shared by the connection and its requests, on one thread.
//!
//! HTTP decodes every request that it is given before it answers the first, and lets what it decodes last decide how it answers
//! the others. So it is given one at a time: nothing behind a request until that is answered.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;

use tokio::time::Instant;

use super::LINGER;
use super::framing::{Body, HeadEnd, Malformed, plain_body};

/// Bytes of a request, head and body, beyond which HTTP's buffer grows: it has 32 KiB from the first on.
const LARGE: usize = 16 << 10;

/// The state of a connection.
#[derive(Default)]
pub struct Pulse {
    turn: Cell<Turn>,
    /// The request that is being answered is the last one (RFC 9112, section 9.6).
    last: Cell<bool>,
    /// The body that a head was taken to announce before HTTP had seen it; `None`: HTTP was waited for.
    plain: Cell<Option<Body>>,
    /// Who reads on once the request is answered.
    held: Cell<Option<Waker>>,
    /// When the wait for the head of a request began; `None`: nothing of one is here.
    since: Cell<Option<Instant>>,
    /// The same of the request that is being answered.
    begun: Cell<Option<Instant>>,
    /// Bytes of the head so far.
    head_bytes: Cell<usize>,
    /// Bytes that HTTP was given of the request.
    given: Cell<usize>,
    /// The last answer is given: what still comes until then is thrown away, so that the client sees the answer.
    closing: Cell<Option<Instant>>,
}

/// Whose the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Of a head.
    Head(HeadEnd),
    /// Nobody knows until HTTP has seen the head that it was given.
    Asked,
    /// Of the body of the request.
    Body(Body),
    /// Of the next request, once this one is answered.
    Next,
    /// Nobody's: no request follows.
    Over,
}

impl Default for Turn {
    fn default() -> Self {
        Self::Head(HeadEnd::default())
    }
}

/// A request between its head and the end of its answer.
pub struct Busy(Rc<Pulse>);

impl Pulse {
    /// A connection that was opened at `begun`.
    pub fn new(begun: Instant) -> Self {
        Self { since: Cell::new(Some(begun)), ..Self::default() }
    }

    /// Whose the next bytes are.
    pub fn turn(&self) -> Turn {
        self.turn.get()
    }

    /// How many of the next `bytes` of the connection HTTP is given.
    ///
    /// # Errors
    /// As [`Body::take`]: the connection ends.
    pub fn give(&self, bytes: &[u8]) -> Result<usize, Malformed> {
        let given = self.give_turn(bytes)?;
        self.given.set(self.given.get() + given);
        Ok(given)
    }

    fn give_turn(&self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self.turn.get() {
            Turn::Head(mut end) => {
                let is_whole = end.is_at_start();
                let found = end.find(bytes);
                self.head_bytes.set(self.head_bytes.get() + found.unwrap_or(bytes.len()));
                self.since.set(self.since.get().or_else(|| (!bytes.is_empty()).then(Instant::now)));
                let Some(head) = found else {
                    self.turn.set(Turn::Head(end));
                    return Ok(bytes.len());
                };
                // Nearly always a request is here as a whole: HTTP gets it at once.
                self.plain.set(plain_body(&bytes[..head]).filter(|_| is_whole));
                let Some(body) = self.plain.get() else {
                    self.turn.set(Turn::Asked);
                    return Ok(head);
                };
                Ok(head + self.give_body(body, &bytes[head..])?)
            }
            Turn::Body(body) => self.give_body(body, bytes),
            Turn::Asked | Turn::Next | Turn::Over => Ok(0),
        }
    }

    fn give_body(&self, mut body: Body, bytes: &[u8]) -> Result<usize, Malformed> {
        let given = body.take(bytes)?;
        self.turn.set(Turn::after(body));
        Ok(given)
    }

    /// HTTP has a request with this `body`; `last`: its client says that no other follows. `None`: its head was taken to
    /// announce something else, and what HTTP has of the body may be another request.
    pub fn begin(self: Rc<Self>, last: bool, body: Body) -> Option<Busy> {
        match (self.turn.get(), self.plain.get()) {
            (Turn::Asked, _) => self.turn.set(Turn::after(body)),
            (Turn::Body(_) | Turn::Next, Some(plain)) if plain == body => {}
            _ => return None,
        }
        self.last.set(last);
        self.begun.set(self.since.take());
        self.head_bytes.set(0);
        Some(Busy(self))
    }

    /// When the wait for the head of the request began that is being answered.
    pub fn begun(&self) -> Option<Instant> {
        self.begun.get()
    }

    /// The answer that is given now is the last: the connection ends behind it.
    pub fn end(&self) {
        self.turn.set(Turn::Over);
        self.since.set(None);
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

    /// Bytes of the head that is due, so far.
    pub fn head_bytes(&self) -> usize {
        self.head_bytes.get()
    }

    /// Whether HTTP may still have to read of the request when it is answered, though it was given all.
    pub fn lags(&self) -> bool {
        self.plain.get().is_none()
    }

    /// `reader` is woken once the request is answered.
    pub fn hold(&self, reader: &Waker) {
        self.held.set(Some(reader.clone()));
    }
}

impl Turn {
    fn after(body: Body) -> Self {
        if body.is_done() { Self::Next } else { Self::Body(body) }
    }
}

impl Busy {
    /// Whether a body came with the head, as a whole: HTTP has it, and takes it in next.
    pub fn has_body(&self) -> bool {
        self.0.turn.get() == Turn::Next && self.0.plain.get().is_some_and(|body| !body.is_done())
    }

    /// Whether HTTP has taken much memory to read the request, which it keeps for as long as the connection lives.
    pub fn is_large(&self) -> bool {
        self.0.given.get() > LARGE
    }

    /// An answer is made that is to say `last` where no request follows it; whether that is so.
    pub fn answered(&self, last: bool) -> bool {
        // What is left of a body that nobody has waited for is not read.
        let last = last || self.0.last.get() || matches!(self.0.turn.get(), Turn::Body(_));
        if last {
            self.0.end();
        }
        last
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.given.set(0);
        match self.0.turn.get() {
            Turn::Next => self.0.turn.set(Turn::default()),
            Turn::Over => {}
            // It was given up.
            Turn::Head(_) | Turn::Asked | Turn::Body(_) => self.0.end(),
        }
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

    use super::super::framing::Chunks;
    use super::*;

    const PLAIN: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn pulse() -> Rc<Pulse> {
        Rc::new(Pulse::new(Instant::now()))
    }

    /// What HTTP is given of `bytes` at once.
    fn given(pulse: &Pulse, bytes: &[&[u8]]) -> usize {
        pulse.give(&bytes.concat()).unwrap()
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_request_is_given_at_once_and_nothing_behind_it_until_it_is_answered() {
        let (pulse, woken) = (pulse(), Arc::new(Woken::default()));
        for _ in 0..2 {
            assert_eq!(given(&pulse, &[PLAIN, b"hello", PLAIN]), PLAIN.len() + 5);
            assert_eq!(given(&pulse, &[PLAIN]), 0, "HTTP has not seen the first one");
            let busy = pulse.clone().begin(false, Body::Bytes(5)).unwrap();
            assert_eq!((pulse.turn(), given(&pulse, &[PLAIN])), (Turn::Next, 0));
            pulse.hold(&Waker::from(woken.clone()));
            assert!(!busy.answered(false));
            assert_eq!((woken.0.swap(0, Ordering::Relaxed), given(&pulse, &[PLAIN])), (0, 0), "it is on its way");
            drop(busy);
            assert_eq!(woken.0.swap(0, Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_request_waits_for_http_to_take_in_its_body_only_where_http_has_all_of_it() {
        let bare = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for (parts, body, is_here) in [
            (&[PLAIN, b"hello"][..], Body::Bytes(5), true),
            (&[PLAIN, b"hell"], Body::Bytes(5), false),
            (&[bare], Body::Bytes(0), false),
            (&[CHUNKED, b"0\r\n\r\n"], Body::Chunks(Chunks::First), false),
        ] {
            let pulse = pulse();
            given(&pulse, parts);
            assert_eq!(pulse.clone().begin(false, body).unwrap().has_body(), is_here, "{parts:?}");
        }
    }

    #[test]
    fn a_body_is_given_as_it_comes_before_and_after_its_request_begins() {
        let pulse = pulse();
        assert_eq!(given(&pulse, &[PLAIN, b"h"]), PLAIN.len() + 1);
        assert_eq!(given(&pulse, &[b"e"]), 1);
        let _busy = pulse.clone().begin(false, Body::Bytes(5)).unwrap();
        assert_eq!(given(&pulse, &[b"llo", PLAIN]), 3);
        assert_eq!(pulse.turn(), Turn::Next);
    }

    #[test]
    fn what_is_not_plain_waits_for_what_http_makes_of_the_head() {
        for (parts, body, rest) in [
            (vec![CHUNKED], Body::Chunks(Chunks::First), &b"5\r\nhello\r\n0\r\n\r\n"[..]),
            (vec![&PLAIN[..20], &PLAIN[20..]], Body::Bytes(5), b"hello"),
        ] {
            let pulse = pulse();
            for part in &parts[..parts.len() - 1] {
                assert_eq!(given(&pulse, &[part]), part.len());
            }
            let last = parts[parts.len() - 1];
            assert_eq!(given(&pulse, &[last, rest, PLAIN]), last.len());
            assert_eq!((pulse.turn(), given(&pulse, &[rest])), (Turn::Asked, 0));
            let busy = pulse.clone().begin(false, body).unwrap();
            assert_eq!(given(&pulse, &[rest, PLAIN]), rest.len());
            drop(busy);
            assert_eq!(pulse.turn(), Turn::default());
        }
    }

    #[test]
    fn a_request_that_http_reads_otherwise_is_none() {
        for other in [Body::Bytes(4), Body::Bytes(0), Body::Chunks(Chunks::First)] {
            let pulse = pulse();
            given(&pulse, &[PLAIN, b"hello"]);
            assert!(pulse.clone().begin(false, other).is_none());
        }
        assert!(pulse().begin(false, Body::Bytes(0)).is_none(), "nothing was given");
    }

    #[test]
    fn nothing_is_given_behind_the_last_request() {
        for (last, answered, body) in [(true, false, &b"hello"[..]), (false, true, b"hello"), (false, false, b"he")] {
            let pulse = pulse();
            given(&pulse, &[PLAIN, body]);
            let busy = pulse.clone().begin(last, Body::Bytes(5)).unwrap();
            assert!(busy.answered(answered), "it must say so: {last} {answered} {body:?}");
            drop(busy);
            assert_eq!((pulse.turn(), given(&pulse, &[b"llo", PLAIN])), (Turn::Over, 0));
            assert!(pulse.closing().is_some() && pulse.since().is_none());
        }
        // One that is given up is the last as well.
        let pulse = pulse();
        given(&pulse, &[PLAIN]);
        drop(pulse.clone().begin(false, Body::Bytes(5)));
        assert!(pulse.turn() == Turn::Over && pulse.closing().is_some());
    }

    #[test]
    fn the_wait_for_a_head_begins_with_its_first_byte() {
        let pulse = pulse();
        let opened = pulse.since();
        assert_eq!(given(&pulse, &[PLAIN]), PLAIN.len());
        assert_eq!((pulse.since(), pulse.head_bytes()), (opened, PLAIN.len()));
        let busy = pulse.clone().begin(false, Body::Bytes(5)).unwrap();
        given(&pulse, &[b"hello"]);
        assert_eq!((pulse.since(), pulse.begun(), pulse.head_bytes()), (None, opened, 0));
        drop(busy);
        assert_eq!(pulse.since(), None);
        given(&pulse, &[b"P"]);
        assert!(pulse.since().is_some() && pulse.head_bytes() == 1);
    }
}
