"""What brokers answer when they are in trouble: it is waited for, nothing is buried, nothing is doubled in Redis."""

import json
import time

import pika
import pytest
from harness import sources
from harness.brokers import RabbitReader, Redis, redis_backend, stream_texts
from harness.load import Load, check_books
from harness.sources import unique
from harness.wait import until

PATIENT = 'ack_timeout = "8s"'


def failures(bridge, backend="main"):
    return bridge.metric("hookferry_publish_failures_total", backend=backend)


def merged(*loads):
    for load in loads[1:]:
        loads[0].acknowledged |= load.acknowledged
        loads[0].tried |= load.tried
    return loads[0]


# Redis


def misconf(client, directory):
    """A snapshot that cannot be written: Redis refuses every write."""
    (directory / "dump.rdb").mkdir()
    client.config_set("save", "3600 1000000")
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 20, "a failed snapshot")


def misconf_over(client, directory):
    (directory / "dump.rdb").rmdir()
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", 20, "a snapshot")


TROUBLE = {
    "MISCONF": (misconf, misconf_over),
    "NOREPLICAS": (
        lambda client, _: client.config_set("min-replicas-to-write", 1),
        lambda client, _: client.config_set("min-replicas-to-write", 0),
    ),
    "NOPERM": (
        lambda client, _: client.execute_command("ACL", "SETUSER", "default", "-xadd"),
        lambda client, _: client.execute_command("ACL", "SETUSER", "default", "+xadd"),
    ),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_redis_that_refuses_writes_is_waited_for(bridges, oracles, own_redis, trouble):
    begin, end = TROUBLE[trouble]
    bridge = bridges(sources.only("acme") + redis_backend(own_redis), server=PATIENT).start()
    first = Load(bridge, oracles).run(30)
    bridge.wait_drained("main")
    begin(own_redis.client(), own_redis.directory)
    load = Load(bridge, oracles).run(100)
    assert set(load.statuses) == {200}
    until(lambda: failures(bridge) >= 1, 10, trouble)
    assert bridge.metric("hookferry_backend_up", backend="main") == 0
    end(own_redis.client(), own_redis.directory)
    bridge.wait_drained("main", seconds=40)
    assert bridge.metric("hookferry_dead_letters", backend="main") == 0
    check_books(merged(load, first), stream_texts(own_redis))


def test_a_redis_that_loads_its_data_is_waited_for(bridges, oracles, own_redis):
    bridge = bridges(sources.only("acme") + redis_backend(own_redis), server=PATIENT).start()
    client = own_redis.client()
    with client.pipeline(transaction=False) as many:
        for number in range(3000):
            many.set(f"other-{number}", "x")
        many.execute()
    first = Load(bridge, oracles).run(50)
    bridge.wait_drained("main")
    own_redis.kill()
    own_redis.options = ("--key-load-delay", "1000")
    own_redis.spawn()
    load = Load(bridge, oracles).run(50)
    until(lambda: failures(bridge) >= 1 and "LOADING" in bridge.log().upper(), 10, "LOADING")
    own_redis.wait_up()
    bridge.wait_drained("main", seconds=40)
    check_books(merged(load, first), stream_texts(own_redis))


def test_a_redis_that_comes_back_from_an_older_snapshot_gets_the_lost_range_once(bridges, oracles, tmp_path):
    redis = Redis(tmp_path / "redis", "--appendonly", "no").start()
    try:
        bridge = bridges(sources.only("acme") + redis_backend(redis), server=PATIENT).start()
        first = Load(bridge, oracles).run(80)
        bridge.wait_drained("main")
        redis.client().save()
        lost = Load(bridge, oracles).run(120)
        bridge.wait_drained("main")
        redis.kill()
        redis.start()
        assert len(stream_texts(redis)) == len(first.acknowledged), "the snapshot is the older one"
        more = Load(bridge, oracles).run(20)
        everything = merged(more, first, lost)
        until(lambda: len(stream_texts(redis)) >= len(everything.acknowledged), 20, "the lost range")
        bridge.wait_drained("main")
        check_books(everything, stream_texts(redis))
        # The bridge restarts as well: what it gave twice is not given a third time.
        bridge.kill()
        bridge.start()
        bridge.wait_drained("main")
        check_books(everything, stream_texts(redis))
        bridge.close()
    finally:
        redis.close()


@pytest.fixture
def replicated(tmp_path, proxied):
    """A master, its replica, and a proxy that stands for their common name."""
    master = Redis(tmp_path / "a").start()
    replica = Redis(tmp_path / "b", "--replicaof", f"127.0.0.1 {master.port}").start()
    until(lambda: replica.client().info("replication")["master_link_status"] == "up", 20, "the replica to follow")
    yield master, replica, proxied(master.port)
    master.close()
    replica.close()


def fail_over(replicated, *, early):
    """The name points at the replica; `early`: before that is told that it is the master."""
    master, replica, proxy = replicated
    proxy.target_port = replica.port
    proxy.cut()
    if not early:
        replica.client().replicaof("NO", "ONE")


def test_a_failover_to_a_replica_loses_and_doubles_nothing(bridges, oracles, replicated):
    master, replica, proxy = replicated
    bridge = bridges(sources.only("acme") + redis_backend(master, port=proxy.port), server=PATIENT).start()
    first = Load(bridge, oracles).run(100)
    bridge.wait_drained("main")
    until(lambda: len(stream_texts(replica)) == len(stream_texts(master)), 10, "the replica to have all")
    master.kill()
    fail_over(replicated, early=True)
    load = Load(bridge, oracles).run(50)
    until(lambda: failures(bridge) >= 1, 10, "READONLY")
    replica.client().replicaof("NO", "ONE")
    bridge.wait_drained("main", seconds=40)
    check_books(merged(load, first), stream_texts(replica))


def test_a_failover_to_a_stale_replica_gets_the_lost_range_once(bridges, oracles, replicated):
    master, replica, proxy = replicated
    bridge = bridges(sources.only("acme") + redis_backend(master, port=proxy.port), server=PATIENT).start()
    first = Load(bridge, oracles).run(60)
    bridge.wait_drained("main")
    until(lambda: len(stream_texts(replica)) == len(stream_texts(master)), 10, "the replica to have all")
    replica.client().execute_command("CLIENT", "KILL", "TYPE", "master")
    replica.client().replicaof("127.0.0.1", 1)  # it follows nobody from here on
    lost = Load(bridge, oracles).run(60)
    bridge.wait_drained("main")
    master.kill()
    fail_over(replicated, early=False)
    more = Load(bridge, oracles).run(20)
    everything = merged(more, first, lost)
    until(lambda: len(stream_texts(replica)) >= len(everything.acknowledged), 20, "the lost range")
    bridge.wait_drained("main")
    check_books(everything, stream_texts(replica))


# RabbitMQ


class OnRabbit:
    def __init__(self, rabbit, user="guest", password="guest"):
        self.rabbit = rabbit
        self.exchange = unique("x-")
        self.queue = f"{self.exchange}.q"
        self.config = (
            f'\n[backends.rabbit]\ntype = "rabbitmq"\n'
            f'url = "amqp://{user}:{password}@127.0.0.1:{rabbit.port}/%2f"\n'
            f'exchange = "{self.exchange}"\nqueue = "{self.queue}"\nrouting_key = "{{type}}"\n'
        )

    def arrived(self):
        reader = RabbitReader(self.rabbit, self.queue)
        bodies = [body for _, body in reader.drain()]
        reader.close()
        return bodies


def test_a_rabbitmq_under_a_memory_alarm_is_waited_for(bridges, oracles, rabbit):
    target = OnRabbit(rabbit)
    bridge = bridges(sources.only("acme") + target.config, server=PATIENT).start()
    first = Load(bridge, oracles).run(30)
    bridge.wait_drained("rabbit")
    rabbit.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        load = Load(bridge, oracles, senders=2, pace=0.01).start()
        load.reach(100)
        until(lambda: bridge.metric("hookferry_backend_up", backend="rabbit") == 0, 15, "the alarm to be seen")
        # No storm of connections while it lasts.
        before = len(rabbit.ctl("list_connections", "pid").split())
        time.sleep(2)
        assert len(rabbit.ctl("list_connections", "pid").split()) <= before + 2
    finally:
        rabbit.ctl("set_vm_memory_high_watermark", "absolute", "512MB")
    ended = time.monotonic()
    until(lambda: bridge.metric("hookferry_backend_up", backend="rabbit") == 1, 10, "the first delivery")
    assert time.monotonic() - ended < 6
    load.stop()
    assert set(load.statuses) == {200}
    bridge.wait_drained("rabbit", seconds=40)
    assert bridge.metric("hookferry_dead_letters", backend="rabbit") == 0
    check_books(merged(load, first), target.arrived(), repeats=2000)


def test_a_rabbitmq_queue_that_is_deleted_is_waited_for(bridges, oracles, rabbit):
    target = OnRabbit(rabbit)
    bridge = bridges(sources.only("acme") + target.config, server=PATIENT).start()
    Load(bridge, oracles).run(20)
    bridge.wait_drained("rabbit")
    connection = rabbit.connection()
    connection.channel().queue_delete(target.queue)
    # The broker still takes, and confirms, what comes before the queue is quite gone: that goes with it.
    channel = connection.channel()
    channel.confirm_delivery()

    def is_gone():
        try:
            channel.basic_publish(target.exchange, "key", b"", mandatory=True)
        except pika.exceptions.UnroutableError:
            return True

    until(is_gone, 20, "the end of the queue")
    load = Load(bridge, oracles).run(60)
    assert set(load.statuses) == {200}
    until(lambda: failures(bridge, "rabbit") >= 1, 20, "returned messages")
    channel = connection.channel()
    channel.queue_declare(target.queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(target.queue, target.exchange, "#")
    connection.close()
    bridge.wait_drained("rabbit", seconds=40)
    assert bridge.metric("hookferry_dead_letters", backend="rabbit") == 0
    check_books(load, target.arrived(), repeats=200)


def test_a_rabbitmq_that_refuses_the_login_is_tried_rarely_and_filled_once_it_takes_it(bridges, oracles, rabbit):
    user = unique("user")
    rabbit.ctl("add_user", user, "canary-right-8d1f")
    rabbit.ctl("set_permissions", user, ".*", ".*", ".*")
    target = OnRabbit(rabbit, user, "canary-right-8d1f")
    bridge = bridges(sources.only("acme") + target.config, server=PATIENT).start()
    first = Load(bridge, oracles).run(30)
    bridge.wait_drained("rabbit")
    rabbit.ctl("change_password", user, "another")
    rabbit.ctl("close_all_connections", "test")
    load = Load(bridge, oracles).run(60)
    assert set(load.statuses) == {200}
    refused = lambda: bridge.metric("hookferry_publish_failures_total", backend="rabbit", reason="unauthorized")  # noqa: E731
    until(lambda: refused() >= 1, 15, "a refused login")
    assert bridge.metric("hookferry_dead_letters", backend="rabbit") == 0
    rabbit.ctl("change_password", user, "canary-right-8d1f")
    bridge.wait_drained("rabbit", seconds=60)
    check_books(merged(load, first), target.arrived(), repeats=500)
    assert refused() < 15
    assert "canary-right" not in bridge.logs()
    assert json.loads(bridge.admin("GET", "/v1/backends").body)
