//! Bodies: the bytes on the wire, which signatures cover, and the content that they encode.

use std::io::Read;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::Refusal;

/// Bytes of content that a compressed body may have, however small it is.
const UNRATED: u64 = 1 << 20;
/// Most bytes of content for one byte on the wire, beyond [`UNRATED`]; JSON comes to 5 to 20, rarely to 100.
const MOST_RATIO: u64 = 200;

/// Reads the body as it is sent, up to `max_bytes`, within `timeout`.
///
/// # Errors
/// [`Refusal::BodyTooLarge`] as soon as it is known, [`Refusal::BodyTimeout`], [`Refusal::BodyBroken`].
pub async fn read(
    payload: web::Payload,
    declared: Option<u64>,
    max_bytes: u64,
    timeout: Duration,
) -> Result<Bytes, Refusal> {
    if declared.is_some_and(|length| length > max_bytes) {
        return Err(Refusal::BodyTooLarge);
    }
    let capacity = declared.unwrap_or(0) as usize;
    tokio::time::timeout(timeout, collect(payload, capacity, max_bytes)).await.unwrap_or(Err(Refusal::BodyTimeout))
}

async fn collect(mut payload: web::Payload, capacity: usize, max_bytes: u64) -> Result<Bytes, Refusal> {
    let Some(first) = next(&mut payload).await? else { return Ok(Bytes::new()) };
    if first.len() as u64 > max_bytes {
        return Err(Refusal::BodyTooLarge);
    }
    let Some(second) = next(&mut payload).await? else { return Ok(first) };
    let mut body = BytesMut::with_capacity(capacity.max(first.len() + second.len()));
    body.extend_from_slice(&first);
    let mut part = Some(second);
    while let Some(bytes) = part {
        if (body.len() + bytes.len()) as u64 > max_bytes {
            return Err(Refusal::BodyTooLarge);
        }
        body.extend_from_slice(&bytes);
        part = next(&mut payload).await?;
    }
    Ok(body.freeze())
}

async fn next(payload: &mut web::Payload) -> Result<Option<Bytes>, Refusal> {
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

    use super::*;

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap().into()
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
