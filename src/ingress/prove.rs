//! Signatures and challenges, where these take more than a look: keys that have to be fetched, secrets to be kept.

use std::net::IpAddr;

use tokio::time::{Instant, timeout_at};

use super::{Refusal, Source, limit};
use crate::catalogue::{Effect, Reply};
use crate::event::Request;
use crate::keys::{Found, Learnt};
use crate::verify::{self, Verified};

/// Checks the signature. Where a key has to be fetched first, waits for it until `deadline`; what cannot be checked for
/// our own lack of a key is never called wrong.
///
/// - `client`: the sender's address, whose requests name only so many unknown keys.
/// - `now_s`: Unix time, seconds.
///
/// # Errors
/// As [`verify::check`]; [`verify::Refusal::KeyAbsent`] where the key cannot be had now.
pub async fn verified(
    source: &Source,
    request: &Request<'_>,
    client: Option<IpAddr>,
    now_s: i64,
    deadline: Instant,
) -> Result<Verified, verify::Refusal> {
    let rule = &source.provider.rule;
    let check = || verify::check(rule, &source.keys.load(), request, now_s);
    let first = check();
    if first.is_ok() && source.keys.load().any_unproven() {
        rule.key_url(request).into_iter().for_each(|url| source.keys.proven(url));
    }
    if first != Err(verify::Refusal::KeyAbsent) {
        return first;
    }
    let url = rule.key_url(request).ok_or(verify::Refusal::Mismatch)?;
    match timeout_at(deadline, source.keys.fetch(url.clone(), client.map(limit::key))).await {
        // The sender's keys are fresh, and the one that the request names is not among them.
        Ok(Found::Fresh) => check().inspect(|_| source.keys.proven(url)).map_err(|refusal| match refusal {
            verify::Refusal::KeyAbsent => verify::Refusal::Mismatch,
            other => other,
        }),
        Ok(Found::Nothing) => Err(verify::Refusal::Mismatch),
        Ok(Found::Unreachable) | Err(_) => Err(verify::Refusal::KeyAbsent),
    }
}

/// Does what a challenge asks for; only then it may be answered.
pub async fn act(source: &Source, reply: &mut Reply, deadline: Instant) -> Result<(), Refusal> {
    let learnt = match reply.effect.take() {
        None => return Ok(()),
        Some(Effect::Visit(url)) => {
            return if source.keys.visit(url) { Ok(()) } else { Err(Refusal::KeyUnavailable) };
        }
        Some(Effect::Learn { secret, first_only }) => timeout_at(deadline, source.keys.learn(secret, first_only)).await,
        Some(Effect::Show(text)) => timeout_at(deadline, source.keys.show(text)).await,
    };
    match learnt {
        Ok(Learnt::Kept | Learnt::Refused) => Ok(()),
        Ok(Learnt::Failed) | Err(_) => Err(Refusal::KeyUnavailable),
    }
}
