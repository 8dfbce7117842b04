//! What a rule tells those who configure, warn and sign by it.

use super::*;
use crate::event::Options;

const HMAC: &str = "kind = 'hmac'\nencoding = 'hex'\nsignature = { header = 'x-sig' }";
const JWT: &str = "kind = 'jwt'\ntoken = { header = 'x-token' }";

fn rule(text: &str) -> Rule {
    Rule::new(spec(text).unwrap()).unwrap()
}

#[test]
fn a_rule_tells_what_its_signature_covers() {
    let covers = |text: &str| {
        let rule = rule(text);
        [("body", rule.covers_body()), ("form", rule.covers_form()), ("url", rule.needs_url())]
            .into_iter()
            .filter_map(|(what, covered)| covered.then_some(what))
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (message, expected) in [
        ("{body}", "body form"),
        ("{body_sha256_hex}", "body form"),
        ("{body_crc32}", "body form"),
        ("{method} {path}", ""),
        ("{url}{form_sorted}", "form url"),
        ("{url_form_sorted}", "form url"),
        ("{form_php:p_signature}", "form"),
        ("{target_escaped}", ""),
        ("{signed_headers:x-list,x-a}", ""),
        ("{form:a}", ""),
        ("{body:/a}", ""),
    ] {
        assert_eq!(covers(&format!("{HMAC}\nmessage = '{message}'")), expected, "{message}");
    }
    let digest = "kind = 'digest'\nhash = 'md5'\nencoding = 'hex'\nsignature = { header = 'x-sig' }";
    assert_eq!(covers(&format!("{digest}\nmessage = '{{body_with_secret:/a}}'")), "body form");
    for (more, expected) in [
        ("", ""),
        ("body_hash = { claim = 'h', encoding = 'hex' }", "body form"),
        ("url_hash = { claim = 'h', encoding = 'hex' }", "url"),
        ("claims = { iss = 'a', url = '{url}' }", "url"),
        ("claims = { iss = 'a' }", ""),
    ] {
        assert_eq!(covers(&format!("{JWT}\nalgorithms = ['HS256']\n{more}")), expected, "{more}");
    }
    assert_eq!(covers("kind = 'jwt'\ntoken = { whole = true }\nalgorithms = ['HS256']"), "body form");
    assert_eq!(covers("kind = 'truelayer'\nkeys = { allow = ['https://a/b'] }"), "body form");
    for none in [TOKEN, "kind = 'basic'", "kind = 'none'"] {
        assert_eq!(covers(none), "", "{none}");
    }
    let queries = rule(&format!("{HMAC}\nmessage = '{{query:a}}{{header:x}}{{query:b}}'"));
    assert_eq!((queries.covered_queries(), queries.covered_headers()), (vec!["a", "b"], vec!["x"]));
}

#[test]
fn a_rule_tells_where_its_time_stands_and_how_long_it_is_believed() {
    let told = |text: &str| {
        let rule = rule(text);
        (rule.is_timed(), rule.timestamp_header().map(str::to_owned), rule.tolerance_s())
    };
    let timed = format!("{HMAC}\nmessage = '{{timestamp}}{{body}}'\n");
    let header = Some("x-time".to_owned());
    assert_eq!(told(&format!("{timed}timestamp = {{ header = 'X-Time' }}")), (true, header, Some(300)));
    assert_eq!(told(&format!("{timed}timestamp = {{ query = 't' }}\ntolerance = '10s'")), (true, None, Some(10)));
    assert_eq!(told(&format!("{HMAC}\nmessage = '{{body}}'")), (false, None, None));
    assert_eq!(told(&format!("{JWT}\nalgorithms = ['HS256']")), (true, None, None));
    assert_eq!(told(&format!("{JWT}\nalgorithms = ['HS256']\nmax_age = '10s'")), (true, None, Some(10)));
    assert!(told("kind = 'sns'\nkeys = { allow = ['https://a/b'] }").0);
    for none in [TOKEN, "kind = 'basic'", "kind = 'none'", "kind = 'truelayer'\nkeys = { allow = ['https://a/b'] }"] {
        assert_eq!(told(none), (false, None, None), "{none}");
    }
}

#[test]
fn a_rule_tells_its_method() {
    let signature = |algorithm: &str| {
        let text = "kind = 'signature'\nencoding = 'hex'\nmessage = '{body}'\nsignature = { header = 'x-sig' }";
        rule(&format!("{text}\nalgorithm = '{algorithm}'")).method()
    };
    let all = ["ed25519", "ecdsa-p256-sha256", "rsa-pkcs1-sha256", "rsa-pkcs1-sha1"];
    assert_eq!(all.map(signature), all);
}

#[test]
fn what_a_message_is_made_of_needs_its_name() {
    for message in [
        "{option:}",
        "{option:a?}",
        "{signed_headers:x-list?}",
        "{form_php:}",
        "{form_php:a?}",
        "{body_with_secret:a}",
        "{body_with_secret:/a?}",
        "{query:}",
        "{form:}",
        "{body:a}",
        "{body?}",
        "{other}",
    ] {
        let wrong = Rule::new(spec(&format!("{HMAC}\nmessage = '{message}'")).unwrap()).unwrap_err();
        assert!(wrong.key == "message" && wrong.problem.contains(message), "{message}: {}", wrong.problem);
    }
    for wrong in ["base64-after:", "suffix:", "other"] {
        let text = format!("{HMAC}\nmessage = '{{body}}'\nsecret = '{wrong}'");
        assert!(spec(&text).unwrap_err().contains("base64-after:PREFIX"), "{wrong}");
    }
}

#[test]
fn an_option_that_a_message_needs_must_be_set() {
    for kind in ["hmac", "digest"] {
        let text = format!(
            "kind = '{kind}'\nencoding = 'hex'\nsignature = {{ header = 'x-sig' }}\nhash = 'sha256'\n\
             message = '{{option:id}}{{body}}{}'",
            if kind == "digest" { "{secret}" } else { "" }
        );
        let wrong = rule(&text).with_options(&Options::default()).unwrap_err();
        assert!(wrong.problem.contains("lacks `id`"), "{kind}: {}", wrong.problem);
    }
}

#[test]
fn only_who_has_the_secret_signs() {
    let sign_by = |text: &str, secrets: &[Secret]| {
        let rule = rule(text);
        let mut draft = Draft::default();
        let signed = sign(&rule, &rule.keys(secrets).unwrap(), &mut draft, 0);
        (signed, draft.headers.len())
    };
    let public = "kind = 'signature'\nalgorithm = 'ed25519'\nencoding = 'hex'\nmessage = '{body}'\n\
        signature = { header = 'x-sig' }";
    let key = Secret::new(b"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8".to_vec()).unwrap();
    assert_eq!(sign_by(public, &[key]), (Err(SignError::Private), 0));
    assert_eq!(sign_by("kind = 'none'", &[]), (Ok(()), 0));
    assert_eq!(sign_by(TOKEN, &[secret()]), (Ok(()), 1));
    let (hmac, none) = (rule(&format!("{HMAC}\nmessage = '{{body}}'")), rule("kind = 'none'"));
    let keys = hmac.keys(&[secret()]).unwrap();
    assert_eq!(sign(&none, &keys, &mut Draft::default(), 0), Err(SignError::WrongKeys));
    let mut draft = Draft::default();
    draft.set_header("authorization", "x");
    edit_signature(&none, &mut draft, |_| None);
    assert_eq!(draft.headers.len(), 1, "a rule without a signature has none to change");
}

#[test]
fn a_secret_that_is_written_otherwise_is_told_how() {
    for (form, expected) in [
        ("base64", "secret 1 is not base64"),
        ("base64-after:whsec_", "secret 1 is not base64, with or without `whsec_` before it"),
        ("hex", "secret 1 is not hex"),
        ("ascii", "secret 1 is not text of ASCII characters"),
    ] {
        let rule = rule(&format!("{HMAC}\nmessage = '{{body}}'\nsecret = '{form}'"));
        let wrong = rule.keys(&[Secret::new("\u{e9}".into()).unwrap()]).unwrap_err();
        assert_eq!(wrong.to_string(), expected);
    }
}

#[test]
fn fields_of_one_text_are_known_to_share_it() {
    use super::super::field::Field;
    let field = |text: &str| Field::new(toml::from_str(text).unwrap(), "signature").unwrap();
    let places = ["header = 'x-{}'", "body = '/{}'", "query = '{}'", "form = '{}'", "form = 'f'\nbody = '/{}'"];
    for place in places {
        let [a, b] = ["a", "b"].map(|name| field(&place.replace("{}", name)));
        assert!(a.shares(&a) && !a.shares(&b), "{place}");
        let others = places.into_iter().filter(|other| *other != place);
        assert!(others.map(|other| field(&other.replace("{}", "a"))).all(|other| !a.shares(&other)), "{place}");
    }
}

#[test]
fn a_time_that_nobody_signs_is_no_replay_window() {
    let with = |message: &str, timestamp: &str| {
        let text = format!("{HMAC}\nmessage = '{message}'\ntimestamp = {{ {timestamp} }}");
        Rule::new(spec(&text).unwrap()).map(drop).map_err(|wrong| wrong.key)
    };
    for (message, timestamp, signed) in [
        ("{timestamp}{body}", "header = 'x-time'", true),
        ("{header:x-time}{body}", "header = 'X-Time'", true),
        ("{header:x-other}{body}", "header = 'x-time'", false),
        ("{body}", "header = 'x-time'", false),
        ("{body}", "body = '/t'", true),
        ("{body:/t}", "body = '/t'", true),
        ("{body:/u}", "body = '/t'", false),
        ("{body}", "query = 't'", false),
    ] {
        assert_eq!(with(message, timestamp).is_ok(), signed, "{message} {timestamp}");
    }
}
