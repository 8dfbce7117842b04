//! The generator against a small server of plain threads.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

/// What the server does with the `n`-th request.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Accept,
    Refuse,
    HangUp,
    Stall(Duration),
}

struct Server {
    url: Url,
    /// Paths in the order of arrival.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(act: fn(usize) -> Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let log = log.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &log, act));
            }
        });
        Self { url, seen }
    }

    fn plan(&self) -> Plan {
        Plan {
            url: self.url.clone(),
            trust: Trust::System,
            connections: 1,
            count: None,
            duration: None,
            rate: None,
            timeout: Duration::from_secs(5),
            keep_going: false,
            expect: vec![Expect::Success],
            ids: None,
        }
    }

    fn seen(&self) -> Vec<String> {
        lock(&self.seen).clone()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>, act: fn(usize) -> Act) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut first = String::new();
        if lines.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let mut body = [0];
        lines.read_exact(&mut body).unwrap();
        let id = first.split(' ').nth(1).unwrap()[1..].to_owned();
        let n = {
            let mut log = lock(log);
            log.push(id.clone());
            log.len() - 1
        };
        let (status, word) = match act(n) {
            Act::HangUp => return,
            Act::Refuse => ("503 Service Unavailable", "refused"),
            Act::Accept => ("200 OK", "accepted"),
            Act::Stall(time) => {
                std::thread::sleep(time);
                ("200 OK", "accepted")
            }
        };
        let body = format!(r#"{{"status":"{word}","id":"{id}"}}"#);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        // One write: the second of two would wait for the client's delayed acknowledgement of the first.
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

fn job(number: u64) -> anyhow::Result<Job> {
    let outgoing = Outgoing::new(hyper::Method::POST, &format!("/evt_{number}"))?;
    Ok(Job { outgoing: Outgoing { body: "x".into(), ..outgoing }, id: Some(format!("evt_{number}")) })
}

#[test]
fn every_number_is_sent_once_over_all_connections() {
    let server = Server::start(|_| Act::Accept);
    let report = run(Plan { count: Some(101), connections: 8, ..server.plan() }, job).unwrap();
    assert!(report.clean(), "{report}");
    assert_eq!(report.json()["accepted"], 101);
    let seen = server.seen();
    assert_eq!((seen.len(), seen.into_iter().collect::<HashSet<_>>().len()), (101, 101));
}

#[test]
fn the_first_error_ends_the_run() {
    let server = Server::start(|n| if n == 3 { Act::Refuse } else { Act::Accept });
    let report = run(Plan { count: Some(100), ..server.plan() }, job).unwrap();
    assert!(!report.clean());
    assert_eq!(server.seen().len(), 4);
    assert_eq!(report.json()["statuses"]["503"], 1);
}

#[test]
fn a_run_that_keeps_going_connects_again_and_never_reuses_an_id() {
    let server = Server::start(|n| if n % 10 == 5 { Act::HangUp } else { Act::Accept });
    let ids = tempfile::NamedTempFile::new().unwrap();
    let plan =
        Plan { count: Some(100), connections: 4, keep_going: true, ids: Some(ids.reopen().unwrap()), ..server.plan() };
    let report = run(plan, job).unwrap();
    assert_eq!(report.json()["errors"]["lost"], 10, "{report}");
    let seen = server.seen();
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "an id was sent twice");
    let acknowledged = std::fs::read_to_string(ids.path()).unwrap();
    assert_eq!(acknowledged.lines().count(), 90);
    assert!(acknowledged.lines().all(|id| seen.iter().any(|sent| sent == id)));
}

#[test]
fn the_second_copy_of_an_event_is_expected_to_be_a_duplicate() {
    let server = Server::start(|_| Act::Accept);
    let plan = Plan { count: Some(1), expect: vec![Expect::Success, Expect::Duplicate], ..server.plan() };
    let report = run(plan, job).unwrap();
    assert_eq!(server.seen(), ["evt_0", "evt_0"]);
    assert_eq!(report.json()["unexpected"], 1, "the server accepted it twice");
}

#[test]
fn an_open_loop_counts_the_wait_behind_a_stalled_answer_as_latency() {
    let stall = |n| if n == 0 { Act::Stall(Duration::from_millis(300)) } else { Act::Accept };
    let p50 = |rate| {
        let server = Server::start(stall);
        let report = run(Plan { count: Some(30), rate, ..server.plan() }, job).unwrap();
        assert_eq!(report.json()["requests"], 30);
        report.json()["latency_ms"]["p50"].as_f64().unwrap()
    };
    // At 100/s all thirty fall due within the stall.
    assert!(p50(Some(100.0)) > 100.0);
    assert!(p50(None) < 100.0);
}

#[test]
fn a_run_ends_with_its_duration() {
    let server = Server::start(|_| Act::Accept);
    let report = run(Plan { duration: Some(Duration::from_millis(100)), ..server.plan() }, job).unwrap();
    assert!(report.clean() && report.took < Duration::from_secs(2), "{report}");
}

#[test]
fn nobody_listening_ends_a_run_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let server = Server { url, seen: Arc::default() };
    let report = run(Plan { count: Some(5), ..server.plan() }, job).unwrap();
    assert!(report.tally.trouble.as_ref().unwrap().contains("connection refused"), "{report}");
    assert_eq!(report.json()["requests"], 0);
}
