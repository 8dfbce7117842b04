"""Fixtures: one of each broker and one signer a run, one bridge or more a test."""

import os

import pytest

from harness.bridge import Bridge, binary
from harness.brokers import Rabbit, RabbitReader, Redis, Sqs, SqsReader
from harness.disk import Disk
from harness.oracles import Oracles
from harness.proxy import Proxy
from harness.sources import Senders, unique


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the long forms of the tests as well")


def pytest_collection_modifyitems(config, items):
    # Long forms are other parameters of tests that always run: left out, not skipped.
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


def pytest_sessionstart(session):
    if not os.access(binary(), os.X_OK):
        raise pytest.UsageError(f"no program at {binary()}: run cargo build, or set HOOKFERRY_BIN")


@pytest.fixture(scope="session")
def oracles():
    oracles = Oracles(os.environ.get("HOOKFERRY_TEST_NODE", "node"))
    yield oracles
    oracles.close()


@pytest.fixture(scope="session")
def senders(oracles):
    return Senders(oracles)


def _running(broker):
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    yield from _running(Redis(tmp_path_factory.mktemp("redis")))


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory):
    yield from _running(Rabbit(tmp_path_factory.mktemp("rabbit")))


@pytest.fixture(scope="session")
def sqs(tmp_path_factory):
    yield from _running(Sqs(tmp_path_factory.mktemp("sqs")))


@pytest.fixture
def bridges(tmp_path):
    """Makes bridges; at the end of the test each is stopped and its log is checked."""
    made = []

    def make(config="", **options):
        bridge = Bridge(tmp_path / f"bridge{len(made)}", config, **options)
        made.append(bridge)
        return bridge

    yield make
    failures = []
    for bridge in made:
        try:
            bridge.close()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, "\n".join(failures)


@pytest.fixture
def own_redis(tmp_path):
    """A Redis of this test's own, to be stalled and killed; its stream is `events`."""
    broker = Redis(tmp_path / "redis").start()
    yield broker
    broker.close()


@pytest.fixture
def disk(tmp_path):
    """A file system of this test's own, 192 MiB."""
    disk = Disk(tmp_path)
    yield disk
    disk.unmount()


@pytest.fixture
def proxied():
    """Puts a proxy that can fail before a port."""
    made = []

    def make(port):
        made.append(Proxy(port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def stream():
    return unique("stream-")


@pytest.fixture
def to_redis(redis, stream):
    """`[backends.main]` on a stream of this test's own."""
    return f'\n[backends.main]\ntype = "redis"\nurl = "{redis.url}"\nstream = "{stream}"\n'


@pytest.fixture
def rabbit_names():
    name = unique("x-")
    return name, f"{name}.queue"


@pytest.fixture
def to_rabbit(rabbit, rabbit_names):
    """`[backends.rabbit]` on an exchange and a queue of this test's own."""
    exchange, queue = rabbit_names
    return (
        f'\n[backends.rabbit]\ntype = "rabbitmq"\nurl = "{rabbit.url}"\n'
        f'exchange = "{exchange}"\nqueue = "{queue}"\nrouting_key = "{{type}}"\n'
    )


@pytest.fixture
def rabbit_reader(rabbit, rabbit_names):
    """Opens a reader of this test's queue, once the bridge has declared it."""
    opened = []

    def open_reader():
        opened.append(RabbitReader(rabbit, rabbit_names[1]))
        return opened[-1]

    yield open_reader
    for reader in opened:
        reader.close()


@pytest.fixture
def sqs_queue(sqs):
    """URL of a standard queue of this test's own."""
    return sqs.queue(unique("q-"), MaximumMessageSize="1048576")


@pytest.fixture
def to_sqs(sqs, sqs_queue):
    return sqs_backend("orders", sqs, sqs_queue)


@pytest.fixture
def sqs_reader(sqs, sqs_queue):
    return SqsReader(sqs, sqs_queue)


def sqs_backend(name, sqs, url, more=""):
    return (
        f'\n[backends.{name}]\ntype = "sqs"\nqueue_url = "{url}"\n'
        f'endpoint = "{sqs.endpoint}"\nregion = "{sqs.region}"\n{more}\n'
    )
