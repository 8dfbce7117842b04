//! `hookferry tail`: follows accepted events, one CloudEvents JSON object a line.
//!
//! A lost connection is opened again and resumes behind the last line that was printed, so each event is
//! printed once, as long as the journal still has it.

pub mod sse;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::Files;
use super::api::one_line;
use super::http::{Client, Error, HeaderName, Method, header};
use super::remote::{self, Remote};

/// First wait after a lost connection; doubles up to [`BACKOFF_MOST`].
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(5);
/// Longest silence of a live stream: the server sends a comment well within it.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest wait for the head of the answer, and for the whole of a refusal.
const HEAD: Duration = Duration::from_secs(10);

/// Follow accepted events: one CloudEvents JSON object a line
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only events of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Only events of these types; `*` stands for any text
    #[arg(long = "type", value_name = "GLOB")]
    pub kind: Option<String>,
    /// Begin after this sequence: 0 is the oldest kept event [default: only new events]
    #[arg(long, value_name = "SEQUENCE")]
    pub after: Option<u64>,
    #[command(flatten)]
    pub admin: remote::Options,
}

/// Runs the command until its reader is gone.
///
/// # Errors
/// The first connection fails, or the listener refuses.
pub fn run(args: &Args, files: &Files) -> anyhow::Result<ExitCode> {
    let remote = args.admin.resolve(files)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut notes = io::stderr();
    runtime.block_on(follow(args, &remote, &mut io::stdout(), &mut notes))?;
    Ok(ExitCode::SUCCESS)
}

/// How one connection ended.
enum End {
    /// The reader of the output is gone.
    Unread,
    /// It may work again later; says why.
    Lost(String),
}

async fn follow(args: &Args, remote: &Remote, out: &mut impl Write, notes: &mut impl Write) -> anyhow::Result<()> {
    let mut client = remote.client()?;
    let mut position = args.after.map(|sequence| sequence.to_string());
    let mut connected = false;
    let mut wait = BACKOFF;
    loop {
        let mut progress = false;
        let end = stream(args, remote, &mut client, &mut position, &mut progress, out).await;
        connected |= progress;
        let why = match end {
            Ok(End::Unread) => return Ok(()),
            Ok(End::Lost(why)) if connected => why,
            Ok(End::Lost(why)) => anyhow::bail!(why),
            Err(error) => return Err(error),
        };
        if progress {
            wait = BACKOFF;
        }
        writeln!(notes, "hookferry tail: {why}; trying again in {}", humantime::format_duration(wait))
            .context("cannot write to the error output")?;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACKOFF_MOST);
    }
}

/// Follows one connection from `position` on, and moves it behind each printed event.
/// `progress` is set once the listener has agreed to stream.
async fn stream(
    args: &Args,
    remote: &Remote,
    client: &mut Client,
    position: &mut Option<String>,
    progress: &mut bool,
    out: &mut impl Write,
) -> anyhow::Result<End> {
    let mut query = Vec::new();
    query.extend(args.source.as_deref().map(|source| ("source", source)));
    query.extend(args.kind.as_deref().map(|kind| ("type", kind)));
    query.extend(position.as_deref().map(|after| ("after", after)));
    let mut request = remote.request(Method::GET, "/v1/events/stream", &query)?;
    request = request.header(header::ACCEPT, "text/event-stream")?;
    if let Some(position) = position.as_deref() {
        request = request.header(HeaderName::from_static("last-event-id"), position)?;
    }

    let mut answer = match tokio::time::timeout(HEAD, client.open(request)).await {
        Err(_) => {
            return Ok(End::Lost(format!("no answer from {} within {}", remote.url, humantime::format_duration(HEAD))));
        }
        Ok(Err(error @ Error::Unusable(_))) => return Err(error.into()),
        Ok(Err(error)) => return Ok(End::Lost(error.to_string())),
        Ok(Ok(answer)) => answer,
    };
    if answer.status != 200 {
        let status = answer.status;
        let answer = tokio::time::timeout(HEAD, answer.collect()).await.context("the refusal is not complete")??;
        let why = format!("{} answers: {}", remote.url, answer.summary());
        anyhow::ensure!(status >= 500, why);
        return Ok(End::Lost(why));
    }

    *progress = true;
    let mut parser = sse::Parser::default();
    loop {
        let part = match tokio::time::timeout(SILENCE, answer.chunk()).await {
            Err(_) => return Ok(End::Lost(format!("{} is silent", remote.url))),
            Ok(Err(error)) => return Ok(End::Lost(error.to_string())),
            Ok(Ok(None)) => return Ok(End::Lost(format!("{} ended the stream", remote.url))),
            Ok(Ok(Some(part))) => part,
        };
        if print(&mut parser, &part, out)?.is_break() {
            return Ok(End::Unread);
        }
        if let Some(reached) = parser.position() {
            *position = Some(reached.to_owned());
        }
    }
}

