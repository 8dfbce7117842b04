"""More than the bridge can take: what is refused is refused at once and told when to come back, memory stays bounded."""

import http.client
import json
import threading
import time

import pytest
from harness import sources
from harness.brokers import redis_backend
from harness.http import Client
from harness.sources import unique


class Flood:
    """Many connections that send without a pause and never repeat."""

    def __init__(self, bridge, oracles, connections, size):
        self.port, self.oracles = bridge.port, oracles
        self.padding = "x" * size
        self.answers = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        client = Client(self.port, timeout=30)
        while not self._end.is_set():
            body = json.dumps({"type": "order.created", "padding": self.padding}).encode()
            headers = [("Host", "x"), ("Content-Type", "application/json"), ("X-Acme-Id", unique("fl_"))]
            headers += self.oracles.sign("custom", "canary-acme-6d5c3b", body)
            started = time.monotonic()
            try:
                reply = client.request("POST", "/webhooks/acme", headers, body)
            except (OSError, http.client.HTTPException) as error:
                self.answers.append((repr(error), 0.0, None))
                continue
            self.answers.append((reply.status, time.monotonic() - started, reply.headers.get("retry-after")))

    def end(self):
        self._end.set()
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive(), "a request hangs"


@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.long)])
def test_a_flood_against_a_slow_disk_is_refused_quickly_and_memory_stays_bounded(
    bridges, oracles, own_redis, tmp_path, seconds
):
    """Each sync takes 400 ms, the broker takes nothing, and the senders want several times what goes through."""
    calls = "fdatasync"
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis),
        server='ack_timeout = "600ms"\nmax_body = "64KiB"',
        journal='segment_bytes = "1MiB"\nmax_bytes = "8MiB"',
    )
    bridge.spawn(
        wrapper=("strace", "-f", "-qqq", "--seccomp-bpf", "-e", f"trace={calls}",
                 "-e", f"inject={calls}:delay_enter=400000", "-o", str(tmp_path / "strace"))
    )  # fmt: skip
    bridge.wait_ready(60)
    own_redis.stall()
    flood = Flood(bridge, oracles, connections=40, size=30_000)
    time.sleep(seconds)  # the length of the flood is the subject
    flood.end()
    statuses = {status for status, _, _ in flood.answers}
    assert statuses <= {200, 503}, statuses
    refused = [(took, after) for status, took, after in flood.answers if status == 503]
    assert any(status == 200 for status, _, _ in flood.answers)
    assert refused, "the flood is too small"
    assert all(after and int(after) >= 1 for _, after in refused)
    waits = sorted(took for took, _ in refused)
    assert waits[len(waits) // 2] < 1.5, "a refusal takes as long as an ack_timeout and no longer"
    assert waits[-1] < 5
    resident = bridge.resident()
    assert resident < 150 << 20, f"{resident >> 20} MB"
    bridge.stop()


def test_a_full_journal_refuses_a_flood_in_milliseconds_and_takes_events_again_afterwards(bridges, oracles, own_redis):
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis),
        server='max_body = "64KiB"',
        journal='segment_bytes = "1MiB"\nmax_bytes = "8MiB"',
    ).start()
    own_redis.stall()
    flood = Flood(bridge, oracles, connections=16, size=30_000)
    deadline = time.monotonic() + 40
    while sum(status == 503 for status, _, _ in flood.answers) < 500:
        assert time.monotonic() < deadline, "the journal does not fill"
        time.sleep(0.05)
    flood.end()
    refused = sorted(took for status, took, _ in flood.answers if status == 503)
    assert refused[len(refused) // 2] < 0.1, refused[len(refused) // 2]
    assert bridge.resident() < 150 << 20
    own_redis.resume()
    bridge.wait_drained("main")
    after = Flood(bridge, oracles, connections=4, size=1000)
    time.sleep(2)
    after.end()
    late = after.answers[-50:]
    assert all(status == 200 for status, _, _ in late), "not back to normal"
