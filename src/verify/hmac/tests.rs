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

const LIST: &str = "encoding = 'hex'\nmessage = '{body}'\nsignature = { header = 'S', split = ',', prefix = 'v1=' }";
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
        let mut draft = Draft { method: "POST".into(), path: "/in".into(), query: "a=%20b".into(), ..Draft::default() };
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

#[test]
fn a_body_that_is_no_form_must_have_the_hash_that_is_signed() {
    let rule = rule(
        "hash = 'sha1'\nencoding = 'base64'\nmessage = '{url}{form_sorted}'\nsignature = { header = 's' }\n\
         body_hash = { query = 'bodySHA256' }",
    );
    let keys = keys(&rule, &[KEY]);
    let mut draft = Draft { body: br#"{"a":1}"#.to_vec(), ..Draft::default() };
    draft.public_url = Some("https://example.com/in".into());
    draft.set_header("content-type", "application/json");
    sign(&rule, &keys, &mut draft, 0).unwrap();
    assert!(draft.query.starts_with("bodySHA256="));
    assert!(check(&rule, &keys, &draft.request(), 0).is_ok());
    let other = Draft { body: b"{}".to_vec(), ..draft.clone() };
    assert_eq!(check(&rule, &keys, &other.request(), 0), Err(Refusal::Mismatch));
    let mut form = Draft { body: b"a=1".to_vec(), query: String::new(), ..draft };
    form.set_header("content-type", "application/x-www-form-urlencoded");
    sign(&rule, &keys, &mut form, 0).unwrap();
    assert!(check(&rule, &keys, &form.request(), 0).is_ok() && form.query.is_empty());
    form.set_header("content-type", "text/plain");
    assert_eq!(check(&rule, &keys, &form.request(), 0), Err(Refusal::Mismatch), "a form in disguise");
}

#[test]
fn every_item_of_a_list_is_signed_by_itself() {
    let rule = rule(
        "encoding = 'hex'\nmessage = '{body:/items/0/id}'\nsignature = { body = '/items/0/sig' }\neach = '/items'",
    );
    let keys = keys(&rule, &[KEY]);
    let mut draft = Draft { body: br#"{"items":[{"id":"1","sig":""}]}"#.to_vec(), ..Draft::default() };
    sign(&rule, &keys, &mut draft, 0).unwrap();
    assert!(check(&rule, &keys, &draft.request(), 0).is_ok());
    let two = String::from_utf8(draft.body).unwrap().replace("}]", "},{}]");
    let two = Draft { body: two.into_bytes(), ..Draft::default() };
    assert_eq!(check(&rule, &keys, &two.request(), 0), Err(Refusal::Missing));
    let mut both =
        Draft { body: br#"{"items":[{"id":"1","sig":""},{"id":"2","sig":""}]}"#.to_vec(), ..Draft::default() };
    sign(&rule, &keys, &mut both, 0).unwrap();
    assert!(check(&rule, &keys, &both.request(), 0).is_ok());
    let swapped = String::from_utf8(both.body).unwrap().replace("\"2\"", "\"3\"");
    let swapped = Draft { body: swapped.into_bytes(), ..Draft::default() };
    assert_eq!(check(&rule, &keys, &swapped.request(), 0), Err(Refusal::Mismatch));
    let many = format!(r#"{{"items":[{}]}}"#, [r#"{"id":"1","sig":""}"#; 17].join(","));
    let mut many = Draft { body: many.into_bytes(), ..Draft::default() };
    sign(&rule, &keys, &mut many, 0).unwrap();
    assert_eq!(check(&rule, &keys, &many.request(), 0), Err(Refusal::Mismatch), "more items than are looked at");
}
