//! Examples: requests with the answers that a contract promises, held against what it does.

use std::fmt;

use super::contract::Example;
use super::{Expect, Provider};
use crate::event::Secret;
use crate::verify::{self, Draft};

/// An example that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Which one, from 0.
    pub number: usize,
    /// Why: what was expected, and what came. Never a secret.
    pub why: String,
}

impl Example {
    /// The request.
    pub fn draft(&self) -> Draft {
        Draft {
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            public_url: self.public_url.clone(),
            headers: self.headers.clone().into_iter().collect(),
            body: self.body.clone().into_bytes(),
        }
    }
}

impl Provider {
    /// Every example that does not hold, with the first reason.
    pub fn unmet(&self) -> Vec<Unmet> {
        let all = self.contract.example.iter().enumerate();
        all.filter_map(|(number, example)| Some(Unmet { number, why: self.prove(example).err()? })).collect()
    }

    /// Holds one example against the contract: it is proven (or bears no proof and is a challenge), read, and answered
    /// as it expects.
    fn prove(&self, example: &Example) -> Result<(), String> {
        if !self.contract.methods.contains(&example.method) {
            return Err(format!("its method {} is not among `methods`", example.method));
        }
        let secrets: Vec<_> = Secret::new(example.secret.clone().into()).into_iter().collect();
        let provider = self.clone().with_own(&secrets, example.options.clone());
        let provider = provider.map_err(|error| error.to_string())?;
        let draft = example.draft();
        let request = draft.request();
        let early = provider.handshake(&request, false);
        match (&early, example.unsigned) {
            (Some(_), false) => return Err("it is answered as a handshake before its proof is looked at".to_owned()),
            (None, true) => return Err("it is `unsigned`, but no handshake without `signed` answers it".to_owned()),
            _ => {}
        }
        if !example.unsigned {
            let keys = if secrets.is_empty() && provider.learns() {
                provider.rule.no_keys()
            } else {
                provider.rule.keys(&secrets)
            };
            let keys = keys.map_err(|error| format!("its `secret` cannot serve: {error}"))?;
            if let Err(refusal) = verify::check(&provider.rule, &keys, &request, example.now) {
                let seen = verify::explain(&provider.rule, &keys, &request, refusal, example.now);
                return Err(format!("it is refused: {}", [vec![refusal.to_string()], seen].concat().join("; ")));
            }
            let found = provider.extract(&request, &draft.body);
            let Expect { id, kind, time, subject, .. } = &example.expect;
            same("id", id.as_ref(), found.id.as_ref())?;
            same("type", kind.as_ref(), found.kind.as_ref())?;
            same("time", time.as_ref(), found.time.as_ref())?;
            same("subject", subject.as_ref(), found.subject.as_ref())?;
        }
        let reply = early.or_else(|| provider.handshake(&request, true)).unwrap_or_default();
        let answered = reply.status != 0;
        same("reply", example.expect.reply.as_ref(), answered.then_some(&reply.body))?;
        let headers = |list: Vec<(&String, &String)>| {
            let list: Vec<String> = list.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            (!list.is_empty()).then(|| list.join(", "))
        };
        let wanted = headers(example.expect.reply_headers.iter().collect());
        let mut given: Vec<_> = reply.headers.iter().map(|(name, value)| (name, value)).collect();
        given.sort();
        same("reply_headers", wanted.as_ref(), headers(given).as_ref())
    }
}

fn same<T: PartialEq + fmt::Display>(key: &str, expected: Option<&T>, found: Option<&T>) -> Result<(), String> {
    match (expected, found) {
        (Some(expected), Some(found)) if expected == found => Ok(()),
        (None, None) => Ok(()),
        (Some(expected), Some(found)) => {
            Err(format!("`expect.{key}` is `{expected}`, but the request gives `{found}`"))
        }
        (Some(expected), None) => Err(format!("`expect.{key}` is `{expected}`, but the request gives none")),
        (None, Some(found)) => Err(format!("`expect.{key}` is left out, but the request gives `{found}`")),
    }
}
