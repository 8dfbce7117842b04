"""A connection's requests have their turns: each is answered for itself, whatever stands behind it and however it ends."""

import contextlib
import json
import socket
import ssl
import time

import pytest

from harness import sources
from harness.bridge import Bridge
from harness.certificates import Authority
from harness.http import answers, head, read_answer, until_closed

DEADLINE_S = 2


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    server = f'body_timeout = "{DEADLINE_S}s"'
    bridge = Bridge(tmp_path_factory.mktemp("turns"), sources.only("acme"), server=server).start()
    try:
        yield bridge
    finally:
        bridge.close()


def wire(one, *more, method="POST"):
    return head(method, one.path, [*one.headers, *more, ("Content-Length", str(len(one.body)))]) + one.body


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=15)


def all_answers(sock, methods):
    """Status, what `Connection` says, and body of the answers to requests of these methods."""
    stream = sock.makefile("rb")
    for method in methods:
        status, headers = stream.readline(), {}
        while line := stream.readline().rstrip(b"\r\n"):
            name, _, value = line.partition(b": ")
            headers[name.lower()] = value.decode()
        length = 0 if method == "HEAD" else int(headers[b"content-length"])
        yield int(status.split()[1]), headers.get(b"connection"), stream.read(length)


def journaled(bridge, sent):
    ids = {one.id for one in sent}
    return [event["id"] for event in bridge.events() if event["id"] in ids]


REFUSED = head("POST", "/webhooks/acme", [("Host", "x"), ("Content-Length", "2")]) + b"{}"


def test_a_client_that_sends_all_and_says_so_gets_every_answer(bridge, senders):
    sent = [senders.make("acme") for _ in range(40)]
    with connect(bridge.port) as sock:
        sock.sendall(b"".join(map(wire, sent)))
        sock.shutdown(socket.SHUT_WR)
        got = until_closed(sock)
    assert got.count(b"HTTP/1.1 200 OK\r\n") == 40
    assert journaled(bridge, sent) == [one.id for one in sent]


def test_what_stands_behind_a_request_that_waits_has_its_turn_at_once(bridge, senders):
    one = senders.make("acme")
    with connect(bridge.port) as sock:
        begun = time.monotonic()
        sock.sendall(wire(one) + REFUSED * 60)
        statuses = [status for status, _, _ in all_answers(sock, ["POST"] * 61)]
        took = time.monotonic() - begun
    assert statuses == [200] + [401] * 60
    assert took < 3, f"{took:.1f} s: not by its turn, but by a timer"


def test_no_request_changes_the_answer_to_the_one_before(bridge, senders):
    sent = [senders.make("acme") for _ in range(4)]
    with connect(bridge.port) as sock:
        sock.sendall(wire(sent[0]) + head("HEAD", "/webhooks/acme", [("Host", "x")]))
        first, second = all_answers(sock, ["POST", "HEAD"])
    assert (first[:2], second[:2]) == ((200, None), (405, "close"))
    assert json.loads(first[2])["id"] == sent[0].id
    with connect(bridge.port) as sock:
        sock.sendall(wire(sent[1]) + wire(sent[2]) + wire(sent[3], ("Connection", "close")))
        got = list(all_answers(sock, ["POST"] * 3))
        assert sock.recv(1) == b"", "it was to close behind the last one"
    assert [connection for _, connection, _ in got] == [None, None, "close"]
    assert [json.loads(body)["id"] for _, _, body in got] == [one.id for one in sent[1:]]


def test_a_connection_on_which_a_large_request_was_refused_is_closed(bridge, senders):
    """Its memory would be the sender's for as long as he sends a little now and then."""
    large = {
        "body": head("POST", "/webhooks/acme", [("Host", "x"), ("Content-Length", "20000")]) + b"x" * 20_000,
        "head": head("POST", "/webhooks/acme", [("Host", "x"), ("X", "x" * 20_000), ("Content-Length", "2")]) + b"{}",
    }
    for what, request in large.items():
        with connect(bridge.port) as sock:
            sock.sendall(REFUSED + request)
            got = [answer[:2] for answer in all_answers(sock, ["POST"] * 2)]
            assert got == [(401, None), (401, "close")], what
            assert sock.recv(1) == b"", what
    one = senders.make("acme", body=b'{"type":"large","text":"%s"}' % (b"x" * 20_000))
    with connect(bridge.port) as sock:
        sock.sendall(wire(one) + REFUSED)
        assert [answer[:2] for answer in all_answers(sock, ["POST"] * 2)] == [(200, None), (401, None)]


