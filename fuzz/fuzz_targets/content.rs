//! Compressed bodies: never more content than the cap.
#![no_main]

use hookferry::ingress::decode_body;
use libfuzzer_sys::fuzz_target;

const MOST: u64 = 64 << 10;

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    let encodings: [&[u8]; 4] = [b"gzip", b"deflate", b"br", b"zstd"];
    if let Ok(content) = decode_body(&body.to_vec().into(), Some(encodings[usize::from(*kind) % 4]), MOST) {
        assert!(content.len() as u64 <= MOST);
    }
});
