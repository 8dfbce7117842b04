//! Every provider of the catalogue: an example of its own, one part of it replaced.
//!
//! The first two bytes choose the example, the third the part, the rest is the part.
#![no_main]

use std::sync::OnceLock;

use hookferry::catalogue::{self, Provider};
use hookferry::event::{Headers, Request, Secret};
use hookferry::verify::{Keys, check, explain};
use libfuzzer_sys::fuzz_target;

struct Case {
    provider: Provider,
    example: usize,
    keys: Keys,
}

struct Head(Vec<(String, Vec<u8>)>);

impl Headers for Head {
    fn nth(&self, name: &str, n: usize) -> Option<&[u8]> {
        self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).nth(n).map(|(_, value)| &value[..])
    }
}

fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let mut cases = Vec::new();
        for name in catalogue::names() {
            let all = catalogue::provider(name).unwrap();
            for (example, of) in all.contract.example.iter().enumerate() {
                let secrets: Vec<_> = Secret::new(of.secret.clone().into()).into_iter().collect();
                let Ok(provider) = all.clone().with_own(&secrets, of.options.clone()) else { continue };
                let Ok(keys) = provider.rule.keys(&secrets) else { continue };
                cases.push(Case { provider, example, keys });
            }
        }
        cases
    })
}

fuzz_target!(|data: &[u8]| {
    let [low, high, part, new @ ..] = data else { return };
    let cases = cases();
    let case = &cases[usize::from(u16::from_le_bytes([*low, *high])) % cases.len()];
    let example = &case.provider.contract.example[case.example];
    let mut headers: Vec<_> =
        example.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let (mut body, mut query) = (example.body.clone().into_bytes(), example.query.clone());
    match usize::from(*part) % (headers.len() + 3) {
        0 => body = new.to_vec(),
        1 => query = String::from_utf8_lossy(new).into_owned(),
        // Twice the first header.
        2 => headers.extend(headers.first().cloned().map(|(name, _)| (name, new.to_vec()))),
        n => headers[n - 3].1 = new.to_vec(),
    }
    let head = Head(headers);
    let request = Request {
        method: &example.method,
        path: &example.path,
        query: &query,
        headers: &head,
        body: &body,
        public_url: example.public_url.as_deref(),
    };
    let checked = check(&case.provider.rule, &case.keys, &request, example.now);
    if let Err(refusal) = checked {
        explain(&case.provider.rule, &case.keys, &request, refusal, example.now);
    }
    case.provider.rule.key_url(&request);
    case.provider.handshake(&request, checked.is_ok());
    case.provider.extract(&request, &body);
});
