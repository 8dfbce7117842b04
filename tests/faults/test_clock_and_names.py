"""The clock steps, hours and days go by, and a broker's name comes to stand for another address."""

import json
import os
import signal
import time

import redis as redis_client
from harness import sources
from harness.brokers import Redis, redis_backend, stream_texts
from harness.certificates import Authority
from harness.clock import Clock
from harness.load import Load, check_books
from harness.vendor import Vendor
from harness.wait import stays, until


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


def its_timers_run(bridge):
    """What the bridge does by the hour and the day begins last of all: a reload comes behind it."""
    bridge.signal(signal.SIGHUP)
    until(lambda: "configuration reloaded" in bridge.log(), what="the reload")
    bridge.hang_up()


def test_published_ranges_are_fetched_again_every_hour(bridges, senders, tmp_path):
    vendor, clock = Vendor(tmp_path), Clock(tmp_path, timers=True)
    vendor.pages = {"/meta": (200, b'["192.0.2.0/24"]')}
    vendor.start()
    listed = f'[sources.acme]\nallow_ips = ["{vendor.url("/meta")}"]\n'
    bridge = bridges(
        sources.only("acme").replace("[sources.acme]\n", listed), server='trusted_proxies = ["127.0.0.0/8"]', env=vendor.env
    )

    def may(address):
        one = senders.make("acme")
        while True:
            try:
                return bridge.post(one.path, [*one.headers, ("X-Forwarded-For", address)], one.body).status != 403
            except ConnectionError:
                pass  # A connection that the step has made old; the next one is young.

    def allowed():
        return [may("192.0.2.1"), may("203.0.113.1")]

    try:
        clock.start(bridge)
        assert allowed() == [True, False]
        its_timers_run(bridge)
        vendor.pages = {"/meta": (200, b'["203.0.113.0/24"]')}
        clock.step(3500)
        stays(lambda: allowed() == [True, False], 1, "the list, while its hour is not over")
        clock.step(3700)
        until(lambda: allowed() == [False, True], 10, "the list that is published now")
        asked = len(vendor.asked)
        vendor.pages = {"/meta": (500, b"")}
        clock.step(2 * 3700)
        until(lambda: len(vendor.asked) > asked, 10, "the next fetch")
        until(lambda: "is as it was last" in bridge.log(), what="what is told of it")
        assert allowed() == [False, True]
    finally:
        bridge.stop()
        vendor.stop()


def test_ranges_that_cannot_be_had_are_in_no_other_sources_way(bridges, senders, tmp_path):
    vendor, clock = Vendor(tmp_path), Clock(tmp_path, timers=True)
    vendor.pages = {"/one": (200, b'["192.0.2.0/24"]'), "/two": (200, b'["192.0.2.0/24"]')}
    vendor.start()
    config = sources.only("acme", "code")
    for name, page in [("acme", "/one"), ("code", "/two")]:
        config = config.replace(f"[sources.{name}]\n", f'[sources.{name}]\nallow_ips = ["{vendor.url(page)}"]\n')
    bridge = bridges(config, server='trusted_proxies = ["127.0.0.0/8"]', env=vendor.env)
    try:
        clock.start(bridge)
        its_timers_run(bridge)
        for kept in (bridge.journal_dir / "ranges").iterdir():
            kept.unlink()
        vendor.pages = {"/one": (500, b""), "/two": (200, b'["203.0.113.0/24"]')}
        clock.step(3700)
        until(lambda: "acme: allow_ips" in bridge.log(), 10, "what is told of the one")
        one = senders.make("code")

        def allowed():
            try:
                return bridge.post(one.path, [*one.headers, ("X-Forwarded-For", "203.0.113.1")], one.body).status == 200
            except ConnectionError:
                return False  # A connection that the step has made old; the next one is young.

        until(allowed, 10, "the list of the other")
    finally:
        bridge.stop()
        vendor.stop()


def test_the_days_until_a_certificate_ends_are_counted_day_by_day(bridges, tmp_path):
    authority, clock = Authority(tmp_path / "tls"), Clock(tmp_path, timers=True)
    cert, key = authority.directory / "cert.pem", authority.directory / "key.pem"
    authority.sign(cert, key, days=10)
    bridge = bridges(f'[server.tls]\ncert = "{cert}"\nkey = "{key}"\n' + sources.only("acme"))
    clock.start(bridge)

    def told(days):
        return f"the certificate of [server.tls] expires in {days} days" in bridge.log()

    assert told(9) or told(10)
    its_timers_run(bridge)
    for day, days in [(1, 8), (4, 5), (9, 0)]:
        assert not told(days)
        clock.step(day * 86_400 + 60)
        until(lambda days=days: told(days), 10, f"the warning of {days} days")
    clock.step(11 * 86_400)
    until(lambda: "has expired" in bridge.log(), 10, "the end")


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
        bridge.wait_delivered("main")
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
        first, second = stream_texts(own_redis), stream_texts(other)
        # The second Redis knows nothing of what the first one took last, and could not say any more.
        again = set(first) & set(second)
        assert set(first[len(first) - len(again) :]) == again
        check_books(load, first + second, repeats=len(again))
    finally:
        other.close()
