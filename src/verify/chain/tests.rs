use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::event::Secret;
use crate::verify::{Draft, Rule, Spec, check};

const NOW_S: i64 = 1_700_000_000;
const LEAF: &[u64] = &[1, 2, 840, 113_635, 100, 6, 11, 1];
const ISSUER: &[u64] = &[1, 2, 840, 113_635, 100, 6, 2, 1];

/// Certificates as a sender has them: of its key, of its issuer and of the root.
struct Sender {
    key: KeyPair,
    chain: [Certificate; 3],
}

fn params(name: &str, oid: Option<&[u64]>, authority: bool) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = time::OffsetDateTime::from_unix_timestamp(NOW_S - 10).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(NOW_S + 10).unwrap();
    params.custom_extensions.extend(oid.map(|oid| CustomExtension::from_oid_content(oid, vec![5, 0])));
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

impl Sender {
    fn new(leaf: Option<&[u64]>, issuer: Option<&[u64]>) -> Self {
        let [root_key, issuer_key, key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let (root, issuer) = (params("root", None, true), params("issuer", issuer, true));
        let by_root = Issuer::from_params(&root, &root_key);
        let chain = [
            params("leaf", leaf, false).signed_by(&key, &Issuer::from_params(&issuer, &issuer_key)).unwrap(),
            issuer.signed_by(&issuer_key, &by_root).unwrap(),
            root.self_signed(&root_key).unwrap(),
        ];
        Self { key, chain }
    }

    fn rule(&self) -> Rule {
        let spec = format!(
            "kind = 'jwt'\ntoken = {{ header = 'token' }}\nalgorithms = ['ES256']\n\
             x5c = {{ roots = [\"\"\"{}\"\"\"], leaf_oid = '1.2.840.113635.100.6.11.1', \
             issuer_oid = '1.2.840.113635.100.6.2.1' }}",
            self.chain[2].pem()
        );
        Rule::new(toml::from_str::<Spec>(&spec).unwrap()).unwrap()
    }

    /// A token that shows these certificates.
    fn token(&self, shown: &[&Certificate]) -> Draft {
        let shown: Vec<_> = shown.iter().map(|shown| STANDARD.encode(shown.der())).collect();
        let header = serde_json::json!({ "alg": "ES256", "x5c": shown }).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, self.key.serialized_der()).unwrap();
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        let mut draft = Draft::default();
        draft.set_header("token", format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)));
        draft
    }

    fn whole(&self) -> Draft {
        let [leaf, issuer, root] = &self.chain;
        self.token(&[leaf, issuer, root])
    }
}

fn judge(rule: &Rule, draft: &Draft, now_s: i64) -> Result<Option<usize>, Refusal> {
    check(rule, &rule.keys(&[]).unwrap(), &draft.request(), now_s).map(|verified| verified.key())
}

#[test]
fn a_chain_is_believed_as_long_as_it_leads_to_a_trusted_root() {
    let sender = Sender::new(Some(LEAF), Some(ISSUER));
    let (rule, [leaf, issuer, root]) = (sender.rule(), &sender.chain);
    assert_eq!(judge(&rule, &sender.whole(), NOW_S), Ok(Some(0)));
    assert_eq!(judge(&rule, &sender.token(&[leaf, issuer]), NOW_S), Ok(Some(0)), "the root is ours anyway");
    assert!([NOW_S - 10, NOW_S + 10].iter().all(|now_s| judge(&rule, &sender.whole(), *now_s).is_ok()));
    for now_s in [NOW_S - 11, NOW_S + 11, -1] {
        assert_eq!(judge(&rule, &sender.whole(), now_s), Err(Refusal::Mismatch), "{now_s}");
    }
    let other = Sender::new(Some(LEAF), Some(ISSUER));
    assert_eq!(judge(&rule, &other.whole(), NOW_S), Err(Refusal::Mismatch), "a root of anybody's");
    assert_eq!(judge(&rule, &other.token(&[&other.chain[0], issuer, root]), NOW_S), Err(Refusal::Mismatch));
    assert_eq!(judge(&rule, &other.token(&[leaf, issuer, root]), NOW_S), Err(Refusal::Mismatch), "not its key");
    let many = sender.token(&[&[leaf][..], &[issuer; 8]].concat());
    for shown in [sender.token(&[leaf]), sender.token(&[]), sender.token(&[issuer, leaf]), many] {
        assert_eq!(judge(&rule, &shown, NOW_S), Err(Refusal::Mismatch));
    }
    let needless = rule.keys(&[Secret::new(b"x".to_vec()).unwrap()]).unwrap_err();
    assert!(needless.to_string().contains("each token shows its certificate"), "{needless}");
    assert!(rule.supplies_keys() && !rule.fetches(&rule.keys(&[]).unwrap()));
}

#[test]
fn a_certificate_of_the_root_for_another_purpose_is_not_believed() {
    for (leaf, issuer) in [(None, Some(ISSUER)), (Some(LEAF), None), (Some(ISSUER), Some(LEAF))] {
        let sender = Sender::new(leaf, issuer);
        assert_eq!(judge(&sender.rule(), &sender.whole(), NOW_S), Err(Refusal::Mismatch), "{leaf:?} {issuer:?}");
    }
}

#[test]
fn a_source_may_trust_other_roots() {
    let (sender, other) = (Sender::new(Some(LEAF), Some(ISSUER)), Sender::new(Some(LEAF), Some(ISSUER)));
    let pem = |sender: &Sender| sender.chain[2].pem();
    let with = |texts: &str| sender.rule().with_options(&toml::from_str(texts).unwrap());
    let rule = with(&format!("trusted_roots = [\"\"\"{}\"\"\"]", pem(&other))).unwrap();
    assert_eq!(judge(&rule, &other.whole(), NOW_S), Ok(Some(0)));
    assert_eq!(judge(&rule, &sender.whole(), NOW_S), Err(Refusal::Mismatch));
    let both = with(&format!("trusted_roots = [\"\"\"{}\"\"\", \"\"\"{}\"\"\"]", pem(&other), pem(&sender))).unwrap();
    assert!([&other, &sender].iter().all(|sender| judge(&both, &sender.whole(), NOW_S).is_ok()));
    for wrong in ["['x']".to_owned(), format!("[\"\"\"{}\"\"\", 'x']", pem(&other))] {
        let wrong = with(&format!("trusted_roots = {wrong}")).unwrap_err();
        assert_eq!(wrong.problem, "has `trusted_roots` that are not certificates in PEM");
    }
    // A certificate in form alone.
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert!(with(&format!("trusted_roots = [\"\"\"{empty}\"\"\"]")).is_err());
}
