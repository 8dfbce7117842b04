//! Every provider file against its own examples: accepted as they are, refused once tampered with.

use super::*;
use crate::event::Secret;
use crate::verify::{Draft, Keys, Refusal, Spec, Verified, check, edit_signature, sign};

/// A secret that no example has; base64 and hex as well.
const OTHER: &str = "00112233445566778899aabbccddeeff";

fn other(provider: &Provider) -> &'static str {
    if matches!(provider.contract.verify, Spec::Basic {}) { "other:password" } else { OTHER }
}

fn keys(provider: &Provider, secret: &str) -> Keys {
    let secrets: Vec<_> = Secret::new(secret.into()).into_iter().collect();
    provider.rule.keys(&secrets).unwrap()
}

/// One tampered copy of an example, under test.
struct Case<'a> {
    provider: &'a Provider,
    example: &'a Example,
}

impl Case<'_> {
    fn verify(&self, at: i64, secret: &str, tamper: impl FnOnce(&mut Draft)) -> Result<Verified, Refusal> {
        let mut draft = self.example.draft();
        tamper(&mut draft);
        check(&self.provider.rule, &keys(self.provider, secret), &draft.request(), at)
    }

    #[track_caller]
    fn refused(&self, what: &str, refusals: &[Refusal], tamper: impl FnOnce(&mut Draft)) {
        let outcome = self.verify(self.example.now, &self.example.secret, tamper);
        let expected = outcome.as_ref().is_err_and(|refusal| refusals.contains(refusal));
        assert!(expected, "{} with {what}: {outcome:?}", self.provider.id);
    }
}

/// Every example that bears a proof.
fn cases(each: impl Fn(Case)) {
    let mut failed = Vec::new();
    for name in names() {
        let provider = provider(name).unwrap();
        let proven = || provider.contract.example.iter().filter(|example| !example.unsigned);
        assert!(proven().count() > 0, "{name} has no example");
        for example in proven() {
            let provider = provider.clone().with_own(&[], example.options.clone()).unwrap();
            let case = || each(Case { provider: &provider, example });
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)).is_err() {
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "see above: {failed:?}");
}

fn change(text: &mut String) {
    // The last letter or digit: in base64 the very last character may be padding.
    let at = text.rfind(|c: char| c.is_ascii_alphanumeric()).unwrap();
    // Three characters before the end no encoding has bits to spare.
    let at = at.saturating_sub(3);
    let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
    text.replace_range(at..=at, other);
}

#[test]
fn every_example_is_accepted_read_and_answered_as_its_sender_wants() {
    for name in names() {
        assert_eq!(provider(name).unwrap().unmet(), [], "{name}");
    }
}

/// A challenge that `provider` answers to anybody, and the event that its answer would prove.
#[track_caller]
fn oracle(
    name: &str,
    challenge: &str,
    options: &[(&str, &str)],
    ask: impl Fn(&str) -> Draft,
    event: impl Fn(&str) -> Draft,
) {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let secret = Secret::new(b"s3cr3t".to_vec()).unwrap();
    let provider = provider(name).unwrap().with_own(&[secret], options).unwrap();
    let reply = provider.handshake(&ask(challenge).request(), false).expect("an answer").body;
    let tag = reply.rsplit(['"', '=', '|']).find(|text| text.len() >= 40).unwrap();
    let outcome = check(&provider.rule, &keys(&provider, "s3cr3t"), &event(tag).request(), 1_700_000_000);
    assert_eq!(outcome.map(|verified| verified.method()), Err(Refusal::Mismatch), "{name}: {challenge}");
}

