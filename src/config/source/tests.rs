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
fn a_key_set_may_stand_among_the_options_but_is_not_fetched() {
    let plaid = "provider = 'plaid'\n[sources.shop.options]\n";
    let jwks = r#"{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    assert!(load(&format!("{plaid}jwks = 'literal:{jwks}'")).is_ok());
    refused(&format!("{plaid}jwks = 'https://example.com/jwks'"), "jwks", "fetches no keys");
    refused("provider = 'google-pubsub'\npublic_keys = ['literal:x']", "options", "audience");
}
