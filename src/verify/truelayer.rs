//! TrueLayer: a detached JSON Web Signature (RFC 7515, appendix F) over method, path, listed headers and body.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value as Json;

use super::field::{Field, FieldSpec, header_name, header_once};
use super::material::{PublicKey, Scheme};
use super::origin::{OriginSpec, Wanted};
use super::template::signed_path;
use super::{MAX_SIGNATURES, Refusal, RuleError};
use crate::event::Request;

/// `kind = "truelayer"`.
#[derive(Debug, Clone, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrueLayerSpec {
    /// Where keys come from; from which set, the signature says by `jku`.
    pub keys: OriginSpec,
}

/// The scheme, ready to check.
#[derive(Debug, Clone)]
pub(super) struct TrueLayer {
    pub(super) signature: Field,
}

/// A signature, taken apart.
pub(super) struct Parts {
    text: String,
    header: Json,
}

impl Parts {
    pub(super) fn wanted(&self) -> Wanted<'_> {
        let text = |name: &str| self.header.get(name).and_then(Json::as_str);
        Wanted { id: text("kid"), url: text("jku") }
    }
}

impl TrueLayer {
    pub(super) fn new() -> Result<Self, RuleError> {
        let header = FieldSpec { header: Some("tl-signature".to_owned()), ..FieldSpec::default() };
        Ok(Self { signature: Field::new(header, "signature")? })
    }

    pub(super) fn read(&self, request: &Request) -> Result<Parts, Refusal> {
        let text = String::from_utf8(self.signature.only(request)?.into_owned()).map_err(|_| Refusal::Mismatch)?;
        let header = text.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let header: Json = header.and_then(|json| serde_json::from_slice(&json).ok()).ok_or(Refusal::Mismatch)?;
        let is = |name: &str, value: &str| header.get(name).and_then(Json::as_str) == Some(value);
        if !is("alg", "ES512") || !is("tl_version", "2") || header.get("crit").is_some() {
            return Err(Refusal::Mismatch);
        }
        Ok(Parts { text, header })
    }

    pub(super) fn check(&self, keys: &[&PublicKey], parts: &Parts, request: &Request) -> Result<(), Refusal> {
        let mut pieces = parts.text.split('.');
        let (Some(header), Some(""), Some(signature), None) =
            (pieces.next(), pieces.next(), pieces.next(), pieces.next())
        else {
            return Err(Refusal::Mismatch);
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Mismatch)?;
        let mut headers = Vec::new();
        let names = parts.header.get("tl_headers").and_then(Json::as_str).unwrap_or_default();
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let lower = header_name(name, "signature").map_err(|_| Refusal::Mismatch)?;
            headers.extend([name.as_bytes(), b": ", header_once(request, &lower)?, b"\n"].concat());
            if headers.len() > MAX_SIGNATURES * 1024 {
                return Err(Refusal::Mismatch);
            }
        }
        let path = signed_path(request);
        // The sender's own library takes a path with and without its last slash for the same.
        let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
        let right = [path.as_str(), other.as_str()].into_iter().any(|path| {
            let start = format!("{} {path}\n", request.method);
            let payload = URL_SAFE_NO_PAD.encode([start.as_bytes(), &headers, request.body].concat());
            let message = format!("{header}.{payload}");
            keys.iter().any(|key| key.verifies(Scheme::EcdsaP521Fixed, message.as_bytes(), &signature))
        });
        if right { Ok(()) } else { Err(Refusal::Mismatch) }
    }
}
