"""What a hostile request may cost is bounded: memory, time, connections, log lines, and what is taken from another."""

import contextlib
import json
import os
import re
import socket
import time
from pathlib import Path

import pytest

from harness import sources
from harness.brokers import redis_backend
from harness.http import Client, answers, head, raw, read_answer
from harness.wait import until

HOST = [("Host", "hooks.example.com")]


class Peak:
    """Most memory that a bridge holds from here on, in bytes, beyond what it holds now."""

    def __init__(self, bridge):
        self.process = Path(f"/proc/{bridge.pid}")
        (self.process / "clear_refs").write_text("5")
        self.before = self._most()

    def _most(self):
        return int(re.search(r"VmHWM:\s+(\d+) kB", (self.process / "status").read_text())[1]) << 10

    def grown(self):
        return self._most() - self.before


def with_keys(keys):
    return sources.only("acme").replace("[sources.acme]\n", f"[sources.acme]\n{keys}\n")


def wire(one, *more):
    return head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body))), *more]) + one.body


# Memory


def zstd_of_one_letter(window_exponent, blocks):
    """A frame with a window of 2^(10 + exponent) bytes, 128 KiB for each four bytes of it."""
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([window_exponent << 3])
    for number in range(blocks):
        is_last = number == blocks - 1
        frame += ((128 << 10) << 3 | 1 << 1 | is_last).to_bytes(3, "little") + b"["
    return frame


@pytest.mark.parametrize(("exponent", "status"), [(13, 413), (14, 415), (31, 415)])
def test_a_compressed_body_takes_no_more_memory_than_its_content_may_have(bridges, senders, exponent, status):
    """64 KiB on the wire are 2 GiB of content here; a window of 8 MiB is what RFC 9659 allows."""
    bridge = bridges(sources.only("acme"), server='max_body = "1MiB"').start()
    assert bridge.post(*_plain(senders.make("acme"))).status == 200
    bomb = senders.make("acme", zstd_of_one_letter(exponent, 16 << 10))
    peak = Peak(bridge)
    reply = bridge.post(bomb.path, [*bomb.headers, ("Content-Encoding", "zstd")], bomb.body)
    assert reply.status == status, reply
    assert peak.grown() < 32 << 20, f"{peak.grown() >> 20} MiB"


HOSTILE = {
    "a million keys": b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(1_000_000)) + b"}",
    "one key a million times": b"{" + b",".join(b'"type":%d' % n for n in range(1_000_000)) + b"}",
    "depth of a million": b"[" * 1_000_000 + b"]" * 1_000_000,
    "depth of a million, never closed": b'{"a":' * 1_000_000,
    "a number of ten million digits": b"1" * 10_000_000,
    "a million lone surrogates": b'["' + b"\\ud800" * 1_000_000 + b'"]',
    "ten million NULs": b"\0" * 10_000_000,
    "a BOM and two million quotes": b"\xef\xbb\xbf" + b'"' * 2_000_000,
    "invalid UTF-8": b"\xff" * 10_000_000,
}


@pytest.mark.parametrize("with_schema", [False, True])
def test_a_body_made_to_break_parsers_costs_memory_and_time_by_its_size(bridges, senders, tmp_path, with_schema):
    (tmp_path / "any.json").write_text(json.dumps({"maxProperties": 5_000_000}))
    keys = f'schema = "{tmp_path}/any.json"\non_invalid = "dead_letter"' if with_schema else ""
    bridge = bridges(
        with_keys(keys), server='max_body = "32MiB"\nack_timeout = "30s"', journal='segment_bytes = "64MiB"'
    ).start()
    assert bridge.post(*_plain(senders.make("acme"))).status == 200
    for what, body in HOSTILE.items():
        one = senders.make("acme", body)
        peak, begun = Peak(bridge), time.monotonic()
        reply = bridge.post(one.path, one.headers, one.body)
        took = time.monotonic() - begun
        assert reply.status == 200, (what, reply)
        # A build for debugging needs two seconds for the largest; what grows with the square of a body, minutes.
        assert took < 15, (what, took)
        # Its own bytes a few times; as a tree, where a schema asks for it, many times.
        assert peak.grown() < (64 << 20) + len(body) * (40 if with_schema else 4), (what, peak.grown() >> 20)
    assert bridge.metric("hookferry_events_total") == 1 + len(HOSTILE)


