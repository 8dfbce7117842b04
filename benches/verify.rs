//! What verification costs, a provider kind: µs a request, median of interleaved rounds.
//!
//! `cargo bench --bench verify` prints a line a kind, then HMAC over 1 KiB against the bare hash, and the same with a
//! hundred headers more.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use hmac::{KeyInit as _, Mac as _};
use hookferry::catalogue::{self, Example, Provider};
use hookferry::event::Secret;
use hookferry::verify::{self, Draft, Keys};

/// A provider of each kind; its first example is the request.
const KINDS: [(&str, &str); 11] = [
    ("hmac of the body", "github"),
    ("hmac of time and body", "stripe"),
    ("hmac, Standard Webhooks", "standard-webhooks"),
    ("hmac of URL and form", "twilio"),
    ("hmac of fields of the body", "adyen"),
    ("digest", "cloudinary"),
    ("signature, Ed25519", "discord"),
    ("signature, ECDSA P-256", "sendgrid"),
    ("jwt, HS256", "livekit"),
    ("token", "gitlab-token"),
    ("basic", "chargebee"),
];
const ROUNDS: usize = 41;
const CALLS: u32 = 500;

/// One request, ready to be checked.
struct Case {
    name: String,
    provider: Provider,
    keys: Keys,
    draft: Draft,
    now_s: i64,
}

impl Case {
    fn check(&self) {
        let request = black_box(&self.draft).request();
        let verdict = verify::check(&self.provider.rule, &self.keys, &request, self.now_s);
        assert!(black_box(verdict).is_ok(), "{} is refused", self.name);
    }
}

fn keys(provider: &Provider, secret: &str) -> Keys {
    let secret = Secret::new(secret.as_bytes().to_vec()).expect("a secret");
    provider.rule.keys(&[secret]).expect("keys")
}

fn of_example(kind: &str, name: &str) -> Case {
    let provider = catalogue::provider(name).expect("in the catalogue");
    let proven = |example: &&Example| !example.unsigned;
    let example = provider.contract.example.iter().find(proven).expect("an example").clone();
    let provider = provider.with_own(&[], example.options).expect("its options");
    let draft = Draft {
        method: example.method,
        path: example.path,
        query: example.query,
        public_url: example.public_url,
        headers: example.headers.into_iter().collect(),
        body: example.body.into_bytes(),
    };
    let keys = keys(&provider, &example.secret);
    let name = format!("{kind} ({name}, {} B)", draft.body.len());
    Case { name, provider, keys, draft, now_s: example.now }
}

/// GitHub's scheme over 1 KiB, with `more` headers beside its own.
fn of_1_kib(more: usize) -> Case {
    let provider = catalogue::provider("github").expect("in the catalogue");
    let keys = keys(&provider, "secret");
    let body = vec![b'x'; 1024];
    let headers = (0..more).map(|n| (format!("x-other-{n}"), "value".to_owned())).collect();
    let mut draft = Draft { method: "POST".to_owned(), body, headers, ..Draft::default() };
    verify::sign(&provider.rule, &keys, &mut draft, 0).expect("signed");
    Case { name: format!("hmac of 1 KiB, {more} headers more"), provider, keys, draft, now_s: 0 }
}

fn main() {
    let mut cases: Vec<Case> = KINDS.iter().map(|(kind, name)| of_example(kind, name)).collect();
    cases.extend([of_1_kib(0), of_1_kib(100)]);
    let mut calls: Vec<(String, Box<dyn Fn()>)> = Vec::new();
    for case in cases {
        calls.push((case.name.clone(), Box::new(move || case.check())));
    }
    let state = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"secret").expect("a key");
    let body = vec![b'x'; 1024];
    let bare = move || _ = black_box(state.clone().chain_update(black_box(&body)).finalize());
    calls.push((BARE.to_owned(), Box::new(bare)));

    let mut times: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (n, (_, call)) in calls.iter().enumerate() {
            let since = Instant::now();
            (0..CALLS).for_each(|_| call());
            times.entry(n).or_default().push(since.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS));
        }
    }
    for (n, (name, _)) in calls.iter().enumerate() {
        let mut all = times.remove(&n).unwrap_or_default();
        all.sort_by(f64::total_cmp);
        println!("{:8.2} µs  {name}", all[all.len() / 2]);
    }
}

/// What the others are measured against: one HMAC-SHA256 with a prepared key.
const BARE: &str = "bare HMAC-SHA256 of 1 KiB";
