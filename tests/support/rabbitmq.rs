//! One private RabbitMQ node for all tests of the binary; each test has an exchange and a queue of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hookferry::backend::rabbitmq::{RabbitMq, Settings};
use hookferry::backend::{Backend, Context, Format};
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::AMQPValue;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::events::Message;
use super::harness::{Harness, Options, Use};
use super::process::{Process, accepts, ports};

/// Largest message that the node takes, in bytes.
pub const MAX_MESSAGE: usize = 2 << 20;

static NODE: RwLock<Option<Node>> = RwLock::const_new(None);

/// The node; it ends with the process, and its directory goes with it.
pub struct Node {
    pub port: u16,
    dir: std::path::PathBuf,
    process: Option<Process>,
}

impl Node {
    async fn ensure(node: &mut Option<Self>) {
        let node = node.get_or_insert_with(|| Self {
            port: ports(3),
            dir: tempfile::tempdir().unwrap().keep(),
            process: None,
        });
        match &node.process {
            // A test that failed may have left it stopped.
            Some(process) => process.resume(),
            None => node.boot().await,
        }
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let port = |more: u16| (self.port + more).to_string();
        vec![
            ("HOME", path("")),
            ("RABBITMQ_NODENAME", format!("t{}@localhost", self.port)),
            ("RABBITMQ_NODE_PORT", port(0)),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_DIST_PORT", port(1)),
            ("ERL_EPMD_PORT", port(2)),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_PID_FILE", path("pid")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", path("config")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
            ("RABBITMQ_SCHEDULER_BIND_TYPE", "u".into()),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}".into()),
        ]
    }

    async fn boot(&mut self) {
        for folder in ["log", "mnesia", "config"] {
            std::fs::create_dir_all(self.dir.join(folder)).unwrap();
        }
        std::fs::write(self.dir.join("enabled_plugins"), "[].").unwrap();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\ndisk_free_limit.absolute = 50MB\n\
             vm_memory_high_watermark.absolute = 1GB\nmax_message_size = {MAX_MESSAGE}\n",
            self.port
        );
        std::fs::write(self.dir.join("rabbitmq.conf"), config).unwrap();
        // The wrapper in the path changes user and directory; this is what it calls.
        // Left to itself the node would start an epmd that outlives it; this one ends with the group.
        let script = "epmd -port $ERL_EPMD_PORT -address 127.0.0.1 & exec /usr/lib/rabbitmq/bin/rabbitmq-server";
        let clean = "test -e keep || rm -rf \"$PWD\"";
        let mut process = Process::start(&["bash", "-c", script], &self.env(), &self.dir, clean);
        process.wait("rabbitmq-server (Debian package rabbitmq-server)", || answers(self.port)).await;
        self.process = Some(process);
    }

    /// Ends the node; its directory stays.
    async fn end(&mut self, gently: bool) {
        std::fs::write(self.dir.join("keep"), "").unwrap();
        let process = self.process.take().unwrap();
        if gently {
            process.stop().await;
        } else {
            drop(process);
        }
        std::fs::remove_file(self.dir.join("keep")).unwrap();
    }

    /// rabbitmqctl with these arguments, once the node has started all its parts: it answers clients before.
    pub fn ctl(&self, arguments: &[&str]) {
        self.run(&["await_startup", "--timeout", "60"]);
        self.run(arguments);
    }

    fn run(&self, arguments: &[&str]) {
        let status = std::process::Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl")
            .args(arguments)
            .envs(self.env())
            .current_dir(&self.dir)
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    }
}

async fn answers(port: u16) -> bool {
    accepts(port).await && Connection::connect(&url(port), ConnectionProperties::default()).await.is_ok()
}

fn url(port: u16) -> String {
    format!("amqp://guest:guest@127.0.0.1:{port}/%2f")
}