def _plain(one):
    return one.path, one.headers, one.body


def test_bodies_that_are_large_as_trees_are_held_against_their_schema_a_few_at_a_time(bridges, senders, tmp_path):
    (tmp_path / "list.json").write_text(json.dumps({"items": {"required": ["a"]}}))
    bridge = bridges(
        with_keys(f'schema = "{tmp_path}/list.json"\non_invalid = "reject"'), server='ack_timeout = "60s"'
    ).start()
    body = b"[" + b'{"a":0},' * 120_000 + b'{"a":0}]'
    assert bridge.post(*_plain(senders.make("acme", body))).status == 200
    peak, cores = Peak(bridge), len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as all_at_once:
        sockets = []
        for _ in range(10 * cores):
            sock = all_at_once.enter_context(socket.create_connection(("127.0.0.1", bridge.port), timeout=60))
            sock.sendall(wire(senders.make("acme", body))[:-1])
            sockets.append(sock)
        for sock in sockets:
            sock.sendall(body[-1:])
        assert {read_answer(sock).status for sock in sockets} == {200}
    # One of them takes some 100 MiB, and there is one a core at most.
    assert peak.grown() < 160 * cores << 20, f"{peak.grown() >> 20} MiB"


def test_requests_behind_one_that_waits_take_little_until_it_is_answered(bridges, senders, own_redis):
    """HTTP would decode them all first, at some 7 KB each: 2,000 of them behind each of 40 that wait for a broker."""
    config = with_keys('ack = "published"') + redis_backend(own_redis)
    bridge = bridges(config, server='ack_timeout = "3s"').start()
    body = json.dumps({"type": "order.created", "x": "y" * 5000}).encode()
    behind = head("POST", "/webhooks/acme", [*HOST, ("Content-Length", "2")]) + b"{}"
    assert bridge.post(*_plain(senders.make("acme", body))).status == 200
    own_redis.stall()
    peak = Peak(bridge)
    with contextlib.ExitStack() as all_at_once:
        sockets = []
        for _ in range(40):
            sock = all_at_once.enter_context(socket.create_connection(("127.0.0.1", bridge.port), timeout=30))
            sock.setblocking(False)
            sock.send(wire(senders.make("acme", body)) + behind * 500)
            sockets.append(sock)
        for _ in range(3):
            for sock in sockets:
                with contextlib.suppress(BlockingIOError):
                    sock.send(behind * 500)
        for sock in sockets:
            sock.settimeout(30)
            assert read_answer(sock).status == 503, "they did not wait"
        assert peak.grown() < 100 << 20, f"{peak.grown() >> 20} MiB"
        # Each is answered in its turn all the same.
        got = b""
        while got.count(b"HTTP/1.1 401 ") < 300:
            got += sockets[0].recv(65536)


# Time


def test_a_head_and_its_body_have_one_deadline_together(bridges, senders):
    deadline_s = 6
    bridge = bridges(sources.only("acme"), server=f'body_timeout = "{deadline_s}s"\nmin_body_rate = "0B"').start()
    one = senders.make("acme")
    request = wire(one)
    split = len(request) - len(one.body)
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=20) as sock:
        begun = time.monotonic()
        for byte in request[:5]:
            sock.sendall(bytes([byte]))
            time.sleep(0.8)  # the pace is the subject
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(request[5:split])
        sock.settimeout(0.5)
        answer = b""
        for byte in one.body:
            with contextlib.suppress(TimeoutError, ConnectionResetError, BrokenPipeError):
                sock.sendall(bytes([byte]))
                answer = sock.recv(100)
            if answer:
                break
        took = time.monotonic() - begun
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert deadline_s - 1 < took < deadline_s + 2, took


# Connections


