//! JSON Web Tokens with any header and claims, signed with the right secret: what stands behind the signature's check is reached.
//!
//! The first byte chooses the provider; then header, claims and body, a line each.
#![no_main]

use hookferry::catalogue;
use hookferry::event::{Request, Secret};
use hookferry::verify::{Hash, check, mac};
use libfuzzer_sys::fuzz_target;

const PROVIDERS: [&str; 7] = ["atlassian-connect", "livekit", "messagebird", "monday", "netlify", "qstash", "vonage"];

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let n = three.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        (0..=three.len()).for_each(|i| text.push(DIGITS[(n >> (18 - 6 * i)) as usize & 63] as char));
    }
    text
}

fuzz_target!(|data: &[u8]| {
    let Some((n, rest)) = data.split_first() else { return };
    let provider = catalogue::provider(PROVIDERS[usize::from(*n) % PROVIDERS.len()]).unwrap();
    let Some(example) = provider.contract.example.iter().find(|example| !example.unsigned) else { return };
    let secret = Secret::new(example.secret.clone().into()).unwrap();
    let provider = provider.clone().with_own(&[], example.options.clone()).unwrap();
    let keys = provider.rule.keys(std::slice::from_ref(&secret)).unwrap();
    let mut lines = rest.splitn(3, |b| *b == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let signed = format!("{}.{}", base64url(line()), base64url(line()));
    let Ok(tag) = mac(&provider.rule, &secret, Hash::Sha256, signed.as_bytes()) else { return };
    let token = format!("{signed}.{}", base64url(&tag));
    let body = line();
    let headers: Vec<_> = example
        .headers
        .iter()
        .map(|(name, value)| match value.split_once("eyJ") {
            Some((before, _)) => (name.clone(), format!("{before}{token}")),
            None => (name.clone(), value.clone()),
        })
        .collect();
    let request = Request {
        method: &example.method,
        path: &example.path,
        query: &example.query,
        headers: &headers,
        body,
        public_url: example.public_url.as_deref(),
    };
    _ = check(&provider.rule, &keys, &request, example.now);
});
