use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, SigningKey as _};

use super::*;
use crate::event::Secret;
use crate::verify::{Draft, Keys, Rule, Spec, check};

#[track_caller]
fn allowed(pattern: &str, url: &str, expected: bool) {
    let matches = Url::parse(url).is_ok_and(|url| Pattern::new(pattern).unwrap().matches(&url));
    assert_eq!(matches, expected, "{url}");
}

#[test]
fn only_https_on_an_allowed_host_is_ever_asked() {
    let sns = "https://sns.{region}.amazonaws.com/SimpleNotificationService-*.pem";
    allowed(sns, "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b.pem", true);
    for url in [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0a1b.pem",
        "https://u@sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns.a.b.amazonaws.com/SimpleNotificationService-0a1b.pem",
        // A bucket that is called `sns` is somebody's.
        "https://sns.s3.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns.us-1.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns.us-west.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns.evil.com/.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns.evil.com#.amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns..amazonaws.com/SimpleNotificationService-0a1b.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.com/SimpleNotificationService-0a1b.pem",
        "https://sns.eu-west-1.amazonaws.com/other.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-/../../other.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b.pem#x",
        "https://127.0.0.1/SimpleNotificationService-0a1b.pem",
        "file:///SimpleNotificationService-0a1b.pem",
    ] {
        allowed(sns, url, false);
    }
}

#[test]
fn further_hosts_have_the_same_paths() {
    let pattern = Pattern::new("https://sns.*.amazonaws.com/*.pem").unwrap().at("localhost:8443").unwrap();
    assert!(pattern.matches(&Url::parse("https://localhost:8443/a.pem").unwrap()));
    assert!(!pattern.matches(&Url::parse("https://localhost/a.pem").unwrap()));
    assert!(pattern.at("a b").is_none() && pattern.at("a/b").is_none() && pattern.at("a:x").is_none());
}

const NOW_S: i64 = 1_700_000_000;
const URL: &str = "https://id.example.com/keys";

fn rule(spec: &str) -> Rule {
    Rule::new(toml::from_str::<Spec>(spec).unwrap()).unwrap()
}

fn judge(rule: &Rule, keys: &Keys, draft: &Draft) -> Result<Option<usize>, Refusal> {
    check(rule, keys, &draft.request(), NOW_S).map(|verified| verified.key())
}

fn options(all: &str) -> Options {
    toml::from_str(all).unwrap()
}

/// A key pair of a sender whose tokens are ES256.
struct Pair(EcdsaKeyPair);

impl Pair {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self, id: &str) -> String {
        let point = self.0.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!(r#"{{"kty":"EC","crv":"P-256","kid":"{id}","x":"{x}","y":"{y}"}}"#)
    }

    /// A request with a token whose header says `more`.
    fn token(&self, more: &str) -> Draft {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256"{more}}}"#));
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode("{}"));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        let mut draft = Draft::default();
        draft.set_header("token", format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)));
        draft
    }
}

fn set(keys: &[String]) -> Vec<u8> {
    format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes()
}

#[test]
fn the_key_of_a_token_is_asked_for_wherever_the_token_is_read_and_nowhere_else() {
    let rule = rule(&format!(
        "kind = 'jwt'\ntoken = {{ header = 'token', prefix = 'Bearer ' }}\nalgorithms = ['ES256']\n\
         keys = {{ url = '{URL}' }}"
    ));
    let (pair, own) = (Pair::new(), rule.keys(&[]).unwrap());
    let token = pair.token("").headers.remove(0).1;
    let (head, rest) = token.split_once('.').unwrap();
    let seen = |value: String| {
        let mut draft = Draft::default();
        draft.set_header("token", value);
        (judge(&rule, &own, &draft), rule.key_url(&draft.request()))
    };
    for value in [format!("Bearer {token}"), format!("Bearer  \t{token} ")] {
        assert_eq!(seen(value.clone()), (Err(Refusal::KeyAbsent), Some(URL.to_owned())), "{value:?}");
    }
    for none in [head.to_owned(), format!("{head}."), format!("{head}.{head}.{rest}"), format!("{head} .{rest}")] {
        assert_eq!(seen(format!("Bearer {none}")), (Err(Refusal::Mismatch), None), "{none:?}");
    }
}

