//! Bodies: the bytes on the wire, which signatures cover, and the content that they encode.

use std::cell::Cell;
use std::io::Read;
use std::pin::pin;
use std::time::Duration;

use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::Instant;

use super::Refusal;
use super::room::Room;

/// Bytes of content that a compressed body may have, however small it is.
const UNRATED: u64 = 1 << 20;
/// Most bytes of content for one byte on the wire, beyond [`UNRATED`]; JSON comes to 5 to 20, rarely to 100.
const MOST_RATIO: u64 = 200;

/// Bytes of memory that a sender gets on its word alone: what its head declares may never come.
const BELIEVED: usize = 64 << 10;

/// Time over which a body must come at its least rate: a pause of a sender's network is no reason to cut it off.
pub const WINDOW: Duration = Duration::from_secs(10);

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For all of it.
    pub timeout: Duration,
    /// Least bytes of each `window`.
    pub least: u64,
    /// How often the bytes are counted.
    pub window: Duration,
}

/// Reads the body as it is sent, up to `max_bytes`, at its `pace`, into `room`.
///
/// # Errors
/// [`Refusal::BodyTooLarge`] as soon as it is known, [`Refusal::Busy`], [`Refusal::BodyTimeout`], [`Refusal::BodyBroken`].
pub async fn read(
    payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    declared: Option<u64>,
    max_bytes: u64,
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
    let end = Instant::now() + pace.timeout;
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
    let Some(second) = next(&mut payload).await? else { return Ok(first) };
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

/// The content of `body`, decoded as the header `content-encoding` says, at most `max_bytes`, and beyond
/// 1 MiB at most 200 times the bytes on the wire: a small request buys no large work.
///
/// # Errors
/// [`Refusal::UnsupportedMediaType`] for another encoding, or bytes that are not so encoded; [`Refusal::BodyTooLarge`].
pub fn decode(body: &Bytes, encoding: Option<&[u8]>, max_bytes: u64) -> Result<Bytes, Refusal> {
    let Some(encoding) = encoding else { return Ok(body.clone()) };
    let max_bytes = max_bytes.min(UNRATED.max(body.len() as u64 * MOST_RATIO));
    let encoding = encoding.trim_ascii().to_ascii_lowercase();
    let input = &body[..];
    match encoding.as_slice() {
        b"" | b"identity" => Ok(body.clone()),
        b"gzip" | b"x-gzip" => inflate(flate2::read::MultiGzDecoder::new(input), max_bytes),
        // Senders disagree whether this means zlib (as RFC 9110 says) or bare deflate.
        b"deflate" => inflate(flate2::read::ZlibDecoder::new(input), max_bytes).or_else(|refusal| match refusal {
            Refusal::UnsupportedMediaType => inflate(flate2::read::DeflateDecoder::new(input), max_bytes),
            other => Err(other),
        }),
        b"br" => inflate(brotli_decompressor::Decompressor::new(input, 4096), max_bytes),
        b"zstd" => match ruzstd::decoding::StreamingDecoder::new(input) {
            Ok(decoder) => inflate(decoder, max_bytes),
            Err(_) => Err(Refusal::UnsupportedMediaType),
        },
        _ => Err(Refusal::UnsupportedMediaType),
    }
}

fn inflate(decoder: impl Read, max_bytes: u64) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    // One byte more than allowed tells a body that is too large from one that just fits.
    match decoder.take(max_bytes + 1).read_to_end(&mut out) {
        Ok(read) if read as u64 > max_bytes => Err(Refusal::BodyTooLarge),
        Ok(_) => Ok(out.into()),
        Err(_) => Err(Refusal::UnsupportedMediaType),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::room::Held;
    use super::*;

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap().into()
    }

    const MS: Duration = Duration::from_millis(1);

    /// A body of `parts` parts of `size` bytes, one every `pause`; what came of it, and after how long.
    async fn dripped(parts: u64, size: usize, pause: Duration, pace: Pace) -> (Result<usize, Refusal>, Duration) {
        let stream = futures_util::stream::iter(0..parts).then(|_| async move {
            tokio::time::sleep(pause).await;
            Ok(vec![b'x'; size].into())
        });
        let begun = Instant::now();
        let held = Held::default();
        let body = read(Box::pin(stream), None, 1 << 30, pace, &mut Room::new(&held, 1 << 30, None)).await;
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
        let mut room = Room::new(&held, 1 << 30, None);
        let (begun, refused) = (Instant::now(), read(stalls, None, 1 << 30, pace, &mut room).await);
        assert!(refused == Err(Refusal::BodyTimeout) && begun.elapsed() < MS * 5_000, "{refused:?}");
    }

    #[tokio::test]
    async fn no_body_takes_longer_than_the_deadline_however_fast_it_comes() {
        let pace = Pace { timeout: MS * 300, least: 1, window: MS * 200 };
        let (refused, took) = dripped(1_000, 1000, MS * 10, pace).await;
        assert!(refused == Err(Refusal::BodyTimeout) && took < MS * 5_000, "{refused:?} {took:?}");
        let any = Pace { least: 0, timeout: MS * 60_000, window: MS };
        assert_eq!(dripped(3, 1, MS * 30, any).await.0, Ok(3));
    }

    #[test]
    fn content_is_decoded_under_a_cap() {
        let body = gzip(&[b'a'; 10_000]);
        assert_eq!(decode(&body, Some(b"gzip"), 10_000).unwrap().len(), 10_000);
        assert_eq!(decode(&body, Some(b"GZIP"), 9_999), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn a_small_body_does_not_unfold_into_a_large_one() {
        let most = UNRATED as usize;
        let bomb = gzip(&vec![0; most + 1]);
        assert!(bomb.len() < 2000);
        assert_eq!(decode(&bomb, Some(b"gzip"), 1 << 30), Err(Refusal::BodyTooLarge));
        assert_eq!(decode(&gzip(&vec![0; most]), Some(b"gzip"), 1 << 30).unwrap().len(), most);
        let text: Vec<u8> = (0..400_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        assert_eq!(decode(&gzip(&text), Some(b"gzip"), 1 << 30).unwrap(), text);
    }

    #[test]
    fn both_meanings_of_deflate_are_understood() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(b"hello").unwrap();
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        bare.write_all(b"hello").unwrap();
        for body in [zlib.finish().unwrap(), bare.finish().unwrap()] {
            assert_eq!(decode(&body.into(), Some(b"deflate"), 99).unwrap(), "hello");
        }
    }

    #[test]
    fn what_is_not_encoded_as_it_says_is_refused_without_a_panic() {
        for encoding in [&b"gzip"[..], b"deflate", b"br", b"zstd", b"compress", b"gzip, gzip", b"\xff"] {
            let refused = decode(&Bytes::from_static(b"\x00plain text\xff"), Some(encoding), 99);
            assert_eq!(refused, Err(Refusal::UnsupportedMediaType), "{encoding:?}");
        }
    }
}
