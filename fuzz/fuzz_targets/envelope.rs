//! Attributes of a record: what is read is written again as it was read, and makes JSON.
#![no_main]

use bytes::Bytes;
use hookferry::event::{Envelope, Stored};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, rest)) = data.split_first() else { return };
    let (attributes, body) = rest.split_at(usize::from(*cut).min(rest.len()));
    let body = Bytes::copy_from_slice(body);
    let Ok(envelope) = Envelope::decode(Bytes::copy_from_slice(attributes), body.clone()) else { return };
    let mut again = Vec::new();
    envelope.encode(&mut again);
    assert_eq!(Envelope::decode(again.into(), body).as_ref(), Ok(&envelope));
    let is_json = hookferry::event::json::is_json(&envelope.body);
    let mut out = Vec::new();
    let stored = Stored { sequence: 1, time_ms: 0, envelope: Envelope { is_json, ..envelope }, json: None };
    stored.write_json_line(&mut out);
    // Numbers that no library holds (1e400) are JSON all the same, and stand as they were sent.
    assert!(hookferry::event::json::is_json(&out), "{}", String::from_utf8_lossy(&out));
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), usize::from(out.ends_with(b"\n")));
});
