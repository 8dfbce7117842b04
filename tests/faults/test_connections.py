"""Clients that hold connections and give nothing: others are served meanwhile, and they are gone by their deadline."""

import contextlib
import json
import os
import resource
import select
import socket
import subprocess
import time

import pytest
from harness import sources
from harness.http import Client
from harness.processes import dies_with_parent
from harness.wait import until

# A long form of so many connections needs as many descriptors on both sides.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

START = b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\n"
# Refused, and the connection goes on.
UNSIGNED = START + b"Content-Length: 2\r\n\r\n{}"
KINDS = {
    "silent": b"",
    "headers": START + b"X-Slow: ",
    "body": START + b"Content-Length: 60000\r\n\r\n",
    "chunked": START + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n",
}


def descriptors(bridge):
    return len(os.listdir(f"/proc/{bridge.process.pid}/fd"))


def processor_s(bridge):
    with open(f"/proc/{bridge.process.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def is_closed(sock):
    sock.setblocking(False)
    try:
        while sock.recv(4096):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


class Holders:
    """Connections of one kind; `drip` gives each a byte now and then, as a slow client does."""

    def __init__(self, bridge, count, kind):
        self.sockets = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", bridge.port), timeout=20)
            sock.sendall(KINDS[kind])
            self.sockets.append(sock)
        self.last_s = time.monotonic()
        self.drips = kind != "silent"

    def drip(self):
        for sock in self.sockets if self.drips else ():
            try:
                sock.send(b"x")
            except OSError:
                pass

    def all_closed(self):
        self.sockets = [sock for sock in self.sockets if not is_closed(sock)]
        return not self.sockets

    def close(self):
        for sock in self.sockets:
            sock.close()


def post(client, senders, body=None):
    one = senders.make("acme", body) if body else senders.make("acme")
    started = time.monotonic()
    reply = client.request("POST", one.path, one.headers, one.body)
    assert reply.status == 200, reply
    return time.monotonic() - started


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.long)])
def test_slow_clients_hold_up_nobody_and_are_gone_by_their_deadline(bridges, senders, kind, count):
    deadline_s = 3
    bridge = bridges(sources.only("acme"), server=f'body_timeout = "{deadline_s}s"').start()
    client = Client(bridge.port)
    post(client, senders)
    before = bridge.resident()
    holders = Holders(bridge, count, kind)
    try:
        took, next_drip, most = [], 0.0, 0
        while not holders.all_closed():
            assert time.monotonic() - holders.last_s < deadline_s + 5, f"{len(holders.sockets)} are still open"
            if time.monotonic() > next_drip:
                holders.drip()
                next_drip = time.monotonic() + 0.5
            took.append(post(client, senders))
            most = max(most, bridge.resident())
        assert most - before < 100 << 20
        took.sort()
        assert len(took) > 10
        assert took[int(len(took) * 0.99)] < 0.05, took[-5:]
    finally:
        holders.close()


def test_a_body_slower_than_its_least_rate_is_given_up_long_before_the_deadline(bridges, oracles):
    bridge = bridges(sources.only("acme"), server='body_timeout = "60s"\nmin_body_rate = "1KiB"').start()
    body = json.dumps({"type": "order.created", "padding": "x" * 60_000}).encode()
    signed = oracles.sign("custom", "canary-acme-6d5c3b", body)
    head = START + b"Content-Length: %d\r\nX-Acme-Id: fair\r\n" % len(body)
    head += b"".join(f"{name}: {value}\r\n".encode() for name, value in signed) + b"\r\n"
    slow, fair = (socket.create_connection(("127.0.0.1", bridge.port), timeout=20) for _ in range(2))
    with slow, fair:
        started, sent = time.monotonic(), 0
        for sock in (slow, fair):
            sock.sendall(head)
        # A hundred bytes and a thousand each time: a fifth and twice of what a second must bring.
        while not select.select([slow], [], [], 0.5)[0]:
            assert time.monotonic() - started < 20, "the slow body is still waited for"
            slow.sendall(body[:100])
            fair.sendall(body[sent : sent + 1000])
            sent += 1000
        assert time.monotonic() - started > 8, "a pause of a network is no reason"
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
        fair.sendall(body[sent:])
        assert fair.recv(4096).startswith(b"HTTP/1.1 200 ")