@pytest.mark.parametrize("last", [("Connection", "close"), ("Connection", "upgrade"), ("Connection", "Upgrade, HTTP2-Settings")])
def test_an_answer_behind_which_the_connection_ends_says_so(bridge, senders, last):
    one, other = senders.make("acme"), senders.make("acme")
    with connect(bridge.port) as sock:
        sock.sendall(wire(one, last, ("Upgrade", "h2c")) + wire(other))
        ((status, connection, body),) = all_answers(sock, ["POST"])
        assert (status, connection, json.loads(body)["id"]) == (200, "close", one.id)
        assert until_closed(sock) == b""
    assert journaled(bridge, [one, other]) == [one.id]


def test_nothing_that_is_sent_holds_a_connection_beyond_its_deadline(bridge, senders):
    """And then nothing comes."""
    chunks = head("POST", "/nobody", [("Host", "x"), ("Transfer-Encoding", "chunked")])
    asks = head("POST", "/nobody", [("Host", "x"), ("Content-Length", "9"), ("Expect", "100-continue")])
    closing = head("POST", "/webhooks/acme", [("Host", "x"), ("Connection", "close"), ("Content-Length", "0")])
    authentic = wire(senders.make("acme"), ("Connection", "close"))
    for request in [
        closing + chunks, authentic + chunks, authentic + chunks[:40], closing + asks * 3, asks * 3, chunks, chunks + b"5\r\nhe",
        REFUSED * 20 + chunks, REFUSED + chunks[:40], REFUSED + asks, chunks + b"0\r\n\r\n" + REFUSED[:40],
        head("POST", "/webhooks/acme", [("Host", "x"), ("Transfer-Encoding", "chunked")]) + b"5\r\nhe",
    ]:  # fmt: skip
        for half_closed in (False, True):
            with connect(bridge.port) as sock:
                sock.sendall(request)
                if half_closed:
                    sock.shutdown(socket.SHUT_WR)
                sock.settimeout(DEADLINE_S + 2.5)
                try:
                    until_closed(sock)
                except TimeoutError:
                    pytest.fail(f"it is held, half closed: {half_closed}: {request!r}")


def test_the_admin_listener_waits_for_no_body_that_nobody_reads(bridge):
    with connect(bridge.admin_port) as sock:
        sock.sendall(head("GET", "/livez", [("Host", "localhost"), ("Transfer-Encoding", "chunked")]))
        reply = read_answer(sock)
        assert (reply.status, reply.headers.get("connection")) == (200, "close")
        sock.settimeout(5)
        assert until_closed(sock) == b""


def test_the_admin_listener_waits_for_no_body_beyond_its_deadline(bridge):
    """Without a token: it is asked for in the body."""
    deadline_s = 10
    lengthy = head("POST", "/login", [("Host", "localhost"), ("Content-Length", "9")])
    chunked = head("POST", "/login", [("Host", "localhost"), ("Transfer-Encoding", "chunked")])
    with contextlib.ExitStack() as held:
        begun, socks = time.monotonic(), []
        for start in (lengthy, lengthy + b"token=", chunked, chunked + b"0\r\nX: y"):
            socks.append(held.enter_context(connect(bridge.admin_port)))
            socks[-1].sendall(start)
        for sock in socks:
            sock.settimeout(deadline_s + 5)
            until_closed(sock)
        assert deadline_s - 1 < time.monotonic() - begun < deadline_s + 5


def test_a_body_that_comes_while_its_answer_waits_holds_nothing(bridge):
    asks = head("GET", "/v1/events?after=99999999&wait=2s", [("Host", "localhost"), ("Transfer-Encoding", "chunked")])
    with connect(bridge.admin_port) as sock:
        sock.sendall(asks + b"a000\r\n" + b"x" * 40_960)
        time.sleep(0.3)  # HTTP has looked at the first part before the second comes
        sock.sendall(b"\r\n0\r\n\r\n")
        sock.settimeout(9)
        got = until_closed(sock)
    assert got.startswith(b"HTTP/1.1 200 "), got


