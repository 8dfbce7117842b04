//! Plain hashes of a text that holds the secret: the older schemes of HubSpot, Cloudinary, Lark and Midtrans.
//!
//! A hash with the secret at its beginning can be extended by who does not know it; a sender that chose this scheme is
//! believed no more than it can be.

use std::time::Duration;

use serde::Deserialize;

use super::field::FieldSpec;
use super::hmac::Hash;
use super::sign::{Draft, SignError};
use super::signed::{Bytes, Encoding, Signed, five_minutes};
use super::stamp::StampSpec;
use super::{Refusal, RuleError};
use crate::event::{Request, Secret, schema, units};

/// `kind = "digest"`.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestSpec {
    /// The hash function.
    #[serde(default)]
    pub hash: Hash,
    /// How the digest is written.
    pub encoding: Encoding,
    /// Where the digests stand.
    pub signature: FieldSpec,
    /// Where the time of signing stands; without it nothing bounds a replay.
    #[serde(default)]
    pub timestamp: Option<StampSpec>,
    /// What is hashed, e.g. `"{body}{timestamp}{secret}"`.
    pub message: String,
    /// As in [`super::HmacSpec`].
    #[serde(default = "five_minutes", deserialize_with = "units::duration")]
    #[schemars(with = "schema::Duration")]
    pub tolerance: Duration,
}

/// A compiled [`DigestSpec`].
#[derive(Debug, Clone)]
pub(super) struct Digest {
    hash: Hash,
    pub(super) signed: Signed,
}

impl Digest {
    pub(super) fn new(spec: DigestSpec) -> Result<Self, RuleError> {
        let signed = Signed::new(spec.encoding, spec.signature, spec.timestamp, &spec.message, spec.tolerance)?;
        if !signed.message.covers_secret() {
            return Err(RuleError::new("message", "lacks {secret}, so anybody could compute the digest"));
        }
        Ok(Self { hash: spec.hash, signed })
    }

    pub(super) fn method(&self) -> &'static str {
        match self.hash {
            Hash::Md5 => "digest-md5",
            Hash::Sha1 => "digest-sha1",
            Hash::Sha256 => "digest-sha256",
            Hash::Sha384 => "digest-sha384",
            Hash::Sha512 => "digest-sha512",
        }
    }

    /// The position of the secret that matches.
    pub(super) fn check(&self, keys: &[Secret], request: &Request, now_s: i64) -> Result<usize, Refusal> {
        let proof = self.signed.read(request)?;
        let mut matched = None;
        for (n, key) in keys.iter().enumerate() {
            let message = self.signed.message(request, proof.time(), Some(key.expose()))?;
            let digest = self.digest(&message);
            for signature in proof.signatures() {
                if digest.is(&signature) {
                    matched = matched.or(Some(n));
                }
            }
        }
        let key = matched.ok_or(Refusal::Mismatch)?;
        self.signed.fresh(&proof, now_s)?;
        Ok(key)
    }

    pub(super) fn sign(&self, keys: &[Secret], draft: &mut Draft, now_s: i64) -> Result<(), SignError> {
        let key = keys.first().ok_or(SignError::WrongKeys)?;
        self.signed.write(draft, now_s, Some(key.expose()), |message| self.digest(message))
    }

    fn digest<P: AsRef<[u8]>>(&self, message: &[P]) -> Bytes {
        fn run<H: sha2::Digest, P: AsRef<[u8]>>(message: &[P]) -> Bytes {
            let mut hash = H::new();
            message.iter().for_each(|piece| hash.update(piece.as_ref()));
            Bytes::new(&hash.finalize())
        }
        match self.hash {
            Hash::Md5 => run::<md5::Md5, P>(message),
            Hash::Sha1 => run::<sha1::Sha1, P>(message),
            Hash::Sha256 => run::<sha2::Sha256, P>(message),
            Hash::Sha384 => run::<sha2::Sha384, P>(message),
            Hash::Sha512 => run::<sha2::Sha512, P>(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Keys, Rule, Spec, check, sign};

    const SPEC: &str = "kind = 'digest'\nencoding = 'hex'\nmessage = '{secret}{body}'\nsignature = { header = 's' }";

    fn rule(spec: &str) -> Result<Rule, RuleError> {
        Rule::new(toml::from_str::<Spec>(spec).unwrap())
    }

    fn keys(rule: &Rule) -> Keys {
        rule.keys(&["new", "old"].map(|s| Secret::new(s.into()).unwrap())).unwrap()
    }

    #[test]
    fn a_digest_of_any_secret_is_accepted_and_nothing_else() {
        let rule = rule(SPEC).unwrap();
        let judge = |signature: &str, body: &str| {
            let mut draft = Draft { body: body.into(), ..Draft::default() };
            draft.set_header("s", signature);
            check(&rule, &keys(&rule), &draft.request(), 0).map(|verified| verified.key())
        };
        // hashlib.sha256(b"oldbody").hexdigest() of python3.
        let right = "8aad9c0c723e6afcab6801dc2dac0a051731622d8cb48666618c81a496fdf271";
        assert_eq!(judge(right, "body"), Ok(Some(1)));
        assert_eq!(judge(right, "body "), Err(Refusal::Mismatch));
        assert_eq!(judge(&right[1..], "body"), Err(Refusal::Mismatch));
        assert_eq!(judge("", "body"), Err(Refusal::Missing));
    }

    #[test]
    fn what_we_sign_we_accept() {
        for hash in ["md5", "sha1", "sha256", "sha384", "sha512"] {
            let rule = rule(&format!("{SPEC}\nhash = '{hash}'")).unwrap();
            let mut draft = Draft { body: b"x".to_vec(), ..Draft::default() };
            sign(&rule, &keys(&rule), &mut draft, 0).unwrap();
            assert_eq!(check(&rule, &keys(&rule), &draft.request(), 0).unwrap().method(), format!("digest-{hash}"));
        }
    }

    #[test]
    fn a_digest_without_the_secret_is_no_proof() {
        assert_eq!(rule(&SPEC.replace("{secret}", "")).unwrap_err().key, "message");
    }
}
