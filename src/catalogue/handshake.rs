//! Challenges: requests by which a sender makes sure of its receiver, answered and never ferried.

use super::contract::HandshakeSpec;
use super::read::{Compiler, Place, Reader};
use super::value::Value;
use super::{ContractError, Provider};
use crate::event::Request;
use crate::event::json::Pointers;

/// The answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Fixed by the contract, never by the request.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// A compiled [`HandshakeSpec`].
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    signed: bool,
    method: Option<String>,
    conditions: Vec<(Place, String)>,
    status: u16,
    content_type: &'static str,
    body: Vec<Part>,
    pointers: Pointers,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Insert(Place),
}

/// Reflected text in these types is text for every client; in HTML it would be markup.
const CONTENT_TYPES: [&str; 2] = ["text/plain", "application/json"];

impl Handshake {
    pub(super) fn new(spec: &HandshakeSpec) -> Result<Self, ContractError> {
        let content_type = CONTENT_TYPES.into_iter().find(|known| *known == spec.reply.content_type);
        let content_type = content_type.ok_or_else(|| {
            ContractError::key("handshake.reply.content_type", format!("is none of {}", CONTENT_TYPES.join(", ")))
        })?;
        if !(200..300).contains(&spec.reply.status) {
            return Err(ContractError::key("handshake.reply.status", "is not between 200 and 299"));
        }
        let mut compiler = Compiler::default();
        let mut conditions = Vec::new();
        for (scheme, wanted) in [("header", &spec.when.header), ("query", &spec.when.query), ("body", &spec.when.body)]
        {
            for (name, expected) in wanted {
                conditions
                    .push((place(&mut compiler, &format!("{scheme}:{name}"), "handshake.when")?, expected.clone()));
            }
        }
        if conditions.is_empty() && spec.when.method.is_none() {
            return Err(ContractError::key("handshake.when", "has no condition, so no event would get through"));
        }
        let body = parts(&mut compiler, &spec.reply.body)?;
        Ok(Self {
            signed: spec.signed,
            method: spec.when.method.clone(),
            conditions,
            status: spec.reply.status,
            content_type,
            body,
            pointers: compiler.finish()?,
        })
    }

    fn answer(&self, request: &Request) -> Option<Reply> {
        if self.method.as_ref().is_some_and(|method| method != request.method) {
            return None;
        }
        let reader = Reader::new(request, request.body, &self.pointers);
        let holds = |(place, expected): &(Place, String)| reader.read(place).as_deref() == Some(expected.as_str());
        if !self.conditions.iter().all(holds) {
            return None;
        }
        let mut body = String::new();
        for part in &self.body {
            match part {
                Part::Literal(text) => body.push_str(text),
                Part::Insert(place) if self.content_type == "application/json" => {
                    let quoted = serde_json::Value::from(reader.read(place)?.as_ref()).to_string();
                    body.push_str(quoted.strip_prefix('"')?.strip_suffix('"')?);
                }
                Part::Insert(place) => body.push_str(&reader.read(place)?),
            }
        }
        Some(Reply { status: self.status, content_type: self.content_type, body })
    }
}

impl Provider {
    /// The answer to `request`, if it is a challenge. Those that bear a signature are answered only once `verified`.
    ///
    /// `request.body` is read; where the body is content-encoded, give the request with the decoded one.
    pub fn handshake(&self, request: &Request, verified: bool) -> Option<Reply> {
        self.handshakes.iter().filter(|handshake| verified || !handshake.signed).find_map(|h| h.answer(request))
    }
}

fn place(compiler: &mut Compiler, text: &str, key: &'static str) -> Result<Place, ContractError> {
    let value = Value::parse(text).map_err(|e| ContractError::key(key, format!("holds {e}")))?;
    compiler.place(&value)
}