def test_what_stands_behind_an_answer_that_closes_is_no_request(bridges, senders):
    """RFC 9112, section 9.6: whoever sent it was told, and sends it again elsewhere."""
    bridge = bridges(with_keys('rate_limit = "100/h"'), server='max_body = "64KiB"').start()
    lengthy = head("POST", "/nobody", [*HOST, ("Content-Length", "2")]) + b"{}"
    chunked = head("POST", "/nobody", [*HOST, ("Transfer-Encoding", "chunked")]) + b"2\r\n{}\r\n0\r\n\r\n"
    bare = head("GET", "/webhooks/acme", HOST)
    asked = head("POST", "/nobody", [*HOST, ("Content-Length", "2"), ("Expect", "100-continue")]) + b"{}"
    for closing, status in [(lengthy, 404), (chunked, 404), (bare, 405), (bare * 20, 405), (asked, 404), (bare + asked, 405)]:
        one = senders.make("acme")
        assert answers(bridge.port, closing + wire(one) * 3) == [status]
    last = senders.make("acme")
    assert answers(bridge.port, wire(last, ("Connection", "close")) + wire(senders.make("acme"))) == [200]
    assert [event["id"] for event in bridge.events()] == [last.id]


def test_a_web_socket_with_a_body_does_not_swallow_the_next_request_of_the_connection(bridges, senders):
    bridge = bridges(sources.only("acme")).start()
    one = senders.make("acme")
    socketed = wire(one, ("Connection", "Upgrade"), ("Upgrade", "WebSocket"))
    assert answers(bridge.port, socketed + wire(senders.make("acme"))) == [400]
    assert bridge.events() == []
    # Java's client asks for HTTP/2 in passing, beside any request; that costs the connection.
    passing = wire(one, ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk"))
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(passing)
        assert read_answer(sock).status == 200
    assert [event["id"] for event in bridge.events()] == [one.id]


def test_who_asks_first_is_told_of_a_limit_before_the_body_and_counted_once(bridges, senders):
    bridge = bridges(with_keys('rate_limit = "2/h"')).start()
    for _ in range(2):
        one = senders.make("acme")
        asks = head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body))), ("Expect", "100-continue")])
        with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
            sock.sendall(asks)
            interim = b""
            while not interim.endswith(b"\r\n\r\n"):
                interim += sock.recv(1)
            assert interim.startswith(b"HTTP/1.1 100 ")
            sock.sendall(one.body)
            assert read_answer(sock).status == 200
    assert answers(bridge.port, asks) == [429]
    reply = raw(bridge.port, asks, timeout=10)
    assert (reply.problem, reply.ended) == ("rate_limited", True) and "retry-after" in reply.headers
    assert bridge.metric("hookferry_requests_total", source="acme", outcome="rate_limited") == 2
    (refused,) = json.loads(bridge.admin("GET", "/v1/refusals").body)["refusals"]
    assert refused["code"] == "rate_limited"


# Addresses


@pytest.mark.parametrize("allowed, status", [('["127.0.0.0/8"]', 403), ("", 200)])
def test_contradictory_headers_of_a_proxy_do_not_make_a_stranger_the_proxy(bridges, senders, allowed, status):
    keys = f"allow_ips = {allowed}" if allowed else ""
    bridge = bridges(with_keys(keys), server='trusted_proxies = ["127.0.0.1"]').start()
    for headers in (
        [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=192.0.2.1")],
        [("X-Forwarded-For", "unknown")],
        [("Forwarded", "for=_hidden")],
    ):
        one = senders.make("acme")
        assert bridge.post(one.path, one.headers + headers, one.body).status == status, headers
    # A request of the proxy's own has none of them.
    assert bridge.post(*_plain(senders.make("acme"))).status == 200


# Logs


def test_refused_requests_write_few_lines_however_many_they_are(bridges):
    bridge = bridges(sources.only("acme")).start()
    client, begun = Client(bridge.port), time.monotonic()
    for _ in range(600):
        assert client.request("POST", "/webhooks/acme", HOST, b"{}").status == 401
    seconds = time.monotonic() - begun
    count = lambda: bridge.logs().count("request refused")
    until(count, what="a line")
    assert count() <= 20 * (seconds + 2), f"{count()} lines in {seconds:.1f} s"
    assert bridge.metric("hookferry_requests_total", source="acme", outcome="signature_missing") == 600
