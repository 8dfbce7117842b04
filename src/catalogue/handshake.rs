//! Challenges: requests by which a sender makes sure of its receiver, answered and never ferried.

mod parts;

use std::collections::BTreeSet;

use subtle::ConstantTimeEq as _;
use url::Url;

use parts::{Part, declared, encrypted, parts, place};

use super::contract::{Contract, HandshakeSpec};
use super::read::{Compiler, Place, Reader};
use super::{ContractError, Provider};
use crate::event::json::Pointers;
use crate::event::{Options, Request, Secret};
use crate::verify::{self, Challenge, Pattern, Rule};

/// The answer to a challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Fixed by the contract, never by the request.
    pub content_type: &'static str,
    /// Further headers: names fixed by the contract, values fit for a header.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// What has to happen besides; before the answer, except a visit.
    pub effect: Option<Effect>,
}

/// What a challenge asks for besides an answer.
#[derive(Debug, Clone)]
pub enum Effect {
    /// To visit an address, which the provider's file allows.
    Visit(Url),
    /// To believe a secret from now on.
    Learn { secret: Secret, first_only: bool },
    /// To show a text to the operator.
    Show(Secret),
}

impl PartialEq for Effect {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Visit(a), Self::Visit(b)) => a == b,
            (Self::Learn { secret: a, first_only: x }, Self::Learn { secret: b, first_only: y }) => {
                a.expose() == b.expose() && x == y
            }
            (Self::Show(a), Self::Show(b)) => a.expose() == b.expose(),
            _ => false,
        }
    }
}

impl Eq for Effect {}

/// What a source adds to its provider: the answers to some challenges need it.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    /// Newest first.
    pub(super) secrets: Vec<Secret>,
    pub(super) options: Options,
}

/// A compiled [`HandshakeSpec`].
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    signed: bool,
    /// What is signed for whoever asks.
    challenge: Challenge,
    method: Option<String>,
    path: Option<String>,
    conditions: Vec<(Place, Wanted)>,
    without: Vec<Place>,
    without_option: Vec<String>,
    effect: Option<Wish>,
    status: u16,
    content_type: &'static str,
    headers: Vec<(String, Vec<Part>)>,
    body: Vec<Part>,
    pointers: Pointers,
    /// Where the body that is meant stands, encrypted.
    encrypted: Option<(Place, Pointers)>,
}

/// An [`Effect`], and where in the request it stands.
#[derive(Debug, Clone)]
enum Wish {
    Visit(Place, Vec<Pattern>),
    Learn(Place, bool),
    Show(Place),
}

#[derive(Debug, Clone)]
enum Wanted {
    Any,
    Text(String),
    Option(String),
}

/// What no path of a source, nor one at which a sender asks besides, may hold.
pub fn not_in_path(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "?#{}".contains(c)
}

/// Reflected text in these types is text for every client; in HTML it would be markup.
const CONTENT_TYPES: [&str; 2] = ["text/plain", "application/json"];

