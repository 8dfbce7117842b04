//! A token as it is sent: three parts with dots between (RFC 7515, the compact serialization).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;

use super::super::origin::Wanted;
use super::JwtAlgorithm;

/// What a token says; nothing of it is proved.
pub(super) struct Token<'t> {
    pub(super) header: Json,
    pub(super) algorithm: JwtAlgorithm,
    /// What the signature is of.
    pub(super) signed: &'t str,
    pub(super) signature: Vec<u8>,
    payload: &'t str,
}

impl<'t> Token<'t> {
    /// `None` for what no rule with these `algorithms` believes, whatever its key.
    pub(super) fn read(text: &'t [u8], algorithms: &[JwtAlgorithm]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim();
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.').filter(|(_, rest)| !rest.contains('.'))?;
        let header = object(header)?;
        let algorithm = header.get("alg").and_then(Json::as_str).and_then(JwtAlgorithm::named);
        let algorithm = algorithm.filter(|algorithm| algorithms.contains(algorithm))?;
        // `crit` names what a reader must understand; nothing of it is understood here.
        if header.get("crit").is_some() {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { header, algorithm, signed, signature, payload })
    }

    /// The key that it names.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        let text = |name: &str| self.header.get(name).and_then(Json::as_str);
        Wanted { id: text("kid"), url: text("jku") }
    }

    pub(super) fn claims(&self) -> Option<Json> {
        object(self.payload)
    }
}

/// A part of a token that is a JSON object.
fn object(part: &str) -> Option<Json> {
    let json: Json = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    json.is_object().then_some(json)
}
