mod told;

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
fn every_header_that_may_hold_the_secret_is_known_as_one() {
    let spec = "kind = 'token'\ntoken = { header = 'X-Shop-{n}', also = ['X-Old-Key'] }";
    let rule = Rule::new(toml::from_str(spec).unwrap()).unwrap();
    for name in ["x-shop-1", "x-shop-2", "x-old-key", "X-Old-Key"] {
        assert!(rule.is_proof(name), "{name}");
    }
    assert!(!rule.is_proof("x-shop-id"));
    let basic = Rule::new(toml::from_str("kind = 'basic'").unwrap()).unwrap();
    assert!(basic.is_proof("authorization"));
}

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

/// The least time of some checks of each kind, from rounds of all kinds one after the other: what else runs on the machine hits
/// them alike. Noise only ever adds, so more rounds are asked for until they agree; a difference that is real stays.
fn least_ns(kinds: &[(&str, &Draft, &Keys)], rule: &Rule) -> Vec<u128> {
    let mut least = vec![u128::MAX; kinds.len()];
    for round in 0..MOST_ROUNDS {
        for (n, (_, draft, keys)) in kinds.iter().enumerate() {
            let begun = std::time::Instant::now();
            for _ in 0..10 {
                let _ = std::hint::black_box(check(rule, keys, &draft.request(), 0));
            }
            least[n] = least[n].min(begun.elapsed().as_nanos());
        }
        if round >= LEAST_ROUNDS && agree(&least) {
            break;
        }
    }
    least
}

const LEAST_ROUNDS: u32 = 1_500;
const MOST_ROUNDS: u32 = 20 * LEAST_ROUNDS;

fn agree(times: &[u128]) -> bool {
    times.iter().max().zip(times.iter().min()).is_some_and(|(high, low)| high * 100 <= low * 120)
}

#[test]
fn a_wrong_signature_costs_the_same_wherever_it_differs() {
    let rule = crate::catalogue::provider("github").unwrap().rule;
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec()).unwrap();
    let keys = |texts: &[&str]| rule.keys(&texts.iter().map(|text| secret(text)).collect::<Vec<_>>()).unwrap();
    let (first, second) = (keys(&["right", "other"]), keys(&["other", "right"]));
    let mut right = Draft { method: "POST".to_owned(), body: vec![b'x'; 1024], ..Draft::default() };
    sign(&rule, &keys(&["right"]), &mut right, 0).unwrap();
    assert_eq!(check(&rule, &first, &right.request(), 0).unwrap().key(), Some(0));
    assert_eq!(check(&rule, &second, &right.request(), 0).unwrap().key(), Some(1));
    let with = |change: fn(&mut String)| {
        let mut draft = Draft {
            headers: right.headers.clone(),
            body: right.body.clone(),
            method: right.method.clone(),
            ..Draft::default()
        };
        draft.headers.iter_mut().filter(|(_, value)| value.starts_with("sha256=")).for_each(|(_, value)| change(value));
        assert_eq!(check(&rule, &first, &draft.request(), 0), Err(Refusal::Mismatch));
        draft
    };
    let at_first = with(|value| {
        let other = if &value[7..8] == "0" { "1" } else { "0" };
        value.replace_range(7..8, other);
    });
    let at_last = with(|value| {
        let end = value.len();
        let other = if value.ends_with('0') { "1" } else { "0" };
        value.replace_range(end - 1..end, other);
    });
    let everywhere = with(|value| value.replace_range(7.., &"5a".repeat(32)));
    let kinds = [
        ("at its first digit", &at_first, &first),
        ("at its last digit", &at_last, &first),
        ("everywhere", &everywhere, &first),
        ("nowhere, by the first key", &right, &first),
        ("nowhere, by the second key", &right, &second),
    ];
    let least = least_ns(&kinds, &rule);
    assert!(agree(&least), "{:?}", kinds.iter().map(|(name, ..)| name).zip(&least).collect::<Vec<_>>());
}

#[test]
fn no_refusal_tells_by_its_cost_how_near_a_guess_is() {
    // The right secret, guesses of it by how much of them is right, and where the proof stands.
    let families: [(&str, &str, &[&str]); 3] = [
        (TOKEN, "0123456789abcdef", &["0123456789abcdeX", "X123456789abcdef", "0123456789abcde", "XXXXXXXXXXXXXXXX"]),
        (
            "kind = 'basic'",
            "user:password",
            &["user:passworX", "user:Xassword", "Xser:password", "user:passwor", "XXXX:XXXXXXXX"],
        ),
        (
            "kind = 'hmac'\nencoding = 'hex'\nsignature = { header = 'x-signature' }\nmessage = '{body}'",
            "0123456789abcdef",
            &["0123456789abcdeX", "XXXXXXXXXXXXXXXX"],
        ),
    ];
    for (toml, right, guesses) in families {
        let rule = Rule::new(spec(toml).unwrap()).unwrap();
        let keys = |text: &str| rule.keys(&[Secret::new(text.as_bytes().to_vec()).unwrap()]).unwrap();
        let own = keys(right);
        let drafts: Vec<Draft> = guesses
            .iter()
            .map(|guess| {
                let mut draft = Draft { method: "POST".to_owned(), body: vec![b'x'; 64], ..Draft::default() };
                sign(&rule, &keys(guess), &mut draft, 0).unwrap();
                assert_eq!(check(&rule, &own, &draft.request(), 0), Err(Refusal::Mismatch), "{guess}");
                draft
            })
            .collect();
        let kinds: Vec<_> = guesses.iter().zip(&drafts).map(|(guess, draft)| (*guess, draft, &own)).collect();
        let least = least_ns(&kinds, &rule);
        assert!(agree(&least), "{toml}: {:?}", guesses.iter().zip(&least).collect::<Vec<_>>());
    }
}
