"""Requests whose length two programs could read differently: 400, and the connection ends; nothing is journaled."""

import json
import socket

import pytest
from harness import sources
from harness.bridge import Bridge
from harness.http import answers, head, raw, read_answer


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    bridge = Bridge(tmp_path_factory.mktemp("smuggling"), sources.only("acme"), server='body_timeout = "2s"').start()
    try:
        yield bridge
    finally:
        bridge.close()


def lines(*framing, host="Host: x"):
    every = ([host] if host else []) + list(framing)
    return [line if isinstance(line, bytes) else line.encode("latin-1") for line in every]


SHAPES = {
    "length and chunked": lines("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunked and length": lines("Transfer-Encoding: chunked", "Content-Length: 5"),
    "two lengths": lines("Content-Length: 5", "Content-Length: 6"),
    "two equal lengths": lines("Content-Length: 5", "Content-Length: 5"),
    "lengths in a list": lines("Content-Length: 5, 6"),
    "equal lengths in a list": lines("Content-Length: 5, 5"),
    "length with a sign": lines("Content-Length: +5"),
    "negative length": lines("Content-Length: -5"),
    "hexadecimal length": lines("Content-Length: 0x5"),
    "length that is no number": lines("Content-Length: five"),
    "length past 64 bits": lines("Content-Length: 99999999999999999999999"),
    "empty length": lines("Content-Length:"),
    "length before a space": lines("Content-Length : 5"),
    "another coding": lines("Transfer-Encoding: xchunked"),
    "identity alone": lines("Transfer-Encoding: identity"),
    "identity and a length": lines("Transfer-Encoding: identity", "Content-Length: 5"),
    "empty coding": lines("Transfer-Encoding:", "Content-Length: 5"),
    "chunked twice": lines("Transfer-Encoding: chunked, chunked"),
    "chunked not last": lines("Transfer-Encoding: chunked, identity"),
    "codings in two lines": lines("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "vertical tab": lines(b"Transfer-Encoding: \x0bchunked"),
    "folded line": lines("Transfer-Encoding:\r\n chunked"),
    "folded header": lines("X-A: b\r\n c", "Content-Length: 5"),
    "NUL in a value": lines(b"X-A: b\x00c", "Content-Length: 5"),
    "NUL in a name": lines(b"X\x00A: b", "Content-Length: 5"),
    "bare return in a value": lines(b"X-A: b\rc", "Content-Length: 5"),
    "space in a name": lines("X A: b", "Content-Length: 5"),
    "no colon": lines("X-A", "Content-Length: 5"),
    "coding behind a bare newline": lines(b"X-A: b\nTransfer-Encoding: chunked", "Content-Length: 5"),
    "length behind a bare newline": lines(b"X-A: b\nContent-Length: 6", "Content-Length: 5"),
    "no host": lines("Content-Length: 5", host=None),
    "two hosts": lines("Host: y", "Content-Length: 5"),
    "two equal hosts": lines("Host: x", "Content-Length: 5"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_an_ambiguous_head_is_400_and_ends_the_connection(bridge, senders, shape):
    one = senders.make("acme")
    start = [f"POST {one.path} HTTP/1.1".encode(), *SHAPES[shape]]
    hidden = head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body
    wire = b"\r\n".join(start) + b"\r\n\r\n" + b"0\r\n\r\n" + hidden
    before = len(bridge.events())
    assert answers(bridge.port, wire) == [400]
    assert len(bridge.events()) == before, "what was hidden behind it got through"


@pytest.mark.parametrize("chunk", [b"5;\nhello", b"-1\r\n", b"0x5\r\nhello\r\n", b"5 \r\r\nhello", b"fffffffffffffffff\r\n",
                                   b"5\nhello\r\n", b"\r\nhello", b"5\r\nhelloXX0\r\n\r\n"])  # fmt: skip
def test_a_wrong_chunk_size_is_400_and_ends_the_connection(bridge, senders, chunk):
    one = senders.make("acme")
    hidden = head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body
    wire = head("POST", one.path, [("Host", "x"), ("Transfer-Encoding", "chunked")]) + chunk + hidden
    before = len(bridge.events())
    assert answers(bridge.port, wire) == [400]
    assert len(bridge.events()) == before


@pytest.mark.parametrize("marks", ["all", "request line", "field", "end"])
def test_a_bare_newline_ends_a_line_of_a_head_and_the_length_counts_as_ever(bridge, senders, marks):
    """RFC 9112 (2.2) lets a recipient take it so; in chunks it does not, and what it could hide is refused above."""
    sent = [senders.make("acme") for _ in range(2)]
    wire = b""
    for one in sent:
        fields = [pair for pair in one.headers if pair[0].lower() != "host"]
        last = [("Connection", "close")] if one is sent[-1] else []
        start = head("POST", one.path, [("Host", "x"), *last, *fields, ("Content-Length", str(len(one.body)))])
        wire += {
            "all": start.replace(b"\r\n", b"\n"),
            "request line": start.replace(b"\r\n", b"\n", 1),
            "field": start.replace(b"\r\nContent-Length", b"\nContent-Length"),
            "end": start[:-4] + b"\n\n",
        }[marks] + one.body
    before = len(bridge.events())
    assert answers(bridge.port, wire) == [200, 200]
    came = [(event["id"], event["data"]) for event in bridge.events()[before:]]
    assert came == [(one.id, json.loads(one.body)) for one in sent]


@pytest.mark.parametrize("line", [b"POST /webhooks/acme\r\n\r\n", b"GET /\r\n\r\n", b"POST /webhooks/acme HTTP/0.9\r\n\r\n",
                                  b"POST  /webhooks/acme HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /webhooks/acme HTTP/3.0\r\nHost: x\r\n\r\n",
                                  b"POST /webhooks/acme HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                                  b"POST /web\x00hooks HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"])  # fmt: skip
def test_a_request_line_of_another_protocol_is_400(bridge, line):
    assert answers(bridge.port, line) == [400]


def test_the_target_and_the_host_change_nothing_but_the_path(bridge, senders):
    for target, host in [
        ("http://other.example/webhooks/acme", "x"),
        ("/webhooks/acme", "other.example:99"),
        ("/webhooks/acme", ""),
        ("/webhooks/acme?x=http://a/", "127.0.0.1"),
    ]:
        one = senders.make("acme")
        headers = [("Host", host), *[pair for pair in one.headers if pair[0] != "Host"]]
        wire = head("POST", target, [*headers, ("Content-Length", str(len(one.body)))]) + one.body
        assert raw(bridge.port, wire, timeout=10).status == 200, (target, host)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "BREW"])
def test_another_method_is_405_and_says_which_are_allowed(bridge, method):
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(head(method, "/webhooks/acme", [("Host", "x")]))
        got = b""
        while part := sock.recv(65536):
            got += part
    first, _, body = got.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 405 ") and b"allow: POST" in first.lower().replace(b"allow: post", b"allow: POST")
    assert (body == b"") == (method == "HEAD")


def test_connect_opens_nothing(bridge):
    with socket.create_server(("127.0.0.1", 0)) as named:
        name = "127.0.0.1:%d" % named.getsockname()[1]
        statuses = answers(bridge.port, f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\nhello".encode())
        assert statuses == [404]
        named.setblocking(False)
        with pytest.raises(BlockingIOError):
            named.accept()


def test_requests_behind_each_other_are_answered_in_order_and_each_journaled_alone(bridge, senders):
    sent = [senders.make("acme") for _ in range(12)]
    wire = b"".join(
        head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body for one in sent
    )
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(wire[:-1])
        sock.sendall(wire[-1:])
        stream = sock.makefile("rb")
        for one in sent:
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert json.loads(stream.read(length))["id"] == one.id
    ids = [event["id"] for event in bridge.events()]
    assert [id for id in ids if id in {one.id for one in sent}] == [one.id for one in sent]


def test_a_connection_whose_body_was_not_read_is_closed(bridge, senders):
    one = senders.make("acme")
    hidden = head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body
    before = len(bridge.events())
    for path, status in (("/nobody", 404), ("/webhooks/acme", 413)):
        length = len(hidden) if status == 404 else 10**9
        wire = head("POST", path, [("Host", "x"), ("Content-Length", str(length))]) + hidden
        assert answers(bridge.port, wire) == [status]
    assert len(bridge.events()) == before


@pytest.mark.parametrize("path, method, length, status", [
    ("/nobody", "POST", 5, 404), ("/webhooks/acme", "PUT", 5, 405), ("/webhooks/acme", "POST", 10**9, 413),
])  # fmt: skip
def test_a_sender_that_asks_first_is_refused_before_it_sends_the_body(bridge, path, method, length, status):
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(head(method, path, [("Host", "x"), ("Content-Length", str(length)), ("Expect", "100-continue")]))
        assert sock.recv(13, socket.MSG_PEEK).startswith(b"HTTP/1.1 %d " % status)
        reply = read_answer(sock)
        assert reply.status == status and reply.ended