def test_what_stands_behind_a_head_that_is_refused_does_not_take_the_answer_away(bridge, senders):
    one = senders.make("acme")
    twice = wire(one, ("Transfer-Encoding", "chunked"))
    lengthy = head("POST", one.path, [*one.headers, ("X-Long", "x" * 3_000_000)])
    for start, status in ((twice, 400), (lengthy, 431)):
        for behind in (0, 60_000, 2_000_000):
            with connect(bridge.port) as sock:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    sock.sendall(start + b"x" * behind)
                time.sleep(0.2)  # a reset would be here by now, and take the answer with it
                assert read_answer(sock).status == status, (status, behind)


def test_a_web_socket_is_refused_and_takes_nothing_with_it(bridge, senders):
    one = senders.make("acme")
    asks = ("Connection", "Upgrade"), ("Upgrade", "websocket")
    for start in (wire(one, *asks), head("POST", one.path, [*one.headers, *asks]), head("GET", "/", [("Host", "x"), *asks])):
        assert answers(bridge.port, start + wire(one)) == [400]
    assert journaled(bridge, [one]) == []


def test_trailers_end_where_every_program_sees_their_end(bridge, senders):
    """A program that takes a bare newline for the end would read another request there."""
    one, hidden = senders.make("acme"), senders.make("acme")
    chunked = head("POST", one.path, [*one.headers, ("Transfer-Encoding", "chunked")])
    body = b"%x\r\n%s\r\n" % (len(one.body), one.body)
    for end in (b"0\r\n\n", b"0\r\nX: y\n\r\n", b"0\r\n\nX: y\r\n\r\n"):
        assert answers(bridge.port, chunked + body + end + wire(hidden)) == [400], end
    assert journaled(bridge, [one, hidden]) == []
    with connect(bridge.port) as sock:
        sock.sendall(chunked + b"1;a=b\r\n" + one.body[:1] + b"\r\n%x \r\n" % (len(one.body) - 1) + one.body[1:])
        sock.sendall(b"\r\n000\r\nX: y\r\nZ:\r\n\r\n" + wire(hidden))
        assert [status for status, _, _ in all_answers(sock, ["POST"] * 2)] == [200, 200]
    assert journaled(bridge, [one, hidden]) == [one.id, hidden.id]


def test_a_request_in_whatever_parts_it_comes_is_one_request(bridge, senders):
    sent = [senders.make("acme") for _ in range(3)]
    chunked = head("POST", sent[1].path, [*sent[1].headers, ("Transfer-Encoding", "chunked")])
    chunked += b"%x\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(sent[1].body), sent[1].body)
    whole = wire(sent[0]) + chunked + wire(sent[2])
    for size in (1, 7, 100):
        with connect(bridge.port) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(whole), size):
                sock.sendall(whole[start : start + size])
            got = list(all_answers(sock, ["POST"] * 3))
        assert [(status, json.loads(body)["id"]) for status, _, body in got] == [(200, one.id) for one in sent]
    assert journaled(bridge, sent) == [one.id for one in sent]


def test_a_coding_that_stands_twice_is_415(bridge, senders):
    one = senders.make("acme")
    assert answers(bridge.port, wire(one, ("Content-Encoding", "identity"), ("Content-Encoding", "gzip"), ("Connection", "close"))) == [415]


def test_a_client_that_ends_without_a_word_in_tls_has_its_answer(bridges, senders, tmp_path):
    authority = Authority(tmp_path / "tls")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.sign(cert, key)
    bridge = bridges(f'[server.tls]\ncert = "{cert}"\nkey = "{key}"\n' + sources.only("acme")).start()
    sent = [senders.make("acme") for _ in range(2)]
    context = ssl.create_default_context(cafile=authority.file)
    with context.wrap_socket(connect(bridge.port), server_hostname="localhost") as sock:
        sock.sendall(b"".join(map(wire, sent)))
        socket.socket.shutdown(sock, socket.SHUT_WR)
        got = b""
        with contextlib.suppress(ssl.SSLEOFError):
            while part := sock.recv(65536):
                got += part
    assert got.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert journaled(bridge, sent) == [one.id for one in sent]
