//! What verification costs, a provider kind: µs a request, median of interleaved rounds.
//!
//! `cargo bench --bench verify` prints a line a kind, then HMAC over 1 KiB against the bare hash, and the same with a
//! hundred headers more; then, for whoever wonders what a refusal tells by its time, each kind refused for each reason.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use hmac::{KeyInit as _, Mac as _};
use hookferry::catalogue::{self, Example, Provider};
use hookferry::event::Secret;
use hookferry::verify::{self, Draft, Keys, Refusal};

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
/// Those of them whose proof stands in headers alone.
const IN_HEADERS: [&str; 7] =
    ["github", "stripe", "standard-webhooks", "discord", "livekit", "gitlab-token", "chargebee"];
/// Those of them that sign a time.
const STAMPED: [&str; 3] = ["stripe", "standard-webhooks", "livekit"];
/// Secrets that are not those of the examples, where a provider has a form of its own for them.
const OTHER: [(&str, &str); 2] =
    [("standard-webhooks", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), ("chargebee", "somebody:else")];
const ROUNDS: usize = 41;
const CALLS: u32 = 500;

/// One request, ready to be checked.
struct Case {
    name: String,
    provider: Provider,
    keys: Keys,
    draft: Draft,
    now_s: i64,
    /// The reason, if it is to be refused.
    refusal: Option<Refusal>,
}

impl Case {
    fn check(&self) {
        let request = black_box(&self.draft).request();
        let verdict = verify::check(&self.provider.rule, &self.keys, &request, self.now_s);
        let of_kind = |refusal: Refusal| Some(std::mem::discriminant(&refusal));
        assert_eq!(black_box(verdict).err().and_then(of_kind), self.refusal.and_then(of_kind), "{}", self.name);
    }

    /// The same, refused.
    fn refused(mut self, why: &str, refusal: Refusal) -> Self {
        self.name = format!("  {why}: {}", self.name);
        self.refusal = Some(refusal);
        self
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
    Case { name, provider, keys, draft, now_s: example.now, refusal: None }
}

/// GitHub's scheme over 1 KiB, with `more` headers beside its own.
fn of_1_kib(more: usize) -> Case {
    let provider = catalogue::provider("github").expect("in the catalogue");
    let keys = keys(&provider, "secret");
    let body = vec![b'x'; 1024];
    let headers = (0..more).map(|n| (format!("x-other-{n}"), "value".to_owned())).collect();
    let mut draft = Draft { method: "POST".to_owned(), body, headers, ..Draft::default() };
    verify::sign(&provider.rule, &keys, &mut draft, 0).expect("signed");
    Case { name: format!("hmac of 1 KiB, {more} headers more"), provider, keys, draft, now_s: 0, refusal: None }
}

/// What is told of a request with a signature in a header, for each reason to refuse it.
fn refusals((kind, name): (&str, &str), is_stamped: bool) -> Vec<Case> {
    let case = || of_example(kind, name);
    let mut missing = case().refused("missing", Refusal::Missing);
    missing.draft.headers.clear();
    let mut wrong = case().refused("wrong", Refusal::Mismatch);
    if wrong.provider.rule.wants_public_keys() {
        wrong.draft.body.push(b' ');
    } else {
        wrong.keys = keys(
            &wrong.provider,
            OTHER.iter().find(|(of, _)| *of == name).map_or("another-secret", |(_, other)| *other),
        );
    }
    let mut cases = vec![case(), missing, wrong];
    if is_stamped {
        let mut stale = case().refused("stale", Refusal::Stale { skew_s: 0, tolerance_s: 0 });
        stale.now_s += 1_000_000;
        cases.push(stale);
    }
    cases
}

fn main() {
    let mut cases: Vec<Case> = KINDS.iter().map(|(kind, name)| of_example(kind, name)).collect();
    cases.extend([of_1_kib(0), of_1_kib(100)]);
    cases.extend(
        KINDS
            .iter()
            .filter(|(_, name)| IN_HEADERS.contains(name))
            .flat_map(|kind| refusals(*kind, STAMPED.contains(&kind.1))),
    );
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
