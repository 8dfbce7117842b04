//! A private redis-server, one a test.

use std::sync::Arc;

use hookferry::backend::redis::{Redis, Settings};
use hookferry::backend::{Backend, Context, Format};
use redis::aio::MultiplexedConnection;

use super::events::Message;
use super::harness::{Harness, Options, Use};
use super::process::{Process, ports};

/// Name of the stream.
pub const STREAM: &str = "webhooks";

/// Fields of a stream's entry, in order.
pub type Fields = Vec<(String, Vec<u8>)>;

pub struct RedisServer {
    pub port: u16,
    extra: Vec<String>,
    process: Option<Process>,
    dir: tempfile::TempDir,
}

impl RedisServer {
    /// A server with these arguments more.
    pub async fn with(extra: &[&str]) -> Self {
        let extra = extra.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { port: ports(1), extra, process: None, dir: tempfile::tempdir().unwrap() };
        server.restart().await;
        server
    }

    pub fn settings(&self, more: &str) -> Settings {
        toml::from_str(&format!("url = 'redis://127.0.0.1:{}'\n{more}", self.port)).unwrap()
    }

    pub fn context(journal: &str) -> Context {
        Context { name: "main".parse().unwrap(), journal: journal.to_owned() }
    }

    pub fn redis(&self, more: &str) -> Redis {
        Redis::new(self.settings(more), &Self::context("0123abcd"))
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// One command, given as words.
    pub async fn run<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut built = redis::cmd(words.next().unwrap());
        for word in words {
            built.arg(word);
        }
        built.query_async(&mut self.connection().await).await.unwrap()
    }

    /// Entries of a stream: fields in order.
    pub async fn entries(&self, stream: &str) -> Vec<Fields> {
        let entries: Vec<(String, Fields)> =
            redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query_async(&mut self.connection().await).await.unwrap();
        entries.into_iter().map(|(_, fields)| fields).collect()
    }
}

#[async_trait::async_trait]
impl Harness for RedisServer {
    const TOO_LARGE: usize = 3 << 20;

    async fn start(_mode: Use) -> Self {
        Self::with(&["--appendonly", "yes", "--proto-max-bulk-len", "2mb"]).await
    }

    fn backend(&self, options: Options) -> Arc<dyn Backend> {
        let format = format!("{:?}", options.format).to_lowercase();
        let more = format!("format = '{format}'\ntimeout = '{}ms'", options.timeout.as_millis());
        Arc::new(self.redis(&more))
    }

    async fn read_all(&mut self, format: Format) -> Vec<Message> {
        let entries = self.entries(STREAM).await.into_iter();
        let messages = entries.map(|mut fields| match format {
            Format::Structured => {
                let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, ["id", "type", "event"]);
                let message = Message::structured(&fields[2].1);
                assert_eq!(fields[0].1, message.attributes["id"].as_bytes());
                assert_eq!(fields[1].1, message.attributes["type"].as_bytes());
                message
            }
            Format::Binary => {
                let (name, data) = fields.pop().unwrap();
                assert_eq!(name, "data");
                let text = |value| String::from_utf8(value).unwrap();
                Message { attributes: fields.into_iter().map(|(name, value)| (name, text(value))).collect(), data }
            }
        });
        messages.collect()
    }

    async fn kill(&mut self) {
        self.process = None;
    }

    async fn restart(&mut self) {
        let (port, dir) = (self.port.to_string(), self.dir.path().display().to_string());
        let mut command = vec!["redis-server", "--port", &port, "--bind", "127.0.0.1", "--dir", &dir, "--save", ""];
        command.extend(self.extra.iter().map(String::as_str));
        let mut process = Process::start(&command, &[], self.dir.path(), "");
        process.wait("redis-server (Debian package redis-server)", || ready(self.port)).await;
        self.process = Some(process);
    }

    async fn stall(&mut self) {
        self.process.as_ref().unwrap().stall();
    }

    async fn resume(&mut self) {
        self.process.as_ref().unwrap().resume();
    }

    async fn spoil(&mut self) {
        self.run::<()>(&format!("LPUSH {STREAM} x")).await;
    }

    async fn repair(&mut self) {
        self.run::<()>(&format!("DEL {STREAM}")).await;
    }
}

async fn ready(port: u16) -> bool {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
    let pong = redis::cmd("PING").query_async::<String>(&mut connection).await;
    // A server that asks for a password is up.
    pong.is_ok() || pong.is_err_and(|error| error.code() == Some("NOAUTH"))
}
