//! What the bridge should answer, and whether an answer is that.

use std::borrow::Cow;

use crate::cli::http::Answer;

/// The answer that a request should get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// 2xx.
    Success,
    /// 2xx; where the answer says what became of the event, that it is a duplicate.
    Duplicate,
    /// This status; where the answer names a problem, one of these.
    Refusal {
        /// Status code.
        status: u16,
        /// Codes of `urn:hookferry:problem:<code>`.
        codes: &'static [&'static str],
    },
}

/// What an answer says about the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Word<'a> {
    /// `accepted` or `duplicate`. A provider that demands another body leaves it out.
    #[serde(borrow)]
    pub status: Option<Cow<'a, str>>,
    /// The event's id.
    #[serde(borrow)]
    pub id: Option<Cow<'a, str>>,
}

#[derive(serde::Deserialize)]
struct Problem<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

impl Answer {
    /// What a 2xx answer says about the event; empty for any other answer.
    pub fn word(&self) -> Word<'_> {
        // A provider may demand any body at all, so one of another form says nothing rather than something wrong.
        if self.is_success() { serde_json::from_slice(&self.body).unwrap_or_default() } else { Word::default() }
    }

    /// The code of the problem that the answer names.
    pub fn problem(&self) -> Option<String> {
        let problem: Problem<'_> = serde_json::from_slice(&self.body).ok()?;
        problem.kind.strip_prefix("urn:hookferry:problem:").map(str::to_owned)
    }
}

impl Expect {
    /// Whether `answer` is the one.
    pub fn is_met(&self, answer: &Answer) -> bool {
        match self {
            Self::Success => answer.is_success(),
            Self::Duplicate => answer.is_success() && answer.word().status.is_none_or(|status| status == "duplicate"),
            Self::Refusal { status, codes } => {
                answer.status == *status && answer.problem().is_none_or(|code| codes.contains(&code.as_str()))
            }
        }
    }
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Success => f.write_str("2xx"),
            Self::Duplicate => f.write_str("2xx, duplicate"),
            Self::Refusal { status, codes } => write!(f, "{status}, {}", codes.join(" or ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::http::HeaderMap;

    const STALE: Expect = Expect::Refusal { status: 401, codes: &["timestamp_out_of_tolerance"] };

    #[track_caller]
    fn check(expect: Expect, status: u16, body: &'static str, met: bool) {
        let answer = Answer { status, headers: HeaderMap::new(), body: body.into() };
        assert_eq!(expect.is_met(&answer), met, "{expect} against {status} {body}");
    }

    #[test]
    fn a_success_is_any_2xx_whatever_body_the_provider_demands() {
        check(Expect::Success, 200, r#"{"status":"accepted","id":"evt_1"}"#, true);
        check(Expect::Success, 204, "", true);
        check(Expect::Success, 200, "[accepted]", true);
        check(Expect::Success, 503, r#"{"type":"urn:hookferry:problem:journal_full"}"#, false);
        check(Expect::Success, 302, "", false);
    }

    #[test]
    fn a_second_copy_must_not_be_called_new() {
        check(Expect::Duplicate, 200, r#"{"status":"duplicate","id":"evt_1"}"#, true);
        check(Expect::Duplicate, 200, r#"{"status":"accepted","id":"evt_1"}"#, false);
        check(Expect::Duplicate, 200, "Hello API Event Received", true);
        check(Expect::Duplicate, 409, "", false);
    }

    #[test]
    fn a_refusal_is_the_one_that_was_asked_for() {
        check(STALE, 401, r#"{"type":"urn:hookferry:problem:timestamp_out_of_tolerance","status":401}"#, true);
        check(STALE, 401, r#"{"type":"urn:hookferry:problem:signature_mismatch","status":401}"#, false);
        check(STALE, 200, r#"{"status":"accepted"}"#, false);
        check(STALE, 401, "", true);
    }
}
