"""Limits of a source and the moment of its answer: what comes too often, and what is published before the answer."""

import contextlib
import json
import signal
import socket
import time

import pytest

from conftest import sqs_backend
from harness import sources
from harness.brokers import redis_backend, stream_texts
from harness.http import head
from harness.sources import unique
from harness.vendor import Vendor
from harness.wait import until


def with_keys(name, keys):
    """The configuration of one source with more keys."""
    return sources.only(name).replace(f"[sources.{name}]\n", f"[sources.{name}]\n{keys}\n")


def post(bridge, one, headers=()):
    return bridge.post(one.path, [*one.headers, *headers], one.body)


def limited(reply, between):
    assert (reply.status, reply.problem) == (429, "rate_limited"), reply
    assert between[0] <= int(reply.headers["retry-after"]) <= between[1], reply.headers


# rate_limit


def test_a_source_over_its_rate_is_told_when_to_come_back_and_others_are_not_touched(bridges, senders):
    bridge = bridges(with_keys("acme", 'rate_limit = "3/m"') + sources.only("code")).start()
    for _ in range(3):
        assert post(bridge, senders.make("acme")).status == 200
    one = senders.make("acme")
    limited(post(bridge, one), (15, 20))
    assert post(bridge, senders.make("code")).status == 200
    assert one.id not in [event["id"] for event in bridge.events()]
    assert bridge.metric("hookferry_requests_total", source="acme", outcome="rate_limited") == 1
    # What comes before it in the order of the checks is told all the same; what comes behind it is not.
    assert bridge.request("PUT", one.path).status == 405
    limited(bridge.post(one.path, [], b"x" * (2 << 20)), (15, 20))


def test_a_rate_that_is_kept_to_is_never_refused_and_fills_up_again(bridges, senders):
    bridge = bridges(with_keys("acme", 'rate_limit = "5/s"')).start()
    replies = [post(bridge, senders.make("acme")) for _ in range(30)]
    refused = [reply for reply in replies if reply.status != 200]
    assert refused and len(replies) - len(refused) >= 5, replies
    for reply in refused:
        limited(reply, (1, 1))
    time.sleep(int(refused[0].headers["retry-after"]))
    assert post(bridge, senders.make("acme")).status == 200


def test_one_address_over_its_rate_leaves_the_others_theirs(bridges, senders):
    bridge = bridges(
        with_keys("acme", 'rate_limit = "6/h"\nrate_limit_per_ip = "2/h"'), server='trusted_proxies = ["127.0.0.0/8"]'
    ).start()

    def from_address(address):
        return post(bridge, senders.make("acme"), [("X-Forwarded-For", address)])

    assert [from_address("192.0.2.1").status for _ in range(8)] == [200] * 2 + [429] * 6
    limited(from_address("::ffff:192.0.2.1"), (1700, 1800))
    assert [from_address(f"2001:db8::{n}").status for n in range(1, 4)] == [200, 200, 429], "a /64 is one sender"
    assert [from_address(f"198.51.100.{n}").status for n in range(3)] == [200, 200, 429], "six in all"


# allow_ips


def test_networks_come_by_name_and_from_a_file_that_is_followed(bridges, senders, tmp_path):
    meta = tmp_path / "meta.json"
    meta.write_text('{"hooks":["192.0.2.0/24"],"actions":["0.0.0.0/0"]}')
    bridge = bridges(
        with_keys("acme", f'allow_ips = ["github", "2001:db8::/32", "file:{meta}#/hooks"]'),
        server='trusted_proxies = ["127.0.0.0/8"]',
    ).start()

    def status(address):
        return post(bridge, senders.make("acme"), [("X-Forwarded-For", address)]).status

    for address in ("140.82.115.1", "::ffff:140.82.115.1", "2001:db8::1", "192.0.2.1"):
        assert status(address) == 200, address
    for address in ("198.51.100.1", "2001:db9::1", "::ffff:198.51.100.1"):
        assert status(address) == 403, address
    meta.write_text('{"hooks":["198.51.100.0/24"]}')
    until(lambda: status("198.51.100.1") == 200, what="the new list")
    assert status("192.0.2.1") == 403


