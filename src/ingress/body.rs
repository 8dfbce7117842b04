//! Bodies: the bytes on the wire, which signatures cover.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::Instant;

use super::Refusal;
use super::room::Room;

/// Bytes of memory that a sender gets on its word alone: what its head declares may never come.
const BELIEVED: usize = 64 << 10;

/// Bytes up to which a body that came in one piece is copied.
const COPIED: usize = 16 << 10;

/// Time over which a body must come at its least rate: a pause of a sender's network is no reason to cut it off.
pub const WINDOW: Duration = Duration::from_secs(10);

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For its head and all of it.
    pub timeout: Duration,
    /// Least bytes of each `window`.
    pub least: u64,
    /// How often the bytes are counted.
    pub window: Duration,
}

/// Reads the body as it is sent, up to `max_bytes`, at its `pace`, into `room`.
///
/// - `begun`: when the wait for its head began.
///
/// # Errors
/// [`Refusal::BodyTooLarge`] as soon as it is known, [`Refusal::Busy`], [`Refusal::BodyTimeout`], [`Refusal::BodyBroken`].
pub async fn read(
    payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    declared: Option<u64>,
    max_bytes: u64,
    begun: Instant,
    pace: Pace,
    room: &mut Room<'_>,
) -> Result<Bytes, Refusal> {
    if declared.is_some_and(|length| length > max_bytes) {
        return Err(Refusal::BodyTooLarge);
    }
    let capacity = declared.unwrap_or(0) as usize;
    let received = Cell::new(0);
    let mut body = pin!(collect(payload, capacity, max_bytes, &received, room));
    // Most bodies come with their heads: nothing is timed for them.
    if let Some(done) = body.as_mut().now_or_never() {
        return done;
    }
    let end = begun + pace.timeout;
    loop {
        let (look, before) = (end.min(Instant::now() + pace.window), received.get());
        if let Ok(done) = tokio::time::timeout_at(look, &mut body).await {
            return done;
        }
        if look == end || received.get() - before < pace.least {
            return Err(Refusal::BodyTimeout);
        }
    }
}

/// - `received`: bytes so far, for whoever looks on.
async fn collect(
    payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    capacity: usize,
    max_bytes: u64,
    received: &Cell<u64>,
    room: &mut Room<'_>,
) -> Result<Bytes, Refusal> {
    let mut payload = payload.inspect(|part| {
        received.set(received.get() + part.as_ref().map_or(0, |bytes| bytes.len() as u64));
    });
    let Some(first) = next(&mut payload).await? else { return Ok(Bytes::new()) };
    if first.len() as u64 > max_bytes {
        return Err(Refusal::BodyTooLarge);
    }
    room.take(first.len())?;
    let Some(second) = next(&mut payload).await? else {
        // It is a piece of what HTTP has read, head and all: one that waits for the disk would keep all of that in memory.
        return Ok(if first.len() <= COPIED { Bytes::copy_from_slice(&first) } else { first });
    };
    let mut body = BytesMut::with_capacity(capacity.min(BELIEVED).max(first.len() + second.len()));
    body.extend_from_slice(&first);
    let mut part = Some(second);
    while let Some(bytes) = part {
        if (body.len() + bytes.len()) as u64 > max_bytes {
            return Err(Refusal::BodyTooLarge);
        }
        room.take(bytes.len())?;
        body.extend_from_slice(&bytes);
        part = next(&mut payload).await?;
    }
    Ok(body.freeze())
}

async fn next(
    payload: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
) -> Result<Option<Bytes>, Refusal> {
    match payload.next().await {
        None => Ok(None),
        Some(Ok(bytes)) => Ok(Some(bytes)),
        Some(Err(PayloadError::Overflow)) => Err(Refusal::BodyTooLarge),
        Some(Err(_)) => Err(Refusal::BodyBroken),
    }
}

#[cfg(test)]
mod tests {
    use super::super::room::Held;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_small_body_does_not_keep_what_http_has_read_with_it() {
        let held = Held::default();
        for (size, is_copied) in [(COPIED, true), (COPIED + 1, false)] {
            let read_by_http = Bytes::from(vec![7; size]);
            let stream = futures_util::stream::iter([Ok(read_by_http.clone())]);
            let pace = Pace { timeout: MS, least: 0, window: MS };
            let mut room = Room::new(&held, 1 << 30, 0, None);
            let body = read(stream, None, 1 << 30, Instant::now(), pace, &mut room).await.unwrap();
            assert_eq!((body.as_ptr() != read_by_http.as_ptr(), body), (is_copied, read_by_http));
        }
    }

    /// A body of `parts` parts of `size` bytes, one every `pause`; what came of it, and after how long.
    async fn dripped(parts: u64, size: usize, pause: Duration, pace: Pace) -> (Result<usize, Refusal>, Duration) {
        let stream = futures_util::stream::iter(0..parts).then(|_| async move {
            tokio::time::sleep(pause).await;
            Ok(vec![b'x'; size].into())
        });
        let begun = Instant::now();
        let held = Held::default();
        let body = read(Box::pin(stream), None, 1 << 30, begun, pace, &mut Room::new(&held, 1 << 30, 0, None)).await;
        (body.map(|body| body.len()), begun.elapsed())
    }

    #[tokio::test]
    async fn a_body_that_comes_too_slowly_is_cut_off_long_before_the_deadline_and_a_steady_one_is_not() {
        let pace = Pace { timeout: MS * 60_000, least: 1000, window: MS * 200 };
        assert_eq!(dripped(60, 1000, MS * 10, pace).await.0, Ok(60_000));
        let (refused, took) = dripped(1000, 10, MS * 10, pace).await;
        assert!(refused == Err(Refusal::BodyTimeout) && took < MS * 5_000, "{refused:?} {took:?}");
        // What came at once buys no time later.
        let begins = futures_util::stream::iter([Ok(vec![b'x'; 1_000_000].into())]);
        let stalls = begins.chain(futures_util::stream::pending());
        let held = Held::default();
        let mut room = Room::new(&held, 1 << 30, 0, None);
        let (begun, refused) = (Instant::now(), read(stalls, None, 1 << 30, Instant::now(), pace, &mut room).await);
        assert!(refused == Err(Refusal::BodyTimeout) && begun.elapsed() < MS * 5_000, "{refused:?}");
    }

    #[tokio::test]
    async fn no_body_takes_longer_than_the_deadline_however_fast_it_comes() {
        let pace = Pace { timeout: MS * 300, least: 1, window: MS * 200 };
        let (refused, took) = dripped(1_000, 1000, MS * 10, pace).await;
        assert!(refused == Err(Refusal::BodyTimeout) && took < MS * 5_000, "{refused:?} {took:?}");
        let (held, stalls) = (Held::default(), futures_util::stream::pending());
        let any = Pace { least: 0, timeout: MS * 60_000, window: MS };
        let before = Instant::now();
        let head = before - any.timeout + MS * 50;
        let refused = read(stalls, None, 1 << 30, head, any, &mut Room::new(&held, 1 << 30, 0, None)).await;
        assert!(refused == Err(Refusal::BodyTimeout) && before.elapsed() < MS * 5_000, "the head took the time");
        assert_eq!(dripped(3, 1, MS * 30, any).await.0, Ok(3));
    }
}
