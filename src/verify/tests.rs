use std::time::Duration;

use super::*;

fn spec(text: &str) -> Result<Spec, String> {
    toml::from_str(text).map_err(|e| e.to_string())
}

fn secret() -> Secret {
    Secret::new(b"s".to_vec()).unwrap()
}

const TOKEN: &str = "kind = 'token'\ntoken = { header = 'x-token' }";

#[test]
fn unknown_keys_and_kinds_are_refused() {
    assert!(spec(TOKEN).is_ok());
    assert!(spec(&format!("{TOKEN}\nhash = 'sha256'")).unwrap_err().contains("hash"));
    assert!(spec("kind = 'none'\nhash = 'sha256'").unwrap_err().contains("hash"));
    assert!(spec("kind = 'hmac'\nencoding = 'hex'\nmessage = ''").unwrap_err().contains("signature"));
    assert!(spec("kind = 'md5'").is_err());
}

#[test]
fn no_secret_and_a_needless_secret_are_both_mistakes() {
    let rule = |text| Rule::new(spec(text).unwrap()).unwrap();
    assert_eq!(rule(TOKEN).keys(&[]).unwrap_err(), KeyError::Absent);
    assert_eq!(rule("kind = 'none'").keys(&[secret()]).unwrap_err(), KeyError::Unused);
}

#[test]
fn a_rule_that_checks_nothing_says_so() {
    let rule = Rule::new(Spec::None {}).unwrap();
    let keys = rule.keys(&[]).unwrap();
    let verified = check(&rule, &keys, &Draft::default().request(), 0).unwrap();
    assert_eq!((verified.method(), verified.key()), ("none", None));
}

#[test]
fn keys_of_another_rule_open_nothing() {
    let none = Rule::new(Spec::None {}).unwrap().keys(&[]).unwrap();
    let token = Rule::new(spec(TOKEN).unwrap()).unwrap();
    let mut draft = Draft::default();
    draft.set_header("x-token", "s");
    assert_eq!(check(&token, &none, &draft.request(), 0), Err(Refusal::Mismatch));
    assert_eq!(sign(&token, &none, &mut draft, 0), Err(SignError::WrongKeys));
}

#[test]
fn a_window_without_a_timestamp_is_a_mistake() {
    let token = Rule::new(spec(TOKEN).unwrap()).unwrap();
    assert_eq!(token.with_tolerance(Duration::from_secs(1)).unwrap_err().key, "tolerance");
}

#[test]
fn keys_are_never_printed() {
    let keys = Rule::new(spec(TOKEN).unwrap()).unwrap().keys(&[secret()]).unwrap();
    assert_eq!(format!("{keys:?}"), "Keys([redacted])");
}