#[test]
fn the_answer_to_a_challenge_proves_no_event() {
    let get = |query: String| Draft { method: "GET".to_owned(), query, ..Draft::default() };
    let post = |body: &str, header: &str, value: String| {
        let mut draft = Draft { method: "POST".to_owned(), body: body.into(), ..Draft::default() };
        draft.set_header(header, value);
        draft
    };
    oracle(
        "smartcar",
        "abc1",
        &[],
        |text| post(&format!(r#"{{"eventName":"verify","payload":{{"challenge":"{text}"}}}}"#), "x", String::new()),
        |tag| post("abc1", "sc-signature", tag.to_owned()),
    );
    // Its tag is Base64, of which the padding is lost above.
    oracle(
        "x",
        "abc1",
        &[],
        |text| get(format!("crc_token={text}")),
        |tag| post("abc1", "x-twitter-webhooks-signature", format!("sha256={tag}=")),
    );
    oracle(
        "linkedin",
        "hmacsha256=abc1",
        &[],
        |text| get(format!("challengeCode={text}")),
        |tag| post("abc1", "x-li-signature", tag.to_owned()),
    );
    let digits = "20f9f8ed05f77439fe955c977e4c8a53";
    oracle(
        "braintree",
        digits,
        &[("public_key", "pub")],
        |text| get(format!("bt_challenge={text}")),
        |tag| {
            let body = format!("bt_signature=pub%7C{tag}&bt_payload={digits}");
            post(&body, "content-type", "application/x-www-form-urlencoded".to_owned())
        },
    );
}

#[test]
fn braintree_signs_no_payload_for_whoever_asks() {
    let secret = Secret::new(b"s3cr3t".to_vec()).unwrap();
    let options = [("public_key".to_owned(), "pub".to_owned())].into_iter().collect();
    let provider = provider("braintree").unwrap().with_own(&[secret], options).unwrap();
    let answer = |challenge: &str| {
        let query = format!("bt_challenge={challenge}");
        let draft = Draft { method: "GET".to_owned(), query, ..Draft::default() };
        provider.handshake(&draft.request(), false)
    };
    // Its libraries sign ^[a-f0-9]{20,32}$ and no more.
    assert!(answer("20f9f8ed05f77439fe95").is_some());
    for no in
        ["PG5vdGlmaWNhdGlvbj48L25vdGlmaWNhdGlvbj4=", "20f9f8ed05f77439fe9", &"0".repeat(33), "20F9F8ED05F77439FE95"]
    {
        assert_eq!(answer(no), None, "{no}");
    }
}

#[test]
fn an_older_secret_still_verifies() {
    cases(|Case { provider, example }| {
        let newest = if provider.rule.wants_public_keys() { return } else { other(provider) };
        let secrets = [newest, &example.secret].map(|s| Secret::new(s.into()).unwrap());
        let keys = provider.rule.keys(&secrets).unwrap();
        let verified = check(&provider.rule, &keys, &example.draft().request(), example.now).unwrap();
        assert_eq!(verified.key(), Some(1), "{}", provider.id);
    });
}

#[test]
fn a_tampered_copy_is_refused() {
    cases(|case| {
        let rule = &case.provider.rule;
        let edit = |draft: &mut Draft, new: Option<&str>| edit_signature(rule, draft, |_| new.map(str::to_owned));
        let mut value = String::new();
        edit_signature(rule, &mut case.example.draft(), |old| {
            value = old.unwrap();
            None
        });
        let refused = [Refusal::Mismatch, Refusal::Missing];
        if rule.covers_body() {
            case.refused("a changed body", &[Refusal::Mismatch], |draft| draft.body.push(b' '));
            case.refused("no body", &refused, |draft| draft.body.clear());
        } else if rule.covers_form() {
            case.refused("a changed form", &[Refusal::Mismatch], |draft| {
                draft.edit_form("z", |_| Some("1".to_owned()));
            });
        }
        if rule.needs_url() {
            case.refused("another URL", &[Refusal::Mismatch], |draft| {
                draft.public_url = Some("https://example.com/other".to_owned());
            });
        }
        case.refused("no signature", &[Refusal::Missing], |draft| edit(draft, None));
        case.refused("an empty signature", &[Refusal::Missing], |draft| edit(draft, Some("")));
        case.refused("half a signature", &refused, |draft| edit(draft, Some(&value[..value.len() / 2])));
        if let Some(signature) = rule.signature_header() {
            case.refused("the signature twice", &[Refusal::Mismatch], |draft| {
                let first = draft.headers.iter().find(|(_, text)| *text == value).unwrap().0.clone();
                draft.headers.push((first.to_ascii_uppercase(), value.clone()));
            });
            case.refused("another header of the signature before it", &[Refusal::Mismatch], |draft| {
                let first = draft.headers.iter().find(|(_, text)| *text == value).unwrap().0.clone();
                draft.headers.insert(0, (first, "v1=00".to_owned()));
            });
            assert!(!signature.is_empty());
        }
        for name in rule.covered_headers().into_iter().filter(|name| case.example.headers.contains_key(*name)) {
            case.refused("a changed header", &[Refusal::Mismatch], |draft| draft.set_header(name, "other"));
            case.refused("no header", &refused, |draft| draft.headers.retain(|(key, _)| key != name));
        }
        for name in rule.covered_queries() {
            case.refused("a changed parameter", &[Refusal::Mismatch], |draft| {
                draft.edit_query(name, |old| Some(old.unwrap_or_default() + "x"));
            });
        }
    });
}

#[test]
fn a_changed_signature_or_another_secret_is_refused() {
    cases(|case| {
        // Every signature of a list is changed: one that stays right would be accepted.
        let separators: &[char] = &[' ', ',', ';', '&'];
        let changed = |value: &str| {
            let items = value.split_inclusive(separators).map(|item| {
                let mut item = item.to_owned();
                if item.len() > 20 {
                    change(&mut item);
                }
                item
            });
            let mut new = items.collect::<String>();
            if new == value {
                change(&mut new);
            }
            new
        };
        case.refused("a changed signature", &[Refusal::Mismatch], |draft| {
            edit_signature(&case.provider.rule, draft, |old| old.map(|old| changed(&old)));
        });
        if !case.provider.rule.wants_public_keys() {
            let other = case.verify(case.example.now, other(case.provider), |_| {});
            assert_eq!(other, Err(Refusal::Mismatch), "{}", case.provider.id);
        }
    });
}

#[test]
fn a_copy_from_another_time_is_stale_and_a_forged_one_never_is() {
    cases(|case| {
        let Some(tolerance_s) = case.provider.rule.tolerance_s() else { return };
        let far = i64::try_from(tolerance_s).unwrap() * 3;
        for at in [case.example.now - far, case.example.now + far, i64::MIN, i64::MAX] {
            let outcome = case.verify(at, &case.example.secret, |_| {});
            assert!(matches!(outcome, Err(Refusal::Stale { .. })), "{} at {at}: {outcome:?}", case.provider.id);
            if case.provider.rule.wants_public_keys() {
                continue;
            }
            let forged = case.verify(at, other(case.provider), |_| {});
            assert_eq!(forged, Err(Refusal::Mismatch), "{} at {at}", case.provider.id);
        }
    });
}

#[test]
fn a_sample_is_accepted_and_carries_the_id_and_type_it_was_given() {
    cases(|Case { provider, example }| {
        let (name, event) = (&provider.id, &provider.contract.event);
        if event.id.iter().any(|place| matches!(place, Value::Jwt(_) | Value::BodyJwt(..))) {
            // The event is a token that only its sender can sign.
            return;
        }
        let keys = keys(provider, &example.secret);
        let mut draft = provider.sample("evt-77", Some("thing.done"), 1_800_000_000).unwrap();
        draft.public_url = example.public_url.clone();
        if !provider.rule.wants_public_keys() {
            sign(&provider.rule, &keys, &mut draft, 1_800_000_000).unwrap();
            let verified = check(&provider.rule, &keys, &draft.request(), 1_800_000_000);
            assert!(verified.is_ok(), "{name}: {verified:?} for {draft:?}");
        }
        assert_eq!(provider.handshake(&draft.request(), true), None, "{name}: the sample is a challenge");
        let found = provider.extract(&draft.request(), &draft.body);
        if let Some(place) = event.id.first() {
            let mut proof = None;
            edit_signature(&provider.rule, &mut draft.clone(), |old| {
                proof = old;
                None
            });
            // A signature in the body may be the id as well.
            let given = found.id.as_ref().is_some_and(|id| id.contains("evt-77")) || found.id == proof;
            assert!(given, "{name}: {place} of {found:?}");
        }
        match event.kind.first() {
            None => {}
            Some(Value::Text(always) | Value::If(always, _)) => assert_eq!(found.kind.as_ref(), Some(always), "{name}"),
            Some(_) => assert_eq!(found.kind.as_deref(), Some("thing.done"), "{name}: {draft:?}"),
        }
        if !event.time.is_empty() {
            assert_eq!(found.time.as_deref(), Some("2027-01-15T08:00:00Z"), "{name}");
        }
        let own = provider.sample("evt-77", None, 1_800_000_000).unwrap();
        let kind = provider.extract(&own.request(), &own.body).kind;
        if !event.kind.is_empty() {
            assert_eq!(kind.as_deref(), Some(provider.contract.sample.kind.as_str()), "{name}");
        }
    });
}

#[test]
fn every_provider_tells_the_operator_what_to_do() {
    for name in names() {
        let contract = provider(name).unwrap().contract;
        assert!(contract.docs.is_some_and(|docs| docs.starts_with("https://")), "{name}");
        assert!(contract.setup.is_some_and(|setup| setup.len() > 40), "{name}");
    }
}