impl Handshake {
    pub(super) fn new(spec: &HandshakeSpec, contract: &Contract) -> Result<Self, ContractError> {
        let options = &contract.options;
        let content_type = CONTENT_TYPES.into_iter().find(|known| *known == spec.reply.content_type);
        let content_type = content_type.ok_or_else(|| {
            ContractError::key("handshake.reply.content_type", format!("is none of {}", CONTENT_TYPES.join(", ")))
        })?;
        // 404 is what Fitbit and WebSub want for what we never asked for.
        if !(200..300).contains(&spec.reply.status) && spec.reply.status != 404 {
            return Err(ContractError::key("handshake.reply.status", "is neither between 200 and 299 nor 404"));
        }
        let mut compiler = Compiler::default();
        let mut conditions = Vec::new();
        let when = &spec.when;
        let all = [("header", &when.header), ("query", &when.query), ("body", &when.body), ("form", &when.form)];
        for (scheme, wanted) in all {
            for (name, expected) in wanted {
                let place = place(&mut compiler, &format!("{scheme}:{name}"), "handshake.when")?;
                let option = expected.strip_prefix("{option:").and_then(|name| name.strip_suffix('}'));
                let expected = match option {
                    // What a source does not set is no condition that holds.
                    Some(name) if contract.inline => Wanted::Option(name.to_owned()),
                    Some(name) => Wanted::Option(declared(name, options, "handshake.when")?),
                    None if expected == "*" => Wanted::Any,
                    None => Wanted::Text(expected.clone()),
                };
                conditions.push((place, expected));
            }
        }
        if when.path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains(not_in_path) || spec.signed) {
            return Err(ContractError::key(
                "handshake.when",
                "has a `path` that does not begin with `/`, that holds white space, `?`, `#`, `{` or `}`, or that is signed",
            ));
        }
        if conditions.is_empty() && when.path.is_none() && when.method.as_deref().is_none_or(|method| method == "POST")
        {
            return Err(ContractError::key("handshake.when", "has no condition, so no event would get through"));
        }
        let without = when.without.iter().map(|text| place(&mut compiler, text, "handshake.when"));
        let without = without.collect::<Result<_, _>>()?;
        let without_option = when.without_option.iter().map(|name| match contract.inline {
            // What a source must not set cannot be told from what it sets.
            true => Ok(name.clone()),
            false => declared(name, options, "handshake.when"),
        });
        let without_option = without_option.collect::<Result<_, _>>()?;
        let effect = wish(&mut compiler, spec)?;
        let body = parts(&mut compiler, &spec.reply.body, options)?;
        let mut headers = Vec::new();
        for (name, text) in &spec.reply.headers {
            headers.push((name.clone(), parts(&mut compiler, text, options)?));
        }
        Ok(Self {
            signed: spec.signed,
            challenge: spec.challenge.clone(),
            method: when.method.clone(),
            path: when.path.clone(),
            conditions,
            without,
            without_option,
            effect,
            status: spec.reply.status,
            content_type,
            headers,
            body,
            pointers: compiler.finish()?,
            encrypted: spec.decrypt.as_ref().map(|text| encrypted(text)).transpose()?,
        })
    }

    /// Names of the options that it makes use of.
    pub(super) fn options(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.without_option.iter().cloned().collect();
        names.extend(self.conditions.iter().filter_map(|(_, wanted)| match wanted {
            Wanted::Option(name) => Some(name.clone()),
            _ => None,
        }));
        let parts = self.headers.iter().flat_map(|(_, parts)| parts).chain(&self.body);
        names.extend(parts.filter_map(|part| match part {
            Part::Option(name) => Some(name.clone()),
            _ => None,
        }));
        if matches!(self.effect, Some(Wish::Visit(..))) {
            names.insert("hosts".to_owned());
        }
        names
    }

    /// What it signs for anybody.
    pub(super) fn signs(&self) -> Option<Challenge> {
        let mut parts = self.headers.iter().flat_map(|(_, parts)| parts).chain(&self.body);
        let signs = !self.signed && parts.any(|part| matches!(part, Part::Mac(..)));
        signs.then(|| self.challenge.clone())
    }

    fn answer(&self, request: &Request, rule: &Rule, own: &Own) -> Option<Reply> {
        let Some((place, pointers)) = &self.encrypted else { return self.answer_to(request, request.body, rule, own) };
        let text = Reader::new(request, request.body, pointers).read(place)?.into_owned();
        let bodies = own.secrets.iter().filter_map(|secret| verify::decrypt(secret, &text));
        bodies.into_iter().find_map(|body| self.answer_to(request, &body, rule, own))
    }

    fn answer_to(&self, request: &Request, body: &[u8], rule: &Rule, own: &Own) -> Option<Reply> {
        if self.method.as_ref().is_some_and(|method| method != request.method)
            || self.path.as_ref().is_some_and(|path| path != request.path)
        {
            return None;
        }
        let reader = Reader::new(request, body, &self.pointers);
        if self.without.iter().any(|place| reader.read(place).is_some())
            || self.without_option.iter().any(|name| own.options.get(name).is_some())
        {
            return None;
        }
        // A token that the source set is compared in constant time, like every secret.
        let holds = |(place, wanted): &(Place, Wanted)| match (reader.read(place), wanted) {
            (Some(_), Wanted::Any) => true,
            (Some(found), Wanted::Text(text)) => found == text.as_str(),
            (Some(found), Wanted::Option(name)) => {
                let same = |set: &String| bool::from(set.as_bytes().ct_eq(found.as_bytes()));
                own.options.texts(name).iter().fold(false, |any, set| any | same(set))
            }
            (None, _) => false,
        };
        if !self.conditions.iter().all(holds) {
            return None;
        }
        let write = |parts: &[Part]| {
            let mut text = String::new();
            for part in parts {
                let value = match part {
                    Part::Literal(literal) => {
                        text.push_str(literal);
                        continue;
                    }
                    Part::Insert(place) => reader.read(place)?.into_owned(),
                    Part::Option(name) => own.options.text(name)?.to_owned(),
                    Part::Mac(hash, encoding, place) => {
                        let text = reader.read(place)?;
                        if !self.challenge.fits(text.as_bytes()) {
                            return None;
                        }
                        let tag = verify::mac(rule, own.secrets.first()?, *hash, text.as_bytes());
                        encoding.encode(&tag.ok()?)
                    }
                };
                if self.content_type == "application/json" {
                    let quoted = serde_json::Value::from(value).to_string();
                    text.push_str(quoted.strip_prefix('"')?.strip_suffix('"')?);
                } else {
                    text.push_str(&value);
                }
            }
            Some(text)
        };
        let mut headers = Vec::new();
        for (name, parts) in &self.headers {
            let value = write(parts)?;
            // What a header cannot hold is no challenge of an honest sender.
            if value.is_empty() || value.len() > 1024 || value.bytes().any(|b| !(b' '..=b'~').contains(&b)) {
                return None;
            }
            headers.push((name.clone(), value));
        }
        let effect = match &self.effect {
            None => None,
            Some(wish) => Some(wish.read(&reader, &own.options)?),
        };
        Some(Reply { status: self.status, content_type: self.content_type, headers, body: write(&self.body)?, effect })
    }
}