/// Splits a reply at `{body:…}`, `{query:…}`, `{header:…}` and `{form:…}`; other braces are text, as in JSON.
fn parts(compiler: &mut Compiler, mut text: &str) -> Result<Vec<Part>, ContractError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    while let Some((before, from)) = text.split_once('{') {
        literal.push_str(before);
        let insert = ["body:", "query:", "header:", "form:"].iter().any(|scheme| from.starts_with(scheme));
        match from.split_once('}').filter(|_| insert) {
            Some((name, after)) => {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
                parts.push(Part::Insert(place(compiler, name, "handshake.reply.body")?));
                text = after;
            }
            None => {
                literal.push('{');
                text = from;
            }
        }
    }
    literal.push_str(text);
    parts.push(Part::Literal(literal));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Contract;
    use crate::verify::Draft;

    fn provider(handshake: &str) -> Result<Provider, ContractError> {
        let text = format!("title = 'X'\nverify = {{ kind = 'none' }}\n[[handshake]]\n{handshake}");
        Provider::new("x", toml::from_str::<Contract>(&text).unwrap())
    }

    fn request(method: &str, query: &str, body: &str) -> Draft {
        Draft { method: method.to_owned(), query: query.to_owned(), body: body.into(), ..Draft::default() }
    }

    const SIGNED: &str = "when = { body = { '/type' = 'check' } }\nsigned = true\n\
        reply = { status = 200, content_type = 'application/json', body = '{\"challenge\":\"{body:/token}\"}' }";

    #[test]
    fn a_signed_challenge_is_answered_only_once_it_is_proven() {
        let (provider, draft) = (provider(SIGNED).unwrap(), request("POST", "", r#"{"type":"check","token":"t"}"#));
        assert_eq!(provider.handshake(&draft.request(), false), None);
        let reply = provider.handshake(&draft.request(), true).unwrap();
        assert_eq!(
            (reply.status, reply.content_type, reply.body.as_str()),
            (200, "application/json", r#"{"challenge":"t"}"#)
        );
    }

    #[test]
    fn a_challenge_cannot_break_out_of_the_json_it_stands_in() {
        let draft = request("POST", "", r#"{"type":"check","token":"\",\"admin\":\"1"}"#);
        let reply = provider(SIGNED).unwrap().handshake(&draft.request(), true).unwrap();
        assert_eq!(reply.body, r#"{"challenge":"\",\"admin\":\"1"}"#);
    }

    #[test]
    fn an_event_is_no_challenge() {
        let provider = provider(SIGNED).unwrap();
        for body in [r#"{"type":"paid","token":"t"}"#, r#"{"type":"check"}"#, "type=check", ""] {
            assert_eq!(provider.handshake(&request("POST", "", body).request(), true), None, "{body}");
        }
    }

    #[test]
    fn conditions_on_method_and_query_must_all_hold() {
        let provider = provider(
            "when = { method = 'GET', query = { 'hub.mode' = 'subscribe' } }\nsigned = false\n\
             reply = { status = 200, content_type = 'text/plain', body = '{query:hub.challenge}' }",
        )
        .unwrap();
        let answer = |method, query| provider.handshake(&request(method, query, "").request(), false).map(|r| r.body);
        assert_eq!(answer("GET", "hub.mode=subscribe&hub.challenge=a%2Bb").as_deref(), Some("a+b"));
        assert_eq!(answer("POST", "hub.mode=subscribe&hub.challenge=a"), None);
        assert_eq!(answer("GET", "hub.mode=unsubscribe&hub.challenge=a"), None);
        assert_eq!(answer("GET", "hub.mode=subscribe"), None);
    }

    #[test]
    fn a_reply_is_never_markup_and_a_handshake_never_swallows_every_event() {
        let reply = |when: &str, content_type: &str| {
            let reply = format!("{{ status = 200, content_type = '{content_type}', body = '' }}");
            provider(&format!("when = {when}\nsigned = true\nreply = {reply}"))
        };
        assert!(reply("{ method = 'GET' }", "text/plain").is_ok());
        assert!(reply("{ method = 'GET' }", "text/html").is_err());
        assert!(reply("{}", "text/plain").is_err());
    }
}
