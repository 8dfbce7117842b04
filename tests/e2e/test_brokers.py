"""Brokers that are down, die, stall, or lack what they should hold: senders never notice, consumers miss nothing."""

import json
import threading
import time

import pytest
from conftest import sqs_backend
from harness import sources
from harness.brokers import RabbitReader, Redis, Sqs, SqsReader
from harness.load import Load, check_books
from harness.sources import unique
from harness.wait import stays, until


class OnRedis:
    """How the tests below use each broker: its configuration and what arrived, in order."""

    name = "main"
    repeats = 0  # the cursor lives beside the data

    def __init__(self, broker):
        self.broker = broker
        self.stream = unique("stream-")

    def config(self):
        return f'\n[backends.main]\ntype = "redis"\nurl = "{self.broker.url}"\nstream = "{self.stream}"\n'

    def arrived(self):
        return [entry[b"event"] for entry in self.broker.entries(self.stream)]


class OnRabbit:
    name = "rabbit"
    repeats = 10_000  # at most the batches in flight; checked where it matters

    def __init__(self, broker):
        self.broker = broker
        self.exchange = unique("x-")
        self.queue = f"{self.exchange}.q"
        self.bodies = []

    def config(self):
        return (
            f'\n[backends.rabbit]\ntype = "rabbitmq"\nurl = "{self.broker.url}"\nexchange = "{self.exchange}"\n'
            f'queue = "{self.queue}"\nrouting_key = "{{type}}"\n'
        )

    def arrived(self):
        # A new connection each time: the broker may have been another process before.
        reader = RabbitReader(self.broker, self.queue)
        self.bodies += [body for _, body in reader.drain()]
        reader.close()
        return self.bodies


class OnSqs:
    name = "orders"
    repeats = 10_000

    def __init__(self, broker):
        self.broker = broker
        self.url = broker.queue(unique("q-"), MaximumMessageSize="1048576")
        self.reader = SqsReader(broker, self.url)

    def config(self):
        return sqs_backend("orders", self.broker, self.url)

    def arrived(self):
        # A standard queue keeps no order of its own.
        texts = [message["Body"].encode() for message in self.reader.drain()]
        return sorted(texts, key=lambda text: json.loads(text)["sequence"])


KINDS = {"redis": OnRedis, "rabbit": OnRabbit, "sqs": OnSqs}


