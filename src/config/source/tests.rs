use std::io::Write;

use crate::config::{self, Config, Errors, Vars};

const KEY: &str = "442993065004aa1e4c48f4dd0158194c02349bcc664cd96e400ea269918a8d51";

fn load(section: &str) -> Result<Config, Errors> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(format!("[sources.shop]\n{section}").as_bytes()).unwrap();
    let vars = [("TOKEN".to_owned(), "meatyhamhock".to_owned())].into_iter().collect::<Vars>();
    config::load(&[file.path()], &vars)
}

#[track_caller]
fn refused(section: &str, key: &str, what: &str) {
    let errors = load(section).unwrap_err();
    let found = errors.mistakes().iter().any(|mistake| mistake.key.ends_with(key) && mistake.what.contains(what));
    assert!(found, "{key}: {what} is not in {:?}", errors.mistakes());
}

#[test]
fn a_provider_that_signs_with_a_private_key_takes_public_keys_only() {
    let config = load(&format!("provider = 'discord'\npublic_keys = ['literal:{KEY}']")).unwrap();
    assert!(config.sources[0].keys().is_ok());
    refused("provider = 'discord'", "public_keys", "missing");
    refused(&format!("provider = 'discord'\nsecrets = ['literal:{KEY}']"), "secrets", "public_keys");
    refused("provider = 'discord'\npublic_keys = ['literal:no key']", "public_keys", "key 1 is not a public key");
    refused(&format!("provider = 'github'\npublic_keys = ['literal:{KEY}']"), "public_keys", "secret");
}

#[test]
fn options_are_known_by_the_provider_and_may_be_references() {
    let meta = "provider = 'meta'\nsecrets = ['literal:s']\n[sources.shop.options]\n";
    assert!(load(&format!("{meta}verify_token = 'env:TOKEN'")).is_ok());
    assert!(load(&format!("{meta}verify_token = 'plain'")).is_ok());
    refused(&format!("{meta}verify_tokn = 'x'"), "options", "verify_tokn");
    refused(&format!("{meta}verify_token = 'env:ABSENT'"), "verify_token", "ABSENT");
}

#[test]
fn an_option_that_a_source_of_its_own_making_has_no_use_for_is_named() {
    let source = "provider = 'custom'\nsecrets = ['literal:x']\n\
                  verify = { kind = 'token', token = { header = 'x-token' } }\n\
                  handshake = [{ when = { method = 'GET', query = { t = '{option:word}' } }, signed = false, \
                  reply = { status = 200, content_type = 'text/plain', body = '' } }]\n";
    assert!(load(&format!("{source}options = {{ word = 'w' }}")).is_ok());
    refused(&format!("{source}options = {{ wrod = 'w' }}"), "options", "has no `wrod` for this provider (word)");
    let none = "provider = 'none'\ninsecure = true\n";
    refused(
        &format!("{none}options = {{ jwks = 'w' }}"),
        "options",
        "has no `jwks` for this provider (there are none)",
    );
}

#[test]
fn the_addresses_of_every_sender_may_stand_in_allow_ips() {
    let mut seen = 0;
    for name in crate::catalogue::names() {
        let addresses = crate::catalogue::provider(name).unwrap().contract.addresses;
        let read = crate::ingress::networks::Networks::read(&addresses);
        assert!(read.is_ok(), "{name}: {read:?}");
        seen += usize::from(!addresses.is_empty());
    }
    assert!(seen > 0);
}

#[test]
fn a_key_set_may_stand_among_the_options_or_be_fetched() {
    let plaid = "provider = 'plaid'\n[sources.shop.options]\n";
    let jwks = r#"{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    assert!(load(&format!("{plaid}jwks = 'literal:{jwks}'")).is_ok());
    assert!(load(&format!("{plaid}jwks = 'https://example.com/jwks'")).is_ok());
    refused(&format!("{plaid}jwks = 'http://example.com/jwks'"), "options", "not an https:// URL");
    refused(plaid, "public_keys", "missing");
    refused("provider = 'google-pubsub'", "options", "audience");
    assert!(load("provider = 'google-pubsub'\noptions = { audience = 'a', service_account = 'b' }").is_ok());
}

#[test]
fn topics_and_pinned_certificates_are_lists_and_tables() {
    let sns = |options: &str| format!("provider = 'aws-sns'\noptions = {{ {options} }}");
    let topics = "topic_arns = ['arn:aws:sns:eu-west-1:1:a', 'arn:aws:sns:eu-west-1:1:b-*']";
    assert!(load(&sns(topics)).is_ok());
    assert!(load(&sns("topic_arns = 'arn:aws:sns:eu-west-1:1:a'")).is_ok());
    refused("provider = 'aws-sns'", "options", "topic_arns");
    refused(&sns("topic_arns = ['eu-west-1:1:a']"), "options", "no ARN");
    let pin =
        |text: &str| sns(&format!("{topics}, certificates = {{ 'https://sns.x.amazonaws.com/a.pem' = '{text}' }}"));
    refused(&pin("literal:x"), "options", "a.pem");
    refused(&pin("file:/absent.pem"), "certificates", "absent.pem");
    refused(&sns(&format!("{topics}, certificates = 'x'")), "options", "is not {");
    refused(&sns(&format!("{topics}, hosts = ['a/b']")), "options", "HOST:PORT");
}

#[test]
fn a_source_whose_sender_shows_the_secret_begins_without_one() {
    for provider in ["asana", "notion"] {
        let config = load(&format!("provider = '{provider}'")).unwrap();
        assert!(config.sources[0].keys().is_ok());
    }
}

#[test]
fn a_challenge_is_not_answered_where_events_come_in() {
    let source = |name: &str, path: &str| {
        format!(
            "provider = 'custom'\nsecrets = ['literal:x']\n\
             verify = {{ kind = 'token', token = {{ header = 'x-token' }} }}\n\
             handshake = [{{ when = {{ method = 'GET', path = '{path}' }}, signed = false, \
             reply = {{ status = 200, content_type = 'text/plain', body = '*' }} }}]\n\
             [sources.{name}]\n"
        )
    };
    let github = "provider = 'github'\nsecrets = ['literal:x']\n";
    let own = |path: &str| format!("{}{github}", source("code", path));
    assert!(load(&own("/check")).is_ok());
    let what = "answers challenges at `/webhooks/shop`, the path of sources.shop: none of its events would be taken";
    refused(&own("/webhooks/shop"), "sources.shop.handshake", what);
    refused(&own("/webhooks/code"), "sources.shop.handshake", "the path of sources.code");
    refused(&format!("{}path = '/in'\n", own("/in")), "sources.shop.handshake", "the path of sources.code");
    refused(&own("/check?a=b"), "handshake[0].when", "`?`");
    let two = format!("{}{}{github}", source("two", "/check"), source("code", "/check"));
    refused(&two, "sources.two.handshake", "answers challenges at `/check`, as sources.shop does already");
    let fastly = "provider = 'fastly'\nsecrets = ['literal:x']\n";
    assert!(load(&format!("{fastly}[sources.two]\n{fastly}")).is_ok(), "one answer serves both");
    let at = format!("{fastly}path = '/.well-known/fastly/logging/challenge'");
    refused(&at, "sources.shop.provider", "none of its events would be taken");
}
