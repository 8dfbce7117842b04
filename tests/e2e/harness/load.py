"""Senders that behave as a provider's do: several at once, each repeating an event until it is acknowledged."""

import hashlib
import http.client
import json
import threading
import time

from .http import Client
from .sources import unique


class Load:
    """Posts signed events of the custom source from some threads until it is told to stop.

    `acknowledged` maps the id of each event that got a 2xx to the SHA-256 of its body; `tried` holds every id
    that ever went out. An event without an answer is sent again, as providers do, unless `repeat` is false.
    With a context for `tls` every second sender shakes hands anew for each event.
    """

    def __init__(self, bridge, oracles, *, senders=4, secret="canary-acme-6d5c3b", repeat=True, size=200, pace=0.0, tls=None):
        self.port = bridge.port
        self.oracles = oracles
        self.secret = secret
        self.repeat = repeat
        self.padding = "x" * size
        self.pace = pace
        self.tls = tls
        self.acknowledged = {}
        self.tried = {}
        self.statuses = {}
        self.refusals = []
        self.answers = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send_all, args=(n,), daemon=True) for n in range(senders)]

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        """Ends after the requests in flight; an event that was never acknowledged is given up."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a sender does not end"
        return self

    def run(self, count, seconds=60):
        """Sends until `count` events are acknowledged."""
        self.start()
        self.reach(count, seconds)
        return self.stop()

    def reach(self, count, seconds=60):
        deadline = time.monotonic() + seconds
        while len(self.acknowledged) < count:
            assert time.monotonic() < deadline, f"{len(self.acknowledged)} of {count} acknowledged; {self.statuses}"
            time.sleep(0.005)

    def check_unnoticed(self):
        """Every request so far got its 200."""
        assert set(self.statuses) == {200}, f"senders noticed: {self.statuses}, {self.refusals[:3]}"

    def _send_all(self, number):
        client = Client(self.port, timeout=20, tls=self.tls)
        while not self._stop.is_set():
            event = unique("ld_")
            body = json.dumps({"type": "order.created", "n": event, "padding": self.padding}).encode()
            digest = hashlib.sha256(body).hexdigest()
            with self._lock:
                self.tried[event] = digest
            for _ in range(100_000):
                if self._send(client, event, body, digest) or self._stop.is_set() or not self.repeat:
                    break
                time.sleep(0.02)
            if self.tls is not None and number % 2:
                client.close()
            if self.pace:
                time.sleep(self.pace)
        client.close()

    def _send(self, client, event, body, digest):
        headers = [("Host", "hooks.example.com"), ("Content-Type", "application/json"), ("X-Acme-Id", event)]
        headers += self.oracles.sign("custom", self.secret, body)
        started = time.monotonic()
        try:
            reply = client.request("POST", "/webhooks/acme", headers, body)
            status = reply.status
            if status != 200:
                self.refusals.append((round(time.monotonic() - started, 3), reply.body.decode()))
        except (OSError, http.client.HTTPException):
            status = None
        with self._lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.answers.append((started, time.monotonic() - started, status))
            if status is not None and 200 <= status < 300:
                self.acknowledged[event] = digest
                return True
        return False


def check_books(load, arrived, *, repeats=0):
    """Compares what was acknowledged with what arrived: CloudEvents JSON texts in order of arrival.

    Every acknowledged event is there with its bytes; nothing is there that was not sent; at most `repeats`
    arrive twice; the first arrivals stand in sequence order.
    """
    seen, sequences, twice = {}, [], 0
    for raw in arrived:
        event = json.loads(raw)
        body = data_bytes(raw)
        if event["id"] in seen:
            twice += 1
            continue
        seen[event["id"]] = hashlib.sha256(body).hexdigest()
        sequences.append(event["sequence"])
        assert event["bodysha256"] == seen[event["id"]]
    lost = load.acknowledged.keys() - seen.keys()
    assert not lost, f"{len(lost)} of {len(load.acknowledged)} acknowledged events are lost, e.g. {sorted(lost)[:3]}"
    assert seen.keys() <= load.tried.keys(), "an event arrived that nobody sent"
    changed = [event for event, digest in seen.items() if load.tried[event] != digest]
    assert not changed, f"bodies changed: {changed[:3]}"
    assert sequences == sorted(sequences), "out of order"
    assert len(set(sequences)) == len(sequences), "a sequence was given out twice"
    assert twice <= repeats, f"{twice} events arrived twice, {repeats} may"


def data_bytes(raw):
    """The bytes of `data` in a structured event: what stands between its key and the closing brace."""
    marker = b',"data":'
    return raw[raw.index(marker) + len(marker) : -1]
