//! Chains of certificates, up to a root that is trusted.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Deserialize;
use serde_json::Value as Json;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::material::{self, PublicKey};
use super::{Refusal, RuleError};
use crate::event::Options;

/// Most certificates of a chain that a request may show.
const MAX_CHAIN: usize = 8;

/// `x5c`: the token itself shows the certificate of its key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// The roots that are trusted, in PEM; a source's option `trusted_roots` stands in their place.
    pub roots: Vec<String>,
    /// Object identifier that the certificate of the key must bear, e.g. `1.2.840.113635.100.6.11.1`.
    #[serde(default)]
    pub leaf_oid: Option<String>,
    /// Object identifier that its issuer's certificate must bear.
    #[serde(default)]
    pub issuer_oid: Option<String>,
}

/// A compiled [`ChainSpec`].
#[derive(Debug, Clone)]
pub(super) struct Chain {
    roots: Roots,
    leaf_oid: Option<String>,
    issuer_oid: Option<String>,
}

/// Certificates that are trusted by themselves, in DER.
#[derive(Debug, Clone, Default)]
pub(super) struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Reads PEM texts.
    pub(super) fn read(texts: &[String]) -> Option<Self> {
        let ders: Vec<Vec<Vec<u8>>> = texts.iter().map(|text| material::certificates(text.as_bytes())).collect();
        let all_there = !ders.is_empty() && ders.iter().all(|ders| !ders.is_empty());
        let roots = Self(ders.into_iter().flatten().map(CertificateDer::from).collect());
        (all_there && roots.anchors().len() == roots.0.len()).then_some(roots)
    }

    fn anchors(&self) -> Vec<TrustAnchor<'_>> {
        self.0.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect()
    }

    /// Whether `chain` (the key's certificate, then its issuers) leads to a root at `now_s`.
    pub(super) fn lead_to(&self, chain: &[Vec<u8>], now_s: i64) -> bool {
        let Some((leaf, issuers)) = chain.split_first() else { return false };
        let leaf = CertificateDer::from(leaf.as_slice());
        let issuers: Vec<_> = issuers.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let Ok(leaf) = EndEntityCert::try_from(&leaf) else { return false };
        let Ok(seconds) = u64::try_from(now_s) else { return false };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(algorithms, &self.anchors(), &issuers, now, KeyUsage::server_auth(), None, None).is_ok()
    }
}

impl Chain {
    pub(super) fn new(spec: ChainSpec) -> Result<Self, RuleError> {
        let roots = Roots::read(&spec.roots);
        let roots = roots.ok_or_else(|| RuleError::new("x5c", "has `roots` that are not certificates in PEM"))?;
        Ok(Self { roots, leaf_oid: spec.leaf_oid, issuer_oid: spec.issuer_oid })
    }

    pub(super) fn with_options(&mut self, options: &Options) -> Result<(), RuleError> {
        let pinned = options.texts("trusted_roots");
        if !pinned.is_empty() {
            self.roots = Roots::read(pinned).ok_or_else(not_roots)?;
        }
        Ok(())
    }

    /// The key of a token whose `header` shows its chain.
    pub(super) fn key(&self, header: &Json, now_s: i64) -> Result<PublicKey, Refusal> {
        let shown = header.get("x5c").and_then(Json::as_array).ok_or(Refusal::Mismatch)?;
        if !(2..=MAX_CHAIN).contains(&shown.len()) {
            return Err(Refusal::Mismatch);
        }
        let der = |text: &Json| STANDARD.decode(text.as_str()?).ok();
        let chain: Vec<_> = shown.iter().map(der).collect::<Option<_>>().ok_or(Refusal::Mismatch)?;
        let marked = |n: usize, oid: &Option<String>| oid.as_ref().is_none_or(|oid| bears(chain.get(n), oid));
        if !marked(0, &self.leaf_oid) || !marked(1, &self.issuer_oid) || !self.roots.lead_to(&chain, now_s) {
            return Err(Refusal::Mismatch);
        }
        chain.first().and_then(|der| material::certificate_key(der)).ok_or(Refusal::Mismatch)
    }
}

pub(super) fn not_roots() -> RuleError {
    RuleError::new("options", "has `trusted_roots` that are not certificates in PEM")
}

fn bears(der: Option<&Vec<u8>>, oid: &str) -> bool {
    let Some((_, certificate)) = der.and_then(|der| X509Certificate::from_der(der).ok()) else { return false };
    certificate.extensions().iter().any(|extension| extension.oid.to_id_string() == oid)
}

/// The key of a certificate that was fetched over https from a host of its sender: its name must be `name`
/// (`*.example.com`: any below it), and where the source trusts `roots` of its own, it must lead to one. It is believed
/// as long as it is valid.
pub(super) fn fetched_key(pem: &[u8], roots: Option<&Roots>, name: &str, now_s: i64) -> Result<PublicKey, String> {
    let chain = material::certificates(pem);
    let leaf = chain.first().ok_or("is no certificate in PEM")?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| "is no certificate")?;
    let mut names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let fits = |found: &str| match name.strip_prefix('*') {
        Some(domain) => found.to_ascii_lowercase().ends_with(domain),
        None => found.eq_ignore_ascii_case(name),
    };
    if !names.any(fits) {
        return Err(format!("is a certificate of another name than {name}"));
    }
    if roots.is_some_and(|roots| !roots.lead_to(&chain, now_s)) {
        return Err("is a certificate that leads to none of `trusted_roots`, or is out of date".to_owned());
    }
    let valid = certificate.validity();
    let mut key = material::certificate_key(leaf).ok_or("is a certificate without a usable key")?;
    key.valid_s = Some((valid.not_before.timestamp(), valid.not_after.timestamp()));
    Ok(key)
}

#[cfg(test)]
mod tests;
