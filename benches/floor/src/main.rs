//! The floor under hookferry's cost: a bare actix-web handler that checks a Standard Webhooks signature
//! and, in the mode `durable`, answers once the body is on disk; `redis` is `durable` with a pipelined `XADD` of each body behind it.
//!
//! `floor hmac|durable|redis LISTEN SECRET_FILE DATA_FILE [REDIS_ADDRESS]`. It has no limits, no dedup, no recovery and no readers:
//! it shows what the hardware, the HTTP library and one fdatasync a batch ask for, and no more.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufRead, BufReader, Error, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::oneshot;

/// Bytes of the data file; the writer begins again at its start.
const FILE_BYTES: u64 = 64 << 20;
const TOLERANCE_S: u64 = 300;

struct Waiting {
    body: web::Bytes,
    durable: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Floor {
    key: Hmac<Sha256>,
    /// `None`: answers without writing.
    journal: Option<Sender<Waiting>>,
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, listen, secret, data, redis @ ..] = args.as_slice() else {
        return Err(Error::other("usage: floor hmac|durable|redis LISTEN SECRET_FILE DATA_FILE [REDIS_ADDRESS]"));
    };
    let secret = std::fs::read_to_string(secret)?;
    let secret = STANDARD.decode(secret.trim().trim_start_matches("whsec_")).map_err(Error::other)?;
    let key = Hmac::new_from_slice(&secret).map_err(Error::other)?;
    let journal = match mode.as_str() {
        "hmac" => None,
        "durable" | "redis" => {
            let behind = match redis.first() {
                Some(address) => {
                    let connection = TcpStream::connect(address)?;
                    let (sender, receiver) = channel();
                    std::thread::spawn(move || add(&connection, &receiver));
                    Some(sender)
                }
                None => None,
            };
            let file = zero_filled(data)?;
            let (sender, receiver) = channel();
            std::thread::spawn(move || commit(&file, &receiver, behind.as_ref()));
            Some(sender)
        }
        _ => return Err(Error::other("the mode is `hmac`, `durable` or `redis`")),
    };
    let floor = Floor { key, journal };
    let app = move || App::new().app_data(web::Data::new(floor.clone())).default_service(web::to(receive));
    actix_web::rt::System::new().block_on(HttpServer::new(app).bind(listen)?.run())
}

async fn receive(request: HttpRequest, floor: web::Data<Floor>, body: web::Bytes) -> HttpResponse {
    let Some(id) = verified(&floor.key, &request, &body) else {
        return HttpResponse::Unauthorized().finish();
    };
    if let Some(journal) = &floor.journal {
        let (durable, answer) = oneshot::channel();
        if journal.send(Waiting { body, durable }).is_err() || answer.await.is_err() {
            return HttpResponse::ServiceUnavailable().finish();
        }
    }
    HttpResponse::Ok().content_type("application/json").body(format!(r#"{{"status":"accepted","id":"{id}"}}"#))
}

fn verified<'r>(key: &Hmac<Sha256>, request: &'r HttpRequest, body: &[u8]) -> Option<&'r str> {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let (id, sent) = (header("webhook-id")?, header("webhook-timestamp")?);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    if now_s.abs_diff(sent.parse().ok()?) > TOLERANCE_S {
        return None;
    }
    let mut mac = key.clone();
    for part in [id.as_bytes(), b".", sent.as_bytes(), b".", body] {
        mac.update(part);
    }
    let signature = STANDARD.decode(header("webhook-signature")?.strip_prefix("v1,")?).ok()?;
    mac.verify_slice(&signature).ok().map(|()| id)
}

fn zero_filled(path: &str) -> std::io::Result<File> {
    let mut file = File::create(path)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Writes all that wait with one call and one sync, then answers them.
fn commit(file: &File, waiting: &Receiver<Waiting>, behind: Option<&Sender<web::Bytes>>) {
    let mut buffer = Vec::new();
    let mut at = 0;
    while let Ok(first) = waiting.recv() {
        let mut answers = Vec::new();
        buffer.clear();
        for next in std::iter::once(first).chain(waiting.try_iter()) {
            buffer.extend_from_slice(&next.body);
            answers.push((next.durable, next.body));
        }
        if at + buffer.len() as u64 > FILE_BYTES {
            at = 0;
        }
        if let Err(error) = file.write_all_at(&buffer, at).and_then(|()| file.sync_data()) {
            // Dropping the answers refuses the batch; a floor has no further plan.
            eprintln!("floor: cannot write: {error}");
            return;
        }
        at += buffer.len() as u64;
        for (answer, body) in answers {
            // A client that hung up needs no answer.
            let _ = answer.send(());
            if behind.is_some_and(|behind| behind.send(body).is_err()) {
                return;
            }
        }
    }
}

/// Adds all that wait to a stream in one pipeline, and reads the answers.
fn add(connection: &TcpStream, waiting: &Receiver<web::Bytes>) {
    let mut answers = BufReader::new(connection);
    let (mut pipeline, mut line) = (Vec::new(), String::new());
    while let Ok(first) = waiting.recv() {
        pipeline.clear();
        let mut sent = 0;
        for body in std::iter::once(first).chain(waiting.try_iter()) {
            pipeline.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n$6\r\nevents\r\n$1\r\n*\r\n$5\r\nevent\r\n");
            pipeline.extend_from_slice(format!("${}\r\n", body.len()).as_bytes());
            pipeline.extend_from_slice(&body);
            pipeline.extend_from_slice(b"\r\n");
            sent += 1;
        }
        let mut connection = connection;
        let mut done = connection.write_all(&pipeline).map(|()| 0);
        // An id comes as two lines: its length and itself.
        for _ in 0..sent * 2 {
            line.clear();
            done = done.and_then(|_| answers.read_line(&mut line));
        }
        if let Err(error) = done {
            eprintln!("floor: cannot add: {error}");
            return;
        }
    }
}
