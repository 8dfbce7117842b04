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
fn a_sender_may_ask_at_another_path_than_the_source_has() {
    let asks = |path: &str, signed: bool| {
        provider(&format!(
            "when = {{ method = 'GET', path = '{path}' }}\nsigned = {signed}\n\
             reply = {{ status = 200, content_type = 'text/plain', body = '*' }}"
        ))
    };
    let provider = asks("/.well-known/check", false).unwrap();
    assert_eq!(provider.further_paths().collect::<Vec<_>>(), ["/.well-known/check"]);
    let answer = |path: &str, method| {
        let draft = Draft { path: path.to_owned(), ..request(method, "", "") };
        provider.handshake(&draft.request(), false).is_some()
    };
    assert!(answer("/.well-known/check", "GET"));
    assert!(!answer("/.well-known/check", "POST"));
    assert!(!answer("/webhooks/x", "GET"));
    for path in ["well-known", "/check?a=b", "/check#a", "/a check", "/{check}"] {
        assert!(asks(path, false).is_err(), "{path}");
    }
    assert!(asks("/.well-known/check", true).is_err());
}

#[test]
fn an_encrypted_challenge_is_read_with_any_of_the_secrets() {
    let provider = provider(
        "when = { body = { '/type' = 'url_verification' } }\nsigned = false\ndecrypt = 'body:/encrypt'\n\
         reply = { status = 200, content_type = 'application/json', body = '{\"challenge\":\"{body:/challenge}\"}' }",
    )
    .unwrap();
    // openssl enc -aes-256-cbc -K $(printf test-key | sha256sum) -iv 000102…0f, behind the vector.
    let text = "AAECAwQFBgcICQoLDA0OD04igQbjavCcLBUv5NdDyb81vMrpm0tV5H7ZJ6ugrUMD91Z4ZsAFBxb7x9dUNsbLWQ==";
    let body = |text: &str| format!("{{\"encrypt\":\"{text}\"}}");
    let answer = |secrets: &[&str], body: &str| {
        let secrets: Vec<_> = secrets.iter().map(|text| Secret::new(text.as_bytes().to_vec()).unwrap()).collect();
        let provider = provider.clone().with_own(&secrets, Options::default()).unwrap();
        provider.handshake(&request("POST", "", body).request(), false).map(|reply| reply.body)
    };
    assert_eq!(answer(&["other", "test-key"], &body(text)).as_deref(), Some(r#"{"challenge":"c"}"#));
    assert_eq!(answer(&["other"], &body(text)), None);
    assert_eq!(answer(&[], &body(text)), None);
    assert_eq!(answer(&["test-key"], &body(&text[4..])), None);
    let plain = r#"{"type":"url_verification","challenge":"c"}"#;
    assert_eq!(answer(&["test-key"], plain), None, "what is not encrypted is another handshake");
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

const MAC: &str = "when = { method = 'GET', query = { crc = '*' } }\nsigned = false\n\
    reply = { status = 200, content_type = 'text/plain', body = '{hmac:sha256:hex:query:crc}', \
    headers = { x-name = '{option:name}' } }";

fn with_own(handshake: &str, options: &[(&str, &str)]) -> Provider {
    let declared = if handshake.contains("{option:name}") { "options = { name = 'a name' }" } else { "" };
    let text = format!("title = 'X'\nverify = {{ kind = 'none' }}\n{declared}\n[[handshake]]\n{handshake}");
    let provider = Provider::new("x", toml::from_str::<Contract>(&text).unwrap()).unwrap();
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    provider.with_own(&[Secret::new(b"Jefe".to_vec()).unwrap()], options).unwrap()
}

#[test]
fn a_challenge_is_signed_but_never_a_body() {
    let provider = with_own(MAC, &[("name", "me")]);
    let answer = |query: &str| provider.handshake(&request("GET", query, "").request(), false);
    // hmac.new(b"Jefe", b"abc", "sha256") of python3.
    let reply = answer("crc=abc").unwrap();
    assert_eq!(reply.body, "7cf4ec4f741f51cb0d887013c46251d6f4175643c4f422906a1aaec688cc13e8");
    assert_eq!(reply.headers, [("x-name".to_owned(), "me".to_owned())]);
    for query in ["crc=%7B%22id%22%3A1%7D", "crc=a+b", "crc=", "crc=a%0Ab", "crc=a&crc=b"] {
        assert_eq!(answer(query), None, "{query}");
    }
}

#[test]
fn an_option_that_is_not_set_answers_nothing() {
    let query = "crc=abc";
    assert_eq!(with_own(MAC, &[]).handshake(&request("GET", query, "").request(), false), None);
    let guarded = MAC.replace("crc = '*'", "crc = '{option:name}'");
    let answers = |options: &[(&str, &str)]| {
        with_own(&guarded, options).handshake(&request("GET", query, "").request(), false).is_some()
    };
    assert!(answers(&[("name", "abc")]));
    assert!(!answers(&[("name", "abd")]));
    assert!(!answers(&[]));
    assert!(with_own(MAC, &[]).with_own(&[], [("nam".to_owned(), String::new())].into_iter().collect()).is_err());
}

#[test]
fn what_no_header_can_hold_answers_nothing() {
    let echo = "when = { header = { x-secret = '*' }, without = ['header:x-signature'] }\nsigned = false\n\
        reply = { status = 200, content_type = 'text/plain', body = '', headers = { x-secret = '{header:x-secret}' } }";
    let provider = with_own(echo, &[]);
    let answer = |headers: &[(&str, &str)]| {
        let mut draft = request("POST", "", "");
        headers.iter().for_each(|(name, value)| draft.set_header(name, *value));
        provider.handshake(&draft.request(), false)
    };
    assert!(answer(&[("x-secret", "abc")]).is_some());
    assert_eq!(answer(&[("x-secret", "abc"), ("x-signature", "00")]), None);
    assert_eq!(answer(&[("x-secret", "a\r\nb")]), None);
    assert_eq!(answer(&[("x-secret", "é")]), None);
    assert_eq!(answer(&[]), None);
}
