//! Each fault against the check of the ingress.

use super::*;
use crate::event::Secret;
use crate::verify::{self, Keys, Refusal, Spec};

const NOW_S: i64 = 1_700_000_000;

const TIMED: &str = r#"
kind = "hmac"
hash = "sha256"
encoding = "hex"
signature = { header = "x-signature", split = ",", prefix = "v1=" }
timestamp = { header = "x-signature", split = ",", prefix = "t=" }
message = "{timestamp}.{body}"
tolerance = "5m"
"#;

const TOKEN: &str = r#"
kind = "token"
token = { header = "authorization", prefix = "Bearer " }
"#;

fn rule(text: &str) -> (Rule, Keys) {
    let rule = Rule::new(toml::from_str::<Spec>(text).unwrap()).unwrap();
    let keys = rule.keys(&[Secret::new(b"s3".to_vec()).unwrap()]).unwrap();
    (rule, keys)
}

/// Signs with the faults, as `send` does, and checks as the ingress does.
fn outcome(text: &str, faults: &[Fault]) -> Result<(), Refusal> {
    let (rule, keys) = rule(text);
    let faults = Faults::new(faults, &rule).unwrap();
    let mut draft = Draft { method: "POST".into(), body: br#"{"a":1}"#.to_vec(), ..Draft::default() };
    verify::sign(&rule, &keys, &mut draft, faults.signing_time_s(NOW_S)).unwrap();
    faults.spoil(&rule, &mut draft);
    verify::check(&rule, &keys, &draft.request(), NOW_S).map(|_| ())
}

fn code(text: &str, faults: &[Fault]) -> Option<&'static str> {
    let (rule, _) = rule(text);
    match Faults::new(faults, &rule).unwrap().expected()[0] {
        Expect::Refusal { status: 401, codes } => Some(codes[0]),
        _ => None,
    }
}

#[track_caller]
fn check(text: &str, faults: &[Fault]) {
    let seen = match outcome(text, faults) {
        Ok(()) => None,
        Err(Refusal::Missing) => Some("signature_missing"),
        Err(Refusal::Mismatch) => Some("signature_mismatch"),
        Err(Refusal::Stale { .. }) => Some("timestamp_out_of_tolerance"),
        Err(Refusal::KeyAbsent) => Some("key_unavailable"),
    };
    assert_eq!(seen, code(text, faults), "{faults:?}");
}

#[test]
fn each_fault_is_refused_as_it_says() {
    use Fault::{BadSignature, Duplicate, MissingSignature, Stale, Tampered};
    check(TIMED, &[]);
    check(TIMED, &[Duplicate]);
    check(TIMED, &[BadSignature]);
    check(TIMED, &[Stale]);
    check(TIMED, &[MissingSignature]);
    check(TIMED, &[Tampered]);
    check(TOKEN, &[BadSignature]);
    check(TOKEN, &[MissingSignature]);
}

#[test]
fn of_several_faults_the_first_that_the_ingress_sees_counts() {
    use Fault::{BadSignature, Duplicate, MissingSignature, Stale, Tampered};
    check(TIMED, &[Stale, BadSignature]);
    check(TIMED, &[Tampered, Stale]);
    check(TIMED, &[Tampered, Stale, MissingSignature]);
    let (rule, _) = rule(TIMED);
    assert_eq!(Faults::new(&[Stale, Duplicate], &rule).unwrap().expected().len(), 2);
    let oversized = Faults::new(&[Stale, Fault::Oversized], &rule).unwrap().expected();
    assert_eq!(oversized, [Expect::Refusal { status: 413, codes: &["body_too_large"] }]);
}

#[test]
fn a_fault_that_the_scheme_would_let_pass_is_refused_at_once() {
    let (token, _) = rule(TOKEN);
    assert!(Faults::new(&[Fault::Tampered], &token).is_err());
    assert!(Faults::new(&[Fault::Stale], &token).is_err());
    let nothing = Rule::new(Spec::None {}).unwrap();
    assert!(Faults::new(&[Fault::MissingSignature], &nothing).is_err());
    assert!(Faults::new(&[Fault::Duplicate, Fault::Oversized], &nothing).is_ok());
}