@pytest.fixture
def brokers(tmp_path, rabbit):
    """Brokers that a test may stall and kill: RabbitMQ is the run's own (it boots slowly), up again afterwards."""
    made = {"redis": Redis(tmp_path / "redis").start(), "rabbit": rabbit, "sqs": Sqs(tmp_path / "sqs").start()}
    yield made
    rabbit.resume()
    if rabbit.process is None:
        rabbit.start()
    made["redis"].close()
    made["sqs"].close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_that_is_down_at_start_gets_everything_once_it_is_up(bridges, oracles, brokers, kind):
    broker = brokers[kind]
    target = KINDS[kind](broker)
    broker.stop()
    bridge = bridges(sources.only("acme") + target.config()).start()
    load = Load(bridge, oracles).run(200)
    load.check_unnoticed()
    assert bridge.metric("hookferry_backend_up", backend=target.name) == 0
    assert bridge.metric("hookferry_backlog_events", backend=target.name) >= len(load.acknowledged)
    ready = bridge.admin("GET", "/readyz")
    assert ready.status == 200, "a broker that is down does not make the bridge unready"
    assert target.name in ready.body.decode() or "degraded" in ready.body.decode()
    broker.start()
    bridge.wait_drained(target.name, seconds=60)
    check_books(load, target.arrived())
    assert bridge.metric("hookferry_backend_up", backend=target.name) == 1
    assert bridge.metric("hookferry_published_total", backend=target.name) == len(load.acknowledged)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_that_dies_under_load_and_comes_back_misses_nothing(bridges, oracles, brokers, kind):
    broker = brokers[kind]
    target = KINDS[kind](broker)
    bridge = bridges(sources.only("acme") + target.config()).start()
    load = Load(bridge, oracles, pace=0.005).start()
    load.reach(100)
    if kind == "rabbit":
        # RabbitMQ 3.10 registers a new quorum queue on disk half a second late, and forgets it in a kill before.
        time.sleep(1.5)
    # The emulator keeps its queues only over a clean stop.
    broker.stop() if kind == "sqs" else broker.kill()
    load.reach(len(load.acknowledged) + 200)
    broker.start()
    load.reach(len(load.acknowledged) + 100)
    load.stop()
    load.check_unnoticed()
    bridge.wait_drained(target.name, seconds=60)
    check_books(load, target.arrived(), repeats=target.repeats)
    assert bridge.metric("hookferry_publish_failures_total", backend=target.name) >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_stalled_broker_holds_up_neither_senders_nor_the_other_brokers(bridges, oracles, brokers, kind):
    targets = {name: make(brokers[name]) for name, make in KINDS.items()}
    bridge = bridges(sources.only("acme") + "".join(target.config() for target in targets.values())).start()
    load = Load(bridge, oracles, senders=2, pace=0.01).start()
    load.reach(50)
    bridge.wait_delivered(*[target.name for target in targets.values()], seconds=60)
    others = [target.name for name, target in targets.items() if name != kind]
    ages = []
    watching = threading.Event()

    def watch():
        while not watching.is_set():
            ages.append(max(bridge.metric("hookferry_backlog_age_seconds", backend=name) for name in others))
            time.sleep(0.1)

    watcher = threading.Thread(target=watch, daemon=True)
    brokers[kind].stall()
    try:
        started = len(load.answers)
        watcher.start()
        load.reach(len(load.acknowledged) + 400, seconds=90)
        waits = sorted(took for _, took, _ in load.answers[started:])
    finally:
        watching.set()
        watcher.join(20)
        brokers[kind].resume()
    load.stop()
    load.check_unnoticed()
    assert waits[len(waits) // 2] < 0.5
    assert max(ages) < 1, f"the others lagged {max(ages):.2f} s"
    bridge.wait_drained(*[target.name for target in targets.values()], seconds=90)
    for name, target in targets.items():
        check_books(load, target.arrived(), repeats=0 if name != kind else target.repeats)


def test_a_missing_queue_is_waited_for_and_filled_once_it_is_there(bridges, oracles, brokers):
    """`declare = false`: RabbitMQ would confirm what it throws away."""
    rabbit = brokers["rabbit"]
    exchange = unique("x-")
    queue = f"{exchange}.q"
    bridge = bridges(
        sources.only("acme") + f'\n[backends.rabbit]\ntype = "rabbitmq"\nurl = "{rabbit.url}"\n'
        f'exchange = "{exchange}"\nqueue = "{queue}"\nrouting_key = "{{type}}"\ndeclare = false\n'
    ).start()
    load = Load(bridge, oracles).run(50)
    stays(lambda: bridge.metric("hookferry_published_total", backend="rabbit") == 0, 1.0)
    assert bridge.metric("hookferry_dead_letters", backend="rabbit") == 0
    connection = rabbit.connection()
    channel = connection.channel()
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(queue, exchange, "#")
    connection.close()
    bridge.wait_drained("rabbit", seconds=60)
    reader = RabbitReader(rabbit, queue)
    check_books(load, [body for _, body in reader.drain()])
    reader.close()


def test_a_message_that_no_queue_takes_is_not_counted_as_delivered(bridges, oracles, brokers):
    """A queue unbound while the bridge runs: the broker returns messages and confirms them."""
    rabbit = brokers["rabbit"]
    target = OnRabbit(rabbit)
    bridge = bridges(sources.only("acme") + target.config()).start()
    before = Load(bridge, oracles).run(20)
    bridge.wait_drained("rabbit")
    connection = rabbit.connection()
    channel = connection.channel()
    channel.queue_unbind(target.queue, target.exchange, "#")
    after = Load(bridge, oracles).run(20)
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="rabbit", reason="unroutable") >= 1,
          20, "returned messages")  # fmt: skip
    channel.queue_bind(target.queue, target.exchange, "#")
    connection.close()
    bridge.wait_drained("rabbit", seconds=60)
    after.acknowledged |= before.acknowledged
    after.tried |= before.tried
    check_books(after, target.arrived(), repeats=len(after.acknowledged))


