//! The client against sockets that a test holds in its hand.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

async fn listener() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    (listener, url)
}

/// Reads one request, up to the end of its head and `body` bytes more.
async fn request(stream: &mut TcpStream, body: usize) -> String {
    let mut seen = Vec::new();
    loop {
        let head = seen.windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|at| seen.len() >= at + 4 + body) {
            return String::from_utf8(seen).unwrap();
        }
        let mut some = [0; 4096];
        let n = stream.read(&mut some).await.unwrap();
        assert!(n > 0, "the request is cut");
        seen.extend_from_slice(&some[..n]);
    }
}

fn post(body: &'static str) -> Outgoing {
    Outgoing { body: body.into(), ..Outgoing::new(Method::POST, "/webhooks/demo?a=b").unwrap() }
}

#[tokio::test]
async fn a_request_carries_what_it_was_given_and_the_answer_comes_back_whole() {
    let (listener, url) = listener().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let seen = request(&mut stream, 5).await;
        let head = b"HTTP/1.1 401 Unauthorized\r\nx-test: yes\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for part in ["3\r\nabc\r\n", "2\r\nde\r\n", "1\r\nf\r\n", "0\r\n\r\n"] {
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        seen
    };
    let mut client = Client::new(&url, &Trust::System).unwrap();
    let outgoing = post("hello").header(HeaderName::from_static("x-sig"), "v1").unwrap();
    let (seen, answer) = tokio::join!(server, client.send(outgoing, LIMIT));
    let answer = answer.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (401, &b"abcdef"[..]));
    assert_eq!(answer.headers["x-test"], "yes");
    assert!(seen.starts_with("POST /webhooks/demo?a=b HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: {}\r\n", url.authority())), "{seen}");
    assert!(seen.contains("x-sig: v1\r\n") && seen.contains("content-length: 5\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_a_closed_one_is_opened_again() {
    let (listener, url) = listener().await;
    let server = async {
        for requests in [2, 1] {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..requests {
                request(&mut stream, 1).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        }
    };
    let calls = async {
        let mut client = Client::new(&url, &Trust::System).unwrap();
        for _ in 0..3 {
            assert!(client.send(post("x"), LIMIT).await.unwrap().is_success());
        }
    };
    tokio::join!(server, calls);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_an_error_and_is_not_sent_again() {
    let (listener, url) = listener().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream, 1).await;
    };
    let mut client = Client::new(&url, &Trust::System).unwrap();
    let ((), answer) = tokio::join!(server, client.send(post("x"), LIMIT));
    assert!(matches!(answer, Err(Error::Lost { .. })), "{answer:?}");
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err());
}

#[tokio::test]
async fn a_silent_server_ends_in_a_time_out() {
    let (_listener, url) = listener().await;
    let mut client = Client::new(&url, &Trust::System).unwrap();
    let answer = client.send(post("x"), Duration::from_millis(20)).await;
    assert!(answer.unwrap_err().to_string().ends_with("within 20ms"));
}

#[tokio::test]
async fn a_refused_connection_says_what_to_look_at() {
    let (listener, url) = listener().await;
    drop(listener);
    let error = Client::new(&url, &Trust::System).unwrap().send(post("x"), LIMIT).await.unwrap_err().to_string();
    let wanted = format!("cannot connect to {}: connection refused; is `hookferry serve` running?", url.authority());
    assert_eq!(error, wanted);
}

#[test]
fn an_address_that_is_not_http_is_refused_with_the_reason() {
    let error = |text: &str| Client::new(&text.parse().unwrap(), &Trust::System).err().map(|error| error.to_string());
    assert!(error("file:///tmp/x").unwrap().contains("the scheme is `file`"));
    assert_eq!(error("http://[::1]:8080/x"), None);
}

#[test]
fn a_problem_document_is_summed_up_by_its_detail() {
    let answer = |body: &'static str| Answer { status: 401, headers: HeaderMap::new(), body: body.into() };
    assert_eq!(
        answer(r#"{"title":"Unauthorized","detail":"the signature is wrong"}"#).summary(),
        "401 the signature is wrong"
    );
    assert_eq!(answer("no\n").summary(), "401 no");
}