/// Prints the events that `part` completes, a line each; breaks when nobody reads them.
fn print(parser: &mut sse::Parser, part: &[u8], out: &mut impl Write) -> io::Result<ControlFlow<()>> {
    let mut lines = String::new();
    parser.feed(part, |event| {
        // One event is one line, whatever the stream's framing was.
        lines.push_str(&one_line(&event.data));
        lines.push('\n');
    });
    match out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Takes `lines` lines, then is gone.
    struct Reader {
        lines: usize,
        text: String,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.lines == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let line = bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |end| end + 1);
            self.lines -= usize::from(bytes[..line].ends_with(b"\n"));
            self.text.push_str(std::str::from_utf8(&bytes[..line]).unwrap());
            Ok(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn head(listener: &TcpListener) -> (TcpStream, String) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(head).unwrap())
    }

    async fn listener(after: Option<u64>) -> (TcpListener, Args, Remote) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let args = Args { source: Some("demo".into()), kind: None, after, admin: remote::Options::default() };
        (listener, args, Remote { url, token: None, trust: crate::cli::trust::Trust::System })
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

    #[tokio::test]
    async fn a_lost_connection_resumes_behind_the_last_printed_event() {
        let (listener, args, remote) = listener(None).await;
        let server = async {
            let (mut first, request) = head(&listener).await;
            assert!(request.starts_with("GET /v1/events/stream?source=demo HTTP/1.1"), "{request}");
            first.write_all(format!("{OK}id: 7\ndata: {{\"n\":7}}\n\nid: 8\ndata: {{\"n\"").as_bytes()).await.unwrap();
            drop(first);
            let (mut second, request) = head(&listener).await;
            assert!(request.contains("?source=demo&after=7 ") && request.contains("last-event-id: 7"), "{request}");
            second.write_all(format!("{OK}id: 8\ndata: {{\"n\":8}}\n\nid: 9\ndata: 9\n\n").as_bytes()).await.unwrap();
            second.write_all(b"id: 10\ndata: 10\n\n").await.unwrap();
            second
        };
        let mut out = Reader { lines: 3, text: String::new() };
        let mut notes = Vec::new();
        // The reader is gone after three lines: what comes next ends the command quietly.
        let client = tokio::time::timeout(Duration::from_secs(5), follow(&args, &remote, &mut out, &mut notes));
        let (_open, ended) = tokio::join!(server, client);
        ended.expect("still following").unwrap();
        assert_eq!(out.text, "{\"n\":7}\n{\"n\":8}\n9\n");
        assert_eq!(String::from_utf8(notes).unwrap().lines().count(), 1);
    }

    #[tokio::test]
    async fn a_refusal_ends_the_command_with_its_reason() {
        let (listener, args, remote) = listener(Some(0)).await;
        let server = async {
            let (mut stream, request) = head(&listener).await;
            assert!(request.contains("&after=0 "), "{request}");
            let body = r#"{"title":"Unauthorized","detail":"a bearer token is needed"}"#;
            let answer = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let ((), ended) = tokio::join!(server, follow(&args, &remote, &mut out, &mut notes));
        assert!(ended.unwrap_err().to_string().ends_with("answers: 401 a bearer token is needed"));
    }

    #[tokio::test]
    async fn a_first_connection_that_fails_is_an_error() {
        let (listener, args, remote) = listener(None).await;
        drop(listener);
        let error = follow(&args, &remote, &mut Vec::new(), &mut io::sink()).await.unwrap_err();
        assert!(error.to_string().contains("is `hookferry serve` running?"), "{error}");
    }
}
