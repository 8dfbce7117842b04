//! JSON as the ingress reads it: it takes what serde_json takes, no more, and picks what serde_json finds.
#![no_main]

use hookferry::event::json::{MAX_DEPTH, Pointers, is_json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    let pointers = Pointers::new(["/id", "/a/0/b", "/~0~1/x"]).unwrap();
    let picked = pointers.read(data);
    // Fewer brackets than may nest: nothing but the grammar decides.
    if data.iter().filter(|b| matches!(b, b'[' | b'{')).count() <= MAX_DEPTH {
        let text = std::str::from_utf8(data);
        let theirs = text.is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok());
        assert_eq!(is_json(data), theirs, "{}", String::from_utf8_lossy(data));
    }
    if let Ok(picked) = &picked {
        assert!(is_json(data), "what is picked from stands in an envelope as JSON");
        (0..3).for_each(|n| _ = picked.get(n));
        // Duplicate keys: who picks which is no matter of a crash; a plain id must be the one that others see.
        if let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(data) {
            let once = data.windows(4).filter(|w| *w == b"\"id\"").count() == 1 && !data.contains(&b'\\');
            if let (true, Some(Value::String(id))) = (once, object.get("id")) {
                assert_eq!(picked.get(0), Some(id.as_str()));
            }
        }
    }
});
