//! A private SQS emulator, one a test. It keeps its queues in memory.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookferry::backend::sqs::{Settings, Sqs};
use hookferry::backend::{Backend, Context, Format};

use super::events::Message;
use super::harness::{Harness, Options, Use};
use super::process::{Process, accepts, ports};

/// An emulator with one queue, standard or FIFO.
pub struct Emulator<const FIFO: bool> {
    port: u16,
    process: Option<Process>,
    dir: tempfile::TempDir,
    pub queue_url: String,
    pub client: Client,
}

pub type Standard = Emulator<false>;
pub type Fifo = Emulator<true>;

/// A message as SQS gives it.
pub struct Received {
    pub body: String,
    pub attributes: HashMap<String, String>,
    pub group: Option<String>,
    pub dedup: Option<String>,
}

fn client(port: u16) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(http);
    Client::from_conf(config.build())
}

impl<const FIFO: bool> Emulator<FIFO> {
    /// Makes the queue, with these attributes more.
    pub async fn create_queue(&mut self, more: &[(QueueAttributeName, &str)]) {
        let name = if FIFO { "webhooks.fifo" } else { "webhooks" };
        let mut create = self.client.create_queue().queue_name(name);
        if FIFO {
            create = create.attributes(QueueAttributeName::FifoQueue, "true");
        }
        for (attribute, value) in more {
            create = create.attributes(attribute.clone(), *value);
        }
        let queue = create.send().await.unwrap();
        self.queue_url = queue.queue_url.unwrap();
    }

    pub fn settings(&self, more: &str) -> Settings {
        let (url, endpoint) = (&self.queue_url, format!("http://127.0.0.1:{}", self.port));
        let text = format!("queue_url = '{url}'\nendpoint = '{endpoint}'\nregion = 'eu-west-1'\n{more}");
        toml::from_str(&text).unwrap()
    }

    pub fn sqs(&self, more: &str) -> Sqs {
        let context = Context { name: "orders".parse().unwrap(), journal: "0123abcd".into() };
        Sqs::new(self.settings(more), &context).with_access_key("test", "test")
    }

    /// Takes every message out of the queue.
    pub async fn take_all(&self) -> Vec<Received> {
        let mut messages = Vec::new();
        loop {
            let receive = self.client.receive_message().queue_url(&self.queue_url).max_number_of_messages(10);
            let all = MessageSystemAttributeName::All;
            let answer =
                receive.message_system_attribute_names(all).message_attribute_names("All").send().await.unwrap();
            let Some(received) = answer.messages.filter(|received| !received.is_empty()) else { return messages };
            for message in received {
                let receipt = message.receipt_handle.unwrap();
                self.client.delete_message().queue_url(&self.queue_url).receipt_handle(receipt).send().await.unwrap();
                let system = message.attributes.unwrap_or_default();
                let attributes = message.message_attributes.unwrap_or_default().into_iter();
                messages.push(Received {
                    body: message.body.unwrap(),
                    attributes: attributes.map(|(name, value)| (name, value.string_value.unwrap())).collect(),
                    group: system.get(&MessageSystemAttributeName::MessageGroupId).cloned(),
                    dedup: system.get(&MessageSystemAttributeName::MessageDeduplicationId).cloned(),
                });
            }
        }
    }
}

/// Attributes that every binary message has room for.
const ALWAYS: [&str; 8] = ["id", "type", "source", "specversion", "provider", "datacontenttype", "time", "sequence"];

#[async_trait::async_trait]
impl<const FIFO: bool> Harness for Emulator<FIFO> {
    const ORDERED: bool = false;
    const DURABLE: bool = false;
    const TOO_LARGE: usize = 1 << 20;

    async fn start(_mode: Use) -> Self {
        let port = ports(1);
        let dir = tempfile::tempdir().unwrap();
        let mut emulator = Self { port, process: None, dir, queue_url: String::new(), client: client(port) };
        emulator.restart().await;
        emulator
    }

    fn backend(&self, options: Options) -> Arc<dyn Backend> {
        let format = format!("{:?}", options.format).to_lowercase();
        let more = format!("format = '{format}'\ntimeout = '{}ms'", options.timeout.as_millis());
        Arc::new(self.sqs(&more))
    }

    fn carries(&self, format: Format, attribute: &str) -> bool {
        format == Format::Structured || ALWAYS.contains(&attribute)
    }

    async fn read_all(&mut self, format: Format) -> Vec<Message> {
        let messages = self.take_all().await.into_iter().map(|mut message| match format {
            Format::Structured => {
                let found = Message::structured(message.body.as_bytes());
                assert_eq!(message.attributes["contentType"], "application/cloudevents+json");
                for name in ["id", "type", "source", "provider"] {
                    assert_eq!(message.attributes[name], found.attributes[name]);
                }
                found
            }
            Format::Binary => {
                let base64 = message.attributes.remove("dataencoding").is_some();
                let data =
                    if base64 { STANDARD.decode(message.body.trim()).unwrap() } else { message.body.into_bytes() };
                let content_type = message.attributes.remove("contentType").unwrap();
                message.attributes.insert("datacontenttype".into(), content_type);
                message.attributes.retain(|name, _| ALWAYS.contains(&name.as_str()));
                Message { attributes: message.attributes.into_iter().collect(), data }
            }
        });
        messages.collect()
    }

    async fn kill(&mut self) {
        self.process = None;
    }

    async fn restart(&mut self) {
        let venv = std::env::var("HOOKFERRY_TEST_VENV");
        let python = venv.map_or_else(|_| "python3".to_owned(), |venv| format!("{venv}/bin/python"));
        let text = |text: &str| text.to_owned();
        let env = [
            ("BIND_HOST", text("127.0.0.1")),
            ("MINISTACK_HOST", text("127.0.0.1")),
            ("GATEWAY_PORT", self.port.to_string()),
            ("SERVICES", text("sqs")),
            ("TMPDIR", self.dir.path().display().to_string()),
        ];
        let mut process = Process::start(&[&python, "-m", "ministack"], &env, self.dir.path(), "");
        process.wait("ministack 1.5.33 (PyPI) into $HOOKFERRY_TEST_VENV", || accepts(self.port)).await;
        self.process = Some(process);
        self.create_queue(&[]).await;
    }

    async fn stall(&mut self) {
        self.process.as_ref().unwrap().stall();
    }

    async fn resume(&mut self) {
        self.process.as_ref().unwrap().resume();
    }

    async fn spoil(&mut self) {
        self.client.delete_queue().queue_url(&self.queue_url).send().await.unwrap();
    }

    async fn repair(&mut self) {
        self.create_queue(&[]).await;
    }
}
