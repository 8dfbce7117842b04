"""The clock steps, and a broker's name comes to stand for another address."""

import json
import os
import time

import redis as redis_client
from harness import sources
from harness.brokers import Redis, redis_backend, stream_texts
from harness.clock import Clock
from harness.load import Load, check_books
from harness.wait import until

def test_a_clock_that_steps_under_load_forgets_no_id_and_keeps_the_order(bridges, senders, own_redis, tmp_path):
    clock = Clock(tmp_path)
    bridge = bridges(sources.only("code") + redis_backend(own_redis))
    clock.start(bridge)
    sent = []

    def send(count):
        for _ in range(count):
            one = senders.make("code")
            assert bridge.post(one.path, one.headers, one.body).status == 200
            sent.append(one)

    send(20)
    # An hour ahead, a day back, and right again, with a kill and a start in each of them.
    for step in [3600, -86_400, 0]:
        clock.step(step)
        send(20)
        assert abs(clock.shown_by(bridge) - step) < 60, "the bridge does not see the step"
        for one in sent:
            reply = bridge.post(one.path, one.headers, one.body)
            assert reply.status == 200 and b"duplicate" in reply.body, "an id was forgotten"
        bridge.kill()
        clock.start(bridge)
        for one in sent:
            reply = bridge.post(one.path, one.headers, one.body)
            assert reply.status == 200 and b"duplicate" in reply.body, "an id was forgotten over a kill"
    bridge.wait_drained("main")
    assert [json.loads(text)["id"] for text in stream_texts(own_redis)] == [one.id for one in sent]
    sequences = [event["sequence"] for event in bridge.events()]
    assert sequences == sorted(set(sequences))


class OtherAddress(Redis):
    """A Redis on another address of loopback, on the port of the first one."""

    def __init__(self, directory, port):
        super().__init__(directory, "--bind", "127.0.0.2")
        self.port = port

    def client(self):
        return redis_client.Redis(host="127.0.0.2", port=self.port, socket_timeout=30)


def test_a_broker_whose_name_moves_is_found_at_its_new_address(bridges, oracles, own_redis, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 broker.test\n")
    other = OtherAddress(tmp_path / "other", own_redis.port).start()
    try:
        config = redis_backend(own_redis).replace("127.0.0.1", "broker.test")
        bridge = bridges(sources.only("acme") + config)
        # A hosts file of the bridge's own, in a mount namespace of its own; `exec` makes the bridge of the shell.
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
        script = f'mount --bind {hosts} /etc/hosts && exec "$@"'
        bridge.spawn(wrapper=(*unshare, "sh", "-c", script, "sh"))
        bridge.wrapped = False
        bridge.wait_ready()
        load = Load(bridge, oracles, senders=2, pace=0.01).start()
        load.reach(50)
        bridge.wait_drained("main")
        own_redis.kill()
        until(lambda: bridge.metric("hookferry_backend_up", backend="main") == 0, 15, "the outage")
        hosts.write_text("127.0.0.2 broker.test\n")
        moved = time.monotonic()
        until(lambda: other.client().exists("events"), 10, "an event at the new address")
        assert time.monotonic() - moved < 10
        load.reach(len(load.acknowledged) + 50)
        load.stop()
        load.check_unnoticed()
        bridge.wait_drained("main")
        bridge.stop()
        own_redis.start()
        check_books(load, stream_texts(own_redis) + stream_texts(other))
    finally:
        other.close()
