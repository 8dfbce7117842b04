"""A disk without room: senders are told to come back, what was accepted is ferried, and nothing needs a restart."""

import json
import os
import time

import pytest
from harness import sources
from harness.brokers import redis_backend, stream_texts
from harness.load import Load, check_books
from harness.wait import stays, until

SMALL = {"server": 'max_body = "256KiB"', "journal": 'segment_bytes = "2MiB"'}


def free(disk):
    space = os.statvfs(disk.path)
    return space.f_bavail * space.f_frsize


def fill(disk, leave):
    """Takes the disk but for `leave` bytes, as another program would."""
    path = disk.path / "filler"
    with open(path, "wb") as filler:
        while free(disk) > leave:
            try:
                filler.write(bytes(min(1 << 20, max(4096, free(disk) - leave))))
                filler.flush()
            except OSError:
                break
    return path


def accepted(bridge, senders):
    # As large as the others: what is left of the last segment may do for a small one.
    one = senders.make("acme", json.dumps({"type": "order.created", "padding": "x" * 20_000}).encode())
    return bridge.post(one.path, one.headers, one.body)


@pytest.fixture
def on_disk(bridges, disk, own_redis):
    """A bridge whose journal has a disk of its own, ferrying to a Redis elsewhere."""
    bridge = bridges(sources.only("acme") + redis_backend(own_redis), journal_dir=disk.path / "data", **SMALL).start()
    yield bridge
    if bridge.process is not None:
        bridge.close()


def test_a_disk_that_fills_up_refuses_with_room_to_spare_and_takes_events_again_within_two_seconds(
    on_disk, disk, own_redis, oracles, senders
):
    bridge = on_disk
    filler = fill(disk, 24 << 20)
    own_redis.stall()
    load = Load(bridge, oracles, senders=4, size=20_000, repeat=False).start()
    until(lambda: load.statuses.get(503, 0) >= 5, 60, "503 from a full disk")
    load.stop()
    assert free(disk) > 1 << 20, f"only {free(disk)} B were left"
    reply = accepted(bridge, senders)
    assert (reply.status, reply.problem) == (503, "journal_full")
    assert int(reply.headers["retry-after"]) >= 1
    ready = bridge.admin("GET", "/readyz")
    assert ready.status == 503 and b"full" in ready.body.lower(), ready
    assert bridge.admin("GET", "/livez").status == 200
    assert bridge.metric("hookferry_journal_open") == 0
    assert {event["id"] for event in bridge.events()} >= load.acknowledged.keys(), "reading goes on"
    own_redis.resume()
    until(lambda: len(stream_texts(own_redis)) >= len(load.acknowledged), 30, "draining goes on")
    bridge.wait_drained("main")
    filler.unlink()
    until(lambda: accepted(bridge, senders).status == 200, 2, "2xx after there is room")
    assert bridge.admin("GET", "/readyz").status == 200
    kept = [text for text in stream_texts(own_redis) if json.loads(text)["id"] in load.tried]
    check_books(load, kept)


def test_room_that_comes_back_is_enough_where_the_broker_is_down(on_disk, disk, own_redis, oracles, senders):
    bridge = on_disk
    filler = fill(disk, 16 << 20)
    own_redis.stall()
    load = Load(bridge, oracles, senders=4, size=20_000, repeat=False).start()
    until(lambda: load.statuses.get(503, 0) >= 5, 60, "503 from a full disk")
    load.stop()
    filler.unlink()
    until(lambda: bridge.admin("GET", "/readyz").status == 200, 2, "readyz without an event")
    assert accepted(bridge, senders).status == 200
    own_redis.resume()
    bridge.wait_drained("main", seconds=60)


def test_a_disk_that_others_fill_to_the_last_byte_loses_nothing_over_kills_and_restarts(
    on_disk, disk, own_redis, oracles, senders
):
    bridge = on_disk
    own_redis.stall()
    load = Load(bridge, oracles, senders=4, size=20_000).start()
    load.reach(100)
    filler = fill(disk, 0)
    until(lambda: load.statuses.get(503, 0) >= 5, 60, "503 from a full disk")
    load.stop()
    assert free(disk) < 64 << 10
    bridge.kill()
    own_redis.resume()
    bridge.start_anyhow()
    bridge.wait_drained("main", seconds=30)
    bridge.kill()
    bridge.start_anyhow()
    filler.unlink()
    until(lambda: accepted(bridge, senders).status == 200, 4, "2xx after there is room")
    bridge.wait_drained("main")
    kept = [text for text in stream_texts(own_redis) if json.loads(text)["id"] in load.tried]
    check_books(load, kept)


def test_a_full_disk_costs_the_senders_no_time(on_disk, disk, own_redis, oracles, senders):
    bridge = on_disk
    own_redis.stall()
    fill(disk, 8 << 20)
    load = Load(bridge, oracles, senders=4, size=20_000, repeat=False).start()
    until(lambda: load.statuses.get(503, 0) >= 5, 60, "503 from a full disk")
    load.stop()
    took = []
    for _ in range(50):
        started = time.monotonic()
        assert accepted(bridge, senders).status == 503
        took.append(time.monotonic() - started)
    assert sorted(took)[45] < 0.1, sorted(took)[-5:]
    stays(lambda: bridge.process.poll() is None, 0.2, "the bridge runs")
