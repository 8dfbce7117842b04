//! The PROXY header: what is taken reads no byte of what stands behind it.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use hookferry::listener::fuzzed::proxy_header;
use libfuzzer_sys::fuzz_target;

const BEHIND: &[u8] = b"POST / HTTP/1.1\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    let bytes = [data, BEHIND].concat();
    let mut left = &bytes[..];
    // What is in memory is always ready.
    let Poll::Ready(found) = pin!(proxy_header(&mut left)).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("waits for bytes that are there");
    };
    if found.is_ok() {
        let whole = [&bytes[..bytes.len() - left.len()], BEHIND].concat();
        let mut again = &whole[..];
        let Poll::Ready(second) = pin!(proxy_header(&mut again)).poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("waits for bytes that are there");
        };
        assert_eq!((second.unwrap(), again), (found.unwrap(), BEHIND));
    }
});
