"""Connections as the listener sees them: heads that stall, clients that do not read, too many, and PROXY headers."""

import json
import re
import socket
import struct
import time
from pathlib import Path

import pytest
from harness import sources
from harness.http import head, raw, read_answer
from harness.wait import until


def request(one, *more):
    return head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body))), *more]) + one.body


def closed_after(sock, seconds=10):
    """Reads until the server closes; what came, and how long it took."""
    started, got = time.monotonic(), b""
    sock.settimeout(seconds)
    try:
        while part := sock.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    return got, time.monotonic() - started


@pytest.fixture
def bridge(bridges):
    return bridges(sources.only("acme"), server='body_timeout = "1s"').start()


def test_a_silent_connection_is_closed(bridge):
    with socket.create_connection(("127.0.0.1", bridge.port)) as sock:
        got, took = closed_after(sock)
    assert got == b"" and 0.5 < took < 5


def test_a_head_that_stalls_or_drips_is_408_and_closed(bridge):
    with socket.create_connection(("127.0.0.1", bridge.port)) as sock:
        sock.sendall(b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        got, took = closed_after(sock)
    assert got.startswith(b"HTTP/1.1 408 ") and 0.5 < took < 5
    with socket.create_connection(("127.0.0.1", bridge.port)) as sock:
        started = time.monotonic()
        try:
            while time.monotonic() - started < 8:
                sock.sendall(b"x")
                time.sleep(0.05)  # the rate is the subject
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert 0.5 < time.monotonic() - started < 5


def test_a_head_after_the_first_request_that_stalls_is_closed_too(bridge, senders):
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(request(senders.make("acme")))
        assert read_answer(sock).status == 200
        sock.sendall(b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        _, took = closed_after(sock)
    assert 0.5 < took < 5


def test_a_client_that_does_not_read_its_answers_is_closed(bridge, senders):
    wire = request(senders.make("acme")) * 100
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    with sock:
        sock.connect(("127.0.0.1", bridge.port))
        sock.settimeout(20)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(5000):  # far more than the buffers of both sides
                sock.sendall(wire)
    assert bridge.admin("GET", "/readyz").status == 200


def test_a_slow_client_that_goes_on_reading_gets_a_large_answer_whole(bridges, senders):
    bridge = bridges(sources.only("acme")).start()
    for _ in range(20):
        one = senders.make("acme", json.dumps({"type": "order.created", "x": "y" * 100_000}).encode())
        assert bridge.post(one.path, one.headers, one.body).status == 200
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
    with sock:
        sock.connect(("127.0.0.1", bridge.admin_port))
        sock.settimeout(20)
        sock.sendall(b"GET /v1/events?limit=500 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        begun, got = time.monotonic(), b""
        # About 150 kB/s: longer than the 10 s in which nothing at all may be read.
        while part := sock.recv(30_000):
            got += part
            time.sleep(0.2)
    assert time.monotonic() - begun > 11
    page = json.loads(got.partition(b"\r\n\r\n")[2])
    assert len(page["events"]) == 20


@pytest.mark.parametrize("size, status", [(20_000, 404), (40_000, 431), (500_000, 431)])
def test_a_head_that_is_too_large_is_431(bridge, size, status):
    head = b"POST /nobody HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * size + b"\r\n\r\n"
    reply = raw(bridge.port, head, timeout=10)
    assert reply.status == status and reply.ended


def test_a_body_behind_the_head_does_not_count_as_head(bridge, senders):
    one = senders.make("acme", json.dumps({"type": "order.created", "x": "y" * 300_000}).encode())
    assert raw(bridge.port, request(one), timeout=10).status == 200
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        for _ in range(3):
            one = senders.make("acme", json.dumps({"type": "order.created", "x": "y" * 100_000}).encode())
            sock.sendall(request(one))
            assert read_answer(sock).status == 200


def test_one_address_has_so_many_connections_and_no_more(bridges, senders):
    bridge = bridges(sources.only("acme"), server="max_connections_per_ip = 3").start()
    with (
        socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as first,
        socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as second,
        socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as third,
    ):
        for sock in (first, second, third):
            sock.sendall(request(senders.make("acme")))
            assert read_answer(sock).status == 200
        with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as fourth:
            got, took = closed_after(fourth)
            assert got == b"" and took < 2
        first.close()

        def served():
            try:
                return raw(bridge.port, request(senders.make("acme")), timeout=10).status == 200
            except OSError:
                return False

        until(served, what="room for another connection")


def test_connections_in_all_are_capped_and_those_beyond_wait_for_one_to_end(bridges, senders):
    bridge = bridges(sources.only("acme"), server="max_connections = 4\nworkers = 2").start()
    held = [socket.create_connection(("127.0.0.1", bridge.port), timeout=10) for _ in range(4)]
    for sock in held:
        sock.sendall(request(senders.make("acme")))
        assert read_answer(sock).status == 200
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as late:
        late.sendall(request(senders.make("acme")))
        late.settimeout(1)
        with pytest.raises(TimeoutError):
            late.recv(1)
        assert bridge.admin("GET", "/readyz").status == 200, "the admin listener has its own"
        held.pop().close()
        late.settimeout(10)
        assert read_answer(late).status == 200
    for sock in held:
        sock.close()


def v2(address, port, command=1):
    body = socket.inet_aton(address) + socket.inet_aton("10.0.0.1") + struct.pack(">HH", port, 443)
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, 0x11]) + struct.pack(">H", len(body)) + body


def test_a_proxy_names_the_client_before_its_bytes(bridges, senders):
    bridge = bridges(
        sources.only("code").replace("[sources.code]\n", '[sources.code]\nallow_ips = ["192.0.2.0/24"]\n'),
        server='proxy_protocol = true\ntrusted_proxies = ["127.0.0.1"]\nbody_timeout = "1s"',
    ).start()
    for header, status in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n", 200),
        (v2("192.0.2.8", 4711), 200),
        (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n", 403),
        (v2("203.0.113.9", 4711), 403),
        (v2("192.0.2.8", 4711, command=0), 403),  # the proxy's own
    ]:
        assert raw(bridge.port, header + request(senders.make("code")), timeout=10).status == status, header
    # What is in one piece may come in many.
    one, header = senders.make("code"), v2("192.0.2.9", 4711)
    parts = [header[:5], header[5:20], header[20:] + request(one)]
    assert raw(bridge.port, *parts, timeout=10, pause=lambda sock: time.sleep(0.05)).status == 200
    assert [event["clientip"] for event in bridge.events()] == ["192.0.2.7", "192.0.2.8", "192.0.2.9"]
    for wrong in (request(one), b"PROXY TCP4 nonsense\r\n" + request(one), b"\r\n\r\n\0\r\nQUIT\n\xff\xff\xff\xff", b"", b"PROX"):
        with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
            sock.sendall(wrong)
            got, took = closed_after(sock)
            assert got == b"" and took < 5, wrong


def test_only_proxies_may_send_a_proxy_header(bridges, senders):
    bridge = bridges(
        sources.only("code"), server='proxy_protocol = true\ntrusted_proxies = ["192.0.2.1"]'
    ).start()
    header = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n"
    assert raw(bridge.port, header + request(senders.make("code")), timeout=10).status == 400
    assert raw(bridge.port, request(senders.make("code")), timeout=10).status == 200


def test_a_worker_without_a_connection_sleeps(bridges, senders):
    bridge = bridges(sources.only("acme")).start()
    one = senders.make("acme")
    assert bridge.post(one.path, one.headers, one.body).status == 200

    def wakes():
        tasks = Path(f"/proc/{bridge.pid}/task").iterdir()
        workers = [task / "status" for task in tasks if (task / "comm").read_text().startswith("actix-server wo")]
        counts = [re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE)[1] for status in workers]
        assert len(counts) > 1
        return counts

    def sleep():
        before = wakes()
        time.sleep(2)  # that nothing happens is the subject
        return wakes() == before

    # Connections are kept for 5 s after an answer.
    until(sleep, 30, "two seconds without a clock")
