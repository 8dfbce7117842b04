//! Content codings: what a body is once it is decompressed, never more than the cap.
//!
//! Promises
//! - Whatever a body claims, decoding takes the memory of its content up to the cap, twice at most, and that of the coding's window: 16 MiB at most.

use std::io::{self, Read};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;

use super::Refusal;

/// Bytes of content that a compressed body may have, however small it is.
const UNRATED: u64 = 1 << 20;
/// Most bytes of content for one byte on the wire, beyond [`UNRATED`]; JSON comes to 5 to 20, rarely to 100.
const MOST_RATIO: u64 = 200;

/// Largest window of zstd, as a power of two: the 8 MiB that RFC 9659 lets a content coding ask for.
const ZSTD_WINDOW_LOG: u32 = 23;

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
        b"deflate" => {
            let mut zlib = flate2::bufread::ZlibDecoder::new(input);
            let content = inflate(&mut zlib, max_bytes).and_then(|content| whole(content, zlib.get_ref()));
            content.or_else(|refusal| match refusal {
                Refusal::UnsupportedMediaType => {
                    let mut bare = flate2::bufread::DeflateDecoder::new(input);
                    inflate(&mut bare, max_bytes).and_then(|content| whole(content, bare.get_ref()))
                }
                other => Err(other),
            })
        }
        b"br" => inflate(Brotli::new(input), max_bytes),
        b"zstd" => {
            let mut decoder = zstd::Decoder::with_buffer(input).map_err(|_| Refusal::UnsupportedMediaType)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| Refusal::UnsupportedMediaType)?;
            inflate(decoder, max_bytes)
        }
        _ => Err(Refusal::UnsupportedMediaType),
    }
}

/// `content`, unless the decoder has `left` something behind the end of it.
fn whole(content: Bytes, left: &[u8]) -> Result<Bytes, Refusal> {
    if left.is_empty() { Ok(content) } else { Err(Refusal::UnsupportedMediaType) }
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

/// A brotli stream, with the windows of RFC 7932 (16 MiB at most) and not the "large" ones (1 GiB), which the decoder's own
/// reader would take.
struct Brotli<'a> {
    input: &'a [u8],
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
}

impl<'a> Brotli<'a> {
    fn new(input: &'a [u8]) -> Self {
        let [bytes, words, codes] = [(); 3].map(|()| StandardAlloc::default());
        Self { input, state: BrotliState::new_strict(bytes, words, codes) }
    }
}

impl Read for Brotli<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (mut left, mut consumed, mut room, mut written, mut total) = (self.input.len(), 0, out.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut consumed,
            self.input,
            &mut room,
            &mut written,
            out,
            &mut total,
            &mut self.state,
        );
        self.input = self.input.get(consumed..).unwrap_or_default();
        match result {
            BrotliResult::NeedsMoreOutput => Ok(written),
            BrotliResult::ResultSuccess if self.input.is_empty() => Ok(written),
            BrotliResult::NeedsMoreInput => Err(io::ErrorKind::UnexpectedEof.into()),
            // Or there is something behind its end.
            BrotliResult::ResultSuccess | BrotliResult::ResultFailure => Err(io::ErrorKind::InvalidData.into()),
        }
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
            let behind = [&body[..], b"\n"].concat();
            assert_eq!(decode(&body.into(), Some(b"deflate"), 99).unwrap(), "hello");
            assert_eq!(decode(&behind.into(), Some(b"deflate"), 99), Err(Refusal::UnsupportedMediaType));
        }
    }

    #[test]
    fn what_is_not_encoded_as_it_says_is_refused_without_a_panic() {
        for encoding in [&b"gzip"[..], b"deflate", b"br", b"zstd", b"compress", b"gzip, gzip", b"\xff"] {
            let refused = decode(&Bytes::from_static(b"\x00plain text\xff"), Some(encoding), 99);
            assert_eq!(refused, Err(Refusal::UnsupportedMediaType), "{encoding:?}");
        }
    }

    /// A frame of zstd with a window of 2^(10 + `exponent`) bytes: `blocks` blocks of 128 KiB of one letter, 4 bytes each.
    fn zstd_of(exponent: u8, blocks: u32) -> Bytes {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3];
        for n in 1..=blocks {
            let head = (128 << 10) << 3 | 1 << 1 | u32::from(n == blocks);
            frame.extend_from_slice(&head.to_le_bytes()[..3]);
            frame.push(b'a');
        }
        frame.into()
    }

    #[test]
    fn a_window_larger_than_the_standards_is_refused_before_anything_is_decoded() {
        assert_eq!(decode(&zstd_of(13, 4), Some(b"zstd"), 1 << 20).unwrap().len(), 512 << 10);
        assert_eq!(decode(&zstd_of(14, 4), Some(b"zstd"), 1 << 20), Err(Refusal::UnsupportedMediaType));
        assert_eq!(decode(&zstd_of(31, 16 << 10), Some(b"zstd"), 1 << 20), Err(Refusal::UnsupportedMediaType));
        assert_eq!(decode(&zstd_of(13, 16 << 10), Some(b"zstd"), 1 << 20), Err(Refusal::BodyTooLarge));
        // An empty stream with a window of 2^24 bytes, and with a "large" one of 2^30.
        assert_eq!(decode(&Bytes::from_static(&[0x3f]), Some(b"br"), 99).unwrap(), "");
        assert_eq!(decode(&Bytes::from_static(&[0x11, 0xde]), Some(b"br"), 99), Err(Refusal::UnsupportedMediaType));
    }

    #[test]
    fn what_stands_behind_the_end_of_the_content_is_refused() {
        // "hello" as an uncompressed block, and the end.
        let whole = [&[0x0b, 0x02, 0x80][..], b"hello", &[0x03]].concat();
        assert_eq!(decode(&Bytes::from(whole.clone()), Some(b"br"), 99).unwrap(), "hello");
        for broken in [[&whole[..], b"x"].concat(), whole[..whole.len() - 1].to_vec(), whole[..5].to_vec()] {
            assert_eq!(decode(&broken.into(), Some(b"br"), 99), Err(Refusal::UnsupportedMediaType));
        }
    }
}