def test_a_missing_sqs_queue_is_waited_for_and_filled_once_it_is_there(bridges, oracles, brokers):
    sqs = brokers["sqs"]
    name = unique("q-")
    url = f"{sqs.endpoint}/000000000000/{name}"
    bridge = bridges(sources.only("acme") + sqs_backend("orders", sqs, url)).start()
    load = Load(bridge, oracles).run(50)
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="orders") >= 1, what="a failure")
    assert bridge.metric("hookferry_dead_letters", backend="orders") == 0
    assert sqs.queue(name) == url
    bridge.wait_drained("orders", seconds=60)
    texts = [message["Body"].encode() for message in SqsReader(sqs, url).drain()]
    check_books(load, sorted(texts, key=lambda text: json.loads(text)["sequence"]))


def test_a_redis_key_of_another_type_is_waited_for_and_nothing_is_dropped(bridges, oracles, brokers):
    redis = brokers["redis"]
    target = OnRedis(redis)
    redis.client().set(target.stream, "in the way")
    bridge = bridges(sources.only("acme") + target.config()).start()
    load = Load(bridge, oracles).run(50)
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="main") >= 1, what="a failure")
    assert bridge.metric("hookferry_dead_letters", backend="main") == 0
    redis.client().delete(target.stream)
    bridge.wait_drained("main", seconds=60)
    check_books(load, target.arrived())


def test_a_redis_that_is_out_of_memory_is_waited_for_and_nothing_is_doubled(bridges, oracles, brokers):
    redis = brokers["redis"]
    target = OnRedis(redis)
    client = redis.client()
    bridge = bridges(sources.only("acme") + target.config()).start()
    first = Load(bridge, oracles).run(20)
    bridge.wait_drained("main")
    client.config_set("maxmemory", 1)
    load = Load(bridge, oracles).run(100)
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="main", reason="full") >= 1, what="OOM")
    client.config_set("maxmemory", 0)
    bridge.wait_drained("main", seconds=60)
    load.acknowledged |= first.acknowledged
    load.tried |= first.tried
    check_books(load, target.arrived())


def test_a_rabbitmq_queue_that_is_full_is_waited_for_and_nothing_is_dropped(bridges, oracles, brokers):
    rabbit = brokers["rabbit"]
    exchange = unique("x-")
    queue = f"{exchange}.q"
    connection = rabbit.connection()
    channel = connection.channel()
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.queue_declare(queue, durable=True, arguments={"x-max-length": 30, "x-overflow": "reject-publish"})
    channel.queue_bind(queue, exchange, "#")
    bridge = bridges(
        sources.only("acme") + f'\n[backends.rabbit]\ntype = "rabbitmq"\nurl = "{rabbit.url}"\n'
        f'exchange = "{exchange}"\nqueue = "{queue}"\nrouting_key = "{{type}}"\ndeclare = false\n'
    ).start()
    load = Load(bridge, oracles).run(120)
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="rabbit") >= 1, what="a nack")
    reader = RabbitReader(rabbit, queue)
    until(lambda: len({json.loads(body)["id"] for _, body in reader.drain()}) == len(load.acknowledged), 60, "all")
    assert bridge.metric("hookferry_dead_letters", backend="rabbit") == 0
    bridge.wait_drained("rabbit")
    connection.close()
    reader.close()


def test_order_is_kept_over_outages(bridges, senders, brokers):
    redis = brokers["redis"]
    target = OnRedis(redis)
    bridge = bridges(sources.only("std") + target.config()).start()
    sent = []
    for round_ in range(4):
        for _ in range(25):
            one = senders.make("std")
            assert bridge.post(one.path, one.headers, one.body).status == 200
            sent.append(one.id)
        if round_ % 2:
            redis.start()
        else:
            redis.kill()
    bridge.wait_drained("main", seconds=60)
    assert [json.loads(text)["id"] for text in target.arrived()] == sent
