//! Requests behind each other: HTTP is given one at a time, as a whole, whatever the bytes and the parts in which they come.
#![no_main]

use std::rc::Rc;

use actix_http::ServiceConfig;
use actix_http::h1::{Codec, Message, MessageType};
use bytes::BytesMut;
use hookferry::listener::fuzzed::{Pulse, Turn, body};
use libfuzzer_sys::fuzz_target;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::codec::Decoder as _;

thread_local! {
    // It wants a task for its clock, which never runs here.
    static CONFIG: ServiceConfig = {
        let tasks = LocalSet::new();
        let _entered = tasks.enter();
        ServiceConfig::default()
    };
}

fuzz_target!(|data: &[u8]| {
    // The first byte is the size of the parts; the largest: all at once.
    let Some((&size, mut wire)) = data.split_first() else { return };
    let (mut codec, mut given) = (Codec::new(CONFIG.with(ServiceConfig::clone)), BytesMut::new());
    let most = if size == u8::MAX { usize::MAX } else { usize::from(size) + 1 };
    let pulse = Rc::new(Pulse::new(Instant::now()));
    let mut busy = None;
    while !wire.is_empty() {
        let part = &wire[..wire.len().min(most)];
        // What is malformed ends the connection.
        let Ok(taken) = pulse.give(part) else { return };
        assert!(taken > 0, "it would wait for ever");
        given.extend_from_slice(&part[..taken]);
        wire = &wire[taken..];
        let mut is_whole = false;
        loop {
            match codec.decode(&mut given) {
                Ok(Some(Message::Item(request))) => {
                    assert!(busy.is_none() && !is_whole, "a second request before the first is answered");
                    // One without end is refused, and ends the connection as well.
                    let Some(body) = body(&request) else { return };
                    is_whole = match codec.message_type() {
                        MessageType::None => true,
                        MessageType::Payload => false,
                        MessageType::Stream => return,
                    };
                    busy = pulse.clone().begin(false, body);
                    assert!(busy.is_some(), "its head was taken to announce something else");
                }
                Ok(Some(Message::Chunk(part))) => is_whole |= part.is_none(),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert_ne!(pulse.turn(), Turn::Asked, "a head that is none");
        assert_eq!(is_whole, pulse.turn() == Turn::Next);
        if is_whole {
            assert!(given.is_empty(), "bytes of another request");
            busy = None;
        }
    }
});