impl Wish {
    /// The effect; `None` where the request does not hold it, or asks for an address that is not allowed.
    fn read(&self, reader: &Reader, options: &Options) -> Option<Effect> {
        let secret = |place| Secret::new(reader.read(place)?.into_owned().into_bytes());
        match self {
            Self::Learn(place, first_only) => Some(Effect::Learn { secret: secret(place)?, first_only: *first_only }),
            Self::Show(place) => secret(place).map(Effect::Show),
            Self::Visit(place, allowed) => {
                let url = Url::parse(&reader.read(place)?).ok()?;
                let hosts = options.texts("hosts");
                let further =
                    |pattern: &Pattern| hosts.iter().filter_map(|host| pattern.at(host)).any(|p| p.matches(&url));
                let fits = allowed.iter().any(|pattern| pattern.matches(&url) || further(pattern));
                fits.then_some(Effect::Visit(url))
            }
        }
    }
}

fn wish(compiler: &mut Compiler, spec: &HandshakeSpec) -> Result<Option<Wish>, ContractError> {
    Ok(match (&spec.visit, &spec.remember, &spec.capture) {
        (None, None, None) => None,
        (Some(visit), None, None) => {
            let key = "handshake.visit";
            let allowed: Option<Vec<_>> = visit.allow.iter().map(|text| Pattern::new(text)).collect();
            let allowed = allowed.filter(|allowed| !allowed.is_empty() && spec.signed);
            let what = "needs `signed = true`, and addresses like https://HOST/PATH in `allow`";
            Some(Wish::Visit(place(compiler, &visit.url, key)?, allowed.ok_or_else(|| ContractError::key(key, what))?))
        }
        (None, Some(remember), None) => {
            Some(Wish::Learn(place(compiler, &remember.secret, "handshake.remember")?, remember.first_only))
        }
        (None, None, Some(text)) => Some(Wish::Show(place(compiler, text, "handshake.capture")?)),
        _ => return Err(ContractError::key("handshake", "has more than one of `visit`, `remember` and `capture`")),
    })
}

impl Provider {
    /// Whether a source can begin without a secret, since a handshake brings it.
    pub fn learns(&self) -> bool {
        self.handshakes.iter().any(|handshake| matches!(handshake.effect, Some(Wish::Learn(..) | Wish::Show(_))))
    }

    /// Whether a handshake asks for more than an answer.
    pub fn acts(&self) -> bool {
        self.handshakes.iter().any(|handshake| handshake.effect.is_some())
    }

    /// Paths besides the source's own at which its sender asks.
    pub fn further_paths(&self) -> impl Iterator<Item = &str> {
        self.handshakes.iter().filter_map(|handshake| handshake.path.as_deref())
    }

    /// The answer to `request`, if it is a challenge. Those that bear a signature are answered only once `verified`.
    ///
    /// `request.body` is read; where the body is content-encoded, give the request with the decoded one.
    pub fn handshake(&self, request: &Request, verified: bool) -> Option<Reply> {
        let open = self.handshakes.iter().filter(|handshake| verified || !handshake.signed);
        open.into_iter().find_map(|handshake| handshake.answer(request, &self.rule, &self.own))
    }
}

#[cfg(test)]
mod tests;
