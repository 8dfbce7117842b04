"""Kills at every stage, clean stops under load, a frozen process, and how fast a start is."""

import http.client
import json
import random
import signal
import threading
import time

import pytest
from harness import sources
from harness.bridge import run
from harness.brokers import redis_backend, stream_texts
from harness.http import Client
from harness.load import Load, check_books
from harness.wait import stays, until

TINY = {"server": 'max_body = "32KiB"', "journal": 'segment_bytes = "128KiB"\nmax_bytes = "4MiB"'}


def long(*values):
    return pytest.param(*values, marks=pytest.mark.long)


# kill -9


@pytest.mark.parametrize("kills", [10, long(100)])
def test_kills_under_load_with_a_broker_that_holds_its_answers(bridges, oracles, own_redis, kills):
    """The journal rotates all the time; every other kill comes while Redis has what it did not confirm."""
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis), server='max_body = "32KiB"', journal='segment_bytes = "128KiB"'
    ).start()
    load = Load(bridge, oracles, senders=6, size=1500).start()
    for number in range(kills):
        load.reach(len(load.acknowledged) + 60)
        if number % 2:
            own_redis.stall()
            load.reach(len(load.acknowledged) + 60)
        bridge.kill()
        own_redis.resume()
        bridge.start()
    load.reach(len(load.acknowledged) + 50)
    load.stop()
    bridge.wait_drained("main", seconds=60)
    check_books(load, stream_texts(own_redis))


@pytest.mark.parametrize("kills", [6, long(40)])
def test_kills_while_segments_are_made_and_retired_and_again_while_it_starts(bridges, oracles, own_redis, kills):
    bridge = bridges(sources.only("acme") + redis_backend(own_redis), **TINY).start()
    load = Load(bridge, oracles, senders=4, size=6000).start()
    dice = random.Random(5)
    for _ in range(kills):
        load.reach(len(load.acknowledged) + 150)  # about ten segments
        bridge.kill()
        for _ in range(3):
            bridge.spawn()
            time.sleep(dice.random() * 0.05)  # the moment of the kill is the subject
            bridge.kill()
        bridge.start()
    load.reach(len(load.acknowledged) + 50)
    load.stop()
    bridge.wait_drained("main", seconds=60)
    check_books(load, stream_texts(own_redis))
    left = [path.name for path in bridge.journal_dir.rglob("*.tmp")]
    assert len(left) <= 1, f"leftovers: {left}"  # the segment made ahead
    # A kill in the middle of a write leaves a `.tail`, which nobody was answered for.
    damaged = list((bridge.journal_dir / "quarantine").glob("*.bin"))
    assert not damaged and bridge.metric("hookferry_journal_damaged_records_total") == 0, f"a kill is no damage: {damaged}"
    assert bridge.metric("hookferry_journal_damaged_records_total") == 0


def test_two_bridges_on_one_stream_are_killed_and_double_nothing(bridges, oracles, own_redis):
    both = [bridges(sources.only("acme") + redis_backend(own_redis)).start() for _ in range(2)]
    loads = [Load(bridge, oracles, senders=3).start() for bridge in both]
    for _ in range(3):
        for bridge, load in zip(both, loads, strict=True):
            load.reach(len(load.acknowledged) + 60)
            own_redis.stall()
            load.reach(len(load.acknowledged) + 30)
            bridge.kill()
            own_redis.resume()
            bridge.start()
    for bridge, load in zip(both, loads, strict=True):
        load.stop()
        bridge.wait_drained("main", seconds=60)
    texts = stream_texts(own_redis)
    for load in loads:
        check_books(load, [text for text in texts if json.loads(text)["id"] in load.tried])
    assert len(texts) == sum(len({e for e in load.tried} & {json.loads(t)["id"] for t in texts}) for load in loads)


# Clean stops


class Watch:
    """Keeps requests going over a stop and tells an answer that was cut from one that never began."""

    def __init__(self, bridge, senders, threads=6):
        self.bridge, self.senders = bridge, senders
        self.statuses, self.headers = {}, []
        self.cut, self.unanswered = [], set()
        self.acknowledged = set()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        client = Client(self.bridge.port, timeout=20)
        while not self._end.is_set():
            one = self.senders.make("acme")
            try:
                reply = client.request("POST", one.path, one.headers, one.body)
            except ConnectionRefusedError:
                return
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # Not a byte of an answer: the connection went before the request was taken.
                self.unanswered.add(one.id)
                continue
            except (OSError, http.client.HTTPException) as error:
                self.cut.append(repr(error))
                continue
            self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
            if reply.status == 200:
                self.acknowledged.add(one.id)
            else:
                self.headers.append((reply.status, reply.headers))

    def end(self):
        self._end.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a request hangs"


