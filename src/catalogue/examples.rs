//! Every provider file against its own examples: accepted as they are, refused once tampered with.

use super::*;
use crate::event::Secret;
use crate::verify::{Draft, Keys, Refusal, Verified, check, sign};

fn keys(provider: &Provider, secret: &str) -> Keys {
    provider.rule.keys(&[Secret::new(secret.into()).unwrap()]).unwrap()
}

fn draft(example: &Example) -> Draft {
    Draft {
        method: example.method.clone(),
        path: example.path.clone(),
        query: example.query.clone(),
        public_url: example.public_url.clone(),
        headers: example.headers.clone().into_iter().collect(),
        body: example.body.clone().into_bytes(),
    }
}

/// One tampered copy of an example, under test.
struct Case<'a> {
    provider: &'a Provider,
    example: &'a Example,
}

impl Case<'_> {
    fn verify(&self, at: i64, secret: &str, tamper: impl FnOnce(&mut Draft)) -> Result<Verified, Refusal> {
        let mut draft = draft(self.example);
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

fn cases(each: impl Fn(Case)) {
    for name in names() {
        let provider = provider(name).unwrap();
        assert!(!provider.contract.example.is_empty(), "{name} has no example");
        provider.contract.example.iter().for_each(|example| each(Case { provider: &provider, example }));
    }
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
fn every_example_is_accepted_and_read() {
    cases(|Case { provider, example }| {
        let (name, draft) = (&provider.id, draft(example));
        let verified = check(&provider.rule, &keys(provider, &example.secret), &draft.request(), example.now);
        assert_eq!(verified.map(|v| v.method()), Ok(provider.rule.method()), "{name}");
        let extracted = provider.extract(&draft.request(), &draft.body);
        let Expect { id, kind, time, subject, reply } = example.expect.clone();
        let is_json = serde_json::from_slice::<serde_json::Value>(&draft.body).is_ok();
        assert_eq!(extracted, Extracted { is_json, id, kind, time, subject, partition_key: None }, "{name}");
        assert_eq!(provider.handshake(&draft.request(), true).map(|reply| reply.body), reply, "{name}");
    });
}

#[test]
fn an_older_secret_still_verifies() {
    cases(|Case { provider, example }| {
        let secrets = ["MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw", &example.secret].map(|s| Secret::new(s.into()).unwrap());
        let keys = provider.rule.keys(&secrets).unwrap();
        let verified = check(&provider.rule, &keys, &draft(example).request(), example.now).unwrap();
        assert_eq!(verified.key(), Some(1), "{}", provider.id);
    });
}

#[test]
fn a_tampered_copy_is_refused() {
    cases(|case| {
        let rule = &case.provider.rule;
        let signature = rule.signature_header().unwrap();
        let value = case.example.headers[signature].clone();
        if rule.covers_body() {
            case.refused("a changed body", &[Refusal::Mismatch], |draft| draft.body.push(b' '));
            case.refused("no body", &[Refusal::Mismatch], |draft| draft.body.clear());
        }
        case.refused("no signature", &[Refusal::Missing], |draft| draft.headers.retain(|(name, _)| name != signature));
        case.refused("an empty signature", &[Refusal::Missing], |draft| draft.set_header(signature, ""));
        case.refused("half a signature", &[Refusal::Mismatch], |draft| {
            draft.set_header(signature, &value[..value.len() / 2 + 1]);
        });
        case.refused("the signature twice", &[Refusal::Mismatch], |draft| {
            draft.headers.push((signature.to_ascii_uppercase(), value.clone()));
        });
        case.refused("another header of the signature before it", &[Refusal::Mismatch], |draft| {
            draft.headers.insert(0, (signature.to_owned(), "v1=00".to_owned()));
        });
        for name in rule.covered_headers() {
            case.refused("a changed header", &[Refusal::Mismatch], |draft| draft.set_header(name, "other"));
            case.refused("no header", &[Refusal::Missing], |draft| draft.headers.retain(|(key, _)| key != name));
        }
    });
}

#[test]
fn a_changed_signature_or_another_secret_is_refused() {
    cases(|case| {
        let signature = case.provider.rule.signature_header().unwrap();
        // Every signature of a list is changed: one that stays right would be accepted.
        let separators: &[char] = &[' ', ','];
        let changed = |value: &str| {
            let items = value.split_inclusive(separators).map(|item| {
                let mut item = item.to_owned();
                if item.len() > 20 {
                    change(&mut item);
                }
                item
            });
            items.collect::<String>()
        };
        let mut value = changed(&case.example.headers[signature]);
        if value == case.example.headers[signature] {
            change(&mut value);
        }
        case.refused("a changed signature", &[Refusal::Mismatch], |draft| draft.set_header(signature, value));
        let other = case.verify(case.example.now, "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw", |_| {});
        assert_eq!(other, Err(Refusal::Mismatch), "{}", case.provider.id);
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
            let forged = case.verify(at, "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw", |_| {});
            assert_eq!(forged, Err(Refusal::Mismatch), "{} at {at}", case.provider.id);
        }
    });
}

#[test]
fn a_sample_is_accepted_and_carries_the_id_and_type_it_was_given() {
    cases(|Case { provider, example }| {
        let keys = keys(provider, &example.secret);
        let mut draft = provider.sample("evt-77", Some("thing.done"), 1_800_000_000).unwrap();
        sign(&provider.rule, &keys, &mut draft, 1_800_000_000).unwrap();
        check(&provider.rule, &keys, &draft.request(), 1_800_000_000).unwrap();
        let extracted = provider.extract(&draft.request(), &draft.body);
        let found = (extracted.is_json, extracted.id.as_deref(), extracted.kind.as_deref());
        assert_eq!(found, (true, Some("evt-77"), Some("thing.done")), "{}", provider.id);
        if !provider.contract.event.time.is_empty() {
            assert_eq!(extracted.time.as_deref(), Some("2027-01-15T08:00:00Z"), "{}", provider.id);
        }
        let own = provider.sample("evt-77", None, 1_800_000_000).unwrap();
        let kind = provider.extract(&own.request(), &own.body).kind;
        assert_eq!(kind.as_deref(), Some(provider.contract.sample.kind.as_str()), "{}", provider.id);
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
