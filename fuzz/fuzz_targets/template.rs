//! Templates of what is signed, and times of signing: a template that is taken can be signed by, and what is signed is proved.
#![no_main]

use hookferry::event::Secret;
use hookferry::verify::{Draft, Rule, Spec, check, sign};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const NOW_S: i64 = 1_700_000_000;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (message, time, query, body) = (line(), line(), line(), line());
    for unit in ["s", "ms", "rfc3339", "auto"] {
        let spec = json!({
            "kind": "hmac", "encoding": "hex", "message": message,
            "signature": {"header": "x-signature", "split": ",", "prefix": "v1="},
            "timestamp": {"header": "x-time", "unit": unit},
        });
        let Ok(spec) = serde_json::from_value::<Spec>(spec) else { continue };
        let Ok(rule) = Rule::new(spec) else { continue };
        let keys = rule.keys(&[Secret::new(b"secret".to_vec()).unwrap()]).unwrap();
        let mut draft = Draft {
            method: "POST".to_owned(),
            path: "/webhooks/x".to_owned(),
            query: query.to_owned(),
            public_url: Some("https://example.com/webhooks/x".to_owned()),
            headers: vec![("x-time".to_owned(), time.to_owned()), ("x-signature".to_owned(), format!("v1={message}"))],
            body: body.as_bytes().to_vec(),
        };
        assert!(check(&rule, &keys, &draft.request(), NOW_S).is_err());
        if sign(&rule, &keys, &mut draft, NOW_S).is_ok() {
            let proved = check(&rule, &keys, &draft.request(), NOW_S);
            assert!(proved.is_ok(), "{proved:?}");
        }
    }
});
