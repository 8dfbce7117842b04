//! URL-encoded and multipart bodies; the first line is the media type.
#![no_main]

use hookferry::event::form;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (kind, body) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    for kind in [kind, b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"] {
        let fields = form::fields(kind, body);
        form::only(&fields, "payload");
    }
});
