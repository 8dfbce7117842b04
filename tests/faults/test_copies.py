"""Copies of an event, at once and over kills; bodies that share an id; the order of acceptance."""

import http.client
import json
import random
import threading

import pytest
from harness import sources
from harness.brokers import redis_backend, stream_texts
from harness.http import Client
from harness.load import Load, check_books
from harness.sources import unique
from harness.wait import until


def at_once(bridge, requests, copies, threads=16):
    """Sends each request `copies` times from many threads, mixed; repeats what got no answer. Counts by status."""
    work = [one for one in requests for _ in range(copies)]
    random.Random(3).shuffle(work)
    lock, counts = threading.Lock(), {}

    def send():
        client = Client(bridge.port, timeout=20)
        while True:
            with lock:
                if not work:
                    return
                one = work.pop()
            while True:
                try:
                    reply = client.request("POST", one.path, one.headers, one.body)
                except (OSError, http.client.HTTPException):
                    continue
                if reply.status == 200:
                    break
            with lock:
                status = reply.json()["status"]
                counts[status] = counts.get(status, 0) + 1

    senders = [threading.Thread(target=send, daemon=True) for _ in range(threads)]
    for thread in senders:
        thread.start()
    return senders, counts, work


@pytest.mark.parametrize(("ids", "copies"), [(60, 100), pytest.param(1000, 100, marks=pytest.mark.long)])
def test_a_hundred_copies_at_once_are_one_event_over_kills_and_restarts(
    bridges, senders, own_redis, ids, copies
):
    bridge = bridges(
        sources.only("acme", "code") + redis_backend(own_redis), server='max_body = "32KiB"', journal='segment_bytes = "128KiB"'
    ).start()
    requests = [senders.make("acme" if number % 2 else "code") for number in range(ids)]
    threads, counts, work = at_once(bridge, requests, copies)
    total = ids * copies
    for end in (bridge.kill, bridge.stop, bridge.kill):
        goal = len(work) - total // 5
        until(lambda goal=goal: len(work) <= max(goal, 0), 120, "copies sent")
        end()
        bridge.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert counts["accepted"] <= ids, "an id was accepted twice"
    assert counts["accepted"] + counts["duplicate"] == total
    bridge.wait_drained("main")
    arrived = [json.loads(text)["id"] for text in stream_texts(own_redis)]
    assert sorted(arrived) == sorted(one.id for one in requests)


def test_an_id_that_is_not_signed_does_not_hide_another_body(bridges, senders, own_redis):
    """GitHub signs the body and not its delivery id: who replays a body under a used id must not make one vanish."""
    bridge = bridges(sources.only("code", "pay") + redis_backend(own_redis)).start()
    first = senders.make("code")
    other = senders.make("code", json.dumps({"ref": "refs/heads/other"}).encode(), id=first.id)
    for one, status in [(first, "accepted"), (other, "accepted"), (first, "duplicate"), (other, "duplicate")]:
        assert bridge.post(one.path, one.headers, one.body).json() == {"status": status, "id": first.id}
    # Of these only the second is an id that came again with another body; the others are redeliveries.
    assert bridge.metric("hookferry_id_conflicts_total", source="code") == 1
    bridge.kill()
    bridge.start()
    for one in (first, other):
        assert bridge.post(one.path, one.headers, one.body).json()["status"] == "duplicate"
    bridge.wait_drained("main")
    texts = stream_texts(own_redis)
    assert [json.loads(text)["id"] for text in texts] == [first.id, first.id]
    assert len({json.loads(text)["bodysha256"] for text in texts}) == 2


def test_an_id_that_is_signed_is_one_event_whatever_else_changes(bridges, senders, own_redis):
    bridge = bridges(sources.only("pay") + redis_backend(own_redis)).start()
    event = unique("evt_")
    bodies = [json.dumps({"id": event, "object": "event", "type": "invoice.paid", "created": n}).encode() for n in (1, 2)]
    answers = [bridge.post(one.path, one.headers, one.body) for one in (senders.make("pay", b, id=event) for b in bodies)]
    assert [answer.json()["status"] for answer in answers] == ["accepted", "duplicate"]
    again = senders.make("pay", bodies[1], id=event)
    assert bridge.post(again.path, again.headers, again.body).json()["status"] == "duplicate"
    assert bridge.metric("hookferry_id_conflicts_total", source="pay") == 1


@pytest.mark.parametrize("kills", [3])
def test_the_order_of_acceptance_is_the_order_in_every_backend(
    bridges, oracles, own_redis, rabbit, to_rabbit, rabbit_reader, kills
):
    bridge = bridges(sources.only("acme") + redis_backend(own_redis) + to_rabbit).start()
    load = Load(bridge, oracles, senders=8).start()
    for _ in range(kills):
        load.reach(len(load.acknowledged) + 150)
        bridge.kill()
        bridge.start()
    load.stop()
    bridge.wait_drained("main", "rabbit", seconds=60)
    journal = [event["id"] for event in bridge.events()]
    redis_ids = [json.loads(text)["id"] for text in stream_texts(own_redis)]
    bodies = [body for _, body in rabbit_reader().drain()]
    assert redis_ids == journal
    firsts = list(dict.fromkeys(json.loads(body)["id"] for body in bodies))
    assert firsts == journal, "RabbitMQ may get a batch twice, never out of order"
    check_books(load, bodies, repeats=1500)
