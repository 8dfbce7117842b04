//! What `--fault` does to a request, and the answer that it should then get.

use super::expect::Expect;
use super::template::set;
use crate::verify::{Draft, Rule, edit_signature};

/// A way in which a request is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Signature of somebody who does not know the secret
    BadSignature,
    /// Signed longer ago than the source tolerates
    Stale,
    /// No signature
    MissingSignature,
    /// The same request twice
    Duplicate,
    /// Body changed after signing
    Tampered,
    /// Body larger than the source takes
    Oversized,
}

/// How long before the oldest tolerated time a stale request is signed, seconds.
const STALE_BY_S: i64 = 3_600;

/// Longest time for which a token that `send` signs is good, seconds.
const TOKEN_S: i64 = 3_600;

/// The faults of one run, checked against the scheme of its source.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    all: Vec<Fault>,
    /// Seconds to sign too early.
    early_s: i64,
}

impl Faults {
    /// Checks that a source with this `rule` can have `faults`.
    ///
    /// # Errors
    /// The first fault that the scheme does not know: it would not be refused, so nothing would be shown.
    pub fn new(faults: &[Fault], rule: &Rule) -> anyhow::Result<Self> {
        let has = |fault| faults.contains(&fault);
        let signed = rule.method() != "none";
        if has(Fault::BadSignature) || has(Fault::MissingSignature) {
            anyhow::ensure!(signed, "this source verifies nothing, so it has no signature to leave out or to spoil");
        }
        if has(Fault::Tampered) {
            anyhow::ensure!(tampers(rule), "this source's provider does not sign the body, so a tampered one passes");
        }
        let early_s = match (has(Fault::Stale), rule.tolerance_s()) {
            (false, _) => 0,
            (true, Some(tolerance)) => i64::try_from(tolerance).unwrap_or(i64::MAX).saturating_add(STALE_BY_S),
            // A token bears its own end.
            (true, None) if rule.method().starts_with("jwt") => TOKEN_S.saturating_add(STALE_BY_S),
            (true, None) => anyhow::bail!("this source's provider signs no time, so nothing is ever stale"),
        };
        Ok(Self { all: faults.to_vec(), early_s })
    }

    fn has(&self, fault: Fault) -> bool {
        self.all.contains(&fault)
    }

    /// Whether the body is to be larger than the source takes.
    pub fn oversized(&self) -> bool {
        self.has(Fault::Oversized)
    }

    /// The time to sign with, where it is `now_s`; Unix time, seconds.
    pub fn signing_time_s(&self, now_s: i64) -> i64 {
        now_s.saturating_sub(self.early_s)
    }

    /// Spoils a signed request.
    pub fn spoil(&self, rule: &Rule, draft: &mut Draft) {
        if self.has(Fault::Tampered) {
            let mut signature = None;
            edit_signature(rule, draft, |value| {
                signature = value;
                signature.clone()
            });
            tamper(rule, draft);
            if !rule.covers_form() {
                edit_signature(rule, draft, |_| signature);
            }
        }
        if self.has(Fault::MissingSignature) {
            edit_signature(rule, draft, |_| None);
        } else if self.has(Fault::BadSignature) {
            let is_token = matches!(rule.method(), "token" | "basic");
            edit_signature(rule, draft, |value| value.map(|value| altered(&value, is_token)));
        }
    }

    /// What each copy of the request should be answered.
    pub fn expected(&self) -> Vec<Expect> {
        let refused = |status, code| Some(Expect::Refusal { status, codes: code });
        // In the order of the ingress: size, signature, time.
        let refusal = if self.has(Fault::Oversized) {
            refused(413, &["body_too_large"])
        } else if self.has(Fault::MissingSignature) {
            refused(401, &["signature_missing"])
        } else if self.has(Fault::BadSignature) || self.has(Fault::Tampered) {
            refused(401, &["signature_mismatch"])
        } else if self.has(Fault::Stale) {
            refused(401, &["timestamp_out_of_tolerance"])
        } else {
            None
        };
        match (refusal, self.has(Fault::Duplicate)) {
            (None, false) => vec![Expect::Success],
            (None, true) => vec![Expect::Success, Expect::Duplicate],
            (Some(refusal), false) => vec![refusal],
            (Some(refusal), true) => vec![refusal, refusal],
        }
    }
}

/// Whether a change of the body, or of a part of it, can be noticed.
fn tampers(rule: &Rule) -> bool {
    rule.covers_form() || !rule.covered_pointers().is_empty() || !rule.covered_form_fields().is_empty()
}

/// Changes what the signature covers of the body.
fn tamper(rule: &Rule, draft: &mut Draft) {
    if rule.covers_form() {
        // Blank space is no change to a JSON reader: only a check of the very bytes notices.
        draft.body.push(b' ');
        return;
    }
    let json = serde_json::from_slice::<serde_json::Value>(&draft.body).unwrap_or_default();
    let pointers = rule.covered_pointers();
    let place = pointers.iter().find_map(|pointer| Some((pointer, json.pointer(pointer)?)));
    let changed = place.is_some_and(|(pointer, old)| {
        let old = old.as_str().map_or_else(|| old.to_string(), str::to_owned);
        set(&mut draft.body, pointer, &format!("{old}0")).is_ok()
    });
    if let (false, Some((field, _))) = (changed, rule.covered_form_fields().first()) {
        draft.edit_form(field, |old| old.map(|old| other_text(&old)));
    }
}

/// Another value of a form field; JSON stays JSON, with another end of each of its strings.
fn other_text(old: &str) -> String {
    fn alter(json: &mut serde_json::Value) {
        match json {
            serde_json::Value::String(text) => text.push('0'),
            serde_json::Value::Array(items) => items.iter_mut().for_each(alter),
            serde_json::Value::Object(members) => members.values_mut().for_each(alter),
            _ => {}
        }
    }
    match serde_json::from_str::<serde_json::Value>(old) {
        Ok(mut json) if json.is_object() => {
            alter(&mut json);
            json.to_string()
        }
        _ => format!("{old}0"),
    }
}

/// `value` with one character of its signature changed; it stays hex or base64 as it was.
fn altered(value: &str, is_token: bool) -> String {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b"+/_-".contains(&b);
    let mut words = Vec::new();
    let mut start = None;
    for (at, b) in value.bytes().chain([b' ']).enumerate() {
        match (is_word(b), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    // A signature is longer than the labels beside it; a token may not be, but stands last.
    let word = if is_token { words.last() } else { words.iter().max_by_key(|word| word.len()) };
    let Some(word) = word else { return "0".to_owned() };
    let middle = word.start + word.len() / 2;
    let mut bytes = value.as_bytes().to_vec();
    if let Some(byte) = bytes.get_mut(middle) {
        *byte = if *byte == b'0' { b'1' } else { b'0' };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