#[test]
fn a_key_set_is_asked_for_again_where_it_lacks_the_key_that_a_token_names() {
    let rule = rule(&format!(
        "kind = 'jwt'\ntoken = {{ header = 'token' }}\nalgorithms = ['ES256']\nkeys = {{ url = '{URL}' }}"
    ));
    let (old, new) = (Pair::new(), Pair::new());
    let own = rule.keys(&[]).unwrap();
    assert!(rule.supplies_keys() && rule.fetches(&own));
    assert_eq!(rule.fixed_key_url(&own), Some(URL));
    let token = old.token(r#","kid":"old""#);
    assert_eq!(judge(&rule, &own, &token), Err(Refusal::KeyAbsent));
    assert_eq!(rule.key_url(&token.request()).as_deref(), Some(URL));
    assert_eq!(rule.key_url(&Draft::default().request()), None, "a request without a token names nothing");

    let fetched = rule.with_fetched(&own, URL, &set(&[old.jwk("old")]), NOW_S).unwrap();
    assert_eq!(fetched.urls().collect::<Vec<_>>(), [URL]);
    assert_eq!(judge(&rule, &fetched, &token), Ok(Some(0)));
    assert_eq!(judge(&rule, &fetched, &old.token("")), Ok(Some(0)), "it names none: any may be meant");
    assert_eq!(judge(&rule, &fetched, &new.token("")), Err(Refusal::Mismatch));
    assert_eq!(judge(&rule, &fetched, &new.token(r#","kid":"new""#)), Err(Refusal::KeyAbsent));
    let renewed = rule.with_fetched(&fetched, URL, &set(&[new.jwk("new"), old.jwk("old")]), NOW_S).unwrap();
    assert_eq!(judge(&rule, &renewed, &new.token(r#","kid":"new""#)), Ok(Some(0)));
    assert_eq!(judge(&rule, &renewed, &token), Ok(Some(0)));
    assert_eq!(judge(&rule, &renewed, &old.token(r#","kid":"new""#)), Err(Refusal::Mismatch), "the key that it names");
    let kept = rule.keys(&[]).unwrap().and_fetched_of(&renewed);
    assert_eq!(judge(&rule, &kept, &token), Ok(Some(0)), "a reload need not fetch");

    assert_eq!(rule.with_fetched(&own, URL, b"<html>", NOW_S).unwrap_err(), "holds no key that is understood");
    let pinned = rule.keys(&[Secret::new(old.jwk("x").into_bytes()).unwrap()]).unwrap();
    assert_eq!((rule.fetches(&pinned), rule.fixed_key_url(&pinned)), (false, None));
    assert_eq!(judge(&rule, &pinned, &token), Ok(Some(0)));
    assert_eq!(judge(&rule, &pinned, &new.token("")), Err(Refusal::Mismatch), "no key of others is asked for");
}

#[test]
fn an_option_completes_or_replaces_the_address_of_the_keys() {
    let bare = rule(
        "kind = 'jwt'\ntoken = { header = 'token' }\nalgorithms = ['ES256']\n\
         keys = { url = 'https://{option:host}/keys', pointer = '/x' }",
    );
    let token = Pair::new().token("");
    let asked = |all: &str| {
        let rule = bare.clone().with_options(&options(all)).map_err(|wrong| wrong.problem)?;
        let keys = rule.no_keys().unwrap();
        let url = rule.fixed_key_url(&keys).map(str::to_owned);
        assert_eq!((rule.supplies_keys(), rule.fetches(&keys)), (url.is_some(), url.is_some()));
        assert_eq!(rule.key_url(&token.request()), url);
        Ok::<_, String>(url)
    };
    let id = Some("https://id.example.com/keys".to_owned());
    assert_eq!(asked(""), Ok(None), "without it the source has to pin its keys");
    assert_eq!(asked("host = 'id.example.com'"), Ok(id.clone()));
    assert_eq!(asked("host = 'https://id.example.com/'"), Ok(id));
    assert_eq!(asked("jwks = 'https://other.example.com/x'"), Ok(Some("https://other.example.com/x".to_owned())));
    assert_eq!(asked("jwks = 'file:keys.json'"), Ok(None), "the source reads that itself");
    for wrong in ["host = 'a b'", "jwks = 'http://other.example.com/x'", "jwks = 'ftp://other.example.com/x'"] {
        assert!(asked(wrong).unwrap_err().contains("which is not an https:// URL"), "{wrong}");
    }
}

/// A signature by ECDSA over the body.
fn signed(more: &str) -> Rule {
    rule(&format!(
        "kind = 'signature'\nalgorithm = 'ecdsa-p256-sha256'\nencoding = 'base64'\nmessage = '{{body}}'\n\
         signature = {{ header = 's' }}\n{more}"
    ))
}

fn by(pair: &KeyPair, headers: &[(&str, &str)]) -> Draft {
    let mut draft = Draft { body: b"{}".to_vec(), ..Draft::default() };
    draft.set_header("s", STANDARD.encode(pair.sign(b"{}").unwrap()));
    for (name, value) in headers {
        draft.set_header(name, *value);
    }
    draft
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = time::OffsetDateTime::from_unix_timestamp(NOW_S - 10).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(NOW_S + 10).unwrap();
    params
}

/// A root and a certificate of `name` from it.
fn issued(name: &str, pair: &KeyPair) -> (Certificate, Certificate) {
    let authority = KeyPair::generate().unwrap();
    let mut params = named("root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap();
    let leaf = named(name).signed_by(pair, &Issuer::from_params(&params, &authority)).unwrap();
    (root, leaf)
}

const NAMED: &str = "keys = { named_by = { header = 'cert' }, allow = ['https://api.*.example.com/certs/*'], \
    certificate_name = '*.example.com' }";
const CERT: &str = "https://api.eu.example.com/certs/1";

#[test]
fn a_request_names_its_certificate_among_the_allowed_ones() {
    let (rule, pair) = (signed(NAMED), KeyPair::generate().unwrap());
    let own = rule.keys(&[]).unwrap();
    assert!(rule.supplies_keys() && rule.fetches(&own));
    assert_eq!(rule.fixed_key_url(&own), None, "nothing can be fetched ahead");
    let request = by(&pair, &[("cert", CERT)]);
    assert_eq!(judge(&rule, &own, &request), Err(Refusal::KeyAbsent));
    assert_eq!(rule.key_url(&request.request()).as_deref(), Some(CERT));
    for url in [
        "https://evil.com/certs/1",
        "http://api.eu.example.com/certs/1",
        "nothing",
        "https://api.eu.example.com/certs/%31",
        "https://api.eu.example.com/certs/1 2",
        "https://api.eu.example.com/certs//1",
        "https://api.eu.example.com/certs/1;a=b",
        "https://api.eu.example.com/certs/1?",
        "https://api.eu.example.com/certs/1#",
        "https://u:p@api.eu.example.com/certs/1",
        "https://api.eu.example.com:444/certs/1",
    ] {
        let request = by(&pair, &[("cert", url)]);
        assert_eq!(judge(&rule, &own, &request), Err(Refusal::Mismatch), "{url}");
        assert_eq!(rule.key_url(&request.request()), None, "{url}");
    }
    for url in ["https://API.eu.example.com:443/certs/1", "https://api.eu.example.com/certs/a/../1"] {
        let request = by(&pair, &[("cert", url)]);
        assert_eq!(rule.key_url(&request.request()).as_deref(), Some(CERT), "{url} is the same");
    }
    assert_eq!(judge(&rule, &own, &by(&pair, &[])), Err(Refusal::Missing));

    let fetch = |name: &str| rule.with_fetched(&own, CERT, issued(name, &pair).1.pem().as_bytes(), NOW_S);
    let fetched = fetch("hooks.Example.com").unwrap();
    assert_eq!(judge(&rule, &fetched, &request), Ok(Some(0)));
    assert_eq!(judge(&rule, &fetched, &by(&KeyPair::generate().unwrap(), &[("cert", CERT)])), Err(Refusal::Mismatch));
    let at = |now_s| check(&rule, &fetched, &request.request(), now_s).err();
    assert_eq!([NOW_S - 10, NOW_S + 10].map(at), [None, None]);
    assert_eq!([NOW_S - 11, NOW_S + 11].map(at), [Some(Refusal::KeyAbsent), Some(Refusal::KeyAbsent)], "out of date");
    for name in ["example.com", "hooks.example.com.evil.com", "hooks-example.com"] {
        let wrong = fetch(name).unwrap_err();
        assert_eq!(wrong, "is a certificate of another name than *.example.com", "{name}");
    }
    let pem = issued("hooks.example.com", &pair).1.pem();
    let exact = signed(&NAMED.replace("*.example.com' }", "Hooks.example.com' }"));
    assert!(exact.with_fetched(&own, CERT, pem.as_bytes(), NOW_S).is_ok());
    assert!(exact.with_fetched(&own, CERT, issued("a.example.com", &pair).1.pem().as_bytes(), NOW_S).is_err());
}

#[test]
fn a_source_may_trust_roots_of_its_own_name_further_hosts_or_pin_certificates() {
    let pair = KeyPair::generate().unwrap();
    let (root, leaf) = issued("hooks.example.com", &pair);
    let with = |all: &str| signed(NAMED).with_options(&options(all)).map_err(|wrong| wrong.problem);
    let pem = |certificate: &Certificate| certificate.pem().replace("\r\n", "\\n").replace('\n', "\\n");

    let trusting = with(&format!("trusted_roots = [\"{}\"]", pem(&root))).unwrap();
    let own = trusting.keys(&[]).unwrap();
    let chain = format!("{}{}", leaf.pem(), root.pem());
    assert!(trusting.with_fetched(&own, CERT, chain.as_bytes(), NOW_S).is_ok());
    let (_, forged) = issued("hooks.example.com", &pair);
    for (pem, now_s) in [(forged.pem(), NOW_S), (chain.clone(), NOW_S + 11), (chain, -1)] {
        let wrong = trusting.with_fetched(&own, CERT, pem.as_bytes(), now_s).unwrap_err();
        assert!(wrong.contains("leads to none of `trusted_roots`"), "{wrong}");
    }
    assert!(with("trusted_roots = ['x']").unwrap_err().contains("`trusted_roots` that are not certificates"));

    let further = with("hosts = ['proxy:8443']").unwrap();
    for (url, expected) in [(CERT, true), ("https://proxy:8443/certs/1", true), ("https://proxy:8443/other", false)] {
        assert_eq!(further.key_url(&by(&pair, &[("cert", url)]).request()).is_some(), expected, "{url}");
    }
    assert!(with("hosts = ['a/b']").unwrap_err().contains("`a/b`, which is not HOST or HOST:PORT"));

    let pinned = with(&format!("certificates = {{ \"{CERT}\" = \"{}\" }}", pem(&leaf))).unwrap();
    let own = pinned.keys(&[]).unwrap();
    assert_eq!((pinned.supplies_keys(), pinned.fetches(&own)), (true, false));
    assert_eq!(judge(&pinned, &own, &by(&pair, &[("cert", CERT)])), Ok(Some(0)));
    let other = by(&pair, &[("cert", "https://api.eu.example.com/certs/2")]);
    assert_eq!((judge(&pinned, &own, &other), pinned.key_url(&other.request())), (Err(Refusal::Mismatch), None));
    assert!(with("certificates = { 'https://a/b' = 'x' }").unwrap_err().contains("\"https://a/b\" is no certificate"));
    assert!(with("certificates = 'x'").unwrap_err().contains("`certificates` that is not {"));
    assert!(with("jwks = 'https://a/b'").unwrap_err().contains("but this provider's requests name it"));
}

#[test]
fn a_place_of_the_request_may_name_the_id_of_its_key() {
    let rule = signed(&format!("keys = {{ url = '{URL}', id = {{ header = 'key-id' }}, pointer = '/set' }}"));
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let jwk = |pair: &KeyPair, id: &str| {
        let point = pair.public_key_raw();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!(r#"{{"kty":"EC","crv":"P-256","kid":"{id}","x":"{x}","y":"{y}"}}"#)
    };
    let content = serde_json::json!({ "set": String::from_utf8(set(&[jwk(&one, "1"), jwk(&two, "2")])).unwrap() });
    let own = rule.keys(&[]).unwrap();
    assert_eq!((rule.fixed_key_url(&own), rule.fetches(&own)), (Some(URL), true));
    let pinned = rule.keys(&[Secret::new(jwk(&one, "1").into_bytes()).unwrap()]).unwrap();
    assert_eq!((rule.fixed_key_url(&pinned), rule.fetches(&pinned)), (None, false));
    let keys = rule.with_fetched(&own, URL, content.to_string().as_bytes(), NOW_S).unwrap();
    assert_eq!(judge(&rule, &keys, &by(&one, &[("key-id", "1")])), Ok(Some(0)));
    assert_eq!(judge(&rule, &keys, &by(&two, &[("key-id", "2")])), Ok(Some(0)));
    assert_eq!(judge(&rule, &keys, &by(&one, &[("key-id", "2")])), Err(Refusal::Mismatch));
    assert_eq!(judge(&rule, &keys, &by(&one, &[("key-id", "3")])), Err(Refusal::KeyAbsent));
    assert_eq!(judge(&rule, &keys, &by(&one, &[])), Err(Refusal::Missing));
    let absent = rule.with_fetched(&own, URL, b"{}", NOW_S).unwrap_err();
    assert_eq!(absent, "has no key where one is looked for");
}

#[test]
fn an_address_is_one_or_it_is_named() {
    let wrong = |keys: &str| {
        let spec = format!(
            "kind = 'signature'\nalgorithm = 'ed25519'\nencoding = 'hex'\nmessage = '{{body}}'\n\
             signature = {{ header = 's' }}\nkeys = {{ {keys} }}"
        );
        Rule::new(toml::from_str::<Spec>(&spec).unwrap()).unwrap_err().problem
    };
    for keys in [
        "named_by = { header = 'a' }",
        "named_by = { header = 'a' }, allow = ['https://a/*'], url = 'https://a/b'",
        "allow = ['https://a/*']",
        "allow = ['https://a/*'], url = 'https://a/b'",
    ] {
        assert!(wrong(keys).contains("`allow` beside `named_by`, and `url` without it"), "{keys}");
    }
    assert!(wrong("named_by = { header = 'a' }, allow = ['a']").contains("`allow` that is not https://HOST/PATH"));
}

#[test]
fn truelayer_names_its_key_set_in_the_signature() {
    let rule = rule("kind = 'truelayer'\nkeys = { allow = ['https://webhooks.example.com/.well-known/jwks'] }");
    let draft = |header: &str| {
        let mut draft = Draft::default();
        draft.set_header("tl-signature", format!("{}..AA", URL_SAFE_NO_PAD.encode(header)));
        draft
    };
    let url = |header: &str| rule.key_url(&draft(header).request());
    let good = r#"{"alg":"ES512","tl_version":"2","kid":"1","jku":"https://webhooks.example.com/.well-known/jwks"}"#;
    assert_eq!(url(good).as_deref(), Some("https://webhooks.example.com/.well-known/jwks"));
    assert_eq!(judge(&rule, &rule.keys(&[]).unwrap(), &draft(good)), Err(Refusal::KeyAbsent));
    for (part, other) in [("ES512", "ES256"), (r#""2""#, r#""1""#), ("webhooks", "evil"), ("kid", "crit"), ("jku", "x")]
    {
        assert_eq!(url(&good.replace(part, other)), None, "{other}");
    }
}

#[test]
fn fetched_keys_are_strange_until_a_request_has_proved_them() {
    let rule = signed(&format!("keys = {{ url = '{URL}' }}"));
    let pem = KeyPair::generate().unwrap().public_key_pem();
    let fetch = |keys: &Keys, url: &str| rule.with_fetched(keys, url, pem.as_bytes(), NOW_S).unwrap();
    let own = rule.keys(&[]).unwrap();
    let strange = fetch(&own, URL);
    assert_eq!((own.any_unproven(), strange.any_unproven(), strange.are_proven(URL)), (false, true, false));
    let proven = strange.proven_by(URL);
    assert_eq!((proven.any_unproven(), proven.are_proven(URL), strange.are_proven(URL)), (false, true, false));
    let kept = rule.keys(&[]).unwrap().and_fetched_of(&proven);
    assert!(kept.are_proven(URL) && !kept.any_unproven());
    let both = fetch(&proven, CERT);
    assert_eq!((both.any_unproven(), both.are_proven(URL), both.are_proven(CERT)), (true, true, false));
    let (less, other) = (both.without(CERT), both.without(URL));
    assert_eq!((less.urls().collect::<Vec<_>>(), less.any_unproven(), less.are_proven(URL)), (vec![URL], false, true));
    assert_eq!((other.urls().collect::<Vec<_>>(), other.any_unproven()), (vec![CERT], true));
    assert!(!other.are_proven(URL));
}

#[test]
fn only_options_that_have_an_effect_are_known() {
    let names = |rule: Rule| rule.origin.unwrap().options();
    assert_eq!(names(signed(NAMED)), ["certificates", "trusted_roots", "hosts"]);
    let url = "keys = { url = 'https://{option:host}/{option:path}' }";
    assert_eq!(names(signed(url)), ["host", "path", "jwks", "certificates"]);
}
