//! Calls of the admin listener's JSON API, and lines for whoever reads the output.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::http::{Answer, Client, Method, header};
use super::remote::Remote;

/// Longest wait for one answer.
const LIMIT: Duration = Duration::from_secs(30);

/// The listener does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{url} answers: {summary}")]
pub struct Refused {
    url: String,
    summary: String,
    /// Status code.
    pub status: u16,
}

/// A connection to the admin listener.
pub struct Api {
    remote: Remote,
    client: Client,
}

impl Api {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn new(remote: Remote) -> anyhow::Result<Self> {
        Ok(Self { client: remote.client()?, remote })
    }

    /// Reads what is at `path`.
    ///
    /// # Errors
    /// No answer, [`Refused`], or something that is not `T`.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<T> {
        let answer = self.call(Method::GET, path, query, None).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Posts `body` as JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let answer = self.call(Method::POST, path, &[], Some(serde_json::to_vec(body)?.into())).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Deletes what is at `path`.
    ///
    /// # Errors
    /// No answer, or [`Refused`].
    pub async fn delete(&mut self, path: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, path, &[], None).await.map(drop)
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.remote.request(method, path, query)?;
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json")?;
            request.body = body;
        }
        let answer = self.client.send(request, LIMIT).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        let (url, summary) = (self.remote.url.to_string(), answer.summary());
        Err(Refused { url, summary, status: answer.status }.into())
    }
}

/// Runs a command that speaks to the listener.
///
/// # Errors
/// The command's.
pub fn block<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Prints `text` and a line break; breaks when nobody reads any more.
///
/// # Errors
/// Standard output cannot be written.
pub fn line(text: &str) -> anyhow::Result<ControlFlow<()>> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error.into()),
    }
}

/// One JSON value on one line, and of the same meaning: line breaks stand only between its tokens. What would change how
/// a terminal shows a line stands only in its texts, and is escaped there.
pub fn one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | '\r' => line.push(' '),
            // A tab stands between tokens too.
            c if is_unseen(c) && c != '\t' => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line
}

/// Whether a character shows nothing and changes what a terminal shows beside it: control characters, ends of lines
/// that only some programs know, and marks that turn the direction of writing.
fn is_unseen(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Text of a sender or a broker as a terminal may see it: what is unseen is escaped.
pub fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if is_unseen(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// As [`plain`], but line breaks and tabs stay.
pub fn plain_lines(text: &str) -> String {
    text.split('\n')
        .map(|line| line.split('\t').map(plain).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Rows under a head, each column as wide as its widest cell.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).chain([head[n].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(std::array::from_fn(|n| row[n].as_str())));
    [line(head)].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_wrote_cannot_move_the_cursor_of_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{9b}é"), "a\\u{1b}[2Jb\\r\\n\\u{9b}é");
        assert_eq!(plain_lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
        assert_eq!(plain("a\u{202e}b\u{2028}\u{2066}ü"), "a\\u{202e}b\\u{2028}\\u{2066}ü");
    }

    #[test]
    fn json_on_one_line_means_the_same_and_nothing_in_it_turns_a_line_around() {
        let json = "{\t\"a\": \"x\u{202e}y\u{9b}\u{7f}\u{2028}é\\n\",\r\n \"b\": 1e400}";
        let line = one_line(json);
        assert_eq!(line, "{\t\"a\": \"x\\u202ey\\u009b\\u007f\\u2028é\\n\",   \"b\": 1e400}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(&text.replace("1e400", "1")).unwrap();
        assert_eq!(read(&line), read(json));
    }

    #[test]
    fn columns_stand_under_each_other() {
        let rows =
            [["1".to_owned(), "ünï".to_owned(), "x".to_owned()], ["22".to_owned(), "y".to_owned(), String::new()]];
        assert_eq!(table(["N", "A", "B"], &rows), "N   A    B\n1   ünï  x\n22  y");
    }
}