# max_inflight


def test_large_bodies_share_the_memory_that_there_is_and_leave_small_ones_theirs(bridges, senders):
    # Four bodies for one address, and time to hold them, however slow the machine is.
    server = 'max_inflight = "16MiB"\nbody_timeout = "120s"\nmin_body_rate = "0B"'
    bridge = bridges(sources.only("acme"), server=server).start()
    large = lambda: senders.make("acme", json.dumps({"type": "order.created", "x": "y" * 900_000}).encode())  # noqa: E731
    assert post(bridge, large()).status == 200
    before = bridge.resident()
    with contextlib.ExitStack() as held:
        sockets = []
        for _ in range(60):
            sock = held.enter_context(socket.create_connection(("127.0.0.1", bridge.port), timeout=10))
            sockets.append(sock)
            # Its last byte does not come. What is refused may be closed before all of it is written.
            with contextlib.suppress(ConnectionError):
                sock.sendall(head("POST", "/webhooks/acme", [("Host", "x"), ("Content-Length", "900001")]) + b"x" * 900_000)
        until(lambda: bridge.metric("hookferry_requests_total", source="acme", outcome="busy") >= 56, what="the refusals")
        assert bridge.resident() - before < 30 << 20
        assert post(bridge, senders.make("acme")).status == 200, "a small one is taken meanwhile"
        refused = post(bridge, large())
        assert (refused.status, refused.problem, refused.headers["retry-after"]) == (503, "busy", "1")
    until(lambda: post(bridge, large()).status == 200, what="room again")


# ack = "published"


def test_an_answer_can_wait_until_every_backend_has_the_event(bridges, senders, own_redis, rabbit, to_rabbit):
    bridge = bridges(with_keys("acme", 'ack = "published"') + redis_backend(own_redis) + to_rabbit).start()
    bridge.wait_drained("main", "rabbit")
    for _ in range(20):
        one = senders.make("acme")
        assert post(bridge, one).status == 200
        assert one.body in stream_texts(own_redis)[-1], "there before the answer"
        assert post(bridge, one).json()["status"] == "duplicate"
    for backend in ("main", "rabbit"):
        assert bridge.metric("hookferry_published_total", backend=backend) == 20
        assert bridge.metric("hookferry_backlog_events", backend=backend) == 0


def test_what_is_not_published_in_time_is_kept_and_acknowledged_once_it_is(bridges, senders, own_redis, proxied):
    proxy = proxied(own_redis.port)
    keys = 'ack = "published"'
    bridge = bridges(
        with_keys("acme", keys) + sources.only("code") + redis_backend(own_redis, port=proxy.port),
        server='ack_timeout = "1s"',
    ).start()
    assert post(bridge, senders.make("acme")).status == 200
    proxy.stall()
    one = senders.make("acme")
    for _ in range(2):
        start = time.monotonic()
        reply = post(bridge, one)
        assert (reply.status, reply.problem) == (503, "publish_slow"), reply
        assert int(reply.headers["retry-after"]) >= 1
        assert 0.9 <= time.monotonic() - start < 3, "bounded by ack_timeout"
    assert post(bridge, senders.make("code")).status == 200, "other sources do not wait"
    assert [event["id"] for event in bridge.events()].count(one.id) == 1, "kept, once"
    bridge.kill()
    proxy.heal()
    bridge.start()
    reply = until(lambda: (reply := post(bridge, one)).status == 200 and reply, what="the redelivery is acknowledged")
    assert reply.json() == {"status": "duplicate", "id": one.id}
    assert sum(one.body in text for text in stream_texts(own_redis)) == 1


def test_a_backend_that_a_reload_adds_is_waited_for_from_the_next_start_on(bridges, senders, own_redis):
    config = with_keys("acme", 'ack = "published"') + redis_backend(own_redis)
    bridge = bridges(config, server='ack_timeout = "1s"').start()
    assert post(bridge, senders.make("acme")).status == 200
    bridge.configure(config + '[backends.away]\ntype = "redis"\nurl = "redis://127.0.0.1:1"\nstream = "s"\n')
    until(lambda: "backends.away has changed, and takes effect at the next start only" in bridge.log(), what="the reload")
    assert post(bridge, senders.make("acme")).status == 200, "nobody publishes there yet"
    bridge.stop()
    bridge.start()
    refused = post(bridge, senders.make("acme"))
    assert (refused.status, refused.problem) == (503, "publish_slow")
    assert bridge.metric("hookferry_backlog_events", backend="away") == 2, "it gets what came since the reload"
    assert len(stream_texts(own_redis)) == 3


