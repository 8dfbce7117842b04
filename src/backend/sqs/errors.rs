//! What SQS and the SDK say, and whether it can heal.

use std::error::Error;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::BatchResultErrorEntry;

use crate::backend::{Failure, Reason};

/// A refusal or a failed call.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    reason: Reason,
    detail: String,
    permanent: bool,
}

/// Words of error codes that an operator or time can heal, whoever is said to be at fault.
const HEALS: [(&str, Reason); 16] = [
    ("NonExistentQueue", Reason::Missing),
    ("QueueDoesNotExist", Reason::Missing),
    ("QueueDeletedRecently", Reason::Missing),
    ("InvalidAddress", Reason::Missing),
    ("Throttl", Reason::Throttled),
    ("TooManyRequests", Reason::Throttled),
    ("OverLimit", Reason::Throttled),
    ("AccessDenied", Reason::Unauthorized),
    ("Security", Reason::Unauthorized),
    ("Token", Reason::Unauthorized),
    ("Signature", Reason::Unauthorized),
    ("AccessKey", Reason::Unauthorized),
    ("OptInRequired", Reason::Unauthorized),
    ("Kms", Reason::Refused),
    // The queue is of another kind than its URL says.
    ("MissingParameter", Reason::Refused),
    ("UnsupportedOperation", Reason::Refused),
];

/// Words of error codes that say that the message itself can never be taken.
const PERMANENT: [(&str, Reason); 5] = [
    ("BatchRequestTooLong", Reason::TooLarge),
    ("MessageTooLong", Reason::TooLarge),
    ("InvalidMessageContents", Reason::Invalid),
    ("InvalidParameterValue", Reason::Invalid),
    ("InvalidAttribute", Reason::Invalid),
];

impl Told {
    /// What one entry of a batch was refused for.
    pub fn of_entry(entry: &BatchResultErrorEntry) -> Self {
        Self::said(&entry.code, entry.message.as_deref().unwrap_or_default(), entry.sender_fault)
    }

    /// Why a call as a whole failed.
    pub fn by<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: std::fmt::Debug,
    {
        if let SdkError::ServiceError(service) = error {
            let said = service.err();
            return Self::said(said.code().unwrap_or("unknown error"), said.message().unwrap_or_default(), false);
        }
        let detail = chain(error);
        let reason = match error {
            SdkError::TimeoutError(_) => Reason::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Reason::Timeout,
            // The chain found no access key, or could not reach where it is kept.
            _ if detail.contains("credential") => Reason::Unauthorized,
            _ => Reason::Connection,
        };
        Self { reason, detail, permanent: false }
    }

    /// No call was made.
    pub fn late(detail: &str) -> Self {
        Self { reason: Reason::Timeout, detail: detail.to_owned(), permanent: false }
    }

    fn said(code: &str, message: &str, sender_fault: bool) -> Self {
        let detail = if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") };
        // `KMS.DisabledException` and `KmsDisabled` are the same: the old and the new protocol spell some of them otherwise.
        let code = code.to_ascii_lowercase();
        let known = |list: &[(&str, Reason)]| {
            list.iter().find(|(word, _)| code.contains(&word.to_ascii_lowercase())).map(|(_, reason)| *reason)
        };
        if let Some(reason) = known(&HEALS) {
            return Self { reason, detail, permanent: false };
        }
        match known(&PERMANENT) {
            // SQS has no code of its own for a message over the limit of the queue.
            Some(Reason::Invalid) if message.contains("must be shorter than") => {
                Self { reason: Reason::TooLarge, detail, permanent: true }
            }
            Some(reason) => Self { reason, detail, permanent: true },
            None if sender_fault => Self { reason: Reason::Invalid, detail, permanent: true },
            None => Self { reason: Reason::Refused, detail, permanent: false },
        }
    }

    /// Whether no later try can succeed.
    pub fn permanent(&self) -> bool {
        self.permanent
    }

    /// Whether the policy forbids the call, though the login is good.
    pub fn denied(&self) -> bool {
        self.reason == Reason::Unauthorized && self.detail.contains("AccessDenied")
    }

    /// The failure to report.
    pub fn failure(&self) -> Failure {
        Failure::new(self.reason, self.detail.clone())
    }
}

/// The error and its causes on one line; a cause that the line already tells is left out.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, message: &str, sender_fault: bool, reason: Reason, permanent: bool) {
        let told = Told::said(code, message, sender_fault);
        assert_eq!((told.reason, told.permanent), (reason, permanent), "{code}");
    }

    #[test]
    fn only_what_can_never_be_taken_is_permanent() {
        check("InvalidMessageContents", "", true, Reason::Invalid, true);
        let long = "One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes.";
        check("InvalidParameterValue", long, true, Reason::TooLarge, true);
        check("SomethingNew", "", true, Reason::Invalid, true);
        check("SomethingNew", "", false, Reason::Refused, false);
        check("InternalError", "", false, Reason::Refused, false);
        check("RequestThrottled", "", true, Reason::Throttled, false);
        check("KmsThrottled", "", true, Reason::Throttled, false);
        check("KmsAccessDenied", "", true, Reason::Unauthorized, false);
        check("KmsDisabled", "", true, Reason::Refused, false);
        check("KMS.DisabledException", "", true, Reason::Refused, false);
        check("AWS.SimpleQueueService.NonExistentQueue", "", true, Reason::Missing, false);
        check("InvalidClientTokenId", "", true, Reason::Unauthorized, false);
        check("SignatureDoesNotMatch", "", true, Reason::Unauthorized, false);
    }
}
