//! Keyed hashes: the family of GitHub, Stripe, Slack, Shopify and Standard Webhooks.

use std::time::Duration;

use hmac::{KeyInit as _, Mac};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::field::FieldSpec;
use super::key::SecretForm;
use super::sign::{Draft, SignError};
use super::signed::{Encoding, Signed, five_minutes};
use super::stamp::StampSpec;
use super::{KeyError, Refusal, RuleError};
use crate::event::{Request, Secret, units};

/// `kind = "hmac"`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacSpec {
    /// The hash function.
    #[serde(default)]
    pub hash: Hash,
    /// How the signature is written.
    pub encoding: Encoding,
    /// Where the signatures stand.
    pub signature: FieldSpec,
    /// Where the time of signing stands; without it nothing bounds a replay.
    #[serde(default)]
    pub timestamp: Option<StampSpec>,
    /// What is signed, e.g. `"{timestamp}.{body}"`.
    pub message: String,
    /// How secrets are written.
    #[serde(default)]
    pub secret: SecretForm,
    /// Largest distance of the timestamp from now, either way; 5 minutes where the provider names none
    /// (what the Standard Webhooks reference libraries use).
    #[serde(default = "five_minutes", deserialize_with = "units::duration")]
    pub tolerance: Duration,
}

/// The hash function under the MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// MD5; no attack on its HMAC is known, although by itself it is broken.
    Md5,
    /// SHA-1; sound in HMAC, although no longer by itself.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Md5 => "hmac-md5",
            Self::Sha1 => "hmac-sha1",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }
}

/// A MAC that has already taken in its key; cloned for each request.
#[derive(Clone)]
pub(super) enum State {
    Md5(hmac::Hmac<md5::Md5>),
    Sha1(hmac::Hmac<sha1::Sha1>),
    Sha256(hmac::Hmac<sha2::Sha256>),
    Sha384(hmac::Hmac<sha2::Sha384>),
    Sha512(hmac::Hmac<sha2::Sha512>),
}

impl State {
    pub(super) fn new(hash: Hash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Md5 => Self::Md5(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha1 => Self::Sha1(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha256 => Self::Sha256(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha384 => Self::Sha384(hmac::Hmac::new_from_slice(key).ok()?),
            Hash::Sha512 => Self::Sha512(hmac::Hmac::new_from_slice(key).ok()?),
        })
    }

    pub(super) fn tag<P: AsRef<[u8]>>(&self, message: &[P]) -> Vec<u8> {
        fn run<M: Mac + Clone, P: AsRef<[u8]>>(state: &M, message: &[P]) -> Vec<u8> {
            let mut mac = state.clone();
            message.iter().for_each(|piece| mac.update(piece.as_ref()));
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Md5(state) => run(state, message),
            Self::Sha1(state) => run(state, message),
            Self::Sha256(state) => run(state, message),
            Self::Sha384(state) => run(state, message),
            Self::Sha512(state) => run(state, message),
        }
    }
}

/// A compiled [`HmacSpec`].
#[derive(Debug, Clone)]
pub(super) struct Hmac {
    pub(super) hash: Hash,
    pub(super) signed: Signed,
    pub(super) secret: SecretForm,
}

impl Hmac {
    pub(super) fn new(spec: HmacSpec) -> Result<Self, RuleError> {
        let signed = Signed::new(spec.encoding, spec.signature, spec.timestamp, &spec.message, spec.tolerance)?;
        if signed.message.covers_secret() {
            return Err(RuleError::new("message", "holds {secret}, which is the key of the hash already"));
        }
        Ok(Self { hash: spec.hash, signed, secret: spec.secret })
    }

    pub(super) fn keys(&self, secrets: &[Secret]) -> Result<Vec<State>, KeyError> {
        let keys = self.secret.decode(secrets)?;
        // HMAC takes a key of any length, so no secret is lost here.
        Ok(keys.iter().filter_map(|key| State::new(self.hash, key.expose())).collect())
    }

    /// The position of the key that matches.
    pub(super) fn check(&self, keys: &[State], request: &Request, now_s: i64) -> Result<usize, Refusal> {
        let proof = self.signed.read(request)?;
        let message = self.signed.message(request, proof.time(), None)?;
        let mut matched = None;
        for (n, key) in keys.iter().enumerate() {
            let tag = key.tag(&message);
            for signature in &proof.signatures {
                // A slice of another length is unequal; lengths are no secret.
                if bool::from(tag.ct_eq(signature)) {
                    matched = matched.or(Some(n));
                }
            }
        }
        let key = matched.ok_or(Refusal::Mismatch)?;
        self.signed.fresh(&proof, now_s)?;
        Ok(key)
    }