def does_not_read(bridge):
    """A connection with more answers on their way, about 120 kB, than the buffers of both sides take.

    On loopback, where segments have 64 KiB, they would take megabytes.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    sock.connect(("127.0.0.1", bridge.port))
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(9):
            sock.sendall(UNSIGNED * 50)
    return sock


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_clients_that_do_not_read_hold_up_nobody_and_are_gone_by_their_deadline(bridges, senders, count):
    deadline_s = 8
    bridge = bridges(sources.only("acme"), server=f'body_timeout = "{deadline_s}s"').start()
    client = Client(bridge.port)
    post(client, senders)
    before, own, took = bridge.resident(), descriptors(bridge), []
    sockets = [does_not_read(bridge) for _ in range(count)]
    last_s = time.monotonic()
    client = Client(bridge.port)
    # Their requests are hundreds each, which keep a build for debugging busy at first.
    until(lambda: post(client, senders) < 0.05, what="the requests that are answered to be over")
    try:
        # They do not see that they are closed: what the bridge holds of them counts.
        most = held = descriptors(bridge) - own
        memory = bridge.resident()
        while held > 2:
            assert time.monotonic() - last_s < deadline_s + 10 + count / 100, f"{held} are still held"
            took.append(post(client, senders))
            memory = max(memory, bridge.resident())
            held = descriptors(bridge) - own
        assert most > count / 2, "they never held anything"
        assert time.monotonic() - last_s > 6, "they were closed as idle, after five seconds, and not for what they do not take"
        assert memory - before < 100 << 20
        took.sort()
        assert len(took) > 10
        assert took[int(len(took) * 0.99)] < 0.05, took[-5:]
    finally:
        for sock in sockets:
            sock.close()


ATTACKS = {
    "headers": ["-H", "-x", "24"],
    "body": ["-B", "-s", "60000", "-x", "10", "-t", "POST"],
    "read": ["-X", "-w", "1", "-y", "1", "-n", "5", "-z", "1", "-k", "3"],
}


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_slowhttptest_finds_nothing_to_hold(bridges, senders, tmp_path, kind, count):
    """The attacker's own tool: what counts is what the bridge still holds of it, since its slow reader does not see that it was closed."""
    deadline_s, rate = 3, 200
    bridge = bridges(sources.only("acme"), server=f'body_timeout = "{deadline_s}s"').start()
    client = Client(bridge.port)
    post(client, senders)
    before, own, started = bridge.resident(), descriptors(bridge), time.monotonic()
    attack = subprocess.Popen(
        ["slowhttptest", "-c", str(count), "-r", str(rate), "-i", "1", "-l", "60", "-p", "3", *ATTACKS[kind],
         "-u", f"http://127.0.0.1:{bridge.port}/webhooks/acme"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=dies_with_parent,
    )  # fmt: skip
    took, most = [], 0
    try:
        while (held := descriptors(bridge) - own) > 2 or time.monotonic() - started < count / rate + 1:
            assert time.monotonic() - started < count / rate + deadline_s + 5, f"{held} are still held"
            took.append(post(client, senders))
            most = max(most, bridge.resident())
            time.sleep(0.002)  # a genuine sender among them, not a flood, and so many that one slow sync is not the hundredth
    finally:
        attack.kill()
        attack.communicate()
    assert most - before < 100 << 20
    took.sort()
    assert len(took) > 100
    assert took[int(len(took) * 0.99)] < 0.05, (len(took), took[-5:])


def test_as_many_files_as_the_system_gives_are_taken_and_too_few_are_told(bridges):
    """Where the usual soft limit of 1,024 stayed, a thousand connections would be the end."""
    few = bridges(sources.only("acme")).start(
        preexec=lambda: (dies_with_parent(), resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096)))
    )
    assert resource.prlimit(few.process.pid, resource.RLIMIT_NOFILE) == (4096, 4096)
    assert "open files are fewer than server.max_connections (25000) needs" in few.log()
    enough = bridges(sources.only("acme"), server="max_connections = 1000").start(
        preexec=lambda: (dies_with_parent(), resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096)))
    )
    assert "open files" not in enough.log()


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.long)])
def test_idle_connections_cost_little_and_are_closed(bridges, senders, count):
    bridge = bridges(sources.only("acme"), server='body_timeout = "8s"').start(
        preexec=lambda: (dies_with_parent(), resource.setrlimit(resource.RLIMIT_NOFILE, (count + 1300,) * 2))
    )
    client = Client(bridge.port)
    post(client, senders)
    before = bridge.resident()
    holders = Holders(bridge, count, "silent")
    try:
        took = sorted(post(client, senders) for _ in range(200))
        assert took[198] < 0.05, took[-5:]
        assert bridge.resident() - before < 100 << 20
        until(holders.all_closed, seconds=8 + 5, what="every idle connection to be closed", every=0.2)
    finally:
        holders.close()


def test_where_no_descriptor_is_left_at_all_nothing_spins_and_taking_connections_resumes(bridges, senders):
    """The limit is lowered while it runs: nothing could be set apart for the journal."""
    bridge = bridges(sources.only("acme"), server='body_timeout = "60s"').start()
    client = Client(bridge.port)
    post(client, senders)
    resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE, (descriptors(bridge) + 20,) * 2)
    holders = Holders(bridge, 100, "silent")
    try:
        until(lambda: descriptors(bridge) >= resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE)[0], what="none left")
        started, used = time.monotonic(), processor_s(bridge)
        for _ in range(20):
            post(client, senders)
        time.sleep(2)  # the processor's use over time is the subject
        assert processor_s(bridge) - used < 0.3 * (time.monotonic() - started) + 0.3, "accepting spins"
    finally:
        holders.close()
    assert post(Client(bridge.port, timeout=10), senders) < 5
    assert len(bridge.events()) == 22


def test_without_file_descriptors_nothing_spins_and_taking_connections_resumes(bridges, senders):
    bridge = bridges(sources.only("acme"), server='body_timeout = "60s"\nmax_body = "64KiB"', journal='segment_bytes = "1MiB"').start(
        preexec=lambda: (dies_with_parent(), resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120)))
    )
    client = Client(bridge.port)
    for _ in range(5):
        post(client, senders)
    admin = Client(bridge.admin_port)
    assert admin.request("GET", "/livez").status == 200
    holders = Holders(bridge, 200, "silent")
    try:
        started, used = time.monotonic(), processor_s(bridge)
        # What is open goes on, and the journal with it, from segment to segment.
        for _ in range(50):
            post(client, senders, b'{"type":"order.created","x":"%s"}' % (b"y" * 60_000))
        time.sleep(2)  # the processor's use over time is the subject
        assert processor_s(bridge) - used < 0.3 * (time.monotonic() - started) + 0.3, "accepting spins"
        assert admin.request("GET", "/readyz").status == 200
    finally:
        holders.close()
    closed = time.monotonic()
    assert post(Client(bridge.port, timeout=10), senders) < 5
    assert time.monotonic() - closed < 3
    assert len(bridge.events()) == 56
