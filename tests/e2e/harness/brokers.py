"""Private brokers: started on free ports of loopback, in their own directories, ended with the test run."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pika
import redis as redis_client
from botocore.config import Config as BotoConfig

from . import ports
from .processes import dies_with_parent
from .wait import until


class Broker:
    """A process that a test may stall, kill and start again, on the same port and with the same data."""

    boot_seconds = 20

    def __init__(self, directory, port=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port or ports.free(self.ports_wanted)
        self.process = None
        self._stalled = False

    ports_wanted = 1

    def _command(self):
        raise NotImplementedError

    def _environment(self):
        return dict(os.environ)

    def is_up(self):
        raise NotImplementedError

    def start(self):
        self.spawn()
        return self.wait_up()

    def spawn(self):
        """Starts the process and returns at once."""
        assert self.process is None
        with open(self.directory / "out", "ab") as out:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent,
            )

    def wait_up(self):
        def up():
            assert self.process.poll() is None, f"{type(self).__name__} ended:\n{self.output()}"
            return self.is_up()

        until(up, self.boot_seconds, f"{type(self).__name__} on port {self.port}", every=0.05)
        return self

    def output(self):
        return (self.directory / "out").read_text(errors="replace")[-3000:]

    def stall(self):
        """Stops every thread of the broker: connections stay open, nothing answers."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        self._stalled = True

    def resume(self):
        if self._stalled:
            os.killpg(self.process.pid, signal.SIGCONT)
            self._stalled = False

    def kill(self):
        self._end(signal.SIGKILL)

    def stop(self):
        self._end(signal.SIGTERM)

    def _end(self, number):
        if self.process is None:
            return
        self.resume()
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def close(self):
        self.kill()


def _accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Redis(Broker):
    def __init__(self, directory, *options):
        super().__init__(directory)
        self.options = options

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def _command(self):
        return [
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"),
            *self.options,
        ]

    def is_up(self):
        try:
            return self.client().ping()
        except (redis_client.ConnectionError, redis_client.BusyLoadingError):
            return False

    def client(self):
        return redis_client.Redis(port=self.port, socket_timeout=30)

    def entries(self, stream, client=None):
        """Every entry of a stream, in order: dicts of bytes."""
        return [fields for _, fields in (client or self.client()).xrange(stream)]


def redis_backend(redis, stream="events", port=None):
    """`[backends.main]` on a Redis, by way of another port where a proxy is between."""
    url = f"redis://127.0.0.1:{port or redis.port}"
    return f'\n[backends.main]\ntype = "redis"\nurl = "{url}"\nstream = "{stream}"\n'


def stream_texts(redis, stream="events"):
    """The events of a stream as structured JSON, in order."""
    return [entry[b"event"] for entry in redis.entries(stream)]


class Rabbit(Broker):
    """One RabbitMQ node with its own epmd, as whatever user runs the tests."""

    boot_seconds = 90
    ports_wanted = 10
    _epmd = None

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"

    def _command(self):
        (self.directory / "enabled_plugins").write_text("[].\n")
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "disk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 512MB\n"
        )
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def _environment(self):
        at, port = self.directory, self.port
        for name in ("log", "mnesia", "config"):
            (at / name).mkdir(exist_ok=True)
        return dict(
            os.environ,
            HOME=str(at),
            RABBITMQ_NODENAME=f"t{port}@localhost",
            RABBITMQ_NODE_PORT=str(port),
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_DIST_PORT=str(port + 1),
            ERL_EPMD_PORT=str(port + 2),
            ERL_EPMD_ADDRESS="127.0.0.1",
            RABBITMQ_MNESIA_BASE=str(at / "mnesia"),
            RABBITMQ_LOG_BASE=str(at / "log"),
            RABBITMQ_PID_FILE=str(at / "pid"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(at / "enabled_plugins"),
            RABBITMQ_GENERATED_CONFIG_DIR=str(at / "config"),
            RABBITMQ_CONF_ENV_FILE="/dev/null",
            RABBITMQ_CONFIG_FILE=str(at / "rabbitmq.conf"),
            RABBITMQ_ADVANCED_CONFIG_FILE=str(at / "advanced.config"),
            RABBITMQ_SCHEDULER_BIND_TYPE="u",
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}",
        )

    def is_up(self):
        if not _accepts(self.port):
            return False
        try:
            self.connection().close()
            return True
        except (pika.exceptions.AMQPError, OSError):
            return False

    def connection(self):
        parameters = pika.ConnectionParameters(
            port=self.port, heartbeat=0, socket_timeout=30, blocked_connection_timeout=30
        )
        return pika.BlockingConnection(parameters)

    def ctl(self, *arguments):
        """Runs `rabbitmqctl` on this node."""
        done = subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", f"t{self.port}@localhost", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def start(self):
        # Left to itself the node would start an epmd that outlives it.
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                ["epmd", "-port", str(self.port + 2), "-address", "127.0.0.1"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=dies_with_parent,
            )
            until(lambda: _accepts(self.port + 2), 20, "epmd")
        return super().start()

    def close(self):
        super().close()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None


class RabbitReader:
    """Reads a queue with its own connection."""

    def __init__(self, rabbit, queue):
        self.connection = rabbit.connection()
        self.channel = self.connection.channel()
        self.queue = queue
        self.messages = []

    def drain(self):
        """Takes what is there; returns everything read so far as (properties, body)."""
        while True:
            method, properties, body = self.channel.basic_get(self.queue, auto_ack=True)
            if method is None:
                return self.messages
            self.messages.append((properties, body))

    def close(self):
        self.connection.close()


class Sqs(Broker):
    """MiniStack, an SQS emulator; keeps its queues over a clean stop."""

    region = "eu-west-1"

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def _command(self):
        return [str(Path(sys.executable).parent / "ministack")]

    def _environment(self):
        return dict(
            os.environ,
            BIND_HOST="127.0.0.1",
            GATEWAY_PORT=str(self.port),
            SERVICES="sqs",
            PERSIST_STATE="1",
            STATE_DIR=str(self.directory / "state"),
            HOME=str(self.directory),
            LOG_LEVEL="WARNING",
        )

    def is_up(self):
        if not _accepts(self.port):
            return False
        try:
            self.client().list_queues()
            return True
        except Exception:
            return False

    def client(self):
        return boto3.client(
            "sqs",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=BotoConfig(retries={"max_attempts": 0}, read_timeout=30),
        )

    def queue(self, name, **attributes):
        """Creates a queue and returns its URL."""
        return self.client().create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


class SqsReader:
    def __init__(self, sqs, url):
        self.client = sqs.client()
        self.url = url
        self.messages = []

    def drain(self):
        """Takes and deletes what is there; returns everything read so far."""
        while True:
            got = self.client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                AttributeNames=["All"],
                WaitTimeSeconds=0,
            ).get("Messages", [])
            if not got:
                return self.messages
            self.messages.extend(got)
            self.client.delete_message_batch(
                QueueUrl=self.url,
                Entries=[{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(got)],
            )