def test_an_event_for_nobody_or_that_its_backend_never_takes_is_not_waited_for(bridges, senders, sqs):
    small = sqs.queue(unique("q-"), MaximumMessageSize="4096")
    route = '\n[[routes]]\nmatch = { type = "acme.big.*" }\nto = ["orders"]\n'
    bridge = bridges(
        with_keys("acme", 'ack = "published"') + sqs_backend("orders", sqs, small) + route
    ).start()
    assert post(bridge, senders.make("acme")).status == 200, "goes nowhere"
    big = senders.make("acme", b'{"type":"big.one","x":"' + b"y" * 6000 + b'"}')
    assert post(bridge, big).status == 200, "a dead letter is decided"
    assert bridge.metric("hookferry_dead_letters", backend="orders") == 1


# Published ranges


@pytest.fixture
def vendor(tmp_path):
    vendor = Vendor(tmp_path)
    yield vendor
    vendor.stop()


def test_published_ranges_are_fetched_and_last_when_their_page_is_gone(bridges, senders, vendor):
    vendor.pages = {"/meta": (200, b'{"hooks":["192.0.2.0/24"],"actions":["0.0.0.0/0"]}')}
    vendor.start()
    bridge = bridges(
        with_keys("acme", f'allow_ips = ["2001:db8::/32", "{vendor.url("/meta")}#/hooks"]'),
        server='trusted_proxies = ["127.0.0.0/8"]', env=vendor.env,
    ).start()  # fmt: skip

    def status(address):
        return post(bridge, senders.make("acme"), [("X-Forwarded-For", address)]).status

    def reload():
        before = bridge.metric("hookferry_config_reloads_total", result="success")
        bridge.signal(signal.SIGHUP)
        until(lambda: bridge.metric("hookferry_config_reloads_total", result="success") > before, what="the reload")

    old = (200, b'{"hooks":["192.0.2.0/24"]}')
    assert [status(a) for a in ("192.0.2.7", "2001:db8::1", "203.0.113.1")] == [200, 200, 403]
    vendor.pages = {"/meta": (200, b'{"hooks":["203.0.113.0/24"]}')}
    reload()
    assert [status(a) for a in ("203.0.113.1", "192.0.2.7")] == [200, 403]
    # Where there is a way to take a page for a good one, it holds what was in force before the last good one.
    for page, why in [
        ((200, b""), "not JSON: EOF"),
        ((200, b"<html>"), "not JSON: expected value"),
        ((200, b'{"hooks":[]}'), "it holds no network"),
        ((302, vendor.url("/old").encode()), "answered 302"),
        ((404, old[1]), "answered 404"),
        ((500, old[1]), "answered 500"),
        ((200, old[1] + b" " * (17 << 20)), "length limit exceeded"),
    ]:
        vendor.pages = {"/meta": page, "/old": old}
        said = len(bridge.logs())
        reload()
        assert f"{vendor.url('/meta')} is as it was last: {why}" in bridge.logs()[said:], why
        assert [status(a) for a in ("203.0.113.1", "192.0.2.7")] == [200, 403], why
    assert "/old" not in vendor.asked, "a redirect is not followed"
    vendor.stop()
    bridge.stop()
    bridge.start()
    assert [status(a) for a in ("203.0.113.1", "192.0.2.7")] == [200, 403]


def test_ranges_that_were_never_had_stop_the_start(bridges, vendor):
    bridge = bridges(with_keys("acme", f'allow_ips = ["{vendor.url("/meta")}"]'), env=vendor.env).spawn()
    assert bridge.process.wait(20) == 1
    assert f"allow_ips: {vendor.url('/meta')} cannot be had" in bridge.log()
    bridge.process = None