    pub(super) fn sign(&self, keys: &[State], draft: &mut Draft, now_s: i64) -> Result<(), SignError> {
        let key = keys.first().ok_or(SignError::WrongKeys)?;
        self.signed.write(draft, now_s, None, |message| key.tag(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Headers;
    use crate::verify::{Keys, MAX_SIGNATURES, Rule, Spec, check, sign};

    /// The key and message of RFC 2202 and RFC 4231, and their digests.
    const KEY: &str = "Jefe";
    const MESSAGE: &str = "what do ya want for nothing?";
    const SHA1: &str = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
    const SHA256: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    const SHA512: &str = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                          9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";

    fn rule(spec: &str) -> Rule {
        Rule::new(toml::from_str::<Spec>(&format!("kind = 'hmac'\n{spec}")).unwrap()).unwrap()
    }

    fn keys(rule: &Rule, secrets: &[&str]) -> Keys {
        let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new(s.as_bytes().to_vec()).unwrap()).collect();
        rule.keys(&secrets).unwrap()
    }

    struct Raw<'a>(Vec<(&'a str, &'a [u8])>);

    impl Headers for Raw<'_> {
        fn nth(&self, name: &str, n: usize) -> Option<&[u8]> {
            self.0.iter().filter(|(key, _)| *key == name).nth(n).map(|(_, value)| *value)
        }
    }

    fn judge(rule: &Rule, headers: &[(&str, &[u8])], now_s: i64) -> Result<Option<usize>, Refusal> {
        let headers = Raw(headers.to_vec());
        let body = MESSAGE.as_bytes();
        let request = Request { method: "POST", path: "/", query: "", headers: &headers, body, public_url: None };
        check(rule, &keys(rule, &["new", KEY]), &request, now_s).map(|verified| verified.key())
    }

    const LIST: &str =
        "encoding = 'hex'\nmessage = '{body}'\nsignature = { header = 'S', split = ',', prefix = 'v1=' }";
    const PLAIN: &str = "encoding = 'hex'\nmessage = '{body}'\nsignature = { header = 'S' }";
    const TIMED: &str = "encoding = 'hex'\nmessage = '{body}{timestamp}'\nsignature = { header = 's' }\n\
                         timestamp = { header = 't' }\ntolerance = '60s'";

    #[track_caller]
    fn list(header: &str, expected: Result<usize, Refusal>) {
        assert_eq!(judge(&rule(LIST), &[("s", header.as_bytes())], 0), expected.map(Some), "{header}");
    }

    #[test]
    fn the_published_vectors_of_every_hash_are_accepted() {
        // hmac.new(b"Jefe", b"what do ya want for nothing?", …) of RFC 2202 and RFC 4231.
        let md5 = "750c783e6ab0b503eaa86e310a5db738";
        for (hash, signature) in [("md5", md5), ("sha1", SHA1), ("sha256", SHA256), ("sha512", SHA512)] {
            let rule = rule(&format!("hash = '{hash}'\n{PLAIN}"));
            assert_eq!(judge(&rule, &[("s", signature.as_bytes())], 0), Ok(Some(1)), "{hash}");
            assert_eq!(judge(&rule, &[("s", signature.to_uppercase().as_bytes())], 0), Ok(Some(1)), "{hash}");
            assert_eq!(rule.method(), format!("hmac-{hash}"));
        }
    }

    #[test]
    fn any_signature_of_a_list_suffices_and_other_versions_are_left_alone() {
        list(&format!("v1={SHA256}"), Ok(1));
        list(&format!("v1=00,v2=xyz, v1={SHA256} ,"), Ok(1));
        list(&format!("v1={SHA256},v1={SHA256}"), Ok(1));
        list(&format!("v0={SHA256}"), Err(Refusal::Mismatch));
        list(&format!("V1={SHA256}"), Err(Refusal::Mismatch));
        list(SHA256, Err(Refusal::Mismatch));
        list(&format!("v1={}", &SHA256[..40]), Err(Refusal::Mismatch));
        list(&format!("v1={SHA256}00"), Err(Refusal::Mismatch));
        list("v1=", Err(Refusal::Mismatch));
        list(",,,", Err(Refusal::Mismatch));
        list(" ", Err(Refusal::Missing));
    }

    #[test]
    fn only_so_many_signatures_are_looked_at() {
        let after = |n: usize| format!("{}v1={SHA256}", "v1=00,".repeat(n));
        list(&after(MAX_SIGNATURES - 1), Ok(1));
        list(&after(MAX_SIGNATURES), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_repeated_header_line_proves_nothing_even_where_one_line_holds_a_list() {
        let right = format!("v1={SHA256}");
        let twice = [("s", right.as_bytes()), ("s", right.as_bytes())];
        assert_eq!(judge(&rule(LIST), &twice, 0), Err(Refusal::Mismatch));
        assert_eq!(judge(&rule(PLAIN), &[("s", SHA256.as_bytes()), ("s", b"")], 0), Err(Refusal::Mismatch));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_without_panic() {
        let mut random = 0x9e37_79b9_u32;
        for length in 0..2_000_usize {
            let value: Vec<u8> = (0..length % 97)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 17;
                    random ^= random << 5;
                    b"v1=t,0f\xff\0. "[random as usize % 11]
                })
                .collect();
            for spec in [LIST, PLAIN, TIMED] {
                assert!(judge(&rule(spec), &[("s", &value), ("t", &value)], 0).is_err());
            }
        }
    }

    #[test]
    fn a_time_counts_only_with_its_signature() {
        // hmac.new(b"Jefe", b"what do ya want for nothing?1000", "sha256") of python3.
        let signature: &[u8] = b"b6320cc4a8c15eaa87f1dae2b773a77b7dfcbdcfae48fa2c1336f851c5257945";
        let at = |time: &[u8], now_s| judge(&rule(TIMED), &[("s", signature), ("t", time)], now_s);
        let stale = |skew_s| Err(Refusal::Stale { skew_s, tolerance_s: 60 });
        assert_eq!(at(b"1000", 1_060), Ok(Some(1)));
        assert_eq!(at(b"1000", 940), Ok(Some(1)));
        assert_eq!(at(b"1000", 1_061), stale(61));
        assert_eq!(at(b"1000", 939), stale(61));
        assert_eq!(at(b"1001", 1_001), Err(Refusal::Mismatch));
        assert_eq!(at(b"1001", 9_999), Err(Refusal::Mismatch), "a forger learns nothing of our clock");
        assert_eq!(at(b"", 1_000), Err(Refusal::Missing));
        assert_eq!(judge(&rule(TIMED), &[("s", signature)], 1_000), Err(Refusal::Missing));
        assert_eq!(judge(&rule(TIMED), &[("t", b"1000")], 1_000), Err(Refusal::Missing));
        let twice: [(&str, &[u8]); 3] = [("s", signature), ("t", b"1000"), ("t", b"1000")];
        assert_eq!(judge(&rule(TIMED), &twice, 1_000), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_rule_that_cannot_protect_is_refused_with_its_key() {
        let refused = |spec: &str| Rule::new(toml::from_str(&format!("kind = 'hmac'\n{spec}")).unwrap()).unwrap_err();
        assert_eq!(refused("encoding = 'hex'\nmessage = '{timestamp}'\nsignature = { header = 's' }").key, "message");
        assert_eq!(refused(&TIMED.replace("{body}{timestamp}", "{body}")).key, "timestamp");
        assert_eq!(refused(&PLAIN.replace("'S'", "'S:'")).key, "signature");
        assert_eq!(refused(&LIST.replace("','", "', '")).key, "signature");
        assert_eq!(refused(&PLAIN.replace("{body}", "{secret}{body}")).key, "message");
    }

    #[test]
    fn what_we_sign_we_accept_whatever_the_scheme_covers() {
        let schemes = [
            "message = '{timestamp}.{body}'\nsignature = { header = 's', split = ',', prefix = 'v1=' }\n\
             timestamp = { header = 's', split = ',', prefix = 't=', unit = 'ms' }\nencoding = 'hex'",
            "message = '{method}{path}{url}{query:a}{header:x}{timestamp}{body}'\nsignature = { header = 's' }\n\
             timestamp = { header = 't' }\nencoding = 'base64'\nhash = 'sha512'",
        ];
        for scheme in schemes {
            let rule = rule(scheme);
            let keys = keys(&rule, &["first", "second"]);
            let mut draft =
                Draft { method: "POST".into(), path: "/in".into(), query: "a=%20b".into(), ..Draft::default() };
            draft.public_url = Some("https://example.com/in".into());
            draft.body = b"body".to_vec();
            draft.set_header("X", "1");
            sign(&rule, &keys, &mut draft, 1_000).unwrap();
            // Signing once more replaces the headers of the first time.
            sign(&rule, &keys, &mut draft, 2_000).unwrap();
            assert_eq!(check(&rule, &keys, &draft.request(), 2_300).unwrap().key(), Some(0), "{:?}", draft.headers);
            let tampered = Draft { body: b"other".to_vec(), ..draft.clone() };
            assert_eq!(check(&rule, &keys, &tampered.request(), 2_300), Err(Refusal::Mismatch));
            assert!(matches!(check(&rule, &keys, &draft.request(), 2_301), Err(Refusal::Stale { skew_s: 301, .. })));
        }
    }
}