enum Hold {
    Shared(RwLockReadGuard<'static, Option<Node>>),
    Alone(RwLockWriteGuard<'static, Option<Node>>),
}

/// A place in the node.
pub struct Rabbit {
    hold: Hold,
    pub port: u16,
    /// Name of the exchange and of the queue.
    pub name: String,
}

impl Rabbit {
    pub fn settings(&self, more: &str) -> Settings {
        let (url, name) = (url(self.port), &self.name);
        toml::from_str(&format!("url = '{url}'\nexchange = '{name}'\nqueue = '{name}'\n{more}")).unwrap()
    }

    pub fn rabbit(&self, more: &str) -> RabbitMq {
        let context = Context { name: "rabbit".parse().unwrap(), journal: "0123abcd".into() };
        RabbitMq::new(self.settings(more), &context)
    }

    /// A connection that must live as long as the channel is used.
    pub async fn channel(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&url(self.port), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Takes every message out of the queue.
    pub async fn take_all(&self) -> Vec<BasicGetMessage> {
        let (_connection, channel) = self.channel().await;
        let mut messages = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = channel.basic_get(self.name.as_str().into(), options).await.unwrap() {
            messages.push(message);
        }
        messages
    }

    pub fn node(&mut self) -> &mut Node {
        match &mut self.hold {
            Hold::Alone(node) => node.as_mut().unwrap(),
            Hold::Shared(_) => panic!("the test shares the broker with others"),
        }
    }
}

#[async_trait::async_trait]
impl Harness for Rabbit {
    const TOO_LARGE: usize = 3 << 20;

    async fn start(mode: Use) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let hold = match mode {
            Use::Alone => {
                let mut node = NODE.write().await;
                Node::ensure(&mut node).await;
                Hold::Alone(node)
            }
            Use::Shared => loop {
                let node = NODE.read().await;
                if node.as_ref().is_some_and(|node| node.process.is_some()) {
                    break Hold::Shared(node);
                }
                drop(node);
                Node::ensure(&mut *NODE.write().await).await;
            },
        };
        let port = match &hold {
            Hold::Shared(node) => node.as_ref().map(|node| node.port),
            Hold::Alone(node) => node.as_ref().map(|node| node.port),
        };
        Self { hold, port: port.unwrap(), name: format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed)) }
    }

    fn backend(&self, options: Options) -> Arc<dyn Backend> {
        let format = format!("{:?}", options.format).to_lowercase();
        let more = format!("format = '{format}'\ntimeout = '{}ms'", options.timeout.as_millis());
        Arc::new(self.rabbit(&more))
    }

    async fn read_all(&mut self, format: Format) -> Vec<Message> {
        let messages = self.take_all().await.into_iter().map(|message| match format {
            Format::Structured => Message::structured(&message.data),
            Format::Binary => {
                let headers = message.properties.headers().clone().unwrap_or_default();
                let attributes = headers.into_iter().filter_map(|(name, value)| {
                    // The queue adds headers of its own.
                    let name = name.as_str().strip_prefix("cloudEvents:")?;
                    match value {
                        AMQPValue::LongString(text) => Some((name.to_owned(), text.to_string())),
                        other => panic!("{name}: {other:?}"),
                    }
                });
                Message { attributes: attributes.collect(), data: message.delivery.data }
            }
        });
        messages.collect()
    }

    async fn settle(&mut self) {
        // RabbitMQ 3.10 writes the list of quorum queues to disk at a clean stop and every three minutes:
        // a queue younger than that has no leader after a kill -9.
        self.node().end(true).await;
        self.node().boot().await;
    }

    async fn kill(&mut self) {
        self.node().end(false).await;
    }

    async fn restart(&mut self) {
        self.node().boot().await;
    }

    async fn stall(&mut self) {
        self.node().process.as_ref().unwrap().stall();
    }

    async fn resume(&mut self) {
        self.node().process.as_ref().unwrap().resume();
    }

    async fn spoil(&mut self) {
        // What the bridge wants to be a topic exchange is a fanout exchange.
        let (_connection, channel) = self.channel().await;
        let options = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
        let kind = lapin::ExchangeKind::Fanout;
        channel.exchange_declare(self.name.as_str().into(), kind, options, Default::default()).await.unwrap();
    }

    async fn repair(&mut self) {
        let (_connection, channel) = self.channel().await;
        channel.exchange_delete(self.name.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
        channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    }
}