@pytest.mark.parametrize("broker", ["up", "stalled", "down"])
def test_sigterm_under_load_answers_or_refuses_every_request_and_exits_in_time(
    bridges, senders, own_redis, broker
):
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis), server='shutdown_grace = "5s"'
    ).start()
    watch = Watch(bridge, senders)
    until(lambda: len(watch.acknowledged) > 100, 30, "some load")
    if broker == "stalled":
        own_redis.stall()
    elif broker == "down":
        own_redis.kill()
    until(lambda: len(watch.acknowledged) > 200, 30, "more load")
    started = time.monotonic()
    bridge.signal(signal.SIGTERM)
    assert bridge.wait_end(20) == 0
    took = time.monotonic() - started
    watch.end()
    assert took < 7, f"{took:.1f} s"
    assert watch.cut == [], "an answer was cut"
    assert set(watch.statuses) <= {200, 503}, watch.statuses
    assert len(watch.unanswered) <= 6, "more than one a connection"
    for status, headers in watch.headers:
        assert status == 503 and int(headers["retry-after"]) >= 1
        assert headers["connection"] == "close"
    own_redis.resume()
    if broker == "down":
        own_redis.start()
    bridge.start()
    bridge.wait_drained("main", seconds=30)
    ids = [json.loads(text)["id"] for text in stream_texts(own_redis)]
    assert set(ids) >= watch.acknowledged
    assert len(ids) == len(set(ids))
    taken = {event["id"] for event in bridge.events()}
    assert not watch.unanswered & taken, "an event was taken and its sender not told"


# Frozen


@pytest.mark.parametrize("seconds", [4, long(30)])
def test_a_process_that_is_frozen_goes_on_where_it_was(bridges, oracles, own_redis, seconds):
    bridge = bridges(sources.only("acme") + redis_backend(own_redis)).start()
    load = Load(bridge, oracles, senders=3, pace=0.005).start()
    load.reach(100)
    bridge.signal(signal.SIGSTOP)
    time.sleep(seconds)  # the length of the freeze is the subject
    bridge.signal(signal.SIGCONT)
    started = time.monotonic()
    load.reach(len(load.acknowledged) + 50)
    assert time.monotonic() - started < 3
    until(lambda: bridge.metric("hookferry_backend_up", backend="main") == 1, 5, "the broker is up")
    stays(lambda: bridge.metric("hookferry_backend_up", backend="main") == 1, 1, "the broker is up")
    load.stop()
    bridge.wait_drained("main")
    check_books(load, stream_texts(own_redis))


# How fast a start is


def first_2xx(bridge, senders):
    """Seconds from the start of the process to the first 2xx."""
    one = senders.make("acme")
    started = time.monotonic()
    bridge.spawn()

    def accepted():
        try:
            return bridge.post(one.path, one.headers, one.body).status == 200
        except OSError:
            return False

    until(accepted, 30, "the first 2xx", every=0.003)
    return time.monotonic() - started


def test_an_empty_start_takes_events_within_300_milliseconds(bridges, senders):
    took = []
    for _ in range(5):
        bridge = bridges(sources.only("acme"))
        took.append(first_2xx(bridge, senders))
        assert bridge.stop() == 0
    assert sorted(took)[1] < 0.3, took


@pytest.mark.parametrize("waiting", [20_000, long(1_000_000)])
def test_a_start_with_many_events_waiting_takes_new_ones_within_two_seconds(
    bridges, senders, own_redis, tmp_path, waiting
):
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis), journal='segment_bytes = "64MiB"'
    ).start()
    own_redis.stall()
    done = run(
        *("send", "acme", "--config", str(bridge.config_path), "--count", str(waiting), "--connections", "64"),
        cwd=tmp_path,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    bridge.kill()
    took = first_2xx(bridge, senders)
    resident = bridge.resident()
    assert bridge.metric("hookferry_backlog_events", backend="main") > waiting * 0.99
    own_redis.resume()
    assert took < 2, f"{took:.2f} s"
    assert resident < 150 << 20, f"{resident >> 20} MB"
    bridge.wait_drained("main", seconds=300)
