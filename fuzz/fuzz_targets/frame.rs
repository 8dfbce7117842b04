//! Headers and frames of the journal: what passes its checksum is written again byte for byte.
#![no_main]

use hookferry::journal::format::{Frame, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = Header::decode(data) {
        assert_eq!(Header::decode(&header.encode()).unwrap(), header);
    }
    Frame::peek(data);
    if let Some(epoch) = Frame::seed(data) {
        Frame::check(epoch, data);
    }
    Frame::check(7, data);
});
