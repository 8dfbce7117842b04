"""What SQS answers and emulators do not: throttling, and entries of a batch that fail alone."""

import json

import pytest
from conftest import sqs_backend
from harness import sources
from harness.fake_sqs import FakeSqs
from harness.load import Load, check_books


@pytest.fixture
def answering():
    made = []

    def make(plan):
        made.append(FakeSqs(plan))
        return made[-1]

    yield make
    for fake in made:
        fake.close()


def test_a_queue_that_throttles_is_waited_for_and_nothing_is_dropped(bridges, oracles, answering):
    codes = [(400, "RequestThrottled"), (403, "ThrottlingException"), (503, "ServiceUnavailable"), (400, "OverLimit")]
    fake = answering(lambda calls, _entries: codes[calls % 5] if calls % 5 < 4 else {})
    bridge = bridges(sources.only("acme") + sqs_backend("orders", fake, fake.url)).start()
    load = Load(bridge, oracles, senders=4).run(60)
    bridge.wait_drained("orders", seconds=90)
    load.check_unnoticed()
    check_books(load, sorted(fake.taken, key=lambda text: json.loads(text)["sequence"]))
    assert bridge.metric("hookferry_dead_letters", backend="orders") == 0


def test_entries_that_fail_alone_are_sent_again_alone(bridges, oracles, answering):
    def plan(calls, entries):
        # Every third entry of two batches in three.
        failing = range(0, len(entries), 3) if calls % 3 else ()
        return {index: ("InternalError", False) for index in failing}

    fake = answering(plan)
    bridge = bridges(sources.only("acme") + sqs_backend("orders", fake, fake.url)).start()
    load = Load(bridge, oracles, senders=6).run(100)
    bridge.wait_drained("orders", seconds=90)
    # Nothing twice: what was taken is not sent again with its neighbour.
    check_books(load, sorted(fake.taken, key=lambda text: json.loads(text)["sequence"]))
    assert bridge.metric("hookferry_dead_letters", backend="orders") == 0


def test_an_entry_that_can_never_be_taken_is_buried_and_its_batch_goes_on(bridges, senders, answering):
    poison = senders.make("acme")

    def plan(_calls, entries):
        poisoned = [index for index, entry in enumerate(entries) if poison.id in entry["MessageBody"]]
        return {index: ("InvalidMessageContents", True) for index in poisoned}

    fake = answering(plan)
    bridge = bridges(sources.only("acme") + sqs_backend("orders", fake, fake.url)).start()
    others = [senders.make("acme") for _ in range(20)]
    for one in [*others[:10], poison, *others[10:]]:
        assert bridge.post(one.path, one.headers, one.body).status == 200
    bridge.wait_drained("orders")
    assert bridge.metric("hookferry_dead_letters", backend="orders") == 1
    assert {json.loads(text)["id"] for text in fake.taken} == {one.id for one in others}
